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

use super::folder::{self, FolderId, Odd, Snapshot};
use super::manifest::Manifest;
use super::reload::Reloader;
use super::tracker::{Act, Stamps, Tracker};

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
    let mut tracker = Tracker::new(plugins.settle, plugins.grace, last_good.keys().cloned());
    let mut watch = Watch::new(plugins.dir.clone());
    let mut under_way = UnderWay::new(reloader);
    for (name, manifest) in last_good {
        under_way.restore(name, manifest);
    }
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            () = watch.reported.notified() => sleep(GATHER).await,
            () = sleep(pause) => {}
            Some((act, done)) = under_way.next() => if !done {
                tracker.again(&act, begun.elapsed());
            },
        }
        pause = match watch.look(reloader).await {
            None => plugins.rescan,
            Some(folder) => {
                for act in tracker.observe(&folder, begun.elapsed()) {
                    under_way.begin(act);
                }
                let next = tracker.next(begun.elapsed()).unwrap_or(plugins.rescan);
                let absent = if watch.watched.is_none() { ABSENT } else { plugins.rescan };
                next.max(Duration::from_millis(1)).min(plugins.rescan).min(absent)
            }
        };
        if tracker.is_quiet() && under_way.is_empty() && !watch.unreadable {
            reloader.versions.looked();
        }
    }
}

/// An act with whose it is, and what came of it: nothing where it was no act but a restored version.
type Acting<'r> = BoxFuture<'r, (HandlerName, Option<(Act, bool)>)>;

/// What is being done about handlers: one thing at a time for each, and nobody waits for another's.
struct UnderWay<'r> {
    reloader: &'r Reloader,
    acts: FuturesUnordered<Acting<'r>>,
    /// What is to be done next about a handler that is being dealt with. The last word counts: each act makes of the
    /// folder as it is then what is in force.
    next: BTreeMap<HandlerName, Option<Act>>,
}

impl<'r> UnderWay<'r> {
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

    fn begin(&mut self, act: Act) {
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

    /// Waits until something has been done; says what, and whether it need not be asked for again. None when there is
    /// nothing under way.
    async fn next(&mut self) -> Option<(Act, bool)> {
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
struct Watch {
    dir: PathBuf,
    /// None where the system gives no watcher; then looking now and then has to do.
    watcher: Option<RecommendedWatcher>,
    /// The folder that is watched: one that was made again is another.
    watched: Option<FolderId>,
    reported: Arc<Notify>,
    /// What was said about odd files, so that it is said once.
    odd: BTreeMap<String, Odd>,
    unreadable: bool,
}

impl Watch {
    fn new(dir: PathBuf) -> Self {
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
            unreadable: false,
        }
    }

    /// What lies in the folder; none if it cannot be told.
    async fn look(&mut self, reloader: &Reloader) -> Option<BTreeMap<HandlerName, Stamps>> {
        let dir = self.dir.clone();
        let looked = reloader.guests.spawn_blocking(move || folder::look(&dir)).await;
        match looked.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(Snapshot { id, handlers, odd }) => {
                self.unreadable = false;
                self.follow(id);
                self.tell(odd);
                Some(handlers)
            }
            Err(error) => {
                if !self.unreadable {
                    let dir = self.dir.display().to_string();
                    tracing::error!(dir, %error, "cannot read the plugins folder, everything serves on");
                }
                self.unreadable = true;
                None
            }
        }
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

    fn tell(&mut self, odd: BTreeMap<String, Odd>) {
        for (file, reason) in &odd {
            if self.odd.get(file) != Some(reason) {
                tracing::warn!(file, %reason, "file in the plugins folder is refused");
            }
        }
        self.odd = odd;
    }
}
