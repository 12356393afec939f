//! Codes as people type them: groups of four characters of Crockford's base32, with check characters that find typing errors and say
//! which group they are in.
//!
//! A code's characters are elements of GF(32) = GF(2)\[x\]/(x^5 + x^2 + 1). Its groups are dealt out, in order, to as few blocks of at most
//! seven groups as will hold them; the last group of each block is its check: with it the block, less a constant of the block's place, is
//! a word of the Reed-Solomon code of length 31 whose generator has the roots a, a^2, a^3, a^4 (a = x). Its distance is 5: up to four wrong
//! characters in a block, so any two neighbours exchanged too, are always found, and one or two are found with their places.
//!
//! # Security
//! The check is a function of the other characters and of nothing else: no key, no list of what was issued. Every combination of the
//! others has exactly one check that fits, so whoever can write a code down can make its check, and a check that fits says nothing about
//! whether the code was ever issued.

use zeroize::{Zeroize as _, Zeroizing};

use super::InvitationError;

/// Characters of a group.
pub(super) const GROUP: usize = 4;
/// Check characters of a block: one group.
const CHECK: usize = 4;
/// Most groups of a block: 28 characters, of the 31 that the field allows.
const BLOCK_GROUPS: usize = 7;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Characters without meaning yet, each below 32; erased on drop.
pub(super) type Symbols = Zeroizing<Vec<u8>>;

/// Room for the longest code: a vector that grows leaves its old content behind.
pub(super) fn symbols() -> Symbols {
    Zeroizing::new(Vec::with_capacity(128))
}

/// How many groups hold `data` characters and their checks, and how many characters are then free.
pub(super) fn groups_for(data: usize) -> (usize, usize) {
    let groups = data.div_ceil(GROUP);
    // Each block of seven groups has room for six.
    let groups = groups + groups.div_ceil(BLOCK_GROUPS - 1);
    (groups, groups * GROUP - blocks(groups).count() * CHECK - data)
}

/// The blocks of a code of so many groups: where each begins and ends, in characters.
fn blocks(groups: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = groups.div_ceil(BLOCK_GROUPS).max(1);
    (0..count).map(move |i| (groups * i / count * GROUP, groups * (i + 1) / count * GROUP))
}

/// Writes data out with its checks, in groups with hyphens between.
pub(super) fn write(data: &[u8]) -> Zeroizing<String> {
    let (groups, _) = groups_for(data.len());
    let mut text = Zeroizing::new(String::with_capacity(groups * (GROUP + 1)));
    let mut rest = data;
    for (place, (from, to)) in blocks(groups).enumerate() {
        let (own, after) = rest.split_at((to - from - CHECK).min(rest.len()));
        rest = after;
        let check = Zeroizing::new(check_of(own, place));
        for symbol in own.iter().chain(check.iter()) {
            if !text.is_empty() && text.len() % (GROUP + 1) == GROUP {
                text.push('-');
            }
            text.push(char::from(ALPHABET[usize::from(*symbol & 31)]));
        }
    }
    text
}

/// Reads what was typed; the data without the checks. `expected` tells from the first characters how many groups such a code has.
///
/// # Errors
/// [`InvitationError`]: a sign that no code has, groups too many or too few, and typing errors with the groups they are in.
pub(super) fn read(
    text: &str,
    expected: impl FnOnce(&[u8]) -> Option<usize>,
) -> Result<Symbols, InvitationError> {
    let mut typed = symbols();
    let mut sizes = vec![0usize];
    for found in text.chars() {
        if separates(found) {
            if sizes.last() != Some(&0) {
                sizes.push(0);
            }
            continue;
        }
        let group = match sizes.len() {
            // Typed without a break: groups are counted in fours.
            1 => typed.len() / GROUP + 1,
            n => n,
        };
        typed.push(symbol(found).ok_or(InvitationError::Character { group, found })?);
        if let Some(last) = sizes.last_mut() {
            *last += 1;
        }
    }
    if sizes.last() == Some(&0) {
        sizes.pop();
    }
    let groups = typed.len() / GROUP;
    let whole = typed.len().is_multiple_of(GROUP);
    let wanted = expected(&typed);
    if !whole || wanted.is_none_or(|wanted| wanted != groups) {
        let odd = sizes.iter().position(|size| *size != GROUP).map(|at| at + 1);
        return Err(match (odd, wanted) {
            // Only where the voter broke the code into groups as it is printed.
            (Some(group), _) if sizes.len() > 2 => InvitationError::GroupSize {
                group,
                characters: sizes.get(group - 1).copied().unwrap_or_default(),
            },
            (_, Some(wanted)) => InvitationError::Groups {
                wanted,
                characters: typed.len(),
            },
            (_, None) => InvitationError::Length(typed.len()),
        });
    }
    let mut data = symbols();
    let mut wrong = Vec::new();
    let mut lost = false;
    for (place, (from, to)) in blocks(groups).enumerate() {
        let block = typed.get(from..to).unwrap_or(&[]);
        match errors_in(block, place) {
            Some(places) => wrong.extend(places.into_iter().map(|at| (from + at) / GROUP + 1)),
            None => lost = true,
        }
        data.extend_from_slice(block.get(..block.len().saturating_sub(CHECK)).unwrap_or(&[]));
    }
    wrong.dedup();
    match (lost, wrong.as_slice()) {
        (false, []) => Ok(data),
        (false, _) => Err(InvitationError::Mistyped { groups: wrong }),
        (true, _) => Err(InvitationError::Checksum),
    }
}

/// What people put between groups: blanks, hyphens and dashes of every kind, also those of Japanese keyboards, dots.
fn separates(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '-' | '_' | '.' | '\u{ad}' | '\u{2010}'
                ..='\u{2015}' | '\u{2212}' | '\u{30fc}' | '\u{fe58}' | '\u{fe63}'
        )
        || matches!(c, '\u{ff0d}' | '\u{ff70}' | '\u{200b}' | '\u{2060}' | '\u{feff}')
}

/// A typed character's value: either case, full width or not; O is 0, I and L are 1, U is V.
fn symbol(c: char) -> Option<u8> {
    let narrow = match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0)?,
        c => c,
    };
    let folded = match narrow.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        'U' => 'V',
        c => c,
    };
    let at = ALPHABET.iter().position(|of| char::from(*of) == folded)?;
    u8::try_from(at).ok()
}

/// Product in GF(32).
const fn times(a: u8, b: u8) -> u8 {
    let mut product = 0u8;
    let mut i = 5;
    while i > 0 {
        i -= 1;
        product <<= 1;
        if product & 32 != 0 {
            product ^= 0b10_0101;
        }
        product ^= a * (b >> i & 1);
    }
    product
}

/// a^n.
const fn power(n: usize) -> u8 {
    let mut result = 1;
    let mut i = 0;
    while i < n % 31 {
        result = times(result, 2);
        i += 1;
    }
    result
}

/// (x - a)(x - a^2)(x - a^3)(x - a^4) without its leading 1, highest degree first.
const GENERATOR: [u8; CHECK] = {
    let mut g = [0, 0, 0, 0, 1];
    let mut root = 1;
    while root <= CHECK {
        let mut i = 0;
        while i < CHECK {
            // g = g * (x - a^root), coefficients highest first and growing from the right.
            g[i] = g[i + 1] ^ times(g[i], power(root));
            i += 1;
        }
        g[CHECK] = times(g[CHECK], power(root));
        root += 1;
    }
    [g[1], g[2], g[3], g[4]]
};

/// What is added to the check of the block at a place: a block typed in another's place, or nothing but zeros, is found.
const fn constant(place: usize) -> u8 {
    power(place + 7)
}

fn check_of(data: &[u8], place: usize) -> [u8; CHECK] {
    let mut rest = [0u8; CHECK];
    for symbol in data {
        let lead = symbol ^ rest[0];
        rest = [rest[1], rest[2], rest[3], 0];
        for (r, g) in rest.iter_mut().zip(GENERATOR) {
            *r ^= times(lead, g);
        }
    }
    rest.map(|r| r ^ constant(place))
}

/// The places of the wrong characters of a block, none when it is right; `None` where they are more than can be found.
fn errors_in(block: &[u8], place: usize) -> Option<Vec<usize>> {
    let length = block.len();
    let mut word = Zeroizing::new(block.to_vec());
    for symbol in word.iter_mut().rev().take(CHECK) {
        *symbol ^= constant(place);
    }
    let mut s = [0u8; CHECK];
    for (syndrome, root) in s.iter_mut().zip(1..) {
        for symbol in word.iter() {
            *syndrome = times(*syndrome, power(root)) ^ symbol;
        }
    }
    let found = if s == [0; CHECK] {
        Some(Vec::new())
    } else {
        // With the locators X of the wrong characters the syndromes follow a linear recurrence of as many terms.
        let locator = |at: usize| power(length - 1 - at);
        let one = (0..length).find(|at| s.windows(2).all(|w| w[1] == times(w[0], locator(*at))));
        let two = || {
            let pairs = (0..length).flat_map(|a| (0..a).map(move |b| (b, a)));
            pairs.into_iter().find(|(b, a)| {
                let (sum, product) = (locator(*a) ^ locator(*b), times(locator(*a), locator(*b)));
                s.windows(3)
                    .all(|w| w[2] == times(sum, w[1]) ^ times(product, w[0]))
            })
        };
        one.map(|at| vec![at]).or_else(|| two().map(|(b, a)| vec![b, a]))
    };
    s.zeroize();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The check worked out another way: by solving for the four characters that make all four sums vanish, by trial.
    #[test]
    fn the_field_and_the_generator_are_what_they_say() {
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..31 {
            assert!(seen.insert(power(n)), "a generates the field");
            assert_eq!(times(power(n), power(31 - n)), 1);
        }
        for root in 1..=4 {
            let at = power(root);
            let value = GENERATOR.iter().fold(1, |sum, g| times(sum, at) ^ g);
            assert_eq!(value, 0, "a^{root} is a root");
        }
        assert_ne!(GENERATOR.iter().fold(1, |sum, g| times(sum, power(5)) ^ g), 0);
    }

    #[test]
    fn groups_hold_what_they_say() {
        for data in 1..90 {
            let (groups, free) = groups_for(data);
            let room = blocks(groups).map(|(from, to)| to - from - CHECK).sum::<usize>();
            assert_eq!(room, data + free);
            assert!(free < GROUP, "{data}");
            assert!(blocks(groups).all(|(from, to)| to - from <= 28 && to - from > CHECK));
            assert_eq!(blocks(groups).last().map(|(_, to)| to), Some(groups * GROUP));
        }
    }

    proptest! {
        /// Nothing but the characters themselves decides: whatever the data are, one check fits, and it reads back.
        #[test]
        fn any_data_has_a_check_and_reads_back(seed in proptest::collection::vec(0u8..32, 16..61)) {
            let (groups, free) = groups_for(seed.len());
            let data: Vec<u8> = seed.iter().copied().chain(std::iter::repeat_n(3, free)).collect();
            let text = write(&data);
            prop_assert_eq!(text.split('-').count(), groups);
            prop_assert!(text.split('-').all(|group| group.len() == GROUP));
            for typed in [text.to_string(), text.to_lowercase(), text.replace('-', ""), text.replace('-', " \u{30fc}")] {
                prop_assert_eq!(&*read(&typed, |_| Some(groups)).expect("reads"), &data);
            }
            let wide: String = text.chars().map(|c| char::from_u32(u32::from(c) + 0xfee0).expect("wide")).collect();
            prop_assert_eq!(&*read(&wide, |_| Some(groups)).expect("reads"), &data);
        }

        /// One or two wrong characters in a block are found with their groups; up to four are found.
        #[test]
        fn typing_errors_are_found(
            data in proptest::collection::vec(0u8..32, 16),
            errors in proptest::collection::btree_map(0usize..20, 1u8..32, 1..5),
        ) {
            let text = write(&data);
            let mut typed: Vec<u8> = text.chars().filter_map(symbol).collect();
            for (at, error) in &errors {
                typed[*at] ^= error;
            }
            let typed: String = typed.iter().map(|s| char::from(ALPHABET[usize::from(*s)])).collect();
            let refused = read(&typed, |_| Some(5)).expect_err("found");
            let mut groups: Vec<usize> = errors.keys().map(|at| at / GROUP + 1).collect();
            groups.dedup();
            if errors.len() <= 2 {
                prop_assert_eq!(refused, InvitationError::Mistyped { groups });
            } else {
                let named = matches!(refused, InvitationError::Mistyped { .. } | InvitationError::Checksum);
                prop_assert!(named, "{}", refused);
            }
        }
    }

    #[test]
    fn neighbours_exchanged_and_blocks_exchanged_are_found() {
        let data: Vec<u8> = (0..32).collect();
        let text = write(&data);
        let groups: Vec<&str> = text.split('-').collect();
        assert_eq!(groups.len(), 10);
        let plain = text.replace('-', "");
        for at in 0..plain.len() - 1 {
            let mut typed: Vec<char> = plain.chars().collect();
            typed.swap(at, at + 1);
            let typed: String = typed.into_iter().collect();
            if typed == plain {
                continue;
            }
            let refused = read(&typed, |_| Some(10)).expect_err("found");
            let mut wrong = vec![at / GROUP + 1, (at + 1) / GROUP + 1];
            wrong.dedup();
            assert_eq!(refused, InvitationError::Mistyped { groups: wrong });
        }
        let exchanged = [&groups[5..], &groups[..5]].concat().join("-");
        assert!(read(&exchanged, |_| Some(10)).is_err());
        assert!(read(&"0000-".repeat(10), |_| Some(10)).is_err());
        assert!(read(&text.replace('0', "O").replace('1', "i"), |_| Some(10)).is_ok());
    }
}
