//! Replay by an operator: unrouted events and dead letters become due again, once.

use serde_json::{Value, json};

use weir_testing::guests::committed;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

const TO_SINK: &str = "[grant]\ndestinations = [\"sink\"]\n";

/// The last JSON document that a command printed, without the name of the job.
fn counted(hub: &RunningHub, args: &[&str]) -> Value {
    let said = hub.cli_ok(args);
    let mut last: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    last.as_object_mut().unwrap().remove("job");
    last
}

async fn unrouted(hub: &RunningHub) -> usize {
    let page = hub.api("/api/v1/events?status=unrouted&limit=500").await;
    page["items"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn unrouted_events_are_replayed_to_a_later_handler_once() {
    let sink = Sink::start().await;
    let hub = TestHub::new().github().destination("sink", &sink, "").start().await;
    let mut events = Vec::new();
    for n in 0..25 {
        let id = format!("early-{n}");
        events.push(hub.push("push", &id, b"{}").await.accepted());
    }
    let unmatched = counted(&hub, &["replay", "--unrouted", "--json"]);
    assert_eq!(unmatched, json!({"dry_run": false, "events": 25, "routed": 0, "deliveries": 0}));
    let source = &hub.api("/health").await["sources"]["github"];
    assert_eq!((&source["unrouted_now"], &source["stored"]), (&json!(25), &json!(25)));
    assert_eq!(hub.metric("weir_unrouted_events").await, 25.0);

    std::fs::write(hub.folder.path().join("plugins/teller.toml"), TO_SINK).unwrap();
    hub.put_handler("teller", committed("version-a"));
    hub.until_ready("teller").await;
    let dry = counted(&hub, &["replay", "--unrouted", "--dry-run", "--json"]);
    assert_eq!(dry, json!({"dry_run": true, "events": 25, "routed": 25, "deliveries": 25}));
    assert_eq!(unrouted(&hub).await, 25, "counting changes nothing");
    let none = hub.cli_ok(&["replay", "--unrouted", "--source", "github", "--type", "issues"]);
    assert_eq!(none.trim(), "no unrouted events");

    let done = counted(&hub, &["replay", "--unrouted", "--rate", "1000/s", "--json"]);
    assert_eq!(done, json!({"dry_run": false, "events": 25, "routed": 25, "deliveries": 25}));
    for event in &events {
        let found = hub.until_status(event, "processed").await;
        assert_eq!(found["deliveries"].as_array().unwrap().len(), 1, "{found}");
    }
    assert_eq!(sink.until_received(25).await.len(), 25);
    assert_eq!(unrouted(&hub).await, 0);
    assert_eq!(hub.api("/health").await["sources"]["github"]["unrouted_now"], 0);
    assert_eq!(hub.cli_ok(&["replay", "--unrouted"]).trim(), "no unrouted events");
    assert_eq!(sink.received().len(), 25, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_replay_by_todays_rules_and_deliveries_as_stored() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "")
        .config("[[route]]\non = [\"github:*\"]\nto = \"sink\"")
        .start()
        .await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    let first = hub.until_status(&event, "processed").await;
    let delivery = first["deliveries"][0]["id"].as_str().unwrap().to_owned();

    let dry = hub.cli_ok(&["replay", "--delivery", &delivery, "--dry-run"]);
    assert!(dry.contains("1 delivery would be due again"), "{dry}");
    hub.cli_ok(&["replay", "--delivery", &delivery, "--request", "mine"]);
    sink.until_received(2).await;
    hub.until_status(&event, "processed").await;
    hub.cli_ok(&["replay", "--delivery", &delivery, "--request", "mine"]);
    assert_eq!(hub.event(&event).await["deliveries"][0]["generation"], 1, "once by one name");

    hub.cli_ok(&["replay", &event, "--new-ids"]);
    let received = sink.until_received(3).await;
    let ids: Vec<&str> = received.iter().map(|r| r.header("webhook-id")).collect();
    assert!(ids[0] == ids[1] && ids[1] != ids[2], "{ids:?}");
    let again = hub.until_status(&event, "processed").await;
    assert_eq!(again["deliveries"].as_array().unwrap().len(), 1, "moved, not copied");

    hub.cli_ok(&["hold", "destination:sink"]);
    hub.cli_ok(&["replay", &event]);
    assert!(hub.cli_ok(&["replay", &event]).contains("already queued"));
    let (exit, said) = hub.cli_err(&["replay", "--delivery", &delivery]);
    assert!(exit == 1 && said.contains("not_over"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_unknown_or_unnamed_work_is_refused() {
    let hub = TestHub::new().github().start().await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    assert!(hub.cli_ok(&["replay", &event]).contains("no handler or route matches it"));
    assert_eq!(hub.cli_err(&["replay"]).0, 2);
    assert_eq!(hub.cli_err(&["replay", &event, "--unrouted"]).0, 2);
    assert_eq!(hub.cli_err(&["replay", "--unrouted", "--rate", "fast"]).0, 2);
    assert_eq!(hub.cli_err(&["replay", "evt_01JD0000000000000000000000"]).0, 4);
    let (exit, said) = hub.cli_err(&["replay", "--unrouted", "--since", "yesterday"]);
    assert!(exit == 2 && said.contains("--since"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_replayed_by_target_once() {
    let sink = Sink::answering((0..12).map(|_| (422, vec![]))).await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "")
        .config("[[route]]\non = [\"github:*\"]\nto = \"sink\"")
        .start()
        .await;
    for n in 0..12 {
        let id = format!("bad-{n}");
        let event = hub.push("push", &id, b"{}").await.accepted();
        hub.until_status(&event, "dead_letter").await;
    }
    let other = ["replay", "--dead-letters", "--target", "handler:unknown"];
    assert_eq!(hub.cli_err(&other).0, 4);
    let dry = ["replay", "--dead-letters", "--target", "destination:sink", "--dry-run", "--json"];
    let twelve = json!({"dry_run": true, "events": 12, "routed": 12, "deliveries": 12});
    assert_eq!(counted(&hub, &dry), twelve);
    assert_eq!(sink.received().len(), 12, "counting changes nothing");

    let all = hub.cli_ok(&["replay", "--dead-letters", "--rate", "5/s", "--json"]);
    let steps: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = json!({"done": 5, "of": 12, "deliveries": 5});
    assert!(steps.contains(&first), "as many at a time as the rate permits: {all}");
    assert_eq!(steps.last().unwrap()["deliveries"], 12, "{all}");
    sink.until_received(24).await;
    until("no dead letters", async || {
        let said = hub.cli_ok(&["dead-letters", "list"]);
        if said.trim() == "no dead letters" { Ok(()) } else { Err(said) }
    })
    .await;
    assert_eq!(sink.received().len(), 24, "each once");
}
