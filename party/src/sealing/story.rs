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
use crate::intake::lists::asks_lists;
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
    /// The last change of the revocation lists.
    lists: Option<(u32, Hash32)>,
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
            lists: None,
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
            Happening::Lists(change, hash) => {
                let before = self.lists.replace((change, hash));
                if !self.closed.is_empty() {
                    Err("the revocation lists changed after a box was closed".to_owned())
                } else if !asks_lists(election, at) {
                    Err(format!(
                        "no revocation lists were asked at {at}: nobody could enrol"
                    ))
                } else if change != before.map_or(0, |(change, _)| change) + 1 {
                    Err(format!("change {change} of the revocation lists is not the next"))
                } else if before.is_some_and(|(_, before)| before == hash) {
                    Err(format!("change {change} of the revocation lists changes nothing"))
                } else {
                    Ok(())
                }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tally_proto::fixture::cards::WINDOW;
    use tally_proto::fixture::{CLOSES, OPENS, Shape, World};
    use tally_proto::ids::Role;

    use super::*;
    use crate::sealing::tables::BoxKey;
    use crate::store::sim::SimDisk;
    use crate::store::{Storage, Store, StoreError};

    /// What is wrong with a log that tells this; none: nothing.
    fn wrong(cards: bool, told: &[(Happening, u64)]) -> Option<String> {
        let world = World::new(Shape {
            cards,
            ..Shape::default()
        });
        let subject = Subject {
            key: BoxKey {
                election: 1,
                of_box: 1,
            },
            election: world.manifest.manifest().election().clone(),
            of_box: BoxId(1),
            manifest_hash: world.manifest.hash(),
            keys: world.manifest.manifest().party_keys(),
            manifest: Arc::clone(&world.manifest),
            orders: Arc::new([]),
        };
        let store = Store::open(Storage::Backend(Box::new(SimDisk::new())), 1).expect("opens");
        let mut story = Story::new(&subject, Role::P1);
        let complete = Entry::Event(Happening::Complete(world.manifest.hash()), UnixSeconds(1));
        let told = told
            .iter()
            .map(|(what, at)| Entry::Event(*what, UnixSeconds(*at)));
        let read = store.read(|tx| {
            for entry in [complete].into_iter().chain(told) {
                if let Err(why) = story.read(tx, &entry).expect("readable") {
                    return Ok(Some(why));
                }
            }
            Ok::<_, StoreError>(None)
        });
        read.expect("read")
    }

    #[test]
    fn the_lists_change_one_after_the_other_while_somebody_may_enrol() {
        let [one, two] = [1, 2].map(|n| Hash32([n; 32]));
        let (opens, closes) = (WINDOW.0.get(), CLOSES);
        let lists = |number, hash, at| (Happening::Lists(number, hash), at);
        let good = [lists(1, one, opens), lists(2, two, OPENS), lists(3, one, closes)];
        assert_eq!(wrong(true, &good), None);
        let closed = (Happening::BoxClosed(BoxId(2)), OPENS);
        for (told, says) in [
            (
                vec![lists(2, one, OPENS)],
                "change 2 of the revocation lists is not the next",
            ),
            (
                vec![good[0], lists(1, two, OPENS)],
                "change 1 of the revocation lists is not the next",
            ),
            (
                vec![good[0], lists(3, two, OPENS)],
                "change 3 of the revocation lists is not the next",
            ),
            (vec![good[0], lists(2, one, OPENS)], "changes nothing"),
            (vec![lists(1, one, opens - 6)], "nobody could enrol"),
            (vec![lists(1, one, closes + 1)], "nobody could enrol"),
            (
                vec![good[0], closed, lists(2, two, OPENS)],
                "after a box was closed",
            ),
        ] {
            let why = wrong(true, &told).unwrap_or_else(|| panic!("{told:?}"));
            assert!(why.contains(says), "{why}");
        }
        let why = wrong(false, &good[1..]).expect("no register");
        assert!(why.contains("nobody could enrol"), "{why}");
    }
}
