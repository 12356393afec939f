//! Shares at rest: ChaCha20Poly1305 under a key derived for each digest from the party's storage key.
//!
//! ```text
//! key_d      = HKDF-SHA256(storage key, info = "tally/v1/at-rest" || kind || party || d)
//! at rest    = ChaCha20Poly1305(key_d, nonce = 0, aad = d || party, plaintext)
//! ```
//!
//! One share alone is sealed under a key with `kind | 0x10` (the party's own) or `kind | 0x20` (the next one's) in place of `kind`.
//!
//! A digest fixes its plaintext: both shares and both nonces open commitments that the digest hashes. So a key is never used for two
//! plaintexts, the zero nonce is safe, and no randomness is needed in the writer.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::Kind;

/// Length of the storage key, bytes.
pub const KEY_BYTES: usize = 32;

/// One of the two shares that a party holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// share_j of P_j.
    Own,
    /// share_{j+1}.
    Next,
}

impl Half {
    /// The code in key derivations: differs from every [`Kind`]'s own.
    fn code(self, kind: Kind) -> u8 {
        kind.code()
            | match self {
                Half::Own => 0x10,
                Half::Next => 0x20,
            }
    }
}

/// The party's storage key. Erased on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct StorageKey([u8; KEY_BYTES]);

impl std::fmt::Debug for StorageKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StorageKey(32 bytes)")
    }
}

/// What goes wrong with shares at rest.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The row was altered, or sealed under another storage key.
    #[error(
        "the stored shares of a {kind} do not open: the row was altered or the storage key is not the one that sealed it"
    )]
    DoesNotOpen {
        /// What the row belongs to.
        kind: Kind,
    },
}

impl StorageKey {
    /// A storage key from its bytes.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        StorageKey(bytes)
    }

    /// Seals `plaintext`, the shares of the object named `digest` that `party` (1..3) holds.
    ///
    /// # Security
    /// `plaintext` must be a function of `digest` (it opens the digest's commitments): this is what makes the fixed nonce safe.
    ///
    /// # Panics
    /// None: the cipher takes any length below 256 GiB.
    pub fn seal(&self, kind: Kind, party: u8, digest: &[u8; 32], plaintext: &[u8]) -> Vec<u8> {
        let aad = aad(party, digest);
        self.cipher(kind, party, digest)
            .encrypt(
                &Nonce::default(),
                Payload {
                    msg: plaintext,
                    aad: &aad,
                },
            )
            .expect("ChaCha20Poly1305 fails on nothing shorter than 256 GiB")
    }

    /// Opens what [`StorageKey::seal`] made.
    ///
    /// # Errors
    /// [`VaultError::DoesNotOpen`]: altered, of another digest, kind or party, or under another key.
    pub fn open(
        &self,
        kind: Kind,
        party: u8,
        digest: &[u8; 32],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let aad = aad(party, digest);
        self.cipher(kind, party, digest)
            .decrypt(
                &Nonce::default(),
                Payload {
                    msg: sealed,
                    aad: &aad,
                },
            )
            .map(Zeroizing::new)
            .map_err(|_| VaultError::DoesNotOpen { kind })
    }

    /// Seals one share with its nonce, of something of which the other is not here: under a key of its own, as the two together are another
    /// plaintext under the digest's own key.
    ///
    /// # Security
    /// As [`StorageKey::seal`]: `plaintext` must open the digest's commitment to that share.
    pub fn seal_half(
        &self,
        kind: Kind,
        half: Half,
        party: u8,
        digest: &[u8; 32],
        plaintext: &[u8],
    ) -> Vec<u8> {
        let aad = aad(party, digest);
        self.cipher_of(half.code(kind), party, digest)
            .encrypt(
                &Nonce::default(),
                Payload {
                    msg: plaintext,
                    aad: &aad,
                },
            )
            .expect("ChaCha20Poly1305 fails on nothing shorter than 256 GiB")
    }

    /// Opens what [`StorageKey::seal_half`] made.
    ///
    /// # Errors
    /// As [`StorageKey::open`].
    pub fn open_half(
        &self,
        kind: Kind,
        half: Half,
        party: u8,
        digest: &[u8; 32],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let aad = aad(party, digest);
        self.cipher_of(half.code(kind), party, digest)
            .decrypt(
                &Nonce::default(),
                Payload {
                    msg: sealed,
                    aad: &aad,
                },
            )
            .map(Zeroizing::new)
            .map_err(|_| VaultError::DoesNotOpen { kind })
    }

    /// A key for another purpose than shares: HKDF-SHA256 with that salt; `info` must begin with the purpose's own domain.
    pub(crate) fn derive(&self, salt: &[u8; 32], info: &[&[u8]]) -> Zeroizing<[u8; KEY_BYTES]> {
        let mut key = Zeroizing::new([0u8; KEY_BYTES]);
        Hkdf::<Sha256>::new(Some(salt), &self.0)
            .expand_multi_info(info, &mut *key)
            .expect("32 bytes are within HKDF-SHA256's 8160");
        key
    }

    fn cipher(&self, kind: Kind, party: u8, digest: &[u8; 32]) -> ChaCha20Poly1305 {
        self.cipher_of(kind.code(), party, digest)
    }

    fn cipher_of(&self, code: u8, party: u8, digest: &[u8; 32]) -> ChaCha20Poly1305 {
        let mut key = Zeroizing::new([0u8; KEY_BYTES]);
        Hkdf::<Sha256>::new(None, &self.0)
            .expand_multi_info(&[b"tally/v1/at-rest", &[code, party], digest], &mut *key)
            .expect("32 bytes are within HKDF-SHA256's 8160");
        ChaCha20Poly1305::new(&Key::from(*key))
    }
}

fn aad(party: u8, digest: &[u8; 32]) -> [u8; 33] {
    let mut aad = [0; 33];
    aad[..32].copy_from_slice(digest);
    aad[32] = party;
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_what_was_sealed_for_the_same_name() {
        let vault = StorageKey::new([7; 32]);
        let sealed = vault.seal(Kind::Ballot, 1, &[1; 32], b"both shares");
        assert_eq!(
            vault
                .open(Kind::Ballot, 1, &[1; 32], &sealed)
                .expect("opens")
                .as_slice(),
            b"both shares"
        );
        let refused = Err(VaultError::DoesNotOpen { kind: Kind::Ballot });
        assert_eq!(
            vault.open(Kind::Ballot, 2, &[1; 32], &sealed).map(|_| ()),
            refused
        );
        assert_eq!(
            vault.open(Kind::Ballot, 1, &[2; 32], &sealed).map(|_| ()),
            refused
        );
        assert_eq!(
            StorageKey::new([8; 32])
                .open(Kind::Ballot, 1, &[1; 32], &sealed)
                .map(|_| ()),
            refused
        );
        assert!(vault.open(Kind::Record, 1, &[1; 32], &sealed).is_err());
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(
                vault.open(Kind::Ballot, 1, &[1; 32], &altered).map(|_| ()),
                refused,
                "byte {at}"
            );
        }
    }

    #[test]
    fn a_half_opens_as_that_half_only() {
        let vault = StorageKey::new([7; 32]);
        let (digest, share) = ([1; 32], b"nonce and share");
        let mut sealed = vec![vault.seal(Kind::Ballot, 1, &digest, share)];
        for kind in [Kind::Ballot, Kind::Record] {
            for half in [Half::Own, Half::Next] {
                let one = vault.seal_half(kind, half, 1, &digest, share);
                assert!(!sealed.contains(&one), "no two uses share a key");
                let opened = vault.open_half(kind, half, 1, &digest, &one).expect("opens");
                assert_eq!(opened.as_slice(), share);
                for other in &sealed {
                    assert!(vault.open_half(kind, half, 1, &digest, other).is_err());
                }
                assert!(vault.open(kind, 1, &digest, &one).is_err());
                sealed.push(one);
            }
        }
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(
            format!("{:?}", StorageKey::new([0xab; 32])),
            "StorageKey(32 bytes)"
        );
    }
}
