//! What became of a ballot whose name the voter kept on purpose.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tally_proto::holder::Holder;
use tally_proto::ids::{BoxId, Digest, Role, RoleExt};
use tally_proto::reason::Reason;

use super::inspect::read_code;
use super::voter::{fault_json, load_election};
use super::{Console, Failure, ManifestArg, Outcome, seconds};
use crate::check::{Checked, check};
use crate::connections::Connections;
use crate::disk::{RealDisk, replace};
use crate::election::Election;
use crate::fault::Fault;
use crate::known::{Named, Sealed};

#[derive(Args)]
pub(crate) struct Check {
    #[command(flatten)]
    manifest: ManifestArg,
    /// The ballot's name, as `client vote --show-name` gave it: BOX:DIGEST-WORDS; without BOX where there is one box.
    #[arg(
        value_name = "NAME",
        required_unless_present = "code",
        conflicts_with = "code"
    )]
    name: Option<String>,
    /// File with the ballot's check code instead, `-` for standard input.
    #[arg(long, value_name = "FILE")]
    code: Option<PathBuf>,
    /// Checkpoints that an earlier check wrote: the logs must go on from there.
    #[arg(long, value_name = "FILE")]
    earlier: Option<PathBuf>,
    /// Writes the checkpoints that were seen, for the next check. They do not name the ballot.
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
    /// Waits at most this long until another party has cosigned the ballot's place in a log.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    patience: Duration,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// Checkpoints that a voter keeps.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checkpoints {
    notes: Vec<String>,
}

impl Check {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<Outcome, Failure> {
        let election = load_election(&self.manifest)?;
        let named = match (&self.name, &self.code) {
            (Some(name), _) => name_of(&election, name)?,
            (None, code) => {
                let disclosure = read_code(code.as_ref(), console)?;
                disclosure.check_election(&election.manifest_hash())?;
                named(
                    &election,
                    disclosure.of_box(),
                    disclosure.digest(),
                    disclosure.holder(),
                )?
            }
        };
        let earlier = self.earlier.as_ref().map_or(Ok(Vec::new()), read_notes)?;
        let connections = Connections::open(&election)?;
        let checked = check(&connections, &named, &earlier, self.patience).await;
        // The verdict first, whatever fails on this machine afterwards.
        if self.json {
            console.say(&checked_json(&checked).to_string());
        } else {
            say(&election, &checked, console);
        }
        let kept = self
            .keep
            .as_ref()
            .map_or(Ok(()), |path| write_notes(path, &checked));
        let verdict = verdict(&election, &checked);
        match (kept, &verdict) {
            (Err(failure), Ok(_)) => return Err(failure),
            (Err(failure), Err(_)) => console.complain(&failure.to_string()),
            (Ok(()), _) => {}
        }
        verdict
    }
}

fn verdict(election: &Election, checked: &Checked) -> Result<Outcome, Failure> {
    let unseen = |fault: &Fault| matches!(fault, Fault::Unseen { .. });
    if checked.is_false() {
        Err(Failure::False)
    } else if checked.faults.iter().any(unseen) {
        Err(Failure::Unseen)
    } else if checked.in_logs() < 2 && checked.shown.len() < 2 {
        Err(Failure::TooFewAnswers)
    } else {
        match &checked.sealed {
            // Two parties say so of one Seal, and it is what counts.
            Some(Sealed::Excluded { .. } | Sealed::NoCandidate) => Err(Failure::LeftOut),
            // Of two that name one Seal one at least is honest, whatever a third denies.
            Some(Sealed::Listed) => Ok(Outcome::Done),
            _ if checked.in_logs() >= 2 => Ok(Outcome::Done),
            _ if may_be_held(checked) => Err(Failure::NotFinal {
                agencies: without(checked, election),
            }),
            _ => Err(Failure::NotThere),
        }
    }
}

/// Whether two parties may hold it, as far as those are not heard that did not answer, or showed no receipt for what they say they accepted.
fn may_be_held(checked: &Checked) -> bool {
    checked.in_logs() + (Role::ALL.len() - checked.shown.len()) >= 2
}

/// Who runs the parties of which it is not known whether they hold the ballot.
fn without(checked: &Checked, election: &Election) -> String {
    let silent = Role::ALL
        .into_iter()
        .filter(|party| checked.shown.iter().all(|shown| shown.party != *party));
    let agencies: Vec<&str> = silent.map(|party| election.party(party).agency()).collect();
    super::voter::join(&agencies)
}

fn named(election: &Election, of_box: BoxId, digest: Digest, holder: Holder) -> Result<Named, Failure> {
    election.ballot_box(of_box)?;
    Ok(Named {
        election: election.id().clone(),
        of_box,
        digest,
        holder,
    })
}

fn name_of(election: &Election, name: &str) -> Result<Named, Failure> {
    let boxes = election.manifest().boxes();
    let bad = || Failure::NotAName { boxes: boxes.len() };
    let name = name.trim().to_ascii_lowercase();
    let (of_box, rest) = match (name.split_once(':'), boxes) {
        (Some((of_box, rest)), _) => (BoxId(of_box.parse().map_err(|_| bad())?), rest),
        (None, [only]) => (only.id(), name.as_str()),
        (None, _) => return Err(bad()),
    };
    let (digest, words) = rest.split_once('-').ok_or_else(bad)?;
    let digest: Digest = digest.parse().map_err(|_| bad())?;
    let holder = Holder::parse(&digest, words).ok_or_else(bad)?;
    named(election, of_box, digest, holder)
}

fn read_notes(path: &PathBuf) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|source| Failure::File {
        path: path.clone(),
        source,
    })?;
    let kept: Checkpoints = serde_json::from_str(&text).map_err(|source| Failure::NoCheckpoints {
        path: path.clone(),
        source,
    })?;
    Ok(kept.notes)
}

fn write_notes(path: &Path, checked: &Checked) -> Result<(), Failure> {
    let logs = checked.shown.iter().filter_map(|shown| shown.log.as_ref());
    let notes = Checkpoints {
        notes: logs.map(|log| log.note.clone()).collect(),
    };
    let failed = |source| Failure::NotWritten {
        path: path.to_owned(),
        source,
    };
    let text = serde_json::to_vec_pretty(&notes).map_err(|source| failed(source.into()))?;
    replace(&RealDisk, path, &text).map_err(failed)
}

fn say(election: &Election, checked: &Checked, console: &mut Console<'_>) {
    let agency = |party: Role| election.party(party).agency();
    for shown in &checked.shown {
        console.say(&match &shown.log {
            None => format!("{} has not accepted this ballot.", agency(shown.party)),
            Some(log) if log.cosigned_by.is_empty() && !log.seen_by.is_empty() => {
                let by: Vec<&str> = log.seen_by.iter().map(|party| agency(*party)).collect();
                format!(
                    "{} has it in its log, at place {}, as {} saw it too.",
                    agency(shown.party),
                    log.position + 1,
                    super::voter::join(&by)
                )
            }
            Some(log) if log.cosigned_by.is_empty() => format!(
                "{} has it in its log, at place {}; no other party has cosigned that yet.",
                agency(shown.party),
                log.position + 1
            ),
            Some(log) => {
                let by: Vec<&str> = log.cosigned_by.iter().map(|party| agency(*party)).collect();
                format!(
                    "{} has it in its log, at place {}, cosigned by {}.",
                    agency(shown.party),
                    log.position + 1,
                    super::voter::join(&by)
                )
            }
        });
    }
    for fault in &checked.faults {
        console.say(&format!("{fault} ({})", fault.reason()));
        for evidence in fault.evidence() {
            console.say(evidence);
        }
    }
    if checked.contradicted {
        console.say("The parties contradict each other about the sealed list: one of them lies. Tell the election commission.");
    }
    console.say(&match &checked.sealed {
        None => "The box is not sealed yet, as far as two parties say.".to_owned(),
        Some(Sealed::Listed) => "It is on the sealed list of what is tallied.".to_owned(),
        Some(Sealed::Excluded { code }) => {
            let why = code
                .parse::<Reason>()
                .map(|reason| format!(" {}", reason.meaning()));
            format!(
                "It was left out of what is tallied ({code}).{}",
                why.unwrap_or_default()
            )
        }
        Some(Sealed::NoCandidate) => {
            "It is not on the sealed list: fewer than two parties accepted it in time.".to_owned()
        }
    });
}

fn sealed_word(sealed: &Sealed) -> &str {
    match sealed {
        Sealed::Listed => "listed",
        Sealed::Excluded { code } => code,
        Sealed::NoCandidate => "not-listed",
    }
}

fn checked_json(checked: &Checked) -> serde_json::Value {
    let shown: Vec<_> = checked
        .shown
        .iter()
        .map(|shown| {
            json!({
                "party": shown.party.number(),
                "accepted": shown.log.is_some(),
                "position": shown.log.as_ref().map(|log| log.position),
                "seen_by": shown.log.as_ref().map(|log| log.seen_by.iter().map(|by| by.number()).collect::<Vec<_>>()),
                "cosigned_by": shown.log.as_ref().map(|log| log.cosigned_by.iter().map(|by| by.number()).collect::<Vec<_>>()),
                "sealed": shown.sealed.as_ref().map(sealed_word),
            })
        })
        .collect();
    let fault = |fault| {
        let mut value = fault_json(fault);
        value["evidence"] = json!(fault.evidence());
        value
    };
    json!({
        "parties": shown,
        "sealed": checked.sealed.as_ref().map(sealed_word),
        "contradicted": checked.contradicted,
        "faults": checked.faults.iter().map(fault).collect::<Vec<_>>(),
    })
}
