//! Refusals as problem documents (RFC 9457), with a stable `code` and the id that the log shows.

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http_body_util::Full;
use serde::Serialize;

use super::Answer;
use super::refused::Refused;

#[derive(Debug, Serialize)]
struct ProblemDocument<'a> {
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
}

/// The answer to a refused request. `allow`: the methods that its source accepts.
pub(crate) fn answer(refused: &Refused, request_id: &str, allow: Option<&HeaderValue>) -> Answer {
    let status = refused.status();
    let problem = ProblemDocument {
        title: status.canonical_reason().unwrap_or("Refused"),
        status: status.as_u16(),
        code: refused.code(),
        detail: &refused.detail(),
        request_id,
        path: refused.path(),
    };
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = http::Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = refused.retry_after_s() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let (Refused::Method, Some(allow)) = (refused, allow) {
        headers.insert(ALLOW, allow.clone());
    }
    response
}
