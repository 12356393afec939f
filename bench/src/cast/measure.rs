//! The parent of a casting measurement.

use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use tally_mpc::Role;
use tally_party::store::{Kind, Storage, Store, StoreError, accepted, elections, log, receipts};
use tally_proto::ids::RoleExt as _;
use tally_proto::log::Entry;

use super::generator::{self, Done};
use super::party::{Setup, Usage};
use crate::process::Process;
use crate::synthetic::Plan;
use crate::trio::hear_all;
use crate::ward::{BOX, Ward, election};

/// What to cast.
#[derive(Clone, Copy, Debug)]
pub struct CastPlan {
    /// Voters of the roll, ballots, seed.
    pub plan: Plan,
    /// Ballots under way at once.
    pub at_once: usize,
    /// Connections to each party.
    pub connections: usize,
    /// Ballots in one message, 16 at most.
    pub together: usize,
}

/// One casting. A ballot counts when all three parties accepted it and each has the two others' receipts, on disk.
#[derive(Clone, Debug, Serialize)]
pub struct CastReport {
    /// Ballots cast; as many were found on every disk after the servers were killed.
    pub ballots: u32,
    /// Ballots under way at once.
    pub at_once: usize,
    /// Ballots in one message.
    pub together: usize,
    /// Ballots a second.
    pub accepted_per_second: f64,
    /// From a ballot's first request to its last answer: median, milliseconds.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// 99.9th percentile.
    pub p999_ms: f64,
    /// CPU time of the three parties together, microseconds a ballot.
    pub cpu_us_per_ballot: f64,
    /// CPU time of the generator, microseconds a ballot.
    pub generator_cpu_us_per_ballot: f64,
    /// Requests a ballot, of three and whatever the parties had not handed to each other in time.
    pub requests_per_ballot: f64,
    /// Growth of a party's store, bytes a ballot, the largest of the three.
    pub disk_bytes_per_ballot: f64,
    /// From the kill of the three servers until all three take ballots again, seconds: all start at once, each finds its store as the kill left it and asks the
    /// two others what they hold of its.
    pub restart_seconds: f64,
    /// Memory of the three parties' processes over time: seconds, then MiB of each; at most 24 moments.
    pub memory: Vec<[f64; 4]>,
    /// Growth of a party's memory from half of the time to the end, bytes a ballot, the largest of the three.
    pub late_growth_bytes_per_ballot: f64,
    /// Memory of each party's process before the first ballot, after the last, and the most it ever had, MiB.
    pub party_mib: [[f64; 3]; 3],
}

/// Casts that many ballots at three real servers, kills the servers, and counts what is on their disks.
///
/// # Errors
/// A process failed, a ballot was refused, or a store lacks anything that was acknowledged.
pub fn cast(plan: CastPlan) -> Result<CastReport> {
    ensure!(
        plan.plan.voters >= 2 && plan.plan.ballots >= 1,
        "two voters and a ballot at least"
    );
    let directory = tempfile::tempdir().context("a directory for three parties")?;
    let (ward, _) = Ward::found(plan.plan, directory.path())?;
    let mut generator = Process::start(
        "cast-generator",
        &generator::Setup {
            ward: ward.clone(),
            at_once: plan.at_once,
            connections: plan.connections,
            together: plan.together,
        },
    )?;
    let _sealed: String = generator.hear()?;
    let mut parties = serving(&ward, false)?;
    let size = |role: Role| -> Result<u64> { Ok(std::fs::metadata(store_of(&ward, role)?)?.len()) };
    let empty = [size(Role::P1)?, size(Role::P2)?, size(Role::P3)?];
    let before = usage(&mut parties)?;
    let watch = Watch::start(std::array::from_fn(|i| parties[i].id()));
    generator.tell(&"go")?;
    let done: Done = generator.hear().context("the generator")?;
    let memory = watch.stop();
    let after = usage(&mut parties)?;
    for party in parties {
        party.kill()?;
    }
    generator.wait()?;
    let mut grown = 0;
    for role in Role::ALL {
        grown = grown.max(size(role)?.saturating_sub(empty[role.slot()]));
    }
    let killed = Instant::now();
    let parties = serving(&ward, true)?;
    let restart_seconds = killed.elapsed().as_secs_f64();
    for party in parties {
        party.kill()?;
    }
    for role in Role::ALL {
        recount(&store_of(&ward, role)?, role, plan.plan.ballots)?;
    }
    let ballots = f64::from(plan.plan.ballots);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let cpu: f64 = (0..3).map(|i| after[i].cpu_seconds - before[i].cpu_seconds).sum();
    let [p50_ms, p99_ms, p999_ms] = done.percentiles_ms;
    Ok(CastReport {
        ballots: plan.plan.ballots,
        at_once: plan.at_once,
        together: plan.together,
        accepted_per_second: ballots / done.seconds,
        p50_ms,
        p99_ms,
        p999_ms,
        cpu_us_per_ballot: cpu * 1e6 / ballots,
        generator_cpu_us_per_ballot: done.cpu_seconds * 1e6 / ballots,
        requests_per_ballot: done.requests as f64 / ballots,
        disk_bytes_per_ballot: grown as f64 / ballots,
        restart_seconds,
        late_growth_bytes_per_ballot: late_growth(&memory) / (ballots / 2.0),
        memory: thinned(memory),
        party_mib: std::array::from_fn(|i| {
            [before[i].rss_bytes, after[i].rss_bytes, after[i].peak_rss_bytes].map(mib)
        }),
    })
}

/// Three servers that take ballots.
fn serving(ward: &Ward, again: bool) -> Result<Vec<Process>> {
    let mut parties = Vec::new();
    for role in Role::ALL {
        let setup = Setup {
            party: role.index(),
            ward: ward.clone(),
            again,
        };
        parties.push(Process::start("cast-party", &setup)?);
    }
    let _ready: [String; 3] = hear_all(&mut parties)?;
    Ok(parties)
}

/// Looks at the memory of three processes every so often.
struct Watch {
    is_over: mpsc::Sender<()>,
    thread: JoinHandle<Vec<[f64; 4]>>,
}

/// How often.
const EVERY: Duration = Duration::from_millis(250);
/// Moments of a report.
const MOMENTS: usize = 24;

impl Watch {
    fn start(ids: [u32; 3]) -> Self {
        let (is_over, over) = mpsc::channel();
        let begun = Instant::now();
        let thread = std::thread::spawn(move || {
            let mut seen = Vec::new();
            loop {
                // A process that is gone is found out where it is spoken to.
                let [one, two, three] =
                    ids.map(|id| Process::rss_of(id).unwrap_or(0) as f64 / f64::from(1 << 20));
                seen.push([begun.elapsed().as_secs_f64(), one, two, three]);
                if over.recv_timeout(EVERY) != Err(mpsc::RecvTimeoutError::Timeout) {
                    return seen;
                }
            }
        });
        Self { is_over, thread }
    }

    fn stop(self) -> Vec<[f64; 4]> {
        drop(self.is_over);
        self.thread.join().unwrap_or_default()
    }
}

/// Bytes that the memory of a party grew by in the second half of the time, the largest of the three.
fn late_growth(memory: &[[f64; 4]]) -> f64 {
    let (Some(middle), Some(end)) = (memory.get(memory.len() / 2), memory.last()) else {
        return 0.0;
    };
    (1..4)
        .map(|i| (end[i] - middle[i]) * f64::from(1 << 20))
        .fold(0.0, f64::max)
}

fn thinned(memory: Vec<[f64; 4]>) -> Vec<[f64; 4]> {
    let step = memory.len().div_ceil(MOMENTS - 1).max(1);
    let last = memory.len().saturating_sub(1);
    memory
        .into_iter()
        .enumerate()
        .filter(|(i, _)| i % step == 0 || *i == last)
        .map(|(_, moment)| moment)
        .collect()
}

pub(crate) fn usage(parties: &mut [Process]) -> Result<[Usage; 3]> {
    for party in &mut *parties {
        party.tell(&"usage")?;
    }
    hear_all(parties)
}

pub(crate) fn store_of(ward: &Ward, role: Role) -> Result<std::path::PathBuf> {
    Ok(ward.config(role)?.data_dir.join(Storage::FILE))
}

/// All that was acknowledged is in the store of a server that was killed.
pub(crate) fn recount(store: &Path, role: Role, ballots: u32) -> Result<()> {
    let store = Store::open_to_read(store, role.index())?;
    let id = election()?;
    let (accepted, logged, delivered) = store.read(|tx| {
        let number = elections::number_of(tx, id.as_str())?.unwrap_or_default();
        let accepted = accepted::digests(tx, Kind::Ballot, number, BOX.get())?.len() as u64;
        let mut delivered = 0u64;
        receipts::for_each(tx, number, BOX.get(), |_, _, _| {
            delivered += 1;
            Ok::<_, StoreError>(())
        })?;
        let mut logged = 0u64;
        log::for_each(tx, number, |_, entry| {
            logged += u64::from(matches!(entry, Entry::Accepted(_)));
            Ok::<_, StoreError>(())
        })?;
        Ok::<_, StoreError>((accepted, logged, delivered))
    })?;
    let ballots = u64::from(ballots);
    ensure!(
        (accepted, logged, delivered) == (ballots, ballots, 2 * ballots),
        "{role} was killed after {ballots} ballots and holds {accepted}, {logged} log entries and {delivered} receipts of others"
    );
    Ok(())
}

/// From so many ballots on a party's memory must not grow with them; with fewer, what fills up once looks like growth.
const MANY: u32 = 200_000;
/// Most that it may grow by in the second half, bytes: with a million ballots less than a hash that is kept of each.
const MOST_GROWTH: f64 = 10e6;

impl CastReport {
    /// Whether the parties' memory was flat.
    ///
    /// # Errors
    /// It grew with the ballots.
    pub fn judge(&self) -> Result<()> {
        let grown = self.late_growth_bytes_per_ballot * f64::from(self.ballots) / 2.0;
        ensure!(
            self.ballots < MANY || grown <= MOST_GROWTH,
            "a party's memory grew by {:.0} bytes a ballot in the second half, {:.1} MB in all, more than {:.0}",
            self.late_growth_bytes_per_ballot,
            grown / 1e6,
            MOST_GROWTH / 1e6
        );
        Ok(())
    }

    /// A table.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:.0} accepted a second, {} at once, {} in a message\nlatency: median {:.0} ms, 99 % {:.0} ms, 99.9 % {:.0} ms\n\
             CPU a ballot: three parties {:.0} us, generator {:.0} us\nrequests a ballot: {:.2}\n\
             disk a ballot: {:.0} bytes a party\nserving again after the kill, all three at once: {:.1} s\n",
            self.accepted_per_second,
            self.at_once,
            self.together,
            self.p50_ms,
            self.p99_ms,
            self.p999_ms,
            self.cpu_us_per_ballot,
            self.generator_cpu_us_per_ballot,
            self.requests_per_ballot,
            self.disk_bytes_per_ballot,
            self.restart_seconds,
        );
        for [seconds, one, two, three] in &self.memory {
            text += &format!("memory after {seconds:.0} s: {one:.0}, {two:.0}, {three:.0} MiB\n");
        }
        text += &format!(
            "growth of a party's memory in the second half: {:.0} bytes a ballot\n",
            self.late_growth_bytes_per_ballot
        );
        for (party, [start, end, peak]) in (1..).zip(self.party_mib) {
            text += &format!(
                "memory of party {party}: {start:.0} MiB at the start, {end:.0} at the end, at most {peak:.0}\n"
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_grows_with_many_ballots_is_a_failure() {
        let report = |ballots, late_growth_bytes_per_ballot| CastReport {
            ballots,
            at_once: 1,
            together: 1,
            accepted_per_second: 1.0,
            p50_ms: 1.0,
            p99_ms: 1.0,
            p999_ms: 1.0,
            cpu_us_per_ballot: 1.0,
            generator_cpu_us_per_ballot: 1.0,
            requests_per_ballot: 3.0,
            disk_bytes_per_ballot: 1.0,
            restart_seconds: 1.0,
            memory: Vec::new(),
            late_growth_bytes_per_ballot,
            party_mib: [[1.0; 3]; 3],
        };
        assert!(report(200_000, 100.0).judge().is_ok());
        assert!(report(199_999, 5000.0).judge().is_ok());
        assert!(report(1_000_000, 19.0).judge().is_ok());
        // A hash of each.
        for (ballots, each) in [(200_000, 101.0), (1_000_000, 32.0)] {
            let grown = report(ballots, each).judge().expect_err("grown").to_string();
            assert!(grown.contains(&format!("{each} bytes a ballot")), "{grown}");
        }
    }
}
