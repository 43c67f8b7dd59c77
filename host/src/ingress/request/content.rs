//! The content of a request: its body, or its query where the query takes the place of a body.
//! Pure.

use bytes::Bytes;
use weir_core::payload::Payload;
use weir_core::request::{RequestView, is_form};

/// The content type of a form, and so of a query.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// The content of a request.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    /// The bytes as they came.
    pub(crate) bytes: Bytes,
    pub(crate) origin: ContentOrigin,
}

/// The part of a request that its content is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentOrigin {
    /// The body. `is_form`: it has the shape of a form.
    Body { is_form: bool },
    /// The body, which is declared as a multipart form.
    Multipart,
    /// The query, which is a form.
    Query,
}

impl Content {
    /// The content of `request`, whose body is `body`. A body is not copied.
    pub(crate) fn of(request: &RequestView<'_>, body: &Bytes) -> Self {
        if request.payload_is_query() {
            return Self {
                bytes: Bytes::copy_from_slice(request.payload()),
                origin: ContentOrigin::Query,
            };
        }
        let origin = match request.is_multipart_form() {
            true => ContentOrigin::Multipart,
            false => ContentOrigin::Body { is_form: request.is_form() },
        };
        Self { bytes: body.clone(), origin }
    }

    /// True if the content is a form that is not multipart.
    pub(crate) fn is_form(&self) -> bool {
        matches!(self.origin, ContentOrigin::Query | ContentOrigin::Body { is_form: true })
    }

    /// True for a query, which is a form without a content type of its own.
    pub(crate) fn is_undeclared_form(&self) -> bool {
        self.origin == ContentOrigin::Query && !self.bytes.is_empty()
    }
}

/// The kind of body that a provider's answer may depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFormat {
    Form,
    /// JSON or anything else.
    Other,
}

impl BodyFormat {
    /// The format that a stored body looks like. An empty body has the format of its content type.
    pub(crate) fn of(payload: &Payload) -> Self {
        let media = payload.content_type().split(';').next().unwrap_or("");
        let is_declared = media.trim().eq_ignore_ascii_case(FORM);
        let is_form = is_form(&payload.body) || payload.body.is_empty() && is_declared;
        if is_form { Self::Form } else { Self::Other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, url: &str, content_type: &str, body: &'static str) -> Content {
        let headers: &[(&str, &[u8])] = &[("content-type", content_type.as_bytes())];
        let request = RequestView { method, url, headers, body: body.as_bytes() };
        Content::of(&request, &Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn the_content_of_a_get_without_a_body_is_its_query() {
        let content = of("GET", "https://h.example/in?a=%20b", "text/plain", "");
        assert_eq!((&content.bytes[..], content.origin), (&b"a=%20b"[..], ContentOrigin::Query));
        assert!(content.is_form() && content.is_undeclared_form());
        let empty = of("GET", "https://h.example/in", "text/plain", "");
        assert!(empty.bytes.is_empty() && !empty.is_undeclared_form());
    }

    #[test]
    fn the_content_of_a_request_with_a_body_is_the_body() {
        for method in ["POST", "GET", "DELETE"] {
            let content = of(method, "https://h.example/in?a=b", "text/plain", "c=d");
            assert_eq!((&content.bytes[..], content.is_form()), (&b"c=d"[..], true), "{method}");
        }
        assert!(!of("PUT", "https://h.example/in?a=b", FORM, "{\"c\":1}").is_form());
        assert!(of("PUT", "https://h.example/in?a=b", "text/plain", "").bytes.is_empty());
    }
}
