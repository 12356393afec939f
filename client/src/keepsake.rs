//! Receipts that a voter asked to keep, and their erasure.
//!
//! A receipt shows that a ballot was cast and when, to whoever holds the device; that is why none is kept unasked. It never shows
//! whether the ballot counts: a receipt of a decoy's ballot looks the same.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use tally_proto::receipt::{Receipt, ReceiptError};
use tally_proto::wire;
use thiserror::Error;

use crate::disk::{RealDisk, erase, make_private_dir, replace};
use crate::election::Election;
use crate::voter::Cast;

const DIRECTORY: &str = "receipts";
const ENDING: &str = "receipt.json";

/// Why kept receipts cannot be used.
#[derive(Debug, Error)]
pub enum KeepsakeError {
    /// The file system refused.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A file that this program did not write.
    #[error("{path} is not a kept receipt: {source}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// The receipts of one ballot, as kept on the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The election.
    pub election: String,
    /// The public name of the ballot, hexadecimal.
    pub digest: String,
    /// When it was cast, seconds since 1970.
    pub cast_at_s: u64,
    /// One receipt for each party that accepted.
    pub receipts: Vec<KeptReceipt>,
}

/// One party's receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptReceipt {
    /// 1, 2 or 3.
    pub party: u32,
    /// The box.
    pub box_id: u32,
    /// SHA-256 of the ciphertext it took, hexadecimal.
    pub ciphertext_hash: String,
    /// When it received the ballot, seconds since 1970.
    pub received_at_s: u64,
    /// The position in its log.
    pub position: u64,
    /// Its signature, hexadecimal.
    pub signature: String,
}

impl Kept {
    /// What is known of a cast now.
    pub fn of(cast: &Cast) -> Self {
        let receipts = cast.receipts();
        Self {
            election: receipts
                .first()
                .map(|receipt| receipt.election.clone())
                .unwrap_or_default(),
            digest: cast.digest().to_string(),
            cast_at_s: cast.cast_at().0,
            receipts: receipts.iter().map(KeptReceipt::of).collect(),
        }
    }

    /// Whether each receipt's signature is that of the party it names.
    pub fn verify(&self, election: &Election) -> Vec<Result<(), ReceiptError>> {
        let keys = election.manifest().party_keys();
        let verify = |receipt: &wire::Receipt| Receipt::from_wire(receipt)?.verify(&keys).map(|_| ());
        self.to_wire().iter().map(verify).collect()
    }

    /// The receipts as they travel, to be shown to anybody; bytes that are no hexadecimal become empty and verify as nothing.
    pub fn to_wire(&self) -> Vec<wire::Receipt> {
        let bytes = |text: &str| HEXLOWER.decode(text.as_bytes()).unwrap_or_default();
        self.receipts
            .iter()
            .map(|receipt| wire::Receipt {
                election: self.election.clone(),
                r#box: receipt.box_id,
                party: receipt.party,
                digest: bytes(&self.digest),
                ciphertext_hash: bytes(&receipt.ciphertext_hash),
                received_at_s: receipt.received_at_s,
                position: receipt.position,
                signature: bytes(&receipt.signature),
            })
            .collect()
    }
}

impl KeptReceipt {
    fn of(receipt: &wire::Receipt) -> Self {
        Self {
            party: receipt.party,
            box_id: receipt.r#box,
            ciphertext_hash: HEXLOWER.encode(&receipt.ciphertext_hash),
            received_at_s: receipt.received_at_s,
            position: receipt.position,
            signature: HEXLOWER.encode(&receipt.signature),
        }
    }
}

/// The receipts kept on a device.
#[derive(Clone, Debug)]
pub struct Keepsakes {
    directory: PathBuf,
}

impl Keepsakes {
    /// Those in the device's state directory. Nothing is made until one is kept.
    pub fn of_device(directory: &Path) -> Self {
        Self {
            directory: directory.join(DIRECTORY),
        }
    }

    /// Keeps the receipts of a ballot; durable on return.
    ///
    /// # Errors
    /// [`KeepsakeError::Io`].
    pub fn keep(&self, kept: &Kept) -> Result<(), KeepsakeError> {
        let path = self.directory.join(format!("{}.{ENDING}", kept.digest));
        let io = |source| KeepsakeError::Io {
            path: path.clone(),
            source,
        };
        make_private_dir(&self.directory).map_err(io)?;
        let text = serde_json::to_vec_pretty(kept).map_err(|source| KeepsakeError::Damaged {
            path: path.clone(),
            source,
        })?;
        replace(&RealDisk, &path, &text).map_err(io)
    }

    /// All that are kept, oldest ballot first.
    ///
    /// # Errors
    /// [`KeepsakeError`] for a file that cannot be read.
    pub fn all(&self) -> Result<Vec<Kept>, KeepsakeError> {
        let mut all = Vec::new();
        for path in self.files(ENDING)? {
            let bytes = fs::read(&path).map_err(|source| KeepsakeError::Io {
                path: path.clone(),
                source,
            })?;
            all.push(
                serde_json::from_slice(&bytes).map_err(|source| KeepsakeError::Damaged { path, source })?,
            );
        }
        all.sort_by(|a: &Kept, b: &Kept| (a.cast_at_s, &a.digest).cmp(&(b.cast_at_s, &b.digest)));
        Ok(all)
    }

    /// Erases all; returns how many there were.
    ///
    /// # Errors
    /// [`KeepsakeError::Io`] for the first that cannot be erased.
    pub fn erase(&self) -> Result<usize, KeepsakeError> {
        // What an interrupted keep has left goes too.
        let mut files = self.files(ENDING)?;
        let kept = files.len();
        files.extend(self.files(".new")?);
        for path in &files {
            erase(&RealDisk, path).map_err(|source| KeepsakeError::Io {
                path: path.clone(),
                source,
            })?;
        }
        if self.directory.is_dir() {
            let io = |source| KeepsakeError::Io {
                path: self.directory.clone(),
                source,
            };
            fs::remove_dir(&self.directory).map_err(io)?;
        }
        Ok(kept)
    }

    fn files(&self, ending: &str) -> Result<Vec<PathBuf>, KeepsakeError> {
        let io = |source| KeepsakeError::Io {
            path: self.directory.clone(),
            source,
        };
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(io)?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(io)?.path();
            if path.to_string_lossy().ends_with(ending) {
                files.push(path);
            }
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(digest: &str, cast_at_s: u64) -> Kept {
        let receipt = wire::Receipt {
            election: "council".into(),
            r#box: 2,
            party: 3,
            digest: HEXLOWER.decode(digest.as_bytes()).unwrap(),
            ciphertext_hash: vec![9; 32],
            received_at_s: 17,
            position: 4,
            signature: vec![8; 64],
        };
        Kept {
            election: "council".into(),
            digest: digest.into(),
            cast_at_s,
            receipts: vec![KeptReceipt::of(&receipt)],
        }
    }

    #[test]
    fn kept_listed_in_order_and_erased_without_trace() {
        let device = tempfile::tempdir().unwrap();
        let keepsakes = Keepsakes::of_device(device.path());
        assert_eq!(keepsakes.all().unwrap(), []);
        assert_eq!(keepsakes.erase().unwrap(), 0);
        let (late, early) = (kept("aa11", 9), kept("bb22", 5));
        keepsakes.keep(&late).unwrap();
        keepsakes.keep(&early).unwrap();
        keepsakes.keep(&early).unwrap();
        assert_eq!(keepsakes.all().unwrap(), [early.clone(), late]);
        assert_eq!(early.to_wire()[0].digest, [0xbb, 0x22]);
        assert_eq!(early.to_wire()[0].signature, [8; 64]);
        assert_eq!(keepsakes.erase().unwrap(), 2);
        assert_eq!(fs::read_dir(device.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_one_is_named() {
        let device = tempfile::tempdir().unwrap();
        let keepsakes = Keepsakes::of_device(device.path());
        keepsakes.keep(&kept("aa11", 9)).unwrap();
        let path = device.path().join(DIRECTORY).join(format!("aa11.{ENDING}"));
        fs::write(&path, "{").unwrap();
        assert!(keepsakes.all().unwrap_err().to_string().contains("aa11"));
        assert_eq!(keepsakes.erase().unwrap(), 1);
    }
}
