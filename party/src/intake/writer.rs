//! The one thread that writes: it takes what is waiting, writes it in one transaction, and answers when the transaction is on disk.
//!
//! Order is fixed as *durable, then acknowledged*: the receipt of a ballot is made and stored in the same transaction as the ballot and its log
//! entry, and leaves the process after the commit. The receipts of a transaction are a batch under one signature. While one batch is being synced the
//! next one gathers, so the number of syncs follows the disk's speed, not the number of ballots. Under load there is a pause besides: a transaction
//! costs the same pages of every table for ten ballots or a hundred.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tally_proto::envelope::Signer;
use tally_proto::ids::{BoxId, Digest, ElectionId, Hash32, RegisterId, Role, UnixSeconds};
use tally_proto::manifest::Capacity;
use tally_proto::reason::Reason;
use tally_proto::receipt::Receipt;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::batch::{Batch, Step};
use super::early::Early;
use super::handover::Outboxes;
use super::recent::Recent;
use super::waiting::{Stored, Waiting};
use crate::metrics::Metrics;
use crate::store::accepted::Counted;
use crate::store::{Store, StoreError, serials, tickets};

/// So many jobs in one transaction are a load.
const MANY: usize = 8;
/// Under load a transaction begins so long after the one before at the earliest. A voter notices nothing of it, and whoever votes while nobody else
/// does never waits for it.
const PACE: Duration = Duration::from_millis(20);

/// A checked object on its way into the store.
#[derive(Debug)]
pub(crate) struct Checked {
    /// The election's number in the store.
    pub(crate) number: u32,
    pub(crate) election: ElectionId,
    pub(crate) of_box: BoxId,
    pub(crate) digest: Digest,
    pub(crate) counted: Counted,
    /// What the box takes.
    pub(crate) capacity: Capacity,
    /// Of a station's ballot: station and number, which it takes for itself.
    pub(crate) sequence: Option<(u32, u64)>,
    /// Of a ballot: when it was cast.
    pub(crate) cast_at: Option<UnixSeconds>,
    /// Of a record: (voter, half, serial), which it takes for itself.
    pub(crate) serial: Option<serials::Serial>,
    /// It is a card record that comes from the voter's device, and so may be asked to wait.
    pub(crate) paced: bool,
    /// Of a ballot with a ticket: the one-time key, which it spends.
    pub(crate) ticket: Option<tickets::TicketKey>,
    /// Of a card record that comes from the voter's device: its register, whose other elections take it over.
    pub(crate) register: Option<RegisterId>,
    pub(crate) header: Vec<u8>,
    pub(crate) authority_signature: Vec<u8>,
    pub(crate) ciphertext_hash: Hash32,
    /// When this party's clock found it in time.
    pub(crate) received_at: UnixSeconds,
    pub(crate) sealed_shares: Vec<u8>,
}

/// Another party's verified receipt on its way into the store.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) number: u32,
    pub(crate) of_box: BoxId,
    pub(crate) digest: Digest,
    pub(crate) party: Role,
    /// Position in that party's log.
    pub(crate) position: u64,
    /// When that party found it in time.
    pub(crate) received_at: UnixSeconds,
    pub(crate) encoded: Vec<u8>,
}

/// What is to be written.
pub(super) enum Work {
    Accept(Box<Checked>),
    Deliver(Delivered),
    /// What another party handed over: of what is accepted here, or will be. The permit bounds how much of it waits.
    HandedOver(Vec<Delivered>, OwnedSemaphorePermit),
}

/// What writing it came to, told after the commit.
#[derive(Debug)]
pub(super) enum Outcome {
    Accepted(Box<(Receipt, Stored)>),
    Delivered,
    Refused(Refusal),
}

impl Outcome {
    pub(super) fn accepted(receipt: Receipt, stored: Stored) -> Self {
        Self::Accepted(Box::new((receipt, stored)))
    }
}

struct Job {
    work: Work,
    /// Nobody waits for the outcome of what was handed over.
    answer: Option<oneshot::Sender<Outcome>>,
    /// The answer waits for the others' receipts.
    waits: bool,
}

/// What the thread works with.
pub(super) struct Means {
    pub(super) store: Arc<Store>,
    pub(super) signer: Arc<Signer>,
    pub(super) own: Role,
    /// Most objects in one transaction, and as many may wait behind it.
    pub(super) batch: usize,
    /// With less room than this on the store's volume all is refused, until there is more.
    pub(super) reserve_bytes: u64,
    pub(super) metrics: Arc<Metrics>,
    pub(super) waiting: Arc<Waiting>,
    pub(super) outboxes: Outboxes,
}

/// The writing thread's handle. Dropping the last one lets the thread write what is waiting, then ends it.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Option<mpsc::Sender<Job>>,
    failed: watch::Receiver<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(super) fn start(means: Means) -> std::io::Result<Writer> {
        let (queue, jobs) = mpsc::channel(means.batch);
        let (fail, failed) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || {
                let thread = Thread {
                    means,
                    fail,
                    early: Early::default(),
                    recent: Recent::default(),
                };
                thread.run(jobs);
            })?;
        Ok(Writer {
            queue: Some(queue),
            failed,
            thread: Some(thread),
        })
    }

    /// Writes a ballot or record; the receipt comes back when it is on disk. A digest that is there already gets its stored receipt.
    ///
    /// # Errors
    /// The box is frozen, the serial is taken, or the store failed.
    pub(crate) async fn accept(&self, checked: Checked) -> Result<Receipt, Refusal> {
        self.take(checked, false).await.map(|(receipt, _)| receipt)
    }

    /// The same, and whose receipts for it are on disk here: waits for them a moment if it `waits`.
    ///
    /// # Errors
    /// As [`Writer::accept`].
    pub(super) async fn take(&self, checked: Checked, waits: bool) -> Result<(Receipt, Stored), Refusal> {
        match self.write(Work::Accept(Box::new(checked)), waits).await {
            Outcome::Accepted(accepted) => Ok(*accepted),
            Outcome::Refused(refusal) => Err(refusal),
            Outcome::Delivered => Err(stopped()),
        }
    }

    /// Writes another party's receipt; returns when it is on disk.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) async fn deliver(&self, delivered: Delivered) -> Result<(), Refusal> {
        match self.write(Work::Deliver(delivered), false).await {
            Outcome::Refused(refusal) => Err(refusal),
            Outcome::Delivered | Outcome::Accepted(_) => Ok(()),
        }
    }

    /// Takes what another party handed over; returns when it has a place in the queue.
    ///
    /// # Errors
    /// The writer has stopped.
    pub(super) async fn hand_over(
        &self,
        receipts: Vec<Delivered>,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), Refusal> {
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        let job = Job {
            work: Work::HandedOver(receipts, permit),
            answer: None,
            waits: false,
        };
        queue.send(job).await.map_err(|_| stopped())
    }

    /// Turns true when the store has failed: nothing is acknowledged from then on, and the process should be started again.
    pub(crate) fn failed(&self) -> watch::Receiver<bool> {
        self.failed.clone()
    }

    /// Objects that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue
            .as_ref()
            .map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }

    /// Waits for room, then for the disk: callers that wait here hold back their own connections.
    async fn write(&self, work: Work, waits: bool) -> Outcome {
        let Some(queue) = &self.queue else {
            return Outcome::Refused(stopped());
        };
        let (answer, outcome) = oneshot::channel();
        let job = Job {
            work,
            answer: Some(answer),
            waits,
        };
        if queue.send(job).await.is_err() {
            return Outcome::Refused(stopped());
        }
        outcome.await.unwrap_or_else(|_| Outcome::Refused(stopped()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, every caller has been told by its dropped channel.
            let _ = thread.join();
        }
    }
}

fn stopped() -> Refusal {
    Refusal::new(
        Reason::PartyShuttingDown,
        "the writer has stopped; submit again when the party is back",
    )
}

struct Thread {
    means: Means,
    fail: watch::Sender<bool>,
    early: Early,
    recent: Recent,
}

impl Thread {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut waiting = Vec::with_capacity(self.means.batch);
        while jobs.blocking_recv_many(&mut waiting, self.means.batch) > 0 {
            let count = waiting.len();
            if let Some(refusal) = self.full() {
                tracing::warn!(count, %refusal, "a batch is refused");
                for answer in waiting.drain(..).filter_map(|job| job.answer) {
                    let _ = answer.send(Outcome::Refused(refusal.clone()));
                }
                continue;
            }
            let began = Instant::now();
            let (works, answers): (Vec<Work>, Vec<_>) = waiting
                .drain(..)
                .map(|job| (job.work, (job.answer, job.waits)))
                .unzip();
            match self.commit(works) {
                Ok(written) => {
                    let seconds = began.elapsed().as_secs_f64();
                    self.means.metrics.committed(count, seconds);
                    self.tell(written, answers);
                }
                Err(error) => {
                    tracing::error!(%error, count, "the store failed; nothing of this batch is acknowledged");
                    // Nobody listening is fine: the server is going down already. What is remembered of this batch was not written: its positions
                    // may go to others.
                    let _ = self.fail.send(true);
                    self.early = Early::default();
                    self.recent = Recent::default();
                    for answer in answers.into_iter().filter_map(|(answer, _)| answer) {
                        let _ = answer.send(Outcome::Refused(failed(&error)));
                    }
                }
            }
            tracing::debug!(count, "batch answered");
            if (MANY..self.means.batch).contains(&count) {
                std::thread::sleep(PACE.saturating_sub(began.elapsed()));
            }
        }
    }

    /// The refusal of everything while the reserve of the store's volume is touched. One question to the operating system a batch.
    fn full(&self) -> Option<Refusal> {
        let reserve = self.means.reserve_bytes;
        let free = self.means.store.room().filter(|free| *free < reserve)?;
        Some(Refusal::new(
            Reason::StoreFull,
            format_args!(
                "{} MiB are free, less than the {} MiB of intake.disk_reserve_mib",
                free >> 20,
                reserve >> 20
            ),
        ))
    }

    /// All of it in one transaction, on disk on return.
    fn commit(&mut self, works: Vec<Work>) -> Result<Written, StoreError> {
        let Self {
            means, early, recent, ..
        } = self;
        means
            .store
            .write(|tx| Batch::new(tx, means.own, early, recent).write(works, &means.signer))
    }

    /// Answers, and hands the new receipts to the others.
    fn tell(&self, written: Written, answers: Vec<(Option<oneshot::Sender<Outcome>>, bool)>) {
        let Means {
            waiting, outboxes, ..
        } = &self.means;
        for (step, (answer, waits)) in written.steps.into_iter().zip(answers) {
            let Some(answer) = answer else { continue };
            let outcome = match step {
                Step::Done(outcome) => outcome,
                Step::Accepted(at) => {
                    let (number, stored) = written.stored[at];
                    let receipt = written.receipts[at].clone();
                    if waits {
                        waiting.begin((number, receipt), stored, answer);
                        continue;
                    }
                    Outcome::accepted(receipt, stored)
                }
            };
            // A caller that has gone away submits again and gets the stored receipt.
            let _ = answer.send(outcome);
        }
        outboxes.put(written.whole);
        written.heard.into_iter().for_each(|party| waiting.heard(party));
        waiting.stored(written.delivered.into_iter());
    }
}

/// What a transaction has written.
pub(super) struct Written {
    /// What the jobs came to, in their order.
    pub(super) steps: Vec<Step>,
    /// The new receipts, in the order of their steps.
    pub(super) receipts: Vec<Receipt>,
    /// Those of ballots again, for the others.
    pub(super) whole: Vec<wire::ReceiptBatch>,
    /// For each the number of its election, and whose receipts for the same are on disk with it.
    pub(super) stored: Vec<(u32, Stored)>,
    /// Receipts of others for what was there already: election, digest, party.
    pub(super) delivered: Vec<(u32, Digest, Role)>,
    /// Whoever handed over something that was not here yet.
    pub(super) heard: Vec<Role>,
}

fn failed(error: &StoreError) -> Refusal {
    Refusal::new(Reason::StoreFailed, error)
}
