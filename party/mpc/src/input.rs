//! What one party brings to a tally, fed row by row: the roll's flags and credential shares, then the ballots' shares.

use zeroize::Zeroize;

use crate::layout::{BallotLayout, CREDENTIAL_BITS, LayoutError, get_bits};
use crate::link::put_words;
use crate::role::Role;
use crate::rows::RowLayout;

/// How many rows of each kind a box has. Public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Voters of the roll, N.
    pub voters: u32,
    /// Online ballots.
    pub online: u32,
    /// Station ballots with a choice.
    pub electronic: u32,
    /// Station ballots without one: they strike the voter's other votes.
    pub paper: u32,
}

impl Shape {
    /// Ballots of all kinds, n.
    pub fn ballots(&self) -> u64 {
        u64::from(self.online) + u64::from(self.electronic) + u64::from(self.paper)
    }

    /// Rows of the tally, M = N + 1 + n: the roll, its sentinel, the ballots.
    pub fn rows(&self) -> u64 {
        u64::from(self.voters) + 1 + self.ballots()
    }
}

/// The kind of a ballot row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BallotKind {
    /// Cast online: counts where its credential is the voter's.
    Online,
    /// Cast at a station with a choice.
    Electronic,
    /// Cast at a station on paper: strikes the voter's other votes, is counted by hand.
    Paper,
}

/// The input does not fit together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum InputError {
    /// The index field of the ballots is too narrow for the roll.
    #[error("a roll of {voters} voters needs an index of {needed} bits; the ballots have {bits}")]
    IndexBits {
        /// Voters of the roll.
        voters: u32,
        /// Bits that its numbers and the sentinel's need.
        needed: usize,
        /// Bits of the layout.
        bits: usize,
    },
    /// Rows are numbered with 32 bits.
    #[error("{rows} rows are too many for one box, {} at most; split the box", u32::MAX)]
    TooManyRows {
        /// The rows.
        rows: u64,
    },
    /// More voters were pushed than the shape says, or one after the ballots began.
    #[error("voter {number} was pushed, but the roll has {voters} and comes before the ballots")]
    UnexpectedVoter {
        /// The voter pushed, counted from 1.
        number: u64,
        /// Voters of the shape.
        voters: u32,
    },
    /// A ballot of another kind is due at this place: online, then electronic, then paper.
    #[error("ballot {number} is {kind:?}, but {due:?} is due there")]
    UnexpectedBallot {
        /// The ballot pushed, counted from 1.
        number: u64,
        /// Its kind.
        kind: BallotKind,
        /// What the shape prescribes at that place; `None` when the roll is unfinished or all ballots are there.
        due: Option<BallotKind>,
    },
    /// A ballot's share is malformed.
    #[error("ballot {number}: {source}")]
    Ballot {
        /// The ballot, counted from 1.
        number: u64,
        /// What is wrong with it.
        source: LayoutError,
    },
    /// Rows are missing.
    #[error(
        "{voters} voters and {ballots} ballots were pushed; the shape has {expected_voters} and {expected_ballots}"
    )]
    Missing {
        /// Voters pushed.
        voters: u64,
        /// Ballots pushed.
        ballots: u64,
        /// Voters of the shape.
        expected_voters: u32,
        /// Ballots of the shape.
        expected_ballots: u64,
    },
}

/// Words at a time of a fingerprint: enough bytes to keep a vectorised hash busy.
const FINGERPRINT_WORDS: usize = 2048;

/// Collects the rows of one box.
pub struct InputBuilder {
    input: TallyInput,
    voters: u64,
    ballots: u64,
    /// Of the roll row before: live, enrolled, both credential shares.
    before: (bool, bool, u64, u64),
}

/// One party's rows of one box, complete. Holds shares: not cloned, compared or printed; zeroised on drop.
pub struct TallyInput {
    pub(crate) role: Role,
    pub(crate) layout: BallotLayout,
    pub(crate) shape: Shape,
    pub(crate) format: RowLayout,
    /// x_i of all rows, row after row.
    pub(crate) own: Vec<u64>,
    /// x_{i+1} of all rows.
    pub(crate) next: Vec<u64>,
}

impl TallyInput {
    /// Begins the input of `role` for a box of that layout and shape.
    ///
    /// # Errors
    /// The index field is too narrow for the roll, or there are too many rows.
    pub fn builder(role: Role, layout: &BallotLayout, shape: Shape) -> Result<InputBuilder, InputError> {
        let rows = shape.rows();
        if rows > u64::from(u32::MAX) {
            return Err(InputError::TooManyRows { rows });
        }
        let needed = BallotLayout::index_bits_for(shape.voters);
        if layout.index_bits() < needed {
            return Err(InputError::IndexBits {
                voters: shape.voters,
                needed,
                bits: layout.index_bits(),
            });
        }
        let format = RowLayout::new(layout, &shape);
        // And a word of each row for the tag that the shuffle puts there.
        let capacity = rows as usize * (format.words() + 1);
        let mut input = TallyInput {
            role,
            layout: layout.clone(),
            shape,
            format,
            own: Vec::with_capacity(capacity),
            next: Vec::with_capacity(capacity),
        };
        if shape.voters == 0 {
            input.push_roll_row(0, (false, false, 0, 0), (false, false, 0, 0));
        }
        Ok(InputBuilder {
            input,
            voters: 0,
            ballots: 0,
            before: (false, false, 0, 0),
        })
    }

    /// The box's shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// BLAKE3 over role, shape and all words of both shares, in order: whoever keeps it can tell later whether it was this input.
    ///
    /// # Security
    /// A hash of shares: for the party's own sealed records and nobody else.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hash = blake3::Hasher::new();
        hash.update(b"tally-mpc input v2");
        hash.update(&[self.role.index()]);
        let Shape {
            voters,
            online,
            electronic,
            paper,
        } = self.shape;
        for count in [voters, online, electronic, paper] {
            hash.update(&count.to_le_bytes());
        }
        let mut bytes = zeroize::Zeroizing::new(vec![0; 8 * FINGERPRINT_WORDS]);
        for words in self
            .own
            .chunks(FINGERPRINT_WORDS)
            .chain(self.next.chunks(FINGERPRINT_WORDS))
        {
            let bytes = &mut bytes[..8 * words.len()];
            put_words(bytes, words);
            hash.update(bytes);
        }
        hash.finalize().into()
    }

    /// Appends a zero row and returns both halves of it.
    fn new_row(&mut self) -> (&mut [u64], &mut [u64]) {
        let at = self.own.len();
        let end = at + self.format.words();
        self.own.resize(end, 0);
        self.next.resize(end, 0);
        (&mut self.own[at..], &mut self.next[at..])
    }

    /// Appends roll row `v`: the differences to the row before.
    fn push_roll_row(&mut self, v: u32, this: (bool, bool, u64, u64), before: (bool, bool, u64, u64)) {
        let format = self.format.clone();
        let (mask_own, mask_next) = self.role.constant_masks();
        let (own, next) = self.new_row();
        own[format.delta_word()] = this.2 ^ before.2;
        next[format.delta_word()] = this.3 ^ before.3;
        for (half, mask) in [(own, mask_own), (next, mask_next)] {
            format.xor_key(half, u64::from(v) & mask, 0);
            format.xor_bit(half, format.roll_bit(), mask);
            format.xor_bit(half, format.live_bit(), mask & u64::from(this.0 ^ before.0));
            format.xor_bit(half, format.enrolled_bit(), mask & u64::from(this.1 ^ before.1));
        }
    }
}

impl InputBuilder {
    /// The next voter of the roll: the seal's flags and this party's two shares of the credential (ignored where the
    /// voter is not enrolled).
    ///
    /// # Errors
    /// The roll is already complete.
    pub fn push_voter(&mut self, live: bool, enrolled: bool, own: u64, next: u64) -> Result<(), InputError> {
        let voters = self.input.shape.voters;
        if self.voters >= u64::from(voters) {
            return Err(InputError::UnexpectedVoter {
                number: self.voters + 1,
                voters,
            });
        }
        let this = if enrolled {
            (live, true, own, next)
        } else {
            (live, false, 0, 0)
        };
        self.input.push_roll_row(self.voters as u32, this, self.before);
        self.before = this;
        self.voters += 1;
        if self.voters == u64::from(voters) {
            // The sentinel: index N, everything zero.
            self.input
                .push_roll_row(voters, (false, false, 0, 0), self.before);
            self.before.2.zeroize();
            self.before.3.zeroize();
        }
        Ok(())
    }

    /// The next ballot in the public order: this party's two packed shares. Of an electronic ballot the credential is
    /// ignored, of a paper one the payload too.
    ///
    /// # Errors
    /// Another kind is due, or a share is malformed.
    pub fn push_ballot(&mut self, kind: BallotKind, own: &[u8], next: &[u8]) -> Result<(), InputError> {
        let number = self.ballots + 1;
        let due = self.due();
        if due != Some(kind) {
            return Err(InputError::UnexpectedBallot { number, kind, due });
        }
        for share in [own, next] {
            self.input
                .layout
                .check(share)
                .map_err(|source| InputError::Ballot { number, source })?;
        }
        let format = self.input.format.clone();
        let index_bits = self.input.layout.index_bits();
        let payload_bits = self.input.layout.payload_bits();
        let (mask_own, mask_next) = self.input.role.constant_masks();
        let (row_own, row_next) = self.input.new_row();
        for (row, share, mask) in [(row_own, own, mask_own), (row_next, next, mask_next)] {
            format.xor_key(row, get_bits(share, 0, index_bits), number & mask);
            match kind {
                BallotKind::Online => {
                    row[format.credential_word()] = get_bits(share, index_bits, CREDENTIAL_BITS);
                }
                BallotKind::Electronic => format.xor_bit(row, format.station_bit(), mask),
                BallotKind::Paper => format.xor_bit(row, format.paper_bit(), mask),
            }
            if kind != BallotKind::Paper {
                for at in (0..payload_bits).step_by(64) {
                    let bits = (payload_bits - at).min(64);
                    let value = get_bits(share, index_bits + CREDENTIAL_BITS + at, bits);
                    format.xor_bits(row, format.payload_bit() + at, value);
                }
            }
        }
        self.ballots += 1;
        Ok(())
    }

    /// The kind that the shape prescribes for the next ballot.
    fn due(&self) -> Option<BallotKind> {
        let shape = &self.input.shape;
        let (online, electronic) = (u64::from(shape.online), u64::from(shape.electronic));
        if self.voters < u64::from(shape.voters) || self.ballots >= shape.ballots() {
            None
        } else if self.ballots < online {
            Some(BallotKind::Online)
        } else if self.ballots < online + electronic {
            Some(BallotKind::Electronic)
        } else {
            Some(BallotKind::Paper)
        }
    }

    /// The complete input.
    ///
    /// # Errors
    /// Rows are missing.
    pub fn finish(self) -> Result<TallyInput, InputError> {
        let shape = self.input.shape;
        if self.voters < u64::from(shape.voters) || self.ballots < shape.ballots() {
            return Err(InputError::Missing {
                voters: self.voters,
                ballots: self.ballots,
                expected_voters: shape.voters,
                expected_ballots: shape.ballots(),
            });
        }
        Ok(self.input)
    }
}

impl Drop for TallyInput {
    fn drop(&mut self) {
        self.own.zeroize();
        self.next.zeroize();
    }
}
