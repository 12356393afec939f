//! Which field of a certificate names the voter.

use super::*;
use crate::fixture::der;
use crate::wire::enrolment_register::Person;

/// Microsoft's user principal name, and the FASC-N of American cards.
const UPN: &str = "1.3.6.1.4.1.311.20.2.3";
const FASC_N: &str = "2.16.840.1.101.3.6.6";

fn octets(id: &str) -> Vec<u8> {
    id.parse::<ObjectId>().expect("an identifier").octets().to_vec()
}

/// A card of these alternative names.
fn named(names: &[Vec<u8>]) -> CardShape {
    let mut shape = good();
    let names = der::sequence(names);
    let extension = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 17], names);
    shape.extensions.push(extension);
    shape
}

fn other_name(id: &str, value: &[u8]) -> Vec<u8> {
    der::element(0xa0, &[der::object_id(id), der::element(0xa0, value)].concat())
}

fn uri(uri: &str) -> Vec<u8> {
    der::element(0x86, uri.as_bytes())
}

/// What cards of these shapes say of their holders, where `person` names them.
fn said<'s>(person: Person, shapes: impl IntoIterator<Item = &'s CardShape>) -> Vec<Result<String, Reason>> {
    let mut cards = Cards::new(OPENS);
    let mut wire = cards.register(OPENS, OPENS + DAY);
    wire.person = Some(person);
    let register = registered(wire).expect("a register");
    let read = |shape| {
        let card = cards.card(shape);
        let holder = check_certificate(&register, &card.certificate, &at(OPENS));
        holder.map(|holder| holder.said).map_err(|error| error.reason())
    };
    shapes.into_iter().map(read).collect()
}

const NOBODY: Result<String, Reason> = Err(Reason::CardNamesNobody);

#[test]
fn an_other_name_is_a_string_as_it_is_or_the_hexadecimal_of_its_der() {
    let text = |tag| other_name(UPN, &der::element(tag, b"mari@example"));
    let bytes = der::element(0x04, &[0xd4, 0xe7, 0x39]);
    let long = der::element(0x0c, &[b'a'; 300]);
    let mut two_values = other_name(UPN, &der::element(0x0c, b"mari"));
    // A second element where one is due: in the name, and beside it.
    two_values = der::element(0xa0, &[der::elements(&two_values).concat(), vec![5, 0]].concat());
    let two_inside = other_name(
        UPN,
        &[der::element(0x0c, b"a"), der::element(0x0c, b"b")].concat(),
    );
    let untagged = der::element(0xa0, &[der::object_id(UPN), der::element(0x0c, b"mari")].concat());
    let cut = other_name(UPN, &[0x0c, 9, b'm']);
    let no_text = other_name(UPN, &der::element(0x0c, &[0xff, 0xfe]));
    let shapes = [
        named(&[text(0x0c)]),
        named(&[text(0x13)]),
        named(&[text(0x16)]),
        named(&[other_name(UPN, &bytes)]),
        named(&[other_name(UPN, &long)]),
        named(&[other_name(FASC_N, &bytes), uri("urn:x"), text(0x0c)]),
        named(&[other_name(FASC_N, &bytes)]),
        named(&[text(0x0c), other_name(UPN, &bytes)]),
        named(&[other_name(UPN, &der::element(0x0c, b""))]),
        named(&[two_values]),
        named(&[two_inside]),
        named(&[untagged]),
        named(&[cut]),
        named(&[no_text]),
        good(),
    ];
    let mari = || Ok("mari@example".to_owned());
    assert_eq!(
        said(Person::SanOtherName(octets(UPN)), &shapes),
        [
            mari(),
            mari(),
            mari(),
            Ok("0403d4e739".to_owned()),
            Ok("a".repeat(300)),
            mari(),
            NOBODY,
            NOBODY,
            NOBODY,
            NOBODY,
            NOBODY,
            NOBODY,
            NOBODY,
            NOBODY,
            NOBODY
        ]
    );
}

#[test]
fn a_uri_is_the_one_that_begins_so() {
    let uuid = "urn:uuid:5c9ad0d9-4b2f-4d36-9d5e-0c1f7a1c9b11";
    let shapes = [
        named(&[uri(uuid)]),
        named(&[uri("http://example/1"), uri(uuid)]),
        named(&[uri(uuid), uri("urn:uuid:other")]),
        named(&[uri("http://example/1")]),
        named(&[uri("URN:UUID:5c9ad0d9")]),
        named(&[der::element(0x82, uuid.as_bytes())]),
        good(),
    ];
    let mari = || Ok(uuid.to_owned());
    assert_eq!(
        said(Person::SanUri("urn:uuid:".to_owned()), &shapes),
        [mari(), mari(), NOBODY, NOBODY, NOBODY, NOBODY, NOBODY]
    );
}

#[test]
fn a_certificates_own_number_is_the_number_without_the_octet_that_der_puts_before_it() {
    let of = |serial: &[u8]| CardShape {
        serial: Some(serial.to_vec()),
        ..good()
    };
    // DER: 02 03 00 9f 01, 02 02 1f 01, 02 01 00 is no serial number of a certificate but can be read.
    let shapes = [
        of(&[0x9f, 0x01]),
        of(&[0x1f, 0x01]),
        of(&[0x7f]),
        of(&[0x80, 0x00]),
    ];
    let due = ["9f01", "1f01", "7f", "8000"].map(|number| Ok(number.to_owned()));
    let person = Person::CertificateSerial(crate::wire::CertificateSerial {});
    assert_eq!(said(person, &shapes), due);
    // As a roll has it, however it was written down.
    for written in ["9f01", "9F01", "9F:01", "009f01", "00:9F:01", "0009f01"] {
        assert_eq!(certificate_number(written).as_deref(), Some("9f01"), "{written}");
    }
    assert_eq!(certificate_number("5").as_deref(), Some("05"));
    let longest = "9f".repeat(20);
    assert_eq!(certificate_number(&longest), Some(longest.clone()));
    for bad in [
        "",
        "0",
        "00",
        ":",
        "9g",
        "0x9f",
        "-1",
        "PNOEE-1",
        &format!("1{longest}"),
        "９f",
    ] {
        assert_eq!(certificate_number(bad), None, "{bad}");
    }
    // And so it is found on a list.
    let mut cards = Cards::new(OPENS);
    let register = registered(cards.register(OPENS, OPENS + DAY)).expect("a register");
    let card = cards.card(&shapes[0]);
    let holder = check_certificate(&register, &card.certificate, &at(OPENS)).expect("good");
    let list = cards.revocations(&[card.serial], OPENS - 1, OPENS + DAY);
    let list = RevocationList::read(&register, &list).expect("a list");
    let verdict = check_revocation([&list], &holder, UnixSeconds(OPENS));
    assert_eq!(verdict, Err(CardError::Revoked));
}

#[test]
fn an_attribute_of_the_subject_stands_once_and_begins_as_it_should() {
    let subject = |attribute: &str, prefix: &str| {
        Person::Subject(crate::wire::SubjectField {
            attribute: octets(attribute),
            prefix: prefix.to_owned(),
        })
    };
    let mut cards = Cards::new(OPENS);
    let twice = |cards: &mut Cards| {
        let card = cards.card(&good());
        // Version, number, algorithm, issuer, validity, subject.
        cards.changed(&card.certificate, |parts| {
            let mut names = der::elements(&parts[5]);
            names.push(names.last().expect("the serial number").clone());
            parts[5] = der::sequence(&names);
        })
    };
    let wire = cards.register(OPENS, OPENS + DAY);
    let register = registered(wire).expect("a register");
    let certificate = twice(&mut cards);
    let refused = check_certificate(&register, &certificate, &at(OPENS)).expect_err("twice");
    assert_eq!(refused, CardError::NamesNobody);
    assert_eq!(
        said(subject("2.5.4.5", "PNOEE-"), [&good()]),
        [Ok(SAID.to_owned())]
    );
    assert_eq!(said(subject("2.5.4.5", ""), [&good()]), [Ok(SAID.to_owned())]);
    assert_eq!(said(subject("2.5.4.42", ""), [&good()]), [Ok("MARI".to_owned())]);
    assert_eq!(said(subject("2.5.4.5", "PNOLT-"), [&good()]), [NOBODY]);
    assert_eq!(said(subject("2.5.4.97", ""), [&good()]), [NOBODY]);
}
