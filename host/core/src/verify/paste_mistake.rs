//! Mistakes made when a secret is copied: line ends, spaces, quotes, whole lines of a settings
//! file.
//!
//! Pure. The result contains nothing of the secret.

use thiserror::Error;

use super::key::KeyError;
use super::strength::is_invisible;

/// A mistake made when a secret was copied. The sender's copy of the secret hardly has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PasteMistake {
    #[error("is UTF-16, as some editors save it; save it as UTF-8")]
    Utf16,
    #[error("starts with a byte order mark; save the file as UTF-8 without one")]
    ByteOrderMark,
    #[error("starts with a space")]
    LeadingBlank,
    /// A line end after the secret, besides the one that is removed.
    #[error("ends with a line end")]
    LineEnd,
    #[error("ends with a space")]
    TrailingBlank,
    #[error("is in quotes, which count as part of it")]
    Quoted,
    #[error("has a quote on one side only")]
    HalfQuoted,
    #[error("is a whole line NAME=value; only the value is the secret")]
    Assignment,
    /// `v1,` before `whsec_`.
    #[error("starts with a version and a comma; the secret begins at `whsec_`")]
    Version,
    /// The two characters `\n` in the place of a line end.
    #[error("ends with the two characters \\n, not with a line end")]
    EscapedLineEnd,
    #[error("starts with `Bearer` or `Basic`, which belongs to the header and not to the token")]
    AuthWord,
    /// `whsec` with other letters or another separator.
    #[error("starts with `whsec` in another form than `whsec_`")]
    Prefix,
    #[error("has several lines")]
    Lines,
    #[error("contains an invisible character")]
    Invisible,
}

/// The copying mistakes in a configured secret; none for a PEM file, which has several lines.
#[must_use]
pub fn paste_mistakes(bytes: &[u8]) -> Vec<PasteMistake> {
    let mut found = Vec::new();
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return vec![PasteMistake::Utf16];
    }
    let mut note = |is: bool, trace| {
        if is {
            found.push(trace);
        }
    };
    let unmarked = bytes.strip_prefix(b"\xef\xbb\xbf");
    note(unmarked.is_some(), PasteMistake::ByteOrderMark);
    let Ok(text) = std::str::from_utf8(unmarked.unwrap_or(bytes)) else { return found };
    if text.contains("-----BEGIN ") || text.trim_start().starts_with('{') {
        return found;
    }
    let trimmed = text.trim_matches(is_invisible);
    let (before, after) = match text.find(trimmed) {
        Some(at) => (&text[..at], &text[at + trimmed.len()..]),
        None => ("", ""),
    };
    note(!before.is_empty(), PasteMistake::LeadingBlank);
    let line_end = after.contains(['\n', '\r']);
    note(line_end, PasteMistake::LineEnd);
    note(!line_end && !after.is_empty(), PasteMistake::TrailingBlank);
    let quote = |c: char| matches!(c, '"' | '\'' | '`' | '“' | '”' | '‘' | '’');
    let quotes = (trimmed.starts_with(quote), trimmed.ends_with(quote));
    note(quotes == (true, true) && trimmed.chars().count() > 1, PasteMistake::Quoted);
    note(quotes.0 != quotes.1, PasteMistake::HalfQuoted);
    let inner = trimmed.trim_matches(quote);
    note(is_assignment(inner), PasteMistake::Assignment);
    note(is_versioned(inner), PasteMistake::Version);
    note(inner.ends_with("\\n"), PasteMistake::EscapedLineEnd);
    let lower = inner.get(..7).unwrap_or(inner).to_ascii_lowercase();
    note(lower.starts_with("bearer ") || lower.starts_with("basic "), PasteMistake::AuthWord);
    let odd = ["whsec-", "whsec:", "whsec="].iter().any(|odd| lower.starts_with(odd))
        || lower.starts_with("whsec_") && !inner.starts_with("whsec_")
        || inner.starts_with("whsec_whsec_");
    note(odd, PasteMistake::Prefix);
    let lines = inner.contains(['\n', '\r']);
    note(lines, PasteMistake::Lines);
    let unseen = |c: char| c != ' ' && is_invisible(c);
    note(!lines && inner.contains(unseen), PasteMistake::Invisible);
    found
}

/// A suggestion what to write in the place of a secret that a scheme cannot use.
#[must_use]
pub fn likely_key_form(cause: KeyError, bytes: &[u8]) -> Option<&'static str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let api_key = ["sk_", "pk_", "rk_", "sk-", "key_"].iter().any(|start| text.starts_with(start));
    if api_key {
        return Some("it looks like an API key; give the signing secret of the endpoint");
    }
    let paste_mistakes = paste_mistakes(bytes);
    let has = |trace| paste_mistakes.contains(&trace);
    if has(PasteMistake::Version) {
        return Some("remove the text before `whsec_`");
    }
    if has(PasteMistake::Quoted) || has(PasteMistake::HalfQuoted) {
        return Some("remove the quotes");
    }
    if has(PasteMistake::Assignment) {
        return Some("use only the text after the first `=`");
    }
    if has(PasteMistake::ByteOrderMark) || has(PasteMistake::Utf16) {
        return Some("save the file as UTF-8 without a byte order mark");
    }
    if has(PasteMistake::Prefix) {
        return Some("write `whsec_` once, in lower case, with an underscore");
    }
    if has(PasteMistake::EscapedLineEnd) {
        return Some("remove the \\n at its end");
    }
    let text = text.trim();
    let bare = text.strip_prefix("whsec_").unwrap_or(text);
    let mut others = bare.chars().filter(|c| !c.is_ascii_alphanumeric() && !"+/=".contains(*c));
    match cause {
        KeyError::NotBase64 if bare.contains(char::is_whitespace) => {
            Some("remove the spaces and line ends inside it")
        }
        KeyError::NotBase64 if !bare.is_empty() && others.all(|c| "-_".contains(c)) => Some(
            "its length or alphabet is not that of base64: write `+` and `/` for `-` and `_`, and \
             check that its end is complete",
        ),
        KeyError::NotBase64 | KeyError::NotWhsec => Some(
            "the right form is `whsec_` and the base64 of 24 to 64 bytes; if the sender was given a \
             text as its key, use `whsec_` and the base64 of that text",
        ),
        KeyError::NotHex if text.starts_with("0x") => Some("remove the `0x`"),
        KeyError::NotHex if text.contains([':', ' ', '-']) => {
            Some("remove the separators between the bytes")
        }
        KeyError::NotHex => Some(
            "the right form is an even number of the characters 0-9 and a-f, as the provider \
             shows it",
        ),
        _ => None,
    }
}

/// True for `v1,whsec_…`, as some dashboards show a secret.
pub(super) fn is_versioned(text: &str) -> bool {
    let rest = text.split_once(',').filter(|(version, _)| {
        version
            .strip_prefix('v')
            .is_some_and(|n| n.len() <= 2 && n.starts_with(|c: char| c.is_ascii_digit()))
    });
    rest.is_some_and(|(_, rest)| rest.trim_start().starts_with("whsec_"))
}

/// True for a name as in a settings file, an equals sign, and a value.
fn is_assignment(text: &str) -> bool {
    let text = text.strip_prefix("export ").unwrap_or(text);
    let Some((name, value)) = text.split_once('=') else { return false };
    let name = name.trim_end();
    let of_name = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    let plain = name.len() >= 3
        && name.bytes().all(of_name)
        && name.contains(|c: char| c.is_ascii_uppercase());
    // Base64 has equals signs only at its end.
    let named = name.contains('_') || value.trim_matches(['=', ' ']).len() >= 6;
    plain && !value.trim_matches('=').is_empty() && named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copying_mistakes_are_found() {
        for (text, wanted) in [
            ("s3cret-value ", vec![PasteMistake::TrailingBlank]),
            (" s3cret-value", vec![PasteMistake::LeadingBlank]),
            ("s3cret-value\n", vec![PasteMistake::LineEnd]),
            ("s3cret-value\r\n\r\n", vec![PasteMistake::LineEnd]),
            ("s3cret-value\t", vec![PasteMistake::TrailingBlank]),
            ("s3cret-value\u{a0}", vec![PasteMistake::TrailingBlank]),
            ("s3cret-value\u{200b}", vec![PasteMistake::TrailingBlank]),
            ("\"s3cret-value\"", vec![PasteMistake::Quoted]),
            ("'s3cret-value'", vec![PasteMistake::Quoted]),
            ("“s3cret-value”", vec![PasteMistake::Quoted]),
            ("\"s3cret-value", vec![PasteMistake::HalfQuoted]),
            ("\u{feff}s3cret-value", vec![PasteMistake::ByteOrderMark]),
            ("WEBHOOK_SECRET=s3cret-value", vec![PasteMistake::Assignment]),
            (
                "export SECRET=\"s3cret-value\"",
                vec![PasteMistake::HalfQuoted, PasteMistake::Assignment],
            ),
            ("v1,whsec_AAAA", vec![PasteMistake::Version]),
            ("s3cret-value\\n", vec![PasteMistake::EscapedLineEnd]),
            ("Bearer s3cret-value", vec![PasteMistake::AuthWord]),
            ("WHSEC_AAAA", vec![PasteMistake::Prefix]),
            ("one\ntwo", vec![PasteMistake::Lines]),
            ("s3cret\u{200b}value", vec![PasteMistake::Invisible]),
        ] {
            assert_eq!(paste_mistakes(text.as_bytes()), wanted, "{text:?}");
        }
        assert_eq!(paste_mistakes(b"\xff\xfes\x003\x00"), [PasteMistake::Utf16]);
    }

    #[test]
    fn an_ordinary_secret_has_no_mistake() {
        for text in [
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "AAAAB3NzaC1yc2E=",
            "A1B2C3==",
            "a secret of words",
            "user:password=x",
            "-----BEGIN PUBLIC KEY-----\nAA\n-----END PUBLIC KEY-----\n",
            "{\n \"kty\": \"EC\"\n}\n",
        ] {
            assert_eq!(paste_mistakes(text.as_bytes()), [], "{text:?}");
        }
    }
}
