//! Counting once: differences, failures of the store, and restarts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use weir_core::delivery::Outcome;
use weir_core::name::SourceName;
use weir_core::time::{Clock, Timestamp};
use weir_store::rollup::{HOUR, MINUTE, Rollup, RollupQuery};
use weir_store::{Store, StoreOptions};

use super::delta::{Counted, between, limit};
use super::layout::{self, source_sums, target_sums};
use super::{RollupWorker, until_next_minute};
use crate::context::HubContext;

#[derive(Debug)]
struct Still(Timestamp);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.0
    }
}

const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_000);

fn store(folder: &Path) -> Arc<dyn Store> {
    let url = format!("sqlite:{}", folder.join("weir.db").display());
    let options = StoreOptions { clock: Arc::new(Still(NOW)), run_slots: 1 };
    weir_store::open(&url, options).unwrap()
}

/// A hub that begins with counters of zero.
fn worker(store: &Arc<dyn Store>) -> RollupWorker {
    RollupWorker::new(HubContext::new(store.clone(), Arc::new(Still(NOW))))
}

fn accept(worker: &RollupWorker, requests: usize) {
    let github = worker.ctx.metrics.source(&SourceName::configured("github").unwrap());
    for _ in 0..requests {
        github.answered("accepted", Duration::from_millis(2));
    }
}

async fn accepted(store: &Arc<dyn Store>) -> u64 {
    let query = RollupQuery {
        from: NOW.before(HOUR),
        to: NOW.after(MINUTE),
        step: MINUTE,
        series: Some("source:github".into()),
    };
    let rows = store.rollups(query).await.unwrap().rows;
    rows.iter().map(|(_, _, rollup)| rollup.sums[source_sums::ACCEPTED]).sum()
}

fn unsaved(worker: &RollupWorker) -> u64 {
    let rows = worker.unsaved().rows();
    rows.iter().map(|(_, rollup)| rollup.sums[source_sums::ACCEPTED]).sum()
}

fn counted(rows: &[(&str, &[u64])]) -> Counted {
    let rollup = |sums: &[u64]| Rollup { sums: sums.to_vec(), ..Rollup::default() };
    rows.iter().map(|(name, sums)| ((*name).into(), rollup(sums))).collect()
}

#[test]
fn only_what_was_counted_since_is_new() {
    let before = counted(&[("source:a", &[5, 1]), ("source:b", &[2, 2])]);
    let now = counted(&[("source:a", &[7, 1]), ("source:b", &[2, 2]), ("source:c", &[4, 0])]);
    let new: BTreeMap<_, _> = between(&before, &now).into_iter().collect();
    assert_eq!(new, counted(&[("source:a", &[2, 0]), ("source:c", &[4, 0])]));
}

#[test]
fn a_source_that_began_again_counts_from_zero() {
    let before = counted(&[("source:a", &[500, 20])]);
    let now = counted(&[("source:a", &[3, 20])]);
    assert_eq!(between(&before, &now)[0].1.sums, [3, 20]);
}

#[test]
fn the_smallest_of_too_many_series_are_counted_together() {
    let rollup = |n: u64| Rollup { sums: vec![n], ..Rollup::default() };
    let mut rows: Vec<(Box<str>, Rollup)> =
        (1..=100).map(|n| (format!("source:s{n}").into(), rollup(n))).collect();
    limit(&mut rows, 10);
    assert!(rows.len() <= 10);
    assert_eq!(rows[0].1, rollup(100), "the largest keeps its own");
    let total: u64 = rows.iter().map(|(_, rollup)| rollup.sums[0]).sum();
    assert_eq!(total, 5050, "nothing is left out");
    assert!(rows.iter().any(|(name, _)| &**name == "source:other"));
}

#[test]
fn a_minute_ends_at_a_whole_minute() {
    let minute = Timestamp::from_millis(1_760_000_040_000);
    assert_eq!(until_next_minute(minute), MINUTE);
    assert_eq!(until_next_minute(minute.after(Duration::from_secs(59))), Duration::from_secs(1));
}

#[tokio::test]
async fn a_restart_counts_nothing_twice_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let first = store(folder.path());
    let hub = worker(&first);
    accept(&hub, 3);
    hub.save().await;
    hub.save().await;
    assert_eq!(accepted(&first).await, 3, "a second time adds nothing");
    accept(&hub, 2);
    assert_eq!(unsaved(&hub), 2);
    hub.ctx.drain.stop_claiming();
    hub.clone().run().await;
    hub.save().await;
    first.close().await.unwrap();

    let second = store(folder.path());
    assert_eq!(accepted(&second).await, 5, "what was counted last is stored at the end");
    let hub = worker(&second);
    accept(&hub, 4);
    hub.save().await;
    assert_eq!(accepted(&second).await, 9, "the same minute goes on");
}

#[tokio::test]
async fn a_failure_of_the_store_keeps_the_counts() {
    let folder = tempfile::tempdir().unwrap();
    let closed = store(folder.path());
    let hub = worker(&closed);
    accept(&hub, 3);
    closed.close().await.unwrap();
    hub.save().await;
    accept(&hub, 2);
    hub.save().await;
    assert_eq!(unsaved(&hub), 5);

    let open = store(folder.path());
    let hub = RollupWorker { ctx: HubContext { store: open.clone(), ..hub.ctx }, ..hub };
    hub.save().await;
    assert_eq!((accepted(&open).await, unsaved(&hub)), (5, 0));
}

#[tokio::test]
async fn a_batch_that_was_stored_without_an_answer_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let hub = worker(&store);
    accept(&hub, 3);
    let batch = hub.unsaved.batch(None, NOW);
    store.rollups_put(batch).await.unwrap();
    accept(&hub, 1);
    hub.save().await;
    assert_eq!((accepted(&store).await, unsaved(&hub)), (4, 0));
}

#[tokio::test]
async fn targets_and_the_hub_have_series_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let hub = worker(&store);
    let target = hub.ctx.metrics.target(&"handler:orders".parse().unwrap());
    target.attempt(Outcome::Ok, Duration::from_millis(20));
    target.attempt(Outcome::Retry, Duration::from_millis(20));
    target.dead_letter();
    hub.save().await;
    let query =
        RollupQuery { from: NOW.before(HOUR), to: NOW.after(MINUTE), step: MINUTE, series: None };
    let rows = store.rollups(query).await.unwrap().rows;
    let names: Vec<&str> = rows.iter().map(|(_, name, _)| &**name).collect();
    assert_eq!(names, ["handler:orders", layout::HUB]);
    let sums = &rows[0].2.sums;
    assert_eq!(sums[target_sums::SUCCEEDED], 1);
    assert_eq!(sums[target_sums::FAILED], 1);
    assert_eq!(sums[target_sums::DEAD_LETTERS], 1);
    assert_eq!(rows[0].2.latency.iter().sum::<u64>(), 2);
}
