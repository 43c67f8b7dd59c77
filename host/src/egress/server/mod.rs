//! Connections to the servers of destinations and sources: dialled through the guard, with TLS if
//! the URL asks for it, kept while they work, and made anew when they broke.
//!
//! Not here: any protocol.

mod kept;

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::transport::SendOutcome;
use crate::config::BrokerServer;
use crate::guard::{Blocked, DialError, dial, permitted_addresses};
use crate::runtime::tasks::{OnFailure, Tasks};
use crate::tls::roots::{self, RootsError};
pub(super) use kept::Kept;

/// A server that cannot be reached.
#[derive(Debug, Error)]
pub(crate) enum ReachError {
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The host is not a name that a certificate can have.
    #[error("the host cannot be in a certificate")]
    Name(#[from] InvalidDnsNameError),
    #[error("no TLS connection")]
    Tls(#[source] std::io::Error),
    #[error("no connection within {} s", .0.as_secs())]
    TooSlow(std::time::Duration),
}

/// A connection to a server, with or without TLS.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync> ByteStream for S {}

/// A connected stream of any kind.
pub(crate) type ServerStream = Box<dyn ByteStream>;

/// The way to one server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ServerLink {
    server: Arc<BrokerServer>,
    tls: Option<TlsSettings>,
}

/// The settings of TLS to one server.
#[derive(Debug, Clone)]
pub(crate) struct TlsSettings {
    pub(crate) config: Arc<ClientConfig>,
    /// The verifier of that configuration.
    pub(crate) verifier: Arc<dyn ServerCertVerifier>,
}

impl fmt::Debug for ServerLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerLink").field("address", &self.server.address()).finish()
    }
}

impl ServerLink {
    /// The way to a server. Nothing is connected yet.
    pub(crate) fn new(server: &BrokerServer) -> Result<Self, RootsError> {
        let tls = || {
            let config = Arc::new(roots::client(&server.trust)?);
            Ok(TlsSettings { config, verifier: roots::verifier(&server.trust)? })
        };
        let tls = server.tls.then(tls).transpose()?;
        Ok(Self { server: Arc::new(server.clone()), tls })
    }

    pub(crate) fn server(&self) -> &BrokerServer {
        &self.server
    }

    /// A new connection.
    pub(crate) async fn connect(&self) -> Result<ServerStream, ReachError> {
        self.in_time(async {
            let stream = self.dial().await?;
            let Some(tls) = &self.tls else { return Ok(Box::new(stream) as ServerStream) };
            let name = ServerName::try_from(self.bare_host().to_owned())?;
            let connecting = TlsConnector::from(tls.config.clone()).connect(name, stream);
            Ok(Box::new(connecting.await.map_err(ReachError::Tls)?) as ServerStream)
        })
        .await
    }

    /// A new connection without TLS, for protocols that begin it later.
    pub(crate) async fn tcp(&self) -> Result<TcpStream, ReachError> {
        self.in_time(self.dial()).await
    }

    /// The addresses of the server that may be connected to, for clients that connect by
    /// themselves.
    pub(crate) async fn addresses(&self) -> Result<Vec<SocketAddr>, ReachError> {
        let BrokerServer { host, port, allow, .. } = &*self.server;
        self.in_time(async { Ok(permitted_addresses(host, *port, *allow).await?) }).await
    }

    pub(crate) fn tls_config(&self) -> Option<&TlsSettings> {
        self.tls.as_ref()
    }

    async fn dial(&self) -> Result<TcpStream, ReachError> {
        let BrokerServer { host, port, allow, .. } = &*self.server;
        Ok(dial(host, *port, *allow).await?)
    }

    async fn in_time<T>(
        &self,
        reaching: impl Future<Output = Result<T, ReachError>>,
    ) -> Result<T, ReachError> {
        let limit = self.server.timeout;
        timeout(limit, reaching).await.unwrap_or(Err(ReachError::TooSlow(limit)))
    }

    /// The host without the brackets of an IPv6 address.
    pub(crate) fn bare_host(&self) -> &str {
        let host = &*self.server.host;
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The outcome of a send whose server could not be reached.
    pub(crate) fn unreached(&self, error: &(dyn Error + 'static)) -> SendOutcome {
        if let Some(blocked) = blocked(error) {
            return SendOutcome::Blocked { reason: blocked.to_string().into() };
        }
        let address = self.server.address();
        let mut reason = format!("{address} cannot be reached: {}", chain(error));
        if reason.contains("UnknownIssuer") {
            reason.push_str(
                "; if you run your own certificate authority, set its certificate: ca = \"FILE.pem\"",
            );
        } else if reason.contains("corrupt message") || reason.contains("InvalidContentType") {
            reason
                .push_str("; it does not speak TLS there: use another port, or a URL without TLS");
        }
        SendOutcome::Unavailable { reason: reason.into() }
    }

    /// The outcome of a send to a server that takes no message now. `what` says why, and what to
    /// do.
    pub(crate) fn unavailable(&self, what: impl fmt::Display) -> SendOutcome {
        SendOutcome::Unavailable { reason: format!("{}: {what}", self.server.address()).into() }
    }

    /// The outcome of a send that the server did not answer in time.
    pub(crate) fn silent(&self) -> SendOutcome {
        let seconds = self.server.timeout.as_secs_f64();
        self.unavailable(format_args!("no answer within {seconds} s; is the server stuck?"))
    }
}

/// The refusal of the guard, if that is the reason for an error.
fn blocked<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Blocked> {
    if let Some(ReachError::Dial(DialError::Blocked(blocked))) = error.downcast_ref() {
        return Some(blocked);
    }
    if let Some(DialError::Blocked(blocked)) = error.downcast_ref() {
        return Some(blocked);
    }
    blocked(error.source()?)
}

/// An error with its sources.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let said = source.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = source.source();
    }
    text
}

/// Spawns the tasks that drive connections. They end with egress, so that a shutdown does not wait
/// for them.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionTasks {
    tasks: Tasks,
    ended: CancellationToken,
}

impl ConnectionTasks {
    pub(crate) fn new(tasks: Tasks) -> Self {
        Self { tasks, ended: CancellationToken::new() }
    }

    /// Ends all tasks when dropped.
    pub(crate) fn ender(&self) -> tokio_util::sync::DropGuard {
        self.ended.clone().drop_guard()
    }

    /// Spawns a task that drives a connection.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        driving: impl Future<Output = ()> + Send + 'static,
    ) {
        let ended = self.ended.clone();
        self.tasks.spawn(name, OnFailure::Log, async move {
            tokio::select! {
                () = driving => {}
                () = ended.cancelled() => {}
            }
        });
    }
}
