//! The path of one request, from its head to its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::EXPECT;
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode};
use hyper::body::{Body as _, Incoming};
use weir_core::bounds::HOPS_MAX;
use weir_core::error::chain;
use weir_core::handshake::{HandshakeAnswer, HandshakeEffect, HandshakeKeys};
use weir_core::hops::HOPS_HEADER;
use weir_core::identify::{EventIdentity, Identified, RequestFacts};
use weir_core::payload::Payload;
use weir_core::request::RequestView;
use weir_core::time::Timestamp;
use weir_core::verify::{KeyRef, Unverified, Verified, VerifyError};
use weir_store::StoreError;
use weir_store::{DedupKey, EventIngested, Ingested, NewEvent, NewRequest};

use super::answer::{self, Answer};
use super::body_wait::BodyWait;
use super::client::{Caller, Client};
use super::content::{Content, IsForm};
use super::event_log::StoredEventLog;
use super::head::{self, Purpose};
use super::redact::{self, Redacted};
use super::refused::Refused;
use super::run_to_completion::RunToCompletion;
use super::timed_io::ConnectionState;
use super::way::LiveSource;
use super::{Ingress, body, facts, problem};
use crate::config::Source;
use crate::observe::likely_cause;
use crate::observe::metrics::SourceMetrics;
use crate::routing;

/// What a request turned out to be.
pub(super) enum Understood {
    /// It wants an answer and is no event.
    Handshake(HandshakeAnswer),
    /// It carries events.
    Events { request: NewRequest, is_batch: bool },
    /// Nothing yet: this key is wanted first.
    Unkeyed(KeyRef),
}

/// RequestFacts of a request that the events of its batch share.
#[derive(Clone, Copy)]
struct BatchFacts<'a> {
    /// Times that the request has left this hub.
    hops: u8,
    /// RequestFacts of the URL.
    url: &'a [(Box<str>, Bytes)],
}

/// A request that is taken in, with the word that it is counted by.
pub(super) struct Taken {
    pub(super) word: &'static str,
    pub(super) answer: Answer,
}

impl Ingress {
    /// Takes one request in or refuses it. Says too, where the answer goes out with the body unread, how many bytes of
    /// it to take off the wire after that.
    ///
    /// `one_length` is false unless the head is known to announce its body's length in one way.
    pub(super) async fn receive(
        &self,
        request: Request<Incoming>,
        client: &Client,
        one_length: bool,
        state: &ConnectionState,
    ) -> (Answer, Option<usize>) {
        let started = Instant::now();
        let (head, mut body) = request.into_parts();
        let caller = client.caller(&head.headers, &self.address_policy);
        let way = match head::purpose(&head.uri) {
            Ok(Purpose::Live) => return (self.live(), None),
            Ok(Purpose::Ready) => return (answer::health(self.health.ready().err()), None),
            Ok(Purpose::Webhook(source)) => {
                self.live_sources.get(source).ok_or(Refused::UnknownSource)
            }
            Err(refused) => Err(refused),
        };
        let way = match way {
            Ok(way) => way,
            Err(refused) => {
                let refused = self.check_penalty(caller, None, started).err().unwrap_or(refused);
                return (self.refuse(caller, None, &refused), unread(&refused, &head, &mut body));
            }
        };
        let waited_for = BodyWait::new(self, &way, caller, state);
        match self.take_in(&way, &head, &mut body, caller, one_length, waited_for).await {
            Ok(Taken { word, answer }) => {
                way.metrics.answered(word, started.elapsed());
                (answer, None)
            }
            Err(refused) => {
                way.metrics.answered(refused.code(), started.elapsed());
                let answer = self.refuse(caller, Some(&way), &refused);
                (answer, unread(&refused, &head, &mut body))
            }
        }
    }

    /// Refuses whoever's address owes too much, except on a connection that has proven itself.
    pub(super) fn check_penalty(
        &self,
        caller: Caller<'_>,
        source: Option<&str>,
        now: Instant,
    ) -> Result<(), Refused> {
        let Some(network) = caller.network.filter(|_| !caller.is_proven()) else { return Ok(()) };
        let wait = self.penalties.lock().wait(network, source, self.since_start(now));
        wait.map_or(Ok(()), |wait| Err(Refused::Penalized { wait }))
    }

    /// Charges a stranger's address with a refusal.
    pub(super) fn charge(&self, caller: Caller<'_>, source: Option<&str>) {
        caller.refused();
        if let Some(network) = caller.network {
            self.penalties.lock().charge(network, source, self.since_start(Instant::now()));
        }
    }

    fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// The path: limits, body, verify, identify, route, store, answer.
    async fn take_in(
        &self,
        way: &LiveSource,
        head: &Parts,
        body: &mut Incoming,
        caller: Caller<'_>,
        one_length: bool,
        waited_for: BodyWait<'_>,
    ) -> Result<Taken, Refused> {
        self.check_penalty(caller, Some(way.source.name.as_str()), Instant::now())?;
        head::check(head, one_length)?;
        if head.headers.len() > self.max_headers {
            return Err(Refused::HeadTooLarge);
        }
        if !way.takes(&head.method) {
            return Err(Refused::Method);
        }
        way.access.admit(caller, head)?;
        if !self.is_open() {
            return Err(Refused::NotReady);
        }
        let read = body::read(body, way.limits, &self.budget, |now| waited_for.begins(now)).await;
        waited_for.ends();
        let (body, share) = read?;
        let understood = self.understand_with_keys(way, head, &body, caller, self.clock.now());
        let understood = understood.await.inspect_err(|refused| {
            self.quarantine_request(way, head, &body, caller, refused);
        })?;
        match understood {
            Understood::Unkeyed(_) => Err(Refused::KeyUnavailable),
            Understood::Handshake(reply) => {
                match Box::pin(self.shake_hands(way, reply, caller)).await {
                    Err(Refused::HandshakeUnconfirmed) => {
                        Box::pin(self.keep_unconfirmed(way, head, &body, caller)).await
                    }
                    shaken => shaken,
                }
            }
            Understood::Events { request, is_batch } => {
                caller.verified();
                if let Some(network) = caller.network.filter(|_| way.verifier.fetches_keys()) {
                    way.published.mark_proven(network);
                }
                way.access.count(self.since_start(Instant::now()))?;
                let mut taken = match self.respondent(way, &request, is_batch) {
                    Some(respondent) => self.respond(way, respondent, request, share).await?,
                    None => self.store(way, request, is_batch).await?,
                };
                if head.method.is_safe() {
                    taken.answer = answer::without_caching(taken.answer);
                }
                Ok(taken)
            }
        }
    }

    /// Understands a request, with a key that its sender publishes if it takes one.
    pub(super) async fn understand_with_keys(
        &self,
        way: &LiveSource,
        head: &Parts,
        body: &Bytes,
        caller: Caller<'_>,
        now: Timestamp,
    ) -> Result<Understood, Refused> {
        let understood = self.understand(way, head, body, caller, now, Meaning::Any)?;
        let Understood::Unkeyed(key) = &understood else { return Ok(understood) };
        Box::pin(self.get_key(way, key, caller)).await?;
        self.understand(way, head, body, caller, now, Meaning::Any)
    }

    /// Keeps a handshake as an event whose confirmation did not get through: it is tried again meanwhile, and if that
    /// is of no use either, what its sender said is there for whoever can do more.
    async fn keep_unconfirmed(
        &self,
        way: &LiveSource,
        head: &Parts,
        body: &Bytes,
        caller: Caller<'_>,
    ) -> Result<Taken, Refused> {
        match self.understand(way, head, body, caller, self.clock.now(), Meaning::Event)? {
            Understood::Events { request, is_batch } => self.store(way, request, is_batch).await,
            Understood::Handshake(_) | Understood::Unkeyed(_) => Err(Refused::HandshakeUnconfirmed),
        }
    }

    /// The URL that the sender believes it calls.
    pub(super) fn signed_url(&self, way: &LiveSource, head: &Parts) -> String {
        let of_source = way.source.provider.public_url.as_deref();
        head::public_url(of_source, self.public_url.as_deref(), head, self.tls.is_some())
    }

    /// Everything between reading a request and storing it: no waiting, no disk.
    fn understand(
        &self,
        way: &LiveSource,
        head: &Parts,
        body: &Bytes,
        caller: Caller<'_>,
        now: Timestamp,
        meaning: Meaning,
    ) -> Result<Understood, Refused> {
        let provider = &*way.source.provider;
        let url = self.signed_url(way, head);
        let headers: Vec<_> =
            head.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        let view = RequestView { method: head.method.as_str(), url: &url, headers: &headers, body };
        let facts = provider.facts(view);
        if let Some(reply) = unsigned_handshake(way, &facts) {
            return reply;
        }
        let verified = match verify(way, &view, now)? {
            Proof::Given(verified) => verified,
            Proof::NeedsKey(key) => return Ok(Understood::Unkeyed(key)),
        };
        if meaning == Meaning::Any
            && let Some(reply) = handshake(way, &facts, Some(&verified))
        {
            return reply;
        }
        let hops = self.hops(head, body)?;
        let identified = provider.identify(&facts, &verified).map_err(Refused::Unusable)?;
        drop(facts);
        let Identified { events, is_batch } = identified;
        let content = Content::of(&view, body);
        hold_to_schemas(way, &events, &content.bytes)?;
        let spans = events.iter().map(|event| event.span.clone());
        let (secret, fingerprints) = (&way.secret_fields, self.fingerprints());
        let content_type = view.header("content-type").unwrap_or_default();
        let kept = Redacted::new(&content, content_type, spans, secret, fingerprints);
        let mut payload = Payload {
            headers: redact::headers(&head.headers, &content, secret, fingerprints),
            body: kept.part(0..content.bytes.len()),
        };
        let facts = facts::of(&head.uri, secret, fingerprints);
        payload.headers.extend(facts.iter().cloned());
        payload.set_hops(hops);
        let request = NewRequest {
            source: way.source.name.clone(),
            scheme: verified.scheme,
            secret: verified.secret,
            remote: Some(caller.address),
            payload,
            on_redelivery: provider.on_redelivery,
            events: self.route(
                way,
                events,
                is_batch.then_some(BatchFacts { hops, url: &facts }),
                &kept,
            ),
        };
        Ok(Understood::Events { request, is_batch })
    }

    /// How often what arrives has left this hub before; no more than it may.
    fn hops(&self, head: &Parts, body: &[u8]) -> Result<u8, Refused> {
        let values = head.headers.get_all(HOPS_HEADER).iter().map(HeaderValue::as_bytes);
        let hops = self.hops.read(values, body);
        if hops < HOPS_MAX { Ok(hops) } else { Err(Refused::LoopDetected) }
    }

    /// Answers a handshake whose effect can be had; one that cannot is not answered, for that would be a promise.
    async fn shake_hands(
        &self,
        way: &LiveSource,
        reply: HandshakeAnswer,
        caller: Caller<'_>,
    ) -> Result<Taken, Refused> {
        let (source, handshake) = (way.source.name.as_str(), &*reply.name);
        match &reply.effect {
            HandshakeEffect::None => tracing::info!(source, handshake, "handshake answered"),
            HandshakeEffect::Notice(notice) => {
                tracing::warn!(
                    source,
                    handshake,
                    notice,
                    "handshake answered; the provider asks for attention"
                );
            }
            HandshakeEffect::FetchUrl { url, later: true } => {
                let of = way.source.name.clone();
                way.published.call_back(url.clone(), caller.network, of);
                tracing::info!(source, handshake, "handshake answered");
            }
            HandshakeEffect::FetchUrl { url, later: false } => {
                if let Err(error) = way.published.confirm(url, caller.network).await {
                    let error = chain(&error);
                    tracing::warn!(source, handshake, error, "cannot confirm; will try again");
                    let (url, source) = (url.clone(), way.source.name.clone());
                    way.published.confirm_later(url, source, caller.network);
                    return Err(Refused::HandshakeUnconfirmed);
                }
                tracing::info!(source, handshake, "handshake confirmed");
            }
            HandshakeEffect::StoreSecret { secret, show_once } => {
                self.accept_secret(way, secret, *show_once).await?;
                if let Some(notice) = &reply.notice {
                    tracing::warn!(source, handshake, notice, "the provider asks for attention");
                }
            }
        }
        Ok(Taken { word: "handshake", answer: answer::handshake(reply) })
    }

    async fn get_key(
        &self,
        way: &LiveSource,
        key: &KeyRef,
        caller: Caller<'_>,
    ) -> Result<(), Refused> {
        let got = way.published.get(key, caller.network, &*self.clock).await;
        got.map_err(|error| {
            let source = way.source.name.as_str();
            tracing::warn!(source, error = chain(&error), "a published key cannot be had");
            Refused::KeyUnavailable
        })
    }

    /// The events with the targets that the routing table in force gives them. `batch` is given where each event is a
    /// part of the body.
    fn route(
        &self,
        way: &LiveSource,
        events: Vec<EventIdentity>,
        batch: Option<BatchFacts<'_>>,
        kept: &Redacted<'_>,
    ) -> Vec<NewEvent> {
        let table = self.routes.current();
        let new = |mut event: EventIdentity| {
            let category = Some(event.category);
            let routed = routing::routed(&table, &way.source.name, &event.kind, category);
            let material = event.dedup.take();
            NewEvent {
                category,
                dedup: material.map(|material| DedupKey {
                    material: Bytes::copy_from_slice(material.as_bytes()),
                    body_tag: event.tag,
                }),
                delivery_id: event.delivery_id,
                part: batch.map(|BatchFacts { hops, url }| {
                    // Nothing of what had to be decoded is secret: a provider's file may not say so.
                    let decoded = event.decoded.map(Bytes::from_owner);
                    part(decoded.unwrap_or_else(|| kept.part(event.span)), hops, url)
                }),
                routed,
                kind: event.kind,
            }
        };
        events.into_iter().map(new).collect()
    }

    /// Stores a request, and counts its events.
    pub(super) async fn ingest(
        &self,
        way: &LiveSource,
        request: NewRequest,
    ) -> Result<Ingested, Refused> {
        let (store, metrics) = (Arc::clone(&self.store), Arc::clone(&way.metrics));
        let event_log = StoredEventLog::of(&request);
        // Counted where it is known, even if the sender has gone by then.
        let stored = RunToCompletion::new(async move {
            let result = store.ingest(vec![request]).await.pop();
            for event in result.iter().flatten().flat_map(|ingested| &ingested.events) {
                count(&metrics, event);
            }
            result
        });
        let ingested = stored.await.unwrap_or(Err(StoreError::Closed)).map_err(Refused::Store)?;
        event_log.log(way.source.name.as_str(), &ingested.events);
        Ok(ingested)
    }

    async fn store(
        &self,
        way: &LiveSource,
        request: NewRequest,
        is_batch: bool,
    ) -> Result<Taken, Refused> {
        let form = IsForm::of(&request.payload);
        let ingested = self.ingest(way, request).await?;
        let word = answer::word(&ingested.events);
        let answer = way.answer(&ingested.events, form, is_batch);
        Ok(Taken { word, answer })
    }

    pub(super) fn refuse(
        &self,
        caller: Caller<'_>,
        way: Option<&LiveSource>,
        refused: &Refused,
    ) -> Answer {
        if refused.counts_toward_penalty() {
            self.charge(caller, way.map(|way| way.source.name.as_str()));
        }
        if way.is_none() {
            match refused {
                Refused::UnknownSource => self.metrics.refused_unknown_source(),
                other => self.metrics.refused(other.code()),
            }
        }
        if let (Some(way), Refused::Unverified { refusal, .. }) = (way, refused) {
            let look = || likely_cause::likely_cause(&way.source, refusal.code());
            if let Some(seen) = way.metrics.signature_refused(look) {
                let source = way.source.name.as_str();
                tracing::warn!(source, %seen, "the first requests were refused and none was accepted");
            }
        }
        let now = self.clock.now();
        let id = self.refusals.next_id(now);
        let source = way.map(|way| way.source.name.as_str());
        self.refusals.note(now, &id, source, refused);
        self.refusals.remember((&id, now), source, caller.address, refused);
        match (refused, way) {
            (Refused::Unverified { status, .. }, Some(way))
                if way.source.provider.failure_empty =>
            {
                answer::empty(*status)
            }
            _ => problem::answer(refused, &id, way.map(|way| &way.allow)),
        }
    }

    fn live(&self) -> Answer {
        answer::health((!self.health.live()).then_some("store_poisoned"))
    }
}

/// How many bytes of a body to take off the wire after a refusal, which goes out before all of it came.
fn unread(refused: &Refused, head: &Parts, body: &mut Incoming) -> Option<usize> {
    let most = refused.drain_bytes()?;
    // To ask for such a body would be to invite it.
    let is_held_back = head.headers.contains_key(EXPECT) && !body.is_end_stream();
    (is_held_back || !body::is_here(body)).then_some(most)
}

/// What a request is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// What it says it is.
    Any,
    /// Events, whatever it says.
    Event,
}

/// What a request that is not refused proves.
enum Proof {
    Given(Verified),
    NeedsKey(KeyRef),
}

/// An event's own part of a batch, which has come as often as the batch, and by the same URL.
fn part(body: Bytes, hops: u8, facts: &[(Box<str>, Bytes)]) -> Payload {
    let mut part = Payload::new("application/json", body);
    part.headers.extend_from_slice(facts);
    part.set_hops(hops);
    part
}

/// Holds each event to what the operator says that it must look like.
fn hold_to_schemas(way: &LiveSource, events: &[EventIdentity], body: &[u8]) -> Result<(), Refused> {
    let Source { name, schemas, .. } = &*way.source;
    let fits =
        |event: &EventIdentity| schemas.check(name, &event.kind, event.category, event.bytes(body));
    events.iter().try_for_each(fits).map_err(|mismatch| Refused::Schema(Box::new(mismatch)))
}

fn verify(way: &LiveSource, view: &RequestView<'_>, now: Timestamp) -> Result<Proof, Refused> {
    match way.verifier.verify_with(view, now, &way.published.ring()) {
        Ok(verified) if way.takes_events_by(view.method) => Ok(Proof::Given(verified)),
        // A signature says who sends, not that what comes by the method of a handshake is an event.
        Ok(_) => Err(Refused::Method),
        Err(Unverified::Refused(refusal)) => {
            let status = match refusal {
                VerifyError::ContentTypeUnsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                _ => way.failure_status,
            };
            Err(Refused::Unverified { refusal, status })
        }
        Err(Unverified::NeedKey(key)) => Ok(Proof::NeedsKey(*key)),
    }
}

fn unsigned_handshake(
    way: &LiveSource,
    facts: &RequestFacts<'_>,
) -> Option<Result<Understood, Refused>> {
    if way.has_unsigned_handshakes { handshake(way, facts, None) } else { None }
}

fn handshake(
    way: &LiveSource,
    facts: &RequestFacts<'_>,
    verified: Option<&Verified>,
) -> Option<Result<Understood, Refused>> {
    let keys = HandshakeKeys { verifier: &way.verifier, params: &way.params };
    let reply = way.source.provider.handshake(facts, verified, keys)?;
    Some(reply.map(Understood::Handshake).map_err(Refused::Handshake))
}

pub(super) fn count(metrics: &SourceMetrics, event: &EventIngested) {
    match event {
        EventIngested::Stored { id_reused, unrouted, .. } => {
            metrics.stored();
            if *id_reused {
                metrics.id_reused();
            }
            if *unrouted {
                metrics.unrouted();
            }
        }
        EventIngested::Duplicate { .. } => metrics.duplicate(),
    }
}
