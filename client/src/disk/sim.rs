//! A disk in memory that dies before a chosen operation, and what is left of it after a power cut.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

use super::Disk;

type Inode = usize;

/// How the machine goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// The process is killed: what was written stays, synced or not.
    Killed,
    /// The power fails: of what was not synced, some stays, some does not, and an append may stay in part or as zeros.
    PowerCut,
}

#[derive(Clone, Debug, Default)]
struct State {
    names: BTreeMap<PathBuf, Inode>,
    contents: Vec<Vec<u8>>,
    durable_names: BTreeMap<PathBuf, Inode>,
    durable_contents: Vec<Vec<u8>>,
    /// Operations left before death.
    budget: Option<usize>,
}

#[derive(Debug, Default)]
pub(crate) struct SimDisk(Mutex<State>);

impl SimDisk {
    /// Dies before operation number `operations` (counted from now, reads not counted).
    pub(crate) fn die_before(&self, operations: usize) {
        self.0.lock().unwrap().budget = Some(operations);
    }

    /// The disk as found after the machine went down.
    pub(crate) fn reboot(&self, death: Death, seed: u64) -> SimDisk {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut state = self.0.lock().unwrap().clone();
        state.budget = None;
        if death == Death::PowerCut {
            // Each changed name survives or not; each changed content survives up to a random point, perhaps as zeros.
            let changed: Vec<PathBuf> = state
                .names
                .keys()
                .chain(state.durable_names.keys())
                .filter(|path| state.names.get(*path) != state.durable_names.get(*path))
                .cloned()
                .collect();
            for path in changed {
                if rng.random_bool(0.5) {
                    match state.durable_names.get(&path).copied() {
                        Some(inode) => state.names.insert(path, inode),
                        None => state.names.remove(&path),
                    };
                }
            }
            for (content, durable) in state.contents.iter_mut().zip(&state.durable_contents) {
                if content != durable {
                    *content = torn(durable, content, &mut rng);
                }
            }
        }
        state.durable_names = state.names.clone();
        state.durable_contents = state.contents.clone();
        SimDisk(Mutex::new(state))
    }

    fn act<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        if state.budget == Some(0) {
            return Err(io::Error::other("the machine is down"));
        }
        state.budget = state.budget.map(|left| left - 1);
        act(&mut state)
    }
}

fn torn(durable: &[u8], content: &[u8], rng: &mut impl Rng) -> Vec<u8> {
    if !content.starts_with(durable) {
        return if rng.random_bool(0.5) {
            durable.to_vec()
        } else {
            content.to_vec()
        };
    }
    let kept = rng.random_range(durable.len()..=content.len());
    let mut left = content[..kept].to_vec();
    if rng.random_bool(0.3) {
        let from = rng.random_range(durable.len()..=kept);
        left[from..].fill(0);
    }
    if rng.random_bool(0.3) {
        left.resize(content.len(), 0);
    }
    left
}

impl State {
    fn inode(&self, path: &Path) -> io::Result<Inode> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

impl Disk for SimDisk {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let state = self.0.lock().unwrap();
        Ok(state.names.get(path).map(|inode| state.contents[*inode].clone()))
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.act(|state| {
            let inode = state.contents.len();
            state.contents.push(bytes.to_vec());
            state.durable_contents.push(Vec::new());
            state.names.insert(path.to_owned(), inode);
            Ok(())
        })
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.act(|state| {
            let inode = state.inode(path)?;
            state.contents[inode].extend_from_slice(bytes);
            Ok(())
        })
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        self.act(|state| {
            let inode = state.inode(path)?;
            state.contents[inode].truncate(length as usize);
            Ok(())
        })
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.act(|state| {
            let inode = state.inode(path)?;
            state.durable_contents[inode] = state.contents[inode].clone();
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.act(|state| {
            let inode = state.inode(from)?;
            state.names.remove(from);
            state.names.insert(to.to_owned(), inode);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.act(|state| {
            state.inode(path)?;
            state.names.remove(path);
            Ok(())
        })
    }

    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.act(|state| {
            let inode = state.inode(path)?;
            state.contents[inode][..bytes.len()].copy_from_slice(bytes);
            Ok(())
        })
    }

    fn sync_dir(&self, _directory: &Path) -> io::Result<()> {
        self.act(|state| {
            state.durable_names = state.names.clone();
            Ok(())
        })
    }
}
