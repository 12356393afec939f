//! Boxes.

use super::{
    Capacity, Contest, MAX_CONTESTS, MAX_SHARE_BYTES, MAX_VOTERS, ManifestError, ResultPolicy, Unsupported,
    count,
};
use crate::ids::{BoxId, ContestId, Hash32};
use crate::text::Texts;
use crate::wire;
use tally_mpc::layout::BallotLayout;

/// The unit that is tallied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BallotBox {
    id: BoxId,
    name: Texts,
    contests: Vec<ContestId>,
    voters: u32,
    roll_root: Hash32,
    layout: BallotLayout,
    stated_max_ballots: u32,
    capacity: Capacity,
}

impl BallotBox {
    /// Its number.
    pub fn id(&self) -> BoxId {
        self.id
    }
    /// Its name.
    pub fn name(&self) -> &Texts {
        &self.name
    }
    /// Its contests in payload order.
    pub fn contests(&self) -> &[ContestId] {
        &self.contests
    }
    /// N, the voters of its roll.
    pub fn voters(&self) -> u32 {
        self.voters
    }
    /// RFC 6962 root of its roll.
    pub fn roll_root(&self) -> Hash32 {
        self.roll_root
    }
    /// How much of it a party takes.
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }
    /// The ballots that the manifest says a party takes; 0: as many as fit.
    pub(super) fn stated_max_ballots(&self) -> u32 {
        self.stated_max_ballots
    }
    pub(super) fn set_capacity(&mut self, capacity: Capacity) {
        self.capacity = capacity;
    }
    /// The packed form of its ballots.
    pub fn layout(&self) -> &BallotLayout {
        &self.layout
    }

    pub(super) fn from_wire(
        wire: &wire::Box,
        contests: &[Contest],
        policy: &ResultPolicy,
    ) -> Result<Self, ManifestError> {
        let id = BoxId(wire.id);
        let name = Texts::from_wire(&wire.name).map_err(|source| ManifestError::Text {
            place: format!("box {id}"),
            source,
        })?;
        count("contests of a box", wire.contests.len(), 1, MAX_CONTESTS)?;
        let mut chosen: Vec<&Contest> = Vec::with_capacity(wire.contests.len());
        for number in &wire.contests {
            let contest = ContestId(*number);
            match contests.iter().find(|c| c.id() == contest) {
                Some(found) if chosen.iter().all(|c| c.id() != contest) => chosen.push(found),
                _ => return Err(ManifestError::BoxContest { of_box: id, contest }),
            }
        }
        let voters = wire.voters;
        if voters == 0 && wire.roll_root.is_empty() {
            return Err(ManifestError::Unsupported(Unsupported::OpenRoll(id)));
        }
        count("voters of a box", voters as usize, 1, MAX_VOTERS as usize)?;
        if voters < policy.min_voters {
            let (name, minimum) = (name.default_text().into(), policy.min_voters);
            return Err(ManifestError::BoxTooSmall {
                of_box: id,
                name,
                voters,
                minimum,
            });
        }
        let bits = BallotLayout::index_bits_for(voters);
        if bits as u64 != u64::from(wire.index_bits) {
            let (expected, actual) = (bits as u32, wire.index_bits);
            return Err(ManifestError::IndexBits {
                of_box: id,
                voters,
                expected,
                actual,
            });
        }
        let roll_root = Hash32::from_slice(&wire.roll_root).map_err(|_| ManifestError::RollRoot(id))?;
        let layout = BallotLayout::new(bits, chosen.iter().map(|c| c.packed()).collect())
            .map_err(|source| ManifestError::Layout { of_box: id, source })?;
        let bytes = layout.share_bytes();
        if bytes > MAX_SHARE_BYTES {
            return Err(ManifestError::Wide { of_box: id, bytes });
        }
        let contests = chosen.iter().map(|c| c.id()).collect();
        Ok(Self {
            id,
            name,
            contests,
            voters,
            roll_root,
            layout,
            stated_max_ballots: wire.max_ballots,
            capacity: Capacity::default(),
        })
    }

    pub(super) fn to_wire(&self) -> wire::Box {
        wire::Box {
            id: self.id.get(),
            name: self.name.to_wire(),
            contests: self.contests.iter().map(|c| c.get()).collect(),
            voters: self.voters,
            roll_root: self.roll_root.0.to_vec(),
            index_bits: self.layout.index_bits() as u32,
            max_ballots: self.stated_max_ballots,
        }
    }
}
