//! A registrar that issues what it may not: a credential for a voter who votes at a station.

use tally_coordinator::parties::Party;
use tally_proto::envelope::{Envelope, Signer};
use tally_proto::ids::{BoxId, Role, UnixSeconds, VoterIndex};
use tally_proto::invitation::{Credential, Invitation};
use tally_proto::manifest::SignedManifest;
use tally_proto::pki::Leaf;
use tally_proto::reason::Reason;
use tally_proto::record::{Half, Issue, RecordHeader, RecordParts, RecordSubmission, Source, authorise};
use tally_proto::refusal::Refusal;
use tally_proto::secret_file;
use tally_proto::shares::{ShareContext, split_credential_openings};
use tally_proto::wire::record_receipt::Outcome;
use tally_tests::script::Place;
use tally_tests::world::World;

/// The registrar signs a record of its own for `place` and brings each party its part: the code that belongs to it, and what they say.
pub(super) async fn issues(world: &World, manifest: &[u8], place: Place) -> (String, [Reason; 3]) {
    let signed = SignedManifest::open(Envelope::decode(manifest).expect("an envelope")).expect("a manifest");
    let manifest = signed.manifest();
    let at = |name: &str| world.root.join("registrar").join(name);
    let seed = secret_file::read_exact::<32>(&at("signing.key")).expect("a key");
    let signer = Signer::from_seed(seed.as_slice()).expect("a key");
    let leaf = Leaf {
        cert_pem: std::fs::read_to_string(at("tls.pem")).expect("a certificate"),
        key_pem: std::fs::read_to_string(at("tls.key")).expect("a key").into(),
    };
    let (of_box, voter, mut rng) = (BoxId(place.box_id), VoterIndex(place.v), rand::rng());
    let credential = Credential::generate(&mut rng);
    let openings = split_credential_openings(credential.expose(), &mut rng);
    let context = ShareContext::credential(manifest.election(), of_box);
    let header = RecordHeader::new(RecordParts {
        source: Source::Issued(Issue {
            election: manifest.election().clone(),
            of_box,
            voter,
            half: Half::WHOLE,
            registrar: signer.public_key(),
        }),
        serial: 1,
        signed_at: UnixSeconds(manifest.channels()[0].openings()[0].opens.get() - 60),
        commitments: context.commit_all(&openings),
    });
    let digest = header.digest();
    let mut said = Vec::new();
    for role in Role::ALL {
        let key = manifest.party(role).sealing_key();
        let sealed = context
            .seal(role, key, &digest, &openings, &mut rng)
            .expect("sealed");
        let record = RecordSubmission::new(header.clone(), authorise(&signer, &digest), sealed);
        let sent = tokio_stream::iter([record.expect("within limits").to_wire()]);
        let party = Party::dial(manifest.party(role), &leaf).expect("an address");
        let answers = party.registration().register(sent).await;
        let answer = match answers {
            Ok(answers) => answers.into_inner().message().await,
            Err(refused) => Err(refused),
        };
        said.push(
            match answer.map(|answer| answer.and_then(|answer| answer.outcome)) {
                Ok(Some(Outcome::Refusal(refused))) => refused.reason.parse().expect("a reason"),
                Ok(other) => panic!("{role} took it: {other:?}"),
                Err(status) => Refusal::from_status(&status).expect("a reason").reason,
            },
        );
    }
    let code = Invitation::new(&signed.hash(), of_box, voter, credential).to_code();
    (code.to_string(), said.try_into().expect("three"))
}
