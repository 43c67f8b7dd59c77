//! Connectors for hyper clients: [`dial`] behind hyper's interface, and a time limit for a whole
//! connection.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use super::{AllowedNetworks, ForwardProxy, dial, tunnel};

/// The longest time for looking up the name, connecting and TLS together. A connection whose
/// request has been sent over another one ends by this too.
const REACH_TIMEOUT: Duration = Duration::from_secs(10);

type BoxError = Box<dyn Error + Send + Sync>;

/// A connection that could not be made for a reason other than dialling.
#[derive(Debug, Error)]
enum ConnectError {
    /// Cannot be for a URL that the configuration accepted.
    #[error("url has no host")]
    NoHost,
    #[error("no connection within {} s", REACH_TIMEOUT.as_secs())]
    TooSlow,
}

/// Dials the host of a URL, or opens a tunnel to it through a proxy. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct GuardedConnector {
    allow: AllowedNetworks,
    proxy: Option<Arc<ForwardProxy>>,
}

impl GuardedConnector {
    pub(crate) fn new(allow: AllowedNetworks) -> Self {
        Self { allow, proxy: None }
    }

    pub(crate) fn through(self, proxy: Option<&ForwardProxy>) -> Self {
        Self { proxy: proxy.cloned().map(Arc::new), ..self }
    }
}

impl Service<Uri> for GuardedConnector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { allow, proxy } = self.clone();
        Box::pin(async move {
            let host = uri.host().ok_or(ConnectError::NoHost)?;
            let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
            let port = uri.port_u16().unwrap_or(default);
            let stream = match proxy {
                None => dial(host, port, allow).await?,
                Some(proxy) => tunnel::open(&proxy, host, port, allow).await?,
            };
            Ok(TokioIo::new(stream))
        })
    }
}

/// A connector that gives up after a fixed time.
#[derive(Debug, Clone)]
pub(crate) struct ConnectTimeout<C>(pub(crate) C);

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
