//! Handing receipts over: right after the commit that made them, a party sends its batches to the two others, and takes theirs.
//!
//! It is a service to voters' devices and stations, which would do it otherwise, and nothing depends on it: what is not sent, not taken or forgotten
//! they bring. So nothing here is kept for long or tried again. Sending: one message under way to each party, what gathers meanwhile goes with the
//! next, and what does not fit is dropped; to a party that does not answer nothing is sent for a second. Taking: few messages of one party at a
//! time, of a bounded number of receipts, under signatures that are verified before anything is kept.

use std::sync::Arc;
use std::time::Duration;

use tally_proto::envelope::PublicKey;
use tally_proto::ids::{ElectionId, Role, RoleExt as _};
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::receipt::{Receipt, ReceiptError, WHOLE_RECEIPT_BYTES, WholeBatch};
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::pool::Lane;
use super::writer::Delivered;
use crate::party::Party;

/// Most receipts of one message.
pub(super) const MOST_RECEIPTS: usize = 4096;
/// Messages that one party may be sending at once.
pub(super) const SENT_AT_ONCE: usize = 2;
/// Messages of one party that are worked on at once, from their arrival to their transaction.
pub(super) const TAKEN_AT_ONCE: usize = 4;
/// Transactions' worth of receipts that wait for one party.
const OUTBOX: usize = 64;
/// How long the other party may take to find room for a message.
const PATIENCE: Duration = Duration::from_secs(2);
/// From here on nobody waits for its receipts.
const SLOW: Duration = Duration::from_millis(500);
/// How long a party that does not answer is left alone.
const REST: Duration = Duration::from_secs(1);

/// The writer's end: batches for the two others.
#[derive(Debug)]
pub(super) struct Outboxes(Vec<mpsc::Sender<Vec<wire::ReceiptBatch>>>);

/// The sending tasks' end.
#[derive(Debug)]
pub(crate) struct Sent(Role, Mutex<mpsc::Receiver<Vec<wire::ReceiptBatch>>>);

/// Outboxes of party `own`.
pub(super) fn outboxes(own: Role) -> (Outboxes, [Sent; 2]) {
    let (one, of_one) = mpsc::channel(OUTBOX);
    let (other, of_other) = mpsc::channel(OUTBOX);
    let sent = [
        Sent(own.next(), Mutex::new(of_one)),
        Sent(own.prev(), Mutex::new(of_other)),
    ];
    (Outboxes(vec![one, other]), sent)
}

impl Outboxes {
    /// Sends batches to both others, if there is room: of a large transaction in several messages, each as long as one may be.
    pub(super) fn put(&self, mut batches: Vec<wire::ReceiptBatch>) {
        while !batches.is_empty() {
            let mut receipts = 0;
            let fits = batches.iter().take_while(|batch| {
                receipts += receipts_of(std::slice::from_ref(*batch));
                receipts <= MOST_RECEIPTS
            });
            // A batch has 64 receipts at most.
            let rest = batches.split_off(fits.count().max(1));
            for outbox in &self.0 {
                // Full: the other is away or slow, and voters' devices bring what it misses.
                let _ = outbox.try_send(batches.clone());
            }
            batches = rest;
        }
    }
}

fn receipts_of(batches: &[wire::ReceiptBatch]) -> usize {
    batches
        .iter()
        .map(|batch| batch.receipts.len() / WHOLE_RECEIPT_BYTES)
        .sum()
}

/// Sends what comes into one outbox, until the server stops.
pub(crate) async fn send(party: Arc<Party>, sent: usize) {
    let Some(Sent(peer, queue)) = party.intake.sent.get(sent) else {
        return;
    };
    let mut queue = queue.lock().await;
    let mut next = Vec::new();
    loop {
        if next.is_empty() {
            tokio::select! {
                more = queue.recv() => match more {
                    Some(batches) => next = batches,
                    None => return,
                },
                () = party.stopping() => return,
            }
        }
        let mut batches = std::mem::take(&mut next);
        while let Ok(more) = queue.try_recv() {
            if receipts_of(&batches) + receipts_of(&more) > MOST_RECEIPTS {
                next = more;
                break;
            }
            batches.extend(more);
        }
        let is_away = tokio::select! {
            given = party.give(*peer, batches) => given.is_err(),
            () = party.stopping() => return,
        };
        if is_away {
            tokio::select! {
                () = tokio::time::sleep(REST) => {}
                () = party.stopping() => return,
            }
            // What has gathered is old by now.
            next.clear();
            while queue.try_recv().is_ok() {}
        }
    }
}

impl Party {
    /// One message to `peer`.
    async fn give(&self, peer: Role, batches: Vec<wire::ReceiptBatch>) -> Result<(), Refusal> {
        let mut client = self.bounded_client(peer)?;
        let call = client.hand_over(wire::ReceiptBatches { batches });
        tokio::pin!(call);
        let waiting = &self.intake.waiting;
        let answer = match timeout(SLOW, &mut call).await {
            Ok(answer) => answer,
            Err(_) => {
                waiting.away(peer);
                timeout(PATIENCE, call).await.map_err(|_| {
                    Refusal::new(Reason::PartyUnreachable, format_args!("{peer} takes no receipts"))
                })?
            }
        };
        match answer {
            Ok(_) => waiting.reached(peer),
            Err(status) => {
                waiting.away(peer);
                let refusal = Refusal::of_status(&status);
                tracing::debug!(party = %self.role, %peer, %refusal, "receipts cannot be handed over just now");
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// Peer.HandOver: takes receipts that `caller` has just given. Returns when they have a place in the writer's queue.
    ///
    /// # Errors
    /// `message.too-large`, `message.malformed`, `receipt.invalid`: the caller's fault; `party.busy`, `party.shutting-down`.
    pub async fn take_handed_over(
        self: &Arc<Self>,
        caller: Role,
        message: wire::ReceiptBatches,
    ) -> Result<(), Refusal> {
        // One is under way at an honest party; a second after a lost connection.
        let _turn = self.intake.handing[caller.slot()].try_acquire().map_err(|_| {
            Refusal::new(
                Reason::PartyBusy,
                format_args!("{caller} hands receipts over here already"),
            )
        })?;
        let count = receipts_of(&message.batches);
        if count > MOST_RECEIPTS {
            return Err(Refusal::new(
                Reason::MessageTooLarge,
                format_args!("{count} receipts in one message, at most {MOST_RECEIPTS} are taken"),
            ));
        }
        let stopped = |_| Refusal::new(Reason::PartyShuttingDown, "the party is stopping");
        let places = Arc::clone(&self.intake.handed[caller.slot()]);
        let permit = places.acquire_owned().await.map_err(stopped)?;
        let party = Arc::clone(self);
        let check = move || {
            (message.batches.iter()).try_fold(Vec::with_capacity(count), |mut all, batch| {
                party.check_handed_over(caller, batch, &mut all)?;
                Ok::<_, Refusal>(all)
            })
        };
        let lane = Lane::Named(PeerRole::Party(caller));
        let receipts = self.intake.checks.run(lane, check).await??;
        self.intake.writer.hand_over(receipts, permit).await
    }

    /// The receipts of a batch that are of elections in force here, each under the key that its election names.
    fn check_handed_over(
        &self,
        caller: Role,
        batch: &wire::ReceiptBatch,
        all: &mut Vec<Delivered>,
    ) -> Result<(), Refusal> {
        let refused = |error: ReceiptError| Refusal::new(error.reason(), error);
        let whole = WholeBatch::from_wire(batch, caller).map_err(refused)?;
        let mut known: Vec<(ElectionId, Option<(u32, PublicKey)>)> = Vec::new();
        for id in &batch.elections {
            let election = self.elections.get(id).and_then(|election| election.in_force());
            let election = election
                .ok()
                .map(|election| (election.number(), election.manifest().party_keys()));
            if let Some((_, keys)) = &election
                && !known
                    .iter()
                    .any(|(_, of)| of.is_some_and(|(_, key)| key == keys[caller.slot()]))
            {
                if !whole.batch().verify(keys) {
                    return Err(refused(ReceiptError::BadSignature(caller)));
                }
                let batches = &self.intake.batches;
                batches.remember(&keys[caller.slot()], whole.batch().clone());
            }
            let id = ElectionId::new(id).map_err(|error| refused(error.into()))?;
            known.push((id, election.map(|(number, keys)| (number, keys[caller.slot()]))));
        }
        for receipt in whole.into_receipts() {
            let stated = receipt.unverified();
            let election = known.iter().find(|(id, _)| *id == stated.election);
            if let Some((_, Some((number, _)))) = election {
                all.push(delivered(*number, &receipt));
            }
        }
        Ok(())
    }
}

/// A verified receipt on its way to the writer.
pub(super) fn delivered(number: u32, receipt: &Receipt) -> Delivered {
    let stated = receipt.unverified();
    Delivered {
        number,
        of_box: stated.of_box,
        digest: stated.digest,
        party: stated.party,
        position: stated.position,
        received_at: stated.received_at,
        encoded: receipt.encode(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_transaction_goes_out_in_several_messages_and_nothing_of_it_is_lost() {
        let (outboxes, [one, other]) = outboxes(Role::P1);
        let batch = |n: usize| wire::ReceiptBatch {
            receipts: vec![0; n * WHOLE_RECEIPT_BYTES],
            ..Default::default()
        };
        // As many as the longest transaction has, in batches of 64 and a shorter one.
        let mut batches = vec![batch(64); 65_536 / 64];
        batches.push(batch(3));
        outboxes.put(batches);
        outboxes.put(vec![batch(64)]);
        outboxes.put(Vec::new());
        for Sent(_, queue) in [one, other] {
            let mut queue = queue.into_inner();
            let mut messages = Vec::new();
            while let Ok(batches) = queue.try_recv() {
                messages.push(receipts_of(&batches));
            }
            let mut due = vec![MOST_RECEIPTS; 16];
            due.extend([3, 64]);
            assert_eq!(messages, due);
        }
    }
}
