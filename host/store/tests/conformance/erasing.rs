//! Erasing the contents of events: what goes, what stays, and what can no more be done with them.

use weir_core::delivery::{DeliveryState, NextState};
use weir_core::id::EventId;
use weir_store::query::{EventDetail, EventFilter, IdLookup, InOrderFilter, PageRequest};
use weir_store::upkeep::{ReplayRequest, ReplaySelection, ReroutedEvent};
use weir_store::{Lane, RoutedEffects, Settled};

use crate::common::*;
use crate::engine::TestStore;

/// Part of every text that has to go.
const PRIVATE: &str = "ann.private";

async fn shown(test: &TestStore, id: EventId) -> EventDetail {
    test.store().event(id).await.unwrap().unwrap()
}

/// An event of a person that a handler ran, with a message and an emitted event.
async fn handled(test: &TestStore) -> EventId {
    let mut request = request("a", &[handler("orders")]);
    request.payload = payload(&format!(r#"{{"customer":"{PRIVATE}"}}"#));
    request.events[0].keys = vec![format!("customer={PRIVATE}").parse().unwrap()];
    let id = stored(&test.ingest(request).await);
    let claim = test.claim_one(&handler("orders"), Lane::Fresh).await;
    let effects = RoutedEffects {
        messages: vec![message(1, None, 0)],
        emits: vec![emit(2, None, 0, &[handler("audit")])],
        ..RoutedEffects::default()
    };
    let mut settlement = with_effects(&claim, effects);
    settlement.attempt.log = Some(format!("info\tseen {PRIVATE}").into());
    assert!(matches!(test.settle(settlement).await, Settled::Applied { .. }));
    id
}

#[tokio::test]
async fn contents_go_and_facts_stay() {
    let test = TestStore::new().await;
    let id = handled(&test).await;
    let before = shown(&test, id).await;
    let erased = test.store().erase(vec![id]).await.unwrap();
    let emitted = before.deliveries[0].history[0].emitted[0];
    assert_eq!(erased.events.len(), 2, "the event and the one that its handler emitted");
    assert_eq!(erased.cancelled, 2, "the message, and the delivery of the emitted event");
    let after = shown(&test, id).await;
    assert!(after.erased_at.is_some() && after.keys.is_empty());
    assert!(after.payload.unwrap().body.is_empty());
    assert_eq!((after.kind, after.received_at), (before.kind, before.received_at));
    assert_eq!(after.delivery_id, before.delivery_id);
    let attempt = &after.deliveries[0].history[0];
    assert_eq!((attempt.log.as_deref(), attempt.reason.as_deref()), (None, None));
    assert_eq!(attempt.outcome, before.deliveries[0].history[0].outcome);
    let message = attempt.messages[0].id;
    assert!(test.store().message(message).await.unwrap().unwrap().body.is_empty());
    assert_eq!(test.state_of(message).await, DeliveryState::Cancelled);
    let request = test.store().request(before.request.unwrap()).await.unwrap().unwrap();
    assert!(request.payload.body.is_empty() && request.remote.is_none());
    let emitted = shown(&test, emitted).await;
    assert!(emitted.erased_at.is_some() && emitted.payload.unwrap().body.is_empty());
    assert_eq!(test.rows("event_key"), Some(0));
    assert!(test.claim(&handler("audit"), Lane::Fresh, 10).await.is_empty());
    test.assert_sound().await;
}

#[tokio::test]
async fn no_byte_of_it_is_left_in_the_files() {
    let mut test = TestStore::new().await;
    let mut request = request("a", &[handler("orders")]);
    // Long enough for pages of its own, and not packed by anything.
    let body: String = (0..4_000).map(|n| format!("{PRIVATE}{n:x};")).collect();
    request.payload = payload(&body);
    request.events[0].keys = vec![format!("customer={PRIVATE}").parse().unwrap()];
    let id = stored(&test.ingest(request).await);
    test.reopen().await;
    assert!(
        test.files_hold(PRIVATE.as_bytes()),
        "the test looks for something that was never there"
    );
    test.store().erase(vec![id]).await.unwrap();
    test.reopen().await;
    assert!(!test.files_hold(PRIVATE.as_bytes()));
}

#[tokio::test]
async fn an_erased_event_is_never_handled_again() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    let id = test.post("a", std::slice::from_ref(&orders)).await;
    let claim = test.claim_one(&orders, Lane::Fresh).await;
    let erased = test.store().erase(vec![id]).await.unwrap();
    assert_eq!(erased.cancelled, 1);
    let late = test.settle(settlement(&claim, NextState::Processed)).await;
    assert!(!matches!(late, Settled::Applied { .. }), "the run that was under way is refused");
    let delivery = shown(&test, id).await.deliveries[0].id;
    let routed = routed(std::slice::from_ref(&orders));
    for what in [
        ReplaySelection::Delivery(delivery),
        ReplaySelection::DeadOf(vec![delivery]),
        ReplaySelection::Events(vec![ReroutedEvent { event: id, routed }]),
    ] {
        let request = format!("{what:?}")[..20].to_owned();
        let replay = ReplayRequest { what, limit: 10, request, new_ids: false };
        assert_eq!(test.store().replay(replay).await.unwrap().deliveries, []);
    }
    assert!(test.claim(&orders, Lane::Late, 10).await.is_empty());
    let page = PageRequest { limit: 10, after: None };
    let past = test.store().events_in_order(InOrderFilter::default(), page, 1 << 20).await;
    assert_eq!(past.unwrap().events.len(), 0);
}

#[tokio::test]
async fn a_duplicate_of_an_erased_event_is_a_duplicate() {
    let test = TestStore::new().await;
    let id = test.post("a", &[handler("orders")]).await;
    test.store().erase(vec![id]).await.unwrap();
    let again = test.ingest(request("a", &[handler("orders")])).await;
    assert_eq!(duplicate_of(&again), id);
    let found = test.store().find(IdLookup::Sender("a".into())).await.unwrap();
    assert_eq!(found.events, [id]);
}

#[tokio::test]
async fn erasing_twice_or_nothing_changes_nothing() {
    let test = TestStore::new().await;
    let id = test.post("a", &[handler("orders")]).await;
    assert_eq!(test.store().erase(vec![id]).await.unwrap().events, [id]);
    let again = test.store().erase(vec![id, EventId::from_bits(7)]).await.unwrap();
    assert_eq!((again.events.len(), again.cancelled), (0, 0));
    let page = PageRequest { limit: 10, after: None };
    let all = test.store().events(EventFilter::default(), page).await.unwrap();
    assert_eq!(all.items.len(), 1);
}
