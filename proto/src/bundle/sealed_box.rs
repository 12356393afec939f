//! A sealed box by itself: a Seal with three signatures, and evidence from which anyone computes the same one.
//!
//! Who hands the evidence over does not matter, nor which of several bodies it is: the Seal holds no station's or registrar's signature, so two
//! bodies that differ in a signature (Ed25519 allows its holder many over one digest) come to the same Seal if all of them verify.

use std::sync::Arc;

use super::BoxError;
use crate::envelope::Envelope;
use crate::manifest::{BallotBox, Manifest, SignedManifest};
use crate::order::{EffectiveElection, SignedOrder};
use crate::sealing::{self, BoxBody, Claims, Inputs, Seal, Sealed, SignedList, SignedSeal};
use crate::wire;

/// What one party, or a bundle, shows of a sealed box. Nothing in it is checked.
#[derive(Clone, Debug)]
pub struct SealedParts<'a> {
    /// The Seal.
    pub seal: Envelope,
    /// An encoded [`BoxBody`].
    pub body: &'a [u8],
    /// In party order.
    pub lists: Vec<wire::Envelope>,
    /// In party order.
    pub claims: Vec<wire::Envelope>,
}

/// Recomputes the Seal from the evidence and compares it, byte by byte, with the one that the three parties signed. `orders`: those in force,
/// in number order; the box takes as many of them as its Lists name.
///
/// # Errors
/// [`BoxError`], the first thing that does not hold.
pub fn verify_sealed(
    parts: SealedParts<'_>,
    manifest: &Arc<SignedManifest>,
    orders: &[SignedOrder],
) -> Result<(SignedSeal, Sealed), BoxError> {
    let SealedParts {
        seal,
        body,
        lists,
        claims,
    } = parts;
    let keys = manifest.manifest().party_keys();
    let signed = SignedSeal::open(seal, &keys)?;
    let seal = signed.seal();
    let in_manifest = box_of(seal, manifest)?;
    let lists = three("Lists", lists, |envelope| SignedList::open(envelope, &keys))?;
    let claims = three("Claims", claims, |envelope| Claims::open(&envelope, &keys))?;
    let body = BoxBody::decode(body, in_manifest.online_bits())?;
    let named = sealing::orders_in_force(lists.each_ref().map(SignedList::list))?.len();
    let taken = orders.get(..named).ok_or(BoxError::Orders(named))?;
    let election = EffectiveElection::new(Arc::clone(manifest), taken)?;
    let inputs = Inputs {
        election: &election,
        of_box: seal.of_box,
        lists: &lists,
        claims: &claims,
        body: &body,
    };
    let sealed = sealing::compute(inputs)?;
    if sealed.seal.encode() != *signed.envelope().payload() {
        return Err(BoxError::Recomputed);
    }
    Ok((signed, sealed))
}

fn three<T, E: Into<BoxError>>(
    what: &'static str,
    wire: Vec<wire::Envelope>,
    open: impl Fn(Envelope) -> Result<T, E>,
) -> Result<[T; 3], BoxError> {
    let open = |envelope| open(Envelope::from_wire(envelope)?).map_err(Into::into);
    let opened = wire.into_iter().map(open).collect::<Result<Vec<T>, BoxError>>()?;
    opened.try_into().map_err(|_| BoxError::Missing(what))
}

pub(super) fn box_of<'a>(seal: &Seal, manifest: &'a SignedManifest) -> Result<&'a BallotBox, BoxError> {
    let definition: &Manifest = manifest.manifest();
    if seal.election != *definition.election() || seal.manifest_hash != manifest.hash() {
        return Err(BoxError::OtherSeal);
    }
    definition.ballot_box(seal.of_box).ok_or(BoxError::OtherSeal)
}
