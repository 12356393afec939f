//! Parties running in this process, over real TLS on loopback, with a hand-driven clock and disks in memory.
#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod front;
pub(crate) mod liar;
pub(crate) mod three;

use std::fs;
use std::sync::Arc;

use tally_mpc::layout::Choice;
use tally_party::clock::ManualClock;
use tally_party::config::Config;
use tally_party::entropy::SeededEntropy;
use tally_party::offsets::Held;
use tally_party::server::{Deps, Running, Server};
use tally_party::store::sim::SimDisk;
use tally_party::store::{Kind as StoreKind, Storage, accepted};
use tally_proto::ballot::{BallotHeader, StationMark, Submission};
use tally_proto::connect::{self, Dial};
use tally_proto::envelope::Kind;
use tally_proto::fixture::cards::SALT;
use tally_proto::fixture::{Cast, OPENS, Shape, World as Fixture, ports};
use tally_proto::holder::Holder;
use tally_proto::identity::{Address, PartyIdentity, PartyParts};
use tally_proto::ids::{BoxId, Digest, RegisterId, Role, RoleExt as _, StationId, UnixSeconds, VoterIndex};
use tally_proto::manifest::SignedManifest;
use tally_proto::offsets::OffsetKey;
use tally_proto::pki::{Anchor, Leaf, PeerRole};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::shares::{Opening, ShareContext};
use tally_proto::suite::OpeningKey;
use tally_proto::ticket::OwnTicket;
use tally_proto::wire;
use tally_proto::wire::control_client::ControlClient;
use tally_proto::wire::intake_client::IntakeClient;
use tally_proto::wire::registration_client::RegistrationClient;
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::Channel;
use zeroize::Zeroizing;

/// An election's keys, and directories for its parties.
pub(crate) struct World {
    pub(crate) fixture: Fixture,
    pub(crate) root: TempDir,
    pub(crate) clock: ManualClock,
    /// Whether the operators state at every start that the store is the newest, as where a party runs alone.
    pub(crate) trusting: bool,
    /// Where the parties' peers find them, in a world whose parties know each other.
    ports: Option<[u16; 3]>,
}

/// A running party and how to reach it.
pub(crate) struct Party {
    pub(crate) role: Role,
    pub(crate) running: Running,
    pub(crate) disk: SimDisk,
    anchor: Anchor,
}

impl World {
    pub(crate) fn new(shape: Shape) -> World {
        // Another test of this binary may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let world = World {
            fixture: Fixture::new(shape),
            root: tempfile::tempdir().expect("directory"),
            clock: ManualClock::new((OPENS + 100) * 1000),
            trusting: true,
            ports: None,
        };
        for role in Role::ALL {
            world.write_files(role);
        }
        world
    }

    /// A world whose parties know each other's ports: each listens where the manifest says.
    pub(crate) fn connected(shape: Shape) -> World {
        let peer_ports = ports::free();
        let shape = Shape { peer_ports, ..shape };
        World {
            ports: Some(peer_ports),
            ..World::new(shape)
        }
    }

    /// The machine of a party is booted, or is a new one: what it kept in memory is gone.
    pub(crate) fn boot(&self, role: Role) {
        let memory = self.directory(role).join("run");
        fs::remove_dir_all(&memory).expect("removed");
        fs::create_dir(&memory).expect("made");
    }

    /// Where the manifest says that a party is, in a connected world.
    pub(crate) fn peer_port(&self, role: Role) -> u16 {
        self.ports.expect("a connected world")[role.slot()]
    }

    fn directory(&self, role: Role) -> std::path::PathBuf {
        self.root.path().join(role.to_string())
    }

    fn write_files(&self, role: Role) {
        let (directory, i) = (self.directory(role), role.slot());
        for name in ["keys", "tls", "data", "run"] {
            fs::create_dir_all(directory.join(name)).expect("directory");
        }
        let secret = |name: &str, bytes: &[u8]| {
            tally_proto::secret_file::create(&directory.join(name), bytes).expect("written");
        };
        let public = |name: &str, text: &str| fs::write(directory.join(name), text).expect("written");
        secret("keys/signing.key", &*self.fixture.signers[i].seed());
        secret("keys/hpke.key", &*self.fixture.opening_keys[i].to_bytes());
        secret("keys/storage.key", &[i as u8 + 1; 32]);
        let server = self.leaf_of(role, PeerRole::Party(role));
        secret("tls/party.key", server.key_pem.as_bytes());
        public("tls/party.pem", &server.cert_pem);
        let operator = self.leaf_of(role, PeerRole::Operator(role));
        secret("tls/operator.key", operator.key_pem.as_bytes());
        public("tls/operator.pem", &operator.cert_pem);
        let manifest = self.fixture.manifest.manifest();
        for of in Role::ALL {
            public(&format!("{of}.identity.toml"), &manifest.party(of).to_toml());
        }
        public("coordinator.identity.toml", &manifest.coordinator().to_toml());
        let (next, prev) = (role.next(), role.prev());
        public(
            "party.toml",
            &format!(
                "party = {}\n[listen]\npublic = \"127.0.0.1:0\"\npeer = \"127.0.0.1:0\"\n[identities]\nown = \"{role}.identity.toml\"\n\
                 others = [\"{next}.identity.toml\", \"{prev}.identity.toml\"]\ncoordinator = \"coordinator.identity.toml\"\n\
                 [mirror]\nmarks = \"run\"\n[intake]\nheld_ballots = 2\n[server]\nshutdown_grace_s = 5\n",
                role.number()
            ),
        );
    }

    /// The only revocation list of a party.
    pub(crate) fn write_revocations(&self, role: Role, serials: &[Vec<u8>], this: u64, next: u64) {
        let directory = self.directory(role).join("revocation");
        fs::create_dir_all(&directory).expect("directory");
        let cards = self.fixture.cards.as_ref().expect("a world with cards");
        fs::write(
            directory.join("cards.crl"),
            cards.revocations(serials, this, next),
        )
        .expect("written");
    }

    /// A party that does not run gets a new HPKE key, and all three its new identity file.
    pub(crate) fn rotate_hpke(&mut self, role: Role) {
        let fresh = OpeningKey::generate(&mut self.fixture.rng);
        let old = self.fixture.manifest.manifest().party(role);
        let identity = PartyIdentity::new(PartyParts {
            role,
            agency: old.agency().to_owned(),
            public_address: old.public_address().as_str().to_owned(),
            peer_address: old.peer_address().as_str().to_owned(),
            tls_ca_pem: old.anchor().pem().to_owned(),
            signing_key: old.signing_key(),
            sealing_key: fresh.sealing_key(),
        });
        let text = identity.expect("an identity").to_toml();
        let key = self.directory(role).join("keys/hpke.key");
        tally_proto::secret_file::replace(&key, &*fresh.to_bytes()).expect("written");
        for of in Role::ALL {
            let path = self.directory(of).join(format!("{role}.identity.toml"));
            fs::write(path, &text).expect("written");
        }
    }

    /// A certificate of the authority that may issue `role`; for a party's own roles, of `party`'s authority.
    pub(crate) fn leaf_of(&self, party: Role, role: PeerRole) -> Leaf {
        let hosts: &[&str] = if matches!(role, PeerRole::Party(_)) {
            &["localhost", "127.0.0.1"]
        } else {
            &[]
        };
        let authority = match role {
            PeerRole::Party(_) | PeerRole::Operator(_) => &self.fixture.authorities[party.slot()],
            PeerRole::Coordinator | PeerRole::Registrar(_) | PeerRole::Station(_) => {
                &self.fixture.coordinator_authority
            }
        };
        authority.issue(&role, hosts).expect("issued")
    }

    /// Adds to a party's configuration file.
    pub(crate) fn configure(&self, role: Role, more: &str) {
        let path = self.directory(role).join("party.toml");
        let text = fs::read_to_string(&path).expect("readable");
        fs::write(&path, text + more).expect("written");
    }

    pub(crate) fn config(&self, role: Role) -> Config {
        let path = self.directory(role).join("party.toml");
        let mut config = Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
        if let Some(ports) = self.ports {
            config.listen_peer.set_port(ports[role.slot()]);
        }
        config
    }

    pub(crate) async fn start(&self, role: Role) -> Party {
        self.start_on(role, SimDisk::new()).await
    }

    pub(crate) async fn start_on(&self, role: Role, disk: SimDisk) -> Party {
        let storage = Storage::Backend(Box::new(disk.clone()));
        self.start_with(self.config(role), storage, disk).await
    }

    pub(crate) async fn start_with(&self, config: Config, storage: Storage, disk: SimDisk) -> Party {
        self.start_by(self.clock.clone(), config, storage, disk).await
    }

    /// With a clock of its own.
    pub(crate) async fn start_by(
        &self,
        clock: ManualClock,
        config: Config,
        storage: Storage,
        disk: SimDisk,
    ) -> Party {
        let role = config.party;
        let deps = Deps {
            clock: Arc::new(clock),
            storage,
            entropy: Arc::new(SeededEntropy::new(7)),
        };
        let running = Server::start(config, deps)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let anchor = Anchor::from_pem(self.fixture.authorities[role.slot()].cert_pem()).expect("anchor");
        let party = Party {
            role,
            running,
            disk,
            anchor,
        };
        if self.trusting {
            self.trust(&party).await;
        }
        party
    }

    /// A party whose election is published and in force.
    pub(crate) async fn start_in_force(&self, role: Role) -> Party {
        let party = self.start(role).await;
        self.put_in_force(&party).await;
        party
    }

    /// Where voters enrol; a world with cards has it.
    pub(crate) fn register(&self) -> &RegisterId {
        self.fixture
            .manifest
            .manifest()
            .register()
            .expect("a register")
            .id()
    }

    /// Gives a party the keys of offsets that the manifest commits to, where voters may enrol.
    pub(crate) fn hold_offset_keys(&self, party: &Party) {
        let Some(register) = self.fixture.manifest.manifest().register() else {
            return;
        };
        let own = party.running.party();
        let held = Held::new(party.role, &own.store, &own.vault);
        for j in [party.role, party.role.next()] {
            let key = OffsetKey::from_bytes(self.fixture.offset_keys[j.slot()].to_bytes().as_ref());
            held.keep(register.id(), j, key.expect("64 bytes")).expect("kept");
        }
    }

    /// Publishes the election to a party, with all signatures.
    pub(crate) async fn put_in_force(&self, party: &Party) {
        let role = party.role;
        self.hold_offset_keys(party);
        self.publish(party).await.expect("published");
        if self.trusting {
            self.trust(party).await;
        }
        let mut control = party.control(&self.leaf_of(role, PeerRole::Coordinator));
        let complete = self.fixture.manifest.envelope().to_wire();
        assert!(
            control
                .complete(complete)
                .await
                .expect("completed")
                .into_inner()
                .in_force
        );
        if self.trusting {
            self.gates_open(party).await;
        }
    }

    /// Waits until a trusted party takes what its elections in force ask for.
    async fn gates_open(&self, party: &Party) {
        let party = party.running.party();
        for election in party.elections.all() {
            while election.signed_manifest().is_complete() && !party.gate.is_open(election.number()) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    }

    /// Where the others are not there to be asked: this store is the newest there was.
    pub(crate) async fn trust(&self, of_party: &Party) {
        let party = of_party.running.party();
        for election in party.elections.all() {
            let id = election.manifest().election().as_str().to_owned();
            let of = wire::TrustStoreRequest {
                confirmation: id.clone(),
                election: id,
            };
            party.trust_store(&of).expect("known");
        }
        self.gates_open(of_party).await;
    }

    /// The publication with the coordinator's signature only.
    pub(crate) fn publication(&self) -> Vec<wire::PublishPart> {
        let mut manifest = self.fixture.manifest.envelope().to_wire();
        let coordinator = self.fixture.coordinator.public_key();
        manifest
            .signatures
            .retain(|signature| signature.public_key == coordinator.as_bytes());
        let mut parts = vec![wire::PublishPart {
            part: Some(wire::publish_part::Part::Manifest(manifest)),
        }];
        if self.fixture.manifest.manifest().open_box().is_some() {
            // Nobody is on it; the salt comes alone.
            let part = wire::RollPart {
                r#box: 1,
                entries: Vec::new(),
                salt: SALT.0.to_vec(),
            };
            parts.push(wire::PublishPart {
                part: Some(wire::publish_part::Part::Roll(part)),
            });
            return parts;
        }
        for (id, roll) in (1..).zip(&self.fixture.rolls) {
            for entry in roll.to_wire() {
                let part = wire::RollPart {
                    r#box: id,
                    entries: vec![entry],
                    salt: self
                        .fixture
                        .cards
                        .as_ref()
                        .map_or_else(Vec::new, |_| SALT.0.to_vec()),
                };
                parts.push(wire::PublishPart {
                    part: Some(wire::publish_part::Part::Roll(part)),
                });
            }
        }
        parts
    }

    pub(crate) async fn publish(&self, party: &Party) -> Result<wire::PublishReply, Status> {
        let mut control = party.control(&self.leaf_of(party.role, PeerRole::Coordinator));
        Ok(control
            .publish(tokio_stream::iter(self.publication()))
            .await?
            .into_inner())
    }

    /// An online ballot of voter 0 of box 1, cast now.
    pub(crate) fn ballot(&mut self) -> [Submission; 3] {
        self.ballot_at(self.clock_s())
    }

    pub(crate) fn ballot_at(&mut self, cast_at_s: u64) -> [Submission; 3] {
        self.cast(BoxId(1), cast_at_s, None)
    }

    pub(crate) fn station_ballot(&mut self, station: u32, sequence: u64, cast_at_s: u64) -> [Submission; 3] {
        let mark = StationMark {
            station: StationId(station),
            sequence,
        };
        self.cast(BoxId(1), cast_at_s, Some(mark))
    }

    /// An online ballot of voter 0 of that box, cast now.
    pub(crate) fn ballot_in(&mut self, of_box: BoxId) -> [Submission; 3] {
        self.cast(of_box, self.clock_s(), None)
    }

    /// From now on this world is another election of the same parties.
    pub(crate) fn define_another(&mut self, election: &str) {
        let mut manifest = self.fixture.manifest.manifest().to_wire();
        manifest.election = election.into();
        let envelope = self
            .fixture
            .sign_all(Kind::Manifest, prost::Message::encode_to_vec(&manifest));
        self.fixture.manifest = Arc::new(SignedManifest::open(envelope).expect("a manifest by the rules"));
    }

    /// An online ballot of voter 0 of that box, cast now with this ticket.
    pub(crate) fn ballot_with(&mut self, of_box: BoxId, own: &OwnTicket) -> [Submission; 3] {
        let choices = choices(of_box);
        let cast = online(of_box, &choices, self.clock_s());
        self.fixture.ballot_with(cast, Some(own))
    }

    fn cast(&mut self, of_box: BoxId, cast_at_s: u64, mark: Option<StationMark>) -> [Submission; 3] {
        let choices = choices(of_box);
        let cast = online(of_box, &choices, cast_at_s);
        self.fixture.ballot(Cast { mark, ..cast })
    }

    pub(crate) fn clock_s(&self) -> u64 {
        use tally_party::clock::Clock as _;
        self.clock.now_ms() / 1000
    }
}

fn choices(of_box: BoxId) -> Vec<Choice> {
    let mut choices = vec![Choice::Options(vec![1]), Choice::Options(vec![2, 3])];
    choices.truncate(if of_box == BoxId(1) { 2 } else { 1 });
    choices
}

fn online(of_box: BoxId, choices: &[Choice], cast_at_s: u64) -> Cast<'_> {
    Cast {
        of_box,
        voter: VoterIndex(0),
        credential: 0x1234_5678_9abc_def0,
        choices,
        cast_at: UnixSeconds(cast_at_s),
        mark: None,
        paper: false,
    }
}

impl Party {
    fn channel(&self, port: u16, leaf: Option<&Leaf>) -> Channel {
        let address = Address::new("test", &format!("https://127.0.0.1:{port}")).expect("address");
        Dial {
            address: &address,
            anchor: &self.anchor,
            leaf,
        }
        .channel()
        .expect("channel")
    }

    pub(crate) fn public_channel(&self) -> Channel {
        self.channel(self.running.public_address().port(), None)
    }

    /// The same, of somebody who takes no byte of an answer that is not read.
    pub(crate) fn narrow_peer_channel(&self, leaf: &Leaf) -> Channel {
        let port = self.running.peer_address().port();
        let address = Address::new("test", &format!("https://127.0.0.1:{port}")).expect("address");
        let dial = Dial {
            address: &address,
            anchor: &self.anchor,
            leaf: Some(leaf),
        };
        let endpoint = dial.endpoint().expect("an endpoint");
        endpoint.initial_stream_window_size(1).connect_lazy()
    }

    pub(crate) fn peer_channel(&self, leaf: Option<&Leaf>) -> Channel {
        self.channel(self.running.peer_address().port(), leaf)
    }

    /// As a voter.
    pub(crate) fn intake(&self) -> IntakeClient<Channel> {
        connect::intake(self.public_channel())
    }

    pub(crate) fn station(&self, leaf: &Leaf) -> IntakeClient<Channel> {
        connect::intake(self.peer_channel(Some(leaf)))
    }

    pub(crate) fn control(&self, leaf: &Leaf) -> ControlClient<Channel> {
        connect::control(self.peer_channel(Some(leaf)))
    }

    pub(crate) fn registration(&self, leaf: &Leaf) -> RegistrationClient<Channel> {
        connect::registration(self.peer_channel(Some(leaf)))
    }

    /// As a voter's device with a card.
    pub(crate) fn enrolment(&self) -> RegistrationClient<Channel> {
        connect::registration(self.public_channel())
    }

    /// What this party is sent of a ballot.
    pub(crate) fn part(&self, ballot: &[Submission; 3]) -> wire::Submission {
        ballot[self.role.slot()].to_wire()
    }
}

/// The reason of a refusal; fails the test when there is none.
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, Status>) -> Refusal {
    let status = result.expect_err("refused");
    Refusal::from_status(&status).unwrap_or_else(|| panic!("a refusal without reason: {status:?}"))
}

pub(crate) fn reason<T: std::fmt::Debug>(result: Result<T, Status>) -> Reason {
    refusal(result).reason
}

impl World {
    /// A ballot whose ciphertext opens, but whose first share is not the one its commitment was made from.
    pub(crate) fn wrong_commitment(&mut self, party: &Party) -> wire::Submission {
        use tally_proto::ballot::BallotHeader;
        use tally_proto::shares::{ShareContext, split_ballot};
        let manifest = self.fixture.manifest.manifest();
        let of_box = manifest.ballot_box(BoxId(1)).expect("box");
        let layout = of_box.layout();
        let packed = layout
            .pack(0, 1, &[Choice::Options(vec![1]), Choice::Blank])
            .expect("packed");
        let context = ShareContext::ballot(manifest.election(), of_box);
        let committed = split_ballot(layout, &packed, &mut self.fixture.rng).expect("split");
        let sent = split_ballot(layout, &packed, &mut self.fixture.rng).expect("split");
        let cast_at = UnixSeconds(self.clock_s());
        let header = BallotHeader::online(
            manifest.election().clone(),
            BoxId(1),
            cast_at,
            context.commit_all(&committed),
        );
        let key = manifest.party(party.role).sealing_key();
        let sealed = context
            .seal(party.role, key, &header.digest(), &sent, &mut self.fixture.rng)
            .expect("sealed");
        Submission::new(header, sealed, None)
            .expect("submission")
            .to_wire()
    }
}

/// What the holder of a ballot that `party` accepted shows it; `None`: it did not accept it.
pub(crate) fn word(party: &Party, digest: &Digest) -> Option<Vec<u8>> {
    let own = party.running.party();
    let row = own
        .store
        .read(|tx| accepted::get(tx, StoreKind::Ballot, 1, 1, &digest.0))
        .expect("read")?;
    let me = party.role;
    let packed = own
        .vault
        .open(StoreKind::Ballot, me.index(), &digest.0, &row.sealed_shares)
        .expect("opens");
    let id = BallotHeader::decode(&row.header)
        .expect("a header")
        .election()
        .clone();
    let election = own.elections.get(id.as_str()).expect("known");
    let of_box = election.ballot_box(BoxId(1)).expect("a box");
    let shares = ShareContext::ballot(&id, of_box).read(&packed).expect("reads");
    let copy =
        |of: &Opening| Opening::from_parts(Zeroizing::new(*of.nonce()), Zeroizing::new(of.share().to_vec()));
    // Of the third share it says nothing, and neither does the word for this party.
    let openings = Role::ALL.map(|j| copy(if j == me { &shares.this } else { &shares.next }));
    Some(
        Holder::of(of_box.layout(), digest, &openings)
            .word_for(me)
            .to_vec(),
    )
}
