//! What a sort opens, as a function of the order of its rows, and the order that openings show: the simulator of the sort.
//!
//! All that a sort opens follows from public sizes and the order in which the shuffle left the rows, which is uniformly random. So
//! whoever draws a permutation draws everything that the parties see: [`openings`]. And whatever was opened is explained by one
//! permutation: [`ranks`].

use super::{Due, Keys, SortParams, drive};
use crate::error::TallyError;

/// The opened bits of one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// Comparisons.
    pub lanes: usize,
    /// Bit i is bit i % 64 of word i / 64: the row is less than the pivot.
    pub words: Vec<u64>,
}

/// What the sort of rows opens when row i stands at place `ranks[i]` of the sorted order.
///
/// # Errors
/// The ranks are not all different.
pub fn openings(ranks: &[u32], params: &SortParams) -> Result<Vec<Level>, TallyError> {
    let mut keys = Keys {
        a: ranks.iter().map(|&rank| u64::from(rank)).collect(),
        b: vec![0; ranks.len()],
        ids: (0..ranks.len() as u32).collect(),
    };
    let mut levels = Vec::new();
    drive(&mut keys, params, |Due { keys, level, .. }| {
        let mut words = vec![0u64; level.lanes.div_ceil(64)];
        let pairs = level
            .runs
            .iter()
            .flat_map(|run| (run.from..run.from + run.len).map(|row| (row, run.pivot)));
        for (lane, (row, pivot)) in pairs.enumerate() {
            words[lane / 64] |= u64::from(keys.a[row] < keys.a[pivot]) << (lane % 64);
        }
        levels.push(Level {
            lanes: level.lanes,
            words: words.clone(),
        });
        Ok(words)
    })?;
    Ok(levels)
}

/// The ranks of `rows` rows that `levels` show, or `None` if they are not what the sort of any order opens.
pub fn ranks(rows: usize, params: &SortParams, levels: &[Level]) -> Option<Vec<u32>> {
    let mut keys = Keys {
        a: vec![0; rows],
        b: vec![0; rows],
        ids: (0..rows as u32).collect(),
    };
    let mut left = levels.iter();
    drive(&mut keys, params, |Due { level, .. }| match left.next() {
        Some(opened) if opened.lanes == level.lanes && opened.words.len() == level.lanes.div_ceil(64) => {
            Ok(opened.words.clone())
        }
        _ => Err(TallyError::Stopped),
    })
    .ok()?;
    let mut ranks = vec![0; rows];
    for (rank, &id) in keys.ids.iter().enumerate() {
        ranks[id as usize] = rank as u32;
    }
    let explained = left.next().is_none() && openings(&ranks, params).ok()? == levels;
    explained.then_some(ranks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    fn permutation(len: u32, rng: &mut ChaCha20Rng) -> Vec<u32> {
        let mut out: Vec<u32> = (0..len).collect();
        for i in (1..out.len()).rev() {
            out.swap(i, rng.next_u32() as usize % (i + 1));
        }
        out
    }

    #[test]
    fn openings_show_the_order_and_nothing_but_an_order() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for params in [SortParams::LAN, SortParams::WAN] {
            let params = SortParams {
                free_lanes: params.free_lanes.min(200),
                ..params
            };
            for len in [0, 1, 2, 3, 10, 65, 500] {
                let order = permutation(len, &mut rng);
                let levels = openings(&order, &params).expect("distinct ranks");
                assert_eq!(ranks(len as usize, &params, &levels), Some(order));
            }
        }
        let params = SortParams::LAN;
        let mut levels = openings(&[2, 0, 1], &params).expect("distinct ranks");
        // Row 0 above row 1, row 1 above row 2, row 0 below row 2.
        levels[0].words[0] ^= 0b111;
        let shown = (0..8).filter(|bits| {
            levels[0].words[0] = *bits;
            ranks(3, &params, &levels).is_some()
        });
        assert_eq!(shown.count(), 6, "of eight patterns six are orders");
        levels.push(levels[0].clone());
        assert_eq!(ranks(3, &params, &levels), None, "a level too many");
        levels.truncate(1);
        levels[0].words.clear();
        assert_eq!(ranks(3, &params, &levels), None, "bits are missing");
    }
}
