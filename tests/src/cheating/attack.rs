//! What a lying party does.

use super::kind::Kind;

/// What happens to one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Deed {
    /// One bit is flipped.
    FlipBit,
    /// Two bits of one word are flipped.
    FlipTwoBits,
    /// One is added to every word.
    AddConstant,
    /// Every byte is zero: the point that a challenge must not be, too.
    Zero,
    /// Two rows change places.
    SwapRows,
    /// A row is left out; those behind it move up.
    DropRow,
    /// All rows come in reverse: another permutation, applied to the masks too.
    Permute,
    /// Random bytes come in its place: a share that fits nothing.
    RandomShare,
    /// The message with the same label of another session.
    OldFrame,
    /// The message comes twice.
    Twice,
    /// It never comes; what follows it does.
    Skip,
    /// A byte is missing.
    Short,
    /// Another label.
    WrongLabel,
    /// Nothing comes, now or later; what others send is still read.
    Silence,
    /// The statement says something else, and is signed: the other neighbour gets the true one.
    FalseAccount,
    /// The statement is true, its signature is not the party's.
    BadSignature,
    /// A refusal comes in the place of an opening of the outputs.
    Refuse,
}

impl Deed {
    /// Deeds that fit any message.
    pub const GENERAL: [Self; 10] = [
        Self::FlipBit,
        Self::FlipTwoBits,
        Self::AddConstant,
        Self::Zero,
        Self::RandomShare,
        Self::OldFrame,
        Self::Twice,
        Self::Skip,
        Self::Short,
        Self::WrongLabel,
    ];
    /// Deeds that need rows.
    pub const ON_ROWS: [Self; 3] = [Self::SwapRows, Self::DropRow, Self::Permute];

    /// Applies it to the bytes of a message with rows of `row` bytes.
    pub fn apply(self, message: &mut Vec<u8>, row: usize, other: Option<&[u8]>) {
        match self {
            Self::FlipBit => message[0] ^= 1,
            Self::FlipTwoBits => message[0] ^= 0b101,
            Self::AddConstant => {
                for word in message.chunks_exact_mut(8) {
                    let value = u64::from_le_bytes((&*word).try_into().expect("eight bytes"));
                    word.copy_from_slice(&value.wrapping_add(1).to_le_bytes());
                }
            }
            Self::Zero => message.fill(0),
            Self::SwapRows => {
                let (one, others) = message.split_at_mut(row);
                if let Some(last) = others.len().checked_sub(row) {
                    one.swap_with_slice(&mut others[last..]);
                }
            }
            Self::DropRow => {
                message.drain(..row);
                message.resize(message.len() + row, 0);
            }
            Self::Permute => {
                let rows: Vec<u8> = message.chunks_exact(row).rev().flatten().copied().collect();
                message[..rows.len()].copy_from_slice(&rows);
            }
            Self::RandomShare => {
                for (i, byte) in message.iter_mut().enumerate() {
                    *byte ^= (i as u8).wrapping_mul(167).wrapping_add(91);
                }
            }
            Self::OldFrame => {
                if let Some(other) = other {
                    other.clone_into(message);
                }
            }
            Self::Short => drop(message.pop()),
            Self::Refuse => *message = vec![0],
            Self::BadSignature => {
                if let Some(last) = message.last_mut() {
                    *last ^= 1;
                }
            }
            Self::Twice | Self::Skip | Self::WrongLabel | Self::Silence | Self::FalseAccount => {}
        }
    }
}

/// One message and what is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act {
    /// Its kind.
    pub kind: Kind,
    /// Which of that kind, in the order of sending, from 0.
    pub nth: usize,
    /// What is done.
    pub deed: Deed,
}

/// A lie of a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// About one message.
    Message(Act),
    /// About two: the second is to cover the first.
    Covered(Act, Act),
    /// A bit of one message is flipped; then the party sends each neighbour the hashes that it got from that neighbour.
    Echo {
        /// The kind.
        kind: Kind,
        /// Which of that kind.
        nth: usize,
    },
    /// Another share of the input than the other holder's, from the beginning: of a credential or of a ballot, the first or the second
    /// that the party holds.
    Input {
        /// A voter's credential; else a ballot.
        credential: bool,
        /// The share that the previous party holds too; else the one that the next party holds too.
        own: bool,
    },
    /// Another seed than the pair's from the beginning: with the previous party (1), the next (2), both (3).
    WrongSeed(u8),
    /// Every message is on its way for a while.
    Drip,
    /// A rushing party: every message of a kind waits until both neighbours' have come, if they do; then a bit is flipped, if so told.
    Rush {
        /// The kind; the value and the hash of an opening wait together.
        kind: Kind,
        /// Whether what it sends is then altered in the light of what came.
        alter: bool,
    },
    /// A rushing party: the message with this number, of all that it sends, waits until somebody shows an opening, or until it is clear
    /// that nobody does.
    HoldBack {
        /// Its number.
        message: usize,
        /// It never comes if nobody shows anything.
        for_ever: bool,
    },
}

impl Lie {
    /// For the table: what it is about, and what is done.
    #[must_use]
    pub fn name(self) -> (String, String) {
        let all = || "all".to_owned();
        match self {
            Self::Message(act) => (format!("{:?}", act.kind), format!("{:?}", act.deed)),
            Self::Covered(one, two) => (
                format!("{:?}", one.kind),
                format!("{:?}+{:?}{:?}", one.deed, two.kind, two.deed),
            ),
            Self::Echo { kind, .. } => (format!("{kind:?}"), "FlipBit+Echo".to_owned()),
            Self::Input { credential, .. } => (
                "input".to_owned(),
                if credential { "Credential" } else { "Ballot" }.to_owned(),
            ),
            Self::WrongSeed(_) => (all(), "WrongSeed".to_owned()),
            Self::Drip => (all(), "Drip".to_owned()),
            Self::Rush { kind, alter } => (
                format!("{kind:?}"),
                if alter { "Rush+Alter" } else { "Rush" }.to_owned(),
            ),
            Self::HoldBack { for_ever, .. } => (
                "before statement".to_owned(),
                if for_ever { "HoldForEver" } else { "HoldBack" }.to_owned(),
            ),
        }
    }

    /// Whether honest parties learn of it only by a deadline.
    #[must_use]
    pub fn is_silent(self) -> bool {
        matches!(
            self,
            Self::Message(Act {
                deed: Deed::Silence | Deed::Skip,
                ..
            }) | Self::HoldBack { for_ever: true, .. }
        )
    }
}
