//! The plain clients: the libraries that the hub uses too, with nothing around them.

use std::io::Write as _;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};

use crate::started::Started;
use crate::{Amounts, FACTS, body};

/// Sends all messages, and returns the time from the first to the last confirmation.
pub(crate) async fn send(kind: &str, to: &Started, amounts: Amounts) -> Duration {
    match kind {
        "redis" => redis(&to.address(), amounts).await,
        "nats" => nats(&to.address(), amounts).await,
        "rabbitmq" => rabbitmq(&to.address(), amounts).await,
        "postgres" => insert(&to.address(), amounts).await,
        "mqtt" => mqtt(to.server.as_ref().unwrap().port, amounts).await,
        _ => file(to, amounts),
    }
}

/// Runs `one` for each message, with as many at a time as there may be.
async fn each(amounts: Amounts, one: impl AsyncFn(usize)) -> Duration {
    let watch = Instant::now();
    let all = stream::iter(0..amounts.messages);
    all.for_each_concurrent(amounts.concurrency, |n| one(n)).await;
    watch.elapsed()
}

async fn redis(at: &str, amounts: Amounts) -> Duration {
    let client = redis::Client::open(format!("redis://{at}/0")).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    each(amounts, async |n| {
        let mut command = redis::cmd("XADD");
        command.arg("events").arg("*");
        for (name, value) in FACTS {
            command.arg(name).arg(value);
        }
        command.arg("body").arg(&body(n)[..]);
        command.query_async::<redis::Value>(&mut connection.clone()).await.unwrap();
    })
    .await
}

async fn nats(at: &str, amounts: Amounts) -> Duration {
    let client = async_nats::connect(format!("nats://{at}")).await.unwrap();
    let streams = async_nats::jetstream::new(client);
    each(amounts, async |n| {
        let mut headers = async_nats::HeaderMap::new();
        for (name, value) in FACTS {
            headers.insert(name, value);
        }
        let sent = streams.publish_with_headers("events", headers, body(n)).await.unwrap();
        sent.await.unwrap();
    })
    .await
}

async fn rabbitmq(at: &str, amounts: Amounts) -> Duration {
    let url = format!("amqp://{at}/%2f");
    let connection = lapin::Connection::connect(&url, lapin::ConnectionProperties::default());
    let channel = connection.await.unwrap().create_channel().await.unwrap();
    channel.confirm_select(Default::default()).await.unwrap();
    each(amounts, async |n| {
        let mut headers = lapin::types::FieldTable::default();
        for (name, value) in FACTS {
            headers.insert(name.into(), lapin::types::AMQPValue::LongString(value.into()));
        }
        let properties =
            lapin::BasicProperties::default().with_delivery_mode(2).with_headers(headers);
        let options = lapin::options::BasicPublishOptions { mandatory: true, ..Default::default() };
        let body = body(n);
        let sent = channel.basic_publish("".into(), "events".into(), options, &body, properties);
        sent.await.unwrap().await.unwrap();
    })
    .await
}

/// A client of the server at this address.
pub(crate) async fn postgres(at: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let url = format!("postgres://postgres@{at}/postgres");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn insert(at: &str, amounts: Amounts) -> Duration {
    let client = postgres(at).await.unwrap();
    // Text that the server makes JSON of, as the hub sends it.
    let statement = "INSERT INTO events VALUES ($1, $2::text::jsonb, $3::text::jsonb)";
    let statement = client.prepare(statement).await.unwrap();
    let facts: serde_json::Map<_, _> =
        FACTS.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let facts = serde_json::Value::Object(facts).to_string();
    each(amounts, async |n| {
        let body = String::from_utf8(body(n).to_vec()).unwrap();
        client.execute(&statement, &[&FACTS[0].1, &facts, &body]).await.unwrap();
    })
    .await
}

async fn mqtt(port: u16, amounts: Amounts) -> Duration {
    let mut options = MqttOptions::new("plain", "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(60));
    options.set_outgoing_inflight_upper_limit(u16::try_from(amounts.concurrency).unwrap());
    let (client, mut events) = AsyncClient::new(options, amounts.concurrency);
    let facts = FACTS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let watch = Instant::now();
    let sending = tokio::spawn(async move {
        let properties = rumqttc::v5::mqttbytes::v5::PublishProperties {
            user_properties: facts,
            ..Default::default()
        };
        for n in 0..amounts.messages {
            let (topic, body, properties) = ("events", body(n), properties.clone());
            let sent =
                client.publish_with_properties(topic, QoS::AtLeastOnce, false, body, properties);
            sent.await.unwrap();
        }
        client
    });
    let mut confirmed = 0;
    while confirmed < amounts.messages {
        if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.unwrap() {
            confirmed += 1;
        }
    }
    drop(sending.await.unwrap());
    watch.elapsed()
}

/// Appends lines, and syncs as often as the hub has to: once for all that may be on their way.
fn file(to: &Started, amounts: Amounts) -> Duration {
    let path = to.folder.path().join("of-the-client.jsonl");
    let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
    let watch = Instant::now();
    for first in (0..amounts.messages).step_by(amounts.concurrency) {
        let mut lines = Vec::new();
        for n in first..amounts.messages.min(first + amounts.concurrency) {
            let facts: serde_json::Map<_, _> =
                FACTS.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            lines.extend(serde_json::Value::Object(facts).to_string().into_bytes());
            lines.extend_from_slice(&body(n));
            lines.push(b'\n');
        }
        file.write_all(&lines).unwrap();
        file.sync_data().unwrap();
    }
    watch.elapsed()
}
