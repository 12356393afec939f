//! A file of records of one length, each about a voter: what draws were answered, and what draw codes cards stand for.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use tally_proto::ids::Hash32;

use super::Voter;

/// Hashes of `N` and the voter before them.
#[derive(Debug)]
pub(super) struct Records<const N: usize> {
    file: File,
    /// Bytes of whole records; what a failed write left behind them is written over.
    length: u64,
}

impl<const N: usize> Records<N> {
    /// Bytes of a record: box, index, hashes.
    pub(super) const BYTES: usize = 4 + 4 + 32 * N;

    /// Opens or begins the file and hands `each` what it holds, in order. A torn last record is cut off: its writing never returned. One process
    /// at a time has it open: two would write over each other's records.
    pub(super) fn open(path: &Path, each: impl FnMut((Voter, [Hash32; N]))) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another process of the coordinator has it open: stop that one first",
            ),
        })?;
        // A name is durable only with its directory.
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(directory)?.sync_all()?;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let length = (bytes.len() - bytes.len() % Self::BYTES) as u64;
        file.set_len(length)?;
        Self::read(&bytes).for_each(each);
        Ok(Self { file, length })
    }

    /// The whole records in the bytes of such a file.
    pub(super) fn read(bytes: &[u8]) -> impl Iterator<Item = (Voter, [Hash32; N])> + '_ {
        bytes.chunks_exact(Self::BYTES).map(|record| {
            let number = |at: usize| {
                let mut number = [0; 4];
                number.copy_from_slice(&record[at..at + 4]);
                u32::from_be_bytes(number)
            };
            let hashes = std::array::from_fn(|i| {
                let mut hash = [0; 32];
                hash.copy_from_slice(&record[8 + 32 * i..40 + 32 * i]);
                Hash32(hash)
            });
            ((number(0), number(4)), hashes)
        })
    }

    /// Writes one down; it is on disk on return.
    pub(super) fn append(&mut self, (of_box, index): Voter, hashes: [Hash32; N]) -> io::Result<()> {
        let mut record = [of_box.to_be_bytes(), index.to_be_bytes()].concat();
        hashes.iter().for_each(|hash| record.extend_from_slice(&hash.0));
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.write_all(&record)?;
        self.file.sync_data()?;
        self.length += record.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(of: u8) -> [Hash32; 2] {
        [Hash32([of; 32]), Hash32([of + 1; 32])]
    }

    #[test]
    fn what_a_failed_write_left_is_written_over_and_a_torn_end_is_cut() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("records");
        let all = |path: &Path| {
            let mut all = Vec::new();
            let records = Records::<2>::open(path, |record| all.push(record)).expect("opens");
            (records, all)
        };
        let mut due = Vec::new();
        for fragment in 0..Records::<2>::BYTES {
            let (mut records, found) = all(&path);
            assert_eq!(found, due);
            // A disk that is full takes a part of a record, and later there is room again.
            let rest = vec![0xee; fragment];
            records.file.seek(SeekFrom::End(0)).expect("at the end");
            records.file.write_all(&rest).expect("a part of a record");
            for more in 0..2 {
                let next = ((fragment as u32, more), hashes(fragment as u8));
                records.append(next.0, next.1).expect("written");
                due.push(next);
            }
        }
        let (open, _) = all(&path);
        let busy = Records::<2>::open(&path, drop).expect_err("open already");
        assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
        drop(open);
        let whole = std::fs::read(&path).expect("read");
        std::fs::write(&path, [&whole[..], &[1; 71]].concat()).expect("torn");
        assert_eq!(all(&path).1, due);
        assert_eq!(std::fs::read(&path).expect("read"), whole);
    }
}
