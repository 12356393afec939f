//! A ballot whose voter lies to one party about its share.

use bytes::Bytes;
use rand::CryptoRng;
use tally_client::Election;
use tally_mpc::layout::LayoutError;
use tally_proto::ballot::BallotHeader;
use tally_proto::connect::{self, ConnectError, Dial};
use tally_proto::ids::{Role, UnixSeconds};
use tally_proto::refusal::Refusal;
use tally_proto::shares::{Opening, ShareContext, ShareError, split_ballot};
use tally_proto::wire;
use thiserror::Error;
use zeroize::Zeroizing;

/// Why the tampered ballot could not be made or was not refused.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each variant says it in its message")]
pub enum TamperError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Share(#[from] ShareError),
    #[error("party 1 does not say the time: {0}")]
    Clock(tonic::Status),
    #[error("the election has no box")]
    NoBox,
    #[error("party 1 refused without a reason: {0}")]
    Unreasoned(tonic::Status),
    #[error("party 1 accepted a ballot whose share does not open its commitment")]
    Accepted,
}

/// Sends party 1 a ballot with one bit of one share changed after committing to it, and gives what the party says.
///
/// # Errors
/// [`TamperError::Accepted`] above all.
pub async fn ballot(election: &Election, rng: &mut impl CryptoRng) -> Result<String, TamperError> {
    let identity = election.party(Role::P1);
    let dial = Dial {
        address: identity.public_address(),
        anchor: identity.anchor(),
        leaf: None,
    };
    let mut party = connect::intake(dial.channel()?);
    let now_ms = party
        .clock(wire::ClockRequest {})
        .await
        .map_err(TamperError::Clock)?
        .into_inner()
        .now_ms;

    let of_box = election.manifest().boxes().first().ok_or(TamperError::NoBox)?;
    let context = ShareContext::ballot(election.id(), of_box);
    let packed = of_box.layout().pack_payload(0, 0, &[])?;
    let mut openings = split_ballot(of_box.layout(), &packed, rng)?;
    let commitments = context.commit_all(&openings);
    let first = &openings[0];
    let mut share = Zeroizing::new(first.share().to_vec());
    share[0] ^= 1;
    openings[0] = Opening::from_parts(Zeroizing::new(*first.nonce()), share);

    let cast_at = UnixSeconds(now_ms / 1000);
    let header = BallotHeader::online(election.id().clone(), of_box.id(), cast_at, commitments);
    let ciphertext = context.seal(Role::P1, identity.sealing_key(), &header.digest(), &openings, rng)?;
    let submission = wire::Submission {
        header: Some(header.to_wire()),
        ciphertext: Bytes::from(ciphertext),
        authority_signature: Vec::new(),
        ciphertext_hashes: Vec::new(),
    };
    match party.submit(submission).await {
        Ok(_) => Err(TamperError::Accepted),
        Err(status) => match Refusal::from_status(&status) {
            Some(refusal) => Ok(format!(
                "{} (P1) refused: {refusal}. {}",
                identity.agency(),
                refusal.reason.action()
            )),
            None => Err(TamperError::Unreasoned(status)),
        },
    }
}
