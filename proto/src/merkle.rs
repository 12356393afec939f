//! Merkle trees as in RFC 6962: leaves and inner nodes in different domains, an unbalanced tree over any number of leaves.
//!
//! leaf = SHA-256(0x00, data), node = SHA-256(0x01, left, right), the root of no leaf is SHA-256 of nothing. Complete subtrees are
//! numbered (level, index): node (l, i) covers leaves i*2^l to (i+1)*2^l - 1. A store keeps them as [`Frontier::push`] names them;
//! proofs read about log2(size) of them.

use sha2::{Digest as _, Sha256};

use crate::ids::Hash32;

/// Most leaves of a tree.
pub const MAX_LEAVES: u64 = 1 << 48;
/// Longest proof.
pub const MAX_PROOF_HASHES: usize = 64;

/// The hash of a leaf.
pub fn leaf_hash(data: &[u8]) -> Hash32 {
    Hash32(
        Sha256::new()
            .chain_update([0])
            .chain_update(data)
            .finalize()
            .into(),
    )
}

/// The hash of an inner node.
pub fn node_hash(left: &Hash32, right: &Hash32) -> Hash32 {
    Hash32(
        Sha256::new()
            .chain_update([1])
            .chain_update(left.0)
            .chain_update(right.0)
            .finalize()
            .into(),
    )
}

/// The root of no leaf.
pub fn empty_root() -> Hash32 {
    Hash32::of(b"")
}

/// A complete subtree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Node {
    /// Its height: 0 is a leaf.
    pub level: u8,
    /// Its number at that height.
    pub index: u64,
}

/// Where complete subtrees are kept.
pub trait Nodes {
    /// What reading can fail with.
    type Error;
    /// The hash of a complete subtree of the tree so far.
    ///
    /// # Errors
    /// The store's.
    fn node(&self, node: Node) -> Result<Hash32, Self::Error>;
}

/// Why a proof could not be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError<E> {
    /// Not within the tree.
    #[error("position {position} is not within a tree of {size} leaves")]
    Range {
        /// The position, or the smaller size.
        position: u64,
        /// The size.
        size: u64,
    },
    /// The store failed.
    #[error("tree nodes cannot be read")]
    Nodes(#[source] E),
}

/// The right edge of a tree: enough to append and to know the root. At most one hash a level.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frontier {
    size: u64,
    /// Roots of the complete subtrees that make up the tree, largest first.
    peaks: Vec<Hash32>,
}

impl Frontier {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// The edge of the tree of `size` leaves that `nodes` keeps: for a restart.
    ///
    /// # Errors
    /// The store's.
    pub fn load<N: Nodes>(nodes: &N, size: u64) -> Result<Self, N::Error> {
        let peaks = peaks(0, size)
            .map(|node| nodes.node(node))
            .collect::<Result<_, _>>()?;
        Ok(Self { size, peaks })
    }

    /// The edge of a tree of `size` leaves from what [`Frontier::peaks`] gave; `None` where that cannot be.
    pub fn from_peaks(size: u64, peaks: Vec<Hash32>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// Roots of the complete subtrees that make up the tree, largest first.
    pub fn peaks(&self) -> &[Hash32] {
        &self.peaks
    }

    /// Leaves so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends the hash of a leaf. Returns the subtrees that became complete, the leaf itself first.
    pub fn push(&mut self, leaf: Hash32) -> Vec<(Node, Hash32)> {
        let mut node = Node {
            level: 0,
            index: self.size,
        };
        let mut hash = leaf;
        let mut complete = vec![(node, hash)];
        while node.index & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hash = node_hash(&left, &hash);
            node = Node {
                level: node.level + 1,
                index: node.index >> 1,
            };
            complete.push((node, hash));
        }
        self.peaks.push(hash);
        self.size += 1;
        complete
    }

    /// The root.
    pub fn root(&self) -> Hash32 {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else {
            return empty_root();
        };
        peaks.fold(*last, |right, left| node_hash(left, &right))
    }
}

/// The complete subtrees that make up leaves `start` to `start + count`, where `start` is a multiple of every subtree in it.
fn peaks(start: u64, count: u64) -> impl Iterator<Item = Node> {
    let mut start = start;
    (0..64u8)
        .rev()
        .filter(move |level| count >> level & 1 == 1)
        .map(move |level| {
            let index = start >> level;
            start += 1 << level;
            Node { level, index }
        })
}

/// The root of leaves `start` to `start + count`, an RFC 6962 subtree: `start` is a multiple of the next power of two of `count`.
fn subtree<N: Nodes>(nodes: &N, start: u64, count: u64) -> Result<Hash32, N::Error> {
    let mut hashes = peaks(start, count)
        .map(|node| nodes.node(node))
        .collect::<Result<Vec<_>, _>>()?;
    let Some(last) = hashes.pop() else {
        return Ok(empty_root());
    };
    Ok(hashes
        .iter()
        .rev()
        .fold(last, |right, left| node_hash(left, &right)))
}

/// The root of a complete subtree of these leaves, a power of two of them.
pub fn subtree_root(leaves: &[Hash32]) -> Hash32 {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        leaves => {
            let (left, right) = leaves.split_at(leaves.len() / 2);
            node_hash(&subtree_root(left), &subtree_root(right))
        }
    }
}

/// The largest power of two below `count` (which is at least 2).
fn split(count: u64) -> u64 {
    1 << (63 - (count - 1).leading_zeros())
}

/// The proof that leaf `position` is in the tree of the first `size` leaves: the sibling hashes, from the leaf up.
///
/// # Errors
/// [`ProofError`].
pub fn inclusion_proof<N: Nodes>(
    nodes: &N,
    position: u64,
    size: u64,
) -> Result<Vec<Hash32>, ProofError<N::Error>> {
    if position >= size || size > MAX_LEAVES {
        return Err(ProofError::Range { position, size });
    }
    let (mut start, mut count) = (0, size);
    let mut path = Vec::new();
    while count > 1 {
        let left = split(count);
        let sibling = if position - start < left {
            let sibling = subtree(nodes, start + left, count - left);
            count = left;
            sibling
        } else {
            let sibling = subtree(nodes, start, left);
            start += left;
            count -= left;
            sibling
        };
        path.push(sibling.map_err(ProofError::Nodes)?);
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of the first `old` leaves is a prefix of that of the first `new`.
///
/// # Errors
/// [`ProofError`].
pub fn consistency_proof<N: Nodes>(
    nodes: &N,
    old: u64,
    new: u64,
) -> Result<Vec<Hash32>, ProofError<N::Error>> {
    if old == 0 || old > new || new > MAX_LEAVES {
        return Err(ProofError::Range {
            position: old,
            size: new,
        });
    }
    let (mut start, mut count, mut wanted, mut whole) = (0, new, old, true);
    let mut path = Vec::new();
    while wanted != count {
        let left = split(count);
        let sibling = if wanted <= left {
            let sibling = subtree(nodes, start + left, count - left);
            count = left;
            sibling
        } else {
            let sibling = subtree(nodes, start, left);
            (start, count, wanted, whole) = (start + left, count - left, wanted - left, false);
            sibling
        };
        path.push(sibling.map_err(ProofError::Nodes)?);
    }
    if !whole {
        path.push(subtree(nodes, start, count).map_err(ProofError::Nodes)?);
    }
    path.reverse();
    Ok(path)
}

/// Whether `path` proves that a leaf of this hash stands at `position` in the tree of `size` leaves with this root (RFC 9162,
/// section 2.1.3.2).
pub fn verify_inclusion(leaf: &Hash32, position: u64, size: u64, path: &[Hash32], root: &Hash32) -> bool {
    root_of_path(leaf, position, size, path).is_some_and(|computed| computed == *root)
}

/// The root of the tree of `size` leaves in which a leaf of this hash stands at `position` with this path; `None` when the path has not
/// the one length that it has in such a tree, or `position >= size`.
pub fn root_of_path(leaf: &Hash32, position: u64, size: u64, path: &[Hash32]) -> Option<Hash32> {
    if position >= size {
        return None;
    }
    let (mut f, mut s, mut hash) = (position, size - 1, *leaf);
    for sibling in path {
        if s == 0 {
            return None;
        }
        if f & 1 == 1 || f == s {
            hash = node_hash(sibling, &hash);
            while f & 1 == 0 && f != 0 {
                (f, s) = (f >> 1, s >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (f, s) = (f >> 1, s >> 1);
    }
    (s == 0).then_some(hash)
}

/// Whether `path` proves that the tree of `old` leaves is a prefix of that of `new` (RFC 9162, section 2.1.4.2).
pub fn verify_consistency(old: u64, old_root: &Hash32, new: u64, new_root: &Hash32, path: &[Hash32]) -> bool {
    if old == 0 || old > new {
        return false;
    }
    if old == new {
        return path.is_empty() && old_root == new_root;
    }
    // A first tree that is one complete subtree is its own first hash.
    let (first, rest) = match (old.is_power_of_two(), path.split_first()) {
        (true, _) => (*old_root, path),
        (false, Some((first, rest))) => (*first, rest),
        (false, None) => return false,
    };
    let (mut f, mut s) = (old - 1, new - 1);
    while f & 1 == 1 {
        (f, s) = (f >> 1, s >> 1);
    }
    let (mut old_hash, mut new_hash) = (first, first);
    for sibling in rest {
        if s == 0 {
            return false;
        }
        if f & 1 == 1 || f == s {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while f & 1 == 0 && f != 0 {
                (f, s) = (f >> 1, s >> 1);
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        (f, s) = (f >> 1, s >> 1);
    }
    s == 0 && old_hash == *old_root && new_hash == *new_root
}

#[cfg(test)]
mod tests;
