//! Threads that open and check submissions, behind a queue with an end: what does not fit is refused, not remembered.
//!
//! The queue has a lane for every caller, and lanes take turns: who sends a thousand submissions waits for them behind everybody's first. When all is
//! full, a caller with nothing waiting takes the last place of the longest lane.
//!
//! While nothing waits and no thread is at work, a short check is done where it comes up, one at a time: handing it to a thread and back costs as
//! much as a good part of the check. As soon as there is more to do than that, all goes through the lanes.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tally_proto::pki::PeerRole;
use tokio::sync::oneshot;

/// Told whether to do it (or that there is no room for it any more).
type Work = Box<dyn FnOnce(bool) + Send>;

/// Whose submissions wait behind one another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Who comes to the public listener, by address or its /48; those of no known address together.
    Public(Option<IpAddr>),
    /// Whose certificate stands for that role: each party, registrar and station has its own.
    Named(PeerRole),
}

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
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Queue {
    capacity: usize,
    lanes: Mutex<Lanes>,
    ready: Condvar,
}

/// What waits.
#[derive(Default)]
struct Lanes {
    /// None of them is empty.
    waiting: HashMap<Lane, VecDeque<Work>>,
    /// Whose turn it is; each lane once.
    turns: VecDeque<Lane>,
    count: usize,
    /// Pieces of work that threads are at, and the one that is done on its caller's.
    under_way: usize,
    is_over: bool,
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lanes({} waiting in {})", self.count, self.turns.len())
    }
}

impl Lanes {
    /// The next piece of work, of the lane whose turn it is.
    fn next(&mut self) -> Option<Work> {
        let lane = self.turns.pop_front()?;
        let queue = self.waiting.get_mut(&lane)?;
        let work = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&lane);
        } else {
            self.turns.push_back(lane);
        }
        self.count -= 1;
        work
    }

    fn push(&mut self, lane: Lane, work: Work) {
        let queue = self.waiting.entry(lane.clone()).or_default();
        if queue.is_empty() {
            self.turns.push_back(lane);
        }
        queue.push_back(work);
        self.count += 1;
    }

    /// The last piece of work of the longest lane, if that is longer than one.
    fn give_way(&mut self) -> Option<Work> {
        let longest = self.waiting.values_mut().max_by_key(|queue| queue.len())?;
        if longest.len() < 2 {
            return None;
        }
        self.count -= 1;
        longest.pop_back()
    }
}

impl Queue {
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins work on the caller's thread, if there is nothing else to do.
    fn begin_here(&self) -> bool {
        let mut lanes = self.lanes();
        let is_idle = lanes.count == 0 && lanes.under_way == 0 && !lanes.is_over;
        lanes.under_way += usize::from(is_idle);
        is_idle
    }

    /// Does what waits until the pool is over.
    fn work(&self) {
        let mut lanes = self.lanes();
        loop {
            if let Some(work) = lanes.next() {
                lanes.under_way += 1;
                drop(lanes);
                // A panic is this program's fault; the caller is told `Stopped` and the thread lives on.
                drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    work(true);
                })));
                lanes = self.lanes();
                lanes.under_way -= 1;
            } else if lanes.is_over {
                return;
            } else {
                lanes = self.ready.wait(lanes).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
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
        let queue = Arc::new(Queue {
            capacity,
            lanes: Mutex::default(),
            ready: Condvar::new(),
        });
        let threads = (0..threads)
            .map(|i| {
                let queue = Arc::clone(&queue);
                std::thread::Builder::new()
                    .name(format!("check-{i}"))
                    .spawn(move || queue.work())
            })
            .collect::<Result<_, _>>()?;
        Ok(Pool { queue, threads })
    }

    /// Does `work`, of which a tenth of a millisecond is a lot: here and now if there is nothing else to do, else as [`Pool::run`].
    ///
    /// # Errors
    /// As [`Pool::run`].
    pub(super) async fn run_short<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        if !self.queue.begin_here() {
            return self.run(lane, work).await;
        }
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        self.queue.lanes().under_way -= 1;
        done.map_err(|_| PoolError::Stopped)
    }

    /// Does `work` on a thread of the pool, when it is the lane's turn.
    ///
    /// # Errors
    /// [`PoolError::Full`] when the queue is full, or gets so and another lane is due the place; [`PoolError::Stopped`] when the pool ends before
    /// the work does.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let (done, result) = oneshot::channel();
        let capacity = self.queue.capacity;
        let work: Work = Box::new(move |go| {
            if done.is_closed() {
                // Whoever asked has gone, or its request had to give way.
                return;
            }
            let result = if go {
                Ok(work())
            } else {
                Err(PoolError::Full(capacity))
            };
            drop(done.send(result));
        });
        let given_way = {
            let mut lanes = self.queue.lanes();
            let given_way = if lanes.count < capacity {
                None
            } else if lanes.waiting.contains_key(&lane) {
                return Err(PoolError::Full(capacity));
            } else {
                Some(lanes.give_way().ok_or(PoolError::Full(capacity))?)
            };
            lanes.push(lane, work);
            given_way
        };
        self.queue.ready.notify_one();
        if let Some(other) = given_way {
            other(false);
        }
        result.await.unwrap_or(Err(PoolError::Stopped))
    }

    /// Pieces of work that wait for a thread.
    pub(super) fn waiting(&self) -> usize {
        self.queue.lanes().count
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.lanes().is_over = true;
        self.queue.ready.notify_all();
        for thread in self.threads.drain(..) {
            // A thread never panics: it catches what its work does.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use tally_proto::ids::Role;

    use super::*;

    fn registrar() -> Lane {
        Lane::Named(PeerRole::Registrar("letters".to_owned()))
    }

    fn voter(last: u8) -> Lane {
        Lane::Public(Some(IpAddr::from([192, 0, 2, last])))
    }

    /// A pool of one thread, which is busy until the sender is used.
    async fn busy(capacity: usize) -> (Arc<Pool>, std::sync::mpsc::Sender<()>) {
        let pool = Arc::new(Pool::start(1, capacity).expect("threads"));
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let (started, has_started) = oneshot::channel();
        tokio::spawn({
            let pool = Arc::clone(&pool);
            async move {
                let blocks = move || {
                    let _ = started.send(());
                    gate.recv()
                };
                pool.run(registrar(), blocks).await
            }
        });
        has_started.await.expect("the thread runs");
        (pool, release)
    }

    async fn queued<T: Send + 'static>(
        pool: &Arc<Pool>,
        lane: Lane,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> tokio::task::JoinHandle<Result<T, PoolError>> {
        let (before, of_pool) = (pool.waiting(), Arc::clone(pool));
        let task = tokio::spawn(async move { of_pool.run(lane, work).await });
        while pool.waiting() == before && !task.is_finished() {
            tokio::task::yield_now().await;
        }
        task
    }

    #[tokio::test]
    async fn refuses_what_does_not_fit_and_does_the_rest() {
        let (pool, release) = busy(1).await;
        let waiting = queued(&pool, voter(1), || 7).await;
        assert_eq!(pool.run(voter(1), || 8).await, Err(PoolError::Full(1)));
        assert_eq!(
            pool.run(voter(2), || 9).await,
            Err(PoolError::Full(1)),
            "no lane is long"
        );
        release.send(()).expect("the work waits");
        assert_eq!(waiting.await.expect("task"), Ok(7));
    }

    #[tokio::test]
    async fn lanes_take_turns_and_the_longest_gives_way() {
        let (pool, release) = busy(6).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mark = |name: &'static str| {
            let order = Arc::clone(&order);
            move || order.lock().expect("not poisoned").push(name)
        };
        // Whoever has a registrar's certificate, and a party's receipts, of which none waits behind what it sends.
        let mut flood = Vec::new();
        for name in ["f1", "f2", "f3", "f4", "f5"] {
            flood.push(queued(&pool, registrar(), mark(name)).await);
        }
        let one = queued(&pool, voter(2), mark("a")).await;
        assert_eq!(pool.waiting(), 6);
        assert_eq!(pool.run(registrar(), || ()).await, Err(PoolError::Full(6)));
        // Full: who has nothing waiting takes the flood's last place.
        let of_pool = Arc::clone(&pool);
        let two = tokio::spawn({
            let work = mark("b");
            async move { of_pool.run(Lane::Named(PeerRole::Party(Role::P2)), work).await }
        });
        assert_eq!(
            flood.pop().expect("five").await.expect("task"),
            Err(PoolError::Full(6))
        );
        release.send(()).expect("the work waits");
        for task in flood.into_iter().chain([one, two]) {
            task.await.expect("task").expect("done");
        }
        assert_eq!(
            *order.lock().expect("not poisoned"),
            ["f1", "a", "b", "f2", "f3", "f4"]
        );
        assert_eq!(pool.waiting(), 0);
        assert!(pool.queue.lanes().waiting.is_empty(), "no lane is kept");
    }

    #[tokio::test]
    async fn a_short_check_is_done_at_once_only_while_there_is_nothing_else_to_do() {
        let here = || std::thread::current().id();
        let (pool, release) = busy(4).await;
        let of_pool = Arc::clone(&pool);
        let elsewhere = tokio::spawn(async move { of_pool.run_short(voter(1), here).await });
        while pool.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        release.send(()).expect("the work waits");
        let elsewhere = elsewhere.await.expect("task").expect("done");
        assert_ne!(elsewhere, here(), "in its lane, on the pool's thread");
        while pool.queue.lanes().under_way > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run_short(voter(1), here).await, Ok(here()));
        let panics = pool.run_short(voter(1), || -> u8 { panic!("on purpose") });
        assert_eq!(panics.await, Err(PoolError::Stopped));
        assert_eq!(pool.run_short(voter(1), here).await, Ok(here()));
    }

    #[tokio::test]
    async fn survives_a_panic_in_its_work() {
        let pool = Pool::start(1, 4).expect("threads");
        assert_eq!(
            pool.run(registrar(), || -> u8 { panic!("on purpose") }).await,
            Err(PoolError::Stopped)
        );
        assert_eq!(pool.run(registrar(), || 3).await, Ok(3));
    }
}
