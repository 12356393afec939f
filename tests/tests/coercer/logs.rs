//! The three logs as the coercer has them: the ally's own from its store, the others' from their owners by the call that is open to every party, and
//! what anybody is told who was given a ballot's name.

use std::collections::{BTreeMap, HashSet};

use tally_client::Named;
use tally_party::store::log;
use tally_proto::connect;
use tally_proto::ids::{Digest, Role, RoleExt as _};
use tally_proto::log::{Accepted, ENTRY_BYTES, Entry, MAX_PAGE};
use tally_proto::pki::PeerRole;
use tally_proto::wire;

use super::ALLY;
use crate::world::three::until;
use crate::world::{Party, World};

/// What stands in one log.
#[derive(Clone, Default)]
struct Log {
    /// Ballots and records, by position.
    entries: BTreeMap<u64, Accepted>,
    places: BTreeMap<[u8; 32], u64>,
    /// How many were accepted in a second.
    seconds: BTreeMap<u64, usize>,
}

impl Log {
    fn read(bytes: &[u8]) -> Log {
        let (rows, []) = bytes.as_chunks::<ENTRY_BYTES>() else {
            panic!("no whole entries")
        };
        let mut log = Log::default();
        for (position, row) in (0..).zip(rows) {
            if let Entry::Accepted(accepted) = Entry::from_bytes(row).expect("an entry") {
                log.places.insert(accepted.digest.0, position);
                *log.seconds.entry(accepted.received_at.get()).or_default() += 1;
                log.entries.insert(position, accepted);
            }
        }
        log
    }

    /// Position and entry.
    fn at(&self, digest: &Digest) -> (u64, &Accepted) {
        let position = self.places[digest.as_bytes()];
        (position, &self.entries[&position])
    }
}

/// The logs of P1, P2 and P3.
#[derive(Clone)]
pub(super) struct Logs([Log; 3]);

/// The log of `owner`, published so far, as another party gets it.
async fn of_peer(world: &World, owner: &Party) -> Option<Vec<u8>> {
    let mut client = connect::peer(owner.peer_channel(Some(&world.leaf_of(ALLY, PeerRole::Party(ALLY)))));
    let election = world.fixture.manifest.manifest().election().as_str().to_owned();
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        let asked = wire::LogRequest {
            election: election.clone(),
            from: (bytes.len() / ENTRY_BYTES) as u64,
            most: MAX_PAGE as u32,
        };
        // The ally's own server asks at the same time, and too many questions at once are put off.
        let page = client.log(asked).await.ok()?.into_inner();
        if page.entries.is_empty() {
            return Some(bytes);
        }
        bytes.extend_from_slice(&page.entries);
    }
}

impl Logs {
    /// Once each of them shows so many ballots and records.
    pub(super) async fn fetch(world: &World, parties: &[Party], acceptances: usize) -> Logs {
        let mut logs: [Log; 3] = Default::default();
        for party in parties {
            let read = &mut logs[party.role.slot()];
            until("the log shows all that was accepted", async || {
                let bytes = if party.role == ALLY {
                    let store = &party.running.party().store;
                    store.read(|tx| log::entries(tx, 1, 0, usize::MAX)).ok()
                } else {
                    of_peer(world, party).await
                };
                *read = bytes.map_or_else(Log::default, |bytes| Log::read(&bytes));
                read.entries.len() >= acceptances
            })
            .await;
            assert_eq!(read.entries.len(), acceptances, "of {}", party.role);
        }
        Logs(logs)
    }

    /// The entries themselves.
    pub(super) fn bytes_of(&self, digest: &Digest) -> Vec<u8> {
        let rows = self
            .0
            .iter()
            .map(|log| Entry::Accepted(*log.at(digest).1).to_bytes());
        rows.collect::<Vec<_>>().concat()
    }

    /// Where a record or ballot stands, when it was taken, with how many others; and how that differs from log to log.
    fn places(&self, digest: &Digest, figures: &mut Vec<f64>) {
        let mut all = Vec::new();
        for log in &self.0 {
            let (position, entry) = log.at(digest);
            let second = entry.received_at.get();
            figures.push(log.seconds[&second] as f64);
            all.push([position as f64, second as f64]);
        }
        for [position, second] in &all {
            figures.extend([*position, *second]);
        }
        for [one, other] in [[0, 1], [0, 2], [1, 2]] {
            figures.extend([0, 1].map(|of| all[one][of] - all[other][of]));
        }
    }

    /// Figures of a voter's record and, once it is cast, of the ballot that the coercer watched. `watched`: such ballots of all voters.
    pub(super) fn figures(
        &self,
        record: &Digest,
        ballot: Option<&Digest>,
        watched: &HashSet<Digest>,
    ) -> Vec<f64> {
        let mut figures = Vec::new();
        self.places(record, &mut figures);
        let Some(ballot) = ballot else {
            return figures;
        };
        self.places(ballot, &mut figures);
        for log in &self.0 {
            let ((from, of_record), (to, of_ballot)) = (log.at(record), log.at(ballot));
            // To the first ballot before and behind it that was cast where the coercer did not look.
            let unwatched =
                |(_, entry): &(&u64, &Accepted)| !entry.record && !watched.contains(&entry.digest);
            let behind = log.entries.range(to + 1..).find(unwatched);
            let before = log.entries.range(..to).rev().find(unwatched);
            figures.extend([
                to as f64 - from as f64,
                of_ballot.received_at.get() as f64 - of_record.received_at.get() as f64,
                behind.map_or(-1.0, |(at, _)| (at - to) as f64),
                before.map_or(-1.0, |(at, _)| (to - at) as f64),
            ]);
        }
        figures
    }

    /// As they would be if one party took some ballots so many places later.
    pub(super) fn later(&self, of: Role, ballots: &HashSet<Digest>, by: u64) -> Logs {
        let mut logs = self.clone();
        let log = &mut logs.0[of.slot()];
        let positions: Vec<u64> = log.entries.keys().copied().collect();
        let mut order: Vec<(u64, Accepted)> = log.entries.iter().map(|(at, entry)| (*at, *entry)).collect();
        order.sort_by_key(|(at, entry)| at + if ballots.contains(&entry.digest) { by } else { 0 });
        for (position, (_, entry)) in positions.into_iter().zip(order) {
            log.places.insert(entry.digest.0, position);
            log.entries.insert(position, entry);
        }
        logs
    }
}

/// What each party tells anybody who has the ballot's name, and of the voter's record, which has none.
pub(super) async fn told(
    world: &World,
    parties: &[Party],
    record: &Digest,
    ballot: Option<&Named>,
) -> (Vec<u8>, Vec<f64>) {
    let election = world.fixture.manifest.manifest().election().as_str().to_owned();
    let (mut bytes, mut figures) = (Vec::new(), Vec::new());
    for party in parties {
        let of_record = wire::LookupRequest {
            election: election.clone(),
            r#box: 1,
            digest: record.0.to_vec(),
            record: true,
            holder: Vec::new(),
        };
        let of_ballot = ballot.map(|named| wire::LookupRequest {
            election: election.clone(),
            r#box: 1,
            digest: named.digest.0.to_vec(),
            record: false,
            holder: named.holder.word_for(party.role).to_vec(),
        });
        for asked in [Some(of_record), of_ballot].into_iter().flatten() {
            let reply = party.intake().lookup(asked).await.expect("told").into_inner();
            let encoded = prost::Message::encode_to_vec(&reply);
            figures.push(encoded.len() as f64);
            figures.push(f64::from(u8::from(reply.accepted)));
            if let Some(receipt) = reply.receipt {
                figures.extend([receipt.position as f64, receipt.received_at_s as f64]);
            }
            bytes.extend(encoded);
        }
    }
    (bytes, figures)
}
