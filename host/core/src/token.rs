//! Access tokens: a token that senders present in addition to a signature, or without one. Only
//! digests of the tokens are kept.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use thiserror::Error;

use crate::verify::Secret;

/// The location of the token in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenLocation {
    /// `Authorization: Bearer TOKEN`
    Bearer,
    /// `Authorization: Basic …`; the token is `user:password`.
    Basic,
    /// A header, named in lower case.
    Header(Box<str>),
    /// A query parameter.
    Query(Box<str>),
}

/// An unknown token location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("write \"bearer\", \"basic\", \"header:NAME\" or \"query:NAME\"")]
pub struct InvalidTokenLocation;

impl FromStr for TokenLocation {
    type Err = InvalidTokenLocation;

    fn from_str(text: &str) -> Result<Self, InvalidTokenLocation> {
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        match text.split_once(':') {
            None if text == "bearer" => Ok(Self::Bearer),
            None if text == "basic" => Ok(Self::Basic),
            Some(("header", name)) if is_name(name) => {
                Ok(Self::Header(name.to_ascii_lowercase().into()))
            }
            Some(("query", name)) if is_name(name) => Ok(Self::Query(name.into())),
            _ => Err(InvalidTokenLocation),
        }
    }
}

/// Why a request's token is refused. Trying again does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidToken {
    /// The request has no token.
    #[error("the token is missing")]
    Missing,
    /// The request has several tokens.
    #[error("there is more than one token")]
    Several,
    /// The token is not one of the accepted ones.
    #[error("the token is wrong")]
    Wrong,
}

impl InvalidToken {
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Several => "token_repeated",
            Self::Wrong => "token_wrong",
        }
    }
}

/// The accepted tokens, and where a request carries one.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    place: TokenLocation,
    digests: Vec<[u8; 32]>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Accepts any of these tokens.
    #[must_use]
    pub fn new<'a>(place: TokenLocation, live: impl IntoIterator<Item = &'a Secret>) -> Self {
        let digests = live.into_iter().map(|token| Sha256::digest(token.expose()).into());
        Self { place, digests: digests.collect() }
    }

    /// The header of the token, in lower case; it must not be stored with a request.
    #[must_use]
    pub fn header(&self) -> Option<&str> {
        match &self.place {
            TokenLocation::Bearer | TokenLocation::Basic => Some("authorization"),
            TokenLocation::Header(name) => Some(name),
            TokenLocation::Query(_) => None,
        }
    }

    /// The query parameter of the token; its value must not be stored.
    #[must_use]
    pub fn parameter(&self) -> Option<&str> {
        match &self.place {
            TokenLocation::Query(name) => Some(name),
            TokenLocation::Bearer | TokenLocation::Basic | TokenLocation::Header(_) => None,
        }
    }

    /// Checks that a request carries an accepted token. `values` are the values of
    /// [`Self::header`], `query` is the URL's query.
    ///
    /// The time it takes reveals nothing about the accepted tokens.
    pub fn check<'a>(
        &self,
        values: impl Iterator<Item = &'a [u8]>,
        query: Option<&'a str>,
    ) -> Result<(), InvalidToken> {
        let given: Cow<'a, [u8]> = match &self.place {
            TokenLocation::Header(_) => only(values)?.trim_ascii().into(),
            TokenLocation::Bearer => credentials(only(values)?, b"bearer")?.into(),
            TokenLocation::Basic => {
                let login = credentials(only(values)?, b"basic")?;
                STANDARD.decode(login).map_err(|_| InvalidToken::Wrong)?.into()
            }
            TokenLocation::Query(name) => {
                let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
                let value = only(pairs.filter(|(n, _)| n == &**name).map(|(_, value)| value))?;
                value.into_owned().into_bytes().into()
            }
        };
        let given: [u8; 32] = Sha256::digest(&given).into();
        let no = Choice::from(0);
        let right = self.digests.iter().fold(no, |right, live| right | live.ct_eq(&given));
        if right.into() { Ok(()) } else { Err(InvalidToken::Wrong) }
    }
}

fn only<T>(mut values: impl Iterator<Item = T>) -> Result<T, InvalidToken> {
    let value = values.next().ok_or(InvalidToken::Missing)?;
    if values.next().is_some() { Err(InvalidToken::Several) } else { Ok(value) }
}

/// The credentials after the scheme name in `Authorization`.
fn credentials<'a>(value: &'a [u8], scheme: &[u8]) -> Result<&'a [u8], InvalidToken> {
    let (named, rest) = value.split_at_checked(scheme.len()).ok_or(InvalidToken::Missing)?;
    if !named.eq_ignore_ascii_case(scheme) || !rest.starts_with(b" ") {
        return Err(InvalidToken::Missing);
    }
    Ok(rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(place: &str, live: &[&str]) -> Tokens {
        let live: Vec<_> = live.iter().map(|token| Secret::new(*token)).collect();
        Tokens::new(place.parse().unwrap(), &live)
    }

    fn check(place: &str, values: &[&str], query: Option<&str>) -> Result<(), InvalidToken> {
        let tokens = tokens(place, &["old:t0ken", "new:t0ken"]);
        tokens.check(values.iter().map(|value| value.as_bytes()), query)
    }

    #[test]
    fn only_an_accepted_token_in_its_location_passes() {
        use InvalidToken::{Missing, Wrong};
        for token in ["old:t0ken", "new:t0ken"] {
            let login = STANDARD.encode(token);
            assert_eq!(check("bearer", &[&format!("bEARER {token}")], None), Ok(()));
            assert_eq!(check("basic", &[&format!("Basic {login}")], None), Ok(()));
            assert_eq!(check("header:X-Key", &[token], None), Ok(()));
            assert_eq!(check("query:key", &[], Some(&format!("a=b&key={token}"))), Ok(()));
            assert_eq!(check("basic", &[&format!("Bearer {token}")], None), Err(Missing));
        }
        assert_eq!(check("query:key", &[], Some("key=old%3At0ken")), Ok(()));
        for wrong in ["", "old:t0ke", "old:t0ken2", "OLD:T0KEN"] {
            let login = STANDARD.encode(wrong);
            assert_eq!(check("bearer", &[&format!("Bearer {wrong}")], None), Err(Wrong));
            assert_eq!(check("basic", &[&format!("Basic {login}")], None), Err(Wrong));
            assert_eq!(check("header:X-Key", &[wrong], None), Err(Wrong));
            assert_eq!(check("query:key", &[], Some(&format!("key={wrong}"))), Err(Wrong));
        }
        assert_eq!(check("basic", &["Basic *"], None), Err(Wrong));
    }

    #[test]
    fn no_token_or_two_are_refused() {
        use InvalidToken::{Missing, Several};
        for place in ["bearer", "basic", "header:x-key", "query:key"] {
            assert_eq!(check(place, &[], None), Err(Missing));
        }
        assert_eq!(check("bearer", &["old:t0ken"], None), Err(Missing));
        assert_eq!(check("bearer", &["Bearer"], None), Err(Missing));
        assert_eq!(check("bearer", &["Bearer old:t0ken", "Bearer x"], None), Err(Several));
        assert_eq!(check("query:key", &[], Some("key=old:t0ken&key=x")), Err(Several));
    }

    #[test]
    fn a_location_is_one_of_four() {
        assert_eq!(tokens("header:X-Key", &[]).header(), Some("x-key"));
        assert_eq!(tokens("bearer", &[]).header(), Some("authorization"));
        assert_eq!(tokens("query:key", &[]).header(), None);
        assert_eq!(tokens("query:key", &[]).parameter(), Some("key"));
        assert_eq!(tokens("bearer", &[]).parameter(), None);
        for text in ["", "Bearer", "header", "header:", "header:a b", "cookie:a", "bearer:a"] {
            assert_eq!(text.parse::<TokenLocation>(), Err(InvalidTokenLocation), "{text}");
        }
    }

    #[test]
    fn tokens_do_not_print() {
        let printed = format!("{:?}", tokens("bearer", &["hunter2"]));
        let digest: [u8; 32] = Sha256::digest("hunter2").into();
        assert!(!printed.contains("hunter2") && !printed.contains(&format!("{}", digest[0])));
    }

    proptest! {
        #[test]
        fn other_values_are_refused_without_a_panic(
            value in prop::collection::vec(any::<u8>(), 0..60),
            query in "\\PC{0,60}",
        ) {
            for place in ["bearer", "basic", "header:x-key", "query:key"] {
                let tokens = tokens(place, &["an unguessable token"]);
                prop_assert!(tokens.check([&value[..]].into_iter(), Some(&query)).is_err());
            }
        }
    }
}
