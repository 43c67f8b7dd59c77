//! JSON as lines that fold, every token as it was sent.
//!
//! Not here: how JSON is read (`scan`).

use super::scan::{DEPTH_MAX, ITEMS_MAX, JsonKind, JsonNode};
use super::writer::MarkupWriter;
use crate::console::amounts::{counted as plural, size};

/// Levels that are open at first.
const OPEN_DEPTH: usize = 4;
/// Lines after which values are folded.
const OPEN_LINES: usize = 40;
/// Characters of a string that are shown before it is opened.
const STRING_CHARS: usize = 400;
/// Most bytes of pointers in a view.
const POINTER_BYTES_MAX: usize = 8 * 1024;
/// Longest pointer that a line carries.
const POINTER_BYTES: usize = 256;

/// Writes a value as lines.
pub(super) fn write(out: &mut MarkupWriter, node: &JsonNode<'_>) {
    let mut lines = Lines { out, lines: 0, pointers: 0, pointer: String::new() };
    lines.node(node, 0, true);
}

struct Lines<'a> {
    out: &'a mut MarkupWriter,
    /// Lines that a reader sees without opening a fold.
    lines: usize,
    pointers: usize,
    /// The JSON pointer (RFC 6901) of the present line.
    pointer: String,
}

impl Lines<'_> {
    fn node(&mut self, node: &JsonNode<'_>, depth: usize, is_last: bool) {
        if node.is_container() && node.count > 0 {
            self.container(node, depth, is_last);
            return;
        }
        self.lines += 1;
        self.out.tag("<div");
        self.title();
        self.out.tag(">");
        self.key(node);
        match node.kind {
            JsonKind::String => self.string(node.text),
            JsonKind::Plain => {
                self.out.tag("<u>");
                self.out.text(node.text);
                self.out.tag("</u>");
            }
            JsonKind::Object => self.out.tag(if node.is_whole { "{}" } else { "{" }),
            JsonKind::Array => self.out.tag(if node.is_whole { "[]" } else { "[" }),
        }
        self.out.tag(if is_last { "</div>" } else { ",</div>" });
    }

    fn container(&mut self, node: &JsonNode<'_>, depth: usize, is_last: bool) {
        let is_object = node.kind == JsonKind::Object;
        let is_open = depth == 0 || (depth < OPEN_DEPTH && self.lines < OPEN_LINES);
        self.out.tag(if is_open { "<details open><summary" } else { "<details><summary" });
        self.out.tag(if is_object { " class=\"o\"" } else { " class=\"a\"" });
        self.title();
        self.out.tag(">");
        self.key(node);
        self.out.tag(if is_object { "{ " } else { "[ " });
        self.note(&counted(node, !is_open));
        self.out.tag("</summary>");
        let before = self.lines;
        self.lines += 1;
        self.children(node, depth);
        // What is folded takes one line.
        self.lines = if is_open { self.lines + 1 } else { before + 1 };
        if node.is_whole {
            self.out.tag("<div class=\"e\">");
            self.out.tag(if is_object { "}" } else { "]" });
            self.out.tag(if is_last { "</div>" } else { ",</div>" });
        }
        self.out.tag("</details>");
    }

    fn children(&mut self, node: &JsonNode<'_>, depth: usize) {
        let length = self.pointer.len();
        let mut shown = 0;
        for (index, child) in node.children.iter().enumerate() {
            if self.out.is_full() {
                break;
            }
            self.step(child, index);
            self.node(child, depth + 1, index + 1 == node.count);
            self.pointer.truncate(length);
            shown = index + 1;
        }
        let left = node.count - shown;
        if left > 0 {
            let noun = if node.kind == JsonKind::Object { "keys" } else { "items" };
            let why = if depth >= DEPTH_MAX {
                ", too deep to show"
            } else if node.kind == JsonKind::Array && shown == ITEMS_MAX {
                ", an array shows 100"
            } else {
                ", the view is full"
            };
            self.out.tag("<div>");
            self.note(&format!("{left} more {noun}{why}"));
            self.out.tag("</div>");
        }
    }

    fn key(&mut self, node: &JsonNode<'_>) {
        if let Some(key) = node.key {
            self.out.tag("<b>");
            self.out.text(key);
            self.out.tag("</b>: ");
        }
    }

    fn string(&mut self, text: &str) {
        let cut = text.char_indices().nth(STRING_CHARS).map(|(at, _)| at);
        let Some(cut) = cut else {
            self.out.tag("<i>");
            self.out.text(text);
            self.out.tag("</i>");
            return;
        };
        let (first, rest) = text.split_at(cut);
        self.out.tag("<details class=\"m\"><summary><i>");
        self.out.text(first);
        self.out.tag("</i> ");
        self.note(&format!("more, {}", size(rest.len() as u64)));
        self.out.tag("</summary><i>");
        self.out.text(rest);
        self.out.tag("</i></details>");
    }

    /// Writes words of our own among the sender's.
    fn note(&mut self, text: &str) {
        self.out.tag("<s>");
        self.out.text(text);
        self.out.tag("</s>");
    }

    /// Writes the pointer of the line, for copying, as long as there is room for pointers.
    fn title(&mut self) {
        let length = self.pointer.len();
        if length == 0 || length > POINTER_BYTES || self.pointers + length > POINTER_BYTES_MAX {
            return;
        }
        let before = self.out.len();
        self.out.tag(" title=\"");
        self.out.attribute(&self.pointer);
        self.out.tag("\"");
        self.pointers += self.out.len() - before;
    }

    fn step(&mut self, child: &JsonNode<'_>, index: usize) {
        self.pointer.push('/');
        match child.key {
            None => self.pointer.push_str(&index.to_string()),
            Some(key) => {
                // A key with a lone surrogate has no other spelling than its own.
                let name = serde_json::from_str::<String>(key);
                let name = name.unwrap_or_else(|_| key.trim_matches('"').to_owned());
                self.pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
            }
        }
    }
}

/// The content of a fold in words, with its size if it is closed.
fn counted(node: &JsonNode<'_>, with_size: bool) -> String {
    let at_least = if node.is_whole { "" } else { "at least " };
    let noun = if node.kind == JsonKind::Object { "key" } else { "item" };
    let count = plural(node.count as u64, noun);
    if with_size {
        format!("{at_least}{count}, {}", size(node.text.len() as u64))
    } else {
        format!("{at_least}{count}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::markup_tests::{assert_well_formed, text_of};
    use super::super::scan::scan;
    use super::super::writer::MARKUP_BYTES_MAX;
    use super::*;

    fn shown(text: &str, cut: bool) -> String {
        let mut out = MarkupWriter::default();
        write(&mut out, &scan(text, cut).unwrap());
        out.finish().into_string()
    }

    /// The text without the space between tokens.
    fn compact(text: &str) -> String {
        let (mut out, mut quoted, mut escaped) = (String::new(), false, false);
        for c in text.chars() {
            match c {
                ' ' | '\t' | '\n' | '\r' if !quoted => continue,
                '"' if !escaped => quoted = !quoted,
                _ => {}
            }
            escaped = quoted && c == '\\' && !escaped;
            out.push(c);
        }
        out
    }

    #[test]
    fn a_small_document_is_open_and_counted() {
        let html = shown("{\"a\":{\"b\":[1,true]},\"a\":\"x\"}", false);
        assert_eq!(
            html,
            "<details open><summary class=\"o\">{ <s>2 keys</s></summary>\
             <details open><summary class=\"o\" title=\"/a\"><b>&quot;a&quot;</b>: { <s>1 key</s>\
             </summary><details open><summary class=\"a\" title=\"/a/b\"><b>&quot;b&quot;</b>: [ \
             <s>2 items</s></summary><div title=\"/a/b/0\"><u>1</u>,</div>\
             <div title=\"/a/b/1\"><u>true</u></div><div class=\"e\">]</div></details>\
             <div class=\"e\">},</div></details><div title=\"/a\"><b>&quot;a&quot;</b>: \
             <i>&quot;x&quot;</i></div><div class=\"e\">}</div></details>"
        );
    }

    #[test]
    fn deep_and_late_values_are_folded_with_their_size() {
        let deep = shown("[[[[[1,2]]]]]", false);
        assert_eq!(deep.matches("<details open>").count(), 4);
        assert!(deep.contains("<s>2 items, 5 bytes</s>"), "{deep}");
        let many: Vec<_> = (0..50).map(|n| format!("\"k{n}\":{{\"a\":1}}")).collect();
        let many = shown(&format!("{{{}}}", many.join(",")), false);
        assert!(many.matches("<details open>").count() < 20);
        assert!(many.contains("<s>1 key, 7 bytes</s>"));
    }

    #[test]
    fn long_strings_and_arrays_are_cut_with_what_is_left() {
        let html = shown(&format!("\"{}\"", "é".repeat(1_000)), false);
        assert!(html.contains("<s>more, 1.2 kB</s>"), "{html}");
        assert_eq!(text_of(&html).matches('é').count(), 1_000);
        let html = shown(&format!("[{}1]", "1,".repeat(249)), false);
        assert!(html.contains("<s>150 more items, an array shows 100</s>"));
    }

    #[test]
    fn a_pointer_names_its_line() {
        let html = shown(r#"{"a/b":{"m~n":[{"":1}]}}"#, false);
        assert!(html.contains("title=\"/a~1b/m~0n/0/\""), "{html}");
    }

    #[test]
    fn full_views_end_with_a_note() {
        let text = format!("{{{}\"z\":1}}", "\"\u{202e}a\u{202e}a\u{202e}a\":0,".repeat(3_000));
        let html = shown(&text, false);
        assert!(html.contains("the view is full</s>"));
        assert!(html.len() < MARKUP_BYTES_MAX + 4_096, "{}", html.len());
        assert_well_formed(&html);
    }

    proptest! {
        #[test]
        fn the_text_of_the_view_is_the_text_that_was_sent(
            keys in prop::collection::vec(("\\PC{0,6}", "[a-z\u{202e}\u{1b}<&]{0,5}"), 0..12),
            number in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,3})?",
        ) {
            let member = |(key, value): &(String, String)| {
                let (key, value) = (serde_json::json!(key), serde_json::json!(value));
                format!("{key} : [ {value},\n{number} , {{\t}}, null]")
            };
            let members: Vec<_> = keys.iter().map(member).collect();
            let text = format!(" {{ {} }} ", members.join(" ,\r\n "));
            let html = shown(&text, false);
            assert_well_formed(&html);
            prop_assert_eq!(compact(&text_of(&html)), compact(&text));
        }
    }
}
