//! Runs that the hub did not survive: each is charged an attempt and claimed alone, and none makes
//! a crash loop.

use weir_core::delivery::{DeliveryState, NextState, Outcome};
use weir_core::id::DeliveryId;
use weir_store::{Claim, Lane, StoreError};

use crate::common::*;
use crate::engine::TestStore;

async fn claims(test: &TestStore, ids: &[&str]) -> Vec<Claim> {
    let orders = handler("orders");
    for id in ids {
        test.post(id, std::slice::from_ref(&orders)).await;
    }
    test.claim(&orders, Lane::Fresh, ids.len()).await
}

async fn outcomes(test: &TestStore, delivery: DeliveryId) -> Vec<Outcome> {
    let found = test.store().delivery(delivery).await.unwrap().unwrap();
    found.history.iter().map(|attempt| attempt.outcome).collect()
}

#[tokio::test]
async fn a_run_that_the_hub_did_not_survive_is_charged_one_attempt() {
    let mut test = TestStore::new().await;
    let claimed = claims(&test, &["a"]).await.remove(0);
    let _running = test.store().begin_run(&claimed).unwrap();
    test.crash().await;
    let found = test.store().delivery(claimed.delivery).await.unwrap().unwrap();
    assert_eq!((found.state, found.attempts), (DeliveryState::Retrying, 1));
    assert_eq!(outcomes(&test, claimed.delivery).await, [Outcome::HostLost]);
    assert!(found.history[0].reason.as_deref().unwrap().contains("hub died"));
    let again = test.claim_one(&handler("orders"), Lane::Late).await;
    assert_eq!((again.delivery, again.fence, again.suspect), (claimed.delivery, fence(0, 2), true));
    test.assert_sound().await;
}

#[tokio::test]
async fn a_claim_that_did_not_run_is_charged_nothing() {
    let mut test = TestStore::new().await;
    let claimed = claims(&test, &["ended", "planned", "given back"]).await;
    drop(test.store().begin_run(&claimed[0]).unwrap());
    drop(test.store().begin_run(&claimed[2]).unwrap());
    test.crash().await;
    let again = test.claim(&handler("orders"), Lane::Fresh, 10).await;
    assert_eq!(again.len(), 3);
    assert!(again.iter().all(|c| c.fence == fence(0, 1) && !c.suspect));
}

#[tokio::test]
async fn a_run_whose_settlement_was_committed_is_charged_nothing() {
    let mut test = TestStore::new().await;
    let claimed = claims(&test, &["done", "failed"]).await;
    let _running: Vec<_> = claimed.iter().map(|c| test.store().begin_run(c).unwrap()).collect();
    test.settle(settlement(&claimed[0], NextState::Processed)).await;
    test.settle(retry_in(&claimed[1], 60)).await;
    test.crash().await;
    assert_eq!(outcomes(&test, claimed[0].delivery).await, [Outcome::Ok]);
    assert_eq!(outcomes(&test, claimed[1].delivery).await, [Outcome::Retry]);
    assert!(test.claim(&handler("orders"), Lane::Late, 10).await.is_empty());
}

#[tokio::test]
async fn a_closed_store_charges_no_delivery() {
    let mut test = TestStore::new().await;
    let claimed = claims(&test, &["a"]).await.remove(0);
    let _running = test.store().begin_run(&claimed).unwrap();
    test.reopen().await;
    assert_eq!(test.claim_one(&handler("orders"), Lane::Fresh).await.fence, fence(0, 1));
}

#[tokio::test]
async fn a_second_death_makes_a_dead_letter_and_others_continue() {
    let mut test = TestStore::new().await;
    let running = claims(&test, &["poison", "neighbour"]).await;
    let _running: Vec<_> = running.iter().map(|c| test.store().begin_run(c).unwrap()).collect();
    test.post("waiting", &[handler("orders"), handler("audit")]).await;
    test.crash().await;
    let suspect = test.store().claim(&both_lanes("orders")).await.unwrap().remove(0);
    assert!(suspect.suspect && suspect.delivery == running[0].delivery);
    let _running = test.store().begin_run(&suspect).unwrap();
    test.crash().await;
    assert_eq!(test.state_of(suspect.delivery).await, DeliveryState::DeadLetter);
    assert_eq!(outcomes(&test, suspect.delivery).await, [Outcome::HostLost; 2]);
    let neighbour = test.claim_one(&handler("orders"), Lane::Late).await;
    assert!(neighbour.suspect && neighbour.delivery == running[1].delivery);
    assert_eq!(outcomes(&test, neighbour.delivery).await, [Outcome::HostLost]);
    test.settle(settlement(&neighbour, NextState::Processed)).await;
    assert_eq!(test.claim_one(&handler("orders"), Lane::Fresh).await.fence, fence(0, 1));
    assert_eq!(test.claim(&handler("audit"), Lane::Fresh, 10).await.len(), 1);
    test.assert_sound().await;
}

#[tokio::test]
async fn a_suspect_is_claimed_first_and_alone_until_its_attempt_ends() {
    let mut test = TestStore::new().await;
    let _running: Vec<_> = claims(&test, &["a", "b"])
        .await
        .iter()
        .map(|c| test.store().begin_run(c).unwrap())
        .collect();
    test.post("waiting", &[handler("orders"), handler("audit"), destination("ops")]).await;
    test.crash().await;
    // Another death before its run begins changes nothing.
    test.crash().await;
    let wanted: Vec<_> = both_lanes("orders").into_iter().chain(both_lanes("audit")).collect();
    for fence in [fence(0, 2), fence(0, 2)] {
        let suspect = test.store().claim(&wanted).await.unwrap();
        assert_eq!((suspect.len(), suspect[0].suspect, suspect[0].fence), (1, true, fence));
        assert!(test.store().claim(&wanted).await.unwrap().is_empty(), "nothing beside it");
        assert!(!test.claim(&destination("ops"), Lane::Fresh, 1).await.is_empty(), "sends go on");
        // After it is given back, it is still first.
        let delivery = suspect[0].delivery;
        drop(suspect);
        let suspect = test.store().claim(&wanted).await.unwrap().remove(0);
        assert!(suspect.suspect && suspect.delivery == delivery);
        test.settle(retry_in(&suspect, 60)).await;
    }
    let rest = test.store().claim(&wanted).await.unwrap();
    assert_eq!((rest.len(), rest.iter().any(|c| c.suspect)), (2, false));
    test.clock.forward(std::time::Duration::from_secs(60));
    assert!(test.claim(&handler("orders"), Lane::Late, 10).await.iter().all(|c| !c.suspect));
}

#[tokio::test]
async fn a_second_death_beside_other_runs_gives_nothing_up() {
    let mut test = TestStore::new().await;
    let claimed = claims(&test, &["slow", "slower"]).await;
    let running: Vec<_> = claimed.iter().map(|c| test.store().begin_run(c).unwrap()).collect();
    test.crash().await;
    // Each runs alone, and then they run side by side again.
    for _ in 0..2 {
        let suspect = test.claim_one(&handler("orders"), Lane::Late).await;
        assert!(suspect.suspect);
        test.settle(retry_in(&suspect, 0)).await;
    }
    let both = test.claim(&handler("orders"), Lane::Late, 10).await;
    assert!(both.len() == 2 && both.iter().all(|c| !c.suspect));
    let again: Vec<_> = both.iter().map(|c| test.store().begin_run(c).unwrap()).collect();
    test.crash().await;
    let lost = [Outcome::HostLost, Outcome::Retry, Outcome::HostLost];
    for claimed in &both {
        assert_eq!(test.state_of(claimed.delivery).await, DeliveryState::Retrying);
        assert_eq!(outcomes(&test, claimed.delivery).await, lost);
    }
    drop((running, again));
    // A second death alone gives it up.
    let suspect = test.claim_one(&handler("orders"), Lane::Late).await;
    let _running = test.store().begin_run(&suspect).unwrap();
    test.crash().await;
    assert_eq!(test.state_of(suspect.delivery).await, DeliveryState::DeadLetter);
    let other = both.iter().find(|c| c.delivery != suspect.delivery).unwrap();
    assert_eq!(test.state_of(other.delivery).await, DeliveryState::Retrying);
}

#[tokio::test]
async fn a_suspect_waits_for_earlier_claims_to_end() {
    let mut test = TestStore::new().await;
    let _running = test.store().begin_run(&claims(&test, &["a"]).await.remove(0)).unwrap();
    test.post("other", &[handler("audit")]).await;
    test.crash().await;
    // Its handler cannot run yet, so no worker claims it.
    let other = test.store().claim(&both_lanes("audit")).await.unwrap().remove(0);
    let wanted: Vec<_> = both_lanes("orders").into_iter().chain(both_lanes("audit")).collect();
    assert!(test.store().claim(&wanted).await.unwrap().is_empty(), "something runs");
    test.settle(settlement(&other, NextState::Processed)).await;
    let suspect = test.store().claim(&wanted).await.unwrap();
    assert!(suspect.len() == 1 && suspect[0].suspect);
}

#[tokio::test]
async fn a_suspect_on_hold_does_not_delay_other_handlers() {
    let mut test = TestStore::new().await;
    let _running = test.store().begin_run(&claims(&test, &["a"]).await.remove(0)).unwrap();
    test.post("other", &[handler("audit")]).await;
    test.crash().await;
    let scope =
        weir_store::hold::HoldScope::Handler(weir_core::name::HandlerName::new("orders").unwrap());
    let other = test.store().claim(&both_lanes("audit")).await.unwrap();
    assert_eq!(other.len(), 1, "the suspect is not asked for");
    test.post("another", &[handler("audit")]).await;
    let hold = weir_store::hold::NewHold {
        scope,
        reason: "operator".into(),
        by: "test".into(),
        until: None,
    };
    test.store().hold(hold).await.unwrap();
    let wanted: Vec<_> = both_lanes("orders").into_iter().chain(both_lanes("audit")).collect();
    assert_eq!(test.store().claim(&wanted).await.unwrap().len(), 1, "on hold");
}

#[tokio::test]
async fn waiting_ends_after_the_run_of_a_suspect() {
    let mut test = TestStore::new().await;
    let _running = test.store().begin_run(&claims(&test, &["a"]).await.remove(0)).unwrap();
    test.post("waiting", &[handler("orders")]).await;
    test.crash().await;
    let suspect = test.claim_one(&handler("orders"), Lane::Late).await;
    assert!(test.store().claim(&both_lanes("orders")).await.unwrap().is_empty());
    let store = test.shared();
    let waiting = tokio::spawn(async move {
        loop {
            let claimed = store.claim(&both_lanes("orders")).await.unwrap();
            if !claimed.is_empty() {
                return claimed.len();
            }
            store.wait_due(std::time::Duration::from_secs(600)).await;
        }
    });
    test.settle(settlement(&suspect, NextState::Processed)).await;
    assert_eq!(waiting.await.unwrap(), 1);
}

#[tokio::test]
async fn runs_beyond_the_slots_are_refused_until_one_ends() {
    let test = TestStore::with(|o| o.run_slots = Some(2)).await;
    let claimed = claims(&test, &["a", "b", "c"]).await;
    let first = test.store().begin_run(&claimed[0]).unwrap();
    let _second = test.store().begin_run(&claimed[1]).unwrap();
    let refused = test.store().begin_run(&claimed[2]).unwrap_err();
    assert!(matches!(refused, StoreError::SlotsTaken { slots: 2 }) && refused.is_transient());
    drop(first);
    test.store().begin_run(&claimed[2]).unwrap();
}

#[tokio::test]
async fn a_send_is_charged_nothing() {
    let test = TestStore::new().await;
    let ops = destination("ops");
    test.post("a", std::slice::from_ref(&ops)).await;
    let claimed = test.claim_one(&ops, Lane::Fresh).await;
    assert!(matches!(test.store().begin_run(&claimed), Err(StoreError::Invalid(_))));
}
