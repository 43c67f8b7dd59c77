//! Waiting deliveries as operators see them: the reason, the next try, and the last error.

use http::Request;
use http_body_util::Full;
use serde_json::Value;

use crate::strict_parser;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

const ROUTE: &str = "[[route]]\non = [\"github:*\"]\nto = \"sink\"";
const TO_SINK: &str = "[grant]\ndestinations = [\"sink\"]\n";
const RARELY: &str = "concurrency = 1\nretry = { schedule = [\"1h\"], jitter = 0.0 }\n";

async fn first_destination(hub: &RunningHub) -> Value {
    hub.api("/api/v1/destinations").await["items"][0].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_to_a_busy_endpoint_shows_its_next_try() {
    let sink = Sink::answering([(429, vec![("retry-after", "250".into())])]).await;
    let hub =
        TestHub::new().github().destination("sink", &sink, RARELY).config(ROUTE).start().await;
    let first = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&first, "retrying").await;
    let sink_stands = first_destination(&hub).await;
    assert_eq!(sink_stands["state"], "paused", "{sink_stands}");
    let second = hub.push("push", "two", b"{}").await.accepted();
    let delivery = hub.event(&second).await["deliveries"][0].take();
    assert_eq!(delivery["waiting"]["for"], "paused", "{delivery}");
    assert_eq!(delivery["due_at"], sink_stands["next_try"], "{delivery}");
    let due = delivery["due_at"].as_str().unwrap();
    assert!(due > delivery_time(&hub, &second).await.as_str(), "{due} lies ahead");
    let sentence = format!("destination:sink asked for a pause, next try {due}");
    assert!(hub.cli_ok(&["events", &second]).contains(&sentence));
    assert!(hub.cli_ok(&["why", &second]).contains(&sentence));
    let paused = ["weir_target_state", "state=\"paused\"", "destination:sink"];
    assert!(hub.metric_lines(&paused).await[0].ends_with(" 1"));
    assert_eq!(sink.received().len(), 1);
}

async fn delivery_time(hub: &RunningHub, event: &str) -> String {
    hub.event(event).await["received_at"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn why_shows_the_last_error_messages_and_due_times() {
    let sink = Sink::start().await;
    sink.answers(500);
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, RARELY)
        .handler("teller", "version-a")
        .sidecar("teller", TO_SINK)
        .start()
        .await;
    hub.until_ready("teller").await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&event, "retrying").await;
    let why = hub.cli_ok(&["why", &event]);
    for part in [
        "-> handler:teller  processed",
        "sent dlv_",
        "to destination:sink  retrying",
        "last error: HTTP 500 Internal Server Error",
        "waiting: next attempt at ",
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }
    let delivery = hub.api(&format!("/api/v1/events/{event}/why")).await["deliveries"][0].take();
    assert_eq!(delivery["messages"][0]["waiting"]["for"], "retry", "{delivery}");
    assert_eq!(delivery["last_attempt"]["outcome"], "ok", "{delivery}");
    hub.cli_ok(&["hold", "destination:sink", "--reason", "a bad day", "--until", "2h"]);
    let why = hub.cli_ok(&["why", &event]);
    assert!(why.contains("on destination:sink by operator: a bad day, until"), "{why}");
    let stands = first_destination(&hub).await;
    assert_eq!(stands["state"], "paused", "{stands}");
    assert_eq!(stands["reason"], "hold 1 by operator: a bad day", "{stands}");
}

#[tokio::test(flavor = "multi_thread")]
async fn development_mode_logs_each_event_run_and_send() {
    let sink = Sink::start().await;
    let of = |hub: TestHub| {
        hub.github()
            .destination("sink", &sink, RARELY)
            .handler("teller", "version-a")
            .sidecar("teller", TO_SINK)
    };
    let debug = TestHub::new().config("level = \"debug\"");
    for hub in [of(TestHub::new()).development(), of(with_level(debug))] {
        let hub = hub.start().await;
        hub.until_ready("teller").await;
        let event = hub.push("push", "one", b"{}").await.accepted();
        hub.until_status(&event, "processed").await;
        for said in [
            &["event stored", "\"source\":\"github\"", "\"kind\":\"push\"", "handler:teller"][..],
            &["run ended", "\"handler\":\"teller\"", "\"outcome\":\"ok\"", "dlv_"],
            &["message sent", "\"destination\":\"sink\"", "\"outcome\":\"ok\"", "msg_"],
        ] {
            let parts = [said, &[event.as_str()]].concat();
            assert_eq!(hub.log.having(&parts).len(), 1, "{parts:?}: {}", hub.log.all());
        }
    }
    let quiet = of(TestHub::new()).start().await;
    quiet.until_ready("teller").await;
    let event = quiet.push("push", "one", b"{}").await.accepted();
    quiet.until_status(&event, "processed").await;
    assert!(quiet.log.having(&["event stored"]).is_empty());
}

/// The level belongs to the section `log`.
fn with_level(hub: TestHub) -> TestHub {
    hub.replace("level = \"debug\"\n", "").replace("[log]\n", "[log]\nlevel = \"debug\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_needs_a_restart_is_named() {
    let sink = Sink::start().await;
    let hub =
        TestHub::new().github().destination("sink", &sink, RARELY).config(ROUTE).start().await;
    let changed = hub.configured().replace("concurrency = 1", "concurrency = 2");
    hub.write(
        "weir.toml",
        &format!("{changed}\n[retention]\nhold_life = \"3d\"\n[runs]\nslots = 3\n"),
    );
    until("the changes to be named", async || {
        let parts =
            ["[runs], retention.hold_life changed; restart to apply (the rest is reloaded)"];
        if hub.log.having(&parts).is_empty() { Err(hub.log.all()) } else { Ok(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_valid_in_the_requested_format() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, RARELY)
        .handler("teller", "version-a")
        .sidecar("teller", TO_SINK)
        .start()
        .await;
    hub.until_ready("teller").await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&event, "processed").await;
    hub.cli_ok(&["hold", "handler:teller"]);
    hub.push("push", "two", b"{}").await.accepted();
    let text = "text/plain; version=0.0.4; charset=utf-8";
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    for (accept, kind) in [
        (None, text),
        (Some("text/plain;version=0.0.4"), text),
        (Some("*/*"), text),
        (Some("application/openmetrics-text;version=1.0.0"), open),
        (
            Some(
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            ),
            open,
        ),
    ] {
        let mut request = Request::get(format!("http://{}/metrics", hub.admin));
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let answer = hub.exchange(request.body(Full::default()).unwrap()).await;
        assert_eq!(answer.headers()["content-type"], kind, "{accept:?}");
        let page = String::from_utf8(answer.into_body().into()).unwrap();
        let page = strict_parser::read(&page, kind == open).unwrap();
        let has = |name: &str| page.series.keys().any(|(known, _)| known == name);
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_start_time_seconds",
            "weir_unrouted_events",
            "weir_events_unrouted_total",
        ] {
            assert!(has(name) || name == "weir_unrouted_events", "{name}");
        }
        let label = ("target".to_owned(), "handler:teller".to_owned());
        let oldest = &page.series[&("weir_oldest_waiting_seconds".to_owned(), vec![label])];
        assert!((0.0..600.0).contains(oldest), "{oldest}");
    }
}
