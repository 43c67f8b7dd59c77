//! `redis`: streams, lists and channels of a real server.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::wait::until;

use crate::outage::{self, Arrived};
use crate::servers::TestServer;
use crate::wrong;

/// A server that has each entry on its disk before it answers.
pub(crate) fn command(folder: &Path, port: u16) -> Command {
    let mut command = Command::new("redis-server");
    let port = port.to_string();
    command.args(["--port", &port, "--bind", "127.0.0.1", "--appendonly", "yes"]);
    command.args(["--appendfsync", "always", "--save", "", "--dir"]).arg(folder);
    command
}

fn destination(server: &TestServer, more: &str) -> String {
    format!(
        "[destinations.out]\nkind = \"redis\"\nurl = \"redis://{}/0\"\nallow = [\"@private\"]\n{}\n\
         {more}",
        server.address(),
        outage::BREAKER,
    )
}

async fn hub(server: &TestServer, more: &str) -> RunningHub {
    let config = format!("{}\n{}", destination(server, more), outage::ROUTE);
    TestHub::new().github().config(&config).start().await
}

pub(crate) async fn client(server: &TestServer) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(format!("redis://{}/0", server.address())).unwrap();
    // It waits for half a second otherwise, and an answer may have ten thousand entries.
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

/// Runs a command of the server.
pub(crate) async fn ask<T: redis::FromRedisValue>(server: &TestServer, words: &[&str]) -> T {
    let mut command = redis::cmd(words[0]);
    words[1..].iter().for_each(|word| {
        command.arg(*word);
    });
    command.query_async(&mut client(server).await).await.unwrap()
}

async fn passes_an_outage(more: &str) -> Option<(TestServer, RunningHub)> {
    let server = TestServer::start("redis-server", command).await?;
    let hub = hub(&server, more).await;
    let server = tokio::sync::Mutex::new(server);
    let away = async || server.lock().await.stop().await;
    let back = async || server.lock().await.start_again().await;
    outage::run(&hub, away, back).await;
    Some((server.into_inner(), hub))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_gets_every_message_in_order() {
    let Some((server, hub)) = passes_an_outage("stream = \"events:{source}\"").await else {
        return;
    };
    let entries: redis::streams::StreamRangeReply =
        ask(&server, &["XRANGE", "events:github", "-", "+"]).await;
    let arrived: Vec<_> = entries
        .ids
        .iter()
        .map(|entry| {
            let body: Value =
                serde_json::from_slice(&entry.get::<Vec<u8>>("body").unwrap()).unwrap();
            Arrived::new(&entry.get::<String>("weir-message-id").unwrap(), &body)
        })
        .collect();
    outage::judge(&hub, "redis stream", &arrived).await;
    let first = &entries.ids[0];
    let fact = |name: &str| first.get::<String>(name).unwrap();
    assert_eq!((fact("weir-source"), fact("weir-event-type")), ("github".into(), "push".into()));
    assert_eq!(fact("content-type"), "application/json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_gets_every_message_in_order() {
    let Some((server, hub)) = passes_an_outage("list = \"events\"").await else { return };
    let entries: Vec<Vec<u8>> = ask(&server, &["LRANGE", "events", "0", "-1"]).await;
    let arrived: Vec<_> = entries
        .iter()
        .map(|entry| {
            let line: Value = serde_json::from_slice(entry).unwrap();
            Arrived::new(line["id"].as_str().unwrap(), &line["body"])
        })
        .collect();
    outage::judge(&hub, "redis list", &arrived).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_reaches_its_subscribers_and_a_stream_is_trimmed() {
    let Some(server) = TestServer::start("redis-server", command).await else { return };
    let text = format!(
        "{}\n[destinations.short]\nkind = \"redis\"\nurl = \"redis://{}\"\nallow = [\"@private\"]\n\
         stream = \"short\"\nmax_len = 1\n[[route]]\non = [\"github:*\"]\nto = \"out\"\n[[route]]\n\
         on = [\"github:*\"]\nto = \"short\"",
        destination(&server, "channel = \"news.{type}\""),
        server.address(),
    );
    let listening = redis::Client::open(format!("redis://{}", server.address())).unwrap();
    let mut listening = listening.get_async_pubsub().await.unwrap();
    listening.subscribe("news.push").await.unwrap();
    let heard = std::sync::Arc::new(Mutex::new(Vec::new()));
    let hearing = heard.clone();
    tokio::spawn(async move {
        use futures_util::StreamExt as _;
        let mut messages = listening.on_message();
        while let Some(message) = messages.next().await {
            hearing.lock().unwrap().push(message.get_payload::<String>().unwrap());
        }
    });
    let hub = TestHub::new().github().config(&text).start().await;
    let event = hub.push("push", "one", b"{\"n\":1}").await.accepted();
    hub.until_status(&event, "processed").await;
    let line = until("the subscriber to hear it", async || {
        heard.lock().unwrap().first().cloned().ok_or_else(|| "nothing".to_owned())
    })
    .await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["type"], &line["event_id"]), (&"push".into(), &event.as_str().into()));
    // The server trims whole nodes of a hundred entries.
    for n in 0..250 {
        hub.push("push", &format!("more-{n}"), b"{\"n\":1}").await.accepted();
    }
    until("the stream to be trimmed", async || {
        let all = hub.metric_lines(&["weir_attempts_total{", "destination:short", "\"ok\""]).await;
        let length: usize = ask(&server, &["XLEN", "short"]).await;
        match all.first() {
            Some(line) if line.ends_with(" 251") && length < 150 => Ok(()),
            seen => Err(format!("{length} of {seen:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_wrong_holds_messages_and_says_what_to_do() {
    let Some(mut server) = TestServer::start("redis-server", command).await else { return };
    // Absent at the start of the hub.
    server.stop().await;
    let hub = hub(&server, "stream = \"events\"").await;
    assert!(wrong::reason(&hub, 0).await.contains("cannot be reached"));
    server.start_again().await;
    outage::until_state(&hub, "ok").await;
    // Full.
    let full = async |memory: &str| {
        let _: String = ask(&server, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
        let _: String = ask(&server, &["CONFIG", "SET", "maxmemory", memory]).await;
    };
    full("1").await;
    assert!(wrong::reason(&hub, 1).await.contains("raise its maxmemory"));
    full("0").await;
    outage::until_state(&hub, "ok").await;
    // A replica is read-only.
    let _: String = ask(&server, &["REPLICAOF", "127.0.0.1", "1"]).await;
    let said = wrong::reason(&hub, 2).await;
    assert!(said.contains("name the primary server"), "{said}");
    let _: String = ask(&server, &["REPLICAOF", "NO", "ONE"]).await;
    outage::until_state(&hub, "ok").await;
    // Credentials that it does not know any more.
    let _: String = ask(&server, &["CONFIG", "SET", "requirepass", "hunter2"]).await;
    server.stop().await;
    server = TestServer::start("redis-server", |folder, port| {
        let mut with_password = command(folder, port);
        with_password.args(["--requirepass", "hunter2"]);
        with_password
    })
    .await
    .unwrap();
    let text = destination(&server, "stream = \"events\"");
    let (ok, said) = wrong::checked(&text);
    assert!(!ok && said.contains("set user and password"), "{said}");
    let (ok, said) = wrong::checked(
        &text.replace("/0\"", "/0\"\nuser = \"other\"\npassword = { env = \"PATH\" }"),
    );
    assert!(!ok && said.contains("set user and password"), "{said}");
    assert!(!said.contains(&std::env::var("PATH").unwrap()), "{said}");
    // The guard refuses an address that is not allowed.
    let (ok, said) = wrong::checked(&text.replace("allow = [\"@private\"]", ""));
    assert!(!ok && said.contains("allow = [\"@private\"]"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_type_and_garbage_are_named() {
    let Some(server) = TestServer::start("redis-server", command).await else { return };
    let _: String = ask(&server, &["SET", "events", "text"]).await;
    let config = format!("{}\n{}", destination(&server, "stream = \"events\""), outage::ROUTE);
    let hub = TestHub::new().github().config(&config).start().await;
    let event = hub.push("push", "one", b"{\"key\":1}").await.accepted();
    let failing = outage::until_state(&hub, "failing").await;
    assert!(failing["reason"].as_str().unwrap().contains("has another type"), "{failing}");
    let retrying = hub.until_status(&event, "retrying").await;
    assert_eq!(retrying["deliveries"][0]["attempts"], 1, "{retrying}");
    drop(hub);

    let at = wrong::garbage().await;
    let config = config.replace(&server.address().to_string(), &at.to_string());
    let hub = TestHub::new().github().config(&config).start().await;
    let said = wrong::reason(&hub, 0).await;
    assert!(said.contains("does not answer as Redis does"), "{said}");
}
