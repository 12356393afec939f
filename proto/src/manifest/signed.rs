//! A manifest with its signatures.

use super::{Manifest, ManifestError};
use crate::envelope::{Envelope, EnvelopeError, Kind, Signature};
use crate::ids::{Hash32, Role, RoleExt as _};

/// A manifest with the coordinator's signature and those of the parties' operators so far, all verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedManifest {
    manifest: Manifest,
    envelope: Envelope,
    hash: Hash32,
    countersigned: [bool; 3],
}

impl SignedManifest {
    /// Checks payload and signatures. Whether the keys inside are those of the right people is for people to compare.
    ///
    /// # Errors
    /// [`ManifestError`]; a manifest without the coordinator's signature is refused.
    pub fn open(envelope: Envelope) -> Result<Self, ManifestError> {
        let manifest = Manifest::decode(envelope.payload())?;
        let countersigned = countersignatures(&envelope, Kind::Manifest, &manifest)?;
        Ok(Self {
            hash: envelope.hash(),
            manifest,
            envelope,
            countersigned,
        })
    }

    /// Adds a signature.
    ///
    /// # Errors
    /// [`ManifestError::Envelope`] when it is not one of coordinator or parties, or does not verify; nothing is changed then.
    pub fn add_signature(&mut self, signature: Signature) -> Result<(), ManifestError> {
        let mut envelope = self.envelope.clone();
        envelope.add_signature(signature);
        self.countersigned = countersignatures(&envelope, Kind::Manifest, &self.manifest)?;
        self.envelope = envelope;
        Ok(())
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    /// SHA-256 of its bytes: the manifest hash of all other objects.
    pub fn hash(&self) -> Hash32 {
        self.hash
    }
    /// The envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }
    /// Whether this party has countersigned.
    pub fn is_countersigned_by(&self, role: Role) -> bool {
        self.countersigned[role.slot()]
    }
    /// Whether all three parties have countersigned: only then is the election in force.
    pub fn is_complete(&self) -> bool {
        self.countersigned == [true; 3]
    }
    /// The parties that have not countersigned yet.
    pub fn missing(&self) -> impl Iterator<Item = Role> + '_ {
        Role::ALL
            .into_iter()
            .filter(|role| !self.is_countersigned_by(*role))
    }
}

/// The coordinator must have signed; which parties have.
pub(crate) fn countersignatures(
    envelope: &Envelope,
    kind: Kind,
    manifest: &Manifest,
) -> Result<[bool; 3], EnvelopeError> {
    let signed = envelope.verify(kind, &manifest.signatories())?;
    match *signed.as_slice() {
        [true, p1, p2, p3] => Ok([p1, p2, p3]),
        _ => Err(EnvelopeError::MissingSigner {
            kind,
            key: manifest.coordinator().signing_key(),
        }),
    }
}
