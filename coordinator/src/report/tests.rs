use super::*;

fn summary() -> Summary {
    let figures = |id, name: &str, online, signed: &[u8]| BoxFigures {
        id,
        name: name.to_owned(),
        voters: 6_700,
        online,
        station: 640,
        paper: 41,
        excluded: 3,
        counted: Some((3_600, 612)),
        result_signed_by: signed.to_vec(),
        seal_signed_by: vec![1, 2, 3],
    };
    Summary {
        election: "riverside-2027".into(),
        language: "en".into(),
        title: "Riverside <Council> & Mayor".into(),
        manifest_hash: "ab".repeat(32),
        coordinator: "Riverside Election Commission".into(),
        published_at: "2027-05-07 02:11:09 BST".into(),
        agencies: [
            "Court of Audit".into(),
            "University".into(),
            "Bar Association".into(),
        ],
        boxes: vec![
            figures(1, "North", 4_210, &[1, 2, 3]),
            figures(2, "South", 4_019, &[1, 3]),
        ],
        corrections: 2,
        left_out: vec!["East <1>".into()],
        contests: vec![
            ContestFigures {
                id: 1,
                title: "Councillor".into(),
                rule: Rule::Single,
                options: vec![
                    "Ada \"Countess\" Lovelace".into(),
                    "Émilie du Châtelet".into(),
                    "Sophie Germain".into(),
                ],
                boxes: vec![
                    ContestInBox {
                        box_id: 1,
                        totals: vec![1_204, 2_301, 700],
                        spoilt: 9,
                    },
                    ContestInBox {
                        box_id: 2,
                        totals: vec![1_100, 1_650, 1_400],
                        spoilt: 4,
                    },
                ],
            },
            ContestFigures {
                id: 2,
                title: "Town projects".into(),
                rule: Rule::Approval { max: 2 },
                options: vec!["Library".into(), "Swimming bath".into()],
                boxes: vec![ContestInBox {
                    box_id: 2,
                    totals: vec![2_000, 2_500],
                    spoilt: 0,
                }],
            },
        ],
    }
}

#[test]
fn figures_add_up() {
    let contest = &summary().contests[0];
    assert_eq!(contest.summed(), [2_304, 3_951, 2_100]);
    assert_eq!(contest.spoilt(), 13);
    assert_eq!(contest.ranked(), [1, 0, 2]);
    // 2304, 3951 and 2100 of 8355.
    assert_eq!(contest.per_mille(), Some(vec![276, 473, 251]));
    assert_eq!(
        summary().contests[1].per_mille(),
        None,
        "votes of an approval contest are not ballots"
    );
    let empty = ContestFigures {
        boxes: vec![],
        ..contest.clone()
    };
    assert_eq!((empty.per_mille(), empty.summed()), (None, vec![0, 0, 0]));
    assert_eq!(
        summary().signers(&[1, 3]),
        "P1 Court of Audit, P3 Bar Association"
    );
    assert_eq!(summary().signers(&[]), "nobody");
}

/// The cells of a text line, split at two or more spaces.
fn cells(line: &str) -> Vec<&str> {
    line.split("  ")
        .map(str::trim)
        .filter(|c| !c.is_empty())
        .collect()
}

#[test]
fn the_terminal_report_has_every_figure_in_its_place() {
    let text = terminal::render(&summary(), 120, false);
    let has = |wanted: &[&str]| assert!(text.lines().any(|l| cells(l) == wanted), "{wanted:?} in\n{text}");
    has(&["Option", "North", "South", "All boxes", "Share"]);
    has(&["Émilie du Châtelet", "2,301", "1,650", "3,951", "47.3 %"]);
    has(&["Ada \"Countess\" Lovelace", "1,204", "1,100", "2,304", "27.6 %"]);
    has(&["Sophie Germain", "700", "1,400", "2,100", "25.1 %"]);
    has(&["Spoilt", "9", "4", "13"]);
    has(&["Swimming bath", "2,500"]);
    has(&["North", "6,700", "4,210", "640", "41", "3", "3,600", "612"]);
    has(&[
        "South",
        "P1 Court of Audit, P2 University, P3 Bar Association",
        "P1 Court of Audit, P3 Bar Association",
    ]);
    assert!(
        text.contains(&format!("{} 3,951", "█".repeat(30))),
        "the longest bar fills its width\n{text}"
    );
    assert!(
        text.contains("\nNot in this bundle, nor in the totals: East <1>\n"),
        "{text}"
    );
    assert!(!text.to_lowercase().contains("turnout"));
    assert!(!text.contains('\u{1b}'), "no escape sequences unless styled");
    assert!(terminal::render(&summary(), 120, true).contains("\u{1b}[1m"));
}

#[test]
fn unopened_channels_are_not_shown() {
    let mut summary = summary();
    for figures in &mut summary.boxes {
        figures.counted = None;
    }
    assert!(!terminal::render(&summary, 120, false).contains("Counted"));
    assert!(!html::render(&summary).contains("Counted"));
}

#[test]
fn the_page_has_every_figure_and_escapes_texts() {
    let page = html::render(&summary());
    for wanted in [
        "<h1 lang=\"en\">Riverside &lt;Council&gt; &amp; Mayor</h1>",
        "<td class=\"number total\">3,951</td><td class=\"number\">47.3 %</td>",
        "<td class=\"number\">2,301</td><td class=\"number\">1,650</td>",
        "<th scope=\"row\">Spoilt</th><td class=\"number\">9</td><td class=\"number\">4</td><td class=\"number total\">13</td>",
        "Ada &quot;Countess&quot; Lovelace",
        "<td>seal and result</td><td>seal only</td><td>seal and result</td>",
        "<strong>9,591</strong><span>ballots received</span>",
        "<td class=\"number\">4,210</td><td class=\"number\">640</td><td class=\"number\">41</td><td class=\"number\">3</td>",
        "verify-result riverside-2027.bundle",
        "Not in this bundle, nor in the totals: East &lt;1&gt;",
    ] {
        assert!(page.contains(wanted), "{wanted} in\n{page}");
    }
    assert!(!page.to_lowercase().contains("turnout"));
}

#[test]
fn the_page_is_self_contained_and_accessible() {
    let page = html::render(&summary());
    assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">"));
    for unwanted in [
        "<script", "<link", "<img", "<iframe", "url(", "@import", "https:", " on",
    ] {
        let found = page
            .match_indices(unwanted)
            .map(|(i, _)| &page[i..(i + 20).min(page.len())]);
        // Words such as " one voter" are not event handlers.
        let bad: Vec<&str> = found
            .filter(|t| *unwanted != *" on" || t.contains("=\""))
            .collect();
        assert!(bad.is_empty(), "{unwanted}: {bad:?}");
    }
    assert_eq!(
        page.matches("http:").count(),
        page.matches("http://www.w3.org/2000/svg").count()
    );
    assert_eq!(
        page.matches("<svg").count(),
        page.matches("role=\"img\" aria-label=\"").count()
    );
    // One chart a contest and one a box for the contest with several.
    assert_eq!(page.matches("<svg").count(), 4);
    // Bars: 3 options in 3 charts, 2 options in one; the first of each chart is the longest.
    assert_eq!(page.matches("<rect class=\"bar\"").count(), 11);
    assert_eq!(page.matches("<table>").count(), page.matches("<caption>").count());
    for scheme in ["prefers-color-scheme: dark", "@media print"] {
        assert!(page.contains(scheme));
    }
}

#[test]
fn the_page_is_well_formed() {
    let page = html::render(&summary());
    let mut open: Vec<String> = Vec::new();
    let mut ids = std::collections::HashSet::new();
    let mut rest = page.as_str();
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').expect("every tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if tag.starts_with('!') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closing tag matches");
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes pair in <{tag}>");
        let name = tag.split_whitespace().next().expect("a name");
        if let Some(id) = tag.split(" id=\"").nth(1).and_then(|t| t.split('"').next()) {
            assert!(ids.insert(id.to_owned()), "id {id} is used once");
        }
        if name == "style" {
            rest = &rest[rest.find("</style>").expect("style ends")..];
        }
        if name != "meta" {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "{open:?}");
    for label in page
        .split("aria-labelledby=\"")
        .skip(1)
        .filter_map(|t| t.split('"').next())
    {
        assert!(ids.contains(label), "{label} is somewhere");
    }
}

/// Writes the page where `TALLY_REPORT_PAGE` says, for a look at it in a browser.
#[test]
fn the_page_can_be_written_for_a_look() {
    if let Some(path) = std::env::var_os("TALLY_REPORT_PAGE") {
        std::fs::write(path, html::render(&summary())).expect("writable");
    }
}
