//! Visits the addresses that a sender wants visited in a handshake: a confirmation before the
//! answer, retried if it fails, or a call-back after it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use weir_core::error::chain;
use weir_core::name::SourceName;
use weir_core::verify::KEY_DOCUMENT_BYTES_MAX;

use super::Unavailable;
use super::fetch_limiter::SourceFetches;
use crate::egress::fetch::Fetcher;
use crate::ingress::connection::network::Network;
use crate::runtime::shutdown::Drain;
use crate::runtime::tasks::{OnFailure, Tasks};

/// The waits before each retry of a failed confirmation.
const RETRY_AFTER: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(10 * 60),
];
/// Confirmations of one source that are retried at a time. A sender has one for each of its
/// subscriptions.
const RETRIED_MAX: usize = 16;
/// The wait before a call-back, so that the answer comes first.
const CALL_BACK_AFTER: Duration = Duration::from_secs(1);

/// The confirmations and call-backs of one source.
#[derive(Debug)]
pub(crate) struct Confirmations {
    fetcher: Arc<Fetcher>,
    fetches: SourceFetches,
    retried: Mutex<RetriedUrls>,
    tasks: Tasks,
    drain: Drain,
}

/// The addresses whose confirmation is being retried.
#[derive(Debug, Default)]
struct RetriedUrls(HashSet<String>);

impl Confirmations {
    pub(crate) fn new(
        fetcher: Arc<Fetcher>,
        fetches: SourceFetches,
        tasks: Tasks,
        drain: Drain,
    ) -> Self {
        Self { fetcher, fetches, retried: Mutex::default(), tasks, drain }
    }

    /// Visits an address. The body of its answer does not matter.
    pub(crate) async fn confirm(
        &self,
        url: &str,
        network: Option<Network>,
    ) -> Result<(), Unavailable> {
        self.fetches.take(network)?;
        self.fetcher.fetch(url, None, KEY_DOCUMENT_BYTES_MAX).await?;
        Ok(())
    }

    /// Visits an address after the answer, once: if the visit fails, the sender asks again.
    pub(crate) fn call_back(
        self: &Arc<Self>,
        url: String,
        network: Option<Network>,
        source: SourceName,
    ) {
        if let Err(error) = self.fetches.take(network) {
            tracing::warn!(source = source.as_str(), %error, "sender not called back");
            return;
        }
        let this = self.clone();
        self.spawn("call-back", async move {
            tokio::time::sleep(CALL_BACK_AFTER).await;
            let source = source.as_str();
            match this.fetcher.fetch(&url, None, KEY_DOCUMENT_BYTES_MAX).await {
                Ok(_) => tracing::info!(source, "sender called back"),
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(source, error, "sender not called back");
                }
            }
        });
    }

    /// Retries a failed confirmation for about as long as the sender would have sent it again.
    pub(crate) fn retry_later(
        self: &Arc<Self>,
        url: String,
        source: SourceName,
        network: Option<Network>,
    ) {
        if !self.retried.lock().add(&url) {
            let source = source.as_str();
            tracing::warn!(
                source,
                "the confirmation is not retried: it is already, or too many are"
            );
            return;
        }
        let this = self.clone();
        self.spawn("confirmation", async move {
            let confirmed = this.retry(&url, source.as_str(), network).await;
            this.retried.lock().remove(&url);
            let source = source.as_str();
            match confirmed {
                true => tracing::info!(source, "handshake confirmed by a retry"),
                false => tracing::error!(
                    source,
                    "a handshake was not confirmed; its event names the address to visit"
                ),
            }
        });
    }

    async fn retry(&self, url: &str, source: &str, network: Option<Network>) -> bool {
        for wait in RETRY_AFTER {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.drain.accepting_stopped() => return false,
            }
            match self.confirm(url, network).await {
                Ok(()) => return true,
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(source, error, "the confirmation failed again");
                }
            }
        }
        false
    }

    fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(name, OnFailure::Log, work);
    }
}

impl RetriedUrls {
    /// False if the address is there already or there are too many: a sender that has seen one
    /// signed confirmation could send it any number of times.
    fn add(&mut self, url: &str) -> bool {
        self.0.len() < RETRIED_MAX && self.0.insert(url.to_owned())
    }

    fn remove(&mut self, url: &str) {
        self.0.remove(url);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confirmation_is_retried_once_and_few_are_at_a_time() {
        let mut retried = RetriedUrls::default();
        assert!(retried.add("a") && !retried.add("a"));
        let added = (0..100).filter(|n| retried.add(&n.to_string())).count();
        assert_eq!(added, RETRIED_MAX - 1);
        retried.remove("a");
        assert!(retried.add("a"), "its retries have ended");
    }
}
