//! The shapes of events: the fields that a source's events have by type, and how they change.
//!
//! A few events a second of each source are looked at, after they are stored and off the path of
//! their answers. What is learned is in memory, within limits, and begins again with the process.
//! Not here: values. Only names and kinds of fields are kept.

mod learn;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use weir_core::event::EventType;
use weir_core::name::SourceName;
use weir_core::time::Clock;
use weir_store::NewRequest;

use self::learn::EventShape;
pub use self::learn::{FieldChange, ShapeChange};
use super::notice::{Notice, Notices};
use crate::runtime::shutdown::Drain;

/// Types of one source that are learned; further ones are not.
const TYPES_MAX: usize = 100;
/// Fields of all sources together, some hundred bytes each.
const FIELDS_MAX: usize = 50_000;
/// Events that wait to be looked at; further ones are not.
const WAITING_MAX: usize = 64;
/// Largest body that is looked at, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// The pause after each event, so that at most fifty a second are looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// The shapes of events, as far as they are known. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shapes(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_watching: AtomicBool,
    waiting: Mutex<VecDeque<EventSample>>,
    arrived: Notify,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    sources: BTreeMap<SourceName, BTreeMap<EventType, EventShape>>,
    /// Fields of all shapes.
    fields: usize,
}

/// An event to look at.
#[derive(Debug)]
pub struct EventSample {
    source: SourceName,
    kind: EventType,
    body: Bytes,
}

/// The shape of a source's events of one type, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownShape {
    pub kind: EventType,
    /// Events that were looked at.
    pub samples: u64,
    pub fields: usize,
    /// True once changes are told.
    pub is_learned: bool,
    /// The latest changes, oldest first.
    pub changes: Vec<ShapeChange>,
}

impl Shapes {
    /// The first event of a request, if it may be looked at. Copies no bytes.
    #[must_use]
    pub fn sample(&self, request: &NewRequest) -> Option<EventSample> {
        if !self.0.is_watching.load(Relaxed) {
            return None;
        }
        let event = request.events.first()?;
        let body = &event.part.as_ref().unwrap_or(&request.payload).body;
        if body.len() > BODY_BYTES_MAX || !matches!(body.first(), Some(b'{' | b'[')) {
            return None;
        }
        let waiting = self.0.waiting.try_lock()?;
        // One of each source at a time, so that a busy source does not displace the others.
        if waiting.len() >= WAITING_MAX || waiting.iter().any(|s| s.source == request.source) {
            return None;
        }
        let (source, kind) = (request.source.clone(), event.kind.clone());
        Some(EventSample { source, kind, body: body.clone() })
    }

    /// Hands over an event that was stored. Never waits.
    pub fn offer(&self, sample: EventSample) {
        let Some(mut waiting) = self.0.waiting.try_lock() else { return };
        if waiting.len() < WAITING_MAX {
            waiting.push_back(sample);
            self.0.arrived.notify_one();
        }
    }

    /// Looks at events until the drain stops claims, and posts a notice for each that changes a
    /// shape.
    pub async fn watch(self, notices: Notices, clock: Arc<dyn Clock>, drain: Drain) {
        self.0.is_watching.store(true, Relaxed);
        loop {
            let next = self.0.waiting.lock().pop_front();
            let Some(sample) = next else {
                tokio::select! {
                    () = self.0.arrived.notified() => continue,
                    () = drain.claiming_stopped() => return,
                }
            };
            let EventSample { source, kind, body } = sample;
            let changes = self.0.known.lock().learn(&source, &kind, &body, clock.now());
            if !changes.is_empty() {
                notices.post(Notice::SourceShapeChanged { source, kind, changes });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The shapes of a source's events, by type.
    #[must_use]
    pub fn of(&self, source: &SourceName) -> Vec<KnownShape> {
        let known = self.0.known.lock();
        let shapes = known.sources.get(source).into_iter().flatten();
        shapes.map(|(kind, shape)| shape.known(kind.clone())).collect()
    }
}

impl Known {
    fn learn(
        &mut self,
        source: &SourceName,
        kind: &EventType,
        body: &[u8],
        now: weir_core::time::Timestamp,
    ) -> Vec<ShapeChange> {
        let Ok(value) = serde_json::from_slice(body) else { return Vec::new() };
        let shapes = self.sources.entry(source.clone()).or_default();
        if shapes.len() >= TYPES_MAX && !shapes.contains_key(kind) {
            return Vec::new();
        }
        let shape = shapes.entry(kind.clone()).or_default();
        let before = shape.fields();
        let room = FIELDS_MAX.saturating_sub(self.fields);
        let changes = shape.learn(&value, room, now);
        self.fields += shape.fields() - before;
        changes
    }
}

#[cfg(test)]
mod tests {
    use weir_core::time::Timestamp;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1);

    fn github() -> SourceName {
        SourceName::configured("github").unwrap()
    }

    #[test]
    fn types_and_fields_are_bounded() {
        let mut known = Known::default();
        for n in 0..TYPES_MAX + 10 {
            let kind = EventType::new(&format!("t{n}")).unwrap();
            known.learn(&github(), &kind, b"{\"a\":1}", NOW);
        }
        assert_eq!(known.sources[&github()].len(), TYPES_MAX);
        for s in 0..FIELDS_MAX {
            let source = SourceName::configured(&format!("s{}", s % 500)).unwrap();
            let field = format!("{{\"{}\":1}}", ["a", "b", "c"][s % 3].repeat(1 + s / 500));
            known.learn(&source, &EventType::new("push").unwrap(), field.as_bytes(), NOW);
        }
        let held: usize =
            known.sources.values().flat_map(|s| s.values()).map(EventShape::fields).sum();
        assert!(held == known.fields && held <= FIELDS_MAX, "{held} {}", known.fields);
    }

    #[test]
    fn bytes_that_are_no_json_teach_nothing() {
        let mut known = Known::default();
        let push = EventType::new("push").unwrap();
        for body in [&b"{"[..], b"[1,", &[0xff; 8], "[".repeat(60_000).as_bytes()] {
            assert!(known.learn(&github(), &push, body, NOW).is_empty());
        }
        assert_eq!(known.fields, 0);
    }
}
