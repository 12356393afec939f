//! What enrolment by card takes from outside: authorisations with their certificates, revocation lists, certificate files.

use std::sync::LazyLock;

use prost::Message as _;
use tally_proto::card::{
    CardAuthorisation, DrawStatement, DrawTerms, RevocationList, certificate_der, check, check_certificate,
    check_revocation,
};
use tally_proto::fixture::cards::CardKey;
use tally_proto::fixture::{CLOSES, OPENS, OpenShape, Shape, World};
use tally_proto::ids::{BoxId, Hash32, Role, UnixSeconds, VoterIndex};
use tally_proto::invitation::Credential;
use tally_proto::record::{Authorisation, RecordSubmission};

/// An election with an open roll, and a record for it as P1 and as P2 are sent it.
struct Enrolled {
    world: World,
    asked: RecordSubmission,
    numbered: RecordSubmission,
    stated: DrawStatement,
}

static ENROLLED: LazyLock<Enrolled> = LazyLock::new(|| {
    let mut world = World::new(Shape {
        cards: true,
        registrars: 0,
        open: Some(OpenShape {
            most: 5,
            freezes: CLOSES,
            min_voters: 1,
        }),
        ..Shape::default()
    });
    let voter = VoterIndex(1);
    let card = world.card(BoxId(1), voter, CardKey::P256);
    let [asked, second, _] = world.card_record(&card, UnixSeconds(OPENS), &Credential::new(7));
    let stated = card.states(DrawTerms {
        manifest: world.manifest.hash(),
        code: Hash32([8; 32]),
        signed_at: UnixSeconds(OPENS),
    });
    let receipt = world.receipt(Role::P1, BoxId(1), asked.header().numbered(voter).digest());
    Enrolled {
        world,
        asked,
        numbered: second.numbered_by(voter, receipt),
        stated,
    }
});

pub(crate) fn headers() -> Vec<Vec<u8>> {
    [&ENROLLED.asked, &ENROLLED.numbered]
        .map(|record| record.header().encode())
        .to_vec()
}

pub(crate) fn submissions() -> Vec<Vec<u8>> {
    [&ENROLLED.asked, &ENROLLED.numbered]
        .map(|record| record.to_wire().encode_to_vec())
        .to_vec()
}

pub(crate) fn manifest() -> Vec<u8> {
    ENROLLED.world.manifest.manifest().encode()
}

pub(crate) fn authorisations() -> Vec<Vec<u8>> {
    vec![ENROLLED.asked.authorisation().encode()]
}

/// An authorisation, checked with all that hangs on it against a header that states it and one that does not.
pub(crate) fn authorisation(data: &[u8]) {
    let Ok(decoded) = CardAuthorisation::decode(data) else {
        return;
    };
    assert_eq!(decoded.encode(), data, "what decodes is canonical");
    let register = ENROLLED.world.manifest.manifest().register().expect("cards");
    let times = [UnixSeconds(OPENS)];
    let header = ENROLLED.asked.header();
    let checked = check(register, header, &decoded, &times);
    let Authorisation::Card(valid) = ENROLLED.asked.authorisation() else {
        unreachable!("a card's")
    };
    // ECDSA and RSA signatures of the same card over the same bytes differ; nothing else may.
    assert!(
        checked.is_err() || decoded.certificate() == valid.certificate(),
        "another certificate than the record names"
    );
    let _ = check_certificate(register, decoded.certificate(), &times);
}

pub(crate) fn statements() -> Vec<Vec<u8>> {
    vec![ENROLLED.stated.encode()]
}

/// A statement of a draw code: nothing but the one that was signed is good, whatever else was changed.
pub(crate) fn statement(data: &[u8]) {
    let Ok(decoded) = DrawStatement::decode(data) else {
        return;
    };
    assert_eq!(decoded.encode(), data, "what decodes is canonical");
    let register = ENROLLED.world.manifest.manifest().register().expect("cards");
    let manifest = ENROLLED.world.manifest.hash();
    if decoded.check(register, &manifest, UnixSeconds(OPENS)).is_ok() {
        assert_eq!(
            decoded.terms(),
            ENROLLED.stated.terms(),
            "other terms than the card signed"
        );
    }
}

pub(crate) fn lists() -> Vec<Vec<u8>> {
    let cards = ENROLLED.world.cards.as_ref().expect("cards");
    vec![
        cards.revocations(&[], OPENS, CLOSES),
        cards.revocations(&[vec![0x40, 0, 1], vec![2]], OPENS, CLOSES),
    ]
}

/// A revocation list, and the same bytes as a certificate's file.
pub(crate) fn list(data: &[u8]) {
    let register = ENROLLED.world.manifest.manifest().register().expect("cards");
    let _ = certificate_der(data);
    if let Ok(list) = RevocationList::read(register, data) {
        let Authorisation::Card(valid) = ENROLLED.asked.authorisation() else {
            unreachable!("a card's")
        };
        let times = [UnixSeconds(OPENS)];
        let holder = check(register, ENROLLED.asked.header(), valid, &times).expect("good");
        let _ = check_revocation([&list], &holder, UnixSeconds(OPENS));
        assert!(list.len() <= data.len(), "an entry takes bytes");
    }
}
