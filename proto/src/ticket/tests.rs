use std::sync::LazyLock;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use zeroize::Zeroizing;

use super::*;
use crate::ballot::{BallotError, BallotHeader, Submission};
use crate::fixture::{CLOSES, Cast, OPENS, Shape, TICKET_DAY, TICKET_DAYS, World};
use crate::ids::{BoxId, Role, VoterIndex};
use crate::manifest::{Manifest, ManifestError};
use tally_mpc::layout::Choice;

fn world() -> World {
    World::new(Shape {
        tickets: true,
        ..Shape::default()
    })
}

fn ballot(world: &mut World, cast_at: u64) -> [Submission; 3] {
    world.ballot(Cast {
        of_box: BoxId(1),
        voter: VoterIndex(0),
        credential: 7,
        choices: &[Choice::Options(vec![1]), Choice::Blank],
        cast_at: UnixSeconds(cast_at),
        mark: None,
        paper: false,
    })
}

/// Blinded messages of one draw, answered.
fn answered(
    world: &World,
    seed: u8,
    sign: impl Fn(usize, &[u8]) -> Vec<u8>,
) -> Result<Vec<OwnTicket>, TicketError> {
    let manifest = world.manifest.manifest();
    let ticketing = manifest.ticketing().expect("tickets");
    let draw = Draw::new(manifest.election(), ticketing, &[seed; 32]).expect("keys");
    let request = draw.request();
    let answer: Vec<Vec<u8>> = request
        .iter()
        .enumerate()
        .map(|(at, blinded)| sign(at / ticketing.per_day() as usize, blinded))
        .collect();
    draw.finish(&answer)
}

#[test]
fn a_draw_gives_tickets_that_are_good_on_their_day_and_for_one_owner() {
    let world = world();
    let manifest = world.manifest.manifest();
    let ticketing = manifest.ticketing().expect("tickets");
    assert_eq!(
        (ticketing.drawn(), ticketing.per_day(), ticketing.draws()),
        (4, 2, 2)
    );
    let own = answered(&world, 1, |day, b| {
        world.ticket_signers[day].sign(b).expect("signed")
    })
    .expect("good");
    let days: Vec<u64> = own.iter().map(|own| own.ticket().day().get()).collect();
    let second = TICKET_DAYS + TICKET_DAY;
    assert_eq!(days, [TICKET_DAYS, TICKET_DAYS, second, second]);
    for (at, own) in own.iter().enumerate() {
        for (day, key) in ticketing.keys().iter().enumerate() {
            assert_eq!(key.signed(manifest.election(), own.ticket()), day == at / 2);
        }
        let other = ElectionId::new("ward-8").expect("a slug");
        assert!(!ticketing.keys()[at / 2].signed(&other, own.ticket()));
        let kept = OwnTicket::from_bytes(&own.to_bytes()).expect("reads back");
        assert_eq!(kept.ticket(), own.ticket());
        assert_eq!(
            Ticket::from_wire(&own.ticket().to_wire()).as_ref(),
            Ok(own.ticket())
        );
        let digest = Digest([at as u8; 32]);
        let spent = kept.sign(&digest, [Hash32([1; 32]), Hash32([2; 32]), Hash32([3; 32])]);
        assert!(spent.is_by(own.ticket(), &digest));
        assert!(!spent.is_by(own.ticket(), &Digest([99; 32])));
        assert_eq!(Use::from_bytes(&spent.to_bytes()), Ok(spent));
        assert!(Use::from_bytes(&spent.to_bytes()[1..]).is_err());
        let swapped = Use {
            ciphertexts: [spent.ciphertexts[1], spent.ciphertexts[0], spent.ciphertexts[2]],
            ..spent
        };
        assert!(!swapped.is_by(own.ticket(), &digest));
    }
    let mut keys: Vec<_> = own.iter().map(|own| *own.ticket().key().as_bytes()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 4);
    assert!(OwnTicket::from_bytes(&own[0].to_bytes()[..OwnTicket::BYTES - 1]).is_err());
}

#[test]
fn the_same_seed_asks_for_the_same_and_another_for_all_else() {
    let world = world();
    let manifest = world.manifest.manifest();
    let ticketing = manifest.ticketing().expect("tickets");
    let request = |seed| {
        Draw::new(manifest.election(), ticketing, &[seed; 32])
            .expect("keys")
            .request()
    };
    assert_eq!(request(1), request(1));
    assert!(request(1).iter().all(|blinded| !request(2).contains(blinded)));
    let signer = &world.ticket_signers[0];
    let blinded = &request(1)[0];
    assert_eq!(
        signer.sign(blinded),
        signer.sign(blinded),
        "a lost answer is given again"
    );
}

#[test]
fn a_coordinator_that_signs_one_voter_with_another_key_is_found_out() {
    // The attack: a key for this voter alone, by which the tickets could be told from all others.
    static MARKING: LazyLock<Zeroizing<Vec<u8>>> = LazyLock::new(|| {
        let mut rng = ChaCha20Rng::seed_from_u64(66);
        TicketSigner::generate(&mut rng)
            .expect("a key")
            .to_der()
            .expect("encodes")
    });
    let marking = TicketSigner::from_der(&MARKING).expect("just made");
    let world = world();
    let honest = |day: usize, b: &[u8]| world.ticket_signers[day].sign(b).expect("signed");
    let marked = answered(&world, 1, |day, b| {
        if day == 1 {
            marking.sign(b).unwrap_or(vec![1; RSA_BYTES])
        } else {
            honest(day, b)
        }
    });
    let day = UnixSeconds(TICKET_DAYS + TICKET_DAY);
    assert_eq!(marked.map(|_| ()), Err(TicketError::OtherKey { day }));
    // Another day's key of the manifest would mark as well, and so would leaving some out, or answering in another order.
    let crossed = answered(&world, 1, |day, b| honest(1 - day, b));
    let day = UnixSeconds(TICKET_DAYS);
    assert_eq!(crossed.map(|_| ()), Err(TicketError::OtherKey { day }));
    let manifest = world.manifest.manifest();
    let ticketing = manifest.ticketing().expect("tickets");
    let draw = || Draw::new(manifest.election(), ticketing, &[1; 32]).expect("keys");
    let mut answer: Vec<_> = draw()
        .request()
        .iter()
        .enumerate()
        .map(|(at, b)| honest(at / 2, b))
        .collect();
    answer.swap(0, 1);
    assert!(matches!(
        draw().finish(&answer),
        Err(TicketError::OtherKey { .. })
    ));
    answer.swap(0, 1);
    assert!(matches!(
        draw().finish(&answer[..3]),
        Err(TicketError::Count {
            expected: 4,
            actual: 3
        })
    ));
    answer[2][255] ^= 1;
    assert!(matches!(
        draw().finish(&answer),
        Err(TicketError::OtherKey { .. })
    ));
    answer[2][255] ^= 1;
    assert_eq!(draw().finish(&answer).expect("good").len(), 4);
}

#[test]
fn a_signer_survives_its_bytes_and_refuses_what_is_no_blinded_message() {
    let world = world();
    let signer = &world.ticket_signers[0];
    let again = TicketSigner::from_der(&signer.to_der().expect("encodes")).expect("reads back");
    assert_eq!(again.key_of(UnixSeconds(5)), signer.key_of(UnixSeconds(5)));
    assert!(TicketSigner::from_der(b"no key").is_err());
    assert_eq!(signer.sign(&[0; RSA_BYTES]), Err(TicketError::Blinded));
    assert_eq!(
        signer.sign(&[0xff; RSA_BYTES]),
        Err(TicketError::Blinded),
        "above the modulus"
    );
    assert!(matches!(
        signer.sign(&[1; 255]),
        Err(TicketError::Length { actual: 255, .. })
    ));
    assert!(
        !format!(
            "{signer:?} {:?}",
            DrawCode::generate(&mut ChaCha20Rng::seed_from_u64(1))
        )
        .contains(char::is_numeric)
    );
}

#[test]
fn a_ballot_passes_with_a_ticket_of_its_day_and_its_owner() {
    let mut world = world();
    let manifest = std::sync::Arc::clone(&world.manifest);
    let manifest = manifest.manifest();
    for cast_at in [
        OPENS,
        TICKET_DAYS + TICKET_DAY - 1,
        TICKET_DAYS + TICKET_DAY,
        CLOSES,
    ] {
        for (role, part) in Role::ALL.into_iter().zip(ballot(&mut world, cast_at)) {
            let read = Submission::decode(&part.encode()).expect("reads back");
            assert_eq!(read, part);
            let header = read.header();
            header.check_place(manifest).expect("of the day");
            assert_eq!(header.check_authority(&read.digest(), None, manifest), Ok(()));
            assert_eq!(read.check_owner(role), Ok(()));
            assert!(
                read.check_owner(role.next()).is_err(),
                "another party's ciphertext"
            );
        }
    }
}

#[test]
fn without_a_ticket_with_a_false_or_a_stolen_one_a_ballot_is_refused() {
    let mut world = world();
    let manifest = std::sync::Arc::clone(&world.manifest);
    let manifest = manifest.manifest();
    let [part, ..] = ballot(&mut world, OPENS);
    let judge = |part: &Submission| {
        part.header().check_place(manifest)?;
        part.header().check_authority(&part.digest(), None, manifest)?;
        part.check_owner(Role::P1)
    };
    let plain = {
        let mut wire = part.to_wire();
        let header = wire.header.as_mut().expect("a header");
        header.authority = None;
        (wire.ciphertext_hashes, wire.authority_signature) = (Vec::new(), Vec::new());
        Submission::from_wire(wire).expect("well-formed")
    };
    assert_eq!(judge(&plain), Err(BallotError::TicketMissing));
    let own = world.ticket(UnixSeconds(OPENS));
    let hashes = part.ticket_use().expect("used").ciphertexts;
    let with = |header: BallotHeader, signed: &dyn Fn(&Digest) -> Use| {
        let spent = signed(&header.digest());
        let part = Submission::new(header, part.ciphertext().clone(), None).expect("a submission");
        part.with_use(spent)
    };
    let good = plain.header().clone().with_ticket(own.ticket().clone());
    assert_eq!(
        judge(&with(good.clone(), &|digest| own.sign(digest, hashes))),
        Ok(())
    );
    // Stolen: somebody else's ticket with one's own signature, or the owner's signature over another ballot.
    let thief = Signer::from_seed(&[5; 32]).expect("a seed");
    let stolen = with(good.clone(), &|digest| Use::sign(&thief, digest, hashes));
    assert!(matches!(judge(&stolen), Err(BallotError::TicketOwner(_))));
    let moved = with(good.clone(), &|_| own.sign(&part.digest(), hashes));
    assert!(matches!(judge(&moved), Err(BallotError::TicketOwner(_))));
    let bare = Submission::new(good.clone(), part.ciphertext().clone(), None).expect("a submission");
    assert!(matches!(judge(&bare), Err(BallotError::TicketOwner(_))));
    let mut wire = with(good.clone(), &|digest| own.sign(digest, hashes)).to_wire();
    wire.ciphertext_hashes.pop();
    assert!(matches!(
        Submission::from_wire(wire),
        Err(BallotError::TicketOwner(_))
    ));
    // Made up: signed by nobody; and a true one whose one-time key was put in another's place.
    let mut forged = own.ticket().to_wire();
    forged.signature[9] ^= 1;
    let header = plain
        .header()
        .clone()
        .with_ticket(Ticket::from_wire(&forged).expect("a form"));
    assert_eq!(
        judge(&with(header, &|digest| own.sign(digest, hashes))),
        Err(BallotError::TicketBad)
    );
    let mut grafted = own.ticket().to_wire();
    grafted.key = thief.public_key().as_bytes().to_vec();
    let header = plain
        .header()
        .clone()
        .with_ticket(Ticket::from_wire(&grafted).expect("a form"));
    assert_eq!(
        judge(&with(header, &|digest| Use::sign(&thief, digest, hashes))),
        Err(BallotError::TicketBad)
    );
    // Of tomorrow.
    let tomorrow = world.ticket(UnixSeconds(CLOSES));
    let header = plain.header().clone().with_ticket(tomorrow.ticket().clone());
    assert!(matches!(
        judge(&with(header, &|digest| tomorrow.sign(digest, hashes))),
        Err(BallotError::TicketDay { .. })
    ));
    // Where nobody asks for one.
    let without = World::new(Shape::default());
    assert_eq!(
        good.check_place(without.manifest.manifest()),
        Err(BallotError::TicketUnasked)
    );
}

#[test]
fn reasons_of_tickets_are_stable() {
    let reasons = [
        (BallotError::TicketMissing, Reason::TicketMissing),
        (BallotError::TicketBad, Reason::TicketBad),
        (BallotError::TicketUnasked, Reason::TicketBad),
        (BallotError::TicketOwner("x"), Reason::TicketOwner),
        (
            BallotError::TicketDay {
                ticket: UnixSeconds(1),
                cast_at: UnixSeconds(2),
            },
            Reason::TicketOtherDay,
        ),
        (BallotError::StrayHashes(2), Reason::MessageMalformed),
        (BallotError::Ticket(TicketError::Modulus), Reason::ManifestInvalid),
        (
            BallotError::Ticket(TicketError::Blinded),
            Reason::MessageMalformed,
        ),
        (
            BallotError::Ticket(TicketError::OtherKey { day: UnixSeconds(1) }),
            Reason::SignatureBad,
        ),
        (BallotError::Ticket(TicketError::Secret), Reason::Internal),
    ];
    for (error, reason) in reasons {
        assert_eq!(error.reason(), reason, "{error}");
    }
}

#[test]
fn a_manifest_says_which_key_is_good_when() {
    let world = world();
    let wire = world.manifest.manifest().to_wire();
    let manifest = Manifest::from_wire(&wire).expect("by the rules");
    assert_eq!(Manifest::decode(&manifest.encode()).expect("decodes"), manifest);
    let ticketing = manifest.ticketing().expect("tickets");
    let day_at = |at| ticketing.key_at(UnixSeconds(at)).map(|key| key.day().get());
    assert_eq!(day_at(TICKET_DAYS - 1), None);
    assert_eq!(day_at(TICKET_DAYS), Some(TICKET_DAYS));
    assert_eq!(day_at(TICKET_DAYS + TICKET_DAY - 1), Some(TICKET_DAYS));
    assert_eq!(day_at(u64::MAX), Some(TICKET_DAYS + TICKET_DAY));

    let refused = |change: &dyn Fn(&mut wire::Manifest)| {
        let mut wire = wire.clone();
        change(&mut wire);
        match Manifest::from_wire(&wire) {
            Err(ManifestError::Tickets(error)) => error,
            other => panic!("not refused for its tickets: {other:?}"),
        }
    };
    let allowance = |per_day, draws| {
        move |m: &mut wire::Manifest| {
            m.ticket_allowance = Some(wire::TicketAllowance { per_day, draws });
        }
    };
    assert_eq!(refused(&|m| m.ticket_allowance = None), TicketingError::Halfway);
    assert_eq!(refused(&|m| m.ticket_keys.clear()), TicketingError::Halfway);
    assert!(matches!(
        refused(&allowance(0, 1)),
        TicketingError::Allowance { .. }
    ));
    assert!(matches!(
        refused(&allowance(513, 1)),
        TicketingError::Allowance { .. }
    ));
    assert!(matches!(
        refused(&allowance(u32::MAX, 1)),
        TicketingError::Allowance { .. }
    ));
    assert_eq!(refused(&allowance(1, 0)), TicketingError::Draws(0));
    assert_eq!(refused(&allowance(1, 17)), TicketingError::Draws(17));
    assert_eq!(refused(&|m| m.ticket_keys.swap(0, 1)), TicketingError::Order(2));
    assert_eq!(
        refused(&|m| m.ticket_keys[1].public_key = m.ticket_keys[0].public_key.clone()),
        TicketingError::Order(2)
    );
    for spoil in [
        (|key: &mut Vec<u8>| key[0] &= 0x7f) as fn(&mut Vec<u8>),
        |key| key[255] &= 0xfe,
        |key| key.truncate(255),
    ] {
        let error = refused(&|m| spoil(&mut m.ticket_keys[1].public_key));
        assert!(matches!(error, TicketingError::Key { number: 2, .. }), "{error}");
    }
    assert!(matches!(
        refused(&|m| m.ticket_keys[0].day_s = OPENS + 1),
        TicketingError::Late { .. }
    ));
    assert_eq!(
        refused(&|m| {
            m.channels.remove(0);
        }),
        TicketingError::NoOnlineChannel
    );
}
