//! Probation of new versions: one that fails where the version before did not is rolled back, and
//! no event is lost by it; and the cases in which it is not rolled back.

use serde_json::Value;
use weir_testing::guests::{failing_on, write};
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

/// The first version fails on `^`, the second one on `~` too.
const BOTH_FAIL: &[u8] = br#"{"text":"^"}"#;
const SECOND_FAILS: &[u8] = br#"{"text":"~"}"#;
const FINE: &[u8] = br#"{"text":"fine"}"#;

fn sidecar(probation: &str) -> String {
    format!(
        "on = [\"github:*\"]\n[grant]\ndestinations = [\"sink\"]\n[retry]\nmax_attempts = 2\n\
         first = \"10ms\"\nmax = \"10ms\"\n[probation]\n{probation}\n"
    )
}

/// A version that tells the sink its number.
pub(crate) fn version(number: u8, fails_on: &str, thousands: u32) -> Vec<u8> {
    let line = format!(r#"{{"effect":"send","destination":"sink","json":{{"version":{number}}}}}"#);
    failing_on(fails_on, &line, thousands)
}

/// Puts a version into the plugins folder.
pub(crate) fn put(hub: &RunningHub, number: u8, fails_on: &str, thousands: u32) {
    let folder = tempfile::tempdir().unwrap();
    let module = write(folder.path(), "teller", &version(number, fails_on, thousands));
    hub.put_handler("teller", module);
}

/// A hub with the first version of a handler that tells the sink which version ran.
pub(crate) async fn first_version(sink: &Sink, probation: &str) -> (RunningHub, String) {
    let folder = tempfile::tempdir().unwrap();
    let module = write(folder.path(), "teller", &version(1, "^", 0));
    let hub = TestHub::new()
        .github()
        .destination("sink", sink, "retry = { schedule = [\"1h\"] }")
        .module("teller", &module)
        .sidecar("teller", &sidecar(probation))
        .start()
        .await;
    let first = hub.until_ready("teller").await;
    (hub, first["version"].as_str().unwrap().to_owned())
}

/// Waits until another version than this one serves. Returns the handler.
pub(crate) async fn until_other(hub: &RunningHub, version: &str) -> Value {
    hub.until_handler("teller", |h| h["state"] == "ready" && h["version"] != version).await
}

/// A hub whose second version is on probation, with the hashes of both.
async fn on_probation(sink: &Sink, probation: &str) -> (RunningHub, String, String) {
    let (hub, first) = first_version(sink, probation).await;
    put(&hub, 2, "^~", 0);
    let second = until_other(&hub, &first).await;
    assert_eq!(second["probation"]["old"], *first, "{second}");
    (hub, first, second["version"].as_str().unwrap().to_owned())
}

async fn push(hub: &RunningHub, name: &str, body: &[u8]) -> String {
    hub.push("push", name, body).await.accepted()
}

fn said(message: &weir_testing::sink::Received) -> u64 {
    message.json()["version"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_one_event_in_three_is_rolled_back() {
    let sink = Sink::start().await;
    let (hub, first, second) = on_probation(&sink, "strikes = 3").await;
    let mut failed = Vec::new();
    for n in 0..9 {
        let body = if n % 3 == 2 { SECOND_FAILS } else { FINE };
        let event = push(&hub, &format!("event-{n}"), body).await;
        hub.until_status(&event, "processed").await;
        failed.extend((n % 3 == 2).then_some(event));
    }
    let back = hub.until_handler("teller", |h| h["version"] == *first).await;
    assert!(back["probation"].is_null() && back["state"] == "ready", "{back}");

    let mut versions: Vec<_> = sink.until_received(9).await.iter().map(said).collect();
    versions.sort_unstable();
    assert_eq!(versions, [1, 1, 1, 2, 2, 2, 2, 2, 2], "each event was handled once");
    let attempts = hub.event(&failed[0]).await["deliveries"][0]["history"].take();
    let [attempt] = &attempts.as_array().unwrap()[..] else { panic!("{attempts}") };
    assert_eq!((&attempt["outcome"], &attempt["version"]), (&"ok".into(), &first.clone().into()));
    let other = &attempt["other"];
    assert_eq!((&other["version"], &other["outcome"]), (&second.clone().into(), &"crashed".into()));
    let why = hub.cli_ok(&["why", &failed[0]]);
    let line = format!("run under version {}; version {} failed", &first[..12], &second[..12]);
    assert!(why.contains(&line), "{why}");
    assert!(hub.cli_ok(&["events", &failed[0]]).contains(&line));

    let alert = hub.until_alert("handler.rolled_back", "handler:teller").await;
    assert_eq!(
        (&alert["from"], &alert["to"], &alert["strikes"]),
        (&second.clone().into(), &first.clone().into(), &3.into())
    );
    assert_eq!(hub.metric("weir_handler_rollbacks_total").await, 1.0);
    assert_eq!(hub.metric("weir_handler_strikes_total").await, 3.0);

    // The file in the folder has not changed, so it stays out of service.
    let hub = hub.kill_and_restart().await;
    let after = hub.until_ready("teller").await;
    assert_eq!(after["version"], *first, "{after}");
    let event = push(&hub, "after", SECOND_FAILS).await;
    hub.until_status(&event, "processed").await;
    let history = hub.cli_ok(&["handlers", "history", "teller"]);
    assert_eq!(history.matches("rolled_back").count(), 1, "{history}");
    assert_eq!(history.matches("loaded").count(), 2, "the file is not loaded again: {history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_fail_in_both_versions_are_no_strikes() {
    let sink = Sink::start().await;
    let (hub, _, second) = on_probation(&sink, "strikes = 1").await;
    for n in 0..4 {
        let event = push(&hub, &format!("event-{n}"), BOTH_FAIL).await;
        let dead = hub.until_status(&event, "dead_letter").await;
        let attempt = &dead["deliveries"][0]["history"][1];
        assert_eq!(
            (&attempt["version"], &attempt["outcome"]),
            (&second.clone().into(), &"crashed".into())
        );
        assert_eq!(attempt["other"]["outcome"], "crashed", "the old version failed too");
    }
    let teller = hub.until_ready("teller").await;
    assert_eq!(
        (&teller["version"], &teller["probation"]["strikes"]),
        (&second.into(), &serde_json::json!([]))
    );
    assert_eq!(hub.metric("weir_handler_strikes_total").await, 0.0);
    assert_eq!(hub.metric("weir_handler_probation").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_down_is_no_strike() {
    let sink = Sink::start().await;
    let (hub, _, second) = on_probation(&sink, "strikes = 1\nruns = 5").await;
    sink.answers(503);
    for n in 0..5 {
        let event = push(&hub, &format!("event-{n}"), FINE).await;
        hub.until_status(&event, "retrying").await;
    }
    let passed = hub.until_handler("teller", |h| h["probation"].is_null()).await;
    assert_eq!(passed["version"], *second, "{passed}");
    let history = hub.cli_ok(&["handlers", "history", "teller"]);
    assert!(history.contains("passed"), "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slower_version_that_is_right_stays() {
    let sink = Sink::start().await;
    let (hub, first) = first_version(&sink, "strikes = 1\nruns = 3").await;
    put(&hub, 2, "", 30_000);
    let second = until_other(&hub, &first).await;
    for n in 0..3 {
        let event = push(&hub, &format!("event-{n}"), SECOND_FAILS).await;
        hub.until_status(&event, "processed").await;
    }
    let passed = hub.until_handler("teller", |h| h["probation"].is_null()).await;
    assert_eq!(passed["version"], second["version"], "{passed}");
    assert!(sink.until_received(3).await.iter().all(|message| said(message) == 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_version_is_not_rolled_back() {
    let sink = Sink::start().await;
    let (hub, _, second) = on_probation(&sink, "strikes = 1").await;
    hub.cli_ok(&["handlers", "pin", "teller", "--reason", "we know"]);
    for n in 0..3 {
        let event = push(&hub, &format!("event-{n}"), SECOND_FAILS).await;
        let dead = hub.until_status(&event, "dead_letter").await;
        assert!(dead["deliveries"][0]["history"][0]["other"].is_null(), "it runs alone: {dead}");
    }
    let teller = hub.until_ready("teller").await;
    assert_eq!((&teller["version"], &teller["pinned"]), (&second.into(), &true.into()));
    assert_eq!(hub.metric("weir_handler_rollbacks_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_a_person_chose_is_not_rolled_back() {
    let sink = Sink::start().await;
    let (hub, first, second) = on_probation(&sink, "strikes = 1").await;
    let event = push(&hub, "one", SECOND_FAILS).await;
    hub.until_status(&event, "processed").await;
    hub.until_handler("teller", |h| h["version"] == *first).await;
    hub.cli_ok(&["handlers", "rollback", "teller", &second[..10]]);
    let event = push(&hub, "two", SECOND_FAILS).await;
    hub.until_status(&event, "dead_letter").await;
    assert_eq!(hub.until_ready("teller").await["version"], *second);
}

#[tokio::test(flavor = "multi_thread")]
async fn strikes_and_the_start_survive_a_restart() {
    let sink = Sink::start().await;
    let (hub, first, _) = on_probation(&sink, "strikes = 2").await;
    let event = push(&hub, "one", SECOND_FAILS).await;
    hub.until_status(&event, "processed").await;
    let struck = |h: &Value| h["probation"]["strikes"].as_array().is_some_and(|s| s.len() == 1);
    let before = hub.until_handler("teller", struck).await;
    until("the strike to be stored", async || {
        let log = hub.log.having(&["probation saved"]);
        if log.is_empty() { Err(hub.log.all()) } else { Ok(()) }
    })
    .await;
    let hub = hub.kill_and_restart().await;
    let after = hub.until_handler("teller", struck).await;
    assert_eq!(after["probation"]["started_at"], before["probation"]["started_at"]);
    let event = push(&hub, "two", SECOND_FAILS).await;
    hub.until_status(&event, "processed").await;
    hub.until_handler("teller", |h| h["version"] == *first).await;
    hub.until_alert("handler.rolled_back", "handler:teller").await;
}
