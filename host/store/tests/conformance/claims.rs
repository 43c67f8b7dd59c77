//! Claiming: who gets what when, what is given back, holds, order, restarts.

use std::collections::HashMap;
use std::time::Duration;

use weir_core::delivery::{DeliveryState, NextState};
use weir_core::name::{DestinationName, HandlerName, SourceName};
use weir_core::time::{Clock as _, Timestamp};
use weir_store::Store;
use weir_store::hold::{Hold, HoldScope, NewHold};
use weir_store::query::{CountsFilter, DeliveryFilter, PageRequest};
use weir_store::upkeep::RetryNow;
use weir_store::{Lane, NewRequest, Settled};

use crate::common::*;

#[tokio::test]
async fn a_hold_keeps_its_number_when_placed_again_and_no_other_gets_it() {
    let mut bed = Bed::new().await;
    let scope = HoldScope::Handler("orders".parse().unwrap());
    let first = bed.store().hold(hold(scope.clone())).await.unwrap();
    let placed = bed.store().holds().await.unwrap().pop().unwrap();
    assert!(bed.store().release(first).await.unwrap());
    let second = bed.store().hold(hold(scope.clone())).await.unwrap();
    assert!(second > first, "{second} after {first}");
    assert!(bed.store().release(second).await.unwrap());
    bed.reopen().await;
    let third = bed.store().hold(hold(scope)).await.unwrap();
    assert!(third > second, "{third} after {second}");
    assert!(bed.store().release(third).await.unwrap());

    bed.clock.forward(Duration::from_secs(60));
    bed.store().hold_again(placed.clone()).await.unwrap();
    bed.post("waits", &[handler("orders")]).await;
    assert_eq!(bed.store().holds().await.unwrap(), std::slice::from_ref(&placed));
    let until = Some(bed.clock.now().after(Duration::from_secs(5)));
    let longer = Hold { hold: NewHold { until, ..placed.hold }, ..placed };
    bed.store().hold_again(longer.clone()).await.unwrap();
    assert_eq!(bed.store().holds().await.unwrap(), [longer]);
    let orders = handler("orders");
    assert!(bed.claim(&orders, Lane::Fresh, 10).await.is_empty());
    bed.clock.forward(Duration::from_secs(6));
    assert_eq!(bed.claim(&orders, Lane::Fresh, 10).await.len(), 1, "placed twice, and held once");
}

#[tokio::test]
async fn what_waits_for_a_retry_is_due_at_once_and_keeps_its_attempts() {
    let mut bed = Bed::with(|options| options.due_window = 2).await;
    let (orders, ops) = (handler("orders"), destination("ops"));
    let mut ids = Vec::new();
    for n in 0..6 {
        bed.post(&format!("e{n}"), &[orders.clone(), ops.clone()]).await;
    }
    for target in [&orders, &ops] {
        loop {
            let claimed = bed.claim(target, Lane::Fresh, 2).await;
            if claimed.is_empty() {
                break;
            }
            for claimed in &claimed {
                ids.push(claimed.delivery);
                bed.settle(retry_in(claimed, 3_600)).await;
            }
        }
    }
    assert!(bed.claim(&orders, Lane::Late, 10).await.is_empty());
    let one = bed.store().retry_now(RetryNow::Delivery(ids[0])).await.unwrap();
    assert_eq!((&one.deliveries[..], one.more), (&ids[..1], false));
    let again = bed.store().retry_now(RetryNow::Delivery(ids[0])).await.unwrap();
    assert!(again.deliveries.is_empty(), "it is due already");
    let claimed = bed.claim(&orders, Lane::Late, 10).await;
    assert_eq!((claimed.len(), claimed[0].fence), (1, fence(0, 2)), "an attempt of its own");
    let under_way = bed.store().retry_now(RetryNow::Delivery(ids[0])).await.unwrap();
    assert!(under_way.deliveries.is_empty(), "it is tried already");
    drop(claimed);
    let all = bed.store().retry_now(RetryNow::Target(orders.clone())).await.unwrap();
    assert_eq!(all.deliveries.len(), 5);
    for _ in 0..2 {
        let mut seen = Vec::new();
        for _ in 0..6 {
            seen.extend(bed.claim(&orders, Lane::Late, 10).await);
        }
        assert_eq!(seen.len(), 6, "those on disk only too");
        drop(seen);
        assert!(bed.claim(&ops, Lane::Late, 10).await.is_empty(), "the other target waits on");
        bed.reopen().await;
    }
    let of_event = bed.store().event(bed.store().delivery(ids[11]).await.unwrap().unwrap().event);
    let of_event = of_event.await.unwrap().unwrap().id;
    let hastened = bed.store().retry_now(RetryNow::Event(of_event)).await.unwrap();
    assert_eq!(hastened.deliveries, [ids[11]], "what was due already stays as it is");
    let nothing = RetryNow::Target(handler("nothing"));
    assert!(bed.store().retry_now(nothing).await.unwrap().deliveries.is_empty());
    bed.assert_sound().await;
}

fn hold(scope: HoldScope) -> NewHold {
    NewHold { scope, reason: "operator".into(), by: "test".into(), until: None }
}

async fn count(bed: &Bed, of: &str, what: &str) -> u64 {
    let rows = bed.store().counts(CountsFilter::Deliveries).await.unwrap();
    rows.iter().find(|r| r.of == of && r.what == what).map_or(0, |r| r.count)
}

#[tokio::test]
async fn what_is_stored_can_be_claimed_at_once_and_only_once() {
    let bed = Bed::new().await;
    let orders = handler("orders");
    let id = bed.post("a", std::slice::from_ref(&orders)).await;
    let claimed = bed.claim_one(&orders, Lane::Fresh).await;
    assert_eq!((claimed.event.id, claimed.fence), (id, fence(0, 1)));
    assert_eq!(&*claimed.event.payload.body, br#"{"id":"a"}"#);
    assert_eq!(bed.state_of(claimed.delivery).await, DeliveryState::Processing);
    assert!(bed.claim(&orders, Lane::Fresh, 10).await.is_empty());
    assert_eq!(bed.store().extend(&[&claimed]).await.unwrap(), [true]);
    assert_eq!(count(&bed, "handler:orders", "processing").await, 1);
    assert_eq!(count(&bed, "handler:orders", "pending").await, 0);
}

#[tokio::test]
async fn a_dropped_claim_is_due_again_at_once_with_no_attempt_spent() {
    let bed = Bed::new().await;
    let orders = handler("orders");
    bed.post("a", std::slice::from_ref(&orders)).await;
    let first = bed.claim_one(&orders, Lane::Fresh).await;
    let delivery = first.delivery;
    drop(first);
    assert_eq!(bed.state_of(delivery).await, DeliveryState::Pending);
    let second = bed.claim_one(&orders, Lane::Fresh).await;
    assert_eq!((second.delivery, second.fence), (delivery, fence(0, 1)));
}

#[tokio::test]
async fn a_settled_claim_that_is_dropped_later_does_not_come_back() {
    let bed = Bed::new().await;
    let orders = handler("orders");
    bed.post("a", std::slice::from_ref(&orders)).await;
    let claimed = bed.claim_one(&orders, Lane::Fresh).await;
    bed.settle(settlement(&claimed, NextState::Processed)).await;
    drop(claimed);
    assert!(bed.claim(&orders, Lane::Fresh, 10).await.is_empty());
    assert!(bed.claim(&orders, Lane::Late, 10).await.is_empty());
}

#[tokio::test]
async fn a_retry_is_claimed_at_its_time_and_not_before() {
    let bed = Bed::new().await;
    let orders = handler("orders");
    bed.post("a", std::slice::from_ref(&orders)).await;
    let claimed = bed.claim_one(&orders, Lane::Fresh).await;
    bed.settle(retry_in(&claimed, 60)).await;
    drop(claimed);
    bed.clock.forward(Duration::from_secs(59));
    assert!(bed.claim(&orders, Lane::Late, 10).await.is_empty());
    bed.clock.forward(Duration::from_secs(1));
    assert!(bed.claim(&orders, Lane::Fresh, 10).await.is_empty());
    let again = bed.claim_one(&orders, Lane::Late).await;
    assert_eq!(again.fence, fence(0, 2));
}

#[tokio::test]
async fn a_restart_keeps_what_is_due_and_when() {
    let mut bed = Bed::new().await;
    let orders = handler("orders");
    for id in ["fresh", "claimed", "retried", "done"] {
        bed.post(id, std::slice::from_ref(&orders)).await;
    }
    let mut claims = HashMap::new();
    for claimed in bed.claim(&orders, Lane::Fresh, 4).await {
        claims.insert(claimed.event.delivery_id.clone().unwrap().to_string(), claimed);
    }
    bed.settle(retry_in(&claims["retried"], 60)).await;
    bed.settle(settlement(&claims["done"], NextState::Processed)).await;
    claims.remove("fresh");
    bed.clock.forward(Duration::from_secs(10));
    bed.reopen().await;
    drop(claims);
    let fresh = bed.claim(&orders, Lane::Fresh, 10).await;
    let mut ids: Vec<_> = fresh.iter().map(|c| c.event.delivery_id.clone().unwrap()).collect();
    ids.sort();
    assert_eq!(ids, ["claimed".into(), "fresh".into()]);
    assert!(fresh.iter().all(|c| c.fence == fence(0, 1)));
    assert!(bed.claim(&orders, Lane::Late, 10).await.is_empty());
    bed.clock.forward(Duration::from_secs(50));
    let late = bed.claim_one(&orders, Lane::Late).await;
    assert_eq!((late.event.delivery_id.as_deref(), late.fence), (Some("retried"), fence(0, 2)));
    bed.assert_sound().await;
}

#[tokio::test]
async fn nothing_is_lost_when_more_waits_than_memory_holds() {
    let mut bed = Bed::with(|o| (o.due_window, o.handoff_bytes) = (8, 4_000)).await;
    let orders = handler("orders");
    for batch in 0..10 {
        let requests: Vec<NewRequest> = (0..30)
            .map(|n| {
                let source = ["github", "stripe", "shopify"][n % 3];
                request_from(source, &format!("{batch}/{n}"), std::slice::from_ref(&orders))
            })
            .collect();
        bed.store().ingest(requests).await;
    }
    let mut seen = HashMap::new();
    for round in 0..1_000 {
        if round == 5 {
            bed.reopen().await;
        }
        let claimed = bed.claim(&orders, Lane::Fresh, 7).await;
        if claimed.is_empty() {
            break;
        }
        for (n, claimed) in claimed.iter().enumerate() {
            *seen.entry(claimed.delivery).or_insert(0) += 1;
            // Some are settled, some retried, some given back.
            match n {
                0..5 => drop(bed.settle(retry_in(claimed, 5)).await),
                5 => drop(bed.settle(settlement(claimed, NextState::Processed)).await),
                _ => {}
            }
        }
    }
    assert_eq!(seen.len(), 300, "every delivery was claimed");
    assert_eq!(count(&bed, "handler:orders", "pending").await, 0);
    bed.clock.forward(Duration::from_secs(5));
    let mut late = 0;
    loop {
        let claimed = bed.claim(&orders, Lane::Late, 7).await;
        if claimed.is_empty() {
            break;
        }
        late += claimed.len();
        for claimed in &claimed {
            bed.settle(settlement(claimed, NextState::Processed)).await;
        }
    }
    let page = PageRequest { limit: 1000, after: None };
    let filter =
        DeliveryFilter { state: Some(DeliveryState::Processed), ..DeliveryFilter::default() };
    let processed = bed.store().deliveries(filter, page).await.unwrap();
    assert_eq!(processed.items.len(), 300, "{late} of them in the second round");
    bed.assert_sound().await;
}

#[tokio::test]
async fn a_busy_source_does_not_keep_the_others_waiting() {
    let bed = Bed::new().await;
    let orders = handler("orders");
    let flood =
        (0..500).map(|n| request_from("loud", &n.to_string(), std::slice::from_ref(&orders)));
    bed.store().ingest(flood.collect()).await;
    let quiet =
        (0..3).map(|n| request_from("quiet", &n.to_string(), std::slice::from_ref(&orders)));
    bed.store().ingest(quiet.collect()).await;
    let claimed = bed.claim(&orders, Lane::Fresh, 6).await;
    let from_quiet = claimed.iter().filter(|c| c.event.source.as_str() == "quiet").count();
    assert_eq!((claimed.len(), from_quiet), (6, 3));
}

#[tokio::test]
async fn a_hold_stops_claims_and_nothing_else_until_it_is_released() {
    let mut bed = Bed::new().await;
    let (orders, ops) = (handler("orders"), destination("ops"));
    bed.post("a", &[orders.clone(), ops.clone()]).await;
    let id = bed.store().hold(hold(HoldScope::Handler(HandlerName::new("orders").unwrap()))).await;
    let id = id.unwrap();
    for _ in 0..2 {
        assert!(bed.claim(&orders, Lane::Fresh, 10).await.is_empty());
        assert_eq!(bed.claim(&ops, Lane::Fresh, 10).await.len(), 1);
        assert_eq!(count(&bed, "handler:orders", "held").await, 1);
        assert_eq!(bed.store().holds().await.unwrap().len(), 1);
        bed.reopen().await;
    }
    assert!(bed.store().release(id).await.unwrap());
    assert!(!bed.store().release(id).await.unwrap());
    assert_eq!(bed.claim(&orders, Lane::Fresh, 10).await.len(), 1);
}

#[tokio::test]
async fn holds_add_up_and_end_at_their_time() {
    let bed = Bed::new().await;
    let orders = handler("orders");
    let stripe = HoldScope::Source(SourceName::stored("stripe"));
    bed.store().hold(hold(stripe.clone())).await.unwrap();
    let until = Some(Timestamp::from_millis(START + 60_000));
    bed.store().hold(NewHold { until, ..hold(stripe) }).await.unwrap();
    bed.store().ingest(vec![request_from("stripe", "a", std::slice::from_ref(&orders))]).await;
    bed.post("b", std::slice::from_ref(&orders)).await;
    let first = bed.store().holds().await.unwrap()[0].id;
    assert!(bed.store().release(first).await.unwrap());
    let others = bed.claim(&orders, Lane::Fresh, 10).await;
    assert_eq!(others.len(), 1, "only the other source's event");
    bed.clock.forward(Duration::from_secs(60));
    assert_eq!(bed.claim(&orders, Lane::Fresh, 10).await.len(), 1);
    assert!(bed.store().holds().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_hold_on_a_destination_leaves_handlers_of_that_name_alone() {
    let bed = Bed::new().await;
    let scope = HoldScope::Destination(DestinationName::new("same").unwrap());
    bed.store().hold(hold(scope)).await.unwrap();
    bed.post("a", &[handler("same"), destination("same")]).await;
    assert_eq!(bed.claim(&handler("same"), Lane::Fresh, 10).await.len(), 1);
    assert!(bed.claim(&destination("same"), Lane::Fresh, 10).await.is_empty());
}

#[tokio::test]
async fn waiting_ends_when_work_comes_and_when_a_claim_is_given_back() {
    let bed = Bed::new().await;
    let orders = handler("orders");
    let long = Duration::from_secs(600);
    assert!(bed.claim(&orders, Lane::Fresh, 1).await.is_empty());
    let waiting = {
        let store = bed.sqlite.clone();
        tokio::spawn(async move { store.wait_due(long).await })
    };
    bed.post("a", std::slice::from_ref(&orders)).await;
    waiting.await.unwrap();
    let claimed = bed.claim(&orders, Lane::Fresh, 2).await;
    assert_eq!(claimed.len(), 1);
    let waiting = {
        let store = bed.sqlite.clone();
        tokio::spawn(async move { store.wait_due(long).await })
    };
    drop(claimed);
    waiting.await.unwrap();
    assert_eq!(bed.claim(&orders, Lane::Fresh, 2).await.len(), 1);
}

#[tokio::test]
async fn what_nobody_has_room_for_does_not_keep_waiters_awake() {
    let bed = Bed::new().await;
    let orders = handler("orders");
    bed.post("a", std::slice::from_ref(&orders)).await;
    bed.post("b", std::slice::from_ref(&orders)).await;
    // One was wanted and one was got: the other waits for the next claim, not for a wake-up.
    let _running = bed.claim(&orders, Lane::Fresh, 1).await;
    let wait = bed.store().wait_due(Duration::from_millis(20));
    let started = std::time::Instant::now();
    wait.await;
    assert!(started.elapsed() >= Duration::from_millis(20));
}

#[tokio::test]
async fn a_superseded_claim_is_refused_and_does_not_come_back() {
    let bed = Bed::new().await;
    let orders = handler("orders");
    bed.post("a", std::slice::from_ref(&orders)).await;
    let claimed = bed.claim_one(&orders, Lane::Fresh).await;
    let mut stale = settlement(&claimed, NextState::Processed);
    stale.fence = fence(0, 2);
    assert_eq!(bed.settle(stale).await, Settled::Superseded);
    let applied = bed.settle(settlement(&claimed, NextState::Processed)).await;
    assert!(matches!(applied, Settled::Applied { .. }));
    assert_eq!(bed.settle(settlement(&claimed, NextState::Processed)).await, Settled::Superseded);
}

/// Easy road 3 of the design: a crash keeps a retry's time.
#[tokio::test]
async fn a_retry_comes_at_its_time_after_a_crash_not_at_once_and_not_never() {
    let mut bed = Bed::new().await;
    let orders = handler("orders");
    bed.post("a", std::slice::from_ref(&orders)).await;
    let claimed = bed.claim_one(&orders, Lane::Fresh).await;
    bed.settle(retry_in(&claimed, 60)).await;
    bed.clock.forward(Duration::from_secs(5));
    bed.crash().await;
    bed.clock.forward(Duration::from_secs(5));
    let both = async |bed: &Bed| {
        let mut claimed = bed.claim(&orders, Lane::Fresh, 10).await;
        claimed.extend(bed.claim(&orders, Lane::Late, 10).await);
        claimed
    };
    assert!(both(&bed).await.is_empty(), "at 10 s");
    bed.clock.forward(Duration::from_millis(49_999));
    assert!(both(&bed).await.is_empty(), "a moment before");
    bed.clock.forward(Duration::from_millis(1));
    let again = both(&bed).await;
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].fence, again[0].suspect), (fence(0, 2), false));
}
