//! The routing table: all rules, indexed by source. Immutable: a change makes a new table.

use std::fmt;

use rustc_hash::{FxHashMap, FxHashSet};
use sha2::{Digest, Sha256};

use crate::condition::LazyEvent;
use crate::event::EventFacts;
use crate::name::{SourceName, Target};

use super::pattern::Pattern;
use super::rule::{Decision, Rule, RuleDecision};
use super::stored::table_text;

/// The hash of a routing table's text. An event refers to the table that routed it by this.
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

/// All rules, compiled.
#[derive(Debug)]
pub struct RouteTable {
    rules: Vec<Rule>,
    /// Rules with a pattern that names this source exactly.
    by_source: FxHashMap<Box<str>, Vec<usize>>,
    /// Rules with a pattern that matches sources by wildcard or category.
    any_source: Vec<usize>,
    /// Rules whose target another rule has too.
    shared_targets: FxHashSet<usize>,
    /// True if a rule has a condition or an order key.
    has_expressions: bool,
    reads_payload: bool,
    hash: TableHash,
}

impl RouteTable {
    /// Compiles a table. The order of the rules is the order of the deliveries.
    #[must_use]
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        let rules: Vec<Rule> = rules.into_iter().collect();
        let mut by_source: FxHashMap<Box<str>, Vec<usize>> = FxHashMap::default();
        let mut any_source = Vec::new();
        let mut by_target: FxHashMap<&Target, Vec<usize>> = FxHashMap::default();
        for (index, rule) in rules.iter().enumerate() {
            by_target.entry(&rule.target).or_default().push(index);
            for pattern in &rule.patterns {
                let list = match pattern.exact_source() {
                    Some(source) => by_source.entry(source.into()).or_default(),
                    None => &mut any_source,
                };
                if list.last() != Some(&index) {
                    list.push(index);
                }
            }
        }
        let shared_targets =
            by_target.into_values().filter(|rules| rules.len() > 1).flatten().collect();
        let has_expressions = rules.iter().any(|r| r.condition.is_some() || r.order_by.is_some());
        let reads_payload = rules.iter().any(Rule::reads_payload);
        let hash = hash(&rules);
        Self { rules, by_source, any_source, shared_targets, has_expressions, reads_payload, hash }
    }

    /// The decisions on an event, in the order of the rules. A rule without a matching pattern is
    /// left out and costs no allocation: that it does not match follows from the table's text.
    #[must_use]
    pub fn route(&self, facts: &EventFacts<'_>) -> Vec<RuleDecision<'_>> {
        if !self.has_expressions {
            return self.decisions(facts, |rule| {
                rule.matching_pattern(facts)?;
                Some(Decision::Deliver { order_key: None })
            });
        }
        // The body is parsed at most once for all rules, and only if one reads it.
        let event = LazyEvent::new(*facts);
        self.decisions(facts, |rule| rule.decide(&event))
    }

    fn decisions<'t>(
        &'t self,
        facts: &EventFacts<'_>,
        decide: impl Fn(&'t Rule) -> Option<Decision<'t>>,
    ) -> Vec<RuleDecision<'t>> {
        let named = self.by_source.get(facts.source.as_str()).map_or(&[][..], Vec::as_slice);
        let decided = |index: usize| {
            let rule = &self.rules[index];
            let decision = decide(rule)?;
            let shares_target = self.shared_targets.contains(&index);
            Some(RuleDecision { rule, decision, shares_target })
        };
        Merged(named, &self.any_source).filter_map(decided).collect()
    }

    /// True if a rule reads headers, query or body, so that [`EventFacts::payload`] is needed.
    #[must_use]
    pub fn reads_payload(&self) -> bool {
        self.reads_payload
    }

    /// True if two tables route the events of this source alike, as far as their rules tell.
    #[must_use]
    pub fn routes_alike(&self, other: &Self, source: &SourceName) -> bool {
        self.reaching(source).eq(other.reaching(source))
    }

    /// Everything that can bring an event of this source to a target.
    fn reaching<'t>(
        &'t self,
        source: &SourceName,
    ) -> impl Iterator<Item = (&'t Target, &'t Pattern, Option<&'t str>)> {
        self.rules.iter().flat_map(move |rule| {
            let condition = rule.condition.as_deref().map(|condition| condition.as_str());
            let reaching = rule.patterns.iter().filter(move |pattern| pattern.reaches(source));
            reaching.map(move |pattern| (&rule.target, pattern, condition))
        })
    }

    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Equal hashes: equal tables, which route equally.
    #[must_use]
    pub fn hash(&self) -> TableHash {
        self.hash
    }
}

/// A target that gets an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutedTo<'t> {
    pub target: &'t Target,
    pub order_key: Option<Box<str>>,
    /// The reason that its rule could not be evaluated: its delivery is a dead letter at once.
    pub error: Option<Box<str>>,
}

/// The targets that get an event, each once, with the order key of the first rule that delivers.
/// A target whose rules could not be evaluated gets a dead letter, unless one of them delivers.
pub fn deliveries<'t>(decisions: Vec<RuleDecision<'t>>) -> impl Iterator<Item = RoutedTo<'t>> {
    let failed = |d: &RuleDecision<'_>| matches!(d.decision, Decision::Error { .. });
    let delivering: Vec<&Target> = match decisions.iter().any(|d| d.shares_target && failed(d)) {
        true => {
            let delivers = |d: &&RuleDecision<'t>| matches!(d.decision, Decision::Deliver { .. });
            decisions.iter().filter(delivers).map(|d| &d.rule.target).collect()
        }
        false => Vec::new(),
    };
    let mut shared: Vec<&Target> = Vec::new();
    decisions.into_iter().filter_map(move |RuleDecision { rule, decision, shares_target }| {
        let target = &rule.target;
        let routed = match decision {
            Decision::Deliver { order_key } => RoutedTo { target, order_key, error: None },
            Decision::Error { .. } if delivering.contains(&target) => return None,
            Decision::Error { reason } => RoutedTo { target, order_key: None, error: Some(reason) },
            Decision::NotMatched { .. } => return None,
        };
        if shares_target {
            if shared.contains(&target) {
                return None;
            }
            shared.push(target);
        }
        Some(routed)
    })
}

/// Two ascending lists as one, each number once.
struct Merged<'l>(&'l [usize], &'l [usize]);

impl Iterator for Merged<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let next = match (self.0.first(), self.1.first()) {
            (Some(a), Some(b)) => *a.min(b),
            (a, b) => *a.or(b)?,
        };
        for list in [&mut self.0, &mut self.1] {
            if list.first() == Some(&next) {
                *list = &list[1..];
            }
        }
        Some(next)
    }
}

fn hash(rules: &[Rule]) -> TableHash {
    let digest: [u8; 32] = Sha256::digest(table_text(rules)).into();
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    TableHash(short)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::condition::{Condition, OrderKey};
    use crate::event::EventType;
    use crate::name::{DestinationName, HandlerName};
    use crate::payload::Payload;
    use crate::route::decisions_text;
    use crate::time::Timestamp;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|p| Pattern::parse(p).unwrap()).collect()
    }

    fn handler(name: &str, texts: &[&str]) -> Rule {
        let target = Target::Handler(HandlerName::new(name).unwrap());
        Rule::new(target.to_string(), target, patterns(texts))
    }

    fn to_ops(id: &str, texts: &[&str]) -> Rule {
        let target = Target::Destination(DestinationName::new("ops").unwrap());
        Rule::new(id, target, patterns(texts))
    }

    fn when(text: &str) -> Option<Arc<Condition>> {
        Some(Arc::new(Condition::parse(text).unwrap()))
    }

    fn with_facts<T>(body: Option<&[u8]>, f: impl FnOnce(&EventFacts<'_>) -> T) -> T {
        let (source, kind) = (SourceName::stored("github"), EventType::new("push").unwrap());
        let payload = body.map(|body| Payload::new("application/json", body.to_vec().into()));
        f(&EventFacts {
            id: None,
            source: &source,
            kind: &kind,
            category: None,
            delivery_id: None,
            received_at: Timestamp::from_millis(0),
            payload: payload.as_ref(),
        })
    }

    fn decided(table: &RouteTable, body: Option<&[u8]>) -> Vec<String> {
        let shown = |d: &RuleDecision<'_>| match &d.decision {
            Decision::Deliver { order_key: None } => format!("{} delivers", d.rule.id),
            Decision::Deliver { order_key: Some(key) } => format!("{} delivers {key}", d.rule.id),
            Decision::NotMatched { clause } => format!("{} lacks {clause}", d.rule.id),
            Decision::Error { reason } => format!("{}: {reason}", d.rule.id),
        };
        with_facts(body, |facts| table.route(facts).iter().map(shown).collect())
    }

    fn targets(table: &RouteTable, body: &[u8]) -> Vec<String> {
        let shown = |to: RoutedTo<'_>| match to.error {
            None => to.target.to_string(),
            Some(reason) => format!("{} dead: {reason}", to.target),
        };
        with_facts(Some(body), |facts| deliveries(table.route(facts)).map(shown).collect())
    }

    #[test]
    fn rules_decide_in_order_and_those_without_a_match_are_left_out() {
        let table = RouteTable::new([
            handler("all", &["*:*"]),
            handler("git", &["github:issues", "github:pu*", "github:push"]),
            to_ops("route:1", &["github:*"]),
            handler("shop", &["shopify:*"]),
        ]);
        let delivering = ["handler:all delivers", "handler:git delivers", "route:1 delivers"];
        assert_eq!(decided(&table, None), delivering);
        assert!(!table.reads_payload());
    }

    #[test]
    fn rules_of_one_target_are_kept_apart_and_make_one_delivery() {
        let table = RouteTable::new([
            to_ops("route:1", &["github:issues"]),
            to_ops("route:2", &["github:push"]),
            handler("git", &["github:*"]),
            to_ops("route:3", &["*:push"]),
        ]);
        let delivering = ["route:2 delivers", "handler:git delivers", "route:3 delivers"];
        assert_eq!(decided(&table, None), delivering);
        assert_eq!(targets(&table, b""), ["destination:ops", "handler:git"]);
    }

    #[test]
    fn rule_delivers_only_while_its_condition_holds() {
        let conditional = |id, text| Rule { condition: when(text), ..to_ops(id, &["github:push"]) };
        let rules = [
            conditional("route:1", "event.body.ref == 'main'"),
            conditional("route:2", "event.type == 'push' && event.body.ref == 'tag'"),
        ];
        let table = RouteTable::new(rules.into_iter().chain([handler("git", &["github:*"])]));
        assert!(table.reads_payload());
        let main = br#"{"ref":"main"}"#;
        let expected =
            ["route:1 delivers", "route:2 lacks event.body.ref == 'tag'", "handler:git delivers"];
        assert_eq!(decided(&table, Some(main)), expected);
        assert_eq!(targets(&table, main), ["destination:ops", "handler:git"]);
        assert_eq!(targets(&table, br#"{"ref":"x"}"#), ["handler:git"]);
        let reason = "route:1: `event.body.ref == 'main'`: event.body has no field `ref`";
        assert_eq!(decided(&table, Some(b"{}"))[0], format!("route:1: {reason}"));
        assert_eq!(
            targets(&table, b"{}"),
            [format!("destination:ops dead: {reason}"), "handler:git".into()]
        );
    }

    #[test]
    fn rule_that_delivers_wins_over_one_of_its_target_that_failed() {
        let rules = [
            Rule { condition: when("event.body.ref == 'x'"), ..to_ops("route:1", &["github:*"]) },
            to_ops("route:2", &["github:*"]),
        ];
        assert_eq!(targets(&RouteTable::new(rules), b"{}"), ["destination:ops"]);
    }

    #[test]
    fn condition_on_the_type_alone_does_not_read_the_payload() {
        let table = RouteTable::new([Rule {
            condition: when("event.type == 'push'"),
            ..to_ops("route:1", &["github:*"])
        }]);
        assert!(!table.reads_payload());
        assert_eq!(decided(&table, None), ["route:1 delivers"]);
    }

    #[test]
    fn order_key_is_read_from_the_payload() {
        let order_by = Some(Arc::new(OrderKey::parse("event.body.id").unwrap()));
        let table = RouteTable::new([Rule { order_by, ..to_ops("route:1", &["github:push"]) }]);
        assert_eq!(decided(&table, Some(br#"{"id":"a7"}"#)), ["route:1 delivers a7"]);
        assert_eq!(decided(&table, Some(br#"{"id":7}"#)), ["route:1 delivers 7"]);
        assert_eq!(decided(&table, Some(b"{}")), ["route:1 delivers"]);
        assert_eq!(decided(&table, Some(br#"{"id":null}"#)), ["route:1 delivers"]);
        let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(201));
        assert!(decided(&table, Some(long.as_bytes()))[0].contains("has 201 bytes"));
        assert!(decided(&table, Some(br#"{"id":[]}"#))[0].contains("gives a list"));
        assert!(decided(&table, None)[0].contains("event.body is not at hand here"));
    }

    #[test]
    fn decisions_are_stored_only_where_the_table_does_not_tell_them() {
        let condition = when("event.body.ref == 'main'");
        let plain = RouteTable::new([handler("git", &["github:*"])]);
        let conditional = Rule { condition, ..to_ops("route:1", &["github:push"]) };
        let table = RouteTable::new([handler("git", &["github:*"]), conditional]);
        let text = |table: &RouteTable, body: &[u8]| {
            with_facts(Some(body), |facts| decisions_text(&table.route(facts)))
        };
        assert_eq!(&*text(&plain, b"x"), "");
        assert_eq!(&*text(&table, br#"{"ref":"main"}"#), "");
        let stored = r#"[{"rule":"route:1","not_matched":"event.body.ref == 'main'"}]"#;
        assert_eq!(&*text(&table, br#"{"ref":"x"}"#), stored);
    }

    #[test]
    fn tables_route_a_source_alike_if_what_reaches_it_is_equal() {
        let all = || handler("all", &["*:*"]);
        let paid = || handler("paid", &["category:payment.received"]);
        let one = RouteTable::new([all(), handler("git", &["github:push"]), paid()]);
        let two = RouteTable::new([all(), handler("git", &["github:issues", "git*:x"]), paid()]);
        let alike = |source: &str| one.routes_alike(&two, &SourceName::stored(source));
        assert!(alike("stripe") && alike("weir") && alike("@git"));
        assert!(!alike("github") && !alike("gitlab"));
        let condition = when("event.body.x == 1");
        let three = RouteTable::new([
            Rule { condition, ..all() },
            handler("git", &["github:push"]),
            paid(),
        ]);
        assert!(!one.routes_alike(&three, &SourceName::stored("stripe")));
    }

    #[test]
    fn equal_tables_hash_equally_and_others_do_not() {
        let table = |first: &[&str]| RouteTable::new([handler("a", first), handler("b", &["*:*"])]);
        assert_eq!(table(&["x:*", "y:*"]).hash(), table(&["x:*", "y:*"]).hash());
        assert_ne!(table(&["x:*", "y:*"]).hash(), table(&["y:*", "x:*"]).hash());
    }
}
