//! Looking a store over that the process before did not close: a small one whole before it takes anything in, a large
//! one what was written last, and the rest while work goes on.

use std::path::Path;
use std::time::Duration;

use weir_store::upkeep::IntegrityStatus;
use weir_store::{Store, StoreError};

use crate::common::*;

/// Rows past which a row is no longer among the newest.
const OLD: usize = 20_500;

/// A store that counts as large, with a few events.
async fn large() -> Bed {
    let bed = Bed::with(|options| options.whole_check_bytes = 0).await;
    for n in 0..20 {
        bed.post(&n.to_string(), &[handler("orders")]).await;
    }
    bed
}

/// A store that counts as large, with more events than what was written last is looked at of.
async fn large_and_old() -> Bed {
    let bed = Bed::with(|options| options.whole_check_bytes = 0).await;
    for batch in 0..OLD / 500 {
        let requests = (0..500).map(|n| request(&format!("{batch}/{n}"), &[])).collect();
        for stored in bed.store().ingest(requests).await {
            stored.unwrap();
        }
    }
    bed
}

fn without_payload(n: u32) -> impl FnOnce(&Path) {
    move |path| {
        let conn = rusqlite::Connection::open(path).unwrap();
        conn.execute("DELETE FROM payload WHERE n = ?1", [n]).unwrap();
    }
}

/// Says in the slots file that a write or sync failed.
fn poison(path: &Path) {
    let slots = path.with_file_name("weir.db-slots");
    let mut bytes = std::fs::read(&slots).unwrap();
    bytes[12..16].copy_from_slice(&2u32.to_le_bytes());
    std::fs::write(slots, bytes).unwrap();
}

/// Waits until the store has been looked over, or found to be wrong.
async fn looked_over(bed: &Bed) -> IntegrityStatus {
    let mut look = tokio::time::interval(Duration::from_millis(5));
    loop {
        look.tick().await;
        match bed.store().look_over() {
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
async fn a_large_store_takes_work_at_once_after_a_kill_and_is_looked_over_meanwhile() {
    let mut bed = large_and_old().await;
    bed.crash().await;
    assert!(matches!(bed.store().look_over(), IntegrityStatus::InProgress { .. }));
    bed.post("meanwhile", &[handler("orders")]).await;
    assert_eq!(looked_over(&bed).await, IntegrityStatus::Done);
    bed.assert_sound().await;
    bed.reopen().await;
    assert_eq!(
        bed.store().look_over(),
        IntegrityStatus::Done,
        "a clean end leaves nothing to look at"
    );
}

#[tokio::test]
async fn what_was_written_last_is_checked_before_a_large_store_takes_anything_in() {
    let mut bed = large().await;
    let refused = bed.crash_after(without_payload(20)).await;
    assert_damaged(refused, "event 20 has a payload that is missing");
}

#[tokio::test]
async fn old_damage_in_a_large_store_is_found_while_work_goes_on_and_ends_the_process() {
    let mut bed = large_and_old().await;
    bed.crash_after(without_payload(7)).await.unwrap();
    let IntegrityStatus::Damaged(problem) = looked_over(&bed).await else {
        panic!("it is damaged")
    };
    assert_eq!(problem, "event 7 has a payload that is missing");
    let reason = bed.store().poisoned().unwrap();
    assert!(reason.contains(&problem), "{reason}");
    let answer = bed.store().ingest(vec![request("after", &[])]).await.remove(0);
    assert!(matches!(answer, Err(StoreError::Poisoned { .. })), "{answer:?}");
    assert_damaged(bed.crash_after(|_| {}).await, &problem);
}

#[tokio::test]
async fn after_a_failed_write_or_sync_the_whole_of_a_large_store_is_checked_first() {
    let mut bed = large_and_old().await;
    let refused = bed
        .crash_after(|path| {
            without_payload(7)(path);
            poison(path);
        })
        .await;
    assert_damaged(refused, "event 7 has a payload that is missing");
    bed.crash_after(poison).await.unwrap();
    assert_eq!(bed.store().look_over(), IntegrityStatus::Done);
}

#[tokio::test]
async fn a_small_store_is_checked_whole_first() {
    let mut bed = large_and_old().await;
    bed.options.whole_check_bytes = 1 << 30;
    assert_damaged(bed.crash_after(without_payload(7)).await, "event 7");
    bed.crash().await;
    assert_eq!(bed.store().look_over(), IntegrityStatus::Done);
}

#[tokio::test]
async fn a_look_that_was_cut_short_by_a_clean_end_is_begun_again() {
    let mut bed = large_and_old().await;
    bed.crash_after(without_payload(20_400)).await.unwrap_err();
    bed.crash_after(without_payload(7)).await.unwrap();
    // Closed before anybody can have come as far as the damage, or after: it is found either way.
    let _poisoned_or_not = bed.sqlite.close().await;
    match weir_store::sqlite::open(&bed.path(), bed.options.clone()) {
        Ok(store) => {
            bed.sqlite = std::sync::Arc::new(store);
            assert!(matches!(looked_over(&bed).await, IntegrityStatus::Damaged(_)));
        }
        Err(e) => assert!(matches!(e, StoreError::Damaged(_)), "{e}"),
    }
}

#[tokio::test]
async fn a_file_that_ends_early_is_refused_however_large() {
    let mut bed = large_and_old().await;
    let refused = bed.crash_after(|path| {
        let moved = rusqlite::Connection::open(path).unwrap();
        moved.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        drop(moved);
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    });
    assert!(matches!(refused.await, Err(StoreError::Damaged(_))));
}

#[tokio::test]
async fn a_store_can_be_checked_whole_by_another_process_while_it_is_used() {
    let bed = large().await;
    let url = format!("sqlite:{}", bed.path().display());
    let report = weir_store::check(&url).unwrap();
    assert_eq!((report.problems, report.deliveries), (Vec::new(), 20));
    without_payload(3)(&bed.path());
    let report = weir_store::check(&url).unwrap();
    assert_eq!(report.problems, ["event 3 has a payload that is missing"]);
    let nowhere = weir_store::check("sqlite:/nowhere/weir.db");
    assert!(matches!(nowhere, Err(StoreError::Engine { .. })), "{nowhere:?}");
}
