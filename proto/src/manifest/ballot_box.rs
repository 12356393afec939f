//! Boxes.

use super::{
    Capacity, Contest, MAX_CONTESTS, MAX_SHARE_BYTES, MAX_VOTERS, ManifestError, OpenRollError, ResultPolicy,
    count,
};
use crate::ids::{BoxId, ContestId, Hash32, UnixSeconds};
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
    rolled: Rolled,
    layout: BallotLayout,
    stated_max_ballots: u32,
    capacity: Capacity,
}

/// How the roll of a box comes about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rolled {
    /// Given at definition, with this root.
    Closed(Hash32),
    /// By enrolment.
    Open(OpenRoll),
}

/// A roll that voters are appended to as they enrol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenRoll {
    /// The last second in which a party takes a record.
    pub freezes: UnixSeconds,
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
    /// N, the voters of its roll; of an open one the most that it can have, as N is in the Seal.
    pub fn voters(&self) -> u32 {
        self.voters
    }
    /// RFC 6962 root of its roll; `None` where it is open: then it is in the Seal.
    pub fn roll_root(&self) -> Option<Hash32> {
        match self.rolled {
            Rolled::Closed(root) => Some(root),
            Rolled::Open(_) => None,
        }
    }
    /// Length of the roll's online column: N, but 0 where the roll is open, as whoever enrols for that votes online.
    pub fn online_bits(&self) -> u32 {
        if self.open().is_some() { 0 } else { self.voters }
    }
    /// Where the roll is open, until when.
    pub fn open(&self) -> Option<&OpenRoll> {
        match &self.rolled {
            Rolled::Closed(_) => None,
            Rolled::Open(open) => Some(open),
        }
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
        let rolled = match &wire.open {
            None => {
                Rolled::Closed(Hash32::from_slice(&wire.roll_root).map_err(|_| ManifestError::RollRoot(id))?)
            }
            Some(open) if wire.roll_root.is_empty() => Rolled::Open(OpenRoll {
                freezes: UnixSeconds(open.freezes_s),
            }),
            Some(_) => return Err(OpenRollError::Root(id).into()),
        };
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
            rolled,
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
            roll_root: self.roll_root().map_or_else(Vec::new, |root| root.0.to_vec()),
            index_bits: self.layout.index_bits() as u32,
            max_ballots: self.stated_max_ballots,
            open: self.open().map(|open| wire::OpenRoll {
                freezes_s: open.freezes.get(),
            }),
        }
    }
}
