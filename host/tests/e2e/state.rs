//! The state of a handler in the hands of people: keys, quota, export and import.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};
use weir_testing::hub::{RunningHub, TestHub};

async fn probe(limits: &str) -> RunningHub {
    let hub = TestHub::new()
        .github()
        .handler("probe", "probe")
        .sidecar("probe", &format!("on = [\"github:*\"]\n{limits}"))
        .start()
        .await;
    hub.until_ready("probe").await;
    hub
}

/// Pushes an event for which the probe takes these steps. Returns its id.
async fn steps(hub: &RunningHub, name: &str, steps: Value) -> String {
    let body = json!({ "steps": steps }).to_string();
    hub.push("push", name, body.as_bytes()).await.accepted()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_reads_and_changes_what_runs_see() {
    let hub = probe("").await;
    let state = |act: &[&str]| hub.cli_ok(&[&["handlers", "state", "probe"], act].concat());
    let set = json!([{ "op": "set", "key": "order:1", "value": "open" }, { "op": "add", "key": "n", "delta": 5 }]);
    let event = steps(&hub, "one", set).await;
    hub.until_status(&event, "processed").await;
    assert_eq!(state(&["get", "order:1"]).trim(), "open");
    state(&["set", "order:2", "a\u{1b}[2J", "--expires", "2h"]);
    state(&["set", "n", "41"]);
    let add = json!([{ "op": "add", "key": "n", "delta": 1 }]);
    let event = steps(&hub, "two", add).await;
    hub.until_status(&event, "processed").await;
    assert_eq!(state(&["get", "n"]).trim(), "42", "the run saw what the person wrote");

    let listed = state(&["list", "--prefix", "order:"]);
    assert!(listed.contains("order:1") && listed.contains("\\u001b[2J"), "{listed}");
    assert!(!listed.contains('\u{1b}') && !listed.contains("\nn "), "{listed}");
    let shown = hub.cli_ok(&["handlers", "show", "probe"]);
    assert!(shown.contains("in 3 of 1000000 keys"), "{shown}");

    let exported = state(&["export"]);
    assert_eq!(exported.lines().count(), 3, "{exported}");
    assert_eq!(hub.cli_err(&["handlers", "state", "probe", "clear"]).0, 2, "it asks for --yes");
    state(&["clear", "--yes"]);
    assert_eq!(state(&["list"]).trim(), "no keys");
    let mut import = hub
        .command(&["handlers", "state", "probe", "import", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    import.stdin.take().unwrap().write_all(exported.as_bytes()).unwrap();
    let out = import.wait_with_output().unwrap();
    assert!(out.status.success(), "{out:?}");
    assert_eq!(state(&["export"]), exported, "expiry included");

    state(&["remove", "order:1"]);
    let (code, error) = hub.cli_err(&["handlers", "state", "probe", "get", "order:1"]);
    assert!(code == 4 && error.contains("key_not_found"), "{error}");
    let (_, error) = hub.cli_err(&["handlers", "state", "ghost", "list"]);
    assert!(error.contains("handler_not_found"), "{error}");
    let audit = hub.cli_ok(&["audit"]);
    assert!(audit.contains("state_write") && audit.contains("state_clear"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_above_the_quota_fails_and_stores_nothing() {
    let limits = "[limits]\nstate = \"2KiB\"\nstate_keys = 3\n[retry]\nmax_attempts = 1\n";
    let hub = probe(limits).await;
    let set = |key: &str, size: usize| json!({ "op": "set", "key": key, "size": size });
    let event = steps(&hub, "fits", json!([set("a", 1_000)])).await;
    hub.until_status(&event, "processed").await;
    let large = steps(&hub, "large", json!([set("b", 500), set("c", 1_000)])).await;
    let more = steps(&hub, "more", json!([set("b", 1), set("c", 1), set("d", 1)])).await;
    for (event, part) in [(large, "2503 bytes in 3 keys"), (more, "in 4 keys")] {
        let dead = hub.until_status(&event, "dead_letter").await;
        let reason = dead["deliveries"][0]["reason"].as_str().unwrap();
        assert!(reason.contains(part) && reason.contains("[limits]"), "{reason}");
    }
    let page = hub.api("/api/v1/handlers/probe/state").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1, "{page}");
    let long = "x".repeat(1_500);
    let (_, error) = hub.cli_err(&["handlers", "state", "probe", "set", "b", &long]);
    assert!(error.contains("state_full"), "{error}");
    hub.cli_ok(&["handlers", "state", "probe", "set", "a", &long]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_state_go_on_where_the_last_one_ended() {
    let hub = probe("").await;
    let keys: Vec<_> = (0..120)
        .map(|n| json!({ "op": "set", "key": format!("ключ:{n:03}"), "value": n.to_string() }))
        .collect();
    let event = steps(&hub, "many", json!(keys)).await;
    hub.until_status(&event, "processed").await;
    let (mut found, mut next) = (0, Some(String::new()));
    while let Some(cursor) = next {
        let and = if cursor.is_empty() { String::new() } else { format!("&cursor={cursor}") };
        let path = format!("/api/v1/handlers/probe/state?limit=50{and}");
        let page = hub.api(&path).await;
        found += page["items"].as_array().unwrap().len();
        next = page["next"].as_str().map(str::to_owned);
    }
    assert_eq!(found, 120);
}
