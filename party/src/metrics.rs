//! Figures for Prometheus. The hot path adds to atomics; everything else is read when it is asked for, from the same status that operators see.
//!
//! No figure carries a digest, a voter or an address. Labels are reason codes, phases, parties, channels, and elections with their boxes, of
//! these at most 200 (`MOST_BOXES`); what comes on top is summed under `election="(other)"`.

pub(crate) mod connections;
pub(crate) mod guards;
pub(crate) mod serve;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tally_proto::ids::{Role, UnixMillis};
use tally_proto::reason::Reason;
use tally_proto::wire;

use crate::alarm::Alarm;
use connections::Connections;
use guards::Guards;
use tally_proto::guard::Turned;

/// Boxes with figures of their own.
const MOST_BOXES: usize = 200;

/// How a tally session ended here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// With a Result.
    Result,
    /// With an Abort.
    Aborted,
    /// Without either.
    Failed,
}

const ENDS: [&str; 3] = ["result", "aborted", "failed"];

/// What is counted while it happens.
#[derive(Debug)]
pub struct Metrics {
    accepted: AtomicU64,
    /// By the reason's place in [`Reason::ALL`].
    refused: Box<[AtomicU64]>,
    commit_objects: Histogram,
    commit_seconds: Histogram,
    sessions_begun: AtomicU64,
    sessions_ended: [AtomicU64; 3],
    checkpoint_ms: AtomicU64,
    pub(crate) public: Connections,
    pub(crate) peer: Connections,
    pub(crate) guards: Guards,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            accepted: AtomicU64::new(0),
            refused: Reason::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            commit_objects: Histogram::new(exponential_buckets(1.0, 4.0, 8)),
            commit_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 14)),
            sessions_begun: AtomicU64::new(0),
            sessions_ended: Default::default(),
            checkpoint_ms: AtomicU64::new(0),
            public: Connections::default(),
            peer: Connections::default(),
            guards: Guards::default(),
        }
    }
}

/// What the store and the queues hold at the moment of asking.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queues {
    /// Ballots held because they are early.
    pub(crate) held: usize,
    /// Submissions that wait for a checking thread.
    pub(crate) checks: usize,
    /// Objects that wait for the writer.
    pub(crate) writes: usize,
}

type Labels = Vec<(&'static str, String)>;

impl Metrics {
    /// A submission was accepted.
    pub(crate) fn accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    /// A submission was refused.
    pub(crate) fn refused(&self, reason: Reason) {
        if let Some(place) = Reason::ALL.iter().position(|known| *known == reason)
            && let Some(count) = self.refused.get(place)
        {
            count.fetch_add(1, Relaxed);
        }
    }

    /// So many objects were written in one transaction.
    pub(crate) fn committed(&self, objects: usize, seconds: f64) {
        self.commit_objects.observe(objects as f64);
        self.commit_seconds.observe(seconds);
    }

    /// A checkpoint was signed.
    pub(crate) fn checkpoint(&self, now: UnixMillis) {
        self.checkpoint_ms.fetch_max(now.get(), Relaxed);
    }

    /// A tally session began.
    pub(crate) fn session_begun(&self) {
        self.sessions_begun.fetch_add(1, Relaxed);
    }

    /// A tally session ended.
    pub(crate) fn session_ended(&self, end: SessionEnd) {
        self.sessions_ended[end as usize].fetch_add(1, Relaxed);
    }

    /// The whole page, in the OpenMetrics text format that Prometheus reads.
    pub(crate) fn page(&self, status: &wire::StatusReply, queues: Queues) -> String {
        let mut page = Page(Registry::with_prefix("tally"));
        self.counted(&mut page);
        self.state(&mut page, status, queues);
        boxes(&mut page, &status.elections);
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut out, &page.0);
        out
    }

    fn counted(&self, page: &mut Page) {
        let refused = Reason::ALL
            .iter()
            .zip(&self.refused)
            .filter_map(|(reason, count)| {
                let count = count.load(Relaxed);
                (count > 0).then(|| (vec![("outcome", reason.code().to_owned())], count))
            });
        let accepted = (
            vec![("outcome", "accepted".to_owned())],
            self.accepted.load(Relaxed),
        );
        page.counters("submissions", "Submissions by outcome", refused.chain([accepted]));
        let registry = &mut page.0;
        registry.register(
            "commit_objects",
            "Objects written in one transaction",
            self.commit_objects.clone(),
        );
        registry.register(
            "commit_seconds",
            "Time of a transaction until it is on disk",
            self.commit_seconds.clone(),
        );
        page.counters(
            "sessions_begun",
            "Tally sessions begun since the start",
            [(vec![], self.sessions_begun.load(Relaxed))],
        );
        let ended = ENDS.iter().zip(&self.sessions_ended);
        page.counters(
            "sessions_ended",
            "Tally sessions ended since the start",
            ended.map(|(end, count)| (vec![("end", (*end).to_owned())], count.load(Relaxed))),
        );
        let listeners = [("public", &self.public), ("peer", &self.peer)];
        let by = |read: fn(&Connections) -> u64| {
            listeners.map(|(name, of)| (vec![("listener", name.to_owned())], read(of)))
        };
        page.gauges("connections", "Open connections", by(Connections::open).map(real));
        page.counters(
            "connections_accepted",
            "Connections accepted",
            by(Connections::accepted),
        );
        page.counters(
            "tls_failed",
            "Connections that ended before their TLS handshake did",
            by(Connections::unshaken),
        );
        let turned = Turned::ALL.into_iter().flat_map(|why| {
            let labels = move |listener: &str| {
                vec![
                    ("listener", listener.to_owned()),
                    ("bound", why.word().to_owned()),
                ]
            };
            self.guards
                .turned(why)
                .map(|(listener, count)| (labels(listener), count))
        });
        page.counters(
            "turned_away",
            "Connections and requests turned away or closed by a bound of a listener",
            turned,
        );
    }

    fn state(&self, page: &mut Page, status: &wire::StatusReply, queues: Queues) {
        let machine = status.machine.unwrap_or_default();
        let now = UnixMillis(status.now_ms);
        let version = vec![("version", status.version.clone())];
        page.gauges("build_info", "The running version", [(version, 1.0)]);
        for (name, help, value) in [
            (
                "held_ballots",
                "Early ballots held unanswered",
                queues.held as f64,
            ),
            (
                "check_queue",
                "Submissions waiting for a checking thread",
                queues.checks as f64,
            ),
            (
                "write_queue",
                "Objects waiting for the writer",
                queues.writes as f64,
            ),
            ("store_bytes", "Size of the store", machine.store_bytes as f64),
            (
                "disk_free_bytes",
                "Room on the volumes of store and session logs",
                machine.disk_free_bytes as f64,
            ),
            (
                "resident_bytes",
                "Memory of the process",
                machine.resident_bytes as f64,
            ),
            (
                "certificate_days_left",
                "Days until the certificate ends",
                (machine.certificate_ends_s as f64 - now.seconds().get() as f64) / 86_400.0,
            ),
            (
                "elections",
                "Elections published here",
                status.elections.len() as f64,
            ),
        ] {
            page.gauges(name, help, [(vec![], value)]);
        }
        if let at @ 1.. = self.checkpoint_ms.load(Relaxed) {
            let age = now.get().saturating_sub(at) as f64 / 1000.0;
            page.gauges(
                "checkpoint_age_seconds",
                "Since a checkpoint was last signed",
                [(vec![], age)],
            );
        }
        let party = |peer: &wire::PeerSight| {
            let role = u8::try_from(peer.party).ok().and_then(Role::from_index);
            vec![("party", role.map_or_else(String::new, |role| role.to_string()))]
        };
        let peers = || status.peers.iter();
        page.gauges(
            "peer_entries_behind",
            "Log entries that this party is behind the other",
            peers().map(|peer| (party(peer), peer.entries_behind as f64)),
        );
        page.gauges(
            "peer_clock_ahead_seconds",
            "How far the other party's clock is ahead",
            peers().filter_map(|peer| Some((party(peer), peer.clock_ahead_ms? as f64 / 1000.0))),
        );
        let answered = peers().filter(|peer| peer.answered_ms > 0);
        page.gauges(
            "peer_answered_seconds_ago",
            "Since the other party answered",
            answered.map(|peer| {
                (
                    party(peer),
                    now.get().saturating_sub(peer.answered_ms) as f64 / 1000.0,
                )
            }),
        );
        let standing = |alarm: &Alarm| status.alarms.iter().filter(|a| a.code == alarm.code()).count();
        page.gauges(
            "alarm",
            "Alarms that stand, by code; deploy/runbook.md has a page for each",
            Alarm::ALL
                .iter()
                .map(|alarm| (vec![("code", alarm.code().to_owned())], standing(alarm) as f64)),
        );
    }
}

fn real((labels, value): (Labels, u64)) -> (Labels, f64) {
    (labels, value as f64)
}

/// Figures of boxes: what is public anyway.
fn boxes(page: &mut Page, elections: &[wire::ElectionStatus]) {
    let mut received: BTreeMap<Labels, u64> = BTreeMap::new();
    let mut logs: BTreeMap<Labels, u64> = BTreeMap::new();
    let mut phases: BTreeMap<Labels, u64> = BTreeMap::new();
    let mut steps: BTreeMap<Labels, f64> = BTreeMap::new();
    let mut shown = 0;
    for election in elections {
        let room = shown + election.boxes.len() <= MOST_BOXES;
        let named = |of_box: String| -> Labels {
            if room {
                vec![("election", election.election.clone()), ("box", of_box)]
            } else {
                vec![("election", "(other)".to_owned()), ("box", String::new())]
            }
        };
        if room {
            shown += election.boxes.len();
        }
        let log: Labels = named(String::new()).into_iter().take(1).collect();
        *logs.entry(log).or_default() += election.log_size;
        for of_box in &election.boxes {
            let labels = named(of_box.r#box.to_string());
            for (channel, count) in [
                ("online", of_box.received_online),
                ("station", of_box.received_station),
                ("paper", of_box.received_paper),
            ] {
                let mut labels = labels.clone();
                labels.push(("channel", channel.to_owned()));
                *received.entry(labels).or_default() += count;
            }
            let phase = crate::status::phase_name(of_box.phase()).to_owned();
            *phases.entry(vec![("phase", phase)]).or_default() += 1;
            if !of_box.step.is_empty() && room {
                let mut labels = labels;
                labels.push(("step", of_box.step.clone()));
                steps.insert(labels, of_box.step_done as f64 / of_box.step_total.max(1) as f64);
            }
        }
    }
    page.gauges(
        "ballots_received",
        "Ballots received (how many voted is known to nobody)",
        received.into_iter().map(real),
    );
    page.gauges(
        "log_entries",
        "Entries of the public log",
        logs.into_iter().map(real),
    );
    page.gauges("boxes", "Boxes by phase", phases.into_iter().map(real));
    page.gauges(
        "step_done",
        "How much of the running step of a seal or tally is done, 0 to 1",
        steps,
    );
}

/// A page under construction.
struct Page(Registry);

impl Page {
    fn gauges(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, f64)>) {
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (labels, value) in values {
            if labels.is_empty() {
                let only = Gauge::<f64, AtomicU64>::default();
                only.set(value);
                return self.0.register(name, help, only);
            }
            family.get_or_create(&labels).set(value);
        }
        self.0.register(name, help, family);
    }

    fn counters(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in values {
            if labels.is_empty() {
                let only = Counter::<u64>::default();
                only.inc_by(value);
                return self.0.register(name, help, only);
            }
            family.get_or_create(&labels).inc_by(value);
        }
        self.0.register(name, help, family);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn election(id: usize, boxes: u32) -> wire::ElectionStatus {
        let of_box = |number| wire::BoxStatus {
            r#box: number,
            received_online: 3,
            phase: wire::BoxPhase::Open.into(),
            ..Default::default()
        };
        wire::ElectionStatus {
            election: format!("e{id}"),
            log_size: 3,
            boxes: (1..=boxes).map(of_box).collect(),
            ..Default::default()
        }
    }

    const QUEUES: Queues = Queues {
        held: 4,
        checks: 5,
        writes: 6,
    };

    #[test]
    fn the_page_says_what_was_counted() {
        let metrics = Metrics::default();
        metrics.accepted();
        metrics.accepted();
        metrics.refused(Reason::PartyBusy);
        metrics.committed(2, 0.004);
        metrics.session_begun();
        metrics.session_ended(SessionEnd::Aborted);
        metrics.checkpoint(UnixMillis(7_000));
        let status = wire::StatusReply {
            party: 1,
            now_ms: 10_000,
            version: "0.1.0".to_owned(),
            elections: vec![election(1, 1)],
            alarms: vec![wire::Alarm {
                code: Alarm::DiskLow.code().to_owned(),
                ..Default::default()
            }],
            peers: vec![wire::PeerSight {
                party: 2,
                answered_ms: 9_000,
                clock_ahead_ms: Some(-250),
                entries_behind: 8,
                trouble: String::new(),
            }],
            locked: None,
            machine: Some(wire::Machine {
                certificate_ends_s: 10 + 86_400,
                ..Default::default()
            }),
        };
        let page = metrics.page(&status, QUEUES);
        for line in [
            "tally_submissions_total{outcome=\"accepted\"} 2",
            "tally_submissions_total{outcome=\"party.busy\"} 1",
            "tally_commit_objects_sum 2.0",
            "tally_commit_seconds_count 1",
            "tally_sessions_begun_total 1",
            "tally_sessions_ended_total{end=\"aborted\"} 1",
            "tally_checkpoint_age_seconds 3.0",
            "tally_held_ballots 4.0",
            "tally_check_queue 5.0",
            "tally_write_queue 6.0",
            "tally_alarm{code=\"disk.low\"} 1.0",
            "tally_alarm{code=\"clock.wrong\"} 0.0",
            "tally_peer_entries_behind{party=\"P2\"} 8.0",
            "tally_peer_clock_ahead_seconds{party=\"P2\"} -0.25",
            "tally_peer_answered_seconds_ago{party=\"P2\"} 1.0",
            "tally_certificate_days_left 1.0",
            "tally_ballots_received{election=\"e1\",box=\"1\",channel=\"online\"} 3.0",
            "tally_log_entries{election=\"e1\"} 3.0",
            "tally_boxes{phase=\"open\"} 1.0",
            "tally_connections{listener=\"public\"} 0.0",
            "tally_turned_away_total{listener=\"public\",bound=\"idle\"} 0",
            "# EOF",
        ] {
            assert!(
                page.lines().any(|found| found == line),
                "{line} is missing in\n{page}"
            );
        }
        let runbook = include_str!("../../deploy/runbook.md");
        let words = runbook.split(|c: char| !c.is_ascii_lowercase() && c != '_');
        let named: Vec<&str> = words.filter(|word| word.starts_with("tally_")).collect();
        assert!(named.len() >= 4, "the runbook names figures");
        for name in named {
            assert!(page.contains(name), "the runbook's {name} is no figure");
        }
        assert!(
            !page.contains("tally_submissions_total{outcome=\"ballot"),
            "{page}"
        );
    }

    #[test]
    fn a_thousand_elections_do_not_make_thousands_of_series() {
        let status = wire::StatusReply {
            elections: (0..1000).map(|id| election(id, 2)).collect(),
            ..Default::default()
        };
        let page = Metrics::default().page(&status, QUEUES);
        let lines = page.lines().filter(|line| !line.starts_with('#')).count();
        assert!(lines < 4 * MOST_BOXES + 200, "{lines} lines");
        let rest = 3 * 2 * (1000 - MOST_BOXES / 2);
        let other =
            format!("tally_ballots_received{{election=\"(other)\",box=\"\",channel=\"online\"}} {rest}.0");
        assert!(page.contains(&other), "{other} is missing");
        assert!(page.contains("tally_boxes{phase=\"open\"} 2000.0"));
    }
}
