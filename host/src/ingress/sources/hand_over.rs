//! Secrets that a provider hands over in a handshake: accepted only while an operator has opened a
//! window for the source, once, never in place of another, and stored sealed.
//!
//! Anyone can send such a handshake. It is believed only because the operator is setting the
//! webhook up at this moment, so the window should be short. Where the operator has to give the
//! secret back to the provider, it is shown once, until the end of the window. It waits for that in
//! memory only.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use thiserror::Error;
use weir_core::name::SourceName;
use weir_core::time::{Clock, Timestamp};
use weir_core::verify::Secret;
use weir_store::registry::{CasOutcome, EntryKind};
use weir_store::{Store, StoreError};

use super::live_source::LiveSource;
use super::live_sources::LiveSources;
use crate::context::HubContext;
use crate::ingress::answer::refused::Refused;
use crate::ingress::connection::run_to_completion::RunToCompletion;
use crate::keys::Seal;
use crate::runtime::tasks::Tasks;

/// The prefix of the registry keys of such secrets; the source's name follows.
const REGISTRY_PREFIX: &str = "learned/";

/// An error that keeps a window from being opened.
#[derive(Debug, Clone, Error)]
pub enum OpenWindowError {
    #[error("there is no such source")]
    UnknownSource,
    #[error("the secrets of this source are configured; nothing is handed over")]
    Configured,
    #[error("the provider of this source hands no secret over")]
    NotHandedOver,
    #[error("a secret was handed over for this source already; forget it first")]
    Known,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The answer to an operator who waits for a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandOverStatus {
    /// No secret yet. The sender has until this time.
    Waiting(Timestamp),
    /// The secret. It is not shown again.
    Secret(Secret),
    /// The secret was shown already.
    Shown,
    /// No window was opened, or it has ended, or the secret need not be shown.
    Nothing,
}

/// The windows that operators opened, and the secrets that came through them.
#[derive(Debug)]
pub(crate) struct HandOver {
    windows: Arc<Windows>,
    sources: Arc<LiveSources>,
    store: Arc<dyn Store>,
    seal: Arc<Seal>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    /// Held while an entry and the secret in force are changed together.
    changing: Arc<tokio::sync::Mutex<()>>,
}

/// The windows that have not ended. They close with the process.
#[derive(Debug, Default)]
struct Windows(Mutex<BTreeMap<SourceName, HandOverWindow>>);

#[derive(Debug)]
struct HandOverWindow {
    until: Timestamp,
    state: WindowState,
}

#[derive(Debug)]
enum WindowState {
    Open,
    /// A secret came and is being stored.
    Storing,
    /// A secret is stored and need not be shown.
    Closed,
    ToBeShown(Secret),
    Shown,
}

impl Windows {
    fn open(&self, source: SourceName, until: Timestamp) {
        self.0.lock().insert(source, HandOverWindow { until, state: WindowState::Open });
    }

    /// Takes an open window for one secret. Its end, if it was open.
    fn take(&self, source: &str, now: Timestamp) -> Option<Timestamp> {
        let mut windows = self.current(now);
        let window = windows.get_mut(source).filter(|w| matches!(w.state, WindowState::Open))?;
        window.state = WindowState::Storing;
        Some(window.until)
    }

    /// Closes a window whose secret was stored, or could not be. Keeps the secret that is to be
    /// shown.
    fn finish(&self, source: &str, to_show: Option<&Secret>) {
        // A window that was closed meanwhile is not there any more.
        if let Some(window) = self.0.lock().get_mut(source) {
            let shown = to_show.cloned().map(WindowState::ToBeShown);
            window.state = shown.unwrap_or(WindowState::Closed);
        }
    }

    fn show(&self, source: &str, now: Timestamp) -> HandOverStatus {
        let mut windows = self.current(now);
        let Some(window) = windows.get_mut(source) else { return HandOverStatus::Nothing };
        match &window.state {
            WindowState::Open | WindowState::Storing => HandOverStatus::Waiting(window.until),
            WindowState::Closed => HandOverStatus::Nothing,
            WindowState::Shown => HandOverStatus::Shown,
            WindowState::ToBeShown(secret) => {
                let secret = secret.clone();
                window.state = WindowState::Shown;
                HandOverStatus::Secret(secret)
            }
        }
    }

    /// Forgets a window and its secret. False if there was neither.
    fn close(&self, source: &str, now: Timestamp) -> bool {
        let closed = self.current(now).remove(source);
        let is_open =
            |state: &WindowState| matches!(state, WindowState::Open | WindowState::ToBeShown(_));
        closed.is_some_and(|window| is_open(&window.state))
    }

    fn until(&self, source: &str, now: Timestamp) -> Option<Timestamp> {
        let windows = self.current(now);
        let open = windows.get(source).filter(|w| matches!(w.state, WindowState::Open));
        open.map(|window| window.until)
    }

    /// The windows after those that have ended were removed, with their secrets.
    fn current(&self, now: Timestamp) -> MutexGuard<'_, BTreeMap<SourceName, HandOverWindow>> {
        let mut windows = self.0.lock();
        windows.retain(|_, window| now < window.until);
        windows
    }
}

impl HandOver {
    pub(crate) fn new(sources: Arc<LiveSources>, ctx: &HubContext, seal: Arc<Seal>) -> Self {
        let HubContext { store, clock, tasks, .. } = ctx.clone();
        Self {
            windows: Arc::default(),
            sources,
            store,
            seal,
            clock,
            tasks,
            changing: Arc::default(),
        }
    }

    /// Opens a window: the next handshake of a source may hand its secret over. True if the
    /// operator has to be shown the secret.
    pub(crate) async fn open_window(
        &self,
        source: &str,
        until: Timestamp,
    ) -> Result<bool, OpenWindowError> {
        let source = self.sources.get(source).ok_or(OpenWindowError::UnknownSource)?;
        if !source.config.secrets.is_empty() {
            return Err(OpenWindowError::Configured);
        }
        if !source.config.provider.receives_secret() {
            return Err(OpenWindowError::NotHandedOver);
        }
        let key = format!("{REGISTRY_PREFIX}{}", source.name());
        if self.store.get(EntryKind::Secret, &key).await?.is_some() {
            return Err(OpenWindowError::Known);
        }
        self.windows.open(source.config.name.clone(), until);
        Ok(source.config.provider.shows_secret())
    }

    /// Closes a source's window and forgets the secret that it would show. False if it was not
    /// open.
    pub(crate) fn close_window(&self, source: &str) -> bool {
        self.windows.close(source, self.clock.now())
    }

    /// Shows the secret that came through a source's window, once.
    pub(crate) fn show_secret(&self, source: &str) -> HandOverStatus {
        self.windows.show(source, self.clock.now())
    }

    /// The end of a source's open window.
    pub(crate) fn window_until(&self, source: &str) -> Option<Timestamp> {
        self.windows.until(source, self.clock.now())
    }

    /// Forgets the secret that was handed over for a source. False if there is none.
    pub(crate) async fn forget_secret(&self, source: &SourceName) -> Result<bool, StoreError> {
        let key = format!("{REGISTRY_PREFIX}{source}");
        let _changing = self.changing.lock().await;
        let Some(entry) = self.store.get(EntryKind::Secret, &key).await? else { return Ok(false) };
        self.windows.close(source.as_str(), self.clock.now());
        let removed = self.store.cas(EntryKind::Secret, &key, Some(entry.version), None).await?;
        self.sources.set_handed_over([(source.clone(), None)]);
        Ok(matches!(removed, CasOutcome::Written { .. }))
    }

    /// Stores the secret of a handshake, if there is a window for it.
    pub(crate) async fn accept_secret(
        &self,
        source: &LiveSource,
        secret: &Secret,
        show_once: bool,
    ) -> Result<(), Refused> {
        let name = source.config.name.clone();
        let until = self.windows.take(name.as_str(), self.clock.now());
        let until = until.ok_or(Refused::HandshakeClosed)?;
        let key = format!("{REGISTRY_PREFIX}{name}");
        let sealed = self.seal.close(&key, secret.expose());
        let (store, sources) = (self.store.clone(), self.sources.clone());
        let (windows, secret) = (self.windows.clone(), secret.clone());
        let changing = self.changing.clone();
        // A secret that is stored must be in force too, even if the sender has gone by then.
        let stored = RunToCompletion::new(&self.tasks, async move {
            let _changing = changing.lock().await;
            match store.cas(EntryKind::Secret, &key, None, Some(sealed)).await {
                Ok(CasOutcome::Written { .. }) => {
                    sources.set_handed_over([(name.clone(), Some(secret.clone()))]);
                    windows.finish(name.as_str(), show_once.then_some(&secret));
                    tracing::info!(source = name.as_str(), "the sender handed its secret over");
                    Ok(())
                }
                Ok(CasOutcome::Conflict { .. }) => {
                    windows.finish(name.as_str(), None);
                    Err(Refused::HandshakeClosed)
                }
                Err(error) => {
                    // The sender will try again and needs the window then.
                    windows.open(name, until);
                    Err(Refused::Store(error))
                }
            }
        });
        stored.await
    }

    /// Loads the secrets again whenever their entries change: another hub may have received one.
    pub(crate) async fn follow_secrets(&self) {
        let mut changes = self.store.watch(EntryKind::Secret);
        while changes.changed().await.is_ok() {
            if let Err(error) = self.load_secrets().await {
                tracing::warn!(%error, "cannot read the secrets that were handed over");
            }
        }
    }

    /// Loads the secrets that were handed over, and drops those without an entry.
    pub(crate) async fn load_secrets(&self) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        let entries = self.store.list(EntryKind::Secret).await?;
        let secrets = entries.into_iter().filter_map(|(key, entry)| {
            let name = SourceName::configured(key.strip_prefix(REGISTRY_PREFIX)?).ok()?;
            let Some(secret) = entry.value.and_then(|sealed| self.seal.open(&key, &sealed)) else {
                let source = name.as_str();
                tracing::warn!(source, "the secret that was handed over cannot be read");
                return None;
            };
            Some((name, Some(Secret::new(secret))))
        });
        let mut secrets: BTreeMap<SourceName, Option<Secret>> = secrets.collect();
        for source in self.sources.all().iter() {
            secrets.entry(source.config.name.clone()).or_insert(None);
        }
        self.sources.set_handed_over(secrets);
        Ok(())
    }
}
