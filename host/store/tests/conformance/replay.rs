//! Doing it again: redeliveries that requeue, unrouted events, replays, the ids that go out, and how far a line goes.

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

fn redelivery(id: &str, targets: &[Target]) -> NewRequest {
    NewRequest { on_redelivery: OnRedelivery::Requeue, ..request(id, targets) }
}

fn replay(what: ReplaySelection, request: &str) -> ReplayRequest {
    ReplayRequest { what, limit: 1_000, request: request.into(), new_ids: false }
}

fn rerouted(event: EventId, targets: &[Target]) -> ReroutedEvent {
    ReroutedEvent { event, routed: routed(targets) }
}

async fn status(bed: &Bed, event: EventId) -> EventStatus {
    bed.store().event(event).await.unwrap().unwrap().status
}

async fn unrouted_now(bed: &Bed) -> Vec<(String, u64)> {
    let rows = bed.store().counts(CountsFilter::Unrouted).await.unwrap();
    rows.into_iter().map(|row| (row.of, row.count)).collect()
}

/// All unrouted events of a source or of all, by pages of `limit`.
async fn list_unrouted(bed: &Bed, source: Option<&str>, limit: usize) -> Vec<EventId> {
    let filter = EventFilter {
        source: source.map(SourceName::stored),
        status: Some(EventStatus::Unrouted),
        ..EventFilter::default()
    };
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = PageRequest { limit, after };
        let page = bed.store().events(filter.clone(), page).await.unwrap();
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

async fn give_up(bed: &Bed, target: &Target, lane: Lane) -> Claim {
    let claimed = bed.claim_one(target, lane).await;
    bed.settle(settlement(&claimed, NextState::DeadLetter)).await;
    claimed
}

// --- redelivery

#[tokio::test]
async fn a_redelivery_puts_a_dead_event_back_to_work_in_the_commit_of_its_answer() {
    let mut bed = Bed::new().await;
    let (orders, audit) = (handler("orders"), handler("audit"));
    let id = bed.post("a", &[orders.clone(), audit.clone()]).await;
    let dead = give_up(&bed, &orders, Lane::Fresh).await;
    let done = bed.claim_one(&audit, Lane::Fresh).await;
    bed.settle(settlement(&done, NextState::Processed)).await;
    let commits = bed.sqlite.commits();
    assert!(requeued(&bed.ingest(redelivery("a", std::slice::from_ref(&orders))).await, id));
    assert_eq!(bed.sqlite.commits(), commits + 1);
    bed.crash().await;
    let again = bed.claim_one(&orders, Lane::Late).await;
    assert_eq!((again.delivery, again.fence), (dead.delivery, fence(1, 1)));
    assert!(bed.claim(&audit, Lane::Late, 10).await.is_empty(), "what was done stays done");
    // It is at work, so another redelivery finds nothing to do.
    assert!(!requeued(&bed.ingest(redelivery("a", std::slice::from_ref(&orders))).await, id));
    bed.settle(settlement(&again, NextState::Processed)).await;
    assert!(!requeued(&bed.ingest(redelivery("a", &[orders])).await, id));
    bed.assert_sound().await;
}

#[tokio::test]
async fn a_redelivery_puts_dead_messages_of_an_event_back_to_work() {
    let bed = Bed::new().await;
    let id = bed.post("a", &[handler("orders")]).await;
    let run = bed.claim_one(&handler("orders"), Lane::Fresh).await;
    let effects = RoutedEffects { messages: vec![message(1, None, 0)], ..RoutedEffects::default() };
    bed.settle(with_effects(&run, effects)).await;
    let dead = give_up(&bed, &destination("ops"), Lane::Fresh).await;
    assert!(requeued(&bed.ingest(redelivery("a", &[handler("orders")])).await, id));
    let again = bed.claim_one(&destination("ops"), Lane::Late).await;
    assert_eq!(again.delivery, dead.delivery);
    assert_eq!(again.message.unwrap().id, MessageId::from_bits(1), "under the same id");
    assert!(bed.claim(&handler("orders"), Lane::Late, 10).await.is_empty());
}

#[tokio::test]
async fn a_redelivery_gives_an_unrouted_event_to_whoever_gets_it_now() {
    let mut bed = Bed::new().await;
    let orders = handler("orders");
    let id = bed.post("a", &[]).await;
    assert!(!requeued(&bed.ingest(redelivery("a", &[])).await, id), "still nobody");
    assert!(requeued(&bed.ingest(redelivery("a", std::slice::from_ref(&orders))).await, id));
    assert!(!requeued(&bed.ingest(redelivery("a", &[orders.clone(), handler("b")])).await, id));
    bed.crash().await;
    assert!(unrouted_now(&bed).await.is_empty());
    let claimed = bed.claim_one(&orders, Lane::Late).await;
    assert_eq!((claimed.event.id, claimed.fence), (id, fence(0, 1)));
    assert_eq!(&*claimed.event.payload.body, br#"{"id":"a"}"#);
    bed.assert_sound().await;
}

#[tokio::test]
async fn without_the_sources_word_a_redelivery_is_only_a_duplicate() {
    let bed = Bed::new().await;
    let orders = handler("orders");
    let id = bed.post("a", std::slice::from_ref(&orders)).await;
    let dead = give_up(&bed, &orders, Lane::Fresh).await;
    let unrouted = bed.post("b", &[]).await;
    assert!(!requeued(&bed.ingest(request("a", std::slice::from_ref(&orders))).await, id));
    assert!(!requeued(&bed.ingest(request("b", &[orders])).await, unrouted));
    assert_eq!(bed.state_of(dead.delivery).await, DeliveryState::DeadLetter);
}

#[tokio::test]
async fn twins_in_one_commit_are_one_event_and_requeue_nothing() {
    let bed = Bed::new().await;
    let twins = vec![redelivery("a", &[]), redelivery("a", &[]), redelivery("a", &[])];
    let answers = bed.store().ingest(twins).await;
    let first = stored(answers[0].as_ref().unwrap());
    assert!(!requeued(answers[1].as_ref().unwrap(), first));
    assert!(!requeued(answers[2].as_ref().unwrap(), first));
}

// --- unrouted

#[tokio::test]
async fn unrouted_events_are_counted_and_listed_by_source_page_by_page() {
    let mut bed = Bed::new().await;
    let mut wanted = Vec::new();
    for n in 0..60 {
        let source = ["github", "stripe", "shopify"][n % 3];
        let targets = if n % 5 == 0 { vec![handler("orders")] } else { vec![] };
        let id = stored(&bed.ingest(request_from(source, &n.to_string(), &targets)).await);
        if targets.is_empty() {
            wanted.push((source, id));
        }
    }
    wanted.reverse();
    for limit in [1, 7, 100] {
        let all: Vec<_> = wanted.iter().map(|(_, id)| *id).collect();
        assert_eq!(list_unrouted(&bed, None, limit).await, all);
        let of: Vec<_> =
            wanted.iter().filter(|(source, _)| *source == "stripe").map(|(_, id)| *id).collect();
        assert_eq!(list_unrouted(&bed, Some("stripe"), limit).await, of);
    }
    assert!(list_unrouted(&bed, Some("nobody"), 10).await.is_empty());
    for _ in 0..2 {
        let counted = unrouted_now(&bed).await;
        assert_eq!(counted, [("github".into(), 16), ("shopify".into(), 16), ("stripe".into(), 16)]);
        bed.crash().await;
    }
}

#[tokio::test]
async fn a_list_of_unrouted_events_knows_time_and_type() {
    let bed = Bed::new().await;
    bed.post("early", &[]).await;
    bed.clock.forward(Duration::from_secs(10));
    let late = bed.post("late", &[]).await;
    let base = EventFilter { status: Some(EventStatus::Unrouted), ..EventFilter::default() };
    let since = EventFilter { since: Some(bed.clock.now()), ..base.clone() };
    let page = || PageRequest { limit: 10, after: None };
    let found = bed.store().events(since, page()).await.unwrap().items;
    assert_eq!(found.iter().map(|e| e.id).collect::<Vec<_>>(), [late]);
    let kind = Some(EventType::new("other").unwrap());
    let other = EventFilter { kind, ..base };
    assert!(bed.store().events(other, page()).await.unwrap().items.is_empty());
}

/// Looked at from outside: what SQLite says it would read.
#[tokio::test]
async fn the_file_finds_unrouted_events_by_an_index_that_routed_ones_are_not_in() {
    let bed = Bed::new().await;
    let conn = rusqlite::Connection::open(bed.path()).unwrap();
    let plan: String = conn
        .query_row(
            "EXPLAIN QUERY PLAN SELECT n FROM event WHERE deliveries = 0 AND source = 1 AND n < 9 ORDER BY n DESC",
            [],
            |row| row.get(3),
        )
        .unwrap();
    assert!(plan.contains("event_unrouted (source=? AND rowid<?)"), "{plan}");
}

#[tokio::test]
async fn an_unrouted_event_is_given_its_deliveries_once() {
    let mut bed = Bed::new().await;
    let (orders, ops) = (handler("orders"), destination("ops"));
    let (one, two) = (bed.post("one", &[]).await, bed.post("two", &[]).await);
    let routed = bed.post("routed", &[handler("audit")]).await;
    let both = [orders.clone(), ops.clone()];
    let list = vec![
        rerouted(one, &both),
        rerouted(two, &[]),
        rerouted(routed, std::slice::from_ref(&orders)),
    ];
    let what = ReplaySelection::Unrouted(list);
    let done = bed.store().replay(replay(what.clone(), "r")).await.unwrap();
    assert_eq!((done.deliveries.len(), done.more), (2, false));
    assert_eq!(bed.store().replay(replay(what.clone(), "r")).await.unwrap(), done);
    bed.crash().await;
    assert_eq!(bed.store().replay(replay(what.clone(), "r")).await.unwrap(), done);
    let nothing = bed.store().replay(replay(what, "another name")).await.unwrap();
    assert!(nothing.deliveries.is_empty(), "it is unrouted no more");
    assert_eq!(list_unrouted(&bed, None, 10).await, [two]);
    assert_eq!(unrouted_now(&bed).await, [("github".into(), 1)]);
    for target in &both {
        let claimed = bed.claim_one(target, Lane::Late).await;
        assert_eq!((claimed.event.id, claimed.fence), (one, fence(0, 1)));
    }
    assert!(bed.claim(&orders, Lane::Fresh, 10).await.is_empty());
    bed.assert_sound().await;
}

#[tokio::test]
async fn unrouted_events_that_retention_removes_are_counted_no_more() {
    let bed = Bed::with(|o| o.keys_per_run = 1).await;
    bed.post("a", &[]).await;
    bed.clock.forward(Duration::from_secs(86_400 * 40));
    bed.store().confirm_time().await.unwrap();
    while bed.store().prune(&Retention::default()).await.unwrap().more {}
    assert!(unrouted_now(&bed).await.is_empty());
    assert!(list_unrouted(&bed, None, 10).await.is_empty());
}

// --- replay

#[tokio::test]
async fn a_replayed_event_goes_to_whom_the_routes_say_now() {
    let mut bed = Bed::new().await;
    let [done, dead, waiting, gone, new] = ["done", "dead", "waiting", "gone", "new"].map(handler);
    let id = bed.post("a", &[done.clone(), dead.clone(), waiting.clone(), gone.clone()]).await;
    for (target, next) in [
        (&done, NextState::Processed),
        (&gone, NextState::Processed),
        (&dead, NextState::DeadLetter),
    ] {
        let claimed = bed.claim_one(target, Lane::Fresh).await;
        bed.settle(settlement(&claimed, next)).await;
    }
    let now = [done.clone(), dead.clone(), waiting.clone(), new.clone()];
    let what = ReplaySelection::Events(vec![rerouted(id, &now)]);
    let due = bed.store().replay(replay(what.clone(), "r")).await.unwrap().deliveries;
    assert_eq!(due.len(), 3, "all but what waits anyway");
    assert_eq!(bed.store().replay(replay(what, "r")).await.unwrap().deliveries, due);
    bed.crash().await;
    for (target, generation) in [(&done, 1), (&dead, 1), (&new, 0)] {
        let claimed = bed.claim_one(target, Lane::Late).await;
        assert_eq!((claimed.event.id, claimed.fence), (id, fence(generation, 1)));
        bed.settle(settlement(&claimed, NextState::Processed)).await;
    }
    assert!(bed.claim(&gone, Lane::Late, 10).await.is_empty());
    assert_eq!(bed.claim_one(&waiting, Lane::Fresh).await.fence, fence(0, 1));
    let shown = bed.store().event(id).await.unwrap().unwrap();
    assert_eq!(shown.deliveries.len(), 5, "the added one is the event's own");
    assert_eq!(shown.status, EventStatus::Pending, "one waits still");
    bed.assert_sound().await;
    // What a replay added is moved by the next one like the rest, and never copied.
    let what = ReplaySelection::Events(vec![rerouted(id, std::slice::from_ref(&new))]);
    bed.store().replay(replay(what, "again")).await.unwrap();
    assert_eq!(bed.claim_one(&new, Lane::Late).await.fence, fence(1, 1));
    assert_eq!(bed.store().event(id).await.unwrap().unwrap().deliveries.len(), 5);
}

#[tokio::test]
async fn an_event_with_added_deliveries_is_finished_when_they_are_and_removed_whole() {
    let mut bed = Bed::with(|o| o.keys_per_run = 1).await;
    let (orders, added) = (handler("orders"), handler("added"));
    let id = bed.post("a", std::slice::from_ref(&orders)).await;
    let claimed = bed.claim_one(&orders, Lane::Fresh).await;
    bed.settle(settlement(&claimed, NextState::Processed)).await;
    let what = ReplaySelection::Events(vec![rerouted(id, std::slice::from_ref(&added))]);
    let added_id = bed.store().replay(replay(what, "r")).await.unwrap().deliveries[0];
    assert_eq!(status(&bed, id).await, EventStatus::Pending);
    bed.clock.forward(Duration::from_secs(86_400 * 40));
    bed.store().confirm_time().await.unwrap();
    while bed.store().prune(&Retention::default()).await.unwrap().more {}
    assert!(bed.store().event(id).await.unwrap().is_some(), "unfinished");
    bed.crash().await;
    let claimed = bed.claim_one(&added, Lane::Late).await;
    bed.settle(settlement(&claimed, NextState::Processed)).await;
    drop(claimed);
    while bed.store().prune(&Retention::default()).await.unwrap().more {}
    assert!(bed.store().event(id).await.unwrap().is_none());
    assert!(bed.store().delivery(added_id).await.unwrap().is_none());
    bed.assert_sound().await;
}

#[tokio::test]
async fn a_replay_of_what_is_not_there_or_by_a_strange_table_is_refused() {
    let bed = Bed::new().await;
    let id = bed.post("a", &[]).await;
    let nothing = rerouted(EventId::from_bits(7), &[]);
    let refused = bed.store().replay(replay(ReplaySelection::Events(vec![nothing]), "r")).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    let mut strange = rerouted(id, &[handler("orders")]);
    strange.routed.table = weir_core::route::TableHash([9; 16]);
    let refused = bed.store().replay(replay(ReplaySelection::Unrouted(vec![strange]), "r")).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    // A refused one leaves its name unused.
    let what = ReplaySelection::Unrouted(vec![rerouted(id, &[handler("orders")])]);
    assert_eq!(bed.store().replay(replay(what, "r")).await.unwrap().deliveries.len(), 1);
}

#[tokio::test]
async fn a_replay_stops_at_its_limit_between_two_events() {
    let bed = Bed::new().await;
    let targets = [handler("a"), handler("b")];
    let mut list = Vec::new();
    for n in 0..4 {
        list.push(rerouted(bed.post(&n.to_string(), &[]).await, &targets));
    }
    let limited =
        ReplayRequest { limit: 5, ..replay(ReplaySelection::Unrouted(list.clone()), "r") };
    let done = bed.store().replay(limited).await.unwrap();
    assert_eq!((done.deliveries.len(), done.more), (4, true));
    assert_eq!(unrouted_now(&bed).await, [("github".into(), 2)]);
    let rest = bed.store().replay(replay(ReplaySelection::Unrouted(list), "s")).await.unwrap();
    assert_eq!((rest.deliveries.len(), rest.more), (4, false));
}

#[tokio::test]
async fn what_killed_the_host_runs_alone_when_it_is_replayed() {
    let mut bed = Bed::new().await;
    let orders = handler("orders");
    bed.post("poison", std::slice::from_ref(&orders)).await;
    let lanes = [Lane::Fresh, Lane::Late];
    for lane in lanes {
        let claimed = bed.claim_one(&orders, lane).await;
        let _running = bed.store().begin(&claimed).unwrap();
        bed.crash().await;
    }
    let what = ReplaySelection::DeadLetters(None);
    bed.store().replay(replay(what, "r")).await.unwrap();
    let claimed = bed.claim_one(&orders, Lane::Late).await;
    assert_eq!((claimed.fence, claimed.suspect), (fence(1, 1), true));
    let _running = bed.store().begin(&claimed).unwrap();
    bed.crash().await;
    assert_eq!(
        bed.state_of(claimed.delivery).await,
        DeliveryState::Retrying,
        "a generation of its own"
    );
}

// --- the ids that go out

/// Settles a run that sends these texts, under the ids that a handler's run gets for them.
async fn send(bed: &Bed, claimed: &Claim, texts: &[&str]) -> Vec<MessageId> {
    let name = HandlerName::new("orders").unwrap();
    let ops = DestinationName::new("ops").unwrap();
    let mut ids = OutwardIds::new(claimed.event.public_id, &name, claimed.id_round);
    let mut effects = RoutedEffects::default();
    for text in texts {
        let mut sent = message(0, None, 0);
        sent.id = ids.message(&ops, "text/plain", text.as_bytes());
        effects.messages.push(sent);
    }
    bed.settle(with_effects(claimed, effects)).await;
    let due = bed.claim(&destination("ops"), Lane::Fresh, 10).await;
    let mut sent = Vec::new();
    for due in &due {
        sent.push(due.message.as_ref().unwrap().id);
        bed.settle(settlement(due, NextState::Processed)).await;
    }
    sent
}

#[tokio::test]
async fn the_same_message_goes_out_under_the_same_id_after_retry_crash_and_replay_and_a_changed_one_does_not()
 {
    let mut bed = Bed::new().await;
    let orders = handler("orders");
    let event = bed.post("a", std::slice::from_ref(&orders)).await;
    let first = bed.claim_one(&orders, Lane::Fresh).await;
    bed.settle(retry_in(&first, 1)).await;
    bed.clock.forward(Duration::from_secs(1));
    let retried = bed.claim_one(&orders, Lane::Late).await;
    let ids = send(&bed, &retried, &["hello", "hello", "bye"]).await;
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 3, "twins are told apart");
    let replay = |name: &str, new_ids| ReplayRequest {
        new_ids,
        ..replay(
            ReplaySelection::Events(vec![rerouted(event, std::slice::from_ref(&orders))]),
            name,
        )
    };
    bed.store().replay(replay("same", false)).await.unwrap();
    bed.crash().await;
    let replayed = bed.claim_one(&orders, Lane::Late).await;
    assert_eq!((replayed.fence, replayed.id_round), (fence(1, 1), 0));
    let again = send(&bed, &replayed, &["bye", "hello", "changed"]).await;
    assert_eq!(again[..2], [ids[2], ids[0]]);
    assert!(!ids.contains(&again[2]));
    // New ids when they are asked for, and the same new ones for every attempt after that.
    bed.store().replay(replay("new", true)).await.unwrap();
    bed.crash().await;
    let renewed = bed.claim_one(&orders, Lane::Late).await;
    bed.settle(retry_in(&renewed, 1)).await;
    bed.clock.forward(Duration::from_secs(1));
    let renewed = bed.claim_one(&orders, Lane::Late).await;
    assert_eq!((renewed.fence, renewed.id_round), (fence(2, 2), 1));
    let fresh = send(&bed, &renewed, &["hello"]).await;
    assert!(!ids.contains(&fresh[0]));
    bed.store().replay(replay("same again", false)).await.unwrap();
    let last = bed.claim_one(&orders, Lane::Late).await;
    assert_eq!(send(&bed, &last, &["hello"]).await, fresh);
}

#[tokio::test]
async fn a_message_that_is_sent_again_keeps_its_id_unless_a_new_one_is_asked_for() {
    let bed = Bed::new().await;
    bed.post("a", &[handler("orders")]).await;
    let run = bed.claim_one(&handler("orders"), Lane::Fresh).await;
    let effects = RoutedEffects { messages: vec![message(7, None, 0)], ..RoutedEffects::default() };
    bed.settle(with_effects(&run, effects)).await;
    let ops = destination("ops");
    let mut dead = give_up(&bed, &ops, Lane::Fresh).await;
    let mut seen = vec![dead.message.as_ref().unwrap().id];
    for (name, new_ids) in [("same", false), ("new", true), ("newer", true)] {
        let what = ReplaySelection::Delivery(dead.delivery);
        bed.store().replay(ReplayRequest { new_ids, ..replay(what, name) }).await.unwrap();
        dead = give_up(&bed, &ops, Lane::Late).await;
        seen.push(dead.message.as_ref().unwrap().id);
    }
    let own = MessageId::from_bits(7);
    assert_eq!(seen[..3], [own, own, reissued(own, 2)]);
    assert!(!seen[..3].contains(&seen[3]));
}

// --- lines

/// Emits so many events from a run of `orders`; those that go on go to `orders` again.
async fn emitting(bed: &Bed, claimed: &Claim, count: u128, onward: usize) -> Settled {
    let orders = handler("orders");
    let one = |n: u128| {
        let targets = if n < onward as u128 { std::slice::from_ref(&orders) } else { &[] };
        emit(claimed.event.public_id.bits() ^ (n + 1), None, 0, targets)
    };
    let effects =
        RoutedEffects { emits: (0..count).map(one).collect(), ..RoutedEffects::default() };
    bed.settle(with_effects(claimed, effects)).await
}

#[tokio::test]
async fn a_line_of_events_leads_to_so_many_and_no_more_whoever_emits_them() {
    let mut bed = Bed::new().await;
    let orders = handler("orders");
    let root = bed.post("root", std::slice::from_ref(&orders)).await;
    let first = bed.claim_one(&orders, Lane::Fresh).await;
    let applied = emitting(&bed, &first, 1_000, 10).await;
    assert!(matches!(applied, Settled::Applied { .. }));
    for _ in 0..9 {
        let child = bed.claim(&orders, Lane::Fresh, 1).await.remove(0);
        assert_eq!(child.event.lineage.unwrap().root, root);
        let applied = emitting(&bed, &child, 1_000, 0).await;
        assert!(matches!(applied, Settled::Applied { .. }));
    }
    bed.crash().await;
    let last = bed.claim_one(&orders, Lane::Fresh).await;
    let stored = |bed: &Bed| -> i64 {
        let conn = rusqlite::Connection::open(bed.path()).unwrap();
        conn.query_row("SELECT count(*) FROM event", [], |row| row.get(0)).unwrap()
    };
    let before = stored(&bed);
    assert_eq!(
        emitting(&bed, &last, 1, 0).await,
        Settled::Exhausted { descendants: DESCENDANTS_MAX }
    );
    assert_eq!(stored(&bed), before, "nothing of it is stored");
    // The claim still holds, and what emits nothing may end.
    let mut given_up = settlement(&last, NextState::DeadLetter);
    given_up.attempt.outcome = Outcome::DescendantsExhausted;
    assert!(matches!(bed.settle(given_up).await, Settled::Applied { .. }));
    // Another line is not concerned.
    bed.post("other", std::slice::from_ref(&orders)).await;
    let other = bed.claim_one(&orders, Lane::Fresh).await;
    assert!(matches!(emitting(&bed, &other, 1, 0).await, Settled::Applied { .. }));
    // A person who sets it going again gives it as many as a new one.
    bed.store().replay(replay(ReplaySelection::Delivery(last.delivery), "r")).await.unwrap();
    let again = bed.claim_one(&orders, Lane::Late).await;
    assert!(matches!(emitting(&bed, &again, 1, 0).await, Settled::Applied { .. }));
    bed.assert_sound().await;
}

#[tokio::test]
async fn runs_that_settle_together_share_what_is_left_of_their_line() {
    let bed = Bed::new().await;
    let orders = handler("orders");
    bed.post("root", &[orders.clone(), handler("audit")]).await;
    let pair = [
        bed.claim_one(&orders, Lane::Fresh).await,
        bed.claim_one(&handler("audit"), Lane::Fresh).await,
    ];
    let settlements = pair
        .iter()
        .map(|claimed| {
            let emits = (0..6_000).map(|n| emit(n + 1, None, 0, &[])).collect();
            with_effects(claimed, RoutedEffects { emits, ..RoutedEffects::default() })
        })
        .collect();
    let answers = bed.store().settle(settlements).await;
    assert!(matches!(answers[0], Ok(Settled::Applied { .. })));
    assert_eq!(answers[1].as_ref().unwrap(), &Settled::Exhausted { descendants: 6_000 });
}

#[tokio::test]
async fn an_ordered_event_that_is_routed_late_joins_at_the_tail() {
    let bed = Bed::new().await;
    let orders = handler("orders");
    let ordered = |targets: &[Target]| {
        let mut routed = routed(targets);
        for delivery in &mut routed.deliveries {
            *delivery = NewDelivery { order_key: Some("k".into()), ..delivery.clone() };
        }
        routed
    };
    let unrouted = bed.post("early", &[]).await;
    let mut late = request("late", std::slice::from_ref(&orders));
    late.events[0].routed = ordered(std::slice::from_ref(&orders));
    bed.ingest(late).await;
    let what = ReplaySelection::Unrouted(vec![ReroutedEvent {
        event: unrouted,
        routed: ordered(std::slice::from_ref(&orders)),
    }]);
    bed.store().replay(replay(what, "r")).await.unwrap();
    assert!(bed.claim(&orders, Lane::Late, 10).await.is_empty());
    let head = bed.claim_one(&orders, Lane::Fresh).await;
    bed.settle(settlement(&head, NextState::Processed)).await;
    assert_eq!(bed.claim_one(&orders, Lane::Late).await.event.id, unrouted);
}

#[tokio::test]
async fn of_a_list_of_deliveries_only_those_that_are_dead_are_due_again() {
    let bed = Bed::new().await;
    let orders = handler("orders");
    let mut listed = Vec::new();
    for (id, next) in [("done", NextState::Processed), ("dead", NextState::DeadLetter)] {
        bed.post(id, std::slice::from_ref(&orders)).await;
        let claimed = bed.claim_one(&orders, Lane::Fresh).await;
        bed.settle(settlement(&claimed, next)).await;
        listed.push(claimed.delivery);
    }
    bed.post("waits", std::slice::from_ref(&orders)).await;
    let waits = bed.claim_one(&orders, Lane::Fresh).await;
    listed.extend([waits.delivery, DeliveryId::from_bits(7)]);
    drop(waits);
    for _ in 0..2 {
        let what = ReplaySelection::DeadOf(listed.clone());
        let redriven = bed.store().replay(replay(what, "once")).await.unwrap();
        assert_eq!(redriven.deliveries, [listed[1]]);
    }
    assert_eq!(bed.store().delivery(listed[1]).await.unwrap().unwrap().generation, 1);
    bed.assert_sound().await;
}
