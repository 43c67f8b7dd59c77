//! The runtime of the client: that of the hub, but its streams are connected already. So a client
//! can have any stream, and none that the guard has not checked.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use async_compat::Compat;
use async_rs::traits::{Executor, Reactor, RuntimeKit};
use async_rs::util::Task;
use async_rs::{Runtime, Tokio};
use futures_util::io::{AsyncRead, AsyncWrite};
use futures_util::stream::Stream;
use lapin::tcp::AsyncTcpStream;
use lapin::uri::{AMQPAuthority, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Connection, ConnectionProperties};
use parking_lot::Mutex;

use crate::config::BrokerServer;
use crate::egress::server::ServerStream;

/// The account that a server has from its installation on. It may connect from that machine only.
const DEFAULT_USER: &str = "guest";

/// Opens a connection of the client on a connected stream.
pub(crate) async fn open(
    server: &BrokerServer,
    vhost: &str,
    stream: ServerStream,
    properties: ConnectionProperties,
) -> lapin::Result<Connection> {
    let password = server.password.as_ref().map(|secret| String::from_utf8_lossy(secret.expose()));
    let uri = AMQPUri {
        // The stream has TLS already.
        scheme: AMQPScheme::AMQP,
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo {
                username: server.user.as_deref().unwrap_or(DEFAULT_USER).to_owned(),
                password: password.unwrap_or(DEFAULT_USER.into()).into_owned(),
            },
            host: server.host.to_string(),
            port: server.port,
        },
        vhost: vhost.to_owned(),
        query: Default::default(),
    };
    let stream = Mutex::new(Some(stream));
    let connect = async move |_: AMQPUri, _: Runtime<ConnectedOnly>| {
        let stream = stream.lock().take().ok_or_else(not_here)?;
        Ok(AsyncTcpStream::Plain(Compat::new(stream)))
    };
    let runtime = Runtime::new(ConnectedOnly(Tokio::current()));
    Connection::connector(uri, runtime, connect, properties).await
}

fn not_here() -> io::Error {
    io::Error::other("a connection is made by the guard only")
}

/// Tokio, but without connections of its own.
#[derive(Debug, Clone)]
struct ConnectedOnly(Tokio);

impl RuntimeKit for ConnectedOnly {}

impl Executor for ConnectedOnly {
    type Task<T: Send + 'static> = <Tokio as Executor>::Task<T>;

    fn block_on<T, F: Future<Output = T>>(&self, future: F) -> T {
        self.0.block_on(future)
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        future: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn(future)
    }

    fn spawn_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        work: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn_blocking(work)
    }
}

impl Reactor for ConnectedOnly {
    type TcpStream = Compat<ServerStream>;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.0.sleep(time)
    }

    fn interval(&self, time: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(time)
    }

    fn tcp_connect_addr(
        &self,
        _: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        std::future::ready(Err(not_here()))
    }
}
