//! The request headers that a route passes on, so that its receiver can identify and verify the
//! request. Never a credential.

use std::sync::Arc;

use super::problems::ProblemCollector;
use super::table::ProviderTable;
use crate::identify::{DedupRule, FactTemplate, IdentityRules};
use crate::selector::{HeaderPattern, Selector};
use crate::verify::{Algorithm, Scheme};

/// The headers that are credentials for every provider.
pub const CREDENTIAL_HEADERS: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];

/// The headers that the file names, and those that its schemes and identity rules read.
pub(super) fn headers(
    check: &mut ProblemCollector,
    table: &ProviderTable,
    schemes: &[Arc<Scheme>],
    identity: &IdentityRules,
    secret: &[Selector],
) -> Vec<HeaderPattern> {
    let mut all = Vec::new();
    for text in &table.pass_headers {
        let named = check.ok("pass_headers", Selector::parse(&format!("headers:{text}")));
        for pattern in named.iter().flat_map(patterns) {
            check.require(
                !is_credential(&pattern),
                "pass_headers",
                format_args!("{text} is a credential, which is never passed on"),
            );
            all.push(pattern);
        }
    }
    let templates = identity.kinds.iter().chain(&identity.ids).chain(dedup(&identity.dedup));
    let signed = schemes.iter().filter(|scheme| scheme.algorithm != Algorithm::StaticEquals);
    let read = signed.clone().flat_map(|scheme| selectors(scheme));
    let read = read.chain(templates.flat_map(FactTemplate::selectors));
    all.extend(read.flat_map(patterns));
    for rule in signed.filter_map(|scheme| scheme.http_message.as_ref()) {
        let fields = rule.components.iter().map(|name| &**name).filter(|n| !n.starts_with('@'));
        all.extend(fields.chain(["signature", "signature-input", "content-digest"]).map(exact));
    }
    // A source may declare more headers secret.
    all.retain(|pattern| !is_secret(pattern, secret));
    let mut known = std::collections::BTreeSet::new();
    all.retain(|pattern| known.insert((pattern.name.to_ascii_lowercase(), pattern.numbered)));
    // Every message has its own.
    all.retain(|pattern| !pattern.matches("content-type"));
    all
}

fn exact(name: &str) -> HeaderPattern {
    HeaderPattern { name: name.into(), numbered: false }
}

fn patterns(source: &Selector) -> Vec<HeaderPattern> {
    match source {
        Selector::Header(names) => names.iter().map(|name| exact(name)).collect(),
        Selector::Headers(patterns) => patterns.clone(),
        _ => Vec::new(),
    }
}

fn dedup(rule: &DedupRule) -> impl Iterator<Item = &FactTemplate> {
    let fields = match rule {
        DedupRule::Fields(fields) => &fields[..],
        _ => &[],
    };
    fields.iter().flatten()
}

fn selectors(scheme: &Scheme) -> impl Iterator<Item = &Selector> {
    let messages = std::iter::once(&scheme.message).chain(&scheme.message_variants);
    let times = scheme.timestamp.iter().flat_map(|rule| &rule.from);
    scheme
        .signature
        .iter()
        .chain(messages.flat_map(|message| message.fields()))
        .chain(times)
        .chain(scheme.body_digest.iter().map(|digest| &digest.from))
        .chain(scheme.require.iter().map(|requirement| &requirement.from))
        .chain(scheme.shapes.iter().map(|(source, _)| source))
}

fn is_credential(pattern: &HeaderPattern) -> bool {
    CREDENTIAL_HEADERS.iter().any(|name| pattern.matches(name))
}

fn is_secret(pattern: &HeaderPattern, secret: &[Selector]) -> bool {
    let named = |other: &HeaderPattern| {
        pattern.matches(&other.name)
            || other.matches(&pattern.name)
            || (pattern.numbered
                && other.numbered
                && pattern.name.eq_ignore_ascii_case(&other.name))
    };
    is_credential(pattern) || secret.iter().flat_map(patterns).any(|other| named(&other))
}

#[cfg(test)]
mod tests {
    use super::super::{Catalog, Provider};
    use super::*;

    #[test]
    fn every_file_passes_signature_and_identity_headers_only() {
        let mut missing = Vec::new();
        for provider in Catalog::built_in().unwrap().iter() {
            let named = &provider.table.pass_headers;
            for pattern in &provider.pass_headers {
                let star = if pattern.numbered { "*" } else { "" };
                let text = format!("{}{star}", pattern.name);
                if !named.iter().any(|name| name.eq_ignore_ascii_case(&text)) {
                    missing.push(format!("{}: {text}", provider.name));
                }
                assert!(!is_secret(pattern, &provider.secret_fields), "{}: {text}", provider.name);
            }
        }
        assert!(missing.is_empty(), "missing in pass_headers: {missing:#?}");
    }

    #[test]
    fn a_file_cannot_pass_on_a_credential() {
        let text = Catalog::built_in_text("gitlab").unwrap();
        let with = |named: &str| {
            let line = format!("pass_headers = [\"{named}\", ");
            Provider::load(&text.replacen("pass_headers = [", &line, 1))
        };
        for named in ["Authorization", "Cookie"] {
            let refused = with(named).unwrap_err().to_string();
            assert!(refused.contains("credential"), "{named}: {refused}");
        }
        let passes = |named: &str| {
            let provider = with(named).unwrap();
            provider.pass_headers.iter().any(|pattern| pattern.matches(named))
        };
        assert!(!passes("x-gitlab-token"), "it holds the token");
        assert!(passes("X-Gitlab-Instance"));
    }
}
