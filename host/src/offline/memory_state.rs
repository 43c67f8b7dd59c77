//! The state of a handler in memory, which runs read and which the writes of runs change.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use async_trait::async_trait;
use parking_lot::RwLock;
use weir_core::effect::StateWrite;
use weir_core::state::{StateEntry, StateReader, StateUnavailable};
use weir_core::time::Timestamp;

/// A handler's state in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryState(RwLock<Entries>);

#[derive(Debug, Default, Clone)]
struct Entries {
    stored: BTreeMap<Box<str>, StateEntry>,
    /// Keys of queued effects, for `outbox.cancel`.
    queued: BTreeSet<Box<str>>,
    bytes: u64,
    /// The version of the last write.
    version: u64,
}

impl MemoryState {
    /// A state with these keys and values; the time is that of a value's expiry.
    pub(crate) fn new(
        entries: impl IntoIterator<Item = (String, String, Option<Timestamp>)>,
    ) -> Self {
        let state = Self::default();
        let write = |(key, value, expires_at): (String, String, Option<Timestamp>)| StateWrite {
            key: key.into(),
            value: Some(value.into()),
            expires_at,
        };
        let writes: Vec<StateWrite> = entries.into_iter().map(write).collect();
        state.apply(&writes);
        state
    }

    /// Lets effects with these keys be queued, so that cancelling one of them finds it.
    pub(crate) fn with_queued(self, keys: impl IntoIterator<Item = String>) -> Self {
        self.0.write().queued.extend(keys.into_iter().map(Box::from));
        self
    }

    /// Carries out the writes of a run. Each gets a new version.
    pub(crate) fn apply(&self, writes: &[StateWrite]) {
        let mut entries = self.0.write();
        for StateWrite { key, value, expires_at } in writes {
            entries.version += 1;
            let size = |value: &str| (key.len() + value.len()) as u64;
            let before = match value {
                Some(value) => {
                    let version = entries.version;
                    entries.bytes += size(value);
                    let (value, expires_at) = (value.clone(), *expires_at);
                    entries.stored.insert(key.clone(), StateEntry { value, version, expires_at })
                }
                None => entries.stored.remove(key),
            };
            if let Some(before) = before {
                entries.bytes -= size(&before.value);
            }
        }
    }

    /// The entries live at `now`, by key.
    pub(crate) fn entries(&self, now: Timestamp) -> BTreeMap<Box<str>, StateEntry> {
        let entries = self.0.read();
        let live = entries.stored.iter().filter(|(_, entry)| entry.is_live(now));
        live.map(|(key, entry)| (key.clone(), entry.clone())).collect()
    }
}

impl Clone for MemoryState {
    /// A state of its own with the same entries.
    fn clone(&self) -> Self {
        Self(RwLock::new(self.0.read().clone()))
    }
}

#[async_trait]
impl StateReader for MemoryState {
    async fn get(&self, key: &str) -> Result<Option<StateEntry>, StateUnavailable> {
        Ok(self.0.read().stored.get(key).cloned())
    }

    async fn keys(
        &self,
        prefix: &str,
        after: &str,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Box<str>>, StateUnavailable> {
        let from = if after >= prefix { Bound::Excluded(after) } else { Bound::Included(prefix) };
        let entries = self.0.read();
        let found = entries
            .stored
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, entry)| entry.is_live(now));
        Ok(found.map(|(key, _)| key.clone()).take(limit as usize).collect())
    }

    async fn size(&self) -> Result<u64, StateUnavailable> {
        Ok(self.0.read().bytes)
    }

    async fn has_queued(&self, key: &str) -> Result<bool, StateUnavailable> {
        Ok(self.0.read().queued.contains(key))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    fn now(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn write(key: &str, value: Option<&str>) -> StateWrite {
        StateWrite { key: key.into(), value: value.map(Into::into), expires_at: None }
    }

    #[test]
    fn writes_change_entries_versions_and_size() {
        let state = MemoryState::new([("a".into(), "1".into(), None)]);
        let get = |key: &str| state.get(key).now_or_never().unwrap().unwrap();
        let first = get("a").unwrap().version;
        state.apply(&[write("a", Some("22")), write("b", Some("3"))]);
        assert!(get("a").unwrap().version > first);
        assert_eq!(state.size().now_or_never().unwrap().unwrap(), 5);
        state.apply(&[write("a", None), write("c", None)]);
        assert_eq!(get("a"), None);
        assert_eq!(state.size().now_or_never().unwrap().unwrap(), 2);
    }

    #[test]
    fn an_expired_entry_is_not_listed() {
        let state = MemoryState::new([
            ("a".into(), "1".into(), Some(now(10))),
            ("b".into(), "1".into(), None),
        ]);
        let keys = |at| state.keys("", "", 10, now(at)).now_or_never().unwrap().unwrap();
        assert_eq!((keys(9).len(), keys(10).len()), (2, 1));
        assert_eq!(state.entries(now(10)).len(), 1);
    }

    proptest! {
        #[test]
        fn a_listing_has_the_keys_of_its_range(
            keys in prop::collection::btree_set("[ab]{1,3}", 0..12),
            prefix in "[ab]{0,2}",
            after in "[ab]{0,3}",
            limit in 0u32..6,
        ) {
            let entries = keys.iter().map(|key| (key.clone(), String::new(), None));
            let state = MemoryState::new(entries);
            let found = state.keys(&prefix, &after, limit, now(0)).now_or_never().unwrap().unwrap();
            let expected: Vec<_> = keys
                .iter()
                .filter(|key| key.starts_with(&prefix) && **key > after)
                .take(limit as usize)
                .map(|key| Box::<str>::from(key.as_str()))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
