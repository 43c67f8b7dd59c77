//! The listener: accepts connections and serves each on a task of its own.
//!
//! A connection is served once it has a slot, and none after draining began. When all slots are
//! taken, the connections that wait longest are asked to end; the next connection waits for a slot
//! here, later ones in the listen queue of the system.

mod serve;
mod tls;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioExecutor;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::connection::client::Client;
use super::connection::limits::{ACCEPT_PAUSE, EVICTION_RETRY};
use super::connection::state::Timeouts;
use super::connection::table::{ConnectionGuard, ConnectionTable, Eviction};
use super::receive::Pipeline;
use crate::config::ServerSettings;
use crate::context::HubContext;
use crate::observe::metrics::Metrics;
use crate::runtime::pulse::Pulse;
use crate::runtime::shutdown::Drain;
use crate::tls::ServerTls;
use serve::TOO_MANY_CONNECTIONS_ANSWER;

/// Everything that connections share.
#[derive(Debug)]
pub(crate) struct ConnectionServer {
    pipeline: Arc<Pipeline>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    /// `None` for plain HTTP.
    tls: Option<Arc<ServerTls>>,
    max_connections: usize,
    timeouts: Timeouts,
    table: Arc<ConnectionTable>,
    metrics: Metrics,
    drain: Drain,
    /// Answered by the loop that accepts connections.
    pulse: Pulse,
}

/// The permits that a connection holds while it is open: its slot, and its entry in the table.
struct ConnectionPermits {
    guard: ConnectionGuard,
    _slot: OwnedSemaphorePermit,
}

/// The result of waiting for a connection slot.
enum SlotOutcome {
    Slot(OwnedSemaphorePermit),
    /// The client has many waiting connections or a penalty, and others wait behind it.
    Refused,
    Draining,
}

/// A connection, or a TLS handshake, that ended before or outside of a request.
#[derive(Debug, Clone, Copy)]
enum ConnectionRefusal {
    TooManyConnections,
    HeadTimeout,
    HeadTooLarge,
    HeadIncomplete,
    Malformed,
    Evicted,
    TlsFailed,
    TlsTimeout,
    TooManyRefusals,
}

impl ConnectionRefusal {
    /// The code in metrics.
    const fn code(self) -> &'static str {
        match self {
            Self::TooManyConnections => "too_many_connections",
            Self::HeadTimeout => "head_timeout",
            Self::HeadTooLarge => "head_too_large",
            Self::HeadIncomplete => "head_incomplete",
            Self::Malformed => "malformed",
            Self::Evicted => "crowded_out",
            Self::TlsFailed => "tls_failed",
            Self::TlsTimeout => "tls_timeout",
            Self::TooManyRefusals => "too_many_refusals",
        }
    }
}

impl ConnectionServer {
    pub(crate) fn new(
        server: &ServerSettings,
        ctx: &HubContext,
        pipeline: Arc<Pipeline>,
        tls: Option<Arc<ServerTls>>,
    ) -> Self {
        Self {
            pipeline,
            http1: serve::http1(server),
            http2: tls::http2(server),
            tls,
            max_connections: server.max_connections,
            timeouts: Timeouts { head: server.header_timeout, idle: server.idle_timeout },
            table: ConnectionTable::new(server.per_address.connections),
            metrics: ctx.metrics.clone(),
            drain: ctx.drain.clone(),
            pulse: Pulse::default(),
        }
    }

    pub(crate) fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    fn count(&self, refusal: ConnectionRefusal) {
        self.metrics.refused(refusal.code());
    }

    /// Charges the client for what happened on its connection outside of a request.
    fn charge(&self, client: &Client) {
        self.pipeline.penalties.charge(client.connection_caller(), None);
    }
}

/// Accepts and serves connections until draining begins, then waits for the open ones.
pub(crate) async fn run(server: Arc<ConnectionServer>, listener: std::net::TcpListener) {
    let listener = match listen(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "ingress cannot use its listener"),
    };
    let slots = Arc::new(Semaphore::new(server.max_connections));
    let connections = TaskTracker::new();
    while let Some((stream, peer)) = accept(&server, &listener).await {
        // An answer is one small packet; holding it back for more would only delay it.
        let _ = stream.set_nodelay(true);
        let client = Client::new(peer, &server.pipeline.address_policy);
        let Some(guard) = server.table.admit(client.network()) else {
            refuse(&server, &stream);
            continue;
        };
        let slot = match wait_for_slot(&server, &slots, &client).await {
            SlotOutcome::Slot(slot) => slot,
            SlotOutcome::Refused => {
                refuse(&server, &stream);
                continue;
            }
            SlotOutcome::Draining => break,
        };
        let permits = ConnectionPermits { guard, _slot: slot };
        connections.spawn(serve::serve(server.clone(), stream, client, permits));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Refuses a connection. The answer is sent only if it fits into the buffer of the system.
fn refuse(server: &ConnectionServer, stream: &TcpStream) {
    server.count(ConnectionRefusal::TooManyConnections);
    let _ = stream.try_write(TOO_MANY_CONNECTIONS_ANSWER);
}

fn listen(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// The next connection. `None` once draining has begun.
async fn accept(server: &ConnectionServer, listener: &TcpListener) -> Option<(TcpStream, IpAddr)> {
    let accepted = async {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return (stream, peer.ip().to_canonical()),
                Err(error) if is_of_peer(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = server.drain.accepting_stopped() => None,
        never = server.pulse.answer() => match never {},
        accepted = accepted => Some(accepted),
    }
}

/// Waits for a slot. Asks waiting connections to end while there is none.
async fn wait_for_slot(
    server: &ConnectionServer,
    slots: &Arc<Semaphore>,
    client: &Client,
) -> SlotOutcome {
    if let Ok(slot) = slots.clone().try_acquire_owned() {
        return SlotOutcome::Slot(slot);
    }
    let freed = async {
        loop {
            let (now, caller) = (Instant::now(), client.connection_caller());
            let is_penalized =
                server.pipeline.penalties.check(caller, None, now.into_std()).is_err();
            if is_penalized
                || server.table.evict_waiting(now, client.network()) == Eviction::TooManyWaiting
            {
                return SlotOutcome::Refused;
            }
            let slot = tokio::time::timeout(EVICTION_RETRY, slots.clone().acquire_owned()).await;
            match slot {
                Ok(Ok(slot)) => return SlotOutcome::Slot(slot),
                Ok(Err(_closed)) => return SlotOutcome::Draining,
                Err(_) => {}
            }
        }
    };
    tokio::select! {
        biased;
        () = server.drain.accepting_stopped() => SlotOutcome::Draining,
        never = server.pulse.answer() => match never {},
        outcome = freed => outcome,
    }
}

/// True for the errors of a connection that ended before it was accepted.
fn is_of_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
