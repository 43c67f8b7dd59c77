//! Messages that the hub took from a server. They are identified, checked, routed and stored as
//! requests are, by the settings of their source. No signature vouches for them.
//!
//! A message that is refused for good is stored too, as an event `message.refused` that no rule
//! gets by itself: the server forgets a message once it is acknowledged, and must not bring one
//! that can never be accepted again and again.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, header};
use weir_core::bounds::DELIVERY_ID_BYTES_MAX;
use weir_core::event::EventType;
use weir_core::payload::Payload;
use weir_core::provider::OnRedelivery;
use weir_core::verify::Verified;
use weir_store::{DedupKey, NewEvent, NewRequest, StoreError};

use super::Pipeline;
use super::received::Received;
use super::request_trace::RequestTrace;
use crate::config::PullSettings;
use crate::ingress::answer::IngressOutcome;
use crate::ingress::answer::refused::Refused;
use crate::ingress::sources::live_source::LiveSource;
use crate::routing;

/// The header with the reason in such an event.
const REFUSED_HEADER: &str = "weir-refused";
/// The address in the record of a refused message: there is no sender with one.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A message as it was taken.
#[derive(Debug, Clone)]
pub(crate) struct PulledMessage {
    /// The id that the server or its publisher gave it.
    pub(crate) id: Option<MessageId>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The id of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MessageId {
    /// The id for people; none if it cannot be stored as one.
    shown: Option<Arc<str>>,
    /// Text that is equal for the same message only, also if the server numbers messages anew.
    material: Box<str>,
}

impl MessageId {
    pub(crate) fn new(shown: &str, material: impl Into<Box<str>>) -> Self {
        let is_storable = (1..=DELIVERY_ID_BYTES_MAX).contains(&shown.len())
            && !shown.chars().any(char::is_control);
        Self { shown: is_storable.then(|| shown.into()), material: material.into() }
    }
}

/// A message that cannot be stored now.
#[derive(Debug, Clone)]
pub(crate) enum NotTaken {
    /// The source is not configured any more.
    NoSource,
    Store(StoreError),
}

/// A message on its way to the store.
struct Prepared {
    request: NewRequest,
    trace: RequestTrace,
    /// The reason why it is stored as refused.
    refused: Option<Refused>,
}

impl Pipeline {
    /// Stores messages of a source, in their order and in one commit. Those that are taken may be
    /// acknowledged: their events are durable, or the message is, as refused.
    pub(crate) async fn accept_pulled(
        &self,
        source: &str,
        messages: &[PulledMessage],
    ) -> Vec<Result<(), NotTaken>> {
        let live = self.sources.get(source);
        let Some((source, pull)) =
            live.as_ref().and_then(|live| Some((live, live.config.pull.as_ref()?)))
        else {
            return messages.iter().map(|_| Err(NotTaken::NoSource)).collect();
        };
        let started = Instant::now();
        let prepared: Vec<_> =
            messages.iter().map(|message| self.prepare(source, pull, message)).collect();
        let mut requests = Vec::with_capacity(prepared.len());
        let mut rest = Vec::with_capacity(prepared.len());
        for Prepared { request, trace, refused } in prepared {
            requests.push(request);
            rest.push((trace, refused));
        }
        let stored = self.ingest_all(source, requests).await;
        let mut taken = Vec::with_capacity(rest.len());
        for ((trace, refused), stored) in rest.into_iter().zip(stored) {
            let (code, result) = match (stored, refused) {
                (Err(error), _) => {
                    let refused = Refused::Store(error.clone());
                    (refused.code(), Err(NotTaken::Store(error)))
                }
                (Ok(ingested), Some(refused)) => {
                    // The second time it comes, it is on record already.
                    if IngressOutcome::of(&ingested.events) != IngressOutcome::Duplicate {
                        self.record_refused(source, &refused);
                    }
                    (refused.code(), Ok(()))
                }
                (Ok(ingested), None) => (IngressOutcome::of(&ingested.events).as_str(), Ok(())),
            };
            let took = started.elapsed();
            source.metrics.answered(code, took);
            if result.is_ok() {
                source.metrics.pull.taken();
            }
            trace.end(&self.tracer, source, code, took);
            taken.push(result);
        }
        taken.resize_with(messages.len(), || Err(NotTaken::Store(StoreError::Closed)));
        taken
    }

    fn record_refused(&self, source: &LiveSource, refused: &Refused) {
        let now = self.clock.now();
        let (id, name) = (self.refusals.next_id(now), Some(source.name()));
        self.refusals.write(now, &id, name, refused);
        self.refusals.remember((&id, now), name, HERE, refused);
    }

    fn prepare(
        &self,
        source: &LiveSource,
        pull: &PullSettings,
        message: &PulledMessage,
    ) -> Prepared {
        let head = head_of(source.name(), &message.headers);
        let trace = RequestTrace::begin(&self.tracer, &head.headers);
        trace.verified();
        let mut received = self.received(source, &head, &message.body, HERE, self.clock.now());
        received.trace = Some(&trace);
        let kind = pull.kind().as_str();
        let (request, refused) = match self.interpret_pulled(&received, kind) {
            Ok(mut request) => {
                give_ids(&mut request, pull, message.id.as_ref());
                (request, None)
            }
            Err(refused) => {
                let request = self.keep_refused(&received, kind, message.id.as_ref(), &refused);
                (request, Some(refused))
            }
        };
        Prepared { request: NewRequest { remote: None, ..request }, trace, refused }
    }

    fn interpret_pulled(&self, received: &Received<'_>, kind: &str) -> Result<NewRequest, Refused> {
        let source = received.source;
        if received.body.len() > source.config.body_limit {
            return Err(Refused::TooLarge { limit: source.config.body_limit });
        }
        if received.head.headers.len() > self.max_headers {
            return Err(Refused::HeadTooLarge);
        }
        let facts = source.config.provider.facts(received.view());
        let identified = source.config.provider.identify_unverified(&facts);
        let identified = self.check_identified(received, identified.map_err(Refused::Unusable)?)?;
        drop(facts);
        Ok(self.route(received, Verified::pulled(kind), identified).request)
    }

    /// The request that keeps a refused message, as far as the source accepts bodies and headers.
    fn keep_refused(
        &self,
        received: &Received<'_>,
        kind: &str,
        id: Option<&MessageId>,
        refused: &Refused,
    ) -> NewRequest {
        let (mut headers, mut body) = self.redacted(received);
        headers.truncate(self.max_headers);
        body.truncate(received.source.config.body_limit);
        let reason = format!("{}: {refused}", refused.code());
        headers.push((REFUSED_HEADER.into(), reason.into()));
        let mut event = NewEvent {
            kind: EventType::of_refused_message(),
            category: None,
            delivery_id: None,
            dedup: None,
            part: None,
            keys: Vec::new(),
            routed: routing::unrouted(&self.routes.current()),
        };
        if let Some(id) = id {
            give_id(&mut event, id, "refused");
        }
        NewRequest {
            source: received.source_name(),
            scheme: kind.into(),
            secret: "".into(),
            remote: None,
            payload: Payload { headers, body },
            on_redelivery: OnRedelivery::Duplicate,
            events: vec![event],
        }
    }
}

/// Gives the events of a message the server's id, unless the source finds ids in the message.
fn give_ids(request: &mut NewRequest, pull: &PullSettings, id: Option<&MessageId>) {
    let Some(id) = id else { return };
    for (index, event) in request.events.iter_mut().enumerate() {
        if !pull.own_ids || event.dedup.is_none() && event.delivery_id.is_none() {
            give_id(event, id, &index.to_string());
        }
    }
}

fn give_id(event: &mut NewEvent, id: &MessageId, part: &str) {
    let MessageId { shown, material } = id;
    event.delivery_id = shown.clone();
    event.dedup =
        Some(DedupKey { material: format!("pulled\0{material}\0{part}").into(), body_tag: 0 });
}

/// The head of the request that a message is treated as.
fn head_of(source: &str, headers: &HeaderMap) -> Parts {
    let mut request = Request::new(());
    *request.method_mut() = http::Method::POST;
    if let Ok(uri) = format!("/webhook/{source}").parse() {
        *request.uri_mut() = uri;
    }
    request.headers_mut().clone_from(headers);
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
    request.into_parts().0
}
