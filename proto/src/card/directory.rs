//! The directory of revocation lists that an operator fills.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::RevocationList;
use crate::ids::Hash32;
use crate::manifest::Register;

/// By path and issuing CAs: when and how long the file was, and what it held.
type Known = HashMap<(PathBuf, Hash32), (SystemTime, u64, Option<Arc<RevocationList>>)>;

/// A directory of revocation lists; a file is read again when it changes.
#[derive(Debug, Default)]
pub struct ListDirectory {
    path: PathBuf,
    known: Mutex<Known>,
}

impl ListDirectory {
    /// The directory at that path, which need not be there yet.
    pub fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            known: Mutex::default(),
        }
    }

    /// The lists of the register's issuing CAs that are there now. `told` is told once of every file that was read, and what it holds or why it
    /// is no list of this register: such a file is passed over, and a list that is missing then refuses.
    pub fn lists(
        &self,
        register: &Register,
        mut told: impl FnMut(&Path, Result<&RevocationList, &str>),
    ) -> Vec<Arc<RevocationList>> {
        let issuers = Hash32::of(&register.issuers().concat());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lists = Vec::new();
        for entry in std::fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(about) = entry.metadata() else { continue };
            let changed = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let key = (path.clone(), issuers);
            let fresh = known
                .get(&key)
                .is_some_and(|(at, size, _)| (*at, *size) == (changed, about.len()));
            if !fresh {
                let read = std::fs::read(&path)
                    .map_err(|error| error.to_string())
                    .and_then(|bytes| {
                        RevocationList::read(register, &bytes).map_err(|error| error.to_string())
                    });
                told(&path, read.as_ref().map_err(String::as_str));
                known.insert(key.clone(), (changed, about.len(), read.ok().map(Arc::new)));
            }
            lists.extend(known.get(&key).and_then(|(_, _, list)| list.clone()));
        }
        lists
    }
}
