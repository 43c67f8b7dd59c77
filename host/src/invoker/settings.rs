//! What a handler gets to run with: the operator's word over the sidecar's, over the module's own, over defaults.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_core::breaker::BreakerPolicy;
use weir_core::name::{DestinationName, HandlerName};
use weir_core::retry::RetryPolicy;
use weir_core::route::Pattern;
use weir_engine::{AllowedDestinations, Grants, ModuleKind, RunLimits};

use crate::config::{Config, ConfigErrors, Grant, HandlerSettings, Limits};

/// The settings of a handler, complete.
#[derive(Debug, Clone)]
pub(crate) struct EffectiveSettings {
    /// The events that it gets.
    pub(crate) on: Vec<Pattern>,
    /// What it reads.
    pub(crate) config: Arc<BTreeMap<String, String>>,
    /// What it may do.
    pub(crate) grants: Arc<Grants>,
    /// Bounds of each run.
    pub(crate) limits: RunLimits,
    /// Runs at once.
    pub(crate) concurrency: usize,
    /// When to try again.
    pub(crate) retry: RetryPolicy,
    /// When to leave it alone.
    pub(crate) breaker: BreakerPolicy,
}

/// What a module itself has to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requested<'a> {
    pub(crate) kind: ModuleKind,
    /// What it asked for in `describe`; a command cannot.
    pub(crate) subscriptions: &'a [Pattern],
}

/// Settles what holds. A sidecar with a mistake is refused as a whole.
pub(crate) fn settle(
    name: &HandlerName,
    asks: Requested<'_>,
    sidecar: Option<&str>,
    config: &Config,
) -> Result<EffectiveSettings, ConfigErrors> {
    let said = said(name, sidecar, config)?;
    let Limits { memory, time, concurrency } =
        said.limits.clone().unwrap_or_else(|| config.handler_defaults.limits.clone());
    let Grant { destinations, emit } = said.grant.clone().unwrap_or_default();
    let known: BTreeSet<DestinationName> = config.destinations.keys().cloned().collect();
    let destinations = AllowedDestinations::These(destinations);
    Ok(EffectiveSettings {
        on: subscriptions(name, asks, &said),
        config: Arc::new(said.config.unwrap_or_default()),
        grants: Arc::new(Grants { destinations, known: Arc::new(known), emit }),
        limits: RunLimits { memory, time, ..RunLimits::default() },
        concurrency: concurrency.max(1),
        retry: said.retry.unwrap_or_else(|| config.handler_defaults.retry.clone()),
        breaker: said.breaker.unwrap_or_else(|| config.handler_defaults.breaker.clone()),
    })
}

/// What operator and sidecar say together.
pub(crate) fn said(
    name: &HandlerName,
    sidecar: Option<&str>,
    config: &Config,
) -> Result<HandlerSettings, ConfigErrors> {
    let file = format!("{name}.toml");
    config.settings_for(name, sidecar.map(|text| (file.as_str(), text)))
}

/// The events that a handler gets.
pub(crate) fn subscriptions(
    name: &HandlerName,
    asks: Requested<'_>,
    said: &HandlerSettings,
) -> Vec<Pattern> {
    match (&said.on, asks.kind) {
        (Some(on), _) => on.clone(),
        (None, ModuleKind::Component) => asks.subscriptions.to_vec(),
        // It cannot say what it wants; its name does: `github.wasm` gets what comes in at `github`.
        (None, ModuleKind::Command) => Pattern::parse(&format!("{name}:*")).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_or_the_sidecars_word_wins_over_the_modules_own() {
        let name = HandlerName::new("github").unwrap();
        let pattern = |text| Pattern::parse(text).unwrap();
        let own = [pattern("stripe:*")];
        let got = |kind, on: Option<Vec<Pattern>>| {
            let said = HandlerSettings { on, ..HandlerSettings::default() };
            subscriptions(&name, Requested { kind, subscriptions: &own }, &said)
        };
        assert_eq!(got(ModuleKind::Component, None), own);
        assert_eq!(got(ModuleKind::Component, Some(vec![])), []);
        assert_eq!(got(ModuleKind::Component, Some(vec![pattern("a:b")])), [pattern("a:b")]);
        assert_eq!(got(ModuleKind::Command, None), [pattern("github:*")]);
        assert_eq!(got(ModuleKind::Command, Some(vec![pattern("a:b")])), [pattern("a:b")]);
    }
}
