//! What registrars meet: refusals travel record by record.

use tally_proto::ids::{BoxId, VoterIndex};
use tally_proto::invitation::Credential;
use tally_proto::pki::PeerRole;
use tally_proto::record::Half;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_proto::wire::record_receipt::Outcome;

use crate::scene::Scene;

fn record(scene: &mut Scene, voter: u32, half: Half) -> wire::RecordSubmission {
    let credential = Credential::new(7);
    let party = scene.party.role;
    let records = scene
        .world
        .fixture
        .record(BoxId(1), VoterIndex(voter), 1, half, &credential);
    records[usize::from(party.index()) - 1].to_wire()
}

/// Registers these, side by side; all but one are accepted.
async fn register(scene: &Scene, records: Vec<wire::RecordSubmission>) -> Refusal {
    let registrar = scene.leaf(PeerRole::Registrar("letters".to_owned()));
    let all = records.len();
    let mut answers = scene
        .party
        .registration(&registrar)
        .register(tokio_stream::iter(records))
        .await
        .expect("served")
        .into_inner();
    let (mut accepted, mut refused) = (0, Vec::new());
    while let Some(answer) = answers.message().await.expect("an answer") {
        match answer.outcome.expect("an outcome") {
            Outcome::Receipt(_) => accepted += 1,
            Outcome::Refusal(refusal) => refused.push(Refusal::from_wire(&refusal)),
        }
    }
    assert_eq!((accepted, refused.len()), (all - 1, 1), "{refused:?}");
    refused.remove(0)
}

pub(crate) async fn beyond_the_roll(scene: &mut Scene) -> Refusal {
    let record = record(scene, 5, Half::WHOLE);
    register(scene, vec![record]).await
}

pub(crate) async fn station_only(scene: &mut Scene) -> Refusal {
    let record = record(scene, 4, Half::WHOLE);
    register(scene, vec![record]).await
}

pub(crate) async fn equal_serial(scene: &mut Scene) -> Refusal {
    let records = vec![record(scene, 0, Half::WHOLE), record(scene, 0, Half::WHOLE)];
    register(scene, records).await
}

pub(crate) async fn in_other_halves(scene: &mut Scene) -> Refusal {
    let record = record(scene, 0, Half::new(0, 2).expect("a half"));
    register(scene, vec![record]).await
}

pub(crate) async fn unauthorised(scene: &mut Scene) -> Refusal {
    let mut record = record(scene, 0, Half::WHOLE);
    record.authorisation[0] ^= 1;
    register(scene, vec![record]).await
}
