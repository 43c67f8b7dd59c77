//! Effects: messages, emitted events, keys and cancellations.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use weir_core::delivery::{DeliveryState, EventStatus, NextState};
use weir_core::effect::{Cancel, MessageContent};
use weir_core::id::EventId;
use weir_core::name::HandlerName;
use weir_store::{Claim, Lane, RoutedEffects, Settled};

use crate::common::*;

async fn run(bed: &Bed, id: &str, effects: RoutedEffects) -> Vec<EventId> {
    let orders = handler("orders");
    bed.post(id, std::slice::from_ref(&orders)).await;
    let claimed = bed.claim_one(&orders, Lane::Fresh).await;
    match bed.settle(with_effects(&claimed, effects)).await {
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

async fn due_messages(bed: &Bed) -> Vec<Claim> {
    let mut due = bed.claim(&destination("ops"), Lane::Fresh, 10).await;
    due.extend(bed.claim(&destination("ops"), Lane::Late, 10).await);
    due
}

async fn due_ids(bed: &Bed) -> Vec<u128> {
    let due = due_messages(bed).await;
    let mut ids: Vec<_> = due.iter().map(|c| c.message.as_ref().unwrap().id.bits()).collect();
    ids.sort_unstable();
    ids
}

async fn waiting(bed: &Bed, key: &str) -> bool {
    bed.store().state(&HandlerName::new("orders").unwrap()).has_queued(key).await.unwrap()
}

#[tokio::test]
async fn a_message_says_the_same_before_and_after_a_restart() {
    let mut bed = Bed::new().await;
    let mut effects = send(1, None, 0);
    let mut forwarded = message(2, None, 0);
    let headers = vec![("x-mode".into(), Bytes::from_static(b"live"))];
    forwarded.content = MessageContent::Forward { headers };
    effects.messages.push(forwarded);
    let mut bare = message(3, None, 0);
    bare.content = MessageContent::Forward { headers: Vec::new() };
    effects.messages.push(bare);
    run(&bed, "a", effects).await;
    for _ in 0..2 {
        let mut due = due_messages(&bed).await;
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
        bed.reopen().await;
    }
}

#[tokio::test]
async fn a_delayed_message_is_due_at_its_time() {
    let mut bed = Bed::new().await;
    run(&bed, "a", send(1, None, 60)).await;
    bed.reopen().await;
    assert!(due_ids(&bed).await.is_empty());
    bed.clock.forward(Duration::from_secs(60));
    assert_eq!(due_ids(&bed).await, [1]);
}

#[tokio::test]
async fn an_emitted_event_knows_its_line_and_is_found_by_both_ids() {
    let mut bed = Bed::new().await;
    let late = handler("late");
    let root = bed.post("a", &[handler("orders")]).await;
    let claimed = bed.claim_one(&handler("orders"), Lane::Fresh).await;
    let effects = RoutedEffects {
        emits: vec![emit(77, None, 0, std::slice::from_ref(&late)), emit(78, None, 0, &[])],
        ..RoutedEffects::default()
    };
    let Settled::Applied { emitted, .. } = bed.settle(with_effects(&claimed, effects)).await else {
        panic!("not applied");
    };
    for _ in 0..2 {
        let child = bed.claim_one(&late, Lane::Fresh).await;
        let lineage = child.event.lineage.unwrap();
        assert_eq!((child.event.id, child.event.public_id.bits()), (emitted[0], 77));
        assert_eq!((lineage.root, lineage.parent, lineage.depth), (root, root, 1));
        assert_eq!(child.event.source.as_str(), "@orders");
        drop(child);
        bed.reopen().await;
    }
    let child = bed.claim_one(&late, Lane::Fresh).await;
    let effects = RoutedEffects { emits: vec![emit(79, None, 0, &[])], ..RoutedEffects::default() };
    let Settled::Applied { emitted: grandchildren, .. } =
        bed.settle(with_effects(&child, effects)).await
    else {
        panic!("not applied");
    };
    let grandchild = bed.store().event(EventId::from_bits(79)).await.unwrap().unwrap();
    assert_eq!((grandchild.id, grandchild.parent), (grandchildren[0], Some(emitted[0])));
    assert_eq!(grandchild.status, EventStatus::Unrouted);
    let parent = bed.store().event(root).await.unwrap().unwrap();
    assert_eq!(parent.deliveries[0].history[0].emitted, emitted);
    bed.assert_sound().await;
}

#[tokio::test]
async fn an_events_status_counts_the_messages_that_it_led_to() {
    let bed = Bed::new().await;
    let id = bed.post("a", &[handler("orders")]).await;
    let claimed = bed.claim_one(&handler("orders"), Lane::Fresh).await;
    bed.settle(with_effects(&claimed, send(1, None, 0))).await;
    let message = due_messages(&bed).await.remove(0);
    bed.settle(settlement(&message, NextState::DeadLetter)).await;
    let found = bed.store().event(id).await.unwrap().unwrap();
    assert_eq!(found.status, EventStatus::DeadLetter);
    let shown = &found.deliveries[0].history[0].messages[0];
    assert_eq!((shown.id, shown.state), (message.delivery, DeliveryState::DeadLetter));
    assert_eq!(shown.cause, Some(found.deliveries[0].history[0].id));
}

#[tokio::test]
async fn a_new_effect_takes_the_place_of_what_waits_under_its_key() {
    let mut bed = Bed::new().await;
    run(&bed, "a", send(1, Some("alarm"), 60)).await;
    assert!(waiting(&bed, "alarm").await);
    run(&bed, "b", send(2, Some("alarm"), 60)).await;
    let mut both = send(3, Some("twice"), 60);
    both.messages.push(message(4, Some("twice"), 60));
    run(&bed, "c", both).await;
    bed.reopen().await;
    bed.clock.forward(Duration::from_secs(60));
    assert_eq!(due_ids(&bed).await, [2, 4]);
    bed.assert_sound().await;
}

#[tokio::test]
async fn a_cancelled_effect_never_comes_due() {
    let mut bed = Bed::new().await;
    run(&bed, "a", send(1, Some("alarm"), 60)).await;
    let late = handler("late");
    let two = [late.clone(), handler("later")];
    let emitted = run(
        &bed,
        "b",
        RoutedEffects { emits: vec![emit(2, Some("event"), 60, &two)], ..RoutedEffects::default() },
    )
    .await;
    let mut cancels = cancel("alarm", 0);
    cancels.cancels.extend(cancel("event", 0).cancels);
    cancels.cancels.extend(cancel("nothing", 0).cancels);
    run(&bed, "c", cancels).await;
    assert!(!waiting(&bed, "alarm").await && !waiting(&bed, "event").await);
    for _ in 0..2 {
        bed.clock.forward(Duration::from_secs(60));
        assert!(due_ids(&bed).await.is_empty());
        assert!(bed.claim(&late, Lane::Late, 10).await.is_empty());
        bed.reopen().await;
    }
    let event = bed.store().event(emitted[0]).await.unwrap().unwrap();
    assert!(event.deliveries.iter().all(|d| d.state == DeliveryState::Cancelled));
    bed.assert_sound().await;
}

#[tokio::test]
async fn what_is_claimed_can_no_longer_be_cancelled() {
    let bed = Bed::new().await;
    run(&bed, "a", send(1, Some("alarm"), 0)).await;
    let claimed = due_messages(&bed).await.remove(0);
    assert!(!waiting(&bed, "alarm").await);
    run(&bed, "b", cancel("alarm", 0)).await;
    assert!(matches!(
        bed.settle(settlement(&claimed, NextState::Processed)).await,
        Settled::Applied { .. }
    ));
}

#[tokio::test]
async fn a_cancellation_made_ahead_drops_what_comes_under_the_key_until_its_time() {
    let mut bed = Bed::new().await;
    run(&bed, "a", send(1, Some("alarm"), 10)).await;
    run(&bed, "b", cancel("alarm", 100)).await;
    bed.reopen().await;
    run(&bed, "c", send(2, Some("alarm"), 10)).await;
    assert!(!waiting(&bed, "alarm").await);
    bed.clock.forward(Duration::from_secs(100));
    run(&bed, "d", send(3, Some("alarm"), 10)).await;
    bed.clock.forward(Duration::from_secs(10));
    assert_eq!(due_ids(&bed).await, [3]);
    bed.assert_sound().await;
}

#[tokio::test]
async fn a_key_belongs_to_one_handler() {
    let bed = Bed::new().await;
    run(&bed, "a", send(1, Some("alarm"), 60)).await;
    let other = handler("other");
    bed.post("b", std::slice::from_ref(&other)).await;
    let claimed = bed.claim_one(&other, Lane::Fresh).await;
    bed.settle(with_effects(&claimed, cancel("alarm", 100))).await;
    assert!(waiting(&bed, "alarm").await);
}

#[tokio::test]
async fn a_large_message_goes_through_unchanged() {
    let bed = Bed::new().await;
    let text = "all work and no play ".repeat(200_000);
    let mut effects = send(1, None, 0);
    effects.messages[0].content = MessageContent::Own(Arc::new(payload(&text)));
    run(&bed, "a", effects).await;
    let due = due_messages(&bed).await.remove(0);
    assert_eq!(due.message.as_ref().unwrap().payload.body, text.as_bytes());
}
