//! Host lost: what ran when the process died is charged, runs alone first, and does not make a crash loop.

use std::path::Path;
use std::process::Command;

use weir_core::delivery::{DeliveryState, NextState, Outcome};
use weir_core::id::DeliveryId;
use weir_store::sqlite::Options;
use weir_store::{Claim, ClaimRequest, Lane, Settled};
use weir_store::{Store, StoreError};

use crate::common::*;

/// Names the store that a test process started by another test works on.
const CHILD: &str = "WEIR_STORE_LOST_CHILD";

async fn claims(bed: &Bed, ids: &[&str]) -> Vec<Claim> {
    let orders = handler("orders");
    for id in ids {
        bed.post(id, std::slice::from_ref(&orders)).await;
    }
    bed.claim(&orders, Lane::Fresh, ids.len()).await
}

async fn outcomes(bed: &Bed, delivery: DeliveryId) -> Vec<Outcome> {
    let found = bed.store().delivery(delivery).await.unwrap().unwrap();
    found.history.iter().map(|attempt| attempt.outcome).collect()
}

fn both_lanes(name: &str) -> [ClaimRequest; 2] {
    [Lane::Fresh, Lane::Late].map(|lane| ClaimRequest { target: handler(name), lane, limit: 10 })
}

#[tokio::test]
async fn a_run_that_the_host_did_not_survive_is_charged_one_attempt() {
    let mut bed = Bed::new().await;
    let claimed = claims(&bed, &["a"]).await.remove(0);
    let _running = bed.store().begin(&claimed).unwrap();
    bed.crash().await;
    let found = bed.store().delivery(claimed.delivery).await.unwrap().unwrap();
    assert_eq!((found.state, found.attempts), (DeliveryState::Retrying, 1));
    assert_eq!(outcomes(&bed, claimed.delivery).await, [Outcome::HostLost]);
    assert!(found.history[0].reason.as_deref().unwrap().contains("host died"));
    let again = bed.claim_one(&handler("orders"), Lane::Late).await;
    assert_eq!((again.delivery, again.fence, again.suspect), (claimed.delivery, fence(0, 2), true));
    bed.assert_sound().await;
}

#[tokio::test]
async fn what_was_claimed_but_did_not_run_is_charged_nothing() {
    let mut bed = Bed::new().await;
    let claimed = claims(&bed, &["ended", "planned", "given back"]).await;
    drop(bed.store().begin(&claimed[0]).unwrap());
    drop(bed.store().begin(&claimed[2]).unwrap());
    bed.crash().await;
    let again = bed.claim(&handler("orders"), Lane::Fresh, 10).await;
    assert_eq!(again.len(), 3);
    assert!(again.iter().all(|c| c.fence == fence(0, 1) && !c.suspect));
}

#[tokio::test]
async fn a_run_whose_settlement_was_committed_is_charged_nothing() {
    let mut bed = Bed::new().await;
    let claimed = claims(&bed, &["done", "failed"]).await;
    let _running: Vec<_> = claimed.iter().map(|c| bed.store().begin(c).unwrap()).collect();
    bed.settle(settlement(&claimed[0], NextState::Processed)).await;
    bed.settle(retry_in(&claimed[1], 60)).await;
    bed.crash().await;
    assert_eq!(outcomes(&bed, claimed[0].delivery).await, [Outcome::Ok]);
    assert_eq!(outcomes(&bed, claimed[1].delivery).await, [Outcome::Retry]);
    assert!(bed.claim(&handler("orders"), Lane::Late, 10).await.is_empty());
}

#[tokio::test]
async fn a_store_that_was_closed_charges_nobody() {
    let mut bed = Bed::new().await;
    let claimed = claims(&bed, &["a"]).await.remove(0);
    let _running = bed.store().begin(&claimed).unwrap();
    bed.reopen().await;
    assert_eq!(bed.claim_one(&handler("orders"), Lane::Fresh).await.fence, fence(0, 1));
}

#[tokio::test]
async fn a_second_death_makes_a_dead_letter_and_the_neighbours_go_through() {
    let mut bed = Bed::new().await;
    let running = claims(&bed, &["poison", "neighbour"]).await;
    let _running: Vec<_> = running.iter().map(|c| bed.store().begin(c).unwrap()).collect();
    bed.post("waiting", &[handler("orders"), handler("audit")]).await;
    bed.crash().await;
    let suspect = bed.store().claim(&both_lanes("orders")).await.unwrap().remove(0);
    assert!(suspect.suspect && suspect.delivery == running[0].delivery);
    let _running = bed.store().begin(&suspect).unwrap();
    bed.crash().await;
    assert_eq!(bed.state_of(suspect.delivery).await, DeliveryState::DeadLetter);
    assert_eq!(outcomes(&bed, suspect.delivery).await, [Outcome::HostLost; 2]);
    let neighbour = bed.claim_one(&handler("orders"), Lane::Late).await;
    assert!(neighbour.suspect && neighbour.delivery == running[1].delivery);
    assert_eq!(outcomes(&bed, neighbour.delivery).await, [Outcome::HostLost]);
    bed.settle(settlement(&neighbour, NextState::Processed)).await;
    assert_eq!(bed.claim_one(&handler("orders"), Lane::Fresh).await.fence, fence(0, 1));
    assert_eq!(bed.claim(&handler("audit"), Lane::Fresh, 10).await.len(), 1);
    bed.assert_sound().await;
}

#[tokio::test]
async fn a_suspect_is_claimed_before_other_work_and_alone_until_an_attempt_has_ended() {
    let mut bed = Bed::new().await;
    let _running: Vec<_> =
        claims(&bed, &["a", "b"]).await.iter().map(|c| bed.store().begin(c).unwrap()).collect();
    bed.post("waiting", &[handler("orders"), handler("audit"), destination("ops")]).await;
    bed.crash().await;
    // Another death before it is even begun leaves it what it was.
    bed.crash().await;
    let wanted: Vec<_> = both_lanes("orders").into_iter().chain(both_lanes("audit")).collect();
    for fence in [fence(0, 2), fence(0, 2)] {
        let suspect = bed.store().claim(&wanted).await.unwrap();
        assert_eq!((suspect.len(), suspect[0].suspect, suspect[0].fence), (1, true, fence));
        assert!(bed.store().claim(&wanted).await.unwrap().is_empty(), "nothing beside it");
        assert!(!bed.claim(&destination("ops"), Lane::Fresh, 1).await.is_empty(), "sends go on");
        // Given back, it is still the first.
        let delivery = suspect[0].delivery;
        drop(suspect);
        let suspect = bed.store().claim(&wanted).await.unwrap().remove(0);
        assert!(suspect.suspect && suspect.delivery == delivery);
        bed.settle(retry_in(&suspect, 60)).await;
    }
    let rest = bed.store().claim(&wanted).await.unwrap();
    assert_eq!((rest.len(), rest.iter().any(|c| c.suspect)), (2, false));
    bed.clock.forward(std::time::Duration::from_secs(60));
    assert!(bed.claim(&handler("orders"), Lane::Late, 10).await.iter().all(|c| !c.suspect));
}

#[tokio::test]
async fn a_second_death_in_company_gives_nothing_up() {
    let mut bed = Bed::new().await;
    let claimed = claims(&bed, &["slow", "slower"]).await;
    let running: Vec<_> = claimed.iter().map(|c| bed.store().begin(c).unwrap()).collect();
    bed.crash().await;
    // Each is tried alone, and then they run side by side again.
    for _ in 0..2 {
        let suspect = bed.claim_one(&handler("orders"), Lane::Late).await;
        assert!(suspect.suspect);
        bed.settle(retry_in(&suspect, 0)).await;
    }
    let both = bed.claim(&handler("orders"), Lane::Late, 10).await;
    assert!(both.len() == 2 && both.iter().all(|c| !c.suspect));
    let again: Vec<_> = both.iter().map(|c| bed.store().begin(c).unwrap()).collect();
    bed.crash().await;
    let lost = [Outcome::HostLost, Outcome::Retry, Outcome::HostLost];
    for claimed in &both {
        assert_eq!(bed.state_of(claimed.delivery).await, DeliveryState::Retrying);
        assert_eq!(outcomes(&bed, claimed.delivery).await, lost);
    }
    drop((running, again));
    // Alone it has no excuse.
    let suspect = bed.claim_one(&handler("orders"), Lane::Late).await;
    let _running = bed.store().begin(&suspect).unwrap();
    bed.crash().await;
    assert_eq!(bed.state_of(suspect.delivery).await, DeliveryState::DeadLetter);
    let other = both.iter().find(|c| c.delivery != suspect.delivery).unwrap();
    assert_eq!(bed.state_of(other.delivery).await, DeliveryState::Retrying);
}

#[tokio::test]
async fn a_suspect_waits_for_the_runs_that_were_claimed_before_it() {
    let mut bed = Bed::new().await;
    let _running = bed.store().begin(&claims(&bed, &["a"]).await.remove(0)).unwrap();
    bed.post("other", &[handler("audit")]).await;
    bed.crash().await;
    // Its handler cannot run yet, and does not ask.
    let other = bed.store().claim(&both_lanes("audit")).await.unwrap().remove(0);
    let wanted: Vec<_> = both_lanes("orders").into_iter().chain(both_lanes("audit")).collect();
    assert!(bed.store().claim(&wanted).await.unwrap().is_empty(), "something runs");
    bed.settle(settlement(&other, NextState::Processed)).await;
    let suspect = bed.store().claim(&wanted).await.unwrap();
    assert!(suspect.len() == 1 && suspect[0].suspect);
}

#[tokio::test]
async fn a_suspect_that_nobody_can_run_keeps_no_other_handler_waiting() {
    let mut bed = Bed::new().await;
    let _running = bed.store().begin(&claims(&bed, &["a"]).await.remove(0)).unwrap();
    bed.post("other", &[handler("audit")]).await;
    bed.crash().await;
    let scope =
        weir_store::hold::HoldScope::Handler(weir_core::name::HandlerName::new("orders").unwrap());
    let other = bed.store().claim(&both_lanes("audit")).await.unwrap();
    assert_eq!(other.len(), 1, "the suspect is not asked for");
    bed.post("another", &[handler("audit")]).await;
    let hold = weir_store::hold::NewHold {
        scope,
        reason: "operator".into(),
        by: "test".into(),
        until: None,
    };
    bed.store().hold(hold).await.unwrap();
    let wanted: Vec<_> = both_lanes("orders").into_iter().chain(both_lanes("audit")).collect();
    assert_eq!(bed.store().claim(&wanted).await.unwrap().len(), 1, "on hold");
}

#[tokio::test]
async fn waiting_ends_when_a_suspect_has_run() {
    let mut bed = Bed::new().await;
    let _running = bed.store().begin(&claims(&bed, &["a"]).await.remove(0)).unwrap();
    bed.post("waiting", &[handler("orders")]).await;
    bed.crash().await;
    let suspect = bed.claim_one(&handler("orders"), Lane::Late).await;
    assert!(bed.store().claim(&both_lanes("orders")).await.unwrap().is_empty());
    let store = bed.sqlite.clone();
    let waiting = tokio::spawn(async move {
        loop {
            let claimed = store.claim(&both_lanes("orders")).await.unwrap();
            if !claimed.is_empty() {
                return claimed.len();
            }
            store.wait_due(std::time::Duration::from_secs(600)).await;
        }
    });
    bed.settle(settlement(&suspect, NextState::Processed)).await;
    assert_eq!(waiting.await.unwrap(), 1);
}

#[tokio::test]
async fn more_runs_than_there_are_slots_are_refused_until_one_ends() {
    let bed = Bed::with(|o| o.run_slots = 2).await;
    let claimed = claims(&bed, &["a", "b", "c"]).await;
    let first = bed.store().begin(&claimed[0]).unwrap();
    let _second = bed.store().begin(&claimed[1]).unwrap();
    let refused = bed.store().begin(&claimed[2]).unwrap_err();
    assert!(matches!(refused, StoreError::SlotsTaken { slots: 2 }) && refused.is_transient());
    drop(first);
    bed.store().begin(&claimed[2]).unwrap();
}

#[tokio::test]
async fn a_send_is_charged_nothing() {
    let bed = Bed::new().await;
    let ops = destination("ops");
    bed.post("a", std::slice::from_ref(&ops)).await;
    let claimed = bed.claim_one(&ops, Lane::Fresh).await;
    assert!(matches!(bed.store().begin(&claimed), Err(StoreError::Invalid(_))));
}

#[tokio::test]
async fn a_slots_file_that_makes_no_sense_keeps_nobody_from_starting() {
    let mut bed = Bed::new().await;
    let claimed = claims(&bed, &["a"]).await.remove(0);
    let _running = bed.store().begin(&claimed).unwrap();
    for garbage in [&b""[..], b"weir", &[0xff; 10_000]] {
        let damaged = |path: &Path| {
            std::fs::write(path.with_file_name("weir.db-slots"), garbage).unwrap();
        };
        bed.crash_after(damaged).await.unwrap();
        assert_eq!(bed.state_of(claimed.delivery).await, DeliveryState::Pending);
    }
}

/// Runs what is due, one after the other, and dies of the poison.
async fn work(path: &Path) {
    let store = weir_store::sqlite::open(path, Options::new(ManualClock::new())).unwrap();
    loop {
        let claimed = store.claim(&both_lanes("orders")).await.unwrap();
        if claimed.is_empty() {
            break;
        }
        for claimed in claimed {
            let running = store.begin(&claimed).unwrap();
            if claimed.event.delivery_id.as_deref() == Some("poison") {
                std::process::abort();
            }
            drop(running);
            let settled =
                store.settle(vec![settlement(&claimed, NextState::Processed)]).await.remove(0);
            assert!(matches!(settled, Ok(Settled::Applied { .. })), "{settled:?}");
        }
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_run_that_aborts_the_process_is_given_up_after_the_second_time() {
    if let Some(path) = std::env::var_os(CHILD) {
        return work(Path::new(&path)).await;
    }
    let bed = Bed::new().await;
    let orders = handler("orders");
    for id in ["before", "poison", "after"] {
        bed.post(id, std::slice::from_ref(&orders)).await;
    }
    bed.store().close().await.unwrap();
    let test = "lost::a_run_that_aborts_the_process_is_given_up_after_the_second_time";
    let mut deaths = 0;
    loop {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args([test, "--exact", "--test-threads=1"]).env(CHILD, bed.path());
        if child.output().unwrap().status.success() {
            break;
        }
        deaths += 1;
        assert!(deaths < 10, "a crash loop");
    }
    assert_eq!(deaths, 2);
    let store = weir_store::sqlite::open(&bed.path(), bed.options.clone()).unwrap();
    let page = weir_store::query::PageRequest { limit: 10, after: None };
    let all = store.deliveries(Default::default(), page).await.unwrap();
    let states: Vec<_> = all.items.iter().map(|d| d.state).collect();
    use DeliveryState::{DeadLetter, Processed};
    assert_eq!(states, [Processed, DeadLetter, Processed]);
}
