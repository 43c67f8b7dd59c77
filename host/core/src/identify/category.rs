//! The common words for what happened, found by a provider's own words.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::FactTemplate;
use crate::event::Category;

/// Types and patterns of types, with the category of each.
pub type CategoryMap = PatternMap<CategoryRule>;

/// The category of events of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CategoryRule {
    /// Always this one.
    Fixed(Category),
    /// By what stands in the event at the first of these places that has something, where the type alone does not tell
    /// a payment from one that failed. An event that lacks them all has an empty text there.
    By(Vec<FactTemplate>, PatternMap<Category>),
}

/// What texts and patterns of texts mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternMap<T> {
    exact: BTreeMap<Box<str>, T>,
    /// The longest first, so that the closest description wins.
    patterns: Vec<(Box<str>, T)>,
}

impl<T> Default for PatternMap<T> {
    fn default() -> Self {
        Self { exact: BTreeMap::new(), patterns: Vec::new() }
    }
}

impl<T> PatternMap<T> {
    /// A map from texts, in which `*` stands for any text.
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

    /// What a text means: the text itself, else the closest pattern.
    #[must_use]
    pub fn get(&self, text: &str) -> Option<&T> {
        let fitting = || self.patterns.iter().find(|(p, _)| matches(p, text)).map(|(_, m)| m);
        self.exact.get(text).or_else(fitting)
    }
}

impl CategoryMap {
    /// The category of an event of this type, whose own texts `read` finds; `custom` if nothing describes it.
    pub fn of<'a>(
        &self,
        kind: &str,
        read: impl FnMut(&FactTemplate) -> Option<Cow<'a, str>>,
    ) -> Category {
        self.described(kind, read).unwrap_or(Category::Custom)
    }

    /// The same; none if nothing describes it.
    pub fn described<'a>(
        &self,
        kind: &str,
        read: impl FnMut(&FactTemplate) -> Option<Cow<'a, str>>,
    ) -> Option<Category> {
        match self.get(kind)? {
            CategoryRule::Fixed(category) => Some(*category),
            CategoryRule::By(places, words) => {
                words.get(&places.iter().find_map(read).unwrap_or_default()).copied()
            }
        }
    }

    /// The places by which the category of this type goes, where the type alone does not tell.
    #[must_use]
    pub fn places(&self, kind: &str) -> &[FactTemplate] {
        match self.get(kind) {
            Some(CategoryRule::By(places, _)) => places,
            Some(CategoryRule::Fixed(_)) | None => &[],
        }
    }

    /// What is read of events for it.
    pub(crate) fn templates(&self) -> impl Iterator<Item = &FactTemplate> {
        let rules = self.exact.values().chain(self.patterns.iter().map(|(_, rule)| rule));
        rules.flat_map(|rule| match rule {
            CategoryRule::By(places, _) => &places[..],
            CategoryRule::Fixed(_) => &[],
        })
    }
}

/// True if `text` fits `pattern`, where `*` stands for any text. Linear in both: after the first part each
/// part is looked for from the left, and the last must end the text.
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
    fn the_closest_description_wins() {
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
    fn a_field_of_the_event_tells_apart_what_its_type_does_not() {
        let words = [("COMPLETED", Category::PaymentReceived), ("", Category::Created)];
        let places = ["/state", "/status"].map(|place| FactTemplate::parse(place).unwrap());
        let rule = CategoryRule::By(places.to_vec(), PatternMap::new(words));
        let map = CategoryMap::new([("payment.*", rule)]);
        let of = |status: Option<&'static str>| {
            map.of("payment.updated", |place| {
                if *place == places[1] { status.map(Cow::Borrowed) } else { None }
            })
        };
        assert_eq!(of(Some("COMPLETED")), Category::PaymentReceived);
        assert_eq!(of(None), Category::Created, "what is lacking is empty");
        assert_eq!(of(Some("PENDING")), Category::Custom);
    }

    #[test]
    fn a_star_stands_for_any_text() {
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
