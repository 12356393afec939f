//! The table of attacks, parties and what was detected.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use tally_mpc::Role;

use super::attack::Lie;
use super::suite::{Verdict, slot};

/// One party's attacks of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    detected: usize,
    void: usize,
    tried: usize,
}

/// The table of attacks, and everything that failed.
#[derive(Clone, Debug, Default)]
pub struct Table {
    lines: BTreeMap<(String, String), [Cell; 3]>,
    /// Attacks that worked, or that may not go without effect but did.
    pub failures: Vec<String>,
    /// Attacks that were carried out.
    pub attacks: usize,
}

impl Table {
    /// Enters an attack; `may_be_void` says whether it may go without effect.
    pub fn enter(&mut self, liar: Role, lie: Lie, may_be_void: bool, verdict: Verdict) {
        let cell = &mut self.lines.entry(lie.name()).or_default()[slot(liar)];
        match verdict {
            Verdict::Nothing => return,
            Verdict::Detected => cell.detected += 1,
            Verdict::NoEffect if may_be_void => cell.void += 1,
            Verdict::NoEffect => self.failures.push(format!("{liar} {lie:?}: went unnoticed")),
            Verdict::Failed(how) => self.failures.push(format!("{liar} {lie:?}: {how}")),
        }
        cell.tried += 1;
        self.attacks += 1;
    }

    /// What was attacked at least once by one of the parties, as the first column names it.
    #[must_use]
    pub fn attacked(&self) -> BTreeSet<&str> {
        let tried = self
            .lines
            .iter()
            .filter(|(_, cells)| cells.iter().any(|cell| cell.tried > 0));
        tried.map(|((what, _), _)| &what[..]).collect()
    }

    /// Lines of (message, deed): for each party detected/tried, and how many had no effect.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "{:<18} {:<29} {:>16} {:>16} {:>16}\n",
            "message", "deed", "by P1", "by P2", "by P3"
        );
        for ((kind, deed), cells) in &self.lines {
            let [p1, p2, p3] = cells.map(
                |Cell {
                     detected,
                     void,
                     tried,
                 }| match (tried, void) {
                    (0, _) => "-".to_owned(),
                    (_, 0) => format!("{detected}/{tried}"),
                    _ => format!("{detected}/{tried}, {void} void"),
                },
            );
            let _ = writeln!(text, "{kind:<18} {deed:<29} {p1:>16} {p2:>16} {p3:>16}");
        }
        text
    }
}
