use super::*;
use crate::fixture::cards::called;
use crate::fixture::{CLOSES, OPENS, OpenShape, Shape, World};

const BOX: BoxId = BoxId(1);

fn world() -> World {
    World::new(Shape {
        cards: true,
        registrars: 0,
        open: Some(OpenShape {
            most: 50,
            freezes: CLOSES,
            min_voters: 1,
        }),
        ..Shape::default()
    })
}

fn of(world: &World) -> Subject<'_> {
    Subject {
        election: world.manifest.manifest().election(),
        of_box: BOX,
    }
}

/// What `party` states: numbers, and whose they are.
fn told(world: &World, party: Role, people: &[(u32, u32)], at: u64) -> Result<Told, OpenRollError> {
    let names: BTreeMap<u32, String> = people
        .iter()
        .map(|(v, person)| (*v, called(1, *person)))
        .collect();
    let signer = &world.signers[party.slot()];
    let head = Head::sign(of(world), party, UnixSeconds(at), &names, signer);
    Told::new(of(world), party, &signer.public_key(), names, head)
}

/// P2 leaves 1 out and has another person for 2; 5 is P1's alone, and of 7 all three say something else.
fn list(world: &World) -> OpenRollList {
    let people: [&[(u32, u32)]; 3] = [
        &[(0, 0), (1, 1), (2, 2), (4, 4), (5, 5), (7, 7)],
        &[(0, 0), (2, 9), (4, 4), (7, 17)],
        &[(0, 0), (1, 1), (2, 2), (4, 4), (7, 27)],
    ];
    let told = Role::ALL.map(|party| {
        told(
            world,
            party,
            people[party.slot()],
            OPENS + u64::from(party.index()),
        )
        .ok()
    });
    OpenRollList::join(told).expect("three heads")
}

#[test]
fn two_parties_put_somebody_on_the_list_and_the_third_is_named() {
    let world = world();
    let made = list(&world);
    let text = made.encode(of(&world));
    let read = OpenRollList::decode(&text, world.manifest.manifest(), BOX).expect("holds");
    assert_eq!(read, made);
    let on: Vec<_> = read
        .voters()
        .map(|on| (on.voter.get(), on.name.to_owned(), on.missing_at))
        .collect();
    let expected = [(0, None), (1, Some(Role::P2)), (2, Some(Role::P2)), (4, None)];
    assert_eq!(on, expected.map(|(v, missing)| (v, called(1, v), missing)));
    assert_eq!(read.missing_at(Role::P2), [VoterIndex(1), VoterIndex(2)]);
    assert!(read.missing_at(Role::P1).is_empty() && read.missing_at(Role::P3).is_empty());
    assert_eq!((read.unfinished(), read.differing()), (1, vec![VoterIndex(7)]));
    assert_eq!(
        read.as_of(),
        UnixSeconds(OPENS + 2),
        "the older of the two newest"
    );
    // Of what one party alone says no name is in it.
    for person in [5, 7, 9, 17, 27] {
        assert!(!text.contains(&called(1, person)), "{text}");
    }
    // Two heads suffice, one does not.
    let two = |third: bool| {
        let of = |party| told(&world, party, &[(0, 0)], OPENS).ok();
        OpenRollList::join([of(Role::P1), None, third.then(|| of(Role::P3)).flatten()])
    };
    let both = two(true).expect("two heads").encode(of(&world));
    let read = OpenRollList::decode(&both, world.manifest.manifest(), BOX).expect("holds");
    assert_eq!(read.voters().count(), 1);
    assert_eq!(two(false), Err(OpenRollError::Heads(1)));
}

#[test]
fn whoever_carries_the_list_can_change_nothing_in_it() {
    let world = world();
    let text = list(&world).encode(of(&world));
    let refused = |text: &str| OpenRollList::decode(text, world.manifest.manifest(), BOX).expect_err(text);
    let lines: Vec<&str> = text.lines().collect();
    // Any line left out, but those that nothing is signed over; any two exchanged.
    for at in 0..lines.len() {
        let mut fewer = lines.clone();
        let removed = fewer.remove(at);
        refused(&fewer.join("\n"));
        assert!(removed.starts_with(|c: char| c.is_ascii_digit()) || removed.contains("head") || at == 0);
    }
    // Numbers of two people exchanged: the attack on a voter at the station.
    let exchanged = text
        .replace(&called(1, 0), "X")
        .replace(&called(1, 4), &called(1, 0));
    assert!(matches!(
        refused(&exchanged.replace('X', &called(1, 4))),
        OpenRollError::Signature(_)
    ));
    // Somebody invented, under the names of two parties or of all.
    for by in ["12", "123", "23"] {
        let invented = text.replace("head\t1", &format!("9\t{}\t{by}\nhead\t1", called(1, 30)));
        assert!(matches!(refused(&invented), OpenRollError::Signature(_)), "{by}");
    }
    // One party's line made two parties', with its name.
    let line = format!("5\t{}\t13", called(1, 5));
    let alone = lines
        .iter()
        .find(|line| line.starts_with("5\t\t"))
        .expect("there");
    assert_eq!(
        refused(&text.replace(alone, &line)),
        OpenRollError::Signature(Role::P3)
    );
    // A head of another moment, another party's, twice, or none.
    assert!(matches!(
        refused(&text.replace(&format!("\t{}\t", OPENS + 1), &format!("\t{}\t", OPENS + 60))),
        OpenRollError::Signature(Role::P1)
    ));
    let head = lines[lines.len() - 1];
    refused(&format!("{text}{head}"));
    refused(&text.replace(head, &head.replacen("head\t3", "head\t2", 1)));
    let without: Vec<&str> = lines
        .iter()
        .filter(|line| !line.starts_with("head"))
        .copied()
        .collect();
    refused(&without.join("\n"));
    // Another box, another election; another way to write a number.
    assert_eq!(
        OpenRollList::decode(&text, world.manifest.manifest(), BoxId(2)),
        Err(OpenRollError::Other)
    );
    refused(&text.replace("ward-7", "ward-8"));
    assert!(matches!(
        refused(&text.replacen("\n0\t", "\n00\t", 1)),
        OpenRollError::Line(2)
    ));
}

#[test]
fn what_a_party_cannot_state_is_refused_by_its_name() {
    let world = world();
    assert_eq!(
        told(&world, Role::P1, &[(3, 8), (6, 8)], OPENS),
        Err(OpenRollError::Twice {
            party: Role::P1,
            first: VoterIndex(3),
            second: VoterIndex(6)
        })
    );
    let key = world.signers[1].public_key();
    let stated = |names: Vec<(u32, String)>, at: u64| {
        let own: BTreeMap<u32, String> = names.iter().cloned().collect();
        let head = Head::sign(of(&world), Role::P2, UnixSeconds(at), &own, &world.signers[1]);
        (names, head)
    };
    let name = |n: u32| called(1, n);
    let (falling, head) = stated(vec![(4, name(4)), (3, name(3))], OPENS);
    let refused = Told::new(of(&world), Role::P2, &key, falling, head).expect_err("numbers fall");
    assert_eq!(refused, OpenRollError::Numbers(Role::P2));
    let (names, head) = stated(vec![(4, name(4))], OPENS);
    let mut more = names.clone();
    more.push((5, name(5)));
    let refused = Told::new(of(&world), Role::P2, &key, more, head.clone()).expect_err("one more");
    assert_eq!(refused, OpenRollError::Signature(Role::P2));
    let other = world.signers[2].public_key();
    let refused = Told::new(of(&world), Role::P2, &other, names, head).expect_err("another's key");
    assert_eq!(refused, OpenRollError::Signature(Role::P2));
    for bad in [
        String::new(),
        "a\tb".into(),
        "a\nhead".into(),
        "x".repeat(MAX_NAME_BYTES + 1),
    ] {
        let (names, head) = stated(vec![(4, bad)], OPENS);
        let refused = Told::new(of(&world), Role::P2, &key, names, head).expect_err("no name");
        assert_eq!(refused, OpenRollError::Name);
    }
    assert_eq!(name_of("a\tb\u{7f}ö"), "a\\u{9}b\\u{7f}ö");
}
