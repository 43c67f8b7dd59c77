//! Giving up deliveries of a removed target: despite holds and due times, each once.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_core::delivery::{DeliveryState, NextState};
use weir_core::name::SourceName;
use weir_store::hold::{HoldScope, NewHold};
use weir_store::query::{DeliveryFilter, PageRequest};
use weir_store::upkeep::Retention;
use weir_store::{Lane, Settled};

use crate::common::{StoreTestExt, destination, handler, request, retry_in, settlement};
use crate::engine::TestStore;

fn missing(scope: HoldScope) -> NewHold {
    NewHold { scope, reason: "missing".into(), by: "weir".into(), until: None }
}

#[tokio::test]
async fn deliveries_of_a_removed_target_are_given_up_despite_holds() {
    // A window so small that most of it is on disk only.
    let test = TestStore::with(|options| options.due_window = Some(4)).await;
    let (gone, here) = (handler("gone"), destination("here"));
    for n in 0..20 {
        test.post(&format!("e{n}"), &[gone.clone(), here.clone()]).await;
    }
    for claimed in test.claim(&gone, Lane::Fresh, 9).await {
        let settled = test.settle(retry_in(&claimed, 86_400)).await;
        assert!(matches!(settled, Settled::Applied { .. }));
    }
    test.store().hold(missing(HoldScope::Handler("gone".parse().unwrap()))).await.unwrap();
    test.store().hold(missing(HoldScope::Source(SourceName::stored("github")))).await.unwrap();
    assert!(test.claim(&gone, Lane::Fresh, 100).await.is_empty());
    assert!(test.claim(&gone, Lane::Late, 100).await.is_empty());

    let mut given_up = BTreeSet::new();
    loop {
        let claimed = test.store().claim_abandoned(&gone, 3).await.unwrap();
        if claimed.is_empty() {
            break;
        }
        assert!(claimed.len() <= 3);
        for claimed in claimed {
            let settled = test.settle(settlement(&claimed, NextState::DeadLetter)).await;
            assert!(matches!(settled, Settled::Applied { .. }));
            assert!(given_up.insert(claimed.delivery), "each once");
        }
    }
    assert_eq!(given_up.len(), 20);
    for delivery in given_up {
        assert_eq!(test.state_of(delivery).await, DeliveryState::DeadLetter);
    }
    test.assert_sound().await;
}

#[tokio::test]
async fn a_claim_of_an_abandoned_delivery_excludes_others() {
    let test = TestStore::new().await;
    let gone = destination("gone");
    test.post("one", std::slice::from_ref(&gone)).await;
    let claimed = test.store().claim_abandoned(&gone, 10).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert!(test.store().claim_abandoned(&gone, 10).await.unwrap().is_empty());
    assert!(test.claim(&gone, Lane::Fresh, 10).await.is_empty());
    drop(claimed);
    test.claim_one(&gone, Lane::Fresh).await;
    assert!(test.store().claim_abandoned(&handler("unheard-of"), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_dead_letter_is_kept_from_its_last_attempt_on() {
    let test = TestStore::new().await;
    let gone = handler("gone");
    test.post("one", std::slice::from_ref(&gone)).await;
    let life = Retention::default().payload_life;
    test.clock.forward(life + Duration::from_secs(60));
    test.store().confirm_time().await.unwrap();
    let claimed = test.claim_one(&gone, Lane::Fresh).await;
    test.settle(settlement(&claimed, NextState::DeadLetter)).await;
    let dead = claimed.delivery;
    drop(claimed);
    test.clock.forward(Duration::from_secs(60));
    while test.store().prune(&Retention::default()).await.unwrap().more {}
    assert_eq!(test.state_of(dead).await, DeliveryState::DeadLetter, "it only just became one");

    test.clock.forward(life);
    test.store().confirm_time().await.unwrap();
    while test.store().prune(&Retention::default()).await.unwrap().more {}
    assert!(test.store().delivery(dead).await.unwrap().is_none());
    test.assert_sound().await;
}

#[tokio::test]
async fn ordered_deliveries_are_given_up_with_those_behind_them() {
    let test = TestStore::new().await;
    let gone = handler("gone");
    for n in 0..6 {
        let mut request = request(&format!("e{n}"), std::slice::from_ref(&gone));
        request.events[0].routed.deliveries[0].order_key = Some("customer".into());
        test.ingest(request).await;
    }
    loop {
        let claimed = test.store().claim_abandoned(&gone, 10).await.unwrap();
        if claimed.is_empty() {
            break;
        }
        for claimed in &claimed {
            test.settle(settlement(claimed, NextState::DeadLetter)).await;
        }
    }
    let dead = DeliveryFilter {
        states: vec![DeliveryState::DeadLetter],
        targets: vec![gone],
        ..DeliveryFilter::default()
    };
    let dead = test.store().deliveries(dead, PageRequest { limit: 10, after: None }).await.unwrap();
    assert_eq!(dead.items.len(), 6);
    test.assert_sound().await;
}
