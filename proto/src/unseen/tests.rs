use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::*;

/// Where this test, begun again at a terminal, makes its place.
const PLACE: &str = "TALLY_TEST_UNSEEN_PLACE";
const SELF: &str = "unseen::tests::whatever_ends_a_program_that_asks_leaves_an_echo_and_no_file";
const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal, which `script` of util-linux makes, at which this test asks for a PIN.
struct Asking {
    script: Child,
    said: String,
}

impl Asking {
    fn begin(place: &Path) -> Self {
        let program = std::env::current_exe().expect("this program");
        let line = format!(
            "tty; {} --exact {SELF} --nocapture --test-threads 1; echo \"ended with $?.\"; read line",
            program.display()
        );
        let script = Command::new("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .env(PLACE, place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`script`, of the package util-linux or bsdutils");
        let said = String::new();
        Self { script, said }
    }

    fn until(&mut self, words: &str) {
        let out = self.script.stdout.as_mut().expect("a screen");
        while !self.said.contains(words) {
            let mut byte = [0];
            out.read_exact(&mut byte)
                .unwrap_or_else(|_| panic!("{words:?} is not said: {}", self.said));
            self.said.push(char::from(byte[0]));
        }
    }

    /// What stands after those words, to the end of the line.
    fn after(&mut self, words: &str) -> String {
        self.until(words);
        let from = self.said.find(words).expect("said") + words.len();
        loop {
            if let Some((line, _)) = self.said[from..].split_once('\r') {
                return line.to_owned();
            }
            let more = self.said.len();
            self.until_longer(more);
        }
    }

    fn until_longer(&mut self, than: usize) {
        let out = self.script.stdout.as_mut().expect("a screen");
        let mut byte = [0];
        out.read_exact(&mut byte).expect("more is said");
        self.said.push(char::from(byte[0]));
        assert!(self.said.len() > than);
    }

    fn press(&mut self, keys: &[u8]) {
        let keyboard = self.script.stdin.as_mut().expect("a keyboard");
        keyboard.write_all(keys).expect("pressed");
        keyboard.flush().expect("pressed");
    }
}

fn echoes(tty: &str) -> bool {
    let terminal = File::open(tty).expect("the terminal");
    let modes = tcgetattr(&terminal).expect("its modes");
    modes.local_modes.contains(LocalModes::ECHO)
}

#[test]
fn whatever_ends_a_program_that_asks_leaves_an_echo_and_no_file() {
    if let Some(place) = std::env::var_os(PLACE) {
        println!("process {}.", std::process::id());
        let place = Place::make(Path::new(&place)).expect("a new file");
        let typed = ask("PIN:", None).expect("typed");
        place
            .fill(|path| fs::write(path, typed.as_bytes()))
            .expect("written");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().join("code");
    for (signal, code) in [
        (None, 130),
        (Some("-INT"), 130),
        (Some("-TERM"), 143),
        (Some("-HUP"), 129),
        (Some("-QUIT"), 131),
    ] {
        let mut asking = Asking::begin(&place);
        let tty = format!("/dev/{}", asking.after("/dev/"));
        let process = asking.after("process ");
        asking.until("PIN:");
        let begun = Instant::now();
        while echoes(&tty) {
            assert!(begun.elapsed() < PATIENCE, "what is typed is shown");
            std::thread::sleep(LOOK);
        }
        assert!(place.exists(), "what is looked for was there");
        match signal {
            // A part of a PIN, and Ctrl-C.
            None => asking.press(b"12\x03"),
            Some(signal) => {
                let process = process.trim_end_matches('.');
                let sent = Command::new("kill").args([signal, process]).status();
                assert!(sent.expect("`kill`").success());
            }
        }
        asking.until(&format!("ended with {code}."));
        assert!(echoes(&tty), "{signal:?}: {}", asking.said);
        assert!(!place.exists(), "{signal:?}: {}", asking.said);
        asking.press(b"\n");
        assert!(asking.script.wait().expect("ended").success());
    }
    // Answered, the file is what was written.
    let mut asking = Asking::begin(&place);
    asking.until("PIN:");
    asking.press(b"1234\n");
    asking.until("ended with 0.");
    assert_eq!(fs::read(&place).expect("written"), b"1234");
    asking.press(b"\n");
    assert!(asking.script.wait().expect("ended").success());
    // What is there is not overwritten, nor removed.
    let refused = Place::make(&place).expect_err("it is there");
    assert!(matches!(refused, SecretFileError::Io { .. }), "{refused}");
    assert_eq!(fs::read(&place).expect("kept"), b"1234");
}

/// Where the test below, begun again, writes for ever.
const HANGS: &str = "TALLY_TEST_UNSEEN_HANGS";
const HANGING: &str = "unseen::tests::what_hangs_holds_up_no_end";

/// Killed when the test ends, however it does.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_hangs_holds_up_no_end() {
    if let Some(place) = std::env::var_os(HANGS) {
        let place = Place::make(Path::new(&place)).expect("a new file");
        // As on a file system that has gone.
        let _ = place.fill(|path| {
            fs::write(path, b"c")?;
            std::thread::sleep(10 * PATIENCE);
            Ok(())
        });
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("code");
    let mut program = Killed(
        Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", HANGING, "--test-threads", "1"])
            .env(HANGS, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("begun again"),
    );
    let begun = Instant::now();
    while fs::metadata(&path).map_or(0, |of| of.len()) == 0 {
        assert!(begun.elapsed() < PATIENCE, "it does not write");
        std::thread::sleep(LOOK);
    }
    let told = Instant::now();
    let mut kill = Command::new("kill");
    let sent = kill.args(["-TERM", &program.0.id().to_string()]).status();
    assert!(sent.expect("`kill`").success());
    let ended = program.0.wait().expect("ended");
    assert_eq!(ended.signal(), Some(Signal::KILL.as_raw()), "{ended}");
    assert!(
        (MOST_END..PATIENCE).contains(&told.elapsed()),
        "{:?}",
        told.elapsed()
    );
}

#[test]
fn a_place_that_nothing_was_written_to_is_removed_and_any_other_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("code");
    let place = Place::make(&path).expect("made");
    assert_eq!(place.path(), path);
    let failed = place.fill(|_| Err(io::Error::other("a full disk")));
    assert!(failed.is_err());
    drop(place);
    assert!(!path.exists());
    let place = Place::make(&path).expect("made");
    place.fill(|path| fs::write(path, b"code")).expect("written");
    drop(place);
    assert_eq!(fs::read(&path).expect("kept"), b"code");
    fs::remove_file(&path).expect("removed");
    let place = Place::make(&path).expect("made");
    fs::write(&path, b"of somebody else").expect("written");
    drop(place);
    assert_eq!(fs::read(&path).expect("kept"), b"of somebody else");
}
