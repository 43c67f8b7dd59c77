//! The name of a stream, subject, topic or queue with the placeholders `{source}` and `{type}`.

use weir_core::template::{Piece, pieces};

use crate::config::tree::Section;

/// Longest name, in bytes, before its placeholders are filled.
const NAME_BYTES_MAX: usize = 200;

/// A name that may depend on the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern(Vec<NamePart>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum NamePart {
    Text(String),
    Source,
    Type,
}

impl NamePattern {
    /// A name, in which `{source}` and `{type}` stand for those of the event.
    ///
    /// # Errors
    /// The problem, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty".into());
        }
        if text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(format!("must be at most {NAME_BYTES_MAX} printable characters"));
        }
        let part = |piece| match piece {
            Piece::Literal(text) => Ok(NamePart::Text(text)),
            Piece::Placeholder(name) if name == "source" => Ok(NamePart::Source),
            Piece::Placeholder(name) if name == "type" => Ok(NamePart::Type),
            Piece::Placeholder(name) => {
                Err(format!("has the unknown placeholder {{{name}}}; use {{source}} or {{type}}"))
            }
        };
        let pieces = pieces(text).map_err(|error| error.to_string())?;
        pieces.into_iter().map(part).collect::<Result<_, _>>().map(Self)
    }

    /// The name for an event. Characters of the source and type that are in `not` become `_`.
    #[must_use]
    pub fn of(&self, source: &str, kind: &str, not: &[char]) -> String {
        let safe = |c: char| if not.contains(&c) || c.is_control() { '_' } else { c };
        let mut name = String::new();
        for part in &self.0 {
            match part {
                NamePart::Text(text) => name.push_str(text),
                NamePart::Source => name.extend(source.chars().map(safe)),
                NamePart::Type => name.extend(kind.chars().map(safe)),
            }
        }
        name
    }

    /// True if the name is the same for every event.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.0.iter().all(|part| matches!(part, NamePart::Text(_)))
    }

    /// The name as it was written.
    #[must_use]
    pub fn text(&self) -> String {
        let text = |part: &NamePart| match part {
            NamePart::Text(text) => text.clone(),
            NamePart::Source => "{source}".into(),
            NamePart::Type => "{type}".into(),
        };
        self.0.iter().map(text).collect()
    }
}

/// Reads an optional name.
pub(super) fn read(section: &mut Section<'_>, key: &'static str) -> Option<NamePattern> {
    let text = section.maybe::<String>(key)?;
    match NamePattern::parse(&text) {
        Ok(pattern) => Some(pattern),
        Err(what) => {
            section.problem(key, what);
            None
        }
    }
}

/// Reads a required name.
pub(super) fn must(section: &mut Section<'_>, key: &'static str) -> Option<NamePattern> {
    if !section.has(key) {
        section.mark_read(key);
        section.problem(key, "is missing");
        return None;
    }
    read(section, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_become_facts_of_the_event() {
        let name = |text: &str| NamePattern::parse(text).unwrap();
        let of = |text: &str| name(text).of("github", "push*now", &['*']);
        assert_eq!(of("events"), "events");
        assert_eq!(of("events.{source}.{type}"), "events.github.push_now");
        assert_eq!(of("a*{{b"), "a*{b", "only the event's words are changed");
        assert!(name("events").is_fixed() && !name("{type}").is_fixed());
        assert_eq!(name("a.{source}.{type}").text(), "a.{source}.{type}");
    }

    #[test]
    fn an_unknown_placeholder_is_named() {
        let said = |text: &str| NamePattern::parse(text).unwrap_err();
        assert!(said("x.{tipe}").contains("{tipe}"));
        assert!(said("x.{type").contains("no closing brace"));
        for bad in ["", "a\nb", &"x".repeat(201)] {
            assert!(NamePattern::parse(bad).is_err(), "{bad:?}");
        }
    }
}
