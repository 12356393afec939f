use tally_proto::envelope::Kind;
use tally_proto::fixture::{CLOSES, OPENS, OpenShape, Shape, World, cards};
use tally_proto::ids::{BoxId, RoleExt as _, VoterIndex};
use tally_proto::manifest::SignedManifest;
use tally_proto::wire;

use super::*;

const SEED: u64 = 11;

fn world(shape: Shape) -> World {
    World::new(Shape {
        seed: SEED,
        cards: true,
        ..shape
    })
}

fn earlier(world: &World) -> Election {
    Election::new((*world.manifest).clone()).unwrap()
}

/// An election of the same parties and register, changed by `edit`.
fn later(world: &World, edit: impl FnOnce(&mut wire::Manifest)) -> Election {
    let mut wire = world.manifest.manifest().to_wire();
    wire.election = "ward-8".into();
    edit(&mut wire);
    signed(world, &wire)
}

fn signed(world: &World, wire: &wire::Manifest) -> Election {
    let envelope = world.sign_all(Kind::Manifest, prost::Message::encode_to_vec(wire));
    Election::new(SignedManifest::open(envelope).unwrap()).unwrap()
}

fn register(wire: &mut wire::Manifest) -> &mut wire::EnrolmentRegister {
    wire.register.as_mut().unwrap()
}

fn place(online: bool) -> OnRoll {
    OnRoll {
        reference: "B2-000".into(),
        of_box: BoxId(2),
        voter: VoterIndex(1),
        online,
        missing_at: None,
    }
}

fn code(of: &Election, credential: u64) -> Invitation {
    let credential = Credential::new(credential);
    Invitation::new(&of.manifest_hash(), BoxId(1), VoterIndex(3), credential)
}

fn refused(world: &World, edit: impl FnOnce(&mut wire::Manifest)) -> CarryError {
    let earlier = earlier(world);
    let later = later(world, edit);
    carry_over(&earlier, &code(&earlier, 7), &later, &place(true)).unwrap_err()
}

#[test]
fn the_credential_in_the_voters_place_of_the_later_election() {
    let world = world(Shape::default());
    let (earlier, later) = (earlier(&world), later(&world, |_| {}));
    let (carried, before) = carry_over(&earlier, &code(&earlier, 0xabc), &later, &place(true)).unwrap();
    assert_eq!((carried.of_box(), carried.voter()), (BoxId(2), VoterIndex(1)));
    let credential = carried.credential_for(&later.manifest_hash()).unwrap();
    assert_eq!(credential.expose(), 0xabc);
    assert!(carried.credential_for(&earlier.manifest_hash()).is_err());
    assert_eq!(before, UnixSeconds(OPENS));
    // It begins to count for fewer where the later register closes before its voting opens.
    let later = super::tests::later(&world, |wire| register(wire).closes_s = OPENS - 500);
    let (_, before) = carry_over(&earlier, &code(&earlier, 0xabc), &later, &place(true)).unwrap();
    assert_eq!(before, UnixSeconds(OPENS - 499));
}

/// Everything of a carried code but the credential and what checks it is the same for any credential, and so is every refusal.
#[test]
fn a_decoys_code_is_carried_over_alike() {
    use rand::SeedableRng as _;
    let world = world(Shape::default());
    let (earlier, later) = (earlier(&world), later(&world, |_| {}));
    let mut rng = rand::rngs::StdRng::seed_from_u64(3);
    let own = code(&earlier, 0x1234_5678_9abc_def0);
    let carry = |of: &Invitation| carry_over(&earlier, of, &later, &place(true)).unwrap().0;
    let decoy = own.decoy(&mut rng);
    let (own_carried, decoy_carried) = (carry(&own), carry(&decoy));
    let credential = decoy.credential_for(&earlier.manifest_hash()).unwrap().expose();
    // A decoy carried over is the code that anybody's enrolment with that credential would have made.
    let place = place(true);
    let made = |credential| {
        Invitation::new(
            &later.manifest_hash(),
            place.of_box,
            place.voter,
            Credential::new(credential),
        )
    };
    assert_eq!(*decoy_carried.to_code(), *made(credential).to_code());
    assert_eq!(*own_carried.to_code(), *made(0x1234_5678_9abc_def0).to_code());
    assert_eq!(own_carried.to_code().len(), decoy_carried.to_code().len());
    let station = OnRoll {
        online: false,
        ..place
    };
    for of in [&own, &decoy] {
        let refused = carry_over(&earlier, of, &later, &station).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "B2-000 votes at a station in election ward-8, not online"
        );
    }
}

#[test]
fn another_register_is_refused_by_name() {
    let world = world(Shape::default());
    let error = refused(&world, |wire| register(wire).id = "residents".into());
    assert!(
        error.to_string().contains("register citizens,") && error.to_string().contains("register residents:"),
        "{error}"
    );
    assert_eq!(error.reason(), Reason::CardRegister);

    let other = cards::Cards::new(OPENS);
    let differs = |edit: &dyn Fn(&mut wire::Manifest)| match refused(&world, edit) {
        CarryError::RegisterDiffers { what, .. } => what,
        other => panic!("{other}"),
    };
    // What leads to no root is no register at all, so both are others.
    let elsewhere = |wire: &mut wire::Manifest| {
        register(wire).roots = vec![other.root.clone()];
        register(wire).issuers = vec![other.issuing.clone()];
    };
    assert_eq!(differs(&elsewhere), Differs::Authorities);
    let uri = wire::enrolment_register::Person::SanUri("urn:x".into());
    assert_eq!(
        differs(&|wire| register(wire).person = Some(uri.clone())),
        Differs::Person
    );
    let usage = |wire: &mut wire::Manifest| register(wire).purpose.as_mut().unwrap().key_usage = 3;
    assert_eq!(differs(&usage), Differs::Purpose);
    assert_eq!(
        differs(&|wire| wire.offsets[1].commitment[0] ^= 1),
        Differs::Offsets
    );

    let error = refused(&world, |wire| {
        wire.register = None;
        wire.offsets.clear();
    });
    assert!(matches!(error, CarryError::NoRegister(_)), "{error}");
    // More authorities, another salt and another window do no harm.
    let (earlier, later) = (
        earlier(&world),
        later(&world, |wire| {
            register(wire).roots.push(other.root.clone());
            register(wire).salt_hash = vec![1; 32];
            register(wire).closes_s = CLOSES - 1;
        }),
    );
    carry_over(&earlier, &code(&earlier, 7), &later, &place(true)).unwrap();
}

/// Somebody who makes an election of the same register with parties of their own would read the credential in the ballot.
#[test]
fn parties_that_sign_with_other_keys_are_refused_before_anything_else() {
    let world = world(Shape::default());
    let imposter = World::new(Shape {
        seed: SEED + 1,
        ..Shape::default()
    });
    let earlier = earlier(&world);
    for slot in 0..3 {
        let mut wire = world.manifest.manifest().to_wire();
        wire.election = "ward-8".into();
        // Two agencies are the true ones, and the third's signature is a stranger's: also where the register differs.
        wire.parties[slot] = imposter.manifest.manifest().to_wire().parties[slot].clone();
        register(&mut wire).id = "residents".into();
        let payload = prost::Message::encode_to_vec(&wire);
        let mut envelope = world.coordinator.seal_envelope(Kind::Manifest, payload);
        for of in 0..3 {
            let signer = if of == slot {
                &imposter.signers[of]
            } else {
                &world.signers[of]
            };
            envelope.add_signature(signer.sign(Kind::Manifest, envelope.payload()));
        }
        let later = Election::new(SignedManifest::open(envelope).unwrap()).unwrap();
        let error = carry_over(&earlier, &code(&earlier, 7), &later, &place(true)).unwrap_err();
        assert!(
            matches!(&error, CarryError::OtherParty { party, .. } if party.slot() == slot),
            "{error}"
        );
        assert_eq!(error.reason(), Reason::ManifestIdentity);
    }
}

#[test]
fn what_cannot_be_carried_over_is_refused_by_name() {
    let world = world(Shape::default());
    let (earlier, later) = (earlier(&world), later(&world, |_| {}));
    let of = |from, code: &Invitation, to| carry_over(from, code, to, &place(true)).unwrap_err();
    let error = of(&earlier, &code(&later, 7), &later);
    assert!(matches!(error, CarryError::Invitation(_)), "{error}");
    let error = of(&earlier, &code(&earlier, 7), &earlier);
    assert!(matches!(error, CarryError::SameElection(_)), "{error}");
    let opened = world.manifest.manifest().register().unwrap().opens().get();
    let error = refused(&world, |wire| {
        register(wire).opens_s = opened - 10;
        register(wire).closes_s = opened - 1;
    });
    assert!(matches!(error, CarryError::Window { .. }), "{error}");

    let open = super::tests::world(Shape {
        open: Some(OpenShape {
            most: 10,
            freezes: CLOSES,
            min_voters: 1,
        }),
        registrars: 0,
        ..Shape::default()
    });
    let mut wire = open.manifest.manifest().to_wire();
    wire.election = "ward-8".into();
    wire.register = world.manifest.manifest().to_wire().register;
    let error = of(&earlier, &code(&earlier, 7), &signed(&open, &wire));
    assert!(matches!(error, CarryError::OpenRoll(_)), "{error}");
}

/// One party that sees ballots in both elections finds nothing in them that a voter's two have in common and those of others have not: not in
/// what all see, nor in what it opens.
#[test]
fn ballots_in_two_elections_have_nothing_in_common() {
    use rand::SeedableRng as _;
    use std::collections::HashSet;
    use tally_proto::ids::Role;

    const WINDOW: usize = 12;
    let world = world(Shape::default());
    let (earlier, later) = (earlier(&world), later(&world, |_| {}));
    let own = code(&earlier, 0x1234_5678_9abc_def0);
    let (carried, _) = carry_over(&earlier, &own, &later, &place(true)).unwrap();
    let mut rng = rand::rngs::StdRng::seed_from_u64(17);
    let mut sent = |election: &Election, invitation: &Invitation, at: u64| {
        let form = election.form_for(invitation).unwrap();
        let choices = crate::Choices::parse(&form, ["Mayor=Ada"]).unwrap();
        let (parcel, _) =
            crate::sealing::seal_online(election, invitation, &choices, UnixSeconds(at), None, &mut rng)
                .unwrap();
        let windows = |bytes: &[u8]| bytes.windows(WINDOW).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let mut seen: HashSet<Vec<u8>> = windows(&parcel.header().encode()).into_iter().collect();
        for party in Role::ALL {
            seen.extend(windows(&parcel.ciphertexts()[party.slot()]));
            let of_box = election.ballot_box(invitation.of_box()).unwrap();
            let header = parcel.header();
            let opened = tally_proto::shares::ShareContext::ballot(election.id(), of_box)
                .open(
                    party,
                    &world.opening_keys[party.slot()],
                    &parcel.digest(),
                    header.commitments(),
                    &parcel.ciphertexts()[party.slot()],
                )
                .unwrap();
            seen.extend(windows(&opened.to_bytes()));
        }
        seen
    };
    let first = sent(&earlier, &own, OPENS);
    let second = sent(&later, &carried, OPENS + 5);
    assert!(first.len() > 300 && second.len() > 300);
    assert!(first.is_disjoint(&second));
}

#[test]
fn the_draw_code_goes_along_where_the_later_election_asks_for_tickets() {
    use rand::SeedableRng as _;
    let world = world(Shape {
        tickets: true,
        ..Shape::default()
    });
    let earlier = earlier(&world);
    let with_draw = |credential| {
        let draw = DrawCode::from_slice(&[6; DrawCode::BYTES]).unwrap();
        code(&earlier, credential).with_draw(draw)
    };
    let tickets = later(&world, |_| {});
    let without = later(&world, |wire| {
        wire.ticket_keys.clear();
        wire.ticket_allowance = None;
    });
    let mut rng = rand::rngs::StdRng::seed_from_u64(3);
    let (own, decoy) = (with_draw(7), with_draw(7).decoy(&mut rng));
    for invitation in [&own, &decoy] {
        let (carried, _) = carry_over(&earlier, invitation, &tickets, &place(true)).unwrap();
        assert_eq!(carried.draw_code().unwrap().expose(), &[6; 10]);
        let (carried, _) = carry_over(&earlier, invitation, &without, &place(true)).unwrap();
        assert!(carried.draw_code().is_none());
    }
    let (carried, _) = carry_over(&earlier, &code(&earlier, 7), &tickets, &place(true)).unwrap();
    assert!(carried.draw_code().is_none(), "there was none");
}
