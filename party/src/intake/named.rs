//! Who is on an open roll, as this party tells the commission: number and name of everybody whose record it accepted, under its signature.

use std::collections::BTreeMap;
use std::sync::Arc;

use tally_proto::ids::{BoxId, VoterIndex};
use tally_proto::manifest::Manifest;
use tally_proto::open_roll::{Head, Subject, name_of};
use tally_proto::record::{RecordError, RecordHeader};
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use super::cards::said;
use super::records::record_refused;
use crate::mirror::{UNREAD, answered};
use crate::party::Party;
use crate::rpc::seams::Answers;
use crate::store::{Kind, StoreError, accepted};

/// Entries of an open roll in one message, and bytes of their names beyond which it has no more.
const NAMES_A_PART: usize = 5_000;
const NAMES_BYTES: usize = 1 << 20;

impl Party {
    /// Control.OpenRoll: number and name of everybody whose record for an open roll this party accepted, under its signature. `place` is given
    /// back when the answer was read, or is read no more.
    ///
    /// # Errors
    /// `election.unknown`, `box.unknown`, `roll.other-kind`; a stored record that does not hold.
    ///
    /// # Security
    /// Names people: for the coordinator alone, who may know who enrolled.
    pub(crate) async fn open_roll(
        self: &Arc<Self>,
        of: wire::BoxRef,
        place: OwnedSemaphorePermit,
    ) -> Result<Answers<wire::OpenRollPart>, Refusal> {
        let election = self.elections.get(&of.election)?.in_force()?;
        if election.ballot_box(BoxId(of.r#box))?.open().is_none() {
            return Err(record_refused(RecordError::Roll { open: true }));
        }
        // The place is held by the work itself: whoever asks and goes away does not have it done twice at once.
        let (names, head, place) = self
            .blocking(move |party| {
                let mut names = BTreeMap::new();
                let (number, manifest) = (election.number(), election.manifest());
                party.store.read(|tx| {
                    accepted::for_each(tx, Kind::Record, number, of.r#box, |_, row| {
                        let named = named(manifest, &row.header, &row.authority_signature);
                        let (v, said) = named.ok_or(StoreError::Corrupt { table: "records" })?;
                        names.insert(v.get(), name_of(&said));
                        Ok::<_, StoreError>(())
                    })
                })?;
                let subject = Subject {
                    election: manifest.election(),
                    of_box: BoxId(of.r#box),
                };
                let head = Head::sign(subject, party.role, party.now().seconds(), &names, &party.signer);
                Ok((names, head, place))
            })
            .await?;
        let (mut names, mut head) = (names.into_iter(), Some(head.to_wire()));
        let next_part = move || {
            let (mut entries, mut bytes) = (Vec::new(), 0);
            while entries.len() < NAMES_A_PART
                && bytes < NAMES_BYTES
                && let Some((v, reference)) = names.next()
            {
                bytes += reference.len();
                entries.push(wire::RollEntry {
                    v,
                    reference,
                    online: true,
                    persons: Vec::new(),
                });
            }
            let head = if entries.is_empty() {
                Some(head.take()?)
            } else {
                None
            };
            Some(Ok::<_, Status>(wire::OpenRollPart { entries, head }))
        };
        let parts = futures::stream::iter(std::iter::from_fn(next_part));
        Ok(answered(parts, place, UNREAD))
    }
}

/// The number and what the certificate calls its holder, of a record that this party accepted: whether it holds was checked then, and is not checked
/// again.
fn named(manifest: &Manifest, header: &[u8], stored: &[u8]) -> Option<(VoterIndex, String)> {
    let (v, _) = stored.split_first_chunk::<4>()?;
    let voter = RecordHeader::decode(header).ok()?.open_place()?.voter?;
    let said = said(manifest, stored)?;
    (voter == VoterIndex(u32::from_be_bytes(*v))).then_some((voter, said))
}
