//! Mistakes in expressions, with their place.

use thiserror::Error;

/// A text that is not an expression that rules may have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what}")]
pub struct InvalidExpression {
    /// The mistake, and its remedy.
    pub what: Box<str>,
    /// The byte of the text at which the mistake is.
    pub at: usize,
}

impl InvalidExpression {
    pub(super) fn new(at: usize, what: impl Into<Box<str>>) -> Self {
        Self { what: what.into(), at }
    }

    /// The line and column of the mistake in its text, both from 1; columns count characters.
    #[must_use]
    pub fn position(&self, text: &str) -> (usize, usize) {
        let before = text.get(..self.at).unwrap_or(text);
        let line_begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_begin..].chars().count() + 1)
    }
}
