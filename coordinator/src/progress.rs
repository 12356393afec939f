//! Progress of long work: a bar on a terminal, log lines otherwise.
//!
//! The work calls [`Progress::report`] as often as it likes with (phase, done, total); a sink decides what is shown. Rates
//! are taken over the running phase, and so is the time left.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where the work stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step<'a> {
    /// What is being worked on, such as `tally box 1`.
    pub scope: &'a str,
    /// The phase, such as `sort`.
    pub phase: &'a str,
    /// Units done in this phase.
    pub done: u64,
    /// Units of this phase in all; 0 while unknown.
    pub total: u64,
    /// What the units are, such as `rows`.
    pub unit: &'a str,
}

/// A phase as a party names it. It goes to a terminal, so nothing but plain characters gets through.
pub(crate) fn phase_of(named: &str) -> &str {
    let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if named.len() <= 64 && named.bytes().all(plain) {
        named
    } else {
        "a phase without a name"
    }
}

/// A sink of progress.
pub trait Progress: Send + Sync {
    /// The work stands at `step`.
    fn report(&self, step: Step<'_>);
    /// Something worth a line: a party that does not answer, a box that is done.
    fn note(&self, text: &str);
    /// The scope is finished.
    fn finish(&self, scope: &str);
}

/// The sink that fits standard error: bars on a terminal, log lines otherwise.
pub fn for_stderr() -> Box<dyn Progress> {
    if std::io::stderr().is_terminal() {
        Box::new(Bars::new())
    } else {
        Box::new(Lines::new())
    }
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn report(&self, _: Step<'_>) {}
    fn note(&self, _: &str) {}
    fn finish(&self, _: &str) {}
}

/// Rate and time left of the running phase.
#[derive(Debug, Clone)]
pub struct Pace {
    phase: String,
    started: Duration,
    first: u64,
}

impl Pace {
    /// A pace whose first phase begins at `now` with `step`.
    pub fn new(step: &Step<'_>, now: Duration) -> Self {
        Self {
            phase: step.phase.to_owned(),
            started: now,
            first: step.done,
        }
    }

    /// Takes note of `step` at `now`; true when a new phase begins with it.
    pub fn take(&mut self, step: &Step<'_>, now: Duration) -> bool {
        if self.phase == step.phase && step.done >= self.first {
            return false;
        }
        *self = Self::new(step, now);
        true
    }

    /// Units a second since the phase began; `None` before anything was done.
    pub fn rate(&self, step: &Step<'_>, now: Duration) -> Option<f64> {
        let seconds = now.checked_sub(self.started)?.as_secs_f64();
        let units = step.done.checked_sub(self.first)?;
        (seconds > 0.0 && units > 0).then(|| units as f64 / seconds)
    }

    /// Time until the phase is done at this rate; `None` while total or rate are unknown.
    pub fn left(&self, step: &Step<'_>, now: Duration) -> Option<Duration> {
        let rate = self.rate(step, now)?;
        let rest = step.total.checked_sub(step.done)?;
        (step.total > 0)
            .then(|| Duration::try_from_secs_f64(rest as f64 / rate).ok())
            .flatten()
    }

    /// One line: `tally box 1: sort, 120,000 of 400,000 rows, 55,000 rows/s, 5 s left`.
    pub fn line(&self, step: &Step<'_>, now: Duration) -> String {
        let mut line = format!("{}: {}", step.scope, step.phase);
        if step.total > 0 {
            line += &format!(
                ", {} of {} {}",
                grouped(step.done),
                grouped(step.total),
                step.unit
            );
        } else if step.done > 0 {
            line += &format!(", {} {}", grouped(step.done), step.unit);
        }
        if let Some(rate) = self.rate(step, now) {
            line += &format!(", {} {}/s", grouped(rate.round() as u64), step.unit);
        }
        if let Some(left) = self.left(step, now)
            && step.done < step.total
        {
            line += &format!(", {} left", clock(left));
        }
        line
    }
}

/// One log line (info) at each new phase, at most one every two seconds in between.
#[derive(Debug)]
pub struct Lines {
    start: Instant,
    scopes: Mutex<HashMap<String, (Pace, Duration)>>,
}

impl Lines {
    /// Every so often at most.
    const EVERY: Duration = Duration::from_secs(2);

    /// A sink that writes log lines.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            scopes: Mutex::new(HashMap::new()),
        }
    }

    /// The line to write for `step` at `now`, if one is due.
    fn due(&self, step: &Step<'_>, now: Duration) -> Option<String> {
        let mut scopes = self
            .scopes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some((pace, last)) = scopes.get_mut(step.scope) else {
            let pace = Pace::new(step, now);
            let line = pace.line(step, now);
            scopes.insert(step.scope.to_owned(), (pace, now));
            return Some(line);
        };
        let fresh = pace.take(step, now);
        if !fresh && now.saturating_sub(*last) < Self::EVERY {
            return None;
        }
        *last = now;
        Some(pace.line(step, now))
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for Lines {
    fn report(&self, step: Step<'_>) {
        if let Some(line) = self.due(&step, self.start.elapsed()) {
            tracing::info!("{line}");
        }
    }

    fn note(&self, text: &str) {
        tracing::info!("{text}");
    }

    fn finish(&self, scope: &str) {
        self.scopes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .remove(scope);
        tracing::info!("{scope}: done in {}", clock(self.start.elapsed()));
    }
}

/// One bar a scope on standard error.
#[derive(Debug)]
pub struct Bars {
    bars: MultiProgress,
    start: Instant,
    scopes: Mutex<HashMap<String, (ProgressBar, Pace)>>,
}

impl Bars {
    /// A sink that draws on standard error.
    pub fn new() -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        Self {
            bars,
            start: Instant::now(),
            scopes: Mutex::new(HashMap::new()),
        }
    }
}

impl Default for Bars {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for Bars {
    fn report(&self, step: Step<'_>) {
        let now = self.start.elapsed();
        let mut scopes = self
            .scopes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let (bar, pace) = scopes.entry(step.scope.to_owned()).or_insert_with(|| {
            let bar = self.bars.add(ProgressBar::new(step.total));
            let style = ProgressStyle::with_template("{prefix} [{bar:24}] {msg}").map_or_else(
                |_| ProgressStyle::default_bar(),
                |style| style.progress_chars("=> "),
            );
            bar.set_style(style);
            bar.set_prefix(step.scope.to_owned());
            (bar, Pace::new(&step, now))
        });
        pace.take(&step, now);
        bar.set_length(step.total.max(1));
        bar.set_position(step.done);
        let line = pace.line(&step, now);
        bar.set_message(
            line.strip_prefix(step.scope)
                .and_then(|l| l.strip_prefix(": "))
                .unwrap_or(&line)
                .to_owned(),
        );
    }

    fn note(&self, text: &str) {
        // A terminal that cannot be written to any more must not stop the work.
        let _ = self.bars.println(text);
    }

    fn finish(&self, scope: &str) {
        let scoped = self
            .scopes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .remove(scope);
        if let Some((bar, _)) = scoped {
            bar.set_position(bar.length().unwrap_or(0));
            bar.finish_with_message("done");
        }
    }
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A duration for people: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(phase: &str, done: u64, total: u64) -> Step<'_> {
        Step {
            scope: "tally box 1",
            phase,
            done,
            total,
            unit: "rows",
        }
    }

    #[test]
    fn a_phase_steers_no_terminal() {
        assert_eq!(phase_of("sort step 3"), "sort step 3");
        for strange in ["\u{1b}[2J", "a\nb", &"x".repeat(65), "\u{202e}"] {
            assert_eq!(phase_of(strange), "a phase without a name");
        }
    }

    #[test]
    fn pace_is_taken_over_the_running_phase() {
        let s = Duration::from_secs;
        let mut pace = Pace::new(&step("shuffle", 0, 100), s(0));
        assert_eq!(
            pace.line(&step("shuffle", 0, 100), s(0)),
            "tally box 1: shuffle, 0 of 100 rows"
        );
        assert!(!pace.take(&step("shuffle", 100, 100), s(1)));
        assert_eq!(
            pace.line(&step("shuffle", 100, 100), s(1)),
            "tally box 1: shuffle, 100 of 100 rows, 100 rows/s"
        );
        assert!(pace.take(&step("sort", 0, 400_000), s(2)));
        assert_eq!(
            pace.line(&step("sort", 120_000, 400_000), s(4)),
            "tally box 1: sort, 120,000 of 400,000 rows, 60,000 rows/s, 4.7 s left"
        );
        assert_eq!(pace.left(&step("sort", 5, 0), s(4)), None);
        assert_eq!(pace.rate(&step("sort", 0, 10), s(4)), None);
    }

    #[test]
    fn lines_come_with_each_phase_and_every_two_seconds() {
        let lines = Lines::new();
        let ms = Duration::from_millis;
        assert!(lines.due(&step("shuffle", 0, 10), ms(0)).is_some());
        assert!(lines.due(&step("shuffle", 5, 10), ms(1999)).is_none());
        assert!(lines.due(&step("sort", 0, 10), ms(1999)).is_some(), "a new phase");
        assert!(lines.due(&step("sort", 1, 10), ms(3000)).is_none());
        assert!(lines.due(&step("sort", 9, 10), ms(4000)).is_some());
    }

    #[test]
    fn numbers_and_times_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(clock(Duration::from_millis(400)), "0.4 s");
        assert_eq!(clock(Duration::from_secs(59)), "59 s");
        assert_eq!(clock(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(clock(Duration::from_secs(7500)), "2 h 5 min");
    }
}
