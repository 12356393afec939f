//! What a voter's device reads of a party's answers: refusals, and offsets told.

use std::str::FromStr as _;

use tally_proto::ids::{Digest, Role};
use tally_proto::offsets::{OffsetKey, Telling};
use tally_proto::reason::Reason;
use tally_proto::refusal::{METADATA_KEY, Refusal};
use tonic::{Code, Status};

/// A status: its code, its reason up to the first line's end, its message. What people are shown of it steers no terminal and has an end.
pub(crate) fn refusal(data: &[u8]) {
    let Some((code, rest)) = data.split_first() else {
        return;
    };
    let at = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (reason, message) = (&rest[..at], String::from_utf8_lossy(&rest[at..]));
    let mut status = Status::new(Code::from_i32(i32::from(*code % 17)), message);
    if let Ok(value) = tonic::metadata::MetadataValue::try_from(reason) {
        status.metadata_mut().insert(METADATA_KEY, value);
    }
    let read = Refusal::of_status(&status);
    assert!(read.detail.len() <= 1024 && !read.detail.contains(|c: char| c.is_control()));
    if let Some(known) = std::str::from_utf8(reason)
        .ok()
        .and_then(|code| Reason::from_str(code).ok())
    {
        assert_eq!(read.reason, known, "a reason that is named is the reason");
    }
    assert_eq!(Refusal::from_wire(&read.to_wire(&[7; 32])), read);
}

pub(crate) fn refusal_seeds() -> Vec<Vec<u8>> {
    let text = |code: u8, text: &str| [&[code], text.as_bytes()].concat();
    vec![
        text(3, "ballot.before-opening\nthe box takes nothing"),
        text(14, "party.busy\n\u{1b}[2J"),
        text(2, "\ntcp connect error"),
    ]
}

fn telling() -> (Telling, Vec<u8>) {
    let (key, record) = (
        OffsetKey::from_bytes(&[5; 64]).expect("64 bytes"),
        Digest([1; 32]),
    );
    let telling = Telling::new(Role::P1, &record, &[2; 32], &[3; 32]);
    let told = telling.seal(&key.offset(Role::P1, &record), &key.offset(Role::P2, &record));
    (telling, told)
}

/// What was told opens; nothing else does.
pub(crate) fn offsets_told(data: &[u8]) {
    let (telling, told) = telling();
    assert_eq!(telling.open(data).is_ok(), data == told);
}

pub(crate) fn offsets_told_seeds() -> Vec<Vec<u8>> {
    vec![telling().1]
}
