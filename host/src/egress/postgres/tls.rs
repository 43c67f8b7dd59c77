//! A connection with or without TLS. The client asks the server for TLS before the handshake, so
//! that it needs a connector of its own.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, NoTls, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, Error};

use crate::egress::server::{ConnectionTasks, ServerLink};

/// Opens a connection on a connected stream, and drives it.
pub(super) async fn open(
    config: &Config,
    link: &ServerLink,
    stream: TcpStream,
    tasks: &ConnectionTasks,
) -> Result<Client, Error> {
    let mut config = config.clone();
    if let Some(tls) = link.tls_config() {
        config.ssl_mode(SslMode::Require);
        let connector = Connector {
            connector: tokio_rustls::TlsConnector::from(tls.config.clone()),
            host: link.bare_host().to_owned(),
        };
        let (client, driving) = config.connect_raw(stream, connector).await?;
        tasks.spawn("postgres connection", async move { drop(driving.await) });
        Ok(client)
    } else {
        config.ssl_mode(SslMode::Disable);
        let (client, driving) = config.connect_raw(stream, NoTls).await?;
        tasks.spawn("postgres connection", async move { drop(driving.await) });
        Ok(client)
    }
}

struct Connector {
    connector: tokio_rustls::TlsConnector,
    host: String,
}

impl TlsConnect<TcpStream> for Connector {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    fn connect(self, stream: TcpStream) -> Self::Future {
        Box::pin(async move {
            let name = ServerName::try_from(self.host).map_err(io::Error::other)?;
            self.connector.connect(name, stream).await.map(Encrypted)
        })
    }
}

/// A stream with TLS. It offers no channel binding, which not every server has.
struct Encrypted(tokio_rustls::client::TlsStream<TcpStream>);

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
