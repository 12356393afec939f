use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::*;

fn terms(officials: u8, threshold: u8) -> Terms {
    Terms::new(officials, threshold).expect("terms")
}

fn ceremony(officials: u8, threshold: u8, seed: u64) -> (UnlockKey, Vec<Share>, Public) {
    let mut rng = StdRng::seed_from_u64(seed);
    let key = UnlockKey::generate(&mut rng);
    let (shares, public) = key
        .split(Role::P2, terms(officials, threshold), &mut rng)
        .expect("split");
    (key, shares, public)
}

fn again(share: &Share) -> Share {
    Share::from_bytes(&share.to_bytes()).expect("share")
}

#[test]
fn every_subset_of_the_threshold_makes_the_key_and_a_larger_one_too() {
    for (officials, threshold) in [(2, 2), (3, 2), (5, 3), (7, 7), (16, 2), (9, 4)] {
        let (key, shares, public) = ceremony(officials, threshold, 7);
        check_all(&shares, &public).expect("sound");
        for set in 1..1u32 << officials.min(9) {
            let chosen = shares.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1);
            let mut collected = Collected::new(public.clone());
            for (_, share) in chosen {
                collected.add(again(share)).expect("taken");
            }
            let given = set.count_ones() as u8;
            match collected.combine() {
                Ok(combined) => {
                    assert!(given >= threshold && collected.is_enough());
                    assert_eq!(combined.bytes(), key.bytes());
                }
                Err(error) => assert_eq!(
                    error,
                    SplitError::TooFew {
                        given,
                        needed: threshold
                    }
                ),
            }
        }
    }
}

/// One byte of the secret, all 256 values, every coefficient: what any k - 1 officials see is spread evenly, whatever the secret is.
#[test]
fn fewer_shares_than_the_threshold_fit_every_key() {
    // Counted: with k = 2, for each secret byte the values of one share over many splittings.
    const RUNS: usize = 64 * 256;
    let mut rng = StdRng::seed_from_u64(3);
    for secret in [0u8, 1, 0x5a, 0xff] {
        let mut seen = [[0u32; 256]; 3];
        for _ in 0..RUNS / 32 {
            let rows = Gf256::split_bytes(2, 3, [secret; 32], &mut rng).expect("split");
            for (seen, row) in seen.iter_mut().zip(&rows) {
                for value in &row[1..] {
                    seen[usize::from(*value)] += 1;
                }
            }
        }
        // Chi squared with 255 degrees of freedom: 400 is beyond 1 in 10^8. Zero occurs too: no coefficient is left out.
        let expected = RUNS as f64 / 256.0;
        for seen in seen {
            let chi: f64 = seen
                .iter()
                .map(|n| (f64::from(*n) - expected).powi(2) / expected)
                .sum();
            assert!(chi < 400.0, "secret {secret}: {chi}");
            assert!(seen.iter().all(|n| *n > 0), "secret {secret}: {seen:?}");
        }
    }
    // Exactly: k - 1 real shares with any last one make a key, and each of the 256 last ones another.
    let (_, shares, public) = ceremony(3, 3, 9);
    let mut keys = [false; 256];
    for last in 0..=255u8 {
        let forged = Share::new(
            Role::P2,
            public.ceremony,
            public.terms,
            3,
            Zeroizing::new([last; VALUE_BYTES]),
        )
        .expect("share");
        let key = combine([&shares[0], &shares[1], &forged]).expect("combined");
        keys[usize::from(key.bytes()[0])] = true;
        assert!(!public.is_key(&key));
    }
    assert!(keys.iter().all(|met| *met), "every first byte is possible");
}

#[test]
fn each_wrong_share_has_its_own_words() {
    let (_, shares, public) = ceremony(5, 3, 1);
    let (_, others, other) = ceremony(5, 3, 2);
    let mut collected = Collected::new(public.clone());
    collected.add(again(&shares[0])).expect("taken");
    let mut words = Vec::new();
    let mut refused = |share: Share, expected: SplitError| {
        let error = collected.add(share).expect_err("refused");
        assert_eq!(error, expected);
        words.push(error.to_string());
        assert_eq!(collected.numbers(), [1], "what was there stays");
    };
    refused(again(&shares[0]), SplitError::Twice { number: 1 });
    refused(
        again(&others[1]),
        SplitError::OtherCeremony {
            number: 2,
            found: other.ceremony,
            expected: public.ceremony,
        },
    );
    let of_p1 = Share::new(
        Role::P1,
        public.ceremony,
        public.terms,
        2,
        Zeroizing::new(*shares[1].value()),
    );
    refused(
        of_p1.expect("share"),
        SplitError::OtherParty {
            found: Role::P1,
            expected: Role::P2,
        },
    );
    let mut value = Zeroizing::new(*shares[1].value());
    value[31] ^= 1;
    let altered = Share::new(Role::P2, public.ceremony, public.terms, 2, value).expect("share");
    refused(altered, SplitError::Altered { number: 2 });
    let mut bytes = shares[1].to_bytes();
    bytes[2] = 2;
    refused(
        Share::from_bytes(&bytes).expect("share"),
        SplitError::Altered { number: 2 },
    );
    let mut text = shares[1].text().to_string();
    let mistyped = if text.ends_with('7') { "8" } else { "7" };
    text.replace_range(text.len() - 1.., mistyped);
    words.push(Share::parse(&text).expect_err("mistyped").to_string());
    words.push(collected.combine().expect_err("too few").to_string());
    // All good, and the file's commitment is to something else.
    let mut elsewhere = Collected::new(Public {
        key: other.key,
        ..public
    });
    for share in &shares[..3] {
        elsewhere.add(again(share)).expect("taken");
    }
    let error = elsewhere.combine().expect_err("inconsistent");
    assert_eq!(error, SplitError::Inconsistent);
    words.push(error.to_string());
    let mut distinct = words.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 7, "{words:#?}");
}

#[test]
fn a_share_of_another_splitting_of_the_same_key_is_not_mixed_in() {
    let mut rng = StdRng::seed_from_u64(4);
    let key = UnlockKey::generate(&mut rng);
    let (one, public) = key.split(Role::P1, terms(3, 2), &mut rng).expect("split");
    let (other, _) = key.split(Role::P1, terms(3, 2), &mut rng).expect("split");
    let mut collected = Collected::new(public.clone());
    collected.add(again(&one[0])).expect("taken");
    assert!(matches!(
        collected.add(again(&other[1])),
        Err(SplitError::OtherCeremony { number: 2, .. })
    ));
    let mixed = [again(&one[0]), again(&other[1])];
    assert_eq!(
        check_all(&mixed, &public).err(),
        Some(public.judge(&mixed[1]).expect_err("other"))
    );
    assert_eq!(format!("{key:?}"), "UnlockKey(32 bytes)");
}
