//! The settings of a provider that a source overrides, with the keys of a provider file.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::scheme_table::SchemeTable;
use super::table::{AnswerTable, OnRedelivery, ProviderTable};
use super::units::{CategoryEntry, DurationText, OneOrMore, SizeText};
use super::words;

/// The overrides of one source. An absent field keeps the provider's value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderOverrides {
    pub signature: Option<SchemeTable>,
    /// The names of the accepted schemes.
    pub schemes: Option<Vec<String>>,
    /// The permitted difference of the signed time from the hub's clock, for every scheme with a
    /// time.
    pub tolerance: Option<DurationText>,
    /// The URL that the sender was given, without the request's own query.
    pub public_url: Option<String>,
    /// The selectors of the event's type.
    #[serde(rename = "type")]
    pub kind: Option<OneOrMore>,
    /// Types that are added to the provider's list.
    pub types: Option<Vec<String>>,
    /// True if there are no types besides the listed ones.
    pub types_complete: Option<bool>,
    /// The selectors of the sender's delivery id.
    pub id: Option<OneOrMore>,
    /// The dedup rule.
    pub dedup: Option<OneOrMore>,
    /// The selectors of arrays whose items are separate events.
    pub fan_out: Option<OneOrMore>,
    /// The HTTP methods of events.
    pub methods: Option<OneOrMore>,
    /// The maximum body size.
    pub body_limit: Option<SizeText>,
    /// The effect of a redelivery of an event that failed.
    #[serde(default, deserialize_with = "redelivery")]
    pub on_redelivery: Option<OnRedelivery>,
    /// Types with their categories; they take precedence over the provider's.
    pub categories: Option<BTreeMap<String, CategoryEntry>>,
    /// Fields with secrets, added to the provider's.
    pub secret_fields: Option<Vec<String>>,
    /// The response to an accepted request.
    pub acknowledge: Option<AnswerTable>,
    /// The response to an accepted form, if it differs.
    pub acknowledge_form: Option<AnswerTable>,
    /// The response if a responder is late.
    pub default_answer: Option<AnswerTable>,
    /// The HTTP status for an invalid signature.
    pub failure_status: Option<u16>,
    /// True if the response to an invalid signature has no body.
    pub failure_empty: Option<bool>,
}

fn redelivery<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<OnRedelivery>, D::Error> {
    words::redelivery::deserialize(d).map(Some)
}

impl ProviderOverrides {
    /// The keys, so that a configuration can separate them from its own keys in the same table.
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

    /// Applies the overrides to a provider's table; an error is returned with its path.
    pub(super) fn apply(&self, table: &mut ProviderTable) -> Result<(), (String, String)> {
        if let Some(names) = &self.schemes {
            for name in names {
                if !table.schemes.iter().any(|s| s.name.as_ref() == Some(name)) {
                    let known: Vec<_> =
                        table.schemes.iter().filter_map(|s| s.name.as_deref()).collect();
                    let known = known.join(", ");
                    return Err((
                        "schemes".into(),
                        format!("no scheme {name:?}; known schemes: {known}"),
                    ));
                }
            }
            table.schemes.retain(|s| s.name.as_ref().is_some_and(|name| names.contains(name)));
        }
        if let Some(change) = &self.signature {
            merge(select_scheme(table, change)?, change);
        }
        if let Some(tolerance) = self.tolerance {
            let times = table.schemes.iter_mut().filter_map(|s| s.timestamp.as_mut());
            let mut any = false;
            for timestamp in times {
                timestamp.tolerance = Some(tolerance);
                any = true;
            }
            if !any {
                return Err(("tolerance".into(), "the scheme has no timestamp".into()));
            }
        }
        if self.kind.is_some() {
            table.original_type = Some(table.kind.clone());
            // The listed types do not apply to types that the source makes itself.
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
        table.source_categories = self.categories.clone().unwrap_or_default();
        table.categories.extend(table.source_categories.clone());
        table.secret_fields.extend(self.secret_fields.clone().unwrap_or_default());
        Ok(())
    }
}

fn set<T: Clone>(field: &mut T, change: Option<&T>) {
    if let Some(value) = change {
        *field = value.clone();
    }
}

fn select_scheme<'t>(
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
        ("signature.name".into(), format!("name one of the schemes: {known}"))
    })
}

/// Overrides the provider's scheme, field by field.
fn merge(scheme: &mut SchemeTable, change: &SchemeTable) {
    fn over<T: Clone>(field: &mut Option<T>, change: &Option<T>) {
        if change.is_some() {
            field.clone_from(change);
        }
    }
    // `header` and `from` are two forms of one setting: either replaces both.
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
    fn the_listed_keys_match_the_fields() {
        let error = toml::from_str::<ProviderOverrides>("nonsense = 1").unwrap_err().to_string();
        for key in ProviderOverrides::KEYS {
            assert!(error.contains(&format!("`{key}`")), "{key} is listed but not read");
        }
        assert_eq!(error.matches('`').count() / 2, ProviderOverrides::KEYS.len() + 1);
    }
}
