//! Puts versions into service: the registry, the routes and the live handlers change together,
//! under one lock.
//!
//! Not here: reading files (`reload`), and the acts of people (`versions`).

use std::sync::Arc;

use weir_core::name::{DestinationName, HandlerName, Target};
use weir_core::probation::{self, Probation, VersionChange};
use weir_core::time::Timestamp;
use weir_engine::{AllowedDestinations, CommandInput, MissingGrant, ModuleKind, Version};

use super::archive::{self, ArchiveError};
use super::folder::FolderId;
use super::manifest::{
    KeepLimits, KeptVersion, Manifest, StoredProbation, VersionAct, VersionEvent,
};
use super::prepare::content_id;
use super::refusal::{CodeLimitExceeded, LoadFailure};
use super::reload::Reloader;
use crate::config::unmatched;
use crate::delivery::breakers::HUB;
use crate::invoker::handlers::runtime::ServingVersion;
use crate::invoker::handlers::status::VersionMarks;
use crate::invoker::handlers::trial::Trial;
use crate::observe::metrics::ModuleLoad;
use crate::routing::Subscription;
use crate::target_changes;

impl Reloader {
    /// Stores a version as the current one, then puts it into service; or keeps it as a candidate
    /// while a person has pinned another.
    pub(super) async fn put_into_service(
        &self,
        name: &HandlerName,
        content: Version,
        version: ServingVersion,
        bytes: &[u8],
    ) -> Result<(), LoadFailure> {
        let store = &*self.ctx.store;
        let registry = self.registry.lock().await;
        let before = self.live.version(name);
        if let Some(same) = before.as_ref().filter(|before| is_of(before, content)) {
            drop(registry);
            return self.confirm(name, same, Some(content)).await;
        }
        let version = self.on_probation(name, before.as_ref(), version);
        let version = match self.check_code_limit(name, &version) {
            Err(_) if version.trial.is_some() => {
                tracing::warn!(
                    handler = %name,
                    "no probation: two versions do not fit into plugins.code_max"
                );
                version.proven()
            }
            _ => version,
        };
        self.check_code_limit(name, &version)
            .map_err(|full| LoadFailure::Refused { content, refusal: full.into() })?;
        archive::keep_module(store, version.version(), bytes).await?;
        let known = archive::manifest(store, name).await?;
        let same_module = before.as_ref().map(|before| before.version() == version.version());
        // A pin keeps the module. The settings of the one that serves may change.
        if let (Some(known), Some(false)) = (&known, same_module)
            && known.pin.is_some()
        {
            return self.keep_candidate(name, content, &version, known).await;
        }
        let act = match same_module {
            Some(true) => VersionAct::Configured,
            _ => VersionAct::Loaded,
        };
        let change = Change { act, by: HUB, reason: None, file: Some(content), chosen: false };
        self.serve(name, version, known, &change).await?;
        self.ctx.metrics.module_load(ModuleLoad::Loaded);
        Ok(())
    }

    /// Makes a version the current one, in the registry and in service. The registry's lock is
    /// held.
    pub(super) async fn serve(
        &self,
        name: &HandlerName,
        version: ServingVersion,
        known: Option<Manifest>,
        change: &Change<'_>,
    ) -> Result<(), LoadFailure> {
        let (store, now) = (&*self.ctx.store, self.ctx.clock.now());
        let before = known.as_ref().map(|known| known.version.clone());
        let is_new = known.as_ref().is_none_or(|known| {
            known.version != version.version().to_hex() || known.sidecar != version.sidecar
        });
        let mut manifest = current_manifest(&version, known, *self.home.lock(), now);
        if let Some(file) = change.file {
            manifest.file = Some(file.to_hex());
            manifest.file_version = Some(manifest.version.clone());
            manifest.candidate = None;
        }
        manifest.chosen = change.chosen;
        manifest.probation = version.trial.as_ref().map(|trial| StoredProbation {
            old: trial.old.version().to_hex(),
            course: trial.course(),
        });
        let before = before.filter(|before| *before != manifest.version);
        if is_new {
            manifest.remember(change.event(&manifest.version, before.clone(), now));
        }
        let version = ServingVersion { since: manifest.since, ..version };
        self.keep(name, &mut manifest).await?;
        self.warn_of_mistakes(name, &version);
        let subscription = Subscription::of(&version.settings);
        let (hash, on_probation) = (version.version(), version.trial.is_some());
        self.live.serve(name, version);
        if change.act == VersionAct::RolledBack
            && let Some(runtime) = self.live.runtime(name)
        {
            runtime.metrics.rolled_back();
        }
        self.routes.set_handler(name, Some(subscription)).await?;
        match before {
            None if change.act == VersionAct::Configured => {
                tracing::info!(handler = %name, version = %hash, "handler settings changed");
            }
            None => tracing::info!(handler = %name, version = %hash, "handler loaded"),
            Some(old) => tracing::info!(
                handler = %name, old, new = %hash, act = %change.act, by = change.by, on_probation,
                "handler changed"
            ),
        }
        archive::release_missing(store, name).await?;
        self.states.ready(name, now);
        archive::prune_modules(store).await?;
        // A new grant or a new module may be what failed runs wait for.
        target_changes::retry(store, &Target::Handler(name.clone())).await?;
        Ok(())
    }

    /// Keeps the version of new files, which a pin keeps from serving.
    async fn keep_candidate(
        &self,
        name: &HandlerName,
        content: Version,
        version: &ServingVersion,
        known: &Manifest,
    ) -> Result<(), LoadFailure> {
        let (now, mut manifest) = (self.ctx.clock.now(), known.clone());
        let hash = version.version().to_hex();
        let change = Change {
            act: VersionAct::Candidate,
            by: HUB,
            reason: None,
            file: Some(content),
            chosen: false,
        };
        if manifest.kept(&hash).is_none_or(|kept| kept.served_at.is_none()) {
            manifest.put(kept(version, None));
        }
        manifest.candidate = Some(hash.clone());
        (manifest.file, manifest.file_version) = (Some(content.to_hex()), Some(hash.clone()));
        manifest.remember(change.event(&hash, Some(known.version.clone()), now));
        self.keep(name, &mut manifest).await?;
        self.states.ready(name, now);
        self.ctx.metrics.module_load(ModuleLoad::Candidate);
        tracing::warn!(
            handler = %name, candidate = hash, serving = known.version,
            "a new file is loaded and does not run, because another version is pinned; weir \
            handlers unpin runs it"
        );
        Ok(())
    }

    /// Stores a manifest, without the versions above the limits.
    pub(super) async fn keep(
        &self,
        name: &HandlerName,
        manifest: &mut Manifest,
    ) -> Result<(), ArchiveError> {
        let limits = KeepLimits {
            versions: self.config.plugins.versions,
            life: self.config.plugins.version_life,
        };
        manifest.trim(limits, self.ctx.clock.now());
        archive::keep_manifest(&*self.ctx.store, name, manifest).await?;
        self.states.mark(name, marks(manifest));
        Ok(())
    }

    /// A new version with its probation, if it has one.
    pub(super) fn on_probation(
        &self,
        name: &HandlerName,
        before: Option<&Arc<ServingVersion>>,
        version: ServingVersion,
    ) -> ServingVersion {
        let Some(before) = before else { return version };
        let policy = version.settings.probation.policy().copied();
        let changed = self.probation_changed.clone();
        if before.version() == version.version() {
            let trial = before.trial.as_ref().zip(policy).map(|(trial, policy)| {
                Arc::new(Trial::new(trial.old.clone(), policy, trial.course(), changed))
            });
            return ServingVersion { trial, ..version };
        }
        // A version on probation cannot stand in for another.
        let old = before.trial.as_ref().map_or_else(|| before.clone(), |trial| trial.old.clone());
        let change = VersionChange {
            before: Some(old.description.state_version),
            after: version.description.state_version,
            same_module: old.version() == version.version(),
            chosen: false,
        };
        match (probation::begins(policy.as_ref(), change), policy) {
            (Ok(()), Some(policy)) => {
                let course = Probation::new(self.ctx.clock.now());
                let trial = Some(Arc::new(Trial::new(old, policy, course, changed)));
                ServingVersion { trial, ..version }
            }
            (begins, _) => {
                let reason = begins.err().map(|reason| reason.to_string());
                tracing::debug!(handler = %name, reason, "no probation");
                version
            }
        }
    }

    /// Makes registry, routes and holds agree with a version that serves already. An earlier action
    /// may have ended half way. `file` is the content of the folder, if it is that of the version.
    pub(super) async fn confirm(
        &self,
        name: &HandlerName,
        version: &ServingVersion,
        file: Option<Version>,
    ) -> Result<(), LoadFailure> {
        let store = &*self.ctx.store;
        let _registry = self.registry.lock().await;
        let known = archive::manifest(store, name).await?;
        let home = *self.home.lock();
        let file = file.map(|file| file.to_hex());
        let agrees = known.as_ref().is_some_and(|known| {
            let is_file = file.is_none() || (known.file == file && known.candidate.is_none());
            let on_probation = known.probation.is_some() == version.trial.is_some();
            !known.retired && known.folder == home && is_file && on_probation
        });
        if !agrees {
            let now = self.ctx.clock.now();
            let mut manifest = current_manifest(version, known, home, now);
            if file.is_some() {
                (manifest.file, manifest.candidate) = (file, None);
                manifest.file_version = Some(manifest.version.clone());
            }
            manifest.probation = manifest.probation.filter(|_| version.trial.is_some());
            self.keep(name, &mut manifest).await?;
        }
        let subscription = Subscription::of(&version.settings);
        self.routes.set_handler(name, Some(subscription)).await?;
        archive::release_missing(store, name).await?;
        self.states.ready(name, self.ctx.clock.now());
        Ok(())
    }

    /// Refuses a module whose compiled code does not fit beside that of the handlers in service.
    pub(super) fn check_code_limit(
        &self,
        name: &HandlerName,
        version: &ServingVersion,
    ) -> Result<(), CodeLimitExceeded> {
        let (needs, max) = (version.code_bytes(), self.config.plugins.code_max);
        let others = self.live.code_bytes_of_others(name);
        if needs.saturating_add(others) > max {
            return Err(CodeLimitExceeded { needs, others, max });
        }
        Ok(())
    }

    fn warn_of_mistakes(&self, name: &HandlerName, version: &ServingVersion) {
        if let Some(warning) = version.module.build_warning() {
            tracing::warn!(handler = %name, "{warning}");
        }
        let settings = &version.settings;
        if settings.subscriptions.is_empty() {
            tracing::warn!(
                handler = %name,
                "handler has no subscriptions; set on = [\"source:type\"] in its sidecar file"
            );
        }
        let sources = self.sources.current();
        for never in settings.subscriptions.iter().filter_map(|p| unmatched(p, &sources)) {
            tracing::warn!(handler = %name, "subscription matches no event: {never}");
        }
        if version.module.kind() == ModuleKind::Component
            && *settings.command != CommandInput::default()
        {
            tracing::warn!(handler = %name, "`args` and [input] are for commands, not components");
        }
        for (destination, missing) in settings.grants.missing(&version.description.needs) {
            let advice = match missing {
                MissingGrant::NotGranted => {
                    format!("grant it with destinations = [\"{destination}\"] under [grant]")
                }
                MissingGrant::NoDestination => {
                    format!("add [destinations.{destination}] to weir.toml")
                }
            };
            tracing::warn!(
                handler = %name, %destination,
                "handler needs a destination that it cannot send to; {advice}"
            );
        }
        let AllowedDestinations::These(granted) = &settings.grants.destinations else { return };
        let unknown = |to: &&DestinationName| !settings.grants.known.contains(*to);
        for destination in granted.iter().filter(unknown) {
            tracing::warn!(
                handler = %name, %destination, "grant names a destination that does not exist"
            );
        }
    }
}

/// A change of the current version.
pub(super) struct Change<'a> {
    pub(super) act: VersionAct,
    /// The person, or the hub.
    pub(super) by: &'a str,
    pub(super) reason: Option<&'a str>,
    /// The content of the files in the folder, if they are its cause.
    pub(super) file: Option<Version>,
    /// True if a person chose the version.
    pub(super) chosen: bool,
}

impl<'a> Change<'a> {
    /// A person's change that puts no other version into service.
    pub(super) const fn of_person(act: VersionAct, by: &'a str, reason: Option<&'a str>) -> Self {
        Self { act, by, reason, file: None, chosen: true }
    }

    /// The entry of the history.
    pub(super) fn event(
        &self,
        version: &str,
        before: Option<String>,
        at: Timestamp,
    ) -> VersionEvent {
        VersionEvent {
            at,
            act: self.act,
            version: version.to_owned(),
            before,
            by: self.by.to_owned(),
            reason: self.reason.map(str::to_owned),
        }
    }
}

/// The manifest of a handler after a version became the current one.
fn current_manifest(
    version: &ServingVersion,
    known: Option<Manifest>,
    folder: Option<FolderId>,
    now: Timestamp,
) -> Manifest {
    let kept = kept(version, Some(now));
    let mut manifest = known.unwrap_or_else(|| Manifest::first(&kept, version.since));
    manifest.make_current(&kept, now);
    (manifest.retired, manifest.folder) = (false, folder);
    manifest
}

pub(super) fn marks(manifest: &Manifest) -> VersionMarks {
    VersionMarks { pinned: manifest.pin.is_some(), candidate: manifest.candidate.clone() }
}

/// True if a version is that of files with this content.
pub(super) fn is_of(version: &ServingVersion, content: Version) -> bool {
    let (sidecar, signature) = (version.sidecar.as_deref(), version.signature.as_deref());
    content_id(version.version(), sidecar, version.fixtures, signature) == content
}

/// A version as it is kept.
fn kept(version: &ServingVersion, served_at: Option<Timestamp>) -> KeptVersion {
    let description = &version.description;
    KeptVersion {
        version: version.version().to_hex(),
        kind: version.module.kind(),
        about: description.about.clone(),
        subscriptions: description.subscriptions.iter().map(ToString::to_string).collect(),
        sidecar: version.sidecar.clone(),
        signature: version.signature.clone(),
        size: version.size,
        state_version: description.state_version,
        needs: description.needs.clone(),
        contract: version.module.contract().map(|contract| contract.to_string()),
        loaded_at: version.since,
        served_at,
    }
}
