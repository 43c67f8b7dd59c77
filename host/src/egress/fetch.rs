//! Requests of the hub itself: fetches one document from a URL, through the guard.
//!
//! Follows no redirects, and limits the size and the time. Not here: whether the hub
//! may fetch a URL (the caller has checked it), and what a document means.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use thiserror::Error;
use tokio::time::timeout;
use weir_core::verify::{Authorities, Secret};

use super::webhook::AGENT;
use crate::config::FetchSettings;
use crate::guard::{AllowedNetworks, Blocked, ConnectTimeout, DialError, GuardedConnector};
use crate::tls::TrustedRoots;
use crate::tls::roots::{self, RootsError};

/// An unused connection is closed after this time: two fetches from one host within it are rare.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// Bytes of a response's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A document that could not be fetched. Errors name only the host, because the rest of a URL may
/// contain a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FetchError {
    #[error("not a valid URL")]
    BadUrl,
    /// Lasts until the operator changes the configuration.
    #[error(
        "{} is at {}, {} address; only URLs in fetch.instead may be there, with fetch.allow",
        .0.host, .0.address, .0.special.as_str()
    )]
    Blocked(Blocked),
    /// May pass.
    #[error("cannot reach {host}: {reason}")]
    Unreachable { host: Box<str>, reason: Box<str> },
    /// No complete response in time. May pass.
    #[error("{host} did not answer within {} ms", limit.as_millis())]
    TimedOut { host: Box<str>, limit: Duration },
    /// A status other than 2xx. May pass.
    #[error("{host} answered {status}")]
    Status { host: Box<str>, status: StatusCode },
    /// A web page in place of a key. May pass.
    #[error("{host} answered with a page of type {media_type}, not with a key")]
    Page { host: Box<str>, media_type: &'static str },
    /// Lasts until the other side changes it.
    #[error("{host} answered with more than {most} bytes")]
    TooLarge { host: Box<str>, most: usize },
}

pub(crate) type Http = Client<ConnectTimeout<HttpsConnector<GuardedConnector>>, Full<Bytes>>;

/// Fetches documents.
pub struct Fetcher {
    /// For URLs in provider files and requests.
    far: Http,
    /// For URLs that the operator configured.
    near: Http,
    settings: FetchSettings,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Fetcher {
    /// Sets up the clients.
    ///
    /// # Errors
    /// If a file with certificate authorities cannot be used.
    pub fn new(settings: &FetchSettings) -> Result<Self, RootsError> {
        let trust = &settings.trust;
        let (far, near) =
            (client(AllowedNetworks::default(), trust)?, client(settings.allow, trust)?);
        Ok(Self { far, near, settings: settings.clone() })
    }

    /// The document at `url`, or the response to `post` there, of at most `most` bytes.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(
        &self,
        url: &str,
        post: Option<&Secret>,
        most: usize,
    ) -> Result<Bytes, FetchError> {
        Ok(self.answer(url, post, most).await?.0)
    }

    /// The key at `url`, or the response to `post` there, of at most `most` bytes. HTML and XML are
    /// refused.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn key(
        &self,
        url: &str,
        post: Option<&Secret>,
        most: usize,
    ) -> Result<Bytes, FetchError> {
        let (document, page) = self.answer(url, post, most).await?;
        match page {
            None => Ok(document),
            Some(media_type) => {
                let host = url.split('/').nth(2).unwrap_or_default().into();
                Err(FetchError::Page { host, media_type })
            }
        }
    }

    /// The authorities of the certificates that senders sign with.
    #[must_use]
    pub fn authorities(&self) -> &Authorities {
        &self.settings.authorities
    }

    /// A document, and its media type if that is HTML or XML.
    async fn answer(
        &self,
        url: &str,
        post: Option<&Secret>,
        most: usize,
    ) -> Result<(Bytes, Option<&'static str>), FetchError> {
        let (place, is_ours) = self.settings.place(url);
        let uri: Uri = place.parse().map_err(|_| FetchError::BadUrl)?;
        let host: Box<str> = uri.host().ok_or(FetchError::BadUrl)?.into();
        let client = if is_ours { &self.near } else { &self.far };
        let limit = self.settings.timeout;
        let asking = ask(client, request(uri, post), &host, most);
        timeout(limit, asking)
            .await
            .unwrap_or(Err(FetchError::TimedOut { host: host.clone(), limit }))
    }
}

/// A client that connects through the guard.
pub(crate) fn client(allow: AllowedNetworks, trust: &TrustedRoots) -> Result<Http, RootsError> {
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(roots::client(trust)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(GuardedConnector::new(allow));
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_MAX)
        .http1_max_buf_size(HEAD_BYTES_MAX)
        .build(ConnectTimeout(https)))
}

fn request(uri: Uri, post: Option<&Secret>) -> Request<Full<Bytes>> {
    let body = post.map(|secret| Bytes::copy_from_slice(secret.expose()));
    let mut request = Request::new(Full::new(body.unwrap_or_default()));
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, AGENT);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    if post.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.method_mut() = Method::POST;
    }
    request
}

async fn ask(
    client: &Http,
    request: Request<Full<Bytes>>,
    host: &str,
    most: usize,
) -> Result<(Bytes, Option<&'static str>), FetchError> {
    let response = client.request(request).await.map_err(|error| unreachable(host, &error))?;
    let status = response.status();
    if !status.is_success() {
        return Err(FetchError::Status { host: host.into(), status });
    }
    let page = response.headers().get(CONTENT_TYPE).and_then(page);
    match Limited::new(response.into_body(), most).collect().await {
        Ok(body) => Ok((body.to_bytes(), page)),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(FetchError::TooLarge { host: host.into(), most })
        }
        Err(error) => Err(unreachable(host, &*error)),
    }
}

/// The media type, if it is HTML or XML.
fn page(media_type: &HeaderValue) -> Option<&'static str> {
    let given = media_type.as_bytes().split(|b| *b == b';').next()?.trim_ascii();
    ["text/html", "application/xhtml+xml", "text/xml", "application/xml"]
        .into_iter()
        .find(|name| given.eq_ignore_ascii_case(name.as_bytes()))
}

/// The innermost cause, or that the guard blocked the address.
fn unreachable(host: &str, error: &(dyn Error + 'static)) -> FetchError {
    let mut innermost = error;
    loop {
        if let Some(DialError::Blocked(blocked)) = innermost.downcast_ref() {
            return FetchError::Blocked(blocked.clone());
        }
        match innermost.source() {
            Some(source) => innermost = source,
            None => {
                let reason = innermost.to_string().into();
                return FetchError::Unreachable { host: host.into(), reason };
            }
        }
    }
}
