//! The `rabbitmq` kind of source: consumes a queue, and acknowledges by hand.
//!
//! The server has at most `prefetch` messages on their way. Those that were not acknowledged go
//! back to their queue when the connection ends.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _};
use http::HeaderMap;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, Consumer};
use tokio::time::timeout;

use super::message::{add_header, set_content_type};
use super::session::{MessageServer, PullSession, Reason, reason};
use crate::config::RabbitPull;
use crate::egress::rabbitmq::answers::{self, Advice};
use crate::egress::rabbitmq::runtime;
use crate::egress::server::ServerLink;
use crate::ingress::{MessageId, PulledMessage};
use crate::tls::roots::RootsError;

/// Longest wait for a message, after which the connection is looked at again.
const WAIT: Duration = Duration::from_secs(2);
const ADVICE: Advice = Advice {
    absent: "declare the queue, or name another one",
    denied: "give its user the right to read there (rabbitmqctl set_permissions)",
};

/// A queue of one server.
#[derive(Debug)]
pub(super) struct RabbitServer {
    link: ServerLink,
    settings: RabbitPull,
    prefetch: usize,
}

/// A consumer of the queue.
struct RabbitSession {
    link: ServerLink,
    /// Ends with the session.
    _connection: Connection,
    channel: Channel,
    consumer: Consumer,
    prefetch: usize,
    /// The place of the queue, as a part of ids.
    place: String,
    is_new: bool,
    /// The tags of the last batch.
    batch: Vec<u64>,
}

impl RabbitServer {
    pub(super) fn new(settings: &RabbitPull, prefetch: usize) -> Result<Self, RootsError> {
        let link = ServerLink::new(&settings.server)?;
        Ok(Self { link, settings: settings.clone(), prefetch })
    }

    /// Connects, and finds the queue, which is not made.
    async fn connect(&self) -> Result<(Connection, Channel), Reason> {
        let stream =
            self.link.connect().await.map_err(|error| reason(self.link.unreached(&error)))?;
        let RabbitPull { server, vhost, queue } = &self.settings;
        let opening = async {
            let properties = ConnectionProperties::default().with_connection_name("weir".into());
            let connection = runtime::open(server, vhost, stream, properties).await?;
            let channel = connection.create_channel().await?;
            let options = QueueDeclareOptions { passive: true, ..Default::default() };
            channel.queue_declare(queue.as_str().into(), options, FieldTable::default()).await?;
            Ok::<_, lapin::Error>((connection, channel))
        };
        match timeout(server.timeout, opening).await {
            Err(_) => Err(reason(self.link.silent())),
            Ok(Err(error)) => Err(refused(&error, &self.link)),
            Ok(Ok(open)) => Ok(open),
        }
    }
}

#[async_trait]
impl MessageServer for RabbitServer {
    async fn open(&self) -> Result<Box<dyn PullSession>, Reason> {
        let (connection, channel) = self.connect().await?;
        let RabbitPull { server, vhost, queue } = &self.settings;
        let prefetch = u16::try_from(self.prefetch).unwrap_or(u16::MAX);
        let consuming = async {
            channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
            let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
            channel.basic_consume(queue.as_str().into(), "".into(), options, none).await
        };
        match timeout(server.timeout, consuming).await {
            Err(_) => Err(reason(self.link.silent())),
            Ok(Err(error)) => Err(refused(&error, &self.link)),
            Ok(Ok(consumer)) => Ok(Box::new(RabbitSession {
                link: self.link.clone(),
                _connection: connection,
                channel,
                consumer,
                prefetch: self.prefetch,
                place: format!("rabbitmq\0{vhost}\0{queue}"),
                is_new: true,
                batch: Vec::new(),
            })),
        }
    }

    async fn check(&self) -> Result<(), Reason> {
        self.connect().await.map(|_| ())
    }
}

#[async_trait]
impl PullSession for RabbitSession {
    async fn next(&mut self) -> Result<Vec<PulledMessage>, Reason> {
        if std::mem::take(&mut self.is_new) {
            return Ok(Vec::new());
        }
        let Ok(first) = timeout(WAIT, self.consumer.next()).await else { return Ok(Vec::new()) };
        let mut deliveries = vec![self.delivered(first)?];
        while deliveries.len() < self.prefetch
            && let Some(next) = self.consumer.next().now_or_never()
        {
            deliveries.push(self.delivered(next)?);
        }
        self.batch = deliveries.iter().map(|delivery| delivery.delivery_tag).collect();
        Ok(deliveries.into_iter().map(|delivery| message(delivery, &self.place)).collect())
    }

    async fn settle(&mut self, taken: &[bool]) -> Result<(), Reason> {
        let batch = std::mem::take(&mut self.batch);
        let settling = async {
            if let (true, Some(last)) = (taken.iter().all(|taken| *taken), batch.last()) {
                // All messages up to this one.
                let options = BasicAckOptions { multiple: true };
                return self.channel.basic_ack(*last, options).await;
            }
            for (tag, taken) in batch.iter().zip(taken) {
                if *taken {
                    self.channel.basic_ack(*tag, BasicAckOptions::default()).await?;
                } else {
                    let options = BasicNackOptions { requeue: true, multiple: false };
                    self.channel.basic_nack(*tag, options).await?;
                }
            }
            Ok(())
        };
        match timeout(self.link.server().timeout, settling).await {
            Ok(settled) => settled.map_err(|error| refused(&error, &self.link)),
            Err(_) => Err(reason(self.link.silent())),
        }
    }
}

impl RabbitSession {
    fn delivered(&self, next: Option<lapin::Result<Delivery>>) -> Result<Delivery, Reason> {
        match next {
            Some(Ok(delivery)) => Ok(delivery),
            Some(Err(error)) => Err(refused(&error, &self.link)),
            None => Err(reason(self.link.unavailable(
                "it gives no more messages of the queue: it was deleted, or the connection broke",
            ))),
        }
    }
}

fn refused(error: &lapin::Error, link: &ServerLink) -> Reason {
    reason(answers::unavailable(error, link, ADVICE))
}

/// The message of a delivery. Its properties that are facts of the message are headers too.
fn message(delivery: Delivery, place: &str) -> PulledMessage {
    let Delivery { properties, routing_key, data, .. } = delivery;
    let mut headers = HeaderMap::new();
    for (name, value) in properties.headers().iter().flat_map(|table| table.inner()) {
        if let Some(value) = shown(value) {
            add_header(&mut headers, name.as_str().as_bytes(), &value);
        }
    }
    let facts = [
        ("content-type", properties.content_type()),
        ("message-type", properties.kind()),
        ("correlation-id", properties.correlation_id()),
        ("message-id", properties.message_id()),
    ];
    let facts =
        facts.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?.as_str())));
    let named =
        [("routing-key", routing_key.as_str())].into_iter().filter(|(_, key)| !key.is_empty());
    for (name, value) in facts.chain(named) {
        if !headers.contains_key(name) {
            add_header(&mut headers, name.as_bytes(), value.as_bytes());
        }
    }
    let body = data.into();
    set_content_type(&mut headers, &body);
    let id = properties
        .message_id()
        .as_ref()
        .map(|id| MessageId::new(id.as_str(), format!("{place}\0{}", id.as_str())));
    PulledMessage { id, headers, body }
}

/// A value of the header table as text; none for lists and tables.
fn shown(value: &AMQPValue) -> Option<Vec<u8>> {
    Some(match value {
        AMQPValue::LongString(text) => text.as_bytes().to_vec(),
        AMQPValue::ShortString(text) => text.as_str().as_bytes().to_vec(),
        AMQPValue::ByteArray(bytes) => bytes.as_slice().to_vec(),
        AMQPValue::Boolean(is) => is.to_string().into_bytes(),
        AMQPValue::ShortShortInt(number) => number.to_string().into_bytes(),
        AMQPValue::ShortShortUInt(number) => number.to_string().into_bytes(),
        AMQPValue::ShortInt(number) => number.to_string().into_bytes(),
        AMQPValue::ShortUInt(number) => number.to_string().into_bytes(),
        AMQPValue::LongInt(number) => number.to_string().into_bytes(),
        AMQPValue::LongUInt(number) => number.to_string().into_bytes(),
        AMQPValue::LongLongInt(number) => number.to_string().into_bytes(),
        AMQPValue::Timestamp(number) => number.to_string().into_bytes(),
        AMQPValue::Float(number) => number.to_string().into_bytes(),
        AMQPValue::Double(number) => number.to_string().into_bytes(),
        AMQPValue::DecimalValue(_)
        | AMQPValue::FieldArray(_)
        | AMQPValue::FieldTable(_)
        | AMQPValue::Void => return None,
    })
}
