//! Deliveries for a handler or destination that is missing wait with their time and attempts, and
//! resume when it is back.

use serde_json::Value;

use weir_testing::guests::committed;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

const TO_SINK: &str = "[grant]\ndestinations = [\"sink\"]\n";

/// Waits until the missing target has a hold.
async fn until_missing(hub: &RunningHub, scope: &str) {
    until(&format!("{scope} to be held as missing"), async || {
        let holds = hub.api("/api/v1/holds").await;
        let all = holds["items"].as_array().unwrap();
        match all.iter().any(|held| held["scope"] == scope && held["reason"] == "missing") {
            true => Ok(()),
            false => Err(holds.to_string()),
        }
    })
    .await;
}

async fn until_no_holds(hub: &RunningHub) {
    until("no holds", async || match hub.cli_ok(&["holds"]).trim() {
        "no holds" => Ok(()),
        holds => Err(holds.to_owned()),
    })
    .await;
}

fn hub_with_a_teller(sink: &Sink, retention: &str) -> TestHub {
    TestHub::new()
        .github()
        .destination("sink", sink, "")
        .config(retention)
        .handler("teller", "version-a")
        .sidecar("teller", TO_SINK)
}

/// Accepts an event for the handler `teller` that waits, then removes the handler's file.
async fn an_event_whose_handler_went(hub: &RunningHub) -> (String, Value) {
    hub.until_ready("teller").await;
    hub.cli_ok(&["hold", "handler:teller"]);
    let event = hub.push("push", "one", b"{}").await.accepted();
    let before = hub.event(&event).await;
    std::fs::remove_file(hub.folder.path().join("plugins/teller.wasm")).unwrap();
    until_missing(hub, "handler:teller").await;
    hub.cli_ok(&["release", "handler:teller"]);
    (event, before)
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_wait_for_a_missing_handler_until_its_file_returns() {
    let sink = Sink::start().await;
    let hub = hub_with_a_teller(&sink, "").start().await;
    let (event, before) = an_event_whose_handler_went(&hub).await;
    let hub = hub.kill_and_restart().await;
    until_missing(&hub, "handler:teller").await;
    let waits = hub.event(&event).await;
    assert_eq!(waits["status"], "held", "{waits}");
    for what in ["attempts", "generation", "due_at", "state"] {
        assert_eq!(waits["deliveries"][0][what], before["deliveries"][0][what], "{what}");
    }
    let (_, said) = hub.cli_err(&["release", "handler:teller"]);
    assert!(said.contains("held_by_the_hub"), "{said}");
    let later = hub.push("push", "two", b"{}").await.accepted();
    assert_eq!(hub.event(&later).await["status"], "unrouted", "what comes now is visible too");

    hub.put_handler("teller", committed("version-a"));
    hub.until_status(&event, "processed").await;
    until_no_holds(&hub).await;
    assert_eq!(sink.until_received(1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_that_wait_too_long_for_a_handler_become_dead_letters() {
    let sink = Sink::start().await;
    let hub = hub_with_a_teller(&sink, "[retention]\nhold_life = \"1s\"").start().await;
    let (event, _) = an_event_whose_handler_went(&hub).await;
    let dead = hub.until_status(&event, "dead_letter").await;
    let attempt = &dead["deliveries"][0]["history"][0];
    assert_eq!(attempt["outcome"], "missing", "{dead}");
    assert!(
        attempt["reason"].as_str().unwrap().contains("handler:teller has been missing"),
        "{dead}"
    );
    assert!(hub.cli_ok(&["dead-letters", "list"]).contains("has been missing for 1s"));

    hub.put_handler("teller", committed("version-a"));
    until_no_holds(&hub).await;
    hub.cli_ok(&["replay", &event]);
    hub.until_status(&event, "processed").await;
    assert_eq!(sink.until_received(1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_wait_for_a_missing_destination_until_it_returns() {
    let sink = Sink::answering([(503, vec![("retry-after", "1".into())])]).await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "retry = { schedule = [\"1s\"], jitter = 0.0 }")
        .config("[[route]]\non = [\"github:*\"]\nto = \"sink\"")
        .start()
        .await;
    let file = hub.folder.path().join("weir.toml");
    let with = std::fs::read_to_string(&file).unwrap();
    let event = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&event, "retrying").await;
    hub.cli_ok(&["hold", "destination:sink"]);
    std::fs::write(&file, &with[..with.find("[destinations.sink]").unwrap()]).unwrap();
    let hub = hub.kill_and_restart().await;
    until_missing(&hub, "destination:sink").await;
    hub.cli_ok(&["release", "destination:sink"]);
    let waits = hub.event(&event).await;
    assert_eq!(waits["deliveries"][0]["held"], true, "{waits}");
    assert_eq!(waits["deliveries"][0]["attempts"], 1, "{waits}");

    std::fs::write(hub.folder.path().join("weir.toml"), &with).unwrap();
    let hub = hub.kill_and_restart().await;
    hub.until_status(&event, "processed").await;
    until_no_holds(&hub).await;
    assert_eq!(sink.until_received(2).await.len(), 2);
}
