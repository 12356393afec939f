//! Reading a session's log, entry by entry, with one chunk in memory.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::LogError;
use super::entry::Entry;
use super::sealing::{ChunkKey, Header, LAST, MAX_HEADER_BYTES, TAG_BYTES};
use super::writer::MAX_CHUNK_BYTES;
use crate::store::vault::StorageKey;

/// The entries of one log, in order.
pub struct Reader {
    path: PathBuf,
    file: Box<dyn Read + Send>,
    header: Header,
    key: ChunkKey,
    /// Chunks opened so far.
    chunks: u64,
    content: Zeroizing<Vec<u8>>,
    at: usize,
    whole: bool,
    over: bool,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reader({}, chunk {})", self.path.display(), self.chunks)
    }
}

impl Reader {
    /// Opens the file and reads its header.
    pub(super) fn open(path: PathBuf, key: &StorageKey) -> Result<Self, LogError> {
        let file = File::open(&path).map_err(LogError::file(&path))?;
        Self::over(path, BufReader::with_capacity(256 << 10, file), key)
    }

    /// Reads the header off the bytes of a log; `path` is only for what goes wrong.
    ///
    /// # Errors
    /// [`LogError::File`], [`LogError::Other`].
    pub fn over(path: PathBuf, file: impl Read + Send + 'static, key: &StorageKey) -> Result<Self, LogError> {
        let fail = LogError::file(&path);
        let mut file: Box<dyn Read + Send> = Box::new(file);
        let mut length = [0; 4];
        file.read_exact(&mut length).map_err(&fail)?;
        let length = u32::from_le_bytes(length) as usize;
        let other = |what| LogError::Other {
            path: path.clone(),
            what,
        };
        if length > MAX_HEADER_BYTES {
            return Err(other("the header"));
        }
        let mut header = vec![0; length];
        file.read_exact(&mut header).map_err(&fail)?;
        let header = Header::decode(&header).ok_or_else(|| other("the header"))?;
        Ok(Self {
            key: header.key(key),
            header,
            path,
            file,
            chunks: 0,
            content: Zeroizing::default(),
            at: 0,
            whole: false,
            over: false,
        })
    }

    /// Which session it is of.
    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// Whether the last chunk has been read: the log has its end, and nothing follows it. Meaningful after the last entry.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The next entry; `None` at the end, or where the party that wrote it died.
    ///
    /// # Errors
    /// [`LogError::Altered`], [`LogError::Entry`], [`LogError::File`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>, LogError> {
        loop {
            let mut rest = self.content.get(self.at..).unwrap_or_default();
            let before = rest.len();
            let taken = Entry::take(&mut rest).map_err(|source| LogError::Entry {
                path: self.path.clone(),
                source,
            })?;
            self.at += before - rest.len();
            if taken.is_some() || !self.next_chunk()? {
                return Ok(taken);
            }
        }
    }

    /// Reads and opens the next chunk; `false` when there is none.
    fn next_chunk(&mut self) -> Result<bool, LogError> {
        if self.over {
            return Ok(false);
        }
        let fail = LogError::file(&self.path);
        let (path, chunk) = (self.path.clone(), self.chunks);
        let altered = || LogError::Altered {
            path: path.clone(),
            chunk,
        };
        let mut length = [0; 4];
        let (true, length) = (read_whole(&mut self.file, &mut length).map_err(&fail)?, length) else {
            self.over = true;
            return Ok(false);
        };
        let length = u32::from_le_bytes(length);
        let (last, length) = (length & LAST != 0, (length & !LAST) as usize);
        if length > MAX_CHUNK_BYTES + TAG_BYTES {
            return Err(altered());
        }
        self.content.resize(length, 0);
        if !read_whole(&mut self.file, &mut self.content).map_err(&fail)? {
            // Cut short by a crash in the middle of a write: what was before it stands.
            self.content.clear();
            self.over = true;
            return Ok(false);
        }
        if !self.key.open(self.chunks, last, &mut self.content) {
            return Err(altered());
        }
        self.chunks += 1;
        self.at = 0;
        if last {
            (self.whole, self.over) = (true, true);
            if read_whole(&mut self.file, &mut [0]).map_err(&fail)? {
                return Err(altered());
            }
        }
        Ok(true)
    }
}

/// Fills `buffer`; `false` when the file ends before.
fn read_whole(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
