//! Alerts: what happened and what was counted becomes events of the hub's own source, routed like any other.
//!
//! Nothing waits for this: it looks now and then at what others posted and counted, off the path of every event. What
//! may not live here: deciding what is too much ([`detector`], and `alert` in the core).

mod certificates;
mod detector;
mod store_alerts;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};
use weir_core::alert::{AlertBudget, OutcomeCounts, RepeatAggregator};
use weir_core::delivery::{EventStatus, Outcome};
use weir_core::event::EventType;
use weir_core::id::DeliveryId;
use weir_core::name::{SourceName, Target};
use weir_core::payload::Payload;
use weir_core::provider::OnRedelivery;
use weir_core::route::{EventFacts, RouteTable};
use weir_store::StoreError;
use weir_store::query::{EventFilter, PageRequest};
use weir_store::{NewEvent, NewRequest};

use crate::config::Alerts as Settings;
use crate::config::{ConfiguredSources, SourcesByName};
use crate::context::HubContext;
use crate::egress::DirectWebhook;
use crate::observe::likely_cause::likely_cause;
use crate::observe::notice::Notice;
use crate::routing::{self, Routes};
use crate::tls::TlsListener;
use certificates::ExpiringCertificates;
use detector::{Counts, Detector, SourceCounts, Thresholds};
use store_alerts::StoreAlerts;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Different things of which account is kept at once.
const SUBJECTS_MAX: usize = 2_048;
/// Alerts that wait for the store; past it the oldest are dropped.
const WAITING_MAX: usize = 256;
/// Events of a source by which it is judged whether its like are still wanted.
const EVENTS_LOOKED_AT: usize = 50;
/// In the record of an alert's event, where it says what let it in.
const SCHEME: &str = "weir";

/// The dependencies of [`Alerts`] besides the [`HubContext`].
#[derive(Debug)]
pub struct Deps {
    /// The thresholds, and how many alerts an hour may have.
    pub settings: Arc<Settings>,
    /// The sources in force.
    pub sources: ConfiguredSources,
    /// The listeners that speak TLS.
    pub tls_listeners: Vec<TlsListener>,
    /// The routing table for alerts and for the events of sources.
    pub routes: Arc<Routes>,
    /// The webhook for alerts that the store cannot take.
    pub fallback: Option<Arc<DirectWebhook>>,
}

/// Turns what happens into events of the source `weir`.
#[derive(Debug)]
pub struct Alerts {
    ctx: HubContext,
    deps: Deps,
    started: Instant,
    detector: Detector,
    certificates: ExpiringCertificates,
    store_alerts: StoreAlerts,
    collapse: RepeatAggregator<(&'static str, String), Notice>,
    budget: AlertBudget,
    /// The routes that were looked at last, and the sources.
    table: Option<(Arc<RouteTable>, Arc<SourcesByName>)>,
    /// To be stored.
    waiting: VecDeque<Alert>,
    /// Dropped since it was logged, and when that was.
    dropped: (u64, Option<Duration>),
    /// When it was last said that alerts cannot be stored.
    store_error_logged_at: Option<Duration>,
}

/// An alert on its way into the store.
#[derive(Debug, Clone)]
struct Alert {
    kind: EventType,
    body: Bytes,
}

impl Alerts {
    /// Takes its parts.
    #[must_use]
    pub fn new(ctx: HubContext, deps: Deps) -> Self {
        let Settings { per_hour, failing, refusing, expiring, .. } = *deps.settings;
        let certificates = ExpiringCertificates::new(deps.tls_listeners.clone(), expiring);
        Self {
            ctx,
            deps,
            started: Instant::now(),
            detector: Detector::new(Thresholds { failing, refusing }),
            certificates,
            store_alerts: StoreAlerts::default(),
            collapse: RepeatAggregator::new(SUBJECTS_MAX),
            budget: AlertBudget::new(per_hour),
            table: None,
            waiting: VecDeque::new(),
            dropped: (0, None),
            store_error_logged_at: None,
        }
    }

    /// Looks now and then, until claims stop.
    pub async fn run(mut self) {
        let drain = self.ctx.drain.clone();
        let mut host_lost = self.ctx.store.host_lost();
        let HubContext { store, clock, .. } = &self.ctx;
        if let Err(error) = self.certificates.recall(&**store, clock.now()).await {
            tracing::warn!(%error, "cannot tell which certificates were told of before the start");
        }
        let mut look = interval(EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = drain.claiming_stopped() => break,
                Some(lost) = host_lost.recv() => {
                    if let Err(error) = self.notice_lost(lost.delivery).await {
                        tracing::warn!(%error, "cannot report a delivery that was given up");
                    }
                }
                _ = look.tick() => self.look().await,
            }
        }
        // What happened last is told too.
        self.look().await;
    }

    /// Reports a delivery that was given up because the process died while it ran.
    async fn notice_lost(&self, id: DeliveryId) -> Result<(), StoreError> {
        let HubContext { store, notices, .. } = &self.ctx;
        let Some(delivery) = store.delivery(id).await? else { return Ok(()) };
        let Some(event) = store.event(delivery.event).await? else { return Ok(()) };
        notices.tell(Notice::DeadLetter {
            target: delivery.target,
            source: event.source,
            event: event.id,
            delivery: id,
            outcome: Outcome::HostLost,
            reason: delivery.reason,
        });
        Ok(())
    }

    async fn look(&mut self) {
        if self.ctx.store.health().poisoned.is_some() {
            // That is told by whoever ends the process for it.
            return;
        }
        let now = self.started.elapsed();
        let (mut happened, missed) = self.ctx.notices.take();
        self.drop_alerts(missed);
        let sources = self.deps.sources.current();
        self.detector.forget(|name| !sources.contains_key(name));
        let counted = self.counted(&sources);
        happened.extend(self.detector.look(&counted, now).into_iter().map(|notice| (1, notice)));
        let expiring = self.certificates.look(self.ctx.clock.now(), now);
        happened.extend(expiring.into_iter().map(|notice| (1, notice)));
        let condition = self.ctx.store.health();
        let store_alerts = self.store_alerts.look(&condition, self.ctx.clock.now());
        happened.extend(store_alerts.into_iter().map(|notice| (1, notice)));
        let unrouted = self.routes_changed(&sources).await;
        happened.extend(unrouted.into_iter().map(|notice| (1, notice)));
        let mut due = self.collapse.due(now);
        for (count, notice) in happened {
            let subject = (notice.kind(), notice.subject());
            match self.collapse.add(subject, count, notice, now) {
                Ok(told) => due.extend(told),
                Err(_) => self.drop_alerts(1),
            }
        }
        for (count, notice) in due {
            self.raise(count, &notice, now);
        }
        self.log_dropped(now);
        self.store(now).await;
    }

    /// Makes an alert, if there is one left to be had.
    fn raise(&mut self, count: u64, notice: &Notice, now: Duration) {
        if !self.budget.take(now) {
            self.drop_alerts(1);
            return;
        }
        let (kind, subject, facts) = (notice.kind(), notice.subject(), notice.facts());
        // Every word of ours is a type.
        let Ok(event) = EventType::new(kind) else { return };
        tracing::warn!(alert = kind, subject, count, %facts, "alert");
        self.ctx.metrics.alert(kind);
        let mut body = json!({
            "type": kind, "subject": subject, "count": count, "at": self.ctx.clock.now(),
        });
        if let (Some(body), serde_json::Value::Object(facts)) = (body.as_object_mut(), facts) {
            body.extend(facts);
        }
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_front();
            self.drop_alerts(1);
        }
        self.waiting.push_back(Alert { kind: event, body: body.to_string().into() });
    }

    fn drop_alerts(&mut self, count: u64) {
        self.dropped.0 += count;
        self.ctx.metrics.alerts_dropped(count);
    }

    fn log_dropped(&mut self, now: Duration) {
        let (count, logged) = self.dropped;
        let recently = logged.is_some_and(|at| now < at + RepeatAggregator::<(), ()>::EVERY);
        if count > 0 && !recently {
            tracing::warn!(count, "alerts were too many and are dropped");
            self.dropped = (0, Some(now));
        }
    }

    /// Stores what waits. What fails in passing waits for the next look.
    async fn store(&mut self, now: Duration) {
        if self.waiting.is_empty() {
            return;
        }
        let alerts: Vec<Alert> = self.waiting.drain(..).collect();
        let table = self.deps.routes.current();
        let requests = alerts.iter().map(|alert| request(alert, &table)).collect();
        let answers = self.ctx.store.ingest(requests).await;
        let mut failed = None;
        for (alert, answer) in alerts.into_iter().zip(answers) {
            let Err(error) = answer else { continue };
            if error.is_transient() {
                self.waiting.push_back(alert);
            } else {
                self.drop_alerts(1);
            }
            failed = Some(error);
        }
        if let Some(error) = failed {
            self.cannot_store(&error, now).await;
        }
    }

    async fn cannot_store(&mut self, error: &StoreError, now: Duration) {
        if self.store_error_logged_at.is_some_and(|at| now < at + RepeatAggregator::<(), ()>::EVERY)
        {
            return;
        }
        self.store_error_logged_at = Some(now);
        tracing::error!(%error, "alerts cannot be stored");
        if let Some(fallback) = &self.deps.fallback {
            let at = self.ctx.clock.now();
            let body = json!({ "type": "store.failing", "at": at, "reason": error.to_string() });
            fallback.post(body.to_string().into()).await;
        }
    }

    fn counted(&self, sources: &SourcesByName) -> Counts {
        let metrics = &self.ctx.metrics;
        let handler = |(_, of): (Box<str>, Arc<crate::observe::metrics::TargetMetrics>)| {
            let Some(Target::Handler(name)) = of.target() else { return None };
            let (good, bad) = of.attempts_on_events();
            Some((name.clone(), OutcomeCounts { good, bad }))
        };
        let source = |(name, of): (Box<str>, Arc<crate::observe::metrics::SourceMetrics>)| {
            let (name, source) = sources.get_key_value(&*name)?;
            let (good, bad) = of.answers();
            let (stored, unrouted) = (of.stored.get(), of.unrouted.get());
            let refused = of.refused_by_code();
            let cause =
                |(code, _): &(&'static str, u64)| Some((*code, likely_cause(source, code)?));
            let counted = SourceCounts {
                requests: OutcomeCounts { good, bad },
                causes: refused.iter().filter_map(cause).collect(),
                refused,
                events: OutcomeCounts { good: stored.saturating_sub(unrouted), bad: unrouted },
                silence: of.silence().unwrap_or_else(|| of.age()),
                max_silence: source.max_silence,
            };
            Some((name.clone(), counted))
        };
        Counts {
            handlers: metrics.targets().into_iter().filter_map(handler).collect(),
            sources: metrics.sources().into_iter().filter_map(source).collect(),
        }
    }

    /// Looks at the sources that are new, or whose ways have changed since the last look; at all of them at first.
    async fn routes_changed(&mut self, sources: &Arc<SourcesByName>) -> Vec<Notice> {
        let table = self.deps.routes.current();
        let before = self.table.replace((Arc::clone(&table), Arc::clone(sources)));
        let nothing_changed = |(routes, known): &(Arc<RouteTable>, Arc<SourcesByName>)| {
            routes.hash() == table.hash() && Arc::ptr_eq(known, sources)
        };
        if before.as_ref().is_some_and(nothing_changed) {
            return Vec::new();
        }
        let mut notices = Vec::new();
        for source in sources.keys() {
            let is_as_it_was = before.as_ref().is_some_and(|(routes, known)| {
                known.contains_key(source) && routes.routes_alike(&table, source)
            });
            if is_as_it_was {
                continue;
            }
            match self.routed_before_and_now(source, &table).await {
                Ok((was, is)) => notices.extend(self.detector.judge_routes(source, was, is)),
                Err(error) => {
                    tracing::warn!(%source, %error, "cannot tell whether its events still go to somebody");
                }
            }
        }
        notices
    }

    /// Whether a source's latest events went to anybody, and whether their like do now.
    async fn routed_before_and_now(
        &self,
        source: &SourceName,
        table: &RouteTable,
    ) -> Result<(bool, bool), StoreError> {
        let filter = EventFilter { source: Some(source.clone()), ..EventFilter::default() };
        let page = PageRequest { limit: EVENTS_LOOKED_AT, after: None };
        let latest = self.ctx.store.events(filter, page).await?.items;
        let was = latest.iter().any(|event| event.status != EventStatus::Unrouted);
        // A condition counts as if it held: a list of events comes without their payloads.
        let is = latest.iter().any(|event| {
            let (kind, category) = (&event.kind, event.category);
            let facts = EventFacts { source, kind, category, payload: None };
            !table.route(&facts).is_empty()
        });
        Ok((was, is))
    }
}

fn request(alert: &Alert, table: &RouteTable) -> NewRequest {
    let hub = SourceName::hub();
    let payload = Payload::new("application/json", alert.body.clone());
    let (kind, payload_facts) = (&alert.kind, Some(&payload));
    let facts = EventFacts { source: &hub, kind, category: None, payload: payload_facts };
    let event = NewEvent {
        routed: routing::routed(table, &facts),
        kind: alert.kind.clone(),
        category: None,
        delivery_id: None,
        dedup: None,
        part: None,
    };
    NewRequest {
        source: hub,
        scheme: SCHEME.into(),
        secret: SCHEME.into(),
        remote: None,
        payload,
        on_redelivery: OnRedelivery::Duplicate,
        events: vec![event],
    }
}
