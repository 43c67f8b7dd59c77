//! The accept loop: no connection is served before there is a place for it, and none after draining began. Where there
//! is no place, the idlest connections are asked to make it; one that came waits here, the others with the system.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::Ingress;
use super::client::Client;
use super::connection::{self, Place, TOO_MANY_CONNECTIONS_ANSWER};
use super::connection_table::Eviction;
use super::limits::{ACCEPT_PAUSE, EVICTION_RETRY};

/// Accepts and serves until draining begins, then waits for the connections that are open.
pub(super) async fn run(ingress: Arc<Ingress>, listener: std::net::TcpListener) {
    let listener = match listen(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "ingress cannot use its listener"),
    };
    let slots = Arc::new(Semaphore::new(ingress.max_connections));
    let connections = TaskTracker::new();
    while let Some((stream, peer)) = next(&ingress, &listener).await {
        // An answer is one small packet; holding it back for more gains nothing and costs the sender a delay.
        let _ = stream.set_nodelay(true);
        let client = Client::new(peer, &ingress.address_policy);
        let Some(guard) = ingress.connection_table.enter(client.network()) else {
            turn_away(&ingress, &stream);
            continue;
        };
        let slot = match place(&ingress, &slots, &client).await {
            Found::Place(slot) => slot,
            Found::TooMany => {
                turn_away(&ingress, &stream);
                continue;
            }
            Found::Draining => break,
        };
        let place = Place { guard, _slot: slot };
        connections.spawn(connection::serve(Arc::clone(&ingress), stream, client, place));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

fn turn_away(ingress: &Ingress, stream: &TcpStream) {
    ingress.metrics.refused("too_many_connections");
    // A courtesy: there is room for it in the system's buffer, or there is not.
    let _ = stream.try_write(TOO_MANY_CONNECTIONS_ANSWER);
}

fn listen(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// The next connection, or none once draining has begun.
async fn next(ingress: &Ingress, listener: &TcpListener) -> Option<(TcpStream, IpAddr)> {
    let accepted = async {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return (stream, peer.ip().to_canonical()),
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = ingress.drain.accepting_stopped() => None,
        accepted = accepted => Some(accepted),
    }
}

/// What comes of looking for a place for a connection.
enum Found {
    Place(OwnedSemaphorePermit),
    /// Its client has had its share, and others wait behind it.
    TooMany,
    Draining,
}

async fn place(ingress: &Ingress, slots: &Arc<Semaphore>, client: &Client) -> Found {
    if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
        return Found::Place(slot);
    }
    let made = async {
        loop {
            let now = Instant::now();
            let check_penalty =
                ingress.check_penalty(client.connection_caller(), None, now.into_std()).is_err();
            if check_penalty
                || ingress.connection_table.evict_idle(now, client.network()) == Eviction::Crowd
            {
                return Found::TooMany;
            }
            let slot =
                tokio::time::timeout(EVICTION_RETRY, Arc::clone(slots).acquire_owned()).await;
            match slot {
                Ok(Ok(slot)) => return Found::Place(slot),
                Ok(Err(_closed)) => return Found::Draining,
                Err(_) => {}
            }
        }
    };
    tokio::select! {
        biased;
        () = ingress.drain.accepting_stopped() => Found::Draining,
        found = made => found,
    }
}

/// Errors of a connection that ended before it was accepted.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
