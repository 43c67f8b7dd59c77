//! The keys that a source's sender publishes: fetched when a request needs one, once for all who wait, and kept for
//! as long as they are believed.
//!
//! What a request names is partly a stranger's word, so that everything here has a limit: fetches in a time
//! ([`super::fetch_limiter`]), failures remembered, documents kept. What may not live here: where keys may come from and
//! whether they fit, which the core decides.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use thiserror::Error;
use weir_core::error::chain;
use weir_core::name::SourceName;
use weir_core::time::{Clock, Timestamp};
use weir_core::verify::{
    FetchedDocument, ISSUERS_MAX, KEY_DOCUMENT_BYTES_MAX, KeyAnswer, KeyError, KeyRef, KeyRing,
    KeySet,
};

use super::fetch_limiter::FetchLimiter;
use super::penalties::Network;
use crate::egress::fetch::{FetchError, Fetcher};

/// Documents that are kept of one source. A provider has a few at a time.
const DOCUMENTS_MAX: usize = 64;
/// How long a document that could not be had is not asked for again.
const FAILURE_LIFE: Duration = Duration::from_secs(10);
/// After what waits a confirmation is tried again that did not get through.
const CONFIRM_AFTER: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(10 * 60),
];
/// Largest certificate of an issuer, in bytes.
const ISSUER_BYTES_MAX: usize = 16 * 1024;
/// Failures that are remembered; past it the oldest is asked for again.
const FAILURES_MAX: usize = 256;

/// Confirmations of one source that are tried again at a time. A sender has one for each of its subscriptions.
const UNCONFIRMED_MAX: usize = 16;
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
type SharedFetch = Arc<tokio::sync::Mutex<Option<Result<(), Unavailable>>>>;

/// The published keys of one source.
#[derive(Debug)]
pub(super) struct PublishedKeys {
    ring: ArcSwap<KeyRing>,
    desk: Mutex<KeyRequests>,
    fetcher: Arc<Fetcher>,
    /// Times are counted from here.
    started: Instant,
}

#[derive(Debug, Default)]
struct KeyRequests {
    flights: HashMap<String, SharedFetch>,
    failed: HashMap<String, Failure>,
    fetch_limiter: FetchLimiter,
    /// Addresses whose confirmation is being tried again.
    unconfirmed: HashSet<String>,
}

/// A document that could not be had.
#[derive(Debug)]
struct Failure {
    at: Duration,
    /// Whether somebody had asked who is proven. Who is not cannot keep a key from who is by asking too early.
    asked_by_proven: bool,
}

impl PublishedKeys {
    /// None yet.
    pub(super) fn new(fetcher: Arc<Fetcher>) -> Self {
        Self { ring: ArcSwap::default(), desk: Mutex::default(), fetcher, started: Instant::now() }
    }

    /// The keys that are there.
    pub(super) fn ring(&self) -> Arc<KeyRing> {
        self.ring.load_full()
    }

    /// A request of this address was verified.
    pub(super) fn mark_proven(&self, network: Network) {
        self.desk.lock().fetch_limiter.mark_proven(network, self.started.elapsed());
    }

    /// Gets a key for a request of this address, or waits for whoever is getting it.
    pub(super) async fn get(
        &self,
        key: &KeyRef,
        network: Option<Network>,
        clock: &dyn Clock,
    ) -> Result<(), Unavailable> {
        let name = key.cache_key();
        let flight = self.desk.lock().flight(&name);
        let mut done = flight.lock().await;
        if let Some(outcome) = &*done {
            return outcome.clone();
        }
        // Nobody before us came to an end with it: it is ours to get, if we may. If we may not, others still may.
        self.desk.lock().may_fetch(&name, network, self.started.elapsed())?;
        let outcome = self.fetch(key, clock).await;
        *done = Some(outcome.clone());
        self.desk.lock().landed(&name, &outcome, network, self.started.elapsed());
        outcome
    }

    /// Asks an address that confirms something, under the same limits; what it answers does not matter.
    pub(super) async fn confirm(
        &self,
        url: &str,
        network: Option<Network>,
    ) -> Result<(), Unavailable> {
        if !self.desk.lock().fetch_limiter.take(network, self.started.elapsed()) {
            return Err(Unavailable::TooMany);
        }
        self.fetcher.fetch(url, None, KEY_DOCUMENT_BYTES_MAX).await?;
        Ok(())
    }

    /// Asks an address whose owner wants that once it was answered, under the same limits. Nobody waits for it: whether
    /// it gets through is the other side's concern, which asks again.
    pub(super) fn call_back(
        self: &Arc<Self>,
        url: String,
        network: Option<Network>,
        source: SourceName,
    ) {
        if !self.desk.lock().fetch_limiter.take(network, self.started.elapsed()) {
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

    /// Asks again for a while, as often as the sender would have sent again; nobody waits for it.
    pub(super) fn confirm_later(
        self: &Arc<Self>,
        url: String,
        source: SourceName,
        network: Option<Network>,
    ) {
        if !self.desk.lock().begins_to_confirm(&url) {
            let source = source.as_str();
            return tracing::warn!(source, "it is being tried already, or too many are");
        }
        let keys = Arc::clone(self);
        tokio::spawn(async move {
            let source = source.as_str();
            let mut confirmed = false;
            for wait in CONFIRM_AFTER {
                tokio::time::sleep(wait).await;
                match keys.confirm(&url, network).await {
                    Ok(()) => {
                        confirmed = true;
                        break;
                    }
                    Err(error) => {
                        tracing::warn!(source, error = chain(&error), "still cannot confirm");
                    }
                }
            }
            keys.desk.lock().unconfirmed.remove(&url);
            if confirmed {
                tracing::info!(source, "handshake confirmed after all");
            } else {
                tracing::error!(
                    source,
                    "a handshake was not confirmed; its event says where to do so"
                );
            }
        });
    }

    async fn fetch(&self, key: &KeyRef, clock: &dyn Clock) -> Result<(), Unavailable> {
        let document =
            self.fetcher.key(&key.url, key.post.as_ref(), KEY_DOCUMENT_BYTES_MAX).await?;
        let now = clock.now();
        let set = match self.read(key, &document, now).await {
            Err(Unavailable::Unreadable { host, cause }) if cause.is_distrust() => {
                // Kept as a document without keys: requests that name it are refused, and it is looked at again later.
                tracing::warn!(%host, reason = %cause, "a certificate that a request names is not trusted");
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

    /// The keys of a document. Certificates of issuers that it lacks are fetched, a few at most; nothing that comes of
    /// that is believed unless a trusted authority has signed it.
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
    fn flight(&mut self, name: &str) -> SharedFetch {
        // What nobody waits for any more was given up by all who did.
        self.flights.retain(|_, flight| Arc::strong_count(flight) > 1);
        Arc::clone(self.flights.entry(name.to_owned()).or_default())
    }

    /// Whether this address is to be tried again from now on: not if it is already, nor if there are too many. Who has
    /// seen one signed confirmation could send it any number of times.
    fn begins_to_confirm(&mut self, url: &str) -> bool {
        self.unconfirmed.len() < UNCONFIRMED_MAX && self.unconfirmed.insert(url.to_owned())
    }

    fn may_fetch(
        &mut self,
        name: &str,
        network: Option<Network>,
        now: Duration,
    ) -> Result<(), Unavailable> {
        self.failed.retain(|_, failure| now.saturating_sub(failure.at) < FAILURE_LIFE);
        let is_proven = self.fetch_limiter.is_proven(network);
        let failed = self.failed.get(name);
        if failed.is_some_and(|failure| failure.asked_by_proven || !is_proven) {
            return Err(Unavailable::FailedLately);
        }
        if self.fetch_limiter.take(network, now) { Ok(()) } else { Err(Unavailable::TooMany) }
    }

    fn landed(
        &mut self,
        name: &str,
        outcome: &Result<(), Unavailable>,
        network: Option<Network>,
        now: Duration,
    ) {
        self.flights.remove(name);
        if outcome.is_ok() {
            return;
        }
        if self.failed.len() >= FAILURES_MAX {
            let oldest = self.failed.iter().min_by_key(|(_, failure)| failure.at);
            let oldest = oldest.map(|(name, _)| name.clone());
            oldest.map(|oldest| self.failed.remove(&oldest));
        }
        let failure = Failure { at: now, asked_by_proven: self.fetch_limiter.is_proven(network) };
        self.failed.insert(name.to_owned(), failure);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_failure_is_remembered_for_a_while_and_no_more_of_them_than_there_is_room_for() {
        let mut desk = KeyRequests::default();
        let failed = Err(Unavailable::Fetch(FetchError::BadUrl));
        for n in 0..2 * FAILURES_MAX {
            desk.landed(&n.to_string(), &failed, None, Duration::ZERO);
        }
        assert_eq!(desk.failed.len(), FAILURES_MAX);
        desk.landed("last", &failed, None, Duration::ZERO);
        let lately = desk.may_fetch("last", None, Duration::ZERO);
        assert!(matches!(lately, Err(Unavailable::FailedLately)));
        assert!(desk.may_fetch("last", None, FAILURE_LIFE).is_ok());
        assert!(desk.failed.is_empty());
    }

    #[test]
    fn a_confirmation_is_tried_again_once_however_often_it_is_sent_and_few_are_at_a_time() {
        let mut desk = KeyRequests::default();
        assert!(desk.begins_to_confirm("a") && !desk.begins_to_confirm("a"));
        let begun = (0..100).filter(|n| desk.begins_to_confirm(&n.to_string())).count();
        assert_eq!(begun, UNCONFIRMED_MAX - 1);
        desk.unconfirmed.remove("a");
        assert!(desk.begins_to_confirm("a"), "it came to an end");
    }

    #[test]
    fn a_stranger_who_asks_too_early_keeps_nothing_from_who_is_proven() {
        let of = |n| Network::of(Ipv4Addr::from_bits(n).into());
        let (stranger, proven) = (of(1), of(2));
        let mut desk = KeyRequests::default();
        desk.fetch_limiter.mark_proven(proven, Duration::ZERO);
        let failed = Err(Unavailable::Fetch(FetchError::BadUrl));
        desk.landed("new", &failed, Some(stranger), Duration::ZERO);
        let mut may = |who| desk.may_fetch("new", Some(who), Duration::ZERO).is_ok();
        assert_eq!((may(stranger), may(proven)), (false, true));
        desk.landed("new", &failed, Some(proven), Duration::ZERO);
        assert!(desk.may_fetch("new", Some(proven), Duration::ZERO).is_err());
    }
}
