//! Requests that were not believed, and letting them in once the reason is mended.
//!
//! A request is kept as it came, sealed, if it carries what its source's scheme looks for. Letting it in verifies it
//! again, as of the moment when it came, with the secrets of now: what was stale then stays out.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use serde::{Deserialize, Serialize};
use weir_core::id::QuarantineId;
use weir_core::request::RequestView;
use weir_core::time::Timestamp;
use weir_store::StoreError;
use weir_store::quarantine::{QuarantineFilter, QuarantinedRequest, RecheckResult};
use weir_store::{DedupKey, EventIngested, NewRequest};

use super::Ingress;
use super::client::Caller;
use super::content::Content;
use super::penalties::Network;
use super::receive::Understood;
use super::redact::{self, Redacted};
use super::refused::Refused;
use super::way::LiveSource;

/// A kept request as it came, with its secrets as fingerprints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedView {
    /// What is known of it.
    pub request: QuarantinedRequest,
    /// Its method and headers; none once it was let in.
    pub headers: Vec<(Box<str>, Bytes)>,
    /// Its body, or the query in the place of one.
    pub body: Bytes,
}

/// What came of letting a request in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseOutcome {
    /// It is in: the ids of its events, which may have been there before.
    In(Vec<Box<str>>),
    /// It is still refused, for this reason.
    StillRefused(Box<str>),
    /// There is none by that id.
    Unknown,
}

impl Ingress {
    /// Keeps a refused request, if it carries what the source's scheme looks for, by a method that events come by; else it
    /// is no webhook but noise.
    pub(super) fn quarantine_request(
        &self,
        way: &LiveSource,
        head: &Parts,
        body: &Bytes,
        caller: Caller<'_>,
        refused: &Refused,
    ) {
        let (Some(quarantine), Refused::Unverified { refusal, .. }) = (&self.quarantine, refused)
        else {
            return;
        };
        let url = self.signed_url(way, head);
        let headers: Vec<_> =
            head.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        let view = RequestView { method: head.method.as_str(), url: &url, headers: &headers, body };
        if !way.verifier.carries_signature(&view) || !way.takes_events_by(view.method) {
            return;
        }
        let at = self.clock.now();
        let id = new_id(at);
        let Some(content) = StoredHead::of(head, caller.address).with(body) else { return };
        let content = self.seal.close(&id.to_string(), &content);
        let request = QuarantinedRequest {
            id,
            source: way.source.name.as_str().into(),
            address: Network::of(caller.address).to_string().into(),
            at,
            code: refusal.code().into(),
            size: content.len(),
            released: None,
        };
        let kept = quarantine.put(request, content);
        way.metrics.quarantined(if kept { "kept" } else { "dropped" });
    }

    /// What is kept in the quarantine.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub async fn quarantined(
        &self,
        wanted: QuarantineFilter,
    ) -> Result<Vec<QuarantinedRequest>, StoreError> {
        match &self.quarantine {
            Some(quarantine) => quarantine.list(wanted).await,
            None => Ok(Vec::new()),
        }
    }

    /// The refusal whose sender was told this id, while it is remembered.
    #[must_use]
    pub fn refusal(&self, id: &str) -> Option<super::RefusalRecord> {
        self.refusals.find(id)
    }

    /// One request of the quarantine as it came. None if there is none by that id.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub async fn show_quarantined(
        &self,
        id: QuarantineId,
    ) -> Result<Option<QuarantinedView>, StoreError> {
        let Some(quarantine) = &self.quarantine else { return Ok(None) };
        let Some((request, sealed)) = quarantine.get(id).await? else { return Ok(None) };
        let (mut headers, mut body) = (Vec::new(), Bytes::new());
        if let Some((parts, whole, _)) = self.opened(id, &sealed)
            && let Some(way) = self.live_sources.get(&request.source)
        {
            let url = self.signed_url(&way, &parts);
            let given: Vec<_> =
                parts.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
            let method = parts.method.as_str();
            let view = RequestView { method, url: &url, headers: &given, body: &whole };
            let (content, fields) = (Content::of(&view, &whole), &way.secret_fields);
            let all = 0..content.bytes.len();
            let events = std::iter::once(all.clone());
            let content_type = view.header("content-type").unwrap_or_default();
            let kept = Redacted::new(&content, content_type, events, fields, self.fingerprints());
            headers = redact::headers(&parts.headers, &content, fields, self.fingerprints());
            body = kept.part(all);
        }
        Ok(Some(QuarantinedView { request, headers, body }))
    }

    /// Lets a request in, if it is believed now. Doing it twice does it once.
    ///
    /// # Errors
    /// If the store or the quarantine fails; then it can be tried again.
    pub async fn release(&self, id: QuarantineId) -> Result<ReleaseOutcome, StoreError> {
        let Some(quarantine) = &self.quarantine else { return Ok(ReleaseOutcome::Unknown) };
        let Some((request, sealed)) = quarantine.get(id).await? else {
            return Ok(ReleaseOutcome::Unknown);
        };
        if let Some(events) = request.released {
            return Ok(ReleaseOutcome::In(events));
        }
        let let_in = match (self.live_sources.get(&request.source), self.opened(id, &sealed)) {
            (None, _) => Err(Refused::UnknownSource),
            // Sealed under another key, or changed by somebody: nothing says that this is what came.
            (_, None) => return Ok(ReleaseOutcome::StillRefused("unreadable".into())),
            (Some(way), Some((head, body, remote))) => {
                self.let_in(&way, &head, &body, remote, request.at, id).await
            }
        };
        match let_in {
            Ok(events) => {
                quarantine.settle(id, RecheckResult::Released(events.clone())).await?;
                Ok(ReleaseOutcome::In(events))
            }
            Err(Refused::Store(error)) => Err(error),
            Err(refused) => {
                let code: Box<str> = refused.code().into();
                quarantine.settle(id, RecheckResult::Refused(code.clone())).await?;
                Ok(ReleaseOutcome::StillRefused(code))
            }
        }
    }

    async fn let_in(
        &self,
        way: &LiveSource,
        head: &Parts,
        body: &Bytes,
        remote: IpAddr,
        at: Timestamp,
        id: QuarantineId,
    ) -> Result<Vec<Box<str>>, Refused> {
        let caller = Caller::of_kept(remote);
        match self.understand_with_keys(way, head, body, caller, at).await? {
            Understood::Unkeyed(_) => Err(Refused::KeyUnavailable),
            // Whoever asked has long been answered.
            Understood::Handshake(_) => Ok(Vec::new()),
            Understood::Events { mut request, .. } => {
                known_by_id(&mut request, id);
                let ingested = self.ingest(way, request).await?;
                let ids = ingested.events.iter().map(|event| match event {
                    EventIngested::Stored { id, .. }
                    | EventIngested::Duplicate { first: id, .. } => id.to_string().into(),
                });
                Ok(ids.collect())
            }
        }
    }

    /// A kept request, its body, and who sent it.
    fn opened(&self, id: QuarantineId, sealed: &[u8]) -> Option<(Parts, Bytes, IpAddr)> {
        StoredHead::read(&self.seal.open(&id.to_string(), sealed)?)
    }
}

/// An event that nothing tells from another is told by where it was kept, so that letting it in twice makes one.
fn known_by_id(request: &mut NewRequest, id: QuarantineId) {
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

/// The head of a kept request. Its body follows after a line break.
#[derive(Debug, Serialize, Deserialize)]
struct StoredHead {
    method: String,
    /// Path and query, as received.
    target: String,
    /// Names, and values in base64.
    headers: Vec<(String, String)>,
    /// Who sent it.
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

    fn read(content: &[u8]) -> Option<(Parts, Bytes, IpAddr)> {
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
    fn a_request_is_kept_byte_for_byte() {
        let (head, ()) = Request::post("/webhook/a?b=%20c")
            .header("x-one", HeaderValue::from_bytes(b"caf\xe9").unwrap())
            .header("x-two", "a")
            .header("x-two", "b")
            .body(())
            .unwrap()
            .into_parts();
        let remote: IpAddr = "2001:db8::1".parse().unwrap();
        let content = StoredHead::of(&head, remote).with(b"line\nline\xff").unwrap();
        let (read, body, from) = StoredHead::read(&content).unwrap();
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
