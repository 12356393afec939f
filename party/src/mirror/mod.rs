//! Following the other parties' logs, cosigning them, catching up, and what a party asks at its start. [`PROTOCOL.md`](./PROTOCOL.md) is the page.

mod bound;
mod collected;
mod contents;
mod follow;
mod gate;
mod lag;
mod pace;
mod parts;
mod provision;
mod recollect;
mod regain;
mod scribe;
mod serve;
mod third;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tally_proto::connect;
use tally_proto::ids::{Role, RoleExt as _};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire::intake_client::IntakeClient;
use tally_proto::wire::peer_client::PeerClient;
use tokio::sync::Semaphore;
use tonic::transport::Channel;

pub use gate::Gate;

use crate::party::Party;

pub(crate) use follow::follow;
pub(crate) use parts::{UNREAD, answered};
pub(crate) use recollect::{mend, recollect};
pub(crate) use scribe::{phase_of, scribe};

/// Questions of one peer that are answered at once; more are refused as `party.busy`.
const AT_ONCE: usize = 4;

/// Answers of sealing in parts that one peer reads at once; more wait, no longer than a reader may.
const FILLED_AT_ONCE: usize = 16;

/// Largest message of another party about logs: a page of entries, a thousand rows of a roll.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// Largest checkpoint with its cosignatures, and largest proof.
const MAX_PROOF_BYTES: usize = 64 << 10;

/// What this party remembers of its following, besides what its store holds.
#[derive(Debug)]
pub struct Following {
    since_ms: u64,
    peers: [Mutex<Heard>; 3],
    permits: [Arc<Semaphore>; 3],
    /// Each caller reads one roll at a time: its persons are held in memory meanwhile.
    rolls: [Arc<Semaphore>; 3],
    /// Answers of sealing that each caller reads at a time.
    filling: [Arc<Semaphore>; 3],
    /// Elections that are being taken over.
    taking: Mutex<HashSet<String>>,
    published: Mutex<HashMap<u32, (u64, Instant)>>,
    cosigned: Mutex<HashMap<(u32, u8), Cosigned>>,
    /// Which logs of others this party may cosign above which size, by election and owner.
    floors: Mutex<HashMap<(u32, u8), Floor>>,
    /// Where the next look at lost positions begins, by election.
    mended: Mutex<HashMap<u32, u64>>,
}

/// From where on another party's log may be cosigned here.
#[derive(Clone, Copy, Debug)]
enum Floor {
    /// This store may be older than this party's own cosignatures: whoever else follows that log is asked first.
    Unknown,
    /// Above that size. Whatever this party cosigned before is no longer than that, or stands in its mirror.
    Above(u64),
}

/// The newest cosignature of this party's log by one other. Not stored: a second after a start there is another.
#[derive(Clone, Debug)]
struct Cosigned {
    /// Of so many entries.
    size: u64,
    /// The cosigner's line.
    line: String,
    /// This party's signed note without cosignatures.
    note: String,
}

/// What was heard of one peer since this party started.
#[derive(Debug, Default)]
struct Heard {
    /// When it last answered.
    at_ms: u64,
    /// When its log was last seen open, by election.
    open_at_ms: HashMap<u32, u64>,
    /// The largest size of its log that it said, by election.
    sizes: HashMap<u32, u64>,
    /// How many people have shown a card for the open roll of an election, as it last said.
    people: HashMap<u32, u32>,
    /// What is wrong with it, by election.
    trouble: HashMap<u32, String>,
    /// The size of the third party's checkpoint that was last compared, by election.
    compared: HashMap<u32, u64>,
    /// The size of its log that was last cosigned here, by election.
    cosigned: HashMap<u32, u64>,
    /// Elections of which it was asked what orders are in force, since it last named a new one.
    ordered: HashSet<u32>,
    /// Up to where its log may be looked at, by election: see `bound`.
    allowed: HashMap<u32, bound::Allowed>,
    /// Ballots and records that it named and of which it did not give the share that this party is to have, by election, since this party started.
    not_given: HashMap<u32, u64>,
    /// The election that was last tried to be taken over from it.
    tried: String,
    /// When it was last noted in the store that it has nothing in force that is not in force here.
    noted_ms: Option<u64>,
    /// (its size, the size of the third's that it cosigned) with which nothing was left to do, by election.
    quiet: HashMap<u32, (u64, u64)>,
    /// How far its logs are to be followed next, by election: see `lag`.
    lags: BTreeMap<u32, lag::Lag>,
    /// How fast it gives what this party lost.
    pace: pace::Pace,
}

/// An election that is being taken over, until it is dropped.
#[derive(Debug)]
struct Taking<'a> {
    all: &'a Mutex<HashSet<String>>,
    election: String,
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.election);
    }
}

impl Following {
    /// Begins at this moment.
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            since_ms: now_ms,
            peers: Default::default(),
            taking: Mutex::default(),
            permits: std::array::from_fn(|_| Arc::new(Semaphore::new(AT_ONCE))),
            rolls: std::array::from_fn(|_| Arc::new(Semaphore::new(1))),
            filling: std::array::from_fn(|_| Arc::new(Semaphore::new(FILLED_AT_ONCE))),
            published: Mutex::default(),
            cosigned: Mutex::default(),
            floors: Mutex::default(),
            mended: Mutex::default(),
        }
    }

    /// Begins to take an election over; `None`: it is being taken over from the other peer just now.
    fn take(&self, election: &str) -> Option<Taking<'_>> {
        let mut all = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(election.to_owned()).then(|| Taking {
            all: &self.taking,
            election: election.to_owned(),
        })
    }

    /// The gate of that election opens. `same`: because the store itself is the newest there was, and its mirrors are.
    fn may_cosign_from(&self, election: u32, same: bool) {
        let mut floors = self.floors.lock().unwrap_or_else(PoisonError::into_inner);
        for owner in Role::ALL {
            let floor = if same { Floor::Above(0) } else { Floor::Unknown };
            floors.insert((election, owner.index()), floor);
        }
    }

    fn floor(&self, election: u32, owner: Role) -> Floor {
        let floors = self.floors.lock().unwrap_or_else(PoisonError::into_inner);
        let floor = floors.get(&(election, owner.index()));
        floor.copied().unwrap_or(Floor::Unknown)
    }

    fn cosign_above(&self, election: u32, owner: Role, size: u64) {
        let mut floors = self.floors.lock().unwrap_or_else(PoisonError::into_inner);
        floors.insert((election, owner.index()), Floor::Above(size));
    }

    fn cosigned_here(&self, election: u32, owner: Role) -> u64 {
        self.heard(owner, |heard| heard.cosigned.get(&election).copied())
            .unwrap_or_default()
    }

    fn keep_cosigned_here(&self, election: u32, owner: Role, size: u64) {
        self.heard(owner, |heard| heard.cosigned.insert(election, size));
    }

    /// How many people have shown a card for the election's open roll, as `peer` last said; 0 where it said nothing yet.
    pub(crate) fn people(&self, peer: Role, election: u32) -> u32 {
        self.heard(peer, |heard| heard.people.get(&election).copied())
            .unwrap_or_default()
    }

    fn mended(&self, election: u32) -> Option<u64> {
        let mended = self.mended.lock().unwrap_or_else(PoisonError::into_inner);
        mended.get(&election).copied()
    }

    fn mend_from(&self, election: u32, last: Option<u64>) {
        let mut mended = self.mended.lock().unwrap_or_else(PoisonError::into_inner);
        match last {
            Some(last) => mended.insert(election, last),
            None => mended.remove(&election),
        };
    }

    fn cosigned(&self, election: u32, by: Role) -> Option<Cosigned> {
        let cosigned = self.cosigned.lock().unwrap_or_else(PoisonError::into_inner);
        cosigned.get(&(election, by.index())).cloned()
    }

    fn keep_cosigned(&self, election: u32, by: Role, new: Cosigned) {
        let mut cosigned = self.cosigned.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = cosigned
            .get(&(election, by.index()))
            .is_none_or(|old| old.size <= new.size);
        if newer {
            cosigned.insert((election, by.index()), new);
        }
    }

    fn heard<T>(&self, peer: Role, with: impl FnOnce(&mut Heard) -> T) -> T {
        with(
            &mut self.peers[peer.slot()]
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

impl Party {
    /// A client whose answers are no longer than what parties say about logs.
    pub(crate) fn bounded_client(&self, peer: Role) -> Result<PeerClient<Channel>, Refusal> {
        let channel = self
            .peers
            .channel(peer)
            .ok_or_else(|| Refusal::new(Reason::Internal, "a party is no peer of its own"))?;
        Ok(connect::peer(channel).max_decoding_message_size(MAX_ANSWER_BYTES))
    }

    /// The same for what a party answers to anybody: checkpoints and proofs.
    pub(crate) fn bounded_intake(&self, peer: Role) -> Result<IntakeClient<Channel>, Refusal> {
        let channel = self
            .peers
            .channel(peer)
            .ok_or_else(|| Refusal::new(Reason::Internal, "a party is no peer of its own"))?;
        Ok(connect::intake(channel).max_decoding_message_size(MAX_PROOF_BYTES))
    }

    /// The two others.
    fn others(&self) -> [Role; 2] {
        [self.role.next(), self.role.prev()]
    }
}
