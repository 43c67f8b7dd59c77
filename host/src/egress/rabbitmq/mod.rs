//! The `rabbitmq` kind of destination: publishes persistent messages with the mandatory flag, and
//! waits until the server confirms each.
//!
//! The client gets a stream that the guard has checked, and a `runtime` that cannot connect by
//! itself. `answers` says what a failure means. Both also serve the sources of this kind.

pub(crate) mod answers;
pub(crate) mod runtime;

use std::sync::Arc;

use async_trait::async_trait;
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use tokio::time::timeout;
use weir_core::hops::HopKey;
use weir_core::time::Timestamp;

use super::facts;
use super::outgoing::Outgoing;
use super::server::{Kept, ServerLink};
use super::transport::{SendOutcome, Transport};
use crate::config::{DestinationKind, RabbitSettings};
use crate::tls::roots::RootsError;

/// The delivery mode of messages that a durable queue keeps on its disk.
const PERSISTENT: u8 = 2;
/// Bytes of a short text of the protocol.
const SHORT_BYTES_MAX: usize = 255;

/// Publishes the messages of one destination.
#[derive(Debug)]
pub(super) struct RabbitTransport {
    link: ServerLink,
    settings: RabbitSettings,
    hops: Arc<HopKey>,
    kept: Kept<OpenRabbit>,
}

/// An open connection with one channel, on which the server confirms messages.
struct OpenRabbit {
    connection: Connection,
    channel: Channel,
}

impl std::fmt::Debug for OpenRabbit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenRabbit")
    }
}

impl RabbitTransport {
    pub(super) fn new(settings: &RabbitSettings, hops: Arc<HopKey>) -> Result<Self, RootsError> {
        let link = ServerLink::new(&settings.server)?;
        Ok(Self { link, settings: settings.clone(), hops, kept: Kept::default() })
    }

    async fn connect(&self) -> Result<OpenRabbit, SendOutcome> {
        let stream = self.link.connect().await.map_err(|error| self.link.unreached(&error))?;
        let RabbitSettings { server, vhost, .. } = &self.settings;
        let opening = async {
            let properties = ConnectionProperties::default().with_connection_name("weir".into());
            let connection = runtime::open(server, vhost, stream, properties).await?;
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok::<_, lapin::Error>(OpenRabbit { connection, channel })
        };
        match timeout(self.settings.server.timeout, opening).await {
            Err(_) => Err(self.link.silent()),
            Ok(Err(error)) => Err(answers::not_opened(&error, &self.link, &self.settings)),
            Ok(Ok(open)) => Ok(open),
        }
    }

    fn properties(&self, out: &Outgoing) -> BasicProperties {
        let short = |text: &str| text[..text.floor_char_boundary(SHORT_BYTES_MAX)].to_owned();
        let mut headers = FieldTable::default();
        for (name, value) in facts::facts(out, &self.hops) {
            headers.insert(short(&name).into(), AMQPValue::LongString(value.into()));
        }
        BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id(out.id.to_string().into())
            .with_type(short(out.event_type.as_str()).into())
            .with_content_type(short(&out.content_type).into())
            .with_app_id("weir".into())
            .with_headers(headers)
    }

    async fn publish(&self, open: &OpenRabbit, out: &Outgoing) -> Result<SendOutcome, SendOutcome> {
        let key = self.settings.routing_key.of(out.source.as_str(), out.event_type.as_str(), &[]);
        let key = key[..key.floor_char_boundary(SHORT_BYTES_MAX)].to_owned();
        // Returned if no queue takes it, which the server would otherwise confirm.
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let publishing = async {
            let exchange = self.settings.exchange.as_str().into();
            let key = key.as_str().into();
            let sent = open
                .channel
                .basic_publish(exchange, key, options, &out.body, self.properties(out))
                .await?;
            sent.await
        };
        match timeout(self.settings.server.timeout, publishing).await {
            Ok(Ok(confirmation)) => {
                Ok(answers::outcome(confirmation, &self.link, &self.settings, &key))
            }
            Ok(Err(error)) => answers::failed(&error, &self.link, &self.settings, out.body.len()),
            Err(_) if open.connection.status().blocked() => Err(self.link.unavailable(
                "it takes no messages: its memory or disk alarm is on (rabbitmqctl status)",
            )),
            Err(_) => Err(self.link.silent()),
        }
    }
}

#[async_trait]
impl Transport for RabbitTransport {
    fn kind(&self) -> DestinationKind {
        DestinationKind::RabbitMq
    }

    async fn send(&self, out: &Outgoing, _: Timestamp) -> SendOutcome {
        let works = |open: &OpenRabbit| {
            open.connection.status().connected() && open.channel.status().connected()
        };
        let send = |open: Arc<_>| async move { self.publish(&open, out).await };
        self.kept.send(works, self.connect(), send).await
    }

    /// Asks for the exchange, or for the queue, without making it.
    async fn check(&self, _: Timestamp) -> Result<(), Box<str>> {
        let open = match self.connect().await {
            Ok(open) => open,
            Err(outcome) => return outcome.for_check(),
        };
        let RabbitSettings { exchange, routing_key, server, .. } = &self.settings;
        let asking = async {
            if !exchange.is_empty() {
                let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
                let name = exchange.as_str().into();
                let (kind, none) = (ExchangeKind::Direct, FieldTable::default());
                open.channel.exchange_declare(name, kind, options, none).await
            } else if routing_key.is_fixed() {
                let options = QueueDeclareOptions { passive: true, ..Default::default() };
                let name = routing_key.text();
                let asked = open.channel.queue_declare(name.into(), options, FieldTable::default());
                asked.await.map(|_| ())
            } else {
                Ok(())
            }
        };
        match timeout(server.timeout, asking).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => answers::not_opened(&error, &self.link, &self.settings).for_check(),
            Err(_) => self.link.silent().for_check(),
        }
    }
}
