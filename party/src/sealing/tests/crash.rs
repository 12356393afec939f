//! A party's disk fails at any write, and the machine comes back with whatever of it survived: the box ends with the same Seal.

use tally_proto::ids::{Hash32, Role, RoleExt as _};

use super::objects::Where;
use super::world::World;
use crate::store::sim::SimDisk;

/// Every step has something to do: fill, records, a claim, an exclusion.
fn world() -> World {
    let mut world = World::new();
    for i in 0..12 {
        let made = world.online(i * 7);
        for role in Role::ALL {
            if i % 4 != u64::from(role.index()) {
                world.accept(&made, role);
            }
        }
    }
    for after in [5, 6] {
        let made = world.ballot(
            Where::Station {
                station: 1,
                sequence: 1,
            },
            after,
        );
        world.accept_by_all(&made);
    }
    for v in 0..3 {
        let record = world.record(v, 1, 0, u64::from(v) + 100);
        world.accept_by_all(&record);
    }
    let claimed = world.online(500);
    world.accept(&claimed, Role::P1);
    world.accept(&claimed, Role::P2);
    world
}

/// The Seal without any failure, and how many disk operations sealing takes each party.
async fn undisturbed() -> (Hash32, [(u64, u64); 3]) {
    let world = world();
    let before = Role::ALL.map(|role| world.disk(role).operations());
    let hash = world.sealed().await[0].seal_hash();
    let after = Role::ALL.map(|role| world.disk(role).operations());
    (hash, std::array::from_fn(|i| (before[i], after[i])))
}

/// Whatever operation of a party's disk fails, in that way.
async fn ends_with_the_same_seal(fail: fn(&SimDisk, u64)) {
    let (expected, operations) = undisturbed().await;
    for (role, (from, to)) in Role::ALL.into_iter().zip(operations) {
        assert!(to - from > 30, "{role}: {from} to {to}");
        let mut failed = 0;
        for failing in from..to {
            let mut world = world();
            fail(world.disk(role), failing);
            let runs = world.seal(&Role::ALL).await;
            failed += u64::from(runs[role.slot()].is_err());
            // The failing party says so, unless it had finished; nobody is named for a crash.
            for run in runs.into_iter().filter_map(Result::err) {
                assert!(
                    !matches!(run, super::super::SealError::Aborted(_)),
                    "{role} at {failing}: {run}"
                );
            }
            world.restart(role, failing);
            assert_eq!(
                world.sealed().await[0].seal_hash(),
                expected,
                "{role} at {failing}"
            );
        }
        assert!(failed > 20, "{role}: {failed} of {} were noticed", to - from);
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_write_fails_for_good_the_box_ends_with_the_same_seal() {
    ends_with_the_same_seal(SimDisk::fail_from).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_one_operation_fails_the_box_ends_with_the_same_seal() {
    ends_with_the_same_seal(SimDisk::fail_only).await;
}

#[tokio::test(start_paused = true)]
async fn all_three_crash_at_once_again_and_again() {
    let (expected, operations) = undisturbed().await;
    let mut world = world();
    let mut allowed = 8;
    for round in 0..200u64 {
        for role in Role::ALL {
            let disk = world.disk(role);
            disk.fail_from(disk.operations() + allowed);
        }
        let runs = world.seal(&Role::ALL).await;
        let done = runs.iter().all(Result::is_ok);
        for role in Role::ALL {
            world.restart(role, round);
        }
        if done {
            break;
        }
        allowed += 1;
    }
    assert!(
        allowed > 8 && allowed < operations[0].1,
        "it took {allowed} operations at once"
    );
    assert_eq!(world.sealed().await[0].seal_hash(), expected);
}
