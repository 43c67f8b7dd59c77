//! The integrity check after an unclean end: a small store whole before the start, of a large one
//! the newest rows, and the rest while it works.

use std::path::Path;
use std::time::Duration;

use weir_store::health::IntegrityStatus;
use weir_store::{Maintenance, StoreError};

use crate::common::*;
use crate::test_store::TestStore;

/// Number of newer rows beyond which a row is not checked before the start.
const OLD: usize = 20_500;

/// A store that counts as large, with a few events.
async fn large() -> TestStore {
    let test = TestStore::with(|options| options.whole_check_bytes = 0).await;
    for n in 0..20 {
        test.post(&n.to_string(), &[handler("orders")]).await;
    }
    test
}

/// A store that counts as large, with more events than are checked before the start.
async fn large_and_old() -> TestStore {
    let test = TestStore::with(|options| options.whole_check_bytes = 0).await;
    for batch in 0..OLD / 500 {
        let requests = (0..500).map(|n| request(&format!("{batch}/{n}"), &[])).collect();
        for stored in test.store().ingest(requests).await {
            stored.unwrap();
        }
    }
    test
}

fn without_payload(n: u32) -> impl FnOnce(&Path) {
    move |path| {
        let conn = rusqlite::Connection::open(path).unwrap();
        conn.execute("DELETE FROM payload WHERE n = ?1", [n]).unwrap();
    }
}

/// Records in the slots file that a write or sync failed.
fn poison(path: &Path) {
    let slots = path.with_file_name("weir.db-slots");
    let mut bytes = std::fs::read(&slots).unwrap();
    bytes[12..16].copy_from_slice(&2u32.to_le_bytes());
    std::fs::write(slots, bytes).unwrap();
}

/// Waits until the check is done or found damage.
async fn looked_over(test: &TestStore) -> IntegrityStatus {
    let mut look = tokio::time::interval(Duration::from_millis(5));
    loop {
        look.tick().await;
        match test.store().health().integrity {
            IntegrityStatus::InProgress { percent } => assert!(percent < 100),
            over => return over,
        }
    }
}

fn assert_damaged(opened: Result<(), StoreError>, what: &str) {
    match opened {
        Err(StoreError::Damaged(why)) => assert!(why.contains(what), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_large_store_starts_at_once_after_a_kill_and_is_checked_later() {
    let mut test = large_and_old().await;
    test.crash().await;
    assert!(matches!(test.store().health().integrity, IntegrityStatus::InProgress { .. }));
    test.post("meanwhile", &[handler("orders")]).await;
    assert_eq!(looked_over(&test).await, IntegrityStatus::Done);
    test.assert_sound().await;
    test.reopen().await;
    assert_eq!(
        test.store().health().integrity,
        IntegrityStatus::Done,
        "a clean end leaves nothing to look at"
    );
}

#[tokio::test]
async fn the_newest_rows_of_a_large_store_are_checked_before_the_start() {
    let mut test = large().await;
    let refused = test.crash_after(without_payload(20)).await;
    assert_damaged(refused, "event 20 has a payload that is missing");
}

#[tokio::test]
async fn old_damage_in_a_large_store_is_found_later_and_poisons_it() {
    let mut test = large_and_old().await;
    test.crash_after(without_payload(7)).await.unwrap();
    let IntegrityStatus::Damaged(problem) = looked_over(&test).await else {
        panic!("it is damaged")
    };
    assert_eq!(problem, "event 7 has a payload that is missing");
    let reason = test.store().health().poisoned.unwrap();
    assert!(reason.contains(&problem), "{reason}");
    let answer = test.store().ingest(vec![request("after", &[])]).await.remove(0);
    assert!(matches!(answer, Err(StoreError::Poisoned { .. })), "{answer:?}");
    assert_damaged(test.crash_after(|_| {}).await, &problem);
}

#[tokio::test]
async fn a_large_store_is_checked_whole_after_a_failed_write_or_sync() {
    let mut test = large_and_old().await;
    let refused = test
        .crash_after(|path| {
            without_payload(7)(path);
            poison(path);
        })
        .await;
    assert_damaged(refused, "event 7 has a payload that is missing");
    test.crash_after(poison).await.unwrap();
    assert_eq!(test.store().health().integrity, IntegrityStatus::Done);
}

#[tokio::test]
async fn a_small_store_is_checked_whole_first() {
    let mut test = large_and_old().await;
    test.options.whole_check_bytes = 1 << 30;
    assert_damaged(test.crash_after(without_payload(7)).await, "event 7");
    test.crash().await;
    assert_eq!(test.store().health().integrity, IntegrityStatus::Done);
}

#[tokio::test]
async fn a_check_interrupted_by_a_clean_end_starts_again() {
    let mut test = large_and_old().await;
    test.crash_after(without_payload(20_400)).await.unwrap_err();
    test.crash_after(without_payload(7)).await.unwrap();
    // Closed before or after the check reached the damage: it is found either way.
    let _poisoned_or_not = test.sqlite.close().await;
    match weir_store::sqlite::open(&test.path(), test.options.clone()) {
        Ok(store) => {
            test.sqlite = std::sync::Arc::new(store);
            assert!(matches!(looked_over(&test).await, IntegrityStatus::Damaged(_)));
        }
        Err(e) => assert!(matches!(e, StoreError::Damaged(_)), "{e}"),
    }
}

#[tokio::test]
async fn a_truncated_file_is_refused_however_large() {
    let mut test = large_and_old().await;
    let refused = test.crash_after(|path| {
        let moved = rusqlite::Connection::open(path).unwrap();
        moved.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        drop(moved);
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    });
    assert!(matches!(refused.await, Err(StoreError::Damaged(_))));
}

#[tokio::test]
async fn a_store_in_use_can_be_checked_by_another_process() {
    let test = large().await;
    let url = format!("sqlite:{}", test.path().display());
    let report = weir_store::sqlite::check_url(&url).unwrap();
    assert_eq!((report.problems, report.deliveries), (Vec::new(), 20));
    without_payload(3)(&test.path());
    let report = weir_store::sqlite::check_url(&url).unwrap();
    assert_eq!(report.problems, ["event 3 has a payload that is missing"]);
    let nowhere = weir_store::sqlite::check_url("sqlite:/nowhere/weir.db");
    assert!(matches!(nowhere, Err(StoreError::Engine { .. })), "{nowhere:?}");
}
