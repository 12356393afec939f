//! The station's queue: sealed ballots and how far each has been delivered, durable step by step.
//!
//! On disk there is what will be public or is sealed to a party: headers, ciphertexts, receipts. Never an index, a choice or a
//! share. The sequence number of a ballot, within its box, becomes used in the same durable write as the ballot itself, and a ballot is
//! shown to a party only after it; so a crash leaves neither a gap nor a number with two ballots. Ballots that all three parties have
//! (with each other's receipts) leave the file when it is next rewritten; how many there were of each box stays in it for ever. The file
//! has its own running number over all boxes, which names ballots here and nowhere else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tally_proto::ballot::BallotHeader;
use tally_proto::calendar::ChannelKind;
use tally_proto::ids::{BoxId, Role, RoleExt};
use tally_proto::wire;
use thiserror::Error;

use crate::disk::Disk;
use crate::parcel::Parcel;
use crate::standing::Standing;
use crate::station::journal::{Journal, JournalError, Salt};

/// A journal longer than this, mostly of delivered ballots, is rewritten.
const REWRITE_BYTES: usize = 4 << 20;

/// Why the queue cannot be used.
#[derive(Debug, Error)]
pub enum QueueError {
    /// The file.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A frame is whole but holds something else.
    #[error("{path} holds what this program did not write ({what}); it may be of another version")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The queue belongs to another station or election.
    #[error(
        "{path} is the queue of station {found_station} in {found_election}, not of station {station} in {election}"
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// The station asked for.
        station: u32,
        /// The election asked for.
        election: String,
        /// The station in the file.
        found_station: u32,
        /// The election in the file.
        found_election: String,
    },
}

/// What has been cast in one box so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Electronic votes.
    pub electronic: u64,
    /// Voters struck because they voted on paper.
    pub paper: u64,
}

/// One frame of the journal: any of its parts may be absent.
#[derive(Clone, PartialEq, Message)]
struct Frame {
    #[prost(message, optional, tag = "1")]
    floor: Option<Floor>,
    #[prost(message, repeated, tag = "2")]
    ballots: Vec<QueuedBallot>,
    #[prost(message, repeated, tag = "3")]
    steps: Vec<Step>,
}

/// What is known of the ballots that have left the file.
#[derive(Clone, PartialEq, Message)]
struct Floor {
    #[prost(string, tag = "1")]
    election: String,
    #[prost(uint32, tag = "2")]
    station: u32,
    /// The lowest running number never used.
    #[prost(uint64, tag = "3")]
    next: u64,
    #[prost(uint64, tag = "4")]
    last_cast_at_s: u64,
    #[prost(message, repeated, tag = "5")]
    counts: Vec<BoxCounts>,
}

#[derive(Clone, PartialEq, Message)]
struct BoxCounts {
    #[prost(uint32, tag = "1")]
    box_id: u32,
    #[prost(uint64, tag = "2")]
    electronic: u64,
    #[prost(uint64, tag = "3")]
    paper: u64,
}

#[derive(Clone, PartialEq, Message)]
struct QueuedBallot {
    #[prost(message, optional, tag = "1")]
    header: Option<wire::BallotHeader>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    ciphertexts: Vec<Bytes>,
    #[prost(bytes = "bytes", tag = "3")]
    signature: Bytes,
    #[prost(uint64, tag = "4")]
    number: u64,
}

/// One step of delivery: `party` accepted (receipt), or has stored the receipt of `stored_of`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Step {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(uint32, tag = "2")]
    party: u32,
    #[prost(message, optional, tag = "3")]
    receipt: Option<wire::Receipt>,
    #[prost(uint32, tag = "4")]
    stored_of: u32,
}

impl Step {
    pub(crate) fn accepted(number: u64, party: Role, receipt: wire::Receipt) -> Self {
        Self {
            number,
            party: party.number(),
            receipt: Some(receipt),
            stored_of: 0,
        }
    }

    pub(crate) fn stored(number: u64, at: Role, of: Role) -> Self {
        Self {
            number,
            party: at.number(),
            receipt: None,
            stored_of: of.number(),
        }
    }

    /// The ballot, the party, and whether it is the ballot that the party has taken, and not a receipt.
    pub(crate) fn taken(&self) -> Option<(u64, Role, bool)> {
        let party = Role::from_number(self.party).ok()?;
        Some((self.number, party, self.receipt.is_some()))
    }
}

/// A ballot that some party still lacks.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) parcel: Parcel,
    pub(crate) standing: Standing,
}

/// The queue of one station in one election.
#[derive(Debug)]
pub(crate) struct Queue {
    journal: Journal,
    path: PathBuf,
    election: String,
    station: u32,
    next: u64,
    last_cast_at_s: u64,
    counts: BTreeMap<u32, Counts>,
    pending: BTreeMap<u64, Queued>,
}

impl Queue {
    /// Makes the queue of a new station; its first running number is 1.
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        path: &Path,
        election: &str,
        station: u32,
        salt: Salt,
    ) -> Result<Self, QueueError> {
        let floor = Floor {
            election: election.into(),
            station,
            next: 1,
            last_cast_at_s: 0,
            counts: Vec::new(),
        };
        let first = Frame {
            floor: Some(floor),
            ..Frame::default()
        };
        Journal::create(disk.clone(), path, salt, &first.encode_to_vec())?;
        Self::open(disk, path, election, station)
    }

    /// Opens a queue as the last run left it, whatever ended that.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        election: &str,
        station: u32,
    ) -> Result<Self, QueueError> {
        let (journal, frames) = Journal::open(disk, path)?;
        let foreign = |what| QueueError::Foreign {
            path: path.to_owned(),
            what,
        };
        let mut frames = frames.iter().map(|bytes| Frame::decode(bytes.as_slice()));
        let first = frames
            .next()
            .and_then(Result::ok)
            .ok_or_else(|| foreign("the first frame"))?;
        let floor = first.floor.clone().ok_or_else(|| foreign("no floor"))?;
        if floor.election != election || floor.station != station {
            return Err(QueueError::Other {
                path: path.to_owned(),
                station,
                election: election.to_owned(),
                found_station: floor.station,
                found_election: floor.election,
            });
        }
        let counts = floor
            .counts
            .iter()
            .map(|of| {
                (
                    of.box_id,
                    Counts {
                        electronic: of.electronic,
                        paper: of.paper,
                    },
                )
            })
            .collect();
        let mut queue = Self {
            journal,
            path: path.to_owned(),
            election: floor.election,
            station,
            next: floor.next,
            last_cast_at_s: floor.last_cast_at_s,
            counts,
            pending: BTreeMap::new(),
        };
        queue.replay(first, true)?;
        for frame in frames {
            queue.replay(frame.map_err(|_| foreign("a frame"))?, false)?;
        }
        Ok(queue)
    }

    /// The sequence number of the next ballot of a box.
    pub(crate) fn next_sequence(&self, of_box: BoxId) -> u64 {
        self.counts.get(&of_box.0).map_or(0, Counts::all) + 1
    }

    /// When the last ballot was cast, seconds since 1970; 0 before the first.
    pub(crate) fn last_cast_at_s(&self) -> u64 {
        self.last_cast_at_s
    }

    /// What was cast so far, by box.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (BoxId, Counts)> {
        self.counts.iter().map(|(id, counts)| (BoxId(*id), *counts))
    }

    /// Ballots that some party still lacks, by running number.
    pub(crate) fn pending(&self) -> &BTreeMap<u64, Queued> {
        &self.pending
    }

    /// Takes ballots whose sequence numbers follow on in each box; durable on return, and only then may a party see them.
    pub(crate) fn push(&mut self, parcels: &[Parcel]) -> Result<(), QueueError> {
        let ballots = (self.next..).zip(parcels);
        let frame = Frame {
            ballots: ballots
                .map(|(number, parcel)| QueuedBallot::of(number, parcel))
                .collect(),
            ..Frame::default()
        };
        self.journal.append(&frame.encode_to_vec())?;
        self.replay(frame, false)
    }

    /// Notes steps of delivery; durable on return. A step lost in a crash is only taken again.
    pub(crate) fn note(&mut self, steps: Vec<Step>) -> Result<(), QueueError> {
        if steps.is_empty() {
            return Ok(());
        }
        let frame = Frame {
            steps,
            ..Frame::default()
        };
        self.journal.append(&frame.encode_to_vec())?;
        self.replay(frame, false)?;
        let live: usize = self.pending.values().map(Queued::bytes).sum();
        if self.journal.bytes() > REWRITE_BYTES && self.journal.bytes() > 4 * live {
            self.rewrite()?;
        }
        Ok(())
    }

    /// Leaves nothing in the file but what is still needed.
    pub(crate) fn rewrite(&mut self) -> Result<(), QueueError> {
        // The floor counts what has left; what is pending is counted again when the frame is read.
        let mut counts = self.counts.clone();
        for queued in self.pending.values() {
            let count = counts.entry(queued.parcel.header().of_box().0).or_default();
            *count = count.less(queued.parcel.header());
        }
        let counts = counts
            .into_iter()
            .map(|(box_id, of)| BoxCounts {
                box_id,
                electronic: of.electronic,
                paper: of.paper,
            })
            .collect();
        let floor = Floor {
            election: self.election.clone(),
            station: self.station,
            next: self.next,
            last_cast_at_s: self.last_cast_at_s,
            counts,
        };
        let ballots = self
            .pending
            .iter()
            .map(|(number, queued)| QueuedBallot::of(*number, &queued.parcel))
            .collect();
        let steps = self
            .pending
            .iter()
            .flat_map(|(number, queued)| queued.steps(*number))
            .collect();
        let frame = Frame {
            floor: Some(floor),
            ballots,
            steps,
        };
        Ok(self.journal.rewrite(&frame.encode_to_vec())?)
    }

    fn replay(&mut self, frame: Frame, first: bool) -> Result<(), QueueError> {
        let foreign = |what| QueueError::Foreign {
            path: self.path.clone(),
            what,
        };
        if frame.floor.is_some() && !first {
            return Err(foreign("a second floor"));
        }
        for ballot in frame.ballots {
            let number = ballot.number;
            let parcel = ballot.parcel().ok_or_else(|| foreign("a ballot"))?;
            let of_box = parcel.header().of_box();
            let sequence = sequence_of(parcel.header()).ok_or_else(|| foreign("a ballot of no station"))?;
            // A rewritten file may hold ballots below the floor's next number; new ones follow on without a gap.
            let in_turn = if first {
                number < self.next
            } else {
                number == self.next && sequence == self.next_sequence(of_box)
            };
            if !in_turn {
                return Err(foreign("a number out of turn"));
            }
            self.next = self.next.max(number + 1);
            self.last_cast_at_s = self.last_cast_at_s.max(parcel.header().cast_at().0);
            let count = self.counts.entry(of_box.0).or_default();
            *count = count.more(parcel.header());
            self.pending.insert(
                number,
                Queued {
                    parcel,
                    standing: Standing::default(),
                },
            );
        }
        for step in frame.steps {
            let party = Role::from_number(step.party).map_err(|_| foreign("a step of no party"))?;
            // A step of a ballot that has left was noted twice.
            let Some(queued) = self.pending.get_mut(&step.number) else {
                continue;
            };
            match (step.receipt, Role::from_number(step.stored_of)) {
                (Some(receipt), _) => queued.standing.accepted(party, receipt),
                (None, Ok(of)) => queued.standing.stored(party, of),
                (None, Err(_)) => return Err(foreign("an empty step")),
            }
            if queued.standing.is_complete() {
                self.pending.remove(&step.number);
            }
        }
        Ok(())
    }
}

impl Counts {
    /// Electronic and paper votes.
    pub fn all(&self) -> u64 {
        self.electronic + self.paper
    }

    fn more(self, header: &BallotHeader) -> Self {
        let paper = u64::from(header.channel() == ChannelKind::Paper);
        Self {
            electronic: self.electronic + 1 - paper,
            paper: self.paper + paper,
        }
    }

    fn less(self, header: &BallotHeader) -> Self {
        let one = Self::default().more(header);
        Self {
            electronic: self.electronic.saturating_sub(one.electronic),
            paper: self.paper.saturating_sub(one.paper),
        }
    }
}

impl Queued {
    fn bytes(&self) -> usize {
        512 + self.parcel.ciphertexts().iter().map(Bytes::len).sum::<usize>()
    }

    fn steps(&self, number: u64) -> Vec<Step> {
        let mut steps = Vec::new();
        for party in Role::ALL {
            steps.extend(
                self.standing
                    .receipt(party)
                    .map(|of| Step::accepted(number, party, of.clone())),
            );
            for of in [party.next(), party.prev()] {
                steps.extend(
                    self.standing
                        .is_stored(party, of)
                        .then(|| Step::stored(number, party, of)),
                );
            }
        }
        steps
    }
}

impl QueuedBallot {
    fn of(number: u64, parcel: &Parcel) -> Self {
        Self {
            number,
            header: Some(parcel.header().to_wire()),
            ciphertexts: parcel.ciphertexts().to_vec(),
            signature: parcel.authority_signature().clone(),
        }
    }

    fn parcel(self) -> Option<Parcel> {
        let header = BallotHeader::from_wire(&self.header?).ok()?;
        Some(Parcel::new(
            header,
            self.ciphertexts.try_into().ok()?,
            self.signature,
        ))
    }
}

/// The sequence number in a station ballot's header.
pub(crate) fn sequence_of(header: &BallotHeader) -> Option<u64> {
    header.station_mark().map(|mark| mark.sequence)
}

#[cfg(test)]
mod tests;
