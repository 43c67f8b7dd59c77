//! The running hub: starts every part, notices when it cannot continue, and drains in order.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Notify;
use weir_core::time::Clock as _;
use weir_store::Store;

use super::build::{Hub, Runtimes};
use super::listen::Addresses;
use super::watchdog;
use crate::context::HubContext;
use crate::egress::{DirectWebhook, Inbox};
use crate::invoker::InvokerHandle;
use crate::observe::otlp::ExportStop;
use crate::runtime::clock::SystemClock;
use crate::runtime::service;
use crate::runtime::shutdown::Drain;
use crate::runtime::tasks::{OnFailure, Tasks};
use crate::tls::roots;
use crate::upkeep::rollups::RollupWorker;

/// The longest wait for the first scan of the plugins folder at the first start of a hub.
///
/// That start knows no subscriptions yet. The scan comes before the first webhook is accepted, so
/// that none is unrouted. A module that compiles for minutes must not block senders for as long.
const FIRST_SCAN: Duration = Duration::from_secs(60);

/// The longest wait for ingress to accept connections, once its task was started: it reads a few
/// rows of the store first.
const FIRST_ACCEPT: Duration = Duration::from_secs(60);

/// Time between a failure of the store and the end of the process.
///
/// A load balancer sees the reason in the health check meanwhile, and senders get an answer that
/// tells them to try again. No request is accepted in that time.
const LINGER_AFTER_STORE_FAILURE: Duration = Duration::from_secs(2);

/// A hub that accepts webhooks.
#[derive(Debug)]
pub struct ServingHub {
    pub addresses: Addresses,
    pub store: Arc<dyn Store>,
    pub handlers: InvokerHandle,
    /// The messages to inbox destinations.
    pub inbox: Inbox,
    fallback: Option<Arc<DirectWebhook>>,
    reload: Arc<Notify>,
    rollups: RollupWorker,
    drain: Drain,
    tasks: Tasks,
    /// The export, which ends last.
    exports: Tasks,
    export_stop: Option<ExportStop>,
}

/// The reason why a hub stops by itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HubFailure {
    /// The store accepts no more writes. The next start checks it before anything is accepted.
    #[error("the store accepts no more writes: {0}")]
    Store(String),
    /// A necessary task crashed.
    #[error("a part of the hub crashed; the log names it")]
    Task,
}

impl Hub {
    /// Starts every part, and returns when webhooks are accepted.
    pub async fn start(self) -> std::io::Result<ServingHub> {
        let addresses = self.listeners.addresses()?;
        let Runtimes { ingress, work, .. } = &self.runtimes;
        let HubContext { store, clock, drain, tasks, notices, shapes, .. } = self.ctx;
        let reload = self.reload.trigger();
        let exports = Tasks::new();
        let export_stop = self.exporter.map(|exporter| {
            let stop = exporter.stop_handle();
            exports.spawn_on("export", OnFailure::Log, work, exporter.run(self.admin.scrape()));
            stop
        });
        tasks.spawn_on("egress", OnFailure::Stop, work, self.egress.run());
        tasks.spawn_on("invoker", OnFailure::Stop, work, self.invoker.run());
        tasks.spawn_on("admin", OnFailure::Stop, work, self.admin.run(self.listeners.admin));
        if self.watch_shapes {
            let watching = shapes.watch(notices, clock, drain.clone());
            tasks.spawn_on("shapes", OnFailure::Log, work, watching);
        }
        tasks.spawn_on("alerts", OnFailure::Log, work, self.alerts.run());
        tasks.spawn_on("missing", OnFailure::Log, work, self.missing.run());
        tasks.spawn_on("jobs", OnFailure::Log, work, self.jobs.run());
        tasks.spawn_on("retention", OnFailure::Log, work, self.retention.run());
        tasks.spawn_on("rollups", OnFailure::Log, work, self.rollups.clone().run());
        tasks.spawn_on("authorities", OnFailure::Log, work, roots::watch(drain.clone()));
        tasks.spawn_on("configuration", OnFailure::Log, work, self.reload.run());
        let (pulse, inherited) = (self.ingress.pulse(), self.listeners.inherited);
        let accepting = self.ingress.run(self.listeners.ingress);
        let accept = |accepting| tasks.spawn_on("ingress", OnFailure::Stop, ingress, accepting);
        // Connections wait in the queue of a socket that the service manager keeps. Without one,
        // senders are told that the hub starts, so that they try again.
        let waiting = if inherited {
            Some(accepting)
        } else {
            accept(accepting);
            None
        };
        tasks.spawn_on("schedules", OnFailure::Log, work, self.schedules.run());
        if self.is_first_start {
            let _timed_out = tokio::time::timeout(FIRST_SCAN, self.handlers.folder_read()).await;
        }
        self.health.set_routing_ready();
        if let Some(accepting) = waiting {
            accept(accepting);
        }
        tokio::time::timeout(FIRST_ACCEPT, pulse.ask()).await.map_err(|_| {
            std::io::Error::other("the listener for webhooks does not accept connections")
        })?;
        // Ingress has read what it stores messages with.
        tasks.spawn_on("pulls", OnFailure::Stop, work, self.pulls.run());
        if let Some(longest) = service::watchdog() {
            let watch = watchdog::run(longest, store.clone(), pulse, drain.clone());
            tasks.spawn_on("watchdog", OnFailure::Log, work, watch);
        }
        Ok(ServingHub {
            addresses,
            store,
            drain,
            tasks,
            handlers: self.handlers,
            inbox: self.inbox,
            fallback: self.fallback,
            rollups: self.rollups,
            reload,
            exports,
            export_stop,
        })
    }
}

impl ServingHub {
    /// Resolves when the hub cannot continue.
    pub async fn failure(&self) -> HubFailure {
        tokio::select! {
            () = self.tasks.failed() => HubFailure::Task,
            reason = self.store_failure() => HubFailure::Store(reason),
        }
    }

    /// Reloads the configuration now, even if no file has changed.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Reports to `alert_url`, if it is configured, that the hub cannot continue. The store may
    /// accept nothing any more, so this is not an event.
    pub async fn report_failure(&self, failure: &HubFailure) {
        let Some(fallback) = &self.fallback else { return };
        let (kind, reason) = match failure {
            HubFailure::Store(reason) => ("store.poisoned", reason.clone()),
            HubFailure::Task => ("hub.broken", failure.to_string()),
        };
        let report = serde_json::json!({ "type": kind, "at": SystemClock.now(), "reason": reason });
        fallback.post(report.to_string().into()).await;
    }

    async fn store_failure(&self) -> String {
        let reason = self.store.poisoned().await;
        tokio::time::sleep(LINGER_AFTER_STORE_FAILURE).await;
        reason
    }

    /// Stops in order: accepting, claiming, then what runs, until `deadline` resolves.
    ///
    /// Nothing is lost at the deadline: a delivery that was not settled is still due.
    pub async fn stop(self, deadline: impl Future<Output = ()>) {
        self.drain.stop_accepting();
        self.drain.stop_claiming();
        tokio::select! {
            () = self.tasks.finished() => {}
            () = deadline => {
                self.drain.stop_waiting();
                self.tasks.finished().await;
            }
        }
        if let Some(export) = self.export_stop {
            export.stop();
            self.exports.finished().await;
        }
        self.rollups.save().await;
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "store did not close cleanly; the next start recovers it");
        }
    }
}
