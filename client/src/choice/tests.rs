use super::*;
use crate::form::tests;
use crate::world::{NAMES, Names, contest};

const MAYOR: Names = &[("en", "Mayor"), ("de", "Bürgermeister")];

fn form() -> Form {
    tests::form(vec![
        contest(7, MAYOR, &NAMES, None),
        contest(9, &[("en", "Council")], &NAMES, Some(2)),
    ])
}

fn single() -> Form {
    tests::form(vec![contest(7, MAYOR, &NAMES, None)])
}

fn chosen(form: &Form, given: &[&str]) -> Result<Vec<Vec<u32>>, ChoiceError> {
    Choices::parse(form, given.iter().copied()).map(|choices| {
        choices
            .contests
            .iter()
            .map(|selection| selection.options.clone())
            .collect()
    })
}

#[test]
fn by_number_or_name_in_any_language_and_case() {
    let expected = Ok(vec![vec![2], vec![1, 3]]);
    assert_eq!(chosen(&form(), &["1=2", "2=1", "2=3"]), expected);
    assert_eq!(
        chosen(
            &form(),
            &[
                "bürgermeister = jan  NOVÁK",
                "Council=2 = two party",
                "council=maria schmidt"
            ]
        ),
        expected
    );
    assert_eq!(chosen(&form(), &["Council=1"]), Ok(vec![vec![], vec![1]]));
    assert_eq!(chosen(&form(), &[]), Ok(vec![vec![], vec![]]));
}

#[test]
fn one_contest_needs_no_name() {
    assert_eq!(chosen(&single(), &["2"]), Ok(vec![vec![2]]));
    assert_eq!(chosen(&single(), &["Jan Novak"]), Ok(vec![vec![2]]));
    assert_eq!(chosen(&single(), &["Mayor=3"]), Ok(vec![vec![3]]));
    assert_eq!(chosen(&single(), &["2 = Two Party"]), Ok(vec![vec![3]]));
    assert_eq!(chosen(&single(), &["1=1"]), Ok(vec![vec![1]]));
}

#[test]
fn refusals_say_what_and_suggest() {
    let table: [(&[&str], &str); 9] = [
        (
            &["Mayor=Maria Schmitt"],
            "\"Mayor\" has no option \"Maria Schmitt\"; did you mean \"Maria Schmidt\"?; options are numbered 1 to 3",
        ),
        (
            &["Mayor=4"],
            "\"Mayor\" has no option \"4\"; options are numbered 1 to 3",
        ),
        (
            &["1=0"],
            "\"Mayor\" has no option \"0\"; options are numbered 1 to 3",
        ),
        (
            &["1=-1"],
            "\"Mayor\" has no option \"-1\"; options are numbered 1 to 3",
        ),
        (
            &["Mayer=1"],
            "there is no contest \"Mayer\"; did you mean \"Mayor\"?; contests are numbered 1 to 2",
        ),
        (
            &["2"],
            "the ballot has 2 contests: say which one \"2\" is for, as in \"1=2\"",
        ),
        (
            &["1=1", "Mayor=2"],
            "\"Mayor\" lets you choose at most 1, but 2 were chosen",
        ),
        (
            &["2=1", "2=2", "2=3"],
            "\"Council\" lets you choose at most 2, but 3 were chosen",
        ),
        (
            &["2=1", "Council=Maria Schmidt"],
            "option 1 of \"Council\" was chosen twice",
        ),
    ];
    for (given, expected) in table {
        assert_eq!(
            chosen(&form(), given).unwrap_err().to_string(),
            expected,
            "{given:?}"
        );
    }
}

#[test]
fn a_key_that_is_no_text_is_not_said_again() {
    for (form, given) in [
        (single(), "\u{1b}[A"),
        (form(), "\u{1b}[A"),
        (form(), "1=\u{1b}[2J\u{7}"),
        (form(), "\u{1b}c=1"),
    ] {
        let said = chosen(&form, &[given]).unwrap_err().to_string();
        assert!(!said.contains(char::is_control), "{said:?}");
        assert!(said.contains("\"[") || said.contains("\"c"), "{said}");
    }
}

#[test]
fn equal_names_must_be_told_apart_by_number() {
    let third = |name: Names| tests::form(vec![contest(7, MAYOR, &[NAMES[0], NAMES[1], name], None)]);
    let form = third(&[("en", "jan novak")]);
    let error = chosen(&form, &["Jan Novak"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"Jan Novak\" is the name of several (numbers 2, 3): choose by number"
    );
    assert_eq!(chosen(&third(&[("en", "1")]), &["1"]), Ok(vec![vec![1]]));
}

#[test]
fn by_number_checks_the_same() {
    assert!(matches!(
        Choices::by_number(&form(), &[vec![1], vec![], vec![]]),
        Err(ChoiceError::UnknownContest { .. })
    ));
    assert!(matches!(
        Choices::by_number(&form(), &[vec![4]]),
        Err(ChoiceError::UnknownOption { .. })
    ));
    assert!(matches!(
        Choices::by_number(&form(), &[vec![1, 2]]),
        Err(ChoiceError::TooMany { .. })
    ));
    assert!(Choices::by_number(&form(), &[]).is_ok());
}

#[test]
fn spoiling_is_possible_only_on_purpose() {
    let form = form();
    let choices = Choices::parse(&form, ["2=2"]).unwrap().spoil(&form, 2).unwrap();
    assert_eq!(choices.packed().choices(), [Choice::Blank, Choice::Spoilt]);
    let error = Choices::blank(&form).spoil(&form, 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"Mayor\" cannot be spoilt: leave it blank instead"
    );
    for none in [0, 3] {
        assert!(matches!(
            Choices::blank(&form).spoil(&form, none),
            Err(ChoiceError::UnknownContest { .. })
        ));
    }
}

#[test]
fn choices_are_packed_in_the_forms_order() {
    let choices = Choices::parse(&form(), ["2=3", "2=1", "1=2"]).unwrap();
    assert_eq!(
        choices.packed().choices(),
        [Choice::Options(vec![2]), Choice::Options(vec![1, 3])]
    );
}

#[test]
fn nothing_chosen_shows_in_debug() {
    let choices = Choices::parse(&form(), ["1=2"]).unwrap();
    assert_eq!(format!("{choices:?}"), "Choices(2 contests)");
    assert_eq!(
        choices.confirmation(&form(), &["cs".to_owned()]),
        "   Mayor: Jan Novák\n   Council: (nothing)\n"
    );
}
