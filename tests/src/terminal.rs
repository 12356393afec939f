//! A program at a terminal of its own, which `script` of util-linux makes, and what can be read there.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The lines of the terminal.
const HEIGHT: usize = 24;
/// How long something may take to be said or to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// What can be read at a terminal, on the screen and by scrolling back.
#[derive(Debug, Default)]
pub struct Screen {
    scrolled: Vec<String>,
    rows: Vec<String>,
    row: usize,
    column: usize,
    /// An escape sequence that has begun.
    escape: Option<String>,
    /// A letter that has begun.
    letter: Vec<u8>,
}

impl Screen {
    /// Shows what a program writes.
    ///
    /// # Panics
    /// It writes orders to its terminal that no program here has a reason to write.
    fn show(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.letter.push(*byte);
            match std::str::from_utf8(&self.letter).map(str::to_owned) {
                Ok(text) => {
                    self.letter.clear();
                    text.chars().for_each(|c| self.take(c));
                }
                Err(error) => assert!(error.error_len().is_none(), "no text: {:?}", self.letter),
            }
        }
    }

    fn take(&mut self, c: char) {
        if let Some(escape) = &mut self.escape {
            escape.push(c);
            match escape.as_str() {
                "[" | "[2" | "[3" => return,
                "[H" => (self.row, self.column) = (0, 0),
                "[2J" => self.rows.clear(),
                "[3J" => self.scrolled.clear(),
                other => panic!("{other:?} is said to the terminal"),
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
                assert!(!c.is_control(), "{c:?} is said to the terminal");
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

    /// All of it, line by line.
    #[must_use]
    pub fn text(&self) -> String {
        let rows = self.scrolled.iter().chain(&self.rows);
        rows.map(|row| row.trim_end().to_owned() + "\n").collect()
    }
}

/// Whether what is typed at a terminal, whose device is `tty`, is shown there.
///
/// # Panics
/// It does not say.
#[must_use]
pub fn shows(tty: &str) -> bool {
    let asked = Command::new("stty").args(["-a", "-F", tty]).output();
    let asked = asked.expect("`stty`, of the package coreutils");
    let settings = String::from_utf8_lossy(&asked.stdout);
    let mut words = settings.split_whitespace();
    match words.find(|word| word.trim_start_matches('-') == "echo") {
        Some(word) => word == "echo",
        None => panic!("{tty} does not say: {asked:?}"),
    }
}

/// A terminal with a program, and somebody who types.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    output: Receiver<Vec<u8>>,
    screen: Screen,
    /// Since the last key.
    said: Vec<u8>,
}

impl Terminal {
    /// A terminal at which a shell runs `line`, where and with the variables that `place` gives.
    ///
    /// # Panics
    /// `script` cannot be run.
    #[must_use]
    pub fn of(line: &str, place: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new("script");
        command
            .args(["--quiet", "--return", "--command", line, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        place(&mut command);
        let mut child = command
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
            said: Vec::new(),
        }
    }

    /// What can be read there now.
    #[must_use]
    pub fn screen(&self) -> &Screen {
        &self.screen
    }

    fn show(&mut self, bytes: &[u8]) {
        self.screen.show(bytes);
        self.said.extend_from_slice(bytes);
    }

    /// Reads on until `words` were said since the last key.
    ///
    /// # Panics
    /// They are not said.
    pub fn until(&mut self, words: &str) {
        let until = Instant::now() + PATIENCE;
        while !self
            .said
            .windows(words.len())
            .any(|part| part == words.as_bytes())
        {
            let left = until.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.show(&bytes),
                Err(_) => panic!("{words:?} is not said:\n{}", self.screen.text()),
            }
        }
    }

    /// Presses keys.
    ///
    /// # Panics
    /// The terminal is gone.
    pub fn press(&mut self, keys: &[u8]) {
        self.said.clear();
        self.keys.write_all(keys).expect("pressed");
        self.keys.flush().expect("pressed");
    }

    /// Types a line.
    ///
    /// # Panics
    /// The terminal is gone.
    pub fn types(&mut self, line: &str) {
        self.press(format!("{line}\n").as_bytes());
    }

    /// Waits until nothing of what is typed is shown at this terminal, whose device is `tty`: a program asks for a secret.
    ///
    /// # Panics
    /// It goes on being shown.
    pub fn hides(&self, tty: &str) {
        let until = Instant::now() + PATIENCE;
        while shows(tty) {
            assert!(
                Instant::now() < until,
                "what is typed is shown:\n{}",
                self.screen.text()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the end: the exit code, and what stays on the screen.
    ///
    /// # Panics
    /// It was ended by a signal.
    #[must_use]
    pub fn ends(mut self) -> (i32, Screen) {
        while let Ok(bytes) = self.output.recv_timeout(PATIENCE) {
            self.show(&bytes);
        }
        let ended = self.child.wait().expect("ended");
        (ended.code().expect("a code"), self.screen)
    }
}
