//! What a party says when it stops sealing: its own signed Abort of this box, or nothing that is repeated anywhere.
//!
//! Nobody is said to be convicted on a party's word that its evidence convicts. Two different Lists, Claims or Seals of one party, Claims over
//! another List than the one shown, Holdings that hide what their signer's Claims or Seal name, and a complaint with its answer and the key to it
//! are checked here. A Seal that is to be computed anew, and a digest that stands in a List under the wrong kind, take the evidence of the box: such
//! an Abort is told as stated.

use super::{Claims, Seal, SignedList, Statements, check_two_statements};
use crate::complaint::convicted;
use crate::decode::decode_canonical;
use crate::envelope::{Envelope, Kind, MAX_ENVELOPE_BYTES, PublicKey};
use crate::ids::{BoxId, ElectionId, Role, RoleExt as _};
use crate::manifest::Manifest;
use crate::reason::Reason;
use crate::result::MAX_RESULT_BYTES;
use crate::session::Holdings;
use crate::wire;
use crate::wire::evidence::Object;

/// Largest Abort of a sealing in bytes, with its signature: two statements of one party, and what these contradict.
pub const MAX_PROOF_BYTES: usize = 2 * MAX_ENVELOPE_BYTES + MAX_RESULT_BYTES + (1 << 20);

/// A party's Abort of the sealing of a box, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealingAbort {
    /// Why it stopped.
    pub reason: Reason,
    /// Whom it names.
    pub suspect: Role,
    /// Whether the signatures that it shows prove that to anyone. Otherwise it is the word of who stopped.
    pub proved: bool,
}

impl SealingAbort {
    /// `None`: it is not `by`'s own, not of this box, not one that an honest party signs, or says that it proves what it does not.
    pub fn read(by: Role, abort: wire::Envelope, manifest: &Manifest, of_box: BoxId) -> Option<Self> {
        let (keys, of) = (&manifest.party_keys(), (manifest.election(), of_box));
        let envelope = Envelope::from_wire(abort).ok()?;
        envelope
            .verify_all(Kind::Abort, std::slice::from_ref(&keys[by.slot()]))
            .ok()?;
        let abort: wire::Abort = decode_canonical("Abort", envelope.payload(), MAX_PROOF_BYTES).ok()?;
        let same = abort.election == of.0.as_str() && abort.r#box == of.1.get() && abort.party == by.number();
        let [suspect] = abort.suspects.as_slice() else {
            return None;
        };
        let suspect = Role::from_number(*suspect).ok()?;
        if !same || suspect == by || abort.step != "sealing" || !abort.channel.is_empty() {
            return None;
        }
        let reason: Reason = abort.reason.parse().ok()?;
        let key = abort.one_time_key.as_slice();
        let evidence: Vec<Object> = abort.evidence.into_iter().filter_map(|e| e.object).collect();
        let proved = match reason {
            Reason::SealTwoLists => Some(contradict(suspect, &evidence, keys, of)),
            Reason::SessionHidden => Some(hides(suspect, &evidence, keys, of)),
            Reason::SealShareWrong | Reason::SealComplaintFalse => {
                let about = abort.subject.as_ref()?;
                Some(lies_about_a_share(
                    suspect, &evidence, key, about, manifest, of_box,
                ))
            }
            // The two who say so are two; an accusation with which nobody has to agree is none that an honest party signs.
            Reason::SealDisagreement | Reason::SealWrongKind | Reason::SealShareWithheld => None,
            _ => return None,
        };
        match proved {
            Some(proved) if proved != abort.proved => None,
            proved => Some(Self {
                reason,
                suspect,
                proved: proved == Some(true),
            }),
        }
    }
}

/// Whether the complaint among the evidence, the answer and the key shown convict `suspect`.
fn lies_about_a_share(
    suspect: Role,
    evidence: &[Object],
    key: &[u8],
    about: &wire::abort::Subject,
    manifest: &Manifest,
    of_box: BoxId,
) -> bool {
    // The mediator's word may follow. The proof stands without it.
    let [Object::Complaint(complaint), Object::Answer(answer), ..] = evidence else {
        return false;
    };
    let open = |envelope: &wire::Envelope| Envelope::from_wire(envelope.clone()).ok();
    let (Some(complaint), Some(answer)) = (open(complaint), open(answer)) else {
        return false;
    };
    convicted(manifest, of_box, &complaint, &answer, key, about).is_ok_and(|(named, _)| named == suspect)
}

/// Whether two statements of `suspect` about this box contradict each other.
fn contradict(suspect: Role, evidence: &[Object], keys: &[PublicKey; 3], of: (&ElectionId, BoxId)) -> bool {
    let open = |envelope: &wire::Envelope| Envelope::from_wire(envelope.clone()).ok();
    let two = |kind, one: &wire::Envelope, other: &wire::Envelope| {
        let compared = check_two_statements(kind, suspect, keys, &open(one)?, &open(other)?).ok()?;
        Some(compared == Statements::Contradict)
    };
    let list = |envelope: &wire::Envelope| {
        let list = SignedList::open(open(envelope)?, keys).ok()?;
        let same = (&list.list().election, list.list().of_box, list.list().party) == (of.0, of.1, suspect);
        same.then_some(list)
    };
    let claims = |envelope: &wire::Envelope| {
        let (claims, _) = Claims::open(&open(envelope)?, keys).ok()?;
        ((&claims.election, claims.of_box, claims.party) == (of.0, of.1, suspect)).then_some(claims)
    };
    let seal = |envelope: &wire::Envelope| {
        let seal = Seal::decode(&envelope.payload).ok()?;
        ((&seal.election, seal.of_box) == (of.0, of.1)).then_some(())
    };
    let proved = match evidence {
        [Object::List(one), Object::List(other)] => list(one).and_then(|_| two(Kind::List, one, other)),
        [Object::Claims(one), Object::Claims(other)] => {
            claims(one).and_then(|_| two(Kind::Claims, one, other))
        }
        [Object::Seal(one), Object::Seal(other)] => seal(one).and_then(|()| two(Kind::Seal, one, other)),
        [Object::List(shown), Object::Claims(named)] => list(shown)
            .zip(claims(named))
            .map(|(list, claims)| claims.list_hashes[suspect.slot()] != list.hash()),
        _ => None,
    };
    proved == Some(true)
}

/// Whether Holdings of `suspect` leave out what its Claims or Seal of this box name.
fn hides(suspect: Role, evidence: &[Object], keys: &[PublicKey; 3], of: (&ElectionId, BoxId)) -> bool {
    let (mut holdings, mut claims, mut seal) = (None, None, None);
    for object in evidence {
        match object {
            Object::Holdings(envelope) => {
                let envelope = Envelope::from_wire(envelope.clone()).ok();
                holdings = envelope.and_then(|envelope| Holdings::open(&envelope, keys).ok());
            }
            Object::Claims(envelope) => {
                let envelope = Envelope::from_wire(envelope.clone()).ok();
                claims = envelope.and_then(|envelope| Claims::open(&envelope, keys).ok());
            }
            Object::Seal(envelope) => {
                let signed = Envelope::from_wire(envelope.clone()).ok().filter(|envelope| {
                    envelope
                        .verify(Kind::Seal, keys)
                        .is_ok_and(|signed| signed[suspect.slot()])
                });
                seal = signed.and_then(|envelope| {
                    let seal = Seal::decode(envelope.payload()).ok()?;
                    ((&seal.election, seal.of_box) == (of.0, of.1)).then(|| (seal, envelope.hash()))
                });
            }
            _ => return false,
        }
    }
    let claims = claims.filter(|(claims, _)| (&claims.election, claims.of_box) == (of.0, of.1));
    holdings.is_some_and(|holdings| {
        (&holdings.election, holdings.of_box, holdings.by) == (of.0, of.1, suspect)
            && holdings.hides(
                claims.as_ref().map(|(claims, hash)| (claims, *hash)),
                seal.as_ref().map(|(seal, hash)| (seal, *hash)),
            )
    })
}
