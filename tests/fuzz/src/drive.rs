//! A driver without libFuzzer: the seeds, then random mutations of them. Blind to coverage, so it finds what is shallow; the deep work is
//! libFuzzer's. All randomness comes from one seed.

use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::{Seeds, Target};

/// Runs `target` on its seeds, on nothing, and on mutations of its seeds for about `time`. How many mutations those were.
///
/// # Panics
/// When the target finds a fault.
pub fn drive(target: &Target, seeds: &Seeds, time: Duration, seed: u64) -> u64 {
    let inputs = (target.seeds)(seeds);
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    inputs.iter().for_each(|input| (target.run)(input));
    (target.run)(&[]);
    let until = Instant::now() + time;
    let mut runs = 0u64;
    while runs == 0 || Instant::now() < until {
        for input in &inputs {
            (target.run)(&mutate(input, &mut rng));
            runs += 1;
        }
    }
    runs
}

fn below(rng: &mut ChaCha20Rng, bound: usize) -> usize {
    (rng.next_u64() % bound.max(1) as u64) as usize
}

/// One to four edits: flip a bit, set a byte, insert, delete, repeat or swap a stretch, cut the end.
fn mutate(input: &[u8], rng: &mut ChaCha20Rng) -> Vec<u8> {
    const TELLING: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b'-', b'\n', b'"'];
    let mut bytes = input.to_vec();
    for _ in 0..=below(rng, 4) {
        let at = below(rng, bytes.len());
        let length = below(rng, 40).min(bytes.len().saturating_sub(at));
        match below(rng, 8) {
            0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << below(rng, 8),
            2 if !bytes.is_empty() => bytes[at] = TELLING[below(rng, TELLING.len())],
            3 => bytes.insert(at, (rng.next_u32() & 0xff) as u8),
            4 => drop(bytes.drain(at..at + length)),
            5 => {
                let stretch = bytes[at..at + length].to_vec();
                bytes.splice(at..at, stretch);
            }
            6 => {
                let to = below(rng, bytes.len() - length.min(bytes.len()) + 1);
                let stretch: Vec<u8> = bytes.drain(at..at + length).collect();
                let to = to.min(bytes.len());
                bytes.splice(to..to, stretch);
            }
            7 => bytes.truncate(at),
            _ => {}
        }
    }
    bytes
}
