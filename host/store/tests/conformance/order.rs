//! Order keys: deliveries are claimed one at a time per target and key, in the order of commits,
//! and replayed ones go to the end.

use std::time::Duration;

use weir_core::delivery::{DeliveryState, NextState, Outcome};
use weir_core::name::{SourceName, Target};
use weir_core::provider::OnRedelivery;
use weir_store::query::{DeliveryFilter, PageRequest};
use weir_store::upkeep::{ReplayRequest, ReplaySelection, ReroutedEvent};
use weir_store::{Claim, EventIngested, Lane, NewMessage, NewRequest, RoutedEffects};

use crate::common::*;
use crate::engine::TestStore;

fn ordered(id: &str, key: &str) -> NewRequest {
    let mut request = request(id, &[handler("orders")]);
    request.events[0].routed.deliveries[0].order_key = Some(key.into());
    request
}

fn ids(claims: &[Claim]) -> Vec<String> {
    claims.iter().map(|c| c.event.delivery_id.clone().unwrap().to_string()).collect()
}

/// Claims the due deliveries of one lane and gives them up.
async fn give_up(test: &TestStore, target: &Target, lane: Lane) -> Vec<String> {
    let claimed = test.claim(target, lane, 10).await;
    for one in &claimed {
        test.settle(settlement(one, NextState::DeadLetter)).await;
    }
    ids(&claimed)
}

async fn replay_dead(test: &TestStore, request: &str) {
    let what = ReplaySelection::DeadLetters(None);
    let replay = ReplayRequest { what, limit: 10, request: request.into(), new_ids: false };
    test.store().replay(replay).await.unwrap();
}

/// Settles due deliveries one after the other. Returns their order.
async fn run_all(test: &TestStore, target: &Target) -> Vec<String> {
    let mut order = Vec::new();
    loop {
        let mut claimed = test.claim(target, Lane::Fresh, 1).await;
        claimed.extend(test.claim(target, Lane::Late, 1).await);
        assert!(claimed.len() <= 1, "two of one key at a time: {:?}", ids(&claimed));
        let Some(one) = claimed.pop() else { return order };
        order.extend(ids(std::slice::from_ref(&one)));
        test.settle(settlement(&one, NextState::Processed)).await;
    }
}

#[tokio::test]
async fn deliveries_of_an_order_key_are_claimed_one_at_a_time_in_order() {
    let mut test = TestStore::new().await;
    let orders = handler("orders");
    for (id, key) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a")] {
        test.ingest(ordered(id, key)).await;
    }
    let mut order = Vec::new();
    let claims = test.claim(&orders, Lane::Fresh, 10).await;
    assert_eq!(ids(&claims), ["a1", "b1"]);
    // A head that waits for a retry blocks the others, after a restart too.
    test.settle(retry_in(&claims[0], 30)).await;
    drop(claims);
    test.reopen().await;
    assert_eq!(ids(&test.claim(&orders, Lane::Fresh, 10).await), ["b1"]);
    test.clock.forward(Duration::from_secs(30));
    let head = test.claim_one(&orders, Lane::Late).await;
    test.settle(settlement(&head, NextState::Processed)).await;
    for _ in 0..2 {
        for claimed in test.claim(&orders, Lane::Fresh, 10).await {
            order.extend(ids(std::slice::from_ref(&claimed)));
            test.settle(settlement(&claimed, NextState::DeadLetter)).await;
        }
    }
    order.retain(|id| id.starts_with('a'));
    assert_eq!(order, ["a2", "a3"]);
}

#[tokio::test]
async fn a_replayed_delivery_goes_to_the_end_of_its_order_key() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    test.ingest(ordered("a1", "a")).await;
    assert_eq!(give_up(&test, &orders, Lane::Fresh).await, ["a1"]);
    for id in ["a2", "a3"] {
        test.ingest(ordered(id, "a")).await;
    }
    replay_dead(&test, "again").await;
    test.ingest(ordered("a4", "a")).await;
    assert_eq!(run_all(&test, &orders).await, ["a2", "a3", "a1", "a4"]);
}

#[tokio::test]
async fn the_position_in_an_order_key_survives_crash_and_restart() {
    for crash in [false, true] {
        let mut test = TestStore::new().await;
        let orders = handler("orders");
        test.ingest(ordered("a1", "a")).await;
        test.ingest(ordered("a2", "a")).await;
        assert_eq!(give_up(&test, &orders, Lane::Fresh).await, ["a1"]);
        replay_dead(&test, "again").await;
        if crash {
            test.crash().await
        } else {
            test.reopen().await
        }
        // The number that the replayed one took as its position is not used again.
        test.ingest(ordered("a3", "a")).await;
        test.ingest(ordered("a4", "a")).await;
        assert_eq!(run_all(&test, &orders).await, ["a2", "a1", "a3", "a4"], "crash: {crash}");
        test.assert_sound().await;
    }
}

#[tokio::test]
async fn deliveries_replayed_together_keep_their_order() {
    let mut test = TestStore::new().await;
    let orders = handler("orders");
    // The name of the later source is known first, so that its rows are the first that a search for
    // dead ones finds.
    let from = |source: &str, id: &str| NewRequest {
        source: SourceName::stored(source),
        ..ordered(id, "a")
    };
    test.ingest(request_from("zulu", "unordered", &[])).await;
    for (source, id) in [("alfa", "a1"), ("zulu", "a2"), ("alfa", "a3")] {
        test.ingest(from(source, id)).await;
        assert_eq!(give_up(&test, &orders, Lane::Fresh).await, [id]);
    }
    test.ingest(from("zulu", "a4")).await;
    replay_dead(&test, "again").await;
    test.reopen().await;
    assert_eq!(run_all(&test, &orders).await, ["a4", "a1", "a2", "a3"]);
    // A second replay keeps the order of the first.
    let replay = |n: usize, delivery| ReplayRequest {
        what: ReplaySelection::Delivery(delivery),
        limit: 1,
        request: format!("round {n}"),
        new_ids: false,
    };
    test.ingest(from("alfa", "a5")).await;
    let filter =
        DeliveryFilter { states: vec![DeliveryState::Processed], ..DeliveryFilter::default() };
    let page = PageRequest { limit: 10, after: None };
    let done = test.store().deliveries(filter, page).await.unwrap().items;
    for (n, delivery) in done.iter().rev().enumerate() {
        test.store().replay(replay(n, delivery.id)).await.unwrap();
    }
    assert_eq!(run_all(&test, &orders).await, ["a5", "a1", "a2", "a3", "a4"]);
}

#[tokio::test]
async fn a_replayed_delivery_loses_its_earlier_position_in_memory() {
    let test =
        TestStore::with(|options| (options.handoff_bytes, options.due_window) = (Some(0), Some(1)))
            .await;
    let orders = handler("orders");
    for id in ["a1", "a2"] {
        test.ingest(ordered(id, "a")).await;
    }
    // Given back, so that it waits in memory again, and then settled after all.
    let first = test.claim_one(&orders, Lane::Fresh).await;
    let (delivery, settlement) = (first.delivery, settlement(&first, NextState::Processed));
    drop(first);
    test.settle(settlement).await;
    let what = ReplaySelection::Delivery(delivery);
    let replay = ReplayRequest { what, limit: 1, request: "again".into(), new_ids: false };
    test.store().replay(replay).await.unwrap();
    let head = test.claim(&orders, Lane::Fresh, 10).await;
    assert_eq!(ids(&head), ["a2"]);
    assert!(test.claim(&orders, Lane::Late, 10).await.is_empty(), "a1 stands behind a2");
    drop(head);
    assert_eq!(run_all(&test, &orders).await, ["a2", "a1"]);
}

/// A request whose event's rule could not be evaluated.
fn failed(id: &str) -> NewRequest {
    let mut request = request(id, &[handler("orders"), destination("ops")]);
    request.events[0].routed.deliveries[0].error = Some("route:1: no field `id`".into());
    request
}

#[tokio::test]
async fn a_rule_without_a_decision_makes_a_dead_letter_in_the_same_commit() {
    let mut test = TestStore::new().await;
    let (orders, ops) = (handler("orders"), destination("ops"));
    let ingested = test.ingest(failed("a")).await;
    let event = stored(&ingested);
    let EventIngested::Stored { dead: Some(dead), unrouted: false, .. } = ingested.events[0] else {
        panic!("{ingested:?}")
    };
    test.reopen().await;
    let delivery = test.store().delivery(dead).await.unwrap().unwrap();
    assert_eq!((delivery.target, delivery.state), (orders.clone(), DeliveryState::DeadLetter));
    assert_eq!((delivery.attempts, delivery.history.len()), (1, 1));
    assert_eq!(delivery.history[0].outcome, Outcome::ConditionError);
    assert_eq!(delivery.history[0].reason.as_deref(), Some("route:1: no field `id`"));
    assert!(test.claim(&orders, Lane::Fresh, 10).await.is_empty());
    assert!(test.claim(&orders, Lane::Late, 10).await.is_empty());
    test.claim_one(&ops, Lane::Fresh).await;
    let found = test.store().event(event).await.unwrap().unwrap();
    assert_eq!(found.deliveries.len(), 2);
    test.assert_sound().await;
}

#[tokio::test]
async fn a_failed_rule_is_due_again_only_when_its_rule_delivers() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    let event = stored(&test.ingest(failed("a")).await);
    let again = |request: &str, routed| ReplayRequest {
        what: ReplaySelection::Events(vec![ReroutedEvent { event, routed }]),
        limit: 10,
        request: request.into(),
        new_ids: false,
    };
    let still = failed("a").events.remove(0).routed;
    test.store().replay(again("one", still)).await.unwrap();
    assert!(test.claim(&orders, Lane::Late, 10).await.is_empty());
    // A redelivery by the sender asks its rule too.
    let redelivered = NewRequest { on_redelivery: OnRedelivery::Requeue, ..failed("a") };
    test.ingest(redelivered).await;
    assert!(test.claim(&orders, Lane::Late, 10).await.is_empty());
    test.store().replay(again("two", routed(std::slice::from_ref(&orders)))).await.unwrap();
    test.claim_one(&orders, Lane::Late).await;
}

#[tokio::test]
async fn messages_of_an_ordered_run_are_claimed_in_its_order() {
    let mut test = TestStore::new().await;
    let (orders, ops) = (handler("orders"), destination("ops"));
    for (n, id) in [(1, "a1"), (2, "a2")] {
        test.ingest(ordered(id, "a")).await;
        let run = test.claim_one(&orders, Lane::Fresh).await;
        assert!(run.is_ordered());
        let sent = |n, delay| NewMessage { ordered: true, ..message(n, None, delay) };
        let messages = vec![sent(n, 0), sent(10 + n, 60), message(20 + n, None, 0)];
        let effects = RoutedEffects { messages, ..RoutedEffects::default() };
        test.settle(with_effects(&run, effects)).await;
    }
    let mut sent = Vec::new();
    for round in 0..3 {
        if round == 1 {
            test.reopen().await;
        }
        for claimed in test.claim(&ops, Lane::Fresh, 10).await {
            sent.push((claimed.message.as_ref().unwrap().id.bits(), claimed.is_ordered()));
            test.settle(settlement(&claimed, NextState::Processed)).await;
        }
    }
    // The second ordered one waits for the first; those without an order and with a delay do not.
    assert_eq!(sent, [(1, true), (21, false), (22, false), (2, true)]);
}
