//! Pages, payloads and logs that are damaged after they were written: readable rows are used, and
//! unreadable or lost ones are reported.

use std::path::Path;

use weir_core::delivery::NextState;
use weir_store::Lane;
use weir_store::StoreError;
use weir_store::health::{LostRows, UnreadableRows};
use weir_store::upkeep::CheckReport;

use crate::common::*;
use crate::test_store::TestStore;

const PAGE: usize = 4_096;
const EVENTS: usize = 600;

/// A closed store with large events that wait for a destination.
async fn closed() -> TestStore {
    let test = TestStore::with(|options| options.dictionary_after = 0).await;
    let requests = (0..EVENTS).map(|n| request(&n.to_string(), &[destination("ops")])).collect();
    for stored in test.store().ingest(requests).await {
        stored.unwrap();
    }
    test.store().close().await.unwrap();
    test
}

/// The leaf pages of a table, in the order of its rows.
fn leaves(path: &Path, table: &str) -> Vec<usize> {
    let conn = rusqlite::Connection::open(path).unwrap();
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
    let root: u32 = conn.query_row(sql, [table], |row| row.get(0)).unwrap();
    drop(conn);
    let file = std::fs::read(path).unwrap();
    let (mut pages, mut found) = (vec![root as usize], Vec::new());
    while let Some(n) = pages.pop() {
        let page = &file[(n - 1) * PAGE..n * PAGE];
        let number = |at: usize| u32::from_be_bytes(page[at..at + 4].try_into().unwrap()) as usize;
        let short = |at: usize| u16::from_be_bytes(page[at..at + 2].try_into().unwrap()) as usize;
        if page[0] != 5 {
            found.push(n);
            continue;
        }
        pages.push(number(8));
        pages.extend((0..short(3)).rev().map(|cell| number(short(12 + 2 * cell))));
    }
    found
}

/// Overwrites a page in the middle of a table.
fn wreck(path: &Path, table: &str) {
    let leaves = leaves(path, table);
    assert!(leaves.len() > 2, "{table} has {} leaves", leaves.len());
    let mut file = std::fs::read(path).unwrap();
    let at = (leaves[leaves.len() / 2] - 1) * PAGE;
    file[at..at + PAGE].fill(0x5a);
    std::fs::write(path, file).unwrap();
}

/// Claims and settles everything that waits for the destination. Returns the number.
async fn send_all(test: &TestStore) -> usize {
    let mut sent = 0;
    loop {
        let claimed = test.claim(&destination("ops"), Lane::Fresh, 50).await;
        if claimed.is_empty() {
            return sent;
        }
        let mut open: Vec<_> = claimed.iter().collect();
        while !open.is_empty() {
            let settlements = open.iter().map(|c| settlement(c, NextState::Processed)).collect();
            let answers = test.store().settle(&shared(settlements)).await;
            let mut again = Vec::new();
            for (claimed, answer) in open.into_iter().zip(answers) {
                match answer {
                    Ok(_) => sent += 1,
                    Err(error) if error.is_transient() => again.push(claimed),
                    Err(StoreError::Damaged(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            open = again;
        }
    }
}

fn rows(unreadable: &[UnreadableRows]) -> usize {
    unreadable.iter().map(|rows| usize::try_from(rows.last - rows.first + 1).unwrap()).sum()
}

#[tokio::test]
async fn deliveries_behind_a_damaged_page_continue_and_the_rest_is_listed() {
    for table in ["payload", "event", "delivery"] {
        for due_window in [16_384, 40] {
            let mut test = closed().await;
            test.options.due_window = due_window;
            wreck(&test.path(), table);
            test.open_again();
            let sent = send_all(&test).await;
            let unreadable = test.store().unreadable();
            let of = |what| -> Vec<UnreadableRows> {
                unreadable.iter().filter(|rows| rows.what == what).cloned().collect()
            };
            let aside = rows(&of("delivery"));
            assert_eq!(sent + aside, EVENTS, "{table} {due_window}: {unreadable:?}");
            // A settlement of a neighbour of a damaged delivery may need the damaged page.
            let of_pages =
                unreadable.iter().filter(|rows| !rows.reason.contains("cannot be written"));
            let of_pages =
                rows(&of_pages.filter(|r| r.what == "delivery").cloned().collect::<Vec<_>>());
            assert!(of_pages > 0 && of_pages < 200 && sent > 100, "{table}: {of_pages} {sent}");
            assert_eq!(test.store().health().unreadable, rows(&unreadable) as u64, "{table}");
            assert_eq!(test.store().health().poisoned, None);
            assert!(unreadable.iter().all(|rows| !rows.reason.is_empty()));
        }
    }
}

#[tokio::test]
async fn a_payload_with_a_changed_bit_is_not_sent() {
    let mut test = closed().await;
    let conn = rusqlite::Connection::open(test.path()).unwrap();
    let flipped = [5i64, 77, 300];
    for n in flipped {
        let sql = "SELECT data FROM payload WHERE n = ?1";
        let mut data: Vec<u8> = conn.query_row(sql, [n], |row| row.get(0)).unwrap();
        let last = data.len() - 2;
        data[last] ^= 1;
        conn.execute("UPDATE payload SET data = ?2 WHERE n = ?1", rusqlite::params![n, data])
            .unwrap();
    }
    drop(conn);
    test.open_again();
    assert_eq!(send_all(&test).await, EVENTS - flipped.len());
    let unreadable = test.store().unreadable();
    assert_eq!(unreadable.len(), flipped.len());
    for rows in &unreadable {
        assert_eq!((rows.what, rows.target.as_deref()), ("delivery", Some("destination:ops")));
        let id = rows.id.as_deref().unwrap().parse().unwrap();
        let found = test.store().delivery(id).await.unwrap().unwrap();
        assert_eq!(found.attempts, 0, "it is still there, and was not tried");
    }
    let CheckReport { problems, .. } = test.store().check().await.unwrap();
    let of_payloads = problems.iter().filter(|p| p.contains("not those that were stored"));
    assert_eq!(of_payloads.count(), flipped.len(), "{problems:?}");
}

#[tokio::test]
async fn a_payload_in_the_row_of_another_is_not_sent() {
    let mut test = closed().await;
    let conn = rusqlite::Connection::open(test.path()).unwrap();
    conn.execute_batch(
        "UPDATE payload SET (codec, size, data, sum) = (SELECT codec, size, data, sum FROM payload WHERE n = 8)
         WHERE n = 9",
    )
    .unwrap();
    drop(conn);
    test.open_again();
    assert_eq!(send_all(&test).await, EVENTS - 1);
    assert_eq!(test.store().health().unreadable, 1);
}

#[tokio::test]
async fn a_delivery_of_a_missing_event_is_set_aside() {
    let mut test = closed().await;
    let conn = rusqlite::Connection::open(test.path()).unwrap();
    conn.execute("DELETE FROM event WHERE n = 44", []).unwrap();
    drop(conn);
    test.open_again();
    assert_eq!(send_all(&test).await, EVENTS - 1);
    let unreadable = test.store().unreadable();
    assert_eq!(&*unreadable[0].reason, "its event is missing");
}

/// Problems of a check about acknowledged rows.
async fn missed(test: &TestStore) -> Vec<String> {
    let CheckReport { problems, .. } = test.store().check().await.unwrap();
    problems.into_iter().filter(|problem| problem.contains("acknowledged")).collect()
}

/// Stores ten events, changes the files after a kill, and returns the reported losses.
async fn lost_after(befalls: impl FnOnce(&Path)) -> (TestStore, Vec<LostRows>) {
    let mut test = TestStore::new().await;
    for n in 0..10 {
        test.post(&n.to_string(), &[handler("orders")]).await;
    }
    test.crash_after(befalls).await.unwrap();
    let lost = test.store().health().lost;
    (test, lost)
}

fn events(lost: &[LostRows]) -> Option<(i64, i64, u64)> {
    lost.iter().find(|lost| lost.what == "event").map(|l| (l.first, l.last, l.count()))
}

fn log_of(path: &Path) -> std::path::PathBuf {
    path.with_file_name("weir.db-wal")
}

#[tokio::test]
async fn damage_in_the_log_after_a_kill_is_reported_with_the_loss() {
    let (test, lost) = lost_after(|path| {
        let mut log = std::fs::read(log_of(path)).unwrap();
        // The last commits: each is a few pages.
        let at = log.len() - 12 * (PAGE + 24);
        log[at + 100] ^= 1;
        std::fs::write(log_of(path), log).unwrap();
    })
    .await;
    let (first, last, count) = events(&lost).unwrap();
    assert_eq!(last, 10);
    assert!(first > 1 && count == u64::try_from(11 - first).unwrap(), "{lost:?}");
    assert!(lost.iter().any(|lost| lost.what == "delivery"), "{lost:?}");
    let said = missed(&test).await.join(" ");
    assert!(said.contains(&format!("event rows {first} to 10")), "{said}");
    // No number is used again, and the next start finds no further loss.
    test.post("after", &[]).await;
    let conn = rusqlite::Connection::open(test.path()).unwrap();
    let newest: i64 = conn.query_row("SELECT max(n) FROM event", [], |row| row.get(0)).unwrap();
    assert_eq!(newest, 11);
    drop(conn);
    let mut test = test;
    test.crash().await;
    assert_eq!(test.store().health().lost, []);
    assert!(!missed(&test).await.is_empty(), "a check still says it");
}

#[tokio::test]
async fn a_log_deleted_after_a_kill_is_reported() {
    let (_bed, lost) = lost_after(|path| std::fs::remove_file(log_of(path)).unwrap()).await;
    assert_eq!(events(&lost), Some((1, 10, 10)));
}

#[tokio::test]
async fn a_log_truncated_after_a_kill_is_reported() {
    let (_bed, lost) = lost_after(|path| {
        let log = std::fs::File::options().write(true).open(log_of(path)).unwrap();
        log.set_len(log.metadata().unwrap().len() / 2).unwrap();
    })
    .await;
    assert!(events(&lost).is_some_and(|(_, last, _)| last == 10), "{lost:?}");
}

#[tokio::test]
async fn a_store_replaced_by_an_empty_one_is_reported() {
    let (_bed, lost) = lost_after(|path| {
        std::fs::remove_file(path).unwrap();
        std::fs::remove_file(log_of(path)).unwrap();
    })
    .await;
    assert_eq!(events(&lost), Some((1, 10, 10)));
}

#[tokio::test]
async fn a_store_replaced_by_an_older_copy_is_reported() {
    let mut test = TestStore::new().await;
    test.post("old", &[]).await;
    let copy = test.dir.path().join("copy");
    test.sqlite.backup(&copy).await.unwrap();
    for n in 0..10 {
        test.post(&n.to_string(), &[]).await;
    }
    test.store().close().await.unwrap();
    std::fs::rename(copy, test.path()).unwrap();
    test.open_again();
    assert_eq!(events(&test.store().health().lost), Some((2, 11, 10)));
}

#[tokio::test]
async fn a_kill_or_retention_alone_loses_nothing() {
    let (mut test, lost) = lost_after(|_| {}).await;
    assert_eq!(lost, []);
    for claimed in test.claim(&handler("orders"), Lane::Fresh, 100).await {
        test.settle(settlement(&claimed, NextState::Processed)).await;
    }
    let retention = weir_store::upkeep::Retention {
        payload_life: std::time::Duration::ZERO,
        attempt_life: std::time::Duration::ZERO,
        dedup_life: std::time::Duration::ZERO,
        ..weir_store::upkeep::Retention::default()
    };
    test.clock.forward(std::time::Duration::from_secs(7_200));
    while test.store().prune(&retention).await.unwrap().more {}
    for _ in 0..2 {
        test.crash().await;
        assert_eq!(test.store().health().lost, []);
        test.reopen().await;
        assert_eq!(test.store().health().lost, []);
    }
    assert!(missed(&test).await.is_empty());
}
