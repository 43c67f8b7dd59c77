//! The operations of SQS, in JSON. Pure.

use std::collections::BTreeMap;

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

/// The results in the answer to [`send`]; none if it is no such answer.
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
    fn other_answers_have_no_results() {
        for body in [&b"<html>"[..], b"", b"[]", b"\"x\"", br#"{"Failed":[{"Id":1}]}"#] {
            assert!(results(body).is_none_or(|all| all.is_empty()), "{body:?}");
        }
        assert!(results(br#"{"Successful":null,"Failed":null}"#).unwrap().is_empty());
        assert!(is_seen(br#"{"Attributes":{"QueueArn":"arn:aws:sqs:eu-west-1:1:a"}}"#));
        assert!(!is_seen(b"{}") && !is_seen(b"<html>"));
    }
}
