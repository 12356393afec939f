//! What a party tells anyone who has a digest: its receipt, the public header, and after sealing what became of it.
//!
//! A digest is as long as a key: who asks for it has it from the ballot itself, from a log, or from the published bundle, so nothing is told here
//! that is not public. Whose ballot it is, nobody knows.

use std::sync::Arc;

use tally_proto::ids::{BoxId, Digest};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_proto::wire::lookup_reply::Public;
use tally_proto::wire::sealed_fate::Fate as WireFate;

use super::stored_receipt;
use crate::party::Party;
use crate::sealing::fate::{self, Fate};
use crate::store::{Kind, StoreError, accepted};

impl Party {
    /// What is known here of a digest. Nothing at all is an answer too.
    ///
    /// # Errors
    /// `election.unknown`, `box.unknown`, `message.malformed`, or the store.
    pub async fn lookup(self: &Arc<Self>, of: wire::LookupRequest) -> Result<wire::LookupReply, Refusal> {
        let digest =
            Digest::from_slice(&of.digest).map_err(|error| Refusal::new(Reason::MessageMalformed, error))?;
        let kind = if of.record { Kind::Record } else { Kind::Ballot };
        let election = self.elections.get(&of.election)?;
        let of_box = BoxId(of.r#box);
        election.ballot_box(of_box)?;
        self.blocking(move |party| {
            let number = election.number();
            let (stored, filled, fate) = party.store.read(|tx| {
                let stored = accepted::get(tx, kind, number, of_box.get(), digest.as_bytes())?;
                let filled = match stored {
                    Some(_) => None,
                    None => fate::filled(tx, (number, of_box.get()), kind, &digest)?,
                };
                let fate = fate::of_digest(tx, (number, of_box.get()), kind, &digest)?;
                Ok::<_, StoreError>((stored, filled, fate))
            })?;
            let mut reply = wire::LookupReply::default();
            if let Some(stored) = &stored {
                let id = election.manifest().election();
                reply.receipt = Some(stored_receipt(party.role, id, of_box, digest, stored)?.to_wire());
            }
            let public = stored
                .map(|row| (row.header, row.authority_signature))
                .or_else(|| filled.map(|row| (row.header, row.authority_signature)));
            if let Some((header, authority_signature)) = public {
                reply.public = Some(decode(kind, &header)?);
                // A card's certificates name the voter: they stay here.
                let of_card =
                    matches!(&reply.public, Some(Public::RecordHeader(header)) if header.card.is_some());
                if !of_card {
                    reply.authority_signature = authority_signature;
                }
                // A record for an open roll names the voter's number. Until the bundle does so for all, it would show somebody who knows a voter's number
                // that the voter enrols anew.
                let numbered = |header: &wire::RecordHeader| {
                    header.card.as_ref().is_some_and(|card| card.place.is_some())
                };
                if fate.is_none()
                    && matches!(&reply.public, Some(Public::RecordHeader(header)) if numbered(header))
                {
                    reply.public = None;
                }
            }
            reply.sealed = fate.map(|(seal, fate)| wire::SealedFate {
                seal_hash: seal.0.to_vec(),
                fate: Some(match fate {
                    Fate::Listed => WireFate::OnList(true),
                    Fate::Excluded(reason) => WireFate::Excluded(reason.code().to_owned()),
                    Fate::NoCandidate => WireFate::NoCandidate(true),
                    Fate::Superseded => WireFate::Superseded(true),
                }),
            });
            Ok(reply)
        })
        .await
    }
}

/// The header as it was taken, for the wire.
fn decode(kind: Kind, bytes: &[u8]) -> Result<Public, StoreError> {
    use tally_proto::ballot::BallotHeader;
    use tally_proto::record::RecordHeader;
    Ok(match kind {
        Kind::Ballot => {
            let header = BallotHeader::decode(bytes).map_err(|_| StoreError::Corrupt { table: "ballots" })?;
            Public::Ballot(header.to_wire())
        }
        Kind::Record => {
            let header = RecordHeader::decode(bytes).map_err(|_| StoreError::Corrupt { table: "records" })?;
            Public::RecordHeader(header.to_wire())
        }
    })
}
