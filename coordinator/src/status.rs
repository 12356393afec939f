//! The three parties at a glance: reachable or not, clocks, phases, and *ballots received*: submissions, of which one voter may
//! have sent many. Who or how many voted is not known to anyone, so nothing here says so.

use std::time::Duration;

use comfy_table::Cell;
use tally_proto::ids::ElectionId;
use tally_proto::reason::Reason;
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
        let status = party.control().status(request).await?.into_inner();
        // The answer was made about half way between asking and now.
        let middle = before + (now_ms().saturating_sub(before)) / 2;
        let ahead = i64::try_from(i128::from(status.now_ms) - i128::from(middle)).unwrap_or(i64::MAX);
        Ok((status, ahead))
    };
    party.call(Patience::NONE, &Quiet, ask).await
}

/// The snapshot as tables.
pub fn render(election: &Election, snapshot: &Snapshot, width: u16, styled: bool) -> String {
    let manifest = election.signed().manifest();
    let mut out = format!(
        "Election {}: {}\n\n",
        snapshot.election,
        manifest.title().default_text()
    );
    let header = ["Party", "Reachable", "Clock", "Manifest", "Log"]
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
            ]),
            Ok((status, ahead)) => {
                let known = status
                    .elections
                    .iter()
                    .find(|e| e.election == snapshot.election.as_str());
                parties.add_row([
                    Cell::new(name),
                    Cell::new(format!("yes, version {}", status.version)),
                    Cell::new(clock_words(*ahead)),
                    Cell::new(manifest_words(election, known)),
                    number(known.map_or(0, |e| e.log_size)),
                ])
            }
        };
    }
    out += &parties.to_string();
    out += "\n\nBallots received (submissions, not people), by party\n";
    out += &boxes(election, snapshot, width, styled);
    out.push('\n');
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
    out
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
                let known = status
                    .elections
                    .iter()
                    .find(|e| e.election == snapshot.election.as_str())?;
                known.boxes.iter().find(|s| s.r#box == b.id().get())
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

fn troubles(snapshot: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    for (party, answer) in (1..).zip(&snapshot.parties) {
        let Ok((status, _)) = answer else { continue };
        for known in status
            .elections
            .iter()
            .filter(|e| e.election == snapshot.election.as_str())
        {
            let troubled = known.boxes.iter().filter(|b| !b.trouble.is_empty());
            lines.extend(troubled.map(|b| format!("P{party}, box {}: {}", b.r#box, b.trouble)));
        }
    }
    lines
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
