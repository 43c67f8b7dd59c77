//! Responders: a handler's reply is the answer to the sender, within a deadline, and no other
//! source waits.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use weir::runtime::clock::SystemClock;
use weir::samples::SignedSample;
use weir_core::provider::Catalog;
use weir_core::sign::SigningInput;
use weir_core::time::Clock as _;
use weir_core::verify::{Params, Secret};

use weir_testing::hub::{RunningHub, TestHub, hmac_hex};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

const SECRET: &str = "what Slack signs with";

/// A slash command. Two with the same trigger id are duplicates.
fn command(trigger: &str) -> String {
    format!("command=%2Fweather&text=lisbon&trigger_id={trigger}")
}

fn slack(hub: &RunningHub, body: &str) -> Request<Full<Bytes>> {
    let now = jiff::Timestamp::now().as_second();
    let signature = hmac_hex(SECRET.as_bytes(), format!("v0:{now}:{body}").as_bytes());
    Request::post(format!("http://{}/webhook/slack", hub.ingress))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-slack-request-timestamp", now)
        .header("x-slack-signature", format!("v0={signature}"))
        .body(Full::from(body.to_owned()))
        .unwrap()
}

/// Sends a slash command. Returns the answer.
async fn send(hub: &RunningHub, trigger: &str) -> Response<Bytes> {
    hub.exchange(slack(hub, &command(trigger))).await
}

/// A hub whose source `slack` has a responder: a probe that takes these steps in each run.
fn answered_by(steps: &Value, sink: &Sink) -> TestHub {
    TestHub::new()
        .source("slack", "slack", SECRET)
        .config("responder = \"commands\"")
        .destination("sink", sink, "")
        .handler("commands", "probe")
        .sidecar(
            "commands",
            &format!(
                "on = []\n[config]\nsteps = '''{steps}'''\n[limits]\ntime = \"60s\"\n[retry]\nfirst = \"10ms\"\n\
                 [grant]\ndestinations = [\"sink\"]\n"
            ),
        )
}

async fn started(hub: TestHub) -> RunningHub {
    let hub = hub.start().await;
    hub.until_ready("commands").await;
    hub
}

/// Steps that send to the sink and reply.
fn forecast() -> [Value; 2] {
    [
        json!({ "op": "send", "destination": "sink", "json": { "asked": true } }),
        json!({ "op": "reply", "json": { "text": "sunny" } }),
    ]
}

/// Steps that take many times the shortest deadline and then reply.
fn slow_forecast() -> Value {
    let work = json!({ "op": "log", "message": "still at it", "times": 100_000 });
    std::iter::once(work).chain(forecast()).collect()
}

/// The only stored event of the source `slack`.
async fn only_event(hub: &RunningHub) -> String {
    let events = hub.api("/api/v1/events?source=slack").await;
    let [event] = &events["items"].as_array().unwrap()[..] else { panic!("not one: {events}") };
    event["id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_is_the_forecast(answer: &Response<Bytes>) {
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(&answer.body()[..], br#"{"text":"sunny"}"#);
}

/// The answer that Slack gets when there is no reply.
#[track_caller]
fn assert_is_the_default(answer: &Response<Bytes>) {
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b""[..]), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slack_command_and_its_duplicate_get_the_same_reply() {
    let sink = Sink::start().await;
    let hub = started(answered_by(&json!(forecast()), &sink)).await;
    assert_is_the_forecast(&send(&hub, "one").await);
    let event = only_event(&hub).await;
    let stored = hub.until_status(&event, "processed").await;
    assert_eq!(stored["deliveries"][0]["attempts"], 1, "{stored}");

    assert_is_the_forecast(&send(&hub, "one").await);
    let hub = hub.kill_and_restart().await;
    assert_is_the_forecast(&send(&hub, "one").await);
    assert_eq!(only_event(&hub).await, event);
    assert_eq!(sink.until_received(1).await.len(), 1, "it ran once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_request_gets_the_responders_reply() {
    let (words, public) = ("<Response><Say>High.</Say></Response>", "https://hooks.example.com/in");
    let steps = json!([{ "op": "reply", "content_type": "text/xml", "body": words }]);
    let hub = TestHub::new()
        .source("calls", "twilio", SECRET)
        .config(&format!("responder = \"commands\"\npublic_url = \"{public}\""))
        .handler("commands", "probe")
        .sidecar("commands", &format!("on = []\n[config]\nsteps = '''{steps}'''\n"));
    let hub = started(hub).await;
    let catalog = Catalog::built_in().unwrap();
    let call = SignedSample::make(
        catalog.get("twilio").unwrap(),
        "ringing",
        Some("GET"),
        SigningInput { secret: &Secret::new(SECRET), params: &Params::new(), scheme: None },
        public,
        SystemClock.now(),
        &mut StdRng::seed_from_u64(7),
    );
    let call = call.unwrap().request(&format!("http://{}/webhook/calls", hub.ingress)).unwrap();
    assert_eq!(call.method(), "GET");
    let answer = hub.exchange(call).await;
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, words.as_bytes()));
    assert_eq!(answer.headers()["content-type"], "text/xml");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let events = hub.api("/api/v1/events?source=calls").await;
    assert_eq!(events["items"][0]["type"], "ringing", "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_simultaneous_duplicates_one_runs_and_all_get_its_reply() {
    let sink = Sink::start().await;
    let hub = started(answered_by(&json!(forecast()), &sink)).await;
    let twins = (0..32).map(|_| send(&hub, "twin"));
    for answer in futures_util::future::join_all(twins).await {
        assert_is_the_forecast(&answer);
    }
    hub.until_status(&only_event(&hub).await, "processed").await;
    assert_eq!(sink.until_received(1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_responder_gives_the_default_answer_and_one_effect() {
    let sink = Sink::start().await;
    let hub = answered_by(&slow_forecast(), &sink);
    let hub = started(hub.config("[responders]\ndeadline = \"1ms\"")).await;
    assert_is_the_default(&send(&hub, "one").await);
    let stored = hub.until_status(&only_event(&hub).await, "processed").await;
    assert_eq!(stored["deliveries"][0]["attempts"], 1, "it was not begun again: {stored}");
    assert_eq!(sink.until_received(1).await.len(), 1);
    assert!(hub.metric("weir_replies_total").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_gets_the_reply_made_after_the_deadline() {
    let sink = Sink::start().await;
    let hub = answered_by(&json!(forecast()), &sink);
    let hub = started(hub).await;
    // A held handler cannot run within the deadline.
    assert!(hub.cli(&["hold", "handler:commands"]).status.success());
    assert_is_the_default(&send(&hub, "one").await);
    let event = only_event(&hub).await;
    assert_eq!(hub.event(&event).await["status"], "held");
    assert!(hub.cli(&["release", "handler:commands"]).status.success());
    hub.until_status(&event, "processed").await;
    assert_is_the_forecast(&send(&hub, "one").await);
    assert_eq!(sink.until_received(1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_gives_the_default_answer_and_is_retried() {
    let sink = Sink::start().await;
    let steps: Value = forecast()
        .into_iter()
        .chain([json!({ "op": "panic", "message": "half way", "on_attempt": 1 })])
        .collect();
    let hub = started(answered_by(&steps, &sink)).await;
    assert_is_the_default(&send(&hub, "one").await);
    let stored = hub.until_status(&only_event(&hub).await, "processed").await;
    let history = stored["deliveries"][0]["history"].as_array().unwrap();
    assert_eq!((&history[0]["outcome"], &history[1]["outcome"]), (&"crashed".into(), &"ok".into()));
    assert_eq!(sink.until_received(1).await.len(), 1, "the first attempt's message must not leave");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_responder_gives_the_default_answer_and_the_event_waits() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .source("slack", "slack", SECRET)
        .config("responder = \"commands\"")
        .destination("sink", &sink, "")
        .start()
        .await;
    assert_is_the_default(&send(&hub, "one").await);
    let event = only_event(&hub).await;
    let waits = hub.until_status(&event, "held").await;
    assert_eq!(waits["deliveries"][0]["attempts"], 0, "{waits}");
    hub.put_handler("commands", weir_testing::guests::committed("noop"));
    hub.until_status(&event, "processed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_a_reply_gives_the_default_answer() {
    let sink = Sink::start().await;
    let hub = started(answered_by(&json!([]), &sink)).await;
    assert_is_the_default(&send(&hub, "one").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_replies_by_printing_an_effect() {
    let hub = TestHub::new()
        .github()
        .config("responder = \"greeter\"")
        .handler("greeter", "command")
        .start()
        .await;
    hub.until_ready("greeter").await;
    let reply = json!({
        "effect": "reply", "status": 202, "json": { "hello": "sender" },
        "headers": { "retry-after": "7", "set-cookie": "a=b" },
    });
    let body = json!({ "stdout": [reply.to_string()] }).to_string();
    let answer = hub.exchange(hub.push_request("push", "one", body.as_bytes())).await;
    assert_eq!(answer.status(), 202, "{answer:?}");
    assert_eq!(&answer.body()[..], br#"{"hello":"sender"}"#);
    assert_eq!(answer.headers()["retry-after"], "7");
    assert!(!answer.headers().contains_key("set-cookie"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_responder_delays_no_other_source() {
    let sink = Sink::start().await;
    let hub = answered_by(&json!([{ "op": "loop" }]), &sink);
    let hub = started(hub.config("[responders]\ndeadline = \"30s\"").github()).await;
    let slow: Vec<_> = (0..8)
        .map(|n| tokio::spawn(hub.exchanging(slack(&hub, &command(&n.to_string())))))
        .collect();
    until("responders to run", async || {
        let running = hub.metric("weir_attempts_running").await;
        if running >= 1.0 { Ok(()) } else { Err(running.to_string()) }
    })
    .await;
    for n in 0..50 {
        hub.push("push", &format!("meanwhile-{n}"), b"{}").await.accepted();
    }
    assert!(slow.iter().all(|request| !request.is_finished()), "they are waited for still");
    slow.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_responder_of_a_source_changes_without_restart() {
    /// The answer of the hub itself to a command without a reply.
    const NOTHING: &str = "";
    let saying = |word: &str| {
        let steps = json!([{ "op": "reply", "json": { "text": word } }]);
        format!("on = []\n[config]\nsteps = '''{steps}'''\n")
    };
    let hub = TestHub::new()
        .handler("one", "probe")
        .sidecar("one", &saying("one"))
        .handler("two", "probe")
        .sidecar("two", &saying("two"))
        .source("slack", "slack", SECRET)
        .start()
        .await;
    hub.until_ready("one").await;
    hub.until_ready("two").await;
    let without = hub.configured();
    let sent = std::cell::Cell::new(0);
    let next = async || {
        sent.set(sent.get() + 1);
        send(&hub, &format!("n-{}", sent.get())).await
    };
    let until_answered = async |wanted: &str| {
        until(&format!("the answer {wanted}"), async || {
            let answer = next().await;
            let is_wanted = answer.body() == wanted;
            if is_wanted { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
    };
    let latest = async || hub.api("/api/v1/events?source=slack").await["items"][0].take();
    until_answered(NOTHING).await;
    hub.write("weir.toml", &format!("{without}responder = \"one\"\n"));
    until_answered(r#"{"text":"one"}"#).await;
    hub.write("weir.toml", &format!("{without}responder = \"two\"\n"));
    until_answered(r#"{"text":"two"}"#).await;
    let stored = hub.until_status(latest().await["id"].as_str().unwrap(), "processed").await;
    let [delivery] = &stored["deliveries"].as_array().unwrap()[..] else { panic!("{stored}") };
    assert_eq!(delivery["target"], "handler:two", "and no other target gets it");
    hub.write("weir.toml", &without);
    until("events to be unrouted, and the answer to say so", async || {
        let answer = next().await;
        let latest = latest().await;
        let so = answer.body() == NOTHING && latest["status"] == "unrouted";
        if so { Ok(()) } else { Err(format!("{answer:?} {latest}")) }
    })
    .await;
    assert!(hub.log.having(&["takes effect at the next start"]).is_empty());
}
