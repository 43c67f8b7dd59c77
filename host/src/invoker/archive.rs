//! The registry's side of versions: bytes by hash, and which version of each handler is current.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;
use weir_core::name::HandlerName;
use weir_engine::Version;
use weir_store::hold::{HoldScope, NewHold};
use weir_store::registry::{CasOutcome, EntryKind, RegistryEntry};
use weir_store::{Store, StoreError};

use super::manifest::{Manifest, ManifestError};

/// Tries to write an entry that others keep changing.
const CAS_TRIES: usize = 8;

/// The registry could not be read or written.
#[derive(Debug, Error)]
pub(crate) enum ArchiveError {
    /// The store failed. May pass.
    #[error("registry of handlers is not available")]
    Store(#[from] StoreError),
    /// What is stored is not what was written. Needs a person.
    #[error("registry entry of handler {handler} cannot be read")]
    Damaged {
        /// Whose.
        handler: HandlerName,
        /// How.
        #[source]
        cause: ManifestError,
    },
    /// Somebody else keeps writing it.
    #[error("registry entry {0} keeps changing")]
    Contended(String),
    /// Cannot be: a manifest is plain data.
    #[error("manifest cannot be written")]
    Encode(#[from] serde_json::Error),
}

/// Every handler that the registry knows. What cannot be read is left out and logged: one damaged entry must not
/// keep the others from serving.
pub(crate) async fn all(store: &dyn Store) -> Result<BTreeMap<HandlerName, Manifest>, StoreError> {
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
                tracing::error!(handler = %name, %error, "registry entry cannot be read, left out");
            }
            None => {}
        }
    }
    Ok(found)
}

/// What the registry knows of one handler.
pub(crate) async fn manifest(
    store: &dyn Store,
    name: &HandlerName,
) -> Result<Option<Manifest>, ArchiveError> {
    let entry = store.get(EntryKind::Handler, name.as_str()).await?;
    let damaged = |cause| ArchiveError::Damaged { handler: name.clone(), cause };
    entry.and_then(|e| e.value).map(|v| Manifest::decode(&v).map_err(damaged)).transpose()
}

/// The bytes of a version.
pub(crate) async fn module(
    store: &dyn Store,
    version: Version,
) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(store.get(EntryKind::Module, &version.to_hex()).await?.and_then(|entry| entry.value))
}

/// Keeps the bytes of a version.
pub(crate) async fn keep_module(
    store: &dyn Store,
    version: Version,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let key = version.to_hex();
    if store.get(EntryKind::Module, &key).await?.is_none() {
        // A conflict says that it has come there meanwhile.
        store.cas(EntryKind::Module, &key, None, Some(bytes.to_vec())).await?;
    }
    Ok(())
}

/// Writes what is current of a handler.
pub(crate) async fn keep_manifest(
    store: &dyn Store,
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

/// Removes the bytes of versions that no handler keeps.
pub(crate) async fn prune_modules(store: &dyn Store) -> Result<usize, StoreError> {
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

/// Holds the deliveries of a handler whose file is gone. Does nothing if they are held for that already.
pub(crate) async fn hold_missing(store: &dyn Store, name: &HandlerName) -> Result<(), StoreError> {
    let scope = HoldScope::Handler(name.clone());
    let held = store.holds().await?;
    if held.iter().any(|h| h.hold.scope == scope && h.hold.is_for_missing_target()) {
        return Ok(());
    }
    store.hold(NewHold::missing(scope)).await.map(|_| ())
}

/// Ends the holds that say a handler is missing; those of others stay.
pub(crate) async fn release_missing(
    store: &dyn Store,
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
