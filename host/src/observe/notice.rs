//! Notices: what happened that a person may want to be told of, for whoever turns such things into alerts.
//!
//! What may not live here: who is told, and how often.

use std::time::Duration;

use tokio::sync::broadcast;
use weir_core::name::DestinationName;
use weir_core::time::Timestamp;

/// Notices that wait for a slow listener; past it, it misses the oldest.
const WAITING_MAX: usize = 256;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A destination's breaker has opened: its messages wait. Told once, not again for each probe that fails.
    DestinationOpen {
        /// Which.
        destination: DestinationName,
        /// Why, for people.
        reason: Box<str>,
        /// When.
        at: Timestamp,
        /// When one message will be tried.
        probe_at: Timestamp,
    },
    /// It has closed: messages go out again.
    DestinationClosed {
        /// Which.
        destination: DestinationName,
        /// When.
        at: Timestamp,
        /// For how long it was open.
        open_for: Duration,
    },
}

/// Where notices are told and heard. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Notices(broadcast::Sender<Notice>);

impl Default for Notices {
    fn default() -> Self {
        Self(broadcast::Sender::new(WAITING_MAX))
    }
}

impl Notices {
    /// Nobody listens yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells whoever listens. Never waits.
    pub fn tell(&self, notice: Notice) {
        // Nobody may be listening, which is their business.
        let _ = self.0.send(notice);
    }

    /// Hears what is told from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Notice> {
        self.0.subscribe()
    }
}
