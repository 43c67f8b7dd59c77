//! From the tree of a file to a [`Config`]: reads every section, then what the operator names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use toml::de::DeTable;
use weir_core::name::{DestinationName, HandlerName, SourceName};
use weir_core::provider::Catalog;

use super::admin::AdminSettings;
use super::context::LoadContext;
use super::handler::{self, Bounds, HandlerDefaults, HandlerSettings};
use super::plugins::RunSettings;
use super::providers::Providers;
use super::pull::PullContext;
use super::retry::RawRetry;
use super::server::ServerSettings;
use super::source::SourceContext;
use super::tree::{Report, Section, parse};
use super::{
    Config, DEFAULTS, admin, alerts, destination, fetch, log, plugins, quarantine, responder,
    route, schedule, server, source, store, telemetry, trust,
};
use crate::tls::TrustedRoots;

/// Reads the whole tree. `None` only if a problem was noted.
pub(super) fn assemble<'t>(
    report: &'t Report,
    tree: &'t DeTable<'t>,
    providers: &mut Providers,
    context: &LoadContext<'_>,
    cores: usize,
) -> Option<Config> {
    let defaults_report = Report::new("defaults", DEFAULTS);
    let defaults = parse(DEFAULTS, &defaults_report);
    let defaults = defaults.get_ref();
    let mut built_in = Section::root(&defaults_report, None, Some(defaults));
    let mut root = Section::root(report, Some(tree), Some(defaults));

    let server = server::read(root.section("server"), context);
    let admin = admin::read(root.section("admin"), context);
    require_two_addresses(&root, server.as_ref(), admin.as_ref());
    let store = store::read(root.section("store"), context);
    let plugins = plugins::read(root.section("plugins"), context);
    let runs = plugins::runs(root.section("runs"), cores);
    let responders = responder::read(root.section("responders"));
    let kept = store::retention(root.section("retention"));
    let trust = trust::read(root.section("trust"), context);
    let trusted = trust.clone().unwrap_or_default();
    let alerts = alerts::read(root.section("alerts"), &trusted, context);
    let shutdown_grace = log::shutdown_grace(root.section("shutdown"));
    let log = log::read(root.section("log"));
    let otlp = telemetry::read(root.section("telemetry"), &trusted, context);
    let fetch = fetch::read(root.section("fetch"), &trusted, context);
    let quarantine = quarantine::read(root.section("quarantine"));
    let data = store.as_ref().map(|store| store.folder.as_path());
    providers.read(root.section("providers"), data, context);

    // If a section is wrong, its default stands in, so that problems that depend on it are found
    // too.
    let judged = runs.clone().or_else(|| plugins::runs(built_in.section("runs"), cores))?;
    let defaults = read_defaults(root.section("defaults"), &judged);
    let fallback = read_defaults(built_in.section("defaults"), &judged);
    let handler_defaults = defaults.handler.or(fallback.handler)?;
    let destination_defaults = defaults.destination.or(fallback.destination)?;

    let bounds = NamedContext {
        handlers: &handler_defaults,
        destinations: &destination_defaults,
        runs: &judged,
        server: server.as_ref(),
        responders: responders.as_ref(),
        trust: &trusted,
    };
    let named = read_named(&mut root, &bounds, &providers.catalog, context);
    root.finish();
    let (store, kept, _) = (store?, kept?, trust?);
    Some(Config {
        server: server?,
        admin: admin?,
        store_url: store.url,
        data_dir: store.folder,
        plugins: plugins?,
        runs: runs?,
        responders: responders?,
        handler_defaults,
        retention: kept.retention,
        hold_life: kept.hold_life,
        alerts: Arc::new(alerts?),
        shutdown_grace: shutdown_grace?,
        log: log?,
        otlp: Arc::new(otlp?),
        fetch: fetch?,
        quarantine: quarantine?,
        providers: providers.files.clone(),
        sources: named.sources,
        destinations: named.destinations,
        routes: named.routes,
        schedules: named.schedules,
        handlers: named.handlers,
        mode: context.mode,
        starts_paused: false,
        origin: None,
    })
}

fn require_two_addresses(
    root: &Section<'_>,
    server: Option<&ServerSettings>,
    admin: Option<&AdminSettings>,
) {
    if let (Some(server), Some(admin)) = (server, admin)
        && server.listen == admin.listen
        && server.listen.port() != 0
    {
        let what = "is the same address as server.listen; give each its own port";
        root.problem("admin.listen", what);
    }
}

/// The settings that the named parts of a file depend on.
struct NamedContext<'a> {
    handlers: &'a HandlerDefaults,
    destinations: &'a destination::DestinationDefaults,
    runs: &'a RunSettings,
    server: Option<&'a ServerSettings>,
    responders: Option<&'a responder::ResponderSettings>,
    trust: &'a TrustedRoots,
}

/// The parts of a file that have a name.
struct NamedParts {
    sources: BTreeMap<SourceName, Arc<source::Source>>,
    destinations: BTreeMap<DestinationName, Arc<destination::Destination>>,
    routes: Vec<route::Route>,
    schedules: Vec<Arc<schedule::Schedule>>,
    handlers: BTreeMap<HandlerName, HandlerSettings>,
}

/// Reads the named parts, and checks that every reference to a name finds it.
fn read_named(
    root: &mut Section<'_>,
    judged: &NamedContext<'_>,
    catalog: &Catalog,
    context: &LoadContext<'_>,
) -> NamedParts {
    let sections = root.named("destinations");
    let mut names = names(&sections);
    let mut destinations = destination::read(sections, judged.destinations, judged.trust, context);
    if context.mode.is_development()
        && let Some(inbox) = destination::inbox(judged.destinations)
    {
        names.insert(inbox.name.clone());
        destinations.entry(inbox.name.clone()).or_insert_with(|| Arc::new(inbox));
    }
    let sections = root.named("sources");
    let source_names = sections.iter().map(|(name, _)| (*name).to_owned()).collect();
    let known = SourceContext {
        catalog,
        server: judged.server,
        responders: judged.responders,
        pull: PullContext { defaults: judged.destinations, trust: judged.trust },
    };
    let sources = source::read(sections, &known, context);
    let routes =
        route::read(root.tables("route"), (&names, &destinations), &source_names, &sources);
    let schedules = schedule::read(root.tables("schedule"));
    let bounds = Bounds {
        defaults: judged.handlers,
        memory_ceiling: judged.runs.memory_ceiling,
        slots: judged.runs.slots,
        destinations: &names,
        sources: &source_names,
        known: &sources,
    };
    let handlers = read_handlers(root.named("handlers"), &bounds);
    NamedParts { sources, destinations, routes, schedules, handlers }
}

struct Defaults {
    handler: Option<HandlerDefaults>,
    destination: Option<destination::DestinationDefaults>,
}

fn read_defaults(mut section: Section<'_>, runs: &RunSettings) -> Defaults {
    let limits = section.section("limits");
    let retry = section.section("retry");
    let judged = (section.section("breaker"), section.section("probation"));
    let handler = handler::defaults(limits, retry, judged, runs.memory_ceiling, runs.slots);
    let growing = handler.as_ref().map_or_else(RawRetry::default, |h| h.raw_retry.clone());
    let destination = destination::defaults(section.section("destination"), &growing);
    section.finish();
    Defaults { handler, destination }
}

/// The names of the destinations in a file, valid or not.
fn names(sections: &[(&str, Section<'_>)]) -> BTreeSet<DestinationName> {
    sections.iter().filter_map(|(name, _)| DestinationName::new(name).ok()).collect()
}

fn read_handlers(
    sections: Vec<(&str, Section<'_>)>,
    bounds: &Bounds<'_>,
) -> BTreeMap<HandlerName, HandlerSettings> {
    let mut handlers = BTreeMap::new();
    for (name, section) in sections {
        match HandlerName::new(name) {
            Err(error) => section.problem("", error),
            Ok(name) => {
                handlers.insert(name, handler::read(section, bounds, None, true));
            }
        }
    }
    handlers
}
