//! Route patterns that cannot match an event: explains one in a sentence. Pure.
//!
//! Only providers whose files list all types are judged; others may send any type.

use strsim::levenshtein;

use crate::identify::{FactTemplate, TYPE_UNKNOWN};
use crate::name::SourceName;
use crate::provider::Provider;
use crate::route::Pattern;

/// The number of types that are listed if none is near.
const NAMED: usize = 5;
/// The maximum distance between a mistyped and an intended type, in letters.
const LETTERS: usize = 3;

/// Why a pattern matches no event of its sources, or hardly any; `None` if it may match, or if the
/// types are not known.
pub fn explain_unmatched<'s>(
    pattern: &Pattern,
    sources: impl IntoIterator<Item = (&'s SourceName, &'s Provider)>,
) -> Option<String> {
    let wanted = pattern.kind()?;
    let reached: Vec<_> =
        sources.into_iter().filter(|(source, _)| pattern.reaches(source)).collect();
    let (source, provider) = *reached.first()?;
    let name = &*provider.name;
    let explanation = if reached.iter().all(|(_, provider)| matches_nothing(provider, wanted)) {
        format!("`{pattern}` matches no event: {}", likely_meaning(provider, wanted))
    } else if reached.iter().all(|(_, provider)| misspelled(provider, wanted).is_some()) {
        let near = misspelled(provider, wanted)?;
        format!("`{pattern}` may be misspelt: {name} documents `{near}` and not `{wanted}`")
    } else {
        return None;
    };
    Some(format!("{explanation} (`types` in [sources.{source}] adds types that are missing here)"))
}

/// True if the types of a provider are all known and none matches.
fn matches_nothing(provider: &Provider, wanted: &str) -> bool {
    let mut types = kinds(provider).chain([TYPE_UNKNOWN]);
    provider.types_complete && !types.any(|kind| globs_meet(wanted, kind))
}

/// The documented type that differs from an undocumented one by one letter.
fn misspelled<'p>(provider: &'p Provider, wanted: &str) -> Option<&'p str> {
    let known =
        wanted.contains('*') || wanted == TYPE_UNKNOWN || kinds(provider).any(|k| k == wanted);
    let (near, far) = if known { None } else { closest(provider, wanted) }?;
    (provider.types_complete && far <= 1).then_some(near)
}

/// The probable meaning of a pattern that no type matches.
fn likely_meaning(provider: &Provider, wanted: &str) -> String {
    let name = &*provider.name;
    if let Some((kind, detail)) = prefix(provider, wanted) {
        return match detail {
            Detail::In(field) => {
                let what = last_segment(&field);
                format!("the type of {name} is `{kind}`; the {what} is in {field}")
            }
            Detail::OfOthers(field) => {
                let what = last_segment(&field);
                format!(
                    "the type of {name} is `{kind}`, with nothing after it; the {what} of types \
                     that have one is in {field}"
                )
            }
            Detail::None => {
                format!("the type of {name} is `{kind}`, with nothing after it")
            }
        };
    }
    match nearest(provider, wanted) {
        Some(kind) => format!("{name} has no such type; the nearest is `{kind}`"),
        None => {
            let first: Vec<_> = kinds(provider).take(NAMED).map(|k| format!("`{k}`")).collect();
            format!("{name} has no such type; it has {}, …", first.join(", "))
        }
    }
}

fn kinds(provider: &Provider) -> impl Iterator<Item = &str> {
    provider.types.iter().map(|kind| &**kind)
}

/// The place of the part that a pattern appends to a type.
enum Detail {
    /// In this field.
    In(String),
    /// Other types have it in this field; this one may not have it.
    OfOthers(String),
    None,
}

fn last_segment(field: &str) -> &str {
    field.rsplit('/').next().unwrap_or("rest")
}

/// The longest type that is a prefix of the pattern, and where events have what the pattern
/// appends.
fn prefix<'p>(provider: &'p Provider, wanted: &str) -> Option<(&'p str, Detail)> {
    let literal = wanted.split('*').next().unwrap_or_default();
    let is_prefix = |kind: &&str| {
        let rest = literal.strip_prefix(*kind);
        rest.is_some_and(|rest| rest.starts_with(['.', ':', '/', '_', '-']))
    };
    let kind = kinds(provider).filter(is_prefix).max_by_key(|kind| kind.len())?;
    let field = |kind: &str| {
        let fields = provider.identity.categories.fields(kind).iter();
        fields.flat_map(FactTemplate::selectors).next().map(ToString::to_string)
    };
    let detail = match (field(kind), field("*")) {
        (Some(field), _) => Detail::In(field),
        (None, Some(field)) => Detail::OfOthers(field),
        (None, None) => Detail::None,
    };
    Some((kind, detail))
}

/// The type that differs least, else the shortest that contains the beginning of the pattern.
fn nearest<'p>(provider: &'p Provider, wanted: &str) -> Option<&'p str> {
    let most = LETTERS.min(wanted.chars().count() / 2);
    if let Some((kind, _)) = closest(provider, wanted).filter(|(_, far)| *far <= most) {
        return Some(kind);
    }
    let beginning = letters(wanted.split(['.', ':', '/', '*']).next().unwrap_or_default());
    let has_it = |kind: &&str| letters(kind).contains(&beginning);
    let whole = kinds(provider).filter(|kind| !kind.contains('*'));
    let long = beginning.len() > LETTERS;
    whole.filter(has_it).min_by_key(|kind| kind.len()).filter(|_| long)
}

/// The letters and digits of a text, in lower case.
fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The type with the fewest different letters, and their number; case is ignored.
fn closest<'p>(provider: &'p Provider, wanted: &str) -> Option<(&'p str, usize)> {
    let wanted = wanted.to_lowercase();
    let whole = kinds(provider).filter(|kind| !kind.contains('*'));
    whole.map(|kind| (kind, levenshtein(&wanted, &kind.to_lowercase()))).min_by_key(|(_, far)| *far)
}

/// True if some text matches both patterns, where `*` stands for any text.
fn globs_meet(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    // For each position of `other`: true if the rest of `one` matches the rest of `other` from
    // there.
    let mut meets = vec![false; other.len() + 1];
    meets[other.len()] = true;
    for at in (0..other.len()).rev() {
        meets[at] = other[at] == b'*' && meets[at + 1];
    }
    for a in one.iter().rev() {
        let mut new = vec![false; other.len() + 1];
        new[other.len()] = *a == b'*' && meets[other.len()];
        for at in (0..other.len()).rev() {
            let b = other[at];
            new[at] = match (*a, b) {
                // The star ends here, or matches one more letter.
                (b'*', _) => meets[at] || new[at + 1],
                (_, b'*') => new[at + 1] || meets[at],
                (a, b) => a == b && meets[at + 1],
            };
        }
        meets = new;
    }
    meets[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::provider::{Catalog, ProviderOverrides};

    fn explained(pattern: &str, source: &str, provider: &Provider) -> Option<String> {
        let source = SourceName::stored(source);
        explain_unmatched(&Pattern::parse(pattern).unwrap(), [(&source, provider)])
    }

    #[test]
    fn a_pattern_that_cannot_match_is_explained() {
        let catalog = Catalog::built_in().unwrap();
        let github = catalog.get("github").unwrap();
        for (pattern, explanation) in [
            ("github:issues.opened", "the type of github is `issues`; the action is in /action"),
            (
                "github:pull_request.*",
                "the type of github is `pull_request`; the action is in /action",
            ),
            ("git*:pull_request_review.submitted", "is `pull_request_review`"),
            ("github:pul_request", "the nearest is `pull_request`"),
            ("github:Push", "the nearest is `push`"),
            ("github:charge.succeeded", "github has no such type; it has `"),
            (
                "github:check_run.completed",
                "is `check_run`, with nothing after it; the action of types that have one is in /action",
            ),
            ("github:push.*", "is `push`, with nothing after it; the action of types that"),
        ] {
            let explained = explained(pattern, "github", github).unwrap_or_default();
            assert!(
                explained.contains(explanation) && explained.contains(pattern),
                "{pattern}: {explained}"
            );
        }
        for fits in ["github:push", "github:pull_*", "*:*", "github:*", "github:unknown", "a:b"] {
            assert_eq!(explained(fits, "github", github), None, "{fits}");
        }
        assert_eq!(explained("category:created", "github", github), None);
    }

    #[test]
    fn a_wrong_type_is_answered_with_the_nearest() {
        let catalog = Catalog::built_in().unwrap();
        for (name, kind, explanation) in [
            ("gitlab", "merge_request", Some("the nearest is `Merge Request Hook`")),
            ("gitlab", "push", Some("the nearest is `Push Hook`")),
            (
                "gitea",
                "issues.opened",
                Some("the type of gitea is `issues`; the action is in /action"),
            ),
            ("slack", "message.channels", Some("the type of slack is `message`")),
            ("jira", "issue_created", Some("the nearest is `jira:issue_created`")),
            ("shopify", "orders.create", Some("the nearest is `orders/create`")),
            ("shopify", "order/create", Some("shopify documents `orders/create` and not")),
            ("stripe", "payment.succeeded", Some("stripe has no such type")),
            ("calendly", "invitee.cancelled", Some("documents `invitee.canceled` and not")),
            ("linear", "Issue.created", Some("the nearest is `Issue.create`")),
            ("telegram", "message.text", Some("the type of telegram is `message`")),
            ("discord", "MESSAGE_CREATE", Some("discord has no such type")),
            ("shopify", "metaobjects/create", None),
            ("stripe", "v2.core.event", None),
            ("gitlab", "Merge*", None),
            ("custom", "anything", None),
            ("adyen", "NEW_CODE", None),
        ] {
            let provider = catalog.get(name).unwrap();
            let explained = explained(&format!("{name}:{kind}"), name, provider);
            match explanation {
                Some(explanation) => {
                    assert!(
                        explained.as_ref().is_some_and(|t| t.contains(explanation)),
                        "{kind}: {explained:?}"
                    )
                }
                None => assert_eq!(explained, None, "{kind}"),
            }
        }
    }

    #[test]
    fn a_source_with_its_own_types_is_not_judged() {
        let catalog = Catalog::built_in().unwrap();
        let with = |toml: &str| {
            let overrides: ProviderOverrides = toml::from_str(toml).unwrap();
            catalog.get("github").unwrap().with_overrides(&overrides).unwrap()
        };
        let templated = with("type = ['{header:X-GitHub-Event}.{/action}']");
        assert_eq!(explained("github:issues.opened", "github", &templated), None);
        let added = with("types = ['new_thing']");
        assert_eq!(explained("github:new_thing", "github", &added), None);
        assert!(explained("github:newest", "github", &added).is_some());
        let open = with("types_complete = false");
        assert_eq!(explained("github:newest", "github", &open), None);
    }

    proptest! {
        #[test]
        fn two_globs_meet_if_some_text_matches_both(one in "[ab*]{0,5}", other in "[ab*]{0,5}") {
            fn fits(p: &[u8], t: &[u8]) -> bool {
                match p.split_first() {
                    None => t.is_empty(),
                    Some((b'*', rest)) => (0..=t.len()).any(|n| fits(rest, &t[n..])),
                    Some((c, rest)) => t.first() == Some(c) && fits(rest, &t[1..]),
                }
            }
            let mut texts = vec![Vec::new()];
            for length in 0..9usize {
                let longer: Vec<Vec<u8>> = texts.iter().filter(|t: &&Vec<u8>| t.len() == length)
                    .flat_map(|t| [b'a', b'b'].map(|c| [t.as_slice(), &[c]].concat())).collect();
                texts.extend(longer);
            }
            let plain = texts.iter().any(|t| fits(one.as_bytes(), t) && fits(other.as_bytes(), t));
            prop_assert_eq!(globs_meet(&one, &other), plain);
        }
    }
}
