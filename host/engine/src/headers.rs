//! The rules for headers: which a handler may set, and which headers of an event it may read. Pure.

use bytes::Bytes;
use weir_core::bounds::{
    EFFECT_HEADER_NAME_BYTES_MAX, EFFECT_HEADER_VALUE_BYTES_MAX, EFFECT_HEADERS_MAX,
};
use weir_core::reserved_headers::reserved_header;

use crate::refusal::Refusal;

pub(crate) type Header = (Box<str>, Bytes);

/// Credentials of the sender, which handlers never get. Other tokens were redacted in ingress.
const CREDENTIALS: &[&str] = &["authorization", "cookie", "proxy-authorization", "set-cookie"];

/// True if a handler may read this header of an event; `name` in lower case.
pub(crate) fn visible(name: &str) -> bool {
    !CREDENTIALS.contains(&name)
}

/// Checks a header that a handler adds to a message or reply with `already` headers.
pub(crate) fn checked(already: usize, name: &str, value: &str) -> Result<Header, Refusal> {
    if already >= EFFECT_HEADERS_MAX {
        return Err(Refusal::too_many(format!(
            "A message or reply may have {EFFECT_HEADERS_MAX} headers, and this is one more; \
             put the rest into the body."
        )));
    }
    if name.is_empty() || name.len() > EFFECT_HEADER_NAME_BYTES_MAX || !name.bytes().all(token) {
        return Err(Refusal::invalid(format!(
            "The header name {} is not valid; use 1 to {EFFECT_HEADER_NAME_BYTES_MAX} letters, \
             digits and hyphens.",
            quoted(name)
        )));
    }
    let name = name.to_ascii_lowercase();
    if name == "content-type" || reserved_header(&name) {
        return Err(Refusal::invalid(format!(
            "The header `{name}` is set by the hub, because it frames, signs or routes the \
             message; leave it out or use another name."
        )));
    }
    if value.len() > EFFECT_HEADER_VALUE_BYTES_MAX {
        return Err(Refusal::invalid(format!(
            "The value of the header `{name}` has {} bytes, and may have \
             {EFFECT_HEADER_VALUE_BYTES_MAX}; put it into the body.",
            value.len()
        )));
    }
    if !printable(value) {
        return Err(Refusal::invalid(format!(
            "The value of the header `{name}` has a control character; encode it first."
        )));
    }
    Ok((name.into(), Bytes::copy_from_slice(value.as_bytes())))
}

/// Checks a content type. Empty means none.
pub(crate) fn checked_content_type(text: &str) -> Result<(), Refusal> {
    if text.len() > EFFECT_HEADER_VALUE_BYTES_MAX || !printable(text) {
        return Err(Refusal::invalid(format!(
            "The content type {} is not valid; write one such as application/json.",
            quoted(text)
        )));
    }
    Ok(())
}

/// A handler's text for a message: quoted, short, and without control characters.
pub(crate) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    format!("{short:?}")
}

fn printable(value: &str) -> bool {
    value.bytes().all(|b| b == b'\t' || (b >= b' ' && b != 0x7f))
}

fn token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_header_is_refused_in_any_case() {
        for name in [
            "Host",
            "content-length",
            "Webhook-Signature",
            "X-Forwarded-For",
            "Content-Type",
            "weir-source",
            "Weir-Event-Type",
            "WEIR-",
            "x-weir-hops",
        ] {
            assert!(
                checked(0, name, "x").unwrap_err().message.contains("set by the hub"),
                "{name}"
            );
        }
        assert_eq!(&*checked(0, "X-Order", "7").unwrap().0, "x-order");
    }

    #[test]
    fn value_cannot_smuggle_another_header() {
        assert!(checked(0, "x-a", "1\r\nhost: evil").is_err());
        assert!(checked(0, "x a", "1").is_err() && checked(0, "", "1").is_err());
        assert!(checked_content_type("text/plain\r\nhost: evil").is_err());
    }

    #[test]
    fn header_past_the_limit_is_refused() {
        assert!(checked(EFFECT_HEADERS_MAX - 1, "x-a", "1").is_ok());
        assert!(checked(EFFECT_HEADERS_MAX, "x-a", "1").is_err());
    }
}
