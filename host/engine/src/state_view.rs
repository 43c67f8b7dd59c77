//! A handler's state during one run: the committed state, with the run's own changes on top.
//!
//! Each answer of the store is remembered with its version, as a read that settling validates. Own
//! writes are answered from memory and are not reads. Expiry is decided at the run's frozen time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use weir_core::bounds::{
    STATE_BYTES_PER_HANDLER_MAX, STATE_CALLS_PER_RUN_MAX, STATE_EXPIRY_SECONDS_MAX,
    STATE_KEY_BYTES_MAX, STATE_KEYS_PER_CALL_MAX, STATE_VALUE_BYTES_MAX,
};
use weir_core::effect::StateWrite;
use weir_core::state::{RangeRead, ReadSet, StateEntry, StateReader, StateUnavailable};
use weir_core::time::Timestamp;

use crate::headers::quoted;
use crate::refusal::{Code, Refusal};
use crate::run::StateKeys;
use crate::stop::{HostCallError, Stop};

/// Keys in the listings of one run together: each is kept until the run settles.
const LISTED_KEYS_MAX: usize = 100_000;

/// Keys in the input of a command: each is read one after the other before the command starts.
const INPUT_KEYS_MAX: usize = 1_000;

/// The run's own write of a key.
#[derive(Debug, Clone, Default)]
struct OwnWrite {
    value: Option<Box<str>>,
    expires_at: Option<Timestamp>,
}

pub(crate) struct StateView {
    reader: Arc<dyn StateReader>,
    now: Timestamp,
    calls: usize,
    listed: usize,
    /// The answers of the store, so that a run reads the same value each time.
    stored: BTreeMap<Box<str>, Option<StateEntry>>,
    /// The keys of `stored` that the guest has read, or that a decision used.
    read: BTreeSet<Box<str>>,
    ranges: Vec<RangeRead>,
    own: BTreeMap<Box<str>, OwnWrite>,
    size: Option<u64>,
}

impl fmt::Debug for StateView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateView").field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl StateView {
    pub(crate) fn new(reader: Arc<dyn StateReader>, now: Timestamp) -> Self {
        Self {
            reader,
            now,
            calls: 0,
            listed: 0,
            stored: BTreeMap::new(),
            read: BTreeSet::new(),
            ranges: Vec::new(),
            own: BTreeMap::new(),
            size: None,
        }
    }

    /// The values of these keys, for the input of a command. Each is a read, and a prefix is a
    /// listing. They do not count as calls of the run.
    pub(crate) async fn input(
        &mut self,
        wanted: &[StateKeys],
    ) -> Result<BTreeMap<String, String>, Stop> {
        let mut found = BTreeMap::new();
        for keys in wanted {
            let keys = match keys {
                StateKeys::One(key) => vec![key.clone()],
                StateKeys::Prefix(prefix) => self.input_keys(prefix).await?,
            };
            for key in keys {
                if let Some(value) = self.current(&key).await?.value {
                    found.insert(key.into(), value.into());
                }
            }
            if found.len() > INPUT_KEYS_MAX {
                return Err(Stop::TooMuch(format!(
                    "`state` under [input] names more than {INPUT_KEYS_MAX} keys that exist; name \
                     fewer, or remove keys"
                )));
            }
        }
        Ok(found)
    }

    /// The stored keys with a prefix: at most as many as an input may have, and one more.
    async fn input_keys(&mut self, prefix: &str) -> Result<Vec<Box<str>>, Stop> {
        let limit = STATE_KEYS_PER_CALL_MAX;
        let (mut found, mut after) = (Vec::new(), Box::from(""));
        loop {
            let keys = self.reader.keys(prefix, &after, limit, self.now).await?;
            let last = keys.last().cloned().filter(|_| keys.len() >= limit as usize);
            found.extend(keys.iter().cloned());
            let prefix = prefix.into();
            self.ranges.push(RangeRead { prefix, after, limit, keys });
            match last {
                Some(last) if found.len() <= INPUT_KEYS_MAX => after = last,
                _ => return Ok(found),
            }
        }
    }

    /// The value of a key.
    pub(crate) async fn get(&mut self, key: &str) -> Result<Option<String>, Stop> {
        self.spend()?;
        Ok(self.current(key).await?.value.map(Into::into))
    }

    /// Stores a value, without expiry.
    pub(crate) async fn set(&mut self, key: &str, value: &str) -> Result<(), HostCallError> {
        self.spend_or_refuse()?;
        checked_key(key)?;
        if value.len() > STATE_VALUE_BYTES_MAX {
            return Err(HostCallError::Refused(Refusal::too_large(format!(
                "The value for {} has {} bytes, and may have {STATE_VALUE_BYTES_MAX}; split it \
                 over several keys.",
                quoted(key),
                value.len()
            ))));
        }
        self.write(key, OwnWrite { value: Some(value.into()), expires_at: None }).await
    }

    /// Adds to an integer and keeps its expiry. Returns the sum.
    pub(crate) async fn add(&mut self, key: &str, delta: i64) -> Result<i64, HostCallError> {
        self.spend_or_refuse()?;
        checked_key(key)?;
        let OwnWrite { value, expires_at } = self.current(key).await?;
        let number = value.as_deref().map_or(Ok(0), str::parse::<i64>).map_err(|_| {
            Refusal::invalid(format!(
                "The value of {} is not an integer of 64 bits, so nothing can be added to it.",
                quoted(key)
            ))
        })?;
        let sum = number.checked_add(delta).ok_or_else(|| {
            Refusal::invalid(format!("The sum for {} does not fit into 64 bits.", quoted(key)))
        })?;
        self.write(key, OwnWrite { value: Some(sum.to_string().into()), expires_at }).await?;
        Ok(sum)
    }

    /// Sets the expiry of a key; 0 removes it.
    pub(crate) async fn expire(&mut self, key: &str, seconds: u32) -> Result<(), Stop> {
        self.spend()?;
        let mut current = self.current(key).await?;
        if current.value.is_some() {
            let life = Duration::from_secs(u64::from(seconds.min(STATE_EXPIRY_SECONDS_MAX)));
            current.expires_at = (seconds > 0).then(|| self.now.after(life));
            self.own.insert(key.into(), current);
        }
        Ok(())
    }

    /// Removes a key.
    pub(crate) fn remove(&mut self, key: &str) -> Result<(), Stop> {
        self.spend()?;
        if checked_key(key).is_ok() {
            self.own.insert(key.into(), OwnWrite::default());
        }
        Ok(())
    }

    /// The keys that start with `prefix` and come after `after`, in byte order.
    pub(crate) async fn keys(
        &mut self,
        prefix: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<String>, Stop> {
        self.spend()?;
        let limit = limit.min(STATE_KEYS_PER_CALL_MAX);
        if limit == 0 || prefix.len() > STATE_KEY_BYTES_MAX {
            return Ok(Vec::new());
        }
        let wanted = limit as usize;
        let removed = self.own.values().filter(|own| own.value.is_none()).count();
        // Enough that keys removed by this run do not make a page look like the last one.
        let page = u32::try_from(wanted + removed)
            .unwrap_or(STATE_KEYS_PER_CALL_MAX)
            .min(STATE_KEYS_PER_CALL_MAX);
        let mut found: BTreeSet<Box<str>> = BTreeSet::new();
        let mut from: Box<str> = after.into();
        loop {
            let keys = self.reader.keys(prefix, &from, page, self.now).await?;
            let full = keys.len() >= page as usize;
            self.listed += keys.len();
            if self.listed > LISTED_KEYS_MAX {
                return Err(Stop::TooMuch(format!(
                    "listed more than {LISTED_KEYS_MAX} keys of its state in one run"
                )));
            }
            let last = keys.last().cloned();
            let gone = |key: &str| self.own.get(key).is_some_and(|own| own.value.is_none());
            found.extend(keys.iter().filter(|key| !gone(key)).cloned());
            self.ranges.push(RangeRead { prefix: prefix.into(), after: from, limit: page, keys });
            match last {
                Some(last) if full && found.len() < wanted => from = last,
                _ => break,
            }
        }
        let own = self
            .own
            .iter()
            .filter(|(key, own)| own.value.is_some() && key.starts_with(prefix) && ***key > *after);
        found.extend(own.map(|(key, _)| key.clone()));
        Ok(found.into_iter().take(wanted).map(Into::into).collect())
    }

    /// The reads that settling validates, after any end of the run.
    pub(crate) fn reads(&self) -> ReadSet {
        let version = |key: &str| {
            let entry = self.stored.get(key).and_then(Option::as_ref);
            (key.into(), entry.filter(|e| e.is_live(self.now)).map(|e| e.version))
        };
        ReadSet {
            at: self.now,
            keys: self.read.iter().map(|key| version(key)).collect(),
            ranges: self.ranges.clone(),
        }
    }

    /// The stored entries of the keys in `reads`, in the same order.
    pub(crate) fn values_read(&mut self) -> Vec<Option<StateEntry>> {
        let (now, stored) = (self.now, &mut self.stored);
        let read = self.read.iter();
        read.map(|key| stored.get_mut(key)?.take_if(|entry| entry.is_live(now))).collect()
    }

    /// The run's writes.
    pub(crate) fn into_writes(self) -> Vec<StateWrite> {
        let write = |(key, own): (Box<str>, OwnWrite)| StateWrite {
            key,
            value: own.value,
            expires_at: own.expires_at,
        };
        self.own.into_iter().map(write).collect()
    }

    /// A key as the run sees it: its own write, or else the stored value, which then is a read.
    async fn current(&mut self, key: &str) -> Result<OwnWrite, StateUnavailable> {
        if checked_key(key).is_err() {
            return Ok(OwnWrite::default());
        }
        if let Some(own) = self.own.get(key) {
            return Ok(own.clone());
        }
        self.read.insert(key.into());
        let now = self.now;
        let entry = self.stored_entry(key).await?.as_ref().filter(|entry| entry.is_live(now));
        Ok(entry.map_or_else(OwnWrite::default, |entry| OwnWrite {
            value: Some(entry.value.clone()),
            expires_at: entry.expires_at,
        }))
    }

    async fn stored_entry(&mut self, key: &str) -> Result<&Option<StateEntry>, StateUnavailable> {
        if !self.stored.contains_key(key) {
            let entry = self.reader.get(key).await?;
            self.stored.insert(key.into(), entry);
        }
        Ok(&self.stored[key])
    }

    async fn write(&mut self, key: &str, own: OwnWrite) -> Result<(), HostCallError> {
        let before = self.own.insert(key.into(), own);
        if self.over_quota().await? {
            match before {
                Some(before) => self.own.insert(key.into(), before),
                None => self.own.remove(key),
            };
            return Err(HostCallError::Refused(Refusal::new(
                Code::Quota,
                format!(
                    "This handler's state would exceed {STATE_BYTES_PER_HANDLER_MAX} bytes; \
                     remove keys, or let them expire."
                ),
            )));
        }
        Ok(())
    }

    /// True if the state with this run's writes exceeds its limit. First counts each write as new;
    /// only if that exceeds the limit, the replaced values are loaded, which are not reads of the
    /// guest.
    async fn over_quota(&mut self) -> Result<bool, StateUnavailable> {
        let stored = match self.size {
            Some(size) => size,
            None => *self.size.insert(self.reader.size().await?),
        };
        let max = STATE_BYTES_PER_HANDLER_MAX as u64;
        let bytes = |key: &str, value: &str| (key.len() + value.len()) as u64;
        let written: u64 = self
            .own
            .iter()
            .filter_map(|(key, own)| own.value.as_ref().map(|value| bytes(key, value)))
            .sum();
        if stored + written <= max {
            return Ok(false);
        }
        let mut replaced = 0;
        let keys: Vec<Box<str>> = self.own.keys().cloned().collect();
        for key in keys {
            let entry = self.stored_entry(&key).await?;
            replaced += entry.as_ref().map_or(0, |entry| bytes(&key, &entry.value));
        }
        Ok((stored + written).saturating_sub(replaced) > max)
    }

    fn spend(&mut self) -> Result<(), Stop> {
        self.calls += 1;
        if self.calls > STATE_CALLS_PER_RUN_MAX {
            return Err(Stop::TooMuch(format!(
                "made more than {STATE_CALLS_PER_RUN_MAX} state calls in one run; keep less \
                 state, or more of it in each key"
            )));
        }
        Ok(())
    }

    fn spend_or_refuse(&mut self) -> Result<(), Refusal> {
        self.spend().map_err(|_| {
            Refusal::too_many(format!(
                "A run may make {STATE_CALLS_PER_RUN_MAX} state calls, and this is one more; keep \
                 more in each key."
            ))
        })
    }
}

fn checked_key(key: &str) -> Result<(), Refusal> {
    if key.is_empty() || key.len() > STATE_KEY_BYTES_MAX {
        return Err(Refusal::invalid(format!(
            "The state key {} is not valid; use 1 to {STATE_KEY_BYTES_MAX} bytes.",
            quoted(key)
        )));
    }
    Ok(())
}
