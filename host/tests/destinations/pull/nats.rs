//! `kind = "nats"`: a stream of a real server.

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::AckPolicy;
use async_nats::jetstream::consumer::pull::Config;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::wait::until;

use super::{STEP, checked, events, judge, reason, run, until_connection, until_stored};
use crate::nats::{command, stream, streams};
use crate::servers::TestServer;

fn config(server: &TestServer, more: &str) -> String {
    format!(
        "[sources.orders]\nkind = \"nats\"\nurl = \"nats://{}\"\nallow = [\"@private\"]\n\
         timeout = \"2s\"\nstream = \"events\"\nclaim_after = \"2s\"\n{more}\n",
        server.address(),
    )
}

async fn hub(server: &TestServer, more: &str) -> RunningHub {
    TestHub::new().config(&config(server, more)).start().await
}

/// Publishes messages, which the stream confirms.
async fn publish(server: &TestServer, messages: &[(Option<&str>, &str)]) {
    let streams = streams(server).await;
    for (id, body) in messages {
        let mut headers = HeaderMap::new();
        headers.insert("Region", "eu");
        if let Some(id) = id {
            headers.insert("Nats-Msg-Id", *id);
        }
        let sent = streams.publish_with_headers(
            "events.order.created",
            headers,
            (*body).to_owned().into(),
        );
        sent.await.unwrap().await.unwrap();
    }
}

async fn make(server: &TestServer) {
    let made = streams(server).await.create_stream(stream(Default::default())).await.unwrap();
    drop(made);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_of_a_stream_becomes_one_event() {
    let Some(server) = TestServer::start("nats-server", command).await else { return };
    make(&server).await;
    let hub = hub(&server, "").await;
    let server = tokio::sync::Mutex::new(server);
    let publish = async |step: usize| {
        let server = server.lock().await;
        let ids: Vec<_> = (step * STEP..(step + 1) * STEP).map(|n| format!("order-{n}")).collect();
        let messages: Vec<_> = ids.iter().map(|id| (Some(id.as_str()), "{\"a\":1}")).collect();
        publish(&server, &messages).await;
        ids
    };
    let restart = async || {
        let mut server = server.lock().await;
        server.stop().await;
        server.start_again().await;
    };
    let (hub, published) = run(hub, publish, restart).await;
    judge(&hub, "nats", &published).await;
    let server = server.into_inner();
    let events = streams(&server).await.get_stream("events").await.unwrap();
    until("every message to be acknowledged", async || {
        let mut consumer = events.get_consumer::<Config>("weir").await.unwrap();
        let info = consumer.info().await.unwrap();
        let left = info.num_ack_pending as u64 + info.num_pending;
        if left == 0 { Ok(()) } else { Err(left.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_is_the_id_of_a_message_that_has_none() {
    let Some(server) = TestServer::start("nats-server", command).await else { return };
    make(&server).await;
    let schema = "{\"type\":\"object\",\"required\":[\"total\"]}";
    let more = "type = [\"header:nats-subject\"]\n[sources.orders.schemas]\n\"*\" = \"order.json\"";
    let text = config(&server, more);
    let hub = TestHub::new().file("order.json", schema).config(&text).start().await;
    let messages = [(None, "{\"total\":1}"), (None, "{\"sum\":1}"), (Some("own"), "{\"total\":1}")];
    publish(&server, &messages).await;
    until_stored(&hub, 3).await;
    let of = |found: &[serde_json::Value]| -> Vec<String> {
        found
            .iter()
            .map(|event| {
                let text = |key: &str| event[key].as_str().unwrap();
                format!("{} {}", text("delivery_id"), text("type"))
            })
            .collect()
    };
    let found = of(&events(&hub).await);
    let wanted =
        ["events:1 events.order.created", "events:2 message.refused", "own events.order.created"];
    assert_eq!(found, wanted);
    // A stream that is made again counts from one again, and these are other messages.
    streams(&server).await.delete_stream("events").await.unwrap();
    assert!(!reason(&hub).await.is_empty());
    make(&server).await;
    publish(&server, &[(None, "{\"total\":2}")]).await;
    until_stored(&hub, 4).await;
    assert_eq!(of(&events(&hub).await)[3], "events:1 events.order.created");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_or_consumer_that_is_wrong_is_named() {
    let Some(server) = TestServer::start("nats-server", command).await else { return };
    let text = config(&server, "");
    let (ok, said) = checked(&text);
    assert!(!ok && said.contains("no stream events"), "{said}");
    let hub = hub(&server, "").await;
    assert!(reason(&hub).await.contains("make one"));
    make(&server).await;
    until_connection(&hub, "connected").await;
    assert!(checked(&text).0);
    drop(hub);
    let events = streams(&server).await.get_stream("events").await.unwrap();
    let none = Config {
        durable_name: Some("careless".into()),
        ack_policy: AckPolicy::None,
        ..Default::default()
    };
    events.create_consumer(none).await.unwrap();
    let hub = self::hub(&server, "consumer = \"careless\"").await;
    assert!(reason(&hub).await.contains("name another one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_wrong_are_told() {
    let Some(server) = TestServer::start("nats-server", |folder, port| {
        let mut with_token = command(folder, port);
        with_token.args(["--auth", "hunter2"]);
        with_token
    })
    .await
    else {
        return;
    };
    let hub = hub(&server, "").await;
    assert!(reason(&hub).await.contains("set user and password, or token"));
    drop(hub);
    let text = config(&server, "token = { file = \"token\" }");
    let hub = TestHub::new().file("token", "hunter2").config(&text).start().await;
    assert!(reason(&hub).await.contains("no stream events"));
}
