//! A scanner of JSON that keeps every token as it was sent: the order of keys, the spelling of
//! numbers, and keys that occur twice. Pure.
//!
//! It reads at most one view of a body, and builds at most as many nodes as a view shows. What may
//! not live here: markup.

/// Levels that are shown; deeper ones are counted as text.
pub(super) const DEPTH_MAX: usize = 24;
/// Lines that are shown.
pub(super) const LINES_MAX: usize = 2_000;
/// Items of an array that are shown.
pub(super) const ITEMS_MAX: usize = 100;

/// The first place where a text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Its byte, from 0.
    pub(super) at: usize,
    pub(super) expected: &'static str,
}

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JsonKind {
    Object,
    Array,
    String,
    /// A number, `true`, `false` or `null`.
    Plain,
}

/// A value with its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JsonNode<'a> {
    /// The key as it was sent, in quotes, in an object.
    pub(super) key: Option<&'a str>,
    pub(super) kind: JsonKind,
    /// The value as it was sent, with all that is in it.
    pub(super) text: &'a str,
    pub(super) children: Vec<JsonNode<'a>>,
    /// Keys or items, including those that are not shown.
    pub(super) count: usize,
    /// False if the view ends in it.
    pub(super) is_whole: bool,
}

impl JsonNode<'_> {
    pub(super) fn is_container(&self) -> bool {
        matches!(self.kind, JsonKind::Object | JsonKind::Array)
    }
}

/// Reads a text as JSON. A text that is `cut` may end anywhere.
pub(super) fn scan(text: &str, cut: bool) -> Result<JsonNode<'_>, Mistake> {
    let mut scanner = Scanner { text, at: 0, cut, over: false, lines: 0 };
    scanner.space();
    let node = scanner.value(None, 0)?;
    scanner.space();
    if scanner.over || scanner.at == text.len() {
        return Ok(node);
    }
    Err(scanner.mistake("the end: there is more after the value"))
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// The text is the beginning of a longer one.
    cut: bool,
    /// The end of a cut text was met.
    over: bool,
    lines: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn mistake(&self, expected: &'static str) -> Mistake {
        Mistake { at: self.at, expected }
    }

    /// The end of the text: a mistake unless it was cut there.
    fn end(&mut self, expected: &'static str) -> Result<(), Mistake> {
        if self.cut && self.at >= self.text.len() {
            self.over = true;
            return Ok(());
        }
        Err(self.mistake(expected))
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, key: Option<&'a str>, depth: usize) -> Result<JsonNode<'a>, Mistake> {
        let start = self.at;
        let mut node = JsonNode {
            key,
            kind: JsonKind::Plain,
            text: "",
            children: vec![],
            count: 0,
            is_whole: true,
        };
        self.lines += 1;
        match self.peek() {
            Some(open @ (b'{' | b'[')) => {
                node.kind = if open == b'{' { JsonKind::Object } else { JsonKind::Array };
                self.container(&mut node, depth)?;
            }
            Some(b'"') => {
                node.kind = JsonKind::String;
                self.string()?;
            }
            _ => self.plain()?,
        }
        node.text = &self.text[start..self.at];
        node.is_whole = !self.over;
        Ok(node)
    }

    fn container(&mut self, node: &mut JsonNode<'a>, depth: usize) -> Result<(), Mistake> {
        let close = if node.kind == JsonKind::Object { b'}' } else { b']' };
        self.at += 1;
        self.space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        self.lines += 1;
        loop {
            if self.peek().is_none() {
                return self.end(if close == b'}' { "a key or `}`" } else { "a value or `]`" });
            }
            let key = if close == b'}' { Some(self.key()?) } else { None };
            if self.over {
                return Ok(());
            }
            node.count += 1;
            let is_shown = depth < DEPTH_MAX
                && self.lines < LINES_MAX
                && (close == b'}' || node.count <= ITEMS_MAX);
            if is_shown {
                let child = self.value(key, depth + 1)?;
                node.children.push(child);
            } else {
                self.skip()?;
            }
            if self.over || self.separator(close)? {
                return Ok(());
            }
        }
    }

    /// Reads a key and its colon.
    fn key(&mut self) -> Result<&'a str, Mistake> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.mistake("a key in double quotes"));
        }
        self.string()?;
        let key = &self.text[start..self.at];
        if self.over {
            return Ok(key);
        }
        self.space();
        match self.peek() {
            Some(b':') => self.at += 1,
            _ => self.end("`:` after a key")?,
        }
        self.space();
        if self.peek().is_none() {
            self.end("a value")?;
        }
        Ok(key)
    }

    /// Reads what follows a value in a container. True at its end.
    fn separator(&mut self, close: u8) -> Result<bool, Mistake> {
        self.space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.space();
                if self.peek() == Some(close) {
                    return Err(self.mistake("a value: JSON has no comma at the end"));
                }
                Ok(false)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(true)
            }
            _ => {
                self.end(if close == b'}' { "`,` or `}`" } else { "`,` or `]`" })?;
                Ok(true)
            }
        }
    }

    /// Reads a value that is not shown, however deep it is.
    fn skip(&mut self) -> Result<(), Mistake> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            let is_value = match self.peek() {
                Some(start @ (b'{' | b'[')) => {
                    let close = if start == b'{' { b'}' } else { b']' };
                    self.at += 1;
                    self.space();
                    if self.peek() == Some(close) {
                        self.at += 1;
                        true
                    } else {
                        open.push(close);
                        false
                    }
                }
                Some(b'"') => {
                    self.string()?;
                    true
                }
                _ => {
                    self.plain()?;
                    true
                }
            };
            if is_value {
                while let Some(close) = open.last() {
                    if self.over || !self.separator(*close)? {
                        break;
                    }
                    open.pop();
                }
            }
            let Some(close) = open.last() else { return Ok(()) };
            if !self.over && *close == b'}' {
                self.key()?;
            }
            if self.over {
                return Ok(());
            }
        }
    }

    fn string(&mut self) -> Result<(), Mistake> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0..=0x1f) => {
                    return Err(self.mistake("an escape: a string has no control characters"));
                }
                Some(_) => self.at += 1,
                None => return self.end("`\"` at the end of a string"),
            }
            if self.over {
                return Ok(());
            }
        }
    }

    fn escape(&mut self) -> Result<(), Mistake> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    match self.peek() {
                        Some(digit) if digit.is_ascii_hexdigit() => self.at += 1,
                        _ => return self.end("four hex digits after `\\u`"),
                    }
                }
            }
            _ => return self.end("one of `\"\\/bfnrtu` after `\\`"),
        }
        Ok(())
    }

    fn plain(&mut self) -> Result<(), Mistake> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => self.end("a value"),
        }
    }

    fn word(&mut self, word: &'static str) -> Result<(), Mistake> {
        let rest = &self.text.as_bytes()[self.at..];
        let same = rest.iter().zip(word.bytes()).take_while(|(a, b)| **a == *b).count();
        self.at += same;
        if same == word.len() { Ok(()) } else { self.end("a value") }
    }

    fn number(&mut self) -> Result<(), Mistake> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else if self.digits()? {
            return Ok(());
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits()? {
                return Ok(());
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits()? {
                return Ok(());
            }
        }
        if self.peek().is_none() && self.cut {
            self.over = true;
        }
        Ok(())
    }

    /// Reads one digit or more. True if the text is cut there.
    fn digits(&mut self) -> Result<bool, Mistake> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            self.end("a digit")?;
        }
        Ok(self.over)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mistake(text: &str) -> (usize, &'static str) {
        let mistake = scan(text, false).unwrap_err();
        (mistake.at, mistake.expected)
    }

    #[test]
    fn tokens_stay_as_they_were_sent() {
        let text = r#"{"b": 1.50E+1, "a": 9007199254740993123, "b": "\u00e9", "c": [-0, null]}"#;
        let node = scan(text, false).unwrap();
        let found: Vec<_> = node.children.iter().map(|c| (c.key.unwrap(), c.text)).collect();
        let expected = [
            ("\"b\"", "1.50E+1"),
            ("\"a\"", "9007199254740993123"),
            ("\"b\"", r#""\u00e9""#),
            ("\"c\"", "[-0, null]"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_mistake_has_its_place() {
        assert_eq!(mistake("{\"a\": tru}").0, 9);
        assert_eq!(mistake("[1,]"), (3, "a value: JSON has no comma at the end"));
        assert_eq!(mistake("{a: 1}"), (1, "a key in double quotes"));
        assert_eq!(mistake("[1 2]"), (3, "`,` or `]`"));
        assert_eq!(mistake("1 2").0, 2);
        assert_eq!(mistake(""), (0, "a value"));
        assert_eq!(mistake("\"a\nb\"").0, 2);
        assert_eq!(mistake("[01]"), (2, "`,` or `]`"));
    }

    #[test]
    fn a_cut_text_is_whole_up_to_its_end() {
        let node = scan("{\"a\": [1, {\"b\": \"lon", true).unwrap();
        assert!(!node.is_whole && node.count == 1);
        let array = &node.children[0];
        assert_eq!((array.count, array.children[1].children[0].text), (2, "\"lon"));
    }

    #[test]
    fn what_is_too_deep_or_too_long_is_counted() {
        let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
        let mut node = &scan(&deep, false).unwrap();
        let mut depth = 0;
        while let Some(child) = node.children.first() {
            (node, depth) = (child, depth + 1);
        }
        assert_eq!((depth, node.count), (DEPTH_MAX, 1));
        let long = format!("[{}1]", "1,".repeat(499));
        let node = scan(&long, false).unwrap();
        assert_eq!((node.count, node.children.len()), (500, ITEMS_MAX));
    }

    fn nodes(node: &JsonNode<'_>) -> usize {
        1 + node.children.iter().map(nodes).sum::<usize>()
    }

    proptest! {
        #[test]
        fn it_accepts_what_serde_accepts(text in r#"[\[\]{}",:0-9a-z\\ .eE+-]{0,24}"#) {
            let known = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(scan(&text, false).is_ok(), known, "{}", text);
        }

        #[test]
        fn every_beginning_of_json_is_accepted_as_cut(value in json(), at in any::<prop::sample::Index>()) {
            let text = value.to_string();
            let end = text.floor_char_boundary(at.index(text.len() + 1));
            let node = scan(&text[..end], true).unwrap();
            prop_assert!(nodes(&node) <= LINES_MAX + 1);
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<f64>().prop_map(serde_json::Value::from),
            any::<bool>().prop_map(serde_json::Value::from),
            ".*".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(serde_json::Value::from),
                prop::collection::btree_map(".*", inner, 0..8)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }
}
