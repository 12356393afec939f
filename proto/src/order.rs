//! Orders: changes of a defined election, in force only with the signatures of the coordinator and all three parties; and the election
//! as it stands with them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::calendar::{Channel, ChannelError, ChannelKind};
use crate::decode::{DecodeError, decode_canonical};
use crate::envelope::{Envelope, EnvelopeError, Kind, Signature};
use crate::ids::{
    BoxId, ElectionId, Hash32, IdError, Role, RoleExt as _, StationId, UnixSeconds, VoterIndex,
};
use crate::manifest::{BallotBox, Manifest, RevokedRows, SignedManifest, countersignatures};
use crate::wire;

/// Largest order in bytes.
pub const MAX_ORDER_BYTES: usize = 256 << 10;
/// Most orders of an election.
pub const MAX_ORDERS: usize = 10_000;
/// The serial of an issued record that needs no order.
pub const FIRST_SERIAL: u32 = 1;
/// Longest reason in bytes.
pub const MAX_REASON_BYTES: usize = 2000;

/// Why an order was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Bytes refused at the door.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Signatures.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// An id or a hash.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The calendar.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// Another election, or another manifest of it.
    #[error("order {number} is for election {election} with manifest {}, not for this one", .manifest.short())]
    OtherElection {
        /// Its number.
        number: u32,
        /// The election it names.
        election: ElectionId,
        /// The manifest it names.
        manifest: Hash32,
    },
    /// A reason is needed.
    #[error("an order states its reason in 1 to {MAX_REASON_BYTES} bytes")]
    Reason,
    /// Nothing is changed.
    #[error("order {0} changes nothing this version knows")]
    NoChange(u32),
    /// Numbers rise, and each order names the one before it.
    #[error(
        "order {number} does not follow order {last}, the last one in force (0: none): numbers rise, and an order names the one before it"
    )]
    Follows {
        /// Its number.
        number: u32,
        /// Of the last one in force.
        last: u32,
    },
    /// Too many.
    #[error("at most {MAX_ORDERS} orders")]
    TooMany,
    /// Changes the calendar of a channel that is not there.
    #[error("order {number} changes the {kind} channel, which this election does not have")]
    NoChannel {
        /// Its number.
        number: u32,
        /// The channel.
        kind: ChannelKind,
    },
    /// Corrects a voter that is not there.
    #[error("order {number} corrects voter {voter} of box {of_box}, which does not exist")]
    NoVoter {
        /// Its number.
        number: u32,
        /// The box.
        of_box: BoxId,
        /// The voter.
        voter: VoterIndex,
    },
    /// Sets card records aside where there are none.
    #[error("order {number} sets card records aside, but this election does not take enrolment by card")]
    NoRegister {
        /// Its number.
        number: u32,
    },
    /// Lets a credential be issued again where none is issued.
    #[error(
        "order {number} lets registrars issue a credential again, and box {of_box} has an open roll: its voters enrol by card, and nothing is issued"
    )]
    NothingIssued {
        /// Its number.
        number: u32,
        /// The box.
        of_box: BoxId,
    },
    /// Revokes a station that is not there.
    #[error("order {number} revokes station {station}, which this election does not have")]
    NoStation {
        /// Its number.
        number: u32,
        /// The station.
        station: StationId,
    },
    /// Not countersigned by all.
    #[error("order {number} is not in force: {missing} has not countersigned it")]
    NotInForce {
        /// Its number.
        number: u32,
        /// A party that has not signed.
        missing: Role,
    },
}

impl OrderError {
    /// The stable reason.
    pub fn reason(&self) -> crate::reason::Reason {
        use crate::reason::Reason;
        match self {
            Self::Decode(error) => crate::refusal::Refusal::from(error.clone()).reason,
            Self::Envelope(error) => crate::refusal::Refusal::from(error.clone()).reason,
            Self::Id(_) => Reason::MessageMalformed,
            Self::OtherElection { .. } => Reason::ElectionOther,
            _ => Reason::OrderInvalid,
        }
    }
}

/// What an order changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Replaces the channel of the same kind.
    Calendar(Channel),
    /// Sets the flags of one voter.
    Correction(Correction),
    /// Takes the vote from a station.
    Revocation(Revocation),
    /// Lets a credential be issued again, or an issued one stand over the voter's card records so far.
    Reissue(Reissue),
}

/// Card records of a voter that were signed up to a moment do not stand: an issued one may, and a card record signed later does again. And
/// issued records of the voter may stand with serials above 1. Without an order they do not: who issued a credential could otherwise replace it
/// after the vote, and so strike whom it likes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reissue {
    /// The box.
    pub of_box: BoxId,
    /// The voter.
    pub voter: VoterIndex,
    /// The last second of signing that does not count; 0: card records stand as they are.
    pub until: UnixSeconds,
    /// Issued records stand up to this serial; 0 and 1: nothing is issued again.
    pub serial: u32,
}

impl Reissue {
    /// What it does, in a sentence for the people who sign it.
    pub fn in_words(&self) -> String {
        let mut does = Vec::new();
        if self.until != UnixSeconds(0) {
            does.push(format!(
                "what the voter's card signed up to {} does not stand, and no online vote cast with it counts, before or after; a credential that a \
                 registrar issued stands again, where there is one (on an open roll there is none); a vote at a station counts; the voter may enrol by \
                 card again, as often as at first",
                self.until
            ));
        }
        if self.serial > FIRST_SERIAL {
            does.push(format!(
                "registrars may issue the voter's credential again, with serials up to {}; the highest stands, and what was cast with the one \
                 before it does not count",
                self.serial
            ));
        }
        format!(
            "voter {} of box {}: {}",
            self.voter,
            self.of_box,
            does.join("; and ")
        )
    }
}

/// A station's ballots cast at or after a moment do not count, in any box; earlier ones by the manifest's word. Nothing more is taken from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Revocation {
    /// The station.
    pub station: StationId,
    /// The first moment at which its ballots do not count.
    pub from: UnixSeconds,
}

impl Revocation {
    /// What it does, in a sentence for the people who sign it, with what the manifest says of revoked stations.
    pub fn in_words(&self, rows: RevokedRows) -> String {
        format!(
            "station {} is revoked from {} (Unix seconds) on; by the manifest {}. A party takes nothing more from it from its countersignature on, whatever it \
             is dated, since whoever has the station's key can date back: what still waits at the station then is lost, and its voters vote again at \
             another one. If that shall count, let the station deliver before the first of you signs",
            self.station,
            self.from,
            rows.in_words()
        )
    }
}

/// The flags of one voter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Correction {
    /// The box.
    pub of_box: BoxId,
    /// The voter.
    pub voter: VoterIndex,
    /// Whether the voter's vote counts at all.
    pub live: bool,
    /// Whether the voter's credential counts; without a standing record it never does.
    pub enrolled: bool,
}

impl Correction {
    /// What it does, in a sentence for the people who sign it. It says nothing, and nobody knows anything, of votes that there may be.
    pub fn in_words(&self) -> String {
        let does = match (self.live, self.enrolled) {
            (true, true) => "online votes count, and a vote at a station does too",
            (true, false) => "no online vote counts, cast before or after; a vote at a station does",
            (false, _) => "no vote counts, neither online nor at a station",
        };
        format!("voter {} of box {}: {does}", self.voter, self.of_box)
    }
}

/// A checked order, not yet tied to a manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// Its election.
    pub election: ElectionId,
    /// The manifest it changes.
    pub manifest_hash: Hash32,
    /// Above all before it. Numbers between were given up.
    pub number: u32,
    /// The order in force before it.
    pub after: Option<Hash32>,
    /// Why.
    pub reason: String,
    /// What.
    pub change: Change,
}

impl Order {
    /// From the wire.
    ///
    /// # Errors
    /// [`OrderError`].
    pub fn from_wire(wire: &wire::Order) -> Result<Self, OrderError> {
        if !(1..=MAX_REASON_BYTES).contains(&wire.reason.len()) {
            return Err(OrderError::Reason);
        }
        Ok(Self {
            election: ElectionId::new(&wire.election)?,
            manifest_hash: Hash32::from_slice(&wire.manifest_hash)?,
            number: wire.number,
            after: match wire.after.as_slice() {
                [] => None,
                after => Some(Hash32::from_slice(after)?),
            },
            reason: wire.reason.clone(),
            change: match &wire.change {
                Some(wire::order::Change::Calendar(channel)) => {
                    Change::Calendar(Channel::from_wire(channel)?)
                }
                Some(wire::order::Change::Correction(c)) => Change::Correction(Correction {
                    of_box: BoxId(c.r#box),
                    voter: VoterIndex(c.v),
                    live: c.live,
                    enrolled: c.enrolled,
                }),
                Some(wire::order::Change::Reissue(r)) => Change::Reissue(Reissue {
                    of_box: BoxId(r.r#box),
                    voter: VoterIndex(r.v),
                    until: UnixSeconds(r.until_s),
                    serial: r.serial,
                }),
                Some(wire::order::Change::Revocation(r)) => Change::Revocation(Revocation {
                    station: StationId(r.station),
                    from: UnixSeconds(r.from_s),
                }),
                None => return Err(OrderError::NoChange(wire.number)),
            },
        })
    }

    /// From its canonical bytes.
    ///
    /// # Errors
    /// [`OrderError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, OrderError> {
        Self::from_wire(&decode_canonical("order", bytes, MAX_ORDER_BYTES)?)
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::Order {
        wire::Order {
            election: self.election.as_str().into(),
            manifest_hash: self.manifest_hash.0.to_vec(),
            number: self.number,
            after: self.after.map_or_else(Vec::new, |after| after.0.to_vec()),
            reason: self.reason.clone(),
            change: Some(match &self.change {
                Change::Calendar(channel) => wire::order::Change::Calendar(channel.to_wire()),
                Change::Correction(c) => wire::order::Change::Correction(wire::RollCorrection {
                    r#box: c.of_box.get(),
                    v: c.voter.get(),
                    live: c.live,
                    enrolled: c.enrolled,
                }),
                Change::Reissue(r) => wire::order::Change::Reissue(wire::Reissue {
                    r#box: r.of_box.get(),
                    v: r.voter.get(),
                    until_s: r.until.get(),
                    serial: r.serial,
                }),
                Change::Revocation(r) => wire::order::Change::Revocation(wire::StationRevocation {
                    station: r.station.get(),
                    from_s: r.from.get(),
                }),
            }),
        }
    }

    /// Its canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(&self.to_wire())
    }
}

/// An order that fits its manifest, with verified signatures: the coordinator's and those of the parties so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedOrder {
    order: Order,
    envelope: Envelope,
    hash: Hash32,
    countersigned: [bool; 3],
}

impl SignedOrder {
    /// Checks payload, signatures, and that it changes something that exists.
    ///
    /// # Errors
    /// [`OrderError`].
    pub fn open(envelope: Envelope, manifest: &SignedManifest) -> Result<Self, OrderError> {
        let order = Order::decode(envelope.payload())?;
        let number = order.number;
        if order.manifest_hash != manifest.hash() || order.election != *manifest.manifest().election() {
            let (election, manifest) = (order.election, order.manifest_hash);
            return Err(OrderError::OtherElection {
                number,
                election,
                manifest,
            });
        }
        let manifest = manifest.manifest();
        let no_voter = |of_box, voter: VoterIndex| {
            manifest
                .ballot_box(of_box)
                .is_none_or(|b| voter.get() >= b.voters())
        };
        match &order.change {
            Change::Calendar(channel) if manifest.channel(channel.kind()).is_none() => {
                return Err(OrderError::NoChannel {
                    number,
                    kind: channel.kind(),
                });
            }
            Change::Correction(c) if no_voter(c.of_box, c.voter) => {
                return Err(OrderError::NoVoter {
                    number,
                    of_box: c.of_box,
                    voter: c.voter,
                });
            }
            Change::Revocation(r) if !manifest.stations().iter().any(|s| s.id() == r.station) => {
                return Err(OrderError::NoStation {
                    number,
                    station: r.station,
                });
            }
            Change::Reissue(r) if r.until == UnixSeconds(0) && r.serial <= FIRST_SERIAL => {
                return Err(OrderError::NoChange(number));
            }
            Change::Reissue(r) if r.until != UnixSeconds(0) && manifest.register().is_none() => {
                return Err(OrderError::NoRegister { number });
            }
            Change::Reissue(r) if no_voter(r.of_box, r.voter) => {
                return Err(OrderError::NoVoter {
                    number,
                    of_box: r.of_box,
                    voter: r.voter,
                });
            }
            Change::Reissue(r) if r.serial > FIRST_SERIAL && manifest.is_open(r.of_box) => {
                let of_box = r.of_box;
                return Err(OrderError::NothingIssued { number, of_box });
            }
            Change::Calendar(_) | Change::Correction(_) | Change::Revocation(_) | Change::Reissue(_) => {}
        }
        let countersigned = countersignatures(&envelope, Kind::Order, manifest)?;
        Ok(Self {
            hash: envelope.hash(),
            order,
            envelope,
            countersigned,
        })
    }

    /// Adds a signature.
    ///
    /// # Errors
    /// When it is not one of coordinator or parties, or does not verify; nothing is changed then.
    pub fn add_signature(&mut self, signature: Signature, manifest: &Manifest) -> Result<(), OrderError> {
        let mut envelope = self.envelope.clone();
        envelope.add_signature(signature);
        self.countersigned = countersignatures(&envelope, Kind::Order, manifest)?;
        self.envelope = envelope;
        Ok(())
    }

    /// The order.
    pub fn order(&self) -> &Order {
        &self.order
    }
    /// SHA-256 of its bytes.
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
    /// Whether all three parties have countersigned: only then it is in force.
    pub fn is_complete(&self) -> bool {
        self.countersigned == [true; 3]
    }
}

/// An election as it stands: a manifest and the orders in force, applied in number order.
#[derive(Clone, Debug)]
pub struct EffectiveElection {
    manifest: Arc<SignedManifest>,
    channels: Vec<Channel>,
    corrections: BTreeMap<(BoxId, VoterIndex), Correction>,
    revoked: BTreeMap<StationId, UnixSeconds>,
    reissued: BTreeMap<(BoxId, VoterIndex), Reissue>,
    order_hashes: Vec<Hash32>,
    last_number: u32,
}

/// The orders in force among `orders`, each after the one before it; the others wait for signatures, or were given up.
///
/// An order that one operator refuses must not end all orders, so the coordinator may draw up another one after the same predecessor, with a higher
/// number. That two of them are ever in force is excluded by what parties do, not by what is counted here:
///
/// 1. A party takes and signs an order only after the last one in force *at that party*, and with a number above every other that it signed.
/// 2. A party that signs an order gives up every other that waits: it takes no more signatures for them.
///
/// Let A and B follow the same predecessor, B with the higher number, and let B have all three signatures. Then no honest party had A in force when
/// it signed B (1), and none puts it in force afterwards (2): A is in force nowhere. So the highest number stands, and whoever sees both
/// complete, as the coordinator may, chooses alike.
pub fn in_force(orders: &[SignedOrder]) -> Vec<&SignedOrder> {
    let mut next: HashMap<Option<Hash32>, &SignedOrder> = HashMap::new();
    for order in orders.iter().filter(|order| order.is_complete()) {
        let place = next.entry(order.order.after).or_insert(order);
        if place.order.number < order.order.number {
            *place = order;
        }
    }
    let mut chain: Vec<&SignedOrder> = Vec::new();
    // A hash stands in the bytes that make the next one, so the chain ends.
    while let Some(order) = next.get(&chain.last().map(|last| last.hash)) {
        if chain
            .last()
            .is_some_and(|last| last.order.number >= order.order.number)
        {
            break;
        }
        chain.push(order);
    }
    chain
}

impl EffectiveElection {
    /// Applies `orders`, which must be complete and follow one another.
    ///
    /// # Errors
    /// [`OrderError::Follows`], [`OrderError::NotInForce`], [`OrderError::OtherElection`], [`OrderError::TooMany`].
    pub fn new<'a>(
        manifest: Arc<SignedManifest>,
        orders: impl IntoIterator<Item = &'a SignedOrder>,
    ) -> Result<Self, OrderError> {
        let channels = manifest.manifest().channels().to_vec();
        let mut election = Self {
            manifest,
            channels,
            corrections: BTreeMap::new(),
            revoked: BTreeMap::new(),
            reissued: BTreeMap::new(),
            order_hashes: Vec::new(),
            last_number: 0,
        };
        for order in orders {
            election.apply(order)?;
        }
        Ok(election)
    }

    /// Applies the next order.
    ///
    /// # Errors
    /// As [`EffectiveElection::new`]; nothing is changed then.
    pub fn apply(&mut self, signed: &SignedOrder) -> Result<(), OrderError> {
        let order = &signed.order;
        if self.order_hashes.len() >= MAX_ORDERS {
            return Err(OrderError::TooMany);
        }
        if order.manifest_hash != self.manifest.hash() {
            let (number, election, manifest) = (order.number, order.election.clone(), order.manifest_hash);
            return Err(OrderError::OtherElection {
                number,
                election,
                manifest,
            });
        }
        self.check_follows(order)?;
        if let Some(missing) = Role::ALL
            .into_iter()
            .find(|role| !signed.is_countersigned_by(*role))
        {
            return Err(OrderError::NotInForce {
                number: order.number,
                missing,
            });
        }
        self.change(&order.change);
        self.order_hashes.push(signed.hash);
        self.last_number = signed.order.number;
        Ok(())
    }

    /// Whether `order` can be the next one in force.
    ///
    /// # Errors
    /// [`OrderError::Follows`].
    pub fn check_follows(&self, order: &Order) -> Result<(), OrderError> {
        let last = self.last_number;
        if order.number > last && order.after.as_ref() == self.order_hashes.last() {
            return Ok(());
        }
        Err(OrderError::Follows {
            number: order.number,
            last,
        })
    }

    /// The election as it would stand with this order, whether or not anybody has countersigned it.
    #[must_use]
    pub fn supposing(&self, order: &SignedOrder) -> Self {
        let mut supposed = self.clone();
        supposed.change(&order.order.change);
        supposed
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Calendar(channel) => {
                if let Some(place) = self.channels.iter_mut().find(|c| c.kind() == channel.kind()) {
                    *place = channel.clone();
                }
            }
            Change::Correction(correction) => {
                self.corrections
                    .insert((correction.of_box, correction.voter), *correction);
            }
            // The last order stands, as for corrections: the commission may have been wrong about the moment.
            Change::Revocation(revocation) => {
                self.revoked.insert(revocation.station, revocation.from);
            }
            // What registrars may issue only grows: a record that was accepted under an order stays what it was.
            Change::Reissue(reissue) => {
                let place = (reissue.of_box, reissue.voter);
                let mut changed = *reissue;
                // Nor does any order give back what another has put out.
                if let Some(before) = self.reissued.get(&place) {
                    changed.serial = before.serial.max(changed.serial);
                    changed.until = before.until.max(changed.until);
                }
                self.reissued.insert(place, changed);
            }
        }
    }

    /// The manifest with its signatures.
    pub fn signed_manifest(&self) -> &Arc<SignedManifest> {
        &self.manifest
    }
    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        self.manifest.manifest()
    }
    /// Its hash.
    pub fn manifest_hash(&self) -> Hash32 {
        self.manifest.hash()
    }
    /// Hashes of the orders in force, in number order.
    pub fn order_hashes(&self) -> &[Hash32] {
        &self.order_hashes
    }
    /// A channel with the calendar in force.
    pub fn channel(&self, kind: ChannelKind) -> Option<&Channel> {
        self.channels.iter().find(|c| c.kind() == kind)
    }
    /// All channels with the calendars in force.
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }
    /// The corrections of a box, by voter; the last order stands.
    pub fn corrections(&self, of_box: BoxId) -> impl Iterator<Item = &Correction> {
        let range = (of_box, VoterIndex(0))..=(of_box, VoterIndex(u32::MAX));
        self.corrections.range(range).map(|(_, correction)| correction)
    }
    /// How the flags of one voter stand with the orders in force: both set, where none has changed them.
    pub fn correction(&self, of_box: BoxId, voter: VoterIndex) -> Correction {
        let stands = self.corrections.get(&(of_box, voter)).copied();
        stands.unwrap_or(Correction {
            of_box,
            voter,
            live: true,
            enrolled: true,
        })
    }
    /// From which moment on the station's ballots do not count, if it is revoked.
    pub fn revoked_from(&self, station: StationId) -> Option<UnixSeconds> {
        self.revoked.get(&station).copied()
    }
    /// Up to which moment the voter's card records do not stand, if an order says so.
    pub fn reissued_until(&self, of_box: BoxId, voter: VoterIndex) -> Option<UnixSeconds> {
        let reissue = self.reissued.get(&(of_box, voter))?;
        (reissue.until != UnixSeconds(0)).then_some(reissue.until)
    }
    /// The highest serial with which an issued record of the voter is taken and may stand.
    pub fn highest_serial(&self, of_box: BoxId, voter: VoterIndex) -> u32 {
        let reissue = self.reissued.get(&(of_box, voter));
        reissue.map_or(FIRST_SERIAL, |reissue| reissue.serial.max(FIRST_SERIAL))
    }
    /// Whether an issued record of the voter is taken and may stand with this serial: the first, or one that an order allows.
    pub fn allows_serial(&self, of_box: BoxId, voter: VoterIndex, serial: u32) -> bool {
        (FIRST_SERIAL..=self.highest_serial(of_box, voter)).contains(&serial)
    }
    /// The last moment at which a party takes anything: after it, boxes may be sealed.
    pub fn receive_until(&self) -> UnixSeconds {
        self.channels
            .iter()
            .map(Channel::receive_until)
            .max()
            .unwrap_or_default()
    }
    /// The last moment at which a party takes a credential record of a box: the online channel's last closing, or when its open roll freezes
    /// before. A later record would only put out what was cast with an earlier one.
    pub fn records_until(&self, of_box: BoxId) -> UnixSeconds {
        let open = self.manifest().ballot_box(of_box).and_then(BallotBox::open);
        let online = self.channels.iter().find(|c| c.kind() == ChannelKind::Online);
        let until = online.map_or_else(|| self.receive_until(), Channel::last_closes);
        open.map_or(until, |open| open.freezes.min(until))
    }
    /// Records of a card that were signed from here on are for the election that they were brought to, and for no other of the register: whoever
    /// votes here already shall not lose that by enrolling elsewhere. The first online opening of the manifest.
    pub fn takes_over_before(&self) -> UnixSeconds {
        let online = self.manifest().channel(ChannelKind::Online);
        online.map_or_else(|| self.receive_until(), Channel::first_opens)
    }
}

#[cfg(test)]
mod tests;
