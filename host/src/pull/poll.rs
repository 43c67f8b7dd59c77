//! The `poll` kind of source: asks a URL for a JSON document again and again, and takes each item
//! of its list once.
//!
//! The document is asked for only if it has changed, by its `ETag` and `Last-Modified`. These and
//! the items of the last document are kept in the store, so that a restart takes nothing twice,
//! also of items that stay in the document for longer than dedup keys live.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{
    ACCEPT, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED, LOCATION, RETRY_AFTER, USER_AGENT,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use weir_core::json_pointer::{JsonError, array_items, scalar_text};
use weir_core::name::SourceName;
use weir_store::Store;
use weir_store::registry::EntryKind;

use super::session::{MessageServer, PullSession, Reason};
use crate::config::PollSettings;
use crate::egress::fetch::{self, Http};
use crate::egress::webhook::AGENT;
use crate::guard::DialError;
use crate::ingress::{MessageId, PulledMessage};
use crate::tls::roots::RootsError;

/// The most items in one document.
const ITEMS_MAX: usize = 10_000;
/// Longest wait in one call, after which the puller may look at its own state.
const WAIT: Duration = Duration::from_secs(2);
/// The longest wait that the server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);
/// The longest wait after a failure that says none.
const AFTER_FAILURE_MAX: Duration = Duration::from_secs(30);
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A document at a URL.
#[derive(Debug)]
pub(super) struct PollServer {
    inner: Arc<Inner>,
}

struct Inner {
    name: SourceName,
    settings: PollSettings,
    prefetch: usize,
    client: Http,
    /// None for a check.
    store: Option<Arc<dyn Store>>,
    /// After a failure, no request is made before this time.
    not_before: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The documents, one after the other.
struct PollSession {
    inner: Arc<Inner>,
    /// The last document of which every item was taken.
    known: LastDocument,
    /// The version of its row in the store.
    version: Option<u64>,
    next_at: Instant,
    /// The document whose items are being taken.
    current: Option<Current>,
}

struct Current {
    document: LastDocument,
    waiting: VecDeque<PulledMessage>,
}

/// A document as it is kept in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct LastDocument {
    /// A hash of its URL. Another URL begins anew.
    url: String,
    etag: Option<String>,
    last_modified: Option<String>,
    /// Hashes of the ids of its items.
    items: BTreeSet<u64>,
}

impl PollServer {
    pub(super) fn new(
        name: &SourceName,
        settings: &PollSettings,
        prefetch: usize,
        store: Option<Arc<dyn Store>>,
    ) -> Result<Self, RootsError> {
        let client = fetch::client(settings.allow, &settings.trust)?;
        let (name, settings, not_before) = (name.clone(), settings.clone(), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { name, settings, prefetch, client, store, not_before }) })
    }
}

#[async_trait]
impl MessageServer for PollServer {
    async fn open(&self) -> Result<Box<dyn PullSession>, Reason> {
        let not_before = *self.inner.not_before.lock();
        if let Some(not_before) = not_before {
            sleep_until(not_before).await;
        }
        let (known, version) = self.inner.known().await?;
        let inner = self.inner.clone();
        Ok(Box::new(PollSession { inner, known, version, next_at: Instant::now(), current: None }))
    }

    async fn check(&self) -> Result<(), Reason> {
        match self.inner.ask(&LastDocument::default()).await? {
            Some((body, _)) => items(&body, &self.inner.settings).map(|_| ()),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl PullSession for PollSession {
    async fn next(&mut self) -> Result<Vec<PulledMessage>, Reason> {
        if self.current.is_none() {
            let latest = Instant::now() + WAIT;
            if timeout_at(latest, sleep_until(self.next_at)).await.is_err() {
                return Ok(Vec::new());
            }
            let asked = self.inner.document(&self.known).await;
            let interval = self.inner.settings.interval;
            self.next_at = Instant::now() + interval;
            match asked {
                Ok(current) => self.current = current,
                Err((reason, wait)) => {
                    let wait = wait.unwrap_or(interval.min(AFTER_FAILURE_MAX));
                    *self.inner.not_before.lock() = Some(Instant::now() + wait);
                    return Err(reason);
                }
            }
        }
        let Some(current) = &mut self.current else { return Ok(Vec::new()) };
        let count = self.inner.prefetch.min(current.waiting.len());
        let messages: Vec<_> = current.waiting.drain(..count).collect();
        if messages.is_empty() {
            self.finish().await;
        }
        Ok(messages)
    }

    /// Items that were not taken end the session: the next one asks for the whole document again.
    async fn settle(&mut self, taken: &[bool]) -> Result<(), Reason> {
        let is_done = self.current.as_ref().is_some_and(|current| current.waiting.is_empty());
        if is_done && taken.iter().all(|taken| *taken) {
            self.finish().await;
        }
        Ok(())
    }
}

impl PollSession {
    /// Every item of the document was taken.
    async fn finish(&mut self) {
        let Some(Current { document, .. }) = self.current.take() else { return };
        self.known = document;
        let Some(store) = &self.inner.store else { return };
        let value = serde_json::to_vec(&self.known).ok();
        let name = self.inner.name.as_str();
        match store.cas(EntryKind::Poll, name, self.version, value).await {
            Ok(weir_store::registry::CasOutcome::Written { version }) => {
                self.version = Some(version);
            }
            // Without it, the next start asks for the document again, and recognises its items.
            Ok(weir_store::registry::CasOutcome::Conflict { found }) => self.version = found,
            Err(error) => tracing::warn!(source = name, %error, "cannot keep what was polled"),
        }
    }
}

/// A reason, and the wait that the server asked for.
type Failure = (Reason, Option<Duration>);

impl Inner {
    /// The last document of this URL, with the version of its row.
    async fn known(&self) -> Result<(LastDocument, Option<u64>), Reason> {
        let new = || LastDocument { url: self.url_hash(), ..LastDocument::default() };
        let Some(store) = &self.store else { return Ok((new(), None)) };
        let entry = store.get(EntryKind::Poll, self.name.as_str()).await;
        let Some(entry) = entry.map_err(|error| error.to_string())? else {
            return Ok((new(), None));
        };
        let stored: Option<LastDocument> =
            entry.value.and_then(|value| serde_json::from_slice(&value).ok());
        let same = stored.filter(|document| document.url == self.url_hash());
        Ok((same.unwrap_or_else(new), Some(entry.version)))
    }

    fn url_hash(&self) -> String {
        hex::encode(Sha256::digest(self.settings.url.to_string()))
    }

    /// Asks for the document. None if it has not changed.
    async fn document(&self, known: &LastDocument) -> Result<Option<Current>, Failure> {
        let Some((body, headers)) = self.ask_with_wait(known).await? else { return Ok(None) };
        let text = |name| {
            let value: Option<&HeaderValue> = headers.get(name);
            value.and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let mut document = LastDocument {
            url: self.url_hash(),
            etag: text(ETAG),
            last_modified: text(LAST_MODIFIED),
            items: BTreeSet::new(),
        };
        let mut waiting = VecDeque::new();
        for (id, message) in items(&body, &self.settings).map_err(|reason| (reason, None))? {
            let is_new = document.items.insert(id) && !known.items.contains(&id);
            match (is_new, self.settings.newest_first) {
                (false, _) => {}
                (true, true) => waiting.push_front(message),
                (true, false) => waiting.push_back(message),
            }
        }
        Ok(Some(Current { document, waiting }))
    }

    async fn ask(&self, known: &LastDocument) -> Result<Option<(Bytes, HeaderMap)>, Reason> {
        self.ask_with_wait(known).await.map_err(|(reason, _)| reason)
    }

    /// The body and the headers of the answer; none if the document has not changed.
    async fn ask_with_wait(
        &self,
        known: &LastDocument,
    ) -> Result<Option<(Bytes, HeaderMap)>, Failure> {
        let PollSettings { timeout: limit, max_bytes, .. } = self.settings;
        let at = self.settings.origin();
        let asking = async {
            let answer = self.client.request(self.request(known)).await;
            let answer = answer.map_err(|error| (unreachable(&at, &error), None))?;
            if answer.status() == StatusCode::NOT_MODIFIED {
                return Ok(None);
            }
            if answer.status() != StatusCode::OK {
                return Err(refused(&at, &answer));
            }
            let (head, body) = answer.into_parts();
            match Limited::new(body, max_bytes).collect().await {
                Ok(body) => Ok(Some((body.to_bytes(), head.headers))),
                Err(error) if error.is::<LengthLimitError>() => Err((
                    format!(
                        "{at}: the document has more than {max_bytes} bytes; raise max_bytes, \
                        or ask for less"
                    )
                    .into(),
                    None,
                )),
                Err(error) => Err((format!("{at}: the answer broke off: {error}").into(), None)),
            }
        };
        let silent = || format!("{at}: no answer within {} s", limit.as_secs_f64());
        timeout(limit, asking).await.unwrap_or_else(|_| Err((silent().into(), None)))
    }

    fn request(&self, known: &LastDocument) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = self.settings.url.clone();
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, AGENT);
        headers.insert(ACCEPT, JSON);
        let mut ask = |name: HeaderName, value: &Option<String>| {
            if let Some(Ok(value)) = value.as_deref().map(HeaderValue::from_str) {
                headers.insert(name, value);
            }
        };
        ask(IF_NONE_MATCH, &known.etag);
        ask(IF_MODIFIED_SINCE, &known.last_modified);
        for (name, value) in &self.settings.headers {
            headers.insert(name, value.clone());
        }
        request
    }
}

/// The items of a document, each with a hash of its id.
fn items(document: &Bytes, settings: &PollSettings) -> Result<Vec<(u64, PulledMessage)>, Reason> {
    let (at, place) = (settings.origin(), settings.items.as_str());
    let list =
        settings.items.find(document).map_err(|_| format!("{at}: the answer is not JSON"))?;
    let list = list.ok_or_else(|| {
        format!("{at}: there is nothing at {place:?}; correct items = \"/path/to/the/list\"")
    })?;
    let list = array_items(list.get().as_bytes(), ITEMS_MAX).map_err(|error| match error {
        JsonError::TooMany(most) => {
            format!("{at}: the document has more than {most} items; ask for less")
        }
        _ => format!("{at}: {place:?} is not a list; correct items = \"/path/to/the/list\""),
    })?;
    Ok(list.into_iter().map(|item| message(item.get(), settings)).collect())
}

/// The message of an item. One without an id is told from others by its bytes.
fn message(item: &str, settings: &PollSettings) -> (u64, PulledMessage) {
    let found = settings.item_id.find(item.as_bytes()).ok().flatten();
    let id = found.and_then(|raw| scalar_text(raw).map(|text| text.into_owned()));
    let (shown, material) = match &id {
        Some(id) => (id.as_str(), format!("poll\0id\0{id}")),
        None => ("", format!("poll\0bytes\0{}", hex::encode(Sha256::digest(item)))),
    };
    let digest = Sha256::digest(&material);
    let hash = digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, JSON);
    let id = Some(MessageId::new(shown, material));
    (hash, PulledMessage { id, headers, body: Bytes::copy_from_slice(item.as_bytes()) })
}

/// The reason of an answer that is not a document.
fn refused(at: &str, answer: &Response<Incoming>) -> Failure {
    let status = answer.status();
    let advice = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "; set headers = { authorization = { env = \"NAME\" } } as it asks"
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => "; correct the url",
        _ if status.is_redirection() && answer.headers().contains_key(LOCATION) => {
            "; redirects are not followed: set the url that it names"
        }
        _ => "",
    };
    let wait = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let wait = wait.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    (format!("{at}: answered {status}{advice}").into(), wait.map(|wait| wait.min(RETRY_AFTER_MAX)))
}

/// The innermost cause, or that the guard refuses the address.
fn unreachable(at: &str, error: &(dyn std::error::Error + 'static)) -> Reason {
    let mut innermost = error;
    loop {
        if let Some(DialError::Blocked(blocked)) = innermost.downcast_ref() {
            return blocked.to_string().into();
        }
        match innermost.source() {
            Some(source) => innermost = source,
            None => return format!("{at} cannot be reached: {innermost}").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_core::json_pointer::Pointer;

    use super::*;
    use crate::guard::AllowedNetworks;
    use crate::tls::TrustedRoots;

    fn settings(items: &str) -> PollSettings {
        PollSettings {
            url: "https://user.example.com/list?key=hunter2".parse().unwrap(),
            headers: Vec::new(),
            interval: Duration::from_secs(60),
            items: Pointer::parse(items).unwrap(),
            item_id: Pointer::parse("/id").unwrap(),
            newest_first: false,
            max_bytes: 1_000,
            timeout: Duration::from_secs(1),
            allow: AllowedNetworks::default(),
            trust: TrustedRoots::default(),
        }
    }

    #[test]
    fn each_item_has_an_id_of_its_own() {
        let document =
            Bytes::from(r#"{"data":[{"id":1},{"id":"1","a":2},{"id":2},{"b":1},{"b":2}]}"#);
        let found = items(&document, &settings("/data")).unwrap();
        let ids: BTreeSet<_> = found.iter().map(|(id, _)| *id).collect();
        assert_eq!((found.len(), ids.len()), (5, 4), "1 and \"1\" are the same id");
        assert_eq!(&found[1].1.body[..], br#"{"id":"1","a":2}"#);
    }

    #[test]
    fn a_document_of_another_form_says_what_to_correct() {
        let reason = |text: &'static str, at: &str| {
            items(&Bytes::from_static(text.as_bytes()), &settings(at)).map(|_| ()).unwrap_err()
        };
        assert!(reason("<html>", "/data").contains("not JSON"));
        assert!(reason("{}", "/data").contains("nothing at \"/data\""));
        assert!(reason("{\"data\":3}", "/data").contains("is not a list"));
        assert!(!format!("{:?}", settings("")).contains("hunter2"));
        assert!(items(&Bytes::from_static(b"[{}]"), &settings("")).is_ok());
    }
}
