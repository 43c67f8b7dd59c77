//! Alerts: turns notices and counts into events of the hub's own source `weir`, which are routed
//! like any other event.
//!
//! A task checks once a second, off the path of every event. Not here: the thresholds, which are in
//! [`detector`] and in `alert` of the core.

mod certificates;
mod detector;
mod store_alerts;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};
use weir_core::alert::{AlertBudget, OutcomeCounts, RepeatAggregator};
use weir_core::delivery::{EventStatus, Outcome};
use weir_core::event::{EventFacts, EventType};
use weir_core::id::DeliveryId;
use weir_core::name::{SourceName, Target};
use weir_core::payload::Payload;
use weir_core::provider::OnRedelivery;
use weir_core::route::RouteTable;
use weir_core::time::Timestamp;
use weir_store::StoreError;
use weir_store::query::{EventFilter, PageRequest};
use weir_store::{NewEvent, NewRequest};

use crate::config::AlertSettings;
use crate::config::{ConfiguredAlerts, ConfiguredSources, SourcesByName};
use crate::context::HubContext;
use crate::egress::DirectWebhook;
use crate::observe::likely_cause::likely_cause;
use crate::observe::notice::Notice;
use crate::routing::{self, Routes};
use crate::tls::TlsListener;
use certificates::ExpiringCertificates;
use detector::{Counts, Detector, SourceReading, Thresholds};
use store_alerts::StoreAlerts;

/// Between two checks.
const EVERY: Duration = Duration::from_secs(1);
/// Subjects that are tracked at the same time.
const SUBJECTS_MAX: usize = 2_048;
/// Alerts that wait for the store; above this the oldest are dropped.
const WAITING_MAX: usize = 256;
/// Latest events of a source that decide whether its events are still routed.
const EVENTS_LOOKED_AT: usize = 50;
/// Between two log lines about alerts that are dropped or cannot be stored.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// The scheme in the record of an alert's request.
const SCHEME: &str = "weir";

/// The dependencies of [`Alerts`] besides the [`HubContext`].
#[derive(Debug)]
pub struct Deps {
    /// The thresholds, and how many alerts an hour may have.
    pub settings: ConfiguredAlerts,
    /// The sources in force.
    pub sources: ConfiguredSources,
    /// The listeners that speak TLS.
    pub tls_listeners: Vec<TlsListener>,
    /// The routing table for alerts and for the events of sources.
    pub routes: Arc<Routes>,
    /// The webhook for alerts that the store cannot take.
    pub fallback: Option<Arc<DirectWebhook>>,
}

/// Turns notices and counts into events of the source `weir`.
#[derive(Debug)]
pub struct Alerts {
    ctx: HubContext,
    deps: Deps,
    /// The settings at the last check.
    settings: Arc<AlertSettings>,
    started: Instant,
    detector: Detector,
    certificates: ExpiringCertificates,
    store_alerts: StoreAlerts,
    collapse: RepeatAggregator<(&'static str, String), Notice>,
    /// The last alert about each subject that can fail and recover.
    told: BTreeMap<String, &'static str>,
    budget: AlertBudget,
    /// The routing table and the sources at the last check.
    table: Option<(Arc<RouteTable>, Arc<SourcesByName>)>,
    /// Alerts to store.
    waiting: VecDeque<Alert>,
    /// Alerts dropped since the last log line, and the time of that line.
    dropped: (u64, Option<Duration>),
    /// The last log line that alerts cannot be stored.
    store_error_logged_at: Option<Duration>,
}

/// An alert that is not stored yet.
#[derive(Debug, Clone)]
struct Alert {
    kind: EventType,
    body: Bytes,
}

impl Alerts {
    #[must_use]
    pub fn new(ctx: HubContext, deps: Deps) -> Self {
        let settings = (*deps.settings.current()).clone();
        let AlertSettings { per_hour, quiet, failing, refusing, expiring, .. } = *settings;
        let certificates = ExpiringCertificates::new(deps.tls_listeners.clone(), expiring);
        Self {
            ctx,
            deps,
            settings,
            started: Instant::now(),
            detector: Detector::new(Thresholds { failing, refusing }),
            certificates,
            store_alerts: StoreAlerts::default(),
            collapse: RepeatAggregator::new(SUBJECTS_MAX, quiet),
            told: BTreeMap::new(),
            budget: AlertBudget::new(per_hour),
            table: None,
            waiting: VecDeque::new(),
            dropped: (0, None),
            store_error_logged_at: None,
        }
    }

    /// Checks once a second until claiming stops.
    pub async fn run(mut self) {
        let drain = self.ctx.drain.clone();
        let mut host_lost = self.ctx.store.host_lost();
        let HubContext { store, clock, .. } = &self.ctx;
        if let Err(error) = self.certificates.recall(&**store, clock.now()).await {
            tracing::warn!(%error, "cannot read earlier alerts about certificates; one may be \
                repeated");
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
        // Alerts about the last second too.
        self.look().await;
    }

    /// Posts a notice for a delivery that was given up because the process died during its
    /// attempts.
    async fn notice_lost(&self, id: DeliveryId) -> Result<(), StoreError> {
        let HubContext { store, notices, .. } = &self.ctx;
        let Some(delivery) = store.delivery(id).await? else { return Ok(()) };
        let Some(event) = store.event(delivery.event).await? else { return Ok(()) };
        notices.post(Notice::DeadLetter {
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
            // The hub reports that itself before it stops.
            return;
        }
        self.follow_settings();
        let now = self.started.elapsed();
        let (mut happened, missed) = self.ctx.notices.take();
        self.drop_alerts(missed);
        let sources = self.deps.sources.current();
        self.detector.forget(|name| !sources.contains_key(name));
        let counted = self.counted(&sources);
        happened.extend(self.detector.look(&counted, now).into_iter().map(|notice| (1, notice)));
        self.judge_sources(&counted);
        let expiring = self.certificates.look(self.ctx.clock.now(), now);
        happened.extend(expiring.into_iter().map(|notice| (1, notice)));
        let condition = self.ctx.store.health();
        let store_alerts = self.store_alerts.look(&condition, self.ctx.clock.now());
        happened.extend(store_alerts.into_iter().map(|notice| (1, notice)));
        let unrouted = self.routes_changed(&sources).await;
        happened.extend(unrouted.into_iter().map(|notice| (1, notice)));
        let mut due = self.collapse.due(now);
        for (count, notice) in happened {
            if self.undoes_what_was_not_told(&notice) {
                continue;
            }
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

    /// Uses the settings in force from now on.
    fn follow_settings(&mut self) {
        let current = (*self.deps.settings.current()).clone();
        if Arc::ptr_eq(&current, &self.settings) {
            return;
        }
        let AlertSettings { per_hour, quiet, failing, refusing, expiring, .. } = *current;
        self.detector.set_rules(Thresholds { failing, refusing });
        self.certificates.set_ahead(expiring);
        self.collapse.set_quiet(quiet);
        if per_hour != self.settings.per_hour {
            self.budget = AlertBudget::new(per_hour);
        }
        self.settings = current;
    }

    /// Drops the opposite of a notice, if it was held back. True if people know already what the
    /// notice says, because they were not told of the opposite.
    fn undoes_what_was_not_told(&mut self, notice: &Notice) -> bool {
        let Some(opposite) = notice.opposite() else { return false };
        let subject = notice.subject();
        let known = self.told.get(&subject) == Some(&notice.kind());
        self.collapse.cancel(&(opposite, subject)) && known
    }

    /// Queues an alert, if the hourly budget permits.
    fn raise(&mut self, count: u64, notice: &Notice, now: Duration) {
        if !self.budget.take(now) {
            self.drop_alerts(1);
            return;
        }
        let (kind, subject, facts) = (notice.kind(), notice.subject(), notice.facts());
        if notice.opposite().is_some()
            && (self.told.len() < SUBJECTS_MAX || self.told.contains_key(&subject))
        {
            self.told.insert(subject.clone(), kind);
        }
        // The hub's own words are always valid types.
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
        let recently = logged.is_some_and(|at| now < at + LOG_EVERY);
        if count > 0 && !recently {
            tracing::warn!(count, "too many alerts: some were dropped");
            self.dropped = (0, Some(now));
        }
    }

    /// Stores the queued alerts. An alert with a transient failure waits for the next check.
    async fn store(&mut self, now: Duration) {
        if self.waiting.is_empty() {
            return;
        }
        let alerts: Vec<Alert> = self.waiting.drain(..).collect();
        let table = self.deps.routes.current();
        let at = self.ctx.clock.now();
        let requests = alerts.iter().map(|alert| request(alert, &table, at)).collect();
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
        if self.store_error_logged_at.is_some_and(|at| now < at + LOG_EVERY) {
            return;
        }
        self.store_error_logged_at = Some(now);
        tracing::error!(%error, "cannot store alerts");
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
            let counted = SourceReading {
                requests: OutcomeCounts { good, bad },
                causes: refused.iter().filter_map(cause).collect(),
                refused,
                events: OutcomeCounts { good: stored.saturating_sub(unrouted), bad: unrouted },
                silence: of.silence().unwrap_or_else(|| of.age()),
                max_silence: source.max_silence,
                attempts: {
                    let (good, bad) = of.work.counts();
                    OutcomeCounts { good, bad }
                },
                error: of.work.last_error(),
                max_failures: source.max_failures,
            };
            Some((name.clone(), counted))
        };
        Counts {
            handlers: metrics.targets().into_iter().filter_map(handler).collect(),
            sources: metrics.sources().into_iter().filter_map(source).collect(),
        }
    }

    /// Tells each source its state.
    fn judge_sources(&self, counted: &Counts) {
        for (name, _) in &counted.sources {
            if let Some(source) = self.ctx.metrics.known_source(name) {
                let (is_failing, is_silent) = self.detector.judged(name);
                source.work.judge(is_failing, is_silent);
            }
        }
    }

    /// Checks sources that are new or whose routes have changed; at the first check, all sources.
    async fn routes_changed(&mut self, sources: &Arc<SourcesByName>) -> Vec<Notice> {
        let table = self.deps.routes.current();
        let before = self.table.replace((table.clone(), Arc::clone(sources)));
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
                    tracing::warn!(%source, %error, "cannot check whether the events of the \
                        source are still routed");
                }
            }
        }
        notices
    }

    /// True, in this order, if any of a source's latest events was routed, and if one like them
    /// would be now.
    async fn routed_before_and_now(
        &self,
        source: &SourceName,
        table: &RouteTable,
    ) -> Result<(bool, bool), StoreError> {
        let filter = EventFilter { sources: vec![source.clone()], ..EventFilter::default() };
        let page = PageRequest { limit: EVENTS_LOOKED_AT, after: None };
        let latest = self.ctx.store.events(filter, page).await?.items;
        let was = latest.iter().any(|event| event.status != EventStatus::Unrouted);
        // A condition counts as if it held: a list of events comes without their payloads.
        let is = latest.iter().any(|event| {
            let facts = EventFacts {
                category: event.category,
                ..EventFacts::new(source, &event.kind, event.received_at)
            };
            !table.route(&facts).is_empty()
        });
        Ok((was, is))
    }
}

fn request(alert: &Alert, table: &RouteTable, now: Timestamp) -> NewRequest {
    let hub = SourceName::hub();
    let payload = Payload::new("application/json", alert.body.clone());
    let facts = EventFacts { payload: Some(&payload), ..EventFacts::new(&hub, &alert.kind, now) };
    let event = NewEvent {
        routed: routing::routed(table, &facts),
        kind: alert.kind.clone(),
        category: None,
        delivery_id: None,
        dedup: None,
        part: None,
        keys: Vec::new(),
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
