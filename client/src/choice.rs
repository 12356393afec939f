//! What a voter chooses, checked against the ballot paper before anything is sent.

use std::fmt;

use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

use tally_mpc::layout::{self, Choice};
use tally_proto::manifest::{Contest, Rule};
use tally_proto::reason::Reason;
use tally_proto::text::Texts;

use crate::form::{Form, choose_at_most, in_language};
use crate::near::{fold, hint, suggest};

/// What is wrong with a choice.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum ChoiceError {
    /// No contest has this number or title.
    #[error("there is no contest \"{given}\"{}; contests are numbered 1 to {contests}", hint(.near))]
    UnknownContest {
        /// What was given.
        given: String,
        /// How many contests there are.
        contests: usize,
        /// Titles like it.
        near: Vec<String>,
    },
    /// The ballot has several contests and the choice names none.
    #[error("the ballot has {contests} contests: say which one \"{given}\" is for, as in \"1={given}\"")]
    ContestNeeded {
        /// What was given.
        given: String,
        /// How many contests there are.
        contests: usize,
    },
    /// No option has this number or name.
    #[error("\"{contest}\" has no option \"{given}\"{}; options are numbered 1 to {options}", hint(.near))]
    UnknownOption {
        /// The contest.
        contest: String,
        /// What was given.
        given: String,
        /// How many options there are.
        options: usize,
        /// Names like it.
        near: Vec<String>,
    },
    /// Several options, or contests, have this name.
    #[error("\"{given}\" is the name of several (numbers {}): choose by number", list(.numbers))]
    Ambiguous {
        /// What was given.
        given: String,
        /// Their numbers.
        numbers: Vec<u32>,
    },
    /// More options than the contest allows.
    #[error("\"{contest}\" lets you choose at most {allowed}, but {chosen} were chosen")]
    TooMany {
        /// The contest.
        contest: String,
        /// How many were chosen.
        chosen: usize,
        /// How many may be.
        allowed: u32,
    },
    /// No content of the contest's field would be counted as spoilt.
    #[error("\"{contest}\" cannot be spoilt: leave it blank instead")]
    CannotSpoil {
        /// The contest.
        contest: String,
    },
    /// One option twice.
    #[error("option {option} of \"{contest}\" was chosen twice")]
    Repeated {
        /// The contest.
        contest: String,
        /// The option's number.
        option: u32,
    },
}

impl ChoiceError {
    /// The stable reason code.
    pub fn reason(&self) -> Reason {
        match self {
            Self::UnknownContest { .. } | Self::ContestNeeded { .. } => Reason::ContestUnknown,
            Self::UnknownOption { .. } | Self::Ambiguous { .. } | Self::CannotSpoil { .. } => {
                Reason::ChoiceUnknown
            }
            Self::TooMany { .. } => Reason::ChoiceTooMany,
            Self::Repeated { .. } => Reason::ChoiceRepeated,
        }
    }
}

fn list(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// A voter's choices in every contest of a form: valid by construction, or deliberately spoilt.
///
/// # Security
/// Secret: not shown by Debug, not comparable, zeroised when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Choices {
    contests: Vec<Selection>,
}

#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Selection {
    /// Option numbers, from 1, ascending.
    pub(crate) options: Vec<u32>,
    pub(crate) spoilt: bool,
}

impl Selection {
    fn packed(&self) -> Choice {
        match (self.spoilt, self.options.is_empty()) {
            (true, _) => Choice::Spoilt,
            (false, true) => Choice::Blank,
            (false, false) => Choice::Options(self.options.clone()),
        }
    }
}

/// The choices in the packer's form; zeroised when dropped.
pub(crate) struct Packed(Vec<Choice>);

impl Packed {
    pub(crate) fn choices(&self) -> &[Choice] {
        &self.0
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        for choice in &mut self.0 {
            if let Choice::Options(options) = choice {
                options.zeroize();
            }
        }
    }
}

impl fmt::Debug for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Choices({} contests)", self.contests.len())
    }
}

impl Choices {
    /// Nothing chosen in any contest.
    pub fn blank(form: &Form) -> Self {
        let blank = || Selection {
            options: Vec::new(),
            spoilt: false,
        };
        Self {
            contests: form.contests().iter().map(|_| blank()).collect(),
        }
    }

    /// As the tally counts a ballot's content.
    pub(crate) fn as_counted(choices: Vec<Choice>) -> Self {
        let selection = |choice| match choice {
            Choice::Options(options) => Selection {
                options,
                spoilt: false,
            },
            Choice::Spoilt => Selection {
                options: Vec::new(),
                spoilt: true,
            },
            _ => Selection {
                options: Vec::new(),
                spoilt: false,
            },
        };
        Self {
            contests: choices.into_iter().map(selection).collect(),
        }
    }

    /// From texts as people type them: `2` or `Maria Schmidt` where the ballot has one contest, else `1=2`, `Mayor=2` or
    /// `Mayor=Maria Schmidt`; one text for each option chosen. Contests that are not named stay blank.
    ///
    /// # Errors
    /// The first [`ChoiceError`], with names like the one given.
    pub fn parse<'a>(form: &Form, given: impl IntoIterator<Item = &'a str>) -> Result<Self, ChoiceError> {
        let mut chosen: Vec<Vec<u32>> = vec![Vec::new(); form.contests().len()];
        for text in given {
            let (at, option) = locate(form, text)?;
            chosen[at].push(option);
        }
        let result = Self::by_number(form, &chosen);
        chosen.zeroize();
        result
    }

    /// From option numbers (from 1), a list for each contest of the form in its order; lists that are missing at the end are blank.
    ///
    /// # Errors
    /// [`ChoiceError`] for a list too many, a number out of range, one twice, or too many.
    pub fn by_number(form: &Form, chosen: &[Vec<u32>]) -> Result<Self, ChoiceError> {
        if chosen.len() > form.contests().len() {
            let given = (form.contests().len() + 1).to_string();
            return Err(ChoiceError::UnknownContest {
                given,
                contests: form.contests().len(),
                near: Vec::new(),
            });
        }
        let mut choices = Self::blank(form);
        for ((selection, contest), options) in choices.contests.iter_mut().zip(form.contests()).zip(chosen) {
            check(contest, options)?;
            selection.options.extend_from_slice(options);
            selection.options.sort_unstable();
        }
        Ok(choices)
    }

    /// Spoils one contest on purpose (numbered from 1 in the form's order), as a voter may do with a paper ballot: it is counted
    /// as spoilt and for nobody.
    ///
    /// # Errors
    /// [`ChoiceError::UnknownContest`], or [`ChoiceError::CannotSpoil`] where every content of the field is a valid vote.
    pub fn spoil(mut self, form: &Form, contest: usize) -> Result<Self, ChoiceError> {
        let contests = form.contests().len();
        let unknown = || ChoiceError::UnknownContest {
            given: contest.to_string(),
            contests,
            near: Vec::new(),
        };
        let at = contest
            .checked_sub(1)
            .filter(|at| *at < self.contests.len())
            .ok_or_else(unknown)?;
        let asked = form.contests().get(at).ok_or_else(unknown)?;
        if !can_be_spoilt(asked) {
            return Err(ChoiceError::CannotSpoil {
                contest: label(asked),
            });
        }
        let selection = &mut self.contests[at];
        selection.options.zeroize();
        selection.spoilt = true;
        Ok(self)
    }

    /// What is packed into the ballot, one choice for each contest.
    pub(crate) fn packed(&self) -> Packed {
        Packed(self.contests.iter().map(Selection::packed).collect())
    }

    /// The chosen options' names for each contest, for a machine to read; `null` where the contest is spoilt.
    pub(crate) fn shown(&self, form: &Form, languages: &[String]) -> serde_json::Value {
        let contests = form.contests().iter().zip(&self.contests);
        let shown = contests.map(|(contest, selection)| {
            let names: Option<Vec<&str>> =
                (!selection.spoilt).then(|| names(contest, &selection.options, languages).collect());
            serde_json::json!({ "contest": in_language(contest.title(), languages), "options": names })
        });
        shown.collect()
    }

    /// The choices as a sentence for each contest, to be confirmed by the voter on the voter's screen.
    ///
    /// # Security
    /// The text is the secret itself: show it, never log it.
    pub fn confirmation(&self, form: &Form, languages: &[String]) -> String {
        let mut text = String::new();
        for (contest, selection) in form.contests().iter().zip(&self.contests) {
            let names: Vec<&str> = names(contest, &selection.options, languages).collect();
            let chosen = match (selection.spoilt, names.is_empty()) {
                (true, _) => "(spoilt on purpose)".to_owned(),
                (false, true) => "(nothing)".to_owned(),
                (false, false) => names.join(", "),
            };
            text.push_str(&format!(
                "   {}: {chosen}\n",
                in_language(contest.title(), languages)
            ));
        }
        text
    }
}

/// The names of `options` (from 1).
fn names<'a>(
    contest: &'a Contest,
    options: &'a [u32],
    languages: &'a [String],
) -> impl Iterator<Item = &'a str> {
    let of = |option: &u32| contest.options().get((*option as usize).checked_sub(1)?);
    options
        .iter()
        .filter_map(of)
        .map(|option| in_language(option, languages))
}

fn check(contest: &Contest, options: &[u32]) -> Result<(), ChoiceError> {
    for (at, option) in options.iter().enumerate() {
        if !(1..=contest.options().len()).contains(&(*option as usize)) {
            return Err(unknown_option(contest, &option.to_string()));
        }
        if options[..at].contains(option) {
            return Err(ChoiceError::Repeated {
                contest: label(contest),
                option: *option,
            });
        }
    }
    let allowed = choose_at_most(contest);
    if options.len() > allowed as usize {
        return Err(ChoiceError::TooMany {
            contest: label(contest),
            chosen: options.len(),
            allowed,
        });
    }
    Ok(())
}

/// Which contest (position in the form) and option (number from 1) a text names.
fn locate(form: &Form, text: &str) -> Result<(usize, u32), ChoiceError> {
    if let [only] = form.contests() {
        // The whole text first: an option's name may hold an equals sign.
        let whole = option_of(only, text);
        return match text.split_once('=') {
            Some((contest, option)) if whole.is_err() && contest_of(form, contest).is_ok() => {
                Ok((0, option_of(only, option)?))
            }
            _ => Ok((0, whole?)),
        };
    }
    let Some((contest, option)) = text.split_once('=') else {
        return Err(ChoiceError::ContestNeeded {
            given: repeated(text),
            contests: form.contests().len(),
        });
    };
    let at = contest_of(form, contest)?;
    Ok((at, option_of(&form.contests()[at], option)?))
}

fn contest_of(form: &Form, given: &str) -> Result<usize, ChoiceError> {
    let named = matching(form.contests().iter().map(|contest| all(contest.title())), given);
    match (named.as_slice(), number_of(given, form.contests().len())) {
        // A number is a number, whatever the contests are called: it is what the ballot paper shows.
        (_, Some(number)) => Ok(number as usize - 1),
        ([one], None) => Ok(*one as usize - 1),
        ([], None) => {
            let near = suggest(
                given,
                form.contests().iter().flat_map(|contest| all(contest.title())),
            );
            Err(ChoiceError::UnknownContest {
                given: repeated(given),
                contests: form.contests().len(),
                near,
            })
        }
        (several, None) => Err(ChoiceError::Ambiguous {
            given: repeated(given),
            numbers: several.to_vec(),
        }),
    }
}

fn option_of(contest: &Contest, given: &str) -> Result<u32, ChoiceError> {
    let named = matching(contest.options().iter().map(all), given);
    match (named.as_slice(), number_of(given, contest.options().len())) {
        // A number is a number, whatever the options are called: it is what the ballot paper shows.
        (_, Some(number)) => Ok(number),
        ([one], None) => Ok(*one),
        ([], None) => Err(unknown_option(contest, given)),
        (several, None) => Err(ChoiceError::Ambiguous {
            given: repeated(given),
            numbers: several.to_vec(),
        }),
    }
}

/// What was given, to be said again: without the keys that are no text, which a terminal would take for orders.
fn repeated(given: &str) -> String {
    given.trim().chars().filter(|c| !c.is_control()).collect()
}

/// Numbers (from 1) of the entries of which some text is `given`.
fn matching<'a>(entries: impl Iterator<Item = impl Iterator<Item = &'a str>>, given: &str) -> Vec<u32> {
    let given = fold(given);
    (1..)
        .zip(entries)
        .filter_map(|(number, mut texts)| texts.any(|text| fold(text) == given).then_some(number))
        .collect()
}

fn all(texts: &Texts) -> impl Iterator<Item = &str> {
    texts.iter().map(|(_, text)| text)
}

fn label(contest: &Contest) -> String {
    in_language(contest.title(), &[]).to_owned()
}

fn can_be_spoilt(contest: &Contest) -> bool {
    let options = u32::try_from(contest.options().len()).unwrap_or(u32::MAX);
    match contest.rule() {
        Rule::Single => layout::Contest::Single { options }.can_be_spoilt(),
        Rule::Approval { max } => layout::Contest::Approval { options, max }.can_be_spoilt(),
    }
}

fn number_of(given: &str, count: usize) -> Option<u32> {
    given
        .trim()
        .parse()
        .ok()
        .filter(|number: &u32| (1..=count).contains(&(*number as usize)))
}

fn unknown_option(contest: &Contest, given: &str) -> ChoiceError {
    ChoiceError::UnknownOption {
        contest: label(contest),
        given: repeated(given),
        options: contest.options().len(),
        near: suggest(given, contest.options().iter().flat_map(all)),
    }
}

#[cfg(test)]
mod tests;
