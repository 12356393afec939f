//! The randomness of a proof: labels, the streams that pairs of parties share, and the challenges.
//!
//! Each of the three pairs among prover, V- and V+ has streams that the third cannot predict: AES-256 in counter mode under
//! HKDF-SHA256 (salt = the session's binding, secret = the pair's seed, info = purpose, prover, batch, words).

use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::shape::Shape;
use crate::prss::Seed;
use crate::role::Role;
use crate::simd::Kernels;

const DOMAIN: &[u8] = b"tally-mpc proof v1";

/// What the secret randomness and the challenges of one proof are bound to.
#[derive(Clone, Copy)]
pub(super) struct Label {
    pub(super) binding: [u8; 32],
    pub(super) prover: Role,
    pub(super) batch: u64,
    pub(super) words: u64,
}

impl Label {
    fn to_bytes(self, purpose: u8) -> [u8; 18] {
        let mut bytes = [0; 18];
        bytes[0] = purpose;
        bytes[1] = self.prover.index();
        bytes[2..10].copy_from_slice(&self.batch.to_le_bytes());
        bytes[10..].copy_from_slice(&self.words.to_le_bytes());
        bytes
    }
}

/// What a stream is for, and which two of the three know it.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Purpose {
    /// The challenges: V- and V+.
    Challenges = 1,
    /// V+'s share of what the prover sends V-: prover and V+.
    Share = 2,
    /// V+'s share of the random terms of the last opening: prover and V+.
    MaskPlus = 3,
    /// V-'s share of them: prover and V-.
    MaskMinus = 4,
}

/// The number that stands for the challenge hash among the purposes.
const HASH: u8 = 5;

/// The key of a pair of parties for a session.
pub(super) struct PairKey(Hkdf<Sha256>);

impl PairKey {
    pub(super) fn new(binding: &[u8; 32], seed: &Seed) -> Self {
        Self(Hkdf::new(Some(binding), seed.as_bytes()))
    }

    pub(super) fn stream(&self, purpose: Purpose, label: &Label) -> Stream {
        let mut key = Zeroizing::new([0; 32]);
        self.0
            .expand_multi_info(&[DOMAIN, &label.to_bytes(purpose as u8)], key.as_mut_slice())
            .expect("32 bytes are within HKDF's limit of 255 hashes");
        Stream::new(&key)
    }
}

/// Blocks encrypted in one call.
const BLOCKS: usize = 16;

/// A pseudo-random stream of field elements. It only goes forward.
pub(super) struct Stream {
    cipher: aes::Aes256,
    counter: u128,
    buffer: Zeroizing<[u64; 2 * BLOCKS]>,
    used: usize,
}

impl Stream {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self {
            cipher: aes::Aes256::new(&Array(*key)),
            counter: 0,
            buffer: Zeroizing::new([0; 2 * BLOCKS]),
            used: 2 * BLOCKS,
        }
    }

    pub(super) fn next(&mut self) -> u64 {
        if self.used == self.buffer.len() {
            let mut blocks: [_; BLOCKS] =
                std::array::from_fn(|i| Array((self.counter + i as u128).to_le_bytes()));
            self.counter += BLOCKS as u128;
            self.cipher.encrypt_blocks(&mut blocks);
            for (pair, block) in self.buffer.chunks_exact_mut(2).zip(&blocks) {
                let wide = u128::from_le_bytes(block.0);
                pair.copy_from_slice(&[wide as u64, (wide >> 64) as u64]);
            }
            self.used = 0;
        }
        self.used += 1;
        self.buffer[self.used - 1]
    }

    pub(super) fn fill(&mut self, out: &mut [u64]) {
        for word in out {
            *word = self.next();
        }
    }
}

/// All challenges of a proof. A verifier knows them from the start, the prover learns them one by one.
pub(super) struct Challenges {
    /// The seed of the weights theta_g.
    pub(super) theta: Zeroizing<[u8; 32]>,
    /// The points rho of all rounds, one after the other.
    rho: Zeroizing<Vec<u64>>,
    /// The point of the last opening, not zero.
    pub(super) last: u64,
}

impl Challenges {
    /// Draws the challenges of a proof of that shape.
    pub(super) fn draw(mut stream: Stream, shape: &Shape) -> Self {
        let mut theta = Zeroizing::new([0; 32]);
        for word in theta.chunks_exact_mut(8) {
            word.copy_from_slice(&stream.next().to_le_bytes());
        }
        let rho = (0..shape.rounds())
            .flat_map(|round| 0..shape.variables(round))
            .map(|_| stream.next())
            .collect();
        let mut last = stream.next();
        while last == 0 {
            last = stream.next();
        }
        Self {
            theta,
            rho: Zeroizing::new(rho),
            last,
        }
    }

    /// The point of a round.
    pub(super) fn rho(&self, shape: &Shape, round: usize) -> &[u64] {
        let start: usize = (0..round).map(|r| shape.variables(r)).sum();
        &self.rho[start..start + shape.variables(round)]
    }

    /// The challenge of each bit of an element's number after round 0, the lowest bit first: later rounds fold lower bits.
    pub(super) fn of_elements(&self, shape: &Shape) -> Vec<u64> {
        let later = (1..shape.rounds()).rev();
        later.flat_map(|round| self.rho(shape, round)).copied().collect()
    }

    /// What an honest prover would hash.
    pub(super) fn hash(&self, label: &Label) -> [u8; 32] {
        let mut transcript = Transcript::new(label);
        transcript.seed(&self.theta);
        transcript.point(&self.rho);
        transcript.point(&[self.last]);
        transcript.finish()
    }
}

/// The hash of the challenges a prover was given: label, seed, every rho in order, the last point; all of fixed length.
pub(super) struct Transcript(Sha256);

impl Transcript {
    pub(super) fn new(label: &Label) -> Self {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(label.to_bytes(HASH));
        hash.update(label.binding);
        Self(hash)
    }

    pub(super) fn seed(&mut self, seed: &[u8; 32]) {
        self.0.update(seed);
    }

    pub(super) fn point(&mut self, point: &[u64]) {
        for element in point {
            self.0.update(element.to_le_bytes());
        }
    }

    pub(super) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Expands the seed to one weight for each group. They are independent of one another.
pub(super) fn expand_theta(seed: &[u8; 32], theta: &mut [u64]) {
    Stream::new(seed).fill(theta);
}

/// The factors 1, s, s^2 of the last opening: `a + b s + c s^2`.
pub(super) fn quadratic(kernels: Kernels, [a, b, c]: [u64; 3], s: u64) -> u64 {
    a ^ kernels.mul(s, b ^ kernels.mul(s, c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label() -> Label {
        Label {
            binding: [1; 32],
            prover: Role::P1,
            batch: 2,
            words: 3,
        }
    }

    fn first_words(seed: u8, purpose: Purpose, label: Label) -> Vec<u64> {
        let mut out = vec![0; 40];
        PairKey::new(&label.binding, &Seed::new([seed; 32]))
            .stream(purpose, &label)
            .fill(&mut out);
        out
    }

    #[test]
    fn everything_in_the_label_changes_the_stream() {
        let all = [
            first_words(9, Purpose::Share, label()),
            first_words(8, Purpose::Share, label()),
            first_words(9, Purpose::Challenges, label()),
            first_words(9, Purpose::MaskPlus, label()),
            first_words(9, Purpose::MaskMinus, label()),
            first_words(
                9,
                Purpose::Share,
                Label {
                    binding: [2; 32],
                    ..label()
                },
            ),
            first_words(
                9,
                Purpose::Share,
                Label {
                    prover: Role::P2,
                    ..label()
                },
            ),
            first_words(9, Purpose::Share, Label { batch: 3, ..label() }),
            first_words(9, Purpose::Share, Label { words: 4, ..label() }),
        ];
        assert_eq!(all[0], first_words(9, Purpose::Share, label()));
        for (i, a) in all.iter().enumerate() {
            for b in &all[..i] {
                assert!(a.iter().zip(b).all(|(a, b)| a != b));
            }
        }
    }

    #[test]
    fn the_hash_covers_label_seed_every_rho_and_the_last_point() {
        let shape = Shape::new(1 << 12);
        let draw = || {
            Challenges::draw(
                PairKey::new(&[1; 32], &Seed::new([7; 32])).stream(Purpose::Challenges, &label()),
                &shape,
            )
        };
        let honest = draw().hash(&label());
        assert_eq!(honest, draw().hash(&label()));
        let mut hashes = vec![honest];
        for i in 0..draw().rho.len() {
            let mut altered = draw();
            altered.rho[i] ^= 1;
            hashes.push(altered.hash(&label()));
        }
        let mut altered = draw();
        altered.theta[31] ^= 1;
        hashes.push(altered.hash(&label()));
        let mut altered = draw();
        altered.last ^= 1 << 63;
        hashes.push(altered.hash(&label()));
        hashes.push(draw().hash(&Label { batch: 3, ..label() }));
        hashes.push(draw().hash(&Label {
            prover: Role::P3,
            ..label()
        }));
        hashes.push(draw().hash(&Label {
            binding: [3; 32],
            ..label()
        }));
        hashes.push(draw().hash(&Label { words: 5, ..label() }));
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 1 + 6 + 12 + 1 + 1 + 4, "shape {shape:?}");
    }
}
