//! The ballot paper as a voter reads it: contests and options in the voter's language.

use std::fmt::Write as _;

use tally_proto::manifest::{BallotBox, Contest, Manifest, Rule};
use tally_proto::text::Texts;

/// The text in the first of `languages` that there is: a language as given (`de-at`), then the same without its region (`de`),
/// then any region of it; after all of these English, and at last the text that the commission put first.
pub fn in_language<'a>(texts: &'a Texts, languages: &[String]) -> &'a str {
    texts.best_of(languages)
}

/// The most options that may be chosen in a contest.
pub fn choose_at_most(contest: &Contest) -> u32 {
    match contest.rule() {
        Rule::Single => 1,
        Rule::Approval { max } => max,
    }
}

/// The ballot paper of one box.
#[derive(Clone, Debug)]
pub struct Form {
    title: Texts,
    box_name: Texts,
    contests: Vec<Contest>,
}

impl Form {
    /// The ballot paper of a box of this election.
    pub fn of(manifest: &Manifest, of_box: &BallotBox) -> Self {
        Self {
            title: manifest.title().clone(),
            box_name: of_box.name().clone(),
            contests: manifest.contests_of(of_box).cloned().collect(),
        }
    }

    /// The election's title.
    pub fn title(&self) -> &Texts {
        &self.title
    }

    /// The name of the voter's box (district).
    pub fn box_name(&self) -> &Texts {
        &self.box_name
    }

    /// The contests, in the order of the ballot.
    pub fn contests(&self) -> &[Contest] {
        &self.contests
    }

    /// The ballot paper as text, in the first of `languages` that there is.
    pub fn render(&self, languages: &[String]) -> String {
        let mut text = format!(
            "{}\n{}\n",
            in_language(&self.title, languages),
            in_language(&self.box_name, languages)
        );
        for (at, contest) in self.contests.iter().enumerate() {
            let rule = match contest.rule() {
                Rule::Single => "choose one".to_owned(),
                Rule::Approval { max } => format!("choose up to {max}"),
            };
            let _ = write!(
                text,
                "\n{}. {} ({rule})\n",
                at + 1,
                in_language(contest.title(), languages)
            );
            for (number, option) in contest.options().iter().enumerate() {
                let _ = writeln!(text, "   {:>3}  {}", number + 1, in_language(option, languages));
            }
        }
        text
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::world::{Agencies, Names, contest};
    use tally_proto::wire;

    fn texts(pairs: &[(&str, &str)]) -> Texts {
        Texts::new(
            pairs
                .iter()
                .map(|(language, text)| ((*language).to_owned(), (*text).to_owned()))
                .collect(),
        )
        .unwrap()
    }

    /// The ballot paper of the test election with these contests.
    pub(crate) fn form(contests: Vec<wire::Contest>) -> Form {
        let nowhere = ([127, 0, 0, 1], 1).into();
        let mut wire = Agencies::new(1)
            .define([nowhere; 3], [nowhere; 3], nowhere, &[])
            .to_wire();
        wire.boxes.truncate(1);
        wire.boxes[0].contests = contests.iter().map(|contest| contest.id).collect();
        wire.contests = contests;
        let manifest = Manifest::from_wire(&wire).unwrap();
        Form::of(&manifest, &manifest.boxes()[0])
    }

    #[test]
    fn language_falls_back_to_region_free_then_english_then_first() {
        let all = texts(&[
            ("cs", "volba"),
            ("de", "Wahl"),
            ("de-at", "Wahl in Österreich"),
            ("en-gb", "election"),
        ]);
        let pick = |languages: &[&str]| {
            let languages: Vec<String> = languages.iter().map(|tag| (*tag).to_owned()).collect();
            in_language(&all, &languages).to_owned()
        };
        assert_eq!(pick(&["de-at"]), "Wahl in Österreich");
        assert_eq!(pick(&["de_AT"]), "Wahl in Österreich");
        assert_eq!(pick(&["de-CH"]), "Wahl");
        assert_eq!(pick(&["fr", "cs"]), "volba");
        assert_eq!(pick(&["fr"]), "election");
        assert_eq!(pick(&[]), "election");
        assert_eq!(
            in_language(&texts(&[("cs", "volba"), ("de", "Wahl")]), &["fr".to_owned()]),
            "volba"
        );
    }

    #[test]
    fn the_ballot_paper_numbers_contests_and_options() {
        let yes_no: &[Names] = &[&[("en", "yes"), ("de", "ja")], &[("en", "no"), ("de", "nein")]];
        let form = form(vec![
            contest(3, &[("en", "Bridge"), ("de", "Brücke")], yes_no, None),
            contest(5, &[("en", "Tunnel")], yes_no, Some(1)),
        ]);
        let expected = "Ratswahl\nNorth\n\n1. Brücke (choose one)\n     1  ja\n     2  nein\n\n\
                        2. Tunnel (choose up to 1)\n     1  ja\n     2  nein\n";
        assert_eq!(form.render(&["de".to_owned()]), expected);
    }
}
