//! Where officials give their shares: typed without echo at a terminal, line by line, or by the path of a file; never in the command line.

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use tally_proto::secret_file::{self, SecretFileError};
use tally_proto::unseen;
use zeroize::Zeroizing;

use super::share::{LINE_CHARACTERS, LINES, Share, ShareError, Typing};
use super::sheet;
use super::split::{Collected, Public, SplitError, UnlockKey};

/// Longest line read, bytes: a whole share by scanner fits many times.
const MAX_LINE_BYTES: usize = 1024;

/// Why shares did not come.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// A share's file.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// A share in a file is none, or is not taken.
    #[error("{}: {source}", path.display())]
    NotTaken {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SplitError,
    },
    /// The shares together.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// Input ended.
    #[error("the input ended before enough shares were given; nothing was changed")]
    Ended,
    /// Terminal.
    #[error("terminal: {0}")]
    Terminal(#[from] io::Error),
}

/// Lines from a person.
pub trait Lines {
    /// The next line, asked for with `prompt` and not shown while it is typed; `None` at the end of the input.
    ///
    /// # Errors
    /// The terminal.
    fn secret(&mut self, prompt: &str) -> io::Result<Option<Zeroizing<String>>>;

    /// Waits for Enter; `false` at the end of the input.
    ///
    /// # Errors
    /// The terminal.
    fn enter(&mut self, prompt: &str) -> io::Result<bool>;

    /// Shows text.
    ///
    /// # Errors
    /// The terminal.
    fn show(&mut self, text: &str) -> io::Result<()>;

    /// Wipes the screen and what can be scrolled back to.
    ///
    /// # Errors
    /// The terminal.
    fn clear(&mut self) -> io::Result<()> {
        self.show("\x1b[2J\x1b[3J\x1b[H")
    }
}

/// The terminal of this process.
#[derive(Debug, Default)]
pub struct Terminal;

impl Lines for Terminal {
    fn secret(&mut self, prompt: &str) -> io::Result<Option<Zeroizing<String>>> {
        match unseen::ask(prompt, Some('*')) {
            Ok(line) => Ok(Some(line)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn enter(&mut self, prompt: &str) -> io::Result<bool> {
        self.show(prompt)?;
        let mut line = String::new();
        Ok(io::stdin().lock().read_line(&mut line)? > 0)
    }

    fn show(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

/// Input and output that are no terminal: a pipe, a test.
#[derive(Debug)]
pub struct Piped<I, O>(pub I, pub O);

impl<I: BufRead, O: Write> Piped<I, O> {
    fn line(&mut self) -> io::Result<Option<Zeroizing<String>>> {
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE_BYTES));
        // One byte more than allowed tells a line that is too long.
        let read = io::Read::take(&mut self.0, MAX_LINE_BYTES as u64).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        match std::str::from_utf8(&line) {
            Ok(text) => Ok(Some(Zeroizing::new(text.trim().to_owned()))),
            Err(_) => Ok(Some(Zeroizing::new(String::from("?")))),
        }
    }
}

impl<I: BufRead, O: Write> Lines for Piped<I, O> {
    fn secret(&mut self, prompt: &str) -> io::Result<Option<Zeroizing<String>>> {
        self.show(prompt)?;
        let line = self.line()?;
        self.show("\n")?;
        Ok(line)
    }

    fn enter(&mut self, prompt: &str) -> io::Result<bool> {
        self.show(prompt)?;
        let there = self.line()?.is_some();
        self.show("\n")?;
        Ok(there)
    }

    fn show(&mut self, text: &str) -> io::Result<()> {
        self.1.write_all(text.as_bytes())?;
        self.1.flush()
    }

    fn clear(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a share from the file at `path`: a sheet, or its five lines. Nobody else may be able to read the file.
///
/// # Errors
/// [`DeskError::File`], [`DeskError::NotTaken`].
pub fn from_file(path: &Path) -> Result<Share, DeskError> {
    let bytes = secret_file::read(path)?;
    let refused = |source: ShareError| DeskError::NotTaken {
        path: path.to_owned(),
        source: source.into(),
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| refused(ShareError::Length { found: 0 }))?;
    sheet::read(text).map_err(refused)
}

/// Asks for one share, line by line, a wrong line again; the whole share in one line, as a scanner gives it, is taken too. `None`: an empty
/// first line, or the end of the input.
///
/// # Errors
/// [`DeskError::Terminal`].
pub fn typed(lines: &mut impl Lines) -> Result<Option<Share>, DeskError> {
    let mut typing = Typing::default();
    loop {
        let line = typing.next_line();
        if line > LINES {
            match typing.finish() {
                Ok(share) => return Ok(Some(share)),
                Err(error) => {
                    lines.show(&format!("  {error}\n"))?;
                    typing = Typing::default();
                    continue;
                }
            }
        }
        let Some(text) = lines.secret(&format!("  line {line} of {LINES}: "))? else {
            return Ok(None);
        };
        let whole = text.chars().filter(char::is_ascii_alphanumeric).count() > LINE_CHARACTERS + 4;
        if line == 1 && text.trim().is_empty() {
            return Ok(None);
        }
        let error = if line == 1 && whole {
            match Share::parse(&text) {
                Ok(share) => return Ok(Some(share)),
                Err(error) => error,
            }
        } else {
            match typing.line(&text) {
                Ok(()) => continue,
                Err(error) => error,
            }
        };
        lines.show(&format!("  {error}\n"))?;
    }
}

/// Collects shares until there are enough: first from `files`, each of which must be taken, then from people.
///
/// # Errors
/// [`DeskError`].
pub fn collect(public: &Public, files: &[PathBuf], lines: &mut impl Lines) -> Result<UnlockKey, DeskError> {
    let mut collected = Collected::new(public.clone());
    for path in files {
        let share = from_file(path)?;
        collected.add(share).map_err(|source| DeskError::NotTaken {
            path: path.clone(),
            source,
        })?;
    }
    let needed = public.terms.threshold();
    while !collected.is_enough() {
        lines.show(&format!(
            "Ceremony {}: {} of {needed} shares are there. The next official types a share; the letters are not shown.\n",
            public.ceremony,
            collected.numbers().len(),
        ))?;
        let share = typed(lines)?.ok_or(DeskError::Ended)?;
        let number = share.number();
        match collected.add(share) {
            Ok(()) => lines.show(&format!("  Share {number} is right.\n"))?,
            Err(error) => lines.show(&format!("  {error}\n"))?,
        }
    }
    Ok(collected.combine()?)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use tally_proto::ids::Role;

    use super::*;
    use crate::officials::Terms;

    #[test]
    fn people_type_lines_again_and_shares_until_enough_are_there() {
        let mut rng = StdRng::seed_from_u64(8);
        let key = UnlockKey::generate(&mut rng);
        let terms = Terms::new(3, 2).expect("terms");
        let (shares, public) = key.split(Role::P1, terms, &mut rng).expect("split");
        let (one, two) = (shares[0].text(), shares[1].text());
        let mut input = String::from("ABCD-EFGH-JKMN-PQRS\n");
        input += &one;
        input += "\n";
        // The same again, as a scanner gives it; then the second with a line mistyped.
        input += &one.replace('\n', "-");
        input += "\n";
        for (at, line) in two.lines().enumerate() {
            if at == 3 {
                input += "short\n";
            }
            input += line;
            input += "\n";
        }
        let mut piped = Piped(input.as_bytes(), Vec::new());
        let found = collect(&public, &[], &mut piped).expect("collected");
        assert_eq!(found.bytes(), key.bytes());
        let said = String::from_utf8(piped.1).expect("text");
        for words in [
            "line 1 is mistyped",
            "Share 1 is right",
            "share 1 was given already",
            "line 4 has 5 characters",
            "Share 2 is right",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        for line in one.lines().chain(two.lines()).skip(1) {
            assert!(!said.contains(line), "a share is never shown");
        }
        let mut ended = Piped(&b""[..], Vec::new());
        assert!(matches!(collect(&public, &[], &mut ended), Err(DeskError::Ended)));
    }

    #[test]
    fn files_that_others_may_read_or_that_hold_no_share_are_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let mut rng = StdRng::seed_from_u64(8);
        let key = UnlockKey::generate(&mut rng);
        let terms = Terms::new(2, 2).expect("terms");
        let (shares, public) = key.split(Role::P1, terms, &mut rng).expect("split");
        let directory = tempfile::tempdir().expect("directory");
        let paths = [1, 2].map(|number| directory.path().join(format!("official-{number}.txt")));
        for (path, share) in paths.iter().zip(&shares) {
            secret_file::create(path, sheet::text("A", share).as_bytes()).expect("written");
        }
        let mut nobody = Piped(&b""[..], Vec::new());
        let found = collect(&public, &paths, &mut nobody).expect("collected");
        assert_eq!(found.bytes(), key.bytes());
        let twice = [paths[0].clone(), paths[0].clone()];
        let error = collect(&public, &twice, &mut nobody).expect_err("twice");
        assert!(
            matches!(
                error,
                DeskError::NotTaken {
                    source: SplitError::Twice { number: 1 },
                    ..
                }
            ),
            "{error}"
        );
        std::fs::set_permissions(&paths[1], std::fs::Permissions::from_mode(0o644)).expect("chmod");
        assert!(matches!(
            collect(&public, &paths, &mut nobody),
            Err(DeskError::File(SecretFileError::Exposed { .. }))
        ));
        let rubbish = directory.path().join("rubbish");
        secret_file::create(&rubbish, &[0xff; 20]).expect("written");
        assert!(matches!(from_file(&rubbish), Err(DeskError::NotTaken { .. })));
    }
}
