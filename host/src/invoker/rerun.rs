//! Repeats past runs: the same module, event, clock, seed and recorded reads. Carries nothing out,
//! and writes nothing.
//!
//! The settings are those in force now: grants, limits and `[config]` are not kept with attempts.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use weir_core::delivery::Fence;
use weir_core::id::DeliveryId;
use weir_core::name::HandlerName;
use weir_core::time::Timestamp;
use weir_engine::{Engine, LoadError, Module, Run, RunReport, Version};
use weir_store::query::{AttemptInput, RecordedReads};
use weir_store::{Store, StoreError};

use super::handlers::table::LiveHandlers;
use super::plugins;
use super::running::recorded_reads::{ReadsRecord, RecordedReader};
use crate::delivery::seed;

/// A past run to repeat.
pub(crate) struct PastRun {
    pub(crate) handler: HandlerName,
    pub(crate) version: Version,
    pub(crate) delivery: DeliveryId,
    pub(crate) fence: Fence,
    /// The frozen time of the run.
    pub(crate) started_at: Timestamp,
    pub(crate) input: AttemptInput,
}

/// A finished repetition.
#[derive(Debug)]
pub(crate) struct Repeated {
    pub(crate) report: RunReport,
    /// The reads and writes of the past run; none if it read nothing.
    pub(crate) record: Option<ReadsRecord>,
}

/// The reason that a run cannot be repeated.
#[derive(Debug, Error)]
pub(crate) enum NotRerunnable {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "not rerunnable: what it read of its state had {0} bytes, and at most 64 KiB are kept with \
         an attempt"
    )]
    ReadsTooLarge(u64),
    #[error(
        "not rerunnable: its reads of state are not recorded; the attempt is older than such \
         records, or retention removed them"
    )]
    ReadsUnknown,
    #[error(
        "not rerunnable: the module of version {0} is no longer kept; the last five versions of a \
         handler are"
    )]
    VersionGone(Version),
    #[error(
        "not rerunnable: the handler is not in service, so that its grants and settings are not \
         known"
    )]
    NotInService,
    #[error("not rerunnable: its version does not load any more")]
    Load(#[from] LoadError),
    #[error("the run ended without a report; this is a fault of the hub")]
    Lost,
}

/// Repeats runs, one at a time.
pub(crate) struct Reruns {
    pub(super) engine: Engine,
    pub(super) guests: Handle,
    pub(super) live: Arc<LiveHandlers>,
    pub(super) one: Semaphore,
}

impl fmt::Debug for Reruns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reruns").finish_non_exhaustive()
    }
}

impl Reruns {
    /// Repeats a run in a slot of the engine.
    pub(crate) async fn repeat(
        &self,
        store: &dyn Store,
        past: PastRun,
    ) -> Result<Repeated, NotRerunnable> {
        let PastRun { handler, version, delivery, fence, started_at, input } = past;
        let record = match &input.reads {
            RecordedReads::None => None,
            RecordedReads::Kept(text) => {
                Some(ReadsRecord::decode(text).map_err(|_| NotRerunnable::ReadsUnknown)?)
            }
            RecordedReads::TooLarge(bytes) => return Err(NotRerunnable::ReadsTooLarge(*bytes)),
            RecordedReads::Unknown => return Err(NotRerunnable::ReadsUnknown),
        };
        // The semaphore is never closed.
        let _one = self.one.acquire().await.ok();
        let serving = self.live.version(&handler).ok_or(NotRerunnable::NotInService)?;
        let module = match serving.version() == version {
            true => serving.module.clone(),
            false => self.load(store, version).await?,
        };
        let settings = &serving.settings;
        let run = Run {
            event: input.event,
            handler,
            config: settings.config.clone(),
            grants: settings.grants.clone(),
            limits: settings.limits,
            attempt: fence.attempt,
            id_round: input.id_round,
            now: started_at,
            seed: seed::of(delivery, fence),
            command: settings.command.clone(),
            state: Arc::new(RecordedReader::of(record.as_ref().unwrap_or(&ReadsRecord::default()))),
        };
        let running = self.guests.spawn(async move { module.run(run).await });
        let report = running.await.map_err(|_| NotRerunnable::Lost)?;
        Ok(Repeated { report, record })
    }

    async fn load(&self, store: &dyn Store, version: Version) -> Result<Module, NotRerunnable> {
        let bytes = plugins::kept_module(store, version).await?;
        let bytes = bytes.ok_or(NotRerunnable::VersionGone(version))?;
        let engine = self.engine.clone();
        let loading = self.guests.spawn_blocking(move || engine.load(&bytes));
        Ok(loading.await.map_err(|_| NotRerunnable::Lost)??)
    }
}
