//! Two versions of a handler over the events that a hub has stored.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use weir_testing::guests::{self, committed};
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;

/// Stored events.
const EVENTS: usize = 10_000;
/// Events that are posted at the same time.
const AT_ONCE: usize = 50;

const SIDECAR: &str = "[config]\nword = \"old\"\n[grant]\ndestinations = [\"sink\"]\n";

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

/// Posts an event for each of these lists of steps. Returns their ids, in this order.
async fn post(hub: &RunningHub, steps: &[Value]) -> Vec<String> {
    let mut ids = Vec::with_capacity(steps.len());
    for (few, from) in steps.chunks(AT_ONCE).zip((0..).step_by(AT_ONCE)) {
        let posts = few.iter().enumerate().map(|(n, steps)| {
            let body = json!({ "steps": steps }).to_string().into_bytes();
            async move { hub.push("push", &format!("b{}", from + n), &body).await.accepted() }
        });
        ids.extend(join_all(posts).await);
    }
    ids
}

/// Runs a backtest. Returns its exit code, the differing events, the summary, and what it said on
/// standard error.
fn backtest(hub: &RunningHub, args: &[&str]) -> (i32, Vec<Value>, Value, String) {
    let done = hub.cli(&[&["--json", "backtest"], args].concat());
    let out = String::from_utf8(done.stdout).unwrap();
    let mut lines: Vec<Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let error = String::from_utf8_lossy(&done.stderr).into_owned();
    let summary = lines.pop().unwrap_or_default();
    (done.status.code().unwrap(), lines, summary, error)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_events_show_exactly_those_that_differ() {
    let sink = Sink::start().await;
    let hub = start(&sink).await;
    // Each event counts; one of 100 sends what the setting says, with the count so far.
    let count = json!({ "op": "add", "key": "n", "delta": 1 });
    let config = json!({ "op": "config", "key": "word" });
    let report = json!({ "op": "report", "destination": "sink" });
    let steps: Vec<Value> = (0..EVENTS)
        .map(|n| match n % 100 {
            0 => json!([count, config, report]),
            _ => json!([count]),
        })
        .collect();
    let ids = post(&hub, &steps).await;

    std::fs::copy(committed("probe"), hub.folder.path().join("next.wasm")).unwrap();
    let next = |sidecar: &str| hub.write("next.toml", sidecar);
    next(SIDECAR);
    let args = ["next.wasm", "--handler", "probe"];
    let (code, differing, summary, error) = backtest(&hub, &args);
    assert_eq!((code, differing.len()), (0, 0), "{error}");
    assert_eq!((&summary["events"], &summary["differing"]), (&json!(EVENTS), &json!(0)));

    next(&SIDECAR.replace("old", "new"));
    let (code, differing, summary, error) = backtest(&hub, &args);
    assert_eq!(code, 6, "{error}");
    let found: BTreeSet<&str> = differing.iter().map(|d| d["event"].as_str().unwrap()).collect();
    let wanted: BTreeSet<&str> = ids.iter().step_by(100).map(String::as_str).collect();
    assert_eq!(found, wanted);
    let types = &summary["types"][0];
    assert_eq!((&types["changed"], &types["same"]), (&json!(100), &json!(EVENTS - 100)));
    let effects: Vec<_> = summary["effects"].as_array().unwrap().iter().collect();
    assert_eq!(effects.len(), 2, "{effects:?}");
    assert_eq!((&effects[0]["effect"], &effects[0]["changed"]), (&json!("send sink"), &json!(100)));
    assert_eq!((&effects[1]["effect"], &effects[1]["same"]), (&json!("state.set"), &json!(EVENTS)));
    // State goes on from event to event, in their order: the counts are those of runs one by one.
    let sums: Vec<u64> = differing
        .iter()
        .map(|d| d["effects"][0]["candidate"]["json"]["results"][0].as_u64().unwrap())
        .collect();
    assert!(sums.windows(2).all(|pair| pair[0] < pair[1]), "{sums:?}");
    assert_eq!(BTreeSet::from_iter(sums).len(), 100);

    let (_, _, half, error) = backtest(&hub, &[&args[..], &["--sample", "2"]].concat());
    assert_eq!(half["events"], json!(EVENTS / 2), "{error}");

    let said = hub.cli(&["backtest", "next.wasm", "--handler", "probe", "--show", "1"]);
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(text.contains("99 more events differ") && text.contains("100 differ"), "{text}");
    assert!(text.contains("-") && text.contains("\"new\""), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_start_without_state_and_send_nothing() {
    let sink = Sink::start().await;
    let hub = start(&sink).await;
    let count = json!([
        { "op": "add", "key": "n", "delta": 1 }, { "op": "config", "key": "word" },
        { "op": "report", "destination": "sink" },
    ]);
    post(&hub, &[count.clone(), count.clone()]).await;
    sink.until_received(2).await;
    std::fs::copy(committed("probe"), hub.folder.path().join("next.wasm")).unwrap();
    hub.write("next.toml", &SIDECAR.replace("old", "new"));
    for wanted in [[1, 2], [1, 2]] {
        let args = ["next.wasm", "--handler", "probe"];
        let (code, differing, _, error) = backtest(&hub, &args);
        assert_eq!(code, 6, "{error}");
        let sums: Vec<_> = differing
            .iter()
            .map(|d| d["effects"][0]["candidate"]["json"]["results"][0].clone())
            .collect();
        assert_eq!(sums, wanted);
    }
    assert_eq!(sink.received().len(), 2, "nothing was carried out");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_start_with_the_state_of_the_hub_when_asked() {
    let sink = Sink::start().await;
    let hub = start(&sink).await;
    let count = json!([
        { "op": "add", "key": "n", "delta": 1 }, { "op": "config", "key": "word" },
        { "op": "report", "destination": "sink" },
    ]);
    post(&hub, &[count.clone(), count.clone()]).await;
    sink.until_received(2).await;
    let set = hub.cli(&["handlers", "state", "probe", "set", "n", "40"]);
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    std::fs::copy(committed("probe"), hub.folder.path().join("next.wasm")).unwrap();
    hub.write("next.toml", &SIDECAR.replace("old", "new"));
    let (code, differing, _, error) =
        backtest(&hub, &["next.wasm", "--handler", "probe", "--from", "current"]);
    assert_eq!(code, 6, "{error}");
    for side in ["incumbent", "candidate"] {
        let sums: Vec<_> =
            differing.iter().map(|d| d["effects"][0][side]["json"]["results"][0].clone()).collect();
        assert_eq!(sums, [41, 42], "{side}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_conditions_of_both_versions_decide_on_each_event() {
    let sink = Sink::start().await;
    let hub = start(&sink).await;
    let steps = json!([{ "op": "send", "destination": "sink", "body": "x" }]);
    let ids = post(&hub, &[steps.clone(), steps]).await;
    std::fs::copy(committed("probe"), hub.folder.path().join("next.wasm")).unwrap();
    let next = |when: &str| hub.write("next.toml", &format!("when = '{when}'\n{SIDECAR}"));
    let args = ["next.wasm", "--handler", "probe"];

    next(r#"event.headers["x-github-delivery"] == "b1""#);
    let (code, differing, summary, error) = backtest(&hub, &args);
    assert_eq!(code, 6, "{error}");
    assert_eq!(differing.len(), 1, "{differing:?}");
    assert_eq!(differing[0]["event"], ids[0]);
    assert_eq!(differing[0]["effects"][0]["change"], "lost");
    assert_eq!(summary["candidate"]["runs"], 1);

    next("event.body.nothing.here > 3");
    let (code, differing, summary, error) = backtest(&hub, &args);
    assert_eq!(code, 6, "{error}");
    assert!(differing.iter().all(|d| d["verdict"] == "newly_failing"), "{differing:?}");
    assert_eq!(differing[0]["candidate"]["outcome"], "condition_error");
    assert_eq!((differing.len(), &summary["candidate"]["runs"]), (2, &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_of_a_looping_module_stops() {
    let sink = Sink::start().await;
    let hub = start(&sink).await;
    post(&hub, &vec![json!([]); 40]).await;
    let looping = guests::command("(loop (br 0))");
    guests::write(hub.folder.path(), "next", &looping);
    hub.write("next.toml", "on = [\"github:*\"]\n[limits]\ntime = \"50ms\"\n");
    let (code, differing, summary, error) =
        backtest(&hub, &["next.wasm", "--handler", "probe", "--jobs", "2"]);
    assert_eq!(code, 1);
    let reason = "10 runs of the candidate were ended at their time limit";
    assert!(error.contains(reason), "{error}");
    assert!(summary["stopped"].as_str().unwrap().contains(reason));
    assert!((10..=20).contains(&differing.len()), "{}", differing.len());
    assert!(differing.iter().all(|d| d["verdict"] == "newly_failing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_without_an_incumbent_says_what_to_name() {
    let sink = Sink::start().await;
    let hub = start(&sink).await;
    std::fs::copy(committed("probe"), hub.folder.path().join("probe-next.wasm")).unwrap();
    let (code, _, _, error) = backtest(&hub, &["probe-next.wasm"]);
    assert_eq!(code, 4, "{error}");
    assert!(error.contains("name the handler with --handler NAME"), "{error}");
}
