//! Tags on the rows of a shuffle, and the check that they came through whole.
//!
//! Fresh keys k_j in GF(2^64), shared and known to nobody, one for each word of a row; t = sum_j k_j w_j is one more word. Of a
//! product of sums, P_i can compute the terms t_i = sum_j k_(j,i) (w_(j,i) + w_(j,i+1)) + k_(j,i+1) w_(j,i); masked by PRSS it goes
//! to P_{i-1}, as with an AND. One word a row.
//!
//! After the shuffle, behind a barrier, the keys are opened: nobody chooses a message knowing them. With L(row) = sum_j k_j w_j + t
//! the parties compare hashes: L(X1) = L(Y1) between P_1 and each of P_2 and P_3, L(X2) = L(Y2) between P_2 and P_3, L(A~) + L(B~) =
//! L(C~) between P_1 and each of P_2 and P_3. Whoever sent a wrong row, or a wrong tag, has two honest parties at the ends of one of
//! these. One round for the keys, one for the hashes. A wrong row passes with probability 2^-64.
//!
//! Each error is judged before the next permutation that its author does not know. Else it could put an error into a row, take it out
//! where it guesses that the row went, and read from the outcome where it did: so P_3, whose tags pi12 moves, is judged by P_1 and
//! P_2 at X1 and Y1.

use zeroize::Zeroizing;

use super::{Kept, MESSAGE_WORDS, Table};
use crate::channel::{Label, Scope};
use crate::error::{CheckError, TallyError};
use crate::gates::Gates;
use crate::link::{put_words, words};
use crate::observer::Opening;
use crate::prss::Purpose;
use crate::role::{Neighbour, Role};
use crate::share::{Column, grow};
use crate::simd::Kernels;

/// Rows at a time: their sums are enough bytes to keep a vectorised hash busy, and stay in the nearest cache.
const BLOCK: usize = 2048;
/// The chunk that labels the tags' own messages; the rows' have chunks 0 and 1.
const TAGS: u32 = 2;
/// The chunk that labels the hashes.
const HASHES: u32 = 3;
/// Bytes of a hash.
const HASH: usize = 32;

/// Draws keys and appends a tag to every row.
pub(super) fn append(
    gates: &mut Gates<'_>,
    scope: Scope,
    mut table: Table,
) -> Result<(Table, Column), TallyError> {
    let width = table.width;
    let rows = table.own.len() / width.max(1);
    let keys = [Neighbour::Prev, Neighbour::Next].map(|with| {
        let mut keys = vec![0; width];
        gates.prss.stream(with, Purpose::TagKey, scope).fill(&mut keys);
        keys
    });
    let [own_key, next_key] = keys;
    let keys = Column::from_shares(own_key, next_key);
    widen(&mut table.own, width, rows);
    widen(&mut table.next, width, rows);
    table.width = width + 1;
    // (k_i + k_{i+1}) w_i + k_i w_{i+1}; the tag's own place, which is zero, counts for nothing.
    let both = keys.a.iter().zip(&keys.b).map(|(a, b)| a ^ b);
    let both: Zeroizing<Vec<u64>> = Zeroizing::new(both.chain([0]).collect());
    let own_key: Zeroizing<Vec<u64>> = Zeroizing::new(keys.a.iter().copied().chain([0]).collect());
    let kernels = Kernels::best();
    let mut masks =
        [Neighbour::Prev, Neighbour::Next].map(|with| gates.prss.stream(with, Purpose::Tag, scope));
    let mut tags = Zeroizing::new(vec![0; MESSAGE_WORDS.min(rows)]);
    let part_words = MESSAGE_WORDS * table.width;
    let parts = table
        .own
        .chunks_mut(part_words)
        .zip(table.next.chunks_mut(part_words));
    gates.link.count_round();
    for (part, (own, next)) in parts.enumerate() {
        let label = Label {
            scope: Scope { chunk: TAGS, ..scope },
            round: part as u32,
        };
        let tags = &mut tags[..own.len() / (width + 1)];
        tags.fill(0);
        kernels.row_sums(own, &both, tags);
        kernels.row_sums(next, &own_key, tags);
        masks.iter_mut().for_each(|mask| mask.mask(tags));
        put_tags(own, width, tags.iter().copied());
        let mut message = gates.link.buffer(8 * tags.len());
        put_words(&mut message, tags);
        gates.link.send(Neighbour::Prev, label, message)?;
        let message = gates.link.recv(Neighbour::Next, label, 8 * tags.len())?;
        put_tags(next, width, words(&message));
        gates.link.recycle(message);
    }
    Ok((table, keys))
}

/// Makes room for a tag behind each row: in place, from the last row to the first, where the rows came with room for it.
fn widen(words: &mut Vec<u64>, width: usize, rows: usize) {
    grow(words, rows * (width + 1));
    for row in (0..rows).rev() {
        words.copy_within(row * width..(row + 1) * width, row * (width + 1));
        words[row * (width + 1) + width] = 0;
    }
}

/// Puts each row's tag behind its `width` words.
fn put_tags(rows: &mut [u64], width: usize, tags: impl Iterator<Item = u64>) {
    for (row, tag) in rows.chunks_exact_mut(width + 1).zip(tags) {
        row[width] = tag;
    }
}

/// Opens the keys and compares what the rows on their way and the result add up to.
///
/// # Errors
/// Also when a hash differs: some row or tag is wrong.
pub(super) fn check(
    gates: &mut Gates<'_>,
    scope: Scope,
    keys: Column,
    table: &Table,
    kept: Kept,
) -> Result<(), TallyError> {
    let lanes = 64 * keys.words();
    let keys = gates.validate(scope, keys)?;
    let mut weights = gates.open(scope, Opening::TagKeys, keys, lanes)?;
    // The tag itself counts once.
    weights.push(1);
    let sums = |parts: &[&[u64]]| hash_of_sums(parts, &weights);
    let Kept { first, second } = &kept;
    let (to_next, to_prev) = match gates.role() {
        Role::P1 => {
            let (moved, result) = (sums(&[first]), sums(&[&table.own, &table.next]));
            (vec![moved, result], vec![moved, result])
        }
        Role::P2 => (vec![sums(&[second])], vec![sums(&[first]), sums(&[&table.next])]),
        Role::P3 => (vec![sums(&[first]), sums(&[&table.own])], vec![sums(&[second])]),
    };
    drop(kept);
    let at = Scope {
        chunk: HASHES,
        ..scope
    };
    let label = Label { scope: at, round: 0 };
    let own = [
        (Neighbour::Next, to_next.concat()),
        (Neighbour::Prev, to_prev.concat()),
    ];
    gates.link.count_round();
    for (neighbour, hashes) in &own {
        gates.link.send(*neighbour, label, hashes.clone())?;
    }
    let mut differs = None;
    for (neighbour, hashes) in &own {
        let theirs = gates.link.recv(*neighbour, label, hashes.len())?;
        if theirs != *hashes {
            differs.get_or_insert(gates.role().neighbour(*neighbour));
        }
    }
    match differs {
        None => Ok(()),
        Some(with) => {
            let suspects = gates.others();
            Err(gates.failed(at, CheckError::Shuffle { with, suspects }))
        }
    }
}

/// BLAKE3 of L of every row of the sum of `parts`.
fn hash_of_sums(parts: &[&[u64]], weights: &[u64]) -> [u8; HASH] {
    let width = weights.len();
    let kernels = Kernels::best();
    let mut hash = blake3::Hasher::new();
    hash.update(b"tally-mpc shuffle v2");
    let mut sums = Zeroizing::new(vec![0; BLOCK]);
    let mut bytes = Zeroizing::new(vec![0; 8 * BLOCK]);
    let length = parts.first().map_or(0, |part| part.len());
    for from in (0..length).step_by(BLOCK * width) {
        let to = length.min(from + BLOCK * width);
        let n = (to - from) / width;
        sums[..n].fill(0);
        for part in parts {
            kernels.row_sums(&part[from..to], weights, &mut sums[..n]);
        }
        put_words(&mut bytes[..8 * n], &sums[..n]);
        hash.update(&bytes[..8 * n]);
    }
    hash.finalize().into()
}
