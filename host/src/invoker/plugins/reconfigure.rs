//! Puts the settings of a changed configuration into force: every handler in service gets its own,
//! without being loaded again.
//!
//! Not here: changed sidecars, which are files of the plugins folder (`reload`).

use std::sync::Arc;

use tokio::sync::Semaphore;
use weir_core::error::chain;
use weir_core::name::HandlerName;

use super::archive;
use super::manifest::VersionAct;
use super::refusal::LoadFailure;
use super::reload::Reloader;
use super::serving::Change;
use crate::config::Config;
use crate::delivery::breakers::HUB;
use crate::invoker::handlers::runtime::ServingVersion;

impl Reloader {
    /// Uses the handlers' settings of this configuration from now on. A handler with which they do
    /// not go keeps those that it has, which is logged.
    pub(crate) async fn reconfigure(&self, config: Arc<Config>) {
        self.preparer.set_config(config);
        let names: Vec<HandlerName> = self.live.current().keys().cloned().collect();
        for name in names {
            if let Err(error) = self.reconfigure_one(&name).await {
                let reason = chain(&error);
                tracing::error!(
                    handler = %name, reason, "settings of the handler are unchanged, because those \
                    of the configuration do not go with its sidecar"
                );
            }
        }
    }

    async fn reconfigure_one(&self, name: &HandlerName) -> Result<(), LoadFailure> {
        let _registry = self.registry.lock().await;
        let Some(before) = self.live.version(name) else { return Ok(()) };
        let ServingVersion { module, description, sidecar, .. } = &*before;
        let settings = self.preparer.settings(name, module, description, sidecar.as_deref());
        let settings = settings
            .map_err(|refusal| LoadFailure::Refused { content: before.version(), refusal })?;
        if settings == before.settings {
            return Ok(());
        }
        let permits = match settings.concurrency == before.settings.concurrency {
            true => before.permits.clone(),
            false => Arc::new(Semaphore::new(settings.concurrency)),
        };
        let version = ServingVersion { settings, permits, ..ServingVersion::clone(&before) };
        let version = self.on_probation(name, Some(&before), version);
        let known = archive::manifest(&*self.ctx.store, name).await?;
        let chosen = known.as_ref().is_some_and(|known| known.chosen);
        let act = VersionAct::Configured;
        let change = Change { act, by: HUB, reason: None, file: None, chosen };
        self.serve(name, version, known, &change).await
    }
}
