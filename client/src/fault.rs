//! What went wrong with one party, so that a voter can be told which and why.

use tally_proto::ids::Role;
use tally_proto::reason::{Class, Reason};
use tally_proto::refusal::Refusal;
use thiserror::Error;

/// One party did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// It could not be reached, or is too busy: trying again may help.
    #[error("{agency} ({party}) could not be reached: {refusal}")]
    Away {
        /// Which party.
        party: Role,
        /// Who runs it.
        agency: String,
        /// What stands for the failure.
        refusal: Refusal,
    },
    /// It refused, and will again.
    #[error("{agency} ({party}) refused: {refusal}. {}", .refusal.reason.action())]
    Refused {
        /// Which party.
        party: Role,
        /// Who runs it.
        agency: String,
        /// Its reason.
        refusal: Refusal,
    },
    /// What it says of a ballot or of its log is false, by its own signatures or by hashes.
    #[error("{agency} ({party}) {what}. Tell the election commission")]
    FalseAnswer {
        /// Which party.
        party: Role,
        /// Who runs it.
        agency: String,
        /// The stable reason.
        reason: Reason,
        /// What is false.
        what: String,
        /// The party's own signatures that do not fit together: signed notes, and encoded receipts in hexadecimal. Two notes of one size with
        /// different roots convict by themselves; with any others the auditor asks the party for the path between them, which an honest one has.
        /// (Signatures bear no order: an old note with a later receipt proves nothing to who did not see which came first.)
        evidence: Vec<String>,
    },
    /// It shows a log so far into which neither of the two others has seen, and both say so. It may be slow, or cut off from them; or this device is shown
    /// a log of its own.
    #[error(
        "{agency} ({party}) shows the ballot at place {} of its log, and neither of the two other parties has seen that far. {}",
        .position + 1, Reason::LogUnseen.action()
    )]
    Unseen {
        /// Which party.
        party: Role,
        /// Who runs it.
        agency: String,
        /// The ballot's place in what it shows.
        position: u64,
    },
    /// It says that it accepted the ballot, and does not show its receipt. Either the words are not those of the ballot's holder, or it withholds it.
    #[error(
        "{agency} ({party}) says that it accepted the ballot, and shows no receipt for it. {}",
        Reason::ReceiptWithheld.action()
    )]
    Withheld {
        /// Which party.
        party: Role,
        /// Who runs it.
        agency: String,
    },
    /// It answered with a receipt that proves nothing.
    #[error("{agency} ({party}) gave a false receipt: {what}. Tell the election commission")]
    FalseReceipt {
        /// Which party.
        party: Role,
        /// Who runs it.
        agency: String,
        /// What is false about it.
        what: String,
    },
}

impl Fault {
    /// What a refusal by `party` means for the one who asked.
    pub(crate) fn of(party: Role, agency: &str, refusal: Refusal) -> Self {
        let agency = agency.to_owned();
        match refusal.reason.class() {
            // Somebody else's server answered at its address, or one whose certificate has ended: it said nothing about the ballot, and the next
            // one may be the party's own.
            _ if matches!(
                refusal.reason,
                Reason::PartyRefusedIdentity | Reason::CertificateExpired | Reason::CertificateReplaced
            ) =>
            {
                Self::Away {
                    party,
                    agency,
                    refusal,
                }
            }
            Class::Retry | Class::Fatal => Self::Away {
                party,
                agency,
                refusal,
            },
            Class::Reject | Class::Abort => Self::Refused {
                party,
                agency,
                refusal,
            },
        }
    }

    /// The party it is about.
    pub fn party(&self) -> Role {
        match self {
            Self::Away { party, .. }
            | Self::Refused { party, .. }
            | Self::FalseAnswer { party, .. }
            | Self::Unseen { party, .. }
            | Self::Withheld { party, .. }
            | Self::FalseReceipt { party, .. } => *party,
        }
    }

    /// The stable reason code.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Away { refusal, .. } | Self::Refused { refusal, .. } => refusal.reason,
            Self::FalseAnswer { reason, .. } => *reason,
            Self::Unseen { .. } => Reason::LogUnseen,
            Self::Withheld { .. } => Reason::ReceiptWithheld,
            Self::FalseReceipt { .. } => Reason::ReceiptInvalid,
        }
    }

    /// Whether it is something false that the party said, and no failure.
    pub fn is_false(&self) -> bool {
        matches!(self, Self::FalseAnswer { .. } | Self::FalseReceipt { .. })
    }

    /// What proves it to anyone, where something does: signed notes, and encoded receipts in hexadecimal.
    pub fn evidence(&self) -> &[String] {
        match self {
            Self::FalseAnswer { evidence, .. } => evidence,
            _ => &[],
        }
    }

    /// Whether trying the same again may help.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::Unseen { .. })
    }

    /// Whether the ballot's ticket was used by another: a copy of this device, or a process that was killed at the wrong moment. Another one
    /// will do.
    pub(crate) fn is_of_ticket(&self) -> bool {
        matches!(self, Self::Refused { refusal, .. } if refusal.reason == Reason::TicketSpent)
    }

    /// Whether a ballot cast at another moment may be taken: the clocks moved on while this one was on its way.
    pub(crate) fn is_of_time(&self) -> bool {
        matches!(self, Self::Refused { refusal, .. } if refusal.reason == Reason::BallotCastAtOutOfRange)
    }
}
