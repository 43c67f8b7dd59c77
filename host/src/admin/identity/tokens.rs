//! Named tokens: made, listed, revoked, and found by their digest. They are in the store's registry
//! and, once read, in memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::OnceCell;
use weir_core::time::{Timestamp, millis};
use weir_store::registry::{CasOutcome, EntryKind};
use weir_store::{Store, StoreError};

use super::{IdentityError, SecretDigest, digest, random_hex};
use crate::api::{CreatedToken, Role, TokenView};
use crate::runtime::tasks::{OnFailure, Tasks};

/// Most named tokens.
const TOKENS_MAX: usize = 100;
/// The beginning of every named token, by which people and scanners recognise one.
const PREFIX: &str = "weir_tok_";
/// The time of the last use is stored at most this often.
const USE_STORED_EVERY: Duration = Duration::from_secs(60);

/// A change of the tokens that was not made.
#[derive(Debug, Error)]
pub(in crate::admin) enum TokenStoreError {
    #[error("there is a token `{0}` already; revoke it first, or choose another name")]
    NameTaken(String),
    #[error("there are {TOKENS_MAX} tokens already; revoke some first")]
    TooMany,
    #[error("there is no token `{0}`; `weir tokens list` lists them")]
    Unknown(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A token as it is stored, under its name.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredToken {
    /// SHA-256 of the token, in hex.
    digest: String,
    role: Role,
    created_at: Timestamp,
    created_by: String,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
}

/// A token in memory.
#[derive(Debug)]
struct NamedToken {
    name: Arc<str>,
    stored: StoredToken,
    /// Milliseconds since 1970; 0 for never.
    used: AtomicU64,
    /// The part of it that is in the store.
    used_stored: AtomicU64,
}

/// The tokens, by digest.
type TokenTable = RwLock<HashMap<SecretDigest, Arc<NamedToken>>>;

/// The named tokens of a hub.
#[derive(Debug)]
pub(in crate::admin) struct NamedTokens {
    store: Arc<dyn Store>,
    tasks: Tasks,
    table: OnceCell<TokenTable>,
    /// One change at a time, so that the limit holds.
    changes: tokio::sync::Mutex<()>,
}

impl NamedTokens {
    pub(super) fn new(store: Arc<dyn Store>, tasks: Tasks) -> Self {
        Self { store, tasks, table: OnceCell::new(), changes: tokio::sync::Mutex::default() }
    }

    /// The name and role of the holder of a token, which is used now.
    pub(super) async fn holder(
        &self,
        digest: &SecretDigest,
        now: Timestamp,
    ) -> Result<(Arc<str>, Role), IdentityError> {
        let found = self.table().await?.read().get(digest).cloned();
        let token = found.ok_or(IdentityError::TokenMismatch)?;
        if token.stored.expires_at.is_some_and(|end| end <= now) {
            return Err(IdentityError::TokenExpired { name: token.name.clone() });
        }
        self.note_use(&token, now);
        Ok((token.name.clone(), token.stored.role))
    }

    /// True for a token that is known and has not expired. A store that cannot be read revokes
    /// nothing.
    pub(super) async fn is_valid(&self, digest: &SecretDigest, now: Timestamp) -> bool {
        let Ok(table) = self.table().await else { return true };
        let found = table.read().get(digest).cloned();
        found.is_some_and(|token| token.stored.expires_at.is_none_or(|end| end > now))
    }

    /// Every token, by name.
    pub(in crate::admin) async fn list(&self) -> Result<Vec<TokenView>, StoreError> {
        let mut tokens: Vec<_> = self.table().await?.read().values().map(|t| t.view()).collect();
        tokens.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tokens)
    }

    /// Makes a token.
    pub(in crate::admin) async fn create(
        &self,
        name: &str,
        role: Role,
        expires_at: Option<Timestamp>,
        by: &str,
        now: Timestamp,
    ) -> Result<CreatedToken, TokenStoreError> {
        let _one_at_a_time = self.changes.lock().await;
        let table = self.table().await?;
        if table.read().len() >= TOKENS_MAX {
            return Err(TokenStoreError::TooMany);
        }
        let token = format!("{PREFIX}{}", random_hex());
        let key = digest(token.as_bytes());
        let stored = StoredToken {
            digest: hex::encode(key),
            role,
            created_at: now,
            created_by: by.to_owned(),
            expires_at,
            last_used_at: None,
        };
        let written = self.store.cas(EntryKind::Token, name, None, Some(json(&stored))).await?;
        if let CasOutcome::Conflict { .. } = written {
            return Err(TokenStoreError::NameTaken(name.to_owned()));
        }
        let entry = Arc::new(NamedToken::new(name, stored));
        let details = entry.view();
        table.write().insert(key, entry);
        Ok(CreatedToken { token, details })
    }

    /// Revokes a token: it is refused from now on.
    pub(in crate::admin) async fn revoke(&self, name: &str) -> Result<TokenView, TokenStoreError> {
        let _one_at_a_time = self.changes.lock().await;
        let table = self.table().await?;
        let found = table.read().iter().find(|(_, t)| &*t.name == name).map(|(key, _)| *key);
        let unknown = || TokenStoreError::Unknown(name.to_owned());
        let key = found.ok_or_else(unknown)?;
        // The time of use may be stored at the same moment, so the version is asked for again.
        while let Some(entry) = self.store.get(EntryKind::Token, name).await? {
            let removed = self.store.cas(EntryKind::Token, name, Some(entry.version), None).await?;
            if let CasOutcome::Written { .. } = removed {
                break;
            }
        }
        table.write().remove(&key).map(|token| token.view()).ok_or_else(unknown)
    }

    async fn table(&self) -> Result<&TokenTable, StoreError> {
        self.table.get_or_try_init(|| self.load()).await
    }

    async fn load(&self) -> Result<TokenTable, StoreError> {
        let mut table = HashMap::new();
        for (name, entry) in self.store.list(EntryKind::Token).await? {
            let stored = entry.value.and_then(|value| serde_json::from_slice(&value).ok());
            let token = stored.map(|stored: StoredToken| NamedToken::new(&name, stored));
            match token.and_then(|token| Some((token.key()?, token))) {
                Some((key, token)) => drop(table.insert(key, Arc::new(token))),
                None => tracing::error!(%name, "a stored token cannot be read; it is refused"),
            }
        }
        Ok(RwLock::new(table))
    }

    /// Notes a use, and stores its time in the background if the stored one is old.
    fn note_use(&self, token: &Arc<NamedToken>, now: Timestamp) {
        let now_ms = now.as_millis();
        token.used.fetch_max(now_ms, Ordering::Relaxed);
        let stored = token.used_stored.load(Ordering::Relaxed);
        if now_ms < stored.saturating_add(millis(USE_STORED_EVERY)) {
            return;
        }
        let order = Ordering::Relaxed;
        if token.used_stored.compare_exchange(stored, now_ms, order, order).is_ok() {
            let (store, token) = (self.store.clone(), token.clone());
            self.tasks.spawn("token use", OnFailure::Log, async move {
                if let Err(error) = store_use(&*store, &token, now).await {
                    tracing::debug!(%error, name = %token.name, "use of a token is not stored");
                }
            });
        }
    }
}

/// Stores the time of use, unless the token was revoked.
async fn store_use(
    store: &dyn Store,
    token: &NamedToken,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(entry) = store.get(EntryKind::Token, &token.name).await? else { return Ok(()) };
    let value = StoredToken { last_used_at: Some(now), ..token.stored.clone() };
    store.cas(EntryKind::Token, &token.name, Some(entry.version), Some(json(&value))).await?;
    Ok(())
}

fn json(token: &StoredToken) -> Vec<u8> {
    // Plain data always serializes.
    serde_json::to_vec(token).unwrap_or_default()
}

impl NamedToken {
    fn new(name: &str, stored: StoredToken) -> Self {
        let used = stored.last_used_at.map_or(0, Timestamp::as_millis);
        Self { name: name.into(), used: used.into(), used_stored: used.into(), stored }
    }

    fn key(&self) -> Option<SecretDigest> {
        hex::decode(&self.stored.digest).ok()?.try_into().ok()
    }

    fn view(&self) -> TokenView {
        let used = self.used.load(Ordering::Relaxed);
        TokenView {
            name: self.name.to_string(),
            role: self.stored.role,
            created_at: self.stored.created_at,
            created_by: self.stored.created_by.clone(),
            expires_at: self.stored.expires_at,
            last_used_at: (used > 0).then(|| Timestamp::from_millis(used)),
        }
    }
}
