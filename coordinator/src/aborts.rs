//! Aborts of tally sessions for people: what each party states, what is proved, whom to call and what to do next.
//!
//! What is proved and what is only stated are kept apart, and nobody's suspects are struck off because another party names others: the
//! parties that sign may lie. The list of whom to call is everybody who is named by somebody that saw something itself.

use std::fmt::Write as _;

use tally_proto::envelope::{Envelope, PublicKey};
use tally_proto::ids::{BoxId, ElectionId, Hash32, Role, RoleExt as _};
use tally_proto::session::{AbortError, Check, Proof, SessionAbort, VerifiedAbort, verify_aborts};
use tally_proto::wire;

/// Aborts of one box that are kept at most: three of each of these sessions.
const KEPT_SESSIONS: usize = 64;

/// Why a session has no Result, as its parties tell it. Every Abort in it is verified.
#[derive(Clone, Debug)]
pub struct Stopped {
    aborts: Vec<VerifiedAbort>,
    proofs: Vec<Proof>,
}

impl Stopped {
    /// Verifies what the parties sent.
    ///
    /// # Errors
    /// [`AbortError`], the first that does not hold.
    pub fn verify(
        envelopes: &[Envelope],
        keys: &[PublicKey; 3],
        of: (&ElectionId, BoxId, Hash32),
    ) -> Result<Self, AbortError> {
        let (aborts, proofs) = verify_aborts(envelopes, keys, of)?;
        Ok(Self { aborts, proofs })
    }

    /// Whether every Abort is that party's.
    pub fn is_by(&self, party: Role) -> bool {
        self.aborts.iter().all(|verified| verified.abort.party == party)
    }

    /// Of a verified bundle.
    pub fn of(aborts: Vec<VerifiedAbort>, proofs: Vec<Proof>) -> Self {
        Self { aborts, proofs }
    }

    /// A paragraph for an operator. `names`: the parties with their addresses, in order.
    pub fn in_words(&self, names: &[String; 3]) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(names, &mut text);
        text
    }

    /// The same without advice: for readers of a bundle, when all is over.
    pub fn told(&self, names: &[String; 3]) -> String {
        let text = self.in_words(names);
        let advice = self.advice(names);
        text.strip_suffix(&advice).unwrap_or(&text).trim_end().to_owned()
    }

    fn write(&self, names: &[String; 3], text: &mut String) -> std::fmt::Result {
        let numbers: Vec<String> = {
            let mut numbers: Vec<u64> = self.aborts.iter().map(|a| a.abort.number.get()).collect();
            numbers.dedup();
            numbers.iter().map(ToString::to_string).collect()
        };
        write!(
            text,
            "tally session {} stopped without a result.",
            numbers.join(", ")
        )?;
        for VerifiedAbort { abort, examined } in &self.aborts {
            write!(text, "\n  {} states: {}", short(abort.party), statement(abort))?;
            if abort.check == Check::Deadline && examined.demanded {
                let by_third = examined.said.iter().any(|said| said.suspects == abort.suspects);
                text.push_str(if by_third {
                    ", and the third party states that it got no answer either"
                } else {
                    ", and no answer came through the third party or the coordinator"
                });
            }
            text.push('.');
        }
        if self.proofs.is_empty() {
            text.push_str("\n  Proved by signatures: nothing; who is right, the replay audit of the parties' logs decides.");
        }
        for proof in &self.proofs {
            write!(text, "\n  Proved by signatures, to anyone: {proof}.")?;
        }
        write!(text, "\n  {}", self.advice(names))
    }

    /// Whom to call, and what to do next.
    fn advice(&self, names: &[String; 3]) -> String {
        // Who heard of it from another party adds nothing to what that one says.
        let seen: Vec<&SessionAbort> = self
            .aborts
            .iter()
            .map(|verified| &verified.abort)
            .filter(|abort| abort.check != Check::Neighbour)
            .collect();
        let named: Vec<Role> = Role::ALL
            .into_iter()
            .filter(|role| {
                seen.iter().any(|abort| abort.suspects.contains(role))
                    || self.proofs.iter().any(|proof| proof.suspects().contains(role))
                    // Whose own program or input failed is to be called too.
                    || seen.iter().any(|abort| {
                        abort.party == *role && matches!(abort.check, Check::Fault | Check::Input | Check::Log)
                    })
            })
            .collect();
        let call: Vec<&str> = named.iter().map(|role| names[role.slot()].as_str()).collect();
        let call = call.join(" and ");
        let any = |checks: &[Check]| seen.iter().any(|abort| checks.contains(&abort.check));
        if named.is_empty() {
            "Nobody is named. Run `tally` again.".to_owned()
        } else if !self.proofs.is_empty() || seen.iter().any(|abort| is_deviation(abort.check)) {
            format!(
                "Call {call}: stop the servers' operators from changing or deleting anything, have the session's logs audited, and only \
                 then run `tally` again."
            )
        } else if any(&[Check::Fault, Check::Input, Check::Log]) {
            format!("Call {call}: its log says what failed. Mend it, then run `tally` again.")
        } else if any(&[Check::Session]) {
            format!(
                "Call {call}: ask how busy the servers and the lines between them are, then run `tally` again."
            )
        } else {
            format!(
                "Call {call}: ask whether the server runs and reaches the other two parties, restart it if not, then run `tally` again."
            )
        }
    }
}

/// A check that fails only when somebody's program does not follow the protocol.
fn is_deviation(check: Check) -> bool {
    match check {
        Check::Message
        | Check::GateProof
        | Check::ShuffleTags
        | Check::Copies
        | Check::Commitments
        | Check::Outputs
        | Check::BarrierSignature
        | Check::ChannelHashes
        | Check::PivotOrder
        | Check::TotalsRange
        | Check::Contribution
        | Check::Frame => true,
        Check::Connection
        | Check::Deadline
        | Check::Session
        | Check::Neighbour
        | Check::Interrupted
        | Check::Input
        | Check::Log
        | Check::Fault => false,
    }
}

fn short(role: Role) -> String {
    format!("P{}", role.number())
}

/// What one Abort says, without its signer.
fn statement(abort: &SessionAbort) -> String {
    let mut text = format!("{}, in {}", abort.check.words(), step_words(&abort.step));
    if let Some([one, other]) = abort.channel {
        text += &format!(", between {} and {}", short(one), short(other));
    }
    let suspects: Vec<String> = abort.suspects.iter().map(|role| short(*role)).collect();
    match suspects.as_slice() {
        [] => text += "; it names nobody",
        [one] => text += &format!("; it names {one}"),
        several => text += &format!("; it names {}, one of whom is at fault", several.join(" and ")),
    }
    text
}

/// `sort step 3 chunk 0` as people say it.
fn step_words(step: &str) -> String {
    let words: Vec<&str> = step.split(' ').collect();
    match words.as_slice() {
        [phase, "step", step, "chunk", _] => format!("the {phase}, step {step}"),
        ["opening"] => "the opening of the session".to_owned(),
        ["input"] => "the making of its input".to_owned(),
        ["session", "log"] => "the session's log".to_owned(),
        ["engine"] => "the engine".to_owned(),
        _ => format!("{step:?}"),
    }
}

/// Joins Aborts to those kept of the box: one of each party and session, in order. What does not hold, or is of another box or Seal, is left
/// out: it would spoil the bundle. The oldest sessions beyond what is kept fall out.
pub(crate) fn keep(
    kept: Vec<wire::Envelope>,
    fresh: &[Envelope],
    keys: &[PublicKey; 3],
    of: (&ElectionId, BoxId, Hash32),
) -> Vec<wire::Envelope> {
    let mut all: Vec<((u64, Role), Envelope)> = Vec::new();
    let kept = kept
        .into_iter()
        .filter_map(|envelope| Envelope::from_wire(envelope).ok());
    for envelope in kept.chain(fresh.iter().cloned()) {
        let Ok((verified, _)) = verify_aborts(std::slice::from_ref(&envelope), keys, of) else {
            continue;
        };
        let Some(VerifiedAbort { abort, .. }) = verified.first() else {
            continue;
        };
        let place = (abort.number.get(), abort.party);
        if all.iter().all(|(other, _)| *other != place) {
            all.push((place, envelope));
        }
    }
    all.sort_by_key(|(place, _)| *place);
    let mut numbers: Vec<u64> = all.iter().map(|((number, _), _)| *number).collect();
    numbers.dedup();
    let oldest = numbers
        .len()
        .checked_sub(KEPT_SESSIONS)
        .map_or(0, |at| numbers[at]);
    all.retain(|((number, _), _)| *number >= oldest);
    all.into_iter().map(|(_, envelope)| envelope.to_wire()).collect()
}

#[cfg(test)]
mod tests;
