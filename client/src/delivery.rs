//! Bringing one sealed ballot to the parties.
//!
//! Each party is served by its own task: submit until it accepts (or refuses for good), then hand it the receipts of the other two that it has not
//! got from them, as they come. All tasks write into one [`Standing`]; success is read off it. The same ballot again is harmless: a party
//! that has it returns the stored receipt. Mostly the parties have handed each other their receipts before they answer, and nothing is left to
//! bring.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tally_proto::ids::Role;
use tally_proto::wire;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::connections::Connections;
use crate::fault::Fault;
use crate::link::Link;
use crate::parcel::Parcel;
use crate::standing::Standing;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is known of a ballot under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) standing: Standing,
    /// The last fault of each party that is still in trouble.
    pub(crate) faults: BTreeMap<Role, Fault>,
}

impl Progress {
    /// Whether two parties have refused for good, so that this ballot cannot come in.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.faults.values().filter(|fault| !fault.may_pass()).count() >= 2
    }

    /// Whether one party has taken the ballot, one says that its ticket is spent and the third does not answer: of a copied device's two ballots with one
    /// ticket each party has taken another, and neither comes in before the third party is back.
    pub(crate) fn is_split(&self) -> bool {
        let taken = self.standing.acceptors().len();
        taken == 1 && self.faults.len() == 2 && self.faults.values().any(Fault::is_of_ticket)
    }
}

/// A ballot under way. Dropping it stops the tasks; [`Delivery::detach`] lets them go on.
#[derive(Debug)]
pub(crate) struct Delivery {
    tasks: JoinSet<()>,
    progress: watch::Receiver<Progress>,
}

impl Delivery {
    /// Starts delivering; each party is tried until `deadline`.
    pub(crate) fn start(connections: &Connections, parcel: &Parcel, deadline: Instant) -> Self {
        let (sender, progress) = watch::channel(Progress::default());
        let sender = Arc::new(sender);
        let mut tasks = JoinSet::new();
        for link in connections.links() {
            let task = Task {
                link: link.clone(),
                parcel: parcel.clone(),
                progress: sender.clone(),
            };
            tasks.spawn(async move {
                // What is not done by the deadline stays in `faults`.
                let _ = tokio::time::timeout_at(deadline, task.run()).await;
            });
        }
        Self { tasks, progress }
    }

    /// Waits until `done` holds or nothing more will change; tells each change to `notice`.
    pub(crate) async fn until(
        &mut self,
        done: impl Fn(&Progress) -> bool,
        mut notice: impl FnMut(&Progress),
    ) -> Progress {
        loop {
            let now = self.progress.borrow_and_update().clone();
            notice(&now);
            if done(&now) || self.progress.changed().await.is_err() {
                return self.progress.borrow().clone();
            }
        }
    }

    /// What is known now.
    pub(crate) fn now(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Lets the tasks go on by themselves until their deadline.
    pub(crate) fn detach(&mut self) {
        self.tasks.detach_all();
    }
}

/// The service of one party.
struct Task {
    link: Link,
    parcel: Parcel,
    progress: Arc<watch::Sender<Progress>>,
}

impl Task {
    async fn run(self) {
        let party = self.link.party;
        let Some((receipt, stored)) = self.persist(|| self.link.cast(&self.parcel)).await else {
            return;
        };
        self.progress.send_modify(|progress| {
            progress.standing.accepted(party, receipt);
            for of in stored {
                progress.standing.stored(party, of);
            }
        });
        let mut others = self.progress.subscribe();
        loop {
            let now = others.borrow_and_update().clone();
            let mut wanting = now.standing.wanting(party);
            let known: Vec<(Role, wire::Receipt)> = wanting
                .iter()
                .filter_map(|of| Some((*of, now.standing.receipt(*of)?.clone())))
                .collect();
            // All in one request; if that fails, each by itself, so that one that is refused keeps no other from its place.
            let together = known.iter().map(|(_, receipt)| receipt.clone()).collect();
            let all_stored = known.len() > 1 && self.link.deliver(together).await.is_ok();
            for (of, receipt) in &known {
                let one = || self.link.deliver(vec![receipt.clone()]);
                if !all_stored && self.persist(one).await.is_none() {
                    return;
                }
                self.progress
                    .send_modify(|progress| progress.standing.stored(party, *of));
            }
            wanting.retain(|wanted| known.iter().all(|(of, _)| of != wanted));
            // One that refuses the ballot for good will never have a receipt.
            wanting.retain(|of| now.faults.get(of).is_none_or(Fault::may_pass));
            if wanting.is_empty() {
                return;
            }
            // Every change is seen: `others` was read before the loop. The sender lives as long as this task.
            if others.changed().await.is_err() {
                return;
            }
        }
    }

    /// Tries until it succeeds; `None` when the party refuses for good.
    async fn persist<T, F: Future<Output = Result<T, Fault>>>(&self, attempt: impl Fn() -> F) -> Option<T> {
        let party = self.link.party;
        let mut pause = FIRST_PAUSE;
        loop {
            match attempt().await {
                Ok(done) => {
                    self.progress
                        .send_if_modified(|progress| progress.faults.remove(&party).is_some());
                    return Some(done);
                }
                Err(fault) => {
                    let last = !fault.may_pass();
                    self.progress.send_if_modified(|progress| {
                        let known = progress.faults.insert(party, fault.clone());
                        known.as_ref() != Some(&fault)
                    });
                    if last {
                        return None;
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}
