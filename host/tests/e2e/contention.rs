//! Parallel runs of one handler: what they read still holds when they settle, and they wait for
//! nothing else.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;

/// A probe with up to eight runs at a time.
async fn eight_at_once(sink: &Sink) -> RunningHub {
    let hub = TestHub::new()
        .github()
        .config("[runs]\nslots = 8")
        .destination("sink", sink, "")
        .handler("probe", "probe")
        .sidecar(
            "probe",
            "[grant]\ndestinations = [\"sink\"]\n[limits]\nconcurrency = 8\ntime = \"30s\"\n",
        )
        .start()
        .await;
    hub.until_ready("probe").await;
    hub
}

fn get(key: &str) -> Value {
    json!({ "op": "get", "key": key })
}

/// Some work between reading and writing, so that runs overlap.
fn with_work(first: &[Value], work: usize, last: &[Value]) -> Vec<u8> {
    let work = std::iter::repeat_n(json!({ "op": "event" }), work);
    let steps: Vec<Value> = first.iter().cloned().chain(work).chain(last.iter().cloned()).collect();
    json!({ "steps": steps }).to_string().into_bytes()
}

async fn post_all(hub: &RunningHub, bodies: impl IntoIterator<Item = Vec<u8>>) -> Vec<Value> {
    let post = async |(n, body): (usize, Vec<u8>)| {
        hub.push("push", &format!("run-{n}"), &body).await.accepted()
    };
    let events = futures_util::future::join_all(bodies.into_iter().enumerate().map(post)).await;
    let mut settled = Vec::new();
    for event in events {
        settled.push(hub.until_status(&event, "processed").await);
    }
    settled
}

#[tokio::test(flavor = "multi_thread")]
async fn write_skew_over_two_keys_is_refused() {
    const RUNS: usize = 64;
    let sink = Sink::start().await;
    let hub = eight_at_once(&sink).await;
    // Each run reads both keys and adds to one of them. In sequence, run n reads a sum of n.
    let bodies = (0..RUNS).map(|n| {
        let other = json!({ "op": "add", "key": (["a", "b"][n % 2]), "delta": 1 });
        with_work(
            &[get("a"), get("b")],
            2_000,
            &[other, json!({ "op": "report", "destination": "sink" })],
        )
    });
    post_all(&hub, bodies).await;
    let number = |value: &Value| value.as_str().map_or(0, |text| text.parse::<usize>().unwrap());
    let sums: BTreeSet<usize> = sink
        .until_received(RUNS)
        .await
        .iter()
        .map(|message| message.json()["results"].take())
        .map(|results| number(&results[0]) + number(&results[1]))
        .collect();
    assert_eq!(sums, (0..RUNS).collect::<BTreeSet<_>>(), "two runs saw the same and both wrote");
    assert!(hub.metric("weir_state_conflicts_total").await > 0.0, "no two runs met");
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_runs_on_distinct_keys_run_in_parallel() {
    let sink = Sink::start().await;
    let hub = eight_at_once(&sink).await;
    let bodies = (0..8).map(|n| {
        let key = format!("key-{n}");
        with_work(&[get(&key)], 25_000, &[json!({ "op": "add", "key": key, "delta": 1 })])
    });
    let settled = post_all(&hub, bodies).await;
    let attempts: Vec<&Value> =
        settled.iter().map(|event| &event["deliveries"][0]["history"][0]).collect();
    for event in &settled {
        assert_eq!(event["deliveries"][0]["history"].as_array().unwrap().len(), 1, "{event}");
    }
    let started = |attempt: &Value| {
        let text = attempt["started_at"].as_str().unwrap();
        text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
    };
    let ended = |attempt: &Value| started(attempt) + attempt["duration_us"].as_i64().unwrap();
    let last_start = attempts.iter().map(|a| started(a)).max().unwrap();
    let first_end = attempts.iter().map(|a| ended(a)).min().unwrap();
    assert!(last_start < first_end, "one began at {last_start} after another ended: {attempts:#?}");
}
