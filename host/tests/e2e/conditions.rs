//! Conditions, order and messages made of events, through the real binary.

use serde_json::{Value, json};
use weir_testing::hub::{RunningHub, TestHub, github_signature};
use weir_testing::sink::{Received, Sink};
use weir_testing::wait::until;

use crate::sources::output;

const TO_SINK: &str = "[grant]\ndestinations = [\"sink\"]\n";
const FAST: &str = "[defaults.destination.retry]\nschedule = [\"10ms\"]\njitter = 0.0\n";

fn to_sink(sink: &Sink, route: &str) -> TestHub {
    let route = format!("[[route]]\non = [\"github:*\"]\nto = \"sink\"\n{route}");
    TestHub::new().github().destination("sink", sink, "").config(&route)
}

/// The rules that considered an event.
async fn considered(hub: &RunningHub, event: &str) -> Vec<Value> {
    let why = hub.api(&format!("/api/v1/events/{event}/why")).await;
    why["considered"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_github_issue_becomes_a_slack_message_without_a_handler() {
    let setup = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/setups/issues/weir.toml");
    let setup = std::fs::read_to_string(setup).unwrap();
    let route = &setup[setup.find("[[route]]").unwrap()..];
    let slack = Sink::start().await;
    let hub = TestHub::new().github().destination("slack", &slack, "").config(route).start().await;
    let url = format!("http://{}/webhook/github", hub.ingress);
    assert!(output(&hub.cli(&["send", "github", "issues", "--url", &url])).contains("accepted"));

    let message = slack.until_received(1).await.remove(0);
    let text = "ada opened acme/river#17: The gate sticks\nhttps://github.com/acme/river/issues/17";
    assert_eq!(message.json(), json!({ "text": text, "unfurl_links": false }));
    assert_eq!(message.header("content-type"), "application/json");
    let list = hub.api("/api/v1/events").await;
    let event = list["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(message.header("x-event-id"), event);
    let stored = hub.until_status(&event, "processed").await;
    assert!(!stored["deliveries"][0]["order_key"].as_str().unwrap().is_empty(), "{stored}");

    // An issue of another kind is refused, with the clause that did it.
    let closed = br#"{"action":"closed","issue":{"labels":[]},"repository":{"id":1}}"#;
    let event = hub.push("issues", "closed", closed).await.accepted();
    hub.until_status(&event, "unrouted").await;
    let rule = considered(&hub, &event).await.remove(0);
    assert_eq!(rule["condition_false"], "event.body.action in [\"opened\", \"reopened\"]");
    let said = hub.cli_ok(&["why", &event]);
    assert!(said.contains("`event.body.action in [\"opened\", \"reopened\"]` was false"), "{said}");
    let page = hub.api("/api/v1/routes").await;
    assert_eq!(page["items"][0]["order_by"], "event.body.repository.id", "{page}");
    assert_eq!(slack.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_fails_is_a_dead_letter_with_its_reason() {
    let sink = Sink::start().await;
    let hub = to_sink(&sink, "when = 'event.body.amount > 1000'").start().await;
    let event = hub.push("push", "one", br#"{"id":1}"#).await.accepted();
    let stored = hub.until_status(&event, "dead_letter").await;
    let attempt = &stored["deliveries"][0]["history"][0];
    assert_eq!(attempt["outcome"], "condition_error", "{stored}");
    let reason = "route:1: `event.body.amount > 1000`: event.body has no field `amount`";
    assert_eq!(attempt["reason"], reason);
    assert_eq!(considered(&hub, &event).await[0]["error"], reason);
    let alert = hub.until_alert("dead_letter", "destination:sink").await;
    assert_eq!(alert["outcome"], "condition_error", "{alert}");
    assert_eq!(hub.metric("weir_events_condition_failed_total").await.to_string(), "1");

    // A replay of the event asks the condition again, and changes nothing.
    hub.cli_ok(&["replay", &event]);
    let stored = hub.event(&event).await;
    assert_eq!(stored["status"], "dead_letter");
    assert_eq!(stored["deliveries"][0]["generation"], 0, "{stored}");
    // With a corrected condition it is delivered.
    let corrected = hub.configured().replace("event.body.amount > 1000", "event.body.id == 1");
    hub.write("weir.toml", &corrected);
    let hub = hub.stop_and_restart().await;
    hub.cli_ok(&["replay", &event]);
    hub.until_status(&event, "processed").await;
    assert_eq!(sink.until_received(1).await[0].json(), json!({ "id": 1 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_changes_the_condition_of_a_running_handler() {
    let hub = TestHub::new()
        .github()
        .handler("noop", "noop")
        .sidecar("noop", "when = 'event.body.n == 1'\norder_by = 'event.body.key'\n")
        .start()
        .await;
    hub.until_ready("noop").await;
    let one = hub.push("push", "one", br#"{"n":1,"key":"k"}"#).await.accepted();
    let stored = hub.until_status(&one, "processed").await;
    assert_eq!(stored["deliveries"][0]["order_key"], "k");
    let two = hub.push("push", "two", br#"{"n":2}"#).await.accepted();
    hub.until_status(&two, "unrouted").await;
    let rule = |rules: &Value| {
        let mut rules = rules["items"].as_array().unwrap().iter().cloned();
        rules.find(|rule| rule["id"] == "handler:noop").unwrap()
    };
    hub.write("plugins/noop.toml", "when = 'event.body.n == 2'\n");
    let condition = || async { rule(&hub.api("/api/v1/routes").await)["condition"].clone() };
    until("the new condition to be in force", async || match condition().await {
        now if now == "event.body.n == 2" => Ok(()),
        now => Err(now.to_string()),
    })
    .await;
    let three = hub.push("push", "three", br#"{"n":2}"#).await.accepted();
    hub.until_status(&three, "processed").await;
    // A sidecar with a mistake keeps the last good one.
    hub.write("plugins/noop.toml", "when = 'event.bdy.n == 3'\n");
    let failed = hub.until_handler("noop", |h| h["last_error"].as_str().is_some()).await;
    let said = failed["last_error"].as_str().unwrap();
    assert!(said.contains("noop.toml:1:14") && said.contains("an event has no `bdy`"), "{said}");
    assert_eq!(condition().await, "event.body.n == 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_one_key_are_sent_one_at_a_time_in_order() {
    let sink = Sink::answering([(503, vec![]), (503, vec![])]).await;
    let hub = to_sink(&sink, "order_by = 'event.body.key'").config(FAST).start().await;
    for n in 0..6 {
        let body = json!({ "key": "same", "n": n }).to_string();
        hub.push("push", &n.to_string(), body.as_bytes()).await.accepted();
    }
    let received = sink.until_received(8).await;
    let order: Vec<_> = received.iter().map(|message| message.json()["n"].clone()).collect();
    assert_eq!(order, [0, 0, 0, 1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_head_waits_or_is_skipped_as_its_target_says() {
    for (on_blocked, waits) in [("wait", true), ("skip", false)] {
        let refused = || (422, vec![]);
        let refusals = if waits { vec![refused(), refused(), refused()] } else { vec![refused()] };
        let sink = Sink::answering(refusals).await;
        let more = format!("on_blocked = \"{on_blocked}\"");
        let route = "[[route]]\non = [\"github:*\"]\nto = \"sink\"\norder_by = 'event.body.key'";
        let hub = TestHub::new()
            .github()
            .destination("sink", &sink, &more)
            .config(route)
            .config(FAST)
            .start()
            .await;
        let mut events = Vec::new();
        for n in 0..2 {
            let body = json!({ "key": "same", "n": n }).to_string();
            events.push(hub.push("push", &n.to_string(), body.as_bytes()).await.accepted());
        }
        let order = |messages: Vec<Received>| {
            messages.iter().map(|m| m.json()["n"].as_u64().unwrap()).collect::<Vec<_>>()
        };
        if waits {
            hub.until_alert("order.blocked", "destination:sink").await;
            hub.until_status(&events[1], "processed").await;
            hub.until_status(&events[0], "processed").await;
            assert_eq!(order(sink.until_received(5).await), [0, 0, 0, 0, 1]);
        } else {
            hub.until_status(&events[0], "dead_letter").await;
            assert_eq!(order(sink.until_received(2).await), [0, 1]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_handler_keep_its_order_to_an_ordered_destination() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "ordered = true")
        .handler("probe", "probe")
        .sidecar("probe", &format!("order_by = 'event.body.key'\n{TO_SINK}"))
        .start()
        .await;
    hub.until_ready("probe").await;
    let body = br#"{"key":"c7","steps":[{"op":"send","destination":"sink","json":{"sent":true}}]}"#;
    let event = hub.push("push", "one", body).await.accepted();
    let stored = hub.until_status(&event, "processed").await;
    let message = &stored["deliveries"][0]["history"][0]["messages"][0];
    assert_eq!(message["order_key"], "c7", "{stored}");
    sink.until_received(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_the_same_at_each_attempt_and_fails_with_a_reason() {
    let sink = Sink::answering([(503, vec![])]).await;
    let route = "body = '{\"text\": event.body.title, \"at\": event.received_at}'";
    let hub = to_sink(&sink, route).config(FAST).start().await;
    hub.push("push", "one", br#"{"title":"x"}"#).await.accepted();
    let received = sink.until_received(2).await;
    assert_eq!(received[0].body, received[1].body);
    assert_eq!(received[0].header("webhook-id"), received[1].header("webhook-id"));
    let event = hub.push("push", "two", b"{}").await.accepted();
    let stored = hub.until_status(&event, "dead_letter").await;
    let attempt = &stored["deliveries"][0]["history"][0];
    assert_eq!(attempt["outcome"], "condition_error", "{stored}");
    assert!(attempt["reason"].as_str().unwrap().contains("event.body has no field `title`"));
    assert_eq!(sink.received().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_body_is_answered_in_time_or_fails_its_condition() {
    let sink = Sink::start().await;
    let nested = "when = 'event.body.all(x, x.exists_one(y, y == 1))'";
    let (_, said) = to_sink(&sink, nested).refused();
    assert!(said.contains("weir.toml:") && said.contains("inside another walk"), "{said}");
    let route = "when = 'event.body.all(x, x != 1.5)'";
    let hub = to_sink(&sink, route).start().await;
    let body = format!("[{}0]", "0,".repeat(12_000_000));
    let signature = github_signature(body.as_bytes());
    let headers = [
        ("x-github-event", "push"),
        ("x-github-delivery", "large"),
        ("x-hub-signature-256", &*signature),
        ("content-type", "application/json"),
    ];
    let event = hub.post("github", &headers, body.as_bytes()).await.accepted();
    let stored = hub.until_status(&event, "dead_letter").await;
    let reason = stored["deliveries"][0]["history"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("more than 1000000 values"), "{reason}");
}

#[test]
fn every_mistake_in_an_expression_has_its_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[sources.github]\nprovider = \"github\"\nsecrets = [{ env = \"S\" }]\n\
                [destinations.ops]\nkind = \"webhook\"\nurl = \"https://h.example/\"\n\
                [[route]]\non = [\"github:*\"]\nto = \"ops\"\n\
                when = 'event.bdy.a == 1'\n\
                order_by = \"\"\"\nevent.body.a +\n  evnt.x\"\"\"\n\
                body = \"{\\\"text\\\": event.body.startWith('a')}\"\n\
                headers = '{\"host\": \"x\"}'\n\
                [handlers.orders]\nwhen = '1 +'\non_blocked = \"stop\"\n";
    std::fs::write(folder.path().join("weir.toml"), text).unwrap();
    let mut command = weir_testing::hub::weir();
    command.current_dir(folder.path()).env("S", "a secret of some length");
    let out = command.args(["check"]).output().unwrap();
    assert!(!out.status.success());
    let said = String::from_utf8(out.stderr).unwrap();
    for place in [
        "weir.toml:10:14: route[0].when: an event has no `bdy`",
        "weir.toml:13:3: route[0].order_by: there is no `evnt`",
        "weir.toml:14:31: route[0].body: there is no function `startWith`; did you mean",
        "weir.toml:15:12: route[0].headers: only the hub sets `host`",
        "weir.toml:17:12: handlers.orders.when: is not CEL",
        "weir.toml:18: handlers.orders.on_blocked: must be \"skip\" or \"wait\"",
    ] {
        assert!(said.contains(place), "{place}\n{said}");
    }
}
