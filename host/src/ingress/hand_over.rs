//! Secrets that a provider hands over in a handshake: taken only while an operator has opened a window for the
//! source, once, never over another, and kept sealed.
//!
//! Anyone can send such a handshake. What makes one believable is that the operator is setting the webhook up at
//! this moment, so that the window should be short.
//!
//! Where the operator has to give the secret back to the provider, it can be seen once until the window's time is up.
//! It waits for that in memory only.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use thiserror::Error;
use weir_core::name::SourceName;
use weir_core::time::Timestamp;
use weir_core::verify::Secret;
use weir_store::StoreError;
use weir_store::registry::{CasOutcome, EntryKind};

use super::Ingress;
use super::refused::Refused;
use super::run_to_completion::RunToCompletion;
use super::way::LiveSource;

/// What the registry's keys of such secrets begin with; the source's name follows.
const HANDED_OVER_PREFIX: &str = "learned/";

/// Why no window is opened.
#[derive(Debug, Clone, Error)]
pub enum OpenWindowError {
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

/// What an operator who waits for a secret is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandOverStatus {
    /// Nothing yet: the sender has until then.
    Awaited(Timestamp),
    /// The secret. It is not shown again.
    Secret(Secret),
    /// Nothing any more: it was shown.
    Shown,
    /// Nothing: no window was opened, or its time is up, or what was handed over is nobody's to see.
    Nothing,
}

/// The windows that operators opened, until their time is up. They close with the process.
#[derive(Debug, Default)]
pub(super) struct HandOverWindows(Mutex<BTreeMap<SourceName, Window>>);

#[derive(Debug)]
struct Window {
    until: Timestamp,
    stage: WindowState,
}

#[derive(Debug)]
enum WindowState {
    Open,
    /// A secret came, and is being stored.
    Storing,
    /// It is, and there is nothing to show of it.
    Closed,
    ToBeShown(Secret),
    Shown,
}

impl HandOverWindows {
    fn open(&self, source: SourceName, until: Timestamp) {
        self.0.lock().insert(source, Window { until, stage: WindowState::Open });
    }

    /// Closes a window that is open for the one secret that comes through it; says until when it was.
    fn take(&self, source: &str, now: Timestamp) -> Option<Timestamp> {
        let mut windows = self.current(now);
        let window = windows.get_mut(source).filter(|w| matches!(w.stage, WindowState::Open))?;
        window.stage = WindowState::Storing;
        Some(window.until)
    }

    /// What came through a window is stored, or never will be; keeps it for whoever opened that, if it is to be shown.
    fn stored(&self, source: &str, to_show: Option<&Secret>) {
        // None of that name: it was closed meanwhile, and nobody asks for it any more.
        if let Some(window) = self.0.lock().get_mut(source) {
            let shown = to_show.cloned().map(WindowState::ToBeShown);
            window.stage = shown.unwrap_or(WindowState::Closed);
        }
    }

    fn show(&self, source: &str, now: Timestamp) -> HandOverStatus {
        let mut windows = self.current(now);
        let Some(window) = windows.get_mut(source) else { return HandOverStatus::Nothing };
        match &window.stage {
            WindowState::Open | WindowState::Storing => HandOverStatus::Awaited(window.until),
            WindowState::Closed => HandOverStatus::Nothing,
            WindowState::Shown => HandOverStatus::Shown,
            WindowState::ToBeShown(secret) => {
                let secret = secret.clone();
                window.stage = WindowState::Shown;
                HandOverStatus::Secret(secret)
            }
        }
    }

    /// Forgets a window and what there was to show. Says whether that was anything.
    fn close(&self, source: &str, now: Timestamp) -> bool {
        let closed = self.current(now).remove(source);
        closed.is_some_and(|window| {
            matches!(window.stage, WindowState::Open | WindowState::ToBeShown(_))
        })
    }

    fn until(&self, source: &str, now: Timestamp) -> Option<Timestamp> {
        let windows = self.current(now);
        windows
            .get(source)
            .filter(|w| matches!(w.stage, WindowState::Open))
            .map(|window| window.until)
    }

    /// Those whose time is not up; the others go, with what they had to show.
    fn current(&self, now: Timestamp) -> MutexGuard<'_, BTreeMap<SourceName, Window>> {
        let mut windows = self.0.lock();
        windows.retain(|_, window| now < window.until);
        windows
    }
}

impl Ingress {
    /// Lets the next handshake hand over a source's secret, until a time. Says whether the operator has to be shown it,
    /// see [`Self::show_secret`].
    pub async fn open_window(
        &self,
        source: &str,
        until: Timestamp,
    ) -> Result<bool, OpenWindowError> {
        let way = self.live_sources.get(source).ok_or(OpenWindowError::UnknownSource)?;
        if !way.source.secrets.is_empty() {
            return Err(OpenWindowError::Configured);
        }
        if !way.source.provider.receives_secret() {
            return Err(OpenWindowError::NotHandedOver);
        }
        let key = format!("{HANDED_OVER_PREFIX}{source}");
        if self.store.get(EntryKind::Secret, &key).await?.is_some() {
            return Err(OpenWindowError::Known);
        }
        self.windows.open(way.source.name.clone(), until);
        Ok(way.source.provider.shows_secret())
    }

    /// Closes a source's window, and shows nothing of it any more. False if it was not open.
    pub fn close_window(&self, source: &str) -> bool {
        self.windows.close(source, self.clock.now())
    }

    /// What was handed over through a source's window, if the operator has to give it back to the provider; once.
    #[must_use]
    pub fn show_secret(&self, source: &str) -> HandOverStatus {
        self.windows.show(source, self.clock.now())
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
        let key = format!("{HANDED_OVER_PREFIX}{source}");
        let Some(entry) = self.store.get(EntryKind::Secret, &key).await? else { return Ok(false) };
        self.windows.close(source.as_str(), self.clock.now());
        let removed = self.store.cas(EntryKind::Secret, &key, Some(entry.version), None).await?;
        self.live_sources.set_handed_over([(source.clone(), None)]);
        Ok(matches!(removed, CasOutcome::Written { .. }))
    }

    /// Keeps what a handshake hands over, if there is a window for it.
    pub(super) async fn accept_secret(
        &self,
        way: &LiveSource,
        secret: &Secret,
        show_once: bool,
    ) -> Result<(), Refused> {
        let name = way.source.name.clone();
        let until = self.windows.take(name.as_str(), self.clock.now());
        let until = until.ok_or(Refused::HandshakeClosed)?;
        let key = format!("{HANDED_OVER_PREFIX}{name}");
        let sealed = self.seal.close(&key, secret.expose());
        let (store, live_sources) = (Arc::clone(&self.store), Arc::clone(&self.live_sources));
        let (windows, secret) = (Arc::clone(&self.windows), secret.clone());
        // What the store has been asked for is to be in force too, also if the sender has gone by then.
        let kept = RunToCompletion::new(async move {
            match store.cas(EntryKind::Secret, &key, None, Some(sealed)).await {
                Ok(CasOutcome::Written { .. }) => {
                    live_sources.set_handed_over([(name.clone(), Some(secret.clone()))]);
                    windows.stored(name.as_str(), show_once.then_some(&secret));
                    tracing::info!(source = name.as_str(), "the sender handed its secret over");
                    Ok(())
                }
                Ok(CasOutcome::Conflict { .. }) => {
                    windows.stored(name.as_str(), None);
                    Err(Refused::HandshakeClosed)
                }
                Err(error) => {
                    // The sender will try again, and should be let in then.
                    windows.open(name, until);
                    Err(Refused::Store(error))
                }
            }
        });
        kept.await
    }

    /// Takes up what was handed over before this process began.
    pub(super) async fn load_handed_over(&self) -> Result<(), StoreError> {
        let entries = self.store.list(EntryKind::Secret).await?;
        let learned = entries.into_iter().filter_map(|(key, entry)| {
            let name = SourceName::configured(key.strip_prefix(HANDED_OVER_PREFIX)?).ok()?;
            let Some(secret) = entry.value.and_then(|sealed| self.seal.open(&key, &sealed)) else {
                let source = name.as_str();
                tracing::warn!(source, "the secret that was handed over cannot be read any more");
                return None;
            };
            Some((name, Some(Secret::new(secret))))
        });
        self.live_sources.set_handed_over(learned.collect::<Vec<_>>());
        Ok(())
    }
}
