//! The script of an election: who casts what, when and how. Drawn from one seed, so that a run can be repeated.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// Who is on the roll of which box.
#[derive(Debug, Clone)]
pub struct Roll {
    /// Voters of each box; box ids count from 1.
    pub boxes: Vec<u32>,
}

impl Roll {
    /// Voters of all boxes together.
    #[must_use]
    pub fn voters(&self) -> u32 {
        self.boxes.iter().sum()
    }

    /// Box id and place on that box's roll of the voter with this overall number (0 based).
    ///
    /// # Panics
    /// If there is no such voter.
    #[must_use]
    pub fn place(&self, mut voter: u32) -> Place {
        for (i, &size) in (1_u32..).zip(&self.boxes) {
            if voter < size {
                return Place { box_id: i, v: voter };
            }
            voter -= size;
        }
        panic!("no voter {voter} past the last box");
    }
}

/// A place on a roll.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The box.
    pub box_id: u32,
    /// The index on its roll; beyond the roll for a ballot that claims a voter who does not exist.
    pub v: u32,
}

/// Where a ballot is cast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// Online, with the credential that the roll's voter was issued.
    Online,
    /// Online, with a credential that nobody was issued.
    FalseOnline,
    /// Electronically at the station with this id.
    Station(u32),
    /// On paper at the station with this id.
    Paper(u32),
}

/// One ballot of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cast {
    /// The device that casts it. One device casts in script order, at rising times.
    pub device: u32,
    /// The index that the ballot claims.
    pub place: Place,
    /// How.
    pub way: Way,
    /// The number chosen, on the list or not; 0 for paper.
    pub choice: u32,
}

/// Parts of the voting period. All casts of a phase are done before the next begins.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// The three parties are up.
    pub first: Vec<Cast>,
    /// One party has been killed.
    pub one_away: Vec<Cast>,
    /// It is back.
    pub back: Vec<Cast>,
    /// At stations.
    pub stations: Vec<Cast>,
    /// Online, after the stations.
    pub last: Vec<Cast>,
}

impl Script {
    /// How many ballots are cast in all.
    #[must_use]
    pub fn ballots(&self) -> usize {
        [
            &self.first,
            &self.one_away,
            &self.back,
            &self.stations,
            &self.last,
        ]
        .iter()
        .map(|phase| phase.len())
        .sum()
    }
}

/// How many of what.
#[derive(Debug, Clone)]
pub struct Mix {
    /// Revoters out of the voters.
    pub revoters: usize,
    /// Ballots of the one who revotes most.
    pub most_ballots: u32,
    /// Voters who vote at a station, half of them after an online vote.
    pub at_stations: usize,
    /// Voters who vote on paper, half of them after an online vote.
    pub on_paper: usize,
    /// Voters whose last choice is outside the list.
    pub spoilt: usize,
    /// Ballots with a false credential.
    pub false_credentials: usize,
    /// Ballots with an index outside the roll.
    pub out_of_roll: usize,
    /// Stations, with ids from 1.
    pub stations: u32,
}

impl Mix {
    /// The demonstration's mix: a tenth revote, one of them 1,009 times; 15% at stations, 1% on paper.
    #[must_use]
    pub fn of_voters(voters: usize) -> Self {
        Self {
            revoters: voters / 10,
            most_ballots: if voters >= 10_000 { 1009 } else { 19 },
            at_stations: voters * 15 / 100,
            on_paper: voters / 100,
            spoilt: voters / 300,
            false_credentials: voters / 50,
            out_of_roll: voters / 200,
            stations: 3,
        }
    }
}

/// Draws a script in which each voter's last word is one of `preferences`, given to random voters of the roll; the rest abstain. The
/// last voter of every box votes at a station and then again, online, with indices beyond the roll.
///
/// # Panics
/// If the mix asks for more voters than there are preferences, or there are more preferences than voters.
#[must_use]
pub fn draw(seed: u64, roll: &Roll, preferences: &[u32], options: u32, mix: &Mix) -> Script {
    let mut rng = StdRng::seed_from_u64(seed);
    let highest = (options + 1).next_power_of_two() - 1;
    let lasts: Vec<u32> = (1..=roll.boxes.len())
        .map(|n| roll.boxes[..n].iter().sum::<u32>() - 1)
        .collect();
    let mut others: Vec<u32> = (0..roll.voters()).filter(|v| !lasts.contains(v)).collect();
    others.shuffle(&mut rng);
    // The last voter of every box comes first, hence to a station.
    let voters: Vec<u32> = lasts
        .iter()
        .chain(&others)
        .copied()
        .take(preferences.len())
        .collect();
    assert_eq!(
        voters.len(),
        preferences.len(),
        "more ballots than voters on the roll"
    );
    let mut preferences = preferences.to_vec();
    preferences.shuffle(&mut rng);

    let (station_end, paper_end) = (mix.at_stations, mix.at_stations + mix.on_paper);
    let online_first = |i: usize| i >= lasts.len() && (i >= paper_end || i.is_multiple_of(2));
    let mut script = Script::default();
    let own = |voter: u32, choice: u32| Cast {
        device: voter,
        place: roll.place(voter),
        way: Way::Online,
        choice,
    };
    let revoters: Vec<usize> = (paper_end..voters.len())
        .rev()
        .filter(|&i| online_first(i))
        .take(mix.revoters)
        .collect();
    let spoilt_from = paper_end;
    for (i, (&voter, &preference)) in voters.iter().zip(&preferences).enumerate() {
        let any = rng.random_range(0..=highest);
        let station = 1 + voter % mix.stations;
        let early = if rng.random_bool(0.7) {
            &mut script.first
        } else {
            &mut script.one_away
        };
        if i < paper_end {
            if online_first(i) {
                early.push(own(voter, any));
            }
            let (way, choice) = if i < station_end {
                (Way::Station(station), preference)
            } else {
                (Way::Paper(station), 0)
            };
            let cast = Cast {
                device: roll.voters() + station,
                place: roll.place(voter),
                way,
                choice,
            };
            script.stations.push(cast);
            if i < lasts.len() || i.is_multiple_of(20) {
                script.last.push(own(voter, rng.random_range(1..=options)));
            }
        } else if i < spoilt_from + mix.spoilt {
            early.push(own(voter, rng.random_range(options + 1..=highest)));
        } else if revoters.contains(&i) {
            let casts = if i == voters.len() - 1 {
                mix.most_ballots
            } else {
                1
            };
            // The one with most ballots is a coercer with many devices; everyone else's revote comes from the same device.
            for n in 0..casts {
                let device = if casts > 1 {
                    roll.voters() + 1000 + n % 101
                } else {
                    voter
                };
                script.first.push(Cast {
                    device,
                    ..own(voter, rng.random_range(0..=highest))
                });
            }
            if rng.random_bool(0.5) {
                &mut script.one_away
            } else {
                &mut script.back
            }
            .push(own(voter, preference));
        } else {
            early.push(own(voter, preference));
        }
    }
    // A credential handed to a coercer, or made up: for voters and abstainers alike, before and after the true vote.
    for n in 0..mix.false_credentials {
        let place = roll.place(rng.random_range(0..roll.voters()));
        let cast = Cast {
            device: 2 * roll.voters() + n as u32,
            place,
            way: Way::FalseOnline,
            choice: rng.random_range(1..=options),
        };
        if n % 2 == 0 {
            &mut script.first
        } else {
            &mut script.back
        }
        .push(cast);
    }
    for n in 0..mix.out_of_roll {
        let box_id = 1 + n as u32 % roll.boxes.len() as u32;
        let size = roll.boxes[box_id as usize - 1];
        let place = Place {
            box_id,
            v: rng.random_range(size..(size + 1).next_power_of_two()),
        };
        let cast = Cast {
            device: 3 * roll.voters() + n as u32,
            place,
            way: Way::FalseOnline,
            choice: rng.random_range(1..=options),
        };
        script.back.push(cast);
    }
    for &last in &lasts {
        let place = roll.place(last);
        for beyond in [1, 2] {
            // Beyond the roll, but with the credential of the last voter on it.
            let top = (roll.boxes[place.box_id as usize - 1] + 1).next_power_of_two() - 1;
            let place = Place {
                v: (place.v + beyond).min(top),
                ..place
            };
            script.last.push(Cast {
                device: last,
                place,
                way: Way::Online,
                choice: 1,
            });
        }
    }
    for phase in [
        &mut script.first,
        &mut script.one_away,
        &mut script.back,
        &mut script.stations,
        &mut script.last,
    ] {
        phase.shuffle(&mut rng);
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> (Roll, Script, Vec<u32>) {
        let roll = Roll {
            boxes: vec![700, 500, 300],
        };
        let preferences: Vec<u32> = (0..1000).map(|i| 1 + i % 10).collect();
        let script = draw(7, &roll, &preferences, 10, &Mix::of_voters(1000));
        (roll, script, preferences)
    }

    #[test]
    fn a_script_holds_what_the_mix_asks_for() {
        let (roll, script, _) = small();
        let station = script
            .stations
            .iter()
            .filter(|c| matches!(c.way, Way::Station(_)))
            .count();
        let paper = script
            .stations
            .iter()
            .filter(|c| matches!(c.way, Way::Paper(_)))
            .count();
        assert_eq!((station, paper), (150, 10));
        let most = script
            .first
            .iter()
            .filter(|c| c.device >= roll.voters() + 1000 && c.device < 2 * roll.voters());
        assert_eq!(most.count(), 19);
        let beyond = |c: &&Cast| c.place.v >= roll.boxes[c.place.box_id as usize - 1];
        assert_eq!(script.back.iter().filter(beyond).count(), 5);
        assert_eq!(
            script
                .last
                .iter()
                .filter(beyond)
                .filter(|c| c.way == Way::Online)
                .count(),
            6
        );
        for box_id in 1..=3 {
            let last = Place {
                box_id,
                v: roll.boxes[box_id as usize - 1] - 1,
            };
            assert!(
                script.stations.iter().any(|c| c.place == last),
                "the last voter of box {box_id} goes to a station"
            );
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_script() {
        let (_, a, _) = small();
        let (_, b, _) = small();
        assert_eq!(a.first, b.first);
        assert_eq!(a.last, b.last);
    }
}
