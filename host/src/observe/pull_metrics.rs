//! The state and the counters of the connection of a source whose messages the hub takes from a
//! server.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use weir_core::word_enum;

use super::series::Counter;

word_enum! {
    /// The state of a connection.
    ConnectionState {
        /// It is made for the first time.
        Connecting = "connecting",
        /// Messages are taken as they come.
        Connected = "connected",
        /// It was lost or refused, and is tried again.
        Disconnected = "disconnected",
        /// No messages are taken, because the store could not keep them.
        Waiting = "waiting",
    }
}

/// The connection of a source whose messages the hub takes from a server.
#[derive(Debug, Default)]
pub struct PullMetrics {
    /// Set once the hub takes messages for the source.
    is_pulled: AtomicBool,
    is_connected: AtomicBool,
    /// Messages that were taken: stored, or recognised as stored before.
    pub(super) messages: Counter,
    /// Connections after one that was lost or refused.
    pub(super) reconnects: Counter,
}

impl PullMetrics {
    /// Counts a message that may be acknowledged.
    pub fn taken(&self) {
        self.messages.inc();
    }

    /// Counts a connection that was made again.
    pub fn reconnected(&self) {
        self.reconnects.inc();
    }

    /// Sets whether there is a connection; none if the source is not pulled any more.
    pub fn set_connected(&self, connected: Option<bool>) {
        self.is_pulled.store(connected.is_some(), Relaxed);
        self.is_connected.store(connected == Some(true), Relaxed);
    }

    /// True if there is a connection; none for a source that senders post to.
    pub(super) fn connected(&self) -> Option<bool> {
        self.is_pulled.load(Relaxed).then(|| self.is_connected.load(Relaxed))
    }
}
