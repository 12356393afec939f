//! The result as one self-contained HTML page: no scripts, no fonts or pictures from elsewhere, light and dark, for print too.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::{self, Bar, Size};
use super::{BoxFigures, ContestFigures, Summary, percent};
use crate::progress::grouped;

const STYLE: &str = include_str!("page.css");

/// More boxes than this are shown in the table only.
const MOST_SMALL_CHARTS: usize = 12;

/// Renders the page.
pub fn render(summary: &Summary) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (summary.title) " – result" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    p class="kicker" { "Result of the election" }
                    h1 lang=(summary.language) { (summary.title) }
                    p class="byline" {
                        "Published by " (summary.coordinator) " at " (summary.published_at)
                    }
                    (standing(summary))
                }
                main {
                    @for contest in &summary.contests {
                        (contest_section(summary, contest))
                    }
                    (received(summary))
                    (signatures(summary))
                    (notes(summary))
                }
                footer {
                    p { "Election " code { (summary.election) } }
                    p { "Manifest " code class="hash" { (summary.manifest_hash) } }
                }
            }
        }
    }
    .into_string()
}

fn standing(summary: &Summary) -> Markup {
    let signed = summary
        .boxes
        .iter()
        .filter(|b| b.result_signed_by.len() >= 2)
        .count();
    let all = summary.boxes.len();
    html! {
        ul class="facts" {
            li { strong { (grouped(summary.boxes.iter().map(received_in).sum())) } span { "ballots received" } }
            li { strong { (grouped(summary.boxes.iter().map(|b| b.voters).sum())) } span { "voters on the roll" } }
            li { strong { (all) } span { (plural(all, "box", "boxes")) } }
            li { strong { (signed) " of " (all) } span { "results signed by two or more parties" } }
        }
    }
}

fn received_in(figures: &BoxFigures) -> u64 {
    figures.online + figures.station + figures.paper
}

fn plural(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

fn contest_section(summary: &Summary, contest: &ContestFigures) -> Markup {
    let heading = format!("contest-{}", contest.id);
    let summed = contest.summed();
    let shares = contest.per_mille();
    let ranked = contest.ranked();
    let share_of = |o: usize| shares.as_ref().and_then(|s| s.get(o).copied());
    let name_of = |o: usize| contest.options.get(o).map_or("", String::as_str);
    let all: Vec<Bar<'_>> = ranked
        .iter()
        .map(|&o| Bar {
            name: name_of(o),
            votes: summed.get(o).copied().unwrap_or(0),
            per_mille: share_of(o),
        })
        .collect();
    let several = contest.boxes.len() > 1;
    html! {
        section aria-labelledby=(heading) {
            h2 id=(heading) lang=(summary.language) { (contest.title) }
            p class="rule" { "Rule: " (contest.rule.words()) @if several { ". All boxes together, most votes first." } }
            (chart::draw(&all, &format!("Bar chart of the votes in {}", contest.title), Size::Full))
            @if several && contest.boxes.len() <= MOST_SMALL_CHARTS {
                h3 { "By box" }
                div class="grid" {
                    @for in_box in &contest.boxes {
                        @let name = summary.box_name(in_box.box_id);
                        @let bars: Vec<Bar<'_>> = ranked.iter().map(|&o| Bar {
                            name: name_of(o),
                            votes: in_box.totals.get(o).copied().unwrap_or(0),
                            per_mille: None,
                        }).collect();
                        figure {
                            figcaption lang=(summary.language) { (name) }
                            (chart::draw(&bars, &format!("Bar chart of the votes in {}, {name}", contest.title), Size::Small))
                        }
                    }
                }
            }
            (contest_table(summary, contest))
        }
    }
}

fn contest_table(summary: &Summary, contest: &ContestFigures) -> Markup {
    let summed = contest.summed();
    let shares = contest.per_mille();
    let several = contest.boxes.len() > 1;
    html! {
        div class="scroll" role="region" tabindex="0" aria-label=(format!("Votes in {}", contest.title)) {
            table {
                caption { "Votes in figures" }
                thead { tr {
                    th scope="col" { "Option" }
                    @for in_box in &contest.boxes {
                        th scope="col" class="number" lang=(summary.language) { (summary.box_name(in_box.box_id)) }
                    }
                    @if several { th scope="col" class="number" { "All boxes" } }
                    @if shares.is_some() { th scope="col" class="number" { "Share" } }
                } }
                tbody {
                    @for option in contest.ranked() {
                        tr {
                            th scope="row" lang=(summary.language) { (contest.options.get(option).map_or("", String::as_str)) }
                            @for in_box in &contest.boxes {
                                td class="number" { (grouped(in_box.totals.get(option).copied().unwrap_or(0))) }
                            }
                            @if several { td class="number total" { (grouped(summed.get(option).copied().unwrap_or(0))) } }
                            @if let Some(share) = shares.as_ref().and_then(|s| s.get(option)) {
                                td class="number" { (percent(*share)) }
                            }
                        }
                    }
                }
                tfoot { tr {
                    th scope="row" { "Spoilt" }
                    @for in_box in &contest.boxes { td class="number" { (grouped(in_box.spoilt)) } }
                    @if several { td class="number total" { (grouped(contest.spoilt())) } }
                    @if shares.is_some() { td {} }
                } }
            }
        }
    }
}

fn received(summary: &Summary) -> Markup {
    let opened = summary.boxes.iter().any(|b| b.counted.is_some());
    let sum = |of: fn(&BoxFigures) -> u64| grouped(summary.boxes.iter().map(of).sum());
    html! {
        section aria-labelledby="received" {
            h2 id="received" { "Ballots received" }
            p class="rule" {
                "Submissions, not people: a voter may send many ballots, and only the last one counts. "
                "A paper ballot is listed here because it strikes the voter's other ballots; the papers are counted by hand."
            }
            div class="scroll" role="region" tabindex="0" aria-label="Ballots received" {
                table {
                    caption { "Ballots received and sealed, by box and channel" }
                    thead { tr {
                        th scope="col" { "Box" }
                        th scope="col" class="number" { "Voters on the roll" }
                        th scope="col" class="number" { "Online" }
                        th scope="col" class="number" { "Station" }
                        th scope="col" class="number" { "Paper" }
                        th scope="col" class="number" { "Excluded" }
                        @if opened {
                            th scope="col" class="number" { "Counted, online" }
                            th scope="col" class="number" { "Counted, station" }
                        }
                    } }
                    tbody {
                        @for figures in &summary.boxes {
                            tr {
                                th scope="row" lang=(summary.language) { (figures.name) }
                                td class="number" { (grouped(figures.voters)) }
                                td class="number" { (grouped(figures.online)) }
                                td class="number" { (grouped(figures.station)) }
                                td class="number" { (grouped(figures.paper)) }
                                td class="number" { (grouped(figures.excluded)) }
                                @if opened {
                                    td class="number" { @if let Some((online, _)) = figures.counted { (grouped(online)) } }
                                    td class="number" { @if let Some((_, station)) = figures.counted { (grouped(station)) } }
                                }
                            }
                        }
                    }
                    @if summary.boxes.len() > 1 {
                        tfoot { tr {
                            th scope="row" { "All boxes" }
                            td class="number" { (sum(|b| b.voters)) }
                            td class="number" { (sum(|b| b.online)) }
                            td class="number" { (sum(|b| b.station)) }
                            td class="number" { (sum(|b| b.paper)) }
                            td class="number" { (sum(|b| b.excluded)) }
                            @if opened {
                                td class="number" { (sum(|b| b.counted.map_or(0, |c| c.0))) }
                                td class="number" { (sum(|b| b.counted.map_or(0, |c| c.1))) }
                            }
                        } }
                    }
                }
            }
            p class="rule" {
                "Orders of correction: " (grouped(summary.corrections)) ". Each says of one voter whether online votes count; whether "
                "there were any is known to nobody."
            }
            @if !summary.left_out.is_empty() {
                p class="rule" lang=(summary.language) { "Not in this bundle, nor in the totals: " (summary.left_out.join(", ")) }
            }
        }
    }
}

fn signatures(summary: &Summary) -> Markup {
    html! {
        section aria-labelledby="signatures" {
            h2 id="signatures" { "Who signed" }
            p class="rule" {
                "The seal says exactly what was tallied and bears all three parties' signatures. "
                "A result stands with the signatures of two."
            }
            div class="scroll" role="region" tabindex="0" aria-label="Signatures" {
                table {
                    caption { "Signatures, by box" }
                    thead { tr {
                        th scope="col" { "Box" }
                        @for (i, agency) in summary.agencies.iter().enumerate() {
                            th scope="col" { "P" (i + 1) " " (agency) }
                        }
                    } }
                    tbody {
                        @for figures in &summary.boxes {
                            tr {
                                th scope="row" lang=(summary.language) { (figures.name) }
                                @for party in 1..=3u8 {
                                    td { (signed_what(figures, party)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn signed_what(figures: &BoxFigures, party: u8) -> &'static str {
    match (
        figures.seal_signed_by.contains(&party),
        figures.result_signed_by.contains(&party),
    ) {
        (true, true) => "seal and result",
        (true, false) => "seal only",
        (false, true) => "result only",
        (false, false) => "nothing",
    }
}

fn notes(summary: &Summary) -> Markup {
    html! {
        section class="notes" aria-labelledby="check" {
            h2 id="check" { "Check it yourself" }
            p {
                "This page repeats the figures of the signed result bundle. Whoever has the bundle and the manifest can check "
                "every signature and every published figure without a network:"
            }
            pre { code { "coordinator verify-result " (summary.election) ".bundle --manifest " (summary.election) ".manifest" } }
            p {
                "How many ballots were replaced by a later one, overridden at a station or cast with a false credential is "
                "never opened, in no box and at no level: it would tell somebody who ordered a vote what became of it."
            }
        }
    }
}
