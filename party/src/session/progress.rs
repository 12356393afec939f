//! What a running session tells: where it is, and in the end how long each phase took.

use std::time::{Duration, Instant};

use tally_mpc::{Observer, Phase, Traffic};
use tokio::sync::watch;

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The phase.
    pub phase: Phase,
    /// Of the phase's parts, so many are done.
    pub done: u64,
    /// Parts of the phase; 0 where it does not tell.
    pub total: u64,
    /// Since the session began.
    pub elapsed: Duration,
    /// Sent in finished phases, in the engine's messages.
    pub bytes_sent: u64,
    /// Rounds of finished phases.
    pub rounds: u64,
}

/// What a finished phase took.
#[derive(Clone, Copy, Debug)]
pub struct PhaseReport {
    /// The phase.
    pub phase: Phase,
    /// How long it took here.
    pub time: Duration,
    /// What this party sent and waited for.
    pub traffic: Traffic,
}

/// Hears the engine, tells the watchers.
pub(crate) struct Meter {
    began: Instant,
    phase_began: Instant,
    total: Traffic,
    phases: Vec<PhaseReport>,
    watchers: watch::Sender<Option<Progress>>,
}

impl Meter {
    /// Time runs from now. Watchers see the latest state; they never slow the engine down.
    pub(crate) fn new(watchers: watch::Sender<Option<Progress>>) -> Self {
        let now = Instant::now();
        Self {
            began: now,
            phase_began: now,
            total: Traffic::default(),
            phases: Vec::new(),
            watchers,
        }
    }

    /// The phases that finished, and the time since the beginning.
    pub(crate) fn finish(self) -> (Vec<PhaseReport>, Duration) {
        (self.phases, self.began.elapsed())
    }

    fn tell(&self, phase: Phase, done: u64, total: u64) {
        self.watchers.send_replace(Some(Progress {
            phase,
            done,
            total,
            elapsed: self.began.elapsed(),
            bytes_sent: self.total.bytes_sent,
            rounds: self.total.rounds,
        }));
    }
}

impl Observer for Meter {
    fn phase_started(&mut self, phase: Phase) {
        self.phase_began = Instant::now();
        self.tell(phase, 0, 0);
    }

    fn phase_finished(&mut self, phase: Phase, traffic: &Traffic) {
        self.total += *traffic;
        self.phases.push(PhaseReport {
            phase,
            time: self.phase_began.elapsed(),
            traffic: *traffic,
        });
        self.tell(phase, 1, 1);
    }

    fn progress(&mut self, phase: Phase, done: u64, total: u64) {
        self.tell(phase, done, total);
    }
}
