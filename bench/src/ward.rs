//! The election of a measurement over real servers: three initialised parties in one directory, and a manifest that all have countersigned.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use tally_mpc::{BallotLayout, Role};
use tally_party::config::Config;
use tally_party::init::{Init, init};
use tally_party::keys;
use tally_proto::envelope::{Envelope, Kind, Signer};
use tally_proto::fixture::ports;
use tally_proto::identity::{CoordinatorIdentity, PartyIdentity, RegistrarIdentity, StationIdentity};
use tally_proto::ids::{BoxId, ElectionId, RoleExt as _, StationId, UnixSeconds};
use tally_proto::manifest::SignedManifest;
use tally_proto::pki::{Authority, Leaf, PeerRole};
use tally_proto::roll::{Roll, RollEntry};
use tally_proto::ticket::{Draw, OwnTicket, TicketSigner};
use tally_proto::wire;

use crate::synthetic::Plan;

/// First second of every channel's opening, in the past: the parties run on the system's clock.
pub(crate) const OPENS: u64 = 1_700_000_000;
/// Last second of every channel's opening.
pub(crate) const CLOSES: u64 = OPENS + 36_000;
/// The one box.
pub(crate) const BOX: BoxId = BoxId(1);

/// What the processes of the measurement share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ward {
    /// Voters, ballots, seed.
    pub(crate) plan: Plan,
    /// Where everything is.
    directory: PathBuf,
    /// The manifest with all signatures, encoded Envelope.
    manifest: Vec<u8>,
    /// The coordinator's key for tickets, where they are asked for, as DER.
    ticket_signer: Option<Vec<u8>>,
}

/// Tickets of one draw.
const DRAWN: u32 = 256;

impl Ward {
    /// Initialises three parties and a coordinator in `directory`, defines the election and countersigns it.
    pub(crate) fn found(plan: Plan, directory: &Path) -> Result<(Self, Leaf)> {
        Self::found_by(plan, directory, None)
    }

    /// The same, with an election that asks for tickets.
    pub(crate) fn found_with_tickets(plan: Plan, directory: &Path) -> Result<Self> {
        let signer = TicketSigner::generate(&mut StdRng::seed_from_u64(plan.seed))?;
        Ok(Self::found_by(plan, directory, Some(signer))?.0)
    }

    fn found_by(plan: Plan, directory: &Path, ticket_signer: Option<TicketSigner>) -> Result<(Self, Leaf)> {
        let mut rng = StdRng::seed_from_u64(plan.seed);
        let authority = Authority::generate("Commission")?;
        let coordinator = Signer::generate(&mut rng);
        let commission = CoordinatorIdentity::new(
            "Commission",
            "https://localhost:7100",
            authority.cert_pem(),
            coordinator.public_key(),
        )?;
        let mut identities = Vec::new();
        for role in Role::ALL {
            identities.push(party(role, directory, &mut rng)?);
        }
        for role in Role::ALL {
            let others = directory_of(directory, role).join("others");
            std::fs::write(others.join("coordinator.identity.toml"), commission.to_toml())?;
            for identity in identities.iter().filter(|identity| identity.role() != role) {
                let name = format!("party-{}.identity.toml", identity.role().number());
                std::fs::write(others.join(name), identity.to_toml())?;
            }
        }
        let mut manifest = manifest(&plan, &identities, &commission)?;
        if let Some(signer) = &ticket_signer {
            manifest.ticket_keys = vec![signer.key_of(UnixSeconds(OPENS)).to_wire()];
            manifest.ticket_allowance = Some(wire::TicketAllowance {
                per_day: DRAWN,
                draws: 1,
            });
        }
        let mut envelope = coordinator.seal_envelope(Kind::Manifest, manifest.encode_to_vec());
        for role in Role::ALL {
            let signer = keys::signer(&config_in(directory, role)?.keys.signing)?;
            envelope.add_signature(signer.sign(Kind::Manifest, envelope.payload()));
        }
        let ward = Self {
            plan,
            directory: directory.to_owned(),
            manifest: envelope.encode(),
            ticket_signer: ticket_signer
                .map(|signer| signer.to_der().map(|der| der.to_vec()))
                .transpose()?,
        };
        ward.manifest()?;
        Ok((ward, authority.issue(&PeerRole::Coordinator, &[])?))
    }

    /// The manifest, signed by all.
    pub(crate) fn manifest(&self) -> Result<SignedManifest> {
        Ok(SignedManifest::open(Envelope::decode(&self.manifest)?)?)
    }

    /// The party's configuration.
    pub(crate) fn config(&self, role: Role) -> Result<Config> {
        config_in(&self.directory, role)
    }

    /// Tickets as voters draw them, so many at a time.
    pub(crate) fn draw(&self, rng: &mut StdRng) -> Result<Vec<OwnTicket>> {
        let manifest = self.manifest()?;
        let manifest = manifest.manifest();
        let ticketing = manifest.ticketing().context("an election with tickets")?;
        let signer = TicketSigner::from_der(self.ticket_signer.as_ref().context("a key for tickets")?)?;
        let draw = Draw::new(manifest.election(), ticketing, &rng.random())?;
        let answer = draw
            .request()
            .iter()
            .map(|blinded| signer.sign(blinded))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(draw.finish(&answer)?)
    }

    /// The registrar.
    pub(crate) fn registrar(&self) -> Result<Signer> {
        Ok(Signer::from_seed(&[71; 32])?)
    }

    /// The one station, which serves all boxes.
    pub(crate) fn station(&self) -> Result<Signer> {
        Ok(Signer::from_seed(&[72; 32])?)
    }
}

/// The election's id.
pub(crate) fn election() -> Result<ElectionId> {
    Ok(ElectionId::new("bench")?)
}

/// The roll: everybody may vote online.
pub(crate) fn roll(voters: u32) -> impl Iterator<Item = RollEntry> {
    (0..voters).map(|v| RollEntry {
        reference: format!("voter-{v}"),
        online: true,
        persons: Vec::new(),
    })
}

fn directory_of(directory: &Path, role: Role) -> PathBuf {
    directory.join(format!("party-{}", role.number()))
}

fn config_in(directory: &Path, role: Role) -> Result<Config> {
    Ok(Config::load(&directory_of(directory, role).join("party.toml"))?)
}

/// Initialises a party on two free ports.
fn party(role: Role, directory: &Path, rng: &mut StdRng) -> Result<PartyIdentity> {
    let [public, peer] = ports::free().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let made = init(
        &directory_of(directory, role),
        &Init {
            role,
            agency: format!("Agency {}", role.number()),
            public_address: format!("https://localhost:{}", public.port()),
            peer_address: format!("https://localhost:{}", peer.port()),
            public_listen: Some(public),
            peer_listen: Some(peer),
        },
        rng,
    )?;
    Ok(keys::party_identity(&made.identity)?)
}

fn text(text: &str) -> Vec<wire::Text> {
    vec![wire::Text {
        language: "en".to_owned(),
        text: text.to_owned(),
    }]
}

fn manifest(
    plan: &Plan,
    parties: &[PartyIdentity],
    coordinator: &CoordinatorIdentity,
) -> Result<wire::Manifest> {
    let channel = |kind: wire::ChannelKind| wire::Channel {
        kind: kind.into(),
        name: text("channel"),
        time_zone: "UTC".to_owned(),
        openings: vec![wire::Opening {
            opens_local: "8:00".to_owned(),
            closes_local: "18:00".to_owned(),
            opens_s: OPENS,
            closes_s: CLOSES,
        }],
        receive_until_s: CLOSES + 60,
    };
    let roll = Roll::new(roll(plan.voters).collect()).context("a roll")?;
    let seats = Ward {
        plan: *plan,
        directory: PathBuf::new(),
        manifest: Vec::new(),
        ticket_signer: None,
    };
    let registrar = RegistrarIdentity::new("letters", seats.registrar()?.public_key())?;
    let station = StationIdentity::new(
        StationId(1),
        "Station 1",
        seats.station()?.public_key(),
        Vec::new(),
    )?;
    Ok(wire::Manifest {
        version: 1,
        election: election()?.as_str().to_owned(),
        title: text("Ward"),
        contests: vec![wire::Contest {
            id: 1,
            title: text("Councillor"),
            options: (1..=6)
                .map(|option| wire::Choice {
                    name: text(&format!("Option {option}")),
                })
                .collect(),
            rule: Some(wire::contest::Rule::Single(wire::SingleRule {})),
        }],
        boxes: vec![wire::Box {
            id: BOX.get(),
            name: text("Ward"),
            contests: vec![1],
            voters: plan.voters,
            roll_root: roll.root().0.to_vec(),
            open: None,
            index_bits: BallotLayout::index_bits_for(plan.voters) as u32,
            // Few voters cast many ballots here. Of more voters the manifest takes what fits.
            max_ballots: if plan.voters <= 1_000_000 { 3_000_000 } else { 0 },
        }],
        channels: vec![
            channel(wire::ChannelKind::Online),
            channel(wire::ChannelKind::Station),
            channel(wire::ChannelKind::Paper),
        ],
        parties: parties.iter().map(PartyIdentity::to_wire).collect(),
        coordinator: Some(coordinator.to_wire()),
        registrars: vec![registrar.to_wire()],
        stations: vec![station.to_wire()],
        policy: Some(wire::ResultPolicy {
            open_counted_per_channel: true,
            min_voters: 2,
            min_submissions: 1,
        }),
        created_at_s: OPENS - 1_000_000,
        ..Default::default()
    })
}
