//! Checkpoints of a party's log: C2SP signed notes (`tlog-checkpoint`), so that public witnesses can cosign them.
//!
//! ```text
//! tally/<election>/party-<i>
//! <size>
//! <base64 of the root>
//!
//! — tally/<election>/party-<i> <base64 of key hash and signature>
//! ```
//!
//! The Ed25519 signature is over the text up to and including the newline before the empty line. It cannot be taken for a signature
//! over one of this crate's fixed layouts: those begin with the length of their tag, which is never the letter `t`.
//!
//! A **cosignature** (C2SP `tlog-cosignature`, type 4) says that another party has seen this log grow up to here and no other of its size. It is
//! an Ed25519 signature over
//!
//! ```text
//! cosignature/v1
//! time <Unix seconds>
//! <the note's text, as above>
//! ```
//!
//! and stands below the note as one more line under the cosigner's name `tally/<election>/party-<j>`: base64 of key hash, time (u64, big
//! endian), signature. The key hash is taken with type 4, so one key has two names for two purposes; neither of the two texts, nor a fixed
//! layout, begins like another.
//!
//! A **verifier key** ([`VerifierKey`]) is the one line by which a log is known to whoever follows it, as a public witness:
//! `<name>+<key hash, 8 hexadecimal digits>+<base64 of type and key>`.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest as _, Sha256};

use crate::envelope::{PublicKey, SignatureBytes, Signer};
use crate::ids::{ElectionId, Hash32, Role, RoleExt as _, UnixSeconds};
use crate::manifest::Manifest;

/// Largest note in bytes, cosignatures included.
pub const MAX_NOTE_BYTES: usize = 16 << 10;
/// Most signature lines that are read.
const MAX_SIGNATURES: usize = 32;
/// The signature type of C2SP signed notes: Ed25519.
const ED25519: u8 = 1;
/// The signature type of cosignatures: Ed25519 with a time.
const COSIGNATURE: u8 = 4;

/// Why a note was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a checkpoint in the form of this module.
    #[error(
        "not a checkpoint: three lines, an empty line, and 1 to {MAX_SIGNATURES} signature lines are needed"
    )]
    Form,
    /// Another log's.
    #[error("the checkpoint is not of this election's log of this party")]
    Origin,
    /// The size is not a canonical number.
    #[error("the checkpoint's size is not a number without leading zeros")]
    Size,
    /// The root is not 32 bytes of base64.
    #[error("the checkpoint's root is not base64 of 32 bytes")]
    Root,
    /// No valid signature of the party.
    #[error("the checkpoint is not signed by the party's key")]
    Signature,
}

/// A checkpoint: the size and root of a party's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// The election.
    pub election: ElectionId,
    /// Whose log.
    pub party: Role,
    /// Leaves.
    pub size: u64,
    /// Root of the tree.
    pub root: Hash32,
}

/// The name of a party's log and of its key.
pub fn origin(election: &ElectionId, party: Role) -> String {
    format!("tally/{election}/party-{}", party.index())
}

/// Under which key a log's notes are signed, as C2SP `signed-note` writes it: what a witness, or anybody's own program, is set up with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifierKey {
    name: String,
    key: PublicKey,
}

impl VerifierKey {
    /// Of `party`'s log of an election.
    pub fn of_log(election: &ElectionId, party: Role, key: PublicKey) -> Self {
        Self {
            name: origin(election, party),
            key,
        }
    }

    /// Of the three logs of an election, in party order.
    pub fn of_logs(manifest: &Manifest) -> [Self; 3] {
        let keys = manifest.party_keys();
        Role::ALL.map(|party| Self::of_log(manifest.election(), party, keys[party.slot()]))
    }

    /// Whether one of the lines is this key's signature of that text.
    fn has_signed(&self, text: &str, lines: &[SignatureLine<'_>]) -> bool {
        let expected = key_hash(&self.name, ED25519, &self.key);
        lines.iter().any(|line| {
            line.name == self.name
                && line.key_hash == expected
                && SignatureBytes::from_slice(&line.bytes)
                    .is_ok_and(|signature| self.key.verify(text.as_bytes(), &signature))
        })
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = HEXLOWER.encode(&key_hash(&self.name, ED25519, &self.key));
        let key = [&[ED25519][..], self.key.as_bytes()].concat();
        write!(f, "{}+{hash}+{}", self.name, BASE64.encode(&key))
    }
}

/// The line under a note in which `signer` signs its text by that name.
fn signature_of(name: &str, text: &str, signer: &Signer) -> String {
    let mut signature = key_hash(name, ED25519, &signer.public_key()).to_vec();
    signature.extend_from_slice(&signer.sign_note(text).0);
    format!("\u{2014} {name} {}\n", BASE64.encode(&signature))
}

fn key_hash(name: &str, algorithm: u8, key: &PublicKey) -> [u8; 4] {
    let hash: [u8; 32] = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', algorithm])
        .chain_update(key.as_bytes())
        .finalize()
        .into();
    [hash[0], hash[1], hash[2], hash[3]]
}

impl Checkpoint {
    fn body(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            origin(&self.election, self.party),
            self.size,
            BASE64.encode(&self.root.0)
        )
    }

    /// The signed note.
    pub fn sign(&self, signer: &Signer) -> String {
        let (name, body) = (origin(&self.election, self.party), self.body());
        format!("{body}\n{}", signature_of(&name, &body, signer))
    }

    /// Opens a note of `party`'s log: form, origin, and the party's own signature. Cosignatures of others are carried, not judged.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn open(note: &[u8], election: &ElectionId, party: Role, key: &PublicKey) -> Result<Self, NoteError> {
        let (checkpoint, lines) = Self::parse(note)?;
        checkpoint.check_signed(&lines, election, party, key)?;
        Ok(checkpoint)
    }

    /// The same, and which of the other parties have cosigned it, in party order, and when they say so. `keys`: in party order.
    ///
    /// # Errors
    /// [`NoteError`]; a cosignature that does not verify is left out, as anyone may add lines to a note.
    pub fn open_cosigned(
        note: &[u8],
        election: &ElectionId,
        party: Role,
        keys: &[PublicKey; 3],
    ) -> Result<(Self, Vec<Cosignature>), NoteError> {
        let (checkpoint, lines) = Self::parse(note)?;
        checkpoint.check_signed(&lines, election, party, &keys[party.slot()])?;
        let cosigned = |by: Role| {
            let (name, key) = (origin(election, by), &keys[by.slot()]);
            let hash = key_hash(&name, COSIGNATURE, key);
            lines.iter().find_map(|line| {
                let (time, signature) = line.bytes.split_first_chunk::<8>()?;
                let (at, signature) = (
                    UnixSeconds(u64::from_be_bytes(*time)),
                    SignatureBytes::from_slice(signature).ok()?,
                );
                let fits = line.name == name
                    && line.key_hash == hash
                    && key.verify(checkpoint.cosigned_body(at).as_bytes(), &signature);
                fits.then(|| Cosignature {
                    by,
                    at,
                    line: line.to_text(),
                })
            })
        };
        let cosignatures = Role::ALL
            .into_iter()
            .filter(|by| *by != party)
            .filter_map(cosigned)
            .collect();
        Ok((checkpoint, cosignatures))
    }

    fn check_signed(
        &self,
        lines: &[SignatureLine<'_>],
        election: &ElectionId,
        party: Role,
        key: &PublicKey,
    ) -> Result<(), NoteError> {
        if self.election != *election || self.party != party {
            return Err(NoteError::Origin);
        }
        let known = VerifierKey::of_log(election, party, *key);
        if known.has_signed(&self.body(), lines) {
            Ok(())
        } else {
            Err(NoteError::Signature)
        }
    }

    fn cosigned_body(&self, at: UnixSeconds) -> String {
        format!("cosignature/v1\ntime {}\n{}", at.get(), self.body())
    }

    /// The cosignature of party `by`, whose log this is not, as of `at`.
    ///
    /// # Security
    /// Only for a checkpoint that `by` has found to be an extension of all that it cosigned of this log before.
    pub fn cosign(&self, by: Role, at: UnixSeconds, signer: &Signer) -> Cosignature {
        let name = origin(&self.election, by);
        let mut bytes = key_hash(&name, COSIGNATURE, &signer.public_key()).to_vec();
        bytes.extend_from_slice(&at.get().to_be_bytes());
        bytes.extend_from_slice(&signer.sign_note(&self.cosigned_body(at)).0);
        Cosignature {
            by,
            at,
            line: format!("\u{2014} {name} {}\n", BASE64.encode(&bytes)),
        }
    }

    /// Reads a note without judging its signatures.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn parse(note: &[u8]) -> Result<(Self, Vec<SignatureLine<'_>>), NoteError> {
        let text = std::str::from_utf8(note)
            .ok()
            .filter(|t| t.len() <= MAX_NOTE_BYTES)
            .ok_or(NoteError::Form)?;
        let (body, signatures) = text.split_once("\n\n").ok_or(NoteError::Form)?;
        let mut lines = body.split('\n');
        let (Some(name), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(NoteError::Form);
        };
        let (election, party) = name
            .strip_prefix("tally/")
            .and_then(|rest| rest.split_once("/party-"))
            .and_then(|(election, party)| {
                Some((
                    ElectionId::new(election).ok()?,
                    Role::from_index(party.parse().ok()?)?,
                ))
            })
            .filter(|(election, party)| origin(election, *party) == name)
            .ok_or(NoteError::Origin)?;
        let number: u64 = size.parse().map_err(|_| NoteError::Size)?;
        if number.to_string() != size {
            return Err(NoteError::Size);
        }
        let root = BASE64
            .decode(root.as_bytes())
            .ok()
            .and_then(|r| Hash32::from_slice(&r).ok())
            .ok_or(NoteError::Root)?;
        let lines = signatures.strip_suffix('\n').ok_or(NoteError::Form)?;
        let signatures = lines
            .split('\n')
            .take(MAX_SIGNATURES + 1)
            .map(signature_line)
            .collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::Form);
        }
        Ok((
            Self {
                election,
                party,
                size: number,
                root,
            },
            signatures,
        ))
    }
}

/// One signature line of any algorithm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignatureLine<'a> {
    /// Whose it is said to be.
    pub name: &'a str,
    /// First bytes of the hash of name, algorithm and key.
    pub key_hash: [u8; 4],
    /// What the algorithm puts there.
    pub bytes: Vec<u8>,
}

impl SignatureLine<'_> {
    fn to_text(&self) -> String {
        let mut bytes = self.key_hash.to_vec();
        bytes.extend_from_slice(&self.bytes);
        format!("\u{2014} {} {}\n", self.name, BASE64.encode(&bytes))
    }
}

fn signature_line(line: &str) -> Result<SignatureLine<'_>, NoteError> {
    let (name, encoded) = line
        .strip_prefix("\u{2014} ")
        .and_then(|rest| rest.split_once(' '))
        .filter(|(name, _)| !name.contains(char::is_control))
        .ok_or(NoteError::Form)?;
    let bytes = BASE64.decode(encoded.as_bytes()).map_err(|_| NoteError::Form)?;
    let (key_hash, rest) = bytes.split_first_chunk::<4>().ok_or(NoteError::Form)?;
    Ok(SignatureLine {
        name,
        key_hash: *key_hash,
        bytes: rest.to_vec(),
    })
}

/// A party's cosignature of another's checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cosignature {
    /// Who.
    pub by: Role,
    /// When, on its clock.
    pub at: UnixSeconds,
    /// Its line, newline included: appended to the signed note it makes the cosigned note.
    pub line: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::rand_core::SeedableRng;

    fn signer(seed: u64) -> Signer {
        Signer::generate(&mut rand_chacha::ChaCha20Rng::seed_from_u64(seed))
    }

    fn checkpoint() -> Checkpoint {
        let election = ElectionId::new("ward-7").expect("slug");
        Checkpoint {
            election,
            party: Role::P2,
            size: 1009,
            root: Hash32::of(b"root"),
        }
    }

    #[test]
    fn the_text_is_a_c2sp_checkpoint() {
        let note = checkpoint().sign(&signer(1));
        let lines: Vec<_> = note.lines().collect();
        assert_eq!(lines[0], "tally/ward-7/party-2");
        assert_eq!(lines[1], "1009");
        assert_eq!(lines[2], BASE64.encode(&Hash32::of(b"root").0));
        assert_eq!(lines[3], "");
        assert!(lines[4].starts_with("\u{2014} tally/ward-7/party-2 "));
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn a_witness_name_that_steers_a_terminal_is_no_form() {
        let (c, key) = (checkpoint(), signer(1));
        let note = format!(
            "{}\u{2014} wit\u{1b}[2Jness {}\n",
            c.sign(&key),
            BASE64.encode(&[7; 68])
        );
        let open = |note: &str| Checkpoint::open(note.as_bytes(), &c.election, Role::P2, &key.public_key());
        assert_eq!(open(&note), Err(NoteError::Form));
        assert_eq!(open(&note.replace('\u{1b}', "")), Ok(c.clone()));
    }

    #[test]
    fn a_note_opens_for_its_own_log_and_key_only() {
        let (c, key) = (checkpoint(), signer(1));
        let note = c.sign(&key);
        let open = |note: &str, party, key: &Signer| {
            Checkpoint::open(note.as_bytes(), &c.election, party, &key.public_key())
        };
        assert_eq!(open(&note, Role::P2, &key), Ok(c.clone()));
        assert_eq!(open(&note, Role::P1, &key), Err(NoteError::Origin));
        assert_eq!(open(&note, Role::P2, &signer(2)), Err(NoteError::Signature));
        let other = ElectionId::new("ward-8").expect("slug");
        let opened = Checkpoint::open(note.as_bytes(), &other, Role::P2, &key.public_key());
        assert_eq!(opened, Err(NoteError::Origin));
        let cosigned = format!("{note}\u{2014} witness.example {}\n", BASE64.encode(&[7; 76]));
        assert_eq!(open(&cosigned, Role::P2, &key), Ok(c.clone()));
        assert_eq!(
            open(&note.replace("1009", "01009"), Role::P2, &key),
            Err(NoteError::Size)
        );
        assert_eq!(
            open(&note.replace("1009", "1010"), Role::P2, &key),
            Err(NoteError::Signature)
        );
        let many = format!(
            "{note}{}",
            format!("\u{2014} w {}\n", BASE64.encode(&[7; 76])).repeat(32)
        );
        assert_eq!(open(&many, Role::P2, &key), Err(NoteError::Form));
    }

    #[test]
    fn cosignatures_are_those_of_the_other_parties_over_this_very_checkpoint() {
        let (c, keys) = (checkpoint(), [signer(1), signer(2), signer(3)]);
        let public = keys.each_ref().map(Signer::public_key);
        let note = c.sign(&keys[1]);
        let at = UnixSeconds(1_800_000_000);
        let open = |note: &str| Checkpoint::open_cosigned(note.as_bytes(), &c.election, Role::P2, &public);
        assert_eq!(open(&note), Ok((c.clone(), Vec::new())));
        let (one, three) = (c.cosign(Role::P1, at, &keys[0]), c.cosign(Role::P3, at, &keys[2]));
        let whole = format!("{note}{}{}", three.line, one.line);
        assert_eq!(open(&whole), Ok((c.clone(), vec![one.clone(), three.clone()])));
        // The line of C2SP: name, then base64 of key hash, time and signature.
        let encoded = one.line.trim_end().rsplit(' ').next().expect("base64");
        let bytes = BASE64.decode(encoded.as_bytes()).expect("base64");
        assert_eq!((bytes.len(), &bytes[4..12]), (76, &at.get().to_be_bytes()[..]));
        let text = format!("cosignature/v1\ntime 1800000000\n{}", c.body());
        let signature = SignatureBytes::from_slice(&bytes[12..]).expect("64 bytes");
        assert!(public[0].verify(text.as_bytes(), &signature));
        // The owner's own, another checkpoint's, under another name, with another time: none counts.
        let own = c.cosign(Role::P2, at, &keys[1]);
        let other = Checkpoint {
            size: 1008,
            ..c.clone()
        };
        let renamed = one.line.replace("party-1", "party-3");
        let mut later = bytes.clone();
        later[11] ^= 1;
        let later = one.line.replace(encoded, &BASE64.encode(&later));
        for line in [
            own.line,
            other.cosign(Role::P1, at, &keys[0]).line,
            c.cosign(Role::P1, at, &keys[2]).line,
            renamed,
            later,
        ] {
            assert_eq!(
                open(&format!("{note}{line}")),
                Ok((c.clone(), Vec::new())),
                "{line}"
            );
        }
        assert_eq!(
            open(&note.replacen("1009", "1010", 1)),
            Err(NoteError::Signature),
            "without the owner's signature cosignatures say nothing"
        );
    }

    /// The example of Go's golang.org/x/mod/sumdb/note: another implementation's key, text and signature.
    #[test]
    fn a_key_and_a_note_of_another_implementation_are_read_and_made_the_same() {
        const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        const SEED: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
        const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
            then you don't know what your problem is.\n";
        const LINE: &str = "\u{2014} PeterNeumann \
            x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
        let key = KEY.rsplit('+').next().expect("base64");
        let key = BASE64.decode(key.as_bytes()).expect("base64");
        let known = |name: &str| VerifierKey {
            name: name.to_owned(),
            key: PublicKey::from_slice(&key[1..]).expect("a key"),
        };
        let peter = known("PeterNeumann");
        assert_eq!((key[0], peter.to_string().as_str()), (ED25519, KEY));
        let line = signature_line(LINE).expect("a line");
        assert_eq!(line.key_hash, [0xc7, 0x4f, 0x20, 0xa3]);
        let signs = |known: &VerifierKey, text: &str, line: &SignatureLine<'_>| {
            known.has_signed(text, std::slice::from_ref(line))
        };
        assert!(signs(&peter, TEXT, &line));
        assert!(!signs(&peter, &TEXT.replace("your", "my"), &line));
        assert!(!signs(&peter, TEXT.trim_end(), &line));
        // Under another name it is another key.
        let renamed = LINE.replace("PeterNeumann", "PeterNewman");
        let renamed = signature_line(&renamed).expect("a line");
        assert!(!signs(&known("PeterNewman"), TEXT, &renamed));
        let seed = BASE64.decode(SEED.as_bytes()).expect("base64");
        let signer = Signer::from_seed(&seed[1..]).expect("a seed");
        assert_eq!(signature_of("PeterNeumann", TEXT, &signer), format!("{LINE}\n"));
    }

    #[test]
    fn a_verifier_key_is_the_one_under_which_its_log_is_signed() {
        let (c, key) = (checkpoint(), signer(1));
        let vkey = VerifierKey::of_log(&c.election, c.party, key.public_key()).to_string();
        let parts: Vec<_> = vkey.splitn(3, '+').collect();
        let [name, hash, bytes] = parts[..] else {
            panic!("{vkey}")
        };
        assert_eq!(name, "tally/ward-7/party-2");
        let note = c.sign(&key);
        let (_, lines) = Checkpoint::parse(note.as_bytes()).expect("a note");
        assert_eq!(
            (lines[0].name, HEXLOWER.encode(&lines[0].key_hash).as_str()),
            (name, hash)
        );
        let bytes = BASE64.decode(bytes.as_bytes()).expect("base64");
        assert_eq!(
            (bytes[0], &bytes[1..]),
            (ED25519, &key.public_key().as_bytes()[..])
        );
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let (c, key) = (checkpoint(), signer(1));
        let note = c.sign(&key).into_bytes();
        for i in 0..note.len() {
            let mut changed = note.clone();
            changed[i] ^= 1;
            assert!(
                Checkpoint::open(&changed, &c.election, c.party, &key.public_key()).is_err(),
                "byte {i}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Checkpoint::parse(&bytes);
        }
    }
}
