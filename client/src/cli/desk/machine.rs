//! What the officer must know of the machine: its clock and its certificate.

use tally_proto::ids::UnixSeconds;

use super::Counter;
use crate::cli::voter::moment;
use crate::cli::{Console, Failure};
use crate::station::TimeSource;

/// Clocks further apart than this are told.
const CLOCK_NEWS_MS: i64 = 2_000;
/// A certificate that ends sooner is told.
const CERTIFICATE_NEWS_S: u64 = 3 * 24 * 3600;

/// What of this machine the officer must know before the day begins; when its certificate ends.
pub(super) async fn tell_machine(
    counter: &mut Counter,
    console: &mut Console<'_>,
) -> Result<UnixSeconds, Failure> {
    let (now, source) = counter.time().await?;
    console.say(&format!("It is {}.", moment(now.0)));
    match (source, counter.status().offset_ms) {
        (TimeSource::Parties, Some(offset)) if offset.abs() > CLOCK_NEWS_MS => console.say(&format!(
            "This machine's clock is {} the parties' by {} s. The station corrects it by itself; have it set right all the same.",
            if offset > 0 { "behind" } else { "ahead of" },
            offset.abs() / 1000
        )),
        (TimeSource::Parties, _) => {}
        (TimeSource::Corrected, _) => console.say(
            "The parties cannot be reached: votes are kept on this disk and delivered later. The time is this machine's clock, corrected as last measured.",
        ),
        (TimeSource::Uncorrected, _) => console.say(
            "The parties cannot be reached and never were: the time is this machine's clock. Compare it with a watch before you open: a vote \
             that is dated outside the station's hours does not count.",
        ),
    }
    let ends = counter.certificate_ends()?;
    if let Some(words) = certificate_ended(counter, ends, now) {
        console.say(&words);
    } else if ends.0 - now.0 < CERTIFICATE_NEWS_S {
        console.say(&format!(
            "The station's certificate ends at {}: ask the commission for a new one before that.",
            moment(ends.0)
        ));
    }
    Ok(ends)
}

/// That the certificate in use has ended, and what to do, which another one on the disk may be.
pub(super) fn certificate_ended(counter: &Counter, ends: UnixSeconds, now: UnixSeconds) -> Option<String> {
    if ends > now {
        return None;
    }
    let saved = counter.certificate_ends().is_ok_and(|saved| saved > now);
    Some(format!(
        "The station's certificate ended at {}: no party lets it connect. {}",
        moment(ends.0),
        if saved {
            "A new one is saved: leave the desk and begin it again, since it is used from then on."
        } else {
            "Votes are kept on this disk meanwhile. Ask the commission to certify request tls.request.pem again, save its answer over the old one, \
             leave the desk and begin it again."
        }
    ))
}
