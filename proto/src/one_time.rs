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

use crate::ids::Hash32;
use crate::layout::tag;
use crate::shares::{NONCE_BYTES, Opening};
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
    pub fn open(&self, complaint: &Hash32, sealed: &[u8]) -> Result<Opening, OneTimeError> {
        let plaintext = self
            .0
            .open(INFO, complaint.as_bytes(), sealed)
            .map_err(|_| OneTimeError::DoesNotOpen)?;
        let (nonce, share) = plaintext
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(OneTimeError::DoesNotOpen)?;
        Ok(Opening::from_parts(
            Zeroizing::new(*nonce),
            Zeroizing::new(share.to_vec()),
        ))
    }

    /// Whether anything can be sealed to `public` at all. A mediator asks before it passes a complaint on, so that nobody can be called
    /// silent for not answering to a key that takes no answer.
    pub fn is_usable(public: &[u8]) -> bool {
        SealingKey::new(SUITE, public).is_ok()
    }
}

/// Seals an opening to the public key of the complaint with hash `complaint`.
///
/// # Errors
/// [`OneTimeError::Key`]: `public` is not a usable key.
pub fn seal_answer(
    public: &[u8],
    complaint: &Hash32,
    opening: &Opening,
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, OneTimeError> {
    let plaintext = Zeroizing::new([opening.nonce().as_slice(), opening.share()].concat());
    let seal = |key: SealingKey| key.seal(INFO, complaint.as_bytes(), &plaintext, rng);
    SealingKey::new(SUITE, public)
        .and_then(seal)
        .map_err(|_: SuiteError| OneTimeError::Key)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn opening() -> Opening {
        Opening::from_parts(Zeroizing::new([2; 32]), Zeroizing::new(b"share".to_vec()))
    }

    #[test]
    fn opens_with_its_own_key_and_complaint_only() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let key = OneTimeKey::generate(&mut rng);
        let complaint = Hash32::of(b"complaint");
        let sealed = seal_answer(&key.public(), &complaint, &opening(), &mut rng).expect("seals");
        let shown = OneTimeKey::from_bytes(&*key.reveal()).expect("a key");
        assert_eq!(shown.public(), key.public());
        let opened = shown.open(&complaint, &sealed).expect("opens");
        assert_eq!(
            (opened.nonce(), opened.share()),
            (opening().nonce(), opening().share())
        );
        let refused = |key: &OneTimeKey, complaint: Hash32| key.open(&complaint, &sealed).err();
        assert_eq!(
            refused(&key, Hash32::of(b"other")),
            Some(OneTimeError::DoesNotOpen)
        );
        let other = OneTimeKey::generate(&mut rng);
        assert_eq!(refused(&other, complaint), Some(OneTimeError::DoesNotOpen));
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(key.open(&complaint, &altered).is_err(), "byte {at}");
            assert!(key.open(&complaint, &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn refuses_keys_that_take_no_answer() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        for public in [vec![0; 32], vec![0; 31], Vec::new()] {
            assert!(!OneTimeKey::is_usable(&public));
            let refused = seal_answer(&public, &Hash32::of(b"complaint"), &opening(), &mut rng);
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
    }
}
