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

use data_encoding::BASE64;
use sha2::{Digest as _, Sha256};

use crate::envelope::{PublicKey, SignatureBytes, Signer};
use crate::ids::{ElectionId, Hash32, Role};

/// Largest note in bytes, cosignatures included.
pub const MAX_NOTE_BYTES: usize = 16 << 10;
/// Most signature lines that are read.
const MAX_SIGNATURES: usize = 32;
/// The signature type of C2SP signed notes: Ed25519.
const ED25519: u8 = 1;

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

fn key_hash(name: &str, key: &PublicKey) -> [u8; 4] {
    let hash: [u8; 32] = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', ED25519])
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
        let mut signature = key_hash(&name, &signer.public_key()).to_vec();
        signature.extend_from_slice(&signer.sign_note(&body).0);
        format!("{body}\n\u{2014} {name} {}\n", BASE64.encode(&signature))
    }

    /// Opens a note of `party`'s log: form, origin, and the party's own signature. Cosignatures of others are carried, not judged.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn open(note: &[u8], election: &ElectionId, party: Role, key: &PublicKey) -> Result<Self, NoteError> {
        let (checkpoint, signatures) = Self::parse(note)?;
        if checkpoint.election != *election || checkpoint.party != party {
            return Err(NoteError::Origin);
        }
        let (name, body) = (origin(election, party), checkpoint.body());
        let expected = key_hash(&name, key);
        let signed = signatures.iter().any(|(by, hash, signature)| {
            *by == name && *hash == expected && key.verify(body.as_bytes(), signature)
        });
        if signed {
            Ok(checkpoint)
        } else {
            Err(NoteError::Signature)
        }
    }

    /// Reads a note without judging its signatures.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn parse(note: &[u8]) -> Result<(Self, Vec<NoteSignature<'_>>), NoteError> {
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

/// One signature line: name, key hash, signature. Lines of other algorithms read as a signature that verifies under no key.
pub type NoteSignature<'a> = (&'a str, [u8; 4], SignatureBytes);

fn signature_line(line: &str) -> Result<NoteSignature<'_>, NoteError> {
    let (name, encoded) = line
        .strip_prefix("\u{2014} ")
        .and_then(|rest| rest.split_once(' '))
        .ok_or(NoteError::Form)?;
    let bytes = BASE64.decode(encoded.as_bytes()).map_err(|_| NoteError::Form)?;
    let (hash, signature) = bytes.split_first_chunk::<4>().ok_or(NoteError::Form)?;
    let signature = signature.try_into().unwrap_or([0xff; 64]);
    Ok((name, *hash, SignatureBytes(signature)))
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
