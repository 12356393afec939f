//! Keys and signature algorithms of certificates: which are checked here, and by what.
//!
//! ```text
//! RSA, 2048 to 8192 bits     PKCS#1 v1.5 and PSS (the salt as long as the hash, MGF1 with the same), SHA-256, SHA-384, SHA-512    ring
//! P-256                      SHA-256, SHA-384                                                                                     ring
//! P-384                      SHA-256, SHA-384                                                                                     ring
//! P-384                      SHA-512                                                                                              p384
//! P-521                      SHA-384, SHA-512                                                                                     p521
//! ```
//!
//! Authorities may have any of them; the keys of voters' cards are those that [`super::Scheme`] names.

use p384::ecdsa::signature::hazmat::PrehashVerifier as _;
use ring::signature::{self as by_ring, UnparsedPublicKey, VerificationAlgorithm};
use sha2::{Digest as _, Sha384, Sha512};
use x509_parser::oid_registry::Oid;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::RSAPublicKey;
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
/// sha256WithRSAEncryption and its neighbours; ecdsa-with-SHA256 and its neighbours.
const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
const RSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12];
const RSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13];
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
const ECDSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0, 34];
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0, 35];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
const SHA512: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3];
const MGF1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8];

/// A hash of SHA-2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn read(id: &Oid<'_>) -> Option<Self> {
        Some(match id.as_bytes() {
            SHA256 => Self::Sha256,
            SHA384 => Self::Sha384,
            SHA512 => Self::Sha512,
            _ => return None,
        })
    }

    const fn bytes(self) -> u32 {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// How a certificate or a list is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Algorithm {
    Rsa(Hash),
    RsaPss(Hash),
    Ecdsa(Hash),
}

impl Algorithm {
    /// Reads what X.509 says.
    ///
    /// # Errors
    /// What it is called, where it is none of those that are checked here.
    pub(super) fn read(named: &AlgorithmIdentifier<'_>) -> Result<Self, String> {
        Ok(match named.algorithm.as_bytes() {
            RSA_SHA256 => Self::Rsa(Hash::Sha256),
            RSA_SHA384 => Self::Rsa(Hash::Sha384),
            RSA_SHA512 => Self::Rsa(Hash::Sha512),
            ECDSA_SHA256 => Self::Ecdsa(Hash::Sha256),
            ECDSA_SHA384 => Self::Ecdsa(Hash::Sha384),
            ECDSA_SHA512 => Self::Ecdsa(Hash::Sha512),
            RSA_PSS => match pss(named) {
                Some(hash) => Self::RsaPss(hash),
                None => return Err(
                    "RSASSA-PSS with other parameters than one hash of SHA-2 throughout, and a salt as long"
                        .to_owned(),
                ),
            },
            _ => return Err(format!("algorithm {}", named.algorithm)),
        })
    }

    /// For people.
    pub(super) fn named(self) -> String {
        match self {
            Self::Rsa(hash) => format!("RSA with {hash:?}"),
            Self::RsaPss(hash) => format!("RSASSA-PSS with {hash:?}"),
            Self::Ecdsa(hash) => format!("ECDSA with {hash:?}"),
        }
    }
}

/// The hash of RSASSA-PSS where everything else follows from it.
fn pss(named: &AlgorithmIdentifier<'_>) -> Option<Hash> {
    let parameters = RsaSsaPssParams::try_from(named.parameters.as_ref()?).ok()?;
    let hash = Hash::read(parameters.hash_algorithm_oid())?;
    let mask = parameters.mask_gen_algorithm().ok()?;
    let fits = mask.mgf.as_bytes() == MGF1
        && Hash::read(&mask.hash) == Some(hash)
        && parameters.salt_length() == hash.bytes()
        && parameters.trailer_field() == 1;
    fits.then_some(hash)
}

/// A public key of a kind that is known here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Key {
    /// Modulus and exponent, DER; 2048 to 8192 bits.
    Rsa(Vec<u8>),
    /// The same for RSASSA-PSS only, and only with that hash where one is named.
    RsaPss(Vec<u8>, Option<Hash>),
    /// A point.
    P256(Vec<u8>),
    /// A point.
    P384(Vec<u8>),
    /// A point.
    P521(Vec<u8>),
}

/// Why a key cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BadKey {
    /// Too short.
    Weak,
    /// Of another kind, or malformed.
    Unknown,
}

/// What checks a signature.
enum Verifier {
    Ring(&'static dyn VerificationAlgorithm),
    P384Sha512,
    P521(Hash),
}

impl Key {
    pub(super) fn read(spki: &SubjectPublicKeyInfo<'_>) -> Result<Self, BadKey> {
        let data = spki.subject_public_key.data.to_vec();
        let rsa = |data: &[u8]| {
            let (_, rsa) = RSAPublicKey::from_der(data).map_err(|_| BadKey::Unknown)?;
            match rsa.key_size() {
                0..2048 => Err(BadKey::Weak),
                2048..=8192 => Ok(()),
                // What ring takes; larger ones cost a verifier more than they bring.
                _ => Err(BadKey::Unknown),
            }
        };
        match spki.algorithm.algorithm.as_bytes() {
            RSA => rsa(&data).map(|()| Self::Rsa(data)),
            RSA_PSS => {
                rsa(&data)?;
                let only = match &spki.algorithm.parameters {
                    None => None,
                    Some(_) => Some(pss(&spki.algorithm).ok_or(BadKey::Unknown)?),
                };
                Ok(Self::RsaPss(data, only))
            }
            EC => match curve(spki).as_deref() {
                Some(P256) => Ok(Self::P256(data)),
                Some(P384) => Ok(Self::P384(data)),
                Some(P521) => Ok(Self::P521(data)),
                _ => Err(BadKey::Unknown),
            },
            _ => Err(BadKey::Unknown),
        }
    }

    fn bytes(&self) -> &[u8] {
        let (Self::Rsa(bytes)
        | Self::RsaPss(bytes, _)
        | Self::P256(bytes)
        | Self::P384(bytes)
        | Self::P521(bytes)) = self;
        bytes
    }

    /// Whether `signature` over `message` is this key's, by this algorithm of `ring`.
    pub(super) fn verifies(
        &self,
        algorithm: &'static dyn VerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        UnparsedPublicKey::new(algorithm, self.bytes())
            .verify(message, signature)
            .is_ok()
    }

    fn verifier(&self, algorithm: Algorithm) -> Option<Verifier> {
        use Algorithm::{Ecdsa, Rsa, RsaPss};
        use Hash::{Sha256, Sha384, Sha512};
        let ring: &'static dyn VerificationAlgorithm = match (self, algorithm) {
            (Self::Rsa(_), Rsa(Sha256)) => &by_ring::RSA_PKCS1_2048_8192_SHA256,
            (Self::Rsa(_), Rsa(Sha384)) => &by_ring::RSA_PKCS1_2048_8192_SHA384,
            (Self::Rsa(_), Rsa(Sha512)) => &by_ring::RSA_PKCS1_2048_8192_SHA512,
            (Self::RsaPss(_, Some(only)), RsaPss(hash)) if *only != hash => return None,
            (Self::Rsa(_) | Self::RsaPss(..), RsaPss(Sha256)) => &by_ring::RSA_PSS_2048_8192_SHA256,
            (Self::Rsa(_) | Self::RsaPss(..), RsaPss(Sha384)) => &by_ring::RSA_PSS_2048_8192_SHA384,
            (Self::Rsa(_) | Self::RsaPss(..), RsaPss(Sha512)) => &by_ring::RSA_PSS_2048_8192_SHA512,
            (Self::P256(_), Ecdsa(Sha256)) => &by_ring::ECDSA_P256_SHA256_ASN1,
            (Self::P256(_), Ecdsa(Sha384)) => &by_ring::ECDSA_P256_SHA384_ASN1,
            (Self::P384(_), Ecdsa(Sha256)) => &by_ring::ECDSA_P384_SHA256_ASN1,
            (Self::P384(_), Ecdsa(Sha384)) => &by_ring::ECDSA_P384_SHA384_ASN1,
            (Self::P384(_), Ecdsa(Sha512)) => return Some(Verifier::P384Sha512),
            // SHA-256 is shorter than half of the curve's order.
            (Self::P521(_), Ecdsa(hash @ (Sha384 | Sha512))) => return Some(Verifier::P521(hash)),
            _ => return None,
        };
        Some(Verifier::Ring(ring))
    }

    /// Whether signatures of this kind by this key are checked here.
    pub(super) fn can_be_checked(&self, algorithm: Algorithm) -> bool {
        self.verifier(algorithm).is_some()
    }

    /// Whether `signature` over `message` is this key's, as X.509 writes it.
    pub(super) fn has_signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match self.verifier(algorithm) {
            None => false,
            Some(Verifier::Ring(algorithm)) => self.verifies(algorithm, message, signature),
            Some(Verifier::P384Sha512) => {
                let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(self.bytes());
                let signature = p384::ecdsa::Signature::from_der(signature);
                let (Ok(key), Ok(signature)) = (key, signature) else {
                    return false;
                };
                key.verify_prehash(&Sha512::digest(message), &signature).is_ok()
            }
            Some(Verifier::P521(hash)) => {
                let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(self.bytes());
                let signature = p521::ecdsa::Signature::from_der(signature);
                let (Ok(key), Ok(signature)) = (key, signature) else {
                    return false;
                };
                let digest = match hash {
                    Hash::Sha384 => Sha384::digest(message).to_vec(),
                    _ => Sha512::digest(message).to_vec(),
                };
                key.verify_prehash(&digest, &signature).is_ok()
            }
        }
    }
}

/// Content octets of the curve's identifier.
fn curve(spki: &SubjectPublicKeyInfo<'_>) -> Option<Vec<u8>> {
    let parameters = spki.algorithm.parameters.as_ref()?;
    Some(parameters.as_oid().ok()?.as_bytes().to_vec())
}

/// What kind of key it is, for people.
pub(super) fn key_named(spki: &SubjectPublicKeyInfo<'_>) -> String {
    let id = &spki.algorithm.algorithm;
    match id.as_bytes() {
        RSA | RSA_PSS => RSAPublicKey::from_der(&spki.subject_public_key.data).map_or_else(
            |_| "RSA that cannot be read".to_owned(),
            |(_, rsa)| format!("RSA of {} bits", rsa.key_size()),
        ),
        EC => match spki.algorithm.parameters.as_ref().map(|any| any.as_oid()) {
            Some(Ok(curve)) => format!("elliptic curve {curve}"),
            _ => "an elliptic curve without a name".to_owned(),
        },
        _ => format!("algorithm {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_for_one_hash_of_pss_has_signed_with_no_other() {
        use Hash::{Sha256, Sha384};
        let bound = Key::RsaPss(Vec::new(), Some(Sha384));
        let free = Key::RsaPss(Vec::new(), None);
        assert!(bound.can_be_checked(Algorithm::RsaPss(Sha384)));
        assert!(!bound.can_be_checked(Algorithm::RsaPss(Sha256)));
        assert!(free.can_be_checked(Algorithm::RsaPss(Sha256)));
        for key in [bound, free] {
            assert!(!key.can_be_checked(Algorithm::Rsa(Sha384)), "{key:?}");
        }
    }
}
