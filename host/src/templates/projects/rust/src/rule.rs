//! The decision about an event, as a plain function: `cargo test` runs it without a hub.

use serde_json::Value;

#[derive(Debug, PartialEq)]
pub enum IssueDecision {
    Send { repository: String, text: String, urgent: bool },
    Skip,
    Reject(String),
}

/// Decides by the body of an event of the type `issues`.
pub fn decide(body: &str) -> IssueDecision {
    let body: Value = match serde_json::from_str(body) {
        Ok(body) => body,
        Err(error) => return IssueDecision::Reject(format!("the body is not JSON: {error}")),
    };
    let issue = &body["issue"];
    if !issue.is_object() {
        return IssueDecision::Reject("the body has no issue".into());
    }
    if body["action"] != "opened" {
        return IssueDecision::Skip;
    }
    let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let repository = text(&body["repository"]["full_name"]);
    let labels = issue["labels"].as_array();
    let urgent = labels.is_some_and(|labels| labels.iter().any(|label| label["name"] == "urgent"));
    let message = format!("{repository}: {} {}", text(&issue["title"]), text(&issue["html_url"]));
    IssueDecision::Send { repository, text: message, urgent }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_issue_is_sent() {
        let IssueDecision::Send { repository, text, urgent } =
            decide(include_str!("../samples/opened.json"))
        else {
            panic!("nothing is sent");
        };
        assert_eq!((repository.as_str(), urgent), ("acme/river", false));
        assert_eq!(
            text,
            "acme/river: The gate does not open https://github.com/acme/river/issues/7"
        );
    }

    #[test]
    fn urgent_issue_is_marked() {
        let decision = decide(include_str!("../samples/urgent.json"));
        assert!(matches!(decision, IssueDecision::Send { urgent: true, .. }));
    }

    #[test]
    fn closed_issue_is_skipped() {
        assert_eq!(decide(include_str!("../samples/closed.json")), IssueDecision::Skip);
    }

    #[test]
    fn body_without_an_issue_is_rejected() {
        assert_eq!(decide("{}"), IssueDecision::Reject("the body has no issue".into()));
        assert!(matches!(decide("no JSON"), IssueDecision::Reject(_)));
    }
}
