//! Following the other parties' logs, cosigning them, catching up, and what a party asks at its start. [`PROTOCOL.md`](./PROTOCOL.md) is the page.

mod contents;
mod follow;
mod gate;
mod provision;
mod recollect;
mod scribe;
mod serve;
mod third;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tally_proto::connect;
use tally_proto::ids::{Role, RoleExt as _};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire::peer_client::PeerClient;
use tokio::sync::Semaphore;
use tonic::transport::Channel;

pub use gate::Gate;

use crate::party::Party;

pub(crate) use follow::follow;
pub(crate) use recollect::recollect;
pub(crate) use scribe::{phase_of, scribe};

/// Questions of one peer that are answered at once; more are refused as `party.busy`.
const AT_ONCE: usize = 4;

/// What this party remembers of its following, besides what its store holds.
#[derive(Debug)]
pub struct Following {
    since_ms: u64,
    peers: [Mutex<Heard>; 3],
    permits: [Semaphore; 3],
    /// Held while an election is taken over.
    taking: tokio::sync::Mutex<()>,
    published: Mutex<HashMap<u32, (u64, Instant)>>,
    cosigned: Mutex<HashMap<(u32, u8), Cosigned>>,
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
    /// What is wrong with it, by election.
    trouble: HashMap<u32, String>,
    /// The size of the third party's checkpoint that was last compared, by election.
    compared: HashMap<u32, u64>,
    /// (its size, the size of the third's that it cosigned) with which nothing was left to do, by election.
    quiet: HashMap<u32, (u64, u64)>,
}

impl Following {
    /// Begins at this moment.
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            since_ms: now_ms,
            peers: Default::default(),
            taking: tokio::sync::Mutex::default(),
            permits: std::array::from_fn(|_| Semaphore::new(AT_ONCE)),
            published: Mutex::default(),
            cosigned: Mutex::default(),
        }
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
    pub(crate) fn peer_client(&self, peer: Role) -> Result<PeerClient<Channel>, Refusal> {
        let channel = self
            .peers
            .channel(peer)
            .ok_or_else(|| Refusal::new(Reason::Internal, "a party is no peer of its own"))?;
        Ok(connect::peer(channel))
    }

    /// The two others.
    fn others(&self) -> [Role; 2] {
        [self.role.next(), self.role.prev()]
    }
}
