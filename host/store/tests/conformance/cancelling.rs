//! Cancelling: what waits or is tried now ends as cancelled, and a later settlement is refused.

use std::time::Duration;

use weir_core::delivery::{DeliveryState, EventStatus};
use weir_core::id::DeliveryId;
use weir_core::name::Target;
use weir_store::query::CountsFilter;
use weir_store::upkeep::{
    CancelOutcome, CancelSelection, ReplayRequest, ReplaySelection, RetryNow,
};
use weir_store::{Lane, RoutedEffects, Settled, StoreError};

use crate::common::*;
use crate::engine::TestStore;

async fn cancel(test: &TestStore, what: CancelSelection) -> CancelOutcome {
    test.store().cancel(what).await.unwrap()
}

async fn cancel_one(test: &TestStore, id: DeliveryId) -> CancelOutcome {
    cancel(test, CancelSelection::Delivery(id)).await
}

async fn waiting(test: &TestStore) -> u64 {
    let rows = test.store().counts(CountsFilter::Deliveries).await.unwrap();
    rows.iter().map(|row| row.count).sum()
}

async fn delivery_of(test: &TestStore, id: &str, target: &Target) -> DeliveryId {
    let event = test.post(id, std::slice::from_ref(target)).await;
    test.store().event(event).await.unwrap().unwrap().deliveries[0].id
}

#[tokio::test]
async fn a_cancelled_delivery_is_never_claimed() {
    let mut test = TestStore::with(|options| options.due_window = Some(2)).await;
    let orders = handler("orders");
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(delivery_of(&test, &format!("e{n}"), &orders).await);
    }
    for claimed in test.claim(&orders, Lane::Fresh, 2).await {
        test.settle(retry_in(&claimed, 60)).await;
    }
    for id in [ids[0], ids[2], ids[5]] {
        let done = cancel_one(&test, id).await;
        assert_eq!(done, CancelOutcome { deliveries: vec![id], running: 0 });
        assert_eq!(test.state_of(id).await, DeliveryState::Cancelled);
        assert!(cancel_one(&test, id).await.deliveries.is_empty(), "it is finished");
    }
    assert!(
        test.store().retry_now(RetryNow::Delivery(ids[0])).await.unwrap().deliveries.is_empty()
    );
    assert_eq!(waiting(&test).await, 3);
    test.clock.forward(Duration::from_secs(61));
    for _ in 0..2 {
        let mut claims = Vec::new();
        for _ in 0..6 {
            claims.extend(test.claim(&orders, Lane::Late, 10).await);
            claims.extend(test.claim(&orders, Lane::Fresh, 10).await);
        }
        let mut seen: Vec<_> = claims.iter().map(|claimed| claimed.delivery).collect();
        seen.sort();
        let mut left = [ids[1], ids[3], ids[4]];
        left.sort();
        assert_eq!(seen, left);
        drop(claims);
        test.reopen().await;
    }
    test.assert_sound().await;
}

#[tokio::test]
async fn the_settlement_of_a_cancelled_attempt_is_refused() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    let id = delivery_of(&test, "a", &orders).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    let done = cancel_one(&test, id).await;
    assert_eq!(done, CancelOutcome { deliveries: vec![id], running: 1 });

    let effects = RoutedEffects { messages: vec![message(1, None, 0)], ..RoutedEffects::default() };
    let late = with_effects(&claimed, effects);
    assert_eq!(test.settle(late.clone()).await, Settled::Superseded);
    assert_eq!(test.state_of(id).await, DeliveryState::Cancelled);
    assert!(test.claim(&destination("ops"), Lane::Fresh, 1).await.is_empty(), "nothing was sent");
    let stored = test.store().delivery(id).await.unwrap().unwrap();
    assert!(stored.history.is_empty() && stored.attempts == 0, "no attempt is recorded");

    // A replay begins a new generation, which the old attempt cannot settle either.
    let replay = ReplayRequest {
        what: ReplaySelection::Delivery(id),
        limit: 1,
        request: "again".into(),
        new_ids: false,
    };
    assert_eq!(test.store().replay(replay).await.unwrap().deliveries, [id]);
    let again = test.claim_one(&orders, Lane::Late).await;
    assert_eq!(test.settle(late).await, Settled::Superseded);
    drop(claimed);
    assert!(test.claim(&orders, Lane::Late, 1).await.is_empty(), "it is claimed once");
    assert_eq!(again.fence, fence(1, 1));
    assert!(matches!(
        test.settle(with_effects(&again, RoutedEffects::default())).await,
        Settled::Applied { .. }
    ));
    test.assert_sound().await;
}

#[tokio::test]
async fn a_dropped_claim_of_a_cancelled_delivery_is_not_due() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    let id = delivery_of(&test, "a", &orders).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    assert_eq!(cancel_one(&test, id).await.running, 1);
    drop(claimed);
    for lane in [Lane::Fresh, Lane::Late] {
        assert!(test.claim(&orders, lane, 10).await.is_empty());
    }
    assert_eq!(waiting(&test).await, 0);
    test.assert_sound().await;
}

#[tokio::test]
async fn an_event_is_cancelled_with_what_its_runs_sent() {
    let test = TestStore::new().await;
    let (orders, bills) = (handler("orders"), handler("bills"));
    let event = test.post("a", &[orders.clone(), bills.clone()]).await;
    let other = test.post("b", std::slice::from_ref(&bills)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    let effects =
        RoutedEffects { messages: vec![message(1, None, 60)], ..RoutedEffects::default() };
    test.settle(with_effects(&claimed, effects)).await;
    let done = cancel(&test, CancelSelection::Event(event)).await;
    assert_eq!((done.deliveries.len(), done.running), (2, 0));
    let stored = test.store().event(event).await.unwrap().unwrap();
    assert_eq!(stored.status, EventStatus::Processed);
    let states: Vec<_> = stored.deliveries.iter().map(|delivery| delivery.state).collect();
    assert_eq!(states, [DeliveryState::Processed, DeliveryState::Cancelled]);
    let sent = &stored.deliveries[0].history[0].messages[0];
    assert_eq!(sent.state, DeliveryState::Cancelled);
    test.clock.forward(Duration::from_secs(61));
    assert!(test.claim(&destination("ops"), Lane::Late, 10).await.is_empty());
    let left = test.claim(&bills, Lane::Fresh, 10).await;
    assert_eq!(left.iter().map(|claim| claim.event.id).collect::<Vec<_>>(), [other]);
    test.assert_sound().await;
}

#[tokio::test]
async fn the_next_of_an_order_key_follows_a_cancelled_head() {
    let mut test = TestStore::new().await;
    let orders = handler("orders");
    let mut ids = Vec::new();
    for n in 0..3 {
        let mut asked = request(&format!("e{n}"), std::slice::from_ref(&orders));
        asked.events[0].routed.deliveries[0].order_key = Some("customer-1".into());
        let event = stored(&test.ingest(asked).await);
        ids.push(test.store().event(event).await.unwrap().unwrap().deliveries[0].id);
    }
    let head = test.claim_one(&orders, Lane::Fresh).await;
    assert_eq!(cancel_one(&test, ids[1]).await.deliveries, [ids[1]], "it waits for its turn");
    assert!(test.claim(&orders, Lane::Fresh, 10).await.is_empty(), "the head is tried now");
    assert_eq!(cancel_one(&test, head.delivery).await.running, 1);
    let next = test.claim_one(&orders, Lane::Fresh).await;
    assert_eq!(next.delivery, ids[2]);
    drop((head, next));
    test.reopen().await;
    assert_eq!(test.claim_one(&orders, Lane::Fresh).await.delivery, ids[2]);
    test.assert_sound().await;
}

#[tokio::test]
async fn an_unknown_delivery_cannot_be_cancelled() {
    let test = TestStore::new().await;
    let unknown = CancelSelection::Delivery(DeliveryId::from_bits(7));
    assert!(matches!(test.store().cancel(unknown).await, Err(StoreError::Invalid(_))));
}
