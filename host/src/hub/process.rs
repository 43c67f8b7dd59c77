//! The frame in which a hub runs: open files, thread pools, signals, the shutdown. For `serve` and
//! `demo`.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};

use super::{Addresses, Hub, HubFailure, Listeners, Runtimes, ServingHub};
use crate::config::Config;
use crate::program::exit::Exit;
use crate::program::output::report;
use crate::runtime::log_export::ExportedRecords;
use crate::runtime::open_files;
use crate::runtime::service;
use crate::runtime::shutdown::{SignalRequest, Signals};

/// The niceness of sends and the API, behind requests and the writer of the store: a sender waits
/// for its answer, and stored work may run a little later.
const WORK_NICENESS: i32 = 5;

/// The niceness of guests, behind everything else: some of them compute up to their limit.
const GUESTS_NICENESS: i32 = 10;

/// The action on SIGHUP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnHangup {
    /// Reloads the configuration.
    Reload,
    /// Stops: the terminal is closed, so the hub is no longer needed.
    Stop,
}

/// Builds and starts a hub, which exports this copy of the log, and calls `with` with it, the
/// signals, and the grace period of the shutdown.
pub(crate) fn run(
    mut config: Config,
    listeners: Listeners,
    log: Option<ExportedRecords>,
    with: impl AsyncFnOnce(ServingHub, Signals, Duration) -> anyhow::Result<Exit>,
) -> Exit {
    limit_connections(&mut config);
    start_and_run(config, listeners, log, with).unwrap_or_else(|error| {
        report(&*error);
        Exit::Failure
    })
}

/// Lowers `server.max_connections` to what the system's limit on open files permits.
fn limit_connections(config: &mut Config) {
    let limit = open_files::raise_limit();
    if let Some(fewer) = open_files::connections(limit, config.server.max_connections) {
        let wanted = std::mem::replace(&mut config.server.max_connections, fewer);
        tracing::warn!(
            limit,
            wanted,
            used = fewer,
            "the limit on open files is too low for server.max_connections, so fewer connections \
             are accepted: \
             raise its hard limit (ulimit -Hn, LimitNOFILE=) or lower the setting"
        );
    }
}

fn start_and_run(
    config: Config,
    listeners: Listeners,
    log: Option<ExportedRecords>,
    with: impl AsyncFnOnce(ServingHub, Signals, Duration) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let ingress = thread_pool("ingress", cores, 0)?;
    let work = thread_pool("work", cores, WORK_NICENESS)?;
    // A thread for each run: a guest does not yield while a host function works for it.
    let guests = thread_pool("guests", config.runs.places(), GUESTS_NICENESS)?;
    let runtimes = Runtimes {
        ingress: ingress.handle().clone(),
        work: work.handle().clone(),
        guests: guests.handle().clone(),
    };
    let grace = config.shutdown_grace;
    let exit = work.block_on(async {
        // First, so that a hangup during the start does not end the process.
        let mut signals = Signals::listen()?;
        let starting = async {
            Ok(Hub::build(Arc::new(config), listeners, runtimes, log).await?.start().await?)
        };
        let hub: ServingHub = tokio::select! {
            started = starting => started.map_err(|error: anyhow::Error| error)?,
            signal = signals.stop() => {
                tracing::info!(signal, "stopped during the start");
                return Ok(Exit::Success);
            }
        };
        let Addresses { ingress, admin } = hub.addresses;
        tracing::info!(%ingress, %admin, "ready");
        service::ready(&format!("accepts webhooks on {ingress}; API on {admin}"));
        with(hub, signals, grace).await
    });
    // Does not wait any more: a delivery that was not settled is still due.
    ingress.shutdown_background();
    work.shutdown_background();
    guests.shutdown_background();
    exit
}

fn thread_pool(name: &'static str, threads: usize, niceness: i32) -> anyhow::Result<Runtime> {
    let lower_priority = move || {
        if niceness != 0
            && let Err(error) = rustix::process::nice(niceness)
        {
            tracing::debug!(%error, "threads keep the usual priority");
        }
    };
    let runtime = Builder::new_multi_thread()
        .thread_name(name)
        .worker_threads(threads)
        .on_thread_start(lower_priority)
        .enable_all()
        .build();
    runtime.with_context(|| format!("cannot start the {name} threads"))
}

/// Waits for a signal to stop or for a failure of the hub. Returns the exit code.
pub(crate) async fn until_stopped(
    hub: &ServingHub,
    signals: &mut Signals,
    on_hangup: OnHangup,
) -> Exit {
    let stop_requested = async {
        loop {
            match signals.next().await {
                SignalRequest::Stop(signal) => return signal,
                SignalRequest::Reload if on_hangup == OnHangup::Stop => return "hangup",
                SignalRequest::Reload => hub.reload(),
            }
        }
    };
    tokio::select! {
        signal = stop_requested => {
            tracing::info!(signal, "stopping: no new requests are accepted, runs and sends finish");
            service::stopping("stops: runs and sends finish");
            Exit::Success
        }
        failure = hub.failure() => {
            tracing::error!(reason = %failure, "the hub stops after a failure");
            service::stopping(&format!("stops after a failure: {failure}"));
            hub.report_failure(&failure).await;
            match failure {
                HubFailure::Store(_) => Exit::Store,
                HubFailure::Task => Exit::Failure,
            }
        }
    }
}

/// Stops a hub within its grace period. A second signal skips the wait.
pub(crate) async fn drain(hub: ServingHub, signals: &mut Signals, grace: Duration) {
    let deadline = async {
        tokio::select! {
            signal = signals.stop() => tracing::warn!(signal, "no longer waiting for runs and \
                sends"),
            () = tokio::time::sleep(grace) => {
                tracing::warn!("the grace period is over: no longer waiting for runs and sends");
            }
        }
    };
    hub.stop(deadline).await;
    tracing::info!("stopped");
}
