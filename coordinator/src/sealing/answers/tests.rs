//! What the three answers come to, whichever party lies.

use tally_proto::ballot::{BallotHeader, StationMark, sign_authority};
use tally_proto::fixture::{self, Evidence, Listed, OPENS, Shape, World};
use tally_proto::ids::{Digest, Role, StationId, UnixSeconds, VoterIndex};
use tally_proto::invitation::Credential;
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::record::{Endorsement, Half};
use tally_proto::refusal::Refusal;
use tally_proto::result::BoxResult;
use tally_proto::sealing::{self, BallotEvidence, BoxBody, Claimed, RecordEvidence};

use super::*;
use crate::bundle::tests::directory_of;
use crate::parties::Parties;

const BOX: BoxId = BoxId(1);

/// A sealed box as its three parties show it.
struct Scene {
    world: World,
    parties: Parties,
    evidence: Evidence,
    seal: Envelope,
}

/// Notes, to be read.
#[derive(Default)]
struct Notes(std::sync::Mutex<Vec<String>>);

impl Progress for Notes {
    fn report(&self, _: crate::progress::Step<'_>) {}
    fn note(&self, text: &str) {
        self.0.lock().expect("not poisoned").push(text.to_owned());
    }
    fn finish(&self, _: &str) {}
}

/// Two ballots from a station, two online and two records, all as every party lists them.
fn evidence(world: &mut World, online: u8) -> Evidence {
    let election = world.manifest.manifest().election().clone();
    let mut ballots = Vec::new();
    for salt in 1..=online {
        let at = UnixSeconds(OPENS + u64::from(salt));
        let header = BallotHeader::online(election.clone(), BOX, at, [Hash32([salt; 32]); 3]);
        ballots.push(Listed {
            public: (header, None),
            listed: [true, true, salt != 2],
        });
    }
    for sequence in 1..=2 {
        let mark = StationMark {
            station: StationId(1),
            sequence,
        };
        let commitments = [Hash32([90 + sequence as u8; 32]); 3];
        let at = UnixSeconds(OPENS + 60 + sequence);
        let header = BallotHeader::station(election.clone(), BOX, false, at, commitments, mark);
        let signature = sign_authority(&world.stations[0], &header.digest());
        ballots.push(Listed {
            public: (header, Some(signature)),
            listed: [true; 3],
        });
    }
    let records: Vec<_> = (0..2)
        .map(|voter| {
            let credential = Credential::generate(&mut world.rng);
            let [record, ..] = world.record(BOX, VoterIndex(voter), 1, Half::WHOLE, &credential);
            Listed {
                public: (
                    record.header().clone(),
                    Endorsement::Registrar(*record.registrar_signature().expect("issued")),
                ),
                listed: [true; 3],
            }
        })
        .collect();
    world.evidence(BOX, &ballots, &records, Default::default(), [&[]; 3])
}

fn signed(world: &World, evidence: &Evidence) -> Envelope {
    let sealed = sealing::compute(evidence.inputs(&world.election(), BOX)).expect("a Seal");
    let mut seal = sealed.seal.sign(&world.signers[0]);
    for signer in &world.signers[1..] {
        seal.add_signature(signer.sign(Kind::Seal, seal.payload()));
    }
    seal
}

impl Scene {
    fn new() -> Self {
        let mut world = World::new(Shape::default());
        let leaf = world
            .coordinator_authority
            .issue(&PeerRole::Coordinator, &["localhost"])
            .expect("certificate");
        tally_proto::connect::install_tls_provider();
        let parties = Parties::dial(world.manifest.manifest().parties(), &leaf).expect("addresses");
        let evidence = evidence(&mut world, 4);
        let seal = signed(&world, &evidence);
        Self {
            world,
            parties,
            evidence,
            seal,
        }
    }

    fn answer(&self) -> Answer {
        Answer {
            done: wire::SealDone {
                proofs: Vec::new(),
                seal: Some(self.seal.to_wire()),
                body_bytes: 0,
                lists: self
                    .evidence
                    .lists
                    .iter()
                    .map(|l| l.envelope().to_wire())
                    .collect(),
                claims: self
                    .evidence
                    .claims_envelopes
                    .iter()
                    .map(Envelope::to_wire)
                    .collect(),
            },
            body: self.evidence.body.encode().into(),
        }
    }

    /// The answer of a party to which station and registrar sent other signatures.
    fn answer_signed_anew(&self) -> Answer {
        let body = &self.evidence.body;
        let again = |signer, digest: &Digest, record| fixture::sign_anew(signer, digest, record);
        let ballots = body.ballots().iter().map(|b| match b.public() {
            Some((header, Some(signature))) => {
                let anew = again(&self.world.stations[0], &b.digest(), false);
                assert_ne!(anew, *signature);
                BallotEvidence::candidate(header.clone(), Some(anew), b.listed())
            }
            _ => b.clone(),
        });
        let records = body.records().iter().map(|r| {
            let (header, _) = r.public().expect("a candidate");
            let anew = again(&self.world.registrars[0], &r.digest(), true);
            RecordEvidence::candidate(header.clone(), Endorsement::Registrar(anew), r.listed())
        });
        let online = self.world.rolls[0].online();
        let body = BoxBody::new(ballots.collect(), records.collect(), online).expect("every item once");
        Answer {
            body: body.encode().into(),
            ..self.answer()
        }
    }

    fn answers(&self) -> Answers {
        Answers::new((*self.world.manifest).clone(), Vec::new(), BOX)
    }

    /// What is kept, and the notes.
    async fn settle(
        &self,
        ended: [Result<Ended, Reason>; 3],
        stored: &wire::BoxBundle,
    ) -> (Result<wire::BoxBundle, Error>, Vec<String>) {
        let mut answers = self.answers();
        for (party, ended) in self.parties.each().iter().zip(ended) {
            let holds = answers.holds.is_some();
            let ended = ended.map_err(|reason| party.error(Refusal::new(reason, "in a test")));
            let wait = answers.take(party, ended).await;
            let now = answers.holds.is_some();
            assert!(
                holds || (wait == Wait::Enough) == now,
                "waits no longer than it must"
            );
        }
        let notes = Notes::default();
        let settled = answers.settle(stored, &notes);
        (settled, notes.0.into_inner().expect("not poisoned"))
    }

    /// A bundle of what was kept, with a result.
    fn publish(&self, kept: wire::BoxBundle) {
        let dir = tempfile::tempdir().expect("dir");
        let directory = directory_of(&self.world, dir.path());
        let mut csv = String::from("box,reference,online\n");
        for (id, roll) in (1..).zip(&self.world.rolls) {
            for entry in roll.entries() {
                let online = if entry.online { "yes" } else { "no" };
                csv += &format!("{id},{},{online}\n", entry.reference);
            }
        }
        let roll = crate::roll::parse(csv.as_bytes(), std::path::Path::new("roll.csv"), &[1, 2]);
        let election = directory
            .create_election((*self.world.manifest).clone(), &roll.expect("roll"), &[], None)
            .expect("stored");
        let contest = |contest, totals| wire::ContestResult {
            contest,
            totals,
            spoilt: 0,
        };
        let result = BoxResult::from_wire(&wire::Result {
            seal_hash: self.seal.hash().0.to_vec(),
            election: self.world.manifest.manifest().election().as_str().to_owned(),
            r#box: BOX.get(),
            contests: vec![contest(1, vec![1, 2, 0]), contest(2, vec![1, 1, 1, 0])],
            counted_online: Some(3),
            counted_station: Some(0),
        });
        let mut result = result.expect("a result").sign(&self.world.signers[1]);
        result.add_signature(self.world.signers[2].sign(Kind::Result, result.payload()));
        let kept = wire::BoxBundle {
            result: Some(result.to_wire()),
            ..kept
        };
        election.store_box(BOX, &kept).expect("stored");
        crate::bundle::make(&directory, &election, OPENS + 90_000).expect("what is kept can be published");
    }
}

fn sealed(answer: Answer) -> Result<Ended, Reason> {
    Ok(Ended::Sealed(Box::new(answer)))
}

#[tokio::test]
async fn any_evidence_that_comes_to_the_seal_is_taken_from_whichever_party() {
    let scene = Scene::new();
    let none = wire::BoxBundle::default();
    // Station and registrar signed twice: the bodies differ for ever, each is as good as the other.
    let bodies = [scene.answer().body, scene.answer_signed_anew().body];
    assert_ne!(bodies[0], bodies[1]);
    for first in [true, false] {
        let [one, two] = [first, !first].map(|plain| {
            if plain {
                scene.answer()
            } else {
                scene.answer_signed_anew()
            }
        });
        let (kept, notes) = scene
            .settle(
                [sealed(one), sealed(two), sealed(scene.answer_signed_anew())],
                &none,
            )
            .await;
        let kept = kept.expect("sealed");
        assert_eq!(kept.body, bodies[usize::from(!first)], "the first that holds");
        assert!(notes.is_empty(), "{notes:?}");
        scene.publish(kept);
    }
}

/// What a party may show or say instead of the truth.
fn lies(scene: &Scene) -> Vec<(&'static str, Result<Ended, Reason>)> {
    let with = |change: &dyn Fn(&mut Answer)| {
        let mut answer = scene.answer();
        change(&mut answer);
        sealed(answer)
    };
    let unsigned = Envelope::unsigned(scene.seal.payload().clone());
    let mut own = Envelope::unsigned(scene.seal.payload().clone());
    own.add_signature(scene.seal.signatures()[0]);
    let mut other = scene.seal.payload().to_vec();
    *other.last_mut().expect("bytes") ^= 1;
    let other = scene.world.signers[0].seal_envelope(Kind::Seal, other);
    let truncated = scene.answer().body.slice(..scene.answer().body.len() - 1);
    vec![
        ("evidence", with(&|a| a.body = truncated.clone())),
        ("evidence", with(&|a| a.body = Bytes::new())),
        ("not signed by", with(&|a| a.done.seal = Some(unsigned.to_wire()))),
        ("not signed by", with(&|a| a.done.seal = Some(own.to_wire()))),
        ("not signed by", with(&|a| a.done.seal = Some(other.to_wire()))),
        ("the Seal is missing", with(&|a| a.done.seal = None)),
        ("Claims", with(&|a| a.done.claims[1] = wire::Envelope::default())),
        ("Claims is missing", with(&|a| a.done.claims.clear())),
        ("List", with(&|a| a.done.lists.swap(0, 2))),
        ("ended without an outcome", Ok(Ended::Nothing)),
        ("stopped", Ok(Ended::Aborted(wire::Envelope::default()))),
        ("seal.pending", Err(Reason::SealPending)),
        ("party.unreachable", Err(Reason::PartyUnreachable)),
    ]
}

#[tokio::test]
async fn no_party_alone_keeps_a_sealed_box_from_being_stored() {
    let scene = Scene::new();
    let none = wire::BoxBundle::default();
    for at in 0..3 {
        for (words, lie) in lies(&scene) {
            let mut ended = [(); 3].map(|()| sealed(scene.answer()));
            ended[at] = lie;
            let (kept, notes) = scene.settle(ended, &none).await;
            scene.publish(kept.expect("two show what holds"));
            let of = scene.parties.each()[at].name();
            // Behind one that holds, evidence is not looked at again.
            if at == 0 {
                assert_eq!(notes.len(), 1, "{notes:?}");
            }
            for note in &notes {
                assert!(note.contains(of) && note.contains(words), "{words}: {note}");
                assert!(note.starts_with("box 1 is sealed all the same"), "{note}");
                for other in scene.parties.each().iter().filter(|p| p.name() != of) {
                    assert!(!note.contains(other.name()), "{note}");
                }
            }
        }
    }
}

#[tokio::test]
async fn where_nothing_holds_every_party_is_told() {
    let scene = Scene::new();
    let none = wire::BoxBundle::default();
    let mut bad = lies(&scene).into_iter().map(|(_, lie)| lie);
    let ended = [(); 3].map(|()| bad.next().expect("three"));
    let (kept, _) = scene.settle(ended, &none).await;
    let Err(Error::Outcome {
        problem: OutcomeProblem::NoSeal(lines),
        ..
    }) = kept
    else {
        panic!("{kept:?}")
    };
    for party in scene.parties.each() {
        assert!(lines.contains(party.name()), "{lines}");
    }
    // Whoever has not ended waits for those that failed: these are to be called.
    let mut answers = scene.answers();
    let [one, two, three] = scene.parties.each();
    let failed = one.error(Refusal::new(Reason::PartyUnreachable, "in a test"));
    assert_eq!(answers.take(one, Err(failed)).await, Wait::Failed);
    answers.left(two);
    answers.left(three);
    let Err(Error::Parties(failed)) = answers.settle(&none, &Notes::default()) else {
        panic!("not told")
    };
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].role, Role::P1);
}

#[tokio::test]
async fn two_seals_of_one_box_are_told_and_only_with_three_signatures_each() {
    let mut scene = Scene::new();
    let none = wire::BoxBundle::default();
    let first = scene.seal.hash();
    let kept = {
        let ended = [(); 3].map(|()| sealed(scene.answer()));
        scene.settle(ended, &none).await.0.expect("sealed")
    };
    let before = scene.answer();
    let other = evidence(&mut scene.world, 3);
    scene.seal = signed(&scene.world, &other);
    scene.evidence = other;
    let second = scene.seal.hash();
    assert_ne!(first, second);
    let two = |kept: Result<wire::BoxBundle, Error>| match kept {
        Err(Error::Outcome {
            problem: OutcomeProblem::TwoSeals(one, other),
            ..
        }) => {
            let mut both = [one, other];
            both.sort();
            both
        }
        kept => panic!("{kept:?}"),
    };
    let mut both = [first, second];
    both.sort();
    // From two parties, in either order; with evidence that holds or without; and against what is kept here.
    let ended = [sealed(before), sealed(scene.answer()), Ok(Ended::Nothing)];
    assert_eq!(two(scene.settle(ended, &none).await.0), both);
    let bare = || {
        let mut answer = scene.answer();
        answer.body = Bytes::new();
        sealed(answer)
    };
    let ended = [bare(), Ok(Ended::Nothing), Err(Reason::SealPending)];
    assert_eq!(two(scene.settle(ended, &kept).await.0), both);
    // Another box's Seal is none of this one.
    let of_other = scene.parties.each()[0].clone();
    let mut answers = Answers::new((*scene.world.manifest).clone(), Vec::new(), BoxId(2));
    let wait = answers
        .take(&of_other, Ok(Ended::Sealed(Box::new(scene.answer()))))
        .await;
    assert_eq!((wait, answers.seals.len()), (Wait::Failed, 0));
}

/// A party that lost its store: what it answers is held against the Seal that is kept here, which stays as it is whatever comes.
#[tokio::test]
async fn a_party_that_had_lost_its_seal_has_it_again_only_with_the_one_that_is_kept() {
    use crate::sealing::again::judge;
    let mut scene = Scene::new();
    let none = wire::BoxBundle::default();
    let kept = {
        let ended = [(); 3].map(|()| sealed(scene.answer()));
        scene.settle(ended, &none).await.0.expect("sealed")
    };
    let party = scene.parties.each()[1].clone();
    let notes = Notes::default();
    let again = async |scene: &Scene, ended: Result<Ended, Reason>| {
        let ended = ended.map_err(|reason| party.error(Refusal::new(reason, "in a test")));
        judge(scene.answers(), &party, ended, &kept, &notes).await
    };
    // From a station that signed anew the evidence differs, and the Seal is the same.
    for answer in [scene.answer(), scene.answer_signed_anew()] {
        assert_eq!(again(&scene, sealed(answer)).await.expect("no other"), Ok(()));
    }
    for (words, lie) in lies(&scene) {
        let why = again(&scene, lie)
            .await
            .expect("no second Seal")
            .expect_err("not it");
        assert!(
            why.starts_with(party.name()) && why.contains(words),
            "{words}: {why}"
        );
    }
    // Three signed another: told at once, with evidence or without.
    let first = scene.seal.hash();
    let other = evidence(&mut scene.world, 3);
    scene.seal = signed(&scene.world, &other);
    scene.evidence = other;
    let mut bare = scene.answer();
    bare.body = Bytes::new();
    for answer in [scene.answer(), bare] {
        let two = again(&scene, sealed(answer)).await.expect_err("two Seals");
        let told = matches!(
            &two,
            Error::Outcome { problem: OutcomeProblem::TwoSeals(kept, shown), .. } if (*kept, *shown) == (first, scene.seal.hash())
        );
        assert!(told, "{two}");
    }
}

/// P1's Abort that says that these two Lists convict P2.
fn proof(scene: &Scene, signer: Role, lists: [&Envelope; 2]) -> wire::Envelope {
    let evidence = lists.map(|list| wire::Evidence {
        object: Some(wire::evidence::Object::List(list.to_wire())),
    });
    let abort = wire::Abort {
        election: scene.world.manifest.manifest().election().as_str().to_owned(),
        r#box: BOX.get(),
        party: signer.number(),
        reason: Reason::SealTwoLists.code().to_owned(),
        step: "sealing".to_owned(),
        suspects: vec![2],
        proved: true,
        evidence: evidence.to_vec(),
        ..wire::Abort::default()
    };
    scene.world.signers[signer.slot()]
        .seal_envelope(Kind::Abort, prost::Message::encode_to_vec(&abort))
        .to_wire()
}

#[tokio::test]
async fn who_lied_while_a_box_was_sealed_is_told_if_signatures_prove_it_and_else_not() {
    let mut scene = Scene::new();
    let other = evidence(&mut scene.world, 3);
    let [one, two] = [&scene.evidence, &other].map(|of| of.lists[1].envelope());
    let none = wire::BoxBundle::default();
    let with = |proofs: Vec<wire::Envelope>| {
        let mut answer = scene.answer();
        answer.done.proofs = proofs;
        sealed(answer)
    };
    let convicts = || proof(&scene, Role::P1, [one, two]);
    // Of P1 and again of P3: told once. What is no proof, or P1's word in P3's mouth, is not told.
    let forged = [
        proof(&scene, Role::P1, [one, one]),
        proof(&scene, Role::P3, [one, two]),
        wire::Envelope::default(),
    ];
    let true_one = [
        with([&forged[..], &[convicts()]].concat()),
        sealed(scene.answer()),
        with(vec![convicts()]),
    ];
    let (kept, notes) = scene.settle(true_one, &none).await;
    kept.expect("sealed");
    let [note] = notes.as_slice() else {
        panic!("{notes:?}")
    };
    assert!(
        note.contains("P2 ") && note.contains("seal.two-statements"),
        "{note}"
    );
    let (kept, notes) = scene
        .settle(
            [
                with(forged.to_vec()),
                sealed(scene.answer()),
                sealed(scene.answer()),
            ],
            &none,
        )
        .await;
    kept.expect("sealed");
    assert!(notes.is_empty(), "{notes:?}");
}

#[test]
fn whom_lists_and_claims_convict_is_said_with_a_number() {
    let claimed = |party, n: u8| Claimed {
        party,
        digest: Digest([n; 32]),
    };
    let hidden = [claimed(Role::P2, 1), claimed(Role::P3, 2), claimed(Role::P2, 3)];
    let said = named_by_claims(
        [&hidden, &[claimed(Role::P3, 5)], &[claimed(Role::P1, 4)]],
        |role| format!("P{}", role.number()),
    );
    assert_eq!(said.len(), 4);
    assert!(
        said[3].starts_with("P3 did not take over 1 enrolments"),
        "{said:?}"
    );
    assert!(
        said[0].starts_with("P1 claimed 1 receipts that are not what they say"),
        "{said:?}"
    );
    assert!(
        said[1].starts_with("P2 did not list 2 that it gave receipts for"),
        "{said:?}"
    );
    assert!(
        said[2].starts_with("P3 did not list 1 that it gave receipts for"),
        "{said:?}"
    );
    assert!(named_by_claims([&[]; 3], |_| String::new()).is_empty());
}
