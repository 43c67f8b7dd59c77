//! Replays, retention, lists, totals and the registry.

use std::collections::HashSet;
use std::time::Duration;

use weir_core::delivery::{DeliveryState, EventStatus, NextState};
use weir_core::effect::StateWrite;
use weir_core::event::EventType;
use weir_core::id::{AttemptId, DeliveryId, MessageId, RequestId};
use weir_core::name::SourceName;
use weir_core::time::{Clock, Timestamp};
use weir_store::query::{
    CountsFilter, DeliveryFilter, EventFilter, IdLookup, IdMatches, PageRequest,
};
use weir_store::registry::{CasOutcome, EntryKind};
use weir_store::upkeep::{Pruned, ReplayRequest, ReplaySelection, Retention};
use weir_store::{Lane, RoutedEffects, Settled};

use crate::common::*;
use crate::engine::TestStore;

const DAY: Duration = Duration::from_secs(86_400);

async fn dead_letter(test: &TestStore, id: &str) -> DeliveryId {
    let orders = handler("orders");
    test.post(id, std::slice::from_ref(&orders)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    test.settle(settlement(&claimed, NextState::DeadLetter)).await;
    claimed.delivery
}

fn replay(what: ReplaySelection, request: &str) -> ReplayRequest {
    ReplayRequest { what, limit: 100, request: request.into(), new_ids: false }
}

async fn prune_all(test: &TestStore, retention: &Retention) -> Pruned {
    let mut all = Pruned::default();
    loop {
        let pruned = test.store().prune(retention).await.unwrap();
        all.events += pruned.events;
        all.keys += pruned.keys;
        if !pruned.more {
            return all;
        }
    }
}

async fn forward(test: &TestStore, days: u32) {
    test.clock.forward(DAY * days);
    test.store().confirm_time().await.unwrap();
}

#[tokio::test]
async fn a_replayed_delivery_is_due_and_fences_older_claims() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    test.post("a", std::slice::from_ref(&orders)).await;
    let old = test.claim_one(&orders, Lane::Fresh).await;
    test.settle(settlement(&old, NextState::DeadLetter)).await;
    let done =
        test.store().replay(replay(ReplaySelection::Delivery(old.delivery), "r1")).await.unwrap();
    assert_eq!((done.deliveries, done.more), (vec![old.delivery], false));
    assert_eq!(test.settle(settlement(&old, NextState::Processed)).await, Settled::Superseded);
    let new = test.claim_one(&orders, Lane::Late).await;
    assert_eq!((new.delivery, new.fence), (old.delivery, fence(1, 1)));
    test.settle(settlement(&new, NextState::Processed)).await;
    let shown = test.store().delivery(old.delivery).await.unwrap().unwrap();
    let tries: Vec<_> = shown.history.iter().map(|a| (a.generation, a.number)).collect();
    assert_eq!(tries, [(0, 1), (1, 1)]);
    test.assert_sound().await;
}

#[tokio::test]
async fn two_replays_with_one_key_are_one() {
    let mut test = TestStore::new().await;
    let dead = dead_letter(&test, "a").await;
    let first = test.store().replay(replay(ReplaySelection::DeadLetters(None), "r")).await.unwrap();
    assert_eq!(first.deliveries, [dead]);
    let other = dead_letter(&test, "b").await;
    test.reopen().await;
    let again = test.store().replay(replay(ReplaySelection::DeadLetters(None), "r")).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(test.state_of(other).await, DeliveryState::DeadLetter);
    assert_eq!(test.claim_one(&handler("orders"), Lane::Late).await.fence, fence(1, 1));
}

#[tokio::test]
async fn a_replay_keeps_its_limit_and_skips_unfinished_deliveries() {
    let test = TestStore::new().await;
    for id in ["a", "b", "c"] {
        dead_letter(&test, id).await;
    }
    let orders = handler("orders");
    test.post("waiting", std::slice::from_ref(&orders)).await;
    let two = ReplayRequest {
        limit: 2,
        ..replay(ReplaySelection::DeadLetters(Some(orders.clone())), "r")
    };
    let done = test.store().replay(two).await.unwrap();
    assert_eq!((done.deliveries.len(), done.more), (2, true));
    let waiting = test.claim_one(&orders, Lane::Fresh).await.delivery;
    let none = test.store().replay(replay(ReplaySelection::Delivery(waiting), "w")).await.unwrap();
    assert!(none.deliveries.is_empty());
    let others = replay(ReplaySelection::DeadLetters(Some(destination("ops"))), "o");
    assert!(test.store().replay(others).await.unwrap().deliveries.is_empty());
}

#[tokio::test]
async fn a_replay_of_an_event_includes_its_dead_messages() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    let id = test.post("a", std::slice::from_ref(&orders)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    let effects = RoutedEffects { messages: vec![message(1, None, 0)], ..RoutedEffects::default() };
    test.settle(with_effects(&claimed, effects)).await;
    let sent = test.claim_one(&destination("ops"), Lane::Fresh).await;
    test.settle(settlement(&sent, NextState::DeadLetter)).await;
    let done = test.store().replay(replay(ReplaySelection::Event(id), "r")).await.unwrap();
    assert_eq!(done.deliveries, [sent.delivery]);
}

#[tokio::test]
async fn pruning_removes_only_old_finished_data() {
    let mut test = TestStore::with(|o| o.keys_per_run = Some(50)).await;
    let orders = handler("orders");
    let retried = {
        test.post("retried", std::slice::from_ref(&orders)).await;
        let claimed = test.claim_one(&orders, Lane::Fresh).await;
        test.settle(retry_in(&claimed, 1)).await;
        claimed.event.id
    };
    let messaging = test.post("messaging", std::slice::from_ref(&orders)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    let effects = RoutedEffects { messages: vec![message(1, None, 0)], ..RoutedEffects::default() };
    test.settle(with_effects(&claimed, effects)).await;
    let dead = dead_letter(&test, "dead").await;
    for n in 0..700 {
        test.post(&format!("done {n}"), &[]).await;
    }
    let pending = test.post("pending", std::slice::from_ref(&orders)).await;
    forward(&test, 40).await;
    let young = test.post("young", &[]).await;
    let pruned = prune_all(&test, &Retention::default()).await;
    assert_eq!(pruned.events, 701, "the 700 and the dead one");
    assert!(pruned.keys > 0);
    for id in [retried, messaging, pending, young] {
        let found = test.store().event(id).await.unwrap().expect("an unfinished event was removed");
        assert!(found.payload.is_some() && found.request.is_some());
        assert!(test.store().request(found.request.unwrap()).await.unwrap().is_some());
    }
    assert!(test.store().delivery(dead).await.unwrap().is_none());
    test.assert_sound().await;
    test.reopen().await;
    test.assert_sound().await;
    assert_eq!(test.claim_one(&orders, Lane::Late).await.event.id, retried);
    assert_eq!(test.claim_one(&orders, Lane::Fresh).await.event.id, pending);
    assert_eq!(test.claim_one(&destination("ops"), Lane::Fresh).await.event.id, messaging);
    // Past its life, the same id is a new event.
    stored(&test.ingest(request("done 1", &[])).await);
    let left = test.rows("payload");
    assert!(
        left.is_none_or(|rows| rows == 6),
        "one payload a request, and the message's: {left:?}"
    );
}

#[tokio::test]
async fn a_duplicate_of_a_pruned_event_is_recognised_while_its_key_lives() {
    for keys_per_run in [10, 100_000] {
        let mut test = TestStore::with(|o| o.keys_per_run = Some(keys_per_run)).await;
        let mut firsts = Vec::new();
        for n in 0..100 {
            firsts.push(test.post(&n.to_string(), &[]).await);
        }
        forward(&test, 33).await;
        prune_all(&test, &Retention::default()).await;
        test.reopen().await;
        for (n, first) in firsts.iter().enumerate() {
            assert_eq!(duplicate_of(&test.ingest(request(&n.to_string(), &[])).await), *first);
        }
        test.assert_sound().await;
    }
}

#[tokio::test]
async fn pruning_removes_expired_state_and_its_size() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    test.post("a", std::slice::from_ref(&orders)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    let expires_at = Some(Timestamp::from_millis(START + 1_000));
    let expiring = StateWrite { key: "k".into(), value: Some("v".into()), expires_at };
    let effects =
        RoutedEffects { state: vec![expiring, write("s", "v")], ..RoutedEffects::default() };
    test.settle(with_effects(&claimed, effects)).await;
    forward(&test, 1).await;
    prune_all(&test, &Retention::default()).await;
    let state = test.store().state(&weir_core::name::HandlerName::new("orders").unwrap());
    assert_eq!(state.get("k").await.unwrap(), None);
    assert!(state.get("s").await.unwrap().is_some());
    assert_eq!(state.size().await.unwrap(), 2);
}

#[tokio::test]
async fn paging_shows_each_event_once_while_others_arrive() {
    let test = TestStore::new().await;
    let mut wanted = HashSet::new();
    for n in 0..25 {
        wanted.insert(test.post(&n.to_string(), &[]).await);
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = PageRequest { limit: 10, after };
        let page = test.store().events(EventFilter::default(), page).await.unwrap();
        assert!(page.items.len() <= 10);
        seen.extend(page.items.iter().map(|e| e.id));
        after = page.next;
        if after.is_none() {
            break;
        }
        test.post(&format!("late {}", seen.len()), &[]).await;
    }
    assert!(seen.windows(2).all(|w| w[0] != w[1]));
    assert_eq!(seen.len(), 25);
    assert_eq!(seen.into_iter().collect::<HashSet<_>>(), wanted);
    let strange = PageRequest { limit: 1, after: Some("'; DROP TABLE event".into()) };
    assert!(test.store().events(EventFilter::default(), strange).await.is_err());
}

#[tokio::test]
async fn events_are_listed_by_source_type_status_and_time() {
    let test = TestStore::new().await;
    dead_letter(&test, "dead").await;
    test.clock.forward(Duration::from_secs(10));
    let middle = test.clock.now();
    let mut other = request_from("stripe", "a", &[]);
    other.events[0].kind = EventType::new("invoice.paid").unwrap();
    test.ingest(other).await;
    let list = |filter: EventFilter| {
        let page = PageRequest { limit: 10, after: None };
        let store = test.shared();
        async move {
            let page = store.events(filter, page).await.unwrap();
            page.items.iter().map(|e| e.source.to_string()).collect::<Vec<_>>()
        }
    };
    let any = EventFilter::default;
    let stripe = vec![SourceName::stored("stripe")];
    assert_eq!(list(any()).await, ["stripe", "github"]);
    assert_eq!(list(EventFilter { sources: stripe, ..any() }).await, ["stripe"]);
    let kinds = vec![EventType::new("push").unwrap()];
    assert_eq!(list(EventFilter { kinds, ..any() }).await, ["github"]);
    for (pattern, found) in
        [("pu*", "github"), ("*.paid", "stripe"), ("inv*p*d", "stripe"), ("*push", "github")]
    {
        let kinds = vec![EventType::new(pattern).unwrap()];
        assert_eq!(list(EventFilter { kinds, ..any() }).await, [found], "{pattern}");
    }
    let kinds = vec![EventType::new("pus*hh").unwrap()];
    assert!(list(EventFilter { kinds, ..any() }).await.is_empty());
    let statuses = vec![EventStatus::DeadLetter];
    assert_eq!(list(EventFilter { statuses, ..any() }).await, ["github"]);
    assert_eq!(list(EventFilter { since: Some(middle), ..any() }).await, ["stripe"]);
    assert_eq!(list(EventFilter { until: Some(middle), ..any() }).await, ["github"]);
    let page = PageRequest { limit: 10, after: None };
    let filter =
        DeliveryFilter { states: vec![DeliveryState::DeadLetter], ..DeliveryFilter::default() };
    assert_eq!(test.store().deliveries(filter, page).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn dead_letters_are_listed_by_source_type_and_time_of_their_events() {
    let test = TestStore::new().await;
    dead_letter(&test, "dead").await;
    test.clock.forward(Duration::from_secs(10));
    let later = Some(test.clock.now());
    let count = |of: EventFilter| {
        let store = test.shared();
        let filter =
            DeliveryFilter { states: vec![DeliveryState::DeadLetter], of, ..Default::default() };
        async move {
            let page = PageRequest { limit: 10, after: None };
            store.deliveries(filter, page).await.unwrap().items.len()
        }
    };
    let any = EventFilter::default;
    let source = |name: &str| vec![SourceName::stored(name)];
    let kind = |text: &str| vec![EventType::new(text).unwrap()];
    assert_eq!(count(EventFilter { sources: source("github"), ..any() }).await, 1);
    assert_eq!(count(EventFilter { sources: source("nothing"), ..any() }).await, 0);
    assert_eq!(count(EventFilter { kinds: kind("push"), ..any() }).await, 1);
    assert_eq!(count(EventFilter { kinds: kind("p*"), ..any() }).await, 1);
    assert_eq!(count(EventFilter { kinds: kind("issues"), ..any() }).await, 0);
    assert_eq!(count(EventFilter { since: later, ..any() }).await, 0);
    assert_eq!(count(EventFilter { until: later, ..any() }).await, 1);
}

#[tokio::test]
async fn the_oldest_waiting_delivery_is_known_beyond_the_window() {
    let mut test = TestStore::with(|options| options.due_window = Some(2)).await;
    let first = test.clock.now();
    for n in 0..6 {
        test.post(&format!("e{n}"), &[handler("orders")]).await;
        test.clock.forward(Duration::from_secs(10));
    }
    let oldest = async |test: &TestStore| {
        let found = test.store().oldest_waiting().await.unwrap();
        found.into_iter().map(|one| (one.target, one.received_at)).collect::<Vec<_>>()
    };
    let of = |at: Timestamp| vec![("handler:orders".to_owned(), at)];
    assert_eq!(oldest(&test).await, of(first));
    let claimed = test.claim(&handler("orders"), Lane::Fresh, 2).await;
    assert_eq!(oldest(&test).await, of(first), "what is worked on waits too");
    for claimed in &claimed {
        test.settle(settlement(claimed, NextState::Processed)).await;
    }
    assert_eq!(oldest(&test).await, of(first.after(Duration::from_secs(20))), "on disk only");
    drop(claimed);
    test.reopen().await;
    assert_eq!(oldest(&test).await, of(first.after(Duration::from_secs(20))));
    loop {
        let claimed = test.claim(&handler("orders"), Lane::Fresh, 2).await;
        if claimed.is_empty() {
            break;
        }
        for claimed in &claimed {
            test.settle(retry_in(claimed, 3_600)).await;
        }
    }
    assert_eq!(oldest(&test).await, of(first.after(Duration::from_secs(20))), "retries");
}

#[tokio::test]
async fn events_and_deliveries_are_found_by_other_ids() {
    let test = TestStore::new().await;
    let mut request = request("one", &[handler("orders")]);
    request.events[0].delivery_id = Some("72d3162e-cc78".into());
    let event = stored(&test.ingest(request).await);
    let claimed = test.claim_one(&handler("orders"), Lane::Fresh).await;
    let effects = RoutedEffects { messages: vec![message(7, None, 0)], ..RoutedEffects::default() };
    test.settle(with_effects(&claimed, effects)).await;
    let shown = test.store().event(event).await.unwrap().unwrap();
    let attempt = &shown.deliveries[0].history[0];
    let sent = &attempt.messages[0];
    let find = async |sought: IdLookup| test.store().find(sought).await.unwrap();
    let delivery = |id| IdMatches { delivery: Some(id), events: Vec::new() };
    let events = || IdMatches { delivery: None, events: vec![event] };
    assert_eq!(find(IdLookup::Sender("72d3162e-cc78".into())).await, events());
    assert_eq!(find(IdLookup::Request(shown.request.unwrap())).await, events());
    assert_eq!(find(IdLookup::Attempt(attempt.id)).await, delivery(shown.deliveries[0].id));
    assert_eq!(find(IdLookup::Message(sent.message.unwrap())).await, delivery(sent.id));
    let said = test.store().message(sent.id).await.unwrap().unwrap();
    assert!(!said.body.is_empty());
    assert_eq!(test.store().message(shown.deliveries[0].id).await.unwrap(), None);
    for nothing in [
        IdLookup::Sender("72d3162e".into()),
        IdLookup::Message(MessageId::from_bits(1)),
        IdLookup::Attempt(AttemptId::from_bits(1)),
        IdLookup::Request(RequestId::from_bits(1)),
    ] {
        assert_eq!(find(nothing.clone()).await, IdMatches::default(), "{nothing:?}");
    }
}

#[tokio::test]
async fn totals_survive_a_restart() {
    let mut test = TestStore::new().await;
    dead_letter(&test, "dead").await;
    test.post("pending", &[handler("orders")]).await;
    test.post("unrouted", &[]).await;
    test.ingest(request("unrouted", &[])).await;
    for _ in 0..3 {
        let mut shown = Vec::new();
        for filter in [CountsFilter::Events, CountsFilter::Deliveries] {
            for row in test.store().counts(filter).await.unwrap() {
                shown.push(format!("{} {} {}", row.of, row.what, row.count));
            }
        }
        assert_eq!(
            shown,
            [
                "github duplicate 1",
                "github stored 3",
                "github unrouted 1",
                "handler:orders dead_letter 1",
                "handler:orders pending 1",
            ]
        );
        test.reopen().await;
    }
}

#[tokio::test]
async fn the_registry_compares_before_it_sets() {
    let mut test = TestStore::new().await;
    let mut watch = test.store().watch(EntryKind::Breaker);
    let cas = async |test: &TestStore, expected, value: Option<&[u8]>| {
        test.store().cas(EntryKind::Breaker, "ops", expected, value.map(Into::into)).await.unwrap()
    };
    let CasOutcome::Written { version: one } = cas(&test, None, Some(b"open")).await else {
        panic!("not written");
    };
    assert!(watch.has_changed().unwrap());
    watch.mark_unchanged();
    assert_eq!(cas(&test, None, Some(b"x")).await, CasOutcome::Conflict { found: Some(one) });
    assert!(!watch.has_changed().unwrap());
    let CasOutcome::Written { version: two } = cas(&test, Some(one), Some(b"half")).await else {
        panic!("not written");
    };
    assert!(two > one);
    test.reopen().await;
    let entry = test.store().get(EntryKind::Breaker, "ops").await.unwrap().unwrap();
    assert_eq!((entry.version, entry.value.as_deref()), (two, Some(&b"half"[..])));
    let CasOutcome::Written { .. } = cas(&test, Some(two), None).await else {
        panic!("not removed")
    };
    assert_eq!(test.store().get(EntryKind::Breaker, "ops").await.unwrap(), None);
    test.reopen().await;
    let CasOutcome::Written { version: three } = cas(&test, None, Some(b"again")).await else {
        panic!("not written");
    };
    assert!(three > two, "a version never comes back");
}

#[tokio::test]
async fn a_registry_list_leaves_out_large_values() {
    let test = TestStore::new().await;
    for (key, size) in [("small", 10), ("large", 100_000)] {
        test.store().cas(EntryKind::Module, key, None, Some(vec![7; size])).await.unwrap();
    }
    let listed = test.store().list(EntryKind::Module).await.unwrap();
    let shown: Vec<_> = listed.iter().map(|(k, e)| (k.as_str(), e.value.is_some())).collect();
    assert_eq!(shown, [("large", false), ("small", true)]);
    let large = test.store().get(EntryKind::Module, "large").await.unwrap().unwrap();
    assert_eq!(large.value.map(|v| v.len()), Some(100_000));
}

#[tokio::test]
async fn a_routing_table_is_kept_by_its_hash() {
    let mut test = TestStore::new().await;
    test.store().keep_table(&table()).await.unwrap();
    test.reopen().await;
    let text = test.store().table(table().hash()).await.unwrap().unwrap();
    let rule = r#"{"rule":"handler:orders","target":"handler:orders","on":["*:*"]}"#;
    assert_eq!(text, format!("{{\"weir_routes\":2}}\n{rule}\n"));
    test.post("a", &[]).await;
}
