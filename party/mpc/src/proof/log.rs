//! What a party remembers of the AND gates it evaluated, until they are proven.

use zeroize::Zeroize;

use crate::share::grow;
use crate::simd::GROUP;

/// Most words of one proof: 2^22 gates.
const CHUNK_WORDS: usize = 1 << 16;

/// The operands of AND gates in the order of their evaluation, 64 gates a word, six words each: x_i, x_{i+1}, y_i, y_{i+1},
/// z_{i+1} ^ a_{i+1} and x_i y_i ^ a_i. From them party P_i proves its own gates and verifies those of both others, chunk by chunk.
///
/// Gates are appended when they are sent out ([`Log::record`]) and completed, in the same order, when the next party's products
/// arrive ([`Log::answer`]). Only complete gates can be proven: a verifier must not reveal a challenge before it holds every
/// product that the challenge is about. All three parties append the same number of words in the same order.
///
/// Not cloned, compared or printed with its content; zeroised on drop.
pub struct Log {
    /// Words of a chunk: a positive number of groups.
    chunk_words: usize,
    /// Each full but the last that is in use. Those beyond it are memory kept from before the log was cleared.
    pieces: Vec<Piece>,
    words: usize,
    answered: usize,
}

/// The gates of one chunk.
#[derive(Default)]
struct Piece {
    /// x_i, x_{i+1}, y_i, y_{i+1}, C-, C+: whole groups each, with zeros from the last word in use to the end of its group. Beyond that
    /// they hold what was there before the log was cleared.
    columns: [Vec<u64>; 6],
}

impl Default for Log {
    /// A log in chunks of 2^22 gates.
    fn default() -> Self {
        Self::in_chunks_of(CHUNK_WORDS)
    }
}

impl Log {
    /// An empty log that is proven in chunks of so many words. All three parties cut it alike.
    ///
    /// # Panics
    /// If `words` is not a positive multiple of 64.
    pub fn in_chunks_of(words: usize) -> Self {
        assert!(
            words > 0 && words.is_multiple_of(GROUP),
            "a chunk is a positive number of groups of 64 words"
        );
        Self {
            chunk_words: words,
            pieces: Vec::new(),
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
        let sources = [x[0], x[1], y[0], y[1], masks[1], masks[0]];
        let mut from = 0;
        while from < n {
            let (number, at) = (self.words / self.chunk_words, self.words % self.chunk_words);
            let to = n.min(from + self.chunk_words - at);
            if number == self.pieces.len() {
                self.pieces.push(Piece::default());
            }
            self.pieces[number].record(at, sources.map(|source| &source[from..to]));
            self.words += to - from;
            from = to;
        }
    }

    /// Completes the oldest incomplete gates with the products z_{i+1} that the next party sent.
    ///
    /// # Panics
    /// If more products arrive than gates are waiting: the caller knows from the gates how many it may take off the wire.
    pub fn answer(&mut self, mut products: impl ExactSizeIterator<Item = u64>) {
        let end = self.answered + products.len();
        assert!(
            end <= self.words,
            "{end} products for {} words of gates",
            self.words
        );
        while self.answered < end {
            let (number, at) = (self.answered / self.chunk_words, self.answered % self.chunk_words);
            let n = (end - self.answered).min(self.chunk_words - at);
            let waiting = &mut self.pieces[number].columns[4][at..at + n];
            for (c, z) in waiting.iter_mut().zip(&mut products) {
                *c ^= z;
            }
            self.answered += n;
        }
    }

    /// Forgets the gates and keeps the memory.
    pub fn clear(&mut self) {
        self.words = 0;
        self.answered = 0;
    }

    /// The gates in chunks, to be proven one by one; of no gates, none.
    ///
    /// # Panics
    /// If gates are incomplete.
    pub fn chunks(&self) -> impl Iterator<Item = Chunk<'_>> {
        assert!(
            self.answered == self.words,
            "{} of {} words still wait for their products and cannot be proven",
            self.words - self.answered,
            self.words
        );
        self.pieces
            .iter()
            .zip((0..self.words).step_by(self.chunk_words))
            .map(|(piece, from)| piece.chunk(self.chunk_words.min(self.words - from)))
    }
}

impl Piece {
    /// Puts gates behind the first `at` words: x_i, x_{i+1}, y_i, y_{i+1}, a_{i+1}, a_i, of equal length.
    fn record(&mut self, at: usize, sources: [&[u64]; 6]) {
        let end = at + sources[0].len();
        let len = end.next_multiple_of(GROUP);
        for (column, source) in self.columns.iter_mut().zip(sources) {
            grow(column, len);
            column[at..end].copy_from_slice(source);
            column[end..len].fill(0);
        }
        let products = sources[0].iter().zip(sources[2]);
        for (c, (x, y)) in self.columns[5][at..end].iter_mut().zip(products) {
            *c ^= x & y;
        }
    }

    /// The first `words` words.
    fn chunk(&self, words: usize) -> Chunk<'_> {
        let column = |i: usize| &self.columns[i][..words.next_multiple_of(GROUP)];
        Chunk {
            words,
            x: [column(0), column(1)],
            y: [column(2), column(3)],
            c_minus: column(4),
            c_plus: column(5),
        }
    }
}

impl Drop for Piece {
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
