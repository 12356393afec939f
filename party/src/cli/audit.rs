//! The auditor's commands.

use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use tally_proto::audit::Audit;
use tally_proto::ids::{BoxId, ElectionId, IdError, SessionNumber, UnixSeconds};
use tokio::runtime::Handle;

use super::ConfigFile;
use crate::audit::{AuditError, Desk, create_key, read_key, table};
use crate::config::{Config, ConfigError};
use crate::entropy::{Entropy as _, SystemEntropy};

/// Why an auditor's command failed.
#[derive(Debug, thiserror::Error)]
pub enum AuditCommandError {
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The audit could not be made.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The election's id.
    #[error(transparent)]
    Election(#[from] IdError),
    /// The statement cannot be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The audit was made, and something does not hold.
    #[error("the audit found what an honest party does not do; the signed statement says what")]
    Failed,
    /// The audit's thread ended by a panic.
    #[error("the audit ended by a fault of this program")]
    Fault,
}

#[derive(Debug, clap::Args)]
pub(super) struct AuditKey {
    /// File to make
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct AuditArguments {
    #[command(flatten)]
    config: ConfigFile,
    /// The election
    #[arg(long)]
    election: String,
    /// The box
    #[arg(long = "box")]
    of_box: u32,
    /// The session [default: the newest that is logged]
    #[arg(long)]
    session: Option<u64>,
    /// Who audits: a name and whom it works for
    #[arg(long)]
    auditor: String,
    /// The auditor's key file, from `party audit-key`
    #[arg(long)]
    key: PathBuf,
    /// File for the signed statement
    #[arg(long)]
    out: PathBuf,
}

/// Makes an auditor's key.
pub(super) fn key(arguments: &AuditKey) -> Result<(), AuditCommandError> {
    let public = create_key(&arguments.out, &mut SystemEntropy.rng())?;
    println!(
        "The auditor's key is in {}. Its public key:",
        arguments.out.display()
    );
    println!("  {public}");
    println!(
        "Make the public key known before the audit: it is how readers of the statement know who signed it."
    );
    Ok(())
}

/// Audits one box and session of this party, writes the statement and shows it.
pub(super) async fn audit(arguments: AuditArguments) -> Result<(), AuditCommandError> {
    let runtime = Handle::current();
    // The store, the shares and the replay block.
    let made = tokio::task::spawn_blocking(move || run(&arguments, runtime));
    let audit = made.await.map_err(|_| AuditCommandError::Fault)??;
    print!("{}", table::summary(&audit));
    if audit.passed() {
        Ok(())
    } else {
        Err(AuditCommandError::Failed)
    }
}

fn run(arguments: &AuditArguments, runtime: Handle) -> Result<Audit, AuditCommandError> {
    let config = Config::load(&arguments.config.config)?;
    let election = ElectionId::new(&arguments.election)?;
    let auditor = read_key(&arguments.key)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let desk = Desk::open(&config, runtime)?;
    let (audit, envelope) = desk.audit(
        &election,
        BoxId(arguments.of_box),
        arguments.session.map(SessionNumber),
        (&arguments.auditor, &auditor),
        UnixSeconds(now),
    )?;
    std::fs::write(&arguments.out, envelope.encode()).map_err(|source| AuditCommandError::Write {
        path: arguments.out.clone(),
        source,
    })?;
    Ok(audit)
}
