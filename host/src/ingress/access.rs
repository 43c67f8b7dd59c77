//! What stands before a source: who may ask at all, and how many verified requests are taken.
//!
//! Strangers are turned away by what their heads say, before a body is read or a signature looked at. The rate comes
//! after: if requests counted that nobody signed, a stranger could shut a sender out.

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use http::request::Parts;
use parking_lot::Mutex;
use weir_core::rate::Bucket;

use super::client::Caller;
use super::refused::Refused;
use crate::config::AccessPolicy;

/// The gate of one source.
#[derive(Debug)]
pub(super) struct AccessControl {
    rules: AccessPolicy,
    taken: Arc<Mutex<Bucket>>,
}

impl AccessControl {
    /// A gate in the place of another, if there was one. It goes on counting where that was, unless its rate is a new
    /// one: a file that is read again must not let in more than the rate.
    pub(super) fn new(rules: &AccessPolicy, before: Option<&Self>) -> Self {
        let same = before.filter(|before| before.rules.rate == rules.rate);
        let taken = same.map(|before| Arc::clone(&before.taken)).unwrap_or_default();
        Self { rules: rules.clone(), taken }
    }

    /// Whether this one may ask.
    pub(super) fn admit(&self, caller: Caller<'_>, head: &Parts) -> Result<(), Refused> {
        let address = caller.address;
        let allowed = self.rules.allow_ips.as_ref();
        if allowed.is_some_and(|blocks| !blocks.iter().any(|block| block.contains(address))) {
            return Err(Refused::Address(address));
        }
        if self.rules.client_cert && !caller.has_certificate {
            return Err(Refused::ClientCertificate);
        }
        let Some(tokens) = &self.rules.tokens else { return Ok(()) };
        let name = tokens.header();
        let values = name.into_iter().flat_map(|name| head.headers.get_all(name));
        tokens.check(values.map(HeaderValue::as_bytes), head.uri.query()).map_err(Refused::Token)
    }

    /// Counts a verified request, if there is room for it at this time.
    pub(super) fn count(&self, now: Duration) -> Result<(), Refused> {
        let Some(rate) = self.rules.rate else { return Ok(()) };
        self.taken.lock().take(rate, now).map_err(|wait| Refused::RateLimited { wait })
    }
}
