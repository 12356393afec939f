use super::*;
use data_encoding::HEXLOWER;
use std::collections::HashMap;

/// The leaves of the test vectors of the Certificate Transparency reference implementation of RFC 6962.
const LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];
/// The roots of its trees of 1 to 8 leaves.
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

#[derive(Default)]
struct Memory(HashMap<Node, Hash32>);

impl Nodes for Memory {
    type Error = Node;
    fn node(&self, node: Node) -> Result<Hash32, Node> {
        self.0.get(&node).copied().ok_or(node)
    }
}

fn tree(leaves: u64) -> (Memory, Vec<Hash32>, Vec<Hash32>) {
    let (mut memory, mut frontier) = (Memory::default(), Frontier::new());
    let (mut hashes, mut roots) = (vec![], vec![frontier.root()]);
    for i in 0..leaves {
        let leaf = leaf_hash(&i.to_be_bytes());
        hashes.push(leaf);
        memory.0.extend(frontier.push(leaf));
        roots.push(frontier.root());
        assert_eq!(Frontier::load(&memory, frontier.size()), Ok(frontier.clone()));
    }
    (memory, hashes, roots)
}

#[test]
fn roots_are_those_of_the_rfc() {
    assert_eq!(
        Frontier::new().root().to_string(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    let mut frontier = Frontier::new();
    for (leaf, root) in LEAVES.iter().zip(ROOTS) {
        frontier.push(leaf_hash(&HEXLOWER.decode(leaf.as_bytes()).expect("hex")));
        assert_eq!(frontier.root().to_string(), root);
    }
}

#[test]
fn proofs_are_those_of_the_rfc() {
    let (mut memory, mut frontier) = (Memory::default(), Frontier::new());
    for leaf in LEAVES {
        memory
            .0
            .extend(frontier.push(leaf_hash(&HEXLOWER.decode(leaf.as_bytes()).expect("hex"))));
    }
    let texts = |path: Vec<Hash32>| path.iter().map(Hash32::to_string).collect::<Vec<_>>();
    assert_eq!(
        texts(inclusion_proof(&memory, 5, 8).expect("proof")),
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
    assert_eq!(
        texts(consistency_proof(&memory, 6, 8).expect("proof")),
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
}

#[test]
fn every_inclusion_proof_verifies_for_its_leaf_only() {
    let (memory, leaves, roots) = tree(70);
    for size in 1..=70u64 {
        for position in 0..size {
            let path = inclusion_proof(&memory, position, size).expect("proof");
            let root = &roots[size as usize];
            let leaf = &leaves[position as usize];
            assert!(
                verify_inclusion(leaf, position, size, &path, root),
                "{position} of {size}"
            );
            assert!(!verify_inclusion(
                &leaf_hash(b"other"),
                position,
                size,
                &path,
                root
            ));
            assert!(!verify_inclusion(leaf, size, size, &path, root));
            let longer = [path.clone(), vec![*root]].concat();
            assert!(!verify_inclusion(leaf, position, size, &longer, root));
            if let Some((_, shorter)) = path.split_last() {
                assert!(!verify_inclusion(leaf, position, size, shorter, root));
            }
            for other in (0..size).filter(|other| *other != position) {
                assert!(!verify_inclusion(leaf, other, size, &path, root));
            }
        }
    }
}

#[test]
fn every_consistency_proof_verifies_for_its_trees_only() {
    let (memory, _, roots) = tree(70);
    for new in 1..=70u64 {
        for old in 1..=new {
            let path = consistency_proof(&memory, old, new).expect("proof");
            let (old_root, new_root) = (&roots[old as usize], &roots[new as usize]);
            assert!(
                verify_consistency(old, old_root, new, new_root, &path),
                "{old} of {new}"
            );
            let wrong = leaf_hash(b"other");
            assert!(!verify_consistency(old, &wrong, new, new_root, &path));
            assert!(!verify_consistency(old, old_root, new, &wrong, &path));
            let longer = [path.clone(), vec![wrong]].concat();
            assert!(!verify_consistency(old, old_root, new, new_root, &longer));
            if let Some((_, shorter)) = path.split_last() {
                assert!(!verify_consistency(old, old_root, new, new_root, shorter));
            }
        }
    }
}

#[test]
fn proofs_out_of_range_are_refused() {
    let (memory, leaves, roots) = tree(3);
    assert_eq!(
        inclusion_proof(&memory, 3, 3),
        Err(ProofError::Range { position: 3, size: 3 })
    );
    assert_eq!(
        inclusion_proof(&memory, 0, u64::MAX),
        Err(ProofError::Range {
            position: 0,
            size: u64::MAX
        })
    );
    assert!(matches!(
        inclusion_proof(&memory, 0, 9),
        Err(ProofError::Nodes(_))
    ));
    assert_eq!(
        consistency_proof(&memory, 0, 3),
        Err(ProofError::Range { position: 0, size: 3 })
    );
    assert_eq!(
        consistency_proof(&memory, 4, 3),
        Err(ProofError::Range { position: 4, size: 3 })
    );
    for size in [0, 1, 3, u64::MAX] {
        for position in [0, 1, 2, u64::MAX] {
            let _ = verify_inclusion(&leaves[0], position, size, &leaves, &roots[3]);
            let _ = verify_consistency(position, &roots[1], size, &roots[3], &leaves);
        }
    }
}
