//! Deadlines: they stop runs that compute and runs that wait, and disturb no other run.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::json;
use weir_core::delivery::Outcome;
use weir_core::state::{StateEntry, StateReader, StateUnavailable};
use weir_core::time::Timestamp;
use weir_engine::{Engine, Options};

use crate::support::{Try, guest};

fn looping(millis: u64) -> Try {
    let mut run = Try::steps(&json!([{ "op": "loop" }]));
    run.limits.time = Duration::from_millis(millis);
    run
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn loop_is_stopped_while_others_run_on_its_thread() {
    let engine = Engine::new(Options { slots: 2, ..Options::default() }).unwrap();
    let noop = engine.load(&guest("noop")).unwrap();
    let mut looping = looping(1_000);
    looping.module = engine.load(&guest("probe")).unwrap();
    let stopped = tokio::spawn(looping.run());
    let beside = tokio::spawn(async move {
        let mut done = 0;
        while !stopped.is_finished() {
            let report = Try::of(noop.clone(), "").run().await;
            assert_eq!(report.outcome(), Outcome::Ok);
            done += 1;
            tokio::task::yield_now().await;
        }
        (stopped, done)
    });
    let (stopped, done_beside) = beside.await.unwrap();
    let report = stopped.await.unwrap();
    assert_eq!(report.outcome(), Outcome::Timeout);
    assert!(report.duration >= Duration::from_millis(1_000), "{:?}", report.duration);
    assert!(report.duration < Duration::from_secs(4), "{:?}", report.duration);
    assert!(done_beside > 3, "only {done_beside} runs got a turn");
    assert!(report.reason().unwrap().contains("limit of 1s"), "{:?}", report.reason());
}

/// A store that never answers.
struct Silent;

#[async_trait]
impl StateReader for Silent {
    async fn get(&self, _: &str) -> Result<Option<StateEntry>, StateUnavailable> {
        std::future::pending().await
    }

    async fn keys(
        &self,
        _: &str,
        _: &str,
        _: u32,
        _: Timestamp,
    ) -> Result<Vec<Box<str>>, StateUnavailable> {
        std::future::pending().await
    }

    async fn size(&self) -> Result<u64, StateUnavailable> {
        std::future::pending().await
    }

    async fn has_queued(&self, _: &str) -> Result<bool, StateUnavailable> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn time_in_host_functions_counts_too() {
    let mut waits = Try::steps(&json!([
        { "op": "log", "message": "before" },
        { "op": "get", "key": "a" },
    ]));
    waits.limits.time = Duration::from_millis(100);
    waits.state = std::sync::Arc::new(Silent);
    let report = waits.run().await;
    assert_eq!(report.outcome(), Outcome::Timeout);
    assert_eq!(report.log.lines.len(), 1, "what it wrote before is kept");
}

#[tokio::test]
async fn runs_beyond_the_slots_wait() {
    let engine = Engine::new(Options { slots: 2, ..Options::default() }).unwrap();
    let noop = engine.load(&guest("noop")).unwrap();
    let runs: Vec<_> = (0..500).map(|_| tokio::spawn(Try::of(noop.clone(), "").run())).collect();
    for run in runs {
        let report = run.await.unwrap();
        assert_eq!(report.outcome(), Outcome::Ok, "{:?}", report.end);
    }
}

#[tokio::test]
async fn dropped_run_frees_its_slot() {
    let engine = Engine::new(Options { slots: 1, ..Options::default() }).unwrap();
    let probe = engine.load(&guest("probe")).unwrap();
    let noop = engine.load(&guest("noop")).unwrap();
    for _ in 0..50 {
        let mut forever = looping(60_000);
        forever.module = probe.clone();
        let mut half_way = Box::pin(forever.run());
        let begun = Instant::now();
        tokio::select! {
            biased;
            _ = &mut half_way => panic!("it cannot end"),
            () = tokio::task::yield_now() => {}
        }
        drop(half_way);
        assert_eq!(Try::of(noop.clone(), "").run().await.outcome(), Outcome::Ok);
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
