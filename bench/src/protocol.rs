//! What parent and parties say to each other: one JSON object a line over the party's standard input and output.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::synthetic::Plan;

/// What the parties do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Tally the synthetic election.
    Tally,
    /// The same without the checks of the other parties. A party's server has no such mode; only this benchmark does.
    Curious,
    /// Only exchange messages, to measure the transport.
    Transport {
        /// Bytes each party sends to each neighbour.
        bytes: u64,
        /// Bytes of a message.
        message: usize,
        /// Wait for the neighbours' messages before sending the next.
        lockstep: bool,
    },
}

/// First line to a party.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// 1, 2 or 3.
    pub party: u8,
    /// Certificates of the three authorities, PEM.
    pub authorities: [String; 3],
    /// This party's certificate, PEM.
    pub certificate: String,
    /// Its key, PEM. The keys of a measurement guard nothing.
    pub key: String,
    /// The election.
    pub plan: Plan,
    /// What to do.
    pub work: Work,
    /// Where its session log goes.
    pub logs: PathBuf,
    /// Simulated one-way latency.
    pub latency_ms: u64,
    /// Whether the sort is cut for distant parties.
    pub wan: bool,
}

/// Second line to a party, once all three listen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Go {
    /// Ports of the three, in party order.
    pub ports: [u16; 3],
    /// Encoded Envelopes of the three Starts.
    pub starts: [Vec<u8>; 3],
    /// Public keys of the three.
    pub keys: [Vec<u8>; 3],
}

/// First line of a party.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ready {
    /// Where it listens.
    pub port: u16,
    /// Its signed Start.
    pub start: Vec<u8>,
    /// Its public key.
    pub key: Vec<u8>,
}

/// Second line of a party.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Done {
    /// From the session's start to its outputs.
    pub seconds: f64,
    /// What each phase took.
    pub phases: Vec<PhaseDone>,
    /// Most memory the process ever had, bytes.
    pub peak_rss_bytes: u64,
    /// User and system time of the process, seconds, within the session.
    pub cpu_seconds: f64,
    /// The totals, empty when only the transport was measured.
    pub totals: Vec<u64>,
    /// What an auditor needs besides the session log, after a tally.
    pub kept: Option<Kept>,
}

/// What a party keeps of a session beside its log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// The key that its log is sealed under. The keys of a measurement guard nothing.
    pub storage: [u8; 32],
    /// Encoded Envelope of its Result.
    pub result: Vec<u8>,
    /// Its public key.
    pub key: Vec<u8>,
}

/// First and only line to an auditor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditSetup {
    /// Whose part: 1, 2 or 3.
    pub party: u8,
    /// The election.
    pub plan: Plan,
    /// Where the party's session log is.
    pub logs: PathBuf,
    /// What the party kept.
    pub kept: Kept,
    /// Public keys of the three.
    pub keys: [Vec<u8>; 3],
}

/// First and only line of an auditor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Audited {
    /// From the opening of the log to the verdict.
    pub seconds: f64,
    /// User and system time of the process meanwhile.
    pub cpu_seconds: f64,
    /// Most memory the process ever had, bytes; the party's input is in it.
    pub peak_rss_bytes: u64,
    /// Length of the session's log.
    pub log_bytes: u64,
    /// The auditor's statement, in canonical bytes.
    pub statement: Vec<u8>,
}

/// What a phase took at one party.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PhaseDone {
    /// Its name.
    pub name: String,
    /// Seconds.
    pub seconds: f64,
    /// Bytes sent, in the engine's messages.
    pub bytes: u64,
    /// Rounds.
    pub rounds: u64,
}
