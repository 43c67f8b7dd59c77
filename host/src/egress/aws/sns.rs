//! The operations of SNS: forms, answered in XML. Pure.

use form_urlencoded::Serializer;

use super::answers::{Complaint, EntryResult};
use super::client::Call;
use super::entry::{BatchEntry, TEXT};
use super::xml::{Element, elements};
use crate::config::SnsSettings;

const FORM: &str = "application/x-www-form-urlencoded";
const VERSION: &str = "2010-03-31";

/// Publishes the entries, each with its place in the batch as its id.
pub(super) fn publish(topic: &SnsSettings, entries: &[BatchEntry]) -> Call {
    let mut form = form("PublishBatch", topic);
    for (index, entry) in entries.iter().enumerate() {
        let member = format!("PublishBatchRequestEntries.member.{}", index + 1);
        let mut add = |name: &str, value: &str| {
            form.append_pair(&format!("{member}.{name}"), value);
        };
        add("Id", &index.to_string());
        add("Message", &entry.body);
        if topic.is_fifo {
            add("MessageGroupId", &entry.group);
            add("MessageDeduplicationId", &entry.id);
        }
        for (number, (name, value)) in entry.attributes.iter().enumerate() {
            let attribute = format!("MessageAttributes.entry.{}", number + 1);
            add(&format!("{attribute}.Name"), name);
            add(&format!("{attribute}.Value.DataType"), TEXT);
            add(&format!("{attribute}.Value.StringValue"), value);
        }
    }
    call(form)
}

/// Asks for the attributes of the topic.
pub(super) fn look(topic: &SnsSettings) -> Call {
    call(form("GetTopicAttributes", topic))
}

/// True for the answer to [`look`].
pub(super) fn is_seen(body: &[u8]) -> bool {
    let mut elements = elements(body).into_iter().flatten();
    elements.any(|element| element.path.ends_with("/GetTopicAttributesResult"))
}

/// The results in the answer to [`publish`]; none if it is no such answer.
pub(super) fn results(body: &[u8]) -> Option<Vec<EntryResult>> {
    let elements = elements(body)?;
    let mut results = Vec::new();
    // The fields of a member end before the member itself.
    let (mut id, mut code, mut said, mut is_senders_fault) = (None, None, None, false);
    for Element { path, text } in &elements {
        if path.ends_with("/Successful/member") {
            results.extend(id.take().map(|id| EntryResult { id, refused: None }));
        } else if path.ends_with("/Failed/member") {
            let complaint = Complaint::new(code.take().unwrap_or_default(), said.take());
            let refused = Some(complaint.with_fault(std::mem::take(&mut is_senders_fault)));
            results.extend(id.take().map(|id| EntryResult { id, refused }));
        } else if let Some((_, field)) = path.rsplit_once("/member/") {
            match field {
                "Id" => id = Some(text.clone()),
                "Code" => code = Some(text.as_str()),
                "Message" => said = Some(text.as_str()),
                "SenderFault" => is_senders_fault = text == "true",
                _ => {}
            }
        }
    }
    Some(results)
}

fn form(action: &str, topic: &SnsSettings) -> Serializer<'static, String> {
    let mut form = Serializer::new(String::new());
    form.append_pair("Action", action)
        .append_pair("Version", VERSION)
        .append_pair("TopicArn", &topic.topic_arn);
    form
}

fn call(mut form: Serializer<'static, String>) -> Call {
    Call { content_type: FORM, target: None, body: form.finish().into_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_of_an_answer_has_its_result() {
        let body = br#"<PublishBatchResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/">
            <PublishBatchResult><Failed><member><Id>1</Id><Code>InvalidParameter</Code>
              <Message>a &lt; b</Message><SenderFault>true</SenderFault></member>
              <member><Code>InternalError</Code><SenderFault>false</SenderFault><Id>2</Id></member>
            </Failed><Successful><member><MessageId>m</MessageId><Id>0</Id></member></Successful>
            </PublishBatchResult><ResponseMetadata/></PublishBatchResponse>"#;
        let results = results(body).unwrap();
        let ids: Vec<&str> = results.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["1", "2", "0"]);
        let refused = results[0].refused.as_ref().unwrap();
        assert_eq!((refused.code.as_str(), refused.said.as_str()), ("InvalidParameter", "a < b"));
        assert_eq!(refused.is_senders_fault, Some(true));
        let refused = results[1].refused.as_ref().unwrap();
        assert_eq!((refused.said.as_str(), refused.is_senders_fault), ("", Some(false)));
        assert!(results[2].refused.is_none());
    }

    #[test]
    fn other_answers_have_no_results() {
        for body in [&b"{}"[..], b"", b"<html><body>no</body></html>"] {
            assert!(results(body).is_none_or(|all| all.is_empty()), "{body:?}");
            assert!(!is_seen(body));
        }
        assert!(is_seen(b"<R><GetTopicAttributesResult><A/></GetTopicAttributesResult></R>"));
    }
}
