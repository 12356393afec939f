//! A sealed ballot on its way: one public header and one ciphertext for each party. Nothing in it is secret.

use std::sync::Arc;

use bytes::Bytes;
use tally_proto::ballot::BallotHeader;
use tally_proto::ids::{Digest, Hash32, Role, RoleExt};
use tally_proto::ticket::{OwnTicket, Use};
use tally_proto::wire;

/// A sealed ballot. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    shared: Arc<Content>,
}

#[derive(Debug)]
struct Content {
    header: BallotHeader,
    digest: Digest,
    ciphertexts: [Bytes; 3],
    authority_signature: Bytes,
    ticket_use: Option<Use>,
}

impl Parcel {
    pub(crate) fn new(header: BallotHeader, ciphertexts: [Bytes; 3], authority_signature: Bytes) -> Self {
        Self {
            shared: Arc::new(Content {
                digest: header.digest(),
                header,
                ciphertexts,
                authority_signature,
                ticket_use: None,
            }),
        }
    }

    /// A voter's, with the use of the ticket that the header names.
    pub(crate) fn with_ticket(header: BallotHeader, ciphertexts: [Bytes; 3], own: &OwnTicket) -> Self {
        let digest = header.digest();
        let ticket_use = own.sign(&digest, ciphertexts.each_ref().map(|sealed| Hash32::of(sealed)));
        Self {
            shared: Arc::new(Content {
                digest,
                header,
                ciphertexts,
                authority_signature: Bytes::copy_from_slice(&ticket_use.signature.0),
                ticket_use: Some(ticket_use),
            }),
        }
    }

    pub(crate) fn header(&self) -> &BallotHeader {
        &self.shared.header
    }

    pub(crate) fn digest(&self) -> Digest {
        self.shared.digest
    }

    pub(crate) fn ciphertexts(&self) -> &[Bytes; 3] {
        &self.shared.ciphertexts
    }

    pub(crate) fn authority_signature(&self) -> &Bytes {
        &self.shared.authority_signature
    }

    /// What a receipt of `party` must name besides the digest.
    pub(crate) fn ciphertext_hash(&self, party: Role) -> Hash32 {
        Hash32::of(&self.shared.ciphertexts[party.slot()])
    }

    /// The message to `party`.
    pub(crate) fn submission(&self, party: Role) -> wire::Submission {
        wire::Submission {
            header: Some(self.shared.header.to_wire()),
            ciphertext: self.shared.ciphertexts[party.slot()].clone(),
            authority_signature: self.shared.authority_signature.to_vec(),
            ciphertext_hashes: self
                .shared
                .ticket_use
                .map(|used| used.ciphertexts.map(|hash| hash.0.to_vec()).to_vec())
                .unwrap_or_default(),
        }
    }
}
