//! Keeps probations in line with the registry: saves strikes, and ends a probation when it is
//! decided. Not here: the decision, which is in `weir_core::probation`.

use std::time::Duration;

use thiserror::Error;
use tokio::time::sleep;
use weir_core::error::chain;
use weir_core::name::HandlerName;
use weir_core::probation::ProbationVerdict;

use super::archive::{self, ArchiveError};
use super::manifest::{StoredProbation, VersionAct};
use super::refusal::LoadFailure;
use super::reload::Reloader;
use super::serving::Change;
use crate::delivery::breakers::HUB;
use crate::invoker::handlers::runtime::ServingVersion;
use crate::invoker::handlers::trial::Trial;
use crate::observe::notice::{self, Notice};

/// The longest time between two looks: counts are saved, and time ends probations.
const LOOK: Duration = Duration::from_secs(60);
/// The pause after the registry could not be written.
const FAILED_PAUSE: Duration = Duration::from_secs(1);
/// The shortest pause.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// The registry could not be brought in line with a probation.
#[derive(Debug, Error)]
enum SyncError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Load(#[from] LoadFailure),
}

/// Saves and ends probations, without end.
pub(crate) async fn run(reloader: &Reloader) {
    loop {
        let next = reloader.sync_probations().await;
        tokio::select! {
            () = reloader.probation_changed.notified() => {}
            () = sleep(next.max(PAUSE_MIN)) => {}
        }
    }
}

impl Reloader {
    /// Brings the registry in line with every probation. Returns the time until the next look.
    async fn sync_probations(&self) -> Duration {
        let mut next = LOOK;
        for (name, handler) in self.live.current().iter() {
            let Some(trial) = &handler.version.trial else { continue };
            let synced = match trial.verdict(self.ctx.clock.now()) {
                ProbationVerdict::GoesOn => self.save_course(name, trial).await,
                ProbationVerdict::Passed => self.pass(name, trial).await,
                ProbationVerdict::Failed => self.restore_old(name, trial).await,
            };
            let now = self.ctx.clock.now();
            next = next.min(trial.course().ends_at(&trial.policy).since(now));
            if let Err(error) = synced {
                let reason = chain(&error);
                tracing::warn!(handler = %name, reason, "cannot save a probation, trying again");
                next = FAILED_PAUSE;
            }
        }
        next
    }

    /// Saves the course of a probation, if it has changed.
    async fn save_course(&self, name: &HandlerName, trial: &Trial) -> Result<(), SyncError> {
        let _registry = self.registry.lock().await;
        let Some(mut manifest) = archive::manifest(&*self.ctx.store, name).await? else {
            return Ok(());
        };
        let (old, course) = (trial.old.version().to_hex(), trial.course());
        let probation = Some(StoredProbation { old, course });
        if manifest.probation.is_none() || manifest.probation == probation {
            return Ok(());
        }
        manifest.probation = probation;
        self.keep(name, &mut manifest).await?;
        tracing::info!(handler = %name, strikes = trial.course().strikes.len(), "probation saved");
        Ok(())
    }

    /// Ends a probation well: the version serves alone.
    async fn pass(&self, name: &HandlerName, trial: &Trial) -> Result<(), SyncError> {
        let _registry = self.registry.lock().await;
        let Some(version) = self.live.version(name).filter(|version| is_on(version, trial)) else {
            return Ok(());
        };
        let known = archive::manifest(&*self.ctx.store, name).await?;
        if let Some(mut manifest) = known {
            let old = trial.old.version().to_hex();
            let change = Change {
                act: VersionAct::Passed,
                by: HUB,
                reason: None,
                file: None,
                chosen: false,
            };
            let event = change.event(&manifest.version, Some(old), self.ctx.clock.now());
            manifest.probation = None;
            manifest.remember(event);
            self.keep(name, &mut manifest).await?;
        }
        self.live.serve(name, version.proven());
        tracing::info!(handler = %name, version = %version.version(), "probation passed");
        Ok(())
    }

    /// Ends a probation with the old version in service, unless a person decided meanwhile.
    async fn restore_old(&self, name: &HandlerName, trial: &Trial) -> Result<(), SyncError> {
        let _registry = self.registry.lock().await;
        let Some(version) = self.live.version(name).filter(|version| is_on(version, trial)) else {
            return Ok(());
        };
        let Some(known) = archive::manifest(&*self.ctx.store, name).await? else { return Ok(()) };
        if known.pin.is_some() || known.chosen {
            return Ok(());
        }
        let course = trial.course();
        let last = course.strikes.last().map_or("", |strike| &*strike.reason);
        let events = course.strikes.len();
        let reason = format!(
            "it failed on {events} events that the version before handled; the last reason: {last}"
        );
        let (from, to) = (version.version(), trial.old.version());
        let change = Change {
            act: VersionAct::RolledBack,
            by: HUB,
            reason: Some(&reason),
            file: None,
            chosen: false,
        };
        self.serve(name, trial.old.proven(), Some(known), &change).await?;
        self.ctx.notices.post(Notice::HandlerRolledBack {
            handler: name.clone(),
            from: from.to_hex().into(),
            to: to.to_hex().into(),
            strikes: events,
            reason: notice::cut(last),
        });
        tracing::warn!(handler = %name, %from, %to, reason, "version rolled back");
        Ok(())
    }
}

/// True if a version is still on this probation.
fn is_on(version: &ServingVersion, trial: &Trial) -> bool {
    version.trial.as_deref().is_some_and(|of| std::ptr::eq(of, trial))
}
