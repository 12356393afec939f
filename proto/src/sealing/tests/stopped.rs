//! Aborts of a sealing: what convicts, and what does not.

use bytes::Bytes;
use prost::Message as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use std::sync::Arc;

use super::*;
use crate::complaint::{Complaint, answer};
use crate::envelope::{Envelope, MAX_SIGNATURES};
use crate::ids::RoleExt as _;
use crate::one_time::OneTimeKey;
use crate::sealing::{MAX_STATEMENT_BYTES, SealingAbort};
use crate::session::Holdings;
use crate::shares::{Opening, ShareContext, split_ballot};
use crate::wire::evidence::Object;

/// Lists, Claims and body of this many ballots.
fn evidence(world: &World, of_box: BoxId, ballots: u8) -> Evidence {
    let election = world.manifest.manifest().election();
    let ballots: Vec<_> = (1..=ballots)
        .map(|salt| {
            let at = UnixSeconds(OPENS + u64::from(salt));
            let commitments = [Hash32([salt; 32]); 3];
            Listed {
                public: (
                    BallotHeader::online(election.clone(), of_box, at, commitments),
                    None,
                ),
                listed: [true; 3],
            }
        })
        .collect();
    world.evidence(of_box, &ballots, &[], Default::default(), [&[]; 3])
}

/// P1's Abort that names P2, as P1 would sign it.
fn abort(world: &World, reason: Reason, evidence: Vec<Object>, proved: bool) -> wire::Abort {
    let evidence = evidence
        .into_iter()
        .map(|object| wire::Evidence { object: Some(object) });
    wire::Abort {
        election: world.manifest.manifest().election().as_str().to_owned(),
        r#box: BOX.get(),
        party: 1,
        reason: reason.code().to_owned(),
        step: "sealing".to_owned(),
        suspects: vec![2],
        proved,
        evidence: evidence.collect(),
        ..wire::Abort::default()
    }
}

fn read_signed(world: &World, signer: Role, abort: &wire::Abort) -> Option<SealingAbort> {
    let envelope = world.signers[signer.slot()].seal_envelope(Kind::Abort, abort.encode_to_vec());
    SealingAbort::read(Role::P1, envelope.to_wire(), world.manifest.manifest(), BOX)
}

fn read(world: &World, abort: &wire::Abort) -> Option<SealingAbort> {
    read_signed(world, Role::P1, abort)
}

fn list(of: &Evidence, party: Role) -> Object {
    Object::List(of.lists[party.slot()].envelope().to_wire())
}

fn claims(of: &Evidence, party: Role) -> Object {
    Object::Claims(of.claims_envelopes[party.slot()].to_wire())
}

/// The largest statements that anyone decodes, with as many signatures as an envelope carries.
#[test]
fn what_convicts_by_the_largest_statements_is_read() {
    let world = World::new(Shape::default());
    let largest = Bytes::from(vec![0; MAX_STATEMENT_BYTES]);
    let signature = world.signers[0].sign(Kind::Seal, b"a Seal").to_wire();
    let seal = Object::Seal(wire::Envelope {
        payload: largest,
        signatures: vec![signature; MAX_SIGNATURES],
    });
    // Nobody decodes these here: who says so has to be told all the same.
    let told = abort(
        &world,
        Reason::SealDisagreement,
        vec![seal.clone(), seal.clone()],
        true,
    );
    let read_two = read(&world, &told).expect("its own");
    assert_eq!(
        (read_two.reason, read_two.suspect),
        (Reason::SealDisagreement, Role::P2)
    );
    drop(told);
    let three = abort(&world, Reason::SealDisagreement, vec![seal; 3], true);
    assert_eq!(read(&world, &three), None, "no honest one is as large");
}

#[test]
fn two_statements_of_one_party_convict_it_and_nothing_less_does() {
    let world = World::new(Shape::default());
    let (one, other) = (evidence(&world, BOX, 3), evidence(&world, BOX, 2));
    let elsewhere = [evidence(&world, BoxId(2), 1), evidence(&world, BoxId(2), 2)];
    let two = |evidence| abort(&world, Reason::SealTwoLists, evidence, true);
    let [p1, p2] = [Role::P1, Role::P2];
    for proof in [
        vec![list(&one, p2), list(&other, p2)],
        vec![claims(&one, p2), claims(&other, p2)],
        vec![list(&one, p2), claims(&other, p2)],
    ] {
        let stopped = read(&world, &two(proof.clone())).expect("it holds");
        assert_eq!(
            (stopped.reason, stopped.suspect, stopped.proved),
            (Reason::SealTwoLists, Role::P2, true)
        );
        let hidden = abort(&world, Reason::SealTwoLists, proof, false);
        assert_eq!(read(&world, &hidden), None, "a proof is no mere statement");
    }
    for none in [
        vec![list(&one, p2), list(&one, p2)],
        vec![list(&one, p1), list(&other, p1)],
        vec![list(&one, p2), list(&one, p1)],
        vec![claims(&one, p2), claims(&one, p2)],
        vec![list(&one, p2), claims(&one, p2)],
        vec![list(&elsewhere[0], p2), list(&elsewhere[1], p2)],
        vec![claims(&elsewhere[0], p2), claims(&elsewhere[1], p2)],
        vec![list(&one, p2)],
        vec![],
    ] {
        assert_eq!(read(&world, &two(none)), None);
    }
}

#[test]
fn hidden_holdings_convict_with_the_claims_that_name_what_they_hide() {
    let world = World::new(Shape::default());
    let shown = evidence(&world, BOX, 3);
    let holdings = |list, own_claims| {
        let holdings = Holdings {
            election: world.manifest.manifest().election().clone(),
            of_box: BOX,
            of: Role::P1,
            by: Role::P2,
            nonce: [7; 32],
            list,
            claims: None,
            seal: None,
            start: None,
            result: None,
            own_claims,
            own_seal: None,
        };
        Object::Holdings(holdings.sign(&world.signers[1]).to_wire())
    };
    let own = Some(shown.claims_envelopes[1].hash());
    let named = shown.lists[0].hash();
    let with = |holdings| {
        let evidence = vec![holdings, claims(&shown, Role::P2)];
        read(&world, &abort(&world, Reason::SessionHidden, evidence, true))
    };
    assert!(with(holdings(None, own)).is_some_and(|stopped| stopped.proved));
    assert_eq!(with(holdings(Some(named), own)), None);
    assert_eq!(with(holdings(None, None)), None);
}

#[test]
fn what_is_not_the_partys_own_abort_of_this_box_in_plain_words_is_not_repeated() {
    let world = World::new(Shape::default());
    let good = abort(&world, Reason::SealShareWithheld, Vec::new(), false);
    let stopped = read(&world, &good).expect("it holds");
    assert!(!stopped.proved);
    // A word that it proves is not taken where nothing here can check it.
    let word = abort(&world, Reason::SealDisagreement, Vec::new(), true);
    assert!(!read(&world, &word).expect("its word").proved);
    assert_eq!(read_signed(&world, Role::P3, &good), None);
    let changes: [&dyn Fn(&mut wire::Abort); 9] = [
        &|a| a.election = "another".to_owned(),
        &|a| a.r#box = 2,
        &|a| a.party = 3,
        &|a| a.suspects = vec![],
        &|a| a.suspects = vec![1],
        &|a| a.suspects = vec![2, 3],
        &|a| a.step = "\u{1b}[2Jsealing".to_owned(),
        &|a| a.channel = "\u{1b}[31m".to_owned(),
        &|a| a.reason = "seal.\u{1b}[2J".to_owned(),
    ];
    for change in changes {
        let mut changed = good.clone();
        change(&mut changed);
        assert_eq!(read(&world, &changed), None, "{changed:?}");
    }
    assert_eq!(
        SealingAbort::read(
            Role::P1,
            wire::Envelope::default(),
            world.manifest.manifest(),
            BOX
        ),
        None
    );
}

#[test]
fn an_answer_to_a_complaint_convicts_with_the_key_and_the_commitments_only() {
    let mut world = World::new(Shape::default());
    let manifest = Arc::clone(&world.manifest);
    let manifest = manifest.manifest();
    let context = ShareContext::ballot(manifest.election(), manifest.ballot_box(BOX).expect("box 1"));
    let layout = manifest.ballot_box(BOX).expect("box 1").layout();
    let packed = vec![0; context.share_bytes()];
    let mut shares = || split_ballot(layout, &packed, &mut world.rng).expect("a blank ballot");
    let (openings, others) = (shares(), shares());
    let cast_at = UnixSeconds(OPENS + 1);
    let header = |openings| {
        BallotHeader::online(
            manifest.election().clone(),
            BOX,
            cast_at,
            context.commit_all(openings),
        )
    };
    let (about, another) = (header(&openings), header(&others));
    let key = OneTimeKey::generate(&mut world.rng);
    let complaint = Complaint {
        election: manifest.election().clone(),
        of_box: BOX,
        complainant: Role::P1,
        accused: Role::P2,
        record: false,
        digest: about.digest(),
        one_time_key: key.public(),
    };
    let sign = |complaint: &Complaint| complaint.sign(&world.signers[0]);
    let hash = sign(&complaint).hash();
    // P1 and P2 both hold the second share.
    let mut answered = |opening: &Opening| {
        let signer = &world.signers[1];
        answer(
            hash,
            Role::P2,
            &complaint.one_time_key,
            opening,
            signer,
            &mut world.rng,
        )
        .expect("a key")
    };
    let (right, wrong) = (answered(&openings[1]), answered(&others[1]));
    let told = |reason, answer: &Envelope, key: &[u8], about: &BallotHeader, complaint: &Complaint| {
        let evidence = vec![
            Object::Complaint(sign(complaint).to_wire()),
            Object::Answer(answer.to_wire()),
        ];
        wire::Abort {
            one_time_key: key.to_vec(),
            subject: Some(wire::abort::Subject::Ballot(about.to_wire())),
            ..abort(&world, reason, evidence, true)
        }
    };
    let share_wrong = Reason::SealShareWrong;
    let revealed = key.reveal();
    let stopped = read(&world, &told(share_wrong, &wrong, &*revealed, &about, &complaint));
    assert!(stopped.is_some_and(|stopped| stopped.proved && stopped.suspect == Role::P2));
    // A right answer, no key or another, another ballot's commitments, another complaint: nothing of it convicts.
    let other_key = OneTimeKey::generate(&mut StdRng::seed_from_u64(9)).reveal();
    let other_box = Complaint {
        of_box: BoxId(2),
        ..complaint.clone()
    };
    let of_record = Complaint {
        record: true,
        ..complaint.clone()
    };
    for none in [
        told(share_wrong, &right, &*revealed, &about, &complaint),
        told(share_wrong, &wrong, &[], &about, &complaint),
        told(share_wrong, &wrong, &*other_key, &about, &complaint),
        told(share_wrong, &wrong, &*revealed, &another, &complaint),
        told(share_wrong, &wrong, &*revealed, &about, &other_box),
        told(share_wrong, &wrong, &*revealed, &about, &of_record),
        wire::Abort {
            subject: None,
            ..told(share_wrong, &wrong, &*revealed, &about, &complaint)
        },
    ] {
        assert_eq!(read(&world, &none), None);
    }
    // A complaint of the right answer convicts who complained: P1, whom the mediator P3 names.
    let mut judged = told(Reason::SealComplaintFalse, &right, &*revealed, &about, &complaint);
    (judged.party, judged.suspects) = (3, vec![1]);
    let envelope = world.signers[2].seal_envelope(Kind::Abort, judged.encode_to_vec());
    let stopped = SealingAbort::read(Role::P3, envelope.to_wire(), manifest, BOX);
    assert!(stopped.is_some_and(|stopped| stopped.proved && stopped.suspect == Role::P1));
}
