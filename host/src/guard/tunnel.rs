//! Tunnels through a forward proxy that the operator configured.
//!
//! The proxy looks up the endpoint's name and connects, so the guard cannot check the address that
//! is used in the end. It checks the address of the proxy, and that of an endpoint which is written
//! as an address.

use std::fmt;
use std::io;
use std::time::Duration;

use http::HeaderValue;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weir_core::verify::Secret;
use zeroize::Zeroizing;

use super::{AllowedNetworks, DialError, address, dial, known_address};

/// Bytes of the proxy's response.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// The longest wait for the tunnel, the proxy's own connection included.
const OPEN_TIMEOUT: Duration = Duration::from_secs(8);

/// A forward proxy.
#[derive(Clone)]
pub struct ForwardProxy {
    pub host: Box<str>,
    pub port: u16,
    /// The value of `Proxy-Authorization`, and the password in it.
    pub authorization: Option<(HeaderValue, Secret)>,
    /// The addresses that the proxy may have beside those of the internet.
    pub allow: AllowedNetworks,
}

impl fmt::Debug for ForwardProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, authorization: _, allow } = self;
        f.debug_struct("ForwardProxy")
            .field("host", host)
            .field("port", port)
            .field("allow", allow)
            .finish_non_exhaustive()
    }
}

/// A tunnel that could not be opened. May pass, except for a blocked address.
#[derive(Debug, Error)]
pub(crate) enum TunnelError {
    #[error("cannot reach the proxy {host}")]
    Proxy {
        host: Box<str>,
        #[source]
        cause: DialError,
    },
    /// The endpoint is written as an address that is blocked.
    #[error(transparent)]
    Blocked(DialError),
    #[error("the proxy {host} answered {status}{hint}")]
    Refused { host: Box<str>, status: u16, hint: &'static str },
    #[error("the proxy {host} did not answer as a proxy does")]
    NoProxy { host: Box<str> },
    #[error("the proxy {host} opened no tunnel within {} s", OPEN_TIMEOUT.as_secs())]
    TooSlow { host: Box<str> },
    #[error("the connection to the proxy {host} broke")]
    Broke {
        host: Box<str>,
        #[source]
        cause: io::Error,
    },
}

/// Opens a tunnel to a host through a proxy.
pub(crate) async fn open(
    proxy: &ForwardProxy,
    host: &str,
    port: u16,
    allow: AllowedNetworks,
) -> Result<TcpStream, TunnelError> {
    if let Some(known) = known_address(host) {
        let blocked = |blocked| TunnelError::Blocked(DialError::Blocked(blocked));
        address::check(host, known, allow).map_err(blocked)?;
    }
    let unreachable = |cause| TunnelError::Proxy { host: proxy.host.clone(), cause };
    let stream = dial(&proxy.host, proxy.port, proxy.allow).await.map_err(unreachable)?;
    match timeout(OPEN_TIMEOUT, ask(proxy, stream, host, port)).await {
        Ok(opened) => opened,
        Err(_) => Err(TunnelError::TooSlow { host: proxy.host.clone() }),
    }
}

async fn ask(
    proxy: &ForwardProxy,
    mut stream: TcpStream,
    host: &str,
    port: u16,
) -> Result<TcpStream, TunnelError> {
    let broke = |cause| TunnelError::Broke { host: proxy.host.clone(), cause };
    let place = format!("{host}:{port}");
    let mut request =
        Zeroizing::new(format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n").into_bytes());
    if let Some((value, _)) = &proxy.authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await.map_err(broke)?;
    let mut head = Vec::with_capacity(512);
    let no_proxy = || TunnelError::NoProxy { host: proxy.host.clone() };
    loop {
        if head.len() >= HEAD_BYTES_MAX {
            return Err(no_proxy());
        }
        let mut part = [0; 512];
        let read = stream.read(&mut part).await.map_err(broke)?;
        if read == 0 {
            return Err(broke(io::ErrorKind::UnexpectedEof.into()));
        }
        head.extend_from_slice(&part[..read]);
        let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        // The endpoint waits for the hub to speak first, so nothing else can be here yet.
        let status = status(&head).filter(|_| end + 4 == head.len() || !is_open(&head));
        return match status.ok_or_else(no_proxy)? {
            200..=299 => Ok(stream),
            status => {
                let hint = match status {
                    407 => "; check proxy.username and proxy.password",
                    403 | 405 => "; it does not open tunnels to this host and port",
                    _ => "",
                };
                Err(TunnelError::Refused { host: proxy.host.clone(), status, hint })
            }
        };
    }
}

fn is_open(head: &[u8]) -> bool {
    status(head).is_some_and(|status| (200..300).contains(&status))
}

/// The status in the first line of a response.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.strip_prefix(b"HTTP/1.")?;
    let (_, rest) = line.split_at_checked(1)?;
    let digits = rest.strip_prefix(b" ")?.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_response_of_a_proxy_has_a_status() {
        assert_eq!(status(b"HTTP/1.1 200 Connection established\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 407 \r\n\r\n"), Some(407));
        for wrong in ["", "HTTP/1", "HTTP/1.", "SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 2\r\n\r\n"] {
            assert_eq!(status(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn an_endpoint_written_as_a_private_address_is_blocked() {
        let proxy = ForwardProxy {
            host: "127.0.0.1".into(),
            port: 1,
            authorization: None,
            allow: AllowedNetworks { private: true, ..AllowedNetworks::default() },
        };
        for host in ["10.0.0.1", "169.254.169.254", "2130706433", "localhost", "[::1]"] {
            let error = open(&proxy, host, 443, AllowedNetworks::default()).await.unwrap_err();
            assert!(matches!(error, TunnelError::Blocked(_)), "{host}: {error}");
        }
        let closed = ForwardProxy { allow: AllowedNetworks::default(), ..proxy };
        let error = open(&closed, "example.com", 443, AllowedNetworks::default()).await;
        let Err(TunnelError::Proxy { cause, .. }) = error else { panic!("{error:?}") };
        assert!(matches!(cause, DialError::Blocked(_)), "the proxy's address is checked too");
    }
}
