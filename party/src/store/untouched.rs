//! A file that stays as it is: what the engine writes while it repairs what a crash left goes to memory.
//!
//! An auditor opens the store of a party whose server was killed. The engine must rebuild its allocator before it reads anything, and does
//! so by writing. Here every written page stands in memory over the file's own, so the file is evidence before and after.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// Bytes that are kept together.
const PAGE: u64 = 4096;

/// The file under what was written since it was opened.
#[derive(Debug)]
pub(super) struct Untouched {
    file: FileBackend,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    /// The length that the engine believes in.
    len: u64,
    /// Bytes from here on are zeros unless written: the shortest that the file ever was cut to.
    cut: u64,
    /// Whole pages, by number.
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl Untouched {
    /// Opens the file at `path` for reading.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open(path: &Path) -> Result<Self, DatabaseError> {
        let file = FileBackend::new(File::open(path)?)?;
        let len = file.len()?;
        Ok(Self {
            file,
            written: Mutex::new(Written {
                len,
                cut: len,
                pages: BTreeMap::new(),
            }),
        })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page as the engine sees it.
    fn page(&self, written: &Written, number: u64) -> io::Result<Box<[u8]>> {
        if let Some(page) = written.pages.get(&number) {
            return Ok(page.clone());
        }
        let mut page = vec![0; PAGE as usize].into_boxed_slice();
        let from = number * PAGE;
        let held = written.cut.saturating_sub(from).min(PAGE) as usize;
        self.file.read(from, &mut page[..held])?;
        Ok(page)
    }
}

/// The pieces of `len` bytes at `offset`: page number, first byte in it, number of bytes.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let (mut at, end) = (offset, offset + len as u64);
    std::iter::from_fn(move || {
        let (number, first) = (at / PAGE, at % PAGE);
        let count = (PAGE - first).min(end - at);
        at += count;
        (count > 0).then_some((number, first as usize, count as usize))
    })
}

impl StorageBackend for Untouched {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.written().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let written = self.written();
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > written.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Most reads are of pages that nobody has written to.
        let last = (offset + out.len() as u64).div_ceil(PAGE);
        let beside = written.pages.range(offset / PAGE..last).next().is_none();
        if beside && offset + out.len() as u64 <= written.cut {
            drop(written);
            return self.file.read(offset, out);
        }
        let mut rest = out;
        for (number, first, count) in pieces(offset, rest.len()) {
            let (here, after) = rest.split_at_mut(count);
            here.copy_from_slice(&self.page(&written, number)?[first..first + count]);
            rest = after;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut written = self.written();
        if len < written.len {
            written.cut = written.cut.min(len);
            let mut beyond = written.pages.split_off(&(len / PAGE));
            // The page in which it ends keeps its beginning.
            if let Some(mut page) = beyond.remove(&(len / PAGE)) {
                page[(len % PAGE) as usize..].fill(0);
                written.pages.insert(len / PAGE, page);
            }
        }
        written.len = len;
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut written = self.written();
        let end = offset.checked_add(data.len() as u64);
        if end.is_none_or(|end| end > written.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = data;
        for (number, first, count) in pieces(offset, data.len()) {
            let (here, after) = rest.split_at(count);
            let mut page = self.page(&written, number)?;
            page[first..first + count].copy_from_slice(here);
            written.pages.insert(number, page);
            rest = after;
        }
        Ok(())
    }

    fn close(&self) -> Result<(), io::Error> {
        self.file.close()
    }

    // Nothing is written to the file, so a reader's lock is enough. It keeps a server from starting meanwhile, and a running server keeps
    // it from being taken.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    #[test]
    fn reads_give_what_was_written_and_the_file_keeps_its_bytes() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("file");
        let mut rng = StdRng::seed_from_u64(1);
        let original: Vec<u8> = (0..50_000).map(|_| rng.random()).collect();
        std::fs::write(&path, &original).expect("written");
        let untouched = Untouched::open(&path).expect("opens");
        // A plain vector does the same.
        let mut model = original.clone();
        for step in 0..3000 {
            let at = rng.random_range(0..=model.len());
            let count = rng.random_range(0..=(model.len() - at).min(20_000));
            match rng.random_range(0..10) {
                0 => {
                    let len = rng.random_range(0..60_000);
                    model.resize(len, 0);
                    untouched.set_len(len as u64).expect("resized");
                }
                1..4 => {
                    let data: Vec<u8> = (0..count).map(|_| rng.random()).collect();
                    model[at..at + count].copy_from_slice(&data);
                    untouched.write(at as u64, &data).expect("written");
                }
                _ => {
                    let mut out = vec![7; count];
                    untouched.read(at as u64, &mut out).expect("read");
                    assert!(out == model[at..at + count], "seed 1, step {step}");
                }
            }
            assert_eq!(untouched.len().expect("known"), model.len() as u64);
        }
        let (end, byte) = (model.len() as u64, [0; 1]);
        assert!(untouched.write(end, &byte).is_err() && untouched.read(end, &mut [0; 1]).is_err());
        assert!(std::fs::read(&path).expect("read") == original);
    }
}
