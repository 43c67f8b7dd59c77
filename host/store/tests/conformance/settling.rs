//! Settling: fences, state, atomicity, commits.

use std::sync::Arc;
use std::time::Duration;

use weir_core::delivery::{DeliveryState, NextState, Outcome};
use weir_core::effect::StateWrite;
use weir_core::name::{HandlerName, Target};
use weir_core::state::{RangeRead, ReadSet, StateReader};
use weir_core::time::Timestamp;
use weir_store::{Claim, Lane, ResponseRecord, RoutedEffects, Settled, Store};

use crate::common::*;
use crate::engine::TestStore;

async fn two_claims(test: &TestStore) -> (Claim, Claim) {
    let orders = handler("orders");
    for id in ["one", "two"] {
        test.post(&format!("{id} {:?}", std::time::Instant::now()), std::slice::from_ref(&orders))
            .await;
    }
    let mut claims = test.claim(&orders, Lane::Fresh, 2).await;
    let second = claims.pop().unwrap();
    (claims.pop().unwrap(), second)
}

fn state(test: &TestStore) -> Arc<dyn StateReader> {
    test.store().state(&HandlerName::new("orders").unwrap())
}

async fn version(test: &TestStore, key: &str) -> Option<u64> {
    state(test).get(key).await.unwrap().map(|entry| entry.version)
}

fn writes(writes: Vec<StateWrite>) -> RoutedEffects {
    RoutedEffects { state: writes, ..RoutedEffects::default() }
}

fn reads(claimed: &Claim, keys: &[(&str, Option<u64>)]) -> ReadSet {
    let keys = keys.iter().map(|(key, version)| ((*key).into(), *version)).collect();
    ReadSet { at: claimed.now, keys, ranges: Vec::new() }
}

fn assert_applied(settled: &Settled) {
    assert!(matches!(settled, Settled::Applied { .. }), "{settled:?}");
}

#[tokio::test]
async fn an_attempt_is_recorded_with_all_its_facts() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    test.post("a", std::slice::from_ref(&orders)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    let mut failed = retry_in(&claimed, 1);
    let log = "info\tline\n".repeat(1000);
    failed.attempt.log = Some(log.clone().into());
    failed.attempt.response = Some(ResponseRecord { status: 503, snippet: "busy".into() });
    test.settle(failed).await;
    test.clock.forward(Duration::from_secs(1));
    let claimed = test.claim_one(&orders, Lane::Late).await;
    let Settled::Applied { attempt, .. } =
        test.settle(settlement(&claimed, NextState::Processed)).await
    else {
        panic!("not applied");
    };
    let delivery = test.store().delivery(claimed.delivery).await.unwrap().unwrap();
    assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Processed, 2));
    let [first, second] = &delivery.history[..] else { panic!("{:?}", delivery.history) };
    assert_eq!((first.number, second.number, second.id), (1, 2, attempt));
    assert_eq!((first.outcome, second.outcome), (Outcome::Retry, Outcome::Ok));
    assert_eq!(first.log.as_deref(), Some(log.as_str()));
    assert_eq!(
        (first.response_status, first.response_snippet.as_deref()),
        (Some(503), Some("busy"))
    );
    assert_eq!(first.reason.as_deref(), Some("the world is not ready"));
    assert_eq!(first.version.as_deref(), Some("07".repeat(32).as_str()));
}

#[tokio::test]
async fn a_run_settles_in_one_commit_with_all_its_effects() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    test.post("a", std::slice::from_ref(&orders)).await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    let effects = RoutedEffects {
        messages: vec![message(1, None, 0), message(2, None, 0)],
        emits: vec![emit(3, None, 0, std::slice::from_ref(&orders))],
        state: vec![write("count", "1"), write("seen", "a")],
        ..RoutedEffects::default()
    };
    let before = test.commits();
    assert_applied(&test.settle(with_effects(&claimed, effects)).await);
    assert_eq!(test.commits(), before.map(|before| before + 1));
}

#[tokio::test]
async fn a_changed_read_refuses_the_settlement_whole() {
    let test = TestStore::new().await;
    let (first, second) = two_claims(&test).await;
    assert_applied(&test.settle(with_effects(&first, writes(vec![write("count", "1")]))).await);
    let mut stale = with_effects(&second, writes(vec![write("count", "1"), write("other", "x")]));
    stale.effects.messages.push(message(1, None, 0));
    stale.reads = reads(&second, &[("count", None)]);
    assert_eq!(test.settle(stale).await, Settled::StateConflict { key: "count".into() });
    assert_eq!(state(&test).get("other").await.unwrap(), None);
    assert!(test.claim(&destination("ops"), Lane::Fresh, 10).await.is_empty());
    // The claim still holds, and no attempt was counted.
    let mut fresh = with_effects(&second, writes(vec![write("count", "2")]));
    fresh.reads = reads(&second, &[("count", version(&test, "count").await)]);
    assert_applied(&test.settle(fresh).await);
    assert_eq!(&*state(&test).get("count").await.unwrap().unwrap().value, "2");
    test.assert_sound().await;
}

#[tokio::test]
async fn write_skew_over_two_keys_is_refused() {
    let test = TestStore::new().await;
    let (setup, other) = two_claims(&test).await;
    assert_applied(
        &test.settle(with_effects(&setup, writes(vec![write("a", "1"), write("b", "1")]))).await,
    );
    drop(other);
    let (first, second) = two_claims(&test).await;
    let seen = [("a", version(&test, "a").await), ("b", version(&test, "b").await)];
    let mut one = with_effects(&first, writes(vec![write("a", "0")]));
    one.reads = reads(&first, &seen);
    let mut two = with_effects(&second, writes(vec![write("b", "0")]));
    two.reads = reads(&second, &seen);
    let answers = test.store().settle(&shared(vec![one, two])).await;
    assert_applied(answers[0].as_ref().unwrap());
    assert_eq!(answers[1].as_ref().unwrap(), &Settled::StateConflict { key: "a".into() });
}

#[tokio::test]
async fn the_reads_of_a_failed_run_are_validated() {
    let test = TestStore::new().await;
    let (first, second) = two_claims(&test).await;
    assert_applied(&test.settle(with_effects(&first, writes(vec![write("count", "1")]))).await);
    for next in [NextState::DeadLetter, NextState::Retry { delay: Duration::ZERO }] {
        let mut failed = settlement(&second, next);
        failed.reads = reads(&second, &[("count", None)]);
        assert_eq!(test.settle(failed).await, Settled::StateConflict { key: "count".into() });
    }
}

#[tokio::test]
async fn a_listing_is_a_read_of_its_whole_range() {
    let test = TestStore::new().await;
    let (first, second) = two_claims(&test).await;
    let listed = state(&test).keys("cart/", "", 10, first.now).await.unwrap();
    assert_applied(&test.settle(with_effects(&first, writes(vec![write("cart/7", "x")]))).await);
    let mut stale = settlement(&second, NextState::Processed);
    let range = RangeRead { prefix: "cart/".into(), after: "".into(), limit: 10, keys: listed };
    stale.reads.ranges.push(range);
    assert_eq!(test.settle(stale).await, Settled::StateConflict { key: "cart/".into() });
}

#[tokio::test]
async fn expiry_is_judged_by_the_runs_own_time() {
    let test = TestStore::new().await;
    let (first, second) = two_claims(&test).await;
    let expires_at = Some(Timestamp::from_millis(START + 1_000));
    let expiring = StateWrite { key: "k".into(), value: Some("v".into()), expires_at };
    assert_applied(&test.settle(with_effects(&first, writes(vec![expiring]))).await);
    let listed = |at| {
        let state = state(&test);
        async move { state.keys("", "", 10, Timestamp::from_millis(at)).await.unwrap().len() }
    };
    assert_eq!((listed(START + 999).await, listed(START + 1_000).await), (1, 0));
    // A later run found no value, which is still right.
    let mut later = settlement(&second, NextState::Processed);
    later.reads = reads(&second, &[("k", None)]);
    later.reads.at = Timestamp::from_millis(START + 2_000);
    assert_applied(&test.settle(later).await);
}

#[tokio::test]
async fn keys_are_listed_in_byte_order_by_prefix_and_page() {
    let test = TestStore::new().await;
    let (first, _second) = two_claims(&test).await;
    let all = ["a", "b/1", "b/2", "b/3", "b\u{7f}", "c", "é", "z"];
    let stored = all.iter().map(|key| write(key, "1")).collect();
    assert_applied(&test.settle(with_effects(&first, writes(stored))).await);
    let keys = |prefix: &'static str, after: &'static str, limit| {
        let (state, now) = (state(&test), first.now);
        async move { state.keys(prefix, after, limit, now).await.unwrap() }
    };
    let text = |keys: Vec<Box<str>>| keys.into_iter().map(String::from).collect::<Vec<_>>();
    assert_eq!(text(keys("b/", "", 2).await), ["b/1", "b/2"]);
    assert_eq!(text(keys("b/", "b/2", 10).await), ["b/3"]);
    assert_eq!(text(keys("", "b/3", 10).await), ["b\u{7f}", "c", "z", "é"]);
    assert_eq!(text(keys("é", "", 10).await), ["é"]);
}

#[tokio::test]
async fn state_belongs_to_one_handler_and_its_size_is_kept() {
    let test = TestStore::new().await;
    let (first, second) = two_claims(&test).await;
    assert_eq!(state(&test).size().await.unwrap(), 0);
    let stored = vec![write("key", "12345"), write("gone", "x")];
    assert_applied(&test.settle(with_effects(&first, writes(stored))).await);
    assert_eq!(state(&test).size().await.unwrap(), 13);
    let forget = StateWrite { key: "gone".into(), value: None, expires_at: None };
    assert_applied(
        &test.settle(with_effects(&second, writes(vec![forget, write("key", "1")]))).await,
    );
    assert_eq!(state(&test).size().await.unwrap(), 4);
    let other = test.store().state(&HandlerName::new("other").unwrap());
    assert_eq!(other.get("key").await.unwrap(), None);
}

#[tokio::test]
async fn only_a_handlers_processed_delivery_has_effects() {
    let test = TestStore::new().await;
    let ops: Target = destination("ops");
    test.post("a", &[ops.clone(), handler("orders")]).await;
    let sent = test.claim_one(&ops, Lane::Fresh).await;
    let answer = test
        .store()
        .settle(&shared(vec![with_effects(&sent, writes(vec![write("k", "v")]))]))
        .await;
    assert!(answer[0].is_err(), "{answer:?}");
    let run = test.claim_one(&handler("orders"), Lane::Fresh).await;
    let mut failed = with_effects(&run, writes(vec![write("k", "v")]));
    failed.next = NextState::DeadLetter;
    assert!(test.store().settle(&shared(vec![failed])).await[0].is_err());
    assert_eq!(test.state_of(run.delivery).await, DeliveryState::Processing);
}

#[tokio::test]
async fn a_single_settlement_does_not_wait_for_others() {
    let mut test = TestStore::with(|o| o.settle_hold = Some(Duration::from_secs(3600))).await;
    let orders = handler("orders");
    test.post("a", std::slice::from_ref(&orders)).await;
    // No request was stored since the start, so there is no commit to wait for.
    test.reopen().await;
    let claimed = test.claim_one(&orders, Lane::Fresh).await;
    assert_applied(&test.settle(settlement(&claimed, NextState::Processed)).await);
}

/// Reads both keys, and takes from one if their sum allows it. Repeats after a conflict.
async fn withdraw(store: Arc<dyn Store>, claimed: Claim, from: &str) -> u32 {
    let state = store.state(&HandlerName::new("orders").unwrap());
    let mut conflicts = 0;
    loop {
        let (mut sum, mut seen, mut own) = (0, Vec::new(), 0);
        for key in ["a", "b"] {
            let entry = state.get(key).await.unwrap().unwrap();
            let value: i64 = entry.value.parse().unwrap();
            sum += value;
            if key == from {
                own = value;
            }
            seen.push((key, Some(entry.version)));
        }
        tokio::task::yield_now().await;
        // A run without anything to take rejects, and its reads are validated too.
        let mut settlement = if sum > 0 {
            with_effects(&claimed, writes(vec![write(from, &(own - 1).to_string())]))
        } else {
            settlement(&claimed, NextState::DeadLetter)
        };
        settlement.reads = reads(&claimed, &seen);
        match store.settle(&shared(vec![settlement])).await.remove(0).unwrap() {
            Settled::Applied { .. } => return conflicts,
            Settled::StateConflict { .. } => conflicts += 1,
            other => panic!("{other:?}"),
        }
    }
}

/// The sum of both keys never goes below zero, although each run writes only one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_skew_is_refused_at_concurrency_8() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    for n in 0..41 {
        test.post(&n.to_string(), std::slice::from_ref(&orders)).await;
    }
    let setup = test.claim(&orders, Lane::Fresh, 1).await.remove(0);
    let begin = writes(vec![write("a", "10"), write("b", "10")]);
    assert_applied(&test.settle(with_effects(&setup, begin)).await);
    let mut conflicts = 0;
    loop {
        let claims = test.claim(&orders, Lane::Fresh, 8).await;
        if claims.is_empty() {
            break;
        }
        let from = ["a", "b"].into_iter().cycle();
        let runs: Vec<_> = claims
            .into_iter()
            .zip(from)
            .map(|(claimed, from)| tokio::spawn(withdraw(test.shared(), claimed, from)))
            .collect();
        for run in runs {
            conflicts += run.await.unwrap();
        }
    }
    let mut sum = 0;
    for key in ["a", "b"] {
        sum += state(&test).get(key).await.unwrap().unwrap().value.parse::<i64>().unwrap();
    }
    assert_eq!(sum, 0, "20 of 40 got one each, after {conflicts} conflicts");
    let dead = weir_store::query::DeliveryFilter {
        states: vec![DeliveryState::DeadLetter],
        ..Default::default()
    };
    let page = weir_store::query::PageRequest { limit: 100, after: None };
    assert_eq!(test.store().deliveries(dead, page).await.unwrap().items.len(), 20);
    assert!(conflicts > 0, "nothing ran side by side");
}

#[tokio::test]
async fn runs_on_distinct_keys_do_not_conflict() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    for n in 0..8 {
        test.post(&n.to_string(), std::slice::from_ref(&orders)).await;
    }
    let claims = test.claim(&orders, Lane::Fresh, 8).await;
    let settlements = claims.iter().enumerate().map(|(n, claimed)| {
        let key = format!("k{n}");
        let mut settlement = with_effects(claimed, writes(vec![write(&key, "1")]));
        settlement.reads = reads(claimed, &[(&key, None)]);
        settlement
    });
    for answer in test.store().settle(&shared(settlements.collect())).await {
        assert_applied(&answer.unwrap());
    }
}

#[tokio::test]
async fn absences_and_empty_listings_are_validated_reads() {
    let test = TestStore::new().await;
    let (first, second) = two_claims(&test).await;
    assert_applied(&test.settle(with_effects(&first, writes(vec![write("cart/1", "x")]))).await);
    let outcomes = [
        NextState::Processed,
        NextState::DeadLetter,
        NextState::Retry { delay: Duration::from_secs(1) },
    ];
    for next in outcomes {
        let mut absent = settlement(&second, next);
        absent.reads = reads(&second, &[("cart/1", None)]);
        assert_eq!(test.settle(absent).await, Settled::StateConflict { key: "cart/1".into() });
        let mut empty = settlement(&second, next);
        empty.reads.ranges.push(RangeRead {
            prefix: "cart/".into(),
            after: "".into(),
            limit: 10,
            keys: Vec::new(),
        });
        assert_eq!(test.settle(empty).await, Settled::StateConflict { key: "cart/".into() });
    }
}
