//! Whole sessions between three parties over loopback TLS, and what happens when a frame, a Start or a party is not as it should be.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt as _, future::BoxFuture};
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tally_mpc::layout::split_credential;
use tally_mpc::{
    BallotKind, BallotLayout, Choice, Contest, Counts, OpenedCounts, Outcome, Shape, TallyInput, TallyParams,
};
use tally_proto::connect::{Dial, mutual_tls};
use tally_proto::envelope::{Envelope, Kind, PublicKey, Signer};
use tally_proto::identity::Address;
use tally_proto::ids::{BoxId, ElectionId, Hash32, Role, RoleExt as _};
use tally_proto::pki::{Anchor, Authority, Leaf, PeerRole, Trust};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::result::BoxResult;
use tally_proto::wire;
use tally_proto::wire::peer_server::PeerServer;
use tally_proto::wire::tally_event::Event;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::transport::server::TcpIncoming;

use super::log::SessionLogs;
use super::*;
use crate::entropy::SeededEntropy;
use crate::roles::Roles;
use crate::rpc::seams::TallyState;
use crate::store::sim::SimDisk;
use crate::store::vault::StorageKey;
use crate::store::{Storage, Store};

const ELECTION: &str = "ward-7";
const BOX: u32 = 3;

/// A small election and its plain count.
struct Election {
    layout: BallotLayout,
    shape: Shape,
    voters: Vec<(bool, bool, u64)>,
    ballots: Vec<(BallotKind, u32, u64, Choice)>,
    seed: u64,
}

impl Election {
    fn new(voters: u32, online: u32, electronic: u32, paper: u32, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let bits = BallotLayout::index_bits_for(voters);
        let layout = BallotLayout::new(bits, vec![Contest::Single { options: 4 }]).expect("a layout");
        let roll: Vec<(bool, bool, u64)> = (0..voters)
            .map(|_| {
                (
                    rng.random_range(0..9) != 0,
                    rng.random_range(0..9) != 0,
                    rng.random(),
                )
            })
            .collect();
        let ballots = (0..online + electronic + paper)
            .map(|i| {
                let kind = match i {
                    i if i < online => BallotKind::Online,
                    i if i < online + electronic => BallotKind::Electronic,
                    _ => BallotKind::Paper,
                };
                let index = rng.random_range(0..1u32 << bits);
                let held = roll.get(index as usize).map_or(0, |voter| voter.2);
                let credential = if rng.random_range(0..5) == 0 {
                    rng.random()
                } else {
                    held
                };
                let choice = match rng.random_range(0..6) {
                    0 => Choice::Spoilt,
                    1 => Choice::Blank,
                    n => Choice::Options(vec![n - 1]),
                };
                (kind, index, credential, choice)
            })
            .collect();
        Self {
            layout,
            shape: Shape {
                voters,
                online,
                electronic,
                paper,
            },
            voters: roll,
            ballots,
            seed,
        }
    }

    fn input(&self, role: Role) -> TallyInput {
        let mut rng = StdRng::seed_from_u64(self.seed + 1);
        let (own, next) = (role.slot(), role.next().slot());
        let mut input = TallyInput::builder(role, &self.layout, self.shape).expect("fits");
        for (live, enrolled, credential) in &self.voters {
            let shares = split_credential(*credential, &mut rng);
            input
                .push_voter(*live, *enrolled, *shares[own], *shares[next])
                .expect("in order");
        }
        for (kind, index, credential, choice) in &self.ballots {
            let plain = self
                .layout
                .pack(*index, *credential, std::slice::from_ref(choice))
                .expect("packs");
            let shares = self.layout.split(&plain, &mut rng).expect("splits");
            input
                .push_ballot(*kind, &shares[own], &shares[next])
                .expect("in order");
        }
        input.finish().expect("complete")
    }

    fn count(&self) -> wire::Result {
        let mut last = vec![None; self.voters.len()];
        for (kind, index, credential, choice) in &self.ballots {
            let Some((live, enrolled, true_one)) = self.voters.get(*index as usize) else {
                continue;
            };
            if *live && (*kind != BallotKind::Online || (*enrolled && credential == true_one)) {
                last[*index as usize] = Some((*kind, choice));
            }
        }
        let mut contest = wire::ContestResult {
            contest: 9,
            totals: vec![0; 4],
            spoilt: 0,
        };
        let (mut online, mut station) = (0, 0);
        for (kind, choice) in last.into_iter().flatten() {
            match kind {
                BallotKind::Online => online += 1,
                BallotKind::Electronic => station += 1,
                BallotKind::Paper => continue,
            }
            match choice {
                Choice::Options(chosen) => contest.totals[chosen[0] as usize - 1] += 1,
                Choice::Spoilt => contest.spoilt += 1,
                _ => {}
            }
        }
        wire::Result {
            seal_hash: vec![7; 32],
            election: ELECTION.into(),
            r#box: BOX,
            contests: vec![contest],
            counted_online: Some(online),
            counted_station: Some(station),
        }
    }
}

fn result_of(outcome: &Outcome) -> wire::Result {
    let contest = &outcome.contests[0];
    let Counts::PerChannel { online, electronic } = outcome.counts else {
        panic!("asked for")
    };
    wire::Result {
        seal_hash: vec![7; 32],
        election: ELECTION.into(),
        r#box: BOX,
        contests: vec![wire::ContestResult {
            contest: 9,
            totals: contest.options.clone(),
            spoilt: contest.spoilt,
        }],
        counted_online: Some(online),
        counted_station: Some(electronic),
    }
}

struct Synthetic {
    election: Arc<Election>,
    role: Role,
    keys: [PublicKey; 3],
}

impl TallySource for Synthetic {
    fn ready(&self, election: &ElectionId, of_box: BoxId) -> Result<Ready, Refusal> {
        if (election.as_str(), of_box.get()) != (ELECTION, BOX) {
            return Err(Refusal::new(Reason::BoxUnknown, "no such box here"));
        }
        let (rows, role) = (Arc::clone(&self.election), self.role);
        Ok(Ready {
            seal_hash: Hash32([7; 32]),
            keys: self.keys,
            params: TallyParams {
                counts: OpenedCounts::PerChannel,
                ..TallyParams::default()
            },
            input: Box::new(move || Ok(rows.input(role))),
            conclude: Box::new(|outcome| BoxResult::from_wire(&result_of(outcome))),
        })
    }
}

/// What a saboteur on P1's connection to P2 does to the frames that P2 receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tamper {
    Nothing,
    Contribution,
    OtherSession,
    Repeat,
    Leave,
    Swap,
    Truncate,
    Empty,
    TooLong,
    Relabel,
    Kind,
    Early,
    Close,
    Silent,
}

/// The frame that is tampered with: the first message of P1 to P2, a part of the shuffle.
const AT: u64 = 1;

impl Tamper {
    fn apply(self, frames: Frames) -> Frames {
        let mut held = None;
        frames
            .flat_map(move |frame| {
                let Ok(mut frame) = frame else {
                    return futures::stream::iter(vec![frame]).boxed();
                };
                let here = frame.sequence == AT;
                let out = match self {
                    Tamper::Contribution if frame.sequence == 0 => {
                        let mut bytes = frame.payload.to_vec();
                        bytes[5] ^= 1;
                        frame.payload = bytes.into();
                        vec![frame]
                    }
                    Tamper::OtherSession if here => {
                        frame.session = Bytes::from_static(&[9; 32]);
                        vec![frame]
                    }
                    Tamper::Repeat if here => vec![frame.clone(), frame],
                    Tamper::Leave if here => vec![],
                    Tamper::Swap if here => {
                        held = Some(frame);
                        vec![]
                    }
                    Tamper::Swap if frame.sequence == AT + 1 => {
                        let mut both = vec![frame];
                        both.extend(held.take());
                        both
                    }
                    Tamper::Truncate if here => {
                        frame.payload = frame.payload.slice(..frame.payload.len() - 1);
                        vec![frame]
                    }
                    Tamper::Empty if here => {
                        frame.payload = Bytes::new();
                        vec![frame]
                    }
                    Tamper::TooLong if here => {
                        frame.payload = Bytes::from(vec![0; tally_mpc::MAX_MESSAGE_BYTES + 1]);
                        vec![frame]
                    }
                    Tamper::Relabel if here => {
                        let mut label = frame.label.to_vec();
                        label[9] ^= 1;
                        frame.label = label.into();
                        vec![frame]
                    }
                    Tamper::Kind if here => {
                        frame.kind = 77;
                        vec![frame]
                    }
                    Tamper::Close if here => {
                        frame.kind = wire::FrameKind::Close.into();
                        frame.payload = Bytes::new();
                        vec![frame]
                    }
                    Tamper::Early if frame.sequence >= AT => {
                        return futures::stream::iter([Err(Status::unavailable("cut"))]).boxed();
                    }
                    Tamper::Silent if frame.sequence >= AT => {
                        return futures::stream::pending().boxed();
                    }
                    _ => vec![frame],
                };
                futures::stream::iter(out.into_iter().map(Ok).collect::<Vec<_>>()).boxed()
            })
            .boxed()
    }
}

struct World {
    sessions: [Sessions; 3],
    stores: [Arc<Store>; 3],
    signers: [Arc<Signer>; 3],
    keys: [PublicKey; 3],
    election: Arc<Election>,
    endpoints: [Endpoints; 3],
    tamper: Arc<Mutex<Tamper>>,
    /// Where each listener's streams go; replaced when a party restarts.
    current: [Arc<Mutex<Sessions>>; 3],
    servers: Vec<tokio::task::JoinHandle<()>>,
    logs: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        for server in &self.servers {
            server.abort();
        }
    }
}

fn patient(message: Duration) -> Pace {
    Pace {
        message,
        ..Pace::default()
    }
}

fn pace() -> [Pace; 3] {
    [patient(Duration::from_secs(30)); 3]
}

impl World {
    async fn new(election: Election, pace: [Pace; 3]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut rng = StdRng::seed_from_u64(election.seed);
        let election = Arc::new(election);
        let authorities = Role::ALL.map(|role| Authority::generate(&role.to_string()).expect("made"));
        let anchors = [0, 1, 2].map(|i: usize| Anchor::from_pem(authorities[i].cert_pem()).expect("anchor"));
        let trust = Role::ALL.into_iter().fold(Trust::new(), |t, role| {
            t.party(role, anchors[role.slot()].clone())
        });
        let leaves: [Leaf; 3] = Role::ALL.map(|role| {
            authorities[role.slot()]
                .issue(&PeerRole::Party(role), &["localhost"])
                .expect("issued")
        });
        let signers = Role::ALL.map(|_| Arc::new(Signer::generate(&mut rng)));
        let keys = [0, 1, 2].map(|i: usize| signers[i].public_key());
        let mut listeners = Vec::new();
        for _ in Role::ALL {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.expect("bound"));
        }
        let ports: Vec<u16> = listeners
            .iter()
            .map(|l| l.local_addr().expect("bound").port())
            .collect();
        let endpoints = Role::ALL.map(|own| {
            Role::ALL.map(|role| {
                let address = Address::new("peer", &format!("https://localhost:{}", ports[role.slot()]))
                    .expect("address");
                let dial = Dial {
                    address: &address,
                    anchor: &anchors[role.slot()],
                    leaf: Some(&leaves[own.slot()]),
                };
                (role != own).then(|| dial.endpoint().expect("endpoint"))
            })
        });
        let stores = Role::ALL.map(|role| {
            Arc::new(Store::open(Storage::Backend(Box::new(SimDisk::new())), role.index()).expect("a store"))
        });
        let logs = tempfile::tempdir().expect("a directory");
        let make = |role: Role| {
            let i = role.slot();
            Sessions::new(SessionsParts {
                own: role,
                signer: Arc::clone(&signers[i]),
                store: Arc::clone(&stores[i]),
                entropy: Arc::new(SeededEntropy::new(100 + i as u64)),
                source: Arc::new(Synthetic {
                    election: Arc::clone(&election),
                    role,
                    keys,
                }),
                endpoints: endpoints[i].clone(),
                pace: pace[i],
                logs: session_logs(logs.path(), role),
            })
        };
        let sessions = Role::ALL.map(make);
        let current = [0, 1, 2].map(|i: usize| Arc::new(Mutex::new(sessions[i].clone())));
        let tamper = Arc::new(Mutex::new(Tamper::Nothing));
        let mut servers = Vec::new();
        for (role, listener) in Role::ALL.into_iter().zip(listeners) {
            let (at, tamper) = (Arc::clone(&current[role.slot()]), Arc::clone(&tamper));
            let answer =
                move |caller: Role, mut frames: Frames| -> BoxFuture<'static, Result<Frames, Refusal>> {
                    let sessions = at.lock().expect("not poisoned").clone();
                    if (caller, role) == (Role::P1, Role::P2) {
                        frames = tamper.lock().expect("not poisoned").apply(frames);
                    }
                    Box::pin(async move { sessions.session(caller, frames).await })
                };
            let peer = SessionPeer::new(Roles::new(role, trust.clone()), Arc::new(answer));
            let server = transport::for_sessions(tonic::transport::Server::builder())
                .tls_config(mutual_tls(&leaves[role.slot()], &trust))
                .expect("tls")
                .add_service(PeerServer::new(peer))
                .serve_with_incoming(transport::buffered(TcpIncoming::from(listener)));
            servers.push(tokio::spawn(async move { server.await.expect("serves") }));
        }
        Self {
            sessions,
            stores,
            signers,
            keys,
            election,
            endpoints,
            tamper,
            current,
            servers,
            logs,
        }
    }

    /// The party's server starts anew on the same store.
    fn restart(&mut self, role: Role) {
        let i = role.slot();
        self.sessions[i] = Sessions::new(SessionsParts {
            own: role,
            signer: Arc::clone(&self.signers[i]),
            store: Arc::clone(&self.stores[i]),
            entropy: Arc::new(SeededEntropy::new(200 + i as u64)),
            source: Arc::new(Synthetic {
                election: Arc::clone(&self.election),
                role,
                keys: self.keys,
            }),
            endpoints: self.endpoints[i].clone(),
            pace: pace()[i],
            logs: session_logs(self.logs.path(), role),
        });
        *self.current[i].lock().expect("not poisoned") = self.sessions[i].clone();
    }

    fn tamper(&self, tamper: Tamper) {
        *self.tamper.lock().expect("not poisoned") = tamper;
    }

    async fn prepare(&self, number: u64) -> Vec<wire::Envelope> {
        let mut starts = Vec::new();
        for sessions in &self.sessions {
            starts.push(prepare(sessions, number).await.expect("prepared").to_wire());
        }
        starts
    }

    /// Runs the session of `number` at all three and returns the last event of each.
    async fn session(&self, number: u64) -> [Event; 3] {
        let starts = self.prepare(number).await;
        let [a, b, c] = &self.sessions;
        let (a, b, c) = tokio::join!(last(a, &starts), last(b, &starts), last(c, &starts));
        [a, b, c]
    }

    fn result(&self, role: Role, event: &Event) -> wire::Result {
        let Event::Result(envelope) = event else {
            panic!("{role} has no result: {event:?}")
        };
        let envelope = Envelope::from_wire(envelope.clone()).expect("well formed");
        envelope
            .verify_all(Kind::Result, &[self.keys[role.slot()]])
            .expect("signed by its party");
        wire::Result::decode(envelope.payload().clone()).expect("a Result")
    }

    fn abort(&self, role: Role, event: &Event) -> wire::Abort {
        let Event::Abort(envelope) = event else {
            panic!("{role} did not abort: {event:?}")
        };
        let envelope = Envelope::from_wire(envelope.clone()).expect("well formed");
        envelope
            .verify_all(Kind::Abort, &[self.keys[role.slot()]])
            .expect("signed by its party");
        wire::Abort::decode(envelope.payload().clone()).expect("an Abort")
    }
}

fn session_logs(directory: &std::path::Path, role: Role) -> SessionLogs {
    let key = StorageKey::new([role.index(); 32]);
    SessionLogs::new(directory.join(role.to_string()), Arc::new(key))
}

async fn prepare(sessions: &Sessions, number: u64) -> Result<Envelope, Refusal> {
    sessions
        .prepare(wire::PrepareRequest {
            election: ELECTION.into(),
            r#box: BOX,
            session: number,
        })
        .await
}

fn request(starts: &[wire::Envelope]) -> wire::TallyRequest {
    wire::TallyRequest {
        election: ELECTION.into(),
        r#box: BOX,
        starts: starts.to_vec(),
    }
}

async fn refused(sessions: &Sessions, starts: &[wire::Envelope]) -> Refusal {
    match sessions.tally(request(starts)).await {
        Ok(_) => panic!("must be refused"),
        Err(refusal) => refusal,
    }
}

async fn last(sessions: &Sessions, starts: &[wire::Envelope]) -> Event {
    let mut events = sessions.tally(request(starts)).await.expect("begins");
    let mut last = None;
    while let Some(event) = events.next().await {
        last = event.expect("no failure").event;
    }
    last.expect("an end")
}

#[tokio::test(flavor = "multi_thread")]
async fn three_parties_tally_like_a_plain_count() {
    for (voters, online, electronic, paper, seed) in [(1, 3, 0, 0, 1), (40, 130, 21, 9, 2), (7, 0, 0, 0, 3)] {
        let world = World::new(Election::new(voters, online, electronic, paper, seed), pace()).await;
        let events = world.session(1).await;
        let expected = world.election.count();
        let mut payloads = Vec::new();
        for (role, event) in Role::ALL.into_iter().zip(&events) {
            assert_eq!(world.result(role, event), expected, "{role}");
            let Event::Result(envelope) = event else {
                unreachable!("checked above")
            };
            payloads.push(envelope.payload.clone());
        }
        assert!(
            payloads.iter().all(|payload| *payload == payloads[0]),
            "the same bytes at every party"
        );
        let state = world.sessions[0]
            .state(&ELECTION.parse().expect("a slug"), BoxId(BOX))
            .await
            .expect("readable");
        assert_eq!(
            state,
            TallyState {
                running: false,
                done: true,
                last_session: 1,
                trouble: String::new()
            }
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tallied_box_returns_its_result_and_opens_no_session() {
    let mut world = World::new(Election::new(5, 9, 2, 1, 4), pace()).await;
    let starts = world.prepare(1).await;
    let [a, b, c] = &world.sessions;
    let (first, _, _) = tokio::join!(last(a, &starts), last(b, &starts), last(c, &starts));
    world.restart(Role::P1);
    for sessions in &world.sessions {
        assert_eq!(
            prepare(sessions, 2).await.expect_err("refused").reason,
            Reason::TallyAlready
        );
        let mut events = sessions.tally(request(&starts)).await.expect("a stream");
        let stored = events
            .next()
            .await
            .expect("an event")
            .expect("the stored result")
            .event
            .expect("set");
        if std::ptr::eq(sessions, &world.sessions[0]) {
            assert_eq!(stored, first);
        }
        let refusal = events
            .next()
            .await
            .expect("a second item")
            .expect_err("a refusal");
        assert_eq!(
            Refusal::from_status(&refusal).expect("with its reason").reason,
            Reason::TallyAlready
        );
        assert!(events.next().await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_not_in_order_stops_the_session_and_names_its_sender() {
    // Enough rows for the shuffle to take two messages, one right after the other.
    let world = World::new(Election::new(30_000, 29_000, 600, 300, 5), pace()).await;
    let cases = [
        (Tamper::Contribution, Reason::TallyCheckFailed),
        (Tamper::OtherSession, Reason::TallyCheckFailed),
        (Tamper::Repeat, Reason::TallyCheckFailed),
        (Tamper::Leave, Reason::TallyCheckFailed),
        (Tamper::Swap, Reason::TallyCheckFailed),
        (Tamper::Truncate, Reason::TallyCheckFailed),
        (Tamper::Empty, Reason::TallyCheckFailed),
        (Tamper::TooLong, Reason::TallyCheckFailed),
        (Tamper::Relabel, Reason::TallyCheckFailed),
        (Tamper::Kind, Reason::TallyCheckFailed),
        (Tamper::Close, Reason::TallyAborted),
        (Tamper::Early, Reason::PartyUnreachable),
    ];
    for (number, (tamper, reason)) in (1..).zip(cases) {
        world.tamper(tamper);
        let events = world.session(number).await;
        let abort = world.abort(Role::P2, &events[1]);
        assert_eq!(abort.reason, reason.code(), "{tamper:?}: {abort:?}");
        assert_eq!(abort.suspects, [1], "{tamper:?}: {abort:?}");
        assert_eq!(abort.channel, "P1-P2", "{tamper:?}");
        let step = if tamper == Tamper::Contribution {
            "opening"
        } else {
            "shuffle step 0"
        };
        assert!(
            abort.step.starts_with(step) && !abort.proved,
            "{tamper:?}: {abort:?}"
        );
        assert_eq!((abort.session, abort.party), (number, 2));
        for role in [Role::P1, Role::P3] {
            // They hear of it from P2 and say that it was P2 who stopped.
            let abort = world.abort(role, &events[role.slot()]);
            assert!(
                !abort.suspects.is_empty() && !abort.suspects.contains(&role.number()),
                "{tamper:?}: {abort:?}"
            );
        }
        let state = world.sessions[1]
            .state(&ELECTION.parse().expect("a slug"), BoxId(BOX))
            .await
            .expect("readable");
        assert!(!state.running && !state.done && state.last_session == number && !state.trouble.is_empty());
    }
    // An aborted session is followed by another.
    world.tamper(Tamper::Nothing);
    let events = world.session(50).await;
    assert_eq!(world.result(Role::P2, &events[1]), world.election.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_party_is_overdue_not_waited_for() {
    // Only P2 is impatient: who waits for whom first must not depend on the machine's load.
    let [long, ..] = pace();
    let short = [long, patient(Duration::from_millis(700)), long];
    let mut world = World::new(Election::new(30, 60, 6, 3, 6), short).await;
    world.tamper(Tamper::Silent);
    let began = Instant::now();
    let events = world.session(1).await;
    assert!(began.elapsed() < Duration::from_secs(15));
    let abort = world.abort(Role::P2, &events[1]);
    assert_eq!(
        (abort.reason.as_str(), abort.suspects.as_slice()),
        (Reason::TallyOverdue.code(), &[1][..])
    );
    // The signed Abort outlives the server.
    world.restart(Role::P2);
    let state = world.sessions[1]
        .state(&ELECTION.parse().expect("a slug"), BoxId(BOX))
        .await
        .expect("readable");
    assert!(
        state.trouble.contains("tally.overdue; suspected: P1"),
        "{state:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_that_never_comes_is_overdue() {
    let short = [patient(Duration::from_millis(500)); 3];
    let world = World::new(Election::new(3, 4, 0, 0, 7), short).await;
    let starts = world.prepare(1).await;
    // P3 is never told to tally.
    let (a, b) = tokio::join!(
        last(&world.sessions[0], &starts),
        last(&world.sessions[1], &starts)
    );
    for (role, event) in [(Role::P1, a), (Role::P2, b)] {
        let abort = world.abort(role, &event);
        assert_eq!(abort.step, "opening");
        assert!(
            abort.suspects.iter().all(|suspect| *suspect != role.number()),
            "{abort:?}"
        );
        assert_eq!(abort.suspects.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_newest_prepared_session_runs() {
    let world = World::new(Election::new(4, 6, 1, 0, 8), pace()).await;
    let old = world.prepare(1).await;
    let new = world.prepare(2).await;
    let refusal = refused(&world.sessions[0], &old).await;
    assert_eq!(refusal.reason, Reason::SessionUnknown, "{refusal}");
    let mixed = [new[0].clone(), old[1].clone(), new[2].clone()];
    assert_eq!(
        refused(&world.sessions[0], &mixed).await.reason,
        Reason::SessionStale
    );
    assert_eq!(
        refused(&world.sessions[0], &new[..2]).await.reason,
        Reason::MessageMalformed
    );
    let unsigned = wire::Envelope {
        signatures: vec![],
        ..new[1].clone()
    };
    let forged = [new[0].clone(), unsigned, new[2].clone()];
    assert_eq!(
        refused(&world.sessions[0], &forged).await.reason,
        Reason::SignatureBad
    );
    for number in [0, 1, 2, 2 + (1 << 20) + 1] {
        let refusal = prepare(&world.sessions[0], number).await.expect_err("refused");
        assert_eq!(refusal.reason, Reason::SessionStale, "{number}");
        assert!(refusal.detail.contains("from 3 to"), "{refusal}");
    }
    // The refusals used nothing up.
    let [a, b, c] = &world.sessions;
    let (a, _, _) = tokio::join!(last(a, &new), last(b, &new), last(c, &new));
    assert_eq!(world.result(Role::P1, &a), world.election.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_party_refuses_the_session_it_had_prepared() {
    let mut world = World::new(Election::new(4, 6, 1, 0, 9), pace()).await;
    let starts = world.prepare(1).await;
    world.restart(Role::P2);
    let slug = ELECTION.parse().expect("a slug");
    let state = world.sessions[1]
        .state(&slug, BoxId(BOX))
        .await
        .expect("readable");
    assert_eq!(
        state,
        TallyState {
            last_session: 1,
            ..TallyState::default()
        }
    );
    let refusal = refused(&world.sessions[1], &starts).await;
    assert_eq!(refusal.reason, Reason::SessionUnknown, "{refusal}");
    assert_eq!(
        prepare(&world.sessions[1], 1).await.expect_err("refused").reason,
        Reason::SessionStale
    );
    let events = world.session(2).await;
    assert_eq!(world.result(Role::P2, &events[1]), world.election.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn preparing_anew_ends_the_session_that_hangs() {
    let world = World::new(Election::new(4, 6, 1, 0, 10), pace()).await;
    let starts = world.prepare(1).await;
    // Only P1 is told to tally: it waits for the others, far from its deadline, until a new session is prepared.
    let events = world.sessions[0].tally(request(&starts)).await.expect("begins");
    let began = Instant::now();
    let done = world.session(2).await;
    assert!(began.elapsed() < Duration::from_secs(15));
    assert_eq!(world.result(Role::P3, &done[2]), world.election.count());
    let events: Vec<_> = events.collect().await;
    let last = events
        .last()
        .expect("an end")
        .as_ref()
        .expect("no failure")
        .event
        .clone()
        .expect("set");
    let abort = world.abort(Role::P1, &last);
    assert_eq!(
        (abort.reason.as_str(), abort.suspects.len()),
        (Reason::TallyAborted.code(), 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_call_follows_the_running_session() {
    let world = World::new(Election::new(20, 50, 0, 0, 11), pace()).await;
    let starts = world.prepare(1).await;
    let [a, b, c] = &world.sessions;
    drop(
        a.tally(request(&starts))
            .await
            .expect("begins, and goes on without its caller"),
    );
    let (one, two, _, _) = tokio::join!(
        last(a, &starts),
        last(a, &starts),
        last(b, &starts),
        last(c, &starts)
    );
    assert_eq!(one, two);
    assert_eq!(world.result(Role::P1, &one), world.election.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_box_is_refused() {
    let world = World::new(Election::new(1, 1, 0, 0, 12), pace()).await;
    let request = wire::PrepareRequest {
        election: ELECTION.into(),
        r#box: 4,
        session: 1,
    };
    let refusal = world.sessions[0].prepare(request).await.expect_err("refused");
    assert_eq!(refusal.reason, Reason::BoxUnknown);
}
