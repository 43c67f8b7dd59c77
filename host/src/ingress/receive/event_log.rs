//! A log line for each stored event, in development and at level debug.

use weir_store::{EventIngested, NewRequest};

use crate::runtime::telemetry::FLOW;

/// The log lines for the events of a request, made before the events have ids. Empty if they would
/// not be written.
#[derive(Debug)]
pub(super) struct StoredEventLog(Vec<EventLine>);

#[derive(Debug)]
struct EventLine {
    kind: String,
    to: String,
}

impl StoredEventLog {
    /// Prepares the lines, before the store takes the request.
    pub(super) fn of(request: &NewRequest) -> Self {
        if !tracing::enabled!(target: FLOW, tracing::Level::DEBUG) {
            return Self(Vec::new());
        }
        let lines = request.events.iter().map(|event| {
            let targets =
                event.routed.deliveries.iter().map(|delivery| delivery.target.to_string());
            let to = targets.collect::<Vec<_>>().join(", ");
            EventLine { kind: event.kind.to_string(), to }
        });
        Self(lines.collect())
    }

    pub(super) fn write(&self, source: &str, events: &[EventIngested]) {
        for (EventLine { kind, to }, event) in self.0.iter().zip(events) {
            match event {
                EventIngested::Stored { id, unrouted: true, .. } => tracing::debug!(
                    target: FLOW, event = %id, source, kind,
                    "event stored, no handler or route matches it"
                ),
                EventIngested::Stored { id, .. } => {
                    tracing::debug!(target: FLOW, event = %id, source, kind, to, "event stored");
                }
                EventIngested::Duplicate { first, .. } => tracing::debug!(
                    target: FLOW, event = %first, source, kind,
                    "duplicate of a stored event"
                ),
            }
        }
    }
}
