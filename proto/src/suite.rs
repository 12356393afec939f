//! HPKE suites and keys (RFC 9180). Suites are named by their registered ids; those this version does not know are refused by name.

use std::fmt;

use hpke::aead::ChaCha20Poly1305;
use hpke::inout::InOutBuf;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem as _, OpModeS, Serializable};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::wire;

mod opening;

use opening::Agreement;

type PrivateKey = <X25519HkdfSha256 as hpke::Kem>::PrivateKey;

/// Bytes that sealing adds: encapsulated key and authentication tag.
pub const OVERHEAD_BYTES: usize = ENCAPPED_BYTES + TAG_BYTES;
const ENCAPPED_BYTES: usize = 32;
const TAG_BYTES: usize = 16;

/// Why a key or a ciphertext was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SuiteError {
    /// A suite this version does not know.
    #[error(
        "HPKE suite (KEM {kem} {}, KDF {kdf} {}, AEAD {aead} {}) is not supported; supported is (32, 1, 3): {}",
        kem_name(*kem), kdf_name(*kdf), aead_name(*aead), Suite::X25519ChaCha20Poly1305
    )]
    Unsupported {
        /// KEM id.
        kem: u32,
        /// KDF id.
        kdf: u32,
        /// AEAD id.
        aead: u32,
    },
    /// Not a key of the suite.
    #[error("not an HPKE key of this suite: 32 bytes are needed, and not a point of small order")]
    BadKey,
    /// Not sealed to this key, with this context and associated data; or altered.
    #[error("the ciphertext does not open with this key and associated data")]
    Unopenable,
    /// Shorter than what sealing adds.
    #[error("a ciphertext has at least {OVERHEAD_BYTES} bytes, this has {0}")]
    TooShort(usize),
}

/// A supported suite.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Suite {
    /// DHKEM(X25519, HKDF-SHA256) = 0x0020, HKDF-SHA256 = 0x0001, ChaCha20Poly1305 = 0x0003.
    X25519ChaCha20Poly1305,
}

impl Suite {
    /// By registered ids.
    ///
    /// # Errors
    /// [`SuiteError::Unsupported`].
    pub fn from_ids(kem: u32, kdf: u32, aead: u32) -> Result<Self, SuiteError> {
        match (kem, kdf, aead) {
            (0x20, 1, 3) => Ok(Self::X25519ChaCha20Poly1305),
            _ => Err(SuiteError::Unsupported { kem, kdf, aead }),
        }
    }

    /// The registered ids: KEM, KDF, AEAD.
    pub const fn ids(self) -> (u32, u32, u32) {
        match self {
            Self::X25519ChaCha20Poly1305 => (0x20, 1, 3),
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kem, kdf, aead) = self.ids();
        write!(f, "{}, {}, {}", kem_name(kem), kdf_name(kdf), aead_name(aead))
    }
}

fn kem_name(id: u32) -> &'static str {
    match id {
        0x10 => "DHKEM(P-256, HKDF-SHA256)",
        0x11 => "DHKEM(P-384, HKDF-SHA384)",
        0x12 => "DHKEM(P-521, HKDF-SHA512)",
        0x20 => "DHKEM(X25519, HKDF-SHA256)",
        0x21 => "DHKEM(X448, HKDF-SHA512)",
        0x647a => "X-Wing",
        _ => "of an unknown name",
    }
}

fn kdf_name(id: u32) -> &'static str {
    match id {
        1 => "HKDF-SHA256",
        2 => "HKDF-SHA384",
        3 => "HKDF-SHA512",
        _ => "of an unknown name",
    }
}

fn aead_name(id: u32) -> &'static str {
    match id {
        1 => "AES-128-GCM",
        2 => "AES-256-GCM",
        3 => "ChaCha20Poly1305",
        _ => "of an unknown name",
    }
}

/// A public key to seal to, with its suite.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingKey {
    suite: Suite,
    bytes: [u8; 32],
    key: <X25519HkdfSha256 as hpke::Kem>::PublicKey,
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SealingKey({}, {})",
            self.suite,
            data_encoding::HEXLOWER.encode(&self.bytes)
        )
    }
}

impl SealingKey {
    /// From its suite's ids and bytes.
    ///
    /// # Errors
    /// [`SuiteError::Unsupported`], [`SuiteError::BadKey`].
    pub fn new(suite: Suite, bytes: &[u8]) -> Result<Self, SuiteError> {
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| SuiteError::BadKey)?;
        let key = Deserializable::from_bytes(&bytes).map_err(|_| SuiteError::BadKey)?;
        let sealing = Self { suite, bytes, key };
        // X25519 of a small-order point is zero; HPKE refuses it when sealing, so it is refused here, where it can be named.
        let mut probe = Probe;
        sealing.seal(b"", b"", b"", &mut probe)?;
        Ok(sealing)
    }

    /// From the wire.
    ///
    /// # Errors
    /// [`SuiteError::Unsupported`], [`SuiteError::BadKey`].
    pub fn from_wire(wire: &wire::HpkeKey) -> Result<Self, SuiteError> {
        Self::new(
            Suite::from_ids(wire.kem_id, wire.kdf_id, wire.aead_id)?,
            &wire.public_key,
        )
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::HpkeKey {
        let (kem_id, kdf_id, aead_id) = self.suite.ids();
        wire::HpkeKey {
            kem_id,
            kdf_id,
            aead_id,
            public_key: self.bytes.to_vec(),
        }
    }

    /// The suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Seals `plaintext`: encapsulated key, then ciphertext with tag.
    ///
    /// # Errors
    /// [`SuiteError::BadKey`] for a point of small order.
    pub fn seal(
        &self,
        info: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, SuiteError> {
        let mut sealed = vec![0; ENCAPPED_BYTES + plaintext.len() + TAG_BYTES];
        let Some((encapped_out, rest)) = sealed.split_first_chunk_mut::<ENCAPPED_BYTES>() else {
            return Err(SuiteError::BadKey);
        };
        let (body, tag_out) = rest.split_at_mut(plaintext.len());
        body.copy_from_slice(plaintext);
        let (encapped, tag) = hpke::single_shot_seal_inout_detached_with_rng::<
            ChaCha20Poly1305,
            HkdfSha256,
            X25519HkdfSha256,
        >(&OpModeS::Base, &self.key, info, InOutBuf::from(body), aad, rng)
        .map_err(|_| SuiteError::BadKey)?;
        encapped_out.copy_from_slice(&encapped.to_bytes());
        tag_out.copy_from_slice(&tag.to_bytes());
        Ok(sealed)
    }
}

/// Fixed "randomness" for the probe of [`SealingKey::new`], whose ciphertext is thrown away.
struct Probe;

impl rand_core::TryRng for Probe {
    type Error = std::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(0x5a5a_5a5a)
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(0x5a5a_5a5a_5a5a_5a5a)
    }
    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
        dst.fill(0x5a);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Probe {}

/// The private key that opens what is sealed to a [`SealingKey`]. Zeroised on drop (by `x25519-dalek` and `graviola`), never printed.
pub struct OpeningKey {
    suite: Suite,
    key: PrivateKey,
    agreement: Agreement,
    public: [u8; 32],
}

impl fmt::Debug for OpeningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpeningKey({}, secret)", self.suite)
    }
}

impl OpeningKey {
    /// A fresh key of the default suite.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let (key, _) = X25519HkdfSha256::gen_keypair_with_rng(rng);
        Self::of(Suite::X25519ChaCha20Poly1305, key)
    }

    fn of(suite: Suite, key: PrivateKey) -> Self {
        Self {
            suite,
            agreement: Agreement::new(&secret_bytes(&key)),
            public: X25519HkdfSha256::sk_to_pk(&key).to_bytes().into(),
            key,
        }
    }

    /// From the 32 bytes of its secret file.
    ///
    /// # Errors
    /// [`SuiteError::BadKey`] for any other length.
    pub fn from_bytes(suite: Suite, bytes: &[u8]) -> Result<Self, SuiteError> {
        let key = PrivateKey::from_bytes(bytes).map_err(|_| SuiteError::BadKey)?;
        Ok(Self::of(suite, key))
    }

    /// The 32 bytes, for its secret file.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        secret_bytes(&self.key)
    }

    /// The public key.
    pub fn sealing_key(&self) -> SealingKey {
        let key = X25519HkdfSha256::sk_to_pk(&self.key);
        SealingKey {
            suite: self.suite,
            bytes: key.to_bytes().into(),
            key,
        }
    }

    /// Opens what [`SealingKey::seal`] made with the same `info` and `aad`.
    ///
    /// # Errors
    /// [`SuiteError::TooShort`], [`SuiteError::Unopenable`].
    pub fn open(&self, info: &[u8], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SuiteError> {
        let too_short = SuiteError::TooShort(sealed.len());
        let (encapped, rest) = sealed
            .split_first_chunk::<ENCAPPED_BYTES>()
            .ok_or(too_short.clone())?;
        let (body, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(too_short)?;
        let mut plaintext = Zeroizing::new(body.to_vec());
        let opens = opening::open(
            &self.agreement,
            &self.public,
            encapped,
            (info, aad),
            &mut plaintext,
            tag,
        );
        if !opens {
            return Err(SuiteError::Unopenable);
        }
        Ok(plaintext)
    }
}

fn secret_bytes(key: &PrivateKey) -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    let mut secret = key.to_bytes();
    bytes.copy_from_slice(&secret);
    zeroize::Zeroize::zeroize(secret.as_mut_slice());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    fn rng() -> rand_chacha::ChaCha20Rng {
        rand_chacha::ChaCha20Rng::seed_from_u64(7)
    }

    #[test]
    fn sealing_binds_key_info_aad_and_every_byte() {
        let mut rng = rng();
        let key = OpeningKey::generate(&mut rng);
        let sealed = key
            .sealing_key()
            .seal(b"info", b"aad", b"plain", &mut rng)
            .expect("sealed");
        assert_eq!(sealed.len(), 5 + OVERHEAD_BYTES);
        assert_eq!(
            key.open(b"info", b"aad", &sealed).expect("opens").as_slice(),
            b"plain"
        );
        assert_eq!(key.open(b"other", b"aad", &sealed), Err(SuiteError::Unopenable));
        assert_eq!(key.open(b"info", b"other", &sealed), Err(SuiteError::Unopenable));
        let other = OpeningKey::generate(&mut rng);
        assert_eq!(other.open(b"info", b"aad", &sealed), Err(SuiteError::Unopenable));
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert!(key.open(b"info", b"aad", &changed).is_err(), "byte {i}");
        }
        for length in 0..OVERHEAD_BYTES {
            assert_eq!(
                key.open(b"info", b"aad", &sealed[..length]),
                Err(SuiteError::TooShort(length))
            );
        }
    }

    /// What this crate opens by itself, the crate that seals opens as well, and to the same.
    #[test]
    fn opens_what_the_sealing_crate_opens() {
        use hpke::{OpModeR, single_shot_open};
        use rand_chacha::rand_core::Rng as _;
        let mut rng = rng();
        for length in [0, 1, 16, 63, 64, 65, 150, 1000] {
            let key = OpeningKey::generate(&mut rng);
            let mut plaintext = vec![0; length];
            rng.fill_bytes(&mut plaintext);
            let (info, aad) = (&plaintext[..length / 2], &plaintext[length / 3..]);
            let sealed = key
                .sealing_key()
                .seal(info, aad, &plaintext, &mut rng)
                .expect("sealed");
            let (encapped, body) = sealed.split_at(ENCAPPED_BYTES);
            let encapped = Deserializable::from_bytes(encapped).expect("a point");
            let theirs = single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
                &OpModeR::Base,
                &key.key,
                &encapped,
                info,
                body,
                aad,
            );
            assert_eq!(theirs.expect("opens"), plaintext);
            assert_eq!(key.open(info, aad, &sealed).expect("opens").as_slice(), plaintext);
        }
    }

    #[test]
    fn keys_survive_their_files_and_do_not_print() {
        let key = OpeningKey::generate(&mut rng());
        let read = OpeningKey::from_bytes(Suite::X25519ChaCha20Poly1305, &key.to_bytes()[..]).expect("key");
        assert_eq!(read.sealing_key(), key.sealing_key());
        assert_eq!(
            SealingKey::from_wire(&key.sealing_key().to_wire()),
            Ok(key.sealing_key())
        );
        assert!(!format!("{key:?}").contains(&data_encoding::HEXLOWER.encode(&key.to_bytes()[..4])));
    }

    #[test]
    fn unknown_suites_are_refused_by_name() {
        let error = Suite::from_ids(0x10, 1, 1).expect_err("not supported");
        let text = error.to_string();
        assert!(
            text.contains("DHKEM(P-256, HKDF-SHA256)") && text.contains("AES-128-GCM"),
            "{text}"
        );
        assert!(Suite::from_ids(99, 99, 99).is_err());
    }

    #[test]
    fn small_order_points_are_no_keys() {
        let suite = Suite::X25519ChaCha20Poly1305;
        assert_eq!(SealingKey::new(suite, &[0; 32]), Err(SuiteError::BadKey));
        let mut one = [0; 32];
        one[0] = 1;
        assert_eq!(SealingKey::new(suite, &one), Err(SuiteError::BadKey));
        assert_eq!(SealingKey::new(suite, &[9; 31]), Err(SuiteError::BadKey));
    }
}
