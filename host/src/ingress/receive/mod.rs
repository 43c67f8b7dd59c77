//! The path of one request, from its head to its answer: find the source, check the head, admit the
//! sender, read the body, verify, answer a handshake or identify the events, route, store, answer.
//!
//! Each step is one function: the first four here, the others in the file of their name. What may
//! not live here: connections, SQL, the name of a provider.

mod body_wait;
mod event_log;
mod from_api;
mod handshake;
mod identify;
mod pulled;
mod quarantine;
mod received;
mod refuse;
mod request_trace;
mod responder;
mod sample;
mod store;
mod verify;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Uri};
use hyper::body::Incoming;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use weir_core::handshake::HandshakeAnswer;
use weir_core::hops::HopKey;
use weir_core::time::Clock;
use weir_core::verify::Verified;
use weir_store::NewRequest;
use weir_store::Store;
use weir_store::quarantine::Quarantine;

use super::answer::penalties::Penalties;
use super::answer::refusal_log::RefusalLog;
use super::answer::refused::Refused;
use super::answer::{self, Accepted, Answer, RequestShape, Response};
use super::connection::client::{AddressPolicy, Client};
use super::connection::head_scanner::Framing;
use super::connection::state::ConnectionState;
use super::request::body;
use super::request::budget::{BodyBudget, BudgetShare};
use super::request::fingerprints::Fingerprints;
use super::request::head::{self, Purpose};
use super::sources::hand_over::HandOver;
use super::sources::live_source::LiveSource;
use super::sources::live_sources::LiveSources;
use crate::invoker::ResponderHandle;
use crate::keys::Seal;
use crate::observe::health::{Health, ROUTING_MISSING};
use crate::observe::metrics::Metrics;
use crate::observe::notice::Notices;
use crate::observe::shapes::Shapes;
use crate::observe::tracer::Tracer;
use crate::routing::Routes;
use crate::runtime::tasks::Tasks;
use body_wait::BodyWait;
use received::{Arrival, Received};
use request_trace::RequestTrace;

pub use from_api::{FromApi, FromApiRefused};
pub(crate) use pulled::{MessageId, NotTaken, PulledMessage};
pub use quarantine::{QuarantinedView, ReleaseOutcome};
pub use sample::SampleRefused;

/// Everything that requests need on their path. Shared by all connections.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) sources: Arc<LiveSources>,
    pub(crate) hand_over: HandOver,
    pub(crate) address_policy: AddressPolicy,
    pub(crate) penalties: Penalties,
    pub(crate) budget: BodyBudget,
    pub(crate) refusals: RefusalLog,
    pub(crate) fingerprints: OnceLock<Fingerprints>,
    pub(crate) quarantine: Option<Quarantine>,
    pub(crate) seal: Arc<Seal>,
    pub(crate) public_url: Option<String>,
    /// True if the hub itself speaks TLS.
    pub(crate) is_tls: bool,
    pub(crate) max_headers: usize,
    /// Rates are counted from this time.
    pub(crate) started: Instant,
    /// True once the routing table is loaded.
    pub(crate) is_routing_ready: AtomicBool,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) tracer: Tracer,
    pub(crate) shapes: Shapes,
    pub(crate) notices: Notices,
    pub(crate) health: Arc<Health>,
    pub(crate) responders: Option<ResponderHandle>,
    pub(crate) hops: Arc<HopKey>,
    pub(crate) tasks: Tasks,
}

/// The target of a request, by its path.
enum Endpoint {
    Source(Arc<LiveSource>),
    /// A health check, with its answer.
    Health(Answer),
}

/// The meaning of a request.
enum Interpretation {
    Handshake {
        reply: HandshakeAnswer,
        /// `None` for a handshake that is not signed.
        verified: Option<Verified>,
    },
    Events(RoutedRequest),
}

/// A request whose events have their deliveries, ready to be stored.
struct RoutedRequest {
    request: NewRequest,
    shape: RequestShape,
}

impl Pipeline {
    /// Answers one request: accepts it or refuses it.
    pub(crate) async fn receive(
        &self,
        request: Request<Incoming>,
        client: &Client,
        framing: Framing,
        connection: &ConnectionState,
    ) -> Response {
        let span = tracing::debug_span!("ingress", source = Empty, event = Empty, code = Empty);
        self.answer(request, client, framing, connection, &span).instrument(span.clone()).await
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        client: &Client,
        framing: Framing,
        connection: &ConnectionState,
        span: &Span,
    ) -> Response {
        let started = Instant::now();
        let (head, mut body) = request.into_parts();
        let caller = client.caller(&head.headers, &self.address_policy);
        let source = match self.find_source(&head.uri) {
            Ok(Endpoint::Source(source)) => source,
            Ok(Endpoint::Health(answer)) => return Response::complete(answer),
            Err(refused) => {
                let refused = self.penalties.check(caller, None, started).err().unwrap_or(refused);
                return self.refuse_unread(caller, None, &refused, &head, &mut body);
            }
        };
        span.record("source", source.name());
        let trace = RequestTrace::begin(&self.tracer, &head.headers);
        let arrival = Arrival {
            source: &source,
            head: &head,
            caller,
            framing,
            connection,
            started,
            span,
            trace: &trace,
        };
        let result = self.accept(&arrival, &mut body).await;
        let code = match &result {
            Ok(accepted) => accepted.outcome.as_str(),
            Err(refused) => refused.code(),
        };
        span.record("code", code);
        let took = started.elapsed();
        source.metrics.answered(code, took);
        trace.end(&self.tracer, &source, code, took);
        match result {
            Ok(accepted) => Response::complete(accepted.answer),
            Err(refused) => self.refuse_unread(caller, Some(&source), &refused, &head, &mut body),
        }
    }

    /// The steps of a request for a known source.
    async fn accept(
        &self,
        arrival: &Arrival<'_>,
        body: &mut Incoming,
    ) -> Result<Accepted, Refused> {
        self.check_head(arrival)?;
        self.admit(arrival)?;
        let (body, share) = self.read_body(arrival, body).await?;
        let url = self.signed_url(arrival.source, arrival.head);
        let received = Received::new(arrival, &body, url, self.clock.now());
        let interpreted = self.interpret(&received).await;
        match interpreted.inspect_err(|refused| self.quarantine_refused(&received, refused))? {
            Interpretation::Handshake { reply, verified } => {
                Box::pin(self.answer_handshake(&received, reply, verified)).await
            }
            Interpretation::Events(routed) => self.store_and_answer(&received, routed, share).await,
        }
    }

    /// The source that a path names, or a health check.
    fn find_source(&self, uri: &Uri) -> Result<Endpoint, Refused> {
        let health = |problem| Ok(Endpoint::Health(answer::health(problem)));
        match head::purpose(uri)? {
            Purpose::Live => health((!self.health.live()).then_some("store_poisoned")),
            Purpose::Ready => health(self.health.ready().err()),
            Purpose::Webhook(name) => match self.sources.get(name) {
                Some(source) if source.config.pull.is_some() => Err(Refused::Pulled),
                Some(source) => Ok(Endpoint::Source(source)),
                None => Err(Refused::UnknownSource),
            },
        }
    }

    /// Checks the sender's penalty and the head of its request.
    fn check_head(&self, arrival: &Arrival<'_>) -> Result<(), Refused> {
        let Arrival { source, head, caller, .. } = *arrival;
        self.penalties.check(caller, Some(source.name()), Instant::now())?;
        head::check(head, arrival.framing)?;
        if head.headers.len() > self.max_headers {
            return Err(Refused::HeadTooLarge);
        }
        if source.accepts_method(&head.method) { Ok(()) } else { Err(Refused::Method) }
    }

    /// Checks the access rules of the source.
    fn admit(&self, arrival: &Arrival<'_>) -> Result<(), Refused> {
        arrival.source.access.admit(arrival.caller, arrival.head)?;
        if self.is_routing_ready() { Ok(()) } else { Err(Refused::NotReady) }
    }

    /// Reads the body within its limits. The share holds its bytes of the budget.
    async fn read_body(
        &self,
        arrival: &Arrival<'_>,
        body: &mut Incoming,
    ) -> Result<(Bytes, BudgetShare), Refused> {
        let wait = BodyWait::new(arrival, &self.penalties);
        let limits = arrival.source.limits;
        let read = body::read(body, limits, &self.budget, |now| wait.start(now)).await;
        wait.end();
        read
    }

    /// Verifies a request and reads what it carries. Stores nothing.
    async fn interpret(&self, received: &Received<'_>) -> Result<Interpretation, Refused> {
        let facts = received.source.config.provider.facts(received.view());
        if let Some(reply) = handshake::find_unsigned(received, &facts)? {
            return Ok(Interpretation::Handshake { reply, verified: None });
        }
        let verified = self.verify(received).await?;
        if let Some(reply) = handshake::find_signed(received, &facts, &verified)? {
            return Ok(Interpretation::Handshake { reply, verified: Some(verified) });
        }
        let identified = self.identify(received, &facts, &verified)?;
        drop(facts);
        Ok(Interpretation::Events(self.route(received, verified, identified)))
    }

    /// The URL that the sender believes it calls.
    fn signed_url(&self, source: &LiveSource, head: &Parts) -> String {
        let of_source = source.config.provider.public_url.as_deref();
        head::public_url(of_source, self.public_url.as_deref(), head, self.is_tls)
    }

    /// True once the routing table is loaded. It stays true.
    fn is_routing_ready(&self) -> bool {
        if !self.is_routing_ready.load(Ordering::Relaxed)
            && self.health.ready() != Err(ROUTING_MISSING)
        {
            self.is_routing_ready.store(true, Ordering::Relaxed);
        }
        self.is_routing_ready.load(Ordering::Relaxed)
    }

    fn fingerprints(&self) -> &Fingerprints {
        self.fingerprints.get_or_init(Fingerprints::temporary)
    }

    fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }
}
