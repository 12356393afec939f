//! The three parties as a coordinator or registrar reaches them: over mutual TLS, with retries that name who does not answer.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use tally_proto::connect::{self, ConnectError, Dial};
use tally_proto::identity::PartyIdentity;
use tally_proto::ids::{Role, RoleExt as _};
use tally_proto::pki::Leaf;
use tally_proto::reason::{Class, Reason};
use tally_proto::refusal::Refusal;
use tally_proto::wire::control_client::ControlClient;
use tally_proto::wire::intake_client::IntakeClient;
use tally_proto::wire::registration_client::RegistrationClient;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::progress::{Progress, clock};

/// How long to go on trying a party that does not answer or is busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience(pub Duration);

impl Patience {
    /// One try.
    pub const NONE: Self = Self(Duration::ZERO);
    /// What commands have unless told otherwise.
    pub const USUAL: Self = Self(Duration::from_secs(60));
}

/// First pause between two tries; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long a party has for one answer.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a party may say nothing on a stream before it counts as one that does not answer.
pub(crate) const SILENCE: Duration = Duration::from_secs(15 * 60);

/// A party that refused, or did not answer for as long as patience lasted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{party}: {refusal}. {}", .refusal.reason.action())]
pub struct PartyError {
    /// `P2 University (https://...)`.
    pub party: String,
    /// Which.
    pub role: Role,
    /// What it said, or why it could not be reached.
    pub refusal: Refusal,
}

impl PartyError {
    /// Whether the party could not be reached at all.
    pub fn is_unreachable(&self) -> bool {
        self.refusal.reason == Reason::PartyUnreachable
    }
}

/// One party.
#[derive(Clone)]
pub struct Party {
    role: Role,
    name: String,
    channel: Channel,
}

impl fmt::Debug for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Party({})", self.name)
    }
}

impl Party {
    /// A party that is connected to when first asked.
    ///
    /// # Errors
    /// [`ConnectError`] for settings that cannot work.
    pub fn dial(identity: &PartyIdentity, leaf: &Leaf) -> Result<Self, ConnectError> {
        let address = identity.peer_address();
        let channel = Dial {
            address,
            anchor: identity.anchor(),
            leaf: Some(leaf),
        }
        .channel()?;
        let name = format!("P{} {} ({address})", identity.role().number(), identity.agency());
        Ok(Self {
            role: identity.role(),
            name,
            channel,
        })
    }

    /// Which.
    pub fn role(&self) -> Role {
        self.role
    }

    /// `P2 University (https://...)`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A client of its control service.
    pub fn control(&self) -> ControlClient<Channel> {
        connect::control(self.channel.clone())
    }

    /// A client of its intake.
    pub fn intake(&self) -> IntakeClient<Channel> {
        connect::intake(self.channel.clone())
    }

    /// A client of its registration service.
    pub fn registration(&self) -> RegistrationClient<Channel> {
        connect::registration(self.channel.clone())
    }

    /// The error for a refusal of this party.
    pub fn error(&self, refusal: Refusal) -> PartyError {
        PartyError {
            party: self.name.clone(),
            role: self.role,
            refusal,
        }
    }

    /// [`Party::call`] for a question with one answer, which must come within half a minute at each try: a party that takes questions and answers
    /// none holds nobody up.
    ///
    /// # Errors
    /// [`PartyError`], naming the party.
    pub async fn ask<T>(
        &self,
        patience: Patience,
        progress: &dyn Progress,
        mut question: impl AsyncFnMut() -> Result<T, Status>,
    ) -> Result<T, PartyError> {
        self.call(patience, progress, async || {
            let late = |_| Status::deadline_exceeded("no answer in time");
            timeout(ANSWER, question()).await.map_err(late)?
        })
        .await
    }

    /// Runs `call` until it succeeds, is refused for good, or patience ends; says so once when the party does not answer, and
    /// once when it answers again. How long one try takes is for `call` to bound.
    ///
    /// # Errors
    /// [`PartyError`], naming the party.
    pub async fn call<T>(
        &self,
        patience: Patience,
        progress: &dyn Progress,
        mut call: impl AsyncFnMut() -> Result<T, Status>,
    ) -> Result<T, PartyError> {
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut said = false;
        loop {
            let refusal = match call().await {
                Ok(answer) => {
                    if said {
                        progress.note(&format!("{} answers again", self.name));
                    }
                    return Ok(answer);
                }
                Err(status) => Refusal::of_status(&status),
            };
            if refusal.reason.class() != Class::Retry || start.elapsed() + pause > patience.0 {
                return Err(self.error(refusal));
            }
            if !said {
                let left = clock(patience.0.saturating_sub(start.elapsed()));
                progress.note(&format!("{}: {refusal}; trying again for {left}", self.name));
                said = true;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// The three, in order.
#[derive(Debug, Clone)]
pub struct Parties([Party; 3]);

impl Parties {
    /// All three of a manifest.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn dial(identities: &[PartyIdentity; 3], leaf: &Leaf) -> Result<Self, ConnectError> {
        let [p1, p2, p3] = identities;
        Ok(Self([
            Party::dial(p1, leaf)?,
            Party::dial(p2, leaf)?,
            Party::dial(p3, leaf)?,
        ]))
    }

    /// In order.
    pub fn each(&self) -> &[Party; 3] {
        &self.0
    }

    /// Runs `work` for all three at once and answers every outcome, in order.
    pub async fn at_once<T>(&self, work: impl AsyncFn(&Party) -> T) -> Vec<T> {
        join_all(self.0.iter().map(|party| work(party))).await
    }

    /// As [`Parties::at_once`], all of which must succeed.
    ///
    /// # Errors
    /// The errors of all parties that failed.
    pub async fn all<T>(
        &self,
        work: impl AsyncFn(&Party) -> Result<T, PartyError>,
    ) -> Result<[T; 3], Vec<PartyError>> {
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for outcome in self.at_once(work).await {
            match outcome {
                Ok(value) => done.push(value),
                Err(error) => failed.push(error),
            }
        }
        done.try_into().map_err(|_| failed)
    }

    /// As [`Parties::at_once`], for work that the parties do together: each outcome is shown to `judge` as it comes, which says how much longer
    /// the others are waited for. Whoever has not ended by then is left: no party can hold up what the others have to say. What they have begun
    /// they go on with by themselves. Returns who was left.
    pub(crate) async fn as_they_end<T>(
        &self,
        heard: &Heard,
        work: impl AsyncFn(&Party) -> T,
        mut judge: impl AsyncFnMut(&Party, T) -> Wait,
    ) -> Vec<Role> {
        let one = async |party: &Party| (party.role(), work(party).await);
        let mut under_way: FuturesUnordered<_> = self.0.iter().map(one).collect();
        let mut left = Role::ALL.to_vec();
        let mut limits: Option<(Duration, Instant)> = None;
        loop {
            let next = match limits {
                None => under_way.next().await,
                Some((quiet, end)) => loop {
                    let until = (heard.last() + quiet).min(end);
                    match timeout_at(until, under_way.next()).await {
                        Ok(next) => break next,
                        Err(_) if Instant::now() < (heard.last() + quiet).min(end) => {}
                        Err(_) => break None,
                    }
                },
            };
            let Some((role, outcome)) = next else { return left };
            left.retain(|other| *other != role);
            if let Some((quiet, longest)) = judge(&self.0[role.slot()], outcome).await.limits() {
                heard.now();
                let end = Instant::now() + longest;
                // A limit is never put off by what comes later.
                limits = Some(limits.map_or((quiet, end), |(q, e)| (q.min(quiet), e.min(end))));
            }
        }
    }
}

/// How much longer the others are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Until they end: each is bounded by itself.
    On,
    /// One has failed: the others may be waiting for it in vain, or be about to say what it would not.
    Failed,
    /// Two have ended, and it is for the third to decide.
    Last,
    /// What was asked for is here.
    Enough,
}

impl Wait {
    /// For as long as anybody says anything within the first, and at most for the second.
    const fn limits(self) -> Option<(Duration, Duration)> {
        match self {
            Self::On => None,
            Self::Failed => Some((Duration::from_secs(2), SILENCE)),
            Self::Last => Some((SILENCE, SILENCE)),
            Self::Enough => Some((Duration::from_secs(5), Duration::from_secs(30))),
        }
    }
}

/// When a party was last heard.
#[derive(Debug)]
pub(crate) struct Heard(Mutex<Instant>);

impl Heard {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// Something came.
    pub(crate) fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next event of a stream, which must come within [`SILENCE`].
    pub(crate) async fn next<T>(&self, events: &mut Streaming<T>) -> Result<Option<T>, Status> {
        self.within(events.message()).await
    }

    /// What is asked for, which must come within [`SILENCE`].
    pub(crate) async fn within<T>(
        &self,
        asked: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let silent = |_| Status::deadline_exceeded("nothing was heard for 15 minutes");
        let answer = timeout(SILENCE, asked).await.map_err(silent)??;
        self.now();
        Ok(answer)
    }
}

#[cfg(test)]
mod tests;
