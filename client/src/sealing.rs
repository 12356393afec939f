//! Making a ballot: packing, splitting into shares, committing, sealing to each party.
//!
//! The plain ballot and its shares live in memory only while this runs, and are zeroised.

use bytes::Bytes;
use rand::CryptoRng;
use tally_mpc::layout::LayoutError;
use tally_proto::ballot::{BallotHeader, StationMark, sign_authority};
use tally_proto::disclosure::Disclosure;
use tally_proto::envelope::Signer;
use tally_proto::ids::{Digest, Hash32, Role, UnixSeconds};
use tally_proto::invitation::{Invitation, InvitationError};
use tally_proto::manifest::BallotBox;
use tally_proto::shares::{Opening, ShareContext, ShareError, split_ballot};
use tally_proto::ticket::OwnTicket;
use thiserror::Error;

use crate::choice::Choices;
use crate::election::{Election, ElectionError};
use crate::parcel::Parcel;
use crate::station::StationVote;

/// Why a ballot could not be made.
#[derive(Debug, Error)]
pub enum SealError {
    /// No such box.
    #[error(transparent)]
    Election(#[from] ElectionError),
    /// The invitation is not for this election.
    #[error(transparent)]
    Invitation(#[from] InvitationError),
    /// The choices were made on another ballot paper, or the voter's number does not fit the roll.
    #[error("the ballot does not fit this box: {0}")]
    Layout(#[from] LayoutError),
    /// A party's key cannot be sealed to.
    #[error("the ballot could not be sealed: {0}")]
    Share(#[from] ShareError),
}

/// A ballot of an invitation, and what opens its choice to another device. The same for every credential.
pub(crate) fn seal_online(
    election: &Election,
    invitation: &Invitation,
    choices: &Choices,
    cast_at: UnixSeconds,
    ticket: Option<&OwnTicket>,
    rng: &mut impl CryptoRng,
) -> Result<(Parcel, Disclosure), SealError> {
    let of_box = election.ballot_box(invitation.of_box())?;
    let credential = invitation.credential_for(&election.manifest_hash())?;
    let packed = of_box.layout().pack(
        invitation.voter().0,
        credential.expose(),
        choices.packed().choices(),
    )?;
    let openings = split_ballot(of_box.layout(), &packed, rng)?;
    let header = |commitments| {
        let header = BallotHeader::online(election.id().clone(), of_box.id(), cast_at, commitments);
        match ticket {
            None => header,
            Some(own) => header.with_ticket(own.ticket().clone()),
        }
    };
    let (header, ciphertexts) = seal(election, of_box, &openings, header, rng)?;
    let parcel = match ticket {
        None => Parcel::new(header, ciphertexts, Bytes::new()),
        Some(own) => Parcel::with_ticket(header, ciphertexts, own),
    };
    let disclosure = Disclosure::of(&election.manifest_hash(), of_box, parcel.digest(), &openings);
    Ok((parcel, disclosure))
}

/// A station's ballot. It needs no credential: the field is zero.
pub(crate) fn seal_at_station(
    election: &Election,
    signer: &Signer,
    mark: StationMark,
    cast_at: UnixSeconds,
    vote: &StationVote,
    rng: &mut impl CryptoRng,
) -> Result<Parcel, SealError> {
    let of_box = election.ballot_box(vote.box_id)?;
    let layout = of_box.layout();
    let packed = match &vote.choices {
        Some(choices) => layout.pack(vote.index.0, 0, choices.packed().choices())?,
        None => layout.pack_payload(vote.index.0, 0, &[])?,
    };
    let openings = split_ballot(layout, &packed, rng)?;
    let paper = vote.choices.is_none();
    let id = election.id().clone();
    let header = |commitments| BallotHeader::station(id, of_box.id(), paper, cast_at, commitments, mark);
    let (header, ciphertexts) = seal(election, of_box, &openings, header, rng)?;
    let signature = Bytes::copy_from_slice(&sign_authority(signer, &header.digest()).0);
    Ok(Parcel::new(header, ciphertexts, signature))
}

fn seal(
    election: &Election,
    of_box: &BallotBox,
    openings: &[Opening; 3],
    header: impl FnOnce([Hash32; 3]) -> BallotHeader,
    rng: &mut impl CryptoRng,
) -> Result<(BallotHeader, [Bytes; 3]), SealError> {
    let context = ShareContext::ballot(election.id(), of_box);
    let header = header(context.commit_all(openings));
    let digest = header.digest();
    let mut to = |party: Role, digest: &Digest| {
        let key = election.party(party).sealing_key();
        context.seal(party, key, digest, openings, rng).map(Bytes::from)
    };
    let ciphertexts = [
        to(Role::P1, &digest)?,
        to(Role::P2, &digest)?,
        to(Role::P3, &digest)?,
    ];
    Ok((header, ciphertexts))
}
