//! What happens to an election, written into the log: by comparing what is with what the log says, so that nothing is lost by a kill in between
//! and nothing stands twice.

use std::sync::Arc;
use std::time::Duration;

use tally_proto::calendar::Channel;
use tally_proto::envelope::Envelope;
use tally_proto::ids::{Hash32, Role, UnixSeconds};
use tally_proto::log::{ChannelPhase, Entry, Happening};
use tally_proto::refusal::Refusal;

use crate::elections::Election;
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

impl Party {
    /// Writes down what is not in the log yet.
    ///
    /// # Errors
    /// The store.
    pub(super) fn write_events(&self, election: &Election) -> Result<(), Refusal> {
        let now = self.now().seconds();
        let due = self.store.read(|tx| due(tx, election, self.role, now))?;
        if due.is_empty() {
            return Ok(());
        }
        self.store.write(|tx| {
            // Looked at again: another thread may have written meanwhile.
            for happening in self::due(tx, election, self.role, now)? {
                write(tx, election.number(), happening, now)?;
            }
            Ok::<_, StoreError>(())
        })?;
        Ok(())
    }
}

fn write(tx: &WriteTx, number: u32, happening: Happening, now: UnixSeconds) -> Result<(), StoreError> {
    log::append(tx, number, &Entry::Event(happening, now)).map(|_| ())
}

/// What is and does not stand in the log, in the order in which it is to stand there.
fn due(
    tx: &impl Tables,
    election: &Election,
    own: Role,
    now: UnixSeconds,
) -> Result<Vec<Happening>, StoreError> {
    let number = election.number();
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
    Ok(due)
}

fn hash_of(envelope: &[u8]) -> Result<Hash32, StoreError> {
    Envelope::decode(envelope)
        .map(|envelope| envelope.hash())
        .map_err(|_| StoreError::Corrupt { table: "results" })
}
