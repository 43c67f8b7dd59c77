//! The main job: a signed webhook in, a sandboxed handler's effect out.

use std::time::Duration;

use weir_testing::guests::committed;
use weir_testing::hub::TestHub;
use weir_testing::sink::Sink;
use weir_testing::wait::until;

const TO_SINK: &str = "[grant]\ndestinations = [\"sink\"]\nemit = true\n";
const SINK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn signed(sink: &Sink, hub: TestHub) -> TestHub {
    hub.file("sink.secret", SINK_SECRET).destination(
        "sink",
        sink,
        "secrets = [{ file = \"sink.secret\" }]",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_webhook_becomes_a_handlers_signed_message() {
    let sink = Sink::start().await;
    let hub = signed(&sink, TestHub::new().github())
        .handler("greeter", "version-a")
        .sidecar("greeter", TO_SINK)
        .start()
        .await;
    hub.until_ready("greeter").await;

    let event = hub.push("push", "one", b"{}").await.accepted();

    let message = sink.until_received(1).await.remove(0);
    assert_eq!(message.json(), serde_json::json!({ "version": "a", "event": event }));
    assert_eq!(message.header("content-type"), "application/json");
    assert!(message.header("webhook-id").starts_with("msg_"), "{message:?}");
    assert!(message.header("webhook-signature").starts_with("v1,"), "{message:?}");
    let stored = hub.until_status(&event, "processed").await;
    assert_eq!(stored["source"], "github");
    assert_eq!(stored["type"], "push");
    let attempt = &stored["deliveries"][0]["history"][0];
    assert_eq!(attempt["outcome"], "ok", "{stored}");
    assert_eq!(attempt["messages"][0]["state"], "processed", "{stored}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_makes_one_event_and_returns_the_first_id() {
    let hub = TestHub::new().github().handler("noop", "noop").start().await;
    let first = hub.push("push", "same", b"{}").await.accepted();
    let again = hub.push("push", "same", b"{}").await;
    assert_eq!(again.status, 200);
    assert_eq!(again.body["status"], "duplicate");
    assert_eq!(again.body["event_id"], first.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_is_recognised_after_a_crash() {
    let hub = TestHub::new().github().handler("noop", "noop").start().await;
    let first = hub.push("push", "same", b"{}").await.accepted();
    let hub = hub.kill_and_restart().await;
    let again = hub.push("push", "same", b"{}").await;
    assert_eq!(again.body["event_id"], first.as_str(), "{again:?}");
    assert_eq!(again.body["status"], "duplicate");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_needs_no_handler() {
    let sink = Sink::start().await;
    let hub = signed(&sink, TestHub::new().github())
        .config("[[route]]\non = [\"github:push\"]\nto = \"sink\"")
        .start()
        .await;
    let event = hub.push("push", "one", br#"{"as":"it came"}"#).await.accepted();
    let message = sink.until_received(1).await.remove(0);
    assert_eq!(&message.body[..], br#"{"as":"it came"}"#);
    hub.until_status(&event, "processed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unrouted_event_is_kept_and_visible() {
    let hub = TestHub::new().github().start().await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&event, "unrouted").await;
    let list = hub.api("/api/v1/events?status=unrouted").await;
    assert_eq!(list["items"][0]["id"], event.as_str(), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn state_outlives_runs_and_restarts() {
    let sink = Sink::start().await;
    let count =
        br#"{"steps":[{"op":"add","key":"n","delta":1},{"op":"report","destination":"sink"}]}"#;
    let hub = signed(&sink, TestHub::new().github())
        .handler("counter", "probe")
        .sidecar("counter", TO_SINK)
        .start()
        .await;
    hub.until_ready("counter").await;
    let event = hub.push("push", "one", count).await.accepted();
    hub.until_status(&event, "processed").await;
    let hub = hub.kill_and_restart().await;
    hub.push("push", "two", count).await.accepted();
    let reports = sink.until_received(2).await;
    assert_eq!(reports[1].json()["results"][0], 2, "{reports:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_leaves_no_effects_and_the_next_attempt_starts_fresh() {
    let sink = Sink::start().await;
    let hub = signed(&sink, TestHub::new().github())
        .handler("half", "probe")
        .sidecar("half", &format!("{TO_SINK}[retry]\nfirst = \"10ms\"\n"))
        .start()
        .await;
    hub.until_ready("half").await;
    let steps = br#"{"steps":[
        {"op":"add","key":"n","delta":1},
        {"op":"send","destination":"sink","json":{"sent":true}},
        {"op":"panic","message":"half way","on_attempt":1},
        {"op":"report","destination":"sink"}]}"#;
    let event = hub.push("push", "one", steps).await.accepted();
    let stored = hub.until_status(&event, "processed").await;

    let history = stored["deliveries"][0]["history"].as_array().unwrap();
    assert_eq!(history[0]["outcome"], "crashed", "{stored}");
    assert!(history[0]["reason"].as_str().unwrap().contains("half way"), "{stored}");
    assert_eq!(history[1]["outcome"], "ok", "{stored}");
    let sent = sink.until_received(2).await;
    assert_eq!(sent.len(), 2, "the first attempt's message must not have left: {sent:?}");
    let report = sent.iter().find(|r| r.json()["results"].is_array()).unwrap().json();
    assert_eq!(report["results"][0], 1, "the first attempt's count must be gone: {report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn emitted_events_are_routed_and_a_loop_ends() {
    let sink = Sink::start().await;
    // The handler receives what it emits and emits again, without end if it could.
    let hub = signed(&sink, TestHub::new().github())
        .handler("circle", "probe")
        .sidecar(
            "circle",
            "on = [\"github:*\", \"@circle:*\"]\n[config]\nsteps = '''[{\"op\":\"emit\",\"type\":\"round\",\"body\":\"x\",\"must\":true}]'''\n[grant]\nemit = true\n[retry]\nmax_attempts = 1\n",
        )
        .start()
        .await;
    hub.until_ready("circle").await;
    hub.push("push", "one", b"no steps").await.accepted();
    let dead = until("the circle to end in a dead letter", async || {
        let dead = hub.api("/api/v1/dead-letters").await;
        if dead["items"][0].is_object() { Ok(dead) } else { Err(dead.to_string()) }
    })
    .await;
    assert!(dead["items"][0]["reason"].as_str().unwrap().contains("16"), "{dead}");
    let rounds = hub.api("/api/v1/events?source=@circle&limit=100").await;
    assert_eq!(rounds["items"].as_array().unwrap().len(), 16, "{rounds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn delays_keys_and_cancellations_decide_what_is_sent() {
    let sink = Sink::start().await;
    let hub = signed(&sink, TestHub::new().github())
        .handler("timer", "probe")
        .sidecar("timer", TO_SINK)
        .start()
        .await;
    hub.until_ready("timer").await;
    let alarm = br#"{"steps":[
        {"op":"send","destination":"sink","json":{"alarm":1}},
        {"op":"set-delay","seconds":3600},{"op":"set-key","key":"order-1"},
        {"op":"cancel-ahead","key":"order-2","seconds":3600}]}"#;
    let armed = hub.push("push", "arm", alarm).await.accepted();
    // One message of the event waits for an hour, so the event's status stays pending.
    until("the alarm to wait", async || {
        let stored = hub.event(&armed).await;
        let waits = stored["deliveries"][0]["history"][0]["messages"][0]["state"] == "pending";
        if waits { Ok(()) } else { Err(stored.to_string()) }
    })
    .await;
    let paid = br#"{"steps":[
        {"op":"cancel","key":"order-1"},
        {"op":"send","destination":"sink","json":{"alarm":2}},{"op":"set-key","key":"order-2"},
        {"op":"report","destination":"sink"}]}"#;
    let event = hub.push("push", "paid", paid).await.accepted();
    hub.until_status(&event, "processed").await;

    let sent = sink.until_received(1).await;
    assert_eq!(sent.len(), 1, "only the report may leave: {sent:?}");
    assert_eq!(sent[0].json()["results"][0], true, "the alarm was waiting: {sent:?}");
    let armed = hub.event(&armed).await;
    let state = &armed["deliveries"][0]["history"][0]["messages"][0]["state"];
    assert_eq!(state, "cancelled", "{armed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_in_any_language_is_a_handler_too() {
    let sink = Sink::start().await;
    let hub = signed(&sink, TestHub::new().github())
        .handler("github", "command")
        .sidecar("github", TO_SINK)
        .start()
        .await;
    let status = hub.until_ready("github").await;
    assert_eq!(status["kind"], "command", "{status}");
    hub.push("push", "one", br#"{"hello":"command"}"#).await.accepted();
    let document = sink.until_received(1).await.remove(0).json();
    assert_eq!(document["event"]["source"], "github", "{document}");
    assert!(document["body"].as_str().unwrap().contains("hello"), "{document}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_runs_and_exits_cleanly() {
    let hub = TestHub::new().github().handler("noop", "noop").start().await;
    hub.until_ready("noop").await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&event, "processed").await;
    let started = std::time::Instant::now();
    assert_eq!(hub.stop().await, 0);
    assert!(started.elapsed() < Duration::from_secs(10), "nothing was running");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_sees_its_event_and_can_requeue_a_dead_letter() {
    let sink = Sink::start().await;
    let hub = signed(&sink, TestHub::new().github())
        .handler("strict", "probe")
        .sidecar("strict", TO_SINK)
        .start()
        .await;
    let before = hub.until_ready("strict").await;
    let event = hub
        .push("push", "one", br#"{"steps":[{"op":"reject","reason":"not today"}]}"#)
        .await
        .accepted();
    hub.until_status(&event, "dead_letter").await;

    let list = hub.cli(&["dead-letters", "list", "--json"]);
    // The output has one JSON document per line, one line per dead letter.
    let dead: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    let id = dead["id"].as_str().unwrap().to_owned();
    assert!(dead["reason"].as_str().unwrap().contains("not today"), "{dead}");

    hub.put_handler("strict", committed("noop"));
    hub.until_handler("strict", |h| h["version"] != before["version"]).await;
    let done = hub.cli(&["dead-letters", "requeue", &id]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let stored = hub.until_status(&event, "processed").await;
    assert_eq!(stored["deliveries"][0]["generation"], 1, "{stored}");
}
