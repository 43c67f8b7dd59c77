//! Templates: text with `{placeholders}`, the notation of provider files for signed messages,
//! types, responses and samples. Finds the placeholders; does not know what they mean.
//!
//! A `{` opens a placeholder only before a lower-case letter or a slash, so JSON needs no escaping;
//! `{{` is a literal `{`. Everything else is literal text.

use thiserror::Error;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Literal text.
    Literal(String),
    /// The text between the braces.
    Placeholder(String),
}

/// A placeholder without a closing brace.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the placeholder that starts at byte {0} has no closing brace")]
pub struct Unclosed(pub usize);

/// Splits a template into its pieces.
pub fn pieces(text: &str) -> Result<Vec<Piece>, Unclosed> {
    let mut out = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        literal.push_str(&rest[..open]);
        let after = &rest[open + 1..];
        match after.bytes().next() {
            Some(b'{') => {
                literal.push('{');
                rest = &after[1..];
            }
            Some(b'a'..=b'z' | b'/') => {
                let close = after.find('}').ok_or(Unclosed(text.len() - after.len() - 1))?;
                if !literal.is_empty() {
                    out.push(Piece::Literal(std::mem::take(&mut literal)));
                }
                out.push(Piece::Placeholder(after[..close].to_owned()));
                rest = &after[close + 1..];
            }
            _ => {
                literal.push('{');
                rest = after;
            }
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        out.push(Piece::Literal(literal));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::Piece::{Literal, Placeholder};
    use super::*;

    #[test]
    fn json_needs_no_escaping() {
        assert_eq!(
            pieces(r#"{"id":"{uuid}","data":{}}"#).unwrap(),
            [
                Literal(r#"{"id":""#.into()),
                Placeholder("uuid".into()),
                Literal(r#"","data":{}}"#.into())
            ]
        );
    }

    #[test]
    fn a_doubled_brace_is_a_plain_one() {
        assert_eq!(pieces("{{body}").unwrap(), [Literal("{body}".into())]);
    }

    #[test]
    fn an_open_placeholder_is_an_error() {
        assert_eq!(pieces("v0:{timestamp").unwrap_err(), Unclosed(3));
    }
}
