//! A demand that comes before the frame.

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_proto::envelope::Signer;
use tally_proto::ids::{BoxId, Hash32, Role};
use tally_proto::reason::Reason;
use tally_proto::session::{Answer, Demand};
use tally_proto::wire;

use super::super::board::Board;
use super::super::demands::supply;
use crate::entropy::SeededEntropy;

#[test]
fn a_frame_that_is_not_made_yet_is_pending_and_supplied_once_it_is() {
    let mut rng = StdRng::seed_from_u64(4);
    let signers = [(); 3].map(|()| Signer::generate(&mut rng));
    let keys = [0, 1, 2].map(|i: usize| signers[i].public_key());
    let board = Board::new(Hash32([1; 32]), Role::P2, keys);
    let (_key, one_time_key) = Answer::expected(&mut rng);
    let demand = Demand {
        session: Hash32([1; 32]),
        election: "ward-7".parse().expect("a slug"),
        of_box: BoxId(3),
        by: Role::P1,
        of: Role::P2,
        sequence: 0,
        one_time_key,
    };
    let envelope = demand.sign(&signers[0]);
    let entropy = SeededEntropy::new(1);
    let ask = || supply(&board, &envelope, &signers[1], &entropy);
    let pending = ask().expect_err("nothing was sent yet");
    assert_eq!(pending.reason, Reason::SessionFramePending, "{pending}");
    assert!(pending.detail.contains("frame 0 to P1"), "{pending}");
    board.keep(Role::P1, &wire::Frame::default(), false);
    ask().expect("it is kept now");
}
