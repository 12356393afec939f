//! Whether two samples are of one distribution: the chi-square test.

use std::collections::BTreeMap;

/// Values seen less often than this in both samples together are one value.
const RARE: u64 = 20;

/// What the test says about two samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Apart {
    /// The sum over all values of (a - b)^2 / (a + b).
    pub statistic: f64,
    /// Degrees of freedom: values less one.
    pub freedom: u64,
    /// The probability of such a statistic, or a larger one, if both samples are of one distribution.
    pub p: f64,
}

/// Compares how often each value was seen in two samples of equal size.
#[must_use]
pub fn two_samples(one: &BTreeMap<u64, u64>, two: &BTreeMap<u64, u64>) -> Apart {
    let mut cells: BTreeMap<u64, [u64; 2]> = BTreeMap::new();
    for (side, counts) in [one, two].into_iter().enumerate() {
        for (&value, &count) in counts {
            cells.entry(value).or_default()[side] += count;
        }
    }
    let mut pooled = [0u64; 2];
    let mut kept = Vec::new();
    for [a, b] in cells.into_values() {
        if a + b < RARE {
            pooled[0] += a;
            pooled[1] += b;
        } else {
            kept.push([a, b]);
        }
    }
    if pooled[0] + pooled[1] >= RARE || kept.is_empty() {
        kept.push(pooled);
    } else if let Some(smallest) = kept.iter_mut().min_by_key(|[a, b]| a + b) {
        smallest[0] += pooled[0];
        smallest[1] += pooled[1];
    }
    let freedom = kept.len() as u64 - 1;
    let statistic = kept
        .iter()
        .filter(|[a, b]| a + b > 0)
        .map(|[a, b]| (*a as f64 - *b as f64).powi(2) / (a + b) as f64)
        .sum();
    Apart {
        statistic,
        freedom,
        p: tail(statistic, freedom),
    }
}

/// The probability that chi-square with so many degrees of freedom is at least `x`: Q(freedom / 2, x / 2), the regularised incomplete
/// gamma function, by its recurrence Q(a + 1, y) = Q(a, y) + y^a e^-y / a! from Q(1/2, y) = erfc(sqrt y) or Q(1, y) = e^-y.
fn tail(x: f64, freedom: u64) -> f64 {
    if freedom == 0 || x <= 0.0 {
        return 1.0;
    }
    let y = x / 2.0;
    // ln of y^a e^-y / Gamma(a + 1), for a = 0 or 1/2.
    let (mut a, mut q, mut ln_term) = if freedom.is_multiple_of(2) {
        (1.0, (-y).exp(), y.ln() - y)
    } else {
        let half_gamma = (std::f64::consts::PI.sqrt() / 2.0).ln();
        (0.5, erfc(y.sqrt()), 0.5 * y.ln() - y - half_gamma)
    };
    while a < freedom as f64 / 2.0 {
        q += ln_term.exp();
        a += 1.0;
        ln_term += y.ln() - a.ln();
    }
    q.min(1.0)
}

/// The complementary error function for x >= 0; relative error below 1.2e-7 (Press et al., Numerical Recipes, section 6.2).
fn erfc(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.5 * x);
    let series = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let sum = series.iter().rev().fold(0.0, |sum, c| sum * t + c);
    t * (sum - x * x).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_those_of_the_tables() {
        for (x, freedom, p) in [
            (3.841, 1, 0.05),
            (5.991, 2, 0.05),
            (7.815, 3, 0.05),
            (23.209, 10, 0.01),
            (10.828, 1, 0.001),
            (124.342, 100, 0.05),
            (149.449, 100, 0.001),
            (0.0, 5, 1.0),
            (12.0, 0, 1.0),
        ] {
            let tail = tail(x, freedom);
            assert!((tail / p - 1.0).abs() < 0.002, "{x} {freedom}: {tail}");
        }
    }

    #[test]
    fn equal_samples_are_alike_and_others_are_not() {
        let die = |loaded: u64| {
            (0..6)
                .map(|face| (face, 500 + u64::from(face == 3) * loaded))
                .collect()
        };
        let (fair, loaded) = (die(0), die(300));
        assert_eq!(two_samples(&fair, &fair).p, 1.0);
        let apart = two_samples(&fair, &loaded);
        assert_eq!(apart.freedom, 5);
        assert!(apart.p < 1e-9, "{apart:?}");
        assert_eq!(
            two_samples(&BTreeMap::from([(7, 90)]), &BTreeMap::from([(7, 90)])).p,
            1.0
        );
        let nothing_in_common = two_samples(&BTreeMap::from([(7, 90)]), &BTreeMap::from([(8, 90)]));
        assert!(nothing_in_common.p < 1e-30, "{nothing_in_common:?}");
    }
}
