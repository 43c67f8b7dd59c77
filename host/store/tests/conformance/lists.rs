//! Lists: every filter and combination of filters, in both directions, with counts, compared with
//! the events and deliveries read one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weir_core::delivery::{DeliveryState, EventStatus, NextState};
use weir_core::event::{Category, EventType};
use weir_core::id::{DeliveryId, EventId};
use weir_core::name::{DestinationName, HandlerName, SourceName, Target};
use weir_core::time::Timestamp;
use weir_store::hold::{HoldScope, NewHold};
use weir_store::query::{
    BoundedCount, DeliveryDetail, DeliveryFilter, EventDetail, EventFilter, PageOf, PageRequest,
};
use weir_store::upkeep::{ReplayRequest, ReplaySelection, Retention};
use weir_store::{Lane, NewRequest, RoutedEffects};

use crate::common::*;
use crate::engine::TestStore;

const MINUTE: Duration = Duration::from_secs(60);

fn kind(text: &str) -> EventType {
    EventType::new(text).unwrap()
}

fn category() -> Category {
    Category::parse("payment.received").unwrap()
}

fn typed(source: &str, id: &str, text: &str, targets: &[Target]) -> NewRequest {
    let mut request = request_from(source, id, targets);
    request.events[0].kind = kind(text);
    request.events[0].category = (text == "paid").then(category);
    request
}

/// Stores events of two sources with deliveries in every state, over four minutes.
async fn fill(test: &TestStore) {
    let (orders, audit) = (handler("orders"), handler("audit"));
    let ops = destination("ops");
    for round in 0..4 {
        let id = |name: &str| format!("{name}{round}");
        for (source, text, targets) in [
            ("github", "push", vec![orders.clone()]),
            ("github", "issues.opened", vec![orders.clone(), ops.clone()]),
            ("stripe", "paid", vec![audit.clone()]),
            ("stripe", "refund", vec![]),
        ] {
            test.ingest(typed(source, &id(&format!("{source}{text}")), text, &targets)).await;
        }
        for (n, claim) in test.claim(&orders, Lane::Fresh, 2).await.into_iter().enumerate() {
            match (round + n) % 4 {
                0 => test.settle(settlement(&claim, NextState::DeadLetter)).await,
                1 => test.settle(retry_in(&claim, 3_600)).await,
                2 => {
                    let id = u128::try_from(round * 10 + n).unwrap();
                    let messages = vec![message(id, None, 0)];
                    let effects = RoutedEffects { messages, ..RoutedEffects::default() };
                    test.settle(with_effects(&claim, effects)).await
                }
                _ => test.settle(settlement(&claim, NextState::Processed)).await,
            };
        }
        for claim in test.claim(&ops, Lane::Fresh, 1).await {
            test.settle(settlement(&claim, NextState::Processed)).await;
        }
        test.clock.forward(MINUTE);
    }
    test.ingest(typed("github", "last", "push", std::slice::from_ref(&orders))).await;
    let hold = NewHold {
        scope: HoldScope::Handler(HandlerName::new("audit").unwrap()),
        reason: "looking".into(),
        by: "mona".into(),
        until: None,
    };
    test.store().hold(hold).await.unwrap();
}

async fn page(
    test: &TestStore,
    filter: &EventFilter,
    after: Option<String>,
) -> PageOf<EventDetail> {
    test.store().events(filter.clone(), PageRequest { limit: 3, after }).await.unwrap()
}

/// All pages towards older events, and then all the way back.
async fn listed(test: &TestStore, filter: &EventFilter) -> Vec<EventId> {
    let ids = |page: &PageOf<EventDetail>| page.items.iter().map(|e| e.id).collect::<Vec<_>>();
    let mut last = page(test, filter, None).await;
    let mut pages = vec![ids(&last)];
    while let Some(after) = last.next.clone() {
        last = page(test, filter, Some(after)).await;
        pages.push(ids(&last));
    }
    for before in pages.iter().rev().skip(1) {
        last = page(test, filter, last.previous.clone()).await;
        assert_eq!(&ids(&last), before, "the way back shows the same pages");
    }
    pages.concat()
}

async fn every_event(test: &TestStore) -> Vec<EventDetail> {
    let page = PageRequest { limit: 1_000, after: None };
    let all = test.store().events(EventFilter::default(), page).await.unwrap();
    let mut details = Vec::new();
    for event in all.items {
        details.push(test.store().event(event.id).await.unwrap().unwrap());
    }
    details
}

fn targets_of(event: &EventDetail) -> BTreeSet<String> {
    let messages = event.deliveries.iter().flat_map(|d| &d.history).flat_map(|a| &a.messages);
    event.deliveries.iter().chain(messages).map(|delivery| delivery.target.to_string()).collect()
}

/// The same decision, made from an event alone.
fn matches(filter: &EventFilter, event: &EventDetail) -> bool {
    let targets = targets_of(event);
    let kinds = |wanted: &EventType| match wanted.as_str().strip_suffix('*') {
        Some(start) => event.kind.as_str().starts_with(start),
        None => event.kind == *wanted,
    };
    (filter.sources.is_empty() || filter.sources.contains(&event.source))
        && (filter.kinds.is_empty() || filter.kinds.iter().any(kinds))
        && (filter.categories.is_empty()
            || event.category.is_some_and(|category| filter.categories.contains(&category)))
        && (filter.statuses.is_empty() || filter.statuses.contains(&event.status))
        && (filter.handlers.is_empty()
            || filter.handlers.iter().any(|name| targets.contains(&format!("handler:{name}"))))
        && (filter.destinations.is_empty()
            || filter
                .destinations
                .iter()
                .any(|name| targets.contains(&format!("destination:{name}"))))
        && filter.since.is_none_or(|since| event.received_at >= since)
        && filter.until.is_none_or(|until| event.received_at < until)
}

/// Every combination of one value of each list.
fn filters(from: Timestamp) -> Vec<EventFilter> {
    let mut filters = Vec::new();
    let sources = [vec![], vec!["github"], vec!["github", "stripe"], vec!["nothing"]];
    let kinds = [vec![], vec!["push", "paid"], vec!["iss*"]];
    let targets = [(vec![], vec![]), (vec!["orders"], vec![]), (vec!["orders"], vec!["ops"])];
    let times = [(None, None), (Some(from.after(MINUTE)), Some(from.after(MINUTE * 3)))];
    let mut statuses: Vec<Vec<EventStatus>> =
        EventStatus::ALL.iter().map(|status| vec![*status]).collect();
    statuses.extend([vec![], vec![EventStatus::DeadLetter, EventStatus::Unrouted]]);
    for source in &sources {
        for kind_names in &kinds {
            for (handlers, destinations) in &targets {
                for (since, until) in &times {
                    for statuses in &statuses {
                        filters.push(EventFilter {
                            sources: source.iter().map(|s| SourceName::stored(s)).collect(),
                            kinds: kind_names.iter().map(|k| kind(k)).collect(),
                            categories: Vec::new(),
                            statuses: statuses.clone(),
                            handlers: handlers
                                .iter()
                                .map(|h| HandlerName::new(h).unwrap())
                                .collect(),
                            destinations: destinations
                                .iter()
                                .map(|d| DestinationName::new(d).unwrap())
                                .collect(),
                            since: *since,
                            until: *until,
                            ..EventFilter::default()
                        });
                    }
                }
            }
        }
    }
    filters.push(EventFilter { categories: vec![category()], ..EventFilter::default() });
    filters
}

/// Compares every filter with the events one by one. Returns the statuses that it met.
async fn compare(test: &TestStore, from: Timestamp) -> BTreeSet<String> {
    let every = every_event(test).await;
    for filter in filters(from) {
        let expected: Vec<EventId> =
            every.iter().filter(|event| matches(&filter, event)).map(|event| event.id).collect();
        assert_eq!(listed(test, &filter).await, expected, "{filter:?}");
        let counted = test.store().count_events(filter.clone(), 5).await.unwrap();
        let count = expected.len().min(5) as u64;
        assert_eq!(counted, BoundedCount { count, more: expected.len() > 5 }, "{filter:?}");
    }
    every.iter().map(|event| event.status.to_string()).collect()
}

#[tokio::test]
async fn every_filter_finds_the_events_that_it_describes() {
    let mut test = TestStore::new().await;
    let from = {
        use weir_core::time::Clock as _;
        test.clock.now()
    };
    fill(&test).await;
    let held = test.claim(&destination("ops"), Lane::Fresh, 1).await;
    let met = compare(&test, from).await;
    let all: BTreeSet<String> = EventStatus::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(met, all, "events of every status");
    drop(held);
    test.reopen().await;
    compare(&test, from).await;
    test.crash().await;
    compare(&test, from).await;
}

#[tokio::test]
async fn lists_follow_replays_and_retention() {
    use weir_core::time::Clock as _;
    let test = TestStore::new().await;
    let from = test.clock.now();
    fill(&test).await;
    let what = ReplaySelection::DeadLetters(None);
    let request = ReplayRequest { what, limit: 100, request: "again".into(), new_ids: false };
    test.store().replay(request).await.unwrap();
    assert!(!compare(&test, from).await.contains("dead_letter"));
    let life = MINUTE * 2;
    let retention = Retention { payload_life: life, dedup_life: life, ..Retention::default() };
    while test.store().prune(&retention).await.unwrap().more {}
    compare(&test, from).await;
}

async fn deliveries(test: &TestStore, filter: &DeliveryFilter) -> Vec<DeliveryId> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = PageRequest { limit: 3, after };
        let page = test.store().deliveries(filter.clone(), page).await.unwrap();
        all.extend(page.items.iter().map(|delivery| delivery.id));
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

#[tokio::test]
async fn every_filter_finds_the_deliveries_that_it_describes() {
    let test = TestStore::new().await;
    fill(&test).await;
    let page = PageRequest { limit: 1_000, after: None };
    let every = test.store().deliveries(DeliveryFilter::default(), page).await.unwrap().items;
    let events: BTreeMap<EventId, EventDetail> =
        every_event(&test).await.into_iter().map(|event| (event.id, event)).collect();
    let states = DeliveryState::ALL.iter().map(|state| vec![*state]);
    for states in states.chain([vec![], vec![DeliveryState::DeadLetter, DeliveryState::Retrying]]) {
        for targets in [vec![], vec![handler("orders")], vec![destination("ops"), handler("none")]]
        {
            for source in [vec![], vec![SourceName::stored("github")]] {
                let of = EventFilter { sources: source, ..EventFilter::default() };
                let filter =
                    DeliveryFilter { states: states.clone(), targets: targets.clone(), of };
                let wanted = |delivery: &&DeliveryDetail| {
                    (filter.states.is_empty() || filter.states.contains(&delivery.state))
                        && (filter.targets.is_empty() || filter.targets.contains(&delivery.target))
                        && matches(&filter.of, &events[&delivery.event])
                };
                let expected: Vec<DeliveryId> =
                    every.iter().filter(wanted).map(|delivery| delivery.id).collect();
                assert_eq!(deliveries(&test, &filter).await, expected, "{filter:?}");
                let counted = test.store().count_deliveries(filter, 100).await.unwrap();
                assert_eq!(counted.count, expected.len() as u64);
            }
        }
    }
}
