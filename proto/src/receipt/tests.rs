use super::*;
use crate::fixture::{CLOSES, DRAINED, OPENS, Shape, World};
use crate::ids::{StationId, UnixSeconds};

fn acceptance() -> Acceptance {
    Acceptance {
        election: ElectionId::new("ward-7").expect("slug"),
        of_box: BoxId(1),
        party: Role::P2,
        digest: Digest([1; 32]),
        ciphertext_hash: Hash32([2; 32]),
        received_at: UnixMillis(3),
        position: 4,
    }
}

#[test]
fn a_receipt_is_of_its_own_party_and_content() {
    let world = World::new(Shape::default());
    let keys = world.manifest.manifest().party_keys();
    let receipt = acceptance().sign(&world.signers[1]);
    assert_eq!(receipt.verify(&keys), Ok(&acceptance()));
    assert_eq!(Receipt::decode(&receipt.encode()), Ok(receipt.clone()));
    let forged = acceptance().sign(&world.signers[0]);
    assert_eq!(forged.verify(&keys), Err(ReceiptError::BadSignature(Role::P2)));
    let bytes = receipt.encode();
    for i in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[i] ^= 1;
        assert!(
            !Receipt::decode(&changed).is_ok_and(|r| r.verify(&keys).is_ok()),
            "byte {i}"
        );
    }
}

#[test]
fn timely_means_in_time_by_the_signers_clock() {
    let world = World::new(Shape::default());
    let election = world.election();
    let at = |received_ms| Acceptance {
        received_at: UnixMillis(received_ms),
        ..acceptance()
    };
    let commitments = [Hash32([0; 32]); 3];
    let id = || world.manifest.manifest().election().clone();
    let online = |cast_at| BallotHeader::online(id(), BoxId(1), UnixSeconds(cast_at), commitments);
    assert!(at(OPENS * 1000).is_timely(&online(OPENS), &election));
    assert!(at((OPENS + 60) * 1000).is_timely(&online(OPENS), &election));
    assert!(!at((OPENS + 61) * 1000).is_timely(&online(OPENS), &election));
    assert!(!at((OPENS - 3) * 1000).is_timely(&online(OPENS), &election));
    assert!(!at(OPENS * 1000).is_timely(&online(OPENS - 1), &election));
    assert!(!at(CLOSES * 1000).is_timely(&online(CLOSES + 1), &election));
    let mark = crate::ballot::StationMark {
        station: StationId(1),
        sequence: 1,
    };
    let station = BallotHeader::station(id(), BoxId(1), true, UnixSeconds(OPENS), commitments, mark);
    assert!(at(DRAINED * 1000 + 999).is_timely(&station, &election));
    assert!(!at(DRAINED * 1000 + 1000).is_timely(&station, &election));
    assert!(at(DRAINED * 1000).is_timely_record(&election));
    assert!(!at(DRAINED * 1000 + 1000).is_timely_record(&election));
}

#[test]
fn the_log_leaf_holds_what_was_accepted() {
    let base = acceptance();
    let others = [
        Acceptance {
            of_box: BoxId(2),
            ..base.clone()
        },
        Acceptance {
            digest: Digest([9; 32]),
            ..base.clone()
        },
        Acceptance {
            ciphertext_hash: Hash32([9; 32]),
            ..base.clone()
        },
        Acceptance {
            received_at: UnixMillis(9),
            ..base.clone()
        },
    ];
    assert!(others.iter().all(|other| other.log_leaf() != base.log_leaf()));
}
