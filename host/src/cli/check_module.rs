//! `weir check FILE.wasm`: says what a hub would say when it loads this module.

use std::path::Path;

use serde_json::json;
use weir_core::units::format_size;
use weir_engine::{AllowedDestinations, CommandInput, MissingGrant, ModuleKind};

use super::check::CheckArgs;
use super::error::CommandError;
use super::offline::{LoadedModule, load};
use super::test::failures;
use crate::config::{Mode, unmatched};
use crate::offline::OfflineHandler;
use crate::program::output::Output;

pub(super) async fn run(
    module: &Path,
    args: &CheckArgs,
    output: Output,
) -> Result<(), CommandError> {
    let mode = Mode::from_flag(args.dev);
    let loaded = load(module, args.config.as_deref(), mode, 1).await.inspect_err(|error| {
        if output.json {
            let file = module.display().to_string();
            output.value(&json!({ "ok": false, "file": file, "problem": error.to_string() }));
        }
    })?;
    let LoadedModule { handler, fixtures, sources_known, config, .. } = &loaded;
    let failed = failures(handler, fixtures).await;
    let warnings = warnings(handler, sources_known.then_some(config));
    if output.json {
        output.value(&value(module, &loaded, &failed, &warnings));
    } else {
        output.text(&text(module, &loaded));
        warnings.iter().for_each(|warning| output.problem(&format!("warning: {warning}")));
        failed.iter().for_each(|failure| output.problem(failure));
    }
    if failed.is_empty() {
        return Ok(());
    }
    let (failed, all) = (failed.len(), fixtures.len());
    Err(CommandError::Failed(format!(
        "{}: a hub refuses it: {failed} of {all} fixtures fail",
        module.display()
    )))
}

/// Mistakes with which the module loads.
fn warnings(handler: &OfflineHandler, config: Option<&crate::config::Config>) -> Vec<String> {
    let OfflineHandler { module, description, settings, .. } = handler;
    let mut warnings: Vec<String> = module.build_warning().map(str::to_owned).into_iter().collect();
    if settings.subscriptions.is_empty() {
        warnings.push("it has no subscriptions; set on = [\"source:type\"] in its sidecar".into());
    }
    if let Some(config) = config {
        let never = settings.subscriptions.iter().filter_map(|p| unmatched(p, &config.sources));
        warnings.extend(never.map(|never| format!("a subscription matches no event: {never}")));
    }
    if module.kind() == ModuleKind::Component && *settings.command != CommandInput::default() {
        warnings.push("`args` and [input] are for commands, and this is a component".into());
    }
    for (name, missing) in settings.grants.missing(&description.needs) {
        warnings.push(match missing {
            MissingGrant::NotGranted => format!(
                "it needs the destination `{name}`, which is not granted: add it under [grant] \
                 destinations in {}.toml",
                handler.name
            ),
            MissingGrant::NoDestination => format!(
                "it needs the destination `{name}`, which does not exist: add \
                 [destinations.{name}] to weir.toml"
            ),
        });
    }
    warnings
}

fn value(
    file: &Path,
    loaded: &LoadedModule,
    failed: &[String],
    warnings: &[String],
) -> serde_json::Value {
    let OfflineHandler { name, module, description, settings, .. } = &loaded.handler;
    let list = |names: &mut dyn Iterator<Item = String>| names.collect::<Vec<_>>();
    let missing = settings.grants.missing(&description.needs).map(|(name, _)| name.to_string());
    json!({
        "ok": failed.is_empty(),
        "file": file.display().to_string(),
        "handler": name,
        "version": module.version().to_hex(),
        "kind": module.kind().as_str(),
        "contract": module.contract().map(|contract| contract.to_string()),
        "about": description.about,
        "state_version": description.state_version,
        "subscriptions": list(&mut settings.subscriptions.iter().map(ToString::to_string)),
        "destinations": destinations(&loaded.handler),
        "emit": settings.grants.emit,
        "missing_grants": missing.collect::<Vec<_>>(),
        "memory_bytes": settings.limits.memory,
        "time_ms": weir_core::time::millis(settings.limits.time),
        "concurrency": settings.concurrency,
        "attempts": settings.retry.max_attempts(),
        "code_bytes": module.code_bytes(),
        "fixtures": loaded.fixtures.len(),
        "failed_fixtures": failed,
        "warnings": warnings,
    })
}

/// The names of the destinations that it may send to.
fn destinations(handler: &OfflineHandler) -> Vec<String> {
    let grants = &handler.settings.grants;
    let allowed = match &grants.destinations {
        AllowedDestinations::All => &*grants.known,
        AllowedDestinations::These(these) => these,
    };
    allowed.iter().map(ToString::to_string).collect()
}

fn text(file: &Path, loaded: &LoadedModule) -> String {
    let handler = &loaded.handler;
    let OfflineHandler { name, module, description, settings, .. } = handler;
    let list = |names: Vec<String>| if names.is_empty() { "none".into() } else { names.join(", ") };
    let contract = module.contract().map(|contract| format!(", contract {contract}"));
    let limits = settings.limits;
    format!(
        "{}: a hub loads it\nhandler       {name} {} ({}{})\nabout         {}\n\
         subscribes    {}\nsends to      {}\nemits         {}\nneeds         {}\n\
         state version {}\nlimits        {} of memory, {:?}, {} runs at a time, {} attempts\n\
         fixtures      {}",
        file.display(),
        module.version(),
        module.kind(),
        contract.unwrap_or_default(),
        description.about.as_deref().unwrap_or("-"),
        list(settings.subscriptions.iter().map(ToString::to_string).collect()),
        list(destinations(handler)),
        if settings.grants.emit { "yes" } else { "no" },
        list(description.needs.iter().map(ToString::to_string).collect()),
        description.state_version,
        format_size(limits.memory),
        limits.time,
        settings.concurrency,
        settings.retry.max_attempts(),
        loaded.fixtures.len(),
    )
}
