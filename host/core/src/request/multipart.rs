//! Multipart forms (`multipart/form-data`, RFC 7578): the fields of a form, without its files.
//!
//! Strict and bounded: a malformed or ambiguous body has no fields at all. Values are not copied.

use std::borrow::Cow;
use std::ops::Range;

/// The maximum number of parts in one body, files included.
pub const PARTS_MAX: usize = 1_000;
/// The maximum length of a boundary, in bytes (RFC 2046, 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;
/// The maximum length of a part's head, in bytes.
const PART_HEAD_BYTES_MAX: usize = 4 * 1024;

/// A field: its name, and the position of its value in the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultipartField<'a> {
    pub name: Cow<'a, str>,
    pub value: Range<usize>,
}

/// The fields of a multipart body without its files; `None` if it has another content type or is
/// malformed.
#[must_use]
pub fn multipart_fields<'a>(
    content_type: &[u8],
    body: &'a [u8],
) -> Option<Vec<MultipartField<'a>>> {
    let boundary = boundary(content_type)?;
    let delimiter = [b"\r\n--", boundary].concat();
    let finder = memchr::memmem::Finder::new(&delimiter);
    let mut at = delimiter.len() - 2;
    if !body.starts_with(&delimiter[2..]) {
        return None;
    }
    let mut fields = Vec::new();
    for _ in 0..=PARTS_MAX {
        match body.get(at..at + 2)? {
            b"--" => {
                // Only a line end may follow the last delimiter.
                return matches!(&body[at + 2..], b"" | b"\r\n").then_some(fields);
            }
            b"\r\n" => at += 2,
            _ => return None,
        }
        let head = &body[at..body.len().min(at + PART_HEAD_BYTES_MAX)];
        let head_end = memchr::memmem::find(head, b"\r\n\r\n")?;
        let start = at + head_end + 4;
        let end = start + finder.find(&body[start..])?;
        if let Some(name) = field_name(&head[..head_end])? {
            fields.push(MultipartField { name, value: start..end });
        }
        at = end + delimiter.len();
    }
    None
}

/// The boundary in a content type.
fn boundary(content_type: &[u8]) -> Option<&[u8]> {
    let text = std::str::from_utf8(content_type).ok()?;
    let (media, params) = text.split_once(';')?;
    if !media.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let mut boundary = None;
    for (name, value) in HeaderParams(params) {
        if name.eq_ignore_ascii_case("boundary") && boundary.replace(value?).is_some() {
            return None;
        }
    }
    let Cow::Borrowed(boundary) = boundary? else { return None };
    let good = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b);
    let sound = (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len())
        && boundary.bytes().all(good)
        && !boundary.ends_with(' ');
    sound.then_some(boundary.as_bytes())
}

/// The field name in a part's head; `Some(None)` for a file, `None` if the head is malformed.
fn field_name(head: &[u8]) -> Option<Option<Cow<'_, str>>> {
    let head = std::str::from_utf8(head).ok()?;
    let mut disposition = None;
    for line in head.split("\r\n") {
        let (name, value) = line.split_once(':')?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return None;
        }
        let value = value.trim_matches([' ', '\t']);
        if name.eq_ignore_ascii_case("content-disposition") {
            if disposition.replace(value).is_some() {
                return None;
            }
        } else if name.eq_ignore_ascii_case("content-transfer-encoding") {
            let plain = ["7bit", "8bit", "binary"];
            plain.iter().find(|coding| value.eq_ignore_ascii_case(coding))?;
        }
    }
    let (kind, params) = disposition?.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return None;
    }
    let (mut field, mut is_file) = (None, false);
    for (name, value) in HeaderParams(params) {
        let value = value?;
        if name.eq_ignore_ascii_case("name") {
            if field.replace(value).is_some() {
                return None;
            }
        } else if name.eq_ignore_ascii_case("filename") || name.eq_ignore_ascii_case("filename*") {
            is_file = true;
        }
    }
    let field = field?;
    Some((!is_file).then_some(field))
}

/// The parameters in `; a=b; c="d"`, after the first semicolon. A malformed one has no value and
/// ends the list.
struct HeaderParams<'a>(&'a str);

impl<'a> Iterator for HeaderParams<'a> {
    type Item = (&'a str, Option<Cow<'a, str>>);

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0.trim_matches([' ', '\t']);
        self.0 = "";
        if text.is_empty() {
            return None;
        }
        let Some((name, rest)) = text.split_once('=') else { return Some((text, None)) };
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => match unquoted(quoted) {
                Some((value, rest)) => (value, rest),
                None => return Some((name, None)),
            },
            None => {
                let end = rest.find(';').unwrap_or(rest.len());
                let token = rest[..end].trim_end_matches([' ', '\t']);
                let good = |b: u8| b.is_ascii_graphic() && b != b'"';
                if token.is_empty() || !token.bytes().all(good) {
                    return Some((name, None));
                }
                (Cow::Borrowed(token), &rest[end..])
            }
        };
        let rest = rest.trim_start_matches([' ', '\t']);
        match rest.strip_prefix(';') {
            Some(rest) => self.0 = rest,
            None if rest.is_empty() => {}
            None => return Some((name, None)),
        }
        Some((name.trim(), Some(value)))
    }
}

/// The unescaped text up to the closing quote (a backslash escapes quotes and backslashes), and the
/// rest after it.
fn unquoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    if text.as_bytes()[end] == b'"' {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Cow::Owned(out), &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, c @ ('"' | '\\'))) => out.push(c),
                // Some browsers send a file path without escaping it.
                Some((_, c)) => out.extend(['\\', c]),
                None => return None,
            },
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=xYz";

    fn read(content_type: &str, body: &str) -> Option<Vec<(String, String)>> {
        let fields = multipart_fields(content_type.as_bytes(), body.as_bytes())?;
        let text = |field: MultipartField<'_>| (field.name.into_owned(), body[field.value].into());
        Some(fields.into_iter().map(text).collect())
    }

    fn part(head: &str, value: &str) -> String {
        format!("--xYz\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n")
    }

    #[test]
    fn fields_are_read_and_files_are_left_out() {
        let file =
            "name=\"attachment-1\"; filename=\"a \\\"b\\\".txt\"\r\nContent-Type: text/plain";
        let body = [
            part("name=\"a\"", "1\r\n--x"),
            part(file, "--xY\r\n\r\nz"),
            part("name=b", ""),
            "--xYz--\r\n".into(),
        ]
        .concat();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let fields = Some(vec![pair("a", "1\r\n--x"), pair("b", "")]);
        assert_eq!(read(TYPE, &body), fields);
        for content_type in [
            "Multipart/Form-Data;charset=utf-8; BOUNDARY=\"xYz\"",
            "multipart/form-data; boundary=xYz; charset=utf-8",
        ] {
            assert_eq!(read(content_type, &body), fields, "{content_type}");
        }
        assert_eq!(read(TYPE, "--xYz--"), Some(Vec::new()));
    }

    #[test]
    fn an_ambiguous_body_has_no_fields() {
        let good = part("name=\"a\"", "1");
        let end = "--xYz--\r\n";
        for body in [
            String::new(),
            good.clone(),
            format!("{good}--xYz"),
            format!("{good}--xYz-"),
            format!("{good}{end}more"),
            format!("preamble\r\n{good}{end}"),
            format!("{good}--xYzmore\r\n\r\n\r\n{end}"),
            format!("{}{end}", good.replace("\r\n", "\n")),
            format!("{}{end}", part("name=\"a\"; name=\"b\"", "1")),
            format!("{}{end}", part("name=\"a", "1")),
            format!("{}{end}", part("x=\"a\"", "1")),
            format!("{}{end}", part("name=\"a\"\r\nContent-Disposition: form-data; name=b", "1")),
            format!("{}{end}", part("name=\"a\"\r\nContent-Transfer-Encoding: base64", "MQ==")),
            format!("{}{end}", part("name=\"a\"\r\n folded", "1")),
            format!("{}{end}", part(&format!("name=\"{}\"", "a".repeat(5000)), "1")),
            format!("--xYz\r\nContent-Disposition: attachment; name=a\r\n\r\n1\r\n{end}"),
            format!("--xYz\r\n\r\n1\r\n{end}"),
        ] {
            assert_eq!(read(TYPE, &body), None, "{body:.80}");
        }
        let body = format!("{good}{end}");
        assert!(read(TYPE, &body).is_some());
        for content_type in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=\"\"",
            "multipart/form-data; boundary=xYz; boundary=xYz",
            "multipart/form-data; boundary=\"xYz",
            "multipart/form-data; boundary=\"xYz\"x",
            "multipart/mixed; boundary=xYz",
            "text/plain; boundary=xYz",
        ] {
            assert_eq!(read(content_type, &body), None, "{content_type}");
        }
        let long = "b".repeat(71);
        let body = body.replace("xYz", &long);
        assert_eq!(read(&TYPE.replace("xYz", &long), &body), None);
    }

    #[test]
    fn a_body_with_too_many_parts_has_no_fields() {
        let of = |count: usize| format!("{}--xYz--", part("name=a", "").repeat(count));
        assert_eq!(read(TYPE, &of(PARTS_MAX)).unwrap().len(), PARTS_MAX);
        assert_eq!(read(TYPE, &of(PARTS_MAX + 1)), None);
    }

    proptest! {
        #[test]
        fn written_fields_are_read_back(
            fields in prop::collection::vec(("[a-zA-Z0-9 ;=_ü-]{1,12}", "[ -~\r\n]{0,40}"), 0..6)
        ) {
            let body: String = fields
                .iter()
                .map(|(name, value)| part(&format!("name=\"{name}\""), value))
                .chain(["--xYz--\r\n".to_owned()])
                .collect();
            prop_assume!(!fields.iter().any(|(_, value)| value.contains("\r\n--xYz")));
            prop_assert_eq!(read(TYPE, &body), Some(fields));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200), head in "[ -~]{0,60}"
        ) {
            let _ = multipart_fields(head.as_bytes(), &bytes);
            let body = [b"--xYz\r\nContent-Disposition: form-data; name=a", &bytes[..], b"\r\n--xYz--"].concat();
            for field in multipart_fields(TYPE.as_bytes(), &body).into_iter().flatten() {
                prop_assert!(body.get(field.value).is_some());
            }
        }
    }
}
