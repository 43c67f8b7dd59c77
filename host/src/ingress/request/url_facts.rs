//! The path and query of a request after its source, as headers of the event. Pure.

use bytes::Bytes;
use http::Uri;

use super::content::{Content, ContentOrigin, FORM};
use super::fingerprints::Fingerprints;
use super::redact::Redacted;
use super::secret_fields::SecretFields;

/// The header with the path after the source.
const PATH: &str = "weir-path";
/// The header with the query, its secrets replaced.
const QUERY: &str = "weir-query";

/// The headers that tell the rest of a request's URL.
pub(crate) fn url_facts(
    uri: &Uri,
    secret: &SecretFields,
    fingerprints: &Fingerprints,
) -> Vec<(Box<str>, Bytes)> {
    let mut facts = Vec::new();
    let after = uri.path().splitn(4, '/').nth(3).unwrap_or_default();
    if !after.is_empty() {
        facts.push((PATH.into(), format!("/{after}").into()));
    }
    if let Some(query) = uri.query().filter(|query| !query.is_empty()) {
        let bytes = Bytes::copy_from_slice(query.as_bytes());
        let content = Content { bytes, origin: ContentOrigin::Query };
        let kept =
            Redacted::new(&content, FORM.as_bytes(), std::iter::empty(), secret, fingerprints);
        facts.push((QUERY.into(), kept.part(0..content.bytes.len())));
    }
    facts
}

#[cfg(test)]
mod tests {
    use weir_core::selector::Selector;
    use weir_core::token::{TokenLocation, Tokens};

    use super::*;

    /// A query parameter of a provider file, and the place of a token.
    fn secret(token: &str) -> SecretFields {
        let tokens = Tokens::new(token.parse::<TokenLocation>().unwrap(), []);
        SecretFields::new(&[Selector::parse("query:sig").unwrap()], Some(&tokens))
    }

    #[test]
    fn the_path_and_query_are_kept_without_their_secrets() {
        let of = |uri: &str, token: &str| {
            let secret = secret(token);
            let facts =
                super::url_facts(&uri.parse().unwrap(), &secret, &Fingerprints::new([7; 32]));
            let text = |value: Bytes| String::from_utf8(value.to_vec()).unwrap();
            facts.into_iter().map(|(name, value)| (name.into(), text(value))).collect::<Vec<_>>()
        };
        let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(of("/webhook/github", "header:x-token"), []);
        assert_eq!(
            of("http://h/webhook/github/tenant/4%202?a=1&b=%20", "header:x-token"),
            [fact("weir-path", "/tenant/4%202"), fact("weir-query", "a=1&b=%20")]
        );
        let hidden = &of("/webhook/github/?a=1&key=s3cr3t&sig=s3cr3t", "query:key")[0].1;
        assert!(
            hidden.starts_with("a=1&key=fingerprint-") && !hidden.contains("s3cr3t"),
            "{hidden}"
        );
    }
}
