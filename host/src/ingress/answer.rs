//! Answers to requests that are taken in: ours, the provider's, and those of handshakes and health checks.

use std::fmt::Write;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};
use http_body_util::Full;
use weir_core::handshake::HandshakeAnswer;
use weir_core::payload::Payload;
use weir_core::provider::AnswerTable;
use weir_store::EventIngested;

/// What goes back to a sender.
pub(super) type Answer = Response<Full<Bytes>>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The answer that a provider demands for every request that is taken in.
#[derive(Debug, Clone)]
pub(super) struct Acknowledgement {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    body: Bytes,
}

impl Acknowledgement {
    /// Checks a provider's words; none if they are no HTTP.
    pub(super) fn new(table: &AnswerTable) -> Option<Self> {
        let content_type = match &table.content_type {
            Some(text) => Some(HeaderValue::from_str(text).ok()?),
            None => None,
        };
        let status = StatusCode::from_u16(table.status).ok()?;
        Some(Self { status, content_type, body: table.body.clone().into() })
    }

    /// The answer.
    pub(super) fn answer(&self) -> Answer {
        answer(self.status, self.content_type.clone(), self.body.clone())
    }
}

/// Whether anything of a request was new.
pub(super) fn word(events: &[EventIngested]) -> &'static str {
    let duplicate = |e: &EventIngested| matches!(e, EventIngested::Duplicate { .. });
    if !events.is_empty() && events.iter().all(duplicate) { "duplicate" } else { "accepted" }
}

/// What became of a request: the id of its event, or for a batch the ids of what is new and of what was here.
pub(super) fn stored(events: &[EventIngested], is_batch: bool) -> Answer {
    let word = word(events);
    let mut body = String::with_capacity(48 + 34 * events.len());
    // Writing to a string cannot fail.
    let _ = match (events, is_batch) {
        (
            [EventIngested::Stored { id, .. } | EventIngested::Duplicate { first: id, .. }],
            false,
        ) => {
            write!(body, r#"{{"status":"{word}","event_id":"{id}"}}"#)
        }
        _ => write_batch(&mut body, word, events),
    };
    answer(StatusCode::OK, Some(JSON), body.into())
}

fn write_batch(body: &mut String, word: &str, events: &[EventIngested]) -> std::fmt::Result {
    write!(body, r#"{{"status":"{word}","event_ids":["#)?;
    let new = events.iter().filter_map(|e| match e {
        EventIngested::Stored { id, .. } => Some(id),
        EventIngested::Duplicate { .. } => None,
    });
    let known = events.iter().filter_map(|e| match e {
        EventIngested::Duplicate { first, .. } => Some(first),
        EventIngested::Stored { .. } => None,
    });
    for (n, id) in new.enumerate() {
        write!(body, "{}\"{id}\"", if n > 0 { "," } else { "" })?;
    }
    body.push_str(r#"],"duplicates":["#);
    for (n, id) in known.enumerate() {
        write!(body, "{}\"{id}\"", if n > 0 { "," } else { "" })?;
    }
    body.push_str("]}");
    Ok(())
}

/// A status and nothing else.
pub(super) fn empty(status: StatusCode) -> Answer {
    answer(status, None, Bytes::new())
}

/// The answer to a handshake. A header that is none is left out; the provider's file was checked for that.
pub(super) fn handshake(reply: HandshakeAnswer) -> Answer {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
    let mut response = answer(status, None, reply.body.into());
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// What a handler answers. Its parts were checked when the handler said them; what is no HTTP is left out all the same.
pub(super) fn reply(status: u16, payload: &Payload) -> Answer {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
    let body = if bodiless { Bytes::new() } else { payload.body.clone() };
    let mut response = answer(status, None, body);
    for (name, value) in &payload.headers {
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(&**name), HeaderValue::from_bytes(value))
        {
            response.headers_mut().append(name, value);
        }
    }
    // A handler's words are data to whoever asked, and no page of this host.
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Asks caches on the way not to keep the answer to a `GET`: one that is served again for a like request would say of an
/// event that never came here that it is stored. A handler's own word stands.
pub(super) fn without_caching(mut answer: Answer) -> Answer {
    answer.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}

/// The answer to a health check; `problem` says why not.
pub(super) fn health(problem: Option<&str>) -> Answer {
    match problem {
        None => answer(StatusCode::OK, Some(JSON), Bytes::from_static(br#"{"status":"ok"}"#)),
        Some(reason) => {
            let body = format!(r#"{{"status":"unavailable","reason":"{reason}"}}"#);
            answer(StatusCode::SERVICE_UNAVAILABLE, Some(JSON), body.into())
        }
    }
}

fn answer(status: StatusCode, content_type: Option<HeaderValue>, body: Bytes) -> Answer {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use weir_core::id::EventId;

    use super::*;

    fn new(bits: u128) -> EventIngested {
        EventIngested::Stored { id: EventId::from_bits(bits), id_reused: false, unrouted: true }
    }

    fn known(bits: u128) -> EventIngested {
        EventIngested::Duplicate { first: EventId::from_bits(bits), requeued: false }
    }

    async fn told(events: &[EventIngested], is_batch: bool) -> serde_json::Value {
        let body = stored(events, is_batch).into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }

    #[tokio::test]
    async fn one_event_is_told_by_its_id_and_a_duplicate_by_the_id_of_the_first() {
        let id = EventId::from_bits(5).to_string();
        assert_eq!(
            told(&[new(5)], false).await,
            serde_json::json!({ "status": "accepted", "event_id": id })
        );
        assert_eq!(
            told(&[known(5)], false).await,
            serde_json::json!({ "status": "duplicate", "event_id": id })
        );
    }

    #[tokio::test]
    async fn a_batch_lists_what_is_new_apart_from_what_was_here() {
        let id = |bits| EventId::from_bits(bits).to_string();
        assert_eq!(
            told(&[new(1), known(2), new(3)], true).await,
            serde_json::json!({
                "status": "accepted", "event_ids": [id(1), id(3)], "duplicates": [id(2)],
            })
        );
        assert_eq!(told(&[known(2)], true).await["status"], "duplicate");
        assert_eq!(
            told(&[], true).await,
            serde_json::json!({ "status": "accepted", "event_ids": [], "duplicates": [] })
        );
    }
}
