//! Bringing what is queued to the parties, each party at its own pace.
//!
//! A pass has two steps: every party gets the ballots that it lacks, then every party gets the others' receipts that they have not handed it
//! themselves. A party that cannot
//! be reached is left out for the rest of the pass; what it lacks waits for the next. Each answer is written to the queue.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use tally_proto::ids::{BoxId, Role, RoleExt};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep};

use super::queue::{Queued, Step, sequence_of};
use super::{Fault, Station, StationError};
use crate::link::Link;

/// Requests under way to one party at a time.
const AT_ONCE: usize = 64;
/// Steps that are written to the queue at once.
const STEPS_AT_ONCE: usize = 1024;
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
    /// Ballots that a party refuses for good, by box and sequence number, with its reason; they stay in the queue as evidence.
    pub refused: Vec<(BoxId, u64, Fault)>,
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
}

type Job = (u64, Queued);

impl Station {
    /// Delivers what is queued until all three parties have everything, or until `give_up_after` has passed. Parties that are
    /// away are tried again and again until then; a `give_up_after` of zero is one pass.
    ///
    /// # Errors
    /// [`StationError::Queue`] when the queue cannot be written. What a party did not take is no error but in [`Drained`].
    pub async fn drain(&mut self, give_up_after: Duration) -> Result<Drained, StationError> {
        let begun = Instant::now();
        let before = self.queue.pending().len();
        let mut drained = Drained::default();
        let mut pause = FIRST_PAUSE;
        self.refused.clear();
        loop {
            drained.faults.clear();
            let left = self.queue.pending().len();
            self.pass(&mut drained).await?;
            let now_left = self.queue.pending().len();
            let hopeless = drained.faults.values().all(|fault| !fault.may_pass());
            if now_left == 0 || hopeless || begun.elapsed() + pause > give_up_after {
                drained.delivered = before - now_left;
                drained.left = now_left;
                if now_left == 0 && before > 0 {
                    self.queue.rewrite()?;
                }
                return Ok(drained);
            }
            sleep(pause).await;
            pause = if now_left < left {
                FIRST_PAUSE
            } else {
                (pause * 2).min(LONGEST_PAUSE)
            };
        }
    }

    async fn pass(&mut self, drained: &mut Drained) -> Result<(), StationError> {
        let away = [const { AtomicBool::new(false) }; 3];
        let links = self.connections.links().clone();
        for deliver in [false, true] {
            let jobs: Vec<Job> = self
                .queue
                .pending()
                .iter()
                .map(|(n, queued)| (*n, queued.clone()))
                .collect();
            let (answers, mut inbox) = unbounded_channel();
            let refused = self.refused.clone();
            let work = links.iter().map(|link| {
                let jobs = jobs
                    .iter()
                    .filter(|(number, _)| !refused.contains(&(*number, link.party)));
                serve(
                    link,
                    jobs.collect(),
                    deliver,
                    &away[link.party.slot()],
                    answers.clone(),
                )
            });
            let work: Vec<_> = work.collect();
            drop(answers);
            let work = futures::future::join_all(work);
            let note = async {
                let mut batch = Vec::with_capacity(STEPS_AT_ONCE);
                while inbox.recv_many(&mut batch, STEPS_AT_ONCE).await > 0 {
                    let mut steps = Vec::with_capacity(batch.len());
                    for answer in batch.drain(..) {
                        match answer {
                            Answer::Step(step) => steps.push(step),
                            Answer::Fault(number, fault) => {
                                if !fault.may_pass() && self.refused.insert((number, fault.party())) {
                                    let header = self
                                        .queue
                                        .pending()
                                        .get(&number)
                                        .map(|queued| queued.parcel.header());
                                    let place = header
                                        .and_then(|header| Some((header.of_box(), sequence_of(header)?)));
                                    drained
                                        .refused
                                        .extend(place.map(|(of_box, at)| (of_box, at, fault.clone())));
                                }
                                drained.faults.insert(fault.party(), fault);
                            }
                        }
                    }
                    self.queue.note(steps)?;
                }
                Ok::<_, StationError>(())
            };
            let (_, noted) = futures::join!(work, note);
            noted?;
        }
        Ok(())
    }
}

/// One party's share of a step of the pass.
async fn serve(
    link: &Link,
    jobs: Vec<&Job>,
    deliver: bool,
    away: &AtomicBool,
    answers: UnboundedSender<Answer>,
) {
    stream::iter(jobs)
        .for_each_concurrent(AT_ONCE, |(number, queued)| {
            let answers = &answers;
            async move {
                if away.load(Ordering::Relaxed) {
                    return;
                }
                let outcome = if deliver {
                    hand_over(link, *number, queued, answers).await
                } else {
                    submit(link, *number, queued, answers).await
                };
                if let Err(fault) = outcome {
                    if fault.may_pass() {
                        away.store(true, Ordering::Relaxed);
                    }
                    // The receiver lives until all work is done.
                    let _ = answers.send(Answer::Fault(*number, fault));
                }
            }
        })
        .await;
}

async fn submit(
    link: &Link,
    number: u64,
    queued: &Queued,
    answers: &UnboundedSender<Answer>,
) -> Result<(), Fault> {
    if queued.standing.receipt(link.party).is_none() {
        let (receipt, stored) = link.cast(&queued.parcel).await?;
        let _ = answers.send(Answer::Step(Step::accepted(number, link.party, receipt)));
        for of in stored {
            let _ = answers.send(Answer::Step(Step::stored(number, link.party, of)));
        }
    }
    Ok(())
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
