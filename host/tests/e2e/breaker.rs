//! The breaker of a failing endpoint: its deliveries wait, lose nothing, and are sent after
//! recovery.

use serde_json::Value;

use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

const ROUTE: &str = "[[route]]\non = [\"github:*\"]\nto = \"sink\"";
/// Breaker settings under which only an operator's release starts a probe within a test.
const PATIENT: &str = "breaker = { pause = \"1h\", max_pause = \"1h\" }\nconcurrency = 1\n\
                       retry = { schedule = [\"1h\"] }";

async fn hub(sink: &Sink, more: &str) -> RunningHub {
    TestHub::new().github().destination("sink", sink, more).config(ROUTE).start().await
}

/// Waits until the destination has this state. Returns its status.
async fn until_sink_is(hub: &RunningHub, state: &str) -> Value {
    until(&format!("the destination to be {state}"), async || {
        let sink = hub.api("/api/v1/destinations").await["items"][0].take();
        if sink["state"] == state { Ok(sink) } else { Err(sink.to_string()) }
    })
    .await
}

/// The metric that counts how often the sink began to fail.
async fn failing(hub: &RunningHub) -> f64 {
    let parts = ["weir_target_state", "target=\"destination:sink\"", "state=\"failing\""];
    let lines = hub.metric_lines(&parts).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0].rsplit(' ').next().unwrap().parse().unwrap()
}

/// Pushes events and returns their ids once they are stored.
async fn push(hub: &RunningHub, prefix: &str, count: usize) -> Vec<String> {
    let mut events = Vec::new();
    for n in 0..count {
        events.push(hub.push("push", &format!("{prefix}-{n}"), b"{}").await.accepted());
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_endpoint_holds_messages_without_using_attempts() {
    let sink = Sink::start().await;
    sink.answers(410);
    let hub = hub(&sink, PATIENT).await;
    let first = push(&hub, "first", 1).await.remove(0);
    let open = until_sink_is(&hub, "failing").await;
    assert_eq!((&open["reason"], &open["times_failing"]), (&"HTTP 410 Gone".into(), &1.into()));
    let more = push(&hub, "more", 20).await;
    for event in &more {
        let held = hub.until_status(event, "held").await;
        assert_eq!(held["deliveries"][0]["attempts"], 0, "{held}");
    }
    assert_eq!(hub.event(&first).await["deliveries"][0]["attempts"], 1);
    assert_eq!(sink.received().len(), 1);
    let holds = hub.cli_ok(&["holds"]);
    assert!(holds.contains("destination:sink") && holds.contains("breaker"), "{holds}");
    let why = hub.cli_ok(&["why", &more[0]]);
    assert!(why.contains("destination:sink is paused after failures (hold 1), next try"), "{why}");
    assert!(hub.cli_ok(&["destinations"]).contains("HTTP 410 Gone"));
    assert_eq!(failing(&hub).await, 1.0);
    assert_eq!(hub.metric("weir_target_failing_total").await, 1.0);
    let logged = ["paused after failures", "HTTP 410 Gone", "\"target\":\"destination:sink\""];
    assert_eq!(hub.log.having(&logged).len(), 1, "{}", hub.log.all());

    sink.answers(200);
    hub.cli_ok(&["release", "destination:sink"]);
    for event in &more {
        hub.until_status(event, "processed").await;
    }
    until_sink_is(&hub, "ok").await;
    assert_eq!(hub.cli_ok(&["holds"]).trim(), "no holds");
    assert_eq!(hub.log.having(&["ok again", "destination:sink"]).len(), 1, "{}", hub.log.all());
    // Only the first message spent an attempt; it waits for its own retry time.
    assert_eq!(hub.event(&first).await["deliveries"][0]["attempts"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_endpoint_is_probed_with_a_different_message_each_time() {
    let sink = Sink::start().await;
    sink.answers(500);
    let quick = "retry = { schedule = [\"10ms\"], max_attempts = 1000 }\nconcurrency = 1\n\
                 breaker = { min_attempts = 4, pause = \"40ms\", max_pause = \"80ms\" }";
    let hub = hub(&sink, quick).await;
    let events = push(&hub, "one", 6).await;
    let open = until_sink_is(&hub, "failing").await;
    assert!(open["reason"].as_str().unwrap().contains("500"), "{open}");
    let before = sink.received().len();
    let received = sink.until_received(before + 6).await;
    // The last request before the first probe may not be the one that opened the breaker, so the
    // count begins at the probe.
    let ids: Vec<_> = received[before..].iter().map(|r| r.header("webhook-id")).collect();
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
    assert_eq!(hub.metric("weir_target_failing_total").await, 1.0, "told once, not for each probe");

    sink.answers(200);
    for event in &events {
        hub.until_status(event, "processed").await;
    }
    until_sink_is(&hub, "ok").await;
    assert_eq!(failing(&hub).await, 0.0);
    assert_eq!(hub.cli_ok(&["holds"]).trim(), "no holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_survives_a_crash() {
    let sink = Sink::start().await;
    sink.answers(404);
    let hub = hub(&sink, PATIENT).await;
    push(&hub, "first", 1).await;
    let before = until_sink_is(&hub, "failing").await;
    until("the hold to be placed", async || match hub.cli_ok(&["holds"]) {
        holds if holds.contains("breaker") => Ok(()),
        holds => Err(holds),
    })
    .await;
    let hub = hub.kill_and_restart().await;
    let after = until_sink_is(&hub, "failing").await;
    for key in ["failing_since", "next_try", "reason"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    let event = push(&hub, "later", 1).await.remove(0);
    hub.until_status(&event, "held").await;
    assert_eq!(sink.received().len(), 1, "nothing is sent to it");
    sink.answers(200);
    hub.cli_ok(&["release", "destination:sink"]);
    hub.until_status(&event, "processed").await;
    until_sink_is(&hub, "ok").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_message_does_not_open_the_breaker() {
    let sink = Sink::start().await;
    sink.answers(422);
    let eager =
        "breaker = { min_attempts = 1, failure_rate = 0.01, pause = \"1h\", max_pause = \"1h\" }";
    let hub = hub(&sink, eager).await;
    for event in push(&hub, "one", 12).await {
        let dead = hub.until_status(&event, "dead_letter").await;
        assert_eq!(dead["deliveries"][0]["attempts"], 1, "{dead}");
    }
    until_sink_is(&hub, "ok").await;
    assert_eq!(hub.metric("weir_target_failing_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_endpoint_gets_nothing_until_its_retry_after() {
    let sink = Sink::answering([(429, vec![("retry-after", "4".into())])]).await;
    let hub = hub(&sink, "retry = { schedule = [\"10ms\"] }\nconcurrency = 1").await;
    let first = push(&hub, "first", 1).await.remove(0);
    hub.until_status(&first, "retrying").await;
    let later = push(&hub, "later", 3).await;
    let paused = hub.api("/api/v1/destinations").await["items"][0].take();
    assert_eq!((&paused["state"], &paused["places"]), (&"paused".into(), &0.into()), "{paused}");
    for event in later.iter().chain([&first]) {
        hub.until_status(event, "processed").await;
    }
    let until: jiff::Timestamp = paused["paused_until"].as_str().unwrap().parse().unwrap();
    let event = hub.event(&later[0]).await;
    let sent = event["deliveries"][0]["history"][0]["started_at"].as_str().unwrap();
    assert!(sent.parse::<jiff::Timestamp>().unwrap() >= until, "{event}");
}

const CRASH: &[u8] = br#"{"steps":[{"op":"abort"}]}"#;
const FINE: &[u8] = br#"{"steps":[]}"#;

/// A hub with a handler that does what each event says. Its breaker opens after three crashes.
async fn hub_with_a_handler() -> RunningHub {
    let hub = TestHub::new()
        .github()
        .handler("shaky", "probe")
        .sidecar(
            "shaky",
            "on = [\"github:*\"]\n[retry]\nmax_attempts = 1\n\
             [breaker]\nmin_attempts = 3\npause = \"1h\"\nmax_pause = \"1h\"\n",
        )
        .start()
        .await;
    hub.until_ready("shaky").await;
    for n in 0..3 {
        let event = hub.push("push", &format!("crash-{n}"), CRASH).await.accepted();
        hub.until_status(&event, "dead_letter").await;
    }
    hub.until_handler("shaky", |h| h["health"] == "failing").await;
    hub
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashing_version_is_held_across_a_crash_until_the_next_version() {
    let hub = hub_with_a_handler().await;
    let waits = hub.push("push", "waits", FINE).await.accepted();
    let held = hub.until_status(&waits, "held").await;
    assert_eq!(held["deliveries"][0]["attempts"], 0, "{held}");
    let holds = hub.cli_ok(&["holds"]);
    assert!(holds.contains("handler:shaky") && holds.contains("breaker"), "{holds}");
    assert_eq!(hub.log.having(&["paused after failures", "shaky"]).len(), 1, "{}", hub.log.all());

    let hub = hub.kill_and_restart().await;
    let handler = hub.until_ready("shaky").await;
    assert_eq!(handler["health"], "failing", "{handler}");
    assert!(handler["health_reason"].as_str().unwrap().contains("3 of the last 3"), "{handler}");
    hub.until_status(&waits, "held").await;

    hub.put_handler("shaky", weir_testing::guests::committed("noop"));
    hub.until_status(&waits, "processed").await;
    hub.until_handler("shaky", |h| h["health"] == "ok").await;
    until("the hold to end", async || match hub.cli_ok(&["holds"]).trim() {
        "no holds" => Ok(()),
        holds => Err(holds.to_owned()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_version_is_probed_with_one_event_on_release() {
    let hub = hub_with_a_handler().await;
    let mut waiting = Vec::new();
    for n in 0..5 {
        waiting.push(hub.push("push", &format!("fine-{n}"), FINE).await.accepted());
    }
    hub.until_status(&waiting[4], "held").await;
    hub.cli_ok(&["release", "handler:shaky"]);
    for event in &waiting {
        hub.until_status(event, "processed").await;
    }
    hub.until_handler("shaky", |h| h["health"] == "ok").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_that_crashes_every_run_does_not_open_the_breaker() {
    let hub = TestHub::new()
        .github()
        .handler("shaky", "probe")
        .sidecar(
            "shaky",
            "on = [\"github:*\"]\n[retry]\nfirst = \"1ms\"\nmax = \"1ms\"\nmax_attempts = 12\n\
             [breaker]\nmin_attempts = 2\nfailure_rate = 0.6\n",
        )
        .start()
        .await;
    hub.until_ready("shaky").await;
    let poison = hub.push("push", "poison", CRASH).await.accepted();
    let dead = hub.until_status(&poison, "dead_letter").await;
    assert_eq!(dead["deliveries"][0]["attempts"], 12, "{dead}");
    let fine = hub.push("push", "fine", FINE).await.accepted();
    hub.until_status(&fine, "processed").await;
    hub.until_handler("shaky", |h| h["health"] == "ok").await;
    assert_eq!(hub.metric("weir_target_failing_total").await, 0.0);
}
