//! Categories: maps a provider's event types to the categories that all providers share.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::FactTemplate;
use crate::event::Category;

/// Types and type patterns with their categories.
pub type CategoryMap = PatternMap<CategoryRule>;

/// The category of events of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CategoryRule {
    Fixed(Category),
    /// Chosen by the value of the first of these fields that has one: a type alone may not tell a
    /// payment from a failed one. If all fields are absent, the value is empty.
    By(Vec<FactTemplate>, PatternMap<Category>),
}

/// A map from texts and patterns, in which `*` stands for any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternMap<T> {
    exact: BTreeMap<Box<str>, T>,
    /// Sorted by length, the longest first, so that the closest pattern wins.
    patterns: Vec<(Box<str>, T)>,
}

impl<T> Default for PatternMap<T> {
    fn default() -> Self {
        Self { exact: BTreeMap::new(), patterns: Vec::new() }
    }
}

impl<T> PatternMap<T> {
    /// Builds the map; a text with `*` is a pattern.
    #[must_use]
    pub fn new<'t>(entries: impl IntoIterator<Item = (&'t str, T)>) -> Self {
        let mut map = Self::default();
        for (text, meaning) in entries {
            if text.contains('*') {
                map.patterns.push((text.into(), meaning));
            } else {
                map.exact.insert(text.into(), meaning);
            }
        }
        map.patterns.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        map
    }

    /// The value of the text itself, else of the closest pattern.
    #[must_use]
    pub fn get(&self, text: &str) -> Option<&T> {
        let fitting = || self.patterns.iter().find(|(p, _)| matches(p, text)).map(|(_, m)| m);
        self.exact.get(text).or_else(fitting)
    }
}

impl CategoryMap {
    /// The category of an event of this type, whose fields `read` returns; `custom` if no entry
    /// matches.
    pub fn of<'a>(
        &self,
        kind: &str,
        read: impl FnMut(&FactTemplate) -> Option<Cow<'a, str>>,
    ) -> Category {
        self.find(kind, read).unwrap_or(Category::Custom)
    }

    /// The category of an event of this type; `None` if no entry matches.
    pub fn find<'a>(
        &self,
        kind: &str,
        read: impl FnMut(&FactTemplate) -> Option<Cow<'a, str>>,
    ) -> Option<Category> {
        match self.get(kind)? {
            CategoryRule::Fixed(category) => Some(*category),
            CategoryRule::By(fields, words) => {
                words.get(&fields.iter().find_map(read).unwrap_or_default()).copied()
            }
        }
    }

    /// The fields that decide the category of this type, if the type alone does not.
    #[must_use]
    pub fn fields(&self, kind: &str) -> &[FactTemplate] {
        match self.get(kind) {
            Some(CategoryRule::By(fields, _)) => fields,
            Some(CategoryRule::Fixed(_)) | None => &[],
        }
    }

    /// All fields of events that the map reads.
    pub(crate) fn templates(&self) -> impl Iterator<Item = &FactTemplate> {
        let rules = self.exact.values().chain(self.patterns.iter().map(|(_, rule)| rule));
        rules.flat_map(|rule| match rule {
            CategoryRule::By(fields, _) => &fields[..],
            CategoryRule::Fixed(_) => &[],
        })
    }
}

/// True if `text` matches `pattern`, where `*` stands for any text. Linear in both: after the first
/// part, each part is searched from the left, and the last one must end the text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_pattern_wins() {
        let map = CategoryMap::new(
            [
                ("*", Category::Updated),
                ("invoice.*", Category::StatusChanged),
                ("invoice.paid", Category::PaymentReceived),
                ("*.deleted", Category::Deleted),
            ]
            .map(|(text, category)| (text, CategoryRule::Fixed(category))),
        );
        let of = |kind: &str| map.of(kind, |_| None);
        assert_eq!(of("invoice.paid"), Category::PaymentReceived);
        assert_eq!(of("invoice.voided"), Category::StatusChanged);
        assert_eq!(of("customer.deleted"), Category::Deleted);
        assert_eq!(of("else"), Category::Updated);
        assert_eq!(CategoryMap::default().of("else", |_| None), Category::Custom);
    }

    #[test]
    fn a_field_can_decide_the_category() {
        let words = [("COMPLETED", Category::PaymentReceived), ("", Category::Created)];
        let fields = ["/state", "/status"].map(|field| FactTemplate::parse(field).unwrap());
        let rule = CategoryRule::By(fields.to_vec(), PatternMap::new(words));
        let map = CategoryMap::new([("payment.*", rule)]);
        let of = |status: Option<&'static str>| {
            map.of("payment.updated", |field| {
                if *field == fields[1] { status.map(Cow::Borrowed) } else { None }
            })
        };
        assert_eq!(of(Some("COMPLETED")), Category::PaymentReceived);
        assert_eq!(of(None), Category::Created, "an absent field is empty");
        assert_eq!(of(Some("PENDING")), Category::Custom);
    }

    #[test]
    fn a_star_matches_any_text() {
        for (pattern, text, fits) in [
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acd", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXc", false),
            ("abc", "abcd", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }
}
