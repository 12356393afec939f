//! Nobody lies: what is sealed, and what every party then holds of it.

use futures::StreamExt as _;
use tally_mpc::{OpenedCounts, SortParams, TallyParams};
use tally_proto::ids::{BoxId, Digest, Role, RoleExt as _, StationId, VoterIndex};
use tally_proto::manifest::Network;
use tally_proto::reason::Reason;
use tally_proto::sealing::{BoxBody, SealingError};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::super::{Basis, Item, Lie, SealError};
use super::objects::{Made, Where};
use super::world::{BOX, CLOSES, Setting, UNTIL, VOTERS, World};
use crate::sealing::SealedBox;
use crate::session::{SealedBoxes, TallySource as _};
use crate::store::boxes;

/// Rows as sealed, and every party's shares of them as they were made.
fn check_rows(sealed: &[SealedBox; 3], expected: &[&Made]) {
    let digests: Vec<Digest> = expected.iter().map(|made| made.digest).collect();
    for sealed in sealed {
        let role = sealed.role();
        assert_eq!(sealed.rows(), digests, "{role}");
        let mut seen = 0;
        let walked = sealed.for_each_row(|at, digest, shares| {
            let made = expected[at];
            assert_eq!(*digest, made.digest);
            assert_eq!(
                shares.this.share(),
                made.openings[role.slot()].share(),
                "{role} row {at}"
            );
            assert_eq!(
                shares.next.share(),
                made.openings[role.next().slot()].share(),
                "{role} row {at}"
            );
            seen += 1;
            Ok::<_, SealError>(())
        });
        walked.expect("reads");
        assert_eq!(seen, expected.len());
    }
}

#[tokio::test(start_paused = true)]
async fn all_three_present() {
    let mut world = World::new();
    let paper = world.ballot(
        Where::Paper {
            station: 2,
            sequence: 1,
        },
        30,
    );
    let station = world.ballot(
        Where::Station {
            station: 1,
            sequence: 1,
        },
        20,
    );
    let late = world.online(300);
    let early = world.online(100);
    let mut same = [world.online(200), world.online(200)];
    same.sort_by_key(|made| made.digest);
    let record = world.record(3, 1, 0, 0xfeed_face_cafe_beef);
    for made in [&paper, &station, &late, &early, &same[0], &same[1], &record] {
        world.accept_by_all(made);
    }
    let sealed = world.sealed().await;
    check_rows(&sealed, &[&early, &same[0], &same[1], &late, &station, &paper]);
    let seal = sealed[0].seal().seal();
    assert_eq!(
        (seal.counts.online, seal.counts.station, seal.counts.paper),
        (4, 1, 1)
    );
    assert!(seal.exclusions.is_empty());
    for sealed in &sealed {
        assert!(sealed.findings().is_empty());
        assert_eq!(sealed.live().count_ones(), VOTERS as usize);
        assert_eq!(
            sealed.enrolled().iter().collect::<Vec<_>>(),
            (0..VOTERS).map(|v| v == 3).collect::<Vec<_>>()
        );
        assert_eq!(
            sealed.standing().expect("reads"),
            [(VoterIndex(3), record.digest)]
        );
        assert_eq!(sealed.seal().envelope().signatures().len(), 3);
    }
    let credentials = sealed
        .each_ref()
        .map(|sealed| sealed.credentials().expect("opens"));
    for v in 0..VOTERS as usize {
        let whole = credentials.iter().fold(0, |whole, shares| whole ^ shares.own[v]);
        assert_eq!(whole, if v == 3 { 0xfeed_face_cafe_beef } else { 0 });
        for (i, shares) in credentials.iter().enumerate() {
            assert_eq!(
                shares.next[v],
                credentials[(i + 1) % 3].own[v],
                "copies of one share agree"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_party_was_away_for_a_part() {
    let mut world = World::new();
    let mut made: Vec<Made> = (0..30).map(|i| world.online(i * 10)).collect();
    for (i, made) in made.iter().enumerate() {
        for role in Role::ALL {
            // In turns: all three, without P1, without P2, without P3.
            if i % 4 == 0 || i % 4 != usize::from(role.index()) {
                world.accept(made, role);
            }
        }
    }
    made.sort_by_key(|made| made.digest);
    made.sort_by_key(|made| world.cast_at(made));
    let sealed = world.sealed().await;
    check_rows(&sealed, &made.iter().collect::<Vec<_>>());
    assert!(sealed.iter().all(|sealed| sealed.findings().is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_party_that_saw_nothing_at_all_gets_everything() {
    let mut world = World::new();
    let ballot = world.ballot(
        Where::Station {
            station: 1,
            sequence: 1,
        },
        10,
    );
    let other = world.online(5);
    for made in [&ballot, &other] {
        world.accept(made, Role::P1);
        world.accept(made, Role::P2);
    }
    check_rows(&world.sealed().await, &[&other, &ballot]);
}

#[tokio::test(start_paused = true)]
async fn one_acceptance_makes_no_ballot() {
    let mut world = World::new();
    let (alone, kept) = (world.online(10), world.online(20));
    world.accept(&alone, Role::P2);
    world.accept_by_all(&kept);
    let sealed = world.sealed().await;
    check_rows(&sealed, &[&kept]);
    assert!(
        sealed[0]
            .seal()
            .seal()
            .exclusions
            .iter()
            .all(|e| e.digest != alone.digest)
    );
}

#[tokio::test(start_paused = true)]
async fn a_claimed_receipt_is_an_acceptance() {
    let mut world = World::new();
    let (ballot, other) = (world.online(10), world.online(20));
    world.accept_by_all(&other);
    world.accept(&ballot, Role::P1);
    // P2 holds it and gave a receipt, which the voter handed to P1; but P2's List leaves it out. P3 was away.
    let receipt = world.accept(&ballot, Role::P2);
    world.deliver(&receipt, Role::P1);
    world.forge_list(Role::P2, &[other.digest], &[]);
    let sealed = world.sealed().await;
    check_rows(&sealed, &[&ballot, &other]);
    for sealed in &sealed {
        let [finding] = sealed.findings() else {
            panic!("{:?}", sealed.findings())
        };
        assert_eq!(
            (finding.named, finding.lie, finding.basis),
            (Role::P2, Lie::HidAcceptance, Basis::Proved)
        );
        assert_eq!(finding.digest, Some(ballot.digest));
    }
}

#[tokio::test(start_paused = true)]
async fn a_party_that_is_down_only_stops() {
    let mut world = World::new();
    let ballot = world.online(10);
    world.accept_by_all(&ballot);
    world.network.put(Role::P3, None);
    for run in world.seal(&[Role::P1, Role::P2]).await {
        match run {
            Err(SealError::Waiting {
                of: Role::P3,
                item: Item::Holdings,
                ..
            }) => {}
            other => panic!("{other:?}"),
        }
    }
    world.restart(Role::P3, 0);
    check_rows(&world.sealed().await, &[&ballot]);
}

#[tokio::test(start_paused = true)]
async fn a_box_is_sealed_once() {
    let mut world = World::new();
    let ballot = world.online(10);
    world.accept_by_all(&ballot);
    let first = world.sealed().await;
    assert!(
        world
            .store(Role::P1)
            .read(|tx| boxes::is_frozen(tx, 1, BOX))
            .expect("reads"),
        "intake is closed"
    );
    // Whatever comes later, the Seal stays.
    let late = world.online(50);
    world.accept_by_all(&late);
    world.order(1, &world.correction(1, 0, false, false), Role::P1);
    for role in Role::ALL {
        world.restart(role, 1);
    }
    let second = world.sealed().await;
    assert_eq!(first[0].seal_hash(), second[0].seal_hash());
    check_rows(&second, &[&ballot]);
}

#[tokio::test(start_paused = true)]
async fn not_before_the_last_moment_on_ones_own_clock() {
    let mut world = World::new();
    let ballot = world.online(10);
    world.accept_by_all(&ballot);
    for now in [CLOSES, UNTIL] {
        world.clock.set(now * 1000 + 999);
        let [run] = world.seal(&[Role::P1]).await.try_into().expect("one");
        assert!(matches!(run, Err(SealError::TooEarly { .. })), "{run:?}");
    }
    assert!(
        !world
            .store(Role::P1)
            .read(|tx| boxes::is_frozen(tx, 1, BOX))
            .expect("reads")
    );
    world.clock.set((UNTIL + 1) * 1000);
    check_rows(&world.sealed().await, &[&ballot]);
}

#[tokio::test]
async fn a_sealed_box_is_tallied_as_its_manifest_says() {
    for network in Network::ALL {
        let mut world = World::with(Setting {
            apart: network,
            ..Setting::default()
        });
        let ballot = world.online(10);
        world.accept_by_all(&ballot);
        world.sealed().await;
        let boxes = SealedBoxes::new(world.sealing(Role::P2).clone(), Handle::current());
        let election = world.manifest.manifest().election().clone();
        let ready = spawn_blocking(move || boxes.ready(&election, BoxId(BOX))).await;
        let params = ready.expect("no panic").expect("a sealed box").params;
        let expected = TallyParams {
            counts: OpenedCounts::PerChannel,
            sort: match network {
                Network::Near => SortParams::LAN,
                Network::Far => SortParams::WAN,
            },
        };
        assert_eq!(params, expected, "{network}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_box_below_the_minimum_is_refused() {
    let mut world = World::with(Setting {
        min_submissions: 3,
        ..Setting::default()
    });
    for after in [1, 2] {
        let made = world.online(after);
        world.accept_by_all(&made);
    }
    for run in world.seal(&Role::ALL).await {
        let Err(SealError::Sealing(error)) = run else {
            panic!("{run:?}")
        };
        assert!(
            matches!(
                error,
                SealingError::TooFew {
                    submissions: 2,
                    minimum: 3,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_that_reached_one_party_only_is_waited_for() {
    let mut world = World::new();
    let ballot = world.online(10);
    world.accept_by_all(&ballot);
    let record = world.record(4, 1, 0, 1);
    world.accept_by_all(&record);
    let first = world.correction(1, 2, false, false);
    let second = world.correction_after(Some(&first), 2, 4, (true, false));
    world.order(1, &first, Role::P1);
    world.order(2, &second, Role::P1);
    world.order(1, &first, Role::P2);
    let runs = world.seal(&Role::ALL).await;
    assert!(runs[0].is_err(), "P1 waits for the Seals of the others");
    assert!(
        matches!(
            runs[1],
            Err(SealError::OrdersMissing {
                of: Role::P1,
                theirs: 2,
                ours: 1
            })
        ),
        "{:?}",
        runs[1]
    );
    assert!(
        matches!(
            runs[2],
            Err(SealError::OrdersMissing {
                theirs: 2,
                ours: 0,
                ..
            })
        ),
        "{:?}",
        runs[2]
    );
    world.order(2, &second, Role::P2);
    world.order(1, &first, Role::P3);
    world.order(2, &second, Role::P3);
    // One more, after the Lists: it does not touch this box.
    let third = world.correction_after(Some(&second), 3, 5, (false, false));
    world.order(3, &third, Role::P3);
    let sealed = world.sealed().await;
    check_rows(&sealed, &[&ballot]);
    for sealed in &sealed {
        assert!(!sealed.live().get(2) && sealed.live().get(5));
        assert_eq!(
            sealed.enrolled().count_ones(),
            0,
            "the order takes voter 4's enrolment away"
        );
        assert_eq!(sealed.seal().seal().orders.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn stations_are_counted_and_their_slips_published() {
    let mut world = World::new();
    let mut ballots = vec![
        world.ballot(
            Where::Station {
                station: 1,
                sequence: 1,
            },
            100,
        ),
        // Number 2 is missing, number 3 goes back in time.
        world.ballot(
            Where::Station {
                station: 1,
                sequence: 3,
            },
            50,
        ),
        world.ballot(
            Where::Paper {
                station: 1,
                sequence: 4,
            },
            120,
        ),
        world.ballot(
            Where::Station {
                station: 2,
                sequence: 1,
            },
            10,
        ),
        // One number, two ballots: the lowest digest stays.
        world.ballot(
            Where::Station {
                station: 2,
                sequence: 2,
            },
            20,
        ),
        world.ballot(
            Where::Station {
                station: 2,
                sequence: 2,
            },
            21,
        ),
    ];
    for made in &ballots {
        world.accept_by_all(made);
    }
    let dropped = if ballots[4].digest < ballots[5].digest {
        ballots.remove(5)
    } else {
        ballots.remove(4)
    };
    let [first, third, paper, other, twice] = ballots.as_slice() else {
        panic!("five are left")
    };
    let sealed = world.sealed().await;
    check_rows(&sealed, &[other, twice, third, first, paper]);
    let seal = sealed[0].seal().seal();
    let [exclusion] = seal.exclusions.as_slice() else {
        panic!("{:?}", seal.exclusions)
    };
    assert_eq!(
        (exclusion.digest, exclusion.reason),
        (dropped.digest, Reason::BallotStationSequence)
    );
    let [one, two] = seal.stations.as_slice() else {
        panic!("{:?}", seal.stations)
    };
    assert_eq!(
        (one.station, one.electronic, one.paper, one.gaps),
        (StationId(1), 2, 1, 1)
    );
    assert_eq!((one.repeated_numbers, one.falling_times), (0, 1));
    assert_eq!(
        (two.station, two.electronic, two.paper, two.repeated_numbers),
        (StationId(2), 2, 0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn many_ballots_travel_in_parts_and_batches() {
    let mut world = World::new();
    let made: Vec<Made> = (0..40_000).map(|i| world.online(i % 30_000)).collect();
    world.accept_many(&made, Role::P1);
    world.accept_many(&made, Role::P2);
    world.accept_many(&made[..35_000], Role::P3);
    let sealed = world.sealed().await;
    let mut expected: Vec<_> = made
        .iter()
        .map(|made| (world.cast_at(made), made.digest))
        .collect();
    expected.sort_unstable();
    for sealed in &sealed {
        assert!(sealed.rows().iter().eq(expected.iter().map(|(_, digest)| digest)));
        let mut body = Vec::new();
        let mut parts = sealed.body_parts();
        while let Some(part) = parts.next().await {
            body.extend_from_slice(&part.expect("reads"));
        }
        let body = BoxBody::decode(&body, VOTERS).expect("the parts are one canonical body");
        assert_eq!(body.ballots().len(), 40_000);
        assert!(sealed.tally_input().is_ok());
    }
}
