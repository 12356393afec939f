//! The desk at a terminal: what is on the screen when a voter's turn is over, and Ctrl-C and Ctrl-D at every question.

use std::io::Read as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use super::*;

/// The lines of the terminal.
const HEIGHT: usize = 24;
const CTRL_C: &[u8] = b"\x03";
const CTRL_D: &[u8] = b"\x04";
/// What nobody may read when a voter has gone.
const OPTIONS: [&str; 2] = ["Keep", "Rebuild"];

/// What can be read at a terminal, on the screen and by scrolling back.
#[derive(Default)]
struct Screen {
    scrolled: Vec<String>,
    rows: Vec<String>,
    row: usize,
    column: usize,
    /// An escape sequence that has begun.
    escape: Option<String>,
}

impl Screen {
    fn take(&mut self, c: char) {
        if let Some(escape) = &mut self.escape {
            escape.push(c);
            match escape.as_str() {
                "[" | "[2" | "[3" => return,
                "[H" => (self.row, self.column) = (0, 0),
                "[2J" => self.rows.clear(),
                "[3J" => self.scrolled.clear(),
                other => panic!("the desk says {other:?} to its terminal"),
            }
            self.escape = None;
            return;
        }
        match c {
            '\x1b' => self.escape = Some(String::new()),
            '\r' => self.column = 0,
            '\x08' => self.column = self.column.saturating_sub(1),
            '\n' => {
                self.row += 1;
                if self.row == HEIGHT {
                    self.row -= 1;
                    self.scrolled.push(self.rows.remove(0));
                }
            }
            c => {
                assert!(!c.is_control(), "{c:?}");
                if self.rows.len() <= self.row {
                    self.rows.resize(self.row + 1, String::new());
                }
                let row = &mut self.rows[self.row];
                let mut letters: Vec<char> = row.chars().collect();
                if letters.len() <= self.column {
                    letters.resize(self.column + 1, ' ');
                }
                letters[self.column] = c;
                *row = letters.into_iter().collect();
                self.column += 1;
            }
        }
        if self.rows.len() <= self.row {
            self.rows.resize(self.row + 1, String::new());
        }
    }

    fn text(&self) -> String {
        let rows = self.scrolled.iter().chain(&self.rows);
        rows.map(|row| row.trim_end().to_owned() + "\n").collect()
    }

    fn holds_an_option(&self) -> bool {
        let text = self.text();
        OPTIONS.iter().any(|option| text.contains(option))
    }
}

/// The desk of station 1 at a terminal of its own, which `script` of util-linux makes.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    output: Receiver<Vec<u8>>,
    screen: Screen,
    /// Since the last key.
    said: String,
}

impl Terminal {
    fn sit(world: &World) -> Self {
        let manifest = world.manifest_file().expect("a manifest");
        let words = [
            Path::new(env!("CARGO_BIN_EXE_tally-tests")),
            Path::new("client station desk --dir station-1 --roll election/roll.csv --manifest"),
            &manifest,
        ];
        let words = words.map(|word| word.to_string_lossy().into_owned()).join(" ");
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--command", &words, "/dev/null"])
            .current_dir(&world.root)
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`script`, of the package util-linux or bsdutils");
        let keys = child.stdin.take().expect("keys");
        let mut from = child.stdout.take().expect("a screen");
        let (tell, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut bytes) {
                if tell.send(bytes[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            keys,
            output,
            screen: Screen::default(),
            said: String::new(),
        }
    }

    fn show(&mut self, bytes: &[u8]) {
        // All that the desk says in this test is ASCII.
        for byte in bytes {
            self.screen.take(char::from(*byte));
            self.said.push(char::from(*byte));
        }
    }

    /// Reads on until `words` were said since the last key.
    fn until(&mut self, words: &str) {
        let until = Instant::now() + Duration::from_secs(120);
        while !self.said.contains(words) {
            let left = until.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.show(&bytes),
                Err(_) => panic!("{words:?} is not said:\n{}", self.screen.text()),
            }
        }
    }

    fn press(&mut self, keys: &[u8]) {
        self.said.clear();
        self.keys.write_all(keys).expect("pressed");
        self.keys.flush().expect("pressed");
    }

    fn types(&mut self, line: &str) {
        self.press(format!("{line}\n").as_bytes());
    }

    /// Waits for the end: the exit code, and what stays on the screen.
    fn ends(mut self) -> (i32, Screen) {
        while let Ok(bytes) = self.output.recv_timeout(Duration::from_secs(120)) {
            self.show(&bytes);
        }
        let ended = self.child.wait().expect("ended");
        (ended.code().expect("a code"), self.screen)
    }
}

/// What the desk asks, and what is typed.
type Step = (&'static str, &'static str);
const OPENING: [Step; 2] = [
    ("Name of the officer in charge", "A. Berg"),
    ("1: open the station.", "1"),
];
const MENU: &str = "1: next voter. 2: state in full. 3: close the station.";
const REFERENCE: &str = "Reference on the roll";
const CHOICE: &str = "numbers with commas between";
const RECEIPT: &str = "1: receipt. 0: none.";
const IN_HAND: &str = "Press Enter when you have it.";
/// A voter's turn, with the reference in the place of the empty answer to [`REFERENCE`].
const TURN: [Step; 7] = [
    (MENU, "1"),
    (REFERENCE, ""),
    ("Check the identity document", "1"),
    (CHOICE, "2"),
    ("1: cast this vote.", "1"),
    (RECEIPT, "1"),
    (IN_HAND, ""),
];
const CLOSING: [Step; 4] = [
    (MENU, "3"),
    ("how many signatures are on the sheet?", "8"),
    ("What explains the difference?", "four went home"),
    ("1: close the station and sign this statement.", "1"),
];

/// Answers until the question `at`.
fn reach(desk: &mut Terminal, steps: &[Step], at: usize, reference: &str) {
    for (number, (question, answer)) in steps.iter().enumerate() {
        desk.until(question);
        if *question == RECEIPT {
            assert!(desk.screen.text().contains("Your vote is kept."));
            assert!(!desk.screen.holds_an_option(), "{}", desk.screen.text());
        }
        if *question == "1: cast this vote." {
            assert!(desk.screen.holds_an_option(), "what is looked for is found");
        }
        if number == at {
            return;
        }
        desk.types(if *question == REFERENCE { reference } else { answer });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_and_ctrl_d_lose_nothing_at_any_question_and_no_choice_stays_on_the_screen() {
    let _one = crate::ONE.lock().await;
    let root = tempfile::tempdir().expect("a directory");
    let (world, _) = open_market(root.path());
    let book = world.root.join(format!("station-1/{ELECTION}.book"));

    // Before the station is open.
    for (at, key) in [(0, CTRL_C), (0, CTRL_D), (1, CTRL_C), (1, CTRL_D)] {
        let mut desk = Terminal::sit(&world);
        reach(&mut desk, &OPENING, at, "");
        desk.press(key);
        let (code, screen) = desk.ends();
        assert_eq!(code, if key == CTRL_C { 130 } else { 0 }, "{}", screen.text());
        assert!(!book.exists(), "nothing is noted");
    }
    let mut desk = Terminal::sit(&world);
    reach(&mut desk, &OPENING, 2, "");
    desk.until(MENU);
    desk.press(CTRL_C);
    assert_eq!(desk.ends().0, 130);

    // At every question of a voter's turn, each time the next voter; a vote that the voter was told is kept stays.
    let (mut votes, mut voters) = (0, 0);
    for (at, (question, _)) in TURN.iter().enumerate() {
        for key in [CTRL_C, CTRL_D] {
            let reference = format!("B1-{:06}", voters + 1);
            let mut desk = Terminal::sit(&world);
            desk.until(&format!("Votes: {votes} electronic, 0 paper."));
            reach(&mut desk, &TURN, at, &reference);
            let kept = matches!(*question, RECEIPT | IN_HAND);
            votes += u32::from(kept);
            let turn = kept || matches!(*question, CHOICE | "1: cast this vote.");
            voters += u32::from(turn);
            desk.press(key);
            // At the menu Ctrl-D leaves; at any other question it goes back to it.
            if key == CTRL_D && *question != MENU {
                desk.until(MENU);
                assert!(!desk.screen.holds_an_option(), "{}", desk.screen.text());
                assert!(!desk.screen.text().contains("Name of the ballot"), "the receipt");
                desk.types("0");
            }
            let (code, screen) = desk.ends();
            let text = screen.text();
            // 6: something waits for delivery, if the last vote was a moment ago.
            let due: &[i32] = if key == CTRL_C { &[130] } else { &[0, 6] };
            assert!(due.contains(&code), "{code}: {text}");
            assert!(!screen.holds_an_option(), "{question}: {text}");
        }
    }
    assert_eq!((votes, voters), (4, 8));

    // Nor does it close what the officer did not close.
    let statement = world.root.join(format!("station-1/{ELECTION}.sign-ins"));
    for (at, (question, _)) in CLOSING.iter().enumerate().skip(1) {
        for key in [CTRL_C, CTRL_D] {
            let mut desk = Terminal::sit(&world);
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
    let mut desk = Terminal::sit(&world);
    reach(&mut desk, &CLOSING, CLOSING.len(), "");
    desk.until("1: state in full. 2: open again. 0: leave.");
    desk.types("1");
    desk.until("4 electronic, 0 paper, 8 signed in");
    desk.until("1: state in full. 2: open again. 0: leave.");
    desk.types("0");
    desk.until("Everything is delivered to all three parties.");
    assert_eq!(desk.ends().0, 0);
    assert!(statement.exists());
}
