//! One request on its way through the pipeline: before its body is read, and after.

use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use tracing::Span;
use weir_core::name::SourceName;
use weir_core::request::RequestView;
use weir_core::time::Timestamp;
use weir_store::EventIngested;

use super::request_trace::RequestTrace;
use crate::ingress::connection::client::Caller;
use crate::ingress::connection::head_scanner::Framing;
use crate::ingress::connection::state::ConnectionState;
use crate::ingress::sources::live_source::LiveSource;

/// A request for a known source, whose body is not read yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) source: &'a LiveSource,
    pub(super) head: &'a Parts,
    pub(super) caller: Caller<'a>,
    pub(super) framing: Framing,
    pub(super) connection: &'a ConnectionState,
    pub(super) started: Instant,
    pub(super) span: &'a Span,
    pub(super) trace: &'a RequestTrace,
}

/// A request whose body was read. Its URL and headers are prepared once, for every step that looks
/// at them.
#[derive(Debug)]
pub(super) struct Received<'a> {
    pub(super) source: &'a LiveSource,
    pub(super) head: &'a Parts,
    pub(super) body: &'a Bytes,
    pub(super) caller: Caller<'a>,
    /// The time by which signatures are judged.
    pub(super) at: Timestamp,
    pub(super) span: &'a Span,
    /// None for a request that comes from the quarantine.
    pub(super) trace: Option<&'a RequestTrace>,
    /// The URL that the sender believes it calls.
    url: String,
    headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Received<'a> {
    pub(super) fn new(arrival: &Arrival<'a>, body: &'a Bytes, url: String, at: Timestamp) -> Self {
        let Arrival { source, head, caller, span, trace, .. } = *arrival;
        let (trace, headers) = (Some(trace), header_slices(head));
        Self { source, head, body, caller, at, span, trace, url, headers }
    }

    /// A request that comes from the quarantine instead of a connection.
    pub(super) fn from_quarantine(
        source: &'a LiveSource,
        (head, body): (&'a Parts, &'a Bytes),
        caller: Caller<'a>,
        url: String,
        at: Timestamp,
    ) -> Self {
        let headers = header_slices(head);
        Self { source, head, body, caller, at, span: NO_SPAN, trace: None, url, headers }
    }

    /// The name of the source.
    pub(super) fn source_name(&self) -> SourceName {
        self.source.config.name.clone()
    }

    /// Adds the event's id to the span of the request, if it is one event.
    pub(super) fn record_event(&self, events: &[EventIngested]) {
        if let [EventIngested::Stored { id, .. } | EventIngested::Duplicate { first: id, .. }] =
            events
        {
            self.span.record("event", tracing::field::display(id));
            if let Some(trace) = self.trace {
                trace.record(*id);
            }
        }
    }

    /// The request as the core sees it.
    pub(super) fn view(&self) -> RequestView<'_> {
        RequestView {
            method: self.head.method.as_str(),
            url: &self.url,
            headers: &self.headers,
            body: self.body,
        }
    }
}

static NO_SPAN: &Span = &Span::none();

fn header_slices(head: &Parts) -> Vec<(&str, &[u8])> {
    head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
}
