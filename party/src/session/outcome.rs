//! What an aborted session leaves behind: a signed statement, with the evidence that there is.

use tally_proto::envelope::{Envelope, PublicKey, Signer};
use tally_proto::ids::{Role, SessionNumber};
use tally_proto::session::SessionAbort;

use super::opening::Scene;
use super::run::Stop;
use super::start::Starts;

/// This party's signed Abort of the session that `starts` opened.
pub(crate) fn abort(scene: &Scene, starts: &Starts, own: Role, stop: &Stop, signer: &Signer) -> Envelope {
    let SessionNumber(number) = starts.number;
    let abort = SessionAbort {
        election: scene.election.clone(),
        of_box: scene.box_id,
        seal_hash: scene.seal_hash,
        number: SessionNumber(number),
        session: starts.id,
        party: own,
        reason: stop.reason,
        check: stop.check,
        step: stop.step.clone(),
        channel: stop.channel,
        suspects: stop.suspects.clone(),
        proved: false,
        evidence: stop.evidence.clone(),
    };
    abort.settled(&starts.keys).sign(signer)
}

/// A stored Abort of `own` in words.
pub(crate) fn describe(abort: &Envelope, own: &PublicKey) -> String {
    match SessionAbort::open(abort, &[*own; 3]) {
        Ok(abort) => words(&abort),
        Err(error) => format!("the stored Abort does not hold: {error}"),
    }
}

/// An Abort in words.
pub(crate) fn words(abort: &SessionAbort) -> String {
    let suspects: Vec<String> = abort.suspects.iter().map(ToString::to_string).collect();
    let suspects = if suspects.is_empty() {
        "nobody".to_owned()
    } else {
        suspects.join(" or ")
    };
    format!(
        "session {} stopped at {}: {}: {}; suspected: {suspects}",
        abort.number,
        abort.step,
        abort.reason,
        abort.check.words(),
    )
}
