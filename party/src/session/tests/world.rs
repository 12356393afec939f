//! Three parties over loopback TLS, with a saboteur between two of them.

use super::*;

pub(super) const ELECTION: &str = "ward-7";
pub(super) const BOX: u32 = 3;

/// A small election and its plain count.
pub(super) struct Election {
    layout: BallotLayout,
    shape: Shape,
    voters: Vec<(bool, bool, u64)>,
    ballots: Vec<(BallotKind, u32, u64, Choice)>,
    network: Network,
    seed: u64,
}

impl Election {
    pub(super) fn new(voters: u32, online: u32, electronic: u32, paper: u32, seed: u64) -> Self {
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
            network: Network::default(),
            seed,
        }
    }

    /// The same, for parties so far apart.
    pub(super) fn over(self, network: Network) -> Self {
        Self { network, ..self }
    }

    pub(super) fn input(&self, role: Role) -> TallyInput {
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

    pub(super) fn count(&self) -> wire::Result {
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

pub(super) fn result_of(outcome: &Outcome) -> wire::Result {
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

pub(super) struct Synthetic {
    election: Arc<Election>,
    role: Role,
    keys: [PublicKey; 3],
    refusing: Arc<Mutex<Vec<Role>>>,
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
                sort: self.election.network.sort_params(),
            },
            input: Box::new(move || Ok(rows.input(role))),
            conclude: {
                let refuses = self.refusing.lock().expect("not poisoned").contains(&role);
                Box::new(move |outcome| {
                    if refuses {
                        return Err(ResultError::Contests);
                    }
                    BoxResult::from_wire(&result_of(outcome))
                })
            },
        })
    }
}

/// What a saboteur on P1's connection to P2 does to the frames that P2 receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tamper {
    Nothing,
    Contribution,
    OtherSession,
    Repeat,
    Leave,
    Swap,
    Flip,
    Truncate,
    Empty,
    TooLong,
    Relabel,
    Kind,
    Early,
    Close,
    /// The connection brings nothing more; the party behind it lives.
    Silent,
    /// The party says nothing more, on no way.
    Mute,
    /// One frame comes late.
    Late,
    /// Every frame comes, a little late.
    Drip,
}

/// The frame that is tampered with: the first message of P1 to P2, a part of the shuffle.
pub(super) const AT: u64 = 1;

/// How late the late frame is.
pub(super) const LATE: Duration = Duration::from_millis(900);
/// How late each frame of a dripping connection is.
pub(super) const DRIP: Duration = Duration::from_millis(40);

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
                    Tamper::Flip if here => {
                        let mut payload = frame.payload.to_vec();
                        payload[3] ^= 1;
                        frame.payload = payload.into();
                        vec![frame]
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
                    Tamper::Late if here => {
                        return futures::stream::once(async move {
                            tokio::time::sleep(LATE).await;
                            Ok(frame)
                        })
                        .boxed();
                    }
                    Tamper::Drip => {
                        return futures::stream::once(async move {
                            tokio::time::sleep(DRIP).await;
                            Ok(frame)
                        })
                        .boxed();
                    }
                    Tamper::Silent | Tamper::Mute if frame.sequence >= AT => {
                        return futures::stream::pending().boxed();
                    }
                    _ => vec![frame],
                };
                futures::stream::iter(out.into_iter().map(Ok).collect::<Vec<_>>()).boxed()
            })
            .boxed()
    }
}

pub(super) struct World {
    pub(super) sessions: [Sessions; 3],
    disks: [SimDisk; 3],
    stores: [Arc<Store>; 3],
    signers: [Arc<Signer>; 3],
    pub(super) keys: [PublicKey; 3],
    pub(super) election: Arc<Election>,
    endpoints: [Endpoints; 3],
    tamper: Arc<Mutex<Tamper>>,
    /// Parties that refuse to sign a Result.
    refusing: Arc<Mutex<Vec<Role>>>,
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

pub(super) fn patient(message: Duration) -> Pace {
    Pace {
        message,
        ..Pace::default()
    }
}

pub(super) fn pace() -> [Pace; 3] {
    [patient(Duration::from_secs(30)); 3]
}

impl World {
    pub(super) async fn new(election: Election, pace: [Pace; 3]) -> Self {
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
        let disks = [(); 3].map(|()| SimDisk::new());
        let stores = Role::ALL.map(|role| open_store(&disks[role.slot()], role));
        let refusing = Arc::new(Mutex::new(Vec::new()));
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
                    refusing: Arc::clone(&refusing),
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
            let (at, between) = (Arc::clone(&current[role.slot()]), Arc::clone(&tamper));
            let answer =
                move |caller: Role, mut frames: Frames| -> BoxFuture<'static, Result<Frames, Refusal>> {
                    let sessions = at.lock().expect("not poisoned").clone();
                    if (caller, role) == (Role::P1, Role::P2) {
                        frames = between.lock().expect("not poisoned").apply(frames);
                    }
                    Box::pin(async move { sessions.session(caller, frames).await })
                };
            let (at, tamper, own) = (Arc::clone(&current[role.slot()]), Arc::clone(&tamper), role);
            let stranger = make(role);
            let asked = move || match *tamper.lock().expect("not poisoned") {
                // Whoever says nothing answers no question either.
                Tamper::Mute if own == Role::P1 => stranger.clone(),
                _ => at.lock().expect("not poisoned").clone(),
            };
            let peer =
                SessionPeer::new(Roles::new(role, trust.clone()), Arc::new(answer)).asking(Arc::new(asked));
            let server = transport::for_sessions(tonic::transport::Server::builder())
                .tls_config(mutual_tls(&leaves[role.slot()], &trust))
                .expect("tls")
                .add_service(PeerServer::new(peer))
                .serve_with_incoming(transport::buffered(TcpIncoming::from(listener)));
            servers.push(tokio::spawn(async move { server.await.expect("serves") }));
        }
        Self {
            sessions,
            disks,
            stores,
            signers,
            keys,
            election,
            endpoints,
            tamper,
            refusing,
            current,
            servers,
            logs,
        }
    }

    /// The party's server starts anew on the same store.
    pub(super) fn restart(&mut self, role: Role) {
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
                refusing: Arc::clone(&self.refusing),
            }),
            endpoints: self.endpoints[i].clone(),
            pace: pace()[i],
            logs: session_logs(self.logs.path(), role),
        });
        *self.current[i].lock().expect("not poisoned") = self.sessions[i].clone();
    }

    /// The box as that party's sealing hands it over.
    pub(super) fn ready(&self, role: Role) -> Ready {
        let source = Synthetic {
            election: Arc::clone(&self.election),
            role,
            keys: self.keys,
            refusing: Arc::clone(&self.refusing),
        };
        let election = ELECTION.parse().expect("a slug");
        source.ready(&election, BoxId(BOX)).expect("the one box there is")
    }

    pub(super) fn store(&self, role: Role) -> &Store {
        &self.stores[role.slot()]
    }

    /// Where the parties' session logs are.
    pub(super) fn logs(&self) -> &std::path::Path {
        self.logs.path()
    }

    /// The party's disk as it is now.
    pub(super) fn backup(&self, role: Role) -> SimDisk {
        self.disks[role.slot()].after_crash(0)
    }

    /// The party's server starts anew on a backup of its store.
    pub(super) fn restore(&mut self, role: Role, backup: &SimDisk) {
        let i = role.slot();
        self.disks[i] = backup.after_crash(0);
        self.stores[i] = open_store(&self.disks[i], role);
        self.restart(role);
    }

    /// The party's signing key.
    pub(super) fn signer(&self, role: Role) -> &Signer {
        &self.signers[role.slot()]
    }

    /// The party's listener goes away.
    pub(super) async fn stop_listening(&mut self, role: Role) {
        let server = &mut self.servers[role.slot()];
        server.abort();
        // It ends by being cancelled.
        let _ = server.await;
    }

    /// From now on these parties sign no Result.
    pub(super) fn refuse_to_sign(&self, parties: &[Role]) {
        *self.refusing.lock().expect("not poisoned") = parties.to_vec();
    }

    /// All three operators give leave for more sessions.
    pub(super) async fn allow(&self) {
        for sessions in &self.sessions {
            assert_eq!(allow(sessions, ELECTION).await.expect("allowed"), 3);
        }
    }

    /// How far the party's tally is.
    pub(super) async fn state(&self, role: Role) -> TallyState {
        let slug = ELECTION.parse().expect("a slug");
        self.sessions[role.slot()]
            .state(&slug, BoxId(BOX))
            .await
            .expect("readable")
    }

    pub(super) fn tamper(&self, tamper: Tamper) {
        *self.tamper.lock().expect("not poisoned") = tamper;
    }

    pub(super) async fn prepare(&self, number: u64) -> Vec<wire::Envelope> {
        let mut starts = Vec::new();
        for sessions in &self.sessions {
            starts.push(prepare(sessions, number).await.expect("prepared").to_wire());
        }
        starts
    }

    /// Runs the session of `number` at all three and returns the last event of each.
    pub(super) async fn session(&self, number: u64) -> [Event; 3] {
        let starts = self.prepare(number).await;
        let [a, b, c] = &self.sessions;
        let (a, b, c) = tokio::join!(last(a, &starts), last(b, &starts), last(c, &starts));
        [a, b, c]
    }

    pub(super) fn result(&self, role: Role, event: &Event) -> wire::Result {
        let Event::Result(envelope) = event else {
            panic!("{role} has no result: {event:?}")
        };
        let envelope = Envelope::from_wire(envelope.clone()).expect("well formed");
        envelope
            .verify_all(Kind::Result, &[self.keys[role.slot()]])
            .expect("signed by its party");
        wire::Result::decode(envelope.payload().clone()).expect("a Result")
    }

    pub(super) fn abort(&self, role: Role, event: &Event) -> wire::Abort {
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

pub(super) async fn prepare(sessions: &Sessions, number: u64) -> Result<Envelope, Refusal> {
    sessions
        .prepare(wire::PrepareRequest {
            election: ELECTION.into(),
            r#box: BOX,
            session: number,
        })
        .await
}

pub(super) fn request(starts: &[wire::Envelope]) -> wire::TallyRequest {
    wire::TallyRequest {
        election: ELECTION.into(),
        r#box: BOX,
        starts: starts.to_vec(),
    }
}

pub(super) async fn refused(sessions: &Sessions, starts: &[wire::Envelope]) -> Refusal {
    match sessions.tally(request(starts)).await {
        Ok(_) => panic!("must be refused"),
        Err(refusal) => refusal,
    }
}

pub(super) async fn last(sessions: &Sessions, starts: &[wire::Envelope]) -> Event {
    let mut events = sessions.tally(request(starts)).await.expect("begins");
    let mut last = None;
    while let Some(event) = events.next().await {
        last = event.expect("no failure").event;
    }
    last.expect("an end")
}

/// The operator's leave for more sessions.
pub(super) async fn allow(sessions: &Sessions, typed: &str) -> Result<u32, Refusal> {
    let request = wire::AllowSessionsRequest {
        election: ELECTION.into(),
        r#box: BOX,
        confirmation: typed.into(),
    };
    sessions.allow(request).await
}

pub(super) fn session_logs(directory: &std::path::Path, role: Role) -> SessionLogs {
    let key = StorageKey::new([role.index(); 32]);
    SessionLogs::new(directory.join(role.to_string()), Arc::new(key))
}

fn open_store(disk: &SimDisk, role: Role) -> Arc<Store> {
    Arc::new(Store::open(Storage::Backend(Box::new(disk.clone())), role.index()).expect("a store"))
}
