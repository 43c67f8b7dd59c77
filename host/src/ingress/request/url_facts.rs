//! The method of a request, and its path and query after the source, as headers of the event. Pure.

use bytes::Bytes;
use http::{Method, Uri};
use weir_core::reserved_headers::{METHOD_HEADER, PATH_HEADER, QUERY_HEADER};

use super::content::{Content, ContentOrigin, FORM};
use super::fingerprints::Fingerprints;
use super::redact::Redacted;
use super::secret_fields::SecretFields;

/// The headers that tell a request's method, unless it is `POST`, and the rest of its URL.
pub(crate) fn url_facts(
    method: &Method,
    uri: &Uri,
    secret: &SecretFields,
    fingerprints: &Fingerprints,
) -> Vec<(Box<str>, Bytes)> {
    let mut facts = Vec::new();
    if *method != Method::POST {
        let method = Bytes::copy_from_slice(method.as_str().as_bytes());
        facts.push((METHOD_HEADER.into(), method));
    }
    let after = uri.path().splitn(4, '/').nth(3).unwrap_or_default();
    if !after.is_empty() {
        facts.push((PATH_HEADER.into(), format!("/{after}").into()));
    }
    if let Some(query) = uri.query().filter(|query| !query.is_empty()) {
        let bytes = Bytes::copy_from_slice(query.as_bytes());
        let content = Content { bytes, origin: ContentOrigin::Query };
        let kept =
            Redacted::new(&content, FORM.as_bytes(), std::iter::empty(), secret, fingerprints);
        facts.push((QUERY_HEADER.into(), kept.part(0..content.bytes.len())));
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
            let (secret, uri) = (secret(token), uri.parse().unwrap());
            let facts = super::url_facts(&Method::POST, &uri, &secret, &Fingerprints::new([7; 32]));
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

    #[test]
    fn a_method_is_kept_unless_it_is_post() {
        let secret = secret("header:x-token");
        let of = |method: &Method| {
            let uri = "/webhook/github".parse().unwrap();
            super::url_facts(method, &uri, &secret, &Fingerprints::new([7; 32]))
        };
        assert_eq!(of(&Method::POST), []);
        assert_eq!(of(&Method::PUT), [("weir-method".into(), Bytes::from_static(b"PUT"))]);
    }
}
