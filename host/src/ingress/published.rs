//! The keys that a source's sender publishes: fetched when a request needs one, once for all who wait, and kept for
//! as long as they are believed.
//!
//! What a request names is partly a stranger's word, so that everything here has a limit: fetches in a time, failures
//! remembered, documents kept. What may not live here: where keys may come from and whether they fit, which the core
//! decides.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use thiserror::Error;
use weir_core::name::SourceName;
use weir_core::time::Clock;
use weir_core::verify::{KEY_DOCUMENT_BYTES_MAX, KeyError, KeyRef, KeyRing};

use crate::cli::chain;
use crate::egress::fetch::{FetchError, Fetcher};

/// Documents that are kept of one source. A provider has a few at a time.
const DOCUMENTS_MAX: usize = 64;
/// Fetches of one source at once, after a time without any.
const FETCHES_MAX: u32 = 10;
/// How long one of them takes to be allowed again.
const FETCH_EVERY: Duration = Duration::from_secs(5);
/// How long a document that could not be had is not asked for again.
const FAILURE_LIFE: Duration = Duration::from_secs(10);
/// Failures that are remembered; past it the oldest is asked for again.
const FAILURES_MAX: usize = 256;

/// How long after its answer a sender is called back that wants that, so that the answer comes first.
const CALL_BACK_AFTER: Duration = Duration::from_secs(1);

/// Why a key cannot be had now. The sender is told to come back.
#[derive(Debug, Clone, Error)]
pub(super) enum Unavailable {
    /// The other side did not give it.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// What it gave is no key.
    #[error("the document at {host} holds no usable key")]
    Unreadable {
        /// Where it is from.
        host: Box<str>,
        /// What is wrong with it.
        #[source]
        cause: KeyError,
    },
    /// It failed a moment ago.
    #[error("the key could not be had a moment ago")]
    FailedLately,
    /// Too many were asked for.
    #[error("too many keys were asked for in too short a time")]
    TooMany,
}

/// What came of a fetch that several may wait for; none while it is under way.
type Flight = Arc<tokio::sync::Mutex<Option<Result<(), Unavailable>>>>;

/// The published keys of one source.
#[derive(Debug)]
pub(super) struct PublishedKeys {
    ring: ArcSwap<KeyRing>,
    desk: Mutex<Desk>,
    fetcher: Arc<Fetcher>,
}

#[derive(Debug)]
struct Desk {
    flights: HashMap<String, Flight>,
    failed: HashMap<String, Instant>,
    allowance: Allowance,
}

impl PublishedKeys {
    /// None yet.
    pub(super) fn new(fetcher: Arc<Fetcher>) -> Self {
        let desk = Desk {
            flights: HashMap::new(),
            failed: HashMap::new(),
            allowance: Allowance { left: FETCHES_MAX, since: Instant::now() },
        };
        Self { ring: ArcSwap::default(), desk: Mutex::new(desk), fetcher }
    }

    /// The keys that are there.
    pub(super) fn ring(&self) -> Arc<KeyRing> {
        self.ring.load_full()
    }

    /// Gets a key, or waits for whoever is getting it.
    pub(super) async fn get(&self, key: &KeyRef, clock: &dyn Clock) -> Result<(), Unavailable> {
        let name = key.cache_key();
        let flight = self.desk.lock().flight(&name);
        let mut done = flight.lock().await;
        if let Some(outcome) = &*done {
            return outcome.clone();
        }
        // Nobody before us came to an end with it: it is ours to get.
        let allowed = self.desk.lock().may_fetch(&name, Instant::now());
        let outcome = match allowed {
            Ok(()) => self.fetch(key, clock).await,
            Err(refused) => Err(refused),
        };
        *done = Some(outcome.clone());
        self.desk.lock().landed(&name, &outcome, Instant::now());
        outcome
    }

    /// Asks an address that confirms something, under the same limits; what it answers does not matter.
    pub(super) async fn confirm(&self, url: &str) -> Result<(), Unavailable> {
        if !self.desk.lock().allowance.take(Instant::now()) {
            return Err(Unavailable::TooMany);
        }
        self.fetcher.fetch(url, None, KEY_DOCUMENT_BYTES_MAX).await?;
        Ok(())
    }

    /// Asks an address whose owner wants that once it was answered, under the same limits. Nobody waits for it: whether
    /// it gets through is the other side's concern, which asks again.
    pub(super) fn call_back(self: &Arc<Self>, url: String, source: SourceName) {
        if !self.desk.lock().allowance.take(Instant::now()) {
            tracing::warn!(source = source.as_str(), error = %Unavailable::TooMany, "not called back");
            return;
        }
        let keys = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(CALL_BACK_AFTER).await;
            let source = source.as_str();
            match keys.fetcher.fetch(&url, None, KEY_DOCUMENT_BYTES_MAX).await {
                Ok(_) => tracing::info!(source, "called back"),
                Err(error) => tracing::warn!(source, error = chain(&error), "not called back"),
            }
        });
    }

    async fn fetch(&self, key: &KeyRef, clock: &dyn Clock) -> Result<(), Unavailable> {
        let document =
            self.fetcher.fetch(&key.url, key.post.as_ref(), KEY_DOCUMENT_BYTES_MAX).await?;
        let set = key.read(&document).map_err(|cause| {
            let host = key.url.split('/').nth(2).unwrap_or_default().into();
            Unavailable::Unreadable { host, cause }
        })?;
        let now = clock.now();
        self.ring.rcu(|ring| {
            let mut ring = KeyRing::clone(ring);
            ring.insert(key, set.clone(), now);
            ring.prune(now, DOCUMENTS_MAX);
            ring
        });
        Ok(())
    }
}

impl Desk {
    fn flight(&mut self, name: &str) -> Flight {
        // What nobody waits for any more was given up by all who did.
        self.flights.retain(|_, flight| Arc::strong_count(flight) > 1);
        Arc::clone(self.flights.entry(name.to_owned()).or_default())
    }

    fn may_fetch(&mut self, name: &str, now: Instant) -> Result<(), Unavailable> {
        self.failed.retain(|_, at| now.saturating_duration_since(*at) < FAILURE_LIFE);
        if self.failed.contains_key(name) {
            return Err(Unavailable::FailedLately);
        }
        if self.allowance.take(now) { Ok(()) } else { Err(Unavailable::TooMany) }
    }

    fn landed(&mut self, name: &str, outcome: &Result<(), Unavailable>, now: Instant) {
        self.flights.remove(name);
        if !matches!(outcome, Err(Unavailable::Fetch(_) | Unavailable::Unreadable { .. })) {
            return;
        }
        if self.failed.len() >= FAILURES_MAX {
            let oldest =
                self.failed.iter().min_by_key(|(_, at)| **at).map(|(name, _)| name.clone());
            oldest.map(|oldest| self.failed.remove(&oldest));
        }
        self.failed.insert(name.to_owned(), now);
    }
}

/// Fetches that are allowed: so many at once, and one more in every so long.
#[derive(Debug)]
struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since).as_millis();
        let more = u32::try_from(passed / FETCH_EVERY.as_millis()).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(more).min(FETCHES_MAX);
        self.since += FETCH_EVERY.saturating_mul(more);
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fetches_are_allowed_in_a_burst_and_then_one_in_a_while() {
        let start = Instant::now();
        let mut allowance = Allowance { left: FETCHES_MAX, since: start };
        let allowed = |allowance: &mut Allowance, after: Duration| {
            (0..1_000).take_while(|_| allowance.take(start + after)).count()
        };
        assert_eq!(allowed(&mut allowance, Duration::ZERO), 10);
        assert_eq!(allowed(&mut allowance, FETCH_EVERY / 2), 0);
        assert_eq!(allowed(&mut allowance, FETCH_EVERY * 3), 3);
        assert_eq!(allowed(&mut allowance, Duration::from_secs(86_400)), 10);
    }

    #[test]
    fn a_failure_is_remembered_for_a_while_and_no_more_of_them_than_there_is_room_for() {
        let start = Instant::now();
        let mut desk = Desk {
            flights: HashMap::new(),
            failed: HashMap::new(),
            allowance: Allowance { left: FETCHES_MAX, since: start },
        };
        let failed = Err(Unavailable::Fetch(FetchError::BadUrl));
        for n in 0..2 * FAILURES_MAX {
            desk.landed(&n.to_string(), &failed, start);
        }
        assert_eq!(desk.failed.len(), FAILURES_MAX);
        desk.landed("last", &failed, start);
        assert!(matches!(desk.may_fetch("last", start), Err(Unavailable::FailedLately)));
        assert!(desk.may_fetch("last", start + FAILURE_LIFE).is_ok());
        assert!(desk.failed.is_empty());
    }
}
