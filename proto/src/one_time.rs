//! The one-time key of a complaint: HPKE (RFC 9180, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305) to a key that is made for
//! one digest and may be shown afterwards.
//!
//! ```text
//! sealed = enc || HPKE.Seal(pk, info = "tally/v1/sealed-answer", aad = hash of the complaint, nonce_j || share_j)
//! ```
//!
//! A private key fixes what an answer opens to, or that it does not open at all, so whoever is shown it sees exactly what the
//! complainant saw.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::layout::tag;
use crate::suite::{OpeningKey, SealingKey, Suite, SuiteError};

const INFO: &[u8] = tag::SEALED_ANSWER.as_bytes();
const SUITE: Suite = Suite::X25519ChaCha20Poly1305;

/// Why a one-time key or a sealed answer is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OneTimeError {
    /// The key is not one that anything can be sealed to.
    #[error("the one-time key of the complaint is not a usable X25519 key")]
    Key,
    /// The answer does not open under this key for this complaint.
    #[error("the answer does not open under the complaint's one-time key")]
    DoesNotOpen,
}

/// The private half of a one-time key. Erased on drop.
#[derive(Debug)]
pub struct OneTimeKey(OpeningKey);

impl OneTimeKey {
    /// A fresh key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(OpeningKey::generate(rng))
    }

    /// A key as shown to a mediator.
    ///
    /// # Errors
    /// [`OneTimeError::Key`]: not 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OneTimeError> {
        Ok(Self(
            OpeningKey::from_bytes(SUITE, bytes).map_err(|_| OneTimeError::Key)?,
        ))
    }

    /// The public half, for the complaint.
    pub fn public(&self) -> [u8; 32] {
        *self.0.sealing_key().as_bytes()
    }

    /// The private half, to be shown to the mediator when the answer was wrong.
    ///
    /// # Security
    /// Whoever sees it can open the answer. The complainant shows it only when the answer opens no commitment.
    pub fn reveal(&self) -> Zeroizing<[u8; 32]> {
        self.0.to_bytes()
    }

    /// Opens an answer to the complaint with hash `complaint`: the nonce and the packed share.
    ///
    /// # Errors
    /// [`OneTimeError::DoesNotOpen`]: not sealed to this key for this complaint, or shorter than a nonce.
    pub fn open(&self, complaint: &[u8; 32], sealed: &[u8]) -> Result<Opening, OneTimeError> {
        let plaintext = self
            .0
            .open(INFO, complaint, sealed)
            .map_err(|_| OneTimeError::DoesNotOpen)?;
        let (nonce, share) = plaintext
            .split_first_chunk::<32>()
            .ok_or(OneTimeError::DoesNotOpen)?;
        Ok(Opening {
            nonce: Zeroizing::new(*nonce),
            share: Zeroizing::new(share.to_vec()),
        })
    }
}

/// What opens one commitment. Erased on drop.
pub struct Opening {
    /// nonce_j.
    pub nonce: Zeroizing<[u8; 32]>,
    /// The packed share_j.
    pub share: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opening({} share bytes)", self.share.len())
    }
}

/// Seals an opening to the public key of the complaint with hash `complaint`.
///
/// # Errors
/// [`OneTimeError::Key`]: `public` is not a usable key. A mediator makes this check before it passes a complaint on, so that nobody
/// can be called silent for not answering to a key that takes no answer.
pub fn seal_answer(
    public: &[u8],
    complaint: &[u8; 32],
    nonce: &[u8; 32],
    share: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, OneTimeError> {
    let plaintext = Zeroizing::new([nonce.as_slice(), share].concat());
    let seal = |key: SealingKey| key.seal(INFO, complaint, &plaintext, rng);
    SealingKey::new(SUITE, public)
        .and_then(seal)
        .map_err(|_: SuiteError| OneTimeError::Key)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn opens_with_its_own_key_and_complaint_only() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let key = OneTimeKey::generate(&mut rng);
        let sealed = seal_answer(&key.public(), &[1; 32], &[2; 32], b"share", &mut rng).expect("seals");
        let shown = OneTimeKey::from_bytes(&*key.reveal()).expect("a key");
        assert_eq!(shown.public(), key.public());
        let opening = shown.open(&[1; 32], &sealed).expect("opens");
        assert_eq!(
            (*opening.nonce, opening.share.as_slice()),
            ([2; 32], b"share".as_slice())
        );
        assert_eq!(key.open(&[3; 32], &sealed).err(), Some(OneTimeError::DoesNotOpen));
        assert_eq!(
            OneTimeKey::generate(&mut rng).open(&[1; 32], &sealed).err(),
            Some(OneTimeError::DoesNotOpen)
        );
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(key.open(&[1; 32], &altered).is_err(), "byte {at}");
            assert!(key.open(&[1; 32], &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn refuses_keys_that_take_no_answer() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        for public in [vec![0; 32], vec![0; 31], Vec::new()] {
            let refused = seal_answer(&public, &[1; 32], &[2; 32], b"share", &mut rng);
            assert_eq!(refused.err(), Some(OneTimeError::Key));
        }
        assert_eq!(OneTimeKey::from_bytes(&[1; 31]).err(), Some(OneTimeError::Key));
    }

    #[test]
    fn debug_shows_no_secret() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let key = OneTimeKey::generate(&mut rng);
        assert_eq!(
            format!("{key:?}"),
            format!("OneTimeKey(OpeningKey({SUITE}, secret))")
        );
        let opening = Opening {
            nonce: Zeroizing::new([9; 32]),
            share: Zeroizing::new(vec![9; 5]),
        };
        assert_eq!(format!("{opening:?}"), "Opening(5 share bytes)");
    }
}
