//! A party's process: its real server, over its real store on disk. Only the clock is the measurement's: it stands still.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tally_mpc::Role;
use tally_party::clock::ManualClock;
use tally_party::server::{Deps, Server};
use tally_party::store::{Storage, Store, StoreError, elections};

use super::ballots::NOW;
use crate::process::{cpu_seconds, peak_rss_bytes, read_line, rss_bytes, write_line};
use crate::ward::{BOX, Ward, roll};

/// First line to the process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// 1, 2 or 3.
    pub(crate) party: u8,
    /// The election.
    pub(crate) ward: Ward,
    /// The store is there already: a server that was killed starts again.
    pub(crate) again: bool,
}

/// What the process has used, at its beginning or so far.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// User and system time, seconds.
    pub(crate) cpu_seconds: f64,
    /// Memory at this moment, bytes.
    pub(crate) rss_bytes: u64,
    /// Most memory so far, bytes.
    pub(crate) peak_rss_bytes: u64,
}

impl Usage {
    pub(crate) fn now() -> Result<Self> {
        Ok(Self {
            cpu_seconds: cpu_seconds()?,
            rss_bytes: rss_bytes()?,
            peak_rss_bytes: peak_rss_bytes()?,
        })
    }
}

/// Puts the election in force in an empty store, or starts on one that is there, serves until it is killed, and tells its usage at every line that it hears.
///
/// # Errors
/// Whatever goes wrong; the parent sees it on standard error.
pub fn serve() -> Result<()> {
    let Setup { party, ward, again } = read_line()?;
    let role = Role::from_index(party).context("the parent numbers parties 1 to 3")?;
    let mut config = ward.config(role)?;
    // Three parties and the generator share this machine: each takes its part of the processors, as a party of its own would take all of its own.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = processors.div_ceil(4);
    config.intake.check_threads = threads;
    if !again {
        define(
            &ward,
            &Store::open(Storage::File(config.data_dir.join(Storage::FILE)), party)?,
        )?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let mut deps = Deps::system(&config);
        deps.clock = Arc::new(ManualClock::new(NOW * 1000));
        let running = Server::start(config, deps).await?;
        // The three ask each other whether their stores are the newest there were; voters come after that.
        for election in running.party().elections.all() {
            while !running.party().gate.is_open(election.number()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        write_line(&"ready")?;
        loop {
            let told: String = tokio::task::spawn_blocking(read_line).await??;
            ensure!(told == "usage", "the parent said {told:?}");
            write_line(&Usage::now()?)?;
            ensure!(
                running.party().clock_trouble().is_empty(),
                "the parties' clocks differ"
            );
        }
    })
}

/// The election with all signatures, and its roll.
fn define(ward: &Ward, store: &Store) -> Result<()> {
    let manifest = ward.manifest()?;
    store.write(|tx| {
        let number = elections::number_or_new(tx, manifest.manifest().election().as_str())?;
        elections::put_manifest(tx, number, &manifest.envelope().encode())?;
        let roll: Vec<_> = roll(ward.plan.voters).collect();
        let entries = roll.iter().map(|entry| (entry.online, entry.reference.as_str()));
        elections::put_roll(tx, number, BOX.get(), 0, entries)?;
        Ok::<_, StoreError>(())
    })?;
    Ok(())
}
