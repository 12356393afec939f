//! How many rounds a proof has and how long its messages are: functions of the number of words alone.

use crate::simd::{GRID, GROUP};

/// Marks a grid point that is not in {0,1}^6.
const OFF_CUBE: u8 = u8::MAX;

/// For each point of {0,1,inf}^6 its number in {0,1}^6, or [`OFF_CUBE`]. The points of k < 6 variables come first.
const CUBE_INDEX: [u8; GRID] = {
    let mut index = [OFF_CUBE; GRID];
    let mut kappa = 0;
    while kappa < GROUP {
        let (mut point, mut power, mut t) = (0, 1, 0);
        while t < 6 {
            point += (kappa >> t & 1) * power;
            power *= 3;
            t += 1;
        }
        index[point] = kappa as u8;
        kappa += 1;
    }
    index
};

/// The number of a grid point within the cube {0,1}^k, if it lies there.
pub(super) fn cube_index(point: usize) -> Option<usize> {
    let index = CUBE_INDEX[point];
    (index != OFF_CUBE).then_some(index as usize)
}

/// Up to this many variables the tail is folded by as few rounds as six variables a round allow; above it three at a time.
const WIDE: u32 = 15;
/// The most variables that one round folds.
const MOST: u32 = 6;
/// The most rounds of a proof: 2^64 elements have one round on bits, 17 of three variables, and three on the rest.
const ROUNDS: usize = 21;

/// The rounds of a proof about so many words (64 gates each).
///
/// Round 0 folds the six variables kappa of the bits. It leaves one element for each gate position of a group; the rounds after
/// it fold these, three variables at a time while there are more than 2^15 elements (a grid of 27 values for 8 elements is
/// cheapest), then up to six at a time (wider grids cost more a value, but the values are few by then and each round costs the
/// latency of the network twice).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    words: usize,
    variables: [u8; ROUNDS],
    rounds: usize,
}

impl Shape {
    /// The shape of a proof about `words` words..
    pub fn new(words: usize) -> Self {
        let mut shape = Self {
            words,
            variables: [0; ROUNDS],
            rounds: 0,
        };
        shape.push(MOST);
        let mut left = shape.padded().ilog2();
        while left > WIDE {
            shape.push(3);
            left -= 3;
        }
        for rounds in (1..=left.div_ceil(MOST)).rev() {
            let variables = left.div_ceil(rounds);
            shape.push(variables);
            left -= variables;
        }
        shape
    }

    fn push(&mut self, variables: u32) {
        self.variables[self.rounds] = variables as u8;
        self.rounds += 1;
    }

    /// Words proven.
    pub fn words(&self) -> usize {
        self.words
    }

    /// Groups of 64 words, the last one filled up with zeros.
    pub fn groups(&self) -> usize {
        self.words.div_ceil(GROUP).max(1)
    }

    /// Field elements that are left after round 0.
    pub fn elements(&self) -> usize {
        self.groups() * GROUP
    }

    /// The elements filled up with zeros to a power of two, so that each round halves them once for every variable.
    pub(super) fn padded(&self) -> usize {
        self.elements().next_power_of_two()
    }

    /// Rounds, each a message from the prover and a challenge.
    pub fn rounds(&self) -> usize {
        self.rounds
    }

    /// Variables that a round folds.
    pub fn variables(&self, round: usize) -> usize {
        self.variables[round] as usize
    }

    /// Values on the grid of a round.
    pub(super) fn grid(&self, round: usize) -> usize {
        3usize.pow(self.variables[round] as u32)
    }

    /// Field elements in the prover's message of a round: the grid without what the verifiers know.
    pub fn values(&self, round: usize) -> usize {
        if round == 0 {
            GRID - GROUP
        } else {
            self.grid(round) - 1
        }
    }

    /// Bytes that the prover sends in all: to V- the rounds and the mask, to V+ the hash.
    pub fn prover_bytes(&self) -> usize {
        (0..self.rounds)
            .map(|round| 8 * self.values(round))
            .sum::<usize>()
            + 16
            + 32
    }

    /// Bytes that V- sends in all: the seed, the challenges and the last point to the prover, its opening to V+.
    pub fn minus_bytes(&self) -> usize {
        32 + (0..self.rounds)
            .map(|round| 8 * self.variables(round))
            .sum::<usize>()
            + 8
            + 24
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rounds_fold_to_one_element() {
        for words in (0..300).chain((9..40).flat_map(|n| [(1 << n) - 1, 1 << n, (1 << n) + 1])) {
            let shape = Shape::new(words);
            assert_eq!(shape.variables(0), 6);
            let left = (1..shape.rounds()).fold(shape.elements(), |n, r| {
                assert!((3..=6).contains(&shape.variables(r)), "{shape:?}");
                n.div_ceil(1 << shape.variables(r))
            });
            assert_eq!(left, 1, "{shape:?}");
        }
    }

    #[test]
    fn the_largest_shape_fits() {
        // A usize of elements would need 2^58 words; no log is larger.
        assert!(Shape::new(1 << 57).rounds() < ROUNDS);
    }

    #[test]
    fn cube_points_have_no_digit_at_infinity() {
        assert_eq!((0..GRID).filter(|&e| cube_index(e).is_some()).count(), GROUP);
        assert_eq!(
            [0, 1, 2, 3, 4, 8, 9].map(cube_index),
            [Some(0), Some(1), None, Some(2), Some(3), None, Some(4)]
        );
    }

    #[test]
    fn a_chunk_of_2_to_24_gates_takes_five_rounds() {
        let shape = Shape::new(1 << 18);
        let variables: Vec<_> = (0..shape.rounds()).map(|r| shape.variables(r)).collect();
        assert_eq!(variables, [6, 3, 5, 5, 5]);
        assert_eq!(shape.prover_bytes(), 8 * (665 + 26 + 3 * 242) + 48);
    }
}
