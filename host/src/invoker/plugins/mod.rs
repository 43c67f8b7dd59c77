//! The plugins folder and the registry of versions: which files there are, and what they make of
//! handlers.
//!
//! `watch` looks at the folder, `tracker` decides when to act on it, and `reload` does it with the
//! help of `prepare`, which makes a version of files, and of `serving`, which puts it into service.
//! `archive` keeps versions in the registry, so that they serve again after a restart, and
//! `manifest` is what it stores of each handler. `versions` has the acts of people, and `probation`
//! goes back to the version before by itself.
//!
//! Not here: runs.

mod actions;
mod archive;
mod folder;
pub(crate) mod manifest;
mod prepare;
pub(crate) mod probation;
mod reconfigure;
mod refusal;
pub(crate) mod reload;
mod rename;
mod serving;
mod tracker;
pub(crate) mod versions;
pub(crate) mod watch;

use std::collections::BTreeMap;
use std::path::Path;

use weir_core::name::HandlerName;
use weir_engine::Version;
use weir_store::{Store, StoreError};

use folder::FileRead;
pub(crate) use folder::HandlerFiles;
use refusal::LoadRefusal;

use crate::config::{Config, Requested, effective_handler};
use crate::routing::Subscription;

/// The files of a handler, as the hub reads them, or why it would not.
pub(crate) fn read_handler_files(dir: &Path, name: &HandlerName) -> Result<HandlerFiles, String> {
    match folder::read(dir, name) {
        Ok(FileRead::Complete(files)) => Ok(files),
        Ok(FileRead::Problem(problem)) => Err(problem.to_string()),
        Ok(FileRead::SidecarNotText) => Err(LoadRefusal::SidecarNotText.to_string()),
        Ok(FileRead::Changed) => Err("there is no such file, or it is being written".into()),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

/// The bytes of a version's module, while it is kept.
pub(super) async fn kept_module(
    store: &dyn Store,
    version: Version,
) -> Result<Option<Vec<u8>>, StoreError> {
    archive::module(store, version).await
}

/// The subscriptions of the handlers that served when the process ended. They route events before
/// any of them is loaded.
pub(crate) async fn stored_subscriptions(
    store: &dyn Store,
    config: &Config,
) -> Result<BTreeMap<HandlerName, Subscription>, StoreError> {
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
        let configured = effective_handler::configured(&name, manifest.sidecar.as_deref(), config)
            .unwrap_or_else(|_| config.handlers.get(&name).cloned().unwrap_or_default());
        let requested = Requested { kind: manifest.kind, subscriptions: &requested };
        let patterns = effective_handler::subscriptions(&name, requested, &configured);
        let (condition, order_by) = (configured.when, configured.order_by);
        subscriptions.insert(name, Subscription { patterns, condition, order_by });
    }
    Ok(subscriptions)
}
