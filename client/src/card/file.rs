//! PKCS#12 files, for pilots: key and certificates under a password.

use std::path::Path;

use p12_keystore::{KeyStore, Pkcs12ImportPolicy};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, RsaEncoding, RsaKeyPair};
use tally_proto::card::Scheme;
use zeroize::Zeroizing;

use super::{CardFailure, read};

/// A key and its certificates from a PKCS#12 file. The key is erased on drop.
pub struct CardFile {
    key: Zeroizing<Vec<u8>>,
    certificates: Vec<Vec<u8>>,
}

impl std::fmt::Debug for CardFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CardFile({} certificates, secret)", self.certificates.len())
    }
}

impl CardFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`CardFailure::Unreadable`], [`CardFailure::WrongPassword`], [`CardFailure::NotAFile`].
    pub fn open(path: &Path, password: &str) -> Result<Self, CardFailure> {
        let bytes = read(path)?;
        let not = |detail: String| CardFailure::NotAFile {
            path: path.to_path_buf(),
            detail,
        };
        let store = KeyStore::from_pkcs12(&bytes, password, Pkcs12ImportPolicy::Relaxed);
        let store = store.map_err(|error| match error {
            // The file's own check is over the password: a wrong one and a damaged file look alike to it.
            p12_keystore::error::Error::MacError(_) => CardFailure::WrongPassword {
                path: path.to_path_buf(),
            },
            other => not(other.to_string()),
        })?;
        let (_, chain) = store
            .private_key_chain()
            .ok_or_else(|| not("it holds no key with a certificate".to_owned()))?;
        Ok(Self {
            key: Zeroizing::new(chain.key().as_der().to_vec()),
            certificates: chain.certs().iter().map(|cert| cert.as_der().to_vec()).collect(),
        })
    }

    pub(super) fn certificates(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let named = |der: &Vec<u8>| (Vec::new(), der.clone());
        self.certificates.iter().map(named).collect()
    }

    pub(super) fn sign(&self, scheme: Scheme, bytes: &[u8]) -> Result<Vec<u8>, CardFailure> {
        let rng = SystemRandom::new();
        let rsa = |padding: &'static dyn RsaEncoding| {
            let pair = RsaKeyPair::from_pkcs8(&self.key).map_err(|_| CardFailure::NoKey)?;
            let mut signature = vec![0; pair.public().modulus_len()];
            pair.sign(padding, &rng, bytes, &mut signature)
                .map_err(|_| CardFailure::NoKey)?;
            Ok(signature)
        };
        let ecdsa = |algorithm: &'static EcdsaSigningAlgorithm| {
            let pair =
                EcdsaKeyPair::from_pkcs8(algorithm, &self.key, &rng).map_err(|_| CardFailure::NoKey)?;
            let signature = pair.sign(&rng, bytes).map_err(|_| CardFailure::NoKey)?;
            Ok(signature.as_ref().to_vec())
        };
        match scheme {
            Scheme::RsaPkcs1Sha256 => rsa(&signature::RSA_PKCS1_SHA256),
            Scheme::RsaPssSha256 => rsa(&signature::RSA_PSS_SHA256),
            Scheme::EcdsaP256Sha256 => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            Scheme::EcdsaP384Sha384 => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
        }
    }
}
