//! The three parties at a glance: reachable or not, clocks, phases, and *ballots received*: submissions, of which one voter may
//! have sent many. Who or how many voted is not known to anyone, so nothing here says so.

use std::time::Duration;

use comfy_table::Cell;
use serde_json::json;
use tally_proto::ids::{ElectionId, Hash32, UnixMillis};
use tally_proto::reason::Reason;
use tally_proto::refusal::plain;
use tally_proto::wire;

use crate::board::now_ms;
use crate::directory::{Directory, Election};
use crate::error::Error;
use crate::parties::{Party, PartyError, Patience};
use crate::progress::{Quiet, grouped};
use crate::report::terminal::{number, table};
use crate::setup;

/// How long a party may take to answer before it is shown as unreachable.
const TIMEOUT: Duration = Duration::from_secs(4);

/// A party's clock may be so far from this one before the table says so.
const CLOCK_TOLERANCE_MS: i64 = 1_000;

/// What is known of an election now.
#[derive(Debug)]
pub struct Snapshot {
    /// The election.
    pub election: ElectionId,
    /// In order: what each party said, and by how many milliseconds its clock is ahead of this one.
    pub parties: Vec<Result<(wire::StatusReply, i64), PartyError>>,
}

/// Asks the three parties at once.
///
/// # Errors
/// [`Error::Connect`]; a party that does not answer is no error, it is what the snapshot says.
pub async fn snapshot(directory: &Directory, election: &Election) -> Result<Snapshot, Error> {
    let id = election.signed().manifest().election().clone();
    let parties = election.parties(directory)?;
    let parties = parties
        .at_once(async |party| {
            let of_election = ask(party, id.as_str()).await;
            match of_election {
                // It answers, but has nothing of this election: its clock and version are worth showing all the same.
                Err(error) if error.refusal.reason == Reason::ElectionUnknown => ask(party, "").await,
                other => other,
            }
        })
        .await;
    Ok(Snapshot {
        election: id,
        parties,
    })
}

/// One party's status and how many milliseconds its clock is ahead of this machine's.
async fn ask(party: &Party, election: &str) -> Result<(wire::StatusReply, i64), PartyError> {
    let ask = async || {
        let before = now_ms();
        let mut request = tonic::Request::new(wire::StatusRequest {
            election: election.to_owned(),
        });
        request.set_timeout(TIMEOUT);
        let status = for_people(party.control().status(request).await?.into_inner());
        // The answer was made about half way between asking and now.
        let middle = before + (now_ms().saturating_sub(before)) / 2;
        let ahead = i64::try_from(i128::from(status.now_ms) - i128::from(middle)).unwrap_or(i64::MAX);
        Ok((status, ahead))
    };
    party.ask(Patience::NONE, &Quiet, ask).await
}

/// What a party says, with no character in it that could rewrite what another one says on the same screen.
fn for_people(status: wire::StatusReply) -> wire::StatusReply {
    let alarm = |alarm: wire::Alarm| wire::Alarm {
        code: plain(alarm.code),
        about: plain(alarm.about),
        detail: plain(alarm.detail),
        advice: plain(alarm.advice),
        ..alarm
    };
    let of_box = |of_box: wire::BoxStatus| wire::BoxStatus {
        trouble: plain(of_box.trouble),
        ..of_box
    };
    let peer = |peer: wire::PeerLog| wire::PeerLog {
        trouble: plain(peer.trouble),
        // Notes have lines.
        evidence: peer
            .evidence
            .iter()
            .map(|note| note.lines().map(|line| plain(line.to_owned()) + "\n").collect())
            .collect(),
        ..peer
    };
    let election = |election: wire::ElectionStatus| wire::ElectionStatus {
        election: plain(election.election),
        intake_trouble: plain(election.intake_trouble),
        boxes: election.boxes.into_iter().map(of_box).collect(),
        peers: election.peers.into_iter().map(peer).collect(),
        ..election
    };
    wire::StatusReply {
        version: plain(status.version),
        alarms: status.alarms.into_iter().map(alarm).collect(),
        elections: status.elections.into_iter().map(election).collect(),
        ..status
    }
}

/// The snapshot as tables.
pub fn render(election: &Election, snapshot: &Snapshot, width: u16, styled: bool) -> String {
    let manifest = election.signed().manifest();
    let mut out = format!(
        "Election {}: {}\n\n",
        snapshot.election,
        manifest.title().default_text()
    );
    let longest = logs(snapshot).max().unwrap_or(0);
    let header = ["Party", "Reachable", "Clock", "Manifest", "Log", "Behind"]
        .map(str::to_owned)
        .to_vec();
    let mut parties = table(width, header, styled);
    for (identity, answer) in manifest.parties().iter().zip(&snapshot.parties) {
        let name = format!("P{} {}", identity.role().index(), identity.agency());
        match answer {
            Err(error) => parties.add_row([
                Cell::new(name),
                Cell::new(format!("no: {}", error.refusal)),
                Cell::new(""),
                Cell::new(""),
                Cell::new(""),
                Cell::new(""),
            ]),
            Ok((status, ahead)) => {
                let known = known(status, &snapshot.election);
                let log = known.map_or(0, |e| e.log_size);
                parties.add_row([
                    Cell::new(name),
                    Cell::new(match &status.locked {
                        Some(lock) => format!(
                            "LOCKED: {} of {} key officials needed, {} came",
                            lock.needed, lock.officials, lock.given
                        ),
                        None => format!("yes, version {}", status.version),
                    }),
                    Cell::new(clock_words(*ahead)),
                    Cell::new(manifest_words(election, known)),
                    number(log),
                    number(longest.saturating_sub(log)),
                ])
            }
        };
    }
    out += &parties.to_string();
    out += "\n\nMachines\n";
    out += &machines(snapshot, width, styled);
    out += "\n\nBallots received (submissions, not people), by party\n";
    out += &boxes(election, snapshot, width, styled);
    out.push('\n');
    out += &open_roll(election, snapshot);
    for object in setup::countersigned(election).iter().filter(|o| !o.is_complete()) {
        out += &format!(
            "{} is not countersigned by {}\n",
            object.object,
            object.missing(manifest)
        );
    }
    for line in troubles(snapshot) {
        out += &line;
        out.push('\n');
    }
    for (party, alarm) in alarms(snapshot) {
        let about = match alarm.about.as_str() {
            "" => String::new(),
            about => format!(" ({about})"),
        };
        let code = match styled {
            true => format!("\u{1b}[1;31m{}\u{1b}[0m", alarm.code),
            false => alarm.code.clone(),
        };
        out += &format!(
            "P{party} {code}{about} since {}: {}\n    {}\n",
            UnixMillis(alarm.since_ms).seconds(),
            alarm.detail,
            alarm.advice
        );
    }
    out
}

/// What a party says of the election; `None`: it has nothing of it.
fn known<'a>(status: &'a wire::StatusReply, election: &ElectionId) -> Option<&'a wire::ElectionStatus> {
    status.elections.iter().find(|e| e.election == election.as_str())
}

/// (Party, status) of those that answered.
fn answered(snapshot: &Snapshot) -> impl Iterator<Item = (u32, &wire::StatusReply)> {
    let answers = (1..).zip(&snapshot.parties);
    answers.filter_map(|(party, answer)| Some((party, &answer.as_ref().ok()?.0)))
}

fn logs(snapshot: &Snapshot) -> impl Iterator<Item = u64> {
    answered(snapshot).filter_map(|(_, status)| Some(known(status, &snapshot.election)?.log_size))
}

/// The alarms of all that answered.
fn alarms(snapshot: &Snapshot) -> impl Iterator<Item = (u32, &wire::Alarm)> {
    answered(snapshot).flat_map(|(party, status)| status.alarms.iter().map(move |alarm| (party, alarm)))
}

impl Snapshot {
    /// A party raises an alarm, or does not answer.
    pub fn is_alarming(&self) -> bool {
        self.parties.iter().any(Result::is_err) || alarms(self).next().is_some()
    }

    /// The snapshot for machines.
    pub fn to_json(&self) -> serde_json::Value {
        let boxes = |status: &wire::StatusReply| -> Vec<_> {
            let boxes = known(status, &self.election).into_iter().flat_map(|e| &e.boxes);
            let object = |b: &wire::BoxStatus| {
                json!({
                    "box": b.r#box, "phase": phase_words(b.phase()), "online": b.received_online, "station": b.received_station,
                    "paper": b.received_paper, "records": b.records, "numbers": b.numbers, "trouble": b.trouble,
                })
            };
            boxes.map(object).collect()
        };
        let alarms = |status: &wire::StatusReply| -> Vec<_> {
            let object = |a: &wire::Alarm| json!({ "code": a.code, "about": a.about, "detail": a.detail, "advice": a.advice, "since_ms": a.since_ms });
            status.alarms.iter().map(object).collect()
        };
        let parties = (1..).zip(&self.parties).map(|(party, answer)| match answer {
            Err(error) => json!({ "party": party, "reachable": false, "refusal": error.refusal.to_string() }),
            Ok((status, ahead)) => {
                let machine = status.machine.unwrap_or_default();
                json!({
                    "party": party, "reachable": true, "version": status.version, "clock_ahead_ms": ahead,
                    "log_size": known(status, &self.election).map_or(0, |e| e.log_size),
                    "lists": known(status, &self.election).map_or_else(String::new, lists),
                    "disk_free_bytes": machine.disk_free_bytes, "certificate_ends_s": machine.certificate_ends_s,
                    "alarms": alarms(status), "boxes": boxes(status),
                })
            }
        });
        json!({ "election": self.election.as_str(), "parties": parties.collect::<Vec<_>>() })
    }
}

/// Room, memory and the days that the certificates have left.
fn machines(snapshot: &Snapshot, width: u16, styled: bool) -> String {
    let header = ["Party", "Disk free", "Store", "Memory", "Certificate", "Alarms"]
        .map(str::to_owned)
        .to_vec();
    let mut rows = table(width, header, styled);
    for (party, status) in answered(snapshot) {
        let machine = status.machine.unwrap_or_default();
        let days = machine.certificate_ends_s.saturating_sub(status.now_ms / 1000) / 86_400;
        rows.add_row([
            Cell::new(format!("P{party}")),
            Cell::new(format!("{} MiB", grouped(machine.disk_free_bytes >> 20))),
            Cell::new(format!("{} MiB", grouped(machine.store_bytes >> 20))),
            Cell::new(format!("{} MiB", grouped(machine.resident_bytes >> 20))),
            Cell::new(format!("{} days", grouped(days))),
            number(status.alarms.len() as u64),
        ]);
    }
    rows.to_string()
}

/// The hash of the revocation lists that the party's log names last; empty where it names none.
fn lists(of: &wire::ElectionStatus) -> String {
    Hash32::from_slice(&of.lists).map_or_else(|_| String::new(), |hash| hash.to_string())
}

fn clock_words(ahead_ms: i64) -> String {
    match ahead_ms {
        a if a.abs() <= CLOCK_TOLERANCE_MS => "in time".to_owned(),
        a if a > 0 => format!("{} ms ahead of this machine", grouped(a.unsigned_abs())),
        a => format!("{} ms behind this machine", grouped(a.unsigned_abs())),
    }
}

fn manifest_words(election: &Election, known: Option<&wire::ElectionStatus>) -> &'static str {
    match known {
        None => "not there: run publish",
        Some(e) if e.manifest_hash != election.signed().hash().0 => "ANOTHER manifest",
        Some(e) if e.countersigned_by_all => "in force",
        Some(_) => "waits for countersignatures",
    }
}

fn boxes(election: &Election, snapshot: &Snapshot, width: u16, styled: bool) -> String {
    let header = [
        "Box",
        "Party",
        "Phase",
        "Online",
        "Station",
        "Paper",
        "Credentials",
    ]
    .map(str::to_owned)
    .to_vec();
    let mut rows = table(width, header, styled);
    for b in election.signed().manifest().boxes() {
        for (party, answer) in (1..).zip(&snapshot.parties) {
            let status = answer.as_ref().ok().and_then(|(status, _)| {
                let boxes = &known(status, &snapshot.election)?.boxes;
                boxes.iter().find(|s| s.r#box == b.id().get())
            });
            let mut row = vec![
                Cell::new(if party == 1 { b.name().default_text() } else { "" }),
                Cell::new(format!("P{party}")),
            ];
            match status {
                None => row.push(Cell::new("unknown")),
                Some(s) => {
                    row.push(Cell::new(phase_words(s.phase())));
                    row.extend(
                        [s.received_online, s.received_station, s.received_paper, s.records].map(number),
                    );
                }
            }
            rows.add_row(row);
        }
    }
    rows.to_string()
}

/// How an open roll grows, by party; nothing where there is none.
fn open_roll(election: &Election, snapshot: &Snapshot) -> String {
    let Some((of_box, open)) = (election.signed().manifest().open_box()).and_then(|b| Some((b, b.open()?)))
    else {
        return String::new();
    };
    let numbers = |status: &wire::StatusReply| {
        let boxes = known(status, &snapshot.election)
            .into_iter()
            .flat_map(|e| &e.boxes);
        boxes.map(|b| b.numbers).max().unwrap_or_default()
    };
    let given: Vec<String> = answered(snapshot)
        .map(|(party, status)| format!("P{party} {}", grouped(numbers(status).into())))
        .collect();
    format!(
        "Open roll of {}: numbers given {}, of at most {}; frozen at {}\n",
        of_box.name().default_text(),
        given.join(", "),
        grouped(of_box.voters().into()),
        open.freezes
    )
}

fn troubles(snapshot: &Snapshot) -> Vec<String> {
    let boxes = answered(snapshot).flat_map(|(party, status)| {
        let boxes = known(status, &snapshot.election)
            .into_iter()
            .flat_map(|e| &e.boxes);
        boxes.map(move |b| (party, b))
    });
    boxes
        .filter(|(_, b)| !b.trouble.is_empty())
        .map(|(party, b)| format!("P{party}, box {}: {}", b.r#box, b.trouble))
        .collect()
}

fn phase_words(phase: wire::BoxPhase) -> &'static str {
    match phase {
        wire::BoxPhase::Unspecified => "unknown",
        wire::BoxPhase::Waiting => "waiting",
        wire::BoxPhase::Open => "open",
        wire::BoxPhase::Draining => "closed, stations deliver",
        wire::BoxPhase::Closed => "closed",
        wire::BoxPhase::Sealing => "sealing",
        wire::BoxPhase::Sealed => "sealed",
        wire::BoxPhase::Tallying => "tallying",
        wire::BoxPhase::Tallied => "tallied",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(alarms: Vec<wire::Alarm>) -> Snapshot {
        let status = |log_size, alarms| wire::StatusReply {
            now_ms: 1_000,
            alarms,
            elections: vec![wire::ElectionStatus {
                election: "ward".to_owned(),
                log_size,
                lists: vec![0xcd; 32],
                ..Default::default()
            }],
            machine: Some(wire::Machine {
                disk_free_bytes: 5000 << 20,
                certificate_ends_s: 86_400 * 9 + 1,
                ..Default::default()
            }),
            ..Default::default()
        };
        Snapshot {
            election: ElectionId::new("ward").expect("an id"),
            parties: vec![
                Ok((status(10, vec![]), 3)),
                Ok((status(7, alarms), -2)),
                Ok((status(10, vec![]), 0)),
            ],
        }
    }

    #[test]
    fn what_one_party_says_cannot_rewrite_the_screen() {
        let hostile = || "P1\u{1b}[2J\u{202e}\r\u{7f}".to_owned();
        let stated = "P1\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}";
        let status = for_people(wire::StatusReply {
            version: hostile(),
            alarms: vec![wire::Alarm {
                code: hostile(),
                about: hostile(),
                detail: hostile(),
                advice: hostile(),
                ..Default::default()
            }],
            elections: vec![wire::ElectionStatus {
                election: hostile(),
                intake_trouble: hostile(),
                boxes: vec![wire::BoxStatus {
                    trouble: hostile(),
                    ..Default::default()
                }],
                peers: vec![wire::PeerLog {
                    trouble: hostile(),
                    evidence: vec![format!("one\n\n{}\n", hostile())],
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        });
        let (alarm, election) = (&status.alarms[0], &status.elections[0]);
        for said in [
            &status.version,
            &alarm.code,
            &alarm.about,
            &alarm.detail,
            &alarm.advice,
            &election.election,
            &election.intake_trouble,
            &election.boxes[0].trouble,
            &election.peers[0].trouble,
        ] {
            assert_eq!(said, stated);
        }
        assert_eq!(election.peers[0].evidence, [format!("one\n\n{stated}\n")]);
        // No field with text was forgotten: nothing of the kind is left anywhere in it.
        let shown = format!("{status:?}");
        assert!(
            !shown.contains("\\u{1b}") && !shown.contains("\\u{202e}"),
            "{shown}"
        );
    }

    #[test]
    fn an_alarm_of_any_party_is_an_alarm_of_all() {
        assert!(!snapshot(vec![]).is_alarming());
        let alarm = wire::Alarm {
            code: "disk.low".to_owned(),
            ..Default::default()
        };
        let alarming = snapshot(vec![alarm]);
        assert!(alarming.is_alarming());
        let said = alarming.to_json();
        assert_eq!(said["parties"][1]["alarms"][0]["code"], "disk.low");
        assert_eq!(said["parties"][1]["log_size"], 7);
        assert_eq!(said["parties"][1]["lists"], "cd".repeat(32));
        assert_eq!(logs(&alarming).max(), Some(10));
        let table = machines(&alarming, 80, false);
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        assert!(table.contains("5,000 MiB") && table.contains("9 days"), "{table}");
    }
}
