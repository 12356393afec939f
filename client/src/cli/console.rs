//! Where a command reads and writes: the terminal, or a test's buffers.

use std::fmt;

use zeroize::Zeroizing;

use super::failure::Failure;
use super::{BufRead, Write};

/// The three ends of a console.
pub struct Console<'a> {
    /// What is typed.
    pub input: &'a mut dyn BufRead,
    /// Whether a person can be asked.
    pub interactive: bool,
    /// Results.
    pub out: &'a mut dyn Write,
    /// Everything else that is said.
    pub err: &'a mut dyn Write,
}

impl fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("interactive", &self.interactive)
            .finish_non_exhaustive()
    }
}

impl Console<'_> {
    /// A line of the result. A closed pipe is the reader's wish and no failure.
    pub(crate) fn say(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
        let _ = self.out.flush();
    }

    /// A line beside the result.
    pub(crate) fn tell(&mut self, text: &str) {
        let _ = writeln!(self.err, "{text}");
    }

    /// A line that says what went wrong.
    pub(crate) fn complain(&mut self, text: &str) {
        self.tell(text);
    }

    /// Asks a person; what is asked for is named in the error where there is none.
    pub(crate) fn ask(
        &mut self,
        question: &str,
        instead: &'static str,
    ) -> Result<Zeroizing<String>, Failure> {
        if !self.interactive {
            return Err(Failure::NobodyToAsk { instead });
        }
        let _ = write!(self.err, "{question} ");
        let _ = self.err.flush();
        self.line()
    }

    /// The next line of the input, or nothing where it has ended: for dialogues that ask again.
    pub(crate) fn reply(&mut self, question: &str) -> Result<Option<Zeroizing<String>>, Failure> {
        let _ = write!(self.out, "{question} ");
        let _ = self.out.flush();
        let mut line = Zeroizing::new(String::new());
        let read = self.input.read_line(&mut line).map_err(Failure::Input)?;
        Ok((read > 0).then(|| Zeroizing::new(line.trim().to_owned())))
    }

    /// The next line of the input.
    pub(crate) fn line(&mut self) -> Result<Zeroizing<String>, Failure> {
        let mut line = Zeroizing::new(String::new());
        self.input.read_line(&mut line).map_err(Failure::Input)?;
        Ok(Zeroizing::new(line.trim().to_owned()))
    }
}
