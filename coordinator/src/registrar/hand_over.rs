//! Handing sealed records to the three parties: each gives a receipt for every record, and is brought those of the others.

use std::collections::HashMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tally_proto::ids::{BoxId, Digest, Hash32, Role, RoleExt as _, VoterIndex};
use tally_proto::manifest::Manifest;
use tally_proto::reason::Reason;
use tally_proto::receipt::Receipt;
use tally_proto::record::RecordHeader;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tokio::time::timeout;
use tonic::Status;

use super::issue::{Batch, SealedRecord};
use crate::error::Error;
use crate::parties::{Parties, Party, Patience, SILENCE};
use crate::progress::Progress;

/// Hands a batch to all three parties at once; returns when each has given a valid receipt for every record, and has the others'.
pub(super) async fn hand_over(
    parties: &Parties,
    manifest: &Manifest,
    batch: &Batch,
    patience: Patience,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let outcomes = parties
        .all(async |party| {
            let hand = async || register(party, manifest, batch).await;
            party.call(patience, progress, hand).await
        })
        .await
        .map_err(Error::Parties)?;
    let mut given = Vec::with_capacity(3);
    for outcome in outcomes {
        given.push(outcome?);
    }
    // A party that leaves a record out of its List is convicted by its receipt, if another party has that.
    parties
        .all(async |party| {
            let of_others = || given.iter().flatten().filter(|(by, _)| *by != party.role());
            let bring =
                async || deliver(party, of_others().map(|(_, receipt)| receipt.clone()).collect()).await;
            party.call(patience, progress, bring).await
        })
        .await
        .map_err(Error::Parties)?;
    Ok(())
}

/// Receipts that go to a party in one message, and messages under way at once.
const IN_ONE_MESSAGE: usize = 16;
const AT_ONCE: usize = 16;

/// Brings a party the others' receipts; returns when they are on its disk.
async fn deliver(party: &Party, receipts: Vec<wire::Receipt>) -> Result<(), Status> {
    let messages = receipts.chunks(IN_ONE_MESSAGE).map(|chunk| {
        let (mut intake, receipts) = (party.intake(), chunk.to_vec());
        async move {
            let delivered = intake.deliver_all(wire::Receipts { receipts });
            in_time(delivered).await.map(drop)
        }
    });
    let all: Vec<_> = messages.collect();
    stream::iter(all).buffer_unordered(AT_ONCE).try_collect().await
}

/// What a party answers within [`SILENCE`]: one that says nothing is told by name, and the others are not kept waiting for ever.
pub(super) async fn in_time<T>(asked: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = |_| Status::deadline_exceeded("no answer in time");
    timeout(SILENCE, asked).await.map_err(late)?
}

/// A receipt, and whose.
type Given = (Role, wire::Receipt);

/// Hands a batch to one party: a receipt for every record, or the error for a record that is refused for good.
async fn register(
    party: &Party,
    manifest: &Manifest,
    batch: &Batch,
) -> Result<Result<Vec<Given>, Error>, Status> {
    let place = party.role().slot();
    let mut given = Vec::with_capacity(batch.records.len());
    let mut awaited: HashMap<Digest, (&SealedRecord, Hash32)> = HashMap::with_capacity(batch.records.len());
    let mut submissions = Vec::with_capacity(batch.records.len());
    for record in &batch.records {
        let (Some(header), Some(ciphertext)) = (&record.header, record.ciphertexts.get(place)) else {
            continue;
        };
        let checked = RecordHeader::from_wire(header)
            .map_err(|e| Status::from(Refusal::new(Reason::MessageMalformed, e)))?;
        awaited.insert(checked.digest(), (record, Hash32::of(ciphertext)));
        submissions.push(wire::RecordSubmission {
            header: Some(header.clone()),
            authorisation: record.authorisation.clone(),
            ciphertext: ciphertext.clone(),
            election: String::new(),
            numbered: None,
        });
    }
    let mut registration = party.registration();
    let mut answers = in_time(registration.register(stream::iter(submissions)))
        .await?
        .into_inner();
    while !awaited.is_empty() {
        let Some(answer) = in_time(answers.message()).await? else {
            break;
        };
        match answer.outcome {
            Some(wire::record_receipt::Outcome::Receipt(receipt)) => {
                let digest = valid(party, manifest, &receipt, &awaited)
                    .map_err(|detail| Refusal::new(Reason::ReceiptInvalid, detail))?;
                awaited.remove(&digest);
                given.push((party.role(), receipt));
            }
            Some(wire::record_receipt::Outcome::Refusal(refusal)) => {
                let digest = Digest::from_slice(&refusal.digest).ok();
                let record = digest.and_then(|d| awaited.get(&d)).map(|(record, _)| *record);
                let refusal = Refusal::from_wire(&refusal);
                if refusal.reason.class() == tally_proto::reason::Class::Retry {
                    return Err(refusal.into());
                }
                let (of_box, voter) = record
                    .and_then(|r| r.header.as_ref())
                    .map_or((0, 0), |h| (h.r#box, h.v));
                let party = party.name().to_owned();
                return Ok(Err(Error::RecordRefused {
                    party,
                    of_box: BoxId(of_box),
                    voter: VoterIndex(voter),
                    refusal,
                }));
            }
            None => {
                let detail = "an answer that is neither a receipt nor a refusal";
                return Err(Refusal::new(Reason::MessageMalformed, detail).into());
            }
        }
    }
    if awaited.is_empty() {
        return Ok(Ok(given));
    }
    // A stream that ended early: the same records again give the same receipts.
    let detail = format!("{} records without a receipt", awaited.len());
    Err(Refusal::new(Reason::PartyUnreachable, detail).into())
}

/// The digest of a receipt that is this party's, for a record that was handed to it, over the very ciphertext.
fn valid(
    party: &Party,
    manifest: &Manifest,
    receipt: &wire::Receipt,
    awaited: &HashMap<Digest, (&SealedRecord, Hash32)>,
) -> Result<Digest, String> {
    let receipt = Receipt::from_wire(receipt).map_err(|e| e.to_string())?;
    let stated = receipt
        .verify(&manifest.party_keys())
        .map_err(|e| e.to_string())?;
    let Some((record, ciphertext)) = awaited.get(&stated.digest) else {
        return Err(format!(
            "a receipt for {}, which was not handed over or twice",
            stated.digest
        ));
    };
    let of_box = record.header.as_ref().map(|h| h.r#box);
    let fits = stated.party == party.role()
        && stated.election == *manifest.election()
        && Some(stated.of_box.get()) == of_box
        && stated.ciphertext_hash == *ciphertext;
    if fits {
        Ok(stated.digest)
    } else {
        Err(format!("the receipt for {} states something else", stated.digest))
    }
}
