//! Limits the requests of each client, by the name of its token. A session counts with its token.
//! Pure except for a lock: the time is an argument.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use weir_core::rate::{Bucket, Rate};

/// Most clients that are counted apart; there are no more tokens. Above it, full buckets are
/// forgotten, which equal new ones.
const CLIENTS_MAX: usize = 256;

/// The requests of every client.
#[derive(Debug)]
pub(super) struct RequestRates {
    rate: Option<Rate>,
    buckets: Mutex<HashMap<Arc<str>, Bucket>>,
}

impl RequestRates {
    /// Without a rate nothing is limited.
    pub(super) fn new(rate: Option<Rate>) -> Self {
        Self { rate, buckets: Mutex::default() }
    }

    /// Counts a request, or returns the time to wait before another.
    pub(super) fn take(&self, client: &Arc<str>, now: Duration) -> Result<(), Duration> {
        let Some(rate) = self.rate else { return Ok(()) };
        let buckets = &mut *self.buckets.lock();
        if buckets.len() >= CLIENTS_MAX && !buckets.contains_key(client) {
            buckets.retain(|_, bucket| bucket.has_spent(now));
        }
        buckets.entry(client.clone()).or_default().take(rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_asks_too_often_waits_and_no_other() {
        let rates = RequestRates::new(Some(Rate::new(10, Duration::from_secs(1), 2)));
        let (ci, ada): (Arc<str>, Arc<str>) = ("ci".into(), "ada".into());
        let at = Duration::from_secs(100);
        assert!(rates.take(&ci, at).is_ok() && rates.take(&ci, at).is_ok());
        assert_eq!(rates.take(&ci, at), Err(Duration::from_millis(100)));
        assert!(rates.take(&ada, at).is_ok());
        assert!(rates.take(&ci, at + Duration::from_millis(100)).is_ok());
    }

    #[test]
    fn clients_that_are_gone_are_forgotten() {
        let rates = RequestRates::new(Some(Rate::new(10, Duration::from_secs(1), 2)));
        for n in 0..10 * CLIENTS_MAX as u64 {
            rates.take(&format!("c{n}").into(), Duration::from_secs(n)).unwrap();
        }
        assert!(rates.buckets.lock().len() <= CLIENTS_MAX);
        assert!(RequestRates::new(None).take(&"ci".into(), Duration::ZERO).is_ok());
    }
}
