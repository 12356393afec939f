use std::collections::BTreeMap;

use tally_proto::fixture::cards::called;
use tally_proto::fixture::{CLOSES, OPENS, OpenShape, Shape, World};
use tally_proto::ids::RoleExt as _;
use tally_proto::open_roll::{Head, Subject, Told};

use super::*;

const BOX: BoxId = BoxId(1);

fn world() -> World {
    World::new(Shape {
        cards: true,
        registrars: 0,
        open: Some(OpenShape {
            most: 9,
            freezes: CLOSES,
            min_voters: 1,
        }),
        ..Shape::default()
    })
}

/// The list of these numbers at each party, whose people are called by them.
fn list(world: &World, numbers: [&[u32]; 3]) -> String {
    list_of(world, numbers.map(Some))
}

/// `None`: that party's head is left out.
fn list_of(world: &World, numbers: [Option<&[u32]>; 3]) -> String {
    let of = Subject {
        election: world.manifest.manifest().election(),
        of_box: BOX,
    };
    let told = Role::ALL.map(|party| {
        let names: BTreeMap<u32, String> = numbers[party.slot()]?
            .iter()
            .map(|v| (*v, called(1, *v)))
            .collect();
        let signer = &world.signers[party.slot()];
        let head = Head::sign(of, party, UnixSeconds(OPENS), &names, signer);
        Told::new(of, party, &signer.public_key(), names, head).ok()
    });
    OpenRollList::join(told).unwrap().encode(of)
}

fn read(world: &World, text: &str) -> Result<RollFile, RollFileError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("open-roll.tsv");
    std::fs::write(&path, text).unwrap();
    let election = Election::new((*world.manifest).clone()).unwrap();
    RollFile::read(&path, &election, |of_box| of_box == BOX)
}

#[test]
fn a_line_of_an_open_roll_counts_where_two_parties_have_signed_it() {
    let world = world();
    let text = list(&world, [&[0, 1, 2, 5], &[0, 2], &[0, 1, 2]]);
    let roll = read(&world, &text).unwrap();
    let found = |v: u32| roll.of(&called(1, v)).map(|on| (on.voter.get(), on.missing_at));
    assert_eq!(found(0), Some((0, None)));
    assert_eq!(found(1), Some((1, Some(Role::P2))), "P2 keeps nobody off it");
    assert_eq!(found(5), None, "P1 alone puts nobody on it");
    assert_eq!(roll.as_of(), Some(UnixSeconds(OPENS)));
    assert_eq!(roll.find("PNOEE-", 9).0.len(), 3);
}

/// The commission leaves P1's signature out, so that P2, which does not have Alice, keeps her off; or P1 is merely away.
#[test]
fn a_signature_that_is_missing_is_told_and_nobody_is_accused_for_it() {
    let world = world();
    let text = list(&world, [&[0, 1, 2], &[0, 2], &[0, 1, 2]]);
    assert_eq!(read(&world, &text).unwrap().without(), None);
    // As the commission would write it: lines by P2 and P3 alone, and Alice's without a name.
    let two = list_of(&world, [None, Some(&[0, 2]), Some(&[0, 1, 2])]);
    let roll = read(&world, &two).unwrap();
    assert_eq!(roll.without(), Some(Role::P1));
    assert!(roll.of(&called(1, 1)).is_none());
    for v in [0, 2] {
        let on = roll.of(&called(1, v)).unwrap();
        assert_eq!(on.missing_at, None, "whose signature is not there is not accused");
    }
}

/// The commission has Alice's vote at the station count for somebody else, who votes twice then.
#[test]
fn whoever_hands_the_list_out_exchanges_and_invents_nobody() {
    let world = world();
    let text = list(&world, [&[0, 1], &[0, 1], &[0, 1]]);
    let (alice, other) = (called(1, 0), called(1, 1));
    let exchanged = text
        .replace(&alice, "X")
        .replace(&other, &alice)
        .replace('X', &other);
    let invented = text.replace("head\t1", &format!("7\t{}\t123\nhead\t1", called(1, 7)));
    let left_out = text.replace(&format!("0\t{alice}\t123\n"), "");
    let moved = text.replace(&format!("1\t{other}"), &format!("8\t{other}"));
    // Of the form that stations took on the commission's word before.
    let unsigned = format!("box,reference,online,index\n1,{alice},yes,1\n");
    for bad in [exchanged, invented, left_out, moved, unsigned, String::new()] {
        assert_ne!(bad, text);
        let refused = read(&world, &bad).unwrap_err();
        assert!(matches!(refused, RollFileError::OpenRoll { .. }), "{refused}");
    }
}
