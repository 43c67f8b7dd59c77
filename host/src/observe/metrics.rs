//! The counters of the hub, and the handles to count with.
//!
//! A caller gets the handle of its source or target once and keeps it; counting is then one atomic
//! addition. Names and help texts are in [`super::exposition`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, RwLock};
use weir_core::delivery::Outcome;
use weir_core::name::{SourceName, Target};
use weir_core::trace::TraceId;
use weir_core::word_enum;

use super::exposition::{self, ScrapedState};
use super::likely_cause::FIRST_REFUSALS;
use super::pull_metrics::PullMetrics;
use super::series::{Counter, CounterByCode, DurationHistogram, Gauge, OTHER};
use super::source_work::SourceWork;
use super::text::Format;
use crate::runtime::clock;

word_enum! {
    /// The result of a load of a module.
    ModuleLoad {
        Loaded = "loaded",
        Rejected = "rejected",
        /// Its file was removed.
        Retired = "retired",
        /// It waits for the end of a pin.
        Candidate = "candidate",
    }
}

word_enum! {
    /// The result of a reload of the configuration.
    ConfigReload {
        Accepted = "accepted",
        Refused = "refused",
    }
}

word_enum! {
    /// The result for a request with an invalid signature.
    QuarantineResult {
        Kept = "kept",
        /// The quarantine was busy.
        Dropped = "dropped",
    }
}

word_enum! {
    /// A kind of data that is exported over OTLP.
    Signal {
        Traces = "traces",
        Metrics = "metrics",
        Logs = "logs",
    }
}

/// The numbers of exported and dropped records of one signal.
#[derive(Debug, Default)]
pub struct ExportCounts {
    pub exported: Counter,
    /// Shared with the queue that drops them.
    pub dropped: Arc<Counter>,
}

/// The codes of accepted requests. Every other code is a refusal.
pub const ACCEPTED_CODES: [&str; 3] = ["accepted", "duplicate", "handshake"];

/// Sources, and targets, with their own handle; further ones share the handle of [`OTHER`].
pub const NAMES_MAX: usize = 2_000;

/// All counters. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    started_at: SystemTime,
    sources: RwLock<BTreeMap<Box<str>, Arc<SourceMetrics>>>,
    targets: RwLock<BTreeMap<Box<str>, Arc<TargetMetrics>>>,
    refused: CounterByCode,
    module_loads: CounterByCode,
    alerts: CounterByCode,
    alerts_dropped: Counter,
    config_reloads: CounterByCode,
    job_deliveries: Counter,
    exported: [ExportCounts; 3],
    connections: Gauge,
    body_bytes: Gauge,
    running: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            started: Instant::now(),
            started_at: clock::precise(),
            sources: RwLock::default(),
            targets: RwLock::default(),
            refused: CounterByCode::default(),
            module_loads: CounterByCode::default(),
            alerts: CounterByCode::default(),
            alerts_dropped: Counter::default(),
            config_reloads: CounterByCode::default(),
            job_deliveries: Counter::default(),
            exported: Default::default(),
            connections: Gauge::default(),
            body_bytes: Gauge::default(),
            running: Gauge::default(),
        }))
    }

    /// The handle of a source. Get it once and keep it.
    #[must_use]
    pub fn source(&self, name: &SourceName) -> Arc<SourceMetrics> {
        handle(&self.0.sources, name.as_str(), |_| SourceMetrics::new())
    }

    /// The handle of a source that has one already.
    #[must_use]
    pub fn known_source(&self, name: &SourceName) -> Option<Arc<SourceMetrics>> {
        self.0.sources.read().get(name.as_str()).cloned()
    }

    /// The handle of a target. Get it once and keep it.
    #[must_use]
    pub fn target(&self, name: &Target) -> Arc<TargetMetrics> {
        let new = |is_named: bool| TargetMetrics {
            target: is_named.then(|| name.clone()),
            ..TargetMetrics::default()
        };
        handle(&self.0.targets, &name.to_string(), new)
    }

    /// Counts a refused request for a source that is not configured.
    pub fn refused_unknown_source(&self) {
        self.refused("unknown_source");
    }

    /// Counts a request that was refused before its source was known.
    pub fn refused(&self, code: &'static str) {
        self.0.refused.inc(code);
    }

    /// Counts a load of a module.
    pub fn module_load(&self, result: ModuleLoad) {
        self.0.module_loads.inc(result.as_str());
    }

    /// Counts an alert of this type.
    pub fn alert(&self, kind: &'static str) {
        self.0.alerts.inc(kind);
    }

    /// Counts alerts above a limit.
    pub fn alerts_dropped(&self, count: u64) {
        self.0.alerts_dropped.add(count);
    }

    /// Raised alerts by type, and the number of dropped ones.
    #[must_use]
    pub fn alerts(&self) -> (&CounterByCode, &Counter) {
        (&self.0.alerts, &self.0.alerts_dropped)
    }

    /// Counts deliveries that a job made due.
    pub fn job_deliveries(&self, count: u64) {
        self.0.job_deliveries.add(count);
    }

    /// Deliveries that jobs made due.
    pub(super) fn due_by_jobs(&self) -> u64 {
        self.0.job_deliveries.get()
    }

    /// Open connections.
    #[must_use]
    pub fn connections(&self) -> &Gauge {
        &self.0.connections
    }

    /// Bytes of request bodies in memory.
    #[must_use]
    pub fn body_bytes(&self) -> &Gauge {
        &self.0.body_bytes
    }

    /// Running attempts.
    #[must_use]
    pub fn running(&self) -> &Gauge {
        &self.0.running
    }

    /// The time from which everything is counted.
    pub(super) fn started_at(&self) -> SystemTime {
        self.0.started_at
    }

    /// The time since the start of the process.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// All sources with a handle, by name.
    #[must_use]
    pub fn sources(&self) -> Vec<(Box<str>, Arc<SourceMetrics>)> {
        all(&self.0.sources)
    }

    /// All targets with a handle, by name.
    #[must_use]
    pub fn targets(&self) -> Vec<(Box<str>, Arc<TargetMetrics>)> {
        all(&self.0.targets)
    }

    /// Removes sources. Their handles still work, but are not exported any more.
    pub fn forget_sources(&self, gone: impl Fn(&str) -> bool) {
        self.0.sources.write().retain(|name, _| &**name == OTHER || !gone(name));
    }

    /// Requests that were refused before their source was known, by code.
    #[must_use]
    pub fn refusals(&self) -> &CounterByCode {
        &self.0.refused
    }

    /// Counts a reload of the configuration.
    pub fn config_reload(&self, result: ConfigReload) {
        self.0.config_reloads.inc(result.as_str());
    }

    /// Reloads of the configuration by result.
    #[must_use]
    pub fn config_reloads(&self) -> &CounterByCode {
        &self.0.config_reloads
    }

    /// Exported and dropped records of a signal.
    #[must_use]
    pub fn exported(&self, signal: Signal) -> &ExportCounts {
        let [traces, metrics, logs] = &self.0.exported;
        match signal {
            Signal::Traces => traces,
            Signal::Metrics => metrics,
            Signal::Logs => logs,
        }
    }

    /// Loads of modules by result.
    #[must_use]
    pub fn module_loads(&self) -> &CounterByCode {
        &self.0.module_loads
    }

    /// All counters as Prometheus text.
    #[must_use]
    pub fn encode(&self) -> String {
        self.encode_with(&ScrapedState::default(), Format::Prometheus)
    }

    /// The same with the values that are read at each scrape.
    #[must_use]
    pub fn encode_with(&self, scraped: &ScrapedState, format: Format) -> String {
        exposition::encode(self, scraped, format)
    }
}

fn handle<T>(
    of: &RwLock<BTreeMap<Box<str>, Arc<T>>>,
    name: &str,
    new: impl FnOnce(bool) -> T,
) -> Arc<T> {
    if let Some(known) = of.read().get(name) {
        return known.clone();
    }
    let mut map = of.write();
    let is_named = map.len() < NAMES_MAX || map.contains_key(name);
    let name = if is_named { name } else { OTHER };
    map.entry(name.into()).or_insert_with(|| Arc::new(new(is_named))).clone()
}

fn all<T>(of: &RwLock<BTreeMap<Box<str>, Arc<T>>>) -> Vec<(Box<str>, Arc<T>)> {
    of.read().iter().map(|(name, handle)| (name.clone(), handle.clone())).collect()
}

/// The counters of one source.
#[derive(Debug)]
pub struct SourceMetrics {
    since: Instant,
    pub(super) answers: CounterByCode,
    pub(super) taken: DurationHistogram,
    pub(super) refused: DurationHistogram,
    pub(crate) stored: Counter,
    pub(super) duplicate: Counter,
    pub(super) id_reused: Counter,
    pub(crate) unrouted: Counter,
    pub(super) condition_failed: Counter,
    pub(super) quarantined: CounterByCode,
    pub(super) replies: CounterByCode,
    pub pull: PullMetrics,
    /// The attempts at its events.
    pub work: SourceWork,
    /// Milliseconds from the creation to the last accepted request, plus one; 0 if there was none.
    last_taken: AtomicU64,
    /// Requests with an invalid signature before the first valid one.
    unverified: AtomicU32,
    /// Their likely cause.
    seen: Mutex<Option<Arc<str>>>,
}

impl SourceMetrics {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            answers: CounterByCode::default(),
            taken: DurationHistogram::default(),
            refused: DurationHistogram::default(),
            stored: Counter::default(),
            duplicate: Counter::default(),
            id_reused: Counter::default(),
            unrouted: Counter::default(),
            condition_failed: Counter::default(),
            quarantined: CounterByCode::default(),
            replies: CounterByCode::default(),
            pull: PullMetrics::default(),
            work: SourceWork::default(),
            last_taken: AtomicU64::new(0),
            unverified: AtomicU32::new(0),
            seen: Mutex::default(),
        }
    }

    /// Counts a request with an invalid signature. Calls `look` for the likely cause after the
    /// first few such requests, if none was accepted before.
    pub(crate) fn signature_refused(
        &self,
        look: impl FnOnce() -> Option<String>,
    ) -> Option<Arc<str>> {
        if self.last_taken.load(Relaxed) != 0 {
            return None;
        }
        let before = self.unverified.fetch_add(1, Relaxed);
        if before.checked_add(1) != Some(FIRST_REFUSALS) {
            return None;
        }
        let seen: Arc<str> = look()?.into();
        *self.seen.lock() = Some(seen.clone());
        Some(seen)
    }

    /// The likely cause why the first requests were refused, until one is accepted.
    #[must_use]
    pub fn seen(&self) -> Option<Arc<str>> {
        self.seen.lock().clone().filter(|_| self.last_taken.load(Relaxed) == 0)
    }

    /// Starts again with the first requests, because the source has changed.
    pub(crate) fn reset_first_requests(&self) {
        self.unverified.store(0, Relaxed);
        *self.seen.lock() = None;
    }

    /// Counts an answer with a code, `took` after the head of the request was read.
    pub fn answered(&self, code: &'static str, took: Duration) {
        self.answers.inc(code);
        if ACCEPTED_CODES.contains(&code) {
            self.taken.observe(took);
            self.last_taken.store(self.age_ms() + 1, Relaxed);
        } else {
            self.refused.observe(took);
        }
    }

    /// Keeps the trace of an accepted request as an example of its duration.
    pub fn example(&self, took: Duration, trace: TraceId) {
        self.taken.example(took, trace);
    }

    /// Counts a stored event.
    pub fn stored(&self) {
        self.stored.inc();
    }

    /// Counts a duplicate event.
    pub fn duplicate(&self) {
        self.duplicate.inc();
    }

    /// Counts a stored event with an id that the sender used before for another body.
    pub fn id_reused(&self) {
        self.id_reused.inc();
    }

    /// Counts a stored event on which a condition or an order key could not be evaluated.
    pub fn condition_failed(&self) {
        self.condition_failed.inc();
    }

    /// Counts a request for the quarantine.
    pub fn quarantined(&self, result: QuarantineResult) {
        self.quarantined.inc(result.as_str());
    }

    /// The numbers of stored, duplicate and unrouted events.
    #[must_use]
    pub fn event_counts(&self) -> (u64, u64, u64) {
        (self.stored.get(), self.duplicate.get(), self.unrouted.get())
    }

    /// Counts an unrouted event.
    pub fn unrouted(&self) {
        self.unrouted.inc();
    }

    /// Counts the answer to a request of a source with a responder: `replied`, or the reason for
    /// the provider's default answer (`silent`, `failed`, `late`, `not_run`, `not_kept`).
    pub fn replied(&self, result: &'static str) {
        self.replies.inc(result);
    }

    /// Accepted and refused requests since the source exists.
    #[must_use]
    pub fn answers(&self) -> (u64, u64) {
        let taken = |code: &str| ACCEPTED_CODES.contains(&code);
        (self.answers.total(taken), self.answers.total(|code| !taken(code)))
    }

    /// Accepted requests by the time to their answer, in the buckets of
    /// [`BUCKETS_US`](super::series::BUCKETS_US).
    #[must_use]
    pub fn ack_durations(&self) -> Vec<u64> {
        self.taken.counts()
    }

    /// Refused requests by code since the source exists.
    #[must_use]
    pub fn refused_by_code(&self) -> Vec<(&'static str, u64)> {
        self.answers.each().filter(|(code, _)| !ACCEPTED_CODES.contains(code)).collect()
    }

    /// Time since the last accepted request; none without one in this process.
    #[must_use]
    pub fn silence(&self) -> Option<Duration> {
        let at = self.last_taken.load(Relaxed).checked_sub(1)?;
        Some(Duration::from_millis(self.age_ms().saturating_sub(at)))
    }

    /// Time since the source exists in this process.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    fn age_ms(&self) -> u64 {
        weir_core::time::millis(self.age())
    }
}

/// The counters of one target.
#[derive(Debug, Default)]
pub struct TargetMetrics {
    /// None for the handle that further targets share.
    target: Option<Target>,
    pub(super) attempts: CounterByCode,
    /// Attempts on alerts among them.
    attempts_on_alerts: CounterByCode,
    pub(super) took: DurationHistogram,
    pub(super) retries: Counter,
    pub(super) dead_letters: Counter,
    pub(super) state_conflicts: Counter,
    pub(super) superseded: Counter,
    pub(super) unavailable: Counter,
    pub(super) opened: Counter,
    pub(super) rollbacks: Counter,
    pub(super) strikes: Counter,
    pub(super) on_probation: AtomicBool,
}

impl TargetMetrics {
    /// The target; none for the handle that further targets share.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// Counts an ended attempt.
    pub fn attempt(&self, outcome: Outcome, took: Duration) {
        self.attempts.inc(outcome.as_str());
        self.took.observe(took);
    }

    /// Keeps the trace of an attempt as an example of its duration.
    pub fn example(&self, took: Duration, trace: TraceId) {
        self.took.example(took, trace);
    }

    /// Counts that an attempt, counted by [`Self::attempt`] already, was on an alert.
    pub fn attempt_on_alert(&self, outcome: Outcome) {
        self.attempts_on_alerts.inc(outcome.as_str());
    }

    /// Counts a scheduled retry.
    pub fn retry_scheduled(&self) {
        self.retries.inc();
    }

    /// Counts a dead letter.
    pub fn dead_letter(&self) {
        self.dead_letters.inc();
    }

    /// Counts a run that is repeated because the state that it read has changed.
    pub fn state_conflict(&self) {
        self.state_conflicts.inc();
    }

    /// Counts a result that was refused because a newer attempt exists.
    pub fn superseded(&self) {
        self.superseded.inc();
    }

    /// Counts an attempt that does not count because the destination could take no message.
    pub fn unavailable(&self) {
        self.unavailable.inc();
    }

    /// Counts that an older version of the handler serves again.
    pub fn rolled_back(&self) {
        self.rollbacks.inc();
    }

    /// Counts an event on which only the new version of the handler failed.
    pub fn strike(&self) {
        self.strikes.inc();
    }

    /// Says if the version of the handler that serves is on probation.
    pub fn set_on_probation(&self, is_so: bool) {
        self.on_probation.store(is_so, Relaxed);
    }

    /// Counts that the target began to fail.
    pub fn opened(&self) {
        self.opened.inc();
    }

    /// Attempts by duration, in the buckets of [`BUCKETS_US`](super::series::BUCKETS_US).
    #[must_use]
    pub fn attempt_durations(&self) -> Vec<u64> {
        self.took.counts()
    }

    /// The number of deliveries that became dead letters since the start.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.dead_letters.get()
    }

    /// The number of times that the target began to fail since the start.
    #[must_use]
    pub fn times_failing(&self) -> u64 {
        self.opened.get()
    }

    /// Successful and failed attempts since the start of the process.
    #[must_use]
    pub fn attempts(&self) -> (u64, u64) {
        split(&self.attempts)
    }

    /// The same without attempts on alerts.
    #[must_use]
    pub fn attempts_on_events(&self) -> (u64, u64) {
        // Alerts first: an attempt that ends in between counts as one on an event until the next
        // call.
        let (good_alerts, bad_alerts) = split(&self.attempts_on_alerts);
        let (good, bad) = split(&self.attempts);
        (good.saturating_sub(good_alerts), bad.saturating_sub(bad_alerts))
    }
}

/// Successful and other outcomes.
fn split(outcomes: &CounterByCode) -> (u64, u64) {
    let ok = |code: &str| code == Outcome::Ok.as_str();
    (outcomes.total(ok), outcomes.total(|code| !ok(code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_does_not_end_the_silence_of_a_source() {
        let metrics = Metrics::new();
        let github = metrics.source(&SourceName::configured("github").unwrap());
        github.answered("signature_mismatch", Duration::from_micros(80));
        assert_eq!((github.answers(), github.silence()), ((0, 1), None));
        github.answered("accepted", Duration::from_millis(2));
        assert_eq!(github.answers(), (1, 1));
        assert!(github.silence().is_some());
    }

    #[test]
    fn names_past_the_limit_share_one_handle() {
        let metrics = Metrics::new();
        let name = |i: usize| SourceName::configured(&format!("s{i}")).unwrap();
        for i in 0..NAMES_MAX {
            let _ = metrics.source(&name(i));
        }
        metrics.source(&name(NAMES_MAX)).stored();
        metrics.source(&name(NAMES_MAX + 1)).stored();
        let sources = metrics.sources();
        assert_eq!(sources.len(), NAMES_MAX + 1);
        let (_, other) = sources.iter().find(|(name, _)| &**name == OTHER).unwrap();
        assert_eq!(other.stored.get(), 2);
        metrics.source(&name(3)).stored();
        assert_eq!(other.stored.get(), 2, "a known name keeps its handle");
    }
}
