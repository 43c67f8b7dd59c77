//! Finding events by the ids that senders and operators have, and retrying deliveries at once.

use serde_json::Value;

use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

const TO_SINK: &str = "[grant]\ndestinations = [\"sink\"]\n";
const RARELY: &str = "concurrency = 1\nretry = { schedule = [\"1h\"], jitter = 0.0 }\n\
                      breaker = { min_attempts = 1000, pause = \"1h\", max_pause = \"1h\" }";

async fn hub(sink: &Sink) -> RunningHub {
    let hub = TestHub::new()
        .github()
        .destination("sink", sink, RARELY)
        .handler("teller", "version-a")
        .sidecar("teller", TO_SINK)
        .start()
        .await;
    hub.until_ready("teller").await;
    hub
}

/// The message that an event's first delivery sent.
fn message(event: &Value) -> Value {
    event["deliveries"][0]["history"][0]["messages"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_known_id_finds_the_event() {
    let sink = Sink::start().await;
    sink.answers(500);
    let hub = hub(&sink).await;
    let event =
        hub.push("push", "72d3162e-cc78-11e3-81ab-4c9367dc0958", b"{\"a\":1}").await.accepted();
    let shown = hub.until_status(&event, "retrying").await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let delivery = &shown["deliveries"][0];
    let sent = message(&shown);
    let ids = [
        event.clone(),
        "72d3162e-cc78-11e3-81ab-4c9367dc0958".into(),
        text(&shown["request"]),
        text(&delivery["id"]),
        text(&delivery["history"][0]["id"]),
        text(&sent["id"]),
        text(&sent["message"]),
    ];
    for id in &ids {
        let printed = hub.cli_ok(&["events", id]);
        assert!(printed.contains(&format!("event      {event}")), "{id}: {printed}");
        assert!(hub.cli_ok(&["why", id]).contains(&event), "{id}");
        let found = hub.api(&format!("/api/v1/events/{id}")).await;
        assert_eq!(found["event"]["id"], event.as_str(), "{id}");
    }
    let printed = hub.cli_ok(&["events", sent["message"].as_str().unwrap()]);
    for part in [
        &format!("message    {}", text(&sent["message"]))[..],
        "attempts   1",
        "due        20",
        "destination:sink  retrying",
        "attempt 1 at",
        "HTTP 500 Internal Server Error",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let found = hub.api(&format!("/api/v1/events/{}", text(&sent["id"]))).await;
    let body = String::from_utf8(sink.received()[0].body.to_vec()).unwrap();
    assert_eq!(found["message"]["body"]["text"], body, "{found}");
    assert!(printed.contains(&body), "{printed}");
    for nothing in
        ["evt_01K9ZR3V6QH8N4T2M5W7XADCBE", "msg_01K9ZR3V6QH8N4T2M5W7XADCBE", "no-such/id?x"]
    {
        let (exit, said) = hub.cli_err(&["events", nothing]);
        assert_eq!(exit, 4, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusals_request_id_finds_the_refusal() {
    let sink = Sink::start().await;
    let hub = hub(&sink).await;
    let headers = [
        ("content-type", "application/json"),
        ("x-github-event", "push"),
        ("x-github-delivery", "one"),
        ("x-hub-signature-256", &format!("sha256={}", "0".repeat(64))[..]),
    ];
    let answer = hub.post("github", &headers, b"{}").await;
    let id = answer.body["request_id"].as_str().unwrap().to_owned();
    let printed = hub.cli_ok(&["events", &id]);
    for part in [
        &id[..],
        "source     github",
        "from       127.0.0.1",
        "status     401",
        "signature_mismatch",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let found = hub.api(&format!("/api/v1/events/{id}")).await;
    assert_eq!(found["refusal"]["code"], "signature_mismatch", "{found}");
    let unknown = hub.post("nothing", &headers, b"{}").await;
    let id = unknown.body["request_id"].as_str().unwrap().to_owned();
    assert!(hub.cli_ok(&["events", &id]).contains("unknown_source"));
    let kept = hub.api("/api/v1/quarantine").await["items"][0]["id"].as_str().unwrap().to_owned();
    assert!(hub.cli_ok(&["events", &kept]).contains("quarantined request"));
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_makes_deliveries_due_by_id_and_by_target() {
    let sink = Sink::start().await;
    sink.answers(500);
    let hub = hub(&sink).await;
    let mut events = Vec::new();
    for n in 0..3 {
        let event = hub.push("push", &format!("n{n}"), b"{}").await.accepted();
        hub.until_status(&event, "retrying").await;
        events.push(event);
    }
    let sent = message(&hub.event(&events[0]).await);
    sink.answers(200);
    let id = sent["message"].as_str().unwrap();
    assert_eq!(hub.cli_ok(&["retry", id]).trim(), "1 delivery is due now");
    let done = hub.until_status(&events[0], "processed").await;
    let tried = message(&done);
    assert_eq!((&tried["attempts"], &tried["generation"]), (&2.into(), &0.into()), "{tried}");
    let (exit, said) = hub.cli_err(&["retry", id]);
    assert!(exit == 1 && said.contains("is processed"), "{said}");
    assert_eq!(hub.cli_ok(&["retry", &events[1]]).trim(), "1 delivery is due now");
    hub.until_status(&events[1], "processed").await;
    let all = hub.cli_ok(&["retry", "--destination", "sink"]);
    assert_eq!(all.trim(), "1 delivery for destination:sink is due now");
    hub.until_status(&events[2], "processed").await;
    let none = hub.cli_ok(&["retry", "--handler", "teller"]);
    assert_eq!(none.trim(), "no delivery for handler:teller waits for a retry");
    let (exit, said) = hub.cli_err(&["retry", "--destination", "nope"]);
    assert!(exit == 4 && said.contains("there is no destination `nope`; there are sink"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_of_a_failing_destination_reports_the_outcome() {
    let sink = Sink::start().await;
    sink.answers(410);
    let hub = TestHub::new()
        .github()
        .destination(
            "sink",
            &sink,
            "retry = { schedule = [\"1h\"] }\nbreaker = { pause = \"1h\", max_pause = \"1h\" }",
        )
        .config("[[route]]\non = [\"github:*\"]\nto = \"sink\"")
        .start()
        .await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    // The hold is placed while the attempt is still being settled.
    until("an attempt and a hold", async || {
        let holds = hub.api("/api/v1/holds").await["items"].take();
        let attempts = hub.event(&event).await["deliveries"][0]["history"].take();
        let settled = !holds[0].is_null() && !attempts[0].is_null();
        if settled { Ok(()) } else { Err(format!("{holds} {attempts}")) }
    })
    .await;
    let (exit, said) = hub.cli_err(&["retry", "--destination", "sink"]);
    assert!(exit == 1 && said.contains("destination:sink still fails: HTTP 410 Gone"), "{said}");
    sink.answers(200);
    until("the hold again", async || {
        let holds = hub.api("/api/v1/holds").await["items"].take();
        if holds[0].is_null() { Err(holds.to_string()) } else { Ok(()) }
    })
    .await;
    assert!(hub.cli_ok(&["retry", "--destination", "sink"]).contains("destination:sink is ok"));
    hub.until_status(&event, "processed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_grant_makes_deliveries_that_lacked_it_due() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, RARELY)
        .handler("teller", "version-a")
        .sidecar("teller", "[retry]\nfirst = \"1h\"\nmax = \"1h\"\njitter = 0.0\n")
        .start()
        .await;
    hub.until_ready("teller").await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    let failed = hub.until_status(&event, "retrying").await;
    assert_eq!(failed["deliveries"][0]["history"][0]["outcome"], "refused", "{failed}");
    hub.write("plugins/teller.toml", TO_SINK);
    let done = hub.until_status(&event, "processed").await;
    assert_eq!(done["deliveries"][0]["attempts"], 2, "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_destination_makes_its_failed_deliveries_due_at_start() {
    let (gone, sink) = (Sink::start().await, Sink::start().await);
    gone.answers(410);
    let to = "[[route]]\non = [\"github:*\"]\nto = \"sink\"";
    let patient =
        "retry = { schedule = [\"1h\"] }\nbreaker = { pause = \"1h\", max_pause = \"1h\" }";
    let hub = TestHub::new().github().destination("sink", &gone, patient).config(to).start().await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&event, "retrying").await;
    let held = hub.push("push", "two", b"{}").await.accepted();
    hub.until_status(&held, "held").await;
    let hub = hub.kill_and_restart().await;
    assert_eq!(hub.event(&held).await["status"], "held", "nothing has changed");
    let fixed = hub.configured().replace(&gone.url(), &sink.url());
    hub.write("weir.toml", &fixed);
    let hub = hub.kill_and_restart().await;
    hub.until_status(&event, "processed").await;
    hub.until_status(&held, "processed").await;
    assert_eq!(sink.until_received(2).await.len(), 2);
    assert_eq!(hub.event(&event).await["deliveries"][0]["attempts"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_key_and_a_text_find_an_event() {
    let hub = TestHub::new().github().config("index = { order = \"/order/id\" }").start().await;
    let of =
        async |delivery, body: &str| hub.push("push", delivery, body.as_bytes()).await.accepted();
    let first = of("d1", r#"{"order":{"id":1234},"note":"by courier"}"#).await;
    let second = of("d2", r#"{"order":{"id":1235},"note":"by post"}"#).await;
    let keyed = hub.cli_ok(&["events", "--key", "order=1234"]);
    assert!(keyed.contains(&first) && !keyed.contains(&second), "{keyed}");
    assert!(hub.cli_ok(&["events", &first]).contains("keys       order=1234"));
    let page = hub.api("/api/v1/events?key=order%3D1234,order%3D1235").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 2, "{page}");
    let found = hub.cli_ok(&["find", "by courier"]);
    assert!(found.contains(&first) && !found.contains(&second), "{found}");
    assert!(hub.cli_ok(&["find", "by pigeon"]).contains("no event found"));
    let (_, wrong) = hub.cli_err(&["events", "--key", "order"]);
    assert!(wrong.contains("a key is written NAME=VALUE"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_is_gone_from_every_view() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .config("index = { customer = \"/customer\" }")
        .destination("sink", &sink, "")
        .config("[[route]]\non = [\"github:*\"]\nto = \"sink\"")
        .start()
        .await;
    let body = br#"{"customer":"ann.private"}"#;
    let event = hub.push("push", "d1", body).await.accepted();
    hub.until_status(&event, "processed").await;
    let dry = hub.cli_ok(&["erase", "--key", "customer=ann.private"]);
    assert!(dry.contains(&event) && dry.contains("--yes does it"), "{dry}");
    assert!(hub.cli_ok(&["events", &event]).contains("ann.private"));
    let done = hub.cli_ok(&["erase", "--key", "customer=ann.private", "--yes"]);
    assert!(done.contains("erased 1 event"), "{done}");
    let shown = hub.cli_ok(&["events", &event, "--json"]);
    assert!(!shown.contains("ann.private") && shown.contains("erased_at"), "{shown}");
    assert!(hub.cli_ok(&["find", "ann.private"]).contains("no event found"));
    let (_, replay) = hub.cli_err(&["replay", &event]);
    assert!(replay.contains("were erased at"), "{replay}");
    assert!(hub.cli_ok(&["audit"]).contains("customer=ann.private"));
}
