//! Identification: the type, id, category and dedup key of the events in a verified request.
//!
//! JSON is read only if the provider's file asks for it, and once. Looks nothing up, and checks
//! only the form of what it finds.

mod category;
mod dedup;
mod facts;
mod fan_out;
mod rules;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::bounds::{DELIVERY_ID_BYTES_MAX, EVENTS_PER_REQUEST_MAX};
use crate::event::{Category, EventType, InvalidEventType};
use crate::time::Timestamp;
use crate::verify::{Scheme, SignedDigest, Verified};

pub use category::{CategoryMap, CategoryRule, PatternMap};
use dedup::SignedContent;
pub use dedup::{DedupMaterial, DedupRule};
pub use facts::RequestFacts;
pub(crate) use facts::{BatchItem, RequestFormat};
pub use fan_out::FanOut;
pub use rules::{FactTemplate, IdentityPointers, IdentityRules, InvalidTemplate, OriginalTypes};

/// The type of an event whose request names none.
pub const TYPE_UNKNOWN: &str = "unknown";

/// The events of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified {
    /// One event, the events of a batch in order, or none.
    pub events: Vec<EventIdentity>,
    /// True if the events are parts of the body.
    pub is_batch: bool,
}

/// The identity of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventIdentity {
    /// The sender's event type; [`TYPE_UNKNOWN`] if the request names none.
    pub kind: EventType,
    pub category: Category,
    /// The sender's id; `None` if it is empty, too long, or has control characters.
    pub delivery_id: Option<Arc<str>>,
    /// The material of the dedup key; `None` never is a duplicate.
    pub dedup: Option<DedupMaterial>,
    /// A short hash of the signed content. Two events with equal material and different tags used
    /// one id twice.
    pub tag: u32,
    /// The position of the event in the request's payload; the whole payload if its bytes are not a
    /// part of it.
    pub span: Range<usize>,
    /// The bytes of the event if they had to be decoded, as from a form field.
    pub decoded: Option<Arc<[u8]>>,
}

impl EventIdentity {
    /// The bytes of the event; `payload` is its request's.
    #[must_use]
    pub fn bytes<'b>(&'b self, payload: &'b [u8]) -> &'b [u8] {
        self.decoded.as_deref().unwrap_or(&payload[self.span.clone()])
    }
}

/// Why the events of a verified request cannot be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IdentifyError {
    /// The type is invalid.
    #[error("the event's type is invalid")]
    Type(#[source] InvalidEventType),
    /// A header that identifies the event is not text.
    #[error("a header that identifies the event is not UTF-8")]
    HeaderNotText,
    /// There are more events than one commit may store.
    #[error("request carries more than {EVENTS_PER_REQUEST_MAX} events")]
    TooManyEvents,
}

impl IdentifyError {
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Type(_) => "event_type_invalid",
            Self::HeaderNotText => "malformed",
            Self::TooManyEvents => "too_many_events",
        }
    }
}

impl IdentityRules {
    /// Identifies the events of a request that `scheme` has verified. A body that is not the
    /// expected JSON is not an error: the sender is genuine, so the event is kept, with the type
    /// `unknown` unless a header names it.
    pub(crate) fn identify(
        &self,
        facts: &RequestFacts<'_>,
        verified: &Verified,
        scheme: Option<&Scheme>,
    ) -> Result<Identified, IdentifyError> {
        let signed =
            scheme.and_then(Scheme::signs_parts_of).and_then(|kind| facts.restricted_to(kind));
        let facts = signed.as_ref().unwrap_or(facts);
        let pointers = &self.pointers;
        let at = verified.timestamp.filter(|_| scheme.is_some_and(|scheme| scheme.signs_time()));
        let proof = SignedFacts { family: verified.family, signed: None, at };
        let Some(items) = self.fan_out.items(facts, &pointers.item, &pointers.outer)? else {
            let proof = SignedFacts { signed: combined_digest(&verified.signed), ..proof };
            let event = self.event(facts, proof, None, 0)?;
            check_headers_are_text(facts)?;
            return Ok(Identified { events: vec![event], is_batch: false });
        };
        let each = scheme.and_then(|scheme| scheme.items.as_ref());
        let each = each.is_some_and(|array| self.fan_out.cuts_at(array));
        let signed_alone = |index| verified.signed.get(index).copied().filter(|_| each);
        let events = items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let proof = SignedFacts { signed: signed_alone(index), ..proof };
                self.event(facts, proof, Some(item), index)
            })
            .collect::<Result<Vec<_>, _>>()?;
        check_headers_are_text(facts)?;
        Ok(Identified { events, is_batch: true })
    }
}

/// The facts about one event that verification established.
#[derive(Debug, Clone, Copy)]
struct SignedFacts {
    family: usize,
    signed: Option<SignedDigest>,
    at: Option<Timestamp>,
}

/// The digest of all signed content of a request.
fn combined_digest(signed: &[SignedDigest]) -> Option<SignedDigest> {
    match signed {
        [] => None,
        [one] => Some(*one),
        several => Some(Sha256::digest(several.concat()).into()),
    }
}

impl IdentityRules {
    fn event(
        &self,
        facts: &RequestFacts<'_>,
        SignedFacts { family, signed, at }: SignedFacts,
        item: Option<&BatchItem<'_>>,
        index: usize,
    ) -> Result<EventIdentity, IdentifyError> {
        let reader = EventReader { facts, family, item };
        let kind = reader.first(&self.kinds);
        let kind = EventType::new(kind.as_deref().unwrap_or(TYPE_UNKNOWN));
        let kind = kind.map_err(IdentifyError::Type)?;
        let id = reader.first(&self.ids);
        let payload = facts.request().payload();
        let bytes = item.map_or(payload, BatchItem::json);
        let (span, decoded) = match span_within(payload, bytes) {
            Some(span) => (span, None),
            None => (0..payload.len(), Some(Arc::from(bytes))),
        };
        let content = SignedContent { bytes, signed, at };
        let (dedup, tag) = self.dedup.material(kind.as_str(), id.as_deref(), content, |template| {
            reader.read(template).map(Cow::into_owned)
        });
        let dedup = match dedup {
            Some(dedup) if item.is_some() && self.is_shared(&dedup) => Some(dedup.numbered(index)),
            dedup => dedup,
        };
        Ok(EventIdentity {
            category: self.category(kind.as_str(), reader),
            kind,
            delivery_id: id.as_deref().filter(|id| is_storable(id)).map(Into::into),
            dedup,
            tag,
            span,
            decoded,
        })
    }

    /// True if the items of one batch have the same material: it is made from the whole request, or
    /// from values outside the items.
    fn is_shared(&self, dedup: &DedupMaterial) -> bool {
        let reads_item = match &self.dedup {
            DedupRule::Fields(fields) => fields.iter().flatten().any(FactTemplate::reads_item),
            _ => self.ids.iter().any(FactTemplate::reads_item),
        };
        dedup.is_of_request() || !reads_item
    }

    fn category(&self, kind: &str, reader: EventReader<'_, '_>) -> Category {
        let read = |field: &FactTemplate| reader.read(field);
        let by_original_type = self.original.as_ref().and_then(|original| {
            let own = original.own.find(kind, read);
            own.or_else(|| self.categories.find(&reader.first(&original.kinds)?, read))
        });
        by_original_type.unwrap_or_else(|| self.categories.of(kind, read))
    }
}

/// Reads the values of one event.
#[derive(Clone, Copy)]
struct EventReader<'r, 'a> {
    facts: &'r RequestFacts<'a>,
    family: usize,
    item: Option<&'r BatchItem<'r>>,
}

impl<'r> EventReader<'r, '_> {
    fn read(self, template: &FactTemplate) -> Option<Cow<'r, str>> {
        template.fill(self.facts, self.family, self.item)
    }

    /// The first value of these templates that is not empty.
    fn first(self, templates: &[FactTemplate]) -> Option<Cow<'r, str>> {
        templates.iter().find_map(|t| self.read(t).filter(|text| !text.is_empty()))
    }
}

fn is_storable(id: &str) -> bool {
    id.len() <= DELIVERY_ID_BYTES_MAX && !id.chars().any(char::is_control)
}

/// Refuses a request with a header that could not be read as text.
fn check_headers_are_text(facts: &RequestFacts<'_>) -> Result<(), IdentifyError> {
    if facts.met_unreadable_header() { Err(IdentifyError::HeaderNotText) } else { Ok(()) }
}

/// The position of `part` in `body`, if it is a slice of it.
fn span_within(body: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(body.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= body.len()).then_some(start..end)
}
