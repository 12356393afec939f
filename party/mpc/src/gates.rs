//! The one place where shared bits are multiplied, validated and opened.
//!
//! AND: z_i = x_i y_i ^ x_i y_{i+1} ^ x_{i+1} y_i ^ a_i ^ a_{i+1}, with a_j from the PRSS seed of P_{j-1} and P_j; P_i
//! sends z_i to P_{i-1} and so holds (z_i, z_{i+1}). One round, one bit a lane. Opening: P_i sends x_i to P_{i+1}; one
//! round, one bit a lane. Source: Araki et al., CCS 2016, section 2.
//!
//! Every AND goes through [`Gates::and_block`], which appends the gate to a [`Batch`] when one is attached, and every
//! opening takes a [`Validated`] value, which [`Gates::validate`] alone makes. Without a batch validation grants
//! everything: secure against a curious party only.

mod layer;

use crate::channel::{Channel, Label, Scope};
use crate::error::TallyError;
use crate::link::{Link, put_words, words};
use crate::observer::{Observer, Opening};
use crate::prss::{Binding, Prss, Purpose, Seeds, Stream};
use crate::role::{Neighbour, Role};
use crate::share::{Column, Pair};

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
///     let validated = gates.validate(column)?;
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
/// ```compile_fail,E0423
/// fn forge(column: tally_mpc::Column) -> tally_mpc::Validated<tally_mpc::Column> { tally_mpc::Validated(column) }
/// ```
pub struct Validated<T>(T);

/// The gates since the last validation, word by word, as a proof needs them.
///
/// For the prover P_i: U = x_i ^ x_{i+1}, V = y_i ^ y_{i+1}. As verifier of P_{i+1} this party holds (x_{i+1}, y_{i+1},
/// z_{i+1} ^ a_{i+1}), as verifier of P_{i-1} it holds (x_i, y_i, x_i y_i ^ a_i).
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) x: Column2,
    pub(crate) y: Column2,
    /// z_{i+1} ^ a_{i+1}.
    pub(crate) c_minus: Vec<u64>,
    /// x_i y_i ^ a_i.
    pub(crate) c_plus: Vec<u64>,
    /// How many words of `c_minus` have met the z that was received.
    answered: usize,
}

/// A growing pair of share words.
#[derive(Default)]
pub(crate) struct Column2 {
    pub(crate) a: Vec<u64>,
    pub(crate) b: Vec<u64>,
}

impl Batch {
    fn record(&mut self, x: Pair<'_>, y: Pair<'_>, mask_prev: &[u64], mask_next: &[u64]) {
        self.x.a.extend_from_slice(x.a);
        self.x.b.extend_from_slice(x.b);
        self.y.a.extend_from_slice(y.a);
        self.y.b.extend_from_slice(y.b);
        self.c_minus.extend_from_slice(mask_next);
        self.c_plus
            .extend(x.a.iter().zip(y.a).zip(mask_prev).map(|((x, y), a)| x & y ^ a));
    }

    fn answer(&mut self, message: &[u8]) {
        let end = self.answered + message.len() / 8;
        for (c, z) in self.c_minus[self.answered..end].iter_mut().zip(words(message)) {
            *c ^= z;
        }
        self.answered = end;
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        for words in [&mut self.x.a, &mut self.x.b, &mut self.y.a, &mut self.y.b] {
            words.zeroize();
        }
        self.c_minus.zeroize();
        self.c_plus.zeroize();
    }
}

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

/// A message of products that the next party owes.
#[must_use]
pub(crate) struct Pending {
    label: Label,
    bytes: usize,
}

/// A party's engine in one session: multiplies, validates and opens.
pub struct Gates<'a> {
    role: Role,
    pub(crate) prss: Prss,
    pub(crate) link: Link<'a>,
    batch: Option<Batch>,
}

impl<'a> Gates<'a> {
    /// The engine of `role` over `channel`, with the randomness of `seeds` bound to `binding`.
    pub fn new(
        role: Role,
        seeds: &Seeds,
        binding: &Binding,
        channel: &'a mut dyn Channel,
        observer: &'a mut dyn Observer,
    ) -> Self {
        Self {
            role,
            prss: Prss::new(role, seeds, binding),
            link: Link::new(role, channel, observer),
            batch: None,
        }
    }

    /// This party.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Records every gate from here on.
    #[cfg(test)]
    pub(crate) fn attach_batch(&mut self) {
        self.batch = Some(Batch::default());
    }

    /// The gates recorded since it was attached or last taken.
    #[cfg(test)]
    pub(crate) fn take_batch(&mut self) -> Option<Batch> {
        self.batch.as_mut().map(std::mem::take)
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
        if let Some(batch) = &mut self.batch {
            batch.record(x, y, mask_prev, mask_next);
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
        self.link.send(Neighbour::Prev, label, message)?;
        Ok(Pending { label, bytes })
    }

    /// The products z_{i+1} that answer one's own; in the order in which they were sent.
    pub(crate) fn recv_products(&mut self, pending: Pending) -> Result<Vec<u8>, TallyError> {
        let message = self.link.recv(Neighbour::Next, pending.label, pending.bytes)?;
        if let Some(batch) = &mut self.batch {
            batch.answer(&message);
        }
        Ok(message)
    }

    /// Asks leave to open `value`: every gate and shuffle so far must hold. The curious-only engine grants it.
    ///
    /// # Errors
    /// A gate or a shuffle is wrong, with the suspects.
    ///
    /// # Security
    /// Without a prover attached nothing is checked: a malicious party can bend what is opened.
    pub fn validate<T>(&mut self, value: T) -> Result<Validated<T>, TallyError> {
        if let Some(batch) = &self.batch {
            assert_eq!(
                batch.answered,
                batch.c_plus.len(),
                "validation comes after every product has arrived"
            );
        }
        Ok(Validated(value))
    }

    /// Opens the first `lanes` lanes of a column to all three parties. One round, one bit a lane.
    ///
    /// # Errors
    /// A message is missing or malformed.
    ///
    /// # Panics
    /// When the column is shorter than `lanes`.
    pub fn open(
        &mut self,
        scope: Scope,
        opening: Opening,
        value: Validated<Column>,
        lanes: usize,
    ) -> Result<Vec<u64>, TallyError> {
        let column = value.0;
        let length = lanes.div_ceil(64);
        assert!(
            length <= column.words(),
            "{lanes} lanes are opened of {} words",
            column.words()
        );
        // Openings travel the other way round the ring than products, so their labels need not differ from those.
        let mut out = vec![0; length];
        if length > 0 {
            self.link.count_round();
        }
        let parts = || {
            (0..length)
                .step_by(MESSAGE_WORDS)
                .map(|from| (from, length.min(from + MESSAGE_WORDS)))
        };
        let label = |from: usize| Label {
            scope,
            round: (from / MESSAGE_WORDS) as u32,
        };
        for (from, to) in parts() {
            let mut message = self.link.buffer(8 * (to - from));
            put_words(&mut message, &column.a[from..to]);
            self.link.send(Neighbour::Next, label(from), message)?;
        }
        for (from, to) in parts() {
            let message = self.link.recv(Neighbour::Prev, label(from), 8 * (to - from))?;
            for (i, third) in words(&message).enumerate() {
                out[from + i] = third ^ column.a[from + i] ^ column.b[from + i];
            }
            self.link.recycle(message);
        }
        if !lanes.is_multiple_of(64)
            && let Some(last) = out.last_mut()
        {
            *last &= (1 << (lanes % 64)) - 1;
        }
        self.link.observer.opened(opening, lanes, &out);
        Ok(out)
    }
}

#[cfg(test)]
pub(crate) mod tests;
