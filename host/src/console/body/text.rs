//! Bytes as text and as hex, a window at a time.
//!
//! Not here: which window is asked for.

use std::fmt::Write as _;

use super::scan::{LINES_MAX, Mistake};
use super::writer::MarkupWriter;

/// Bytes on a line of hex.
const ROW_BYTES: usize = 16;
/// Most bytes of a view of hex.
pub(super) const HEX_BYTES_MAX: usize = LINES_MAX * ROW_BYTES;

/// Writes bytes as text. Returns how many were written: a view has a limit of lines.
pub(super) fn write(out: &mut MarkupWriter, bytes: &[u8], mark: Option<Mistake>) -> usize {
    let mut written = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n').take(LINES_MAX) {
        if out.is_full() {
            break;
        }
        let place = mark.map(|mark| mark.at).filter(|at| {
            let end = written + line.len();
            *at >= written && (*at < end || (*at == end && end == bytes.len()))
        });
        written += match place {
            Some(at) => marked(out, line, at - written),
            None => out.bytes(line),
        };
    }
    written
}

/// Writes a line with a mark at one of its bytes. Returns how many were written.
fn marked(out: &mut MarkupWriter, line: &[u8], at: usize) -> usize {
    let (before, rest) = line.split_at(at.min(line.len()));
    let width = rest.utf8_chunks().next().map_or(0, |chunk| {
        chunk.valid().chars().next().map_or(chunk.invalid().len(), char::len_utf8)
    });
    let (here, after) = rest.split_at(width);
    let written = out.bytes(before);
    if written < before.len() {
        return written;
    }
    out.tag("<mark>");
    match here {
        b"" => out.tag("<span class=\"u\">END</span>"),
        b"\n" => out.text("\n"),
        here => {
            out.bytes(here);
        }
    }
    out.tag("</mark>");
    if here == b"\n" {
        out.tag("\n");
    }
    written + here.len() + out.bytes(after)
}

/// The line and column, from 1, of a byte. Columns count characters.
pub(super) fn place(bytes: &[u8], at: usize) -> (usize, usize) {
    let before = &bytes[..at.min(bytes.len())];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = before.iter().filter(|byte| **byte == b'\n').count();
    let column = String::from_utf8_lossy(&before[line_start..]).chars().count();
    (lines + 1, column + 1)
}

/// Writes bytes as rows of their offset, values and characters.
pub(super) fn hex(out: &mut MarkupWriter, bytes: &[u8], offset: usize) {
    let mut row = String::with_capacity(80);
    for (index, chunk) in bytes.chunks(ROW_BYTES).enumerate() {
        row.clear();
        // Writing to a string cannot fail.
        let _ = write!(row, "{:08x} ", offset + index * ROW_BYTES);
        for place in 0..ROW_BYTES {
            row.push_str(if place == 8 { "  " } else { " " });
            match chunk.get(place) {
                Some(byte) => {
                    let _ = write!(row, "{byte:02x}");
                }
                None => row.push_str("  "),
            }
        }
        row.push_str("  ");
        let visible = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        row.extend(chunk.iter().map(|b| if visible(b) { char::from(*b) } else { '.' }));
        row.push('\n');
        out.lines(&row);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::markup_tests::{assert_well_formed, text_of};
    use super::*;

    #[test]
    fn hex_has_sixteen_bytes_a_line() {
        let mut out = MarkupWriter::default();
        hex(&mut out, b"<0123456789abcdef>\x00\xff", 0x40);
        assert_eq!(
            text_of(&out.finish().into_string()),
            "00000040  3c 30 31 32 33 34 35 36  37 38 39 61 62 63 64 65  <0123456789abcde\n\
             00000050  66 3e 00 ff                                       f>..\n"
        );
    }

    #[test]
    fn the_place_of_a_mistake_is_marked() {
        let mark = |at| Some(Mistake { at, expected: "a value" });
        let shown = |text: &[u8], at| {
            let mut out = MarkupWriter::default();
            write(&mut out, text, mark(at));
            out.finish().into_string().replace("<bdi>", "").replace("</bdi>", "")
        };
        assert_eq!(shown(b"[1,]", 3), "[1,<mark>]</mark>");
        assert_eq!(shown(b"[1", 2), "[1<mark><span class=\"u\">END</span></mark>");
        let line = "a<mark><span class=\"u\">LF</span></mark>\nb";
        assert_eq!(shown(b"a\nb", 1), line);
        assert_eq!(place("é\nab]".as_bytes(), 5), (2, 3));
    }

    #[test]
    fn text_ends_after_its_lines() {
        let mut out = MarkupWriter::default();
        assert_eq!(write(&mut out, &b"a\n".repeat(5_000), None), 2 * LINES_MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_are_shown_as_escaped_text(
            bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0_usize..420,
        ) {
            let mut out = MarkupWriter::default();
            write(&mut out, &bytes, Some(Mistake { at, expected: "" }));
            hex(&mut out, &bytes, 0);
            assert_well_formed(&out.finish().into_string());
        }
    }
}
