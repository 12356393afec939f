//! The roll of a box: who may vote, in a fixed order, with its Merkle root.
//!
//! A leaf is the fixed layout (v, online, reference), and where voters enrol by card the codes of their certificates after it, each preceded
//! by a byte 1 (see [`crate::card::Salt`]); the root is the RFC 6962 tree hash over the leaves in order.

use std::collections::{HashMap, HashSet};

use crate::bitmap::Bitmap;
use crate::ids::{Digest, Hash32, IdError, VoterIndex};
use crate::layout::{Writer, tag};
use crate::manifest::{BallotBox, MAX_VOTERS};
use crate::merkle::{Frontier, leaf_hash};
use crate::reason::Reason;
use crate::wire;

/// Longest voter reference in bytes.
pub const MAX_REFERENCE_BYTES: usize = 200;
/// Most person codes of one voter.
pub const MAX_PERSONS: usize = 8;

/// Why a roll was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RollError {
    /// Numbers have a gap.
    #[error("voter {actual} stands where voter {expected} is due: numbers run 0, 1, 2 without gaps")]
    Gap {
        /// Due.
        expected: VoterIndex,
        /// Found.
        actual: VoterIndex,
    },
    /// A reference stands twice.
    #[error("voter {second} has the reference {reference:?} of voter {first}")]
    Duplicate {
        /// The reference.
        reference: String,
        /// Who has it first.
        first: VoterIndex,
        /// Who has it again.
        second: VoterIndex,
    },
    /// A reference is empty, long, or has control characters.
    #[error("voter {voter}: a reference is 1 to {MAX_REFERENCE_BYTES} bytes without control characters")]
    Reference {
        /// Whose.
        voter: VoterIndex,
    },
    /// A person stands twice, or codes are out of order or too many.
    #[error(
        "voter {voter}: a person code stands twice in the roll, or the codes of a voter do not rise, or are over {MAX_PERSONS}"
    )]
    Person {
        /// Whose.
        voter: VoterIndex,
    },
    /// A person code of a wrong length.
    #[error(transparent)]
    Id(#[from] IdError),
    /// No voter or too many.
    #[error("a roll has 1 to {MAX_VOTERS} voters, this has {0}")]
    Voters(usize),
    /// Not the manifest's number of voters.
    #[error("the roll has {actual} voters, the manifest states {expected}")]
    OtherNumber {
        /// The manifest's.
        expected: u32,
        /// The roll's.
        actual: u32,
    },
    /// Not the manifest's root.
    #[error("the roll has the root {}, the manifest states {}", .actual.short(), .expected.short())]
    OtherRoot {
        /// The manifest's.
        expected: Hash32,
        /// The roll's.
        actual: Hash32,
    },
    /// A roll was given where voters are appended at enrolment.
    #[error("the roll of this box is open: it begins empty, and voters are appended as they enrol")]
    Open,
}

impl RollError {
    /// The stable reason.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Gap { .. } => Reason::RollGap,
            Self::Duplicate { .. } | Self::Person { .. } => Reason::RollDuplicate,
            Self::Reference { .. } | Self::Voters(_) | Self::Id(_) => Reason::MessageMalformed,
            Self::OtherNumber { .. } | Self::OtherRoot { .. } | Self::Open => Reason::RollMismatch,
        }
    }
}

/// One voter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RollEntry {
    /// How the commission names the voter.
    pub reference: String,
    /// Whether the voter may vote online; otherwise at a station only.
    pub online: bool,
    /// Codes of the person that the voter's certificates name, ascending: several where a re-issued card names the voter otherwise.
    pub persons: Vec<Hash32>,
}

impl RollEntry {
    /// From the wire, where it stands at the place of `voter`. No longer than an entry may be; what else makes it good shows beside the others.
    ///
    /// # Errors
    /// [`RollError::Gap`], [`RollError::Reference`], [`RollError::Person`], [`RollError::Id`].
    pub fn from_wire(voter: VoterIndex, wire: wire::RollEntry) -> Result<Self, RollError> {
        let wire::RollEntry {
            v,
            reference,
            online,
            persons,
        } = wire;
        if v != voter.get() {
            return Err(RollError::Gap {
                expected: voter,
                actual: VoterIndex(v),
            });
        }
        if reference.len() > MAX_REFERENCE_BYTES {
            return Err(RollError::Reference { voter });
        }
        if persons.len() > MAX_PERSONS {
            return Err(RollError::Person { voter });
        }
        let persons = persons.iter().map(|person| Hash32::from_slice(person));
        Ok(Self {
            reference,
            online,
            persons: persons.collect::<Result<_, _>>()?,
        })
    }

    fn leaf(&self, voter: VoterIndex) -> Hash32 {
        let layout = Writer::new(tag::ROLL)
            .u32(voter.get())
            .u8(self.online.into())
            .text(&self.reference);
        let layout = self
            .persons
            .iter()
            .fold(layout, |layout, person| layout.u8(1).fixed(&person.0));
        leaf_hash(layout.as_bytes())
    }
}

/// The root of an open roll of `voters` voters at the seal: the RFC 6962 tree hash over a leaf for every number, which is the fixed layout (v,
/// digest of the record that stands), or (v) alone where none does. `standing` rises by v.
///
/// The record's digest commits to the certificate, and so to the person, behind a nonce that nobody publishes.
pub fn open_root(voters: u32, standing: &[(VoterIndex, Digest)]) -> Hash32 {
    let mut frontier = Frontier::new();
    let mut standing = standing.iter().peekable();
    for v in (0..voters).map(VoterIndex) {
        let layout = Writer::new(tag::OPEN_ROLL).u32(v.get());
        let layout = match standing.next_if(|(of, _)| *of == v) {
            Some((_, digest)) => layout.fixed(&digest.0),
            None => layout,
        };
        frontier.push(leaf_hash(layout.as_bytes()));
    }
    frontier.root()
}

/// A checked roll.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Roll {
    entries: Vec<RollEntry>,
    root: Hash32,
}

impl Roll {
    /// Checks entries, in order.
    ///
    /// # Errors
    /// [`RollError`].
    pub fn new(entries: Vec<RollEntry>) -> Result<Self, RollError> {
        if !(1..=MAX_VOTERS as usize).contains(&entries.len()) {
            return Err(RollError::Voters(entries.len()));
        }
        let mut seen: HashMap<&str, u32> = HashMap::with_capacity(entries.len());
        let mut persons = HashSet::new();
        let mut frontier = Frontier::new();
        for (v, entry) in (0u32..).zip(&entries) {
            let (voter, reference) = (VoterIndex(v), &entry.reference);
            if !(1..=MAX_REFERENCE_BYTES).contains(&reference.len())
                || reference.chars().any(char::is_control)
            {
                return Err(RollError::Reference { voter });
            }
            if let Some(first) = seen.insert(reference, v) {
                let (reference, first) = (reference.clone(), VoterIndex(first));
                return Err(RollError::Duplicate {
                    reference,
                    first,
                    second: voter,
                });
            }
            let rising = entry.persons.is_sorted_by(|a, b| a.0 < b.0) && entry.persons.len() <= MAX_PERSONS;
            if !rising || !entry.persons.iter().all(|person| persons.insert(person.0)) {
                return Err(RollError::Person { voter });
            }
            frontier.push(entry.leaf(voter));
        }
        let root = frontier.root();
        Ok(Self { entries, root })
    }

    /// From the wire, in order.
    ///
    /// # Errors
    /// [`RollError`].
    pub fn from_wire(wire: impl IntoIterator<Item = wire::RollEntry>) -> Result<Self, RollError> {
        let entries = (0..MAX_VOTERS + 1)
            .zip(wire)
            .map(|(v, entry)| RollEntry::from_wire(VoterIndex(v), entry));
        let entries = entries.collect::<Result<_, _>>()?;
        Self::new(entries)
    }

    /// To the wire, in order.
    pub fn to_wire(&self) -> impl Iterator<Item = wire::RollEntry> + '_ {
        let entry = |(v, e): (u32, &RollEntry)| wire::RollEntry {
            v,
            reference: e.reference.clone(),
            online: e.online,
            persons: e.persons.iter().map(|person| person.0.to_vec()).collect(),
        };
        (0..).zip(&self.entries).map(entry)
    }

    /// Whether this is the roll that `of_box` was defined with.
    ///
    /// # Errors
    /// [`RollError::OtherNumber`], [`RollError::OtherRoot`], [`RollError::Open`].
    pub fn check_box(&self, of_box: &BallotBox) -> Result<(), RollError> {
        let (expected, actual) = (of_box.voters(), self.voters());
        if of_box.open().is_none() && expected != actual {
            return Err(RollError::OtherNumber { expected, actual });
        }
        match (of_box.roll_root(), self.root) {
            (Some(expected), actual) if expected == actual => Ok(()),
            (Some(expected), actual) => Err(RollError::OtherRoot { expected, actual }),
            (None, _) => Err(RollError::Open),
        }
    }

    /// The voters in order.
    pub fn entries(&self) -> &[RollEntry] {
        &self.entries
    }
    /// N.
    pub fn voters(&self) -> u32 {
        self.entries.len() as u32
    }
    /// One voter.
    pub fn entry(&self, voter: VoterIndex) -> Option<&RollEntry> {
        self.entries.get(voter.get() as usize)
    }
    /// The Merkle root.
    pub fn root(&self) -> Hash32 {
        self.root
    }
    /// The online column.
    pub fn online(&self) -> Bitmap {
        Bitmap::from_bits(self.entries.iter().map(|e| e.online))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(reference: &str) -> RollEntry {
        RollEntry {
            reference: reference.into(),
            online: true,
            persons: Vec::new(),
        }
    }

    #[test]
    fn order_reference_and_online_are_in_the_root() {
        let roll = |entries: &[RollEntry]| Roll::new(entries.to_vec()).expect("roll").root();
        let base = [entry("a"), entry("b"), entry("c")];
        let offline = [
            entry("a"),
            RollEntry {
                online: false,
                ..entry("b")
            },
            entry("c"),
        ];
        let with = |persons: &[u8]| RollEntry {
            persons: persons.iter().map(|byte| Hash32([*byte; 32])).collect(),
            ..entry("b")
        };
        assert_ne!(
            roll(&[entry("a"), with(&[1])]),
            roll(&[entry("a"), with(&[1, 2])])
        );
        for bad in [
            &[
                with(&[1]),
                RollEntry {
                    reference: "c".into(),
                    ..with(&[1])
                },
            ][..],
            &[with(&[2, 1])],
        ] {
            let voter = VoterIndex(bad.len() as u32 - 1);
            assert_eq!(Roll::new(bad.to_vec()), Err(RollError::Person { voter }));
        }
        let roots = [
            roll(&base),
            roll(&[entry("b"), entry("a"), entry("c")]),
            roll(&offline),
            roll(&base[..2]),
            roll(&[entry("a"), entry("b"), entry("d")]),
        ];
        for (i, root) in roots.iter().enumerate() {
            assert!(!roots[..i].contains(root));
        }
        let whole = Roll::new(offline.to_vec()).expect("roll");
        assert_eq!(whole.online().as_bytes(), [0b101]);
        assert_eq!(Roll::from_wire(whole.to_wire()), Ok(whole));
    }

    #[test]
    fn duplicates_gaps_and_bad_references_are_named() {
        let duplicate = Roll::new(vec![entry("a"), entry("b"), entry("a")]);
        let (first, second) = (VoterIndex(0), VoterIndex(2));
        assert_eq!(
            duplicate,
            Err(RollError::Duplicate {
                reference: "a".into(),
                first,
                second
            })
        );
        assert_eq!(Roll::new(vec![]), Err(RollError::Voters(0)));
        for bad in ["", "a\tb", &"x".repeat(201)] {
            assert_eq!(
                Roll::new(vec![entry(bad)]),
                Err(RollError::Reference { voter: VoterIndex(0) })
            );
        }
        let wire = |v| wire::RollEntry {
            v,
            reference: format!("r{v}"),
            online: true,
            persons: Vec::new(),
        };
        let (expected, actual) = (VoterIndex(1), VoterIndex(2));
        assert_eq!(
            Roll::from_wire([wire(0), wire(2)]),
            Err(RollError::Gap { expected, actual })
        );
    }
}
