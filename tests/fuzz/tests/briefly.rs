//! Every target for a moment: no decoder panics, and what it accepts is canonical.

use std::time::Duration;

use tally_fuzz::{Seeds, TARGETS, drive};

#[test]
fn every_target_for_a_moment() {
    let seeds = Seeds::new();
    let seed = 1;
    for target in TARGETS {
        let runs = drive(target, &seeds, Duration::from_millis(300), seed);
        println!("{:<18} {runs:>9} runs, seed {seed}", target.name);
        assert!(runs > 0, "{} was not run", target.name);
    }
}
