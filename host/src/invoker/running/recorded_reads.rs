//! The answers of the store to a run: recorded with the attempt, and given again to a repetition
//! of it.
//!
//! The JSON is a stored format: new fields need a default, and no field is ever renamed.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use weir_core::bounds::READS_RECORD_BYTES_MAX;
use weir_core::effect::StateWrite;
use weir_core::state::{StateEntry, StateReader, StateUnavailable};
use weir_core::time::Timestamp;
use weir_store::settle::NewReads;

/// The answers of the store to one run, and the run's own writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReadsRecord {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) values: Vec<ValueRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) listings: Vec<ListingRecord>,
    /// Keys of effects, with the answer to the question if one is queued.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) queued: Vec<(Box<str>, bool)>,
    /// Bytes of the handler's state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
    /// The writes of the run; none if it failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) writes: Vec<ValueRecord>,
}

/// A key with its value; none if it was missing, or is removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ValueRecord {
    pub(crate) key: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<Timestamp>,
}

/// A listing of keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListingRecord {
    pub(crate) prefix: Box<str>,
    pub(crate) after: Box<str>,
    pub(crate) limit: u32,
    pub(crate) keys: Vec<Box<str>>,
}

impl ReadsRecord {
    /// True if the run read nothing. The size of the state is only asked for by writes.
    fn is_empty(&self) -> bool {
        self.values.is_empty() && self.listings.is_empty() && self.queued.is_empty()
    }

    pub(crate) fn decode(stored: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(stored)
    }
}

impl ValueRecord {
    pub(crate) fn of_write(write: &StateWrite) -> Self {
        let StateWrite { key, value, expires_at } = write.clone();
        Self { key, value, expires_at }
    }
}

/// A reader that records the answers of another one.
pub(crate) struct RecordingReader {
    inner: Arc<dyn StateReader>,
    seen: Mutex<SeenAnswers>,
}

/// The answers so far. Beyond the limit only their bytes are kept.
#[derive(Default)]
struct SeenAnswers {
    record: ReadsRecord,
    bytes: usize,
}

impl SeenAnswers {
    fn add(&mut self, bytes: usize, note: impl FnOnce(&mut ReadsRecord)) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= READS_RECORD_BYTES_MAX {
            note(&mut self.record);
        } else {
            self.record = ReadsRecord::default();
        }
    }
}

impl RecordingReader {
    pub(crate) fn new(inner: Arc<dyn StateReader>) -> Arc<Self> {
        Arc::new(Self { inner, seen: Mutex::default() })
    }

    /// The record of a run that has ended, with its writes. None if it read nothing.
    pub(crate) fn finish(&self, writes: &[StateWrite]) -> Option<NewReads> {
        let SeenAnswers { mut record, bytes } = std::mem::take(&mut *self.seen.lock());
        if bytes > READS_RECORD_BYTES_MAX {
            return Some(NewReads::TooLarge(bytes));
        }
        if record.is_empty() {
            return None;
        }
        record.writes = writes.iter().map(ValueRecord::of_write).collect();
        // Plain data always serializes.
        let text = serde_json::to_string(&record).unwrap_or_default();
        Some(if text.len() > READS_RECORD_BYTES_MAX {
            NewReads::TooLarge(text.len())
        } else {
            NewReads::Kept(text.into())
        })
    }
}

#[async_trait]
impl StateReader for RecordingReader {
    async fn get(&self, key: &str) -> Result<Option<StateEntry>, StateUnavailable> {
        let entry = self.inner.get(key).await?;
        let bytes = key.len() + entry.as_ref().map_or(0, |entry| entry.value.len());
        self.seen.lock().add(bytes, |record| {
            let (value, expires_at) = match &entry {
                Some(entry) => (Some(entry.value.clone()), entry.expires_at),
                None => (None, None),
            };
            record.values.push(ValueRecord { key: key.into(), value, expires_at });
        });
        Ok(entry)
    }

    async fn keys(
        &self,
        prefix: &str,
        after: &str,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Box<str>>, StateUnavailable> {
        let keys = self.inner.keys(prefix, after, limit, now).await?;
        let bytes = prefix.len() + after.len() + keys.iter().map(|key| key.len()).sum::<usize>();
        self.seen.lock().add(bytes, |record| {
            let (prefix, after, keys) = (prefix.into(), after.into(), keys.clone());
            record.listings.push(ListingRecord { prefix, after, limit, keys });
        });
        Ok(keys)
    }

    async fn size(&self) -> Result<u64, StateUnavailable> {
        let size = self.inner.size().await?;
        self.seen.lock().record.size = Some(size);
        Ok(size)
    }

    async fn has_queued(&self, key: &str) -> Result<bool, StateUnavailable> {
        let queued = self.inner.has_queued(key).await?;
        self.seen.lock().add(key.len(), |record| record.queued.push((key.into(), queued)));
        Ok(queued)
    }
}

/// A reader that gives the recorded answers again.
#[derive(Debug, Default)]
pub(crate) struct RecordedReader {
    values: BTreeMap<Box<str>, Option<StateEntry>>,
    listings: Vec<ListingRecord>,
    queued: BTreeMap<Box<str>, bool>,
    size: u64,
}

impl RecordedReader {
    pub(crate) fn of(record: &ReadsRecord) -> Self {
        let entry = |read: &ValueRecord| {
            let value = read.value.clone()?;
            Some(StateEntry { value, version: 1, expires_at: read.expires_at })
        };
        Self {
            values: record.values.iter().map(|read| (read.key.clone(), entry(read))).collect(),
            listings: record.listings.clone(),
            queued: record.queued.iter().cloned().collect(),
            size: record.size.unwrap_or(0),
        }
    }
}

/// The answer to a question that the recorded run did not ask.
fn not_recorded(question: &str) -> StateUnavailable {
    StateUnavailable(format!("the attempt did not ask for {question}"))
}

#[async_trait]
impl StateReader for RecordedReader {
    async fn get(&self, key: &str) -> Result<Option<StateEntry>, StateUnavailable> {
        let known = self.values.get(key);
        known.cloned().ok_or_else(|| not_recorded(&format!("the key {}", key.escape_debug())))
    }

    async fn keys(
        &self,
        prefix: &str,
        after: &str,
        limit: u32,
        _: Timestamp,
    ) -> Result<Vec<Box<str>>, StateUnavailable> {
        let same = |read: &&ListingRecord| {
            *read.prefix == *prefix && *read.after == *after && read.limit == limit
        };
        let known = self.listings.iter().find(same);
        known
            .map(|read| read.keys.clone())
            .ok_or_else(|| not_recorded(&format!("the keys under {}", prefix.escape_debug())))
    }

    async fn size(&self) -> Result<u64, StateUnavailable> {
        Ok(self.size)
    }

    async fn has_queued(&self, key: &str) -> Result<bool, StateUnavailable> {
        let known = self.queued.get(key).copied();
        known.ok_or_else(|| not_recorded(&format!("the queued effect {}", key.escape_debug())))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// A state with one value of this length.
    struct OneValue(usize);

    #[async_trait]
    impl StateReader for OneValue {
        async fn get(&self, key: &str) -> Result<Option<StateEntry>, StateUnavailable> {
            let value = || "x".repeat(self.0).into();
            let entry = || StateEntry { value: value(), version: 7, expires_at: None };
            Ok((key == "a").then(entry))
        }

        async fn keys(
            &self,
            _: &str,
            _: &str,
            _: u32,
            _: Timestamp,
        ) -> Result<Vec<Box<str>>, StateUnavailable> {
            Ok(vec!["a".into()])
        }

        async fn size(&self) -> Result<u64, StateUnavailable> {
            Ok(self.0 as u64)
        }

        async fn has_queued(&self, _: &str) -> Result<bool, StateUnavailable> {
            Ok(true)
        }
    }

    fn now<T>(answer: impl Future<Output = Result<T, StateUnavailable>>) -> Option<T> {
        answer.now_or_never().unwrap().ok()
    }

    #[test]
    fn recorded_answers_are_given_again_and_others_are_not() {
        let recording = RecordingReader::new(Arc::new(OneValue(3)));
        assert!(recording.finish(&[]).is_none(), "nothing was read");
        let time = Timestamp::from_millis(1);
        now(recording.get("a")).unwrap();
        now(recording.get("b")).unwrap();
        now(recording.keys("", "", 5, time)).unwrap();
        now(recording.has_queued("k")).unwrap();
        let write = StateWrite { key: "a".into(), value: None, expires_at: None };
        let Some(NewReads::Kept(text)) = recording.finish(&[write]) else { panic!() };
        let record = ReadsRecord::decode(&text).unwrap();
        assert_eq!(record.writes.len(), 1);
        let again = RecordedReader::of(&record);
        assert_eq!(&*now(again.get("a")).unwrap().unwrap().value, "xxx");
        assert_eq!(now(again.get("b")).unwrap(), None);
        assert_eq!(now(again.get("c")), None);
        assert_eq!(now(again.keys("", "", 5, time)).unwrap(), [Box::<str>::from("a")]);
        assert_eq!(now(again.keys("", "", 6, time)), None);
        assert_eq!(now(again.has_queued("k")), Some(true));
        assert_eq!(now(again.has_queued("l")), None);
    }

    #[test]
    fn a_run_that_only_writes_has_no_record() {
        let recording = RecordingReader::new(Arc::new(OneValue(3)));
        now(recording.size()).unwrap();
        let write = StateWrite { key: "a".into(), value: Some("1".into()), expires_at: None };
        assert_eq!(recording.finish(&[write]), None);
    }

    #[test]
    fn more_than_the_limit_is_counted_and_not_kept() {
        let recording = RecordingReader::new(Arc::new(OneValue(40_000)));
        for _ in 0..3 {
            now(recording.get("a")).unwrap();
        }
        assert_eq!(recording.finish(&[]), Some(NewReads::TooLarge(120_003)));
        let recording = RecordingReader::new(Arc::new(OneValue(READS_RECORD_BYTES_MAX - 10)));
        now(recording.get("a")).unwrap();
        assert!(matches!(recording.finish(&[]), Some(NewReads::TooLarge(_))));
    }
}
