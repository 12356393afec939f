//! A whole made-up election with all its keys, for tests: three parties, a coordinator, two registrars at most, two stations, two boxes.
//!
//! Everything follows from one seed, but for the TLS authorities, which the operating system's randomness makes.

pub mod cards;
pub mod der;
pub mod ports;

use std::sync::{Arc, LazyLock};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::ballot::{BallotHeader, StationMark, Submission, sign_authority};
use crate::calendar::ChannelKind;
use crate::envelope::{Envelope, Kind, SignatureBytes, Signer};
use crate::identity::{CoordinatorIdentity, PartyIdentity, PartyParts, RegistrarIdentity, StationIdentity};
use crate::ids::{BoxId, Digest, Hash32, RegisterId, Role, RoleExt as _, StationId, UnixSeconds, VoterIndex};
use crate::invitation::Credential;
use crate::manifest::{Network, RevokedRows, SignedManifest};
use crate::merkle::empty_root;
use crate::note::Checkpoint;
use crate::offsets::OffsetKey;
use crate::order::{Change, EffectiveElection, Order, SignedOrder};
use crate::pki::Authority;
use crate::receipt::{Acceptance, Receipt};
use crate::record::{
    Endorsement, Half, Issue, OpenPlace, RecordHeader, RecordParts, RecordSubmission, Source, authorise,
};
use crate::roll::{Roll, RollEntry};
use crate::sealing::{BallotEvidence, BoxBody, Claims, DigestList, Inputs, List, RecordEvidence, SignedList};
use crate::shares::{ShareContext, split_ballot, split_credential_openings};
use crate::suite::OpeningKey;
use crate::ticket::{Draw, OwnTicket, TicketSigner};
use crate::wire;
use cards::{CardKey, CardShape, Cards};
use tally_mpc::layout::Choice;
use zeroize::Zeroizing;

/// First second of every channel's opening.
pub const OPENS: u64 = 1_800_000_000;
/// Last second of the online channel.
pub const CLOSES: u64 = OPENS + 36_000;
/// Last second in which stations may deliver.
pub const DRAINED: u64 = CLOSES + 7_200;

/// What a test may choose.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Seed of all keys.
    pub seed: u64,
    /// Voters of box 1 and box 2.
    pub voters: [u32; 2],
    /// Ballots that a party takes for box 1; 0: the manifest does not say.
    pub max_ballots: u32,
    /// 1 or 2.
    pub registrars: usize,
    /// Policy.
    pub min_submissions: u32,
    /// How far apart the parties are.
    pub network: Network,
    /// What counts of a revoked station.
    pub revoked_rows: RevokedRows,
    /// Whether voters may enrol by card.
    pub cards: bool,
    /// Whether it is the certificates' own numbers that name them: two for each, of the card and of one that is issued in its place.
    pub by_number: bool,
    /// Instead of the two boxes there is box 1 with an open roll; then without registrars.
    pub open: Option<OpenShape>,
    /// Whether online ballots need tickets: two days, two tickets each, two draws.
    pub tickets: bool,
    /// Ports of the parties' peer addresses on localhost.
    pub peer_ports: [u16; 3],
}

/// An open roll.
#[derive(Clone, Copy, Debug)]
pub struct OpenShape {
    /// The most voters that it can have.
    pub most: u32,
    /// Its last second.
    pub freezes: u64,
    /// Fewest voters at the seal.
    pub min_voters: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            seed: 1,
            voters: [5, 3],
            max_ballots: 0,
            registrars: 1,
            min_submissions: 0,
            network: Network::Near,
            revoked_rows: RevokedRows::Before,
            cards: false,
            by_number: false,
            open: None,
            tickets: false,
            peer_ports: [7201, 7202, 7203],
        }
    }
}

/// When the first day of tickets begins, before the opening; and how long a day is: the second begins while it is open.
pub const TICKET_DAYS: u64 = OPENS - 3_600;
/// Seconds between the days of tickets.
pub const TICKET_DAY: u64 = 21_600;

/// Made once: a key takes a good part of a second.
fn ticket_signers() -> Vec<TicketSigner> {
    static KEYS: LazyLock<[Zeroizing<Vec<u8>>; 2]> = LazyLock::new(|| {
        let mut rng = ChaCha20Rng::seed_from_u64(0x71c7);
        std::array::from_fn(|_| {
            let signer = TicketSigner::generate(&mut rng).expect("a key");
            signer.to_der().expect("encodes")
        })
    });
    KEYS.iter()
        .map(|der| TicketSigner::from_der(der).expect("just made"))
        .collect()
}

/// The election and everybody's keys.
#[derive(Debug)]
pub struct World {
    /// Complete: signed by all four.
    pub manifest: Arc<SignedManifest>,
    /// Rolls of box 1 and box 2; the last voter of each is station-only where there are at least two.
    pub rolls: [Roll; 2],
    /// The parties' signing keys.
    pub signers: [Signer; 3],
    /// The parties' HPKE keys.
    pub opening_keys: [OpeningKey; 3],
    /// The parties' TLS authorities.
    pub authorities: [Authority; 3],
    /// The coordinator's signing key.
    pub coordinator: Signer,
    /// The coordinator's TLS authority.
    pub coordinator_authority: Authority,
    /// The registrars' keys.
    pub registrars: Vec<Signer>,
    /// Keys of stations 1 (all boxes) and 2 (box 1 only).
    pub stations: [Signer; 2],
    /// The hierarchy of identity cards, where voters may enrol by card.
    pub cards: Option<Cards>,
    /// K_1, K_2, K_3, which the manifest commits to where voters may enrol by card.
    pub offset_keys: [OffsetKey; 3],
    /// The coordinator's keys for tickets, by day; none without tickets.
    pub ticket_signers: Vec<TicketSigner>,
    /// Goes on where making the keys stopped.
    pub rng: ChaCha20Rng,
}

fn text(text: &str) -> Vec<wire::Text> {
    vec![wire::Text {
        language: "en".into(),
        text: text.into(),
    }]
}

fn channel(kind: ChannelKind, receive_until_s: u64) -> wire::Channel {
    wire::Channel {
        kind: kind.to_wire().into(),
        name: text(&kind.to_string()),
        time_zone: "UTC".into(),
        openings: vec![wire::Opening {
            opens_local: "2027-01-15 08:00".into(),
            closes_local: "2027-01-15 18:00".into(),
            opens_s: OPENS,
            closes_s: CLOSES,
        }],
        receive_until_s,
    }
}

fn roll(of_box: u32, voters: u32, shape: &Shape) -> Roll {
    let persons = |v| {
        let mut said = match (shape.cards, shape.by_number) {
            (false, _) => Vec::new(),
            (true, false) => vec![cards::called(of_box, v)],
            (true, true) => [0, 1]
                .map(|card| data_encoding::HEXLOWER.encode(&cards::number(of_box, v, card)))
                .to_vec(),
        };
        let mut persons: Vec<Hash32> = said.drain(..).map(|said| cards::person(&said)).collect();
        persons.sort_unstable_by_key(|code| code.0);
        persons
    };
    let entry = |v| RollEntry {
        reference: format!("voter-{of_box}-{v}"),
        online: v == 0 || v + 1 < voters,
        persons: persons(v),
    };
    Roll::new((0..voters).map(entry).collect()).expect("distinct references")
}

fn parties(
    signers: &[Signer; 3],
    opening_keys: &[OpeningKey; 3],
    authorities: &[Authority; 3],
    peer_ports: [u16; 3],
) -> Vec<wire::PartyIdentity> {
    let party = |role: Role| {
        let i = role.slot();
        let identity = PartyIdentity::new(PartyParts {
            role,
            agency: format!("Agency {}", i + 1),
            public_address: format!("https://localhost:{}", 7101 + i),
            peer_address: format!("https://localhost:{}", peer_ports[i]),
            tls_ca_pem: authorities[i].cert_pem().into(),
            signing_key: signers[i].public_key(),
            sealing_key: opening_keys[i].sealing_key(),
        });
        identity.expect("an identity by the rules").to_wire()
    };
    Role::ALL.map(party).to_vec()
}

fn boxes(rolls: &[Roll; 2], max_ballots: u32) -> Vec<wire::Box> {
    let of_box = |(id, roll): (u32, &Roll)| wire::Box {
        id,
        name: text(&format!("District {id}")),
        contests: if id == 1 { vec![1, 2] } else { vec![1] },
        voters: roll.voters(),
        roll_root: roll.root().0.to_vec(),
        index_bits: tally_mpc::BallotLayout::index_bits_for(roll.voters()) as u32,
        max_ballots: if id == 1 { max_ballots } else { 0 },
        open: None,
    };
    (1..).zip(rolls).map(of_box).collect()
}

/// Box 1 alone, with an open roll.
fn open_box(voters: u32, freezes: u64) -> Vec<wire::Box> {
    vec![wire::Box {
        id: 1,
        name: text("District 1"),
        contests: vec![1, 2],
        voters,
        roll_root: Vec::new(),
        index_bits: tally_mpc::BallotLayout::index_bits_for(voters) as u32,
        open: Some(wire::OpenRoll { freezes_s: freezes }),
        max_ballots: 0,
    }]
}

fn contests() -> Vec<wire::Contest> {
    let options = |names: &[&str]| {
        names
            .iter()
            .map(|name| wire::Choice { name: text(name) })
            .collect()
    };
    vec![
        wire::Contest {
            id: 1,
            title: text("Mayor"),
            options: options(&["Ada", "Ben", "Cleo"]),
            rule: Some(wire::contest::Rule::Single(wire::SingleRule {})),
        },
        wire::Contest {
            id: 2,
            title: text("Board"),
            options: options(&["Dora", "Eli", "Fay", "Gus"]),
            rule: Some(wire::contest::Rule::Approval(wire::ApprovalRule { max: 2 })),
        },
    ]
}

impl World {
    /// Makes it.
    ///
    /// # Panics
    /// When `shape` breaks a rule of manifests.
    pub fn new(shape: Shape) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(shape.seed);
        let signers: [Signer; 3] = std::array::from_fn(|_| Signer::generate(&mut rng));
        let opening_keys: [OpeningKey; 3] = std::array::from_fn(|_| OpeningKey::generate(&mut rng));
        let authority = |name: &str| Authority::generate(name).expect("an authority");
        let authorities = ["Agency one", "Agency two", "Agency three"].map(authority);
        let coordinator = Signer::generate(&mut rng);
        let coordinator_authority = authority("Commission");
        let registrars: Vec<Signer> = (0..shape.registrars)
            .map(|_| Signer::generate(&mut rng))
            .collect();
        let stations: [Signer; 2] = std::array::from_fn(|_| Signer::generate(&mut rng));
        let rolls = [roll(1, shape.voters[0], &shape), roll(2, shape.voters[1], &shape)];
        let cards = shape.cards.then(|| Cards::new(OPENS));
        let identity = CoordinatorIdentity::new(
            "Commission",
            "https://localhost:7100",
            coordinator_authority.cert_pem(),
            coordinator.public_key(),
        );
        let registrar = |(i, signer): (usize, &Signer)| {
            RegistrarIdentity::new(["letters", "texts"][i], signer.public_key())
                .expect("a slug")
                .to_wire()
        };
        let station = |(id, signer): (u32, &Signer)| {
            let boxes = if id == 1 { vec![] } else { vec![BoxId(1)] };
            let name = format!("Station {id}");
            StationIdentity::new(StationId(id), &name, signer.public_key(), boxes)
                .expect("a station")
                .to_wire()
        };
        let ticket_signers = if shape.tickets {
            ticket_signers()
        } else {
            Vec::new()
        };
        let ticket_keys = (0..).zip(&ticket_signers).map(|(day, signer)| {
            signer
                .key_of(UnixSeconds(TICKET_DAYS + day * TICKET_DAY))
                .to_wire()
        });
        let register = cards
            .as_ref()
            .map(|of| of.register(cards::WINDOW.0.get(), cards::WINDOW.1.get()))
            .map(|register| match shape.by_number {
                false => register,
                true => wire::EnrolmentRegister {
                    person: Some(wire::enrolment_register::Person::CertificateSerial(
                        wire::CertificateSerial {},
                    )),
                    ..register
                },
            });
        let mut of_offsets = ChaCha20Rng::seed_from_u64(shape.seed ^ 0x0ff5e7);
        let offset_keys: [OffsetKey; 3] = std::array::from_fn(|_| OffsetKey::generate(&mut of_offsets));
        let offsets = register.iter().flat_map(|register| {
            let id = RegisterId::new(&register.id).expect("a slug");
            Role::ALL.map(|j| wire::CredentialOffset {
                index: j.number(),
                commitment: offset_keys[j.slot()].commitment(&id, j).0.to_vec(),
            })
        });
        let offsets = offsets.collect();
        let wire = wire::Manifest {
            ticket_keys: ticket_keys.collect(),
            ticket_allowance: shape
                .tickets
                .then_some(wire::TicketAllowance { per_day: 2, draws: 2 }),
            version: crate::manifest::VERSION,
            election: "ward-7".into(),
            title: text("Ward 7"),
            contests: contests(),
            boxes: match shape.open {
                None => boxes(&rolls, shape.max_ballots),
                Some(open) => open_box(open.most, open.freezes),
            },
            channels: vec![
                channel(ChannelKind::Online, CLOSES + 60),
                channel(ChannelKind::Station, DRAINED),
                channel(ChannelKind::Paper, DRAINED),
            ],
            parties: parties(&signers, &opening_keys, &authorities, shape.peer_ports),
            coordinator: Some(identity.expect("an identity by the rules").to_wire()),
            registrars: registrars.iter().enumerate().map(registrar).collect(),
            stations: (1..).zip(&stations).map(station).collect(),
            policy: Some(wire::ResultPolicy {
                open_counted_per_channel: true,
                min_voters: shape.open.map_or(0, |open| open.min_voters),
                min_submissions: shape.min_submissions,
            }),
            created_at_s: OPENS - 1_000_000,
            network: shape.network.to_wire().into(),
            revoked_rows: shape.revoked_rows.to_wire().into(),
            register,
            offsets,
        };
        let mut envelope = coordinator.seal_envelope(Kind::Manifest, prost::Message::encode_to_vec(&wire));
        for signer in &signers {
            envelope.add_signature(signer.sign(Kind::Manifest, envelope.payload()));
        }
        let manifest = Arc::new(SignedManifest::open(envelope).expect("a manifest by the rules"));
        Self {
            manifest,
            rolls,
            signers,
            opening_keys,
            authorities,
            coordinator,
            coordinator_authority,
            registrars,
            stations,
            cards,
            offset_keys,
            ticket_signers,
            rng,
        }
    }

    /// Draws a whole allowance, as a voter does.
    ///
    /// # Panics
    /// In an election without tickets.
    pub fn draw(&mut self) -> Vec<OwnTicket> {
        let manifest = self.manifest.manifest();
        let ticketing = manifest.ticketing().expect("an election with tickets");
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let draw = Draw::new(manifest.election(), ticketing, &seed).expect("keys by the rules");
        let signers = self.ticket_signers.iter();
        let signers = signers.flat_map(|s| std::iter::repeat_n(s, ticketing.per_day() as usize));
        let request = draw.request();
        let answer = request
            .iter()
            .zip(signers)
            .map(|(blinded, signer)| signer.sign(blinded));
        let answer: Vec<Vec<u8>> = answer.collect::<Result<_, _>>().expect("signed");
        draw.finish(&answer).expect("signed with the manifest's keys")
    }

    /// A ticket that is good at `at`.
    ///
    /// # Panics
    /// In an election without tickets, or before its first day.
    pub fn ticket(&mut self, at: UnixSeconds) -> OwnTicket {
        let manifest = Arc::clone(&self.manifest);
        let ticketing = manifest.manifest().ticketing().expect("an election with tickets");
        let day = ticketing.key_at(at).expect("a day that has begun").day();
        let of_day = |own: &OwnTicket| own.ticket().day() == day;
        self.draw()
            .into_iter()
            .find(of_day)
            .expect("an allowance for every day")
    }

    /// The election without orders.
    pub fn election(&self) -> EffectiveElection {
        EffectiveElection::new(Arc::clone(&self.manifest), []).expect("no orders")
    }

    /// A complete order, the first in force.
    ///
    /// # Panics
    /// When the change does not fit the manifest.
    pub fn order(&self, number: u32, change: Change) -> SignedOrder {
        self.order_after(None, number, change)
    }

    /// A complete order after another one.
    ///
    /// # Panics
    /// When the change does not fit the manifest.
    pub fn order_after(&self, after: Option<&SignedOrder>, number: u32, change: Change) -> SignedOrder {
        let order = Order {
            election: self.manifest.manifest().election().clone(),
            manifest_hash: self.manifest.hash(),
            number,
            after: after.map(SignedOrder::hash),
            reason: "for a test".into(),
            change,
        };
        let envelope = self.sign_all(Kind::Order, order.encode());
        SignedOrder::open(envelope, &self.manifest).expect("an order by the rules")
    }

    /// `payload` signed by coordinator and parties.
    pub fn sign_all(&self, kind: Kind, payload: Vec<u8>) -> Envelope {
        let mut envelope = self.coordinator.seal_envelope(kind, payload);
        for signer in &self.signers {
            envelope.add_signature(signer.sign(kind, envelope.payload()));
        }
        envelope
    }

    /// A ballot for the three parties: online without `mark`, at a station with. Where online ballots need tickets, one is drawn for it.
    ///
    /// # Panics
    /// When the choices do not fit the box.
    pub fn ballot(&mut self, ballot: Cast<'_>) -> [Submission; 3] {
        let needed = self.manifest.manifest().ticketing().is_some() && ballot.mark.is_none();
        let own = needed.then(|| self.ticket(ballot.cast_at));
        self.ballot_with(ballot, own.as_ref())
    }

    /// [`World::ballot`] with this ticket, or without one.
    ///
    /// # Panics
    /// When the choices do not fit the box.
    pub fn ballot_with(&mut self, ballot: Cast<'_>, own: Option<&OwnTicket>) -> [Submission; 3] {
        let manifest = Arc::clone(&self.manifest);
        let manifest = manifest.manifest();
        let of_box = manifest.ballot_box(ballot.of_box).expect("a box of the manifest");
        let layout = of_box.layout();
        let packed = layout
            .pack(ballot.voter.get(), ballot.credential, ballot.choices)
            .expect("choices that fit");
        let context = ShareContext::ballot(manifest.election(), of_box);
        let openings = split_ballot(layout, &packed, &mut self.rng).expect("packed by this layout");
        let (election, commitments) = (manifest.election().clone(), context.commit_all(&openings));
        let header = match ballot.mark {
            None => BallotHeader::online(election, ballot.of_box, ballot.cast_at, commitments),
            Some(mark) => BallotHeader::station(
                election,
                ballot.of_box,
                ballot.paper,
                ballot.cast_at,
                commitments,
                mark,
            ),
        };
        let header = match own {
            Some(own) => header.with_ticket(own.ticket().clone()),
            None => header,
        };
        let digest = header.digest();
        let station = |mark: StationMark| &self.stations[mark.station.get() as usize - 1];
        let signature = ballot.mark.map(|mark| sign_authority(station(mark), &digest));
        let sealed = Role::ALL.map(|role| {
            let key = manifest.party(role).sealing_key();
            context
                .seal(role, key, &digest, &openings, &mut self.rng)
                .expect("sealed")
        });
        let hashes = sealed.each_ref().map(|sealed| Hash32::of(sealed));
        let ticket_use = own.map(|own| own.sign(&digest, hashes));
        sealed.map(|sealed| {
            let part = Submission::new(header.clone(), sealed, signature).expect("fits its channel");
            match ticket_use {
                Some(ticket_use) => part.with_use(ticket_use),
                None => part,
            }
        })
    }

    /// A record for the three parties, from the registrar of `half`.
    ///
    /// # Panics
    /// When there is no such registrar.
    pub fn record(
        &mut self,
        of_box: BoxId,
        voter: VoterIndex,
        serial: u32,
        half: Half,
        credential: &Credential,
    ) -> [RecordSubmission; 3] {
        let manifest = self.manifest.manifest();
        let context = ShareContext::credential(manifest.election(), of_box);
        let openings = split_credential_openings(credential.expose(), &mut self.rng);
        let registrar = &self.registrars[half.number() as usize];
        let header = RecordHeader::new(RecordParts {
            source: Source::Issued(Issue {
                election: manifest.election().clone(),
                of_box,
                voter,
                half,
                registrar: registrar.public_key(),
            }),
            serial,
            signed_at: UnixSeconds(OPENS - 500_000),
            commitments: context.commit_all(&openings),
        });
        let digest = header.digest();
        let authorisation = authorise(registrar, &digest);
        Role::ALL.map(|role| {
            let key = manifest.party(role).sealing_key();
            let sealed = context
                .seal(role, key, &digest, &openings, &mut self.rng)
                .expect("sealed");
            RecordSubmission::new(header.clone(), authorisation, sealed).expect("within limits")
        })
    }
}

impl World {
    /// A card of a voter of the roll, signed by the fixture's hierarchy.
    ///
    /// # Panics
    /// In a world without cards.
    pub fn card(&mut self, of_box: BoxId, voter: VoterIndex, key: CardKey) -> cards::Card {
        let shape = CardShape::of(&cards::called(of_box.get(), voter.get()), key, OPENS);
        self.cards.as_mut().expect("a world with cards").card(&shape)
    }

    /// A record that this card authorises, for the three parties.
    ///
    /// # Panics
    /// In a world without cards.
    pub fn card_record(
        &mut self,
        card: &cards::Card,
        signed_at: UnixSeconds,
        credential: &Credential,
    ) -> [RecordSubmission; 3] {
        let mut nonce = [0; 32];
        self.rng.fill_bytes(&mut nonce);
        let mut source = card.source(&nonce);
        let Source::Card(mark) = &mut source else {
            unreachable!("a card's source")
        };
        // Without a number: P1 gives it.
        let open = self.manifest.manifest().open_box();
        mark.place = open.map(|of_box| OpenPlace {
            election: self.manifest.manifest().election().clone(),
            of_box: of_box.id(),
            voter: None,
        });
        let Source::Card(mark) = &source else {
            unreachable!("a card's source")
        };
        let context = ShareContext::card(&mark.register);
        let openings = split_credential_openings(credential.expose(), &mut self.rng);
        let header = RecordHeader::new(RecordParts {
            commitments: context.commit_all(&openings),
            serial: u32::try_from(signed_at.get()).expect("this century"),
            signed_at,
            source: source.clone(),
        });
        let digest = header.digest();
        let authorisation = card.authorise(nonce, &digest);
        let manifest = Arc::clone(&self.manifest);
        let manifest = manifest.manifest();
        Role::ALL.map(|role| {
            let key = manifest.party(role).sealing_key();
            let sealed = context
                .seal(role, key, &digest, &openings, &mut self.rng)
                .expect("sealed");
            let election = manifest.election().clone();
            RecordSubmission::of_card(header.clone(), authorisation.clone(), sealed, election)
                .expect("within limits")
        })
    }
}

/// The signature of a station over a ballot, or of a registrar over a record, with another nonce than Ed25519 prescribes: as good as the first one,
/// and other bytes.
///
/// # Panics
/// Never: a seed has 32 bytes.
#[cfg(feature = "fixture")]
pub fn sign_anew(signer: &Signer, digest: &Digest, record: bool) -> SignatureBytes {
    use crate::layout::{Writer, tag};
    use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
    let seed = signer.seed();
    let mut secret = ExpandedSecretKey::from(&*seed);
    secret.hash_prefix[0] ^= 1;
    let key = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key();
    let tag = if record {
        tag::AUTHORISATION
    } else {
        tag::AUTHORITY
    };
    let message = Writer::new(tag).fixed(&digest.0);
    SignatureBytes(raw_sign::<sha2::Sha512>(&secret, message.as_bytes(), &key).to_bytes())
}

/// A ballot to be made by [`World::ballot`].
#[derive(Clone, Copy, Debug)]
pub struct Cast<'a> {
    /// The box.
    pub of_box: BoxId,
    /// The voter's index; may lie beyond the roll.
    pub voter: VoterIndex,
    /// The credential used.
    pub credential: u64,
    /// One choice a contest of the box.
    pub choices: &'a [Choice],
    /// When.
    pub cast_at: UnixSeconds,
    /// At a station: which, and its sequence number.
    pub mark: Option<StationMark>,
    /// At a station: a paper vote.
    pub paper: bool,
}

/// A ballot's header and signature, with what each party did with it.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// Header, and the station's signature or the registrar's authorisation.
    pub public: T,
    /// Which parties list it.
    pub listed: [bool; 3],
}

/// A box's evidence: Lists and Claims as the three parties sign them, and the body.
#[derive(Debug)]
pub struct Evidence {
    /// In party order.
    pub lists: [SignedList; 3],
    /// In party order.
    pub claims: [(Claims, Hash32); 3],
    /// The envelopes of the Claims.
    pub claims_envelopes: [Envelope; 3],
    /// The body.
    pub body: BoxBody,
}

impl World {
    /// A receipt of `party` for `digest`.
    pub fn receipt(&self, party: Role, of_box: BoxId, digest: Digest) -> Receipt {
        self.receipt_at(party, of_box, digest, UnixSeconds(OPENS))
    }

    /// The same, given at that moment.
    pub fn receipt_at(&self, party: Role, of_box: BoxId, digest: Digest, at: UnixSeconds) -> Receipt {
        let acceptance = Acceptance {
            election: self.manifest.manifest().election().clone(),
            of_box,
            party,
            digest,
            ciphertext_hash: Hash32([party.index(); 32]),
            received_at: at,
            position: 0,
        };
        acceptance.sign(&self.signers[party.slot()])
    }

    /// What the parties sign when they list and claim this. `claimed[i]` are the receipts in party i's Claims; a candidate is what has
    /// two acceptances (records: three) by List or by any claimed receipt.
    ///
    /// # Panics
    /// When an item stands twice.
    pub fn evidence(
        &self,
        of_box: BoxId,
        ballots: &[Listed<(BallotHeader, Option<SignatureBytes>)>],
        records: &[Listed<(RecordHeader, Endorsement)>],
        claimed: [Vec<Receipt>; 3],
        orders: [&[Hash32]; 3],
    ) -> Evidence {
        let accepted = |digest: &Digest, listed: [bool; 3]| {
            let by_receipt = |role: Role| {
                claimed
                    .iter()
                    .flatten()
                    .any(|r| r.unverified().digest == *digest && r.unverified().party == role)
            };
            Role::ALL
                .into_iter()
                .filter(|role| listed[role.slot()] || by_receipt(*role))
                .count()
        };
        let ballot = |b: &Listed<(BallotHeader, Option<SignatureBytes>)>| {
            let digest = b.public.0.digest();
            match accepted(&digest, b.listed) {
                0 | 1 => BallotEvidence::bare(digest, b.listed),
                _ => BallotEvidence::candidate(b.public.0.clone(), b.public.1, b.listed),
            }
        };
        let record = |r: &Listed<(RecordHeader, Endorsement)>| {
            let digest = r.public.0.digest();
            match accepted(&digest, r.listed) {
                3 => RecordEvidence::candidate(r.public.0.clone(), r.public.1, r.listed),
                _ => RecordEvidence::bare(digest, r.listed),
            }
        };
        let mut ballots: Vec<_> = ballots.iter().map(ballot).collect();
        ballots.sort_by_key(BallotEvidence::digest);
        let mut records: Vec<_> = records.iter().map(record).collect();
        records.sort_by_key(RecordEvidence::digest);
        let online = match self.manifest.manifest().open_box() {
            Some(_) => crate::bitmap::Bitmap::zeros(0),
            None => self.rolls[of_box.get() as usize - 1].online(),
        };
        let body = BoxBody::new(ballots, records, online).expect("every item once");
        self.sign_evidence(of_box, body, claimed, orders)
    }

    /// Lists and Claims over this body.
    ///
    /// # Panics
    /// Never for a body of [`World::evidence`].
    pub fn sign_evidence(
        &self,
        of_box: BoxId,
        body: BoxBody,
        claimed: [Vec<Receipt>; 3],
        orders: [&[Hash32]; 3],
    ) -> Evidence {
        let manifest = self.manifest.manifest();
        let keys = manifest.party_keys();
        let lists = Role::ALL.map(|party| {
            let (ballots, records) = body.lists_of(party);
            let signer = &self.signers[party.slot()];
            let election = manifest.election().clone();
            let checkpoint = Checkpoint {
                election,
                party,
                size: 0,
                root: empty_root(),
            }
            .sign(signer)
            .into_bytes();
            let list = List {
                election: manifest.election().clone(),
                of_box,
                party,
                manifest_hash: self.manifest.hash(),
                ballots: DigestList::new(ballots).expect("ascending").statement(),
                records: DigestList::new(records).expect("ascending").statement(),
                checkpoint,
                orders: orders[party.slot()].to_vec(),
            };
            SignedList::open(signer.seal_envelope(Kind::List, list.encode()), &keys)
                .expect("a List by the rules")
        });
        let list_hashes = lists.each_ref().map(SignedList::hash);
        let claims_envelopes = Role::ALL.map(|party| {
            let claims = Claims {
                election: manifest.election().clone(),
                of_box,
                party,
                list_hashes,
                receipts: claimed[party.slot()].clone(),
            };
            self.signers[party.slot()].seal_envelope(Kind::Claims, claims.encode())
        });
        let claims = claims_envelopes
            .each_ref()
            .map(|envelope| Claims::open(envelope, &keys).expect("Claims by the rules"));
        Evidence {
            lists,
            claims,
            claims_envelopes,
            body,
        }
    }
}

impl Evidence {
    /// The inputs of [`crate::sealing::compute`].
    pub fn inputs<'a>(&'a self, election: &'a EffectiveElection, of_box: BoxId) -> Inputs<'a> {
        Inputs {
            election,
            of_box,
            lists: &self.lists,
            claims: &self.claims,
            body: &self.body,
        }
    }
}
