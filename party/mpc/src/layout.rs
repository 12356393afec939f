//! The packed form of a ballot, which voters share and parties tally.
//!
//! Bits, least significant first in each byte: index (k) | credential (64) | payload (w), then zero bits up to a whole
//! byte. The payload is the contests' fields in order. A share is the same bytes XORed with two random ones.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// Length of a credential in bits.
pub const CREDENTIAL_BITS: usize = 64;

/// The most options a contest can have.
pub const MAX_OPTIONS: u32 = 4096;

/// One question on the ballot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Contest {
    /// One option of `options`. Field: a number of ceil(log2(options + 1)) bits; 0 is nothing chosen, 1..=options are
    /// the options, a greater number is a spoilt vote.
    Single {
        /// How many options there are.
        options: u32,
    },
    /// Up to `max` options of `options`. Field: one bit an option, the first option first; more than `max` bits set is
    /// a spoilt vote.
    Approval {
        /// How many options there are.
        options: u32,
        /// How many may be chosen.
        max: u32,
    },
}

impl Contest {
    /// How many options there are.
    pub const fn options(&self) -> u32 {
        match self {
            Self::Single { options } | Self::Approval { options, .. } => *options,
        }
    }

    /// The width of the field in bits.
    pub const fn bits(&self) -> usize {
        match self {
            Self::Single { options } => (u32::BITS - options.leading_zeros()) as usize,
            Self::Approval { options, .. } => *options as usize,
        }
    }

    /// Whether some content of the field is a spoilt vote.
    pub const fn can_be_spoilt(&self) -> bool {
        match self {
            Self::Single { options } => !(*options + 1).is_power_of_two(),
            Self::Approval { options, max } => *max < *options,
        }
    }
}

/// What a voter chose in one contest. Options are numbered from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Choice {
    /// Nothing.
    Blank,
    /// These options: at most one where the contest is single choice.
    Options(Vec<u32>),
    /// A vote that is counted as spoilt.
    Spoilt,
}

/// A ballot or a layout that cannot be packed or read.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayoutError {
    /// The index field has 1 to 32 bits.
    #[error("an index of {0} bits is not within 1 to 32")]
    IndexBits(usize),
    /// There is at least one contest.
    #[error("a ballot needs at least one contest")]
    NoContest,
    /// The number of options is out of range.
    #[error("contest {contest}: {options} options are not within 1 to {MAX_OPTIONS}")]
    Options {
        /// The contest, counted from 1.
        contest: usize,
        /// The number of options.
        options: u32,
    },
    /// The limit of an approval contest is out of range.
    #[error("contest {contest}: a limit of {max} choices is not within 1 to {options}")]
    Limit {
        /// The contest, counted from 1.
        contest: usize,
        /// The limit.
        max: u32,
        /// The number of options.
        options: u32,
    },
    /// The voter's index does not fit the field.
    #[error("index {index} does not fit in {bits} bits")]
    Index {
        /// The index.
        index: u32,
        /// The width of the field.
        bits: usize,
    },
    /// One choice for each contest.
    #[error("{given} choices were given for {contests} contests")]
    Choices {
        /// The number of choices.
        given: usize,
        /// The number of contests.
        contests: usize,
    },
    /// More options were chosen than allowed.
    #[error("contest {contest}: {chosen} options are chosen, at most {max} may be")]
    TooMany {
        /// The contest, counted from 1.
        contest: usize,
        /// How many were chosen.
        chosen: usize,
        /// How many may be.
        max: u32,
    },
    /// No such option.
    #[error("contest {contest}: there is no option {option}, they are numbered 1 to {options}")]
    UnknownOption {
        /// The contest, counted from 1.
        contest: usize,
        /// What was chosen.
        option: u32,
        /// The number of options.
        options: u32,
    },
    /// An option was chosen twice.
    #[error("contest {contest}: option {option} is chosen twice")]
    Repeated {
        /// The contest, counted from 1.
        contest: usize,
        /// The option.
        option: u32,
    },
    /// No content of this contest's field is a spoilt vote.
    #[error("contest {contest}: its field has no content that counts as spoilt")]
    CannotSpoil {
        /// The contest, counted from 1.
        contest: usize,
    },
    /// A share or a plain ballot has the wrong length.
    #[error("{got} bytes instead of {expected}")]
    Length {
        /// The length of the layout.
        expected: usize,
        /// What was given.
        got: usize,
    },
    /// A bit after the payload is not zero.
    #[error("the bits after the payload are not all zero")]
    Padding,
}

/// The form of every ballot of a box.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BallotLayout {
    index_bits: usize,
    contests: Vec<Contest>,
}

impl BallotLayout {
    /// A layout with an index field of `index_bits` and these contests.
    ///
    /// # Errors
    /// A width, a number of options or a limit is out of range.
    pub fn new(index_bits: usize, contests: Vec<Contest>) -> Result<Self, LayoutError> {
        if !(1..=32).contains(&index_bits) {
            return Err(LayoutError::IndexBits(index_bits));
        }
        if contests.is_empty() {
            return Err(LayoutError::NoContest);
        }
        for (i, contest) in contests.iter().enumerate() {
            let options = contest.options();
            if options == 0 || options > MAX_OPTIONS {
                return Err(LayoutError::Options {
                    contest: i + 1,
                    options,
                });
            }
            if let Contest::Approval { options, max } = *contest
                && !(1..=options).contains(&max)
            {
                return Err(LayoutError::Limit {
                    contest: i + 1,
                    max,
                    options,
                });
            }
        }
        Ok(Self { index_bits, contests })
    }

    /// The narrowest index field for a roll of `voters`: ceil(log2(voters + 1)), at least 1 bit.
    pub const fn index_bits_for(voters: u32) -> usize {
        let bits = (u32::BITS - voters.leading_zeros()) as usize;
        if bits == 0 { 1 } else { bits }
    }

    /// Width of the index field, k.
    pub fn index_bits(&self) -> usize {
        self.index_bits
    }

    /// The contests in order.
    pub fn contests(&self) -> &[Contest] {
        &self.contests
    }

    /// Width of the payload in bits, w.
    pub fn payload_bits(&self) -> usize {
        self.contests.iter().map(Contest::bits).sum()
    }

    /// Length of a packed ballot and of each of its shares, in bytes.
    pub fn share_bytes(&self) -> usize {
        self.bits().div_ceil(8)
    }

    fn bits(&self) -> usize {
        self.index_bits + CREDENTIAL_BITS + self.payload_bits()
    }

    /// Packs a plain ballot of the voter `index`.
    ///
    /// # Errors
    /// The index does not fit, or a choice is not one the contest allows.
    pub fn pack(
        &self,
        index: u32,
        credential: u64,
        choices: &[Choice],
    ) -> Result<Zeroizing<Vec<u8>>, LayoutError> {
        if choices.len() != self.contests.len() {
            return Err(LayoutError::Choices {
                given: choices.len(),
                contests: self.contests.len(),
            });
        }
        let mut payload = Zeroizing::new(vec![0u8; self.payload_bits().div_ceil(8)]);
        let mut at = 0;
        for (i, (contest, choice)) in self.contests.iter().zip(choices).enumerate() {
            pack_choice(contest, choice, i + 1, &mut payload, at)?;
            at += contest.bits();
        }
        self.pack_payload(index, credential, &payload)
    }

    /// Packs a plain ballot with a payload of any content, its bits least significant first: the way to build a spoilt
    /// field on purpose. Only the first w bits of `payload` are used; missing ones are zero.
    ///
    /// # Errors
    /// The index does not fit its field.
    pub fn pack_payload(
        &self,
        index: u32,
        credential: u64,
        payload: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, LayoutError> {
        if self.index_bits < 32 && index >> self.index_bits != 0 {
            return Err(LayoutError::Index {
                index,
                bits: self.index_bits,
            });
        }
        let mut out = Zeroizing::new(vec![0u8; self.share_bytes()]);
        put_bits(&mut out, 0, self.index_bits, u64::from(index));
        put_bits(&mut out, self.index_bits, CREDENTIAL_BITS, credential);
        let base = self.index_bits + CREDENTIAL_BITS;
        for bit in 0..self.payload_bits() {
            let value = payload
                .get(bit / 8)
                .is_some_and(|byte| byte >> (bit % 8) & 1 == 1);
            put_bits(&mut out, base + bit, 1, u64::from(value));
        }
        Ok(out)
    }

    /// Length of a choice part in bytes: the payload, from a whole byte on.
    pub fn choice_bytes(&self) -> usize {
        self.payload_bits().div_ceil(8)
    }

    /// The part of a share or a plain ballot that says whose it is: index and credential, in whole bytes, then zero bits.
    /// With [`BallotLayout::choice_part`] it is all of the share: two shares of this layout with equal parts are equal.
    pub fn voter_part(&self, share: &[u8]) -> Zeroizing<Vec<u8>> {
        cut_bits(share, 0, self.index_bits + CREDENTIAL_BITS)
    }

    /// The part of a share or a plain ballot that says what is chosen: the payload, in whole bytes, then zero bits.
    pub fn choice_part(&self, share: &[u8]) -> Zeroizing<Vec<u8>> {
        cut_bits(share, self.index_bits + CREDENTIAL_BITS, self.payload_bits())
    }

    /// Reads a plain choice part: one choice for each contest, as the tally counts it.
    ///
    /// # Errors
    /// [`LayoutError::Length`], [`LayoutError::Padding`].
    pub fn choices(&self, choice_part: &[u8]) -> Result<Vec<Choice>, LayoutError> {
        check_bits(choice_part, self.payload_bits())?;
        let mut at = 0;
        let read = |contest: &Contest| {
            let choice = read_choice(contest, choice_part, at);
            at += contest.bits();
            choice
        };
        Ok(self.contests.iter().map(read).collect())
    }

    /// Checks a share or a plain ballot: exact length, zero padding.
    ///
    /// # Errors
    /// Which of the two is wrong.
    pub fn check(&self, bytes: &[u8]) -> Result<(), LayoutError> {
        check_bits(bytes, self.bits())
    }

    /// Splits a packed ballot into three shares with x_1 ^ x_2 ^ x_3 = plain; party P_i receives x_i and x_{i+1}.
    ///
    /// # Errors
    /// `plain` is not of this layout.
    pub fn split(
        &self,
        plain: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<[Zeroizing<Vec<u8>>; 3], LayoutError> {
        self.check(plain)?;
        let spare = plain.len() * 8 - self.bits();
        let mut random = || {
            let mut share = Zeroizing::new(vec![0u8; plain.len()]);
            rng.fill_bytes(&mut share);
            if let Some(last) = share.last_mut() {
                *last &= u8::MAX >> spare;
            }
            share
        };
        let (first, second) = (random(), random());
        let third = plain
            .iter()
            .zip(first.iter())
            .zip(second.iter())
            .map(|((p, a), b)| p ^ a ^ b)
            .collect();
        Ok([first, second, Zeroizing::new(third)])
    }
}

/// Splits a credential into three shares with x_1 ^ x_2 ^ x_3 = credential.
pub fn split_credential(credential: u64, rng: &mut impl CryptoRng) -> [Zeroizing<u64>; 3] {
    let (first, second) = (rng.next_u64(), rng.next_u64());
    [
        Zeroizing::new(first),
        Zeroizing::new(second),
        Zeroizing::new(credential ^ first ^ second),
    ]
}

/// Checks that `bytes` holds exactly `bits` bits: as many whole bytes as they need, and zeros after them.
fn check_bits(bytes: &[u8], bits: usize) -> Result<(), LayoutError> {
    let expected = bits.div_ceil(8);
    if bytes.len() != expected {
        return Err(LayoutError::Length {
            expected,
            got: bytes.len(),
        });
    }
    let spare = expected * 8 - bits;
    match bytes.last() {
        Some(last) if spare > 0 && last >> (8 - spare) != 0 => Err(LayoutError::Padding),
        _ => Ok(()),
    }
}

/// What the tally counts for the field of one contest at bit `at` of the payload.
fn read_choice(contest: &Contest, payload: &[u8], at: usize) -> Choice {
    match *contest {
        Contest::Single { options } => match get_bits(payload, at, contest.bits()) as u32 {
            0 => Choice::Blank,
            option if option <= options => Choice::Options(vec![option]),
            _ => Choice::Spoilt,
        },
        Contest::Approval { options, max } => {
            let chosen: Vec<u32> = (1..=options)
                .filter(|option| get_bits(payload, at + *option as usize - 1, 1) == 1)
                .collect();
            match chosen.len() {
                0 => Choice::Blank,
                chosen if chosen > max as usize => Choice::Spoilt,
                _ => Choice::Options(chosen),
            }
        }
    }
}

/// Writes the field of one contest at bit `at` of the payload; `number` counts contests from 1, for errors.
fn pack_choice(
    contest: &Contest,
    choice: &Choice,
    number: usize,
    payload: &mut [u8],
    at: usize,
) -> Result<(), LayoutError> {
    let chosen = match choice {
        Choice::Blank => return Ok(()),
        Choice::Spoilt if !contest.can_be_spoilt() => {
            return Err(LayoutError::CannotSpoil { contest: number });
        }
        Choice::Spoilt => {
            match contest {
                Contest::Single { .. } => put_bits(payload, at, contest.bits(), u64::MAX),
                Contest::Approval { options, .. } => {
                    for bit in 0..*options as usize {
                        put_bits(payload, at + bit, 1, 1);
                    }
                }
            }
            return Ok(());
        }
        Choice::Options(chosen) => chosen,
    };
    let options = contest.options();
    let max = match contest {
        Contest::Single { .. } => 1,
        Contest::Approval { max, .. } => *max,
    };
    if let Some(&option) = chosen.iter().find(|o| !(1..=options).contains(*o)) {
        return Err(LayoutError::UnknownOption {
            contest: number,
            option,
            options,
        });
    }
    if let Some((_, &option)) = chosen.iter().enumerate().find(|(i, o)| chosen[..*i].contains(o)) {
        return Err(LayoutError::Repeated {
            contest: number,
            option,
        });
    }
    if chosen.len() > max as usize {
        return Err(LayoutError::TooMany {
            contest: number,
            chosen: chosen.len(),
            max,
        });
    }
    for &option in chosen {
        match contest {
            Contest::Single { .. } => put_bits(payload, at, contest.bits(), u64::from(option)),
            Contest::Approval { .. } => put_bits(payload, at + option as usize - 1, 1, 1),
        }
    }
    Ok(())
}

/// Writes the low `bits` bits of `value` from bit `at` on, into zero bits.
fn put_bits(bytes: &mut [u8], at: usize, bits: usize, value: u64) {
    for i in 0..bits {
        bytes[(at + i) / 8] |= ((value >> i & 1) as u8) << ((at + i) % 8);
    }
}

/// `bits` bits from bit `at` on, in whole bytes, then zero bits; bits beyond the end are zero.
fn cut_bits(bytes: &[u8], at: usize, bits: usize) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(bits.div_ceil(8)));
    for done in (0..bits).step_by(8) {
        out.push(get_bits(bytes, at + done, (bits - done).min(8)) as u8);
    }
    out
}

/// Reads up to 64 bits from bit `at` on; bits beyond the end are zero.
pub(crate) fn get_bits(bytes: &[u8], at: usize, bits: usize) -> u64 {
    let tail = bytes.get(at / 8..).unwrap_or_default();
    let mut wide = [0u8; 16];
    let available = tail.len().min(9);
    wide[..available].copy_from_slice(&tail[..available]);
    let word = (u128::from_le_bytes(wide) >> (at % 8)) as u64;
    if bits == 64 {
        word
    } else {
        word & ((1 << bits) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    fn layout() -> BallotLayout {
        BallotLayout::new(
            5,
            vec![
                Contest::Single { options: 4 },
                Contest::Approval { options: 6, max: 2 },
            ],
        )
        .expect("a valid layout")
    }

    #[test]
    fn widths() {
        for (options, bits) in [(1, 1), (2, 2), (3, 2), (4, 3), (7, 3), (8, 4), (4096, 13)] {
            assert_eq!(Contest::Single { options }.bits(), bits);
        }
        assert_eq!(layout().share_bytes(), (5 + 64 + 3 + 6usize).div_ceil(8));
        for (voters, bits) in [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3), (1_000_000, 20)] {
            assert_eq!(BallotLayout::index_bits_for(voters), bits);
        }
    }

    #[test]
    fn packs_bits_least_significant_first() {
        let choices = [Choice::Options(vec![3]), Choice::Options(vec![6, 1])];
        let plain = layout()
            .pack(17, 0x8000_0000_0000_0001, &choices)
            .expect("a valid ballot");
        assert_eq!(get_bits(&plain, 0, 5), 17);
        assert_eq!(get_bits(&plain, 5, 64), 0x8000_0000_0000_0001);
        assert_eq!(get_bits(&plain, 69, 3), 3);
        assert_eq!(get_bits(&plain, 72, 6), 0b10_0001);
        layout().check(&plain).expect("what was packed is well formed");
    }

    #[test]
    fn the_two_parts_are_the_whole_share_and_the_choice_is_read_back() {
        let mut rng = ChaCha20Rng::seed_from_u64(9);
        let options = |list: &[u32]| Choice::Options(list.to_vec());
        for index_bits in [1, 5, 8, 13, 31, 32] {
            let layout = BallotLayout::new(index_bits, layout().contests().to_vec()).expect("a valid layout");
            for (single, approval) in [
                (Choice::Blank, Choice::Blank),
                (options(&[4]), options(&[1, 6])),
                (options(&[1]), options(&[3])),
                (Choice::Spoilt, Choice::Spoilt),
            ] {
                let chosen = [single, approval];
                let plain = layout.pack(1, 0xfeed_0000_0000_beef, &chosen).expect("a ballot");
                let choice = layout.choice_part(&plain);
                assert_eq!(choice.len(), layout.choice_bytes());
                assert_eq!(layout.choices(&choice).expect("a choice part"), chosen);
                let voter = layout.voter_part(&plain);
                assert_eq!(get_bits(&voter, 0, index_bits), 1);
                assert_eq!(get_bits(&voter, index_bits, 64), 0xfeed_0000_0000_beef);
                // Splitting and cutting commute, and every bit of a share is in exactly one part.
                let shares = layout.split(&plain, &mut rng).expect("splits");
                let xor = |part: &dyn Fn(&[u8]) -> Zeroizing<Vec<u8>>| -> Vec<u8> {
                    let [a, b, c] = shares.each_ref().map(|share| part(share));
                    a.iter()
                        .zip(b.iter())
                        .zip(c.iter())
                        .map(|((a, b), c)| a ^ b ^ c)
                        .collect()
                };
                assert_eq!(xor(&|share| layout.choice_part(share)), *choice);
                assert_eq!(xor(&|share| layout.voter_part(share)), *voter);
                for bit in 0..layout.bits() {
                    let mut changed = plain.to_vec();
                    changed[bit / 8] ^= 1 << (bit % 8);
                    let of_voter = layout.voter_part(&changed) != voter;
                    let of_choice = layout.choice_part(&changed) != choice;
                    assert_eq!(
                        (of_voter, of_choice),
                        (bit < index_bits + 64, bit >= index_bits + 64)
                    );
                }
            }
        }
        let layout = layout();
        assert_eq!(
            layout.choices(&[0; 3]),
            Err(LayoutError::Length { expected: 2, got: 3 })
        );
        assert_eq!(layout.choices(&[0, 2]), Err(LayoutError::Padding));
    }

    #[test]
    fn refuses_choices_precisely() {
        let pack = |a: Choice, b: Choice| layout().pack(0, 0, &[a, b]).map(|_| ());
        let options = |list: &[u32]| Choice::Options(list.to_vec());
        assert_eq!(
            pack(options(&[5]), Choice::Blank),
            Err(LayoutError::UnknownOption {
                contest: 1,
                option: 5,
                options: 4
            })
        );
        assert_eq!(
            pack(options(&[0]), Choice::Blank),
            Err(LayoutError::UnknownOption {
                contest: 1,
                option: 0,
                options: 4
            })
        );
        assert_eq!(
            pack(options(&[1, 2]), Choice::Blank),
            Err(LayoutError::TooMany {
                contest: 1,
                chosen: 2,
                max: 1
            })
        );
        assert_eq!(
            pack(Choice::Blank, options(&[1, 2, 3])),
            Err(LayoutError::TooMany {
                contest: 2,
                chosen: 3,
                max: 2
            })
        );
        assert_eq!(
            pack(Choice::Blank, options(&[2, 2])),
            Err(LayoutError::Repeated {
                contest: 2,
                option: 2
            })
        );
        assert_eq!(
            layout().pack(0, 0, &[Choice::Blank]).map(|_| ()),
            Err(LayoutError::Choices {
                given: 1,
                contests: 2
            })
        );
        assert_eq!(
            layout().pack(32, 0, &[Choice::Blank, Choice::Blank]).map(|_| ()),
            Err(LayoutError::Index { index: 32, bits: 5 })
        );
        let full = BallotLayout::new(3, vec![Contest::Single { options: 3 }]).expect("a valid layout");
        assert_eq!(
            full.pack(0, 0, &[Choice::Spoilt]).map(|_| ()),
            Err(LayoutError::CannotSpoil { contest: 1 })
        );
        assert!(pack(Choice::Spoilt, Choice::Spoilt).is_ok());
    }

    #[test]
    fn refuses_layouts_out_of_range() {
        let single = |options| vec![Contest::Single { options }];
        assert_eq!(BallotLayout::new(0, single(2)), Err(LayoutError::IndexBits(0)));
        assert_eq!(BallotLayout::new(33, single(2)), Err(LayoutError::IndexBits(33)));
        assert_eq!(BallotLayout::new(1, vec![]), Err(LayoutError::NoContest));
        assert_eq!(
            BallotLayout::new(1, single(0)),
            Err(LayoutError::Options {
                contest: 1,
                options: 0
            })
        );
        for max in [0, 4] {
            assert_eq!(
                BallotLayout::new(1, vec![Contest::Approval { options: 3, max }]),
                Err(LayoutError::Limit {
                    contest: 1,
                    max,
                    options: 3
                })
            );
        }
    }

    #[test]
    fn shares_recombine_and_bad_ones_are_refused() {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let layout = layout();
        let plain = layout
            .pack(9, 77, &[Choice::Spoilt, Choice::Blank])
            .expect("a valid ballot");
        for _ in 0..50 {
            let shares = layout.split(&plain, &mut rng).expect("a packed ballot");
            for share in &shares {
                layout.check(share).expect("a share is well formed");
            }
            let sum: Vec<u8> = (0..plain.len())
                .map(|i| shares[0][i] ^ shares[1][i] ^ shares[2][i])
                .collect();
            assert_eq!(sum, *plain);
            let credential = split_credential(1234, &mut rng);
            assert_eq!(*credential[0] ^ *credential[1] ^ *credential[2], 1234);
        }
        let mut bad = plain.to_vec();
        *bad.last_mut().expect("not empty") |= 0x80;
        assert_eq!(layout.check(&bad), Err(LayoutError::Padding));
        assert_eq!(
            layout.split(&bad, &mut rng).map(|_| ()),
            Err(LayoutError::Padding)
        );
        bad.pop();
        assert_eq!(
            layout.check(&bad),
            Err(LayoutError::Length { expected: 10, got: 9 })
        );
    }
}
