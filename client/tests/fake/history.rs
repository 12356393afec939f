// The log of a fake party: honest, or as somebody would have it. (Plain comments only: the example in the crate's documentation includes
// this file.)

use std::collections::HashMap;
use std::convert::Infallible;

use tally_proto::envelope::Signer;
use tally_proto::ids::{ElectionId, Hash32, Role, RoleExt, UnixSeconds};
use tally_proto::merkle::{Frontier, Node, Nodes, consistency_proof, inclusion_proof};
use tally_proto::note::Checkpoint;

/// What a party shows of its log to this client. The other parties have seen, and cosigned, the honest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// The log as it is, cosigned up to its end.
    Truth,
    /// As it is; the others have cosigned only what it held before its last entry.
    Behind,
    /// As it is; nobody has cosigned anything.
    Alone,
    /// As it is, and nobody has cosigned anything; the others were shown it without its last entry.
    Private,
    /// As it is, and nobody has cosigned anything; the others were shown another entry in the place of the last.
    TwoViews,
    /// As it is; of the others' logs it says nothing.
    Mute,
    /// Another first entry.
    Rewritten,
    /// Another first entry, and nothing that others have cosigned.
    RewrittenAlone,
    /// Another entry in the place of the last.
    Replaced,
    /// Without the last entry.
    Shortened,
    /// Nothing is known of any ballot.
    Ignorant,
    /// The header of another ballot.
    OtherHeader,
    /// The header, and no receipt.
    HeaderOnly,
    /// That it accepted the ballot, and no receipt.
    Withholding,
}

/// A tree with all its nodes.
struct Tree {
    nodes: HashMap<Node, Hash32>,
    edge: Frontier,
}

impl Tree {
    fn of(leaves: &[Hash32]) -> Self {
        let (mut nodes, mut edge) = (HashMap::new(), Frontier::new());
        for leaf in leaves {
            nodes.extend(edge.push(*leaf));
        }
        Self { nodes, edge }
    }
}

impl Nodes for Tree {
    type Error = Infallible;
    fn node(&self, node: Node) -> Result<Hash32, Infallible> {
        Ok(self.nodes[&node])
    }
}

/// The leaves as told.
pub fn told(leaves: &[Hash32], telling: Telling) -> Vec<Hash32> {
    let mut leaves = leaves.to_vec();
    match telling {
        Telling::Rewritten | Telling::RewrittenAlone => leaves[0] = Hash32([9; 32]),
        Telling::Replaced => *leaves.last_mut().unwrap() = Hash32([9; 32]),
        Telling::Shortened => _ = leaves.pop(),
        _ => {}
    }
    leaves
}

/// The signed note of what is told, and the note that the others have cosigned.
pub fn notes(
    leaves: &[Hash32],
    telling: Telling,
    (election, party): (&ElectionId, Role),
    signers: &[Signer; 3],
) -> (String, String) {
    let checkpoint = |leaves: &[Hash32]| Checkpoint {
        election: election.clone(),
        party,
        size: leaves.len() as u64,
        root: Tree::of(leaves).edge.root(),
    };
    let own = &signers[party.slot()];
    let now = checkpoint(&told(leaves, telling)).sign(own);
    let seen = match telling {
        Telling::Behind => &leaves[..leaves.len() - 1],
        _ => leaves,
    };
    let alone = [
        Telling::Alone,
        Telling::Private,
        Telling::TwoViews,
        Telling::RewrittenAlone,
    ];
    if alone.contains(&telling) || seen.is_empty() {
        return (now, String::new());
    }
    let seen = checkpoint(seen);
    let mut cosigned = seen.sign(own);
    for by in [party.next(), party.prev()] {
        cosigned += &seen.cosign(by, UnixSeconds(1), &signers[by.slot()]).line;
    }
    (now, cosigned)
}

/// The signed note of what such a party has shown to the others.
pub fn mirrored(
    leaves: &[Hash32],
    telling: Telling,
    (election, party): (&ElectionId, Role),
    signer: &Signer,
) -> String {
    let mut leaves = leaves.to_vec();
    match telling {
        Telling::Behind | Telling::Private => _ = leaves.pop(),
        Telling::TwoViews => *leaves.last_mut().unwrap() = Hash32([8; 32]),
        _ => {}
    }
    if leaves.is_empty() {
        return String::new();
    }
    let checkpoint = Checkpoint {
        election: election.clone(),
        party,
        size: leaves.len() as u64,
        root: Tree::of(&leaves).edge.root(),
    };
    checkpoint.sign(signer)
}

pub fn inclusion(leaves: &[Hash32], telling: Telling, position: u64, size: u64) -> Vec<Hash32> {
    inclusion_proof(&Tree::of(&told(leaves, telling)), position, size).unwrap_or_default()
}

pub fn consistency(leaves: &[Hash32], telling: Telling, old: u64, new: u64) -> Vec<Hash32> {
    // A liar can prove nothing, and sends what it has.
    let told = told(leaves, telling);
    let most = told.len() as u64;
    consistency_proof(&Tree::of(&told), old.min(most), new.min(most)).unwrap_or_default()
}
