//! The right edge of a log's tree as bytes: its complete subtrees' hashes, largest first, one after the other.

use tally_proto::ids::Hash32;
use tally_proto::merkle::Frontier;

pub(super) fn to_bytes(edge: &Frontier) -> Vec<u8> {
    edge.peaks().iter().flat_map(|hash| hash.0).collect()
}

/// The edge of a tree of `size` leaves; `None` where the bytes are not that of one.
pub(super) fn of_bytes(size: u64, bytes: &[u8]) -> Option<Frontier> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    let hashes = hashes.iter().map(|hash| Hash32(*hash)).collect();
    Frontier::from_peaks(size, hashes).filter(|_| rest.is_empty())
}
