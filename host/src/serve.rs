//! `weir serve`: load, log, bind, build, announce, run, drain.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};

use crate::config::{self, Config, Loaded};
use crate::hub::{Hub, HubFailure, Listeners, Runtimes, ServingHub};
use crate::program::exit::Exit;
use crate::program::output::{Output, report};
use crate::shutdown::{SignalRequest, Signals};
use crate::{files, logging, samples, starters};

/// Run the hub; with no weir.toml, in development mode on loopback.
///
/// Signals: TERM, INT and QUIT stop it, after what runs has finished (within shutdown.grace; a second one skips the
/// wait). HUP reads the configuration again.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    /// Configuration file [default: weir.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Development mode: allow secrets in the file, add an inbox, log each event
    #[arg(long)]
    pub dev: bool,
}

/// Runs a hub until it is asked to stop, or cannot go on.
pub fn serve(args: ServeArgs, json: bool) -> ExitCode {
    let exit = match load(&args) {
        Ok((config, listeners, no_file)) => {
            let sources: Vec<_> = config.sources.values().cloned().collect();
            host(config, listeners, async |running, mut signals, grace| {
                if no_file && !json {
                    let ingress = running.addresses.ingress;
                    let text =
                        samples::first_request(ingress, &sources, &mut samples::randomness()?)?;
                    Output { json }.text(&text);
                }
                let stopped = until_stopped(&running, &mut signals, OnHangup::Reload).await;
                drain(running, &mut signals, grace).await;
                Ok(stopped)
            })
        }
        Err(exit) => exit,
    };
    exit.into()
}

/// The configuration, bound sockets, and whether there is no file: development mode out of the box.
fn load(args: &ServeArgs) -> Result<(Config, Listeners, bool), Exit> {
    let usage = |error: &dyn std::error::Error| {
        report(error);
        Exit::Usage
    };
    let Loaded { config, file, warnings } =
        config::load(args.config.as_deref(), args.dev).map_err(|error| usage(&error))?;
    logging::start(&config.log, config.development).map_err(|error| usage(&error))?;
    for warning in warnings {
        tracing::warn!(%warning, "configuration");
    }
    if file.is_none() {
        tracing::info!("no weir.toml here: development mode, on loopback, with generated secrets");
        start_with_starters(&config.plugins.dir);
    }
    let listeners = Listeners::bind(&config).map_err(|error| usage(&error))?;
    Ok((config, listeners, file.is_none()))
}

/// Puts the starter handlers where there is no folder for handlers yet, and says so.
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
            "no plugins folder here: made one with the starter handlers; replace or remove them as you like"
        ),
        Err(error) => tracing::warn!(
            folder = %shown,
            %error,
            "no plugins folder here, and the starter handlers cannot be put there: put handlers into it yourself"
        ),
    }
}

/// How far sends and the API step back for requests and the writer, as `nice` counts: a sender waits for an answer, and
/// what is stored is not lost by running a little later.
const WORK_NICENESS: i32 = 5;

/// How far guests step back, for all else: some of them compute as long as they are let.
const GUESTS_NICENESS: i32 = 10;

/// What a hangup means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnHangup {
    /// The configuration is read again.
    Reload,
    /// The terminal is closed, so the hub is no longer needed.
    Stop,
}

/// Builds a hub, starts it, and gives it to `with` together with the signals that ask for something and the grace that
/// it has to stop. Used by `demo` too.
pub(crate) fn host(
    mut config: Config,
    listeners: Listeners,
    with: impl AsyncFnOnce(ServingHub, Signals, Duration) -> anyhow::Result<Exit>,
) -> Exit {
    let limit = files::raise_limit();
    if let Some(fewer) = files::connections(limit, config.server.max_connections) {
        let wanted = std::mem::replace(&mut config.server.max_connections, fewer);
        tracing::warn!(
            limit,
            wanted,
            taken = fewer,
            "the system allows this process too few open files for server.max_connections: raise its hard limit \
             (ulimit -Hn, LimitNOFILE=) or lower the setting; fewer connections are taken"
        );
    }
    let hosted = || -> anyhow::Result<Exit> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let ingress = runtime("ingress", cores, 0)?;
        let work = runtime("work", cores, WORK_NICENESS)?;
        // A thread for each run, so that one that does not yield, because the host works for it, is in nobody's way but
        // as far as the system lets it.
        let guests = runtime("guests", config.runs.places(), GUESTS_NICENESS)?;
        let threads = Runtimes {
            ingress: ingress.handle().clone(),
            work: work.handle().clone(),
            guests: guests.handle().clone(),
        };
        let grace = config.shutdown_grace;
        let exit = work.block_on(async {
            // First, so that a hangup while the hub starts does not end it.
            let mut signals = Signals::listen()?;
            let starting = async {
                Ok(Hub::build(Arc::new(config), listeners, threads).await?.start().await?)
            };
            let running: ServingHub = tokio::select! {
                started = starting => started.map_err(|error: anyhow::Error| error)?,
                signal = signals.stop() => {
                    tracing::info!(signal, "stopped while it started");
                    return Ok(Exit::Success);
                }
            };
            let crate::hub::Addresses { ingress, admin } = running.addresses;
            tracing::info!(%ingress, %admin, "ready");
            with(running, signals, grace).await
        });
        // Nothing is waited for any more: what has not settled is still due.
        ingress.shutdown_background();
        work.shutdown_background();
        guests.shutdown_background();
        exit
    };
    hosted().unwrap_or_else(|error| {
        report(&*error);
        Exit::Failure
    })
}

fn runtime(name: &'static str, threads: usize, niceness: i32) -> anyhow::Result<Runtime> {
    let courteous = move || {
        if niceness != 0
            && let Err(error) = rustix::process::nice(niceness)
        {
            tracing::debug!(%error, "threads keep the usual priority");
        }
    };
    let runtime = Builder::new_multi_thread()
        .thread_name(name)
        .worker_threads(threads)
        .on_thread_start(courteous)
        .enable_all()
        .build();
    runtime.with_context(|| format!("cannot start the {name} threads"))
}

/// Waits until somebody asks for the end, or the hub cannot go on; how the process is to exit.
pub(crate) async fn until_stopped(
    running: &ServingHub,
    signals: &mut Signals,
    on_hangup: OnHangup,
) -> Exit {
    let asked_to_stop = async {
        loop {
            match signals.next().await {
                SignalRequest::Stop(signal) => return signal,
                SignalRequest::Reload if on_hangup == OnHangup::Stop => return "hangup",
                SignalRequest::Reload => running.reload(),
            }
        }
    };
    tokio::select! {
        signal = asked_to_stop => {
            tracing::info!(signal, "stopping: nothing new is accepted, what runs is finished");
            Exit::Success
        }
        failure = running.failure() => {
            tracing::error!(reason = %failure, "the hub cannot go on");
            running.tell(&failure).await;
            match failure {
                HubFailure::Store(_) => Exit::Store,
                HubFailure::Task => Exit::Failure,
            }
        }
    }
}

/// Stops a hub, within its grace.
pub(crate) async fn drain(running: ServingHub, signals: &mut Signals, grace: Duration) {
    let enough = async {
        tokio::select! {
            signal = signals.stop() => tracing::warn!(signal, "not waiting any longer"),
            () = tokio::time::sleep(grace) => tracing::warn!("grace is over: not waiting any longer"),
        }
    };
    running.stop(enough).await;
    tracing::info!("stopped");
}
