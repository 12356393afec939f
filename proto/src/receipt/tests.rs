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
        received_at: UnixSeconds(3),
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
fn a_position_beyond_every_log_is_refused() {
    let world = World::new(Shape::default());
    let at = |position| Acceptance {
        position,
        ..acceptance()
    };
    for (position, fits) in [(MAX_LEAVES - 1, true), (MAX_LEAVES, false), (u64::MAX, false)] {
        let receipt = at(position).sign(&world.signers[1]);
        let read = Receipt::decode(&receipt.encode());
        assert_eq!(read.is_ok(), fits, "{position}");
        assert!(fits || read == Err(ReceiptError::Position(position)));
    }
}

#[test]
fn one_signature_covers_a_batch_and_speaks_for_its_receipts_only() {
    let world = World::new(Shape::default());
    let keys = world.manifest.manifest().party_keys();
    let stated = |n: u8| Acceptance {
        digest: Digest([n; 32]),
        position: n.into(),
        ..acceptance()
    };
    for size in [1, 2, 3, 5, 8, 9, 64, 65] {
        let receipts = sign_batch((0..size).map(stated).collect(), &world.signers[1]);
        assert_eq!(receipts.len(), usize::from(size));
        for (n, receipt) in (0..size).zip(&receipts) {
            assert_eq!(receipt.verify(&keys), Ok(&stated(n)));
            let first = usize::from(n) / SIGNED_TOGETHER * SIGNED_TOGETHER;
            let batch = receipts[first].batch().expect("a batch");
            assert!(batch.verify(&keys));
            assert_eq!(receipt.batch().as_ref(), Some(&batch), "{n} of {size}");
            assert_eq!(Receipt::decode(&receipt.encode()).as_ref(), Ok(receipt));
            assert!(receipt.encode().len() <= MAX_RECEIPT_BYTES);
            // With another's signature, or another content under its own, it is of no batch that was signed.
            let other = &receipts[usize::from(n + 1) % receipts.len()];
            let swapped = Receipt {
                acceptance: receipt.acceptance.clone(),
                signature: other.signature.clone(),
            };
            assert_eq!(swapped.verify(&keys).is_ok(), size == 1, "{n} of {size}");
            let mut later = receipt.clone();
            later.acceptance.received_at = UnixSeconds(4);
            assert!(later.verify(&keys).is_err(), "{n} of {size}");
        }
    }
    assert!(sign_batch(Vec::new(), &world.signers[1]).is_empty());
}

#[test]
fn whole_batches_say_what_their_receipts_say_and_have_one_form() {
    let world = World::new(Shape::default());
    let keys = world.manifest.manifest().party_keys();
    let wards = ["ward-7", "ward-8", "ward-9"].map(|id| ElectionId::new(id).expect("slug"));
    let stated = |n: u8| Acceptance {
        election: wards[usize::from(n / 2 % 3)].clone(),
        of_box: BoxId(n.into()),
        digest: Digest([n; 32]),
        ciphertext_hash: Hash32([n ^ 0xff; 32]),
        received_at: UnixSeconds(u64::MAX - u64::from(n)),
        position: u64::from(n) << 40,
        ..acceptance()
    };
    for size in [1, 2, 5, 64, 65, 130] {
        let receipts = sign_batch((0..size).map(stated).collect(), &world.signers[1]);
        let whole = whole_batches(&receipts);
        assert_eq!(whole.len(), usize::from(size).div_ceil(SIGNED_TOGETHER));
        let mut taken = Vec::new();
        for wire in &whole {
            let batch = WholeBatch::from_wire(wire, Role::P2).expect("well-formed");
            assert!(batch.batch().verify(&keys));
            // Of another party it is a batch that nobody signed.
            let other = WholeBatch::from_wire(wire, Role::P3).expect("well-formed");
            assert!(!other.batch().verify(&keys));
            taken.extend(batch.into_receipts());
        }
        assert_eq!(taken, receipts, "path and all");
    }
    assert!(whole_batches(&[]).is_empty());
    let good = whole_batches(&sign_batch((0..5).map(stated).collect(), &world.signers[1])).remove(0);
    for at in 0..good.receipts.len() {
        let mut changed = good.clone();
        changed.receipts[at] ^= 1;
        let taken = WholeBatch::from_wire(&changed, Role::P2);
        assert!(!taken.is_ok_and(|batch| batch.batch().verify(&keys)), "byte {at}");
    }
    let refused = |change: &dyn Fn(&mut wire::ReceiptBatch)| {
        let mut changed = good.clone();
        change(&mut changed);
        WholeBatch::from_wire(&changed, Role::P2).expect_err("malformed")
    };
    assert_eq!(refused(&|of| _ = of.signature.pop()), ReceiptError::Signature(63));
    assert!(matches!(
        refused(&|of| of.elections[1] = "No slug".into()),
        ReceiptError::Id(_)
    ));
    let beyond = u64::MAX.to_be_bytes();
    assert_eq!(
        refused(&|of| of.receipts[WHOLE_RECEIPT_BYTES - 8..WHOLE_RECEIPT_BYTES].copy_from_slice(&beyond)),
        ReceiptError::Position(u64::MAX)
    );
    let whole = |error| matches!(error, ReceiptError::Whole { .. });
    assert!(whole(refused(&|of| _ = of.receipts.pop())));
    assert!(whole(refused(&|of| of.receipts.clear())));
    // Longer than an honest party's, and with more elections than receipts: not even looked through.
    assert!(whole(refused(
        &|of| of.receipts = of.receipts[..WHOLE_RECEIPT_BYTES].repeat(SIGNED_TOGETHER + 1)
    )));
    assert!(whole(refused(
        &|of| of.elections = (0..4_096).map(|n| format!("ward-{n}")).collect()
    )));
    assert!(whole(refused(&|of| _ = of.elections.pop())));
    assert!(whole(refused(&|of| of.elections.push("ward-1".into()))));
    assert!(whole(refused(&|of| of.elections[1] = of.elections[0].clone())));
    assert!(whole(refused(&|of| of
        .receipts
        .rotate_left(2 * WHOLE_RECEIPT_BYTES))));
}

#[test]
fn a_batch_signature_has_one_form() {
    let world = World::new(Shape::default());
    let keys = world.manifest.manifest().party_keys();
    let stated = |n: u8| Acceptance {
        digest: Digest([n; 32]),
        ..acceptance()
    };
    let receipts = sign_batch((0..5).map(stated).collect(), &world.signers[1]);
    let taken = |signature: Vec<u8>| {
        Receipt::from_wire(&wire::Receipt {
            signature,
            ..receipts[4].to_wire()
        })
    };
    let good = receipts[4].to_wire().signature;
    assert_eq!(
        good.len(),
        64 + 4 + 32,
        "the fifth of five stands next to the root"
    );
    assert_eq!(taken(good.clone()), Ok(receipts[4].clone()));
    for length in (0..64)
        .chain(65..good.len())
        .chain([good.len() + 1, good.len() + 32])
    {
        let mut bytes = good.clone();
        bytes.resize(length, 0);
        assert_eq!(taken(bytes), Err(ReceiptError::Signature(length)));
    }
    // A batch of one is 64 bytes, never a size of 1 and no path; a place lies within its batch.
    for (size, place) in [(1u16, 0u16), (0, 0), (5, 5)] {
        let mut bytes = good[..64].to_vec();
        bytes.extend_from_slice(&size.to_be_bytes());
        bytes.extend_from_slice(&place.to_be_bytes());
        assert_eq!(taken(bytes), Err(ReceiptError::Signature(68)));
    }
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        assert!(
            !taken(bytes).is_ok_and(|receipt| receipt.verify(&keys).is_ok()),
            "byte {at}"
        );
    }
}

#[test]
fn timely_means_in_time_by_the_signers_clock() {
    let world = World::new(Shape::default());
    let election = world.election();
    let at = |received_s| Acceptance {
        received_at: UnixSeconds(received_s),
        ..acceptance()
    };
    let commitments = [Hash32([0; 32]); 3];
    let id = || world.manifest.manifest().election().clone();
    let online = |cast_at| BallotHeader::online(id(), BoxId(1), UnixSeconds(cast_at), commitments);
    assert!(at(OPENS).is_timely(&online(OPENS), &election));
    assert!(at(OPENS + 60).is_timely(&online(OPENS), &election));
    assert!(!at(OPENS + 61).is_timely(&online(OPENS), &election));
    assert!(!at(OPENS - 3).is_timely(&online(OPENS), &election));
    assert!(!at(OPENS).is_timely(&online(OPENS - 1), &election));
    assert!(!at(CLOSES).is_timely(&online(CLOSES + 1), &election));
    let mark = crate::ballot::StationMark {
        station: StationId(1),
        sequence: 1,
    };
    let station = BallotHeader::station(id(), BoxId(1), true, UnixSeconds(OPENS), commitments, mark);
    assert!(at(DRAINED).is_timely(&station, &election));
    assert!(!at(DRAINED + 1).is_timely(&station, &election));
    // Records until the online channel closes: a later one would only put out what was cast.
    assert!(at(CLOSES).is_timely_record(&election));
    assert!(!at(CLOSES + 1).is_timely_record(&election));
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
            received_at: UnixSeconds(9),
            ..base.clone()
        },
    ];
    assert!(others.iter().all(|other| other.log_leaf() != base.log_leaf()));
}
