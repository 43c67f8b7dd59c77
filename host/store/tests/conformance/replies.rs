//! Responders: deliveries that are claimed with their commit, and stored replies.

use std::time::Duration;

use weir_core::delivery::{DeliveryState, NextState, Outcome};
use weir_core::id::EventId;
use weir_core::name::Target;
use weir_store::StoreError;
use weir_store::hold::{HoldScope, NewHold};
use weir_store::upkeep::{ReplayRequest, ReplaySelection, Retention};
use weir_store::{Claim, EventIngested, Lane, NewReply, RoutedEffects};

use crate::common::*;
use crate::engine::TestStore;

const HOUR: Duration = Duration::from_secs(3600);

/// Stores an event for `orders` and `audit`, claiming the former's delivery.
async fn ingest_claiming(test: &TestStore, id: &str) -> (EventId, Option<Claim>) {
    let orders = handler("orders");
    let request = request(id, &[orders.clone(), handler("audit")]);
    let (ingested, claimed) = test.store().ingest_claiming(request, &orders).await.unwrap();
    let (EventIngested::Stored { id, .. } | EventIngested::Duplicate { first: id, .. }) =
        ingested.events[0];
    (id, claimed)
}

fn reply(status: u16, body: &str) -> RoutedEffects {
    let reply = NewReply { status, payload: payload(body), keep: HOUR };
    RoutedEffects { reply: Some(reply), ..RoutedEffects::default() }
}

async fn replied(test: &TestStore, event: EventId) -> Option<(u16, Vec<u8>)> {
    let reply = test.store().reply(event).await.unwrap()?;
    Some((reply.status, reply.payload.body.to_vec()))
}

#[tokio::test]
async fn a_delivery_claimed_with_its_commit_is_not_claimed_twice() {
    let test = TestStore::new().await;
    let (event, claimed) = ingest_claiming(&test, "a").await;
    let claimed = claimed.unwrap();
    assert_eq!((claimed.event.id, claimed.fence, claimed.suspect), (event, fence(0, 1), false));
    assert_eq!(&claimed.event.payload.body[..], br#"{"id":"a"}"#);
    assert!(test.claim(&handler("orders"), Lane::Fresh, 10).await.is_empty());
    assert_eq!(
        test.claim(&handler("audit"), Lane::Fresh, 10).await.len(),
        1,
        "others go their way"
    );
    test.settle(settlement(&claimed, NextState::Processed)).await;
    assert_eq!(test.state_of(claimed.delivery).await, DeliveryState::Processed);
    drop(claimed);
    assert!(test.claim(&handler("orders"), Lane::Fresh, 10).await.is_empty());
    test.assert_sound().await;
}

#[tokio::test]
async fn a_dropped_claim_made_with_the_commit_is_due_again() {
    let test = TestStore::new().await;
    let (_, claimed) = ingest_claiming(&test, "a").await;
    drop(claimed);
    let again = test.claim_one(&handler("orders"), Lane::Fresh).await;
    assert_eq!(again.fence, fence(0, 1), "no attempt was spent");
    test.settle(retry_in(&again, 1)).await;
    test.clock.forward(Duration::from_secs(1));
    assert_eq!(test.claim_one(&handler("orders"), Lane::Late).await.fence, fence(0, 2));
}

#[tokio::test]
async fn duplicates_and_held_deliveries_are_not_claimed_with_the_commit() {
    let test = TestStore::new().await;
    let (event, claimed) = ingest_claiming(&test, "a").await;
    let (first, second) = ingest_claiming(&test, "a").await;
    assert_eq!((first, second.is_none(), claimed.is_some()), (event, true, true));
    let Target::Handler(name) = handler("orders") else { unreachable!() };
    let hold = NewHold {
        scope: HoldScope::Handler(name),
        reason: "operator".into(),
        by: "test".into(),
        until: None,
    };
    let hold = test.store().hold(hold).await.unwrap();
    assert!(ingest_claiming(&test, "b").await.1.is_none());
    test.store().release(hold).await.unwrap();
    assert_eq!(test.claim(&handler("orders"), Lane::Fresh, 10).await.len(), 1);
}

#[tokio::test]
async fn a_run_claimed_with_its_commit_is_charged_after_a_death() {
    let mut test = TestStore::new().await;
    let (_, claimed) = ingest_claiming(&test, "ran").await;
    let claimed = claimed.unwrap();
    let _running = test.store().begin_run(&claimed).unwrap();
    let (_, waited) = ingest_claiming(&test, "did not run").await;
    assert!(waited.is_some());
    test.crash().await;
    let found = test.store().delivery(claimed.delivery).await.unwrap().unwrap();
    assert_eq!(found.history[0].outcome, Outcome::HostLost);
    let waited = test.store().delivery(waited.unwrap().delivery).await.unwrap().unwrap();
    assert_eq!((waited.state, waited.attempts), (DeliveryState::Pending, 0));
    assert!(ingest_claiming(&test, "after").await.1.is_none(), "the suspect goes first");
}

#[tokio::test]
async fn a_request_of_several_events_cannot_be_claimed() {
    let test = TestStore::new().await;
    let mut batch = request("a", &[handler("orders")]);
    batch.events.push(event("b", &[handler("orders")]));
    let refused = test.store().ingest_claiming(batch, &handler("orders")).await.unwrap_err();
    assert!(matches!(refused, StoreError::Invalid(_)), "{refused}");
}

#[tokio::test]
async fn a_reply_is_kept_across_a_crash_until_it_expires() {
    let mut test = TestStore::new().await;
    let (event, claimed) = ingest_claiming(&test, "a").await;
    assert_eq!(replied(&test, event).await, None);
    let before = test.rows("payload");
    test.settle(with_effects(&claimed.unwrap(), reply(201, "well done"))).await;
    test.crash().await;
    assert_eq!(replied(&test, event).await, Some((201, b"well done".to_vec())));
    test.assert_sound().await;
    test.clock.forward(HOUR - Duration::from_secs(1));
    assert!(replied(&test, event).await.is_some());
    test.clock.forward(Duration::from_secs(1));
    assert_eq!(replied(&test, event).await, None);
    assert_eq!(test.rows("payload"), before.map(|rows| rows + 1));
    test.store().prune(&Retention::default()).await.unwrap();
    assert_eq!(test.rows("payload"), before, "its bytes are gone too");
}

#[tokio::test]
async fn the_reply_of_the_latest_run_is_kept() {
    let test = TestStore::new().await;
    let (event, claimed) = ingest_claiming(&test, "a").await;
    let claimed = claimed.unwrap();
    test.settle(with_effects(&claimed, reply(200, "first"))).await;
    let before = test.rows("payload");
    let replay = ReplayRequest {
        what: ReplaySelection::Delivery(claimed.delivery),
        limit: 1,
        request: "again".into(),
        new_ids: false,
    };
    test.store().replay(replay).await.unwrap();
    let again = test.claim_one(&handler("orders"), Lane::Late).await;
    test.settle(with_effects(&again, reply(503, "second"))).await;
    assert_eq!(replied(&test, event).await, Some((503, b"second".to_vec())));
    assert_eq!(test.rows("payload"), before, "one reply an event");
}

#[tokio::test]
async fn a_run_that_failed_has_no_reply() {
    let test = TestStore::new().await;
    let (event, claimed) = ingest_claiming(&test, "a").await;
    let mut failed = retry_in(&claimed.unwrap(), 60);
    failed.effects = reply(200, "never");
    let refused = test.store().settle(&shared(vec![failed])).await.remove(0).unwrap_err();
    assert!(matches!(refused, StoreError::Invalid(_)), "{refused}");
    assert_eq!(replied(&test, event).await, None);
}
