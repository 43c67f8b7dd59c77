//! A request as verification sees it: borrowed bytes, nothing decoded.

mod multipart;

use std::borrow::Cow;

use thiserror::Error;

pub use multipart::{MultipartField, PARTS_MAX, multipart_fields};

/// The maximum number of form fields or query parameters that are read.
pub const FORM_FIELDS_MAX: usize = 10_000;

/// True if the payload of a request is its query: the request is a `GET` or a `DELETE`, whose
/// bodies have no meaning in HTTP (RFC 9110, 9.3), and has no body. If there is a body, it is the
/// payload.
#[must_use]
pub fn payload_is_query(method: &str, body: &[u8]) -> bool {
    body.is_empty() && matches!(method, "GET" | "DELETE")
}

/// The maximum length of the first field name of a form, in bytes.
const FORM_NAME_BYTES_MAX: usize = 256;

/// True if a body looks like a URL-encoded form: a first name without white space, then `=` or `&`.
/// JSON and XML begin differently.
#[must_use]
pub fn is_form(body: &[u8]) -> bool {
    let start = &body[..body.len().min(FORM_NAME_BYTES_MAX + 1)];
    let Some(name) = start.iter().position(|b| matches!(b, b'=' | b'&')) else { return false };
    let printed = |b: &u8| !b.is_ascii_whitespace() && !b.is_ascii_control();
    // A multipart form begins with hyphens and a boundary, which may contain an equals sign.
    let other = start.starts_with(b"--") || matches!(start[0], b'{' | b'[' | b'"' | b'<' | b'=');
    !other && start[..name].iter().all(printed)
}

/// The maximum length of a header value that a signature depends on, in bytes.
pub const SIGNED_HEADER_BYTES_MAX: usize = 8 * 1024;

/// Why a single value cannot be read from a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The header occurs more than once.
    #[error("a header occurs more than once")]
    HeaderDuplicated,
    /// The header is longer than [`SIGNED_HEADER_BYTES_MAX`].
    #[error("a header is longer than {SIGNED_HEADER_BYTES_MAX} bytes")]
    HeaderTooLong,
    /// The field occurs more than once: another reader could take the other value.
    #[error("a field occurs more than once")]
    FieldDuplicated,
    /// There are more fields than are read.
    #[error("request has more than {FORM_FIELDS_MAX} fields")]
    TooManyFields,
}

/// A request as received.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// The method, such as `POST`.
    pub method: &'a str,
    /// The public URL that the sender was given, with path and query.
    pub url: &'a str,
    /// The headers in the order received; names in any case, values as bytes.
    pub headers: &'a [(&'a str, &'a [u8])],
    pub body: &'a [u8],
}

impl<'a> RequestView<'a> {
    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// The value of a header that must not occur more than once.
    pub fn single_header(&self, name: &str) -> Result<Option<&'a [u8]>, ReadError> {
        let mut values = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let Some((_, value)) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(ReadError::HeaderDuplicated);
        }
        if value.len() > SIGNED_HEADER_BYTES_MAX {
            return Err(ReadError::HeaderTooLong);
        }
        Ok(Some(value))
    }

    /// True if the body is a URL-encoded form. The body decides, not the content type: few senders
    /// sign the content type, and with another one a captured form would be another event.
    #[must_use]
    pub fn is_form(&self) -> bool {
        is_form(self.body)
    }

    /// True if the body is a form with at least one field.
    pub(crate) fn has_form_fields(&self) -> bool {
        self.is_form() && form_urlencoded::parse(self.body).next().is_some()
    }

    /// True if the content type says multipart form and the body looks like one. JSON stays JSON
    /// under any content type.
    #[must_use]
    pub fn is_multipart_form(&self) -> bool {
        let parts = self.body.starts_with(b"--") || self.body.starts_with(b"\r\n--");
        parts && !self.is_form() && self.is_of_type("multipart/form-data")
    }

    /// True if the content type has this media type, with any parameters.
    #[must_use]
    pub fn is_of_type(&self, media_type: &str) -> bool {
        self.header("content-type")
            .and_then(|value| value.split(|b| *b == b';').next())
            .is_some_and(|media| media.trim_ascii().eq_ignore_ascii_case(media_type.as_bytes()))
    }

    /// The URL's query as received; empty if there is none.
    #[must_use]
    pub fn query(&self) -> &'a str {
        let query = self.url.split_once('?').map_or("", |(_, query)| query);
        query.split_once('#').map_or(query, |(query, _)| query)
    }

    /// The value of a query parameter that must not occur more than once; at most as many
    /// parameters as in a form are read.
    pub(crate) fn single_query_parameter(
        &self,
        name: &str,
    ) -> Result<Option<Cow<'a, str>>, ReadError> {
        single(form_urlencoded::parse(self.query().as_bytes()), name)
    }

    /// The first query parameter with this name; at most as many parameters as in a form are read.
    #[must_use]
    pub fn query_parameter(&self, name: &str) -> Option<Cow<'a, str>> {
        let query = self.query().as_bytes();
        let mut parameters = form_urlencoded::parse(query).take(FORM_FIELDS_MAX);
        parameters.find(|(n, _)| n == name).map(|(_, value)| value)
    }

    #[must_use]
    pub fn payload_is_query(&self) -> bool {
        payload_is_query(self.method, self.body)
    }

    /// The payload, as the event has it: the body, or the query in a request without one.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        if self.payload_is_query() { self.query().as_bytes() } else { self.body }
    }

    /// True if the payload is a form: a query always is, a body if it looks like one.
    #[must_use]
    pub fn is_payload_form(&self) -> bool {
        self.payload_is_query() || self.is_form()
    }

    /// The fields of a form payload, URL-encoded or multipart, without files; `None` if the payload
    /// is not a form.
    #[must_use]
    pub fn fields(&self) -> Option<Vec<(Cow<'a, str>, Cow<'a, str>)>> {
        if self.is_payload_form() {
            let most = FORM_FIELDS_MAX + 1;
            return Some(form_urlencoded::parse(self.payload()).take(most).collect());
        }
        let body = self.body;
        if !self.is_multipart_form() {
            return None;
        }
        let fields = multipart_fields(self.header("content-type")?, body)?;
        let text = |value: std::ops::Range<usize>| String::from_utf8_lossy(&body[value]);
        Some(fields.into_iter().map(|field| (field.name, text(field.value))).collect())
    }

    /// The first field with this name in a form payload. Fields after the first [`FORM_FIELDS_MAX`]
    /// are ignored everywhere, so that a signature is read from the same field as the event's
    /// identity.
    #[must_use]
    pub fn payload_field(&self, name: &str) -> Option<Cow<'a, str>> {
        let mut fields = self.fields()?.into_iter().take(FORM_FIELDS_MAX);
        fields.find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// The value of a field that must not occur more than once in a form payload. A form with more
    /// than [`FORM_FIELDS_MAX`] fields is refused.
    pub fn single_payload_field(&self, name: &str) -> Result<Option<Cow<'a, str>>, ReadError> {
        self.fields().map_or(Ok(None), |fields| single(fields, name))
    }
}

/// The value of the one field with this name.
fn single<'a>(
    fields: impl IntoIterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
    name: &str,
) -> Result<Option<Cow<'a, str>>, ReadError> {
    let mut found = None;
    for (count, (n, value)) in fields.into_iter().enumerate() {
        if count == FORM_FIELDS_MAX {
            return Err(ReadError::TooManyFields);
        }
        if n == name && found.replace(value).is_some() {
            return Err(ReadError::FieldDuplicated);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_recognised_by_its_content() {
        for form in ["a=", "a=b c", "a%5B0%5D=1&b", "From=+1 555", "payload=%7B%7D", "k.l[m]=1"] {
            assert!(is_form(form.as_bytes()), "{form}");
        }
        let long = format!("{}=1", "a".repeat(FORM_NAME_BYTES_MAX + 1));
        for other in [
            "",
            "a",
            "=1",
            "{\"a\":\"=\"}",
            "[\"=\"]",
            "\"a=b\"",
            "<a b='c'/>",
            " a=1",
            "x y=1",
            "--===a==\r\nContent-Disposition: form-data; name=a",
            &long,
        ] {
            assert!(!is_form(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn fields_beyond_the_limit_are_ignored() {
        let headers: &[(&str, &[u8])] = &[("content-type", b"application/x-www-form-urlencoded")];
        let behind = |fields: usize| {
            let body = format!("{}token=1", "a&".repeat(fields));
            let request = RequestView { body: body.as_bytes(), ..view(headers) };
            let single = request.single_payload_field("token");
            (request.payload_field("token").is_some(), single.map(|value| value.is_some()))
        };
        assert_eq!(behind(FORM_FIELDS_MAX - 1), (true, Ok(true)));
        assert_eq!(behind(FORM_FIELDS_MAX), (false, Err(ReadError::TooManyFields)));
    }

    fn view<'a>(headers: &'a [(&'a str, &'a [u8])]) -> RequestView<'a> {
        RequestView {
            method: "POST",
            url: "https://h.example/in?a=1%202&a=3#f",
            headers,
            body: b"x=1&y=%2B",
        }
    }

    #[test]
    fn a_boundary_may_hold_an_equals_sign() {
        let headers: &[(&str, &[u8])] =
            &[("content-type", b"multipart/form-data; boundary=\"===b==\"")];
        let body = b"--===b==\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--===b==--\r\n";
        let request = RequestView { body, ..view(headers) };
        assert_eq!(request.payload_field("a").as_deref(), Some("1"));
        assert!(request.is_multipart_form() && !request.is_payload_form());
    }

    #[test]
    fn a_multipart_form_has_fields() {
        let headers: &[(&str, &[u8])] = &[("content-type", b"multipart/form-data; boundary=b")];
        let part = |name: &str| {
            format!("--b\r\nContent-Disposition: form-data; name={name}\r\n\r\n1+%41\r\n")
        };
        let of = |body: String| {
            let request = RequestView { body: body.as_bytes(), ..view(headers) };
            let single = request.single_payload_field("a");
            (
                request.payload_field("a").map(Cow::into_owned),
                single.map(|v| v.map(Cow::into_owned)),
            )
        };
        let (first, single) = of(format!("{}{}--b--", part("a"), part("c")));
        assert_eq!(first.as_deref(), Some("1+%41"));
        assert_eq!(single.unwrap().as_deref(), Some("1+%41"));
        let twice = of(format!("{}{}--b--", part("a"), part("a")));
        assert_eq!(twice.1, Err(ReadError::FieldDuplicated));
        assert_eq!(of(part("a")), (None, Ok(None)), "it has no end");
    }

    #[test]
    fn a_duplicated_header_is_refused() {
        let headers: &[(&str, &[u8])] = &[("X-Sig", b"1"), ("x-sig", b"2")];
        assert_eq!(view(headers).single_header("X-SIG"), Err(ReadError::HeaderDuplicated));
        assert_eq!(view(headers).single_header("other"), Ok(None));
    }

    #[test]
    fn the_query_is_the_payload_of_a_get_or_delete_without_body() {
        let of = |method, body| RequestView { method, body, ..view(&[]) };
        for method in ["GET", "DELETE"] {
            assert_eq!(of(method, b"").payload(), b"a=1%202&a=3");
            assert!(of(method, b"").is_payload_form());
            assert_eq!(of(method, b"x=1").payload(), b"x=1", "{method} with a body");
        }
        for method in ["POST", "PUT", "PATCH"] {
            assert_eq!(of(method, b"").payload(), b"");
            assert!(!of(method, b"").is_payload_form());
        }
        let bare = RequestView { url: "https://h.example/in", ..of("GET", b"") };
        assert_eq!(bare.payload(), b"");
    }

    #[test]
    fn fields_are_read_from_any_body_that_looks_like_a_form() {
        let form: &[(&str, &[u8])] =
            &[("Content-Type", b"Application/X-WWW-form-urlencoded ; charset=utf-8")];
        let json = RequestView { body: br#"{"x":"&y=1&"}"#, ..view(form) };
        assert_eq!(json.payload_field("y"), None);
        assert_eq!(view(&[]).payload_field("y").as_deref(), Some("+"));
        assert_eq!(view(form).payload_field("y").as_deref(), Some("+"));
        assert_eq!(view(form).query_parameter("a").as_deref(), Some("1 2"));
        assert_eq!(view(form).single_payload_field("y").unwrap().as_deref(), Some("+"));
        let twice = RequestView { body: b"y=1&x=&%79=1", ..view(form) };
        assert_eq!(twice.single_payload_field("y"), Err(ReadError::FieldDuplicated));
        assert_eq!(twice.single_payload_field("z"), Ok(None));
        assert_eq!(twice.single_query_parameter("a"), Err(ReadError::FieldDuplicated));
        assert_eq!(twice.single_query_parameter("b"), Ok(None));
    }
}
