//! A line for each event that was stored, where the log wants them: in development, and at the level debug.

use weir_store::{EventIngested, NewRequest};

use crate::runtime::telemetry::FLOW;

/// The log lines for the events of a request, before the events have ids. Empty if they would not be written.
#[derive(Debug)]
pub(super) struct StoredEventLog(Vec<EventLine>);

#[derive(Debug)]
struct EventLine {
    kind: String,
    to: String,
}

impl StoredEventLog {
    /// Reads the facts from a request, before the store takes it.
    pub(super) fn of(request: &NewRequest) -> Self {
        if !tracing::enabled!(target: FLOW, tracing::Level::DEBUG) {
            return Self(Vec::new());
        }
        let of_event = request.events.iter().map(|event| {
            let targets =
                event.routed.deliveries.iter().map(|delivery| delivery.target.to_string());
            let to = targets.collect::<Vec<_>>().join(", ");
            EventLine { kind: event.kind.to_string(), to }
        });
        Self(of_event.collect())
    }

    /// Writes the lines.
    pub(super) fn log(&self, source: &str, events: &[EventIngested]) {
        for (EventLine { kind, to }, event) in self.0.iter().zip(events) {
            match event {
                EventIngested::Stored { id, unrouted: true, .. } => tracing::debug!(
                    target: FLOW, event = %id, source, kind, "event stored, no handler or route matches it"
                ),
                EventIngested::Stored { id, .. } => {
                    tracing::debug!(target: FLOW, event = %id, source, kind, to, "event stored");
                }
                EventIngested::Duplicate { first, .. } => tracing::debug!(
                    target: FLOW, event = %first, source, kind, "duplicate of an event that is stored"
                ),
            }
        }
    }
}
