//! The plugins folder and the registry of versions: which files there are, and what they make of
//! handlers.
//!
//! `watch` looks at the folder, `tracker` decides when to act on it, and `reload` does it with the
//! help of `prepare`, which makes a version of files. `archive` keeps versions in the registry, so
//! that they serve again after a restart, and `manifest` is what it stores of each handler.
//!
//! Not here: runs.

mod actions;
mod archive;
mod folder;
mod manifest;
mod prepare;
mod refusal;
pub(crate) mod reload;
mod tracker;
pub(crate) mod watch;

use std::collections::BTreeMap;

use weir_core::name::HandlerName;
use weir_core::route::Pattern;
use weir_store::{Store, StoreError};

use super::handlers::settings::{self, Requested};
use crate::config::Config;

/// The subscriptions of the handlers that served when the process ended. They route events before
/// any of them is loaded.
pub(crate) async fn stored_subscriptions(
    store: &dyn Store,
    config: &Config,
) -> Result<BTreeMap<HandlerName, Vec<Pattern>>, StoreError> {
    let mut subscriptions = BTreeMap::new();
    for (name, manifest) in archive::all(store).await? {
        if manifest.retired {
            continue;
        }
        let requested = manifest.patterns().unwrap_or_else(|error| {
            tracing::error!(handler = %name, %error, "stored subscriptions cannot be read");
            Vec::new()
        });
        // A sidecar that no longer fits the configuration is reported when the handler is loaded.
        let configured = settings::configured(&name, manifest.sidecar.as_deref(), config)
            .unwrap_or_else(|_| config.handlers.get(&name).cloned().unwrap_or_default());
        let requested = Requested { kind: manifest.kind, subscriptions: &requested };
        let effective = settings::subscriptions(&name, requested, &configured);
        subscriptions.insert(name, effective);
    }
    Ok(subscriptions)
}
