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

/// libFuzzer runs what is run here: a file and an entry of its own for each target, and no others.
#[test]
fn libfuzzer_has_every_target() {
    let mut targets: Vec<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer");
    let files = std::fs::read_dir(directory.join("fuzz_targets")).expect("listed");
    let mut files: Vec<String> = files
        .map(|file| {
            let path = file.expect("listed").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("read");
            assert!(
                text.contains(&format!("tally_fuzz::run(\"{name}\", data)")),
                "{text}"
            );
            name
        })
        .collect();
    let manifest = std::fs::read_to_string(directory.join("Cargo.toml")).expect("read");
    let mut entries: Vec<String> = manifest
        .split("[[bin]]")
        .skip(1)
        .map(|entry| entry.split('"').nth(1).expect("a name").to_owned())
        .collect();
    for list in [&mut targets, &mut files, &mut entries] {
        list.sort();
    }
    assert_eq!(targets, files);
    assert_eq!(targets, entries);
}
