//! The access rules of a source: the senders that may ask, and the rate of verified requests.
//!
//! Senders are refused by their heads, before a body is read or a signature checked. The rate
//! counts verified requests only: otherwise anyone could use up the rate of a real sender.

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use http::request::Parts;
use parking_lot::Mutex;
use weir_core::rate::Bucket;

use crate::config::AccessPolicy;
use crate::ingress::answer::refused::Refused;
use crate::ingress::connection::client::Caller;

/// The access rules of one source, with the requests that count to its rate.
#[derive(Debug)]
pub(crate) struct AccessControl {
    policy: AccessPolicy,
    verified: Arc<Mutex<Bucket>>,
}

impl AccessControl {
    /// The rules of a source that had others before. If the rate is the same, the count goes on, so
    /// that a reload does not allow more than the rate.
    pub(crate) fn new(policy: &AccessPolicy, before: Option<&Self>) -> Self {
        let same = before.filter(|before| before.policy.rate == policy.rate);
        let verified = same.map(|before| before.verified.clone()).unwrap_or_default();
        Self { policy: policy.clone(), verified }
    }

    /// Checks the caller's address, certificate and token.
    pub(crate) fn admit(&self, caller: Caller<'_>, head: &Parts) -> Result<(), Refused> {
        let address = caller.address;
        let allowed = self.policy.allow_ips.as_ref();
        if allowed.is_some_and(|blocks| !blocks.iter().any(|block| block.contains(address))) {
            return Err(Refused::Address(address));
        }
        if self.policy.client_cert && !caller.has_certificate {
            return Err(Refused::ClientCertificate);
        }
        let Some(tokens) = &self.policy.tokens else { return Ok(()) };
        let name = tokens.header();
        let values = name.into_iter().flat_map(|name| head.headers.get_all(name));
        tokens.check(values.map(HeaderValue::as_bytes), head.uri.query()).map_err(Refused::Token)
    }

    /// Counts a verified request, unless the source is over its rate.
    pub(crate) fn count_verified(&self, now: Duration) -> Result<(), Refused> {
        let Some(rate) = self.policy.rate else { return Ok(()) };
        self.verified.lock().take(rate, now).map_err(|wait| Refused::RateLimited { wait })
    }
}
