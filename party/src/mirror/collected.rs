//! Answers in parts, as they are taken: bounded in number, bytes and time.

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use tally_proto::ids::Role;
use tally_proto::manifest::Manifest;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::roll::{MAX_PERSONS, MAX_REFERENCE_BYTES};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

/// How long a peer may take to answer, and for the next part where there may be many.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of shares or receipts.
const MAX_BYTES: usize = 128 << 20;
/// Receipts that one answer may hold: more than a follower lets anybody be behind.
const MAX_RECEIPTS: usize = 1 << 20;
/// Rows of a store that any peer looks through in a second.
const ROWS_A_SECOND: u64 = 10_000;
/// Voters of a roll that a peer must give in a second: some 4 Mbit/s.
const VOTERS_A_SECOND: u64 = 5_000;
/// What a roll's part and entry need besides references and person codes: tags, lengths, number, box, salt.
const ROW_BYTES: usize = 64;
/// A person code with its tag and length.
const PERSON_BYTES: usize = 34;

/// What an answer may come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    parts: usize,
    bytes: usize,
    /// Until the next part.
    next: Duration,
    /// Until the end.
    all: Duration,
}

impl Bounds {
    /// Of that many shares.
    pub(super) const fn shares(asked: usize) -> Self {
        Self {
            parts: asked,
            bytes: MAX_BYTES,
            next: PATIENCE,
            all: PATIENCE,
        }
    }

    /// Of receipts, where a log has that many entries: its owner's receipts are looked through before the first one is found.
    pub(super) const fn receipts(entries: u64) -> Self {
        let looking = Duration::from_secs(entries / ROWS_A_SECOND);
        let all = PATIENCE.saturating_add(looking);
        Self {
            parts: MAX_RECEIPTS,
            bytes: MAX_BYTES,
            next: all,
            all,
        }
    }

    /// Of a roll of at most that many voters, until `ends`.
    pub(super) fn roll(voters: u32, ends: Instant) -> Self {
        let parts = voters as usize;
        let row = ROW_BYTES + MAX_REFERENCE_BYTES + MAX_PERSONS * PERSON_BYTES;
        Self {
            parts,
            bytes: parts.saturating_mul(row),
            next: PATIENCE,
            all: ends.saturating_duration_since(Instant::now()),
        }
    }
}

/// How long all rolls of an election may take: whoever gives them more slowly is left, and the other peer is asked.
pub(super) fn rolls_take(manifest: &Manifest) -> Duration {
    let voters: u64 = manifest.boxes().iter().map(|of| u64::from(of.voters())).sum();
    let questions = Duration::from_millis(100 * manifest.boxes().len() as u64);
    Duration::from_secs(60 + voters / VOTERS_A_SECOND).saturating_add(questions)
}

/// An answer in parts within these bounds.
///
/// # Errors
/// `party.unreachable`: it took too long; `message.too-large`; what the peer refused.
pub(super) async fn collected<T: prost::Message>(
    peer: Role,
    bounds: Bounds,
    call: impl Future<Output = Result<impl Stream<Item = Result<T, Status>>, Status>>,
) -> Result<Vec<T>, Refusal> {
    let ends = Instant::now() + bounds.all;
    let soon = || ends.min(Instant::now() + bounds.next);
    let late = |_| {
        Refusal::new(
            Reason::PartyUnreachable,
            format_args!(
                "no part of an answer of {peer} within {} s, or not all within {} s",
                bounds.next.as_secs(),
                bounds.all.as_secs()
            ),
        )
    };
    let refused = |status: Status| Refusal::of_status(&status);
    let stream = timeout_at(soon(), call).await.map_err(late)?.map_err(refused)?;
    let mut stream = std::pin::pin!(stream);
    let (mut parts, mut bytes) = (Vec::new(), 0usize);
    while let Some(part) = timeout_at(soon(), stream.next()).await.map_err(late)? {
        let part = part.map_err(refused)?;
        bytes = bytes.saturating_add(part.encoded_len());
        if parts.len() == bounds.parts || bytes > bounds.bytes {
            return Err(Refusal::new(
                Reason::MessageTooLarge,
                format_args!(
                    "{peer} answers with more than the {} parts or {} bytes that there can be",
                    bounds.parts, bounds.bytes
                ),
            ));
        }
        parts.push(part);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tally_proto::wire::{RollEntry, RollPart};

    use super::*;

    fn part(entries: usize) -> RollPart {
        let entry = RollEntry {
            v: u32::MAX,
            reference: "x".repeat(MAX_REFERENCE_BYTES),
            online: true,
            persons: vec![vec![7; 32]; MAX_PERSONS],
        };
        RollPart {
            r#box: u32::MAX,
            entries: vec![entry; entries],
            salt: vec![7; 32],
        }
    }

    /// What comes of so many parts of so many entries, each after that many seconds, and when.
    async fn given(
        bounds: Bounds,
        parts: usize,
        entries: usize,
        pause_s: u64,
    ) -> (Result<usize, Reason>, u64) {
        let began = Instant::now();
        let parts = stream::iter((0..parts).map(move |_| Ok(part(entries)))).then(move |part| async move {
            tokio::time::sleep(Duration::from_secs(pause_s)).await;
            part
        });
        let taken = collected(Role::P2, bounds, async { Ok(parts) }).await;
        let taken = taken.map(|parts| parts.len()).map_err(|refusal| refusal.reason);
        (taken, began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_roll_may_take_long_as_long_as_it_comes() {
        let roll = |voters, all_s| Bounds::roll(voters, Instant::now() + Duration::from_secs(all_s));
        assert_eq!(given(roll(40, 400), 40, 1, 9).await, (Ok(40), 360));
        let late = Err(Reason::PartyUnreachable);
        assert_eq!(given(roll(40, 400), 40, 1, 11).await, (late, 10));
        assert_eq!(given(roll(40, 100), 40, 1, 9).await, (late, 100));
        assert_eq!(given(roll(40, 0), 40, 1, 9).await, (late, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn every_roll_fits_its_bounds_and_a_row_too_many_does_not() {
        let roll = |voters| Bounds::roll(voters, Instant::now() + Duration::from_secs(60));
        for voters in [1, 2, 300] {
            let rows = voters as usize;
            assert_eq!(given(roll(voters), rows, 1, 0).await, (Ok(rows), 0));
            assert_eq!(given(roll(voters), 1, rows, 0).await, (Ok(1), 0));
            let large = Err(Reason::MessageTooLarge);
            assert_eq!(given(roll(voters), rows + 1, 1, 0).await, (large, 0));
            assert_eq!(given(roll(voters), 1, rows + rows / 4 + 1, 0).await, (large, 0));
        }
    }
}
