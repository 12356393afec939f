//! The parent of a sealing measurement: fills three stores, starts three servers, and is the coordinator that asks them to seal.

use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::try_join_all;
use serde::Serialize;
use tally_mpc::Role;
use tally_proto::connect::{self, Dial};
use tally_proto::envelope::{Envelope, Kind};
use tally_proto::pki::Leaf;
use tally_proto::sealing::Seal;
use tally_proto::wire;
use tally_proto::wire::seal_event::Event;

use super::cast::expected;
use super::party::{Setup, Used};
use crate::process::Process;
use crate::synthetic::Plan;
use crate::trio::hear_all;
use crate::ward::{BOX, Ward, election};

/// One sealing.
#[derive(Clone, Debug, Serialize)]
pub struct SealReport {
    /// Voters, each with a record.
    pub voters: u32,
    /// Ballots cast.
    pub ballots: u32,
    /// Rows of the Seal.
    pub rows: u64,
    /// To make everything and fill the stores, before the clock starts.
    pub filling_seconds: f64,
    /// From the request to the last party's Seal with its evidence at the coordinator.
    pub seconds: f64,
    /// When each phase began, at the party that was last, and how long until the next one.
    pub phases: Vec<PhaseSeconds>,
    /// Bytes of the public evidence that each party streams to the coordinator.
    pub body_bytes: u64,
    /// What each server used.
    pub parties: [Used; 3],
    /// Reading the tally's input out of the sealed box, party by party.
    pub inputs: Vec<Used>,
    /// The audit of the sealed box, party by party; each alone on the machine.
    pub audits: Vec<Used>,
}

/// A phase of sealing at the slowest party.
#[derive(Clone, Debug, Serialize)]
pub struct PhaseSeconds {
    /// Its name.
    pub name: String,
    /// Seconds.
    pub seconds: f64,
}

/// What one party answered.
struct Answer {
    seal: Envelope,
    body_bytes: u64,
    phases: Vec<PhaseSeconds>,
}

/// Seals an election of that many voters and ballots over three servers; audits the three sealed boxes if asked to.
///
/// # Errors
/// A process failed, the three Seals differ, lack a signature, or do not hold the rows that were cast; an audit fails.
pub fn seal(plan: Plan, audited: bool) -> Result<SealReport> {
    ensure!(
        plan.voters >= 2 && plan.ballots >= 1,
        "two voters and a ballot at least"
    );
    let directory = tempfile::tempdir().context("a directory for three parties")?;
    let (ward, leaf) = Ward::found(plan, directory.path())?;
    let filling = Instant::now();
    for mut process in start("seal-fill", &ward)? {
        let _: f64 = process.hear()?;
        process.wait()?;
    }
    let filling_seconds = filling.elapsed().as_secs_f64();
    let mut parties = start("seal-party", &ward)?;
    let _ready: [String; 3] = hear_all(&mut parties)?;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let begun = Instant::now();
    let answers = runtime.block_on(try_join_all(Role::ALL.map(|role| ask(&ward, role, &leaf))))?;
    let seconds = begun.elapsed().as_secs_f64();
    // Ends the connections, which the servers would wait for.
    drop(runtime);
    for party in &mut parties {
        party.tell(&"sealed")?;
    }
    let used = hear_all(&mut parties)?;
    for party in &mut parties {
        party.wait()?;
    }
    let rows = check(&ward, &answers)?;
    let (mut inputs, mut audits) = (Vec::new(), Vec::new());
    for role in Role::ALL.into_iter().filter(|_| audited) {
        let mut auditor = Process::start("seal-audit", &setup(&ward, role))?;
        let [input, audit]: [Used; 2] = auditor.hear().with_context(|| role.to_string())?;
        auditor.wait()?;
        inputs.push(input);
        audits.push(audit);
    }
    let slowest = answers
        .iter()
        .max_by(|a, b| total(a).total_cmp(&total(b)))
        .context("three answers")?;
    Ok(SealReport {
        voters: plan.voters,
        ballots: plan.ballots,
        rows,
        filling_seconds,
        seconds,
        phases: slowest.phases.clone(),
        body_bytes: slowest.body_bytes,
        parties: used,
        inputs,
        audits,
    })
}

fn total(answer: &Answer) -> f64 {
    answer.phases.iter().map(|phase| phase.seconds).sum()
}

fn setup(ward: &Ward, role: Role) -> Setup {
    Setup {
        party: role.index(),
        ward: ward.clone(),
    }
}

fn start(name: &str, ward: &Ward) -> Result<Vec<Process>> {
    Role::ALL
        .into_iter()
        .map(|role| Process::start(name, &setup(ward, role)))
        .collect()
}

/// Asks a party to seal, as the coordinator does, and takes what it streams.
async fn ask(ward: &Ward, role: Role, leaf: &Leaf) -> Result<Answer> {
    let manifest = ward.manifest()?;
    let identity = manifest.manifest().party(role);
    let dial = Dial {
        address: identity.peer_address(),
        anchor: identity.anchor(),
        leaf: Some(leaf),
    };
    let request = wire::BoxRef {
        election: election()?.as_str().to_owned(),
        r#box: BOX.get(),
    };
    let begun = Instant::now();
    let mut events = connect::control(dial.channel()?)
        .seal(request)
        .await?
        .into_inner();
    let mut began: Vec<(String, f64)> = Vec::new();
    let mut enter = |name: &str| {
        if began.last().is_none_or(|(last, _)| last != name) {
            let at = begun.elapsed().as_secs_f64();
            eprintln!("{role}: {name} at {at:.1} s");
            began.push((name.to_owned(), at));
        }
    };
    let mut body_bytes = 0;
    while let Some(event) = events.message().await? {
        match event.event {
            Some(Event::Progress(progress)) => enter(&progress.phase),
            Some(Event::BodyPart(part)) => {
                enter("evidence");
                body_bytes += part.len() as u64;
            }
            Some(Event::Done(done)) => {
                ensure!(
                    done.body_bytes == body_bytes,
                    "{role} streamed {body_bytes} bytes of {}",
                    done.body_bytes
                );
                let seal = done.seal.with_context(|| format!("{role} gave no Seal"))?;
                let ends = began.iter().skip(1).map(|(_, at)| *at);
                let ends: Vec<f64> = ends.chain([begun.elapsed().as_secs_f64()]).collect();
                let phases = began
                    .into_iter()
                    .zip(ends)
                    .map(|((name, from), to)| PhaseSeconds {
                        name,
                        seconds: to - from,
                    });
                return Ok(Answer {
                    seal: Envelope::from_wire(seal)?,
                    body_bytes,
                    phases: phases.collect(),
                });
            }
            Some(Event::Abort(_)) => bail!("{role} aborted the sealing"),
            None => bail!("{role} sent an event that this version does not know"),
        }
    }
    bail!("{role} ended without a Seal")
}

/// Three signatures on one Seal of what was cast; the number of its rows.
fn check(ward: &Ward, answers: &[Answer]) -> Result<u64> {
    let keys = ward.manifest()?.manifest().party_keys();
    let first = answers.first().context("three answers")?;
    for answer in answers {
        ensure!(answer.seal.payload() == first.seal.payload(), "the Seals differ");
        answer.seal.verify_all(Kind::Seal, &keys)?;
    }
    let (seal, expected) = (Seal::decode(first.seal.payload())?, expected(ward.plan.ballots));
    ensure!(
        seal.counts.total() == expected.rows && seal.exclusions.is_empty(),
        "{} rows and {} exclusions, of {} candidates",
        seal.counts.total(),
        seal.exclusions.len(),
        expected.rows
    );
    Ok(seal.counts.total())
}

impl SealReport {
    /// A table.
    pub fn table(&self) -> String {
        let mut text = format!("filling (not measured): {:.1} s\n", self.filling_seconds);
        for PhaseSeconds { name, seconds } in &self.phases {
            text += &format!("{name:<12} {seconds:>9.2} s\n");
        }
        text += &format!("{:<12} {:>9.2} s\n", "all", self.seconds);
        text += &format!(
            "evidence: {:.1} MB from each party\n",
            self.body_bytes as f64 / 1e6
        );
        let line = |what: &str, party: usize, used: &Used| {
            format!(
                "{what} of party {}: {:.2} s, {:.2} CPU s, at most {:.0} MiB\n",
                party + 1,
                used.seconds,
                used.cpu_seconds,
                used.peak_rss_bytes as f64 / f64::from(1 << 20)
            )
        };
        let tables: [(&str, &[Used]); 3] = [
            ("server", &self.parties),
            ("reading the input", &self.inputs),
            ("audit of the box", &self.audits),
        ];
        for (what, of_parties) in tables {
            for (party, used) in of_parties.iter().enumerate() {
                text += &line(what, party, used);
            }
        }
        text
    }
}
