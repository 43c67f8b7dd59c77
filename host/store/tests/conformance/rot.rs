//! Rot: pages, payloads and logs that are damaged after they were written. What can be read goes on, and what cannot
//! is said.

use std::path::Path;

use weir_core::delivery::NextState;
use weir_store::Lane;
use weir_store::StoreError;
use weir_store::condition::{LostRows, UnreadableRows};
use weir_store::upkeep::CheckReport;

use crate::common::*;

const PAGE: usize = 4_096;
const EVENTS: usize = 600;

/// A store that was closed, with events that wait for a destination and are longer than they are packed.
async fn closed() -> Bed {
    let bed = Bed::with(|options| options.dictionary_after = 0).await;
    let requests = (0..EVENTS).map(|n| request(&n.to_string(), &[destination("ops")])).collect();
    for stored in bed.store().ingest(requests).await {
        stored.unwrap();
    }
    bed.store().close().await.unwrap();
    bed
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

/// Claims and settles all that waits for the destination, some at a time; how many.
async fn send_all(bed: &Bed) -> usize {
    let mut sent = 0;
    loop {
        let claimed = bed.claim(&destination("ops"), Lane::Fresh, 50).await;
        if claimed.is_empty() {
            return sent;
        }
        let mut open: Vec<_> = claimed.iter().collect();
        while !open.is_empty() {
            let settlements = open.iter().map(|c| settlement(c, NextState::Processed)).collect();
            let answers = bed.store().settle(settlements).await;
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
async fn deliveries_behind_a_damaged_page_go_on_and_the_rest_is_listed() {
    for table in ["payload", "event", "delivery"] {
        for due_window in [16_384, 40] {
            let mut bed = closed().await;
            bed.options.due_window = due_window;
            wreck(&bed.path(), table);
            bed.open_again();
            let sent = send_all(&bed).await;
            let unreadable = bed.store().unreadable();
            let of = |what| -> Vec<UnreadableRows> {
                unreadable.iter().filter(|rows| rows.what == what).cloned().collect()
            };
            let aside = rows(&of("delivery"));
            assert_eq!(sent + aside, EVENTS, "{table} {due_window}: {unreadable:?}");
            // The ends of attempts at neighbours of a damaged delivery may find no room beside it.
            let of_pages =
                unreadable.iter().filter(|rows| !rows.reason.contains("cannot be written"));
            let of_pages =
                rows(&of_pages.filter(|r| r.what == "delivery").cloned().collect::<Vec<_>>());
            assert!(of_pages > 0 && of_pages < 200 && sent > 100, "{table}: {of_pages} {sent}");
            assert_eq!(bed.store().condition().unreadable, rows(&unreadable) as u64, "{table}");
            assert_eq!(bed.store().poisoned(), None);
            assert!(unreadable.iter().all(|rows| !rows.reason.is_empty()));
        }
    }
}

#[tokio::test]
async fn a_payload_of_which_a_bit_has_changed_is_not_sent() {
    let mut bed = closed().await;
    let conn = rusqlite::Connection::open(bed.path()).unwrap();
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
    bed.open_again();
    assert_eq!(send_all(&bed).await, EVENTS - flipped.len());
    let unreadable = bed.store().unreadable();
    assert_eq!(unreadable.len(), flipped.len());
    for rows in &unreadable {
        assert_eq!((rows.what, rows.target.as_deref()), ("delivery", Some("destination:ops")));
        let id = rows.id.as_deref().unwrap().parse().unwrap();
        let found = bed.store().delivery(id).await.unwrap().unwrap();
        assert_eq!(found.attempts, 0, "it is still there, and was not tried");
    }
    let CheckReport { problems, .. } = bed.store().check().await.unwrap();
    let of_payloads = problems.iter().filter(|p| p.contains("not those that were stored"));
    assert_eq!(of_payloads.count(), flipped.len(), "{problems:?}");
}

#[tokio::test]
async fn a_payload_in_another_ones_row_is_not_sent() {
    let mut bed = closed().await;
    let conn = rusqlite::Connection::open(bed.path()).unwrap();
    conn.execute_batch(
        "UPDATE payload SET (codec, size, data, sum) = (SELECT codec, size, data, sum FROM payload WHERE n = 8)
         WHERE n = 9",
    )
    .unwrap();
    drop(conn);
    bed.open_again();
    assert_eq!(send_all(&bed).await, EVENTS - 1);
    assert_eq!(bed.store().condition().unreadable, 1);
}

#[tokio::test]
async fn an_event_that_is_missing_sets_its_delivery_aside() {
    let mut bed = closed().await;
    let conn = rusqlite::Connection::open(bed.path()).unwrap();
    conn.execute("DELETE FROM event WHERE n = 44", []).unwrap();
    drop(conn);
    bed.open_again();
    assert_eq!(send_all(&bed).await, EVENTS - 1);
    let unreadable = bed.store().unreadable();
    assert_eq!(&*unreadable[0].reason, "its event is missing");
}

/// The problems that a check finds with what was acknowledged.
async fn missed(bed: &Bed) -> Vec<String> {
    let CheckReport { problems, .. } = bed.store().check().await.unwrap();
    problems.into_iter().filter(|problem| problem.contains("acknowledged")).collect()
}

/// Ten events, something that befalls the files after a kill, and what is said to be lost.
async fn lost_after(befalls: impl FnOnce(&Path)) -> (Bed, Vec<LostRows>) {
    let mut bed = Bed::new().await;
    for n in 0..10 {
        bed.post(&n.to_string(), &[handler("orders")]).await;
    }
    bed.crash_after(befalls).await.unwrap();
    let lost = bed.store().condition().lost;
    (bed, lost)
}

fn events(lost: &[LostRows]) -> Option<(i64, i64, u64)> {
    lost.iter().find(|lost| lost.what == "event").map(|l| (l.first, l.last, l.count()))
}

fn log_of(path: &Path) -> std::path::PathBuf {
    path.with_file_name("weir.db-wal")
}

#[tokio::test]
async fn rot_in_the_log_after_a_kill_is_told_with_what_is_lost() {
    let (bed, lost) = lost_after(|path| {
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
    let said = missed(&bed).await.join(" ");
    assert!(said.contains(&format!("event rows {first} to 10")), "{said}");
    // No number is given out again, and the next start misses nothing more.
    bed.post("after", &[]).await;
    let conn = rusqlite::Connection::open(bed.path()).unwrap();
    let newest: i64 = conn.query_row("SELECT max(n) FROM event", [], |row| row.get(0)).unwrap();
    assert_eq!(newest, 11);
    drop(conn);
    let mut bed = bed;
    bed.crash().await;
    assert_eq!(bed.store().condition().lost, []);
    assert!(!missed(&bed).await.is_empty(), "a check still says it");
}

#[tokio::test]
async fn a_log_that_was_deleted_after_a_kill_is_told() {
    let (_bed, lost) = lost_after(|path| std::fs::remove_file(log_of(path)).unwrap()).await;
    assert_eq!(events(&lost), Some((1, 10, 10)));
}

#[tokio::test]
async fn a_log_that_was_cut_off_after_a_kill_is_told() {
    let (_bed, lost) = lost_after(|path| {
        let log = std::fs::File::options().write(true).open(log_of(path)).unwrap();
        log.set_len(log.metadata().unwrap().len() / 2).unwrap();
    })
    .await;
    assert!(events(&lost).is_some_and(|(_, last, _)| last == 10), "{lost:?}");
}

#[tokio::test]
async fn a_store_that_was_replaced_by_an_empty_one_is_told() {
    let (_bed, lost) = lost_after(|path| {
        std::fs::remove_file(path).unwrap();
        std::fs::remove_file(log_of(path)).unwrap();
    })
    .await;
    assert_eq!(events(&lost), Some((1, 10, 10)));
}

#[tokio::test]
async fn an_older_copy_in_the_place_of_a_store_is_told() {
    let mut bed = Bed::new().await;
    bed.post("old", &[]).await;
    let copy = bed.dir.path().join("copy");
    bed.store().backup(&copy).await.unwrap();
    for n in 0..10 {
        bed.post(&n.to_string(), &[]).await;
    }
    bed.store().close().await.unwrap();
    std::fs::rename(copy, bed.path()).unwrap();
    bed.open_again();
    assert_eq!(events(&bed.store().condition().lost), Some((2, 11, 10)));
}

#[tokio::test]
async fn a_kill_or_retention_alone_loses_nothing() {
    let (mut bed, lost) = lost_after(|_| {}).await;
    assert_eq!(lost, []);
    for claimed in bed.claim(&handler("orders"), Lane::Fresh, 100).await {
        bed.settle(settlement(&claimed, NextState::Processed)).await;
    }
    let retention = weir_store::upkeep::Retention {
        payload_life: std::time::Duration::ZERO,
        attempt_life: std::time::Duration::ZERO,
        dedup_life: std::time::Duration::ZERO,
    };
    bed.clock.forward(std::time::Duration::from_secs(7_200));
    while bed.store().prune(&retention).await.unwrap().more {}
    for _ in 0..2 {
        bed.crash().await;
        assert_eq!(bed.store().condition().lost, []);
        bed.reopen().await;
        assert_eq!(bed.store().condition().lost, []);
    }
    assert!(missed(&bed).await.is_empty());
}
