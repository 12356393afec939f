//! Three parties in memory, and a saboteur on every message.

use super::*;
use crate::field::tests::Words;
use crate::prss::{Binding, Seed, Seeds};
use crate::role::Role;
use crate::simd::{GROUP, Kernels, Level};

mod attacks;
mod honest;
mod privacy;

/// The messages of one proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Seed,
    Values(usize),
    Point(usize),
    Coefficients,
    Last,
    Hash,
    OpeningMinus,
    OpeningPlus,
}

/// Every message of a proof of that shape, in order.
fn kinds(shape: &Shape) -> Vec<Kind> {
    let rounds = (0..shape.rounds()).flat_map(|r| [Kind::Values(r), Kind::Point(r)]);
    let last = [
        Kind::Coefficients,
        Kind::Last,
        Kind::Hash,
        Kind::OpeningMinus,
        Kind::OpeningPlus,
    ];
    std::iter::once(Kind::Seed).chain(rounds).chain(last).collect()
}

/// The gates of a session with all their shares: `[i]` is the share of index i + 1.
#[derive(Clone)]
struct Gates {
    x: [Vec<u64>; 3],
    y: [Vec<u64>; 3],
    a: [Vec<u64>; 3],
    /// z_i as P_i sends it.
    z: [Vec<u64>; 3],
}

fn index(role: Role) -> usize {
    role.index() as usize - 1
}

impl Gates {
    /// Random shares, honest products.
    fn random(words: usize, seed: u64) -> Self {
        let mut source = Words(seed);
        let mut shares = || std::array::from_fn(|_| source.words(words));
        let (x, y, a) = (shares(), shares(), shares());
        Self {
            x,
            y,
            a,
            z: Default::default(),
        }
        .multiplied()
    }

    /// The same shares with the products that honest parties compute from them.
    fn multiplied(mut self) -> Self {
        for i in 0..3 {
            let j = (i + 1) % 3;
            let Self { x, y, a, .. } = &self;
            self.z[i] = (0..x[0].len())
                .map(|w| (x[i][w] & y[i][w]) ^ (x[i][w] & y[j][w]) ^ (x[j][w] & y[i][w]) ^ a[i][w] ^ a[j][w])
                .collect();
        }
        self
    }

    /// What a party remembers. The gates arrive in uneven pieces.
    fn log(&self, role: Role) -> Log {
        self.log_in_chunks_of(1 << 16, role)
    }

    /// The same, cut into chunks of so many words.
    fn log_in_chunks_of(&self, chunk_words: usize, role: Role) -> Log {
        let (i, j) = (index(role), index(role.next()));
        let words = self.x[0].len();
        let mut log = Log::in_chunks_of(chunk_words);
        let mut start = 0;
        for piece in [1, 62, 3, 64, 7, 500].into_iter().cycle() {
            let at = start..words.min(start + piece);
            let pair =
                |columns: &[Vec<u64>; 3]| [columns[i][at.clone()].to_vec(), columns[j][at.clone()].to_vec()];
            let (x, y, a) = (pair(&self.x), pair(&self.y), pair(&self.a));
            log.record([&x[0], &x[1]], [&y[0], &y[1]], [&a[0], &a[1]]);
            start = at.end;
            if start == words {
                break;
            }
        }
        log.answer(self.z[j].iter().copied());
        log
    }
}

/// The chunk of a log that has one.
fn only_chunk(log: &Log) -> Chunk {
    let mut chunks = log.chunks();
    let chunk = chunks.next().expect("gates");
    assert!(chunks.next().is_none(), "one chunk");
    chunk
}

/// What every session of these tests is bound to.
fn binding() -> Binding {
    Binding::new(&[7; 32], b"election", b"box", 1)
}

/// The seed of the pair of P_{j-1} and P_j in a session.
fn pair_seed(j: Role, session: u64) -> Seed {
    let mut bytes = [j.index(); 32];
    bytes[..8].copy_from_slice(&session.to_le_bytes());
    Seed::new(bytes)
}

fn proofs(role: Role, session: u64) -> Proofs {
    let seeds = Seeds {
        prev: pair_seed(role, session),
        next: pair_seed(role.next(), session),
    };
    Proofs::new(role, &binding(), &seeds)
}

/// How one proof ended for each of the three.
#[derive(Debug)]
struct Outcome {
    prover: Result<(), ProofError>,
    minus: Result<Verified, ProofError>,
    plus: Result<Verified, ProofError>,
    /// Every message as it arrived.
    messages: Vec<(Kind, Vec<u8>)>,
}

impl Outcome {
    fn accepted(&self) -> bool {
        self.prover.is_ok() && self.minus.is_ok() && self.plus.is_ok()
    }

    fn message(&self, kind: Kind) -> &[u8] {
        &self
            .messages
            .iter()
            .find(|(k, _)| *k == kind)
            .expect("the message was sent")
            .1
    }

    fn elements(&self, kind: Kind) -> Vec<u64> {
        let chunks = self.message(kind).chunks_exact(8);
        chunks
            .map(|c| u64::from_le_bytes(c.try_into().expect("eight bytes")))
            .collect()
    }
}

/// Passed in place of an outcome when a party stopped before its last step.
fn stopped<T>(error: &ProofError) -> Result<T, ProofError> {
    Err(error.clone())
}

/// Runs one proof over the logs of the three, letting `sabotage` alter each message on its way.
fn run(
    prover: Role,
    logs: &[Log; 3],
    seed: u64,
    kernels: [Kernels; 3],
    sabotage: &mut dyn FnMut(Kind, &mut Vec<u8>),
) -> Outcome {
    let mut parties = Role::ALL.map(|role| proofs(role, seed).with_kernels(kernels[index(role)]));
    let mut open = |role: Role| parties[index(role)].open(1, only_chunk(&logs[index(role)]));
    let (p, m, plus) = (
        open(prover).prover,
        open(prover.prev()).minus,
        open(prover.next()).plus,
    );
    let mut messages = Vec::new();
    let mut pass = |kind: Kind, mut bytes: Vec<u8>| {
        sabotage(kind, &mut bytes);
        messages.push((kind, bytes.clone()));
        bytes
    };
    macro_rules! attempt {
        ($step:expr, $failed:ident, $messages:expr) => {
            match $step {
                Ok(next) => next,
                Err(error) => {
                    let mut outcome = Outcome {
                        prover: Ok(()),
                        minus: stopped(&error),
                        plus: stopped(&error),
                        messages: $messages,
                    };
                    if stringify!($failed) == "prover" {
                        outcome.prover = Err(error);
                    }
                    return outcome;
                }
            }
        };
    }
    let mut out = Vec::new();
    let mut verifier = m.start(&mut out);
    let message = pass(Kind::Seed, std::mem::take(&mut out));
    let mut state = attempt!(p.seed(&message, &mut out), prover, messages);
    let mut round = 0;
    let (last_prover, last_verifier) = loop {
        let message = pass(Kind::Values(round), std::mem::take(&mut out));
        let next = attempt!(verifier.values(&message, &mut out), minus, messages);
        let message = pass(Kind::Point(round), std::mem::take(&mut out));
        round += 1;
        match (attempt!(state.point(&message, &mut out), prover, messages), next) {
            (ProverNext::Round(p), MinusNext::Round(v)) => (state, verifier) = (p, v),
            (ProverNext::Last(p), MinusNext::Last(v)) => break (p, v),
            _ => panic!("prover and verifier agree on the number of rounds"),
        }
    };
    let message = pass(Kind::Coefficients, std::mem::take(&mut out));
    let mut opening = Vec::new();
    let minus = attempt!(
        last_verifier.coefficients(&message, &mut out, &mut opening),
        minus,
        messages
    );
    let message = pass(Kind::Last, std::mem::take(&mut out));
    attempt!(last_prover.last(&message, &mut out), prover, messages);
    let message = pass(Kind::Hash, std::mem::take(&mut out));
    let plus = attempt!(plus.evaluate().challenges(&message, &mut out), plus, messages);
    let from_minus = pass(Kind::OpeningMinus, opening);
    let from_plus = pass(Kind::OpeningPlus, out);
    Outcome {
        prover: Ok(()),
        minus: minus.check(&from_plus).map(|(verified, _)| verified),
        plus: plus.check(&from_minus).map(|(verified, _)| verified),
        messages,
    }
}

/// Runs one proof on the best kernels, undisturbed.
fn run_honestly(prover: Role, gates: &Gates, seed: u64) -> Outcome {
    run(
        prover,
        &Role::ALL.map(|role| gates.log(role)),
        seed,
        [Kernels::best(); 3],
        &mut |_, _| {},
    )
}
