//! A card's authorisation against a hierarchy in the shape of real ones.

mod chains;
mod encoding;
mod fields;
mod revocation;

use super::*;
use crate::fixture::cards::{Card, CardKey, CardShape, Cards, DAY, POLICY, unknown_extension};
use crate::fixture::{OPENS, Shape, World};
use crate::ids::{BoxId, Hash32, UnixSeconds, VoterIndex};
use crate::invitation::Credential;
use crate::manifest::Register;
use crate::reason::Reason;
use crate::record::{Authorisation, RecordHeader, RecordSubmission};
use crate::ticket::DrawCode;

const SAID: &str = "PNOEE-38001011000";

fn world() -> World {
    World::new(Shape {
        cards: true,
        ..Shape::default()
    })
}

fn at(seconds: u64) -> [UnixSeconds; 1] {
    [UnixSeconds(seconds)]
}

/// A register in a manifest, as parties and devices read it.
fn registered(register: crate::wire::EnrolmentRegister) -> Result<Register, crate::manifest::ManifestError> {
    let mut wire = world().manifest.manifest().to_wire();
    wire.register = Some(register);
    let manifest = crate::manifest::Manifest::from_wire(&wire)?;
    Ok(manifest.register().expect("a register").clone())
}

/// The good card of a voter.
fn good() -> CardShape {
    CardShape::of(SAID, CardKey::P256, OPENS)
}

fn register(world: &World) -> &Register {
    world.manifest.manifest().register().expect("a register")
}

/// A record of this card, by hand.
fn record(world: &mut World, card: &Card) -> (RecordHeader, CardAuthorisation) {
    let [first, ..] = world.card_record(card, UnixSeconds(OPENS), &Credential::new(7));
    parts(&first)
}

fn parts(submission: &RecordSubmission) -> (RecordHeader, CardAuthorisation) {
    let Authorisation::Card(authorisation) = submission.authorisation() else {
        panic!("a card record")
    };
    (submission.header().clone(), (**authorisation).clone())
}

#[test]
fn every_kind_of_card_authorises_and_names_its_holder() {
    let mut world = world();
    for key in CardKey::ALL {
        let card = world.card(BoxId(1), VoterIndex(0), key);
        let (header, authorisation) = record(&mut world, &card);
        let holder = check(register(&world), &header, &authorisation, &at(OPENS)).expect("good");
        assert_eq!((holder.said.as_str(), &holder.serial), (SAID, &card.serial));
        assert_eq!(
            CardAuthorisation::decode(&authorisation.encode()),
            Ok(authorisation.clone())
        );
        // Nothing but its own certificate may come with it: the register brings those above it.
        let mut wire: crate::wire::CardAuthorisation =
            prost::Message::decode(authorisation.encode().as_slice()).expect("just encoded");
        let issuing = world.cards.as_ref().expect("cards").issuing.clone();
        for certificates in [vec![], [wire.certificates.clone(), vec![issuing]].concat()] {
            let count = certificates.len();
            wire.certificates = certificates;
            let brought = CardAuthorisation::decode(&prost::Message::encode_to_vec(&wire));
            assert_eq!(brought, Err(CardError::Certificates(count)));
        }
    }
    let card = world.card(BoxId(1), VoterIndex(0), CardKey::Rsa2048);
    let (header, authorisation) = record(&mut world, &card);
    let bytes = signed_bytes(register(&world).id(), &header.digest());
    let nonce = [3; 32];
    let pss = |nonce, signature| {
        CardAuthorisation::new(nonce, card.certificate.clone(), Scheme::RsaPssSha256, signature)
            .expect("of the form")
    };
    // Another nonce: the header is not this certificate's.
    let signed = pss(nonce, card.sign(Scheme::RsaPssSha256, &bytes));
    let refused = check(register(&world), &header, &signed, &at(OPENS)).expect_err("refused");
    assert_eq!(refused.reason(), Reason::CardMalformed);
    let mut wire: crate::wire::CardAuthorisation =
        prost::Message::decode(authorisation.encode().as_slice()).expect("just encoded");
    wire.signature = card.sign(Scheme::RsaPssSha256, &bytes);
    wire.scheme = 2;
    let good = CardAuthorisation::decode(&prost::Message::encode_to_vec(&wire)).expect("of the form");
    assert!(check(register(&world), &header, &good, &at(OPENS)).is_ok());
}

#[test]
fn a_signature_is_of_one_record_one_register_and_one_key() {
    let mut world = world();
    for key in CardKey::ALL {
        let card = world.card(BoxId(1), VoterIndex(0), key);
        let (header, authorisation) = record(&mut world, &card);
        let [second, ..] = world.card_record(&card, UnixSeconds(OPENS + 1), &Credential::new(7));
        let (other, _) = parts(&second);
        let mut wire: crate::wire::CardAuthorisation =
            prost::Message::decode(authorisation.encode().as_slice()).expect("just encoded");
        let (good, scheme) = (wire.signature.clone(), wire.scheme);
        let mut reasons = Vec::new();
        let mut refused = |wire: &crate::wire::CardAuthorisation| {
            let read = CardAuthorisation::decode(&prost::Message::encode_to_vec(wire)).expect("of the form");
            let refused = check(register(&world), &header, &read, &at(OPENS)).expect_err("refused");
            reasons.push(refused.reason());
        };
        for flipped in [0, good.len() / 2, good.len() - 1] {
            wire.signature = good.clone();
            wire.signature[flipped] ^= 1;
            refused(&wire);
        }
        wire.signature = good;
        for other in (1..=4).filter(|number| *number != scheme) {
            wire.scheme = other;
            refused(&wire);
        }
        wire.scheme = scheme;
        for bytes in [
            signed_bytes(register(&world).id(), &other.digest()),
            signed_bytes(
                &crate::ids::RegisterId::new("others").expect("slug"),
                &header.digest(),
            ),
            header.digest().0.to_vec(),
        ] {
            wire.signature = card.sign(key.scheme(), &bytes);
            refused(&wire);
        }
        assert!(
            reasons.iter().all(|reason| *reason == Reason::CardSignature),
            "{reasons:?}"
        );
    }
}

#[test]
fn what_a_certificate_must_be_is_refused_by_its_own_reason() {
    let mut world = world();
    let mut cards = world.cards.take().expect("cards");
    let good = CardShape::of(SAID, CardKey::P256, OPENS);
    let tried = |cards: &mut Cards, change: &dyn Fn(&mut CardShape)| {
        let mut shape = good.clone();
        change(&mut shape);
        let card = cards.card(&shape);
        let times = [UnixSeconds(OPENS - 60), UnixSeconds(OPENS)];
        check_certificate(register(&world), &card.certificate, &times)
            .err()
            .map(|error| error.reason())
    };
    assert_eq!(tried(&mut cards, &|_| {}), None);
    assert_eq!(
        tried(&mut cards, &|s| s.extensions.push(unknown_extension(false))),
        None
    );
    type Change<'c> = &'c dyn Fn(&mut CardShape);
    let cases: [(Change<'_>, Reason); 7] = [
        (&|s| s.not_after = OPENS - 1, Reason::CardExpired),
        (&|s| s.not_after = OPENS - 61, Reason::CardExpired),
        (&|s| s.not_before = OPENS - 30, Reason::CardNotYetValid),
        (&|s| s.authentication = false, Reason::CardPurpose),
        (
            &|s| s.person = "PNOLV-38001011000".into(),
            Reason::CardNamesNobody,
        ),
        (&|s| s.person = "38001011000".into(), Reason::CardNamesNobody),
        (
            &|s| s.extensions.push(unknown_extension(true)),
            Reason::CardMalformed,
        ),
    ];
    for (number, (change, reason)) in cases.iter().enumerate() {
        assert_eq!(tried(&mut cards, *change), Some(*reason), "case {number}");
    }
    // Another hierarchy with the same names, and a certificate that an authority of this one did not sign.
    let mut stranger = Cards::new(OPENS);
    assert_eq!(tried(&mut stranger, &|_| {}), Some(Reason::CardIssuer));
    let mut forged = cards.card(&good).certificate;
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let refused = check_certificate(register(&world), &forged, &at(OPENS)).expect_err("refused");
    assert_eq!(refused.reason(), Reason::CardIssuer);
    let authority = check_certificate(register(&world), &cards.issuing.clone(), &at(OPENS));
    assert_eq!(authority.map_err(|error| error.reason()), Err(Reason::CardIssuer));
    for bytes in [&b"nothing"[..], &forged[..100]] {
        let refused = check_certificate(register(&world), bytes, &at(OPENS)).expect_err("refused");
        assert_eq!(refused.reason(), Reason::CardMalformed);
    }
    // The issuing CA's own time.
    let late = check_certificate(
        register(&world),
        &cards.card(&good).certificate,
        &at(OPENS + 4001 * DAY),
    );
    assert_eq!(late, Err(CardError::IssuerNotValid));
}

/// A public key without a private one: a number of this many bits.
struct Short(Vec<u8>);

impl rcgen::PublicKeyData for Short {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }
    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}

#[test]
fn short_keys_are_weak() {
    let mut world = world();
    let cards = world.cards.take().expect("cards");
    let modulus = |bytes: usize| {
        let content = [&[0, 0x80][..], &vec![7; bytes - 1]].concat();
        let number = [&[0x02, 0x82][..], &(content.len() as u16).to_be_bytes(), &content].concat();
        let both = [number, vec![0x02, 3, 1, 0, 1]].concat();
        Short([&[0x30, 0x82][..], &(both.len() as u16).to_be_bytes(), &both].concat())
    };
    let shape = CardShape::of(SAID, CardKey::P256, OPENS);
    let verdict = |bytes| {
        let certificate = cards.certificate_for(&shape, &modulus(bytes), &[9]);
        check_certificate(register(&world), &certificate, &at(OPENS))
            .err()
            .map(|error| error.reason())
    };
    assert_eq!(verdict(128), Some(Reason::CardWeakKey));
    assert_eq!(verdict(255), Some(Reason::CardWeakKey));
    assert_eq!(verdict(256), None);
    assert_eq!(verdict(1025), Some(Reason::CardWeakKey));
}

#[test]
fn person_codes_depend_on_the_salt() {
    let (one, two) = (Salt([1; 32]), Salt([2; 32]));
    assert_ne!(one.person(SAID), two.person(SAID));
    assert_ne!(one.person(SAID), one.person("PNOEE-38001011001"));
    assert_ne!(one.hash(), two.hash());
}

fn terms(manifest: &Hash32) -> DrawTerms {
    let code = DrawCode::from_slice(&[9; DrawCode::BYTES]).expect("ten bytes");
    DrawTerms {
        manifest: *manifest,
        code: code.hash_for_card(manifest),
        signed_at: UnixSeconds(OPENS),
    }
}

#[test]
fn a_statement_of_a_draw_code_is_of_one_election_one_code_and_one_moment() {
    let mut world = world();
    let manifest = world.manifest.hash();
    for key in CardKey::ALL {
        let card = world.card(BoxId(1), VoterIndex(0), key);
        let good = card.states(terms(&manifest));
        let verdict = |statement: &DrawStatement, now| {
            statement
                .check(register(&world), &manifest, UnixSeconds(now))
                .map_err(|error| error.reason())
        };
        let holder = verdict(&good, OPENS).expect("good");
        assert_eq!((holder.said.as_str(), &holder.serial), (SAID, &card.serial));
        assert_eq!(DrawStatement::decode(&good.encode()), Ok(good.clone()));
        for now in [OPENS - STATEMENT_TOLERANCE_S, OPENS + STATEMENT_TOLERANCE_S] {
            assert!(verdict(&good, now).is_ok());
        }
        for now in [
            OPENS - STATEMENT_TOLERANCE_S - 1,
            OPENS + STATEMENT_TOLERANCE_S + 1,
        ] {
            assert_eq!(verdict(&good, now), Err(Reason::CardSignedAt));
        }
        let other = good.check(register(&world), &Hash32([7; 32]), UnixSeconds(OPENS));
        assert_eq!(other, Err(CardError::OtherElection));
        let altered = |change: &dyn Fn(&mut crate::wire::DrawStatement)| {
            let mut wire: crate::wire::DrawStatement =
                prost::Message::decode(good.encode().as_slice()).expect("just encoded");
            change(&mut wire);
            DrawStatement::decode(&prost::Message::encode_to_vec(&wire))
        };
        type Change<'c> = &'c dyn Fn(&mut crate::wire::DrawStatement);
        let changes: [Change<'_>; 4] = [
            &|wire| wire.code_hash[31] ^= 1,
            &|wire| wire.signed_at_s += 1,
            &|wire| wire.signature[0] ^= 1,
            &|wire| wire.scheme = 1 + wire.scheme % 4,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let altered = altered(change).expect("of the form");
            assert_eq!(
                verdict(&altered, OPENS),
                Err(Reason::CardSignature),
                "change {number}"
            );
        }
        let forms: [Change<'_>; 5] = [
            &|wire| wire.manifest_hash.clear(),
            &|wire| wire.code_hash.push(0),
            &|wire| wire.certificates.clear(),
            &|wire| wire.signature.clear(),
            &|wire| wire.scheme = 0,
        ];
        for (number, change) in forms.into_iter().enumerate() {
            let refused = altered(change).expect_err("refused");
            assert_eq!(refused.reason(), Reason::CardMalformed, "form {number}");
        }
        // Somebody else's certificate over the same terms.
        let thief = world
            .cards
            .as_mut()
            .expect("cards")
            .card(&CardShape::of(SAID, key, OPENS));
        let stolen = altered(&|wire| wire.certificates = vec![thief.certificate.clone()]);
        let due = if key == CardKey::Rsa2048 {
            None
        } else {
            Some(Reason::CardSignature)
        };
        let stolen = stolen.expect("of the form");
        let verdict = stolen.check(register(&world), &manifest, UnixSeconds(OPENS));
        assert_eq!(
            verdict.err().map(|error| error.reason()),
            due,
            "one key for all RSA cards"
        );
    }
}

#[test]
fn a_statement_is_never_a_record_nor_a_record_a_statement() {
    let mut world = world();
    let manifest = world.manifest.hash();
    let card = world.card(BoxId(1), VoterIndex(0), CardKey::Rsa2048);
    let (header, authorisation) = record(&mut world, &card);
    let terms = terms(&manifest);
    let statement = card.states(terms);
    // What the card signed for one is brought as the other's, with everything else as it should be.
    let mut as_record: crate::wire::CardAuthorisation =
        prost::Message::decode(authorisation.encode().as_slice()).expect("just encoded");
    let mut as_statement: crate::wire::DrawStatement =
        prost::Message::decode(statement.encode().as_slice()).expect("just encoded");
    std::mem::swap(&mut as_record.signature, &mut as_statement.signature);
    let as_record =
        CardAuthorisation::decode(&prost::Message::encode_to_vec(&as_record)).expect("of the form");
    let as_statement =
        DrawStatement::decode(&prost::Message::encode_to_vec(&as_statement)).expect("of the form");
    assert_eq!(
        check(register(&world), &header, &as_record, &at(OPENS)),
        Err(CardError::Signature)
    );
    assert_eq!(
        as_statement.check(register(&world), &manifest, UnixSeconds(OPENS)),
        Err(CardError::Signature)
    );
    // Not even where the hash of the code is a record's digest: the tags are others, and neither begins as the other does.
    let digest = header.signed_digest();
    let id = register(&world).id();
    let same = DrawTerms {
        code: Hash32(digest.0),
        ..terms
    };
    let (for_record, for_code) = (signed_bytes(id, &digest), same.signed_bytes(id));
    assert!(!for_code.starts_with(&for_record[..24]) && !for_record.starts_with(&for_code[..24]));
    // Nor is the hash that a registrar hands over the one that a card stands for.
    let code = DrawCode::from_slice(&[9; DrawCode::BYTES]).expect("ten bytes");
    assert_ne!(
        code.hash(&manifest, BoxId(1), VoterIndex(0)),
        code.hash_for_card(&manifest)
    );
    assert_ne!(
        code.hash_for_card(&Hash32([7; 32])),
        code.hash_for_card(&manifest)
    );
}
