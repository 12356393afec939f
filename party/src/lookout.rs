//! Looks after this party's machine, its neighbours and its boxes, and raises the alarms that follow.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::json;
use tally_proto::ids::{Role, UnixMillis, UnixSeconds};
use tally_proto::manifest::{Capacity, Register};
use tally_proto::pki::system_now;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_proto::wire::BoxPhase;
use tokio::time::MissedTickBehavior;

use crate::alarm::Alarm;
use crate::config::AlarmLimits;
use crate::elections::Election;
use crate::holder;
use crate::journal::Event;
use crate::party::Party;
use crate::status::phase_name;
use crate::store::certificates;

/// Shares of what a box takes at which operators are told.
const FILLING: [u64; 2] = [50, 90];

/// How often.
const EVERY: Duration = Duration::from_secs(30);

/// Looks until the server stops.
pub(crate) async fn keep(party: Arc<Party>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = party.stopping() => return,
        }
        party.recover_offset_keys().await;
        // Status raises what it finds.
        if let Err(error) = party.status("").await {
            tracing::warn!(party = %party.role, %error, "the boxes cannot be looked at");
        }
    }
}

/// Pause after the newest certificates could not be written down.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Writes down which certificates are the newest, until the server stops. It is memory's word until then, which is enough: an older one is taken for an
/// hour anyhow.
pub(crate) async fn remember(party: Arc<Party>) {
    loop {
        tokio::select! {
            () = party.roles.replaced().changed() => {}
            () = party.stopping() => return,
        }
        let unwritten = party.roles.replaced().unwritten();
        let (of, rows) = (Arc::clone(&party), unwritten.clone());
        let written = of.blocking(move |party| {
            (party.store)
                .write(|tx| certificates::put(tx, &rows))
                .map_err(Refusal::from)
        });
        if let Err(error) = written.await {
            tracing::warn!(party = %party.role, %error, "the newest certificates cannot be written down");
            party.roles.replaced().give_back(unwritten);
            tokio::select! {
                () = tokio::time::sleep(AGAIN_AFTER) => {}
                () = party.stopping() => return,
            }
        }
    }
}

impl Party {
    /// Raises or clears the alarms of this party itself and of its sight of the others.
    pub(crate) fn look_at(&self, machine: &wire::Machine) {
        let (limits, now) = (&self.alarm_limits, self.now());
        self.alarm(Alarm::DiskLow, "", disk(machine, limits));
        self.alarm(
            Alarm::CertificateExpires,
            "",
            certificate(machine, limits, now.seconds()),
        );
        let flooded = self.witness.metrics.guards.flooded(now);
        self.alarm(Alarm::Flooded, "", flooded);
        for (role, last, stands) in self.roles.replaced().refused(system_now()) {
            let shown = format!(
                "an older certificate of {role} than its newest was shown, last at {last}, and refused"
            );
            self.alarm(Alarm::CertificateReplaced, &role, stands.then_some(shown));
        }
        for role in self.sight.others() {
            self.look_at_peer(role);
        }
    }

    /// Raises or clears the alarm about another party that is silent. Returns whether it stands.
    pub(crate) fn look_at_peer(&self, role: Role) -> bool {
        let lost =
            silent(self.sight.last_answer(role), &self.alarm_limits, self.now()).map(|lost| {
                match self.sight.trouble(role) {
                    Some(why) => format!("{lost}: {why}"),
                    None => lost,
                }
            });
        let stands = lost.is_some();
        self.alarm(Alarm::PartyLost, &role.to_string(), lost);
        stands
    }

    /// Where officials hold the key: whether a holder still has it. A server that crashes comes back by that alone. Asks the holder: call it from a
    /// blocking thread.
    pub(crate) fn look_at_holder(&self) {
        let Some(directory) = &self.key_holder else { return };
        let gone = match holder::state(directory) {
            Ok(state) if state.unlocked => None,
            Ok(state) => Some(format!(
                "the key holder was started again and has {} shares, {} are needed: this server runs on the key that it had before",
                state.given.count_ones(),
                state.terms
            )),
            Err(error) => Some(error.to_string()),
        };
        self.alarm(Alarm::NotHeld, "", gone);
    }

    /// The revocation lists of every register in which somebody may still enrol. Reads files that have changed: call it from a blocking thread.
    pub(crate) fn look_at_lists(&self) {
        let now = self.now().seconds();
        let elections = self.elections_in_force();
        let registers = || {
            elections
                .iter()
                .filter_map(|election| election.manifest().register())
        };
        let mut ends: BTreeMap<&str, Option<String>> = registers()
            .map(|register| (register.id().as_str(), None))
            .collect();
        for register in open_registers(registers(), now) {
            let told = list_ends(self.revocations.until(register, now), &self.alarm_limits, now);
            let of = ends.entry(register.id().as_str()).or_default();
            *of = of.take().or(told);
        }
        for (id, ends) in ends {
            self.alarm(Alarm::ListEnds, id, ends);
        }
    }

    /// Raises or clears the alarm about an election whose manifest names another HPKE key of this party than it has, as one that it had countersigned
    /// before it lost its store, and that came into force after it made a new key. Nothing else says so: each ballot is refused to its voter.
    pub(crate) fn look_at_key(&self, election: &Election) {
        let (manifest, own) = (election.manifest(), self.role);
        let same = manifest.party(own).sealing_key() == self.identities.party(own).sealing_key();
        let until = election.effective().receive_until();
        let takes = election.signed_manifest().is_complete() && self.now().seconds() <= until;
        let id = manifest.election().as_str();
        let told = format!(
            "election {id} names another HPKE key of {own} than is here: until {until} this party opens nothing that it is sent for it, so no credential \
             is issued and no ballot accepted without both other parties"
        );
        self.alarm(Alarm::OtherKey, id, (takes && !same).then_some(told));
    }

    /// Raises or clears the alarms of a box that takes submissions until `until`, and no more of them than `capacity` says.
    pub(crate) fn look_at_box(
        &self,
        election: &str,
        of_box: &wire::BoxStatus,
        until: UnixSeconds,
        capacity: Capacity,
    ) {
        let place = (election.to_owned(), of_box.r#box);
        let before = self
            .phases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(place, of_box.phase());
        if let Some(before) = before.filter(|before| *before != of_box.phase()) {
            let (from, to) = (phase_name(before), phase_name(of_box.phase()));
            let facts = json!({ "election": election, "box": of_box.r#box, "from": from, "to": to });
            self.witness.record(Event::Phase, facts);
        }
        let about = format!("{election}, box {}", of_box.r#box);
        let pending = unsealed(of_box.phase(), until, &self.alarm_limits, self.now().seconds());
        self.alarm(Alarm::SealPending, &about, pending);
        self.alarm(Alarm::TallyAborted, &about, aborted(of_box));
        self.alarm(Alarm::SessionsSpent, &about, spent(of_box));
        for (side, percent, detail) in filling(of_box, capacity) {
            self.alarm(
                Alarm::BoxFilling,
                &format!("{about}: {side} over {percent} %"),
                detail,
            );
        }
    }
}

fn disk(machine: &wire::Machine, limits: &AlarmLimits) -> Option<String> {
    // A volume without size is one that the system does not tell about.
    (machine.disk_bytes > 0 && machine.disk_free_bytes < limits.disk_bytes).then(|| {
        format!(
            "{} MiB of {} MiB are free, less than the {} MiB of alarms.disk_mib",
            machine.disk_free_bytes >> 20,
            machine.disk_bytes >> 20,
            limits.disk_bytes >> 20
        )
    })
}

fn certificate(machine: &wire::Machine, limits: &AlarmLimits, now: UnixSeconds) -> Option<String> {
    let ends = UnixSeconds(machine.certificate_ends_s);
    if ends.get() > now.get().saturating_add(limits.certificate_s) {
        return None;
    }
    Some(if ends <= now {
        format!("the certificate ended at {ends}: nobody can connect")
    } else {
        format!("the certificate ends at {ends}")
    })
}

/// Those in which somebody may still enrol, each with its authorities once: elections of one register close one after the other.
fn open_registers<'r>(
    registers: impl Iterator<Item = &'r Register>,
    now: UnixSeconds,
) -> impl Iterator<Item = &'r Register> {
    let open = registers.filter(move |register| now <= register.closes());
    let by_authorities: BTreeMap<_, _> = open
        .map(|register| ((register.id().as_str(), register.issuers()), register))
        .collect();
    by_authorities.into_values()
}

/// `until`: when the first of the lists ends that are needed; none: one is missing.
fn list_ends(until: Option<UnixSeconds>, limits: &AlarmLimits, now: UnixSeconds) -> Option<String> {
    match until {
        None => Some("of an issuing authority there is no list: nobody enrols with its cards".to_owned()),
        Some(until) if until < now => Some(format!("the newest list ended at {until}: nobody enrols")),
        Some(until) if until.get() <= now.get().saturating_add(limits.list_s) => Some(format!(
            "the newest list ends at {until}: nobody enrols after that"
        )),
        Some(_) => None,
    }
}

fn silent(last: UnixMillis, limits: &AlarmLimits, now: UnixMillis) -> Option<String> {
    (now.get() > last.get().saturating_add(limits.party_lost_ms))
        .then(|| format!("no answer since {}", last.seconds()))
}

fn unsealed(phase: BoxPhase, until: UnixSeconds, limits: &AlarmLimits, now: UnixSeconds) -> Option<String> {
    let due = until.get().saturating_add(limits.seal_s);
    (matches!(phase, BoxPhase::Closed | BoxPhase::Sealing) && now.get() > due)
        .then(|| format!("submissions ended at {until} and the box is not sealed"))
}

/// Of each side of a box that still takes something, and each of the shares that are told: what there is to tell.
fn filling(of_box: &wire::BoxStatus, capacity: Capacity) -> Vec<(&'static str, u64, Option<String>)> {
    let takes = matches!(
        of_box.phase(),
        BoxPhase::Waiting | BoxPhase::Open | BoxPhase::Draining
    );
    let stations = of_box.received_station.saturating_add(of_box.received_paper);
    let sides = [
        ("online ballots", of_box.received_online, capacity.online),
        ("ballots of stations", stations, capacity.stations),
        ("credential records", of_box.records, capacity.records),
    ];
    let told = sides.into_iter().flat_map(|(side, here, most)| {
        FILLING.map(|percent| {
            let is_over =
                takes && most > 0 && u128::from(here) * 100 >= u128::from(most) * u128::from(percent);
            let detail = format!(
                "{here} {side} of {most} that the box takes are here; after them it is full for good"
            );
            (side, percent, is_over.then_some(detail))
        })
    });
    told.collect()
}

/// A sealed box whose last session stopped.
fn aborted(of_box: &wire::BoxStatus) -> Option<String> {
    let stopped = of_box.phase() == BoxPhase::Sealed && !of_box.trouble.is_empty();
    stopped.then(|| of_box.trouble.clone())
}

fn spent(of_box: &wire::BoxStatus) -> Option<String> {
    (of_box.phase() == BoxPhase::Sealed && of_box.sessions_left == 0).then(|| {
        format!(
            "session {} was the last one without a person",
            of_box.last_session
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: AlarmLimits = AlarmLimits {
        disk_bytes: 100 << 20,
        certificate_s: 1000,
        party_lost_ms: 60_000,
        behind_entries: 10,
        seal_s: 600,
        list_s: 3600,
    };

    #[test]
    fn a_revocation_list_is_told_of_before_it_ends_and_when_there_is_none() {
        let told = |until: Option<u64>, now| list_ends(until.map(UnixSeconds), &LIMITS, UnixSeconds(now));
        assert_eq!(told(Some(10_000), 6_399), None);
        assert!(told(Some(10_000), 6_400).expect("an alarm").contains("ends at"));
        assert!(told(Some(10_000), 10_001).expect("an alarm").contains("ended at"));
        assert!(told(None, 0).expect("an alarm").contains("no list"));
    }

    #[test]
    fn a_register_is_looked_at_while_any_of_its_elections_is_open_and_with_all_of_its_authorities() {
        use tally_proto::fixture::cards::Cards;
        use tally_proto::fixture::{OPENS, Shape, World};
        use tally_proto::manifest::Manifest;
        let cards = Shape {
            cards: true,
            ..Shape::default()
        };
        let world = World::new(cards);
        let of = |cards: &Cards, closes: u64| {
            let mut manifest = world.manifest.manifest().to_wire();
            manifest.register = Some(cards.register(OPENS, closes));
            Manifest::from_wire(&manifest).expect("by the rules")
        };
        let own = world.cards.as_ref().expect("cards");
        // In the order of their elections' names: one that is open, and one that closed long ago.
        let elections = [of(own, OPENS + 2000), of(own, OPENS + 1000)];
        let other = of(&Cards::new(OPENS), OPENS + 1500);
        let looked = |elections: &[&Manifest], now| -> Vec<u64> {
            let registers = elections.iter().filter_map(|manifest| manifest.register());
            let open = open_registers(registers, UnixSeconds(OPENS + now));
            open.map(|register| register.closes().get() - OPENS).collect()
        };
        let [one, closed] = &elections;
        assert_eq!(looked(&[one, closed], 1001), [2000]);
        assert_eq!(looked(&[closed, one], 2000), [2000]);
        assert_eq!(looked(&[one, closed], 2001), [0; 0]);
        assert_eq!(looked(&[one, closed, one], 1000).len(), 1, "one register, once");
        let mut both = looked(&[one, &other, closed], 1500);
        both.sort_unstable();
        assert_eq!(
            both,
            [1500, 2000],
            "other authorities are looked at by themselves"
        );
    }

    #[test]
    fn a_box_that_fills_is_told_by_side_at_half_and_at_nine_tenths_while_it_takes_anything() {
        let capacity = Capacity {
            online: 1000,
            stations: 10,
            one_station: 5,
            records: 0,
        };
        let told = |online, station, paper, phase: BoxPhase| -> Vec<String> {
            let of_box = wire::BoxStatus {
                received_online: online,
                received_station: station,
                received_paper: paper,
                phase: phase.into(),
                ..Default::default()
            };
            let filling = filling(&of_box, capacity).into_iter();
            let over = filling.filter(|(_, _, detail)| detail.is_some());
            over.map(|(side, percent, _)| format!("{side} {percent}"))
                .collect()
        };
        assert_eq!(told(499, 2, 2, BoxPhase::Open), Vec::<String>::new());
        assert_eq!(told(500, 2, 2, BoxPhase::Open), ["online ballots 50"]);
        assert_eq!(
            told(899, 3, 2, BoxPhase::Draining),
            ["online ballots 50", "ballots of stations 50"]
        );
        assert_eq!(
            told(900, 4, 5, BoxPhase::Open),
            [
                "online ballots 50",
                "online ballots 90",
                "ballots of stations 50",
                "ballots of stations 90"
            ]
        );
        assert_eq!(told(1000, 10, 0, BoxPhase::Closed), Vec::<String>::new());
    }

    #[test]
    fn each_alarm_is_raised_at_its_limit_and_not_before() {
        let room = |free_mib: u64| wire::Machine {
            disk_free_bytes: free_mib << 20,
            disk_bytes: 1 << 30,
            certificate_ends_s: 5000,
            ..Default::default()
        };
        assert_eq!(disk(&room(100), &LIMITS), None);
        assert!(
            disk(&room(99), &LIMITS)
                .expect("an alarm")
                .contains("99 MiB of 1024 MiB")
        );
        assert_eq!(
            disk(&wire::Machine::default(), &LIMITS),
            None,
            "no volume is known"
        );

        assert_eq!(certificate(&room(1), &LIMITS, UnixSeconds(3999)), None);
        let soon = certificate(&room(1), &LIMITS, UnixSeconds(4000)).expect("an alarm");
        assert_eq!(soon, "the certificate ends at 1970-01-01 01:23:20 UTC");
        let over = certificate(&room(1), &LIMITS, UnixSeconds(5000)).expect("an alarm");
        assert!(over.contains("nobody can connect"), "{over}");

        assert_eq!(silent(UnixMillis(1000), &LIMITS, UnixMillis(61_000)), None);
        let lost = silent(UnixMillis(1000), &LIMITS, UnixMillis(61_001)).expect("an alarm");
        assert_eq!(lost, "no answer since 1970-01-01 00:00:01 UTC");

        let until = UnixSeconds(1000);
        assert_eq!(
            unsealed(BoxPhase::Closed, until, &LIMITS, UnixSeconds(1600)),
            None
        );
        assert!(unsealed(BoxPhase::Closed, until, &LIMITS, UnixSeconds(1601)).is_some());
        assert!(unsealed(BoxPhase::Sealing, until, &LIMITS, UnixSeconds(1601)).is_some());
        assert_eq!(
            unsealed(BoxPhase::Sealed, until, &LIMITS, UnixSeconds(1601)),
            None
        );
    }
    #[test]
    fn an_abort_and_spent_sessions_stand_until_there_is_a_result() {
        let of_box = |phase: BoxPhase, trouble: &str, sessions_left| wire::BoxStatus {
            phase: phase.into(),
            trouble: trouble.to_owned(),
            sessions_left,
            last_session: 3,
            ..Default::default()
        };
        let stopped = of_box(BoxPhase::Sealed, "session 3 stopped; suspected: P2", 0);
        assert_eq!(
            aborted(&stopped).as_deref(),
            Some("session 3 stopped; suspected: P2")
        );
        assert!(spent(&stopped).expect("an alarm").contains("session 3"));
        let left = of_box(BoxPhase::Sealed, "", 2);
        assert_eq!((aborted(&left), spent(&left)), (None, None));
        for phase in [BoxPhase::Open, BoxPhase::Tallying, BoxPhase::Tallied] {
            let other = of_box(phase, "something", 0);
            assert_eq!((aborted(&other), spent(&other)), (None, None), "{phase:?}");
        }
    }
}
