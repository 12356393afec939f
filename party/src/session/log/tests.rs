//! The log's file: what comes back, what a crash leaves, and what an altered byte does.

use std::fs;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_mpc::{ChannelError, Label, Neighbour, OpenedCounts, Phase, Scope, SortParams, TallyParams};
use tally_proto::envelope::{Kind, Signer};
use tally_proto::ids::Hash32;

use super::*;
use crate::session::opening::Contribution;

struct World {
    directory: tempfile::TempDir,
    rng: StdRng,
}

fn scene() -> Scene {
    Scene {
        seal_hash: Hash32([7; 32]),
        election: "ward-7".parse().expect("a slug"),
        box_id: BoxId(3),
    }
}

fn label(round: u32) -> Label {
    Label {
        scope: Scope {
            phase: Phase::Sort,
            step: 4,
            chunk: 1,
        },
        round,
    }
}

impl World {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            rng: StdRng::seed_from_u64(5),
        }
    }

    fn logs(&self, key: u8) -> SessionLogs {
        SessionLogs::new(
            self.directory.path().join("sessions"),
            Arc::new(StorageKey::new([key; 32])),
        )
    }

    fn begin(&mut self, number: u64) -> Recorder {
        let logs = self.logs(1);
        logs.begin(Role::P2, &scene(), SessionNumber(number), &mut self.rng)
            .expect("begun")
    }

    fn path(&self, number: u64) -> PathBuf {
        self.logs(1)
            .path(&scene().election, BoxId(3), SessionNumber(number))
    }

    fn open(&self, number: u64) -> Result<Reader, LogError> {
        self.logs(1)
            .open(Role::P2, &scene().election, BoxId(3), SessionNumber(number))
    }

    /// Debug lines of all entries, and whether the log is whole.
    fn read(&self, number: u64) -> Result<(Vec<String>, bool), LogError> {
        let mut reader = self.open(number)?;
        let mut lines = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            lines.push(format!("{entry:?}"));
        }
        Ok((lines, reader.is_whole()))
    }
}

fn params() -> TallyParams {
    TallyParams {
        counts: OpenedCounts::PerChannel,
        sort: SortParams::WAN,
    }
}

#[test]
fn every_entry_comes_back_as_it_was() {
    let mut world = World::new();
    let log = world.begin(1);
    let signer = Signer::generate(&mut world.rng);
    let starts = [1u8, 2, 3].map(|i| signer.seal_envelope(Kind::Start, vec![i; 40]));
    let abort = signer.seal_envelope(Kind::Abort, b"why".to_vec());
    let secret = Contribution::fresh(&mut world.rng);
    log.starts(&starts).expect("entered");
    log.contribution(Role::P2, Role::P3, &secret).expect("entered");
    log.input(&[8; 32], &params()).expect("entered");
    let message: Vec<u8> = (0..=255).collect();
    log.received(Neighbour::Prev, label(1), &message)
        .expect("entered");
    log.received(Neighbour::Next, label(2), &[]).expect("entered");
    log.stated(&[3; tally_mpc::Statement::BYTES], &[4; 64])
        .expect("entered");
    let errors = [
        ChannelError::Closed,
        ChannelError::Overdue,
        ChannelError::Interrupted,
        ChannelError::WrongLabel { got: label(9) },
        ChannelError::WrongLength { expected: 5, got: 6 },
        ChannelError::Transport(std::io::Error::other("cut")),
    ];
    for error in &errors {
        log.failed(Way::Receiving, Neighbour::Next, label(3), error)
            .expect("entered");
        log.failed(Way::Sending, Neighbour::Prev, label(3), error)
            .expect("entered");
    }
    log.end(Some(&abort.encode()));
    log.finish().expect("written");

    let mut reader = world.open(1).expect("opens");
    let mut next = || reader.next_entry().expect("sound");
    let Some(Entry::Starts(read)) = next() else {
        panic!("Starts come first")
    };
    assert_eq!(read, starts);
    let Some(Entry::Contribution {
        from,
        to,
        secret: read,
    }) = next()
    else {
        panic!("then a contribution")
    };
    assert_eq!(
        (from, to, read.as_bytes()),
        (Role::P2, Role::P3, secret.as_bytes())
    );
    let Some(Entry::Input {
        fingerprint,
        params: read,
    }) = next()
    else {
        panic!("then the input")
    };
    assert_eq!((fingerprint, read), ([8; 32], params()));
    for (expected_from, expected_label, expected) in [
        (Neighbour::Prev, label(1), message.as_slice()),
        (Neighbour::Next, label(2), &[]),
    ] {
        let Some(Entry::Received { from, label, message }) = next() else {
            panic!("then two messages")
        };
        assert_eq!(
            (from, label, message.as_slice()),
            (expected_from, expected_label, expected)
        );
    }
    let Some(Entry::Stated { statement, signature }) = next() else {
        panic!("then a statement")
    };
    assert_eq!((statement[0], *signature), (3, [4; 64]));
    for error in &errors {
        for (expected_way, expected_with) in
            [(Way::Receiving, Neighbour::Next), (Way::Sending, Neighbour::Prev)]
        {
            let Some(Entry::Failed {
                way,
                with,
                label: read,
                fault,
            }) = next()
            else {
                panic!("then the faults")
            };
            assert_eq!((way, with, read), (expected_way, expected_with, label(3)));
            assert_eq!(fault.to_error(5).to_string(), error.to_string());
        }
    }
    let Some(Entry::Ended { abort: Some(read) }) = next() else {
        panic!("then the end")
    };
    assert_eq!(read, abort);
    assert!(next().is_none());
    assert!(reader.is_whole());
}

#[test]
fn a_crash_leaves_everything_up_to_the_last_barrier() {
    let mut world = World::new();
    let log = world.begin(1);
    for round in 0..5 {
        log.received(Neighbour::Next, label(round), &[1; 300_000])
            .expect("entered");
    }
    log.stated(&[3; tally_mpc::Statement::BYTES], &[4; 64])
        .expect("entered");
    log.end(None);
    log.finish().expect("written");
    let (all, whole) = world.read(1).expect("sound");
    assert!(whole && all.len() == 7);
    let bytes = fs::read(world.path(1)).expect("readable");
    let mut seen = std::collections::BTreeSet::new();
    for cut in [bytes.len() - 1, bytes.len() - 30, bytes.len() / 2, 4 + 120, 200] {
        fs::write(world.path(1), &bytes[..cut]).expect("cut");
        let (lines, whole) = world.read(1).expect("a prefix is sound");
        assert!(!whole, "{cut} bytes");
        assert_eq!(lines, all[..lines.len()], "{cut} bytes");
        seen.insert(lines.len());
    }
    assert!(seen.contains(&6) && seen.contains(&0), "{seen:?}");
}

#[test]
fn a_recorder_that_is_dropped_leaves_a_prefix() {
    let mut world = World::new();
    let log = world.begin(1);
    log.received(Neighbour::Next, label(0), b"heard")
        .expect("entered");
    let thread = log.clone();
    drop(log);
    drop(thread);
    // The writer ends on its own; nobody waits for it.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while world.read(1).expect("sound").0.is_empty() {
        assert!(std::time::Instant::now() < end, "nothing was written");
        std::thread::yield_now();
    }
    let (lines, whole) = world.read(1).expect("sound");
    assert!(lines.len() == 1 && !whole);
}

#[test]
fn every_altered_byte_is_found() {
    let mut world = World::new();
    let log = world.begin(1);
    log.received(Neighbour::Next, label(0), b"one").expect("entered");
    log.stated(&[3; tally_mpc::Statement::BYTES], &[4; 64])
        .expect("entered");
    log.received(Neighbour::Next, label(1), b"two").expect("entered");
    log.end(None);
    log.finish().expect("written");
    let bytes = fs::read(world.path(1)).expect("readable");
    let all = world.read(1).expect("sound").0;
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 0x20;
        fs::write(world.path(1), &altered).expect("altered");
        match world.read(1) {
            Err(_) => {}
            // A longer length makes a chunk run past the end, which looks like a crash; it never passes for a whole log.
            Ok((lines, whole)) => assert!(!whole && lines == all[..lines.len()], "byte {at}"),
        }
    }
    let mut longer = bytes.clone();
    longer.push(0);
    fs::write(world.path(1), &longer).expect("longer");
    assert!(matches!(world.read(1), Err(LogError::Altered { .. })));
    let mut repeated = bytes.clone();
    repeated.extend_from_slice(&bytes[bytes.len() - 30..]);
    fs::write(world.path(1), &repeated).expect("longer");
    assert!(matches!(world.read(1), Err(LogError::Altered { .. })));
}

#[test]
fn a_log_is_its_sessions_and_its_partys() {
    let mut world = World::new();
    for number in [1, 2] {
        let log = world.begin(number);
        log.end(None);
        log.finish().expect("written");
    }
    let other_key = world
        .logs(2)
        .open(Role::P2, &scene().election, BoxId(3), SessionNumber(1));
    let mut reader = other_key.expect("the header is open");
    assert!(matches!(
        reader.next_entry(),
        Err(LogError::Altered { chunk: 0, .. })
    ));
    let other = world
        .logs(1)
        .open(Role::P1, &scene().election, BoxId(3), SessionNumber(1));
    assert!(matches!(
        other.map(|_| ()),
        Err(LogError::Other {
            what: "the party",
            ..
        })
    ));
    fs::copy(world.path(1), world.path(2)).expect("copied");
    assert!(matches!(
        world.open(2).map(|_| ()),
        Err(LogError::Other {
            what: "the session",
            ..
        })
    ));
    let logs = world.logs(1);
    assert!(
        matches!(
            logs.begin(Role::P2, &scene(), SessionNumber(2), &mut world.rng)
                .map(|_| ()),
            Err(LogError::File { .. })
        ),
        "a log is never overwritten"
    );
    assert_eq!(
        logs.sessions(&scene().election, BoxId(3)).expect("readable"),
        [SessionNumber(1), SessionNumber(2)]
    );
    assert_eq!(logs.sessions(&scene().election, BoxId(4)).expect("readable"), []);
}

#[test]
fn what_is_logged_is_not_in_the_file() {
    let mut world = World::new();
    let log = world.begin(1);
    let secret = Contribution::fresh(&mut world.rng);
    log.contribution(Role::P2, Role::P3, &secret).expect("entered");
    log.received(Neighbour::Next, label(0), b"a message in the clear")
        .expect("entered");
    log.end(None);
    log.finish().expect("written");
    let bytes = fs::read(world.path(1)).expect("readable");
    for needle in [secret.as_bytes().as_slice(), b"a message in the clear"] {
        assert!(!bytes.windows(needle.len()).any(|window| window == needle));
    }
}
