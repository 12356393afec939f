//! The one thread that writes: it takes what is waiting, writes it in one transaction, and answers when the transaction is on disk.
//!
//! Order is fixed as *durable, then acknowledged*: the receipt of a ballot is made and stored in the same transaction as the ballot and its log
//! entry, and leaves the process after the commit. The receipts of a transaction are a batch under one signature. While one batch is being synced the next one gathers, so the number of syncs follows
//! the disk's speed, not the number of ballots.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use tally_proto::envelope::Signer;
use tally_proto::ids::{BoxId, Digest, ElectionId, Hash32, RegisterId, Role, UnixMillis};
use tally_proto::log::{self as log_entry, Entry};
use tally_proto::reason::Reason;
use tally_proto::receipt::{Acceptance, Receipt, sign_batch};
use tally_proto::refusal::Refusal;
use tokio::sync::{mpsc, oneshot, watch};

use crate::metrics::Metrics;
use crate::store::accepted::{self, Accepted, Counted};
use crate::store::{Kind, Store, StoreError, WriteTx, boxes, log, receipts, registers, serials, tickets};

/// A checked object on its way into the store.
#[derive(Debug)]
pub(crate) struct Checked {
    /// The election's number in the store.
    pub(crate) number: u32,
    pub(crate) election: ElectionId,
    pub(crate) of_box: BoxId,
    pub(crate) digest: Digest,
    pub(crate) counted: Counted,
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
    pub(crate) received_at: UnixMillis,
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
    pub(crate) encoded: Vec<u8>,
}

/// What is to be written.
enum Work {
    Accept(Box<Checked>),
    Deliver(Delivered),
}

/// What writing it came to, told after the commit.
enum Outcome {
    Receipt(Box<Receipt>),
    Delivered,
    Refused(Refusal),
}

struct Job {
    work: Work,
    answer: oneshot::Sender<Outcome>,
}

/// The writing thread's handle. Dropping the last one lets the thread write what is waiting, then ends it.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Option<mpsc::Sender<Job>>,
    failed: watch::Receiver<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `batch`: most objects in one transaction, and as many may wait behind it. `reserve_bytes`: with less room than
    /// this on the store's volume all is refused, until there is more.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(crate) fn start(
        store: Arc<Store>,
        signer: Arc<Signer>,
        own: Role,
        batch: usize,
        reserve_bytes: u64,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Writer> {
        let (queue, jobs) = mpsc::channel(batch);
        let (fail, failed) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || {
                Thread {
                    store,
                    signer,
                    own,
                    batch,
                    reserve_bytes,
                    fail,
                    metrics,
                }
                .run(jobs);
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
        match self.write(Work::Accept(Box::new(checked))).await {
            Outcome::Receipt(receipt) => Ok(*receipt),
            Outcome::Refused(refusal) => Err(refusal),
            Outcome::Delivered => Err(stopped()),
        }
    }

    /// Writes another party's receipt; returns when it is on disk.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) async fn deliver(&self, delivered: Delivered) -> Result<(), Refusal> {
        match self.write(Work::Deliver(delivered)).await {
            Outcome::Refused(refusal) => Err(refusal),
            Outcome::Delivered | Outcome::Receipt(_) => Ok(()),
        }
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
    async fn write(&self, work: Work) -> Outcome {
        let Some(queue) = &self.queue else {
            return Outcome::Refused(stopped());
        };
        let (answer, outcome) = oneshot::channel();
        if queue.send(Job { work, answer }).await.is_err() {
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
    store: Arc<Store>,
    signer: Arc<Signer>,
    own: Role,
    batch: usize,
    reserve_bytes: u64,
    fail: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

impl Thread {
    fn run(self, mut jobs: mpsc::Receiver<Job>) {
        let mut waiting = Vec::with_capacity(self.batch);
        while jobs.blocking_recv_many(&mut waiting, self.batch) > 0 {
            let count = waiting.len();
            if let Some(refusal) = self.full() {
                tracing::warn!(count, %refusal, "a batch is refused");
                for job in waiting.drain(..) {
                    let _ = job.answer.send(Outcome::Refused(refusal.clone()));
                }
                continue;
            }
            let began = Instant::now();
            let written = self
                .store
                .write(|tx| self.write(tx, waiting.iter().map(|job| &job.work)));
            let outcomes: Vec<Outcome> = match written {
                Ok(outcomes) => {
                    self.metrics.committed(count, began.elapsed().as_secs_f64());
                    outcomes
                }
                Err(error) => {
                    tracing::error!(%error, count, "the store failed; nothing of this batch is acknowledged");
                    // Nobody listening is fine: the server is going down already.
                    let _ = self.fail.send(true);
                    waiting.iter().map(|_| Outcome::Refused(failed(&error))).collect()
                }
            };
            for (job, outcome) in waiting.drain(..).zip(outcomes) {
                // A caller that has gone away submits again and gets the stored receipt.
                let _ = job.answer.send(outcome);
            }
            tracing::debug!(count, "batch answered");
        }
    }

    /// The refusal of everything while the reserve of the store's volume is touched. One question to the operating system a batch.
    fn full(&self) -> Option<Refusal> {
        let free = self.store.room().filter(|free| *free < self.reserve_bytes)?;
        Some(Refusal::new(
            Reason::StoreFull,
            format_args!(
                "{} MiB are free, less than the {} MiB of intake.disk_reserve_mib",
                free >> 20,
                self.reserve_bytes >> 20
            ),
        ))
    }

    /// All jobs inside the transaction; what each came to, in their order.
    fn write<'a>(
        &self,
        tx: &WriteTx,
        jobs: impl Iterator<Item = &'a Work>,
    ) -> Result<Vec<Outcome>, StoreError> {
        let mut accepting = Accepting::default();
        let steps = jobs
            .map(|work| self.apply(tx, work, &mut accepting))
            .collect::<Result<Vec<Step>, StoreError>>()?;
        let receipts = accepting.finish(tx, &self.signer)?;
        let outcome = |step| match step {
            Step::Done(outcome) => outcome,
            Step::Accepted(at) => Outcome::Receipt(Box::new(receipts[at].clone())),
        };
        Ok(steps.into_iter().map(outcome).collect())
    }

    /// One job. Refusing it leaves the others of the batch alone.
    fn apply<'a>(
        &self,
        tx: &WriteTx,
        work: &'a Work,
        accepting: &mut Accepting<'a>,
    ) -> Result<Step, StoreError> {
        match work {
            Work::Accept(checked) => self.accept(tx, checked, accepting),
            Work::Deliver(delivered) => {
                let Delivered {
                    number,
                    of_box,
                    digest,
                    party,
                    position,
                    encoded,
                } = delivered;
                // Claims use receipts for what this party accepted, and no others: nobody's junk fills the disk. A voter's device brings the others'
                // receipts when it has this party's own.
                let of = |kind| accepted::is_there(tx, kind, *number, of_box.get(), digest.as_bytes());
                if !of(Kind::Ballot)? && !of(Kind::Record)? {
                    return Ok(Step::Done(Outcome::Refused(Refusal::new(
                        Reason::ReceiptEarly,
                        format_args!(
                            "party {party}'s receipt is for something that this party has not accepted"
                        ),
                    ))));
                }
                receipts::put(
                    tx,
                    *number,
                    of_box.get(),
                    digest.as_bytes(),
                    party.index(),
                    encoded,
                )?;
                receipts::reach(tx, *number, party.index(), *position)?;
                Ok(Step::Done(Outcome::Delivered))
            }
        }
    }

    fn accept<'a>(
        &self,
        tx: &WriteTx,
        new: &'a Checked,
        accepting: &mut Accepting<'a>,
    ) -> Result<Step, StoreError> {
        let of_box = new.of_box.get();
        let kind = new.counted.kind();
        let name = (kind, new.number, of_box, new.digest);
        // Twice in one batch is once.
        if let Some(&at) = accepting.places.get(&name) {
            return Ok(Step::Accepted(at));
        }
        if let Some(stored) = accepted::get(tx, kind, new.number, of_box, new.digest.as_bytes())? {
            let receipt = super::stored_receipt(self.own, &new.election, new.of_box, new.digest, &stored)?;
            return Ok(Step::Done(Outcome::Receipt(Box::new(receipt))));
        }
        if boxes::is_frozen(tx, new.number, of_box)? {
            return Ok(Step::Done(Outcome::Refused(Refusal::new(
                Reason::ListAlready,
                format_args!("box {of_box} is being sealed: this party's List of it is signed"),
            ))));
        }
        if let Some(serial) = new.serial.filter(|_| new.paced)
            && let Some(refusal) = paced(serials::pace(tx, new.number, of_box, serial)?)
        {
            return Ok(Step::Done(Outcome::Refused(refusal)));
        }
        if let Some(serial) = &new.serial
            && !serials::take(tx, new.number, of_box, *serial, new.digest.as_bytes())?
        {
            return Ok(Step::Done(Outcome::Refused(Refusal::new(
                Reason::RecordSerial,
                format_args!(
                    "another record of voter {} with serial {} is here",
                    serial.voter, serial.serial
                ),
            ))));
        }
        if let Some(ticket) = &new.ticket
            && !tickets::spend(tx, new.number, ticket, new.digest.as_bytes())?
        {
            return Ok(Step::Done(Outcome::Refused(super::ballots::ticket_spent())));
        }
        let acceptance = Acceptance {
            election: new.election.clone(),
            of_box: new.of_box,
            party: self.own,
            digest: new.digest,
            ciphertext_hash: new.ciphertext_hash,
            received_at: new.received_at,
            position: log::size(tx, new.number)?,
        };
        let entry = Entry::Accepted(log_entry::Accepted {
            record: kind == Kind::Record,
            of_box: new.of_box,
            digest: new.digest,
            ciphertext_hash: new.ciphertext_hash,
            received_at: new.received_at,
        });
        log::append(tx, new.number, &entry)?;
        let at = accepting.new.len();
        accepting.places.insert(name, at);
        accepting.new.push((new, acceptance));
        Ok(Step::Accepted(at))
    }
}

/// Why a voter's record has to wait, if it has.
fn paced(pace: serials::Pace) -> Option<Refusal> {
    match pace {
        serials::Pace::Good => None,
        serials::Pace::Later => Some(Refusal::new(
            Reason::CardLater,
            "a record that this voter's card signed later is here; enrol again in a few seconds",
        )),
        serials::Pace::Wait(seconds) => Some(Refusal::new(
            Reason::CardTooOften,
            format_args!(
                "many records of this voter are here: the next is taken {seconds} s after the newest"
            ),
        )),
    }
}

/// What a job of a batch has come to, before the batch's receipts are signed.
enum Step {
    Done(Outcome),
    /// Its receipt will be the one of that number.
    Accepted(usize),
}

/// What the batch accepts: in the log already, its rows wait for their receipts, which one signature covers.
#[derive(Default)]
struct Accepting<'a> {
    new: Vec<(&'a Checked, Acceptance)>,
    places: HashMap<(Kind, u32, u32, Digest), usize>,
}

impl Accepting<'_> {
    fn finish(self, tx: &WriteTx, signer: &Signer) -> Result<Vec<Receipt>, StoreError> {
        let (new, acceptances): (Vec<_>, Vec<_>) = self.new.into_iter().unzip();
        let receipts = sign_batch(acceptances, signer);
        for (new, receipt) in new.into_iter().zip(&receipts) {
            let row = Accepted {
                header: new.header.clone(),
                authority_signature: new.authority_signature.clone(),
                ciphertext_hash: new.ciphertext_hash.0,
                received_at_ms: new.received_at.get(),
                position: receipt.unverified().position,
                receipt_signature: receipt.signature().to_bytes(),
                sealed_shares: new.sealed_shares.clone(),
            };
            accepted::insert(
                tx,
                new.number,
                new.of_box.get(),
                new.digest.as_bytes(),
                new.counted,
                &row,
            )?;
            if let Some(register) = &new.register {
                let digest = new.digest.as_bytes();
                registers::note(tx, register.as_str(), new.number, new.of_box.get(), digest)?;
            }
        }
        Ok(receipts)
    }
}

fn failed(error: &StoreError) -> Refusal {
    Refusal::new(Reason::StoreFailed, error)
}
