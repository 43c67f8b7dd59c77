//! The categories of every listed type of every provider: no rule hides another, and every rule is
//! for a type that exists.

use weir_core::event::Category;
use weir_core::provider::Catalog;

use crate::support::{CATALOG, provider};

/// True if `text` matches `pattern`, where `*` stands for any text.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|n| fits(rest, &text[n..])),
        Some((c, rest)) => text.first() == Some(c) && fits(rest, &text[1..]),
    }
}

/// True if some text matches both.
fn meet(one: &[u8], other: &[u8]) -> bool {
    match (one.split_first(), other.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) if meet(rest, other) => true,
        (_, Some((b'*', rest))) if meet(one, rest) => true,
        (Some((b'*', _)), Some((_, rest))) => meet(one, rest),
        (Some((_, rest)), Some((b'*', _))) => meet(rest, other),
        (Some((a, one)), Some((b, other))) => a == b && meet(one, other),
        _ => false,
    }
}

struct File {
    types: Vec<String>,
    rules: Vec<(String, toml::Value)>,
}

fn file(name: &str) -> File {
    let text = Catalog::built_in_text(name).unwrap();
    let table: toml::Table = toml::from_str(text).unwrap();
    let types = table.get("types").and_then(toml::Value::as_array).into_iter().flatten();
    let rules = table.get("categories").and_then(toml::Value::as_table).into_iter().flatten();
    File {
        types: types.map(|kind| kind.as_str().unwrap().to_owned()).collect(),
        rules: rules.map(|(text, rule)| (text.clone(), rule.clone())).collect(),
    }
}

#[test]
fn no_longer_pattern_hides_a_rule_by_verb() {
    for provider in CATALOG.iter() {
        let File { types, rules } = file(&provider.name);
        for kind in types.iter().filter(|kind| !kind.contains('*')) {
            if rules.iter().any(|(text, _)| text == kind) {
                continue;
            }
            let mut fitting: Vec<_> = rules
                .iter()
                .filter(|(text, _)| text.contains('*') && fits(text.as_bytes(), kind.as_bytes()))
                .collect();
            fitting.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
            let Some(((first, rule), rest)) = fitting.split_first() else { continue };
            for (other, hidden) in rest {
                // If the other matches everything that the first does, the first is its exception.
                let wider = fits(other.as_bytes(), first.as_bytes());
                let of_verb = other.starts_with('*') && !first.starts_with('*')
                    || other.len() > 1 && first.ends_with('*') && other.starts_with('*');
                assert!(
                    wider || rule == hidden || !of_verb,
                    "{}: {kind} is {rule} by {first}, which hides {other} = {hidden}: say which",
                    provider.name
                );
            }
        }
    }
}

#[test]
fn every_rule_matches_a_listed_type() {
    let listing = CATALOG.iter().filter(|provider| provider.types_complete);
    let mut seen = 0;
    for provider in listing {
        let File { types, rules } = file(&provider.name);
        for (text, _) in rules {
            let comes = types.iter().any(|kind| meet(text.as_bytes(), kind.as_bytes()));
            assert!(comes, "{}: nothing that is listed fits {text}", provider.name);
            seen += 1;
        }
    }
    assert!(seen > 300, "{seen}");
}

#[test]
fn formerly_hidden_types_have_their_category() {
    for (name, kind, category) in [
        ("okta", "group.lifecycle.create", Category::Created),
        ("okta", "application.lifecycle.update", Category::Updated),
        ("okta", "policy.lifecycle.delete", Category::Deleted),
        ("okta", "user.lifecycle.create", Category::UserSignup),
        ("okta", "user.lifecycle.suspend", Category::StatusChanged),
        ("gocardless", "payments.created", Category::Created),
        ("gocardless", "mandates.created", Category::Created),
        ("gocardless", "payments.paid_out", Category::StatusChanged),
        ("lemonsqueezy", "subscription_created", Category::Created),
        ("lemonsqueezy", "subscription_updated", Category::Updated),
        ("lemonsqueezy", "subscription_paused", Category::StatusChanged),
        ("polar", "subscription.created", Category::Created),
        ("polar", "subscription.updated", Category::Updated),
        ("box", "COMMENT.DELETED", Category::Deleted),
        ("box", "COMMENT.CREATED", Category::MessageReceived),
        ("pagerduty", "incident.custom_field_values.updated", Category::Updated),
        ("telegram", "message", Category::MessageReceived),
    ] {
        let found = provider(name).identity.categories.of(kind, |_| None);
        assert_eq!(found, category, "{name} {kind}");
    }
}

#[test]
fn opened_issues_are_created_at_every_forge() {
    for name in ["github", "gitea", "forgejo"] {
        let categories = &provider(name).identity.categories;
        for kind in ["issues", "pull_request"] {
            for (action, category) in [
                ("opened", Category::Created),
                ("edited", Category::Updated),
                ("closed", Category::StatusChanged),
            ] {
                let found = categories.of(kind, |_| Some(action.into()));
                assert_eq!(found, category, "{name} {kind} {action}");
            }
        }
    }
}

#[test]
fn samples_and_vectors_have_listed_types() {
    for provider in CATALOG.iter().filter(|provider| provider.types_complete) {
        let listed = |kind: &str| {
            kind == "events" || provider.types.iter().any(|t| fits(t.as_bytes(), kind.as_bytes()))
        };
        for sample in &provider.samples {
            assert!(listed(&sample.name), "{} {}", provider.name, sample.name);
        }
    }
}
