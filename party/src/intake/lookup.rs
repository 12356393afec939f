//! What a party tells anyone who has a digest: whether it accepted it, the public header, and after sealing what became of it. All of it is public then;
//! whose ballot it is, nobody knows.
//!
//! **When it came and where it stands in the log is told to the ballot's holder only** ([`tally_proto::holder`]). Once the digests are published anybody
//! has them, and three logs tell the order in which ballots came. Set beside what an employer or a telephone company has noted of the network,
//! with a few ballots of one's own for calibration, an order tells far more than the second in a header does. For the same reason the use of a ticket stays
//! here: it names the hashes of the ciphertexts, with which a leaf is found in a log.

use std::sync::Arc;

use tally_proto::holder::is_holder;
use tally_proto::ids::{BoxId, Digest};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::shares::ShareContext;
use tally_proto::wire;
use tally_proto::wire::ballot_header::Authority;
use tally_proto::wire::lookup_reply::Public;
use tally_proto::wire::sealed_fate::Fate as WireFate;

use super::stored_receipt;
use crate::elections::Election;
use crate::party::Party;
use crate::sealing::fate::{self, Fate};
use crate::store::accepted::{self, Accepted};
use crate::store::{Kind, StoreError};

impl Party {
    /// What is known here of a digest. Nothing at all is an answer too.
    ///
    /// # Errors
    /// `election.unknown`, `box.unknown`, `message.malformed`, or the store.
    pub async fn lookup(self: &Arc<Self>, of: wire::LookupRequest) -> Result<wire::LookupReply, Refusal> {
        let digest =
            Digest::from_slice(&of.digest).map_err(|error| Refusal::new(Reason::MessageMalformed, error))?;
        let kind = if of.record { Kind::Record } else { Kind::Ballot };
        let election = self.elections.get(&of.election)?;
        let of_box = BoxId(of.r#box);
        election.ballot_box(of_box)?;
        self.blocking(move |party| {
            let number = election.number();
            let (stored, filled, fate) = party.store.read(|tx| {
                let stored = accepted::get(tx, kind, number, of_box.get(), digest.as_bytes())?;
                let filled = match stored {
                    Some(_) => None,
                    None => fate::filled(tx, (number, of_box.get()), kind, &digest)?,
                };
                let fate = fate::of_digest(tx, (number, of_box.get()), kind, &digest)?;
                Ok::<_, StoreError>((stored, filled, fate))
            })?;
            let mut reply = wire::LookupReply {
                accepted: stored.is_some(),
                ..Default::default()
            };
            if let Some(stored) = &stored
                && kind == Kind::Ballot
                && party.is_holder(&election, of_box, &digest, stored, &of.holder)?
            {
                let id = election.manifest().election();
                reply.receipt = Some(stored_receipt(party.role, id, of_box, digest, stored)?.to_wire());
            }
            let public = stored
                .map(|row| (row.header, row.authority_signature))
                .or_else(|| filled.map(|row| (row.header, row.authority_signature)));
            if let Some((header, authority_signature)) = public {
                reply.public = Some(decode(kind, &header)?);
                // A card's certificates name the voter: they stay here.
                let of_card =
                    matches!(&reply.public, Some(Public::RecordHeader(header)) if header.card.is_some());
                let ticket =
                    |header: &wire::BallotHeader| matches!(header.authority, Some(Authority::Ticket(_)));
                let of_ticket = matches!(&reply.public, Some(Public::Ballot(header)) if ticket(header));
                if !of_card && !of_ticket {
                    reply.authority_signature = authority_signature;
                }
                // A record for an open roll names the voter's number. Until the bundle does so for all, it would show somebody who knows a voter's number
                // that the voter enrols anew.
                let numbered = |header: &wire::RecordHeader| {
                    header.card.as_ref().is_some_and(|card| card.place.is_some())
                };
                if fate.is_none()
                    && matches!(&reply.public, Some(Public::RecordHeader(header)) if numbered(header))
                {
                    reply.public = None;
                }
            }
            reply.sealed = fate.map(|(seal, fate)| wire::SealedFate {
                seal_hash: seal.0.to_vec(),
                fate: Some(match fate {
                    Fate::Listed => WireFate::OnList(true),
                    Fate::Excluded(reason) => WireFate::Excluded(reason.code().to_owned()),
                    Fate::NoCandidate => WireFate::NoCandidate(true),
                    Fate::Superseded => WireFate::Superseded(true),
                }),
            });
            Ok(reply)
        })
        .await
    }

    /// Whether `shown` is what the holder of a ballot has that this party accepted.
    fn is_holder(
        &self,
        election: &Election,
        of_box: BoxId,
        digest: &Digest,
        stored: &Accepted,
        shown: &[u8],
    ) -> Result<bool, Refusal> {
        if shown.is_empty() {
            return Ok(false);
        }
        let of_box = election.ballot_box(of_box)?;
        let corrupt = || StoreError::Corrupt { table: "accepted" };
        let packed = (self.vault)
            .open(
                Kind::Ballot,
                self.role.index(),
                digest.as_bytes(),
                &stored.sealed_shares,
            )
            .map_err(|_| corrupt())?;
        let shares = ShareContext::ballot(election.manifest().election(), of_box)
            .read(&packed)
            .map_err(|_| corrupt())?;
        Ok(is_holder(of_box.layout(), self.role, digest, &shares, shown))
    }
}

/// The header as it was taken, for the wire.
fn decode(kind: Kind, bytes: &[u8]) -> Result<Public, StoreError> {
    use tally_proto::ballot::BallotHeader;
    use tally_proto::record::RecordHeader;
    Ok(match kind {
        Kind::Ballot => {
            let header = BallotHeader::decode(bytes).map_err(|_| StoreError::Corrupt { table: "ballots" })?;
            Public::Ballot(header.to_wire())
        }
        Kind::Record => {
            let header = RecordHeader::decode(bytes).map_err(|_| StoreError::Corrupt { table: "records" })?;
            Public::RecordHeader(header.to_wire())
        }
    })
}
