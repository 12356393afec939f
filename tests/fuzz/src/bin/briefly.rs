//! Drives every target on a stable toolchain: seeds, then random mutations of them. Blind to coverage, so it finds what is shallow; the
//! deep work is libFuzzer's. All randomness comes from one printed seed.
//!
//! `briefly [--millis N] [--seed N] [--corpus DIR] [TARGET...]`; with `--corpus` it writes the seeds for `cargo fuzz` and stops.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use tally_fuzz::{Seeds, TARGETS};

struct Options {
    millis: u64,
    seed: u64,
    corpus: Option<PathBuf>,
    targets: Vec<String>,
}

fn options() -> Option<Options> {
    let mut options = Options {
        millis: 1000,
        seed: 1,
        corpus: None,
        targets: Vec::new(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--millis" => options.millis = arguments.next()?.parse().ok()?,
            "--seed" => options.seed = arguments.next()?.parse().ok()?,
            "--corpus" => options.corpus = Some(arguments.next()?.into()),
            name if TARGETS.iter().any(|t| t.name == name) => options.targets.push(name.into()),
            _ => return None,
        }
    }
    Some(options)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("usage: briefly [--millis N] [--seed N] [--corpus DIR] [TARGET...]");
        for target in TARGETS {
            eprintln!("  {}", target.name);
        }
        return ExitCode::FAILURE;
    };
    let seeds = Seeds::new();
    let chosen = TARGETS
        .iter()
        .filter(|t| options.targets.is_empty() || options.targets.iter().any(|n| n == t.name));
    for target in chosen {
        let inputs = (target.seeds)(&seeds);
        if let Some(corpus) = &options.corpus {
            let directory = corpus.join(target.name);
            let written = std::fs::create_dir_all(&directory).and_then(|()| {
                inputs
                    .iter()
                    .enumerate()
                    .try_for_each(|(i, input)| std::fs::write(directory.join(format!("seed-{i}")), input))
            });
            if let Err(error) = written {
                eprintln!("{}: {error}", directory.display());
                return ExitCode::FAILURE;
            }
            continue;
        }
        let mut rng = ChaCha20Rng::seed_from_u64(options.seed);
        inputs.iter().for_each(|input| (target.run)(input));
        (target.run)(&[]);
        let until = Instant::now() + Duration::from_millis(options.millis);
        let mut runs = 0u64;
        while Instant::now() < until {
            for input in &inputs {
                (target.run)(&mutate(input, &mut rng));
                runs += 1;
            }
        }
        println!("{:<18} {runs:>9} runs, seed {}", target.name, options.seed);
    }
    ExitCode::SUCCESS
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
