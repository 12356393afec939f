use std::sync::Arc;

use tally_proto::card::{DrawStatement, DrawTerms};
use tally_proto::fixture::cards::{Card, CardKey, CardShape, DAY, called};
use tally_proto::fixture::{CLOSES, OPENS, OpenShape, Shape};

use super::*;
use crate::tickets::tests::{Scene, drawn, reason, scene, scene_of};
use crate::tickets::{Desk, MOST_SURPLUS, grant};

const RECORD: usize = Records::<2>::BYTES;

/// With the authority's revocation list in the coordinator's directory.
fn cards(open: Option<OpenShape>) -> Scene {
    let scene = scene_of(Shape {
        tickets: true,
        cards: true,
        registrars: usize::from(open.is_none()),
        open,
        ..Shape::default()
    });
    revoke(&scene, &[], OPENS + DAY);
    scene
}

fn open_for(most: u32) -> Scene {
    cards(Some(OpenShape {
        most,
        freezes: CLOSES,
        min_voters: 1,
    }))
}

fn revoke(scene: &Scene, serials: &[Vec<u8>], until: u64) {
    let lists = scene.dir.path().join("revocation");
    std::fs::create_dir_all(&lists).expect("a directory");
    let of = scene.world.cards.as_ref().expect("cards");
    let list = of.revocations(serials, OPENS - DAY, until);
    std::fs::write(lists.join("cards.crl"), list).expect("written");
}

fn desk(scene: &Scene) -> Arc<Desk> {
    let lists = ListDirectory::of(&scene.dir.path().join("revocation"));
    let desk = Desk::open(&scene.election, Arc::new(lists)).expect("opens");
    Arc::new(desk.expect("there are tickets"))
}

fn card_of(scene: &mut Scene, shape: &CardShape) -> Card {
    scene.world.cards.as_mut().expect("cards").card(shape)
}

/// A card of voter `v` of box 1.
fn card(scene: &mut Scene, v: u32) -> Card {
    card_of(scene, &CardShape::of(&called(1, v), CardKey::P256, OPENS))
}

fn terms(scene: &Scene, code: u8) -> DrawTerms {
    let manifest = scene.world.manifest.hash();
    DrawTerms {
        manifest,
        code: scene.code(code).hash_for_card(&manifest),
        signed_at: UnixSeconds(OPENS),
    }
}

/// What that card states of the code of that byte.
fn statement(scene: &Scene, card: &Card, code: u8) -> Vec<u8> {
    card.states(terms(scene, code)).encode()
}

fn admit(desk: &Desk, statement: &[u8]) -> Result<(), Reason> {
    let admitted = desk.admit_code(statement, UnixSeconds(OPENS + 10));
    admitted.map_err(|refusal| refusal.reason)
}

fn records(scene: &Scene) -> usize {
    let book = std::fs::read(scene.election.path().join(FILE)).expect("a book");
    assert_eq!(book.len() % RECORD, 0);
    book.len() / RECORD
}

#[test]
fn a_card_stands_for_a_draw_code_for_good_and_the_same_again_changes_nothing() {
    let mut scene = cards(None);
    let own = card(&mut scene, 2);
    let desk = desk(&scene);
    // Before the registrar's codes are here, which may never come: nothing of them is needed.
    let early = drawn(&desk, &scene.request(2, 40, 1));
    assert_eq!(reason(early), Reason::DrawNotReady);
    let stated = statement(&scene, &own, 40);
    for _ in 0..3 {
        assert_eq!(admit(&desk, &stated), Ok(()));
    }
    assert_eq!(records(&scene), 1);
    drawn(&desk, &scene.request(2, 40, 1)).expect("drawn");
    assert_eq!(scene.admit(2).expect("admitted"), 2);
    // It is that voter's and nobody else's, and no other code is.
    for (v, code) in [(0, 40), (1, 40), (2, 41), (4, 40), (77, 40)] {
        let refused = reason(drawn(&desk, &scene.request(v, code, 2)));
        assert_eq!(refused, Reason::DrawRefused, "voter {v} with code {code}");
    }
    // After a restart too; a replay, by whomever and whenever its moment allows, adds nothing.
    drop(desk);
    let desk = self::desk(&scene);
    drawn(&desk, &scene.request(2, 40, 2)).expect("drawn");
    assert_eq!(admit(&desk, &stated), Ok(()));
    assert_eq!(records(&scene), 1);
    let late = desk.admit_code(&stated, UnixSeconds(OPENS + 3600));
    assert_eq!(late, Ok(()), "it was taken, and changes nothing");
    drop(desk);
    let other_day = self::desk(&scene).admit_code(&stated, UnixSeconds(OPENS + 3600));
    assert_eq!(other_day.expect_err("kept back").reason, Reason::CardSignedAt);
}

#[test]
fn what_a_card_or_its_statement_lacks_is_refused_by_its_own_reason() {
    let mut scene = cards(None);
    let good = CardShape::of(&called(1, 0), CardKey::P256, OPENS);
    let own = card_of(&mut scene, &good);
    let desk = desk(&scene);
    let of = |change: &dyn Fn(&mut CardShape)| {
        let mut shape = good.clone();
        change(&mut shape);
        shape
    };
    for (shape, due) in [
        (of(&|s| s.person = called(4, 4)), Reason::CardNotOnRoll),
        (of(&|s| s.person = called(1, 4)), Reason::VoterStationOnly),
        (of(&|s| s.not_after = OPENS + 5), Reason::CardExpired),
        (of(&|s| s.not_before = OPENS + 5), Reason::CardNotYetValid),
        (of(&|s| s.authentication = false), Reason::CardPurpose),
        (
            of(&|s| s.person = "PNOLV-38001011000".to_owned()),
            Reason::CardNamesNobody,
        ),
    ] {
        let card = card_of(&mut scene, &shape);
        assert_eq!(admit(&desk, &statement(&scene, &card, 50)), Err(due), "{shape:?}");
    }
    let of_terms = |terms: DrawTerms| admit(&desk, &own.states(terms).encode());
    let manifest = Hash32([9; 32]);
    let elsewhere = DrawTerms {
        manifest,
        ..terms(&scene, 50)
    };
    assert_eq!(of_terms(elsewhere), Err(Reason::ElectionOther));
    for at in [OPENS - 291, OPENS + 311] {
        let signed_at = UnixSeconds(at);
        let then = DrawTerms {
            signed_at,
            ..terms(&scene, 50)
        };
        assert_eq!(of_terms(then), Err(Reason::CardSignedAt));
    }
    let stated = statement(&scene, &own, 50);
    let other = DrawTerms {
        code: Hash32([3; 32]),
        ..terms(&scene, 50)
    };
    let signature = own.sign(own.key.scheme(), b"something else");
    let forged = DrawStatement::new(other, own.certificate.clone(), own.key.scheme(), signature);
    let forged = forged.expect("of the form").encode();
    assert_eq!(admit(&desk, &forged), Err(Reason::CardSignature));
    let large = vec![0; MAX_STATEMENT_BYTES + 1];
    assert_eq!(admit(&desk, &large), Err(Reason::MessageTooLarge));
    assert_eq!(admit(&desk, b"no statement"), Err(Reason::MessageMalformed));

    revoke(&scene, std::slice::from_ref(&own.serial), OPENS + 2 * DAY);
    assert_eq!(admit(&desk, &stated), Err(Reason::CardRevoked));
    revoke(&scene, &[], OPENS - 5);
    assert_eq!(admit(&desk, &stated), Err(Reason::CardRevocationList));
    std::fs::remove_file(scene.dir.path().join("revocation/cards.crl")).expect("removed");
    assert_eq!(admit(&desk, &stated), Err(Reason::CardRevocationList));
    assert_eq!(records(&scene), 0, "nothing of all that is kept");
    revoke(&scene, &[], OPENS + 3 * DAY);
    assert_eq!(admit(&desk, &stated), Ok(()), "the card is good after all");
    // Whatever of a statement is altered, nothing comes of it.
    for at in 0..stated.len() {
        let mut altered = stated.clone();
        altered[at] ^= 1;
        assert!(admit(&desk, &altered).is_err(), "octet {at}");
    }
    assert_eq!(records(&scene), 1);

    let without = self::scene();
    let desk = Desk::open(&without.election, Arc::default()).expect("opens");
    let refused = admit(&desk.expect("tickets"), &stated);
    assert_eq!(refused, Err(Reason::CardRegister), "nobody enrols there");
}

#[test]
fn an_old_code_goes_on_as_it_was_and_all_codes_of_a_voter_draw_from_one_allowance() {
    // Voter 0 has an invitation, code 1, and hands it over. The voter then registers codes 60 and 61 with the card, and draws.
    let mut scene = cards(None);
    scene.admit(2).expect("admitted");
    let own = card(&mut scene, 0);
    let desk = desk(&scene);
    let before = drawn(&desk, &scene.request(0, 1, 1)).expect("drawn");
    for code in [60, 61] {
        assert_eq!(admit(&desk, &statement(&scene, &own, code)), Ok(()));
    }
    // Whoever has the old one draws as before, and has the old answer again.
    assert_eq!(drawn(&desk, &scene.request(0, 1, 1)).as_ref(), Ok(&before));
    let mut seed = 1_usize;
    let mut left = || {
        seed += 1;
        [1, 60, 61][seed % 3]
    };
    let mut made = 1;
    let exhausted = loop {
        match drawn(&desk, &scene.request(0, left(), made + 1)) {
            Ok(_) => made += 1,
            Err(refusal) => break refusal,
        }
        assert!(made < 100, "the draws never end");
    };
    let draws = usize::try_from(scene.manifest().ticketing().expect("tickets").draws()).expect("few");
    assert!(
        (draws..=draws + MOST_SURPLUS as usize).contains(&usize::from(made)),
        "{made}"
    );
    assert_eq!(exhausted.reason, Reason::DrawExhausted);
    // The same words, with each of the codes, with the one of before the enrolments, and after a restart.
    let mut desk = desk;
    for is_again in [false, true] {
        if is_again {
            drop(desk);
            desk = self::desk(&scene);
        }
        for code in [1, 60, 61] {
            let refused = drawn(&desk, &scene.request(0, code, 200)).expect_err("used up");
            assert_eq!(refused, exhausted, "code {code}");
        }
    }
    drop(desk);
    // As many as somebody has who never enrolled: the same voter in the same election with the invitation alone.
    let again = scene.election.path().join("draws");
    std::fs::remove_file(&again).expect("removed");
    std::fs::remove_file(scene.election.path().join(FILE)).expect("removed");
    let desk = self::desk(&scene);
    let alone = (1..100).take_while(|seed| drawn(&desk, &scene.request(0, 1, *seed)).is_ok());
    assert_eq!(alone.count(), usize::from(made));
    // One more draw for the voter is one for every code.
    let reference = scene.world.rolls[0].entries()[0].reference.clone();
    grant(&scene.election, &reference).expect("granted");
    assert_eq!(admit(&desk, &statement(&scene, &own, 60)), Ok(()));
    drawn(&desk, &scene.request(0, 60, 201)).expect("granted");
    let refused = drawn(&desk, &scene.request(0, 1, 202)).expect_err("used up");
    assert_eq!(refused, exhausted);
}

#[test]
fn a_person_has_so_many_codes_and_how_many_says_little() {
    let mut scene = cards(None);
    let mut desk = desk(&scene);
    let mut counts = Vec::new();
    for v in 0..4 {
        let own = card(&mut scene, v);
        let taken = (0..=u8::MAX).take_while(|code| {
            let admitted = admit(&desk, &statement(&scene, &own, *code));
            assert!(
                matches!(admitted, Ok(()) | Err(Reason::DrawCodes)),
                "{admitted:?}"
            );
            admitted.is_ok()
        });
        let taken = taken.count();
        assert!((MOST_CODES..=MOST_CODES + MOST_SURPLUS as usize).contains(&taken));
        counts.push(taken);
        // Those that are there stay good, and may be brought again.
        drop(desk);
        desk = self::desk(&scene);
        assert_eq!(admit(&desk, &statement(&scene, &own, 3)), Ok(()));
        drawn(&desk, &scene.request(v, 0, 1)).expect("drawn");
        let refused = desk.admit_code(&statement(&scene, &own, 255), UnixSeconds(OPENS));
        let refused = refused.expect_err("one too many");
        assert!(
            !refused.detail.contains(|c: char| c.is_ascii_digit()),
            "{refused}"
        );
    }
    assert_eq!(records(&scene), counts.iter().sum::<usize>());
    let other = counts.iter().any(|count| *count != counts[0]);
    assert!(other, "four voters with one number: {counts:?}");
    // The commission may let somebody have one more.
    let own = card(&mut scene, 0);
    let reference = scene.world.rolls[0].entries()[0].reference.clone();
    grant(&scene.election, &reference).expect("granted");
    assert_eq!(admit(&desk, &statement(&scene, &own, 254)), Ok(()));
    assert_eq!(
        admit(&desk, &statement(&scene, &own, 253)),
        Err(Reason::DrawCodes)
    );
}

#[test]
fn on_an_open_roll_a_draw_is_of_whose_card_stands_for_the_code() {
    let mut scene = open_for(3);
    let people: Vec<Card> = (0..4).map(|v| card(&mut scene, v)).collect();
    let desk = desk(&scene);
    // Nobody hands out codes here, and nobody has one yet.
    assert_eq!(reason(drawn(&desk, &scene.request(0, 9, 1))), Reason::DrawRefused);
    for (person, code) in [(2, 10), (0, 11), (2, 12)] {
        assert_eq!(admit(&desk, &statement(&scene, &people[person], code)), Ok(()));
    }
    // Whatever number a draw names, the person's draws are the person's: 10 and 12 are one allowance.
    let refused = drawn(&desk, &scene.request(5, 13, 1)).expect_err("nobody's");
    assert_eq!(refused.reason, Reason::DrawRefused);
    let mut made = 0;
    let exhausted = loop {
        let code = if made % 2 == 0 { 10 } else { 12 };
        match drawn(&desk, &scene.request(made.into(), code, made + 1)) {
            Ok(_) => made += 1,
            Err(refusal) => break refusal,
        }
        assert!(made < 100, "the draws never end");
    };
    for (v, code) in [(0, 10), (7, 12)] {
        let refused = drawn(&desk, &scene.request(v, code, 90)).expect_err("used up");
        assert_eq!(refused, exhausted);
    }
    drawn(&desk, &scene.request(0, 11, 1)).expect("another person's draws are left");
    // The commission names the person as the certificate does.
    grant(&scene.election, &called(1, 2)).expect("granted");
    drawn(&desk, &scene.request(0, 12, 91)).expect("granted");
    let nobody = grant(&scene.election, &called(1, 1)).expect_err("no code yet");
    assert!(matches!(nobody, Error::NoDrawCode(_)), "{nobody}");
    // A code is one person's, the first's.
    assert_eq!(
        admit(&desk, &statement(&scene, &people[0], 10)),
        Err(Reason::DrawRefused)
    );
    // No more persons than the roll can have voters; those who are there may have further codes, also after a restart.
    assert_eq!(admit(&desk, &statement(&scene, &people[3], 14)), Ok(()));
    drop(desk);
    let desk = self::desk(&scene);
    assert_eq!(
        admit(&desk, &statement(&scene, &people[1], 15)),
        Err(Reason::RollFull)
    );
    assert_eq!(admit(&desk, &statement(&scene, &people[0], 15)), Ok(()));
    drawn(&desk, &scene.request(0, 15, 2)).expect("drawn");
    drawn(&desk, &scene.request(0, 14, 3)).expect("drawn");
    // A new card of the same person is the same person.
    let renewed = card(&mut scene, 0);
    assert_eq!(admit(&desk, &statement(&scene, &renewed, 16)), Ok(()));
    assert_eq!(records(&scene), 6);
}

#[test]
fn a_torn_book_of_cards_is_cut() {
    let mut scene = cards(None);
    let own = card(&mut scene, 1);
    assert_eq!(admit(&desk(&scene), &statement(&scene, &own, 30)), Ok(()));
    let book = scene.election.path().join(FILE);
    let whole = std::fs::read(&book).expect("a book");
    for torn in 0..RECORD {
        std::fs::write(&book, [&whole[..], &vec![7; torn]].concat()).expect("torn");
        let desk = desk(&scene);
        assert_eq!(std::fs::read(&book).expect("a book"), whole, "{torn}");
        if torn == 5 {
            assert_eq!(admit(&desk, &statement(&scene, &own, 31)), Ok(()));
            let two = std::fs::read(&book).expect("a book");
            assert_eq!((two.len(), two.starts_with(&whole)), (2 * RECORD, true));
        }
    }
    // Nothing of a code is on the disk, nor what the certificate says.
    let said = called(1, 1);
    assert!(!whole.windows(10).any(|bytes| bytes == [30; 10]));
    assert!(!whole.windows(said.len()).any(|bytes| bytes == said.as_bytes()));
}
