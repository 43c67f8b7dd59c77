//! The indexes and views of the file, and a check of it.

use weir_core::delivery::NextState;
use weir_store::{Ingest, Lane, Maintenance, Queries};

use crate::common::*;
use crate::test_store::TestStore;

/// By the query plan of SQLite.
#[tokio::test]
async fn the_head_of_an_order_key_is_found_by_an_index() {
    let test = TestStore::new().await;
    let conn = rusqlite::Connection::open(test.path()).unwrap();
    let sql = "EXPLAIN QUERY PLAN SELECT n FROM delivery WHERE target = 1 AND order_key = 'a'
               AND state IN (0, 2) ORDER BY ifnull(turn, n) LIMIT 1";
    let mut statement = conn.prepare(sql).unwrap();
    let steps = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
    let plan: Vec<String> = steps.map(Result::unwrap).collect();
    assert_eq!(plan.len(), 1, "no sorting: {plan:?}");
    assert!(plan[0].contains("delivery_ordered (target=? AND order_key=?)"), "{plan:?}");
}

/// By the query plan of SQLite.
#[tokio::test]
async fn unrouted_events_are_found_by_a_partial_index() {
    let test = TestStore::new().await;
    let conn = rusqlite::Connection::open(test.path()).unwrap();
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
async fn a_backup_is_a_store_of_its_own() {
    let test = TestStore::new().await;
    let id = test.post("a", &[handler("orders")]).await;
    let copy = test.dir.path().join("copy.db");
    test.sqlite.backup(&copy).await.unwrap();
    assert!(test.sqlite.backup(&copy).await.is_err(), "a backup never overwrites");
    test.post("b", &[]).await;
    let copied = weir_store::sqlite::open(&copy, test.options.clone()).unwrap();
    assert!(copied.check().await.unwrap().problems.is_empty());
    assert!(copied.event(id).await.unwrap().unwrap().payload.is_some());
    let again = copied.ingest(vec![request("a", &[])]).await.remove(0).unwrap();
    assert_eq!(duplicate_of(&again), id);
    let new = copied.ingest(vec![request("b", &[])]).await.remove(0).unwrap();
    stored(&new);
}

#[tokio::test]
async fn a_check_finds_what_contradicts_itself() {
    let mut test = TestStore::new().await;
    test.post("a", &[handler("orders")]).await;
    test.assert_sound().await;
    test.sqlite.close().await.unwrap();
    let conn = rusqlite::Connection::open(test.path()).unwrap();
    conn.execute_batch("DELETE FROM payload; UPDATE delivery SET state = 2").unwrap();
    drop(conn);
    test.sqlite =
        std::sync::Arc::new(weir_store::sqlite::open(&test.path(), test.options.clone()).unwrap());
    let problems = test.store().check().await.unwrap().problems;
    assert!(
        problems.iter().any(|p| p.contains("event 1 has a payload that is missing")),
        "{problems:?}"
    );
    assert!(
        problems.iter().any(|p| p.contains("delivery 1 waits for a retry and has no due time"))
    );
}

#[tokio::test]
async fn the_views_of_the_file_show_names() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    test.post("a", std::slice::from_ref(&orders)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    test.settle(settlement(&claimed, NextState::DeadLetter)).await;
    let conn = rusqlite::Connection::open(test.path()).unwrap();
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
