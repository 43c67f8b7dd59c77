//! Blocks, from which lists are read: when they are written, replaced and removed.

use std::time::Duration;

use weir_core::event::EventType;
use weir_store::query::{EventFilter, PageRequest};
use weir_store::upkeep::Retention;
use weir_store::{Ingest, Maintenance};

use crate::common::*;
use crate::test_store::TestStore;

/// A few more than fill a block.
const EVENTS: usize = 4_200;

/// A store with one complete block; only the tenth event has the type `rare`.
async fn filled() -> TestStore {
    let test = TestStore::new().await;
    let requests = (0..EVENTS).map(|n| {
        let mut request = request(&format!("e{n}"), &[]);
        let kind = if n == 9 { "rare" } else { "push" };
        request.events[0].kind = EventType::new(kind).unwrap();
        request
    });
    for answer in test.sqlite.ingest(requests.collect()).await {
        answer.unwrap();
    }
    // The block is written with the commit after the one that completes it, or while nothing is
    // to be written.
    test.post("one more", &[]).await;
    test
}

fn blocks(test: &TestStore) -> i64 {
    let conn = rusqlite::Connection::open(test.path()).unwrap();
    conn.query_row("SELECT count(*) FROM event_block", [], |row| row.get(0)).unwrap()
}

async fn rare(test: &TestStore) -> usize {
    let kinds = vec![EventType::new("ra*").unwrap()];
    let filter = EventFilter { kinds, ..EventFilter::default() };
    let page = PageRequest { limit: 10, after: None };
    test.store().events(filter, page).await.unwrap().items.len()
}

/// Closes the store, changes its file, and opens it again.
async fn reopened(mut test: TestStore, sql: &str) -> TestStore {
    test.sqlite.close().await.unwrap();
    let conn = rusqlite::Connection::open(test.path()).unwrap();
    conn.execute_batch(sql).unwrap();
    drop(conn);
    test.open_again();
    test
}

#[tokio::test]
async fn a_store_without_blocks_gets_them_with_its_next_commits() {
    let test = filled().await;
    assert_eq!((blocks(&test), rare(&test).await), (1, 1));
    let test = reopened(test, "DELETE FROM event_block").await;
    assert_eq!(rare(&test).await, 1, "rows are read where there is no block");
    test.post("after the start", &[]).await;
    assert_eq!((blocks(&test), rare(&test).await), (1, 1));
}

#[tokio::test]
async fn an_unreadable_block_is_replaced_by_its_rows() {
    let test = reopened(filled().await, "UPDATE event_block SET data = x'0102030405'").await;
    assert_eq!(rare(&test).await, 1);
}

#[tokio::test]
async fn retention_removes_rows_from_their_blocks() {
    let test = filled().await;
    test.clock.forward(Duration::from_secs(7_200));
    let retention = Retention {
        payload_life: Duration::from_secs(3_600),
        dedup_life: Duration::from_secs(3_600),
        ..Retention::default()
    };
    let mut pruned = test.store().prune(&retention).await.unwrap();
    let left = test.store().count_events(EventFilter::default(), 10_000).await.unwrap();
    assert_eq!(left.count + pruned.events, EVENTS as u64 + 1, "counts follow each step");
    assert_eq!(blocks(&test), 1, "a block stays as long as one of its rows");
    while pruned.more {
        pruned = test.store().prune(&retention).await.unwrap();
    }
    let left = test.store().count_events(EventFilter::default(), 10_000).await.unwrap();
    assert_eq!((left.count, blocks(&test)), (0, 0));
}
