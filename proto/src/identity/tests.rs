use super::*;
use crate::envelope::Signer;
use crate::ids::{BoxId, Role, StationId};
use crate::pki::Authority;
use crate::suite::OpeningKey;
use rand_chacha::rand_core::SeedableRng;

fn parts() -> PartyParts {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(3);
    PartyParts {
        role: Role::P2,
        agency: "Landeswahlbeh\u{f6}rde".into(),
        public_address: "https://p2.example:7001".into(),
        peer_address: "https://[::1]:7002".into(),
        tls_ca_pem: Authority::generate("P2").expect("made").cert_pem().into(),
        signing_key: Signer::generate(&mut rng).public_key(),
        sealing_key: OpeningKey::generate(&mut rng).sealing_key(),
    }
}

#[test]
fn a_party_survives_file_and_wire() {
    let party = PartyIdentity::new(parts()).expect("checked");
    assert_eq!(PartyIdentity::from_toml(&party.to_toml()).expect("file"), party);
    assert_eq!(PartyIdentity::from_wire(&party.to_wire()).expect("wire"), party);
    let text = party.fingerprint().to_string();
    assert_eq!((text.len(), text.matches('-').count()), (29, 5));
    assert!(party.to_toml().contains(&text));
    assert_eq!(party.peer_address().host(), "::1");
}

#[test]
fn every_field_moves_the_fingerprint() {
    let base = parts();
    let fingerprint = |parts: PartyParts| PartyIdentity::new(parts).expect("checked").fingerprint();
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(4);
    let others = [
        PartyParts {
            role: Role::P3,
            ..base.clone()
        },
        PartyParts {
            agency: "Other".into(),
            ..base.clone()
        },
        PartyParts {
            public_address: "https://p2.example:7003".into(),
            ..base.clone()
        },
        PartyParts {
            peer_address: "https://p2.example:7003".into(),
            ..base.clone()
        },
        PartyParts {
            tls_ca_pem: Authority::generate("P2").expect("made").cert_pem().into(),
            ..base.clone()
        },
        PartyParts {
            signing_key: Signer::generate(&mut rng).public_key(),
            ..base.clone()
        },
        PartyParts {
            sealing_key: OpeningKey::generate(&mut rng).sealing_key(),
            ..base.clone()
        },
    ];
    for other in others {
        assert_ne!(fingerprint(other), fingerprint(base.clone()));
    }
}

#[test]
fn files_with_surprises_are_refused() {
    let party = PartyIdentity::new(parts()).expect("checked");
    let text = party.to_toml();
    let unknown = text.replace("agency =", "agncy = \"x\"\nagency =");
    assert!(matches!(
        PartyIdentity::from_toml(&unknown),
        Err(IdentityError::Toml(_))
    ));
    let number = text.replace("party = 2", "party = 4");
    assert!(matches!(
        PartyIdentity::from_toml(&number),
        Err(IdentityError::Party(_))
    ));
    let suite = text.replace("aead_id = 3", "aead_id = 1");
    assert!(matches!(
        PartyIdentity::from_toml(&suite),
        Err(IdentityError::Hpke(SuiteError::Unsupported { .. }))
    ));
    let key = text.replace("signing_key = \"", "signing_key = \"zz");
    assert!(matches!(
        PartyIdentity::from_toml(&key),
        Err(IdentityError::Hex { field: "signing_key" })
    ));
    let long = format!("{text}#{}", "x".repeat(MAX_FILE_BYTES));
    assert!(matches!(
        PartyIdentity::from_toml(&long),
        Err(IdentityError::TooLarge(_))
    ));
    assert!(CoordinatorIdentity::from_toml(&text).is_err());
}

#[test]
fn addresses_are_https_with_host_and_port() {
    for good in [
        "https://localhost:7001",
        "https://127.0.0.1:1",
        "https://[2001:db8::1]:65535",
    ] {
        assert_eq!(Address::new("a", good).expect(good).as_str(), good);
    }
    for bad in [
        "http://localhost:1",
        "https://localhost",
        "https://:1",
        "https://a:0",
        "https://a:65536",
        "https://a:1/",
        "https://a b:1",
        "https://[::1:1",
        "https://a:01",
        "https://u@a:1",
        "",
    ] {
        assert!(
            matches!(Address::new("a", bad), Err(IdentityError::Address { .. })),
            "{bad}"
        );
    }
}

#[test]
fn the_others_survive_file_and_wire() {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(5);
    let key = Signer::generate(&mut rng).public_key();
    let ca = Authority::generate("C").expect("made");
    let coordinator = CoordinatorIdentity::new("Commission", "https://c.example:7000", ca.cert_pem(), key)
        .expect("checked");
    assert_eq!(
        CoordinatorIdentity::from_toml(&coordinator.to_toml()).expect("file"),
        coordinator
    );
    assert_eq!(
        CoordinatorIdentity::from_wire(&coordinator.to_wire()).expect("wire"),
        coordinator
    );
    let registrar = RegistrarIdentity::new("letters", key).expect("checked");
    assert_eq!(
        RegistrarIdentity::from_toml(&registrar.to_toml()).expect("file"),
        registrar
    );
    assert_eq!(
        RegistrarIdentity::from_wire(&registrar.to_wire()).expect("wire"),
        registrar
    );
    assert!(matches!(
        RegistrarIdentity::new("Le tters", key),
        Err(IdentityError::RegistrarName(_))
    ));
    let station =
        StationIdentity::new(StationId(4), "School", key, vec![BoxId(1), BoxId(3)]).expect("checked");
    assert_eq!(
        StationIdentity::from_toml(&station.to_toml()).expect("file"),
        station
    );
    assert_eq!(
        StationIdentity::from_wire(&station.to_wire()).expect("wire"),
        station
    );
    assert!(station.serves(BoxId(3)) && !station.serves(BoxId(2)));
    let unsorted = StationIdentity::new(StationId(4), "School", key, vec![BoxId(3), BoxId(3)]);
    assert!(matches!(unsorted, Err(IdentityError::Boxes)));
    assert!(matches!(
        StationIdentity::new(StationId(4), "", key, vec![]),
        Err(IdentityError::Name { .. })
    ));
}
