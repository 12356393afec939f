use super::*;
use crate::envelope::{Envelope, EnvelopeError, Kind};
use crate::fixture::{Shape, World};
use crate::ids::{Hash32, IdError};
use crate::reason::Reason;
use crate::suite::SuiteError;

fn world() -> World {
    World::new(Shape::default())
}

fn refused(change: impl FnOnce(&mut wire::Manifest)) -> ManifestError {
    let mut wire = world().manifest.manifest().to_wire();
    change(&mut wire);
    Manifest::from_wire(&wire).expect_err("refused")
}

#[test]
fn a_manifest_survives_its_bytes() {
    let world = world();
    let manifest = world.manifest.manifest();
    assert_eq!(Manifest::decode(&manifest.encode()).expect("decodes"), *manifest);
    assert_eq!(Hash32::of(&manifest.encode()), world.manifest.hash());
    assert!(world.manifest.is_complete());
    assert_eq!(manifest.boxes().len(), 2);
    assert_eq!(manifest.ballot_box(BoxId(2)).expect("box 2").voters(), 3);
    assert!(manifest.ballot_box(BoxId(3)).is_none());
    assert_eq!(
        manifest.station(StationId(2)).expect("station 2").boxes(),
        [BoxId(1)]
    );
    for (roll, of_box) in world.rolls.iter().zip(manifest.boxes()) {
        assert_eq!(roll.check_box(of_box), Ok(()));
    }
    assert!(world.rolls[0].check_box(&manifest.boxes()[1]).is_err());
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let unsupported = |change: fn(&mut wire::Manifest)| {
        let error = refused(change);
        assert_eq!(error.reason(), Reason::ManifestUnsupported);
        error.to_string()
    };
    assert!(unsupported(|m| m.version = 2).contains("version 2"));
    assert!(unsupported(|m| m.contests[1].rule = None).contains("contest 2"));
    assert!(unsupported(|m| m.network = 2).contains("network 2"));
    assert!(unsupported(|m| m.revoked_rows = 2).contains("revoked_rows 2"));
    let suite = refused(|m| m.parties[1].hpke_keys[0].aead_id = 2);
    assert_eq!(suite.reason(), Reason::SuiteUnsupported);
    assert!(suite.to_string().contains("AES-256-GCM"), "{suite}");
    assert!(matches!(
        suite,
        ManifestError::Identity {
            source: IdentityError::Hpke(SuiteError::Unsupported { aead: 2, .. }),
            ..
        }
    ));
}

fn with_cards() -> World {
    World::new(Shape {
        cards: true,
        ..Shape::default()
    })
}

#[test]
fn offsets_are_three_commitments_and_come_with_enrolment() {
    let offset = |index, length| wire::CredentialOffset {
        index,
        commitment: vec![index as u8; length],
    };
    let with = |offsets: Vec<wire::CredentialOffset>| {
        let mut wire = with_cards().manifest.manifest().to_wire();
        wire.offsets = offsets;
        Manifest::from_wire(&wire).map(|manifest| {
            assert_eq!(manifest.to_wire(), wire);
            manifest.offsets().copied()
        })
    };
    let none = with(vec![]).expect_err("enrolment without offsets");
    assert!(matches!(none, ManifestError::OffsetsOfRegister), "{none}");
    let mut no_register = with_cards().manifest.manifest().to_wire();
    no_register.register = None;
    let alone = Manifest::from_wire(&no_register).expect_err("offsets without enrolment");
    assert!(matches!(alone, ManifestError::OffsetsOfRegister), "{alone}");
    assert_eq!(world().manifest.manifest().offsets(), None);
    let three = (1..=3).map(|j| offset(j, 32)).collect();
    let commitments = Some([1, 2, 3].map(|j| crate::ids::Hash32([j; 32])));
    assert_eq!(with(three).expect("three"), commitments);
    for wrong in [
        vec![offset(1, 32), offset(2, 32)],
        vec![offset(1, 32), offset(3, 32), offset(2, 32)],
        vec![offset(1, 32), offset(2, 31), offset(3, 32)],
        vec![offset(0, 32), offset(1, 32), offset(2, 32)],
        (1..=4).map(|j| offset(j, 32)).collect(),
    ] {
        let error = with(wrong).expect_err("refused");
        assert!(matches!(error, ManifestError::Offsets), "{error}");
        assert_eq!(error.reason(), Reason::ManifestInvalid);
    }
}

#[test]
fn what_counts_of_a_revoked_station_has_one_encoding() {
    let before = world().manifest.manifest().clone();
    assert_eq!(before.revoked_rows(), RevokedRows::Before, "what says nothing");
    let wire = wire::Manifest {
        revoked_rows: wire::RevokedRows::None.into(),
        ..before.to_wire()
    };
    let none = Manifest::from_wire(&wire).expect("a manifest");
    assert_eq!(none.revoked_rows(), RevokedRows::None);
    assert_eq!(Manifest::decode(&none.encode()).expect("decodes"), none);
    // The field is the last one: 21, a number. The default is not written.
    let mut spelled = before.encode();
    assert_eq!(none.encode(), [&spelled[..], &[0xa8, 0x01, 1]].concat());
    spelled.extend([0xa8, 0x01, 0]);
    assert!(matches!(
        Manifest::decode(&spelled),
        Err(ManifestError::Decode(_))
    ));
    for rows in RevokedRows::ALL {
        assert_eq!(rows.to_string().parse(), Ok(rows));
    }
    assert_eq!("all".parse::<RevokedRows>(), Err(UnknownRevokedRows));
}

#[test]
fn a_network_has_one_encoding_and_cuts_the_sort() {
    let near = world().manifest.manifest().clone();
    assert_eq!(
        (near.network(), near.tally_params().sort),
        (Network::Near, tally_mpc::SortParams::LAN),
        "what says nothing is near"
    );
    let wire = wire::Manifest {
        network: wire::Network::Far.into(),
        ..near.to_wire()
    };
    let far = Manifest::from_wire(&wire).expect("a manifest");
    assert_eq!(
        (far.network(), far.tally_params().sort),
        (Network::Far, tally_mpc::SortParams::WAN)
    );
    assert_eq!(Manifest::decode(&far.encode()).expect("decodes"), far);
    // The field is the last one: 15, a number. Near is not written, so it cannot be written in two ways.
    let mut spelled = near.encode();
    assert_eq!(far.encode(), [&spelled[..], &[15 << 3, 1]].concat());
    spelled.extend([15 << 3, 0]);
    assert!(matches!(
        Manifest::decode(&spelled),
        Err(ManifestError::Decode(_))
    ));
    for network in Network::ALL {
        assert_eq!(network.to_string().parse(), Ok(network));
    }
    assert_eq!("wan".parse::<Network>(), Err(UnknownNetwork));
}

#[test]
fn a_box_below_the_policy_is_refused_by_name() {
    let error = refused(|m| m.policy.as_mut().expect("policy").min_voters = 4);
    assert_eq!(error.reason(), Reason::BoxTooSmall);
    assert!(
        error.to_string().contains("box 2 (District 2) has 3 voters"),
        "{error}"
    );
}

#[test]
fn broken_rules_are_named() {
    use ManifestError as E;
    assert!(matches!(
        refused(|m| m.election = "Ward 7".into()),
        E::Id(IdError::Election(_))
    ));
    assert!(matches!(refused(|m| m.title.clear()), E::Text { .. }));
    assert!(matches!(refused(|m| m.policy = None), E::Missing("policy")));
    assert!(matches!(
        refused(|m| m.coordinator = None),
        E::Missing("coordinator")
    ));
    assert!(matches!(
        refused(|m| m.contests.clear()),
        E::Count { what: "contests", .. }
    ));
    assert!(matches!(
        refused(|m| m.boxes.clear()),
        E::Count { what: "boxes", .. }
    ));
    assert!(matches!(
        refused(|m| m.channels.clear()),
        E::Count { what: "channels", .. }
    ));
    assert!(matches!(
        refused(|m| m.registrars.clear()),
        E::Count {
            what: "registrars",
            ..
        }
    ));
    assert!(matches!(
        refused(|m| m.contests[0].options.clear()),
        E::Count { .. }
    ));
    assert!(matches!(
        refused(|m| m.contests.swap(0, 1)),
        E::Number {
            what: "contest",
            number: 1
        }
    ));
    assert!(matches!(
        refused(|m| m.boxes[1].id = 1),
        E::Number {
            what: "box",
            number: 1
        }
    ));
    assert!(matches!(
        refused(|m| m.stations[1].id = 1),
        E::Number {
            what: "station",
            number: 1
        }
    ));
    assert!(matches!(
        refused(|m| m.boxes[0].contests = vec![1, 1]),
        E::BoxContest { .. }
    ));
    assert!(matches!(
        refused(|m| m.boxes[0].contests = vec![3]),
        E::BoxContest { .. }
    ));
    assert!(matches!(
        refused(|m| m.boxes[0].contests = vec![]),
        E::Count { .. }
    ));
    assert!(matches!(
        refused(|m| m.boxes[0].index_bits = 4),
        E::IndexBits {
            expected: 3,
            actual: 4,
            ..
        }
    ));
    assert!(matches!(
        refused(|m| m.boxes[0].voters = 0),
        E::Count {
            what: "voters of a box",
            ..
        }
    ));
    assert!(matches!(
        refused(|m| m.boxes[0].voters = MAX_VOTERS + 1),
        E::Count { .. }
    ));
    assert!(matches!(
        refused(|m| m.boxes[0].roll_root.truncate(31)),
        E::RollRoot(BoxId(1))
    ));
    assert!(matches!(refused(|m| m.channels.swap(0, 1)), E::ChannelTwice(_)));
    assert!(matches!(
        refused(|m| m.stations.clear()),
        E::NoStation(ChannelKind::Station)
    ));
    assert!(matches!(
        refused(|m| m.parties.swap(0, 1)),
        E::Parties {
            place: 1,
            number: Some(2)
        }
    ));
    assert!(matches!(
        refused(|m| m.parties.truncate(2)),
        E::Parties {
            place: 3,
            number: None
        }
    ));
    assert!(matches!(
        refused(|m| m.parties.push(m.parties[2].clone())),
        E::Parties { place: 4, .. }
    ));
    assert!(matches!(
        refused(|m| m.stations[1].boxes = vec![9]),
        E::StationBox { .. }
    ));
    assert!(matches!(
        refused(|m| m.channels[0].openings.clear()),
        E::Channel(_)
    ));
    let max = |max| {
        refused(move |m| m.contests[1].rule = Some(wire::contest::Rule::Approval(wire::ApprovalRule { max })))
    };
    assert!(matches!(max(0), E::Layout { .. }));
    assert!(matches!(max(5), E::Layout { .. }));
}

#[test]
fn every_identity_has_its_own_keys() {
    use ManifestError as E;
    let key = |m: &wire::Manifest| m.parties[0].signing_key.clone();
    assert!(matches!(
        refused(|m| m.parties[1].signing_key = key(m)),
        E::SharedKey {
            what: "signing key",
            ..
        }
    ));
    assert!(matches!(
        refused(|m| m.stations[1].signing_key = key(m)),
        E::SharedKey { .. }
    ));
    assert!(matches!(
        refused(|m| m.registrars[0].signing_key = key(m)),
        E::SharedKey { .. }
    ));
    let hpke = refused(|m| m.parties[1].hpke_keys = m.parties[0].hpke_keys.clone());
    assert!(matches!(hpke, E::SharedKey { what: "HPKE key", .. }));
    let ca = refused(|m| m.parties[1].tls_ca_pem = m.parties[0].tls_ca_pem.clone());
    assert!(matches!(
        ca,
        E::SharedKey {
            what: "TLS authority",
            ..
        }
    ));
}

#[test]
fn signatures_are_counted_by_signer() {
    let world = world();
    let payload = world.manifest.envelope().payload().clone();
    let unsigned = SignedManifest::open(Envelope::unsigned(payload.clone()));
    assert!(matches!(
        unsigned,
        Err(ManifestError::Envelope(EnvelopeError::MissingSigner { .. }))
    ));
    let drafted = world.coordinator.seal_envelope(Kind::Manifest, payload.clone());
    let mut signed = SignedManifest::open(drafted).expect("opens");
    assert!(!signed.is_complete());
    assert_eq!(signed.missing().count(), 3);
    for (role, signer) in Role::ALL.into_iter().zip(&world.signers) {
        assert!(!signed.is_complete());
        signed
            .add_signature(signer.sign(Kind::Manifest, &payload))
            .expect("a party's");
        assert!(signed.is_countersigned_by(role));
    }
    assert!(signed.is_complete());
    let before = signed.clone();
    let stranger = world.stations[0].sign(Kind::Manifest, &payload);
    assert!(signed.add_signature(stranger).is_err());
    let other_kind = world.signers[0].sign(Kind::Order, &payload);
    assert!(signed.add_signature(other_kind).is_err());
    assert_eq!(signed, before);
}

#[test]
fn changed_bytes_of_a_signed_manifest_are_refused() {
    let bytes = world().manifest.envelope().encode();
    let opens = |bytes: &[u8]| {
        Envelope::decode(bytes)
            .ok()
            .and_then(|e| SignedManifest::open(e).ok())
    };
    assert!(opens(&bytes).is_some_and(|m| m.is_complete()));
    // One in seven, and all of the ends, where framing and signatures lie.
    for i in (0..bytes.len()).filter(|i| i % 7 == 0 || *i < 64 || *i + 420 > bytes.len()) {
        let mut changed = bytes.clone();
        changed[i] ^= 1;
        assert!(opens(&changed).is_none(), "byte {i}");
    }
}

#[test]
fn two_authorities_of_one_name_cannot_stand_side_by_side() {
    let cards = with_cards();
    let mut wire = cards.manifest.manifest().to_wire();
    let register = wire.register.as_mut().expect("a register");
    // Of the same hierarchy's names, with keys of its own.
    let other = crate::fixture::cards::Cards::new(crate::fixture::OPENS);
    register.issuers.push(other.issuing);
    let error = Manifest::from_wire(&wire).expect_err("refused");
    assert!(
        error.to_string().contains("issuing CAs 1 and 2 have one name"),
        "{error}"
    );
    assert_eq!(error.reason(), Reason::ManifestInvalid);
}

#[test]
fn an_open_roll_is_one_box_of_people_who_enrol() {
    use crate::fixture::{DRAINED, OpenShape};
    let world = World::new(Shape {
        cards: true,
        registrars: 0,
        open: Some(OpenShape {
            most: 9,
            freezes: DRAINED,
            min_voters: 3,
        }),
        ..Shape::default()
    });
    let manifest = world.manifest.manifest();
    assert_eq!(Manifest::decode(&manifest.encode()).expect("decodes"), *manifest);
    let of_box = manifest.open_box().expect("open");
    assert_eq!(
        (of_box.voters(), of_box.roll_root(), of_box.online_bits()),
        (9, None, 0)
    );
    assert_eq!(of_box.open().expect("open").freezes, UnixSeconds(DRAINED));
    assert_eq!(of_box.layout().index_bits(), 4);
    assert!(world.rolls[0].check_box(of_box).is_err(), "no roll is its roll");
    let other = World::new(Shape {
        seed: 2,
        ..Shape::default()
    });
    let registrars = || other.manifest.manifest().to_wire().registrars;
    let refused = |change: &dyn Fn(&mut wire::Manifest)| {
        let mut wire = manifest.to_wire();
        change(&mut wire);
        match Manifest::from_wire(&wire) {
            Err(ManifestError::OpenRoll(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    use OpenRollError as E;
    assert_eq!(
        refused(&|m| m.boxes[0].roll_root = vec![1; 32]),
        E::Root(BoxId(1))
    );
    let twice = refused(&|m| {
        let mut second = m.boxes[0].clone();
        second.id = 2;
        m.boxes.push(second);
    });
    assert_eq!(twice, E::Boxes(2));
    let no_cards = refused(&|m| {
        m.register = None;
        m.offsets.clear();
        m.registrars = registrars();
    });
    assert_eq!(no_cards, E::NoRegister);
    // With a new card, another number: a second vote.
    let by_card = refused(&|m| {
        let register = m.register.as_mut().expect("cards");
        register.issuers.truncate(1);
        register.person = Some(wire::enrolment_register::Person::CertificateSerial(
            wire::CertificateSerial {},
        ));
    });
    assert_eq!(by_card, E::CertificateSerial);
    let issued = refused(&|m| m.registrars = registrars());
    assert_eq!(issued, E::Registrars(1));
    let late = refused(&|m| {
        m.boxes[0].open = Some(wire::OpenRoll {
            freezes_s: DRAINED + 1,
        })
    });
    let (freezes, until) = (UnixSeconds(DRAINED + 1), UnixSeconds(DRAINED));
    assert_eq!(late, E::Late { freezes, until });
    let mut small = manifest.to_wire();
    small.boxes[0].voters = 2;
    assert!(matches!(
        Manifest::from_wire(&small),
        Err(ManifestError::BoxTooSmall {
            voters: 2,
            minimum: 3,
            ..
        })
    ));
}

#[test]
fn tickets_and_enrolment_go_together() {
    let mut wire = with_cards().manifest.manifest().to_wire();
    let tickets = World::new(Shape {
        seed: 3,
        tickets: true,
        ..Shape::default()
    });
    let other = tickets.manifest.manifest().to_wire();
    (wire.ticket_keys, wire.ticket_allowance) = (other.ticket_keys, other.ticket_allowance);
    let manifest = Manifest::from_wire(&wire).expect("a manifest");
    assert!(manifest.ticketing().is_some() && manifest.register().is_some());
    assert_eq!(manifest.to_wire(), wire);
}
