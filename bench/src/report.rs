//! What a measurement found, for people and for programs.

use serde::Serialize;

use crate::protocol::{Done, Work};
use crate::synthetic::Plan;

/// One tally, at its slowest and largest party.
#[derive(Clone, Debug, Serialize)]
pub struct TallyReport {
    /// Voters of the roll.
    pub voters: u32,
    /// Ballots.
    pub ballots: u32,
    /// Against whom the tally is secure: "curious" or "malicious".
    pub security: &'static str,
    /// From the session's start to the outputs, at the slowest party.
    pub seconds: f64,
    /// User and system time of the three processes within the session.
    pub cpu_seconds: f64,
    /// Bytes in the engine's messages, at the party that sends most.
    pub bytes_sent_per_party: u64,
    /// Rounds.
    pub rounds: u64,
    /// Most memory of a party's process.
    pub peak_rss_bytes_per_party: u64,
    /// Phase by phase.
    pub phases: Vec<PhaseReport>,
}

/// One phase, at its slowest party.
#[derive(Clone, Debug, Serialize)]
pub struct PhaseReport {
    /// Its name.
    pub name: String,
    /// Seconds.
    pub seconds: f64,
    /// Bytes sent.
    pub bytes: u64,
    /// Rounds.
    pub rounds: u64,
}

impl TallyReport {
    /// From what the three parties tell.
    pub fn new(plan: &Plan, work: Work, done: &[Done; 3]) -> Self {
        let mut phases: Vec<PhaseReport> = Vec::new();
        for party in done {
            for (i, phase) in party.phases.iter().enumerate() {
                if phases.len() <= i {
                    phases.push(PhaseReport {
                        name: phase.name.clone(),
                        seconds: 0.0,
                        bytes: 0,
                        rounds: 0,
                    });
                }
                phases[i].seconds = phases[i].seconds.max(phase.seconds);
                phases[i].bytes = phases[i].bytes.max(phase.bytes);
                phases[i].rounds = phases[i].rounds.max(phase.rounds);
            }
        }
        let sent = |party: &Done| party.phases.iter().map(|phase| phase.bytes).sum::<u64>();
        Self {
            voters: plan.voters,
            ballots: plan.ballots,
            security: match work {
                Work::Tally => "malicious",
                Work::Curious | Work::Transport { .. } => "curious",
            },
            seconds: done.iter().map(|party| party.seconds).fold(0.0, f64::max),
            cpu_seconds: done.iter().map(|party| party.cpu_seconds).sum(),
            bytes_sent_per_party: done.iter().map(sent).max().unwrap_or(0),
            rounds: phases.iter().map(|phase| phase.rounds).sum(),
            peak_rss_bytes_per_party: done.iter().map(|party| party.peak_rss_bytes).max().unwrap_or(0),
            phases,
        }
    }

    /// A table.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<10} {:>9} {:>12} {:>8}\n",
            "phase", "seconds", "MB sent", "rounds"
        );
        let mut line = |name: &str, seconds: f64, bytes: u64, rounds: u64| {
            text.push_str(&format!(
                "{name:<10} {seconds:>9.3} {:>12.2} {rounds:>8}\n",
                bytes as f64 / 1e6
            ));
        };
        for phase in &self.phases {
            line(&phase.name, phase.seconds, phase.bytes, phase.rounds);
        }
        line("all", self.seconds, self.bytes_sent_per_party, self.rounds);
        text.push_str(&format!(
            "{:.2} CPU seconds in all; peak memory of a party: {:.0} MiB; security: {}\n",
            self.cpu_seconds,
            self.peak_rss_bytes_per_party as f64 / f64::from(1 << 20),
            self.security
        ));
        text
    }
}
