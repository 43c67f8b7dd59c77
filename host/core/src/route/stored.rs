//! The stored text of routing tables and of decisions on events. Stored data keeps these formats.
//!
//! A table is JSON lines: a version, then one rule a line. The first version, `PATTERN -> TARGET`
//! lines, is still read. Of the decisions on an event only those that the table does not tell are
//! stored: rules whose pattern matched and that did not deliver.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::name::Target;

use super::pattern::Pattern;
use super::rule::{Decision, Rule, RuleDecision};

const VERSION: u32 = 2;

/// Bytes kept of a clause or a reason.
const CLAUSE_BYTES_MAX: usize = 500;

#[derive(Serialize, Deserialize)]
struct Header {
    weir_routes: u32,
}

#[derive(Serialize, Deserialize)]
struct Line {
    rule: Box<str>,
    target: Box<str>,
    on: Vec<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    when: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order_by: Option<Box<str>>,
}

/// A rule as a stored table has it. Its condition is text: it is shown, and never evaluated again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRule {
    pub id: Box<str>,
    pub target: Target,
    pub patterns: Vec<Pattern>,
    pub condition: Option<Box<str>>,
    pub order_by: Option<Box<str>>,
}

/// A stored table that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line} of the stored routing table is not a rule")]
pub struct CorruptTable {
    /// From 1.
    pub line: usize,
}

/// The text that is stored and hashed.
#[must_use]
pub fn table_text(rules: &[Rule]) -> String {
    let mut text = line_of(&Header { weir_routes: VERSION });
    for rule in rules {
        text.push_str(&line_of(&Line {
            rule: rule.id.clone(),
            target: rule.target.to_string().into(),
            on: rule.patterns.iter().map(|pattern| pattern.as_str().into()).collect(),
            when: rule.condition.as_ref().map(|condition| condition.as_str().into()),
            order_by: rule.order_by.as_ref().map(|order_by| order_by.as_str().into()),
        }));
    }
    text
}

fn line_of(value: &impl Serialize) -> String {
    #[expect(clippy::expect_used, reason = "strings and numbers always serialize")]
    let mut line = serde_json::to_string(value).expect("a rule is JSON");
    line.push('\n');
    line
}

/// The rules of a stored table, of either version.
pub fn read_table(text: &str) -> Result<Vec<StoredRule>, CorruptTable> {
    let Some(rest) = text.strip_prefix(&line_of(&Header { weir_routes: VERSION })) else {
        return read_version_1(text);
    };
    let parse =
        |(index, line): (usize, &str)| read_rule(line).ok_or(CorruptTable { line: index + 2 });
    rest.lines().enumerate().map(parse).collect()
}

fn read_rule(line: &str) -> Option<StoredRule> {
    let Line { rule, target, on, when, order_by } = serde_json::from_str(line).ok()?;
    Some(StoredRule {
        id: rule,
        target: target.parse().ok()?,
        patterns: on.iter().map(|p| Pattern::parse(p).ok()).collect::<Option<_>>()?,
        condition: when,
        order_by,
    })
}

/// `PATTERN -> TARGET` lines; a target's lines are one rule.
fn read_version_1(text: &str) -> Result<Vec<StoredRule>, CorruptTable> {
    let mut rules: Vec<StoredRule> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        // A type may have an arrow in it; a target never does.
        let parsed = line.rsplit_once(" -> ").and_then(|(pattern, target)| {
            Some((Pattern::parse(pattern).ok()?, target.parse::<Target>().ok()?))
        });
        let (pattern, target) = parsed.ok_or(CorruptTable { line: index + 1 })?;
        match rules.last_mut().filter(|last| last.target == target) {
            Some(last) => last.patterns.push(pattern),
            None => rules.push(StoredRule {
                id: target.to_string().into(),
                target,
                patterns: vec![pattern],
                condition: None,
                order_by: None,
            }),
        }
    }
    Ok(rules)
}

/// A rule whose pattern matched an event and that did not deliver it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotDelivered {
    /// The rule's id.
    pub rule: Box<str>,
    /// The part of its condition that was false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_matched: Option<Box<str>>,
    /// The reason that the rule could not be evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Box<str>>,
}

/// The text to store with an event. Empty if the table tells all, as it does without conditions.
#[must_use]
pub fn decisions_text(decisions: &[RuleDecision<'_>]) -> Box<str> {
    let not_delivered: Vec<NotDelivered> = decisions.iter().filter_map(not_delivered).collect();
    if not_delivered.is_empty() {
        return Box::default();
    }
    #[expect(clippy::expect_used, reason = "strings always serialize")]
    serde_json::to_string(&not_delivered).expect("decisions are JSON").into()
}

fn not_delivered(decided: &RuleDecision<'_>) -> Option<NotDelivered> {
    let cut = |text: &str| Some(text[..text.floor_char_boundary(CLAUSE_BYTES_MAX)].into());
    let (not_matched, error) = match &decided.decision {
        Decision::Deliver { .. } => return None,
        Decision::NotMatched { clause } => (cut(clause), None),
        Decision::Error { reason } => (None, cut(reason)),
    };
    Some(NotDelivered { rule: decided.rule.id.clone(), not_matched, error })
}

/// The rules that did not deliver, from the text stored with an event; none if it cannot be read.
#[must_use]
pub fn read_decisions(text: &str) -> Option<Vec<NotDelivered>> {
    if text.is_empty() { Some(Vec::new()) } else { serde_json::from_str(text).ok() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::condition::OrderKey;
    use crate::name::{DestinationName, HandlerName};

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|p| Pattern::parse(p).unwrap()).collect()
    }

    fn stored(id: &str, target: &str, texts: &[&str]) -> StoredRule {
        StoredRule {
            id: id.into(),
            target: target.parse().unwrap(),
            patterns: patterns(texts),
            condition: None,
            order_by: None,
        }
    }

    #[test]
    fn stored_table_reads_back() {
        let ops = Target::Destination(DestinationName::new("ops").unwrap());
        let orders = Target::Handler(HandlerName::new("orders").unwrap());
        let order_by = Some(Arc::new(OrderKey::parse("event.body.id").unwrap()));
        let rules = [
            Rule::new("handler:orders", orders.clone(), patterns(&["github:issues", "*:*"])),
            Rule::new("responder:github", orders, Vec::new()),
            Rule { order_by, ..Rule::new("route:1", ops, patterns(&["a:x -> handler:b"])) },
        ];
        let text = table_text(&rules);
        let expected = [
            stored("handler:orders", "handler:orders", &["github:issues", "*:*"]),
            stored("responder:github", "handler:orders", &[]),
            StoredRule {
                order_by: Some("event.body.id".into()),
                ..stored("route:1", "destination:ops", &["a:x -> handler:b"])
            },
        ];
        assert_eq!(read_table(&text).as_deref(), Ok(&expected[..]));
        assert!(text.starts_with("{\"weir_routes\":2}\n{\"rule\":\"handler:orders\","));
    }

    #[test]
    fn table_of_version_1_is_read() {
        let text = "github:issues -> handler:git\ncategory:created -> handler:git\n\
                    a:x -> handler:b -> destination:ops\n";
        let expected = [
            stored("handler:git", "handler:git", &["github:issues", "category:created"]),
            stored("destination:ops", "destination:ops", &["a:x -> handler:b"]),
        ];
        assert_eq!(read_table(text).as_deref(), Ok(&expected[..]));
        assert_eq!(read_table(""), Ok(vec![]));
    }

    #[test]
    fn corrupt_table_is_refused_with_its_line() {
        assert_eq!(read_table("github:* -> handler:a\nnonsense"), Err(CorruptTable { line: 2 }));
        assert_eq!(read_table("{\"weir_routes\":2}\n{}\n"), Err(CorruptTable { line: 2 }));
        assert_eq!(read_table("{\"weir_routes\":9}\n"), Err(CorruptTable { line: 1 }));
    }

    #[test]
    fn stored_decisions_read_back() {
        let text =
            r#"[{"rule":"route:1","not_matched":"a > 1"},{"rule":"route:2","error":"no a"}]"#;
        let read = read_decisions(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert_eq!(read_decisions(""), Some(vec![]));
        assert_eq!(read_decisions("nonsense"), None);
    }
}
