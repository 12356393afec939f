//! Ballots made and cast without the client's library: every share and nonce of them is known.

use std::time::SystemTime;

use rand::rngs::StdRng;
use tally_client::Election;
use tally_proto::ballot::BallotHeader;
use tally_proto::connect::{self, Dial};
use tally_proto::ids::{Role, UnixSeconds};
use tally_proto::shares::{Opening, ShareContext, split_ballot};
use tally_proto::wire;

/// A ballot of now for the first box, and what opens it.
pub(crate) fn made(election: &Election, packed: &[u8], rng: &mut StdRng) -> (BallotHeader, [Opening; 3]) {
    let of_box = &election.manifest().boxes()[0];
    let context = ShareContext::ballot(election.id(), of_box);
    let openings = split_ballot(of_box.layout(), packed, rng).expect("split");
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("a time");
    let header = BallotHeader::online(
        election.id().clone(),
        of_box.id(),
        UnixSeconds(now.as_secs()),
        context.commit_all(&openings),
    );
    (header, openings)
}

/// Casts it at these parties, each of which accepts it.
pub(crate) async fn cast(
    election: &Election,
    (header, openings): (&BallotHeader, &[Opening; 3]),
    at: &[Role],
    rng: &mut StdRng,
) {
    let context = ShareContext::ballot(election.id(), &election.manifest().boxes()[0]);
    for role in at {
        let identity = election.party(*role);
        let dial = Dial {
            address: identity.public_address(),
            anchor: identity.anchor(),
            leaf: None,
        };
        let ciphertext = context
            .seal(*role, identity.sealing_key(), &header.digest(), openings, rng)
            .expect("sealed");
        let submission = wire::Submission {
            header: Some(header.to_wire()),
            ciphertext: ciphertext.into(),
            ..Default::default()
        };
        let mut party = connect::intake(dial.channel().expect("a channel"));
        party.submit(submission).await.expect("accepted");
    }
}
