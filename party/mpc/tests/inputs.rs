//! Inputs that do not fit together are refused, each with its error.

use tally_mpc::{
    BallotKind, BallotLayout, Choice, Contest, InputError, LayoutError, Role, Shape, TallyInput,
};

fn layout() -> BallotLayout {
    BallotLayout::new(3, vec![Contest::Single { options: 2 }]).expect("a valid layout")
}

fn shape(voters: u32, online: u32, electronic: u32, paper: u32) -> Shape {
    Shape {
        voters,
        online,
        electronic,
        paper,
    }
}

#[test]
fn shapes_that_do_not_fit() {
    let refused = |shape| TallyInput::builder(Role::P1, &layout(), shape).err();
    assert_eq!(
        refused(shape(8, 0, 0, 0)),
        Some(InputError::IndexBits {
            voters: 8,
            needed: 4,
            bits: 3
        })
    );
    assert_eq!(refused(shape(7, 1, 0, 0)), None);
    let rows = 7 + 1 + 2 * u64::from(u32::MAX);
    assert_eq!(
        refused(shape(7, u32::MAX, u32::MAX, 0)),
        Some(InputError::TooManyRows { rows })
    );
}

#[test]
fn rows_out_of_order_or_number() {
    let share = layout().pack(1, 5, &[Choice::Blank]).expect("a valid ballot");
    let mut builder = TallyInput::builder(Role::P2, &layout(), shape(1, 1, 0, 1)).expect("a valid shape");
    assert_eq!(
        builder.push_ballot(BallotKind::Online, &share, &share),
        Err(InputError::UnexpectedBallot {
            number: 1,
            kind: BallotKind::Online,
            due: None
        })
    );
    builder.push_voter(true, true, 1, 2).expect("a voter is due");
    assert_eq!(
        builder.push_voter(true, true, 1, 2),
        Err(InputError::UnexpectedVoter { number: 2, voters: 1 })
    );
    assert_eq!(
        builder.push_ballot(BallotKind::Paper, &share, &share),
        Err(InputError::UnexpectedBallot {
            number: 1,
            kind: BallotKind::Paper,
            due: Some(BallotKind::Online)
        })
    );
    builder
        .push_ballot(BallotKind::Online, &share, &share)
        .expect("an online ballot is due");
    assert_eq!(
        builder.push_ballot(BallotKind::Electronic, &share, &share),
        Err(InputError::UnexpectedBallot {
            number: 2,
            kind: BallotKind::Electronic,
            due: Some(BallotKind::Paper)
        })
    );
    assert_eq!(
        builder.finish().err(),
        Some(InputError::Missing {
            voters: 1,
            ballots: 1,
            expected_voters: 1,
            expected_ballots: 2
        })
    );
}

#[test]
fn malformed_shares() {
    let share = layout().pack(1, 5, &[Choice::Blank]).expect("a valid ballot");
    let mut builder = TallyInput::builder(Role::P3, &layout(), shape(0, 2, 0, 0)).expect("a valid shape");
    let mut padded = share.to_vec();
    *padded.last_mut().expect("not empty") |= 0x80;
    assert_eq!(
        builder.push_ballot(BallotKind::Online, &share, &padded),
        Err(InputError::Ballot {
            number: 1,
            source: LayoutError::Padding
        })
    );
    assert_eq!(
        builder.push_ballot(BallotKind::Online, &share[1..], &share),
        Err(InputError::Ballot {
            number: 1,
            source: LayoutError::Length { expected: 9, got: 8 }
        })
    );
    builder
        .push_ballot(BallotKind::Online, &share, &share)
        .expect("refusals leave the place free");
}
