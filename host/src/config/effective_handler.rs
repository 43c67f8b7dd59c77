//! The settings that a handler runs with. Those in `weir.toml` replace those in its sidecar file,
//! which replace the module's own and the defaults. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_core::breaker::BreakerPolicy;
use weir_core::condition::{Condition, OrderKey};
use weir_core::delivery::OnBlocked;
use weir_core::name::{DestinationName, HandlerName};
use weir_core::retry::RetryPolicy;
use weir_core::route::Pattern;
use weir_core::state::StateQuota;
use weir_engine::{AllowedDestinations, CommandInput, Grants, ModuleKind, RunLimits};

use super::handler::{Grant, HandlerSettings, Limits};
use super::probation::ProbationSetting;
use super::{Config, ConfigErrors};

/// The complete settings of a handler.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EffectiveSettings {
    pub(crate) subscriptions: Vec<Pattern>,
    /// The condition of its events.
    pub(crate) when: Option<Arc<Condition>>,
    /// Events with the same key are handled one at a time, in order.
    pub(crate) order_by: Option<Arc<OrderKey>>,
    pub(crate) on_blocked: OnBlocked,
    /// The destinations whose messages keep the order of the events that were handled.
    pub(crate) ordered: Arc<BTreeSet<DestinationName>>,
    /// The keys and values that the handler can read.
    pub(crate) config: Arc<BTreeMap<String, String>>,
    pub(crate) grants: Arc<Grants>,
    /// The input of a command besides the event.
    pub(crate) command: Arc<CommandInput>,
    /// Limits of each run.
    pub(crate) limits: RunLimits,
    /// Batches that may run at the same time.
    pub(crate) concurrency: usize,
    pub(crate) retry: RetryPolicy,
    pub(crate) breaker: BreakerPolicy,
    pub(crate) probation: ProbationSetting,
    /// The quota of its state.
    pub(crate) state: StateQuota,
}

/// The requests of a module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requested<'a> {
    pub(crate) kind: ModuleKind,
    /// From `describe`. Empty for a command, which cannot ask.
    pub(crate) subscriptions: &'a [Pattern],
}

/// The settings of a handler. A sidecar file with a mistake is refused as a whole.
pub(crate) fn effective(
    name: &HandlerName,
    requested: Requested<'_>,
    sidecar: Option<&str>,
    config: &Config,
) -> Result<EffectiveSettings, ConfigErrors> {
    let configured = configured(name, sidecar, config)?;
    let Limits { memory, time, concurrency, state, state_keys } =
        configured.limits.clone().unwrap_or_else(|| config.handler_defaults.limits.clone());
    let Grant { destinations, emit } = configured.grant.clone().unwrap_or_default();
    let known: BTreeSet<DestinationName> = config.destinations.keys().cloned().collect();
    let destinations = AllowedDestinations::These(destinations);
    let ordered = config.destinations.values().filter(|to| to.ordered).map(|to| to.name.clone());
    let place = place_of_grants(name, config).into();
    Ok(EffectiveSettings {
        subscriptions: subscriptions(name, requested, &configured),
        when: configured.when,
        order_by: configured.order_by,
        on_blocked: configured.on_blocked.unwrap_or(OnBlocked::Skip),
        ordered: Arc::new(ordered.collect()),
        config: Arc::new(configured.config.unwrap_or_default()),
        grants: Arc::new(Grants { destinations, known: Arc::new(known), emit, place }),
        command: Arc::new(CommandInput {
            args: configured.args.unwrap_or_default(),
            state: configured.state_input.unwrap_or_default(),
        }),
        limits: RunLimits { memory, time, ..RunLimits::default() },
        concurrency: concurrency.max(1),
        retry: configured.retry.unwrap_or_else(|| config.handler_defaults.retry.clone()),
        breaker: configured.breaker.unwrap_or_else(|| config.handler_defaults.breaker.clone()),
        probation: configured.probation.unwrap_or(config.handler_defaults.probation),
        state: StateQuota { bytes: state as u64, keys: state_keys as u64 },
    })
}

/// The file and table in which a handler's grants are written, for messages.
fn place_of_grants(name: &HandlerName, config: &Config) -> String {
    let above = config.handlers.get(name).is_some_and(|handler| handler.grant.is_some());
    if above || !config.plugins.sidecar_grants {
        return format!("weir.toml: [handlers.{name}.grant]");
    }
    let folder = config.plugins.dir.file_name().unwrap_or_default().to_string_lossy();
    format!("{folder}/{name}.toml: [grant]")
}

/// The settings in `weir.toml` and the sidecar file together.
pub(crate) fn configured(
    name: &HandlerName,
    sidecar: Option<&str>,
    config: &Config,
) -> Result<HandlerSettings, ConfigErrors> {
    let file = format!("{name}.toml");
    config.settings_for(name, sidecar.map(|text| (file.as_str(), text)))
}

/// The subscriptions of a handler.
pub(crate) fn subscriptions(
    name: &HandlerName,
    requested: Requested<'_>,
    configured: &HandlerSettings,
) -> Vec<Pattern> {
    match (&configured.on, requested.kind) {
        (Some(on), _) => on.clone(),
        (None, ModuleKind::Component) => requested.subscriptions.to_vec(),
        // A command cannot ask. Its name says it: `github.wasm` gets the events of the source
        // `github`.
        (None, ModuleKind::Command) => Pattern::parse(&format!("{name}:*")).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_subscriptions_replace_the_requested_ones() {
        let name = HandlerName::new("github").unwrap();
        let pattern = |text| Pattern::parse(text).unwrap();
        let own = [pattern("stripe:*")];
        let got = |kind, on: Option<Vec<Pattern>>| {
            let configured = HandlerSettings { on, ..HandlerSettings::default() };
            subscriptions(&name, Requested { kind, subscriptions: &own }, &configured)
        };
        assert_eq!(got(ModuleKind::Component, None), own);
        assert_eq!(got(ModuleKind::Component, Some(vec![])), []);
        assert_eq!(got(ModuleKind::Component, Some(vec![pattern("a:b")])), [pattern("a:b")]);
        assert_eq!(got(ModuleKind::Command, None), [pattern("github:*")]);
        assert_eq!(got(ModuleKind::Command, Some(vec![pattern("a:b")])), [pattern("a:b")]);
    }
}
