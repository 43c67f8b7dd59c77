//! JSON in which every character is escaped that a terminal might act on: senders write payloads.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// JSON with every character escaped that a terminal might act on.
pub(super) fn encode(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(256);
    value.serialize(&mut Serializer::with_formatter(&mut out, Escaping))?;
    out.push(b'\n');
    Ok(out)
}

struct Escaping;

impl Formatter for Escaping {
    /// Escapes what JSON itself does not: it escapes only the control characters below the space.
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain_from = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| is_unsafe(*c)) {
            writer.write_all(&fragment.as_bytes()[plain_from..at])?;
            write!(writer, "\\u{:04x}", u32::from(c))?;
            plain_from = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[plain_from..])
    }
}

/// True for C1 controls, Unicode line ends and characters that change the direction of text.
fn is_unsafe(c: char) -> bool {
    matches!(c,
        '\u{7f}'..='\u{9f}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_survives_and_nothing_acts_on_a_terminal(text in any::<String>()) {
            let json = String::from_utf8(encode(&text).unwrap()).unwrap();
            let body = json.strip_suffix('\n').unwrap();
            prop_assert!(!body.chars().any(|c| c.is_control() || is_unsafe(c)));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }

    #[test]
    fn controls_are_escaped() {
        let text = "a\u{1b}[2J\u{9b}31m\u{202e}é";
        let json = encode(&text).unwrap();
        assert_eq!(json, "\"a\\u001b[2J\\u009b31m\\u202eé\"\n".as_bytes());
    }
}
