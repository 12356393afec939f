//! Horizontal bars as SVG. Lengths are percentages and text keeps its size, so that a chart fits a telephone and a sheet of
//! paper alike; colours come from the page's style sheet, which knows light, dark and print.

use maud::{Markup, html};

use super::percent;
use crate::progress::grouped;

/// One bar.
#[derive(Debug, Clone)]
pub(super) struct Bar<'a> {
    pub(super) name: &'a str,
    pub(super) votes: u64,
    pub(super) per_mille: Option<u64>,
}

/// How large a chart is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// One for a contest.
    Full,
    /// One of several, a box each.
    Small,
}

impl Size {
    const fn row(self) -> u64 {
        match self {
            Self::Full => 46,
            Self::Small => 32,
        }
    }
    const fn thickness(self) -> u64 {
        match self {
            Self::Full => 14,
            Self::Small => 7,
        }
    }
    /// Longest name drawn whole; the table beside every chart has all of it.
    const fn name(self) -> usize {
        match self {
            Self::Full => 44,
            Self::Small => 26,
        }
    }
    const fn class(self) -> &'static str {
        match self {
            Self::Full => "chart",
            Self::Small => "chart small",
        }
    }
}

/// Draws `bars` in the order given; the longest fills the width. `label` names the chart for readers that cannot see it.
pub(super) fn draw(bars: &[Bar<'_>], label: &str, size: Size) -> Markup {
    let most = bars.iter().map(|b| b.votes).max().unwrap_or(0).max(1);
    let height = size.row() * bars.len() as u64;
    html! {
        svg class=(size.class()) xmlns="http://www.w3.org/2000/svg" width="100%" height=(height) role="img" aria-label=(label) {
            @for (i, bar) in bars.iter().enumerate() {
                @let top = size.row() * i as u64;
                @let baseline = top + size.row() - size.thickness() - 12;
                g {
                    title { (bar.name) ": " (figures(bar)) }
                    text class="name" x="0" y=(baseline) { (shortened(bar.name, size.name())) }
                    text class="value" x="100%" y=(baseline) text-anchor="end" { (figures(bar)) }
                    rect class="track" x="0" y=(baseline + 6) width="100%" height=(size.thickness()) rx="2" {}
                    rect class="bar" x="0" y=(baseline + 6) width=(length(bar.votes, most)) height=(size.thickness()) rx="2" {}
                }
            }
        }
    }
}

fn figures(bar: &Bar<'_>) -> String {
    match bar.per_mille {
        Some(share) => format!("{} ({})", grouped(bar.votes), percent(share)),
        None => grouped(bar.votes),
    }
}

/// `votes` of `most` as a percentage of the width, two decimals.
fn length(votes: u64, most: u64) -> String {
    let hundredths = u128::from(votes) * 10_000 / u128::from(most.max(1));
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

fn shortened(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    let mut short: String = name.chars().take(most.saturating_sub(1)).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_exact_to_a_hundredth() {
        assert_eq!(length(0, 7), "0.00%");
        assert_eq!(length(7, 7), "100.00%");
        assert_eq!(length(1, 3), "33.33%");
        assert_eq!(length(u64::MAX, u64::MAX), "100.00%");
        assert_eq!(length(0, 0), "0.00%");
    }

    #[test]
    fn long_names_are_shortened_between_characters() {
        assert_eq!(shortened("Ada", 10), "Ada");
        assert_eq!(shortened("Ärztekammer für alle", 12), "Ärztekammer…");
    }
}
