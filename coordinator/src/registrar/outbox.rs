//! The outbox: what was sealed and has perhaps not been accepted by all three parties.
//!
//! It holds headers, authorisations and ciphertexts only, so a restarted registrar can hand over exactly the same records
//! again without holding a single credential. It is a sequence of batches, each framed as (length, SHA-256, content) and
//! synced after the batch's invitations; the content says how long the invitation file was then. A torn last batch is cut off,
//! and with it the invitations beyond: their records were never handed to anybody.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::files::{self, FileError};

/// The largest batch, encoded.
const MAX_BATCH_BYTES: u32 = 256 << 20;
const FRAME: usize = 4 + 32;

/// An open outbox.
#[derive(Debug)]
pub struct Outbox {
    file: File,
    path: PathBuf,
}

impl Outbox {
    /// Opens or begins the outbox and hands every intact batch to `take`, in order; a torn end is cut off.
    ///
    /// # Errors
    /// [`FileError`], and what `take` refuses.
    pub fn open<E: From<FileError>>(
        path: &Path,
        mut take: impl FnMut(Vec<u8>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(FileError::of(path, "open"))?;
        files::sync_parent(path)?;
        let mut good = 0;
        {
            let mut reader = io::BufReader::new(&mut file);
            while let Some(batch) = next(&mut reader).map_err(FileError::of(path, "read"))? {
                good += (FRAME + batch.len()) as u64;
                take(batch)?;
            }
        }
        file.set_len(good)
            .and_then(|()| file.seek(SeekFrom::Start(good)))
            .and_then(|_| file.sync_all())
            .map_err(FileError::of(path, "cut a torn end off"))?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
        })
    }

    /// Appends a batch durably.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn append(&mut self, batch: &[u8]) -> Result<(), FileError> {
        let length = u32::try_from(batch.len()).ok().filter(|l| *l <= MAX_BATCH_BYTES);
        let Some(length) = length else {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the batch is larger than 256 MiB");
            return Err(FileError {
                path: self.path.clone(),
                what: "append",
                source,
            });
        };
        let hash: [u8; 32] = Sha256::digest(batch).into();
        self.file
            .write_all(&length.to_be_bytes())
            .and_then(|()| self.file.write_all(&hash))
            .and_then(|()| self.file.write_all(batch))
            .and_then(|()| self.file.sync_data())
            .map_err(FileError::of(&self.path, "append"))
    }
}

/// The next intact batch; `None` at the end, torn or not.
fn next(reader: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut frame = [0; FRAME];
    if !filled(reader, &mut frame)? {
        return Ok(None);
    }
    let (length, hash) = frame.split_at(4);
    let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]);
    if length > MAX_BATCH_BYTES {
        return Ok(None);
    }
    let mut batch = vec![0; length as usize];
    if !filled(reader, &mut batch)? || Sha256::digest(&batch).as_slice() != hash {
        return Ok(None);
    }
    Ok(Some(batch))
}

/// Fills `buffer`; false when the file ends before.
fn filled(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(path: &Path) -> (Outbox, Vec<Vec<u8>>) {
        let mut found = Vec::new();
        let outbox = Outbox::open(path, |batch| {
            found.push(batch);
            Ok::<_, FileError>(())
        })
        .expect("opens");
        (outbox, found)
    }

    #[test]
    fn batches_come_back_and_every_torn_end_is_cut_off() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("outbox");
        let (mut outbox, found) = batches(&path);
        assert!(found.is_empty());
        outbox.append(b"first").expect("appended");
        outbox.append(b"").expect("appended");
        outbox.append(b"third").expect("appended");
        drop(outbox);
        let whole = std::fs::read(&path).expect("bytes");
        let two = whole.len() - FRAME - 5;
        for cut in two..whole.len() {
            std::fs::write(&path, &whole[..cut]).expect("torn");
            let (mut outbox, found) = batches(&path);
            assert_eq!(found, [b"first".to_vec(), vec![]], "cut at {cut}");
            outbox.append(b"again").expect("appended");
            assert_eq!(batches(&path).1, [b"first".to_vec(), vec![], b"again".to_vec()]);
        }
        for changed in two..whole.len() {
            let mut bytes = whole.clone();
            bytes[changed] ^= 1;
            std::fs::write(&path, &bytes).expect("changed");
            assert_eq!(batches(&path).1.len(), 2, "changed at {changed}");
        }
    }
}
