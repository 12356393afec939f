//! Drives the targets for as long as one likes, on a stable toolchain and without libFuzzer.
//!
//! `briefly [--millis N] [--seed N] [--corpus DIR] [TARGET...]`; with `--corpus` it writes the seeds for `cargo fuzz` and stops.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tally_fuzz::{Seeds, TARGETS, drive};

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
        if let Some(corpus) = &options.corpus {
            let inputs = (target.seeds)(&seeds);
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
        let runs = drive(
            target,
            &seeds,
            Duration::from_millis(options.millis),
            options.seed,
        );
        println!("{:<18} {runs:>9} runs, seed {}", target.name, options.seed);
    }
    ExitCode::SUCCESS
}
