//! `weir serve`: load the configuration, start the log, bind, run a hub until it stops.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::{self, Config, Loaded, Mode};
use crate::hub::{self, Listeners, OnHangup};
use crate::program::exit::Exit;
use crate::program::output::{Output, report};
use crate::runtime::log_export::{ExportedRecords, LogCopy};
use crate::runtime::service::ServiceSockets;
use crate::runtime::telemetry::{self, Telemetry};
use crate::{samples, starters};

/// Run the hub; without weir.toml, in development mode on loopback
///
/// TERM, INT and QUIT stop it once the work in progress is finished, within shutdown.grace; a
/// second signal skips the wait. HUP reloads the configuration. With --paused a hold is on the
/// whole hub from the start; it stays over restarts until it is released.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    /// Configuration file [default: weir.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Development mode: allow secrets in the file, add an inbox, log each event
    #[arg(long)]
    pub dev: bool,
    /// Accept and store webhooks and run nothing, until `weir release hub`
    #[arg(long)]
    pub paused: bool,
}

/// Runs a hub until it is told to stop, or fails.
pub fn serve(args: ServeArgs, json: bool) -> ExitCode {
    let exit = match prepare(&args) {
        Ok(Prepared { config, listeners, no_file, telemetry: _telemetry, log }) => {
            let sources: Vec<_> = config.sources.values().cloned().collect();
            hub::run(config, listeners, log, async |running, mut signals, grace| {
                if no_file && !json {
                    let ingress = running.addresses.ingress;
                    let text =
                        samples::first_request(ingress, &sources, &mut samples::randomness()?)?;
                    Output { json }.text(&text);
                }
                let stopped = hub::until_stopped(&running, &mut signals, OnHangup::Reload).await;
                hub::drain(running, &mut signals, grace).await;
                Ok(stopped)
            })
        }
        Err(exit) => exit,
    };
    exit.into()
}

/// All that `serve` needs to run a hub.
struct Prepared {
    config: Config,
    listeners: Listeners,
    /// There is no file, so this is development mode.
    no_file: bool,
    telemetry: Telemetry,
    /// The copy of the log, if it is exported.
    log: Option<ExportedRecords>,
}

fn prepare(args: &ServeArgs) -> Result<Prepared, Exit> {
    let usage = |error: &dyn std::error::Error| {
        report(error);
        Exit::Usage
    };
    // First, while the process has one thread.
    let sockets = ServiceSockets::take().map_err(|error| usage(&error))?;
    let Loaded { mut config, file, warnings } =
        config::load(args.config.as_deref(), Mode::from_flag(args.dev))
            .map_err(|error| usage(&error))?;
    config.starts_paused = args.paused;
    let each_event = config.mode.is_development();
    let (copy, log) = match &config.otlp.logs {
        Some(_) => Some(LogCopy::new()).unzip(),
        None => (None, None),
    };
    let telemetry =
        telemetry::start(&config.log, each_event, copy).map_err(|error| usage(&error))?;
    for warning in warnings {
        tracing::warn!(%warning, "configuration");
    }
    if file.is_none() {
        tracing::info!("no weir.toml here: development mode, on loopback, with generated secrets");
        start_with_starters(&config.plugins.dir);
    }
    let listeners = Listeners::of(&config, sockets).map_err(|error| usage(&error))?;
    Ok(Prepared { config, listeners, no_file: file.is_none(), telemetry, log })
}

/// Creates the plugins folder with the starter handlers if it does not exist.
fn start_with_starters(folder: &Path) {
    if folder.exists() {
        return;
    }
    let shown = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let shown = shown.display();
    match starters::put(folder) {
        Ok(()) => tracing::info!(
            folder = %shown,
            handlers = starters::NAMES,
            "created the plugins folder with the starter handlers; replace or remove them as you \
             like"
        ),
        Err(error) => tracing::warn!(
            folder = %shown,
            %error,
            "cannot create the plugins folder with the starter handlers: create it and add handlers"
        ),
    }
}
