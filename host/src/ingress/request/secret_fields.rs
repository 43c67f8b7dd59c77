//! The fields of a source's requests that hold secrets. Pure.

use weir_core::selector::{HeaderPattern, Selector};
use weir_core::token::Tokens;

/// The selectors of all secrets in the requests of one source.
#[derive(Debug, Default)]
pub(crate) struct SecretFields {
    headers: Vec<HeaderPattern>,
    pub(super) selectors: Vec<Selector>,
    /// Query parameters, as form fields: a query in place of a body is read as a form.
    pub(super) parameters: Vec<Selector>,
}

impl SecretFields {
    /// Sorts the fields that a provider file names, and the place of a source's token.
    pub(crate) fn new(fields: &[Selector], tokens: Option<&Tokens>) -> Self {
        let mut sorted = Self::default();
        let whole = |name: &str| HeaderPattern { name: name.into(), numbered: false };
        let parameter = |name: &str| Selector::Form(name.into(), None);
        sorted.headers.extend(tokens.and_then(Tokens::header).map(whole));
        sorted.parameters.extend(tokens.and_then(Tokens::parameter).map(parameter));
        for field in fields {
            match field {
                Selector::Header(names) => sorted.headers.extend(
                    names.iter().map(|name| HeaderPattern { name: name.clone(), numbered: false }),
                ),
                Selector::Headers(patterns) => sorted.headers.extend(patterns.iter().cloned()),
                // Nothing else of a URL is stored.
                Selector::Query(name) => sorted.parameters.push(parameter(name)),
                // Parts of a signature header are not stored on their own.
                Selector::Pair(_) => {}
                Selector::Json(_) | Selector::Body(_) | Selector::Each(_) | Selector::Form(..) => {
                    sorted.selectors.push(field.clone());
                }
                // These select event types. A provider file may not list them as secrets.
                Selector::Outer(_) | Selector::KeyBesides(_) | Selector::FormXml(..) => {}
            }
        }
        sorted
    }

    /// True if a header of this name is a secret.
    pub(crate) fn has_header(&self, name: &str) -> bool {
        matches!(name, "authorization" | "proxy-authorization" | "cookie")
            || self.headers.iter().any(|pattern| matches_pattern(pattern, name))
    }
}

fn matches_pattern(pattern: &HeaderPattern, name: &str) -> bool {
    let Some((start, rest)) = name.split_at_checked(pattern.name.len()) else { return false };
    let digits = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
    start.eq_ignore_ascii_case(&pattern.name)
        && if pattern.numbered { digits } else { rest.is_empty() }
}
