//! The connections of sources as operators see them: in the answers of the API, as metrics, in the
//! log and as alerts.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use weir_core::name::SourceName;
use weir_core::time::{Clock, Timestamp};

use crate::config::PullSettings;
use crate::context::HubContext;
use crate::observe::metrics::SourceMetrics;
use crate::observe::notice::{self, Notice, Notices};
use crate::observe::pull_metrics::ConnectionState;

/// The connection of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PullStatus {
    /// The place that messages come from, without credentials.
    pub(crate) address: Box<str>,
    pub(crate) state: ConnectionState,
    /// The time since which it is in this state.
    pub(crate) since: Timestamp,
    /// The last time at which it was lost, refused or given up, and why.
    pub(crate) last_error: Option<(Timestamp, Box<str>)>,
}

/// The connections of all sources. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct PullStatuses(Arc<Mutex<BTreeMap<SourceName, PullStatus>>>);

impl PullStatuses {
    pub(super) fn all(&self) -> BTreeMap<SourceName, PullStatus> {
        self.0.lock().clone()
    }

    pub(super) fn remove(&self, name: &SourceName) {
        self.0.lock().remove(name);
    }

    /// Begins to tell about the connection of a source.
    pub(super) fn begin(
        &self,
        ctx: &HubContext,
        name: SourceName,
        pull: &PullSettings,
    ) -> ConnectionReporter {
        let status = PullStatus {
            address: pull.address().into(),
            state: ConnectionState::Connecting,
            since: ctx.clock.now(),
            last_error: None,
        };
        self.0.lock().insert(name.clone(), status);
        let metrics = ctx.metrics.source(&name);
        metrics.work.set_disconnected(false);
        metrics.pull.set_connected(Some(false));
        ConnectionReporter {
            name,
            statuses: self.clone(),
            metrics,
            notices: ctx.notices.clone(),
            clock: ctx.clock.clone(),
        }
    }
}

/// Tells about each change of one connection, once.
#[derive(Debug)]
pub(super) struct ConnectionReporter {
    name: SourceName,
    statuses: PullStatuses,
    metrics: Arc<SourceMetrics>,
    notices: Notices,
    clock: Arc<dyn Clock>,
}

impl ConnectionReporter {
    /// Messages are taken.
    pub(super) fn connected(&self) {
        let now = self.clock.now();
        let (source, before) = (self.name.as_str(), self.change(ConnectionState::Connected, None));
        self.metrics.pull.set_connected(Some(true));
        self.metrics.work.set_disconnected(false);
        let Some(before) = before.filter(|before| before.state != ConnectionState::Connected)
        else {
            return;
        };
        tracing::info!(source, from = &*before.address, "messages of the source are taken");
        if before.state == ConnectionState::Disconnected {
            self.metrics.pull.reconnected();
            let disconnected_for = now.since(before.since);
            self.notices
                .post(Notice::SourceConnected { source: self.name.clone(), disconnected_for });
        }
    }

    /// The connection was lost or refused.
    pub(super) fn disconnected(&self, reason: &str) {
        let at = self.clock.now();
        let before = self.change(ConnectionState::Disconnected, Some(reason));
        self.metrics.pull.set_connected(Some(false));
        self.metrics.work.set_disconnected(true);
        let is_known = before.as_ref().is_some_and(|before| {
            before.state == ConnectionState::Disconnected
                && before
                    .last_error
                    .as_ref()
                    .is_some_and(|(_, said)| **said == *notice::cut(reason))
        });
        if !is_known {
            let source = self.name.as_str();
            tracing::warn!(source, reason, "no messages of the source are taken; trying again");
        }
        if before.is_some_and(|before| before.state != ConnectionState::Disconnected) {
            let reason = notice::cut(reason);
            self.notices.post(Notice::SourceDisconnected { source: self.name.clone(), reason, at });
        }
    }

    /// The store could not keep the messages.
    pub(super) fn waiting(&self, reason: &str) {
        let before = self.change(ConnectionState::Waiting, Some(reason));
        self.metrics.pull.set_connected(Some(false));
        if before.is_some_and(|before| before.state != ConnectionState::Waiting) {
            let source = self.name.as_str();
            tracing::warn!(
                source,
                reason,
                "no messages of the source are taken until the store \
                can keep them"
            );
        }
    }

    /// Changes the status. Returns the one before.
    fn change(&self, state: ConnectionState, reason: Option<&str>) -> Option<PullStatus> {
        let now = self.clock.now();
        let mut statuses = self.statuses.0.lock();
        let status = statuses.get_mut(&self.name)?;
        let before = status.clone();
        if status.state != state {
            status.state = state;
            status.since = now;
        }
        if let Some(reason) = reason {
            status.last_error = Some((now, notice::cut(reason)));
        }
        Some(before)
    }
}
