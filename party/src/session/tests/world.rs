//! Three parties over loopback TLS, with a saboteur between two of them.

use super::election::*;
use super::tamper::*;
use super::*;
use crate::clock::SystemClock;
use crate::journal::{self, Journal};
use crate::witness::Witness;

pub(super) struct World {
    pub(super) sessions: [Sessions; 3],
    disks: [SimDisk; 3],
    stores: [Arc<Store>; 3],
    signers: [Arc<Signer>; 3],
    pub(super) keys: [PublicKey; 3],
    pub(super) election: Arc<Election>,
    endpoints: [Endpoints; 3],
    tamper: Arc<Mutex<Tamper>>,
    /// Whether P2 keeps whoever asks it something waiting.
    gate: Arc<Gate>,
    /// Parties that refuse to sign a Result.
    refusing: Arc<Mutex<Vec<Role>>>,
    /// Where each listener's streams go; replaced when a party restarts.
    current: [Arc<Mutex<Sessions>>; 3],
    servers: Vec<tokio::task::JoinHandle<()>>,
    logs: tempfile::TempDir,
}

/// Holds up whoever comes by while it is closed.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    pub(super) fn close(&self) {
        *self.state.lock().expect("not poisoned") = (true, false);
    }

    pub(super) fn open(&self) {
        self.state.lock().expect("not poisoned").0 = false;
        self.changed.notify_all();
    }

    /// Blocks until somebody waits at the closed gate.
    pub(super) fn reached(&self) {
        let state = self.state.lock().expect("not poisoned");
        let reached = self.changed.wait_while(state, |(_, somebody)| !*somebody);
        drop(reached.expect("not poisoned"));
    }

    fn pass(&self) {
        let mut state = self.state.lock().expect("not poisoned");
        if state.0 {
            state.1 = true;
            self.changed.notify_all();
        }
        let passed = self.changed.wait_while(state, |(closed, _)| *closed);
        drop(passed.expect("not poisoned"));
    }
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
        meet: message,
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
                witness: witness(logs.path(), role),
            })
        };
        let sessions = Role::ALL.map(make);
        let current = [0, 1, 2].map(|i: usize| Arc::new(Mutex::new(sessions[i].clone())));
        let tamper = Arc::new(Mutex::new(Tamper::Nothing));
        let gate = Arc::new(Gate::default());
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
            let gate = (role == Role::P2).then(|| Arc::clone(&gate));
            let stranger = make(role);
            let asked = move || {
                if let Some(gate) = &gate {
                    tokio::task::block_in_place(|| gate.pass());
                }
                match *tamper.lock().expect("not poisoned") {
                    // Whoever says nothing answers no question either.
                    Tamper::Mute if own == Role::P1 => stranger.clone(),
                    Tamper::LateAndUnrelayed if own == Role::P3 => stranger.clone(),
                    _ => at.lock().expect("not poisoned").clone(),
                }
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
            gate,
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
            witness: witness(self.logs.path(), role),
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

    /// P2 answers no question until the gate opens.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
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

/// One that writes a journal beside the session logs.
fn witness(directory: &std::path::Path, role: Role) -> Witness {
    let journal = Journal::open(role, &directory.join(format!("journal-{role}")), 1 << 20);
    Witness::new(journal.expect("a journal"), Arc::new(SystemClock))
}

impl World {
    /// The lines of a party's journal.
    pub(super) fn journal(&self, role: Role) -> Vec<serde_json::Value> {
        let directory = self.logs.path().join(format!("journal-{role}"));
        let files = journal::files(&directory).expect("a journal");
        let read = |(_, path)| std::fs::read_to_string(path).expect("a file");
        let text: String = files.into_iter().map(read).collect();
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a JSON line"))
            .collect()
    }
}
