//! Progress of the integrity check that runs while work goes on.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::health::IntegrityStatus;

/// Progress of the check.
pub(crate) struct Progress {
    state: Mutex<ProgressState>,
    changed: Condvar,
}

pub(crate) struct ProgressState {
    over: IntegrityStatus,
    stop: bool,
}

impl Progress {
    /// Starts with a status.
    pub(crate) fn new(over: IntegrityStatus) -> Self {
        Self { state: Mutex::new(ProgressState { over, stop: false }), changed: Condvar::new() }
    }

    pub(crate) fn told(&self) -> IntegrityStatus {
        self.state.lock().over.clone()
    }

    /// Stops the check early.
    pub(crate) fn stop(&self) {
        self.state.lock().stop = true;
        self.changed.notify_all();
    }

    pub(crate) fn tell(&self, over: IntegrityStatus) {
        self.state.lock().over = over;
    }

    /// Waits. True if the check should go on.
    pub(crate) fn pause(&self, wait: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.stop {
            self.changed.wait_for(&mut state, wait);
        }
        !state.stop
    }
}
