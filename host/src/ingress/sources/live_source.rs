//! A source that is ready for requests: everything that they need and that stays the same between
//! them.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode};
use serde::Serialize;
use weir_core::name::SourceName;
use weir_core::time::Timestamp;
use weir_core::verify::{NamedSecret, Params, Secret, Verifier};
use weir_store::EventIngested;

use super::access::AccessControl;
use crate::config::{ServerSettings, Source, SourceKind};
use crate::egress::fetch::Fetcher;
use crate::ingress::answer::{self, Acknowledgement, Answer, RequestShape};
use crate::ingress::connection::limits::BODY_PACE_GRACE;
use crate::ingress::request::body::BodyLimits;
use crate::ingress::request::content::BodyFormat;
use crate::ingress::request::secret_fields::SecretFields;
use crate::ingress::verify::confirmations::Confirmations;
use crate::ingress::verify::fetch_limiter::SourceFetches;
use crate::ingress::verify::key_cache::KeyCache;
use crate::observe::metrics::{Metrics, SourceMetrics};
use crate::runtime::shutdown::Drain;
use crate::runtime::tasks::Tasks;

/// The name under which a secret is recorded that was handed over.
const HANDED_OVER: &str = "handed-over";

/// A source that is ready for requests.
#[derive(Debug)]
pub(crate) struct LiveSource {
    pub(crate) config: Arc<Source>,
    pub(crate) access: AccessControl,
    /// Verifies with the configured secrets, or with the one that was handed over.
    pub(crate) verifier: Verifier,
    /// True if the verifier uses a secret that was handed over.
    is_handed_over: bool,
    pub(crate) metrics: Arc<SourceMetrics>,
    pub(crate) limits: BodyLimits,
    pub(crate) secret_fields: SecretFields,
    /// The answer that the provider requires.
    acknowledgement: Option<Acknowledgement>,
    /// The answer that the provider requires for a form.
    form_acknowledgement: Option<Acknowledgement>,
    /// The provider's answer where a responder has not replied.
    default_answer: Option<Acknowledgement>,
    /// The status of a refused signature.
    pub(crate) failure_status: StatusCode,
    /// True if some handshakes are answered before verification.
    pub(crate) has_unsigned_handshakes: bool,
    /// The value of `Allow`: the methods that the provider uses.
    pub(crate) allow: HeaderValue,
    /// Parameters of handshakes, by name.
    pub(crate) params: Params,
    pub(crate) keys: Arc<KeyCache>,
    pub(crate) confirmations: Arc<Confirmations>,
}

/// Everything that all live sources share.
#[derive(Debug)]
pub(crate) struct SourceDeps {
    pub(crate) server: ServerSettings,
    pub(crate) metrics: Metrics,
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) tasks: Tasks,
    pub(crate) drain: Drain,
}

/// A source as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    pub name: SourceName,
    pub kind: SourceKind,
    /// The provider's name.
    pub provider: Arc<str>,
    /// The accepted schemes.
    pub schemes: Vec<Arc<str>>,
    /// The names of the secrets; `handed-over` and `published` for secrets and keys from elsewhere.
    pub secrets: Vec<Arc<str>>,
    /// True if every request is refused until the sender hands its secret over.
    pub awaits_secret: bool,
    /// The end of the window in which the sender may hand its secret over.
    pub window_until: Option<Timestamp>,
    /// The provider in one line.
    pub about: String,
    /// The URL of the provider's documentation.
    pub docs: String,
    /// The URL that the sender calls, if the configuration states it.
    pub public_url: Option<String>,
    /// The names of the provider's samples.
    pub samples: Vec<String>,
}

impl LiveSource {
    /// Prepares a source. It keeps the counts and keys of the source that it replaces.
    pub(crate) fn new(
        config: &Arc<Source>,
        before: Option<&Self>,
        context: &SourceDeps,
        handed_over: Option<&Secret>,
    ) -> Self {
        let provider = &config.provider;
        let handed_over = handed_over.and_then(|secret| handed_over_verifier(config, secret));
        let (keys, confirmations) = fetched(before, context);
        let metrics = context.metrics.source(&config.name);
        metrics.reset_first_requests();
        Self {
            is_handed_over: handed_over.is_some(),
            verifier: handed_over.unwrap_or_else(|| config.verifier.clone()),
            metrics,
            limits: BodyLimits {
                bytes: config.body_limit,
                time: context.server.body_timeout,
                pace: context.server.body_pace,
                grace: BODY_PACE_GRACE,
            },
            access: AccessControl::new(&config.access, before.map(|before| &before.access)),
            secret_fields: SecretFields::new(
                &provider.secret_fields,
                config.access.tokens.as_ref(),
            ),
            acknowledgement: provider.acknowledge.as_ref().and_then(Acknowledgement::new),
            form_acknowledgement: provider.acknowledge_form.as_ref().and_then(Acknowledgement::new),
            default_answer: provider.default_answer.as_ref().and_then(Acknowledgement::new),
            failure_status: StatusCode::from_u16(provider.failure_status)
                .unwrap_or(StatusCode::UNAUTHORIZED),
            has_unsigned_handshakes: provider.has_unsigned_handshakes(),
            // The provider file was checked for valid method names.
            allow: HeaderValue::try_from(provider.allowed_methods())
                .unwrap_or(HeaderValue::from_static("POST")),
            params: config.params.clone(),
            keys,
            confirmations,
            config: config.clone(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.config.name.as_str()
    }

    /// The source as operators see it.
    pub(crate) fn status(&self, window_until: Option<Timestamp>) -> SourceStatus {
        let mut secrets: Vec<_> =
            self.config.secrets.iter().map(|secret| secret.name.clone()).collect();
        if self.is_handed_over {
            secrets.push(HANDED_OVER.into());
        }
        if self.verifier.fetches_keys() {
            secrets.push("published".into());
        }
        SourceStatus {
            name: self.config.name.clone(),
            kind: self.config.kind(),
            provider: self.config.provider.name.clone(),
            schemes: self.verifier.schemes().cloned().collect(),
            awaits_secret: secrets.is_empty() && self.config.pull.is_none(),
            secrets,
            window_until,
            about: self.config.provider.about.clone(),
            docs: self.config.provider.docs.clone(),
            public_url: self.config.public_url.clone(),
            samples: self.config.provider.samples.iter().map(|s| s.name.clone()).collect(),
        }
    }

    /// The answer to an accepted request.
    pub(crate) fn answer(
        &self,
        events: &[EventIngested],
        format: BodyFormat,
        shape: RequestShape,
    ) -> Answer {
        let for_forms = self.form_acknowledgement.as_ref().filter(|_| format == BodyFormat::Form);
        match for_forms.or(self.acknowledgement.as_ref()) {
            Some(acknowledgement) => acknowledgement.answer(),
            None => answer::stored(events, shape),
        }
    }

    /// The answer where a responder has not replied.
    pub(crate) fn default_answer(&self, events: &[EventIngested], format: BodyFormat) -> Answer {
        match &self.default_answer {
            Some(default) => default.answer(),
            None => self.answer(events, format, RequestShape::Single),
        }
    }

    /// True if the provider uses this method.
    pub(crate) fn accepts_method(&self, method: &Method) -> bool {
        self.config.provider.accepts_method(method.as_str())
    }

    /// True if events come by this method.
    pub(crate) fn has_events_by(&self, method: &str) -> bool {
        self.config.provider.methods.contains(method)
    }
}

/// The keys and confirmations of the source before, as each request judges fetched keys anew.
fn fetched(
    before: Option<&LiveSource>,
    context: &SourceDeps,
) -> (Arc<KeyCache>, Arc<Confirmations>) {
    if let Some(before) = before {
        return (before.keys.clone(), before.confirmations.clone());
    }
    let (fetches, fetcher) = (SourceFetches::new(), &context.fetcher);
    let keys = KeyCache::new(fetcher.clone(), fetches.clone());
    let (tasks, drain) = (context.tasks.clone(), context.drain.clone());
    (Arc::new(keys), Arc::new(Confirmations::new(fetcher.clone(), fetches, tasks, drain)))
}

/// A verifier with the secret that was handed over. `None` if secrets are configured, which take
/// precedence.
fn handed_over_verifier(config: &Source, secret: &Secret) -> Option<Verifier> {
    if !config.secrets.is_empty() {
        return None;
    }
    let secret = NamedSecret::new(HANDED_OVER, secret.clone());
    let verifier = config.provider.verifier_with(&[secret], &config.params);
    let unusable = |error| {
        let source = config.name.as_str();
        tracing::warn!(source, %error, "the secret that was handed over cannot be used");
    };
    verifier.map_err(unusable).ok()
}
