//! Compares this party's clock with the two others' and raises an alarm when it is over a second from both: phases run on it.

use std::sync::Arc;
use std::time::Duration;

use tally_proto::connect;
use tally_proto::ids::Role;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire::ClockRequest;
use tokio::time::MissedTickBehavior;

use crate::alarm::Alarm;
use crate::party::Party;

/// How often the clocks are compared.
const EVERY: Duration = Duration::from_secs(30);
/// An answer that took longer says too little.
const PATIENCE: Duration = Duration::from_secs(2);
/// From here on a clock is wrong, milliseconds.
const ALARM_MS: i128 = 1_000;

/// Compares the clocks until the server stops.
pub(crate) async fn watch(party: Arc<Party>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = party.stopping() => return,
        }
        let others = [party.role.next(), party.role.prev()];
        let offsets = futures::future::join_all(others.map(|role| offset_to(&party, role))).await;
        for (role, offset) in others.iter().zip(&offsets) {
            if let Some(ahead) = offset {
                let ahead = i64::try_from(*ahead).unwrap_or(i64::MAX);
                party.sight.answered(*role, party.now(), ahead);
            }
        }
        let wrong = alarm(&offsets);
        party.alarm(Alarm::ClockWrong, "", wrong.clone());
        party.set_clock_trouble(wrong);
    }
}

/// How far the other party's clock is ahead of this one, milliseconds, as seen at the middle of the question; `None` without a quick answer.
async fn offset_to(party: &Party, role: Role) -> Option<i128> {
    let mut intake = connect::intake(party.peers.channel(role)?);
    let asked = party.clock.now_ms();
    let reply = tokio::time::timeout(PATIENCE, intake.clock(ClockRequest {}))
        .await
        .ok()?
        .ok()?
        .into_inner();
    let answered = party.clock.now_ms();
    Some(i128::from(reply.now_ms) - (i128::from(asked) + i128::from(answered)) / 2)
}

/// What is wrong with this clock, if it is over a second from both others, in the same direction or not.
fn alarm(offsets: &[Option<i128>]) -> Option<String> {
    let [Some(one), Some(other)] = offsets else {
        return None;
    };
    (one.abs() > ALARM_MS && other.abs() > ALARM_MS).then(|| {
        let (one, other) = (*one as f64 / 1000.0, *other as f64 / 1000.0);
        let trouble =
            format!("this party's clock differs from both others' by {one:.1} s and {other:.1} s: set it by a trusted source");
        Refusal::new(Reason::ClockWrong, trouble).to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_that_is_away_from_both_others_is_wrong() {
        assert_eq!(alarm(&[Some(1000), Some(-1000)]), None);
        assert_eq!(alarm(&[Some(1001), Some(0)]), None, "the other one is wrong");
        assert_eq!(alarm(&[Some(1001), None]), None, "one other clock proves nothing");
        let text = alarm(&[Some(1001), Some(2500)]).expect("an alarm");
        assert!(
            text.contains("1.0 s") && text.contains("2.5 s") && text.contains(Reason::ClockWrong.code()),
            "{text}"
        );
        assert!(alarm(&[Some(1001), Some(-5000)]).is_some());
    }
}
