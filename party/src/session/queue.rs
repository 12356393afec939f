//! A queue between the engine's thread, which blocks, and the connection's task, which must not. Bounded in bytes.
//!
//! The bound is what a party has to hold for a neighbour that does not read: a full queue makes the blocking side wait (up to its
//! deadline) and the task pend, which leaves bytes in the HTTP/2 window and so slows the sender down.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Why nothing more goes in or comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueueError {
    /// The other side is gone.
    #[error("the queue is closed")]
    Closed,
    /// The deadline passed.
    #[error("the deadline passed")]
    TimedOut,
    /// The blocking side was told to stop.
    #[error("the wait was interrupted")]
    Interrupted,
}

/// First in, first out. Either side may be a thread or a task; there is one of each.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    capacity_bytes: usize,
}

struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    /// No more items are taken in; those inside still come out.
    ended: bool,
    /// The blocking side waits no more; the task's side goes on.
    interrupted: bool,
    waker: Option<Waker>,
    /// The blocking side sleeps on `changed`: a notification costs a system call, so it is made only then.
    sleeping: bool,
}

impl<T> Queue<T> {
    /// An empty queue that holds `capacity_bytes`, or one longer item.
    pub(crate) fn new(capacity_bytes: usize) -> Self {
        let state = State {
            items: VecDeque::new(),
            bytes: 0,
            ended: false,
            interrupted: false,
            waker: None,
            sleeping: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            capacity_bytes,
        }
    }

    /// Blocks until there is room.
    ///
    /// # Errors
    /// The queue was ended or interrupted, or `deadline` passed.
    pub(crate) fn push(&self, item: T, bytes: usize, deadline: Instant) -> Result<(), QueueError> {
        let mut state = self.lock();
        loop {
            if state.interrupted {
                return Err(QueueError::Interrupted);
            }
            if state.ended || self.has_room(&state, bytes) {
                return state.insert(item, bytes);
            }
            state = self.sleep(state, deadline)?;
        }
    }

    /// Blocks until there is an item.
    ///
    /// # Errors
    /// The queue was ended and is empty, or it was interrupted, or `deadline` passed.
    pub(crate) fn pop(&self, deadline: Instant) -> Result<T, QueueError> {
        let mut state = self.lock();
        loop {
            if state.interrupted {
                return Err(QueueError::Interrupted);
            }
            if let Some(item) = state.remove() {
                return Ok(item);
            }
            if state.ended {
                return Err(QueueError::Closed);
            }
            state = self.sleep(state, deadline)?;
        }
    }

    /// Ready once there is room, or the queue was ended.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>, bytes: usize) -> Poll<()> {
        let mut state = self.lock();
        if state.ended || self.has_room(&state, bytes) {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Adds an item without regard to the bound: for the one task that has waited for room.
    ///
    /// # Errors
    /// The queue was ended.
    pub(crate) fn push_now(&self, item: T, bytes: usize) -> Result<(), QueueError> {
        let mut state = self.lock();
        let result = state.insert(item, bytes);
        self.wake_thread(&state);
        result
    }

    /// The next item; `None` once the queue was ended and is empty.
    pub(crate) fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.lock();
        if let Some(item) = state.remove() {
            self.wake_thread(&state);
            return Poll::Ready(Some(item));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes in no more; what is inside still comes out.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        self.changed.notify_all();
    }

    /// Ends every present and later wait of the blocking side; the task's side goes on.
    pub(crate) fn interrupt(&self) {
        self.lock().interrupted = true;
        self.changed.notify_all();
    }

    /// Ends the queue and drops what is inside.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        state.items.clear();
        state.bytes = 0;
        drop(state);
        self.end();
    }

    fn has_room(&self, state: &State<T>, bytes: usize) -> bool {
        state.items.is_empty() || state.bytes + bytes <= self.capacity_bytes
    }

    fn sleep<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<T>>,
        deadline: Instant,
    ) -> Result<MutexGuard<'a, State<T>>, QueueError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(QueueError::TimedOut);
        }
        state.sleeping = true;
        let (mut state, _) = self
            .changed
            .wait_timeout(state, left)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        state.sleeping = false;
        Ok(state)
    }

    fn wake_thread(&self, state: &State<T>) {
        if state.sleeping {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics while it holds the lock, so a poisoned state is a whole one.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn insert(&mut self, item: T, bytes: usize) -> Result<(), QueueError> {
        if self.ended {
            return Err(QueueError::Closed);
        }
        self.items.push_back((item, bytes));
        self.bytes += bytes;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        Ok(())
    }

    fn remove(&mut self) -> Option<T> {
        let (item, bytes) = self.items.pop_front()?;
        self.bytes -= bytes;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn a_full_queue_refuses_after_the_deadline_and_takes_one_oversized_item() {
        let queue = Queue::new(10);
        queue
            .push('a', 100, Instant::now())
            .expect("an empty queue takes anything");
        assert_eq!(queue.push('b', 1, Instant::now()), Err(QueueError::TimedOut));
        assert_eq!(queue.pop(Instant::now()), Ok('a'));
        assert_eq!(queue.pop(Instant::now()), Err(QueueError::TimedOut));
        queue.push('c', 1, Instant::now()).expect("room again");
        queue.end();
        assert_eq!(queue.push('d', 1, soon()), Err(QueueError::Closed));
        assert_eq!(queue.pop(soon()), Ok('c'));
        assert_eq!(queue.pop(soon()), Err(QueueError::Closed));
    }

    #[test]
    fn an_interrupted_thread_stops_and_the_task_goes_on() {
        let queue = Queue::new(10);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.pop(soon()));
            queue.interrupt();
            assert_eq!(waiting.join().expect("no panic"), Err(QueueError::Interrupted));
        });
        assert_eq!(queue.push('a', 1, soon()), Err(QueueError::Interrupted));
        queue.push_now('b', 1).expect("the task's side goes on");
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(queue.poll_pop(&mut cx), Poll::Ready(Some('b')));
        assert_eq!(queue.poll_pop(&mut cx), Poll::Pending);
        queue.end();
        assert_eq!(queue.poll_pop(&mut cx), Poll::Ready(None));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn thread_and_task_pass_everything_in_order_both_ways() {
        let there = Arc::new(Queue::new(64));
        let back = Arc::new(Queue::new(64));
        let (from, to) = (Arc::clone(&there), Arc::clone(&back));
        let echo = tokio::spawn(async move {
            while let Some(item) = poll_fn(|cx| from.poll_pop(cx)).await {
                poll_fn(|cx| to.poll_room(cx, 16)).await;
                to.push_now(item, 16).expect("the thread still reads");
            }
            to.end();
        });
        let thread = tokio::task::spawn_blocking(move || {
            let mut next = 0u32;
            for i in 0..10_000u32 {
                there.push(i, 16, soon()).expect("room comes");
                if i % 3 == 2 {
                    for _ in 0..3 {
                        assert_eq!(back.pop(soon()), Ok(next));
                        next += 1;
                    }
                }
            }
            there.end();
            while next < 10_000 {
                assert_eq!(back.pop(soon()), Ok(next));
                next += 1;
            }
            assert_eq!(back.pop(soon()), Err(QueueError::Closed));
        });
        thread.await.expect("the thread passed its checks");
        echo.await.expect("the task ends with the queue");
    }
}
