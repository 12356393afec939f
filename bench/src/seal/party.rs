//! A party's three processes: the first fills its store, the second is its server, the third audits what was sealed.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tally_mpc::Role;
use tally_party::clock::SystemClock;
use tally_party::entropy::SystemEntropy;
use tally_party::keys;
use tally_party::mirror::Gate;
use tally_party::sealing::{Parts, Patience, Sealing};
use tally_party::server::{Deps, Server};
use tally_party::store::{Storage, Store};
use tally_proto::audit::Verdict;

use super::cast;
use crate::process::{cpu_seconds, peak_rss_bytes, read_line, write_line};
use crate::ward::{BOX, Ward, election};

/// First line to each of the processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    /// 1, 2 or 3.
    pub(super) party: u8,
    /// The election.
    pub(super) ward: Ward,
}

impl Setup {
    fn role(&self) -> Result<Role> {
        Role::from_index(self.party).context("the parent numbers parties 1 to 3")
    }
}

/// What a process used.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Used {
    /// Seconds by the wall clock.
    pub seconds: f64,
    /// User and system time, seconds.
    pub cpu_seconds: f64,
    /// Most memory the process ever had, bytes.
    pub peak_rss_bytes: u64,
}

/// Fills a party's store.
///
/// # Errors
/// Whatever goes wrong; the parent sees it on standard error.
pub fn fill() -> Result<()> {
    let setup: Setup = read_line()?;
    let role = setup.role()?;
    let config = setup.ward.config(role)?;
    let storage = Storage::File(config.data_dir.join(Storage::FILE));
    let store = Arc::new(Store::open(storage, role.index())?);
    let vault = keys::storage(&config.keys.storage)?;
    let begun = Instant::now();
    cast::fill(&setup.ward, role, &store, &vault, |done, total| {
        if role == Role::P1 {
            eprintln!(
                "filling: {done} of {total} objects, {:.0} s",
                begun.elapsed().as_secs_f64()
            );
        }
    })?;
    drop(store);
    write_line(&begun.elapsed().as_secs_f64())
}

/// Serves until the parent has its Seal; tells then what the process used meanwhile.
///
/// # Errors
/// Whatever goes wrong; the parent sees it on standard error.
pub fn serve() -> Result<()> {
    let setup: Setup = read_line()?;
    let config = setup.ward.config(setup.role()?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let deps = Deps::system(&config);
        let running = Server::start(config, deps).await?;
        write_line(&"ready")?;
        let (begun, cpu) = (Instant::now(), cpu_seconds()?);
        let told: String = tokio::task::spawn_blocking(read_line).await??;
        ensure!(told == "sealed", "the parent said {told:?}");
        write_line(&Used {
            seconds: begun.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds()? - cpu,
            peak_rss_bytes: peak_rss_bytes()?,
        })?;
        running.stop().await;
        Ok(())
    })
}

/// Audits the sealed box of a party whose server has stopped, and the time to read the tally's input out of it.
///
/// # Errors
/// Whatever goes wrong, a check that fails included; the parent sees it on standard error.
pub fn audit_box() -> Result<()> {
    let setup: Setup = read_line()?;
    let role = setup.role()?;
    let config = setup.ward.config(role)?;
    let store = Store::open_to_read(&config.data_dir.join(Storage::FILE), role.index())?;
    let sealing = Sealing::new(Parts {
        me: role,
        store: Arc::new(store),
        vault: Arc::new(keys::storage(&config.keys.storage)?),
        signer: Arc::new(keys::signer(&config.keys.signing)?),
        clock: Arc::new(SystemClock),
        patience: Patience::default(),
        entropy: Arc::new(SystemEntropy),
        gate: Arc::new(Gate::always_open()),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let used = |begun: Instant, cpu: f64| -> Result<Used> {
        Ok(Used {
            seconds: begun.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds()? - cpu,
            peak_rss_bytes: peak_rss_bytes()?,
        })
    };
    let sealed = runtime.block_on(sealing.sealed_box(&election()?, BOX))?;
    let sealed = sealed.context("the box is not sealed")?;
    let (begun, cpu) = (Instant::now(), cpu_seconds()?);
    let rows = sealed.tally_input()?.shape().rows();
    let input = used(begun, cpu)?;
    ensure!(rows > 0, "the input is empty");
    let (begun, cpu) = (Instant::now(), cpu_seconds()?);
    for item in sealed.audit()? {
        ensure!(
            item.verdict != Verdict::Failed,
            "{role}: {}: {}",
            item.check.name(),
            item.detail
        );
    }
    write_line(&[input, used(begun, cpu)?])
}
