//! The parent of a measurement: three processes from one executable.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use tally_mpc::Role;
use tally_proto::ids::RoleExt as _;
use tally_proto::pki::{Authority, PeerRole};

use crate::process::Process;
use crate::protocol::{Done, Go, Ready, Setup, Work};
use crate::synthetic::Plan;

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct Measurement {
    /// The election.
    pub plan: Plan,
    /// What the parties do.
    pub work: Work,
    /// Simulated one-way latency.
    pub latency_ms: u64,
    /// Cut the sort for distant parties.
    pub wan: bool,
}

/// Starts three parties, lets them work, and returns what each tells, in party order.
///
/// # Errors
/// A party could not be started, or stopped.
pub fn measure(measurement: &Measurement) -> Result<[Done; 3]> {
    // Logged as in a party, on a disk: what that costs belongs to the measurement.
    let directory = tempfile::tempdir().context("a directory for the session logs")?;
    measure_in(measurement, directory.path())
}

/// The same; each party leaves its session log in `directory`, see [`logs_of`].
///
/// # Errors
/// As [`measure`].
pub fn measure_in(measurement: &Measurement, directory: &Path) -> Result<[Done; 3]> {
    let mut authorities = Vec::new();
    for role in Role::ALL {
        authorities.push(Authority::generate(&role.to_string())?);
    }
    let pem = |i: usize| authorities[i].cert_pem().to_owned();
    let mut parties = Vec::new();
    for role in Role::ALL {
        let leaf = authorities[role.slot()].issue(&PeerRole::Party(role), &["localhost"])?;
        parties.push(Process::start(
            "party",
            &Setup {
                logs: logs_of(directory, role),
                party: role.index(),
                authorities: [pem(0), pem(1), pem(2)],
                certificate: leaf.cert_pem.clone(),
                key: leaf.key_pem.to_string(),
                plan: measurement.plan,
                work: measurement.work,
                latency_ms: measurement.latency_ms,
                wan: measurement.wan,
            },
        )?);
    }
    let [a, b, c] = hear_all::<Ready>(&mut parties)?;
    let go = Go {
        ports: [a.port, b.port, c.port],
        starts: [a.start, b.start, c.start],
        keys: [a.key, b.key, c.key],
    };
    for party in &mut parties {
        party.tell(&go)?;
    }
    let done = hear_all(&mut parties)?;
    for party in &mut parties {
        party.tell(&"all done")?;
        party.wait()?;
    }
    Ok(done)
}

/// Where a party's session logs are.
pub fn logs_of(directory: &Path, role: Role) -> PathBuf {
    directory.join(format!("party-{}", role.index()))
}

pub(crate) fn hear_all<T: DeserializeOwned>(parties: &mut [Process]) -> Result<[T; 3]> {
    let mut heard = Vec::new();
    for (party, role) in parties.iter_mut().zip(Role::ALL) {
        heard.push(party.hear().with_context(|| role.to_string())?);
    }
    heard
        .try_into()
        .map_err(|_| anyhow::anyhow!("three parties are needed"))
}
