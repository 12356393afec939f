//! A refusal on its way: a stable reason and a detail for a person, to and from gRPC status. The only file that knows how.

use std::fmt;

use rustls::CertificateError;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::ids::UnixSeconds;
use crate::pki::PkiError;
use crate::reason::{Class, Reason};
use crate::wire;

/// The metadata key that carries the reason code.
pub const METADATA_KEY: &str = "tally-reason";

/// Longest detail in bytes that is sent.
const MAX_DETAIL_BYTES: usize = 1024;

/// Why something was refused or stopped: a stable code and what a person can act on. Never holds secrets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The stable code.
    pub reason: Reason,
    /// What was wrong, with which value.
    pub detail: String,
}

impl Refusal {
    /// A refusal for `reason`, saying `detail`. What steers a terminal or turns text around becomes U+FFFD: much of a detail comes from
    /// whoever is at the other end, and people read it on a terminal or in a log.
    pub fn new(reason: Reason, detail: impl fmt::Display) -> Self {
        let mut detail = plain(detail.to_string());
        if detail.len() > MAX_DETAIL_BYTES {
            let mut end = MAX_DETAIL_BYTES;
            while !detail.is_char_boundary(end) {
                end -= 1;
            }
            detail.truncate(end);
        }
        Self { reason, detail }
    }

    /// Reads the reason out of a status; `None` when it carries none that this version knows (a transport failure, for example).
    pub fn from_status(status: &Status) -> Option<Self> {
        let code = status.metadata().get(METADATA_KEY)?.to_str().ok()?;
        Some(Self::new(code.parse().ok()?, status.message()))
    }

    /// Like [`Refusal::from_status`], and what a bare transport failure stands for: the party is unreachable, busy, or failed.
    pub fn of_status(status: &Status) -> Self {
        Self::from_status(status).unwrap_or_else(|| {
            if let Some(expired) = expired(status) {
                return Self::new(Reason::CertificateExpired, expired);
            }
            if let Some(flaw) = certificate_flaw(status) {
                return Self::new(
                    Reason::PartyRefusedIdentity,
                    format_args!("the server that answers is not the party's own: {flaw}"),
                );
            }
            let reason = match status.code() {
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
                    Reason::PartyUnreachable
                }
                // A connection that is told to go away ends its waiting requests by this name.
                Code::Internal if causes(status).any(|error| error.is::<tonic::transport::Error>()) => {
                    Reason::PartyUnreachable
                }
                Code::ResourceExhausted => Reason::PartyBusy,
                Code::OutOfRange => Reason::MessageTooLarge,
                Code::PermissionDenied | Code::Unauthenticated => Reason::RoleRefused,
                Code::InvalidArgument => Reason::MessageMalformed,
                _ => Reason::Internal,
            };
            Self::new(reason, transport_words(status, reason))
        })
    }

    /// For a record refused within a stream.
    pub fn to_wire(&self, digest: &[u8]) -> wire::Refusal {
        wire::Refusal {
            digest: digest.to_vec(),
            reason: self.reason.code().into(),
            detail: self.detail.clone(),
        }
    }

    /// From a refusal within a stream; a code unknown to this version becomes `internal` with the code in the detail.
    pub fn from_wire(wire: &wire::Refusal) -> Self {
        match wire.reason.parse() {
            Ok(reason) => Self::new(reason, &wire.detail),
            Err(unknown) => Self::new(Reason::Internal, format_args!("{unknown}: {}", wire.detail)),
        }
    }

    fn code(&self) -> Code {
        match self.reason {
            Reason::ElectionUnknown | Reason::BoxUnknown | Reason::ObjectUnknown => Code::NotFound,
            Reason::RoleRefused | Reason::CertificateExpired | Reason::CertificateReplaced => {
                Code::PermissionDenied
            }
            Reason::BallotKnownOtherContent
            | Reason::ListAlready
            | Reason::SealAlready
            | Reason::TallyAlready
            | Reason::ManifestOther => Code::AlreadyExists,
            Reason::BallotBeforeOpening
            | Reason::BallotAfterClose
            | Reason::ManifestNotCountersigned
            | Reason::BoxPhase => Code::FailedPrecondition,
            other => match other.class() {
                Class::Retry => Code::Unavailable,
                Class::Reject => Code::InvalidArgument,
                Class::Abort => Code::Aborted,
                Class::Fatal => Code::Internal,
            },
        }
    }
}

/// Text of somebody else as it may reach a terminal: what steers one, or turns text around, becomes U+FFFD.
#[must_use]
pub fn plain(text: String) -> String {
    if text.contains(steers) {
        text.replace(steers, "\u{fffd}")
    } else {
        text
    }
}

/// Whether a character is no text: control characters, and marks that turn the direction of what follows.
pub(crate) fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What a failure of the transport comes to: its own words are often no more than "tcp connect error".
fn transport_words(status: &Status, reason: Reason) -> String {
    use std::io::ErrorKind;
    if reason != Reason::PartyUnreachable {
        return format!("{}: {}", status.code(), status.message());
    }
    let io = causes(status).find_map(|error| error.downcast_ref::<std::io::Error>());
    match io.map(std::io::Error::kind) {
        Some(ErrorKind::ConnectionRefused) => "nothing listens at its address".to_owned(),
        Some(
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::UnexpectedEof,
        ) => "the connection broke off".to_owned(),
        Some(ErrorKind::TimedOut) => "no answer in time".to_owned(),
        _ if status.code() == Code::DeadlineExceeded => "no answer in time".to_owned(),
        _ => {
            let root = causes(status).last().map(ToString::to_string);
            match root.filter(|root| !status.message().contains(root.as_str())) {
                Some(root) => format!("no answer: {}: {root}", status.message()),
                None => format!("no answer: {}", status.message()),
            }
        }
    }
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(status), |error| error.source())
}

/// Why the certificate that a server showed was not believed, if that is why there is no connection.
fn certificate_flaw(status: &Status) -> Option<&rustls::Error> {
    causes(status).find_map(|error| {
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(|io| io.get_ref()?.downcast_ref::<rustls::Error>());
        inner
            .or_else(|| error.downcast_ref())
            .filter(|error| matches!(error, rustls::Error::InvalidCertificate(_)))
    })
}

/// Whose certificate has ended and when, if that is why there is no connection.
fn expired(status: &Status) -> Option<String> {
    if let Some(own) = causes(status).find_map(|error| error.downcast_ref::<PkiError>()) {
        return match own {
            PkiError::Expired { .. } => Some(format!("{own}; it is the one that the caller shows")),
            _ => None,
        };
    }
    match certificate_flaw(status) {
        Some(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            let ended = UnixSeconds(not_after.as_secs());
            return Some(format!(
                "the certificate of the server that answers ended at {ended}"
            ));
        }
        Some(rustls::Error::InvalidCertificate(CertificateError::Expired)) => {
            return Some("the certificate of the server that answers has ended".to_owned());
        }
        _ => {}
    }
    // The transport keeps the alert as text only.
    let told = causes(status).any(|error| error.to_string().contains("CertificateExpired"));
    told.then(|| "the server says that the certificate which the caller shows has ended; by the caller's clock it has not".to_owned())
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.reason.code())
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut status = Self::new(refusal.code(), refusal.detail.clone());
        status
            .metadata_mut()
            .insert(METADATA_KEY, MetadataValue::from_static(refusal.reason.code()));
        status
    }
}

impl From<crate::decode::DecodeError> for Refusal {
    fn from(error: crate::decode::DecodeError) -> Self {
        use crate::decode::DecodeError;
        let reason = match error {
            DecodeError::TooLarge { .. } => Reason::MessageTooLarge,
            DecodeError::Malformed { .. } | DecodeError::TooManyFields { .. } => Reason::MessageMalformed,
            DecodeError::NotCanonical { .. } => Reason::MessageNotCanonical,
        };
        Self::new(reason, error)
    }
}

impl From<crate::envelope::EnvelopeError> for Refusal {
    fn from(error: crate::envelope::EnvelopeError) -> Self {
        use crate::envelope::EnvelopeError;
        match error {
            EnvelopeError::Decode(error) => error.into(),
            EnvelopeError::BadKey
            | EnvelopeError::SignatureLength(_)
            | EnvelopeError::SeedLength(_)
            | EnvelopeError::TooManySignatures(_) => Self::new(Reason::MessageMalformed, error),
            EnvelopeError::UnknownSigner { .. }
            | EnvelopeError::DuplicateSigner { .. }
            | EnvelopeError::MissingSigner { .. }
            | EnvelopeError::BadSignature { .. } => Self::new(Reason::SignatureBad, error),
        }
    }
}

impl From<crate::ids::IdError> for Refusal {
    fn from(error: crate::ids::IdError) -> Self {
        Self::new(Reason::MessageMalformed, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_the_wire() {
        for reason in Reason::ALL {
            let refusal = Refusal::new(*reason, "box 7: \u{e4}rger");
            let status = Status::from(refusal.clone());
            assert_ne!(status.code(), Code::Ok);
            assert_eq!(Refusal::from_status(&status), Some(refusal.clone()));
            assert_eq!(Refusal::from_wire(&refusal.to_wire(&[1])), refusal);
        }
    }

    #[test]
    fn a_status_without_reason_is_a_transport_failure() {
        let status = Status::unavailable("connection refused");
        assert_eq!(Refusal::from_status(&status), None);
        assert_eq!(Refusal::of_status(&status).reason, Reason::PartyUnreachable);
    }

    #[test]
    fn a_transport_failure_is_said_in_words() {
        use std::io::{Error, ErrorKind};
        for (kind, words) in [
            (ErrorKind::ConnectionRefused, "nothing listens at its address"),
            (ErrorKind::UnexpectedEof, "the connection broke off"),
            (ErrorKind::ConnectionReset, "the connection broke off"),
            (ErrorKind::TimedOut, "no answer in time"),
        ] {
            let status = Status::from_error(Box::new(Error::from(kind)));
            let refusal = Refusal::of_status(&status);
            assert_eq!(
                (refusal.reason, refusal.detail.as_str()),
                (Reason::PartyUnreachable, words)
            );
        }
        let late = Refusal::of_status(&Status::deadline_exceeded("timeout"));
        assert_eq!(late.detail, "no answer in time");
        let other = Refusal::of_status(&Status::unavailable("name not found"));
        assert_eq!(other.detail, "no answer: name not found");
    }

    #[test]
    fn what_steers_a_terminal_reaches_no_person() {
        let malicious = "\u{1b}[2Jyour ballot \u{202e}is counted\r\n\u{9b}31m\u{7f}";
        let stated = "\u{fffd}[2Jyour ballot \u{fffd}is counted\u{fffd}\u{fffd}\u{fffd}31m\u{fffd}";
        assert_eq!(Refusal::new(Reason::Internal, malicious).detail, stated);
        let mut status = Status::internal(malicious);
        let code = MetadataValue::from_static(Reason::Internal.code());
        status.metadata_mut().insert(METADATA_KEY, code);
        assert_eq!(Refusal::of_status(&status).detail, stated);
        assert!(
            !Refusal::of_status(&Status::data_loss(malicious))
                .detail
                .contains(steers)
        );
    }

    #[test]
    fn a_long_detail_is_cut_at_a_character() {
        let refusal = Refusal::new(Reason::Internal, "\u{e4}".repeat(1000));
        assert!(refusal.detail.len() <= MAX_DETAIL_BYTES);
    }
}
