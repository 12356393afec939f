//! What an aborted session leaves behind: a signed statement.

use prost::Message as _;
use tally_proto::envelope::{Envelope, Kind, Signer};
use tally_proto::ids::{Role, RoleExt as _, SessionNumber};
use tally_proto::wire;

use super::opening::Scene;
use super::run::Stop;

/// This party's signed Abort. A session's Abort is a statement: nothing in it is proved by signatures.
pub(crate) fn abort(
    scene: &Scene,
    number: SessionNumber,
    own: Role,
    stop: &Stop,
    signer: &Signer,
) -> Envelope {
    let abort = wire::Abort {
        election: scene.election.as_str().to_owned(),
        r#box: scene.box_id.get(),
        seal_hash: scene.seal_hash.as_bytes().to_vec(),
        session: number.get(),
        party: own.number(),
        reason: stop.reason.code().to_owned(),
        step: stop.step.clone(),
        channel: stop.channel.clone(),
        suspects: stop.suspects.iter().map(|role| role.number()).collect(),
        proved: false,
        ..wire::Abort::default()
    };
    signer.seal_envelope(Kind::Abort, abort.encode_to_vec())
}

/// A stored Abort in words.
pub(crate) fn describe(abort: &Envelope) -> String {
    match wire::Abort::decode(abort.payload().clone()) {
        Ok(abort) => {
            let suspects: Vec<String> = abort.suspects.iter().map(|party| format!("P{party}")).collect();
            let suspects = if suspects.is_empty() {
                "nobody".to_owned()
            } else {
                suspects.join(" or ")
            };
            format!(
                "session {} stopped at {}: {}; suspected: {suspects}",
                abort.session, abort.step, abort.reason
            )
        }
        Err(error) => format!("the stored Abort does not decode: {error}"),
    }
}
