//! The HTTP client of one endpoint: connections through the guard, TLS, and limits on responses.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::mask::SecretMask;
use crate::config::Webhook;
use crate::egress::transport::SendOutcome;
use crate::guard::{ConnectTimeout, DialError, GuardedConnector, TunnelError};
use crate::tls::roots::{self, RootsError};

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

/// Makes connections: through the guard or a proxy, and with TLS.
pub(super) type WebhookConnector = ConnectTimeout<HttpsConnector<GuardedConnector>>;

/// A client with its pool of connections.
pub(super) type HttpsClient = Client<WebhookConnector, Full<Bytes>>;

/// Sets up what makes connections to an endpoint.
pub(super) fn connector(webhook: &Webhook) -> Result<WebhookConnector, RootsError> {
    let tls = match &webhook.identity {
        None => roots::client(&webhook.trust)?,
        Some(identity) => roots::client_with_identity(&webhook.trust, identity)?,
    };
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(GuardedConnector::new(webhook.allow).through(webhook.proxy.as_ref()));
    Ok(ConnectTimeout(https))
}

/// Sets up a client that keeps up to `connections` unused connections.
pub(super) fn new(webhook: &Webhook, connections: usize) -> Result<HttpsClient, RootsError> {
    let connector = connector(webhook)?;
    Ok(Client::builder(TokioExecutor::new())
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
        .build(connector))
}

/// The outcome of a request that got no response.
pub(super) fn not_sent(error: &(dyn Error + 'static), mask: &SecretMask) -> SendOutcome {
    let mut reason = String::new();
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        let dialled = match error.downcast_ref() {
            Some(TunnelError::Blocked(dialled)) => Some(dialled),
            _ => error.downcast_ref(),
        };
        if let Some(DialError::Blocked(blocked)) = dialled {
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
    if reason.contains("CertificateRequired") || reason.contains("HandshakeFailure") {
        reason.push_str("; if the endpoint asks for a certificate, set client_cert and client_key");
    }
    SendOutcome::Unreachable { reason: mask.covered(&reason).into() }
}
