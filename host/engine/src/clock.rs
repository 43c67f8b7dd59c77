//! The clocks of a guest: a wall clock that never moves, and a monotonic one that only the guest
//! moves.
//!
//! The monotonic clock steps at each reading, so that busy waiting ends, and jumps over sleeps, so
//! that nothing really waits. The earliest of several sleeps ends first. A repeated run has the
//! same readings.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::Pollable;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};
use weir_core::time::Timestamp;

/// Duration of one reading.
const STEP_NS: u64 = 1_000;

/// The wall clock of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrozenClock(pub(crate) Timestamp);

impl HostWallClock for FrozenClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.as_millis())
    }
}

/// The monotonic clock of one run. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SteppingClock(Arc<Mutex<ClockState>>);

#[derive(Debug, Default)]
struct ClockState {
    now_ns: u64,
    /// The ends of the running sleeps, each with the number of sleeps that end then.
    sleeps: BTreeMap<u64, usize>,
}

impl SteppingClock {
    /// The end of a sleep that starts now.
    pub(crate) fn after(&self, ns: u64) -> u64 {
        self.0.lock().now_ns.saturating_add(ns)
    }

    /// Jumps to an instant, unless it has passed.
    pub(crate) fn jump_to(&self, instant_ns: u64) {
        let mut clock = self.0.lock();
        clock.now_ns = clock.now_ns.max(instant_ns);
    }

    /// True if an instant is reached. Does not step.
    pub(crate) fn reached(&self, instant_ns: u64) -> bool {
        self.0.lock().now_ns >= instant_ns
    }
}

impl HostMonotonicClock for SteppingClock {
    fn resolution(&self) -> u64 {
        STEP_NS
    }

    fn now(&self) -> u64 {
        let mut clock = self.0.lock();
        clock.now_ns = clock.now_ns.saturating_add(STEP_NS);
        clock.now_ns
    }
}

/// A sleep that ends at an instant of the guest's clock.
#[derive(Debug)]
pub(crate) struct Sleep {
    pub(crate) clock: SteppingClock,
    pub(crate) until_ns: u64,
}

#[async_trait]
impl Pollable for Sleep {
    /// The first poll checks the instant and queues the sleep. At the next poll, everything else
    /// that the guest waits for was polled too: then the earliest sleep moves the clock.
    async fn ready(&mut self) {
        let mut queued: Option<QueuedSleep<'_>> = None;
        poll_fn(|cx| {
            if self.clock.reached(self.until_ns) {
                return Poll::Ready(());
            }
            if queued.is_some() && self.clock.earliest() == Some(self.until_ns) {
                self.clock.jump_to(self.until_ns);
                return Poll::Ready(());
            }
            queued.get_or_insert_with(|| QueuedSleep::new(&self.clock, self.until_ns));
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

impl SteppingClock {
    fn earliest(&self) -> Option<u64> {
        self.0.lock().sleeps.keys().next().copied()
    }
}

/// A sleep in the queue. Leaves it when dropped.
#[derive(Debug)]
struct QueuedSleep<'c> {
    clock: &'c SteppingClock,
    until_ns: u64,
}

impl<'c> QueuedSleep<'c> {
    fn new(clock: &'c SteppingClock, until_ns: u64) -> Self {
        *clock.0.lock().sleeps.entry(until_ns).or_insert(0) += 1;
        Self { clock, until_ns }
    }
}

impl Drop for QueuedSleep<'_> {
    fn drop(&mut self) {
        let mut clock = self.clock.0.lock();
        if let Some(count) = clock.sleeps.get_mut(&self.until_ns) {
            *count -= 1;
            if *count == 0 {
                clock.sleeps.remove(&self.until_ns);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleep_of_ten_years_ends_at_once_and_moves_the_clock() {
        let clock = SteppingClock::default();
        let until_ns = clock.after(315_360_000_000_000_000);
        Sleep { clock: clock.clone(), until_ns }.ready().await;
        assert!(clock.reached(until_ns));
    }

    #[tokio::test]
    async fn earlier_of_two_sleeps_ends_first() {
        let clock = SteppingClock::default();
        let mut long = Sleep { clock: clock.clone(), until_ns: 9_000_000 };
        let mut short = Sleep { clock: clock.clone(), until_ns: 1_000_000 };
        let first = tokio::select! {
            biased;
            () = long.ready() => "long",
            () = short.ready() => "short",
        };
        assert_eq!(first, "short");
        assert!(!clock.reached(9_000_000), "the long one continues");
        assert!(clock.0.lock().sleeps.is_empty(), "a dropped sleep leaves the queue");
    }

    #[test]
    fn busy_wait_ends_because_each_reading_steps() {
        let clock = SteppingClock::default();
        let begin = clock.now();
        let readings = (0..).take_while(|_| clock.now() < begin + 1_000_000).count();
        assert_eq!(readings, 999);
    }
}
