//! The `sqs` and `sns` kinds of destination: batches of messages for a queue or a topic of AWS, of
//! which each is settled by itself.
//!
//! `queue` takes messages of a queue, for sources.
//! `entry` makes text and attributes of a message, `sqs` and `sns` have the requests and answers of
//! the two, `signature` signs, `client` sends, and `answers` says what a refusal means.

mod answers;
mod client;
mod entry;
mod queue;
mod signature;
mod sns;
mod sqs;
mod xml;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;
use weir_core::bounds::MIB;
use weir_core::hops::HopKey;
use weir_core::name::DestinationName;
use weir_core::time::Timestamp;

use super::batches::{Batches, each_by_itself};
use super::outgoing::Outgoing;
use super::transport::{SendOutcome, Subject, Transport};
use crate::config::{DestinationKind, SnsSettings, SqsSettings};
use crate::tls::roots::RootsError;
use answers::{EntryResult, ServiceWords};
use client::{AwsClient, Call};
use entry::BatchEntry;
pub(crate) use queue::{QueueReader, ReceivedMessage};

/// The most messages of one request, as the documents of SendMessageBatch and PublishBatch say.
const BATCH_MAX: usize = 10;
/// Largest message with its attributes, by the same documents. A queue or topic may take less.
const MESSAGE_BYTES_MAX: usize = MIB;
/// Bytes of all messages of one request to a queue, by the document of SendMessageBatch.
const QUEUE_BATCH_BYTES_MAX: usize = MIB;
/// Bytes of all messages of one request to a topic, by the document of PublishBatch: a topic takes
/// more only if its MaximumMessageSize says so, which is not known here.
const TOPIC_BATCH_BYTES_MAX: usize = 256 * 1024;

const QUEUE: ServiceWords = ServiceWords {
    service: "SQS",
    place: "queue",
    setting: "queue_url",
    permission: "sqs:SendMessage",
};
const TOPIC: ServiceWords = ServiceWords {
    service: "SNS",
    place: "topic",
    setting: "topic_arn",
    permission: "sns:Publish",
};

/// Sends the messages of one destination.
pub(super) struct AwsTransport {
    client: AwsClient,
    place: AwsPlace,
    batches: Batches<BatchEntry>,
    /// The group of messages that have no order.
    group: String,
    hops: Arc<HopKey>,
}

/// The place that messages go to.
#[derive(Debug)]
pub(super) enum AwsPlace {
    Queue(SqsSettings),
    Topic(SnsSettings),
}

impl AwsPlace {
    fn words(&self) -> &'static ServiceWords {
        match self {
            Self::Queue(_) => &QUEUE,
            Self::Topic(_) => &TOPIC,
        }
    }

    /// Bytes of all messages of one request.
    fn batch_bytes_max(&self) -> usize {
        match self {
            Self::Queue(_) => QUEUE_BATCH_BYTES_MAX,
            Self::Topic(_) => TOPIC_BATCH_BYTES_MAX,
        }
    }

    fn send(&self, entries: &[BatchEntry]) -> Call {
        match self {
            Self::Queue(queue) => sqs::send(queue, entries),
            Self::Topic(topic) => sns::publish(topic, entries),
        }
    }

    fn results(&self, body: &[u8]) -> Option<Vec<EntryResult>> {
        match self {
            Self::Queue(_) => sqs::results(body),
            Self::Topic(_) => sns::results(body),
        }
    }
}

impl fmt::Debug for AwsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsTransport").field("place", &self.place).finish_non_exhaustive()
    }
}

impl AwsTransport {
    /// Sets up the way to a queue or topic, for up to `concurrency` messages at a time.
    pub(super) fn new(
        place: AwsPlace,
        to: &DestinationName,
        concurrency: usize,
        hops: Arc<HopKey>,
    ) -> Result<Self, RootsError> {
        let (account, service) = match &place {
            AwsPlace::Queue(queue) => (&queue.account, "sqs"),
            AwsPlace::Topic(topic) => (&topic.account, "sns"),
        };
        let requests = concurrency.div_ceil(BATCH_MAX);
        let client = AwsClient::new(account, service, requests)?;
        let (batches, group) = (Batches::carried_by(requests), to.to_string());
        Ok(Self { client, place, batches, group, hops })
    }

    /// Sends a batch. `Ok` has an outcome for each entry, and `Err` one for the whole request.
    async fn attempt(
        &self,
        entries: &[BatchEntry],
        at: Timestamp,
    ) -> Result<Vec<SendOutcome>, SendOutcome> {
        let answer = self.client.call(self.place.send(entries), at).await?;
        let words = self.place.words();
        if !answer.status.is_success() {
            return Err(self.client.refused(&answer, words));
        }
        let results = self.place.results(&answer.body).filter(|results| !results.is_empty());
        let foreign = || answers::foreign(answer.status, words, self.client.link());
        let mut outcomes = vec![None; entries.len()];
        for EntryResult { id, refused } in results.ok_or_else(foreign)? {
            let Some(place) = id.parse::<usize>().ok().and_then(|n| outcomes.get_mut(n)) else {
                continue;
            };
            *place = Some(match refused {
                None => SendOutcome::Accepted { receipt: None },
                Some(complaint) => self.client.outcome(complaint, &answer, words),
            });
        }
        let outcomes = outcomes.into_iter();
        Ok(outcomes.map(|outcome| outcome.unwrap_or_else(|| self.not_mentioned())).collect())
    }

    fn not_mentioned(&self) -> SendOutcome {
        let address = self.client.link().server().address();
        let reason = format!("{address}: the answer does not say whether it took this message");
        SendOutcome::Refused { about: Subject::Failure, reason: reason.into() }
    }

    fn too_large(&self, entry: &BatchEntry) -> SendOutcome {
        let reason = format!(
            "{} bytes with its attributes, and {} takes {MESSAGE_BYTES_MAX} at most",
            entry.bytes,
            self.place.words().service
        );
        SendOutcome::Refused { about: Subject::Message, reason: reason.into() }
    }
}

#[async_trait]
impl Transport for AwsTransport {
    fn kind(&self) -> DestinationKind {
        match self.place {
            AwsPlace::Queue(_) => DestinationKind::Sqs,
            AwsPlace::Topic(_) => DestinationKind::Sns,
        }
    }

    async fn send(&self, out: &Outgoing, at: Timestamp) -> SendOutcome {
        let entry = BatchEntry::of(out, &self.hops, &self.group);
        if entry.bytes > MESSAGE_BYTES_MAX {
            return self.too_large(&entry);
        }
        let most = self.place.batch_bytes_max();
        let fits = |batch: &[BatchEntry], next: &BatchEntry| {
            let bytes: usize = batch.iter().map(|entry| entry.bytes).sum();
            batch.len() < BATCH_MAX && bytes + next.bytes <= most
        };
        // A request is signed with the time at which it is made, after its turn has come.
        let began = Instant::now();
        let carry = |entries: Vec<BatchEntry>| async move {
            let at = at.after(began.elapsed());
            each_by_itself(entries.len(), |some| self.attempt(&entries[some], at)).await
        };
        self.batches.send(entry, fits, carry).await
    }

    async fn check(&self, at: Timestamp) -> Result<(), Box<str>> {
        let (call, permission) = match &self.place {
            AwsPlace::Queue(queue) => (sqs::look(queue), "sqs:GetQueueAttributes, for this check,"),
            AwsPlace::Topic(topic) => (sns::look(topic), "sns:GetTopicAttributes, for this check,"),
        };
        let answer = match self.client.call(call, at).await {
            Ok(answer) => answer,
            Err(outcome) => return outcome.for_check(),
        };
        let words = ServiceWords { permission, ..*self.place.words() };
        if !answer.status.is_success() {
            return self.client.refused(&answer, &words).for_check();
        }
        let is_seen = match &self.place {
            AwsPlace::Queue(_) => sqs::is_seen(&answer.body),
            AwsPlace::Topic(_) => sns::is_seen(&answer.body),
        };
        match is_seen {
            true => Ok(()),
            false => answers::foreign(answer.status, &words, self.client.link()).for_check(),
        }
    }
}
