//! Webhook destinations: rates, paths, credentials, answers that become events, and alerts for chat
//! services.

use std::time::Duration;

use serde_json::json;
use weir_testing::hub::{TestHub, weir};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

const TO_SINK: &str = "[[route]]\non = [\"github:*\"]\nto = \"sink\"";

#[tokio::test(flavor = "multi_thread")]
async fn messages_over_the_rate_wait_and_use_no_attempt() {
    let (sink, other) = (Sink::start().await, Sink::start().await);
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "rate = \"10/s\"")
        .destination("other", &other, "")
        .config(TO_SINK)
        .config("[[route]]\non = [\"github:*\"]\nto = \"other\"")
        .start()
        .await;
    let mut events = Vec::new();
    for n in 0..12 {
        events.push(hub.push("push", &format!("n{n}"), b"{}").await.accepted());
    }
    let received = sink.until_received(12).await;
    for event in &events {
        let stored = hub.until_status(event, "processed").await;
        for delivery in stored["deliveries"].as_array().unwrap() {
            assert_eq!(delivery["attempts"], 1, "{stored}");
        }
    }
    // One at once, and then one in each tenth of a second.
    let took = received.last().unwrap().at - received[0].at;
    assert!(took >= Duration::from_millis(1_080), "{took:?}");
    other.until_received(12).await;
    for destination in hub.api("/api/v1/destinations").await["items"].as_array().unwrap() {
        assert_eq!(destination["state"], "ok", "waiting is no failure: {destination}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_sets_the_path_below_the_url() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "retry = { max_attempts = 1 }")
        .config(TO_SINK)
        .config("path = '\"/repos/\" + event.body.name'")
        .start()
        .await;
    let event = hub.push("push", "one", br#"{"name":"a b?x=../1"}"#).await.accepted();
    hub.until_status(&event, "processed").await;
    let path = sink.until_received(1).await[0].path.clone();
    assert_eq!(path, "/hook/repos/a%20b%3Fx=../1");
    let event = hub.push("push", "two", br#"{"name":"../admin"}"#).await.accepted();
    let stored = hub.until_status(&event, "dead_letter").await;
    let attempt = &stored["deliveries"][0]["history"][0];
    assert_eq!(attempt["outcome"], "condition_error", "{stored}");
    assert_eq!(sink.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_presented_and_shown_nowhere() {
    let sink = Sink::saying("your token was t0ken-0123456789").await;
    let hub = TestHub::new()
        .github()
        .env("OPS_TOKEN", "t0ken-0123456789")
        .destination("sink", &sink, "auth = { bearer = { env = \"OPS_TOKEN\" } }")
        .config(TO_SINK)
        .start()
        .await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    let stored = hub.until_status(&event, "processed").await;
    let got = &sink.until_received(1).await[0];
    assert_eq!(got.header("authorization"), "Bearer t0ken-0123456789");
    assert!(stored.to_string().contains("your token was****"), "{stored}");
    for shown in [
        stored.to_string(),
        hub.api("/api/v1/destinations").await.to_string(),
        hub.cli_ok(&["why", &event]),
        hub.log.all(),
    ] {
        assert!(!shown.contains("t0ken"), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_becomes_an_event_of_its_destination() {
    let (api, sink) = (Sink::saying(r#"{"customer":"c7"}"#).await, Sink::start().await);
    let hub = TestHub::new()
        .github()
        .destination("crm", &api, "reply_as = \"customer.found\"")
        .destination("sink", &sink, "")
        .config("[[route]]\non = [\"github:*\"]\nto = \"crm\"")
        .config("[[route]]\non = [\"@destination.crm:customer.found\"]\nto = \"sink\"")
        .start()
        .await;
    let asked = hub.push("push", "one", b"{}").await.accepted();
    let got = sink.until_received(1).await.remove(0);
    assert_eq!(got.json(), json!({ "customer": "c7" }));
    assert_eq!(got.header("weir-source"), "@destination.crm");
    assert_eq!(got.header("weir-event-type"), "customer.found");
    let stored = hub.until_status(&asked, "processed").await;
    let emitted = &stored["deliveries"][0]["history"][0]["emitted"];
    let answer = hub.until_status(emitted[0].as_str().unwrap(), "processed").await;
    assert_eq!(answer["source"], "@destination.crm", "{answer}");
    assert_eq!(answer["parent"], asked.as_str(), "{answer}");
    // A replay asks again, and the equal answer keeps its outward id.
    hub.cli_ok(&["replay", &asked]);
    let again = sink.until_received(2).await.remove(1);
    assert_eq!(again.json(), got.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_of_answers_ends() {
    let api = Sink::saying("again").await;
    let hub = TestHub::new()
        .github()
        .destination("echo", &api, "reply_as = \"echo\"")
        .config("[[route]]\non = [\"github:*\", \"@destination.echo:*\"]\nto = \"echo\"")
        .start()
        .await;
    hub.push("push", "one", b"{}").await.accepted();
    let dead = until("a dead letter at the end of the circle", async || {
        let found = hub.api("/api/v1/dead-letters").await;
        found["items"].get(0).cloned().ok_or_else(|| hub.log.all())
    })
    .await;
    let id = dead["id"].as_str().unwrap();
    let dead = hub.api(&format!("/api/v1/dead-letters/{id}")).await;
    let attempt = &dead["history"][0];
    assert_eq!(attempt["outcome"], "descendants_exhausted", "{dead}");
    assert!(attempt["reason"].as_str().unwrap().starts_with("not sent"), "{dead}");
    assert_eq!(api.received().len(), 16, "as many as a line of events may have");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_sent_as_its_chat_service_takes_it() {
    let (chat, plain) = (Sink::start().await, Sink::start().await);
    let hub = TestHub::new()
        .github()
        .replace("[admin]\n", "[admin]\npublic_url = \"https://weir.example.com/\"\n")
        .destination("chat", &chat, "format = \"slack\"\nreply_as = \"never\"")
        .destination("plain", &plain, "")
        .config("[[route]]\non = [\"weir:*\", \"github:*\"]\nto = \"chat\"")
        .config("[[route]]\non = [\"weir:*\"]\nto = \"plain\"")
        .start()
        .await;
    std::fs::write(hub.folder.path().join("plugins/broken.wasm"), b"no module").unwrap();
    let said = chat.until_received(1).await[0].json();
    let text = said["text"].as_str().unwrap();
    assert!(text.contains("*Handler broken was not loaded*"), "{text}");
    assert!(text.contains("<https://weir.example.com/handlers/broken|"), "{text}");
    let alert = plain.until_received(1).await[0].json();
    assert_eq!(alert["type"], "handler.load_failed", "others get the facts");
    let event = hub.push("push", "one", br#"{"n":1}"#).await.accepted();
    hub.until_status(&event, "processed").await;
    let bodies: Vec<_> = chat.received().iter().map(|got| got.json()).collect();
    assert!(bodies.contains(&json!({ "n": 1 })), "other events are as they are: {bodies:?}");
    let answers = hub.api("/api/v1/events?source=@destination.chat").await;
    let parents = answers["items"].as_array().unwrap();
    assert!(parents.len() <= 1, "an answer to an alert is no event: {answers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_shows_how_long_retries_go_on() {
    let sink = Sink::start().await;
    let retry = "[destinations.sink.retry]\nschedule = [\"1m\", \"10m\"]\nmax_attempts = 9\nwindow = \"35m\"";
    let (folder, variables) = TestHub::new().github().destination("sink", &sink, retry).written();
    let check = |args: &[&str]| {
        let mut command = weir();
        command.args(args).current_dir(folder.path()).envs(variables.iter().cloned());
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let said = check(&["check"]);
    assert!(said.contains("handlers: 8 attempts within 2m 7s"), "{said}");
    let line = "destination:sink: 5 attempts within 31m, 40m if it asks for the longest waits";
    assert!(said.contains(line), "{said}");
    let said: serde_json::Value = serde_json::from_str(&check(&["--json", "check"])).unwrap();
    assert_eq!(said["retries"][1]["window_seconds"], 1_860.0, "{said}");
}
