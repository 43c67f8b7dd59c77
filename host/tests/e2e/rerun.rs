//! Past runs repeated with the same input.

use serde_json::{Value, json};

use weir_testing::guests::committed;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;

const SIDECAR: &str = "[config]\nword = \"old\"\n[grant]\ndestinations = [\"sink\"]\nemit = true\n";

async fn start(sink: &Sink) -> RunningHub {
    let hub = TestHub::new()
        .github()
        .destination("sink", sink, "")
        .handler("probe", "probe")
        .sidecar("probe", SIDECAR)
        .start()
        .await;
    hub.until_ready("probe").await;
    hub
}

/// Posts an event with steps. Returns the id of the last attempt of its run, once it is `status`.
async fn attempt(hub: &RunningHub, id: &str, steps: Value, status: &str) -> String {
    let body = json!({ "steps": steps }).to_string();
    let event = hub.push("push", id, body.as_bytes()).await.accepted();
    let event = hub.until_status(&event, status).await;
    let history = event["deliveries"][0]["history"].as_array().unwrap();
    history.last().unwrap()["id"].as_str().unwrap().to_owned()
}

fn rerun(hub: &RunningHub, attempt: &str) -> (i32, Value, String) {
    let done = hub.cli(&["rerun", attempt, "--json"]);
    let answer = serde_json::from_slice(&done.stdout).unwrap_or_default();
    let error = String::from_utf8_lossy(&done.stderr).into_owned();
    (done.status.code().unwrap(), answer, error)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_repeats_with_its_clock_seed_reads_and_version() {
    let sink = Sink::start().await;
    let hub = start(&sink).await;
    let steps = json!([
        { "op": "random", "length": 16 }, { "op": "context" }, { "op": "event" },
        { "op": "add", "key": "n", "delta": 1 }, { "op": "get", "key": "none" },
        { "op": "keys", "prefix": "n" }, { "op": "cancel", "key": "alarm" },
        { "op": "emit", "type": "counted", "json": { "a": 1 } },
        { "op": "report", "destination": "sink" },
    ]);
    let first = attempt(&hub, "first", steps.clone(), "processed").await;
    let second = attempt(&hub, "second", steps, "processed").await;
    // The state has changed since, and the module is another.
    hub.put_handler("probe", committed("version-a"));
    hub.until_handler("probe", |h| h["about"] != "").await;
    for attempt in [&first, &second] {
        let (code, answer, error) = rerun(&hub, attempt);
        assert_eq!((code, &answer["same"]), (0, &json!(true)), "{answer:#} {error}");
        assert_eq!(answer["not_compared"], json!([]));
        let result = answer["result"].to_string();
        assert!(result.contains("send sink") && result.contains("emit counted"), "{result}");
    }
    assert!(rerun(&hub, &second).1["result"].to_string().contains("state.set n = 2"));
    assert_eq!(sink.until_received(2).await.len(), 2, "nothing was sent again");
    let said = hub.cli_ok(&["rerun", &first]);
    assert!(said.contains("run again: the same result"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_repeats_and_a_changed_setting_shows() {
    let sink = Sink::start().await;
    let hub = start(&sink).await;
    let failed =
        attempt(&hub, "a", json!([{ "op": "reject", "reason": "no" }]), "dead_letter").await;
    let (code, answer, _) = rerun(&hub, &failed);
    assert_eq!((code, &answer["result"][0]), (0, &json!("reject: no")), "{answer:#}");

    let steps =
        json!([{ "op": "config", "key": "word" }, { "op": "report", "destination": "sink" }]);
    let read = attempt(&hub, "b", steps, "processed").await;
    hub.write("plugins/probe.toml", &SIDECAR.replace("old", "new"));
    weir_testing::wait::until("the new setting", async || {
        let (code, answer, error) = rerun(&hub, &read);
        let diff = answer["diff"].as_str().unwrap_or_default().to_owned();
        let shown = diff.contains("-      \"old\"") && diff.contains("+      \"new\"");
        if code == 6 && shown { Ok(()) } else { Err(format!("{code} {diff} {error}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_read_too_much_says_why_it_does_not_repeat() {
    let sink = Sink::start().await;
    let hub = start(&sink).await;
    let write = json!([
        { "op": "set", "key": "a", "size": 40_000 }, { "op": "set", "key": "b", "size": 40_000 },
    ]);
    let write = attempt(&hub, "write", write, "processed").await;
    let (code, answer, _) = rerun(&hub, &write);
    assert_eq!(code, 0, "it read nothing");
    assert!(answer["not_compared"][0].as_str().unwrap().starts_with("writes of state"));
    let read = json!([{ "op": "get", "key": "a" }, { "op": "get", "key": "b" }]);
    let read = attempt(&hub, "read", read, "processed").await;
    let (code, _, error) = rerun(&hub, &read);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("not rerunnable: what it read of its state had 80002 bytes"), "{error}");
    let (code, _, error) = rerun(&hub, "att_01K9ZR3V6QH8N4T2M5W7XADCBE");
    assert_eq!(code, 4, "{error}");
}
