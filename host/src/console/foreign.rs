//! Text that strangers wrote, as it stands on a page: always text, with every character that hides,
//! reorders or controls shown as a small box with its name.
//!
//! Every payload, header, type, id of a sender, log line, answer and file name goes through here.
//! What may not live here: anything that lets such text become a tag, an attribute's name, a class
//! or an address.

use std::fmt::Write as _;

use maud::{Escaper, Markup, PreEscaped, Render, html};

/// Text from outside, shown in one line inside `bdi`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Foreign<'a>(pub(crate) &'a str);

impl Render for Foreign<'_> {
    fn render_to(&self, page: &mut String) {
        page.push_str("<bdi>");
        escape_into(page, self.0, false);
        page.push_str("</bdi>");
    }
}

/// Text from outside with its line breaks and tabs, such as a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ForeignLines<'a>(pub(crate) &'a str);

impl Render for ForeignLines<'_> {
    fn render_to(&self, page: &mut String) {
        page.push_str("<bdi>");
        escape_into(page, self.0, true);
        page.push_str("</bdi>");
    }
}

/// Text from outside, cut after some characters with an ellipsis.
pub(crate) fn cut(text: &str, characters: usize) -> Markup {
    match text.char_indices().nth(characters) {
        Some((end, _)) => html! { (Foreign(&text[..end])) span.dd { "…" } },
        None => html! { (Foreign(text)) },
    }
}

/// Bytes from outside that may not be UTF-8: text where they are, boxes of hex where not.
pub(crate) fn bytes(bytes: &[u8]) -> Markup {
    let mut page = String::with_capacity(bytes.len() + 16);
    page.push_str("<bdi>");
    for chunk in bytes.utf8_chunks() {
        escape_into(&mut page, chunk.valid(), true);
        if !chunk.invalid().is_empty() {
            page.push_str("<span class=\"u\">bytes");
            for byte in chunk.invalid() {
                // Writing to a string cannot fail.
                let _ = write!(page, " {byte:02x}");
            }
            page.push_str("</span>");
        }
    }
    page.push_str("</bdi>");
    PreEscaped(page)
}

/// Writes text as HTML. `keep_lines` leaves line breaks and tabs as they are.
pub(crate) fn escape_into(page: &mut String, text: &str, keep_lines: bool) {
    let mut plain_from = 0;
    for (at, c) in text.char_indices() {
        if !is_hidden(c) || (keep_lines && matches!(c, '\n' | '\t')) {
            continue;
        }
        write_plain(page, &text[plain_from..at]);
        page.push_str("<span class=\"u\">");
        page.push_str(&name(c));
        page.push_str("</span>");
        plain_from = at + c.len_utf8();
    }
    write_plain(page, &text[plain_from..]);
}

fn write_plain(page: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _ = Escaper::new(page).write_str(text);
}

/// True for characters that a reader cannot see, or that change how others are seen.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{e000}'..='\u{f8ff}'
            | '\u{fe00}'..='\u{fe0e}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffd}'
            | '\u{e0000}'..='\u{10ffff}')
}

/// The short name of a hidden character.
fn name(c: char) -> String {
    const CONTROLS: [&str; 32] = [
        "NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "TAB", "LF", "VT", "FF",
        "CR", "SO", "SI", "DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM",
        "SUB", "ESC", "FS", "GS", "RS", "US",
    ];
    let number = u32::from(c);
    match CONTROLS.get(number as usize) {
        Some(name) => (*name).to_owned(),
        None if c == '\u{7f}' => "DEL".to_owned(),
        None => format!("U+{number:04X}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        Foreign(text).render().into_string()
    }

    #[test]
    fn markup_of_a_stranger_stays_text() {
        let text = "<script>alert('1')</script> & \"x\"";
        let expected = "<bdi>&lt;script&gt;alert('1')&lt;/script&gt; &amp; &quot;x&quot;</bdi>";
        assert_eq!(shown(text), expected);
    }

    #[test]
    fn hidden_characters_are_named() {
        assert_eq!(shown("a\u{1b}[2J"), "<bdi>a<span class=\"u\">ESC</span>[2J</bdi>");
        assert_eq!(
            shown("invoice\u{202e}fdp"),
            "<bdi>invoice<span class=\"u\">U+202E</span>fdp</bdi>"
        );
        assert_eq!(shown("a\nb"), "<bdi>a<span class=\"u\">LF</span>b</bdi>");
        assert_eq!(ForeignLines("a\nb").render().into_string(), "<bdi>a\nb</bdi>");
    }

    #[test]
    fn bytes_that_are_not_text_are_shown_as_hex() {
        let page = bytes(b"caf\xe9 <b>").into_string();
        assert_eq!(page, "<bdi>caf<span class=\"u\">bytes e9</span> &lt;b&gt;</bdi>");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(cut("äöü", 3).into_string(), "<bdi>äöü</bdi>");
        assert_eq!(cut("äöüß", 3).into_string(), "<bdi>äöü</bdi><span class=\"dd\">…</span>");
    }

    proptest! {
        #[test]
        fn no_text_makes_a_tag_or_hides(text in any::<String>()) {
            let page = shown(&text);
            let inside = page.replace("<span class=\"u\">", "").replace("</span>", "");
            let inside = &inside["<bdi>".len()..inside.len() - "</bdi>".len()];
            prop_assert!(!inside.contains(['<', '>']));
            prop_assert!(!inside.chars().any(is_hidden));
        }
    }
}
