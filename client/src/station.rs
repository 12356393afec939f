//! A polling station: votes for whom the electoral officer has checked in, a queue that survives being offline, and its delivery.
//!
//! A vote names the voter by the roll number from the check-in; there is no credential. It is sealed to the parties at once and
//! queued on disk before the voter is told that it is kept: the disk never holds an index or a choice. *Electronic* votes carry
//! choices; *paper* ones carry none and strike the voter's other votes, since the paper is counted by hand.
//!
//! **Time.** `cast_at` is the parties' agreed time when they can be reached. Otherwise it is this machine's clock, corrected by
//! the offset to the parties' time that was last measured (kept on disk; none measured yet: no correction). It never falls below
//! the station's last `cast_at`, so that the order of its sequence numbers is the order of its times.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::CryptoRng;
use tally_proto::ballot::{BallotError, StationMark};
use tally_proto::calendar::{ChannelKind, TimingError};
use tally_proto::connect::ConnectError;
use tally_proto::identity::StationIdentity;
use tally_proto::ids::{BoxId, Digest, Role, UnixSeconds, VoterIndex};
use tally_proto::sign_ins::{SignIns, SignInsError};
use thiserror::Error;

use crate::choice::Choices;
use crate::connections::Connections;
use crate::device::Lock;
use crate::disk::{Disk, RealDisk, replace};
use crate::election::{Election, ElectionError};
use crate::fault::Fault;
use crate::sealing::{SealError, seal_at_station};

pub mod book;
pub mod bulletin;
mod drain;
mod hours;
pub mod identity;
pub mod journal;
pub mod queue;
pub mod roll;

pub use book::{Book, BookError};
pub use bulletin::{Bulletin, Row, Stopped};
pub use drain::Drained;
pub use hours::Hours;
pub use identity::{IdentityFilesError, StationKeys};
pub use queue::{Counts, QueueError};

use drain::Errands;
use queue::{Queue, sequence_of};

/// How long a voter at the counter waits for the parties' clocks before the station's own is used.
const CLOCK_PATIENCE: Duration = Duration::from_millis(1_500);
/// A measured offset is written down when it has changed by more than this.
const OFFSET_NEWS_MS: u64 = 250;
/// A vote that is dated further ahead of the parties' time than this was cast under a wrong clock.
const CLOCK_STEP_S: u64 = 60;

/// Why a station could not do its work.
#[derive(Debug, Error)]
pub enum StationError {
    /// The station's queue.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The station's keys and certificate.
    #[error(transparent)]
    Identity(#[from] IdentityFilesError),
    /// The election does not fit.
    #[error(transparent)]
    Election(#[from] ElectionError),
    /// The ballot could not be made.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The transport could not be set up.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Another program uses the station's directory.
    #[error("another program is using the station in {directory}: wait for it to end")]
    Busy {
        /// The directory.
        directory: PathBuf,
    },
    /// The file system refused.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The manifest does not name this station, or names it with another key.
    #[error(
        "the manifest of {election} does not name station {station} with this station's key: ask the election commission"
    )]
    NotNamed {
        /// The election.
        election: String,
        /// The station.
        station: u32,
    },
    /// The station may not vote for this box.
    #[error("station {station} may not vote for box {box_id}: the manifest names other boxes for it")]
    NotServed {
        /// The station.
        station: u32,
        /// The box.
        box_id: BoxId,
    },
    /// The station's own hours are over, or have not come; or the election has no such channel.
    #[error("{}: no vote was taken{}", .0, no_paper(*.0 == BallotError::UnknownChannel(ChannelKind::Paper)))]
    Closed(BallotError),
    /// The channel's hours are over, or have not come, as far as this station knows.
    #[error("{why}: no vote was taken{}", no_paper(*.kind == ChannelKind::Paper))]
    OutsideHours {
        /// The channel.
        kind: ChannelKind,
        /// When it opens or closed.
        why: TimingError,
    },
    /// The station is revoked, or two parties take nothing more from it.
    #[error("the station takes no more votes, send the voter to another one. {0}")]
    Stopped(Stopped),
    /// The sign-in book.
    #[error(transparent)]
    Book(#[from] BookError),
    /// The closing statement.
    #[error(transparent)]
    SignIns(#[from] SignInsError),
    /// The roll has no such number.
    #[error("roll number {index} is not in box {box_id}, whose numbers are 0 to {}: check the roll", .voters.saturating_sub(1))]
    NotInRoll {
        /// The number given.
        index: VoterIndex,
        /// The box.
        box_id: BoxId,
        /// How many voters the box has.
        voters: u32,
    },
}

fn no_paper(is_paper: bool) -> &'static str {
    if is_paper {
        ". Hand out no paper ballot: the voter's other votes stand, and the paper would be counted beside them"
    } else {
        ""
    }
}

/// One vote at the station.
///
/// # Security
/// Who votes and what is secret: not shown by Debug; the choices are zeroised when dropped.
pub struct StationVote {
    /// The box.
    pub box_id: BoxId,
    /// The voter's number in the roll of the box, from the check-in.
    pub index: VoterIndex,
    /// The choices of an electronic vote; `None` when the voter votes on paper.
    pub choices: Option<Choices>,
}

impl fmt::Debug for StationVote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StationVote")
            .field("box_id", &self.box_id)
            .finish_non_exhaustive()
    }
}

/// A vote that is in the queue: it survives a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its sequence number at this station within its box.
    pub sequence: u64,
    /// Its public name.
    pub digest: Digest,
    /// When it was cast.
    pub cast_at: UnixSeconds,
    /// Whether the time is the parties' own, or the station's corrected clock.
    pub time: TimeSource,
}

/// Where a station ballot's time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// The parties' agreed time.
    Parties,
    /// This machine's clock, corrected by the offset last measured.
    Corrected,
    /// This machine's clock: it was never compared with the parties'.
    Uncorrected,
}

/// How a station stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The station's number.
    pub station: u32,
    /// Votes cast, by box: to be reconciled with the sign-in list.
    pub counts: Vec<(BoxId, Counts)>,
    /// Ballots that some party still lacks, or whose receipts it still lacks.
    pub pending: usize,
    /// Of these, those that two parties have, with each other's receipts.
    pub safe: usize,
    /// Of the pending ones, how many each party has not accepted, in party order.
    pub lacking: [usize; 3],
    /// The offset from this machine's clock to the parties' time, if ever measured.
    pub offset_ms: Option<i64>,
}

type LocalClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A station at work in one election.
pub struct Station {
    keys: StationKeys,
    election: Election,
    connections: Connections,
    queue: Queue,
    disk: Arc<dyn Disk>,
    clock_path: PathBuf,
    offset_ms: Option<i64>,
    local_clock: LocalClock,
    /// What a party has refused in this drain already, by the queue's running number.
    refused: BTreeSet<(u64, Role)>,
    errands: Errands,
    bulletin: Bulletin,
    _lock: Lock,
}

impl fmt::Debug for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Station")
            .field("id", &self.keys.id())
            .finish_non_exhaustive()
    }
}

/// Times of votes do not fall where a clock is set back or put right by seconds. Where the parties' time shows that the last vote was dated
/// far ahead they do, which is published and excludes nothing: were they kept up, every further vote would be dated ahead too, and refused.
fn cast_second(now_s: u64, last_s: u64, source: TimeSource) -> u64 {
    if source == TimeSource::Parties && last_s.saturating_sub(now_s) > CLOCK_STEP_S {
        now_s
    } else {
        now_s.max(last_s)
    }
}

impl Station {
    /// Opens the station in `directory` (made by [`StationKeys::create`]) for work in `election`. Only one program can.
    ///
    /// # Errors
    /// [`StationError`]: the directory is in use or damaged, or the election does not name the station.
    pub fn open(directory: &Path, election: &Election) -> Result<Self, StationError> {
        let keys = StationKeys::load(directory)?;
        let connections = Connections::open_station(election, &keys.leaf()?)?;
        Self::open_over(directory, election, keys, connections, Arc::new(system_ms))
    }

    /// [`Station::open`] with connections and a machine clock (milliseconds since 1970) of the caller's: for tests and simulation.
    ///
    /// # Errors
    /// As [`Station::open`].
    pub fn open_over(
        directory: &Path,
        election: &Election,
        keys: StationKeys,
        connections: Connections,
        local_clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    ) -> Result<Self, StationError> {
        let station = keys.id().0;
        let id = election.id().to_string();
        if !election.names_station(keys.id(), keys.public_key()) {
            return Err(StationError::NotNamed {
                election: id,
                station,
            });
        }
        let lock = Lock::try_take(directory).map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => StationError::Busy {
                directory: directory.to_owned(),
            },
            std::fs::TryLockError::Error(source) => StationError::Io {
                path: directory.join("lock"),
                source,
            },
        })?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let queue = open_queue(&disk, directory, &id, station)?;
        let clock_path = directory.join("clock");
        let io = |source| StationError::Io {
            path: clock_path.clone(),
            source,
        };
        let offset_ms = disk
            .read(&clock_path)
            .map_err(io)?
            .and_then(|bytes| parse_offset(&bytes));
        let bulletin = Bulletin::open(
            keys.id(),
            election,
            connections.clone(),
            Arc::clone(&disk),
            directory,
        );
        Ok(Self {
            keys,
            election: election.clone(),
            connections,
            queue,
            disk,
            clock_path,
            offset_ms,
            local_clock,
            refused: BTreeSet::new(),
            errands: Errands::default(),
            bulletin,
            _lock: lock,
        })
    }

    /// An electronic vote for the voter `index` of a box. In the queue, durably, on return.
    ///
    /// # Errors
    /// [`StationError`]; then no vote was cast.
    pub async fn vote(
        &mut self,
        box_id: BoxId,
        index: VoterIndex,
        choices: Choices,
        rng: &mut impl CryptoRng,
    ) -> Result<Queued, StationError> {
        let choices = Some(choices);
        let vote = StationVote {
            box_id,
            index,
            choices,
        };
        self.cast(vote, Hours::Known, rng).await
    }

    /// Notes that the voter `index` of a box votes on paper. In the queue, durably, on return.
    ///
    /// # Errors
    /// [`StationError`]; then nothing was noted.
    pub async fn paper(
        &mut self,
        box_id: BoxId,
        index: VoterIndex,
        rng: &mut impl CryptoRng,
    ) -> Result<Queued, StationError> {
        let vote = StationVote {
            box_id,
            index,
            choices: None,
        };
        self.cast(vote, Hours::Known, rng).await
    }

    /// A vote, by hours that the officer may know better. In the queue, durably, on return.
    ///
    /// # Errors
    /// [`StationError`]; then nothing was noted.
    pub async fn cast(
        &mut self,
        vote: StationVote,
        hours: Hours,
        rng: &mut impl CryptoRng,
    ) -> Result<Queued, StationError> {
        let queued = self.take(vec![vote], hours, rng).await?;
        #[expect(clippy::expect_used, reason = "one vote gives one entry")]
        Ok(queued.into_iter().next().expect("one for one"))
    }

    /// Several votes of one moment, with one write to the disk: all are in the queue on return, or none.
    ///
    /// # Errors
    /// [`StationError`]; then no vote was cast.
    pub async fn vote_many(
        &mut self,
        votes: Vec<StationVote>,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<Queued>, StationError> {
        self.take(votes, Hours::Known, rng).await
    }

    async fn take(
        &mut self,
        votes: Vec<StationVote>,
        hours: Hours,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<Queued>, StationError> {
        for vote in &votes {
            self.check(vote)?;
        }
        // The last moment to hear that the vote would be lost.
        let bulletin = self.bulletin.clone();
        let (now, ()) = tokio::join!(self.now(), bulletin.look(CLOCK_PATIENCE));
        if let Some(stopped) = bulletin.stopped() {
            return Err(StationError::Stopped(stopped));
        }
        let (now_ms, time) = now?;
        let cast_at = UnixSeconds(cast_second(now_ms / 1000, self.queue.last_cast_at_s(), time));
        self.check_all(&votes, cast_at, hours)?;
        let mut parcels = Vec::with_capacity(votes.len());
        let mut next = BTreeMap::new();
        for vote in &votes {
            let place = next
                .entry(vote.box_id)
                .or_insert_with(|| self.queue.next_sequence(vote.box_id));
            let sequence = *place;
            *place += 1;
            let mark = StationMark {
                station: self.keys.id(),
                sequence,
            };
            parcels.push(seal_at_station(
                &self.election,
                self.keys.signer(),
                mark,
                cast_at,
                vote,
                rng,
            )?);
        }
        self.queue.push(&parcels)?;
        Ok(parcels
            .iter()
            .map(|parcel| Queued {
                sequence: sequence_of(parcel.header()).unwrap_or_default(),
                digest: parcel.digest(),
                cast_at,
                time,
            })
            .collect())
    }

    /// The station's number, name and boxes as its keys have them.
    pub fn identity(&self) -> &StationIdentity {
        self.keys.identity()
    }

    /// What the parties say of this station. A clone may be asked while the station is at work.
    pub fn bulletin(&self) -> &Bulletin {
        &self.bulletin
    }

    /// The last second of the station's certificate: nothing can be delivered after it.
    ///
    /// # Errors
    /// [`StationError::Identity`] for a certificate that cannot be read.
    pub fn certificate_ends(&self) -> Result<UnixSeconds, StationError> {
        let leaf = self.keys.leaf()?;
        Ok(leaf.ends().map_err(IdentityFilesError::from)?)
    }

    /// The time as the station knows it, by the rule of this module; the parties are asked at the same time what there is of this station.
    ///
    /// # Errors
    /// [`StationError::Io`] when a newly measured offset cannot be written.
    pub async fn time(&mut self) -> Result<(UnixSeconds, TimeSource), StationError> {
        let bulletin = self.bulletin.clone();
        let (now, ()) = tokio::join!(self.now(), bulletin.look(CLOCK_PATIENCE));
        let (now_ms, source) = now?;
        Ok((UnixSeconds(now_ms / 1000), source))
    }

    /// Signs a closing statement.
    ///
    /// # Errors
    /// [`StationError::SignIns`] for words that it cannot hold.
    pub fn sign(&self, statement: &SignIns) -> Result<String, StationError> {
        Ok(statement.sign(self.keys.signer())?)
    }

    /// How the station stands.
    pub fn status(&self) -> Status {
        let pending = self.queue.pending();
        let lacking = Role::ALL.map(|party| {
            pending
                .values()
                .filter(|queued| queued.standing.receipt(party).is_none())
                .count()
        });
        Status {
            station: self.keys.id().0,
            counts: self.queue.counts().collect(),
            pending: pending.len(),
            safe: pending
                .values()
                .filter(|queued| queued.standing.is_success())
                .count(),
            lacking,
            offset_ms: self.offset_ms,
        }
    }

    fn check(&self, vote: &StationVote) -> Result<(), StationError> {
        let station = self.keys.id();
        if !self.election.serves(station, vote.box_id) {
            return Err(StationError::NotServed {
                station: station.0,
                box_id: vote.box_id,
            });
        }
        let voters = self.election.ballot_box(vote.box_id)?.voters();
        if vote.index.0 >= voters {
            return Err(StationError::NotInRoll {
                index: vote.index,
                box_id: vote.box_id,
                voters,
            });
        }
        Ok(())
    }

    /// The time by the rule of this module.
    async fn now(&mut self) -> Result<(u64, TimeSource), StationError> {
        let asked = tokio::time::timeout(CLOCK_PATIENCE, self.connections.time()).await;
        let local_ms = (self.local_clock)();
        if let Ok(Ok(agreed_ms)) = asked {
            let offset_ms = agreed_ms as i64 - local_ms as i64;
            if self
                .offset_ms
                .is_none_or(|known| known.abs_diff(offset_ms) > OFFSET_NEWS_MS)
            {
                replace(&*self.disk, &self.clock_path, format_offset(offset_ms).as_bytes()).map_err(
                    |source| StationError::Io {
                        path: self.clock_path.clone(),
                        source,
                    },
                )?;
                self.offset_ms = Some(offset_ms);
            }
            return Ok((agreed_ms, TimeSource::Parties));
        }
        Ok(match self.offset_ms {
            Some(offset_ms) => (local_ms.saturating_add_signed(offset_ms), TimeSource::Corrected),
            None => (local_ms, TimeSource::Uncorrected),
        })
    }
}

/// Opens the queue, or makes it the first time; a queue that has gone missing is not made anew, since its numbers were used.
fn open_queue(
    disk: &Arc<dyn Disk>,
    directory: &Path,
    election: &str,
    station: u32,
) -> Result<Queue, StationError> {
    let path = directory.join(format!("{election}.queue"));
    let begun = directory.join(format!("{election}.begun"));
    let io = |source| StationError::Io {
        path: begun.clone(),
        source,
    };
    let has_begun = disk.read(&begun).map_err(io)?.is_some();
    let is_there = disk.read(&path).map_err(io)?.is_some();
    let queue = if is_there || has_begun {
        Queue::open(disk.clone(), &path, election, station)?
    } else {
        Queue::create(disk.clone(), &path, election, station, rand::random())?
    };
    if !has_begun {
        replace(
            &**disk,
            &begun,
            b"this station has used sequence numbers of this election\n",
        )
        .map_err(io)?;
    }
    Ok(queue)
}

const OFFSET_PREFIX: &str = "tally-station 1 clock-offset-ms ";

fn format_offset(offset_ms: i64) -> String {
    format!("{OFFSET_PREFIX}{offset_ms}\n")
}

/// A damaged file is as good as none: the offset is only a correction.
fn parse_offset(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes)
        .ok()?
        .strip_prefix(OFFSET_PREFIX)?
        .trim_end()
        .parse()
        .ok()
}

fn system_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
