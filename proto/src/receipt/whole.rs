//! A whole batch of receipts, at most [`SIGNED_TOGETHER`], as its party hands it to the two others: what was signed, with one signature and without paths.
//!
//! A receipt in it has 86 bytes: the number of its election among those named (16 bits), box (32 bits), digest, ciphertext hash, received_at in
//! seconds and position (64 bits each), all big endian. Its place in the batch is its place here, so the receiver computes root and paths itself.

use crate::envelope::SignatureBytes;
use crate::ids::{BoxId, Digest, ElectionId, Hash32, Role, UnixSeconds};
use crate::merkle::MAX_LEAVES;
use crate::wire;

use super::batch::Tree;
use super::{Acceptance, Batch, BatchSignature, MAX_BATCH, Receipt, ReceiptError, SIGNED_TOGETHER};

/// Bytes of a receipt in a whole batch.
pub const WHOLE_RECEIPT_BYTES: usize = 2 + 4 + 32 + 32 + 8 + 8;

/// The receipts of one batch, and the batch, which is still to be verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WholeBatch {
    batch: Batch,
    receipts: Vec<Receipt>,
}

impl WholeBatch {
    /// From the wire, as a batch of `party`.
    ///
    /// # Errors
    /// [`ReceiptError::Whole`] for what has another form, and those of positions, ids and signatures.
    pub fn from_wire(wire: &wire::ReceiptBatch, party: Role) -> Result<Self, ReceiptError> {
        let signature: [u8; 64] = (wire.signature.as_slice().try_into())
            .map_err(|_| ReceiptError::Signature(wire.signature.len()))?;
        let malformed = |what| ReceiptError::Whole { what };
        let (receipts, []) = wire.receipts.as_chunks::<WHOLE_RECEIPT_BYTES>() else {
            return Err(malformed("its receipts have 86 bytes each"));
        };
        let size = u16::try_from(receipts.len())
            .ok()
            .filter(|size| (1..=SIGNED_TOGETHER).contains(&usize::from(*size)))
            .ok_or(malformed("it has 1 to 64 receipts"))?;
        if wire.elections.len() > receipts.len() {
            return Err(malformed("every election is named once, if it has a receipt"));
        }
        let elections = (wire.elections.iter())
            .map(|id| ElectionId::new(id))
            .collect::<Result<Vec<_>, _>>()?;
        let mut named = 0;
        let mut acceptances = Vec::with_capacity(receipts.len());
        for bytes in receipts {
            let (number, rest) = split(bytes);
            let (of_box, rest) = split(rest);
            let (digest, rest) = split(rest);
            let (ciphertext_hash, rest) = split(rest);
            let (received_at, position) = split::<8>(rest);
            let position = u64::from_be_bytes(split(position).0);
            if position >= MAX_LEAVES {
                return Err(ReceiptError::Position(position));
            }
            let number = usize::from(u16::from_be_bytes(number));
            named = named.max(number + usize::from(number == named));
            let election = (elections.get(number))
                .filter(|_| number < named)
                .ok_or(malformed(
                    "elections are named in the order of their first receipts",
                ))?;
            acceptances.push(Acceptance {
                election: election.clone(),
                of_box: BoxId(u32::from_be_bytes(of_box)),
                party,
                digest: Digest(digest),
                ciphertext_hash: Hash32(ciphertext_hash),
                received_at: UnixSeconds(u64::from_be_bytes(received_at)),
                position,
            });
        }
        let twice = || (elections.iter().enumerate()).any(|(i, id)| elections[..i].contains(id));
        if named != elections.len() || twice() {
            return Err(malformed("every election is named once, if it has a receipt"));
        }
        let tree = Tree::of(acceptances.iter().map(Acceptance::leaf).collect());
        let root = tree.root().ok_or(malformed("it has 1 to 64 receipts"))?;
        let signature = SignatureBytes(signature);
        let receipts = (0..size).zip(acceptances).map(|(place, acceptance)| Receipt {
            acceptance,
            signature: BatchSignature::at(signature, size, place, &tree),
        });
        Ok(Self {
            receipts: receipts.collect(),
            batch: Batch::new(party, size, root, signature),
        })
    }

    /// What its party is said to have signed.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Its receipts, each standing alone. They are good exactly if the batch verifies.
    pub fn into_receipts(self) -> Vec<Receipt> {
        self.receipts
    }

    /// Its receipts.
    pub fn receipts(&self) -> &[Receipt] {
        &self.receipts
    }
}

/// The whole batches of receipts as [`super::sign_batch`] gave them.
pub fn whole_batches(receipts: &[Receipt]) -> Vec<wire::ReceiptBatch> {
    receipts
        .chunk_by(|_, next| next.signature.place() > 0)
        .map(|batch| {
            let mut whole = wire::ReceiptBatch {
                signature: batch[0].signature.signature().0.to_vec(),
                elections: Vec::new(),
                receipts: Vec::with_capacity(batch.len() * WHOLE_RECEIPT_BYTES),
            };
            for receipt in batch {
                write(&mut whole, receipt.unverified());
            }
            whole
        })
        .collect()
}

fn write(whole: &mut wire::ReceiptBatch, of: &Acceptance) {
    let id = of.election.as_str();
    let election = (whole.elections.iter().position(|named| named == id)).unwrap_or_else(|| {
        whole.elections.push(id.to_owned());
        whole.elections.len() - 1
    });
    debug_assert!(election < MAX_BATCH, "a batch has at most that many receipts");
    let bytes = &mut whole.receipts;
    bytes.extend_from_slice(&(election as u16).to_be_bytes());
    bytes.extend_from_slice(&of.of_box.get().to_be_bytes());
    bytes.extend_from_slice(&of.digest.0);
    bytes.extend_from_slice(&of.ciphertext_hash.0);
    bytes.extend_from_slice(&of.received_at.get().to_be_bytes());
    bytes.extend_from_slice(&of.position.to_be_bytes());
}

/// The first `N` bytes, and the rest.
fn split<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    let (first, rest) = bytes
        .split_first_chunk()
        .expect("WHOLE_RECEIPT_BYTES is the sum of what is read");
    (*first, rest)
}
