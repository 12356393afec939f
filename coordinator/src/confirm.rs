//! The question before anything irreversible: the command says what it will do and asks for the election id to be typed.

use std::io::{BufRead, Write};

use thiserror::Error;

/// Why a command did not go on.
#[derive(Debug, Error)]
pub enum ConfirmError {
    /// Something else was typed.
    #[error("typed {typed:?}, not {expected:?}: nothing was done")]
    Mismatch {
        /// As typed, without the line end.
        typed: String,
        /// The election id.
        expected: String,
    },
    /// Standard input ended before a line was typed.
    #[error(
        "nothing was typed: nothing was done; type the election id, or pipe it to the command's standard input"
    )]
    NoAnswer,
    /// The terminal failed.
    #[error("the question could not be asked: {0}")]
    Io(#[from] std::io::Error),
}

/// Says what will happen and reads one line, which must be exactly the election id (spaces around it do not matter).
///
/// # Errors
/// [`ConfirmError`]: nothing may be done then.
pub fn confirm(
    what: &str,
    election: &str,
    input: &mut dyn BufRead,
    output: &mut dyn Write,
) -> Result<(), ConfirmError> {
    writeln!(output, "{what}")?;
    write!(output, "Type the election id ({election}) to go on: ")?;
    output.flush()?;
    let mut typed = String::new();
    // A line longer than any id is not an id: do not read it into memory.
    let read = std::io::Read::take(input, 1024).read_line(&mut typed)?;
    if read == 0 {
        return Err(ConfirmError::NoAnswer);
    }
    let typed = typed.trim();
    if typed == election {
        Ok(())
    } else {
        Err(ConfirmError::Mismatch {
            typed: typed.to_owned(),
            expected: election.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(typed: &str) -> (Result<(), ConfirmError>, String) {
        let mut shown = Vec::new();
        let answer = confirm(
            "This seals box 1. It cannot be undone.",
            "riverside-2027",
            &mut typed.as_bytes(),
            &mut shown,
        );
        (answer, String::from_utf8(shown).expect("text"))
    }

    #[test]
    fn the_exact_id_goes_on_and_the_question_says_what_will_happen() {
        let (answer, shown) = ask("riverside-2027\n");
        assert!(answer.is_ok());
        assert_eq!(
            shown,
            "This seals box 1. It cannot be undone.\nType the election id (riverside-2027) to go on: "
        );
        assert!(ask("  riverside-2027 \r\n").0.is_ok());
        assert!(ask("riverside-2027").0.is_ok(), "a piped line without an end");
    }

    #[test]
    fn anything_else_refuses() {
        for typed in [
            "yes\n",
            "y\n",
            "riverside-2026\n",
            "Riverside-2027\n",
            "\n",
            "riverside-2027 now\n",
        ] {
            let (answer, _) = ask(typed);
            assert!(matches!(answer, Err(ConfirmError::Mismatch { .. })), "{typed:?}");
        }
        assert!(matches!(ask("").0, Err(ConfirmError::NoAnswer)));
        let long = "x".repeat(5000);
        assert!(matches!(ask(&long).0, Err(ConfirmError::Mismatch { .. })));
    }
}
