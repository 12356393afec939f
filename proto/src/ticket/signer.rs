//! The coordinator's secret key for one day.

use std::fmt;

use blind_rsa_signatures::{KeyPairSha384PSSRandomized, SecretKeySha384PSSRandomized};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{RSA_BYTES, TicketError, TicketKey};
use crate::ids::UnixSeconds;

/// Signs blinded messages. Its numbers are erased on drop; it is never printed.
pub struct TicketSigner {
    secret: SecretKeySha384PSSRandomized,
    modulus: [u8; RSA_BYTES],
}

impl fmt::Debug for TicketSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSigner(secret)")
    }
}

impl TicketSigner {
    /// A fresh key of 2048 bits.
    ///
    /// # Errors
    /// [`TicketError::Secret`]: the generator failed.
    pub fn generate(rng: &mut impl CryptoRng) -> Result<Self, TicketError> {
        let pair =
            KeyPairSha384PSSRandomized::generate(rng, 8 * RSA_BYTES).map_err(|_| TicketError::Secret)?;
        Self::of(pair.sk)
    }

    /// From [`TicketSigner::to_der`].
    ///
    /// # Errors
    /// [`TicketError::Secret`], [`TicketError::Length`] for a key of another size.
    pub fn from_der(der: &[u8]) -> Result<Self, TicketError> {
        Self::of(SecretKeySha384PSSRandomized::from_der(der).map_err(|_| TicketError::Secret)?)
    }

    fn of(secret: SecretKeySha384PSSRandomized) -> Result<Self, TicketError> {
        let key = TicketKey::new(UnixSeconds(0), &secret.components().n())?;
        Ok(Self {
            secret,
            modulus: key.modulus,
        })
    }

    /// PKCS#8.
    ///
    /// # Errors
    /// [`TicketError::Secret`].
    ///
    /// # Security
    /// The secret key itself.
    pub fn to_der(&self) -> Result<Zeroizing<Vec<u8>>, TicketError> {
        let der = self.secret.to_der().map_err(|_| TicketError::Secret)?;
        Ok(Zeroizing::new(der))
    }

    /// The public key, as that of a day.
    pub fn key_of(&self, day: UnixSeconds) -> TicketKey {
        let modulus = self.modulus;
        TicketKey { day, modulus }
    }

    /// Signs what a voter blinded. The same again has the same answer.
    ///
    /// # Errors
    /// [`TicketError::Length`], [`TicketError::Blinded`].
    pub fn sign(&self, blinded: &[u8]) -> Result<Vec<u8>, TicketError> {
        let blinded: [u8; RSA_BYTES] = super::exactly("a blinded message", blinded)?;
        // Zero has no blinding factor; it could only tell how this key answers it.
        if blinded == [0; RSA_BYTES] {
            return Err(TicketError::Blinded);
        }
        let signature = self
            .secret
            .blind_sign(blinded)
            .map_err(|_| TicketError::Blinded)?;
        Ok(signature.0)
    }
}
