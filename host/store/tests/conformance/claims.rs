//! Claiming: due times, dropped claims, holds, fairness between sources, and restarts.

use std::collections::HashMap;
use std::time::Duration;

use weir_core::delivery::{DeliveryState, NextState};
use weir_core::name::{DestinationName, HandlerName, SourceName};
use weir_core::time::{Clock as _, Timestamp};
use weir_store::hold::{Hold, HoldScope, NewHold};
use weir_store::query::{CountsFilter, DeliveryFilter, PageRequest};
use weir_store::upkeep::RetryNow;
use weir_store::{Lane, NewRequest, Settled};

use crate::common::*;
use crate::engine::TestStore;

#[tokio::test]
async fn a_restored_hold_keeps_its_number() {
    let mut test = TestStore::new().await;
    let scope = HoldScope::Handler("orders".parse().unwrap());
    let first = test.store().hold(hold(scope.clone())).await.unwrap();
    let placed = test.store().holds().await.unwrap().pop().unwrap();
    assert!(test.store().release(first).await.unwrap());
    let second = test.store().hold(hold(scope.clone())).await.unwrap();
    assert!(second > first, "{second} after {first}");
    assert!(test.store().release(second).await.unwrap());
    test.reopen().await;
    let third = test.store().hold(hold(scope)).await.unwrap();
    assert!(third > second, "{third} after {second}");
    assert!(test.store().release(third).await.unwrap());

    test.clock.forward(Duration::from_secs(60));
    test.store().restore_hold(placed.clone()).await.unwrap();
    test.post("waits", &[handler("orders")]).await;
    assert_eq!(test.store().holds().await.unwrap(), std::slice::from_ref(&placed));
    let until = Some(test.clock.now().after(Duration::from_secs(5)));
    let longer = Hold { hold: NewHold { until, ..placed.hold }, ..placed };
    test.store().restore_hold(longer.clone()).await.unwrap();
    assert_eq!(test.store().holds().await.unwrap(), [longer]);
    let orders = handler("orders");
    assert!(test.claim(&orders, Lane::Fresh, 10).await.is_empty());
    test.clock.forward(Duration::from_secs(6));
    assert_eq!(test.claim(&orders, Lane::Fresh, 10).await.len(), 1, "placed twice, and held once");
}

#[tokio::test]
async fn retry_now_makes_retries_due_and_keeps_their_attempts() {
    let mut test = TestStore::with(|options| options.due_window = Some(2)).await;
    let (orders, ops) = (handler("orders"), destination("ops"));
    let mut ids = Vec::new();
    for n in 0..6 {
        test.post(&format!("e{n}"), &[orders.clone(), ops.clone()]).await;
    }
    for target in [&orders, &ops] {
        loop {
            let claimed = test.claim(target, Lane::Fresh, 2).await;
            if claimed.is_empty() {
                break;
            }
            for claimed in &claimed {
                ids.push(claimed.delivery);
                test.settle(retry_in(claimed, 3_600)).await;
            }
        }
    }
    assert!(test.claim(&orders, Lane::Late, 10).await.is_empty());
    let one = test.store().retry_now(RetryNow::Delivery(ids[0])).await.unwrap();
    assert_eq!((&one.deliveries[..], one.more), (&ids[..1], false));
    let again = test.store().retry_now(RetryNow::Delivery(ids[0])).await.unwrap();
    assert!(again.deliveries.is_empty(), "it is due already");
    let claimed = test.claim(&orders, Lane::Late, 10).await;
    assert_eq!((claimed.len(), claimed[0].fence), (1, fence(0, 2)), "an attempt of its own");
    let under_way = test.store().retry_now(RetryNow::Delivery(ids[0])).await.unwrap();
    assert!(under_way.deliveries.is_empty(), "it is tried already");
    drop(claimed);
    let all = test.store().retry_now(RetryNow::Target(orders.clone())).await.unwrap();
    assert_eq!(all.deliveries.len(), 5);
    for _ in 0..2 {
        let mut seen = Vec::new();
        for _ in 0..6 {
            seen.extend(test.claim(&orders, Lane::Late, 10).await);
        }
        assert_eq!(seen.len(), 6, "those on disk only too");
        drop(seen);
        assert!(test.claim(&ops, Lane::Late, 10).await.is_empty(), "the other target waits on");
        test.reopen().await;
    }
    let of_event = test.store().event(test.store().delivery(ids[11]).await.unwrap().unwrap().event);
    let of_event = of_event.await.unwrap().unwrap().id;
    let hastened = test.store().retry_now(RetryNow::Event(of_event)).await.unwrap();
    assert_eq!(hastened.deliveries, [ids[11]], "what was due already stays as it is");
    let nothing = RetryNow::Target(handler("nothing"));
    assert!(test.store().retry_now(nothing).await.unwrap().deliveries.is_empty());
    test.assert_sound().await;
}

fn hold(scope: HoldScope) -> NewHold {
    NewHold { scope, reason: "operator".into(), by: "test".into(), until: None }
}

async fn count(test: &TestStore, of: &str, what: &str) -> u64 {
    let rows = test.store().counts(CountsFilter::Deliveries).await.unwrap();
    rows.iter().find(|r| r.of == of && r.what == what).map_or(0, |r| r.count)
}

#[tokio::test]
async fn a_stored_delivery_is_claimed_at_once_and_only_once() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    let id = test.post("a", std::slice::from_ref(&orders)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    assert_eq!((claimed.event.id, claimed.fence), (id, fence(0, 1)));
    assert_eq!(&*claimed.event.payload.body, br#"{"id":"a"}"#);
    assert_eq!(test.state_of(claimed.delivery).await, DeliveryState::Processing);
    assert!(test.claim(&orders, Lane::Fresh, 10).await.is_empty());
    assert_eq!(count(&test, "handler:orders", "processing").await, 1);
    assert_eq!(count(&test, "handler:orders", "pending").await, 0);
}

#[tokio::test]
async fn a_dropped_claim_is_due_at_once_and_counts_no_attempt() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    test.post("a", std::slice::from_ref(&orders)).await;
    let first = test.claim_one(&orders, Lane::Fresh).await;
    let delivery = first.delivery;
    drop(first);
    assert_eq!(test.state_of(delivery).await, DeliveryState::Pending);
    let second = test.claim_one(&orders, Lane::Fresh).await;
    assert_eq!((second.delivery, second.fence), (delivery, fence(0, 1)));
}

#[tokio::test]
async fn a_settled_claim_dropped_later_is_not_due_again() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    test.post("a", std::slice::from_ref(&orders)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    test.settle(settlement(&claimed, NextState::Processed)).await;
    drop(claimed);
    assert!(test.claim(&orders, Lane::Fresh, 10).await.is_empty());
    assert!(test.claim(&orders, Lane::Late, 10).await.is_empty());
}

#[tokio::test]
async fn a_retry_is_claimed_at_its_time_and_not_before() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    test.post("a", std::slice::from_ref(&orders)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    test.settle(retry_in(&claimed, 60)).await;
    drop(claimed);
    test.clock.forward(Duration::from_secs(59));
    assert!(test.claim(&orders, Lane::Late, 10).await.is_empty());
    test.clock.forward(Duration::from_secs(1));
    assert!(test.claim(&orders, Lane::Fresh, 10).await.is_empty());
    let again = test.claim_one(&orders, Lane::Late).await;
    assert_eq!(again.fence, fence(0, 2));
}

#[tokio::test]
async fn a_restart_keeps_what_is_due_and_when() {
    let mut test = TestStore::new().await;
    let orders = handler("orders");
    for id in ["fresh", "claimed", "retried", "done"] {
        test.post(id, std::slice::from_ref(&orders)).await;
    }
    let mut claims = HashMap::new();
    for claimed in test.claim(&orders, Lane::Fresh, 4).await {
        claims.insert(claimed.event.delivery_id.clone().unwrap().to_string(), claimed);
    }
    test.settle(retry_in(&claims["retried"], 60)).await;
    test.settle(settlement(&claims["done"], NextState::Processed)).await;
    claims.remove("fresh");
    test.clock.forward(Duration::from_secs(10));
    test.reopen().await;
    drop(claims);
    let fresh = test.claim(&orders, Lane::Fresh, 10).await;
    let mut ids: Vec<_> = fresh.iter().map(|c| c.event.delivery_id.clone().unwrap()).collect();
    ids.sort();
    assert_eq!(ids, ["claimed".into(), "fresh".into()]);
    assert!(fresh.iter().all(|c| c.fence == fence(0, 1)));
    assert!(test.claim(&orders, Lane::Late, 10).await.is_empty());
    test.clock.forward(Duration::from_secs(50));
    let late = test.claim_one(&orders, Lane::Late).await;
    assert_eq!((late.event.delivery_id.as_deref(), late.fence), (Some("retried"), fence(0, 2)));
    test.assert_sound().await;
}

#[tokio::test]
async fn nothing_is_lost_when_more_waits_than_fits_in_memory() {
    let mut test =
        TestStore::with(|o| (o.due_window, o.handoff_bytes) = (Some(8), Some(4_000))).await;
    let orders = handler("orders");
    for batch in 0..10 {
        let requests: Vec<NewRequest> = (0..30)
            .map(|n| {
                let source = ["github", "stripe", "shopify"][n % 3];
                request_from(source, &format!("{batch}/{n}"), std::slice::from_ref(&orders))
            })
            .collect();
        test.store().ingest(requests).await;
    }
    let mut seen = HashMap::new();
    for round in 0..1_000 {
        if round == 5 {
            test.reopen().await;
        }
        let claimed = test.claim(&orders, Lane::Fresh, 7).await;
        if claimed.is_empty() {
            break;
        }
        for (n, claimed) in claimed.iter().enumerate() {
            *seen.entry(claimed.delivery).or_insert(0) += 1;
            // Some are settled, some retried, some given back.
            match n {
                0..5 => drop(test.settle(retry_in(claimed, 5)).await),
                5 => drop(test.settle(settlement(claimed, NextState::Processed)).await),
                _ => {}
            }
        }
    }
    assert_eq!(seen.len(), 300, "every delivery was claimed");
    assert_eq!(count(&test, "handler:orders", "pending").await, 0);
    test.clock.forward(Duration::from_secs(5));
    let mut late = 0;
    loop {
        let claimed = test.claim(&orders, Lane::Late, 7).await;
        if claimed.is_empty() {
            break;
        }
        late += claimed.len();
        for claimed in &claimed {
            test.settle(settlement(claimed, NextState::Processed)).await;
        }
    }
    let page = PageRequest { limit: 1000, after: None };
    let filter =
        DeliveryFilter { states: vec![DeliveryState::Processed], ..DeliveryFilter::default() };
    let processed = test.store().deliveries(filter, page).await.unwrap();
    assert_eq!(processed.items.len(), 300, "{late} of them in the second round");
    test.assert_sound().await;
}

#[tokio::test]
async fn a_busy_source_does_not_delay_others() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    let flood =
        (0..500).map(|n| request_from("loud", &n.to_string(), std::slice::from_ref(&orders)));
    test.store().ingest(flood.collect()).await;
    let quiet =
        (0..3).map(|n| request_from("quiet", &n.to_string(), std::slice::from_ref(&orders)));
    test.store().ingest(quiet.collect()).await;
    let claimed = test.claim(&orders, Lane::Fresh, 6).await;
    let from_quiet = claimed.iter().filter(|c| c.event.source.as_str() == "quiet").count();
    assert_eq!((claimed.len(), from_quiet), (6, 3));
}

#[tokio::test]
async fn a_hold_stops_only_claims_until_it_is_released() {
    let mut test = TestStore::new().await;
    let (orders, ops) = (handler("orders"), destination("ops"));
    test.post("a", &[orders.clone(), ops.clone()]).await;
    let id = test.store().hold(hold(HoldScope::Handler(HandlerName::new("orders").unwrap()))).await;
    let id = id.unwrap();
    for _ in 0..2 {
        assert!(test.claim(&orders, Lane::Fresh, 10).await.is_empty());
        assert_eq!(test.claim(&ops, Lane::Fresh, 10).await.len(), 1);
        assert_eq!(count(&test, "handler:orders", "held").await, 1);
        assert_eq!(test.store().holds().await.unwrap().len(), 1);
        test.reopen().await;
    }
    assert!(test.store().release(id).await.unwrap());
    assert!(!test.store().release(id).await.unwrap());
    assert_eq!(test.claim(&orders, Lane::Fresh, 10).await.len(), 1);
}

#[tokio::test]
async fn a_hold_on_the_hub_stops_every_claim_also_after_a_restart() {
    let mut test = TestStore::new().await;
    let (orders, ops) = (handler("orders"), destination("ops"));
    let id = test.store().hold(hold(HoldScope::Hub)).await.unwrap();
    test.post("a", &[orders.clone(), ops.clone()]).await;
    for _ in 0..2 {
        for target in [&orders, &ops] {
            assert!(test.claim(target, Lane::Fresh, 10).await.is_empty());
            assert_eq!(count(&test, &target.to_string(), "held").await, 1);
        }
        assert_eq!(test.store().holds().await.unwrap()[0].hold.scope, HoldScope::Hub);
        test.reopen().await;
    }
    assert!(test.store().release(id).await.unwrap());
    assert_eq!(test.claim(&orders, Lane::Fresh, 10).await.len(), 1);
    assert_eq!(test.claim(&ops, Lane::Fresh, 10).await.len(), 1);
}

#[tokio::test]
async fn several_holds_add_up_and_end_at_their_time() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    let stripe = HoldScope::Source(SourceName::stored("stripe"));
    test.store().hold(hold(stripe.clone())).await.unwrap();
    let until = Some(Timestamp::from_millis(START + 60_000));
    test.store().hold(NewHold { until, ..hold(stripe) }).await.unwrap();
    test.store().ingest(vec![request_from("stripe", "a", std::slice::from_ref(&orders))]).await;
    test.post("b", std::slice::from_ref(&orders)).await;
    let first = test.store().holds().await.unwrap()[0].id;
    assert!(test.store().release(first).await.unwrap());
    let others = test.claim(&orders, Lane::Fresh, 10).await;
    assert_eq!(others.len(), 1, "only the other source's event");
    test.clock.forward(Duration::from_secs(60));
    assert_eq!(test.claim(&orders, Lane::Fresh, 10).await.len(), 1);
    assert!(test.store().holds().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_hold_on_a_destination_spares_the_handler_of_that_name() {
    let test = TestStore::new().await;
    let scope = HoldScope::Destination(DestinationName::new("same").unwrap());
    test.store().hold(hold(scope)).await.unwrap();
    test.post("a", &[handler("same"), destination("same")]).await;
    assert_eq!(test.claim(&handler("same"), Lane::Fresh, 10).await.len(), 1);
    assert!(test.claim(&destination("same"), Lane::Fresh, 10).await.is_empty());
}

#[tokio::test]
async fn waiting_ends_for_new_work_and_for_a_dropped_claim() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    let long = Duration::from_secs(600);
    assert!(test.claim(&orders, Lane::Fresh, 1).await.is_empty());
    let waiting = {
        let store = test.shared();
        tokio::spawn(async move { store.wait_due(long).await })
    };
    test.post("a", std::slice::from_ref(&orders)).await;
    waiting.await.unwrap();
    let claimed = test.claim(&orders, Lane::Fresh, 2).await;
    assert_eq!(claimed.len(), 1);
    let waiting = {
        let store = test.shared();
        tokio::spawn(async move { store.wait_due(long).await })
    };
    drop(claimed);
    waiting.await.unwrap();
    assert_eq!(test.claim(&orders, Lane::Fresh, 2).await.len(), 1);
}

#[tokio::test]
async fn unclaimed_work_does_not_wake_waiters_forever() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    test.post("a", std::slice::from_ref(&orders)).await;
    test.post("b", std::slice::from_ref(&orders)).await;
    // One was requested and one was claimed: the other waits for the next claim, without a wake-up.
    let _running = test.claim(&orders, Lane::Fresh, 1).await;
    let wait = test.store().wait_due(Duration::from_millis(20));
    let started = std::time::Instant::now();
    wait.await;
    assert!(started.elapsed() >= Duration::from_millis(20));
}

#[tokio::test]
async fn a_superseded_claim_is_refused_and_not_due_again() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    test.post("a", std::slice::from_ref(&orders)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    let mut stale = settlement(&claimed, NextState::Processed);
    stale.fence = fence(0, 2);
    assert_eq!(test.settle(stale).await, Settled::Superseded);
    let applied = test.settle(settlement(&claimed, NextState::Processed)).await;
    assert!(matches!(applied, Settled::Applied { .. }));
    assert_eq!(test.settle(settlement(&claimed, NextState::Processed)).await, Settled::Superseded);
}

/// A crash keeps the due time of a retry.
#[tokio::test]
async fn a_retry_is_due_at_its_time_after_a_crash() {
    let mut test = TestStore::new().await;
    let orders = handler("orders");
    test.post("a", std::slice::from_ref(&orders)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    test.settle(retry_in(&claimed, 60)).await;
    test.clock.forward(Duration::from_secs(5));
    test.crash().await;
    test.clock.forward(Duration::from_secs(5));
    let both = async |test: &TestStore| {
        let mut claimed = test.claim(&orders, Lane::Fresh, 10).await;
        claimed.extend(test.claim(&orders, Lane::Late, 10).await);
        claimed
    };
    assert!(both(&test).await.is_empty(), "at 10 s");
    test.clock.forward(Duration::from_millis(49_999));
    assert!(both(&test).await.is_empty(), "a moment before");
    test.clock.forward(Duration::from_millis(1));
    let again = both(&test).await;
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].fence, again[0].suspect), (fence(0, 2), false));
}
