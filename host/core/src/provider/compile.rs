//! From the file as written to a provider that works, or to the list of everything wrong with it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use super::table::{
    AlgorithmName, HandshakeTable, ProviderTable, SchemeTable, TimestampTable, WhenTable,
};
use super::units::OneOrMore;
use super::{FORMAT, Param, Problem, Provider, ProviderError, Source};
use crate::bounds::BODY_BYTES_MAX;
use crate::event::Category;
use crate::handshake::{After, Handshake, HandshakeRule, ReplyTemplate};
use crate::identify::{CategoryMap, DedupRule, FactTemplate, IdentityRules};
use crate::json_pointer::{Pointer, PointerSet};
use crate::sample::Sample;
use crate::verify::{
    Algorithm, BodyDigest, CandidateRule, Direction, Encoding, Format, KeyForm, Message, Scheme,
    TimeUnit, TimestampRule,
};

/// Collects problems, so that one reading reports them all.
#[derive(Default)]
struct Check {
    problems: Vec<Problem>,
}

impl Check {
    fn problem(&mut self, path: impl Display, message: impl Display) {
        self.problems.push(Problem { path: path.to_string(), message: message.to_string() });
    }

    /// The value, or a problem with the whole chain of its causes.
    fn ok<T, E: std::error::Error>(
        &mut self,
        path: impl Display,
        result: Result<T, E>,
    ) -> Option<T> {
        result
            .map_err(|error| {
                let mut message = error.to_string();
                let mut cause = error.source();
                while let Some(error) = cause {
                    message.push_str(": ");
                    message.push_str(&error.to_string());
                    cause = error.source();
                }
                self.problem(path, message);
            })
            .ok()
    }

    fn demand(&mut self, holds: bool, path: impl Display, message: impl Display) {
        if !holds {
            self.problem(path, message);
        }
    }
}

pub(super) fn compile(table: Arc<ProviderTable>) -> Result<Provider, ProviderError> {
    let mut check = Check::default();
    check.demand(table.format == FORMAT, "format", format_args!("this host reads format {FORMAT}"));
    let name_ok = (1..=63).contains(&table.name.len())
        && table.name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    check.demand(name_ok, "name", "a name is 1 to 63 of a-z, 0-9 and -");
    let schemes = schemes(&mut check, &table.schemes);
    let handshakes: Vec<_> =
        table.handshakes.iter().filter_map(|h| handshake(&mut check, h, &table)).collect();
    let mut identity = identity(&mut check, &table, &schemes);
    identity.collect_pointers(handshakes.iter().flat_map(Handshake::pointers));
    let secret_fields = secret_fields(&mut check, &table, &schemes);
    let samples = samples(&mut check, &table);
    answers(&mut check, &table);
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
        params: params(&table),
        policy: table.policy,
        schemes,
        identity,
        body: table.body,
        handshakes,
        secret_fields,
        body_limit,
        retry_window: table.retry_window.map(|span| span.0),
        ack_deadline: table.ack_deadline.map(|span| span.0),
        on_redelivery: table.on_redelivery,
        latin1_headers: table.latin1_headers,
        failure_status: table.failure_status.unwrap_or(401),
        acknowledge: table.acknowledge.clone(),
        default_answer: table.default_answer.clone(),
        samples,
        public_url: None,
        table,
    })
}

fn params(table: &ProviderTable) -> Vec<Param> {
    let param = |p: &super::table::ParamTable| Param {
        name: p.name.clone(),
        about: p.about.clone(),
        required: p.required,
        secret: p.secret,
    };
    table.params.iter().map(param).collect()
}

fn answers(check: &mut Check, table: &ProviderTable) {
    let statuses = [
        ("failure_status", table.failure_status),
        ("acknowledge.status", table.acknowledge.as_ref().map(|a| a.status)),
        ("default_answer.status", table.default_answer.as_ref().map(|a| a.status)),
    ];
    for (path, status) in statuses {
        let status_ok = status.is_none_or(|status| (200..=599).contains(&status));
        check.demand(status_ok, path, "a status is 200 to 599");
    }
}

fn schemes(check: &mut Check, tables: &[SchemeTable]) -> Vec<Arc<Scheme>> {
    check.demand(!tables.is_empty(), "schemes", "at least one is needed");
    let mut seen = BTreeMap::new();
    let mut out = Vec::new();
    for (index, table) in tables.iter().enumerate() {
        let name = table.name.clone().unwrap_or_else(|| format!("{index}"));
        let path = format!("schemes.{name}");
        check.demand(table.name.is_some(), &path, "a scheme needs a name");
        check.demand(seen.insert(name.clone(), ()).is_none(), &path, "there are two of that name");
        out.extend(scheme(check, &path, &name, table).map(Arc::new));
    }
    out
}

fn scheme(check: &mut Check, path: &str, name: &str, table: &SchemeTable) -> Option<Scheme> {
    let signature = places(check, path, table.header.as_ref(), table.from.as_ref());
    let algorithm = match &table.algorithm {
        Some(AlgorithmName::Known(algorithm)) => Some(*algorithm),
        Some(AlgorithmName::Hook(hook)) => {
            check.problem(
                format_args!("{path}.algorithm"),
                format_args!("this host has no hook {hook:?}"),
            );
            None
        }
        None => {
            check.problem(format_args!("{path}.algorithm"), "is missing");
            None
        }
    };
    let format = format(check, path, table);
    let message = table.message.as_deref().unwrap_or("{body}");
    let message = check.ok(format_args!("{path}.message"), Message::parse(message));
    let timestamp = table.timestamp.as_ref().map(|t| timestamp(check, path, t));
    let body_digest = match &table.body_digest {
        None => None,
        Some(digest) => check
            .ok(format_args!("{path}.body_digest.from"), Source::parse(&digest.from))
            .map(|from| BodyDigest { from, encoding: digest.encoding.unwrap_or(Encoding::Hex) }),
    };
    let plain = algorithm == Some(Algorithm::StaticEquals);
    let encoding = table.encoding.unwrap_or(if plain { Encoding::Plain } else { Encoding::Hex });
    let require = table.require.iter().flatten();
    let scheme = Scheme {
        name: name.into(),
        signature,
        format: format?,
        encoding,
        algorithm: algorithm?,
        key: table.key.unwrap_or(KeyForm::Utf8),
        message: message?,
        timestamp,
        require: require
            .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
            .collect(),
        candidates: table.candidates.unwrap_or(CandidateRule::Any),
        body_digest,
    };
    judge_scheme(check, path, &scheme);
    Some(scheme)
}

/// What must hold between the fields of a scheme.
fn judge_scheme(check: &mut Check, path: &str, scheme: &Scheme) {
    let families = scheme.families();
    let plural = |s: &Source| matches!(s, Source::Headers(_) | Source::Each(_));
    check.demand(
        matches!(scheme.format, Format::Prefix(_)) || !scheme.signature.iter().any(plural),
        format_args!("{path}.separator"),
        "one value with several signatures, or several values, not both",
    );
    check.demand(
        !scheme.signature.iter().any(|s| matches!(s, Source::Pair(_))),
        format_args!("{path}.from"),
        "pair: is for what stands beside the signature",
    );
    let times = scheme.timestamp.iter().flat_map(|t| &t.from);
    for source in scheme.message.fields().chain(times) {
        check.demand(
            matches!(source.families(), 1) || source.families() == families,
            path,
            format_args!(
                "{source} must have as many names as the signature header has ({families})"
            ),
        );
    }
    if let Some(timestamp) = &scheme.timestamp {
        judge_timestamp(check, path, scheme, timestamp);
    } else {
        check.demand(
            !scheme.message.covers_timestamp(),
            format_args!("{path}.timestamp"),
            "the message holds {timestamp}, so say where it stands",
        );
    }
    if let Some(digest) = &scheme.body_digest {
        check.demand(
            scheme.message.covers(&digest.from),
            format_args!("{path}.body_digest.from"),
            "is not covered by the signature and would prove nothing",
        );
    }
}

/// Freshness is worth something only if the time is signed: whoever can change it can always look fresh.
fn judge_timestamp(check: &mut Check, path: &str, scheme: &Scheme, timestamp: &TimestampRule) {
    let path = format!("{path}.timestamp");
    check.demand(!timestamp.from.is_empty(), format_args!("{path}.from"), "is missing");
    let pairs = matches!(scheme.format, Format::Pairs { .. });
    for source in &timestamp.from {
        let pair = matches!(source, Source::Pair(_));
        check.demand(pairs || !pair, &path, "pair: needs a signature header of key=value items");
        let plural = matches!(source, Source::Headers(_) | Source::Each(_));
        check.demand(!plural, &path, format_args!("{source} has several values"));
        let signed = scheme.message.covers_timestamp() || scheme.message.covers(source);
        check.demand(
            signed || timestamp.tolerance.is_none(),
            format_args!("{path}.tolerance"),
            format_args!("{source} is not covered by the signature, so its age proves nothing"),
        );
    }
}

fn places(
    check: &mut Check,
    path: &str,
    header: Option<&String>,
    from: Option<&OneOrMore>,
) -> Vec<Source> {
    match (header, from) {
        (Some(header), None) => {
            check.ok(format_args!("{path}.header"), Source::header(header)).into_iter().collect()
        }
        (None, Some(OneOrMore(from))) if !from.is_empty() => from
            .iter()
            .filter_map(|text| check.ok(format_args!("{path}.from"), Source::parse(text)))
            .collect(),
        (Some(_), Some(_)) => {
            check.problem(path, "give header or from, not both");
            Vec::new()
        }
        (None, _) => {
            check.problem(path, "say where it stands: header = … or from = …");
            Vec::new()
        }
    }
}

fn format(check: &mut Check, path: &str, table: &SchemeTable) -> Option<Format> {
    let prefix: Box<str> = table.prefix.as_deref().unwrap_or("").into();
    match (table.separator.as_deref().filter(|s| !s.is_empty()), &table.pair) {
        (None, None) => Some(Format::Prefix(prefix)),
        (Some(separators), _) if !separators.is_ascii() => {
            check.problem(format_args!("{path}.separator"), "is made of ASCII characters");
            None
        }
        (Some(separators), None) => Some(Format::List { separators: separators.into(), prefix }),
        (Some(separators), Some(key)) => {
            check.demand(
                prefix.is_empty(),
                format_args!("{path}.prefix"),
                "has no place beside pair",
            );
            Some(Format::Pairs { separators: separators.into(), key: key.as_str().into() })
        }
        (None, Some(_)) => {
            check.problem(format_args!("{path}.pair"), "needs a separator");
            None
        }
    }
}

fn timestamp(check: &mut Check, path: &str, table: &TimestampTable) -> TimestampRule {
    let path = format!("{path}.timestamp");
    TimestampRule {
        from: places(check, &path, table.header.as_ref(), table.from.as_ref()),
        unit: table.unit.unwrap_or(TimeUnit::Seconds),
        tolerance: table.tolerance.map(|span| span.0),
        direction: table.direction.unwrap_or(Direction::Both),
    }
}

fn templates(check: &mut Check, path: &str, texts: &[String]) -> Vec<FactTemplate> {
    texts.iter().filter_map(|text| check.ok(path, FactTemplate::parse(text))).collect()
}

fn identity(check: &mut Check, table: &ProviderTable, schemes: &[Arc<Scheme>]) -> IdentityRules {
    let kinds = templates(check, "type", &table.kind.0);
    let ids = templates(check, "id", &table.id.0);
    for source in kinds.iter().chain(&ids).flat_map(FactTemplate::sources) {
        let families = source.families();
        let fits = families == 1 || schemes.iter().all(|s| s.families() == families);
        check.demand(
            fits,
            "id",
            format_args!("{source} must have as many names as the signature header"),
        );
    }
    let dedup = match table.dedup.0.as_slice() {
        [word] if word == "id" => DedupRule::Id,
        [word] if word == "id+body" => DedupRule::IdAndBody,
        [word] if word == "body" => DedupRule::Body,
        [word] if word == "none" => DedupRule::None,
        [] => {
            check.problem("dedup", "is id, id+body, body, none, or a list of fields");
            DedupRule::None
        }
        fields => DedupRule::Fields(templates(check, "dedup", fields)),
    };
    if matches!(dedup, DedupRule::Id | DedupRule::IdAndBody) {
        check.demand(!ids.is_empty(), "dedup", "goes by the id, so say where the id stands");
    }
    if dedup == DedupRule::Id {
        judge_signed_ids(check, &ids, schemes);
    }
    let categories: Vec<_> = table
        .categories
        .iter()
        .filter_map(|(kind, word)| {
            let category = Category::parse(word);
            if category.is_none() {
                let words: Vec<_> = Category::ALL.iter().map(|c| c.as_str()).collect();
                let message = format!("{word:?} is none of {}", words.join(", "));
                check.problem(format_args!("categories.{kind:?}"), message);
            }
            Some((kind.as_str(), category?))
        })
        .collect();
    let fan_out = table.fan_out.as_deref();
    IdentityRules {
        kinds,
        ids,
        dedup,
        categories: CategoryMap::new(categories),
        fan_out: fan_out.and_then(|text| check.ok("fan_out", Pointer::parse(text))),
        body_pointers: PointerSet::default(),
        item_pointers: PointerSet::default(),
    }
}

/// An id that is not signed can be changed by whoever replays a request, and the replay would look new.
fn judge_signed_ids(check: &mut Check, ids: &[FactTemplate], schemes: &[Arc<Scheme>]) {
    for scheme in schemes.iter().filter(|s| s.algorithm != Algorithm::StaticEquals) {
        for source in ids.iter().flat_map(FactTemplate::sources) {
            check.demand(
                scheme.message.covers(source),
                "dedup",
                format_args!("{source} is not covered by scheme {}; use id+body", scheme.name),
            );
        }
    }
}

fn secret_fields(check: &mut Check, table: &ProviderTable, schemes: &[Arc<Scheme>]) -> Vec<Source> {
    let tokens = schemes.iter().filter(|s| s.algorithm == Algorithm::StaticEquals);
    let mut fields: Vec<Source> = tokens.flat_map(|s| s.signature.iter().cloned()).collect();
    for text in &table.secret_fields {
        fields.extend(check.ok("secret_fields", Source::parse(text)));
    }
    fields
}

fn samples(check: &mut Check, table: &ProviderTable) -> Vec<Sample> {
    let sample = |s: &super::table::SampleTable| {
        let path = format!("samples.{}", s.name);
        check.ok(path, Sample::parse(&s.name, &s.about, &s.content_type, &s.headers, &s.body))
    };
    table.samples.iter().filter_map(sample).collect()
}

fn handshake(
    check: &mut Check,
    table: &HandshakeTable,
    provider: &ProviderTable,
) -> Option<Handshake> {
    let path = format!("handshakes.{}", table.name);
    let source = |check: &mut Check, text: &str| check.ok(&path, Source::parse(text));
    let WhenTable { method, present, equal } = &table.when;
    let present: Vec<_> = present.iter().filter_map(|text| source(check, text)).collect();
    let equal: Vec<_> = equal
        .iter()
        .filter_map(|(text, value)| Some((source(check, text)?, value.clone())))
        .collect();
    let after = match (table.after.as_str(), &table.token) {
        ("verify", None) => After::Verify,
        ("nothing", None) => After::Nothing,
        (param, Some(token)) if provider.params.iter().any(|p| p.name == param) => {
            After::Token { from: source(check, token)?, param: param.to_owned() }
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
    let template = |check: &mut Check, text: &str| {
        check.ok(format_args!("{path}.reply"), ReplyTemplate::parse(text))
    };
    let headers = reply
        .headers
        .iter()
        .filter_map(|(name, text)| Some((name.clone(), template(check, text)?)))
        .collect();
    let body = template(check, &reply.body)?;
    let effect = match &table.effect {
        e if e.store_secret.is_some() => {
            HandshakeRule::StoreSecret(source(check, e.store_secret.as_deref()?)?)
        }
        e if e.fetch_url.is_some() => {
            check.demand(
                !e.hosts.is_empty(),
                format_args!("{path}.effect.hosts"),
                "name the hosts",
            );
            HandshakeRule::FetchUrl {
                from: source(check, e.fetch_url.as_deref()?)?,
                hosts: e.hosts.clone(),
            }
        }
        e => e.notice.clone().map_or(HandshakeRule::None, HandshakeRule::Notice),
    };
    Some(Handshake {
        name: table.name.clone(),
        method: method.clone(),
        present,
        equal,
        after,
        status: reply.status,
        content_type: reply.content_type.clone(),
        headers,
        body,
        effect,
    })
}
