//! The message that a claimed delivery sends, whatever the kind of destination. Pure.

use std::sync::Arc;

use bytes::Bytes;
use weir_core::condition::ShapedMessage;
use weir_core::effect::{routed_message_id, shaped_message_id};
use weir_core::event::EventType;
use weir_core::id::{DeliveryId, EventId, MessageId};
use weir_core::name::{DestinationName, HandlerName, SourceName};
use weir_core::payload::Payload;
use weir_core::trace::{STORED_TRACE_HEADER, TraceContext};
use weir_store::Claim;

use super::forwarding::HeaderForwarding;
use super::styled::StyledAlerts;

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
    /// Of the event that was forwarded or handled.
    pub(crate) event_type: EventType,
    /// None for a forwarded event.
    pub(crate) handler: Option<HandlerName>,
    pub(crate) content_type: String,
    /// Without the content type.
    pub(crate) headers: Vec<(Box<str>, Bytes)>,
    pub(crate) body: Bytes,
    /// Below the URL of a webhook: begins with a slash, and is escaped.
    pub(crate) path: Option<Box<str>>,
    /// Messages with the same key are sent one at a time.
    pub(crate) order_key: Option<Arc<str>>,
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
            event_type: event.kind.clone(),
            handler,
            content_type: payload.content_type().to_owned(),
            headers,
            body: payload.body.clone(),
            path: None,
            order_key: claim.order_key.clone(),
            // For a message of a handler too, this is the event that was handled.
            hops: event.payload.hops().saturating_add(1),
            // A message continues the run that sent it, if that had a span.
            trace: payload.continued_trace().or_else(|| event.payload.trace()),
            trace_state: event.payload.trace_state(),
        }
    }
}

impl Outgoing {
    /// Makes the message that the event's route describes; nothing else changes a forwarded event.
    /// The same event gives the same bytes, and so the same id, at each attempt.
    ///
    /// Alerts that their route does not describe get the form of the destination's service.
    ///
    /// # Errors
    /// A reason for people, if the message cannot be made of the event.
    pub(super) fn shape(
        &mut self,
        claim: &Claim,
        to: &DestinationName,
        forwarding: &HeaderForwarding,
        alerts: Option<&StyledAlerts>,
    ) -> Result<(), Box<str>> {
        if claim.message.is_some() {
            return Ok(());
        }
        let mut shaped = forwarding.shape(&claim.event, to)?;
        let alerts = alerts.filter(|_| claim.event.source.is_hub());
        if let Some(document) = alerts.and_then(|alerts| alerts.document(&self.body))
            && shaped.as_ref().is_none_or(|shaped| shaped.body.is_none())
        {
            let content_type = Some("application/json".to_owned());
            let others = shaped.unwrap_or_default();
            shaped = Some(ShapedMessage { body: Some(document), content_type, ..others });
        }
        let Some(shaped) = shaped else { return Ok(()) };
        let ShapedMessage { body, content_type, headers, path } = shaped;
        if let Some(body) = body {
            self.body = body;
        }
        if let Some(content_type) = content_type {
            self.content_type = content_type;
        }
        for (name, value) in &headers {
            self.headers.retain(|(known, _)| known != name);
            self.headers.push((name.clone(), value.clone()));
        }
        let mut content = Payload::new(&self.content_type, self.body.clone());
        content.headers.extend(headers);
        let (event, round) = (claim.event.public_id, claim.id_round);
        self.id = shaped_message_id(event, to, round, &content, path.as_deref());
        self.path = path;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use weir_core::condition::{Condition, TemplatePart};
    use weir_core::delivery::Fence;
    use weir_core::event::Event;
    use weir_core::name::Target;
    use weir_core::time::Timestamp;
    use weir_core::trace::{SpanId, TraceId};
    use weir_store::{ClaimGuard, ClaimedMessage};

    use super::*;
    use crate::config::{self, Route};
    use crate::config::{ConfiguredRoutes, ConfiguredSources};

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
            order_key: None,
            suspect: false,
            guard: ClaimGuard::new(|| {}),
        }
    }

    fn forwarding(pass_headers: Option<Vec<Box<str>>>) -> HeaderForwarding {
        let on = vec![weir_core::route::Pattern::parse("github:*").unwrap()];
        let route = Route { pass_headers, ..Route::new(on, ops()) };
        forwarding_by(route)
    }

    fn forwarding_by(route: Route) -> HeaderForwarding {
        let text =
            "[sources.github]\nprovider = \"github\"\nsecrets = [\"a secret of some length\"]";
        let folder = std::path::Path::new("");
        let config = config::load_text("weir.toml", text, folder, crate::config::Mode::Development)
            .unwrap()
            .config;
        let routes = ConfiguredRoutes::new(vec![route]);
        HeaderForwarding::new(routes, ConfiguredSources::new(config.sources))
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
    fn a_shaped_event_has_an_id_of_its_bytes_and_no_signature_of_others() {
        let mut route =
            Route::new(vec![weir_core::route::Pattern::parse("github:*").unwrap()], ops());
        route.template.set(TemplatePart::Body, "{'text': event.type}").unwrap();
        route.template.set(TemplatePart::Headers, "{'X-Team': 'ops'}").unwrap();
        let made = |claim: &Claim, route: &Route| {
            let forwarding = forwarding_by(route.clone());
            let mut out = Outgoing::of(claim, &ops(), &forwarding);
            out.shape(claim, &ops(), &forwarding, None).map(|()| out)
        };
        let out = made(&claim(None), &route).unwrap();
        assert_eq!(&*out.body, br#"{"text":"push"}"#);
        assert_eq!(out.content_type, "application/json");
        let names: Vec<_> = out.headers.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names[3..], ["weir-path", "x-team"], "the signature covers another body");
        assert_eq!(made(&claim(None), &route).unwrap().id, out.id);
        assert_ne!(out.id, routed_message_id(EventId::from_bits(2), &ops(), 0));
        route.template.set(TemplatePart::Body, "{'text': event.source}").unwrap();
        assert_ne!(made(&claim(None), &route).unwrap().id, out.id);
        let without_path = made(&claim(None), &route).unwrap().id;
        route.template.set(TemplatePart::Path, "'/of/' + event.source").unwrap();
        let out = made(&claim(None), &route).unwrap();
        assert_eq!(out.path.as_deref(), Some("/of/github"));
        assert_ne!(out.id, without_path, "another message");
        route.template.set(TemplatePart::Body, "event.body.title").unwrap();
        let reason = made(&claim(None), &route).unwrap_err();
        assert!(reason.contains("event.body has no field `title`"), "{reason}");
        route.when = Some(Arc::new(Condition::parse("event.type == 'x'").unwrap()));
        assert_eq!(&*made(&claim(None), &route).unwrap().body, b"{}", "it is not of this route");
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
