//! A wall clock that is set: deliveries are due on time, and retention removes nothing too early.

use std::time::Duration;

use weir_core::delivery::NextState;
use weir_core::time::Clock as _;
use weir_store::upkeep::Retention;
use weir_store::{Lane, RoutedEffects, StoreError};

use crate::common::*;
use crate::engine::TestStore;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Stores a delivery that is due for a retry in 60 s.
async fn retried(test: &TestStore) {
    let orders = handler("orders");
    test.post("a", std::slice::from_ref(&orders)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    test.settle(retry_in(&claimed, 60)).await;
}

async fn due(test: &TestStore) -> usize {
    test.claim(&handler("orders"), Lane::Late, 10).await.len()
}

#[tokio::test]
async fn a_clock_set_back_delays_no_retry() {
    let test = TestStore::new().await;
    retried(&test).await;
    test.clock.forward(s(10));
    test.clock.set_back(HOUR * 5);
    assert_eq!(due(&test).await, 0);
    test.clock.forward(s(49));
    assert_eq!(due(&test).await, 0, "not before its time");
    test.clock.forward(s(1));
    assert_eq!(due(&test).await, 1, "and not five hours after it");
}

#[tokio::test]
async fn a_wait_that_starts_after_the_clock_was_set_back_is_not_longer() {
    let test = TestStore::new().await;
    retried(&test).await;
    test.clock.set_back(HOUR);
    test.clock.forward(s(60));
    let claimed = test.claim_one(&handler("orders"), Lane::Late).await;
    test.settle(retry_in(&claimed, 30)).await;
    let shown = test.store().delivery(claimed.delivery).await.unwrap().unwrap();
    assert_eq!(shown.due_at, Some(test.clock.now().after(s(30))), "shown as the clock is now");
    test.clock.forward(s(29));
    assert_eq!(due(&test).await, 0);
    test.clock.forward(s(1));
    assert_eq!(due(&test).await, 1);
}

#[tokio::test]
async fn a_delayed_message_is_due_on_time_though_the_clock_was_set_back() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    test.post("a", std::slice::from_ref(&orders)).await;
    let run = test.claim_one(&orders, Lane::Fresh).await;
    let effects =
        RoutedEffects { messages: vec![message(1, None, 60)], ..RoutedEffects::default() };
    test.settle(with_effects(&run, effects)).await;
    test.clock.set_back(DAY * 3);
    test.clock.forward(s(60));
    assert_eq!(test.claim(&destination("ops"), Lane::Late, 10).await.len(), 1);
}

#[tokio::test]
async fn a_restart_remembers_that_the_clock_was_set_back() {
    for crash in [false, true] {
        let mut test = TestStore::new().await;
        retried(&test).await;
        test.clock.set_back(HOUR);
        // The next write stores by how much.
        test.post("b", &[]).await;
        if crash {
            test.crash().await
        } else {
            test.reopen().await
        }
        test.clock.forward(s(59));
        assert_eq!(due(&test).await, 0, "crash: {crash}");
        test.clock.forward(s(1));
        assert_eq!(due(&test).await, 1, "crash: {crash}");
    }
}

#[tokio::test]
async fn a_clock_set_back_while_closed_delays_no_retry() {
    let mut test = TestStore::with(|options| options.marks_every = Some(Duration::ZERO)).await;
    retried(&test).await;
    test.store().close().await.unwrap();
    test.clock.forward(s(10));
    test.clock.set_back(HOUR * 2);
    test.open_again();
    // The time that it was closed is not known, but it is not negative.
    test.clock.forward(s(60));
    assert_eq!(due(&test).await, 1);
}

#[tokio::test]
async fn a_waiter_is_woken_on_time_though_the_clock_was_set_back() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    test.post("a", std::slice::from_ref(&orders)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    test.settle(retry_in(&claimed, 0)).await;
    assert_eq!(due(&test).await, 1, "and given back");
    test.clock.set_back(HOUR);
    // Otherwise it would wait for an hour.
    test.store().wait_due(HOUR).await;
    assert_eq!(due(&test).await, 1);
}

#[tokio::test]
async fn a_clock_set_ahead_makes_all_due_and_loses_nothing() {
    let mut test = TestStore::new().await;
    let orders = handler("orders");
    for (id, wait) in [("soon", 60), ("late", 86_400 * 20)] {
        test.post(id, std::slice::from_ref(&orders)).await;
        let claimed = test.claim_one(&orders, Lane::Fresh).await;
        test.settle(retry_in(&claimed, wait)).await;
    }
    test.clock.set_ahead(DAY * 365);
    assert_eq!(due(&test).await, 2);
    test.crash().await;
    let claimed = test.claim(&orders, Lane::Late, 10).await;
    assert_eq!(claimed.len(), 2);
    for one in &claimed {
        test.settle(retry_in(one, 60)).await;
    }
    drop(claimed);
    // An operator sets the clock right.
    test.clock.set_back(DAY * 365);
    test.clock.forward(s(60));
    assert_eq!(due(&test).await, 2);
}

#[tokio::test]
async fn retention_waits_for_confirmation_after_a_clock_jump() {
    let retention = Retention::default();
    for jump in [ManualClock::set_ahead, ManualClock::set_back] {
        let mut test = TestStore::new().await;
        test.post("a", &[]).await;
        jump(&test.clock, DAY * 40);
        test.post("b", &[]).await;
        for _ in 0..2 {
            let refused = test.store().prune(&retention).await;
            assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
            test.reopen().await;
        }
        test.store().confirm_time().await.unwrap();
        test.store().prune(&retention).await.unwrap();
    }
}

#[tokio::test]
async fn days_without_a_write_keep_the_clock_trusted() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    test.post("a", std::slice::from_ref(&orders)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    test.settle(settlement(&claimed, NextState::Processed)).await;
    test.clock.forward(DAY * 40);
    assert_eq!(test.store().prune(&Retention::default()).await.unwrap().events, 1);
}
