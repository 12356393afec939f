//! One party lies: the box is sealed nevertheless where its lie decides nothing, else the one whom the rules name is named.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prost::Message as _;
use tally_proto::envelope::{Kind as Signed, Signer};
use tally_proto::ids::{BoxId, Digest, ElectionId, Hash32, Role, RoleExt as _};
use tally_proto::sealing::SealingAbort;
use tally_proto::wire;
use tally_proto::wire::list_part::Part;

use super::super::{Basis, Flaw, Item, Lie, PeerError, SealError, SealedBox};
use super::network::{Saboteur, envelope};
use super::objects::{acceptance, stranger};
use super::world::{BOX, Setting, World};
use crate::clock::SystemClock;
use crate::journal::{self, Journal};
use crate::rpc::peer_sealing::write_down;
use crate::witness::Witness;

type Answered<T> = Result<T, PeerError>;

/// The liar of every test here.
const LIAR: Role = Role::P2;

fn signer(role: Role) -> Signer {
    super::world::signer(role)
}

/// The run ended with an Abort of that finding; its statement, which carries the party's own signature.
fn aborted(
    world: &World,
    run: Result<SealedBox, SealError>,
    by: Role,
    lie: Lie,
    basis: Basis,
) -> wire::Abort {
    let Err(SealError::Aborted(abort)) = run else {
        panic!("{by}: {run:?}")
    };
    assert_eq!(
        (abort.finding.named, abort.finding.lie, abort.finding.basis),
        (LIAR, lie, basis),
        "{by}"
    );
    let key = signer(by).public_key();
    abort
        .statement
        .verify_all(Signed::Abort, &[key])
        .expect("signed by who says so");
    let statement = wire::Abort::decode(abort.statement.payload().clone()).expect("an Abort");
    assert_eq!(statement.suspects, [LIAR.number()]);
    assert_eq!(statement.proved, basis == Basis::Proved);
    assert_eq!(statement.reason, lie.reason().code());
    // What the commission says of it: two lies take the evidence of the box, and are told as stated there.
    let read = SealingAbort::read(
        by,
        abort.statement.to_wire(),
        world.manifest.manifest(),
        BoxId(BOX),
    );
    let read = read.expect("one that an honest party signs");
    let here = !matches!(lie, Lie::OtherSeal | Lie::WrongKind);
    assert_eq!(
        (read.suspect, read.proved),
        (LIAR, basis == Basis::Proved && here)
    );
    statement
}

/// Signs a changed payload as the liar.
fn resigned<M: prost::Message + Default>(
    kind: Signed,
    of: &wire::Envelope,
    change: impl FnOnce(&mut M),
) -> wire::Envelope {
    let mut payload = M::decode(of.payload.clone()).expect("its own");
    change(&mut payload);
    signer(LIAR)
        .seal_envelope(kind, payload.encode_to_vec())
        .to_wire()
}

fn ballots(world: &mut World) -> [super::objects::Made; 3] {
    let made = [world.online(10), world.online(20), world.online(30)];
    made.iter().for_each(|made| world.accept_by_all(made));
    made
}

/// Shows P1 the true object and P3 another one.
struct TwoFaced(Once);

#[derive(PartialEq)]
enum Once {
    List,
    Claims,
    Seal,
}

impl Saboteur for TwoFaced {
    fn list(
        &self,
        from: Role,
        to: Role,
        of: Role,
        parts: Answered<Vec<wire::ListPart>>,
    ) -> Answered<Vec<wire::ListPart>> {
        if (from, to, of) != (LIAR, Role::P3, LIAR) || self.0 != Once::List {
            return parts;
        }
        // It hides its first ballot from P3.
        let mut parts = parts?;
        let [head, body] = parts.as_mut_slice() else {
            panic!("a List of ballots only")
        };
        let (Some(Part::List(list)), Some(Part::Ballots(digests))) = (&mut head.part, &mut body.part) else {
            panic!("a List of ballots only")
        };
        *digests = digests.slice(32..);
        *list = resigned::<wire::List>(Signed::List, list, |list| {
            list.ballots -= 1;
            list.ballots_hash = Hash32::of(digests).0.to_vec();
        });
        Ok(parts)
    }

    fn claims(
        &self,
        from: Role,
        to: Role,
        of: Role,
        claims: Answered<wire::Envelope>,
    ) -> Answered<wire::Envelope> {
        if (from, to, of) != (LIAR, Role::P3, LIAR) || self.0 != Once::Claims {
            return claims;
        }
        Ok(resigned::<wire::Claims>(Signed::Claims, &claims?, |claims| {
            claims.receipts.push(
                acceptance(Digest([1; 32]), Role::P1, 0)
                    .sign(&stranger())
                    .to_wire(),
            );
        }))
    }

    fn seal(
        &self,
        from: Role,
        to: Role,
        of: Role,
        seal: Answered<wire::Envelope>,
    ) -> Answered<wire::Envelope> {
        if (from, to, of) != (LIAR, Role::P3, LIAR) || self.0 != Once::Seal {
            return seal;
        }
        Ok(resigned::<wire::Seal>(Signed::Seal, &seal?, |seal| {
            seal.online -= 1
        }))
    }
}

#[tokio::test(start_paused = true)]
async fn two_lists_convict() {
    let mut world = World::sabotaged(TwoFaced(Once::List));
    ballots(&mut world);
    for attempt in 0..2 {
        let runs = world.seal(&Role::ALL).await;
        for (by, run) in Role::ALL.into_iter().zip(runs).filter(|(by, _)| *by != LIAR) {
            let abort = aborted(&world, run, by, Lie::TwoLists, Basis::Proved);
            let lists: Vec<_> = abort
                .evidence
                .iter()
                .map(|evidence| match &evidence.object {
                    Some(wire::evidence::Object::List(list)) => envelope(list),
                    other => panic!("attempt {attempt}: {other:?}"),
                })
                .collect();
            let [one, other] = lists.as_slice() else {
                panic!("{} envelopes", lists.len())
            };
            assert_ne!(one.payload(), other.payload());
            for list in [one, other] {
                list.verify_all(Signed::List, &[signer(LIAR).public_key()])
                    .expect("both are the liar's");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_of_sealing_and_the_seal_after_it_stand_in_the_journal() {
    let mut world = World::sabotaged(TwoFaced(Once::Claims));
    ballots(&mut world);
    let directory = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(Role::P1, directory.path(), 1 << 20).expect("a journal");
    let witness = Witness::new(journal, Arc::new(SystemClock));
    let (election, of_box) = (ElectionId::new("ward-7").expect("an id"), BoxId(1));
    let mut runs = world.seal(&Role::ALL).await.into_iter();
    let stopped = runs.next().expect("P1's");
    write_down(&witness, (&election, of_box), &stopped);
    let mut honest = World::new();
    ballots(&mut honest);
    let sealed = honest.seal(&Role::ALL).await.into_iter().next().expect("P1's");
    write_down(&witness, (&election, of_box), &sealed);
    let waiting = Err(SealError::Interrupted);
    write_down(&witness, (&election, of_box), &waiting);
    drop(witness);
    let (_, path) = journal::files(directory.path())
        .expect("files")
        .pop()
        .expect("one");
    let lines: Vec<serde_json::Value> = std::fs::read_to_string(path)
        .expect("readable")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let events: Vec<_> = lines
        .iter()
        .map(|line| line["event"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(
        events,
        ["box.seal-aborted", "box.sealed"],
        "what is asked for again is no event"
    );
    let finding = lines[0]["finding"].as_str().expect("a finding");
    assert!(finding.contains("P2") && lines[0]["box"] == 1, "{}", lines[0]);
    let seal = sealed.expect("sealed").seal_hash().to_string();
    assert_eq!(lines[1]["seal"], seal);
}

#[tokio::test(start_paused = true)]
async fn two_claims_convict() {
    let mut world = World::sabotaged(TwoFaced(Once::Claims));
    ballots(&mut world);
    let runs = world.seal(&Role::ALL).await;
    for (by, run) in Role::ALL.into_iter().zip(runs).filter(|(by, _)| *by != LIAR) {
        let abort = aborted(&world, run, by, Lie::TwoClaims, Basis::Proved);
        assert_eq!(abort.evidence.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_seal_convicts_but_decides_nothing() {
    let mut world = World::sabotaged(TwoFaced(Once::Seal));
    ballots(&mut world);
    let sealed = world.sealed().await;
    let findings = sealed[2].findings();
    assert!(
        matches!(findings, [finding] if (finding.named, finding.lie) == (LIAR, Lie::TwoSeals)),
        "P3 saw both: {findings:?}"
    );
    // It is told: whoever is shown P3's proof can check it.
    let [proof] = sealed[2].proofs() else {
        panic!("{:?}", sealed[2].proofs())
    };
    let read = SealingAbort::read(Role::P3, proof.to_wire(), world.manifest.manifest(), BoxId(BOX));
    let read = read.expect("its own");
    assert_eq!(
        (read.suspect, read.reason, read.proved),
        (LIAR, Lie::TwoSeals.reason(), true)
    );
    assert!(sealed[0].proofs().is_empty() && sealed[0].findings().is_empty());
}

/// Shows both others the same Seal that does not follow.
struct WrongSeal;

impl Saboteur for WrongSeal {
    fn seal(
        &self,
        from: Role,
        _: Role,
        of: Role,
        seal: Answered<wire::Envelope>,
    ) -> Answered<wire::Envelope> {
        if (from, of) != (LIAR, LIAR) {
            return seal;
        }
        Ok(resigned::<wire::Seal>(Signed::Seal, &seal?, |seal| {
            seal.online -= 1
        }))
    }
}

#[tokio::test(start_paused = true)]
async fn a_seal_that_does_not_follow_convicts() {
    let mut world = World::sabotaged(WrongSeal);
    ballots(&mut world);
    let runs = world.seal(&Role::ALL).await;
    for (by, run) in Role::ALL.into_iter().zip(runs).filter(|(by, _)| *by != LIAR) {
        aborted(&world, run, by, Lie::OtherSeal, Basis::Proved);
    }
}

#[tokio::test(start_paused = true)]
async fn who_leaves_out_what_it_receipted_is_named_and_the_ballot_stays() {
    let mut world = World::new();
    let [first, second, third] = ballots(&mut world);
    // The ballot has two acceptances without the liar's, so its receipt is claimed only to name it.
    let receipt = acceptance(first.digest, LIAR, 0).sign(world.signer(LIAR));
    for to in [Role::P1, Role::P3] {
        world.deliver(&receipt, to);
    }
    world.forge_list(LIAR, &[second.digest, third.digest], &[]);
    for sealed in world.sealed().await {
        assert_eq!(sealed.rows(), [first.digest, second.digest, third.digest]);
        let [finding] = sealed.findings() else {
            panic!("{:?}", sealed.findings())
        };
        assert_eq!((finding.named, finding.lie), (LIAR, Lie::HidAcceptance));
        assert_eq!(
            (finding.basis, finding.digest),
            (Basis::Proved, Some(first.digest))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_lists_what_it_never_accepted_cannot_answer_for_it() {
    let mut world = World::new();
    let mut listed: Vec<Digest> = ballots(&mut world).iter().map(|made| made.digest).collect();
    let alone = world.online(40);
    world.accept(&alone, Role::P1);
    // The liar saw P1's List first, and lists the ballot that only P1 accepted.
    listed.push(alone.digest);
    world.forge_list(LIAR, &listed, &[]);
    let mut runs = world.seal(&Role::ALL).await;
    let abort = aborted(&world, runs.remove(2), Role::P3, Lie::Silent, Basis::Stated);
    // Two say so: P3, and the mediator P1.
    let [complaint, statement] = abort.evidence.as_slice() else {
        panic!("{:?}", abort.evidence)
    };
    assert!(matches!(
        complaint.object,
        Some(wire::evidence::Object::Complaint(_))
    ));
    let Some(wire::evidence::Object::Statement(statement)) = &statement.object else {
        panic!("{statement:?}")
    };
    let statement = envelope(statement);
    statement
        .verify_all(Signed::Abort, &[signer(Role::P1).public_key()])
        .expect("the mediator's");
    let stated = wire::Abort::decode(statement.payload().clone()).expect("an Abort");
    assert_eq!(
        (stated.suspects.as_slice(), stated.proved),
        ([LIAR.number()].as_slice(), false)
    );
    // The liar itself has nothing to seal.
    match &runs[1] {
        Err(SealError::Lost { digest, .. }) => assert_eq!(*digest, alone.digest),
        other => panic!("{other:?}"),
    }
    assert!(
        matches!(runs[0], Err(SealError::Waiting { item: Item::Seal, .. })),
        "P1 waits: {:?}",
        runs[0]
    );
}

#[tokio::test(start_paused = true)]
async fn a_claimed_receipt_for_something_else_counts_for_nothing() {
    let mut world = World::new();
    let [first, ..] = ballots(&mut world);
    let alone = world.online(40);
    world.accept(&alone, LIAR);
    // P3's true receipt, for what P3 lists, is shown as the one that it should have given.
    let other = acceptance(first.digest, Role::P3, 3).sign(&signer(Role::P3));
    world.deliver_for(alone.digest, &other, LIAR);
    for sealed in world.sealed().await {
        assert!(!sealed.rows().contains(&alone.digest));
        let [finding] = sealed.findings() else {
            panic!("{:?}", sealed.findings())
        };
        assert_eq!((finding.named, finding.lie), (LIAR, Lie::FalseClaim));
        assert_eq!(
            (finding.basis, finding.digest),
            (Basis::Proved, Some(first.digest))
        );
    }
}

/// However it came into the store: whoever claims it would convict itself.
#[tokio::test(start_paused = true)]
async fn a_receipt_in_the_store_that_its_party_did_not_sign_is_not_claimed() {
    let mut world = World::new();
    ballots(&mut world);
    let alone = world.online(40);
    world.accept(&alone, Role::P2);
    let forged = acceptance(alone.digest, Role::P3, 3).sign(&stranger());
    world.deliver(&forged, Role::P2);
    for sealed in world.sealed().await {
        assert!(!sealed.rows().contains(&alone.digest));
        assert_eq!(sealed.findings(), []);
    }
}

/// As a relay, invents what the third party signed.
struct Inventor;

impl Saboteur for Inventor {
    fn claims(
        &self,
        from: Role,
        _: Role,
        of: Role,
        claims: Answered<wire::Envelope>,
    ) -> Answered<wire::Envelope> {
        if from != LIAR || of == LIAR {
            return claims;
        }
        let mut claims = claims?;
        let mut invented = wire::Claims::decode(claims.payload.clone()).expect("its own");
        invented.list_hashes[0] = vec![9; 32];
        claims.payload = invented.encode_to_vec().into();
        Ok(claims)
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_invents_names_nobody() {
    let mut world = World::sabotaged(Inventor);
    ballots(&mut world);
    let runs = world.seal(&Role::ALL).await;
    for (by, run) in Role::ALL.into_iter().zip(runs).filter(|(by, _)| *by != LIAR) {
        match run {
            Err(SealError::Waiting {
                of: LIAR,
                item: Item::Claims,
                source:
                    PeerError::Malformed {
                        flaw: Flaw::Signature,
                        ..
                    },
            }) => {}
            other => panic!("{by}: {other:?}"),
        }
    }
}

/// Names another List of P1's in its Claims than P1 showed.
struct OtherLists;

impl Saboteur for OtherLists {
    fn claims(
        &self,
        _: Role,
        _: Role,
        of: Role,
        claims: Answered<wire::Envelope>,
    ) -> Answered<wire::Envelope> {
        if of != LIAR {
            return claims;
        }
        Ok(resigned::<wire::Claims>(Signed::Claims, &claims?, |claims| {
            claims.list_hashes[0] = vec![9; 32]
        }))
    }
}

#[tokio::test(start_paused = true)]
async fn claims_over_lists_that_nobody_showed_only_stop() {
    let mut world = World::sabotaged(OtherLists);
    ballots(&mut world);
    let runs = world.seal(&Role::ALL).await;
    for (by, run) in Role::ALL.into_iter().zip(runs).filter(|(by, _)| *by != LIAR) {
        match run {
            Err(SealError::Waiting {
                of: LIAR,
                item: Item::Claims,
                source:
                    PeerError::Malformed {
                        flaw: Flaw::OtherLists,
                        ..
                    },
            }) => {}
            other => panic!("{by}: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_ballot_listed_as_a_record_convicts() {
    let mut world = World::new();
    let [first, second, third] = ballots(&mut world);
    world.forge_list(LIAR, &[second.digest, third.digest], &[first.digest]);
    let runs = world.seal(&Role::ALL).await;
    for (by, run) in Role::ALL.into_iter().zip(runs).filter(|(by, _)| *by != LIAR) {
        let abort = aborted(&world, run, by, Lie::WrongKind, Basis::Proved);
        let Some(wire::abort::Subject::Ballot(header)) = abort.subject else {
            panic!("{:?}", abort.subject)
        };
        let header = tally_proto::ballot::BallotHeader::from_wire(&header).expect("a header");
        assert_eq!(
            header.digest(),
            first.digest,
            "the header proves what the digest is"
        );
    }
}

/// Gives P1 shares that open nothing, the first `wrong` times.
struct WrongShares {
    wrong: usize,
    given: AtomicUsize,
}

impl Saboteur for WrongShares {
    fn fill(
        &self,
        from: Role,
        _: Role,
        _: &wire::FillRequest,
        parts: Answered<Vec<wire::FillPart>>,
    ) -> Answered<Vec<wire::FillPart>> {
        if from != LIAR || self.given.fetch_add(1, Ordering::Relaxed) >= self.wrong {
            return parts;
        }
        let mut parts = parts?;
        parts.iter_mut().for_each(|part| part.share[0] ^= 1);
        Ok(parts)
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_share_that_is_answered_rightly_is_forgotten() {
    let mut world = World::sabotaged(WrongShares {
        wrong: 1,
        given: AtomicUsize::new(0),
    });
    let ballot = world.online(10);
    world.accept(&ballot, LIAR);
    world.accept(&ballot, Role::P3);
    for sealed in world.sealed().await {
        assert_eq!(sealed.rows(), [ballot.digest]);
        assert!(sealed.findings().is_empty());
    }
}

/// Cannot be reached by P1, but by P3.
struct HalfGone;

impl Saboteur for HalfGone {
    fn fill(
        &self,
        from: Role,
        to: Role,
        _: &wire::FillRequest,
        parts: Answered<Vec<wire::FillPart>>,
    ) -> Answered<Vec<wire::FillPart>> {
        if (from, to) == (LIAR, Role::P1) {
            return Err(PeerError::Unreachable {
                peer: from,
                detail: "cut off".to_owned(),
            });
        }
        parts
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_connection_does_not_give_the_third_party_fetches() {
    let mut world = World::sabotaged(HalfGone);
    let made = [world.online(10), world.online(20)];
    for made in &made {
        world.accept(made, LIAR);
        world.accept(made, Role::P3);
    }
    let sealed = world.sealed().await;
    assert_eq!(sealed[0].rows(), made.each_ref().map(|made| made.digest));
}

#[tokio::test(start_paused = true)]
async fn a_list_longer_than_a_box_may_be_is_refused_by_its_partys_name() {
    let mut world = World::with(Setting {
        max_ballots: 20,
        ..Setting::default()
    });
    let mut listed: Vec<Digest> = ballots(&mut world).iter().map(|made| made.digest).collect();
    listed.extend((0..18).map(|n| Digest([n; 32])));
    world.forge_list(LIAR, &listed, &[]);
    let runs = world.seal(&Role::ALL).await;
    for (by, run) in Role::ALL.into_iter().zip(runs).filter(|(by, _)| *by != LIAR) {
        let Err(SealError::Waiting { of, item, source }) = run else {
            panic!("{by}: {run:?}")
        };
        assert_eq!((of, item), (LIAR, Item::List));
        assert!(
            matches!(
                source,
                PeerError::Malformed {
                    flaw: Flaw::TooLong,
                    ..
                }
            ),
            "{source}"
        );
    }
}
