//! Proofs of the gates so far: each party proves its own to the two others, all chunks of a batch in lockstep.
//!
//! The log is cut into chunks of up to 2^22 gates. In each of three roles ([`crate::proof`]) a chunk has one message to send or to
//! take at a time; tick by tick, all messages of all chunks for one neighbour travel in one. With R the rounds of the longest chunk
//! that is 2 R + 5 ticks:
//!
//! | tick | to the next party | to the previous party |
//! |---|---|---|
//! | 0 | as V-: seed | |
//! | 2 r + 1 | | as prover: values of round r |
//! | 2 r + 2 | as V-: point of round r | |
//! | 2 R + 1 | | as prover: coefficients |
//! | 2 R + 2 | as V-: last point | as V-: opening, for V+ |
//! | 2 R + 3 | as prover: hash, for V+ | |
//! | 2 R + 4 | as V+: opening, for V- | |
//!
//! Both verdicts come after the last message has left, so that an honest verifier never stops before the other has what it needs.

use super::Gates;
use crate::channel::{Label, Phase, Scope};
use crate::error::{CheckError, TallyError};
use crate::link::Link;
use crate::proof::{
    Batch, Chunk, MinusLast, MinusNext, MinusOpening, MinusRound, PlusOpening, PlusReady, ProofError, Proofs,
    Prover, ProverLast, ProverNext, ProverRound, Shape, Verified, VerifierPlus, Workspace,
};
use crate::role::{Neighbour, Role};

/// Most chunks in lockstep, so that no message grows beyond what a channel takes: the longest is 5,320 bytes for each.
const WAVE: usize = 128;

impl Gates<'_> {
    /// Sets how many gates may wait for their proof within a step.
    pub(crate) fn let_wait(&mut self, gates: usize) {
        if let Some(checks) = &mut self.checks {
            checks.waiting_words = gates.div_ceil(64);
        }
    }

    /// Whether so many gates are unproven that they should be proven now.
    pub(crate) fn is_full(&self) -> bool {
        self.checks
            .as_ref()
            .is_some_and(|checks| checks.log.words() >= checks.waiting_words)
    }

    /// Proves the gates so far if there are many. Every product must have arrived. Bounds the memory of a long step; what it proves
    /// need not be proven again at the next validation.
    pub(crate) fn settle(&mut self, at: Scope) -> Result<(), TallyError> {
        if self.is_full() {
            self.or_stop(|gates| gates.prove(at))?;
        }
        Ok(())
    }

    /// Proves all gates so far to both others and verifies theirs. On success the log is empty.
    ///
    /// # Panics
    /// When products are still under way: the circuits wait for all of them first.
    pub(super) fn prove(&mut self, at: Scope) -> Result<(), TallyError> {
        let role = self.role;
        let Some(checks) = &mut self.checks else {
            return Ok(());
        };
        let words = checks.log.words();
        if words == 0 {
            return Ok(());
        }
        let chunks: Vec<Chunk<'_>> = checks.log.chunks().collect();
        let mut proven = 0;
        for wave in chunks.chunks(WAVE) {
            let verified =
                prove_wave(&mut self.link, &mut checks.proofs, checks.batches, wave).map_err(|stop| {
                    match stop {
                        Stop::Link(error) => error,
                        Stop::Proof(source) => TallyError::Check {
                            at,
                            role,
                            source: CheckError::Proof(source),
                        },
                    }
                })?;
            proven += granted(role, checks.batches, &verified);
            checks.batches += wave.len() as u64;
        }
        assert_eq!(proven, words, "a validation covers every gate");
        checks.log.clear();
        Ok(())
    }
}

/// Why a wave ended.
enum Stop {
    Link(TallyError),
    Proof(ProofError),
}

impl From<TallyError> for Stop {
    fn from(error: TallyError) -> Self {
        Self::Link(error)
    }
}

impl From<ProofError> for Stop {
    fn from(error: ProofError) -> Self {
        Self::Proof(error)
    }
}

/// How many words both verifications of each chunk, in order, cover.
///
/// # Panics
/// When a verification is of another prover, batch or size than it should be.
fn granted(role: Role, first: u64, verified: &[[Verified; 2]]) -> usize {
    let mut words = 0;
    for (batch, [of_next, of_prev]) in (first..).zip(verified) {
        let right = of_next.prover() == role.next()
            && of_prev.prover() == role.prev()
            && [of_next, of_prev].iter().all(|v| v.batch() == batch)
            && of_next.words() == of_prev.words();
        assert!(right, "batch {batch} was verified for both other parties");
        words += of_next.words();
    }
    words
}

/// Runs the proofs of some chunks in lockstep.
fn prove_wave(
    link: &mut Link<'_>,
    proofs: &mut Proofs,
    first: u64,
    wave: &[Chunk<'_>],
) -> Result<Vec<[Verified; 2]>, Stop> {
    let mut chunks = Vec::with_capacity(wave.len());
    for (batch, chunk) in (first..).zip(wave) {
        let shape = Shape::new(chunk.words());
        chunks.push(Trio::new(shape, proofs.open(batch, *chunk)));
    }
    let ticks = chunks.iter().map(Trio::ticks).max().unwrap_or(0);
    for tick in 0..ticks {
        let label = Label {
            scope: Scope {
                phase: Phase::Proof,
                step: first as u32,
                chunk: (first >> 32) as u32,
            },
            round: tick as u32,
        };
        link.count_round();
        for to in [Neighbour::Next, Neighbour::Prev] {
            let bytes: usize = chunks.iter().map(|chunk| chunk.out(to).len()).sum();
            if bytes > 0 {
                let mut message = Vec::with_capacity(bytes);
                for chunk in &mut chunks {
                    message.append(chunk.out_mut(to));
                }
                link.send(to, label, message)?;
            }
        }
        if tick == 1 {
            // The prover and V- are talking now.
            chunks.iter_mut().for_each(Trio::evaluate);
        }
        for from in [Neighbour::Next, Neighbour::Prev] {
            let expected: Vec<usize> = chunks.iter().map(|chunk| chunk.expects(tick, from)).collect();
            let bytes = expected.iter().sum();
            if bytes > 0 {
                let message = link.recv(from, label, bytes)?;
                let mut rest = &message[..];
                for (chunk, &bytes) in chunks.iter_mut().zip(&expected) {
                    let (part, after) = rest.split_at(bytes);
                    rest = after;
                    if bytes > 0 {
                        chunk.take(tick, from, part)?;
                    }
                }
            }
        }
    }
    let mut verified = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let (both, spaces) = chunk.verdict()?;
        verified.push(both);
        spaces.into_iter().for_each(|space| proofs.recycle(space));
    }
    Ok(verified)
}

/// Where a party stands as prover of its own gates.
enum AsProver<'a> {
    Seed(Prover<'a>),
    Point(ProverRound<'a>),
    Last(ProverLast<'a>),
    Done(Workspace),
}

/// Where it stands as V- of the next party's.
enum AsMinus<'a> {
    Values(MinusRound<'a>),
    Last(MinusLast<'a>),
    Opening(MinusOpening),
}

/// Where it stands as V+ of the previous party's.
enum AsPlus<'a> {
    Start(Box<VerifierPlus<'a>>),
    Ready(PlusReady),
    Opening(PlusOpening),
}

/// The three roles of one party in the proofs of one chunk. A role is absent only within the step that moves it on.
struct Trio<'a> {
    shape: Shape,
    prover: Option<AsProver<'a>>,
    minus: Option<AsMinus<'a>>,
    plus: Option<AsPlus<'a>>,
    /// What is to be sent at the next tick, to the next and to the previous party.
    out: [Vec<u8>; 2],
    /// The openings of the other verifiers: V+'s for this party as V-, V-'s for it as V+.
    openings: [Vec<u8>; 2],
}

fn side(neighbour: Neighbour) -> usize {
    match neighbour {
        Neighbour::Next => 0,
        Neighbour::Prev => 1,
    }
}

impl<'a> Trio<'a> {
    fn new(shape: Shape, batch: Batch<'a>) -> Self {
        let mut trio = Self {
            shape,
            prover: Some(AsProver::Seed(batch.prover)),
            minus: None,
            plus: Some(AsPlus::Start(Box::new(batch.plus))),
            out: Default::default(),
            openings: Default::default(),
        };
        trio.minus = Some(AsMinus::Values(batch.minus.start(&mut trio.out[0])));
        trio
    }

    fn ticks(&self) -> usize {
        2 * self.shape.rounds() + 5
    }

    fn out(&self, to: Neighbour) -> &Vec<u8> {
        &self.out[side(to)]
    }

    fn out_mut(&mut self, to: Neighbour) -> &mut Vec<u8> {
        &mut self.out[side(to)]
    }

    /// V+'s part of all rounds.
    fn evaluate(&mut self) {
        self.plus = match self.plus.take() {
            Some(AsPlus::Start(plus)) => Some(AsPlus::Ready(plus.evaluate())),
            other => other,
        };
    }

    /// Bytes that come from a neighbour at a tick.
    fn expects(&self, tick: usize, from: Neighbour) -> usize {
        let last = 2 * self.shape.rounds();
        match from {
            Neighbour::Next => match tick {
                t if t > last + 2 || (t % 2 == 0 && t <= last) => 0,
                t if t < last => 8 * self.shape.values(t / 2),
                t if t == last + 1 => 16,
                _ => 24,
            },
            Neighbour::Prev => match tick {
                0 => 32,
                t if t > last + 4 || (t % 2 == 1 && t <= last + 1) => 0,
                t if t <= last => 8 * self.shape.variables(t / 2 - 1),
                t if t == last + 2 => 8,
                t if t == last + 3 => 32,
                _ => 24,
            },
        }
    }

    /// Takes what came from a neighbour at a tick.
    fn take(&mut self, tick: usize, from: Neighbour, message: &[u8]) -> Result<(), ProofError> {
        let last = 2 * self.shape.rounds();
        let [next, prev] = &mut self.out;
        match from {
            Neighbour::Next if tick == last + 2 => self.openings[1] = message.to_vec(),
            Neighbour::Next => {
                self.minus = Some(match self.minus.take().expect(PRESENT) {
                    AsMinus::Values(minus) => match minus.values(message, next)? {
                        MinusNext::Round(minus) => AsMinus::Values(minus),
                        MinusNext::Last(minus) => AsMinus::Last(minus),
                    },
                    AsMinus::Last(minus) => AsMinus::Opening(minus.coefficients(message, next, prev)?),
                    other => other,
                });
            }
            Neighbour::Prev if tick == last + 4 => self.openings[0] = message.to_vec(),
            Neighbour::Prev if tick == last + 3 => {
                self.plus = Some(match self.plus.take().expect(PRESENT) {
                    AsPlus::Ready(plus) => AsPlus::Opening(plus.challenges(message, next)?),
                    other => other,
                });
            }
            Neighbour::Prev => {
                self.prover = Some(match self.prover.take().expect(PRESENT) {
                    AsProver::Seed(prover) => AsProver::Point(prover.seed(message, prev)?),
                    AsProver::Point(prover) => match prover.point(message, prev)? {
                        ProverNext::Round(prover) => AsProver::Point(prover),
                        ProverNext::Last(prover) => AsProver::Last(prover),
                    },
                    AsProver::Last(prover) => AsProver::Done(prover.last(message, next)?),
                    other => other,
                });
            }
        }
        Ok(())
    }

    /// What this party found as V- and as V+, with the memory of the three roles.
    fn verdict(self) -> Result<([Verified; 2], [Workspace; 3]), ProofError> {
        let (Some(AsProver::Done(first)), Some(AsMinus::Opening(minus)), Some(AsPlus::Opening(plus))) =
            (self.prover, self.minus, self.plus)
        else {
            unreachable!("after the last tick every role is at its end");
        };
        let [of_next, of_prev] = self.openings;
        let (of_next, second) = minus.check(&of_next)?;
        let (of_prev, third) = plus.check(&of_prev)?;
        Ok(([of_next, of_prev], [first, second, third]))
    }
}

const PRESENT: &str = "a role is absent only within a step";
