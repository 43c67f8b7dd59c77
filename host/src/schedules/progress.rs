//! The time up to which each schedule is done, as it is kept in the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_core::event::EventType;
use weir_core::time::Timestamp;
use weir_store::registry::{CasOutcome, EntryKind};
use weir_store::{Store, StoreError};

use crate::config::Schedule;

/// The progress of every schedule.
#[derive(Debug, Default)]
pub(super) struct ScheduleProgress(BTreeMap<EventType, Entry>);

#[derive(Debug)]
struct Entry {
    until: Timestamp,
    /// The version of its row.
    version: Option<u64>,
}

/// The row of a schedule.
#[derive(Debug, Serialize, Deserialize)]
struct StoredProgress {
    /// The times as they are written in the configuration. Other times begin anew.
    timing: String,
    until: Timestamp,
}

impl ScheduleProgress {
    /// Reads it from the store. A schedule that is new, or has other times than before, begins now.
    /// The row of one that is no longer configured is removed.
    pub(super) async fn read(
        store: &dyn Store,
        schedules: &[Arc<Schedule>],
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut known: BTreeMap<String, (u64, Option<StoredProgress>)> = BTreeMap::new();
        for (name, entry) in store.list(EntryKind::Schedule).await? {
            let stored = entry.value.and_then(|value| serde_json::from_slice(&value).ok());
            known.insert(name, (entry.version, stored));
        }
        let mut progress = Self::default();
        for schedule in schedules {
            let (version, stored) = match known.remove(schedule.name.as_str()) {
                Some((version, stored)) => (Some(version), stored),
                None => (None, None),
            };
            let same_times = |stored: &StoredProgress| stored.timing == schedule.timing.to_string();
            let until = stored.filter(same_times).map(|stored| stored.until);
            let begins = until.is_none();
            let entry = Entry { until: until.unwrap_or(now), version };
            progress.0.insert(schedule.name.clone(), entry);
            if begins {
                progress.advance(store, schedule, now).await?;
            }
        }
        for (name, (version, _)) in known {
            store.cas(EntryKind::Schedule, &name, Some(version), None).await?;
        }
        Ok(progress)
    }

    /// The time up to which a schedule is done.
    pub(super) fn until(&self, name: &EventType) -> Option<Timestamp> {
        self.0.get(name).map(|entry| entry.until)
    }

    /// Writes down that a schedule is done up to a time.
    pub(super) async fn advance(
        &mut self,
        store: &dyn Store,
        schedule: &Schedule,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(entry) = self.0.get_mut(&schedule.name) else { return Ok(()) };
        let stored = StoredProgress { timing: schedule.timing.to_string(), until };
        let value = serde_json::to_vec(&stored).unwrap_or_default();
        let name = schedule.name.as_str();
        match store.cas(EntryKind::Schedule, name, entry.version, Some(value)).await? {
            CasOutcome::Written { version } => *entry = Entry { until, version: Some(version) },
            // Another process was faster; the dedup keys of the events keep them single.
            CasOutcome::Conflict { found } => *entry = Entry { until, version: found },
        }
        Ok(())
    }
}
