//! The headers and body of the request that a message is treated as. Pure.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Adds a header. A name gets `-` for what a header's name may not have, and a value gets spaces
/// for control characters.
pub(super) fn add_header(headers: &mut HeaderMap, name: &[u8], value: &[u8]) {
    let name: Vec<u8> = name.iter().map(|byte| valid_in_name(*byte)).collect();
    let value: Vec<u8> = value.iter().map(|byte| valid_in_value(*byte)).collect();
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&name), HeaderValue::from_bytes(&value))
    {
        // Far more headers than any source accepts do not fit: then the message is refused.
        let _fits = headers.try_append(name, value);
    }
}

/// Says that a body is JSON, if it is and nothing else is said.
pub(super) fn set_content_type(headers: &mut HeaderMap, body: &Bytes) {
    let is_json = || serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    if !headers.contains_key(CONTENT_TYPE) && is_json() {
        headers.insert(CONTENT_TYPE, JSON);
    }
}

fn valid_in_name(byte: u8) -> u8 {
    let is_token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if is_token { byte.to_ascii_lowercase() } else { b'-' }
}

fn valid_in_value(byte: u8) -> u8 {
    if byte == b'\t' || byte >= 0x20 && byte != 0x7f { byte } else { b' ' }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_and_value_becomes_a_header() {
        let mut headers = HeaderMap::new();
        add_header(&mut headers, "Order Id".as_bytes(), b"7");
        add_header(&mut headers, "\u{fc}".as_bytes(), b"two\nlines\0");
        add_header(&mut headers, b"raw", b"caf\xe9");
        add_header(&mut headers, b"", b"nameless");
        let shown: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let wanted: [(&str, &[u8]); 3] =
            [("order-id", b"7"), ("--", b"two lines "), ("raw", b"caf\xe9")];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn only_json_is_declared_as_such() {
        let declared = |body: &'static str, given: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(given) = given {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(given));
            }
            set_content_type(&mut headers, &Bytes::from_static(body.as_bytes()));
            headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(declared("{\"a\":1}", None).as_deref(), Some("application/json"));
        assert_eq!(declared("{\"a\":1}", Some("text/plain")).as_deref(), Some("text/plain"));
        assert_eq!(declared("{\"a\":", None), None);
    }
}
