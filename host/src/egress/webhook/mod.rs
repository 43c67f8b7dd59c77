//! The `webhook` kind of destination: signed HTTP requests to an endpoint, through the guard.
//!
//! Connections are reused. `client` makes them, `oauth` fetches tokens, `signing` signs, `response`
//! says what a response means, and `mask` hides the endpoint's credentials in what is kept of its
//! responses. `direct` sends one request outside the store.
//!
//! Not here: what the end of a send means for the delivery.

mod answer;
mod client;
mod direct;
mod mask;
mod oauth;
mod response;
mod signing;
#[cfg(test)]
mod tests;
mod unescape;

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};
use tower_service::Service as _;
use weir_core::event::EventType;
use weir_core::hops::{HOPS_HEADER, HopKey};
use weir_core::sign::SignError;
use weir_core::time::Timestamp;
use weir_core::trace::{TRACE_PARENT_HEADER, TRACE_STATE_HEADER};
use weir_store::ResponseRecord;

pub use direct::DirectWebhook;
pub(super) use mask::SecretMask;

use super::outgoing::Outgoing;
use super::transport::{SendOutcome, Transport};
use crate::config::{AcceptedStatuses, DestinationKind, Webhook, WebhookAuth};
use crate::tls::roots::RootsError;
use client::{HttpsClient, WebhookConnector};
use mask::READ_AHEAD;
use oauth::{AccessToken, TokenSource};
use signing::Signer;

pub(crate) const AGENT: HeaderValue = HeaderValue::from_static("Weir/0.1");
/// Bytes of a response body that are kept.
const SNIPPET_BYTES_MAX: usize = 1024;
/// Bytes of a response body that are read, so that the connection can be used again. With more, it
/// is closed.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// The longest time that a body is read after the status is known: it changes nothing, and the send
/// holds a permit.
const BODY_WAIT_MAX: Duration = Duration::from_secs(2);
/// Larger bodies are compressed on a thread of their own, because it takes milliseconds.
const COMPRESSED_HERE_MAX: usize = 64 * 1024;

/// A webhook destination that cannot be set up as it is configured.
#[derive(Debug, Error)]
pub enum WebhookError {
    #[error("cannot set up tls")]
    Tls(#[source] RootsError),
    /// The secret cannot be used to sign.
    #[error("cannot sign")]
    Sign(#[source] SignError),
}

/// Posts messages to one endpoint.
pub(crate) struct WebhookTransport {
    client: HttpsClient,
    signer: Signer,
    hops: Arc<HopKey>,
    url: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    mask: SecretMask,
    timeout: Duration,
    accept: AcceptedStatuses,
    gzip: bool,
    /// The value of `Authorization`, unless tokens are fetched.
    authorization: Option<HeaderValue>,
    tokens: Option<TokenSource>,
    answers: Option<Answers>,
    /// For checks, which only connect.
    connector: WebhookConnector,
}

/// The event that an answer becomes.
struct Answers {
    kind: EventType,
    mask: Arc<SecretMask>,
}

impl fmt::Debug for WebhookTransport {
    /// Without the path and query of the URL, which may contain secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookTransport").field("host", &self.url.host()).finish_non_exhaustive()
    }
}

impl WebhookTransport {
    /// Sets up a client that keeps up to `connections` unused connections.
    pub(crate) fn new(
        webhook: &Webhook,
        connections: usize,
        hops: Arc<HopKey>,
    ) -> Result<Self, WebhookError> {
        let client = client::new(webhook, connections).map_err(WebhookError::Tls)?;
        let (authorization, tokens) = match &webhook.auth {
            None => (None, None),
            Some(WebhookAuth::Fixed(fixed)) => (Some(fixed.value.clone()), None),
            Some(WebhookAuth::OAuth(oauth)) => (None, Some(TokenSource::new(oauth))),
        };
        Ok(Self {
            client,
            signer: Signer::new(webhook).map_err(WebhookError::Sign)?,
            hops,
            url: webhook.url.clone(),
            headers: webhook.headers.clone(),
            mask: SecretMask::new(webhook),
            timeout: webhook.timeout,
            accept: webhook.accept.clone(),
            gzip: webhook.gzip,
            authorization,
            tokens,
            answers: webhook.reply_as.clone().map(|kind| {
                let mask = Arc::new(SecretMask::of_answers(webhook));
                Answers { kind, mask }
            }),
            connector: client::connector(webhook).map_err(WebhookError::Tls)?,
        })
    }

    /// Sends a request, with a token if the endpoint takes tokens. One that it does not accept is
    /// replaced once, because it may have been revoked before its end.
    async fn request(&self, out: &Outgoing, body: Bytes, now: Timestamp) -> Sent {
        let Some(tokens) = &self.tokens else {
            let response = self.request_with(out, body, now, self.authorization.as_ref()).await?;
            return Ok((response, None));
        };
        let token = tokens.token(&self.client, &self.mask, None).await?;
        let response = self.request_with(out, body.clone(), now, Some(&token.value)).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok((response, Some(token)));
        }
        drop(response);
        let token = tokens.token(&self.client, &self.mask, Some(&token)).await?;
        let response = self.request_with(out, body, now, Some(&token.value)).await?;
        Ok((response, Some(token)))
    }

    async fn request_with(
        &self,
        out: &Outgoing,
        body: Bytes,
        now: Timestamp,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response<Incoming>, SendOutcome> {
        let mut headers = self.headers(out, &body, now);
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.clone());
        }
        if self.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url(out);
        *request.headers_mut() = headers;
        self.client.request(request).await.map_err(|error| client::not_sent(&error, &self.mask))
    }

    /// Answers to alerts become no events, which could raise alerts again.
    fn answers_for(&self, out: &Outgoing) -> Option<&Answers> {
        self.answers.as_ref().filter(|_| !out.source.is_hub())
    }

    /// The URL of a message.
    fn url(&self, out: &Outgoing) -> Uri {
        let Some(path) = &out.path else { return self.url.clone() };
        let mut parts = self.url.clone().into_parts();
        let before = self.url.path().trim_end_matches('/');
        let query = self.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let whole = PathAndQuery::try_from(format!("{before}{path}{query}"));
        // The path has been escaped, so it is a valid one.
        parts.path_and_query = whole.ok().or(parts.path_and_query);
        Uri::from_parts(parts).unwrap_or_else(|_| self.url.clone())
    }

    /// The body as it is sent. Signatures cover these bytes.
    async fn encoded(&self, body: &Bytes) -> Result<Bytes, SendOutcome> {
        if !self.gzip {
            return Ok(body.clone());
        }
        if body.len() <= COMPRESSED_HERE_MAX {
            return Ok(compressed(body));
        }
        let body = body.clone();
        let compressing = tokio::task::spawn_blocking(move || compressed(&body));
        // The process is ending if the task was cancelled.
        let ended = |_| SendOutcome::Unreachable { reason: "the body was not compressed".into() };
        compressing.await.map_err(ended)
    }

    async fn read_response(
        &self,
        out: &Outgoing,
        (response, token): (Response<Incoming>, Option<Arc<AccessToken>>),
        deadline: Instant,
        now: Timestamp,
    ) -> SendOutcome {
        let asked = response.headers().get(RETRY_AFTER);
        let retry_after = asked
            .and_then(|value| value.to_str().ok())
            .and_then(|text| response::retry_after(text, now));
        let status = response.status();
        if let Some(answers) = self.answers_for(out)
            && self.accept.contains(status.as_u16())
        {
            return self.answered(answers, out, (response, token), deadline).await;
        }
        let read_until = deadline.min(Instant::now() + BODY_WAIT_MAX);
        let masks = [Some(&self.mask), token.as_ref().map(|token| &token.mask)];
        let snippet = snippet(response.into_body(), read_until, masks).await;
        response::outcome(status, &self.accept, retry_after, snippet)
    }

    async fn answered(
        &self,
        answers: &Answers,
        out: &Outgoing,
        (response, token): (Response<Incoming>, Option<Arc<AccessToken>>),
        deadline: Instant,
    ) -> SendOutcome {
        let status = response.status().as_u16();
        let mask = &answers.mask;
        match answer::read(response, out.id, deadline, mask, token.as_ref()).await {
            Err(outcome) => outcome,
            Ok(answer) => {
                let kept = answer.body.len().min(SNIPPET_BYTES_MAX + READ_AHEAD);
                let snippet = shown(answer.body[..kept].to_vec(), [Some(&self.mask), None]);
                let receipt = ResponseRecord { status, snippet };
                SendOutcome::Answered { receipt, answer: Box::new(answer) }
            }
        }
    }

    /// The headers of a request. Later ones replace earlier ones: the message's own, the
    /// destination's, then those that identify, sign and count hops.
    fn headers(&self, out: &Outgoing, body: &[u8], now: Timestamp) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(out.headers.len() + self.headers.len() + 8);
        let own = out.headers.iter().map(|(name, value)| (name.as_bytes(), &value[..]));
        let typed = (!out.content_type.is_empty())
            .then_some((CONTENT_TYPE.as_str().as_bytes(), out.content_type.as_bytes()));
        for (name, value) in own.chain(typed) {
            // The engine refuses invalid headers when a handler sets them.
            let name = HeaderName::from_bytes(name);
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        headers.insert(USER_AGENT, AGENT);
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        // An event that its provider signed by Standard Webhooks keeps that id and time, unless it
        // is signed again here.
        let is_signed_by = |name: &(Box<str>, Bytes)| &*name.0 == "webhook-signature";
        let is_signed = out.handler.is_none() && out.headers.iter().any(is_signed_by);
        match &self.signer {
            Signer::Nothing if is_signed => {}
            signer => {
                headers.remove("webhook-signature");
                for (name, value) in signer.headers(out.id, now, body) {
                    headers.insert(name, value);
                }
            }
        }
        // Digits and hex: always a header value.
        if let Ok(hops) = HeaderValue::try_from(self.hops.sign(out.hops, body)) {
            headers.insert(HOPS_HEADER, hops);
        }
        trace_headers(out, &mut headers);
        headers
    }
}

/// Sets the headers by which a receiver continues the trace, instead of those of a sender.
fn trace_headers(out: &Outgoing, headers: &mut HeaderMap) {
    headers.remove(TRACE_PARENT_HEADER);
    headers.remove(TRACE_STATE_HEADER);
    let Some(trace) = out.trace else { return };
    // Hex and dashes, and a state that was checked: always header values.
    if let Ok(parent) = HeaderValue::try_from(trace.to_string()) {
        headers.insert(TRACE_PARENT_HEADER, parent);
    }
    if let Some(Ok(state)) = out.trace_state.as_deref().map(HeaderValue::try_from) {
        headers.insert(TRACE_STATE_HEADER, state);
    }
}

#[async_trait]
impl Transport for WebhookTransport {
    fn kind(&self) -> DestinationKind {
        DestinationKind::Webhook
    }

    fn answers_as(&self, out: &Outgoing) -> Option<&EventType> {
        self.answers_for(out).map(|answers| &answers.kind)
    }

    async fn send(&self, out: &Outgoing, now: Timestamp) -> SendOutcome {
        let deadline = Instant::now() + self.timeout;
        let sent = async {
            let body = self.encoded(&out.body).await?;
            self.request(out, body, now).await
        };
        match timeout_at(deadline, sent).await {
            Err(_) => SendOutcome::TimedOut { limit: self.timeout },
            Ok(Err(outcome)) => outcome,
            Ok(Ok(answered)) => self.read_response(out, answered, deadline, now).await,
        }
    }

    async fn check(&self, _: Timestamp) -> Result<(), Box<str>> {
        match self.connector.clone().call(self.url.clone()).await {
            Ok(_) => Ok(()),
            Err(error) => client::not_sent(&*error, &self.mask).for_check(),
        }
    }
}

/// A response, and the token that was accepted or refused with it.
type Sent = Result<(Response<Incoming>, Option<Arc<AccessToken>>), SendOutcome>;

fn compressed(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4 + 64), Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default().into()
}

/// The beginning of a body, masked. Errors are ignored, since the status is known already.
async fn snippet(
    mut body: Incoming,
    deadline: Instant,
    masks: [Option<&SecretMask>; 2],
) -> Box<str> {
    let (mut kept, mut read) = (Vec::new(), 0);
    let enough = SNIPPET_BYTES_MAX + READ_AHEAD;
    while read < BODY_BYTES_MAX {
        let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await else { break };
        let Ok(data) = frame.into_data() else { continue };
        read += data.len();
        let room = enough - kept.len();
        kept.extend_from_slice(&data[..data.len().min(room)]);
    }
    shown(kept, masks)
}

/// The beginning of a text, masked. It may have been cut.
fn shown(mut kept: Vec<u8>, masks: [Option<&SecretMask>; 2]) -> Box<str> {
    masks.into_iter().flatten().for_each(|mask| mask.cover(&mut kept));
    kept.truncate(SNIPPET_BYTES_MAX);
    let text = String::from_utf8_lossy(&kept);
    text[..text.floor_char_boundary(SNIPPET_BYTES_MAX)].into()
}
