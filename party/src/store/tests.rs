use tally_proto::calendar::ChannelKind;
use tally_proto::ids::Role;
use tally_proto::ids::{BoxId, Digest, Hash32, UnixSeconds};
use tally_proto::log::{Accepted, Entry, Happening};
use tally_proto::merkle::{Frontier, node_hash, verify_inclusion};

use super::accepted::Counted;
use super::sim::SimDisk;
use super::*;

fn open(disk: &SimDisk) -> Result<Store, StoreError> {
    Store::open(Storage::Backend(Box::new(disk.clone())), 1)
}

/// RFC 6962 section 2.1 as written, over leaf hashes.
fn naive_root(leaves: &[Hash32]) -> Hash32 {
    match leaves {
        [] => Hash32::of(b""),
        [leaf] => *leaf,
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            let (left, right) = leaves.split_at(k);
            node_hash(&naive_root(left), &naive_root(right))
        }
    }
}

fn entry(i: u8) -> Entry {
    Entry::Accepted(Accepted {
        record: false,
        of_box: BoxId(2),
        digest: Digest([i; 32]),
        ciphertext_hash: Hash32([i; 32]),
        received_at: UnixSeconds(1000 + u64::from(i)),
    })
}

#[test]
fn log_matches_the_definition_at_every_size() {
    let store = open(&SimDisk::new()).expect("opens");
    let leaves: Vec<Hash32> = (0u8..70).map(|i| entry(i).leaf()).collect();
    for i in 0u8..70 {
        let position = store.write(|tx| log::append(tx, 3, &entry(i))).expect("appends");
        assert_eq!(position, u64::from(i));
    }
    store
        .read(|tx| {
            for size in 0..=leaves.len() {
                let root = naive_root(&leaves[..size]);
                assert_eq!(log::root(tx, 3, size as u64)?, Some(root), "root at {size}");
                for position in 0..size as u64 {
                    let path = log::inclusion(tx, 3, position, size as u64)?.expect("in range");
                    let leaf = &leaves[position as usize];
                    assert!(
                        verify_inclusion(leaf, position, size as u64, &path, &root),
                        "{position} of {size}"
                    );
                }
                assert_eq!(log::inclusion(tx, 3, size as u64, size as u64)?, None);
            }
            assert_eq!(log::root(tx, 3, 71)?, None);
            assert_eq!(log::inclusion(tx, 3, 0, 71)?, None);
            assert_eq!(log::size(tx, 4)?, 0, "another election's log is another log");
            assert_eq!(log::entry(tx, 3, 69)?, Some(entry(69)));
            assert_eq!(log::entry(tx, 3, 70)?, None);
            Ok::<_, StoreError>(())
        })
        .expect("reads");
}

#[test]
fn an_entry_that_the_disk_has_changed_is_in_no_root_and_no_proof() {
    // Complete blocks, one of them the last, and blocks that are not complete yet.
    for size in [16u64, 21, 32, 37, 64] {
        for changed in 0..size {
            let store = open(&SimDisk::new()).expect("opens");
            let entries: Vec<Entry> = (0..size).map(|i| entry(i as u8)).collect();
            let append = |tx: &_| log::append_all(tx, 3, &entries);
            store.write(append).expect("appends");
            let roots: Vec<_> = (0..=size)
                .map(|at| store.read(|tx| log::root(tx, 3, at)).expect("reads"))
                .collect();
            let alter = |tx: &WriteTx| {
                let mut rows = tx.table_mut(tables::LOG_ENTRIES)?;
                rows.insert((3, changed), &entry(99).to_bytes())?;
                Ok::<_, StoreError>(())
            };
            store.write(alter).expect("alters");
            let mut refused = 0;
            for at in 0..=size {
                match store.read(|tx| log::root(tx, 3, at)) {
                    Ok(root) => assert_eq!(root, roots[at as usize], "{changed} changed, {at} of {size}"),
                    Err(StoreError::Corrupt { .. }) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
                let Some(root) = roots[at as usize] else { continue };
                for position in 0..at {
                    match store.read(|tx| log::inclusion(tx, 3, position, at)) {
                        Ok(path) => assert!(verify_inclusion(
                            &entry(position as u8).leaf(),
                            position,
                            at,
                            &path.expect("in range"),
                            &root
                        )),
                        Err(StoreError::Corrupt { .. }) => refused += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            assert!(refused > 0, "{changed} of {size} was looked at");
            // What is appended continues the log that was, not the changed one.
            store.write(|tx| log::append(tx, 3, &entry(70))).expect("appends");
            let leaves: Vec<Hash32> = (0..size as u8).chain([70]).map(|i| entry(i).leaf()).collect();
            let edge = store.read(|tx| log::frontier(tx, 3)).expect("reads");
            assert_eq!(edge.root(), naive_root(&leaves));
        }
    }
}

fn row(i: u8) -> accepted::Accepted {
    accepted::Accepted {
        header: vec![i; 100],
        authority_signature: Vec::new(),
        ciphertext_hash: [i; 32],
        received_at_s: 1000 + u64::from(i),
        position: u64::from(i),
        receipt_signature: vec![i; 64],
        sealed_shares: vec![i; 150],
    }
}

/// Accepts ballot `i` as the intake writer does: row and log entry in one transaction.
fn accept(store: &Store, i: u8) -> Result<(), StoreError> {
    store.write(|tx| {
        log::append(tx, 1, &entry(i))?;
        accepted::insert(tx, 1, 2, &[i; 32], Counted::Ballot(ChannelKind::Online), &row(i))
    })
}

#[test]
fn whatever_write_fails_what_was_committed_is_found() {
    const BALLOTS: u8 = 12;
    let whole = {
        let disk = SimDisk::new();
        let store = open(&disk).expect("opens");
        (0..BALLOTS).for_each(|i| accept(&store, i).expect("accepts"));
        drop(store);
        disk.operations()
    };
    assert!(whole > 50, "{whole} operations");
    let leaves: Vec<Hash32> = (0..BALLOTS).map(|i| entry(i).leaf()).collect();
    let mut reached = 0;
    for fail_from in 0..whole {
        let disk = SimDisk::new();
        disk.fail_from(fail_from);
        // A disk that fails while the store is made never held anything; a file is made under another name for that reason.
        let Ok(store) = open(&disk) else { continue };
        reached += 1;
        let committed = (0..BALLOTS).take_while(|&i| accept(&store, i).is_ok()).count();
        for seed in 0..4 {
            let store =
                open(&disk.after_crash(seed)).unwrap_or_else(|e| panic!("failed from {fail_from}: {e}"));
            store
                .read(|tx| {
                    let size = log::size(tx, 1)? as usize;
                    assert!(
                        size == committed || size == committed + 1,
                        "{size} of {committed} at {fail_from}"
                    );
                    assert_eq!(log::root(tx, 1, size as u64)?, Some(naive_root(&leaves[..size])));
                    let digests = accepted::digests(tx, Kind::Ballot, 1, 2)?;
                    assert_eq!(digests, (0..size as u8).map(|i| [i; 32]).collect::<Vec<_>>());
                    for i in 0..size as u8 {
                        assert_eq!(accepted::get(tx, Kind::Ballot, 1, 2, &[i; 32])?, Some(row(i)));
                    }
                    assert_eq!(boxes::received(tx, 1, 2)?.online, size as u64);
                    Ok::<_, StoreError>(())
                })
                .expect("reads");
            accept(&store, 200).expect("goes on after the restart");
        }
    }
    assert!(
        reached > 40,
        "{reached} of {whole} failures came after the store was made"
    );
}

#[test]
fn an_aborted_transaction_leaves_nothing() {
    let store = open(&SimDisk::new()).expect("opens");
    let refused: Result<(), StoreError> = store.write(|tx| {
        log::append(tx, 1, &entry(1))?;
        Err(StoreError::Corrupt { table: "made up" })
    });
    assert!(matches!(refused, Err(StoreError::Corrupt { table: "made up" })));
    assert_eq!(store.read(|tx| log::size(tx, 1)).expect("reads"), 0);
}

#[test]
fn refuses_the_store_of_another_party_or_version() {
    let disk = SimDisk::new();
    drop(open(&disk).expect("opens"));
    let other = Store::open(Storage::Backend(Box::new(disk.clone())), 2);
    assert!(matches!(
        other,
        Err(StoreError::ForeignParty { found: 1, own: 2 })
    ));
    let store = open(&disk).expect("opens");
    store
        .write(|tx| {
            tx.table_mut(tables::META)?.insert("schema", 9)?;
            Ok::<_, StoreError>(())
        })
        .expect("writes");
    drop(store);
    assert!(matches!(
        open(&disk),
        Err(StoreError::Schema {
            found: 9,
            known: tables::SCHEMA
        })
    ));
}

#[test]
fn keeps_boxes_and_elections_apart() {
    let store = open(&SimDisk::new()).expect("opens");
    store
        .write(|tx| {
            assert_eq!(elections::number_or_new(tx, "b")?, 1);
            assert_eq!(elections::number_or_new(tx, "a")?, 2);
            assert_eq!(elections::number_or_new(tx, "b")?, 1);
            for (e, b) in [(1, 1), (1, 2), (2, 1)] {
                let digest = [e as u8 * 16 + b as u8; 32];
                accepted::insert(
                    tx,
                    e,
                    b,
                    &digest,
                    Counted::Ballot(ChannelKind::Station),
                    &row(b as u8),
                )?;
                let own_position = accepted::position_of_any(tx, e, b, &digest)?.expect("accepted");
                let new = |position, receipt| receipts::New {
                    election: e,
                    party: 2,
                    own_position,
                    position,
                    receipt,
                };
                let put = receipts::put_all(tx, &[new(7, b"first"), new(9, b"second")])?;
                assert_eq!(put, [true, false]);
                assert_eq!(receipts::put_all(tx, &[new(8, b"third")])?, [false]);
                assert_eq!(receipts::top(tx, e, 2)?, 10, "what any of them names");
            }
            boxes::freeze(tx, 1, 2)
        })
        .expect("writes");
    store
        .read(|tx| {
            assert_eq!(accepted::digests(tx, Kind::Ballot, 1, 2)?, vec![[18; 32]]);
            assert_eq!(accepted::digests(tx, Kind::Record, 1, 2)?, Vec::<[u8; 32]>::new());
            assert!(
                boxes::is_frozen(tx, 1, 2)? && !boxes::is_frozen(tx, 1, 1)? && !boxes::is_frozen(tx, 2, 1)?
            );
            assert_eq!(
                boxes::received(tx, 1, 2)?,
                boxes::Received {
                    station: 1,
                    ..Default::default()
                }
            );
            let mut seen = Vec::new();
            receipts::for_each(tx, 1, 2, |digest, party, receipt| {
                seen.push((*digest, party, receipt.to_vec()));
                Ok::<_, StoreError>(())
            })?;
            assert_eq!(seen, vec![([18; 32], 2, b"first".to_vec())]);
            assert_eq!(
                elections::all(tx)?,
                vec![("a".to_owned(), 2), ("b".to_owned(), 1)]
            );
            Ok::<_, StoreError>(())
        })
        .expect("reads");
}

/// (rows of the roll, persons, the salt is there) of what was written under a number.
fn written(tx: &impl Tables, number: u32) -> Result<(usize, usize, bool), StoreError> {
    Ok((
        elections::roll_part(tx, number, 1, 0, 100)?.len(),
        registers::persons_of_box(tx, number, 1)?.len(),
        registers::salt(tx, number)?.is_some(),
    ))
}

fn write_publication(store: &Store, id: &str, voters: u8) -> u32 {
    let number = store.write(|tx| elections::begin(tx, id)).expect("begun");
    for v in 0..voters {
        store
            .write(|tx| {
                elections::put_roll(tx, number, 1, v.into(), [(true, "somebody")])?;
                registers::put_salt(tx, number, &[7; 32])?;
                registers::put_persons(tx, number, [(Hash32([v; 32]), 1, v.into())])
            })
            .expect("written");
    }
    number
}

#[test]
fn a_publication_is_found_as_a_whole_and_what_it_replaces_goes_part_by_part() {
    let store = open(&SimDisk::new()).expect("opens");
    let found = || store.read(|tx| elections::number_of(tx, "a")).expect("read");
    let sweep = |most| {
        let swept = store.write(|tx| elections::sweep(tx, most));
        swept.expect("swept");
        store.read(elections::is_swept).expect("read")
    };
    let first = write_publication(&store, "a", 5);
    assert_eq!((first, found()), (1, None), "nobody finds it");
    let publish = |number| {
        store
            .write(|tx| elections::publish(tx, "a", number, b"manifest", 9))
            .expect("published");
    };
    publish(first);
    assert_eq!(found(), Some(1));
    // Another one in its place; and one that never ends.
    let second = write_publication(&store, "a", 3);
    assert_eq!((second, found()), (2, Some(1)));
    publish(second);
    let third = write_publication(&store, "a", 4);
    assert_eq!((third, found()), (3, Some(2)));
    let rows = |number| store.read(|tx| written(tx, number)).expect("read");
    assert_eq!(
        [rows(1), rows(2), rows(3)],
        [(5, 5, true), (3, 3, true), (4, 4, true)]
    );
    // So many rows at a time, whatever they are.
    assert!(!sweep(3));
    assert_eq!(rows(1), (2, 5, true));
    assert!(!sweep(3));
    assert_eq!(rows(1), (0, 4, true));
    let mut turns = 2;
    while !sweep(3) {
        turns += 1;
    }
    assert!(turns < 10, "{turns}");
    assert_eq!(
        [rows(1), rows(2), rows(3)],
        [(0, 0, false), (3, 3, true), (0, 0, false)]
    );
    // No number is given twice, also not that of what was never seen.
    assert_eq!(write_publication(&store, "a", 1), 4);
    assert_eq!(
        store.write(|tx| elections::number_or_new(tx, "b")).expect("new"),
        5
    );
}

#[test]
fn people_of_an_open_roll_are_counted_once_whoever_saw_their_cards_first() {
    let store = open(&SimDisk::new()).expect("opens");
    let person = |of: u8| Hash32([of; 32]);
    let counted = store.write(|tx| {
        let mut counted = Vec::new();
        registers::saw(tx, 1, 1, &person(1))?;
        registers::saw(tx, 1, 1, &person(1))?;
        counted.push(registers::people(tx, 1, 1)?);
        registers::pair(tx, 1, 1, 7, &person(1))?;
        counted.push(registers::people(tx, 1, 1)?);
        registers::pair(tx, 1, 1, 8, &person(2))?;
        registers::saw(tx, 1, 1, &person(2))?;
        registers::pair(tx, 1, 1, 8, &person(3))?;
        counted.push(registers::people(tx, 1, 1)?);
        // Of another election.
        registers::saw(tx, 2, 1, &person(2))?;
        counted.extend([registers::people(tx, 1, 1)?, registers::people(tx, 2, 1)?]);
        Ok::<_, StoreError>(counted)
    });
    assert_eq!(counted.expect("written"), [1, 1, 2, 2, 1]);
}

#[test]
fn a_file_whose_making_was_cut_short_is_made_anew() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("party.redb");
    std::fs::write(path.with_extension("new"), b"half a header").expect("written");
    let store = Store::open(Storage::File(path.clone()), 1).expect("made");
    accept(&store, 1).expect("accepts");
    let second = Store::open(Storage::File(path.clone()), 1);
    assert!(
        matches!(second, Err(StoreError::Engine(_))),
        "one process at a time"
    );
    drop(store);
    let store = Store::open(Storage::File(path), 1).expect("opens");
    assert_eq!(store.read(|tx| log::size(tx, 1)).expect("reads"), 1);
}

#[test]
fn a_store_is_read_after_a_kill_and_its_file_stays_as_the_kill_left_it() {
    let directory = tempfile::tempdir().expect("directory");
    let (path, killed) = (
        directory.path().join("party.redb"),
        directory.path().join("killed"),
    );
    let store = Store::open(Storage::File(path.clone()), 1).expect("made");
    for i in 1..4 {
        accept(&store, i).expect("accepts");
    }
    assert!(
        matches!(Store::open_to_read(&path, 1), Err(StoreError::InUse)),
        "a server has it"
    );
    // What a server leaves that is killed now: all its commits are on disk, and nothing says that it ended.
    let left = std::fs::read(&path).expect("read");
    std::fs::write(&killed, &left).expect("copied");
    let audited = Store::open_to_read(&killed, 1).expect("repaired in memory");
    assert_eq!(audited.read(|tx| log::size(tx, 1)).expect("reads"), 3);
    assert!(matches!(accept(&audited, 9), Err(StoreError::ReadOnly)));
    assert!(
        matches!(
            Store::open(Storage::File(killed.clone()), 1),
            Err(StoreError::Engine(_))
        ),
        "no server starts during an audit"
    );
    drop(audited);
    assert!(matches!(
        Store::open_to_read(&killed, 2),
        Err(StoreError::ForeignParty { found: 1, own: 2 })
    ));
    assert!(std::fs::read(&killed).expect("read") == left);
    drop(store);
    // Stopped in order: nothing to repair.
    let before = std::fs::read(&path).expect("read");
    let audited = Store::open_to_read(&path, 1).expect("opens");
    assert_eq!(audited.read(|tx| log::size(tx, 1)).expect("reads"), 3);
    drop(audited);
    assert!(std::fs::read(&path).expect("read") == before);
}

#[test]
fn an_event_stands_once_and_a_channel_as_often_as_it_changes() {
    let store = open(&SimDisk::new()).expect("opens");
    let closed = Happening::BoxClosed(BoxId(2));
    store
        .write(|tx| {
            log::append_once(tx, 1, closed, UnixSeconds(5))?;
            log::append(tx, 1, &entry(1))?;
            log::append_once(tx, 1, closed, UnixSeconds(6))?;
            log::append_once(tx, 1, Happening::BoxClosed(BoxId(3)), UnixSeconds(7))?;
            log::append_once(
                tx,
                1,
                Happening::ListMade(BoxId(2), Hash32([9; 32])),
                UnixSeconds(8),
            )
        })
        .expect("writes");
    let mut seen = Vec::new();
    store
        .read(|tx| {
            log::for_each(tx, 1, |position, entry| {
                assert_eq!(log::entry(tx, 1, position)?, Some(entry));
                seen.push(entry);
                Ok::<_, StoreError>(())
            })?;
            assert_eq!(log::last(tx, 1, &closed)?, Some((0, Hash32([0; 32]))));
            let listed = log::last(tx, 1, &Happening::ListMade(BoxId(2), Hash32([0; 32])))?;
            assert_eq!(listed, Some((3, Hash32([9; 32]))), "found whatever its hash");
            assert_eq!(log::last(tx, 2, &closed)?, None);
            let bytes: Vec<u8> = seen[1..3].iter().flat_map(Entry::to_bytes).collect();
            assert_eq!(log::entries(tx, 1, 1, 2)?, bytes);
            assert_eq!(
                log::frontier(tx, 1)?.root(),
                log::root(tx, 1, 4)?.expect("a root")
            );
            Ok::<_, StoreError>(())
        })
        .expect("reads");
    assert_eq!(seen.len(), 4);
}

#[test]
fn a_mirror_has_every_root_and_serves_its_pages_from_any_entry() {
    let store = open(&SimDisk::new()).expect("opens");
    let entries: Vec<Entry> = (0..300u16).map(|i| entry((i % 250) as u8)).collect();
    let (mut tree, mut roots) = (Frontier::new(), vec![Frontier::new().root()]);
    // Short pages are continued, a long one stands alone.
    let parts = [
        &entries[..7],
        &entries[7..8],
        &entries[8..30],
        &entries[30..290],
        &entries[290..],
    ];
    for part in parts {
        for entry in part {
            tree.push(entry.leaf());
            roots.push(tree.root());
        }
        let bytes: Vec<u8> = part.iter().flat_map(Entry::to_bytes).collect();
        let note = format!("note of {}", tree.size());
        let append = || store.write(|tx| mirrors::append(tx, 1, Role::P2, &bytes, &tree, &note));
        assert!(append().expect("writes"));
        assert!(
            !append().expect("reads"),
            "a page that does not begin at the end is not taken"
        );
    }
    store
        .write(|tx| mirrors::look(tx, 1, Role::P2, 12))
        .expect("writes");
    store
        .read(|tx| {
            for (size, root) in (0..).zip(&roots) {
                assert_eq!(mirrors::root(tx, 1, Role::P2, size)?, Some(*root), "{size}");
            }
            assert_eq!(mirrors::root(tx, 1, Role::P2, 301)?, None);
            assert_eq!(
                mirrors::root(tx, 1, Role::P3, 1)?,
                None,
                "another party's is another mirror"
            );
            for (from, end) in [
                (0, 30),
                (7, 30),
                (29, 30),
                (30, 290),
                (289, 290),
                (290, 300),
                (299, 300),
            ] {
                let page = mirrors::page(tx, 1, Role::P2, from)?.expect("mirrored");
                let bytes: Vec<u8> = entries[from as usize..end]
                    .iter()
                    .flat_map(Entry::to_bytes)
                    .collect();
                assert_eq!((page.entries, page.note), (bytes, format!("note of {end}")));
            }
            assert_eq!(mirrors::page(tx, 1, Role::P2, 300)?, None);
            assert_eq!(mirrors::page(tx, 1, Role::P2, u64::MAX)?, None);
            let state = mirrors::state(tx, 1, Role::P2)?;
            assert_eq!((state.size(), state.looked_at), (300, 12));
            assert_eq!(state.frontier, tree);
            Ok::<_, StoreError>(())
        })
        .expect("reads");
}

#[test]
fn the_highest_number_of_each_station_of_a_box_is_found() {
    let store = open(&SimDisk::new()).expect("opens");
    let taken = [
        (1, 1, 0, 1),
        (1, 1, 7, 2),
        (1, 1, 7, 9),
        (1, 1, u32::MAX, u64::MAX),
        (1, 2, 7, 30),
        (2, 1, 7, 40),
    ];
    for (election, of_box, station, sequence) in taken {
        store
            .write(|tx| sequences::take(tx, election, of_box, (station, sequence), &[1; 32]))
            .expect("written");
    }
    let of = |election, of_box| {
        store
            .read(|tx| sequences::highest(tx, election, of_box))
            .expect("read")
    };
    assert_eq!(of(1, 1), [(0, 1), (7, 9), (u32::MAX, u64::MAX)]);
    assert_eq!(of(1, 2), [(7, 30)]);
    assert_eq!(of(2, 2), []);
}

#[test]
fn what_is_lost_is_counted_once_and_by_what_it_is_found_to_be() {
    let store = open(&SimDisk::new()).expect("opens");
    let of = |i: u8| *entry(i).accepted().expect("an acceptance");
    let counts = || {
        let counts = store.read(|tx| {
            let in_box = boxes::lost(tx, 1, 2)?;
            Ok::<_, StoreError>((in_box.ballots, in_box.records, boxes::lost_in_all(tx, 1)?))
        });
        counts.expect("read")
    };
    let write =
        |with: &dyn Fn(&WriteTx) -> Result<(), StoreError>| store.write(|tx| with(tx)).expect("written");
    write(&|tx| {
        for i in 0..3 {
            log::append(tx, 1, &entry(i))?;
        }
        log::append(tx, 1, &Entry::Event(Happening::Lost, UnixSeconds(1)))?;
        (0..4).try_for_each(|position| log::put_lost(tx, 1, position))
    });
    assert_eq!(counts(), (3, 0, 4), "of one nobody knows what it was");
    // Again is once; a header tells that one is a record.
    write(&|tx| log::put_lost(tx, 1, 0));
    write(&|tx| {
        log::put_kind(
            tx,
            1,
            1,
            &Accepted {
                record: true,
                ..of(1)
            },
        )
    });
    assert_eq!(counts(), (2, 1, 4));
    write(&|tx| {
        log::put_kind(
            tx,
            1,
            1,
            &Accepted {
                record: true,
                ..of(1)
            },
        )
    });
    write(&|tx| log::take_lost(tx, 1, 1));
    write(&|tx| log::take_lost(tx, 1, 1));
    assert_eq!(counts(), (2, 0, 3));
    // What is here is counted elsewhere, whatever it turns out to be.
    write(&|tx| log::put_kind(tx, 1, 1, &of(1)));
    assert_eq!(counts(), (2, 0, 3));
    let left = store.read(|tx| Ok::<_, StoreError>((log::lost(tx, 1)?, log::lost_from(tx, 1, 1, 1)?)));
    assert_eq!(left.expect("read"), (vec![0, 2, 3], vec![2]));
}

/// What a store holds of ballots `0..`, which must be a beginning of what was brought, with the log over exactly that.
fn a_whole_beginning(store: &Store, most: u8, place: &str) -> u8 {
    let found = store.read(|tx| {
        let digests = accepted::digests(tx, Kind::Ballot, 1, 2)?;
        let size = u8::try_from(digests.len()).expect("few");
        assert!(size <= most, "{place}");
        assert_eq!(digests, (0..size).map(|i| [i; 32]).collect::<Vec<_>>(), "{place}");
        let leaves: Vec<Hash32> = (0..size).map(|i| entry(i).leaf()).collect();
        assert_eq!(log::size(tx, 1)?, u64::from(size), "{place}");
        assert_eq!(
            log::root(tx, 1, u64::from(size))?,
            Some(naive_root(&leaves)),
            "{place}"
        );
        for i in 0..size {
            assert_eq!(
                accepted::get(tx, Kind::Ballot, 1, 2, &[i; 32])?,
                Some(row(i)),
                "{place}"
            );
        }
        assert_eq!(boxes::received(tx, 1, 2)?.online, u64::from(size), "{place}");
        Ok::<_, StoreError>(size)
    });
    found.unwrap_or_else(|error| panic!("{place}: {error}"))
}

#[test]
fn after_one_failure_nothing_more_is_acknowledged_and_what_was_is_found() {
    const BALLOTS: u8 = 8;
    let base = SimDisk::new();
    drop(open(&base).expect("opens"));
    let base = base.after_crash(0);
    let whole = {
        let disk = base.after_crash(0);
        let store = open(&disk).expect("opens");
        (0..BALLOTS).for_each(|i| accept(&store, i).expect("accepts"));
        drop(store);
        disk.operations()
    };
    let mut cut_short = 0;
    for failing in 0..whole {
        let disk = base.after_crash(0);
        disk.fail_only(failing);
        let Ok(store) = open(&disk) else { continue };
        let acknowledged: Vec<bool> = (0..BALLOTS).map(|i| accept(&store, i).is_ok()).collect();
        let first = acknowledged.iter().take_while(|done| **done).count();
        cut_short += u8::from(first < usize::from(BALLOTS));
        // The disk is well again: the store does not guess what the failed commit left there.
        assert!(
            acknowledged[first..].iter().all(|done| !done),
            "operation {failing}: {acknowledged:?}"
        );
        for seed in 0..3 {
            let place = format!("operation {failing}, seed {seed}");
            let store = open(&disk.after_crash(seed)).unwrap_or_else(|error| panic!("{place}: {error}"));
            let found = a_whole_beginning(&store, BALLOTS, &place);
            assert!(usize::from(found) >= first, "{place}: {found} of {first}");
            accept(&store, found).unwrap_or_else(|error| panic!("{place}: {error}"));
        }
    }
    assert!(cut_short > 20, "{cut_short} of {whole}");
}

/// A disk that lies about syncs can lose what was acknowledged; whether that is so is found by the marks and by the others. Never is half of something
/// taken for the whole.
#[test]
fn a_disk_that_loses_syncs_gives_an_older_state_or_none() {
    const BALLOTS: u8 = 8;
    let base = SimDisk::new();
    drop(open(&base).expect("opens"));
    let base = base.after_crash(0);
    let whole = {
        let disk = base.after_crash(0);
        let store = open(&disk).expect("opens");
        (0..BALLOTS).for_each(|i| accept(&store, i).expect("accepts"));
        disk.operations()
    };
    let (mut older, mut refused) = (0, 0);
    for lying in 0..whole {
        let disk = base.after_crash(0);
        disk.lose_syncs_from(lying);
        let store = open(&disk).expect("it says that all is well");
        (0..BALLOTS).for_each(|i| accept(&store, i).expect("it says that all is well"));
        for seed in 0..3 {
            let place = format!("syncs lost from operation {lying}, seed {seed}");
            match open(&disk.after_crash(seed)) {
                Ok(store) => older += u32::from(a_whole_beginning(&store, BALLOTS, &place) < BALLOTS),
                Err(StoreError::Engine(_)) => refused += 1,
                Err(other) => panic!("{place}: {other}"),
            }
        }
    }
    assert!(older + refused > 0, "no sync was lost");
}
