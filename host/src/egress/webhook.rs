//! The `webhook` destination: an HTTP endpoint, reached through the guard, its connections reused.
//!
//! What may not live here: what an answer means for the delivery.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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

use super::connect::{ConnectError, ConnectTimeout, GuardedConnector};
use super::decide::{SendOutcome, retry_after};
use super::mask::{READ_AHEAD, SecretMask};
use super::outgoing::Outgoing;
use super::signing::Signer;
use crate::config::Webhook;
use crate::tls::roots::{self, RootsError};

pub(super) const AGENT: HeaderValue = HeaderValue::from_static("Weir/0.1");
/// Bytes of an answer's body that are kept.
const SNIPPET_BYTES_MAX: usize = 1024;
/// Bytes of an answer's body that are read, so that its connection can be used again; past it, it is closed.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long the body is read once the status is known: nothing hangs on it, and a slot does.
const BODY_WAIT_MAX: Duration = Duration::from_secs(2);
/// Bytes of an answer's head, and of its single pieces.
const HEAD_BYTES_MAX: u32 = 64 * 1024;
/// Headers of an answer.
const HEADERS_MAX: usize = 128;
/// Bytes that an HTTP/2 endpoint may send ahead of being read, on one answer and on all of a connection.
const AHEAD_BYTES_MAX: (u32, u32) = (64 * 1024, 1024 * 1024);
/// An unused connection is kept for so long.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// On an HTTP/2 connection, how often a silent endpoint is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(20);

/// An endpoint that cannot be sent to as it is configured.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// TLS cannot be set up.
    #[error("cannot set up tls")]
    Tls(#[source] RootsError),
    /// Its secret is none to sign with.
    #[error("cannot sign")]
    Sign(#[source] SignError),
}

/// Sends to one endpoint.
pub(crate) struct Endpoint {
    client: Client<ConnectTimeout<HttpsConnector<GuardedConnector>>, Full<Bytes>>,
    signer: Signer,
    hops: Arc<HopKey>,
    url: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    mask: SecretMask,
    timeout: Duration,
}

impl fmt::Debug for Endpoint {
    /// Without the URL, whose path and query may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("host", &self.url.host()).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Sets up a client of its own for an endpoint that keeps up to `connections` unused ones.
    pub(crate) fn new(
        webhook: &Webhook,
        connections: usize,
        hops: Arc<HopKey>,
    ) -> Result<Self, EndpointError> {
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(roots::client(&webhook.trust).map_err(EndpointError::Tls)?)
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
            signer: Signer::new(webhook).map_err(EndpointError::Sign)?,
            hops,
            url: webhook.url.clone(),
            headers: webhook.headers.clone(),
            mask: SecretMask::new(webhook),
            timeout: webhook.timeout,
        })
    }

    /// Signs and sends, and waits for the answer.
    pub(crate) async fn send(&self, out: &Outgoing, now: Timestamp) -> SendOutcome {
        let deadline = Instant::now() + self.timeout;
        let mut request = Request::new(Full::new(out.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers(out, now);
        match timeout_at(deadline, self.client.request(request)).await {
            Err(_) => SendOutcome::TimedOut { limit: self.timeout },
            Ok(Err(error)) => unreachable_because(&error, &self.mask),
            Ok(Ok(response)) => self.answered(response, deadline, now).await,
        }
    }

    async fn answered(
        &self,
        response: Response<Incoming>,
        deadline: Instant,
        now: Timestamp,
    ) -> SendOutcome {
        let asked = response.headers().get(RETRY_AFTER);
        let retry_after =
            asked.and_then(|value| value.to_str().ok()).and_then(|text| retry_after(text, now));
        let status = response.status();
        let read_until = deadline.min(Instant::now() + BODY_WAIT_MAX);
        let snippet = snippet(response.into_body(), read_until, &self.mask).await;
        SendOutcome::Status { status, retry_after, snippet }
    }

    /// Later ones win: the message's own, the destination's, then those that identify, sign and count.
    fn headers(&self, out: &Outgoing, now: Timestamp) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(out.headers.len() + self.headers.len() + 6);
        let own = out.headers.iter().map(|(name, value)| (name.as_bytes(), &value[..]));
        let typed = (!out.content_type.is_empty())
            .then_some((CONTENT_TYPE.as_str().as_bytes(), out.content_type.as_bytes()));
        for (name, value) in own.chain(typed) {
            // What cannot be a header was refused when a handler set it.
            let name = HeaderName::from_bytes(name);
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        headers.insert(USER_AGENT, AGENT);
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        // A message that its provider has signed by Standard Webhooks, and that is not signed here, keeps its id and time.
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
        headers
    }
}

/// The beginning of a body. The status has been given: whatever goes wrong from here on changes nothing.
async fn snippet(mut body: Incoming, deadline: Instant, mask: &SecretMask) -> Box<str> {
    let (mut kept, mut read) = (Vec::new(), 0);
    let enough = SNIPPET_BYTES_MAX + READ_AHEAD;
    while read < ANSWER_BYTES_MAX {
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

fn unreachable_because(
    error: &hyper_util::client::legacy::Error,
    mask: &SecretMask,
) -> SendOutcome {
    let mut reason = String::new();
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(ConnectError::Blocked(blocked)) = error.downcast_ref() {
            return SendOutcome::Blocked { reason: blocked.to_string() };
        }
        if !reason.is_empty() {
            reason.push_str(": ");
        }
        reason.push_str(&error.to_string());
        next = error.source();
    }
    if reason.contains("UnknownIssuer") {
        reason.push_str(
            "; if its authority is your own, name that one's certificate: ca = \"FILE.pem\"",
        );
    }
    SendOutcome::Unreachable { reason: mask.covered(&reason) }
}
