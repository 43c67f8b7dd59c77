//! The shutdown: its phases, and the signals that request it.
//!
//! The hub stops accepting, stops claiming, lets runs and sends finish, closes the store and exits.
//! A second signal or the end of the grace period skips the wait. Nothing is lost then: a delivery
//! that was not settled is still due.
//!
//! SIGTERM, SIGINT and SIGQUIT stop the hub. SIGHUP makes `weir serve` reload its configuration.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The phases of the shutdown. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    accepting: CancellationToken,
    claiming: CancellationToken,
    waiting: CancellationToken,
}

impl Drain {
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

    /// Phase three: no more waiting for runs and sends.
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

    /// True once phase one has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.accepting.is_cancelled()
    }
}

/// The signals that the process listens to.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    hangup: Signal,
}

/// The request that a signal makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalRequest {
    /// Stop, with the name of the signal.
    Stop(&'static str),
    /// Reload the configuration.
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

    /// Resolves at the next signal.
    pub async fn next(&mut self) -> SignalRequest {
        tokio::select! {
            _ = self.interrupt.recv() => SignalRequest::Stop("interrupt"),
            _ = self.terminate.recv() => SignalRequest::Stop("terminate"),
            _ = self.quit.recv() => SignalRequest::Stop("quit"),
            _ = self.hangup.recv() => SignalRequest::Reload,
        }
    }

    /// Resolves at the next signal to stop, with its name.
    pub async fn stop(&mut self) -> &'static str {
        loop {
            if let SignalRequest::Stop(signal) = self.next().await {
                return signal;
            }
        }
    }
}
