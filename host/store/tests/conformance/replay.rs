//! Replays: redeliveries, unrouted events, replayed deliveries, outward ids, and the limit of
//! descendants.

use std::collections::HashSet;
use std::time::Duration;

use weir_core::bounds::DESCENDANTS_MAX;
use weir_core::delivery::{DeliveryState, EventStatus, NextState, Outcome};
use weir_core::effect::{OutwardIds, reissued};
use weir_core::event::EventType;
use weir_core::id::{DeliveryId, EventId, MessageId};
use weir_core::name::{DestinationName, HandlerName, SourceName, Target};
use weir_core::provider::OnRedelivery;
use weir_core::time::Clock;
use weir_store::StoreError;
use weir_store::query::{CountsFilter, EventFilter, PageRequest};
use weir_store::upkeep::{ReplayRequest, ReplaySelection, ReroutedEvent, Retention};
use weir_store::{Claim, EventIngested, Lane, NewDelivery, NewRequest, RoutedEffects, Settled};

use crate::common::*;
use crate::engine::TestStore;

fn redelivery(id: &str, targets: &[Target]) -> NewRequest {
    NewRequest { on_redelivery: OnRedelivery::Requeue, ..request(id, targets) }
}

fn replay(what: ReplaySelection, request: &str) -> ReplayRequest {
    ReplayRequest { what, limit: 1_000, request: request.into(), new_ids: false }
}

fn rerouted(event: EventId, targets: &[Target]) -> ReroutedEvent {
    ReroutedEvent { event, routed: routed(targets) }
}

async fn status(test: &TestStore, event: EventId) -> EventStatus {
    test.store().event(event).await.unwrap().unwrap().status
}

async fn unrouted_now(test: &TestStore) -> Vec<(String, u64)> {
    let rows = test.store().counts(CountsFilter::Unrouted).await.unwrap();
    rows.into_iter().map(|row| (row.of, row.count)).collect()
}

/// All unrouted events of a source or of all, by pages of `limit`.
async fn list_unrouted(test: &TestStore, source: Option<&str>, limit: usize) -> Vec<EventId> {
    let filter = EventFilter {
        sources: source.map(SourceName::stored).into_iter().collect(),
        statuses: vec![EventStatus::Unrouted],
        ..EventFilter::default()
    };
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = PageRequest { limit, after };
        let page = test.store().events(filter.clone(), page).await.unwrap();
        assert!(page.items.len() <= limit);
        all.extend(page.items.iter().map(|event| event.id));
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

fn requeued(ingested: &weir_store::Ingested, first: EventId) -> bool {
    match ingested.events[..] {
        [EventIngested::Duplicate { first: told, requeued }] if told == first => requeued,
        ref other => panic!("expected a duplicate of {first}, got {other:?}"),
    }
}

async fn give_up(test: &TestStore, target: &Target, lane: Lane) -> Claim {
    let claimed = test.claim_one(target, lane).await;
    test.settle(settlement(&claimed, NextState::DeadLetter)).await;
    claimed
}

// --- redelivery

#[tokio::test]
async fn a_redelivery_replays_a_dead_event_in_the_commit_of_its_answer() {
    let mut test = TestStore::new().await;
    let (orders, audit) = (handler("orders"), handler("audit"));
    let id = test.post("a", &[orders.clone(), audit.clone()]).await;
    let dead = give_up(&test, &orders, Lane::Fresh).await;
    let done = test.claim_one(&audit, Lane::Fresh).await;
    test.settle(settlement(&done, NextState::Processed)).await;
    let commits = test.commits();
    assert!(requeued(&test.ingest(redelivery("a", std::slice::from_ref(&orders))).await, id));
    assert_eq!(test.commits(), commits.map(|before| before + 1));
    test.crash().await;
    let again = test.claim_one(&orders, Lane::Late).await;
    assert_eq!((again.delivery, again.fence), (dead.delivery, fence(1, 1)));
    assert!(test.claim(&audit, Lane::Late, 10).await.is_empty(), "what was done stays done");
    // It is due already, so another redelivery changes nothing.
    assert!(!requeued(&test.ingest(redelivery("a", std::slice::from_ref(&orders))).await, id));
    test.settle(settlement(&again, NextState::Processed)).await;
    assert!(!requeued(&test.ingest(redelivery("a", &[orders])).await, id));
    test.assert_sound().await;
}

#[tokio::test]
async fn a_redelivery_replays_dead_messages_of_the_event() {
    let test = TestStore::new().await;
    let id = test.post("a", &[handler("orders")]).await;
    let run = test.claim_one(&handler("orders"), Lane::Fresh).await;
    let effects = RoutedEffects { messages: vec![message(1, None, 0)], ..RoutedEffects::default() };
    test.settle(with_effects(&run, effects)).await;
    let dead = give_up(&test, &destination("ops"), Lane::Fresh).await;
    assert!(requeued(&test.ingest(redelivery("a", &[handler("orders")])).await, id));
    let again = test.claim_one(&destination("ops"), Lane::Late).await;
    assert_eq!(again.delivery, dead.delivery);
    assert_eq!(again.message.unwrap().id, MessageId::from_bits(1), "under the same id");
    assert!(test.claim(&handler("orders"), Lane::Late, 10).await.is_empty());
}

#[tokio::test]
async fn a_redelivery_routes_an_unrouted_event_again() {
    let mut test = TestStore::new().await;
    let orders = handler("orders");
    let id = test.post("a", &[]).await;
    assert!(!requeued(&test.ingest(redelivery("a", &[])).await, id), "still unrouted");
    assert!(requeued(&test.ingest(redelivery("a", std::slice::from_ref(&orders))).await, id));
    assert!(!requeued(&test.ingest(redelivery("a", &[orders.clone(), handler("b")])).await, id));
    test.crash().await;
    assert!(unrouted_now(&test).await.is_empty());
    let claimed = test.claim_one(&orders, Lane::Late).await;
    assert_eq!((claimed.event.id, claimed.fence), (id, fence(0, 1)));
    assert_eq!(&*claimed.event.payload.body, br#"{"id":"a"}"#);
    test.assert_sound().await;
}

#[tokio::test]
async fn a_redelivery_replays_nothing_unless_the_source_asks() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    let id = test.post("a", std::slice::from_ref(&orders)).await;
    let dead = give_up(&test, &orders, Lane::Fresh).await;
    let unrouted = test.post("b", &[]).await;
    assert!(!requeued(&test.ingest(request("a", std::slice::from_ref(&orders))).await, id));
    assert!(!requeued(&test.ingest(request("b", &[orders])).await, unrouted));
    assert_eq!(test.state_of(dead.delivery).await, DeliveryState::DeadLetter);
}

#[tokio::test]
async fn duplicates_in_one_commit_are_one_event_and_replay_nothing() {
    let test = TestStore::new().await;
    let duplicates = vec![redelivery("a", &[]), redelivery("a", &[]), redelivery("a", &[])];
    let answers = test.store().ingest(duplicates).await;
    let first = stored(answers[0].as_ref().unwrap());
    assert!(!requeued(answers[1].as_ref().unwrap(), first));
    assert!(!requeued(answers[2].as_ref().unwrap(), first));
}

// --- unrouted

#[tokio::test]
async fn unrouted_events_are_counted_and_listed_by_source() {
    let mut test = TestStore::new().await;
    let mut wanted = Vec::new();
    for n in 0..60 {
        let source = ["github", "stripe", "shopify"][n % 3];
        let targets = if n % 5 == 0 { vec![handler("orders")] } else { vec![] };
        let id = stored(&test.ingest(request_from(source, &n.to_string(), &targets)).await);
        if targets.is_empty() {
            wanted.push((source, id));
        }
    }
    wanted.reverse();
    for limit in [1, 7, 100] {
        let all: Vec<_> = wanted.iter().map(|(_, id)| *id).collect();
        assert_eq!(list_unrouted(&test, None, limit).await, all);
        let of: Vec<_> =
            wanted.iter().filter(|(source, _)| *source == "stripe").map(|(_, id)| *id).collect();
        assert_eq!(list_unrouted(&test, Some("stripe"), limit).await, of);
    }
    assert!(list_unrouted(&test, Some("unknown"), 10).await.is_empty());
    for _ in 0..2 {
        let counted = unrouted_now(&test).await;
        assert_eq!(counted, [("github".into(), 16), ("shopify".into(), 16), ("stripe".into(), 16)]);
        test.crash().await;
    }
}

#[tokio::test]
async fn unrouted_events_are_listed_by_time_and_type() {
    let test = TestStore::new().await;
    test.post("early", &[]).await;
    test.clock.forward(Duration::from_secs(10));
    let late = test.post("late", &[]).await;
    let base = EventFilter { statuses: vec![EventStatus::Unrouted], ..EventFilter::default() };
    let since = EventFilter { since: Some(test.clock.now()), ..base.clone() };
    let page = || PageRequest { limit: 10, after: None };
    let found = test.store().events(since, page()).await.unwrap().items;
    assert_eq!(found.iter().map(|e| e.id).collect::<Vec<_>>(), [late]);
    let kinds = vec![EventType::new("other").unwrap()];
    let other = EventFilter { kinds, ..base };
    assert!(test.store().events(other, page()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn an_unrouted_event_is_given_its_deliveries_once() {
    let mut test = TestStore::new().await;
    let (orders, ops) = (handler("orders"), destination("ops"));
    let (one, two) = (test.post("one", &[]).await, test.post("two", &[]).await);
    let routed = test.post("routed", &[handler("audit")]).await;
    let both = [orders.clone(), ops.clone()];
    let list = vec![
        rerouted(one, &both),
        rerouted(two, &[]),
        rerouted(routed, std::slice::from_ref(&orders)),
    ];
    let what = ReplaySelection::Unrouted(list);
    let done = test.store().replay(replay(what.clone(), "r")).await.unwrap();
    assert_eq!((done.deliveries.len(), done.more), (2, false));
    assert_eq!(test.store().replay(replay(what.clone(), "r")).await.unwrap(), done);
    test.crash().await;
    assert_eq!(test.store().replay(replay(what.clone(), "r")).await.unwrap(), done);
    let nothing = test.store().replay(replay(what, "another name")).await.unwrap();
    assert!(nothing.deliveries.is_empty(), "it is unrouted no more");
    assert_eq!(list_unrouted(&test, None, 10).await, [two]);
    assert_eq!(unrouted_now(&test).await, [("github".into(), 1)]);
    for target in &both {
        let claimed = test.claim_one(target, Lane::Late).await;
        assert_eq!((claimed.event.id, claimed.fence), (one, fence(0, 1)));
    }
    assert!(test.claim(&orders, Lane::Fresh, 10).await.is_empty());
    test.assert_sound().await;
}

#[tokio::test]
async fn pruned_unrouted_events_are_not_counted() {
    let test = TestStore::with(|o| o.keys_per_run = Some(1)).await;
    test.post("a", &[]).await;
    test.clock.forward(Duration::from_secs(86_400 * 40));
    test.store().confirm_time().await.unwrap();
    while test.store().prune(&Retention::default()).await.unwrap().more {}
    assert!(unrouted_now(&test).await.is_empty());
    assert!(list_unrouted(&test, None, 10).await.is_empty());
}

// --- replay

#[tokio::test]
async fn a_replayed_event_follows_the_current_routes() {
    let mut test = TestStore::new().await;
    let [done, dead, waiting, gone, new] = ["done", "dead", "waiting", "gone", "new"].map(handler);
    let id = test.post("a", &[done.clone(), dead.clone(), waiting.clone(), gone.clone()]).await;
    for (target, next) in [
        (&done, NextState::Processed),
        (&gone, NextState::Processed),
        (&dead, NextState::DeadLetter),
    ] {
        let claimed = test.claim_one(target, Lane::Fresh).await;
        test.settle(settlement(&claimed, next)).await;
    }
    let now = [done.clone(), dead.clone(), waiting.clone(), new.clone()];
    let what = ReplaySelection::Events(vec![rerouted(id, &now)]);
    let due = test.store().replay(replay(what.clone(), "r")).await.unwrap().deliveries;
    assert_eq!(due.len(), 3, "all but what waits anyway");
    assert_eq!(test.store().replay(replay(what, "r")).await.unwrap().deliveries, due);
    test.crash().await;
    for (target, generation) in [(&done, 1), (&dead, 1), (&new, 0)] {
        let claimed = test.claim_one(target, Lane::Late).await;
        assert_eq!((claimed.event.id, claimed.fence), (id, fence(generation, 1)));
        test.settle(settlement(&claimed, NextState::Processed)).await;
    }
    assert!(test.claim(&gone, Lane::Late, 10).await.is_empty());
    assert_eq!(test.claim_one(&waiting, Lane::Fresh).await.fence, fence(0, 1));
    let shown = test.store().event(id).await.unwrap().unwrap();
    assert_eq!(shown.deliveries.len(), 5, "the added one is the event's own");
    assert_eq!(shown.status, EventStatus::Pending, "one waits still");
    test.assert_sound().await;
    // The next replay moves an added delivery like the others, and never copies it.
    let what = ReplaySelection::Events(vec![rerouted(id, std::slice::from_ref(&new))]);
    test.store().replay(replay(what, "again")).await.unwrap();
    assert_eq!(test.claim_one(&new, Lane::Late).await.fence, fence(1, 1));
    assert_eq!(test.store().event(id).await.unwrap().unwrap().deliveries.len(), 5);
}

#[tokio::test]
async fn an_event_with_added_deliveries_finishes_with_them() {
    let mut test = TestStore::with(|o| o.keys_per_run = Some(1)).await;
    let (orders, added) = (handler("orders"), handler("added"));
    let id = test.post("a", std::slice::from_ref(&orders)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    test.settle(settlement(&claimed, NextState::Processed)).await;
    let what = ReplaySelection::Events(vec![rerouted(id, std::slice::from_ref(&added))]);
    let added_id = test.store().replay(replay(what, "r")).await.unwrap().deliveries[0];
    assert_eq!(status(&test, id).await, EventStatus::Pending);
    test.clock.forward(Duration::from_secs(86_400 * 40));
    test.store().confirm_time().await.unwrap();
    while test.store().prune(&Retention::default()).await.unwrap().more {}
    assert!(test.store().event(id).await.unwrap().is_some(), "unfinished");
    test.crash().await;
    let claimed = test.claim_one(&added, Lane::Late).await;
    test.settle(settlement(&claimed, NextState::Processed)).await;
    drop(claimed);
    while test.store().prune(&Retention::default()).await.unwrap().more {}
    assert!(test.store().event(id).await.unwrap().is_none());
    assert!(test.store().delivery(added_id).await.unwrap().is_none());
    test.assert_sound().await;
}

#[tokio::test]
async fn a_replay_of_unknown_ids_or_an_unknown_table_is_refused() {
    let test = TestStore::new().await;
    let id = test.post("a", &[]).await;
    let nothing = rerouted(EventId::from_bits(7), &[]);
    let refused = test.store().replay(replay(ReplaySelection::Events(vec![nothing]), "r")).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    let mut strange = rerouted(id, &[handler("orders")]);
    strange.routed.table = weir_core::route::TableHash([9; 16]);
    let refused = test.store().replay(replay(ReplaySelection::Unrouted(vec![strange]), "r")).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    // A refused replay does not use its key.
    let what = ReplaySelection::Unrouted(vec![rerouted(id, &[handler("orders")])]);
    assert_eq!(test.store().replay(replay(what, "r")).await.unwrap().deliveries.len(), 1);
}

#[tokio::test]
async fn a_replay_stops_at_its_limit_between_two_events() {
    let test = TestStore::new().await;
    let targets = [handler("a"), handler("b")];
    let mut list = Vec::new();
    for n in 0..4 {
        list.push(rerouted(test.post(&n.to_string(), &[]).await, &targets));
    }
    let limited =
        ReplayRequest { limit: 5, ..replay(ReplaySelection::Unrouted(list.clone()), "r") };
    let done = test.store().replay(limited).await.unwrap();
    assert_eq!((done.deliveries.len(), done.more), (4, true));
    assert_eq!(unrouted_now(&test).await, [("github".into(), 2)]);
    let rest = test.store().replay(replay(ReplaySelection::Unrouted(list), "s")).await.unwrap();
    assert_eq!((rest.deliveries.len(), rest.more), (4, false));
}

#[tokio::test]
async fn a_replayed_delivery_that_killed_the_hub_runs_alone() {
    let mut test = TestStore::new().await;
    let orders = handler("orders");
    test.post("poison", std::slice::from_ref(&orders)).await;
    let lanes = [Lane::Fresh, Lane::Late];
    for lane in lanes {
        let claimed = test.claim_one(&orders, lane).await;
        let _running = test.store().begin_run(&claimed).unwrap();
        test.crash().await;
    }
    let what = ReplaySelection::DeadLetters(None);
    test.store().replay(replay(what, "r")).await.unwrap();
    let claimed = test.claim_one(&orders, Lane::Late).await;
    assert_eq!((claimed.fence, claimed.suspect), (fence(1, 1), true));
    let _running = test.store().begin_run(&claimed).unwrap();
    test.crash().await;
    assert_eq!(
        test.state_of(claimed.delivery).await,
        DeliveryState::Retrying,
        "a generation of its own"
    );
}

// --- the ids that go out

/// Settles a run that sends these texts, under the ids that a handler's run gets for them.
async fn send(test: &TestStore, claimed: &Claim, texts: &[&str]) -> Vec<MessageId> {
    let name = HandlerName::new("orders").unwrap();
    let ops = DestinationName::new("ops").unwrap();
    let mut ids = OutwardIds::new(claimed.event.public_id, &name, claimed.id_round);
    let mut effects = RoutedEffects::default();
    for text in texts {
        let mut sent = message(0, None, 0);
        sent.id = ids.message(&ops, "text/plain", text.as_bytes());
        effects.messages.push(sent);
    }
    test.settle(with_effects(claimed, effects)).await;
    let due = test.claim(&destination("ops"), Lane::Fresh, 10).await;
    let mut sent = Vec::new();
    for due in &due {
        sent.push(due.message.as_ref().unwrap().id);
        test.settle(settlement(due, NextState::Processed)).await;
    }
    sent
}

#[tokio::test]
async fn an_outward_id_is_stable_and_changes_only_with_the_content() {
    let mut test = TestStore::new().await;
    let orders = handler("orders");
    let event = test.post("a", std::slice::from_ref(&orders)).await;
    let first = test.claim_one(&orders, Lane::Fresh).await;
    test.settle(retry_in(&first, 1)).await;
    test.clock.forward(Duration::from_secs(1));
    let retried = test.claim_one(&orders, Lane::Late).await;
    let ids = send(&test, &retried, &["hello", "hello", "bye"]).await;
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 3, "equal messages have different ids");
    let replay = |name: &str, new_ids| ReplayRequest {
        new_ids,
        ..replay(
            ReplaySelection::Events(vec![rerouted(event, std::slice::from_ref(&orders))]),
            name,
        )
    };
    test.store().replay(replay("same", false)).await.unwrap();
    test.crash().await;
    let replayed = test.claim_one(&orders, Lane::Late).await;
    assert_eq!((replayed.fence, replayed.id_round), (fence(1, 1), 0));
    let again = send(&test, &replayed, &["bye", "hello", "changed"]).await;
    assert_eq!(again[..2], [ids[2], ids[0]]);
    assert!(!ids.contains(&again[2]));
    // New ids on request, and the same new ids for every later attempt.
    test.store().replay(replay("new", true)).await.unwrap();
    test.crash().await;
    let renewed = test.claim_one(&orders, Lane::Late).await;
    test.settle(retry_in(&renewed, 1)).await;
    test.clock.forward(Duration::from_secs(1));
    let renewed = test.claim_one(&orders, Lane::Late).await;
    assert_eq!((renewed.fence, renewed.id_round), (fence(2, 2), 1));
    let fresh = send(&test, &renewed, &["hello"]).await;
    assert!(!ids.contains(&fresh[0]));
    test.store().replay(replay("same again", false)).await.unwrap();
    let last = test.claim_one(&orders, Lane::Late).await;
    assert_eq!(send(&test, &last, &["hello"]).await, fresh);
}

#[tokio::test]
async fn a_resent_message_keeps_its_id_unless_new_ids_are_requested() {
    let test = TestStore::new().await;
    test.post("a", &[handler("orders")]).await;
    let run = test.claim_one(&handler("orders"), Lane::Fresh).await;
    let effects = RoutedEffects { messages: vec![message(7, None, 0)], ..RoutedEffects::default() };
    test.settle(with_effects(&run, effects)).await;
    let ops = destination("ops");
    let mut dead = give_up(&test, &ops, Lane::Fresh).await;
    let mut seen = vec![dead.message.as_ref().unwrap().id];
    for (name, new_ids) in [("same", false), ("new", true), ("newer", true)] {
        let what = ReplaySelection::Delivery(dead.delivery);
        test.store().replay(ReplayRequest { new_ids, ..replay(what, name) }).await.unwrap();
        dead = give_up(&test, &ops, Lane::Late).await;
        seen.push(dead.message.as_ref().unwrap().id);
    }
    let own = MessageId::from_bits(7);
    assert_eq!(seen[..3], [own, own, reissued(own, 2)]);
    assert!(!seen[..3].contains(&seen[3]));
}

// --- lines

/// Emits `count` events from a run of `orders`, of which `onward` go to `orders` again.
async fn emitting(test: &TestStore, claimed: &Claim, count: u128, onward: usize) -> Settled {
    let orders = handler("orders");
    let one = |n: u128| {
        let targets = if n < onward as u128 { std::slice::from_ref(&orders) } else { &[] };
        emit(claimed.event.public_id.bits() ^ (n + 1), None, 0, targets)
    };
    let effects =
        RoutedEffects { emits: (0..count).map(one).collect(), ..RoutedEffects::default() };
    test.settle(with_effects(claimed, effects)).await
}

#[tokio::test]
async fn the_descendants_of_a_root_event_are_limited() {
    let mut test = TestStore::new().await;
    let orders = handler("orders");
    let root = test.post("root", std::slice::from_ref(&orders)).await;
    let first = test.claim_one(&orders, Lane::Fresh).await;
    let applied = emitting(&test, &first, 1_000, 10).await;
    assert!(matches!(applied, Settled::Applied { .. }));
    for _ in 0..9 {
        let child = test.claim(&orders, Lane::Fresh, 1).await.remove(0);
        assert_eq!(child.event.lineage.unwrap().root, root);
        let applied = emitting(&test, &child, 1_000, 0).await;
        assert!(matches!(applied, Settled::Applied { .. }));
    }
    test.crash().await;
    let last = test.claim_one(&orders, Lane::Fresh).await;
    let before = test.rows("event");
    assert_eq!(
        emitting(&test, &last, 1, 0).await,
        Settled::Exhausted { descendants: DESCENDANTS_MAX }
    );
    assert_eq!(test.rows("event"), before, "nothing of it is stored");
    // The claim still holds, and a settlement without events is accepted.
    let mut given_up = settlement(&last, NextState::DeadLetter);
    given_up.attempt.outcome = Outcome::DescendantsExhausted;
    assert!(matches!(test.settle(given_up).await, Settled::Applied { .. }));
    // Another root event has its own limit.
    test.post("other", std::slice::from_ref(&orders)).await;
    let other = test.claim_one(&orders, Lane::Fresh).await;
    assert!(matches!(emitting(&test, &other, 1, 0).await, Settled::Applied { .. }));
    // A replay by an operator resets the limit.
    test.store().replay(replay(ReplaySelection::Delivery(last.delivery), "r")).await.unwrap();
    let again = test.claim_one(&orders, Lane::Late).await;
    assert!(matches!(emitting(&test, &again, 1, 0).await, Settled::Applied { .. }));
    test.assert_sound().await;
}

#[tokio::test]
async fn runs_that_settle_together_share_the_limit_of_descendants() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    test.post("root", &[orders.clone(), handler("audit")]).await;
    let pair = [
        test.claim_one(&orders, Lane::Fresh).await,
        test.claim_one(&handler("audit"), Lane::Fresh).await,
    ];
    let settlements = pair
        .iter()
        .map(|claimed| {
            let emits = (0..6_000).map(|n| emit(n + 1, None, 0, &[])).collect();
            with_effects(claimed, RoutedEffects { emits, ..RoutedEffects::default() })
        })
        .collect();
    let answers = test.store().settle(&shared(settlements)).await;
    assert!(matches!(answers[0], Ok(Settled::Applied { .. })));
    assert_eq!(answers[1].as_ref().unwrap(), &Settled::Exhausted { descendants: 6_000 });
}

#[tokio::test]
async fn an_ordered_event_routed_late_goes_to_the_end() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    let ordered = |targets: &[Target]| {
        let mut routed = routed(targets);
        for delivery in &mut routed.deliveries {
            *delivery = NewDelivery { order_key: Some("k".into()), ..delivery.clone() };
        }
        routed
    };
    let unrouted = test.post("early", &[]).await;
    let mut late = request("late", std::slice::from_ref(&orders));
    late.events[0].routed = ordered(std::slice::from_ref(&orders));
    test.ingest(late).await;
    let what = ReplaySelection::Unrouted(vec![ReroutedEvent {
        event: unrouted,
        routed: ordered(std::slice::from_ref(&orders)),
    }]);
    test.store().replay(replay(what, "r")).await.unwrap();
    assert!(test.claim(&orders, Lane::Late, 10).await.is_empty());
    let head = test.claim_one(&orders, Lane::Fresh).await;
    test.settle(settlement(&head, NextState::Processed)).await;
    assert_eq!(test.claim_one(&orders, Lane::Late).await.event.id, unrouted);
}

#[tokio::test]
async fn only_dead_letters_of_a_list_are_replayed() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    let mut listed = Vec::new();
    for (id, next) in [("done", NextState::Processed), ("dead", NextState::DeadLetter)] {
        test.post(id, std::slice::from_ref(&orders)).await;
        let claimed = test.claim_one(&orders, Lane::Fresh).await;
        test.settle(settlement(&claimed, next)).await;
        listed.push(claimed.delivery);
    }
    test.post("waits", std::slice::from_ref(&orders)).await;
    let waits = test.claim_one(&orders, Lane::Fresh).await;
    listed.extend([waits.delivery, DeliveryId::from_bits(7)]);
    drop(waits);
    for _ in 0..2 {
        let what = ReplaySelection::DeadOf(listed.clone());
        let outcome = test.store().replay(replay(what, "once")).await.unwrap();
        assert_eq!(outcome.deliveries, [listed[1]]);
    }
    assert_eq!(test.store().delivery(listed[1]).await.unwrap().unwrap().generation, 1);
    test.assert_sound().await;
}

#[tokio::test]
async fn only_dead_letters_of_a_list_are_discarded() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    let mut listed = Vec::new();
    for (id, next) in [("done", NextState::Processed), ("dead", NextState::DeadLetter)] {
        test.post(id, std::slice::from_ref(&orders)).await;
        let claimed = test.claim_one(&orders, Lane::Fresh).await;
        test.settle(settlement(&claimed, next)).await;
        listed.push(claimed.delivery);
    }
    let dead_letters = async || {
        let rows = test.store().counts(CountsFilter::Deliveries).await.unwrap();
        rows.iter().filter(|row| row.what == "dead_letter").map(|row| row.count).sum::<u64>()
    };
    assert_eq!(dead_letters().await, 1);
    listed.push(DeliveryId::from_bits(7));
    assert_eq!(test.store().discard(listed.clone()).await.unwrap(), [listed[1]]);
    assert!(test.store().discard(listed.clone()).await.unwrap().is_empty());
    let discarded = test.store().delivery(listed[1]).await.unwrap().unwrap();
    assert_eq!(discarded.state, DeliveryState::Cancelled);
    assert_eq!(status(&test, discarded.event).await, EventStatus::Processed);
    assert_eq!(dead_letters().await, 0);
    test.assert_sound().await;
}
