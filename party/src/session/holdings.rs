//! What the others hold of this party's signatures, and this party of theirs.
//!
//! A party does not know whether its store is a copy of yesterday's. So before it signs a Start it asks both others what they hold of it, and
//! signs no number up to the highest Start that they show; sealing asks the same before it signs a List, Claims or a Seal. The signatures
//! on a Result come the same way: with two of them no session follows.

use rand::Rng as _;
use tally_proto::envelope::{Envelope, Kind, PublicKey, Signer};
use tally_proto::ids::{BoxId, ElectionId, Hash32, Role};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::result::BoxResult;
use tally_proto::sealing::{Claims, Seal};
use tally_proto::session::{Holdings, HoldingsError, NONCE_BYTES};
use tally_proto::wire;

use super::ledger::{self, RaiseError};
use super::opening::Scene;
use crate::entropy::Entropy;
use crate::sealing;
use crate::store::{Store, StoreError, Tables, WriteTx, elections};

/// A question, with the nonce that its answers must bear.
pub(crate) struct Question {
    nonce: [u8; NONCE_BYTES],
    pub(crate) request: wire::HoldingsRequest,
}

impl Question {
    /// A fresh one about a box.
    pub(crate) fn new(election: &str, of_box: u32, entropy: &dyn Entropy) -> Self {
        let mut nonce = [0; NONCE_BYTES];
        entropy.rng().fill_bytes(&mut nonce);
        let request = wire::HoldingsRequest {
            election: election.to_owned(),
            r#box: of_box,
            nonce: nonce.to_vec(),
        };
        Self { nonce, request }
    }

    /// Checks the answer of `by` to this question of `own`.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn answered(
        &self,
        own: Role,
        by: Role,
        answer: wire::Envelope,
        keys: &[PublicKey; 3],
    ) -> Result<(Holdings, Envelope), HoldingsError> {
        let envelope = Envelope::from_wire(answer)?;
        let holdings = Holdings::open(&envelope, keys)?;
        let asked = holdings.election.as_str() == self.request.election
            && holdings.of_box.get() == self.request.r#box
            && holdings.nonce == self.nonce
            && (holdings.of, holdings.by) == (own, by);
        if asked {
            Ok((holdings, envelope))
        } else {
            Err(HoldingsError::Other)
        }
    }
}

/// The signed answer of `own` to a question of `caller`.
///
/// # Errors
/// `message.malformed`; `store.failed`.
pub(crate) fn answer(
    store: &Store,
    (own, signer): (Role, &Signer),
    caller: Role,
    request: &wire::HoldingsRequest,
) -> Result<Envelope, Refusal> {
    let election = ElectionId::new(&request.election)?;
    let (of_box, nonce) = (BoxId(request.r#box), Hash32::from_slice(&request.nonce)?.0);
    let read = store.read(|tx| {
        let scene = (election.clone(), of_box);
        match elections::number_of(tx, election.as_str())? {
            Some(number) => held(tx, (number, of_box.get()), scene, (caller, own), nonce),
            // Of an election that it has never seen it holds nothing.
            None => Ok(nothing(scene, (caller, own), nonce)),
        }
    });
    let held = read.map_err(|error| Refusal::new(Reason::StoreFailed, error))?;
    Ok(held.sign(signer))
}

/// What the store holds of the signatures of `of`.
///
/// # Security
/// A party that takes back what it lost may have its Claims again before the Lists that they name, or be shown another List than these name. Then it
/// leaves its own Claims unnamed: an honest answer never convicts its signer. A liar could leave them unnamed anyway.
fn held(
    tx: &impl Tables,
    key: ledger::Key,
    scene: (ElectionId, BoxId),
    (of, by): (Role, Role),
    nonce: [u8; NONCE_BYTES],
) -> Result<Holdings, StoreError> {
    let corrupt = |table| move |_| StoreError::Corrupt { table };
    let decode = |bytes: Option<Vec<u8>>, table| {
        bytes
            .map(|bytes| Envelope::decode(&bytes).map_err(corrupt(table)))
            .transpose()
    };
    let theirs = sealing::signed_by(tx, key, of)?;
    let own = sealing::signed_by(tx, key, by)?;
    let hash = |envelope: &Option<Envelope>| envelope.as_ref().map(Envelope::hash);
    let [_, own_claims, own_seal] = &own;
    let claims = own_claims.as_ref().map(|envelope| {
        Claims::decode(envelope.payload())
            .map(|claims| (claims, envelope.hash()))
            .map_err(|_| StoreError::Corrupt { table: "seal_signed" })
    });
    let seal = own_seal.as_ref().map(|envelope| {
        Seal::decode(envelope.payload())
            .map(|seal| (seal, envelope.hash()))
            .map_err(|_| StoreError::Corrupt { table: "seal_signed" })
    });
    let (claims, seal) = (claims.transpose()?, seal.transpose()?);
    let mut held = Holdings {
        list: hash(&theirs[0]),
        claims: hash(&theirs[1]),
        seal: hash(&theirs[2]),
        start: decode(ledger::seen(tx, key, of)?, "session_seen")?,
        result: decode(ledger::result(tx, key)?, "session_results")?,
        own_claims: hash(own_claims),
        own_seal: hash(own_seal),
        ..nothing(scene, (of, by), nonce)
    };
    // By what others would convict it with.
    if held.hides(claims.as_ref().map(|(claims, hash)| (claims, *hash)), None) {
        held.own_claims = None;
    }
    if held.hides(None, seal.as_ref().map(|(seal, hash)| (seal, *hash))) {
        held.own_seal = None;
    }
    Ok(held)
}

/// Holdings of nothing.
fn nothing(
    (election, of_box): (ElectionId, BoxId),
    (of, by): (Role, Role),
    nonce: [u8; NONCE_BYTES],
) -> Holdings {
    Holdings {
        election,
        of_box,
        of,
        by,
        nonce,
        list: None,
        claims: None,
        seal: None,
        start: None,
        result: None,
        own_claims: None,
        own_seal: None,
    }
}

/// Takes over what others hold: no number up to theirs is free, and what signatures they have on the Result count. True where it shows
/// that this store was restored from an older copy.
///
/// # Errors
/// The store failed.
pub(crate) fn take_over(
    tx: &WriteTx,
    key: ledger::Key,
    scene: &Scene,
    keys: &[PublicKey; 3],
    holdings: &[Holdings],
) -> Result<bool, RaiseError> {
    let number = holdings.iter().map(Holdings::number).max().unwrap_or(0);
    let restored = ledger::shown(tx, key, number)?;
    // One signature alone is one party's word; it is kept only beside this party's own, or with a second one.
    let mut results: Vec<Envelope> = Vec::new();
    let stored = ledger::result(tx, key)?.and_then(|bytes| Envelope::decode(&bytes).ok());
    for result in stored
        .iter()
        .chain(holdings.iter().filter_map(|h| h.result.as_ref()))
    {
        if !is_result(result, scene, keys) {
            continue;
        }
        match results
            .iter_mut()
            .find(|other| other.payload() == result.payload())
        {
            Some(same) => result
                .signatures()
                .iter()
                .for_each(|signature| same.add_signature(*signature)),
            None => results.push(result.clone()),
        }
    }
    for result in results.iter().filter(|result| result.signatures().len() >= 2) {
        ledger::put_result(tx, key, result)?;
    }
    Ok(restored)
}

/// Whether `envelope` is a Result of this box's Seal, with good signatures of parties, however many.
pub(crate) fn is_result(envelope: &Envelope, scene: &Scene, keys: &[PublicKey; 3]) -> bool {
    envelope.verify(Kind::Result, keys).is_ok()
        && BoxResult::decode(envelope.payload()).is_ok_and(|result| {
            result.seal_hash() == scene.seal_hash
                && *result.election() == scene.election
                && result.of_box() == scene.box_id
        })
}

/// A peer's answer that is none.
pub(crate) fn unusable(by: Role, error: &HoldingsError) -> Refusal {
    Refusal::new(
        Reason::SignatureBad,
        format_args!("the statement of {by} of what it holds cannot be used: {error}"),
    )
}
