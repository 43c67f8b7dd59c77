//! `[handlers.NAME]`, sidecars and `[defaults]`: the settings of handlers.
//!
//! Both files have the same keys. They are merged key by key, the configuration first, then
//! completed with the defaults and checked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use weir_core::bounds::{KIB, STATE_BYTES_PER_HANDLER_MAX, SUBSCRIPTIONS_MAX};
use weir_core::breaker::BreakerPolicy;
use weir_core::condition::{Condition, OrderKey};
use weir_core::delivery::OnBlocked;
use weir_core::name::DestinationName;
use weir_core::retry::RetryPolicy;
use weir_core::route::Pattern;
use weir_core::units::format_size;
use weir_engine::StateKeys;

use super::breaker::RawBreaker;
use super::expression;
use super::probation::{ProbationSetting, RawProbation};
use super::retry::{InvalidSetting, RawRetry};
use super::route::warn_of_what_never_matches;
use super::tree::Section;
use super::value::Size;
use crate::config::SourcesByName;

/// Most entries of a handler's `config`, so that it fits the environment of a guest.
const CONFIG_ENTRIES_MAX: usize = 256;
/// Most arguments of a command.
const ARGS_MAX: usize = 64;
/// Longest arguments of a command together, in bytes: a script may be one of them.
const ARGS_BYTES_MAX: usize = 64 * KIB;
/// Most entries of a command's `[input] state`.
const STATE_INPUTS_MAX: usize = 32;
/// Longest time limit of a run: a longer one would starve other handlers.
const RUN_TIME_MAX: Duration = Duration::from_secs(600);

/// The defaults of a handler.
#[derive(Debug, Clone, PartialEq)]
pub struct HandlerDefaults {
    /// The limits of a run.
    pub limits: Limits,
    /// The retry policy.
    pub retry: RetryPolicy,
    /// The breaker policy.
    pub breaker: BreakerPolicy,
    /// The probation of new versions.
    pub probation: ProbationSetting,
    pub(super) raw_retry: RawRetry,
    raw_breaker: RawBreaker,
    raw_probation: RawProbation,
}

/// The limits of one handler's runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub memory: usize,
    pub time: Duration,
    /// Simultaneous runs.
    pub concurrency: usize,
    /// Bytes of keys and values of its state.
    pub state: usize,
    /// Keys of its state.
    pub state_keys: usize,
}

/// The settings of one handler, from `[handlers.NAME]` or a sidecar. None means: not set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HandlerSettings {
    /// Overrides the subscription of the module.
    pub on: Option<Vec<Pattern>>,
    /// The condition of its events.
    pub when: Option<Arc<Condition>>,
    /// Its events with the same key are handled one at a time, in order.
    pub order_by: Option<Arc<OrderKey>>,
    /// The fate of an event that cannot be handled while others wait behind it.
    pub on_blocked: Option<OnBlocked>,
    /// Settings that the module can read.
    pub config: Option<BTreeMap<String, String>>,
    pub grant: Option<Grant>,
    /// The arguments of a command.
    pub args: Option<Vec<String>>,
    /// The keys of its state that a command gets with its input.
    pub state_input: Option<Vec<StateKeys>>,
    /// The limits, completed with defaults.
    pub limits: Option<Limits>,
    /// The retry policy, completed with defaults.
    pub retry: Option<RetryPolicy>,
    /// The breaker policy, completed with defaults.
    pub breaker: Option<BreakerPolicy>,
    /// The probation of new versions, completed with defaults.
    pub probation: Option<ProbationSetting>,
    /// The keys as written, to merge with a sidecar.
    pub(crate) raw: RawHandler,
}

/// The permissions of a handler. Nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    pub destinations: BTreeSet<DestinationName>,
    /// True if it may emit events.
    pub emit: bool,
}

/// The keys of one handler in one file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RawHandler {
    on: Option<Vec<Pattern>>,
    when: Option<Arc<Condition>>,
    order_by: Option<Arc<OrderKey>>,
    on_blocked: Option<OnBlocked>,
    config: Option<BTreeMap<String, String>>,
    destinations: Option<BTreeSet<DestinationName>>,
    emit: Option<bool>,
    args: Option<Vec<String>>,
    state_input: Option<Vec<StateKeys>>,
    memory: Option<usize>,
    time: Option<Duration>,
    concurrency: Option<usize>,
    state: Option<usize>,
    state_keys: Option<usize>,
    retry: Option<RawRetry>,
    breaker: Option<RawBreaker>,
    probation: Option<RawProbation>,
}

/// The context in which settings of a handler are checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds<'a> {
    pub(super) defaults: &'a HandlerDefaults,
    pub(super) memory_ceiling: usize,
    pub(super) slots: usize,
    pub(super) destinations: &'a BTreeSet<DestinationName>,
    pub(super) sources: &'a BTreeSet<String>,
    /// The valid sources among them, with their providers.
    pub(super) known: &'a SourcesByName,
}

/// Reads `[defaults.limits]`, `[defaults.retry]`, `[defaults.breaker]` and
/// `[defaults.probation]`.
pub(super) fn defaults(
    mut limits: Section<'_>,
    mut retry: Section<'_>,
    (mut breaker, mut probation): (Section<'_>, Section<'_>),
    memory_ceiling: usize,
    slots: usize,
) -> Option<HandlerDefaults> {
    let memory = limits.must::<Size>("memory");
    let time = limits.must("time");
    let concurrency = limits.maybe("concurrency");
    let state = limits.must::<Size>("state").zip(limits.must("state_keys"));
    let read = memory.zip(time).zip(state).map(|((memory, time), (state, state_keys))| Limits {
        memory: memory.0,
        time,
        concurrency: concurrency.unwrap_or(slots),
        state: state.0,
        state_keys,
    });
    if let Some(read) = &read {
        judge_limits(read, memory_ceiling, slots, |key, what| limits.problem(key, what));
    }
    limits.finish();
    let raw_retry = RawRetry::read(&mut retry);
    let policy = raw_retry.policy().map_err(|(key, what)| retry.problem(key, what)).ok();
    let raw_breaker = RawBreaker::read(&mut breaker);
    let judged = raw_breaker.policy().map_err(|(key, what)| breaker.problem(key, what)).ok();
    let raw_probation = RawProbation::read(&mut probation);
    let tried = raw_probation.setting().map_err(|(key, what)| probation.problem(key, what)).ok();
    Some(HandlerDefaults {
        limits: read?,
        retry: policy?,
        breaker: judged?,
        probation: tried?,
        raw_retry,
        raw_breaker,
        raw_probation,
    })
}

/// Reads `[handlers.NAME]` or a whole sidecar, whose keys `above` overrides.
///
/// `may_grant` is false if only the configuration may grant.
pub(super) fn read(
    mut section: Section<'_>,
    bounds: &Bounds<'_>,
    above: Option<&HandlerSettings>,
    may_grant: bool,
) -> HandlerSettings {
    let mut raw = read_raw(&mut section, bounds);
    if !may_grant {
        (raw.destinations, raw.emit) = (None, None);
    }
    if let Some(above) = above {
        raw = above.raw.over(raw);
    }
    let settings = complete(&section, raw, bounds);
    section.finish();
    settings
}

fn read_raw(section: &mut Section<'_>, bounds: &Bounds<'_>) -> RawHandler {
    let on = section.list::<Pattern>("on");
    if on.as_ref().is_some_and(|on| on.len() > SUBSCRIPTIONS_MAX) {
        section.problem("on", format!("lists more than {SUBSCRIPTIONS_MAX} patterns"));
    }
    let patterns = on.as_deref().unwrap_or_default();
    warn_of_what_never_matches(section, patterns, bounds.sources, bounds.known);
    let when = expression::read(section, "when", Condition::parse).map(Arc::new);
    let order_by = expression::read(section, "order_by", OrderKey::parse).map(Arc::new);
    let on_blocked = expression::on_blocked(section);
    let config = section.texts("config");
    if config.as_ref().is_some_and(|config| config.len() > CONFIG_ENTRIES_MAX) {
        section.problem("config", format!("has more than {CONFIG_ENTRIES_MAX} entries"));
    }
    let mut grant = section.section("grant");
    let destinations = grant.list::<DestinationName>("destinations");
    for (index, name) in destinations.iter().flatten().enumerate() {
        if !bounds.destinations.contains(name) {
            let what = no_destination(name.as_str(), bounds.destinations);
            grant.problem(&format!("destinations[{index}]"), what);
        }
    }
    let emit = grant.maybe("emit");
    grant.finish();
    let args = section.list::<String>("args");
    let bytes: usize = args.iter().flatten().map(String::len).sum();
    if args.as_ref().is_some_and(|args| args.len() > ARGS_MAX) || bytes > ARGS_BYTES_MAX {
        let what = format!("has more than {ARGS_MAX} entries or {ARGS_BYTES_MAX} bytes");
        section.problem("args", what);
    }
    let mut input = section.section("input");
    let state_input = input.list::<StateKeys>("state");
    if state_input.as_ref().is_some_and(|keys| keys.len() > STATE_INPUTS_MAX) {
        input.problem("state", format!("has more than {STATE_INPUTS_MAX} entries"));
    }
    input.finish();
    let mut limits = section.section("limits");
    let memory = limits.maybe::<Size>("memory").map(|size| size.0);
    let time = limits.maybe("time");
    let concurrency = limits.maybe("concurrency");
    let state = limits.maybe::<Size>("state").map(|size| size.0);
    let state_keys = limits.maybe("state_keys");
    limits.finish();
    let mut retry = section.section("retry");
    let said = RawRetry::read(&mut retry);
    let retry = retry.is_given().then_some(said);
    let destinations = destinations.map(BTreeSet::from_iter);
    let mut breaker = section.section("breaker");
    let said = RawBreaker::read(&mut breaker);
    let breaker = breaker.is_given().then_some(said);
    let mut probation = section.section("probation");
    let said = RawProbation::read(&mut probation);
    let probation = probation.is_given().then_some(said);
    RawHandler {
        on,
        when,
        order_by,
        on_blocked,
        config,
        destinations,
        emit,
        args,
        state_input,
        memory,
        time,
        concurrency,
        state,
        state_keys,
        retry,
        breaker,
        probation,
    }
}

impl RawHandler {
    /// The keys of this table, completed from `below`.
    fn over(&self, below: Self) -> Self {
        let config = match (&self.config, below.config) {
            (Some(above), Some(mut entries)) => {
                entries.extend(above.clone());
                Some(entries)
            }
            (above, below) => above.clone().or(below),
        };
        let retry = match (&self.retry, &below.retry) {
            (Some(above), Some(below)) => Some(above.over(below)),
            (above, below) => above.clone().or_else(|| below.clone()),
        };
        let breaker = match (&self.breaker, &below.breaker) {
            (Some(above), Some(below)) => Some(above.over(below)),
            (above, below) => above.clone().or_else(|| below.clone()),
        };
        let probation = match (&self.probation, &below.probation) {
            (Some(above), Some(below)) => Some(above.over(below)),
            (above, below) => above.clone().or_else(|| below.clone()),
        };
        Self {
            on: self.on.clone().or(below.on),
            when: self.when.clone().or(below.when),
            order_by: self.order_by.clone().or(below.order_by),
            on_blocked: self.on_blocked.or(below.on_blocked),
            config,
            destinations: self.destinations.clone().or(below.destinations),
            emit: self.emit.or(below.emit),
            args: self.args.clone().or(below.args),
            state_input: self.state_input.clone().or(below.state_input),
            memory: self.memory.or(below.memory),
            time: self.time.or(below.time),
            concurrency: self.concurrency.or(below.concurrency),
            state: self.state.or(below.state),
            state_keys: self.state_keys.or(below.state_keys),
            retry,
            breaker,
            probation,
        }
    }
}

fn complete(section: &Section<'_>, raw: RawHandler, bounds: &Bounds<'_>) -> HandlerSettings {
    let says_limits = raw.memory.is_some()
        || raw.time.is_some()
        || raw.concurrency.is_some()
        || raw.state.is_some()
        || raw.state_keys.is_some();
    let limits = says_limits.then(|| {
        let defaults = &bounds.defaults.limits;
        let limits = Limits {
            memory: raw.memory.unwrap_or(defaults.memory),
            time: raw.time.unwrap_or(defaults.time),
            concurrency: raw.concurrency.unwrap_or(defaults.concurrency),
            state: raw.state.unwrap_or(defaults.state),
            state_keys: raw.state_keys.unwrap_or(defaults.state_keys),
        };
        let noted = |key: &str, what: String| section.problem(&format!("limits.{key}"), what);
        judge_limits(&limits, bounds.memory_ceiling, bounds.slots, noted);
        limits
    });
    let retry = raw.retry.as_ref().and_then(|retry| {
        let policy = retry.over(&bounds.defaults.raw_retry).policy();
        let noted = |(key, what): InvalidSetting| section.problem(&format!("retry.{key}"), what);
        policy.map_err(noted).ok()
    });
    let breaker = raw.breaker.as_ref().and_then(|breaker| {
        let policy = breaker.over(&bounds.defaults.raw_breaker).policy();
        let noted = |(key, what): InvalidSetting| section.problem(&format!("breaker.{key}"), what);
        policy.map_err(noted).ok()
    });
    let probation = raw.probation.as_ref().and_then(|probation| {
        let setting = probation.over(&bounds.defaults.raw_probation).setting();
        let noted = |(key, what): InvalidSetting| {
            section.problem(&format!("probation.{key}"), what);
        };
        setting.map_err(noted).ok()
    });
    let grant = (raw.destinations.is_some() || raw.emit.is_some()).then(|| Grant {
        destinations: raw.destinations.clone().unwrap_or_default(),
        emit: raw.emit.unwrap_or(false),
    });
    HandlerSettings {
        on: raw.on.clone(),
        when: raw.when.clone(),
        order_by: raw.order_by.clone(),
        on_blocked: raw.on_blocked,
        config: raw.config.clone(),
        grant,
        args: raw.args.clone(),
        state_input: raw.state_input.clone(),
        limits,
        retry,
        breaker,
        probation,
        raw,
    }
}

fn judge_limits(
    limits: &Limits,
    memory_ceiling: usize,
    slots: usize,
    problem: impl Fn(&str, String),
) {
    if limits.memory > memory_ceiling {
        let (asked, ceiling) = (format_size(limits.memory), format_size(memory_ceiling));
        problem("memory", format!("{asked} is more than runs.memory_ceiling ({ceiling})"));
    }
    if limits.time > RUN_TIME_MAX {
        problem("time", "must be at most 10m: a run holds a slot".into());
    }
    if limits.state > STATE_BYTES_PER_HANDLER_MAX {
        problem("state", format!("must be at most {}", format_size(STATE_BYTES_PER_HANDLER_MAX)));
    }
    if limits.concurrency > slots {
        let what =
            format!("{} is more than there are slots (runs.slots: {slots})", limits.concurrency);
        problem("concurrency", what);
    }
}

/// The message about an unknown destination.
pub(super) fn no_destination(name: &str, known: &BTreeSet<DestinationName>) -> String {
    if known.is_empty() {
        return format!("no destination `{name}`: there is no [destinations.…] at all");
    }
    let known: Vec<_> = known.iter().map(DestinationName::as_str).collect();
    format!("no destination `{name}`; there is: {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use weir_core::delivery::OnBlocked;

    use crate::config::{Mode, load_text};

    #[test]
    fn condition_and_order_of_the_configuration_replace_those_of_a_sidecar() {
        let text = "[handlers.orders]\nwhen = 'event.body.n == 1'\n";
        let config = load_text("weir.toml", text, Path::new(""), Mode::Development).unwrap().config;
        let sidecar = "when = 'event.body.n == 2'\norder_by = 'event.body.id'\non_blocked = 'wait'";
        let name = "orders".parse().unwrap();
        let settings = config.settings_for(&name, Some(("orders.toml", sidecar))).unwrap();
        assert_eq!(settings.when.unwrap().as_str(), "event.body.n == 1");
        assert_eq!(settings.order_by.unwrap().as_str(), "event.body.id");
        assert_eq!(settings.on_blocked, Some(OnBlocked::Wait));
        let mistaken = "when = 'event.body.n =='\norder_by = '[1]'";
        let refused = config.settings_for(&name, Some(("orders.toml", mistaken))).unwrap_err();
        let places: Vec<_> = refused.problems.iter().map(|p| (p.line, p.column)).collect();
        assert_eq!(places, [(Some(1), Some(24)), (Some(2), Some(13))]);
    }
}
