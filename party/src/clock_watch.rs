//! Compares this party's clock with the two others' and raises an alarm when it is over a second from both: phases run on it.

use std::sync::Arc;
use std::time::Duration;

use tally_proto::connect;
use tally_proto::ids::Role;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire::ClockRequest;

use crate::alarm::Alarm;
use crate::party::Party;

/// How often the clocks are compared.
const EVERY: Duration = Duration::from_secs(10);
/// How often while this one is wrong: it shall accept again soon after it was set.
const EVERY_WHILE_WRONG: Duration = Duration::from_secs(1);
/// An answer that took longer says too little.
const PATIENCE: Duration = Duration::from_secs(2);
/// From here on a clock is wrong, milliseconds.
const ALARM_MS: i128 = 1_000;

/// Compares the clocks until the server stops.
pub(crate) async fn watch(party: Arc<Party>) {
    loop {
        let wrong = compare(&party).await;
        tokio::select! {
            () = tokio::time::sleep(if wrong { EVERY_WHILE_WRONG } else { EVERY }) => {}
            () = party.stopping() => return,
        }
    }
}

/// Compares the clocks once. Returns whether this party's is wrong, in which case nothing is accepted until it is right.
pub async fn compare(party: &Party) -> bool {
    let others = [party.role.next(), party.role.prev()];
    let offsets = futures::future::join_all(others.map(|role| offset_to(party, role))).await;
    for (role, offset) in others.iter().zip(&offsets) {
        match offset {
            Ok(ahead) => {
                let ahead = i64::try_from(*ahead).unwrap_or(i64::MAX);
                party.sight.answered(*role, party.now(), ahead);
            }
            Err(why) => party.sight.silent(*role, why.clone()),
        }
    }
    let found = match judge(&offsets.into_iter().map(Result::ok).collect::<Vec<_>>()) {
        Judgement::Wrong(trouble) => Some(trouble),
        Judgement::Right => None,
        Judgement::Unknown => return !party.clock_trouble().is_empty(),
    };
    let alarm = found
        .as_ref()
        .map(|trouble| Refusal::new(Reason::ClockWrong, trouble).to_string());
    party.alarm(Alarm::ClockWrong, "", alarm);
    party.set_clock_trouble(found);
    !party.clock_trouble().is_empty()
}

/// How far the other party's clock is ahead of this one, milliseconds, as seen at the middle of the question.
///
/// # Errors
/// Why there was no quick answer.
async fn offset_to(party: &Party, role: Role) -> Result<i128, String> {
    let channel = party.peers.channel(role).ok_or_else(String::new)?;
    let mut intake = connect::intake(channel);
    let asked = party.clock.now_ms();
    let reply = tokio::time::timeout(PATIENCE, intake.clock(ClockRequest {}))
        .await
        .map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?
        .map_err(|status| Refusal::of_status(&status).to_string())?
        .into_inner();
    let answered = party.clock.now_ms();
    Ok(i128::from(reply.now_ms) - (i128::from(asked) + i128::from(answered)) / 2)
}

/// What the others' clocks say of this one.
#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    /// Over a second from both, in the same direction or not.
    Wrong(String),
    /// Within a second of one of them at least.
    Right,
    /// Away from the only one that answered, or nobody answered: one other clock decides nothing, and what was found before stands.
    Unknown,
}

fn judge(offsets: &[Option<i128>]) -> Judgement {
    let near = |offset: &Option<i128>| offset.is_some_and(|ms| ms.abs() <= ALARM_MS);
    match offsets {
        offsets if offsets.iter().any(near) => Judgement::Right,
        [Some(one), Some(other)] => {
            let (one, other) = (*one as f64 / 1000.0, *other as f64 / 1000.0);
            Judgement::Wrong(format!(
                "this party's clock differs from both others' by {one:.1} s and {other:.1} s: set it by a trusted source"
            ))
        }
        _ => Judgement::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_that_is_away_from_both_others_is_wrong() {
        assert_eq!(judge(&[Some(1000), Some(-1000)]), Judgement::Right);
        assert_eq!(
            judge(&[Some(1001), Some(0)]),
            Judgement::Right,
            "the other one is wrong"
        );
        assert_eq!(judge(&[Some(1001), Some(1000)]), Judgement::Right);
        assert_eq!(judge(&[Some(0), None]), Judgement::Right);
        for [one, other] in [[1001, 2500], [1001, -5000]] {
            let Judgement::Wrong(text) = judge(&[Some(one), Some(other)]) else {
                panic!("{one} and {other} are away")
            };
            let said = format!("{:.1} s and {:.1} s", one as f64 / 1000.0, other as f64 / 1000.0);
            assert!(text.contains(&said), "{text}");
        }
    }

    #[test]
    fn one_other_clock_alone_decides_nothing() {
        assert_eq!(judge(&[Some(1001), None]), Judgement::Unknown);
        assert_eq!(judge(&[None, Some(-90_000)]), Judgement::Unknown);
        assert_eq!(judge(&[None, None]), Judgement::Unknown);
    }
}
