//! Answers in parts: made as they are read, holding their caller's place until they end, and ended when nobody reads them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt as _};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::Status;

use crate::rpc::seams::Answers;

/// How long a part waits for its reader.
pub(crate) const UNREAD: Duration = Duration::from_secs(30);

/// Sends `parts` one after the other; the next one is made when the last but one was read. `place` is given back when they end, or when a part was
/// not read for `unread`; then the reader finds an error at the end, and no more than two parts have waited for it.
pub(crate) fn answered<T: Send + 'static>(
    parts: impl Stream<Item = Result<T, Status>> + Send + 'static,
    place: OwnedSemaphorePermit,
    unread: Duration,
) -> Answers<T> {
    let (sender, mut receiver) = mpsc::channel(1);
    let cut = Arc::new(AtomicBool::new(false));
    let cutting = Arc::clone(&cut);
    tokio::spawn(async move {
        let _place = place;
        let mut parts = std::pin::pin!(parts);
        loop {
            let part = tokio::select! {
                part = parts.next() => part,
                () = sender.closed() => return,
            };
            let Some(part) = part else { return };
            match tokio::time::timeout(unread, sender.send(part)).await {
                Ok(Ok(())) => {}
                // The reader went away.
                Ok(Err(_)) => return,
                Err(_) => {
                    cutting.store(true, Ordering::Release);
                    return;
                }
            }
        }
    });
    let mut over = false;
    stream::poll_fn(move |context| {
        if over {
            return std::task::Poll::Ready(None);
        }
        receiver.poll_recv(context).map(|part| {
            if part.is_none() {
                over = true;
                return cut.load(Ordering::Acquire).then(|| {
                    Err(Refusal::new(
                        Reason::MessageTooSlow,
                        format_args!("an answer in parts was not read for {} s", unread.as_secs()),
                    )
                    .into())
                });
            }
            part
        })
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::Semaphore;

    use super::*;

    fn place(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
        Arc::clone(places).try_acquire_owned().expect("a place")
    }

    async fn free(places: &Arc<Semaphore>, count: usize) {
        let all = places.acquire_many(count as u32);
        drop(
            tokio::time::timeout(Duration::from_secs(20), all)
                .await
                .expect("given back"),
        );
    }

    #[tokio::test]
    async fn an_answer_is_made_as_it_is_read_and_gives_its_place_back_at_its_end() {
        let places = Arc::new(Semaphore::new(2));
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let parts = stream::iter(0..1000).map(move |i| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Status>(i)
        });
        let mut answer = answered(parts, place(&places), UNREAD);
        assert_eq!(answer.next().await.expect("a part").expect("fine"), 0);
        assert!(made.load(Ordering::Relaxed) <= 3, "not the whole answer at once");
        assert_eq!(
            places.available_permits(),
            1,
            "the place is held while it is read"
        );
        let rest: Vec<_> = answer.map(|part| part.expect("fine")).collect().await;
        assert_eq!((rest.len(), rest.last()), (999, Some(&999)));
        free(&places, 2).await;
        // Whoever goes away gives the place back at once, also in the midst of a part.
        let endless = stream::once(std::future::pending::<Result<i32, Status>>());
        drop(answered(endless, place(&places), UNREAD));
        free(&places, 2).await;
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_ends_and_does_not_look_whole() {
        let places = Arc::new(Semaphore::new(1));
        let parts = stream::iter((0..1000).map(Ok::<_, Status>));
        let mut answer = answered(parts, place(&places), Duration::from_millis(50));
        free(&places, 1).await;
        let mut read = 0;
        let end = loop {
            match answer.next().await.expect("an error comes before the end") {
                Ok(_) => read += 1,
                Err(status) => break Refusal::of_status(&status),
            }
        };
        assert!(read <= 2, "{read} parts waited");
        assert_eq!(end.reason, Reason::MessageTooSlow);
        assert!(answer.next().await.is_none());
    }
}
