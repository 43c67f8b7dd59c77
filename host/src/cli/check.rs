//! `weir check`: checks the configuration with the sidecars of the plugins folder, or the whole
//! store.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir_core::name::HandlerName;
use weir_store::upkeep::CheckReport;

use super::error::CommandError;
use crate::config::{self, Config, ConfigErrors, ConfigProblem, Loaded, Mode};
use crate::program::output::Output;

/// Check the configuration and report every problem
#[derive(Debug, Clone, clap::Args)]
pub struct CheckArgs {
    /// Configuration file [default: weir.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Development mode: allow secrets in the file
    #[arg(long)]
    pub dev: bool,
    /// Check the whole store instead, also while a hub uses it; a large store takes minutes
    #[arg(long)]
    pub store: bool,
}

pub(super) fn run(args: &CheckArgs, output: Output) -> Result<(), CommandError> {
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
            report(&loaded, output);
            Ok(())
        }
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

fn report(loaded: &Loaded, output: Output) {
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
            "warnings": values(warnings),
        }));
        return;
    }
    for warning in warnings {
        output.problem(&format!("warning: {warning}"));
    }
    let list = |names: Vec<String>| if names.is_empty() { "none".into() } else { names.join(", ") };
    let sources = config.sources.values().map(|s| format!("{} ({})", s.name, s.provider.name));
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
}

fn values(problems: &[ConfigProblem]) -> Vec<Value> {
    let value = |problem: &ConfigProblem| {
        let ConfigProblem { file, line, path, what } = problem;
        json!({ "file": file, "line": line, "path": path, "what": what })
    };
    problems.iter().map(value).collect()
}
