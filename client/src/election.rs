//! An election as a client knows it: the signed manifest, complete and verified.

use std::sync::Arc;

use tally_proto::envelope::{Envelope, EnvelopeError, PublicKey};
use tally_proto::identity::PartyIdentity;
use tally_proto::ids::{BoxId, ElectionId, Hash32, Role, StationId};
use tally_proto::invitation::{Invitation, InvitationError};
use tally_proto::manifest::{BallotBox, Manifest, ManifestError, SignedManifest};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use thiserror::Error;

use crate::form::Form;

/// Why an election cannot be voted in.
#[derive(Debug, Error)]
pub enum ElectionError {
    /// The file is no signed object.
    #[error("this is not a signed manifest: {0}")]
    Envelope(#[from] EnvelopeError),
    /// The manifest is not valid.
    #[error("the manifest is not valid: {0}")]
    Manifest(#[source] Box<ManifestError>),
    /// A party has not countersigned.
    #[error("the manifest is not in force: {} have not countersigned it; ask the election commission for the complete one", names(.missing))]
    NotComplete {
        /// The parties whose signature is missing.
        missing: Vec<Role>,
    },
    /// The invitation is not for this manifest, or is only a half.
    #[error("{0}. Use the manifest that the commission published with the invitations")]
    Invitation(#[from] InvitationError),
    /// The election has no such box.
    #[error("{election} has no box {box_id}; it has {}", listed(.boxes))]
    NoBox {
        /// The election.
        election: ElectionId,
        /// The box asked for.
        box_id: BoxId,
        /// The boxes there are.
        boxes: Vec<BoxId>,
    },
}

impl ElectionError {
    /// The stable reason code.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Envelope(error) => Refusal::from(error.clone()).reason,
            Self::Manifest(error) => error.reason(),
            Self::NotComplete { .. } => Reason::ManifestNotCountersigned,
            Self::Invitation(error) => error.reason(),
            Self::NoBox { .. } => Reason::BoxUnknown,
        }
    }
}

impl From<ManifestError> for ElectionError {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(Box::new(error))
    }
}

fn names(parties: &[Role]) -> String {
    parties
        .iter()
        .map(Role::to_string)
        .collect::<Vec<_>>()
        .join(" and ")
}

fn listed(boxes: &[BoxId]) -> String {
    let shown: Vec<String> = boxes.iter().take(20).map(BoxId::to_string).collect();
    format!(
        "{}{}",
        shown.join(", "),
        if boxes.len() > shown.len() { ", ..." } else { "" }
    )
}

/// An election that can be voted in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Election {
    signed: Arc<SignedManifest>,
}

impl Election {
    /// From the bytes of the published manifest: checked, signed by the coordinator and countersigned by all three parties.
    ///
    /// Signatures are verified with the keys that the manifest names. That these are the agencies' keys is what the invitation
    /// vouches for: it carries the manifest's hash.
    ///
    /// # Errors
    /// [`ElectionError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ElectionError> {
        Self::new(SignedManifest::open(Envelope::decode(bytes)?)?)
    }

    /// From a signed manifest.
    ///
    /// # Errors
    /// [`ElectionError::NotComplete`].
    pub fn new(signed: SignedManifest) -> Result<Self, ElectionError> {
        let missing: Vec<Role> = signed.missing().collect();
        if missing.is_empty() {
            Ok(Self {
                signed: Arc::new(signed),
            })
        } else {
            Err(ElectionError::NotComplete { missing })
        }
    }

    /// Its id.
    pub fn id(&self) -> &ElectionId {
        self.manifest().election()
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        self.signed.manifest()
    }

    /// The manifest with its signatures.
    pub(crate) fn signed(&self) -> &Arc<SignedManifest> {
        &self.signed
    }

    /// SHA-256 of the manifest's bytes.
    pub fn manifest_hash(&self) -> Hash32 {
        self.signed.hash()
    }

    /// One party.
    pub fn party(&self, party: Role) -> &PartyIdentity {
        self.manifest().party(party)
    }

    /// The ballot paper of a box.
    ///
    /// # Errors
    /// [`ElectionError::NoBox`].
    pub fn form(&self, box_id: BoxId) -> Result<Form, ElectionError> {
        Ok(Form::of(self.manifest(), self.ballot_box(box_id)?))
    }

    /// The ballot paper of an invitation, which must be of this manifest.
    ///
    /// # Errors
    /// [`ElectionError::Invitation`], [`ElectionError::NoBox`].
    pub fn form_for(&self, invitation: &Invitation) -> Result<Form, ElectionError> {
        invitation.credential_for(&self.manifest_hash())?;
        self.form(invitation.of_box())
    }

    pub(crate) fn ballot_box(&self, box_id: BoxId) -> Result<&BallotBox, ElectionError> {
        self.manifest()
            .ballot_box(box_id)
            .ok_or_else(|| ElectionError::NoBox {
                election: self.id().clone(),
                box_id,
                boxes: self.manifest().boxes().iter().map(BallotBox::id).collect(),
            })
    }

    /// Whether the manifest names this station with this key.
    pub(crate) fn names_station(&self, station: StationId, key: PublicKey) -> bool {
        self.manifest()
            .station(station)
            .is_some_and(|identity| identity.signing_key() == key)
    }

    /// Whether a station may vote for a box.
    pub(crate) fn serves(&self, station: StationId, box_id: BoxId) -> bool {
        self.manifest()
            .station(station)
            .is_some_and(|identity| identity.serves(box_id))
    }
}
