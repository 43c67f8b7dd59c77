//! Compiles a provider file to a [`Provider`], or reports every problem in it.

mod handshake;
mod identity;
mod patterns;
mod scheme;

use std::sync::Arc;

use super::problems::ProblemCollector;
use super::table::{ProviderTable, SampleTable};
use super::{FORMAT, Methods, Param, Provider, ProviderError, passed_headers};
use crate::bounds::BODY_BYTES_MAX;
use crate::event::EventType;
use crate::handshake::Handshake;
use crate::identify::FanOut;
use crate::request::payload_is_query;
use crate::sample::Sample;
use crate::selector::Selector;
use crate::sign::SecretForm;
use crate::verify::{Algorithm, Scheme};

use handshake::handshake;
use identity::identity;
use scheme::{check_params, schemes};

pub(super) fn compile(table: Arc<ProviderTable>) -> Result<Provider, ProviderError> {
    let mut check = ProblemCollector::default();
    check.require(table.format == FORMAT, "format", format_args!("this hub reads format {FORMAT}"));
    let name_ok = (1..=63).contains(&table.name.len())
        && table.name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    check.require(name_ok, "name", "a name is 1 to 63 of a-z, 0-9 and -");
    let schemes = schemes(&mut check, &table.schemes);
    check_params(&mut check, &table, &schemes);
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
    let listed = !table.types_complete || !table.types.is_empty();
    check.require(listed, "types_complete", "requires a list of types");
    check_statuses(&mut check, &table);
    let params = params(&mut check, &table);
    let body_limit = table.body_limit.map(|size| usize::try_from(size.0).unwrap_or(usize::MAX));
    let limit_ok = body_limit.is_none_or(|limit| (1..=BODY_BYTES_MAX).contains(&limit));
    check.require(limit_ok, "body_limit", format_args!("1 B to {BODY_BYTES_MAX} B"));
    check.finish()?;
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

fn check_statuses(check: &mut ProblemCollector, table: &ProviderTable) {
    let statuses = [
        ("failure_status", table.failure_status),
        ("acknowledge.status", table.acknowledge.as_ref().map(|a| a.status)),
        ("acknowledge_form.status", table.acknowledge_form.as_ref().map(|a| a.status)),
        ("default_answer.status", table.default_answer.as_ref().map(|a| a.status)),
    ];
    for (path, status) in statuses {
        let status_ok = status.is_none_or(|status| (200..=599).contains(&status));
        check.require(status_ok, path, "a status is 200 to 599");
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
        blind.filter(|_| !schemes.iter().any(|scheme| scheme.distinguishes_queries()))
    {
        check.problem(
            "methods",
            format_args!(
                "{method} requests may have no body, and the signature covers only bodies: \
                 add {{url}} to the message, or {{timestamp}}"
            ),
        );
    }
    methods
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
        check.require(!odd, "secret_fields", format_args!("{text} cannot be redacted"));
        // The body and its parts would both be stored, and only one of them redacted.
        check.require(
            !field.as_ref().is_some_and(|field| fan_out.cuts_form_at(field)),
            "secret_fields",
            format_args!(
                "{text} is in the form field that events are cut from, so it cannot be redacted"
            ),
        );
        fields.extend(field);
    }
    fields
}

fn samples(check: &mut ProblemCollector, table: &ProviderTable) -> Vec<Sample> {
    let sample = |s: &SampleTable| {
        let path = format!("samples.{}", s.name);
        if let Some(method) = &s.method {
            check.ok(format_args!("{path}.method"), Methods::parse(std::slice::from_ref(method)));
        }
        let sample = Sample::parse(&s.name, &s.about, &s.content_type, &s.headers, &s.body);
        check.ok(path, sample.map(|sample| sample.with_method(s.method.clone())))
    };
    table.samples.iter().filter_map(sample).collect()
}
