//! Draining: the order in which the process stops, and the signals that ask for it.
//!
//! Stop accepting, then stop claiming, let what runs finish or give it back, flush, exit. A second signal, or the
//! end of the grace period, skips the wait; nothing is lost, because what did not settle is still due.
//!
//! SIGTERM, SIGINT and SIGQUIT ask for that. SIGHUP asks `weir serve` to read its configuration again, and ends nothing.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How far the process is on its way out. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    accepting: CancellationToken,
    claiming: CancellationToken,
    waiting: CancellationToken,
}

impl Drain {
    /// Nothing is stopping.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Phase one: no new connections and requests.
    pub fn stop_accepting(&self) {
        self.accepting.cancel();
    }

    /// Phase two: no new claims, reloads or upkeep.
    pub fn stop_claiming(&self) {
        self.claiming.cancel();
    }

    /// Phase three: no more waiting for what runs.
    pub fn stop_waiting(&self) {
        self.waiting.cancel();
    }

    /// Resolves with phase one.
    pub async fn accepting_stopped(&self) {
        self.accepting.cancelled().await;
    }

    /// Resolves with phase two.
    pub async fn claiming_stopped(&self) {
        self.claiming.cancelled().await;
    }

    /// Resolves with phase three.
    pub async fn waiting_stopped(&self) {
        self.waiting.cancelled().await;
    }

    /// Whether phase one has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.accepting.is_cancelled()
    }
}

/// The signals that ask the process for something.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalRequest {
    /// To stop. Says by which signal.
    Stop(&'static str),
    /// To read the configuration again.
    Reload,
}

impl Signals {
    /// Starts listening; needs a runtime.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Resolves at the next one.
    pub async fn next(&mut self) -> SignalRequest {
        tokio::select! {
            _ = self.interrupt.recv() => SignalRequest::Stop("interrupt"),
            _ = self.terminate.recv() => SignalRequest::Stop("terminate"),
            _ = self.quit.recv() => SignalRequest::Stop("quit"),
            _ = self.hangup.recv() => SignalRequest::Reload,
        }
    }

    /// Resolves at the next one that asks to stop, with its name.
    pub async fn stop(&mut self) -> &'static str {
        loop {
            if let SignalRequest::Stop(signal) = self.next().await {
                return signal;
            }
        }
    }
}
