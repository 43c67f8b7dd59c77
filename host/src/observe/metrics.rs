//! What is counted, and the handles by which it is.
//!
//! A caller fetches the handle of its source or target once and keeps it: counting is then an atomic addition.
//! Names and help texts are in [`super::exposition`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use weir_core::delivery::Outcome;
use weir_core::name::{SourceName, Target};

use super::exposition::{self, ScrapedState};
use super::likely_cause::FIRST_REFUSALS;
use super::series::{Counter, CounterByCode, DurationHistogram, Gauge, OTHER};
use super::text::Format;

/// The codes of answers that took a request in. Every other code is a refusal.
pub const ACCEPTED_CODES: [&str; 3] = ["accepted", "duplicate", "handshake"];

/// Sources, and targets, that are counted apart; further ones share the handle of [`OTHER`].
pub const NAMES_MAX: usize = 2_000;

/// Everything that is counted. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    sources: RwLock<BTreeMap<Box<str>, Arc<SourceMetrics>>>,
    targets: RwLock<BTreeMap<Box<str>, Arc<TargetMetrics>>>,
    refused: CounterByCode,
    reloads: CounterByCode,
    alerts: CounterByCode,
    alerts_dropped: Counter,
    config_reloads: CounterByCode,
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
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            started: Instant::now(),
            sources: RwLock::default(),
            targets: RwLock::default(),
            refused: CounterByCode::default(),
            reloads: CounterByCode::default(),
            alerts: CounterByCode::default(),
            alerts_dropped: Counter::default(),
            config_reloads: CounterByCode::default(),
            connections: Gauge::default(),
            body_bytes: Gauge::default(),
            running: Gauge::default(),
        }))
    }

    /// The handle of a configured source. Fetch it once and keep it.
    #[must_use]
    pub fn source(&self, name: &SourceName) -> Arc<SourceMetrics> {
        handle(&self.0.sources, name.as_str(), |_| SourceMetrics::new())
    }

    /// The handle of a target. Fetch it once and keep it.
    #[must_use]
    pub fn target(&self, name: &Target) -> Arc<TargetMetrics> {
        let new = |is_named: bool| TargetMetrics {
            target: is_named.then(|| name.clone()),
            ..TargetMetrics::default()
        };
        handle(&self.0.targets, &name.to_string(), new)
    }

    /// A request for a source that is not configured was refused.
    pub fn refused_unknown_source(&self) {
        self.refused("unknown_source");
    }

    /// A request was refused before its source was known.
    pub fn refused(&self, code: &'static str) {
        self.0.refused.inc(code);
    }

    /// A module was looked at: `loaded`, `rejected`, `retired`.
    pub fn reload(&self, result: &'static str) {
        self.0.reloads.inc(result);
    }

    /// An alert was raised, of this type.
    pub fn alert(&self, kind: &'static str) {
        self.0.alerts.inc(kind);
    }

    /// Alerts were too many.
    pub fn alerts_dropped(&self, count: u64) {
        self.0.alerts_dropped.add(count);
    }

    /// Alerts raised, by type, and how many were dropped.
    #[must_use]
    pub fn alerts(&self) -> (&CounterByCode, &Counter) {
        (&self.0.alerts, &self.0.alerts_dropped)
    }

    /// Connections that are open.
    #[must_use]
    pub fn connections(&self) -> &Gauge {
        &self.0.connections
    }

    /// Bytes of request bodies in memory.
    #[must_use]
    pub fn body_bytes(&self) -> &Gauge {
        &self.0.body_bytes
    }

    /// Attempts that are running.
    #[must_use]
    pub fn running(&self) -> &Gauge {
        &self.0.running
    }

    /// How long ago this was made, which is how long the process has run.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// All sources that have a handle, by name.
    #[must_use]
    pub fn sources(&self) -> Vec<(Box<str>, Arc<SourceMetrics>)> {
        all(&self.0.sources)
    }

    /// All targets that have a handle, by name.
    #[must_use]
    pub fn targets(&self) -> Vec<(Box<str>, Arc<TargetMetrics>)> {
        all(&self.0.targets)
    }

    /// Counts nothing of these sources any more. Whoever has the handle of one goes on counting for nobody.
    pub fn forget_sources(&self, gone: impl Fn(&str) -> bool) {
        self.0.sources.write().retain(|name, _| &**name == OTHER || !gone(name));
    }

    /// What was refused before a source was known.
    #[must_use]
    pub fn refusals(&self) -> &CounterByCode {
        &self.0.refused
    }

    /// The configuration was read again: `accepted` or `refused`.
    pub fn config_reloaded(&self, result: &'static str) {
        self.0.config_reloads.inc(result);
    }

    /// Results of reading the configuration again.
    #[must_use]
    pub fn config_reloads(&self) -> &CounterByCode {
        &self.0.config_reloads
    }

    /// Results of reloads.
    #[must_use]
    pub fn reloads(&self) -> &CounterByCode {
        &self.0.reloads
    }

    /// What this process counted, as Prometheus text.
    #[must_use]
    pub fn encode(&self) -> String {
        self.encode_with(&ScrapedState::default(), Format::Prometheus)
    }

    /// The same with what was asked of others at the moment of the scrape.
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

/// What is counted of one source.
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
    pub(super) quarantined: CounterByCode,
    pub(super) replies: CounterByCode,
    /// Milliseconds between its first moment and the last request taken, plus one; 0 for never.
    last_taken: AtomicU64,
    /// Requests that were not believed, before the first that was.
    unverified: AtomicU32,
    /// What was seen of them.
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
            quarantined: CounterByCode::default(),
            replies: CounterByCode::default(),
            last_taken: AtomicU64::new(0),
            unverified: AtomicU32::new(0),
            seen: Mutex::default(),
        }
    }

    /// A request was not believed. The reason that `look` finds, if it is the one after which that is looked for: the
    /// first few were refused and none was taken.
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
        *self.seen.lock() = Some(Arc::clone(&seen));
        Some(seen)
    }

    /// Why its first requests were refused, until one is taken.
    #[must_use]
    pub fn seen(&self) -> Option<Arc<str>> {
        self.seen.lock().clone().filter(|_| self.last_taken.load(Relaxed) == 0)
    }

    /// The source was set up anew: its first requests are to come.
    pub(crate) fn reset_first_requests(&self) {
        self.unverified.store(0, Relaxed);
        *self.seen.lock() = None;
    }

    /// A request was answered with one of [`ACCEPTED_CODES`] or the code of a refusal, `took` after its head was read.
    pub fn answered(&self, code: &'static str, took: Duration) {
        self.answers.inc(code);
        if ACCEPTED_CODES.contains(&code) {
            self.taken.observe(took);
            self.last_taken.store(self.age_ms() + 1, Relaxed);
        } else {
            self.refused.observe(took);
        }
    }

    /// An event was stored.
    pub fn stored(&self) {
        self.stored.inc();
    }

    /// An event was stored already.
    pub fn duplicate(&self) {
        self.duplicate.inc();
    }

    /// An event was stored whose sender's id was seen before with another body.
    pub fn id_reused(&self) {
        self.id_reused.inc();
    }

    /// A request that was not believed was `kept` in the quarantine, or `dropped` for want of room on the way there.
    pub fn quarantined(&self, result: &'static str) {
        self.quarantined.inc(result);
    }

    /// The numbers of stored, duplicate and unrouted events.
    #[must_use]
    pub fn event_counts(&self) -> (u64, u64, u64) {
        (self.stored.get(), self.duplicate.get(), self.unrouted.get())
    }

    /// A stored event goes to nobody.
    pub fn unrouted(&self) {
        self.unrouted.inc();
    }

    /// A request of a source with a responder was answered: `replied`, or why with the provider's default answer
    /// (`silent`, `failed`, `late`, `not_run`, `not_kept`).
    pub fn replied(&self, result: &'static str) {
        self.replies.inc(result);
    }

    /// Requests taken and requests refused, since the source is there.
    #[must_use]
    pub fn answers(&self) -> (u64, u64) {
        let taken = |code: &str| ACCEPTED_CODES.contains(&code);
        (self.answers.total(taken), self.answers.total(|code| !taken(code)))
    }

    /// Requests refused, by code, since the source is there.
    #[must_use]
    pub fn refused_by_code(&self) -> Vec<(&'static str, u64)> {
        self.answers.each().filter(|(code, _)| !ACCEPTED_CODES.contains(code)).collect()
    }

    /// How long ago the last request was taken; none if there was none in this process.
    #[must_use]
    pub fn silence(&self) -> Option<Duration> {
        let at = self.last_taken.load(Relaxed).checked_sub(1)?;
        Some(Duration::from_millis(self.age_ms().saturating_sub(at)))
    }

    /// How long it is counted already: as long as the source is there, in this process.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    fn age_ms(&self) -> u64 {
        weir_core::time::millis(self.age())
    }
}

/// What is counted of one target.
#[derive(Debug, Default)]
pub struct TargetMetrics {
    /// None for the handle that further targets share.
    target: Option<Target>,
    pub(super) attempts: CounterByCode,
    /// Those of the attempts that were at an alert.
    attempts_on_alerts: CounterByCode,
    pub(super) took: DurationHistogram,
    pub(super) retries: Counter,
    pub(super) dead_letters: Counter,
    pub(super) state_conflicts: Counter,
    pub(super) superseded: Counter,
    pub(super) opened: Counter,
}

impl TargetMetrics {
    /// The target; none for the handle that further targets share.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// An attempt ended.
    pub fn attempt(&self, outcome: Outcome, took: Duration) {
        self.attempts.inc(outcome.as_str());
        self.took.observe(took);
    }

    /// An attempt that ended, and was counted, was at an alert.
    pub fn attempt_on_alert(&self, outcome: Outcome) {
        self.attempts_on_alerts.inc(outcome.as_str());
    }

    /// It will be tried again.
    pub fn retry_scheduled(&self) {
        self.retries.inc();
    }

    /// It was given up.
    pub fn dead_letter(&self) {
        self.dead_letters.inc();
    }

    /// What a run read had changed when it settled, so it ran again.
    pub fn state_conflict(&self) {
        self.state_conflicts.inc();
    }

    /// An attempt's result was refused, for another had overtaken it.
    pub fn superseded(&self) {
        self.superseded.inc();
    }

    /// It began to count as failing.
    pub fn opened(&self) {
        self.opened.inc();
    }

    /// Number of times that it began to count as failing since the process started.
    #[must_use]
    pub fn times_failing(&self) -> u64 {
        self.opened.get()
    }

    /// Attempts that worked and attempts that did not, since the process started.
    #[must_use]
    pub fn attempts(&self) -> (u64, u64) {
        split(&self.attempts)
    }

    /// The same without those at alerts.
    #[must_use]
    pub fn attempts_on_events(&self) -> (u64, u64) {
        // Alerts first: what ends meanwhile is then counted as an event's, and next time as what it is.
        let (good_alerts, bad_alerts) = split(&self.attempts_on_alerts);
        let (good, bad) = split(&self.attempts);
        (good.saturating_sub(good_alerts), bad.saturating_sub(bad_alerts))
    }
}

/// Good ones and the others.
fn split(outcomes: &CounterByCode) -> (u64, u64) {
    let ok = |code: &str| code == Outcome::Ok.as_str();
    (outcomes.total(ok), outcomes.total(|code| !ok(code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_no_sign_of_life_of_a_source() {
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
