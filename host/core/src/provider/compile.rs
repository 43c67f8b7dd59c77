//! Compiles a provider file to a [`Provider`], or reports every problem in it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use super::compile_scheme::{judge_params, schemes};
use super::methods::is_handshake_method;
use super::passed_headers;
use super::table::{EffectTable, HandshakeTable, ProviderTable, WhenTable};
use super::units::{BY, CategoryEntry};
use super::{FORMAT, Methods, Param, Provider, ProviderError, ProviderProblem};
use crate::bounds::BODY_BYTES_MAX;
use crate::error::chain;
use crate::event::{Category, EventType};
use crate::handshake::{AllowedHosts, EffectRule, Handshake, Precondition, ReplyTemplate};
use crate::identify::{
    CategoryMap, CategoryRule, DedupRule, FactTemplate, FanOut, IdentityRules, OriginalTypes,
    PatternMap,
};
use crate::request::payload_is_query;
use crate::sample::Sample;
use crate::selector::{Selector, Shape};
use crate::sign::SecretForm;
use crate::verify::{Algorithm, HostPattern, PathPattern, Scheme};

/// Collects problems, so that one reading reports all of them.
#[derive(Default)]
pub(super) struct ProblemCollector {
    problems: Vec<ProviderProblem>,
}

impl ProblemCollector {
    pub(super) fn problem(&mut self, path: impl Display, message: impl Display) {
        self.problems
            .push(ProviderProblem { path: path.to_string(), message: message.to_string() });
    }

    /// The value, or a problem with the whole chain of causes.
    pub(super) fn ok<T, E: std::error::Error>(
        &mut self,
        path: impl Display,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|error| self.problem(path, chain(&error))).ok()
    }

    pub(super) fn demand(&mut self, holds: bool, path: impl Display, message: impl Display) {
        if !holds {
            self.problem(path, message);
        }
    }
}

pub(super) fn compile(table: Arc<ProviderTable>) -> Result<Provider, ProviderError> {
    let mut check = ProblemCollector::default();
    check.demand(table.format == FORMAT, "format", format_args!("this host reads format {FORMAT}"));
    let name_ok = (1..=63).contains(&table.name.len())
        && table.name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    check.demand(name_ok, "name", "a name is 1 to 63 of a-z, 0-9 and -");
    let schemes = schemes(&mut check, &table.schemes);
    judge_params(&mut check, &table, &schemes);
    let handshakes: Vec<_> =
        table.handshakes.iter().filter_map(|h| handshake(&mut check, h, &table)).collect();
    let methods = methods(&mut check, &table, &schemes);
    let mut identity = identity(&mut check, &table, &schemes, &methods);
    identity.collect_pointers(handshakes.iter().flat_map(Handshake::pointers));
    let secret_fields = secret_fields(&mut check, &table, &schemes, &identity.fan_out);
    let pass_headers =
        passed_headers::headers(&mut check, &table, &schemes, &identity, &secret_fields);
    let samples = samples(&mut check, &table);
    for kind in &table.types {
        check.ok("types", EventType::new(kind));
    }
    let told = !table.types_complete || !table.types.is_empty();
    check.demand(told, "types_complete", "says that types lists them all, and it lists none");
    answers(&mut check, &table);
    let params = params(&mut check, &table);
    let body_limit = table.body_limit.map(|size| usize::try_from(size.0).unwrap_or(usize::MAX));
    let limit_ok = body_limit.is_none_or(|limit| (1..=BODY_BYTES_MAX).contains(&limit));
    check.demand(limit_ok, "body_limit", format_args!("1 B to {BODY_BYTES_MAX} B"));
    if !check.problems.is_empty() {
        return Err(ProviderError::Invalid(check.problems));
    }
    Ok(Provider {
        name: table.name.as_str().into(),
        about: table.about.clone(),
        docs: table.docs.clone(),
        params,
        policy: table.policy,
        schemes,
        identity,
        body: table.body,
        types: table.types.iter().map(|kind| kind.as_str().into()).collect(),
        types_complete: table.types_complete,
        json_field: table.json_field.as_deref().map(Into::into),
        methods,
        handshakes,
        secret_fields,
        body_limit,
        retry_window: table.retry_window.map(|span| span.0),
        ack_deadline: table.ack_deadline.map(|span| span.0),
        on_redelivery: table.on_redelivery,
        pass_headers,
        latin1_headers: table.latin1_headers,
        unread_types: table.unread_types.iter().map(|text| text.as_str().into()).collect(),
        failure_status: table.failure_status.unwrap_or(401),
        failure_empty: table.failure_empty,
        acknowledge: table.acknowledge.clone(),
        acknowledge_form: table.acknowledge_form.clone(),
        default_answer: table.default_answer.clone(),
        samples,
        public_url: None,
        table,
    })
}

fn params(check: &mut ProblemCollector, table: &ProviderTable) -> Vec<Param> {
    let mut params = Vec::with_capacity(table.params.len());
    for p in &table.params {
        let form = p.form.as_deref();
        let form = form.and_then(|text| {
            check.ok(format_args!("params.{}.form", p.name), SecretForm::parse(text))
        });
        params.push(Param {
            name: p.name.clone(),
            about: p.about.clone(),
            required: p.required,
            secret: p.secret,
            form,
        });
    }
    params
}

fn answers(check: &mut ProblemCollector, table: &ProviderTable) {
    let statuses = [
        ("failure_status", table.failure_status),
        ("acknowledge.status", table.acknowledge.as_ref().map(|a| a.status)),
        ("acknowledge_form.status", table.acknowledge_form.as_ref().map(|a| a.status)),
        ("default_answer.status", table.default_answer.as_ref().map(|a| a.status)),
    ];
    for (path, status) in statuses {
        let status_ok = status.is_none_or(|status| (200..=599).contains(&status));
        check.demand(status_ok, path, "a status is 200 to 599");
    }
}

/// Reads the methods. If the payload can be a query, some scheme must sign more than the body, or
/// all such requests would have the same signature.
fn methods(
    check: &mut ProblemCollector,
    table: &ProviderTable,
    schemes: &[Arc<Scheme>],
) -> Methods {
    let Some(names) = &table.methods else { return Methods::default() };
    let methods = check.ok("methods", Methods::parse(&names.0)).unwrap_or_default();
    let blind = methods.iter().find(|method| payload_is_query(method, b""));
    if let Some(method) =
        blind.filter(|_| !schemes.iter().any(|scheme| scheme.tells_queries_apart()))
    {
        check.problem(
            "methods",
            format_args!(
                "{method} may come without a body, of which the signature covers nothing: let its message hold {{url}} or \
                 {{timestamp}}"
            ),
        );
    }
    methods
}

fn templates(check: &mut ProblemCollector, path: &str, texts: &[String]) -> Vec<FactTemplate> {
    texts.iter().filter_map(|text| check.ok(path, FactTemplate::parse(text))).collect()
}

fn identity(
    check: &mut ProblemCollector,
    table: &ProviderTable,
    schemes: &[Arc<Scheme>],
    methods: &Methods,
) -> IdentityRules {
    let kinds = templates(check, "type", &table.kind.0);
    let ids = templates(check, "id", &table.id.0);
    judge_families(check, "id", kinds.iter().chain(&ids), schemes);
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
        check.demand(!ids.is_empty(), "dedup", "goes by the id, so say where the id stands");
    }
    if dedup == DedupRule::Id {
        judge_signed_ids(check, &ids, schemes, methods);
    }
    let categories = categories(check, &table.categories);
    judge_families(check, "categories", categories.templates(), schemes);
    let fan_out = check.ok("fan_out", FanOut::parse(&table.fan_out.0)).unwrap_or_default();
    let plain = table.plain_kind.as_ref().map(|places| OriginalTypes {
        kinds: templates(check, "type", &places.0),
        own: self::categories(check, &table.own_categories),
    });
    IdentityRules { kinds, ids, dedup, categories, plain, fan_out, pointers: Default::default() }
}

/// A header with a name per family must have one for each family of the signature.
fn judge_families<'t>(
    check: &mut ProblemCollector,
    path: &str,
    templates: impl Iterator<Item = &'t FactTemplate>,
    schemes: &[Arc<Scheme>],
) {
    for source in templates.flat_map(FactTemplate::selectors) {
        let families = source.families();
        let fits = families == 1 || schemes.iter().all(|s| s.families() == families);
        check.demand(
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
        check.demand(category.is_some(), path, format_args!("{word:?} is none of {}", words()));
        category
    };
    let mut rule = |kind: &str, word: &CategoryEntry| {
        let path = format!("categories.{kind:?}");
        Some(match word {
            CategoryEntry::Fixed(word) => CategoryRule::Fixed(category(check, &path, word)?),
            CategoryEntry::By(words) => {
                let by = words.get(BY);
                check.demand(by.is_some(), &path, "say with by = … where the text stands");
                let places = by?.split(" | ").map(str::to_owned).collect::<Vec<_>>();
                let places = templates(check, &path, &places);
                let texts = words.iter().filter(|(text, _)| *text != BY);
                let texts: Vec<_> = texts
                    .filter_map(|(text, word)| Some((text.as_str(), category(check, &path, word)?)))
                    .collect();
                CategoryRule::By(places, PatternMap::new(texts))
            }
        })
    };
    let rules: Vec<_> =
        table.iter().filter_map(|(kind, word)| Some((kind.as_str(), rule(kind, word)?))).collect();
    CategoryMap::new(rules)
}

fn effect(
    check: &mut ProblemCollector,
    path: &str,
    table: &EffectTable,
    provider: &ProviderTable,
) -> Option<EffectRule> {
    check.demand(
        table.store_secret.is_some() || !table.show_once,
        format_args!("{path}.effect.show_once"),
        "shows what store_secret keeps, so say where that stands",
    );
    Some(match (&table.store_secret, &table.fetch_url) {
        (Some(from), _) => EffectRule::StoreSecret {
            from: check.ok(path, Selector::parse(from))?,
            show_once: table.show_once,
        },
        (None, Some(from)) => {
            let hosts = match &table.hosts_param {
                None => {
                    let pattern = path_pattern(check, path, table.path.as_deref());
                    AllowedHosts::Named(hosts(check, path, &table.hosts), pattern)
                }
                Some(param) => AllowedHosts::Param(param.clone()),
            };
            let param_ok = table.hosts_param.as_ref().is_none_or(|param| {
                table.hosts.is_empty() && provider.params.iter().any(|p| p.name == *param)
            });
            let named = !table.hosts.is_empty() || table.hosts_param.is_some();
            check.demand(
                named && param_ok,
                format_args!("{path}.effect.hosts"),
                "name the hosts, or one of the params that does",
            );
            let from = check.ok(path, Selector::parse(from))?;
            EffectRule::FetchUrl { from, hosts, later: table.later }
        }
        (None, None) => EffectRule::None,
    })
}

pub(super) fn shapes(
    check: &mut ProblemCollector,
    path: &str,
    table: &BTreeMap<String, String>,
) -> Vec<(Selector, Shape)> {
    let path = format!("{path}.shapes");
    let shape = |(from, text): (&String, &String)| {
        let source = check.ok(&path, Selector::parse(from));
        let shape = Shape::parse(text);
        check.demand(shape.is_some(), &path, format_args!("{text:?} is no shape"));
        source.zip(shape)
    };
    table.iter().filter_map(shape).collect()
}

pub(super) fn hosts(
    check: &mut ProblemCollector,
    path: &str,
    texts: &[String],
) -> Vec<HostPattern> {
    let host = |text: &String| {
        let pattern = HostPattern::parse(text);
        let message = format_args!(
            "{text:?} is no host name, with one *, {{region}} or {{region:cn}} at most"
        );
        check.demand(pattern.is_some(), format_args!("{path}.hosts"), message);
        pattern
    };
    texts.iter().filter_map(host).collect()
}

pub(super) fn path_pattern(
    check: &mut ProblemCollector,
    path: &str,
    text: Option<&str>,
) -> Option<PathPattern> {
    let text = text?;
    let pattern = PathPattern::parse(text);
    let message =
        format_args!("{text:?} is no path, with one {{hex:1-64}} or {{word:1-64}} at most");
    check.demand(pattern.is_some(), format_args!("{path}.path"), message);
    pattern
}

/// An id that is not signed can be changed in a captured request, which would then look new.
fn judge_signed_ids(
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
            check.demand(
                scheme.covers(source) && (!in_query || scheme.covers_query()),
                "dedup",
                format_args!("{source} is not covered by scheme {}; use id+body", scheme.name),
            );
        }
    }
}

fn secret_fields(
    check: &mut ProblemCollector,
    table: &ProviderTable,
    schemes: &[Arc<Scheme>],
    fan_out: &FanOut,
) -> Vec<Selector> {
    let tokens = schemes.iter().filter(|s| s.algorithm == Algorithm::StaticEquals);
    let mut fields: Vec<Selector> = tokens.flat_map(|s| s.signature.iter().cloned()).collect();
    for text in &table.secret_fields {
        let field = check.ok("secret_fields", Selector::parse(text));
        let odd = matches!(
            field,
            Some(
                Selector::Outer(_)
                    | Selector::KeyBesides(_)
                    | Selector::FormXml(..)
                    | Selector::Pair(_)
            )
        );
        check.demand(!odd, "secret_fields", format_args!("{text} cannot be hidden"));
        // The body and its parts would both be stored, and only one of them redacted.
        check.demand(
            !field.as_ref().is_some_and(|field| fan_out.cuts_form_at(field)),
            "secret_fields",
            format_args!(
                "{text} is in the form's field that events are cut from and cannot be hidden"
            ),
        );
        fields.extend(field);
    }
    fields
}

fn samples(check: &mut ProblemCollector, table: &ProviderTable) -> Vec<Sample> {
    let sample = |s: &super::table::SampleTable| {
        let path = format!("samples.{}", s.name);
        if let Some(method) = &s.method {
            check.ok(format_args!("{path}.method"), Methods::parse(std::slice::from_ref(method)));
        }
        let sample = Sample::parse(&s.name, &s.about, &s.content_type, &s.headers, &s.body);
        check.ok(path, sample.map(|sample| sample.with_method(s.method.clone())))
    };
    table.samples.iter().filter_map(sample).collect()
}

fn handshake(
    check: &mut ProblemCollector,
    table: &HandshakeTable,
    provider: &ProviderTable,
) -> Option<Handshake> {
    let path = format!("handshakes.{}", table.name);
    let source = |check: &mut ProblemCollector, text: &str| check.ok(&path, Selector::parse(text));
    let WhenTable { method, present, absent, equal } = &table.when;
    check.demand(
        is_handshake_method(method),
        format_args!("{path}.when.method"),
        format_args!("{method:?} is no method that a handshake comes by"),
    );
    let [present, absent] = [present, absent]
        .map(|texts| texts.iter().filter_map(|text| source(check, text)).collect::<Vec<_>>());
    let equal: Vec<_> = equal
        .iter()
        .filter_map(|(text, value)| Some((source(check, text)?, value.clone())))
        .collect();
    let after = match (table.after.as_str(), &table.token) {
        ("verify", None) => Precondition::Verify,
        ("nothing", None) => Precondition::Nothing,
        (param, Some(token)) if provider.params.iter().any(|p| p.name == param) => {
            Precondition::Token { from: source(check, token)?, param: param.to_owned() }
        }
        _ => {
            let message = "is verify, nothing, or one of the params together with token";
            check.problem(format_args!("{path}.after"), message);
            return None;
        }
    };
    let reply = &table.reply;
    let status_ok = (200..=599).contains(&reply.status);
    check.demand(status_ok, format_args!("{path}.reply.status"), "a status is 200 to 599");
    let template = |check: &mut ProblemCollector, text: &str| {
        check.ok(format_args!("{path}.reply"), ReplyTemplate::parse(text))
    };
    let headers = reply
        .headers
        .iter()
        .filter_map(|(name, text)| Some((name.clone(), template(check, text)?)))
        .collect();
    let body = template(check, &reply.body)?;
    let effect = effect(check, &path, &table.effect, provider)?;
    let shapes = shapes(check, &path, &table.shapes);
    Some(Handshake {
        name: table.name.clone(),
        method: method.clone(),
        present,
        absent,
        shapes,
        equal,
        after,
        status: reply.status,
        content_type: reply.content_type.clone(),
        headers,
        body,
        effect,
        notice: table.effect.notice.clone(),
    })
}
