//! The sort of shuffled rows by secret distinct keys: a quicksort whose comparison bits are opened.
//!
//! The rows were shuffled by a permutation that nobody knows and the keys are distinct, so the opened bits are those of
//! a uniformly random permutation, whatever the public rule that picks the pivots. One level of all segments runs at a
//! time: compare (see [`compare`]), open, partition. First a sample is sorted and serves as pivots for the rest, so that
//! a row meets little more than log2 of the number of rows in pivots. Only the keys move; the caller moves the wide rows
//! once, by the order that comes out.

pub(crate) mod compare;
mod segments;
pub mod transcript;

use zeroize::Zeroize;

use crate::channel::{Phase, Scope};
use crate::error::{ParamsError, TallyError};
use crate::gates::Gates;
use crate::observer::Opening;
use crate::shuffle::Shuffled;
use compare::Comparer;
pub(crate) use segments::Run;
use segments::{Level, Segment};

/// How the sort trades comparisons for rounds. All three parties must use the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortParams {
    /// A segment is split into at least this many parts a level, 2 to 64.
    pub fan_out: usize,
    /// Segments up to this many rows are finished by comparing all pairs, 2 to 64.
    pub finish: usize,
    /// Comparisons a level may make when its rounds cost more than they do: small levels raise their fan-out up to it.
    pub free_lanes: usize,
    /// Levels of at least this many comparisons use the ripple comparator (fewest ANDs), smaller ones the tree (fewest
    /// rounds).
    pub ripple_from: usize,
    /// Comparisons in one message of the ripple comparator; several messages are under way at a time.
    pub chunk_lanes: usize,
    /// AND gates that may wait within a level before their proof begins, riding on the level's own rounds. 48 bytes for 64 gates.
    pub waiting_gates: usize,
}

impl SortParams {
    /// For parties in one building: few comparisons.
    pub const LAN: Self = Self {
        fan_out: 2,
        finish: 3,
        free_lanes: 1 << 16,
        ripple_from: 1 << 17,
        chunk_lanes: 1 << 18,
        waiting_gates: 1 << 24,
    };

    /// For parties tens of milliseconds apart: few rounds.
    pub const WAN: Self = Self {
        fan_out: 3,
        finish: 8,
        free_lanes: 1 << 21,
        ripple_from: usize::MAX,
        chunk_lanes: 1 << 18,
        waiting_gates: 1 << 29,
    };

    /// Checks the ranges.
    ///
    /// # Errors
    /// The first parameter that is out of range.
    pub fn check(&self) -> Result<(), ParamsError> {
        if !(2..=64).contains(&self.fan_out) {
            return Err(ParamsError::FanOut(self.fan_out));
        }
        if !(2..=64).contains(&self.finish) {
            return Err(ParamsError::Finish(self.finish));
        }
        let lanes = self.chunk_lanes;
        if !(4096..=1 << 23).contains(&lanes) || !lanes.is_multiple_of(4096) {
            return Err(ParamsError::ChunkLanes(lanes));
        }
        if !(1 << 6..=1 << 30).contains(&self.waiting_gates) {
            return Err(ParamsError::WaitingGates(self.waiting_gates));
        }
        Ok(())
    }
}

impl Default for SortParams {
    fn default() -> Self {
        Self::LAN
    }
}

/// This party's shares of the keys, and which row each belongs to.
pub(crate) struct Keys {
    pub(crate) a: Vec<u64>,
    pub(crate) b: Vec<u64>,
    pub(crate) ids: Vec<u32>,
}

impl Keys {
    /// The keys of shuffled rows: the low `bits` bits of the first word.
    pub(crate) fn of(table: &Shuffled, bits: usize) -> Self {
        let mask = u64::MAX >> (64 - bits);
        let key = |rows: &[u64]| {
            rows.iter()
                .step_by(table.width)
                .map(|word| word & mask)
                .collect::<Vec<u64>>()
        };
        let (a, b) = (key(&table.own), key(&table.next));
        let ids = (0..a.len() as u32).collect();
        Self { a, b, ids }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.a.zeroize();
        self.b.zeroize();
    }
}

/// A row of the sample for every so many rows.
const SAMPLE_ONE_IN: usize = 64;

/// Sorts by the low `bits` bits of the keys: returns the row numbers in ascending order of their keys.
pub(crate) fn sort(
    gates: &mut Gates<'_>,
    mut keys: Keys,
    bits: usize,
    params: &SortParams,
) -> Result<Vec<u32>, TallyError> {
    let mut comparer = Comparer::new(bits);
    drive(&mut keys, params, |due| {
        let Due {
            step,
            keys,
            level,
            done,
            total,
        } = due;
        gates.link.observer.progress(Phase::Sort, done, total);
        let less = comparer.less(gates, step, keys, &level.runs, params)?;
        let scope = Scope {
            phase: Phase::Sort,
            step,
            chunk: 0,
        };
        let less = gates.validate(scope, less)?;
        gates.open(scope, Opening::Comparisons { step }, less, level.lanes)
    })?;
    Ok(std::mem::take(&mut keys.ids))
}

/// A level whose comparisons are due.
struct Due<'a> {
    step: u32,
    keys: &'a Keys,
    level: &'a Level,
    /// Work done and in all, of the current pass over the rows.
    done: u64,
    total: u64,
}

/// Sorts the rows by the bits that `open` gives for each level: lane by lane, in the order of the level's runs, whether the row is
/// less than the pivot. What is compared with what depends on sizes and on these bits alone.
fn drive(
    keys: &mut Keys,
    params: &SortParams,
    mut open: impl FnMut(Due<'_>) -> Result<Vec<u64>, TallyError>,
) -> Result<(), TallyError> {
    let rows = keys.ids.len();
    let mut scratch = segments::Scratch::default();
    let (mut step, mut sorted) = (0, 0);
    for size in samples(rows, params).into_iter().chain([rows]) {
        let mut segments = vec![Segment {
            start: 0,
            len: size,
            sorted,
        }];
        let total = segments.iter().map(Segment::work).sum::<u64>();
        loop {
            segments.retain(|segment| !segment.is_sorted());
            if segments.is_empty() {
                break;
            }
            let left: u64 = segments.iter().map(Segment::work).sum();
            let level = Level::plan(&segments, params);
            let bits = open(Due {
                step,
                keys,
                level: &level,
                done: total - left.min(total),
                total,
            })?;
            segments = level.partition(step, keys, &bits, &mut scratch)?;
            step += 1;
        }
        sorted = size;
    }
    Ok(())
}

/// The sizes of the samples, each of which is sorted with the help of the one before it.
fn samples(rows: usize, params: &SortParams) -> Vec<usize> {
    // The largest that free_lanes allow to sort in one level.
    let at_once = (2 * params.free_lanes).isqrt();
    let mut sizes = Vec::new();
    let mut size = rows;
    while size > at_once {
        size = (size / SAMPLE_ONE_IN).max(at_once.min(size / 3));
        if size < 2 {
            break;
        }
        sizes.push(size);
    }
    sizes.reverse();
    sizes
}

#[cfg(test)]
mod tests;
