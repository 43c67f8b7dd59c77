//! From a file to a [`Config`], or to everything that is wrong with it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;
use weir_core::name::{DestinationName, HandlerName, SourceName};
use weir_core::provider::Catalog;

use super::context::LoadContext;
use super::handler::{self, Bounds, HandlerDefaults, HandlerSettings};
use super::plugins::Runs;
use super::problem::{ConfigErrors, ConfigProblem};
use super::providers::{Providers, RejectedFiles};
use super::restart::RestartSettings;
use super::retry::RawRetry;
use super::source::SourceContext;
use super::tree::{Report, Section, parse};
use super::{
    Config, DEFAULTS, admin, alerts, destination, development, fetch, log, plugins, quarantine,
    responder, route, server, source, store, trust,
};

/// The file that is read if none is named.
pub const FILE: &str = "weir.toml";

/// The data folder of development mode with no file.
const DATA: &str = "data";

/// Largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Where a configuration was read, to read it again when something there changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// Whether secrets might stand in it.
    pub development: bool,
    /// It, the files that it names and the folders that it looks into, whether they are there or not.
    pub files: BTreeSet<PathBuf>,
    /// The settings that take effect at a restart only, to be compared.
    pub restart: RestartSettings,
}

/// A configuration with what there is to say about it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file it came from; none in development mode with no file.
    pub file: Option<PathBuf>,
    /// What works, but deserves a look.
    pub warnings: Vec<ConfigProblem>,
}

/// Loads a configuration: the file that is named, else [`FILE`] in the process's folder, else development mode
/// with its data in `data/`. With `development`, secrets may stand in the file and there is an inbox.
pub fn load(path: Option<&Path>, development: bool) -> Result<Loaded, ConfigErrors> {
    let path = match path {
        Some(path) => path,
        None if Path::new(FILE).exists() => Path::new(FILE),
        None => return development::development(Path::new(DATA)),
    };
    let text = read_file(path)?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let paths_read = RefCell::default();
    let context = LoadContext {
        folder,
        variable: &|name: &str| std::env::var_os(name),
        development,
        paths_read: &paths_read,
    };
    let (mut config, warnings) = in_context(&path.display().to_string(), &text, &context)?;
    let mut files = paths_read.take();
    files.insert(path.to_owned());
    let restart = RestartSettings::of(&config);
    config.origin = Some(Origin { file: path.to_owned(), development, files, restart });
    Ok(Loaded { config, file: Some(path.to_owned()), warnings })
}

/// The providers that are known here: the built-in ones and those that the file names, or that lie where it would
/// have them if there is none.
pub fn known_providers(path: Option<&Path>) -> Result<Providers, ConfigErrors> {
    let file = path.unwrap_or_else(|| Path::new(FILE));
    let text = match path.is_some() || file.exists() {
        true => read_file(file)?,
        false => String::new(),
    };
    let (report, paths_read) =
        (Report::new(&file.display().to_string(), &text), RefCell::default());
    let defaults_report = Report::new("defaults", DEFAULTS);
    let (tree, defaults) = (parse(&text, &report), parse(DEFAULTS, &defaults_report));
    let context = LoadContext {
        folder: file.parent().unwrap_or_else(|| Path::new("")),
        variable: &|_: &str| None,
        development: false,
        paths_read: &paths_read,
    };
    let mut root = Section::root(&report, Some(tree.get_ref()), Some(defaults.get_ref()));
    let place = store::read(root.section("store"), &context);
    let mut providers = Providers::new(built_in()?, tree.get_ref(), RejectedFiles::new());
    let data = place.as_ref().map(|place| place.folder.as_path());
    providers.read(root.section("providers"), data, &context);
    report.close()?;
    Ok(providers)
}

fn built_in() -> Result<Catalog, ConfigErrors> {
    Catalog::built_in()
        .map_err(|error| ConfigErrors::of_file("built-in providers", error.to_string()))
}

/// Loads a configuration from its text. `name` stands for the file in errors, `folder` is where relative paths
/// start; secrets come from the process's environment.
pub fn load_text(
    name: &str,
    text: &str,
    folder: &Path,
    development: bool,
) -> Result<Loaded, ConfigErrors> {
    let variable = |name: &str| std::env::var_os(name);
    let (config, warnings) = from_text(name, text, folder, &variable, development)?;
    Ok(Loaded { config, file: None, warnings })
}

/// The text of a configuration file.
pub(super) fn read_file(path: &Path) -> Result<String, ConfigErrors> {
    let failed = |what: String| ConfigErrors::of_file(&path.display().to_string(), what);
    let unreadable = |error: std::io::Error| {
        let hint = match error.kind() {
            ErrorKind::NotFound => "; `weir config defaults` prints one to start with",
            ErrorKind::IsADirectory => "; name the file in it, such as weir.toml",
            ErrorKind::InvalidData => "; save it as UTF-8",
            ErrorKind::PermissionDenied => "; let the user that runs weir read it",
            _ => "",
        };
        failed(format!("cannot be read: {error}{hint}"))
    };
    let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
    if ["yaml", "yml", "json"].contains(&end) {
        let what = "is no TOML by its name; `weir config defaults` prints a file to start with";
        return Err(failed(what.into()));
    }
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(failed("is larger than 8MiB and hardly a configuration".into()));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    // Some editors put a mark before the first line.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Reads a configuration from text, with what surrounds it passed in.
pub(super) fn from_text(
    file: &str,
    text: &str,
    folder: &Path,
    variable: &dyn Fn(&str) -> Option<OsString>,
    development: bool,
) -> Result<(Config, Vec<ConfigProblem>), ConfigErrors> {
    let paths_read = RefCell::default();
    let context = LoadContext { folder, variable, development, paths_read: &paths_read };
    in_context(file, text, &context)
}

/// Reads it; if changed provider files are what its sources do not go with, once more without those changes.
fn in_context(
    file: &str,
    text: &str,
    context: &LoadContext<'_>,
) -> Result<(Config, Vec<ConfigProblem>), ConfigErrors> {
    match attempt(file, text, context, RejectedFiles::new()) {
        Err(Failed { errors, responsible_files }) if !responsible_files.is_empty() => {
            attempt(file, text, context, responsible_files).map_err(|_| errors)
        }
        read => read.map_err(|failed| failed.errors),
    }
}

/// What is wrong, and the changes of provider files that may be to blame for it.
struct Failed {
    errors: ConfigErrors,
    responsible_files: RejectedFiles,
}

impl From<ConfigErrors> for Failed {
    fn from(errors: ConfigErrors) -> Self {
        Self { errors, responsible_files: RejectedFiles::new() }
    }
}

fn attempt(
    file: &str,
    text: &str,
    context: &LoadContext<'_>,
    rejected: RejectedFiles,
) -> Result<(Config, Vec<ConfigProblem>), Failed> {
    let report = Report::new(file, text);
    let tree = parse(text, &report);
    if !report.is_clean() {
        // Half a tree would only give problems that are none.
        return Err(report.close().err().unwrap_or_else(|| no_reason(file)).into());
    }
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let tree = tree.get_ref();
    let mut providers = Providers::new(built_in()?, tree, rejected);
    let config = read(&report, tree, &mut providers, context, cores);
    let wrong = |mut errors: ConfigErrors| {
        let responsible_files = providers.responsible_files(&errors);
        errors.problems.extend(providers.problems().cloned());
        Failed { errors, responsible_files }
    };
    let warnings = report.close().map_err(wrong)?;
    config.map(|config| (config, warnings)).ok_or_else(|| no_reason(file).into())
}

/// What cannot happen is still refused: a configuration is complete or has a problem.
fn no_reason(file: &str) -> ConfigErrors {
    ConfigErrors::of_file(
        file,
        "cannot be used, and the reason was not recorded; please report this",
    )
}

/// Reads the whole tree. `None` only if a problem was noted.
pub(super) fn read<'t>(
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
    if let (Some(server), Some(admin)) = (&server, &admin)
        && server.listen == admin.listen
        && server.listen.port() != 0
    {
        root.problem(
            "admin.listen",
            "is the same address as server.listen; give each its own port",
        );
    }
    let place = store::read(root.section("store"), context);
    let plugins = plugins::read(root.section("plugins"), context);
    let runs = plugins::runs(root.section("runs"), cores);
    let responders = responder::read(root.section("responders"));
    let kept = store::retention(root.section("retention"));
    let trust = trust::read(root.section("trust"), context);
    let trusted = trust.clone().unwrap_or_default();
    let alerts = alerts::read(root.section("alerts"), &trusted, context);
    let shutdown_grace = log::shutdown_grace(root.section("shutdown"));
    let log = log::read(root.section("log"));
    let fetch = fetch::read(root.section("fetch"), &trusted, context);
    let quarantine = quarantine::read(root.section("quarantine"));
    let data = place.as_ref().map(|place| place.folder.as_path());
    providers.read(root.section("providers"), data, context);

    // Where a section is wrong, what depends on it is judged by the built-in one, so that its problems show too.
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
    let ways = read_named(&mut root, &bounds, &providers.catalog, context);
    root.finish();
    let (place, kept, _) = (place?, kept?, trust?);
    Some(Config {
        server: server?,
        admin: admin?,
        store_url: place.url,
        data_dir: place.folder,
        plugins: plugins?,
        runs: runs?,
        responders: responders?,
        handler_defaults,
        retention: kept.retention,
        hold_life: kept.hold_life,
        alerts: Arc::new(alerts?),
        shutdown_grace: shutdown_grace?,
        log: log?,
        fetch: fetch?,
        quarantine: quarantine?,
        providers: providers.files.clone(),
        sources: ways.sources,
        destinations: ways.destinations,
        routes: ways.routes,
        handlers: ways.handlers,
        development: context.development,
        origin: None,
    })
}

/// What the named parts of a file are judged against.
struct NamedContext<'a> {
    handlers: &'a HandlerDefaults,
    destinations: &'a destination::DestinationDefaults,
    runs: &'a Runs,
    server: Option<&'a server::Server>,
    responders: Option<&'a responder::Responders>,
    trust: &'a crate::tls::TrustedRoots,
}

/// The parts of a file that the operator names.
struct NamedParts {
    sources: BTreeMap<SourceName, Arc<source::Source>>,
    destinations: BTreeMap<DestinationName, Arc<destination::Destination>>,
    routes: Vec<route::Route>,
    handlers: BTreeMap<HandlerName, HandlerSettings>,
}

/// Reads what is named, and checks that what refers to a name finds it.
fn read_named(
    root: &mut Section<'_>,
    judged: &NamedContext<'_>,
    catalog: &Catalog,
    context: &LoadContext<'_>,
) -> NamedParts {
    let sections = root.named("destinations");
    let mut names = names(&sections);
    let mut destinations = destination::read(sections, judged.destinations, judged.trust, context);
    if context.development
        && let Some(inbox) = destination::inbox(judged.destinations)
    {
        names.insert(inbox.name.clone());
        destinations.entry(inbox.name.clone()).or_insert_with(|| Arc::new(inbox));
    }
    let sections = root.named("sources");
    let source_names = sections.iter().map(|(name, _)| (*name).to_owned()).collect();
    let beside = SourceContext { catalog, server: judged.server, responders: judged.responders };
    let sources = source::read(sections, &beside, context);
    let routes = route::read(root.tables("route"), &names, &source_names, &sources);
    let bounds = Bounds {
        defaults: judged.handlers,
        memory_ceiling: judged.runs.memory_ceiling,
        slots: judged.runs.slots,
        destinations: &names,
        sources: &source_names,
        known: &sources,
    };
    let handlers = read_handlers(root.named("handlers"), &bounds);
    NamedParts { sources, destinations, routes, handlers }
}

struct Defaults {
    handler: Option<HandlerDefaults>,
    destination: Option<destination::DestinationDefaults>,
}

fn read_defaults(mut section: Section<'_>, runs: &Runs) -> Defaults {
    let limits = section.section("limits");
    let retry = section.section("retry");
    let breaker = section.section("breaker");
    let handler = handler::defaults(limits, retry, breaker, runs.memory_ceiling, runs.slots);
    let growing = handler.as_ref().map_or_else(RawRetry::default, |h| h.raw_retry.clone());
    let destination = destination::defaults(section.section("destination"), &growing);
    section.finish();
    Defaults { handler, destination }
}

/// The names of destinations that a file declares, whether or not all is well with them.
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
