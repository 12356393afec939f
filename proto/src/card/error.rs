//! Why an enrolment by card is refused, each with a sentence that helps the voter.

use crate::decode::DecodeError;
use crate::ids::RegisterId;
use crate::reason::Reason;

/// Why an enrolment by card was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// Bytes refused at the door.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Not of the form that it should have.
    #[error("not a card's authorisation: {0}")]
    Malformed(&'static str),
    /// None or too many.
    #[error("a card's authorisation has 1 to {max} certificates, this has {0}", max = super::MAX_CERTIFICATES)]
    Certificates(usize),
    /// An unknown way of signing.
    #[error("card signature scheme {0} is not known")]
    Scheme(i32),
    /// The election has no register.
    #[error("this election does not take enrolment by card")]
    NoRegister,
    /// Another register.
    #[error("the record is for register {actual}, this election's is {expected}")]
    OtherRegister {
        /// The election's.
        expected: RegisterId,
        /// The record's.
        actual: RegisterId,
    },
    /// Serial and time differ.
    #[error("the serial of a card record is the second in which it was signed")]
    Serial,
}

impl CardError {
    /// The stable reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Decode(error) => crate::refusal::Refusal::from(error.clone()).reason,
            Self::Malformed(_) | Self::Certificates(_) | Self::Scheme(_) | Self::Serial => {
                Reason::CardMalformed
            }
            Self::NoRegister | Self::OtherRegister { .. } => Reason::CardRegister,
        }
    }
}
