//! Moments as a commission writes them in a file: local time of UTC.

use std::time::SystemTime;

use jiff::Timestamp;

/// `YYYY-MM-DD HH:MM`.
///
/// # Panics
/// For moments that no calendar has.
#[must_use]
pub fn minute(at: SystemTime) -> String {
    format("%F %H:%M", at)
}

/// `YYYY-MM-DD HH:MM:SS`.
///
/// # Panics
/// For moments that no calendar has.
#[must_use]
pub fn second(at: SystemTime) -> String {
    format("%F %T", at)
}

fn format(form: &str, at: SystemTime) -> String {
    Timestamp::try_from(at)
        .expect("the clock shows a time in the calendar")
        .strftime(form)
        .to_string()
}
