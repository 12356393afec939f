//! The result as tables and bars of text.

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};

use super::{ContestFigures, Summary, percent};
use crate::progress::grouped;

/// Widest bar, in characters.
const BAR: usize = 30;

/// Renders the whole result, at most `width` columns wide where names allow; `styled` for a terminal that shows bold.
pub fn render(summary: &Summary, width: u16, styled: bool) -> String {
    let mut out = format!(
        "{}\nElection {}, published by {} at {}\nManifest {}\n",
        summary.title, summary.election, summary.coordinator, summary.published_at, summary.manifest_hash
    );
    for contest in &summary.contests {
        out += &format!("\n{} ({})\n", contest.title, contest.rule.words());
        out += &totals(summary, contest, width, styled);
        out += "\n\n";
        out += &bars(contest);
    }
    out +=
        "\nBallots received (submissions, not people: one voter may send many, and only the last counts)\n";
    out += &received(summary, width, styled);
    out.push('\n');
    out += &format!(
        "Orders of correction: {}, each of one voter (whether any vote was struck or restored is known to nobody)\n",
        grouped(summary.corrections)
    );
    if !summary.left_out.is_empty() {
        out += &format!(
            "Not in this bundle, nor in the totals: {}\n",
            summary.left_out.join(", ")
        );
    }
    out += "\nSignatures\n";
    out += &signatures(summary, width, styled);
    out.push('\n');
    out
}

fn totals(summary: &Summary, contest: &ContestFigures, width: u16, styled: bool) -> String {
    let several = contest.boxes.len() > 1;
    let mut header = vec!["Option".to_owned()];
    header.extend(contest.boxes.iter().map(|b| summary.box_name(b.box_id)));
    if several {
        header.push("All boxes".to_owned());
    }
    let shares = contest.per_mille();
    if shares.is_some() {
        header.push("Share".to_owned());
    }
    let mut table = table(width, header, styled);
    let summed = contest.summed();
    for option in contest.ranked() {
        let mut row = vec![Cell::new(contest.options.get(option).map_or("", String::as_str))];
        row.extend(
            contest
                .boxes
                .iter()
                .map(|b| number(b.totals.get(option).copied().unwrap_or(0))),
        );
        if several {
            row.push(number(summed.get(option).copied().unwrap_or(0)));
        }
        if let Some(share) = shares.as_ref().and_then(|s| s.get(option)) {
            row.push(Cell::new(percent(*share)).set_alignment(CellAlignment::Right));
        }
        table.add_row(row);
    }
    let mut spoilt = vec![Cell::new("Spoilt")];
    spoilt.extend(contest.boxes.iter().map(|b| number(b.spoilt)));
    if several {
        spoilt.push(number(contest.spoilt()));
    }
    if shares.is_some() {
        spoilt.push(Cell::new(""));
    }
    table.add_row(spoilt);
    table.to_string()
}

fn bars(contest: &ContestFigures) -> String {
    let summed = contest.summed();
    let most = summed.iter().copied().max().unwrap_or(0).max(1);
    let name_width = contest
        .options
        .iter()
        .map(|o| o.chars().count())
        .max()
        .unwrap_or(0)
        .min(32);
    let mut out = String::new();
    for option in contest.ranked() {
        let votes = summed.get(option).copied().unwrap_or(0);
        let name: String = contest
            .options
            .get(option)
            .map_or("", String::as_str)
            .chars()
            .take(name_width)
            .collect();
        let eighths = usize::try_from(u128::from(votes) * (BAR as u128 * 8) / u128::from(most)).unwrap_or(0);
        let mut bar = "█".repeat(eighths / 8);
        if eighths % 8 > 0 {
            bar.push(['▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8 - 1]);
        }
        out += &format!("{name:<name_width$}  {bar} {}\n", grouped(votes));
    }
    out
}

fn received(summary: &Summary, width: u16, styled: bool) -> String {
    let opened = summary.boxes.iter().any(|b| b.counted.is_some());
    let mut header: Vec<String> = [
        "Box",
        "Voters on the roll",
        "Online",
        "Station",
        "Paper",
        "Excluded",
    ]
    .map(str::to_owned)
    .to_vec();
    if opened {
        header.extend(["Counted online".to_owned(), "Counted station".to_owned()]);
    }
    let mut table = table(width, header, styled);
    for figures in &summary.boxes {
        let mut row = vec![Cell::new(&figures.name)];
        row.extend(
            [
                figures.voters,
                figures.online,
                figures.station,
                figures.paper,
                figures.excluded,
            ]
            .map(number),
        );
        if opened {
            row.extend(match figures.counted {
                Some((online, station)) => [number(online), number(station)],
                None => [Cell::new(""), Cell::new("")],
            });
        }
        table.add_row(row);
    }
    table.to_string()
}

fn signatures(summary: &Summary, width: u16, styled: bool) -> String {
    let mut table = table(
        width,
        ["Box", "Seal", "Result"].map(str::to_owned).to_vec(),
        styled,
    );
    for figures in &summary.boxes {
        table.add_row([
            figures.name.clone(),
            summary.signers(&figures.seal_signed_by),
            summary.signers(&figures.result_signed_by),
        ]);
    }
    table.to_string()
}

/// An empty table in the house style: thin rules, numbers to the right.
pub(crate) fn table(width: u16, header: Vec<String>, styled: bool) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(header.into_iter().map(|name| {
            let cell = Cell::new(name);
            if styled {
                cell.add_attribute(Attribute::Bold)
            } else {
                cell
            }
        }));
    if styled {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

/// A number, grouped, to the right.
pub(crate) fn number(value: u64) -> Cell {
    Cell::new(grouped(value)).set_alignment(CellAlignment::Right)
}
