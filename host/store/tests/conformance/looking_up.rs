//! Looking up events by business keys and by a text in their bodies.

use bytes::Bytes;
use weir_core::business_key::BusinessKey;
use weir_core::delivery::{DeliveryState, NextState};
use weir_core::id::EventId;
use weir_core::payload::Payload;
use weir_store::query::{BoundedCount, DeliveryFilter, EventFilter, PageRequest};
use weir_store::upkeep::Retention;
use weir_store::{Lane, NewRequest};

use crate::common::*;
use crate::engine::TestStore;

const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

fn key(text: &str) -> BusinessKey {
    text.parse().unwrap()
}

fn keyed(id: &str, keys: &[&str]) -> NewRequest {
    let mut request = request(id, &[handler("orders")]);
    request.events[0].keys = keys.iter().map(|text| key(text)).collect();
    request
}

fn of_key(text: &str) -> EventFilter {
    EventFilter { keys: vec![key(text)], ..EventFilter::default() }
}

fn of_text(text: &str) -> EventFilter {
    EventFilter { text: Some(text.into()), ..EventFilter::default() }
}

/// The events of all pages, and the number of pages.
async fn all(test: &TestStore, filter: &EventFilter, limit: usize) -> (Vec<EventId>, usize) {
    let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = PageRequest { limit, after };
        let page = test.store().events(filter.clone(), page).await.unwrap();
        found.extend(page.items.iter().map(|event| event.id));
        (after, pages) = (page.next, pages + 1);
        if after.is_none() {
            return (found, pages);
        }
    }
}

#[tokio::test]
async fn a_key_finds_the_events_that_have_it_newest_first() {
    let test = TestStore::new().await;
    let first = stored(&test.ingest(keyed("a", &["order=1234", "customer=ann"])).await);
    stored(&test.ingest(keyed("b", &["order=1235", "customer=ann"])).await);
    let third = stored(&test.ingest(keyed("c", &["order=1234"])).await);
    stored(&test.ingest(keyed("d", &[])).await);
    assert_eq!(all(&test, &of_key("order=1234"), 10).await.0, [third, first]);
    assert_eq!(all(&test, &of_key("order=1234"), 1).await.0, [third, first]);
    assert_eq!(all(&test, &of_key("customer=1234"), 10).await.0, []);
    assert_eq!(all(&test, &of_key("invoice=1"), 10).await.0, []);
    let either =
        EventFilter { keys: vec![key("order=1234"), key("order=1235")], ..EventFilter::default() };
    assert_eq!(all(&test, &either, 10).await.0.len(), 3);
    let count = test.store().count_events(of_key("customer=ann"), 100).await.unwrap();
    assert_eq!(count, BoundedCount { count: 2, more: false });
    let shown = test.store().event(first).await.unwrap().unwrap();
    assert_eq!(shown.keys, [key("order=1234"), key("customer=ann")]);
}

#[tokio::test]
async fn a_key_finds_dead_letters() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    for (id, order) in [("a", "order=1"), ("b", "order=2")] {
        test.ingest(keyed(id, &[order])).await;
    }
    for claim in test.claim(&orders, Lane::Fresh, 2).await {
        test.settle(settlement(&claim, NextState::DeadLetter)).await;
    }
    let filter = DeliveryFilter {
        states: vec![DeliveryState::DeadLetter],
        targets: Vec::new(),
        of: of_key("order=2"),
    };
    let page = PageRequest { limit: 10, after: None };
    let found = test.store().deliveries(filter.clone(), page).await.unwrap();
    assert_eq!(found.items.len(), 1);
    assert_eq!(test.store().count_deliveries(filter, 10).await.unwrap().count, 1);
}

#[tokio::test]
async fn keys_survive_a_kill_and_go_with_their_event() {
    let mut test = TestStore::new().await;
    let id = stored(&test.ingest(keyed("a", &["order=1234"])).await);
    test.crash().await;
    assert_eq!(all(&test, &of_key("order=1234"), 10).await.0, [id]);
    let claim = test.claim_one(&handler("orders"), Lane::Fresh).await;
    test.settle(settlement(&claim, NextState::Processed)).await;
    test.clock.forward(DAY * 90);
    test.store().confirm_time().await.unwrap();
    while test.store().prune(&Retention::default()).await.unwrap().more {}
    assert_eq!(all(&test, &of_key("order=1234"), 10).await.0, []);
    assert_eq!(test.rows("event_key"), Some(0));
    test.assert_sound().await;
}

#[tokio::test]
async fn a_text_finds_the_bodies_that_contain_it() {
    let test = TestStore::new().await;
    for round in 0..3 {
        let targets = [handler("orders")];
        for name in ["ann", "bob"] {
            let body = payload(&format!(r#"{{"customer":"{name}","n":{round}}}"#));
            let request = request(&format!("{name}{round}"), &targets);
            test.ingest(NewRequest { payload: body, ..request }).await;
        }
    }
    assert_eq!(all(&test, &of_text(r#""bob""#), 10).await.0.len(), 3);
    assert_eq!(all(&test, &of_text(r#""bob""#), 1).await.0.len(), 3);
    assert_eq!(all(&test, &of_text("nothing like it"), 10).await.0.len(), 0);
    let both = EventFilter {
        sources: vec![weir_core::name::SourceName::stored("github")],
        ..of_text(r#""n":1"#)
    };
    assert_eq!(all(&test, &both, 10).await.0.len(), 2);
    let count = test.store().count_events(of_text("ann"), 100).await.unwrap();
    assert_eq!(count, BoundedCount { count: 3, more: false });
}

#[tokio::test]
async fn one_page_searches_a_bounded_number_of_bytes() {
    let test = TestStore::new().await;
    let large = Bytes::from(vec![b'x'; 8 << 20]);
    for n in 0..20 {
        let payload = Payload::new("text/plain", large.clone());
        test.ingest(NewRequest { payload, ..request(&format!("{n}"), &[]) }).await;
    }
    let page = PageRequest { limit: 10, after: None };
    let first = test.store().events(of_text("needle"), page).await.unwrap();
    assert!(first.items.is_empty() && first.next.is_some() && first.searched_to.is_some());
    let (found, pages) = all(&test, &of_text("needle"), 10).await;
    assert_eq!(found, []);
    assert!((2..=4).contains(&pages), "{pages} pages");
    let count = test.store().count_events(of_text("needle"), 100).await.unwrap();
    assert_eq!(count, BoundedCount { count: 0, more: true });
}
