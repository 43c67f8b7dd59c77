//! What a request says, as its event has it: its body, or the query that stands in the place of one. Pure.

use bytes::Bytes;
use weir_core::payload::Payload;
use weir_core::request::RequestView;

/// The content type of a query.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// What a request says.
#[derive(Debug, Clone)]
pub(super) struct Content {
    /// The bytes as they came.
    pub(super) bytes: Bytes,
    /// Where they stood.
    pub(super) place: Place,
}

/// Where a request says what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In its body.
    Body {
        /// Which has the shape of a form.
        is_form: bool,
    },
    /// In its body, which is declared as a form in parts.
    Parts,
    /// In its query, which is a form.
    Query,
}

impl Content {
    /// What `request` says, whose body is `body`. A body is not copied.
    pub(super) fn of(request: &RequestView<'_>, body: &Bytes) -> Self {
        if request.payload_is_query() {
            return Self { bytes: Bytes::copy_from_slice(request.payload()), place: Place::Query };
        }
        let place = match request.is_multipart_form() {
            true => Place::Parts,
            false => Place::Body { is_form: request.is_form() },
        };
        Self { bytes: body.clone(), place }
    }

    /// Whether it is a form.
    pub(super) fn is_form(&self) -> bool {
        matches!(self.place, Place::Query | Place::Body { is_form: true })
    }

    /// Whether it came without a content type of its own, and is a form all the same. An empty one needs none.
    pub(super) fn is_undeclared_form(&self) -> bool {
        self.place == Place::Query && !self.bytes.is_empty()
    }
}

/// Whether what was taken in is a form, which some senders want answered in another way than JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IsForm(pub(super) bool);

impl IsForm {
    /// As what is kept looks, or where it is empty as its content type says.
    pub(super) fn of(payload: &Payload) -> Self {
        let media = payload.content_type().split(';').next().unwrap_or("");
        let declared = media.trim().eq_ignore_ascii_case(FORM);
        Self(weir_core::request::is_form(&payload.body) || payload.body.is_empty() && declared)
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
    fn a_get_without_a_body_says_what_stands_in_its_query() {
        let said = of("GET", "https://h.example/in?a=%20b", "text/plain", "");
        assert_eq!((&said.bytes[..], said.place), (&b"a=%20b"[..], Place::Query));
        assert!(said.is_form() && said.is_undeclared_form());
        let nothing = of("GET", "https://h.example/in", "text/plain", "");
        assert!(nothing.bytes.is_empty() && !nothing.is_undeclared_form());
    }

    #[test]
    fn a_body_is_what_a_request_says_and_the_query_beside_it_is_not() {
        for method in ["POST", "GET", "DELETE"] {
            let said = of(method, "https://h.example/in?a=b", "text/plain", "c=d");
            assert_eq!((&said.bytes[..], said.is_form()), (&b"c=d"[..], true), "{method}");
        }
        assert!(!of("PUT", "https://h.example/in?a=b", FORM, "{\"c\":1}").is_form());
        assert!(of("PUT", "https://h.example/in?a=b", "text/plain", "").bytes.is_empty());
    }
}
