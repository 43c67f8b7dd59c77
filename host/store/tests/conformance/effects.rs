//! Effects: messages, emitted events, keys and cancellations.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use weir_core::delivery::{DeliveryState, EventStatus, NextState};
use weir_core::effect::{Cancel, MessageContent};
use weir_core::id::EventId;
use weir_core::name::HandlerName;
use weir_store::{Claim, Lane, RoutedEffects, Settled, StoreError};

use crate::common::*;
use crate::engine::TestStore;

async fn run(test: &TestStore, id: &str, effects: RoutedEffects) -> Vec<EventId> {
    let orders = handler("orders");
    test.post(id, std::slice::from_ref(&orders)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    match test.settle(with_effects(&claimed, effects)).await {
        Settled::Applied { emitted, .. } => emitted,
        other => panic!("{other:?}"),
    }
}

fn cancel(key: &str, ahead_seconds: u32) -> RoutedEffects {
    let cancels = vec![Cancel { key: key.into(), ahead_seconds }];
    RoutedEffects { cancels, ..RoutedEffects::default() }
}

fn send(n: u128, key: Option<&str>, delay: u64) -> RoutedEffects {
    RoutedEffects { messages: vec![message(n, key, delay)], ..RoutedEffects::default() }
}

async fn due_messages(test: &TestStore) -> Vec<Claim> {
    let mut due = test.claim(&destination("ops"), Lane::Fresh, 10).await;
    due.extend(test.claim(&destination("ops"), Lane::Late, 10).await);
    due
}

async fn due_ids(test: &TestStore) -> Vec<u128> {
    let due = due_messages(test).await;
    let mut ids: Vec<_> = due.iter().map(|c| c.message.as_ref().unwrap().id.bits()).collect();
    ids.sort_unstable();
    ids
}

async fn waiting(test: &TestStore, key: &str) -> bool {
    test.store().state(&HandlerName::new("orders").unwrap()).has_queued(key).await.unwrap()
}

#[tokio::test]
async fn a_message_is_the_same_after_a_restart() {
    let mut test = TestStore::new().await;
    let mut effects = send(1, None, 0);
    let mut forwarded = message(2, None, 0);
    let headers = vec![("x-mode".into(), Bytes::from_static(b"live"))];
    forwarded.content = MessageContent::Forward { headers };
    effects.messages.push(forwarded);
    let mut bare = message(3, None, 0);
    bare.content = MessageContent::Forward { headers: Vec::new() };
    effects.messages.push(bare);
    run(&test, "a", effects).await;
    for _ in 0..2 {
        let mut due = due_messages(&test).await;
        due.sort_by_key(|c| c.message.as_ref().unwrap().id);
        let said: Vec<_> = due.iter().map(|c| c.message.as_ref().unwrap()).collect();
        assert!(said.iter().all(|m| m.handler.as_str() == "orders"));
        assert_eq!(*said[0].payload, payload("a message"));
        assert_eq!(&*said[1].payload.body, br#"{"id":"a"}"#);
        assert_eq!(said[1].payload.header("x-mode").unwrap(), "live");
        assert_eq!(said[1].payload.content_type(), "application/json");
        assert_eq!(
            (&said[2].payload.body, said[2].payload.headers.len()),
            (&said[1].payload.body, 1)
        );
        assert_eq!(due[0].event.delivery_id.as_deref(), Some("a"));
        drop(due);
        test.reopen().await;
    }
}

#[tokio::test]
async fn a_delayed_message_is_due_at_its_time() {
    let mut test = TestStore::new().await;
    run(&test, "a", send(1, None, 60)).await;
    test.reopen().await;
    assert!(due_ids(&test).await.is_empty());
    test.clock.forward(Duration::from_secs(60));
    assert_eq!(due_ids(&test).await, [1]);
}

#[tokio::test]
async fn an_emitted_event_has_its_lineage_and_both_ids() {
    let mut test = TestStore::new().await;
    let late = handler("late");
    let root = test.post("a", &[handler("orders")]).await;
    let claimed = test.claim_one(&handler("orders"), Lane::Fresh).await;
    let effects = RoutedEffects {
        emits: vec![emit(77, None, 0, std::slice::from_ref(&late)), emit(78, None, 0, &[])],
        ..RoutedEffects::default()
    };
    let Settled::Applied { emitted, .. } = test.settle(with_effects(&claimed, effects)).await
    else {
        panic!("not applied");
    };
    for _ in 0..2 {
        let child = test.claim_one(&late, Lane::Fresh).await;
        let lineage = child.event.lineage.unwrap();
        assert_eq!((child.event.id, child.event.public_id.bits()), (emitted[0], 77));
        assert_eq!((lineage.root, lineage.parent, lineage.depth), (root, root, 1));
        assert_eq!(child.event.source.as_str(), "@orders");
        drop(child);
        test.reopen().await;
    }
    let child = test.claim_one(&late, Lane::Fresh).await;
    let effects = RoutedEffects { emits: vec![emit(79, None, 0, &[])], ..RoutedEffects::default() };
    let Settled::Applied { emitted: grandchildren, .. } =
        test.settle(with_effects(&child, effects)).await
    else {
        panic!("not applied");
    };
    let grandchild = test.store().event(EventId::from_bits(79)).await.unwrap().unwrap();
    assert_eq!((grandchild.id, grandchild.parent), (grandchildren[0], Some(emitted[0])));
    assert_eq!(grandchild.status, EventStatus::Unrouted);
    let parent = test.store().event(root).await.unwrap().unwrap();
    assert_eq!(parent.deliveries[0].history[0].emitted, emitted);
    test.assert_sound().await;
}

#[tokio::test]
async fn an_answer_of_a_destination_is_an_event_in_the_same_commit() {
    let mut test = TestStore::new().await;
    let (ops, late) = (destination("ops"), handler("late"));
    let root = test.post("a", std::slice::from_ref(&ops)).await;
    let claimed = test.claim_one(&ops, Lane::Fresh).await;
    let answers = |n| RoutedEffects {
        emits: vec![emit(n, None, 0, std::slice::from_ref(&late))],
        ..RoutedEffects::default()
    };
    let settled = test.settle(with_effects(&claimed, answers(77))).await;
    let Settled::Applied { emitted, .. } = settled else { panic!("{settled:?}") };
    let again = test.settle(with_effects(&claimed, answers(78))).await;
    assert_eq!(again, Settled::Superseded, "a second answer to the same attempt");
    test.reopen().await;
    let answer = test.claim_one(&late, Lane::Fresh).await;
    let lineage = answer.event.lineage.unwrap();
    assert_eq!((answer.event.id, answer.event.public_id.bits()), (emitted[0], 77));
    assert_eq!((lineage.root, lineage.parent, lineage.depth), (root, root, 1));
    assert_eq!(answer.event.source.as_str(), "@destination.ops");
    let parent = test.store().event(root).await.unwrap().unwrap();
    assert_eq!(parent.deliveries[0].history[0].emitted, emitted);
    test.assert_sound().await;
}

#[tokio::test]
async fn a_destination_has_no_other_effects_than_answers() {
    let test = TestStore::new().await;
    let ops = destination("ops");
    test.post("a", std::slice::from_ref(&ops)).await;
    let claimed = test.claim_one(&ops, Lane::Fresh).await;
    let keyed = vec![emit(1, Some("key"), 0, &[])];
    for effects in [
        send(1, None, 0),
        cancel("alarm", 0),
        RoutedEffects { emits: keyed, ..RoutedEffects::default() },
    ] {
        let settlement = with_effects(&claimed, effects);
        let answer = test.store().settle(&[Arc::new(settlement)]).await.remove(0);
        assert!(matches!(answer, Err(StoreError::Invalid(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn an_events_status_counts_the_messages_that_it_led_to() {
    let test = TestStore::new().await;
    let id = test.post("a", &[handler("orders")]).await;
    let claimed = test.claim_one(&handler("orders"), Lane::Fresh).await;
    test.settle(with_effects(&claimed, send(1, None, 0))).await;
    let message = due_messages(&test).await.remove(0);
    test.settle(settlement(&message, NextState::DeadLetter)).await;
    let found = test.store().event(id).await.unwrap().unwrap();
    assert_eq!(found.status, EventStatus::DeadLetter);
    let shown = &found.deliveries[0].history[0].messages[0];
    assert_eq!((shown.id, shown.state), (message.delivery, DeliveryState::DeadLetter));
    assert_eq!(shown.cause, Some(found.deliveries[0].history[0].id));
}

#[tokio::test]
async fn a_new_effect_replaces_the_one_that_waits_under_its_key() {
    let mut test = TestStore::new().await;
    run(&test, "a", send(1, Some("alarm"), 60)).await;
    assert!(waiting(&test, "alarm").await);
    run(&test, "b", send(2, Some("alarm"), 60)).await;
    let mut both = send(3, Some("twice"), 60);
    both.messages.push(message(4, Some("twice"), 60));
    run(&test, "c", both).await;
    test.reopen().await;
    test.clock.forward(Duration::from_secs(60));
    assert_eq!(due_ids(&test).await, [2, 4]);
    test.assert_sound().await;
}

#[tokio::test]
async fn a_cancelled_effect_never_comes_due() {
    let mut test = TestStore::new().await;
    run(&test, "a", send(1, Some("alarm"), 60)).await;
    let late = handler("late");
    let two = [late.clone(), handler("later")];
    let emitted = run(
        &test,
        "b",
        RoutedEffects { emits: vec![emit(2, Some("event"), 60, &two)], ..RoutedEffects::default() },
    )
    .await;
    let mut cancels = cancel("alarm", 0);
    cancels.cancels.extend(cancel("event", 0).cancels);
    cancels.cancels.extend(cancel("nothing", 0).cancels);
    run(&test, "c", cancels).await;
    assert!(!waiting(&test, "alarm").await && !waiting(&test, "event").await);
    for _ in 0..2 {
        test.clock.forward(Duration::from_secs(60));
        assert!(due_ids(&test).await.is_empty());
        assert!(test.claim(&late, Lane::Late, 10).await.is_empty());
        test.reopen().await;
    }
    let event = test.store().event(emitted[0]).await.unwrap().unwrap();
    assert!(event.deliveries.iter().all(|d| d.state == DeliveryState::Cancelled));
    test.assert_sound().await;
}

#[tokio::test]
async fn a_claimed_effect_cannot_be_cancelled() {
    let test = TestStore::new().await;
    run(&test, "a", send(1, Some("alarm"), 0)).await;
    let claimed = due_messages(&test).await.remove(0);
    assert!(!waiting(&test, "alarm").await);
    run(&test, "b", cancel("alarm", 0)).await;
    assert!(matches!(
        test.settle(settlement(&claimed, NextState::Processed)).await,
        Settled::Applied { .. }
    ));
}

#[tokio::test]
async fn a_cancellation_made_ahead_drops_later_effects_until_it_expires() {
    let mut test = TestStore::new().await;
    run(&test, "a", send(1, Some("alarm"), 10)).await;
    run(&test, "b", cancel("alarm", 100)).await;
    test.reopen().await;
    run(&test, "c", send(2, Some("alarm"), 10)).await;
    assert!(!waiting(&test, "alarm").await);
    test.clock.forward(Duration::from_secs(100));
    run(&test, "d", send(3, Some("alarm"), 10)).await;
    test.clock.forward(Duration::from_secs(10));
    assert_eq!(due_ids(&test).await, [3]);
    test.assert_sound().await;
}

#[tokio::test]
async fn a_key_belongs_to_one_handler() {
    let test = TestStore::new().await;
    run(&test, "a", send(1, Some("alarm"), 60)).await;
    let other = handler("other");
    test.post("b", std::slice::from_ref(&other)).await;
    let claimed = test.claim_one(&other, Lane::Fresh).await;
    test.settle(with_effects(&claimed, cancel("alarm", 100))).await;
    assert!(waiting(&test, "alarm").await);
}

#[tokio::test]
async fn a_large_message_goes_through_unchanged() {
    let test = TestStore::new().await;
    let text = "all work and no play ".repeat(200_000);
    let mut effects = send(1, None, 0);
    effects.messages[0].content = MessageContent::Own(Arc::new(payload(&text)));
    run(&test, "a", effects).await;
    let due = due_messages(&test).await.remove(0);
    assert_eq!(due.message.as_ref().unwrap().payload.body, text.as_bytes());
}
