//! Frames of a session: made and checked here, so that everything behind this door is in order.

use bytes::Bytes;
use tally_mpc::{Label, MAX_MESSAGE_BYTES, Phase, Scope};

use super::abort::MAX_ABORT_BYTES;
use crate::ids::Hash32;
use crate::wire;

/// Largest gRPC message of a session: the longest payload, and more than enough for the other fields.
pub const MAX_FRAME_BYTES: usize = MAX_MESSAGE_BYTES + 1024;
/// Longest signed Abort that a frame carries: the longest payload, and its signature.
const MAX_SIGNED_ABORT_BYTES: usize = MAX_ABORT_BYTES + 1024;
/// Length of a contribution to a pair's seed.
pub const CONTRIBUTION_BYTES: usize = 32;

/// What a small frame takes up besides its content; without it, many empty frames would weigh nothing.
const OVERHEAD: usize = 256;

/// What a frame brings.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    /// The sender's contribution to the pair's seed.
    Opening(Bytes),
    /// A message of the engine.
    Message(Label, Bytes),
    /// The sender's part is done.
    Close,
    /// The sender stopped; an encoded signed Abort.
    Abort(Bytes),
}

impl Body {
    /// Bytes that count against a queue's bound.
    pub fn weight(&self) -> usize {
        OVERHEAD
            + match self {
                Self::Opening(bytes) | Self::Message(_, bytes) | Self::Abort(bytes) => bytes.len(),
                Self::Close => 0,
            }
    }
}

/// Up to this length a payload that arrived is copied out of the connection's buffer.
const SMALL_BYTES: usize = 64 << 10;

/// A frame that arrived, with a memory of its own: its fields are slices of the connection's buffer, and a small one would hold all of
/// what came with it.
pub fn detached(frame: wire::Frame) -> wire::Frame {
    let own = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
    wire::Frame {
        session: own(&frame.session),
        label: own(&frame.label),
        payload: if frame.payload.len() <= SMALL_BYTES {
            own(&frame.payload)
        } else {
            frame.payload
        },
        ..frame
    }
}

/// Bytes of a frame that arrived that count against a queue's bound: all it holds, whether it is in order or not.
pub fn weight(frame: &wire::Frame) -> usize {
    OVERHEAD + frame.session.len() + frame.label.len() + frame.payload.len()
}

/// What is wrong with a frame. The neighbour that sent it is at fault, or whoever sits on the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame names another session.
    #[error("a frame of session {got} arrived in session {expected}")]
    Session {
        /// This session, shortened.
        expected: String,
        /// What the frame says, shortened.
        got: String,
    },
    /// A frame is repeated, missing or out of order.
    #[error("frame {got} arrived where frame {expected} was due: one was repeated, left out or moved")]
    Sequence {
        /// The number that was due.
        expected: u64,
        /// The number of the frame.
        got: u64,
    },
    /// The frame's kind is not known, or not allowed at that place.
    #[error("a frame of kind {0} arrived where none such may be")]
    Kind(i32),
    /// The label is not one of the engine's.
    #[error("a frame's label of {0} bytes names no step of the tally")]
    Label(usize),
    /// The payload's length does not fit the kind.
    #[error("a payload of {got} bytes arrived where at most {limit} are allowed")]
    Length {
        /// What is allowed.
        limit: usize,
        /// What arrived.
        got: usize,
    },
}

/// Numbers and names the outgoing frames of one direction.
#[derive(Clone, Debug)]
pub struct Numbering {
    session: Hash32,
    session_bytes: Bytes,
    next: u64,
}

impl Numbering {
    /// From 0 on, of that session.
    pub fn new(session: Hash32) -> Self {
        Self {
            session,
            session_bytes: Bytes::copy_from_slice(session.as_bytes()),
            next: 0,
        }
    }

    /// The number that is due.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The next frame to send.
    pub fn stamp(&mut self, body: Body) -> wire::Frame {
        let sequence = self.next;
        self.next += 1;
        let (kind, label, payload) = match body {
            Body::Opening(payload) => (wire::FrameKind::Opening, Bytes::new(), payload),
            Body::Message(label, payload) => (
                wire::FrameKind::Message,
                Bytes::copy_from_slice(&label.to_bytes()),
                payload,
            ),
            Body::Close => (wire::FrameKind::Close, Bytes::new(), Bytes::new()),
            Body::Abort(payload) => (wire::FrameKind::Abort, Bytes::new(), payload),
        };
        wire::Frame {
            session: self.session_bytes.clone(),
            sequence,
            kind: kind.into(),
            label,
            payload,
        }
    }

    /// Checks the next frame that arrived.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&mut self, frame: wire::Frame) -> Result<Body, FrameError> {
        if frame.session != self.session.as_bytes()[..] {
            let got = Hash32::from_slice(&frame.session).map_or_else(|e| e.to_string(), |hash| hash.short());
            return Err(FrameError::Session {
                expected: self.session.short(),
                got,
            });
        }
        if frame.sequence != self.next {
            return Err(FrameError::Sequence {
                expected: self.next,
                got: frame.sequence,
            });
        }
        let opening = frame.sequence == 0;
        let got = frame.payload.len();
        let (limit, body) = match frame.kind() {
            wire::FrameKind::Opening if opening => (CONTRIBUTION_BYTES, Body::Opening(frame.payload)),
            wire::FrameKind::Message if !opening => (
                MAX_MESSAGE_BYTES,
                Body::Message(parse_label(&frame.label)?, frame.payload),
            ),
            wire::FrameKind::Close if !opening => (0, Body::Close),
            wire::FrameKind::Abort if !opening => (MAX_SIGNED_ABORT_BYTES, Body::Abort(frame.payload)),
            _ => return Err(FrameError::Kind(frame.kind)),
        };
        if got > limit || (opening && got != limit) {
            return Err(FrameError::Length { limit, got });
        }
        if !matches!(body, Body::Message(..)) && !frame.label.is_empty() {
            return Err(FrameError::Label(frame.label.len()));
        }
        self.next += 1;
        Ok(body)
    }
}

/// A label as the engine writes it.
///
/// # Errors
/// [`FrameError::Label`].
pub fn parse_label(bytes: &[u8]) -> Result<Label, FrameError> {
    let whole: &[u8; Label::BYTES] = bytes.try_into().map_err(|_| FrameError::Label(bytes.len()))?;
    let [phase, s0, s1, s2, s3, c0, c1, c2, c3, r0, r1, r2, r3] = *whole;
    let phase = Phase::from_number(phase).ok_or(FrameError::Label(bytes.len()))?;
    Ok(Label {
        scope: Scope {
            phase,
            step: u32::from_le_bytes([s0, s1, s2, s3]),
            chunk: u32::from_le_bytes([c0, c1, c2, c3]),
        },
        round: u32::from_le_bytes([r0, r1, r2, r3]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label() -> Label {
        Label {
            scope: Scope {
                phase: Phase::Sort,
                step: 0x0102_0304,
                chunk: 7,
            },
            round: 0xffff_fff0,
        }
    }

    fn numbering(session: u8) -> Numbering {
        Numbering::new(Hash32([session; 32]))
    }

    /// A receiver that has taken the opening frame, and the two frames that follow it.
    fn opened() -> (Numbering, wire::Frame, wire::Frame) {
        let (mut from, mut to) = (numbering(1), numbering(1));
        let opening = from.stamp(Body::Opening(Bytes::from_static(&[5; 32])));
        assert_eq!(to.check(opening), Ok(Body::Opening(Bytes::from_static(&[5; 32]))));
        let first = from.stamp(Body::Message(label(), Bytes::from_static(b"one")));
        let second = from.stamp(Body::Message(label(), Bytes::from_static(b"two")));
        (to, first, second)
    }

    #[test]
    fn frames_in_order_pass() {
        let (mut to, first, second) = opened();
        assert_eq!(
            to.check(first),
            Ok(Body::Message(label(), Bytes::from_static(b"one")))
        );
        assert_eq!(
            to.check(second),
            Ok(Body::Message(label(), Bytes::from_static(b"two")))
        );
    }

    #[test]
    fn repeated_missing_and_moved_frames_are_refused() {
        let (mut to, first, second) = opened();
        assert_eq!(
            to.check(second.clone()),
            Err(FrameError::Sequence { expected: 1, got: 2 })
        );
        assert!(to.check(first.clone()).is_ok());
        assert_eq!(to.check(first), Err(FrameError::Sequence { expected: 2, got: 1 }));
        assert!(to.check(second).is_ok());
    }

    #[test]
    fn another_sessions_frame_is_refused() {
        let (mut to, first, _) = opened();
        let foreign = wire::Frame {
            session: Bytes::from_static(&[2; 32]),
            ..first.clone()
        };
        assert!(matches!(to.check(foreign), Err(FrameError::Session { .. })));
        let cut = wire::Frame {
            session: Bytes::from_static(&[1; 31]),
            ..first
        };
        assert!(matches!(to.check(cut), Err(FrameError::Session { .. })));
    }

    #[test]
    fn wrong_kinds_labels_and_lengths_are_refused() {
        let (mut to, first, _) = opened();
        let with = |kind: i32| wire::Frame {
            kind,
            ..first.clone()
        };
        for kind in [0, 1, 5, -1] {
            assert_eq!(to.check(with(kind)), Err(FrameError::Kind(kind)));
        }
        assert_eq!(to.check(with(3)), Err(FrameError::Length { limit: 0, got: 3 }));
        for bad in [&[2u8; 12][..], &[0; 13], &[9; 13], &[2; 14], &[]] {
            let frame = wire::Frame {
                label: Bytes::copy_from_slice(bad),
                ..first.clone()
            };
            assert_eq!(to.check(frame), Err(FrameError::Label(bad.len())));
        }
        let long = Bytes::from(vec![0; MAX_MESSAGE_BYTES + 1]);
        let frame = wire::Frame {
            payload: long,
            ..first.clone()
        };
        assert_eq!(
            to.check(frame),
            Err(FrameError::Length {
                limit: MAX_MESSAGE_BYTES,
                got: MAX_MESSAGE_BYTES + 1
            })
        );
        let labelled = wire::Frame {
            payload: Bytes::new(),
            ..with(3)
        };
        assert_eq!(
            to.check(labelled),
            Err(FrameError::Label(Label::BYTES)),
            "only messages have labels"
        );
        assert!(to.check(first).is_ok(), "a refused frame does not count");
    }

    #[test]
    fn an_opening_has_exactly_32_bytes_and_comes_first() {
        for len in [0, 31, 33] {
            let frame = numbering(1).stamp(Body::Opening(Bytes::from(vec![0; len])));
            assert_eq!(
                numbering(1).check(frame),
                Err(FrameError::Length { limit: 32, got: len })
            );
        }
        let frame = numbering(1).stamp(Body::Message(label(), Bytes::new()));
        assert_eq!(numbering(1).check(frame), Err(FrameError::Kind(2)));
    }

    #[test]
    fn labels_survive() {
        for phase in Phase::ALL.into_iter().chain([Phase::Proof, Phase::Barrier]) {
            let label = Label {
                scope: Scope {
                    phase,
                    step: 1,
                    chunk: u32::MAX,
                },
                round: 9,
            };
            assert_eq!(parse_label(&label.to_bytes()), Ok(label));
        }
    }
}
