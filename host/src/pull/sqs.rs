//! The `sqs` kind of source: takes messages of a queue, and deletes each one that is stored.
//!
//! A message that was taken is hidden from other readers for `claim_after`. One that was not
//! deleted until then comes again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use tokio::time::sleep;
use weir_core::bounds::MIB;
use weir_core::time::Clock;

use super::message::{add_header, set_content_type};
use super::session::{MessageServer, PullSession, Reason, reason};
use crate::config::SqsPull;
use crate::egress::aws::{QueueReader, ReceivedMessage};
use crate::ingress::{MessageId, PulledMessage};
use crate::tls::roots::RootsError;

/// Once the bodies of a batch have these bytes, no more messages are asked for: each may have
/// 1 MiB.
const BATCH_BYTES_MAX: usize = 16 * MIB;
/// Longest wait of the server for a message.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// The attribute by which a destination of the kind `sqs` says how it changed a body.
const ENCODING: &str = "weir-body-encoding";

/// A queue, and the way its messages are taken.
#[derive(Debug)]
pub(super) struct SqsServer {
    reader: Arc<QueueReader>,
    prefetch: usize,
    claim_after: Duration,
}

/// The messages of the queue, ten or more at a time.
struct SqsSession {
    reader: Arc<QueueReader>,
    prefetch: usize,
    claim_after: Duration,
    is_new: bool,
    /// The receipts of the last batch.
    batch: Vec<String>,
}

impl SqsServer {
    pub(super) fn new(
        settings: &SqsPull,
        prefetch: usize,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RootsError> {
        let reader = Arc::new(QueueReader::new(&settings.queue, clock)?);
        Ok(Self { reader, prefetch, claim_after: settings.claim_after })
    }
}

#[async_trait]
impl MessageServer for SqsServer {
    /// There is no connection to keep: the first request for messages shows whether they come.
    async fn open(&self) -> Result<Box<dyn PullSession>, Reason> {
        Ok(Box::new(SqsSession {
            reader: self.reader.clone(),
            prefetch: self.prefetch,
            claim_after: self.claim_after,
            is_new: true,
            batch: Vec::new(),
        }))
    }

    async fn check(&self) -> Result<(), Reason> {
        self.reader.look().await.map_err(reason)
    }
}

#[async_trait]
impl PullSession for SqsSession {
    async fn next(&mut self) -> Result<Vec<PulledMessage>, Reason> {
        let mut wait = match std::mem::take(&mut self.is_new) {
            true => Duration::ZERO,
            false => self.wait().await,
        };
        let mut messages: Vec<ReceivedMessage> = Vec::new();
        let bytes = |messages: &[ReceivedMessage]| -> usize {
            messages.iter().map(|message| message.body.len()).sum()
        };
        while messages.len() < self.prefetch && bytes(&messages) < BATCH_BYTES_MAX {
            let asked = self.prefetch - messages.len();
            let received = self.reader.receive(asked, wait, self.claim_after).await;
            let mut more = received.map_err(reason)?;
            if more.is_empty() {
                break;
            }
            messages.append(&mut more);
            wait = Duration::ZERO;
        }
        self.batch = messages.iter().map(|message| message.receipt_handle.clone()).collect();
        let queue_url = &self.reader.queue().queue_url;
        Ok(messages.into_iter().map(|message| pulled(message, queue_url)).collect())
    }

    async fn settle(&mut self, taken: &[bool]) -> Result<(), Reason> {
        let batch = std::mem::take(&mut self.batch);
        let of = |wanted: bool| -> Vec<&str> {
            let all = batch.iter().zip(taken);
            all.filter(|(_, taken)| **taken == wanted)
                .map(|(receipt, _)| receipt.as_str())
                .collect()
        };
        self.reader.delete(&of(true)).await.map_err(reason)?;
        self.reader.give_back(&of(false)).await.map_err(reason)
    }
}

impl SqsSession {
    /// The time that the server may wait for a message, in whole seconds, of the time that an
    /// answer may take. Where that is too short, the hub waits itself.
    async fn wait(&self) -> Duration {
        let wait = (self.reader.queue().account.server.timeout / 2).min(WAIT_MAX);
        if wait < Duration::from_secs(1) {
            sleep(Duration::from_secs(1)).await;
        }
        Duration::from_secs(wait.as_secs())
    }
}

/// The message, with its attributes as headers.
fn pulled(message: ReceivedMessage, queue_url: &str) -> PulledMessage {
    let ReceivedMessage { message_id, body, attributes, message_attributes, .. } = message;
    let mut headers = HeaderMap::new();
    for (name, value) in &message_attributes {
        let bytes = value.binary_value.as_ref().and_then(|text| STANDARD.decode(text).ok());
        let text = || value.string_value.as_ref().map(|text| text.as_bytes().to_vec());
        if let Some(value) = bytes.or_else(text) {
            add_header(&mut headers, name.as_bytes(), &value);
        }
    }
    let facts = [
        ("message-group-id", "MessageGroupId"),
        ("message-deduplication-id", "MessageDeduplicationId"),
        ("sent-timestamp", "SentTimestamp"),
    ];
    for (header, name) in facts {
        if let (false, Some(value)) = (headers.contains_key(header), attributes.get(name)) {
            add_header(&mut headers, header.as_bytes(), value.as_bytes());
        }
    }
    let encoding = headers.get(ENCODING).and_then(|value| value.to_str().ok());
    let body = match encoding {
        Some("empty") => Bytes::new(),
        Some("base64") => STANDARD.decode(&body).map_or_else(|_| body.into(), Bytes::from),
        _ => body.into(),
    };
    set_content_type(&mut headers, &body);
    let material = format!("sqs\0{queue_url}\0{message_id}");
    let id = Some(MessageId::new(&message_id, material));
    PulledMessage { id, headers, body }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(message: serde_json::Value) -> PulledMessage {
        pulled(serde_json::from_value(message).unwrap(), "https://q/1/orders")
    }

    #[test]
    fn attributes_are_headers() {
        let message = of(json!({
            "MessageId": "m", "ReceiptHandle": "r", "Body": "{}",
            "Attributes": { "MessageGroupId": "g", "SentTimestamp": "7" },
            "MessageAttributes": {
                "Kind": { "DataType": "String", "StringValue": "order.created" },
                "raw": { "DataType": "Binary", "BinaryValue": "/w==" },
                "sent-timestamp": { "DataType": "Number", "StringValue": "8" },
            },
        }));
        let shown: Vec<_> =
            message.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        let wanted: [(&str, &[u8]); 5] = [
            ("kind", b"order.created"),
            ("raw", b"\xff"),
            ("sent-timestamp", b"8"),
            ("message-group-id", b"g"),
            ("content-type", b"application/json"),
        ];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn a_body_that_a_hub_changed_is_changed_back() {
        for (body, encoding, wanted) in
            [("/wA=", "base64", &b"\xff\0"[..]), (" ", "empty", b""), ("a", "other", b"a")]
        {
            let message = of(json!({
                "MessageId": "m", "ReceiptHandle": "r", "Body": body,
                "MessageAttributes": { ENCODING: { "DataType": "String", "StringValue": encoding } },
            }));
            assert_eq!(&*message.body, wanted);
        }
    }
}
