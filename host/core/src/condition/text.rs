//! Looks at the text of an expression before it is parsed: nesting, number of tokens, and the
//! clauses that a top-level `&&` joins.

use std::ops::Range;

/// Facts of a text that need no parser.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TextShape {
    /// The deepest nesting of brackets, with the first byte of the deepest.
    pub(super) depth: usize,
    pub(super) deepest_at: usize,
    pub(super) tokens: usize,
    /// The clauses that a top-level `&&` joins; one if there is none.
    pub(super) clauses: Vec<Range<usize>>,
}

/// Looks at a text. Brackets and operators inside texts and comments do not count.
pub(super) fn shape(text: &str) -> TextShape {
    let bytes = text.as_bytes();
    let mut shape = TextShape::default();
    let (mut depth, mut at, mut begin) = (0_usize, 0, 0);
    let mut is_joined_otherwise = false;
    while at < bytes.len() {
        let next = after_token(bytes, at);
        match bytes[at] {
            byte if byte.is_ascii_whitespace() => {}
            b'/' if bytes.get(at + 1) == Some(&b'/') => {}
            byte => {
                shape.tokens += 1;
                match byte {
                    b'(' | b'[' | b'{' => {
                        depth += 1;
                        if depth > shape.depth {
                            (shape.depth, shape.deepest_at) = (depth, at);
                        }
                    }
                    b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                    b'?' if depth == 0 => is_joined_otherwise = true,
                    b'|' if depth == 0 => is_joined_otherwise = true,
                    b'&' if depth == 0 && next == at + 2 => {
                        shape.clauses.push(begin..at);
                        begin = next;
                    }
                    _ => {}
                }
            }
        }
        at = next;
    }
    shape.clauses.push(begin..text.len());
    if is_joined_otherwise {
        shape.clauses = std::iter::once(0..text.len()).collect();
    }
    for clause in &mut shape.clauses {
        *clause = trimmed(text, clause.clone());
    }
    shape
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let begin = range.start + (part.len() - part.trim_start().len());
    begin..begin + part.trim().len()
}

/// The end of the token that begins at `at`, which is always a boundary between characters.
fn after_token(bytes: &[u8], at: usize) -> usize {
    let run = |begin: usize, belongs: fn(u8) -> bool| {
        begin + bytes[begin..].iter().take_while(|byte| belongs(**byte)).count()
    };
    match bytes[at] {
        b'"' | b'\'' => after_quoted(bytes, at, false),
        b'/' if bytes.get(at + 1) == Some(&b'/') => run(at, |byte| byte != b'\n'),
        byte if is_word(byte) => {
            let end = run(at, is_word);
            let is_prefix = matches!(
                &bytes[at..end],
                [b'r' | b'R' | b'b' | b'B'] | [_, b'r' | b'R' | b'b' | b'B']
            );
            match bytes.get(end) {
                Some(b'"' | b'\'') if is_prefix => {
                    let raw = bytes[at..end].iter().any(|byte| matches!(byte, b'r' | b'R'));
                    after_quoted(bytes, end, raw)
                }
                _ => end,
            }
        }
        b'&' | b'|' | b'=' if bytes.get(at + 1) == Some(&bytes[at]) => at + 2,
        byte if byte.is_ascii_whitespace() => run(at, |byte| byte.is_ascii_whitespace()),
        _ => at + 1,
    }
}

/// Letters, digits, and every byte of a character that is not ASCII.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The end of a quoted text; the end of everything if it is not closed.
fn after_quoted(bytes: &[u8], at: usize, raw: bool) -> usize {
    let quote = bytes[at];
    let is_triple = bytes[at..].starts_with(&[quote; 3]);
    let mut at = at + if is_triple { 3 } else { 1 };
    while at < bytes.len() {
        if bytes[at] == b'\\' && !raw {
            at += 2;
        } else if is_triple && bytes[at..].starts_with(&[quote; 3]) {
            return at + 3;
        } else if !is_triple && bytes[at] == quote {
            return at + 1;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clauses(text: &str) -> Vec<&str> {
        shape(text).clauses.into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn clauses_are_what_a_top_level_and_joins() {
        assert_eq!(
            clauses("a && (b && c) && d == \"x && y\""),
            ["a", "(b && c)", "d == \"x && y\""]
        );
        assert_eq!(clauses("a && b || c"), ["a && b || c"]);
        assert_eq!(clauses("a && b ? c : d"), ["a && b ? c : d"]);
        assert_eq!(clauses("a // x && y\n && b"), ["a // x && y", "b"]);
        assert_eq!(clauses("r'\\' && b"), ["r'\\'", "b"]);
        assert_eq!(clauses("'''a'b && ''' && é"), ["'''a'b && '''", "é"]);
        assert_eq!(clauses("a && "), ["a", ""]);
    }

    #[test]
    fn brackets_in_texts_do_not_nest() {
        assert_eq!(shape("f([a], '((((')").depth, 2);
        assert_eq!(shape("((a))").deepest_at, 1);
        assert_eq!(shape("a.b == 'x y'").tokens, 5);
    }

    proptest! {
        #[test]
        fn any_text_has_clauses_inside_it(text in ".{0,60}", more in "[&|?'\"r\\\\(){}é ]{0,20}") {
            let text = format!("{text}{more}");
            for clause in shape(&text).clauses {
                prop_assert!(text.get(clause).is_some());
            }
        }
    }
}
