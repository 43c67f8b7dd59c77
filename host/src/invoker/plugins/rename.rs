//! Renames a handler: its files, its name in the store with all that refers to it, its breaker, its
//! routes, and the live handler.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use weir_core::name::HandlerName;
use weir_store::handler_state::{HandlerRename, HandlerRenamed};

use super::archive;
use super::manifest::VersionAct;
use super::reload::Reloader;
use super::serving::{Change, marks};
use super::versions::VersionActError;
use crate::routing::Subscription;

/// The longest wait for the runs of a handler.
const RUNS_END_WITHIN: Duration = Duration::from_secs(5);
/// The pause between two looks at its runs.
const LOOK: Duration = Duration::from_millis(10);
/// The time for which events that were routed by the old name still find the handler.
const ROUTED_BEFORE: Duration = Duration::from_secs(1);
/// Endings of the files of a handler.
const FILES: [&str; 4] = ["wasm", "toml", "fixtures", "sig"];

impl Reloader {
    /// Renames a handler. Its runs end first; events wait meanwhile.
    pub(crate) async fn rename(
        &self,
        from: &HandlerName,
        to: &HandlerName,
        by: &str,
    ) -> Result<(), VersionActError> {
        self.check_references(from, to)?;
        let store = &*self.ctx.store;
        let registry = self.registry.lock().await;
        let known = archive::manifest(store, from).await?;
        let mut manifest = known.ok_or_else(|| VersionActError::UnknownHandler(from.clone()))?;
        let (runtime, version) = (self.live.runtime(from), self.live.version(from));
        let Some((runtime, version)) = runtime.zip(version).filter(|_| !manifest.retired) else {
            return Err(VersionActError::NotServing(from.clone()));
        };
        if archive::manifest(store, to).await?.is_some() {
            return Err(VersionActError::Taken(to.clone()));
        }
        let back = || self.live.serve(from, (*version).clone());
        self.live.remove(from);
        let started = Instant::now();
        while runtime.claims.count() > 0 {
            if started.elapsed() > RUNS_END_WITHIN {
                back();
                return Err(VersionActError::Busy(from.clone()));
            }
            sleep(LOOK).await;
        }
        let files = RenamedFiles::rename(&self.config.plugins.dir, from, to);
        let files = files.inspect_err(|_| back()).map_err(VersionActError::Files)?;
        let was = format!("was {from}");
        let change = Change::of_person(VersionAct::Renamed, by, Some(&was));
        manifest.remember(change.event(&manifest.version, None, self.ctx.clock.now()));
        let entry = manifest.encode().map_err(archive::ArchiveError::from)?;
        let rename = HandlerRename { from: from.clone(), to: to.clone(), entry };
        let renamed = store.rename_handler(rename).await;
        let failed = match renamed {
            Ok(HandlerRenamed::Done) => None,
            Ok(HandlerRenamed::Taken) => Some(VersionActError::Taken(to.clone())),
            Ok(HandlerRenamed::Unknown) => Some(VersionActError::Changed(from.clone())),
            Err(error) => Some(error.into()),
        };
        if let Some(failed) = failed {
            files.undo();
            back();
            return Err(failed);
        }
        self.live.forget(from, to).await;
        let subscription = Subscription::of(&version.settings);
        self.live.serve(to, (*version).clone());
        self.routes.set_handler(to, Some(subscription)).await?;
        self.routes.set_handler(from, None).await?;
        self.states.forget(from);
        self.states.mark(to, marks(&manifest));
        self.states.ready(to, self.ctx.clock.now());
        drop(registry);
        tracing::info!(%from, %to, by, "handler renamed");
        sleep(ROUTED_BEFORE).await;
        store.end_rename(from);
        Ok(())
    }

    /// Refuses a name that the configuration refers to, because that would be lost.
    fn check_references(
        &self,
        from: &HandlerName,
        to: &HandlerName,
    ) -> Result<(), VersionActError> {
        if self.config.plugins.signers.is_some() {
            return Err(VersionActError::Signed(from.clone()));
        }
        let referred = |what: String| VersionActError::Referred { handler: from.clone(), what };
        let config = self.preparer.config();
        let handlers = &config.handlers;
        if handlers.contains_key(from) && !handlers.contains_key(to) {
            return Err(referred(format!("[handlers.{from}]")));
        }
        let sources = self.sources.current();
        let responds = |source: &&std::sync::Arc<crate::config::Source>| {
            source.responder.as_ref().is_some_and(|responder| responder.handler == *from)
        };
        match sources.values().find(responds) {
            Some(source) => Err(referred(format!("[sources.{}] responder", source.name))),
            None => Ok(()),
        }
    }
}

/// Files that have their new names.
struct RenamedFiles(Vec<(PathBuf, PathBuf)>);

impl RenamedFiles {
    /// Renames all files of a handler, or none.
    fn rename(dir: &Path, from: &HandlerName, to: &HandlerName) -> io::Result<Self> {
        let mut done = Self(Vec::new());
        for ending in FILES {
            let [old, new] = [from, to].map(|name| dir.join(format!("{name}.{ending}")));
            if !old.exists() {
                continue;
            }
            let renamed = match new.exists() {
                true => Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    format!("{} exists", new.display()),
                )),
                false => std::fs::rename(&old, &new),
            };
            if let Err(error) = renamed {
                done.undo();
                return Err(error);
            }
            done.0.push((old, new));
        }
        Ok(done)
    }

    fn undo(self) {
        for (old, new) in self.0 {
            if let Err(error) = std::fs::rename(&new, &old) {
                tracing::error!(file = %new.display(), %error, "cannot give a file its name back");
            }
        }
    }
}
