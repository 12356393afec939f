//! Whether what is seen of many voters tells which of them handed over the truth.

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

/// Shuffles of the truth: a figure tells when the best goes with the truth better than in every one of them, which happens by chance in
/// one of so many runs. The coercer tries at three moments, so by chance one run in 4,000 fails.
const SHUFFLES: usize = 12_000;

/// The place of each value among all, the middle one of equals, about their mean and scaled to length 1; zeros where all are equal.
fn ranks(values: &[f64]) -> Vec<f64> {
    let below = |value: f64| values.iter().filter(|other| **other < value).count() as f64;
    let equal = |value: f64| values.iter().filter(|other| **other == value).count() as f64;
    let places = values.iter().map(|value| below(*value) + equal(*value) / 2.0);
    let mean = values.len() as f64 / 2.0;
    let about: Vec<f64> = places.map(|place| place - mean).collect();
    let length = about.iter().map(|of| of * of).sum::<f64>().sqrt();
    about
        .iter()
        .map(|of| if length > 0.0 { of / length } else { 0.0 })
        .collect()
}

/// Whether a figure tells true from false: the one whose ranks go best with the truth does so better than the best one with any shuffled truth. So it
/// counts itself how many figures there are, and what they have to do with each other.
pub(super) fn tells(voters: &[(bool, Vec<f64>)], rng: &mut StdRng) -> bool {
    let width = voters[0].1.len();
    assert!(
        voters.iter().all(|(_, figures)| figures.len() == width),
        "already the number of figures tells"
    );
    let figures: Vec<Vec<f64>> = (0..width)
        .map(|at| ranks(&voters.iter().map(|(_, figures)| figures[at]).collect::<Vec<_>>()))
        .collect();
    let best = |truth: &[f64]| {
        let with = |of: &Vec<f64>| {
            of.iter()
                .zip(truth)
                .map(|(one, other)| one * other)
                .sum::<f64>()
                .abs()
        };
        figures.iter().map(with).fold(0.0, f64::max)
    };
    let truth: Vec<f64> = voters
        .iter()
        .map(|(is_true, _)| f64::from(u8::from(*is_true)))
        .collect();
    let mut truth = ranks(&truth);
    let found = best(&truth);
    (0..SHUFFLES).all(|_| {
        truth.shuffle(rng);
        best(&truth) < found
    })
}
