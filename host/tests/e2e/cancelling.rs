//! Cancelling deliveries: what waits is never sent, and the result of what runs is refused.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use weir_testing::hub::TestHub;
use weir_testing::sink::Sink;
use weir_testing::wait::until;

const TO_SINK: &str = "[grant]\ndestinations = [\"sink\"]\n";
const LATER: &str = "retry = { schedule = [\"1h\"], jitter = 0.0 }\n\
                     breaker = { min_attempts = 1000, pause = \"1h\", max_pause = \"1h\" }";

/// The state of the message that an event's first delivery sent.
fn message(event: &Value) -> Value {
    event["deliveries"][0]["history"][0]["messages"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_message_is_never_sent() {
    let sink = Sink::start().await;
    sink.answers(500);
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, LATER)
        .handler("teller", "version-a")
        .sidecar("teller", TO_SINK)
        .start()
        .await;
    hub.until_ready("teller").await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    let waits = hub.until_status(&event, "retrying").await;
    let id = message(&waits)["id"].as_str().unwrap().to_owned();
    assert_eq!(hub.cli_ok(&["cancel", &event]).trim(), "cancelled 1 delivery");
    let cancelled = hub.event(&event).await;
    assert_eq!(
        (&cancelled["status"], &message(&cancelled)["state"]),
        (&"processed".into(), &"cancelled".into())
    );
    let (exit, said) = hub.cli_err(&["cancel", &event]);
    assert!(exit == 1 && said.contains("nothing_to_cancel"), "{exit}: {said}");
    assert_eq!(hub.cli_err(&["retry", &id]).0, 1, "it is not due any more");
    let audit = hub.cli_ok(&["--json", "audit"]);
    assert!(audit.contains(r#""act":"cancel""#) && audit.contains(&event), "{audit}");

    // A restart finds nothing to send. A replay sends it after all.
    sink.answers(200);
    let hub = hub.kill_and_restart().await;
    hub.until_ready("teller").await;
    let other = hub.push("push", "two", b"{}").await.accepted();
    hub.until_status(&other, "processed").await;
    assert_eq!(message(&hub.event(&event).await)["state"], "cancelled");
    let sent_before = sink.received().len();
    hub.cli_ok(&["replay", "--delivery", &id]);
    sink.until_received(sent_before + 1).await;
}

/// An endpoint that answers its first request only when it is told to.
async fn endpoint() -> (String, oneshot::Receiver<()>, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (came, has_come) = oneshot::channel();
    let (go, told) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = [0; 4096];
        assert!(stream.read(&mut read).await.unwrap() > 0);
        came.send(()).unwrap();
        told.await.unwrap();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    });
    (url, has_come, go)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_of_a_cancelled_run_is_refused() {
    let (url, has_come, go) = endpoint().await;
    let hub = TestHub::new()
        .github()
        .config(&format!(
            "[destinations.slow]\nkind = \"webhook\"\nurl = \"{url}\"\nallow = [\"@private\"]\n\
             [[route]]\non = [\"github:*\"]\nto = \"slow\""
        ))
        .start()
        .await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    has_come.await.unwrap();
    let said = hub.cli_ok(&["cancel", &event]);
    assert_eq!(said.trim(), "cancelled 1 delivery; 1 of them being tried, whose result is refused");
    go.send(()).unwrap();
    until("the result to be refused", async || {
        let refused = hub.metric("weir_attempts_superseded_total").await;
        if refused >= 1.0 { Ok(()) } else { Err(format!("{refused}")) }
    })
    .await;
    let found = hub.event(&event).await;
    let delivery = &found["deliveries"][0];
    assert_eq!((&delivery["state"], &delivery["attempts"]), (&"cancelled".into(), &0.into()));
    assert!(delivery.get("history").is_none_or(|h| h.as_array().unwrap().is_empty()), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_cannot_cancel_and_its_try_is_recorded() {
    let sink = Sink::start().await;
    sink.answers(500);
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, LATER)
        .config("[[route]]\non = [\"github:*\"]\nto = \"sink\"")
        .start()
        .await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&event, "retrying").await;
    let token = hub.cli_ok(&["tokens", "create", "reader", "--role", "read"]);
    let (exit, said) = hub.cli_err(&["cancel", &event, "--token", token.trim()]);
    assert!(exit != 0 && said.contains("role_missing"), "{exit}: {said}");
    assert_eq!(hub.event(&event).await["status"], "retrying");
    let audit: Value = hub.api("/api/v1/audit?outcome=refused").await;
    let refused = &audit["items"][0];
    assert_eq!((&refused["who"], &refused["act"]), (&"reader".into(), &"cancel".into()), "{audit}");
    assert_eq!(refused["detail"]["code"], "role_missing");
}
