//! Giving up what waits for a target that is gone: whatever holds it and whenever it is due, each once.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_core::delivery::{DeliveryState, NextState};
use weir_core::name::SourceName;
use weir_store::hold::{HoldScope, NewHold};
use weir_store::query::{DeliveryFilter, PageRequest};
use weir_store::upkeep::Retention;
use weir_store::{Lane, Settled};

use crate::common::{Bed, destination, handler, request, retry_in, settlement};

fn missing(scope: HoldScope) -> NewHold {
    NewHold { scope, reason: "missing".into(), by: "weir".into(), until: None }
}

#[tokio::test]
async fn what_waits_for_a_target_that_is_gone_is_given_up_under_its_hold_due_or_not() {
    // A window so small that most of it is on disk only.
    let bed = Bed::with(|options| options.due_window = 4).await;
    let (gone, here) = (handler("gone"), destination("here"));
    for n in 0..20 {
        bed.post(&format!("e{n}"), &[gone.clone(), here.clone()]).await;
    }
    for claimed in bed.claim(&gone, Lane::Fresh, 9).await {
        let settled = bed.settle(retry_in(&claimed, 86_400)).await;
        assert!(matches!(settled, Settled::Applied { .. }));
    }
    bed.store().hold(missing(HoldScope::Handler("gone".parse().unwrap()))).await.unwrap();
    bed.store().hold(missing(HoldScope::Source(SourceName::stored("github")))).await.unwrap();
    assert!(bed.claim(&gone, Lane::Fresh, 100).await.is_empty());
    assert!(bed.claim(&gone, Lane::Late, 100).await.is_empty());

    let mut given_up = BTreeSet::new();
    loop {
        let claimed = bed.store().claim_abandoned(&gone, 3).await.unwrap();
        if claimed.is_empty() {
            break;
        }
        assert!(claimed.len() <= 3);
        for claimed in claimed {
            let settled = bed.settle(settlement(&claimed, NextState::DeadLetter)).await;
            assert!(matches!(settled, Settled::Applied { .. }));
            assert!(given_up.insert(claimed.delivery), "each once");
        }
    }
    assert_eq!(given_up.len(), 20);
    for delivery in given_up {
        assert_eq!(bed.state_of(delivery).await, DeliveryState::DeadLetter);
    }
    bed.assert_sound().await;
}

#[tokio::test]
async fn a_claim_that_gives_up_excludes_others_and_ends_as_every_claim_does() {
    let bed = Bed::new().await;
    let gone = destination("gone");
    bed.post("one", std::slice::from_ref(&gone)).await;
    let claimed = bed.store().claim_abandoned(&gone, 10).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert!(bed.store().claim_abandoned(&gone, 10).await.unwrap().is_empty());
    assert!(bed.claim(&gone, Lane::Fresh, 10).await.is_empty());
    drop(claimed);
    bed.claim_one(&gone, Lane::Fresh).await;
    assert!(bed.store().claim_abandoned(&handler("unheard-of"), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_dead_letter_is_kept_as_long_from_when_it_was_given_up_as_an_event_from_when_it_came() {
    let bed = Bed::new().await;
    let gone = handler("gone");
    bed.post("one", std::slice::from_ref(&gone)).await;
    let life = Retention::default().payload_life;
    bed.clock.forward(life + Duration::from_secs(60));
    bed.store().confirm_time().await.unwrap();
    let claimed = bed.claim_one(&gone, Lane::Fresh).await;
    bed.settle(settlement(&claimed, NextState::DeadLetter)).await;
    let dead = claimed.delivery;
    drop(claimed);
    bed.clock.forward(Duration::from_secs(60));
    while bed.store().prune(&Retention::default()).await.unwrap().more {}
    assert_eq!(bed.state_of(dead).await, DeliveryState::DeadLetter, "it only just became one");

    bed.clock.forward(life);
    bed.store().confirm_time().await.unwrap();
    while bed.store().prune(&Retention::default()).await.unwrap().more {}
    assert!(bed.store().delivery(dead).await.unwrap().is_none());
    bed.assert_sound().await;
}

#[tokio::test]
async fn ordered_deliveries_are_given_up_too_with_those_that_wait_behind_the_first() {
    let bed = Bed::new().await;
    let gone = handler("gone");
    for n in 0..6 {
        let mut request = request(&format!("e{n}"), std::slice::from_ref(&gone));
        request.events[0].routed.deliveries[0].order_key = Some("customer".into());
        bed.ingest(request).await;
    }
    loop {
        let claimed = bed.store().claim_abandoned(&gone, 10).await.unwrap();
        if claimed.is_empty() {
            break;
        }
        for claimed in &claimed {
            bed.settle(settlement(claimed, NextState::DeadLetter)).await;
        }
    }
    let dead = DeliveryFilter {
        state: Some(DeliveryState::DeadLetter),
        target: Some(gone),
        ..DeliveryFilter::default()
    };
    let dead = bed.store().deliveries(dead, PageRequest { limit: 10, after: None }).await.unwrap();
    assert_eq!(dead.items.len(), 6);
    bed.assert_sound().await;
}
