//! The two verifiers of prover P_i: V- = P_{i-1}, which talks with the prover, and V+ = P_{i+1}, which hears from it once.
//!
//! V- goes through [`VerifierMinus`], [`MinusRound`], [`MinusLast`], [`MinusOpening`]; V+ through [`VerifierPlus`],
//! [`PlusReady`], [`PlusOpening`]. Each step consumes the state. Only the last step of each makes a [`Verified`].

use subtle::ConstantTimeEq;

use super::error::ProofError;
use super::log::Chunk;
use super::message::{Message, put};
use super::shape::{Shape, cube_index};
use super::stream::{Challenges, Label, Stream, quadratic};
use super::workspace::Workspace;
use crate::role::Role;
use crate::simd::Kernels;

/// One verifier's part of the statement.
pub(super) enum Side {
    /// V-: of the next party's gates.
    Minus(Chunk),
    /// V+: of the previous party's gates.
    Plus(Chunk),
}

impl Side {
    fn words(&self) -> usize {
        let (Self::Minus(chunk) | Self::Plus(chunk)) = self;
        chunk.words()
    }

    /// U, V and C, whole groups of words.
    fn columns(&self) -> [&[u64]; 3] {
        match self {
            Self::Minus(chunk) => [chunk.x()[1], chunk.y()[1], chunk.c_minus()],
            Self::Plus(chunk) => [chunk.x()[0], chunk.y()[0], chunk.c_plus()],
        }
    }
}

/// That a verifier accepted a proof. Only the last step of a verifier makes one.
#[derive(Debug)]
#[must_use = "a proof counts only if both verifications of a batch are waited for"]
pub struct Verified {
    prover: Role,
    batch: u64,
    words: usize,
}

impl Verified {
    /// Whose gates were proven.
    pub fn prover(&self) -> Role {
        self.prover
    }

    /// The number of the batch.
    pub fn batch(&self) -> u64 {
        self.batch
    }

    /// Words of gates that were proven.
    pub fn words(&self) -> usize {
        self.words
    }
}

/// What both verifiers keep from step to step.
struct State {
    kernels: Kernels,
    label: Label,
    shape: Shape,
    side: Side,
    challenges: Challenges,
    /// This verifier's share of the random terms of the last opening.
    mask: Stream,
    /// This verifier's share of the current claim: the sum of the products that are left.
    claim: u64,
    /// This verifier's shares of the two factors of the last product.
    last: [u64; 2],
    space: Workspace,
}

impl State {
    fn new(
        kernels: Kernels,
        label: Label,
        side: Side,
        challenges: Stream,
        mask: Stream,
        mut space: Workspace,
    ) -> Self {
        let shape = Shape::new(side.words());
        let challenges = Challenges::draw(challenges, &shape);
        space.weights(&challenges.theta, &shape);
        Self {
            kernels,
            label,
            shape,
            side,
            challenges,
            mask,
            claim: 0,
            last: [0; 2],
            space,
        }
    }

    /// Takes this verifier's shares of the values that the prover sent in a round and moves the claim to the round's point. In the
    /// first round it also folds its factors, at the points of all rounds.
    fn round(&mut self, round: usize, values: impl Iterator<Item = u64>) {
        let (kernels, shape, points) = (self.kernels, &self.shape, self.shape.grid(round));
        let Self {
            space,
            side,
            challenges,
            ..
        } = self;
        let [u, v, c] = side.columns();
        let mut values = values;
        let mut next = || {
            values
                .next()
                .expect("a round has as many values as its shape says")
        };
        if round == 0 {
            // On {0,1}^6 a verifier computes its share itself: it is what the proof is about.
            let cube = space.cube_of_words(kernels, c);
            for point in 0..points {
                space.grid[point] = cube_index(point).map_or_else(&mut next, |kappa| cube[kappa]);
            }
        } else {
            // The values on {0,1}^k add up to the claim, which gives the one at 0.
            let mut at_zero = self.claim;
            for point in 1..points {
                space.grid[point] = next();
                if cube_index(point).is_some() {
                    at_zero ^= space.grid[point];
                }
            }
            space.grid[0] = at_zero;
        }
        let rho = challenges.rho(shape, round);
        self.claim = kernels.evaluate(&mut space.grid[..points], rho);
        if round == 0 {
            let point = challenges.of_elements(shape);
            self.last = space.fold_whole(kernels, u, v, rho, &point);
        }
    }

    /// This verifier's side of the last opening, from its shares of the linear and the quadratic coefficient of the masked product.
    fn open(mut self, coefficients: [u64; 2]) -> (Opening, [u64; 3]) {
        let s = self.challenges.last;
        let [linear, top] = coefficients;
        let [u, v] = self
            .last
            .map(|factor| factor ^ self.kernels.mul(s, self.mask.next()));
        let own = [u, v, quadratic(self.kernels, [self.claim, linear, top], s)];
        (
            Opening {
                kernels: self.kernels,
                label: self.label,
                words: self.side.words(),
                own,
                space: self.space,
            },
            own,
        )
    }
}

/// The last exchange: u + s m_u, v + s m_v and the claim about their product, 24 bytes a side.
struct Opening {
    kernels: Kernels,
    label: Label,
    words: usize,
    own: [u64; 3],
    space: Workspace,
}

impl Opening {
    fn check(self, other: Role, message: &[u8]) -> Result<(Verified, Workspace), ProofError> {
        let prover = self.label.prover;
        let theirs = Message {
            name: "opening of the last product",
            from: other,
            bytes: message,
        }
        .array::<3>()?;
        let [u, v, claim] = std::array::from_fn(|i| self.own[i] ^ theirs[i]);
        if self.kernels.mul(u, v) != claim {
            return Err(ProofError::Rejected {
                prover,
                verifier: other,
            });
        }
        Ok((
            Verified {
                prover,
                batch: self.label.batch,
                words: self.words,
            },
            self.space,
        ))
    }
}

/// V- = P_{i-1}, holding every product that the prover sent it.
pub struct VerifierMinus(State);

impl VerifierMinus {
    pub(super) fn new(
        kernels: Kernels,
        label: Label,
        side: Side,
        [challenges, mask]: [Stream; 2],
        space: Workspace,
    ) -> Self {
        Self(State::new(kernels, label, side, challenges, mask, space))
    }

    /// Appends the seed of the weights, for the prover (32 bytes). From here on the prover's gates are fixed.
    pub fn start(self, out: &mut Vec<u8>) -> MinusRound {
        out.extend_from_slice(self.0.challenges.theta.as_slice());
        MinusRound {
            state: self.0,
            round: 0,
        }
    }
}

/// V-, awaiting the prover's values of a round.
pub struct MinusRound {
    state: State,
    round: usize,
}

/// Where V- stands after a round.
#[must_use]
pub enum MinusNext {
    /// Another round.
    Round(MinusRound),
    /// One product is left.
    Last(MinusLast),
}

impl MinusRound {
    /// Bytes of the message that [`MinusRound::values`] takes.
    pub fn expects(&self) -> usize {
        8 * self.state.shape.values(self.round)
    }

    /// Takes the prover's values and appends the point of the round, for the prover.
    ///
    /// # Errors
    /// [`ProofError::Length`], the prover's fault.
    pub fn values(self, message: &[u8], out: &mut Vec<u8>) -> Result<MinusNext, ProofError> {
        let Self { mut state, round } = self;
        let message = Message {
            name: "values of a round",
            from: state.label.prover,
            bytes: message,
        };
        // Nothing is revealed before the whole message is here.
        let values = message.elements(state.shape.values(round))?;
        put(state.challenges.rho(&state.shape, round), out);
        state.round(round, values);
        let round = round + 1;
        Ok(match round < state.shape.rounds() {
            true => MinusNext::Round(Self { state, round }),
            false => MinusNext::Last(MinusLast(state)),
        })
    }
}

/// V-, awaiting the coefficients of the masked product.
pub struct MinusLast(State);

impl MinusLast {
    /// Bytes of the message that [`MinusLast::coefficients`] takes.
    pub fn expects(&self) -> usize {
        16
    }

    /// Takes the coefficients and appends the point of the last opening for the prover (8 bytes) and this verifier's opening for
    /// V+ (24 bytes).
    ///
    /// # Errors
    /// [`ProofError::Length`], the prover's fault.
    pub fn coefficients(
        self,
        message: &[u8],
        to_prover: &mut Vec<u8>,
        to_plus: &mut Vec<u8>,
    ) -> Result<MinusOpening, ProofError> {
        let from = self.0.label.prover;
        let coefficients = Message {
            name: "coefficients of the masked product",
            from,
            bytes: message,
        }
        .array()?;
        put(&[self.0.challenges.last], to_prover);
        let (opening, own) = self.0.open(coefficients);
        put(&own, to_plus);
        Ok(MinusOpening(opening))
    }
}

/// V-, awaiting V+'s opening.
pub struct MinusOpening(Opening);

impl MinusOpening {
    /// Bytes of the message that [`MinusOpening::check`] takes.
    pub fn expects(&self) -> usize {
        24
    }

    /// Takes V+'s opening and checks the product.
    ///
    /// # Errors
    /// [`ProofError::Length`], the fault of V+; [`ProofError::Rejected`], the prover's fault or that of V+.
    pub fn check(self, message: &[u8]) -> Result<(Verified, Workspace), ProofError> {
        let other = self.0.label.prover.next();
        self.0.check(other, message)
    }
}

/// V+ = P_{i+1}. It knows its shares of the prover's values and all challenges without hearing from anyone.
pub struct VerifierPlus {
    state: State,
    share: Stream,
}

impl VerifierPlus {
    pub(super) fn new(
        kernels: Kernels,
        label: Label,
        side: Side,
        [challenges, mask, share]: [Stream; 3],
        space: Workspace,
    ) -> Self {
        Self {
            state: State::new(kernels, label, side, challenges, mask, space),
            share,
        }
    }

    /// Does this verifier's part of all rounds. Needs no message: the time while the prover and V- talk is the time for it.
    pub fn evaluate(self) -> PlusReady {
        let Self { mut state, mut share } = self;
        for round in 0..state.shape.rounds() {
            let mut left = state.shape.values(round);
            let values = std::iter::from_fn(|| {
                left = left.checked_sub(1)?;
                Some(share.next())
            });
            state.round(round, values);
        }
        let coefficients = std::array::from_fn(|_| share.next());
        let hash = state.challenges.hash(&state.label);
        let (opening, own) = state.open(coefficients);
        PlusReady { opening, own, hash }
    }
}

/// V+, awaiting the prover's hash of the challenges it was given.
pub struct PlusReady {
    opening: Opening,
    own: [u64; 3],
    hash: [u8; 32],
}

impl PlusReady {
    /// Bytes of the message that [`PlusReady::challenges`] takes.
    pub fn expects(&self) -> usize {
        32
    }

    /// Takes the prover's hash and, if the challenges were those of the verifiers' key, appends this verifier's opening for V-
    /// (24 bytes). An opening at challenges that V- picked would not be masked: it leaves only after this check.
    ///
    /// # Errors
    /// [`ProofError::Length`], the prover's fault; [`ProofError::Challenges`], the prover's fault or that of V-.
    pub fn challenges(self, message: &[u8], out: &mut Vec<u8>) -> Result<PlusOpening, ProofError> {
        let prover = self.opening.label.prover;
        let theirs = Message {
            name: "hash of the challenges",
            from: prover,
            bytes: message,
        }
        .hash()?;
        if !bool::from(theirs.ct_eq(&self.hash)) {
            return Err(ProofError::Challenges {
                prover,
                verifier: prover.prev(),
            });
        }
        put(&self.own, out);
        Ok(PlusOpening(self.opening))
    }
}

/// V+, awaiting V-'s opening.
pub struct PlusOpening(Opening);

impl PlusOpening {
    /// Bytes of the message that [`PlusOpening::check`] takes.
    pub fn expects(&self) -> usize {
        24
    }

    /// Takes V-'s opening and checks the product.
    ///
    /// # Errors
    /// [`ProofError::Length`], the fault of V-; [`ProofError::Rejected`], the prover's fault or that of V-.
    pub fn check(self, message: &[u8]) -> Result<(Verified, Workspace), ProofError> {
        let other = self.0.label.prover.prev();
        self.0.check(other, message)
    }
}
