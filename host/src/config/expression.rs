//! Expressions in CEL: `when`, `order_by`, and the parts of a route's message. A mistake is
//! reported with its line and column in the file.

use weir_core::condition::InvalidExpression;
use weir_core::delivery::OnBlocked;

use super::tree::Section;

/// Reads an expression. Every mistake in it is a problem of its own.
pub(super) fn read<T>(
    section: &mut Section<'_>,
    key: &'static str,
    parse: impl FnOnce(&str) -> Result<T, Vec<InvalidExpression>>,
) -> Option<T> {
    let text = section.maybe::<String>(key)?;
    match parse(&text) {
        Ok(parsed) => Some(parsed),
        Err(mistakes) => {
            for mistake in mistakes {
                section.problem_inside(key, mistake.at, &mistake.what);
            }
            None
        }
    }
}

/// Reads `on_blocked`.
pub(super) fn on_blocked(section: &mut Section<'_>) -> Option<OnBlocked> {
    let word = section.maybe::<String>("on_blocked")?;
    let read = OnBlocked::parse(&word);
    if read.is_none() {
        section.problem("on_blocked", "must be \"skip\" or \"wait\"");
    }
    read
}

/// The byte in the text of a TOML string, with its quotes, at which byte `at` of its value stands.
pub(super) fn byte_in_literal(raw: &str, at: usize) -> usize {
    let is_basic = raw.starts_with('"');
    let is_multiline = raw.starts_with("\"\"\"") || raw.starts_with("'''");
    let mut place = if is_multiline { 3 } else { 1 };
    if is_multiline {
        let rest = raw.get(place..).unwrap_or("");
        place += if rest.starts_with("\r\n") { 2 } else { usize::from(rest.starts_with('\n')) };
    }
    let mut value = 0;
    while value < at {
        let rest = raw.get(place..).unwrap_or("");
        let Some(first) = rest.chars().next() else { break };
        if !is_basic || first != '\\' {
            (place, value) = (place + first.len_utf8(), value + first.len_utf8());
            continue;
        }
        let (written, meant) = escape(rest);
        (place, value) = (place + written, value + meant);
    }
    place
}

/// The bytes of an escape as written, and of what it means.
fn escape(rest: &str) -> (usize, usize) {
    let code = |digits: usize| {
        let number = rest.get(2..2 + digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        (2 + digits, number.and_then(char::from_u32).map_or(1, char::len_utf8))
    };
    match rest[1..].chars().next() {
        Some('x') => code(2),
        Some('u') => code(4),
        Some('U') => code(8),
        // The end of a line, which means nothing, with the blanks after it.
        Some(c) if c.is_whitespace() => (1 + (rest.len() - 1 - rest[1..].trim_start().len()), 0),
        Some(_) => (2, 1),
        None => (1, 1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn byte_of_a_value_is_found_in_its_literal() {
        let found = |raw: &str, at| raw[byte_in_literal(raw, at)..].to_owned();
        assert_eq!(found("'abc'", 1), "bc'");
        assert_eq!(found(r#""a\"bc""#, 2), "bc\"");
        assert_eq!(found(r#""\u00e9bc""#, 2), "bc\"");
        assert_eq!(found("'''\na\nbc'''", 2), "bc'''");
        assert_eq!(found("\"\"\"a\\\n   bc\"\"\"", 1), "\\\n   bc\"\"\"");
        assert_eq!(found("\"\"\"a\\\n   bc\"\"\"", 2), "c\"\"\"");
    }

    proptest! {
        #[test]
        fn any_place_in_any_string_is_inside_its_literal(text in ".{0,30}", at in 0_usize..40) {
            for raw in [format!("{text:?}"), format!("'{text}'"), format!("\"\"\"{text}")] {
                prop_assert!(byte_in_literal(&raw, at) <= raw.len() + 10);
            }
        }
    }
}
