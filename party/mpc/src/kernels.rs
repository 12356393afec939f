//! Single steps of the engine on random shares, for measurement: three threads in memory.

use crate::channel::{Phase, Scope};
use crate::error::TallyError;
use crate::gates::Gates;
use crate::local::run_trio;
use crate::notary::Notary;
use crate::prss::{Binding, Prss, Purpose, Seed, Seeds};
use crate::role::{Neighbour, Role};
use crate::share::Column;
use crate::shuffle::{Table, shuffle};
use crate::sort::compare::Comparer;
use crate::sort::{Keys, Run, SortParams, sort};
use crate::sum::{self, Counter};
use crate::{scan, transpose};

/// A step to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// One AND a row.
    And,
    /// The proofs of one AND a row, which was computed before: each party proves it once and verifies it twice.
    Proof,
    /// [row < pivot] of 40 bits by the ripple, one pivot for all.
    CompareRipple,
    /// The same by the tree.
    CompareTree,
    /// Rows of three words.
    Shuffle,
    /// By keys of 40 bits.
    Sort,
    /// The last valid row of each group, masked by the paper flag.
    Scan,
    /// The sum of one column.
    Sum,
}

/// Fills `words` words from one stream, as often as told.
pub fn prss(words: &mut [u64], repeat: u64) {
    let mut prss = Prss::new(Role::P1, &seeds(Role::P1), &binding());
    let mut stream = prss.stream(Neighbour::Next, Purpose::Gate, scope(0));
    for _ in 0..repeat {
        stream.fill(words);
    }
}

/// Transposes 64 x 64 bits.
pub fn transpose(block: &mut [u64; 64]) {
    transpose::transpose64(block);
}

/// Signs nothing and believes everything: signatures are not what is measured.
struct Believer;

impl Notary for Believer {
    fn sign(&mut self, _: &[u8]) -> [u8; 64] {
        [0; 64]
    }

    fn verify(&mut self, _: Role, _: &[u8], _: &[u8; 64]) -> bool {
        true
    }
}

/// Runs the step once over `rows` rows, with what protects against a malicious party if `checked`. P_1 calls `mark(true)` when it has
/// prepared its shares and `mark(false)` at the end. The gates of a step are proven where it opens something or has many of them;
/// of the others only [`Kernel::Proof`] shows what the proofs cost.
///
/// # Errors
/// None in memory, except that a kernel itself is wrong.
pub fn run(kernel: Kernel, checked: bool, rows: usize, mark: impl Fn(bool) + Sync) -> Result<(), TallyError> {
    let results = run_trio(|role, mut channel| {
        let mut observer = ();
        let mut notary = Believer;
        let (seeds, binding) = (seeds(role), binding());
        let mut gates = if checked {
            Gates::new(role, &seeds, &binding, &mut channel, &mut notary, &mut observer)
        } else {
            Gates::curious(role, &seeds, &binding, &mut channel, &mut observer)
        };
        let tell = |start| {
            if role == Role::P1 {
                mark(start);
            }
        };
        step(&mut gates, kernel, rows, tell)
    });
    results.into_iter().collect()
}

fn step(gates: &mut Gates<'_>, kernel: Kernel, rows: usize, tell: impl Fn(bool)) -> Result<(), TallyError> {
    let length = rows.div_ceil(64);
    match kernel {
        Kernel::And => {
            let (x, y) = (random(gates, 1, length), random(gates, 2, length));
            let mut tape = gates.tape(scope(0));
            tell(true);
            gates.and1(&mut tape, &x, &y)?;
        }
        Kernel::Proof => {
            let (x, y) = (random(gates, 1, length), random(gates, 2, length));
            gates.let_wait(usize::MAX);
            let mut tape = gates.tape(scope(0));
            gates.and1(&mut tape, &x, &y)?;
            tell(true);
            let _ = gates.validate(scope(1), ())?;
        }
        Kernel::CompareRipple | Kernel::CompareTree => {
            let keys = keys(random(gates, 1, rows));
            let runs = [Run {
                from: 1,
                len: rows - 1,
                pivot: 0,
            }];
            let ripple_from = if kernel == Kernel::CompareRipple {
                0
            } else {
                usize::MAX
            };
            let params = SortParams {
                ripple_from,
                ..SortParams::LAN
            };
            let mut comparer = Comparer::new(KEY_BITS);
            tell(true);
            comparer.less(gates, 0, &keys, &runs, &params)?;
        }
        Kernel::Shuffle => {
            let mut column = random(gates, 1, 3 * rows);
            let own = std::mem::take(&mut column.a);
            let next = std::mem::take(&mut column.b);
            tell(true);
            shuffle(gates, scope(0), Table { width: 3, own, next })?;
        }
        Kernel::Sort => {
            // Random keys of 40 bits are distinct up to a few, whose order is arbitrary.
            let keys = keys(random(gates, 1, rows));
            tell(true);
            sort(gates, keys, KEY_BITS, &SortParams::LAN)?;
        }
        Kernel::Scan => {
            let [valid, roll, paper] = [1, 2, 3].map(|step| random(gates, step, length));
            tell(true);
            scan::counted(gates, valid, &roll, &paper)?;
        }
        Kernel::Sum => {
            let bits = (usize::BITS - rows.leading_zeros()) as usize;
            let mut counters = [Counter::new(random(gates, 1, length), bits)];
            let mut tape = gates.tape(scope(0));
            tell(true);
            sum::condense(gates, &mut tape, &mut counters)?;
            sum::finish(gates, &mut tape, &counters, bits)?;
        }
    }
    tell(false);
    Ok(())
}

/// A random shared column; `step` is not used twice.
fn random(gates: &mut Gates<'_>, step: u32, words: usize) -> Column {
    let mut column = Column::zero(words);
    gates
        .prss
        .stream(Neighbour::Prev, Purpose::Share, scope(step))
        .fill(&mut column.a);
    gates
        .prss
        .stream(Neighbour::Next, Purpose::Share, scope(step))
        .fill(&mut column.b);
    column
}

/// Bits of the keys that are compared.
const KEY_BITS: usize = 40;

fn keys(mut column: Column) -> Keys {
    let cut = |words: &mut Vec<u64>| -> Vec<u64> {
        std::mem::take(words)
            .into_iter()
            .map(|word| word >> (64 - KEY_BITS))
            .collect()
    };
    let (a, b) = (cut(&mut column.a), cut(&mut column.b));
    let ids = (0..a.len() as u32).collect();
    Keys { a, b, ids }
}

fn scope(step: u32) -> Scope {
    Scope {
        phase: Phase::Shuffle,
        step,
        chunk: 0,
    }
}

fn seeds(role: Role) -> Seeds {
    Seeds {
        prev: Seed::new([role.index(); 32]),
        next: Seed::new([role.next().index(); 32]),
    }
}

fn binding() -> Binding {
    Binding::new(&[0; 32], b"kernels", b"box", 0)
}
