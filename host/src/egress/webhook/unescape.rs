//! Undoes the escapes of a text (percent-encoding, JSON, HTML) and keeps where each byte was in the
//! original. Pure.

use std::ops::Range;

/// HTML entities of the characters in URLs and credentials.
const ENTITIES: [(&str, u8); 22] = [
    ("amp", b'&'),
    ("lt", b'<'),
    ("gt", b'>'),
    ("quot", b'"'),
    ("apos", b'\''),
    ("nbsp", b' '),
    ("sol", b'/'),
    ("bsol", b'\\'),
    ("equals", b'='),
    ("plus", b'+'),
    ("colon", b':'),
    ("semi", b';'),
    ("comma", b','),
    ("period", b'.'),
    ("lowbar", b'_'),
    ("hyphen", b'-'),
    ("dash", b'-'),
    ("percnt", b'%'),
    ("commat", b'@'),
    ("excl", b'!'),
    ("dollar", b'$'),
    ("num", b'#'),
];
/// The length of the longest entity, without `&` and `;`.
const ENTITY_BYTES_MAX: usize = 10;

/// A text with some layers of its escapes undone.
#[derive(Debug, Clone, Default)]
pub(super) struct UnescapedText {
    pub(super) bytes: Vec<u8>,
    /// The range in the original text of each byte.
    origins: Vec<(usize, usize)>,
}

impl UnescapedText {
    /// A text with its escapes.
    pub(super) fn of(text: &[u8]) -> Self {
        Self { bytes: text.to_vec(), origins: (0..text.len()).map(|at| (at, at + 1)).collect() }
    }

    /// The text with one layer of escapes undone; none if it has none.
    pub(super) fn unescaped(&self) -> Option<Self> {
        self.unescaped_if(|_| true)
    }

    /// The text with one layer of the escapes that begin with this byte undone; none if it has
    /// none.
    pub(super) fn unescaped_only(&self, first: u8) -> Option<Self> {
        self.unescaped_if(|byte| byte == first)
    }

    fn unescaped_if(&self, is_undone: impl Fn(u8) -> bool) -> Option<Self> {
        let mut view = Self::default();
        let (mut at, mut any) = (0, false);
        while at < self.bytes.len() {
            let escape = Some(&self.bytes[at..]).filter(|text| is_undone(text[0])).and_then(escape);
            let Some((length, decoded)) = escape else {
                view.push(self.bytes[at], self.origins[at]);
                at += 1;
                continue;
            };
            let place = (self.origins[at].0, self.origins[at + length - 1].1);
            decoded.bytes().iter().for_each(|byte| view.push(*byte, place));
            at += length;
            any = true;
        }
        any.then_some(view)
    }

    /// The text without white space, which breaks encoded data into lines.
    pub(super) fn squeezed(&self) -> Self {
        let mut view = Self::default();
        for (byte, place) in self.bytes.iter().zip(&self.origins) {
            if !byte.is_ascii_whitespace() {
                view.push(*byte, *place);
            }
        }
        view
    }

    /// The range in the original text of a range of its bytes.
    pub(super) fn original(&self, stretch: Range<usize>) -> Range<usize> {
        match (self.origins.get(stretch.start), self.origins.get(stretch.end.wrapping_sub(1))) {
            (Some((start, _)), Some((_, end))) => *start..*end,
            _ => 0..0,
        }
    }

    fn push(&mut self, byte: u8, place: (usize, usize)) {
        self.bytes.push(byte);
        self.origins.push(place);
    }
}

/// The replacement of an escape.
#[derive(Debug, Clone, Copy)]
enum Decoded {
    Byte(u8),
    Char([u8; 4], usize),
}

impl Decoded {
    fn char(code: u32) -> Option<Self> {
        let mut utf8 = [0; 4];
        let length = char::from_u32(code)?.encode_utf8(&mut utf8).len();
        Some(Self::Char(utf8, length))
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Byte(byte) => std::slice::from_ref(byte),
            Self::Char(utf8, length) => &utf8[..*length],
        }
    }
}

/// The escape at the start of a text: its length and its replacement.
fn escape(text: &[u8]) -> Option<(usize, Decoded)> {
    match text {
        [b'%', rest @ ..] => Some((3, Decoded::Byte(u8::try_from(hex(rest, 2)?).ok()?))),
        [b'\\', rest @ ..] => backslash(rest),
        [b'&', rest @ ..] => entity(rest),
        _ => None,
    }
}

fn hex(text: &[u8], digits: usize) -> Option<u32> {
    let text = text.get(..digits).filter(|text| text.iter().all(u8::is_ascii_hexdigit))?;
    u32::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

fn backslash(rest: &[u8]) -> Option<(usize, Decoded)> {
    Some(match rest.first()? {
        b'u' => {
            let unit = hex(&rest[1..], 4)?;
            let low = rest.get(5..).and_then(|rest| rest.strip_prefix(b"\\u"));
            match low.and_then(|low| hex(low, 4)) {
                Some(low @ 0xdc00..=0xdfff) if (0xd800..0xdc00).contains(&unit) => {
                    let code = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                    (12, Decoded::char(code)?)
                }
                _ => (6, Decoded::char(unit)?),
            }
        }
        b'x' => (4, Decoded::Byte(u8::try_from(hex(&rest[1..], 2)?).ok()?)),
        b'n' => (2, Decoded::Byte(b'\n')),
        b'r' => (2, Decoded::Byte(b'\r')),
        b't' => (2, Decoded::Byte(b'\t')),
        b'b' => (2, Decoded::Byte(8)),
        b'f' => (2, Decoded::Byte(12)),
        byte @ (b'"' | b'\'' | b'\\' | b'/') => (2, Decoded::Byte(*byte)),
        _ => return None,
    })
}

fn entity(rest: &[u8]) -> Option<(usize, Decoded)> {
    let end = rest.iter().take(ENTITY_BYTES_MAX + 1).position(|byte| *byte == b';')?;
    let name = std::str::from_utf8(&rest[..end]).ok()?;
    let decoded = match name.strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            Decoded::char(code.ok()?)?
        }
        None => Decoded::Byte(ENTITIES.iter().find(|(known, _)| *known == name)?.1),
    };
    Some((end + 2, decoded))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unescaped(text: &str) -> String {
        let view = UnescapedText::of(text.as_bytes()).unescaped();
        view.map_or("-".into(), |view| String::from_utf8(view.bytes).unwrap())
    }

    #[test]
    fn one_layer_of_escapes_is_undone() {
        for (text, said) in [
            ("a%2Fb%2fc", "a/b/c"),
            ("%252F", "%2F"),
            (r#"\"\\\/\u0026\u00e9\ud83d\ude00\x41"#, "\"\\/&é😀A"),
            ("&amp;&lt;&#39;&#x2F;&#X3d;", "&<'/="),
            ("%zz \\q &nothing; &#xffffffff; \\u12 %", "-"),
            ("plain", "-"),
        ] {
            assert_eq!(unescaped(text), said, "{text}");
        }
    }

    #[test]
    fn each_byte_is_known_by_where_its_escape_stands() {
        let view = UnescapedText::of(b"x%2541y").unescaped().unwrap().unescaped().unwrap();
        assert_eq!(view.bytes, b"xAy");
        assert_eq!((view.original(1..2), view.original(0..3)), (1..6, 0..7));
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut view = Some(UnescapedText::of(&text));
            while let Some(now) = view {
                let end = if now.bytes.is_empty() { 0 } else { text.len() };
                prop_assert_eq!(now.original(0..now.bytes.len()).end, end);
                view = now.unescaped();
            }
        }
    }
}
