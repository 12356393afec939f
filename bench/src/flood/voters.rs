//! The honest voters' process: so many begin in a second, whether those before are done or not.
//!
//! A voter connects to all three parties, submits to all three, and hands each receipt to the two other parties: three TLS handshakes and nine
//! requests. The latency is from before the connections to the last answer. What is refused as one to be tried again is tried again, as a device
//! does; the wait counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::{try_join, try_join_all};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use tally_mpc::Role;
use tally_proto::ids::RoleExt as _;
use tally_proto::manifest::Manifest;
use tally_proto::reason::Class;
use tally_proto::refusal::Refusal;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::cast::ballots::{Sealed, seal_one};
use crate::cast::generator::Lines;
use crate::process::{read_line, write_line};
use crate::ward::Ward;

/// First line to the process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) ward: Ward,
    /// Voters who begin in a second.
    pub(super) in_a_second: u32,
}

/// What came of the voters between two words of the parent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Voted {
    /// How many cast, all of them in the end with three receipts at every party.
    pub(super) ballots: u32,
    /// Requests that were sent again.
    pub(super) again: u32,
    /// Median, 99th percentile and longest latency, milliseconds.
    pub(super) ms: [f64; 3],
}

/// A voter gives up after this; the measurement fails then.
const PATIENCE: Duration = Duration::from_secs(60);
/// Until a request is sent again.
const PAUSE: Duration = Duration::from_millis(100);
/// Ballots that lie ready.
const READY: usize = 64;

/// Casts at the parent's word.
///
/// # Errors
/// A ballot that is refused for good, and whatever else goes wrong; the parent sees it on standard error.
pub fn vote() -> Result<()> {
    let setup: Setup = read_line()?;
    let manifest = Arc::new(setup.ward.manifest()?);
    let (ready, mut ballots) = mpsc::channel(READY);
    let ward = setup.ward.clone();
    // Ends when the receiver is gone.
    std::thread::spawn(move || seal(&ward, &ready));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let voting = async move {
        while ballots.len() < READY {
            tokio::time::sleep(PAUSE).await;
        }
        write_line(&"ready")?;
        loop {
            let told: String = tokio::task::spawn_blocking(read_line).await??;
            match told.as_str() {
                "go" => write_line(&some(&setup, manifest.manifest(), &mut ballots).await?)?,
                "end" => return Ok(()),
                other => bail!("the parent said {other:?}"),
            }
        }
    };
    tokio::task::LocalSet::new().block_on(&runtime, voting)
}

/// Seals ballots with tickets ahead of their voters.
fn seal(ward: &Ward, ready: &mpsc::Sender<Sealed>) -> Result<()> {
    let (manifest, mut rng) = (ward.manifest()?, StdRng::seed_from_u64(ward.plan.seed ^ 0x7e11));
    loop {
        for ticket in ward.draw(&mut rng)? {
            let sealed = seal_one(manifest.manifest(), ward.plan.voters, Some(&ticket), &mut rng)?;
            if ready.blocking_send(sealed).is_err() {
                return Ok(());
            }
        }
    }
}

/// Voters until the parent says "stop".
async fn some(setup: &Setup, manifest: &Manifest, ballots: &mut mpsc::Receiver<Sealed>) -> Result<Voted> {
    let mut told = tokio::task::spawn_blocking(read_line::<String>);
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / setup.in_a_second.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut voters, again) = (JoinSet::new(), Arc::new(AtomicU32::new(0)));
    loop {
        tokio::select! {
            told = &mut told => {
                let told = told??;
                ensure!(told == "stop", "the parent said {told:?}");
                break;
            }
            _ = ticks.tick() => {
                let ballot = ballots.recv().await.context("the sealing thread ended")?;
                let (lines, again) = (Lines::open(manifest)?, again.clone());
                voters.spawn_local(async move {
                    let begun = Instant::now();
                    tokio::time::timeout(PATIENCE, cast(&lines, &ballot, &again))
                        .await
                        .context("an honest voter waits for over a minute")??;
                    Ok::<_, anyhow::Error>(begun.elapsed())
                });
            }
        }
    }
    let mut latencies = Vec::new();
    while let Some(voter) = voters.join_next().await {
        latencies.push(voter??);
    }
    latencies.sort_unstable();
    let at = |permille: usize| -> Result<f64> {
        let at = (latencies.len() * permille).div_ceil(1000).saturating_sub(1);
        Ok(latencies.get(at).context("nobody cast")?.as_secs_f64() * 1e3)
    };
    Ok(Voted {
        ballots: u32::try_from(latencies.len())?,
        again: again.load(Ordering::Relaxed),
        ms: [at(500)?, at(990)?, at(1000)?],
    })
}

/// All three parties hold the ballot and each other's receipts on return.
async fn cast(lines: &Lines, ballot: &Sealed, again: &AtomicU32) -> Result<()> {
    let [a, b, c] = Role::ALL.map(|to| persist(again, async move || lines.submit(ballot, to, true).await));
    let (a, (b, c)) = try_join(a, try_join(b, c)).await?;
    let receipts = [a, b, c];
    let receipts = &receipts;
    let deliveries = Role::ALL.map(|to| async move {
        for of in [to.next(), to.prev()] {
            persist(again, async || lines.deliver(&receipts[of.slot()], to).await).await?;
        }
        Ok::<_, anyhow::Error>(())
    });
    try_join_all(deliveries).await?;
    Ok(())
}

/// Asks again as long as the answer is to ask again.
async fn persist<T>(again: &AtomicU32, ask: impl AsyncFn() -> Result<T>) -> Result<T> {
    loop {
        let error = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let refusal = error.downcast_ref::<tonic::Status>().map(Refusal::of_status);
        if refusal.is_none_or(|refusal| refusal.reason.class() != Class::Retry) {
            return Err(error);
        }
        again.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
}
