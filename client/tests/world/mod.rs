// A small election for tests: its agencies with keys and certificates, and its signed manifest. (Plain comments only: the example
// in the crate's documentation includes this file.)

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rand::{SeedableRng, rngs::StdRng};
use tally_mpc::layout::BallotLayout;
use tally_proto::calendar::{Channel, ChannelKind};
use tally_proto::envelope::{Envelope, Kind, Signer};
use tally_proto::identity::{
    CoordinatorIdentity, PartyIdentity, PartyParts, RegistrarIdentity, StationIdentity,
};
use tally_proto::ids::{Hash32, Role, RoleExt, StationId, UnixSeconds};
use tally_proto::manifest::{Manifest, SignedManifest};
use tally_proto::order::{Change, Order, Revocation};
use tally_proto::pki::Authority;
use tally_proto::roll::{Roll, RollEntry};
use tally_proto::suite::OpeningKey;
use tally_proto::ticket::TicketSigner;
use tally_proto::wire;

/// When the test elections are open, and the middle of it.
pub const OPENS_S: u64 = 1_700_000_000;
pub const NOON_S: u64 = OPENS_S + 40_000;
pub const CLOSES_S: u64 = OPENS_S + 80_000;
/// Voters of each box.
pub const VOTERS: u32 = 100;

/// The roll of a box: voters B1-000, B1-001 ..., every other one on paper only.
pub fn roll(of_box: u32) -> Roll {
    let entry = |v| RollEntry {
        reference: format!("B{of_box}-{v:03}"),
        online: v % 2 == 0,
        persons: Vec::new(),
    };
    Roll::new((0..VOTERS).map(entry).collect()).unwrap()
}

/// One party's secrets.
pub struct PartySecrets {
    pub role: Role,
    pub signer: Signer,
    pub opening: OpeningKey,
    pub authority: Authority,
}

/// Everybody's secrets.
pub struct Agencies {
    pub parties: [PartySecrets; 3],
    pub coordinator: Signer,
    pub commission: Authority,
    pub registrar: Signer,
    /// Signs tickets, where online ballots need one.
    pub tickets: Option<TicketSigner>,
    /// The same for the second day of tickets, where there is one.
    pub later_tickets: Option<TicketSigner>,
    /// The openings of channels that are open at other times than from `OPENS_S` to `CLOSES_S`; none: the election has no such channel.
    pub hours: BTreeMap<ChannelKind, Vec<(u64, u64)>>,
}

/// When the second day of tickets begins, where there is one.
pub const SECOND_DAY_S: u64 = NOON_S + 10_000;
/// Tickets of each day in a draw.
pub const TICKETS: u32 = 6;

impl Agencies {
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let parties = Role::ALL.map(|role| PartySecrets {
            role,
            signer: Signer::generate(&mut rng),
            opening: OpeningKey::generate(&mut rng),
            authority: Authority::generate(&format!("agency {role}")).unwrap(),
        });
        Self {
            parties,
            coordinator: Signer::generate(&mut rng),
            commission: Authority::generate("commission").unwrap(),
            registrar: Signer::generate(&mut rng),
            tickets: None,
            later_tickets: None,
            hours: BTreeMap::new(),
        }
    }

    /// The same, with a channel that is open then.
    pub fn with_hours(mut self, kind: ChannelKind, openings: &[(u64, u64)]) -> Self {
        self.hours.insert(kind, openings.to_vec());
        self
    }

    fn channels(&self, kinds: &[ChannelKind]) -> Vec<wire::Channel> {
        let of = |kind: &ChannelKind| match self.hours.get(kind) {
            None => Some(channel(*kind, &[(OPENS_S, CLOSES_S)])),
            Some(openings) => (!openings.is_empty()).then(|| channel(*kind, openings)),
        };
        kinds.iter().filter_map(of).collect()
    }

    /// The same, where online ballots need a ticket.
    pub fn with_tickets(self) -> Self {
        let tickets = TicketSigner::generate(&mut StdRng::seed_from_u64(5)).unwrap();
        Self {
            tickets: Some(tickets),
            ..self
        }
    }

    /// The same, with tickets of two days.
    pub fn with_tickets_of_two_days(self) -> Self {
        let later = TicketSigner::generate(&mut StdRng::seed_from_u64(6)).unwrap();
        Self {
            later_tickets: Some(later),
            ..self.with_tickets()
        }
    }

    /// An election with two boxes: box 1 with "Mayor" (one of three) and "Council" (up to two of three), box 2 with "Mayor" only.
    pub fn define(
        &self,
        public: [SocketAddr; 3],
        peer: [SocketAddr; 3],
        board: SocketAddr,
        stations: &[StationIdentity],
    ) -> Manifest {
        let url = |at: SocketAddr| format!("https://{at}");
        let parties = self.parties.each_ref().map(|secrets| {
            PartyIdentity::new(PartyParts {
                role: secrets.role,
                agency: ["Court", "University", "Statistics"][secrets.role.slot()].into(),
                public_address: url(public[secrets.role.slot()]),
                peer_address: url(peer[secrets.role.slot()]),
                tls_ca_pem: secrets.authority.cert_pem().into(),
                signing_key: secrets.signer.public_key(),
                sealing_key: secrets.opening.sealing_key(),
            })
            .unwrap()
        });
        let key = self.coordinator.public_key();
        let coordinator =
            CoordinatorIdentity::new("Commission", &url(board), self.commission.cert_pem(), key).unwrap();
        let registrar = RegistrarIdentity::new("registrar", self.registrar.public_key()).unwrap();
        let contests = vec![
            contest(1, &[("en", "Mayor"), ("de", "Bürgermeister")], &NAMES, None),
            contest(2, &[("en", "Council"), ("de", "Rat")], &NAMES, Some(2)),
        ];
        let kinds = if stations.is_empty() {
            &ChannelKind::ALL[..1]
        } else {
            &ChannelKind::ALL[..]
        };
        let wire = wire::Manifest {
            version: 1,
            election: "council-2023".into(),
            title: texts(&[("en", "Council election"), ("de", "Ratswahl")]),
            contests,
            boxes: vec![
                ballot_box(1, "North", vec![1, 2]),
                ballot_box(2, "South", vec![1]),
            ],
            channels: self.channels(kinds),
            parties: parties.iter().map(PartyIdentity::to_wire).collect(),
            coordinator: Some(coordinator.to_wire()),
            registrars: vec![registrar.to_wire()],
            stations: stations.iter().map(StationIdentity::to_wire).collect(),
            ticket_keys: (self.tickets.iter().chain(&self.later_tickets))
                .zip([OPENS_S - 600, SECOND_DAY_S])
                .map(|(signer, day)| signer.key_of(UnixSeconds(day)).to_wire())
                .collect(),
            policy: Some(wire::ResultPolicy {
                open_counted_per_channel: true,
                min_voters: 10,
                min_submissions: 1,
            }),
            created_at_s: OPENS_S - 1_000,
            offsets: Vec::new(),
            network: wire::Network::Near.into(),
            revoked_rows: wire::RevokedRows::Before.into(),
            ticket_allowance: self.tickets.as_ref().map(|_| wire::TicketAllowance {
                per_day: TICKETS,
                draws: 2,
            }),
            register: None,
        };
        Manifest::from_wire(&wire).unwrap()
    }

    /// An order that revokes a station, signed by the coordinator and by these parties.
    pub fn revoke(
        &self,
        manifest: &SignedManifest,
        place: (u32, Option<Hash32>),
        station: StationId,
        countersigned: &[Role],
    ) -> Envelope {
        let from = UnixSeconds(NOON_S);
        let change = Change::Revocation(Revocation { station, from });
        self.order(manifest, place, change, countersigned)
    }

    /// An order that gives a channel other openings, signed by the coordinator and by these parties.
    pub fn reopen(
        &self,
        manifest: &SignedManifest,
        place: (u32, Option<Hash32>),
        (kind, openings): (ChannelKind, &[(u64, u64)]),
        countersigned: &[Role],
    ) -> Envelope {
        let channel = Channel::from_wire(&channel(kind, openings)).unwrap();
        self.order(manifest, place, Change::Calendar(channel), countersigned)
    }

    /// An order with its number and the one before it, signed by the coordinator and by these parties.
    pub fn order(
        &self,
        manifest: &SignedManifest,
        (number, after): (u32, Option<Hash32>),
        change: Change,
        countersigned: &[Role],
    ) -> Envelope {
        let order = Order {
            election: manifest.manifest().election().clone(),
            manifest_hash: manifest.hash(),
            number,
            after,
            reason: "The seal is broken.".into(),
            change,
        };
        let mut envelope = self.coordinator.seal_envelope(Kind::Order, order.encode());
        for party in countersigned {
            let signature = self.parties[party.slot()]
                .signer
                .sign(Kind::Order, &order.encode());
            envelope.add_signature(signature);
        }
        envelope
    }

    /// Signed by the coordinator and by the first `countersigned` parties.
    pub fn sign(&self, manifest: &Manifest, countersigned: usize) -> SignedManifest {
        let payload = manifest.encode();
        let mut envelope: Envelope = self.coordinator.seal_envelope(Kind::Manifest, payload.clone());
        for party in &self.parties[..countersigned] {
            envelope.add_signature(party.signer.sign(Kind::Manifest, &payload));
        }
        SignedManifest::open(envelope).unwrap()
    }
}

pub type Names = &'static [(&'static str, &'static str)];

/// The options of both contests.
pub const NAMES: [Names; 3] = [
    &[("en", "Maria Schmidt")],
    &[("en", "Jan Novak"), ("cs", "Jan Novák")],
    &[("en", "2 = Two Party")],
];

fn texts(pairs: &[(&str, &str)]) -> Vec<wire::Text> {
    pairs
        .iter()
        .map(|(language, text)| wire::Text {
            language: (*language).into(),
            text: (*text).into(),
        })
        .collect()
}

pub fn contest(id: u32, title: &[(&str, &str)], options: &[Names], max: Option<u32>) -> wire::Contest {
    wire::Contest {
        id,
        title: texts(title),
        options: options
            .iter()
            .map(|name| wire::Choice { name: texts(name) })
            .collect(),
        rule: Some(match max {
            None => wire::contest::Rule::Single(wire::SingleRule {}),
            Some(max) => wire::contest::Rule::Approval(wire::ApprovalRule { max }),
        }),
    }
}

fn ballot_box(id: u32, name: &str, contests: Vec<u32>) -> wire::Box {
    wire::Box {
        id,
        name: texts(&[("en", name)]),
        contests,
        voters: VOTERS,
        roll_root: roll(id).root().0.to_vec(),
        open: None,
        index_bits: BallotLayout::index_bits_for(VOTERS) as u32,
        max_ballots: 0,
    }
}

/// A channel with these openings, of which each is given by its first and its last second.
pub fn channel(kind: ChannelKind, openings: &[(u64, u64)]) -> wire::Channel {
    let opening = |(opens_s, closes_s): &(u64, u64)| wire::Opening {
        opens_local: "morning".into(),
        closes_local: "evening".into(),
        opens_s: *opens_s,
        closes_s: *closes_s,
    };
    wire::Channel {
        kind: kind.to_wire().into(),
        name: texts(&[("en", "open hours")]),
        time_zone: "UTC".into(),
        openings: openings.iter().map(opening).collect(),
        receive_until_s: openings.last().map_or(CLOSES_S, |last| last.1) + 7_200,
    }
}
