//! The acts of people on versions: roll back, pin, unpin, compare.
//!
//! Not here: what the hub does by itself (`probation`), and who may act (the admin API).

use thiserror::Error;
use weir_core::name::HandlerName;
use weir_store::StoreError;

use super::archive::{self, ArchiveError};
use super::manifest::{KeptVersion, Manifest, Pin, VersionAct};
use super::refusal::{CodeLimitExceeded, LoadFailure, RestoreError};
use super::reload::Reloader;
use super::serving::Change;
use crate::config::EffectiveSettings;
use crate::invoker::handlers::runtime::ServingVersion;

/// Characters of a hash in a message.
const SHORT: usize = 12;

/// An act on versions that was not done.
#[derive(Debug, Error)]
pub(crate) enum VersionActError {
    #[error("there is no handler `{0}`")]
    UnknownHandler(HandlerName),
    #[error("no version of {handler} begins with `{text}`; there are {known}")]
    UnknownVersion { handler: HandlerName, text: String, known: String },
    #[error("several versions of {handler} begin with `{text}`: {known}; write more of the hash")]
    Ambiguous { handler: HandlerName, text: String, known: String },
    #[error("{0} has no version that served before this one")]
    NoPrevious(HandlerName),
    #[error("version {0} serves already")]
    Serves(String),
    #[error("version {0} was never in service: unpin runs it")]
    NeverServed(String),
    #[error(
        "version {version} reads state version {reads}, and version {serving} has written state \
         version {written}; export the state, clear it (weir handlers state NAME clear), and roll \
         back then"
    )]
    StateVersion { version: String, reads: u32, serving: String, written: u32 },
    #[error("version {version} cannot serve: {reason}")]
    Refused { version: String, reason: String },
    #[error("{0} has changed meanwhile; look at it and try again")]
    Changed(HandlerName),
    #[error("{0} is pinned already")]
    Pinned(HandlerName),
    #[error("{0} is not pinned")]
    NotPinned(HandlerName),
    #[error("no version of {0} serves")]
    NotServing(HandlerName),
    #[error("there is a handler `{0}` already, or it left state behind; choose a new name")]
    Taken(HandlerName),
    #[error("{what} of the configuration names {handler}; write the new name there first")]
    Referred { handler: HandlerName, what: String },
    #[error(
        "the signature of {0} holds its name; sign the module under the new name, and put both \
         files into the folder"
    )]
    Signed(HandlerName),
    #[error("runs of {0} did not end in time; hold it (weir handlers pause) and try again")]
    Busy(HandlerName),
    #[error("the files in the plugins folder cannot be renamed; nothing is changed")]
    Files(#[source] std::io::Error),
    #[error("the hub is starting or stopping; try again")]
    Unavailable,
    #[error(transparent)]
    Full(#[from] CodeLimitExceeded),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Load(#[from] LoadFailure),
}

/// A person's request about the versions of a handler.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VersionRequest<'a> {
    pub(crate) handler: &'a HandlerName,
    /// The beginning of a version's hash.
    pub(crate) version: Option<&'a str>,
    pub(crate) by: &'a str,
    pub(crate) reason: Option<&'a str>,
}

/// Two versions with the settings that are in force for each.
#[derive(Debug)]
pub(crate) struct VersionComparison {
    pub(crate) from: (KeptVersion, EffectiveSettings),
    pub(crate) to: (KeptVersion, EffectiveSettings),
}

impl Reloader {
    /// The versions of a handler.
    pub(crate) async fn manifest(&self, name: &HandlerName) -> Result<Manifest, VersionActError> {
        let found = archive::manifest(&*self.ctx.store, name).await?;
        let mut manifest = found.ok_or_else(|| VersionActError::UnknownHandler(name.clone()))?;
        if manifest.kept(&manifest.version).is_none() {
            manifest.put(manifest.current());
        }
        // What runs have shown since it was saved.
        let serving = self.live.version(name);
        let trial = serving.as_ref().and_then(|version| version.trial.as_ref());
        if let (Some(stored), Some(trial)) = (&mut manifest.probation, trial) {
            stored.course = trial.course();
        }
        Ok(manifest)
    }

    /// Puts an older version into service. Its file stays as it is, and is not loaded again until
    /// it changes.
    pub(crate) async fn roll_back(
        &self,
        request: VersionRequest<'_>,
    ) -> Result<Manifest, VersionActError> {
        let name = request.handler;
        let known = self.manifest(name).await?;
        let target = match request.version {
            Some(text) => named(&known, name, text)?,
            None => known.previous().ok_or_else(|| VersionActError::NoPrevious(name.clone()))?,
        };
        let short = short(&target.version);
        if target.version == known.version {
            return Err(VersionActError::Serves(short));
        }
        if target.served_at.is_none() {
            return Err(VersionActError::NeverServed(short));
        }
        self.check_state(name, &known, target).await?;
        let now = self.ctx.clock.now();
        let restored = self.preparer.restore(&*self.ctx.store, name, target, now).await;
        let version = restored.map_err(|error| refused(short, error))?;
        let registry = self.registry.lock().await;
        let current = archive::manifest(&*self.ctx.store, name).await?;
        let same = current.filter(|current| current.version == known.version && !current.retired);
        let current = same.ok_or_else(|| VersionActError::Changed(name.clone()))?;
        self.check_code_limit(name, &version)?;
        let version = self.with_permits(name, version);
        let change = Change {
            act: VersionAct::RolledBack,
            by: request.by,
            reason: request.reason,
            file: None,
            chosen: true,
        };
        self.serve(name, version, Some(current), &change).await?;
        drop(registry);
        self.manifest(name).await
    }

    /// Batches under way count against the same permits.
    fn with_permits(&self, name: &HandlerName, version: ServingVersion) -> ServingVersion {
        let before = self.live.version(name);
        let same = before.filter(|b| b.settings.concurrency == version.settings.concurrency);
        let permits = same.map_or_else(|| version.permits.clone(), |same| same.permits.clone());
        ServingVersion { permits, ..version }
    }

    /// Refuses a version that cannot read the state that a later one has written. There is nothing
    /// to read in an empty state.
    async fn check_state(
        &self,
        name: &HandlerName,
        known: &Manifest,
        target: &KeptVersion,
    ) -> Result<(), VersionActError> {
        let served = known.versions.iter().filter(|kept| kept.served_at.is_some());
        let latest = served.max_by_key(|kept| kept.state_version);
        let Some(latest) = latest.filter(|kept| kept.state_version > target.state_version) else {
            return Ok(());
        };
        let size = self.ctx.store.state(name).size().await;
        if size.map_err(|error| StoreError::Invalid(error.to_string()))? == 0 {
            return Ok(());
        }
        Err(VersionActError::StateVersion {
            version: short(&target.version),
            reads: target.state_version,
            serving: short(&latest.version),
            written: latest.state_version,
        })
    }

    /// Keeps the version that serves until the pin is removed: new files are loaded, and wait. It
    /// ends a probation.
    pub(crate) async fn pin(
        &self,
        request: VersionRequest<'_>,
    ) -> Result<Manifest, VersionActError> {
        let name = request.handler;
        if let Some(text) = request.version {
            let known = self.manifest(name).await?;
            if named(&known, name, text)?.version != known.version {
                self.roll_back(request).await?;
            }
        }
        let registry = self.registry.lock().await;
        let found = archive::manifest(&*self.ctx.store, name).await?;
        let mut manifest = found.ok_or_else(|| VersionActError::UnknownHandler(name.clone()))?;
        let Some(version) = self.live.version(name).filter(|_| !manifest.retired) else {
            return Err(VersionActError::NotServing(name.clone()));
        };
        if manifest.pin.is_some() {
            return Err(VersionActError::Pinned(name.clone()));
        }
        let now = self.ctx.clock.now();
        let reason = request.reason.map(str::to_owned);
        manifest.pin = Some(Pin { at: now, by: request.by.to_owned(), reason });
        (manifest.probation, manifest.chosen) = (None, true);
        let change = Change::of_person(VersionAct::Pinned, request.by, request.reason);
        manifest.remember(change.event(&manifest.version, None, now));
        self.keep(name, &mut manifest).await?;
        if version.trial.is_some() {
            self.live.serve(name, version.proven());
        }
        drop(registry);
        tracing::info!(handler = %name, version = manifest.version, by = request.by, "pinned");
        self.manifest(name).await
    }

    /// Removes a pin, and loads the files in the folder if they waited for that.
    pub(crate) async fn unpin(
        &self,
        request: VersionRequest<'_>,
    ) -> Result<Manifest, VersionActError> {
        let name = request.handler;
        let registry = self.registry.lock().await;
        let found = archive::manifest(&*self.ctx.store, name).await?;
        let mut manifest = found.ok_or_else(|| VersionActError::UnknownHandler(name.clone()))?;
        if manifest.pin.take().is_none() {
            return Err(VersionActError::NotPinned(name.clone()));
        }
        let waits = manifest.candidate.take().is_some();
        if waits {
            manifest.file = None;
        }
        let change = Change::of_person(VersionAct::Unpinned, request.by, request.reason);
        let now = self.ctx.clock.now();
        manifest.remember(change.event(&manifest.version, None, now));
        self.keep(name, &mut manifest).await?;
        drop(registry);
        tracing::info!(handler = %name, version = manifest.version, by = request.by, "unpinned");
        if waits {
            self.load(name).await?;
        }
        self.manifest(name).await
    }

    /// Two versions with their settings. Without names: the version before and the one that serves.
    pub(crate) async fn compare(
        &self,
        name: &HandlerName,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<VersionComparison, VersionActError> {
        let known = self.manifest(name).await?;
        let to = match to {
            Some(text) => named(&known, name, text)?.clone(),
            None => match &known.candidate {
                Some(candidate) => known.kept(candidate).cloned().unwrap_or(known.current()),
                None => known.current(),
            },
        };
        let from = match from {
            Some(text) => named(&known, name, text)?.clone(),
            None if to.version != known.version => known.current(),
            None => {
                let previous = known.previous().cloned();
                previous.ok_or_else(|| VersionActError::NoPrevious(name.clone()))?
            }
        };
        let settings = |kept: &KeptVersion| {
            let settings = self.preparer.settings_of(name, kept);
            settings.map_err(|error| refused(short(&kept.version), error))
        };
        let (before, after) = (settings(&from)?, settings(&to)?);
        Ok(VersionComparison { from: (from, before), to: (to, after) })
    }
}

/// The one version whose hash begins with a text.
fn named<'m>(
    known: &'m Manifest,
    handler: &HandlerName,
    text: &str,
) -> Result<&'m KeptVersion, VersionActError> {
    let listed = |versions: &[&KeptVersion]| {
        let texts: Vec<_> = versions.iter().map(|kept| short(&kept.version)).collect();
        texts.join(", ")
    };
    let (handler, text) = (handler.clone(), text.to_owned());
    match &known.beginning_with(&text)[..] {
        [one] => Ok(one),
        [] => {
            let known = listed(&known.versions.iter().collect::<Vec<_>>());
            Err(VersionActError::UnknownVersion { handler, text, known })
        }
        several => {
            let known = listed(several);
            Err(VersionActError::Ambiguous { handler, text, known })
        }
    }
}

fn refused(version: String, error: RestoreError) -> VersionActError {
    match error {
        RestoreError::Store(error) => error.into(),
        error => VersionActError::Refused { version, reason: weir_core::error::chain(&error) },
    }
}

fn short(version: &str) -> String {
    version.get(..SHORT).unwrap_or(version).to_owned()
}
