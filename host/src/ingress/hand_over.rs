//! Secrets that a provider hands over in a handshake: taken only while an operator has opened a window for the
//! source, once, never over another, and kept sealed.
//!
//! Anyone can send such a handshake. What makes one believable is that the operator is setting the webhook up at
//! this moment, so that the window should be short.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use thiserror::Error;
use weir_core::name::SourceName;
use weir_core::time::Timestamp;
use weir_core::verify::Secret;
use weir_store::StoreError;
use weir_store::registry::{CasOutcome, Kind};

use super::Ingress;
use super::refused::Refused;
use super::way::Way;

/// What the registry's keys of such secrets begin with; the source's name follows.
const LEARNED: &str = "learned/";

/// Why no window is opened.
#[derive(Debug, Clone, Error)]
pub enum WindowRefused {
    /// No source of that name.
    #[error("there is no such source")]
    UnknownSource,
    /// Its secrets are configured.
    #[error("the secrets of this source are configured; nothing is handed over")]
    Configured,
    /// Its provider has no such handshake.
    #[error("the provider of this source hands no secret over")]
    NotHandedOver,
    /// It has one.
    #[error("a secret was handed over for this source already; forget it first")]
    Known,
    /// It cannot be told.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The windows that are open, each until when. They close with the process.
#[derive(Debug, Default)]
pub(super) struct Windows(Mutex<BTreeMap<SourceName, Timestamp>>);

impl Windows {
    fn open(&self, source: SourceName, until: Timestamp) {
        self.0.lock().insert(source, until);
    }

    /// Closes a window, and says whether it was open.
    fn close(&self, source: &str, now: Timestamp) -> Option<Timestamp> {
        self.0.lock().remove(source).filter(|until| now < *until)
    }

    fn until(&self, source: &str, now: Timestamp) -> Option<Timestamp> {
        self.0.lock().get(source).copied().filter(|until| now < *until)
    }
}

impl Ingress {
    /// Lets the next handshake hand over a source's secret, until a time.
    pub async fn open_window(&self, source: &str, until: Timestamp) -> Result<(), WindowRefused> {
        let way = self.ways.get(source).ok_or(WindowRefused::UnknownSource)?;
        if !way.source.secrets.is_empty() {
            return Err(WindowRefused::Configured);
        }
        if !way.source.provider.learns_secret() {
            return Err(WindowRefused::NotHandedOver);
        }
        let key = format!("{LEARNED}{source}");
        if self.store.get(Kind::Secret, &key).await?.is_some() {
            return Err(WindowRefused::Known);
        }
        self.windows.open(way.source.name.clone(), until);
        Ok(())
    }

    /// Closes a source's window. False if it was not open.
    pub fn close_window(&self, source: &str) -> bool {
        self.windows.close(source, self.clock.now()).is_some()
    }

    /// Until when a source's window is open.
    pub(super) fn window(&self, source: &str) -> Option<Timestamp> {
        self.windows.until(source, self.clock.now())
    }

    /// Forgets the secret that was handed over for a source. False if there is none.
    ///
    /// # Errors
    /// If the store fails; then it is kept.
    pub async fn forget_secret(&self, source: &SourceName) -> Result<bool, StoreError> {
        let key = format!("{LEARNED}{source}");
        let Some(entry) = self.store.get(Kind::Secret, &key).await? else { return Ok(false) };
        let removed = self.store.cas(Kind::Secret, &key, Some(entry.version), None).await?;
        self.ways.learn([(source.clone(), None)]);
        Ok(matches!(removed, CasOutcome::Written { .. }))
    }

    /// Keeps what a handshake hands over, if there is a window for it.
    pub(super) async fn take_secret(&self, way: &Way, secret: &Secret) -> Result<(), Refused> {
        let name = &way.source.name;
        let now = self.clock.now();
        let until = self.windows.close(name.as_str(), now).ok_or(Refused::HandshakeClosed)?;
        let key = format!("{LEARNED}{name}");
        let sealed = self.seal.close(&key, secret.expose());
        match self.store.cas(Kind::Secret, &key, None, Some(sealed)).await {
            Ok(CasOutcome::Written { .. }) => {
                self.ways.learn([(name.clone(), Some(secret.clone()))]);
                tracing::info!(source = name.as_str(), "the sender handed its secret over");
                Ok(())
            }
            Ok(CasOutcome::Conflict { .. }) => Err(Refused::HandshakeClosed),
            Err(error) => {
                // The sender will try again, and should be let in then.
                self.windows.open(name.clone(), until);
                Err(Refused::Store(error))
            }
        }
    }

    /// Takes up what was handed over before this process began.
    pub(super) async fn recall_secrets(&self) -> Result<(), StoreError> {
        let entries = self.store.list(Kind::Secret).await?;
        let learned = entries.into_iter().filter_map(|(key, entry)| {
            let name = SourceName::configured(key.strip_prefix(LEARNED)?).ok()?;
            let Some(secret) = entry.value.and_then(|sealed| self.seal.open(&key, &sealed)) else {
                let source = name.as_str();
                tracing::warn!(source, "the secret that was handed over cannot be read any more");
                return None;
            };
            Some((name, Some(Secret::new(secret))))
        });
        self.ways.learn(learned.collect::<Vec<_>>());
        Ok(())
    }
}
