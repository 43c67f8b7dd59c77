//! Counters that rise when an entry of the registry changes, by kind.

use tokio::sync::watch;

use crate::registry::EntryKind;

/// One counter per kind of entry.
pub(crate) struct Watchers(Vec<(EntryKind, watch::Sender<u64>)>);

impl Default for Watchers {
    fn default() -> Self {
        Self(EntryKind::ALL.into_iter().map(|kind| (kind, watch::Sender::new(0))).collect())
    }
}

impl Watchers {
    pub(crate) fn changed(&self, kind: EntryKind) {
        for (_, sender) in self.0.iter().filter(|(k, _)| *k == kind) {
            sender.send_modify(|version| *version += 1);
        }
    }

    pub(crate) fn subscribe(&self, kind: EntryKind) -> watch::Receiver<u64> {
        match self.0.iter().find(|(k, _)| *k == kind) {
            Some((_, sender)) => sender.subscribe(),
            None => watch::channel(0).1,
        }
    }
}
