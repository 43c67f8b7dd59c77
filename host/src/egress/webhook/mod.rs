//! The `webhook` kind of destination: signed HTTP requests to an endpoint, through the guard.
//!
//! Connections are reused. `response` says what a response means, `signing` signs, and `mask` hides
//! the endpoint's credentials in what is kept of its responses. `direct` sends one request outside
//! the store.
//!
//! Not here: what the end of a send means for the delivery.

mod direct;
mod mask;
mod response;
mod signing;
#[cfg(test)]
mod tests;
mod unescape;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use thiserror::Error;
use tokio::time::{Instant, timeout_at};
use weir_core::hops::{HOPS_HEADER, HopKey};
use weir_core::sign::SignError;
use weir_core::time::Timestamp;
use weir_core::trace::{TRACE_PARENT_HEADER, TRACE_STATE_HEADER};

pub use direct::DirectWebhook;

use super::outgoing::Outgoing;
use super::transport::{SendOutcome, Transport};
use crate::config::{DestinationKind, Webhook};
use crate::guard::{ConnectTimeout, DialError, GuardedConnector};
use crate::tls::roots::{self, RootsError};
use mask::{READ_AHEAD, SecretMask};
use signing::Signer;

pub(super) const AGENT: HeaderValue = HeaderValue::from_static("Weir/0.1");
/// Bytes of a response body that are kept.
const SNIPPET_BYTES_MAX: usize = 1024;
/// Bytes of a response body that are read, so that the connection can be used again. With more, it
/// is closed.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// The longest time that a body is read after the status is known: it changes nothing, and the send
/// holds a permit.
const BODY_WAIT_MAX: Duration = Duration::from_secs(2);
/// Bytes of a response's head, and of each header.
const HEAD_BYTES_MAX: u32 = 64 * 1024;
/// The most headers of a response.
const HEADERS_MAX: usize = 128;
/// HTTP/2 receive windows: bytes of one response and of a whole connection that may be sent before
/// they are read.
const AHEAD_BYTES_MAX: (u32, u32) = (64 * 1024, 1024 * 1024);
/// An unused connection is closed after this time.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Time between two HTTP/2 pings to a silent endpoint.
const PING_EVERY: Duration = Duration::from_secs(20);

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
    client: Client<ConnectTimeout<HttpsConnector<GuardedConnector>>, Full<Bytes>>,
    signer: Signer,
    hops: Arc<HopKey>,
    url: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    mask: SecretMask,
    timeout: Duration,
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
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(roots::client(&webhook.trust).map_err(WebhookError::Tls)?)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(GuardedConnector::new(webhook.allow));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(connections)
            .http1_max_buf_size(HEAD_BYTES_MAX as usize)
            .http1_max_headers(HEADERS_MAX)
            .http2_max_header_list_size(HEAD_BYTES_MAX)
            .http2_initial_stream_window_size(AHEAD_BYTES_MAX.0)
            .http2_initial_connection_window_size(AHEAD_BYTES_MAX.1)
            .http2_keep_alive_interval(PING_EVERY)
            .build(ConnectTimeout(https));
        Ok(Self {
            client,
            signer: Signer::new(webhook).map_err(WebhookError::Sign)?,
            hops,
            url: webhook.url.clone(),
            headers: webhook.headers.clone(),
            mask: SecretMask::new(webhook),
            timeout: webhook.timeout,
        })
    }

    async fn read_response(
        &self,
        response: Response<Incoming>,
        deadline: Instant,
        now: Timestamp,
    ) -> SendOutcome {
        let asked = response.headers().get(RETRY_AFTER);
        let retry_after = asked
            .and_then(|value| value.to_str().ok())
            .and_then(|text| response::retry_after(text, now));
        let status = response.status();
        let read_until = deadline.min(Instant::now() + BODY_WAIT_MAX);
        let snippet = snippet(response.into_body(), read_until, &self.mask).await;
        response::outcome(status, retry_after, snippet)
    }

    /// The headers of a request. Later ones replace earlier ones: the message's own, the
    /// destination's, then those that identify, sign and count hops.
    fn headers(&self, out: &Outgoing, now: Timestamp) -> HeaderMap {
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
                for (name, value) in signer.headers(out.id, now, &out.body) {
                    headers.insert(name, value);
                }
            }
        }
        // Digits and hex: always a header value.
        if let Ok(hops) = HeaderValue::try_from(self.hops.sign(out.hops, &out.body)) {
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

    async fn send(&self, out: &Outgoing, now: Timestamp) -> SendOutcome {
        let deadline = Instant::now() + self.timeout;
        let mut request = Request::new(Full::new(out.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers(out, now);
        match timeout_at(deadline, self.client.request(request)).await {
            Err(_) => SendOutcome::TimedOut { limit: self.timeout },
            Ok(Err(error)) => not_sent(&error, &self.mask),
            Ok(Ok(response)) => self.read_response(response, deadline, now).await,
        }
    }
}

/// The beginning of a body, masked. Errors are ignored, since the status is known already.
async fn snippet(mut body: Incoming, deadline: Instant, mask: &SecretMask) -> Box<str> {
    let (mut kept, mut read) = (Vec::new(), 0);
    let enough = SNIPPET_BYTES_MAX + READ_AHEAD;
    while read < BODY_BYTES_MAX {
        let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await else { break };
        let Ok(data) = frame.into_data() else { continue };
        read += data.len();
        let room = enough - kept.len();
        kept.extend_from_slice(&data[..data.len().min(room)]);
    }
    mask.cover(&mut kept);
    kept.truncate(SNIPPET_BYTES_MAX);
    let text = String::from_utf8_lossy(&kept);
    text[..text.floor_char_boundary(SNIPPET_BYTES_MAX)].into()
}

/// The outcome of a request that got no response.
fn not_sent(error: &hyper_util::client::legacy::Error, mask: &SecretMask) -> SendOutcome {
    let mut reason = String::new();
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(DialError::Blocked(blocked)) = error.downcast_ref() {
            return SendOutcome::Blocked { reason: blocked.to_string().into() };
        }
        if !reason.is_empty() {
            reason.push_str(": ");
        }
        reason.push_str(&error.to_string());
        next = error.source();
    }
    if reason.contains("UnknownIssuer") {
        reason.push_str(
            "; if you run your own certificate authority, set its certificate: ca = \"FILE.pem\"",
        );
    }
    SendOutcome::Unreachable { reason: mask.covered(&reason).into() }
}
