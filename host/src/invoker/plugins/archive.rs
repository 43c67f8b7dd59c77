//! Handlers in the registry: the bytes of versions by hash, and the manifest of each handler.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;
use weir_core::name::HandlerName;
use weir_engine::Version;
use weir_store::hold::{HoldScope, NewHold};
use weir_store::registry::{CasOutcome, EntryKind, RegistryEntry};
use weir_store::{Operations, Registry, StoreError};

use super::manifest::{Manifest, ManifestError};

/// Tries to write an entry that another process writes too.
const CAS_TRIES: usize = 8;

/// A failed read or write of the registry.
#[derive(Debug, Error)]
pub(crate) enum ArchiveError {
    /// May pass.
    #[error("registry of handlers is not available")]
    Store(#[from] StoreError),
    /// Lasts until the operator repairs the entry.
    #[error("registry entry of handler {handler} cannot be read")]
    Damaged {
        handler: HandlerName,
        #[source]
        cause: ManifestError,
    },
    #[error("another process keeps writing registry entry {0}")]
    Contended(String),
    /// Cannot happen: a manifest is plain data.
    #[error("manifest cannot be written")]
    Encode(#[from] serde_json::Error),
}

impl ArchiveError {
    /// The failure of the store, if that is the cause.
    pub(crate) fn into_store_error(self) -> Option<StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::Damaged { .. } | Self::Contended(_) | Self::Encode(_) => None,
        }
    }
}

/// The manifests of all handlers. One that cannot be read is logged and left out, so that the
/// others serve.
pub(crate) async fn all(
    store: &dyn Registry,
) -> Result<BTreeMap<HandlerName, Manifest>, StoreError> {
    let mut found = BTreeMap::new();
    for (key, entry) in store.list(EntryKind::Handler).await? {
        let Ok(name) = HandlerName::new(&key) else { continue };
        // Lists leave large values out.
        let value = match entry.value {
            Some(value) => Some(value),
            None => store.get(EntryKind::Handler, &key).await?.and_then(|entry| entry.value),
        };
        match value.as_deref().map(Manifest::decode) {
            Some(Ok(manifest)) => {
                found.insert(name, manifest);
            }
            Some(Err(error)) => {
                tracing::error!(handler = %name, %error, "cannot read registry entry, ignoring it");
            }
            None => {}
        }
    }
    Ok(found)
}

/// The manifest of one handler.
pub(crate) async fn manifest(
    store: &dyn Registry,
    name: &HandlerName,
) -> Result<Option<Manifest>, ArchiveError> {
    let entry = store.get(EntryKind::Handler, name.as_str()).await?;
    let damaged = |cause| ArchiveError::Damaged { handler: name.clone(), cause };
    entry.and_then(|e| e.value).map(|v| Manifest::decode(&v).map_err(damaged)).transpose()
}

/// The bytes of a version's module.
pub(crate) async fn module(
    store: &dyn Registry,
    version: Version,
) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(store.get(EntryKind::Module, &version.to_hex()).await?.and_then(|entry| entry.value))
}

/// Stores the bytes of a version's module, if they are not stored already.
pub(crate) async fn keep_module(
    store: &dyn Registry,
    version: Version,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let key = version.to_hex();
    if store.get(EntryKind::Module, &key).await?.is_none() {
        // On a conflict, another process has stored them since.
        store.cas(EntryKind::Module, &key, None, Some(bytes.to_vec())).await?;
    }
    Ok(())
}

/// Stores the manifest of a handler.
pub(crate) async fn keep_manifest(
    store: &dyn Registry,
    name: &HandlerName,
    manifest: &Manifest,
) -> Result<(), ArchiveError> {
    let value = manifest.encode()?;
    let mut expected = store
        .get(EntryKind::Handler, name.as_str())
        .await?
        .map(|RegistryEntry { version, .. }| version);
    for _ in 0..CAS_TRIES {
        let written =
            store.cas(EntryKind::Handler, name.as_str(), expected, Some(value.clone())).await?;
        match written {
            CasOutcome::Written { .. } => return Ok(()),
            CasOutcome::Conflict { found } => expected = found,
        }
    }
    Err(ArchiveError::Contended(name.to_string()))
}

/// Removes the bytes of versions that no manifest keeps.
pub(crate) async fn prune_modules(store: &dyn Registry) -> Result<usize, StoreError> {
    let known = all(store).await?;
    let kept: BTreeSet<&str> = known
        .values()
        .flat_map(|m| m.kept.iter().chain([&m.version]))
        .map(String::as_str)
        .collect();
    let mut removed = 0;
    for (key, entry) in store.list(EntryKind::Module).await? {
        if !kept.contains(key.as_str()) {
            store.cas(EntryKind::Module, &key, Some(entry.version), None).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Holds the deliveries of a handler whose file is gone, if they are not on hold for that already.
pub(crate) async fn hold_missing(
    store: &dyn Operations,
    name: &HandlerName,
) -> Result<(), StoreError> {
    let scope = HoldScope::Handler(name.clone());
    let held = store.holds().await?;
    if held.iter().any(|h| h.hold.scope == scope && h.hold.is_for_missing_target()) {
        return Ok(());
    }
    store.hold(NewHold::missing(scope)).await.map(|_| ())
}

/// Releases the holds of a handler that is back. Holds for other reasons stay.
pub(crate) async fn release_missing(
    store: &dyn Operations,
    name: &HandlerName,
) -> Result<(), StoreError> {
    let scope = HoldScope::Handler(name.clone());
    for held in store.holds().await? {
        if held.hold.scope == scope && held.hold.is_for_missing_target() {
            store.release(held.id).await?;
        }
    }
    Ok(())
}
