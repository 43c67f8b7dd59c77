//! Identification: the type, id, category and dedup key of the events in a verified request.
//!
//! JSON is read only if the provider's file asks for it, and once. Looks nothing up, and checks
//! only the form of what it finds.

mod category;
mod dedup;
mod facts;
mod fan_out;
mod rules;

use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::bounds::{DELIVERY_ID_BYTES_MAX, EVENTS_PER_REQUEST_MAX};
use crate::event::{Category, EventType, InvalidEventType};
use crate::json_pointer::PointerSet;
use crate::time::Timestamp;
use crate::verify::{Scheme, SignedDigest, Verified};

pub use category::{CategoryMap, CategoryRule, PatternMap};
use dedup::SignedContent;
pub use dedup::{DedupMaterial, DedupRule};
pub use facts::RequestFacts;
pub(crate) use facts::{BatchItem, RequestFormat};
pub use fan_out::FanOut;
use rules::PointerLists;
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
    #[error("the event's type is not usable")]
    Type(#[source] InvalidEventType),
    /// A header that identifies the event is not text.
    #[error("a header that the event is identified by is not UTF-8")]
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
    /// Identifies the events of a request that `scheme` has verified. A body that is not the expected
    /// JSON is not an error: the sender is genuine, so the event is kept, with the type `unknown`
    /// unless a header names it.
    pub(crate) fn identify(
        &self,
        facts: &RequestFacts<'_>,
        verified: &Verified,
        scheme: Option<&Scheme>,
    ) -> Result<Identified, IdentifyError> {
        let signed = scheme.and_then(Scheme::signs_parts_of).and_then(|kind| facts.only(kind));
        let facts = signed.as_ref().unwrap_or(facts);
        let pointers = &self.pointers;
        let at = verified.timestamp.filter(|_| scheme.is_some_and(|scheme| scheme.signs_time()));
        let proof = SignedFacts { family: verified.family, signed: None, at };
        let Some(items) = self.fan_out.items(facts, &pointers.item, &pointers.outer)? else {
            let proof = SignedFacts { signed: whole(&verified.signed), ..proof };
            let event = self.event(facts, proof, None, 0)?;
            only_text_was_read(facts)?;
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
        only_text_was_read(facts)?;
        Ok(Identified { events, is_batch: true })
    }
}

/// What verification says about one event.
#[derive(Debug, Clone, Copy)]
struct SignedFacts {
    family: usize,
    signed: Option<SignedDigest>,
    at: Option<Timestamp>,
}

/// The digest of all signed content of a request.
fn whole(signed: &[SignedDigest]) -> Option<SignedDigest> {
    match signed {
        [] => None,
        [one] => Some(*one),
        several => Some(Sha256::digest(several.concat()).into()),
    }
}

impl IdentityRules {
    fn event<'a: 'i, 'i>(
        &self,
        facts: &RequestFacts<'a>,
        SignedFacts { family, signed, at }: SignedFacts,
        item: Option<&BatchItem<'i>>,
        index: usize,
    ) -> Result<EventIdentity, IdentifyError> {
        let first = |templates: &[FactTemplate]| {
            templates
                .iter()
                .find_map(|t| t.fill(facts, family, item).filter(|text| !text.is_empty()))
        };
        let kind = first(&self.kinds);
        let kind = EventType::new(kind.as_deref().unwrap_or(TYPE_UNKNOWN));
        let kind = kind.map_err(IdentifyError::Type)?;
        let id = first(&self.ids);
        let body = facts.request().payload();
        let bytes = item.map_or(body, BatchItem::json);
        let (span, decoded) = match span_within(body, bytes) {
            Some(span) => (span, None),
            None => (0..body.len(), Some(Arc::from(bytes))),
        };
        let said = SignedContent { bytes, signed, at };
        let (dedup, tag) = self.dedup.material(kind.as_str(), id.as_deref(), said, |template| {
            template.fill(facts, family, item).map(std::borrow::Cow::into_owned)
        });
        // Values outside the items are the same for all of them.
        let told_by_item = match &self.dedup {
            DedupRule::Fields(fields) => fields.iter().flatten().any(FactTemplate::reads_item),
            _ => self.ids.iter().any(FactTemplate::reads_item),
        };
        let of_request = dedup.as_ref().is_some_and(DedupMaterial::is_of_request);
        let shared = item.is_some() && (of_request || !told_by_item);
        let dedup = if shared { dedup.map(|d| d.numbered(index)) } else { dedup };
        let keepable =
            |id: &str| id.len() <= DELIVERY_ID_BYTES_MAX && !id.chars().any(char::is_control);
        let read = |field: &FactTemplate| field.fill(facts, family, item);
        let of_plain = self.plain.as_ref().and_then(|plain| {
            let own = plain.own.described(kind.as_str(), read);
            own.or_else(|| self.categories.described(&first(&plain.kinds)?, read))
        });
        Ok(EventIdentity {
            category: of_plain.unwrap_or_else(|| self.categories.of(kind.as_str(), read)),
            kind,
            delivery_id: id.as_deref().filter(|id| keepable(id)).map(Into::into),
            dedup,
            tag,
            span,
            decoded,
        })
    }
}

/// Refuses a request with a header that could not be read as text.
fn only_text_was_read(facts: &RequestFacts<'_>) -> Result<(), IdentifyError> {
    if facts.met_unreadable_header() { Err(IdentifyError::HeaderNotText) } else { Ok(()) }
}

/// The position of `part` in `body`, if it is a slice of it.
fn span_within(body: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(body.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= body.len()).then_some(start..end)
}

impl IdentityRules {
    /// Collects the pointers of all templates, grouped by what they point into.
    pub(crate) fn collect_pointers(
        &mut self,
        extra: impl IntoIterator<Item = crate::json_pointer::Pointer>,
    ) {
        let mut found = PointerLists { body: extra.into_iter().collect(), ..Default::default() };
        let fields = match &self.dedup {
            DedupRule::Fields(fields) => fields.as_slice(),
            _ => &[],
        };
        let plain = self.plain.iter().flat_map(|plain| &plain.kinds);
        let named = self.kinds.iter().chain(&self.ids).chain(fields.iter().flatten());
        for template in named.chain(self.categories.templates()).chain(plain) {
            template.pointers(&mut found);
        }
        found.body.extend(self.fan_out.pointers().cloned());
        // A body that is not the expected batch is one event, whose values are read as an item's.
        found.body.extend(found.item.iter().cloned());
        self.pointers = IdentityPointers {
            body: PointerSet::new(found.body),
            item: PointerSet::new(found.item),
            outer: PointerSet::new(found.outer),
        };
    }
}
