//! Failed deliveries are retried at their time and become dead letters in the end.

use std::time::Duration;

use weir_testing::hub::TestHub;
use weir_testing::sink::Sink;

const QUICK: &str = "retry = { schedule = [\"10ms\"], max_attempts = 4 }";

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_retried_under_the_same_id_until_accepted() {
    let sink = Sink::answering([(500, vec![]), (503, vec![("retry-after", "0".into())])]).await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, QUICK)
        .config("[[route]]\non = [\"github:*\"]\nto = \"sink\"")
        .start()
        .await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    let stored = hub.until_status(&event, "processed").await;
    let received = sink.until_received(3).await;
    let id = received[0].header("webhook-id");
    assert!(received.iter().all(|r| r.header("webhook-id") == id), "{received:?}");
    assert_eq!(stored["deliveries"][0]["attempts"], 3, "{stored}");
    // A tenth of the wait is random, and times are kept in whole milliseconds.
    let waits = received.windows(2).map(|pair| pair[1].at - pair[0].at);
    assert!(waits.min() >= Some(Duration::from_millis(8)), "{received:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_rejected_is_not_retried() {
    let sink = Sink::answering([(422, vec![])]).await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, QUICK)
        .config("[[route]]\non = [\"github:*\"]\nto = \"sink\"")
        .start()
        .await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    let stored = hub.until_status(&event, "dead_letter").await;
    assert_eq!(stored["deliveries"][0]["attempts"], 1, "{stored}");
    assert_eq!(stored["deliveries"][0]["history"][0]["response_status"], 422, "{stored}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_failure_makes_a_dead_letter() {
    let sink = Sink::answering((0..9).map(|_| (500, vec![]))).await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, QUICK)
        .config("[[route]]\non = [\"github:*\"]\nto = \"sink\"")
        .start()
        .await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    let stored = hub.until_status(&event, "dead_letter").await;
    assert_eq!(stored["deliveries"][0]["attempts"], 4, "{stored}");
    assert_eq!(sink.received().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_address_needs_an_allow_entry() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .config(&format!("[destinations.sink]\nkind = \"webhook\"\nurl = \"{}\"\nretry = {{ schedule = [\"10ms\"], max_attempts = 1 }}", sink.url()))
        .config("[[route]]\non = [\"github:*\"]\nto = \"sink\"")
        .start()
        .await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    let stored = hub.until_status(&event, "dead_letter").await;
    let attempt = &stored["deliveries"][0]["history"][0];
    assert_eq!(attempt["outcome"], "blocked", "{stored}");
    assert!(attempt["reason"].as_str().unwrap().contains("@private"), "{stored}");
    assert!(sink.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_from_the_environment_is_not_used() {
    let (sink, proxy) = (Sink::start().await, Sink::start().await);
    let mut hub = TestHub::new()
        .github()
        .destination("sink", &sink, QUICK)
        .config("[[route]]\non = [\"github:*\"]\nto = \"sink\"");
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        hub = hub.env(name, &proxy.url()).env(&name.to_lowercase(), &proxy.url());
    }
    let hub = hub.start().await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&event, "processed").await;
    assert_eq!((sink.received().len(), proxy.received().len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_sets_the_wait_before_a_retry() {
    let hub = TestHub::new()
        .github()
        .handler("waits", "probe")
        .sidecar("waits", "[retry]\nfirst = \"10ms\"\n")
        .start()
        .await;
    hub.until_ready("waits").await;
    let steps =
        br#"{"steps":[{"op":"retry-after","seconds":3600},{"op":"retry","reason":"later"}]}"#;
    let event = hub.push("push", "one", steps).await.accepted();
    let stored = hub.until_status(&event, "retrying").await;
    let delivery = &stored["deliveries"][0];
    let time =
        |value: &serde_json::Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let wait =
        time(&delivery["due_at"]).duration_since(time(&delivery["history"][0]["started_at"]));
    let seconds = wait.as_secs_f64();
    assert!((3_600.0..3_660.0).contains(&seconds), "{stored}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_keeps_its_time_across_a_crash() {
    let hub = TestHub::new()
        .github()
        .handler("waits", "probe")
        .sidecar("waits", "[retry]\nfirst = \"10ms\"\n")
        .start()
        .await;
    hub.until_ready("waits").await;
    let steps =
        br#"{"steps":[{"op":"retry-after","seconds":3600},{"op":"retry","reason":"later"}]}"#;
    let event = hub.push("push", "one", steps).await.accepted();
    let before = hub.until_status(&event, "retrying").await;
    let hub = hub.kill_and_restart().await;
    let after = hub.until_status(&event, "retrying").await;
    assert_eq!(after["deliveries"][0]["due_at"], before["deliveries"][0]["due_at"]);
    assert_eq!(after["deliveries"][0]["attempts"], 1, "not at once, and not never");
}
