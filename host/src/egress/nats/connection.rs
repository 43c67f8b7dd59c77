//! Opens a connection to a NATS server.
//!
//! The client connects by itself, so that it gets addresses which the guard has checked, and
//! verifies the certificate for the name of the URL. It never connects to servers that it is told
//! of, and a lost connection is made anew here, after another check.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use weir_core::verify::Secret;

use super::{answers, client_tls};
use crate::egress::server::ServerLink;
use crate::egress::transport::SendOutcome;

/// An open connection.
#[derive(Debug)]
pub(crate) struct OpenNats {
    pub(crate) client: Client,
    pub(crate) streams: Context,
    state: Arc<NatsState>,
}

/// The things that the server has said about a connection.
#[derive(Debug, Default)]
struct NatsState {
    broken: CancellationToken,
    last_error: Mutex<Option<String>>,
}

impl NatsState {
    fn note(&self, event: &Event) {
        match event {
            Event::Disconnected | Event::Closed => self.broken.cancel(),
            Event::ServerError(error) => *self.last_error.lock() = Some(error.to_string()),
            _ => {}
        }
    }
}

impl OpenNats {
    /// Resolves when the connection has broken.
    pub(crate) async fn broken(&self) {
        self.state.broken.cancelled().await;
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.state.broken.is_cancelled()
    }

    /// The last error that the server has told beside its answers.
    pub(crate) fn take_error(&self) -> Option<String> {
        self.state.last_error.lock().take()
    }
}

/// Opens a connection. A token is used instead of user and password.
pub(crate) async fn open(
    link: &ServerLink,
    token: Option<&Secret>,
) -> Result<OpenNats, SendOutcome> {
    let found = link.addresses().await.map_err(|error| link.unreached(&error))?;
    let scheme = if link.server().tls { "tls" } else { "nats" };
    let servers: Vec<ServerAddr> =
        found.iter().filter_map(|at| format!("{scheme}://{at}").parse().ok()).collect();
    let state = Arc::new(NatsState::default());
    let options = options(link, token, servers.len(), &state)?;
    let limit = link.server().timeout;
    match timeout(limit, options.connect(servers)).await {
        Err(_) => Err(link.silent()),
        Ok(Err(error)) => Err(answers::not_connected(&error, link)),
        Ok(Ok(client)) => {
            let mut streams = async_nats::jetstream::new(client.clone());
            // Each use has a limit of its own.
            streams.set_timeout(limit.saturating_mul(2));
            Ok(OpenNats { client, streams, state })
        }
    }
}

fn options(
    link: &ServerLink,
    token: Option<&Secret>,
    addresses: usize,
    state: &Arc<NatsState>,
) -> Result<ConnectOptions, SendOutcome> {
    let (server, told) = (link.server(), state.clone());
    let mut options = ConnectOptions::new()
        .name("weir")
        .ignore_discovered_servers()
        .retain_servers_order()
        // Only for the first connection: each address once.
        .max_reconnects(addresses)
        .reconnect_delay_callback(|_| Duration::ZERO)
        .connection_timeout(server.timeout)
        .event_callback(move |event| {
            told.note(&event);
            std::future::ready(())
        });
    let text = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
    if let Some(token) = token {
        options = options.token(text(token));
    } else if let Some(user) = &server.user {
        let password = server.password.as_ref().map(text).unwrap_or_default();
        options = options.user_and_password(user.to_string(), password);
    }
    if let Some(tls) = link.tls_config() {
        let tls =
            client_tls::named(tls, link.bare_host()).map_err(|error| link.unreached(&error))?;
        options = options.require_tls(true).tls_client_config(tls);
    }
    Ok(options)
}
