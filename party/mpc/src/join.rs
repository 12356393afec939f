//! The roll join and validity of every sorted row.
//!
//! Lanes are strided: with W = ceil(M / 64) words, row r is bit r / W of word r % W. Neighbouring rows are then
//! neighbouring words, and prefixes and scans work on whole words; 64 strips remain to be joined at the end.
//!
//! Prefix-XOR of the deltas gives every row its group's credential, live and enrolled (local). Then, with
//! eq = AND over 64 bits of NOT (credential ^ group credential), s = is_station ^ is_paper, b = live AND NOT is_roll:
//! valid = (s AND b) ^ (b AND NOT s AND enrolled AND eq), which is the same as
//! live AND NOT is_roll AND (is_station OR is_paper OR (enrolled AND eq)). 67 ANDs a row, 7 rounds.

use zeroize::{Zeroize, Zeroizing};

use crate::channel::{Phase, Scope};
use crate::error::TallyError;
use crate::gates::Gates;
use crate::rows::RowLayout;
use crate::share::Column;
use crate::shuffle::Shuffled;
use crate::transpose::transpose64;

/// Bits of a credential.
const CREDENTIAL: usize = 64;
/// Blocks transposed before their columns are written: a cache line of each.
const TILE: usize = 8;

/// The sorted rows as columns, in strided lanes.
pub(crate) struct Joined {
    pub(crate) is_roll: Column,
    pub(crate) is_station: Column,
    pub(crate) is_paper: Column,
    /// The group's live flag.
    live: Column,
    /// The group's enrolled flag.
    enrolled: Column,
    /// The payload's bits, least significant first.
    pub(crate) payload: Vec<Column>,
    /// Credential of the row ^ credential of its group.
    difference: Vec<Column>,
}

impl Joined {
    /// Brings the rows of `table` into `order` and turns them into columns.
    pub(crate) fn load(table: &Shuffled, order: &[u32], format: &RowLayout, payload_bits: usize) -> Self {
        let length = order.len().div_ceil(64);
        let small = format.payload_bit() + payload_bits - format.key_bits();
        // Flags and payload from the bit after the key on, then the credential's difference.
        let mut shares = [&table.own, &table.next].map(|rows| {
            let mut columns: Vec<Vec<u64>> = (0..small + CREDENTIAL).map(|_| vec![0; length]).collect();
            load_share(rows, table.width, order, format, small, &mut columns);
            columns.into_iter()
        });
        let mut column = || Column {
            a: shares[0].next().unwrap_or_default(),
            b: shares[1].next().unwrap_or_default(),
        };
        Self {
            is_roll: column(),
            is_station: column(),
            is_paper: column(),
            live: column(),
            enrolled: column(),
            payload: (0..payload_bits).map(|_| column()).collect(),
            difference: (0..CREDENTIAL).map(|_| column()).collect(),
        }
    }

    /// The valid rows. Uses up the columns that only validity needs.
    pub(crate) fn valid(&mut self, gates: &mut Gates<'_>) -> Result<Column, TallyError> {
        let role = gates.role();
        let mut tape = gates.tape(Scope {
            phase: Phase::Join,
            step: 0,
            chunk: 0,
        });
        let mut equal = std::mem::take(&mut self.difference);
        equal.iter_mut().for_each(|column| column.not_assign(role));
        while equal.len() > 1 {
            let upper = equal.split_off(equal.len() / 2);
            gates.and_assign(&mut tape, &mut equal, &upper)?;
        }
        let mut tape = gates.tape(Scope {
            phase: Phase::Join,
            step: 1,
            chunk: 0,
        });
        let mut ballot = self.is_roll.duplicate();
        ballot.not_assign(role);
        let live = gates.and1(&mut tape, &ballot, &self.live)?;
        let mut station = self.is_station.duplicate();
        station.xor_assign(&self.is_paper);
        let mut products = gates.and(&mut tape, &[(&station, &live), (&live, &self.enrolled)])?;
        let may = products.pop().expect("two products");
        let mut valid = products.pop().expect("two products");
        // b AND enrolled AND NOT s AND eq: two more factors.
        station.not_assign(role);
        let may = gates.and1(&mut tape, &may, &station)?;
        for equal in &equal {
            valid.xor_assign(&gates.and1(&mut tape, &may, equal)?);
        }
        Ok(valid)
    }
}

/// The columns of one share: `small` bits from the end of the key on, then the credential differences.
fn load_share(
    rows: &[u64],
    width: usize,
    order: &[u32],
    format: &RowLayout,
    small: usize,
    columns: &mut [Vec<u64>],
) {
    let length = order.len().div_ceil(64);
    let (delta, credential) = (format.delta_word(), format.credential_word());
    // Running prefixes: the credential's bits, live, enrolled.
    let mut prefix = Zeroizing::new([0u64; CREDENTIAL + 2]);
    let (live, enrolled) = (
        format.live_bit() - format.key_bits(),
        format.enrolled_bit() - format.key_bits(),
    );
    // A tag behind the row's words is of no more use.
    let mut blocks: Vec<[u64; 64]> = vec![[0; 64]; format.words()];
    let mut tile: Vec<[u64; TILE]> = vec![[0; TILE]; small + CREDENTIAL];
    for first in (0..length).step_by(TILE) {
        let count = TILE.min(length - first);
        for t in 0..count {
            for lane in 0..64 {
                match order.get(lane * length + first + t) {
                    Some(&row) => {
                        let row = &rows[row as usize * width..][..width];
                        for (block, word) in blocks.iter_mut().zip(row) {
                            block[lane] = *word;
                        }
                    }
                    None => blocks.iter_mut().for_each(|block| block[lane] = 0),
                }
            }
            blocks.iter_mut().for_each(transpose64);
            for (i, column) in tile[..small].iter_mut().enumerate() {
                let bit = format.key_bits() + i;
                column[t] = blocks[bit / 64][bit % 64];
            }
            for (i, at) in [(live, CREDENTIAL), (enrolled, CREDENTIAL + 1)] {
                prefix[at] ^= tile[i][t];
                tile[i][t] = prefix[at];
            }
            for j in 0..CREDENTIAL {
                prefix[j] ^= blocks[delta][j];
                tile[small + j][t] = blocks[credential][j] ^ prefix[j];
            }
        }
        for (column, words) in columns.iter_mut().zip(&tile) {
            let out = &mut column[first..first + count];
            // A whole tile is one store of a known length.
            match <&mut [u64; TILE]>::try_from(&mut *out) {
                Ok(out) => *out = *words,
                Err(_) => out.copy_from_slice(&words[..count]),
            }
        }
    }
    // What the strips before each strip add up to.
    let carried = |total: u64| {
        let mut sum = total;
        for shift in [1, 2, 4, 8, 16, 32] {
            sum ^= sum << shift;
        }
        sum << 1
    };
    let difference = (0..CREDENTIAL).map(|j| (small + j, j));
    for (column, at) in difference.chain([(live, CREDENTIAL), (enrolled, CREDENTIAL + 1)]) {
        let carry = carried(prefix[at]);
        columns[column].iter_mut().for_each(|word| *word ^= carry);
    }
    blocks.iter_mut().for_each(Zeroize::zeroize);
    tile.iter_mut().for_each(Zeroize::zeroize);
}

#[cfg(test)]
mod tests;
