//! A source made ready: everything that its requests need and that does not change from one to the next.

use std::sync::Arc;

use http::{Method, StatusCode};
use weir_core::token::Tokens;
use weir_core::verify::Params;
use weir_store::hot::EventIngested;

use super::answer::{self, Acknowledgement, Answer};
use super::body::BodyLimits;
use super::gate::Gate;
use super::limits::BODY_PACE_AFTER;
use super::published::PublishedKeys;
use super::redact::SecretFields;
use crate::config::{Server, Source};
use crate::egress::fetch::Fetcher;
use crate::observe::metrics::{Metrics, SourceMetrics};

/// A source, ready.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) source: Arc<Source>,
    pub(super) gate: Gate,
    pub(super) metrics: Arc<SourceMetrics>,
    pub(super) limits: BodyLimits,
    pub(super) secret_fields: SecretFields,
    /// What the provider demands as an answer.
    pub(super) acknowledgement: Option<Acknowledgement>,
    /// What the provider wants to hear where a handler was to answer and has not.
    unanswered: Option<Acknowledgement>,
    /// The status of a refused signature.
    pub(super) failure_status: StatusCode,
    /// Whether some requests are answered before verification.
    pub(super) has_unsigned_handshakes: bool,
    /// Parameters of handshakes, by name.
    pub(super) params: Params,
    /// The keys that its sender publishes.
    pub(super) published: PublishedKeys,
}

impl Way {
    /// Makes a source ready.
    pub(super) fn new(
        source: &Arc<Source>,
        server: &Server,
        metrics: &Metrics,
        fetcher: &Arc<Fetcher>,
    ) -> Self {
        let provider = &source.provider;
        let token_header = source.gate.tokens.as_ref().and_then(Tokens::header);
        Self {
            metrics: metrics.source(&source.name),
            limits: BodyLimits {
                bytes: source.body_limit,
                time: server.body_timeout,
                pace: server.body_pace,
                start: BODY_PACE_AFTER,
            },
            gate: Gate::new(&source.gate),
            secret_fields: SecretFields::new(&provider.secret_fields, token_header),
            acknowledgement: provider.acknowledge.as_ref().and_then(Acknowledgement::new),
            unanswered: provider.default_answer.as_ref().and_then(Acknowledgement::new),
            failure_status: StatusCode::from_u16(provider.failure_status)
                .unwrap_or(StatusCode::UNAUTHORIZED),
            has_unsigned_handshakes: provider.has_unsigned_handshakes(),
            params: source.params.clone(),
            published: PublishedKeys::new(Arc::clone(fetcher)),
            source: Arc::clone(source),
        }
    }

    /// What is answered where a handler was to answer and has not.
    pub(super) fn default_answer(&self, events: &[EventIngested]) -> Answer {
        match self.unanswered.as_ref().or(self.acknowledgement.as_ref()) {
            Some(words) => words.answer(),
            None => answer::stored(events, false),
        }
    }

    /// Whether a request of this method can mean anything.
    pub(super) fn takes(&self, method: &Method) -> bool {
        method == Method::POST
            || (self.has_unsigned_handshakes
                && [Method::GET, Method::HEAD, Method::OPTIONS].contains(method))
    }
}
