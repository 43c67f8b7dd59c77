//! The epoch ticker: one thread that makes guests look at the clock once a millisecond, while any of them runs.
//!
//! It holds the engine weakly and ends with it. With nothing running it sleeps, so that an idle process stays idle.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::EngineWeak;

/// One epoch.
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

/// A run that needs ticks, until it is dropped.
#[derive(Debug)]
pub(crate) struct TickingGuard(Arc<TickerState>);

impl Drop for TickingGuard {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ticker {
    /// Starts the thread.
    pub(crate) fn start(engine: EngineWeak) -> io::Result<Self> {
        let pulse = Arc::new(TickerState::default());
        let theirs = pulse.clone();
        let handle = thread::Builder::new()
            .name("weir-epoch".into())
            .spawn(move || tick(&engine, &theirs))?;
        Ok(Self { pulse, thread: handle.thread().clone() })
    }

    /// Keeps it ticking while the answer lives.
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
            // A run that begins after this look has left an unpark behind, and this returns at once.
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
