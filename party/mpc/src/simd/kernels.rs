//! The kernels of the proof, written once over [`Lanes`].
//!
//! Everything is `inline(always)`, so that a caller compiled for wide vectors gets wide code.

use super::lanes::{Clmul, Lanes, each};

/// Words in a group, and field elements that one folds to.
const GROUP: usize = 64;
/// Blocks of N groups that share one pass over the sums of products.
const BLOCKS: usize = 2;

/// Eight rows of eight words from N groups: row r gets the XOR of the columns' words 8 r .. 8 r + 8. Groups beyond the end are
/// zero.
#[inline(always)]
fn gather_rows<L: Lanes, const C: usize>(
    columns: [&[u64]; C],
    first_group: usize,
    groups: usize,
    rows: &mut [[L; 8]; 8],
) {
    for (c, column) in columns.into_iter().enumerate() {
        let words = &column[first_group * GROUP..];
        if groups >= L::N {
            add_rows(&words[..L::N * GROUP], rows, c == 0);
        } else {
            let mut padded = [0u64; 8 * GROUP];
            padded[..groups * GROUP].copy_from_slice(&words[..groups * GROUP]);
            add_rows(&padded, rows, c == 0);
        }
    }
}

/// Adds N groups of words to the rows, or replaces them.
#[inline(always)]
fn add_rows<L: Lanes>(words: &[u64], rows: &mut [[L; 8]; 8], replace: bool) {
    for (r, row) in rows.iter_mut().enumerate() {
        let words = L::gather(&words[8 * r..]);
        *row = if replace {
            words
        } else {
            each(|j| row[j].xor(words[j]))
        };
    }
}

/// The values at digit `d` in {0, 1, inf} of the topmost variable: low half, high half, or their sum.
#[inline(always)]
fn digit<L: Lanes, const FULL: usize, const HALF: usize>(values: &[L; FULL], d: usize) -> [L; HALF] {
    let mut out = [L::zero(); HALF];
    for (j, v) in out.iter_mut().enumerate() {
        *v = match d {
            0 => values[j],
            1 => values[HALF + j],
            _ => values[j].xor(values[HALF + j]),
        };
    }
    out
}

/// Four values on {0,1}^2 to nine on {0,1,inf}^2, the first variable fastest.
#[inline(always)]
fn expand_two<L: Lanes>(v: [L; 4]) -> [L; 9] {
    let (low, high) = (v[0].xor(v[1]), v[2].xor(v[3]));
    [
        v[0],
        v[1],
        low,
        v[2],
        v[3],
        high,
        v[0].xor(v[2]),
        v[1].xor(v[3]),
        low.xor(high),
    ]
}

/// Adds `term(sum, a(e), b(e))` to each of the 27 sums, for e in {0,1,inf}^3.
#[inline(always)]
fn inner_three<L: Clmul>(a: &[L; 8], b: &[L; 8], sums: &mut [L::Sum], term: impl Fn(L::Sum, L, L) -> L::Sum) {
    for d in 0..3 {
        let a = expand_two(digit::<L, 8, 4>(a, d));
        let b = expand_two(digit::<L, 8, 4>(b, d));
        let sums = &mut sums[9 * d..9 * d + 9];
        for j in 0..9 {
            sums[j] = term(sums[j], a[j], b[j]);
        }
    }
}

/// Two rows on {0,1} of variable 3, for each of the nine points of variables 4 and 5.
type OuterRows<L> = [[[L; 8]; 2]; 9];

/// Expands the two topmost of six variables.
#[inline(always)]
fn outer_two<L: Lanes>(rows: &[[L; 8]; 8], out: &mut OuterRows<L>) {
    for j in 0..8 {
        let column: [L; 8] = each(|r| rows[r][j]);
        for top in 0..3 {
            let half = digit::<L, 8, 4>(&column, top);
            for middle in 0..3 {
                let [low, high] = digit::<L, 4, 2>(&half, middle);
                out[3 * top + middle][0][j] = low;
                out[3 * top + middle][1][j] = high;
            }
        }
    }
}

/// `out[e] = sum_g theta_g (U_g(e) & V_g(e))` for e in {0,1,inf}^6. Word kappa of group g is at `64 g + kappa`.
#[inline(always)]
pub(super) fn grid<L: Clmul>(u: [&[u64]; 2], v: [&[u64]; 2], theta: &[u64], out: &mut [u64; 729]) {
    let mut sums = [L::sum_zero(); 729];
    let mut wide_u: [OuterRows<L>; BLOCKS] = [[[[L::zero(); 8]; 2]; 9]; BLOCKS];
    let mut wide_v = wide_u;
    let mut weight = [L::zero(); BLOCKS];
    let mut rows = [[L::zero(); 8]; 8];
    for first in (0..theta.len()).step_by(L::N * BLOCKS) {
        let mut blocks = 0;
        for (block, g) in (first..theta.len().min(first + L::N * BLOCKS))
            .step_by(L::N)
            .enumerate()
        {
            for (columns, wide) in [(u, &mut wide_u), (v, &mut wide_v)] {
                gather_rows(columns, g, theta.len() - g, &mut rows);
                outer_two(&rows, &mut wide[block]);
            }
            weight[block] = L::load_short(&theta[g..]);
            blocks = block + 1;
        }
        for (point, sums) in sums.chunks_exact_mut(81).enumerate() {
            for block in 0..blocks {
                let t = weight[block];
                let (a, b) = (&wide_u[block][point], &wide_v[block][point]);
                for d in 0..3 {
                    let row = |rows: &[[L; 8]; 2]| match d {
                        0 => rows[0],
                        1 => rows[1],
                        _ => each(|j| rows[0][j].xor(rows[1][j])),
                    };
                    inner_three(&row(a), &row(b), &mut sums[27 * d..27 * d + 27], |sum, x, y| {
                        L::sum_add(sum, x.and(y), t)
                    });
                }
            }
        }
    }
    for (value, sum) in out.iter_mut().zip(sums) {
        *value = L::sum_reduce(sum);
    }
}

/// `out[e] = sum_g u_g(e) v_g(e)` for e in {0,1,inf}^k, 3 <= k <= 6. Element j of group g is at `j * stride + g`, and both
/// slices hold `2^k * stride` elements.
#[inline(always)]
pub(super) fn tail_grid<L: Clmul>(u: &[u64], v: &[u64], variables: usize, out: &mut [u64]) {
    match variables {
        3 => tail_grid_of::<L, 27, 1>(u, v, variables, out),
        4 => tail_grid_of::<L, 81, 3>(u, v, variables, out),
        5 => tail_grid_of::<L, 243, 9>(u, v, variables, out),
        _ => tail_grid_of::<L, 729, 27>(u, v, variables, out),
    }
}

/// [`tail_grid`] with POINTS = 3^k and ROWS = 3^(k - 3), so that nothing larger is cleared and summed up.
#[inline(always)]
fn tail_grid_of<L: Clmul, const POINTS: usize, const ROWS: usize>(
    u: &[u64],
    v: &[u64],
    variables: usize,
    out: &mut [u64],
) {
    let outer = variables - 3;
    let stride = u.len() >> variables;
    let mut sums = [L::sum_zero(); POINTS];
    let mut rows = [[[L::zero(); 8]; ROWS]; 2];
    let mut spare = [[L::zero(); 8]; ROWS];
    for g in (0..stride).step_by(L::N) {
        for (rows, words) in rows.iter_mut().zip([u, v]) {
            for (r, row) in rows[..1 << outer].iter_mut().enumerate() {
                for (j, value) in row.iter_mut().enumerate() {
                    let start = (8 * r + j) * stride;
                    *value = L::load_short(&words[start + g..start + stride]);
                }
            }
            // Shape [2^(outer - t)][3^t] to [2^(outer - t - 1)][3^(t + 1)], the lowest outer variable first.
            let (mut above, mut below) = (1 << outer, 1);
            while above > 1 {
                for pair in 0..above / 2 {
                    for i in 0..below {
                        let (a, b) = (rows[2 * pair * below + i], rows[(2 * pair + 1) * below + i]);
                        let to = 3 * pair * below + i;
                        spare[to] = a;
                        spare[to + below] = b;
                        spare[to + 2 * below] = each(|j| a[j].xor(b[j]));
                    }
                }
                above /= 2;
                below *= 3;
                rows[..above * below].copy_from_slice(&spare[..above * below]);
            }
        }
        for (point, sums) in sums.chunks_exact_mut(27).enumerate() {
            inner_three(&rows[0][point], &rows[1][point], sums, L::sum_add);
        }
    }
    for (value, sum) in out.iter_mut().zip(sums) {
        *value = L::sum_reduce(sum);
    }
}

/// `u_g = sum_j u[j * stride + g] eq[j]`, into the first `stride` places of u.
#[inline(always)]
pub(super) fn tail_fold<L: Clmul>(u: &mut [u64], eq: &[u64]) {
    let stride = u.len() / eq.len();
    for g in (0..stride).step_by(L::N) {
        let mut sum = L::wide_zero();
        for (j, &weight) in eq.iter().enumerate() {
            sum = L::wide_add(
                sum,
                L::load_short(&u[j * stride + g..(j + 1) * stride]),
                L::splat(weight),
            );
        }
        L::wide_reduce(sum).store_short(&mut u[g..stride]);
    }
}

/// `out[kappa] = sum_g theta_g c[64 g + kappa]`.
#[inline(always)]
pub(super) fn cube<L: Clmul>(c: &[u64], theta: &[u64], out: &mut [u64; GROUP]) {
    let vectors = GROUP / L::N;
    let mut sums = [L::wide_zero(); GROUP];
    for (group, &t) in c.chunks_exact(GROUP).zip(theta) {
        let t = L::splat(t);
        for (sum, words) in sums[..vectors].iter_mut().zip(group.chunks_exact(L::N)) {
            *sum = L::wide_add(*sum, L::load(words), t);
        }
    }
    for (sum, words) in sums[..vectors].iter().zip(out.chunks_exact_mut(L::N)) {
        L::wide_reduce(*sum).store(words);
    }
}

/// Multiplies element b of group g, at `64 g + b`, by `theta_g X^b`.
#[inline(always)]
pub(super) fn scale<L: Clmul>(u: &mut [u64], theta: &[u64]) {
    for (group, &t) in u.chunks_exact_mut(GROUP).zip(theta) {
        for b in (0..GROUP).step_by(L::N) {
            let words = &mut group[b..b + L::N];
            let product = L::wide_add(L::wide_zero(), L::load(words), L::powers(t, b));
            L::wide_reduce(product).store(words);
        }
    }
}

/// `out[64 g + b] = sum_kappa bit_b(XOR of the columns at 64 g + kappa) eq[kappa]`, for the slices' whole groups.
///
/// Four Russians, turned round so that no index depends on a share: the tables hold the 16 sums of four consecutive *words*, and
/// are indexed by bits of the public `eq`. Plane p of the result (bit p of every output) is the sum of 16 table entries; a 64 x
/// 64 bit transposition turns planes into elements. About 0.6 instructions a bit on one lane.
#[inline(always)]
pub(super) fn fold<L: Lanes, const C: usize>(columns: [&[u64]; C], eq: &[u64; GROUP], out: &mut [u64]) {
    // Nibble q of line p: bit p of eq[4 q .. 4 q + 4].
    let mut lines = *eq;
    transpose(&mut lines);
    let groups = out.len() / GROUP;
    let mut rows = [[L::zero(); 8]; 8];
    for g in (0..groups).step_by(L::N) {
        gather_rows(columns, g, groups - g, &mut rows);
        let mut planes = [L::zero(); GROUP];
        for q in 0..16 {
            let mut table = [L::zero(); 16];
            for i in 0..4 {
                let word = rows[q / 2][4 * (q % 2) + i];
                for j in 0..1 << i {
                    table[(1 << i) + j] = table[j].xor(word);
                }
            }
            for (plane, line) in planes.iter_mut().zip(&lines) {
                *plane = plane.xor(table[(line >> (4 * q) & 15) as usize]);
            }
        }
        transpose(&mut planes);
        let mut padded = [0u64; 8 * GROUP];
        let whole = groups - g >= L::N;
        let to: &mut [u64] = if whole {
            &mut out[g * GROUP..(g + L::N) * GROUP]
        } else {
            &mut padded
        };
        for (r, row) in planes.chunks_exact(8).enumerate() {
            let vectors = each(|j| row[j]);
            L::scatter(vectors, &mut to[8 * r..]);
        }
        if !whole {
            out[g * GROUP..].copy_from_slice(&padded[..(groups - g) * GROUP]);
        }
    }
}

/// Exchanges bit b of line p with bit p of line b, in every lane.
#[inline(always)]
pub(super) fn transpose<L: Lanes>(lines: &mut [L; GROUP]) {
    step::<L, 32>(lines, 0x0000_0000_ffff_ffff);
    step::<L, 16>(lines, 0x0000_ffff_0000_ffff);
    step::<L, 8>(lines, 0x00ff_00ff_00ff_00ff);
    step::<L, 4>(lines, 0x0f0f_0f0f_0f0f_0f0f);
    step::<L, 2>(lines, 0x3333_3333_3333_3333);
    step::<L, 1>(lines, 0x5555_5555_5555_5555);
}

/// One step of the transposition: exchanges the off-diagonal blocks of width `W`.
#[inline(always)]
fn step<L: Lanes, const W: i32>(lines: &mut [L; GROUP], mask: u64) {
    let (width, mask) = (W as usize, L::splat(mask));
    for start in (0..GROUP).step_by(2 * width) {
        for i in start..start + width {
            let swap = lines[i].shr::<W>().xor(lines[i + width]).and(mask);
            lines[i + width] = lines[i + width].xor(swap);
            lines[i] = lines[i].xor(swap.shl::<W>());
        }
    }
}

/// The value at `rho` of the polynomial of degree at most two in each variable, given on {0,1,inf}^k (its values at 0 and 1 and
/// its leading coefficient, the first variable fastest). Leaves rubbish in `values`.
#[inline(always)]
pub(super) fn evaluate<L: Clmul>(values: &mut [u64], rho: &[u64]) -> u64 {
    let mut n = values.len();
    for &r in rho {
        n /= 3;
        for i in 0..n {
            let (at_0, at_1, top) = (values[3 * i], values[3 * i + 1], values[3 * i + 2]);
            // p(X) = p(0) + (p(0) + p(1) + top) X + top X^2, by Horner.
            values[i] = at_0 ^ L::mul_one(r, at_0 ^ at_1 ^ top ^ L::mul_one(r, top));
        }
    }
    values[0]
}

/// `out[r] ^= sum_j weights[j] rows[width r + j]`.
///
/// A row's words are taken N at a time; the words behind the last N are each multiplied in every lane, by a weight in the first and
/// by zero in the others.
#[inline(always)]
pub(super) fn row_sums<L: Clmul>(rows: &[u64], weights: &[u64], out: &mut [u64]) {
    let (whole, rest) = weights.split_at(weights.len() / L::N * L::N);
    let single = |weight: u64| {
        let mut lanes = [0; 8];
        lanes[0] = weight;
        L::load(&lanes)
    };
    for (sum, row) in out.iter_mut().zip(rows.chunks_exact(weights.len())) {
        let mut products = L::sum_zero();
        let (words, last) = row.split_at(whole.len());
        for (words, weights) in words.chunks_exact(L::N).zip(whole.chunks_exact(L::N)) {
            products = L::sum_add(products, L::load(words), L::load(weights));
        }
        for (&word, &weight) in last.iter().zip(rest) {
            products = L::sum_add(products, L::splat(word), single(weight));
        }
        *sum ^= L::sum_reduce(products);
    }
}

/// The product of two elements.
#[inline(always)]
pub(super) fn mul<L: Clmul>(a: u64, b: u64) -> u64 {
    L::mul_one(a, b)
}
