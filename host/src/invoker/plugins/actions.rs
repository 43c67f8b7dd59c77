//! Actions under way: one at a time for each handler, and those of different handlers side by side.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use weir_core::name::HandlerName;

use super::manifest::Manifest;
use super::reload::{ActionResult, Reloader};
use super::tracker::FolderAction;

/// The end of an action; of a restored version there is nothing to tell.
type ActionFuture<'r> = BoxFuture<'r, (HandlerName, Option<(FolderAction, ActionResult)>)>;

/// Carries out actions on handlers.
pub(super) struct RunningActions<'r> {
    reloader: &'r Reloader,
    running: FuturesUnordered<ActionFuture<'r>>,
    /// The handlers that have an action under way, with the next one. A later action replaces a
    /// waiting one, because an action goes by the folder's content when it starts.
    next: BTreeMap<HandlerName, Option<FolderAction>>,
}

impl<'r> RunningActions<'r> {
    pub(super) fn new(reloader: &'r Reloader) -> Self {
        Self { reloader, running: FuturesUnordered::new(), next: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    /// Starts to restore a handler.
    pub(super) fn restore(&mut self, name: HandlerName, manifest: Manifest) {
        let reloader = self.reloader;
        self.next.insert(name.clone(), None);
        self.running.push(Box::pin(async move {
            reloader.restore(&name, &manifest).await;
            (name, None)
        }));
    }

    /// Starts an action, or keeps it until the present one of its handler has ended.
    pub(super) fn start(&mut self, action: FolderAction) {
        let name = action.handler().clone();
        if let Some(next) = self.next.get_mut(&name) {
            *next = Some(action);
            return;
        }
        self.next.insert(name.clone(), None);
        let reloader = self.reloader;
        self.running.push(Box::pin(async move {
            let result = reloader.carry_out(&action).await;
            (name, Some((action, result)))
        }));
    }

    /// Waits for the end of an action. None if none is under way.
    pub(super) async fn next(&mut self) -> Option<(FolderAction, ActionResult)> {
        loop {
            let (name, ended) = self.running.next().await?;
            if let Some(action) = self.next.remove(&name).flatten() {
                self.start(action);
                continue;
            }
            if ended.is_some() {
                return ended;
            }
        }
    }
}
