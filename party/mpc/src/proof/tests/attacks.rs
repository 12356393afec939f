//! Every way to cheat that the protocol is meant to catch, and whom it names.

use super::*;
use crate::field::{mul, square};

/// Runs with P_1 as the prover and its products altered.
fn with_products(words: usize, seed: u64, alter: impl Fn(&mut [u64])) -> Outcome {
    let mut gates = Gates::random(words, seed);
    alter(&mut gates.z[0]);
    run_honestly(Role::P1, &gates, seed)
}

/// Both verifiers reject and name the prover, each together with the other verifier.
fn assert_rejected(outcome: &Outcome, what: &str) {
    assert_eq!(outcome.prover, Ok(()), "{what}");
    for (result, other) in [(&outcome.minus, Role::P2), (&outcome.plus, Role::P3)] {
        let error = result.as_ref().expect_err(what);
        assert_eq!(
            *error,
            ProofError::Rejected {
                prover: Role::P1,
                verifier: other
            },
            "{what}"
        );
        assert_eq!(error.suspects(), [Role::P1, other]);
    }
}

#[test]
fn one_flipped_bit_is_caught_wherever_it_is() {
    for words in [1, 64, 65, 700] {
        for word in [0, words / 2, words - 1] {
            for bit in [0, 1, 31, 62, 63] {
                let outcome = with_products(words, 20 + bit, |z| z[word] ^= 1 << bit);
                assert_rejected(&outcome, &format!("bit {bit} of word {word} of {words}"));
            }
        }
    }
}

#[test]
fn flips_that_cancel_in_a_sum_of_bits_or_words_are_caught() {
    // Two in the same word: weighting whole words by their parity would pass this.
    assert_rejected(
        &with_products(300, 30, |z| z[100] ^= 3 << 17),
        "two bits of a word",
    );
    assert_rejected(
        &with_products(300, 31, |z| z[100] ^= u64::MAX),
        "all bits of a word",
    );
    // The same bit of two words: of a group, of the same place in two groups, of neighbours.
    for (a, b) in [(64, 65), (0, 63), (10, 74), (3, 299), (128, 192)] {
        let outcome = with_products(300, 32, |z| {
            z[a] ^= 1 << 40;
            z[b] ^= 1 << 40;
        });
        assert_rejected(&outcome, &format!("words {a} and {b}"));
    }
    assert_rejected(
        &with_products(300, 33, |z| z.iter_mut().for_each(|z| *z ^= 1)),
        "a bit of every word",
    );
    assert_rejected(&with_products(300, 34, |z| z.swap(7, 8)), "two words exchanged");
    assert_rejected(&with_products(300, 35, |z| z.rotate_left(1)), "words shifted");
    assert_rejected(&with_products(300, 36, |z| z.fill(0)), "no products");
    let random = |z: &mut [u64]| z.copy_from_slice(&Words(1).words(300));
    assert_rejected(&with_products(300, 37, random), "random products");
}

#[test]
fn each_prover_is_caught() {
    for prover in Role::ALL {
        let mut gates = Gates::random(80, 40);
        gates.z[index(prover)][79] ^= 4;
        for role in Role::ALL {
            let outcome = run_honestly(role, &gates, 41);
            assert_eq!(outcome.accepted(), role != prover);
        }
    }
}

#[test]
fn every_altered_message_is_caught_and_its_sender_suspected() {
    let prover = Role::P2;
    for words in [1, 700, 5000] {
        let gates = Gates::random(words, 50);
        let logs = Role::ALL.map(|role| gates.log(role));
        for kind in kinds(&Shape::new(words)) {
            let elements = run(prover, &logs, 51, [Kernels::best(); 3], &mut |_, _| {})
                .message(kind)
                .len()
                / 8;
            for element in 0..elements {
                // Every element of the shortest proof, and a sample of the long messages of longer ones.
                if words > 1 && element > 8 && element % 61 != 0 && element != elements - 1 {
                    continue;
                }
                let outcome = run(prover, &logs, 51, [Kernels::best(); 3], &mut |k, bytes| {
                    if k == kind {
                        bytes[8 * element + element % 8] ^= 1 << (element % 7);
                    }
                });
                let culprit = match kind {
                    Kind::Values(_) | Kind::Coefficients | Kind::Hash => prover,
                    Kind::Seed | Kind::Point(_) | Kind::Last | Kind::OpeningMinus => prover.prev(),
                    Kind::OpeningPlus => prover.next(),
                };
                let what = format!("element {element} of {kind:?}, {words} words");
                // What goes wrong has to be seen by an honest verifier, which has to suspect the culprit.
                let seen = [(&outcome.minus, prover.prev()), (&outcome.plus, prover.next())];
                for (result, verifier) in seen {
                    match result {
                        Err(error) => assert!(error.suspects().contains(&culprit), "{what}: {error}"),
                        Ok(_) => assert_eq!(verifier, culprit, "{what}"),
                    }
                }
                let challenge = matches!(kind, Kind::Seed | Kind::Point(_) | Kind::Last | Kind::Hash);
                let expected = ProofError::Challenges {
                    prover,
                    verifier: prover.prev(),
                };
                assert_eq!(
                    outcome.plus.as_ref().err() == Some(&expected),
                    challenge,
                    "{what}: {:?}",
                    outcome.plus
                );
                if challenge {
                    let opened = outcome
                        .messages
                        .iter()
                        .any(|(kind, _)| *kind == Kind::OpeningPlus);
                    assert!(!opened, "V+ opened after {what}");
                }
            }
        }
    }
}

#[test]
fn a_wrong_length_is_an_error_that_names_the_sender() {
    let (words, prover) = (70, Role::P3);
    let logs = Role::ALL.map(|role| Gates::random(words, 60).log(role));
    for kind in kinds(&Shape::new(words)) {
        for change in [-8, -1, 1, 8, isize::MIN] {
            let outcome = run(prover, &logs, 61, [Kernels::best(); 3], &mut |k, bytes| {
                if k == kind {
                    bytes.resize(bytes.len().saturating_add_signed(change), 0);
                }
            });
            let error = match kind {
                Kind::Seed | Kind::Point(_) | Kind::Last => {
                    outcome.prover.expect_err("the prover receives it")
                }
                Kind::Hash | Kind::OpeningMinus => outcome.plus.expect_err("V+ receives it"),
                _ => outcome.minus.expect_err("V- receives it"),
            };
            let sender = match kind {
                Kind::Values(_) | Kind::Coefficients | Kind::Hash => prover,
                Kind::OpeningPlus => prover.next(),
                _ => prover.prev(),
            };
            assert!(
                matches!(error, ProofError::Length { from, .. } if from == sender),
                "{kind:?}: {error}"
            );
            assert_eq!(error.suspects(), [sender]);
        }
    }
}

#[test]
fn the_prover_refuses_to_open_at_zero() {
    let logs = Role::ALL.map(|role| Gates::random(70, 70).log(role));
    let outcome = run(Role::P1, &logs, 71, [Kernels::best(); 3], &mut |kind, bytes| {
        if kind == Kind::Last {
            bytes.fill(0);
        }
    });
    let error = outcome.prover.expect_err("zero unmasks the product");
    assert_eq!(error, ProofError::ZeroPoint { from: Role::P3 });
    assert_eq!(error.suspects(), [Role::P3]);
    assert!(
        !outcome
            .messages
            .iter()
            .any(|(kind, _)| matches!(kind, Kind::Hash | Kind::OpeningPlus))
    );
}

#[test]
fn a_prover_with_other_operands_than_it_shared_is_caught() {
    // It evaluates its gates on x_1 + delta, consistently in products and proof; the verifiers hold x_1.
    let honest = Gates::random(100, 80);
    let mut lie = honest.clone();
    lie.x[0][5] ^= 1 << 9;
    let lie = lie.multiplied();
    let mut gates = honest.clone();
    gates.z[0] = lie.z[0].clone();
    let mut logs = Role::ALL.map(|role| gates.log(role));
    logs[0] = lie.log(Role::P1);
    let outcome = run(Role::P1, &logs, 81, [Kernels::best(); 3], &mut |_, _| {});
    // Where y_2 + y_1 is zero in that bit the product is the same, so the gates are right and only the proof is not.
    assert_rejected(&outcome, "other operands");
}

#[test]
fn messages_of_another_session_batch_or_prover_do_not_pass() {
    let gates = Gates::random(100, 90);
    let logs = Role::ALL.map(|role| gates.log(role));
    let other = run_honestly(Role::P1, &gates, 92);
    for kind in kinds(&Shape::new(100)) {
        let outcome = run(Role::P1, &logs, 91, [Kernels::best(); 3], &mut |k, bytes| {
            if k == kind {
                bytes.copy_from_slice(other.message(kind));
            }
        });
        assert!(!outcome.accepted(), "{kind:?} of another session");
    }
}

/// x^(2^64 - 2).
fn inverse(x: u64) -> u64 {
    let (mut power, mut result) = (x, 1);
    for _ in 1..64 {
        power = square(power);
        result = mul(result, power);
    }
    result
}

#[test]
fn a_prover_that_knew_the_last_point_too_early_would_pass() {
    // Why the point leaves V- only after the coefficients are in. It also shows that the saboteur of these tests can win.
    let mut gates = Gates::random(100, 95);
    gates.z[0][50] ^= 1;
    let logs = Role::ALL.map(|role| gates.log(role));
    let caught = run(Role::P1, &logs, 96, [Kernels::best(); 3], &mut |_, _| {});
    assert_rejected(&caught, "a flipped bit");
    let (minus, plus) = (
        caught.elements(Kind::OpeningMinus),
        caught.elements(Kind::OpeningPlus),
    );
    let [u, v, claim] = std::array::from_fn(|i| minus[i] ^ plus[i]);
    let s = caught.elements(Kind::Last)[0];
    let amend = mul(mul(u, v) ^ claim, inverse(s));
    let forged = run(Role::P1, &logs, 96, [Kernels::best(); 3], &mut |kind, bytes| {
        if kind == Kind::Coefficients {
            for (byte, amend) in bytes.iter_mut().zip(amend.to_le_bytes()) {
                *byte ^= amend;
            }
        }
    });
    assert!(forged.accepted());
}

#[test]
fn a_prover_that_knew_the_weights_too_early_would_pass() {
    // Why the seed leaves V- only when all products are in: errors d in word 3 and d theta_0 / theta_1 in word 67 cancel.
    let honest = Gates::random(128, 97);
    let seed: [u8; 32] = run_honestly(Role::P1, &honest, 98)
        .message(Kind::Seed)
        .try_into()
        .expect("32 bytes");
    let mut theta = [0; 2];
    super::super::stream::expand_theta(&seed, &mut theta);
    let mut gates = honest.clone();
    gates.z[0][3] ^= 1;
    gates.z[0][67] ^= mul(theta[0], inverse(theta[1]));
    assert!(run_honestly(Role::P1, &gates, 98).accepted());
    // With other challenges the same products are caught.
    assert_rejected(&run_honestly(Role::P1, &gates, 99), "weights of another session");
}
