//! Writing a session's log beside the tally.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tally_mpc::{ChannelError, Label, Neighbour, TallyParams};
use tally_proto::envelope::Envelope;
use tally_proto::ids::Role;
use zeroize::Zeroize as _;

use super::LogError;
use super::entry::{self, Fault, Way};
use super::sealing::{ChunkKey, Header, LAST};
use crate::session::opening::Contribution;

/// A chunk is handed over once it is this long.
pub(super) const CHUNK_BYTES: usize = 1 << 20;
/// The longest chunk: one entry more than a full one.
pub(super) const MAX_CHUNK_BYTES: usize = CHUNK_BYTES + tally_mpc::MAX_MESSAGE_BYTES + (64 << 10);
/// Chunks that may wait for the writer; then the tally waits.
pub(super) const QUEUED: usize = 64;

/// Writes the log of one session. Clones write to the same log.
#[derive(Clone)]
pub struct Recorder(Arc<Mutex<State>>);

struct State {
    path: PathBuf,
    pending: Vec<u8>,
    /// `None` once the log has ended or failed.
    chunks: Option<SyncSender<Chunk>>,
    spare: Receiver<Vec<u8>>,
    thread: Option<JoinHandle<Result<(), LogError>>>,
    failed: Option<LogError>,
}

struct Chunk {
    content: Vec<u8>,
    last: bool,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recorder({})", self.state().path.display())
    }
}

impl Recorder {
    /// Makes the file with its header, and the thread that writes it.
    pub(super) fn create(path: PathBuf, header: &Header, key: ChunkKey) -> Result<Self, LogError> {
        let file = create(&path, &header.encode()).map_err(LogError::file(&path))?;
        let (chunks, queue) = sync_channel(QUEUED);
        let (give, spare) = sync_channel(QUEUED);
        let at = path.clone();
        let thread = std::thread::Builder::new()
            .name("session-log".to_owned())
            .spawn(move || write(file, &key, &queue, &give).map_err(LogError::file(&at)))
            .map_err(LogError::file(&path))?;
        Ok(Self(Arc::new(Mutex::new(State {
            path,
            pending: Vec::with_capacity(MAX_CHUNK_BYTES),
            chunks: Some(chunks),
            spare,
            thread: Some(thread),
            failed: None,
        }))))
    }

    /// The Starts and this party's contributions, before the first frame.
    ///
    /// # Errors
    /// The log cannot be written; then, and from all that follow, the session must end.
    pub(crate) fn starts(&self, starts: &[Envelope; 3]) -> Result<(), LogError> {
        self.append(|out| entry::put_starts(out, starts))
    }

    /// A contribution, one's own or a neighbour's.
    ///
    /// # Errors
    /// As for [`Recorder::starts`].
    pub(crate) fn contribution(&self, from: Role, to: Role, secret: &Contribution) -> Result<(), LogError> {
        self.append(|out| entry::put_contribution(out, from, to, secret))
    }

    /// The input and the parameters.
    ///
    /// # Errors
    /// As for [`Recorder::starts`].
    pub(crate) fn input(&self, fingerprint: &[u8; 32], params: &TallyParams) -> Result<(), LogError> {
        self.append(|out| entry::put_input(out, fingerprint, params))
    }

    /// A message that the engine took.
    ///
    /// # Errors
    /// As for [`Recorder::starts`].
    pub(super) fn received(&self, from: Neighbour, label: Label, message: &[u8]) -> Result<(), LogError> {
        self.append(|out| entry::put_received(out, from, label, message))
    }

    /// A message that could not be sent or did not arrive.
    ///
    /// # Errors
    /// As for [`Recorder::starts`].
    pub(super) fn failed(
        &self,
        way: Way,
        with: Neighbour,
        label: Label,
        error: &ChannelError,
    ) -> Result<(), LogError> {
        self.append(|out| entry::put_failed(out, way, with, label, &Fault::of(error)))
    }

    /// A statement that the party signed. What the log holds so far goes to the file.
    ///
    /// # Errors
    /// As for [`Recorder::starts`].
    pub(super) fn stated(&self, statement: &[u8], signature: &[u8; 64]) -> Result<(), LogError> {
        self.append(|out| entry::put_stated(out, statement, signature))?;
        self.state().hand_over(false)
    }

    /// Any entry, as a party that forges its own log would write it.
    ///
    /// # Panics
    /// The disk fails.
    #[cfg(any(test, feature = "fixture"))]
    pub fn enter(&self, entry: &super::Entry) {
        self.append(|out| entry.encode(out)).expect("the disk works");
    }

    /// The last chunk, without an entry that ends the log.
    ///
    /// # Panics
    /// The disk fails.
    #[cfg(any(test, feature = "fixture"))]
    pub fn seal(&self) {
        self.state().hand_over(true).expect("the disk works");
        self.finish().expect("the disk works");
    }

    /// The end: with outputs, or with an encoded signed Abort. The last chunk is on its way; [`Recorder::finish`] waits for it.
    pub(crate) fn end(&self, abort: Option<&[u8]>) {
        // What fails here is what `finish` returns.
        let _ = self.append(|out| entry::put_ended(out, abort));
        let mut state = self.state();
        let _ = state.hand_over(true);
        state.chunks = None;
    }

    /// Waits until the log is on disk. Blocks.
    ///
    /// # Errors
    /// It could not be written as a whole.
    pub(crate) fn finish(&self) -> Result<(), LogError> {
        let (thread, path) = {
            let mut state = self.state();
            if let Some(error) = &state.failed {
                return Err(error.clone());
            }
            state.chunks = None;
            (state.thread.take(), state.path.clone())
        };
        match thread.map(JoinHandle::join) {
            Some(Ok(written)) => written,
            Some(Err(_)) => Err(LogError::Thread { path }),
            None => Ok(()),
        }
    }

    fn append(&self, put: impl FnOnce(&mut Vec<u8>)) -> Result<(), LogError> {
        let mut state = self.state();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        put(&mut state.pending);
        if state.pending.len() >= CHUNK_BYTES {
            state.hand_over(false)?;
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Hands what is pending to the writer.
    fn hand_over(&mut self, last: bool) -> Result<(), LogError> {
        if self.pending.is_empty() && !last {
            return Ok(());
        }
        let mut next = self
            .spare
            .try_recv()
            .unwrap_or_else(|_| Vec::with_capacity(MAX_CHUNK_BYTES));
        next.clear();
        let content = std::mem::replace(&mut self.pending, next);
        let sent = match &self.chunks {
            Some(chunks) => chunks.send(Chunk { content, last }).is_ok(),
            None => false,
        };
        if sent { Ok(()) } else { Err(self.fail()) }
    }

    /// Why the writer is gone.
    fn fail(&mut self) -> LogError {
        self.chunks = None;
        let path = || self.path.clone();
        let error = match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => error,
            // It ends without an error only when it is told to.
            Some(Ok(Ok(())) | Err(_)) | None => LogError::Thread { path: path() },
        };
        self.failed.get_or_insert(error).clone()
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // A session that ends by a panic leaves what it has.
        if self.chunks.is_some() && !self.pending.is_empty() {
            let _ = self.hand_over(false);
        }
        self.pending.zeroize();
    }
}

fn create(path: &Path, header: &[u8]) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(&(header.len() as u32).to_le_bytes())?;
    file.write_all(header)?;
    // Else a crash could take the file away whose content was synced.
    #[cfg(unix)]
    if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        File::open(directory)?.sync_all()?;
    }
    Ok(file)
}

/// The writer's thread: seals and writes until the last chunk, then syncs the file.
fn write(
    mut file: File,
    key: &ChunkKey,
    chunks: &Receiver<Chunk>,
    spare: &SyncSender<Vec<u8>>,
) -> io::Result<()> {
    let mut number = 0;
    while let Ok(Chunk { mut content, last }) = chunks.recv() {
        key.seal(number, last, &mut content);
        number += 1;
        let length = content.len() as u32 | if last { LAST } else { 0 };
        file.write_all(&length.to_le_bytes())?;
        file.write_all(&content)?;
        // The other end may be gone; then nobody needs the buffer.
        let _ = spare.try_send(content);
    }
    file.sync_all()
}
