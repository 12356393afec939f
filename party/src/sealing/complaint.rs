//! Complaints about shares: the rules are [`tally_proto::complaint`]'s.

pub use tally_proto::complaint::ComplaintError;
pub(super) use tally_proto::complaint::{
    Complaint, Verdict, answer, common_share, judge, open_answer, verify_one,
};

use crate::store::Kind;

/// What a complaint is about.
pub(super) fn kind(complaint: &Complaint) -> Kind {
    if complaint.record {
        Kind::Record
    } else {
        Kind::Ballot
    }
}
