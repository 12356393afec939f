//! What became of a digest: on the sealed list, out for a reason, or never a candidate. Public once the box is sealed.

use tally_proto::ids::{Digest, Hash32, Role};
use tally_proto::reason::Reason;
use tally_proto::record::RecordHeader;

use super::fill::needed;
use super::seal::card_voter;
use super::tables::{self, BoxKey};
use crate::store::{Kind, StoreError, Tables, accepted};

/// What the Seal says of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Among the rows, or a record that stands.
    Listed,
    /// Out by a public check.
    Excluded(Reason),
    /// Too few accepted it in time.
    NoCandidate,
    /// A record that another stands for, or half of a split issue that does not stand.
    Superseded,
}

/// A public header and the signature of its authority, as stored.
pub(crate) struct Public {
    /// Canonical protobuf bytes.
    pub(crate) header: Vec<u8>,
    /// Empty where there is none.
    pub(crate) authority_signature: Vec<u8>,
}

/// The public part of what the others gave this party.
pub(crate) fn filled(
    tx: &impl Tables,
    (election, of_box): (u32, u32),
    kind: Kind,
    digest: &Digest,
) -> Result<Option<Public>, StoreError> {
    let row = tables::filled(tx, BoxKey { election, of_box }, kind, &digest.0)?;
    Ok(row.map(|row| Public {
        header: row.header,
        authority_signature: row.authority_signature,
    }))
}

/// The hash of the Seal and what it says of `digest`; `None` before three signatures are here. Reads a few pages.
///
/// # Errors
/// [`StoreError`].
pub(crate) fn of_digest(
    tx: &impl Tables,
    (election, of_box): (u32, u32),
    kind: Kind,
    digest: &Digest,
) -> Result<Option<(Hash32, Fate)>, StoreError> {
    let key = BoxKey { election, of_box };
    let Some(hash) = tables::whole_hash(tx, key)? else {
        return Ok(None);
    };
    let fate = match tables::excluded(tx, key, &digest.0)? {
        Some(reason) => Fate::Excluded(reason),
        None if !is_candidate(tx, key, kind, digest)? => Fate::NoCandidate,
        None => match kind {
            Kind::Ballot => Fate::Listed,
            Kind::Record if stands(tx, key, digest)? => Fate::Listed,
            Kind::Record => Fate::Superseded,
        },
    };
    Ok(Some((Hash32(hash), fate)))
}

fn is_candidate(tx: &impl Tables, key: BoxKey, kind: Kind, digest: &Digest) -> Result<bool, StoreError> {
    let mut acceptances = 0;
    for party in Role::ALL {
        let accepts = tables::lists(tx, key, party.index(), kind, &digest.0)?
            || tables::is_claimed(tx, key, &digest.0, party.index())?;
        acceptances += usize::from(accepts);
    }
    Ok(acceptances >= needed(kind))
}

fn stands(tx: &impl Tables, key: BoxKey, digest: &Digest) -> Result<bool, StoreError> {
    let stored = match accepted::get(tx, Kind::Record, key.election, key.of_box, &digest.0)? {
        Some(row) => Some((row.header, row.authority_signature)),
        None => {
            tables::filled(tx, key, Kind::Record, &digest.0)?.map(|row| (row.header, row.authority_signature))
        }
    };
    let Some((header, authority)) = stored else {
        return Ok(false);
    };
    let header = RecordHeader::decode(&header).map_err(|_| StoreError::Corrupt { table: "records" })?;
    let (voter, part) = match header.issue() {
        Some(issue) => (issue.voter, u8::try_from(issue.half.number()).unwrap_or(u8::MAX)),
        None => (card_voter(&authority)?.0, 0),
    };
    Ok(tables::standing(tx, key, voter.get(), part)? == Some(digest.0))
}
