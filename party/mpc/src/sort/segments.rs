//! Which rows a level compares with which pivots, and where the opened bits send them. All of it is public.

use super::{Keys, SortParams};
use crate::error::TallyError;
use crate::share::grow;
use zeroize::Zeroize;

/// Consecutive rows, of which the first `sorted` are in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) sorted: usize,
}

impl Segment {
    pub(super) fn is_sorted(&self) -> bool {
        self.len <= 1 || self.sorted == self.len
    }

    /// A measure of the work left, for progress: log2 of the length for each row.
    pub(super) fn work(&self) -> u64 {
        if self.is_sorted() {
            0
        } else {
            self.len as u64 * u64::from(self.len.ilog2() + 1)
        }
    }
}

/// Rows `from..from + len` are each compared with the row `pivot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) from: usize,
    pub(crate) len: usize,
    pub(crate) pivot: usize,
}

/// One segment's part of a level.
struct Split {
    segment: Segment,
    /// The pivots' runs, `runs[first..first + pivots]`.
    first: usize,
    pivots: usize,
    /// The lane of the first run's first comparison.
    lane: usize,
}

/// The comparisons of one level.
pub(super) struct Level {
    splits: Vec<Split>,
    pub(super) runs: Vec<Run>,
    pub(super) lanes: usize,
}

/// Rows on their way to another place.
#[derive(Default)]
pub(super) struct Scratch {
    a: Vec<u64>,
    b: Vec<u64>,
    ids: Vec<u32>,
    buckets: Vec<u32>,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.a.zeroize();
        self.b.zeroize();
    }
}

impl Scratch {
    fn reserve(&mut self, rows: usize) {
        grow(&mut self.a, rows);
        grow(&mut self.b, rows);
        if self.ids.len() < rows {
            self.ids.resize(rows, 0);
        }
    }
}

impl Level {
    /// Picks pivots for every segment. A segment with sorted rows takes evenly spaced ones of them; another takes its
    /// first rows, and compares those among one another too.
    pub(super) fn plan(segments: &[Segment], params: &SortParams) -> Self {
        let rows: usize = segments.iter().map(|s| s.len - s.sorted).sum();
        let all_pairs: u128 = segments
            .iter()
            .map(|s| s.len as u128 * (s.len as u128 - 1) / 2)
            .sum();
        let finish = all_pairs <= params.free_lanes as u128;
        let many = (params.free_lanes / rows.max(1)).clamp(params.fan_out - 1, 63.max(params.fan_out - 1));
        let mut level = Self {
            splits: Vec::with_capacity(segments.len()),
            runs: Vec::new(),
            lanes: 0,
        };
        for &segment in segments {
            let small = segment.len <= params.finish;
            let Segment { start, len, sorted } = segment;
            let first = level.runs.len();
            let lane = level.lanes;
            let pivots = if sorted > 0 {
                let pivots = if small { sorted } else { many.min(sorted) };
                for t in 0..pivots {
                    let pick = (t + 1) * (sorted + 1) / (pivots + 1) - 1;
                    level.push(Run {
                        from: start + sorted,
                        len: len - sorted,
                        pivot: start + pick,
                    });
                }
                pivots
            } else {
                let pivots = if small || finish {
                    len - 1
                } else {
                    many.min(len - 1)
                };
                for t in 0..pivots {
                    level.push(Run {
                        from: start + t + 1,
                        len: len - t - 1,
                        pivot: start + t,
                    });
                }
                pivots
            };
            level.splits.push(Split {
                segment,
                first,
                pivots,
                lane,
            });
        }
        level
    }

    fn push(&mut self, run: Run) {
        self.lanes += run.len;
        self.runs.push(run);
    }

    /// Moves the rows to where the bits (row is less than pivot) send them; returns the segments that are left.
    pub(super) fn partition(
        &self,
        step: u32,
        keys: &mut Keys,
        bits: &[u64],
        scratch: &mut Scratch,
    ) -> Result<Vec<Segment>, TallyError> {
        let mut out = Vec::with_capacity(self.splits.len() * 2);
        let (mut lanes, mut picks) = (Vec::new(), Vec::new());
        for split in &self.splits {
            let fresh = split.segment.sorted == 0;
            let runs = &self.runs[split.first..split.first + split.pivots];
            scratch.reserve(split.segment.len);
            if let [run] = runs {
                // A fresh segment's pivot is a sorted row by itself.
                let segment = Segment {
                    sorted: split.segment.sorted.max(1),
                    ..split.segment
                };
                let pick = run.pivot - segment.start;
                split_in_two(keys, bits, segment, split.lane, pick, scratch, &mut out);
                continue;
            }
            lanes.clear();
            picks.clear();
            let mut lane = split.lane;
            for run in runs {
                lanes.push(lane);
                lane += run.len;
                picks.push(run.pivot - split.segment.start);
            }
            let mut segment = split.segment;
            if fresh {
                order_pivots(step, keys, bits, segment.start, &lanes)?;
                // The other rows' lanes come after the pivots' own.
                for (t, lane) in lanes.iter_mut().enumerate() {
                    *lane += split.pivots - t - 1;
                }
                segment.sorted = split.pivots;
            }
            split_in_many(keys, bits, segment, &picks, &lanes, scratch, &mut out);
        }
        Ok(out)
    }
}

#[inline(always)]
fn bit(bits: &[u64], lane: usize) -> usize {
    (bits[lane / 64] >> (lane % 64) & 1) as usize
}

/// Brings the first rows of a segment, which were all compared with one another, into order.
fn order_pivots(
    step: u32,
    keys: &mut Keys,
    bits: &[u64],
    start: usize,
    lanes: &[usize],
) -> Result<(), TallyError> {
    let q = lanes.len();
    let mut ranks = vec![0usize; q];
    for t in 0..q {
        for u in t + 1..q {
            if bit(bits, lanes[t] + u - t - 1) == 1 {
                ranks[t] += 1;
            } else {
                ranks[u] += 1;
            }
        }
    }
    let mut order = vec![usize::MAX; q];
    for (pivot, &rank) in ranks.iter().enumerate() {
        order[rank] = pivot;
    }
    if order.contains(&usize::MAX) {
        return Err(TallyError::Contradiction { step, rows: q });
    }
    let reorder = |words: &mut [u64]| {
        let mut sorted: Vec<u64> = order.iter().map(|&from| words[start + from]).collect();
        words[start..start + q].copy_from_slice(&sorted);
        sorted.zeroize();
    };
    reorder(&mut keys.a);
    reorder(&mut keys.b);
    let ids: Vec<u32> = order.iter().map(|&from| keys.ids[start + from]).collect();
    keys.ids[start..start + q].copy_from_slice(&ids);
    Ok(())
}

/// Stable partition of a segment by its sorted row number `pick`; `first_lane` is that of the first unsorted row.
fn split_in_two(
    keys: &mut Keys,
    bits: &[u64],
    segment: Segment,
    first_lane: usize,
    pick: usize,
    scratch: &mut Scratch,
    out: &mut Vec<Segment>,
) {
    let Segment { start, len, sorted } = segment;
    let a = &mut keys.a[start..start + len];
    let b = &mut keys.b[start..start + len];
    let ids = &mut keys.ids[start..start + len];
    let (high_a, high_b, high_ids) = (
        &mut scratch.a[..len],
        &mut scratch.b[..len],
        &mut scratch.ids[..len],
    );
    let pivot = (a[pick], b[pick], ids[pick]);
    let mut high = sorted - pick - 1;
    high_a[..high].copy_from_slice(&a[pick + 1..sorted]);
    high_b[..high].copy_from_slice(&b[pick + 1..sorted]);
    high_ids[..high].copy_from_slice(&ids[pick + 1..sorted]);
    let mut low = pick;
    for i in sorted..len {
        let less = bit(bits, first_lane + i - sorted);
        let (row_a, row_b, id) = (a[i], b[i], ids[i]);
        a[low] = row_a;
        b[low] = row_b;
        ids[low] = id;
        high_a[high] = row_a;
        high_b[high] = row_b;
        high_ids[high] = id;
        low += less;
        high += 1 - less;
    }
    (a[low], b[low], ids[low]) = pivot;
    a[low + 1..].copy_from_slice(&high_a[..high]);
    b[low + 1..].copy_from_slice(&high_b[..high]);
    ids[low + 1..].copy_from_slice(&high_ids[..high]);
    out.push(Segment {
        start,
        len: low,
        sorted: pick,
    });
    out.push(Segment {
        start: start + low + 1,
        len: high,
        sorted: sorted - pick - 1,
    });
}

/// Stable partition of a segment by several of its sorted rows, in ascending order of `picks`; `lanes` are those of
/// each pivot's comparison with the first unsorted row.
fn split_in_many(
    keys: &mut Keys,
    bits: &[u64],
    segment: Segment,
    picks: &[usize],
    lanes: &[usize],
    scratch: &mut Scratch,
    out: &mut Vec<Segment>,
) {
    let Segment { start, len, sorted } = segment;
    scratch.buckets.clear();
    let mut counts = vec![0usize; picks.len() + 1];
    for row in 0..len - sorted {
        let bucket: usize = lanes.iter().map(|lane| 1 - bit(bits, lane + row)).sum();
        counts[bucket] += 1;
        scratch.buckets.push(bucket as u32);
    }
    // Bucket t holds the sorted rows between pivots t - 1 and t, then its unsorted ones; pivot t follows it.
    let mut places = Vec::with_capacity(counts.len());
    let (mut at, mut from) = (0, 0);
    for (t, &count) in counts.iter().enumerate() {
        let to = picks.get(t).copied().unwrap_or(sorted);
        let segment = Segment {
            start: start + at,
            len: to - from + count,
            sorted: to - from,
        };
        for (place, row) in (at..).zip(from..(to + 1).min(sorted)) {
            // The pivot itself goes behind its bucket.
            let place = if row == to { at + segment.len } else { place };
            scratch.a[place] = keys.a[start + row];
            scratch.b[place] = keys.b[start + row];
            scratch.ids[place] = keys.ids[start + row];
        }
        places.push(at + segment.sorted);
        at += segment.len + 1;
        from = to + 1;
        out.push(segment);
    }
    for (row, &bucket) in (sorted..len).zip(&scratch.buckets) {
        let place = &mut places[bucket as usize];
        scratch.a[*place] = keys.a[start + row];
        scratch.b[*place] = keys.b[start + row];
        scratch.ids[*place] = keys.ids[start + row];
        *place += 1;
    }
    keys.a[start..start + len].copy_from_slice(&scratch.a[..len]);
    keys.b[start..start + len].copy_from_slice(&scratch.b[..len]);
    keys.ids[start..start + len].copy_from_slice(&scratch.ids[..len]);
}
