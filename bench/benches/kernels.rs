//! The engine's kernels: time an element is nanoseconds an AND, a word or a row, for all three parties together. "checked" is with
//! what protects against a malicious party, as parties run it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tally_mpc::kernels::{self, Kernel};

/// The time between the two marks of one run.
fn time(kernel: Kernel, checked: bool, rows: usize) -> Duration {
    let marks = Mutex::new((None, Duration::ZERO));
    kernels::run(kernel, checked, rows, |start| {
        let mut marks = marks.lock().expect("no thread panics with the lock");
        match (start, marks.0) {
            (true, _) => marks.0 = Some(Instant::now()),
            (false, Some(from)) => marks.1 = from.elapsed(),
            (false, None) => {}
        }
    })
    .expect("an honest run in memory");
    marks.into_inner().expect("no thread panicked").1
}

fn single(c: &mut Criterion) {
    let mut group = c.benchmark_group("one thread");
    let mut words = vec![0; 1 << 14];
    group.throughput(Throughput::Elements(words.len() as u64));
    group.bench_function("prss, a word", |b| b.iter(|| kernels::prss(&mut words, 1)));
    let mut block = [0x0123_4567_89AB_CDEF; 64];
    group.throughput(Throughput::Elements(64));
    group.bench_function("transposition, a row of 64 bits", |b| {
        b.iter(|| kernels::transpose(&mut block))
    });
    group.finish();
}

fn trio(c: &mut Criterion) {
    let mut group = c.benchmark_group("three parties");
    group.sample_size(10);
    for (name, kernel, checked, rows) in [
        ("and, a lane", Kernel::And, false, 1 << 24),
        ("and proven and verified, a lane", Kernel::Proof, true, 1 << 24),
        (
            "comparison of 40 bits by the ripple, a row",
            Kernel::CompareRipple,
            false,
            1 << 20,
        ),
        (
            "comparison of 40 bits by the tree, a row",
            Kernel::CompareTree,
            false,
            1 << 20,
        ),
        ("shuffle of 3 words, a row", Kernel::Shuffle, false, 1 << 20),
        (
            "shuffle of 3 words checked, a row",
            Kernel::Shuffle,
            true,
            1 << 20,
        ),
        ("sort by 40 bits, a row", Kernel::Sort, false, 1 << 18),
        ("sort by 40 bits checked, a row", Kernel::Sort, true, 1 << 18),
        ("last valid scan, a row", Kernel::Scan, false, 1 << 22),
        ("sum of a column, a row", Kernel::Sum, false, 1 << 22),
    ] {
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(name, |b| {
            b.iter_custom(|iterations| (0..iterations).map(|_| time(kernel, checked, rows)).sum());
        });
    }
    group.finish();
}

criterion_group!(benches, single, trio);
criterion_main!(benches);
