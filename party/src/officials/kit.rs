//! The recovery kit opened on a replacement machine: every file of a party but its store, at the places that its configuration names.
//!
//! The certificate authority's key is not written: it stays in the kit. The store is not in the kit: what it held comes back from the two
//! other parties.

use std::io;
use std::path::{Path, PathBuf};

use tally_proto::secret_file::{self, SecretFileError};

use super::sealed::{Label, Sealed, SealedError};
use super::split::UnlockKey;
use crate::config::{Config, Problem};
use crate::init::{CONFIG, InitError, private_directory, public_file};

/// Why a machine was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The kit.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// A text in the kit is none.
    #[error("{what} in the kit is no text: the kit was made by another program")]
    NoText {
        /// The entry.
        what: &'static str,
    },
    /// The configuration in it.
    #[error("the kit's configuration is not one: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config(Vec<Problem>),
    /// It names no sealed key file.
    #[error("the kit's configuration names no sealed key file")]
    NoSealed,
    /// Something is there already.
    #[error("{} exists: a party is restored on an empty machine, or into another directory", .0.display())]
    Exists(PathBuf),
    /// A directory or public file.
    #[error(transparent)]
    File(#[from] InitError),
    /// A secret file.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// A directory's name.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Writes what the kit holds below `directory`. Nothing that exists is overwritten. Returns the configuration's path.
///
/// # Errors
/// [`RestoreError`].
pub fn restore(kit: &Sealed, key: &UnlockKey, directory: &Path) -> Result<PathBuf, RestoreError> {
    let text = |label: Label| -> Result<String, RestoreError> {
        let bytes = kit.open(key, label)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| RestoreError::NoText { what: label.what() })
    };
    let config_path = directory.join(CONFIG);
    let config_text = text(Label::Config)?;
    let config = Config::parse(&config_text, directory).map_err(RestoreError::Config)?;
    let sealed = config.keys.sealed.as_ref().ok_or(RestoreError::NoSealed)?;
    let (party, operator) = (&config.tls.party, &config.tls.operator);
    let secret: [(&Path, Label); 3] = [
        (sealed, Label::SealedKeys),
        (&party.key, Label::FrontKey),
        (&operator.key, Label::OperatorKey),
    ];
    let authority = directory.join("ca/ca.pem");
    let public: [(&Path, Label); 4] = [
        (&party.certificate, Label::Front),
        (&operator.certificate, Label::Operator),
        (&config.identities.own, Label::Identity),
        (&authority, Label::Authority),
    ];
    let paths = secret.iter().chain(&public).map(|(path, _)| *path);
    for path in paths.clone().chain([config_path.as_path()]) {
        if path.exists() {
            return Err(RestoreError::Exists(path.to_owned()));
        }
    }
    let others = config.identities.others.iter().map(PathBuf::as_path);
    for path in paths.chain(others).chain([config_path.as_path()]) {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            private_directory(parent)?;
        }
    }
    private_directory(&config.data_dir)?;
    for (path, label) in secret {
        secret_file::create(path, &kit.open(key, label)?)?;
    }
    for (path, label) in public {
        public_file(path, &text(label)?)?;
    }
    public_file(&config_path, &config_text)?;
    Ok(config_path)
}
