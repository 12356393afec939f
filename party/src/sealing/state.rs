//! Signed statements: who is named, for what, on what ground.

use prost::Message as _;
use tally_proto::decode::decode_canonical;
use tally_proto::envelope::{Envelope, Kind as Signed, MAX_ENVELOPE_BYTES};
use tally_proto::ids::{Digest, Role, RoleExt as _};
use tally_proto::reason::Reason;
use tally_proto::sealing::MAX_PROOF_BYTES;
use tally_proto::wire;
use tally_proto::wire::evidence::Object;

use super::Inner;
use super::complaint::verify_one;
use super::error::{Basis, Finding, Lie, SealError};
use super::subject::Subject;

impl Inner {
    /// This party's signed statement of a finding; `with` brings the evidence.
    pub(super) fn state(&self, subject: &Subject, finding: &Finding, with: wire::Abort) -> Envelope {
        let abort = wire::Abort {
            election: subject.election.as_str().to_owned(),
            r#box: subject.of_box.get(),
            party: self.me.number(),
            reason: finding.lie.reason().code().to_owned(),
            step: "sealing".to_owned(),
            suspects: vec![finding.named.number()],
            proved: finding.basis == Basis::Proved,
            ..with
        };
        self.signer.seal_envelope(Signed::Abort, abort.encode_to_vec())
    }
}

impl Subject {
    /// Whether `statement` is signed by `by`, is about this box and names `named` alone.
    pub(super) fn names(&self, statement: &Envelope, by: Role, named: Role) -> bool {
        verify_one(statement, Signed::Abort, &self.keys[by.slot()]).is_ok()
            && decode_canonical::<wire::Abort>("statement", statement.payload(), MAX_ENVELOPE_BYTES)
                .is_ok_and(|abort| {
                    abort.election == self.election.as_str()
                        && abort.r#box == self.of_box.get()
                        && abort.party == by.number()
                        && abort.suspects == [named.number()]
                })
    }
}

/// A kept proof from the store: two statements of one party may each be as large as an envelope.
pub(super) fn kept(proof: &[u8]) -> Result<Envelope, SealError> {
    Ok(Envelope::decode_within(proof, MAX_PROOF_BYTES)?)
}

/// The finding in a kept proof; `None` where it was written by a later version.
pub(super) fn finding(proof: &Envelope) -> Result<Option<Finding>, SealError> {
    let abort: wire::Abort = decode_canonical("proof", proof.payload(), MAX_PROOF_BYTES)?;
    let lie = match (
        abort.reason.parse(),
        abort.evidence.first().and_then(|first| first.object.as_ref()),
    ) {
        (Ok(Reason::SealTwoLists), Some(Object::List(_))) => Lie::TwoLists,
        (Ok(Reason::SealTwoLists), Some(Object::Claims(_))) => Lie::TwoClaims,
        (Ok(Reason::SealTwoLists), Some(Object::Seal(_))) => Lie::TwoSeals,
        (Ok(Reason::SealDisagreement), _) => Lie::OtherSeal,
        (Ok(Reason::SealWrongKind), _) => Lie::WrongKind,
        (Ok(Reason::SessionHidden), _) => Lie::HidHoldings,
        (Ok(Reason::SealShareWrong), _) => Lie::WrongAnswer,
        (Ok(Reason::SealComplaintFalse), _) => Lie::FalseComplaint,
        _ => return Ok(None),
    };
    let named = abort
        .suspects
        .first()
        .and_then(|named| Role::from_number(*named).ok());
    let digest = match abort.evidence.first().and_then(|first| first.object.as_ref()) {
        Some(Object::Complaint(complaint)) => {
            let raw: wire::Complaint = decode_canonical("complaint", &complaint.payload, MAX_ENVELOPE_BYTES)?;
            Digest::from_slice(&raw.digest).ok()
        }
        _ => None,
    };
    Ok(named.map(|named| Finding {
        named,
        lie,
        basis: Basis::Proved,
        digest,
    }))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tally_proto::envelope::{MAX_SIGNATURES, Signer};

    use super::*;

    #[test]
    fn the_largest_proof_that_is_written_is_read_again() {
        let signer = Signer::from_seed(&[7; 32]).expect("32 bytes");
        let largest = wire::Envelope {
            payload: Bytes::from(vec![0; MAX_ENVELOPE_BYTES]),
            signatures: vec![signer.sign(Signed::Claims, b"Claims").to_wire(); MAX_SIGNATURES],
        };
        let claims = || wire::Evidence {
            object: Some(Object::Claims(largest.clone())),
        };
        let abort = wire::Abort {
            reason: Reason::SealTwoLists.code().to_owned(),
            suspects: vec![2],
            proved: true,
            evidence: vec![claims(), claims()],
            ..Default::default()
        };
        let proof = signer
            .seal_envelope(Signed::Abort, abort.encode_to_vec())
            .encode();
        assert!(proof.len() > 2 * MAX_ENVELOPE_BYTES);
        let read = kept(&proof).expect("read again");
        drop(proof);
        let found = finding(&read).expect("decoded").expect("of this version");
        assert_eq!(
            (found.named, found.lie, found.basis),
            (Role::P2, Lie::TwoClaims, Basis::Proved)
        );
    }
}
