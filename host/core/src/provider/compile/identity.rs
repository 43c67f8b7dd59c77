//! Compiles the identity rules of a provider file: type, id, dedup, categories and fan-out.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::Category;
use crate::identify::{
    CategoryMap, CategoryRule, DedupRule, FactTemplate, FanOut, IdentityRules, OriginalTypes,
    PatternMap,
};
use crate::provider::Methods;
use crate::provider::problems::ProblemCollector;
use crate::provider::table::ProviderTable;
use crate::provider::units::{BY, CategoryEntry};
use crate::request::payload_is_query;
use crate::selector::Selector;
use crate::verify::{Algorithm, Scheme};

fn templates(check: &mut ProblemCollector, path: &str, texts: &[String]) -> Vec<FactTemplate> {
    texts.iter().filter_map(|text| check.ok(path, FactTemplate::parse(text))).collect()
}

pub(super) fn identity(
    check: &mut ProblemCollector,
    table: &ProviderTable,
    schemes: &[Arc<Scheme>],
    methods: &Methods,
) -> IdentityRules {
    let kinds = templates(check, "type", &table.kind.0);
    let ids = templates(check, "id", &table.id.0);
    check_families(check, "id", kinds.iter().chain(&ids), schemes);
    let dedup = match table.dedup.0.as_slice() {
        [word] if word == "id" => DedupRule::Id,
        [word] if word == "id+body" => DedupRule::IdAndBody,
        [word] if word == "type+body" => DedupRule::TypeAndBody,
        [word] if word == "body" => DedupRule::Body,
        [word] if word == "none" => DedupRule::None,
        [] => {
            check.problem("dedup", "is id, id+body, type+body, body, none, or a list of fields");
            DedupRule::None
        }
        fields => DedupRule::Fields(
            fields
                .iter()
                .map(|field| field.split(" | ").map(str::to_owned).collect::<Vec<_>>())
                .map(|alternatives| templates(check, "dedup", &alternatives))
                .collect(),
        ),
    };
    if matches!(dedup, DedupRule::Id | DedupRule::IdAndBody) {
        check.require(!ids.is_empty(), "dedup", "uses the id, so `id` must be set");
    }
    if dedup == DedupRule::Id {
        check_signed_ids(check, &ids, schemes, methods);
    }
    let categories = categories(check, &table.categories);
    check_families(check, "categories", categories.templates(), schemes);
    let fan_out = check.ok("fan_out", FanOut::parse(&table.fan_out.0)).unwrap_or_default();
    let original = table.original_type.as_ref().map(|texts| OriginalTypes {
        kinds: templates(check, "type", &texts.0),
        own: self::categories(check, &table.source_categories),
    });
    IdentityRules { kinds, ids, dedup, categories, original, fan_out, pointers: Default::default() }
}

/// A header with a name per family must have one for each family of the signature.
fn check_families<'t>(
    check: &mut ProblemCollector,
    path: &str,
    templates: impl Iterator<Item = &'t FactTemplate>,
    schemes: &[Arc<Scheme>],
) {
    for source in templates.flat_map(FactTemplate::selectors) {
        let families = source.families();
        let fits = families == 1 || schemes.iter().all(|s| s.families() == families);
        check.require(
            fits,
            path,
            format_args!("{source} must have as many names as the signature header"),
        );
    }
}

fn categories(
    check: &mut ProblemCollector,
    table: &BTreeMap<String, CategoryEntry>,
) -> CategoryMap {
    let category = |check: &mut ProblemCollector, path: &str, word: &str| {
        let category = Category::parse(word);
        let words = || Category::ALL.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(", ");
        check.require(category.is_some(), path, format_args!("{word:?} is not one of {}", words()));
        category
    };
    let mut rule = |kind: &str, word: &CategoryEntry| {
        let path = format!("categories.{kind:?}");
        Some(match word {
            CategoryEntry::Fixed(word) => CategoryRule::Fixed(category(check, &path, word)?),
            CategoryEntry::By(words) => {
                let by = words.get(BY);
                check.require(by.is_some(), &path, "name the deciding field with by = …");
                let fields = by?.split(" | ").map(str::to_owned).collect::<Vec<_>>();
                let fields = templates(check, &path, &fields);
                let texts = words.iter().filter(|(text, _)| *text != BY);
                let texts: Vec<_> = texts
                    .filter_map(|(text, word)| Some((text.as_str(), category(check, &path, word)?)))
                    .collect();
                CategoryRule::By(fields, PatternMap::new(texts))
            }
        })
    };
    let rules: Vec<_> =
        table.iter().filter_map(|(kind, word)| Some((kind.as_str(), rule(kind, word)?))).collect();
    CategoryMap::new(rules)
}

/// An id that is not signed can be changed in a captured request, which would then look new.
fn check_signed_ids(
    check: &mut ProblemCollector,
    ids: &[FactTemplate],
    schemes: &[Arc<Scheme>],
    methods: &Methods,
) {
    let by_query = methods.iter().any(|method| payload_is_query(method, b""));
    for scheme in schemes.iter().filter(|s| s.algorithm != Algorithm::StaticEquals) {
        for source in ids.iter().flat_map(FactTemplate::selectors) {
            // A form field is also looked up in the query if the payload can be a query.
            let in_query = by_query && matches!(source, Selector::Form(..) | Selector::FormXml(..));
            check.require(
                scheme.covers(source) && (!in_query || scheme.covers_query()),
                "dedup",
                format_args!("{source} is not covered by scheme {}; use id+body", scheme.name),
            );
        }
    }
}
