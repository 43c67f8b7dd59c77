//! TCP connections to a host: resolves its name, asks the guard about each address, connects to the
//! first that answers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::address::{self, Blocked};
use super::{AllowedNetworks, resolver};

/// The longest wait for one address before the next is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The most addresses of one host that are tried.
const ADDRESSES_MAX: usize = 8;

/// A connection that could not be made.
#[derive(Debug, Error)]
pub(crate) enum DialError {
    /// Every address is blocked. Lasts until the operator changes the configuration.
    #[error(transparent)]
    Blocked(#[from] Blocked),
    /// The name has no address. May pass.
    #[error("cannot resolve {host}")]
    Resolve {
        host: Box<str>,
        #[source]
        cause: io::Error,
    },
    /// No address accepts connections; `address` was tried last. May pass.
    #[error("cannot connect to {address}")]
    Connect {
        address: SocketAddr,
        #[source]
        cause: io::Error,
    },
}

/// Connects to a host, at internet addresses and those in `allow` only.
///
/// `host` is a name or an address; IPv6 addresses may be in brackets.
pub(crate) async fn dial(
    host: &str,
    port: u16,
    allow: AllowedNetworks,
) -> Result<TcpStream, DialError> {
    let found = resolve(host, port).await?;
    let mut last = None;
    for address in permitted(host, found, allow)? {
        match connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| without_address(host)))
}

/// Connects to an address that the guard has permitted.
async fn connect(address: SocketAddr) -> Result<TcpStream, DialError> {
    match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            // A message is one small write: waiting to fill a segment only delays it.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(cause)) => Err(DialError::Connect { address, cause }),
        Err(_) => {
            let cause = io::Error::new(io::ErrorKind::TimedOut, "no answer in 5 s");
            Err(DialError::Connect { address, cause })
        }
    }
}

/// Connects to one address of a host, if `allow` permits it.
pub(crate) async fn dial_address(
    host: &str,
    address: SocketAddr,
    allow: AllowedNetworks,
) -> Result<TcpStream, DialError> {
    address::check(host, address.ip(), allow)?;
    connect(address).await
}

/// The addresses of a host that may be connected to: internet addresses and those in `allow` only.
/// For clients that connect by themselves.
pub(crate) async fn permitted_addresses(
    host: &str,
    port: u16,
    allow: AllowedNetworks,
) -> Result<Vec<SocketAddr>, DialError> {
    permitted(host, resolve(host, port).await?, allow)
}

/// The addresses of a host, of which the guard may permit none.
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
    let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = literal.parse::<IpAddr>() {
        return Ok(vec![(address, port).into()]);
    }
    // Decimal and octal forms get here too; the system's answer is checked like any other.
    let failed = |cause| DialError::Resolve { host: host.into(), cause };
    resolver::look_up(host, port).await.map_err(failed)
}

/// The addresses that may be connected to, or the first refusal if there is none.
fn permitted(
    host: &str,
    found: Vec<SocketAddr>,
    allow: AllowedNetworks,
) -> Result<Vec<SocketAddr>, DialError> {
    let mut refusal = None;
    let mut permitted = Vec::new();
    for address in found.into_iter().take(ADDRESSES_MAX) {
        match address::check(host, address.ip(), allow) {
            Ok(()) => permitted.push(address),
            Err(blocked) => refusal = refusal.or(Some(blocked)),
        }
    }
    match refusal {
        _ if !permitted.is_empty() => Ok(permitted),
        Some(blocked) => Err(blocked.into()),
        None => Err(without_address(host)),
    }
}

fn without_address(host: &str) -> DialError {
    let cause = io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
    DialError::Resolve { host: host.into(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERNET: AllowedNetworks =
        AllowedNetworks { loopback: false, private: false, link_local: false, metadata: false };

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|a| a.parse().unwrap()).collect()
    }

    #[test]
    fn only_the_public_address_of_a_mixed_name_is_tried() {
        let found = addresses(&["10.0.0.1:443", "8.8.8.8:443"]);
        assert_eq!(permitted("x", found, INTERNET).unwrap(), addresses(&["8.8.8.8:443"]));
    }

    #[test]
    fn a_name_with_no_permitted_address_is_blocked() {
        let found = addresses(&["10.0.0.1:443", "[::1]:443"]);
        assert!(matches!(permitted("x", found, INTERNET), Err(DialError::Blocked(_))));
        assert!(matches!(permitted("x", vec![], INTERNET), Err(DialError::Resolve { .. })));
    }

    #[tokio::test]
    async fn every_form_of_a_loopback_address_is_blocked() {
        for host in [
            "127.0.0.1",
            "[::1]",
            "[::ffff:7f00:1]",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "127.1",
            "0",
            "localhost",
        ] {
            let error = dial(host, 1, INTERNET).await.unwrap_err();
            assert!(matches!(error, DialError::Blocked(_)), "{host}: {error}");
        }
    }
}
