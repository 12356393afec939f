//! One signature for a batch of receipts.
//!
//! ```text
//! leaf_n  = RFC 6962 leaf hash of the n-th receipt's layout
//! root    = RFC 6962 root of leaf_0 .. leaf_{size-1}
//! signed  = (tag "tally/v1/receipts", size, root)
//! ```
//!
//! Each receipt carries the signature, its place and the path from its leaf to the root: it stands alone and names no other receipt's
//! content. The bytes of a receipt's `signature` are the 64 of Ed25519; in a batch of more than one, then the size and the place, 16 bits each,
//! big endian, and the path, leaf's sibling first.
//!
//! # Security
//! A receipt's leaf is tagged and holds every field, so a signature over a root speaks for exactly the leaves below it. Whoever holds one
//! receipt learns the size of its batch and hashes of others that it cannot open without knowing them: a receipt's layout holds the
//! hash of a ciphertext, which is as good as random.

use crate::envelope::{PublicKey, SignatureBytes, Signer};
use crate::ids::{Hash32, Role, RoleExt as _};
use crate::layout::{Writer, tag};
use crate::merkle::{node_hash, root_of_path};

use super::{Acceptance, Receipt, ReceiptError};

/// Most receipts under one signature that anybody takes.
pub const MAX_BATCH: usize = u16::MAX as usize;
/// Most receipts that are put under one signature. Every receipt carries its path and is stored three times: beyond this the paths cost more than
/// signatures save.
pub const SIGNED_TOGETHER: usize = 64;
/// Nodes on the longest path: of a tree of [`MAX_BATCH`] leaves.
const MAX_PATH: usize = 16;
/// Longest signature of a receipt, bytes.
pub(super) const MAX_SIGNATURE_BYTES: usize = 64 + 4 + 32 * MAX_PATH;

/// The signature of a receipt: of its batch, and its place there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchSignature {
    signature: SignatureBytes,
    size: u16,
    place: u16,
    path: Vec<Hash32>,
}

impl BatchSignature {
    /// From its bytes. A batch of one is 64 bytes and has no other form; the path has the length that the place requires.
    pub(super) fn from_slice(bytes: &[u8]) -> Result<Self, ReceiptError> {
        let malformed = || ReceiptError::Signature(bytes.len());
        let (signature, rest) = bytes.split_first_chunk::<64>().ok_or_else(malformed)?;
        let signature = SignatureBytes(*signature);
        if rest.is_empty() {
            return Ok(Self {
                signature,
                size: 1,
                place: 0,
                path: Vec::new(),
            });
        }
        let (size, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
        let (place, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
        let (size, place) = (u16::from_be_bytes(*size), u16::from_be_bytes(*place));
        let (nodes, []) = rest.as_chunks::<32>() else {
            return Err(malformed());
        };
        let path: Vec<Hash32> = nodes.iter().map(|node| Hash32(*node)).collect();
        // Of what is not of the right length, no root follows from any leaf.
        let fits = root_of_path(&Hash32([0; 32]), place.into(), size.into(), &path).is_some();
        if size < 2 || !fits {
            return Err(malformed());
        }
        Ok(Self {
            signature,
            size,
            place,
            path,
        })
    }

    /// Of the receipt at `place` of `size` whose leaves are those of `tree`.
    pub(super) fn at(signature: SignatureBytes, size: u16, place: u16, tree: &Tree) -> Self {
        Self {
            signature,
            size,
            place,
            path: tree.path(place.into()),
        }
    }

    /// The 64 bytes that all receipts of the batch share.
    pub(super) fn signature(&self) -> SignatureBytes {
        self.signature
    }

    /// Its place in the batch.
    pub(super) fn place(&self) -> u16 {
        self.place
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.signature.0.to_vec();
        if self.size > 1 {
            bytes.reserve_exact(4 + 32 * self.path.len());
            bytes.extend_from_slice(&self.size.to_be_bytes());
            bytes.extend_from_slice(&self.place.to_be_bytes());
            self.path.iter().for_each(|node| bytes.extend_from_slice(&node.0));
        }
        bytes
    }

    /// What was signed, if `acceptance` stands at this place.
    pub(super) fn batch_of(&self, acceptance: &Acceptance) -> Option<Batch> {
        let root = root_of_path(
            &acceptance.leaf(),
            self.place.into(),
            self.size.into(),
            &self.path,
        )?;
        Some(Batch::new(acceptance.party, self.size, root, self.signature))
    }
}

/// A root that a party is said to have signed. Equal ones need one verification.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Batch {
    party: Role,
    size: u16,
    root: Hash32,
    signature: [u8; 64],
}

impl Batch {
    pub(super) fn new(party: Role, size: u16, root: Hash32, signature: SignatureBytes) -> Self {
        Self {
            party,
            size,
            root,
            signature: signature.0,
        }
    }

    /// Whether the party of that name did sign it (`keys` in party order).
    #[must_use]
    pub fn verify(&self, keys: &[PublicKey; 3]) -> bool {
        let layout = layout(self.size, &self.root);
        keys[self.party.slot()].verify(layout.as_bytes(), &SignatureBytes(self.signature))
    }
}

fn layout(size: u16, root: &Hash32) -> Writer {
    Writer::new(tag::RECEIPTS).u64(size.into()).fixed(&root.0)
}

/// All levels of a batch's tree, leaves first.
pub(super) struct Tree(Vec<Vec<Hash32>>);

impl Tree {
    pub(super) fn of(leaves: Vec<Hash32>) -> Self {
        // A level up, neighbours are hashed in pairs; one that is left over stands for itself. This is RFC 6962's tree.
        let mut levels = vec![leaves];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let pairs = below.chunks(2).map(|pair| match pair {
                [left, right] => node_hash(left, right),
                [single] => *single,
                _ => unreachable!("chunks of two hold one or two"),
            });
            let above = pairs.collect();
            levels.push(above);
        }
        Self(levels)
    }

    /// `None` of no leaf.
    pub(super) fn root(&self) -> Option<Hash32> {
        self.0.last()?.first().copied()
    }

    /// The siblings on the way from a leaf to the root.
    fn path(&self, place: usize) -> Vec<Hash32> {
        let siblings = self.0.iter().enumerate();
        siblings
            .filter_map(|(up, level)| level.get((place >> up) ^ 1).copied())
            .collect()
    }
}

/// Signs acceptances, [`SIGNED_TOGETHER`] with one signature; the receipts are in their order.
///
/// # Panics
/// None: 1 to 64 leaves have one root.
#[must_use]
pub fn sign_batch(acceptances: Vec<Acceptance>, signer: &Signer) -> Vec<Receipt> {
    let mut receipts = Vec::with_capacity(acceptances.len());
    let mut rest = acceptances.into_iter();
    loop {
        let part: Vec<Acceptance> = rest.by_ref().take(SIGNED_TOGETHER).collect();
        let tree = Tree::of(part.iter().map(Acceptance::leaf).collect());
        let Some(root) = tree.root() else {
            return receipts;
        };
        let size = u16::try_from(part.len()).expect("64 at most");
        let signature = signer.sign_layout(&layout(size, &root));
        receipts.extend((0..size).zip(part).map(|(place, acceptance)| Receipt {
            acceptance,
            signature: BatchSignature::at(signature, size, place, &tree),
        }));
    }
}
