//! `weir test`: runs the fixtures beside modules, and records them with `--bless`.

use std::path::{Path, PathBuf};

use serde_json::json;
use weir_core::error::chain;

use super::error::CommandError;
use super::offline::{LoadedModule, load};
use crate::config::Mode;
use crate::offline::{
    Fixture, FixtureEnd, FixtureFile, FixtureResult, OfflineHandler, check_fixture, fixture_paths,
    fixtures_folder, read_fixtures, run_fixture,
};
use crate::program::output::Output;

/// The folder of modules if none is given.
const USUAL_FOLDER: &str = "plugins";

/// Run the fixtures of modules, NAME.fixtures/*.json, and compare what happened with what they
/// expect. A hub runs them too before a version serves
#[derive(Debug, Clone, clap::Args)]
pub struct TestArgs {
    /// A module, or a folder of modules [default: plugins]
    #[arg(value_name = "FILE|DIR")]
    pub path: Option<PathBuf>,
    /// Record what happens as what is expected, in the fixtures themselves
    #[arg(long)]
    pub bless: bool,
    /// Configuration file of the hub [default: weir.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub hub: Option<PathBuf>,
    /// Development mode: allow secrets in the file of the hub
    #[arg(long)]
    pub dev: bool,
}

/// The fixtures of all modules, counted.
#[derive(Debug, Default)]
struct Counts {
    passed: usize,
    failed: usize,
    recorded: usize,
}

pub(super) async fn run(args: &TestArgs, output: Output) -> Result<(), CommandError> {
    let modules = modules(args)?;
    let mut counts = Counts::default();
    for path in &modules {
        let mode = Mode::from_flag(args.dev);
        let LoadedModule { handler, .. } = load(path, args.hub.as_deref(), mode, 1).await?;
        if args.bless {
            bless(path, &handler, &mut counts, output).await?;
            continue;
        }
        let unreadable = |error| CommandError::Failed(chain(&error));
        for file in read_fixtures(path).map_err(unreadable)? {
            let result = check_fixture(&handler, &file).await;
            counts.passed += usize::from(result.passed());
            counts.failed += usize::from(!result.passed());
            show(&handler, &result, output);
        }
    }
    if counts.failed > 0 {
        let all = counts.failed + counts.passed;
        return Err(CommandError::Failed(format!(
            "{} of {all} fixtures failed; if the module is right, record them with --bless",
            counts.failed
        )));
    }
    if !output.json {
        let Counts { passed, recorded, .. } = counts;
        output.text(&match args.bless {
            true => format!("{recorded} fixtures recorded, {passed} unchanged"),
            false => format!("{passed} fixtures passed"),
        });
    }
    Ok(())
}

/// The modules that have fixtures.
fn modules(args: &TestArgs) -> Result<Vec<PathBuf>, CommandError> {
    let path = args.path.as_deref().unwrap_or_else(|| Path::new(USUAL_FOLDER));
    let with_fixtures =
        |module: &PathBuf| fixture_paths(module).map(|found| !found.is_empty()).unwrap_or(true);
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| {
            CommandError::Failed(format!("{} cannot be read: {error}", path.display()))
        })?;
        let mut modules: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        modules.retain(|file| file.extension().is_some_and(|end| end == "wasm"));
        modules.retain(with_fixtures);
        modules.sort();
        if modules.is_empty() {
            let what = "no module in it has fixtures: NAME.fixtures/*.json beside NAME.wasm";
            return Err(CommandError::NotFound(format!("{}: {what}", path.display())));
        }
        return Ok(modules);
    }
    let module = path.to_owned();
    if path.exists() && !with_fixtures(&module) {
        let folder = fixtures_folder(&module);
        let what = "has no fixtures; `weir events EVENT --save FILE` makes one of an event";
        return Err(CommandError::NotFound(format!("{} {what}", folder.display())));
    }
    if !path.exists() {
        let what = match args.path {
            None => format!("there is no folder `{USUAL_FOLDER}` here; name a module or a folder"),
            Some(_) => format!("{} is not there", path.display()),
        };
        return Err(CommandError::NotFound(what));
    }
    Ok(vec![module])
}

/// Records what each fixture does. A file that does not change is not written.
async fn bless(
    module: &Path,
    handler: &OfflineHandler,
    counts: &mut Counts,
    output: Output,
) -> Result<(), CommandError> {
    let folder = fixtures_folder(module);
    for file in read_fixtures(module).map_err(|error| CommandError::Failed(chain(&error)))? {
        let path = folder.join(&file.name);
        let failed = |what: String| CommandError::Failed(format!("{}: {what}", path.display()));
        let text = file.text.map_err(|reason| failed(reason.to_owned()))?;
        let mut fixture = Fixture::parse(&text).map_err(|error| failed(chain(&error)))?;
        let (_, got) = run_fixture(handler, &fixture).await.map_err(failed)?;
        fixture.expect = Some(got);
        let written = fixture.to_text().map_err(|error| failed(error.to_string()))?;
        let is_new = written != text;
        if is_new {
            std::fs::write(&path, written)
                .map_err(|error| failed(format!("cannot be written: {error}")))?;
        }
        counts.recorded += usize::from(is_new);
        counts.passed += usize::from(!is_new);
        let word = if is_new { "recorded" } else { "unchanged" };
        if output.json {
            output.value(&json!({
                "handler": handler.name, "fixture": file.name, "ok": true, "recorded": is_new,
            }));
        } else {
            output.text(&format!("{word:<10}{}/{}", handler.name, file.name));
        }
    }
    Ok(())
}

fn show(handler: &OfflineHandler, result: &FixtureResult, output: Output) {
    let FixtureResult { name, end } = result;
    if output.json {
        let (difference, problem, record) = match end {
            FixtureEnd::Passed(record) => (None, None, Some(record)),
            FixtureEnd::Differs { difference, record } => (Some(difference), None, Some(record)),
            FixtureEnd::Unreadable(reason) => (None, Some(reason), None),
        };
        output.value(&json!({
            "handler": handler.name, "fixture": name, "ok": result.passed(),
            "difference": difference, "problem": problem,
            "outcome": record.map(|record| record.outcome),
            "reason": record.and_then(|record| record.reason.clone()),
        }));
        return;
    }
    let word = if result.passed() { "ok" } else { "FAILED" };
    output.text(&format!("{word:<10}{}/{name}", handler.name));
    match end {
        FixtureEnd::Passed(_) => {}
        FixtureEnd::Differs { difference, .. } => {
            output.text(&format!("--- expected\n+++ got\n{difference}"));
        }
        FixtureEnd::Unreadable(reason) => output.text(reason),
    }
}

/// The fixtures of one module that do not pass, each with its reason.
pub(super) async fn failures(handler: &OfflineHandler, files: &[FixtureFile]) -> Vec<String> {
    let mut failures = Vec::new();
    for file in files {
        failures.extend(check_fixture(handler, file).await.reason());
    }
    failures
}
