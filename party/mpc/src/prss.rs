//! Pseudo-random secret sharing: randomness that two parties derive without talking.
//!
//! a_j is known to P_{j-1} and P_j; party P_i draws a_i (with its previous neighbour) and a_{i+1} (with its next). The
//! stream of a label is AES-128 in counter mode under HKDF-SHA256(salt = binding, seed, info = pair, purpose, scope).
//! No communication. Source: Araki et al., CCS 2016, section 2.2 (correlated randomness from pairwise keys).

use std::collections::HashSet;

use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::channel::Scope;
use crate::role::{Neighbour, Role};

/// 32 secret bytes that two neighbours share for one session. Not cloned, compared or printed; zeroised on drop.
///
/// ```compile_fail,E0599
/// let seed = tally_mpc::Seed::new([7; 32]);
/// let copy = seed.clone();
/// ```
///
/// ```compile_fail,E0277
/// println!("{:?}", tally_mpc::Seed::new([7; 32]));
/// ```
pub struct Seed(Zeroizing<[u8; 32]>);

impl zeroize::ZeroizeOnDrop for Seed {}

impl Seed {
    /// Takes the bytes over.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for deriving keys.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The two seeds of one party.
pub struct Seeds {
    /// Shared with P_{i-1}.
    pub prev: Seed,
    /// Shared with P_{i+1}.
    pub next: Seed,
}

/// What the randomness of a session is bound to: the seal's hash, the election, the box and the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding([u8; 32]);

impl Binding {
    /// Hashes the four, each with its length.
    pub fn new(seal_hash: &[u8; 32], election: &[u8], ballot_box: &[u8], session: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"tally-mpc binding v1");
        hash.update(seal_hash);
        for part in [election, ballot_box] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.update(session.to_le_bytes());
        Self(hash.finalize().into())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As it stands in a statement.
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// What a stream is for; streams of different purposes are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Purpose {
    /// Masks of AND gates.
    Gate = 1,
    /// A permutation of the shuffle.
    Permutation = 2,
    /// A mask Z of the shuffle.
    Mask = 3,
    /// A fresh share of the shuffle's result.
    Share = 4,
    /// A share of the shuffle's tag keys.
    TagKey = 5,
    /// Masks of the shuffle's tags.
    Tag = 6,
    /// The nonce of a commitment to a share of the outputs.
    Nonce = 7,
}

/// The streams of one party in one session.
pub(crate) struct Prss {
    prev: (u8, Hkdf<Sha256>),
    next: (u8, Hkdf<Sha256>),
    used: HashSet<(Neighbour, Purpose, Scope)>,
}

impl Prss {
    pub(crate) fn new(role: Role, seeds: &Seeds, binding: &Binding) -> Self {
        let extract = |seed: &Seed| Hkdf::<Sha256>::new(Some(binding.as_bytes()), seed.0.as_slice());
        Self {
            prev: (role.index(), extract(&seeds.prev)),
            next: (role.next().index(), extract(&seeds.next)),
            used: HashSet::new(),
        }
    }

    /// The stream shared with `with` for that purpose and scope.
    ///
    /// # Panics
    /// When the same stream was asked for before: two values masked alike would show their difference.
    pub(crate) fn stream(&mut self, with: Neighbour, purpose: Purpose, scope: Scope) -> Stream {
        assert!(
            self.used.insert((with, purpose, scope)),
            "randomness for {purpose:?} at {scope} was drawn twice: a label is used once in a session"
        );
        let (pair, prk) = match with {
            Neighbour::Prev => &self.prev,
            Neighbour::Next => &self.next,
        };
        let mut key = Zeroizing::new([0; 16]);
        prk.expand_multi_info(
            &[b"tally-mpc prss v1", &[*pair, purpose as u8], &scope.to_bytes()],
            key.as_mut_slice(),
        )
        .expect("16 bytes are within HKDF's limit of 255 hashes");
        Stream {
            cipher: aes::Aes128::new(&Array(*key)),
            counter: 0,
            batch: Zeroizing::new([0; BATCH]),
            used: BATCH,
        }
    }
}

/// Blocks encrypted in one call: enough to fill every lane of the widest AES instructions.
const BLOCKS: usize = 64;
/// Words that one call yields.
const BATCH: usize = 2 * BLOCKS;

/// A pseudo-random stream of words. It only goes forward, so nothing in it is used twice; how it is cut into calls does
/// not change it.
pub(crate) struct Stream {
    cipher: aes::Aes128,
    counter: u128,
    batch: Zeroizing<[u64; BATCH]>,
    used: usize,
}

impl Stream {
    /// Overwrites `out` with the next words.
    pub(crate) fn fill(&mut self, mut out: &mut [u64]) {
        loop {
            let n = out.len().min(BATCH - self.used);
            let (head, tail) = out.split_at_mut(n);
            head.copy_from_slice(&self.batch[self.used..self.used + n]);
            self.used += n;
            out = tail;
            let mut whole = out.chunks_exact_mut(BATCH);
            for batch in &mut whole {
                encrypt(&self.cipher, &mut self.counter, batch);
            }
            out = whole.into_remainder();
            if out.is_empty() {
                return;
            }
            encrypt(&self.cipher, &mut self.counter, self.batch.as_mut_slice());
            self.used = 0;
        }
    }

    /// XORs the next words into `out`.
    pub(crate) fn mask(&mut self, out: &mut [u64]) {
        let mut words = Zeroizing::new([0; BATCH]);
        for chunk in out.chunks_mut(BATCH) {
            self.fill(&mut words[..chunk.len()]);
            crate::share::xor(chunk, words.as_slice());
        }
    }

    /// A uniformly random permutation of 0..len by the Fisher-Yates shuffle; each index is drawn without bias
    /// (Lemire's multiplication with rejection) from 64 random bits.
    ///
    /// # Panics
    /// When `len` is over 2^32 (a tally has fewer rows).
    pub(crate) fn permutation(&mut self, len: usize) -> Vec<u32> {
        let len = u32::try_from(len).expect("a tally has fewer than 2^32 rows");
        let mut out: Vec<u32> = (0..len).collect();
        let mut words = Zeroizing::new([0u64; BATCH]);
        let mut left = 0;
        for i in (1..out.len()).rev() {
            let bound = i as u64 + 1;
            let pick = loop {
                if left == 0 {
                    self.fill(words.as_mut_slice());
                    left = words.len();
                }
                left -= 1;
                let wide = u128::from(words[left]) * u128::from(bound);
                if wide as u64 >= bound || wide as u64 >= bound.wrapping_neg() % bound {
                    break (wide >> 64) as usize;
                }
            };
            out.swap(i, pick);
        }
        out
    }
}

/// The next [`BATCH`] words of the counter mode.
#[inline]
fn encrypt(cipher: &aes::Aes128, counter: &mut u128, out: &mut [u64]) {
    let mut blocks = [Array([0u8; 16]); BLOCKS];
    for (i, block) in blocks.iter_mut().enumerate() {
        block.0 = (*counter + i as u128).to_le_bytes();
    }
    *counter += BLOCKS as u128;
    cipher.encrypt_blocks(&mut blocks);
    for (pair, block) in out.chunks_exact_mut(2).zip(&blocks) {
        let (low, high) = block.0.split_at(8);
        pair[0] = u64::from_le_bytes(low.try_into().expect("half a block is 8 bytes"));
        pair[1] = u64::from_le_bytes(high.try_into().expect("half a block is 8 bytes"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Phase;

    fn prss(role: Role, session: u64) -> Prss {
        // The seed of pair j is [j; 32]: P_i has j = i with its previous neighbour, j = i + 1 with its next.
        let seeds = Seeds {
            prev: Seed::new([role.index(); 32]),
            next: Seed::new([role.next().index(); 32]),
        };
        Prss::new(
            role,
            &seeds,
            &Binding::new(&[9; 32], b"election", b"box", session),
        )
    }

    fn scope(step: u32) -> Scope {
        Scope {
            phase: Phase::Sort,
            step,
            chunk: 3,
        }
    }

    fn words(prss: &mut Prss, with: Neighbour, step: u32) -> Vec<u64> {
        let mut out = vec![0; 130];
        prss.stream(with, Purpose::Gate, scope(step)).fill(&mut out);
        out
    }

    #[test]
    fn neighbours_draw_the_same_and_nothing_repeats() {
        let mut parties = Role::ALL.map(|role| prss(role, 1));
        let drawn = [0, 1, 2].map(|i| {
            let next = words(&mut parties[i], Neighbour::Next, 5);
            assert_eq!(next, words(&mut parties[(i + 1) % 3], Neighbour::Prev, 5));
            next
        });
        let other_step = words(&mut parties[0], Neighbour::Next, 6);
        let other_session = words(&mut prss(Role::P1, 2), Neighbour::Next, 5);
        let all = [&drawn[0], &drawn[1], &drawn[2], &other_step, &other_session];
        for (i, a) in all.iter().enumerate() {
            for b in &all[..i] {
                assert!(a.iter().zip(b.iter()).all(|(x, y)| x != y));
            }
        }
    }

    #[test]
    fn cutting_it_into_calls_does_not_change_the_stream() {
        for cut in [0, 1, 2, 63, 127, 128, 129, 300] {
            let mut whole = vec![0; 500];
            prss(Role::P2, 1)
                .stream(Neighbour::Prev, Purpose::Mask, scope(1))
                .fill(&mut whole);
            let mut parts = vec![0; 500];
            let mut party = prss(Role::P2, 1);
            let mut stream = party.stream(Neighbour::Prev, Purpose::Mask, scope(1));
            let (head, tail) = parts.split_at_mut(cut);
            stream.fill(head);
            stream.mask(tail);
            assert_eq!(whole, parts);
        }
    }

    #[test]
    fn what_keys_are_made_with_is_wiped() {
        fn wiped<T: zeroize::ZeroizeOnDrop>() {}
        wiped::<Seed>();
        wiped::<aes::Aes128>();
        wiped::<Sha256>();
    }

    #[test]
    #[should_panic(expected = "drawn twice")]
    fn a_label_used_twice_panics() {
        let mut party = prss(Role::P1, 1);
        let _ = party.stream(Neighbour::Next, Purpose::Gate, scope(1));
        let _ = party.stream(Neighbour::Next, Purpose::Gate, scope(1));
    }

    #[test]
    fn permutations_are_permutations_and_every_one_of_them_turns_up() {
        let mut party = prss(Role::P3, 1);
        for len in [0, 1, 2, 63, 64, 65, 1000] {
            let scope = Scope {
                chunk: len,
                ..scope(1)
            };
            let mut seen = party
                .stream(Neighbour::Next, Purpose::Permutation, scope)
                .permutation(len as usize);
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(0..len));
        }
        let mut counts = std::collections::HashMap::new();
        let mut stream = party.stream(Neighbour::Next, Purpose::Permutation, scope(2));
        for _ in 0..24_000 {
            *counts.entry(stream.permutation(4)).or_insert(0) += 1;
        }
        // 24 permutations, 1000 expected each, standard deviation 31.
        assert_eq!(counts.len(), 24);
        assert!(counts.values().all(|&c| (800..1200).contains(&c)), "{counts:?}");
    }
}
