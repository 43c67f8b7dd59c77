//! Patterns over `source:type`, and the globs they are made of.
//!
//! A pattern is `source:type` (`github:push`, `shopify:orders/*`, `*:*`) or `category:WORD`
//! (`category:payment.received`). `*` matches any run of characters, also an empty one. Events that
//! handlers emit (source `@name`) and events of the hub itself (source `weir`) match only patterns
//! that name their source.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::bounds::EVENT_TYPE_BYTES_MAX;
use crate::event::{Category, EventType};
use crate::name::SourceName;

/// A parsed pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: Arc<str>,
    matcher: Matcher,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Matcher {
    Category(Category),
    SourceAndType { source: Glob, kind: Glob },
}

/// A text that is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidPattern {
    #[error(
        "pattern `{0}` has no `:`; write source:type, such as github:push or *:*, or category:WORD"
    )]
    NoColon(String),
    #[error("pattern `{0}` has an empty {1}; use `*` to match any")]
    EmptySide(String, &'static str),
    #[error("pattern `{text}` names an unknown category; the categories are {}", all_categories())]
    UnknownCategory { text: String },
    /// Too long to match any event, or with control characters.
    #[error("pattern is longer than {EVENT_TYPE_BYTES_MAX} bytes or has a control character")]
    Unprintable,
}

fn all_categories() -> String {
    Category::ALL.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(", ")
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        if text.len() > EVENT_TYPE_BYTES_MAX + 70 || text.chars().any(char::is_control) {
            return Err(InvalidPattern::Unprintable);
        }
        let (source, kind) =
            text.split_once(':').ok_or_else(|| InvalidPattern::NoColon(text.into()))?;
        let matcher = if source == "category" {
            let category = Category::parse(kind)
                .ok_or_else(|| InvalidPattern::UnknownCategory { text: text.into() })?;
            Matcher::Category(category)
        } else {
            for (side, what) in [(source, "source"), (kind, "type")] {
                if side.is_empty() {
                    return Err(InvalidPattern::EmptySide(text.into(), what));
                }
            }
            Matcher::SourceAndType { source: Glob::new(source), kind: Glob::new(kind) }
        };
        Ok(Self { text: text.into(), matcher })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The source's name, if the pattern names exactly one.
    #[must_use]
    pub fn exact_source(&self) -> Option<&str> {
        match &self.matcher {
            Matcher::SourceAndType { source: Glob::Exact(text), .. } => Some(text),
            _ => None,
        }
    }

    /// The part after the colon; none for a `category:` pattern.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        match &self.matcher {
            Matcher::Category(_) => None,
            Matcher::SourceAndType { .. } => self.text.split_once(':').map(|(_, kind)| kind),
        }
    }

    /// True if it can match an event of this source, of some type and category.
    #[must_use]
    pub fn reaches(&self, source: &SourceName) -> bool {
        match &self.matcher {
            Matcher::Category(_) => !source.must_be_named(),
            Matcher::SourceAndType { source: glob, .. } => glob.matches_source(source),
        }
    }

    /// True if an event with these facts matches.
    #[must_use]
    pub fn matches(
        &self,
        source: &SourceName,
        kind: &EventType,
        category: Option<Category>,
    ) -> bool {
        match &self.matcher {
            Matcher::Category(wanted) => !source.must_be_named() && category == Some(*wanted),
            Matcher::SourceAndType { source: source_glob, kind: kind_glob } => {
                source_glob.matches_source(source) && kind_glob.matches(kind.as_str())
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A text in which `*` matches any run of characters, also an empty one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Glob {
    /// Only stars: matches every text.
    Any,
    /// No star: matches this text.
    Exact(Box<str>),
    /// The pieces between the stars.
    Pieces(Box<[Box<str>]>),
}

impl Glob {
    #[must_use]
    pub fn new(text: &str) -> Self {
        if text.bytes().all(|b| b == b'*') {
            Self::Any
        } else if text.contains('*') {
            Self::Pieces(text.split('*').map(Into::into).collect())
        } else {
            Self::Exact(text.into())
        }
    }

    /// True if it explicitly names a source whose name is reserved.
    fn names_reserved(&self, source: &str) -> bool {
        match self {
            Self::Any => false,
            Self::Exact(text) => **text == *source,
            Self::Pieces(pieces) => source.starts_with('@') && pieces[0].starts_with('@'),
        }
    }

    fn matches_source(&self, source: &SourceName) -> bool {
        (!source.must_be_named() || self.names_reserved(source.as_str()))
            && self.matches(source.as_str())
    }

    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(wanted) => **wanted == *text,
            Self::Pieces(pieces) => matches_pieces(pieces, text),
        }
    }
}

/// The first and last piece are anchored; those between match at their leftmost place.
fn matches_pieces(pieces: &[Box<str>], text: &str) -> bool {
    let [first, middle @ .., last] = pieces else { return false };
    let Some(rest) = text.strip_prefix(&**first) else { return false };
    let Some(mut rest) = rest.strip_suffix(&**last) else { return false };
    for piece in middle {
        match rest.find(&**piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, source: &str, kind: &str, category: Option<Category>) -> bool {
        let kind = EventType::new(kind).unwrap();
        Pattern::parse(pattern).unwrap().matches(&SourceName::stored(source), &kind, category)
    }

    #[test]
    fn star_matches_any_run_of_characters() {
        assert!(matches("shopify:orders/*", "shopify", "orders/create", None));
        assert!(matches("*:*", "github", "push", None));
        assert!(matches("git*:p*h", "github", "push", None));
        assert!(matches("a:x*y*z", "a", "xyyz", None) && !matches("a:x*y*z", "a", "xz", None));
        assert!(!matches("a:ab*ba", "a", "aba", None), "the ends may not overlap");
        assert!(!matches("github:push", "github", "pushed", None));
    }

    #[test]
    fn category_matches_events_of_any_source() {
        let paid = Some(Category::PaymentReceived);
        assert!(matches("category:payment.received", "stripe", "invoice.paid", paid));
        assert!(!matches("category:payment.received", "stripe", "invoice.paid", None));
    }

    #[test]
    fn reserved_sources_match_only_patterns_that_name_them() {
        assert!(!matches("*:*", "@orders", "late", None));
        assert!(!matches("*:*", "weir", "dead_letter", None));
        assert!(!matches("w*:*", "weir", "dead_letter", None));
        assert!(!matches("category:created", "@orders", "late", Some(Category::Created)));
        assert!(matches("@orders:*", "@orders", "late", None));
        assert!(matches("@*:late", "@orders", "late", None));
        assert!(matches("weir:dead_letter", "weir", "dead_letter", None));
    }

    #[test]
    fn invalid_pattern_is_refused_with_advice() {
        for bad in ["push", ":push", "github:", "category:nonsense", "a:b\n"] {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Pattern::parse("category:x").unwrap_err().to_string().contains("user.signup"));
    }

    proptest! {
        #[test]
        fn glob_agrees_with_a_plain_definition(pattern in "[ab*]{1,8}", text in "[ab]{0,8}") {
            fn plain(p: &[u8], t: &[u8]) -> bool {
                match p.split_first() {
                    None => t.is_empty(),
                    Some((b'*', p)) => (0..=t.len()).any(|n| plain(p, &t[n..])),
                    Some((c, p)) => t.first() == Some(c) && plain(p, &t[1..]),
                }
            }
            let wanted = plain(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(Glob::new(&pattern).matches(&text), wanted);
        }
    }
}
