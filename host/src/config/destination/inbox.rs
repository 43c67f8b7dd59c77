//! The `inbox` kind: no settings of its own, and one built-in destination of development mode.

use weir_core::delivery::OnBlocked;
use weir_core::name::DestinationName;

use super::{Destination, DestinationDefaults, TransportSettings};

/// The destination `inbox` of development mode.
pub(in crate::config) fn built_in(defaults: &DestinationDefaults) -> Option<Destination> {
    Some(Destination {
        name: DestinationName::new("inbox").ok()?,
        transport: TransportSettings::Inbox,
        retry: defaults.retry.clone(),
        breaker: defaults.breaker.clone(),
        concurrency: defaults.concurrency,
        ordered: false,
        on_blocked: OnBlocked::Skip,
        rate: None,
    })
}
