//! Runs that kill the process, and the file that records runs.

use std::path::Path;
use std::process::Command;

use weir_core::delivery::{DeliveryState, NextState};
use weir_store::sqlite::Options;
use weir_store::{Claim, Dispatch, Lane, Maintenance, Queries, Settled};

use crate::common::*;
use crate::test_store::TestStore;

async fn claims(test: &TestStore, ids: &[&str]) -> Vec<Claim> {
    let orders = handler("orders");
    for id in ids {
        test.post(id, std::slice::from_ref(&orders)).await;
    }
    test.claim(&orders, Lane::Fresh, ids.len()).await
}

/// Environment variable with the store of a child process.
const CHILD: &str = "WEIR_STORE_LOST_CHILD";

#[tokio::test]
async fn a_damaged_slots_file_does_not_prevent_the_start() {
    let mut test = TestStore::new().await;
    let claimed = claims(&test, &["a"]).await.remove(0);
    let _running = test.store().begin_run(&claimed).unwrap();
    for garbage in [&b""[..], b"weir", &[0xff; 10_000]] {
        let damaged = |path: &Path| {
            std::fs::write(path.with_file_name("weir.db-slots"), garbage).unwrap();
        };
        test.crash_after(damaged).await.unwrap();
        assert_eq!(test.state_of(claimed.delivery).await, DeliveryState::Pending);
    }
}

/// Runs due deliveries one after the other, and aborts at the poisonous one.
async fn work(path: &Path) {
    let store = weir_store::sqlite::open(path, Options::new(ManualClock::new())).unwrap();
    loop {
        let claimed = store.claim(&both_lanes("orders")).await.unwrap();
        if claimed.is_empty() {
            break;
        }
        for claimed in claimed {
            let running = store.begin_run(&claimed).unwrap();
            if claimed.event.delivery_id.as_deref() == Some("poison") {
                std::process::abort();
            }
            drop(running);
            let settled = store
                .settle(&shared(vec![settlement(&claimed, NextState::Processed)]))
                .await
                .remove(0);
            assert!(matches!(settled, Ok(Settled::Applied { .. })), "{settled:?}");
        }
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_run_that_aborts_the_process_twice_is_given_up() {
    if let Some(path) = std::env::var_os(CHILD) {
        return work(Path::new(&path)).await;
    }
    let test = TestStore::new().await;
    let orders = handler("orders");
    for id in ["before", "poison", "after"] {
        test.post(id, std::slice::from_ref(&orders)).await;
    }
    test.store().close().await.unwrap();
    let test_name = "host_lost::a_run_that_aborts_the_process_twice_is_given_up";
    let mut deaths = 0;
    loop {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args([test_name, "--exact", "--test-threads=1"]).env(CHILD, test.path());
        if child.output().unwrap().status.success() {
            break;
        }
        deaths += 1;
        assert!(deaths < 10, "a crash loop");
    }
    assert_eq!(deaths, 2);
    let store = weir_store::sqlite::open(&test.path(), test.options.clone()).unwrap();
    let page = weir_store::query::PageRequest { limit: 10, after: None };
    let all = store.deliveries(Default::default(), page).await.unwrap();
    let states: Vec<_> = all.items.iter().map(|d| d.state).collect();
    use DeliveryState::{DeadLetter, Processed};
    assert_eq!(states, [Processed, DeadLetter, Processed]);
}
