//! What the hub gets by itself: one document by its address, through the guard.
//!
//! Follows no redirect, reads no more than it was told to expect, and waits no longer than configured. What may not
//! live here: whether an address may be asked at all (whoever asks has checked it), and what a document means.

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
use crate::config::Fetch;
use crate::guard::{AllowedNetworks, Blocked, ConnectTimeout, DialError, GuardedConnector};
use crate::tls::TrustedRoots;
use crate::tls::roots::{self, RootsError};

/// An unused connection is kept for so long: asking again within it is rare.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A document that cannot be had. Names the host only: the rest of an address may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FetchError {
    /// The address is none. Whoever wrote it can change it.
    #[error("the address is no URL")]
    BadUrl,
    /// The guard said no. The operator's to change.
    #[error("{} is at {}, {} address, where only what fetch.instead names may be, with fetch.allow", .0.host, .0.address, .0.special.as_str())]
    Blocked(Blocked),
    /// Nobody answers. May pass.
    #[error("cannot reach {host}: {reason}")]
    Unreachable {
        /// The host.
        host: Box<str>,
        /// What went wrong.
        reason: Box<str>,
    },
    /// No whole answer in time. May pass.
    #[error("{host} did not answer within {} ms", limit.as_millis())]
    TimedOut {
        /// The host.
        host: Box<str>,
        /// How long it had.
        limit: Duration,
    },
    /// Another answer than 2xx. May pass.
    #[error("{host} answered {status}")]
    Status {
        /// The host.
        host: Box<str>,
        /// The status.
        status: StatusCode,
    },
    /// A page for people where a document was meant. May pass.
    #[error("{host} answered with a page of type {media_type}, not with a key")]
    Page {
        /// The host.
        host: Box<str>,
        /// What the answer said that it is.
        media_type: &'static str,
    },
    /// More than expected. The other side's to change.
    #[error("{host} answered with more than {most} bytes")]
    TooLarge {
        /// The host.
        host: Box<str>,
        /// Bytes that are read.
        most: usize,
    },
}

type Http = Client<ConnectTimeout<HttpsConnector<GuardedConnector>>, Full<Bytes>>;

/// Gets documents. Cheap to share.
pub struct Fetcher {
    /// For addresses that a provider's file or a sender names.
    far: Http,
    /// For addresses that the operator wrote.
    near: Http,
    settings: Fetch,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Fetcher {
    /// Sets up the client.
    ///
    /// # Errors
    /// If a file of authorities cannot be used.
    pub fn new(settings: &Fetch) -> Result<Self, RootsError> {
        let trust = &settings.trust;
        let (far, near) =
            (client(AllowedNetworks::default(), trust)?, client(settings.allow, trust)?);
        Ok(Self { far, near, settings: settings.clone() })
    }

    /// The document at `url`, or the answer to `post` there; of at most `most` bytes.
    ///
    /// # Errors
    /// See [`FetchError`]: any status but 2xx is one.
    pub async fn fetch(
        &self,
        url: &str,
        post: Option<&Secret>,
        most: usize,
    ) -> Result<Bytes, FetchError> {
        Ok(self.answer(url, post, most).await?.0)
    }

    /// The key at `url`, or the answer to `post` there; of at most `most` bytes. A page for people, which says that it is
    /// HTML or XML, is none.
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

    /// Who vouches for the certificates that senders sign with.
    #[must_use]
    pub fn authorities(&self) -> &Authorities {
        &self.settings.authorities
    }

    /// A document, and its media type if that is one of a page for people.
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

fn client(allow: AllowedNetworks, trust: &TrustedRoots) -> Result<Http, RootsError> {
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

/// The media type, if it is one of a page for people.
fn page(media_type: &HeaderValue) -> Option<&'static str> {
    let given = media_type.as_bytes().split(|b| *b == b';').next()?.trim_ascii();
    ["text/html", "application/xhtml+xml", "text/xml", "application/xml"]
        .into_iter()
        .find(|name| given.eq_ignore_ascii_case(name.as_bytes()))
}

/// The innermost cause, or the guard's word where it is behind it.
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
