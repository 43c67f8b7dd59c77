//! The accept loop: no connection is taken before there is a place for it, and none after draining began.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::limits::ACCEPT_PAUSE;
use super::{Ingress, connection};

/// Accepts and serves until draining begins, then waits for the connections that are open.
pub(super) async fn run(ingress: Arc<Ingress>, listener: std::net::TcpListener) {
    let listener = match listen(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "ingress cannot use its listener"),
    };
    let slots = Arc::new(Semaphore::new(ingress.max_connections));
    let connections = TaskTracker::new();
    while let Some((stream, peer, slot)) = next(&ingress, &listener, &slots).await {
        // An answer is one small packet; holding it back for more gains nothing and costs the sender a delay.
        let _ = stream.set_nodelay(true);
        let peer = Some(peer.ip().to_canonical());
        connections.spawn(connection::serve(Arc::clone(&ingress), stream, peer, slot));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

fn listen(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// The next connection with its place, or none once draining has begun.
async fn next(
    ingress: &Ingress,
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let accepted = async {
        let slot = Arc::clone(slots).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return Some((stream, peer, slot)),
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
        accepted = accepted => accepted,
    }
}

/// Errors of a connection that ended before it was accepted.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
