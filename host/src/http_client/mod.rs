//! A small HTTP client for the command line and the demo: whole answers, a time limit, TLS with a
//! pinned certificate, and for URLs of others a way through the guard.
//!
//! Not here: the admin API, and the client for what the hub sends (`egress`).

mod pinned;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ExchangeError};
use hyper_util::rt::TokioExecutor;
use thiserror::Error;
use weir_core::bounds::MIB;

use crate::guard::{AllowedNetworks, ConnectTimeout, DialError, GuardedConnector};
use crate::tls::TrustedRoots;
use crate::tls::roots;

/// Longest time for a whole answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * MIB;

/// A request that got no answer.
#[derive(Debug, Error)]
pub(crate) enum HttpError {
    #[error("cannot reach {at}: {cause}")]
    Unreachable { at: String, cause: String },
    /// The client cannot be set up as it is configured.
    #[error("{0}")]
    Setup(String),
}

type Connector = HttpsConnector<HttpConnector>;
type Guarded = ConnectTimeout<HttpsConnector<GuardedConnector>>;

/// A client for HTTP and HTTPS.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient {
    client: AnyClient,
}

#[derive(Debug, Clone)]
enum AnyClient {
    /// For hubs, wherever they are.
    Plain(Client<Connector, Full<Bytes>>),
    /// For addresses that the guard permits.
    Guarded(Client<Guarded, Full<Bytes>>),
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl HttpClient {
    /// Trusts the public authorities.
    pub(crate) fn new() -> Result<Self, HttpError> {
        let crypto = rustls::crypto::ring::default_provider();
        let builder = HttpsConnectorBuilder::new().with_provider_and_webpki_roots(crypto);
        let unusable = |error| HttpError::Setup(format!("TLS cannot be set up: {error}"));
        Ok(Self::over(builder.map_err(unusable)?.https_or_http().enable_http1().build()))
    }

    /// Trusts only the certificate in this file; without a file, the public authorities.
    pub(crate) fn trusting(certificate: Option<&Path>) -> Result<Self, HttpError> {
        let Some(file) = certificate else { return Self::new() };
        let builder = HttpsConnectorBuilder::new().with_tls_config(pinned::only(file)?);
        Ok(Self::over(builder.https_or_http().enable_http1().build()))
    }

    /// Connects only where the guard permits it, and trusts the public authorities.
    pub(crate) fn guarded(allow: AllowedNetworks) -> Result<Self, HttpError> {
        let tls = roots::client(&TrustedRoots::default());
        let tls = tls.map_err(|error| HttpError::Setup(error.to_string()))?;
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(GuardedConnector::new(allow));
        let client = Client::builder(TokioExecutor::new()).build(ConnectTimeout(https));
        Ok(Self { client: AnyClient::Guarded(client) })
    }

    fn over(connector: Connector) -> Self {
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { client: AnyClient::Plain(client) }
    }

    async fn request(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ExchangeError> {
        match &self.client {
            AnyClient::Plain(client) => client.request(request).await,
            AnyClient::Guarded(client) => client.request(request).await,
        }
    }

    /// Sends a request and returns the answer's status and its body, which is still to be read.
    pub(crate) async fn open(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Incoming), HttpError> {
        let at = address(request.uri());
        let unreachable = |cause: String| HttpError::Unreachable { at: at.clone(), cause };
        let late = |_| unreachable(format!("no answer within {} s", TIMEOUT.as_secs()));
        let answer = tokio::time::timeout(TIMEOUT, self.request(request)).await;
        let answer = answer.map_err(late)?.map_err(|error| unreachable(innermost(&error)))?;
        Ok((answer.status(), answer.into_body()))
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<HttpResponse, HttpError> {
        self.send_within(request, TIMEOUT).await
    }

    /// The same, with another limit of time.
    pub(crate) async fn send_within(
        &self,
        request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<HttpResponse, HttpError> {
        let at = address(request.uri());
        let unreachable = |cause: String| HttpError::Unreachable { at: at.clone(), cause };
        let exchange = async {
            let answer = self.request(request).await;
            let answer = answer.map_err(|error| unreachable(innermost(&error)))?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| unreachable(format!("answer broke off: {error}")))?;
            let (status, headers) = (parts.status, parts.headers);
            Ok(HttpResponse { status, headers, body: body.to_bytes() })
        };
        let late = |_| unreachable(format!("no answer within {} s", limit.as_secs()));
        tokio::time::timeout(limit, exchange).await.map_err(late)?
    }
}

/// The last cause of an error. Those above it only say that a connection was tried.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut bottom = error;
    while let Some(cause) = bottom.source() {
        if let Some(DialError::Blocked(blocked)) = cause.downcast_ref() {
            let class = blocked.special.as_str();
            return format!("it is at {}, {class} address, where nothing is sent", blocked.address);
        }
        bottom = cause;
    }
    bottom.to_string()
}

/// The part of a URL that may be shown: paths and queries may hold secrets.
fn address(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("http");
    let host = uri.host().unwrap_or_default();
    let port = uri.port_u16().map_or_else(String::new, |port| format!(":{port}"));
    format!("{scheme}://{host}{port}")
}

/// The URL of a listener on this machine. One that listens on every address is reached on loopback.
pub(crate) fn local_base(mut listens: SocketAddr, has_tls: bool) -> String {
    if listens.ip().is_unspecified() {
        listens.set_ip(match listens {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("{}://{listens}", if has_tls { "https" } else { "http" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_reached_on_loopback() {
        assert_eq!(local_base("0.0.0.0:80".parse().unwrap(), false), "http://127.0.0.1:80");
        assert_eq!(local_base("[::]:80".parse().unwrap(), false), "http://[::1]:80");
        assert_eq!(local_base("10.0.0.1:80".parse().unwrap(), true), "https://10.0.0.1:80");
    }

    #[test]
    fn an_error_names_the_host_and_not_the_path() {
        let uri: Uri = "https://hooks.example.com:8443/services/T0/SECRET?token=x".parse().unwrap();
        assert_eq!(address(&uri), "https://hooks.example.com:8443");
    }
}
