//! A body as conditions read it: one flat list of nodes, parsed once per event.
//!
//! Texts without escapes borrow from the body. The number of nodes is bounded, and with it memory.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::payload::Payload;

/// Most values and keys of a body: 24 MiB of memory. GitHub's largest payloads have some 500,000.
pub(super) const NODES_MAX: usize = 1_000_000;

/// A JSON document, or another body in the same form.
#[derive(Debug)]
pub(super) struct Document<'b> {
    nodes: Vec<BodyNode<'b>>,
}

/// A value. The nodes of a list or map follow it, those of a map as key and value in turn.
#[derive(Debug)]
pub(super) enum BodyNode<'b> {
    Null,
    Bool(bool),
    Int(i64),
    /// A whole number above `i64::MAX`.
    Uint(u64),
    Double(f64),
    Text(Cow<'b, str>),
    /// Its number of items, and the index after its last node.
    List(u32, u32),
    /// Its number of entries, and the index after its last node.
    Map(u32, u32),
}

impl<'b> Document<'b> {
    /// The body of a payload: JSON, the fields of a form, or a text. None if it is empty.
    ///
    /// # Errors
    /// A reason for people: not UTF-8, not the JSON that its content type promises, or too large.
    pub(super) fn of_body(payload: &'b Payload) -> Result<Self, Box<str>> {
        let body: &'b [u8] = &payload.body;
        let content_type = payload.content_type().to_ascii_lowercase();
        let first = body.iter().copied().find(|byte| !byte.is_ascii_whitespace());
        if first.is_none() {
            return Ok(Self { nodes: vec![BodyNode::Null] });
        }
        if content_type.starts_with("application/x-www-form-urlencoded") {
            return Self::of_form(body);
        }
        let is_json = content_type.contains("json");
        if is_json || matches!(first, Some(b'{' | b'[')) {
            match Self::of_json(body) {
                Err(reason) if is_json || reason.is_about_size => return Err(reason.what),
                Err(_) => {}
                Ok(document) => return Ok(document),
            }
        }
        let text = std::str::from_utf8(body).map_err(|_| "event.body is not UTF-8")?;
        Ok(Self { nodes: vec![BodyNode::Text(text.into())] })
    }

    /// The fields of a form or query. Of two with one name, the first counts.
    pub(super) fn of_form(form: &'b [u8]) -> Result<Self, Box<str>> {
        let mut nodes = vec![BodyNode::Null];
        let mut count = 0;
        for (name, value) in form_urlencoded::parse(form) {
            if nodes.len() > NODES_MAX {
                return Err(too_many());
            }
            nodes.extend([BodyNode::Text(name), BodyNode::Text(value)]);
            count += 1;
        }
        nodes[0] = BodyNode::Map(count, index(nodes.len()));
        Ok(Self { nodes })
    }

    fn of_json(body: &'b [u8]) -> Result<Self, Unreadable> {
        let mut nodes = Vec::with_capacity((body.len() / 16).clamp(8, 4096));
        let mut reader = serde_json::Deserializer::from_slice(body);
        let read = Nodes(&mut nodes).deserialize(&mut reader).and_then(|()| reader.end());
        match read {
            Ok(()) => Ok(Self { nodes }),
            Err(_) if nodes.len() >= NODES_MAX => {
                Err(Unreadable { is_about_size: true, what: too_many() })
            }
            Err(error) => {
                let what = format!("event.body is not JSON that a condition can read: {error}");
                Err(Unreadable { is_about_size: false, what: what.into() })
            }
        }
    }

    pub(super) fn node(&self, at: u32) -> &BodyNode<'b> {
        // Indexes come from this document.
        self.nodes.get(at as usize).unwrap_or(&BodyNode::Null)
    }

    /// The index after a value.
    fn after(&self, at: u32) -> u32 {
        match self.node(at) {
            BodyNode::List(_, end) | BodyNode::Map(_, end) => *end,
            _ => at + 1,
        }
    }

    /// The indexes of the items of a list.
    pub(super) fn items(&self, list: u32) -> impl Iterator<Item = u32> {
        let mut at = list + 1;
        let end = self.after(list);
        std::iter::from_fn(move || {
            let item = (at < end).then_some(at)?;
            at = self.after(item);
            Some(item)
        })
    }

    /// The keys of a map with the indexes of their values.
    pub(super) fn entries(&self, map: u32) -> impl Iterator<Item = (&str, u32)> {
        let mut at = map + 1;
        let end = self.after(map);
        std::iter::from_fn(move || {
            let key = (at < end).then(|| self.node(at))?;
            let value = at + 1;
            at = self.after(value);
            let BodyNode::Text(key) = key else { return None };
            Some((&**key, value))
        })
    }
}

#[derive(Debug)]
struct Unreadable {
    is_about_size: bool,
    what: Box<str>,
}

fn too_many() -> Box<str> {
    format!("event.body has more than {NODES_MAX} values, the most that a condition reads").into()
}

fn index(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Appends one value to the nodes.
struct Nodes<'n, 'b>(&'n mut Vec<BodyNode<'b>>);

impl<'b> Nodes<'_, 'b> {
    fn push<E: serde::de::Error>(self, node: BodyNode<'b>) -> Result<(), E> {
        if self.0.len() >= NODES_MAX {
            return Err(E::custom("too many values"));
        }
        self.0.push(node);
        Ok(())
    }
}

impl<'b> DeserializeSeed<'b> for Nodes<'_, 'b> {
    type Value = ();

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for Nodes<'_, 'b> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.push(BodyNode::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.push(BodyNode::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.push(BodyNode::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.push(i64::try_from(value).map_or(BodyNode::Uint(value), BodyNode::Int))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.push(BodyNode::Double(value))
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, value: &'b str) -> Result<(), E> {
        self.push(BodyNode::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.push(BodyNode::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut items: A) -> Result<(), A::Error> {
        let Self(nodes) = self;
        let at = nodes.len();
        Nodes(nodes).push::<A::Error>(BodyNode::Null)?;
        let mut count = 0;
        while items.next_element_seed(Nodes(nodes))?.is_some() {
            count += 1;
        }
        nodes[at] = BodyNode::List(count, index(nodes.len()));
        Ok(())
    }

    fn visit_map<A: MapAccess<'b>>(self, mut entries: A) -> Result<(), A::Error> {
        let Self(nodes) = self;
        let at = nodes.len();
        Nodes(nodes).push::<A::Error>(BodyNode::Null)?;
        let mut count = 0;
        while entries.next_key_seed(Nodes(nodes))?.is_some() {
            if !matches!(nodes.last(), Some(BodyNode::Text(_))) {
                return Err(A::Error::custom("a key is not a text"));
            }
            entries.next_value_seed(Nodes(nodes))?;
            count += 1;
        }
        nodes[at] = BodyNode::Map(count, index(nodes.len()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(content_type: &str, body: &[u8]) -> Payload {
        Payload::new(content_type, body.to_vec().into())
    }

    fn shown(content_type: &str, body: &[u8]) -> String {
        let payload = payload(content_type, body);
        match Document::of_body(&payload) {
            Ok(document) => format!("{:?}", document.nodes),
            Err(reason) => reason.into(),
        }
    }

    #[test]
    fn items_and_entries_skip_what_is_nested() {
        let payload = payload("application/json", br#"{"a":[1,[2,3],{"b":4}],"c":"x\ny"}"#);
        let document = Document::of_body(&payload).unwrap();
        let entries: Vec<_> = document.entries(0).collect();
        assert_eq!(entries.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(document.items(entries[0].1).count(), 3);
        assert!(matches!(document.node(entries[1].1), BodyNode::Text(text) if text == "x\ny"));
    }

    #[test]
    fn bodies_of_other_kinds_are_read_by_their_content_type() {
        assert_eq!(shown("text/plain", b"hi"), r#"[Text("hi")]"#);
        assert_eq!(shown("text/plain", b"{not json"), r#"[Text("{not json")]"#);
        assert_eq!(shown("application/json", b" "), "[Null]");
        let form = shown("application/x-www-form-urlencoded; charset=utf-8", b"a=1&b=x+y");
        assert_eq!(form, r#"[Map(2, 5), Text("a"), Text("1"), Text("b"), Text("x y")]"#);
        assert!(shown("application/vnd.x+json", b"{").contains("not JSON"));
        assert!(shown("text/plain", b"\xff").contains("not UTF-8"));
        assert_eq!(
            shown("", b"[18446744073709551615]"),
            "[List(1, 2), Uint(18446744073709551615)]"
        );
    }

    #[test]
    fn body_that_is_too_deep_or_has_too_many_values_is_refused() {
        let deep = "[".repeat(10_000);
        assert!(shown("application/json", deep.as_bytes()).contains("recursion limit"));
        let wide = format!("[{}0]", "0,".repeat(NODES_MAX));
        assert!(shown("text/plain", wide.as_bytes()).contains("more than 1000000 values"));
    }
}
