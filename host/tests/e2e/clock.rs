//! The wall clock is changed while the hub runs.

use crate::faults::Faults;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_back_by_an_hour_delays_no_retry() {
    let sink = Sink::answering([(503, vec![]), (503, vec![])]).await;
    let (hub, clock) = Faults::of(
        TestHub::new()
            .github()
            .destination("sink", &sink, "retry = { schedule = [\"3s\"], max_attempts = 5 }")
            .config("[[route]]\non = [\"github:push\"]\nto = \"sink\""),
    );
    let hub = hub.start().await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    let history = async |hub: &RunningHub, attempts: u64| {
        until("the attempt to be recorded", async || {
            let delivery = hub.event(&event).await["deliveries"][0].take();
            if delivery["attempts"] == attempts { Ok(()) } else { Err(delivery.to_string()) }
        })
        .await;
    };
    history(&hub, 1).await;
    clock.does("clock -3600");
    history(&hub, 2).await;
    let hub = hub.kill_and_restart().await;
    let stored = hub.until_status(&event, "processed").await;
    assert_eq!(sink.received().len(), 3);

    let attempts = stored["deliveries"][0]["history"].as_array().unwrap();
    let started = |n: usize| attempts[n]["started_at"].as_str().unwrap().to_owned();
    assert!(started(1) < started(0), "the clock was set back between them: {stored}");
}
