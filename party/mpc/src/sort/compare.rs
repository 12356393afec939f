//! Comparison of rows with pivots, bit-sliced: lane by lane [row < pivot].
//!
//! With d = row ^ pivot and p = pivot, from the least significant bit up: lt = lt ^ d_j (p_j ^ lt). The ripple does it
//! bit after bit: L ANDs a lane, L rounds. The tree combines pairs (d, v), v = p at the leaves, by
//! v = v_lo ^ d_hi (v_hi ^ v_lo), d = d_hi ^ d_lo ^ d_hi d_lo: 2L - 2 - ceil(log2 L) ANDs, ceil(log2 L) rounds. Both are
//! right where the keys differ.

use zeroize::Zeroize;

use super::{Keys, Run, SortParams};
use crate::channel::{Phase, Scope};
use crate::error::TallyError;
use crate::gates::{Gates, Pending, Tape};
use crate::link::words;
use crate::share::{Column, Pair, grow, sum, xor};
use crate::transpose::transpose64;

/// Words of a chunk: its columns, both operands and both shares, stay in the second-level cache.
const CHUNK: usize = 128;
/// Blocks transposed before their columns are written: a cache line of each.
const TILE: usize = 8;
/// Words in one message of the tree.
const MESSAGE_WORDS: usize = 32 * 1024;

/// Bit columns of one operand, both shares. Chunk c begins at c * CHUNK * bits; in it column after column.
struct Arena {
    a: Vec<u64>,
    b: Vec<u64>,
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.a.zeroize();
        self.b.zeroize();
    }
}

impl Arena {
    fn reserve(&mut self, len: usize) {
        grow(&mut self.a, len);
        grow(&mut self.b, len);
    }

    fn pair(&self, at: usize, len: usize) -> Pair<'_> {
        Pair {
            a: &self.a[at..at + len],
            b: &self.b[at..at + len],
        }
    }
}

/// Compares rows with pivots; keeps its buffers from level to level.
pub(crate) struct Comparer {
    bits: usize,
    /// row ^ pivot
    d: Arena,
    /// pivot; in the tree, v
    p: Arena,
}

/// Words of one message of the ripple comparator, with its own randomness.
struct Group {
    from: usize,
    to: usize,
    tape: Box<Tape>,
    pending: Option<Pending>,
}

impl Comparer {
    pub(crate) fn new(bits: usize) -> Self {
        let arena = || Arena {
            a: Vec::new(),
            b: Vec::new(),
        };
        Self {
            bits,
            d: arena(),
            p: arena(),
        }
    }

    /// One lane for each row of each run, in order: whether the row's key is less than the pivot's.
    pub(crate) fn less(
        &mut self,
        gates: &mut Gates<'_>,
        step: u32,
        keys: &Keys,
        runs: &[Run],
        params: &SortParams,
    ) -> Result<Column, TallyError> {
        let lanes: usize = runs.iter().map(|run| run.len).sum();
        let length = lanes.div_ceil(64);
        self.d.reserve(length * self.bits);
        self.p.reserve(length * self.bits);
        let mut cursor = Cursor { runs, run: 0, at: 0 };
        if lanes >= params.ripple_from {
            self.ripple(gates, step, keys, &mut cursor, length, params.chunk_lanes / 64)
        } else {
            for from in (0..length).step_by(CHUNK) {
                self.load(keys, &mut cursor, from, length.min(from + CHUNK));
            }
            self.tree(gates, step, length)
        }
    }

    fn ripple(
        &mut self,
        gates: &mut Gates<'_>,
        step: u32,
        keys: &Keys,
        cursor: &mut Cursor<'_>,
        length: usize,
        group_words: usize,
    ) -> Result<Column, TallyError> {
        let mut less = Column::zero(length);
        let group_words = group_words.next_multiple_of(CHUNK);
        let mut groups: Vec<Group> = (0..length)
            .step_by(group_words)
            .enumerate()
            .map(|(i, from)| Group {
                from,
                to: length.min(from + group_words),
                tape: Box::new(gates.tape(scope(step, i as u32))),
                pending: None,
            })
            .collect();
        let mut factor = [[0; CHUNK]; 2];
        for bit in 0..self.bits {
            gates.begin_proofs(scope(step, 0));
            gates.begin_round()?;
            for group in &mut groups {
                receive(gates, group, &mut less)?;
                let mut message = gates.link.buffer(8 * (group.to - group.from));
                for from in (group.from..group.to).step_by(CHUNK) {
                    let to = length.min(from + CHUNK);
                    if bit == 0 {
                        self.load(keys, cursor, from, to);
                    }
                    let n = to - from;
                    let at = from * self.bits + bit * n;
                    let pivot = self.p.pair(at, n);
                    let (lt_a, lt_b) = (&mut less.a[from..to], &less.b[from..to]);
                    sum(&mut factor[0], pivot.a, lt_a);
                    sum(&mut factor[1], pivot.b, lt_b);
                    let y = Pair {
                        a: &factor[0][..n],
                        b: &factor[1][..n],
                    };
                    let bytes = 8 * (from - group.from)..8 * (to - group.from);
                    gates.and_block(&mut group.tape, self.d.pair(at, n), y, &mut message[bytes]);
                    xor(lt_a, &group.tape.z[..n]);
                }
                group.pending = Some(gates.send_products(&mut group.tape, message)?);
            }
        }
        for group in &mut groups {
            receive(gates, group, &mut less)?;
        }
        factor.zeroize();
        Ok(less)
    }

    fn tree(&mut self, gates: &mut Gates<'_>, step: u32, length: usize) -> Result<Column, TallyError> {
        let mut tape = Box::new(gates.tape(scope(step, 0)));
        let mut columns = self.bits;
        while columns > 1 {
            let pairs = columns / 2;
            let products = 2 * pairs - 1;
            gates.begin_round()?;
            let message_words = (MESSAGE_WORDS / (products * CHUNK)).max(1) * CHUNK;
            let mut under_way = std::collections::VecDeque::new();
            for from in (0..length).step_by(message_words) {
                let to = length.min(from + message_words);
                let mut message = gates.link.buffer(8 * products * (to - from));
                let mut at = 0;
                for chunk in (from..to).step_by(CHUNK) {
                    let n = to.min(chunk + CHUNK) - chunk;
                    let bytes = 8 * products * n;
                    self.combine_own(
                        gates,
                        &mut tape,
                        chunk * self.bits,
                        n,
                        columns,
                        &mut message[at..at + bytes],
                    );
                    at += bytes;
                }
                let pending = gates.send_products(&mut tape, message)?;
                under_way.push_back((pending, from, to));
                if under_way.len() > 4
                    && let Some((pending, from, to)) = under_way.pop_front()
                {
                    self.combine_next(gates, pending, from, to, columns)?;
                }
            }
            for (pending, from, to) in under_way {
                self.combine_next(gates, pending, from, to, columns)?;
            }
            gates.begin_proofs(scope(step, 0));
            columns = columns.div_ceil(2);
        }
        let mut less = Column::zero(length);
        for from in (0..length).step_by(CHUNK) {
            let n = length.min(from + CHUNK) - from;
            let v = self.p.pair(from * self.bits, n);
            less.a[from..from + n].copy_from_slice(v.a);
            less.b[from..from + n].copy_from_slice(v.b);
        }
        Ok(less)
    }

    /// One layer of the tree on a chunk at `base`: multiplies, and keeps the own shares in the first half of the
    /// columns.
    fn combine_own(
        &mut self,
        gates: &mut Gates<'_>,
        tape: &mut Tape,
        base: usize,
        n: usize,
        columns: usize,
        message: &mut [u8],
    ) {
        let mut factor = [[0; CHUNK]; 2];
        let mut v = [0; CHUNK];
        let mut at = 0;
        for i in 0..columns / 2 {
            let (lo, hi) = (base + 2 * i * n, base + (2 * i + 1) * n);
            let (v_lo, v_hi) = (self.p.pair(lo, n), self.p.pair(hi, n));
            sum(&mut factor[0], v_lo.a, v_hi.a);
            sum(&mut factor[1], v_lo.b, v_hi.b);
            let y = Pair {
                a: &factor[0][..n],
                b: &factor[1][..n],
            };
            gates.and_block(tape, self.d.pair(hi, n), y, &mut message[at..at + 8 * n]);
            at += 8 * n;
            sum(&mut v, v_lo.a, &tape.z);
            // Pair 0 is never the higher half of another, so nobody asks for its d.
            if i > 0 {
                let (d_hi, d_lo) = (self.d.pair(hi, n), self.d.pair(lo, n));
                gates.and_block(tape, d_hi, d_lo, &mut message[at..at + 8 * n]);
                at += 8 * n;
                for k in 0..n {
                    self.d.a[base + i * n + k] = self.d.a[hi + k] ^ self.d.a[lo + k] ^ tape.z[k];
                }
            }
            self.p.a[base + i * n..][..n].copy_from_slice(&v[..n]);
        }
        if columns % 2 == 1 && columns > 1 {
            let (from, to) = (base + (columns - 1) * n, base + columns / 2 * n);
            self.d.a.copy_within(from..from + n, to);
            self.p.a.copy_within(from..from + n, to);
        }
        factor.zeroize();
        v.zeroize();
    }

    /// The other half of a layer: the next party's shares of the products of the words `from..to`.
    fn combine_next(
        &mut self,
        gates: &mut Gates<'_>,
        pending: Pending,
        from: usize,
        to: usize,
        columns: usize,
    ) -> Result<(), TallyError> {
        let message = gates.recv_products(pending)?;
        let mut products = words(&message);
        for chunk in (from..to).step_by(CHUNK) {
            let n = to.min(chunk + CHUNK) - chunk;
            let base = chunk * self.bits;
            for i in 0..columns / 2 {
                let (lo, hi, out) = (base + 2 * i * n, base + (2 * i + 1) * n, base + i * n);
                for (k, z) in (0..n).zip(&mut products) {
                    self.p.b[out + k] = self.p.b[lo + k] ^ z;
                }
                if i > 0 {
                    for (k, z) in (0..n).zip(&mut products) {
                        self.d.b[out + k] = self.d.b[hi + k] ^ self.d.b[lo + k] ^ z;
                    }
                }
            }
            if columns % 2 == 1 && columns > 1 {
                let (last, out) = (base + (columns - 1) * n, base + columns / 2 * n);
                self.d.b.copy_within(last..last + n, out);
                self.p.b.copy_within(last..last + n, out);
            }
        }
        drop(products);
        gates.link.recycle(message);
        Ok(())
    }

    /// Loads the lanes of the words `from..to`, one chunk, as columns.
    fn load(&mut self, keys: &Keys, cursor: &mut Cursor<'_>, from: usize, to: usize) {
        let n = to - from;
        let base = from * self.bits;
        let bits = self.bits;
        // d and p, own and next share: tile[k][column][block].
        let mut tile = [[[0u64; TILE]; 64]; 4];
        let mut block = [[0u64; 64]; 4];
        for first in (0..n).step_by(TILE) {
            let count = TILE.min(n - first);
            if count == TILE
                && let Some((rows, pivot)) = cursor.take(64 * TILE)
            {
                let at = base + first;
                load_tile(
                    &keys.a[rows..rows + 64 * TILE],
                    keys.a[pivot],
                    bits,
                    n,
                    [&mut self.d.a[at..], &mut self.p.a[at..]],
                    &mut tile[0],
                    &mut block[0],
                );
                load_tile(
                    &keys.b[rows..rows + 64 * TILE],
                    keys.b[pivot],
                    bits,
                    n,
                    [&mut self.d.b[at..], &mut self.p.b[at..]],
                    &mut tile[0],
                    &mut block[0],
                );
                continue;
            }
            for t in 0..count {
                if let Some((rows, pivot)) = cursor.take(64) {
                    let (pa, pb) = (keys.a[pivot], keys.b[pivot]);
                    for (side, (rows, pivot)) in
                        [(&keys.a[rows..rows + 64], pa), (&keys.b[rows..rows + 64], pb)]
                            .into_iter()
                            .enumerate()
                    {
                        for (out, row) in block[side].iter_mut().zip(rows) {
                            *out = row ^ pivot;
                        }
                        transpose64(&mut block[side]);
                        for (j, column) in block[side][..bits].iter().enumerate() {
                            tile[side][j][t] = *column;
                            tile[side + 2][j][t] = (pivot >> j & 1).wrapping_neg();
                        }
                    }
                } else {
                    let [da, db, pa, pb] = &mut block;
                    for (((da, db), pa), pb) in da.iter_mut().zip(db).zip(pa).zip(pb) {
                        let (row, pivot) = cursor.lane().unwrap_or((0, 0));
                        (*pa, *pb) = (keys.a[pivot], keys.b[pivot]);
                        (*da, *db) = (keys.a[row] ^ *pa, keys.b[row] ^ *pb);
                    }
                    for (block, tile) in block.iter_mut().zip(&mut tile) {
                        transpose64(block);
                        for (column, word) in tile.iter_mut().zip(&block[..bits]) {
                            column[t] = *word;
                        }
                    }
                }
            }
            let arenas = [&mut self.d.a, &mut self.d.b, &mut self.p.a, &mut self.p.b];
            for (columns, arena) in tile.iter().zip(arenas) {
                for (j, column) in columns[..bits].iter().enumerate() {
                    let out = &mut arena[base + j * n + first..][..count];
                    // A whole tile is one store of a known length.
                    match <&mut [u64; TILE]>::try_from(&mut *out) {
                        Ok(out) => *out = *column,
                        Err(_) => out.copy_from_slice(&column[..count]),
                    }
                }
            }
        }
        block.zeroize();
        tile.zeroize();
    }
}

/// One share of a tile whose lanes all meet one pivot: the columns of row ^ pivot and of the pivot, `stride` words apart.
fn load_tile(
    rows: &[u64],
    pivot: u64,
    bits: usize,
    stride: usize,
    [d, p]: [&mut [u64]; 2],
    tile: &mut [[u64; TILE]; 64],
    block: &mut [u64; 64],
) {
    let (blocks, _) = rows.as_chunks::<64>();
    for (t, rows) in blocks.iter().enumerate() {
        for (out, row) in block.iter_mut().zip(rows) {
            *out = row ^ pivot;
        }
        transpose64(block);
        for (column, word) in tile.iter_mut().zip(&*block) {
            column[t] = *word;
        }
    }
    let columns = tile[..bits].iter().enumerate();
    for ((j, column), (d, p)) in columns.zip(d.chunks_mut(stride).zip(p.chunks_mut(stride))) {
        d[..TILE].copy_from_slice(column);
        p[..TILE].fill((pivot >> j & 1).wrapping_neg());
    }
}

fn scope(step: u32, chunk: u32) -> Scope {
    Scope {
        phase: Phase::Sort,
        step,
        chunk,
    }
}

/// Takes in a group's products of the bit before, if there was one.
fn receive(gates: &mut Gates<'_>, group: &mut Group, less: &mut Column) -> Result<(), TallyError> {
    if let Some(pending) = group.pending.take() {
        let message = gates.recv_products(pending)?;
        for (lt, z) in less.b[group.from..group.to].iter_mut().zip(words(&message)) {
            *lt ^= z;
        }
        gates.link.recycle(message);
    }
    Ok(())
}

/// Walks over the lanes of all runs.
struct Cursor<'a> {
    runs: &'a [Run],
    run: usize,
    at: usize,
}

impl Cursor<'_> {
    /// When the next `lanes` lanes are of one run: their first row and the pivot.
    fn take(&mut self, lanes: usize) -> Option<(usize, usize)> {
        let run = self.runs.get(self.run)?;
        if run.len - self.at < lanes {
            return None;
        }
        let rows = run.from + self.at;
        self.at += lanes;
        self.skip_ended();
        Some((rows, run.pivot))
    }

    /// The next lane's row and pivot.
    fn lane(&mut self) -> Option<(usize, usize)> {
        let run = self.runs.get(self.run)?;
        let row = run.from + self.at;
        self.at += 1;
        self.skip_ended();
        Some((row, run.pivot))
    }

    fn skip_ended(&mut self) {
        while self.runs.get(self.run).is_some_and(|run| self.at >= run.len) {
            self.run += 1;
            self.at = 0;
        }
    }
}
