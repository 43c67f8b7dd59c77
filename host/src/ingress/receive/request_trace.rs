//! The trace of one request: read from the sender's headers, stored with the events, ended with the
//! answer.
//!
//! Only a verified request has a span: otherwise a stranger could fill the collector of traces.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use weir_core::event::EventType;
use weir_core::id::EventId;
use weir_core::payload::Payload;
use weir_core::trace::{TRACE_PARENT_HEADER, TraceContext, read_parent};

use crate::ingress::sources::live_source::LiveSource;
use crate::observe::metrics::ACCEPTED_CODES;
use crate::observe::tracer::{OpenSpan, Stage, Tracer};

static PARENT: HeaderName = HeaderName::from_static(TRACE_PARENT_HEADER);

/// The trace of a request, and its span while traces are exported.
#[derive(Debug)]
pub(super) struct RequestTrace {
    sender: Option<TraceContext>,
    span: Option<OpenSpan>,
    is_verified: AtomicBool,
    kind: OnceLock<EventType>,
    event: OnceLock<EventId>,
}

impl RequestTrace {
    pub(super) fn begin(tracer: &Tracer, headers: &HeaderMap) -> Self {
        let sender = read_parent(headers.get_all(&PARENT).iter().map(HeaderValue::as_bytes));
        Self {
            sender,
            span: tracer.receive(sender),
            is_verified: AtomicBool::new(false),
            kind: OnceLock::new(),
            event: OnceLock::new(),
        }
    }

    /// Stores the trace in the payload of the request, if the hub continues it. The sender's own
    /// headers are there already.
    pub(super) fn join(&self, payload: &mut Payload) {
        if let Some(span) = &self.span {
            payload.set_trace(span.context());
        }
    }

    /// Records that the request is verified.
    pub(super) fn verified(&self) {
        self.is_verified.store(true, Relaxed);
    }

    /// Records the event of a request that carries one.
    pub(super) fn record(&self, event: EventId) {
        let _first = self.event.set(event);
    }

    /// Records the type of the first event.
    pub(super) fn record_kind(&self, kind: Option<&EventType>) {
        if let (Some(_), Some(kind)) = (&self.span, kind) {
            let _first = self.kind.set(kind.clone());
        }
    }

    /// Ends the span with the code of the answer, and gives the histogram of the source an example.
    pub(super) fn end(
        self,
        tracer: &Tracer,
        source: &LiveSource,
        code: &'static str,
        took: Duration,
    ) {
        let is_accepted = ACCEPTED_CODES.contains(&code);
        if !is_accepted && !self.is_verified.into_inner() {
            return;
        }
        let trace = self.span.as_ref().map(OpenSpan::context).or(self.sender);
        if let Some(trace) = trace.filter(|trace| is_accepted && trace.is_sampled()) {
            source.metrics.example(took, trace.trace);
        }
        let (event, kind) = (self.event.into_inner(), self.kind.into_inner());
        tracer.end(self.span, Stage::Ingress, (!is_accepted).then_some(code), || {
            let mut facts = vec![
                ("weir.source", Cow::Owned(source.name().to_owned())),
                ("weir.outcome", Cow::Borrowed(code)),
            ];
            facts.extend(event.map(|id| ("weir.event.id", Cow::Owned(id.to_string()))));
            facts.extend(kind.map(|kind| ("weir.event.type", Cow::Owned(kind.to_string()))));
            facts
        });
    }
}
