//! Threads that open and check submissions, behind a queue with an end: what does not fit is refused, not remembered.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

type Work = Box<dyn FnOnce() + Send>;

/// Why work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PoolError {
    /// The queue is full.
    #[error("{0} submissions are waiting to be checked, no more are taken")]
    Full(usize),
    /// The pool is stopping, or the work panicked.
    #[error("the checking threads have stopped")]
    Stopped,
}

/// A fixed number of threads. Dropping it lets queued work end, then stops them.
#[derive(Debug)]
pub(super) struct Pool {
    queue: Option<mpsc::Sender<Work>>,
    capacity: usize,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// `threads` threads (0: one for each processor) and room for `capacity` waiting pieces of work.
    ///
    /// # Errors
    /// The operating system gives no more threads.
    pub(super) fn start(threads: usize, capacity: usize) -> std::io::Result<Pool> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            given => given,
        };
        let (queue, work) = mpsc::channel::<Work>(capacity);
        let work = Arc::new(Mutex::new(work));
        let threads = (0..threads)
            .map(|i| {
                let work = Arc::clone(&work);
                std::thread::Builder::new()
                    .name(format!("check-{i}"))
                    .spawn(move || {
                        loop {
                            let next = work
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .blocking_recv();
                            match next {
                                // A panic is this program's fault; the caller is told `Stopped` and the thread lives on.
                                Some(work) => {
                                    drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)))
                                }
                                None => return,
                            }
                        }
                    })
            })
            .collect::<Result<_, _>>()?;
        Ok(Pool {
            queue: Some(queue),
            capacity,
            threads,
        })
    }

    /// Does `work` on a thread of the pool.
    ///
    /// # Errors
    /// [`PoolError::Full`] at once when the queue is full; [`PoolError::Stopped`] when the pool ends before the work does.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let (done, result) = oneshot::channel();
        let work: Work = Box::new(move || drop(done.send(work())));
        self.queue
            .as_ref()
            .ok_or(PoolError::Stopped)?
            .try_send(work)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => PoolError::Full(self.capacity),
                mpsc::error::TrySendError::Closed(_) => PoolError::Stopped,
            })?;
        result.await.map_err(|_| PoolError::Stopped)
    }
}

impl Pool {
    /// Pieces of work that wait for a thread.
    pub(super) fn waiting(&self) -> usize {
        self.queue
            .as_ref()
            .map_or(0, |queue| self.capacity - queue.capacity())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            // A thread never panics: it catches what its work does.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn refuses_what_does_not_fit_and_does_the_rest() {
        let pool = Arc::new(Pool::start(1, 1).expect("threads"));
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let (started, has_started) = oneshot::channel();
        let busy = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move {
                pool.run(move || {
                    let _ = started.send(());
                    gate.recv()
                })
                .await
            }
        });
        has_started.await.expect("the thread runs");
        let waiting = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.run(|| 7).await }
        });
        while pool.queue.as_ref().expect("open").capacity() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(|| 8).await, Err(PoolError::Full(1)));
        release.send(()).expect("the work waits");
        assert_eq!(waiting.await.expect("task"), Ok(7));
        assert!(busy.await.expect("task").is_ok());
    }

    #[tokio::test]
    async fn survives_a_panic_in_its_work() {
        let pool = Pool::start(1, 4).expect("threads");
        assert_eq!(
            pool.run(|| -> u8 { panic!("on purpose") }).await,
            Err(PoolError::Stopped)
        );
        assert_eq!(pool.run(|| 3).await, Ok(3));
    }
}
