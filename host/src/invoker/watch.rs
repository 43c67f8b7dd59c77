//! Watches the plugins folder: any report of a change, and the passing of time, is a reason to look again.
//!
//! The reports of file systems are hints: they come too early, in several pieces or, for a folder that was deleted
//! and made again, not at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use weir_core::name::HandlerName;

use super::folder::{self, FileProblem, FolderId, Snapshot};
use super::manifest::Manifest;
use super::reload::{ActionResult, Reloader};
use super::tracker::{FolderAction, FolderTracker, HandlerStamps};
use crate::observe::notice::{self, Notice};

/// Reports within this time are one reason to look.
const GATHER: Duration = Duration::from_millis(20);
/// A folder that is not there is looked for this often.
const ABSENT: Duration = Duration::from_millis(500);
/// After the registry could not be read.
const FAILED: Duration = Duration::from_secs(1);

/// Restores, looks and acts for ever. Cancel it by dropping it: an act that is cut off is taken up again by the
/// next process.
pub(crate) async fn run(reloader: &Reloader) {
    let plugins = &reloader.config.plugins;
    let last_good = loop {
        match reloader.last_good().await {
            Ok(manifests) => break manifests,
            Err(error) => {
                tracing::error!(%error, "cannot read the registry of handlers, trying again");
                sleep(FAILED).await;
            }
        }
    };
    let begun = Instant::now();
    let mut tracker = FolderTracker::new(plugins.settle, plugins.grace, last_good.keys().cloned());
    let home = last_good.values().find_map(|manifest| manifest.folder);
    reloader.versions.lies_in(home);
    let mut watch = FolderWatch::new(plugins.dir.clone(), home);
    let mut under_way = RunningActions::new(reloader);
    for (name, manifest) in last_good {
        under_way.restore(name, manifest);
    }
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            () = watch.reported.notified() => sleep(GATHER).await,
            () = sleep(pause) => {}
            Some((act, done)) = under_way.next() => match done {
                ActionResult::Yes => {}
                ActionResult::Again => tracker.again(&act, begun.elapsed()),
                ActionResult::InDoubt => tracker.in_doubt(&act),
            },
        }
        pause = match watch.look(reloader, &tracker).await {
            None => plugins.rescan.min(ABSENT),
            Some(folder) => {
                for act in tracker.observe(&folder, begun.elapsed()) {
                    under_way.begin(act);
                }
                let next = tracker.next(begun.elapsed()).unwrap_or(plugins.rescan);
                let absent = if watch.watched.is_none() { ABSENT } else { plugins.rescan };
                next.max(Duration::from_millis(1)).min(plugins.rescan).min(absent)
            }
        };
        // While the folder is away, what was restored is all there is.
        let seen = watch.away.is_none() || tracker.knows_handlers();
        if tracker.is_quiet() && under_way.is_empty() && seen {
            reloader.versions.looked();
        }
    }
}

/// An act with whose it is, and what came of it: nothing where it was no act but a restored version.
type ActionFuture<'r> = BoxFuture<'r, (HandlerName, Option<(FolderAction, ActionResult)>)>;

/// What is being done about handlers: one thing at a time for each, and nobody waits for another's.
struct RunningActions<'r> {
    reloader: &'r Reloader,
    acts: FuturesUnordered<ActionFuture<'r>>,
    /// What is to be done next about a handler that is being dealt with. The last word counts: each act makes of the
    /// folder as it is then what is in force.
    next: BTreeMap<HandlerName, Option<FolderAction>>,
}

impl<'r> RunningActions<'r> {
    fn new(reloader: &'r Reloader) -> Self {
        Self { reloader, acts: FuturesUnordered::new(), next: BTreeMap::new() }
    }

    fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    fn restore(&mut self, name: HandlerName, manifest: Manifest) {
        let reloader = self.reloader;
        self.next.insert(name.clone(), None);
        self.acts.push(Box::pin(async move {
            reloader.restore(&name, &manifest).await;
            (name, None)
        }));
    }

    fn begin(&mut self, act: FolderAction) {
        let name = act.handler().clone();
        if let Some(next) = self.next.get_mut(&name) {
            *next = Some(act);
            return;
        }
        self.next.insert(name.clone(), None);
        let reloader = self.reloader;
        self.acts.push(Box::pin(async move {
            let done = reloader.carry_out(&act).await;
            (name, Some((act, done)))
        }));
    }

    /// Waits until something has been done; says what, and what came of it. None when there is nothing under way.
    async fn next(&mut self) -> Option<(FolderAction, ActionResult)> {
        loop {
            let (name, done) = self.acts.next().await?;
            if let Some(act) = self.next.remove(&name).flatten() {
                self.begin(act);
                continue;
            }
            if done.is_some() {
                return done;
            }
        }
    }
}

/// The watched folder.
struct FolderWatch {
    dir: PathBuf,
    /// None where the system gives no watcher; then looking now and then has to do.
    watcher: Option<RecommendedWatcher>,
    /// The folder that is watched: one that was made again is another.
    watched: Option<FolderId>,
    reported: Arc<Notify>,
    /// What was said about odd files, so that it is said once.
    odd: BTreeMap<String, FileProblem>,
    /// The folder in which there were handlers last.
    home: Option<FolderId>,
    /// Why the folder says nothing about its handlers, which serve on.
    away: Option<String>,
}

impl FolderWatch {
    fn new(dir: PathBuf, home: Option<FolderId>) -> Self {
        let reported = Arc::new(Notify::new());
        let report = Arc::clone(&reported);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reading is reported too, and must not make us read again.
            if !matches!(event, Ok(notify::Event { kind: EventKind::Access(_), .. })) {
                report.notify_one();
            }
        });
        let watcher = watcher.inspect_err(
            |error| tracing::warn!(%error, "cannot watch folders, only looking now and then"),
        );
        Self {
            dir,
            watcher: watcher.ok(),
            watched: None,
            reported,
            odd: BTreeMap::new(),
            home,
            away: None,
        }
    }

    /// What lies in the folder; none if it cannot be told.
    async fn look(
        &mut self,
        reloader: &Reloader,
        tracker: &FolderTracker,
    ) -> Option<BTreeMap<HandlerName, HandlerStamps>> {
        let dir = self.dir.clone();
        let looked = reloader.guests.spawn_blocking(move || folder::look(&dir)).await;
        let snapshot = match looked.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.is_away(reloader, Some(format!("it cannot be read: {error}")));
                return None;
            }
        };
        self.follow(snapshot.id);
        let away = away(&snapshot, self.home, tracker.knows_handlers());
        let is_there = away.is_none();
        self.is_away(reloader, away.map(str::to_owned));
        if !is_there {
            return None;
        }
        let Snapshot { id, handlers, odd, .. } = snapshot;
        if self.home != id && (!handlers.is_empty() || !tracker.knows_handlers()) {
            self.home = id;
            reloader.versions.lies_in(id);
        }
        self.tell(odd);
        Some(handlers)
    }

    /// Takes in why the folder is away, if it is, and tells of a change.
    fn is_away(&mut self, reloader: &Reloader, away: Option<String>) {
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
                reloader.notices.tell(Notice::PluginsAway { dir: dir.into(), reason });
            }
            None => tracing::info!(dir, "the plugins folder is back"),
        }
        reloader.folder.set(away.clone());
        self.away = away;
    }

    /// Watches the folder that is there now. Between a look and this a change can go unreported: look again.
    fn follow(&mut self, id: Option<FolderId>) {
        if self.watched == id {
            return;
        }
        let Some(watcher) = &mut self.watcher else {
            self.watched = id;
            return;
        };
        if self.watched.is_some() {
            // The old one is gone, and its watch with it.
            let _ = watcher.unwatch(&self.dir);
        }
        self.watched = None;
        if id.is_none() {
            let dir = self.dir.display().to_string();
            tracing::warn!(dir, "there is no plugins folder");
            return;
        }
        match watcher.watch(Path::new(&self.dir), RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.watched = id;
                self.reported.notify_one();
            }
            Err(error) => {
                self.watched = id;
                let dir = self.dir.display().to_string();
                tracing::warn!(dir, %error, "cannot watch the plugins folder, only looking now and then");
            }
        }
    }

    fn tell(&mut self, odd: BTreeMap<String, FileProblem>) {
        for (file, reason) in &odd {
            if self.odd.get(file) != Some(reason) {
                tracing::warn!(file, %reason, "file in the plugins folder is refused");
            }
        }
        self.odd = odd;
    }
}

/// Why this says nothing about handlers that are known: the folder is gone, or is another one than that in which they
/// were, with none of them in it, as when a volume is not mounted.
fn away(snapshot: &Snapshot, home: Option<FolderId>, knows_handlers: bool) -> Option<&'static str> {
    if !knows_handlers || !snapshot.handlers.is_empty() || snapshot.is_empty_on_purpose {
        return None;
    }
    match snapshot.id {
        None => Some("there is no such folder"),
        id if home.is_some() && home != id => Some(
            "it is another folder than before and holds no handler: is a volume not mounted? If there are to be no \
             handlers, put a file named .empty into it",
        ),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invoker::tracker::PluginStamp;

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
        some.handlers.insert("a".parse().unwrap(), HandlerStamps { module, sidecar: None });
        assert_eq!(away(&some, before, true), None);
    }
}
