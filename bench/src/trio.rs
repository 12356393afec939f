//! The parent of a measurement: three processes from one executable.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tally_mpc::Role;
use tally_proto::ids::RoleExt as _;
use tally_proto::pki::{Authority, PeerRole};

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

/// A party's process; killed when dropped.
struct Party {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Drop for Party {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Party {
    fn start(setup: &Setup) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("party")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a party")?;
        let input = child.stdin.take().context("a pipe to the party")?;
        let output = BufReader::new(child.stdout.take().context("a pipe from the party")?);
        let mut party = Self { child, input, output };
        party.tell(setup)?;
        Ok(party)
    }

    fn tell(&mut self, value: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.input, value)?;
        self.input.write_all(b"\n")?;
        Ok(self.input.flush()?)
    }

    fn hear<T: DeserializeOwned>(&mut self, party: usize) -> Result<T> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line)
            .with_context(|| format!("party {} said nothing of use; see above", party + 1))
    }
}

/// Starts three parties, lets them work, and returns what each tells, in party order.
///
/// # Errors
/// A party could not be started, or stopped.
pub fn measure(measurement: &Measurement) -> Result<[Done; 3]> {
    let mut authorities = Vec::new();
    for role in Role::ALL {
        authorities.push(Authority::generate(&role.to_string())?);
    }
    let pem = |i: usize| authorities[i].cert_pem().to_owned();
    let mut parties = Vec::new();
    for role in Role::ALL {
        let leaf = authorities[role.slot()].issue(&PeerRole::Party(role), &["localhost"])?;
        parties.push(Party::start(&Setup {
            party: role.index(),
            authorities: [pem(0), pem(1), pem(2)],
            certificate: leaf.cert_pem.clone(),
            key: leaf.key_pem.to_string(),
            voters: measurement.plan.voters,
            ballots: measurement.plan.ballots,
            seed: measurement.plan.seed,
            work: measurement.work,
            latency_ms: measurement.latency_ms,
            wan: measurement.wan,
        })?);
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
        party.child.wait()?;
    }
    Ok(done)
}

fn hear_all<T: DeserializeOwned>(parties: &mut [Party]) -> Result<[T; 3]> {
    let mut heard = Vec::new();
    for (i, party) in parties.iter_mut().enumerate() {
        heard.push(party.hear(i)?);
    }
    heard
        .try_into()
        .map_err(|_| anyhow::anyhow!("three parties are needed"))
}
