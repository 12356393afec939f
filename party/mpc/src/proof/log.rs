//! What a party remembers of the AND gates it evaluated, until they are proven.

use std::sync::Arc;

use zeroize::Zeroize;

use crate::share::grow;
use crate::simd::GROUP;

/// Most words of one proof: 2^22 gates.
pub(crate) const CHUNK_WORDS: usize = 1 << 16;

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
    /// Each full but the last.
    pieces: Vec<Arc<Piece>>,
    /// Memory of chunks that are proven.
    spare: Vec<Arc<Piece>>,
    /// Words in `pieces`, and how many of them are complete.
    words: usize,
    answered: usize,
}

/// The gates of one chunk.
#[derive(Default)]
struct Piece {
    /// x_i, x_{i+1}, y_i, y_{i+1}, C-, C+: whole groups each, with zeros from the last word in use to the end of its group. Beyond that
    /// they hold what was there when the memory served another chunk.
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
            spare: Vec::new(),
            words: 0,
            answered: 0,
        }
    }

    /// Words recorded and not taken.
    pub fn words(&self) -> usize {
        self.words
    }

    /// Whether no gate is there.
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
                self.pieces.push(self.spare.pop().unwrap_or_default());
            }
            own(&mut self.pieces[number]).record(at, sources.map(|source| &source[from..to]));
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
            let waiting = &mut own(&mut self.pieces[number]).columns[4][at..at + n];
            for (c, z) in waiting.iter_mut().zip(&mut products) {
                *c ^= z;
            }
            self.answered += n;
        }
    }

    /// The gates in chunks, to be proven one by one; of no gates, none.
    ///
    /// # Panics
    /// If gates are incomplete.
    pub fn chunks(&self) -> impl Iterator<Item = Chunk> + '_ {
        self.assert_complete();
        self.pieces
            .iter()
            .zip((0..self.words).step_by(self.chunk_words))
            .map(|(piece, from)| Chunk {
                words: self.chunk_words.min(self.words - from),
                piece: Arc::clone(piece),
            })
    }

    /// Takes all gates out, in chunks to be proven one by one.
    ///
    /// # Panics
    /// If gates are incomplete.
    pub fn take_all(&mut self) -> Vec<Chunk> {
        let chunks = self.chunks().collect();
        self.pieces.clear();
        (self.words, self.answered) = (0, 0);
        chunks
    }

    /// Takes out the full chunks whose gates are complete, or all gates if all are complete.
    pub fn take_complete(&mut self) -> Vec<Chunk> {
        if self.answered == self.words {
            return self.take_all();
        }
        let full = self.answered / self.chunk_words;
        let words = self.chunk_words;
        (self.words, self.answered) = (self.words - full * words, self.answered - full * words);
        self.pieces
            .drain(..full)
            .map(|piece| Chunk { words, piece })
            .collect()
    }

    /// Keeps the memory of a chunk that is proven, if nobody else holds it.
    pub fn keep(&mut self, chunk: Chunk) {
        let Chunk { mut piece, .. } = chunk;
        if Arc::get_mut(&mut piece).is_some() {
            self.spare.push(piece);
        }
    }

    fn assert_complete(&self) {
        assert!(
            self.answered == self.words,
            "{} of {} words still wait for their products and cannot be proven",
            self.words - self.answered,
            self.words
        );
    }
}

/// A piece in the making.
///
/// # Panics
/// When it is being proven: from a log that was not taken out of its chunks' proofs.
fn own(piece: &mut Arc<Piece>) -> &mut Piece {
    Arc::get_mut(piece).expect("gates are not appended to a chunk that is being proven")
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

/// Complete gates that can be proven, whole groups of 64 words with zeros beyond the last.
#[derive(Clone)]
pub struct Chunk {
    words: usize,
    piece: Arc<Piece>,
}

impl Chunk {
    /// Words of gates.
    pub fn words(&self) -> usize {
        self.words
    }

    fn column(&self, i: usize) -> &[u64] {
        &self.piece.columns[i][..self.words.next_multiple_of(GROUP)]
    }

    /// x_i, x_{i+1}
    pub(super) fn x(&self) -> [&[u64]; 2] {
        [self.column(0), self.column(1)]
    }

    /// y_i, y_{i+1}
    pub(super) fn y(&self) -> [&[u64]; 2] {
        [self.column(2), self.column(3)]
    }

    /// z_{i+1} ^ a_{i+1}: this party's side, as V-, of the next party's gates.
    pub(super) fn c_minus(&self) -> &[u64] {
        self.column(4)
    }

    /// x_i y_i ^ a_i: this party's side, as V+, of the previous party's gates.
    pub(super) fn c_plus(&self) -> &[u64] {
        self.column(5)
    }
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chunk({} words)", self.words)
    }
}
