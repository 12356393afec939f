//! Bringing what is queued to the parties, each party at its own pace.
//!
//! A pass has two steps: every party gets the ballots that it lacks, several in a message, then every party gets the others' receipts that they have
//! not handed it themselves. A party that cannot
//! be reached is left out for the rest of the pass; what it lacks waits for the next. Each answer is written to the queue.
//!
//! Each party's errands run by themselves and tell what they meet as it comes. A pass that is bounded in time ends without those that hang: these
//! go on until a request's own time limit, the next passes do not wait for them, and what they still bring is noted then. So a party that takes
//! everything and answers nothing, or whose machine is off, keeps nobody from the others' answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use tally_proto::ids::{Role, RoleExt};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::queue::{Queued, Step};
use super::{Fault, Row, Station, StationError};
use crate::link::{Link, MOST_TOGETHER};

/// Requests under way to one party at a time.
const AT_ONCE: usize = 64;
/// Messages of several ballots under way to one party at a time.
const TOGETHER_AT_ONCE: usize = 4;
/// Steps that are written to the queue at once.
const STEPS_AT_ONCE: usize = 1024;
/// A single pass of `drain` takes no longer.
const ONE_PASS: Duration = Duration::from_secs(300);
const FIRST_PAUSE: Duration = Duration::from_millis(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What a drain has done.
#[derive(Clone, Debug, Default)]
pub struct Drained {
    /// Ballots that all three parties have now and had not before.
    pub delivered: usize,
    /// Ballots that some party still lacks.
    pub left: usize,
    /// The last fault of each party in trouble.
    pub faults: BTreeMap<Role, Fault>,
    /// Ballots that a party refuses for good, with its reason; they stay in the queue as evidence.
    pub refused: Vec<(Row, Fault)>,
}

impl Drained {
    /// Whether nothing is left.
    pub fn is_complete(&self) -> bool {
        self.left == 0
    }
}

/// What comes back from the requests of a pass.
enum Answer {
    Step(Step),
    Fault(u64, Fault),
    /// The party's errand has ended.
    Ended(Role),
}

type Job = (u64, Queued);

/// Until when the two steps of a pass wait.
#[derive(Clone, Copy)]
struct Bound {
    submit: Instant,
    deliver: Instant,
    limit: Duration,
}

impl Bound {
    /// A pass of `limit` at most, of which submitting takes two thirds.
    fn of(limit: Duration) -> Self {
        let begun = Instant::now();
        Self {
            submit: begun + limit / 3 * 2,
            deliver: begun + limit,
            limit,
        }
    }
}

/// The parties' errands. Dropped, they end.
pub(super) struct Errands {
    answers: UnboundedSender<Answer>,
    inbox: UnboundedReceiver<Answer>,
    tasks: JoinSet<()>,
    /// Whose errand is on its way.
    busy: [bool; 3],
    /// Who did not answer to several ballots in a message when it was last asked: it is brought each by itself in the next pass, so that
    /// neither a slow line nor one among them keeps the others from it for ever.
    alone: Arc<[AtomicBool; 3]>,
}

impl Default for Errands {
    fn default() -> Self {
        let (answers, inbox) = unbounded_channel();
        Self {
            answers,
            inbox,
            tasks: JoinSet::new(),
            busy: [false; 3],
            alone: Arc::default(),
        }
    }
}

/// Says that an errand has ended, however it does.
struct Ending(Role, UnboundedSender<Answer>);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.1.send(Answer::Ended(self.0));
    }
}

impl Station {
    /// Delivers what is queued until all three parties have everything, or until `give_up_after` has passed, however slowly one of them answers. Parties
    /// that are away are tried again and again until then; a `give_up_after` of zero is one pass, of some minutes at most.
    ///
    /// # Errors
    /// [`StationError::Queue`] when the queue cannot be written. What a party did not take is no error but in [`Drained`].
    pub async fn drain(&mut self, give_up_after: Duration) -> Result<Drained, StationError> {
        let begun = Instant::now();
        let before = self.queue.pending().len();
        let mut pause = FIRST_PAUSE;
        self.refused.clear();
        loop {
            let left = self.queue.pending().len();
            let mut drained = Drained::default();
            let limit = if give_up_after.is_zero() {
                ONE_PASS
            } else {
                give_up_after.saturating_sub(begun.elapsed()).max(FIRST_PAUSE)
            };
            self.pass(&mut drained, Bound::of(limit)).await?;
            let now_left = self.queue.pending().len();
            let hopeless = drained.faults.values().all(|fault| !fault.may_pass());
            if now_left == 0 || hopeless || begun.elapsed() + pause > give_up_after {
                return self.drained(drained, before);
            }
            sleep(pause).await;
            pause = if now_left < left {
                FIRST_PAUSE
            } else {
                (pause * 2).min(LONGEST_PAUSE)
            };
        }
    }

    /// One pass that takes `limit` at most. Of a party that has not answered by then it says so; what the others said is in [`Drained`], and in
    /// [`Station::bulletin`] the moment it comes.
    ///
    /// # Errors
    /// As [`Station::drain`].
    pub async fn drain_within(&mut self, limit: Duration) -> Result<Drained, StationError> {
        let before = self.queue.pending().len();
        self.refused.clear();
        let mut drained = Drained::default();
        self.pass(&mut drained, Bound::of(limit)).await?;
        self.drained(drained, before)
    }

    fn drained(&mut self, mut drained: Drained, before: usize) -> Result<Drained, StationError> {
        let left = self.queue.pending().len();
        drained.delivered = before.saturating_sub(left);
        drained.left = left;
        self.bulletin.keep_only(self.queue.pending().keys().copied());
        for ballot in self.bulletin.refused() {
            let faults = ballot.faults.into_iter();
            drained.refused.extend(faults.map(|fault| (ballot.row, fault)));
        }
        if left == 0 && before > 0 {
            self.queue.rewrite()?;
        }
        Ok(drained)
    }

    async fn pass(&mut self, drained: &mut Drained, bound: Bound) -> Result<(), StationError> {
        let away: Arc<[AtomicBool; 3]> = Arc::default();
        // What came too late for the last pass.
        self.note(drained, [false; 3], bound.submit).await?;
        // Who did not answer then is asked anew now.
        drained.faults.retain(|_, fault| !fault.may_pass());
        for deliver in [false, true] {
            let jobs: Vec<Job> = self
                .queue
                .pending()
                .iter()
                .map(|(n, queued)| (*n, queued.clone()))
                .collect();
            let mut asked = [false; 3];
            for link in self.connections.links().clone() {
                let party = link.party;
                if self.errands.busy[party.slot()] {
                    continue;
                }
                let jobs = jobs
                    .iter()
                    .filter(|(number, _)| !self.refused.contains(&(*number, party)));
                let errand = serve(
                    link,
                    jobs.cloned().collect(),
                    deliver,
                    [Arc::clone(&away), Arc::clone(&self.errands.alone)],
                    self.errands.answers.clone(),
                );
                self.errands.tasks.spawn(errand);
                self.errands.busy[party.slot()] = true;
                asked[party.slot()] = true;
            }
            let until = if deliver { bound.deliver } else { bound.submit };
            self.note(drained, asked, until).await?;
        }
        while self.errands.tasks.try_join_next().is_some() {}
        for link in self.connections.links() {
            let party = link.party;
            if self.errands.busy[party.slot()] {
                let seconds = bound.limit.as_secs_f32();
                let hangs = Refusal::new(
                    Reason::PartyUnreachable,
                    format_args!("no answer within {seconds} s"),
                );
                let hangs = Fault::of(party, &link.agency, hangs);
                drained.faults.entry(party).or_insert(hangs);
            }
            self.bulletin.trouble(party, drained.faults.get(&party).cloned());
        }
        Ok(())
    }

    /// Notes what comes, until the errands of those that were `asked` have ended, or until then.
    async fn note(
        &mut self,
        drained: &mut Drained,
        asked: [bool; 3],
        until: Instant,
    ) -> Result<(), StationError> {
        let mut batch = Vec::with_capacity(STEPS_AT_ONCE);
        loop {
            let waits = asked
                .iter()
                .zip(self.errands.busy)
                .any(|(asked, busy)| *asked && busy);
            if !waits && self.errands.inbox.is_empty() {
                return Ok(());
            }
            let next = self.errands.inbox.recv_many(&mut batch, STEPS_AT_ONCE);
            // An answer that is there goes before the time.
            let came = timeout_at(until, next).await.unwrap_or(0);
            if came == 0 {
                return Ok(());
            }
            let mut steps = Vec::with_capacity(batch.len());
            for answer in batch.drain(..) {
                match answer {
                    Answer::Step(step) => {
                        if let Some((number, party, ballot)) = step.taken() {
                            self.bulletin.taken(number, party, ballot);
                        }
                        steps.push(step);
                    }
                    Answer::Fault(number, fault) => self.note_fault(drained, number, fault),
                    Answer::Ended(party) => self.errands.busy[party.slot()] = false,
                }
            }
            self.queue.note(steps)?;
        }
    }

    fn note_fault(&mut self, drained: &mut Drained, number: u64, fault: Fault) {
        if !fault.may_pass() && self.refused.insert((number, fault.party())) {
            let queued = self.queue.pending().get(&number);
            let row = queued.and_then(|queued| Row::of(queued.parcel.header()));
            if let (Some(queued), Some(row)) = (queued, row) {
                // Who has the ballot refuses a receipt of it only.
                let ballot = queued.standing.receipt(fault.party()).is_none();
                self.bulletin.note_refusal(number, row, ballot, &fault);
            }
        }
        drained.faults.insert(fault.party(), fault);
    }
}

/// One party's errand in a step of the pass.
async fn serve(
    link: Link,
    jobs: Vec<Job>,
    deliver: bool,
    [away, alone]: [Arc<[AtomicBool; 3]>; 2],
    answers: UnboundedSender<Answer>,
) {
    let _ending = Ending(link.party, answers.clone());
    let errand = Errand {
        link: &link,
        away: &away[link.party.slot()],
        alone: &alone[link.party.slot()],
        answers: &answers,
    };
    if deliver {
        errand.hand_over_all(jobs).await;
    } else {
        errand.submit_all(jobs).await;
    }
}

/// What a step of a pass does at one party.
#[derive(Clone, Copy)]
struct Errand<'e> {
    link: &'e Link,
    /// The party cannot be reached: nothing more is asked of it in this pass.
    away: &'e AtomicBool,
    /// It did not answer to several ballots in a message.
    alone: &'e AtomicBool,
    answers: &'e UnboundedSender<Answer>,
}

impl Errand<'_> {
    fn is_away(self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    fn failed(self, number: u64, fault: Fault) {
        if fault.may_pass() {
            self.away.store(true, Ordering::Relaxed);
        }
        // The station may be gone.
        let _ = self.answers.send(Answer::Fault(number, fault));
    }

    fn accepted(self, number: u64, (receipt, stored): (wire::Receipt, Vec<Role>)) {
        let party = self.link.party;
        let _ = (self.answers).send(Answer::Step(Step::accepted(number, party, receipt)));
        for of in stored {
            let _ = self.answers.send(Answer::Step(Step::stored(number, party, of)));
        }
    }

    /// Ballots go several in a message.
    async fn submit_all(self, mut jobs: Vec<Job>) {
        jobs.retain(|(_, queued)| queued.standing.receipt(self.link.party).is_none());
        if self.alone.swap(false, Ordering::Relaxed) {
            return self.submit_alone(&jobs, AT_ONCE).await;
        }
        let (mut messages, mut rest) = (Vec::new(), jobs.as_slice());
        while !rest.is_empty() {
            let fit = self.link.together(rest.iter().map(|(_, queued)| &queued.parcel));
            let (message, others) = rest.split_at(fit);
            messages.push(message);
            rest = others;
        }
        stream::iter(messages)
            .for_each_concurrent(TOGETHER_AT_ONCE, |message| self.submit_together(message))
            .await;
    }

    /// What a message is no good for goes by itself: a ballot that is put off (dated ahead, it is held when it comes alone), and all of them where the
    /// message is refused for good, as by a party whose operator has it take smaller ones.
    async fn submit_together(self, message: &[Job]) {
        if self.is_away() {
            return;
        }
        let alone: Vec<&Job> = if let [one] = message {
            vec![one]
        } else {
            let parcels: Vec<_> = message.iter().map(|(_, queued)| &queued.parcel).collect();
            match self.link.cast_all(&parcels).await {
                Ok(outcomes) => {
                    let outcomes = message.iter().zip(outcomes);
                    outcomes
                        .filter_map(|(job, outcome)| self.unless_put_off(job, outcome))
                        .collect()
                }
                Err(fault) if fault.may_pass() => {
                    self.alone.store(true, Ordering::Relaxed);
                    return self.failed(message[0].0, fault);
                }
                Err(_) => message.iter().collect(),
            }
        };
        self.submit_alone(alone, MOST_TOGETHER).await;
    }

    /// Notes what became of one ballot of several; returns it if it is to come by itself.
    fn unless_put_off(self, job: &Job, outcome: Result<(wire::Receipt, Vec<Role>), Fault>) -> Option<&Job> {
        match outcome {
            Ok(taken) => self.accepted(job.0, taken),
            Err(Fault::Away { refusal, .. }) if refusal.reason == Reason::PartyBusy => return Some(job),
            Err(fault) => self.failed(job.0, fault),
        }
        None
    }

    async fn submit_alone(self, jobs: impl IntoIterator<Item = &Job>, at_once: usize) {
        stream::iter(jobs)
            .for_each_concurrent(at_once, async |(number, queued)| {
                if self.is_away() {
                    return;
                }
                match self.link.cast(&queued.parcel).await {
                    Ok(taken) => self.accepted(*number, taken),
                    Err(fault) => self.failed(*number, fault),
                }
            })
            .await;
    }

    async fn hand_over_all(self, jobs: Vec<Job>) {
        stream::iter(jobs)
            .for_each_concurrent(AT_ONCE, |(number, queued)| async move {
                if self.is_away() {
                    return;
                }
                if let Err(fault) = hand_over(self.link, number, &queued, self.answers).await {
                    self.failed(number, fault);
                }
            })
            .await;
    }
}

async fn hand_over(
    link: &Link,
    number: u64,
    queued: &Queued,
    answers: &UnboundedSender<Answer>,
) -> Result<(), Fault> {
    if queued.standing.receipt(link.party).is_none() {
        return Ok(());
    }
    let wanting = queued.standing.wanting(link.party);
    let known = wanting
        .into_iter()
        .filter_map(|of| Some((of, queued.standing.receipt(of)?.clone())));
    let (of, receipts): (Vec<_>, Vec<_>) = known.unzip();
    link.deliver(receipts).await?;
    for of in of {
        let _ = answers.send(Answer::Step(Step::stored(number, link.party, of)));
    }
    Ok(())
}
