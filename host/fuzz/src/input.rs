//! A fuzz input: a request as text, with a line of words for the target and then a request as in
//! HTTP/1.1.
//!
//! ```text
//! github docs-hello
//! POST https://example.com/webhook
//! X-Hub-Signature-256: sha256=00
//!
//! Hello, World!
//! ```
//!
//! Every text is a request: a missing part is empty, and a line that is not a header is left out.

use weir_core::request::RequestView;

/// A parsed input.
#[derive(Debug, Clone, Default)]
pub struct Input<'a> {
    pub words: Vec<&'a str>,
    pub method: &'a str,
    pub url: &'a str,
    /// The headers in order.
    pub headers: Vec<(&'a str, &'a [u8])>,
    pub body: &'a [u8],
}

impl<'a> Input<'a> {
    /// Parses a text.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Self {
        let (words, rest) = line(text);
        let mut input = Self { words: words_of(words), ..Self::default() };
        let (request, mut rest) = line(rest);
        let mut request = words_of(request).into_iter();
        input.method = request.next().unwrap_or_default();
        input.url = request.next().unwrap_or_default();
        while !rest.is_empty() {
            let (header, after) = line(rest);
            rest = after;
            if header.is_empty() {
                input.body = rest;
                break;
            }
            input.headers.extend(parsed_header(header));
        }
        input
    }

    /// The word at this position; empty if there are fewer.
    #[must_use]
    pub fn word(&self, place: usize) -> &'a str {
        self.words.get(place).copied().unwrap_or_default()
    }

    /// The request as the hub sees it.
    #[must_use]
    pub fn view(&self) -> RequestView<'_> {
        RequestView { method: self.method, url: self.url, headers: &self.headers, body: self.body }
    }
}

/// The first line and the rest. A line ends as in HTTP, with or without a carriage return.
#[must_use]
pub fn line(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|b| *b == b'\n') {
        Some(at) => {
            let line = &text[..at];
            (line.strip_suffix(b"\r").unwrap_or(line), &text[at + 1..])
        }
        None => (text, &[]),
    }
}

fn words_of(line: &[u8]) -> Vec<&str> {
    std::str::from_utf8(line).unwrap_or_default().split(' ').filter(|w| !w.is_empty()).collect()
}

fn parsed_header(line: &[u8]) -> Option<(&str, &[u8])> {
    let at = line.iter().position(|b| *b == b':')?;
    let name = std::str::from_utf8(&line[..at]).ok()?;
    let value = &line[at + 1..];
    Some((name, value.strip_prefix(b" ").unwrap_or(value)))
}

/// A request to be written as text.
#[derive(Debug, Clone, Default)]
pub struct Written {
    pub words: String,
    pub method: String,
    pub url: String,
    /// The headers in order.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Written {
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = format!("{}\n{} {}\n", self.words, self.method, self.url);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push('\n');
        let mut text = text.into_bytes();
        text.extend_from_slice(&self.body);
        text
    }
}

/// A number from any text: its value, or a hash if it is not a number.
#[must_use]
pub fn number(text: &str) -> u64 {
    // FNV-1a is stable, so an input means the same on every machine.
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Picks an item by a text.
#[must_use]
pub fn pick<'a, T>(of: &'a [T], text: &str) -> Option<&'a T> {
    let at = number(text).checked_rem(of.len() as u64)?;
    of.get(usize::try_from(at).ok()?)
}
