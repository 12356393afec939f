//! Catching up: the ballots and records behind the entries of another party's log.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use tally_proto::ids::{BoxId, Digest, Role};
use tally_proto::log::{ENTRY_BYTES, Entry};
use tally_proto::refusal::Refusal;
use tally_proto::wire;

use super::collected::{Bounds, collected};
use crate::elections::Election;
use crate::party::Party;
use crate::sealing::known::MAX_SHARE;
use crate::sealing::{self, SealError, Sealing};
use crate::store::{Kind, StoreError, mirrors};

/// Entries looked at in one turn.
pub(super) const LOOK: usize = 2048;
/// No honest party's clock is further ahead, milliseconds.
const AHEAD_MS: u64 = 60_000;

/// What of some entries is to be asked for, by box and kind.
type Wanted = BTreeMap<(BoxId, bool), BTreeSet<Digest>>;

impl Party {
    /// Looks at the next mirrored entries of `peer` that are old enough, and gets what this party lacks of them. Returns where the next turn begins.
    pub(super) async fn look(
        self: &Arc<Self>,
        sealing: &Sealing,
        election: &Arc<Election>,
        peer: Role,
        from: u64,
        size: u64,
    ) -> Result<u64, Refusal> {
        if from >= size {
            return Ok(from);
        }
        let number = election.number();
        let now = self.now().get();
        // Cast just now: on its way here as well. Dated far ahead: nothing to wait for.
        let young = now.saturating_sub(self.mirror_grace_ms).saturating_add(1)..now.saturating_add(AHEAD_MS);
        let (held, of) = (sealing.clone(), Arc::clone(election));
        let (wanted, end) = self
            .blocking(move |party| {
                Ok(party
                    .store
                    .read(|tx| wanted(tx, &held, &of, peer, from, &young))?)
            })
            .await?;
        if end == from {
            return Ok(end);
        }
        let (mut batches, mut not_given) = (Vec::new(), 0);
        for ((of_box, record), digests) in wanted {
            let kind = if record { Kind::Record } else { Kind::Ballot };
            let digests: Vec<Digest> = digests.into_iter().collect();
            for digests in digests.chunks(MAX_SHARE) {
                let parts = self.ask_shares(peer, election, (of_box, kind), digests).await?;
                let id = election.manifest().election().as_str();
                let batch = sealing
                    .check_shares((id, of_box.get()), kind, digests.to_vec(), peer, parts)
                    .await?;
                not_given += batch.dropped() as u64;
                if batch.dropped() > 0 {
                    tracing::warn!(party = %self.role, %peer, election = id, box_id = %of_box, dropped = batch.dropped(),
                        "shares that do not open their commitments, or were not given: sealing will ask for them again");
                }
                batches.push(batch);
            }
        }
        let got: usize = batches.iter().map(|batch| batch.len()).sum();
        let keeper = sealing.clone();
        self.blocking(move |party| {
            Ok(party.store.write(|tx| {
                for batch in &batches {
                    keeper.keep(tx, batch)?;
                }
                mirrors::look(tx, number, peer, end)?;
                Ok::<_, SealError>(())
            })?)
        })
        .await?;
        self.following.heard(peer, |heard| {
            let count = heard.not_given.entry(number).or_default();
            *count = count.saturating_add(not_given);
        });
        if got > 0 {
            tracing::info!(party = %self.role, %peer, election = %election.manifest().election(), got, behind = size - end,
                "caught up with ballots and records that another party accepted");
        }
        Ok(end)
    }

    /// Peer.Share, one part for each digest.
    pub(super) async fn ask_shares(
        self: &Arc<Self>,
        peer: Role,
        election: &Election,
        (of_box, kind): (BoxId, Kind),
        digests: &[Digest],
    ) -> Result<Vec<wire::FillPart>, Refusal> {
        let bytes = digests.iter().map(|digest| digest.0.to_vec()).collect();
        let mut request = wire::FillRequest {
            election: election.manifest().election().as_str().to_owned(),
            r#box: of_box.get(),
            ..Default::default()
        };
        match kind {
            Kind::Ballot => request.ballots = bytes,
            Kind::Record => request.records = bytes,
        }
        let mut client = self.bounded_client(peer)?;
        collected(peer, Bounds::shares(digests.len()), async move {
            Ok(client.share(request).await?.into_inner())
        })
        .await
    }
}

/// What is lacking of the entries from `from` on, up to the first that is `young`, and where the next turn begins.
fn wanted(
    tx: &impl crate::store::Tables,
    sealing: &Sealing,
    election: &Election,
    peer: Role,
    from: u64,
    young: &Range<u64>,
) -> Result<(Wanted, u64), StoreError> {
    let (number, mut wanted, mut at) = (election.number(), Wanted::new(), from);
    // What was sealed is here as it was sealed.
    let mut sealed = BTreeSet::new();
    for of_box in election.manifest().boxes() {
        if sealing::seal_hash(tx, (number, of_box.id().get()))?.is_some() {
            sealed.insert(of_box.id());
        }
    }
    while at - from < LOOK as u64
        && let Some(page) = mirrors::page(tx, number, peer, at)?
    {
        let (entries, _) = page.entries.as_chunks::<ENTRY_BYTES>();
        for bytes in entries {
            let entry = Entry::from_bytes(bytes).map_err(|_| StoreError::Corrupt {
                table: "mirror_pages",
            })?;
            if young.contains(&entry.at().millis().get()) || at - from >= LOOK as u64 {
                return Ok((wanted, at));
            }
            at += 1;
            let Entry::Accepted(accepted) = entry else {
                continue;
            };
            let kind = if accepted.record {
                Kind::Record
            } else {
                Kind::Ballot
            };
            let of_box = accepted.of_box;
            // A box that does not exist is the other party's nonsense.
            if election.manifest().ballot_box(of_box).is_some()
                && !sealed.contains(&of_box)
                && sealing.lacks(tx, (number, of_box.get()), kind, peer, &accepted.digest)?
            {
                wanted
                    .entry((of_box, accepted.record))
                    .or_default()
                    .insert(accepted.digest);
            }
        }
    }
    Ok((wanted, at))
}
