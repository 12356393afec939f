//! A recount in the clear, from the script of who did what and the times and digests that the casts came by. It shares no code with the
//! protocol: it is what the tally is compared with.

use std::collections::BTreeMap;

use crate::script::{Cast, Roll, Way};

/// A ballot as it was cast.
#[derive(Debug, Clone)]
pub struct Done {
    /// What the script asked for.
    pub cast: Cast,
    /// When, by the parties' clocks.
    pub cast_at_s: u64,
    /// The ballot's public name.
    pub digest: [u8; 32],
    /// The name that its voter may keep; empty at a station.
    pub name: String,
    /// The station's running number; 0 online.
    pub sequence: u64,
}

/// What a box comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Count {
    /// Votes for option 1, 2, ...
    pub totals: Vec<u64>,
    /// Counted ballots whose number is not on the list.
    pub spoilt: u64,
    /// Counted ballots that were cast online, spoilt ones included.
    pub online: u64,
    /// Counted ballots that were cast electronically at a station, spoilt ones included.
    pub station: u64,
}

/// Counts one box: the true credential's last ballot stands; any vote at a station beats those online, paper beats both and is counted
/// elsewhere; who is not on the roll has no vote.
#[must_use]
pub fn recount(box_id: u32, roll: &Roll, options: u32, done: &[Done]) -> Count {
    let voters = roll.boxes[box_id as usize - 1];
    let mut standing: BTreeMap<u32, &Done> = BTreeMap::new();
    for ballot in done.iter().filter(|d| d.cast.place.box_id == box_id) {
        if ballot.cast.place.v >= voters || ballot.cast.way == Way::FalseOnline {
            continue;
        }
        let kept = standing.entry(ballot.cast.place.v).or_insert(ballot);
        if rank(ballot) > rank(kept) {
            *kept = ballot;
        }
    }
    let mut count = Count {
        totals: vec![0; options as usize],
        ..Count::default()
    };
    for ballot in standing.values() {
        match ballot.cast.way {
            Way::Online => count.online += 1,
            Way::Station(_) => count.station += 1,
            Way::Paper(_) | Way::FalseOnline => continue,
        }
        match ballot.cast.choice {
            0 => {}
            choice if choice <= options => count.totals[choice as usize - 1] += 1,
            _ => count.spoilt += 1,
        }
    }
    count
}

fn rank(done: &Done) -> (u8, u64, u32, u64, [u8; 32]) {
    let (class, station) = match done.cast.way {
        Way::Online | Way::FalseOnline => (0, 0),
        Way::Station(id) => (1, id),
        Way::Paper(id) => (2, id),
    };
    (class, done.cast_at_s, station, done.sequence, done.digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Place;

    fn done(v: u32, way: Way, choice: u32, cast_at_s: u64, digest: u8) -> Done {
        let cast = Cast {
            device: v,
            place: Place { box_id: 1, v },
            way,
            choice,
        };
        Done {
            cast,
            cast_at_s,
            digest: [digest; 32],
            name: String::new(),
            sequence: 0,
        }
    }

    #[test]
    fn precedence() {
        let roll = Roll { boxes: vec![5] };
        let ballots = [
            // Voter 0 revotes within one second: the greater digest stands.
            done(0, Way::Online, 1, 10, 9),
            done(0, Way::Online, 2, 10, 8),
            // Voter 1 votes at a station, then online.
            done(1, Way::Station(1), 2, 10, 1),
            done(1, Way::Online, 1, 20, 2),
            // Voter 2 votes on paper before the electronic vote: paper stands, and is not counted here.
            done(2, Way::Paper(1), 0, 10, 3),
            done(2, Way::Station(1), 1, 20, 4),
            // Voter 3's false credential, voter 5 does not exist, voter 4 spoils.
            done(3, Way::FalseOnline, 1, 10, 5),
            done(5, Way::Online, 1, 10, 6),
            done(4, Way::Online, 7, 10, 7),
        ];
        let count = recount(1, &roll, 3, &ballots);
        assert_eq!(
            count,
            Count {
                totals: vec![1, 1, 0],
                spoilt: 1,
                online: 2,
                station: 1
            }
        );
    }
}
