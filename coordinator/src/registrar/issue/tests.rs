//! Issuing against three servers that do with a record what a party does: open, check the commitments, sign a receipt.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_proto::connect::mutual_tls;
use tally_proto::envelope::{Envelope, Kind};
use tally_proto::fixture::{Shape, World};
use tally_proto::ids::{RoleExt as _, UnixSeconds};
use tally_proto::order::{Correction, Order, Reissue};
use tally_proto::pki::{Anchor, PeerRole, Trust};
use tally_proto::reason::Reason;
use tally_proto::receipt::{Acceptance, Receipt};
use tally_proto::record::RecordSubmission;
use tally_proto::refusal::Refusal;
use tally_proto::roll::RollEntry;
use tally_proto::secret_file;
use tally_proto::wire::intake_server::{Intake, IntakeServer};
use tally_proto::wire::registration_server::{Registration, RegistrationServer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::progress::Quiet;
use crate::registrar::outbox;

/// Others' receipts: whose, and for which record.
type Brought = std::collections::BTreeSet<(Role, [u8; 32])>;
/// What a party holds of each voter and half: both shares of the credential of the highest serial.
type Held = BTreeMap<(u32, u32, u32), (u32, (u64, u64))>;

/// How a party answers a registrar.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Manner {
    #[default]
    Honest,
    /// It goes on and on after the last receipt.
    NeverEnds,
    /// With nothing in its answers, for ever.
    Empty,
}

struct PartyServer {
    role: Role,
    world: Arc<World>,
    held: Arc<Mutex<Held>>,
    brought: Arc<Mutex<Brought>>,
    /// Breaks the stream after so many records, once.
    break_after: Arc<Mutex<Option<usize>>>,
    manner: Arc<Mutex<Manner>>,
    /// Refuses this voter of box 1.
    refuse: Option<u32>,
}

impl PartyServer {
    fn take(&self, submission: wire::RecordSubmission) -> Result<wire::record_receipt::Outcome, Status> {
        use wire::record_receipt::Outcome;
        let submission =
            RecordSubmission::from_wire(submission).map_err(|e| Status::internal(e.to_string()))?;
        let header = submission.header();
        let manifest = self.world.manifest.manifest();
        let issue = header
            .check_place(manifest)
            .map_err(|e| Refusal::new(e.reason(), e))?;
        let signature = submission.registrar_signature().expect("an issued record");
        header
            .check_authorisation(&submission.digest(), signature)
            .map_err(|e| Refusal::new(e.reason(), e))?;
        if self.refuse == Some(issue.voter.get()) {
            let refusal = Refusal::new(Reason::RecordSerial, "a higher serial stands");
            return Ok(Outcome::Refusal(refusal.to_wire(submission.digest().as_bytes())));
        }
        let key = &self.world.opening_keys[self.role.slot()];
        let shares = ShareContext::credential(manifest.election(), issue.of_box)
            .open(
                self.role,
                key,
                &submission.digest(),
                &header.commitments,
                submission.ciphertext(),
            )
            .map_err(|e| Status::internal(e.to_string()))?;
        let (this, next) = shares.credential_shares().expect("a credential");
        let place = (issue.of_box.get(), issue.voter.get(), issue.half.number());
        let mut held = self.held.lock().expect("lock");
        let new = (header.serial, (*this, *next));
        if let Some(before) = held.insert(place, new) {
            assert!(
                before == new || before.0 < new.0,
                "the same voter is never given another credential of that serial"
            );
        }
        let acceptance = Acceptance {
            election: manifest.election().clone(),
            of_box: issue.of_box,
            party: self.role,
            digest: submission.digest(),
            ciphertext_hash: submission.ciphertext_hash(),
            received_at: UnixSeconds(1_799_999_000),
            position: held.len() as u64,
        };
        Ok(Outcome::Receipt(
            acceptance.sign(&self.world.signers[self.role.slot()]).to_wire(),
        ))
    }
}

/// The service of a server; a type of its own because the trait asks for ownership.
#[derive(Clone)]
struct Service(Arc<PartyServer>);

#[tonic::async_trait]
impl Registration for Service {
    type RegisterStream = futures::stream::BoxStream<'static, Result<wire::RecordReceipt, Status>>;

    async fn offsets(
        &self,
        _: Request<wire::OffsetsRequest>,
    ) -> Result<Response<wire::OffsetsReply>, Status> {
        Err(Status::unimplemented("registrars ask for no offsets"))
    }

    async fn enrol(&self, _: Request<wire::RecordSubmission>) -> Result<Response<wire::EnrolReply>, Status> {
        Err(Status::unimplemented("registrars do not enrol"))
    }

    async fn register(
        &self,
        request: Request<Streaming<wire::RecordSubmission>>,
    ) -> Result<Response<Self::RegisterStream>, Status> {
        let server = Arc::clone(&self.0);
        let manner = *server.manner.lock().expect("lock");
        if manner == Manner::Empty {
            let empty = || Ok(wire::RecordReceipt { outcome: None });
            return Ok(Response::new(futures::stream::repeat_with(empty).boxed()));
        }
        let answers = request.into_inner().enumerate().map(move |(i, record)| {
            let mut limit = server.break_after.lock().expect("lock");
            if limit.is_some_and(|l| i >= l) {
                *limit = None;
                return Err(Status::unavailable("the connection broke"));
            }
            drop(limit);
            Ok(wire::RecordReceipt {
                outcome: Some(server.take(record?)?),
            })
        });
        if manner == Manner::NeverEnds {
            return Ok(Response::new(answers.chain(futures::stream::pending()).boxed()));
        }
        Ok(Response::new(answers.boxed()))
    }
}

fn only_receipts<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented(
        "registrars bring receipts, and ask nothing else",
    ))
}

#[tonic::async_trait]
impl Intake for Service {
    async fn clock(&self, _: Request<wire::ClockRequest>) -> Result<Response<wire::ClockReply>, Status> {
        only_receipts()
    }

    async fn manifest(&self, _: Request<wire::ElectionRef>) -> Result<Response<wire::ManifestReply>, Status> {
        only_receipts()
    }

    async fn submit(&self, _: Request<wire::Submission>) -> Result<Response<wire::Receipt>, Status> {
        only_receipts()
    }

    async fn cast(&self, _: Request<wire::Submission>) -> Result<Response<wire::CastReply>, Status> {
        only_receipts()
    }

    async fn cast_all(&self, _: Request<wire::Submissions>) -> Result<Response<wire::CastReplies>, Status> {
        only_receipts()
    }

    async fn deliver(&self, _: Request<wire::Receipt>) -> Result<Response<wire::DeliverReply>, Status> {
        only_receipts()
    }

    async fn checkpoint(
        &self,
        _: Request<wire::ElectionRef>,
    ) -> Result<Response<wire::CheckpointReply>, Status> {
        only_receipts()
    }

    async fn inclusion(
        &self,
        _: Request<wire::InclusionRequest>,
    ) -> Result<Response<wire::InclusionReply>, Status> {
        only_receipts()
    }

    async fn consistency(
        &self,
        _: Request<wire::ConsistencyRequest>,
    ) -> Result<Response<wire::ConsistencyReply>, Status> {
        only_receipts()
    }

    async fn mirrored(&self, _: Request<wire::MirroredRef>) -> Result<Response<wire::MirroredReply>, Status> {
        only_receipts()
    }

    async fn lookup(&self, _: Request<wire::LookupRequest>) -> Result<Response<wire::LookupReply>, Status> {
        only_receipts()
    }

    async fn deliver_all(
        &self,
        request: Request<wire::Receipts>,
    ) -> Result<Response<wire::DeliverReply>, Status> {
        let keys = self.0.world.manifest.manifest().party_keys();
        let receipts = request.into_inner().receipts;
        assert!(receipts.len() <= 16);
        for receipt in receipts {
            let receipt = Receipt::from_wire(&receipt).expect("a receipt");
            let stated = receipt.verify(&keys).expect("signed");
            assert_ne!(stated.party, self.0.role, "its own it knows");
            let mut brought = self.0.brought.lock().expect("lock");
            brought.insert((stated.party, stated.digest.0));
        }
        Ok(Response::new(wire::DeliverReply {}))
    }
}

/// An election whose three parties serve registration on loopback.
struct Scene {
    world: Arc<World>,
    manifest: SignedManifest,
    held: [Arc<Mutex<Held>>; 3],
    brought: [Arc<Mutex<Brought>>; 3],
    break_after: [Arc<Mutex<Option<usize>>>; 3],
    manners: [Arc<Mutex<Manner>>; 3],
    servers: Vec<tokio::task::JoinHandle<()>>,
    listeners: Vec<Option<TcpListener>>,
    dir: tempfile::TempDir,
}

impl Scene {
    async fn new(registrars: usize) -> Self {
        tally_proto::connect::install_tls_provider();
        let world = World::new(Shape {
            voters: [40, 7],
            registrars,
            ..Shape::default()
        });
        let mut wire = world.manifest.manifest().to_wire();
        let mut listeners = Vec::new();
        for party in &mut wire.parties {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
            party.peer_address = format!(
                "https://localhost:{}",
                listener.local_addr().expect("address").port()
            );
            listeners.push(Some(listener));
        }
        let envelope = world.sign_all(tally_proto::envelope::Kind::Manifest, wire.encode_to_vec());
        Self {
            manifest: SignedManifest::open(envelope).expect("manifest"),
            world: Arc::new(world),
            held: Default::default(),
            brought: Default::default(),
            break_after: Default::default(),
            manners: Default::default(),
            servers: Vec::new(),
            listeners,
            dir: tempfile::tempdir().expect("dir"),
        }
    }

    fn serve(&mut self, role: Role, refuse: Option<u32>) {
        let slot = role.slot();
        let authority = &self.world.authorities[slot];
        let leaf = authority
            .issue(&PeerRole::Party(role), &["localhost"])
            .expect("certificate");
        let anchor = Anchor::from_pem(self.world.coordinator_authority.cert_pem()).expect("anchor");
        let server = PartyServer {
            role,
            world: Arc::clone(&self.world),
            held: Arc::clone(&self.held[slot]),
            brought: Arc::clone(&self.brought[slot]),
            break_after: Arc::clone(&self.break_after[slot]),
            manner: Arc::clone(&self.manners[slot]),
            refuse,
        };
        let service = Service(Arc::new(server));
        let listener = self.listeners[slot].take().expect("not served yet");
        let serving = tonic::transport::Server::builder()
            .tls_config(mutual_tls(&leaf, &Trust::new().coordinator(anchor)))
            .expect("tls")
            .add_service(RegistrationServer::new(service.clone()))
            .add_service(IntakeServer::new(service))
            .serve_with_incoming(TcpListenerStream::new(listener));
        self.servers.push(tokio::spawn(async move {
            serving.await.expect("served");
        }));
    }

    /// A registrar's directory with the keys of the manifest's registrar `half`.
    fn registrar(&self, half: usize) -> Arc<Registrar> {
        let path = self.dir.path().join(format!("registrar-{half}"));
        let identity = self.manifest.manifest().registrars()[half].clone();
        if !path.exists() {
            let role = PeerRole::Registrar(identity.name().to_owned());
            let leaf = self
                .world
                .coordinator_authority
                .issue(&role, &[])
                .expect("certificate");
            fs::create_dir(&path).expect("dir");
            secret_file::create(
                &path.join("signing.key"),
                self.world.registrars[half].seed().as_slice(),
            )
            .expect("key");
            secret_file::create(&path.join("tls.key"), leaf.key_pem.as_bytes()).expect("key");
            fs::write(path.join("tls.pem"), &leaf.cert_pem).expect("written");
            fs::write(path.join("registrar.identity.toml"), identity.to_toml()).expect("written");
        }
        Arc::new(Registrar::open(&path).expect("opens"))
    }

    fn roll(&self) -> RollFile {
        let mut text = String::from("box,reference,online\n");
        for (id, roll) in (1..).zip(&self.world.rolls) {
            for entry in roll.entries() {
                let online = if entry.online { "yes" } else { "no" };
                text += &format!("{id},{},{online}\n", entry.reference);
            }
        }
        crate::roll::parse(text.as_bytes(), Path::new("roll.csv"), &[1, 2]).expect("roll")
    }

    fn out(&self, half: usize) -> PathBuf {
        self.dir.path().join(format!("invitations-{half}.csv"))
    }

    async fn issue(&self, half: usize, seed: u64, patience: Patience) -> Result<Issued, Error> {
        let rng = StdRng::seed_from_u64(seed);
        let (registrar, roll) = (self.registrar(half), self.roll());
        issue(
            registrar,
            Task {
                manifest: &self.manifest,
                roll: &roll,
                order: None,
                out: &self.out(half),
            },
            1_799_000_000,
            rng,
            patience,
            &Quiet,
        )
        .await
    }

    /// Each voter's invitation, by reference.
    fn invitations(&self, half: usize) -> BTreeMap<String, Part> {
        self.invitations_in(&self.out(half))
    }

    fn invitations_in(&self, out: &Path) -> BTreeMap<String, Part> {
        let mut csv = csv::Reader::from_path(out).expect("written");
        assert_eq!(
            csv.headers().expect("header"),
            ["reference", "code", "link"].as_slice()
        );
        let lines = csv.records().map(|line| {
            let line = line.expect("a line");
            let (code, link) = (
                Part::parse(&line[1]).expect("a code"),
                Part::parse(&line[2]).expect("a link"),
            );
            assert_eq!(*code.to_code(), *link.to_code());
            (line[0].to_owned(), code)
        });
        lines.collect()
    }

    /// What the parties' shares of a credential add up to; both holders of each share must agree.
    fn shared(&self, of_box: u32, v: u32, half: u32) -> Option<u64> {
        let held = Role::ALL.map(|role| {
            self.held[role.slot()]
                .lock()
                .expect("lock")
                .get(&(of_box, v, half))
                .map(|(_, shares)| *shares)
        });
        let [Some(p1), Some(p2), Some(p3)] = held else {
            return None;
        };
        assert_eq!((p1.1, p2.1, p3.1), (p2.0, p3.0, p1.0));
        Some(p1.0 ^ p2.0 ^ p3.0)
    }
}

fn secret(scene: &Scene, invitation: &Invitation) -> u64 {
    invitation
        .credential_for(&scene.manifest.hash())
        .expect("whole, of this election")
        .expose()
}

impl Scene {
    /// An order that all have countersigned, or all but P3.
    fn order(&self, number: u32, change: Change, is_complete: bool) -> SignedOrder {
        let order = Order {
            election: self.manifest.manifest().election().clone(),
            manifest_hash: self.manifest.hash(),
            number,
            after: None,
            reason: "The letter was stolen.".to_owned(),
            change,
        };
        let mut envelope = self.world.sign_all(Kind::Order, order.encode());
        if !is_complete {
            let key = self.world.signers[Role::P3.slot()].public_key();
            let signatures = envelope.signatures().to_vec();
            envelope = Envelope::unsigned(envelope.payload().clone());
            for signature in signatures.into_iter().filter(|of| of.key != key) {
                envelope.add_signature(signature);
            }
        }
        SignedOrder::open(envelope, &self.manifest).expect("an order")
    }

    async fn reissue(
        &self,
        half: usize,
        seed: u64,
        order: &SignedOrder,
        out: &Path,
    ) -> Result<Issued, Error> {
        issue(
            self.registrar(half),
            Task {
                manifest: &self.manifest,
                roll: &self.roll(),
                order: Some(order),
                out,
            },
            1_799_000_100,
            StdRng::seed_from_u64(seed),
            Patience::NONE,
            &Quiet,
        )
        .await
    }
}

fn again(voter: u32, serial: u32) -> Change {
    Change::Reissue(Reissue {
        of_box: BoxId(1),
        voter: VoterIndex(voter),
        until: UnixSeconds(0),
        serial,
    })
}

#[tokio::test]
async fn a_credential_is_issued_again_by_an_order_and_by_each_order_once() {
    let mut scene = Scene::new(1).await;
    Role::ALL.into_iter().for_each(|role| scene.serve(role, None));
    scene.issue(0, 1, Patience::NONE).await.expect("issued");
    let online = |of: &RollEntry| of.online;
    let roster = scene.world.rolls[0].entries();
    let voter = roster.iter().position(online).expect("a voter") as u32;
    let absent = roster.iter().position(|of| !of.online).expect("station only") as u32;
    let first = scene.shared(1, voter, 0).expect("issued");

    let out = scene.dir.path().join("again.csv");
    let refused = async |order: &SignedOrder| {
        let refused = scene.reissue(0, 2, order, &out).await.expect_err("refused");
        assert!(!out.exists());
        assert_eq!(scene.shared(1, voter, 0), Some(first), "nothing is issued");
        refused.to_string()
    };
    let without = refused(&scene.order(1, again(voter, 2), false)).await;
    assert!(
        without.contains("order 1") && without.contains(scene.manifest.manifest().party(Role::P3).agency()),
        "{without}"
    );
    let strike = Change::Correction(Correction {
        of_box: BoxId(1),
        voter: VoterIndex(voter),
        live: true,
        enrolled: false,
    });
    let other = refused(&scene.order(1, strike, true)).await;
    assert!(
        other.contains("order 1 lets no credential be issued again"),
        "{other}"
    );
    let at_stations = refused(&scene.order(1, again(absent, 2), true)).await;
    assert!(
        at_stations.contains(&format!("voter {absent} of box 1 does not vote online")),
        "{at_stations}"
    );

    let order = scene.order(1, again(voter, 2), true);
    let issued = scene.reissue(0, 3, &order, &out).await.expect("issued again");
    assert_eq!((issued.credentials, issued.kept), (1, 0));
    let invitations = scene.invitations_in(&out);
    let [(reference, Part::Whole(invitation))] = &invitations.into_iter().collect::<Vec<_>>()[..] else {
        panic!("one invitation");
    };
    assert_eq!(
        *reference,
        scene.world.rolls[0].entries()[voter as usize].reference
    );
    let second = secret(&scene, invitation);
    assert_ne!(second, first);
    assert_eq!(
        scene.shared(1, voter, 0),
        Some(second),
        "what the parties share now"
    );
    for role in Role::ALL {
        let held = scene.held[role.slot()].lock().expect("lock");
        assert!(
            held.iter()
                .all(|((b, v, _), (serial, _))| *serial == if (*b, *v) == (1, voter) { 2 } else { 1 })
        );
    }

    // The same order is no second credential; another order is.
    let elsewhere = scene.dir.path().join("once-more.csv");
    let twice = scene
        .reissue(0, 4, &order, &elsewhere)
        .await
        .expect_err("once")
        .to_string();
    assert!(twice.contains("already issued by this registrar"), "{twice}");
    let next = scene.order(2, again(voter, 3), true);
    scene
        .reissue(0, 5, &next, &elsewhere)
        .await
        .expect("issued a third time");
    assert_ne!(scene.shared(1, voter, 0), Some(second));
}

#[tokio::test]
async fn every_online_voter_gets_the_credential_that_the_parties_share() {
    let mut scene = Scene::new(1).await;
    Role::ALL.into_iter().for_each(|role| scene.serve(role, None));
    let issued = scene.issue(0, 1, Patience::NONE).await.expect("issued");
    assert_eq!(
        (issued.credentials, issued.kept, issued.half),
        (39 + 6, 0, Half::WHOLE)
    );
    let invitations = scene.invitations(0);
    assert_eq!(invitations.len(), 45);
    let mut seen = std::collections::HashSet::new();
    for (id, roll) in (1..).zip(&scene.world.rolls) {
        for (v, entry) in (0..).zip(roll.entries()) {
            let invitation = invitations.get(&entry.reference);
            assert_eq!(invitation.is_some(), entry.online, "{}", entry.reference);
            let Some(Part::Whole(invitation)) = invitation else {
                assert_eq!(scene.shared(id, v, 0), None, "station only: no credential");
                continue;
            };
            assert_eq!(
                (invitation.of_box(), invitation.voter()),
                (BoxId(id), VoterIndex(v))
            );
            assert_eq!(scene.shared(id, v, 0), Some(secret(&scene, invitation)));
            assert!(seen.insert(secret(&scene, invitation)), "fresh for each voter");
        }
    }
    // Nothing but the invitation file holds a credential or a code, and nothing is issued twice.
    let directory = scene.registrar(0).issuing(scene.manifest.manifest().election());
    assert!(!directory.join("outbox").exists());
    let again = scene
        .issue(0, 2, Patience::NONE)
        .await
        .expect_err("once")
        .to_string();
    assert!(
        again.contains("already issued by this registrar, and invitations are written once"),
        "{again}"
    );
    // Whoever leaves a record out of its List is convicted by what both others were brought.
    for role in Role::ALL {
        let brought = scene.brought[role.slot()].lock().expect("lock");
        let records = scene.held[role.slot()].lock().expect("lock").len();
        for by in [role.next(), role.prev()] {
            let of = brought.iter().filter(|(party, _)| *party == by).count();
            assert_eq!(of, records, "{role} has what {by} signed");
        }
    }
}

#[tokio::test]
async fn two_registrars_each_issue_a_half_that_says_nothing_alone() {
    let mut scene = Scene::new(2).await;
    Role::ALL.into_iter().for_each(|role| scene.serve(role, None));
    let first = scene.issue(0, 1, Patience::NONE).await.expect("issued");
    let second = scene.issue(1, 2, Patience::NONE).await.expect("issued");
    assert_eq!(
        (first.half.number(), second.half.number(), second.half.of()),
        (0, 1, 2)
    );
    let mut seconds = scene.invitations(1);
    for (reference, half) in scene.invitations(0) {
        let Part::Letter(letter) = &half else {
            panic!("the first registrar's goes out by letter")
        };
        let (of_box, v) = (letter.of_box().get(), letter.voter().get());
        let message = seconds.remove(&reference).expect("both halves");
        assert!(
            matches!(message, Part::Message(_)),
            "and the second's by text message"
        );
        let whole = half.combine(message).expect("they belong together");
        let shared =
            scene.shared(of_box, v, 0).expect("half 0") ^ scene.shared(of_box, v, 1).expect("half 1");
        assert_eq!(secret(&scene, &whole), shared);
    }
    assert!(seconds.is_empty());
}

#[tokio::test]
async fn an_interrupted_run_is_gone_on_with_and_nobody_gets_two_credentials() {
    let mut scene = Scene::new(1).await;
    scene.serve(Role::P1, None);
    scene.serve(Role::P2, None);
    *scene.break_after[1].lock().expect("lock") = Some(3);
    // P3 listens, but nobody serves there: with patience of a moment issuing stops and names it.
    let waiting = scene.listeners[2].take();
    let stopped = scene.issue(0, 1, Patience(Duration::from_millis(300)));
    let stopped = tokio::time::timeout(Duration::from_secs(30), stopped).await;
    let error = match stopped {
        Ok(outcome) => outcome.expect_err("P3 does not answer").to_string(),
        Err(_) => panic!("the connection's own time limit holds"),
    };
    assert!(error.contains("P3 Agency 3 (https://localhost:"), "{error}");
    assert!(!scene.out(0).exists(), "not before every record is accepted");
    scene.listeners[2] = waiting;
    scene.serve(Role::P3, None);
    // Another seed: what was recorded is handed over as it was, not drawn anew.
    let issued = scene.issue(0, 99, Patience::NONE).await.expect("gone on with");
    assert_eq!(issued.credentials, 45);
    let invitations = scene.invitations(0);
    for invitation in invitations.values() {
        let Part::Whole(invitation) = invitation else {
            panic!("one registrar")
        };
        let (of_box, v) = (invitation.of_box().get(), invitation.voter().get());
        assert_eq!(scene.shared(of_box, v, 0), Some(secret(&scene, invitation)));
    }
    assert_eq!(invitations.len(), 45);
}

#[tokio::test]
async fn a_party_that_goes_on_answering_holds_up_nobody_and_one_that_says_nothing_is_named() {
    let mut scene = Scene::new(1).await;
    Role::ALL.into_iter().for_each(|role| scene.serve(role, None));
    let set = |scene: &Scene, manner| *scene.manners[1].lock().expect("lock") = manner;
    set(&scene, Manner::Empty);
    let stopped = scene.issue(0, 1, Patience(Duration::from_millis(300)));
    let stopped = tokio::time::timeout(Duration::from_secs(60), stopped).await;
    let error = stopped
        .expect("it ends")
        .expect_err("nothing was answered")
        .to_string();
    assert!(
        error.contains("P2 Agency 2") && error.contains("neither a receipt nor a refusal"),
        "{error}"
    );
    set(&scene, Manner::NeverEnds);
    let issued = scene.issue(0, 2, Patience::NONE);
    let issued = tokio::time::timeout(Duration::from_secs(60), issued).await;
    assert_eq!(issued.expect("it ends").expect("issued").credentials, 45);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_comes_is_not_waited_for_for_ever() {
    let begun = tokio::time::Instant::now();
    let never = super::super::hand_over::in_time(std::future::pending::<Result<(), Status>>());
    let late = never.await.expect_err("late");
    assert_eq!(late.code(), tonic::Code::DeadlineExceeded);
    assert_eq!(begun.elapsed(), crate::parties::SILENCE);
}

#[tokio::test]
async fn a_crash_between_invitations_and_records_loses_neither() {
    let mut scene = Scene::new(1).await;
    Role::ALL.into_iter().for_each(|role| scene.serve(role, None));
    let directory = scene.registrar(0).issuing(scene.manifest.manifest().election());
    fs::create_dir_all(&directory).expect("dir");
    // Invitations were written, the outbox was not: those credentials exist nowhere else and are drawn anew.
    let mut lines = Lines::default();
    lines.push("voter-1-0", "LOST", "LOST");
    Invitations::create(&scene.out(0))
        .expect("new")
        .append(&lines)
        .expect("written");
    drop(outbox::Outbox::open::<Error>(&directory.join("outbox"), |_| Ok(())).expect("empty"));
    scene.issue(0, 5, Patience::NONE).await.expect("issued");
    assert!(!fs::read_to_string(scene.out(0)).expect("text").contains("LOST"));
    assert_eq!(scene.invitations(0).len(), 45);
}

#[tokio::test]
async fn a_refused_record_names_party_and_voter() {
    let mut scene = Scene::new(1).await;
    scene.serve(Role::P1, None);
    scene.serve(Role::P2, Some(4));
    scene.serve(Role::P3, None);
    let error = scene
        .issue(0, 1, Patience::NONE)
        .await
        .expect_err("refused")
        .to_string();
    assert!(error.contains("P2 Agency 2"), "{error}");
    assert!(
        error.contains("refused the record of voter 4 of box 1: "),
        "{error}"
    );
    assert!(error.contains("a higher serial stands"), "{error}");
}

#[tokio::test]
async fn a_stranger_a_wrong_roll_and_a_missing_certificate_are_refused_before_anything_is_written() {
    let scene = Scene::new(1).await;
    let stranger = scene.dir.path().join("stranger");
    let mut rng = StdRng::seed_from_u64(3);
    let registrar = Arc::new(Registrar::init(&stranger, "stranger", &mut rng).expect("made"));
    assert!(matches!(
        Registrar::init(&stranger, "stranger", &mut rng),
        Err(Error::AlreadyThere(_))
    ));
    let run = async |registrar: Arc<Registrar>, manifest: &SignedManifest, roll: &RollFile| {
        let rng = StdRng::seed_from_u64(4);
        let task = Task {
            manifest,
            roll,
            order: None,
            out: &scene.out(0),
        };
        let refused = issue(registrar, task, 0, rng, Patience::NONE, &Quiet).await;
        refused.expect_err("refused")
    };
    let error = run(registrar, &scene.manifest, &scene.roll()).await.to_string();
    assert_eq!(
        error,
        "election ward-7 does not name this registrar's key: its registrars are [\"letters\"]"
    );
    let short = crate::roll::parse(
        &b"box,reference,online\n1,a,yes\n2,b,yes\n"[..],
        Path::new("r"),
        &[1, 2],
    )
    .expect("roll");
    let error = run(scene.registrar(0), &scene.manifest, &short).await;
    assert!(
        matches!(error, Error::RollOfBox { of_box: BoxId(1), .. }),
        "{error}"
    );
    let lone = scene.world.coordinator.seal_envelope(
        tally_proto::envelope::Kind::Manifest,
        scene.manifest.envelope().payload().clone(),
    );
    let lone = SignedManifest::open(lone).expect("signed by the coordinator");
    let error = run(scene.registrar(0), &lone, &scene.roll()).await.to_string();
    assert!(
        error.starts_with("manifest.not-countersigned: Agency 1, Agency 2, Agency 3 "),
        "{error}"
    );
    let registrar = scene.registrar(0);
    fs::remove_file(registrar.certificate_file()).expect("removed");
    let error = run(registrar, &scene.manifest, &scene.roll()).await;
    assert!(matches!(error, Error::NotCertified(_)), "{error}");
    assert!(!scene.out(0).exists() && !part_of(&scene.out(0)).exists());
}
