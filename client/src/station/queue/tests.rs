use std::collections::HashMap;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tally_proto::ids::{Digest, ElectionId};

use super::*;
use crate::disk::replace;
use crate::disk::sim::{Death, SimDisk};

const ELECTION: &str = "council-2026";
const STATION: u32 = 4;
const SALT: Salt = [5; 16];

fn path() -> PathBuf {
    PathBuf::from("/station/queue")
}

/// The ballot of that running number: two boxes take turns, each with numbers of its own.
fn ballot(sequence: u64, rng: &mut StdRng) -> Parcel {
    let mut commitment = || rng.random::<[u8; 32]>().to_vec();
    let header = wire::BallotHeader {
        election: ELECTION.into(),
        r#box: 1 + (sequence % 2) as u32,
        channel: if sequence.is_multiple_of(5) {
            wire::ChannelKind::Paper
        } else {
            wire::ChannelKind::Station
        } as i32,
        cast_at_s: 1_700_000_000 + sequence / 3,
        c1: commitment(),
        c2: commitment(),
        c3: commitment(),
        authority: Some(wire::ballot_header::Authority::Station(wire::StationAuthority {
            station: STATION,
            sequence: sequence.div_ceil(2),
        })),
    };
    let header = BallotHeader::from_wire(&header).unwrap();
    let mut ciphertext = || Bytes::from((0..90).map(|_| rng.random()).collect::<Vec<u8>>());
    Parcel::new(header, [ciphertext(), ciphertext(), ciphertext()], ciphertext())
}

fn receipt(parcel: &Parcel, party: Role) -> wire::Receipt {
    wire::Receipt {
        election: ELECTION.into(),
        r#box: parcel.header().of_box().0,
        party: party.number(),
        digest: parcel.digest().0.to_vec(),
        position: 77,
        ..Default::default()
    }
}

fn open(disk: Arc<dyn Disk>) -> Result<Queue, QueueError> {
    Queue::open(disk, &path(), ELECTION, STATION)
}

fn all_steps(sequence: u64, parcel: &Parcel) -> Vec<Step> {
    let mut steps: Vec<Step> = Role::ALL
        .into_iter()
        .map(|party| Step::accepted(sequence, party, receipt(parcel, party)))
        .collect();
    for at in Role::ALL {
        steps.extend([at.next(), at.prev()].map(|of| Step::stored(sequence, at, of)));
    }
    steps
}

#[test]
fn what_is_pending_and_counted_survives_reopening_and_rewriting() {
    let mut rng = StdRng::seed_from_u64(1);
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
    let mut queue = Queue::create(disk.clone(), &path(), ELECTION, STATION, SALT).unwrap();
    let parcels: Vec<Parcel> = (1..=10).map(|sequence| ballot(sequence, &mut rng)).collect();
    queue.push(&parcels[..4]).unwrap();
    queue.push(&parcels[4..]).unwrap();
    for sequence in [1, 2, 3, 7] {
        queue
            .note(all_steps(sequence, &parcels[sequence as usize - 1]))
            .unwrap();
    }
    queue
        .note(vec![
            Step::accepted(5, Role::P2, receipt(&parcels[4], Role::P2)),
            Step::stored(5, Role::P2, Role::P1),
        ])
        .unwrap();
    let expect = |queue: &Queue| {
        assert_eq!(queue.next, 11);
        assert_eq!([1, 2, 3].map(|id| queue.next_sequence(BoxId(id))), [6, 6, 1]);
        assert_eq!(queue.last_cast_at_s(), 1_700_000_003);
        assert_eq!(
            queue.pending().keys().copied().collect::<Vec<_>>(),
            [4, 5, 6, 8, 9, 10]
        );
        let standing = &queue.pending()[&5].standing;
        assert_eq!(standing.acceptors(), [Role::P2]);
        assert!(standing.is_stored(Role::P2, Role::P1) && !standing.is_stored(Role::P2, Role::P3));
        assert_eq!(queue.pending()[&4].standing, Standing::default());
        let counts: Vec<_> = queue
            .counts()
            .map(|(id, of)| (id.0, of.electronic, of.paper))
            .collect();
        assert_eq!(counts, [(1, 4, 1), (2, 4, 1)]);
        for (sequence, queued) in queue.pending() {
            let sent = &parcels[*sequence as usize - 1];
            assert_eq!(queued.parcel.digest(), sent.digest());
            assert_eq!(queued.parcel.ciphertexts(), sent.ciphertexts());
        }
    };
    expect(&queue);
    expect(&open(disk.clone()).unwrap());
    let before = queue.journal.bytes();
    queue.rewrite().unwrap();
    assert!(queue.journal.bytes() < before);
    expect(&queue);
    let mut queue = open(disk.clone()).unwrap();
    expect(&queue);
    queue.push(&[ballot(11, &mut rng)]).unwrap();
    assert_eq!(open(disk).unwrap().next, 12);
}

#[test]
fn an_empty_queue_keeps_its_number_and_counts() {
    let mut rng = StdRng::seed_from_u64(2);
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
    let mut queue = Queue::create(disk.clone(), &path(), ELECTION, STATION, SALT).unwrap();
    let parcel = ballot(1, &mut rng);
    queue.push(std::slice::from_ref(&parcel)).unwrap();
    queue.note(all_steps(1, &parcel)).unwrap();
    queue.rewrite().unwrap();
    let queue = open(disk).unwrap();
    assert!(queue.pending().is_empty());
    assert_eq!(queue.next, 2);
    assert_eq!(queue.counts().map(|(_, of)| of.electronic).sum::<u64>(), 1);
}

#[test]
fn another_station_or_election_is_refused() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
    Queue::create(disk.clone(), &path(), ELECTION, STATION, SALT).unwrap();
    for (election, station) in [("council-2027", STATION), (ELECTION, 5)] {
        let error = Queue::open(disk.clone(), &path(), election, station).unwrap_err();
        assert!(matches!(error, QueueError::Other { .. }), "{error}");
    }
    disk.append(&path(), b"").unwrap();
    let mut journal = Journal::create(disk.clone(), &path(), SALT, b"\xff\xff").unwrap();
    assert!(matches!(open(disk.clone()), Err(QueueError::Foreign { .. })));
    journal.rewrite(&Frame::default().encode_to_vec()).unwrap();
    assert!(matches!(
        open(disk),
        Err(QueueError::Foreign { what: "no floor", .. })
    ));
}

#[test]
fn a_sequence_number_out_of_turn_is_refused() {
    let mut rng = StdRng::seed_from_u64(3);
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
    let mut queue = Queue::create(disk.clone(), &path(), ELECTION, STATION, SALT).unwrap();
    queue.push(&[ballot(1, &mut rng)]).unwrap();
    drop(queue);
    let again = Frame {
        ballots: vec![QueuedBallot::of(1, &ballot(1, &mut rng))],
        ..Frame::default()
    };
    // The number of its box again under a new running number, and the running number again.
    let anew = Frame {
        ballots: vec![QueuedBallot::of(2, &ballot(1, &mut rng))],
        ..Frame::default()
    };
    let before = disk.read(&path()).unwrap().unwrap();
    for frame in [again, anew] {
        replace(&*disk, &path(), &before).unwrap();
        let (mut journal, _) = Journal::open(disk.clone(), &path()).unwrap();
        journal.append(&frame.encode_to_vec()).unwrap();
        assert!(matches!(
            open(disk.clone()),
            Err(QueueError::Foreign {
                what: "a number out of turn",
                ..
            })
        ));
    }
}

/// A station that works until the machine dies, and what outsiders have seen of it.
struct Outside {
    rng: StdRng,
    /// Ballots whose voters were told that they are kept.
    acknowledged: HashMap<u64, Digest>,
    /// Ballots that a party has seen.
    on_the_wire: HashMap<u64, Digest>,
}

impl Outside {
    /// One day's work; ends when an operation fails.
    fn work(&mut self, queue: &mut Queue, votes: usize) -> Result<(), QueueError> {
        for _ in 0..votes {
            let batch: Vec<Parcel> = (0..self.rng.random_range(1..4))
                .map(|at| ballot(queue.next + at, &mut self.rng))
                .collect();
            let numbers = queue.next..;
            queue.push(&batch)?;
            for (sequence, parcel) in numbers.zip(&batch) {
                assert_eq!(
                    self.acknowledged.insert(sequence, parcel.digest()),
                    None,
                    "sequence {sequence} twice"
                );
            }
            let pending: Vec<(u64, Parcel)> = queue
                .pending()
                .iter()
                .map(|(sequence, queued)| (*sequence, queued.parcel.clone()))
                .collect();
            for (sequence, parcel) in pending {
                if self.rng.random_bool(0.5) {
                    let digest = *self.on_the_wire.entry(sequence).or_insert(parcel.digest());
                    assert_eq!(digest, parcel.digest(), "two ballots under sequence {sequence}");
                    let steps = all_steps(sequence, &parcel);
                    let done = self.rng.random_range(0..=steps.len());
                    queue.note(steps[..done].to_vec())?;
                }
            }
            if self.rng.random_bool(0.3) {
                queue.rewrite()?;
            }
        }
        Ok(())
    }
}

#[test]
fn death_before_any_file_operation_loses_nothing_and_reuses_no_number() {
    let script = |outside: &mut Outside, disk: &Arc<SimDisk>| -> Result<(), QueueError> {
        let mut queue = match open(disk.clone()) {
            Err(QueueError::Journal(JournalError::Missing { .. })) if outside.acknowledged.is_empty() => {
                Queue::create(disk.clone(), &path(), ELECTION, STATION, SALT)?
            }
            other => other?,
        };
        let missing = outside
            .acknowledged
            .keys()
            .find(|sequence| **sequence >= queue.next);
        assert_eq!(missing, None, "an acknowledged ballot is gone");
        for (sequence, queued) in queue.pending() {
            let known = outside.acknowledged.insert(*sequence, queued.parcel.digest());
            assert!(known.is_none_or(|digest| digest == queued.parcel.digest()));
        }
        let counted: u64 = queue.counts().map(|(_, of)| of.electronic + of.paper).sum();
        assert_eq!(counted, queue.next - 1, "every number up to the last is a ballot");
        outside.work(&mut queue, 6)
    };
    for death in [Death::Killed, Death::PowerCut] {
        for operation in 0..60 {
            for seed in 0..8 {
                let mut outside = Outside {
                    rng: StdRng::seed_from_u64(seed * 1000 + operation as u64),
                    acknowledged: HashMap::new(),
                    on_the_wire: HashMap::new(),
                };
                let disk = Arc::new(SimDisk::default());
                disk.die_before(operation);
                let _ = script(&mut outside, &disk);
                // It dies a second time while it recovers or soon after, then lives.
                let disk = Arc::new(disk.reboot(death, seed));
                disk.die_before(operation % 7);
                let _ = script(&mut outside, &disk);
                let disk = Arc::new(disk.reboot(death, seed + 1));
                script(&mut outside, &disk).unwrap();
                let queue = open(disk).unwrap();
                for (sequence, digest) in &outside.acknowledged {
                    // Still queued as it was, or seen by the parties under the same digest.
                    let queued = queue.pending().get(sequence).map(|queued| queued.parcel.digest());
                    let seen = outside.on_the_wire.get(sequence).copied();
                    assert_eq!(queued.or(seen), Some(*digest), "ballot {sequence} is lost");
                }
            }
        }
    }
}

#[test]
fn the_election_id_of_the_tests_is_one() {
    assert!(ElectionId::new(ELECTION).is_ok());
}
