//! A message as an element of a request to publish. Pure.
//!
//! The limits are those of the page of quotas and limits of Pub/Sub.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use weir_core::hops::HopKey;

use crate::egress::facts;
use crate::egress::outgoing::Outgoing;

/// The most attributes of a message.
const ATTRIBUTES_MAX: usize = 100;
/// Longest name of an attribute.
const NAME_BYTES_MAX: usize = 256;
/// Longest value of an attribute.
const VALUE_BYTES_MAX: usize = 1_024;
/// Longest ordering key.
const KEY_BYTES_MAX: usize = 1_024;
/// Names with this beginning are Google's.
const RESERVED: &str = "goog";
/// The names of headers that no attribute can have, with commas between them.
const LEFT_OUT: &str = "weir-headers-left-out";
/// Bytes that a message counts with beside its data and attributes, by the page of pricing.
const BESIDE: usize = 20;

/// A message of a topic.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TopicMessage {
    /// The body in base64.
    data: String,
    attributes: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordering_key: Option<String>,
    /// The bytes of the body and of the attributes with their names.
    #[serde(skip)]
    pub(super) bytes: usize,
}

impl TopicMessage {
    pub(super) fn of(out: &Outgoing, hops: &HopKey) -> Self {
        let attributes = attributes(facts::facts(out, hops));
        let named: usize = attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
        let ordering_key = out.order_key.as_deref().map(ordering_key);
        let key_bytes = ordering_key.as_ref().map_or(0, String::len);
        Self {
            data: STANDARD.encode(&out.body),
            attributes,
            ordering_key,
            bytes: out.body.len() + named + key_bytes + BESIDE,
        }
    }

    /// About as many bytes as it has in a request.
    pub(super) fn written_bytes(&self) -> usize {
        self.bytes + self.data.len() / 4
    }
}

/// The body of a request that publishes these messages.
pub(super) fn publication(messages: &[TopicMessage]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Publication<'a> {
        messages: &'a [TopicMessage],
    }
    // Plain data always serialises.
    serde_json::to_vec(&Publication { messages }).unwrap_or_default()
}

/// The facts as attributes, in their order as far as they fit.
fn attributes(facts: Vec<(String, String)>) -> BTreeMap<String, String> {
    let is_attribute = |name: &str, value: &str| {
        (1..=NAME_BYTES_MAX).contains(&name.len())
            && !name.starts_with(RESERVED)
            && value.len() <= VALUE_BYTES_MAX
    };
    let (mut attributes, mut left_out) = (BTreeMap::new(), Vec::new());
    for (name, value) in facts {
        // One place is kept for the names of the others.
        if attributes.len() + 1 < ATTRIBUTES_MAX && is_attribute(&name, &value) {
            attributes.insert(name, value);
        } else {
            left_out.push(name);
        }
    }
    if !left_out.is_empty() {
        let mut names = left_out.join(",");
        names.truncate(names.floor_char_boundary(VALUE_BYTES_MAX));
        attributes.insert(LEFT_OUT.to_owned(), names);
    }
    attributes
}

/// The order key itself, or its hash if it is too long or empty.
fn ordering_key(key: &str) -> String {
    if (1..=KEY_BYTES_MAX).contains(&key.len()) {
        return key.to_owned();
    }
    hex::encode(Sha256::digest(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn a_header_that_no_attribute_can_have_is_named() {
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        let made = attributes(vec![named("a", "1"), named("b", &long), named("googclient", "2")]);
        assert_eq!(made.len(), 2);
        assert_eq!((made["a"].as_str(), made[LEFT_OUT].as_str()), ("1", "b,googclient"));
        let many: Vec<_> = (0..200).map(|n| named(&format!("h{n:03}"), "1")).collect();
        let made = attributes(many);
        assert_eq!(made.len(), ATTRIBUTES_MAX);
        assert!(made[LEFT_OUT].starts_with("h099,h100,") && made[LEFT_OUT].len() <= 1_024);
        assert_eq!(attributes(vec![named("a", "")]).len(), 1, "a value may be empty");
    }

    #[test]
    fn a_key_that_is_too_long_is_hashed() {
        assert_eq!(ordering_key("a b"), "a b");
        for key in [String::new(), "x".repeat(KEY_BYTES_MAX + 1)] {
            assert_eq!(ordering_key(&key).len(), 64);
        }
    }
}
