// Three parties and a board for tests: real TLS, real opening of ciphertexts, real receipts, logs in memory; no store. Each can be told to
// misbehave. (Plain comments only: the example in the crate's documentation includes this file.)

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use futures::future::join_all;
use tally_client::Election;
use tally_proto::ballot::Submission;
use tally_proto::calendar::{Channel, ChannelKind};
use tally_proto::connect::{mutual_tls, public_tls};
use tally_proto::envelope::{Envelope, Signer};
use tally_proto::holder::is_holder;
use tally_proto::identity::StationIdentity;
use tally_proto::ids::{BoxId, Digest, Hash32, Role, RoleExt, UnixMillis, VoterIndex};
use tally_proto::invitation::{Credential, Invitation};
use tally_proto::manifest::SignedManifest;
use tally_proto::order::{EffectiveElection, SignedOrder, in_force};
use tally_proto::pki::{Anchor, PeerRole, Trust};
use tally_proto::reason::Reason;
use tally_proto::receipt::{Acceptance, Receipt};
use tally_proto::refusal::Refusal;
use tally_proto::shares::{Opening, PartyShares, ShareContext};
use tally_proto::suite::{OpeningKey, Suite};
use tally_proto::ticket::{DrawCode, TicketSigner};
use tally_proto::wire;
use tally_proto::wire::board_server::{Board, BoardServer};
use tally_proto::wire::cast_answer::Outcome;
use tally_proto::wire::intake_server::{Intake, IntakeServer};
use tally_proto::wire::lookup_reply::Public;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use super::world::{Agencies, NOON_S, TICKETS};
use history::Telling;

pub mod history;

/// How a fake party treats submissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Honest,
    /// It says that it has everybody's receipts already.
    HandedOver,
    /// It knows no message of several ballots.
    OneByOne,
    /// Of several ballots in a message it answers one.
    Curt,
    /// A message of several ballots is too much for it.
    Choking,
    /// It answers to several ballots with more than anybody should read.
    Verbose,
    /// It says that it has receipts of parties that do not exist, and its own.
    Nonsense,
    /// Answers after a while.
    Slow(Duration),
    /// Takes submissions and never answers, nor shows its orders.
    Silent,
    /// It is away: it tells no time, shows neither orders nor ballots and takes nothing.
    Away,
    /// Refuses submissions.
    Refusing(Reason),
    /// Takes submissions, and refuses other parties' receipts.
    Deaf(Reason),
    /// Its receipts are for another ballot.
    OtherDigest,
    /// Its receipts are for another ciphertext.
    OtherCiphertext,
    /// Its receipts are signed with a wrong key.
    WrongKey,
    /// Its receipts say that it had the ballot long before it was cast.
    OtherTime,
    /// It shows another party's receipt as its own.
    OtherParty,
}

pub type NonceAndShare = (Vec<u8>, Vec<u8>);

/// What a party has seen.
#[derive(Default)]
pub struct Seen {
    /// Name and length of every request.
    pub calls: Vec<(&'static str, usize)>,
    pub receipts: HashMap<Digest, wire::Receipt>,
    /// What it opened: (nonce, share) of its own number and of the next.
    pub shares: HashMap<Digest, [NonceAndShare; 2]>,
    pub submissions: HashMap<Digest, Submission>,
    /// Which ballot took which ticket.
    pub spent: HashMap<[u8; 32], Digest>,
    /// The tickets of all that was brought, accepted or not.
    pub tickets: HashSet<[u8; 32]>,
    /// All that was brought.
    pub brought: HashSet<Digest>,
    /// Receipts of others that it stores.
    pub delivered: HashSet<(Digest, Role)>,
    /// Its log.
    pub leaves: Vec<Hash32>,
    /// What it says of sealing.
    pub sealed: Option<wire::SealedFate>,
}

pub struct Fake {
    pub role: Role,
    signer: Signer,
    wrong: Signer,
    others: [Signer; 3],
    opening: OpeningKey,
    signed: OnceLock<Arc<SignedManifest>>,
    manner: Mutex<Manner>,
    telling: Mutex<Telling>,
    /// The orders that it shows.
    orders: Mutex<wire::ManifestReply>,
    /// How far this party's clock is off.
    pub skew_ms: AtomicI64,
    begun: Instant,
    /// All three: each has seen the others' logs.
    town: OnceLock<[Weak<Fake>; 3]>,
    seen: watch::Sender<Seen>,
}

impl Fake {
    pub fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// What it shows of its log and of ballots.
    pub fn tell(&self, telling: Telling) {
        *self.telling.lock().unwrap() = telling;
    }

    /// What it shows of orders: those in force, and those that wait and that it says it has countersigned.
    pub fn show(&self, orders: &[Envelope], revoking: &[Envelope]) {
        let wire = |orders: &[Envelope]| orders.iter().map(Envelope::to_wire).collect();
        let mut shown = self.orders.lock().unwrap();
        (shown.orders, shown.revoking) = (wire(orders), wire(revoking));
    }

    fn telling(&self) -> Telling {
        *self.telling.lock().unwrap()
    }

    /// What it says of every ballot at sealing.
    pub fn seal(&self, fate: wire::SealedFate) {
        self.seen.send_modify(|seen| seen.sealed = Some(fate));
    }

    pub fn now_ms(&self) -> u64 {
        let now = NOON_S * 1000 + self.begun.elapsed().as_millis() as u64;
        now.saturating_add_signed(self.skew_ms.load(Ordering::Relaxed))
    }

    pub fn seen<T>(&self, read: impl FnOnce(&Seen) -> T) -> T {
        read(&self.seen.borrow())
    }

    /// Waits until what it has seen is enough.
    pub async fn wait_for(&self, enough: impl Fn(&Seen) -> bool) {
        self.seen.subscribe().wait_for(|seen| enough(seen)).await.unwrap();
    }

    fn note(&self, name: &'static str, message: &impl prost::Message) {
        self.seen
            .send_modify(|seen| seen.calls.push((name, message.encoded_len())));
    }

    /// Whether that is what the ballot's holder has.
    fn is_holder(&self, seen: &Seen, digest: &Digest, shown: &[u8]) -> bool {
        let [this, next] = &seen.shares[digest];
        let opening = |(nonce, share): &NonceAndShare| {
            let nonce = nonce.as_slice().try_into().unwrap();
            Opening::from_parts(Zeroizing::new(nonce), Zeroizing::new(share.clone()))
        };
        let shares = PartyShares {
            this: opening(this),
            next: opening(next),
        };
        let manifest = self.signed.get().unwrap().manifest();
        let of_box = manifest
            .ballot_box(seen.submissions[digest].header().of_box())
            .unwrap();
        is_holder(of_box.layout(), self.role, digest, &shares, shown)
    }

    /// A channel under the orders that it shows.
    fn calendar(&self, kind: ChannelKind) -> Channel {
        let signed = self.signed.get().unwrap();
        let shown = self.orders.lock().unwrap().orders.clone();
        let opened = |order| SignedOrder::open(Envelope::from_wire(order).ok()?, signed).ok();
        let orders: Vec<SignedOrder> = shown.into_iter().filter_map(opened).collect();
        let election = EffectiveElection::new(signed.clone(), in_force(&orders)).unwrap();
        election.channel(kind).unwrap().clone()
    }

    /// An answer only where it is there.
    fn is_there(&self) -> Result<(), Status> {
        match *self.manner.lock().unwrap() {
            Manner::Away => Err(Status::unavailable("nobody is there")),
            _ => Ok(()),
        }
    }

    fn accept(&self, submission: wire::Submission) -> Result<wire::Receipt, Refusal> {
        let manifest = self.signed.get().unwrap().manifest();
        let malformed = |error: &dyn std::fmt::Display| Refusal::new(Reason::MessageMalformed, error);
        let submission = Submission::from_wire(submission).map_err(|error| malformed(&error))?;
        let (header, digest) = (submission.header(), submission.digest());
        if let Some(known) = self.seen(|seen| seen.receipts.get(&digest).cloned()) {
            return Ok(known);
        }
        let of_box = header
            .check_place(manifest)
            .map_err(|error| Refusal::new(error.reason(), error))?;
        header
            .check_authority(&digest, submission.authority_signature(), manifest)
            .map_err(|error| Refusal::new(error.reason(), error))?;
        let ticket = header.ticket().map(|ticket| *ticket.key().as_bytes());
        if ticket.is_some_and(|ticket| self.seen(|seen| seen.spent.contains_key(&ticket))) {
            return Err(Refusal::new(Reason::TicketSpent, "another ballot has it"));
        }
        let now = UnixMillis(self.now_ms());
        self.calendar(header.channel())
            .check(header.cast_at(), now)
            .map_err(|error| Refusal::new(error.reason(), error))?;
        let context = ShareContext::ballot(manifest.election(), of_box);
        let ciphertext = submission.ciphertext();
        let shares = context
            .open(
                self.role,
                &self.opening,
                &digest,
                header.commitments(),
                ciphertext,
            )
            .map_err(|error| Refusal::new(Reason::ShareCommitmentMismatch, error))?;
        let manner = *self.manner.lock().unwrap();
        let mut acceptance = Acceptance {
            election: manifest.election().clone(),
            of_box: of_box.id(),
            party: self.role,
            digest,
            ciphertext_hash: submission.ciphertext_hash(),
            received_at: now.seconds(),
            position: self.seen(|seen| seen.receipts.len() as u64),
        };
        let mut signer = &self.signer;
        match manner {
            Manner::OtherDigest => acceptance.digest = Digest([1; 32]),
            Manner::OtherCiphertext => acceptance.ciphertext_hash.0[0] ^= 1,
            Manner::OtherTime => acceptance.received_at.0 -= 10,
            Manner::WrongKey => signer = &self.wrong,
            Manner::OtherParty => {
                acceptance.party = self.role.next();
                signer = &self.others[self.role.next().slot()];
            }
            _ => {}
        }
        let leaf = acceptance.log_leaf();
        let receipt = acceptance.sign(signer).to_wire();
        self.seen.send_modify(|seen| {
            seen.leaves.push(leaf);
            let pair = [&shares.this, &shares.next]
                .map(|opening| (opening.nonce().to_vec(), opening.share().to_vec()));
            seen.shares.insert(digest, pair);
            seen.receipts.insert(digest, receipt.clone());
            seen.spent.extend(ticket.map(|ticket| (ticket, digest)));
            seen.submissions.insert(digest, submission.clone());
        });
        Ok(receipt)
    }
}

/// The service handle (the trait is foreign, and so is `Arc`).
#[derive(Clone)]
struct Service(Arc<Fake>);

impl Service {
    async fn take(&self, request: Request<wire::Submission>) -> Result<wire::Receipt, Status> {
        self.0.is_there()?;
        self.0.note("submit", request.get_ref());
        let brought = Submission::from_wire(request.get_ref().clone()).unwrap();
        let ticket = brought.header().ticket().map(|ticket| *ticket.key().as_bytes());
        self.0.seen.send_modify(|seen| {
            seen.tickets.extend(ticket);
            seen.brought.insert(brought.digest());
        });
        let manner = *self.0.manner.lock().unwrap();
        match manner {
            Manner::Slow(pause) => tokio::time::sleep(pause).await,
            Manner::Silent => std::future::pending().await,
            Manner::Refusing(reason) => return Err(Refusal::new(reason, "as the test wants it").into()),
            _ => {}
        }
        Ok(self.0.accept(request.into_inner())?)
    }

    fn store(&self, receipt: &wire::Receipt) -> Result<(), Status> {
        let manner = *self.0.manner.lock().unwrap();
        if let Manner::Deaf(reason) = manner {
            return Err(Refusal::new(reason, "as the test wants it").into());
        }
        let receipt = Receipt::from_wire(receipt).unwrap();
        let keys = self.0.signed.get().unwrap().manifest().party_keys();
        let Ok(acceptance) = receipt.verify(&keys) else {
            return Err(Refusal::new(Reason::ReceiptInvalid, "a false receipt was handed over").into());
        };
        let key = (acceptance.digest, acceptance.party);
        self.0.seen.send_modify(|seen| _ = seen.delivered.insert(key));
        Ok(())
    }
}

#[tonic::async_trait]
impl Intake for Service {
    async fn clock(
        &self,
        request: Request<wire::ClockRequest>,
    ) -> Result<Response<wire::ClockReply>, Status> {
        self.0.is_there()?;
        self.0.note("clock", request.get_ref());
        Ok(Response::new(wire::ClockReply {
            now_ms: self.0.now_ms(),
        }))
    }

    async fn manifest(
        &self,
        request: Request<wire::ElectionRef>,
    ) -> Result<Response<wire::ManifestReply>, Status> {
        self.0.is_there()?;
        self.0.note("manifest", request.get_ref());
        let manner = *self.0.manner.lock().unwrap();
        if manner == Manner::Silent {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(self.0.orders.lock().unwrap().clone()))
    }

    async fn submit(&self, request: Request<wire::Submission>) -> Result<Response<wire::Receipt>, Status> {
        Ok(Response::new(self.take(request).await?))
    }

    async fn cast(&self, request: Request<wire::Submission>) -> Result<Response<wire::CastReply>, Status> {
        let receipt = self.take(request).await?;
        let stored = match *self.0.manner.lock().unwrap() {
            Manner::HandedOver => vec![1, 2, 3],
            Manner::Nonsense => vec![0, self.0.role.number(), 4, u32::MAX],
            _ => Vec::new(),
        };
        Ok(Response::new(wire::CastReply {
            receipt: Some(receipt),
            stored,
        }))
    }

    async fn cast_all(
        &self,
        request: Request<wire::Submissions>,
    ) -> Result<Response<wire::CastReplies>, Status> {
        self.0.is_there()?;
        self.0.note("cast_all", request.get_ref());
        let manner = *self.0.manner.lock().unwrap();
        match manner {
            Manner::OneByOne => return Err(Status::unimplemented("unknown")),
            Manner::Choking => return Err(Status::unavailable("gone")),
            Manner::Verbose => {
                let answers = vec![wire::CastAnswer::default(); 1 << 17];
                return Ok(Response::new(wire::CastReplies { answers }));
            }
            _ => {}
        }
        let mut submissions = request.into_inner().submissions;
        if manner == Manner::Curt {
            submissions.truncate(1);
        }
        assert!(submissions.len() <= 16, "more are refused");
        let all = submissions.into_iter().map(async |submission| {
            let outcome = match self.cast(Request::new(submission)).await {
                Ok(taken) => Outcome::Taken(taken.into_inner()),
                Err(status) => Outcome::Refusal(Refusal::of_status(&status).to_wire(&[])),
            };
            wire::CastAnswer {
                outcome: Some(outcome),
            }
        });
        let answers = join_all(all).await;
        Ok(Response::new(wire::CastReplies { answers }))
    }

    async fn deliver(&self, request: Request<wire::Receipt>) -> Result<Response<wire::DeliverReply>, Status> {
        self.0.is_there()?;
        self.0.note("deliver", request.get_ref());
        self.store(request.get_ref())?;
        Ok(Response::new(wire::DeliverReply {}))
    }

    async fn deliver_all(
        &self,
        request: Request<wire::Receipts>,
    ) -> Result<Response<wire::DeliverReply>, Status> {
        self.0.is_there()?;
        self.0.note("deliver_all", request.get_ref());
        for receipt in &request.get_ref().receipts {
            self.store(receipt)?;
        }
        Ok(Response::new(wire::DeliverReply {}))
    }

    async fn checkpoint(
        &self,
        request: Request<wire::ElectionRef>,
    ) -> Result<Response<wire::CheckpointReply>, Status> {
        let fake = &self.0;
        fake.note("checkpoint", request.get_ref());
        let election = fake.signed.get().unwrap().manifest().election().clone();
        let leaves = fake.seen(|seen| seen.leaves.clone());
        let (note, cosigned) = history::notes(&leaves, fake.telling(), (&election, fake.role), &fake.others);
        Ok(Response::new(wire::CheckpointReply { note, cosigned }))
    }

    async fn inclusion(
        &self,
        request: Request<wire::InclusionRequest>,
    ) -> Result<Response<wire::InclusionReply>, Status> {
        self.0.note("inclusion", request.get_ref());
        let asked = request.get_ref();
        let leaves = self.0.seen(|seen| seen.leaves.clone());
        let path = history::inclusion(&leaves, self.0.telling(), asked.position, asked.size);
        let path = path.iter().map(|node| node.0.to_vec()).collect();
        Ok(Response::new(wire::InclusionReply { path }))
    }

    async fn consistency(
        &self,
        request: Request<wire::ConsistencyRequest>,
    ) -> Result<Response<wire::ConsistencyReply>, Status> {
        self.0.note("consistency", request.get_ref());
        let asked = request.get_ref();
        let leaves = self.0.seen(|seen| seen.leaves.clone());
        let path = history::consistency(&leaves, self.0.telling(), asked.old_size, asked.new_size);
        let path = path.iter().map(|node| node.0.to_vec()).collect();
        Ok(Response::new(wire::ConsistencyReply { path }))
    }

    async fn mirrored(
        &self,
        request: Request<wire::MirroredRef>,
    ) -> Result<Response<wire::MirroredReply>, Status> {
        self.0.note("mirrored", request.get_ref());
        if self.0.telling() == Telling::Mute {
            return Err(Refusal::new(Reason::PartyBusy, "as the test wants it").into());
        }
        let of = Role::from_number(request.get_ref().party).unwrap();
        let owner = self.0.town.get().unwrap()[of.slot()].upgrade().unwrap();
        let election = self.0.signed.get().unwrap().manifest().election().clone();
        let leaves = owner.seen(|seen| seen.leaves.clone());
        let note = history::mirrored(&leaves, owner.telling(), (&election, of), &owner.signer);
        Ok(Response::new(wire::MirroredReply { note }))
    }

    async fn lookup(
        &self,
        request: Request<wire::LookupRequest>,
    ) -> Result<Response<wire::LookupReply>, Status> {
        self.0.is_there()?;
        self.0.note("lookup", request.get_ref());
        let digest = Digest::from_slice(&request.get_ref().digest).unwrap();
        let telling = self.0.telling();
        let reply = self.0.seen(|seen| {
            let header = |digest: &Digest| Public::Ballot(seen.submissions[digest].header().to_wire());
            let known = seen.submissions.contains_key(&digest) && telling != Telling::Ignorant;
            let of = match telling {
                Telling::OtherHeader => *seen.submissions.keys().find(|other| **other != digest).unwrap(),
                _ => digest,
            };
            let accepted = known && telling != Telling::HeaderOnly && seen.receipts.contains_key(&digest);
            let shown = accepted
                && telling != Telling::Withholding
                && self.0.is_holder(seen, &digest, &request.get_ref().holder);
            wire::LookupReply {
                accepted,
                receipt: shown.then(|| seen.receipts[&digest].clone()),
                public: known.then(|| header(&of)),
                authority_signature: Vec::new(),
                sealed: seen.sealed.clone(),
            }
        });
        Ok(Response::new(reply))
    }
}

/// The board: it is asked for its clock, and for tickets.
struct FakeBoard {
    /// Its clock is this party's.
    party: Arc<Fake>,
    /// By day.
    signers: Vec<TicketSigner>,
    draws: Arc<DrawBook>,
}

/// What the board answers to draws.
pub struct DrawBook {
    /// All draws that were counted.
    pub counted: Mutex<HashSet<Vec<Vec<u8>>>>,
    /// How many are answered.
    pub allowed: AtomicUsize,
    /// Whether it counts draws and never answers.
    pub is_silent: AtomicBool,
}

#[tonic::async_trait]
impl Board for FakeBoard {
    async fn clock(&self, _: Request<wire::ClockRequest>) -> Result<Response<wire::ClockReply>, Status> {
        Ok(Response::new(wire::ClockReply {
            now_ms: self.party.now_ms(),
        }))
    }

    async fn manifest(&self, _: Request<wire::ElectionRef>) -> Result<Response<wire::ManifestReply>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn draw(&self, request: Request<wire::DrawRequest>) -> Result<Response<wire::DrawReply>, Status> {
        let blinded = request.into_inner().blinded;
        {
            let mut counted = self.draws.counted.lock().unwrap();
            let is_full = counted.len() >= self.draws.allowed.load(Ordering::Relaxed);
            if is_full && !counted.contains(&blinded) {
                return Err(Refusal::new(Reason::DrawExhausted, "as the test wants it").into());
            }
            counted.insert(blinded.clone());
        }
        if self.draws.is_silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let days = blinded.chunks(TICKETS as usize).zip(&self.signers);
        let signatures = days.flat_map(|(of_day, signer)| of_day.iter().map(|one| signer.sign(one).unwrap()));
        Ok(Response::new(wire::DrawReply {
            signatures: signatures.collect(),
        }))
    }

    async fn admit_draw_code(
        &self,
        _: Request<wire::DrawCodeRequest>,
    ) -> Result<Response<wire::DrawCodeReply>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    type BundleStream = Pin<Box<dyn tokio_stream::Stream<Item = Result<wire::BundlePart, Status>> + Send>>;

    async fn bundle(&self, _: Request<wire::ElectionRef>) -> Result<Response<Self::BundleStream>, Status> {
        Err(Status::unimplemented("not asked here"))
    }
}

/// The parties, the board and the election.
pub struct Town {
    pub parties: [Arc<Fake>; 3],
    pub election: Election,
    pub signed: SignedManifest,
    pub agencies: Agencies,
    pub draws: Arc<DrawBook>,
}

/// One ballot put together again from two parties' shares.
#[derive(Debug, PartialEq, Eq)]
pub struct Plain {
    pub index: u32,
    pub credential: u64,
    /// The payload's first 8 bits.
    pub payload: u8,
}

impl Town {
    /// All three parties at work.
    pub async fn open() -> Self {
        Self::open_with(&Agencies::new(1), &[], &[]).await
    }

    /// Without those that are `away`: nobody listens at their addresses.
    pub async fn open_with(agencies: &Agencies, stations: &[StationIdentity], away: &[Role]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let agencies = Agencies::again(agencies);
        let bind = || async { TcpListener::bind("127.0.0.1:0").await.unwrap() };
        let mut public = Vec::new();
        let mut peer = Vec::new();
        for _ in 0..3 {
            public.push(bind().await);
            peer.push(bind().await);
        }
        let board = bind().await;
        let addresses = |listeners: &[TcpListener]| -> [SocketAddr; 3] {
            std::array::from_fn(|at| listeners[at].local_addr().unwrap())
        };
        let at = board.local_addr().unwrap();
        let manifest = agencies.define(addresses(&public), addresses(&peer), at, stations);
        let signed = agencies.sign(&manifest, 3);
        let begun = Instant::now();
        let parties = Role::ALL.map(|role| {
            let secrets = &agencies.parties[role.slot()];
            Arc::new(Fake {
                role,
                signer: again(&secrets.signer),
                wrong: again(&agencies.registrar),
                others: Role::ALL.map(|other| again(&agencies.parties[other.slot()].signer)),
                opening: OpeningKey::from_bytes(Suite::X25519ChaCha20Poly1305, &*secrets.opening.to_bytes())
                    .unwrap(),
                signed: OnceLock::from(Arc::new(signed.clone())),
                manner: Mutex::new(Manner::Honest),
                telling: Mutex::new(Telling::Truth),
                orders: Mutex::default(),
                skew_ms: AtomicI64::new(0),
                begun,
                town: OnceLock::new(),
                seen: watch::Sender::new(Seen::default()),
            })
        });
        for fake in &parties {
            let _ = fake.town.set(parties.each_ref().map(Arc::downgrade));
        }
        let hosts = ["127.0.0.1"];
        for (fake, (public, peer)) in parties.iter().zip(public.into_iter().zip(peer)) {
            if away.contains(&fake.role) {
                continue;
            }
            let authority = &agencies.parties[fake.role.slot()].authority;
            let leaf = authority.issue(&PeerRole::Party(fake.role), &hosts).unwrap();
            let trust = Trust::new().coordinator(Anchor::from_pem(agencies.commission.cert_pem()).unwrap());
            for (listener, tls) in [(public, public_tls(&leaf)), (peer, mutual_tls(&leaf, &trust))] {
                let service = IntakeServer::new(Service(fake.clone()));
                let server = tonic::transport::Server::builder()
                    .tls_config(tls)
                    .unwrap()
                    .add_service(service);
                tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
            }
        }
        let leaf = agencies.commission.issue(&PeerRole::Coordinator, &hosts).unwrap();
        let draws = Arc::new(DrawBook {
            counted: Mutex::default(),
            allowed: AtomicUsize::new(usize::MAX),
            is_silent: AtomicBool::new(false),
        });
        let signers = [&agencies.tickets, &agencies.later_tickets];
        let service = BoardServer::new(FakeBoard {
            party: parties[0].clone(),
            signers: signers.into_iter().filter_map(tickets_again).collect(),
            draws: draws.clone(),
        });
        let server = tonic::transport::Server::builder()
            .tls_config(public_tls(&leaf))
            .unwrap()
            .add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(board)));
        let election = Election::new(signed.clone()).unwrap();
        Self {
            parties,
            election,
            signed,
            agencies,
            draws,
        }
    }

    pub fn party(&self, role: Role) -> &Fake {
        &self.parties[role.slot()]
    }

    /// An invitation of voter `index` of box 1 with this credential.
    pub fn invitation(&self, index: u32, credential: u64) -> Invitation {
        let (voter, credential) = (VoterIndex(index), Credential::new(credential));
        let invitation = Invitation::new(&self.signed.hash(), BoxId(1), voter, credential);
        match self.agencies.tickets {
            Some(_) => invitation.with_draw(DrawCode::from_slice(&[7; DrawCode::BYTES]).unwrap()),
            None => invitation,
        }
    }

    /// A ballot's content, put together from P1's and P2's shares; the copies of share 2 are equal.
    pub fn plain(&self, digest: Digest) -> Plain {
        let of = |role| self.party(role).seen(|seen| seen.shares[&digest].clone());
        let ([first, second], [copy, third]) = (of(Role::P1), of(Role::P2));
        assert_eq!(second, copy);
        let plain: Vec<u8> = (0..first.1.len())
            .map(|at| first.1[at] ^ second.1[at] ^ third.1[at])
            .collect();
        let header = self
            .party(Role::P1)
            .seen(|seen| seen.submissions[&digest].header().clone());
        let bits = self
            .signed
            .manifest()
            .ballot_box(header.of_box())
            .unwrap()
            .layout()
            .index_bits();
        let read = |from: usize, count: usize| -> u64 {
            (0..count)
                .map(|bit| {
                    u64::from(
                        plain
                            .get((from + bit) / 8)
                            .map_or(0, |byte| byte >> ((from + bit) % 8) & 1),
                    ) << bit
                })
                .sum()
        };
        Plain {
            index: read(0, bits) as u32,
            credential: read(bits, 64),
            payload: read(bits + 64, 8) as u8,
        }
    }
}

fn again(signer: &Signer) -> Signer {
    Signer::from_seed(&*signer.seed()).unwrap()
}

fn tickets_again(of: &Option<TicketSigner>) -> Option<TicketSigner> {
    let der = of.as_ref()?.to_der().unwrap();
    Some(TicketSigner::from_der(&der).unwrap())
}

impl Agencies {
    /// The same agencies once more.
    pub fn again(of: &Agencies) -> Self {
        let authority = |of: &tally_proto::pki::Authority| {
            tally_proto::pki::Authority::from_pem(of.cert_pem(), &of.key_pem()).unwrap()
        };
        Self {
            parties: of.parties.each_ref().map(|party| super::world::PartySecrets {
                role: party.role,
                signer: again(&party.signer),
                opening: OpeningKey::from_bytes(Suite::X25519ChaCha20Poly1305, &*party.opening.to_bytes())
                    .unwrap(),
                authority: authority(&party.authority),
            }),
            coordinator: again(&of.coordinator),
            commission: authority(&of.commission),
            registrar: again(&of.registrar),
            tickets: tickets_again(&of.tickets),
            later_tickets: tickets_again(&of.later_tickets),
            hours: of.hours.clone(),
        }
    }
}
