//! A command that prints what it reads.

use std::io::{Error, ErrorKind, Result, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often it is looked whether the command has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Gives `text` to `command`, and waits for its end. A command that has not ended after `limit` is ended: a printer without paper keeps no voter
/// at the counter.
///
/// # Errors
/// It cannot be run, fails, or takes too long.
pub(super) fn print(command: &str, text: &str, limit: Duration) -> Result<()> {
    let mut words = command.split_whitespace();
    let program = words.next().ok_or_else(|| Error::other("no command is given"))?;
    let until = Instant::now() + limit;
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A receipt is shorter than a pipe: this waits for nobody. A command that reads nothing may have ended.
        match input.write_all(text.as_bytes()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if Instant::now() >= until => {
                child.kill()?;
                child.wait()?;
                let seconds = limit.as_secs_f32();
                return Err(Error::new(
                    ErrorKind::TimedOut,
                    format!("{program} has not ended within {seconds} s: is there paper?"),
                ));
            }
            None => std::thread::sleep(LOOK_EVERY),
        }
    };
    if status.success() {
        Ok(())
    } else {
        Err(Error::other(format!("{program} ended with {status}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printer_that_hangs_is_ended_and_the_receipt_is_not_lost() {
        let hangs = print("sleep 600", "a receipt", Duration::from_millis(100)).expect_err("it hangs");
        assert_eq!(hangs.kind(), ErrorKind::TimedOut);
        assert!(
            hangs.to_string().contains("sleep has not ended within 0.1 s"),
            "{hangs}"
        );
        let fails = print("false", "a receipt", Duration::from_secs(60)).expect_err("it fails");
        assert!(fails.to_string().contains("false ended with"), "{fails}");
        assert!(print("no-such-printer", "", Duration::from_secs(60)).is_err());
        assert!(print(" ", "", Duration::from_secs(60)).is_err());
        print("cat", "a receipt", Duration::from_secs(60)).expect("printed");
    }
}
