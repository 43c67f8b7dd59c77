//! Routing: patterns over `source:type`, and the immutable table that says who gets an event.
//!
//! A pattern is `source:type` (`github:push`, `shopify:orders/*`, `*:*`) or `category:WORD`
//! (`category:payment.received`). `*` stands for any run of characters, also none. What handlers emit
//! (`@name`) and what the hub says (`weir`) is matched only by a pattern whose source names it.

use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::bounds::EVENT_TYPE_BYTES_MAX;
use crate::event::{Category, EventType};
use crate::name::{SourceName, Target};

/// A checked pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: Arc<str>,
    matches: Matches,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Matches {
    Category(Category),
    Typed { source: Glob, kind: Glob },
}

/// A pattern that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidPattern {
    /// There is no colon.
    #[error(
        "pattern `{0}` has no `:`; write source:type, such as github:push or *:*, or category:WORD"
    )]
    NoColon(String),
    /// One side is empty.
    #[error("pattern `{0}` has an empty {1}; use `*` to match any")]
    EmptySide(String, &'static str),
    /// No such category.
    #[error("pattern `{text}` names no category; the categories are {}", known())]
    UnknownCategory {
        /// The pattern.
        text: String,
    },
    /// Too long to ever match, or with control characters.
    #[error("pattern is longer than {EVENT_TYPE_BYTES_MAX} bytes or holds a control character")]
    Unprintable,
}

fn known() -> String {
    Category::ALL.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(", ")
}

impl Pattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        if text.len() > EVENT_TYPE_BYTES_MAX + 70 || text.chars().any(char::is_control) {
            return Err(InvalidPattern::Unprintable);
        }
        let (source, kind) =
            text.split_once(':').ok_or_else(|| InvalidPattern::NoColon(text.into()))?;
        let matches = if source == "category" {
            let category = Category::parse(kind)
                .ok_or_else(|| InvalidPattern::UnknownCategory { text: text.into() })?;
            Matches::Category(category)
        } else {
            for (side, what) in [(source, "source"), (kind, "type")] {
                if side.is_empty() {
                    return Err(InvalidPattern::EmptySide(text.into(), what));
                }
            }
            Matches::Typed { source: Glob::new(source), kind: Glob::new(kind) }
        };
        Ok(Self { text: text.into(), matches })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The source that it names exactly, if it does.
    #[must_use]
    pub fn exact_source(&self) -> Option<&str> {
        match &self.matches {
            Matches::Typed { source: Glob::Exact(text), .. } => Some(text),
            _ => None,
        }
    }

    /// What it says of types, with `*` for any text; none if it goes by category.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        match &self.matches {
            Matches::Category(_) => None,
            Matches::Typed { .. } => self.text.split_once(':').map(|(_, kind)| kind),
        }
    }

    /// Whether it could match an event of this source, of whatever type and category.
    #[must_use]
    pub fn reaches(&self, source: &SourceName) -> bool {
        match &self.matches {
            Matches::Category(_) => !source.must_be_named(),
            Matches::Typed { source: wanted, .. } => wanted.means(source),
        }
    }

    /// Whether an event with these facts matches.
    #[must_use]
    pub fn matches(
        &self,
        source: &SourceName,
        kind: &EventType,
        category: Option<Category>,
    ) -> bool {
        match &self.matches {
            Matches::Category(wanted) => !source.must_be_named() && category == Some(*wanted),
            Matches::Typed { source: wanted, kind: wanted_kind } => {
                wanted.means(source) && wanted_kind.matches(kind.as_str())
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A text in which `*` stands for any run of characters, also none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Glob {
    /// Nothing but stars: every text.
    Any,
    /// No star: this text.
    Exact(Box<str>),
    /// The pieces between the stars.
    Pieces(Box<[Box<str>]>),
}

impl Glob {
    /// Reads a text with or without stars.
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

    /// Whether it says outright that it means a source with a reserved name.
    fn names(&self, source: &str) -> bool {
        match self {
            Self::Any => false,
            Self::Exact(text) => **text == *source,
            Self::Pieces(pieces) => source.starts_with('@') && pieces[0].starts_with('@'),
        }
    }

    /// Whether a source is meant.
    fn means(&self, source: &SourceName) -> bool {
        (!source.must_be_named() || self.names(source.as_str())) && self.matches(source.as_str())
    }

    /// Whether a text is meant.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(wanted) => **wanted == *text,
            Self::Pieces(pieces) => matches_pieces(pieces, text),
        }
    }
}

/// First and last piece are anchored, those between are found leftmost: linear but for the search.
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

/// The patterns that bring events to one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Who gets them.
    pub target: Target,
    /// Any of these is enough; the first that matches is the reason given.
    pub patterns: Vec<Pattern>,
}

/// The hash of a routing table, by which an event remembers what held when it came.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TableHash(pub [u8; 16]);

impl fmt::Display for TableHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for TableHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who gets an event, and by which pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match<'t> {
    /// Who.
    pub target: &'t Target,
    /// Why.
    pub pattern: &'t Pattern,
}

/// All subscriptions, compiled. Immutable: a change makes a new one, swapped whole.
#[derive(Debug)]
pub struct RouteTable {
    subscriptions: Vec<Subscription>,
    /// Subscriptions with at least one pattern that can match a source by that exact name.
    by_source: FxHashMap<Box<str>, Vec<usize>>,
    /// Subscriptions with at least one pattern that can match sources by wildcard or category.
    anywhere: Vec<usize>,
    hash: TableHash,
}

impl RouteTable {
    /// Compiles a table. Several subscriptions for one target become one; their order is kept.
    #[must_use]
    pub fn new(given: impl IntoIterator<Item = Subscription>) -> Self {
        let mut subscriptions: Vec<Subscription> = Vec::new();
        for new in given {
            match subscriptions.iter_mut().find(|s| s.target == new.target) {
                Some(known) => known.patterns.extend(new.patterns),
                None => subscriptions.push(new),
            }
        }
        let mut by_source: FxHashMap<Box<str>, Vec<usize>> = FxHashMap::default();
        let mut anywhere = Vec::new();
        for (index, subscription) in subscriptions.iter().enumerate() {
            for pattern in &subscription.patterns {
                let list = match pattern.exact_source() {
                    Some(source) => by_source.entry(source.into()).or_default(),
                    None => &mut anywhere,
                };
                if list.last() != Some(&index) {
                    list.push(index);
                }
            }
        }
        let hash = hash(&subscriptions);
        Self { subscriptions, by_source, anywhere, hash }
    }

    /// Everyone who gets an event with these facts, each target once.
    #[must_use]
    pub fn route(
        &self,
        source: &SourceName,
        kind: &EventType,
        category: Option<Category>,
    ) -> Vec<Match<'_>> {
        let named = self.by_source.get(source.as_str()).map_or(&[][..], Vec::as_slice);
        let mut candidates: Vec<usize> = named.iter().chain(&self.anywhere).copied().collect();
        candidates.sort_unstable();
        candidates.dedup();
        let matching = |index: usize| {
            let Subscription { target, patterns } = &self.subscriptions[index];
            let pattern = patterns.iter().find(|p| p.matches(source, kind, category))?;
            Some(Match { target, pattern })
        };
        candidates.into_iter().filter_map(matching).collect()
    }

    /// Everything that could bring an event of this source to somebody. Tables that agree in this route its events
    /// alike.
    #[must_use]
    pub fn reaching(&self, source: &SourceName) -> Vec<Match<'_>> {
        let mut found = Vec::new();
        for Subscription { target, patterns } in &self.subscriptions {
            let reaching = patterns.iter().filter(|pattern| pattern.reaches(source));
            found.extend(reaching.map(|pattern| Match { target, pattern }));
        }
        found
    }

    /// The subscriptions it was made of.
    #[must_use]
    pub fn subscriptions(&self) -> &[Subscription] {
        &self.subscriptions
    }

    /// What it hashes to: equal tables route equally.
    #[must_use]
    pub fn hash(&self) -> TableHash {
        self.hash
    }
}

/// One line a pattern, so that what is hashed is also what is stored and read by people.
#[must_use]
pub fn table_text(subscriptions: &[Subscription]) -> String {
    let mut text = String::new();
    for Subscription { target, patterns } in subscriptions {
        for pattern in patterns {
            text.push_str(&format!("{pattern} -> {target}\n"));
        }
    }
    text
}

/// A stored table that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line} of the stored routing table is no pattern and target")]
pub struct CorruptTable {
    /// From 1.
    pub line: usize,
}

/// The subscriptions of a table from its text: the inverse of [`table_text`], but for targets with no patterns.
pub fn read_table(text: &str) -> Result<Vec<Subscription>, CorruptTable> {
    let mut subscriptions: Vec<Subscription> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        // A type may hold an arrow; a target never does.
        let parsed = line.rsplit_once(" -> ").and_then(|(pattern, target)| {
            Some((Pattern::parse(pattern).ok()?, target.parse::<Target>().ok()?))
        });
        let (pattern, target) = parsed.ok_or(CorruptTable { line: index + 1 })?;
        match subscriptions.last_mut().filter(|last| last.target == target) {
            Some(last) => last.patterns.push(pattern),
            None => subscriptions.push(Subscription { target, patterns: vec![pattern] }),
        }
    }
    Ok(subscriptions)
}

fn hash(subscriptions: &[Subscription]) -> TableHash {
    let digest: [u8; 32] = Sha256::digest(table_text(subscriptions)).into();
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    TableHash(short)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::name::{DestinationName, HandlerName};

    fn matches(pattern: &str, source: &str, kind: &str, category: Option<Category>) -> bool {
        let kind = EventType::new(kind).unwrap();
        Pattern::parse(pattern).unwrap().matches(&SourceName::stored(source), &kind, category)
    }

    fn handler(name: &str, patterns: &[&str]) -> Subscription {
        Subscription {
            target: Target::Handler(HandlerName::new(name).unwrap()),
            patterns: patterns.iter().map(|p| Pattern::parse(p).unwrap()).collect(),
        }
    }

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        assert!(matches("shopify:orders/*", "shopify", "orders/create", None));
        assert!(matches("*:*", "github", "push", None));
        assert!(matches("git*:p*h", "github", "push", None));
        assert!(matches("a:x*y*z", "a", "xyyz", None) && !matches("a:x*y*z", "a", "xz", None));
        assert!(!matches("a:ab*ba", "a", "aba", None), "the ends may not overlap");
        assert!(!matches("github:push", "github", "pushed", None));
    }

    #[test]
    fn a_category_crosses_sources() {
        let paid = Some(Category::PaymentReceived);
        assert!(matches("category:payment.received", "stripe", "invoice.paid", paid));
        assert!(!matches("category:payment.received", "stripe", "invoice.paid", None));
    }

    #[test]
    fn wildcards_and_categories_never_match_what_must_be_named() {
        assert!(!matches("*:*", "@orders", "late", None));
        assert!(!matches("*:*", "weir", "dead_letter", None));
        assert!(!matches("w*:*", "weir", "dead_letter", None));
        assert!(!matches("category:created", "@orders", "late", Some(Category::Created)));
        assert!(matches("@orders:*", "@orders", "late", None));
        assert!(matches("@*:late", "@orders", "late", None));
        assert!(matches("weir:dead_letter", "weir", "dead_letter", None));
    }

    #[test]
    fn a_malformed_pattern_is_refused_with_a_way_out() {
        for bad in ["push", ":push", "github:", "category:nonsense", "a:b\n"] {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Pattern::parse("category:x").unwrap_err().to_string().contains("user.signup"));
    }

    #[test]
    fn each_target_gets_an_event_once_and_the_first_pattern_is_the_reason() {
        let ops = Target::Destination(DestinationName::new("ops").unwrap());
        let table = RouteTable::new([
            handler("all", &["*:*"]),
            handler("git", &["github:issues", "github:pu*", "github:push"]),
            Subscription {
                target: ops.clone(),
                patterns: vec![Pattern::parse("github:*").unwrap()],
            },
            handler("shop", &["shopify:*"]),
        ]);
        let github = SourceName::stored("github");
        let found = table.route(&github, &EventType::new("push").unwrap(), None);
        let told: Vec<_> = found.iter().map(|m| format!("{} by {}", m.target, m.pattern)).collect();
        assert_eq!(
            told,
            ["handler:all by *:*", "handler:git by github:pu*", "destination:ops by github:*"]
        );
    }

    #[test]
    fn what_reaches_a_source_is_all_that_could_bring_its_events_to_somebody() {
        let table = RouteTable::new([
            handler("all", &["*:*"]),
            handler("git", &["github:push", "gitlab:push", "git*:issues"]),
            handler("paid", &["category:payment.received"]),
            handler("told", &["weir:*"]),
        ]);
        let reaching = |source: &str| {
            let source = SourceName::stored(source);
            let found = table.reaching(&source);
            found.iter().map(|m| m.pattern.to_string()).collect::<Vec<_>>()
        };
        let github = ["*:*", "github:push", "git*:issues", "category:payment.received"];
        assert_eq!(reaching("github"), github);
        assert_eq!(reaching("stripe"), ["*:*", "category:payment.received"]);
        assert_eq!(reaching("weir"), ["weir:*"]);
        assert!(reaching("@git").is_empty());
    }

    #[test]
    fn equal_tables_hash_equally_and_others_do_not() {
        let one = RouteTable::new([handler("a", &["x:*"]), handler("a", &["y:*"])]);
        let same = RouteTable::new([handler("a", &["x:*", "y:*"])]);
        let other = RouteTable::new([handler("a", &["y:*", "x:*"])]);
        assert_eq!(one.hash(), same.hash());
        assert_ne!(one.hash(), other.hash());
    }

    #[test]
    fn a_stored_table_is_read_back_as_it_was() {
        let ops = Target::Destination(DestinationName::new("ops").unwrap());
        let arrow = vec![Pattern::parse("a:x -> handler:b").unwrap()];
        let given = [
            handler("git", &["github:issues", "category:created"]),
            Subscription { target: ops, patterns: arrow },
        ];
        assert_eq!(read_table(&table_text(&given)).as_deref(), Ok(&given[..]));
        assert_eq!(read_table("github:* -> handler:a\nnonsense"), Err(CorruptTable { line: 2 }));
    }

    proptest! {
        #[test]
        fn a_glob_agrees_with_the_plain_definition(pattern in "[ab*]{1,8}", text in "[ab]{0,8}") {
            fn plain(p: &[u8], t: &[u8]) -> bool {
                match p.split_first() {
                    None => t.is_empty(),
                    Some((b'*', rest)) => (0..=t.len()).any(|n| plain(rest, &t[n..])),
                    Some((c, rest)) => t.first() == Some(c) && plain(rest, &t[1..]),
                }
            }
            prop_assert_eq!(Glob::new(&pattern).matches(&text), plain(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
