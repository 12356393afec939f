//! The fixed form of a row in the shuffle: 64-bit words.
//!
//! Words 0.. hold, from bit 0: the key (order in the low bits, index above it, at most 64 bits in all), the flags
//! is_roll, is_station, is_paper, live delta, enrolled delta, and the payload. Then one word roll_delta and one word
//! credential. Order is 0 on roll rows and the ballot's number, from 1, on ballots: within an index that is the order of
//! the positions, and (index, order) is as distinct as (index, position), in fewer bits.

use crate::input::Shape;
use crate::layout::BallotLayout;

const FLAGS: usize = 5;

/// Where each field of a row is.
#[derive(Clone, Debug)]
pub(crate) struct RowLayout {
    order_bits: usize,
    key_bits: usize,
    small_words: usize,
}

impl RowLayout {
    pub(crate) fn new(layout: &BallotLayout, shape: &Shape) -> Self {
        let order_bits = (u64::BITS - shape.ballots().leading_zeros()) as usize;
        let key_bits = order_bits + layout.index_bits();
        let small_words = (key_bits + FLAGS + layout.payload_bits()).div_ceil(64);
        Self {
            order_bits,
            key_bits,
            small_words,
        }
    }

    /// Words of a row.
    pub(crate) fn words(&self) -> usize {
        self.small_words + 2
    }

    /// Width of the key, which is the low part of word 0.
    pub(crate) fn key_bits(&self) -> usize {
        self.key_bits
    }

    pub(crate) fn delta_word(&self) -> usize {
        self.small_words
    }

    pub(crate) fn credential_word(&self) -> usize {
        self.small_words + 1
    }

    pub(crate) fn roll_bit(&self) -> usize {
        self.key_bits
    }

    pub(crate) fn station_bit(&self) -> usize {
        self.key_bits + 1
    }

    pub(crate) fn paper_bit(&self) -> usize {
        self.key_bits + 2
    }

    pub(crate) fn live_bit(&self) -> usize {
        self.key_bits + 3
    }

    pub(crate) fn enrolled_bit(&self) -> usize {
        self.key_bits + 4
    }

    pub(crate) fn payload_bit(&self) -> usize {
        self.key_bits + FLAGS
    }

    /// XORs index and order into a row; `order` is at most the number of ballots.
    pub(crate) fn xor_key(&self, row: &mut [u64], index: u64, order: u64) {
        // A box has fewer than 2^32 rows, and an index at most 32 bits.
        row[0] ^= index << self.order_bits | order;
    }

    /// XORs the lowest bit of `value` into the bit `at`.
    pub(crate) fn xor_bit(&self, row: &mut [u64], at: usize, value: u64) {
        row[at / 64] ^= (value & 1) << (at % 64);
    }

    /// XORs a word into the bits from `at` on, across a word boundary. A field of the row always has a word behind it.
    pub(crate) fn xor_bits(&self, row: &mut [u64], at: usize, value: u64) {
        row[at / 64] ^= value << (at % 64);
        // Two shifts, so that a field at a boundary does not ask for a shift by 64; never a look at the value, which is a share.
        row[at / 64 + 1] ^= value >> 1 >> (63 - at % 64);
    }
}
