//! The epoch ticker: a thread that makes guests check the time each millisecond, while any guest
//! runs.
//!
//! It has a weak reference to the engine and ends with it. It sleeps while no guest runs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::EngineWeak;

const TICK: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(crate) struct Ticker {
    pulse: Arc<TickerState>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct TickerState {
    running: AtomicUsize,
    ended: AtomicBool,
}

/// Keeps the ticker running until it is dropped.
#[derive(Debug)]
pub(crate) struct TickingGuard(Arc<TickerState>);

impl Drop for TickingGuard {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ticker {
    pub(crate) fn start(engine: EngineWeak) -> io::Result<Self> {
        let pulse = Arc::new(TickerState::default());
        let shared = pulse.clone();
        let handle = thread::Builder::new()
            .name("weir-epoch".into())
            .spawn(move || tick(&engine, &shared))?;
        Ok(Self { pulse, thread: handle.thread().clone() })
    }

    /// Starts ticking, until the guard is dropped.
    pub(crate) fn ticking(&self) -> TickingGuard {
        if self.pulse.running.fetch_add(1, Ordering::SeqCst) == 0 {
            self.thread.unpark();
        }
        TickingGuard(self.pulse.clone())
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.pulse.ended.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

fn tick(engine: &EngineWeak, pulse: &TickerState) {
    while !pulse.ended.load(Ordering::SeqCst) {
        if pulse.running.load(Ordering::SeqCst) == 0 {
            // If a run starts after this check, it has called unpark, and this returns at once.
            thread::park();
            continue;
        }
        thread::sleep(TICK);
        match engine.upgrade() {
            Some(engine) => engine.increment_epoch(),
            None => return,
        }
    }
}
