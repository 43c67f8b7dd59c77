//! Compiles the handshakes of a provider file.

use super::patterns::{hosts, path_pattern, shapes};
use crate::handshake::{AllowedHosts, EffectRule, Handshake, Precondition, ReplyTemplate};
use crate::provider::methods::is_handshake_method;
use crate::provider::problems::ProblemCollector;
use crate::provider::table::{EffectTable, HandshakeTable, ProviderTable, WhenTable};
use crate::selector::Selector;

pub(super) fn handshake(
    check: &mut ProblemCollector,
    table: &HandshakeTable,
    provider: &ProviderTable,
) -> Option<Handshake> {
    let path = format!("handshakes.{}", table.name);
    let source = |check: &mut ProblemCollector, text: &str| check.ok(&path, Selector::parse(text));
    let WhenTable { method, present, absent, equal } = &table.when;
    check.require(
        is_handshake_method(method),
        format_args!("{path}.when.method"),
        format_args!("{method:?} is not a method that a handshake may have"),
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
            let message = "is verify, nothing, or a parameter together with token";
            check.problem(format_args!("{path}.after"), message);
            return None;
        }
    };
    let reply = &table.reply;
    let status_ok = (200..=599).contains(&reply.status);
    check.require(status_ok, format_args!("{path}.reply.status"), "a status is 200 to 599");
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

fn effect(
    check: &mut ProblemCollector,
    path: &str,
    table: &EffectTable,
    provider: &ProviderTable,
) -> Option<EffectRule> {
    check.require(
        table.store_secret.is_some() || !table.show_once,
        format_args!("{path}.effect.show_once"),
        "needs store_secret, which it shows",
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
            check.require(
                named && param_ok,
                format_args!("{path}.effect.hosts"),
                "name the hosts, or a parameter that lists them",
            );
            let from = check.ok(path, Selector::parse(from))?;
            EffectRule::FetchUrl { from, hosts, later: table.later }
        }
        (None, None) => EffectRule::None,
    })
}
