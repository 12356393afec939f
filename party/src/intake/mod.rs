//! Taking ballots, credential records and the other parties' receipts.
//!
//! ```text
//! submission --parse, place, known?--> check threads --in time?--> (held) --> writer --durable--> receipt
//! ```
//!
//! - *Known*: a digest that is accepted already gets its stored receipt back, whenever it comes, if the ciphertext opens to the commitments.
//! - *Check threads* verify the station's signature, open the ciphertext and both commitments, and seal the shares for the store.
//! - *Held*: a ballot dated 2 to 60 s ahead of this party's clock waits, unanswered and bounded in number, until it is in range;
//!   meanwhile its request has no place among the others'.
//! - *Writer*: the receipt leaves after the transaction that holds the ballot is on disk; one signature covers up to 64 receipts of a transaction.
//! - *Handover*: after the transaction the receipts go to the two others, theirs come here, and an answer may wait a moment for them.
//!
//! Each stage has an end to its queue; what does not fit is refused as `party.busy`, or waits and so holds back its own connection.

mod attempts;
mod ballots;
mod batch;
mod batches;
pub(crate) mod cards;
pub(crate) mod carried;
mod delivery;
mod early;
mod handover;
pub(crate) mod lists;
mod lookup;
mod named;
mod pool;
mod recent;
mod records;
mod waiting;
mod writer;

use std::sync::Arc;

use futures::FutureExt as _;
use tally_proto::envelope::Signer;
use tally_proto::guard::Seat;
use tally_proto::guard::places::Places;
use tally_proto::ids::{BoxId, Digest, ElectionId, Role, RoleExt as _, StationId};
use tally_proto::reason::Reason;
use tally_proto::receipt::Receipt;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tokio::sync::{Semaphore, watch};

use crate::config::IntakeLimits;
use crate::metrics::Metrics;
use crate::party::Party;
use crate::server::kept;
use crate::store::{Accepted, Store, StoreError, Tables, receipts};
use attempts::Attempts;
use batches::Batches;
use handover::{SENT_AT_ONCE, Sent, TAKEN_AT_ONCE};
pub use pool::Lane;
use pool::{Pool, PoolError};
use waiting::{Stored, Waiting};
use writer::{Means, Writer};

/// Who sends a ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Somebody without a certificate, on the public listener.
    Voter,
    /// A station, by its certificate.
    Station(StationId),
}

/// Where a submission comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Who sends it.
    pub sender: Sender,
    /// Behind whose others it waits.
    pub lane: Lane,
    /// The place of its request, which is given back while a ballot is held.
    pub seat: Option<Seat>,
    /// It came in one message with others, whose answers it must not keep: dated ahead it is not held.
    pub in_company: bool,
}

/// Threads and queues of intake.
#[derive(Debug)]
pub struct Intake {
    checks: Pool,
    batches: Batches,
    attempts: Attempts,
    writer: Writer,
    held: Arc<Places<Lane>>,
    reserve_bytes: u64,
    waiting: Arc<Waiting>,
    /// What goes to the two others.
    sent: [Sent; 2],
    /// Turns of each party to hand something over.
    handing: [Semaphore; 3],
    /// Places for what each party hands over.
    handed: [Arc<Semaphore>; 3],
}

impl Intake {
    /// Starts the threads.
    ///
    /// # Errors
    /// The operating system gives no threads.
    pub(crate) fn start(
        own: Role,
        store: Arc<Store>,
        signer: Arc<Signer>,
        limits: IntakeLimits,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Intake> {
        let waiting = Arc::new(Waiting::new(own, limits.wait_for_others));
        let (outboxes, sent) = handover::outboxes(own);
        let means = Means {
            store,
            signer,
            own,
            batch: limits.batch,
            reserve_bytes: limits.reserve_bytes,
            metrics,
            waiting: Arc::clone(&waiting),
            outboxes,
        };
        Ok(Intake {
            checks: Pool::start(limits.check_threads, limits.check_queue)?,
            batches: Batches::default(),
            attempts: Attempts::default(),
            writer: Writer::start(means)?,
            held: Places::new(limits.held_ballots),
            reserve_bytes: limits.reserve_bytes,
            waiting,
            sent,
            handing: std::array::from_fn(|_| Semaphore::new(SENT_AT_ONCE)),
            handed: std::array::from_fn(|_| Arc::new(Semaphore::new(TAKEN_AT_ONCE))),
        })
    }

    /// Turns true when the store has failed.
    pub(crate) fn failed(&self) -> watch::Receiver<bool> {
        self.writer.failed()
    }

    /// Free bytes of the store's volume below which nothing more is taken.
    pub(crate) fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes
    }

    /// Submissions that wait for a checking thread.
    pub fn waiting_for_checks(&self) -> usize {
        self.checks.waiting()
    }

    /// Objects that wait for the writer.
    pub fn waiting_for_writer(&self) -> usize {
        self.writer.waiting()
    }

    /// Ballots that are held at this moment.
    pub fn held(&self) -> usize {
        self.held.count()
    }
}

/// Starts the tasks that hand receipts over and see to it that answers leave in time; they end when the server stops.
pub(crate) fn serve(party: &Arc<Party>) {
    for sent in 0..party.intake.sent.len() {
        let of = Arc::clone(party);
        let send = move || handover::send(Arc::clone(&of), sent).boxed();
        tokio::spawn(kept(Arc::clone(party), "handing over of receipts", send));
    }
    let of = Arc::clone(party);
    let keep_time = move || {
        let party = Arc::clone(&of);
        async move { party.intake.waiting.keep_time().await }.boxed()
    };
    tokio::spawn(kept(Arc::clone(party), "answering in time", keep_time));
    let party = Arc::clone(party);
    tokio::spawn(async move {
        party.stopping().await;
        party.intake.waiting.end();
    });
}

/// Whose receipts are on disk for what stands at a position of this party's log.
fn stored_of_others(tx: &impl Tables, own: Role, number: u32, position: u64) -> Result<Stored, StoreError> {
    let mut stored = [false; 3];
    for other in [own.next(), own.prev()] {
        stored[other.slot()] = receipts::is_there(tx, number, other.index(), position)?;
    }
    Ok(stored)
}

impl From<PoolError> for Refusal {
    fn from(error: PoolError) -> Self {
        let reason = match error {
            PoolError::Full(_) => Reason::PartyBusy,
            PoolError::Stopped => Reason::PartyShuttingDown,
        };
        Refusal::new(reason, error)
    }
}

/// The receipt that was given for a stored object.
///
/// # Errors
/// [`StoreError::Corrupt`]: the row does not hold a receipt.
pub fn stored_receipt(
    own: Role,
    election: &ElectionId,
    of_box: BoxId,
    digest: Digest,
    stored: &Accepted,
) -> Result<Receipt, StoreError> {
    let receipt = wire::Receipt {
        election: election.as_str().to_owned(),
        r#box: of_box.get(),
        party: own.number(),
        digest: digest.0.to_vec(),
        ciphertext_hash: stored.ciphertext_hash.to_vec(),
        received_at_s: stored.received_at_s,
        position: stored.position,
        signature: stored.receipt_signature.clone(),
    };
    Receipt::from_wire(&receipt).map_err(|_| StoreError::Corrupt { table: "ballots" })
}
