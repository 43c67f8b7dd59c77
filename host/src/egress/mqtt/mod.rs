//! The `mqtt` kind of destination: publishes messages with QoS 1 by MQTT 5, and waits for the
//! PubAck of each. `connection` drives the stream, which the guard has checked.

mod connection;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{PubAckReason, Publish, PublishProperties};
use tokio::time::timeout;
use weir_core::hops::HopKey;
use weir_core::time::Timestamp;

use super::facts;
use super::outgoing::Outgoing;
use super::server::{ConnectionTasks, Kept, ServerLink};
use super::transport::{SendOutcome, Subject, Transport};
use crate::config::{DestinationKind, MqttSettings};
use crate::tls::roots::RootsError;
use connection::{OpenMqtt, PublishError};

/// Characters that mean something in a topic.
const NOT_IN_LEVELS: [char; 3] = ['#', '+', '\0'];

/// Publishes the messages of one destination.
#[derive(Debug)]
pub(super) struct MqttTransport {
    link: ServerLink,
    settings: MqttSettings,
    hops: Arc<HopKey>,
    tasks: ConnectionTasks,
    kept: Kept<OpenMqtt>,
}

impl MqttTransport {
    pub(super) fn new(
        settings: &MqttSettings,
        hops: Arc<HopKey>,
        tasks: ConnectionTasks,
    ) -> Result<Self, RootsError> {
        let link = ServerLink::new(&settings.server)?;
        Ok(Self { link, settings: settings.clone(), hops, tasks, kept: Kept::default() })
    }

    async fn connect(&self) -> Result<OpenMqtt, SendOutcome> {
        let stream = self.link.connect().await.map_err(|error| self.link.unreached(&error))?;
        let opening = connection::open(&self.settings, stream, &self.tasks);
        match timeout(self.settings.server.timeout, opening).await {
            Err(_) => Err(self.link.silent()),
            Ok(opened) => opened.map_err(|refused| self.link.unavailable(refused)),
        }
    }

    fn message(&self, out: &Outgoing) -> Publish {
        let topic =
            self.settings.topic.of(out.source.as_str(), out.event_type.as_str(), &NOT_IN_LEVELS);
        let properties = PublishProperties {
            user_properties: facts::facts(out, &self.hops),
            content_type: Some(out.content_type.clone()).filter(|kind| !kind.is_empty()),
            ..PublishProperties::default()
        };
        let body: Bytes = out.body.clone();
        let mut message = Publish::new(topic, QoS::AtLeastOnce, body, Some(properties));
        message.retain = self.settings.retain;
        message
    }

    async fn publish(&self, open: &OpenMqtt, out: &Outgoing) -> Result<SendOutcome, SendOutcome> {
        let refused = |about, what: &str| {
            let reason = format!("{}: {what}", self.link.server().address()).into();
            Ok(SendOutcome::Refused { about, reason })
        };
        let publishing = open.publish(self.message(out));
        match timeout(self.settings.server.timeout, publishing).await {
            Err(_) => Err(self.link.silent()),
            Ok(Err(PublishError::TooLarge { bytes, most })) => refused(
                Subject::Message,
                &format!("the message has {bytes} bytes, and it takes {most} at most"),
            ),
            Ok(Err(PublishError::Broken(what))) => Err(self.link.unavailable(what)),
            Ok(Ok(reason)) => match reason {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {
                    Ok(SendOutcome::Accepted { receipt: None })
                }
                PubAckReason::NotAuthorized if self.settings.topic.is_fixed() => {
                    Ok(self.link.unavailable("permit its user to write to the topic"))
                }
                PubAckReason::NotAuthorized => {
                    refused(Subject::Failure, "permit its user to write to the topic")
                }
                PubAckReason::QuotaExceeded => {
                    Ok(self.link.unavailable("its quota is used up: it takes no more messages"))
                }
                PubAckReason::TopicNameInvalid | PubAckReason::PayloadFormatInvalid => {
                    refused(Subject::Message, &format!("it refuses the message: {reason:?}"))
                }
                _ => refused(Subject::Failure, &format!("it could not store it: {reason:?}")),
            },
        }
    }
}

#[async_trait]
impl Transport for MqttTransport {
    fn kind(&self) -> DestinationKind {
        DestinationKind::Mqtt
    }

    async fn send(&self, out: &Outgoing, _: Timestamp) -> SendOutcome {
        let send = |open: Arc<_>| async move { self.publish(&open, out).await };
        self.kept.send(OpenMqtt::works, self.connect(), send).await
    }

    async fn check(&self, _: Timestamp) -> Result<(), Box<str>> {
        match self.connect().await {
            Ok(_) => Ok(()),
            Err(outcome) => outcome.for_check(),
        }
    }
}
