//! Markup as it is written: fixed tags of our own, and strangers' text, which is always escaped.
//!
//! The only place of the viewer that makes markup out of text. What may not live here: anything
//! that knows JSON, forms or headers.

use std::fmt::Write as _;

use maud::{Escaper, Markup, PreEscaped};

use crate::console::foreign;

/// Most bytes of markup of one view. Escapes and boxes can make text several times longer.
pub(super) const MARKUP_BYTES_MAX: usize = 256 * 1024;
/// Bytes that are written before the limit is looked at again.
const PIECE_BYTES: usize = 1024;

/// Writes markup.
#[derive(Debug, Default)]
pub(super) struct MarkupWriter {
    out: String,
}

impl MarkupWriter {
    /// Writes markup of our own.
    pub(super) fn tag(&mut self, fixed: &'static str) {
        self.out.push_str(fixed);
    }

    /// Writes text of strangers in one line, up to the limit of the view.
    pub(super) fn text(&mut self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            if self.is_full() {
                self.tag("<s>… the view is full</s>");
                return;
            }
            let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
            foreign::escape_into(&mut self.out, piece, false);
            rest = after;
        }
    }

    /// Writes text of strangers with its line breaks.
    pub(super) fn lines(&mut self, text: &str) {
        foreign::escape_into(&mut self.out, text, true);
    }

    /// Writes bytes of strangers, up to the limit of the view: text where they are UTF-8, else
    /// their values. Returns how many were written.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() && !self.is_full() {
            let piece = piece(&bytes[written..]);
            self.out.push_str(&foreign::bytes(piece).0);
            written += piece.len();
        }
        written
    }

    /// Writes text of strangers into an attribute in double quotes.
    pub(super) fn attribute(&mut self, text: &str) {
        let text = crate::program::printable::line(text);
        // Writing to a string cannot fail.
        let _ = Escaper::new(&mut self.out).write_str(&text);
    }

    /// True once the view has as much markup as it may have.
    pub(super) fn is_full(&self) -> bool {
        self.out.len() >= MARKUP_BYTES_MAX
    }

    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// The markup. Every text in it was escaped when it was written.
    pub(super) fn finish(self) -> Markup {
        PreEscaped(self.out)
    }
}

/// The first bytes of a text, without a part of a character at their end.
fn piece(bytes: &[u8]) -> &[u8] {
    let Some(first) = bytes.get(..PIECE_BYTES) else { return bytes };
    match std::str::from_utf8(first) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => {
            &first[..error.valid_up_to()]
        }
        _ => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_an_attribute_cannot_end_it() {
        let mut writer = MarkupWriter::default();
        writer.attribute("\"><script>\u{1b}");
        assert_eq!(writer.finish().into_string(), "&quot;&gt;&lt;script&gt;\\u001b");
    }
}
