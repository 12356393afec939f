//! The desk at a terminal: what is on the screen when a voter's turn is over, Ctrl-C and Ctrl-D at every question, and keys that are no answer.

use std::path::Path;

use tally_tests::terminal::{Screen, Terminal};

use super::*;

const CTRL_C: &[u8] = b"\x03";
const CTRL_D: &[u8] = b"\x04";
/// The key "up", and Enter.
const ARROW: &[u8] = b"\x1b[A\n";
/// What nobody may read when a voter has gone.
const OPTIONS: [&str; 2] = ["Keep", "Rebuild"];

fn holds_an_option(screen: &Screen) -> bool {
    let text = screen.text();
    OPTIONS.iter().any(|option| text.contains(option))
}

/// The desk of station 1 at a terminal.
fn sit(world: &World) -> Terminal {
    let manifest = world.manifest_file().expect("a manifest");
    let words = [
        Path::new(env!("CARGO_BIN_EXE_tally-tests")),
        Path::new("client station desk --dir station-1 --roll election/roll.csv --manifest"),
        &manifest,
    ];
    let words = words.map(|word| word.to_string_lossy().into_owned()).join(" ");
    Terminal::of(&words, |command| {
        command.current_dir(&world.root);
    })
}

/// What the desk asks, and what is typed.
type Step = (&'static str, &'static str);
const OPENING: [Step; 2] = [
    ("Name of the officer in charge", "A. Berg"),
    ("1: open the station.", "1"),
];
const MENU: &str = "1: next voter. 2: state in full. 3: close the station.";
const REFERENCE: &str = "Reference on the roll";
const IDENTITY: &str = "Check the identity document";
const CHOICE: &str = "numbers with commas between";
const CAST: &str = "1: cast this vote.";
const RECEIPT: &str = "1: receipt. 0: none.";
const IN_HAND: &str = "Press Enter when you have it.";
/// A voter's turn, with the reference in the place of the empty answer to [`REFERENCE`].
const TURN: [Step; 7] = [
    (MENU, "1"),
    (REFERENCE, ""),
    (IDENTITY, "1"),
    (CHOICE, "2"),
    (CAST, "1"),
    (RECEIPT, "1"),
    (IN_HAND, ""),
];
const CLOSING: [Step; 4] = [
    (MENU, "3"),
    ("how many signatures are on the sheet?", "10"),
    ("What explains the difference?", "four went home"),
    ("1: close the station and sign this statement.", "1"),
];

/// Answers until the question `at`.
fn reach(desk: &mut Terminal, steps: &[Step], at: usize, reference: &str) {
    for (number, (question, answer)) in steps.iter().enumerate() {
        desk.until(question);
        if *question == RECEIPT {
            assert!(desk.screen().text().contains("Your vote is kept."));
            assert!(!holds_an_option(desk.screen()), "{}", desk.screen().text());
        }
        if *question == CAST {
            assert!(holds_an_option(desk.screen()), "what is looked for is found");
        }
        if number == at {
            return;
        }
        desk.types(if *question == REFERENCE { reference } else { answer });
    }
}

/// A voter's turn at which somebody presses an arrow at each question: what is then said, and the answer.
type Odd = (&'static str, &'static str, &'static str);
const ODD_BEGINNING: [Odd; 2] = [
    (MENU, "Type a number from 0 to 3 and press Enter.", "1"),
    (REFERENCE, r#"a reference that begins with "\u{1b}[A"."#, ""),
];
const ODD_ELECTRONIC: [Odd; 4] = [
    (IDENTITY, "Type 1 or 2 or 0 and press Enter.", "1"),
    (
        CHOICE,
        r#"has no option "[A"; options are numbered 1 to 2. Choose again."#,
        "2",
    ),
    (CAST, "Type a number from 0 to 2 and press Enter.", "1"),
    (RECEIPT, "Type a number from 0 to 1 and press Enter.", "0"),
];
const ODD_PAPER: [Odd; 1] = [(IDENTITY, "Type 1 or 2 or 0 and press Enter.", "2")];

/// Presses an arrow at each question, which does not answer it, then answers.
fn with_arrows(desk: &mut Terminal, turn: &[Odd], reference: &str) {
    for (question, told, answer) in ODD_BEGINNING.iter().chain(turn) {
        desk.until(question);
        desk.press(ARROW);
        desk.until(told);
        desk.until(question);
        desk.types(if *question == REFERENCE { reference } else { answer });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_loses_or_casts_anything_at_any_question_and_no_choice_stays_on_the_screen() {
    let _place = crate::WORLDS.acquire().await.expect("a place");
    let root = tempfile::tempdir().expect("a directory");
    let world = open_market(root.path());
    let book = world.root.join(format!("station-1/{ELECTION}.book"));

    // Before the station is open.
    for (at, key) in [(0, CTRL_C), (0, CTRL_D), (1, CTRL_C), (1, CTRL_D)] {
        let mut desk = sit(&world);
        reach(&mut desk, &OPENING, at, "");
        desk.press(key);
        let (code, screen) = desk.ends();
        assert_eq!(code, if key == CTRL_C { 130 } else { 0 }, "{}", screen.text());
        assert!(!book.exists(), "nothing is noted");
    }
    let mut desk = sit(&world);
    reach(&mut desk, &OPENING, 2, "");
    desk.until(MENU);
    desk.press(CTRL_C);
    assert_eq!(desk.ends().0, 130);

    // At every question of a voter's turn, each time the next voter; a vote that the voter was told is kept stays.
    let (mut votes, mut voters) = (0, 0);
    for (at, (question, _)) in TURN.iter().enumerate() {
        for key in [CTRL_C, CTRL_D] {
            let reference = format!("B1-{:06}", voters + 1);
            let mut desk = sit(&world);
            desk.until(&format!("Votes: {votes} electronic, 0 paper."));
            reach(&mut desk, &TURN, at, &reference);
            let kept = matches!(*question, RECEIPT | IN_HAND);
            votes += u32::from(kept);
            let turn = kept || matches!(*question, CHOICE | CAST);
            voters += u32::from(turn);
            desk.press(key);
            // At the menu Ctrl-D leaves; at any other question it goes back to it.
            if key == CTRL_D && *question != MENU {
                desk.until(MENU);
                assert!(!holds_an_option(desk.screen()), "{}", desk.screen().text());
                assert!(
                    !desk.screen().text().contains("Name of the ballot"),
                    "the receipt"
                );
                desk.types("0");
            }
            let (code, screen) = desk.ends();
            let text = screen.text();
            // 6: something waits for delivery, if the last vote was a moment ago.
            let due: &[i32] = if key == CTRL_C { &[130] } else { &[0, 6] };
            assert!(due.contains(&code), "{code}: {text}");
            assert!(!holds_an_option(&screen), "{question}: {text}");
        }
    }
    assert_eq!((votes, voters), (4, 8));

    // An arrow answers nothing, harms nothing that stands on the screen, and casts nothing: neither of a voter here nor of one on paper.
    let mut desk = sit(&world);
    with_arrows(&mut desk, &ODD_ELECTRONIC, "B1-000009");
    desk.until("The vote is kept. Officer: go on.");
    desk.until("Votes: 5 electronic, 0 paper.");
    assert!(!holds_an_option(desk.screen()), "{}", desk.screen().text());
    with_arrows(&mut desk, &ODD_PAPER, "B1-000010");
    desk.until(
        "Noted as number 6 of box 1: give the voter a paper ballot. The voter's other votes are struck.",
    );
    desk.until("Votes: 5 electronic, 1 paper.");
    desk.until(MENU);
    desk.press(CTRL_C);
    assert_eq!(desk.ends().0, 130);
    // The paper ballot was in the voter's hand: it is kept, and the voter's second one is told.
    let mut desk = sit(&world);
    desk.until("Votes: 5 electronic, 1 paper.");
    reach(&mut desk, &TURN, 2, "B1-000010");
    desk.until("THIS VOTER HAS SIGNED IN HERE BEFORE.");
    desk.types("0");
    desk.until("Nothing was noted.");
    desk.until(MENU);
    desk.types("0");
    let (code, screen) = desk.ends();
    assert!(matches!(code, 0 | 6), "{code}: {}", screen.text());

    // Nor does Ctrl-C or Ctrl-D close what the officer did not close.
    let statement = world.root.join(format!("station-1/{ELECTION}.sign-ins"));
    for (at, (question, _)) in CLOSING.iter().enumerate().skip(1) {
        for key in [CTRL_C, CTRL_D] {
            let mut desk = sit(&world);
            reach(&mut desk, &CLOSING, at, "");
            desk.press(key);
            if key == CTRL_D {
                desk.until(MENU);
                desk.press(CTRL_C);
            }
            assert_eq!(desk.ends().0, 130, "{question}");
            assert!(!statement.exists(), "{question}");
        }
    }
    let mut desk = sit(&world);
    reach(&mut desk, &CLOSING, CLOSING.len(), "");
    desk.until("1: state in full. 2: open again. 0: leave.");
    desk.types("1");
    desk.until("5 electronic, 1 paper, 10 signed in");
    desk.until("1: state in full. 2: open again. 0: leave.");
    desk.types("0");
    desk.until("Everything is delivered to all three parties.");
    assert_eq!(desk.ends().0, 0);
    assert!(statement.exists());
}
