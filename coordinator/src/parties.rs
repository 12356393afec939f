//! The three parties as a coordinator or registrar reaches them: over mutual TLS, with retries that name who does not answer.

use std::fmt;
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
use tally_proto::wire::registration_client::RegistrationClient;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Status;
use tonic::transport::Channel;

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
/// What the others have left to say once one party has failed.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

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

    /// Runs `call` until it succeeds, is refused for good, or patience ends; says so once when the party does not answer, and
    /// once when it answers again.
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

    /// As [`Parties::all`], for work that the parties do together: once one has failed, the others are waited for no longer than
    /// `AFTER_FAILURE`, since they may be waiting for that one. What they have begun they go on with by themselves.
    ///
    /// # Errors
    /// The errors of the parties that failed by then, in order.
    pub async fn together<T>(
        &self,
        work: impl AsyncFn(&Party) -> Result<T, PartyError>,
    ) -> Result<[T; 3], Vec<PartyError>> {
        let one = async |party: &Party| (party.role(), work(party).await);
        let mut under_way: FuturesUnordered<_> = self.0.iter().map(one).collect();
        let (mut done, mut failed, mut until) = (Vec::new(), Vec::new(), None);
        loop {
            let next = match until {
                None => under_way.next().await,
                Some(until) => timeout_at(until, under_way.next()).await.unwrap_or(None),
            };
            match next {
                None => break,
                Some((role, Ok(value))) => done.push((role, value)),
                Some((_, Err(error))) => {
                    failed.push(error);
                    until.get_or_insert_with(|| Instant::now() + AFTER_FAILURE);
                }
            }
        }
        done.sort_by_key(|(role, _)| role.slot());
        failed.sort_by_key(|error| error.role.slot());
        let values: Vec<T> = done.into_iter().map(|(_, value)| value).collect();
        values.try_into().map_err(|_| failed)
    }
}
