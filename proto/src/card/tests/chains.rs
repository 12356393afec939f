//! From a voter's certificate to a root: what each authority on the way must be, and by which signatures; what a certificate must be for.

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};

use super::*;
use crate::fixture::cards::{critical, until};
use crate::fixture::der;
use crate::manifest::{ManifestError, RegisterError};

const ANY_POLICY: &str = "2.5.29.32.0";

#[test]
fn a_certificate_is_for_what_the_register_says() {
    let mut world = world();
    let mut cards = world.cards.take().expect("cards");
    let tried = |cards: &mut Cards, change: &dyn Fn(&mut CardShape)| {
        let mut shape = good();
        change(&mut shape);
        let card = cards.card(&shape);
        check_certificate(register(&world), &card.certificate, &at(OPENS)).err()
    };
    use ExtendedKeyUsagePurpose as E;
    type Change<'c> = &'c dyn Fn(&mut CardShape);
    let cases: [(Change<'_>, Option<&'static str>); 10] = [
        (&|_| {}, None),
        (&|s| s.authentication = false, Some("its key usage is another")),
        (
            &|s| s.extended = vec![E::EmailProtection],
            Some("its extended key usage is another"),
        ),
        (
            &|s| s.extended = vec![],
            Some("its extended key usage is another"),
        ),
        (
            &|s| s.extended = vec![E::Any],
            Some("its extended key usage is another"),
        ),
        (&|s| s.extended = vec![E::ClientAuth], None),
        (
            &|s| s.policies = vec!["1.3.6.1.4.1.99999.1.3"],
            Some("another policy"),
        ),
        (&|s| s.policies = vec![ANY_POLICY], Some("another policy")),
        (&|s| s.policies = vec![], Some("another policy")),
        (&|s| s.policies = vec!["1.3.6.1.4.1.99999.1.3", POLICY], None),
    ];
    for (number, (change, due)) in cases.into_iter().enumerate() {
        match (tried(&mut cards, change), due) {
            (None, None) => {}
            (Some(error), Some(words)) => {
                assert_eq!(error.reason(), Reason::CardPurpose, "case {number}: {error}");
                assert!(error.to_string().contains(words), "case {number}: {error}");
            }
            (found, due) => panic!("case {number}: {found:?}, not {due:?}"),
        }
    }
    // A register that names several usages wants all of them, and of policies one; without any it takes all.
    let mut wire = cards.register(OPENS, OPENS + DAY);
    let purpose = wire.purpose.as_mut().expect("a purpose");
    let id = |id: &str| id.parse::<ObjectId>().expect("an identifier").octets().to_vec();
    purpose.extended.push(id("1.3.6.1.5.5.7.3.4"));
    purpose.policies.insert(0, id("1.3.6.1.4.1.99999.1.3"));
    let both = registered(wire.clone()).expect("a register");
    let card = |cards: &mut Cards, shape: &CardShape| cards.card(shape).certificate;
    let certificate = card(&mut cards, &good());
    assert!(check_certificate(&both, &certificate, &at(OPENS)).is_ok());
    let one = CardShape {
        extended: vec![E::ClientAuth],
        ..good()
    };
    let refused = check_certificate(&both, &card(&mut cards, &one), &at(OPENS)).expect_err("one of two");
    assert_eq!(refused.reason(), Reason::CardPurpose);
    let purpose = wire.purpose.as_mut().expect("a purpose");
    purpose.extended.clear();
    purpose.policies.clear();
    let any = registered(wire).expect("a register");
    let bare = CardShape {
        extended: vec![],
        policies: vec![],
        ..good()
    };
    assert!(check_certificate(&any, &card(&mut cards, &bare), &at(OPENS)).is_ok());
}

#[test]
fn a_chain_may_have_an_authority_between_root_and_issuing_authority() {
    let mut cards = Cards::deep(OPENS, |_, _| {});
    let policy = cards.policy.clone().expect("a policy CA");
    let wire = cards.register(OPENS, OPENS + DAY);
    assert_eq!(wire.issuers.len(), 2);
    let register = registered(wire.clone()).expect("a register");
    let card = cards.card(&good());
    let holder = check_certificate(&register, &card.certificate, &at(OPENS)).expect("good");
    assert_eq!(holder.said, SAID);
    // It may be a root itself: then nothing above it is asked for.
    let mut pinned = wire.clone();
    pinned.issuers.truncate(1);
    pinned.roots = vec![policy];
    let register = registered(pinned).expect("a register");
    assert!(check_certificate(&register, &card.certificate, &at(OPENS)).is_ok());
    // Without it the chain has a gap.
    let mut gap = wire;
    gap.issuers.truncate(1);
    let error = registered(gap).expect_err("a gap");
    let words = error.to_string();
    assert!(
        words.contains("issuing CA 1 (") && words.contains("CN=Test Cards 2026"),
        "{words}"
    );
    assert!(
        words.contains("leads to no root") && words.contains("CN=Test Policy of Cards"),
        "{words}"
    );
    assert_eq!(error.reason(), Reason::ManifestInvalid);
}

/// What the register of such a hierarchy says of an authority.
fn refused(change: impl FnOnce(&mut CertificateParams, &mut CertificateParams)) -> (usize, AuthorityError) {
    let cards = Cards::deep(OPENS, change);
    match registered(cards.register(OPENS, OPENS + DAY)) {
        Err(ManifestError::Register(RegisterError::Authority {
            what: "issuing CA",
            number,
            source,
            ..
        })) => (number, source),
        other => panic!("{other:?}"),
    }
}

fn constraints(id: u64) -> rcgen::CustomExtension {
    critical(&[2, 5, 29, id], der::sequence(&[der::element(0x80, &[0])]))
}

#[test]
fn authorities_that_may_not_issue_what_is_below_them_are_refused_at_the_definition() {
    use AuthorityError as A;
    // Number 1 is the issuing CA, number 2 the policy CA.
    let short = refused(|policy, _| policy.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    assert_eq!(
        short,
        (1, A::NotAtThatTime),
        "the path is longer than the policy CA permits"
    );
    let no_sign = vec![KeyUsagePurpose::CrlSign];
    let of_policy = no_sign.clone();
    assert_eq!(
        refused(|policy, _| policy.key_usages = of_policy),
        (2, A::NoCertSign)
    );
    assert_eq!(
        refused(|_, issuing| issuing.key_usages = no_sign),
        (1, A::NoCertSign)
    );
    assert_eq!(
        refused(|policy, _| policy.key_usages = vec![]),
        (2, A::NoCertSign)
    );
    // Its lists would not count, so that nobody could enrol; a root has none.
    let no_lists = vec![KeyUsagePurpose::KeyCertSign];
    let of_policy = no_lists.clone();
    assert_eq!(
        refused(|policy, _| policy.key_usages = of_policy),
        (2, A::NoListSign)
    );
    let of_policy = no_lists.clone();
    assert_eq!(
        refused(|_, issuing| issuing.key_usages = no_lists),
        (1, A::NoListSign)
    );
    let cards = Cards::deep(OPENS, |policy, _| policy.key_usages = of_policy);
    let mut wire = cards.register(OPENS, OPENS + DAY);
    wire.roots.push(cards.policy.clone().expect("a policy CA"));
    wire.issuers.truncate(1);
    assert!(registered(wire).is_ok());
    let old = refused(|policy, _| until(policy, OPENS - 1));
    assert_eq!(old, (2, A::NotAtThatTime), "not the one below it");
    for id in [30, 36] {
        let unknown = A::Unreadable("a certificate has a critical extension that is not known here");
        let found = refused(|policy, _| policy.custom_extensions.push(constraints(id)));
        assert_eq!(found, (2, unknown.clone()));
        let found = refused(|_, issuing| issuing.custom_extensions.push(constraints(id)));
        assert_eq!(found, (1, unknown));
    }
    // Not of an authority at all.
    for change in [0, 1] {
        let cards = Cards::deep(OPENS, |policy, issuing| {
            [policy, issuing][change].is_ca = IsCa::ExplicitNoCa;
        });
        let error = registered(cards.register(OPENS, OPENS + DAY)).expect_err("no authority");
        let number = 2 - change;
        let due = RegisterError::Certificate {
            what: "issuing CA",
            number,
        };
        assert!(
            matches!(&error, ManifestError::Register(found) if *found == due),
            "{error}"
        );
    }
    // A root is held to the same.
    let cards = Cards::deep(OPENS, |policy, _| {
        policy.key_usages = vec![KeyUsagePurpose::CrlSign]
    });
    let mut wire = cards.register(OPENS, OPENS + DAY);
    wire.roots.insert(0, cards.policy.clone().expect("a policy CA"));
    wire.issuers.truncate(1);
    let words = registered(wire)
        .expect_err("a root that signs nothing")
        .to_string();
    assert!(
        words.contains("root 1 (") && words.contains("keyCertSign"),
        "{words}"
    );
}

#[test]
fn an_authority_of_the_right_name_and_another_key_is_not_the_one_above() {
    let cards = Cards::deep(OPENS, |_, _| {});
    let other = Cards::deep(OPENS, |_, _| {});
    let mut wire = cards.register(OPENS, OPENS + DAY);
    wire.roots = vec![other.root];
    let error = registered(wire).expect_err("another generation");
    assert!(
        error.to_string().contains("another generation of the hierarchy"),
        "{error}"
    );
    // What a voter brings counts for nothing, even with the register's names: there is one certificate in an authorisation.
    let mut stranger = Cards::deep(OPENS, |_, _| {});
    let register = registered(cards.register(OPENS, OPENS + DAY)).expect("a register");
    let card = stranger.card(&good());
    let refused = check_certificate(&register, &card.certificate, &at(OPENS));
    assert_eq!(refused, Err(CardError::OtherIssuer));
}

#[test]
fn every_authority_of_the_chain_is_valid_when_the_card_signs_and_now() {
    // The policy CA ends in the middle of the enrolment.
    let mut cards = Cards::deep(OPENS, |policy, _| until(policy, OPENS + DAY));
    let register = registered(cards.register(OPENS, OPENS + 2 * DAY)).expect("good at the opening");
    let card = cards.card(&good());
    let tried = |times: &[u64]| {
        let times: Vec<_> = times.iter().copied().map(UnixSeconds).collect();
        check_certificate(&register, &card.certificate, &times).map(drop)
    };
    assert_eq!(tried(&[OPENS, OPENS + DAY]), Ok(()));
    assert_eq!(tried(&[OPENS, OPENS + DAY + 1]), Err(CardError::IssuerNotValid));
    assert_eq!(tried(&[OPENS + DAY + 1, OPENS]), Err(CardError::IssuerNotValid));
    // One that begins after the opening may be named: it holds at the close.
    let cards = Cards::deep(OPENS, |_, _| {});
    let before = OPENS - 1001 * DAY;
    assert!(registered(cards.register(before, OPENS)).is_ok());
    let error = registered(cards.register(before - DAY, before)).expect_err("before it was made");
    assert!(
        error.to_string().contains("when enrolment opens or closes"),
        "{error}"
    );
}

#[test]
fn an_authority_of_the_register_issues_below_itself_no_further_authority() {
    let mut cards = Cards::deep(OPENS, |_, _| {});
    let mut wire = cards.register(OPENS, OPENS + DAY);
    let issuing = wire.issuers.remove(0);
    let register = registered(wire).expect("a register");
    // The issuing CA itself in a voter's place, and a card below an authority that the register does not name.
    let found = check_certificate(&register, &issuing, &at(OPENS)).expect_err("an authority");
    assert_eq!(found, CardError::Purpose("it is the certificate of an authority"));
    let card = cards.card(&good());
    let found = check_certificate(&register, &card.certificate, &at(OPENS));
    assert_eq!(found, Err(CardError::OtherIssuer));
}

/// Root, issuing CA and a voter's certificate as OpenSSL signed them; see `openssl/make.sh`.
fn by_openssl(name: &str) -> [Vec<u8>; 3] {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;
    let path = format!("{}/src/card/openssl/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let all = CertificateDer::pem_slice_iter(&bytes).map(|der| der.expect("PEM").to_vec());
    let all: Vec<_> = all.collect();
    all.try_into().expect("three certificates")
}

fn register_of(root: &[u8], issuing: &[u8]) -> Result<Register, ManifestError> {
    let mut wire = Cards::new(OPENS).register(OPENS, OPENS + DAY);
    wire.roots = vec![root.to_vec()];
    wire.issuers = vec![issuing.to_vec()];
    registered(wire)
}

#[test]
fn authorities_sign_in_these_ways() {
    for name in [
        "p256-sha384",
        "p384-sha256",
        "p384-sha512",
        "p521-sha384",
        "p521-sha512",
        "rsa-sha256",
        "rsa-sha384",
        "rsa-sha512",
        "pss-sha256",
        "pss-sha384",
        "pss-sha512",
        "pss-key-sha384",
        "pss-free-key-sha256",
    ] {
        let [root, issuing, voter] = by_openssl(name);
        let register = register_of(&root, &issuing).unwrap_or_else(|error| panic!("{name}: {error}"));
        let holder = check_certificate(&register, &voter, &at(OPENS));
        assert_eq!(holder.map(|holder| holder.said), Ok(SAID.to_owned()), "{name}");
        // Each bit of the signature and of what is signed counts: the last octets are the signature's, those in the middle the key's.
        for place in [voter.len() - 1, voter.len() - 20, voter.len() / 2] {
            let mut altered = voter.clone();
            altered[place] ^= 1;
            let refused = check_certificate(&register, &altered, &at(OPENS)).expect_err("altered");
            assert!(
                matches!(refused, CardError::OtherIssuer | CardError::Malformed(_)),
                "{name}: {refused}"
            );
        }
        let mut altered = issuing.clone();
        let last = altered.len() - 1;
        altered[last] ^= 1;
        let error = register_of(&root, &altered).expect_err("altered");
        assert!(error.to_string().contains("issuing CA 1 ("), "{name}: {error}");
    }
}

#[test]
fn an_authority_whose_key_or_signature_is_not_checked_here_is_refused_by_name_with_what_to_do() {
    for (name, what, words) in [
        (
            "no-p256-sha512",
            "issuing CA 1",
            "ECDSA with Sha512 by a key of the kind elliptic curve 1.2.840.10045.3.1.7",
        ),
        (
            "no-p521-sha256",
            "issuing CA 1",
            "ECDSA with Sha256 by a key of the kind elliptic curve 1.3.132.0.35",
        ),
        ("no-secp256k1", "root 1", "elliptic curve 1.3.132.0.10"),
        ("no-brainpool", "root 1", "elliptic curve 1.3.36.3.3.2.8.1.1.11"),
        ("no-ed25519", "root 1", "algorithm 1.3.101.112"),
        ("no-rsa-1024", "root 1", "RSA of 1024 bits"),
        ("no-rsa-sha1", "issuing CA 1", "algorithm 1.2.840.113549.1.1.5"),
        ("no-pss-salt", "issuing CA 1", "RSASSA-PSS with other parameters"),
        ("no-pss-mask", "issuing CA 1", "RSASSA-PSS with other parameters"),
    ] {
        let [root, issuing, voter] = by_openssl(name);
        let error = register_of(&root, &issuing).expect_err(name);
        assert_eq!(error.reason(), Reason::ManifestInvalid);
        let said = error.to_string();
        let of = if what == "root 1" { "root" } else { "issuing" };
        for part in [what, &format!("CN={name} {of}"), words, "cannot be checked here"] {
            assert!(said.contains(part), "{name}: {said}");
        }
        // Pinned, so that nobody's signature over it is asked for; those that it makes are not good all the same.
        if let Ok(register) = register_of(&issuing, &issuing) {
            let refused = check_certificate(&register, &voter, &at(OPENS)).expect_err(name);
            assert_eq!(refused, CardError::OtherIssuer, "{name}");
        }
    }
}

#[test]
fn a_card_signs_with_no_key_of_an_authoritys_kind_only() {
    let mut world = world();
    let cards = world.cards.take().expect("cards");
    for name in ["p521-sha512", "pss-key-sha384"] {
        let [_, issuing, _] = by_openssl(name);
        let key = der::elements(&der::elements(&issuing)[0]).remove(6);
        // A good card's certificate with that key in the place of its own.
        let mut cards_of = Cards::new(OPENS);
        let certificate = cards_of.card(&good()).certificate;
        let certificate = cards.changed(&certificate, |parts| parts[6] = key);
        let refused = check_certificate(register(&world), &certificate, &at(OPENS)).expect_err(name);
        assert_eq!(refused.reason(), Reason::CardWeakKey, "{name}: {refused}");
        let scheme = scheme_of(&certificate).expect_err(name);
        assert_eq!(scheme.reason(), Reason::CardWeakKey, "{name}");
    }
}
