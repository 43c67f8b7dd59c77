//! The steps "identify" and "route": the events of a verified request, what is stored of each, and
//! the targets that get them. Nothing here waits or touches the disk.

use bytes::Bytes;
use http::HeaderValue;
use weir_core::bounds::HOPS_MAX;
use weir_core::event::EventFacts;
use weir_core::hops::HOPS_HEADER;
use weir_core::identify::{EventIdentity, Identified, RequestFacts};
use weir_core::payload::Payload;
use weir_core::trace::TraceContext;
use weir_core::verify::Verified;
use weir_store::{DedupKey, NewEvent, NewRequest};

use super::received::Received;
use super::{Pipeline, RoutedRequest};
use crate::config::Source;
use crate::ingress::answer::RequestShape;
use crate::ingress::answer::refused::Refused;
use crate::ingress::request::content::Content;
use crate::ingress::request::redact::{self, Redacted};
use crate::ingress::request::url_facts::url_facts;
use crate::ingress::sources::live_source::LiveSource;
use crate::routing;

/// The events of a request, identified and valid.
pub(super) struct IdentifiedRequest {
    events: Vec<EventIdentity>,
    shape: RequestShape,
    /// The number of times that the request has left this hub.
    hops: u8,
    content: Content,
}

/// The headers that every event of a batch gets from its request.
#[derive(Clone, Copy)]
struct BatchHeaders<'a> {
    hops: u8,
    trace: Option<TraceContext>,
    trace_state: Option<&'a str>,
    url: &'a [(Box<str>, Bytes)],
}

impl Pipeline {
    /// The events of a verified request. Refuses loops and events that do not match their schema.
    pub(super) fn identify(
        &self,
        received: &Received<'_>,
        facts: &RequestFacts<'_>,
        verified: &Verified,
    ) -> Result<IdentifiedRequest, Refused> {
        let identified = received.source.config.provider.identify(facts, verified);
        self.check_identified(received, identified.map_err(Refused::Unusable)?)
    }

    /// Checks the events that were identified.
    pub(super) fn check_identified(
        &self,
        received: &Received<'_>,
        identified: Identified,
    ) -> Result<IdentifiedRequest, Refused> {
        let source = received.source;
        let hops = self.count_hops(received)?;
        let Identified { events, is_batch } = identified;
        let content = Content::of(&received.view(), received.body);
        check_schemas(source, &events, &content.bytes)?;
        let shape = if is_batch { RequestShape::Batch } else { RequestShape::Single };
        Ok(IdentifiedRequest { events, shape, hops, content })
    }

    /// The request to store: without its secrets, each event with its deliveries.
    pub(super) fn route(
        &self,
        received: &Received<'_>,
        verified: Verified,
        identified: IdentifiedRequest,
    ) -> RoutedRequest {
        let IdentifiedRequest { events, shape, hops, content } = identified;
        let (source, head) = (received.source, received.head);
        let (secret, fingerprints) = (&source.secret_fields, self.fingerprints());
        let spans = events.iter().map(|event| event.span.clone());
        let view = received.view();
        let content_type = view.header("content-type").unwrap_or_default();
        let redacted = Redacted::new(&content, content_type, spans, secret, fingerprints);
        let mut payload = Payload {
            headers: redact::headers(&head.headers, &content, secret, fingerprints),
            body: redacted.part(0..content.bytes.len()),
        };
        let url = url_facts(&head.method, &head.uri, secret, fingerprints);
        payload.headers.extend(url.iter().cloned());
        payload.set_hops(hops);
        if let Some(trace) = received.trace {
            trace.join(&mut payload);
            trace.record_kind(events.first().map(|event| &event.kind));
        }
        let is_batch = shape == RequestShape::Batch;
        let trace = is_batch.then(|| payload.trace()).flatten();
        let state = trace.and_then(|_| payload.trace_state());
        let trace_state = state.as_deref();
        let batch = is_batch.then_some(BatchHeaders { hops, trace, trace_state, url: &url });
        let events = self.route_events(received, events, batch, &redacted, &payload);
        let request = NewRequest {
            source: source.config.name.clone(),
            scheme: verified.scheme,
            secret: verified.secret,
            remote: Some(received.caller.address),
            payload,
            on_redelivery: source.config.provider.on_redelivery,
            events,
        };
        RoutedRequest { request, shape }
    }

    /// The events with the deliveries that the current routing table gives them. `batch` is given
    /// where each event is a part of the body.
    fn route_events(
        &self,
        received: &Received<'_>,
        events: Vec<EventIdentity>,
        batch: Option<BatchHeaders<'_>>,
        redacted: &Redacted<'_>,
        payload: &Payload,
    ) -> Vec<NewEvent> {
        let table = self.routes.current();
        let route = |mut event: EventIdentity| {
            let category = Some(event.category);
            let part = batch.map(|headers| {
                // A decoded part holds no secret: a provider file may not name one there.
                let decoded = event.decoded.map(Bytes::from_owner);
                batch_part(decoded.unwrap_or_else(|| redacted.part(event.span)), headers)
            });
            let stored = part.as_ref().unwrap_or(payload);
            let keys = received.source.config.index.keys_of(&stored.body);
            let facts = EventFacts {
                id: None,
                source: &received.source.config.name,
                kind: &event.kind,
                category,
                delivery_id: event.delivery_id.as_deref(),
                received_at: received.at,
                payload: Some(stored),
            };
            let routed = routing::routed(&table, &facts);
            let material = event.dedup.take();
            NewEvent {
                category,
                dedup: material.map(|material| DedupKey {
                    material: Bytes::copy_from_slice(material.as_bytes()),
                    // The last one has a meaning of its own.
                    body_tag: event.tag.min(DedupKey::ANY_BODY - 1),
                }),
                delivery_id: event.delivery_id,
                part,
                keys,
                routed,
                kind: event.kind,
            }
        };
        events.into_iter().map(route).collect()
    }

    /// The number of times that a request has left this hub. Refuses one that is over the limit.
    fn count_hops(&self, received: &Received<'_>) -> Result<u8, Refused> {
        let values = received.head.headers.get_all(HOPS_HEADER).iter().map(HeaderValue::as_bytes);
        let hops = self.hops.read(values, received.body);
        if hops < HOPS_MAX { Ok(hops) } else { Err(Refused::LoopDetected) }
    }
}

/// The payload of one event of a batch.
fn batch_part(body: Bytes, headers: BatchHeaders<'_>) -> Payload {
    let mut part = Payload::new("application/json", body);
    part.headers.extend_from_slice(headers.url);
    part.set_hops(headers.hops);
    if let Some(trace) = headers.trace {
        part.join_trace(trace, headers.trace_state);
    }
    part
}

/// Checks each event against the JSON Schema that the operator gives for its type.
fn check_schemas(
    source: &LiveSource,
    events: &[EventIdentity],
    body: &[u8],
) -> Result<(), Refused> {
    let Source { name, schemas, .. } = &*source.config;
    let check =
        |event: &EventIdentity| schemas.check(name, &event.kind, event.category, event.bytes(body));
    events.iter().try_for_each(check).map_err(|mismatch| Refused::Schema(Box::new(mismatch)))
}
