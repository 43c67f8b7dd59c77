//! The health of a source as operators see it: counts, times, state, last error, changed fields.

use serde_json::Value;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::wait::until;

const REJECT: &[u8] = br#"{"steps":[{"op":"reject","reason":"no such customer"}]}"#;
const EASY: &str = "[alerts]\nat_least = 2\nwindow = \"6s\"\n";

fn hub() -> TestHub {
    TestHub::new().github().handler("probe", "probe").sidecar("probe", "[retry]\nmax_attempts = 1")
}

async fn until_source(hub: &RunningHub, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    until(what, async || {
        let source = hub.api("/api/v1/sources/github").await;
        if is_so(&source) { Ok(source) } else { Err(source.to_string()) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_with_failed_attempts_is_failing_until_they_stop() {
    let hub = hub().config(EASY).start().await;
    hub.until_ready("probe").await;
    hub.push("push", "good", b"no steps").await.accepted();
    for n in 0..3 {
        hub.push("push", &format!("bad{n}"), REJECT).await.accepted();
    }
    assert_eq!(hub.post("github", &[], b"{}").await.status, 401);
    let alert = hub.until_alert("source.failing", "source:github").await;
    assert_eq!((&alert["target"], &alert["outcome"]), (&"handler:probe".into(), &"reject".into()));
    let source = until_source(&hub, "the source to be failing", |source| {
        source["health"]["state"] == "failing" && source["health"]["failed"] == 3
    })
    .await;
    let health = &source["health"];
    assert_eq!((&health["received"], &health["refused"]), (&4.into(), &1.into()), "{health}");
    assert_eq!(health["processed"], 1, "{health}");
    assert_eq!(health["last_error"]["reason"], "no such customer", "{health}");
    assert!(health["average_ms"].as_f64().unwrap() > 0.0, "{health}");
    assert!(health["p99_ms"].as_f64() >= health["average_ms"].as_f64(), "{health}");
    assert!(health["last_received_at"].is_string(), "{health}");
    let listed = hub.api("/health").await["sources"]["github"].clone();
    assert_eq!(listed["failed"], 3, "{listed}");
    let shown = hub.cli_ok(&["sources", "show", "github"]);
    for part in ["failing", "1 processed, 3 failed", "no such customer", "4 accepted, 1 refused"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(hub.cli_ok(&["sources", "list"]).contains("failing"));
    let state = hub.metric_lines(&["weir_source_state", "state=\"failing\"} 1"]).await;
    assert_eq!(state.len(), 1, "{state:?}");
    // The window passes without failed attempts.
    until_source(&hub, "the source to be ok", |source| source["health"]["state"] == "ok").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_requests_is_silent_until_one_comes() {
    let hub = TestHub::new().github().config("max_silence = \"1s\"").start().await;
    let is = |state: &'static str| move |source: &Value| source["health"]["state"] == state;
    until_source(&hub, "the source to be silent", is("silent")).await;
    until("the source to be ok", async || {
        hub.push("push", "one", b"{}").await;
        let source = hub.api("/api/v1/sources/github").await;
        if is("ok")(&source) { Ok(()) } else { Err(source.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_field_is_shown_and_raises_an_alert() {
    let hub = TestHub::new().github().start().await;
    let mut sent = 0;
    let mut push = async |body: &[u8]| {
        sent += 1;
        hub.push("push", &format!("d{sent}"), body).await.accepted();
    };
    let shape = async || hub.api("/api/v1/sources/github").await["shapes"][0].clone();
    until("the fields to be learned", async || {
        push(br#"{"amount":5,"user":{"name":"a"}}"#).await;
        let shape = shape().await;
        if shape["learned"] == true { Ok(()) } else { Err(shape.to_string()) }
    })
    .await;
    let shape = until("both changes", async || {
        push(br#"{"amount":"5.00","user":{"name":"a"},"tax":{"rate":1}}"#).await;
        let shape = shape().await;
        let changes = shape["changes"].as_array().map_or(0, Vec::len);
        if changes >= 2 { Ok(shape) } else { Err(shape.to_string()) }
    })
    .await;
    let told: Vec<String> = shape["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| format!("{} {} {}>{}", c["field"], c["change"], c["before"], c["now"]))
        .collect();
    assert_eq!(
        told,
        ["\"/amount\" \"retyped\" \"number\">\"text\"", "\"/tax\" \"appeared\" \"\">\"object\""]
    );
    let alert = hub.until_alert("source.shape_changed", "source:github").await;
    assert_eq!(alert["event_type"], "push", "{alert}");
    assert_eq!(alert["changes"].as_array().unwrap().len(), 2, "{alert}");
    let shown = hub.cli_ok(&["sources", "show", "github"]);
    assert!(shown.contains("/amount was number, is text"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_not_watched_if_that_is_off() {
    let hub = TestHub::new().github().config("[alerts]\nshapes = false").start().await;
    hub.push("push", "one", b"{\"a\":1}").await.accepted();
    let source = hub.api("/api/v1/sources/github").await;
    assert_eq!(source["shapes"], serde_json::json!([]), "{source}");
}
