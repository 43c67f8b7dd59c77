//! The connector below every client that sends: resolves a host, asks the guard about each address, connects.
//!
//! It knows no environment proxies: a connection goes where the guard looked, and nowhere else.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use super::guard::{self, Blocked};
use super::resolver;
use crate::config::Allow;

/// For one address, before the next is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For looking up the name, connecting and TLS together. A connection that nobody waits for any more, because another
/// became free, ends by this too.
const REACH_TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 8;

/// Why there is no connection.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    /// The URL names no host. Cannot be for a URL that the configuration let through.
    #[error("url has no host")]
    NoHost,
    /// The guard said no to every address. The operator's to change.
    #[error(transparent)]
    Blocked(#[from] Blocked),
    /// The name has no address. May pass.
    #[error("cannot resolve {host}")]
    Resolve {
        /// The host.
        host: Box<str>,
        /// What the resolver said.
        #[source]
        cause: io::Error,
    },
    /// Nobody answers. May pass.
    #[error("cannot connect to {address}")]
    Connect {
        /// The last address that was tried.
        address: SocketAddr,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// It took too long. May pass.
    #[error("no connection within {} s", REACH_TIMEOUT.as_secs())]
    TooSlow,
}

/// Connects to addresses that the guard lets through. Cheap to clone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GuardedConnector {
    allow: Allow,
}

impl GuardedConnector {
    pub(crate) fn new(allow: Allow) -> Self {
        Self { allow }
    }
}

impl Service<Uri> for GuardedConnector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(connect(uri, self.allow))
    }
}

/// A connector whose connections are made in time or not at all.
#[derive(Debug, Clone)]
pub(crate) struct ConnectTimeout<C>(pub(crate) C);

type BoxError = Box<dyn Error + Send + Sync>;

impl<C> Service<Uri> for ConnectTimeout<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Response: 'static,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let reaching = self.0.call(uri);
        Box::pin(async move {
            timeout(REACH_TIMEOUT, reaching)
                .await
                .unwrap_or_else(|_| Err(ConnectError::TooSlow.into()))
        })
    }
}

async fn connect(uri: Uri, allow: Allow) -> Result<TokioIo<TcpStream>, ConnectError> {
    let host = uri.host().ok_or(ConnectError::NoHost)?;
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let port = uri.port_u16().unwrap_or(default);
    let addresses = permitted(host, resolve(host, port).await?, allow)?;
    let mut last = ConnectError::NoHost;
    for address in addresses {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A message is one small write: waiting to fill a segment only delays it.
                let _ = stream.set_nodelay(true);
                return Ok(TokioIo::new(stream));
            }
            Ok(Err(cause)) => last = ConnectError::Connect { address, cause },
            Err(_) => {
                let cause = io::Error::new(io::ErrorKind::TimedOut, "no answer in 5 s");
                last = ConnectError::Connect { address, cause };
            }
        }
    }
    Err(last)
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = literal.parse::<IpAddr>() {
        return Ok(vec![(address, port).into()]);
    }
    // Decimal and octal hosts get here too; what the system makes of them is checked like any other answer.
    let failed = |cause| ConnectError::Resolve { host: host.into(), cause };
    resolver::look_up(host, port).await.map_err(failed)
}

/// The addresses that the guard lets through, or its first refusal.
fn permitted(
    host: &str,
    found: Vec<SocketAddr>,
    allow: Allow,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let mut refusal = None;
    let mut permitted = Vec::new();
    for address in found.into_iter().take(ADDRESSES_MAX) {
        match guard::check(host, address.ip(), allow) {
            Ok(()) => permitted.push(address),
            Err(blocked) => refusal = refusal.or(Some(blocked)),
        }
    }
    if !permitted.is_empty() {
        return Ok(permitted);
    }
    Err(match refusal {
        Some(blocked) => blocked.into(),
        None => {
            let cause = io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
            ConnectError::Resolve { host: host.into(), cause }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|a| a.parse().unwrap()).collect()
    }

    #[test]
    fn a_name_with_a_private_and_a_public_address_leads_to_the_public_one_only() {
        let found = addresses(&["10.0.0.1:443", "8.8.8.8:443"]);
        assert_eq!(permitted("x", found, Allow::default()).unwrap(), addresses(&["8.8.8.8:443"]));
    }

    #[test]
    fn a_name_with_no_permitted_address_is_blocked() {
        let found = addresses(&["10.0.0.1:443", "[::1]:443"]);
        assert!(matches!(permitted("x", found, Allow::default()), Err(ConnectError::Blocked(_))));
        assert!(matches!(
            permitted("x", vec![], Allow::default()),
            Err(ConnectError::Resolve { .. })
        ));
    }

    #[tokio::test]
    async fn a_literal_address_is_checked_like_a_name_however_it_is_written() {
        for url in [
            "http://127.0.0.1:1/",
            "http://[::1]:1/",
            "http://[::ffff:7f00:1]:1/",
            "http://2130706433:1/",
            "http://0x7f000001:1/",
            "http://0x7f.1:1/",
            "http://0177.0.0.1:1/",
            "http://127.1:1/",
            "http://0:1/",
            "http://localhost:1/",
        ] {
            let error = connect(url.parse().unwrap(), Allow::default()).await.unwrap_err();
            assert!(matches!(error, ConnectError::Blocked(_)), "{url}: {error}");
        }
    }
}
