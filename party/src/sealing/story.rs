//! The audit of what a log says besides acceptances: each event once, in an order that can be, with the hash of what this party holds, and a
//! channel's changes when the calendar in force says so.

use std::collections::{BTreeMap, BTreeSet};

use tally_proto::calendar::ChannelKind;
use tally_proto::ids::{BoxId, Digest, Hash32, UnixSeconds};
use tally_proto::log::{Accepted, ChannelPhase, Entry, Happening};
use tally_proto::order::EffectiveElection;

use super::error::SealError;
use super::subject::Subject;
use super::{list_hash, seal_hash};
use crate::mirror::phase_of;
use crate::session::result_of;
use crate::store::Tables;

/// What of a log was read so far.
pub(super) struct Story<'a> {
    subject: &'a Subject,
    own: tally_proto::ids::Role,
    /// The election under the orders that the log has named; `None` before it is complete.
    election: Option<EffectiveElection>,
    phases: BTreeMap<ChannelKind, ChannelPhase>,
    closed: BTreeSet<BoxId>,
    stages: BTreeMap<BoxId, u8>,
    pub(super) events: u64,
    pub(super) lost: u64,
}

impl<'a> Story<'a> {
    pub(super) fn new(subject: &'a Subject, own: tally_proto::ids::Role) -> Self {
        Self {
            subject,
            own,
            election: None,
            phases: BTreeMap::new(),
            closed: BTreeSet::new(),
            stages: BTreeMap::new(),
            events: 0,
            lost: 0,
        }
    }

    /// Whether the next entry can follow; else why not.
    pub(super) fn read(&mut self, tx: &impl Tables, entry: &Entry) -> Result<Result<(), String>, SealError> {
        match entry {
            Entry::Accepted(accepted) => Ok(self.accepted(accepted)),
            Entry::Event(happening, at) => {
                self.events += 1;
                self.event(tx, happening, *at)
            }
        }
    }

    fn accepted(&self, accepted: &Accepted) -> Result<(), String> {
        if self.election.is_none() {
            return Err("something was accepted before the election was complete".to_owned());
        }
        if self.closed.contains(&accepted.of_box) {
            let digest: Digest = accepted.digest;
            return Err(format!(
                "{digest} was accepted for box {} after the box was closed",
                accepted.of_box
            ));
        }
        Ok(())
    }

    fn event(
        &mut self,
        tx: &impl Tables,
        happening: &Happening,
        at: UnixSeconds,
    ) -> Result<Result<(), String>, SealError> {
        let Some(election) = &mut self.election else {
            if *happening != Happening::Complete(self.subject.manifest_hash) {
                return Ok(Err(
                    "the log does not begin with this election's manifest".to_owned()
                ));
            }
            self.election = Some(self.subject.under(0)?);
            return Ok(Ok(()));
        };
        Ok(match *happening {
            Happening::Complete(_) => Err("the election is complete twice".to_owned()),
            Happening::Order(number, hash) => {
                let due = election.order_hashes().len();
                match self.subject.orders.get(due) {
                    Some(order) if (order.order().number, order.hash()) == (number, hash) => {
                        let applied = election.apply(order);
                        applied.map_err(|error| format!("order {number}: {error}"))
                    }
                    _ => Err(format!(
                        "order {number} is not the next, or another than is known here"
                    )),
                }
            }
            Happening::Channel(kind, phase) => {
                let due = election.channel(kind).and_then(|channel| phase_of(channel, at));
                if due != Some(phase) {
                    Err(format!("the {kind} channel was not {phase:?} at {at}"))
                } else if self.phases.insert(kind, phase) == Some(phase) {
                    Err(format!("the {kind} channel is {phase:?} twice in a row"))
                } else {
                    Ok(())
                }
            }
            Happening::BoxClosed(of_box) if self.closed.insert(of_box) => Ok(()),
            Happening::BoxClosed(of_box) => Err(format!("box {of_box} is closed twice")),
            Happening::ListMade(of_box, hash) => {
                let held = list_hash(tx, (self.subject.key.election, of_box.get()), self.own)?;
                self.stage(of_box, 1, hash, held)
            }
            Happening::Sealed(of_box, hash) => {
                let held = seal_hash(tx, (self.subject.key.election, of_box.get()))?;
                self.stage(of_box, 2, hash, held)
            }
            Happening::Tallied(of_box, hash) => {
                let held = result_of(tx, (self.subject.key.election, of_box.get()))?;
                let held = super::hash_of(held, "session_results")?;
                self.stage(of_box, 3, hash, held)
            }
            Happening::Lost => {
                self.lost += 1;
                Ok(())
            }
        })
    }

    /// List, Seal and Result of a box come in this order, once each, and are those held.
    fn stage(&mut self, of_box: BoxId, stage: u8, hash: Hash32, held: Option<Hash32>) -> Result<(), String> {
        let what = ["a List", "a Seal", "a Result"][usize::from(stage) - 1];
        let before = self.stages.insert(of_box, stage).unwrap_or_default();
        if !self.closed.contains(&of_box) {
            Err(format!("{what} of box {of_box} stands before the box was closed"))
        } else if before + 1 != stage {
            Err(format!("{what} of box {of_box} stands out of its order"))
        } else if held != Some(hash) {
            Err(format!(
                "{what} of box {of_box} is another than the one held here"
            ))
        } else {
            Ok(())
        }
    }

    /// What must be in a log under whose checkpoint a List of the box names so many orders.
    pub(super) fn finish(&self, orders: usize) -> Result<(), String> {
        let Some(election) = &self.election else {
            return Err("the log does not say that the election is complete".to_owned());
        };
        if election.order_hashes().len() < orders {
            return Err(format!(
                "the List names {orders} orders in force, the log {}",
                election.order_hashes().len()
            ));
        }
        if self.closed.contains(&self.subject.of_box) {
            Ok(())
        } else {
            Err("the log does not say that the box was closed".to_owned())
        }
    }
}
