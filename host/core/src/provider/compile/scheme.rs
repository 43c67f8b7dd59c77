//! Compiles the schemes of a provider file: checks each field, and the rules between fields.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::patterns::{hosts, path_pattern, shapes};
use crate::json_pointer::Pointer;
use crate::provider::problems::ProblemCollector;
use crate::provider::scheme_table::{
    AlgorithmName, ClaimedDigestTable, FetchedKeyTable, HttpMessageTable, JwtTable,
    RequestDigestTable, RequestForm, SchemeTable, TimestampTable,
};
use crate::provider::table::ProviderTable;
use crate::provider::units::OneOrMore;
use crate::selector::Selector;
use crate::verify::{
    Algorithm, BodyDigest, CandidateRule, DigestClaim, DigestInput, Direction, Encoding,
    FetchedKeyRule, HttpMessageRule, JwtRule, KeyAddress, KeyDocument, KeyForm, Requirement,
    Scheme, SignatureFormat, SignedMessage, TimeUnit, TimestampRule, is_key_url, param_names,
};

pub(super) fn schemes(check: &mut ProblemCollector, tables: &[SchemeTable]) -> Vec<Arc<Scheme>> {
    check.require(!tables.is_empty(), "schemes", "at least one is needed");
    let mut seen = BTreeMap::new();
    let mut out = Vec::new();
    for (index, table) in tables.iter().enumerate() {
        let name = table.name.clone().unwrap_or_else(|| format!("{index}"));
        let path = format!("schemes.{name}");
        check.require(table.name.is_some(), &path, "a scheme needs a name");
        check.require(seen.insert(name.clone(), ()).is_none(), &path, "is the name of two schemes");
        out.extend(scheme(check, &path, &name, table).map(Arc::new));
    }
    for scheme in &out {
        let alone = |other: &Arc<Scheme>| other.also.is_none();
        let known = |also: &str| out.iter().any(|other| *other.name == *also && alone(other));
        check.require(
            scheme.also.as_deref().is_none_or(known),
            format_args!("schemes.{}.also", scheme.name),
            "must name another scheme that has no `also` itself",
        );
    }
    out
}

fn scheme(
    check: &mut ProblemCollector,
    path: &str,
    name: &str,
    table: &SchemeTable,
) -> Option<Scheme> {
    let signature = selectors(check, path, table.header.as_ref(), table.from.as_ref());
    let algorithm = algorithm(check, path, table);
    let format = format(check, path, table);
    let (message, message_variants) = messages(check, path, table).unzip();
    let timestamp = table.timestamp.as_ref().map(|t| timestamp(check, path, t));
    let body_digest = match &table.body_digest {
        None => None,
        Some(digest) => check
            .ok(format_args!("{path}.body_digest.from"), Selector::parse(&digest.from))
            .map(|from| BodyDigest { from, encoding: digest.encoding.unwrap_or(Encoding::Hex) }),
    };
    let plain = algorithm == Some(Algorithm::StaticEquals);
    let encoding = table.encoding.unwrap_or(if plain { Encoding::Plain } else { Encoding::Hex });
    let require = require(check, path, table);
    let shapes = table.shapes.as_ref().map(|table| shapes(check, path, table));
    let items = table.items.as_deref();
    let items = items.and_then(|text| check.ok(format_args!("{path}.items"), Pointer::parse(text)));
    let jwt = table.jwt.as_ref().map(|table| jwt(check, path, table));
    let fetched_key = table.fetched_key.as_ref().and_then(|table| fetched_key(check, path, table));
    let scheme = Scheme {
        name: name.into(),
        signature,
        format: format?,
        encoding,
        algorithm: algorithm?,
        key: table.key.unwrap_or(KeyForm::Utf8),
        message: message?,
        message_variants: message_variants?,
        timestamp,
        require,
        shapes: shapes.unwrap_or_default(),
        candidates: table.candidates.unwrap_or(CandidateRule::Any),
        body_digest,
        items,
        jwt,
        http_message: table.http_message.as_ref().map(http_message),
        fetched_key,
        also: table.also.as_deref().map(Into::into),
    };
    check_scheme(check, path, &scheme);
    Some(scheme)
}

fn algorithm(check: &mut ProblemCollector, path: &str, table: &SchemeTable) -> Option<Algorithm> {
    let path = format!("{path}.algorithm");
    match &table.algorithm {
        Some(AlgorithmName::Known(algorithm)) => Some(*algorithm),
        Some(AlgorithmName::Hook(hook)) => {
            check.problem(path, format_args!("this hub has no hook {hook:?}"));
            None
        }
        None => {
            check.problem(path, "is missing");
            None
        }
    }
}

/// The signed message and its alternatives; the body if the file names none.
fn messages(
    check: &mut ProblemCollector,
    path: &str,
    table: &SchemeTable,
) -> Option<(SignedMessage, Vec<SignedMessage>)> {
    let texts = table.message.as_ref().map_or(&[][..], |texts| &texts.0);
    let parse =
        |text: &String| check.ok(format_args!("{path}.message"), SignedMessage::parse(text));
    let mut messages: Vec<_> = texts.iter().filter_map(parse).collect();
    if texts.is_empty() {
        messages.extend(SignedMessage::parse("{body}").ok());
    }
    let variants = messages.split_off(messages.len().min(1));
    Some((messages.pop()?, variants))
}

/// Checks the rules between the fields of a scheme.
fn check_scheme(check: &mut ProblemCollector, path: &str, scheme: &Scheme) {
    let families = scheme.families();
    let plural = |s: &Selector| matches!(s, Selector::Headers(_) | Selector::Each(_));
    check.require(
        matches!(scheme.format, SignatureFormat::Prefix(_)) || !scheme.signature.iter().any(plural),
        format_args!("{path}.separator"),
        "one value with several signatures, or several values, not both",
    );
    check.require(
        !scheme.signature.iter().any(|s| matches!(s, Selector::Pair(_))),
        format_args!("{path}.from"),
        "pair: selects other values of the signature header, not the signature",
    );
    let times = scheme.timestamp.iter().flat_map(|t| &t.from);
    let required = scheme.require.iter().map(|r| &r.from);
    for source in scheme.message.fields().chain(times).chain(required) {
        check.require(
            matches!(source.families(), 1) || source.families() == families,
            path,
            format_args!("{source} must have as many names as the signature header ({families})"),
        );
    }
    if let Some(timestamp) = &scheme.timestamp {
        check_timestamp(check, path, scheme, timestamp);
    } else {
        check.require(
            !scheme.message.covers_timestamp(),
            format_args!("{path}.timestamp"),
            "the message contains {timestamp}, so a timestamp is needed",
        );
    }
    check_keys(check, path, scheme);
    let signs = scheme.algorithm != Algorithm::StaticEquals
        && scheme.jwt.is_none()
        && scheme.http_message.is_none();
    let constant = std::iter::once(&scheme.message)
        .chain(&scheme.message_variants)
        .any(SignedMessage::is_constant);
    check.require(
        !(signs && constant),
        format_args!("{path}.message"),
        "is the same for every request, so one signature would be valid for all of them; \
         add {body}",
    );
    if let Some(digest) = &scheme.body_digest {
        check.require(
            scheme.message.covers(&digest.from),
            format_args!("{path}.body_digest.from"),
            "is not covered by the signature",
        );
    }
}

/// The age is worth checking only if the time is signed: in a captured request an unsigned time can
/// be changed.
fn check_timestamp(
    check: &mut ProblemCollector,
    path: &str,
    scheme: &Scheme,
    timestamp: &TimestampRule,
) {
    let path = format!("{path}.timestamp");
    check.require(!timestamp.from.is_empty(), format_args!("{path}.from"), "is missing");
    let pairs = matches!(scheme.format, SignatureFormat::Pairs { .. });
    for source in &timestamp.from {
        let pair = matches!(source, Selector::Pair(_));
        check.require(pairs || !pair, &path, "pair: needs a signature header of key=value items");
        let plural = matches!(source, Selector::Headers(_) | Selector::Each(_));
        check.require(!plural, &path, format_args!("{source} has several values"));
        let signed = scheme.message.covers_timestamp() || scheme.message.covers(source);
        check.require(
            signed || timestamp.tolerance.is_none(),
            format_args!("{path}.tolerance"),
            format_args!("{source} is not covered by the signature, so its age cannot be checked"),
        );
    }
}

fn selectors(
    check: &mut ProblemCollector,
    path: &str,
    header: Option<&String>,
    from: Option<&OneOrMore>,
) -> Vec<Selector> {
    match (header, from) {
        (Some(header), None) => {
            check.ok(format_args!("{path}.header"), Selector::header(header)).into_iter().collect()
        }
        (None, Some(OneOrMore(from))) if !from.is_empty() => from
            .iter()
            .filter_map(|text| check.ok(format_args!("{path}.from"), Selector::parse(text)))
            .collect(),
        (Some(_), Some(_)) => {
            check.problem(path, "give header or from, not both");
            Vec::new()
        }
        (None, _) => {
            check.problem(path, "header = … or from = … is missing");
            Vec::new()
        }
    }
}

fn format(
    check: &mut ProblemCollector,
    path: &str,
    table: &SchemeTable,
) -> Option<SignatureFormat> {
    let prefix: Box<str> = table.prefix.as_deref().unwrap_or("").into();
    match (table.separator.as_deref().filter(|s| !s.is_empty()), &table.pair) {
        (None, None) => Some(SignatureFormat::Prefix(prefix)),
        (Some(separators), _) if !separators.is_ascii() => {
            check.problem(format_args!("{path}.separator"), "must be ASCII characters");
            None
        }
        (Some(separators), None) => {
            Some(SignatureFormat::List { separators: separators.into(), prefix })
        }
        (Some(separators), Some(key)) => {
            check.require(
                prefix.is_empty(),
                format_args!("{path}.prefix"),
                "cannot be used with pair",
            );
            Some(SignatureFormat::Pairs { separators: separators.into(), key: key.as_str().into() })
        }
        (None, Some(_)) => {
            check.problem(format_args!("{path}.pair"), "needs a separator");
            None
        }
    }
}

fn timestamp(check: &mut ProblemCollector, path: &str, table: &TimestampTable) -> TimestampRule {
    let path = format!("{path}.timestamp");
    TimestampRule {
        from: selectors(check, &path, table.header.as_ref(), table.from.as_ref()),
        unit: table.unit.unwrap_or(TimeUnit::Seconds),
        tolerance: table.tolerance.map(|span| span.0),
        direction: table.direction.unwrap_or(Direction::Both),
    }
}

fn require(check: &mut ProblemCollector, path: &str, table: &SchemeTable) -> Vec<Requirement> {
    let path = format!("{path}.require");
    let one = |(from, values): (&String, &OneOrMore)| {
        // A bare word is a header name.
        let notation = from.starts_with('/') || from.contains(':');
        let source = if notation { Selector::parse(from) } else { Selector::header(from) };
        let any_of = values.0.iter().map(|value| value.as_str().into()).collect();
        Some(Requirement { from: check.ok(&path, source)?, any_of })
    };
    table.require.iter().flatten().filter_map(one).collect()
}

fn jwt(check: &mut ProblemCollector, path: &str, table: &JwtTable) -> JwtRule {
    let digest = |digest: &Option<ClaimedDigestTable>, of| {
        digest.as_ref().map(|digest| DigestClaim {
            claim: digest.claim.as_str().into(),
            of,
            encoding: digest.encoding.unwrap_or(Encoding::Hex),
            optional_if_empty: digest.optional_if_empty,
            query_as_json: digest.query_as_json,
        })
    };
    let claims = table.claims.iter().map(|(claim, values)| {
        let values = values.0.iter().map(|value| value.as_str().into()).collect::<Vec<_>>();
        check.require(
            !values.is_empty(),
            format_args!("{path}.jwt.claims.{claim}"),
            "has no value",
        );
        (claim.as_str().into(), values)
    });
    JwtRule {
        claims: claims.collect(),
        max_age: table.max_age.map(|span| span.0),
        digests: [
            digest(&table.body_digest, DigestInput::Body),
            digest(&table.url_digest, DigestInput::Url),
            table.request_digest.as_ref().map(request_digest),
        ]
        .into_iter()
        .flatten()
        .collect(),
    }
}

fn request_digest(table: &RequestDigestTable) -> DigestClaim {
    let of = match table.form {
        RequestForm::Atlassian => DigestInput::Atlassian { base: table.base.as_str().into() },
    };
    let claim = table.claim.as_str().into();
    DigestClaim {
        claim,
        of,
        encoding: Encoding::Hex,
        optional_if_empty: false,
        query_as_json: false,
    }
}

fn http_message(table: &HttpMessageTable) -> HttpMessageRule {
    HttpMessageRule {
        components: table.components.iter().map(|name| name.as_str().into()).collect(),
        max_age: table.max_age.map(|span| span.0),
        tag: table.tag.as_deref().map(Into::into),
    }
}

fn fetched_key(
    check: &mut ProblemCollector,
    path: &str,
    table: &FetchedKeyTable,
) -> Option<FetchedKeyRule> {
    let path = format!("{path}.fetched_key");
    let at = match (&table.url, &table.from) {
        (Some(url), None) => Some(KeyAddress::Fixed(url.as_str().into())),
        (None, Some(from)) => check.ok(&path, Selector::parse(from)).map(KeyAddress::InRequest),
        _ => {
            check.problem(&path, "url = … or from = … is missing");
            None
        }
    };
    let inside = table.inside.as_deref();
    let inside =
        inside.and_then(|text| check.ok(format_args!("{path}.inside"), Pointer::parse(text)));
    check.require(!table.hosts.is_empty(), format_args!("{path}.hosts"), "is missing");
    let names = hosts(check, &format!("{path}.names"), &table.names);
    let pattern = path_pattern(check, &path, table.path.as_deref());
    check.require(
        table.from.is_none() || table.path.is_some(),
        format_args!("{path}.path"),
        "is needed if the request names the address",
    );
    let hosts = hosts(check, &path, &table.hosts);
    let is_whole = |url: &&String| param_names(url).is_empty();
    check.require(
        table
            .url
            .as_ref()
            .filter(is_whole)
            .is_none_or(|url| is_key_url(url, &hosts, pattern.as_ref())),
        format_args!("{path}.url"),
        "is not a plain https address on one of the hosts",
    );
    let document = table.document.unwrap_or(KeyDocument::WebKeys);
    let is_certificate = matches!(document, KeyDocument::Certificate | KeyDocument::Certificates);
    check.require(
        is_certificate != names.is_empty(),
        format_args!("{path}.names"),
        "are required for document = \"certificate\" or \"certificates\", and only for these",
    );
    Some(FetchedKeyRule {
        at: at?,
        hosts,
        path: pattern,
        document,
        names,
        post: table.post.as_deref().map(Into::into),
        inside,
    })
}

/// Checks the rules for keys, tokens and their addresses.
fn check_keys(check: &mut ProblemCollector, path: &str, scheme: &Scheme) {
    if scheme.fetched_key.is_some() {
        check.require(
            scheme.key == KeyForm::PublicKey && scheme.algorithm.has_key_pair(),
            format_args!("{path}.key"),
            "fetched keys are public: they need key = \"public-key\" and an algorithm with \
             key pairs",
        );
    }
    if scheme.jwt.is_some() {
        check.require(
            scheme.algorithm.jws_name().is_some(),
            format_args!("{path}.algorithm"),
            "cannot sign tokens",
        );
        check.require(
            matches!(scheme.format, SignatureFormat::Prefix(_)),
            format_args!("{path}.separator"),
            "cannot be used with a token",
        );
    }
    if scheme.http_message.is_some() {
        check.require(
            scheme.algorithm.http_name().is_some(),
            format_args!("{path}.algorithm"),
            "cannot sign HTTP messages",
        );
    }
    let kinds = [
        scheme.items.is_some(),
        scheme.jwt.is_some(),
        scheme.http_message.is_some(),
        scheme.timestamp.is_some() && (scheme.jwt.is_some() || scheme.http_message.is_some()),
    ];
    check.require(
        kinds.into_iter().filter(|is| *is).count() <= 1,
        path,
        "use only one of items, jwt and http_message; the latter two have their own timestamps",
    );
}

/// Checks that every `{param:NAME}` is a parameter of the file.
pub(super) fn check_params(
    check: &mut ProblemCollector,
    table: &ProviderTable,
    schemes: &[Arc<Scheme>],
) {
    for handshake in &table.handshakes {
        let texts = handshake.reply.headers.values().chain([&handshake.reply.body]);
        for name in texts.flat_map(|text| param_names(text)) {
            check.require(
                table.params.iter().any(|param| param.name == name),
                format_args!("handshakes.{}.reply", handshake.name),
                format_args!("{{param:{name}}} is not one of the params"),
            );
        }
    }
    for scheme in schemes {
        let fetched = scheme.fetched_key.iter().flat_map(FetchedKeyRule::params);
        for name in scheme.params().into_iter().chain(fetched) {
            check.require(
                table.params.iter().any(|param| param.name == name),
                format_args!("schemes.{}", scheme.name),
                format_args!("{{param:{name}}} is not one of the params"),
            );
        }
    }
}
