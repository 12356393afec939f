//! What proving and verifying AND gates costs, in nanoseconds a gate, by instruction set and size of a proof.
//!
//! `cargo run --release -p tally-mpc --example proof_cost [largest log2 of gates, default 24]`
//!
//! One thread plays the three parties in turn, each proving to both others; every figure is the best of several runs. A party's
//! total is opening the batch, one proof and two verifications. The second table gives the kernels by themselves.

use std::time::{Duration, Instant};

use tally_mpc::proof::{
    Log, MinusNext, Proofs, Prover, ProverNext, Shape, VerifierMinus, VerifierPlus, Workspace,
};
use tally_mpc::simd::{Kernels, Level};
use tally_mpc::{Binding, Role, Seed, Seeds};

fn main() {
    let largest: u32 = std::env::args()
        .nth(1)
        .and_then(|arg| arg.parse().ok())
        .unwrap_or(24);
    let levels: Vec<Kernels> = Level::ALL.into_iter().rev().filter_map(Kernels::at).collect();
    println!("ns per AND gate, best of several runs");
    println!(
        "{:10} {:>10} {:>8} {:>8} {:>8} {:>8} {:>12} {:>7} {:>8}",
        "level", "gates", "open", "prover", "V-", "V+", "party total", "rounds", "bytes"
    );
    for log2 in [12, 15, 18, 20, 22, 24, 26]
        .into_iter()
        .filter(|&log2| log2 <= largest)
    {
        let words = (1usize << log2) / 64;
        let logs = logs(words);
        for &kernels in &levels {
            let runs = if kernels.level() == Level::Portable { 5 } else { 15 };
            // Small proofs are repeated, so that a run is long enough to time.
            let repeats = ((1 << 20) >> log2).max(1);
            let [open, prover, minus, plus] =
                time_batch(kernels, &logs, runs, repeats).map(|d| per_gate(d, log2));
            let shape = Shape::new(words);
            println!(
                "{:10} {:>10} {open:>8.3} {prover:>8.3} {minus:>8.3} {plus:>8.3} {:>12.3} {:>7} {:>8}",
                format!("{:?}", kernels.level()),
                format!("2^{log2}"),
                open + prover + minus + plus,
                shape.rounds(),
                shape.prover_bytes() + shape.minus_bytes() + 24,
            );
        }
    }
    println!();
    println!("kernels by themselves, ns per AND gate, 2^20 gates, best of several runs");
    print!("{:10}", "level");
    for (name, _) in kernel_times(levels[0], 1) {
        print!(" {name:>12}");
    }
    println!();
    for kernels in levels {
        print!("{:10}", format!("{:?}", kernels.level()));
        for (_, time) in kernel_times(kernels, 9) {
            print!(" {:>12.4}", per_gate(time, 20));
        }
        println!();
    }
}

fn per_gate(time: Duration, log2: u32) -> f64 {
    time.as_secs_f64() * 1e9 / (1u64 << log2) as f64
}

/// Words to compute with; their values do not matter to the time (splitmix64).
fn random(n: usize, seed: u64) -> Vec<u64> {
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        })
        .collect()
}

/// The logs of the three parties after the same honest gates.
fn logs(words: usize) -> [Log; 3] {
    let columns = |seed: u64| std::array::from_fn::<_, 3, _>(|i| random(words, seed + i as u64));
    let (x, y, a) = (columns(10), columns(20), columns(30));
    let products = |i: usize| {
        let j = (i + 1) % 3;
        let at =
            |w: usize| (x[i][w] & y[i][w]) ^ (x[i][w] & y[j][w]) ^ (x[j][w] & y[i][w]) ^ a[i][w] ^ a[j][w];
        (0..words).map(at).collect::<Vec<_>>()
    };
    std::array::from_fn(|i| {
        let j = (i + 1) % 3;
        let mut log = Log::in_chunks_of(words);
        log.record([&x[i], &x[j]], [&y[i], &y[j]], [&a[i], &a[j]]);
        log.answer(products(j).into_iter());
        log
    })
}

/// The least time of opening a batch, of proving, and of verifying as V- and as V+, for one party, over several runs.
fn time_batch(kernels: Kernels, logs: &[Log; 3], runs: u32, repeats: u32) -> [Duration; 4] {
    let mut parties = Role::ALL.map(|role| {
        let pair = |role: Role| Seed::new([role.index(); 32]);
        let seeds = Seeds {
            prev: pair(role),
            next: pair(role.next()),
        };
        Proofs::new(role, &Binding::new(&[0; 32], b"election", b"box", 1), &seeds).with_kernels(kernels)
    });
    let mut best = [Duration::MAX; 4];
    let mut batch = 0;
    for _ in 0..=runs {
        let mut clock = Clock::default();
        for _ in 0..repeats {
            prove(&mut parties, logs, batch, &mut clock);
            batch += 1;
        }
        // Each of the three parties did all four.
        best = std::array::from_fn(|i| best[i].min(clock.0[i] / (3 * repeats)));
    }
    best
}

/// Time spent by kind of work: opening, proving, verifying as V-, as V+.
#[derive(Default)]
struct Clock([Duration; 4]);

impl Clock {
    fn time<T>(&mut self, kind: usize, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.0[kind] += start.elapsed();
        result
    }
}

/// One batch: each party proves to both others.
fn prove(parties: &mut [Proofs; 3], logs: &[Log; 3], batch: u64, clock: &mut Clock) {
    let [one, two, three] = parties;
    let [a, b, c] = [(one, &logs[0]), (two, &logs[1]), (three, &logs[2])].map(|(party, log)| {
        clock.time(0, || {
            (party.open(batch, log.chunks().next().expect("gates")), party)
        })
    });
    let (a_party, b_party, c_party) = (a.1, b.1, c.1);
    let proofs = [
        (a.0.prover, c.0.minus, b.0.plus),
        (b.0.prover, a.0.minus, c.0.plus),
        (c.0.prover, b.0.minus, a.0.plus),
    ];
    for (prover, minus, plus) in proofs {
        for (party, space) in [&mut *a_party, &mut *b_party, &mut *c_party]
            .into_iter()
            .zip(run(prover, minus, plus, clock))
        {
            party.recycle(space);
        }
    }
}

/// One proof.
fn run(prover: Prover, minus: VerifierMinus, plus: VerifierPlus, clock: &mut Clock) -> [Workspace; 3] {
    let (mut to_prover, mut to_minus) = (Vec::new(), Vec::new());
    let mut verifier = minus.start(&mut to_prover);
    let mut prover = clock
        .time(1, || prover.seed(&to_prover, &mut to_minus))
        .expect("honest");
    let (prover, verifier) = loop {
        to_prover.clear();
        let next = clock
            .time(2, || verifier.values(&to_minus, &mut to_prover))
            .expect("honest");
        to_minus.clear();
        let state = clock
            .time(1, || prover.point(&to_prover, &mut to_minus))
            .expect("honest");
        match (state, next) {
            (ProverNext::Round(p), MinusNext::Round(v)) => (prover, verifier) = (p, v),
            (ProverNext::Last(p), MinusNext::Last(v)) => break (p, v),
            _ => unreachable!("prover and verifier agree on the number of rounds"),
        }
    };
    to_prover.clear();
    let (mut to_plus, mut hash) = (Vec::new(), Vec::new());
    let minus = verifier
        .coefficients(&to_minus, &mut to_prover, &mut to_plus)
        .expect("honest");
    let first = prover.last(&to_prover, &mut hash).expect("honest");
    to_minus.clear();
    let plus = clock
        .time(3, || plus.evaluate())
        .challenges(&hash, &mut to_minus)
        .expect("honest");
    let (verified, second) = minus.check(&to_minus).expect("honest");
    let (again, third) = plus.check(&to_plus).expect("honest");
    assert_eq!(verified.prover(), again.prover());
    [first, second, third]
}

/// The least time of each kernel on 2^20 gates.
fn kernel_times(kernels: Kernels, runs: u32) -> Vec<(&'static str, Duration)> {
    let words = (1 << 20) / 64;
    let columns: [Vec<u64>; 4] = std::array::from_fn(|i| random(words, i as u64));
    let pairs = [[&columns[0][..], &columns[1]], [&columns[2], &columns[3]]];
    let theta = random(words / 64, 5);
    let eq: [u64; 64] = random(64, 6).try_into().expect("64 words");
    let mut elements = random(words, 7);
    let (mut grid, mut cube, mut tail) = ([0; 729], [0; 64], [0; 27]);
    let best = |step: &mut dyn FnMut()| {
        let time = |step: &mut dyn FnMut()| {
            let start = Instant::now();
            step();
            start.elapsed()
        };
        (0..runs).map(|_| time(step)).min().unwrap_or_default()
    };
    vec![
        (
            "grid",
            best(&mut || kernels.grid(pairs[0], pairs[1], &theta, &mut grid)),
        ),
        (
            "fold pair",
            best(&mut || kernels.fold(pairs[0], &eq, &mut elements)),
        ),
        (
            "fold one",
            best(&mut || kernels.fold([pairs[0][0]], &eq, &mut elements)),
        ),
        ("scale", best(&mut || kernels.scale(&mut elements, &theta))),
        ("cube", best(&mut || kernels.cube(&columns[0], &theta, &mut cube))),
        (
            "tail grid",
            best(&mut || kernels.tail_grid(&columns[0], &columns[1], &mut tail)),
        ),
        (
            "tail fold",
            best(&mut || kernels.tail_fold(&mut elements, &eq[..8])),
        ),
    ]
}
