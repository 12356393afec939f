//! The other parties' receipts, and this party's log.

use std::sync::Arc;

use tally_proto::ids::{Hash32, RoleExt as _};
use tally_proto::reason::Reason;
use tally_proto::receipt::{Receipt, ReceiptError};
use tally_proto::refusal::Refusal;
use tally_proto::wire;

use super::handover::delivered;
use super::pool::Lane;
use crate::party::Party;
use crate::store::log;

impl Party {
    /// Takes another party's receipt, brought by somebody of that lane, and returns when it is on disk. This party's own is fine and changes nothing.
    ///
    /// # Errors
    /// Malformed, of an unknown election or box, not signed by the party it names or no timely acceptance, of something that is not here, or the
    /// store failed.
    pub async fn deliver(self: &Arc<Self>, receipt: wire::Receipt, lane: Lane) -> Result<(), Refusal> {
        let refused = |error: ReceiptError| Refusal::new(error.reason(), error);
        let receipt = Receipt::from_wire(&receipt).map_err(refused)?;
        let stated = receipt.unverified().clone();
        let election = self.elections.get(stated.election.as_str())?.in_force()?;
        election.ballot_box(stated.of_box)?;
        let keys = election.manifest().party_keys();
        let bad = ReceiptError::BadSignature(stated.party);
        let key = keys[stated.party.slot()];
        let batch = receipt.batch().ok_or_else(|| refused(bad.clone()))?;
        // The receipts of a batch share its signature: the first one to come has it verified, for the others it is looked up.
        if !self.intake.batches.knows(&key, &batch) {
            let of_batch = batch.clone();
            let checks = &self.intake.checks;
            if !checks.run_short(lane, move || of_batch.verify(&keys)).await? {
                return Err(refused(bad));
            }
            self.intake.batches.remember(&key, batch);
        }
        if stated.party == self.role {
            return Ok(());
        }
        let delivered = delivered(election.number(), &receipt);
        self.intake.writer.deliver(delivered).await
    }

    /// The signed note of this party's log of an election, as it is published, and the newest that others have cosigned (empty: none).
    ///
    /// # Errors
    /// `election.unknown`, or the store.
    pub async fn checkpoint(self: &Arc<Self>, election: String) -> Result<(String, String), Refusal> {
        let election = self.elections.get(&election)?;
        self.blocking(move |party| {
            let (id, number) = (election.manifest().election(), election.number());
            let checkpoint = party.store.read(|tx| {
                let size = party.published(number, log::size(tx, number)?);
                log::checkpoint(tx, number, id, party.role, size)
            })?;
            party.witness.metrics.checkpoint(party.now());
            let cosigned = party.cosigned_checkpoint(election.number());
            Ok((checkpoint.sign(&party.signer), cosigned))
        })
        .await
    }

    /// The path from the entry at `position` to the head of the log when it had `size` entries.
    ///
    /// # Errors
    /// `election.unknown`, `log.range`, or the store.
    pub async fn inclusion(
        self: &Arc<Self>,
        election: String,
        position: u64,
        size: u64,
    ) -> Result<Vec<Hash32>, Refusal> {
        let election = self.elections.get(&election)?;
        let path = self
            .blocking(move |party| {
                let number = election.number();
                Ok(party.store.read(|tx| {
                    if size > party.published(number, log::size(tx, number)?) {
                        return Ok(None);
                    }
                    log::inclusion(tx, number, position, size)
                })?)
            })
            .await?;
        path.ok_or_else(|| {
            Refusal::new(
                Reason::LogRange,
                format_args!("no position {position} in a log of {size} entries here"),
            )
        })
    }

    /// The proof that the log of the first `old` entries is a prefix of that of the first `new`.
    ///
    /// # Errors
    /// `election.unknown`, `log.range`, or the store.
    pub async fn consistency(
        self: &Arc<Self>,
        election: String,
        old: u64,
        new: u64,
    ) -> Result<Vec<Hash32>, Refusal> {
        let election = self.elections.get(&election)?;
        let path = self
            .blocking(move |party| {
                let number = election.number();
                Ok(party.store.read(|tx| {
                    if new > party.published(number, log::size(tx, number)?) {
                        return Ok(None);
                    }
                    log::consistency(tx, number, old, new)
                })?)
            })
            .await?;
        path.ok_or_else(|| {
            Refusal::new(
                Reason::LogRange,
                format_args!("no log here has been of {old} and then of {new} entries"),
            )
        })
    }
}
