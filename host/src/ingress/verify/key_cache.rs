//! The published keys of one source: fetched when a request needs one, once for all requests that
//! wait, and kept as long as they are valid.
//!
//! A request may name any key, so everything here has a limit: fetches in a time
//! ([`super::fetch_limiter`]), failures remembered, documents kept.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use weir_core::time::{Clock, Timestamp};
use weir_core::verify::{
    FetchedDocument, ISSUERS_MAX, KEY_DOCUMENT_BYTES_MAX, KeyAnswer, KeyError, KeyRef, KeyRing,
    KeySet,
};

use super::Unavailable;
use super::fetch_limiter::SourceFetches;
use crate::egress::fetch::Fetcher;
use crate::ingress::connection::network::Network;

/// Documents that are kept for one source. A provider has a few at a time.
const DOCUMENTS_MAX: usize = 64;
/// The time before a document that could not be fetched is fetched again.
const FAILURE_LIFE: Duration = Duration::from_secs(10);
/// Largest certificate of an issuer, in bytes.
const ISSUER_BYTES_MAX: usize = 16 * 1024;
/// Failures that are remembered. Above this the oldest is forgotten.
const FAILURES_MAX: usize = 256;

/// The result of a fetch that several requests may wait for. `None` while it runs.
type SharedFetch = Arc<tokio::sync::Mutex<Option<Result<(), Unavailable>>>>;

/// The published keys of one source.
#[derive(Debug)]
pub(crate) struct KeyCache {
    ring: ArcSwap<KeyRing>,
    requests: Mutex<KeyRequests>,
    fetches: SourceFetches,
    fetcher: Arc<Fetcher>,
}

#[derive(Debug, Default)]
struct KeyRequests {
    running: HashMap<String, SharedFetch>,
    failed: HashMap<String, Failure>,
}

/// A document that could not be fetched.
#[derive(Debug)]
struct Failure {
    at: Duration,
    /// True if a proven network asked. Others cannot keep a key from a proven network by asking
    /// early.
    asked_by_proven: bool,
}

impl KeyCache {
    pub(crate) fn new(fetcher: Arc<Fetcher>, fetches: SourceFetches) -> Self {
        Self { ring: ArcSwap::default(), requests: Mutex::default(), fetches, fetcher }
    }

    /// The keys that were fetched.
    pub(crate) fn ring(&self) -> Arc<KeyRing> {
        self.ring.load_full()
    }

    /// Notes that a request of this network was verified.
    pub(crate) fn mark_proven(&self, network: Network) {
        self.fetches.mark_proven(network);
    }

    /// Fetches a key for a request of this network, or waits for the fetch that runs.
    pub(crate) async fn fetch(
        &self,
        key: &KeyRef,
        network: Option<Network>,
        clock: &dyn Clock,
    ) -> Result<(), Unavailable> {
        let name = key.cache_key();
        let shared = self.requests.lock().join(&name);
        let mut result = shared.lock().await;
        if let Some(result) = &*result {
            return result.clone();
        }
        // No earlier request has finished this fetch. If this one may not fetch, a later one still
        // may.
        let is_proven = self.fetches.is_proven(network);
        self.requests.lock().check_failed(&name, is_proven, self.fetches.now())?;
        self.fetches.take(network)?;
        let fetched = self.fetch_document(key, clock).await;
        *result = Some(fetched.clone());
        let is_proven = self.fetches.is_proven(network);
        self.requests.lock().finish(&name, &fetched, is_proven, self.fetches.now());
        fetched
    }

    async fn fetch_document(&self, key: &KeyRef, clock: &dyn Clock) -> Result<(), Unavailable> {
        let document =
            self.fetcher.key(&key.url, key.post.as_ref(), KEY_DOCUMENT_BYTES_MAX).await?;
        let now = clock.now();
        let set = match self.read(key, &document, now).await {
            Err(Unavailable::Unreadable { host, cause }) if cause.is_distrust() => {
                // Kept as a document without keys: requests that name it are refused, and it is
                // fetched again later.
                tracing::warn!(%host, reason = %cause, "a certificate is not trusted");
                KeySet::distrusted()
            }
            read => read?,
        };
        self.ring.rcu(|ring| {
            let mut ring = KeyRing::clone(ring);
            ring.insert(key, set.clone(), now);
            ring.prune(now, DOCUMENTS_MAX);
            ring
        });
        Ok(())
    }

    /// Reads the keys of a document. Fetches the issuers' certificates that it lacks, a few at
    /// most; a certificate counts only if a trusted authority has signed it.
    async fn read(
        &self,
        key: &KeyRef,
        document: &[u8],
        now: Timestamp,
    ) -> Result<KeySet, Unavailable> {
        let (mut issuers, mut asked) = (Vec::new(), HashSet::new());
        let unreadable = |cause| {
            let host = key.url.split('/').nth(2).unwrap_or_default().into();
            Unavailable::Unreadable { host, cause }
        };
        loop {
            let authorities = self.fetcher.authorities();
            let fetched = FetchedDocument { document, issuers: &issuers, authorities, now };
            match key.read(fetched).map_err(unreadable)? {
                KeyAnswer::Keys(set) => return Ok(set),
                KeyAnswer::NeedIssuer(url)
                    if issuers.len() < ISSUERS_MAX && asked.insert(url.clone()) =>
                {
                    let issuer = self.fetcher.key(&url, None, ISSUER_BYTES_MAX).await?;
                    issuers.push(issuer.to_vec());
                }
                KeyAnswer::NeedIssuer(_) => return Err(unreadable(KeyError::UnknownAuthority)),
            }
        }
    }
}

impl KeyRequests {
    /// The running fetch of this name, or a new one.
    fn join(&mut self, name: &str) -> SharedFetch {
        // A fetch that no request waits for any more has been abandoned.
        self.running.retain(|_, fetch| Arc::strong_count(fetch) > 1);
        self.running.entry(name.to_owned()).or_default().clone()
    }

    fn check_failed(
        &mut self,
        name: &str,
        is_proven: bool,
        now: Duration,
    ) -> Result<(), Unavailable> {
        self.failed.retain(|_, failure| now.saturating_sub(failure.at) < FAILURE_LIFE);
        let failed = self.failed.get(name);
        match failed.is_some_and(|failure| failure.asked_by_proven || !is_proven) {
            true => Err(Unavailable::FailedRecently),
            false => Ok(()),
        }
    }

    fn finish(
        &mut self,
        name: &str,
        result: &Result<(), Unavailable>,
        asked_by_proven: bool,
        now: Duration,
    ) {
        self.running.remove(name);
        if result.is_ok() {
            return;
        }
        if self.failed.len() >= FAILURES_MAX {
            let oldest = self.failed.iter().min_by_key(|(_, failure)| failure.at);
            let oldest = oldest.map(|(name, _)| name.clone());
            oldest.map(|oldest| self.failed.remove(&oldest));
        }
        self.failed.insert(name.to_owned(), Failure { at: now, asked_by_proven });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::fetch::FetchError;

    const FAILED: Result<(), Unavailable> = Err(Unavailable::Fetch(FetchError::BadUrl));

    #[test]
    fn failures_are_remembered_for_a_while_and_up_to_a_limit() {
        let mut requests = KeyRequests::default();
        for n in 0..2 * FAILURES_MAX {
            requests.finish(&n.to_string(), &FAILED, false, Duration::ZERO);
        }
        assert_eq!(requests.failed.len(), FAILURES_MAX);
        requests.finish("last", &FAILED, false, Duration::ZERO);
        let recently = requests.check_failed("last", false, Duration::ZERO);
        assert!(matches!(recently, Err(Unavailable::FailedRecently)));
        assert!(requests.check_failed("last", false, FAILURE_LIFE).is_ok());
        assert!(requests.failed.is_empty());
    }

    #[test]
    fn a_failure_that_others_caused_does_not_stop_a_proven_network() {
        let mut requests = KeyRequests::default();
        requests.finish("new", &FAILED, false, Duration::ZERO);
        assert!(requests.check_failed("new", false, Duration::ZERO).is_err());
        assert!(requests.check_failed("new", true, Duration::ZERO).is_ok());
        requests.finish("new", &FAILED, true, Duration::ZERO);
        assert!(requests.check_failed("new", true, Duration::ZERO).is_err());
    }
}
