//! Connects to every destination and sends nothing, for `weir check --connect`.

use std::sync::Arc;

use futures_util::future::join_all;
use weir_core::hops::HopKey;
use weir_core::name::DestinationName;
use weir_core::time::{Clock as _, Timestamp};

use super::server::ConnectionTasks;
use super::{Inbox, TransportParts, transport};
use crate::config::{Config, Destination};
use crate::runtime::clock::SystemClock;
use crate::runtime::tasks::Tasks;

/// The result of connecting to one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionCheck {
    pub destination: DestinationName,
    pub kind: &'static str,
    /// Without credentials.
    pub address: String,
    /// The reason why messages would not be accepted, and what to do.
    pub problem: Option<String>,
}

/// Connects to every destination of a configuration, to all at the same time.
pub async fn check_destinations(config: &Config) -> Vec<ConnectionCheck> {
    let at = SystemClock.now();
    let tasks = ConnectionTasks::new(Tasks::new());
    let _ended_with_the_check = tasks.ender();
    // Nothing is signed.
    let parts =
        TransportParts { hops: Arc::new(HopKey::new(&[0; 32])), inbox: Inbox::default(), tasks };
    join_all(config.destinations.values().map(|destination| check(destination, &parts, at))).await
}

async fn check(
    destination: &Destination,
    parts: &TransportParts,
    at: Timestamp,
) -> ConnectionCheck {
    let problem = match transport(destination, parts) {
        Ok(transport) => transport.check(at).await.err().map(String::from),
        Err(error) => Some(super::server::chain(&error)),
    };
    ConnectionCheck {
        destination: destination.name.clone(),
        kind: destination.transport.kind().as_str(),
        address: destination.transport.address(),
        problem,
    }
}
