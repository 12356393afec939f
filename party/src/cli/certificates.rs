//! `renew-certificates`.

use std::path::PathBuf;

use clap::value_parser;
use tally_proto::pki::{LEAF_DAYS, Life, MAX_LEAF_DAYS};

use super::ConfigFile;
use super::officials::{self, OfficialsError, ShareFiles};
use crate::config::{Config, ConfigError};
use crate::renew::{self, RenewError};

/// Why no certificates were renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewCommandError {
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Issuing or writing them.
    #[error(transparent)]
    Renew(#[from] RenewError),
    /// With split keys.
    #[error(transparent)]
    Officials(#[from] Box<OfficialsError>),
    /// Where the authority's key is.
    #[error(
        "the keys of this party are split among officials: the key of its authority is in the recovery kit. Give --kit and --new-kit, and have \
         the officials come"
    )]
    NeedsKit,
    /// A kit without officials.
    #[error("the keys of this party lie in files: give --ca-key, no kit and no shares")]
    NoKit,
}

#[derive(Debug, clap::Args)]
pub(super) struct RenewCertificates {
    #[command(flatten)]
    config: ConfigFile,
    /// The key of this party's authority, which is kept off this machine [default: ca/ca.key beside the configuration]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kit", "new_kit"])]
    ca_key: Option<PathBuf>,
    /// Days that the new certificates live
    #[arg(long, default_value_t = LEAF_DAYS, value_parser = value_parser!(u32).range(1..=i64::from(MAX_LEAF_DAYS)))]
    days: u32,
    /// The recovery kit of now, where officials hold the keys
    #[arg(long, requires = "new_kit")]
    kit: Option<PathBuf>,
    /// Where to write the new recovery kit
    #[arg(long, requires = "kit")]
    new_kit: Option<PathBuf>,
    #[command(flatten)]
    shares: ShareFiles,
}

pub(super) fn renew(asked: &RenewCertificates) -> Result<(), RenewCommandError> {
    let config = Config::load(&asked.config.config)?;
    let life = Life::of_days(asked.days);
    let kits = asked.kit.as_deref().zip(asked.new_kit.as_deref());
    let issued = match (&config.keys.sealed, kits) {
        (Some(_), Some(kits)) => officials::renew(&config, kits, life, &asked.shares).map_err(Box::new)?,
        (Some(_), None) => return Err(RenewCommandError::NeedsKit),
        (None, None) if asked.shares.is_empty() => {
            let beside = asked
                .config
                .config
                .parent()
                .map(|directory| directory.join("ca/ca.key"));
            let key = asked.ca_key.clone().or(beside).unwrap_or_default();
            renew::issue(&config, &key, life)?
        }
        (None, _) => return Err(RenewCommandError::NoKit),
    };
    issued.write(&config)?;
    println!(
        "The certificates of party {} are new and end at {}.",
        config.party.index(),
        issued.ends()?
    );
    if let (Some(sealed), Some((kit, new_kit))) = (&config.keys.sealed, kits) {
        println!("  party           {}", sealed.display());
        println!("  while locked    {}", config.tls.party.certificate.display());
        println!(
            "The new recovery kit is {}: take it off this machine, and destroy {} and the backups of the old key file.",
            new_kit.display(),
            kit.display()
        );
    } else {
        println!("  party           {}", config.tls.party.certificate.display());
    }
    println!(
        "  operator        {}\nThe server takes its own at its next start: stop it and start it again; voting goes on with the other two meanwhile. \
         Authority, identity and fingerprint are as before, and nobody else need do anything. Erase the old keys' backups.",
        config.tls.operator.certificate.display()
    );
    Ok(())
}
