//! Complaints by one-time key: silent, wrong, false, and not allowed.

use std::time::Duration;

use prost::Message as _;
use tally_proto::envelope::Kind as Signed;
use tally_proto::ids::{BoxId, Hash32, Role};
use tally_proto::one_time::OneTimeKey;
use tally_proto::shares::Opening;
use tally_proto::wire;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::super::complaint::{Complaint, answer};
use super::super::tables::{self, BoxKey};
use super::super::{Basis, ComplaintError, Lie, PeerError, SealError};
use super::network::{Saboteur, envelope};
use super::objects::{Made, Where, case_rng};
use super::world::{BOX, World, election, signer};

type Answered<T> = Result<T, PeerError>;

/// The accused of every test here.
const ACCUSED: Role = Role::P2;

/// Gives P1 a wrong share, and then no answer to the complaint, or a signed wrong one.
struct Withholds {
    answers: bool,
}

impl Saboteur for Withholds {
    fn fill(
        &self,
        from: Role,
        _: Role,
        _: &wire::FillRequest,
        parts: Answered<Vec<wire::FillPart>>,
    ) -> Answered<Vec<wire::FillPart>> {
        let mut parts = parts?;
        if from == ACCUSED {
            parts.iter_mut().for_each(|part| part.nonce[5] ^= 0x80);
        }
        Ok(parts)
    }

    fn answer(
        &self,
        from: Role,
        complaint: &wire::Envelope,
        honest: Answered<wire::Envelope>,
    ) -> Answered<wire::Envelope> {
        assert!(honest.is_ok(), "the accused could answer");
        if !self.answers {
            return Err(PeerError::Unreachable {
                peer: from,
                detail: "nothing to say".to_owned(),
            });
        }
        let raw = wire::Complaint::decode(complaint.payload.clone()).expect("a complaint");
        let opening = Opening::from_parts(Zeroizing::new([1; 32]), Zeroizing::new(vec![2; 9]));
        let key = raw.one_time_key.as_slice().try_into().expect("32 bytes");
        let hash = Hash32::of(&complaint.payload);
        let wrong =
            answer(hash, ACCUSED, key, &opening, &signer(ACCUSED), &mut case_rng(1)).expect("a usable key");
        Ok(wrong.to_wire())
    }
}

/// A ballot that P1 must have filled.
fn missing_at_p1(world: &mut World) -> Made {
    let ballot = world.online(10);
    world.accept(&ballot, Role::P2);
    world.accept(&ballot, Role::P3);
    ballot
}

#[tokio::test(start_paused = true)]
async fn who_refuses_to_answer_is_named_by_two() {
    let mut world = World::sabotaged(Withholds { answers: false });
    let ballot = missing_at_p1(&mut world);
    let mut runs = world.seal(&Role::ALL).await;
    let Err(SealError::Aborted(abort)) = runs.remove(0) else {
        panic!("P1 has no share")
    };
    assert_eq!((abort.finding.named, abort.finding.lie), (ACCUSED, Lie::Silent));
    assert_eq!(
        (abort.finding.basis, abort.finding.digest),
        (Basis::Stated, Some(ballot.digest))
    );
    let said = wire::Abort::decode(abort.statement.payload().clone()).expect("an Abort");
    assert_eq!((said.party, said.proved), (1, false));
    let Some(wire::evidence::Object::Statement(second)) = said.evidence[1].object.clone() else {
        panic!("{:?}", said.evidence)
    };
    let second = envelope(&second);
    second
        .verify_all(Signed::Abort, &[signer(Role::P3).public_key()])
        .expect("the mediator says so too");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_answer_convicts_by_the_shown_key() {
    let mut world = World::sabotaged(Withholds { answers: true });
    let ballot = missing_at_p1(&mut world);
    let mut runs = world.seal(&Role::ALL).await;
    let Err(SealError::Aborted(abort)) = runs.remove(0) else {
        panic!("P1 has no share")
    };
    assert_eq!(
        (abort.finding.named, abort.finding.lie),
        (ACCUSED, Lie::WrongAnswer)
    );
    assert_eq!(
        (abort.finding.basis, abort.finding.digest),
        (Basis::Proved, Some(ballot.digest))
    );
    let said = wire::Abort::decode(abort.statement.payload().clone()).expect("an Abort");
    // Anyone can check: the key belongs to the complaint, the answer is the accused's, and it opens nothing.
    let [complaint, wrong, judged] = said.evidence.as_slice() else {
        panic!("{:?}", said.evidence)
    };
    let Some(wire::evidence::Object::Complaint(complaint)) = &complaint.object else {
        panic!("{complaint:?}")
    };
    let Some(wire::evidence::Object::Answer(wrong)) = &wrong.object else {
        panic!("{wrong:?}")
    };
    let Some(wire::evidence::Object::Statement(judged)) = &judged.object else {
        panic!("{judged:?}")
    };
    let key = OneTimeKey::from_bytes(&said.one_time_key).expect("a key");
    let complained = wire::Complaint::decode(complaint.payload.clone()).expect("a complaint");
    assert_eq!(key.public().as_slice(), complained.one_time_key);
    envelope(wrong)
        .verify_all(Signed::Answer, &[signer(ACCUSED).public_key()])
        .expect("the accused's");
    let sealed = wire::ComplaintAnswer::decode(wrong.payload.clone())
        .expect("an answer")
        .sealed;
    let opening = key.open(&Hash32::of(&complaint.payload), &sealed).expect("opens");
    assert_eq!(opening.share(), [2; 9]);
    assert!(matches!(said.subject, Some(wire::abort::Subject::Ballot(_))));
    let judged = envelope(judged);
    judged
        .verify_all(Signed::Abort, &[signer(Role::P3).public_key()])
        .expect("the mediator's word");
    let judged = wire::Abort::decode(judged.payload().clone()).expect("an Abort");
    assert_eq!(
        (judged.suspects.as_slice(), judged.proved),
        ([2].as_slice(), true)
    );
}

fn complaint(ballot: &Made, key: &OneTimeKey) -> Complaint {
    Complaint {
        election: election(),
        of_box: BoxId(BOX),
        complainant: Role::P1,
        accused: ACCUSED,
        record: ballot.kind == crate::store::Kind::Record,
        digest: ballot.digest,
        one_time_key: key.public(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_false_complaint_convicts_the_complainant() {
    let mut world = World::new();
    let ballot = missing_at_p1(&mut world);
    world.sealed().await;
    // P1 got its share, complains nevertheless, and shows the key of a right answer.
    let key = OneTimeKey::generate(&mut case_rng(2));
    let complaint = complaint(&ballot, &key).sign(world.signer(Role::P1));
    let mediator = world.sealing(Role::P3);
    let mediation = mediator
        .mediate(Role::P1, complaint.to_wire(), &world.seen(Role::P3))
        .await
        .expect("is heard");
    let answer = mediation.answer.expect("an honest party answers");
    let opening = {
        let raw = wire::ComplaintAnswer::decode(answer.payload.clone()).expect("an answer");
        key.open(&complaint.hash(), &raw.sealed).expect("opens")
    };
    // P1 and P2 both hold x_2, and that is what P2 answered with: never the other share.
    assert_eq!(opening.share(), ballot.openings[1].share());
    let request = wire::JudgeRequest {
        complaint: Some(complaint.to_wire()),
        answer: Some(answer),
        private_key: key.reveal().to_vec(),
    };
    let word = envelope(&mediator.judge(Role::P1, request).await.expect("is judged"));
    word.verify_all(Signed::Abort, &[signer(Role::P3).public_key()])
        .expect("the mediator's");
    let word = wire::Abort::decode(word.payload().clone()).expect("an Abort");
    assert_eq!(
        (word.suspects.as_slice(), word.proved, word.reason.as_str()),
        ([1].as_slice(), true, "seal.complaint-false")
    );
    // The mediator keeps the proof: whoever asks it for the box hears of it.
    let [again] = world.seal(&[Role::P3]).await.try_into().expect("one");
    let again = again.expect("is sealed");
    assert!(
        matches!(again.findings(), [finding] if (finding.named, finding.lie) == (Role::P1, Lie::FalseComplaint)),
        "{:?}",
        again.findings()
    );
}

/// P1's complaint of `ballot` to the key drawn from `seed`, judged by P3: whom it names. `wrong`: P2 signs an answer that opens nothing.
async fn judged(world: &World, ballot: &Made, seed: u64, wrong: bool) -> wire::Abort {
    let key = OneTimeKey::generate(&mut case_rng(seed));
    let complaint = complaint(ballot, &key).sign(world.signer(Role::P1));
    let mediator = world.sealing(Role::P3);
    let answer = if wrong {
        let opening = Opening::from_parts(Zeroizing::new([1; 32]), Zeroizing::new(vec![2; 9]));
        let mut rng = case_rng(seed);
        answer(
            complaint.hash(),
            ACCUSED,
            &key.public(),
            &opening,
            world.signer(ACCUSED),
            &mut rng,
        )
        .expect("a usable key")
        .to_wire()
    } else {
        let mediation = mediator
            .mediate(Role::P1, complaint.to_wire(), &world.seen(Role::P3))
            .await;
        mediation.expect("is heard").answer.expect("is answered")
    };
    let request = wire::JudgeRequest {
        complaint: Some(complaint.to_wire()),
        answer: Some(answer),
        private_key: key.reveal().to_vec(),
    };
    let word = mediator.judge(Role::P1, request).await.expect("is judged");
    wire::Abort::decode(word.payload).expect("an Abort")
}

#[tokio::test(start_paused = true)]
async fn any_number_of_false_complaints_leave_one_proof() {
    let mut world = World::new();
    let ballots = [missing_at_p1(&mut world), missing_at_p1(&mut world)];
    world.sealed().await;
    let key = BoxKey {
        election: 1,
        of_box: BOX,
    };
    let kept = || {
        let proofs = world.store(Role::P3).read(|tx| tables::proofs(tx, key));
        proofs.expect("readable").len()
    };
    assert_eq!(kept(), 0);
    for seed in 0..100 {
        let word = judged(&world, &ballots[seed as usize % 2], seed, false).await;
        assert_eq!((word.suspects.as_slice(), word.proved), ([1].as_slice(), true));
        assert_eq!(word.reason, "seal.complaint-false", "each is answered");
        assert_eq!(kept(), 1, "after {seed} more");
    }
    // Another's lie has its own place.
    for seed in 100..110 {
        let word = judged(&world, &ballots[0], seed, true).await;
        assert_eq!(
            (word.suspects.as_slice(), word.reason.as_str()),
            ([2].as_slice(), "seal.share-wrong")
        );
    }
    assert_eq!(kept(), 2);
    let sealed = world.seal(&[Role::P3]).await.remove(0).expect("is sealed");
    let named: Vec<_> = sealed.findings().iter().map(|f| (f.named, f.lie)).collect();
    assert_eq!(
        named,
        [(Role::P1, Lie::FalseComplaint), (ACCUSED, Lie::WrongAnswer)]
    );
    assert_eq!(sealed.proofs().len(), 2);
}

/// The refusal of a complaint, by the mediator.
async fn refused(world: &World, caller: Role, complaint: &Complaint, by: Role) -> ComplaintError {
    let complaint = complaint.sign(world.signer(by));
    match world
        .sealing(Role::P3)
        .mediate(caller, complaint.to_wire(), &world.seen(Role::P3))
        .await
    {
        Err(SealError::Complaint(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn complaints_that_the_rules_do_not_allow_are_refused() {
    let mut world = World::new();
    let ballot = missing_at_p1(&mut world);
    let not_theirs = world.online(20);
    world.accept(&not_theirs, Role::P1);
    world.accept(&not_theirs, Role::P3);
    world.sealed().await;
    let key = OneTimeKey::generate(&mut case_rng(3));
    let fair = complaint(&ballot, &key);
    // Of what the accused did not accept, or nobody did.
    for digest in [not_theirs.digest, tally_proto::ids::Digest([7; 32])] {
        let error = refused(
            &world,
            Role::P1,
            &Complaint {
                digest,
                ..fair.clone()
            },
            Role::P1,
        )
        .await;
        assert_eq!(error, ComplaintError::NotOwed { digest });
    }
    // To a key that takes no answer.
    let error = refused(
        &world,
        Role::P1,
        &Complaint {
            one_time_key: [0; 32],
            ..fair.clone()
        },
        Role::P1,
    )
    .await;
    assert!(matches!(error, ComplaintError::Key(_)), "{error}");
    // In another's name, of the mediator itself, or signed by another.
    assert_eq!(
        refused(&world, Role::P2, &fair, Role::P1).await,
        ComplaintError::Subject
    );
    let of_mediator = Complaint {
        accused: Role::P3,
        ..fair.clone()
    };
    assert_eq!(
        refused(&world, Role::P1, &of_mediator, Role::P1).await,
        ComplaintError::Subject
    );
    assert!(matches!(
        refused(&world, Role::P1, &fair, Role::P2).await,
        ComplaintError::Envelope(_)
    ));
    // An accused asked directly, not by the mediator.
    let signed = fair.sign(world.signer(Role::P1)).to_wire();
    let direct = world.sealing(ACCUSED).answer(Role::P1, signed.clone()).await;
    assert!(
        matches!(direct, Err(SealError::Complaint(ComplaintError::Subject))),
        "{direct:?}"
    );
    // A key shown that is not the complaint's.
    let mediation = world
        .sealing(Role::P3)
        .mediate(Role::P1, signed.clone(), &world.seen(Role::P3))
        .await;
    let request = wire::JudgeRequest {
        complaint: Some(signed),
        answer: mediation.expect("is heard").answer,
        private_key: OneTimeKey::generate(&mut case_rng(4)).reveal().to_vec(),
    };
    let judged = world.sealing(Role::P3).judge(Role::P1, request).await;
    assert!(
        matches!(judged, Err(SealError::Complaint(ComplaintError::OtherKey))),
        "{judged:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_fill_gives_the_common_share_and_no_other() {
    use futures::StreamExt as _;
    let mut world = World::new();
    let ballot = world.online(10);
    world.accept_by_all(&ballot);
    let request = wire::FillRequest {
        election: election().as_str().to_owned(),
        r#box: BOX,
        ballots: vec![ballot.digest.0.to_vec(), vec![0; 32]],
        records: vec![ballot.digest.0.to_vec()],
    };
    let early = world
        .sealing(Role::P1)
        .fill(Role::P2, request.clone())
        .await
        .map(|_| ());
    assert!(
        matches!(early, Err(SealError::NotYet(_))),
        "before its own List a party gives nothing: {early:?}"
    );
    world.sealed().await;
    for callee in Role::ALL {
        for (caller, common) in [(callee.next(), callee.next()), (callee.prev(), callee)] {
            let parts = world
                .sealing(callee)
                .fill(caller, request.clone())
                .await
                .expect("answers");
            let parts: Vec<_> = parts.map(|part| part.expect("a part")).collect().await;
            let [part, unknown, not_a_record] = parts.as_slice() else {
                panic!("{} parts", parts.len())
            };
            let share = ballot.openings[usize::from(common.index()) - 1].share();
            assert_eq!(part.share, share, "{callee} to {caller}");
            assert!(unknown.public.is_none() && unknown.share.is_empty());
            assert!(not_a_record.public.is_none());
        }
    }
}

/// Gives P3 headers and right shares without the stations' and registrars' signatures, while P1 cannot be reached from P3.
struct Strips(std::sync::atomic::AtomicBool);

impl Saboteur for &'static Strips {
    fn fill(
        &self,
        from: Role,
        _: Role,
        _: &wire::FillRequest,
        parts: Answered<Vec<wire::FillPart>>,
    ) -> Answered<Vec<wire::FillPart>> {
        if !self.0.load(std::sync::atomic::Ordering::Relaxed) {
            return parts;
        }
        if from == Role::P1 {
            return Err(PeerError::Unreachable {
                peer: from,
                detail: "the line is down".to_owned(),
            });
        }
        let mut parts = parts?;
        if from == ACCUSED {
            parts.iter_mut().for_each(|part| part.authority_signature.clear());
        }
        Ok(parts)
    }
}

#[tokio::test(start_paused = true)]
async fn without_its_authoritys_signature_a_candidate_is_not_filled() {
    let strips: &'static Strips = Box::leak(Box::new(Strips(true.into())));
    let mut world = World::sabotaged(strips);
    let ballot = world.ballot(
        Where::Station {
            station: 1,
            sequence: 1,
        },
        10,
    );
    world.accept(&ballot, Role::P1);
    world.accept(&ballot, Role::P2);
    let runs = world.seal(&Role::ALL).await;
    let Err(SealError::Waiting { of, source, .. }) = &runs[2] else {
        panic!("P3 lacks the station's signature: {:?}", runs[2])
    };
    assert_eq!(*of, ACCUSED, "{source}");
    // The line is up again: the same Seal at all three, with the ballot in it.
    strips.0.store(false, std::sync::atomic::Ordering::Relaxed);
    let sealed = world.sealed().await;
    assert!(sealed[2].rows().contains(&ballot.digest));
}

/// Gives P1 wrong shares of everything, and right ones when the mediator asks, as late as it can.
struct WrongThenRight {
    after: Duration,
}

impl Saboteur for WrongThenRight {
    fn fill(
        &self,
        from: Role,
        _: Role,
        _: &wire::FillRequest,
        parts: Answered<Vec<wire::FillPart>>,
    ) -> Answered<Vec<wire::FillPart>> {
        let mut parts = parts?;
        if from == ACCUSED {
            parts.iter_mut().for_each(|part| part.nonce[5] ^= 0x80);
        }
        Ok(parts)
    }

    fn answers_after(&self, _: Role) -> Duration {
        self.after
    }
}

#[tokio::test(start_paused = true)]
async fn late_right_answers_hold_up_many_candidates_at_once_and_are_told() {
    // A mediator waits two seconds.
    let mut world = World::sabotaged(WrongThenRight {
        after: Duration::from_millis(1900),
    });
    let made: Vec<_> = (0..320).map(|_| missing_at_p1(&mut world)).collect();
    let began = Instant::now();
    let sealed = world.sealed().await;
    assert_eq!(sealed[0].rows().len(), made.len());
    // One after the other: ten minutes.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let [finding] = sealed[0].findings() else {
        panic!("{:?}", sealed[0].findings())
    };
    assert_eq!(
        (finding.named, finding.lie, finding.basis),
        (ACCUSED, Lie::ThroughThird, Basis::Stated)
    );
    assert!(sealed[2].findings().is_empty());
}

#[tokio::test(start_paused = true)]
async fn right_answers_that_come_too_late_are_none() {
    let mut world = World::sabotaged(WrongThenRight {
        after: Duration::from_secs(30),
    });
    for _ in 0..80 {
        missing_at_p1(&mut world);
    }
    let mut runs = world.seal(&Role::ALL).await;
    let Err(SealError::Aborted(abort)) = runs.remove(0) else {
        panic!("P1 has no shares")
    };
    assert_eq!((abort.finding.named, abort.finding.lie), (ACCUSED, Lie::Silent));
}
