//! What an auditor finds in one party's records of a box: everything in order, or what was altered, hidden or lost.

use redb::{ReadableTable as _, TableDefinition};
use tally_proto::audit::{Check, Item, Verdict};
use tally_proto::calendar::ChannelKind;
use tally_proto::ids::{BoxId, Hash32, Role, RoleExt as _, UnixSeconds};
use tally_proto::log::{ChannelPhase, Entry, Happening};

use super::objects::{Made, Where};
use super::world::{BOX, VOTERS, World};
use crate::sealing::SealedBox;
use crate::store::tables::{AcceptedRow, DigestKey};
use crate::store::{Accepted, Kind, StoreError, accepted, elections, log};

fn failed(sealed: &SealedBox) -> Vec<Check> {
    let items = sealed.audit().expect("readable");
    assert!(
        items
            .iter()
            .map(|item| item.check)
            .eq(Check::ALL.into_iter().take(10)),
        "every check of the box, in order"
    );
    let failed = items.iter().filter(|item| item.verdict == Verdict::Failed);
    failed.map(|item| item.check).collect()
}

fn detail(sealed: &SealedBox, check: Check) -> String {
    let items = sealed.audit().expect("readable");
    let item: &Item = items.iter().find(|item| item.check == check).expect("there");
    item.detail.clone()
}

/// A box with every kind of row, records, an exclusion, a ballot that one party alone accepted and one that P3 was away for.
async fn boxed() -> (World, Vec<Made>, [SealedBox; 3]) {
    let mut world = World::new();
    let mut made = vec![
        world.online(100),
        world.online(200),
        world.ballot(
            Where::Station {
                station: 1,
                sequence: 1,
            },
            50,
        ),
        // The same number again: one of the two is excluded.
        world.ballot(
            Where::Station {
                station: 1,
                sequence: 1,
            },
            60,
        ),
        world.ballot(
            Where::Paper {
                station: 2,
                sequence: 1,
            },
            70,
        ),
        world.record(3, 1, 0, 0xfeed_face_cafe_beef),
    ];
    for made in &made {
        for role in Role::ALL {
            world.accept_in_time(made, role);
        }
    }
    let without_p3 = world.online(300);
    world.accept_in_time(&without_p3, Role::P1);
    world.accept_in_time(&without_p3, Role::P2);
    let alone = world.online(400);
    world.accept_in_time(&alone, Role::P2);
    made.extend([without_p3, alone]);
    let sealed = world.sealed().await;
    (world, made, sealed)
}

/// Changes a stored acceptance, or removes it.
fn rewrite(
    world: &World,
    by: Role,
    kind: Kind,
    digest: &[u8; 32],
    change: impl FnOnce(Accepted) -> Option<Accepted>,
) {
    const BALLOTS: TableDefinition<'static, DigestKey, u64> = TableDefinition::new("ballots");
    const ACCEPTED: TableDefinition<'static, (u32, u64), AcceptedRow> = TableDefinition::new("accepted");
    world
        .store(by)
        .write(|tx| {
            let row = accepted::get(tx, kind, 1, BOX, digest)?.expect("accepted");
            let (mut places, mut rows) = (tx.table_mut(BALLOTS)?, tx.table_mut(ACCEPTED)?);
            places.remove((1, BOX, digest))?;
            rows.remove((1, row.position))?;
            if let Some(row) = change(row) {
                places.insert((1, BOX, digest), row.position)?;
                rows.insert(
                    (1, row.position),
                    (
                        row.header.as_slice(),
                        row.authority_signature.as_slice(),
                        &row.ciphertext_hash,
                        row.received_at_s,
                        row.receipt_signature.as_slice(),
                        row.sealed_shares.as_slice(),
                    ),
                )?;
            }
            Ok::<_, StoreError>(())
        })
        .expect("written");
}

#[tokio::test(start_paused = true)]
async fn an_honest_partys_records_pass() {
    let (_world, _, sealed) = boxed().await;
    for sealed in &sealed {
        assert_eq!(failed(sealed), [], "{}: {:#?}", sealed.role(), sealed.audit());
    }
    assert_eq!(
        detail(&sealed[1], Check::Accounted),
        "5 sealed, 1 excluded, 1 with one acceptance only"
    );
    assert_eq!(detail(&sealed[2], Check::Log), "8 entries under the checkpoint");
    assert_eq!(
        detail(&sealed[2], Check::Openings),
        "both shares of 6 ballots and records"
    );
    assert_eq!(detail(&sealed[0], Check::Roll), format!("{VOTERS} voters"));
    let items = sealed[0].audit().expect("readable");
    for item in items.iter().filter(|item| item.verdict == Verdict::NotApplicable) {
        let why = match item.check {
            Check::Tickets => "the election asks for none",
            _ => "nobody enrols by card",
        };
        assert!(item.detail.starts_with(why), "{item:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ballot_missing_from_the_records_is_found() {
    let (world, made, sealed) = boxed().await;
    rewrite(&world, Role::P2, Kind::Ballot, &made[7].digest.0, |_| None);
    // It was one acceptance only, so nothing else misses it.
    assert_eq!(failed(&sealed[1]), [Check::Log, Check::List]);
    assert!(detail(&sealed[1], Check::Log).contains(&made[7].digest.to_string()));
}

#[tokio::test(start_paused = true)]
async fn a_ballot_dropped_before_the_list_is_found() {
    let mut world = World::new();
    let kept = world.online(100);
    let dropped = world.online(200);
    for made in [&kept, &dropped] {
        for role in Role::ALL {
            world.accept_in_time(made, role);
        }
    }
    rewrite(&world, Role::P3, Kind::Ballot, &dropped.digest.0, |_| None);
    let sealed = world.sealed().await;
    assert_eq!(failed(&sealed[0]), []);
    assert!(failed(&sealed[2]).contains(&Check::Log));
    assert!(detail(&sealed[2], Check::Log).contains(&dropped.digest.to_string()));
}

#[tokio::test(start_paused = true)]
async fn a_receipt_for_what_was_not_listed_is_found() {
    let mut world = World::new();
    let (kept, hidden) = (world.online(100), world.online(200));
    for made in [&kept, &hidden] {
        for role in Role::ALL {
            world.accept_in_time(made, role);
        }
    }
    // P2's log holds it, its receipt is with P1, its List does not name it.
    world.forge_list(Role::P2, &[kept.digest], &[]);
    let again = world.accept_in_time(&hidden, Role::P2);
    world.deliver(&again, Role::P1);
    let sealed = world.sealed().await;
    let found = failed(&sealed[1]);
    assert!(
        found.contains(&Check::Receipts) && found.contains(&Check::List),
        "{found:?}"
    );
    assert_eq!(failed(&sealed[0]), [], "the others did nothing wrong");
}

#[tokio::test(start_paused = true)]
async fn an_altered_input_is_found() {
    let (world, made, sealed) = boxed().await;
    let other = made[1].shares_of(Role::P1);
    rewrite(&world, Role::P1, Kind::Ballot, &made[0].digest.0, |row| {
        Some(Accepted {
            sealed_shares: world
                .vault(Role::P1)
                .seal(Kind::Ballot, 1, &made[0].digest.0, &other),
            ..row
        })
    });
    assert_eq!(failed(&sealed[0]), [Check::Openings]);
    assert!(detail(&sealed[0], Check::Openings).contains("does not open its commitment"));
    rewrite(&world, Role::P1, Kind::Ballot, &made[0].digest.0, |mut row| {
        row.sealed_shares[7] ^= 1;
        Some(row)
    });
    assert_eq!(
        failed(&sealed[0]),
        [Check::Openings],
        "a row that does not even decrypt"
    );
}

#[tokio::test(start_paused = true)]
async fn altered_times_positions_and_rolls_are_found() {
    let (world, made, sealed) = boxed().await;
    let digest = made[1].digest.0;
    rewrite(&world, Role::P1, Kind::Ballot, &digest, |mut row| {
        row.received_at_s += 3_600;
        Some(row)
    });
    assert_eq!(
        failed(&sealed[0]),
        [Check::Log, Check::List],
        "late, and another leaf"
    );
    rewrite(&world, Role::P1, Kind::Ballot, &digest, |mut row| {
        row.received_at_s -= 3_600;
        Some(row)
    });
    assert_eq!(failed(&sealed[0]), [], "as it was");
    rewrite(&world, Role::P1, Kind::Ballot, &digest, |mut row| {
        row.position = 0;
        Some(row)
    });
    assert_eq!(failed(&sealed[0]), [Check::Log]);
    world
        .store(Role::P3)
        .write(|tx| elections::put_roll(tx, 1, BOX, 0, (0..VOTERS).map(|_| (true, "somebody"))))
        .expect("written");
    assert!(failed(&sealed[2]).contains(&Check::Roll));
}

#[tokio::test(start_paused = true)]
async fn rows_records_and_flags_that_are_not_the_seals_are_found() {
    const ROWS: TableDefinition<'static, (u32, u32, u32), &[u8]> = TableDefinition::new("seal_rows");
    const FLAGS: TableDefinition<'static, (u32, u32, u8), &[u8]> = TableDefinition::new("seal_flags");
    const STANDING: TableDefinition<'static, (u32, u32, u32, u8), &[u8; 32]> =
        TableDefinition::new("seal_standing");
    for what in 0..3 {
        let (world, made, _) = boxed().await;
        world
            .store(Role::P2)
            .write(|tx| {
                match what {
                    0 => {
                        let mut table = tx.table_mut(ROWS)?;
                        let mut rows = table.get((1, BOX, 0))?.expect("rows").value().to_vec();
                        rows[..64].rotate_left(32);
                        table.insert((1, BOX, 0), rows.as_slice())?;
                    }
                    1 => {
                        tx.table_mut(FLAGS)?.insert((1, BOX, 1), [0b10, 0].as_slice())?;
                    }
                    _ => {
                        tx.table_mut(STANDING)?
                            .insert((1, BOX, 4, 0), &made[5].digest.0)?;
                    }
                }
                Ok::<_, StoreError>(())
            })
            .expect("written");
        // What the tally would take, read again.
        let sealed = world.sealed().await;
        assert_eq!(
            failed(&sealed[Role::P2.slot()]),
            [Check::Rows],
            "alteration {what}"
        );
        assert_eq!(failed(&sealed[0]), []);
    }
}

/// Appends an event to a log behind the audited party's back.
fn tell(world: &World, by: Role, happening: Happening) {
    let entry = Entry::Event(happening, UnixSeconds(1));
    world
        .store(by)
        .write(|tx| log::append(tx, 1, &entry))
        .expect("written");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_tells_what_cannot_be_is_found() {
    let (world, made, sealed) = boxed().await;
    let list = world
        .store(Role::P1)
        .read(|tx| crate::sealing::list_hash(tx, (1, BOX), Role::P1));
    let list = list.expect("read").expect("a List");
    tell(&world, Role::P1, Happening::ListMade(BoxId(BOX), list));
    assert_eq!(failed(&sealed[0]), [], "its own List, after the box was closed");
    for (by, happening, says) in [
        (
            Role::P1,
            Happening::ListMade(BoxId(BOX), list),
            "out of its order",
        ),
        (
            Role::P2,
            Happening::ListMade(BoxId(BOX), Hash32([7; 32])),
            "another than the one held here",
        ),
        (
            Role::P3,
            Happening::Order(1, Hash32([7; 32])),
            "order 1 is not the next",
        ),
    ] {
        tell(&world, by, happening);
        assert_eq!(failed(&sealed[by.slot()]), [Check::Log], "{happening:?}");
        let detail = detail(&sealed[by.slot()], Check::Log);
        assert!(detail.contains(says), "{detail}");
    }
    for (happening, says) in [
        (Happening::BoxClosed(BoxId(BOX)), "closed twice"),
        (Happening::Complete(Hash32([7; 32])), "complete twice"),
        (
            Happening::Channel(ChannelKind::Online, ChannelPhase::Opened),
            "the online channel was not Opened",
        ),
        (Happening::Sealed(BoxId(BOX), Hash32([7; 32])), "out of its order"),
    ] {
        let (world, _, sealed) = boxed().await;
        tell(&world, Role::P2, happening);
        let detail = detail(&sealed[1], Check::Log);
        assert!(
            failed(&sealed[1]) == [Check::Log] && detail.contains(says),
            "{detail}"
        );
    }
    // Accepted after the box was closed.
    let (world, _, sealed) = boxed().await;
    world.accept_in_time(&made[7], Role::P3);
    assert!(detail(&sealed[2], Check::Log).contains("after the box was closed"));
}
