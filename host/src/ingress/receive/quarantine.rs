//! The quarantine: requests with an invalid signature are kept for a while, and released once the
//! cause is fixed.
//!
//! A request is kept as it came, sealed, if it carries what its source's scheme looks for. A
//! release verifies it again, as of the time when it came, with the current secrets: a request that
//! was stale then stays refused.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use serde::{Deserialize, Serialize};
use weir_core::id::QuarantineId;
use weir_core::time::Timestamp;
use weir_store::StoreError;
use weir_store::quarantine::{QuarantineFilter, QuarantinedRequest, RecheckResult};
use weir_store::{DedupKey, NewRequest};

use super::received::Received;
use super::{Interpretation, Pipeline};
use crate::ingress::answer::refused::Refused;
use crate::ingress::connection::client::Caller;
use crate::ingress::connection::network::Network;
use crate::ingress::request::content::Content;
use crate::ingress::request::redact::{self, Redacted};
use crate::ingress::sources::live_source::LiveSource;
use crate::observe::metrics::QuarantineResult;

/// A quarantined request as it came, with its secrets as fingerprints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedView {
    pub request: QuarantinedRequest,
    /// Empty once the request was released.
    pub headers: Vec<(Box<str>, Bytes)>,
    /// The body, or the query in its place.
    pub body: Bytes,
}

/// The result of releasing a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseOutcome {
    /// The request is accepted: the ids of its events, some of which may have been stored before.
    Released(Vec<Box<str>>),
    /// The request is still refused, with this code.
    StillRefused(Box<str>),
    /// There is no request with that id.
    Unknown,
}

impl Pipeline {
    /// Quarantines a refused request, if it carries what the source's scheme looks for, by a method
    /// that events come by. Any other request is noise.
    pub(super) fn quarantine_refused(&self, received: &Received<'_>, refused: &Refused) {
        let (Some(quarantine), Refused::Unverified { refusal, .. }) = (&self.quarantine, refused)
        else {
            return;
        };
        let (source, view, address) = (received.source, received.view(), received.caller.address);
        if !source.verifier.carries_signature(&view) || !source.has_events_by(view.method) {
            return;
        }
        let at = self.clock.now();
        let id = new_id(at);
        let Some(content) = StoredHead::of(received.head, address).with(received.body) else {
            return;
        };
        let content = self.seal.close(&id.to_string(), &content);
        let request = QuarantinedRequest {
            id,
            source: source.name().into(),
            address: Network::of(address).to_string().into(),
            at,
            code: refusal.code().into(),
            size: content.len(),
            released: None,
        };
        let kept = quarantine.put(request, content);
        let result = if kept { QuarantineResult::Kept } else { QuarantineResult::Dropped };
        source.metrics.quarantined(result);
    }

    /// Lists the quarantine.
    pub(crate) async fn quarantined(
        &self,
        filter: QuarantineFilter,
    ) -> Result<Vec<QuarantinedRequest>, StoreError> {
        match &self.quarantine {
            Some(quarantine) => quarantine.list(filter).await,
            None => Ok(Vec::new()),
        }
    }

    /// One quarantined request. `None` if there is none with that id.
    pub(crate) async fn show_quarantined(
        &self,
        id: QuarantineId,
    ) -> Result<Option<QuarantinedView>, StoreError> {
        let Some(quarantine) = &self.quarantine else { return Ok(None) };
        let Some((request, sealed)) = quarantine.get(id).await? else { return Ok(None) };
        let (headers, body) = match (self.sources.get(&request.source), self.open(id, &sealed)) {
            (Some(source), Some((head, body, remote))) => {
                let received = self.received(&source, &head, &body, remote, request.at);
                self.redacted(&received)
            }
            _ => (Vec::new(), Bytes::new()),
        };
        Ok(Some(QuarantinedView { request, headers, body }))
    }

    /// The headers and the body of a request, with its secrets as fingerprints.
    pub(super) fn redacted(&self, received: &Received<'_>) -> (Vec<(Box<str>, Bytes)>, Bytes) {
        let (view, secret) = (received.view(), &received.source.secret_fields);
        let content = Content::of(&view, received.body);
        let all = 0..content.bytes.len();
        let events = std::iter::once(all.clone());
        let content_type = view.header("content-type").unwrap_or_default();
        let redacted = Redacted::new(&content, content_type, events, secret, self.fingerprints());
        let map = &received.head.headers;
        let headers = redact::headers(map, &content, secret, self.fingerprints());
        (headers, redacted.part(all))
    }

    /// Accepts a request if it verifies now. A second release does nothing.
    pub(crate) async fn release(&self, id: QuarantineId) -> Result<ReleaseOutcome, StoreError> {
        let Some(quarantine) = &self.quarantine else { return Ok(ReleaseOutcome::Unknown) };
        let Some((request, sealed)) = quarantine.get(id).await? else {
            return Ok(ReleaseOutcome::Unknown);
        };
        if let Some(events) = request.released {
            return Ok(ReleaseOutcome::Released(events));
        }
        let accepted = match (self.sources.get(&request.source), self.open(id, &sealed)) {
            (None, _) => Err(Refused::UnknownSource),
            // Sealed under another key, or changed: it may not be what came.
            (_, None) => return Ok(ReleaseOutcome::StillRefused("unreadable".into())),
            (Some(source), Some((head, body, remote))) => {
                let received = self.received(&source, &head, &body, remote, request.at);
                self.accept_again(&received, id).await
            }
        };
        match accepted {
            Ok(events) => {
                quarantine.settle(id, RecheckResult::Released(events.clone())).await?;
                Ok(ReleaseOutcome::Released(events))
            }
            Err(Refused::Store(error)) => Err(error),
            Err(refused) => {
                let code: Box<str> = refused.code().into();
                quarantine.settle(id, RecheckResult::Refused(code.clone())).await?;
                Ok(ReleaseOutcome::StillRefused(code))
            }
        }
    }

    /// Verifies and stores a quarantined request. The ids of its events.
    async fn accept_again(
        &self,
        received: &Received<'_>,
        id: QuarantineId,
    ) -> Result<Vec<Box<str>>, Refused> {
        match self.interpret(received).await? {
            // The sender of a handshake has got an answer long ago.
            Interpretation::Handshake { .. } => Ok(Vec::new()),
            Interpretation::Events(mut routed) => {
                set_dedup_keys(&mut routed.request, id);
                let ingested = self.ingest(received.source, routed.request).await?;
                Ok(super::sample::ids(&ingested.events))
            }
        }
    }

    pub(super) fn received<'a>(
        &self,
        source: &'a LiveSource,
        head: &'a Parts,
        body: &'a Bytes,
        remote: IpAddr,
        at: Timestamp,
    ) -> Received<'a> {
        let url = self.signed_url(source, head);
        Received::from_quarantine(source, (head, body), Caller::of_kept(remote), url, at)
    }

    /// The head, body and sender of a sealed request. `None` if the seal does not open.
    pub(super) fn open(&self, id: QuarantineId, sealed: &[u8]) -> Option<(Parts, Bytes, IpAddr)> {
        StoredHead::parse(&self.seal.open(&id.to_string(), sealed)?)
    }
}

/// Gives events without a dedup key one from the quarantine id, so that two releases store one
/// event.
fn set_dedup_keys(request: &mut NewRequest, id: QuarantineId) {
    for (index, event) in request.events.iter_mut().enumerate() {
        event.dedup.get_or_insert_with(|| DedupKey {
            material: format!("{id}/{index}").into(),
            body_tag: 0,
        });
    }
}

fn new_id(at: Timestamp) -> QuarantineId {
    QuarantineId::from_parts(at, rand::random())
}

/// The head of a quarantined request, as JSON. Its body follows after a line break.
#[derive(Debug, Serialize, Deserialize)]
struct StoredHead {
    method: String,
    /// Path and query, as received.
    target: String,
    /// Names, and values in base64.
    headers: Vec<(String, String)>,
    /// The sender's address.
    remote: IpAddr,
}

impl StoredHead {
    fn of(head: &Parts, remote: IpAddr) -> Self {
        let pair = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.to_string(), STANDARD.encode(value.as_bytes()))
        };
        Self {
            method: head.method.to_string(),
            target: head.uri.to_string(),
            headers: head.headers.iter().map(pair).collect(),
            remote,
        }
    }

    fn with(&self, body: &[u8]) -> Option<Vec<u8>> {
        // Plain data always serialises.
        let mut content = serde_json::to_vec(self).ok()?;
        content.push(b'\n');
        content.extend_from_slice(body);
        Some(content)
    }

    fn parse(content: &[u8]) -> Option<(Parts, Bytes, IpAddr)> {
        let end = memchr::memchr(b'\n', content)?;
        let head: Self = serde_json::from_slice(&content[..end]).ok()?;
        let mut request = Request::builder().method(head.method.as_str()).uri(&head.target);
        for (name, value) in &head.headers {
            request =
                request.header(name, HeaderValue::from_bytes(&STANDARD.decode(value).ok()?).ok()?);
        }
        let (parts, ()) = request.body(()).ok()?.into_parts();
        Some((parts, Bytes::copy_from_slice(&content[end + 1..]), head.remote))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_stored_byte_for_byte() {
        let (head, ()) = Request::post("/webhook/a?b=%20c")
            .header("x-one", HeaderValue::from_bytes(b"caf\xe9").unwrap())
            .header("x-two", "a")
            .header("x-two", "b")
            .body(())
            .unwrap()
            .into_parts();
        let remote: IpAddr = "2001:db8::1".parse().unwrap();
        let content = StoredHead::of(&head, remote).with(b"line\nline\xff").unwrap();
        let (read, body, from) = StoredHead::parse(&content).unwrap();
        assert_eq!(
            (&read.method, &read.uri, &read.headers),
            (&head.method, &head.uri, &head.headers)
        );
        assert_eq!((&body[..], from), (&b"line\nline\xff"[..], remote));
    }

    #[test]
    fn ids_sort_by_time() {
        let id = |ms| new_id(Timestamp::from_millis(ms));
        assert!(id(1) < id(2) && id(1_760_000_000_000) < id(1_760_000_000_001));
        assert_ne!(id(1), id(1));
    }
}
