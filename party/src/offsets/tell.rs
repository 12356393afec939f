//! Telling a voter's device the two offsets that this party knows of its record: once.

use std::sync::Arc;

use redb::TableDefinition;
use tally_proto::ids::{Digest, ElectionId, Role};
use tally_proto::offsets::{Offset, Telling};
use tally_proto::reason::Reason;
use tally_proto::receipt::{Acceptance, Receipt, ReceiptError};
use tally_proto::record::RecordHeader;
use tally_proto::refusal::Refusal;
use tally_proto::wire;

use crate::elections::Election;
use crate::intake::Lane;
use crate::party::Party;
use crate::store::{Kind, Store, StoreError, WriteTx, accepted};

/// Digest of a card record whose offsets were told -> when, Unix milliseconds.
const TOLD: TableDefinition<'static, &[u8; 32], u64> = TableDefinition::new("offsets_told");

/// Makes the table, in the store's opening transaction.
pub(super) fn create(tx: &WriteTx) -> Result<(), StoreError> {
    tx.table_mut(TOLD)?;
    Ok(())
}

/// Notes that the offsets of the record are told now; false when they were before.
fn note(store: &Store, record: &Digest, now_ms: u64) -> Result<bool, StoreError> {
    store.write(|tx| Ok(tx.table_mut(TOLD)?.insert(&record.0, now_ms)?.is_none()))
}

/// What an asker is told who has shown that the record is theirs.
struct Shown {
    record: Digest,
    telling: Telling,
    own: Offset,
    next: Offset,
}

fn malformed(detail: &'static str) -> Refusal {
    Refusal::new(Reason::MessageMalformed, detail)
}

/// What the asker's three receipts, of P1, P2, P3 for one record of `election`, are for.
fn receipts(request: &wire::OffsetsRequest, election: &Election) -> Result<Acceptance, Refusal> {
    let [r1, r2, r3] = request.receipts.as_slice() else {
        return Err(malformed(
            "offsets are told for three receipts, of parties 1, 2 and 3",
        ));
    };
    let keys = election.manifest().party_keys();
    let mut checked: Vec<Acceptance> = Vec::with_capacity(3);
    for (party, receipt) in Role::ALL.into_iter().zip([r1, r2, r3]) {
        let refused = |error: ReceiptError| Refusal::new(error.reason(), error);
        let receipt = Receipt::from_wire(receipt).map_err(refused)?;
        let accepted = receipt.verify(&keys).map_err(refused)?;
        if accepted.party != party {
            return Err(malformed(
                "the three receipts are those of parties 1, 2 and 3, in this order",
            ));
        }
        checked.push(accepted.clone());
    }
    let of = |accepted: &Acceptance| (accepted.election.clone(), accepted.of_box, accepted.digest);
    if checked.iter().any(|accepted| of(accepted) != of(&checked[0])) {
        return Err(malformed("the three receipts are for different records"));
    }
    Ok(checked.swap_remove(0))
}

impl Party {
    /// Registration.Offsets: s_i and s_{i+1} of a card record, for the device that drew it. The note that they are told is on disk before they
    /// leave: a lost answer is not given again, and the device enrols anew.
    ///
    /// # Errors
    /// `receipt.invalid`, `message.malformed`; `offsets.refused`: the record is no card record held here, or the asker does not know its nonces;
    /// `offsets.told`: they were told before; those of [`Party::deliver`] for the others' receipts, which are stored first; `offsets.missing`: this party's key is not here yet; `store.failed`.
    ///
    /// # Security
    /// Nothing is signed: what is told proves nothing to a third person. Who does not know both nonces is told nothing and uses nothing up, and
    /// cannot tell whether the record is there.
    pub(crate) async fn tell_offsets(
        self: &Arc<Self>,
        request: wire::OffsetsRequest,
        lane: Lane,
    ) -> Result<wire::OffsetsReply, Refusal> {
        let of = request
            .receipts
            .first()
            .ok_or_else(|| malformed("offsets are told for three receipts"))?;
        let id = ElectionId::new(&of.election).map_err(Refusal::from)?;
        let election = self.elections.get(id.as_str())?.in_force()?;
        let others = request.receipts.clone();
        let shown = self
            .blocking(move |party| party.shown(&election, &request))
            .await?;
        // Before the voter can count as enrolled: what convicts a party that leaves the record out of its List.
        for receipt in others {
            self.deliver(receipt, lane.clone()).await?;
        }
        self.blocking(move |party| party.tell_now(&shown)).await
    }

    /// What is there to tell, for an asker who knows both nonces.
    fn shown(&self, election: &Election, request: &wire::OffsetsRequest) -> Result<Shown, Refusal> {
        let receipt = receipts(request, election)?;
        let refused = || {
            Refusal::new(
                Reason::OffsetsRefused,
                "this is no card record that is held here, or the asker is not the device that made it",
            )
        };
        let (number, of_box) = (election.number(), receipt.of_box.get());
        let stored = self
            .store
            .read(|tx| accepted::get(tx, Kind::Record, number, of_box, receipt.digest.as_bytes()))?
            .ok_or_else(refused)?;
        let corrupt = || StoreError::Corrupt { table: "records" };
        let header = RecordHeader::decode(&stored.header).map_err(|_| corrupt())?;
        let register = &header.card().ok_or_else(refused)?.register;
        let packed = self
            .vault
            .open(
                Kind::Record,
                self.role.index(),
                receipt.digest.as_bytes(),
                &stored.sealed_shares,
            )
            .map_err(|_| corrupt())?;
        let shares = header.context().read(&packed).map_err(|_| corrupt())?;
        let telling = Telling::new(
            self.role,
            &receipt.digest,
            shares.this.nonce(),
            shares.next.nonce(),
        );
        if !telling.is_shown_by(&request.proof) {
            return Err(refused());
        }
        let [own, next] = self.offset_keys().both(register, election.manifest().offsets())?;
        Ok(Shown {
            own: own.offset(self.role, &receipt.digest),
            next: next.offset(self.role.next(), &receipt.digest),
            record: receipt.digest,
            telling,
        })
    }

    fn tell_now(&self, shown: &Shown) -> Result<wire::OffsetsReply, Refusal> {
        if !note(&self.store, &shown.record, self.now().0)? {
            return Err(Refusal::new(
                Reason::OffsetsTold,
                "the offsets of this record were told before; they are told once",
            ));
        }
        Ok(wire::OffsetsReply {
            sealed: shown.telling.seal(&shown.own, &shown.next),
        })
    }
}
