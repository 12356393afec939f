//! The bundle: everything that stands behind a published result, and its verification with nothing but the manifest.
//!
//! Verification trusts no statement that can be recomputed: orders are checked and applied, Lists and Claims compared with the evidence, the
//! Seal computed anew by [`crate::sealing::compute`] and compared byte by byte, the result checked against Seal and roll.
//! What it cannot recompute stands on signatures: that the roll's online column is the one of the roll (three signatures on the Seal), and
//! that the totals are those of the sealed shares (two signatures on the result, and the replay audit).

mod sealed_box;

use std::sync::Arc;

use bytes::Bytes;

use crate::decode::{DecodeError, decode_canonical};
use crate::envelope::{Envelope, EnvelopeError, Kind, Signer};
use crate::ids::{BoxId, ElectionId, Hash32, Role, UnixSeconds};
use crate::manifest::{BallotBox, SignedManifest, countersignatures};
use crate::order::{Change, EffectiveElection, OrderError, SignedOrder};
use crate::reason::Reason;
use crate::result::{BoxResult, ResultError, SignedResult};
use crate::sealing::{BodyError, Claimed, ClaimsError, ListError, Seal, SealPayloadError, SealingError};
use crate::session::{AbortError, Proof, VerifiedAbort, verify_aborts};
use crate::text::Texts;
use crate::wire;

use sealed_box::box_of;
pub use sealed_box::{SealedParts, verify_sealed};

/// Largest evidence of all boxes of an election, in bytes: what a manifest allows to be taken fits in it.
pub const MAX_EVIDENCE_BYTES: u64 = 8 << 30;
/// Largest bundle in bytes: the evidence, and as much for Seals, Lists, Claims, results and orders. It is held in memory as a whole.
pub const MAX_BUNDLE_BYTES: usize = if usize::BITS > 32 {
    2 * MAX_EVIDENCE_BYTES as usize
} else {
    usize::MAX
};

/// Why a bundle was refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Bytes refused at the door.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A signature or an envelope's form.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The manifest that was given is not in force.
    #[error("the manifest to verify with is not countersigned by all three parties")]
    ManifestNotComplete,
    /// Another manifest than the given one.
    #[error("the bundle is of manifest {}, the one to verify with is {}", .bundle.short(), .given.short())]
    OtherManifest {
        /// In the bundle.
        bundle: Hash32,
        /// Given.
        given: Hash32,
    },
    /// A part is absent.
    #[error("the bundle lacks {0}")]
    Missing(&'static str),
    /// An order.
    #[error("order {place} in the bundle: {source}")]
    Order {
        /// Its place, from 1.
        place: usize,
        /// What is wrong.
        source: OrderError,
    },
    /// Boxes twice or out of order.
    #[error("box {0} stands twice or out of order in the bundle")]
    BoxOrder(BoxId),
    /// Something of a box.
    #[error("box {of_box}: {source}")]
    Box {
        /// Which.
        of_box: BoxId,
        /// What is wrong.
        source: BoxError,
    },
}

/// Why a box in a bundle was refused.
#[derive(Debug, thiserror::Error)]
pub enum BoxError {
    /// A part is absent, or not three of it.
    #[error("{0} is missing, or there are not three of it")]
    Missing(&'static str),
    /// An envelope's form.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The Seal.
    #[error("Seal: {0}")]
    Seal(#[from] SealPayloadError),
    /// The Seal is of another election, box or manifest.
    #[error("the Seal is not of this election, box and manifest")]
    OtherSeal,
    /// A List.
    #[error("List: {0}")]
    List(#[from] ListError),
    /// Claims.
    #[error("Claims: {0}")]
    Claims(#[from] ClaimsError),
    /// The evidence.
    #[error("evidence: {0}")]
    Body(#[from] BodyError),
    /// Orders that the Lists name and the bundle lacks.
    #[error("the Lists name {0} orders, the bundle does not hold them all")]
    Orders(usize),
    /// The orders do not apply.
    #[error("orders: {0}")]
    Order(#[from] OrderError),
    /// No Seal follows from the evidence.
    #[error("the evidence: {0}")]
    Sealing(#[from] SealingError),
    /// The recomputed Seal differs.
    #[error("the Seal recomputed from the evidence is another than the signed one")]
    Recomputed,
    /// The result.
    #[error("result: {0}")]
    Result(#[from] ResultError),
    /// The result is of another Seal or box.
    #[error("the result is not of this box's Seal")]
    OtherResult,
    /// An Abort of a session before.
    #[error("Abort: {0}")]
    Abort(#[from] AbortError),
    /// Aborts twice or out of order.
    #[error("the Aborts are not in ascending order of session and party")]
    AbortOrder,
}

impl BundleError {
    /// The stable reason: another manifest, too large, or altered.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::OtherManifest { .. } => Reason::BundleOther,
            Self::ManifestNotComplete => Reason::ManifestNotCountersigned,
            Self::Decode(DecodeError::TooLarge { .. }) => Reason::MessageTooLarge,
            Self::Box {
                source: BoxError::Result(ResultError::Signatures(_)),
                ..
            } => Reason::ResultSignatures,
            _ => Reason::BundleAltered,
        }
    }
}

/// One box's part of a bundle.
#[derive(Clone, Debug)]
pub struct BoxParts {
    /// With three signatures.
    pub seal: Envelope,
    /// An encoded [`BoxBody`](crate::sealing::BoxBody).
    pub body: Bytes,
    /// In party order.
    pub lists: [Envelope; 3],
    /// In party order.
    pub claims: [Envelope; 3],
    /// With two signatures or three.
    pub result: Envelope,
    /// Aborts of the sessions before, ascending by session and party.
    pub aborts: Vec<Envelope>,
}

/// Encodes and signs a bundle. Boxes are put in rising order; nothing is verified: do that with [`verify_bundle`] before publishing.
pub fn sign_bundle(
    coordinator: &Signer,
    manifest: &SignedManifest,
    orders: &[SignedOrder],
    boxes: Vec<(BoxId, BoxParts)>,
    published_at: UnixSeconds,
) -> Vec<u8> {
    let mut boxes = boxes;
    boxes.sort_by_key(|(id, _)| *id);
    let part = |(_, parts): (BoxId, BoxParts)| wire::BoxBundle {
        seal: Some(parts.seal.to_wire()),
        body: parts.body,
        lists: parts.lists.iter().map(Envelope::to_wire).collect(),
        claims: parts.claims.iter().map(Envelope::to_wire).collect(),
        result: Some(parts.result.to_wire()),
        aborts: parts.aborts.iter().map(Envelope::to_wire).collect(),
    };
    let bundle = wire::Bundle {
        manifest: Some(manifest.envelope().to_wire()),
        orders: orders.iter().map(|order| order.envelope().to_wire()).collect(),
        boxes: boxes.into_iter().map(part).collect(),
        published_at_s: published_at.get(),
    };
    coordinator
        .seal_envelope(Kind::Bundle, prost::Message::encode_to_vec(&bundle))
        .encode()
}

/// What a verified bundle says.
#[derive(Clone, Debug)]
pub struct Report {
    /// The election.
    pub election: ElectionId,
    /// Its manifest.
    pub manifest_hash: Hash32,
    /// When the coordinator published, by its own word.
    pub published_at: UnixSeconds,
    /// Orders in the bundle.
    pub orders: usize,
    /// Those of them that correct the flags of one voter. What became of any vote by them is known to nobody.
    pub corrections: usize,
    /// Boxes by rising number.
    pub boxes: Vec<BoxReport>,
    /// Boxes of the election that the bundle does not hold.
    pub missing: Vec<BoxId>,
}

/// What a verified bundle says of one box.
#[derive(Clone, Debug)]
pub struct BoxReport {
    /// Which.
    pub of_box: BoxId,
    /// Its name.
    pub name: Texts,
    /// SHA-256 of the Seal.
    pub seal_hash: Hash32,
    /// The Seal: rows, exclusions, stations.
    pub seal: Seal,
    /// Voters that are live, and that are enrolled.
    pub live: usize,
    /// Voters whose credential stands.
    pub enrolled: usize,
    /// The result.
    pub result: BoxResult,
    /// Who signed it.
    pub signers: Vec<Role>,
    /// Acceptances that a party did not list though it had given receipts, and receipts that a party claimed though they do not hold. The Seal is
    /// right all the same; the Lists and Claims here prove it of these parties.
    pub hidden: Vec<Claimed>,
    /// Card records that a party accepted for another election of the register and did not take over, by its receipt there.
    pub elsewhere: Vec<Claimed>,
    /// See `hidden`: by whom, and the digest that the false receipt names.
    pub false_claims: Vec<Claimed>,
    /// What parties stated when they stopped sessions before. None of it bears on the result.
    pub aborts: Vec<VerifiedAbort>,
    /// What signatures in these Aborts prove to anyone.
    pub proofs: Vec<Proof>,
}

/// Verifies a bundle offline, with nothing but the manifest. Any byte changed is refused.
///
/// # Errors
/// [`BundleError`], the first thing that does not hold.
pub fn verify_bundle(bytes: &[u8], manifest: &Arc<SignedManifest>) -> Result<Report, BundleError> {
    if !manifest.is_complete() {
        return Err(BundleError::ManifestNotComplete);
    }
    let envelope = Envelope::decode_within(bytes, MAX_BUNDLE_BYTES)?;
    envelope.verify_all(Kind::Bundle, &[manifest.manifest().coordinator().signing_key()])?;
    let bundle: wire::Bundle = decode_canonical("bundle", envelope.payload(), MAX_BUNDLE_BYTES)?;

    let inside = bundle.manifest.ok_or(BundleError::Missing("the manifest"))?;
    let inside = Envelope::from_wire(inside)?;
    if inside.hash() != manifest.hash() {
        return Err(BundleError::OtherManifest {
            bundle: inside.hash(),
            given: manifest.hash(),
        });
    }
    if countersignatures(&inside, Kind::Manifest, manifest.manifest())? != [true; 3] {
        return Err(BundleError::ManifestNotComplete);
    }
    let orders = verify_orders(bundle.orders, manifest)?;

    let mut boxes: Vec<BoxReport> =
        Vec::with_capacity(bundle.boxes.len().min(manifest.manifest().boxes().len()));
    for part in bundle.boxes {
        let seal = part.seal.ok_or(BundleError::Missing("a Seal"))?;
        let seal = Envelope::from_wire(seal)?;
        let of_box = Seal::decode(seal.payload())
            .map_err(|error| BundleError::Box {
                of_box: BoxId(0),
                source: error.into(),
            })?
            .of_box;
        if boxes.last().is_some_and(|last| last.of_box >= of_box) {
            return Err(BundleError::BoxOrder(of_box));
        }
        let parts = (part.body, part.lists, part.claims, part.result, part.aborts);
        let report = verify_box(seal, parts, manifest, &orders)
            .map_err(|source| BundleError::Box { of_box, source })?;
        boxes.push(report);
    }
    let held = |id: BoxId| boxes.iter().any(|b| b.of_box == id);
    Ok(Report {
        election: manifest.manifest().election().clone(),
        manifest_hash: manifest.hash(),
        published_at: UnixSeconds(bundle.published_at_s),
        orders: orders.len(),
        corrections: orders
            .iter()
            .filter(|order| matches!(order.order().change, Change::Correction(_)))
            .count(),
        missing: manifest
            .manifest()
            .boxes()
            .iter()
            .map(BallotBox::id)
            .filter(|id| !held(*id))
            .collect(),
        boxes,
    })
}

fn verify_orders(
    wire: Vec<wire::Envelope>,
    manifest: &Arc<SignedManifest>,
) -> Result<Vec<SignedOrder>, BundleError> {
    let mut orders = Vec::new();
    for (envelope, place) in wire.into_iter().zip(1..) {
        let order = SignedOrder::open(Envelope::from_wire(envelope)?, manifest)
            .map_err(|source| BundleError::Order { place, source })?;
        orders.push(order);
    }
    // Numbers and countersignatures of all of them, also of those that no box has taken.
    EffectiveElection::new(Arc::clone(manifest), &orders).map_err(|source| BundleError::Order {
        place: orders.len(),
        source,
    })?;
    Ok(orders)
}

type Parts = (
    Bytes,
    Vec<wire::Envelope>,
    Vec<wire::Envelope>,
    Option<wire::Envelope>,
    Vec<wire::Envelope>,
);

fn verify_box(
    seal: Envelope,
    (body, lists, claims, result, aborts): Parts,
    manifest: &Arc<SignedManifest>,
    orders: &[SignedOrder],
) -> Result<BoxReport, BoxError> {
    let keys = manifest.manifest().party_keys();
    let evidence = SealedParts {
        seal,
        body: &body,
        lists,
        claims,
    };
    let (signed, sealed) = verify_sealed(evidence, manifest, orders)?;
    let seal = signed.seal();
    let of_box = seal.of_box;
    let in_manifest = box_of(seal, manifest)?;
    let result = Envelope::from_wire(result.ok_or(BoxError::Missing("the result"))?)?;
    let result = SignedResult::open(result, manifest.manifest())?;
    if result.result().seal_hash() != signed.hash() || result.result().of_box() != of_box {
        return Err(BoxError::OtherResult);
    }
    result
        .result()
        .check_numbers(manifest.manifest(), seal.voters, &seal.counts)?;
    let aborts = aborts
        .into_iter()
        .map(Envelope::from_wire)
        .collect::<Result<Vec<_>, _>>()?;
    let (aborts, proofs) = verify_aborts(&aborts, &keys, (&seal.election, of_box, signed.hash()))?;
    if !aborts.is_sorted_by(|one, other| {
        (one.abort.number, one.abort.party) < (other.abort.number, other.abort.party)
    }) {
        return Err(BoxError::AbortOrder);
    }
    Ok(BoxReport {
        of_box,
        name: in_manifest.name().clone(),
        seal_hash: signed.hash(),
        seal: seal.clone(),
        live: sealed.live.count_ones(),
        enrolled: sealed.enrolled.count_ones(),
        hidden: sealed.settled.hidden().to_vec(),
        elsewhere: sealed.settled.elsewhere().to_vec(),
        false_claims: sealed.settled.false_claims().to_vec(),
        result: result.result().clone(),
        signers: result.signers().collect(),
        aborts,
        proofs,
    })
}

#[cfg(test)]
mod tests;
