//! Each kernel at each level against its definition in bitwise arithmetic, and the levels against each other, on sizes about the
//! widths of the vectors.

use super::*;
use crate::field::tests::{Words, slow_mul};

/// Group counts about 1, 2, 4 and 8 lanes and twice that.
const GROUPS: [usize; 13] = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 35];

fn levels() -> Vec<Kernels> {
    Level::ALL.into_iter().filter_map(Kernels::at).collect()
}

/// The digits of a grid point, the first variable first.
fn digits(mut point: usize, variables: usize) -> Vec<usize> {
    (0..variables)
        .map(|_| {
            let digit = point % 3;
            point /= 3;
            digit
        })
        .collect()
}

/// The corners of {0,1}^k that a grid point sums: both values of a variable at infinity.
fn corners(point: usize, variables: usize) -> Vec<usize> {
    let digits = digits(point, variables);
    (0..1 << variables)
        .filter(|j| digits.iter().enumerate().all(|(t, &d)| d == 2 || j >> t & 1 == d))
        .collect()
}

#[test]
fn the_best_level_is_the_last_available() {
    assert_eq!(Some(Kernels::best().level()), levels().last().map(|k| k.level()));
    assert_eq!(levels()[0].level(), Level::Portable);
}

#[test]
fn grid_is_the_weighted_sum_of_ands() {
    let mut seed = Words(10);
    for groups in GROUPS {
        let n = groups * GROUP;
        let (u, v) = ([seed.words(n), seed.words(n)], [seed.words(n), seed.words(n)]);
        let theta = seed.words(groups);
        let mut model = [0; GRID];
        for (e, value) in model.iter_mut().enumerate() {
            let corners = corners(e, 6);
            for (g, &t) in theta.iter().enumerate() {
                let at = |w: &[Vec<u64>; 2]| {
                    corners
                        .iter()
                        .fold(0, |s, k| s ^ w[0][64 * g + k] ^ w[1][64 * g + k])
                };
                *value ^= slow_mul(at(&u) & at(&v), t);
            }
        }
        for kernels in levels() {
            let mut out = [1; GRID];
            kernels.grid([&u[0], &u[1]], [&v[0], &v[1]], &theta, &mut out);
            assert!(out == model, "{groups} groups, {:?}", kernels.level());
        }
    }
}

#[test]
fn fold_is_the_sum_of_the_weights_of_the_set_bits() {
    let mut seed = Words(11);
    for groups in GROUPS {
        let words = [seed.words(groups * GROUP), seed.words(groups * GROUP)];
        for trial in 0..3 {
            // Random weights, and the two extremes of a table.
            let eq: [u64; GROUP] = core::array::from_fn(|k| [seed.word(), 1 << k, u64::MAX][trial]);
            let mut model = vec![0; groups * GROUP];
            for (i, value) in model.iter_mut().enumerate() {
                for (kappa, weight) in eq.iter().enumerate() {
                    let at = i / 64 * 64 + kappa;
                    *value ^= weight * ((words[0][at] ^ words[1][at]) >> (i % 64) & 1);
                }
            }
            for kernels in levels() {
                let mut out = vec![1; groups * GROUP];
                kernels.fold([&words[0], &words[1]], &eq, &mut out);
                assert!(out == model, "{groups} groups, {:?}", kernels.level());
                let sum: Vec<u64> = words[0].iter().zip(&words[1]).map(|(a, b)| a ^ b).collect();
                out.fill(1);
                kernels.fold([&sum], &eq, &mut out);
                assert!(
                    out == model,
                    "{groups} groups of one column, {:?}",
                    kernels.level()
                );
            }
        }
    }
}

#[test]
fn scale_multiplies_by_theta_and_a_power() {
    let mut seed = Words(12);
    for groups in GROUPS {
        let (elements, theta) = (seed.words(groups * GROUP), seed.words(groups));
        let model: Vec<u64> = elements
            .iter()
            .enumerate()
            .map(|(i, &e)| slow_mul(slow_mul(e, theta[i / 64]), 1 << (i % 64)))
            .collect();
        for kernels in levels() {
            let mut out = elements.clone();
            kernels.scale(&mut out, &theta);
            assert!(out == model, "{groups} groups, {:?}", kernels.level());
        }
    }
}

#[test]
fn cube_is_the_weighted_sum_of_words() {
    let mut seed = Words(13);
    for groups in GROUPS {
        let (c, theta) = (seed.words(groups * GROUP), seed.words(groups));
        let mut model = [0; GROUP];
        for (i, &word) in c.iter().enumerate() {
            model[i % 64] ^= slow_mul(word, theta[i / 64]);
        }
        for kernels in levels() {
            let mut out = [1; GROUP];
            kernels.cube(&c, &theta, &mut out);
            assert!(out == model, "{groups} groups, {:?}", kernels.level());
        }
    }
}

#[test]
fn the_tail_grid_is_the_sum_of_products() {
    let mut seed = Words(14);
    for variables in 3..=6 {
        for stride in [0, 1, 2, 3, 7, 8, 9, 16, 17] {
            let n = stride << variables;
            let (u, v) = (seed.words(n), seed.words(n));
            let mut model = vec![0; 3usize.pow(variables)];
            for (e, value) in model.iter_mut().enumerate() {
                let corners = corners(e, variables as usize);
                for g in 0..stride {
                    let at = |w: &[u64]| corners.iter().fold(0, |s, j| s ^ w[j * stride + g]);
                    *value ^= slow_mul(at(&u), at(&v));
                }
            }
            for kernels in levels() {
                let mut out = vec![1; model.len()];
                kernels.tail_grid(&u, &v, &mut out);
                assert!(
                    out == model,
                    "{variables} variables, stride {stride}, {:?}",
                    kernels.level()
                );
            }
        }
    }
}

#[test]
fn the_tail_fold_is_a_weighted_sum() {
    let mut seed = Words(15);
    for parts in [1, 8, 16, 32, 64] {
        for stride in [0, 1, 2, 3, 7, 8, 9, 16, 17] {
            let (elements, eq) = (seed.words(parts * stride), seed.words(parts));
            let model: Vec<u64> = (0..stride)
                .map(|g| (0..parts).fold(0, |s, j| s ^ slow_mul(elements[j * stride + g], eq[j])))
                .collect();
            for kernels in levels() {
                let mut out = elements.clone();
                kernels.tail_fold(&mut out, &eq);
                assert!(
                    out[..stride] == model,
                    "{parts} parts, stride {stride}, {:?}",
                    kernels.level()
                );
                assert!(out[stride..] == elements[stride..]);
            }
        }
    }
}

#[test]
fn row_sums_add_the_weighted_words_of_each_row() {
    let mut seed = Words(18);
    for width in 1..=9 {
        for rows in [0, 1, 2, 7, 64] {
            let (words, weights, before) = (seed.words(width * rows), seed.words(width), seed.words(rows));
            let model: Vec<u64> = words
                .chunks(width)
                .zip(&before)
                .map(|(row, &before)| {
                    row.iter()
                        .zip(&weights)
                        .fold(before, |s, (&word, &weight)| s ^ slow_mul(word, weight))
                })
                .collect();
            for kernels in levels() {
                let mut out = before.clone();
                kernels.row_sums(&words, &weights, &mut out);
                assert!(
                    out == model,
                    "{rows} rows of {width} words, {:?}",
                    kernels.level()
                );
            }
        }
    }
}

#[test]
#[should_panic(expected = "as many words as weights")]
fn rows_of_another_width_are_refused() {
    Kernels::best().row_sums(&[0; 9], &[1; 4], &mut [0; 2]);
}

#[test]
fn evaluation_agrees_with_products_of_multilinear_polynomials() {
    let mut seed = Words(16);
    for variables in 0..=6 {
        let (a, b, rho) = (
            seed.words(1 << variables),
            seed.words(1 << variables),
            seed.words(variables),
        );
        // p = a b has the value at e that the products of a(e) and b(e) have, also at infinity.
        let values: Vec<u64> = (0..3usize.pow(variables as u32))
            .map(|e| {
                let at = |w: &[u64]| corners(e, variables).iter().fold(0, |s, &j| s ^ w[j]);
                slow_mul(at(&a), at(&b))
            })
            .collect();
        for kernels in levels() {
            let mut eq = vec![0; 1 << variables];
            kernels.eq_table(&rho, &mut eq);
            for (j, &weight) in eq.iter().enumerate() {
                let product = (0..variables).fold(1, |p, t| slow_mul(p, rho[t] ^ (j >> t & 1 ^ 1) as u64));
                assert_eq!(weight, product);
            }
            let at = |w: &[u64]| w.iter().zip(&eq).fold(0, |s, (&x, &e)| s ^ slow_mul(x, e));
            assert_eq!(
                kernels.evaluate(&mut values.clone(), &rho),
                slow_mul(at(&a), at(&b)),
                "{:?}",
                kernels.level()
            );
        }
    }
}

#[test]
fn products_agree_with_the_bitwise_model() {
    let all = crate::field::tests::samples(17, 40);
    for kernels in levels() {
        for &a in &all {
            for &b in &all {
                assert_eq!(kernels.mul(a, b), slow_mul(a, b));
            }
        }
    }
}

#[test]
#[should_panic(expected = "64 words for each theta")]
fn a_short_slice_is_refused() {
    let words = [0; 128];
    Kernels::best().cube(&words, &[1; 3], &mut [0; GROUP]);
}

#[test]
#[should_panic(expected = "an element for each word")]
fn a_fold_into_too_few_elements_is_refused() {
    let words = [0; 128];
    Kernels::best().fold([&words, &words], &[0; GROUP], &mut [0; 64]);
}
