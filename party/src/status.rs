//! What a party tells the coordinator and its operator: phases by the clock and *ballots received*, which is no turnout.

use std::sync::Arc;

use tally_proto::calendar::Channel;
use tally_proto::ids::{BoxId, RoleExt as _, UnixMillis};
use tally_proto::note::VerifierKey;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_proto::wire::BoxPhase;

use crate::alarm::Standing;
use crate::elections::Election;
use crate::party::Party;
use crate::rpc::seams::TallyState;
use crate::store::boxes::{self, Received};
use crate::store::{StoreError, log, registers, sequences};

impl Party {
    /// State of one election, or of all when `election` is empty.
    ///
    /// # Errors
    /// `election.unknown`, or the store.
    pub async fn status(self: &Arc<Self>, election: &str) -> Result<wire::StatusReply, Refusal> {
        let chosen = if election.is_empty() {
            self.elections.all()
        } else {
            vec![self.elections.get(election)?]
        };
        let mut elections = Vec::with_capacity(chosen.len());
        for election in chosen {
            elections.push(self.election_status(election).await?);
        }
        let machine = self
            .blocking(|party| {
                party.look_at_holder();
                party.look_at_lists();
                Ok(party.machine())
            })
            .await?;
        self.look_at(&machine);
        Ok(wire::StatusReply {
            party: self.role.number(),
            now_ms: self.now().get(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            elections,
            alarms: self.alarms.standing().iter().map(Standing::to_wire).collect(),
            peers: self.sight.to_wire(),
            machine: Some(machine),
            locked: None,
        })
    }

    async fn election_status(
        self: &Arc<Self>,
        election: Arc<Election>,
    ) -> Result<wire::ElectionStatus, Refusal> {
        let id = election.manifest().election().clone();
        let ids: Vec<BoxId> = election
            .manifest()
            .boxes()
            .iter()
            .map(|of_box| of_box.id())
            .collect();
        let number = election.number();
        let asked = ids.clone();
        let open = election.manifest().open_box().map(|of_box| of_box.id());
        let by_clock = phase(&election, self.now());
        let closed = by_clock == BoxPhase::Closed;
        let (log_size, counts, stations, lost, numbers, lists, peers) = self
            .blocking(move |party| {
                let peers = party.peer_logs(number)?;
                let (size, counts, stations, lost, numbers, lists) = party
                    .store
                    .read(|tx| {
                        let counts: Vec<Received> = asked
                            .iter()
                            .map(|id| boxes::received(tx, number, id.get()))
                            .collect::<Result<_, _>>()?;
                        let stations = (asked.iter().filter(|_| closed))
                            .map(|id| sequences::highest(tx, number, id.get()))
                            .collect::<Result<Vec<_>, _>>()?;
                        let lost = boxes::lost_in_all(tx, number)?;
                        let numbers = open.map(|id| registers::next_number(tx, number, id.get()));
                        let numbers = numbers.transpose()?.unwrap_or_default();
                        let lists = log::lists(tx, number)?;
                        let size = log::size(tx, number)?;
                        Ok::<_, StoreError>((size, counts, stations, lost, numbers, lists))
                    })
                    .map_err(Refusal::from)?;
                Ok((size, counts, stations, lost, numbers, lists, peers))
            })
            .await?;
        self.look_at_key(&election);
        let until = election.effective().receive_until();
        let mut boxes = Vec::with_capacity(ids.len());
        let stations = stations.into_iter().chain(std::iter::repeat(Vec::new()));
        for ((of_box, received), stations) in ids.into_iter().zip(counts).zip(stations) {
            let number = |(station, highest)| wire::StationNumber { station, highest };
            let sealing = match self.seals() {
                Ok(seals) => seals.phase(id.clone(), of_box).await?,
                Err(_) => None,
            };
            let tally = match self.tallies() {
                Ok(tallies) => tallies.state(id.clone(), of_box).await?,
                Err(_) => TallyState::default(),
            };
            let phase = match tally {
                TallyState { done: true, .. } => BoxPhase::Tallied,
                TallyState { running: true, .. } => BoxPhase::Tallying,
                _ => sealing.unwrap_or(by_clock),
            };
            let step = match phase {
                BoxPhase::Tallying => tally.progress,
                _ => self.seals().ok().and_then(|seals| seals.progress(&id, of_box)),
            };
            let step = step.unwrap_or_default();
            let mut status = wire::BoxStatus {
                step: step.phase,
                step_done: step.done,
                step_total: step.total,
                numbers,
                r#box: of_box.get(),
                received_online: received.online,
                received_station: received.station,
                received_paper: received.paper,
                records: received.records,
                phase: phase.into(),
                last_session: tally.last_session,
                sessions_left: tally.sessions_left,
                trouble: tally.trouble,
                stations: stations.into_iter().map(number).collect(),
            };
            let capacity = election.ballot_box(of_box)?.capacity();
            self.look_at_box(id.as_str(), &status, until, capacity);
            if status.trouble.is_empty() {
                status.trouble = self.clock_trouble();
            }
            boxes.push(status);
        }
        Ok(wire::ElectionStatus {
            election: id.as_str().to_owned(),
            countersigned_by_all: election.signed_manifest().is_complete(),
            manifest_hash: election.signed_manifest().hash().0.to_vec(),
            boxes,
            log_size,
            intake_trouble: self
                .may_accept(&election)
                .err()
                .map_or_else(String::new, |refusal| refusal.to_string()),
            peers,
            lost,
            lists: lists.map_or_else(Vec::new, |(.., hash)| hash.0.to_vec()),
            list_changes: lists.map_or(0, |(change, ..)| change),
            log_key: VerifierKey::of_logs(election.manifest())[self.role.slot()].to_string(),
        })
    }
}

/// The phase that the clock and the calendars in force put every box in.
fn phase(election: &Election, now: UnixMillis) -> BoxPhase {
    let now = now.seconds();
    let channels = election.effective().channels();
    if !election.signed_manifest().is_complete() || channels.iter().all(|channel| now < channel.first_opens())
    {
        return BoxPhase::Waiting;
    }
    if channels.iter().any(|channel| now <= channel.last_closes()) {
        return BoxPhase::Open;
    }
    let draining = |channel: &Channel| now <= channel.receive_until();
    if channels.iter().any(draining) {
        BoxPhase::Draining
    } else {
        BoxPhase::Closed
    }
}

/// The word for a phase.
pub(crate) fn phase_name(phase: BoxPhase) -> &'static str {
    match phase {
        BoxPhase::Unspecified => "unknown",
        BoxPhase::Waiting => "waiting",
        BoxPhase::Open => "open",
        BoxPhase::Draining => "draining",
        BoxPhase::Closed => "closed",
        BoxPhase::Sealing => "sealing",
        BoxPhase::Sealed => "sealed",
        BoxPhase::Tallying => "tallying",
        BoxPhase::Tallied => "tallied",
    }
}
