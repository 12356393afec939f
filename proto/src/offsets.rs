//! Offsets of enrolled credentials: why the public commitments of a card record prove to nobody which credential is the true one.
//!
//! ```text
//! K_j          32 random bytes, one for each register and j: P_j draws it, P_{j-1} and P_j hold it
//! C_j          = SHA-256(tag, register, j, nonce_j, K_j)                                in the manifest, which both countersign
//! s_j          = first 8 bytes, little endian, of HKDF-SHA256(K_j, info = (tag, j, digest of the record))
//! credential_v = r_v ^ s_1 ^ s_2 ^ s_3            r_v: what the voter's device drew and c_1, c_2, c_3 of the record commit to
//! (p_i, t_i)   = HKDF-SHA256(nonce_i | nonce_{i+1}, info = (tag, i, digest of the record)), 32 bytes each
//! asking P_i   shows p_i and the three receipts of the record
//! P_i tells    ChaCha20Poly1305(t_i, nonce = 0, aad = digest, s_i | s_{i+1})            once, unsigned
//! ```
//!
//! The device knows r_v and could open its commitments to a coercer, but has erased the nonces; and even who kept them has nothing that
//! ties s_1 ^ s_2 ^ s_3 to the record but their own word: the telling bears no signature, and P_i knows two of the three offsets only.
//! Both holders of K_j tell s_j; where they differ one of them lies, the device names the pair and enrols anew.
//!
//! p_i shows that the asker drew the record: only the device and P_i know both nonces (each neighbour of P_i knows one). So nobody else can
//! use up the one telling. What is told is a function of the digest, so the key t_i never encrypts two plaintexts and its nonce may be
//! fixed; it keeps the offsets from whoever ends TLS before P_i.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::ids::{Digest, Hash32, RegisterId, Role, RoleExt as _};
use crate::invitation::Credential;
use crate::layout::{Writer, tag};
use crate::shares::NONCE_BYTES;

/// Size of K_j with the nonce of its commitment, as parties exchange and store it.
pub const KEY_BYTES: usize = 64;
/// Size of what one party tells, sealed.
pub const TOLD_BYTES: usize = 2 * 8 + 16;
/// Size of what shows that the asker drew the record.
pub const PROOF_BYTES: usize = 32;

/// Why offsets are of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OffsetError {
    /// Not a key with its nonce.
    #[error("a key of offsets with its nonce has {KEY_BYTES} bytes, this has {0}")]
    KeyLength(usize),
    /// Altered, or told for another record.
    #[error("what party {0} told does not open: it is not about this record, or was altered on its way")]
    DoesNotOpen(Role),
    /// The two holders of a key tell different offsets.
    #[error("parties {0} and {1} told different offsets: one of them is wrong")]
    Differ(Role, Role),
}

impl OffsetError {
    /// One of whom is wrong.
    pub fn suspects(&self) -> Vec<Role> {
        match self {
            Self::KeyLength(_) => Vec::new(),
            Self::DoesNotOpen(party) => vec![*party],
            Self::Differ(one, other) => vec![*one, *other],
        }
    }
}

/// K_j with the nonce of its commitment. Erased on drop, never printed.
pub struct OffsetKey {
    nonce: Zeroizing<[u8; 32]>,
    key: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for OffsetKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OffsetKey(secret)")
    }
}

impl OffsetKey {
    /// A fresh one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut fresh = || {
            let mut bytes = Zeroizing::new([0; 32]);
            rng.fill_bytes(bytes.as_mut());
            bytes
        };
        Self {
            nonce: fresh(),
            key: fresh(),
        }
    }

    /// From its 64 bytes: nonce_j, K_j.
    ///
    /// # Errors
    /// [`OffsetError::KeyLength`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OffsetError> {
        let whole: &[u8; KEY_BYTES] = bytes
            .try_into()
            .map_err(|_| OffsetError::KeyLength(bytes.len()))?;
        let (mut nonce, mut key) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        nonce.copy_from_slice(&whole[..32]);
        key.copy_from_slice(&whole[32..]);
        Ok(Self { nonce, key })
    }

    /// nonce_j, K_j.
    ///
    /// # Security
    /// The secret itself: for the other holder and for the store, sealed.
    pub fn to_bytes(&self) -> Zeroizing<[u8; KEY_BYTES]> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        bytes[..32].copy_from_slice(self.nonce.as_ref());
        bytes[32..].copy_from_slice(self.key.as_ref());
        bytes
    }

    /// C_j.
    pub fn commitment(&self, register: &RegisterId, j: Role) -> Hash32 {
        let layout = Writer::new(tag::OFFSET_KEY)
            .text(register.as_str())
            .u8(j.index())
            .fixed(&self.nonce)
            .fixed(&self.key);
        let hash = layout.sha256();
        drop(Zeroizing::new(layout.finish()));
        hash
    }

    /// s_j of the record.
    pub fn offset(&self, j: Role, record: &Digest) -> Offset {
        let info = Writer::new(tag::OFFSET).u8(j.index()).fixed(&record.0).finish();
        let mut bytes = Zeroizing::new([0; 8]);
        Hkdf::<Sha256>::new(None, self.key.as_ref())
            .expand(&info, bytes.as_mut())
            .expect("8 bytes are within HKDF-SHA256's 8160");
        Offset(Zeroizing::new(u64::from_le_bytes(*bytes)))
    }
}

/// s_j of one record. Erased on drop, never printed.
pub struct Offset(Zeroizing<u64>);

impl std::fmt::Debug for Offset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Offset(secret)")
    }
}

impl Offset {
    /// The number, to be added to a share.
    ///
    /// # Security
    /// The secret itself: do not store, log or compare it.
    pub fn expose(&self) -> u64 {
        *self.0
    }

    fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

/// What the device and P_i share of one record: how the device asks and P_i tells. Erased on drop.
pub struct Telling {
    party: Role,
    record: Digest,
    proof: Zeroizing<[u8; PROOF_BYTES]>,
    key: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Telling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Telling(party {}, secret)", self.party)
    }
}

impl Telling {
    /// Of `party` and the record, whose commitments c_i and c_{i+1} are opened with `own` and `next`.
    pub fn new(party: Role, record: &Digest, own: &[u8; NONCE_BYTES], next: &[u8; NONCE_BYTES]) -> Self {
        let mut nonces = Zeroizing::new([0; 2 * NONCE_BYTES]);
        nonces[..NONCE_BYTES].copy_from_slice(own);
        nonces[NONCE_BYTES..].copy_from_slice(next);
        let info = Writer::new(tag::TELLING)
            .u8(party.index())
            .fixed(&record.0)
            .finish();
        let mut both = Zeroizing::new([0; PROOF_BYTES + 32]);
        Hkdf::<Sha256>::new(None, nonces.as_ref())
            .expand(&info, both.as_mut())
            .expect("64 bytes are within HKDF-SHA256's 8160");
        let (mut proof, mut key) = (Zeroizing::new([0; PROOF_BYTES]), Zeroizing::new([0; 32]));
        proof.copy_from_slice(&both[..PROOF_BYTES]);
        key.copy_from_slice(&both[PROOF_BYTES..]);
        Self {
            party,
            record: *record,
            proof,
            key,
        }
    }

    /// p_i.
    pub fn proof(&self) -> &[u8; PROOF_BYTES] {
        &self.proof
    }

    /// Whether `shown` is p_i.
    pub fn is_shown_by(&self, shown: &[u8]) -> bool {
        self.proof.as_slice().ct_eq(shown).into()
    }

    /// s_i and s_{i+1} for the device.
    pub fn seal(&self, own: &Offset, next: &Offset) -> Vec<u8> {
        let mut plain = Zeroizing::new([0; 16]);
        plain[..8].copy_from_slice(&own.0.to_le_bytes());
        plain[8..].copy_from_slice(&next.0.to_le_bytes());
        let payload = Payload {
            msg: plain.as_ref(),
            aad: &self.record.0,
        };
        ChaCha20Poly1305::new(&Key::from(*self.key))
            .encrypt(&Nonce::default(), payload)
            .expect("ChaCha20Poly1305 fails on nothing shorter than 256 GiB")
    }

    /// What P_i told.
    ///
    /// # Errors
    /// [`OffsetError::DoesNotOpen`].
    pub fn open(&self, told: &[u8]) -> Result<Told, OffsetError> {
        let refused = OffsetError::DoesNotOpen(self.party);
        let payload = Payload {
            msg: told,
            aad: &self.record.0,
        };
        let plain = ChaCha20Poly1305::new(&Key::from(*self.key))
            .decrypt(&Nonce::default(), payload)
            .map(Zeroizing::new)
            .map_err(|_| refused)?;
        let offset = |bytes: &[u8]| {
            let mut number = Zeroizing::new([0; 8]);
            number.copy_from_slice(bytes);
            Offset(Zeroizing::new(u64::from_le_bytes(*number)))
        };
        if plain.len() != 16 {
            return Err(refused);
        }
        Ok(Told {
            own: offset(&plain[..8]),
            next: offset(&plain[8..]),
        })
    }
}

/// What one party P_i told: s_i and s_{i+1}.
#[derive(Debug)]
pub struct Told {
    own: Offset,
    next: Offset,
}

/// credential_v from r_v and what P_1, P_2, P_3 told, in order.
///
/// # Errors
/// [`OffsetError::Differ`] names the first pair that told different copies of an offset: the record is of no use to its voter, who enrols
/// anew with a higher serial.
pub fn credential(drawn: &Credential, told: &[Told; 3]) -> Result<Credential, OffsetError> {
    let mut value = Zeroizing::new(drawn.expose());
    for j in Role::ALL {
        // P_j tells s_j as its own, P_{j-1} as its next.
        let (own, copy) = (&told[j.slot()].own, &told[j.prev().slot()].next);
        if !own.is(copy) {
            return Err(OffsetError::Differ(j.prev(), j));
        }
        *value ^= own.expose();
    }
    let credential = Credential::new(*value);
    value.zeroize();
    Ok(credential)
}

#[cfg(test)]
mod tests;
