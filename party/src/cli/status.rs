//! `party status`: one party at a glance, for a terminal (80 columns, colour only there), for a script (`--json`), for cron and Nagios (exit
//! status 2 while an alarm stands).

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use tally_proto::ids::{Hash32, Role, UnixMillis, UnixSeconds};
use tally_proto::wire;

use super::{CliError, ConfigFile};
use crate::config::Config;
use crate::operator::Operator;
use crate::status::phase_name;

/// Exit status while an alarm stands.
const ALARM: u8 = 2;

#[derive(Debug, clap::Args)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    config: ConfigFile,
    /// One election only
    #[arg(long, default_value = "")]
    election: String,
    /// Show it again every so many seconds, until interrupted
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "5",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    watch: Option<u64>,
    /// One JSON object a line instead
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &StatusArguments) -> Result<ExitCode, CliError> {
    let config = Config::load(&arguments.config.config)?;
    let mut operator = Operator::new(&config)?;
    let terminal = io::stdout().is_terminal();
    loop {
        let asked = operator.status(&arguments.election).await;
        let text = match &asked {
            Ok(status) if arguments.json => format!("{}\n", object(status)),
            Ok(status) => view(status, terminal),
            // Whoever watches sees the party go and come back.
            Err(error) if arguments.watch.is_some() && !arguments.json => {
                format!("this party's server: {error}\n")
            }
            Err(_) => String::new(),
        };
        let Some(seconds) = arguments.watch else {
            io::stdout().write_all(text.as_bytes())?;
            let alarms = asked?.alarms.len();
            return Ok(if alarms > 0 {
                ExitCode::from(ALARM)
            } else {
                ExitCode::SUCCESS
            });
        };
        let mut out = io::stdout().lock();
        if terminal && !arguments.json {
            // Home, and the rest of the screen cleared.
            out.write_all(b"\x1b[H\x1b[J")?;
        }
        out.write_all(text.as_bytes())?;
        out.flush()?;
        drop(out);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

/// Bold red on a terminal.
fn loud(text: &str, styled: bool) -> String {
    if styled {
        format!("\x1b[1;31m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// `text` in lines of at most 80 columns, each after `indent` columns.
fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        match lines.last_mut() {
            Some(last) if line == 0 => last.push_str(word),
            Some(last) if indent + line + 1 + word.chars().count() <= 80 => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    let indent = " ".repeat(indent);
    lines.iter().map(|line| format!("{indent}{line}\n")).collect()
}

// Writing to a String cannot fail: the results of `writeln!` are dropped below.

/// The whole view.
fn view(status: &wire::StatusReply, styled: bool) -> String {
    let mut text = String::new();
    let count = status.alarms.len();
    let word = match count {
        0 => "no alarm".to_owned(),
        1 => loud("1 ALARM", styled),
        _ => loud(&format!("{count} ALARMS"), styled),
    };
    let now = UnixMillis(status.now_ms);
    let _ = writeln!(
        text,
        "Party {}, version {}, {}: {word}",
        status.party,
        status.version,
        now.seconds()
    );
    for alarm in &status.alarms {
        let about = if alarm.about.is_empty() {
            String::new()
        } else {
            format!(" ({})", alarm.about)
        };
        let _ = writeln!(
            text,
            "\n  {}{about} since {}",
            loud(&alarm.code, styled),
            UnixMillis(alarm.since_ms).seconds()
        );
        text += &wrapped(&alarm.detail, 4);
        text += &wrapped(&alarm.advice, 4);
    }
    if status.locked.is_some() {
        // Nothing else is known.
        return text;
    }
    text.push('\n');
    machine(&mut text, status.machine.unwrap_or_default(), now.seconds());
    for peer in &status.peers {
        let _ = writeln!(text, "  {}", sight(peer, now));
    }
    if status.elections.is_empty() {
        let _ = writeln!(text, "\nNo election is published here.");
    }
    for election in &status.elections {
        self::election(&mut text, election);
    }
    text
}

fn machine(text: &mut String, machine: wire::Machine, now: UnixSeconds) {
    let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
    if let Some(tenths) = (machine.disk_free_bytes * 20).checked_div(machine.disk_bytes) {
        let free = usize::try_from(tenths).unwrap_or(0).min(20);
        let _ = writeln!(
            text,
            "  disk    [{}{}] {:.1} GiB free of {:.1}",
            "#".repeat(20 - free),
            ".".repeat(free),
            gib(machine.disk_free_bytes),
            gib(machine.disk_bytes)
        );
    }
    let _ = writeln!(
        text,
        "  store   {:.1} MiB, memory {:.1} MiB",
        machine.store_bytes as f64 / f64::from(1 << 20),
        machine.resident_bytes as f64 / f64::from(1 << 20)
    );
    let _ = writeln!(
        text,
        "  certificate ends in {} days, at {}",
        days_left(machine, now),
        UnixSeconds(machine.certificate_ends_s)
    );
}

fn days_left(machine: wire::Machine, now: UnixSeconds) -> u64 {
    machine.certificate_ends_s.saturating_sub(now.get()) / 86_400
}

fn sight(peer: &wire::PeerSight, now: UnixMillis) -> String {
    let name = peer_name(peer);
    let trouble = match peer.trouble.as_str() {
        "" => String::new(),
        why => format!("\n          not now: {why}"),
    };
    if peer.answered_ms == 0 {
        return format!("{name}      has not answered since this party started{trouble}");
    }
    let ago = now.get().saturating_sub(peer.answered_ms) / 1000;
    let clock = match peer.clock_ahead_ms {
        Some(ahead) => format!("its clock {ahead:+} ms"),
        None => "its clock unknown".to_owned(),
    };
    let behind = match peer.entries_behind {
        0 => String::new(),
        entries => format!(", this party is {entries} entries behind it"),
    };
    format!("{name}      answered {ago} s ago, {clock}{behind}{trouble}")
}

/// In hexadecimal; empty where there is none.
fn hash(bytes: &[u8]) -> String {
    Hash32::from_slice(bytes).map_or_else(|_| String::new(), |hash| hash.to_string())
}

fn peer_name(peer: &wire::PeerSight) -> String {
    let role = u8::try_from(peer.party).ok().and_then(Role::from_index);
    role.map_or_else(|| "P?".to_owned(), |role| role.to_string())
}

fn election(text: &mut String, election: &wire::ElectionStatus) {
    let countersigned = if election.countersigned_by_all {
        "in force"
    } else {
        "not countersigned by all"
    };
    let _ = writeln!(
        text,
        "\nElection {} ({countersigned}), log of {} entries",
        election.election, election.log_size
    );
    if !election.intake_trouble.is_empty() {
        text.push_str(&wrapped(&election.intake_trouble, 2));
    }
    if election.lost > 0 {
        let _ = writeln!(
            text,
            "  {} entries of the log were lost with a disk: nobody could give them back",
            election.lost
        );
    }
    if election.list_changes > 0 {
        let hash = self::hash(&election.lists);
        let _ = writeln!(
            text,
            "  revocation lists {}, change {} in the log",
            hash.get(..16).unwrap_or(&hash),
            election.list_changes
        );
    }
    for log in &election.peers {
        let _ = writeln!(
            text,
            "  log of P{}: {} of {} entries followed, {} behind; it cosigned {} here",
            log.party, log.mirrored, log.size, log.behind, log.cosigned_size
        );
        if log.not_given > 0 {
            let _ = writeln!(
                text,
                "    {} ballots and records in it were not given, or wrongly: sealing asks again",
                log.not_given
            );
        }
        if !log.trouble.is_empty() {
            text.push_str(&wrapped(&log.trouble, 4));
        }
        // Signed notes, as they are: whoever is shown them can check the signatures.
        for note in &log.evidence {
            text.extend(note.lines().map(|line| format!("    {line}\n")));
        }
    }
    let _ = writeln!(text, "  Ballots received (how many voted is known to nobody):");
    let _ = writeln!(
        text,
        "  {:>6}  {:<10} {:>9} {:>9} {:>9} {:>9}",
        "box", "phase", "online", "station", "paper", "records"
    );
    for of_box in &election.boxes {
        let _ = writeln!(
            text,
            "  {:>6}  {:<10} {:>9} {:>9} {:>9} {:>9}",
            of_box.r#box,
            phase_name(of_box.phase()),
            of_box.received_online,
            of_box.received_station,
            of_box.received_paper,
            of_box.records
        );
        if of_box.numbers > 0 {
            let _ = writeln!(text, "          {} on the open roll so far", of_box.numbers);
        }
        if !of_box.step.is_empty() {
            let _ = match of_box.step_total {
                0 => writeln!(text, "          {}", of_box.step),
                total => writeln!(text, "          {}: {} of {total}", of_box.step, of_box.step_done),
            };
        }
        if !of_box.trouble.is_empty() {
            text.push_str(&wrapped(&of_box.trouble, 10));
        }
    }
}

/// The same for machines.
fn object(status: &wire::StatusReply) -> serde_json::Value {
    let now = UnixMillis(status.now_ms);
    let machine = status.machine.unwrap_or_default();
    let boxes = |election: &wire::ElectionStatus| -> Vec<_> {
        let boxes = election.boxes.iter().map(|of_box| {
            json!({
                "box": of_box.r#box, "phase": phase_name(of_box.phase()), "online": of_box.received_online,
                "station": of_box.received_station, "paper": of_box.received_paper, "records": of_box.records, "numbers": of_box.numbers,
                "last_session": of_box.last_session, "sessions_left": of_box.sessions_left, "trouble": of_box.trouble,
            })
        });
        boxes.collect()
    };
    json!({
        "party": status.party,
        "version": status.version,
        "now_ms": status.now_ms,
        "alarms": status.alarms.iter().map(|alarm| json!({
            "code": alarm.code, "about": alarm.about, "detail": alarm.detail, "advice": alarm.advice, "since_ms": alarm.since_ms,
        })).collect::<Vec<_>>(),
        "machine": {
            "disk_free_bytes": machine.disk_free_bytes, "disk_bytes": machine.disk_bytes, "store_bytes": machine.store_bytes,
            "resident_bytes": machine.resident_bytes, "certificate_days": days_left(machine, now.seconds()),
        },
        "peers": status.peers.iter().map(|peer| json!({
            "party": peer.party, "answered_ms": peer.answered_ms, "clock_ahead_ms": peer.clock_ahead_ms, "entries_behind": peer.entries_behind,
            "trouble": peer.trouble,
        })).collect::<Vec<_>>(),
        "elections": status.elections.iter().map(|election| json!({
            "election": election.election, "in_force": election.countersigned_by_all, "log_size": election.log_size, "intake_trouble": election.intake_trouble, "lost": election.lost,
            "lists": hash(&election.lists), "list_changes": election.list_changes, "log_key": election.log_key,
            "peers": election.peers.iter().map(|log| json!({
                "party": log.party, "size": log.size, "mirrored": log.mirrored, "behind": log.behind, "cosigned_size": log.cosigned_size,
                "not_given": log.not_given, "trouble": log.trouble, "evidence": log.evidence,
            })).collect::<Vec<_>>(),
            "boxes": boxes(election),
        })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::Alarm;

    fn status(alarms: Vec<wire::Alarm>) -> wire::StatusReply {
        wire::StatusReply {
            party: 2,
            now_ms: 1_800_000_000_000,
            version: "0.1.0".to_owned(),
            alarms,
            locked: None,
            machine: Some(wire::Machine {
                disk_free_bytes: 25 << 30,
                disk_bytes: 100 << 30,
                store_bytes: 3 << 20,
                resident_bytes: 80 << 20,
                certificate_ends_s: 1_800_000_000 + 86_400 * 40,
            }),
            peers: vec![
                wire::PeerSight {
                    party: 3,
                    answered_ms: 1_799_999_988_000,
                    clock_ahead_ms: Some(-4),
                    entries_behind: 17,
                    trouble: String::new(),
                },
                wire::PeerSight {
                    party: 1,
                    trouble: "the certificate of the server that answers ended".to_owned(),
                    ..Default::default()
                },
            ],
            elections: vec![wire::ElectionStatus {
                election: "ward-2027".to_owned(),
                countersigned_by_all: true,
                log_size: 42,
                lists: vec![0xab; 32],
                list_changes: 3,
                boxes: vec![wire::BoxStatus {
                    r#box: 7,
                    received_online: 40,
                    phase: wire::BoxPhase::Open.into(),
                    trouble: "a word ".repeat(30),
                    ..Default::default()
                }],
                ..Default::default()
            }],
        }
    }

    fn alarm() -> wire::Alarm {
        wire::Alarm {
            code: Alarm::PartyLost.code().to_owned(),
            about: "P1".to_owned(),
            detail: "no answer since 2027-01-15 07:50:00 UTC".to_owned(),
            advice: Alarm::PartyLost.advice().to_owned(),
            since_ms: 1_799_999_900_000,
        }
    }

    #[test]
    fn the_view_fits_80_columns_and_is_coloured_only_on_a_terminal() {
        let plain = view(&status(vec![alarm()]), false);
        assert!(plain.lines().all(|line| line.chars().count() <= 80), "{plain}");
        assert!(!plain.contains('\x1b'), "{plain:?}");
        for part in [
            "Party 2, version 0.1.0, 2027-01-15 08:00:00 UTC: 1 ALARM",
            "party.lost (P1) since 2027-01-15 07:58:20 UTC",
            "Call its operator",
            "[###############.....] 25.0 GiB free of 100.0",
            "certificate ends in 40 days",
            "P3      answered 12 s ago, its clock -4 ms, this party is 17 entries behind it",
            "P1      has not answered",
            "       7  open              40         0",
            "  revocation lists abababababababab, change 3 in the log",
        ] {
            assert!(plain.contains(part), "{part} is missing in\n{plain}");
        }
        assert!(view(&status(vec![alarm()]), true).contains("\x1b[1;31m1 ALARM\x1b[0m"));
        assert!(view(&status(vec![]), true).contains("no alarm"));
    }

    #[test]
    fn json_says_the_same() {
        let said = object(&status(vec![alarm()]));
        assert_eq!(said["alarms"][0]["code"], "party.lost");
        assert_eq!(said["peers"][0]["clock_ahead_ms"], -4);
        assert_eq!(said["peers"][1]["clock_ahead_ms"], serde_json::Value::Null);
        assert_eq!(said["elections"][0]["boxes"][0]["phase"], "open");
        assert_eq!(said["machine"]["certificate_days"], 40);
        assert_eq!(said["elections"][0]["lists"], "ab".repeat(32));
        assert_eq!(said["elections"][0]["list_changes"], 3);
    }
}
