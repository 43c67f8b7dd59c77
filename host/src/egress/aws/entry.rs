//! A message as an entry of a batch: text, attributes, and the bytes that count. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use weir_core::hops::HopKey;

use crate::egress::facts;
use crate::egress::outgoing::Outgoing;

/// The most attributes of a message. SQS refuses more, and SNS drops a message that has more
/// instead of handing it to a queue.
const ATTRIBUTES_MAX: usize = 10;
/// Longest name of an attribute.
const NAME_BYTES_MAX: usize = 256;
/// Longest group.
const GROUP_BYTES_MAX: usize = 128;
/// Says how the body was changed, if it could not be sent as it is.
const ENCODING: &str = "weir-body-encoding";
/// The facts and headers that have no attribute of their own, as a JSON object.
const HEADERS: &str = "weir-headers";
/// The type of every attribute.
pub(super) const TEXT: &str = "String";

/// An entry of a batch.
#[derive(Debug)]
pub(super) struct BatchEntry {
    /// The outward id, by which a queue or topic with an order drops duplicates.
    pub(super) id: String,
    pub(super) body: String,
    pub(super) attributes: Vec<(String, String)>,
    /// The messages that this one has an order with.
    pub(super) group: String,
    /// The bytes of the body and of the attributes with their names and types.
    pub(super) bytes: usize,
}

impl BatchEntry {
    /// The entry of a message. Messages without an order key are in the group `otherwise`.
    pub(super) fn of(out: &Outgoing, hops: &HopKey, otherwise: &str) -> Self {
        let (body, encoding) = body(&out.body);
        let attributes = attributes(facts::facts(out, hops), encoding);
        let counted = |(name, value): &(String, String)| name.len() + TEXT.len() + value.len();
        let bytes = body.len() + attributes.iter().map(counted).sum::<usize>();
        let group = group(out.order_key.as_deref().unwrap_or(otherwise));
        Self { id: out.id.to_string(), body, attributes, group, bytes }
    }
}

/// The body as text, and its encoding if it is another text than the body itself.
fn body(body: &[u8]) -> (String, Option<&'static str>) {
    match std::str::from_utf8(body) {
        // A message must have a character.
        Ok("") => (" ".to_owned(), Some("empty")),
        Ok(text) if text.chars().all(is_allowed) => (text.to_owned(), None),
        _ => (STANDARD.encode(body), Some("base64")),
    }
}

/// True for the characters of XML 1.0, which are those that a message may have.
fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// The facts as attributes, in their order as far as there is room. The rest is in one attribute.
fn attributes(
    facts: Vec<(String, String)>,
    encoding: Option<&'static str>,
) -> Vec<(String, String)> {
    let clean = |text: String| -> String {
        text.chars().map(|c| if is_allowed(c) { c } else { ' ' }).collect()
    };
    let facts = facts.into_iter().map(|(name, value)| (name, clean(value)));
    let (mut own, mut rest): (Vec<_>, Vec<_>) =
        facts.partition(|(name, value)| is_name(name) && !value.is_empty());
    let room = ATTRIBUTES_MAX - usize::from(encoding.is_some());
    if own.len() > room || !rest.is_empty() {
        let mut moved = own.split_off(own.len().min(room - 1));
        moved.append(&mut rest);
        let object: serde_json::Map<_, _> =
            moved.into_iter().map(|(name, value)| (name, value.into())).collect();
        own.push((HEADERS.to_owned(), serde_json::Value::Object(object).to_string()));
    }
    own.extend(encoding.map(|encoding| (ENCODING.to_owned(), encoding.to_owned())));
    own
}

/// True if an attribute may have this name.
fn is_name(name: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let lower = name.to_ascii_lowercase();
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(is_allowed)
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && !["aws.", "amazon."].iter().any(|theirs| lower.starts_with(theirs))
}

/// The group of an order key: the key itself, or its hash if a group cannot have that name.
fn group(key: &str) -> String {
    let is_group = !key.is_empty() && key.len() <= GROUP_BYTES_MAX;
    if is_group && key.bytes().all(|b| b.is_ascii_graphic()) {
        return key.to_owned();
    }
    hex::encode(Sha256::digest(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(names: &[&str]) -> Vec<(String, String)> {
        names.iter().map(|name| ((*name).to_owned(), format!("of {name}"))).collect()
    }

    fn rest(attributes: &[(String, String)]) -> serde_json::Value {
        let (_, json) = attributes.iter().find(|(name, _)| name == HEADERS).unwrap();
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_body_is_sent_as_it_is_if_it_can_be() {
        for text in ["{\"a\":1}", "a\tb\r\nc", "\u{d7ff}\u{e000}\u{fffd}\u{10ffff}"] {
            assert_eq!(body(text.as_bytes()), (text.to_owned(), None));
        }
        assert_eq!(body(b"\xff\x00"), ("/wA=".into(), Some("base64")));
        for other in ["a\u{0}", "\u{b}", "\u{fffe}", "\u{ffff}"] {
            assert_eq!(body(other.as_bytes()).1, Some("base64"), "{other:?}");
        }
        assert_eq!(body(b""), (" ".into(), Some("empty")));
    }

    #[test]
    fn what_has_no_attribute_of_its_own_is_in_one() {
        let ten = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        assert_eq!(attributes(facts(&ten), None), facts(&ten), "there is room for ten");
        let with_encoding = attributes(facts(&ten), Some("base64"));
        let names: Vec<&str> = with_encoding.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d", "e", "f", "g", "h", HEADERS, ENCODING]);
        assert_eq!(rest(&with_encoding), serde_json::json!({ "i": "of i", "j": "of j" }));
        let odd = attributes(facts(&["a", "x!y", "AWS.x", ".b", "c..d"]), None);
        assert_eq!((odd.len(), rest(&odd)["x!y"].as_str()), (2, Some("of x!y")));
        let empty = attributes(vec![("a".into(), String::new())], None);
        assert_eq!(rest(&empty), serde_json::json!({ "a": "" }));
        let unclean = attributes(vec![("a".into(), "x\u{ffff}y".into())], None);
        assert_eq!(unclean, [("a".to_owned(), "x y".to_owned())]);
    }

    #[test]
    fn a_key_becomes_a_group_that_is_allowed() {
        assert_eq!(group("orders/7"), "orders/7");
        for key in ["", "a b", "ä", &"x".repeat(129)] {
            let group = group(key);
            assert!(group.len() == 64 && group.bytes().all(|b| b.is_ascii_hexdigit()), "{key}");
        }
        assert_ne!(group("a b"), group("a  b"));
    }
}
