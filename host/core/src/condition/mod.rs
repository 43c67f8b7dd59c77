//! Conditions, order keys and messages that are written as expressions in CEL.
//!
//! The `cel` crate parses; its evaluator has no budget, so that the tree is checked and evaluated
//! here: every step is counted, and the same text and event give the same value. A text is refused
//! when it is loaded, with the place of the mistake, if it is no CEL, too large, names what does
//! not exist, or walks over a list inside another walk. What an event lacks is found when it is
//! evaluated, and is a failure with a reason, never a silent no.

mod document;
mod error;
mod evaluate;
mod functions;
mod message;
mod parse;
mod syntax;
mod text;
mod value;

use std::fmt;
use std::sync::Arc;

pub use error::InvalidExpression;
pub use evaluate::{ITEMS_MAX, LazyEvent, STEPS_MAX};
pub use message::{MessageTemplate, ShapedMessage, TemplatePart};

use evaluate::{EvaluationFailure, evaluate};
use parse::{ExpressionUse, parse_clauses, parse_whole};
use syntax::Syntax;
use value::CelValue;

/// Longest order key, in bytes.
const ORDER_KEY_BYTES_MAX: usize = 200;
/// Bytes of a clause that a reason quotes.
const QUOTED_BYTES_MAX: usize = 120;

/// A condition on an event: the clauses that a top-level `&&` joins. All must be true.
pub struct Condition {
    text: Arc<str>,
    clauses: Box<[(Box<str>, Syntax)]>,
    reads_payload: bool,
}

impl Condition {
    /// Parses a condition.
    ///
    /// # Errors
    /// All mistakes that were found, in the order of the text.
    pub fn parse(text: &str) -> Result<Self, Vec<InvalidExpression>> {
        let clauses = parse_clauses(text, ExpressionUse::Routing)?;
        for (clause, syntax) in &clauses {
            if let Some(kind) = syntax.kind().filter(|kind| *kind != "bool") {
                let at = text.find(&**clause).unwrap_or(0);
                let what = format!("gives {}, not true or false", with_article(kind));
                return Err(vec![InvalidExpression::new(at, what)]);
            }
        }
        let reads_payload = clauses.iter().any(|(_, syntax)| reads_payload(syntax));
        Ok(Self { text: text.into(), clauses: clauses.into(), reads_payload })
    }

    /// The condition as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first clause that is false for this event, or none if the condition holds. A clause
    /// that is false decides, also if another one cannot be evaluated.
    ///
    /// # Errors
    /// A reason for people, if a clause cannot be evaluated on this event.
    pub fn false_clause(&self, event: &LazyEvent<'_>) -> Result<Option<&str>, Box<str>> {
        let mut failure = None;
        for (clause, syntax) in &self.clauses {
            match evaluate(syntax, event) {
                Ok(CelValue::Bool(true)) => {}
                Ok(CelValue::Bool(false)) => return Ok(Some(clause)),
                Ok(other) => {
                    let what = format!("it gives {}, not true or false", other.kind());
                    failure = failure.or_else(|| Some(quoting(clause, &what)));
                }
                Err(what) => failure = failure.or_else(|| Some(quoting(clause, &what.what))),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    /// True if it reads headers, query or body.
    #[must_use]
    pub fn reads_payload(&self) -> bool {
        self.reads_payload
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.text).finish()
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Condition {}

/// An expression whose value orders deliveries: equal values, one at a time.
pub struct OrderKey {
    text: Arc<str>,
    syntax: Syntax,
}

impl OrderKey {
    /// Parses the expression of an order key.
    ///
    /// # Errors
    /// All mistakes that were found, in the order of the text.
    pub fn parse(text: &str) -> Result<Self, Vec<InvalidExpression>> {
        let syntax = parse_whole(text, ExpressionUse::Routing)?;
        if let Some(kind @ ("list" | "map" | "null")) = syntax.kind() {
            let what = format!("gives {}, not a string, number or bool", with_article(kind));
            return Err(vec![InvalidExpression::new(0, what)]);
        }
        Ok(Self { text: text.into(), syntax })
    }

    /// The expression as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The key of an event; none if the event lacks what the expression names, or it is null or
    /// empty: such an event has no order.
    ///
    /// # Errors
    /// A reason for people, if the value cannot be a key.
    pub fn key(&self, event: &LazyEvent<'_>) -> Result<Option<Box<str>>, Box<str>> {
        let wrong = |what: &str| quoting(&self.text, what);
        let key: Box<str> = match evaluate(&self.syntax, event) {
            Err(EvaluationFailure { is_missing: true, .. }) | Ok(CelValue::Null) => {
                return Ok(None);
            }
            Err(failure) => return Err(wrong(&failure.what)),
            Ok(CelValue::Text(text)) => (&*text).into(),
            Ok(CelValue::Int(value)) => value.to_string().into(),
            Ok(CelValue::Double(value)) => value.to_string().into(),
            Ok(CelValue::Bool(value)) => value.to_string().into(),
            Ok(other) => {
                let what = format!("it gives {}, not a string, number or bool", other.kind());
                return Err(wrong(&what));
            }
        };
        match key.len() {
            0 => Ok(None),
            length if length > ORDER_KEY_BYTES_MAX => Err(wrong(&format!(
                "the key has {length} bytes; at most {ORDER_KEY_BYTES_MAX} are allowed"
            ))),
            _ => Ok(Some(key)),
        }
    }

    /// True if it reads headers, query or body.
    #[must_use]
    pub fn reads_payload(&self) -> bool {
        reads_payload(&self.syntax)
    }
}

impl fmt::Debug for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OrderKey").field(&self.text).finish()
    }
}

impl PartialEq for OrderKey {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for OrderKey {}

fn reads_payload(syntax: &Syntax) -> bool {
    let mut reads = false;
    syntax.facts(&mut |fact| reads |= fact.is_in_payload());
    reads
}

/// A reason that quotes the expression.
fn quoting(expression: &str, what: &str) -> Box<str> {
    let quoted = expression.split_whitespace().collect::<Vec<_>>().join(" ");
    let kept = quoted.floor_char_boundary(QUOTED_BYTES_MAX);
    let more = if kept < quoted.len() { "…" } else { "" };
    format!("`{}{more}`: {what}", &quoted[..kept]).into()
}

fn with_article(kind: &str) -> String {
    match kind {
        "null" | "a number" => kind.into(),
        "int" => "an int".into(),
        _ => format!("a {kind}"),
    }
}

#[cfg(test)]
mod tests;
