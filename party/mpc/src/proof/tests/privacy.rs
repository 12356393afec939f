//! What each verifier sees is uniformly random, or follows from the rest of what it sees.
//!
//! The argument is exact, so the tests are: (1) every free element of a view is the sum of a value and one word of a stream
//! that the verifier does not know, each word used once; (2) the other elements are functions of the view. Hence the view has
//! the same law whatever the shares that the verifier does not hold.

use super::super::stream::{Label, PairKey, Purpose, Stream};
use super::*;
use crate::field::mul;

const PROVER: Role = Role::P1;
const WORDS: usize = 700;

/// Two sets of gates that agree in everything P_3 = V- holds of P_1's gates (x_1, y_1, z_1, a_1) and differ in the rest.
fn same_to_minus() -> [Gates; 2] {
    let a = Gates::random(WORDS, 200);
    let mut b = a.clone();
    let mut source = Words(201);
    b.x[1] = source.words(WORDS);
    b.y[1] = source.words(WORDS);
    let mut b = b.multiplied();
    // a_2 makes up for the difference of the products.
    for w in 0..WORDS {
        b.a[1][w] ^= a.z[0][w] ^ b.z[0][w];
    }
    let b = b.multiplied();
    assert!(a.z[0] == b.z[0] && a.x[1] != b.x[1]);
    [a, b]
}

/// Two sets that agree in what P_2 = V+ holds of P_1's gates (x_2, y_2, a_2).
fn same_to_plus() -> [Gates; 2] {
    let a = Gates::random(WORDS, 202);
    let mut b = a.clone();
    let mut source = Words(203);
    (b.x[0], b.y[0], b.a[0]) = (source.words(WORDS), source.words(WORDS), source.words(WORDS));
    [a, b.multiplied()]
}

/// A stream of P_{j-1} and P_j = `pair`, drawn anew.
fn stream(session: u64, pair: Role, purpose: Purpose) -> Stream {
    let label = Label {
        binding: *binding().as_bytes(),
        prover: PROVER,
        batch: 1,
        words: WORDS as u64,
    };
    PairKey::new(&label.binding, &pair_seed(pair, session)).stream(purpose, &label)
}

/// All elements that the prover sends V-, in order.
fn prover_elements(outcome: &Outcome) -> Vec<u64> {
    let rounds = (0..Shape::new(WORDS).rounds())
        .map(Kind::Values)
        .chain([Kind::Coefficients]);
    rounds.flat_map(|kind| outcome.elements(kind)).collect()
}

#[test]
fn what_v_minus_sees_is_masked_or_determined() {
    let (seed, shape) = (210, Shape::new(WORDS));
    let runs = same_to_minus().map(|gates| run_honestly(PROVER, &gates, seed));
    let sent = runs.each_ref().map(prover_elements);
    assert_eq!(
        sent[0].len(),
        (0..shape.rounds()).map(|r| shape.values(r)).sum::<usize>() + 2
    );
    // (1) Less V+'s stream, one word for each element, the messages are the plain values; those differ between the two runs, so
    // the masks that make run 0 look like run 1 are a shift of the stream, which is uniform.
    let plain = sent.each_ref().map(|elements| {
        let mut share = stream(seed, Role::P2, Purpose::Share);
        elements
            .iter()
            .map(|element| element ^ share.next())
            .collect::<Vec<_>>()
    });
    let different = plain[0].iter().zip(&plain[1]).filter(|(a, b)| a != b).count();
    assert!(
        different > plain[0].len() * 9 / 10,
        "{different} of {} plain values differ",
        plain[0].len()
    );
    // The plain values of round 0 are what the definition says, so nothing else went into the message.
    let gates = &same_to_minus()[0];
    let challenges = Challenges::of(&runs[0]);
    for (value, point) in plain[0]
        .iter()
        .zip((0..729).filter(|&e| super::super::shape::cube_index(e).is_none()))
    {
        assert_eq!(*value, grid_by_definition(gates, &challenges.theta, point));
    }
    // (1) u + s m_u and v + s m_v of V+ are masked by its stream, unknown to V-, and s is not zero. Less the masks they differ.
    let factors = runs.each_ref().map(|run| {
        let mut mask = stream(seed, Role::P2, Purpose::MaskPlus);
        let opening = run.elements(Kind::OpeningPlus);
        [0, 1].map(|i| opening[i] ^ mul(challenges.last, mask.next()))
    });
    assert_ne!(challenges.last, 0);
    assert_ne!(factors[0][0], factors[1][0]);
    assert_ne!(factors[0][1], factors[1][1]);
    // (2) The third element follows from V-'s own opening and the other two, whatever the gates.
    for run in &runs {
        let (own, theirs) = (run.elements(Kind::OpeningMinus), run.elements(Kind::OpeningPlus));
        assert_eq!(theirs[2], own[2] ^ mul(own[0] ^ theirs[0], own[1] ^ theirs[1]));
    }
}

#[test]
fn what_v_plus_sees_is_masked_or_determined() {
    let seed = 211;
    let runs = same_to_plus().map(|gates| run_honestly(PROVER, &gates, seed));
    // (2) The prover's message depends on the challenges alone.
    assert_eq!(runs[0].message(Kind::Hash), runs[1].message(Kind::Hash));
    // V+'s own opening depends on what it holds alone.
    assert_eq!(
        runs[0].message(Kind::OpeningPlus),
        runs[1].message(Kind::OpeningPlus)
    );
    let s = Challenges::of(&runs[0]).last;
    let factors = runs.each_ref().map(|run| {
        let (own, theirs) = (run.elements(Kind::OpeningPlus), run.elements(Kind::OpeningMinus));
        assert_eq!(theirs[2], own[2] ^ mul(own[0] ^ theirs[0], own[1] ^ theirs[1]));
        // (1) Masked by the stream of the prover and V-.
        let mut mask = stream(seed, Role::P1, Purpose::MaskMinus);
        [0, 1].map(|i| theirs[i] ^ mul(s, mask.next()))
    });
    // Under equal masks the plain factors differ, as the gates do.
    assert_ne!(factors[0][0], factors[1][0]);
    assert_ne!(factors[0][1], factors[1][1]);
}

#[test]
fn streams_that_a_verifier_knows_do_not_mask_what_it_sees() {
    // Share and MaskPlus come from the pair (P_1, P_2), MaskMinus from (P_3, P_1), the challenges from (P_2, P_3): changing the
    // seeds one verifier holds with the other changes only challenges, never a mask, and so on.
    let gates = Gates::random(WORDS, 220);
    let run_with = |sessions: [u64; 3]| {
        // sessions[j] sets the seed of the pair of P_{j-1} and P_j, counted from P_1.
        let seed = |role: Role| pair_seed(role, sessions[index(role)]);
        let logs = Role::ALL.map(|role| gates.log(role));
        let mut parties = Role::ALL.map(|role| {
            Proofs::new(
                role,
                &binding(),
                &Seeds {
                    prev: seed(role),
                    next: seed(role.next()),
                },
            )
        });
        let mut seed_message = Vec::new();
        let _ = parties[2]
            .open(1, only_chunk(&logs[2]))
            .minus
            .start(&mut seed_message);
        let mut values = Vec::new();
        let prover = parties[0].open(1, only_chunk(&logs[0])).prover;
        // The same challenge for every choice of seeds.
        prover
            .seed(&[9; 32], &mut values)
            .map(|_| (seed_message, values))
            .expect("32 bytes are a seed")
    };
    let (challenge, values) = run_with([1, 2, 3]);
    let (other_challenge, same_values) = run_with([1, 2, 4]);
    assert!(
        challenge != other_challenge && values == same_values,
        "the pair (P_2, P_3) gives challenges only"
    );
    let (same_challenge, other_values) = run_with([1, 5, 3]);
    assert!(
        challenge == same_challenge && values != other_values,
        "the pair (P_1, P_2) masks the values"
    );
    let (same_challenge, same_values) = run_with([6, 2, 3]);
    assert!(
        challenge == same_challenge && values == same_values,
        "the pair (P_3, P_1) masks neither"
    );
}

#[test]
fn views_look_uniform_for_extreme_inputs() {
    // Gates of all zeros and of all ones: every bit of every element that leaves the prover or a verifier is one in about half of
    // 400 sessions (each count within 6.5 standard deviations; some 60,000 counts), and the two kinds of gates do not differ.
    const SESSIONS: u64 = 400;
    for fill in [0, u64::MAX] {
        let mut gates = Gates::random(1, 230);
        for column in gates.x.iter_mut().chain(&mut gates.y).chain(&mut gates.a) {
            column.fill(fill);
        }
        let gates = gates.multiplied();
        let mut ones: Vec<u32> = Vec::new();
        for session in 0..SESSIONS {
            let outcome = run_honestly(PROVER, &gates, 1000 + session);
            let shape = Shape::new(1);
            let rounds = (0..shape.rounds()).map(Kind::Values);
            let kinds = rounds.chain([Kind::Coefficients, Kind::OpeningMinus, Kind::OpeningPlus]);
            let elements: Vec<u64> = kinds.flat_map(|kind| outcome.elements(kind)).collect();
            ones.resize(64 * elements.len(), 0);
            for (i, count) in ones.iter_mut().enumerate() {
                *count += (elements[i / 64] >> (i % 64) & 1) as u32;
            }
        }
        let worst = ones
            .iter()
            .map(|&count| (f64::from(count) - 200.0).abs())
            .fold(0.0, f64::max);
        assert!(
            worst < 65.0,
            "a bit was one {worst} times more or less often than 200 of 400"
        );
    }
}

/// The challenges as they passed over the wire.
struct Challenges {
    theta: Vec<u64>,
    last: u64,
}

impl Challenges {
    fn of(outcome: &Outcome) -> Self {
        let mut theta = vec![0; Shape::new(WORDS).groups()];
        let seed = outcome.message(Kind::Seed).try_into().expect("32 bytes");
        super::super::stream::expand_theta(seed, &mut theta);
        Self {
            theta,
            last: outcome.elements(Kind::Last)[0],
        }
    }
}

/// sum_g theta_g (U_g(e) & V_g(e)), with U = x_1 + x_2 and V = y_1 + y_2.
fn grid_by_definition(gates: &Gates, theta: &[u64], point: usize) -> u64 {
    let at = |columns: &[Vec<u64>; 3], group: usize| {
        (0..64)
            .filter(|kappa| (0..6).all(|t| [kappa >> t & 1, 2].contains(&(point / 3usize.pow(t) % 3))))
            .filter_map(|kappa| Some(columns[0].get(64 * group + kappa)? ^ columns[1][64 * group + kappa]))
            .fold(0, |sum, word| sum ^ word)
    };
    theta
        .iter()
        .enumerate()
        .fold(0, |sum, (g, &t)| sum ^ mul(t, at(&gates.x, g) & at(&gates.y, g)))
}
