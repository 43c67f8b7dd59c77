//! A wall clock that somebody sets: what waits is due when it was meant to be, and nothing is removed by a wrong time.

use std::time::Duration;

use weir_core::delivery::NextState;
use weir_core::time::Clock as _;
use weir_store::upkeep::Retention;
use weir_store::{Lane, RoutedEffects};
use weir_store::{Store as _, StoreError};

use crate::common::*;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One delivery that is to be tried again in 60 s.
async fn retried(bed: &Bed) {
    let orders = handler("orders");
    bed.post("a", std::slice::from_ref(&orders)).await;
    let claimed = bed.claim_one(&orders, Lane::Fresh).await;
    bed.settle(retry_in(&claimed, 60)).await;
}

async fn due(bed: &Bed) -> usize {
    bed.claim(&handler("orders"), Lane::Late, 10).await.len()
}

#[tokio::test]
async fn a_clock_that_is_set_back_delays_no_retry() {
    let bed = Bed::new().await;
    retried(&bed).await;
    bed.clock.forward(s(10));
    bed.clock.set_back(HOUR * 5);
    assert_eq!(due(&bed).await, 0);
    bed.clock.forward(s(49));
    assert_eq!(due(&bed).await, 0, "not before its time");
    bed.clock.forward(s(1));
    assert_eq!(due(&bed).await, 1, "and not five hours after it");
}

#[tokio::test]
async fn a_wait_that_begins_after_the_clock_was_set_back_is_as_long_as_any() {
    let bed = Bed::new().await;
    retried(&bed).await;
    bed.clock.set_back(HOUR);
    bed.clock.forward(s(60));
    let claimed = bed.claim_one(&handler("orders"), Lane::Late).await;
    bed.settle(retry_in(&claimed, 30)).await;
    let shown = bed.store().delivery(claimed.delivery).await.unwrap().unwrap();
    assert_eq!(shown.due_at, Some(bed.clock.now().after(s(30))), "shown as the clock is now");
    bed.clock.forward(s(29));
    assert_eq!(due(&bed).await, 0);
    bed.clock.forward(s(1));
    assert_eq!(due(&bed).await, 1);
}

#[tokio::test]
async fn a_message_that_was_delayed_leaves_at_its_time_though_the_clock_was_set_back() {
    let bed = Bed::new().await;
    let orders = handler("orders");
    bed.post("a", std::slice::from_ref(&orders)).await;
    let run = bed.claim_one(&orders, Lane::Fresh).await;
    let effects =
        RoutedEffects { messages: vec![message(1, None, 60)], ..RoutedEffects::default() };
    bed.settle(with_effects(&run, effects)).await;
    bed.clock.set_back(DAY * 3);
    bed.clock.forward(s(60));
    assert_eq!(bed.claim(&destination("ops"), Lane::Late, 10).await.len(), 1);
}

#[tokio::test]
async fn a_restart_forgets_nothing_of_a_clock_that_was_set_back() {
    for crash in [false, true] {
        let mut bed = Bed::new().await;
        retried(&bed).await;
        bed.clock.set_back(HOUR);
        // What is written next says by how much.
        bed.post("b", &[]).await;
        if crash {
            bed.crash().await
        } else {
            bed.reopen().await
        }
        bed.clock.forward(s(59));
        assert_eq!(due(&bed).await, 0, "crash: {crash}");
        bed.clock.forward(s(1));
        assert_eq!(due(&bed).await, 1, "crash: {crash}");
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_while_the_store_is_closed_delays_no_retry_either() {
    let mut bed = Bed::with(|options| options.marks_every = Duration::ZERO).await;
    retried(&bed).await;
    bed.sqlite.close().await.unwrap();
    bed.clock.forward(s(10));
    bed.clock.set_back(HOUR * 2);
    bed.open_again();
    // How long it was closed for is not known, only that time did not go back.
    bed.clock.forward(s(60));
    assert_eq!(due(&bed).await, 1);
}

#[tokio::test]
async fn a_waiter_is_woken_at_the_time_that_was_meant_though_the_clock_was_set_back() {
    let bed = Bed::new().await;
    let orders = handler("orders");
    bed.post("a", std::slice::from_ref(&orders)).await;
    let claimed = bed.claim_one(&orders, Lane::Fresh).await;
    bed.settle(retry_in(&claimed, 0)).await;
    assert_eq!(due(&bed).await, 1, "and given back");
    bed.clock.set_back(HOUR);
    // Would wait for an hour.
    bed.store().wait_due(HOUR).await;
    assert_eq!(due(&bed).await, 1);
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_makes_everything_due_and_loses_nothing() {
    let mut bed = Bed::new().await;
    let orders = handler("orders");
    for (id, wait) in [("soon", 60), ("late", 86_400 * 20)] {
        bed.post(id, std::slice::from_ref(&orders)).await;
        let claimed = bed.claim_one(&orders, Lane::Fresh).await;
        bed.settle(retry_in(&claimed, wait)).await;
    }
    bed.clock.set_ahead(DAY * 365);
    assert_eq!(due(&bed).await, 2);
    bed.crash().await;
    let claimed = bed.claim(&orders, Lane::Late, 10).await;
    assert_eq!(claimed.len(), 2);
    for one in &claimed {
        bed.settle(retry_in(one, 60)).await;
    }
    drop(claimed);
    // Somebody sees it and sets it right.
    bed.clock.set_back(DAY * 365);
    bed.clock.forward(s(60));
    assert_eq!(due(&bed).await, 2);
}

#[tokio::test]
async fn nothing_is_removed_by_a_clock_that_jumped_until_a_person_says_that_it_is_right() {
    let retention = Retention::default();
    for jump in [ManualClock::set_ahead, ManualClock::set_back] {
        let mut bed = Bed::new().await;
        bed.post("a", &[]).await;
        jump(&bed.clock, DAY * 40);
        bed.post("b", &[]).await;
        for _ in 0..2 {
            let refused = bed.store().prune(&retention).await;
            assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
            bed.reopen().await;
        }
        bed.store().confirm_time().await.unwrap();
        bed.store().prune(&retention).await.unwrap();
    }
}

#[tokio::test]
async fn days_that_go_by_while_nothing_is_written_cast_no_doubt_on_the_clock() {
    let bed = Bed::new().await;
    let orders = handler("orders");
    bed.post("a", std::slice::from_ref(&orders)).await;
    let claimed = bed.claim_one(&orders, Lane::Fresh).await;
    bed.settle(settlement(&claimed, NextState::Processed)).await;
    bed.clock.forward(DAY * 40);
    assert_eq!(bed.store().prune(&Retention::default()).await.unwrap().events, 1);
}
