//! The message that a claimed delivery sends, whatever the kind of destination. Pure.

use bytes::Bytes;
use weir_core::effect::routed_message_id;
use weir_core::id::{DeliveryId, EventId, MessageId};
use weir_core::name::{DestinationName, HandlerName, SourceName};
use weir_core::trace::{STORED_TRACE_HEADER, TraceContext};
use weir_store::Claim;

use super::forwarding::HeaderForwarding;

/// Names the source of a forwarded event. Not signed.
const SOURCE_HEADER: &str = "weir-source";
/// Names the type of a forwarded event. Not signed.
const TYPE_HEADER: &str = "weir-event-type";
/// Has the id of a forwarded event, as the hub's API and commands use it.
const EVENT_HEADER: &str = "weir-event-id";

/// A message of a handler, or an event that a route forwards.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    /// The outward id. It stays the same when the same message is sent again (INV-5).
    pub(crate) id: MessageId,
    pub(crate) delivery: DeliveryId,
    pub(crate) event: EventId,
    pub(crate) source: SourceName,
    /// None for a forwarded event.
    pub(crate) handler: Option<HandlerName>,
    pub(crate) content_type: String,
    /// Without the content type.
    pub(crate) headers: Vec<(Box<str>, Bytes)>,
    pub(crate) body: Bytes,
    /// The number of times that its line of messages has left this hub, including this time.
    pub(crate) hops: u8,
    /// The trace that its receiver continues.
    pub(crate) trace: Option<TraceContext>,
    /// The additions of vendors to that trace.
    pub(crate) trace_state: Option<String>,
}

impl Outgoing {
    /// The message of a claim to a destination.
    pub(super) fn of(claim: &Claim, to: &DestinationName, forwarding: &HeaderForwarding) -> Self {
        let event = &claim.event;
        let (id, handler, payload) = match &claim.message {
            Some(message) => (message.id, Some(message.handler.clone()), &message.payload),
            None => (routed_message_id(event.public_id, to, claim.id_round), None, &event.payload),
        };
        let headers = match &claim.message {
            // Other headers of the sender were meant for the hub, and may contain credentials.
            None => {
                let mut headers = vec![
                    (
                        SOURCE_HEADER.into(),
                        Bytes::copy_from_slice(event.source.as_str().as_bytes()),
                    ),
                    (TYPE_HEADER.into(), Bytes::copy_from_slice(event.kind.as_str().as_bytes())),
                    (EVENT_HEADER.into(), event.public_id.to_string().into()),
                ];
                headers.extend(forwarding.headers(event, to));
                headers
            }
            Some(_) => payload
                .headers
                .iter()
                .filter(|(name, _)| !matches!(&**name, "content-type" | STORED_TRACE_HEADER))
                .cloned()
                .collect(),
        };
        Self {
            id,
            delivery: claim.delivery,
            event: event.public_id,
            source: event.source.clone(),
            handler,
            content_type: payload.content_type().to_owned(),
            headers,
            body: payload.body.clone(),
            // For a message of a handler too, this is the event that was handled.
            hops: event.payload.hops().saturating_add(1),
            // A message continues the run that sent it, if that had a span.
            trace: payload.continued_trace().or_else(|| event.payload.trace()),
            trace_state: event.payload.trace_state(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_core::delivery::Fence;
    use weir_core::event::{Event, EventType};
    use weir_core::name::Target;
    use weir_core::payload::Payload;
    use weir_core::time::Timestamp;
    use weir_core::trace::{SpanId, TraceId};
    use weir_store::{ClaimGuard, ClaimedMessage};

    use super::*;
    use crate::config::ConfiguredSources;
    use crate::config::{self, Route};

    fn claim(message: Option<ClaimedMessage>) -> Claim {
        let mut payload = Payload::new("application/json", Bytes::from_static(b"{}"));
        payload.set_hops(2);
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("x-github-event", "push"),
            ("x-hub-signature-256", "sha256=00"),
            ("x-other", "1"),
            ("weir-path", "/tenant/7"),
        ] {
            payload.headers.push((name.into(), Bytes::from_static(value.as_bytes())));
        }
        let event = Event {
            id: EventId::from_bits(1),
            public_id: EventId::from_bits(2),
            source: SourceName::stored("github"),
            kind: EventType::new("push").unwrap(),
            category: None,
            delivery_id: None,
            received_at: Timestamp::from_millis(1),
            lineage: None,
            payload: Arc::new(payload),
        };
        Claim {
            delivery: DeliveryId::from_bits(3),
            target: Target::Destination(ops()),
            fence: Fence { generation: 0, attempt: 1 },
            event: Arc::new(event),
            message,
            now: Timestamp::from_millis(2),
            id_round: 0,
            suspect: false,
            guard: ClaimGuard::new(|| {}),
        }
    }

    fn forwarding(pass_headers: Option<Vec<Box<str>>>) -> HeaderForwarding {
        let text =
            "[sources.github]\nprovider = \"github\"\nsecrets = [\"a secret of some length\"]";
        let folder = std::path::Path::new("");
        let config = config::load_text("weir.toml", text, folder, crate::config::Mode::Development)
            .unwrap()
            .config;
        let on = vec![weir_core::route::Pattern::parse("github:*").unwrap()];
        let route = Route { on, to: ops(), pass_headers };
        HeaderForwarding::new(&[route], &ConfiguredSources::new(config.sources))
    }

    fn ops() -> DestinationName {
        DestinationName::new("ops").unwrap()
    }

    #[test]
    fn a_routed_event_is_sent_with_its_id_and_signature_headers() {
        let out = Outgoing::of(&claim(None), &ops(), &forwarding(None));
        assert_eq!(out.id, routed_message_id(EventId::from_bits(2), &ops(), 0));
        assert_eq!((out.content_type.as_str(), &*out.body), ("application/json", &b"{}"[..]));
        let names: Vec<_> = out.headers.iter().map(|(name, _)| &**name).collect();
        let facts = ["weir-source", "weir-event-type", "weir-event-id"];
        assert_eq!(names[..3], facts);
        assert_eq!(names[3..], ["x-github-event", "x-hub-signature-256", "weir-path"]);
        assert_eq!(out.hops, 3);
    }

    #[test]
    fn a_route_names_forwarded_headers_but_never_credentials() {
        let names = |pass: &[&str]| {
            let pass = pass.iter().map(|name| (*name).into()).collect();
            let out = Outgoing::of(&claim(None), &ops(), &forwarding(Some(pass)));
            let names = out.headers[3..].iter().map(|(name, _)| name.to_string());
            names.collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["weir-path"]);
        assert_eq!(names(&["x-other", "authorization"]), ["x-other", "weir-path"]);
    }

    #[test]
    fn a_message_continues_its_run_and_else_the_trace_of_its_event() {
        let span = |byte| SpanId::new([byte; 8]).unwrap();
        let trace = TraceContext::begin(TraceId::new([9; 16]).unwrap(), span(1), true);
        let mut payload = Payload::new("text/plain", Bytes::from_static(b"hello"));
        let traced = |payload: &Payload| {
            let message = ClaimedMessage {
                id: MessageId::from_bits(9),
                handler: HandlerName::new("orders").unwrap(),
                payload: Arc::new(payload.clone()),
            };
            let mut claim = claim(Some(message));
            let event = Arc::make_mut(&mut claim.event);
            Arc::make_mut(&mut event.payload).join_trace(trace, Some("a=1"));
            Outgoing::of(&claim, &ops(), &forwarding(None))
        };
        let of_event = traced(&payload);
        assert_eq!((of_event.trace, of_event.trace_state.as_deref()), (Some(trace), Some("a=1")));
        payload.set_trace(trace.continued_by(span(2)));
        let of_run = traced(&payload);
        assert_eq!(of_run.trace, Some(trace.continued_by(span(2))));
        assert!(of_run.headers.is_empty(), "the stored header stays here: {:?}", of_run.headers);
        assert_eq!(Outgoing::of(&claim(None), &ops(), &forwarding(None)).trace, None);
    }

    #[test]
    fn a_message_is_sent_as_its_handler_wrote_it() {
        let mut payload = Payload::new("text/plain", Bytes::from_static(b"hello"));
        payload.headers.push(("x-team".into(), Bytes::from_static(b"ops")));
        let message = ClaimedMessage {
            id: MessageId::from_bits(9),
            handler: HandlerName::new("orders").unwrap(),
            payload: Arc::new(payload),
        };
        let out = Outgoing::of(&claim(Some(message)), &ops(), &forwarding(None));
        assert_eq!(out.id, MessageId::from_bits(9));
        assert_eq!((out.content_type.as_str(), out.hops), ("text/plain", 3));
        assert_eq!(out.headers, [("x-team".into(), Bytes::from_static(b"ops"))]);
    }
}
