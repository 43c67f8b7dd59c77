//! `kind = "rabbitmq"`: a queue of a real server.

use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::wait::until;

use super::{
    STEP, checked, events, ids, judge, reason, run, until_connection, until_stored, whole,
};
use crate::rabbitmq::{channel, declare, start};
use crate::servers::TestServer;

fn config(server: &TestServer, more: &str) -> String {
    format!(
        "[sources.orders]\nkind = \"rabbitmq\"\nurl = \"amqp://{}\"\nallow = [\"@private\"]\n\
         timeout = \"5s\"\nqueue = \"orders\"\n{more}\n",
        server.address(),
    )
}

async fn hub(server: &TestServer, more: &str) -> RunningHub {
    TestHub::new().config(&config(server, more)).start().await
}

/// Publishes persistent messages, which the server confirms. The id of one is in its properties, if
/// it has one.
async fn publish(server: &TestServer, messages: &[(Option<&str>, &str)]) {
    let (_connection, channel) = channel(server).await;
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let mut sent = Vec::with_capacity(messages.len());
    for (id, body) in messages {
        let mut headers = FieldTable::default();
        headers.insert("Region".into(), AMQPValue::LongString("eu".into()));
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_type("order.created".into())
            .with_headers(headers);
        let properties = match id {
            Some(id) => properties.with_message_id((*id).into()),
            None => properties,
        };
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let publishing =
            channel.basic_publish("".into(), "orders".into(), options, body.as_bytes(), properties);
        sent.push(publishing.await.unwrap());
    }
    for confirmation in sent {
        assert!(confirmation.await.unwrap().is_ack());
    }
}

/// The messages in the queue, once no consumer has any.
async fn left(server: &TestServer) -> u32 {
    let (_connection, channel) = channel(server).await;
    let options =
        lapin::options::QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
    let queue = channel.queue_declare("orders".into(), options, FieldTable::default()).await;
    queue.unwrap().message_count()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_of_a_queue_becomes_one_event() {
    let Some(server) = start().await else { return };
    declare(&server, "orders", &[]).await;
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
    let stored = judge(&hub, "rabbitmq", &published).await;
    assert_eq!(stored, published, "the order of the queue");
    drop(hub);
    let server = server.into_inner();
    until("the queue to be empty", async || match left(&server).await {
        0 => Ok(()),
        left => Err(left.to_string()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_and_headers_belong_to_an_event() {
    let Some(server) = start().await else { return };
    declare(&server, "orders", &[]).await;
    let schema = "{\"type\":\"object\",\"required\":[\"total\"]}";
    let more = "type = [\"header:message-type\"]\n[sources.orders.schemas]\n\"*\" = \"order.json\"";
    let text = config(&server, more);
    let hub = TestHub::new().file("order.json", schema).config(&text).start().await;
    // The same id twice is one message; without an id, each is one; one breaks the schema.
    let messages = [
        (Some("one"), "{\"total\":1}"),
        (Some("one"), "{\"total\":1}"),
        (None, "{\"total\":2}"),
        (None, "{\"total\":2}"),
        (Some("wrong"), "{\"sum\":3}"),
    ];
    publish(&server, &messages).await;
    until_stored(&hub, 4).await;
    let found = events(&hub).await;
    let types: Vec<_> = found.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let created = "order.created";
    assert_eq!(types, [created, created, created, "message.refused"], "{found:?}");
    assert_eq!(
        (&found[0]["delivery_id"], &found[3]["delivery_id"]),
        (&"one".into(), &"wrong".into())
    );
    let payload = whole(&hub, &found[0]).await;
    assert!(payload.contains("region") && payload.contains("routing-key"), "{payload}");
    assert_eq!(hub.metric("weir_events_duplicate_total").await, 1.0);
    drop(hub);
    assert_eq!(left(&server).await, 0, "also the one that was refused is acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_missing_or_goes_is_named() {
    let Some(server) = start().await else { return };
    let text = config(&server, "");
    let (ok, said) = checked(&text);
    assert!(!ok && said.contains("declare the queue"), "{said}");
    let hub = hub(&server, "").await;
    let said = reason(&hub).await;
    assert!(said.contains("404") && said.contains("declare the queue"), "{said}");
    declare(&server, "orders", &[]).await;
    until_connection(&hub, "connected").await;
    assert!(checked(&text).0);
    publish(&server, &[(Some("a"), "1")]).await;
    until_stored(&hub, 1).await;
    let (_connection, channel) = channel(&server).await;
    channel.queue_delete("orders".into(), QueueDeleteOptions::default()).await.unwrap();
    assert!(reason(&hub).await.contains("queue"));
    declare(&server, "orders", &[]).await;
    publish(&server, &[(Some("b"), "2")]).await;
    until_stored(&hub, 2).await;
    assert_eq!(ids(&hub).await, ["a", "b"]);

    let user = config(&server, "user = \"other\"\npassword = { env = \"PATH\" }");
    let (ok, said) = checked(&user);
    assert!(!ok && said.contains("set user and password"), "{said}");
    assert!(!said.contains(&std::env::var("PATH").unwrap()), "{said}");
}
