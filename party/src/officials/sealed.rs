//! The sealed key file and the recovery kit: secrets under the unlock key, beside what is public of the ceremony.
//!
//! ```text
//! header = tag "tally/v1/sealed-keys" || version (1) || use (1) || party (1) || officials (1) || threshold (1) || ceremony (4) || salt (32)
//!          || commitment to the key (32) || officials x commitment to a share (32)
//! file   = header || entries (1) || entries x (label (1) || length (4, big endian) || ciphertext)
//! key_l  = HKDF-SHA256(salt, unlock key, info = "tally/v1/sealed-keys/entry" || SHA-256(header) || label)
//! ciphertext = ChaCha20Poly1305(key_l, nonce = 0, aad = label, secret)
//! ```
//!
//! The salt is fresh for every writing of a file, so a key never seals two secrets and the zero nonce is safe. The header is hashed into
//! every key: nothing in it can be changed, and no entry moved to another label, file, use, party or ceremony, without the opening failing.
//! Labels rise, so a file has one form only.

use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use rand::CryptoRng;
use sha2::{Digest as _, Sha256};
use tally_proto::ids::Role;
use tally_proto::layout::Writer;
use zeroize::Zeroizing;

use super::share::{CeremonyId, Terms};
use super::split::{Public, UnlockKey};

const TAG: &str = "tally/v1/sealed-keys";
const ENTRY_TAG: &[u8] = b"tally/v1/sealed-keys/entry";
const VERSION: u8 = 1;
/// Largest file read, bytes: a kit is below 32 KiB.
pub const MAX_FILE_BYTES: u64 = 256 << 10;
/// Length of an authentication tag.
const MAC_BYTES: usize = 16;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The keys that the server runs with.
    Keys,
    /// All that a replacement machine needs.
    Kit,
}

impl Use {
    fn code(self) -> u8 {
        match self {
            Use::Keys => 1,
            Use::Kit => 2,
        }
    }
}

macro_rules! labels {
    ($($name:ident $code:literal $what:literal;)*) => {
        /// What an entry holds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Label {
            $(#[doc = $what] $name,)*
        }

        impl Label {
            fn code(self) -> u8 {
                match self { $(Label::$name => $code,)* }
            }

            fn from_code(code: u8) -> Option<Label> {
                match code { $($code => Some(Label::$name),)* _ => None }
            }

            /// In words.
            pub fn what(self) -> &'static str {
                match self { $(Label::$name => $what,)* }
            }
        }
    };
}

labels! {
    Signing 1 "the signing key";
    Hpke 2 "the HPKE key";
    Storage 3 "the storage key";
    SealedKeys 4 "the sealed key file";
    AuthorityKey 5 "the certificate authority's key";
    Authority 6 "the certificate authority's certificate";
    PartyKey 7 "the server's TLS key";
    Party 8 "the server's certificate";
    OperatorKey 9 "the operator's TLS key";
    Operator 10 "the operator's certificate";
    Identity 11 "the identity file";
    Config 12 "the configuration";
    FrontKey 13 "the locked server's TLS key";
    Front 14 "the locked server's certificate";
}

/// Why a sealed file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is larger than any.
    #[error("{} has {bytes} bytes; no sealed key file or kit has more than {MAX_FILE_BYTES}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Its bytes are not those of a sealed file.
    #[error("not a sealed key file or recovery kit, or cut short or altered, at its {0}")]
    Malformed(&'static str),
    /// It is the other kind.
    #[error("this is a {}; a {} is needed", kind(*found), kind(*expected))]
    OtherUse {
        /// What it is.
        found: Use,
        /// What is needed.
        expected: Use,
    },
    /// The key is not the file's.
    #[error("the key that the shares make is not this file's")]
    WrongKey,
    /// An entry does not open though the key is right.
    #[error("{what} does not open though the key is right: the file was altered; take it from a copy")]
    Altered {
        /// The entry.
        what: &'static str,
    },
    /// An entry is not there.
    #[error("{what} is not in the file")]
    Missing {
        /// The entry.
        what: &'static str,
    },
}

fn kind(of: Use) -> &'static str {
    match of {
        Use::Keys => "sealed key file",
        Use::Kit => "recovery kit",
    }
}

/// A sealed file as read; nothing in it is open.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    purpose: Use,
    public: Public,
    salt: [u8; 32],
    entries: Vec<(Label, Vec<u8>)>,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Public {
            party,
            ceremony,
            terms,
            ..
        } = &self.public;
        write!(
            f,
            "Sealed({:?} of {party}, ceremony {ceremony}, {terms}, {} entries)",
            self.purpose,
            self.entries.len()
        )
    }
}

impl Sealed {
    /// Seals `secrets`, each under its label, for whoever recombines `key`.
    ///
    /// # Panics
    /// None: the cipher takes any length below 256 GiB.
    pub fn seal(
        purpose: Use,
        public: &Public,
        key: &UnlockKey,
        secrets: &[(Label, &[u8])],
        rng: &mut impl CryptoRng,
    ) -> Sealed {
        let mut salt = [0; 32];
        rng.fill_bytes(&mut salt);
        let mut sealed = Sealed {
            purpose,
            public: public.clone(),
            salt,
            entries: Vec::with_capacity(secrets.len()),
        };
        let mut secrets: Vec<_> = secrets.to_vec();
        secrets.sort_by_key(|(label, _)| *label);
        for (label, secret) in secrets {
            let payload = Payload {
                msg: secret,
                aad: &[label.code()],
            };
            let ciphertext = sealed
                .cipher(key, label)
                .encrypt(&Nonce::default(), payload)
                .expect("ChaCha20Poly1305 fails on nothing shorter than 256 GiB");
            sealed.entries.push((label, ciphertext));
        }
        sealed
    }

    /// What it is for.
    pub fn purpose(&self) -> Use {
        self.purpose
    }

    /// What is public of the ceremony.
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// Opens one entry.
    ///
    /// # Errors
    /// [`SealedError::WrongKey`], [`SealedError::Missing`], [`SealedError::Altered`].
    pub fn open(&self, key: &UnlockKey, label: Label) -> Result<Zeroizing<Vec<u8>>, SealedError> {
        // The cipher does not commit to its key; this does.
        if !self.public.is_key(key) {
            return Err(SealedError::WrongKey);
        }
        let what = label.what();
        let (_, ciphertext) = self
            .entries
            .iter()
            .find(|(known, _)| *known == label)
            .ok_or(SealedError::Missing { what })?;
        let payload = Payload {
            msg: ciphertext,
            aad: &[label.code()],
        };
        self.cipher(key, label)
            .decrypt(&Nonce::default(), payload)
            .map(Zeroizing::new)
            .map_err(|_| SealedError::Altered { what })
    }

    /// Opens an entry of exactly `N` bytes.
    ///
    /// # Errors
    /// As [`Sealed::open`]; [`SealedError::Altered`] for another length.
    pub fn open_exact<const N: usize>(
        &self,
        key: &UnlockKey,
        label: Label,
    ) -> Result<Zeroizing<[u8; N]>, SealedError> {
        let bytes = self.open(key, label)?;
        let mut exact = Zeroizing::new([0; N]);
        if bytes.len() != N {
            return Err(SealedError::Altered { what: label.what() });
        }
        exact.copy_from_slice(&bytes);
        Ok(exact)
    }

    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.header();
        bytes.push(self.entries.len() as u8);
        for (label, ciphertext) in &self.entries {
            bytes.push(label.code());
            bytes.extend_from_slice(&(ciphertext.len() as u32).to_be_bytes());
            bytes.extend_from_slice(ciphertext);
        }
        bytes
    }

    /// What [`Sealed::encode`] makes.
    ///
    /// # Errors
    /// [`SealedError::Malformed`], naming the part.
    pub fn decode(bytes: &[u8]) -> Result<Sealed, SealedError> {
        let tag = Writer::new(TAG).u8(VERSION);
        let rest = bytes
            .strip_prefix(tag.as_bytes())
            .ok_or(SealedError::Malformed("beginning"))?;
        let mut rest = Rest(rest);
        let [purpose, party, officials, threshold] = rest.take("header")?;
        let purpose = [Use::Keys, Use::Kit]
            .into_iter()
            .find(|known| known.code() == purpose)
            .ok_or(SealedError::Malformed("use"))?;
        let party = Role::from_index(party).ok_or(SealedError::Malformed("party"))?;
        let terms = Terms::new(officials, threshold).map_err(|_| SealedError::Malformed("officials"))?;
        let ceremony = CeremonyId(rest.take("ceremony")?);
        let salt = rest.take("salt")?;
        let key = rest.take("commitment")?;
        let shares = (0..officials)
            .map(|_| rest.take("commitments"))
            .collect::<Result<_, _>>()?;
        let [count] = rest.take("entries")?;
        let mut entries: Vec<(Label, Vec<u8>)> = Vec::new();
        for _ in 0..count {
            let [code] = rest.take("label")?;
            let label = Label::from_code(code).ok_or(SealedError::Malformed("label"))?;
            if entries.last().is_some_and(|(before, _)| *before >= label) {
                return Err(SealedError::Malformed("order of labels"));
            }
            let length = u32::from_be_bytes(rest.take("length")?) as usize;
            let ciphertext = rest
                .0
                .split_at_checked(length)
                .filter(|_| length >= MAC_BYTES)
                .ok_or(SealedError::Malformed("length"))?;
            rest = Rest(ciphertext.1);
            entries.push((label, ciphertext.0.to_vec()));
        }
        if !rest.0.is_empty() {
            return Err(SealedError::Malformed("end"));
        }
        Ok(Sealed {
            purpose,
            public: Public {
                party,
                ceremony,
                terms,
                key,
                shares,
            },
            salt,
            entries,
        })
    }

    /// Reads a file of that use.
    ///
    /// # Errors
    /// [`SealedError`].
    pub fn read(path: &Path, expected: Use) -> Result<Sealed, SealedError> {
        let io = |source| SealedError::Io {
            path: path.to_owned(),
            source,
        };
        let bytes = std::fs::metadata(path).map_err(io)?.len();
        if bytes > MAX_FILE_BYTES {
            return Err(SealedError::TooLarge {
                path: path.to_owned(),
                bytes,
            });
        }
        let sealed = Sealed::decode(&std::fs::read(path).map_err(io)?)?;
        if sealed.purpose != expected {
            return Err(SealedError::OtherUse {
                found: sealed.purpose,
                expected,
            });
        }
        Ok(sealed)
    }

    fn header(&self) -> Vec<u8> {
        let Public {
            party,
            ceremony,
            terms,
            key,
            shares,
        } = &self.public;
        let mut writer = Writer::new(TAG)
            .u8(VERSION)
            .u8(self.purpose.code())
            .u8(party.index())
            .u8(terms.officials())
            .u8(terms.threshold())
            .fixed(&ceremony.0)
            .fixed(&self.salt)
            .fixed(key);
        for share in shares {
            writer = writer.fixed(share);
        }
        writer.finish()
    }

    fn cipher(&self, key: &UnlockKey, label: Label) -> ChaCha20Poly1305 {
        let header = Sha256::digest(self.header());
        let key = key.derive(&self.salt, &[ENTRY_TAG, &header, &[label.code()]]);
        ChaCha20Poly1305::new(&Key::from(*key))
    }
}

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], SealedError> {
        let (taken, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(SealedError::Malformed(what))?;
        self.0 = rest;
        Ok(*taken)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    fn made(seed: u64, purpose: Use) -> (UnlockKey, Sealed) {
        let mut rng = StdRng::seed_from_u64(seed);
        let key = UnlockKey::generate(&mut rng);
        let terms = Terms::new(3, 2).expect("terms");
        let (_, public) = key.split(Role::P2, terms, &mut rng).expect("split");
        let secrets: [(Label, &[u8]); 3] = [
            (Label::Storage, &[3; 32]),
            (Label::Signing, &[1; 32]),
            (Label::Hpke, &[2; 32]),
        ];
        let sealed = Sealed::seal(purpose, &public, &key, &secrets, &mut rng);
        (key, sealed)
    }

    #[test]
    fn each_entry_opens_under_its_own_label_and_key_only() {
        let (key, sealed) = made(1, Use::Keys);
        let read = Sealed::decode(&sealed.encode()).expect("decodes");
        assert!(read == sealed);
        for (label, byte) in [(Label::Signing, 1), (Label::Hpke, 2), (Label::Storage, 3)] {
            assert_eq!(*read.open_exact::<32>(&key, label).expect("opens"), [byte; 32]);
        }
        assert!(matches!(
            read.open_exact::<31>(&key, Label::Hpke),
            Err(SealedError::Altered { .. })
        ));
        assert!(matches!(
            read.open(&key, Label::Config),
            Err(SealedError::Missing { .. })
        ));
        let (other_key, other) = made(2, Use::Keys);
        assert!(matches!(
            read.open(&other_key, Label::Hpke),
            Err(SealedError::WrongKey)
        ));
        // Entries that change places, and one from another file, do not open.
        let mut swapped = sealed.clone();
        let (one, two) = (swapped.entries[0].1.clone(), swapped.entries[1].1.clone());
        swapped.entries[0].1 = two;
        swapped.entries[1].1 = one;
        for label in [Label::Signing, Label::Hpke] {
            assert!(matches!(
                swapped.open(&key, label),
                Err(SealedError::Altered { .. })
            ));
        }
        swapped.entries[0].1 = other.entries[0].1.clone();
        assert!(swapped.open(&key, Label::Signing).is_err());
    }

    #[test]
    fn no_byte_of_a_file_can_be_changed() {
        let (key, sealed) = made(1, Use::Keys);
        let bytes = sealed.encode();
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            if let Ok(read) = Sealed::decode(&altered) {
                let opened =
                    [Label::Signing, Label::Hpke, Label::Storage].map(|label| read.open(&key, label).is_ok());
                let in_header = at < bytes.len() - 3 * (1 + 4 + 32 + MAC_BYTES);
                let all = if in_header { 0 } else { 2 };
                assert!(
                    opened.iter().filter(|open| **open).count() <= all,
                    "byte {at}: {opened:?}"
                );
            }
            assert!(Sealed::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(matches!(
            Sealed::decode(&longer),
            Err(SealedError::Malformed("end"))
        ));
    }

    #[test]
    fn two_writings_of_one_secret_share_nothing_and_a_kit_is_no_key_file() {
        let (key, one) = made(1, Use::Keys);
        let mut rng = StdRng::seed_from_u64(99);
        let two = Sealed::seal(
            Use::Keys,
            &one.public,
            &key,
            &[(Label::Signing, &[1; 32])],
            &mut rng,
        );
        assert_ne!(one.entries[0].1, two.entries[0].1);
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("kit");
        std::fs::write(&path, made(1, Use::Kit).1.encode()).expect("written");
        assert!(Sealed::read(&path, Use::Kit).is_ok());
        let error = Sealed::read(&path, Use::Keys).map(|_| ()).expect_err("a kit");
        assert_eq!(
            error.to_string(),
            "this is a recovery kit; a sealed key file is needed"
        );
        std::fs::write(&path, vec![0; MAX_FILE_BYTES as usize + 1]).expect("written");
        assert!(matches!(
            Sealed::read(&path, Use::Keys),
            Err(SealedError::TooLarge { .. })
        ));
        assert!(matches!(
            Sealed::read(&directory.path().join("absent"), Use::Keys),
            Err(SealedError::Io { .. })
        ));
    }
}
