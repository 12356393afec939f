//! The prover: P_i, about the gates it evaluated.
//!
//! [`Prover`] awaits the seed of the weights, [`ProverRound`] the point of a round, [`ProverLast`] the point of the last opening.
//! Each step consumes the state, appends the next message to a buffer and leaves the next state. Everything the prover sends
//! V- is masked by the stream it shares with V+, and what it sends V+ depends on the challenges alone.

use super::error::ProofError;
use super::log::Chunk;
use super::message::{Message, put};
use super::shape::{Shape, cube_index};
use super::stream::{Label, Stream, Transcript};
use super::workspace::Workspace;
use crate::role::Role;
use crate::simd::Kernels;

/// What a prover keeps from step to step.
struct State {
    kernels: Kernels,
    label: Label,
    shape: Shape,
    chunk: Chunk,
    share: Stream,
    mask_plus: Stream,
    mask_minus: Stream,
    transcript: Transcript,
    space: Workspace,
}

impl State {
    fn verifier(&self) -> Role {
        self.label.prover.prev()
    }

    /// Appends what V- gets of the first `points` grid values: those that `sent` picks, less V+'s share.
    fn put_grid(&mut self, points: usize, sent: impl Fn(usize) -> bool, out: &mut Vec<u8>) {
        for point in (0..points).filter(|&point| sent(point)) {
            put(&[self.space.grid[point] ^ self.share.next()], out);
        }
    }
}

/// A prover that has evaluated its gates and awaits the seed of the weights (32 bytes, from V- = P_{i-1}).
pub struct Prover(Box<State>);

impl Prover {
    pub(super) fn new(
        kernels: Kernels,
        label: Label,
        chunk: Chunk,
        [share, mask_plus, mask_minus]: [Stream; 3],
        mut space: Workspace,
    ) -> Self {
        let shape = Shape::new(chunk.words());
        space.prepare(&shape);
        let transcript = Transcript::new(&label);
        Self(Box::new(State {
            kernels,
            label,
            shape,
            chunk,
            share,
            mask_plus,
            mask_minus,
            transcript,
            space,
        }))
    }

    /// Bytes of the message that [`Prover::seed`] takes.
    pub fn expects(&self) -> usize {
        32
    }

    /// Takes the seed and appends the grid of round 0, for V-: 665 elements.
    ///
    /// # Errors
    /// [`ProofError::Length`], the fault of V-.
    pub fn seed(self, message: &[u8], out: &mut Vec<u8>) -> Result<ProverRound, ProofError> {
        let Self(mut state) = self;
        let seed = Message {
            name: "seed of the weights",
            from: state.verifier(),
            bytes: message,
        }
        .hash()?;
        state.transcript.seed(&seed);
        state.space.weights(&seed, &state.shape);
        state
            .space
            .grid_of_bits(state.kernels, state.chunk.x(), state.chunk.y());
        state.put_grid(state.shape.grid(0), |point| cube_index(point).is_none(), out);
        Ok(ProverRound { state, round: 0 })
    }
}

/// A prover that has sent the grid of a round and awaits its point (8 bytes a variable, from V-).
pub struct ProverRound {
    state: Box<State>,
    round: usize,
}

/// Where a prover stands after a round.
#[must_use]
pub enum ProverNext {
    /// Another round.
    Round(ProverRound),
    /// One product is left.
    Last(ProverLast),
}

impl ProverRound {
    /// Bytes of the message that [`ProverRound::point`] takes.
    pub fn expects(&self) -> usize {
        8 * self.state.shape.variables(self.round)
    }

    /// Takes the point and appends the next message for V-: the grid of the next round, or after the last one the two
    /// coefficients of the masked product (16 bytes).
    ///
    /// # Errors
    /// [`ProofError::Length`], the fault of V-.
    pub fn point(self, message: &[u8], out: &mut Vec<u8>) -> Result<ProverNext, ProofError> {
        let Self { mut state, round } = self;
        let (kernels, shape) = (state.kernels, state.shape);
        let message = Message {
            name: "point of a round",
            from: state.verifier(),
            bytes: message,
        };
        let mut point = [0; 6];
        let variables = shape.variables(round);
        for (coordinate, element) in point.iter_mut().zip(message.elements(variables)?) {
            *coordinate = element;
        }
        let rho = &point[..variables];
        state.transcript.point(rho);
        if round == 0 {
            state
                .space
                .fold_bits(kernels, &shape, state.chunk.x(), state.chunk.y(), rho);
        } else {
            state.space.fold_elements(kernels, rho);
        }
        let round = round + 1;
        if round < shape.rounds() {
            state.space.grid_of_elements(kernels, shape.grid(round));
            state.put_grid(shape.grid(round), |point| point != 0, out);
            return Ok(ProverNext::Round(Self { state, round }));
        }
        // (u + s m_u)(v + s m_v) = u v + s (u m_v + v m_u) + s^2 m_u m_v.
        let [u, v] = state.space.last();
        let [mask_u, mask_v] = std::array::from_fn(|_| state.mask_plus.next() ^ state.mask_minus.next());
        let linear = kernels.mul(u, mask_v) ^ kernels.mul(v, mask_u);
        let top = kernels.mul(mask_u, mask_v);
        put(&[linear ^ state.share.next(), top ^ state.share.next()], out);
        Ok(ProverNext::Last(ProverLast(state)))
    }
}

/// A prover that has sent everything and awaits the point of the last opening (8 bytes, from V-).
pub struct ProverLast(Box<State>);

impl ProverLast {
    /// Bytes of the message that [`ProverLast::last`] takes.
    pub fn expects(&self) -> usize {
        8
    }

    /// Takes the point and appends the hash of all challenges, for V+ = P_{i+1} (32 bytes). The prover is done.
    ///
    /// # Errors
    /// [`ProofError::Length`] or [`ProofError::ZeroPoint`], the fault of V-.
    pub fn last(self, message: &[u8], out: &mut Vec<u8>) -> Result<Workspace, ProofError> {
        let Self(state) = self;
        let State {
            mut transcript,
            space,
            label,
            ..
        } = *state;
        let from = label.prover.prev();
        let [point] = Message {
            name: "point of the last opening",
            from,
            bytes: message,
        }
        .array()?;
        if point == 0 {
            return Err(ProofError::ZeroPoint { from });
        }
        transcript.point(&[point]);
        out.extend_from_slice(&transcript.finish());
        Ok(space)
    }
}
