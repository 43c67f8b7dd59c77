//! The two versions of a backtest, and the state in which they start.

use std::fs;
use std::path::Path;

use serde::Serialize;
use weir_core::bounds::{KIB, MODULE_BYTES_MAX};
use weir_core::error::chain;
use weir_core::name::HandlerName;
use weir_engine::Engine;

use super::{BacktestArgs, StartState};
use crate::api::{HandlerView, ListPage};
use crate::cli::client::AdminClient;
use crate::cli::error::CommandError;
use crate::cli::handlers::each_value;
use crate::config::{Config, Mode};
use crate::offline::{MemoryState, OfflineConfig, OfflineHandler, offline_config, offline_engine};
use crate::program::output::Output;

/// The largest sidecar, in bytes.
const SIDECAR_BYTES_MAX: u64 = 64 * KIB as u64;

/// Both versions.
pub(super) struct Pair {
    pub(super) incumbent: OfflineHandler,
    pub(super) candidate: OfflineHandler,
    pub(super) state: MemoryState,
    pub(super) names: ComparedVersions,
}

/// The names of what is compared.
#[derive(Debug, Serialize)]
pub(super) struct ComparedVersions {
    pub(super) handler: HandlerName,
    /// The hash of each module, in hex.
    pub(super) incumbent: String,
    pub(super) candidate: String,
}

/// Loads both versions as a hub with this configuration would.
pub(super) async fn load(
    args: &BacktestArgs,
    hub: &AdminClient,
    slots: usize,
) -> Result<Pair, CommandError> {
    let name = name(args)?;
    let sidecar = |module: &Path| optional(&module.with_extension("toml"));
    let own = sidecar(&args.file)?;
    let file = args.hub.config.as_deref();
    let OfflineConfig { config, cache, .. } =
        offline_config(file, Mode::Production, own.as_deref())?;
    let incumbent = match &args.incumbent {
        Some(file) => file.clone(),
        None => config.plugins.dir.join(format!("{name}.wasm")),
    };
    if !incumbent.exists() {
        return Err(CommandError::NotFound(format!(
            "{} is not there, so there is nothing to compare with; name the handler with --handler \
             NAME, or its module with --incumbent FILE",
            incumbent.display()
        )));
    }
    let before = sidecar(&incumbent)?;
    let after = own.or_else(|| before.clone());
    let engine = offline_engine(&config, slots, cache)
        .map_err(|error| CommandError::Failed(format!("{error:#}")))?;
    let incumbent = version(&engine, &name, &incumbent, before.as_deref(), &config).await?;
    let candidate = version(&engine, &name, &args.file, after.as_deref(), &config).await?;
    let names = ComparedVersions {
        incumbent: incumbent.module.version().to_hex(),
        candidate: candidate.module.version().to_hex(),
        handler: name,
    };
    warn_of_other_version(hub, &names, args.incumbent.is_none()).await?;
    let state = match args.from {
        StartState::Empty => MemoryState::default(),
        StartState::Current => current_state(hub, &names.handler).await?,
    };
    Ok(Pair { incumbent, candidate, state, names })
}

/// The state that the handler has in the hub. Its quota bounds it.
async fn current_state(
    hub: &AdminClient,
    handler: &HandlerName,
) -> Result<MemoryState, CommandError> {
    let path = format!("/api/v1/handlers/{handler}/state");
    let mut entries = Vec::new();
    each_value(hub, &path, None, |entry| {
        entries.push((entry.key, entry.value, entry.expires_at));
    })
    .await?;
    Ok(MemoryState::new(entries))
}

fn name(args: &BacktestArgs) -> Result<HandlerName, CommandError> {
    let usage = |what: String| CommandError::Usage(format!("{}: {what}", args.file.display()));
    if let Some(name) = &args.handler {
        return Ok(name.clone());
    }
    let stem = args.file.file_stem().unwrap_or_default().to_string_lossy();
    HandlerName::new(&stem)
        .map_err(|error| usage(format!("{error}; name the handler with --handler NAME")))
}

async fn version(
    engine: &Engine,
    name: &HandlerName,
    file: &Path,
    sidecar: Option<&str>,
    config: &Config,
) -> Result<OfflineHandler, CommandError> {
    let failed = |what: String| CommandError::Failed(format!("{}: {what}", file.display()));
    let about = fs::metadata(file).map_err(|error| failed(error.to_string()))?;
    if about.len() > MODULE_BYTES_MAX as u64 {
        return Err(failed(format!("it has {} bytes, at most {MODULE_BYTES_MAX}", about.len())));
    }
    let bytes = fs::read(file).map_err(|error| failed(error.to_string()))?;
    let loaded = OfflineHandler::load(engine, name, bytes, sidecar, config).await;
    loaded.map_err(|error| failed(chain(&error)))
}

/// The text of a file, if it is there.
fn optional(path: &Path) -> Result<Option<String>, CommandError> {
    let failed = |what: String| CommandError::Failed(format!("{}: {what}", path.display()));
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error.to_string())),
        Ok(about) if about.len() > SIDECAR_BYTES_MAX => Err(failed("it is too large".into())),
        Ok(_) => fs::read_to_string(path).map(Some).map_err(|error| failed(error.to_string())),
    }
}

/// Says if the hub serves another version than the incumbent: it may have refused the file, or
/// waits with it.
async fn warn_of_other_version(
    hub: &AdminClient,
    names: &ComparedVersions,
    in_folder: bool,
) -> Result<(), CommandError> {
    let handlers: ListPage<HandlerView> = hub.get("/api/v1/handlers").await?;
    let served = handlers.items.into_iter().find(|handler| handler.name == names.handler);
    let served = served.and_then(|handler| handler.version);
    if in_folder && served.as_ref() != Some(&names.incumbent) {
        let served = served.map_or_else(
            || "does not serve this handler".to_owned(),
            |version| format!("serves version {}", version.get(..12).unwrap_or(&version)),
        );
        let here = names.incumbent.get(..12).unwrap_or(&names.incumbent);
        Output { json: false }.problem(&format!(
            "warning: the hub {served}, and the plugins folder has version {here}, which is \
             compared"
        ));
    }
    Ok(())
}
