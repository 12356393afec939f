//! Why an enrolment by card is refused, each with a sentence that helps the voter.

use crate::decode::DecodeError;
use crate::ids::{RegisterId, UnixSeconds};
use crate::reason::Reason;

/// Why the certificate of an authority cannot stand in a register. Completes a sentence that names it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// Not read here.
    #[error("cannot be used: {0}")]
    Unreadable(&'static str),
    /// The certificate of somebody.
    #[error("is not the certificate of a certification authority: name that of whoever issues the cards")]
    NoAuthority,
    /// Not for certificates.
    #[error(
        "may not issue certificates: its key usage lacks keyCertSign; name the authority that issues the cards"
    )]
    NoCertSign,
    /// Not for revocation lists.
    #[error(
        "may not sign revocation lists: its key usage lacks cRLSign, so none of its lists would count and nobody could enrol; name an authority that signs its own lists"
    )]
    NoListSign,
    /// Its own key.
    #[error(
        "has a key whose signatures cannot be checked here: {0}; keys of authorities are RSA of 2048 to 8192 bits, P-256, P-384 or P-521"
    )]
    Key(String),
    /// Signed in a way that is not checked here.
    #[error(
        "is signed in a way that cannot be checked here: {0}; it may be RSA (PKCS#1 or PSS) or ECDSA with SHA-256, SHA-384 or SHA-512 (P-256: not SHA-512, P-521: not SHA-256). Or name it among the roots too: then nothing above it is asked for"
    )]
    Signature(String),
    /// Somebody of the right name, another key.
    #[error(
        "is not signed by the authority of that name in this register: one of the two files is of another generation of the hierarchy"
    )]
    NotSigned,
    /// Nobody above it.
    #[error(
        "leads to no root of the register: name the certificate of its issuer ({0}) among the roots, or among the issuing CAs if a root stands above that"
    )]
    NoRoot(String),
    /// Too early, too late, or too long a chain.
    #[error(
        "leads to no root that holds when enrolment opens or closes: it or an authority above it is not valid then, or the chain is longer than one of them permits"
    )]
    NotAtThatTime,
}

/// Why an enrolment by card was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// Bytes refused at the door.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Not of the form that it should have.
    #[error("not a card's authorisation: {0}")]
    Malformed(&'static str),
    /// None, or others than the voter's.
    #[error(
        "a card's authorisation has the voter's certificate and no other, this has {0}: the register brings those above it"
    )]
    Certificates(usize),
    /// An unknown way of signing.
    #[error("card signature scheme {0} is not known")]
    Scheme(i32),
    /// Of another election.
    #[error("the card stated a draw code for another election than the one that it was brought to")]
    OtherElection,
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
    /// Issued by nobody whom the register names.
    #[error(
        "the certificate was not issued by an authority of this register: perhaps another card is in the reader, or one of another country"
    )]
    OtherIssuer,
    /// The issuing CA's chain does not hold at the time.
    #[error(
        "the authority that issued the certificate is itself not valid at this time: the election commission must see to it"
    )]
    IssuerNotValid,
    /// Not for this.
    #[error(
        "the certificate is not the one for enrolment: {0}; a card has one certificate to log in with and one to sign documents, and this takes only the kind that the election says"
    )]
    Purpose(&'static str),
    /// Too weak, or of an unknown kind.
    #[error("the card's key cannot be taken: {0}; a newer card is needed")]
    WeakKey(&'static str),
    /// Expired.
    #[error("the certificate on the card expired at {until}: renew it, or vote at a polling station")]
    Expired {
        /// The last second.
        until: UnixSeconds,
    },
    /// Not valid yet.
    #[error(
        "the certificate on the card is not valid before {from}: check this device's clock, or wait until it is"
    )]
    NotYetValid {
        /// The first second.
        from: UnixSeconds,
    },
    /// The field that should name the voter is missing, twice there, or begins otherwise.
    #[error("the certificate does not name its holder in the way that this election needs")]
    NamesNobody,
    /// The card's signature does not verify.
    #[error("the card's signature does not verify: take the card out, put it in again and repeat")]
    Signature,
    /// Revoked.
    #[error(
        "the certificate on the card was revoked: it was reported lost, replaced or withdrawn; use the new card, or ask the office that issued it"
    )]
    Revoked,
    /// No list.
    #[error(
        "there is no revocation list here of the authority that issued the certificate: the operator must fetch it; nothing is wrong with the card"
    )]
    NoList,
    /// Lists for other certificates.
    #[error(
        "this party has revocation lists of the authority that issued the certificate, but none that covers it: its operator must fetch the one at {at}; nothing is wrong with the card"
    )]
    OtherLists {
        /// Where the certificate says that its list is.
        at: String,
    },
    /// An old list.
    #[error(
        "the revocation list here ended at {ended}: the operator must fetch a new one; nothing is wrong with the card"
    )]
    StaleList {
        /// Its nextUpdate.
        ended: UnixSeconds,
    },
    /// Not on the roll.
    #[error(
        "the person whom the card names is not on the roll of this election: ask the election commission, or vote where you are registered"
    )]
    NotOnRoll,
    /// Outside the window.
    #[error("records are signed from {opens} to {closes}, this one was at {signed_at}")]
    Window {
        /// First.
        opens: UnixSeconds,
        /// Last.
        closes: UnixSeconds,
        /// The record's.
        signed_at: UnixSeconds,
    },
    /// Far from the clock of whoever takes it.
    #[error(
        "the card's signature is dated {signed_at}, and the clock here shows {now}: set this device's clock, then repeat"
    )]
    Clock {
        /// The card's.
        signed_at: UnixSeconds,
        /// The clock's.
        now: UnixSeconds,
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
            Self::OtherIssuer | Self::IssuerNotValid => Reason::CardIssuer,
            Self::Purpose(_) => Reason::CardPurpose,
            Self::WeakKey(_) => Reason::CardWeakKey,
            Self::Expired { .. } => Reason::CardExpired,
            Self::NotYetValid { .. } => Reason::CardNotYetValid,
            Self::NamesNobody => Reason::CardNamesNobody,
            Self::Signature => Reason::CardSignature,
            Self::Revoked => Reason::CardRevoked,
            Self::NoList | Self::OtherLists { .. } | Self::StaleList { .. } => Reason::CardRevocationList,
            Self::NotOnRoll => Reason::CardNotOnRoll,
            Self::Window { .. } | Self::Clock { .. } => Reason::CardSignedAt,
            Self::OtherElection => Reason::ElectionOther,
            Self::NoRegister | Self::OtherRegister { .. } => Reason::CardRegister,
        }
    }
}
