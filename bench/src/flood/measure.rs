//! The parent of a flood.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use tally_mpc::Role;
use tally_proto::ids::RoleExt as _;

use super::generator::{self, Washed, Wave};
use super::voters::{self, Voted};
use crate::cast::measure::{recount, store_of, usage};
use crate::cast::party::Setup;
use crate::process::Process;
use crate::synthetic::Plan;
use crate::trio::hear_all;
use crate::ward::Ward;

/// How to flood.
#[derive(Clone, Copy, Debug)]
pub struct FloodPlan {
    /// Submissions without a ticket, a third of them to each party.
    pub without: u32,
    /// Submissions with a forged ticket, a third of them to each party.
    pub invalid: u32,
    /// Addresses that the flood comes from.
    pub addresses: u8,
    /// Its connections to each party.
    pub connections: usize,
    /// Its submissions under way at once on each.
    pub at_once: usize,
    /// Honest voters who begin in a second.
    pub honest: u32,
    /// Whether as much else is asked for as there are submissions.
    pub mix: bool,
    /// Seed of ballots and tickets.
    pub seed: u64,
}

/// A flood, and the honest voters meanwhile.
#[derive(Clone, Debug, Serialize)]
pub struct FloodReport {
    /// Submissions without a ticket, a third of them at each party.
    pub without: u32,
    /// Submissions with a forged ticket, a third of them at each party.
    pub invalid: u32,
    /// How all three parties answered them, by reason; and what else was asked, with its answers.
    pub answers: BTreeMap<String, u64>,
    /// Of the flood, seconds.
    pub seconds: f64,
    /// Submissions of the flood that the three parties refused in a second.
    pub refused_per_second: f64,
    /// What each party's store grew by while a tenth of the flood ran alone, bytes.
    pub flood_store_bytes: [u64; 3],
    /// What each party's store grew by in all, with the honest ballots, bytes.
    pub store_bytes: [u64; 3],
    /// Honest ballots; each party's store holds these and no other.
    pub honest_ballots: u32,
    /// Honest voters' median, 99th percentile and longest latency without a flood, milliseconds.
    pub honest_alone_ms: [f64; 3],
    /// Honest voters' median, 99th percentile and longest latency during the flood, milliseconds.
    pub honest_ms: [f64; 3],
    /// Requests of honest voters that were sent again, as a party was busy.
    pub honest_again: u32,
    /// CPU time of the three parties for a submission of the flood, microseconds; with the honest voters' part.
    pub cpu_us_per_submission: f64,
    /// CPU time of the flood's own process for a submission, microseconds.
    pub generator_cpu_us_per_submission: f64,
    /// Memory of each party's process before the flood, after it, and the most it ever had, MiB.
    pub party_mib: [[f64; 3]; 3],
}

/// Honest voters cast alone for so long.
const ALONE: Duration = Duration::from_secs(5);

/// Floods three real servers, kills them, and counts what is on their disks.
///
/// # Errors
/// A process failed, an honest voter was refused, something of the flood was accepted, or a store holds anything but the honest ballots.
pub fn flood(plan: FloodPlan) -> Result<FloodReport> {
    ensure!(
        plan.without > 0 && plan.invalid > 0,
        "one submission of each kind at least"
    );
    let directory = tempfile::tempdir().context("a directory for three parties")?;
    let of_ward = Plan {
        voters: 1000,
        ballots: 0,
        seed: plan.seed,
    };
    let ward = Ward::found_with_tickets(of_ward, directory.path())?;
    let mut parties = Vec::new();
    for role in Role::ALL {
        let setup = Setup {
            party: role.index(),
            ward: ward.clone(),
            again: false,
        };
        parties.push(Process::start("cast-party", &setup)?);
    }
    let _ready: [String; 3] = hear_all(&mut parties)?;
    let mut generator = Process::start(
        "flood-generator",
        &generator::Setup {
            ward: ward.clone(),
            addresses: plan.addresses,
            connections: plan.connections,
            at_once: plan.at_once,
            mix: plan.mix,
        },
    )?;
    let mut voters = Process::start(
        "flood-voters",
        &voters::Setup {
            ward: ward.clone(),
            in_a_second: plan.honest,
        },
    )?;
    let _ready: String = generator.hear().context("the flood")?;
    let _ready: String = voters.hear().context("the honest voters")?;
    let sizes = || -> Result<[u64; 3]> {
        let mut sizes = [0; 3];
        for role in Role::ALL {
            sizes[role.slot()] = std::fs::metadata(store_of(&ward, role)?)?.len();
        }
        Ok(sizes)
    };
    let empty = sizes()?;
    voters.tell(&"go")?;
    std::thread::sleep(ALONE);
    let alone = stop(&mut voters)?;
    let before = usage(&mut parties)?;
    let mut wash = |wave: Wave| -> Result<Washed> {
        generator.tell(&wave)?;
        generator.hear().context("the flood")
    };
    // A tenth of it alone: whatever a store grows by now, it grows by the flood.
    let first = Wave {
        without: plan.without.div_ceil(10),
        invalid: plan.invalid.div_ceil(10),
    };
    let dry = sizes()?;
    let washed = wash(first)?;
    let wet = sizes()?;
    voters.tell(&"go")?;
    let rest = wash(Wave {
        without: plan.without - first.without,
        invalid: plan.invalid - first.invalid,
    })?;
    let during = stop(&mut voters)?;
    let after = usage(&mut parties)?;
    voters.tell(&"end")?;
    voters.wait()?;
    for party in parties {
        party.kill()?;
    }
    let full = sizes()?;
    let honest_ballots = alone.ballots + during.ballots;
    for role in Role::ALL {
        recount(&store_of(&ward, role)?, role, honest_ballots)?;
    }
    let grown = |from: [u64; 3], to: [u64; 3]| std::array::from_fn(|i| to[i].saturating_sub(from[i]));
    let mut answers = washed.answers;
    for (answer, count) in rest.answers {
        *answers.entry(answer).or_default() += count;
    }
    ensure!(
        !answers.contains_key("accepted"),
        "some of the flood was accepted: {answers:?}"
    );
    let (seconds, submissions) = (
        washed.seconds + rest.seconds,
        f64::from(plan.without) + f64::from(plan.invalid),
    );
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let cpu: f64 = (0..3).map(|i| after[i].cpu_seconds - before[i].cpu_seconds).sum();
    Ok(FloodReport {
        without: plan.without,
        invalid: plan.invalid,
        answers,
        seconds,
        refused_per_second: submissions / seconds,
        flood_store_bytes: grown(dry, wet),
        store_bytes: grown(empty, full),
        honest_ballots,
        honest_alone_ms: alone.ms,
        honest_ms: during.ms,
        honest_again: during.again,
        cpu_us_per_submission: cpu * 1e6 / submissions,
        generator_cpu_us_per_submission: (washed.cpu_seconds + rest.cpu_seconds) * 1e6 / submissions,
        party_mib: std::array::from_fn(|i| {
            [before[i].rss_bytes, after[i].rss_bytes, after[i].peak_rss_bytes].map(mib)
        }),
    })
}

fn stop(voters: &mut Process) -> Result<Voted> {
    voters.tell(&"stop")?;
    voters.hear().context("the honest voters")
}

impl FloodReport {
    /// Whether honest voters were served while the flood went on.
    ///
    /// # Errors
    /// One in a hundred waited for `most_ms` or longer.
    pub fn judge(&self, most_ms: f64) -> Result<()> {
        let [_, p99, _] = self.honest_ms;
        ensure!(
            p99 < most_ms,
            "one honest voter in a hundred waited for {p99:.0} ms or longer, not less than {most_ms:.0} ms"
        );
        Ok(())
    }

    /// A table.
    pub fn table(&self) -> String {
        // Writing to a String cannot fail.
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{} submissions without a ticket and {} with a forged one, a third to each party, in {:.0} s: {:.0} refused a second",
            self.without, self.invalid, self.seconds, self.refused_per_second
        );
        for (answer, count) in &self.answers {
            let _ = writeln!(text, "  {count} times {answer}");
        }
        let _ = writeln!(
            text,
            "growth of the stores by the flood alone: {:?} bytes; in all, with {} honest ballots and nothing else in them: {:?} bytes",
            self.flood_store_bytes, self.honest_ballots, self.store_bytes
        );
        for (when, [p50, p99, most]) in [
            ("without the flood", self.honest_alone_ms),
            ("during the flood", self.honest_ms),
        ] {
            let _ = writeln!(
                text,
                "honest voters {when}, with three TLS handshakes each: median {p50:.0} ms, 99 % {p99:.0} ms, longest {most:.0} ms"
            );
        }
        let _ = writeln!(
            text,
            "requests of honest voters sent again: {}",
            self.honest_again
        );
        let _ = writeln!(
            text,
            "CPU a submission of the flood: party {:.0} us (honest voters' part with it), generator {:.0} us",
            self.cpu_us_per_submission, self.generator_cpu_us_per_submission
        );
        for (party, [start, end, peak]) in (1..).zip(self.party_mib) {
            let _ = writeln!(
                text,
                "memory of party {party}: {start:.0} MiB before, {end:.0} after, at most {peak:.0}"
            );
        }
        text
    }
}
