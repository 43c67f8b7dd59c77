//! Order keys: one at a time per target and key, in the order of commits, what is requeued behind the others.

use std::time::Duration;

use weir_core::delivery::{DeliveryState, NextState};
use weir_core::name::{SourceName, Target};
use weir_store::query::{DeliveryFilter, PageRequest};
use weir_store::upkeep::{ReplayRequest, ReplaySelection};
use weir_store::{Claim, Lane, NewRequest};

use crate::common::*;

fn ordered(id: &str, key: &str) -> NewRequest {
    let mut request = request(id, &[handler("orders")]);
    request.events[0].routed.deliveries[0].order_key = Some(key.into());
    request
}

fn ids(claims: &[Claim]) -> Vec<String> {
    claims.iter().map(|c| c.event.delivery_id.clone().unwrap().to_string()).collect()
}

/// Claims what is due of one lane and gives it all up.
async fn give_up(bed: &Bed, target: &Target, lane: Lane) -> Vec<String> {
    let claimed = bed.claim(target, lane, 10).await;
    for one in &claimed {
        bed.settle(settlement(one, NextState::DeadLetter)).await;
    }
    ids(&claimed)
}

async fn requeue(bed: &Bed, request: &str) {
    let what = ReplaySelection::DeadLetters(None);
    let replay = ReplayRequest { what, limit: 10, request: request.into(), new_ids: false };
    bed.store().replay(replay).await.unwrap();
}

/// Ends whatever is due, one after the other, until nothing is: in which order.
async fn run_all(bed: &Bed, target: &Target) -> Vec<String> {
    let mut order = Vec::new();
    loop {
        let mut claimed = bed.claim(target, Lane::Fresh, 1).await;
        claimed.extend(bed.claim(target, Lane::Late, 1).await);
        assert!(claimed.len() <= 1, "two of one key at a time: {:?}", ids(&claimed));
        let Some(one) = claimed.pop() else { return order };
        order.extend(ids(std::slice::from_ref(&one)));
        bed.settle(settlement(&one, NextState::Processed)).await;
    }
}

#[tokio::test]
async fn one_of_an_order_key_is_claimed_at_a_time_in_the_order_of_commits() {
    let mut bed = Bed::new().await;
    let orders = handler("orders");
    for (id, key) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a")] {
        bed.ingest(ordered(id, key)).await;
    }
    let mut order = Vec::new();
    let claims = bed.claim(&orders, Lane::Fresh, 10).await;
    assert_eq!(ids(&claims), ["a1", "b1"]);
    // A head that is to be retried keeps the others waiting, across a restart too.
    bed.settle(retry_in(&claims[0], 30)).await;
    drop(claims);
    bed.reopen().await;
    assert_eq!(ids(&bed.claim(&orders, Lane::Fresh, 10).await), ["b1"]);
    bed.clock.forward(Duration::from_secs(30));
    let head = bed.claim_one(&orders, Lane::Late).await;
    bed.settle(settlement(&head, NextState::Processed)).await;
    for _ in 0..2 {
        for claimed in bed.claim(&orders, Lane::Fresh, 10).await {
            order.extend(ids(std::slice::from_ref(&claimed)));
            bed.settle(settlement(&claimed, NextState::DeadLetter)).await;
        }
    }
    order.retain(|id| id.starts_with('a'));
    assert_eq!(order, ["a2", "a3"]);
}

#[tokio::test]
async fn what_is_requeued_joins_at_the_tail_of_its_line() {
    let bed = Bed::new().await;
    let orders = handler("orders");
    bed.ingest(ordered("a1", "a")).await;
    assert_eq!(give_up(&bed, &orders, Lane::Fresh).await, ["a1"]);
    for id in ["a2", "a3"] {
        bed.ingest(ordered(id, "a")).await;
    }
    requeue(&bed, "again").await;
    bed.ingest(ordered("a4", "a")).await;
    assert_eq!(run_all(&bed, &orders).await, ["a2", "a3", "a1", "a4"]);
}

#[tokio::test]
async fn a_place_in_line_outlives_a_crash_and_a_clean_restart() {
    for crash in [false, true] {
        let mut bed = Bed::new().await;
        let orders = handler("orders");
        bed.ingest(ordered("a1", "a")).await;
        bed.ingest(ordered("a2", "a")).await;
        assert_eq!(give_up(&bed, &orders, Lane::Fresh).await, ["a1"]);
        requeue(&bed, "again").await;
        if crash {
            bed.crash().await
        } else {
            bed.reopen().await
        }
        // The number that the requeued one took for its place is not given out a second time.
        bed.ingest(ordered("a3", "a")).await;
        bed.ingest(ordered("a4", "a")).await;
        assert_eq!(run_all(&bed, &orders).await, ["a2", "a1", "a3", "a4"], "crash: {crash}");
        bed.assert_sound().await;
    }
}

#[tokio::test]
async fn what_is_requeued_together_keeps_its_order() {
    let mut bed = Bed::new().await;
    let orders = handler("orders");
    // The name of the later source is known first, so that its rows are the first that a search for dead ones finds.
    let from = |source: &str, id: &str| NewRequest {
        source: SourceName::stored(source),
        ..ordered(id, "a")
    };
    bed.ingest(request_from("zulu", "unordered", &[])).await;
    for (source, id) in [("alfa", "a1"), ("zulu", "a2"), ("alfa", "a3")] {
        bed.ingest(from(source, id)).await;
        assert_eq!(give_up(&bed, &orders, Lane::Fresh).await, [id]);
    }
    bed.ingest(from("zulu", "a4")).await;
    requeue(&bed, "again").await;
    bed.reopen().await;
    assert_eq!(run_all(&bed, &orders).await, ["a4", "a1", "a2", "a3"]);
    // A second round stands behind again, in the order of the first.
    let replay = |n: usize, delivery| ReplayRequest {
        what: ReplaySelection::Delivery(delivery),
        limit: 1,
        request: format!("round {n}"),
        new_ids: false,
    };
    bed.ingest(from("alfa", "a5")).await;
    let filter =
        DeliveryFilter { state: Some(DeliveryState::Processed), ..DeliveryFilter::default() };
    let page = PageRequest { limit: 10, after: None };
    let done = bed.store().deliveries(filter, page).await.unwrap().items;
    for (n, delivery) in done.iter().rev().enumerate() {
        bed.store().replay(replay(n, delivery.id)).await.unwrap();
    }
    assert_eq!(run_all(&bed, &orders).await, ["a5", "a1", "a2", "a3", "a4"]);
}

/// Looked at from outside: what SQLite says it would read.
#[tokio::test]
async fn the_file_finds_the_head_of_a_line_by_an_index_in_which_lines_are_sorted() {
    let bed = Bed::new().await;
    let conn = rusqlite::Connection::open(bed.path()).unwrap();
    let sql = "EXPLAIN QUERY PLAN SELECT n FROM delivery WHERE target = 1 AND order_key = 'a'
               AND state IN (0, 2) ORDER BY ifnull(turn, n) LIMIT 1";
    let mut statement = conn.prepare(sql).unwrap();
    let steps = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
    let plan: Vec<String> = steps.map(Result::unwrap).collect();
    assert_eq!(plan.len(), 1, "no sorting: {plan:?}");
    assert!(plan[0].contains("delivery_ordered (target=? AND order_key=?)"), "{plan:?}");
}

#[tokio::test]
async fn what_was_requeued_behind_others_does_not_come_by_the_place_that_it_had_in_memory() {
    let bed = Bed::with(|options| (options.handoff_bytes, options.due_window) = (0, 1)).await;
    let orders = handler("orders");
    for id in ["a1", "a2"] {
        bed.ingest(ordered(id, "a")).await;
    }
    // Given back, so that it waits in memory again, and then settled after all.
    let first = bed.claim_one(&orders, Lane::Fresh).await;
    let (delivery, settlement) = (first.delivery, settlement(&first, NextState::Processed));
    drop(first);
    bed.settle(settlement).await;
    let what = ReplaySelection::Delivery(delivery);
    let replay = ReplayRequest { what, limit: 1, request: "again".into(), new_ids: false };
    bed.store().replay(replay).await.unwrap();
    let head = bed.claim(&orders, Lane::Fresh, 10).await;
    assert_eq!(ids(&head), ["a2"]);
    assert!(bed.claim(&orders, Lane::Late, 10).await.is_empty(), "a1 stands behind a2");
    drop(head);
    assert_eq!(run_all(&bed, &orders).await, ["a2", "a1"]);
}
