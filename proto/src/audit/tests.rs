//! Statements survive the wire, are refused when altered, and three of them name who deviated.

use super::*;
use crate::fixture::{Shape, World};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

fn signers() -> [Signer; 3] {
    let mut rng = StdRng::seed_from_u64(9);
    std::array::from_fn(|_| Signer::generate(&mut rng))
}

fn mark(n: u8, content: u8) -> Mark {
    let mut label = [0; Label::BYTES];
    label[0] = 2;
    label[1] = n;
    Mark {
        label,
        hash: [content.wrapping_mul(16).wrapping_add(n); 16],
    }
}

fn binding() -> Binding {
    Binding::new(&[7; 32], b"e", b"b", 4)
}

/// The channel from one party to another as everybody honest has it.
fn honest(from: Role, to: Role) -> u8 {
    from.index() * 3 + to.index()
}

fn channel_of(content: u8, messages: u8) -> ChannelRecord {
    let trail: Vec<Mark> = (0..messages).map(|n| mark(n, content)).collect();
    let last = trail.last().map_or([0; 16], |mark| mark.hash);
    ChannelRecord {
        messages: u64::from(messages),
        hash: whole(last),
        trail,
    }
}

fn whole(half: [u8; 16]) -> Hash32 {
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(&half);
    Hash32(hash)
}

fn statement(party: Role, channels: &[ChannelRecord; 4]) -> Statement {
    let [to_next, to_prev, from_next, from_prev] = channels.each_ref().map(|channel| channel.hash.0);
    Statement {
        binding: binding(),
        signer: party,
        number: 5,
        at: Scope {
            phase: Phase::Sort,
            step: 1,
            chunk: 0,
        },
        channels: ChannelHashes {
            to_next,
            to_prev,
            from_next,
            from_prev,
        },
    }
}

/// An honest party's audit of a session of eight messages a channel.
fn audit(party: Role) -> Audit {
    let (next, prev) = (party.next(), party.prev());
    let channels = [(party, next), (party, prev), (next, party), (prev, party)]
        .map(|(from, to)| channel_of(honest(from, to), 8));
    Audit {
        election: "riverside".parse().expect("a slug"),
        of_box: BoxId(2),
        seal_hash: Hash32([7; 32]),
        manifest_hash: Hash32([8; 32]),
        session: SessionNumber(4),
        session_id: Hash32([6; 32]),
        party,
        auditor: format!("Auditor of {party}"),
        auditor_key: Signer::from_seed(&[50 + party.index(); 32])
            .expect("a seed")
            .public_key(),
        audited_at: UnixSeconds(1_800_000_000),
        items: Check::ALL
            .map(|check| Item {
                check,
                verdict: Verdict::Passed,
                detail: "12 of 12".into(),
            })
            .to_vec(),
        agreed: Some(statement(party, &channels)),
        channels,
        stated: Vec::new(),
        end: End::Stopped(Stopped {
            reason: "tally.check-failed".into(),
            step: "sort step 1".into(),
            channel: "P1-P2".into(),
            suspects: vec![Role::P1],
        }),
    }
}

fn sign(audit: &mut Audit, signer: &Signer, statement: Statement) {
    let message = statement_layout(&audit.session_id, &statement.to_bytes());
    audit.stated.push(Stated {
        statement,
        signature: signer.sign_layout(&message),
    });
}

fn keys() -> [PublicKey; 3] {
    signers().each_ref().map(Signer::public_key)
}

#[test]
fn statements_survive_the_wire_and_every_end_is_told() {
    let signers = signers();
    let mut original = audit(Role::P2);
    let own = statement(Role::P2, &original.channels);
    sign(&mut original, &signers[1], own);
    for end in [
        original.end.clone(),
        End::Result(Hash32([3; 32])),
        End::Unfinished,
    ] {
        original.end = end;
        let bytes = prost::Message::encode_to_vec(&original.to_wire());
        assert_eq!(Audit::decode(&bytes).expect("canonical"), original);
    }
    original.items.pop();
    let bytes = prost::Message::encode_to_vec(&original.to_wire());
    assert_eq!(
        Audit::decode(&bytes),
        Err(AuditError::Field("list of checks")),
        "no check may be left out"
    );
}

#[test]
fn a_statement_needs_the_auditors_and_the_partys_signature() {
    let world = World::new(Shape::default());
    let manifest = world.manifest.manifest();
    let hash = world.manifest.hash();
    let auditor = Signer::from_seed(&[52; 32]).expect("a seed");
    let mut made = audit(Role::P2);
    made.election = manifest.election().clone();
    made.manifest_hash = hash;
    let party = &world.signers[Role::P2.slot()];
    let good = made.sign(&auditor, party);
    assert_eq!(Audit::open(&good, manifest, hash).expect("both signed"), made);
    assert_eq!(
        Audit::open(&good, manifest, Hash32([1; 32])),
        Err(AuditError::OtherManifest)
    );
    let alone = auditor.seal_envelope(Kind::Audit, good.payload().clone());
    assert!(matches!(
        Audit::open(&alone, manifest, hash),
        Err(AuditError::Envelope(EnvelopeError::MissingSigner { .. }))
    ));
    let other_party = made.sign(&auditor, &world.signers[Role::P3.slot()]);
    assert!(matches!(
        Audit::open(&other_party, manifest, hash),
        Err(AuditError::Envelope(_))
    ));
    // This election has no register and no tickets, and this session stopped: nothing else may be left out.
    for at in 0..Check::ALL.len() {
        let check = Check::ALL[at];
        let stopped = made.end.clone();
        for (end, due) in [
            (
                stopped,
                matches!(check, Check::CardOffsets | Check::Tickets) || check > Check::SessionLog,
            ),
            (
                End::Result(Hash32([3; 32])),
                matches!(check, Check::CardOffsets | Check::Tickets),
            ),
        ] {
            let mut left_out = made.clone();
            left_out.end = end;
            left_out.items[at].verdict = Verdict::NotApplicable;
            let opened = Audit::open(&left_out.sign(&auditor, party), manifest, hash);
            let expected = if due {
                Ok(left_out)
            } else {
                Err(AuditError::LeftOut(check))
            };
            assert_eq!(opened, expected);
        }
    }
    for (check, shape) in [
        (
            Check::CardOffsets,
            Shape {
                cards: true,
                ..Shape::default()
            },
        ),
        (
            Check::Tickets,
            Shape {
                tickets: true,
                ..Shape::default()
            },
        ),
    ] {
        let asking = World::new(shape);
        let mut left_out = made.clone();
        left_out.manifest_hash = asking.manifest.hash();
        left_out.items[check as usize - 1].verdict = Verdict::NotApplicable;
        let signed = left_out.sign(&auditor, &asking.signers[Role::P2.slot()]);
        let opened = Audit::open(&signed, asking.manifest.manifest(), asking.manifest.hash());
        assert_eq!(opened, Err(AuditError::LeftOut(check)));
    }
    made.auditor_key = party.public_key();
    assert_eq!(
        Audit::open(&made.sign(party, party), manifest, hash),
        Err(AuditError::NotOwnKey)
    );
}

#[test]
fn three_honest_statements_prove_the_totals_and_two_do_not() {
    let mut audits: Vec<Audit> = Role::ALL.map(audit).to_vec();
    for audit in &mut audits {
        audit.end = End::Result(Hash32([3; 32]));
    }
    let all = combine(&audits, &keys());
    assert!(all.proves_totals() && all.named.is_empty(), "{all:?}");
    assert_eq!(all.result, Some(Hash32([3; 32])));
    let two = combine(&audits[..2], &keys());
    assert!(!two.proves_totals());
    let unknown = two
        .pairs
        .iter()
        .filter(|pair| pair.verdict == PairVerdict::Unknown);
    assert_eq!(unknown.count(), 4, "only P1 and P2 can be compared");

    let mut same_hands = audits.clone();
    same_hands[1].auditor_key = same_hands[0].auditor_key;
    let same_hands = combine(&same_hands, &keys());
    assert!(!same_hands.proves_totals(), "nobody audits two parties");
    let mut other_result = audits.clone();
    other_result[2].end = End::Result(Hash32([4; 32]));
    assert!(!combine(&other_result, &keys()).proves_totals());
    let mut other_session = audits.clone();
    other_session[2].session_id = Hash32([4; 32]);
    assert!(!combine(&other_session, &keys()).proves_totals());
    audits[0].items[3].verdict = Verdict::Failed;
    let failed = combine(&audits, &keys());
    assert!(!failed.proves_totals());
    assert_eq!(failed.failed, [(Role::P1, Check::Receipts)]);
    assert_eq!(failed.named, [vec![Role::P1]]);
}

#[test]
fn a_channel_of_a_finished_session_is_compared_at_its_last_barrier() {
    let mut audits: Vec<Audit> = Role::ALL.map(audit).to_vec();
    for audit in &mut audits {
        audit.end = End::Result(Hash32([3; 32]));
        audit
            .channels
            .iter_mut()
            .for_each(|channel| channel.trail.clear());
    }
    assert!(combine(&audits, &keys()).proves_totals());
    let agreed = audits[1].agreed.as_mut().expect("a barrier");
    agreed.channels.from_prev[0] ^= 1;
    let differing = combine(&audits, &keys());
    assert!(!differing.proves_totals());
    assert_eq!(differing.named, [vec![Role::P1, Role::P2]]);
}

#[test]
fn a_message_that_differs_names_the_pair_and_a_signature_settles_which() {
    let signers = signers();
    for sender in Role::ALL {
        for receiver in [sender.next(), sender.prev()] {
            let (out, inward) = if sender.next() == receiver { (0, 3) } else { (1, 2) };
            let mut audits: Vec<Audit> = Role::ALL.map(audit).to_vec();
            // From message 5 on the receiver holds something else than an honest sender sends.
            let logged = &mut audits[receiver.slot()].channels[inward];
            for n in 5..8 {
                logged.trail[usize::from(n)] = mark(n, 15);
            }
            logged.hash = whole(mark(7, 15).hash);
            let logged = logged.clone();
            let mut both = vec![sender, receiver];
            both.sort_unstable();
            let quarrel = combine(&audits, &keys());
            assert_eq!(quarrel.named, [both.clone()], "{sender} to {receiver}");
            let pair = quarrel
                .pairs
                .iter()
                .find(|pair| (pair.from, pair.to) == (sender, receiver));
            assert_eq!(
                pair.expect("six pairs").verdict,
                PairVerdict::Differ {
                    label: Some(mark(5, 0).label),
                    blame: Blame::Either
                }
            );

            // The sender signed that it sent what the receiver logged.
            let mut convicted = audits.clone();
            let mut channels = convicted[sender.slot()].channels.clone();
            channels[out].hash = logged.hash;
            sign(
                &mut convicted[receiver.slot()],
                &signers[sender.slot()],
                statement(sender, &channels),
            );
            assert_eq!(combine(&convicted, &keys()).named, [vec![sender]]);
            // A signature of somebody else in its name convicts nobody.
            convicted[receiver.slot()].stated.clear();
            sign(
                &mut convicted[receiver.slot()],
                &signers[receiver.slot()],
                statement(sender, &channels),
            );
            assert_eq!(combine(&convicted, &keys()).named, [both.clone()]);

            // The receiver signed that it received what an honest sender sends.
            let honest = audit(receiver);
            sign(
                &mut audits[receiver.slot()],
                &signers[receiver.slot()],
                statement(receiver, &honest.channels),
            );
            assert_eq!(combine(&audits, &keys()).named, [vec![receiver]]);
        }
    }
}

#[test]
fn what_was_under_way_when_a_session_stopped_is_no_difference() {
    let mut audits: Vec<Audit> = Role::ALL.map(audit).to_vec();
    audits[1].channels[3] = channel_of(honest(Role::P1, Role::P2), 6);
    assert!(combine(&audits, &keys()).named.is_empty());
    // But a receiver cannot hold more than its sender sends.
    audits[0].channels[0] = channel_of(honest(Role::P1, Role::P2), 5);
    assert_eq!(combine(&audits, &keys()).named, [vec![Role::P1, Role::P2]]);
}
