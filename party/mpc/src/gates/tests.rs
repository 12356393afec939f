use super::*;
use crate::channel::Phase;
use crate::local::run_trio;
use crate::prss::Seed;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

pub(crate) fn seeds(role: Role) -> Seeds {
    Seeds {
        prev: Seed::new([role.index(); 32]),
        next: Seed::new([role.next().index(); 32]),
    }
}

fn scope(step: u32) -> Scope {
    Scope {
        phase: Phase::Sort,
        step,
        chunk: 0,
    }
}

fn words(seed: u64, length: usize) -> Vec<u64> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    (0..length).map(|_| rng.next_u64()).collect()
}

/// The shares of `plain` as `role` holds them.
pub(crate) fn share(role: Role, seed: u64, plain: &[u64]) -> Column {
    let [x1, x2] = [2 * seed + 1_000, 2 * seed + 1_001].map(|s| words(s, plain.len()));
    let x3: Vec<u64> = (0..plain.len()).map(|i| plain[i] ^ x1[i] ^ x2[i]).collect();
    match role {
        Role::P1 => Column::from_shares(x1, x2),
        Role::P2 => Column::from_shares(x2, x3),
        Role::P3 => Column::from_shares(x3, x1),
    }
}

/// Runs `circuit` on three parties with gates recorded and returns what they return.
pub(crate) fn run<T: Send>(circuit: impl Fn(&mut Gates<'_>) -> T + Sync) -> [T; 3] {
    run_trio(|role, mut channel| {
        let mut observer = ();
        let binding = Binding::new(&[0; 32], b"e", b"b", 1);
        let mut gates = Gates::new(role, &seeds(role), &binding, &mut channel, &mut observer);
        gates.attach_batch();
        circuit(&mut gates)
    })
}

/// Opens a column for a test.
pub(crate) fn reveal(gates: &mut Gates<'_>, column: Column, lanes: usize) -> Vec<u64> {
    let validated = gates.validate(column).expect("every product arrived");
    gates
        .open(
            Scope {
                phase: Phase::Open,
                step: 0,
                chunk: 0,
            },
            Opening::Totals,
            validated,
            lanes,
        )
        .expect("opened")
}

#[test]
fn products_are_right_at_every_length() {
    for lanes in [1usize, 63, 64, 65, 64 * 511, 64 * 513, 64 * (MESSAGE_WORDS + 7)] {
        let length = lanes.div_ceil(64);
        let plain: Vec<Vec<u64>> = (0..5).map(|i| words(i, length)).collect();
        let opened = run(|gates| {
            let x: Vec<Column> = (0..5).map(|i| share(gates.role(), i as u64, &plain[i])).collect();
            let mut tape = gates.tape(scope(1));
            let products = gates
                .and(&mut tape, &[(&x[0], &x[1]), (&x[2], &x[3])])
                .expect("honest");
            let mut both = products;
            let last = gates.and1(&mut tape, &x[4], &x[4]).expect("honest");
            gates
                .and_assign(&mut tape, &mut both[..1], &[last])
                .expect("honest");
            both.into_iter()
                .enumerate()
                .map(|(i, column)| {
                    let validated = gates.validate(column).expect("honest");
                    gates
                        .open(scope(i as u32), Opening::Totals, validated, lanes)
                        .expect("honest")
                })
                .collect::<Vec<_>>()
        });
        for opened in &opened {
            for i in 0..lanes {
                let bit = |words: &[u64]| words[i / 64] >> (i % 64) & 1;
                assert_eq!(bit(&opened[0]), bit(&plain[0]) & bit(&plain[1]) & bit(&plain[4]));
                assert_eq!(bit(&opened[1]), bit(&plain[2]) & bit(&plain[3]));
            }
        }
    }
}

#[test]
fn what_is_opened_beyond_the_lanes_is_cut_off() {
    let [opened, ..] = run(|gates| {
        let column = Column::public(gates.role(), &[u64::MAX, u64::MAX]);
        reveal(gates, column, 65)
    });
    assert_eq!(opened, [u64::MAX, 1]);
}

#[test]
fn a_recorded_batch_satisfies_the_equation_of_the_proof() {
    let plain: Vec<Vec<u64>> = (0..4).map(|i| words(i, 700)).collect();
    let batches = run(|gates| {
        let x: Vec<Column> = (0..4).map(|i| share(gates.role(), i as u64, &plain[i])).collect();
        let mut tape = gates.tape(scope(1));
        let products = gates
            .and(&mut tape, &[(&x[0], &x[1]), (&x[2], &x[3])])
            .expect("honest");
        gates.and1(&mut tape, &products[0], &products[1]).expect("honest");
        let _ = gates.validate(()).expect("honest");
        gates.take_batch().expect("a batch is attached")
    });
    for (i, prover) in batches.iter().enumerate() {
        // V- is the previous party of the prover, V+ the next one.
        let (minus, plus) = (&batches[(i + 2) % 3], &batches[(i + 1) % 3]);
        assert_eq!(prover.x.a.len(), 2100);
        for g in 0..2100 {
            let u = prover.x.a[g] ^ prover.x.b[g];
            let v = prover.y.a[g] ^ prover.y.b[g];
            assert_eq!(u & v, minus.c_minus[g] ^ plus.c_plus[g]);
            assert_eq!(u, minus.x.b[g] ^ plus.x.a[g]);
            assert_eq!(v, minus.y.b[g] ^ plus.y.a[g]);
        }
    }
}

#[test]
#[should_panic(expected = "drawn twice")]
fn a_scope_used_twice_panics() {
    run(|gates| {
        let _ = gates.tape(scope(1));
        let _ = gates.tape(scope(1));
    });
}
