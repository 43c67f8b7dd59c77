//! The common words for what happened, found by a provider's own words.

use std::collections::BTreeMap;

use crate::event::Category;

/// Types and patterns of types, with the category of each.
#[derive(Debug, Clone, Default)]
pub struct CategoryMap {
    exact: BTreeMap<Box<str>, Category>,
    /// The longest first, so that the closest description wins.
    patterns: Vec<(Box<str>, Category)>,
}

impl CategoryMap {
    /// A map from types, in which `*` stands for any text.
    #[must_use]
    pub fn new<'t>(entries: impl IntoIterator<Item = (&'t str, Category)>) -> Self {
        let mut map = Self::default();
        for (text, category) in entries {
            if text.contains('*') {
                map.patterns.push((text.into(), category));
            } else {
                map.exact.insert(text.into(), category);
            }
        }
        map.patterns.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        map
    }

    /// The category of a type; `custom` if nothing describes it.
    #[must_use]
    pub fn of(&self, kind: &str) -> Category {
        self.exact
            .get(kind)
            .copied()
            .or_else(|| self.patterns.iter().find(|(p, _)| matches(p, kind)).map(|(_, c)| *c))
            .unwrap_or(Category::Custom)
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
        let map = CategoryMap::new([
            ("*", Category::Updated),
            ("invoice.*", Category::StatusChanged),
            ("invoice.paid", Category::PaymentReceived),
            ("*.deleted", Category::Deleted),
        ]);
        assert_eq!(map.of("invoice.paid"), Category::PaymentReceived);
        assert_eq!(map.of("invoice.voided"), Category::StatusChanged);
        assert_eq!(map.of("customer.deleted"), Category::Deleted);
        assert_eq!(map.of("else"), Category::Updated);
        assert_eq!(CategoryMap::default().of("else"), Category::Custom);
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
