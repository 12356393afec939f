//! What a saboteur between two parties does to frames.

use super::*;

/// What a saboteur on P1's connection to P2 does to the frames that P2 receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tamper {
    Nothing,
    Contribution,
    OtherSession,
    Repeat,
    Leave,
    Swap,
    Flip,
    Truncate,
    Empty,
    TooLong,
    Relabel,
    Kind,
    Early,
    Close,
    /// The connection brings nothing more; the party behind it lives.
    Silent,
    /// The party says nothing more, on no way.
    Mute,
    /// One frame comes late.
    Late,
    /// One frame comes much later, and the third party answers no question.
    LateAndUnrelayed,
    /// Every frame comes, a little late.
    Drip,
}

/// The frame that is tampered with: the first message of P1 to P2, a part of the shuffle.
pub(super) const AT: u64 = 1;

/// How late the late frame is.
pub(super) const LATE: Duration = Duration::from_millis(900);
/// Later than any wait of a busy machine.
pub(super) const MUCH_LATER: Duration = Duration::from_secs(4);
/// How late each frame of a dripping connection is.
pub(super) const DRIP: Duration = Duration::from_millis(40);

impl Tamper {
    pub(super) fn apply(self, frames: Frames) -> Frames {
        let mut held = None;
        frames
            .flat_map(move |frame| {
                let Ok(mut frame) = frame else {
                    return futures::stream::iter(vec![frame]).boxed();
                };
                let here = frame.sequence == AT;
                let out = match self {
                    Tamper::Contribution if frame.sequence == 0 => {
                        let mut bytes = frame.payload.to_vec();
                        bytes[5] ^= 1;
                        frame.payload = bytes.into();
                        vec![frame]
                    }
                    Tamper::OtherSession if here => {
                        frame.session = Bytes::from_static(&[9; 32]);
                        vec![frame]
                    }
                    Tamper::Repeat if here => vec![frame.clone(), frame],
                    Tamper::Leave if here => vec![],
                    Tamper::Swap if here => {
                        held = Some(frame);
                        vec![]
                    }
                    Tamper::Swap if frame.sequence == AT + 1 => {
                        let mut both = vec![frame];
                        both.extend(held.take());
                        both
                    }
                    Tamper::Flip if here => {
                        let mut payload = frame.payload.to_vec();
                        payload[3] ^= 1;
                        frame.payload = payload.into();
                        vec![frame]
                    }
                    Tamper::Truncate if here => {
                        frame.payload = frame.payload.slice(..frame.payload.len() - 1);
                        vec![frame]
                    }
                    Tamper::Empty if here => {
                        frame.payload = Bytes::new();
                        vec![frame]
                    }
                    Tamper::TooLong if here => {
                        frame.payload = Bytes::from(vec![0; tally_mpc::MAX_MESSAGE_BYTES + 1]);
                        vec![frame]
                    }
                    Tamper::Relabel if here => {
                        let mut label = frame.label.to_vec();
                        label[9] ^= 1;
                        frame.label = label.into();
                        vec![frame]
                    }
                    Tamper::Kind if here => {
                        frame.kind = 77;
                        vec![frame]
                    }
                    Tamper::Close if here => {
                        frame.kind = wire::FrameKind::Close.into();
                        frame.label = Bytes::new();
                        frame.payload = Bytes::new();
                        vec![frame]
                    }
                    Tamper::Early if frame.sequence >= AT => {
                        return futures::stream::iter([Err(Status::unavailable("cut"))]).boxed();
                    }
                    Tamper::Late | Tamper::LateAndUnrelayed if here => {
                        let late = if self == Tamper::Late { LATE } else { MUCH_LATER };
                        return futures::stream::once(async move {
                            tokio::time::sleep(late).await;
                            Ok(frame)
                        })
                        .boxed();
                    }
                    Tamper::Drip => {
                        return futures::stream::once(async move {
                            tokio::time::sleep(DRIP).await;
                            Ok(frame)
                        })
                        .boxed();
                    }
                    Tamper::Silent | Tamper::Mute if frame.sequence >= AT => {
                        return futures::stream::pending().boxed();
                    }
                    _ => vec![frame],
                };
                futures::stream::iter(out.into_iter().map(Ok).collect::<Vec<_>>()).boxed()
            })
            .boxed()
    }
}
