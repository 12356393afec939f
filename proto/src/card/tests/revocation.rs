//! Which revocation lists count, and for whom.

use super::*;
use crate::fixture::der;

const ONE: &str = "http://lists.example/1.crl";
const ONE_MORE: &str = "ldap://lists.example/1";
const TWO: &str = "http://lists.example/2.crl";
/// issuingDistributionPoint.
const POINT: &str = "2.5.29.28";

/// Whom a list of these serials refuses, and why.
fn verdict<'l>(lists: impl IntoIterator<Item = &'l RevocationList>, holder: &Holder) -> Option<CardError> {
    check_revocation(lists, holder, UnixSeconds(OPENS)).err()
}

#[test]
fn lists_are_the_issuers_own_and_in_time() {
    let mut world = world();
    let mut cards = world.cards.take().expect("cards");
    let card = cards.card(&CardShape::of(SAID, CardKey::P384, OPENS));
    let other = cards.card(&CardShape::of("PNOEE-38001011001", CardKey::P384, OPENS));
    let register = register(&world);
    let holder = check_certificate(register, &card.certificate, &at(OPENS)).expect("good");
    let list = |serials: &[Vec<u8>], this, next| {
        RevocationList::read(register, &cards.revocations(serials, this, next)).expect("a list")
    };
    let reason =
        |lists: &[&RevocationList]| verdict(lists.iter().copied(), &holder).map(|error| error.reason());
    let good = list(std::slice::from_ref(&other.serial), OPENS - DAY, OPENS + DAY);
    let revoked = list(&[other.serial, card.serial.clone()], OPENS - 2, OPENS + DAY);
    let stale = list(&[], OPENS - 2 * DAY, OPENS - 1);
    let of_tomorrow = list(&[card.serial], OPENS + 10, OPENS + DAY);
    assert_eq!((good.len(), stale.is_empty(), good.point()), (1, true, None));
    assert_eq!(reason(&[&good]), None);
    assert_eq!(reason(&[]), Some(Reason::CardRevocationList));
    assert_eq!(reason(&[&stale]), Some(Reason::CardRevocationList));
    assert_eq!(reason(&[&stale, &good]), None);
    assert_eq!(reason(&[&good, &revoked]), Some(Reason::CardRevoked));
    assert_eq!(reason(&[&good, &of_tomorrow]), None);

    let strangers = Cards::new(OPENS).revocations(&[], OPENS - DAY, OPENS + DAY);
    assert_eq!(
        RevocationList::read(register, &strangers),
        Err(ListError::OtherIssuer)
    );
    let mut altered = cards.revocations(&[vec![1]], OPENS - DAY, OPENS + DAY);
    let at = altered.len() / 2;
    altered[at] ^= 1;
    assert!(RevocationList::read(register, &altered).is_err());
    assert_eq!(
        RevocationList::read(register, b"no list"),
        Err(ListError::Unreadable)
    );
    let pem = format!(
        "-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n",
        data_encoding::BASE64.encode(&cards.revocations(&[vec![9]], OPENS - DAY, OPENS + DAY))
    );
    assert_eq!(
        RevocationList::read(register, pem.as_bytes()).map(|list| list.len()),
        Ok(1)
    );
}

#[test]
fn a_list_of_one_distribution_point_answers_for_the_certificates_of_that_point_only() {
    let mut world = world();
    let mut cards = world.cards.take().expect("cards");
    let register = register(&world);
    let mut of = |points: &[&str]| {
        let card = cards.card(&CardShape {
            points: points.iter().map(|uri| (*uri).to_owned()).collect(),
            ..good()
        });
        let holder = check_certificate(register, &card.certificate, &at(OPENS)).expect("good");
        (card.serial, holder)
    };
    let (first, in_first) = of(&[ONE]);
    let (second, in_second) = of(&[TWO]);
    let (nowhere, in_none) = of(&[]);
    let read = |point: &[&str], serials: &[&Vec<u8>], this| {
        let serials: Vec<_> = serials.iter().map(|serial| (*serial).clone()).collect();
        let list = cards.revocations_at(point, &serials, this, OPENS + DAY);
        RevocationList::read(register, &list).expect("a list")
    };
    // The first shard names the first card; the second one is newer, and empty.
    let one = read(&[ONE_MORE, ONE], &[&first], OPENS - 100);
    let two = read(&[TWO], &[], OPENS - 10);
    assert_eq!(
        one.point().as_deref(),
        Some("ldap://lists.example/1 or http://lists.example/1.crl")
    );
    assert_eq!(verdict([&one, &two], &in_first), Some(CardError::Revoked));
    assert_eq!(verdict([&two, &one], &in_second), None);
    // A shard that is missing is not made up for by another one, however new.
    let at = ONE.to_owned();
    assert_eq!(verdict([&two], &in_first), Some(CardError::OtherLists { at }));
    // A certificate that names no point is covered by a complete list alone.
    assert_eq!(verdict([&one, &two], &in_none), Some(CardError::NoList));
    let all = read(&[], &[&nowhere, &second], OPENS - 50);
    assert_eq!(verdict([&one, &two, &all], &in_none), Some(CardError::Revoked));
    // Of those that cover it the newest counts.
    assert_eq!(verdict([&two, &all], &in_second), None);
    let all = read(&[], &[&second], OPENS - 5);
    assert_eq!(verdict([&two, &all], &in_second), Some(CardError::Revoked));
    // What a voter is told.
    let said = verdict([&two], &in_first).expect("refused");
    assert_eq!(said.reason(), Reason::CardRevocationList);
    assert!(said.to_string().contains(ONE), "{said}");
}

#[test]
fn a_point_for_some_reasons_or_of_another_signer_is_none_that_a_list_covers() {
    let mut world = world();
    let mut cards = world.cards.take().expect("cards");
    let register = register(&world);
    let name = der::element(0xa0, &der::element(0xa0, &der::element(0x86, ONE.as_bytes())));
    let reasons = der::element(0x81, &[6, 0x40]);
    let somebody = der::element(0xa2, &der::element(0x82, b"lists.example"));
    let host_only = der::element(0xa0, &der::element(0xa0, &der::element(0x82, b"lists.example")));
    let list = cards.revocations_at(&[ONE], &[], OPENS - 10, OPENS + DAY);
    let list = RevocationList::read(register, &list).expect("a list");
    let mut verdicts = Vec::new();
    for point in [
        vec![name.clone()],
        vec![name.clone(), reasons],
        vec![name, somebody],
        vec![host_only],
    ] {
        let content = der::sequence(&[der::sequence(&point)]);
        let mut shape = good();
        let extension = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 31], content);
        shape.extensions.push(extension);
        let card = cards.card(&shape);
        let holder = check_certificate(register, &card.certificate, &at(OPENS)).expect("good");
        verdicts.push(verdict([&list], &holder));
    }
    let no = || Some(CardError::NoList);
    assert_eq!(verdicts, [None, no(), no(), no()]);
}

/// A list of the issuing CA with one extension more, or in the place of that of the same name.
fn with(cards: &Cards, extension: Vec<u8>) -> Vec<u8> {
    let list = cards.revocations(&[vec![1]], OPENS - DAY, OPENS + DAY);
    cards.changed(&list, |parts| {
        let last = parts.len() - 1;
        let mut all = der::elements(&der::elements(&parts[last])[0]);
        all.push(extension);
        parts[last] = der::element(0xa0, &der::sequence(&all));
    })
}

#[test]
fn lists_that_are_not_whole_are_refused() {
    let mut world = world();
    let cards = world.cards.take().expect("cards");
    let register = register(&world);
    let read = |list: &[u8]| RevocationList::read(register, list).map(|list| list.len());
    // The same by the same hand, and good.
    assert_eq!(
        read(&with(
            &cards,
            der::extension("1.3.6.1.4.1.99999.77", false, &[5, 0])
        )),
        Ok(1)
    );
    let only_users = der::sequence(&[der::element(0x81, &[0xff])]);
    assert_eq!(
        read(&with(&cards, der::extension(POINT, true, &only_users))),
        Ok(1)
    );
    let point = |field: Vec<u8>| der::extension(POINT, true, &der::sequence(&[field]));
    let host_only = der::element(0xa0, &der::element(0xa0, &der::element(0x82, b"lists.example")));
    let relative = der::sequence(&[der::object_id("2.5.4.3"), der::element(0x0c, b"1")]);
    let relative = der::element(0xa0, &der::element(0xa1, &relative));
    for (what, extension) in [
        (
            "of a critical extension",
            der::extension("1.3.6.1.4.1.99999.77", true, &[5, 0]),
        ),
        (
            "what is new since the last one",
            der::extension("2.5.29.27", true, &[2, 1, 7]),
        ),
        ("authorities only", point(der::element(0x82, &[0xff]))),
        ("some reasons only", point(der::element(0x83, &[6, 0x40]))),
        ("also of other issuers", point(der::element(0x84, &[0xff]))),
        ("attribute certificates only", point(der::element(0x85, &[0xff]))),
        ("of a point that is named in another way", point(host_only)),
        ("of a point that is named beside the issuer", point(relative)),
        (
            "of a point that cannot be read",
            der::extension(POINT, true, &[1, 2, 3]),
        ),
    ] {
        assert_eq!(read(&with(&cards, extension)), Err(ListError::Partial), "{what}");
    }
    // Two of them, and a point beside what is spelt out as it would be anyway.
    let two = cards.revocations_at(&[ONE], &[], OPENS - DAY, OPENS + DAY);
    let two = cards.changed(&two, |parts| {
        let last = parts.len() - 1;
        let mut all = der::elements(&der::elements(&parts[last])[0]);
        all.push(der::extension(POINT, true, &only_users));
        parts[last] = der::element(0xa0, &der::sequence(&all));
    });
    assert_eq!(read(&two), Err(ListError::Partial));
    let spelt_out = der::sequence(&[der::element(0x82, &[0]), der::element(0x84, &[0])]);
    assert_eq!(
        read(&with(&cards, der::extension(POINT, true, &spelt_out))),
        Ok(1)
    );
    // An entry of another issuer.
    let list = cards.revocations(&[vec![1]], OPENS - DAY, OPENS + DAY);
    let foreign = cards.changed(&list, |parts| {
        let place = parts.len() - 2;
        let mut entry = der::elements(&der::elements(&parts[place])[0]);
        let name = der::sequence(&[der::element(0x82, b"other.example")]);
        entry.truncate(2);
        entry.push(der::sequence(&[der::extension("2.5.29.29", true, &name)]));
        parts[place] = der::sequence(&[der::sequence(&entry)]);
    });
    assert_eq!(read(&foreign), Err(ListError::Partial));
    // Version, algorithm, issuer, thisUpdate, nextUpdate.
    let endless = cards.changed(&list, |parts| drop(parts.remove(4)));
    assert_eq!(read(&endless), Err(ListError::NoEnd));
    let two_algorithms = cards.changed(&list, |parts| {
        parts[1] = der::sequence(&[der::object_id("1.2.840.10045.4.3.2")]);
    });
    assert_eq!(read(&two_algorithms), Err(ListError::Unreadable));
    let unchanged = cards.changed(&list, |_| {});
    assert_eq!(read(&unchanged), Ok(1));
}

#[test]
fn an_authority_that_may_not_sign_lists_signs_none() {
    let list = super::world()
        .cards
        .expect("cards")
        .revocations(&[], OPENS - DAY, OPENS + DAY);
    let cards = Cards::deep(OPENS, |_, _| {});
    let register = registered(cards.register(OPENS, OPENS + DAY)).expect("a register");
    // Of the same name, signed by this one's key.
    let list = cards.changed(&list, |_| {});
    assert_eq!(
        RevocationList::read(&register, &list).map(|list| list.len()),
        Ok(0)
    );
    // Nobody could enrol with its cards, so no election names it.
    let no_lists = Cards::deep(OPENS, |_, issuing| {
        issuing.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    });
    let refused = registered(no_lists.register(OPENS, OPENS + DAY)).expect_err("refused");
    assert!(format!("{refused:?}").contains("NoListSign"), "{refused:?}");
}

#[test]
fn the_hash_of_the_lists_held_is_of_what_they_say_and_not_of_how_they_lie_there() {
    let world = world();
    let (register, cards) = (register(&world), world.cards.as_ref().expect("cards"));
    let [one, two] = [1u8, 2].map(|serial| cards.revocations(&[vec![serial]], OPENS - DAY, OPENS + DAY));
    let read = |bytes: &[u8]| RevocationList::read(register, bytes).expect("a list");
    let in_pem = format!(
        "-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n",
        data_encoding::BASE64.encode(&one)
    );
    let (first, second, in_pem) = (read(&one), read(&two), read(in_pem.as_bytes()));
    assert_eq!(first.hash(), Hash32::of(&one));
    let held = ListsHeld::of([&first, &second]);
    assert_eq!(held, ListsHeld::of([&second, &in_pem, &first, &second]));
    // As anybody computes it who has the lists.
    let mut hashes = [Hash32::of(&one).0, Hash32::of(&two).0];
    hashes.sort_unstable();
    let tag = b"tally/v1/revocation-lists";
    let layout = [
        &[tag.len() as u8],
        &tag[..],
        &64u32.to_be_bytes(),
        hashes.as_flattened(),
    ]
    .concat();
    assert_eq!(held.hash(), Hash32::of(&layout));
    assert_eq!(held.hashes(), hashes.map(Hash32));
    let others = [
        ListsHeld::of([]),
        ListsHeld::of([&first]),
        ListsHeld::of([&second]),
    ];
    for other in others {
        assert_ne!(other.hash(), held.hash(), "{other:?}");
    }
}
