//! Entries of a party's append-only log of an election, in the one fixed layout in which parties store, exchange and hash them.
//!
//! ```text
//! kind u8 | of u32 | channel u8 | hash 32 | ciphertext hash 32 | at_s u64         78 bytes, big endian
//! ```
//!
//! | kind | what | of | channel | hash | ciphertext hash | at_s |
//! |---|---|---|---|---|---|---|
//! | 1 | ballot accepted | box | 0 | digest | of what this party took | received_at |
//! | 2 | credential record accepted | box | 0 | digest | of what this party took | received_at |
//! | 3 | election complete: all have countersigned | 0 | 0 | manifest | 0 | when logged |
//! | 4 | order in force | its number | 0 | order | 0 | when logged |
//! | 5, 6, 7 | channel opened, closed, takes nothing any more | 0 | channel | 0 | 0 | when logged |
//! | 8 | box closed: nothing of it follows | box | 0 | 0 | 0 | when logged |
//! | 9, 10, 11 | List made, sealed, tallied | box | 0 | List, Seal, Result | 0 | when logged |
//! | 12 | a place whose entry was lost with this party's disk | 0 | 0 | 0 | 0 | when logged |
//! | 13 | other revocation lists of cards hold here than before | number of the change, 1 to 10,000 | 0 | [`crate::card::ListsHeld::hash`] | 0 | when logged |
//!
//! A calendar is the election's, not a box's, so an opening stands once for all boxes. Fields that a kind does not use are zero and any
//! other value is refused: two different byte strings are never the same entry.
//!
//! The **leaf** of kinds 1 and 2 is [`crate::receipt::log_leaf`], so that a receipt alone gives it (a receipt does not say which of the two
//! kinds it is; the header does). The leaf of the other kinds is the RFC 6962 leaf hash of (tag `tally/v1/log-event`, kind, of, channel,
//! hash, at_s). The tags differ, so no leaf can be read as another kind's.

use crate::calendar::ChannelKind;
use crate::ids::{BoxId, Digest, Hash32, UnixSeconds};
use crate::layout::{Writer, tag};
use crate::merkle::leaf_hash;
use crate::receipt::log_leaf;

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 78;
/// Most changes of the revocation lists that one log names: behind them is nothing that voters brought, so they must end somewhere.
pub const MAX_LISTS: u32 = 10_000;
/// Most entries in one answer.
pub const MAX_PAGE: usize = 4096;

/// Why bytes are no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Not a whole number of entries.
    #[error("log entries have {ENTRY_BYTES} bytes each, {0} bytes are no whole number of them")]
    Length(usize),
    /// Too many.
    #[error("at most {MAX_PAGE} log entries at once")]
    TooMany,
    /// An unknown kind.
    #[error("log entries of kind {0} are not known")]
    Kind(u8),
    /// A field has a value that its kind does not allow.
    #[error("a log entry of kind {0} has a field that its kind does not use, or an impossible value")]
    Field(u8),
}

/// Something accepted: what a receipt states besides the position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// A credential record, not a ballot.
    pub record: bool,
    /// The box.
    pub of_box: BoxId,
    /// Of ballot or record.
    pub digest: Digest,
    /// SHA-256 of the ciphertext that the log's party took.
    pub ciphertext_hash: Hash32,
    /// When, on that party's clock, to the second: a log says no more than a ballot's own header.
    pub received_at: UnixSeconds,
}

/// What a channel does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum ChannelPhase {
    /// An opening began.
    Opened,
    /// An opening ended; there may be another.
    Closed,
    /// Not even what stations have queued is taken any more.
    Ended,
}

/// What happened to the election.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Happening {
    /// All parties have countersigned this manifest.
    Complete(Hash32),
    /// The order of that number and hash is in force.
    Order(u32, Hash32),
    /// A channel changed its phase, for all boxes.
    Channel(ChannelKind, ChannelPhase),
    /// Nothing more is taken for the box.
    BoxClosed(BoxId),
    /// The party signed its List of that hash.
    ListMade(BoxId, Hash32),
    /// Three parties signed the Seal of that hash.
    Sealed(BoxId, Hash32),
    /// The Result of that hash stands.
    Tallied(BoxId, Hash32),
    /// A place whose entry is lost.
    Lost,
    /// The change of that number, from 1: from here on the revocation lists of that hash hold, by which the party takes or refuses enrolments.
    Lists(u32, Hash32),
}

/// One entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// A ballot or record.
    Accepted(Accepted),
    /// Anything else, and when the party wrote it down.
    Event(Happening, UnixSeconds),
}

const NONE: Hash32 = Hash32([0; 32]);

impl Happening {
    /// (kind, of, channel, hash) of the layout.
    pub fn fields(&self) -> (u8, u32, u8, Hash32) {
        match *self {
            Self::Complete(hash) => (3, 0, 0, hash),
            Self::Order(number, hash) => (4, number, 0, hash),
            Self::Channel(channel, phase) => {
                let kind = match phase {
                    ChannelPhase::Opened => 5,
                    ChannelPhase::Closed => 6,
                    ChannelPhase::Ended => 7,
                };
                (kind, 0, channel.number(), NONE)
            }
            Self::BoxClosed(of_box) => (8, of_box.get(), 0, NONE),
            Self::ListMade(of_box, hash) => (9, of_box.get(), 0, hash),
            Self::Sealed(of_box, hash) => (10, of_box.get(), 0, hash),
            Self::Tallied(of_box, hash) => (11, of_box.get(), 0, hash),
            Self::Lost => (12, 0, 0, NONE),
            Self::Lists(number, hash) => (13, number, 0, hash),
        }
    }

    fn of_fields(kind: u8, of: u32, channel: u8, hash: Hash32) -> Result<Self, EntryError> {
        let happening = match kind {
            3 => Self::Complete(hash),
            4 => Self::Order(of, hash),
            5..=7 => {
                let channel = ChannelKind::ALL
                    .into_iter()
                    .find(|known| known.number() == channel)
                    .ok_or(EntryError::Field(kind))?;
                let phase = match kind {
                    5 => ChannelPhase::Opened,
                    6 => ChannelPhase::Closed,
                    _ => ChannelPhase::Ended,
                };
                Self::Channel(channel, phase)
            }
            8 => Self::BoxClosed(BoxId(of)),
            9 => Self::ListMade(BoxId(of), hash),
            10 => Self::Sealed(BoxId(of), hash),
            11 => Self::Tallied(BoxId(of), hash),
            12 => Self::Lost,
            13 if !(1..=MAX_LISTS).contains(&of) => return Err(EntryError::Field(kind)),
            13 => Self::Lists(of, hash),
            other => return Err(EntryError::Kind(other)),
        };
        if happening.fields() == (kind, of, channel, hash) {
            Ok(happening)
        } else {
            Err(EntryError::Field(kind))
        }
    }
}

impl Entry {
    /// Its bytes.
    pub fn to_bytes(&self) -> [u8; ENTRY_BYTES] {
        let (kind, of, channel, hash, ciphertext_hash, at) = match self {
            Self::Accepted(a) => (
                if a.record { 2 } else { 1 },
                a.of_box.get(),
                0,
                Hash32(a.digest.0),
                a.ciphertext_hash,
                a.received_at,
            ),
            Self::Event(happening, at) => {
                let (kind, of, channel, hash) = happening.fields();
                (kind, of, channel, hash, NONE, *at)
            }
        };
        let mut bytes = [0; ENTRY_BYTES];
        bytes[0] = kind;
        bytes[1..5].copy_from_slice(&of.to_be_bytes());
        bytes[5] = channel;
        bytes[6..38].copy_from_slice(&hash.0);
        bytes[38..70].copy_from_slice(&ciphertext_hash.0);
        bytes[70..].copy_from_slice(&at.get().to_be_bytes());
        bytes
    }

    /// From its bytes.
    ///
    /// # Errors
    /// [`EntryError::Kind`], [`EntryError::Field`].
    pub fn from_bytes(bytes: &[u8; ENTRY_BYTES]) -> Result<Self, EntryError> {
        let (kind, rest) = (bytes[0], &bytes[1..]);
        let mut of = [0; 4];
        of.copy_from_slice(&rest[..4]);
        let (of, channel) = (u32::from_be_bytes(of), rest[4]);
        let (mut hash, mut ciphertext_hash) = (NONE, NONE);
        hash.0.copy_from_slice(&rest[5..37]);
        ciphertext_hash.0.copy_from_slice(&rest[37..69]);
        let mut at = [0; 8];
        at.copy_from_slice(&rest[69..]);
        let at = UnixSeconds(u64::from_be_bytes(at));
        match kind {
            1 | 2 if channel != 0 => Err(EntryError::Field(kind)),
            1 | 2 => Ok(Self::Accepted(Accepted {
                record: kind == 2,
                of_box: BoxId(of),
                digest: Digest(hash.0),
                ciphertext_hash,
                received_at: at,
            })),
            _ if ciphertext_hash != NONE => Err(EntryError::Field(kind)),
            _ => Ok(Self::Event(Happening::of_fields(kind, of, channel, hash)?, at)),
        }
    }

    /// The hash of its leaf.
    pub fn leaf(&self) -> Hash32 {
        match self {
            Self::Accepted(a) => log_leaf(a.of_box, &a.digest, &a.ciphertext_hash, a.received_at),
            Self::Event(happening, at) => {
                let (kind, of, channel, hash) = happening.fields();
                let layout = Writer::new(tag::LOG_EVENT)
                    .u8(kind)
                    .u32(of)
                    .u8(channel)
                    .fixed(&hash.0)
                    .u64(at.get());
                leaf_hash(layout.as_bytes())
            }
        }
    }

    /// What was accepted; `None` for an event.
    pub fn accepted(&self) -> Option<&Accepted> {
        match self {
            Self::Accepted(accepted) => Some(accepted),
            Self::Event(..) => None,
        }
    }

    /// When, on the clock of the log's party.
    pub fn at(&self) -> UnixSeconds {
        match self {
            Self::Accepted(a) => a.received_at,
            Self::Event(_, at) => *at,
        }
    }
}

/// The entries of a page.
///
/// # Errors
/// [`EntryError`].
pub fn decode_page(bytes: &[u8]) -> Result<Vec<Entry>, EntryError> {
    let (entries, rest) = bytes.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() {
        return Err(EntryError::Length(bytes.len()));
    }
    if entries.len() > MAX_PAGE {
        return Err(EntryError::TooMany);
    }
    entries.iter().map(Entry::from_bytes).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn all() -> Vec<Entry> {
        let (of_box, hash, at) = (BoxId(7), Hash32::of(b"x"), UnixSeconds(1_234_567));
        let accepted = |record| {
            Entry::Accepted(Accepted {
                record,
                of_box,
                digest: Digest(hash.0),
                ciphertext_hash: Hash32::of(b"y"),
                received_at: at,
            })
        };
        let mut happenings = vec![
            Happening::Complete(hash),
            Happening::Order(7, hash),
            Happening::BoxClosed(of_box),
            Happening::ListMade(of_box, hash),
            Happening::Sealed(of_box, hash),
            Happening::Tallied(of_box, hash),
            Happening::Lost,
            Happening::Lists(1, hash),
            Happening::Lists(MAX_LISTS, hash),
        ];
        for channel in ChannelKind::ALL {
            for phase in [ChannelPhase::Opened, ChannelPhase::Closed, ChannelPhase::Ended] {
                happenings.push(Happening::Channel(channel, phase));
            }
        }
        let events = happenings.into_iter().map(|h| Entry::Event(h, at));
        [accepted(false), accepted(true)]
            .into_iter()
            .chain(events)
            .collect()
    }

    #[test]
    fn every_kind_comes_back_and_has_a_leaf_of_its_own() {
        let all = all();
        for entry in &all {
            assert_eq!(Entry::from_bytes(&entry.to_bytes()), Ok(*entry));
            assert_eq!(entry.at(), UnixSeconds(1_234_567));
        }
        let leaves: BTreeSet<_> = all.iter().map(|entry| entry.leaf().0).collect();
        // A receipt does not say whether it is for a ballot or a record, so these two share theirs.
        assert_eq!(leaves.len(), all.len() - 1);
        let page: Vec<u8> = all.iter().flat_map(Entry::to_bytes).collect();
        assert_eq!(decode_page(&page), Ok(all));
        assert_eq!(decode_page(&page[1..]), Err(EntryError::Length(page.len() - 1)));
        let many = page[..ENTRY_BYTES].repeat(MAX_PAGE + 1);
        assert_eq!(decode_page(&many), Err(EntryError::TooMany));
    }

    #[test]
    fn what_a_kind_does_not_use_must_be_zero() {
        let entry = Entry::Event(Happening::Complete(Hash32::of(b"x")), UnixSeconds(1)).to_bytes();
        for (at, unused) in [(4, 1), (5, 1), (40, 1)] {
            let mut bytes = entry;
            bytes[at] = unused;
            assert_eq!(Entry::from_bytes(&bytes), Err(EntryError::Field(3)), "byte {at}");
        }
        let mut bytes = entry;
        bytes[0] = 14;
        assert_eq!(Entry::from_bytes(&bytes), Err(EntryError::Kind(14)));
        bytes[0] = 6;
        assert_eq!(Entry::from_bytes(&bytes), Err(EntryError::Field(6)));
    }

    #[test]
    fn changes_of_the_lists_are_counted_from_1_and_no_further_than_they_may_be() {
        let of = |number: u32| {
            let mut bytes = Entry::Event(Happening::Lists(1, Hash32::of(b"x")), UnixSeconds(1)).to_bytes();
            bytes[1..5].copy_from_slice(&number.to_be_bytes());
            Entry::from_bytes(&bytes)
        };
        for number in [0, MAX_LISTS + 1, u32::MAX] {
            assert_eq!(of(number), Err(EntryError::Field(13)), "{number}");
        }
        for number in [1, MAX_LISTS] {
            let change = Happening::Lists(number, Hash32::of(b"x"));
            assert_eq!(of(number), Ok(Entry::Event(change, UnixSeconds(1))));
        }
        let mut bytes = of(1).expect("an entry").to_bytes();
        bytes[5] = 1;
        assert_eq!(Entry::from_bytes(&bytes), Err(EntryError::Field(13)), "a channel");
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(bytes in proptest::array::uniform32(any::<u8>()), kind in 0u8..15, sparse in any::<bool>()) {
            let mut raw = [0; ENTRY_BYTES];
            raw[0] = kind;
            raw[6..38].copy_from_slice(&bytes);
            if !sparse {
                raw[1..33].copy_from_slice(&bytes);
            }
            if let Ok(entry) = Entry::from_bytes(&raw) {
                prop_assert_eq!(entry.to_bytes(), raw);
            }
        }
    }
}
