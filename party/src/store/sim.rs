//! A disk in memory that fails on command and forgets, at a crash, a part of what was not synced.
//!
//! Made for crash tests, here and in other crates. Every operation that changes the disk (write, set_len, sync) is counted; from the operation
//! with a chosen number on, all fail; or that one alone; or syncs are said to be done and are not. [`SimDisk::after_crash`] then gives the disk as a restarted machine would find it: everything
//! synced, and of the writes since the last sync any subset, any of them possibly torn.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
}

#[derive(Debug, Default)]
struct State {
    durable: Vec<u8>,
    current: Vec<u8>,
    unsynced: Vec<Change>,
    operations: u64,
    reads: u64,
    fail_from: Option<u64>,
    fail_only: Option<u64>,
    lose_syncs_from: Option<u64>,
    capacity: Option<usize>,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    /// An empty disk that does not fail.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on the operation numbered `operation` (counted from 0 since the disk was made) and all after it fail.
    pub fn fail_from(&self, operation: u64) {
        self.state().fail_from = Some(operation);
    }

    /// The operation of that number fails, and whatever comes after it succeeds: a bad moment of a controller.
    pub fn fail_only(&self, operation: u64) {
        self.state().fail_only = Some(operation);
    }

    /// From the operation of that number on a sync says that it is done and syncs nothing, as a disk with a volatile cache does.
    pub fn lose_syncs_from(&self, operation: u64) {
        self.state().lose_syncs_from = Some(operation);
    }

    /// From now on the disk holds so many bytes: growing beyond them fails as on a full disk. `None`: without limit.
    pub fn limit(&self, bytes: Option<usize>) {
        self.state().capacity = bytes;
    }

    /// How many bytes it holds now.
    pub fn bytes(&self) -> usize {
        self.state().current.len()
    }

    /// How many changing operations were asked for, failed ones included.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// How often it was read.
    pub fn reads(&self) -> u64 {
        self.state().reads
    }

    /// The disk after a loss of power: a new disk that holds everything synced and, decided by the bits of `seed`, some of what was not.
    pub fn after_crash(&self, seed: u64) -> SimDisk {
        let state = self.state();
        let mut bits = SplitMix(seed);
        let mut bytes = state.durable.clone();
        for change in &state.unsynced {
            if bits.next() & 1 == 0 {
                continue;
            }
            match change {
                Change::SetLen(len) => bytes.resize(*len, 0),
                Change::Write { offset, data } => {
                    let torn = bits.next() & 3 == 0;
                    let kept = if torn {
                        bits.next() as usize % (data.len() + 1)
                    } else {
                        data.len()
                    };
                    if bytes.len() < offset + kept {
                        bytes.resize(offset + kept, 0);
                    }
                    bytes[*offset..offset + kept].copy_from_slice(&data[..kept]);
                }
            }
        }
        SimDisk(Arc::new(Mutex::new(State {
            durable: bytes.clone(),
            current: bytes,
            ..State::default()
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        let operation = state.operations;
        state.operations += 1;
        let fails =
            state.fail_from.is_some_and(|from| operation >= from) || state.fail_only == Some(operation);
        if fails {
            return Err(io::Error::other("the simulated disk failed"));
        }
        Ok(state)
    }
}

/// SplitMix64: enough to choose subsets from a seed.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl StorageBackend for SimDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        state.reads += 1;
        let start = offset as usize;
        let bytes = state
            .current
            .get(start..start + out.len())
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.change()?;
        if state
            .capacity
            .is_some_and(|capacity| len as usize > capacity.max(state.current.len()))
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.current.resize(len as usize, 0);
        state.unsynced.push(Change::SetLen(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.change()?;
        let operation = state.operations - 1;
        if state.lose_syncs_from.is_some_and(|from| operation >= from) {
            return Ok(());
        }
        let State {
            durable,
            current,
            unsynced,
            ..
        } = &mut *state;
        for change in unsynced.drain(..) {
            match change {
                Change::SetLen(len) => durable.resize(len, 0),
                Change::Write { offset, data } => durable[offset..offset + data.len()].copy_from_slice(&data),
            }
        }
        debug_assert_eq!(durable.len(), current.len());
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.change()?;
        let offset = offset as usize;
        state
            .current
            .get_mut(offset..offset + data.len())
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?
            .copy_from_slice(data);
        state.unsynced.push(Change::Write {
            offset,
            data: data.to_vec(),
        });
        Ok(())
    }
}
