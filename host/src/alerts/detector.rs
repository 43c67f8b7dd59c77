//! Decides which counts deserve an alert. Pure: counts, routes and the time in, notices out.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_core::alert::{FailureMonitor, FailureThreshold, OutcomeCounts};
use weir_core::name::{HandlerName, SourceName};

use crate::observe::notice::Notice;
use crate::observe::source_work::SourceError;

/// Counts since the start of the process. They only rise.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Attempts by handler.
    pub(super) handlers: Vec<(HandlerName, OutcomeCounts)>,
    pub(super) sources: Vec<(SourceName, SourceReading)>,
}

/// The counts of one source.
#[derive(Debug, Default)]
pub(super) struct SourceReading {
    /// Accepted and refused requests.
    pub(super) requests: OutcomeCounts,
    /// Refused requests by code.
    pub(super) refused: Vec<(&'static str, u64)>,
    /// Attempts at its events.
    pub(super) attempts: OutcomeCounts,
    /// The last failed one.
    pub(super) error: Option<SourceError>,
    /// The share of failed attempts from which it is failing, in thousandths.
    pub(super) max_failures: u16,
    /// The likely cause for each of these codes.
    pub(super) causes: BTreeMap<&'static str, String>,
    /// Routed and unrouted events.
    pub(super) events: OutcomeCounts,
    /// Time since the last accepted request.
    pub(super) silence: Duration,
    /// The longest such time without an alert.
    pub(super) max_silence: Option<Duration>,
}

/// The shares that raise an alert.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thresholds {
    pub(super) failing: FailureThreshold,
    pub(super) refusing: FailureThreshold,
}

/// Compares counts with thresholds, and remembers its alerts.
#[derive(Debug)]
pub(super) struct Detector {
    rules: Thresholds,
    handlers: BTreeMap<HandlerName, (OutcomeCounts, FailureMonitor)>,
    sources: BTreeMap<SourceName, Source>,
}

#[derive(Debug, Default)]
struct Source {
    requests: OutcomeCounts,
    refused: BTreeMap<&'static str, u64>,
    refusing: FailureMonitor,
    attempts: OutcomeCounts,
    failing: FailureMonitor,
    events: OutcomeCounts,
    unrouted: FailureMonitor,
    /// There was an alert about its silence.
    silent: bool,
    /// Some of its events were routed.
    was_routed: bool,
    /// Its routes were removed, and there was an alert about that.
    cut_off: bool,
}

impl Detector {
    pub(super) fn new(rules: Thresholds) -> Self {
        Self { rules, handlers: BTreeMap::new(), sources: BTreeMap::new() }
    }

    /// Compares with these thresholds from now on.
    pub(super) fn set_rules(&mut self, rules: Thresholds) {
        self.rules = rules;
    }

    /// Forgets sources that no longer exist.
    pub(super) fn forget(&mut self, gone: impl Fn(&SourceName) -> bool) {
        self.sources.retain(|name, _| !gone(name));
    }

    /// Checks the counts since the last call.
    pub(super) fn look(&mut self, counted: &Counts, now: Duration) -> Vec<Notice> {
        let Thresholds { failing, refusing } = self.rules;
        let mut notices = Vec::new();
        for (name, attempts) in &counted.handlers {
            let (before, watch) = self.handlers.entry(name.clone()).or_default();
            let came = attempts.since(std::mem::replace(before, *attempts));
            if let Some(attempts) = watch.update(came, &failing, now) {
                let (handler, window) = (name.clone(), failing.window);
                notices.push(Notice::HandlerFailing { handler, attempts, window });
            }
        }
        for (name, counted) in &counted.sources {
            let source = self.sources.entry(name.clone()).or_default();
            notices.extend(source.refusing(name, counted, &refusing, now));
            notices.extend(source.failing(name, counted, &refusing, now));
            notices.extend(source.unrouted(name, counted, &refusing, now));
            notices.extend(source.silent(name, counted));
        }
        notices
    }

    /// True, in this order, if a source is failing, and if it is silent.
    pub(super) fn judged(&self, name: &SourceName) -> (bool, bool) {
        self.sources.get(name).map_or((false, false), |s| (s.failing.is_raised(), s.silent))
    }

    /// Handles a change of a source's routes. `was_routed`: one of its latest events was routed.
    /// `is_routed`: one like them would be now.
    pub(super) fn judge_routes(
        &mut self,
        name: &SourceName,
        was_routed: bool,
        is_routed: bool,
    ) -> Option<Notice> {
        let source = self.sources.entry(name.clone()).or_default();
        source.was_routed |= was_routed;
        if is_routed {
            source.cut_off = false;
            source.unrouted.reset(false);
            return None;
        }
        let alerted = source.cut_off || source.unrouted.is_raised();
        source.cut_off |= source.was_routed;
        (was_routed && !alerted).then(|| Notice::SourceUnrouted { source: name.clone() })
    }
}

impl Source {
    fn refusing(
        &mut self,
        name: &SourceName,
        counted: &SourceReading,
        too_much: &FailureThreshold,
        now: Duration,
    ) -> Option<Notice> {
        let came = counted.requests.since(std::mem::replace(&mut self.requests, counted.requests));
        let raised = self.refusing.update(came, too_much, now);
        let since = |(code, count): &(&'static str, u64)| {
            count.saturating_sub(self.refused.get(code).copied().unwrap_or(0))
        };
        let most = counted.refused.iter().max_by_key(|of_code| since(of_code));
        let code = most.map_or("other", |(code, _)| code);
        self.refused = counted.refused.iter().copied().collect();
        raised.map(|requests| Notice::SourceRefusing {
            source: name.clone(),
            requests,
            code,
            causes: counted.causes.get(code).cloned(),
            window: too_much.window,
        })
    }

    /// `judged` gives the window and the least number of attempts.
    fn failing(
        &mut self,
        name: &SourceName,
        counted: &SourceReading,
        judged: &FailureThreshold,
        now: Duration,
    ) -> Option<Notice> {
        let came = counted.attempts.since(std::mem::replace(&mut self.attempts, counted.attempts));
        let threshold = FailureThreshold { per_mille: counted.max_failures, ..*judged };
        let attempts = self.failing.update(came, &threshold, now)?;
        Some(Notice::SourceFailing {
            source: name.clone(),
            attempts,
            error: counted.error.clone(),
            window: judged.window,
        })
    }

    fn silent(&mut self, name: &SourceName, counted: &SourceReading) -> Option<Notice> {
        let SourceReading { silence, max_silence, .. } = *counted;
        let alerted =
            std::mem::replace(&mut self.silent, max_silence.is_some_and(|max| silence > max));
        (self.silent && !alerted).then(|| Notice::SourceSilent { source: name.clone(), silence })
    }

    /// True after as many events in a row as are judged at all, none of them routed.
    fn unrouted(
        &mut self,
        name: &SourceName,
        counted: &SourceReading,
        judged: &FailureThreshold,
        now: Duration,
    ) -> Option<Notice> {
        let came = counted.events.since(std::mem::replace(&mut self.events, counted.events));
        let alerted_before = self.cut_off || !(self.was_routed || came.good > 0);
        self.was_routed |= came.good > 0;
        let raised =
            self.unrouted.update(came, &FailureThreshold { per_mille: 1_000, ..*judged }, now);
        raised.filter(|_| !alerted_before).map(|_| Notice::SourceUnrouted { source: name.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLD: FailureThreshold =
        FailureThreshold { window: Duration::from_secs(300), at_least: 10, per_mille: 500 };

    fn detector() -> Detector {
        Detector::new(Thresholds { failing: THRESHOLD, refusing: THRESHOLD })
    }

    fn github() -> SourceName {
        SourceName::configured("github").unwrap()
    }

    fn tally(good: u64, bad: u64) -> OutcomeCounts {
        OutcomeCounts { good, bad }
    }

    fn events(good: u64, bad: u64) -> Counts {
        let of = SourceReading { events: tally(good, bad), ..SourceReading::default() };
        Counts { sources: vec![(github(), of)], ..Counts::default() }
    }

    fn kinds(notices: &[Notice]) -> Vec<&'static str> {
        notices.iter().map(Notice::kind).collect()
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_failing_handler_raises_one_alert() {
        let mut detector = detector();
        let orders: HandlerName = "orders".parse().unwrap();
        let counted = |good, bad| Counts {
            handlers: vec![(orders.clone(), tally(good, bad))],
            ..Counts::default()
        };
        assert!(detector.look(&counted(100, 0), secs(1)).is_empty());
        let alerted = detector.look(&counted(100, 150), secs(2));
        let attempts = tally(100, 150);
        let (handler, window) = (orders.clone(), THRESHOLD.window);
        assert_eq!(alerted, [Notice::HandlerFailing { handler, attempts, window }]);
        assert!(detector.look(&counted(100, 300), secs(3)).is_empty());
    }

    #[test]
    fn a_refusing_source_raises_an_alert_with_the_recent_code() {
        let mut detector = detector();
        let counted = |good, bad, refused: &[(&'static str, u64)]| {
            let (requests, refused) = (tally(good, bad), refused.to_vec());
            let of = SourceReading { requests, refused, ..SourceReading::default() };
            Counts { sources: vec![(github(), of)], ..Counts::default() }
        };
        let old = counted(1_000, 400, &[("body_too_large", 400)]);
        assert!(detector.look(&old, secs(1)).is_empty());
        let new = counted(1_000, 1_001, &[("body_too_large", 401), ("signature_mismatch", 600)]);
        match &detector.look(&new, secs(2))[..] {
            [Notice::SourceRefusing { code, requests, .. }] => {
                assert_eq!((*code, *requests), ("signature_mismatch", tally(1_000, 1_001)));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_source_without_routes_raises_one_alert_until_routed_again() {
        let mut detector = detector();
        assert_eq!(detector.judge_routes(&github(), false, false), None, "it never was routed");
        assert_eq!(detector.judge_routes(&github(), true, true), None);
        let cut_off = detector.judge_routes(&github(), true, false);
        assert_eq!(cut_off, Some(Notice::SourceUnrouted { source: github() }));
        assert_eq!(detector.judge_routes(&github(), true, false), None);
        assert!(detector.look(&events(0, 500), secs(1)).is_empty(), "there was an alert already");
        assert_eq!(detector.judge_routes(&github(), false, true), None);
        assert!(detector.look(&events(5, 500), secs(2)).is_empty());
        assert!(detector.judge_routes(&github(), true, false).is_some());
    }

    #[test]
    fn unrouted_events_raise_an_alert_if_the_source_was_routed_before() {
        let mut detector = detector();
        assert!(detector.look(&events(0, 50), secs(1)).is_empty(), "it was never routed");
        let mut detector = self::detector();
        assert!(detector.look(&events(5, 0), secs(1)).is_empty());
        assert!(detector.look(&events(5, 9), secs(400)).is_empty());
        assert_eq!(kinds(&detector.look(&events(5, 10), secs(401))), ["source.unrouted"]);
        assert!(detector.look(&events(5, 90), secs(402)).is_empty());
        assert_eq!(
            detector.judge_routes(&github(), true, false),
            None,
            "there was an alert already"
        );
    }

    #[test]
    fn failed_attempts_at_its_events_make_a_source_failing_until_they_end() {
        let mut detector = detector();
        let mut failing = |good, bad, at| {
            let of = SourceReading {
                attempts: tally(good, bad),
                max_failures: 100,
                ..SourceReading::default()
            };
            let counted = Counts { sources: vec![(github(), of)], ..Counts::default() };
            let kinds = kinds(&detector.look(&counted, secs(at)));
            (kinds, detector.judged(&github()).0)
        };
        assert_eq!(failing(91, 9, 1), (vec![], false), "under a tenth");
        assert_eq!(failing(91, 11, 2), (vec!["source.failing"], true));
        assert_eq!(failing(91, 20, 3), (vec![], true), "one alert");
        assert_eq!(failing(2_000, 20, 4), (vec![], false), "it recovered");
    }

    #[test]
    fn silence_raises_one_alert_if_limited() {
        let mut detector = detector();
        let mut silent = |seconds, max: Option<u64>| {
            let (silence, max_silence) = (secs(seconds), max.map(secs));
            let of = SourceReading { silence, max_silence, ..SourceReading::default() };
            let counted = Counts { sources: vec![(github(), of)], ..Counts::default() };
            kinds(&detector.look(&counted, secs(1)))
        };
        assert!(silent(9_999, None).is_empty() && silent(60, Some(60)).is_empty());
        assert_eq!(silent(61, Some(60)), ["source.silent"]);
        assert!(silent(62, Some(60)).is_empty());
        assert!(silent(1, Some(60)).is_empty());
        assert_eq!(silent(61, Some(60)), ["source.silent"], "it was well between");
    }

    #[test]
    fn a_partly_routed_source_raises_no_alert() {
        let mut detector = detector();
        for n in 1..500 {
            assert!(detector.look(&events(n, 50 * n), secs(n)).is_empty());
        }
    }
}
