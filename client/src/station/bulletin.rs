//! What the parties say of this station: orders that revoke it, ballots that they refuse, who does not answer. Noted as it comes, party by party,
//! so that none of them keeps from the officer what the others say.
//!
//! **One party alone stops nothing.** A station takes no more votes when
//!
//! 1. an order in force revokes it. The order bears the signatures of the coordinator and of all three parties, so it does not matter who shows it;
//!    or
//! 2. two parties take nothing more from it: each shows an order that waits and bears its own signature, or answers a ballot with
//!    `ballot.station-revoked`. No ballot gets two acceptances then, whatever becomes of the order.
//!
//! What one party alone says is a notice that names it. The first lasts (no order gives a station back) and is kept on this disk; the second lasts as
//! long as both say so.
//!
//! **Hours.** An order in force that changes a channel's calendar is taken from whoever shows it, for the same signatures, and kept on this disk too.
//! One that the station has not seen, because nobody could be reached since, it does not know of.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use prost::Message as _;
use tally_proto::ballot::BallotHeader;
use tally_proto::calendar::{Channel, ChannelKind};
use tally_proto::envelope::Envelope;
use tally_proto::ids::{BoxId, Hash32, Role, RoleExt as _, StationId, UnixSeconds};
use tally_proto::order::{Change, EffectiveElection, MAX_ORDERS, SignedOrder, in_force};
use tally_proto::reason::Reason;
use tally_proto::refusal::plain;
use tally_proto::wire;
use tokio::time::{Instant, timeout_at};

use super::queue::sequence_of;
use crate::connections::Connections;
use crate::disk::{Disk, replace};
use crate::election::Election;
use crate::fault::Fault;
use crate::link::Link;

/// How long the third party is waited for once two have answered.
const THIRD: Duration = Duration::from_millis(700);
/// A party whose answer is long, because there are thousands of orders or stations, rests so long for so many bytes of it.
const REST: Duration = Duration::from_secs(5);
const REST_BYTES: usize = 64 << 10;
/// Orders read before somebody else has a turn.
const AT_ONCE: usize = 64;
/// Orders that wait and would revoke a station, of one party's answer.
const MOST_REVOKING: usize = 128;

/// Why a station takes no more votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// An order in force.
    Order {
        /// Its number.
        number: u32,
        /// From which moment on the station's ballots do not count.
        from: UnixSeconds,
        /// Its reason.
        reason: String,
    },
    /// Two parties take nothing more, and no order is in force.
    Parties(Vec<String>),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order { number, from, reason } => write!(
                f,
                "Order {number}, signed by the commission and all three parties, revokes it from {from} on: {reason:?}."
            ),
            Self::Parties(words) => write!(f, "Two parties take nothing more from it. {}", words.join(" ")),
        }
    }
}

/// Which of a station's rows: an electronic ballot, or what notes a vote on paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its box.
    pub of_box: BoxId,
    /// Its number at this station.
    pub sequence: u64,
    /// How the voter voted.
    pub channel: ChannelKind,
}

impl Row {
    /// Of a station's ballot.
    pub(super) fn of(header: &BallotHeader) -> Option<Self> {
        Some(Self {
            of_box: header.of_box(),
            sequence: sequence_of(header)?,
            channel: header.channel(),
        })
    }

    /// Whether the voter got a paper ballot, and this row strikes the voter's other votes.
    pub fn is_paper(&self) -> bool {
        self.channel == ChannelKind::Paper
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paper = if self.is_paper() { ", PAPER" } else { "" };
        write!(f, "Number {} of box {}{paper}", self.sequence, self.of_box)
    }
}

/// A ballot that parties refuse for good. It counts once two others than these have it; where two refuse it, it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedBallot {
    /// Which.
    pub row: Row,
    /// What each of the parties says.
    pub faults: Vec<Fault>,
    /// How many of them refuse the ballot, and not a receipt of it only.
    pub refusing: usize,
}

impl RefusedBallot {
    /// Whether it cannot count as it is: one acceptance makes no ballot.
    pub fn is_lost(&self) -> bool {
        self.refusing > 1
    }
}

/// The ballot, whether it is refused itself and not a receipt of it, and what the party says.
type Refused = (Row, bool, Fault);

/// What is known.
#[derive(Debug, Default)]
struct Known {
    /// Complete orders, whether or not what comes before them is known.
    orders: Vec<SignedOrder>,
    /// Of these, the hashes of their bytes.
    hashes: HashSet<Hash32>,
    revoked: Option<Stopped>,
    /// The channels with the calendars in force.
    channels: Vec<Channel>,
    /// The number of an order that waits, revokes this station, and bears the party's own signature, by its last answer.
    holds_to: [Option<u32>; 3],
    /// By the queue's running number and party.
    refused: BTreeMap<(u64, Role), Refused>,
    /// What is wrong with each party, by its last pass.
    faults: [Option<Fault>; 3],
    /// When each party may be asked again in passing.
    rests_until: [Option<Instant>; 3],
}

/// What the parties say of one station. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bulletin {
    station: StationId,
    election: Election,
    connections: Connections,
    disk: Arc<dyn Disk>,
    path: PathBuf,
    known: Arc<Mutex<Known>>,
    /// When the parties were last asked.
    looked: Arc<tokio::sync::Mutex<Option<Instant>>>,
}

impl Bulletin {
    /// With what is on the disk: a station that was revoked is so after a power cut, with no party in reach. What cannot be read there is as good
    /// as nothing, since the parties are asked again.
    pub(super) fn open(
        station: StationId,
        election: &Election,
        connections: Connections,
        disk: Arc<dyn Disk>,
        directory: &Path,
    ) -> Self {
        let path = directory.join(format!("{}.orders", election.id()));
        let stored = disk.read(&path).ok().flatten();
        let bulletin = Self {
            station,
            election: election.clone(),
            connections,
            disk,
            path,
            known: Arc::new(Mutex::new(Known {
                channels: election.manifest().channels().to_vec(),
                ..Known::default()
            })),
            looked: Arc::default(),
        };
        if let Some(stored) = stored.and_then(|bytes| wire::ManifestReply::decode(bytes.as_slice()).ok()) {
            let orders = bulletin.opened(stored.orders).collect();
            bulletin.note_orders(orders);
        }
        bulletin
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the parties for the orders that are in force, and for those that they hold to already. Ends when all have answered, a moment after two
    /// have, or when `patience` is over; what has come until then is noted.
    pub async fn look(&self, patience: Duration) {
        self.look_at(patience, [None; 3]).await;
    }

    /// [`Bulletin::look`] for whoever has time: a party with a long answer is asked the less often.
    pub async fn look_in_passing(&self, patience: Duration) {
        let rests = self.known().rests_until;
        self.look_at(patience, rests).await;
    }

    async fn look_at(&self, patience: Duration, rests: [Option<Instant>; 3]) {
        let (came, until) = (Instant::now(), Instant::now() + patience);
        let Ok(mut looked) = timeout_at(until, self.looked.lock()).await else {
            return;
        };
        // Whoever came while the parties were being asked on another's behalf uses what was asked for after that.
        if looked.is_some_and(|began| began >= came) {
            return;
        }
        let began = Instant::now();
        let links = self.connections.links().iter();
        let mut asked: FuturesUnordered<_> = links
            .filter(|link| rests[link.party.slot()].is_none_or(|until| until <= began))
            .map(|link| self.ask(link))
            .collect();
        let (mut answers, mut until) = (3 - asked.len(), until);
        while let Ok(Some(answered)) = timeout_at(until, asked.next()).await {
            answers += usize::from(answered);
            if answers >= 2 {
                until = until.min(Instant::now() + THIRD);
            }
        }
        // One that rested was not asked.
        if rests == [None; 3] {
            *looked = Some(began);
        }
    }

    /// Whether the party has answered.
    async fn ask(&self, link: &Link) -> bool {
        let Ok(reply) = link.orders(self.election.id()).await else {
            return false;
        };
        let rest = REST
            * u32::try_from(reply.encoded_len() / REST_BYTES)
                .unwrap_or(0)
                .min(1000);
        let mut orders = Vec::new();
        for (at, order) in self.opened(reply.orders).enumerate() {
            orders.push(order);
            if at % AT_ONCE == AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
        }
        self.note_orders(orders);
        let mut holds_to = None;
        // An honest party has no more that wait than that.
        let revoking = reply.revoking.into_iter().take(MOST_REVOKING).collect();
        for (at, order) in self.opened(revoking).enumerate() {
            if at % AT_ONCE == AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            let revokes = matches!(&order.order().change, Change::Revocation(r) if r.station == self.station);
            if revokes && order.is_countersigned_by(link.party) {
                holds_to = Some(order.order().number);
            }
        }
        let mut known = self.known();
        known.holds_to[link.party.slot()] = holds_to;
        known.rests_until[link.party.slot()] = Some(Instant::now() + rest);
        true
    }

    /// What of these is an order of this election, with signatures that hold.
    fn opened(&self, orders: Vec<wire::Envelope>) -> impl Iterator<Item = SignedOrder> {
        let known = self.known().hashes.clone();
        let orders = orders.into_iter().take(MAX_ORDERS);
        orders.filter_map(move |wire| {
            let envelope = Envelope::from_wire(wire).ok()?;
            if known.contains(&envelope.hash()) {
                return None;
            }
            SignedOrder::open(envelope, self.election.signed()).ok()
        })
    }

    /// Notes the complete ones, and what is in force with them.
    fn note_orders(&self, orders: Vec<SignedOrder>) {
        let mut known = self.known();
        let known = &mut *known;
        let before = known.orders.len();
        for order in orders {
            if order.is_complete() && known.hashes.insert(order.hash()) {
                known.orders.push(order);
            }
        }
        if known.orders.len() == before {
            return;
        }
        let standing = in_force(&known.orders);
        let revoked = standing
            .iter()
            .rev()
            .find_map(|order| match &order.order().change {
                Change::Revocation(r) if r.station == self.station => Some(Stopped::Order {
                    number: order.order().number,
                    from: r.from,
                    reason: plain(order.order().reason.clone()),
                }),
                _ => None,
            });
        let with = EffectiveElection::new(self.election.signed().clone(), standing.iter().copied());
        let channels = with.map_or_else(|_| known.channels.clone(), |with| with.channels().to_vec());
        if (revoked.is_some() && revoked != known.revoked) || channels != known.channels {
            let kept = wire::ManifestReply {
                orders: standing.iter().map(|order| order.envelope().to_wire()).collect(),
                ..wire::ManifestReply::default()
            };
            // Without it the parties must be asked after a power cut.
            let _ = replace(&*self.disk, &self.path, &kept.encode_to_vec());
        }
        known.revoked = revoked;
        known.channels = channels;
    }

    /// A channel with its calendar in force, as far as this station has seen the orders; `None` where the election has no such channel.
    pub fn channel(&self, kind: ChannelKind) -> Option<Channel> {
        let known = self.known();
        known
            .channels
            .iter()
            .find(|channel| channel.kind() == kind)
            .cloned()
    }

    /// A party has taken a ballot, or a receipt of it: what it said before is void.
    pub(super) fn taken(&self, number: u64, party: Role, ballot: bool) {
        let mut known = self.known();
        let at = (number, party);
        if known
            .refused
            .get(&at)
            .is_some_and(|(_, of_ballot, _)| *of_ballot == ballot)
        {
            known.refused.remove(&at);
        }
    }

    pub(super) fn note_refusal(&self, number: u64, row: Row, ballot: bool, fault: &Fault) {
        let said = (row, ballot, fault.clone());
        self.known().refused.insert((number, fault.party()), said);
    }

    /// What is wrong with a party; `None` when it has answered whatever it was asked.
    pub(super) fn trouble(&self, party: Role, fault: Option<Fault>) {
        self.known().faults[party.slot()] = fault;
    }

    /// Why the station takes no more votes, if it does not.
    pub fn stopped(&self) -> Option<Stopped> {
        let known = self.known();
        if known.revoked.is_some() {
            return known.revoked.clone();
        }
        let words: Vec<String> = self.words(&known).into_values().collect();
        (words.len() > 1).then_some(Stopped::Parties(words))
    }

    /// The parties that take nothing more from the station, each with what it says.
    fn words(&self, known: &Known) -> BTreeMap<Role, String> {
        let mut words = BTreeMap::new();
        for ((_, party), (_, _, fault)) in &known.refused {
            if fault.reason() == Reason::BallotStationRevoked {
                words.entry(*party).or_insert_with(|| fault.to_string());
            }
        }
        for party in Role::ALL {
            if let Some(number) = known.holds_to[party.slot()] {
                let agency = self.election.party(party).agency();
                words.insert(
                    party,
                    format!("{agency} ({party}) has countersigned order {number}, which revokes it."),
                );
            }
        }
        words
    }

    /// What one party alone says, and what does not stop the station.
    pub fn notices(&self) -> Vec<String> {
        let known = self.known();
        if known.revoked.is_some() {
            return Vec::new();
        }
        let words = self.words(&known);
        if words.len() > 1 {
            return Vec::new();
        }
        let alone = |text: String| {
            format!(
                "ONE PARTY ALONE takes nothing more from this station: {text} No order is in force, and the two others' word counts: voting goes on. Tell \
                 the commission."
            )
        };
        words.into_values().map(alone).collect()
    }

    /// The ballots that parties refuse for good, in the order in which they were cast.
    pub fn refused(&self) -> Vec<RefusedBallot> {
        let known = self.known();
        let mut ballots: BTreeMap<u64, RefusedBallot> = BTreeMap::new();
        for ((number, _), (row, of_ballot, fault)) in &known.refused {
            let ballot = ballots.entry(*number).or_insert_with(|| RefusedBallot {
                row: *row,
                faults: Vec::new(),
                refusing: 0,
            });
            ballot.faults.push(fault.clone());
            ballot.refusing += usize::from(*of_ballot);
        }
        ballots.into_values().collect()
    }

    /// The last fault of each party in trouble.
    pub fn faults(&self) -> Vec<Fault> {
        self.known().faults.iter().flatten().cloned().collect()
    }

    /// Forgets refusals of ballots that wait no more.
    pub(super) fn keep_only(&self, waiting: impl Iterator<Item = u64>) {
        let waiting: BTreeSet<u64> = waiting.collect();
        self.known()
            .refused
            .retain(|(number, _), _| waiting.contains(number));
    }
}
