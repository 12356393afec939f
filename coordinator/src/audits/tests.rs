//! What readers are told, for honest statements, for missing ones, and for ones that contradict the bundle.

use std::fs;

use tally_mpc::Label;
use tally_proto::audit::{
    AuditError, Binding, ChannelHashes, ChannelRecord, Item, Mark, Phase, Scope, Stated, Statement as Signed,
    Stopped,
};
use tally_proto::envelope::Signer;
use tally_proto::ids::UnixSeconds;
use tally_proto::session::statement_layout;

use super::*;
use crate::bundle::tests::Scene;

const BOX: BoxId = BoxId(1);

fn auditor(party: Role) -> Signer {
    Signer::from_seed(&[90 + party.index(); 32]).expect("a seed")
}

/// The hash of what one party sends another.
fn channel(from: Role, to: Role) -> [u8; 32] {
    [10 * from.index() + to.index(); 32]
}

/// What an auditor of an honest party says about the tallied box.
fn honest(scene: &Scene, checked: &Checked, party: Role) -> Audit {
    let report = &checked.report.boxes[0];
    let (next, prev) = (party.next(), party.prev());
    let channels = ChannelHashes {
        to_next: channel(party, next),
        to_prev: channel(party, prev),
        from_next: channel(next, party),
        from_prev: channel(prev, party),
    };
    let hashes = [
        channels.to_next,
        channels.to_prev,
        channels.from_next,
        channels.from_prev,
    ];
    let manifest = scene.manifest();
    Audit {
        election: manifest.manifest().election().clone(),
        of_box: BOX,
        seal_hash: report.seal_hash,
        manifest_hash: manifest.hash(),
        session: SessionNumber(1),
        session_id: Hash32([5; 32]),
        party,
        auditor: format!("Auditor of {party}"),
        auditor_key: auditor(party).public_key(),
        audited_at: UnixSeconds(1_800_000_000),
        items: Check::ALL
            .map(|check| Item {
                check,
                verdict: match check {
                    Check::CardOffsets | Check::Tickets => Verdict::NotApplicable,
                    _ => Verdict::Passed,
                },
                detail: "found".into(),
            })
            .to_vec(),
        channels: hashes.map(|hash| ChannelRecord {
            messages: 9,
            hash: Hash32(hash),
            trail: Vec::new(),
        }),
        agreed: Some(Signed {
            binding: Binding::new(&[1; 32], b"e", b"b", 1),
            signer: party,
            number: 3,
            at: Scope {
                phase: Phase::Open,
                step: 0,
                chunk: 0,
            },
            channels,
        }),
        stated: Vec::new(),
        end: End::Result(Hash32::of(&report.result.encode())),
    }
}

/// Files of the statements, each signed by its auditor and its party.
fn write(scene: &Scene, audits: &[Audit]) -> Vec<PathBuf> {
    audits
        .iter()
        .map(|audit| {
            let path = scene.path(&format!("{}.audit", audit.party));
            let envelope = audit.sign(&auditor(audit.party), scene.party_signer(audit.party));
            fs::write(&path, envelope.encode()).expect("written");
            path
        })
        .collect()
}

fn world() -> (Scene, Checked, Vec<Audit>) {
    let scene = Scene::new(3);
    let bundle = fs::read(scene.make().path).expect("made");
    let checked = scene.check(&bundle).expect("holds");
    let audits = Role::ALL.map(|party| honest(&scene, &checked, party)).to_vec();
    (scene, checked, audits)
}

fn said(scene: &Scene, checked: &Checked, audits: &[Audit]) -> Findings {
    verify(checked, &write(scene, audits), &[], (160, false)).expect("statements that hold")
}

#[test]
fn three_statements_prove_the_published_totals() {
    let (scene, checked, audits) = world();
    let found = said(&scene, &checked, &audits);
    assert!(
        found
            .text
            .contains("Proven: the published totals are right for the sealed list"),
        "{}",
        found.text
    );
    assert!(found.refuted.is_empty());
    for row in [
        "The roll is the manifest's",
        "What it sent is what the two others received",
    ] {
        assert!(found.text.contains(row), "{}", found.text);
    }
    assert_eq!(found.text.matches("for all three").count(), 7, "{}", found.text);
    assert!(found.text.contains("by the auditors together"));
}

#[test]
fn fewer_statements_say_what_is_missing() {
    let (scene, checked, audits) = world();
    let found = said(&scene, &checked, &audits[..2]);
    assert!(found.refuted.is_empty());
    assert!(!found.text.contains("Proven: "), "{}", found.text);
    assert!(
        found.text.contains("Not proven yet: P3 not audited"),
        "{}",
        found.text
    );
    assert!(found.text.contains("for P1 and P2 only"), "{}", found.text);
    let none = verify(&checked, &[], &[], (160, false)).expect("nothing to refuse");
    assert!(none.text.contains("no auditor's statement"), "{}", none.text);
}

#[test]
fn what_contradicts_the_bundle_refutes_it() {
    let (scene, checked, audits) = world();
    let mut failed = audits.clone();
    failed[1].items[13].verdict = Verdict::Failed;
    let found = said(&scene, &checked, &failed);
    assert_eq!(found.refuted, [BOX]);
    assert!(found.text.contains("Named: P2."), "{}", found.text);

    let mut other = audits.clone();
    for audit in &mut other {
        audit.end = End::Result(Hash32([9; 32]));
    }
    let found = said(&scene, &checked, &other);
    assert_eq!(found.refuted, [BOX]);
    assert!(
        found
            .text
            .contains("REFUTED: the audited result is not the published one")
    );

    let mut quarrel = audits.clone();
    if let Some(agreed) = &mut quarrel[0].agreed {
        agreed.channels.to_next[0] ^= 1;
    }
    let found = said(&scene, &checked, &quarrel);
    assert_eq!(found.refuted, [BOX]);
    assert!(found.text.contains("Named: P1 or P2."), "{}", found.text);
}

#[test]
fn a_stopped_session_names_the_culprit_and_refutes_no_other() {
    let (scene, checked, mut audits) = world();
    for audit in &mut audits {
        audit.session = SessionNumber(7);
        audit.end = End::Stopped(Stopped {
            reason: "tally.check-failed".into(),
            step: "sort step 2".into(),
            channel: "P1-P3".into(),
            suspects: vec![Role::P1],
        });
    }
    audits[2].items[14].verdict = Verdict::Failed;
    let found = said(&scene, &checked, &audits);
    assert!(
        found.refuted.is_empty(),
        "the published result is of another session"
    );
    assert!(found.text.contains("stopped at sort step 2"), "{}", found.text);
    assert!(found.text.contains("Named: P3."), "{}", found.text);
}

/// The marks of a channel's messages, of which the one at `other` and those after it have other hashes.
fn trail(messages: u8, other: u8) -> Vec<Mark> {
    (0..messages)
        .map(|at| Mark {
            label: Label {
                scope: Scope {
                    phase: Phase::Sort,
                    step: 2,
                    chunk: 0,
                },
                round: u32::from(at),
            }
            .to_bytes(),
            hash: [if at < other { at } else { 100 + at }; 16],
        })
        .collect()
}

#[test]
fn a_lie_on_the_wire_and_in_the_log_is_put_to_the_pair_in_plain_words() {
    let (scene, checked, mut audits) = world();
    for audit in &mut audits {
        audit.session = SessionNumber(7);
        audit.end = End::Stopped(Stopped {
            reason: "tally.check-failed".into(),
            step: "sort step 2".into(),
            channel: "P1-P2".into(),
            suspects: vec![Role::P1],
        });
        for channel in &mut audit.channels {
            channel.trail = trail(9, 9);
        }
    }
    // P1 sent P2 something else than an honest party sends, and both logs hold what an honest party takes. Or P2's log is made up.
    audits[0].channels[0].trail = trail(9, 4);
    let found = said(&scene, &checked, &audits);
    assert!(found.refuted.is_empty(), "a session without a result");
    for sentence in [
        "What P1 sent P2 is not what an honest party sends: P1 sent it, or the log of P2 is false; no signature settles which.",
        "Named: P1 or P2.",
        "One of P1 and P2 lied, on the wire or in its log: the records of the two contradict each other and no signature tells which is \
         false. It is one of them for certain, it may be both.",
        "Nothing in the statements speaks against P3.",
    ] {
        assert!(found.text.contains(sentence), "{sentence}\n{}", found.text);
    }

    // A statement that P1 signed over what P2 holds settles it.
    let signed = audits[1].channels[3].trail[6].hash;
    let Some(mut statement) = audits[0].agreed else {
        panic!("made above")
    };
    statement.channels.to_next[..16].copy_from_slice(&signed);
    let signer = scene.party_signer(Role::P1);
    let message = statement_layout(&audits[0].session_id, &statement.to_bytes());
    audits[1].stated.push(Stated {
        statement,
        signature: signer.sign_layout(&message),
    });
    let found = said(&scene, &checked, &audits);
    assert!(found.text.contains("Named: P1.\n"), "{}", found.text);
    assert!(found.text.contains("P1 signed that it sent it"), "{}", found.text);
    assert!(
        found
            .text
            .contains("Nothing in the statements speaks against P2 and P3."),
        "{}",
        found.text
    );
    assert!(!found.text.contains("One of P1 and P2"), "{}", found.text);
}

#[test]
fn a_failed_audit_does_not_hide_behind_another_of_the_same_part() {
    let (scene, checked, audits) = world();
    let paths = write(&scene, &audits);
    let (mut failed, made_up) = (audits[1].clone(), scene.path("made-up.audit"));
    failed.items[13].verdict = Verdict::Failed;
    let stranger = Signer::from_seed(&[77; 32]).expect("a key");
    failed.auditor_key = stranger.public_key();
    let envelope = failed.sign(&stranger, scene.party_signer(Role::P2));
    fs::write(&made_up, envelope.encode()).expect("written");
    for order in [[&paths[1], &made_up], [&made_up, &paths[1]]] {
        let all: Vec<PathBuf> = order.into_iter().chain([&paths[0], &paths[2]]).cloned().collect();
        let error = verify(&checked, &all, &[], (80, false)).expect_err("which of them?");
        assert!(
            matches!(error, Error::StatementsDiffer { party: Role::P2, .. }),
            "{error}"
        );
        let said = error.to_string();
        assert!(
            said.contains("made-up.audit") && said.contains("P2.audit"),
            "{said}"
        );
    }
    // Two who find the same are no quarrel.
    let second = scene.path("second.audit");
    let mut same = audits[1].clone();
    same.auditor_key = stranger.public_key();
    let envelope = same.sign(&stranger, scene.party_signer(Role::P2));
    fs::write(&second, envelope.encode()).expect("written");
    let all = [paths, vec![second]].concat();
    assert!(
        verify(&checked, &all, &[], (80, false))
            .expect("they hold")
            .refuted
            .is_empty()
    );
}

#[test]
fn statements_that_do_not_hold_are_refused() {
    let (scene, checked, audits) = world();
    let paths = write(&scene, &audits[..1]);
    let trusted = auditor(Role::P1).public_key().to_string();
    assert!(verify(&checked, &paths, &[trusted], (80, false)).is_ok());
    let stranger = auditor(Role::P2).public_key().to_string();
    assert!(matches!(
        verify(&checked, &paths, &[stranger], (80, false)),
        Err(Error::Auditor { .. })
    ));
    assert!(matches!(
        verify(&checked, &paths, &["12".to_owned()], (80, false)),
        Err(Error::AuditorKey { .. })
    ));
    let mut bytes = fs::read(&paths[0]).expect("written");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&paths[0], &bytes).expect("altered");
    assert!(verify(&checked, &paths, &[], (80, false)).is_err());
    let mut other = audits[0].clone();
    other.manifest_hash = Hash32([1; 32]);
    let paths = write(&scene, &[other]);
    assert!(matches!(
        verify(&checked, &paths, &[], (80, false)),
        Err(Error::Statement {
            source: AuditError::OtherManifest,
            ..
        })
    ));
}

/// What an auditor checked and nobody is shown might as well not have been checked.
#[test]
fn every_check_has_a_row_and_one_that_fails_is_seen_there() {
    let shown: Vec<Check> = CLAIMS
        .iter()
        .flat_map(|(_, checks)| checks.iter().copied())
        .collect();
    for check in Check::ALL {
        assert!(shown.contains(&check), "{check:?} is in no row");
    }
    let (.., mut audits) = world();
    for item in &mut audits[1].items {
        if item.check == Check::CardOffsets {
            item.verdict = Verdict::Failed;
        }
    }
    let found: [Option<Verdict>; 3] =
        std::array::from_fn(|at| Some(joined(&audits[at], &[Check::CardOffsets])));
    assert_eq!(found[1], Some(Verdict::Failed));
    assert_eq!(proven(&found), "REFUTED");
}
