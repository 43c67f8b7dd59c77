//! A collector that fails costs nothing but telemetry, and the operator learns of it.

use weir_testing::hub::TestHub;
use weir_testing::sink::Sink;
use weir_testing::wait::until;

use super::collector::{Collector, HANG};

const EVENTS: usize = 40;

/// A hub that forwards events while its collector gives this answer.
async fn works_with_a_collector_that(answers: u16) {
    let (collector, sink) = (Collector::start().await, Sink::start().await);
    collector.answers(answers);
    let hub = TestHub::new()
        .github()
        .destination("ops", &sink, "")
        .config("[[route]]\non = [\"github:*\"]\nto = \"ops\"")
        .config(&collector.config("timeout = \"200ms\"\nmetrics = false"))
        .start()
        .await;
    for n in 0..EVENTS {
        hub.push("push", &format!("d{n}"), b"{}").await.accepted();
    }
    assert_eq!(sink.until_received(EVENTS).await.len(), EVENTS);
    until("dropped spans to be counted", async || {
        let lines = hub.metric_lines(&["weir_telemetry_records_total", "traces", "dropped"]).await;
        let count = lines.iter().filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        if count.sum::<u64>() > 0 { Ok(()) } else { Err(format!("{lines:?}")) }
    })
    .await;
    let told = until("a record of the log", async || {
        hub.log.having(&["telemetry was dropped", "traces"]).pop().ok_or_else(|| hub.log.all())
    })
    .await;
    assert!(told.contains("\"level\":\"WARN\""), "{told}");
    assert!(hub.log.having(&["telemetry was dropped", "traces"]).len() == 1, "{}", hub.log.all());
    assert_eq!(hub.stop().await, 0, "it stops although the collector takes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_answers_503_delays_no_event() {
    works_with_a_collector_that(503).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_delays_no_event() {
    works_with_a_collector_that(HANG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_of_a_short_failure_arrives_later() {
    let collector = Collector::start().await;
    collector.answers(503);
    let hub = TestHub::new()
        .github()
        .config(&collector.config("logs = false\nmetrics = false"))
        .start()
        .await;
    hub.push("push", "one", b"{}").await.accepted();
    until("a first try", async || {
        if collector.requests().is_empty() { Err("none".to_owned()) } else { Ok(()) }
    })
    .await;
    collector.answers(0);
    until("the span after a retry", async || {
        if collector.spans().len() == 1 { Ok(()) } else { Err("none".to_owned()) }
    })
    .await;
    assert!((hub.metric("weir_telemetry_records_total").await - 1.0).abs() < 0.5);
}
