//! Makes untrusted text safe to print on a terminal or in a log.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Replaces characters that could control a terminal, forge a line or hide text by their JSON
/// escapes (`\u001b`). Line breaks are escaped too. JSON stays the same JSON.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

/// Like [`line()`], but keeps line breaks and tabs.
#[must_use]
pub fn block(text: &str) -> Cow<'_, str> {
    escape(text, |c| matches!(c, '\n' | '\t'))
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    let bad = |c: char| is_unsafe(c) && !keep(c);
    if !text.contains(bad) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !bad(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    Cow::Owned(out)
}

/// True for control characters, characters that reorder text or have no width, and those that some
/// programs treat as line breaks.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(line("push"), Cow::Borrowed("push"));
        assert_eq!(line("a\u{1b}[2Jb\u{9b}31m\r\n"), "a\\u001b[2Jb\\u009b31m\\r\\n");
        assert_eq!(line("abc\u{202e}fdp.exe"), "abc\\u202efdp.exe");
        assert_eq!(block("one\n\ttwo\r"), "one\n\ttwo\\r");
    }

    proptest! {
        #[test]
        fn output_has_no_unsafe_character(text in any::<String>()) {
            prop_assert!(!line(&text).chars().any(is_unsafe));
        }

        #[test]
        fn escaped_json_reads_as_the_same_json(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            let read: String = serde_json::from_str(&line(&json)).unwrap();
            prop_assert_eq!(read, text);
        }
    }
}
