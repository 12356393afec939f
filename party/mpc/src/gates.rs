//! The one place where shared bits are multiplied, validated and opened.
//!
//! AND: z_i = x_i y_i ^ x_i y_{i+1} ^ x_{i+1} y_i ^ a_i ^ a_{i+1}, with a_j from the PRSS seed of P_{j-1} and P_j; P_i
//! sends z_i to P_{i-1} and so holds (z_i, z_{i+1}). One round, one bit a lane. Source: Araki et al., CCS 2016, section 2.
//!
//! Every AND goes through [`Gates::and_block`], which appends the gate to the log of the proofs. Every opening takes a
//! [`Validated`] value, which [`Gates::validate`] alone makes, once each party has proven all its gates so far to the two others
//! ([`prove`]). Every opening stands behind a barrier of signed statements and comes in two copies ([`open`]).

mod layer;
mod open;
mod prove;

pub use open::Committed;

use zeroize::Zeroize;

use crate::channel::{Channel, Label, Phase, Scope};
use crate::error::{CheckError, TallyError};
use crate::ledger::Ledger;
use crate::link::{Link, put_words, words};
use crate::notary::{Notary, Statement};
use crate::observer::Observer;
use crate::proof::{Log, Proofs};
use crate::prss::{Binding, Prss, Purpose, Seeds, Stream};
use crate::role::{Neighbour, Role};
use crate::share::Pair;
use crate::sort::SortParams;
use prove::Riding;

/// Words multiplied in one call of the kernel.
pub(crate) const BLOCK: usize = 512;

/// Words in one message of a column layer or an opening.
const MESSAGE_WORDS: usize = 32 * 1024;

/// A value all of whose AND gates and shuffles have been validated. Only [`Gates::validate`] makes one, and only such a
/// value can be opened:
///
/// ```
/// use tally_mpc::{Column, Gates, Opening, Scope, TallyError};
/// fn open(gates: &mut Gates<'_>, at: Scope, column: Column) -> Result<Vec<u64>, TallyError> {
///     let validated = gates.validate(at, column)?;
///     gates.open(at, Opening::Totals, validated, 1)
/// }
/// ```
///
/// ```compile_fail,E0308
/// use tally_mpc::{Column, Gates, Opening, Scope, TallyError};
/// fn open(gates: &mut Gates<'_>, at: Scope, column: Column) -> Result<Vec<u64>, TallyError> {
///     gates.open(at, Opening::Totals, column, 1)
/// }
/// ```
///
/// The outputs are opened from commitments, which need the same:
///
/// ```compile_fail,E0308
/// use tally_mpc::{Column, Gates, Scope, TallyError};
/// fn commit(gates: &mut Gates<'_>, at: Scope, column: Column) -> Result<tally_mpc::Committed, TallyError> {
///     gates.commit(at, column)
/// }
/// ```
///
/// ```compile_fail,E0308
/// use tally_mpc::{Gates, Opening, Scope, TallyError, Validated};
/// fn open(gates: &mut Gates<'_>, at: Scope, x: Validated<tally_mpc::Column>) -> Result<Vec<u64>, TallyError> {
///     gates.open_committed(at, Opening::Totals, x)
/// }
/// ```
///
/// ```compile_fail,E0423
/// fn forge(column: tally_mpc::Column) -> tally_mpc::Validated<tally_mpc::Column> { tally_mpc::Validated(column) }
/// ```
pub struct Validated<T>(T);

/// The randomness and the message numbers of one scope.
pub(crate) struct Tape {
    scope: Scope,
    round: u32,
    prev: Stream,
    next: Stream,
    mask_prev: [u64; BLOCK],
    mask_next: [u64; BLOCK],
    /// The products' own share after [`Gates::and_block`].
    pub(crate) z: [u64; BLOCK],
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.mask_prev.zeroize();
        self.mask_next.zeroize();
        self.z.zeroize();
    }
}

/// A message of products that the next party owes.
#[must_use]
pub(crate) struct Pending {
    label: Label,
    bytes: usize,
    /// Ticks of the proofs that were sent before it.
    ticks: u64,
}

/// What a party keeps to check the two others.
struct Checks<'a> {
    /// The gates whose proof has not begun.
    log: Log,
    /// Words of gates from which on a step begins to prove what is complete.
    waiting_words: usize,
    /// The gates whose proofs are under way.
    riding: Riding,
    proofs: Proofs,
    notary: &'a mut dyn Notary,
    binding: Binding,
    /// Batches of proofs so far.
    batches: u64,
    /// Barriers so far.
    barriers: u32,
}

/// A party's engine in one session: multiplies, validates and opens.
pub struct Gates<'a> {
    role: Role,
    pub(crate) prss: Prss,
    pub(crate) link: Link<'a>,
    /// `None` in the engine against curious parties, which only measurements can make.
    checks: Option<Box<Checks<'a>>>,
    /// Set by the first error: nothing is opened after it.
    stopped: bool,
}

impl<'a> Gates<'a> {
    /// The engine of `role` over `channel`, with the randomness of `seeds` bound to `binding` and the statements signed by
    /// `notary`.
    pub fn new(
        role: Role,
        seeds: &Seeds,
        binding: &Binding,
        channel: &'a mut dyn Channel,
        notary: &'a mut dyn Notary,
        observer: &'a mut dyn Observer,
    ) -> Self {
        Self {
            role,
            prss: Prss::new(role, seeds, binding),
            link: Link::new(role, channel, observer, Some(Ledger::new(role, binding))),
            checks: Some(Box::new(Checks {
                log: Log::default(),
                waiting_words: SortParams::LAN.waiting_gates / 64,
                riding: Riding::default(),
                proofs: Proofs::new(role, binding, seeds),
                notary,
                binding: *binding,
                batches: 0,
                barriers: 0,
            })),
            stopped: false,
        }
    }

    /// The engine without any check, against curious parties: to measure what the checks cost.
    #[cfg(feature = "curious")]
    pub(crate) fn curious(
        role: Role,
        seeds: &Seeds,
        binding: &Binding,
        channel: &'a mut dyn Channel,
        observer: &'a mut dyn Observer,
    ) -> Self {
        Self {
            role,
            prss: Prss::new(role, seeds, binding),
            link: Link::new(role, channel, observer, None),
            checks: None,
            stopped: false,
        }
    }

    /// This party.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether the other parties are checked.
    pub(crate) fn is_checked(&self) -> bool {
        self.checks.is_some()
    }

    /// The two others, as suspects.
    pub(crate) fn others(&self) -> [Role; 2] {
        [self.role.next(), self.role.prev()]
    }

    /// A failed check at a step.
    pub(crate) fn failed(&self, at: Scope, source: impl Into<CheckError>) -> TallyError {
        TallyError::Check {
            at,
            role: self.role,
            source: source.into(),
        }
    }

    /// Runs a step after which, if it fails, nothing is validated or opened any more.
    fn or_stop<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T, TallyError>) -> Result<T, TallyError> {
        if std::mem::replace(&mut self.stopped, true) {
            return Err(TallyError::Stopped);
        }
        let done = step(self)?;
        self.stopped = false;
        Ok(done)
    }

    /// Randomness and labels for one unit of work.
    ///
    /// # Panics
    /// When the scope was used before in this session.
    pub(crate) fn tape(&mut self, scope: Scope) -> Tape {
        Tape {
            scope,
            round: 0,
            prev: self.prss.stream(Neighbour::Prev, Purpose::Gate, scope),
            next: self.prss.stream(Neighbour::Next, Purpose::Gate, scope),
            mask_prev: [0; BLOCK],
            mask_next: [0; BLOCK],
            z: [0; BLOCK],
        }
    }

    /// Multiplies up to [`BLOCK`] words: leaves z_i in `tape.z` and writes it to `message`.
    #[inline]
    pub(crate) fn and_block(&mut self, tape: &mut Tape, x: Pair<'_>, y: Pair<'_>, message: &mut [u8]) {
        let n = x.a.len();
        let (mask_prev, mask_next) = (&mut tape.mask_prev[..n], &mut tape.mask_next[..n]);
        tape.prev.fill(mask_prev);
        tape.next.fill(mask_next);
        let z = &mut tape.z[..n];
        let (xa, xb, ya, yb) = (&x.a[..n], &x.b[..n], &y.a[..n], &y.b[..n]);
        for i in 0..n {
            z[i] = (xa[i] & (ya[i] ^ yb[i])) ^ (xb[i] & ya[i]) ^ mask_prev[i] ^ mask_next[i];
        }
        put_words(message, z);
        if let Some(checks) = &mut self.checks {
            checks.log.record([xa, xb], [ya, yb], [mask_prev, mask_next]);
            checks.riding.recorded += n as u64;
        }
    }

    /// Sends a message of products to the previous party.
    pub(crate) fn send_products(&mut self, tape: &mut Tape, message: Vec<u8>) -> Result<Pending, TallyError> {
        let label = Label {
            scope: tape.scope,
            round: tape.round,
        };
        tape.round += 1;
        let bytes = message.len();
        self.or_stop(|gates| gates.link.send(Neighbour::Prev, label, message))?;
        let ticks = self.checks.as_ref().map_or(0, |checks| checks.riding.sent());
        Ok(Pending { label, bytes, ticks })
    }

    /// The products z_{i+1} that answer one's own; in the order in which they were sent.
    pub(crate) fn recv_products(&mut self, pending: Pending) -> Result<Vec<u8>, TallyError> {
        self.or_stop(|gates| {
            gates.take_ticks(pending.ticks)?;
            let message = gates.link.recv(Neighbour::Next, pending.label, pending.bytes)?;
            if let Some(checks) = &mut gates.checks {
                checks.log.answer(words(&message));
            }
            Ok(message)
        })
    }

    /// Tells the notary what went over the channels, once nothing more will.
    pub(crate) fn end(&mut self) {
        let (signer, channels) = (self.role, self.checks.is_some().then(|| self.link.hashes()));
        if let (Some(checks), Some(channels)) = (&mut self.checks, channels) {
            checks.notary.ended(&Statement {
                binding: checks.binding,
                signer,
                number: Statement::LAST,
                at: Scope {
                    phase: Phase::Barrier,
                    step: 0,
                    chunk: 0,
                },
                channels,
            });
        }
    }

    /// Asks leave to open `value`: each party proves all its gates so far to the two others. `at` is the step for which it is asked.
    ///
    /// # Errors
    /// A proof does not hold, with the suspects; nothing is validated or opened after it.
    pub fn validate<T>(&mut self, at: Scope, value: T) -> Result<Validated<T>, TallyError> {
        self.or_stop(|gates| gates.prove(at))?;
        Ok(Validated(value))
    }
}

#[cfg(test)]
pub(crate) mod tests;
