//! Acts of operators on a handler's state and name.

use weir_core::delivery::{NextState, Outcome};
use weir_core::effect::StateWrite;
use weir_core::name::{HandlerName, Target};
use weir_core::state::{StateQuota, StateSize};
use weir_store::handler_state::{
    HandlerRename, HandlerRenamed, StateChange, StateChanged, StatePage, StateQuery,
};
use weir_store::hold::{HoldScope, NewHold};
use weir_store::registry::EntryKind;
use weir_store::{Lane, OtherRun, RoutedEffects, Settled};

use crate::common::*;
use crate::engine::TestStore;

fn name(text: &str) -> HandlerName {
    HandlerName::new(text).unwrap()
}

fn change(writes: Vec<StateWrite>, quota: StateQuota) -> StateChange {
    StateChange { handler: name("orders"), writes, quota }
}

async fn page(test: &TestStore, of: &str, after: &str, limit: usize) -> StatePage {
    let query = StateQuery { handler: name(of), prefix: "".into(), after: after.into(), limit };
    test.store().state_page(query).await.unwrap()
}

fn keys(page: &StatePage) -> Vec<&str> {
    page.values.iter().map(|value| &*value.key).collect()
}

#[tokio::test]
async fn a_run_that_read_what_a_person_changed_conflicts() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    test.post("a", std::slice::from_ref(&orders)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    let written = change(vec![write("count", "5")], StateQuota::NONE);
    let size = StateSize { bytes: 6, keys: 1 };
    assert_eq!(test.store().change_state(written).await.unwrap(), StateChanged::Written(size));
    let effects = RoutedEffects { state: vec![write("count", "1")], ..RoutedEffects::default() };
    let mut stale = with_effects(&claimed, effects);
    stale.reads.keys.push(("count".into(), None));
    assert_eq!(test.settle(stale).await, Settled::StateConflict { key: "count".into() });
    let stored = test.store().state(&name("orders")).get("count").await.unwrap().unwrap();
    assert_eq!(&*stored.value, "5");
}

#[tokio::test]
async fn a_settlement_above_the_quota_stores_nothing_and_keeps_its_claim() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    test.post("a", std::slice::from_ref(&orders)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    let quota = StateQuota { bytes: 10, keys: 2 };
    let run = |writes: Vec<StateWrite>| {
        let effects = RoutedEffects { state: writes, ..RoutedEffects::default() };
        let mut settlement = with_effects(&claimed, effects);
        settlement.quota = quota;
        settlement
    };
    let large = run(vec![write("a", "0123456789")]);
    let wanted = StateSize { bytes: 11, keys: 1 };
    assert_eq!(test.settle(large).await, Settled::StateFull { wanted });
    let many = run(vec![write("a", ""), write("b", ""), write("c", "")]);
    let wanted = StateSize { bytes: 3, keys: 3 };
    assert_eq!(test.settle(many).await, Settled::StateFull { wanted });
    assert!(page(&test, "orders", "", 9).await.values.is_empty());
    let fits = run(vec![write("a", "012345678")]);
    assert!(matches!(test.settle(fits).await, Settled::Applied { .. }));
    assert_eq!(page(&test, "orders", "", 9).await.size, StateSize { bytes: 10, keys: 1 });
    let full = change(vec![write("b", "")], quota);
    let wanted = StateSize { bytes: 11, keys: 2 };
    assert_eq!(test.store().change_state(full).await.unwrap(), StateChanged::Full(wanted));
    test.assert_sound().await;
}

#[tokio::test]
async fn state_is_read_by_page_and_removed_by_prefix() {
    let test = TestStore::new().await;
    let all: Vec<_> = ["a/1", "a/2", "b/1", "ключ"].map(|key| write(key, "x")).into();
    test.store().change_state(change(all, StateQuota::NONE)).await.unwrap();
    let first = page(&test, "orders", "", 3).await;
    assert_eq!((keys(&first), first.more), (vec!["a/1", "a/2", "b/1"], true));
    let rest = page(&test, "orders", "b/1", 3).await;
    assert_eq!((keys(&rest), rest.more), (vec!["ключ"], false));
    let clear = async |limit| test.store().clear_state(&name("orders"), "a/", limit).await.unwrap();
    assert_eq!([clear(1).await, clear(9).await, clear(9).await], [1, 1, 0]);
    let left = page(&test, "orders", "", 9).await;
    assert_eq!((keys(&left), left.size.keys), (vec!["b/1", "ключ"], 2));
    assert_eq!(page(&test, "ghost", "", 9).await, StatePage::default());
}

#[tokio::test]
async fn a_renamed_handler_keeps_state_deliveries_holds_and_its_past() {
    let mut test = TestStore::new().await;
    let (old, new) = (handler("orders"), handler("shop"));
    test.post("done", std::slice::from_ref(&old)).await;
    let claimed = test.claim_one(&old, Lane::Fresh).await;
    let effects = RoutedEffects { state: vec![write("n", "1")], ..RoutedEffects::default() };
    assert!(matches!(test.settle(with_effects(&claimed, effects)).await, Settled::Applied { .. }));
    let done = claimed.delivery;
    test.post("waits", std::slice::from_ref(&old)).await;
    let store = test.store();
    store.cas(EntryKind::Handler, "orders", None, Some(b"one".to_vec())).await.unwrap();
    store.cas(EntryKind::Breaker, "handler:orders", None, Some(b"open".to_vec())).await.unwrap();
    let hold = NewHold {
        scope: HoldScope::Handler(name("orders")),
        reason: "later".into(),
        by: "ada".into(),
        until: None,
    };
    let hold = store.hold(hold).await.unwrap();
    let rename =
        || HandlerRename { from: name("orders"), to: name("shop"), entry: b"two".to_vec() };
    assert_eq!(store.rename_handler(rename()).await.unwrap(), HandlerRenamed::Done);
    assert_eq!(store.rename_handler(rename()).await.unwrap(), HandlerRenamed::Unknown);
    // An event that was routed before still finds the handler.
    test.post("late", std::slice::from_ref(&old)).await;
    store.end_rename(&name("orders"));

    for reopened in [false, true] {
        if reopened {
            test.reopen().await;
        }
        let store = test.store();
        assert_eq!(keys(&page(&test, "shop", "", 9).await), ["n"]);
        assert!(page(&test, "orders", "", 9).await.values.is_empty());
        let target = store.delivery(done).await.unwrap().unwrap().target;
        assert_eq!(target, new);
        let breaker = store.get(EntryKind::Breaker, "handler:shop").await.unwrap().unwrap();
        assert_eq!(breaker.value.as_deref(), Some(&b"open"[..]));
        let held = store.holds().await.unwrap();
        assert_eq!(held[0].hold.scope, HoldScope::Handler(name("shop")));
    }
    assert!(test.claim(&new, Lane::Fresh, 9).await.is_empty(), "it is on hold");
    assert!(test.store().release(hold).await.unwrap());
    assert_eq!(test.claim(&new, Lane::Fresh, 9).await.len(), 2);
    test.assert_sound().await;
}

#[tokio::test]
async fn a_name_with_an_entry_or_state_is_taken() {
    let test = TestStore::new().await;
    let store = test.store();
    store.cas(EntryKind::Handler, "orders", None, Some(b"one".to_vec())).await.unwrap();
    let shop =
        StateChange { handler: name("shop"), ..change(vec![write("n", "1")], StateQuota::NONE) };
    store.change_state(shop).await.unwrap();
    let rename = HandlerRename { from: name("orders"), to: name("shop"), entry: Vec::new() };
    assert_eq!(store.rename_handler(rename).await.unwrap(), HandlerRenamed::Taken);
    assert!(store.get(EntryKind::Handler, "orders").await.unwrap().is_some());
}

#[tokio::test]
async fn an_attempt_keeps_the_run_under_the_other_version() {
    let test = TestStore::new().await;
    let orders: Target = handler("orders");
    test.post("a", std::slice::from_ref(&orders)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    let mut settled = settlement(&claimed, NextState::Processed);
    let reason = Some("exit 1".into());
    settled.attempt.other =
        Some(OtherRun { version: [9; 32], outcome: Outcome::Crashed, reason: reason.clone() });
    assert!(matches!(test.settle(settled).await, Settled::Applied { .. }));
    let stored = test.store().delivery(claimed.delivery).await.unwrap().unwrap();
    let other = stored.history[0].other.clone().unwrap();
    assert_eq!((other.version, other.outcome), ("09".repeat(32), Outcome::Crashed));
    assert_eq!(other.reason, reason);
}
