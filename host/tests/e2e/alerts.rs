//! Alerts are events of the hub's own source `weir`, and are routed like any other event.

use std::time::Duration;

use serde_json::Value;

use crate::faults::Faults;
use weir_testing::guests::committed;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

/// A route that sends all alerts to a sink.
const TO_ALARM: &str = "[[route]]\non = [\"weir:*\"]\nto = \"alarm\"";

/// Waits until the sink has an alert of this type. Returns all alerts of that type.
async fn until_told(alarm: &Sink, kind: &str) -> Vec<Value> {
    until(&format!("an alert {kind}"), async || {
        let all: Vec<Value> = alarm.received().iter().map(|r| r.json()).collect();
        let found: Vec<Value> = all.iter().filter(|a| a["type"] == kind).cloned().collect();
        if found.is_empty() { Err(format!("{all:?}")) } else { Ok(found) }
    })
    .await
}

/// The stored events of the source `weir` with this type.
async fn alerts(hub: &RunningHub, kind: &str) -> Vec<Value> {
    let page = hub.api(&format!("/api/v1/events?source=weir&type={kind}")).await;
    page["items"].as_array().unwrap().clone()
}

/// Waits until the hub has checked its state once more: this alert comes after all earlier ones.
async fn a_later_look(hub: &RunningHub, alarm: &Sink) {
    std::fs::write(hub.folder.path().join("plugins/broken.wasm"), b"no module").unwrap();
    until_told(alarm, "handler.load_failed").await;
}

fn probes() -> TestHub {
    TestHub::new().github().handler("probe", "probe").sidecar("probe", "[retry]\nmax_attempts = 1")
}

const REJECT: &[u8] = br#"{"steps":[{"op":"reject","reason":"no such customer"}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_raise_one_alert_a_minute_with_their_count() {
    let (alarm, all) = (Sink::start().await, Sink::start().await);
    let hub = probes()
        .destination("alarm", &alarm, "")
        .destination("all", &all, "")
        .config(TO_ALARM)
        .config("[[route]]\non = [\"*:*\", \"category:custom\"]\nto = \"all\"")
        .start()
        .await;
    hub.until_ready("probe").await;
    let event = hub.push("push", "one", REJECT).await.accepted();
    let dead = hub.until_status(&event, "dead_letter").await;
    let delivery =
        dead["deliveries"].as_array().unwrap().iter().find(|d| d["state"] == "dead_letter");
    let told = &until_told(&alarm, "dead_letter").await[0];
    assert_eq!(told["subject"], "handler:probe", "{told}");
    assert_eq!((&told["count"], &told["event"]), (&1.into(), &event.as_str().into()), "{told}");
    assert_eq!(told["delivery"], delivery.unwrap()["id"], "{told}");
    assert_eq!((&told["outcome"], &told["reason"]), (&"reject".into(), &"no such customer".into()));

    for n in 0..30 {
        let id = format!("more-{n}");
        let event = hub.push("push", &id, REJECT).await.accepted();
        hub.until_status(&event, "dead_letter").await;
    }
    a_later_look(&hub, &alarm).await;
    assert_eq!(alerts(&hub, "dead_letter").await.len(), 1, "the rest of the minute comes together");
    assert!(all.received().iter().all(|r| r.header("weir-source") == "github"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_its_handler_raises_one_alert() {
    let alarm = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("alarm", &alarm, "")
        .config(TO_ALARM)
        .handler("teller", "noop")
        .sidecar("teller", "on = [\"github:*\"]")
        .handler("other", "noop")
        .sidecar("other", "on = [\"github:never\"]")
        .start()
        .await;
    hub.until_ready("teller").await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&event, "processed").await;
    let plugins = hub.folder.path().join("plugins");
    std::fs::remove_file(plugins.join("teller.wasm")).unwrap();
    let told = until_told(&alarm, "source.unrouted").await;
    assert_eq!((told.len(), &told[0]["subject"]), (1, &"source:github".into()), "{told:?}");

    // A further change of the routes, and further unrouted events, raise no second alert.
    std::fs::write(plugins.join("other.toml"), "on = [\"github:nothing\"]").unwrap();
    hub.until_handler("other", |h| h["subscriptions"][0] == "github:nothing").await;
    let event = hub.push("push", "two", b"{}").await.accepted();
    hub.until_status(&event, "unrouted").await;

    hub.put_handler("teller", committed("noop"));
    hub.until_ready("teller").await;
    let event = hub.push("push", "three", b"{}").await.accepted();
    hub.until_status(&event, "processed").await;
    a_later_look(&hub, &alarm).await;
    assert_eq!(alerts(&hub, "source.unrouted").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undeliverable_alert_raises_no_alert() {
    let alarm = Sink::answering((0..99).map(|_| (422, vec![]))).await;
    let hub = probes().destination("alarm", &alarm, "").config(TO_ALARM).start().await;
    hub.until_ready("probe").await;
    let event = hub.push("push", "one", REJECT).await.accepted();
    hub.until_status(&event, "dead_letter").await;
    alarm.until_received(1).await;
    let alert = alerts(&hub, "dead_letter").await.remove(0);
    hub.until_status(alert["id"].as_str().unwrap(), "dead_letter").await;
    a_later_look(&hub, &alarm).await;
    let (all, raised) = (alerts(&hub, "dead_letter").await, hub.metric("weir_alerts_total").await);
    assert_eq!((all.len(), raised), (1, 2.0), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn load_failures_and_failing_handlers_raise_alerts() {
    let alarm = Sink::start().await;
    let hub = probes()
        .destination("alarm", &alarm, "")
        .config(TO_ALARM)
        .config("[alerts]\nat_least = 5\n")
        .start()
        .await;
    let before = hub.until_ready("probe").await;
    hub.put_handler("probe", hub.folder.path().join("weir.toml"));
    let refused = &until_told(&alarm, "handler.load_failed").await[0];
    assert_eq!(
        (&refused["subject"], &refused["serves_on"]),
        (&"handler:probe".into(), &true.into())
    );
    assert_eq!(hub.until_ready("probe").await["version"], before["version"]);
    for n in 0..5 {
        let id = format!("bad-{n}");
        let event = hub.push("push", &id, REJECT).await.accepted();
        hub.until_status(&event, "dead_letter").await;
    }
    let failing = &until_told(&alarm, "handler.failing").await[0];
    assert_eq!((&failing["failed"], &failing["attempts"]), (&5.into(), &5.into()), "{failing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_refuses_requests_raises_an_alert_with_the_reason() {
    let alarm = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("alarm", &alarm, "")
        .config(TO_ALARM)
        .config("[alerts]\nat_least = 5\n")
        .start()
        .await;
    for _ in 0..5 {
        let headers = [("x-github-event", "push"), ("x-hub-signature-256", "sha256=00")];
        assert_eq!(hub.post("github", &headers, b"{}").await.status, 401);
    }
    let refusing = &until_told(&alarm, "source.refusing").await[0];
    assert_eq!(refusing["subject"], "source:github", "{refusing}");
    assert_eq!((&refusing["refused"], &refusing["requests"]), (&5.into(), &5.into()));
    assert!(refusing["code"].as_str().unwrap().starts_with("signature"), "{refusing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_destinations_and_old_holds_raise_alerts() {
    let (alarm, bad) = (Sink::start().await, Sink::answering([(410, vec![])]).await);
    let hub = TestHub::new()
        .github()
        .destination("alarm", &alarm, "")
        .destination("bad", &bad, "")
        .config(TO_ALARM)
        .config("[[route]]\non = [\"github:*\"]\nto = \"bad\"")
        .config("[retention]\nhold_life = \"2s\"")
        .start()
        .await;
    hub.push("push", "one", b"{}").await.accepted();
    let open = &until_told(&alarm, "destination.failing").await[0];
    assert_eq!(open["subject"], "destination:bad", "{open}");
    assert!(open["reason"].as_str().unwrap().contains("410"), "{open}");
    hub.cli_ok(&["hold", "source:github", "--reason", "a bad day"]);
    let old = until("an alert about that hold", async || {
        let all = until_told(&alarm, "hold.old").await;
        let ours = all.iter().find(|old| old["subject"] == "source:github").cloned();
        ours.ok_or_else(|| format!("{all:?}"))
    })
    .await;
    assert_eq!((&old["reason"], &old["by"]), (&"a bad day".into(), &"operator".into()), "{old}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_begins_and_ends_within_the_quiet_time_is_not_told() {
    let alarm = Sink::start().await;
    let bad = Sink::answering([410, 200, 410, 200].map(|status| (status, vec![]))).await;
    let hub = TestHub::new()
        .github()
        .destination("alarm", &alarm, "")
        .destination(
            "bad",
            &bad,
            "breaker = { pause = \"50ms\" }\nretry = { schedule = [\"10ms\"] }",
        )
        .config(TO_ALARM)
        .config("[[route]]\non = [\"github:*\"]\nto = \"bad\"")
        .start()
        .await;
    for id in ["first", "second"] {
        let event = hub.push("push", id, b"{}").await.accepted();
        hub.until_status(&event, "processed").await;
        until_told(&alarm, "destination.ok").await;
    }
    a_later_look(&hub, &alarm).await;
    let state = hub.api("/api/v1/destinations").await;
    let bad = state["items"].as_array().unwrap().iter().find(|one| one["name"] == "bad").unwrap();
    assert_eq!((&bad["times_failing"], &bad["state"]), (&2.into(), &"ok".into()), "{state}");
    for kind in ["destination.failing", "destination.ok"] {
        assert_eq!(alerts(&hub, kind).await.len(), 1, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_store_is_alerted_without_the_store() {
    let alarm = Sink::start().await;
    let alerts = format!("[alerts]\nalert_url = \"{}\"\nallow = [\"@private\"]", alarm.url());
    let (hub, disk) = Faults::of(TestHub::new().github().config(&alerts));
    let mut hub = hub.start().await;
    disk.does("fail");
    assert_eq!(hub.push("push", "one", b"{}").await.status, 503);
    let told = until_told(&alarm, "store.poisoned").await;
    assert!(!told[0]["reason"].as_str().unwrap().is_empty(), "{told:?}");
    assert_eq!(hub.until_stopped().await, 74);
    assert_eq!(alarm.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_above_the_budget_are_counted_and_logged_only() {
    let hub = probes().config("[alerts]\nper_hour = 1").start().await;
    hub.until_ready("probe").await;
    let event = hub.push("push", "one", REJECT).await.accepted();
    hub.until_status(&event, "dead_letter").await;
    until("the one alert", async || match alerts(&hub, "dead_letter").await.len() {
        1 => Ok(()),
        n => Err(n.to_string()),
    })
    .await;
    std::fs::write(hub.folder.path().join("plugins/broken.wasm"), b"no module").unwrap();
    until("an alert that is dropped", async || {
        match hub.metric("weir_alerts_dropped_total").await {
            1.0 => Ok(()),
            n => Err(n.to_string()),
        }
    })
    .await;
    // They are counted at once, and logged in a summary.
    until("the log to say so", async || match hub.log.having(&["too many alerts"]).len() {
        1 => Ok(()),
        n => Err(n.to_string()),
    })
    .await;
    assert_eq!(alerts(&hub, "handler.load_failed").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_source_raises_an_alert_if_max_silence_is_set() {
    let alarm = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .config("max_silence = \"1s\"")
        .destination("alarm", &alarm, "")
        .config(TO_ALARM)
        .start()
        .await;
    hub.push("push", "one", b"{}").await.accepted();
    let told = until_told(&alarm, "source.silent").await;
    assert_eq!((told.len(), &told[0]["subject"]), (1, &"source:github".into()), "{told:?}");
}

/// A certificate for a hub that expires in this number of days, with its key.
fn certificate(days: u64) -> (String, String) {
    let now = Duration::from_secs(jiff::Timestamp::now().as_second().try_into().unwrap());
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["hub".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + Duration::from_secs(days * 86_400);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiring_certificate_raises_one_alert_a_day_across_restarts() {
    let (cert, key) = certificate(3);
    let tls = "[server.tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"";
    let hub = TestHub::new().config(tls).file("cert.pem", cert).file("key.pem", key);
    let hub = hub.start().await;
    let told = hub.until_alert("certificate.expiring", "certificate:server").await;
    assert_eq!(told["days_left"], 2, "and some hours: {told}");
    assert!(told["file"].as_str().unwrap().ends_with("cert.pem"), "{told}");
    let until = hub.metric("weir_tls_certificate_not_after_seconds").await;
    let not_after: jiff::Timestamp = told["not_after"].as_str().unwrap().parse().unwrap();
    assert_eq!(not_after.as_second().to_string(), until.to_string());

    let hub = hub.kill_and_restart().await;
    std::fs::write(hub.folder.path().join("plugins/broken.wasm"), b"no module").unwrap();
    // This alert comes after all alerts that were due before.
    hub.until_alert("handler.load_failed", "handler:broken").await;
    assert_eq!(hub.alerts("certificate.expiring", "certificate:server").await.len(), 1);

    let (cert, key) = certificate(300);
    hub.write("key.pem", &key);
    hub.write("cert.pem", &cert);
    weir_testing::wait::until("the new certificate", async || {
        match hub.metric("weir_tls_certificate_not_after_seconds").await {
            later if later > until => Ok(()),
            same => Err(same.to_string()),
        }
    })
    .await;
}
