//! Requests to the HTTP interface of one server, for the kinds that have one and are no webhooks:
//! through the guard, with TLS, each answer whole and within limits.
//!
//! Not here: credentials, and the meaning of an answer.

use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use super::server::{ServerLink, chain};
use super::transport::SendOutcome;
use super::webhook::AGENT;
use crate::config::BrokerServer;
use crate::guard::{ConnectTimeout, GuardedConnector};
use crate::tls::roots::{self, RootsError};

/// Bytes of an answer that are read, unless a client expects more: it has a few hundred for each
/// message.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// An unused connection is closed after this time, before the server does that.
const IDLE_MAX: Duration = Duration::from_secs(15);

type Connector = ConnectTimeout<HttpsConnector<GuardedConnector>>;

/// The way to one server.
pub(super) struct HttpEndpoint {
    http: Client<Connector, Full<Bytes>>,
    link: ServerLink,
    /// The host with its port, unless that is the usual one.
    host: String,
    answer_max: usize,
}

/// A complete answer.
pub(super) struct HttpAnswer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl HttpEndpoint {
    /// Sets up a client that keeps up to `connections` unused connections.
    pub(super) fn new(server: &BrokerServer, connections: usize) -> Result<Self, RootsError> {
        let link = ServerLink::new(server)?;
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(roots::client(&server.trust)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(GuardedConnector::new(server.allow));
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(connections)
            .build(ConnectTimeout(https));
        let usual = if server.tls { 443 } else { 80 };
        let host = match server.port {
            port if port == usual => server.host.to_string(),
            port => format!("{}:{port}", server.host),
        };
        Ok(Self { http, link, host, answer_max: ANSWER_BYTES_MAX })
    }

    /// Sets the limit on the bytes of an answer.
    pub(super) fn reading_up_to(self, answer_max: usize) -> Self {
        Self { answer_max, ..self }
    }

    pub(super) fn link(&self) -> &ServerLink {
        &self.link
    }

    /// The host as it is sent.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Sends a request to a path and reads the whole answer.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<HttpAnswer, SendOutcome> {
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        *request.uri_mut() = self.uri(path);
        *request.headers_mut() = headers;
        request.headers_mut().insert(USER_AGENT, AGENT);
        if let Ok(host) = HeaderValue::from_str(&self.host) {
            request.headers_mut().insert(HOST, host);
        }
        match timeout(self.link.server().timeout, self.exchange(request)).await {
            Ok(answered) => answered,
            Err(_) => Err(self.link.silent()),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<HttpAnswer, SendOutcome> {
        let response = self.http.request(request).await;
        let response = response.map_err(|error| self.link.unreached(&error))?;
        let status = response.status();
        match Limited::new(response.into_body(), self.answer_max).collect().await {
            Ok(body) => Ok(HttpAnswer { status, body: body.to_bytes() }),
            Err(error) if error.is::<LengthLimitError>() => {
                let most = self.answer_max;
                Err(self.link.unavailable(format_args!("its answer has more than {most} bytes")))
            }
            Err(error) => {
                let said = chain(&*error);
                Err(self.link.unavailable(format_args!("the connection broke: {said}")))
            }
        }
    }

    fn uri(&self, path: &str) -> Uri {
        // Its parts were parsed from a URL.
        format!("{}://{}{path}", self.link.server().scheme, self.host).parse().unwrap_or_default()
    }
}
