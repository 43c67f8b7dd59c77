//! Watches the plugins folder: lists it after every report of a change, and from time to time.
//!
//! The reports of file systems are only hints. They come too early, in several pieces or, for a
//! folder that was deleted and created again, not at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use weir_core::name::HandlerName;

use super::actions::RunningActions;
use super::folder::{self, FileProblem, FolderId, Snapshot};
use super::manifest::Manifest;
use super::reload::{ActionResult, Reloader};
use super::tracker::{FolderTracker, HandlerStamps};
use crate::observe::notice::{self, Notice};

/// Reports within this time lead to one listing.
const GATHER: Duration = Duration::from_millis(20);
/// Time between two looks for a folder that does not exist.
const ABSENT_PAUSE: Duration = Duration::from_millis(500);
/// The pause after the registry could not be read.
const FAILED_PAUSE: Duration = Duration::from_secs(1);

/// Restores handlers, then watches the folder and acts on it, without end. An action that is cut
/// off by dropping this is repeated by the next process.
pub(crate) async fn run(reloader: &Reloader) {
    let plugins = &reloader.config.plugins;
    let last_good = last_good(reloader).await;
    let started = Instant::now();
    let mut tracker = FolderTracker::new(plugins.settle, plugins.grace, last_good.keys().cloned());
    let home = last_good.values().find_map(|manifest| manifest.folder);
    reloader.set_home(home);
    let mut watch = FolderWatch::new(plugins.dir.clone(), home);
    let mut actions = RunningActions::new(reloader);
    for (name, manifest) in last_good {
        actions.restore(name, manifest);
    }
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            () = watch.reported.notified() => sleep(GATHER).await,
            () = sleep(pause) => {}
            Some((action, result)) = actions.next() => match result {
                ActionResult::Done => {}
                ActionResult::Again => tracker.again(&action, started.elapsed()),
                ActionResult::Unclear => tracker.unclear(&action),
            },
        }
        pause = match watch.list(reloader, &tracker).await {
            None => plugins.rescan.min(ABSENT_PAUSE),
            Some(folder) => {
                for action in tracker.observe(&folder, started.elapsed()) {
                    actions.start(action);
                }
                let next = tracker.next(started.elapsed()).unwrap_or(plugins.rescan);
                let absent = if watch.watched.is_none() { ABSENT_PAUSE } else { plugins.rescan };
                next.max(Duration::from_millis(1)).min(plugins.rescan).min(absent)
            }
        };
        // While the folder is away, the restored handlers are all there is.
        let known = watch.away.is_none() || tracker.knows_handlers();
        if tracker.is_quiet() && actions.is_empty() && known {
            reloader.states.set_folder_read();
        }
    }
}

async fn last_good(reloader: &Reloader) -> BTreeMap<HandlerName, Manifest> {
    loop {
        match reloader.last_good().await {
            Ok(manifests) => return manifests,
            Err(error) => {
                tracing::error!(%error, "cannot read the registry of handlers, trying again");
                sleep(FAILED_PAUSE).await;
            }
        }
    }
}

/// The watched folder.
struct FolderWatch {
    dir: PathBuf,
    /// None if the system has no file watcher. Then changes are found by listing only.
    watcher: Option<RecommendedWatcher>,
    /// The folder that is watched. A folder that was created again has another id.
    watched: Option<FolderId>,
    reported: Arc<Notify>,
    /// The refused files that have been logged.
    problems: BTreeMap<String, FileProblem>,
    /// The folder that had handlers last.
    home: Option<FolderId>,
    /// The reason why the folder is away, while its handlers serve on.
    away: Option<String>,
}

impl FolderWatch {
    fn new(dir: PathBuf, home: Option<FolderId>) -> Self {
        let reported = Arc::new(Notify::new());
        let report = reported.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reads are reported too, and those of the hub must not lead to others.
            if !matches!(event, Ok(notify::Event { kind: EventKind::Access(_), .. })) {
                report.notify_one();
            }
        });
        let watcher = watcher
            .inspect_err(|error| tracing::warn!(%error, "cannot watch folders, listing them only"));
        Self {
            dir,
            watcher: watcher.ok(),
            watched: None,
            reported,
            problems: BTreeMap::new(),
            home,
            away: None,
        }
    }

    /// The handlers in the folder. None if the folder is away.
    async fn list(
        &mut self,
        reloader: &Reloader,
        tracker: &FolderTracker,
    ) -> Option<BTreeMap<HandlerName, HandlerStamps>> {
        let dir = self.dir.clone();
        let listed = reloader.guests.spawn_blocking(move || folder::list(&dir)).await;
        let snapshot = match listed.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.set_away(reloader, Some(format!("it cannot be read: {error}")));
                return None;
            }
        };
        self.follow(snapshot.id);
        let away = away(&snapshot, self.home, tracker.knows_handlers());
        let is_away = away.is_some();
        self.set_away(reloader, away.map(str::to_owned));
        if is_away {
            return None;
        }
        let Snapshot { id, handlers, problems, .. } = snapshot;
        if self.home != id && (!handlers.is_empty() || !tracker.knows_handlers()) {
            self.home = id;
            reloader.set_home(id);
        }
        self.log_problems(problems);
        Some(handlers)
    }

    /// Sets why the folder is away, or that it is not, and announces a change.
    fn set_away(&mut self, reloader: &Reloader, away: Option<String>) {
        if self.away == away {
            return;
        }
        let dir = self.dir.display().to_string();
        match &away {
            Some(reason) => {
                tracing::error!(
                    dir,
                    reason,
                    "the plugins folder is away: its handlers serve on as they are, put it back"
                );
                let reason = notice::cut(reason);
                reloader.ctx.notices.post(Notice::PluginsAway { dir: dir.into(), reason });
            }
            None => tracing::info!(dir, "the plugins folder is back"),
        }
        reloader.folder.set(away.clone());
        self.away = away;
    }

    /// Watches the present folder. A change between the listing and this is not reported, so the
    /// folder is listed again.
    fn follow(&mut self, id: Option<FolderId>) {
        if self.watched == id {
            return;
        }
        let Some(watcher) = &mut self.watcher else {
            self.watched = id;
            return;
        };
        if self.watched.is_some() {
            // An error says that the folder is gone, and its watch with it.
            let _ = watcher.unwatch(&self.dir);
        }
        self.watched = None;
        let dir = self.dir.display().to_string();
        if id.is_none() {
            tracing::warn!(dir, "the plugins folder does not exist");
            return;
        }
        self.watched = id;
        match watcher.watch(Path::new(&self.dir), RecursiveMode::NonRecursive) {
            Ok(()) => self.reported.notify_one(),
            Err(error) => {
                tracing::warn!(dir, %error, "cannot watch the plugins folder, listing it only");
            }
        }
    }

    fn log_problems(&mut self, problems: BTreeMap<String, FileProblem>) {
        for (file, reason) in &problems {
            if self.problems.get(file) != Some(reason) {
                tracing::warn!(file, %reason, "file in the plugins folder is refused");
            }
        }
        self.problems = problems;
    }
}

/// The reason why a listing says nothing about the known handlers; none if it does. Either the
/// folder does not exist, or it is another one and has none of them, as when a volume is not
/// mounted.
fn away(snapshot: &Snapshot, home: Option<FolderId>, knows_handlers: bool) -> Option<&'static str> {
    if !knows_handlers || !snapshot.handlers.is_empty() || snapshot.is_empty_on_purpose {
        return None;
    }
    match snapshot.id {
        None => Some("there is no such folder"),
        id if home.is_some() && home != id => Some(
            "it is another folder than before and has no handlers: is a volume not mounted? \
             If there are to be no handlers, put a file named .empty into it",
        ),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invoker::plugins::tracker::PluginStamp;

    #[test]
    fn a_folder_is_away_when_it_or_all_its_handlers_vanish_at_once() {
        let (before, other) = (Some((1, 1, 1)), Some((1, 1, 2)));
        let empty = |id| Snapshot { id, ..Snapshot::default() };
        assert!(away(&empty(None), before, true).is_some());
        assert!(away(&empty(other), before, true).is_some());
        assert_eq!(away(&empty(before), before, true), None, "each file was removed");
        assert_eq!(away(&empty(other), None, true), None, "it is not known where they were");
        assert_eq!(away(&empty(None), None, false), None, "there are none to miss");
        let on_purpose = Snapshot { is_empty_on_purpose: true, ..empty(other) };
        assert_eq!(away(&on_purpose, before, true), None);
        let module = PluginStamp { length: 1, modified: 0, changed: (0, 0), device: 1, inode: 1 };
        let mut some = empty(other);
        some.handlers.insert(
            "a".parse().unwrap(),
            HandlerStamps { module, sidecar: None, fixtures: 0, signature: None },
        );
        assert_eq!(away(&some, before, true), None);
    }
}
