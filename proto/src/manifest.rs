//! The manifest: what an election is. Checked once, here; a [`Manifest`] is right by construction.

use std::collections::HashSet;
use std::fmt;

use crate::calendar::{Channel, ChannelError, ChannelKind};
use crate::decode::{DecodeError, decode_canonical};
use crate::envelope::{Envelope, EnvelopeError, Kind, PublicKey, Signature};
use crate::identity::{
    CoordinatorIdentity, IdentityError, PartyIdentity, RegistrarIdentity, StationIdentity,
};
use crate::ids::{BoxId, ContestId, ElectionId, Hash32, IdError, Role, RoleExt as _, StationId, UnixSeconds};
use crate::reason::Reason;
use crate::text::{TextError, Texts};
use crate::wire;
use tally_mpc::layout::{self as packed, BallotLayout, LayoutError};

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

/// Something a manifest asks for that this version does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsupported {
    /// Another version of the format.
    Version(u32),
    /// Tickets.
    Tickets,
    /// Offsets for card records.
    CredentialOffsets,
    /// A roll that is appended to.
    OpenRoll(BoxId),
    /// A contest rule of a later version.
    Rule(ContestId),
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "manifest version {version} (supported: {VERSION})"),
            Self::Tickets => f.write_str("tickets (ticket_keys)"),
            Self::CredentialOffsets => f.write_str("credential offsets for card records (offsets)"),
            Self::OpenRoll(id) => write!(f, "an open roll (box {id} states neither voters nor a roll root)"),
            Self::Rule(id) => write!(f, "the rule of contest {id}"),
        }
    }
}

/// Why a manifest was refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Bytes refused at the door.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Signatures.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The election's id.
    #[error(transparent)]
    Id(#[from] IdError),
    /// Not in this version.
    #[error("not supported: {0}")]
    Unsupported(Unsupported),
    /// A text.
    #[error("{place}: {source}")]
    Text {
        /// Where.
        place: String,
        /// What is wrong.
        source: TextError,
    },
    /// A count is out of bounds.
    #[error("{what}: {min} to {max} are needed, this has {count}")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// At least.
        min: usize,
        /// At most.
        max: usize,
    },
    /// A number stands twice, or numbers do not rise.
    #[error("{what} {number} stands twice or out of order: numbers rise")]
    Number {
        /// Of what.
        what: &'static str,
        /// Which.
        number: u32,
    },
    /// A box names a contest that is not there, or one twice.
    #[error("box {of_box} names contest {contest}, which does not exist or stands twice")]
    BoxContest {
        /// The box.
        of_box: BoxId,
        /// The contest.
        contest: ContestId,
    },
    /// Contests do not pack.
    #[error("box {of_box}: {source}")]
    Layout {
        /// The box.
        of_box: BoxId,
        /// What is wrong.
        source: LayoutError,
    },
    /// Too wide a ballot.
    #[error("box {of_box}: a ballot of {bytes} bytes is wider than {MAX_SHARE_BYTES}")]
    Wide {
        /// The box.
        of_box: BoxId,
        /// Its size.
        bytes: usize,
    },
    /// Too few voters for the manifest's own policy.
    #[error(
        "box {of_box} ({name}) has {voters} voters, the policy asks for at least {minimum}: merge it with another"
    )]
    BoxTooSmall {
        /// The box.
        of_box: BoxId,
        /// Its name.
        name: String,
        /// Its voters.
        voters: u32,
        /// The minimum.
        minimum: u32,
    },
    /// index_bits is not what the number of voters asks for.
    #[error("box {of_box}: {voters} voters need index_bits = {expected}, this says {actual}")]
    IndexBits {
        /// The box.
        of_box: BoxId,
        /// Its voters.
        voters: u32,
        /// The right width.
        expected: u32,
        /// The stated one.
        actual: u32,
    },
    /// A root is not 32 bytes.
    #[error("box {0}: roll_root is not 32 bytes")]
    RollRoot(BoxId),
    /// A channel.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// Two channels of a kind.
    #[error("the {0} channel stands twice or out of order (online, station, paper)")]
    ChannelTwice(ChannelKind),
    /// A station channel without stations.
    #[error("there is a {0} channel, but no station")]
    NoStation(ChannelKind),
    /// Parties are not P1, P2, P3.
    #[error("exactly the parties 1, 2, 3 in this order are needed; at place {place} stands {number:?}")]
    Parties {
        /// Place, from 1.
        place: usize,
        /// The number found.
        number: Option<u32>,
    },
    /// An identity.
    #[error("{place}: {source}")]
    Identity {
        /// Where.
        place: String,
        /// What is wrong.
        source: IdentityError,
    },
    /// A part is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// One key or authority stands for two.
    #[error("{what} {key} stands for two identities: each needs its own")]
    SharedKey {
        /// What.
        what: &'static str,
        /// The key or its fingerprint.
        key: String,
    },
    /// A station is limited to a box that does not exist.
    #[error("station {station} names box {of_box}, which does not exist")]
    StationBox {
        /// The station.
        station: StationId,
        /// The box.
        of_box: BoxId,
    },
}

impl ManifestError {
    /// The stable reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Decode(error) => crate::refusal::Refusal::from(error.clone()).reason,
            Self::Envelope(error) => crate::refusal::Refusal::from(error.clone()).reason,
            Self::Unsupported(_) => Reason::ManifestUnsupported,
            Self::BoxTooSmall { .. } => Reason::BoxTooSmall,
            Self::Identity {
                source: IdentityError::Hpke(crate::suite::SuiteError::Unsupported { .. }),
                ..
            } => Reason::SuiteUnsupported,
            _ => Reason::ManifestInvalid,
        }
    }
}

/// How a contest is decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// One option.
    Single,
    /// Up to `max` options.
    Approval {
        /// At most so many.
        max: u32,
    },
}

/// A contest: options are numbered from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contest {
    id: ContestId,
    title: Texts,
    options: Vec<Texts>,
    rule: Rule,
}

impl Contest {
    /// Its number.
    pub fn id(&self) -> ContestId {
        self.id
    }
    /// Its title.
    pub fn title(&self) -> &Texts {
        &self.title
    }
    /// Names of options 1, 2, ...
    pub fn options(&self) -> &[Texts] {
        &self.options
    }
    /// Its rule.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    fn packed(&self) -> packed::Contest {
        // At most `tally_mpc`'s own limit of options, checked in `from_wire`.
        let options = u32::try_from(self.options.len()).unwrap_or(u32::MAX);
        match self.rule {
            Rule::Single => packed::Contest::Single { options },
            Rule::Approval { max } => packed::Contest::Approval { options, max },
        }
    }

    fn from_wire(wire: &wire::Contest) -> Result<Self, ManifestError> {
        let id = ContestId(wire.id);
        let text = |place: String, texts: &[wire::Text]| {
            Texts::from_wire(texts).map_err(|source| ManifestError::Text { place, source })
        };
        count(
            "options of a contest",
            wire.options.len(),
            1,
            packed::MAX_OPTIONS as usize,
        )?;
        let option = |(i, option): (usize, &wire::Choice)| {
            text(format!("contest {id}, option {}", i + 1), &option.name)
        };
        Ok(Self {
            id,
            title: text(format!("contest {id}"), &wire.title)?,
            options: wire
                .options
                .iter()
                .enumerate()
                .map(option)
                .collect::<Result<_, _>>()?,
            rule: match &wire.rule {
                Some(wire::contest::Rule::Single(_)) => Rule::Single,
                Some(wire::contest::Rule::Approval(rule)) => Rule::Approval { max: rule.max },
                None => return Err(ManifestError::Unsupported(Unsupported::Rule(id))),
            },
        })
    }

    fn to_wire(&self) -> wire::Contest {
        wire::Contest {
            id: self.id.get(),
            title: self.title.to_wire(),
            options: self
                .options
                .iter()
                .map(|name| wire::Choice { name: name.to_wire() })
                .collect(),
            rule: Some(match self.rule {
                Rule::Single => wire::contest::Rule::Single(wire::SingleRule {}),
                Rule::Approval { max } => wire::contest::Rule::Approval(wire::ApprovalRule { max }),
            }),
        }
    }
}

/// The unit that is tallied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BallotBox {
    id: BoxId,
    name: Texts,
    contests: Vec<ContestId>,
    voters: u32,
    roll_root: Hash32,
    layout: BallotLayout,
}

impl BallotBox {
    /// Its number.
    pub fn id(&self) -> BoxId {
        self.id
    }
    /// Its name.
    pub fn name(&self) -> &Texts {
        &self.name
    }
    /// Its contests in payload order.
    pub fn contests(&self) -> &[ContestId] {
        &self.contests
    }
    /// N, the voters of its roll.
    pub fn voters(&self) -> u32 {
        self.voters
    }
    /// RFC 6962 root of its roll.
    pub fn roll_root(&self) -> Hash32 {
        self.roll_root
    }
    /// The packed form of its ballots.
    pub fn layout(&self) -> &BallotLayout {
        &self.layout
    }

    fn from_wire(
        wire: &wire::Box,
        contests: &[Contest],
        policy: &ResultPolicy,
    ) -> Result<Self, ManifestError> {
        let id = BoxId(wire.id);
        let name = Texts::from_wire(&wire.name).map_err(|source| ManifestError::Text {
            place: format!("box {id}"),
            source,
        })?;
        count("contests of a box", wire.contests.len(), 1, MAX_CONTESTS)?;
        let mut chosen: Vec<&Contest> = Vec::with_capacity(wire.contests.len());
        for number in &wire.contests {
            let contest = ContestId(*number);
            match contests.iter().find(|c| c.id == contest) {
                Some(found) if chosen.iter().all(|c| c.id != contest) => chosen.push(found),
                _ => return Err(ManifestError::BoxContest { of_box: id, contest }),
            }
        }
        let voters = wire.voters;
        if voters == 0 && wire.roll_root.is_empty() {
            return Err(ManifestError::Unsupported(Unsupported::OpenRoll(id)));
        }
        count("voters of a box", voters as usize, 1, MAX_VOTERS as usize)?;
        if voters < policy.min_voters {
            let (name, minimum) = (name.default_text().into(), policy.min_voters);
            return Err(ManifestError::BoxTooSmall {
                of_box: id,
                name,
                voters,
                minimum,
            });
        }
        let bits = BallotLayout::index_bits_for(voters);
        if bits as u64 != u64::from(wire.index_bits) {
            let (expected, actual) = (bits as u32, wire.index_bits);
            return Err(ManifestError::IndexBits {
                of_box: id,
                voters,
                expected,
                actual,
            });
        }
        let roll_root = Hash32::from_slice(&wire.roll_root).map_err(|_| ManifestError::RollRoot(id))?;
        let layout = BallotLayout::new(bits, chosen.iter().map(|c| c.packed()).collect())
            .map_err(|source| ManifestError::Layout { of_box: id, source })?;
        let bytes = layout.share_bytes();
        if bytes > MAX_SHARE_BYTES {
            return Err(ManifestError::Wide { of_box: id, bytes });
        }
        let contests = chosen.iter().map(|c| c.id).collect();
        Ok(Self {
            id,
            name,
            contests,
            voters,
            roll_root,
            layout,
        })
    }

    fn to_wire(&self) -> wire::Box {
        wire::Box {
            id: self.id.get(),
            name: self.name.to_wire(),
            contests: self.contests.iter().map(|c| c.get()).collect(),
            voters: self.voters,
            roll_root: self.roll_root.0.to_vec(),
            index_bits: self.layout.index_bits() as u32,
        }
    }
}

/// What of a result is opened, and how small a box may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResultPolicy {
    /// Whether counted ballots are opened per channel.
    pub open_counted_per_channel: bool,
    /// Fewest voters of a box, refused at definition.
    pub min_voters: u32,
    /// Fewest submissions of a box, refused at sealing.
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
        if !wire.ticket_keys.is_empty() {
            return Err(ManifestError::Unsupported(Unsupported::Tickets));
        }
        if !wire.offsets.is_empty() {
            return Err(ManifestError::Unsupported(Unsupported::CredentialOffsets));
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
        count("registrars", wire.registrars.len(), 1, 2)?;
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
        let manifest = Self {
            election: ElectionId::new(&wire.election)?,
            title: Texts::from_wire(&wire.title).map_err(|source| ManifestError::Text {
                place: "title".into(),
                source,
            })?,
            contests,
            boxes,
            channels: channels(&wire.channels, wire.stations.is_empty())?,
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
            created_at: UnixSeconds(wire.created_at_s),
        };
        manifest.check_separate_keys()?;
        manifest.check_station_boxes()?;
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
            ticket_keys: Vec::new(),
            policy: Some(wire::ResultPolicy {
                open_counted_per_channel: self.policy.open_counted_per_channel,
                min_voters: self.policy.min_voters,
                min_submissions: self.policy.min_submissions,
            }),
            created_at_s: self.created_at.get(),
            offsets: Vec::new(),
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
                    key: key.to_string(),
                });
            }
        }
        let mut seen = HashSet::new();
        for party in &self.parties {
            if !seen.insert(party.sealing_key().as_bytes()) {
                let key = data_encoding::HEXLOWER.encode(party.sealing_key().as_bytes());
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
                    key: key.to_string(),
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
        self.contests.iter().find(|c| c.id == id)
    }
    /// All boxes, by rising number.
    pub fn boxes(&self) -> &[BallotBox] {
        &self.boxes
    }
    /// A box by number.
    pub fn ballot_box(&self, id: BoxId) -> Option<&BallotBox> {
        self.boxes
            .binary_search_by_key(&id, |b| b.id)
            .ok()
            .and_then(|i| self.boxes.get(i))
    }
    /// The contests of a box in payload order.
    pub fn contests_of<'a>(&'a self, of_box: &'a BallotBox) -> impl Iterator<Item = &'a Contest> {
        of_box.contests.iter().filter_map(|id| self.contest(*id))
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
    /// One registrar, or two for split issuing: registrar h issues half h.
    pub fn registrars(&self) -> &[RegistrarIdentity] {
        &self.registrars
    }
    /// In how many halves credentials are issued: 1 or 2.
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

/// A manifest with the coordinator's signature and those of the parties' operators so far, all verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedManifest {
    manifest: Manifest,
    envelope: Envelope,
    hash: Hash32,
    countersigned: [bool; 3],
}

impl SignedManifest {
    /// Checks payload and signatures. Whether the keys inside are those of the right people is for people to compare.
    ///
    /// # Errors
    /// [`ManifestError`]; a manifest without the coordinator's signature is refused.
    pub fn open(envelope: Envelope) -> Result<Self, ManifestError> {
        let manifest = Manifest::decode(envelope.payload())?;
        let countersigned = countersignatures(&envelope, Kind::Manifest, &manifest)?;
        Ok(Self {
            hash: envelope.hash(),
            manifest,
            envelope,
            countersigned,
        })
    }

    /// Adds a signature.
    ///
    /// # Errors
    /// [`ManifestError::Envelope`] when it is not one of coordinator or parties, or does not verify; nothing is changed then.
    pub fn add_signature(&mut self, signature: Signature) -> Result<(), ManifestError> {
        let mut envelope = self.envelope.clone();
        envelope.add_signature(signature);
        self.countersigned = countersignatures(&envelope, Kind::Manifest, &self.manifest)?;
        self.envelope = envelope;
        Ok(())
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    /// SHA-256 of its bytes: the manifest hash of all other objects.
    pub fn hash(&self) -> Hash32 {
        self.hash
    }
    /// The envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }
    /// Whether this party has countersigned.
    pub fn is_countersigned_by(&self, role: Role) -> bool {
        self.countersigned[role.slot()]
    }
    /// Whether all three parties have countersigned: only then is the election in force.
    pub fn is_complete(&self) -> bool {
        self.countersigned == [true; 3]
    }
    /// The parties that have not countersigned yet.
    pub fn missing(&self) -> impl Iterator<Item = Role> + '_ {
        Role::ALL
            .into_iter()
            .filter(|role| !self.is_countersigned_by(*role))
    }
}

/// The coordinator must have signed; which parties have.
pub(crate) fn countersignatures(
    envelope: &Envelope,
    kind: Kind,
    manifest: &Manifest,
) -> Result<[bool; 3], EnvelopeError> {
    let signed = envelope.verify(kind, &manifest.signatories())?;
    match *signed.as_slice() {
        [true, p1, p2, p3] => Ok([p1, p2, p3]),
        _ => Err(EnvelopeError::MissingSigner {
            kind,
            key: manifest.coordinator().signing_key(),
        }),
    }
}

#[cfg(test)]
mod tests;
