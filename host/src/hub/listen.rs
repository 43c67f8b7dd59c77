//! The listening sockets. They are bound before the store is opened: if a port is in use, no data
//! has changed.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use thiserror::Error;

use crate::config::Config;
use crate::runtime::service::ServiceSockets;

/// The bound sockets of a hub.
#[derive(Debug)]
pub struct Listeners {
    /// The listener for webhooks.
    pub ingress: TcpListener,
    /// The listener for operators.
    pub admin: TcpListener,
    /// True if the service manager opened one of them. Then the process before this one may still
    /// drain, and the store is waited for.
    pub inherited: bool,
}

/// The addresses on which a hub listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub ingress: SocketAddr,
    pub admin: SocketAddr,
}

/// An address on which the hub cannot listen.
#[derive(Debug, Error)]
#[error("{setting}: cannot listen on {address}: {}", reason(cause))]
pub struct BindError {
    setting: &'static str,
    address: SocketAddr,
    // Not `source`: the message already contains it, in clearer words.
    cause: std::io::Error,
}

impl BindError {
    /// True if another program uses the port.
    #[must_use]
    pub fn in_use(&self) -> bool {
        self.cause.kind() == std::io::ErrorKind::AddrInUse
    }
}

fn reason(cause: &std::io::Error) -> String {
    match cause.kind() {
        std::io::ErrorKind::AddrInUse => {
            "it is in use; stop the program that uses it, or set another".into()
        }
        std::io::ErrorKind::PermissionDenied => {
            "not permitted; ports below 1024 need a privilege, set another".into()
        }
        std::io::ErrorKind::AddrNotAvailable => "this machine has no such address".into(),
        _ => cause.to_string(),
    }
}

impl Listeners {
    /// Binds both sockets.
    pub fn bind(config: &Config) -> Result<Self, BindError> {
        Self::of(config, ServiceSockets::default())
    }

    /// Uses the sockets of the service manager, and binds those that it did not open.
    pub fn of(config: &Config, passed: ServiceSockets) -> Result<Self, BindError> {
        let inherited = passed.any();
        let socket = |setting, address, passed: Option<TcpListener>| match passed {
            Some(socket) => {
                note_other_address(setting, address, &socket);
                Ok(socket)
            }
            None => listen(address).map_err(|cause| BindError { setting, address, cause }),
        };
        Ok(Self {
            ingress: socket("server.listen", config.server.listen, passed.ingress)?,
            admin: socket("admin.listen", config.admin.listen, passed.admin)?,
            inherited,
        })
    }

    pub(super) fn addresses(&self) -> std::io::Result<Addresses> {
        Ok(Addresses { ingress: self.ingress.local_addr()?, admin: self.admin.local_addr()? })
    }

    /// The URL of the webhook listener, as seen from this machine.
    pub(super) fn webhooks_at(&self, is_tls: bool) -> std::io::Result<String> {
        let mut address = self.ingress.local_addr()?;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        let scheme = if is_tls { "https" } else { "http" };
        Ok(format!("{scheme}://{address}"))
    }
}

/// Warns if a socket of the service manager has another port than the setting, which the commands
/// use to find the hub.
fn note_other_address(setting: &'static str, configured: SocketAddr, socket: &TcpListener) {
    match socket.local_addr() {
        Ok(used) if used.port() != configured.port() && configured.port() != 0 => tracing::warn!(
            setting,
            %configured,
            %used,
            "the socket of the service manager is used instead of the address in the \
             configuration; write the same port in both, so that commands find the hub"
        ),
        _ => {}
    }
}

/// Connections that wait in the kernel until the hub accepts them.
const BACKLOG: i32 = 4_096;

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    // A restart must not wait until the old process's connections time out.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
