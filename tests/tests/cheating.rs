//! One party cheats, in every message and every way that we could think of, and gains nothing; and honest sessions show nothing.
//!
//! `cargo test --release -p tally-tests --test cheating` prints the table of attacks.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use tally_mpc::{CheckError, ProofError, Role, TallyError};
use tally_tests::cheating::attack::{Act, Deed, Lie};
use tally_tests::cheating::election::{Election, Size, params};
use tally_tests::cheating::kind::Kind;
use tally_tests::cheating::statistics::{Leak, Sample};
use tally_tests::cheating::suite::{Verdict, attack_everything, for_each, rush_without_barriers, slot};
use tally_tests::cheating::trio::Session;

const SMALL: Size = Size {
    voters: 5,
    online: 9,
    electronic: 3,
    paper: 2,
};

/// Comparisons a level may make for free: few, so that a small box has several levels.
const FREE_LANES: usize = 30;

/// Seed of everything below; printed with what fails.
const SEED: u64 = 20_261_120;

/// Past the capture of test output: the table is the point of this test.
fn tell(text: &str) {
    // A closed standard output is no reason to fail.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

#[test]
fn every_attack_is_detected_before_anything_depends_on_it() {
    let election = Election::random(SMALL, SEED);
    let table = attack_everything(&election, FREE_LANES, SEED);
    tell(&format!("\n{}{} attacks\n", table.text(), table.attacks));
    let attacked = table.attacked();
    for kind in Kind::ALL {
        assert!(
            attacked.contains(&format!("{kind:?}")[..]),
            "{kind:?} was not attacked"
        );
    }
    assert!(table.attacks > 2000, "{} attacks", table.attacks);
    assert!(
        table.failures.is_empty(),
        "{} failed, seed {SEED}:\n{}",
        table.failures.len(),
        table.failures.join("\n")
    );
}

/// Where nobody waits at barriers, a party that holds back what it owes is shown every kind of opening before: the suite sees it.
#[test]
fn a_missing_barrier_is_caught() {
    let election = Election::random(SMALL, SEED);
    let found = rush_without_barriers(&election, FREE_LANES, SEED);
    let last = found
        .iter()
        .map(|(_, opening, ..)| *opening)
        .max()
        .expect("openings");
    assert!(last >= 3, "keys, at least two levels of the sort, totals");
    for liar in Role::ALL {
        for opening in 0..=last {
            let of_it: Vec<_> = found
                .iter()
                .filter(|found| (found.0, found.1) == (liar, opening))
                .collect();
            let caught = of_it
                .iter()
                .filter(|found| matches!(found.3, Verdict::Failed(_)))
                .count();
            tell(&format!(
                "no barriers: opening {opening} rushed by {liar}: {caught} of {} seen\n",
                of_it.len()
            ));
            // Before the keys nobody can open anything without P1's rows, barrier or not.
            let gains = (liar, opening) != (Role::P1, 0);
            assert_eq!(caught > 0, gains, "opening {opening} rushed by {liar}: {of_it:?}");
        }
    }
}

/// A party that gives its last statement to one neighbour only, learns the totals from it and falls silent keeps them from nobody.
#[test]
fn nobody_vetoes_the_totals_it_has_seen() {
    let election = Election::random(SMALL, SEED);
    let reference = Session::honest(&election, params(FREE_LANES), SEED).run();
    for liar in Role::ALL {
        let statements = reference[slot(liar)]
            .sent
            .iter()
            .filter(|sent| sent.kind == Kind::Statement);
        let mut session = Session::honest(&election, params(FREE_LANES), SEED);
        session.patience = std::time::Duration::from_secs(2);
        let lie = Lie::Message(Act {
            kind: Kind::Statement,
            nth: statements.count() - 1,
            deed: Deed::Silence,
        });
        session.lie = Some((liar, lie));
        let ends = session.run();
        for role in Role::ALL.into_iter().filter(|role| *role != liar) {
            let outcome = ends[slot(role)].result.as_ref();
            assert!(
                outcome.is_ok_and(|outcome| election.agrees(outcome)),
                "{liar} kept the totals from {role}: {outcome:?}"
            );
        }
    }
}

/// Which check it is that finds an attack, for one of each kind: not just that a connection ended.
#[test]
fn the_check_that_is_meant_finds_it() {
    let election = Election::random(SMALL, SEED);
    let found = |kind, deed, is: fn(&CheckError) -> bool| {
        for liar in Role::ALL {
            let mut session = Session::honest(&election, params(FREE_LANES), SEED);
            session.lie = Some((liar, Lie::Message(Act { kind, nth: 0, deed })));
            let ends = session.run();
            assert!(ends[slot(liar)].deeds.done, "{liar} sends no {kind:?}");
            let seen = Role::ALL.into_iter().filter(|role| *role != liar).filter(|role| {
                let result = &ends[slot(*role)].result;
                matches!(result, Err(TallyError::Check { source, .. }) if is(source))
            });
            assert!(
                seen.count() >= 1,
                "{kind:?} {deed:?} by {liar}: {:?}",
                ends.map(|e| e.result)
            );
        }
    };
    let is_proof = |check: &CheckError| matches!(check, CheckError::Proof(_));
    let is_copies = |check: &CheckError| matches!(check, CheckError::Copies { .. });
    found(Kind::SortProducts, Deed::FlipBit, is_proof);
    found(Kind::SortProducts, Deed::FlipTwoBits, is_proof);
    found(Kind::LaterProducts, Deed::FlipTwoBits, is_proof);
    found(Kind::ProofValues, Deed::FlipBit, is_proof);
    found(Kind::ProofSeed, Deed::FlipBit, is_proof);
    found(Kind::ProofHash, Deed::FlipBit, is_proof);
    found(Kind::ProofOpening, Deed::FlipBit, is_proof);
    found(Kind::ProofLast, Deed::Zero, |check| {
        matches!(check, CheckError::Proof(ProofError::ZeroPoint { .. }))
    });
    found(Kind::Rows, Deed::SwapRows, |check| {
        matches!(check, CheckError::Shuffle { .. })
    });
    found(Kind::KeyShare, Deed::FlipBit, is_copies);
    found(Kind::KeyHash, Deed::FlipBit, is_copies);
    found(Kind::BitShare, Deed::FlipBit, is_copies);
    found(Kind::BitHash, Deed::FlipBit, is_copies);
    found(Kind::Commitment, Deed::FlipBit, |check| {
        matches!(check, CheckError::Commitments { .. })
    });
    found(Kind::Statement, Deed::BadSignature, |check| {
        matches!(check, CheckError::Signature { .. })
    });
    found(Kind::Statement, Deed::FalseAccount, |check| {
        matches!(
            check,
            CheckError::Transcript { .. } | CheckError::Statements { .. }
        )
    });
}

#[test]
fn honest_sessions_never_abort() {
    let sessions = 10_000;
    for_each(sessions, |i| {
        let number = SEED + i as u64;
        let size = Size {
            voters: 1 + (i % 4) as u32,
            online: 1 + (i / 4 % 4) as u32,
            electronic: (i / 16 % 2) as u32,
            paper: (i / 32 % 2) as u32,
        };
        let election = Election::random(size, number);
        let params = params([1, 3, 1 << 16][i % 3]);
        for end in Session::honest(&election, params, number).run() {
            let outcome = end
                .result
                .unwrap_or_else(|error| panic!("session {number}: {error}"));
            assert!(election.agrees(&outcome), "session {number}");
        }
    });
}

/// Each comparison of features fails by chance with this probability if both are of one distribution (chi-square, no value expected less
/// than ten times in either sample); there are fewer than fifty, so a false alarm comes with probability 5e-8 for seeds not tried
/// before. The seeds are fixed: what passes once passes always.
const THRESHOLD: f64 = 1e-9;

/// The smallest probability among the features, and the feature.
fn least(name: &str, one: &Sample, other: &Sample) -> (f64, &'static str) {
    let features = one.compare(other);
    assert!(features.len() >= 8, "{features:?}");
    let (feature, apart) = features
        .into_iter()
        .min_by(|(_, a), (_, b)| a.p.total_cmp(&b.p))
        .expect("features");
    tell(&format!("{name}: least alike is {feature}: {apart:.3?}\n"));
    (apart.p, feature)
}

/// Elections of equal sizes, one of different voters, revotes, fakes and choices, one of a single voter's ballots, and sessions
/// made up from sizes and random permutations: what is opened and sent is distributed alike. Each session's opened bits are, bit by
/// bit, what the simulator makes of the one permutation that the session's sort realised.
#[test]
fn openings_and_sizes_tell_nothing_but_the_sizes() {
    let (one, other) = (
        Election::random(SMALL, SEED),
        Election::one_voter(SMALL, SEED + 1),
    );
    let params = params(FREE_LANES);
    let sessions = 3000;
    let first = Sample::of_sessions(&one, &params, sessions, |i| SEED + i);
    let second = Sample::of_sessions(&other, &params, sessions, |i| SEED + 1_000_000 + i);
    let made_up = Sample::simulated(one.rows(), &params, SEED, sessions);
    for (name, one, other) in [
        ("two elections", &first, &second),
        ("an election and the simulator", &first, &made_up),
        ("another election and the simulator", &second, &made_up),
    ] {
        let (p, feature) = least(name, one, other);
        assert!(p > THRESHOLD, "{name}: {feature} differs, p = {p}, seed {SEED}");
    }
}

/// The same test finds what a sort without shuffle opens, one that breaks ties by public position, one that shuffles two rows of three
/// only, and an engine that uses the seeds of one session for all: in the comparison of two elections, and with the simulator.
#[test]
fn a_leaky_engine_is_caught() {
    let (one, other) = (
        Election::random(SMALL, SEED),
        Election::one_voter(SMALL, SEED + 1),
    );
    let params = params(FREE_LANES);
    let sessions = 3000;
    let made_up = Sample::simulated(one.rows(), &params, SEED, sessions);
    for leak in [Leak::Unshuffled, Leak::PublicTies, Leak::HalfShuffled] {
        let first = Sample::leaky(&one, &params, leak, SEED + 1, sessions);
        let second = Sample::leaky(&other, &params, leak, SEED + 2, sessions);
        for (name, against) in [("two elections", &second), ("the simulator", &made_up)] {
            let (p, _) = least(&format!("{leak:?}, {name}"), &first, against);
            assert!(p < THRESHOLD, "{leak:?} passes for {name}: {p}");
        }
    }
    let sessions = 300;
    let first = Sample::of_sessions(&one, &params, sessions, |_| SEED);
    let second = Sample::of_sessions(&other, &params, sessions, |_| SEED);
    let made_up = Sample::simulated(one.rows(), &params, SEED, sessions);
    for (name, against) in [("two elections", &second), ("the simulator", &made_up)] {
        let (p, _) = least(&format!("seeds used again, {name}"), &first, against);
        assert!(p < THRESHOLD, "seeds used again pass for {name}: {p}");
    }
}

/// What names the engine without checks.
fn asks_for_it(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).expect("a text file");
    ["curious::", "tally_without_checks", "\"curious\""]
        .iter()
        .any(|name| text.contains(name))
}

/// The sources and manifests below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of the project");
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs" || ext == "toml") {
            files.push(path);
        }
    }
    files
}

/// Nothing of a party's code or settings can ask for the engine without checks. The benchmark can, and is seen to.
#[test]
fn no_party_can_leave_the_checks_out() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = vec![root.join("party/Cargo.toml"), root.join("Cargo.toml")];
    for folder in ["party/src", "coordinator", "client", "proto", "deploy"] {
        files.extend(sources(&root.join(folder)));
    }
    let places: Vec<_> = files.iter().filter(|file| asks_for_it(file)).collect();
    assert!(places.is_empty(), "{places:?}");
    assert!(sources(&root.join("bench")).iter().any(|file| asks_for_it(file)));
}
