//! A small box in the clear, its shares, its count, and the seeds of its session.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tally_mpc::layout::split_credential;
use tally_mpc::{
    BallotKind, BallotLayout, Binding, Choice, Contest, Counts, OpenedCounts, Outcome, Role, Seed, Seeds,
    Shape, SortParams, TallyInput, TallyParams,
};

use super::attack::Lie;

/// Options of the one contest.
pub const OPTIONS: u32 = 3;

/// A ballot.
#[derive(Clone, Copy, Debug)]
struct Ballot {
    kind: BallotKind,
    voter: u32,
    false_credential: bool,
    choice: u32,
}

/// A whole box.
#[derive(Clone, Debug)]
pub struct Election {
    credentials: Vec<u64>,
    ballots: Vec<Ballot>,
    layout: BallotLayout,
}

/// How many rows of each kind a box has.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Voters.
    pub voters: u32,
    /// Online ballots.
    pub online: u32,
    /// Electronic station ballots.
    pub electronic: u32,
    /// Paper ballots.
    pub paper: u32,
}

impl Election {
    /// Voters, revotes, false credentials and choices by chance.
    #[must_use]
    pub fn random(size: Size, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let credentials: Vec<u64> = (0..size.voters).map(|_| rng.random()).collect();
        let kinds = [
            (BallotKind::Online, size.online),
            (BallotKind::Electronic, size.electronic),
            (BallotKind::Paper, size.paper),
        ];
        let mut ballots = Vec::new();
        for (kind, count) in kinds {
            for _ in 0..count {
                ballots.push(Ballot {
                    kind,
                    voter: rng.random_range(0..size.voters),
                    false_credential: rng.random_range(0..4) == 0,
                    choice: rng.random_range(1..=OPTIONS),
                });
            }
        }
        Self::new(credentials, ballots)
    }

    /// One voter casts every ballot, for one option, and nothing is false: as far from [`Election::random`] as the size allows.
    #[must_use]
    pub fn one_voter(size: Size, seed: u64) -> Self {
        let mut election = Self::random(size, seed);
        for ballot in &mut election.ballots {
            ballot.voter = 0;
            ballot.false_credential = false;
            ballot.choice = 1;
        }
        election
    }

    fn new(credentials: Vec<u64>, ballots: Vec<Ballot>) -> Self {
        let bits = BallotLayout::index_bits_for(credentials.len() as u32);
        let layout = BallotLayout::new(bits, vec![Contest::Single { options: OPTIONS }])
            .expect("three options make a layout");
        Self {
            credentials,
            ballots,
            layout,
        }
    }

    fn shape(&self) -> Shape {
        let count = |kind| self.ballots.iter().filter(|b| b.kind == kind).count() as u32;
        Shape {
            voters: self.credentials.len() as u32,
            online: count(BallotKind::Online),
            electronic: count(BallotKind::Electronic),
            paper: count(BallotKind::Paper),
        }
    }

    /// Rows of the tally.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.shape().rows() as usize
    }

    /// The inputs of the three parties, shared afresh. `lie` names a party that has other shares of the first voter's credential or of
    /// the first ballot than those who hold the same.
    #[must_use]
    pub fn inputs(&self, session: u64, lie: Option<(Role, Lie)>) -> [TallyInput; 3] {
        // What a party's share of the credential or of the ballot is XORed with, for the first and the second share that it holds.
        let spoilt = |about_credential: bool, i: usize| match lie {
            Some((liar, Lie::Input { credential, own }))
                if credential == about_credential && liar == Role::ALL[i] =>
            {
                [u8::from(own), u8::from(!own)]
            }
            _ => [0, 0],
        };
        let mut rng = StdRng::seed_from_u64(session ^ 0x1117);
        let mut builders = Role::ALL
            .map(|role| TallyInput::builder(role, &self.layout, self.shape()).expect("the shape fits"));
        for (v, &credential) in self.credentials.iter().enumerate() {
            let shares = split_credential(credential, &mut rng);
            for (i, builder) in builders.iter_mut().enumerate() {
                let [own, next] = if v == 0 { spoilt(true, i) } else { [0, 0] };
                let (own, next) = (
                    *shares[i] ^ u64::from(own),
                    *shares[(i + 1) % 3] ^ u64::from(next),
                );
                builder.push_voter(true, true, own, next).expect("a voter is due");
            }
        }
        for (b, ballot) in self.ballots.iter().enumerate() {
            let credential = self.credentials[ballot.voter as usize] ^ u64::from(ballot.false_credential);
            let choice = [Choice::Options(vec![ballot.choice])];
            let plain = self
                .layout
                .pack(ballot.voter, credential, &choice)
                .expect("a choice of the list");
            let shares = self.layout.split(&plain, &mut rng).expect("a packed ballot");
            for (i, builder) in builders.iter_mut().enumerate() {
                let spoils = if b == 0 { spoilt(false, i) } else { [0, 0] };
                let [mut own, mut next] = [i, (i + 1) % 3].map(|share| shares[share].to_vec());
                own[0] ^= spoils[0];
                next[0] ^= spoils[1];
                builder
                    .push_ballot(ballot.kind, &own, &next)
                    .expect("a ballot is due");
            }
        }
        builders.map(|builder| builder.finish().expect("every row was pushed"))
    }

    /// Where each row, in public order, stands in the order that the sort makes.
    #[must_use]
    pub fn ranks(&self) -> Vec<u32> {
        ranks_of(&self.keys())
    }

    /// The index and the order of each row, in public order: what is sorted by.
    fn keys(&self) -> Vec<(u32, usize)> {
        let roll = (0..=self.credentials.len() as u32).map(|v| (v, 0));
        let ballots = self.ballots.iter().enumerate();
        roll.chain(ballots.map(|(b, ballot)| (ballot.voter, b + 1)))
            .collect()
    }

    /// Where each row stands when the rows were moved, so that `moved[i]` is the row at place i, and are sorted by index alone, rows of
    /// equal index as they stand: what an engine would open that breaks ties by public position.
    #[must_use]
    pub fn ranks_with_public_ties(&self, moved: &[usize]) -> Vec<u32> {
        let keys = self.keys();
        let keys: Vec<(u32, usize)> = moved
            .iter()
            .enumerate()
            .map(|(at, &row)| (keys[row].0, at))
            .collect();
        ranks_of(&keys)
    }

    /// The count by plain code.
    #[must_use]
    pub fn count(&self) -> (Vec<u64>, u64) {
        let (mut totals, mut counted) = (vec![0; OPTIONS as usize], 0);
        for voter in 0..self.credentials.len() as u32 {
            let valid =
                |b: &&Ballot| b.voter == voter && (b.kind != BallotKind::Online || !b.false_credential);
            if let Some(last) = self.ballots.iter().rev().find(valid)
                && last.kind != BallotKind::Paper
            {
                totals[last.choice as usize - 1] += 1;
                counted += 1;
            }
        }
        (totals, counted)
    }

    /// Whether an outcome is the count.
    #[must_use]
    pub fn agrees(&self, outcome: &Outcome) -> bool {
        let (totals, counted) = self.count();
        outcome.contests.len() == 1
            && outcome.contests[0].options == totals
            && outcome.counts == Counts::Counted(counted)
    }
}

/// Where each of some different keys stands in their order.
fn ranks_of(keys: &[(u32, usize)]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by_key(|&row| keys[row]);
    let mut ranks = vec![0; keys.len()];
    for (rank, row) in (0..).zip(order) {
        ranks[row] = rank;
    }
    ranks
}

/// The parameters of all sessions here. The small allowance for comparisons makes several levels of a small box.
#[must_use]
pub fn params(free_lanes: usize) -> TallyParams {
    TallyParams {
        counts: OpenedCounts::Counted,
        sort: SortParams {
            free_lanes,
            // Proofs begin within the steps and ride on their rounds, as they do in a large box.
            waiting_gates: 1 << 10,
            ..SortParams::LAN
        },
    }
}

/// What a session is bound to.
#[must_use]
pub fn binding(session: u64) -> Binding {
    Binding::new(&[8; 32], b"cheating", b"box 1", session)
}

/// The seed of the pair of P_{j-1} and P_j.
fn pair(j: Role, session: u64) -> [u8; 32] {
    let mut rng = StdRng::seed_from_u64(session.wrapping_mul(4) + u64::from(j.index()));
    rng.random()
}

/// A party's seeds; the bits of `wrong` spoil the one with the previous (1) and with the next neighbour (2).
#[must_use]
pub fn seeds(role: Role, session: u64, wrong: u8) -> Seeds {
    let spoilt = |j: Role, bit: u8| {
        let mut seed = pair(j, session);
        seed[0] ^= u8::from(wrong & bit != 0);
        Seed::new(seed)
    };
    Seeds {
        prev: spoilt(role, 1),
        next: spoilt(role.next(), 2),
    }
}
