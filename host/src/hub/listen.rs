//! The listening sockets. They are bound before the store is opened: if a port is in use, no data
//! has changed.

use std::net::{SocketAddr, TcpListener};

use thiserror::Error;

use crate::config::Config;

/// The bound sockets of a hub.
#[derive(Debug)]
pub struct Listeners {
    /// The listener for webhooks.
    pub ingress: TcpListener,
    /// The listener for operators.
    pub admin: TcpListener,
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
        let bind = |setting, address| {
            listen(address).map_err(|cause| BindError { setting, address, cause })
        };
        Ok(Self {
            ingress: bind("server.listen", config.server.listen)?,
            admin: bind("admin.listen", config.admin.listen)?,
        })
    }

    pub(super) fn addresses(&self) -> std::io::Result<Addresses> {
        Ok(Addresses { ingress: self.ingress.local_addr()?, admin: self.admin.local_addr()? })
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
