//! Two different signed statements of one party where it may make one only: proof against it, whoever carries them.

use super::claims::{Claims, ClaimsError};
use super::list::{ListError, SignedList};
use super::seal::{Seal, SealPayloadError};
use crate::envelope::{Envelope, EnvelopeError, Kind, PublicKey};
use crate::ids::{BoxId, ElectionId, Role, RoleExt as _};

/// Why two envelopes cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// A List.
    #[error(transparent)]
    List(#[from] ListError),
    /// Claims.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// A Seal.
    #[error(transparent)]
    Seal(#[from] SealPayloadError),
    /// A signature.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Of a kind that a party may sign many of.
    #[error("a party signs many a {0}: two different ones prove nothing")]
    Kind(Kind),
    /// One of them is not of the party in question.
    #[error("the {kind} is of {actual}, not of {expected}")]
    Party {
        /// Which kind.
        kind: Kind,
        /// In question.
        expected: Role,
        /// Whose it is.
        actual: Role,
    },
}

/// What two validly signed statements of one party say of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Statements {
    /// The same statement.
    Same,
    /// About different boxes or elections: nothing follows.
    Unrelated,
    /// Two different ones about the same box: the party is convicted.
    Contradict,
}

/// Compares two Lists, Claims or Seals of `party`. A Seal must carry the party's signature; others may be there.
///
/// # Errors
/// [`StatementError`]: one of them is not what it should be, and proves nothing.
pub fn check_two_statements(
    kind: Kind,
    party: Role,
    keys: &[PublicKey; 3],
    one: &Envelope,
    other: &Envelope,
) -> Result<Statements, StatementError> {
    let (first, second) = (
        subject(kind, party, keys, one)?,
        subject(kind, party, keys, other)?,
    );
    Ok(if one.payload() == other.payload() {
        Statements::Same
    } else if first == second {
        Statements::Contradict
    } else {
        Statements::Unrelated
    })
}

fn subject(
    kind: Kind,
    party: Role,
    keys: &[PublicKey; 3],
    envelope: &Envelope,
) -> Result<(ElectionId, BoxId), StatementError> {
    let (election, of_box, actual) = match kind {
        Kind::List => {
            let signed = SignedList::open(envelope.clone(), keys)?;
            (
                signed.list().election.clone(),
                signed.list().of_box,
                signed.list().party,
            )
        }
        Kind::Claims => {
            let (claims, _) = Claims::open(envelope, keys)?;
            (claims.election, claims.of_box, claims.party)
        }
        Kind::Seal => {
            let signed = envelope.verify(kind, keys)?;
            if signed.get(party.slot()) != Some(&true) {
                return Err(EnvelopeError::MissingSigner {
                    kind,
                    key: keys[party.slot()],
                }
                .into());
            }
            let seal = Seal::decode(envelope.payload())?;
            (seal.election, seal.of_box, party)
        }
        other => return Err(StatementError::Kind(other)),
    };
    if actual != party {
        return Err(StatementError::Party {
            kind,
            expected: party,
            actual,
        });
    }
    Ok((election, of_box))
}
