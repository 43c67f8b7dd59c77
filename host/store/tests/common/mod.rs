//! Shared parts of the tests: a clock that they set, ways to use a store, and values to store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use weir_core::delivery::{DeliveryState, Fence, NextState, Outcome};
use weir_core::effect::{MessageContent, StateWrite};
use weir_core::event::EventType;
use weir_core::id::{DeliveryId, EventId, MessageId};
use weir_core::name::{DestinationName, HandlerName, SourceName, Target};
use weir_core::payload::Payload;
use weir_core::provider::OnRedelivery;
use weir_core::route::{Pattern, RouteTable, Rule};
use weir_core::state::{ReadSet, StateQuota};
use weir_core::time::{Clock, Timestamp};
use weir_store::Store;
use weir_store::{
    AttemptRecord, Claim, ClaimRequest, DedupKey, EventIngested, Ingested, Lane, NewDelivery,
    NewEmit, NewEvent, NewMessage, NewRequest, Routed, RoutedEffects, Settled, Settlement,
};

pub(crate) const START: u64 = 1_760_000_000_000;

/// A clock that stands still until it is set.
#[derive(Debug)]
pub(crate) struct ManualClock {
    wall: AtomicU64,
    monotonic: AtomicU64,
}

impl ManualClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { wall: AtomicU64::new(START), monotonic: AtomicU64::new(0) })
    }

    /// Lets time pass.
    pub(crate) fn forward(&self, by: Duration) {
        self.wall.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
        self.monotonic.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Sets the wall clock ahead. No time passes.
    pub(crate) fn set_ahead(&self, by: Duration) {
        self.wall.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Sets the wall clock back.
    pub(crate) fn set_back(&self, by: Duration) {
        self.wall.fetch_sub(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic.load(Ordering::SeqCst))
    }
}

/// A store under test, with short ways to use it.
pub(crate) trait StoreTestExt {
    fn store(&self) -> &dyn Store;

    /// Stores one event for these targets.
    async fn post(&self, id: &str, targets: &[Target]) -> EventId {
        stored(&self.ingest(request(id, targets)).await)
    }

    async fn ingest(&self, request: NewRequest) -> Ingested {
        self.store().ingest(vec![request]).await.remove(0).unwrap()
    }

    async fn claim(&self, target: &Target, lane: Lane, limit: usize) -> Vec<Claim> {
        let wish = ClaimRequest { target: target.clone(), lane, limit };
        self.store().claim(&[wish]).await.unwrap()
    }

    /// Claims the one delivery that is due.
    async fn claim_one(&self, target: &Target, lane: Lane) -> Claim {
        let mut claimed = self.claim(target, lane, 10).await;
        assert_eq!(claimed.len(), 1, "one delivery should be due for {target}");
        claimed.remove(0)
    }

    async fn settle(&self, settlement: Settlement) -> Settled {
        self.store().settle(&[Arc::new(settlement)]).await.remove(0).unwrap()
    }

    async fn state_of(&self, id: DeliveryId) -> DeliveryState {
        self.store().delivery(id).await.unwrap().unwrap().state
    }

    async fn assert_sound(&self) {
        let report = self.store().check().await.unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
    }
}

pub(crate) fn table() -> RouteTable {
    let target = handler("orders");
    let patterns = vec![Pattern::parse("*:*").unwrap()];
    RouteTable::new([Rule::new("handler:orders", target, patterns)])
}

pub(crate) fn handler(name: &str) -> Target {
    Target::Handler(HandlerName::new(name).unwrap())
}

pub(crate) fn destination(name: &str) -> Target {
    Target::Destination(DestinationName::new(name).unwrap())
}

pub(crate) fn routed(targets: &[Target]) -> Routed {
    let delivery =
        |target: &Target| NewDelivery { target: target.clone(), order_key: None, error: None };
    let deliveries = targets.iter().map(delivery).collect();
    Routed { table: table().hash(), decisions: "".into(), deliveries }
}

pub(crate) fn payload(text: &str) -> Payload {
    Payload::new("application/json", Bytes::copy_from_slice(text.as_bytes()))
}

pub(crate) fn event(id: &str, targets: &[Target]) -> NewEvent {
    NewEvent {
        kind: EventType::new("push").unwrap(),
        category: None,
        delivery_id: Some(id.into()),
        dedup: Some(DedupKey { material: Bytes::copy_from_slice(id.as_bytes()), body_tag: 1 }),
        part: None,
        keys: Vec::new(),
        routed: routed(targets),
    }
}

pub(crate) fn request_from(source: &str, id: &str, targets: &[Target]) -> NewRequest {
    NewRequest {
        source: SourceName::stored(source),
        scheme: "hmac".into(),
        secret: "main".into(),
        remote: Some([192, 0, 2, 7].into()),
        payload: payload(&format!(r#"{{"id":"{id}"}}"#)),
        on_redelivery: OnRedelivery::Duplicate,
        events: vec![event(id, targets)],
    }
}

pub(crate) fn request(id: &str, targets: &[Target]) -> NewRequest {
    request_from("github", id, targets)
}

pub(crate) fn stored(ingested: &Ingested) -> EventId {
    match ingested.events[..] {
        [EventIngested::Stored { id, .. }] => id,
        ref other => panic!("expected one stored event, got {other:?}"),
    }
}

pub(crate) fn duplicate_of(ingested: &Ingested) -> EventId {
    match ingested.events[..] {
        [EventIngested::Duplicate { first, .. }] => first,
        ref other => panic!("expected a duplicate, got {other:?}"),
    }
}

pub(crate) fn record(claimed: &Claim, outcome: Outcome) -> AttemptRecord {
    AttemptRecord {
        started_at: claimed.now,
        duration: Duration::from_millis(3),
        outcome,
        reason: (outcome != Outcome::Ok).then(|| "the world is not ready".into()),
        version: Some([7; 32]),
        other: None,
        log: Some("info\thello".into()),
        response: None,
        reads: None,
    }
}

pub(crate) fn settlement(claimed: &Claim, next: NextState) -> Settlement {
    let outcome = if next == NextState::Processed { Outcome::Ok } else { Outcome::Retry };
    Settlement {
        delivery: claimed.delivery,
        fence: claimed.fence,
        attempt: record(claimed, outcome),
        next,
        effects: RoutedEffects::default(),
        reads: ReadSet { at: claimed.now, ..ReadSet::default() },
        quota: StateQuota::NONE,
    }
}

pub(crate) fn with_effects(claimed: &Claim, effects: RoutedEffects) -> Settlement {
    Settlement { effects, ..settlement(claimed, NextState::Processed) }
}

/// Settlements as the store takes them.
pub(crate) fn shared(settlements: Vec<Settlement>) -> Vec<Arc<Settlement>> {
    settlements.into_iter().map(Arc::new).collect()
}

pub(crate) fn retry_in(claimed: &Claim, seconds: u64) -> Settlement {
    settlement(claimed, NextState::Retry { delay: Duration::from_secs(seconds) })
}

pub(crate) fn write(key: &str, value: &str) -> StateWrite {
    StateWrite { key: key.into(), value: Some(value.into()), expires_at: None }
}

pub(crate) fn message(n: u128, key: Option<&str>, delay: u64) -> NewMessage {
    NewMessage {
        id: MessageId::from_bits(n),
        destination: DestinationName::new("ops").unwrap(),
        content: MessageContent::Own(Arc::new(payload("a message"))),
        delay: Duration::from_secs(delay),
        key: key.map(Into::into),
        ordered: false,
    }
}

pub(crate) fn emit(n: u128, key: Option<&str>, delay: u64, targets: &[Target]) -> NewEmit {
    NewEmit {
        id: EventId::from_bits(n),
        kind: EventType::new("late").unwrap(),
        payload: Arc::new(payload("an emitted event")),
        delay: Duration::from_secs(delay),
        key: key.map(Into::into),
        routed: routed(targets),
    }
}

pub(crate) fn both_lanes(name: &str) -> [ClaimRequest; 2] {
    [Lane::Fresh, Lane::Late].map(|lane| ClaimRequest { target: handler(name), lane, limit: 10 })
}

pub(crate) const fn fence(generation: u32, attempt: u32) -> Fence {
    Fence { generation, attempt }
}
