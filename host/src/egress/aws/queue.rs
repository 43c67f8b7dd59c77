//! Takes messages of a queue, for sources of the kind `sqs`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use weir_core::bounds::MIB;
use weir_core::time::Clock;

use super::answers::{self, EntryResult, ServiceWords};
use super::client::{AwsClient, Call};
pub(crate) use super::sqs::ReceivedMessage;
use super::{BATCH_MAX, QUEUE, sqs};
use crate::config::SqsSettings;
use crate::egress::endpoint::HttpAnswer;
use crate::egress::transport::SendOutcome;
use crate::tls::roots::RootsError;

/// Bytes of an answer: ten of the largest messages, whose characters may each be six bytes of JSON.
const ANSWER_BYTES_MAX: usize = 64 * MIB;

/// Takes messages of one queue.
pub(crate) struct QueueReader {
    client: AwsClient,
    queue: SqsSettings,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for QueueReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueReader").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl QueueReader {
    pub(crate) fn new(queue: &SqsSettings, clock: Arc<dyn Clock>) -> Result<Self, RootsError> {
        let client = AwsClient::new(&queue.account, "sqs", 1)?.reading_up_to(ANSWER_BYTES_MAX);
        Ok(Self { client, queue: queue.clone(), clock })
    }

    pub(crate) fn queue(&self) -> &SqsSettings {
        &self.queue
    }

    /// Looks whether the queue is there.
    pub(crate) async fn look(&self) -> Result<(), SendOutcome> {
        let words = words("sqs:GetQueueAttributes, for this check,");
        let answer = self.ask(sqs::look(&self.queue), &words).await?;
        match sqs::is_seen(&answer.body) {
            true => Ok(()),
            false => Err(self.foreign(&answer, &words)),
        }
    }

    /// Takes up to ten messages, and waits for the first. They are hidden from other readers for
    /// some time, after which they come again.
    pub(crate) async fn receive(
        &self,
        most: usize,
        wait: Duration,
        hidden: Duration,
    ) -> Result<Vec<ReceivedMessage>, SendOutcome> {
        let call = sqs::receive(&self.queue, most.min(BATCH_MAX), wait, hidden);
        let words = words("sqs:ReceiveMessage");
        let answer = self.ask(call, &words).await?;
        sqs::received(&answer.body).ok_or_else(|| self.foreign(&answer, &words))
    }

    /// Deletes messages.
    pub(crate) async fn delete(&self, receipts: &[&str]) -> Result<(), SendOutcome> {
        self.settle(receipts, sqs::delete, words("sqs:DeleteMessage")).await
    }

    /// Shows messages to other readers at once.
    pub(crate) async fn give_back(&self, receipts: &[&str]) -> Result<(), SendOutcome> {
        self.settle(receipts, sqs::give_back, words("sqs:ChangeMessageVisibility")).await
    }

    /// Does this to messages, ten in a request. One that is refused by itself, as its receipt may
    /// have ended meanwhile, comes again after its time.
    async fn settle(
        &self,
        receipts: &[&str],
        call: impl Fn(&SqsSettings, &[&str]) -> Call,
        words: ServiceWords,
    ) -> Result<(), SendOutcome> {
        for some in receipts.chunks(BATCH_MAX) {
            let answer = self.ask(call(&self.queue, some), &words).await?;
            let results = sqs::results(&answer.body);
            for EntryResult { refused, .. } in
                results.ok_or_else(|| self.foreign(&answer, &words))?
            {
                let Some(complaint) = refused else { continue };
                if let Err(reason) = self.client.outcome(complaint, &answer, &words).for_check() {
                    let queue = &*self.queue.queue;
                    tracing::warn!(queue, reason, "a message of a queue comes again");
                }
            }
        }
        Ok(())
    }

    async fn ask(&self, call: Call, words: &ServiceWords) -> Result<HttpAnswer, SendOutcome> {
        let answer = self.client.call(call, self.clock.now()).await?;
        match answer.status.is_success() {
            true => Ok(answer),
            false => Err(self.client.refused(&answer, words)),
        }
    }

    fn foreign(&self, answer: &HttpAnswer, words: &ServiceWords) -> SendOutcome {
        answers::foreign(answer.status, words, self.client.link())
    }
}

fn words(permission: &'static str) -> ServiceWords {
    ServiceWords { permission, ..QUEUE }
}
