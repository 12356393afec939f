//! Synthetic elections: every row follows from a seed, so that three processes agree on it without talking.
//!
//! Of the ballots 1 in 10 is cast at a station, 1 in 50 on paper; of the online ones 1 in 20 carries a false credential and 1 in 100 a
//! voter's number beyond the roll. Voters are drawn with repetition, so there are revotes. 1 voter in 50 is struck from the roll and 1 in
//! 50 has no credential. 1 choice in 50 is spoilt, 1 in 20 blank.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use tally_mpc::layout::split_credential;
use tally_mpc::{
    BallotKind, BallotLayout, Choice, Contest, InputError, LayoutError, OpenedCounts, Role, Shape,
    SortParams, TallyInput, TallyParams,
};

/// Options of the one contest.
const OPTIONS: u32 = 6;

/// Why an election cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SyntheticError {
    /// The ballots' layout is out of range.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The rows do not fit together.
    #[error(transparent)]
    Input(#[from] InputError),
}

/// What an election is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Voters of the roll.
    pub voters: u32,
    /// Ballots of all kinds.
    pub ballots: u32,
    /// Everything else follows from it.
    pub seed: u64,
}

/// The plain count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainCount {
    /// Votes of each option.
    pub options: Vec<u64>,
    /// Spoilt votes.
    pub spoilt: u64,
    /// Counted online ballots.
    pub online: u64,
    /// Counted electronic station ballots.
    pub electronic: u64,
}

#[derive(Clone, Copy)]
struct Voter {
    live: bool,
    enrolled: bool,
    credential: u64,
}

struct Ballot {
    kind: BallotKind,
    index: u32,
    credential: u64,
    choice: Choice,
}

impl Plan {
    /// The ballots' packed form.
    ///
    /// # Errors
    /// None for the one contest that is used here.
    pub fn layout(&self) -> Result<BallotLayout, SyntheticError> {
        let bits = BallotLayout::index_bits_for(self.voters);
        Ok(BallotLayout::new(
            bits,
            vec![Contest::Single { options: OPTIONS }],
        )?)
    }

    /// What is opened, and how the sort is cut.
    pub fn params(&self, sort: SortParams) -> TallyParams {
        TallyParams {
            counts: OpenedCounts::PerChannel,
            sort,
        }
    }

    /// Rows of each kind.
    pub fn shape(&self) -> Shape {
        let electronic = self.ballots / 10;
        let paper = self.ballots / 50;
        Shape {
            voters: self.voters,
            online: self.ballots - electronic - paper,
            electronic,
            paper,
        }
    }

    /// The input of `role`.
    ///
    /// # Errors
    /// The rows do not fit together.
    pub fn input(&self, role: Role) -> Result<TallyInput, SyntheticError> {
        let layout = self.layout()?;
        let mut builder = TallyInput::builder(role, &layout, self.shape())?;
        let mut shares = StdRng::seed_from_u64(self.seed ^ 0x5a5a);
        let own = usize::from(role.index()) - 1;
        let next = usize::from(role.next().index()) - 1;
        let voters = self.voters();
        for voter in &voters {
            let split = split_credential(voter.credential, &mut shares);
            builder.push_voter(voter.live, voter.enrolled, *split[own], *split[next])?;
        }
        for ballot in self.cast(&voters) {
            let plain = layout.pack(ballot.index, ballot.credential, &[ballot.choice])?;
            let split = layout.split(&plain, &mut shares)?;
            builder.push_ballot(ballot.kind, &split[own], &split[next])?;
        }
        Ok(builder.finish()?)
    }

    /// Counts the same election in the clear.
    pub fn count(&self) -> PlainCount {
        let voters = self.voters();
        let mut last: Vec<Option<Ballot>> = voters.iter().map(|_| None).collect();
        // Rows come in the order in which they count: online, electronic, paper.
        for ballot in self.cast(&voters) {
            let Some(voter) = voters.get(ballot.index as usize) else {
                continue;
            };
            let own = voter.enrolled && voter.credential == ballot.credential;
            if voter.live && (ballot.kind != BallotKind::Online || own) {
                let index = ballot.index as usize;
                last[index] = Some(ballot);
            }
        }
        let mut count = PlainCount {
            options: vec![0; OPTIONS as usize],
            spoilt: 0,
            online: 0,
            electronic: 0,
        };
        for ballot in last.into_iter().flatten() {
            match ballot.kind {
                BallotKind::Online => count.online += 1,
                BallotKind::Electronic => count.electronic += 1,
                BallotKind::Paper => continue,
            }
            match ballot.choice {
                Choice::Options(chosen) => {
                    for option in chosen {
                        count.options[option as usize - 1] += 1;
                    }
                }
                Choice::Spoilt => count.spoilt += 1,
                _ => {}
            }
        }
        count
    }

    fn voters(&self) -> Vec<Voter> {
        let mut rng = StdRng::seed_from_u64(self.seed);
        (0..self.voters)
            .map(|_| Voter {
                live: rng.random_range(0..50) != 0,
                enrolled: rng.random_range(0..50) != 0,
                credential: rng.random(),
            })
            .collect()
    }

    fn cast<'a>(&self, voters: &'a [Voter]) -> impl Iterator<Item = Ballot> + 'a {
        let mut rng = StdRng::seed_from_u64(self.seed.wrapping_add(1));
        let shape = self.shape();
        let roll = self.voters;
        // 2^k - 1 is beyond the roll or its sentinel.
        let beyond = ((1u64 << BallotLayout::index_bits_for(roll)) - 1) as u32;
        (0..self.ballots).map(move |number| {
            let kind = if number < shape.online {
                BallotKind::Online
            } else if number < shape.online + shape.electronic {
                BallotKind::Electronic
            } else {
                BallotKind::Paper
            };
            let index = if roll == 0 || rng.random_range(0..100) == 0 {
                beyond
            } else {
                rng.random_range(0..roll)
            };
            let true_credential = voters.get(index as usize).map_or(0, |voter| voter.credential);
            let credential = if rng.random_range(0..20) == 0 {
                rng.random()
            } else {
                true_credential
            };
            let choice = match rng.random_range(0..100) {
                0 | 1 => Choice::Spoilt,
                2..=6 => Choice::Blank,
                _ => Choice::Options(vec![rng.random_range(1..=OPTIONS)]),
            };
            Ballot {
                kind,
                index,
                credential,
                choice,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tally_mpc::curious::tally_without_checks;
    use tally_mpc::local::run_trio;
    use tally_mpc::{Binding, Counts, Seed, Seeds};

    use super::*;

    #[test]
    fn the_engine_agrees_with_the_plain_count() {
        for (voters, ballots) in [(1, 0), (1, 60), (200, 1000), (64, 300)] {
            let plan = Plan {
                voters,
                ballots,
                seed: 3,
            };
            let outcomes = run_trio(|role, mut channel| {
                let seeds = Seeds {
                    prev: Seed::new([role.index(); 32]),
                    next: Seed::new([role.next().index(); 32]),
                };
                let binding = Binding::new(&[1; 32], b"e", b"b", 1);
                let input = plan.input(role).expect("the rows fit");
                let params = plan.params(SortParams::default());
                tally_without_checks(&seeds, &binding, input, &mut channel, &mut (), &params)
                    .expect("honest parties")
            });
            let count = plan.count();
            for outcome in outcomes {
                assert_eq!(outcome.contests[0].options, count.options);
                assert_eq!(outcome.contests[0].spoilt, count.spoilt);
                let counts = Counts::PerChannel {
                    online: count.online,
                    electronic: count.electronic,
                };
                assert_eq!(outcome.counts, counts);
            }
        }
    }

    #[test]
    fn an_election_of_some_size_has_every_kind_of_row_count_and_miss() {
        let plan = Plan {
            voters: 500,
            ballots: 2000,
            seed: 9,
        };
        let count = plan.count();
        assert!(count.online > 100 && count.electronic > 20 && count.spoilt > 2);
        assert!(count.options.iter().all(|&votes| votes > 10));
        assert!(count.online + count.electronic < 500);
    }
}
