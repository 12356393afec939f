//! The audit of real sessions: honest ones pass at all three parties, and what was altered is found and named.

use tally_proto::audit::{Audit, Blame, Check, Combined, End, Item, PairVerdict, Verdict, combine};
use tally_proto::ids::{SessionNumber, UnixSeconds};

use super::super::log::{Entry, LogError};
use super::super::opening::Contribution;
use super::election::*;
use super::tamper::*;
use super::world::*;
use super::*;
use crate::audit::{SessionAudit, SignedEnd, audit_session};
use crate::session::ledger;
use crate::store::elections;

const SESSION: SessionNumber = SessionNumber(1);

fn scene() -> Scene {
    Scene {
        seal_hash: Hash32([7; 32]),
        election: ELECTION.parse().expect("a slug"),
        box_id: BoxId(BOX),
    }
}

impl World {
    fn signed_end(&self, role: Role) -> SignedEnd {
        let (result, abort) = self
            .store(role)
            .read(|tx| {
                let number = elections::number_of(tx, ELECTION)?.expect("known");
                let key = (number, BOX);
                Ok::<_, crate::store::StoreError>((
                    ledger::result(tx, key)?,
                    ledger::abort(tx, key, SESSION)?,
                ))
            })
            .expect("readable");
        let decode = |bytes: Option<Vec<u8>>| bytes.map(|bytes| Envelope::decode(&bytes).expect("stored"));
        SignedEnd {
            result: decode(result),
            abort: decode(abort),
        }
    }

    fn audit_in(&self, directory: &std::path::Path, role: Role) -> Result<SessionAudit, LogError> {
        let logs = session_logs(directory, role);
        let log = logs.open(role, &scene().election, BoxId(BOX), SESSION)?;
        let (ready, signed) = (self.ready(role), self.signed_end(role));
        audit_session(log, role, &scene(), SESSION, ready, &signed)
    }

    fn audit(&self, role: Role) -> SessionAudit {
        self.audit_in(self.logs(), role).expect("a log that opens")
    }

    /// The statement of an auditor for whom the box itself holds.
    fn statement(&self, role: Role, audit: SessionAudit) -> Audit {
        let mut items: Vec<Item> = Check::ALL
            .into_iter()
            .take_while(|check| *check < Check::SessionLog)
            .map(|check| Item {
                check,
                verdict: Verdict::Passed,
                detail: String::new(),
            })
            .collect();
        items.extend(audit.items);
        Audit {
            election: scene().election,
            of_box: BoxId(BOX),
            seal_hash: scene().seal_hash,
            manifest_hash: Hash32([0; 32]),
            session: SESSION,
            session_id: audit.session_id,
            party: role,
            auditor: format!("Auditor of {role}"),
            auditor_key: Signer::from_seed(&[70 + role.index(); 32])
                .expect("a seed")
                .public_key(),
            audited_at: UnixSeconds(1),
            items,
            channels: audit.channels,
            agreed: audit.agreed,
            stated: audit.stated,
            end: audit.end,
        }
    }

    fn combine(&self) -> Combined {
        let audits = Role::ALL.map(|role| {
            let made = self.statement(role, self.audit(role));
            let bytes = made.to_wire().encode_to_vec();
            Audit::decode(&bytes).expect("what is made is canonical")
        });
        combine(&audits, &self.keys)
    }

    /// P_1's log with its entries changed, sealed anew as only P_1 can; audited.
    fn audit_altered(&self, alter: impl FnMut(Entry) -> Vec<Entry>) -> SessionAudit {
        let directory = tempfile::tempdir().expect("a directory");
        let (from, to) = (
            session_logs(self.logs(), Role::P1),
            session_logs(directory.path(), Role::P1),
        );
        let mut log = from
            .open(Role::P1, &scene().election, BoxId(BOX), SESSION)
            .expect("opens");
        let mut entries = Vec::new();
        while let Some(entry) = log.next_entry().expect("sound") {
            entries.push(entry);
        }
        let mut rng = StdRng::seed_from_u64(1);
        let writer = to.begin(Role::P1, &scene(), SESSION, &mut rng).expect("begun");
        for entry in entries.into_iter().flat_map(alter) {
            writer.enter(&entry);
        }
        writer.seal();
        self.audit_in(directory.path(), Role::P1)
            .expect("a log that opens")
    }
}

fn failed(audit: &SessionAudit) -> Vec<Check> {
    let failed = audit.items.iter().filter(|item| item.verdict == Verdict::Failed);
    failed.map(|item| item.check).collect()
}

async fn tallied(seed: u64) -> World {
    let world = World::new(Election::new(12, 30, 5, 2, seed), pace()).await;
    let events = world.session(1).await;
    for (role, event) in Role::ALL.into_iter().zip(&events) {
        assert_eq!(world.result(role, event), world.election.count(), "{role}");
    }
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn three_honest_parties_pass_and_prove_the_totals_together() {
    let world = tallied(31).await;
    let expected = Hash32::of(&world.election.count().encode_to_vec());
    for role in Role::ALL {
        let audit = world.audit(role);
        assert_eq!(failed(&audit), [], "{role}: {:#?}", audit.items);
        assert_eq!(audit.end, End::Result(expected));
        assert!(
            audit
                .items
                .iter()
                .map(|item| item.check)
                .eq(Check::ALL.into_iter().skip(10))
        );
        assert_eq!(audit.stated.len(), 4, "two of its own, one of either neighbour");
        assert!(
            audit
                .channels
                .iter()
                .all(|channel| channel.messages > 5 && channel.trail.is_empty())
        );
    }
    let combined = world.combine();
    assert!(combined.proves_totals(), "{combined:#?}");
    assert_eq!((combined.named, combined.result), (vec![], Some(expected)));
}

/// What a party received of its session: a message for each round or more, and the parameters that it ran with.
fn received(world: &World, role: Role) -> (usize, TallyParams) {
    let logs = session_logs(world.logs(), role);
    let mut log = logs
        .open(role, &scene().election, BoxId(BOX), SESSION)
        .expect("opens");
    let (mut labels, mut ran) = (std::collections::HashSet::new(), None);
    while let Some(entry) = log.next_entry().expect("reads") {
        match entry {
            Entry::Received { from, label, .. } => assert!(labels.insert((from, label.to_bytes()))),
            Entry::Input { params, .. } => ran = Some(params),
            _ => {}
        }
    }
    (labels.len(), ran.expect("it tallied"))
}

#[tokio::test(flavor = "multi_thread")]
async fn distant_parties_run_with_fewer_rounds_and_are_audited_by_what_was_agreed() {
    // Too many rows to compare all pairs at once where rounds are cheap, few enough where they are not.
    let make = |network| Election::new(300, 400, 40, 20, 40).over(network);
    let mut messages = Vec::new();
    for network in Network::ALL {
        let mut world = World::new(make(network), pace()).await;
        let events = world.session(1).await;
        for (role, event) in Role::ALL.into_iter().zip(&events) {
            assert_eq!(
                world.result(role, event),
                world.election.count(),
                "{network}, {role}"
            );
            let audit = world.audit(role);
            assert_eq!(failed(&audit), [], "{network}, {role}: {:#?}", audit.items);
            let (seen, params) = received(&world, role);
            assert_eq!(params.sort, network.sort_params(), "{network}, {role}");
            messages.push(seen);
        }
        // Under a manifest that says otherwise the same log does not pass.
        for other in Network::ALL.into_iter().filter(|other| *other != network) {
            world.election = Arc::new(make(other));
            for role in Role::ALL {
                assert!(
                    failed(&world.audit(role)).contains(&Check::Input),
                    "{network}, {role}"
                );
            }
        }
    }
    for (near, far) in messages[..3].iter().zip(&messages[3..]) {
        assert!(far < near, "{far} messages over a distance, {near} nearby");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parties_that_are_not_agreed_on_the_network_have_no_result() {
    let make = |network| Election::new(300, 400, 40, 20, 41).over(network);
    let mut world = World::new(make(Network::Near), pace()).await;
    let sealed = std::mem::replace(&mut world.election, Arc::new(make(Network::Far)));
    world.restart(Role::P1);
    world.election = sealed;
    let events = world.session(1).await;
    for (role, event) in Role::ALL.into_iter().zip(&events) {
        assert!(matches!(event, Event::Abort(_)), "{role}: {event:?}");
    }
    assert!(failed(&world.audit(Role::P1)).contains(&Check::Input));
    for role in [Role::P2, Role::P3] {
        assert_eq!(failed(&world.audit(role)), [], "{role}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_the_others_signed_too_is_the_partys_and_one_that_only_they_signed_is_not() {
    let world = tallied(39).await;
    let payload = world.election.count().encode_to_vec();
    let signed_by = |roles: &[Role]| {
        let mut envelope = Envelope::unsigned(payload.clone());
        for role in roles {
            envelope.add_signature(world.signer(*role).sign(Kind::Result, &payload));
        }
        envelope
    };
    let audit = |result: Envelope| {
        let logs = session_logs(world.logs(), Role::P2);
        let log = logs.open(Role::P2, &scene().election, BoxId(BOX), SESSION);
        let signed = SignedEnd {
            result: Some(result),
            abort: None,
        };
        let audit = audit_session(
            log.expect("opens"),
            Role::P2,
            &scene(),
            SESSION,
            world.ready(Role::P2),
            &signed,
        );
        failed(&audit.expect("a log that opens"))
    };
    assert_eq!(audit(signed_by(&Role::ALL)), []);
    assert_eq!(audit(signed_by(&[Role::P3, Role::P2])), []);
    assert_eq!(audit(signed_by(&[Role::P1, Role::P3])), [Check::Outcome]);
    assert_eq!(audit(signed_by(&[])), [Check::Outcome]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_without_ballots_passes() {
    let world = World::new(Election::new(3, 0, 0, 0, 32), pace()).await;
    world.session(1).await;
    for role in Role::ALL {
        let audit = world.audit(role);
        assert_eq!(failed(&audit), [], "{role}: {:#?}", audit.items);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_altered_entry_of_a_log_is_found() {
    let world = tallied(33).await;
    assert_eq!(
        failed(&world.audit_altered(|entry| vec![entry])),
        [],
        "the copy itself holds"
    );

    // A swapped seed: any of the four contributions.
    for which in 0..4 {
        let mut seen = 0;
        let audit = world.audit_altered(|entry| match entry {
            Entry::Contribution { from, to, .. } => {
                seen += 1;
                let secret = if seen - 1 == which {
                    Contribution::fresh(&mut StdRng::seed_from_u64(9))
                } else {
                    return vec![entry];
                };
                vec![Entry::Contribution { from, to, secret }]
            }
            other => vec![other],
        });
        assert!(
            failed(&audit).contains(&Check::Seeds),
            "contribution {which}: {audit:#?}"
        );
    }
    // Starts of somebody else's making.
    let audit = world.audit_altered(|entry| match entry {
        Entry::Starts([a, b, c]) => vec![Entry::Starts([a, c, b])],
        other => vec![other],
    });
    assert!(failed(&audit).contains(&Check::Starts));
    // The fingerprint of another input, or other parameters.
    let audit = world.audit_altered(|entry| match entry {
        Entry::Input {
            mut fingerprint,
            params,
        } => {
            fingerprint[0] ^= 1;
            vec![Entry::Input { fingerprint, params }]
        }
        other => vec![other],
    });
    assert_eq!(failed(&audit), [Check::Input]);
    let audit = world.audit_altered(|entry| match entry {
        Entry::Input {
            fingerprint,
            mut params,
        } => {
            params.counts = OpenedCounts::Nothing;
            vec![Entry::Input { fingerprint, params }]
        }
        other => vec![other],
    });
    assert!(failed(&audit).contains(&Check::Input));
    // One bit of any message, a message left out, repeated, or moved behind the next.
    let messages = world.audit(Role::P1).channels[2].messages + world.audit(Role::P1).channels[3].messages;
    for at in (0..messages).step_by(41) {
        for alteration in 0..4 {
            let (mut seen, mut held) = (0, None);
            let audit = world.audit_altered(|entry| match entry {
                Entry::Received {
                    from,
                    label,
                    mut message,
                } if label.scope.phase != tally_mpc::Phase::Barrier => {
                    seen += 1;
                    let here = seen - 1 == at;
                    if here && alteration == 0 {
                        match message.first_mut() {
                            Some(byte) => *byte ^= 1,
                            None => message.push(1),
                        }
                    }
                    let again = here.then(|| message.clone());
                    let entry = Entry::Received { from, label, message };
                    match (here, alteration) {
                        (true, 1) => vec![],
                        (true, 2) => {
                            let message = again.expect("cloned here");
                            vec![entry, Entry::Received { from, label, message }]
                        }
                        (true, 3) => {
                            held = Some(entry);
                            vec![]
                        }
                        _ => std::iter::once(entry).chain(held.take()).collect(),
                    }
                }
                other => vec![other],
            });
            // The last opening of the totals may be the one that was not needed.
            let of_log = [Check::Statements, Check::Replay, Check::Outcome];
            let found = failed(&audit);
            assert!(
                found.iter().any(|check| of_log.contains(check)),
                "message {at} of {messages}, alteration {alteration}: {:#?}",
                audit.items
            );
        }
    }
    // What it signed: another statement, or none.
    for alteration in 0..3 {
        let mut seen = 0;
        let audit = world.audit_altered(|entry| match entry {
            Entry::Stated {
                mut statement,
                mut signature,
            } => {
                seen += 1;
                match (seen, alteration) {
                    (2, 0) => statement[100] ^= 1,
                    (2, 1) => signature[9] ^= 1,
                    (2, 2) => return vec![],
                    _ => {}
                }
                vec![Entry::Stated { statement, signature }]
            }
            other => vec![other],
        });
        assert!(
            failed(&audit).contains(&Check::Statements),
            "alteration {alteration}"
        );
    }
    // The end left out.
    let audit = world.audit_altered(|entry| match entry {
        Entry::Ended { .. } => vec![],
        other => vec![other],
    });
    assert_eq!(failed(&audit), [Check::SessionLog, Check::Outcome]);
    assert_eq!(audit.end, End::Unfinished);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_the_log_does_not_lead_to_is_found() {
    let world = tallied(34).await;
    let logs = session_logs(world.logs(), Role::P2);
    let open = || {
        logs.open(Role::P2, &scene().election, BoxId(BOX), SESSION)
            .expect("opens")
    };
    let mut other = world.election.count();
    other.contests[0].totals[0] += 1;
    let other = world
        .signer(Role::P2)
        .seal_envelope(Kind::Result, other.encode_to_vec());
    for result in [Some(other), None] {
        let signed = SignedEnd { result, abort: None };
        let audit = audit_session(
            open(),
            Role::P2,
            &scene(),
            SESSION,
            world.ready(Role::P2),
            &signed,
        );
        assert_eq!(failed(&audit.expect("a log that opens")), [Check::Outcome]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_that_tallies_another_input_is_named_alone() {
    let mut world = World::new(Election::new(9, 20, 3, 1, 35), pace()).await;
    // P_1 brings in shares of other ballots.
    let other = Election::new(9, 20, 3, 1, 36);
    let sealed = std::mem::replace(&mut world.election, Arc::new(other));
    world.restart(Role::P1);
    world.election = sealed;
    let events = world.session(1).await;
    for (role, event) in Role::ALL.into_iter().zip(&events) {
        assert!(matches!(event, Event::Abort(_)), "{role}: {event:?}");
    }
    let audit = world.audit(Role::P1);
    assert!(failed(&audit).contains(&Check::Input), "{:#?}", audit.items);
    assert!(failed(&audit).contains(&Check::Statements), "{:#?}", audit.items);
    for role in [Role::P2, Role::P3] {
        let audit = world.audit(role);
        assert_eq!(failed(&audit), [], "{role}: {:#?}", audit.items);
        assert!(matches!(audit.end, End::Stopped(_)));
    }
    let combined = world.combine();
    assert_eq!(combined.named, [vec![Role::P1]], "{combined:#?}");
    let convicted = combined.pairs.iter().filter(|pair| {
        matches!(
            pair.verdict,
            PairVerdict::Differ {
                blame: Blame::Sender,
                ..
            }
        )
    });
    assert!(convicted.clone().count() >= 1, "{combined:#?}");
    assert!(convicted.into_iter().all(|pair| pair.from == Role::P1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_altered_between_two_parties_names_the_two_and_clears_the_third() {
    let world = World::new(Election::new(9, 20, 3, 1, 37), pace()).await;
    world.tamper(Tamper::Flip);
    let events = world.session(1).await;
    assert!(
        events.iter().all(|event| matches!(event, Event::Abort(_))),
        "{events:?}"
    );
    for role in Role::ALL {
        let audit = world.audit(role);
        assert_eq!(
            failed(&audit),
            [],
            "{role} did what an honest party does: {:#?}",
            audit.items
        );
    }
    let combined = world.combine();
    assert_eq!(combined.named, [vec![Role::P1, Role::P2]], "{combined:#?}");
    assert!(!combined.proves_totals());
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_stopped_for_want_of_messages_pass() {
    for tamper in [
        Tamper::Contribution,
        Tamper::Repeat,
        Tamper::Truncate,
        Tamper::Relabel,
        Tamper::Early,
        Tamper::Close,
    ] {
        let world = World::new(Election::new(6, 9, 2, 1, 38), pace()).await;
        world.tamper(tamper);
        world.session(1).await;
        for role in Role::ALL {
            let audit = world.audit(role);
            assert_eq!(failed(&audit), [], "{tamper:?}, {role}: {:#?}", audit.items);
            assert!(matches!(audit.end, End::Stopped(_)), "{tamper:?}, {role}");
        }
        let combined = world.combine();
        assert!(combined.named.is_empty(), "{tamper:?}: {combined:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_byte_of_the_file_and_a_cut_file_are_found() {
    let world = tallied(39).await;
    let path = session_logs(world.logs(), Role::P3).path(&scene().election, BoxId(BOX), SESSION);
    let bytes = std::fs::read(&path).expect("a log");
    let mut altered = bytes.clone();
    altered[bytes.len() / 2] ^= 1;
    std::fs::write(&path, &altered).expect("written");
    assert!(matches!(
        world.audit_in(world.logs(), Role::P3),
        Err(LogError::Altered { .. })
    ));
    std::fs::write(&path, &bytes[..bytes.len() * 3 / 4]).expect("written");
    let audit = world.audit(Role::P3);
    assert!(failed(&audit).contains(&Check::SessionLog), "{:#?}", audit.items);
    assert_eq!(audit.end, End::Unfinished);
}
