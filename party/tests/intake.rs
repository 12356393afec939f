//! Ballots over real TLS: what is accepted, what is refused and why, and that a receipt is what it says.

use tally_party::store::{Kind, StoreError, accepted, log};
use tally_proto::ballot::BallotHeader;
use tally_proto::fixture::{CLOSES, DRAINED, OPENS, Shape};
use tally_proto::ids::{BoxId, Hash32, Role, RoleExt as _, StationId, UnixSeconds};
use tally_proto::merkle::{verify_consistency, verify_inclusion};
use tally_proto::note::Checkpoint;
use tally_proto::order::{Change, Revocation};
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::receipt::Receipt;
use tally_proto::wire;

use crate::world::{self, Party, World, reason, refusal};

async fn one() -> (World, Party) {
    let world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    (world, party)
}

fn election(world: &World) -> String {
    world.fixture.manifest.manifest().election().as_str().to_owned()
}

#[tokio::test]
async fn a_receipt_is_signed_stored_and_in_the_log() {
    let (mut world, party) = one().await;
    let mut intake = party.intake();
    let keys = world.fixture.manifest.manifest().party_keys();
    let mut receipts = Vec::new();
    for _ in 0..5 {
        let ballot = world.ballot();
        let receipt = intake
            .submit(party.part(&ballot))
            .await
            .expect("accepted")
            .into_inner();
        let receipt = Receipt::from_wire(&receipt).expect("receipt");
        let stated = receipt.verify(&keys).expect("signed").clone();
        assert_eq!(stated.digest, ballot[0].digest());
        assert_eq!(
            stated.ciphertext_hash,
            ballot[party.role.slot()].ciphertext_hash()
        );
        assert_eq!(stated.received_at.get(), world.clock_s());
        assert!(stated.is_timely(ballot[0].header(), &world.fixture.election()));
        receipts.push(stated);
    }
    let reply = intake
        .checkpoint(wire::ElectionRef {
            election: election(&world),
        })
        .await
        .expect("note")
        .into_inner();
    let id = world.fixture.manifest.manifest().election();
    let note = Checkpoint::open(reply.note.as_bytes(), id, Role::P1, &keys[0]).expect("a signed note");
    let first = receipts[0].position;
    assert_eq!(note.size, first + 5);
    for (position, stated) in (first..).zip(&receipts) {
        assert_eq!(stated.position, position);
        let request = wire::InclusionRequest {
            election: election(&world),
            position,
            size: note.size,
        };
        let path = intake.inclusion(request).await.expect("path").into_inner().path;
        let path: Vec<Hash32> = path
            .iter()
            .map(|node| Hash32::from_slice(node).expect("hash"))
            .collect();
        assert!(
            verify_inclusion(&stated.log_leaf(), position, note.size, &path, &note.root),
            "position {position}"
        );
    }
    let between = wire::ConsistencyRequest {
        election: election(&world),
        old_size: 3,
        new_size: note.size,
    };
    let proof = intake
        .consistency(between)
        .await
        .expect("proof")
        .into_inner()
        .path;
    let proof: Vec<Hash32> = proof
        .iter()
        .map(|node| Hash32::from_slice(node).expect("hash"))
        .collect();
    let number = party
        .running
        .party()
        .elections
        .get("ward-7")
        .expect("known")
        .number();
    let store = &party.running.party().store;
    let old = store
        .read(|tx| log::root(tx, number, 3))
        .expect("read")
        .expect("a root");
    assert!(verify_consistency(3, &old, note.size, &note.root, &proof));
    for (old_size, new_size) in [(0, 5), (4, 3), (3, note.size + 1)] {
        let request = wire::ConsistencyRequest {
            election: election(&world),
            old_size,
            new_size,
        };
        assert_eq!(reason(intake.consistency(request).await), Reason::LogRange);
    }
    let lookup = |digest: Vec<u8>, of_box| wire::LookupRequest {
        election: "ward-7".to_owned(),
        r#box: of_box,
        digest,
        record: false,
        holder: Vec::new(),
    };
    let known = receipts[2].digest.0.to_vec();
    // To who has but the digest, or what another ballot's holder has, the party says neither when it came nor where it stands.
    let word = |of: usize| world::word(&party, &receipts[of].digest).expect("accepted here");
    for holder in [Vec::new(), word(1), vec![0; 16], word(2)[..15].to_vec()] {
        let shown = wire::LookupRequest {
            holder,
            ..lookup(known.clone(), 1)
        };
        let found = intake.lookup(shown).await.expect("found").into_inner();
        assert!(found.accepted && found.receipt.is_none() && found.public.is_some());
    }
    let shown = wire::LookupRequest {
        holder: word(2),
        ..lookup(known.clone(), 1)
    };
    let found = intake.lookup(shown).await.expect("found").into_inner();
    let receipt = Receipt::from_wire(&found.receipt.expect("a receipt")).expect("receipt");
    assert_eq!(receipt.verify(&keys), Ok(&receipts[2]));
    let Some(wire::lookup_reply::Public::Ballot(header)) = found.public else {
        panic!("no header")
    };
    let header = BallotHeader::from_wire(&header).expect("a header");
    assert_eq!((header.digest(), found.sealed), (receipts[2].digest, None));
    let unknown = intake
        .lookup(lookup(vec![7; 32], 1))
        .await
        .expect("an answer")
        .into_inner();
    assert_eq!(unknown, wire::LookupReply::default());
    let elsewhere = intake
        .lookup(lookup(known, 2))
        .await
        .expect("an answer")
        .into_inner();
    assert_eq!(
        elsewhere,
        wire::LookupReply::default(),
        "a digest belongs to its box"
    );
    assert_eq!(
        reason(intake.lookup(lookup(vec![7; 31], 1)).await),
        Reason::MessageMalformed
    );
    assert_eq!(
        reason(intake.lookup(lookup(vec![7; 32], 9)).await),
        Reason::BoxUnknown
    );
    let beyond = wire::InclusionRequest {
        election: election(&world),
        position: note.size,
        size: note.size + 1,
    };
    assert_eq!(reason(intake.inclusion(beyond).await), Reason::LogRange);
    let store = &party.running.party().store;
    let digests = store
        .read(|tx| accepted::digests(tx, Kind::Ballot, 1, 1))
        .expect("read");
    assert_eq!(digests.len(), 5);
}

#[tokio::test]
async fn what_anybody_is_shown_of_a_log_moves_on_twice_a_second_and_not_with_every_ballot() {
    let (mut world, party) = one().await;
    let mut intake = party.intake();
    let id = world.fixture.manifest.manifest().election().clone();
    let key = world.fixture.manifest.manifest().party_keys()[0];
    let shown = async || {
        let request = wire::ElectionRef {
            election: id.as_str().to_owned(),
        };
        let reply = party
            .intake()
            .checkpoint(request)
            .await
            .expect("a note")
            .into_inner();
        let note = Checkpoint::open(reply.note.as_bytes(), &id, Role::P1, &key);
        note.expect("signed").size
    };
    let mut still = 0;
    for _ in 0..20 {
        let began = std::time::Instant::now();
        let before = shown().await;
        let ballot = world.ballot();
        let receipt = intake
            .submit(party.part(&ballot))
            .await
            .expect("accepted")
            .into_inner();
        let at_once = shown().await;
        if began.elapsed() < std::time::Duration::from_millis(400) && at_once == before {
            still += 1;
            // Nor is the entry given away by a proof.
            let request = wire::InclusionRequest {
                election: election(&world),
                position: receipt.position,
                size: receipt.position + 1,
            };
            let early = intake.inclusion(request).await;
            if began.elapsed() < std::time::Duration::from_millis(400) {
                assert_eq!(reason(early), Reason::LogRange);
            }
        }
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while shown().await <= receipt.position {
            assert!(std::time::Instant::now() < until, "it is shown in the end");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        if still == 3 {
            return;
        }
    }
    panic!("the log was shown to grow with every ballot: {still}");
}

#[tokio::test]
async fn the_same_ballot_again_gets_the_same_receipt_even_after_the_close() {
    let (mut world, party) = one().await;
    let mut intake = party.intake();
    let ballot = world.ballot();
    let first = intake
        .submit(party.part(&ballot))
        .await
        .expect("accepted")
        .into_inner();
    assert_eq!(
        intake
            .submit(party.part(&ballot))
            .await
            .expect("again")
            .into_inner(),
        first
    );
    world.clock.set((DRAINED + 5_000) * 1000);
    assert_eq!(
        intake
            .submit(party.part(&ballot))
            .await
            .expect("after the close")
            .into_inner(),
        first
    );
    let status = party.control(&world.leaf_of(Role::P1, PeerRole::Coordinator));
    let mut status = status;
    let status = status
        .status(wire::StatusRequest {
            election: String::new(),
        })
        .await
        .expect("status")
        .into_inner();
    assert_eq!(status.elections[0].boxes[0].received_online, 1);
    assert_eq!(status.elections[0].boxes[0].phase(), wire::BoxPhase::Closed);
}

#[tokio::test]
async fn many_at_once_of_one_digest_are_one_ballot() {
    let (mut world, party) = one().await;
    let ballot = world.ballot();
    let submits = (0..20).map(|_| {
        let (mut intake, part) = (party.intake(), party.part(&ballot));
        async move { intake.submit(part).await.expect("accepted").into_inner() }
    });
    let receipts = futures::future::join_all(submits).await;
    assert!(receipts.iter().all(|receipt| *receipt == receipts[0]));
}

#[tokio::test]
async fn a_known_digest_with_other_content_is_refused() {
    let (mut world, party) = one().await;
    let mut intake = party.intake();
    let (ballot, other) = (world.ballot(), world.ballot());
    intake.submit(party.part(&ballot)).await.expect("accepted");
    let mut mixed = party.part(&ballot);
    mixed.ciphertext = party.part(&other).ciphertext;
    assert_eq!(
        reason(intake.submit(mixed).await),
        Reason::BallotKnownOtherContent
    );
}

#[tokio::test]
async fn ballots_before_opening_after_close_and_out_of_range_are_refused() {
    let (mut world, party) = one().await;
    let mut intake = party.intake();
    let now = world.clock_s();
    for (clock, cast_at, expected) in [
        (OPENS - 1, OPENS - 1, Reason::BallotBeforeOpening),
        (OPENS + 1, OPENS - 1, Reason::BallotBeforeOpening),
        (CLOSES + 1, CLOSES + 1, Reason::BallotAfterClose),
        (CLOSES + 61, CLOSES, Reason::BallotAfterClose),
        (now, now - 61, Reason::BallotCastAtOutOfRange),
        (now, now + 61, Reason::BallotCastAtOutOfRange),
    ] {
        world.clock.set(clock * 1000);
        let ballot = world.ballot_at(cast_at);
        assert_eq!(
            reason(intake.submit(party.part(&ballot)).await),
            expected,
            "{clock} {cast_at}"
        );
    }
    for (clock, cast_at) in [
        (OPENS, OPENS),
        (CLOSES + 60, CLOSES),
        (now, now + 2),
        (now, now - 60),
    ] {
        world.clock.set(clock * 1000);
        let ballot = world.ballot_at(cast_at);
        intake
            .submit(party.part(&ballot))
            .await
            .unwrap_or_else(|error| panic!("{clock} {cast_at}: {error}"));
    }
}

#[tokio::test]
async fn an_early_ballot_is_held_until_it_is_in_range_and_the_held_are_bounded() {
    let (mut world, party) = one().await;
    let now = world.clock_s();
    let mut held = Vec::new();
    for ahead in [30, 31] {
        let ballot = world.ballot_at(now + ahead);
        let (mut intake, part) = (party.intake(), party.part(&ballot));
        held.push(tokio::spawn(async move { intake.submit(part).await }));
    }
    while party.running.party().intake.held() < 2 {
        tokio::task::yield_now().await;
    }
    // The test's configuration holds two.
    let third = world.ballot_at(now + 30);
    assert_eq!(
        reason(party.intake().submit(party.part(&third)).await),
        Reason::PartyBusy
    );
    world.clock.set((now + 28) * 1000 - 1);
    assert!(held.iter().all(|task| !task.is_finished()));
    world.clock.set((now + 28) * 1000);
    let receipt = held
        .remove(0)
        .await
        .expect("task")
        .expect("accepted")
        .into_inner();
    assert_eq!(receipt.received_at_s, now + 28);
    assert!(!held[0].is_finished());
    // Stopping the server lets the last one go.
    party.running.stop().await;
    assert_eq!(
        reason(held.remove(0).await.expect("task")),
        Reason::PartyShuttingDown
    );
}

#[tokio::test]
async fn unknown_places_are_refused_by_name() {
    let (mut world, party) = one().await;
    let mut intake = party.intake();
    let ballot = world.ballot();
    let mut elsewhere = party.part(&ballot);
    elsewhere.header.as_mut().expect("header").election = "ward-8".into();
    assert_eq!(reason(intake.submit(elsewhere).await), Reason::ElectionUnknown);
    let mut no_box = party.part(&ballot);
    no_box.header.as_mut().expect("header").r#box = 9;
    assert_eq!(reason(intake.submit(no_box).await), Reason::BoxUnknown);
    let manifest = intake
        .manifest(wire::ElectionRef {
            election: "ward-8".into(),
        })
        .await;
    let refused = refusal(manifest);
    assert_eq!(refused.reason, Reason::ElectionUnknown);
    assert!(refused.detail.contains("ward-8"), "{refused}");
}

#[tokio::test]
async fn shares_that_do_not_open_or_match_are_refused() {
    let (mut world, party) = one().await;
    let mut intake = party.intake();
    let ballot = world.ballot();
    // A flipped bit in the ciphertext; another party's ciphertext; a commitment that is another's (which moves the digest).
    let mut flipped = party.part(&ballot);
    let mut bytes = flipped.ciphertext.to_vec();
    bytes[40] ^= 1;
    flipped.ciphertext = bytes.into();
    assert_eq!(reason(intake.submit(flipped).await), Reason::ShareUnopenable);
    assert_eq!(
        reason(intake.submit(ballot[1].to_wire()).await),
        Reason::ShareUnopenable
    );
    let wrong = world.wrong_commitment(&party);
    assert_eq!(
        reason(intake.submit(wrong).await),
        Reason::ShareCommitmentMismatch
    );
    let store = &party.running.party().store;
    let stored = store
        .read(|tx| Ok::<_, StoreError>(accepted::digests(tx, Kind::Ballot, 1, 1)?.len()))
        .expect("read");
    assert_eq!(stored, 0, "nothing of a refused ballot is kept");
}

#[tokio::test]
async fn stations_bring_their_own_ballots_on_their_own_certificate() {
    let (mut world, party) = one().await;
    let now = world.clock_s();
    let one = world.leaf_of(Role::P1, PeerRole::Station(StationId(1)));
    let two = world.leaf_of(Role::P1, PeerRole::Station(StationId(2)));
    let ballot = world.station_ballot(1, 1, now);
    assert_eq!(
        reason(party.intake().submit(party.part(&ballot)).await),
        Reason::RoleRefused
    );
    assert_eq!(
        reason(party.station(&two).submit(party.part(&ballot)).await),
        Reason::RoleRefused
    );
    let online = world.ballot();
    assert_eq!(
        reason(party.station(&one).submit(party.part(&online)).await),
        Reason::RoleRefused
    );
    party
        .station(&one)
        .submit(party.part(&ballot))
        .await
        .expect("accepted");
    let mut unsigned = party.part(&world.station_ballot(1, 2, now));
    unsigned.authority_signature[3] ^= 1;
    assert_eq!(
        reason(party.station(&one).submit(unsigned).await),
        Reason::BallotStationSignature
    );
    // What a station queued while offline is taken until its deadline, never later.
    let (late, too_late) = (
        world.station_ballot(1, 3, CLOSES),
        world.station_ballot(1, 4, CLOSES),
    );
    world.clock.set(DRAINED * 1000);
    party
        .station(&one)
        .submit(party.part(&late))
        .await
        .expect("drained");
    world.clock.set((DRAINED + 1) * 1000);
    assert_eq!(
        reason(party.station(&one).submit(party.part(&too_late)).await),
        Reason::BallotAfterClose
    );
    let coordinator = world.leaf_of(Role::P1, PeerRole::Coordinator);
    assert_eq!(
        reason(party.station(&coordinator).submit(party.part(&online)).await),
        Reason::RoleRefused
    );
}

#[tokio::test]
async fn of_a_revoked_station_nothing_more_is_taken() {
    let (mut world, party) = one().await;
    let (now, leaf) = (
        world.clock_s(),
        world.leaf_of(Role::P1, PeerRole::Station(StationId(1))),
    );
    let before = world.station_ballot(1, 1, now);
    let receipt = party
        .station(&leaf)
        .submit(party.part(&before))
        .await
        .expect("accepted");
    let order = world.fixture.order(
        1,
        Change::Revocation(Revocation {
            station: StationId(1),
            from: UnixSeconds(now),
        }),
    );
    let mut control = party.control(&world.leaf_of(Role::P1, PeerRole::Coordinator));
    let mut proposal = order.envelope().to_wire();
    proposal
        .signatures
        .retain(|signature| signature.public_key == world.fixture.coordinator.public_key().as_bytes());
    control.propose_order(proposal).await.expect("proposed");
    control
        .complete(order.envelope().to_wire())
        .await
        .expect("in force");
    // Dated back as well: whoever has the station's key can do that.
    for (sequence, cast_at) in [(2, now), (3, now - 50)] {
        let ballot = world.station_ballot(1, sequence, cast_at);
        let refused = refusal(party.station(&leaf).submit(party.part(&ballot)).await);
        assert_eq!(refused.reason, Reason::BallotStationRevoked);
        assert!(refused.detail.contains("station 1"), "{refused}");
    }
    let again = party
        .station(&leaf)
        .submit(party.part(&before))
        .await
        .expect("known");
    assert_eq!(again.into_inner(), receipt.into_inner());
    let other = world.leaf_of(Role::P1, PeerRole::Station(StationId(2)));
    let ballot = world.station_ballot(2, 1, now);
    party
        .station(&other)
        .submit(party.part(&ballot))
        .await
        .expect("another station goes on");
}

#[tokio::test]
async fn a_full_box_takes_no_more_and_neither_side_can_fill_the_others() {
    // Ten ballots: five online, five at stations, of which one station casts two.
    let mut world = World::new(Shape {
        max_ballots: 10,
        ..Shape::default()
    });
    let party = world.start_in_force(Role::P1).await;
    let now = world.clock_s();
    let first = world.ballot();
    let receipt = party.intake().submit(party.part(&first)).await.expect("taken");
    for _ in 1..5 {
        let ballot = world.ballot();
        party.intake().submit(party.part(&ballot)).await.expect("taken");
    }
    let one_more = world.ballot();
    let refused = refusal(party.intake().submit(party.part(&one_more)).await);
    assert_eq!(refused.reason, Reason::BoxFull);
    assert!(
        refused.detail.contains("box 1 holds 5 online ballots"),
        "{refused}"
    );
    // What is here has its receipt still, and another box takes its own.
    let again = party
        .intake()
        .submit(party.part(&first))
        .await
        .expect("its receipt");
    assert_eq!(again.into_inner(), receipt.into_inner());
    let elsewhere = world.ballot_in(BoxId(2));
    party
        .intake()
        .submit(party.part(&elsewhere))
        .await
        .expect("another box");

    let [one, two] = [1, 2].map(|n| world.leaf_of(party.role, PeerRole::Station(StationId(n))));
    for (leaf, station) in [(&one, 1), (&two, 2)] {
        for sequence in 1..=2 {
            let ballot = world.station_ballot(station, sequence, now);
            party
                .station(leaf)
                .submit(party.part(&ballot))
                .await
                .expect("taken");
        }
        for sequence in [0, 3, u64::MAX] {
            let ballot = world.station_ballot(station, sequence, now);
            let refused = refusal(party.station(leaf).submit(party.part(&ballot)).await);
            assert_eq!(refused.reason, Reason::BallotStationSequence, "{sequence}");
        }
    }
}

#[tokio::test]
async fn many_at_once_do_not_overfill_a_box() {
    let mut world = World::new(Shape {
        max_ballots: 10,
        ..Shape::default()
    });
    let party = world.start_in_force(Role::P1).await;
    let ballots: Vec<_> = (0..24).map(|_| party.part(&world.ballot())).collect();
    let submitted = ballots.into_iter().map(|part| {
        let mut intake = party.intake();
        async move { intake.submit(part).await }
    });
    let outcomes = futures::future::join_all(submitted).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 5);
    for refused in outcomes.into_iter().filter(Result::is_err) {
        assert_eq!(reason(refused), Reason::BoxFull);
    }
}

#[tokio::test]
async fn a_number_of_a_station_is_taken_once() {
    let mut world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    let now = world.clock_s();
    let leaf = world.leaf_of(party.role, PeerRole::Station(StationId(1)));
    let ballot = world.station_ballot(1, 7, now);
    party
        .station(&leaf)
        .submit(party.part(&ballot))
        .await
        .expect("taken");
    let twin = world.station_ballot(1, 7, now);
    let refused = refusal(party.station(&leaf).submit(party.part(&twin)).await);
    assert_eq!(refused.reason, Reason::BallotStationSequence);
    assert!(refused.detail.contains("number 7 of station 1"), "{refused}");
    party
        .station(&leaf)
        .submit(party.part(&ballot))
        .await
        .expect("its receipt");
    let next = world.station_ballot(1, 8, now);
    party
        .station(&leaf)
        .submit(party.part(&next))
        .await
        .expect("the next number");
}

#[tokio::test]
async fn receipts_of_others_are_verified_and_stored() {
    let (mut world, party) = one().await;
    let second = world.start_in_force(Role::P2).await;
    let ballot = world.ballot();
    let receipt = second
        .intake()
        .submit(second.part(&ballot))
        .await
        .expect("accepted")
        .into_inner();
    let mut intake = party.intake();
    let mut forged = receipt.clone();
    forged.position += 1;
    assert_eq!(reason(intake.deliver(forged).await), Reason::ReceiptInvalid);
    // For something that this party has not accepted, however well signed, nothing is stored: nobody's junk fills the disk.
    let stored_of = |digest: tally_proto::ids::Digest| {
        let store = &party.running.party().store;
        let read = store.read(|tx| tally_party::store::receipts::get(tx, 1, 1, digest.as_bytes(), 2));
        read.expect("read")
    };
    assert_eq!(
        reason(intake.deliver(receipt.clone()).await),
        Reason::ReceiptEarly
    );
    assert_eq!(stored_of(ballot[0].digest()), None);
    for junk in 0..50 {
        let digest = tally_proto::ids::Digest([junk; 32]);
        let of_nothing = world.fixture.receipt(Role::P2, BoxId(1), digest);
        let refused = intake.deliver(of_nothing.to_wire()).await;
        assert_eq!(reason(refused), Reason::ReceiptEarly);
        assert_eq!(stored_of(digest), None);
    }
    party
        .intake()
        .submit(party.part(&ballot))
        .await
        .expect("accepted here as well");
    intake.deliver(receipt.clone()).await.expect("stored");
    intake.deliver(receipt.clone()).await.expect("again");
    let digest = ballot[0].digest();
    let stored = party
        .running
        .party()
        .store
        .read(|tx| tally_party::store::receipts::get(tx, 1, 1, digest.as_bytes(), 2))
        .expect("read");
    assert_eq!(
        Receipt::decode(&stored.expect("stored"))
            .expect("receipt")
            .to_wire(),
        receipt
    );
}

#[tokio::test]
async fn an_election_that_is_not_in_force_takes_nothing() {
    let mut world = World::new(Shape::default());
    let party = world.start(Role::P1).await;
    world.publish(&party).await.expect("published");
    let ballot = world.ballot();
    let refused = refusal(party.intake().submit(party.part(&ballot)).await);
    assert_eq!(refused.reason, Reason::ManifestNotCountersigned);
    assert!(refused.detail.contains("P1 and P2 and P3"), "{refused}");
}

#[tokio::test]
async fn a_frozen_box_takes_nothing_new_and_still_knows_what_it_took() {
    let (mut world, party) = one().await;
    let (known, new) = (world.ballot(), world.ballot());
    let receipt = party
        .intake()
        .submit(party.part(&known))
        .await
        .expect("accepted")
        .into_inner();
    let store = &party.running.party().store;
    store
        .write(|tx| tally_party::store::boxes::freeze(tx, 1, 1))
        .expect("frozen");
    assert_eq!(
        reason(party.intake().submit(party.part(&new)).await),
        Reason::ListAlready
    );
    assert_eq!(
        party
            .intake()
            .submit(party.part(&known))
            .await
            .expect("known")
            .into_inner(),
        receipt
    );
    let other_box = world.ballot_in(BoxId(2));
    party
        .intake()
        .submit(party.part(&other_box))
        .await
        .expect("another box is open");
}

#[tokio::test]
async fn elections_and_boxes_live_side_by_side() {
    let (mut world, party) = one().await;
    let here = [world.ballot(), world.ballot_in(BoxId(2))];
    world.define_another("ward-8");
    world.publish(&party).await.expect("published");
    let mut control = party.control(&world.leaf_of(Role::P1, PeerRole::Coordinator));
    control
        .complete(world.fixture.manifest.envelope().to_wire())
        .await
        .expect("in force");
    world.trust(&party).await;
    let there = [world.ballot(), world.ballot_in(BoxId(2)), world.ballot()];
    for ballot in here.iter().chain(&there) {
        party.intake().submit(party.part(ballot)).await.expect("accepted");
    }
    let status = control
        .status(wire::StatusRequest {
            election: String::new(),
        })
        .await
        .expect("status")
        .into_inner();
    let seen: Vec<_> = status
        .elections
        .iter()
        .map(|of| {
            (
                of.election.as_str(),
                of.boxes.iter().map(|b| b.received_online).collect::<Vec<_>>(),
            )
        })
        .collect();
    assert_eq!(seen, [("ward-7", vec![1, 1]), ("ward-8", vec![2, 1])]);
    // A ballot belongs to its election: its shares open nowhere else.
    let mut moved = party.part(&there[0]);
    moved.header.as_mut().expect("header").election = "ward-7".into();
    assert_eq!(
        reason(party.intake().submit(moved).await),
        Reason::ShareUnopenable
    );
}
