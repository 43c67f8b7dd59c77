//! Acts of an operator while the hub runs: hold, release, and asking why.

use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

const TO_SINK: &str = "[grant]\ndestinations = [\"sink\"]\n";

/// A handler `teller` that sends each GitHub event to the sink.
async fn hub_with_a_teller(sink: &Sink) -> RunningHub {
    let hub = TestHub::new()
        .github()
        .destination("sink", sink, "")
        .handler("teller", "version-a")
        .sidecar("teller", TO_SINK)
        .start()
        .await;
    hub.until_ready("teller").await;
    hub
}

#[tokio::test(flavor = "multi_thread")]
async fn held_deliveries_survive_a_crash_and_run_after_release() {
    let sink = Sink::start().await;
    let hub = hub_with_a_teller(&sink).await;
    hub.cli_ok(&["hold", "handler:teller", "--reason", "a bad release"]);
    let event = hub.push("push", "one", b"{}").await.accepted();
    assert_eq!(hub.event(&event).await["status"], "held");
    assert!(hub.cli_ok(&["events", "--status", "held"]).contains(&event));

    let hub = hub.kill_and_restart().await;
    hub.until_ready("teller").await;
    let holds = hub.cli_ok(&["holds"]);
    assert!(holds.contains("handler:teller") && holds.contains("a bad release"), "{holds}");
    let held = hub.event(&event).await;
    assert_eq!((&held["status"], &held["deliveries"][0]["attempts"]), (&"held".into(), &0.into()));
    assert!(
        hub.cli_ok(&["why", &event])
            .contains("hold 1 on handler:teller by operator: a bad release")
    );

    hub.cli_ok(&["release", "handler:teller"]);
    hub.until_status(&event, "processed").await;
    assert_eq!(sink.until_received(1).await.len(), 1);
    assert_eq!(hub.cli_ok(&["holds"]).trim(), "no holds");
    assert_eq!(hub.cli_err(&["release", "handler:teller"]).0, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_source_waits_while_others_go_on() {
    let sink = Sink::answering([(503, vec![("retry-after", "1".into())])]).await;
    let hub = TestHub::new()
        .github()
        .source("other", "github", weir_testing::hub::SECRET)
        .destination(
            "sink",
            &sink,
            "[destinations.sink.retry]\nschedule = [\"1s\"]\njitter = 0.0\n",
        )
        .handler("teller", "version-a")
        .sidecar("teller", &format!("on = [\"github:*\", \"other:*\"]\n{TO_SINK}"))
        .start()
        .await;
    hub.until_ready("teller").await;
    let sent = hub.push("push", "sent", b"{}").await.accepted();
    // Its message has failed once and waits for its next attempt.
    hub.until_status(&sent, "retrying").await;
    hub.cli_ok(&["hold", "source:github"]);
    let waits = hub.push("push", "waits", b"{}").await.accepted();
    let signature = weir_testing::hub::github_signature(b"{}");
    let headers = [
        ("content-type", "application/json"),
        ("x-github-event", "push"),
        ("x-github-delivery", "elsewhere"),
        ("x-hub-signature-256", &signature),
    ];
    let other = hub.post("other", &headers, b"{}").await.accepted();
    hub.until_status(&other, "processed").await;
    hub.until_status(&sent, "processed").await;
    assert_eq!(hub.event(&waits).await["status"], "held");
    hub.cli_ok(&["release", "source:github"]);
    hub.until_status(&waits, "processed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_with_an_end_time_ends() {
    let sink = Sink::start().await;
    let hub = hub_with_a_teller(&sink).await;
    hub.cli_ok(&["hold", "destination:sink", "--until", "1s"]);
    let event = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&event, "processed").await;
    until("no holds", async || match hub.cli_ok(&["holds"]).trim() {
        "no holds" => Ok(()),
        holds => Err(holds.to_owned()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_on_an_unknown_target_is_refused_with_the_known_ones() {
    let sink = Sink::start().await;
    let hub = hub_with_a_teller(&sink).await;
    let (exit, said) = hub.cli_err(&["hold", "handler:tellar"]);
    assert_eq!(exit, 4);
    assert!(said.contains("there is no handler `tellar`; there are teller"), "{said}");
    let (exit, said) = hub.cli_err(&["hold", "teller"]);
    assert_eq!(exit, 2);
    assert!(said.contains("unknown scope `teller`; use source:NAME, handler:NAME"), "{said}");
    let (_, said) = hub.cli_err(&["hold", "handler:teller", "--until", "yesterday"]);
    assert!(said.contains("--until") && said.contains("write a time"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn why_shows_the_rules_of_the_time_after_a_change() {
    let sink = Sink::start().await;
    let hub = hub_with_a_teller(&sink).await;
    let before = hub.push("push", "before", b"{}").await.accepted();
    hub.until_status(&before, "processed").await;
    let sidecar = hub.folder.path().join("plugins/teller.toml");
    std::fs::write(sidecar, format!("on = [\"stripe:*\"]\n{TO_SINK}")).unwrap();
    hub.until_handler("teller", |h| h["subscriptions"] == serde_json::json!(["stripe:*"])).await;
    let mut pushed = 0;
    let after = until("an event by the rule that holds next", async || {
        pushed += 1;
        let id = format!("after-{pushed}");
        let event = hub.push("push", &id, b"{}").await.accepted();
        let found = hub.event(&event).await;
        if found["status"] == "unrouted" { Ok(event) } else { Err(found.to_string()) }
    })
    .await;
    let why = hub.cli_ok(&["why", &before]);
    assert!(why.contains("matched:     handler:teller by"), "{why}");
    assert!(!why.contains("stripe"), "{why}");
    let why = hub.cli_ok(&["why", &after]);
    assert!(why.contains("not matched: handler:teller wants stripe:*"), "{why}");
}
