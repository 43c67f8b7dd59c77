//! Many small events with deliveries in every state, and the filters whose time is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use weir_core::delivery::{DeliveryState, EventStatus, NextState, Outcome};
use weir_core::event::{Category, EventType};
use weir_core::name::{DestinationName, HandlerName, SourceName, Target};
use weir_core::payload::Payload;
use weir_core::provider::OnRedelivery;
use weir_core::route::{RouteTable, Rule, TableHash};
use weir_core::state::{ReadSet, StateQuota};
use weir_core::time::{Clock, Timestamp};
use weir_store::query::{DeliveryFilter, EventFilter, PageRequest};
use weir_store::sqlite::{Options, SqliteStore};
use weir_store::{
    AttemptRecord, Claim, ClaimRequest, Dispatch, Ingest, Lane, NewDelivery, NewEvent, NewRequest,
    Queries, Routed, RoutedEffects, Settlement,
};

/// Events of one call of the store.
const BATCH: usize = 500;

const START: u64 = 1_760_000_000_000;

/// A clock that moves a second with each batch.
#[derive(Debug, Default)]
pub(crate) struct Steps(AtomicU64);

impl Clock for Steps {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(START + 1_000 * self.0.load(Ordering::Relaxed))
    }
}

/// A filled store.
pub(crate) struct Load {
    pub(crate) store: SqliteStore,
    clock: Arc<Steps>,
    table: TableHash,
    events: usize,
}

fn handler(name: &str) -> Target {
    Target::Handler(HandlerName::new(name).unwrap())
}

fn destination() -> DestinationName {
    DestinationName::new("ops").unwrap()
}

impl Load {
    /// Fills a new store with this many events. Half of them are handled, a few of those fail, and
    /// the other half waits.
    pub(crate) async fn fill(path: &std::path::Path, events: usize) -> Self {
        let clock = Arc::new(Steps::default());
        let store = weir_store::sqlite::open(path, Options::new(clock.clone())).unwrap();
        let table = RouteTable::new([Rule::new("handler:orders", handler("orders"), Vec::new())]);
        store.keep_table(&table).await.unwrap();
        let load = Self { store, clock, table: table.hash(), events };
        for first in (0..events).step_by(BATCH) {
            let end = (first + BATCH).min(events);
            let batch = (first..end).map(|n| load.request(n)).collect();
            for stored in load.store.ingest(batch).await {
                stored.unwrap();
            }
            load.clock.0.fetch_add(1, Ordering::Relaxed);
            load.handle().await;
        }
        load
    }

    fn request(&self, n: usize) -> NewRequest {
        // Rare values are far back: the first ones of the store.
        let source = if n == 7 { "rare".to_owned() } else { format!("source{}", n % 10) };
        let kind = if n % 50_000 == 3 { "seldom".to_owned() } else { format!("type.{}", n % 7) };
        let mut targets = vec![handler(if n.is_multiple_of(2) { "orders" } else { "slow" })];
        if n % 1_000 == 11 {
            targets.push(Target::Destination(destination()));
        }
        if n % 5_000 == 17 {
            targets.clear();
        }
        let deliveries = targets.into_iter();
        let deliveries =
            deliveries.map(|target| NewDelivery { target, order_key: None, error: None });
        NewRequest {
            source: SourceName::stored(&source),
            scheme: "hmac".into(),
            secret: "main".into(),
            remote: None,
            payload: Payload::new("text/plain", Bytes::from(n.to_string())),
            on_redelivery: OnRedelivery::Duplicate,
            events: vec![NewEvent {
                kind: EventType::new(&kind).unwrap(),
                category: (n % 7 == 2).then(category),
                delivery_id: None,
                dedup: None,
                part: None,
                keys: Vec::new(),
                routed: Routed {
                    table: self.table,
                    decisions: "".into(),
                    deliveries: deliveries.collect(),
                },
            }],
        }
    }

    /// Settles the deliveries of one handler.
    async fn handle(&self) {
        let wish = ClaimRequest { target: handler("orders"), lane: Lane::Fresh, limit: BATCH };
        let claims = self.store.claim(&[wish]).await.unwrap();
        let settlements: Vec<_> = claims.iter().map(settlement).collect();
        for settled in self.store.settle(&settlements).await {
            settled.unwrap();
        }
    }

    /// The longest time of a list and of a count by a filter, for one in `every` filters, with the
    /// number of items that it found.
    pub(crate) async fn measure(&self, every: usize) -> Vec<(String, usize, Duration)> {
        let mut times = Vec::new();
        for (name, filter) in self.event_filters().into_iter().step_by(every) {
            let begun = Instant::now();
            let page = PageRequest { limit: 50, after: None };
            let found = self.store.events(filter.clone(), page).await.unwrap();
            let mut took = begun.elapsed();
            if let Some(after) = found.next {
                let begun = Instant::now();
                let page = PageRequest { limit: 50, after: Some(after) };
                self.store.events(filter.clone(), page).await.unwrap();
                took = took.max(begun.elapsed());
            }
            times.push((format!("events {name}"), found.items.len(), took));
            let begun = Instant::now();
            let counted = self.store.count_events(filter, 10_000).await.unwrap();
            let count = usize::try_from(counted.count).unwrap();
            times.push((format!("count of events {name}"), count, begun.elapsed()));
        }
        for (name, filter) in self.delivery_filters().into_iter().step_by(every) {
            let begun = Instant::now();
            let page = PageRequest { limit: 50, after: None };
            let found = self.store.deliveries(filter.clone(), page).await.unwrap();
            times.push((format!("deliveries {name}"), found.items.len(), begun.elapsed()));
            let begun = Instant::now();
            let counted = self.store.count_deliveries(filter, 10_000).await.unwrap();
            let count = usize::try_from(counted.count).unwrap();
            times.push((format!("count of deliveries {name}"), count, begun.elapsed()));
        }
        times
    }

    /// Every combination of a source, type, category, status, target and time.
    fn event_filters(&self) -> Vec<(String, EventFilter)> {
        let sources = ["", "source3", "rare"];
        let kinds = ["", "type.4", "sel*", "no such*"];
        let targets = ["", "orders", "ops"];
        let mut statuses = vec![None];
        statuses.extend(EventStatus::ALL.iter().copied().map(Some));
        let middle = Timestamp::from_millis(START + 1_000 * (self.events / BATCH / 2) as u64);
        let times = [
            (None, None),
            (None, Some(middle)),
            (Some(middle), Some(middle.after(Duration::from_secs(60)))),
        ];
        let mut filters = Vec::new();
        for source in sources {
            for kind in kinds {
                for target in targets {
                    for status in &statuses {
                        for (since, until) in times {
                            let name = format!(
                                "source={source} type={kind} target={target} status={} time={}",
                                status.map_or("", |status| status.as_str()),
                                match (since, until) {
                                    (None, None) => "any",
                                    (None, _) => "first half",
                                    _ => "a minute",
                                }
                            );
                            let mut filter = EventFilter {
                                sources: named(source).map(SourceName::stored).collect(),
                                kinds: named(kind).map(|k| EventType::new(k).unwrap()).collect(),
                                statuses: status.iter().copied().collect(),
                                since,
                                until,
                                ..EventFilter::default()
                            };
                            match target {
                                "ops" => filter.destinations.push(destination()),
                                _ => filter.handlers.extend(
                                    named(target).map(|name| HandlerName::new(name).unwrap()),
                                ),
                            }
                            filters.push((name, filter));
                        }
                    }
                }
            }
        }
        let of_category = EventFilter { categories: vec![category()], ..EventFilter::default() };
        filters.push(("category=payment.received".into(), of_category));
        filters
    }

    /// Every combination of a state, a target and a type.
    fn delivery_filters(&self) -> Vec<(String, DeliveryFilter)> {
        let mut filters = Vec::new();
        let states = DeliveryState::ALL.iter().map(|state| vec![*state]);
        for states in states.chain([vec![]]) {
            for target in ["", "orders", "slow", "none"] {
                for kind in ["", "type.4", "seldom"] {
                    let of = EventFilter {
                        kinds: named(kind).map(|k| EventType::new(k).unwrap()).collect(),
                        ..EventFilter::default()
                    };
                    let targets = named(target).map(handler).collect();
                    let state = states.first().map_or("", |state| state.as_str());
                    let name = format!("state={state} target={target} type={kind}");
                    filters.push((name, DeliveryFilter { states: states.clone(), targets, of }));
                }
            }
        }
        filters
    }
}

fn named(name: &str) -> impl Iterator<Item = &str> {
    Some(name).filter(|name| !name.is_empty()).into_iter()
}

fn category() -> Category {
    Category::parse("payment.received").unwrap()
}

/// Nearly every delivery is processed. The second is a dead letter, the third waits for a retry.
fn settlement(claim: &Claim) -> Arc<Settlement> {
    let (outcome, next) = match &claim.event.payload.body[..] {
        b"2" => (Outcome::Retry, NextState::DeadLetter),
        b"4" => (Outcome::Retry, NextState::Retry { delay: Duration::from_secs(1_000_000) }),
        _ => (Outcome::Ok, NextState::Processed),
    };
    Arc::new(Settlement {
        delivery: claim.delivery,
        fence: claim.fence,
        attempt: AttemptRecord {
            started_at: claim.now,
            duration: Duration::from_micros(40),
            outcome,
            reason: None,
            version: None,
            other: None,
            log: None,
            response: None,
            reads: None,
        },
        next,
        effects: RoutedEffects::default(),
        reads: ReadSet::default(),
        quota: StateQuota::NONE,
    })
}
