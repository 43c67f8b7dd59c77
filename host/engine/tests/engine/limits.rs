//! The limits of a run, and the outcome of a run that exceeds one.

use std::time::Duration;

use serde_json::json;
use weir_core::bounds::{LOG_BYTES_PER_RUN_MAX, LOG_LINE_BYTES_MAX, MIB};
use weir_core::delivery::Outcome;

use crate::support::{Try, reported, results};

#[tokio::test]
async fn memory_limit_is_that_of_the_handler() {
    let grow = |mib: u32, limit: usize| {
        let mut run = Try::steps(&json!([{ "op": "grow", "mib": mib }]));
        run.limits.memory = limit * MIB;
        run.run()
    };
    let report = grow(40, 64).await;
    assert_eq!(report.outcome(), Outcome::Ok);
    assert!((40 * MIB..=64 * MIB).contains(&report.memory_peak), "{}", report.memory_peak);
    let report = grow(40, 32).await;
    assert_eq!(report.outcome(), Outcome::OutOfMemory);
    assert!(report.reason().unwrap().contains("may have 33554432"), "{:?}", report.reason());
    assert!(report.memory_peak <= 32 * MIB);
}

#[tokio::test]
async fn a_body_of_140_mib_is_stopped_before_it_is_copied() {
    let mut run = Try::steps(&json!([{ "op": "send", "destination": "ops", "size": 140 * MIB }]));
    run.limits.memory = 400 * MIB;
    let report = run.run().await;
    assert_eq!(report.outcome(), Outcome::TooMuchData, "{:?}", report.end);
}

#[tokio::test]
async fn a_log_line_of_140_mib_is_stopped_too() {
    let mut run = Try::steps(&json!([{ "op": "log", "size": 140 * MIB }]));
    run.limits.memory = 400 * MIB;
    assert_eq!(run.run().await.outcome(), Outcome::TooMuchData);
}

#[tokio::test]
async fn log_is_cut_and_marked() {
    let report = Try::steps(&json!([
        { "op": "log", "size": LOG_LINE_BYTES_MAX + 1 },
        { "op": "log", "message": "still here" },
    ]))
    .run()
    .await;
    assert!(report.log.truncated);
    let sizes: Vec<_> = report.log.lines.iter().map(|l| l.message.len()).collect();
    assert_eq!(sizes, [LOG_LINE_BYTES_MAX, 10]);

    let report = Try::steps(&json!([{ "op": "log", "size": 1_000, "times": 5_000 }])).run().await;
    let bytes: usize = report.log.lines.iter().map(|l| l.message.len()).sum();
    assert_eq!(report.outcome(), Outcome::Ok);
    assert!(report.log.truncated && bytes <= LOG_BYTES_PER_RUN_MAX);
}

#[tokio::test]
async fn log_flood_ends_at_the_deadline() {
    let mut flood = Try::steps(&json!([{ "op": "flood" }]));
    flood.limits.time = Duration::from_millis(200);
    flood.limits.log_bytes = 1_000;
    let report = flood.run().await;
    assert_eq!(report.outcome(), Outcome::Timeout);
    assert!(report.log.truncated);
}

#[tokio::test]
async fn operator_can_lower_the_limit_of_effects() {
    let mut few = Try::steps(&json!([
        { "op": "send", "destination": "ops", "json": 1, "times": 5 },
        { "op": "report" },
    ]));
    few.limits.effects = 3;
    let report = few.run().await;
    assert_eq!(report.effects.messages.len(), 3);
}

#[tokio::test]
async fn random_bytes_have_a_limit_for_each_call() {
    let random = &results(json!([{ "op": "random", "length": 100_000 }])).await[0];
    assert_eq!(random.as_str().unwrap().len(), 2 * 1_024);
    let report = Try::steps(&crate::support::and_report(json!([{ "op": "random", "length": 0 }])));
    assert_eq!(reported(&report.run().await)[0], "");
}
