//! What a party remembers of the AND gates it evaluated, until they are proven.

use std::ops::Range;
use zeroize::Zeroize;

use crate::share::grow;
use crate::simd::GROUP;

/// A group of zeros, proven in place of an empty chunk.
static ZEROS: [u64; GROUP] = [0; GROUP];

/// The operands of AND gates in the order of their evaluation, 64 gates a word, six words each: x_i, x_{i+1}, y_i, y_{i+1},
/// z_{i+1} ^ a_{i+1} and x_i y_i ^ a_i. From them party P_i proves its own gates and verifies those of both others.
///
/// Gates are appended when they are sent out ([`Log::record`]) and completed, in the same order, when the next party's products
/// arrive ([`Log::answer`]). Only complete gates can be proven: a verifier must not reveal a challenge before it holds every
/// product that the challenge is about. All three parties append the same number of words in the same order.
///
/// Not cloned, compared or printed with its content; zeroised on drop.
#[derive(Default)]
pub struct Log {
    /// x_i, x_{i+1}, y_i, y_{i+1}, C-, C+: whole groups each, with zeros from `words` to the end of its group. Beyond that they hold
    /// what was there before the log was cleared.
    columns: [Vec<u64>; 6],
    words: usize,
    answered: usize,
}

impl Log {
    /// An empty log with room for that many words before it has to grow.
    pub fn with_capacity(words: usize) -> Self {
        let room = words.next_multiple_of(GROUP);
        Self {
            columns: std::array::from_fn(|_| Vec::with_capacity(room)),
            words: 0,
            answered: 0,
        }
    }

    /// Words recorded.
    pub fn words(&self) -> usize {
        self.words
    }

    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.words == 0
    }

    /// Appends gates z = x & y: the shares `x` = (x_i, x_{i+1}), `y` = (y_i, y_{i+1}) and the masks (a_i, a_{i+1}). Bits beyond the
    /// last lane of a column have to be zero, or follow the gates' equation like the others.
    ///
    /// # Panics
    /// If the six slices differ in length.
    pub fn record(&mut self, x: [&[u64]; 2], y: [&[u64]; 2], masks: [&[u64]; 2]) {
        let n = x[0].len();
        for slice in [x[1], y[0], y[1], masks[0], masks[1]] {
            assert_eq!(slice.len(), n, "the six columns of a gate have the same length");
        }
        let at = self.words..self.words + n;
        self.words += n;
        let len = self.words.next_multiple_of(GROUP);
        for (column, source) in self
            .columns
            .iter_mut()
            .zip([x[0], x[1], y[0], y[1], masks[1], masks[0]])
        {
            grow(column, len);
            column[at.clone()].copy_from_slice(source);
            column[at.end..len].fill(0);
        }
        let products = x[0].iter().zip(y[0]);
        for (c, (x, y)) in self.columns[5][at].iter_mut().zip(products) {
            *c ^= x & y;
        }
    }

    /// Completes the oldest incomplete gates with the products z_{i+1} that the next party sent.
    ///
    /// # Panics
    /// If more products arrive than gates are waiting: the caller knows from the gates how many it may take off the wire.
    pub fn answer(&mut self, products: impl ExactSizeIterator<Item = u64>) {
        let end = self.answered + products.len();
        assert!(
            end <= self.words,
            "{end} products for {} words of gates",
            self.words
        );
        for (c, z) in self.columns[4][self.answered..end].iter_mut().zip(products) {
            *c ^= z;
        }
        self.answered = end;
    }

    /// Forgets the gates and keeps the memory.
    pub fn clear(&mut self) {
        self.words = 0;
        self.answered = 0;
    }

    /// The gates of all words, as one chunk.
    ///
    /// # Panics
    /// If gates are incomplete.
    pub fn whole(&self) -> Chunk<'_> {
        self.chunk(0..self.words)
    }

    /// The gates cut into chunks of at most that many words, to be proven one by one.
    ///
    /// # Panics
    /// If gates are incomplete, or `words` is not a positive multiple of 64.
    pub fn chunks(&self, words: usize) -> impl Iterator<Item = Chunk<'_>> {
        assert!(
            words > 0 && words.is_multiple_of(GROUP),
            "a chunk is a positive number of groups of 64 words"
        );
        (0..self.words)
            .step_by(words)
            .map(move |start| self.chunk(start..self.words.min(start + words)))
    }

    /// The gates of a range of words that starts at a group.
    ///
    /// # Panics
    /// If gates of the range are incomplete, or it does not start at a group.
    pub(crate) fn chunk(&self, range: Range<usize>) -> Chunk<'_> {
        assert!(
            range.end <= self.answered && range.start.is_multiple_of(GROUP),
            "{} of {} words still wait for their products and cannot be proven",
            self.words - self.answered,
            self.words
        );
        let groups = range.start..range.end.next_multiple_of(GROUP);
        let column = |i: usize| {
            if range.is_empty() {
                &ZEROS[..]
            } else {
                &self.columns[i][groups.clone()]
            }
        };
        Chunk {
            words: range.len(),
            x: [column(0), column(1)],
            y: [column(2), column(3)],
            c_minus: column(4),
            c_plus: column(5),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        for column in &mut self.columns {
            column.zeroize();
        }
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Log({} words, {} complete)", self.words, self.answered)
    }
}

/// A view of complete gates, whole groups of 64 words with zeros beyond the last.
#[derive(Clone, Copy)]
pub struct Chunk<'a> {
    words: usize,
    pub(super) x: [&'a [u64]; 2],
    pub(super) y: [&'a [u64]; 2],
    /// z_{i+1} ^ a_{i+1}: this party's side, as V-, of the next party's gates.
    pub(super) c_minus: &'a [u64],
    /// x_i y_i ^ a_i: this party's side, as V+, of the previous party's gates.
    pub(super) c_plus: &'a [u64],
}

impl Chunk<'_> {
    /// Words of gates.
    pub fn words(&self) -> usize {
        self.words
    }
}

impl std::fmt::Debug for Chunk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chunk({} words)", self.words)
    }
}
