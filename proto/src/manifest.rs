//! The manifest: what an election is. Checked once, here; a [`Manifest`] is right by construction.

mod ballot_box;
mod capacity;
mod contest;
mod error;
mod network;
mod register;
mod revoked;
mod signed;

pub use ballot_box::{BallotBox, OpenRoll};
pub use capacity::{Capacity, MAX_RECORDS_OF_A_VOTER};
pub use contest::{Contest, Rule};
pub use error::{ManifestError, OpenRollError, Unsupported};
pub use network::{Network, UnknownNetwork};
pub use register::{MAX_ISSUERS, MAX_ROOTS, PersonField, Purpose, Register, RegisterError};
pub use revoked::{RevokedRows, UnknownRevokedRows};
pub use signed::SignedManifest;
pub(crate) use signed::countersignatures;

use std::collections::HashSet;
use std::fmt;

use tally_mpc::{OpenedCounts, TallyParams};

use crate::calendar::{Channel, ChannelKind};
use crate::decode::decode_canonical;
use crate::envelope::PublicKey;
use crate::identity::{
    CoordinatorIdentity, IdentityError, PartyIdentity, RegistrarIdentity, StationIdentity,
};
use crate::ids::{BoxId, ContestId, ElectionId, Hash32, Role, RoleExt as _, StationId, UnixSeconds};
use crate::text::Texts;
use crate::ticket::Ticketing;
use crate::wire;

/// Largest manifest in bytes.
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;
/// Most contests.
pub const MAX_CONTESTS: usize = 64;
/// Most boxes.
pub const MAX_BOXES: usize = 4096;
/// Most stations.
pub const MAX_STATIONS: usize = 16384;
/// Most voters of a box.
pub const MAX_VOTERS: u32 = 1 << 26;
/// Largest packed share in bytes.
pub const MAX_SHARE_BYTES: usize = 2048;
/// The version of manifests that this crate reads and writes.
pub const VERSION: u32 = 1;

/// What of a result is opened, and how small a box may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResultPolicy {
    /// Whether counted ballots are opened per channel.
    pub open_counted_per_channel: bool,
    /// Fewest voters of a box, refused at definition.
    pub min_voters: u32,
    /// Fewest submissions of a box, refused at sealing. It counts what was cast again, with a false credential or invalid, which anybody can add: it
    /// keeps a nearly empty box closed and protects no small one; `min_voters` does.
    pub min_submissions: u32,
}

/// What an election is. Private fields: only [`Manifest::from_wire`] makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    election: ElectionId,
    title: Texts,
    contests: Vec<Contest>,
    boxes: Vec<BallotBox>,
    channels: Vec<Channel>,
    parties: [PartyIdentity; 3],
    coordinator: CoordinatorIdentity,
    registrars: Vec<RegistrarIdentity>,
    stations: Vec<StationIdentity>,
    policy: ResultPolicy,
    network: Network,
    revoked_rows: RevokedRows,
    ticketing: Option<Ticketing>,
    offsets: Option<[Hash32; 3]>,
    register: Option<Register>,
    created_at: UnixSeconds,
}

fn count(what: &'static str, count: usize, min: usize, max: usize) -> Result<(), ManifestError> {
    if (min..=max).contains(&count) {
        Ok(())
    } else {
        Err(ManifestError::Count {
            what,
            count,
            min,
            max,
        })
    }
}

fn rising(what: &'static str, numbers: impl Iterator<Item = u32>) -> Result<(), ManifestError> {
    let mut last = None;
    for number in numbers {
        if last.is_some_and(|last| last >= number) {
            return Err(ManifestError::Number { what, number });
        }
        last = Some(number);
    }
    Ok(())
}

fn identity<T>(place: impl fmt::Display, result: Result<T, IdentityError>) -> Result<T, ManifestError> {
    result.map_err(|source| ManifestError::Identity {
        place: place.to_string(),
        source,
    })
}

impl Manifest {
    /// Checks everything.
    ///
    /// # Errors
    /// [`ManifestError`], naming the place.
    pub fn from_wire(wire: &wire::Manifest) -> Result<Self, ManifestError> {
        if wire.version != VERSION {
            return Err(ManifestError::Unsupported(Unsupported::Version(wire.version)));
        }
        let policy = wire.policy.as_ref().ok_or(ManifestError::Missing("policy"))?;
        let policy = ResultPolicy {
            open_counted_per_channel: policy.open_counted_per_channel,
            min_voters: policy.min_voters,
            min_submissions: policy.min_submissions,
        };
        count("contests", wire.contests.len(), 1, MAX_CONTESTS)?;
        count("boxes", wire.boxes.len(), 1, MAX_BOXES)?;
        count("channels", wire.channels.len(), 1, ChannelKind::ALL.len())?;
        // Where voters enrol by card, nobody needs to issue.
        count(
            "registrars",
            wire.registrars.len(),
            wire.register.is_none().into(),
            2,
        )?;
        count("stations", wire.stations.len(), 0, MAX_STATIONS)?;
        rising("contest", wire.contests.iter().map(|c| c.id))?;
        rising("box", wire.boxes.iter().map(|b| b.id))?;
        rising("station", wire.stations.iter().map(|s| s.id))?;
        let contests = wire
            .contests
            .iter()
            .map(Contest::from_wire)
            .collect::<Result<Vec<_>, _>>()?;
        let boxes = wire
            .boxes
            .iter()
            .map(|b| BallotBox::from_wire(b, &contests, &policy))
            .collect::<Result<_, _>>()?;
        let coordinator = wire
            .coordinator
            .as_ref()
            .ok_or(ManifestError::Missing("coordinator"))?;
        let registrar = |(i, r)| {
            identity(
                format_args!("registrar {}", i + 1),
                RegistrarIdentity::from_wire(r),
            )
        };
        let station = |s: &wire::StationIdentity| {
            identity(format_args!("station {}", s.id), StationIdentity::from_wire(s))
        };
        let channels = channels(&wire.channels, wire.stations.is_empty())?;
        let online = channels.iter().find(|c| c.kind() == ChannelKind::Online);
        let opens = online.and_then(|c| c.openings().first()).map(|o| o.opens);
        let ticketing = Ticketing::from_wire(&wire.ticket_keys, wire.ticket_allowance.as_ref(), opens)?;
        let mut manifest = Self {
            election: ElectionId::new(&wire.election)?,
            title: Texts::from_wire(&wire.title).map_err(|source| ManifestError::Text {
                place: "title".into(),
                source,
            })?,
            contests,
            boxes,
            channels,
            parties: parties(&wire.parties)?,
            coordinator: identity("coordinator", CoordinatorIdentity::from_wire(coordinator))?,
            registrars: wire
                .registrars
                .iter()
                .enumerate()
                .map(registrar)
                .collect::<Result<_, _>>()?,
            stations: wire.stations.iter().map(station).collect::<Result<_, _>>()?,
            policy,
            network: Network::from_number(wire.network)?,
            revoked_rows: RevokedRows::from_number(wire.revoked_rows)?,
            ticketing,
            offsets: offsets(&wire.offsets)?,
            register: wire.register.as_ref().map(Register::from_wire).transpose()?,
            created_at: UnixSeconds(wire.created_at_s),
        };
        // A card record's shares count with offsets only.
        if manifest.register.is_some() != manifest.offsets.is_some() {
            return Err(ManifestError::OffsetsOfRegister);
        }
        manifest.check_separate_keys()?;
        manifest.check_station_boxes()?;
        manifest.check_open_roll()?;
        let capacities = manifest.boxes.iter().map(|b| capacity::capacity(&manifest, b));
        let capacities = capacities.collect::<Result<Vec<_>, _>>()?;
        for (of_box, capacity) in manifest.boxes.iter_mut().zip(capacities) {
            of_box.set_capacity(capacity);
        }
        Ok(manifest)
    }

    /// From its canonical bytes, an envelope's payload.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        Self::from_wire(&decode_canonical("manifest", bytes, MAX_MANIFEST_BYTES)?)
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::Manifest {
        let (ticket_keys, ticket_allowance) = self.ticketing.as_ref().map(Ticketing::to_wire).unzip();
        wire::Manifest {
            version: VERSION,
            election: self.election.as_str().into(),
            title: self.title.to_wire(),
            contests: self.contests.iter().map(Contest::to_wire).collect(),
            boxes: self.boxes.iter().map(BallotBox::to_wire).collect(),
            channels: self.channels.iter().map(Channel::to_wire).collect(),
            parties: self.parties.iter().map(PartyIdentity::to_wire).collect(),
            coordinator: Some(self.coordinator.to_wire()),
            registrars: self.registrars.iter().map(RegistrarIdentity::to_wire).collect(),
            stations: self.stations.iter().map(StationIdentity::to_wire).collect(),
            ticket_keys: ticket_keys.unwrap_or_default(),
            policy: Some(wire::ResultPolicy {
                open_counted_per_channel: self.policy.open_counted_per_channel,
                min_voters: self.policy.min_voters,
                min_submissions: self.policy.min_submissions,
            }),
            created_at_s: self.created_at.get(),
            offsets: (self.offsets.iter().flat_map(|all| Role::ALL.iter().zip(all)))
                .map(|(j, commitment)| wire::CredentialOffset {
                    index: j.number(),
                    commitment: commitment.0.to_vec(),
                })
                .collect(),
            network: self.network.to_wire().into(),
            ticket_allowance,
            register: self.register.as_ref().map(Register::to_wire),
            revoked_rows: self.revoked_rows.to_wire().into(),
        }
    }

    /// Its canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(&self.to_wire())
    }

    fn check_separate_keys(&self) -> Result<(), ManifestError> {
        let mut seen = HashSet::new();
        let keys = (self.parties.iter().map(PartyIdentity::signing_key))
            .chain([self.coordinator.signing_key()])
            .chain(self.registrars.iter().map(RegistrarIdentity::signing_key))
            .chain(self.stations.iter().map(StationIdentity::signing_key));
        for key in keys {
            if !seen.insert(*key.as_bytes()) {
                return Err(ManifestError::SharedKey {
                    what: "signing key",
                    key: key.short(),
                });
            }
        }
        let mut seen = HashSet::new();
        for party in &self.parties {
            if !seen.insert(party.sealing_key().as_bytes()) {
                let key = data_encoding::HEXLOWER.encode(&party.sealing_key().as_bytes()[..4]);
                return Err(ManifestError::SharedKey {
                    what: "HPKE key",
                    key,
                });
            }
        }
        let mut seen = HashSet::new();
        for anchor in self
            .parties
            .iter()
            .map(PartyIdentity::anchor)
            .chain([self.coordinator.anchor()])
        {
            let key = anchor.fingerprint();
            if !seen.insert(key) {
                return Err(ManifestError::SharedKey {
                    what: "TLS authority",
                    key: key.short(),
                });
            }
        }
        Ok(())
    }

    fn check_station_boxes(&self) -> Result<(), ManifestError> {
        for station in &self.stations {
            if let Some(of_box) = station.boxes().iter().find(|id| self.ballot_box(**id).is_none()) {
                return Err(ManifestError::StationBox {
                    station: station.id(),
                    of_box: *of_box,
                });
            }
        }
        Ok(())
    }

    fn check_open_roll(&self) -> Result<(), OpenRollError> {
        let Some(open) = self.boxes.iter().find_map(BallotBox::open) else {
            return Ok(());
        };
        if self.boxes.len() != 1 {
            return Err(OpenRollError::Boxes(self.boxes.len()));
        }
        let register = self.register.as_ref().ok_or(OpenRollError::NoRegister)?;
        if *register.person() == PersonField::CertificateSerial {
            return Err(OpenRollError::CertificateSerial);
        }
        if !self.registrars.is_empty() {
            return Err(OpenRollError::Registrars(self.registrars.len()));
        }
        let (freezes, until) = (open.freezes, self.channels.iter().map(Channel::receive_until));
        match until.max() {
            Some(until) if freezes > until => Err(OpenRollError::Late { freezes, until }),
            _ => Ok(()),
        }
    }

    /// The election's id.
    pub fn election(&self) -> &ElectionId {
        &self.election
    }
    /// Its title.
    pub fn title(&self) -> &Texts {
        &self.title
    }
    /// All contests, by rising number.
    pub fn contests(&self) -> &[Contest] {
        &self.contests
    }
    /// A contest by number.
    pub fn contest(&self, id: ContestId) -> Option<&Contest> {
        self.contests.iter().find(|c| c.id() == id)
    }
    /// All boxes, by rising number.
    pub fn boxes(&self) -> &[BallotBox] {
        &self.boxes
    }
    /// A box by number.
    pub fn ballot_box(&self, id: BoxId) -> Option<&BallotBox> {
        self.boxes
            .binary_search_by_key(&id, |b| b.id())
            .ok()
            .and_then(|i| self.boxes.get(i))
    }
    /// The box whose roll is open: then it is the only one.
    pub fn open_box(&self) -> Option<&BallotBox> {
        self.boxes.iter().find(|b| b.open().is_some())
    }
    /// Whether the roll of that box is open.
    pub fn is_open(&self, id: BoxId) -> bool {
        self.open_box().is_some_and(|of_box| of_box.id() == id)
    }
    /// The contests of a box in payload order.
    pub fn contests_of<'a>(&'a self, of_box: &'a BallotBox) -> impl Iterator<Item = &'a Contest> {
        of_box.contests().iter().filter_map(|id| self.contest(*id))
    }
    /// The channels as first defined; orders may replace calendars: see [`EffectiveElection`](crate::order::EffectiveElection).
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }
    /// A channel as first defined.
    pub fn channel(&self, kind: ChannelKind) -> Option<&Channel> {
        self.channels.iter().find(|c| c.kind() == kind)
    }
    /// P1, P2, P3.
    pub fn parties(&self) -> &[PartyIdentity; 3] {
        &self.parties
    }
    /// One party.
    pub fn party(&self, role: Role) -> &PartyIdentity {
        &self.parties[role.slot()]
    }
    /// The parties' signing keys in order.
    pub fn party_keys(&self) -> [PublicKey; 3] {
        self.parties.each_ref().map(PartyIdentity::signing_key)
    }
    /// The coordinator.
    pub fn coordinator(&self) -> &CoordinatorIdentity {
        &self.coordinator
    }
    /// One registrar, or two for split issuing: registrar h issues half h. None where all credentials are enrolled.
    pub fn registrars(&self) -> &[RegistrarIdentity] {
        &self.registrars
    }
    /// In how many halves credentials are issued: 1 or 2; 0 where none is issued.
    pub fn halves(&self) -> u32 {
        self.registrars.len() as u32
    }
    /// All stations, by rising number.
    pub fn stations(&self) -> &[StationIdentity] {
        &self.stations
    }
    /// A station by number.
    pub fn station(&self, id: StationId) -> Option<&StationIdentity> {
        self.stations
            .binary_search_by_key(&id, StationIdentity::id)
            .ok()
            .and_then(|i| self.stations.get(i))
    }
    /// What of a result is opened, and how small a box may be.
    pub fn policy(&self) -> &ResultPolicy {
        &self.policy
    }
    /// How far apart the parties are.
    pub fn network(&self) -> Network {
        self.network
    }
    /// What counts of a station that an order revokes.
    pub fn revoked_rows(&self) -> RevokedRows {
        self.revoked_rows
    }
    /// Keys and allowance of the tickets that every online ballot needs; `None` where none are asked for.
    pub fn ticketing(&self) -> Option<&Ticketing> {
        self.ticketing.as_ref()
    }
    /// C_1, C_2, C_3, the commitments to the keys of the offsets of enrolled credentials; `None` where nobody enrols.
    pub fn offsets(&self) -> Option<&[Hash32; 3]> {
        self.offsets.as_ref()
    }
    /// Enrolment by card; `None` where credentials are issued only.
    pub fn register(&self) -> Option<&Register> {
        self.register.as_ref()
    }
    /// What every party's tally of this election opens, and how it is cut.
    pub fn tally_params(&self) -> TallyParams {
        TallyParams {
            counts: if self.policy.open_counted_per_channel {
                OpenedCounts::PerChannel
            } else {
                OpenedCounts::Nothing
            },
            sort: self.network.sort_params(),
        }
    }
    /// When it was defined.
    pub fn created_at(&self) -> UnixSeconds {
        self.created_at
    }
    /// Coordinator and parties, who sign manifest and orders.
    pub fn signatories(&self) -> [PublicKey; 4] {
        let [p1, p2, p3] = self.party_keys();
        [self.coordinator.signing_key(), p1, p2, p3]
    }
}

fn offsets(wire: &[wire::CredentialOffset]) -> Result<Option<[Hash32; 3]>, ManifestError> {
    if wire.is_empty() {
        return Ok(None);
    }
    let [c1, c2, c3] = wire else {
        return Err(ManifestError::Offsets);
    };
    let mut commitments = [Hash32([0; 32]); 3];
    for (j, of) in Role::ALL.into_iter().zip([c1, c2, c3]) {
        let commitment = Hash32::from_slice(&of.commitment).map_err(|_| ManifestError::Offsets)?;
        if of.index != j.number() {
            return Err(ManifestError::Offsets);
        }
        commitments[j.slot()] = commitment;
    }
    Ok(Some(commitments))
}

fn channels(wire: &[wire::Channel], no_station: bool) -> Result<Vec<Channel>, ManifestError> {
    let mut channels: Vec<Channel> = Vec::with_capacity(wire.len());
    for channel in wire {
        let channel = Channel::from_wire(channel)?;
        let kind = channel.kind();
        if channels.last().is_some_and(|last| last.kind() >= kind) {
            return Err(ManifestError::ChannelTwice(kind));
        }
        if kind.at_station() && no_station {
            return Err(ManifestError::NoStation(kind));
        }
        channels.push(channel);
    }
    Ok(channels)
}

fn parties(wire: &[wire::PartyIdentity]) -> Result<[PartyIdentity; 3], ManifestError> {
    for place in 1..=wire.len().max(3) {
        let number = wire.get(place - 1).map(|party| party.index);
        if number != Some(place as u32) || place > 3 {
            return Err(ManifestError::Parties { place, number });
        }
    }
    let [p1, p2, p3] = wire else {
        return Err(ManifestError::Parties {
            place: wire.len(),
            number: None,
        });
    };
    let party =
        |p: &wire::PartyIdentity| identity(format_args!("party {}", p.index), PartyIdentity::from_wire(p));
    Ok([party(p1)?, party(p2)?, party(p3)?])
}

#[cfg(test)]
mod tests;
