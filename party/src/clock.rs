//! The party's clock, passed in: the system's in operation, a hand-driven one in tests.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use tokio::sync::watch;

/// A clock that can be read and waited on.
pub trait Clock: Send + Sync + 'static {
    /// Now, Unix milliseconds.
    fn now_ms(&self) -> u64;

    /// Completes once `now_ms() >= until_ms`.
    fn wait_until(&self, until_ms: u64) -> BoxFuture<'_, ()>;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        // A clock before 1970 reads as 1970: nothing is open then.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_millis() as u64)
    }

    fn wait_until(&self, until_ms: u64) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // The timer runs on the monotonic clock: read the wall clock again after each wait.
            loop {
                let now = self.now_ms();
                if now >= until_ms {
                    return;
                }
                tokio::time::sleep(Duration::from_millis((until_ms - now).min(1000))).await;
            }
        })
    }
}

/// A clock that moves only when told to.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<watch::Sender<u64>>);

impl ManualClock {
    /// A clock that stands at `now_ms`.
    pub fn new(now_ms: u64) -> Self {
        ManualClock(Arc::new(watch::Sender::new(now_ms)))
    }

    /// Sets the clock and wakes whoever waits for a moment that has come.
    pub fn set(&self, now_ms: u64) {
        self.0.send_replace(now_ms);
    }

    /// How many callers wait on the clock.
    pub fn waiting(&self) -> usize {
        self.0.receiver_count()
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        *self.0.borrow()
    }

    fn wait_until(&self, until_ms: u64) -> BoxFuture<'_, ()> {
        let mut now = self.0.subscribe();
        Box::pin(async move {
            // The sender lives in `self`, so the wait ends only when the moment has come.
            let _ = now.wait_for(|now| *now >= until_ms).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_waiters_in_time() {
        let clock = ManualClock::new(1000);
        clock.wait_until(1000).await;
        let waiter = { clock.clone() };
        let task = tokio::spawn(async move {
            waiter.wait_until(1500).await;
            waiter.now_ms()
        });
        while clock.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        clock.set(1499);
        assert!(!task.is_finished());
        clock.set(1500);
        assert_eq!(task.await.expect("task"), 1500);
    }

    #[tokio::test]
    async fn the_system_clock_does_not_wait_for_the_past() {
        SystemClock.wait_until(1).await;
        assert!(SystemClock.now_ms() > 1_700_000_000_000);
    }
}
