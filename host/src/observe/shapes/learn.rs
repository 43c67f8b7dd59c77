//! The shape of one type of events: learns from one event after the other, and tells changes. Pure.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;
use weir_core::event::EventType;
use weir_core::time::Timestamp;
use weir_core::word_enum;

use super::KnownShape;

/// Events from which a shape is learned before changes are told, and in a row without a field
/// before that has vanished.
pub(super) const LEARNED_AFTER: u64 = 50;
/// Fields of one shape, and of one event that are looked at.
const FIELDS_MAX: usize = 500;
/// Bytes of the path of a field; one that is longer is not looked at.
const PATH_BYTES_MAX: usize = 200;
/// Levels that are looked at.
const DEPTH_MAX: usize = 10;
/// Elements of a list that are looked at.
const ELEMENTS_MAX: usize = 20;
/// An object with more members has names that are data.
const MEMBERS_MAX: usize = 100;
/// Changes that are kept.
const CHANGES_MAX: usize = 20;

word_enum! {
    /// A change of a field.
    FieldChange {
        Appeared = "appeared",
        Vanished = "vanished",
        /// Its values are of another kind.
        Retyped = "retyped",
    }
}

/// A change of a shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeChange {
    pub at: Timestamp,
    /// The path of the field, such as `/items/*/price`.
    pub field: Box<str>,
    pub change: FieldChange,
    /// The kinds of values before, such as `number`; empty for a new field.
    pub before: String,
    /// The kind of the value now; empty for a field that has vanished.
    pub now: String,
}

/// The kinds of JSON values, as bits.
const KINDS: [&str; 6] = ["null", "boolean", "number", "text", "list", "object"];
const NULL: u8 = 1;

fn kind_of(value: &Value) -> u8 {
    match value {
        Value::Null => NULL,
        Value::Bool(_) => 1 << 1,
        Value::Number(_) => 1 << 2,
        Value::String(_) => 1 << 3,
        Value::Array(_) => 1 << 4,
        Value::Object(_) => 1 << 5,
    }
}

fn words(kinds: u8) -> String {
    let is_in = |bit: &usize| kinds & (1 << bit) != 0;
    (0..KINDS.len()).filter(is_in).map(|bit| KINDS[bit]).collect::<Vec<_>>().join(" or ")
}

/// The shape of one type of events.
#[derive(Debug, Default)]
pub(super) struct EventShape {
    samples: u64,
    fields: BTreeMap<Box<str>, Field>,
    changes: VecDeque<ShapeChange>,
}

#[derive(Debug)]
struct Field {
    kinds: u8,
    /// Events that had it.
    seen: u64,
    /// The number of the last event that had it.
    last: u64,
    has_vanished: bool,
}

impl EventShape {
    /// The number of known fields.
    pub(super) fn fields(&self) -> usize {
        self.fields.len()
    }

    /// Learns from an event. Returns the changes, once the shape is known. At most `room` fields
    /// are added.
    pub(super) fn learn(&mut self, value: &Value, room: usize, now: Timestamp) -> Vec<ShapeChange> {
        let mut found = BTreeMap::new();
        collect(value, &mut String::new(), 0, &mut found);
        self.samples += 1;
        let is_learned = self.samples > LEARNED_AFTER;
        let room = room.min(FIELDS_MAX.saturating_sub(self.fields.len()));
        let mut changes = self.compare(found, room, now);
        changes.extend(self.vanished(now));
        if !is_learned {
            return Vec::new();
        }
        for change in &changes {
            if self.changes.len() == CHANGES_MAX {
                self.changes.pop_front();
            }
            self.changes.push_back(change.clone());
        }
        changes
    }

    fn compare(
        &mut self,
        found: BTreeMap<Box<str>, u8>,
        mut room: usize,
        now: Timestamp,
    ) -> Vec<ShapeChange> {
        let mut changes: Vec<ShapeChange> = Vec::new();
        let samples = self.samples;
        for (path, kind) in found {
            let told = |changes: &[ShapeChange]| {
                changes
                    .iter()
                    .any(|c| c.change == FieldChange::Appeared && is_below(&path, &c.field))
            };
            let change = |change, before: u8, to: u8| ShapeChange {
                at: now,
                field: path.clone(),
                change,
                before: words(before),
                now: words(to),
            };
            match self.fields.get_mut(&path) {
                None if room == 0 => {}
                None => {
                    if !told(&changes) {
                        changes.push(change(FieldChange::Appeared, 0, kind));
                    }
                    room -= 1;
                    let field = Field { kinds: kind, seen: 1, last: samples, has_vanished: false };
                    self.fields.insert(path, field);
                }
                Some(field) => {
                    if field.has_vanished && !told(&changes) {
                        changes.push(change(FieldChange::Appeared, 0, kind));
                    } else if field.kinds & kind == 0 && kind != NULL && field.kinds != NULL {
                        changes.push(change(FieldChange::Retyped, field.kinds, kind));
                    }
                    field.kinds |= kind;
                    field.seen += 1;
                    field.last = samples;
                    field.has_vanished = false;
                }
            }
        }
        changes
    }

    /// The fields that every event had, and none has had for a while. Only the topmost of those
    /// that vanish together.
    fn vanished(&mut self, now: Timestamp) -> Vec<ShapeChange> {
        let mut changes: Vec<ShapeChange> = Vec::new();
        for (path, field) in &mut self.fields {
            let was_always_there = field.seen == field.last && field.last >= LEARNED_AFTER;
            let is_away = self.samples - field.last >= LEARNED_AFTER;
            if field.has_vanished || !was_always_there || !is_away {
                continue;
            }
            field.has_vanished = true;
            if changes.iter().any(|change| is_below(path, &change.field)) {
                continue;
            }
            changes.push(ShapeChange {
                at: now,
                field: path.clone(),
                change: FieldChange::Vanished,
                before: words(field.kinds),
                now: String::new(),
            });
        }
        changes
    }

    /// The shape for operators.
    pub(super) fn known(&self, kind: EventType) -> KnownShape {
        KnownShape {
            kind,
            samples: self.samples,
            fields: self.fields.len(),
            is_learned: self.samples >= LEARNED_AFTER,
            changes: self.changes.iter().cloned().collect(),
        }
    }
}

fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/'))
}

/// Collects the paths of an event with the kinds of their values. Names that are data count as one
/// name, `*`.
fn collect(value: &Value, path: &mut String, depth: usize, found: &mut BTreeMap<Box<str>, u8>) {
    if depth > 0 {
        if found.len() >= FIELDS_MAX || path.len() > PATH_BYTES_MAX {
            return;
        }
        *found.entry(path.as_str().into()).or_default() |= kind_of(value);
    }
    if depth == DEPTH_MAX {
        return;
    }
    let length = path.len();
    let mut below = |name: &str, value: &Value| {
        path.push('/');
        path.push_str(name);
        collect(value, path, depth + 1, found);
        path.truncate(length);
    };
    match value {
        Value::Object(members) if members.len() > MEMBERS_MAX => {
            members.values().take(ELEMENTS_MAX).for_each(|value| below("*", value));
        }
        Value::Object(members) => {
            for (name, value) in members {
                below(if is_data(name) { "*" } else { name }, value);
            }
        }
        Value::Array(elements) => {
            elements.iter().take(ELEMENTS_MAX).for_each(|value| below("*", value));
        }
        _ => {}
    }
}

/// True for a name that is an id, a number, a date or an address, and not the name of a field.
fn is_data(name: &str) -> bool {
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    name.is_empty() || digits >= 4 || digits == name.len() || name.contains(['@', '/'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(9);

    /// A shape that was learned from equal events.
    fn learned(value: &Value) -> EventShape {
        let mut shape = EventShape::default();
        for _ in 0..LEARNED_AFTER {
            assert_eq!(shape.learn(value, 1_000, NOW), []);
        }
        shape
    }

    fn changes(
        shape: &mut EventShape,
        value: &Value,
    ) -> Vec<(String, &'static str, String, String)> {
        let changes = shape.learn(value, 1_000, NOW).into_iter();
        changes.map(|c| (c.field.into(), c.change.as_str(), c.before, c.now)).collect()
    }

    fn change(
        field: &str,
        word: &'static str,
        before: &str,
        now: &str,
    ) -> (String, &'static str, String, String) {
        (field.to_owned(), word, before.to_owned(), now.to_owned())
    }

    #[test]
    fn a_new_field_is_told_once_without_those_below_it() {
        let mut shape = learned(&json!({ "a": 1, "items": [{ "price": 2 }] }));
        let new = json!({ "a": 1, "items": [{ "price": 2, "tax": { "rate": 1, "of": "x" } }] });
        assert_eq!(changes(&mut shape, &new), [change("/items/*/tax", "appeared", "", "object")]);
        assert_eq!(changes(&mut shape, &new), []);
        assert_eq!(shape.known(EventType::new("x").unwrap()).changes.len(), 1);
    }

    #[test]
    fn a_field_of_another_kind_is_told_and_null_is_not() {
        let mut shape = learned(&json!({ "amount": 5 }));
        assert_eq!(changes(&mut shape, &json!({ "amount": null })), []);
        let text = json!({ "amount": "5.00" });
        let told = [change("/amount", "retyped", "null or number", "text")];
        assert_eq!(changes(&mut shape, &text), told);
        assert_eq!(changes(&mut shape, &json!({ "amount": 5 })), []);
    }

    #[test]
    fn a_field_that_was_always_there_vanishes_after_a_while() {
        let mut shape = learned(&json!({ "id": 1, "user": { "name": "a" }, "sometimes": 1 }));
        assert_eq!(changes(&mut shape, &json!({ "id": 1, "user": { "name": "a" } })), []);
        let without = json!({ "id": 1 });
        let mut told = Vec::new();
        for _ in 0..2 * LEARNED_AFTER {
            told.extend(changes(&mut shape, &without));
        }
        told.sort();
        assert_eq!(
            told,
            [
                change("/sometimes", "vanished", "number", ""),
                change("/user", "vanished", "object", ""),
            ]
        );
        let back = changes(&mut shape, &json!({ "id": 1, "user": { "name": "a" } }));
        assert_eq!(back, [change("/user", "appeared", "", "object")]);
    }

    #[test]
    fn a_field_that_is_optional_never_vanishes() {
        let mut shape = EventShape::default();
        for n in 0..4 * LEARNED_AFTER {
            let value = if n % 2 == 0 { json!({ "a": 1, "b": 1 }) } else { json!({ "a": 1 }) };
            assert_eq!(shape.learn(&value, 1_000, NOW), []);
        }
        for _ in 0..4 * LEARNED_AFTER {
            assert_eq!(changes(&mut shape, &json!({ "a": 1 })), []);
        }
    }

    #[test]
    fn names_that_are_data_are_one_name() {
        let mut shape = learned(&json!({ "by_id": { "user_10001": { "n": 1 } }, "3": 1 }));
        let other = json!({ "by_id": { "user_20002": { "n": 1 } }, "4": 1 });
        assert_eq!(changes(&mut shape, &other), []);
        let many: serde_json::Map<_, _> =
            (0..MEMBERS_MAX + 1).map(|n| (format!("k{n}"), json!(1))).collect();
        let shape = learned(&Value::Object(many));
        assert_eq!(shape.fields(), 1);
    }

    #[test]
    fn fields_and_changes_are_bounded() {
        let mut shape = learned(&json!({ "a": 1 }));
        for n in 0..FIELDS_MAX + 50 {
            let name: String =
                format!("{n:b}").chars().map(|c| if c == '0' { 'x' } else { 'y' }).collect();
            shape.learn(&json!({ "a": 1, name: 1 }), 1_000, NOW);
        }
        assert_eq!((shape.fields(), shape.changes.len()), (FIELDS_MAX, CHANGES_MAX));
    }

    proptest! {
        #[test]
        fn any_value_is_learned_without_panic(text in "[\\[\\]{}\":,a-z0-9]{0,60}") {
            if let Ok(value) = serde_json::from_str(&text) {
                let mut shape = EventShape::default();
                for _ in 0..3 {
                    shape.learn(&value, 10, NOW);
                }
                prop_assert!(shape.fields() <= 10 * 3);
            }
        }
    }
}
