//! What a source changes about its provider: the same words as in a provider file.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::table::{AnswerTable, OnRedelivery, ProviderTable, SchemeTable};
use super::units::{CategoryEntry, DurationText, OneOrMore, SizeText};

/// A source's changes. What is left out stays the provider's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderOverrides {
    /// Changes to a scheme.
    pub signature: Option<SchemeTable>,
    /// Names of the schemes to accept, others not.
    pub schemes: Option<Vec<String>>,
    /// How far the signed time may be from our clock, for every scheme that has one.
    pub tolerance: Option<DurationText>,
    /// The URL that the sender was given, up to where the request's own query starts.
    pub public_url: Option<String>,
    /// Where the event's type stands.
    #[serde(rename = "type")]
    pub kind: Option<OneOrMore>,
    /// Types that are missing in the provider's list; they are added to it.
    pub types: Option<Vec<String>>,
    /// Whether there are no other types than those listed.
    pub types_complete: Option<bool>,
    /// Where the delivery's id stands.
    pub id: Option<OneOrMore>,
    /// What makes two requests the same.
    pub dedup: Option<OneOrMore>,
    /// Where an array stands whose items are events of their own.
    pub fan_out: Option<OneOrMore>,
    /// The methods by which events come.
    pub methods: Option<OneOrMore>,
    /// Largest body.
    pub body_limit: Option<SizeText>,
    /// What a redelivery of an event that failed here does.
    #[serde(default, deserialize_with = "redelivery")]
    pub on_redelivery: Option<OnRedelivery>,
    /// Types and their categories; they are added to the provider's and win over it.
    pub categories: Option<BTreeMap<String, CategoryEntry>>,
    /// Fields that hold secrets; they are added to the provider's.
    pub secret_fields: Option<Vec<String>>,
    /// The answer to an accepted request.
    pub acknowledge: Option<AnswerTable>,
    /// The same where the request is a form.
    pub acknowledge_form: Option<AnswerTable>,
    /// The answer when a responder is late.
    pub default_answer: Option<AnswerTable>,
    /// Status of a refused signature.
    pub failure_status: Option<u16>,
    /// A refused signature is answered with nothing but its status.
    pub failure_empty: Option<bool>,
}

fn redelivery<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<OnRedelivery>, D::Error> {
    super::table::redelivery(d).map(Some)
}

impl ProviderOverrides {
    /// Its keys, so that a configuration can tell them from its own in one table.
    pub const KEYS: &[&str] = &[
        "signature",
        "schemes",
        "tolerance",
        "public_url",
        "type",
        "types",
        "types_complete",
        "id",
        "dedup",
        "fan_out",
        "methods",
        "body_limit",
        "on_redelivery",
        "categories",
        "secret_fields",
        "acknowledge",
        "acknowledge_form",
        "default_answer",
        "failure_status",
        "failure_empty",
    ];

    /// Applies the changes to a provider's table; what cannot be applied is said with its path.
    pub(super) fn apply(&self, table: &mut ProviderTable) -> Result<(), (String, String)> {
        if let Some(names) = &self.schemes {
            for name in names {
                if !table.schemes.iter().any(|s| s.name.as_ref() == Some(name)) {
                    let known: Vec<_> =
                        table.schemes.iter().filter_map(|s| s.name.as_deref()).collect();
                    let known = known.join(", ");
                    return Err((
                        "schemes".into(),
                        format!("no scheme {name:?}; there is {known}"),
                    ));
                }
            }
            table.schemes.retain(|s| s.name.as_ref().is_some_and(|name| names.contains(name)));
        }
        if let Some(change) = &self.signature {
            merge(chosen(table, change)?, change);
        }
        if let Some(tolerance) = self.tolerance {
            let times = table.schemes.iter_mut().filter_map(|s| s.timestamp.as_mut());
            let mut any = false;
            for timestamp in times {
                timestamp.tolerance = Some(tolerance);
                any = true;
            }
            if !any {
                return Err(("tolerance".into(), "the scheme signs no time".into()));
            }
        }
        if self.kind.is_some() {
            table.plain_kind = Some(table.kind.clone());
            // Types of another make are not those of the list.
            table.types.clear();
            table.types_complete = false;
        }
        table.types.extend(self.types.clone().unwrap_or_default());
        set(&mut table.types_complete, self.types_complete.as_ref());
        set(&mut table.kind, self.kind.as_ref());
        set(&mut table.id, self.id.as_ref());
        set(&mut table.dedup, self.dedup.as_ref());
        set(&mut table.on_redelivery, self.on_redelivery.as_ref());
        set(&mut table.fan_out, self.fan_out.as_ref());
        table.methods = self.methods.clone().or(table.methods.take());
        table.body_limit = self.body_limit.or(table.body_limit);
        table.acknowledge = self.acknowledge.clone().or(table.acknowledge.take());
        table.acknowledge_form = self.acknowledge_form.clone().or(table.acknowledge_form.take());
        table.default_answer = self.default_answer.clone().or(table.default_answer.take());
        table.failure_status = self.failure_status.or(table.failure_status);
        set(&mut table.failure_empty, self.failure_empty.as_ref());
        table.own_categories = self.categories.clone().unwrap_or_default();
        table.categories.extend(table.own_categories.clone());
        table.secret_fields.extend(self.secret_fields.clone().unwrap_or_default());
        Ok(())
    }
}

fn set<T: Clone>(field: &mut T, change: Option<&T>) {
    if let Some(value) = change {
        *field = value.clone();
    }
}

fn chosen<'t>(
    table: &'t mut ProviderTable,
    change: &SchemeTable,
) -> Result<&'t mut SchemeTable, (String, String)> {
    let names: Vec<_> = table.schemes.iter().filter_map(|s| s.name.clone()).collect();
    let at = match &change.name {
        Some(name) => table.schemes.iter().position(|s| s.name.as_ref() == Some(name)),
        None if table.schemes.len() == 1 => Some(0),
        None => None,
    };
    at.and_then(|at| table.schemes.get_mut(at)).ok_or_else(|| {
        let known = names.join(", ");
        ("signature.name".into(), format!("say which scheme is meant: {known}"))
    })
}

/// Lays a source's words over the provider's, field by field.
fn merge(scheme: &mut SchemeTable, change: &SchemeTable) {
    fn over<T: Clone>(field: &mut Option<T>, change: &Option<T>) {
        if change.is_some() {
            field.clone_from(change);
        }
    }
    // `header` and `from` say the same thing in two ways: the source's way replaces the provider's.
    if change.header.is_some() || change.from.is_some() {
        scheme.header.clone_from(&change.header);
        scheme.from.clone_from(&change.from);
    }
    over(&mut scheme.prefix, &change.prefix);
    over(&mut scheme.separator, &change.separator);
    over(&mut scheme.pair, &change.pair);
    over(&mut scheme.encoding, &change.encoding);
    over(&mut scheme.algorithm, &change.algorithm);
    over(&mut scheme.key, &change.key);
    over(&mut scheme.message, &change.message);
    over(&mut scheme.require, &change.require);
    over(&mut scheme.candidates, &change.candidates);
    over(&mut scheme.body_digest, &change.body_digest);
    over(&mut scheme.shapes, &change.shapes);
    over(&mut scheme.items, &change.items);
    over(&mut scheme.jwt, &change.jwt);
    over(&mut scheme.http_message, &change.http_message);
    over(&mut scheme.fetched_key, &change.fetched_key);
    over(&mut scheme.also, &change.also);
    match (&mut scheme.timestamp, &change.timestamp) {
        (Some(timestamp), Some(change)) => {
            if change.header.is_some() || change.from.is_some() {
                timestamp.header.clone_from(&change.header);
                timestamp.from.clone_from(&change.from);
            }
            over(&mut timestamp.unit, &change.unit);
            over(&mut timestamp.tolerance, &change.tolerance);
            over(&mut timestamp.direction, &change.direction);
        }
        (timestamp @ None, Some(_)) => timestamp.clone_from(&change.timestamp),
        (_, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listed_keys_are_the_ones_that_are_read() {
        let error = toml::from_str::<ProviderOverrides>("nonsense = 1").unwrap_err().to_string();
        for key in ProviderOverrides::KEYS {
            assert!(error.contains(&format!("`{key}`")), "{key} is listed but not read");
        }
        assert_eq!(error.matches('`').count() / 2, ProviderOverrides::KEYS.len() + 1);
    }
}
