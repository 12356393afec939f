//! The file's header, its key, and its chunks.

use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use sha2::{Digest as _, Sha256};
use tally_proto::ids::{BoxId, ElectionId, Role, RoleExt as _, SessionNumber};
use tally_proto::layout::Writer;

use crate::store::vault::StorageKey;

/// Domain of header and key.
const TAG: &str = "tally/v1/session-log";
/// Version of the entries.
const VERSION: u8 = 1;
/// Longest header.
pub(super) const MAX_HEADER_BYTES: usize = 256;
/// Length of a chunk's authentication tag.
pub(super) const TAG_BYTES: usize = 16;
/// Marks the last chunk in its length.
pub(super) const LAST: u32 = 1 << 31;

/// Which session a log is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Whose log.
    pub(super) party: Role,
    /// The election.
    pub(super) election: ElectionId,
    /// The box.
    pub(super) of_box: BoxId,
    /// The session.
    pub(super) number: SessionNumber,
    /// Makes the key the file's own.
    pub(super) salt: [u8; 32],
}

impl Header {
    /// The fixed layout.
    pub(super) fn encode(&self) -> Vec<u8> {
        Writer::new(TAG)
            .u8(VERSION)
            .u32(self.party.number())
            .election(&self.election)
            .ballot_box(self.of_box)
            .u64(self.number.get())
            .fixed(&self.salt)
            .finish()
    }

    /// What [`Header::encode`] makes; `None` for anything else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(Writer::new(TAG).u8(VERSION).as_bytes())?;
        let (party, rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (election, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let (of_box, rest) = rest.split_first_chunk::<4>()?;
        let (number, salt) = rest.split_first_chunk::<8>()?;
        Some(Self {
            party: Role::from_number(u32::from_be_bytes(*party)).ok()?,
            election: ElectionId::new(std::str::from_utf8(election).ok()?).ok()?,
            of_box: BoxId(u32::from_be_bytes(*of_box)),
            number: SessionNumber(u64::from_be_bytes(*number)),
            salt: salt.try_into().ok()?,
        })
    }

    /// What seals and opens the chunks of the file with this header.
    pub(super) fn key(&self, storage: &StorageKey) -> ChunkKey {
        let header = Sha256::digest(self.encode());
        let key = storage.derive(&self.salt, &[TAG.as_bytes(), &header]);
        ChunkKey(ChaCha20Poly1305::new(&Key::from(*key)))
    }
}

/// Seals and opens chunks by their number.
pub(super) struct ChunkKey(ChaCha20Poly1305);

impl ChunkKey {
    /// Replaces the content of `chunk` by its ciphertext.
    ///
    /// # Panics
    /// None: the cipher takes any length below 256 GiB.
    pub(super) fn seal(&self, number: u64, last: bool, chunk: &mut Vec<u8>) {
        let tag = self
            .0
            .encrypt_inout_detached(&nonce(number, last), &[], chunk.as_mut_slice().into())
            .expect("ChaCha20Poly1305 fails on nothing shorter than 256 GiB");
        chunk.extend_from_slice(&tag);
    }

    /// Replaces the ciphertext in `chunk` by its content; `false` when it is not what was sealed under that number.
    pub(super) fn open(&self, number: u64, last: bool, chunk: &mut Vec<u8>) -> bool {
        let Some((content, tag)) = chunk.split_last_chunk::<TAG_BYTES>() else {
            return false;
        };
        let (length, tag) = (content.len(), Tag::from(*tag));
        chunk.truncate(length);
        self.0
            .decrypt_inout_detached(&nonce(number, last), &[], chunk.as_mut_slice().into(), &tag)
            .is_ok()
    }
}

fn nonce(number: u64, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    nonce[11] = u8::from(last);
    Nonce::from(nonce)
}
