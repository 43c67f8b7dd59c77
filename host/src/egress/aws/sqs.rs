//! The operations of SQS, in JSON: those that send messages and those that take them. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answers::{Complaint, EntryResult};
use super::client::Call;
use super::entry::{BatchEntry, TEXT};
use crate::config::SqsSettings;

const JSON: &str = "application/x-amz-json-1.0";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Batch<'a> {
    queue_url: &'a str,
    entries: Vec<Entry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    id: String,
    message_body: &'a str,
    message_attributes: BTreeMap<&'a str, Attribute<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_group_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_deduplication_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute<'a> {
    data_type: &'static str,
    string_value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AttributesOf<'a> {
    queue_url: &'a str,
    attribute_names: [&'static str; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Receive<'a> {
    queue_url: &'a str,
    max_number_of_messages: usize,
    wait_time_seconds: u64,
    visibility_timeout: u64,
    /// Facts that the server keeps. Servers with the same interface know this name longest.
    attribute_names: [&'static str; 3],
    message_attribute_names: [&'static str; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ReceiptBatch<'a> {
    queue_url: &'a str,
    entries: Vec<ReceiptEntry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ReceiptEntry<'a> {
    id: String,
    receipt_handle: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    visibility_timeout: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReceiveAnswer {
    messages: Option<Vec<ReceivedMessage>>,
}

/// A message that was taken of a queue.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ReceivedMessage {
    pub(crate) message_id: String,
    pub(crate) receipt_handle: String,
    pub(crate) body: String,
    /// The facts that the server keeps.
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, String>,
    /// The attributes that its sender gave it.
    #[serde(default)]
    pub(crate) message_attributes: BTreeMap<String, ReceivedAttribute>,
}

/// A text or a number, or bytes in Base64.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ReceivedAttribute {
    pub(crate) string_value: Option<String>,
    pub(crate) binary_value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchAnswer {
    successful: Option<Vec<Accepted>>,
    failed: Option<Vec<Failed>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Accepted {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failed {
    id: String,
    code: String,
    message: Option<String>,
    #[serde(default)]
    sender_fault: bool,
}

/// Sends the entries, each with its place in the batch as its id.
pub(super) fn send(queue: &SqsSettings, entries: &[BatchEntry]) -> Call {
    let entries = entries.iter().enumerate().map(|(index, entry)| {
        let attribute = |value| Attribute { data_type: TEXT, string_value: value };
        let attributes = entry.attributes.iter();
        let ordered = |text| queue.is_fifo.then_some(text);
        Entry {
            id: index.to_string(),
            message_body: &entry.body,
            message_attributes: attributes.map(|(name, v)| (&**name, attribute(v))).collect(),
            message_group_id: ordered(entry.group.as_str()),
            message_deduplication_id: ordered(entry.id.as_str()),
        }
    });
    let batch = Batch { queue_url: &queue.queue_url, entries: entries.collect() };
    call("AmazonSQS.SendMessageBatch", &batch)
}

/// Asks for an attribute that every queue has.
pub(super) fn look(queue: &SqsSettings) -> Call {
    let asked = AttributesOf { queue_url: &queue.queue_url, attribute_names: ["QueueArn"] };
    call("AmazonSQS.GetQueueAttributes", &asked)
}

/// True for the answer to [`look`].
pub(super) fn is_seen(body: &[u8]) -> bool {
    let answer: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    answer.is_some_and(|answer| answer["Attributes"]["QueueArn"].is_string())
}

/// Asks for messages, waits for some up to `wait`, and hides them from other readers.
pub(super) fn receive(queue: &SqsSettings, most: usize, wait: Duration, hidden: Duration) -> Call {
    let asked = Receive {
        queue_url: &queue.queue_url,
        max_number_of_messages: most,
        wait_time_seconds: wait.as_secs(),
        visibility_timeout: hidden.as_secs(),
        attribute_names: ["MessageGroupId", "MessageDeduplicationId", "SentTimestamp"],
        message_attribute_names: ["All"],
    };
    call("AmazonSQS.ReceiveMessage", &asked)
}

/// Deletes messages by their receipts, each with its place among them as its id.
pub(super) fn delete(queue: &SqsSettings, receipts: &[&str]) -> Call {
    call("AmazonSQS.DeleteMessageBatch", &receipt_batch(queue, receipts, None))
}

/// Shows messages to other readers at once.
pub(super) fn give_back(queue: &SqsSettings, receipts: &[&str]) -> Call {
    call("AmazonSQS.ChangeMessageVisibilityBatch", &receipt_batch(queue, receipts, Some(0)))
}

/// The messages in the answer to [`receive`]; none if it is no such answer.
pub(super) fn received(body: &[u8]) -> Option<Vec<ReceivedMessage>> {
    let answer: ReceiveAnswer = serde_json::from_slice(body).ok()?;
    Some(answer.messages.unwrap_or_default())
}

fn receipt_batch<'a>(
    queue: &'a SqsSettings,
    receipts: &[&'a str],
    visibility_timeout: Option<u64>,
) -> ReceiptBatch<'a> {
    let entry = |(index, receipt_handle): (usize, &&'a str)| ReceiptEntry {
        id: index.to_string(),
        receipt_handle,
        visibility_timeout,
    };
    let entries = receipts.iter().enumerate().map(entry).collect();
    ReceiptBatch { queue_url: &queue.queue_url, entries }
}

/// The results in the answer to a batch; none if it is no such answer.
pub(super) fn results(body: &[u8]) -> Option<Vec<EntryResult>> {
    let answer: BatchAnswer = serde_json::from_slice(body).ok()?;
    let accepted = answer.successful.into_iter().flatten();
    let accepted = accepted.map(|one| EntryResult { id: one.id, refused: None });
    let failed = answer.failed.into_iter().flatten().map(|one| {
        let complaint =
            Complaint::new(&one.code, one.message.as_deref()).with_fault(one.sender_fault);
        EntryResult { id: one.id, refused: Some(complaint) }
    });
    Some(accepted.chain(failed).collect())
}

fn call(target: &'static str, body: &impl Serialize) -> Call {
    // Plain data always serialises.
    let body = serde_json::to_vec(body).unwrap_or_default();
    Call { content_type: JSON, target: Some(target), body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_of_an_answer_has_its_result() {
        let body = br#"{"Successful":[{"Id":"0","MessageId":"a","MD5OfMessageBody":"b"}],
            "Failed":[{"Id":"1","Code":"InvalidMessageContents","Message":"no","SenderFault":true},
                      {"Id":"2","Code":"InternalError","SenderFault":false}]}"#;
        let results = results(body).unwrap();
        let ids: Vec<&str> = results.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["0", "1", "2"]);
        assert!(results[0].refused.is_none());
        let refused = results[1].refused.as_ref().unwrap();
        assert_eq!(
            (refused.code.as_str(), refused.said.as_str()),
            ("InvalidMessageContents", "no")
        );
        assert_eq!(refused.is_senders_fault, Some(true));
        assert_eq!(results[2].refused.as_ref().unwrap().is_senders_fault, Some(false));
    }

    #[test]
    fn messages_are_read_from_an_answer() {
        let body = br#"{"Messages":[{"MessageId":"m","ReceiptHandle":"r","MD5OfBody":"x",
            "Body":"{}","Attributes":{"SentTimestamp":"1"},"MessageAttributes":{
            "kind":{"DataType":"String","StringValue":"a"},
            "raw":{"DataType":"Binary","BinaryValue":"/w=="}}}]}"#;
        let message = received(body).unwrap().remove(0);
        assert_eq!(
            (&*message.message_id, &*message.receipt_handle, &*message.body),
            ("m", "r", "{}")
        );
        assert_eq!(message.attributes["SentTimestamp"], "1");
        let attributes = &message.message_attributes;
        assert_eq!(attributes["kind"].string_value.as_deref(), Some("a"));
        assert_eq!(attributes["raw"].binary_value.as_deref(), Some("/w=="));
        for none in [&b"{}"[..], br#"{"Messages":null}"#, br#"{"Messages":[]}"#] {
            assert!(received(none).unwrap().is_empty());
        }
        assert!(received(b"<html>").is_none() && received(br#"{"Messages":[{}]}"#).is_none());
    }

    #[test]
    fn other_answers_have_no_results() {
        for body in [&b"<html>"[..], b"", b"[]", b"\"x\"", br#"{"Failed":[{"Id":1}]}"#] {
            assert!(results(body).is_none_or(|all| all.is_empty()), "{body:?}");
        }
        assert!(results(br#"{"Successful":null,"Failed":null}"#).unwrap().is_empty());
        assert!(is_seen(br#"{"Attributes":{"QueueArn":"arn:aws:sqs:eu-west-1:1:a"}}"#));
        assert!(!is_seen(b"{}") && !is_seen(b"<html>"));
    }
}
