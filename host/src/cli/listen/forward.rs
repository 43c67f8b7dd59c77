//! Posts an event to a local URL as its sender sent it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use serde_json::json;
use weir_core::event::Event;
use weir_core::reserved_headers::{METHOD_HEADER, QUERY_HEADER};

use super::TryEnd;
use crate::cli::error::CommandError;
use crate::guard::AllowedNetworks;
use crate::http_client::{HttpClient, HttpError};

/// Headers that the connection makes itself.
const OWN: [&str; 8] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "expect",
    "te",
];
/// Stored headers of the hub that are no facts for a receiver.
const INTERNAL: [&str; 2] = ["weir-hops", "weir-trace"];
/// Characters of an answer that are shown.
const SHOWN_CHARS_MAX: usize = 80;

/// A URL that events are posted to.
#[derive(Debug)]
pub(super) struct Forward {
    http: HttpClient,
    url: Uri,
    timeout: Duration,
    any_status: bool,
}

impl Forward {
    pub(super) fn new(
        url: &str,
        timeout: Duration,
        any_status: bool,
    ) -> Result<Self, CommandError> {
        let usage = || {
            let what = "--forward takes a URL such as http://localhost:3000/hook".to_owned();
            CommandError::Usage(what)
        };
        let url: Uri = url.parse().map_err(|_| usage())?;
        if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() {
            return Err(usage());
        }
        // The operator wrote the URL, which is usually on this machine.
        let allow = AllowedNetworks { loopback: true, private: true, ..AllowedNetworks::default() };
        Ok(Self { http: HttpClient::guarded(allow)?, url, timeout, any_status })
    }

    /// Posts an event once.
    pub(super) async fn send(&self, event: &Event) -> Result<TryEnd, CommandError> {
        let request = request(event, &self.url)?;
        let started = Instant::now();
        let answered = self.http.send_within(request, self.timeout).await;
        let ms = started.elapsed().as_secs_f64() * 1_000.0;
        Ok(match answered {
            Ok(answer) => {
                let is_acknowledged = self.any_status || answer.status.is_success();
                let status = answer.status.as_u16();
                let text = String::from_utf8_lossy(&answer.body);
                let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
                let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
                let said = match answer.status.is_success() {
                    true => format!("{status} in {ms:.1} ms"),
                    false => format!("{status} {shown}").trim_end().to_owned(),
                };
                let facts = json!({ "status": status, "ms": ms });
                TryEnd { is_acknowledged, said, facts, more: Vec::new() }
            }
            Err(HttpError::Unreachable { at, cause }) => {
                let said = format!("cannot reach {at}: {cause}");
                let facts = json!({ "error": said });
                TryEnd { is_acknowledged: false, said, facts, more: Vec::new() }
            }
            Err(error) => return Err(error.into()),
        })
    }
}

/// The request of an event: its method, headers, query and body, with the facts of the hub.
fn request(event: &Event, url: &Uri) -> Result<Request<Full<Bytes>>, CommandError> {
    let failed = |what: String| CommandError::Failed(format!("{}: {what}", event.public_id));
    let payload = &event.payload;
    let text = |name: &str| {
        let value = payload.header(name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    let mut to = url.to_string();
    if let Some(query) = text(QUERY_HEADER) {
        to.push(if to.contains('?') { '&' } else { '?' });
        to.push_str(&query);
    }
    let to: Uri = to.parse().map_err(|_| failed("its query is not one of a URL".into()))?;
    let method = text(METHOD_HEADER).map(|method| Method::from_bytes(method.as_bytes()));
    let method = method.transpose().map_err(|_| failed("its method is not valid".into()))?;
    let mut request = Request::new(Full::new(payload.body.clone()));
    *request.method_mut() = method.unwrap_or(Method::POST);
    *request.uri_mut() = to;
    let headers = request.headers_mut();
    for (name, value) in &payload.headers {
        if OWN.contains(&&**name) || INTERNAL.contains(&&**name) {
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    for (name, value) in [
        ("weir-event-id", event.public_id.to_string()),
        ("weir-source", event.source.to_string()),
        ("weir-event-type", event.kind.to_string()),
    ] {
        let value = HeaderValue::try_from(value).map_err(|error| failed(error.to_string()))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(request)
}
