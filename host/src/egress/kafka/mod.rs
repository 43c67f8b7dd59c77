//! The `kafka` kind of destination: appends messages to the partitions of a topic.
//!
//! `wire` has the fields of the protocol, `requests` the five requests that are needed, `records`
//! the form of messages, `partition` chooses one, `login` is SASL with `scram`, `connection` is one
//! connection, `cluster` knows which server leads which partition, `produce` sends a batch, and
//! `answers` says what an error code means.
//!
//! The protocol is written here, in versions that servers since 1.0 have. The clients that exist
//! connect by themselves, past the guard, and the packets that exist apart from a client allocate
//! what a server says, so that one that answers garbage would end the hub.

mod answers;
mod cluster;
mod connection;
mod login;
mod partition;
mod produce;
mod records;
mod requests;
mod scram;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use weir_core::hops::HopKey;
use weir_core::time::Timestamp;

use super::batches::Batches;
use super::facts;
use super::outgoing::Outgoing;
use super::transport::{SendOutcome, Transport};
use crate::config::{DestinationKind, KafkaSettings};
use crate::tls::roots::RootsError;
use cluster::Cluster;
use produce::TopicRecord;
use records::Record;

/// The most messages of one request.
const BATCH_MAX: usize = 500;
/// Bytes of a request that has several messages: less than `message.max.bytes` of a server that was
/// not told otherwise, which is for all messages of a partition together.
const BATCH_BYTES_MAX: usize = 900_000;
/// Characters that a name of a topic cannot have, of those that an event type can.
const NOT_IN_TOPICS: [char; 29] = [
    ' ', '!', '"', '#', '$', '%', '&', '\'', '(', ')', '*', '+', ',', '/', ':', ';', '<', '=', '>',
    '?', '@', '[', '\\', ']', '^', '`', '{', '|', '}',
];

/// Appends the messages of one destination.
#[derive(Debug)]
pub(super) struct KafkaTransport {
    cluster: Cluster,
    settings: KafkaSettings,
    batches: Batches<TopicRecord>,
    hops: Arc<HopKey>,
}

impl KafkaTransport {
    pub(super) fn new(settings: &KafkaSettings, hops: Arc<HopKey>) -> Result<Self, RootsError> {
        let cluster = Cluster::new(settings)?;
        Ok(Self { cluster, settings: settings.clone(), batches: Batches::default(), hops })
    }

    fn record(&self, out: &Outgoing, at: Timestamp) -> TopicRecord {
        let (source, kind) = (out.source.as_str(), out.event_type.as_str());
        TopicRecord {
            topic: self.settings.topic.of(source, kind, &NOT_IN_TOPICS),
            // The same partition each time that the message is sent.
            spread_by: out.id.to_string(),
            record: Record {
                key: out.order_key.as_deref().map(str::to_owned),
                value: out.body.clone(),
                headers: facts::facts(out, &self.hops),
                at,
            },
        }
    }
}

#[async_trait]
impl Transport for KafkaTransport {
    fn kind(&self) -> DestinationKind {
        DestinationKind::Kafka
    }

    async fn send(&self, out: &Outgoing, at: Timestamp) -> SendOutcome {
        let fits = |batch: &[TopicRecord], next: &TopicRecord| {
            let bytes: usize = batch.iter().map(|one| one.record.bytes()).sum();
            batch.len() < BATCH_MAX && bytes + next.record.bytes() <= BATCH_BYTES_MAX
        };
        let carry =
            |records: Vec<TopicRecord>| async move { produce::each(&self.cluster, &records).await };
        self.batches.send(self.record(out, at), fits, carry).await
    }

    async fn check(&self, _: Timestamp) -> Result<(), Box<str>> {
        let topic = &self.settings.topic;
        let topics = if topic.is_fixed() { vec![topic.text()] } else { Vec::new() };
        match self.cluster.look_up(&topics).await {
            Ok(layout) => match topics.iter().find_map(|topic| layout.problem(topic)) {
                Some(code) => answers::outcome(code, &self.cluster).for_check(),
                None => Ok(()),
            },
            Err(outcome) => outcome.for_check(),
        }
    }
}
