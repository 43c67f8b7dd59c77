//! One destination at work: its transport, its flow control, and its state as the API shows it.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::Semaphore;
use weir_core::event::EventType;
use weir_core::name::{DestinationName, Target};
use weir_core::time::Timestamp;
use weir_store::ClaimRequest;

use super::styled::StyledAlerts;
use super::transport::Transport;
use crate::config::{Destination, TransportSettings, fingerprint};
use crate::delivery::claims::ClaimCounter;
use crate::delivery::flow_control::{FlowControl, TargetHealth};
use crate::delivery::worker::Worker;
use crate::observe::metrics::TargetMetrics;

/// The most claims of one destination that are sent but not yet settled, beside those being sent.
const UNSETTLED_MAX: usize = 512;

/// One destination at work.
pub(super) struct DestinationRuntime {
    pub(super) destination: Arc<Destination>,
    /// Shows whether its settings have changed.
    pub(super) fingerprint: String,
    pub(super) transport: Box<dyn Transport>,
    pub(super) flow: Arc<FlowControl>,
    /// One for each message that may be sent at the same time.
    pub(super) permits: Arc<Semaphore>,
    /// Claims that are neither settled nor given back.
    pub(super) claims: Arc<ClaimCounter>,
    pub(super) metrics: Arc<TargetMetrics>,
    /// Makes alerts for the service of the destination, if it belongs to one.
    pub(super) alerts: Option<StyledAlerts>,
}

impl fmt::Debug for DestinationRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DestinationRuntime").field("name", self.name()).finish_non_exhaustive()
    }
}

/// The state of a destination, for the API.
#[derive(Debug, Clone, Serialize)]
pub struct DestinationStatus {
    pub name: DestinationName,
    /// Such as `webhook` or `redis`.
    pub kind: &'static str,
    /// The place that messages go to, without credentials.
    pub address: String,
    /// True if messages of handlers keep the order of the events that were handled.
    pub ordered: bool,
    /// The most attempts in a time, such as `10/s`.
    pub rate: Option<String>,
    /// The service as which it takes alerts, such as `slack`.
    pub format: Option<&'static str>,
    /// The type of the events that its answers become.
    pub reply_as: Option<EventType>,
    /// `ok`: messages are sent. `failing`: paused after failures; messages wait, and one is tried
    /// from time to time. `paused`: the destination asked for a pause, or it is on hold.
    pub state: TargetHealth,
    pub failing_since: Option<Timestamp>,
    /// The reason for any other state than `ok`.
    pub reason: Option<Box<str>>,
    /// Time of the next attempt; none if attempts are made at once.
    pub next_try: Option<Timestamp>,
    /// Attempts that failed since `failing_since`, beside those that caused it.
    pub failed_tries: u32,
    /// Number of times that it began to fail since the process started.
    pub times_failing: u64,
    /// Messages being sent.
    pub sending: usize,
    /// The most messages that may be sent at the same time.
    pub concurrency: usize,
    /// The same at this moment, after the destination asked for fewer.
    pub places: usize,
    /// The end of the pause that the destination asked for.
    pub paused_until: Option<Timestamp>,
    /// Successful attempts since the process started.
    pub sent: u64,
    /// Failed attempts since the process started.
    pub failed: u64,
}

/// Makes alerts for the service that a destination belongs to, if it does.
fn styled_alerts(destination: &Destination, console: Option<&str>) -> Option<StyledAlerts> {
    let style = match &destination.transport {
        TransportSettings::Webhook(webhook) => webhook.alerts.as_ref(),
        _ => None,
    };
    style.map(|style| StyledAlerts::new(style, console))
}

impl DestinationRuntime {
    pub(super) fn new(
        destination: &Arc<Destination>,
        transport: Box<dyn Transport>,
        worker: &Worker,
        console: Option<&str>,
    ) -> Self {
        let target = Target::Destination(destination.name.clone());
        let (policy, concurrency) = (destination.breaker.clone(), destination.concurrency);
        let flow = worker.flow_control(target.clone(), policy, concurrency);
        flow.set_rate(destination.rate);
        Self {
            alerts: styled_alerts(destination, console),
            destination: destination.clone(),
            fingerprint: fingerprint(destination),
            transport,
            metrics: worker.ctx.metrics.target(&target),
            flow,
            permits: Arc::new(Semaphore::new(concurrency)),
            claims: Arc::default(),
        }
    }

    /// The same destination with other settings. Its breaker is closed: what failed before may work
    /// now. Sends that are under way count on.
    pub(super) fn with(
        &self,
        destination: &Arc<Destination>,
        transport: Box<dyn Transport>,
        console: Option<&str>,
    ) -> Self {
        let (policy, concurrency) = (destination.breaker.clone(), destination.concurrency);
        self.flow.reconfigure(policy, concurrency);
        self.flow.set_rate(destination.rate);
        Self {
            alerts: styled_alerts(destination, console),
            destination: destination.clone(),
            fingerprint: fingerprint(destination),
            transport,
            metrics: self.metrics.clone(),
            flow: self.flow.clone(),
            permits: Arc::new(Semaphore::new(concurrency)),
            claims: self.claims.clone(),
        }
    }

    pub(super) fn name(&self) -> &DestinationName {
        &self.destination.name
    }

    /// The deliveries that there is room for: as many as there are free permits, and as flow
    /// control permits.
    pub(super) fn wanted(&self, now: Timestamp) -> Option<[ClaimRequest; 2]> {
        let unsettled = self.claims.count();
        let free = self.permits.available_permits();
        let limit = free.min(UNSETTLED_MAX.saturating_sub(unsettled));
        self.flow.wanted(limit, self.sending(), now)
    }

    fn sending(&self) -> usize {
        self.destination.concurrency.saturating_sub(self.permits.available_permits())
    }

    pub(super) fn status(&self, now: Timestamp) -> DestinationStatus {
        let flow = self.flow.status(now);
        let (sent, failed) = self.metrics.attempts();
        let breaker = flow.record.as_ref().map(|record| record.breaker);
        let webhook = match &self.destination.transport {
            TransportSettings::Webhook(webhook) => Some(webhook),
            _ => None,
        };
        let format = webhook.and_then(|webhook| webhook.alerts.as_ref());
        DestinationStatus {
            ordered: self.destination.ordered,
            rate: self.destination.rate.map(|rate| rate.to_string()),
            format: format.map(|style| style.format.as_str()),
            reply_as: webhook.and_then(|webhook| webhook.reply_as.clone()),
            name: self.name().clone(),
            kind: self.transport.kind().as_str(),
            address: self.destination.transport.address(),
            state: flow.health(),
            failing_since: breaker.map(|open| open.opened_at),
            next_try: flow.next_try(),
            failed_tries: breaker.map_or(0, |open| open.failed_probes),
            reason: flow.reason(),
            times_failing: self.metrics.times_failing(),
            sending: self.sending(),
            concurrency: self.destination.concurrency,
            places: flow.concurrency,
            paused_until: flow.paused_until,
            sent,
            failed,
        }
    }
}
