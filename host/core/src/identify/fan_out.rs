//! Fan-out: the events of a batch, and where they are in its body.
//!
//! No part of a batch is dropped: with two nested arrays, an outer item without any inner array is
//! itself an event.

use std::rc::Rc;

use serde_json::value::RawValue;

use super::{BatchItem, IdentifyError, RequestFacts};
use crate::bounds::EVENTS_PER_REQUEST_MAX;
use crate::json_pointer::{JsonError, Pointer, PointerSet, array_items, without_byte_order_mark};
use crate::selector::{InvalidSelector, Selector};

/// The rules that split requests into events; the first one that matches a body counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FanOut(Vec<Split>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Split {
    /// The items of an array.
    Array(Pointer),
    /// The items of the inner arrays of each item of an outer array.
    Nested { outer: Pointer, inner: Vec<Pointer> },
    /// Several JSON documents in sequence.
    Lines,
    /// The items of an array in the JSON of a form field; without a pointer, the JSON is the array.
    Form { field: Box<str>, pointer: Option<Pointer> },
}

/// The keyword for several JSON documents in sequence.
const LINES: &str = "lines";

impl FanOut {
    /// Parses pointers (in which `*` marks an outer array), the keyword `lines`, and form fields
    /// written as selectors. Pointers with the same outer array are combined.
    pub fn parse(texts: &[String]) -> Result<Self, InvalidSelector> {
        let mut splits: Vec<Split> = Vec::new();
        for text in texts {
            if text == LINES {
                splits.push(Split::Lines);
                continue;
            }
            if text.starts_with("form:") {
                let Selector::Form(field, pointer) = Selector::parse(text)? else { continue };
                splits.push(Split::Form { field, pointer });
                continue;
            }
            let pointer = Pointer::parse(text)
                .map_err(|cause| InvalidSelector::Pointer { text: text.clone(), cause })?;
            let Some((array, rest)) = pointer.split_at_star() else {
                splits.push(Split::Array(pointer));
                continue;
            };
            match splits.last_mut() {
                Some(Split::Nested { outer, inner }) if *outer == array => inner.push(rest),
                _ => splits.push(Split::Nested { outer: array, inner: vec![rest] }),
            }
        }
        Ok(Self(splits))
    }

    /// True if requests never are batches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if events are first cut from the items of this array.
    pub(super) fn cuts_at(&self, array: &Pointer) -> bool {
        matches!(self.0.first(), Some(Split::Array(pointer)) if pointer == array)
    }

    /// The arrays that are looked up in the body.
    pub(super) fn pointers(&self) -> impl Iterator<Item = &Pointer> {
        self.0.iter().filter_map(|split| match split {
            Split::Array(pointer) | Split::Nested { outer: pointer, .. } => Some(pointer),
            Split::Lines | Split::Form { .. } => None,
        })
    }

    /// True if events are cut from a form field, and `source` is in that field or in such an event.
    pub(crate) fn cuts_form_at(&self, source: &Selector) -> bool {
        self.0.iter().any(|split| match (split, source) {
            (Split::Form { .. }, Selector::Json(_)) => true,
            (Split::Form { field, .. }, Selector::Form(of, _)) => field == of,
            _ => false,
        })
    }

    /// The items of a batch in order; `None` if the body is not a batch.
    pub(super) fn items<'f>(
        &self,
        facts: &'f RequestFacts<'_>,
        item: &'f PointerSet,
        outer: &'f PointerSet,
    ) -> Result<Option<Vec<BatchItem<'f>>>, IdentifyError> {
        for split in &self.0 {
            let found = match split {
                Split::Array(pointer) => array(facts, pointer)?,
                Split::Lines => lines(facts.request().body)?,
                Split::Form { field, pointer } => in_form(facts, field, pointer.as_ref())?,
                Split::Nested { outer: pointer, inner } => {
                    let Some(outers) = array(facts, pointer)? else { continue };
                    return nested(outers, inner, item, outer).map(Some);
                }
            };
            if let Some(found) = found {
                return Ok(Some(
                    found.into_iter().map(|raw| BatchItem::new(item, raw, None)).collect(),
                ));
            }
        }
        Ok(None)
    }
}

fn array<'a>(
    facts: &RequestFacts<'a>,
    pointer: &Pointer,
) -> Result<Option<Vec<&'a RawValue>>, IdentifyError> {
    facts.json_at(pointer).map_or(Ok(None), items_of)
}

/// The array in the JSON of a form field.
fn in_form<'f>(
    facts: &'f RequestFacts<'_>,
    field: &str,
    pointer: Option<&Pointer>,
) -> Result<Option<Vec<&'f RawValue>>, IdentifyError> {
    let Some(json) = facts.form_text(field) else { return Ok(None) };
    let Some(pointer) = pointer else { return items_of(json.as_bytes()) };
    let found = pointer.find(json.as_bytes()).ok().flatten();
    found.map_or(Ok(None), |raw| items_of(raw.get().as_bytes()))
}

fn items_of(json: &[u8]) -> Result<Option<Vec<&RawValue>>, IdentifyError> {
    match array_items(json, EVENTS_PER_REQUEST_MAX) {
        Ok(items) => Ok(Some(items)),
        Err(JsonError::TooMany(_)) => Err(IdentifyError::TooManyEvents),
        Err(JsonError::NotArray | JsonError::Malformed | JsonError::Repeated) => Ok(None),
    }
}

/// The documents of a body; a single one, or other text between them, is not a batch.
fn lines(body: &[u8]) -> Result<Option<Vec<&RawValue>>, IdentifyError> {
    let mut found = Vec::new();
    for document in
        serde_json::Deserializer::from_slice(without_byte_order_mark(body)).into_iter::<&RawValue>()
    {
        let Ok(document) = document else { return Ok(None) };
        if found.len() == EVENTS_PER_REQUEST_MAX {
            return Err(IdentifyError::TooManyEvents);
        }
        found.push(document);
    }
    Ok((found.len() > 1).then_some(found))
}

fn nested<'a>(
    outers: Vec<&'a RawValue>,
    inner: &[Pointer],
    item: &'a PointerSet,
    outer: &'a PointerSet,
) -> Result<Vec<BatchItem<'a>>, IdentifyError> {
    let arrays = PointerSet::new(inner.iter().cloned());
    let mut events = Vec::new();
    for raw in outers {
        let around = Rc::new(BatchItem::new(outer, raw, None));
        let found = arrays.lookup(raw.get().as_bytes()).unwrap_or_default();
        let mut any = false;
        for array in found.into_iter().flatten() {
            let Some(items) = items_of(array.get().as_bytes())? else { continue };
            any = true;
            events.extend(
                items.into_iter().map(|raw| BatchItem::new(item, raw, Some(Rc::clone(&around)))),
            );
        }
        if !any {
            events.push(BatchItem::new(item, raw, Some(around)));
        }
        if events.len() > EVENTS_PER_REQUEST_MAX {
            return Err(IdentifyError::TooManyEvents);
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_into_one_outer_array_are_combined() {
        let texts = ["/entry/*/changes", "/entry/*/messaging", "", "lines"].map(str::to_owned);
        let fan_out = FanOut::parse(&texts).unwrap();
        assert_eq!(fan_out.0.len(), 3);
        assert!(matches!(&fan_out.0[0], Split::Nested { inner, .. } if inner.len() == 2));
        for text in ["x", "form:", "form:a#b"] {
            assert!(FanOut::parse(&[text.to_owned()]).is_err(), "{text}");
        }
    }

    #[test]
    fn one_document_is_not_a_batch() {
        let count = |body: &str| lines(body.as_bytes()).unwrap().map(|found| found.len());
        assert_eq!(count("{\"a\":1}\n{\"b\":2}\n"), Some(2));
        assert_eq!(count("{\n\"a\":1\n}\n"), None);
        assert_eq!(count("{}\n{"), None);
        assert_eq!(count(""), None);
        assert!(lines("1 ".repeat(EVENTS_PER_REQUEST_MAX + 1).as_bytes()).is_err());
    }
}
