//! What happens to an election, written into the log: by comparing what is with what the log says, so that nothing is lost by a kill in between
//! and nothing stands twice.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tally_proto::calendar::Channel;
use tally_proto::envelope::Envelope;
use tally_proto::ids::{Hash32, Role, UnixSeconds};
use tally_proto::log::{ChannelPhase, Entry, Happening, MAX_LISTS};
use tally_proto::refusal::Refusal;

use crate::alarm::Alarm;
use crate::elections::Election;
use crate::intake::lists::asks_lists;
use crate::journal::Event;
use crate::party::Party;
use crate::store::{StoreError, Tables, WriteTx, log};

/// How often is and log are compared.
const EVERY: Duration = Duration::from_millis(500);

/// Writes down what happens, until the server stops.
pub(crate) async fn scribe(party: Arc<Party>) {
    loop {
        for election in party.elections_in_force() {
            if !party.gate.is_open(election.number()) {
                continue;
            }
            let written = party.blocking(move |party| party.write_events(&election)).await;
            if let Err(refusal) = written {
                tracing::error!(party = %party.role, %refusal, "the log of an election cannot be written");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = party.stopping() => return,
        }
    }
}

/// What the calendar in force says of a channel at a moment; `None` before its first opening.
pub(crate) fn phase_of(channel: &Channel, now: UnixSeconds) -> Option<ChannelPhase> {
    if now < channel.first_opens() {
        None
    } else if now > channel.receive_until() {
        Some(ChannelPhase::Ended)
    } else if channel
        .openings()
        .iter()
        .any(|o| o.opens <= now && now <= o.closes)
    {
        Some(ChannelPhase::Opened)
    } else {
        Some(ChannelPhase::Closed)
    }
}

/// The phase of a channel that the log names last.
fn logged_phase(
    tx: &impl Tables,
    number: u32,
    channel: &Channel,
) -> Result<Option<ChannelPhase>, StoreError> {
    let mut last = None;
    for phase in [ChannelPhase::Opened, ChannelPhase::Closed, ChannelPhase::Ended] {
        if let Some((at, _)) = log::last(tx, number, &Happening::Channel(channel.kind(), phase))? {
            last = last.max(Some((at, phase)));
        }
    }
    Ok(last.map(|(_, phase)| phase))
}

/// What there is to say of the revocation lists that hold here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    /// Nothing: the log says it, or a box is closed.
    None,
    /// Others hold than the log names last.
    Due(Happening),
    /// Others hold, and the log has named as many changes as it may.
    TooMany,
}

impl Change {
    /// While enrolments are decided by the lists of that hash.
    fn to(tx: &impl Tables, election: &Election, hash: Hash32) -> Result<Self, StoreError> {
        let number = election.number();
        let last = log::lists(tx, number)?;
        if last.is_some_and(|(.., logged)| logged == hash) {
            return Ok(Self::None);
        }
        // Whose clock went back, or whose election an order opened again: what is closed was told to the end.
        for of_box in election.manifest().boxes() {
            if log::last(tx, number, &Happening::BoxClosed(of_box.id()))?.is_some() {
                return Ok(Self::None);
            }
        }
        let changes = last.map_or(0, |(change, ..)| change);
        Ok(if changes < MAX_LISTS {
            Self::Due(Happening::Lists(changes + 1, hash))
        } else {
            Self::TooMany
        })
    }
}

impl Party {
    /// Writes down what is not in the log yet.
    ///
    /// # Errors
    /// The store.
    pub(super) fn write_events(&self, election: &Election) -> Result<(), Refusal> {
        let now = self.now().seconds();
        let register = election.manifest().register();
        let asked = register.filter(|_| asks_lists(election.effective(), now));
        let lists = asked.map(|register| self.revocations.held(register));
        let hash = lists.as_ref().map(|lists| lists.hash());
        let (due, change) = self.store.read(|tx| due(tx, election, self.role, now, hash))?;
        if register.is_some() {
            let untold = (change == Change::TooMany).then(|| {
                format!(
                    "the log has named {MAX_LISTS} changes of the revocation lists: which hold now, and which will, it does not say"
                )
            });
            self.alarm(
                Alarm::ListsUntold,
                election.manifest().election().as_str(),
                untold,
            );
        }
        if due.is_empty() {
            return Ok(());
        }
        let written = self.store.write(|tx| {
            // Looked at again: another thread may have written meanwhile.
            let (due, change) = self::due(tx, election, self.role, now, hash)?;
            for happening in due {
                write(tx, election.number(), happening, now)?;
            }
            Ok::<_, StoreError>(change)
        })?;
        if let (Change::Due(Happening::Lists(change, hash)), Some(lists)) = (written, lists) {
            let each: Vec<String> = lists.hashes().iter().map(Hash32::to_string).collect();
            let facts = json!({
                "election": election.manifest().election().as_str(), "change": change, "hash": hash.to_string(), "lists": each,
            });
            self.witness.record(Event::Lists, facts);
        }
        Ok(())
    }
}

fn write(tx: &WriteTx, number: u32, happening: Happening, now: UnixSeconds) -> Result<(), StoreError> {
    log::append(tx, number, &Entry::Event(happening, now)).map(|_| ())
}

/// What is and does not stand in the log, in the order in which it is to stand there; and what of it there is to say of the revocation lists, where
/// enrolments are decided by those of the hash `lists`.
fn due(
    tx: &impl Tables,
    election: &Election,
    own: Role,
    now: UnixSeconds,
    lists: Option<Hash32>,
) -> Result<(Vec<Happening>, Change), StoreError> {
    let number = election.number();
    // Looked up before an order that the log names by now, with its old calendar: the next look has the election as it stands.
    if log::orders(tx, number)?.len() > election.orders_in_force().len() {
        return Ok((Vec::new(), Change::None));
    }
    let mut due = Vec::new();
    let mut once = |happening: Happening| -> Result<(), StoreError> {
        if log::last(tx, number, &happening)?.is_none() {
            due.push(happening);
        }
        Ok(())
    };
    once(Happening::Complete(election.signed_manifest().hash()))?;
    for order in election.orders_in_force() {
        once(Happening::Order(order.order().number, order.hash()))?;
    }
    if now > election.effective().receive_until() {
        for of_box in election.manifest().boxes() {
            let id = of_box.id();
            // Sealed, tallied: only ever after the List.
            let Some(list) = crate::sealing::list_hash(tx, (number, id.get()), own)? else {
                continue;
            };
            once(Happening::ListMade(id, list))?;
            if let Some(seal) = crate::sealing::seal_hash(tx, (number, id.get()))? {
                once(Happening::Sealed(id, seal))?;
            }
            if let Some(result) = crate::session::result_of(tx, (number, id.get()))? {
                once(Happening::Tallied(id, hash_of(&result)?))?;
            }
        }
    }
    for channel in election.effective().channels() {
        if let Some(phase) = phase_of(channel, now)
            && logged_phase(tx, number, channel)? != Some(phase)
        {
            due.push(Happening::Channel(channel.kind(), phase));
        }
    }
    let change = match lists {
        Some(hash) => Change::to(tx, election, hash)?,
        None => Change::None,
    };
    if let Change::Due(happening) = change {
        due.push(happening);
    }
    Ok((due, change))
}

fn hash_of(envelope: &[u8]) -> Result<Hash32, StoreError> {
    Envelope::decode(envelope)
        .map(|envelope| envelope.hash())
        .map_err(|_| StoreError::Corrupt { table: "results" })
}
