//! Message buffers that go round: from the engine to the connection and back, without an allocation for each message.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Buffers kept at most; a tally has a few messages in flight for each neighbour.
const KEPT: usize = 32;

/// The spare buffers of one session.
#[derive(Clone, Default)]
pub(crate) struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

impl Pool {
    /// `bytes` in a buffer of its own.
    pub(crate) fn copy(&self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = self.spare().pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        buffer
    }

    /// `buffer` as shared bytes; it comes back here when the last of them is dropped.
    pub(crate) fn share(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Shared {
            buffer,
            pool: self.clone(),
        })
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Shared {
    buffer: Vec<u8>,
    pool: Pool,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let mut spare = self.pool.spare();
        if spare.len() < KEPT {
            spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_once_its_bytes_are_dropped() {
        let pool = Pool::default();
        let buffer = pool.copy(b"first message");
        let place = buffer.as_ptr();
        let bytes = pool.share(buffer);
        let clone = bytes.clone();
        drop(bytes);
        let meanwhile = pool.copy(b"x");
        assert_ne!(meanwhile.as_ptr(), place);
        assert_eq!(clone, Bytes::from_static(b"first message"));
        drop(clone);
        let again = pool.copy(b"second");
        assert_eq!((again.as_ptr(), again.as_slice()), (place, &b"second"[..]));
    }
}
