//! `weir check`: checks the configuration with the sidecars of the plugins folder, a module, or the
//! whole store.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use weir_core::name::HandlerName;
use weir_core::retry::RetryPolicy;
use weir_core::units::format_duration;
use weir_store::upkeep::CheckReport;

use super::error::CommandError;
use crate::config::{self, Config, ConfigErrors, ConfigProblem, Loaded, Mode, SourceKind};
use crate::egress::{self, ConnectionCheck};
use crate::program::output::Output;
use crate::pull::{self, SourceCheck};

/// Check the configuration and report every problem, or check a module
#[derive(Debug, Clone, clap::Args)]
pub struct CheckArgs {
    /// Check a module instead: say what a hub would say when it loads it, and run its fixtures
    #[arg(value_name = "FILE.wasm", conflicts_with = "store")]
    pub module: Option<PathBuf>,
    /// Configuration file [default: weir.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Development mode: allow secrets in the file
    #[arg(long)]
    pub dev: bool,
    /// Connect to every destination and source as well, and send and take nothing
    #[arg(long, conflicts_with_all = ["module", "store"])]
    pub connect: bool,
    /// Check the whole store instead, also while a hub uses it; a large store takes minutes
    #[arg(long)]
    pub store: bool,
}

pub(super) fn run(args: &CheckArgs, output: Output) -> Result<(), CommandError> {
    if let Some(module) = &args.module {
        return super::block_on(super::check_module::run(module, args, output));
    }
    if args.store {
        return check_store(args, output);
    }
    if args.config.is_none() && !Path::new(config::FILE).exists() {
        // Loading in development mode would create a folder and secrets; a check changes nothing.
        let said = "no weir.toml here: `weir serve` would start in development mode";
        if output.json {
            output.value(&json!({ "ok": true, "file": null, "development": true }));
        } else {
            output.text(said);
        }
        return Ok(());
    }
    let checked =
        config::load(args.config.as_deref(), Mode::from_flag(args.dev)).and_then(|loaded| {
            let of_files = loaded.config.providers.iter().flat_map(|file| &file.problems);
            let mut problems: Vec<_> = of_files.cloned().collect();
            let mut warnings = loaded.warnings.clone();
            problems.extend(sidecar_problems(&loaded.config, &mut warnings));
            if problems.is_empty() {
                Ok(Loaded { warnings, ..loaded })
            } else {
                Err(ConfigErrors { problems })
            }
        });
    match checked {
        Err(errors) if output.json => {
            output.value(&json!({ "ok": false, "problems": values(&errors.problems) }));
            Err(errors.into())
        }
        Err(errors) => Err(errors.into()),
        Ok(loaded) => {
            let connections = args
                .connect
                .then(|| super::block_on(async { Ok(Connections::try_all(&loaded.config).await) }));
            let connections = connections.transpose()?;
            report(&loaded, connections.as_ref(), output);
            connections.map_or(Ok(()), |connections| connections.failed())
        }
    }
}

/// The connections that were tried.
struct Connections {
    destinations: Vec<ConnectionCheck>,
    sources: Vec<SourceCheck>,
}

impl Connections {
    async fn try_all(config: &Config) -> Self {
        let destinations = egress::check_destinations(config);
        let (destinations, sources) = tokio::join!(destinations, pull::check_sources(config));
        Self { destinations, sources }
    }

    /// An error if messages to a destination would not be accepted, or those of a source could not
    /// be taken.
    fn failed(&self) -> Result<(), CommandError> {
        let to = self.destinations.iter().filter(|one| one.problem.is_some());
        let to: Vec<_> = to.map(|one| one.destination.to_string()).collect();
        let from = self.sources.iter().filter(|one| one.problem.is_some());
        let from: Vec<_> = from.map(|one| one.source.to_string()).collect();
        let said = match (&to[..], &from[..]) {
            ([], []) => return Ok(()),
            (to, []) => format!("no message would be accepted by: {}", to.join(", ")),
            ([], from) => format!("no message could be taken for: {}", from.join(", ")),
            (to, from) => format!(
                "no message would be accepted by: {}; none could be taken for: {}",
                to.join(", "),
                from.join(", ")
            ),
        };
        Err(CommandError::Failed(said))
    }

    fn print(&self, output: Output) {
        for ConnectionCheck { destination, kind, address, problem } in &self.destinations {
            match problem {
                None => output.text(&format!("connected     {destination} ({kind}, {address})")),
                Some(problem) => output.problem(&format!("destination {destination}: {problem}")),
            }
        }
        for SourceCheck { source, kind, address, problem } in &self.sources {
            match problem {
                None => output.text(&format!("connected     {source} ({kind}, {address})")),
                Some(problem) => output.problem(&format!("source {source}: {problem}")),
            }
        }
    }

    fn values(&self) -> Vec<Value> {
        let destination = |one: &ConnectionCheck| {
            let ConnectionCheck { destination, kind, address, problem } = one;
            json!({
                "destination": destination, "kind": kind, "address": address,
                "ok": problem.is_none(), "problem": problem,
            })
        };
        let source = |one: &SourceCheck| {
            let SourceCheck { source, kind, address, problem } = one;
            json!({
                "source": source, "kind": kind, "address": address,
                "ok": problem.is_none(), "problem": problem,
            })
        };
        let destinations = self.destinations.iter().map(destination);
        destinations.chain(self.sources.iter().map(source)).collect()
    }
}

fn check_store(args: &CheckArgs, output: Output) -> Result<(), CommandError> {
    let url = config::load(args.config.as_deref(), Mode::from_flag(args.dev))?.config.store_url;
    let failed = |error: weir_store::StoreError| CommandError::Failed(format!("{url}: {error}"));
    let CheckReport { problems, deliveries, bytes } =
        weir_store::sqlite::check_url(&url).map_err(failed)?;
    let ok = problems.is_empty();
    if output.json {
        output.value(&json!({
            "ok": ok, "store": url, "problems": problems, "deliveries": deliveries, "bytes": bytes,
        }));
    } else {
        problems.iter().for_each(|problem| output.problem(&format!("problem: {problem}")));
    }
    if !ok {
        let advice = "stop the hub and restore a backup";
        return Err(CommandError::Failed(format!("{url} is damaged; {advice}")));
    }
    if !output.json {
        output.text(&format!("{url}: OK, {deliveries} deliveries, {bytes} bytes"));
    }
    Ok(())
}

/// The problems of the sidecars. Patterns that can never match are added to the warnings.
fn sidecar_problems(config: &Config, warnings: &mut Vec<ConfigProblem>) -> Vec<ConfigProblem> {
    let entries = fs::read_dir(&config.plugins.dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let beside_a_module = |path: &PathBuf| {
        path.extension().is_some_and(|end| end == "toml") && path.with_extension("wasm").exists()
    };
    let mut problems = Vec::new();
    for path in paths.iter().filter(|path| beside_a_module(path)) {
        let file = path.display().to_string();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let checked = match (HandlerName::new(&stem), fs::read_to_string(path)) {
            (Err(error), _) => Err(ConfigErrors::of_file(&file, error.to_string())),
            (_, Err(error)) => {
                Err(ConfigErrors::of_file(&file, format!("cannot be read: {error}")))
            }
            (Ok(name), Ok(text)) => config.settings_for(&name, Some((&file, &text))).map(|said| {
                let of_config = config.handlers.get(&name).is_some_and(|above| above.on.is_some());
                let on = said.on.iter().flatten().filter(|_| !of_config);
                let never = on.filter_map(|pattern| config::unmatched(pattern, &config.sources));
                let warning = |what| ConfigProblem {
                    file: file.clone(),
                    line: None,
                    column: None,
                    path: "on".into(),
                    what,
                };
                warnings.extend(never.map(warning));
            }),
        };
        problems.extend(checked.err().map(|errors| errors.problems).unwrap_or_default());
    }
    problems
}

fn report(loaded: &Loaded, connections: Option<&Connections>, output: Output) {
    let Loaded { config, file, warnings } = loaded;
    let name = file.as_ref().map(|file| file.display().to_string());
    if output.json {
        output.value(&json!({
            "ok": true,
            "file": name,
            "development": config.mode.is_development(),
            "listen": config.server.listen.to_string(),
            "admin": config.admin.listen.to_string(),
            "store": config.store_url,
            "plugins": config.plugins.dir.display().to_string(),
            "sources": config.sources.keys().map(ToString::to_string).collect::<Vec<_>>(),
            "destinations": config.destinations.keys().map(ToString::to_string).collect::<Vec<_>>(),
            "routes": config.routes.len(),
            "handlers": config.handlers.keys().map(ToString::to_string).collect::<Vec<_>>(),
            "retries": retries(config).map(RetryLine::value).collect::<Vec<_>>(),
            "warnings": values(warnings),
            "connections": connections.map(Connections::values),
        }));
        return;
    }
    for warning in warnings {
        output.problem(&format!("warning: {warning}"));
    }
    let list = |names: Vec<String>| if names.is_empty() { "none".into() } else { names.join(", ") };
    let sources = config.sources.values().map(|source| match source.kind() {
        SourceKind::Http => format!("{} ({})", source.name, source.provider.name),
        kind => format!("{} ({}, {kind})", source.name, source.provider.name),
    });
    let destinations = config.destinations.keys().map(ToString::to_string);
    output.text(&format!(
        "{}: OK\nsources       {}\ndestinations  {}\nroutes        {}\nplugins       {}\n\
         store         {}",
        name.as_deref().unwrap_or(config::FILE),
        list(sources.collect()),
        list(destinations.collect()),
        config.routes.len(),
        config.plugins.dir.display(),
        config.store_url,
    ));
    let lines: Vec<String> = retries(config).map(|line| line.text()).collect();
    output.text(&format!("retries       {}", lines.join("\n              ")));
    if let Some(connections) = connections {
        connections.print(output);
    }
}

/// The retries of one target, or of those without settings of their own.
struct RetryLine<'c> {
    target: String,
    policy: &'c RetryPolicy,
    /// True if the target may ask for longer waits.
    honours_asked: bool,
}

/// The retry policies of a configuration, those of handlers first. Sidecars may have others.
fn retries(config: &Config) -> impl Iterator<Item = RetryLine<'_>> {
    let line = |target, policy, honours_asked| RetryLine { target, policy, honours_asked };
    let defaults = line("handlers".to_owned(), &config.handler_defaults.retry, false);
    let handlers = config.handlers.iter().filter_map(move |(name, settings)| {
        Some(line(format!("handler:{name}"), settings.retry.as_ref()?, false))
    });
    let destinations = config.destinations.iter().map(move |(name, destination)| {
        line(format!("destination:{name}"), &destination.retry, true)
    });
    std::iter::once(defaults).chain(handlers).chain(destinations)
}

impl RetryLine<'_> {
    fn text(&self) -> String {
        let Self { target, policy, honours_asked } = self;
        let attempts = match policy.max_attempts() {
            1 => return format!("{target}: 1 attempt"),
            attempts => attempts,
        };
        let window = format_duration(policy.longest_window());
        let asked = match honours_asked {
            true => format!(
                ", {} if it asks for the longest waits",
                format_duration(policy.longest_window_asked())
            ),
            false => String::new(),
        };
        format!("{target}: {attempts} attempts within {window}{asked}")
    }

    fn value(self) -> Value {
        let seconds = |window: Duration| window.as_secs_f64();
        json!({
            "target": self.target,
            "attempts": self.policy.max_attempts(),
            "window_seconds": seconds(self.policy.longest_window()),
            "window_seconds_asked": self.honours_asked.then(|| seconds(self.policy.longest_window_asked())),
        })
    }
}

fn values(problems: &[ConfigProblem]) -> Vec<Value> {
    let value = |problem: &ConfigProblem| {
        let ConfigProblem { file, line, column, path, what } = problem;
        json!({ "file": file, "line": line, "column": column, "path": path, "what": what })
    };
    problems.iter().map(value).collect()
}
