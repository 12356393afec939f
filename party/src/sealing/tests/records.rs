//! Which credential records stand.

use tally_proto::ids::{Role, VoterIndex};
use tally_proto::reason::Reason;

use super::super::Lie;
use super::objects::acceptance;
use super::world::{Setting, World};

#[tokio::test(start_paused = true)]
async fn a_record_needs_three_acceptances() {
    let mut world = World::new();
    world.reissue(&[(1, 2)]);
    let lower = world.record(1, 1, 0, 11);
    let higher = world.record(1, 2, 0, 12);
    let alone = world.record(2, 1, 0, 13);
    let ballot = world.online(10);
    world.accept_by_all(&ballot);
    world.accept_by_all(&lower);
    // P3 never got the higher serial, nor voter 2's only record.
    for made in [&higher, &alone] {
        world.accept(made, Role::P1);
        world.accept(made, Role::P2);
    }
    for sealed in world.sealed().await {
        assert_eq!(sealed.standing().expect("reads"), [(VoterIndex(1), lower.digest)]);
        assert!(sealed.enrolled().get(1) && !sealed.enrolled().get(2));
        assert!(sealed.findings().is_empty(), "not to have got a record is no lie");
    }
}

#[tokio::test(start_paused = true)]
async fn a_claimed_receipt_makes_a_record_stand() {
    let mut world = World::new();
    let record = world.record(1, 1, 0, 0x1234);
    let ballot = world.online(10);
    world.accept_by_all(&ballot);
    for role in [Role::P1, Role::P2] {
        world.accept(&record, role);
    }
    // P3 gave a receipt that the registrar handed to P2, but P3 has lost the record and does not list it.
    world.deliver(
        &acceptance(record.digest, Role::P3, 9).sign(world.signer(Role::P3)),
        Role::P2,
    );
    let sealed = world.sealed().await;
    for sealed in &sealed {
        assert_eq!(
            sealed.standing().expect("reads"),
            [(VoterIndex(1), record.digest)]
        );
        let [finding] = sealed.findings() else {
            panic!("{:?}", sealed.findings())
        };
        assert_eq!((finding.named, finding.lie), (Role::P3, Lie::HidAcceptance));
    }
    let shares = sealed
        .each_ref()
        .map(|sealed| sealed.credentials().expect("opens"));
    assert_eq!(shares[0].own[1] ^ shares[1].own[1] ^ shares[2].own[1], 0x1234);
}

#[tokio::test(start_paused = true)]
async fn the_highest_serial_stands_and_equal_serials_stand_for_nobody() {
    let mut world = World::new();
    world.reissue(&[(1, 7), (2, 5)]);
    let ballot = world.online(10);
    let lower = world.record(1, 4, 0, 1);
    let higher = world.record(1, 7, 0, 2);
    let twin = world.record(2, 5, 0, 3);
    let other_twin = world.record(2, 5, 0, 4);
    for made in [&ballot, &lower, &higher, &twin, &other_twin] {
        world.accept_by_all(made);
    }
    for sealed in world.sealed().await {
        assert_eq!(
            sealed.standing().expect("reads"),
            [(VoterIndex(1), higher.digest)]
        );
        assert!(!sealed.enrolled().get(2));
    }
}

/// Three corrupted intakes would be needed to take it at all; what is sealed does not rest on them.
#[tokio::test(start_paused = true)]
async fn what_a_registrar_issues_again_without_an_order_is_excluded_and_the_first_stands() {
    let mut world = World::new();
    let ballot = world.online(10);
    let first = world.record(1, 1, 0, 1);
    let again = world.record(1, 2, 0, 2);
    for made in [&ballot, &first, &again] {
        world.accept_by_all(made);
    }
    for sealed in world.sealed().await {
        assert_eq!(sealed.standing().expect("reads"), [(VoterIndex(1), first.digest)]);
        let exclusions = &sealed.seal().seal().exclusions;
        assert_eq!(exclusions.len(), 1);
        assert_eq!(
            (exclusions[0].digest, exclusions[0].reason),
            (again.digest, Reason::RecordSerial)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn both_halves_of_a_split_issue_are_needed_and_combined() {
    let mut world = World::with(Setting {
        registrars: 2,
        ..Setting::default()
    });
    let ballot = world.online(10);
    let letter = world.record(1, 1, 0, 0xaaaa_0000_1111_2222);
    let message = world.record(1, 1, 1, 0x0f0f_0f0f_0000_ffff);
    let half = world.record(2, 1, 0, 5);
    for made in [&ballot, &letter, &message, &half] {
        world.accept_by_all(made);
    }
    let sealed = world.sealed().await;
    let shares = sealed
        .each_ref()
        .map(|sealed| sealed.credentials().expect("opens"));
    let credential = |v: usize| shares.iter().fold(0, |whole, shares| whole ^ shares.own[v]);
    assert_eq!(credential(1), 0xaaaa_0000_1111_2222 ^ 0x0f0f_0f0f_0000_ffff);
    assert_eq!(credential(2), 0, "half a credential is none");
    assert_eq!(sealed[0].enrolled().count_ones(), 1);
    let standing = sealed[0].standing().expect("reads");
    assert_eq!(
        standing,
        [(VoterIndex(1), letter.digest), (VoterIndex(1), message.digest)]
    );
}
