//! Loading a module for the commands that run it without a hub.

use std::path::{Path, PathBuf};

use weir_core::error::chain;
use weir_core::name::HandlerName;

use super::error::CommandError;
use crate::config::{Config, Mode};
use crate::invoker::{HandlerFiles, read_handler_files};
use crate::offline::{FixtureFile, OfflineConfig, OfflineHandler, offline_config, offline_engine};

/// A module that is ready to run, with its fixtures and configuration.
#[derive(Debug)]
pub(super) struct LoadedModule {
    pub(super) path: PathBuf,
    pub(super) handler: OfflineHandler,
    pub(super) fixtures: Vec<FixtureFile>,
    pub(super) config: Config,
    /// True if the configuration has the hub's sources.
    pub(super) sources_known: bool,
}

/// Loads a module as the hub of this configuration would, for a number of runs at a time.
pub(super) async fn load(
    path: &Path,
    hub: Option<&Path>,
    mode: Mode,
    slots: usize,
) -> Result<LoadedModule, CommandError> {
    let failed = |what: String| CommandError::Failed(format!("{}: {what}", path.display()));
    let (name, HandlerFiles { module, sidecar, fixtures, .. }) = read(path)?;
    let OfflineConfig { config, cache, sources_known } =
        offline_config(hub, mode, sidecar.as_deref())?;
    let engine = offline_engine(&config, slots, cache)
        .map_err(|error| CommandError::Failed(format!("{error:#}")))?;
    let handler = OfflineHandler::load(&engine, &name, module, sidecar.as_deref(), &config).await;
    let handler = handler.map_err(|error| failed(chain(&error)))?;
    Ok(LoadedModule { path: path.to_owned(), handler, fixtures, config, sources_known })
}

/// The files of a handler, and its name.
fn read(path: &Path) -> Result<(HandlerName, HandlerFiles), CommandError> {
    let failed = |what: String| CommandError::Failed(format!("{}: {what}", path.display()));
    if path.extension().is_none_or(|end| end != "wasm") {
        return Err(CommandError::Usage(format!(
            "{}: name a module, a file that ends in .wasm",
            path.display()
        )));
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = HandlerName::new(&stem).map_err(|error| failed(error.to_string()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let files = read_handler_files(folder.unwrap_or_else(|| Path::new(".")), &name);
    Ok((name, files.map_err(failed)?))
}
