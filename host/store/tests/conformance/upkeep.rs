//! Redriving, pruning, lists, totals, the registry, checks and backups.

use std::collections::HashSet;
use std::time::Duration;

use weir_core::delivery::{DeliveryState, EventStatus, NextState};
use weir_core::effect::StateWrite;
use weir_core::event::EventType;
use weir_core::id::{AttemptId, DeliveryId, MessageId, RequestId};
use weir_core::name::SourceName;
use weir_core::time::{Clock, Timestamp};
use weir_store::Store;
use weir_store::query::{
    CountsFilter, DeliveryFilter, EventFilter, IdLookup, IdMatches, PageRequest,
};
use weir_store::registry::{CasOutcome, EntryKind};
use weir_store::upkeep::{Pruned, ReplayRequest, ReplaySelection, Retention};
use weir_store::{Lane, RoutedEffects, Settled};

use crate::common::*;

const DAY: Duration = Duration::from_secs(86_400);

async fn dead_letter(bed: &Bed, id: &str) -> DeliveryId {
    let orders = handler("orders");
    bed.post(id, std::slice::from_ref(&orders)).await;
    let claimed = bed.claim_one(&orders, Lane::Fresh).await;
    bed.settle(settlement(&claimed, NextState::DeadLetter)).await;
    claimed.delivery
}

fn replay(what: ReplaySelection, request: &str) -> ReplayRequest {
    ReplayRequest { what, limit: 100, request: request.into(), new_ids: false }
}

async fn prune_all(bed: &Bed, retention: &Retention) -> Pruned {
    let mut all = Pruned::default();
    loop {
        let pruned = bed.store().prune(retention).await.unwrap();
        all.events += pruned.events;
        all.keys += pruned.keys;
        if !pruned.more {
            return all;
        }
    }
}

async fn forward(bed: &Bed, days: u32) {
    bed.clock.forward(DAY * days);
    bed.store().confirm_time().await.unwrap();
}

#[tokio::test]
async fn a_redriven_delivery_is_due_again_and_older_claims_are_fenced_off() {
    let bed = Bed::new().await;
    let orders = handler("orders");
    bed.post("a", std::slice::from_ref(&orders)).await;
    let old = bed.claim_one(&orders, Lane::Fresh).await;
    bed.settle(settlement(&old, NextState::DeadLetter)).await;
    let done =
        bed.store().replay(replay(ReplaySelection::Delivery(old.delivery), "r1")).await.unwrap();
    assert_eq!((done.deliveries, done.more), (vec![old.delivery], false));
    assert_eq!(bed.settle(settlement(&old, NextState::Processed)).await, Settled::Superseded);
    let new = bed.claim_one(&orders, Lane::Late).await;
    assert_eq!((new.delivery, new.fence), (old.delivery, fence(1, 1)));
    bed.settle(settlement(&new, NextState::Processed)).await;
    let shown = bed.store().delivery(old.delivery).await.unwrap().unwrap();
    let tries: Vec<_> = shown.history.iter().map(|a| (a.generation, a.number)).collect();
    assert_eq!(tries, [(0, 1), (1, 1)]);
    bed.assert_sound().await;
}

#[tokio::test]
async fn two_redrives_of_one_name_are_one() {
    let mut bed = Bed::new().await;
    let dead = dead_letter(&bed, "a").await;
    let first = bed.store().replay(replay(ReplaySelection::DeadLetters(None), "r")).await.unwrap();
    assert_eq!(first.deliveries, [dead]);
    let other = dead_letter(&bed, "b").await;
    bed.reopen().await;
    let again = bed.store().replay(replay(ReplaySelection::DeadLetters(None), "r")).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(bed.state_of(other).await, DeliveryState::DeadLetter);
    assert_eq!(bed.claim_one(&handler("orders"), Lane::Late).await.fence, fence(1, 1));
}

#[tokio::test]
async fn a_redrive_takes_no_more_than_its_limit_and_leaves_what_is_not_over() {
    let bed = Bed::new().await;
    for id in ["a", "b", "c"] {
        dead_letter(&bed, id).await;
    }
    let orders = handler("orders");
    bed.post("waiting", std::slice::from_ref(&orders)).await;
    let two = ReplayRequest {
        limit: 2,
        ..replay(ReplaySelection::DeadLetters(Some(orders.clone())), "r")
    };
    let done = bed.store().replay(two).await.unwrap();
    assert_eq!((done.deliveries.len(), done.more), (2, true));
    let waiting = bed.claim_one(&orders, Lane::Fresh).await.delivery;
    let none = bed.store().replay(replay(ReplaySelection::Delivery(waiting), "w")).await.unwrap();
    assert!(none.deliveries.is_empty());
    let others = replay(ReplaySelection::DeadLetters(Some(destination("ops"))), "o");
    assert!(bed.store().replay(others).await.unwrap().deliveries.is_empty());
}

#[tokio::test]
async fn redriving_an_event_reaches_its_dead_messages() {
    let bed = Bed::new().await;
    let orders = handler("orders");
    let id = bed.post("a", std::slice::from_ref(&orders)).await;
    let claimed = bed.claim_one(&orders, Lane::Fresh).await;
    let effects = RoutedEffects { messages: vec![message(1, None, 0)], ..RoutedEffects::default() };
    bed.settle(with_effects(&claimed, effects)).await;
    let sent = bed.claim_one(&destination("ops"), Lane::Fresh).await;
    bed.settle(settlement(&sent, NextState::DeadLetter)).await;
    let done = bed.store().replay(replay(ReplaySelection::Event(id), "r")).await.unwrap();
    assert_eq!(done.deliveries, [sent.delivery]);
}

#[tokio::test]
async fn pruning_removes_what_is_old_and_finished_and_nothing_else() {
    let mut bed = Bed::with(|o| o.keys_per_run = 50).await;
    let orders = handler("orders");
    let retried = {
        bed.post("retried", std::slice::from_ref(&orders)).await;
        let claimed = bed.claim_one(&orders, Lane::Fresh).await;
        bed.settle(retry_in(&claimed, 1)).await;
        claimed.event.id
    };
    let messaging = bed.post("messaging", std::slice::from_ref(&orders)).await;
    let claimed = bed.claim_one(&orders, Lane::Fresh).await;
    let effects = RoutedEffects { messages: vec![message(1, None, 0)], ..RoutedEffects::default() };
    bed.settle(with_effects(&claimed, effects)).await;
    let dead = dead_letter(&bed, "dead").await;
    for n in 0..700 {
        bed.post(&format!("done {n}"), &[]).await;
    }
    let pending = bed.post("pending", std::slice::from_ref(&orders)).await;
    forward(&bed, 40).await;
    let young = bed.post("young", &[]).await;
    let pruned = prune_all(&bed, &Retention::default()).await;
    assert_eq!(pruned.events, 701, "the 700 and the dead one");
    assert!(pruned.keys > 0);
    for id in [retried, messaging, pending, young] {
        let found = bed.store().event(id).await.unwrap().expect("an unfinished event was removed");
        assert!(found.payload.is_some() && found.request.is_some());
        assert!(bed.store().request(found.request.unwrap()).await.unwrap().is_some());
    }
    assert!(bed.store().delivery(dead).await.unwrap().is_none());
    bed.assert_sound().await;
    bed.reopen().await;
    bed.assert_sound().await;
    assert_eq!(bed.claim_one(&orders, Lane::Late).await.event.id, retried);
    assert_eq!(bed.claim_one(&orders, Lane::Fresh).await.event.id, pending);
    assert_eq!(bed.claim_one(&destination("ops"), Lane::Fresh).await.event.id, messaging);
    // Past its life, the same id is a new event.
    stored(&bed.ingest(request("done 1", &[])).await);
    let left: i64 = rusqlite::Connection::open(bed.path())
        .unwrap()
        .query_row("SELECT count(*) FROM payload", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 6, "one payload a request, and the message's");
}

#[tokio::test]
async fn a_duplicate_is_recognised_as_long_as_its_key_lives_though_its_event_is_gone() {
    for keys_per_run in [10, 100_000] {
        let mut bed = Bed::with(|o| o.keys_per_run = keys_per_run).await;
        let mut firsts = Vec::new();
        for n in 0..100 {
            firsts.push(bed.post(&n.to_string(), &[]).await);
        }
        forward(&bed, 33).await;
        prune_all(&bed, &Retention::default()).await;
        bed.reopen().await;
        for (n, first) in firsts.iter().enumerate() {
            assert_eq!(duplicate_of(&bed.ingest(request(&n.to_string(), &[])).await), *first);
        }
        bed.assert_sound().await;
    }
}

#[tokio::test]
async fn pruning_removes_expired_state_and_the_room_that_it_took() {
    let bed = Bed::new().await;
    let orders = handler("orders");
    bed.post("a", std::slice::from_ref(&orders)).await;
    let claimed = bed.claim_one(&orders, Lane::Fresh).await;
    let expires_at = Some(Timestamp::from_millis(START + 1_000));
    let expiring = StateWrite { key: "k".into(), value: Some("v".into()), expires_at };
    let effects =
        RoutedEffects { state: vec![expiring, write("s", "v")], ..RoutedEffects::default() };
    bed.settle(with_effects(&claimed, effects)).await;
    forward(&bed, 1).await;
    prune_all(&bed, &Retention::default()).await;
    let state = bed.store().state(&weir_core::name::HandlerName::new("orders").unwrap());
    assert_eq!(state.get("k").await.unwrap(), None);
    assert!(state.get("s").await.unwrap().is_some());
    assert_eq!(state.size().await.unwrap(), 2);
}

#[tokio::test]
async fn paging_shows_each_event_once_while_others_come_in() {
    let bed = Bed::new().await;
    let mut wanted = HashSet::new();
    for n in 0..25 {
        wanted.insert(bed.post(&n.to_string(), &[]).await);
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = PageRequest { limit: 10, after };
        let page = bed.store().events(EventFilter::default(), page).await.unwrap();
        assert!(page.items.len() <= 10);
        seen.extend(page.items.iter().map(|e| e.id));
        after = page.next;
        if after.is_none() {
            break;
        }
        bed.post(&format!("late {}", seen.len()), &[]).await;
    }
    assert!(seen.windows(2).all(|w| w[0] != w[1]));
    assert_eq!(seen.len(), 25);
    assert_eq!(seen.into_iter().collect::<HashSet<_>>(), wanted);
    let strange = PageRequest { limit: 1, after: Some("'; DROP TABLE event".into()) };
    assert!(bed.store().events(EventFilter::default(), strange).await.is_err());
}

#[tokio::test]
async fn lists_answer_by_source_type_status_and_time() {
    let bed = Bed::new().await;
    dead_letter(&bed, "dead").await;
    bed.clock.forward(Duration::from_secs(10));
    let middle = bed.clock.now();
    let mut other = request_from("stripe", "a", &[]);
    other.events[0].kind = EventType::new("invoice.paid").unwrap();
    bed.ingest(other).await;
    let list = |filter: EventFilter| {
        let page = PageRequest { limit: 10, after: None };
        let store = bed.sqlite.clone();
        async move {
            let page = store.events(filter, page).await.unwrap();
            page.items.iter().map(|e| e.source.to_string()).collect::<Vec<_>>()
        }
    };
    let any = EventFilter::default;
    let stripe = Some(SourceName::stored("stripe"));
    assert_eq!(list(any()).await, ["stripe", "github"]);
    assert_eq!(list(EventFilter { source: stripe, ..any() }).await, ["stripe"]);
    let kind = Some(EventType::new("push").unwrap());
    assert_eq!(list(EventFilter { kind, ..any() }).await, ["github"]);
    for (pattern, found) in
        [("pu*", "github"), ("*.paid", "stripe"), ("inv*p*d", "stripe"), ("*push", "github")]
    {
        let kind = Some(EventType::new(pattern).unwrap());
        assert_eq!(list(EventFilter { kind, ..any() }).await, [found], "{pattern}");
    }
    let kind = Some(EventType::new("pus*hh").unwrap());
    assert!(list(EventFilter { kind, ..any() }).await.is_empty());
    let status = Some(EventStatus::DeadLetter);
    assert_eq!(list(EventFilter { status, ..any() }).await, ["github"]);
    assert_eq!(list(EventFilter { since: Some(middle), ..any() }).await, ["stripe"]);
    assert_eq!(list(EventFilter { until: Some(middle), ..any() }).await, ["github"]);
    let page = PageRequest { limit: 10, after: None };
    let filter =
        DeliveryFilter { state: Some(DeliveryState::DeadLetter), ..DeliveryFilter::default() };
    assert_eq!(bed.store().deliveries(filter, page).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn dead_letters_answer_by_their_events_source_type_and_time() {
    let bed = Bed::new().await;
    dead_letter(&bed, "dead").await;
    bed.clock.forward(Duration::from_secs(10));
    let later = Some(bed.clock.now());
    let count = |of: EventFilter| {
        let store = bed.sqlite.clone();
        let filter =
            DeliveryFilter { state: Some(DeliveryState::DeadLetter), of, ..Default::default() };
        async move {
            let page = PageRequest { limit: 10, after: None };
            store.deliveries(filter, page).await.unwrap().items.len()
        }
    };
    let any = EventFilter::default;
    let source = |name: &str| Some(SourceName::stored(name));
    let kind = |text: &str| Some(EventType::new(text).unwrap());
    assert_eq!(count(EventFilter { source: source("github"), ..any() }).await, 1);
    assert_eq!(count(EventFilter { source: source("nothing"), ..any() }).await, 0);
    assert_eq!(count(EventFilter { kind: kind("push"), ..any() }).await, 1);
    assert_eq!(count(EventFilter { kind: kind("p*"), ..any() }).await, 1);
    assert_eq!(count(EventFilter { kind: kind("issues"), ..any() }).await, 0);
    assert_eq!(count(EventFilter { since: later, ..any() }).await, 0);
    assert_eq!(count(EventFilter { until: later, ..any() }).await, 1);
}

#[tokio::test]
async fn the_oldest_that_waits_is_known_whatever_is_in_memory() {
    let mut bed = Bed::with(|options| options.due_window = 2).await;
    let first = bed.clock.now();
    for n in 0..6 {
        bed.post(&format!("e{n}"), &[handler("orders")]).await;
        bed.clock.forward(Duration::from_secs(10));
    }
    let oldest = async |bed: &Bed| {
        let found = bed.store().oldest_waiting().await.unwrap();
        found.into_iter().map(|one| (one.target, one.received_at)).collect::<Vec<_>>()
    };
    let of = |at: Timestamp| vec![("handler:orders".to_owned(), at)];
    assert_eq!(oldest(&bed).await, of(first));
    let claimed = bed.claim(&handler("orders"), Lane::Fresh, 2).await;
    assert_eq!(oldest(&bed).await, of(first), "what is worked on waits too");
    for claimed in &claimed {
        bed.settle(settlement(claimed, NextState::Processed)).await;
    }
    assert_eq!(oldest(&bed).await, of(first.after(Duration::from_secs(20))), "on disk only");
    drop(claimed);
    bed.reopen().await;
    assert_eq!(oldest(&bed).await, of(first.after(Duration::from_secs(20))));
    loop {
        let claimed = bed.claim(&handler("orders"), Lane::Fresh, 2).await;
        if claimed.is_empty() {
            break;
        }
        for claimed in &claimed {
            bed.settle(retry_in(claimed, 3_600)).await;
        }
    }
    assert_eq!(oldest(&bed).await, of(first.after(Duration::from_secs(20))), "retries");
}

#[tokio::test]
async fn events_and_deliveries_are_found_by_the_ids_that_people_have() {
    let bed = Bed::new().await;
    let mut request = request("one", &[handler("orders")]);
    request.events[0].delivery_id = Some("72d3162e-cc78".into());
    let event = stored(&bed.ingest(request).await);
    let claimed = bed.claim_one(&handler("orders"), Lane::Fresh).await;
    let effects = RoutedEffects { messages: vec![message(7, None, 0)], ..RoutedEffects::default() };
    bed.settle(with_effects(&claimed, effects)).await;
    let shown = bed.store().event(event).await.unwrap().unwrap();
    let attempt = &shown.deliveries[0].history[0];
    let sent = &attempt.messages[0];
    let find = async |sought: IdLookup| bed.store().find(sought).await.unwrap();
    let delivery = |id| IdMatches { delivery: Some(id), events: Vec::new() };
    let events = || IdMatches { delivery: None, events: vec![event] };
    assert_eq!(find(IdLookup::Sender("72d3162e-cc78".into())).await, events());
    assert_eq!(find(IdLookup::Request(shown.request.unwrap())).await, events());
    assert_eq!(find(IdLookup::Attempt(attempt.id)).await, delivery(shown.deliveries[0].id));
    assert_eq!(find(IdLookup::Message(sent.message.unwrap())).await, delivery(sent.id));
    let said = bed.store().message(sent.id).await.unwrap().unwrap();
    assert!(!said.body.is_empty());
    assert_eq!(bed.store().message(shown.deliveries[0].id).await.unwrap(), None);
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
    let mut bed = Bed::new().await;
    dead_letter(&bed, "dead").await;
    bed.post("pending", &[handler("orders")]).await;
    bed.post("nobody", &[]).await;
    bed.ingest(request("nobody", &[])).await;
    for _ in 0..3 {
        let mut shown = Vec::new();
        for filter in [CountsFilter::Events, CountsFilter::Deliveries] {
            for row in bed.store().counts(filter).await.unwrap() {
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
        bed.reopen().await;
    }
}

#[tokio::test]
async fn the_registry_compares_before_it_sets() {
    let mut bed = Bed::new().await;
    let mut watch = bed.store().watch(EntryKind::Breaker);
    let cas = async |bed: &Bed, expected, value: Option<&[u8]>| {
        bed.store().cas(EntryKind::Breaker, "ops", expected, value.map(Into::into)).await.unwrap()
    };
    let CasOutcome::Written { version: one } = cas(&bed, None, Some(b"open")).await else {
        panic!("not written");
    };
    assert!(watch.has_changed().unwrap());
    watch.mark_unchanged();
    assert_eq!(cas(&bed, None, Some(b"x")).await, CasOutcome::Conflict { found: Some(one) });
    assert!(!watch.has_changed().unwrap());
    let CasOutcome::Written { version: two } = cas(&bed, Some(one), Some(b"half")).await else {
        panic!("not written");
    };
    assert!(two > one);
    bed.reopen().await;
    let entry = bed.store().get(EntryKind::Breaker, "ops").await.unwrap().unwrap();
    assert_eq!((entry.version, entry.value.as_deref()), (two, Some(&b"half"[..])));
    let CasOutcome::Written { .. } = cas(&bed, Some(two), None).await else {
        panic!("not removed")
    };
    assert_eq!(bed.store().get(EntryKind::Breaker, "ops").await.unwrap(), None);
    bed.reopen().await;
    let CasOutcome::Written { version: three } = cas(&bed, None, Some(b"again")).await else {
        panic!("not written");
    };
    assert!(three > two, "a version never comes back");
}

#[tokio::test]
async fn lists_of_the_registry_leave_large_values_out() {
    let bed = Bed::new().await;
    for (key, size) in [("small", 10), ("large", 100_000)] {
        bed.store().cas(EntryKind::Module, key, None, Some(vec![7; size])).await.unwrap();
    }
    let listed = bed.store().list(EntryKind::Module).await.unwrap();
    let shown: Vec<_> = listed.iter().map(|(k, e)| (k.as_str(), e.value.is_some())).collect();
    assert_eq!(shown, [("large", false), ("small", true)]);
    let large = bed.store().get(EntryKind::Module, "large").await.unwrap().unwrap();
    assert_eq!(large.value.map(|v| v.len()), Some(100_000));
}

#[tokio::test]
async fn a_routing_table_is_kept_by_its_hash() {
    let mut bed = Bed::new().await;
    bed.store().keep_table(&table()).await.unwrap();
    bed.reopen().await;
    let text = bed.store().table(table().hash()).await.unwrap().unwrap();
    assert_eq!(text, "*:* -> handler:orders\n");
    bed.post("a", &[]).await;
}

#[tokio::test]
async fn a_backup_is_a_store_of_its_own() {
    let bed = Bed::new().await;
    let id = bed.post("a", &[handler("orders")]).await;
    let copy = bed.dir.path().join("copy.db");
    bed.store().backup(&copy).await.unwrap();
    assert!(bed.store().backup(&copy).await.is_err(), "a backup never overwrites");
    bed.post("b", &[]).await;
    let copied = weir_store::sqlite::open(&copy, bed.options.clone()).unwrap();
    assert!(copied.check().await.unwrap().problems.is_empty());
    assert!(copied.event(id).await.unwrap().unwrap().payload.is_some());
    let again = copied.ingest(vec![request("a", &[])]).await.remove(0).unwrap();
    assert_eq!(duplicate_of(&again), id);
    let new = copied.ingest(vec![request("b", &[])]).await.remove(0).unwrap();
    stored(&new);
}

#[tokio::test]
async fn a_check_finds_what_contradicts_itself() {
    let mut bed = Bed::new().await;
    bed.post("a", &[handler("orders")]).await;
    bed.assert_sound().await;
    bed.sqlite.close().await.unwrap();
    let conn = rusqlite::Connection::open(bed.path()).unwrap();
    conn.execute_batch("DELETE FROM payload; UPDATE delivery SET state = 2").unwrap();
    drop(conn);
    bed.sqlite =
        std::sync::Arc::new(weir_store::sqlite::open(&bed.path(), bed.options.clone()).unwrap());
    let problems = bed.store().check().await.unwrap().problems;
    assert!(
        problems.iter().any(|p| p.contains("event 1 has a payload that is missing")),
        "{problems:?}"
    );
    assert!(problems.iter().any(|p| p.contains("delivery 1 is to be retried and has no time")));
}

#[tokio::test]
async fn the_files_views_speak_in_words() {
    let bed = Bed::new().await;
    dead_letter(&bed, "a").await;
    let conn = rusqlite::Connection::open(bed.path()).unwrap();
    let words = |sql: &str| -> Vec<String> {
        conn.query_row(sql, [], |row| (0..4).map(|n| row.get(n)).collect()).unwrap()
    };
    assert_eq!(
        words("SELECT at, source, type, status FROM events"),
        ["2025-10-09T08:53:20.000Z", "github", "push", "dead_letter"]
    );
    assert_eq!(
        words("SELECT target, source, state, last_reason FROM deliveries"),
        ["handler:orders", "github", "dead_letter", "the world is not ready"]
    );
    assert_eq!(words("SELECT outcome, reason, log, started_at FROM attempts")[2], "info\thello");
    assert_eq!(words("SELECT source, scheme, secret, received_at FROM requests")[1], "hmac");
}
