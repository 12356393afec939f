//! Audits after a tally: what they cost beside it.

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use tally_mpc::Role;
use tally_proto::audit::{Audit, Verdict, combine};
use tally_proto::envelope::PublicKey;

use crate::child::plain_totals;
use crate::process::Process;
use crate::protocol::{AuditSetup, Audited, Done, Kept, Work};
use crate::synthetic::Plan;
use crate::trio::{Measurement, logs_of, measure_in};

/// One tally and the audits of its three parts.
#[derive(Clone, Debug, Serialize)]
pub struct AuditReport {
    /// Voters of the roll.
    pub voters: u32,
    /// Ballots.
    pub ballots: u32,
    /// From the session's start to the outputs, at the slowest party.
    pub tally_seconds: f64,
    /// User and system time of each party within the session.
    pub tally_cpu_seconds: [f64; 3],
    /// Each audit, alone on the machine, in party order.
    pub audits: Vec<PartReport>,
    /// CPU of the dearest audit as a part of what its party spent on the tally.
    pub worst_cpu_ratio: f64,
}

/// The audit of one party's part.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PartReport {
    /// From the opening of the log to the verdict.
    pub seconds: f64,
    /// User and system time meanwhile.
    pub cpu_seconds: f64,
    /// Most memory of the auditor's process.
    pub peak_rss_bytes: u64,
    /// Length of the session's log.
    pub log_bytes: u64,
}

/// Tallies, audits the three parts one after the other, and joins the three statements.
///
/// # Errors
/// A process failed, the totals are not the plain count's, or the audits do not prove them.
pub fn audit(plan: Plan) -> Result<AuditReport> {
    let directory = tempfile::tempdir().context("a directory for the session logs")?;
    let measurement = Measurement {
        plan,
        work: Work::Tally,
        latency_ms: 0,
        wan: false,
    };
    let done = measure_in(&measurement, directory.path())?;
    let expected = plain_totals(&plan.count());
    let mut kept = Vec::new();
    for (party, role) in done.iter().zip(Role::ALL) {
        ensure!(
            party.totals == expected,
            "{role} opened {:?}, the plain count is {expected:?}",
            party.totals
        );
        kept.push(
            party
                .kept
                .clone()
                .with_context(|| format!("{role} kept nothing"))?,
        );
    }
    let keys = [0, 1, 2].map(|party: usize| kept[party].key.clone());
    let mut audits = Vec::new();
    let mut statements = Vec::new();
    for (role, kept) in Role::ALL.into_iter().zip(kept) {
        let (part, statement) = audit_of(role, plan, kept, directory.path(), &keys)?;
        audits.push(part);
        statements.push(statement);
    }
    prove(&statements, &keys)?;
    Ok(report(plan, &done, audits))
}

fn audit_of(
    role: Role,
    plan: Plan,
    kept: Kept,
    directory: &std::path::Path,
    keys: &[Vec<u8>; 3],
) -> Result<(PartReport, Audit)> {
    let mut auditor = Process::start(
        "auditor",
        &AuditSetup {
            party: role.index(),
            plan,
            logs: logs_of(directory, role),
            kept,
            keys: keys.clone(),
        },
    )?;
    let audited: Audited = auditor.hear().with_context(|| format!("the auditor of {role}"))?;
    auditor.wait()?;
    let statement = Audit::decode(&audited.statement)?;
    for item in &statement.items {
        ensure!(
            item.verdict != Verdict::Failed,
            "{role}: {}: {}",
            item.check.name(),
            item.detail
        );
    }
    let part = PartReport {
        seconds: audited.seconds,
        cpu_seconds: audited.cpu_seconds,
        peak_rss_bytes: audited.peak_rss_bytes,
        log_bytes: audited.log_bytes,
    };
    Ok((part, statement))
}

fn prove(statements: &[Audit], keys: &[Vec<u8>; 3]) -> Result<()> {
    let mut public = Vec::new();
    for key in keys {
        public.push(PublicKey::from_slice(key)?);
    }
    let public = public
        .try_into()
        .map_err(|_| anyhow::anyhow!("three keys are needed"))?;
    let combined = combine(statements, &public);
    ensure!(
        combined.proves_totals(),
        "the three audits do not prove the totals: {combined:?}"
    );
    Ok(())
}

fn report(plan: Plan, done: &[Done; 3], audits: Vec<PartReport>) -> AuditReport {
    let tally_cpu_seconds = done.each_ref().map(|party| party.cpu_seconds);
    let ratios = audits
        .iter()
        .zip(tally_cpu_seconds)
        .map(|(audit, tally)| audit.cpu_seconds / tally);
    AuditReport {
        voters: plan.voters,
        ballots: plan.ballots,
        tally_seconds: done.iter().map(|party| party.seconds).fold(0.0, f64::max),
        tally_cpu_seconds,
        worst_cpu_ratio: ratios.fold(0.0, f64::max),
        audits,
    }
}

impl AuditReport {
    /// A table.
    pub fn table(&self) -> String {
        let mut text = format!("tally: {:.3} s\n", self.tally_seconds);
        text += "party  tally CPU s  audit s  audit CPU s  peak MiB  log MB\n";
        for ((party, tally), audit) in (1..).zip(self.tally_cpu_seconds).zip(&self.audits) {
            text += &format!(
                "{party:<5} {tally:>12.2} {:>8.3} {:>12.2} {:>9.0} {:>7.1}\n",
                audit.seconds,
                audit.cpu_seconds,
                audit.peak_rss_bytes as f64 / f64::from(1 << 20),
                audit.log_bytes as f64 / 1e6,
            );
        }
        text + &format!(
            "the dearest audit took {:.2} of its party's CPU in the tally\n",
            self.worst_cpu_ratio
        )
    }
}
