//! The service manager (systemd): the state of the hub is told to it, and the sockets that it
//! opened are used. Without a service manager every call does nothing.
//!
//! Not here: decisions about the hub's state.

use std::net::TcpListener;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use thiserror::Error;

/// Socket for webhooks, by its `FileDescriptorName=`.
const INGRESS: &str = "ingress";
/// Socket for operators, by its `FileDescriptorName=`.
const ADMIN: &str = "admin";

/// Listening sockets that the service manager opened. They outlive the process, so that an upgrade
/// refuses no connection.
#[derive(Debug, Default)]
pub struct ServiceSockets {
    pub ingress: Option<TcpListener>,
    pub admin: Option<TcpListener>,
}

/// A reason why the sockets of the service manager cannot be used.
#[derive(Debug, Error)]
pub enum SocketError {
    #[error(
        "the service manager passed a socket named {name:?}; name its sockets {INGRESS:?} and \
         {ADMIN:?} with FileDescriptorName="
    )]
    Name { name: String },
    #[error(
        "the service manager passed two sockets named {name:?}; give each socket unit one \
         ListenStream="
    )]
    Twice { name: &'static str },
    #[error("the socket {name:?} of the service manager is not a TCP socket that listens")]
    Kind { name: &'static str, source: std::io::Error },
}

impl ServiceSockets {
    /// Uses the sockets that were passed to this process. Call it before the process has threads,
    /// because it changes the environment.
    pub fn take() -> Result<Self, SocketError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let mut sockets = Self::default();
        for (index, name) in names_of(&names, passed.len())?.into_iter().enumerate() {
            let kind = |source| SocketError::Kind { name, source };
            let Some(socket) = passed.take_tcp_listener(index).map_err(kind)? else { continue };
            let place = if name == INGRESS { &mut sockets.ingress } else { &mut sockets.admin };
            *place = Some(socket);
        }
        Ok(sockets)
    }

    /// True if there is one.
    #[must_use]
    pub fn any(&self) -> bool {
        self.ingress.is_some() || self.admin.is_some()
    }
}

/// The names of `count` sockets, of which each is used once.
fn names_of(names: &str, count: usize) -> Result<Vec<&'static str>, SocketError> {
    let mut given = names.split(':').filter(|name| !name.is_empty());
    let mut known: Vec<&'static str> = Vec::new();
    for _ in 0..count {
        let name = given.next().unwrap_or_default();
        let name = [INGRESS, ADMIN]
            .into_iter()
            .find(|known| *known == name)
            .ok_or_else(|| SocketError::Name { name: name.chars().take(64).collect() })?;
        if known.contains(&name) {
            return Err(SocketError::Twice { name });
        }
        known.push(name);
    }
    Ok(known)
}

/// Webhooks are accepted. The line is shown by `systemctl status`.
pub(crate) fn ready(line: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(line)]);
}

/// The start goes on, with this line for `systemctl status`.
pub(crate) fn starting(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// The configuration is read again. [`reloaded`] must follow.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The configuration was read, whatever came of it.
pub(crate) fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// The hub stops, for this reason.
pub(crate) fn stopping(reason: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(reason)]);
}

/// The hub makes progress.
pub(crate) fn alive(line: &str) {
    tell(&[NotifyState::Watchdog, NotifyState::Status(line)]);
}

/// Longest time between two calls of [`alive`], if the service manager watches the process.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|time| !time.is_zero())
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager could not be told the state of the hub");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_found_by_name_in_any_order() {
        assert_eq!(names_of("admin:ingress", 2).unwrap(), [ADMIN, INGRESS]);
        assert_eq!(names_of("ingress", 1).unwrap(), [INGRESS]);
        assert_eq!(names_of("", 0).unwrap(), [""; 0]);
    }

    #[test]
    fn a_socket_with_another_name_or_none_is_refused() {
        let said = names_of("ingress:metrics", 2).unwrap_err().to_string();
        assert!(said.contains("\"metrics\"") && said.contains("FileDescriptorName="), "{said}");
        assert!(matches!(names_of("", 1), Err(SocketError::Name { .. })));
        assert!(matches!(names_of("admin:admin", 2), Err(SocketError::Twice { name: ADMIN })));
    }
}
