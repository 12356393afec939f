//! A small election in the clear: its shares, its recount by plain code, and a tally of it in memory.

#![allow(dead_code, reason = "every test binary uses a part of this module")]

use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use tally_mpc::layout::split_credential;
use tally_mpc::local::{LocalChannel, run_trio};
use tally_mpc::{
    BallotKind, BallotLayout, Binding, Channel, Contest, ContestTotals, Counts, Notary, Observer,
    OpenedCounts, Outcome, Role, Seed, Seeds, Shape, TallyError, TallyInput, TallyParams, tally,
};

/// A voter of the roll.
#[derive(Clone, Debug)]
pub(crate) struct Voter {
    pub(crate) live: bool,
    pub(crate) enrolled: bool,
    pub(crate) credential: u64,
}

/// A ballot, its payload as raw bits, least significant first.
#[derive(Clone, Debug)]
pub(crate) struct Ballot {
    pub(crate) kind: BallotKind,
    pub(crate) index: u32,
    pub(crate) credential: u64,
    pub(crate) payload: Vec<u8>,
}

/// A whole box in the clear.
#[derive(Clone, Debug)]
pub(crate) struct Election {
    pub(crate) layout: BallotLayout,
    pub(crate) voters: Vec<Voter>,
    pub(crate) ballots: Vec<Ballot>,
}

impl Election {
    pub(crate) fn shape(&self) -> Shape {
        let count = |kind| self.ballots.iter().filter(|b| b.kind == kind).count() as u32;
        Shape {
            voters: self.voters.len() as u32,
            online: count(BallotKind::Online),
            electronic: count(BallotKind::Electronic),
            paper: count(BallotKind::Paper),
        }
    }

    /// The result by plain code that shares nothing with the engine.
    pub(crate) fn recount(&self, counts: OpenedCounts) -> Outcome {
        let mut contests: Vec<ContestTotals> = self
            .layout
            .contests()
            .iter()
            .map(|c| ContestTotals {
                options: vec![0; c.options() as usize],
                spoilt: 0,
            })
            .collect();
        let (mut online, mut electronic) = (0, 0);
        for (v, voter) in self.voters.iter().enumerate() {
            let last = self.ballots.iter().rev().find(|ballot| {
                let true_credential = voter.enrolled && ballot.credential == voter.credential;
                ballot.index as usize == v
                    && voter.live
                    && (ballot.kind != BallotKind::Online || true_credential)
            });
            let Some(ballot) = last else { continue };
            match ballot.kind {
                BallotKind::Paper => continue,
                BallotKind::Online => online += 1,
                BallotKind::Electronic => electronic += 1,
            }
            let mut at = 0;
            for (contest, totals) in self.layout.contests().iter().zip(&mut contests) {
                let field: Vec<bool> = (at..at + contest.bits())
                    .map(|i| ballot.payload[i / 8] >> (i % 8) & 1 == 1)
                    .collect();
                at += contest.bits();
                add_field(contest, &field, totals);
            }
        }
        let counts = match counts {
            OpenedCounts::Nothing => Counts::Nothing,
            OpenedCounts::Counted => Counts::Counted(online + electronic),
            OpenedCounts::PerChannel => Counts::PerChannel { online, electronic },
        };
        Outcome { contests, counts }
    }

    /// The inputs of P_1, P_2 and P_3.
    pub(crate) fn inputs(&self, seed: u64) -> [TallyInput; 3] {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut builders = Role::ALL
            .map(|role| TallyInput::builder(role, &self.layout, self.shape()).expect("a valid shape"));
        for voter in &self.voters {
            let shares = split_credential(voter.credential, &mut rng);
            for (i, builder) in builders.iter_mut().enumerate() {
                builder
                    .push_voter(voter.live, voter.enrolled, *shares[i], *shares[(i + 1) % 3])
                    .expect("a voter is due");
            }
        }
        for ballot in &self.ballots {
            let plain = self
                .layout
                .pack_payload(ballot.index, ballot.credential, &ballot.payload)
                .expect("the index fits");
            let shares = self.layout.split(&plain, &mut rng).expect("a packed ballot");
            for (i, builder) in builders.iter_mut().enumerate() {
                builder
                    .push_ballot(ballot.kind, &shares[i], &shares[(i + 1) % 3])
                    .expect("a ballot is due");
            }
        }
        builders.map(|builder| builder.finish().expect("all rows were pushed"))
    }
}

fn add_field(contest: &Contest, field: &[bool], totals: &mut ContestTotals) {
    match contest {
        Contest::Single { options } => {
            let number: u32 = field.iter().enumerate().map(|(i, &b)| u32::from(b) << i).sum();
            if number > *options {
                totals.spoilt += 1;
            } else if number > 0 {
                totals.options[number as usize - 1] += 1;
            }
        }
        Contest::Approval { max, .. } => {
            if field.iter().filter(|&&b| b).count() > *max as usize {
                totals.spoilt += 1;
            } else {
                for (total, &set) in totals.options.iter_mut().zip(field) {
                    *total += u64::from(set);
                }
            }
        }
        other => panic!("the recount does not know {other:?}"),
    }
}

/// The seeds of the three parties.
pub(crate) fn seeds(seed: u64) -> [Seeds; 3] {
    let mut rng = ChaCha20Rng::seed_from_u64(seed ^ 0x5eed);
    let pairs: Vec<[u8; 32]> = (0..3)
        .map(|_| {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            bytes
        })
        .collect();
    [0, 1, 2].map(|i| Seeds {
        prev: Seed::new(pairs[i]),
        next: Seed::new(pairs[(i + 1) % 3]),
    })
}

/// What the session's randomness is bound to.
pub(crate) fn binding(session: u64) -> Binding {
    Binding::new(&[3; 32], b"council", b"ward 7", session)
}

/// Signatures under keys that every test knows.
pub(crate) struct TestKeys {
    own: SigningKey,
    all: [VerifyingKey; 3],
}

impl TestKeys {
    pub(crate) fn new(role: Role) -> Self {
        let key = |role: Role| SigningKey::from_bytes(&[100 + role.index(); 32]);
        Self {
            own: key(role),
            all: Role::ALL.map(|role| key(role).verifying_key()),
        }
    }
}

impl Notary for TestKeys {
    fn sign(&mut self, statement: &[u8]) -> [u8; 64] {
        self.own.sign(statement).to_bytes()
    }

    fn verify(&mut self, signer: Role, statement: &[u8], signature: &[u8; 64]) -> bool {
        let key = &self.all[signer.index() as usize - 1];
        key.verify(statement, &Signature::from_bytes(signature)).is_ok()
    }
}

/// Tallies in memory, with one observer a party; what each party gets.
pub(crate) fn tally_with<O: Observer + Send>(
    election: &Election,
    params: &TallyParams,
    seed: u64,
    observers: [O; 3],
) -> [(Result<Outcome, TallyError>, O); 3] {
    tally_over(election, params, seed, observers, |_, channel| channel)
}

/// The same over channels that `wrap` makes of the honest ones.
pub(crate) fn tally_over<O: Observer + Send, C: Channel>(
    election: &Election,
    params: &TallyParams,
    seed: u64,
    observers: [O; 3],
    wrap: impl Fn(Role, LocalChannel) -> C + Sync,
) -> [(Result<Outcome, TallyError>, O); 3] {
    let parts = std::sync::Mutex::new(
        seeds(seed)
            .into_iter()
            .zip(election.inputs(seed))
            .zip(observers)
            .map(Some)
            .collect::<Vec<_>>(),
    );
    run_trio(|role, channel: LocalChannel| {
        let mut channel = wrap(role, channel);
        let part = parts
            .lock()
            .expect("no panic")
            .get_mut(role.index() as usize - 1)
            .and_then(Option::take);
        let ((seeds, input), mut observer) = part.expect("one part for each role");
        let mut notary = TestKeys::new(role);
        let result = tally(
            &seeds,
            &binding(seed),
            input,
            &mut channel,
            &mut notary,
            &mut observer,
            params,
        );
        (result, observer)
    })
}

/// A box with every kind of row: revotes, wrong credentials, numbers beyond the roll, station and paper votes, spoilt ones.
pub(crate) fn sample(voters: u32, ballots: u32, seed: u64) -> Election {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let contests = vec![
        Contest::Single { options: 5 },
        Contest::Approval { options: 4, max: 2 },
    ];
    let bits = BallotLayout::index_bits_for(voters);
    let layout = BallotLayout::new(bits, contests).expect("a valid layout");
    let voters: Vec<Voter> = (0..voters)
        .map(|_| Voter {
            live: rng.next_u32() % 10 > 0,
            enrolled: rng.next_u32() % 8 > 0,
            credential: rng.next_u64(),
        })
        .collect();
    let mut ballots: Vec<Ballot> = (0..ballots)
        .map(|_| {
            let index = rng.next_u32() & ((1 << bits) - 1);
            let truth = voters.get(index as usize).map_or(0, |voter| voter.credential);
            let kind = match rng.next_u32() % 8 {
                0 => BallotKind::Paper,
                1 | 2 => BallotKind::Electronic,
                _ => BallotKind::Online,
            };
            let credential = truth ^ u64::from(rng.next_u32() % 5 == 0);
            Ballot {
                kind,
                index,
                credential,
                payload: vec![rng.next_u32() as u8],
            }
        })
        .collect();
    ballots.sort_by_key(|ballot| ballot.kind);
    Election {
        layout,
        voters,
        ballots,
    }
}
