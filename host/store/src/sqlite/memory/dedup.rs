//! Dedup keys: recognises an event that was stored before (INV-6).
//!
//! The newest keys are in memory, loaded at open from the events. When there are enough, they are
//! sealed and written as a run sorted by key, a few hundred per commit, so that no commit writes to
//! random places. Each run has a Bloom filter in memory and is dropped whole when it is old. Only
//! the writer uses this; the keys of a group are removed if its commit fails.

use std::hash::Hasher;

use rusqlite::{Connection, OptionalExtension, params};
use rustc_hash::FxHashMap;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::DedupKey;
use crate::sqlite::format::damage::{UnreadableRange, read_around_damage};
use crate::sqlite::format::{num, schema};

/// Keys of a sealed run written in one commit, at least.
const KEYS_PER_COMMIT: usize = 512;

/// Events read at once when the newest keys are loaded.
const LOADED_AT_ONCE: i64 = 16_384;

/// Rows of a dropped run deleted in one call.
const DELETED_PER_CALL: i64 = 4096;

/// Number of runs after which the next ones are twice as long.
const RUNS_BEFORE_LONGER: usize = 48;

/// Number of doublings. Longer runs take more memory: 2^3 times 131,072 keys are about 50 MB.
const LONGER_AT_MOST: usize = 3;

const BLOOM_BITS_PER_KEY: usize = 16;

const BLOOM_PROBES: u64 = 8;

/// A hashed key.
pub(crate) type Key = [u8; 16];

/// The hashes of one event's key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HashedKey {
    /// Hash of the material, for the first event with it.
    pub(crate) plain: Key,
    /// Hash of material and body tag, for a later event with the same material and another body.
    pub(crate) tagged: Key,
    pub(crate) body_tag: u32,
}

/// Hashes a key. The secret keeps senders from choosing keys that collide.
pub(crate) fn hash_key(secret: &[u8; 16], source: &str, key: &DedupKey) -> HashedKey {
    // The first byte separates the two kinds of hash.
    let mut hash = SipHasher13::new_with_key(secret);
    hash.write_u8(0);
    hash.write_u64(source.len() as u64);
    hash.write(source.as_bytes());
    hash.write(&key.material);
    let plain = hash.finish128().as_bytes();
    let mut hash = SipHasher13::new_with_key(secret);
    hash.write_u8(1);
    hash.write(&plain);
    hash.write_u32(key.body_tag);
    HashedKey { plain, tagged: hash.finish128().as_bytes(), body_tag: key.body_tag }
}

/// True for tags of one body, or of one that was not compared.
fn is_same_body(first: u32, second: u32) -> bool {
    first == second || first == DedupKey::ANY_BODY || second == DedupKey::ANY_BODY
}

/// The first event of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FirstEvent {
    pub(crate) event: i64,
    /// The event's time, as stored.
    pub(crate) at: i64,
    pub(crate) body_tag: u32,
}

/// Status of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyStatus {
    /// The event has no key, so it is not a duplicate.
    Unkeyed,
    /// Not stored yet: store the event with this key.
    New(Key),
    /// The sender used the id before for another body: store the event with this key, marked.
    Reused(Key),
    /// Stored already.
    Duplicate(FirstEvent),
}

struct KeyRun {
    n: i64,
    newest_at: i64,
    bloom: Box<[u8]>,
}

/// A run that is being written.
struct SealedKeys {
    run: i64,
    /// By key.
    entries: Vec<(Key, FirstEvent)>,
    written: usize,
    /// `written` at the last commit.
    committed: usize,
    finished: bool,
}

/// All keys of a store.
pub(crate) struct Dedup {
    newest: FxHashMap<Key, FirstEvent>,
    /// Keys that the current group added to `newest`.
    added: Vec<Key>,
    sealed: Option<SealedKeys>,
    runs: Vec<KeyRun>,
    next_run: i64,
    keys_per_run: usize,
    /// First event that is not in a run yet.
    floor: i64,
    /// The next run is written before it has enough keys.
    seals_early: bool,
}

impl Dedup {
    /// Loads the newest keys. Returns the events that cannot be read: their duplicates are not
    /// recognised.
    pub(crate) fn load(
        conn: &Connection,
        keys_per_run: usize,
    ) -> rusqlite::Result<(Self, Vec<UnreadableRange>)> {
        let mut statement =
            conn.prepare("SELECT run, newest_at, bloom FROM key_run_info ORDER BY run")?;
        let runs = statement
            .query_map([], |row| {
                let bloom: Vec<u8> = row.get(2)?;
                Ok(KeyRun { n: row.get(0)?, newest_at: row.get(1)?, bloom: bloom.into() })
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let left_over: Option<i64> =
            conn.query_row("SELECT max(run) FROM key_run", [], |r| r.get(0))?;
        let next_run = left_over.unwrap_or(0).max(runs.last().map_or(0, |r: &KeyRun| r.n)) + 1;
        let floor = schema::meta(conn, "keys_from_event")?.unwrap_or(1);
        let mut dedup = Self {
            newest: FxHashMap::default(),
            added: Vec::new(),
            sealed: None,
            runs,
            next_run,
            keys_per_run: keys_per_run.max(1),
            floor,
            seals_early: false,
        };
        let mut holes = Vec::new();
        let mut statement = conn.prepare(
            "SELECT n, at, key, body_tag FROM event WHERE n >= ?1 AND n <= ?2 AND key IS NOT NULL ORDER BY n",
        )?;
        let mut read = |first: i64, last: i64| {
            let row = |row: &rusqlite::Row<'_>| {
                let body_tag = num::small(row.get(3)?);
                Ok((row.get(2)?, FirstEvent { event: row.get(0)?, at: row.get(1)?, body_tag }))
            };
            statement.query_map([first, last], row)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        let last: i64 =
            conn.query_row("SELECT coalesce(max(n), 0) FROM event", [], |row| row.get(0))?;
        let mut from = floor;
        while from <= last {
            let to = from.saturating_add(LOADED_AT_ONCE - 1).min(last);
            for (key, first) in read_around_damage((from, to), &mut read, &mut holes)? {
                dedup.newest.insert(key, first);
                dedup.seal_if_full();
            }
            from = to + 1;
        }
        Ok((dedup, holes))
    }

    /// Status of a key, including the keys of this group.
    pub(crate) fn seen(&self, conn: &Connection, key: &HashedKey) -> rusqlite::Result<KeyStatus> {
        match self.find(conn, &key.plain)? {
            None => Ok(KeyStatus::New(key.plain)),
            Some(first) if is_same_body(first.body_tag, key.body_tag) => {
                Ok(KeyStatus::Duplicate(first))
            }
            Some(_) => Ok(match self.find(conn, &key.tagged)? {
                Some(first) => KeyStatus::Duplicate(first),
                None => KeyStatus::Reused(key.tagged),
            }),
        }
    }

    /// Adds the key of an event of the group.
    pub(crate) fn add(&mut self, key: Key, first: FirstEvent) {
        self.newest.insert(key, first);
        self.added.push(key);
    }

    fn find(&self, conn: &Connection, key: &Key) -> rusqlite::Result<Option<FirstEvent>> {
        if let Some(first) = self.newest.get(key) {
            return Ok(Some(*first));
        }
        if let Some(sealed) = &self.sealed
            && let Ok(index) = sealed.entries.binary_search_by_key(key, |(k, _)| *k)
        {
            return Ok(Some(sealed.entries[index].1));
        }
        for run in self.runs.iter().rev().filter(|run| bloom_has(&run.bloom, key)) {
            let found = conn
                .prepare_cached(
                    "SELECT event, at, body_tag FROM key_run WHERE run = ?1 AND key = ?2",
                )?
                .query_row(params![run.n, key], |row| {
                    Ok(FirstEvent {
                        event: row.get(0)?,
                        at: row.get(1)?,
                        body_tag: num::small(row.get(2)?),
                    })
                })
                .optional()?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Writes some sealed keys in the group's transaction: at least twice as many as the group
    /// adds, so that a run is complete before the next one is sealed.
    pub(crate) fn write_behind(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let Some(sealed) = &mut self.sealed else { return Ok(()) };
        let chunk = KEYS_PER_COMMIT.max(2 * self.added.len());
        let end = sealed.entries.len().min(sealed.written + chunk);
        let mut insert = conn.prepare_cached(
            "INSERT INTO key_run (run, key, event, at, body_tag) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for (key, first) in &sealed.entries[sealed.written..end] {
            insert.execute(params![sealed.run, key, first.event, first.at, first.body_tag])?;
        }
        sealed.written = end;
        if end == sealed.entries.len() {
            let newest_at = sealed.entries.iter().map(|(_, f)| f.at).max().unwrap_or(0);
            let below = sealed.entries.iter().map(|(_, f)| f.event).max().unwrap_or(0) + 1;
            conn.execute(
                "INSERT INTO key_run_info (run, keys, newest_at, bloom) VALUES (?1, ?2, ?3, ?4)",
                params![sealed.run, num::column(end), newest_at, bloom_of(&sealed.entries)],
            )?;
            schema::set_meta(conn, "keys_from_event", &below)?;
            sealed.finished = true;
        }
        Ok(())
    }

    /// Applies the group's commit.
    pub(crate) fn committed(&mut self) {
        self.added.clear();
        match self.sealed.take() {
            Some(sealed) if sealed.finished => {
                self.floor = sealed.entries.iter().map(|(_, f)| f.event).max().unwrap_or(0) + 1;
                let newest_at = sealed.entries.iter().map(|(_, f)| f.at).max().unwrap_or(0);
                let bloom = bloom_of(&sealed.entries).into();
                self.runs.push(KeyRun { n: sealed.run, newest_at, bloom });
            }
            Some(mut sealed) => {
                sealed.committed = sealed.written;
                self.sealed = Some(sealed);
            }
            None => {}
        }
        self.seal_if_full();
    }

    /// Removes the keys of a group whose commit failed.
    pub(crate) fn rolled_back(&mut self) {
        for key in self.added.drain(..) {
            self.newest.remove(&key);
        }
        if let Some(sealed) = &mut self.sealed {
            sealed.written = sealed.committed;
            sealed.finished = false;
        }
    }

    fn seal_if_full(&mut self) {
        // A look-up asks the filter of every run, so a large store makes longer runs instead of
        // more.
        let longer = (self.runs.len() / RUNS_BEFORE_LONGER).min(LONGER_AT_MOST);
        let keys = self.keys_per_run << longer;
        let is_due = self.newest.len() >= keys || (self.seals_early && !self.newest.is_empty());
        if !is_due || self.sealed.is_some() {
            return;
        }
        self.seals_early = false;
        let mut entries: Vec<_> = self.newest.drain().collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        let run = self.next_run;
        self.next_run += 1;
        self.sealed = Some(SealedKeys { run, entries, written: 0, committed: 0, finished: false });
    }

    /// Lets the next commit begin a run, so that events can go whose rows are the only record of
    /// their keys; not if the last run has keys from after `before`, because a look-up asks every
    /// run. True while one begins or is written.
    pub(crate) fn seal_early(&mut self, before: i64) -> bool {
        let is_recent = self.runs.last().is_some_and(|run| run.newest_at >= before);
        self.seals_early |= !is_recent && self.sealed.is_none() && !self.newest.is_empty();
        self.seals_early || self.sealed.is_some()
    }

    /// True if an event's key is in a run, so that its row is not needed.
    pub(crate) fn in_a_run(&self, event: i64) -> bool {
        event < self.floor
    }

    /// Removes rows of runs whose newest key is older than `before`. Returns the number of removed
    /// rows, and true if there are more. [`Dedup::forget`] removes them from memory.
    pub(crate) fn prune(&self, conn: &Connection, before: i64) -> rusqlite::Result<(u64, bool)> {
        conn.execute("DELETE FROM key_run_info WHERE newest_at < ?1", [before])?;
        let writing = self.sealed.as_ref().map_or(-1, |s| s.run);
        let mut after = -1i64;
        loop {
            let run: Option<i64> =
                conn.query_row("SELECT min(run) FROM key_run WHERE run > ?1", [after], |r| {
                    r.get(0)
                })?;
            let Some(run) = run else { return Ok((0, false)) };
            let known: bool = conn.query_row(
                "SELECT EXISTS (SELECT 1 FROM key_run_info WHERE run = ?1)",
                [run],
                |r| r.get(0),
            )?;
            if !known && run != writing {
                let gone = conn.execute(
                    "DELETE FROM key_run WHERE run = ?1 AND key IN
                       (SELECT key FROM key_run WHERE run = ?1 ORDER BY key LIMIT ?2)",
                    params![run, DELETED_PER_CALL],
                )?;
                return Ok((gone as u64, true));
            }
            after = run;
        }
    }

    /// Removes old runs from memory, so that their keys no longer count.
    pub(crate) fn forget(&mut self, before: i64) {
        self.runs.retain(|run| run.newest_at >= before);
    }

    /// Finished runs.
    pub(crate) fn runs(&self) -> usize {
        self.runs.len()
    }
}

fn bloom_probes(key: &Key, bits: u64) -> impl Iterator<Item = u64> {
    let [low, high] = [0, 8]
        .map(|at| key[at..at + 8].iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte)));
    (0..BLOOM_PROBES).map(move |i| low.wrapping_add(i.wrapping_mul(high | 1)) % bits.max(1))
}

fn bloom_of(entries: &[(Key, FirstEvent)]) -> Vec<u8> {
    let bytes = (entries.len() * BLOOM_BITS_PER_KEY).div_ceil(8).max(8);
    let mut bloom = vec![0u8; bytes];
    for (key, _) in entries {
        for bit in bloom_probes(key, bytes as u64 * 8) {
            bloom[(bit / 8) as usize] |= 1 << (bit % 8);
        }
    }
    bloom
}

fn bloom_has(bloom: &[u8], key: &Key) -> bool {
    bloom_probes(key, bloom.len() as u64 * 8)
        .all(|bit| bloom.get((bit / 8) as usize).is_some_and(|byte| byte & 1 << (bit % 8) != 0))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn key(material: &str, body_tag: u32) -> HashedKey {
        let material = Bytes::copy_from_slice(material.as_bytes());
        hash_key(&[7; 16], "github", &DedupKey { material, body_tag })
    }

    proptest! {
        #[test]
        fn a_filter_knows_every_added_key(keys in prop::collection::vec(any::<Key>(), 1..500)) {
            let first = FirstEvent { event: 1, at: 1, body_tag: 0 };
            let entries: Vec<_> = keys.iter().map(|k| (*k, first)).collect();
            let bloom = bloom_of(&entries);
            prop_assert!(keys.iter().all(|k| bloom_has(&bloom, k)));
        }
    }

    #[test]
    fn a_filter_rarely_reports_a_key_that_was_not_added() {
        let first = FirstEvent { event: 1, at: 1, body_tag: 0 };
        let entries: Vec<_> =
            (0..5000).map(|n| (key(&format!("in {n}"), 0).plain, first)).collect();
        let bloom = bloom_of(&entries);
        let wrong =
            (0..5000).filter(|n| bloom_has(&bloom, &key(&format!("out {n}"), 0).plain)).count();
        assert!(wrong < 25, "{wrong} of 5000");
    }

    #[test]
    fn a_key_depends_on_source_and_material() {
        let hash = |source, material: &'static str| {
            let material = Bytes::from_static(material.as_bytes());
            hash_key(&[7; 16], source, &DedupKey { material, body_tag: 0 }).plain
        };
        assert_ne!(hash("a", "bc"), hash("ab", "c"));
        assert_ne!(hash("a", "b"), hash("b", "b"));
        assert_eq!(hash("a", "b"), hash("a", "b"));
    }
}
