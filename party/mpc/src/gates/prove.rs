//! Proofs of the gates so far: each party proves its own to the two others, in waves that ride on the rounds of the gates.
//!
//! The log is cut into chunks of up to 2^22 gates. Whatever waits for its proof when there is enough of it, or when an opening is asked
//! for, makes a wave. In each of three roles ([`crate::proof`]) a chunk has one message to send or to take at a time; tick by tick, all
//! messages of a wave for one neighbour travel in one. A wave goes on by one tick with each round of products ([`Gates::begin_round`]), whose
//! messages its own join; only an opening waits for what is left. Nothing is opened while a proof is under way, so it does not matter that
//! further products leave meanwhile: they belong to later waves. With R the rounds of the longest chunk a wave takes 2 R + 5 ticks:
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
    Batch, CHUNK_WORDS, Chunk, Log, MinusLast, MinusNext, MinusOpening, MinusRound, PlusOpening, PlusReady,
    ProofError, Proofs, Prover, ProverLast, ProverNext, ProverRound, Shape, Verified, VerifierPlus,
    Workspace,
};
use crate::role::{Neighbour, Role};
use crate::simd::GROUP;

/// Most chunks in lockstep, so that no message grows beyond what a channel takes: the longest is 5,320 bytes for each.
const WAVE: usize = 128;

impl Gates<'_> {
    /// Sets how many gates may wait within a step before their proof begins.
    ///
    /// # Panics
    /// When gates wait already.
    pub(crate) fn let_wait(&mut self, gates: usize) {
        if let Some(checks) = &mut self.checks {
            assert!(checks.log.is_empty(), "the log is cut before it is used");
            let words = gates.div_ceil(64);
            checks.waiting_words = words;
            if words < CHUNK_WORDS {
                checks.log = Log::in_chunks_of(words.next_multiple_of(GROUP));
            }
        }
    }

    /// Begins a round of products: counts it, and lets the proofs under way go on by one tick.
    pub(crate) fn begin_round(&mut self) -> Result<(), TallyError> {
        self.link.count_round();
        self.or_stop(|gates| {
            gates.take_ticks(u64::MAX)?;
            gates.send_ticks()
        })
    }

    /// Begins to prove the gates so far whose products have arrived, if many wait. Bounds the memory of a long step.
    pub(crate) fn begin_proofs(&mut self, at: Scope) {
        if let Some(checks) = &mut self.checks
            && checks.log.words() >= checks.waiting_words
        {
            let chunks = checks.log.take_complete();
            checks
                .riding
                .begin(at, &mut checks.proofs, &mut checks.batches, chunks);
        }
    }

    /// Proves all gates so far to both others and verifies theirs. On success none waits.
    ///
    /// # Panics
    /// When products are still under way: the circuits wait for all of them first.
    pub(super) fn prove(&mut self, at: Scope) -> Result<(), TallyError> {
        let Some(checks) = &mut self.checks else {
            return Ok(());
        };
        let chunks = checks.log.take_all();
        checks
            .riding
            .begin(at, &mut checks.proofs, &mut checks.batches, chunks);
        loop {
            self.take_ticks(u64::MAX)?;
            let riding = self.checks.as_ref().map(|checks| &checks.riding);
            if riding.is_none_or(|riding| riding.waves.is_empty()) {
                break;
            }
            self.link.count_round();
            self.send_ticks()?;
        }
        let riding = self.checks.as_ref().map(|checks| &checks.riding);
        assert!(
            riding.is_none_or(|riding| riding.proven == riding.recorded),
            "a validation covers every gate"
        );
        Ok(())
    }

    /// Sends the next messages of all proofs under way.
    fn send_ticks(&mut self) -> Result<(), TallyError> {
        if let Some(checks) = &mut self.checks
            && !checks.riding.waves.is_empty()
        {
            for wave in &mut checks.riding.waves {
                wave.send(&mut self.link)?;
            }
            checks.riding.ticks += 1;
        }
        Ok(())
    }

    /// Takes the answers to the last tick that was sent, if that is no later than tick `ticks` and they are still out. They precede the
    /// products of that round on the channels.
    pub(super) fn take_ticks(&mut self, ticks: u64) -> Result<(), TallyError> {
        let Some(checks) = &mut self.checks else {
            return Ok(());
        };
        let riding = &mut checks.riding;
        if riding.ticks > ticks {
            return Ok(());
        }
        // A wave that began since has sent nothing yet.
        for wave in riding.waves.iter_mut().filter(|wave| wave.out) {
            let at = wave.at;
            wave.take(&mut self.link).map_err(|stop| match stop {
                Stop::Link(error) => error,
                Stop::Proof(source) => TallyError::Check {
                    at,
                    role: self.role,
                    source: CheckError::Proof(source),
                },
            })?;
        }
        // Waves are of different lengths: a later one may end first.
        let mut at = 0;
        while let Some(wave) = riding.waves.get(at) {
            if wave.tick < wave.ticks {
                at += 1;
                continue;
            }
            let wave = riding.waves.remove(at);
            let (scope, first) = (wave.at, wave.first);
            let (verified, chunks) =
                wave.verdict(&mut checks.proofs)
                    .map_err(|source| TallyError::Check {
                        at: scope,
                        role: self.role,
                        source: CheckError::Proof(source),
                    })?;
            riding.proven += granted(self.role, first, &verified);
            chunks.into_iter().for_each(|chunk| checks.log.keep(chunk));
        }
        Ok(())
    }
}

/// The proofs under way.
#[derive(Default)]
pub(super) struct Riding {
    waves: Vec<Wave>,
    /// Ticks sent.
    ticks: u64,
    /// Words of gates in all, and of those proven and verified.
    pub(super) recorded: u64,
    proven: u64,
}

impl Riding {
    /// Ticks sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.ticks
    }

    /// Begins the proofs of complete chunks.
    fn begin(&mut self, at: Scope, proofs: &mut Proofs, batches: &mut u64, chunks: Vec<Chunk>) {
        let mut chunks = chunks.into_iter().peekable();
        while chunks.peek().is_some() {
            let wave = Wave::new(at, proofs, *batches, chunks.by_ref().take(WAVE).collect());
            *batches += wave.trios.len() as u64;
            self.waves.push(wave);
        }
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
fn granted(role: Role, first: u64, verified: &[[Verified; 2]]) -> u64 {
    let mut words = 0;
    for (batch, [of_next, of_prev]) in (first..).zip(verified) {
        let right = of_next.prover() == role.next()
            && of_prev.prover() == role.prev()
            && [of_next, of_prev].iter().all(|v| v.batch() == batch)
            && of_next.words() == of_prev.words();
        assert!(right, "batch {batch} was verified for both other parties");
        words += of_next.words() as u64;
    }
    words
}

/// The proofs of some chunks in lockstep.
struct Wave {
    /// The step that asked for them.
    at: Scope,
    /// The number of the first batch.
    first: u64,
    /// The tick to send, or whose messages are to be taken.
    tick: usize,
    ticks: usize,
    /// Whether the tick is sent and its answers are still to be taken.
    out: bool,
    trios: Vec<Trio>,
    /// For their memory.
    chunks: Vec<Chunk>,
}

impl Wave {
    fn new(at: Scope, proofs: &mut Proofs, first: u64, chunks: Vec<Chunk>) -> Self {
        let open = |(batch, chunk): (u64, &Chunk)| {
            Trio::new(Shape::new(chunk.words()), proofs.open(batch, chunk.clone()))
        };
        let trios: Vec<Trio> = (first..).zip(&chunks).map(open).collect();
        Self {
            at,
            first,
            tick: 0,
            out: false,
            ticks: trios.iter().map(Trio::ticks).max().unwrap_or(0),
            trios,
            chunks,
        }
    }

    fn label(&self) -> Label {
        Label {
            scope: Scope {
                phase: Phase::Proof,
                step: self.first as u32,
                chunk: (self.first >> 32) as u32,
            },
            round: self.tick as u32,
        }
    }

    /// Sends the messages of the tick.
    fn send(&mut self, link: &mut Link<'_>) -> Result<(), TallyError> {
        for to in [Neighbour::Next, Neighbour::Prev] {
            let bytes: usize = self.trios.iter().map(|trio| trio.out(to).len()).sum();
            if bytes > 0 {
                let mut message = Vec::with_capacity(bytes);
                for trio in &mut self.trios {
                    message.append(trio.out_mut(to));
                }
                link.send(to, self.label(), message)?;
            }
        }
        if self.tick == 1 {
            // The prover and V- are talking now.
            self.trios.iter_mut().for_each(Trio::evaluate);
        }
        self.out = true;
        Ok(())
    }

    /// Takes the messages of the tick and goes on to the next.
    fn take(&mut self, link: &mut Link<'_>) -> Result<(), Stop> {
        let (tick, label) = (self.tick, self.label());
        for from in [Neighbour::Next, Neighbour::Prev] {
            let expected: Vec<usize> = self.trios.iter().map(|trio| trio.expects(tick, from)).collect();
            let bytes = expected.iter().sum();
            if bytes > 0 {
                let message = link.recv(from, label, bytes)?;
                let mut rest = &message[..];
                for (trio, &bytes) in self.trios.iter_mut().zip(&expected) {
                    let (part, after) = rest.split_at(bytes);
                    rest = after;
                    if bytes > 0 {
                        trio.take(tick, from, part)?;
                    }
                }
            }
        }
        self.tick += 1;
        self.out = false;
        Ok(())
    }

    /// The verdicts on the chunks, in order, once every tick is through.
    fn verdict(self, proofs: &mut Proofs) -> Result<(Vec<[Verified; 2]>, Vec<Chunk>), ProofError> {
        let mut verified = Vec::with_capacity(self.trios.len());
        for trio in self.trios {
            let (both, spaces) = trio.verdict()?;
            verified.push(both);
            spaces.into_iter().for_each(|space| proofs.recycle(space));
        }
        Ok((verified, self.chunks))
    }
}

/// Where a party stands as prover of its own gates.
enum AsProver {
    Seed(Prover),
    Point(ProverRound),
    Last(ProverLast),
    Done(Workspace),
}

/// Where it stands as V- of the next party's.
enum AsMinus {
    Values(MinusRound),
    Last(MinusLast),
    Opening(MinusOpening),
}

/// Where it stands as V+ of the previous party's.
enum AsPlus {
    Start(Box<VerifierPlus>),
    Ready(PlusReady),
    Opening(PlusOpening),
}

/// The three roles of one party in the proofs of one chunk. A role is absent only within the step that moves it on.
struct Trio {
    shape: Shape,
    prover: Option<AsProver>,
    minus: Option<AsMinus>,
    plus: Option<AsPlus>,
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

impl Trio {
    fn new(shape: Shape, batch: Batch) -> Self {
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
