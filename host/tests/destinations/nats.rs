//! `nats`: a stream of a real server, and a subject without one.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::wait::until;

use crate::outage::{self, Arrived};
use crate::servers::TestServer;
use crate::wrong;

pub(crate) fn command(folder: &Path, port: u16) -> Command {
    let mut command = Command::new("nats-server");
    command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(folder);
    command
}

fn destination(server: &TestServer, more: &str) -> String {
    format!(
        "[destinations.out]\nkind = \"nats\"\nurl = \"nats://{}\"\nallow = [\"@private\"]\n\
         timeout = \"2s\"\n{}\n{more}",
        server.address(),
        outage::BREAKER,
    )
}

async fn hub(server: &TestServer, more: &str) -> RunningHub {
    let config = format!("{}\n{}", destination(server, more), outage::ROUTE);
    TestHub::new().github().config(&config).start().await
}

pub(crate) async fn streams(server: &TestServer) -> async_nats::jetstream::Context {
    let client = async_nats::connect(format!("nats://{}", server.address())).await.unwrap();
    async_nats::jetstream::new(client)
}

pub(crate) fn stream(
    more: async_nats::jetstream::stream::Config,
) -> async_nats::jetstream::stream::Config {
    async_nats::jetstream::stream::Config {
        name: "events".into(),
        subjects: vec!["events.>".into()],
        // Shorter than the outage, so that duplicates would be seen.
        duplicate_window: Duration::from_millis(100),
        ..more
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_gets_every_message_in_order() {
    let Some(server) = TestServer::start("nats-server", command).await else { return };
    let made = streams(&server).await.create_stream(stream(Default::default())).await.unwrap();
    drop(made);
    let hub = hub(&server, "subject = \"events.{source}.{type}\"").await;
    let server = tokio::sync::Mutex::new(server);
    let away = async || server.lock().await.stop().await;
    let back = async || server.lock().await.start_again().await;
    outage::run(&hub, away, back).await;
    let server = server.into_inner();
    let events = streams(&server).await.get_stream("events").await.unwrap();
    let count = events.get_info().await.unwrap().state.messages;
    let consumer = events
        .create_consumer(async_nats::jetstream::consumer::pull::OrderedConfig::default())
        .await
        .unwrap();
    let mut messages = consumer.messages().await.unwrap();
    let mut arrived = Vec::new();
    while (arrived.len() as u64) < count {
        let message = messages.next().await.unwrap().unwrap();
        let headers = message.headers.as_ref().unwrap();
        let body: Value = serde_json::from_slice(&message.payload).unwrap();
        let id = headers.get("Nats-Msg-Id").unwrap().as_str();
        assert_eq!(headers.get("weir-message-id").unwrap().as_str(), id);
        assert_eq!(message.subject.as_str(), "events.github.push");
        arrived.push(Arrived::new(id, &body));
    }
    outage::judge(&hub, "nats stream", &arrived).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_without_a_stream_reaches_its_subscribers() {
    let Some(server) = TestServer::start("nats-server", command).await else { return };
    let client = async_nats::connect(format!("nats://{}", server.address())).await.unwrap();
    let mut listening = client.subscribe("news").await.unwrap();
    client.flush().await.unwrap();
    let hub = hub(&server, "subject = \"news\"\njetstream = false").await;
    let event = hub.push("push", "one", b"{\"key\":1}").await.accepted();
    hub.until_status(&event, "processed").await;
    let heard = listening.next().await.unwrap();
    assert_eq!(&heard.payload[..], b"{\"key\":1}");
    assert_eq!(heard.headers.unwrap().get("weir-event-id").unwrap().as_str(), event);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_wrong_holds_messages_and_says_what_to_do() {
    let Some(mut server) = TestServer::start("nats-server", command).await else { return };
    server.stop().await;
    let hub = hub(&server, "subject = \"events.all\"").await;
    let said = wrong::reason(&hub, 0).await;
    assert!(said.contains("cannot be reached"), "{said}");
    server.start_again().await;
    // There is no stream yet.
    until("the missing stream to be named", async || {
        let out = hub.api("/api/v1/destinations").await["items"][0].take();
        let said = out["reason"].as_str().unwrap_or_default().to_owned();
        if said.contains("make one with this subject") { Ok(()) } else { Err(said) }
    })
    .await;
    let (ok, said) = wrong::checked(&destination(&server, "subject = \"events.all\""));
    assert!(!ok && said.contains("make one with this subject"), "{said}");
    // A stream that is full after one message.
    let full = async_nats::jetstream::stream::Config {
        max_messages: 1,
        discard: async_nats::jetstream::stream::DiscardPolicy::New,
        ..Default::default()
    };
    streams(&server).await.create_stream(stream(full)).await.unwrap();
    outage::until_state(&hub, "ok").await;
    let said = wrong::reason(&hub, 1).await;
    assert!(said.contains("the stream is full"), "{said}");
    // A message that is too large for any stream.
    streams(&server).await.update_stream(stream(Default::default())).await.unwrap();
    outage::until_state(&hub, "ok").await;
    let body = format!("{{\"key\":1,\"text\":\"{}\"}}", "x".repeat(1_100_000));
    let event = hub.push("push", "large", body.as_bytes()).await.accepted();
    let dead = hub.until_status(&event, "dead_letter").await;
    assert!(dead.to_string().contains("too large"), "{dead}");

    let at = wrong::garbage().await;
    let config = destination(&server, "subject = \"events.all\"");
    let (ok, said) =
        wrong::checked(&config.replace(&server.address().to_string(), &at.to_string()));
    assert!(!ok && said.contains("does not answer as NATS does"), "{said}");
    let secured = TestServer::start("nats-server", |folder, port| {
        let mut secured = command(folder, port);
        secured.args(["--user", "weir", "--pass", "hunter2"]);
        secured
    });
    let secured = secured.await.unwrap();
    let config =
        destination(&secured, "subject = \"x\"\nuser = \"weir\"\npassword = { env = \"PATH\" }");
    let (ok, said) = wrong::checked(&config);
    assert!(!ok && said.contains("set user and password"), "{said}");
    let (ok, said) = wrong::checked(&config.replace("allow = [\"@private\"]", ""));
    assert!(!ok && said.contains("allow = [\"@private\"]"), "{said}");
}
