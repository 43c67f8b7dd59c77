//! `weir serve --paused`: webhooks are stored, and nothing runs until the hold is released.

use serde_json::json;

use weir_testing::hub::TestHub;
use weir_testing::sink::Sink;

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_hub_stores_and_runs_nothing_until_it_is_released() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "")
        .config("[[route]]\non = [\"github:*\"]\nto = \"sink\"")
        .handler("orders", "noop")
        .paused()
        .start()
        .await;
    hub.until_handler("orders", |handler| handler["state"] == "ready").await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    let held = hub.until_status(&event, "held").await;
    assert_eq!(held["deliveries"][0]["waiting"]["scope"], "hub", "{held}");
    let health = hub.api("/health").await;
    assert_eq!(
        (&health["status"], &health["deliveries"]["status"]),
        (&json!("ok"), &json!("paused"))
    );
    assert_eq!(hub.metric("weir_paused").await, 1.0);
    let holds = hub.cli_ok(&["holds"]);
    assert!(holds.contains("hub") && holds.contains("started with --paused"), "{holds}");
    assert!(hub.cli_ok(&["why", &event]).contains("hub"));

    // The hold outlives the process, and is placed once.
    let hub = hub.stop_and_restart().await;
    let holds = hub.api("/api/v1/holds").await;
    assert_eq!(holds["items"].as_array().unwrap().len(), 1, "{holds}");
    assert_eq!(hub.event(&event).await["status"], "held");
    assert_eq!(sink.received().len(), 0, "nothing was sent");

    hub.cli_ok(&["release", "hub"]);
    hub.until_status(&event, "processed").await;
    assert_eq!(sink.until_received(1).await.len(), 1);
    assert_eq!(hub.api("/health").await["deliveries"], json!({ "status": "ok" }));
    assert_eq!(hub.metric("weir_paused").await, 0.0);

    hub.cli_ok(&["hold", "hub", "--reason", "maintenance"]);
    let other = hub.push("push", "two", b"{}").await.accepted();
    hub.until_status(&other, "held").await;
    assert_eq!(hub.cli_err(&["release", "source:github"]).0, 4);
    hub.cli_ok(&["release", "hub"]);
    hub.until_status(&other, "processed").await;
}
