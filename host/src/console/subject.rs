//! The subject of an event: the few words of its body that tell one row of a list from the next.
//! Pure.

use serde_json::Value;

/// Characters of a subject.
const CHARS_MAX: usize = 80;
/// Bytes of a body that is looked into.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Values of a subject.
const PARTS_MAX: usize = 3;

/// Values that say most about a body, wherever a provider puts them. The first ones that are there
/// are the subject.
const POINTERS: [&str; 26] = [
    "/repository/full_name",
    "/pull_request/title",
    "/issue/title",
    "/ref",
    "/head_commit/message",
    "/data/object/metadata/order",
    "/data/object/id",
    "/data/object/amount",
    "/data/object/currency",
    "/order",
    "/order_id",
    "/order_number",
    "/name",
    "/total_price",
    "/currency",
    "/event/text",
    "/subject",
    "/title",
    "/email",
    "/customer/email",
    "/sku",
    "/command",
    "/text",
    "/message",
    "/reason",
    "/id",
];

/// The subject of a body; none if it is not JSON, or too long to look into.
pub(crate) fn subject(body: &[u8]) -> Option<String> {
    if body.len() > BODY_BYTES_MAX {
        return None;
    }
    let body: Value = serde_json::from_slice(body).ok()?;
    let mut parts: Vec<String> =
        POINTERS.iter().filter_map(|at| shown(body.pointer(at)?)).take(PARTS_MAX).collect();
    if parts.is_empty() {
        let fields = body.as_object()?.iter();
        let named = fields.filter_map(|(name, value)| Some(format!("{name} {}", shown(value)?)));
        parts = named.take(PARTS_MAX).collect();
    }
    let text = parts.join(" · ");
    (!text.is_empty()).then(|| text.chars().take(CHARS_MAX).collect())
}

/// A value in a few words. Fractions are left out: they would not be printed as they came.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => {
            let line = text.lines().next().unwrap_or_default().trim();
            let line = line.strip_prefix("refs/heads/").unwrap_or(line);
            (!line.is_empty()).then(|| line.chars().take(CHARS_MAX).collect())
        }
        Value::Number(number) if number.is_u64() || number.is_i64() => Some(number.to_string()),
        Value::Bool(is_so) => Some(is_so.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_is_what_a_reader_would_look_for() {
        let push =
            br#"{"ref":"refs/heads/main","repository":{"full_name":"acme/web"},"order":"1234"}"#;
        assert_eq!(subject(push).as_deref(), Some("acme/web · main · 1234"));
        let charge =
            br#"{"id":"evt_1","data":{"object":{"id":"ch_3","amount":4000,"currency":"eur"}}}"#;
        assert_eq!(subject(charge).as_deref(), Some("ch_3 · 4000 · eur"));
        assert_eq!(
            subject(br#"{"left":7,"deep":{},"on":true}"#).as_deref(),
            Some("left 7 · on true")
        );
    }

    #[test]
    fn a_body_that_says_nothing_has_no_subject() {
        for body in [&b"not json"[..], b"[1,2]", b"{}", b"{\"a\":{}}", b"3", b"{\"n\":0.1}"] {
            assert_eq!(subject(body), None);
        }
        assert_eq!(subject(&vec![b' '; BODY_BYTES_MAX + 1]), None);
        let long = format!("{{\"title\":\"{}\"}}", "é".repeat(200));
        assert_eq!(subject(long.as_bytes()).unwrap().chars().count(), CHARS_MAX);
    }
}
