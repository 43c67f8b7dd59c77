//! A TCP relay in front of a server. A test takes it away and back where the server itself cannot
//! be stopped, because it would forget everything.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};

/// A relay on its own port.
pub struct Relay {
    address: SocketAddr,
    server: SocketAddr,
    /// Ends all connections when it ends.
    running: Mutex<Option<JoinHandle<()>>>,
}

impl Relay {
    /// Starts a relay to a server.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let running = Mutex::new(Some(tokio::spawn(run(listener, server))));
        Self { address, server, running }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port and every connection.
    pub async fn away(&self) {
        let running = self.running.lock().await.take().unwrap();
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
    }

    /// Opens the same port again.
    pub async fn back(&self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        *self.running.lock().await = Some(tokio::spawn(run(listener, self.server)));
    }
}

async fn run(listener: TcpListener, server: SocketAddr) {
    let mut connections = JoinSet::new();
    while let Ok((mut near, _)) = listener.accept().await {
        connections.spawn(async move {
            if let Ok(mut far) = TcpStream::connect(server).await {
                // A connection that breaks is the end of it.
                drop(copy_bidirectional(&mut near, &mut far).await);
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
