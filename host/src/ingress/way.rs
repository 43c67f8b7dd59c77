//! A source made ready: everything that its requests need and that does not change from one to the next.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode};
use serde::Serialize;
use weir_core::name::SourceName;
use weir_core::time::Timestamp;
use weir_core::verify::{NamedSecret, Params, Secret, Verifier};
use weir_store::EventIngested;

use super::access::AccessControl;
use super::answer::{self, Acknowledgement, Answer};
use super::body::BodyLimits;
use super::content::IsForm;
use super::limits::BODY_PACE_GRACE;
use super::published::PublishedKeys;
use super::redact::SecretFields;
use crate::config::{Server, Source};
use crate::egress::fetch::Fetcher;
use crate::observe::metrics::{Metrics, SourceMetrics};

/// Under which name a secret is recorded that was handed over.
const HANDED_OVER: &str = "handed-over";

/// A source, ready.
#[derive(Debug)]
pub(super) struct LiveSource {
    pub(super) source: Arc<Source>,
    pub(super) access: AccessControl,
    /// What verifies its requests: the configured secrets, or the one that was handed over.
    pub(super) verifier: Verifier,
    /// Whether that is one that was handed over.
    pub(super) is_handed_over: bool,
    pub(super) metrics: Arc<SourceMetrics>,
    pub(super) limits: BodyLimits,
    pub(super) secret_fields: SecretFields,
    /// What the provider demands as an answer.
    acknowledgement: Option<Acknowledgement>,
    /// What it demands where the request is a form.
    form_acknowledgement: Option<Acknowledgement>,
    /// What the provider wants to hear where a handler was to answer and has not.
    unanswered: Option<Acknowledgement>,
    /// The status of a refused signature.
    pub(super) failure_status: StatusCode,
    /// Whether some requests are answered before verification.
    pub(super) has_unsigned_handshakes: bool,
    /// The methods of which a request can mean anything.
    pub(super) allow: HeaderValue,
    /// Parameters of handshakes, by name.
    pub(super) params: Params,
    /// The keys that its sender publishes.
    pub(super) published: Arc<PublishedKeys>,
}

/// A source as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// Its name.
    pub name: SourceName,
    /// Its provider's name.
    pub provider: Arc<str>,
    /// The schemes that are accepted.
    pub schemes: Vec<Arc<str>>,
    /// The names of what verifies: secrets, or what was handed over or is published.
    pub secrets: Vec<Arc<str>>,
    /// Whether everything is refused until the sender hands its secret over.
    pub awaits_secret: bool,
    /// Until when it may.
    pub window_until: Option<Timestamp>,
}

impl LiveSource {
    /// What operators see of it.
    pub(super) fn status(&self, window_until: Option<Timestamp>) -> SourceStatus {
        let mut secrets: Vec<_> =
            self.source.secrets.iter().map(|secret| Arc::clone(&secret.name)).collect();
        if self.is_handed_over {
            secrets.push(HANDED_OVER.into());
        }
        if self.verifier.fetches_keys() {
            secrets.push("published".into());
        }
        SourceStatus {
            name: self.source.name.clone(),
            provider: Arc::clone(&self.source.provider.name),
            schemes: self.verifier.schemes().map(Arc::clone).collect(),
            awaits_secret: secrets.is_empty(),
            secrets,
            window_until,
        }
    }

    /// Makes a source ready. What it was `before` leaves it what it has counted and fetched.
    pub(super) fn new(
        source: &Arc<Source>,
        before: Option<&Self>,
        server: &Server,
        metrics: &Metrics,
        fetcher: &Arc<Fetcher>,
        handed_over: Option<&Secret>,
    ) -> Self {
        let provider = &source.provider;
        let handed_over = handed_over.and_then(|secret| handed_over_verifier(source, secret));
        metrics.source(&source.name).reset_first_requests();
        Self {
            is_handed_over: handed_over.is_some(),
            verifier: handed_over.unwrap_or_else(|| source.verifier.clone()),
            metrics: metrics.source(&source.name),
            limits: BodyLimits {
                bytes: source.body_limit,
                time: server.body_timeout,
                pace: server.body_pace,
                start: BODY_PACE_GRACE,
            },
            access: AccessControl::new(&source.access, before.map(|before| &before.access)),
            secret_fields: SecretFields::new(
                &provider.secret_fields,
                source.access.tokens.as_ref(),
            ),
            acknowledgement: provider.acknowledge.as_ref().and_then(Acknowledgement::new),
            form_acknowledgement: provider.acknowledge_form.as_ref().and_then(Acknowledgement::new),
            unanswered: provider.default_answer.as_ref().and_then(Acknowledgement::new),
            failure_status: StatusCode::from_u16(provider.failure_status)
                .unwrap_or(StatusCode::UNAUTHORIZED),
            has_unsigned_handshakes: provider.has_unsigned_handshakes(),
            // They are words of a provider file that was checked for what may stand there.
            allow: HeaderValue::try_from(provider.allowed_methods())
                .unwrap_or(HeaderValue::from_static("POST")),
            params: source.params.clone(),
            // Keys that were fetched are judged anew with each request, so they may outlive a change.
            published: before.map_or_else(
                || Arc::new(PublishedKeys::new(Arc::clone(fetcher))),
                |before| Arc::clone(&before.published),
            ),
            source: Arc::clone(source),
        }
    }

    /// What is answered to a request that is taken in.
    pub(super) fn answer(&self, events: &[EventIngested], form: IsForm, is_batch: bool) -> Answer {
        let for_forms = self.form_acknowledgement.as_ref().filter(|_| form.0);
        match for_forms.or(self.acknowledgement.as_ref()) {
            Some(words) => words.answer(),
            None => answer::stored(events, is_batch),
        }
    }

    /// What is answered where a handler was to answer and has not.
    pub(super) fn default_answer(&self, events: &[EventIngested], form: IsForm) -> Answer {
        match &self.unanswered {
            Some(words) => words.answer(),
            None => self.answer(events, form, false),
        }
    }

    /// Whether a request of this method can mean anything.
    pub(super) fn takes(&self, method: &Method) -> bool {
        self.source.provider.accepts_method(method.as_str())
    }

    /// Whether a request of this method can be an event.
    pub(super) fn takes_events_by(&self, method: &str) -> bool {
        self.source.provider.methods.contains(method)
    }
}

/// The verifier of a source whose secret was handed over; none if its secrets are configured: the operator's word
/// counts.
fn handed_over_verifier(source: &Source, secret: &Secret) -> Option<Verifier> {
    if !source.secrets.is_empty() {
        return None;
    }
    let secret = NamedSecret::new(HANDED_OVER, secret.clone());
    let made = source.provider.verifier_with(&[secret], &source.params);
    let unusable = |error| {
        let source = source.name.as_str();
        tracing::warn!(source, %error, "the secret that was handed over is of no use");
    };
    made.map_err(unusable).ok()
}
