//! Statistics: the roll-ups of the store and what is not in it yet, by step.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_core::name::Target;
use weir_core::time::Timestamp;
use weir_store::rollup::{HOUR, MINUTE, MINUTES_KEPT, Rollup, RollupQuery, step_start};

use super::AdminService;
use crate::admin::error::ApiError;
use crate::admin::query::QueryError;
use crate::api::params::Step;
use crate::api::{
    DurationStats, HubLevels, SourceCounts, SourceStats, StatsAnswer, StatsQuery, TargetCounts,
    TargetStats,
};
use crate::observe::percentiles::percentile;
use crate::upkeep::rollups::layout::{self, hub_peaks, source_sums, target_sums};

/// Begin of the statistics if the query has none.
const SINCE: Duration = HOUR;

/// Most steps of an answer.
const STEPS_MAX: u64 = 500;

/// Steps that an answer should have if the query does not say.
const STEPS_WANTED: u32 = 60;

/// Lengths of steps from which one is chosen.
const STEPS: [Duration; 8] = [
    MINUTE,
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(30 * 60),
    HOUR,
    Duration::from_secs(3 * 3_600),
    Duration::from_secs(6 * 3_600),
    Duration::from_secs(24 * 3_600),
];

/// Roll-ups of one series by step.
type Steps = BTreeMap<Timestamp, Rollup>;

impl AdminService {
    /// Counts and durations by step.
    pub(crate) async fn stats(&self, query: StatsQuery) -> Result<StatsAnswer, ApiError> {
        let now = self.clock.now();
        let range = Range::of(&query, now)?;
        if query.source.is_some() || query.target.is_some() {
            self.check_names(query.source.as_ref(), query.target.as_ref()).await?;
        }
        let stored = self
            .store
            .rollups(RollupQuery { from: range.from, to: range.to, step: range.step, series: None })
            .await?;
        let range = Range { step: stored.step, ..range };
        let mut series: BTreeMap<Box<str>, Steps> = BTreeMap::new();
        for (at, name, rollup) in stored.rows {
            series.entry(name).or_default().entry(at).or_default().merge(&rollup);
        }
        if range.to > now.before(MINUTE) {
            let at = step_start(now, range.step);
            for (name, rollup) in self.unsaved.rows() {
                series.entry(name).or_default().entry(at).or_default().merge(&rollup);
            }
        }
        let wanted = |name: &str| match (&query.source, &query.target) {
            (None, None) => true,
            (source, target) => {
                let named = |target: &Target| target.to_string() == name;
                source.as_ref().is_some_and(|s| layout::source_of(name) == Some(s.as_str()))
                    || target.as_ref().is_some_and(named)
            }
        };
        let hub = series.remove(layout::HUB).unwrap_or_default();
        series.retain(|name, _| wanted(name));
        Ok(answer(&range, &hub, &series))
    }
}

/// The time of an answer, and the length of its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    from: Timestamp,
    to: Timestamp,
    step: Duration,
}

impl Range {
    fn of(query: &StatsQuery, now: Timestamp) -> Result<Self, QueryError> {
        let resolve = |moment: crate::api::params::PointInTime| moment.resolve(now);
        let to = query.until.map_or(now, resolve).min(now);
        let from = query.since.map_or(to.before(SINCE), resolve);
        if from >= to {
            return Err(QueryError::invalid("since", "must be before `until` and in the past"));
        }
        let step = query.step.map_or_else(|| chosen(to.since(from)), Step::get);
        let step = if from < now.before(MINUTES_KEPT) { step.max(HOUR) } else { step };
        let range = Self { from, to, step };
        if range.len() > STEPS_MAX {
            let why = format!(
                "gives {} steps, more than {STEPS_MAX}: write a longer step or a later `since`",
                range.len()
            );
            return Err(QueryError::invalid("step", why));
        }
        Ok(range)
    }

    /// Number of steps.
    fn len(&self) -> u64 {
        let first = step_start(self.from, self.step);
        let (length, step) = (self.to.since(first), self.step);
        u64::try_from(length.as_millis().div_ceil(step.as_millis().max(1))).unwrap_or(u64::MAX)
    }

    fn times(&self) -> Vec<Timestamp> {
        let first = step_start(self.from, self.step);
        let step = weir_core::time::millis(self.step);
        (0..self.len()).map(|n| Timestamp::from_millis(first.as_millis() + n * step)).collect()
    }
}

/// The shortest step that gives at most the wanted number of steps.
fn chosen(length: Duration) -> Duration {
    let fits = |step: &&Duration| **step * STEPS_WANTED >= length;
    STEPS.iter().find(fits).copied().unwrap_or(STEPS[STEPS.len() - 1])
}

fn answer(range: &Range, hub: &Steps, series: &BTreeMap<Box<str>, Steps>) -> StatsAnswer {
    let times = range.times();
    let whole = range.to.since(range.from);
    let (mut sources, mut targets) = (Vec::new(), Vec::new());
    for (name, steps) in series {
        let step = |at: &Timestamp| steps.get(at).cloned().unwrap_or_default();
        let mut total = Rollup::default();
        times.iter().filter_map(|at| steps.get(at)).for_each(|rollup| total.merge(rollup));
        match layout::source_of(name) {
            Some(source) => sources.push(SourceStats {
                name: source.to_owned(),
                total: source_counts(&total, whole),
                steps: times.iter().map(|at| source_counts(&step(at), range.step)).collect(),
            }),
            None => targets.push(TargetStats {
                name: name.to_string(),
                total: target_counts(&total, whole),
                steps: times.iter().map(|at| target_counts(&step(at), range.step)).collect(),
            }),
        }
    }
    let hub = times.iter().map(|at| hub.get(at).map(hub_levels)).collect();
    let step_seconds = range.step.as_secs();
    StatsAnswer { from: range.from, to: range.to, step_seconds, times, hub, sources, targets }
}

/// The number at a place; zero if the list is shorter.
fn at(list: &[u64], place: usize) -> u64 {
    list.get(place).copied().unwrap_or(0)
}

fn source_counts(rollup: &Rollup, over: Duration) -> SourceCounts {
    let sum = |place| at(&rollup.sums, place);
    let (accepted, refused) = (sum(source_sums::ACCEPTED), sum(source_sums::REFUSED));
    SourceCounts {
        received: accepted + refused,
        accepted,
        refused,
        stored: sum(source_sums::STORED),
        duplicates: sum(source_sums::DUPLICATES),
        unrouted: sum(source_sums::UNROUTED),
        rate: rate(accepted + refused, over),
        acknowledged: durations(&rollup.latency),
    }
}

fn target_counts(rollup: &Rollup, over: Duration) -> TargetCounts {
    let sum = |place| at(&rollup.sums, place);
    let (succeeded, failed) = (sum(target_sums::SUCCEEDED), sum(target_sums::FAILED));
    TargetCounts {
        attempts: succeeded + failed,
        succeeded,
        failed,
        dead_letters: sum(target_sums::DEAD_LETTERS),
        rate: rate(succeeded + failed, over),
        attempt: durations(&rollup.latency),
    }
}

fn hub_levels(rollup: &Rollup) -> HubLevels {
    let peak = |place| at(&rollup.peaks, place);
    HubLevels {
        waiting: peak(hub_peaks::WAITING),
        dead_letters: peak(hub_peaks::DEAD_LETTERS),
        oldest_waiting_seconds: peak(hub_peaks::OLDEST_WAITING_MS) / 1_000,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn rate(count: u64, over: Duration) -> f64 {
    rounded(count as f64 / over.as_secs_f64().max(1.0))
}

fn durations(counts: &[u64]) -> DurationStats {
    let ms = |share| percentile(counts, share).map(|took| rounded(took.as_secs_f64() * 1e3));
    DurationStats { p50_ms: ms(0.5), p90_ms: ms(0.9), p99_ms: ms(0.99) }
}

/// Three decimals, which is more than buckets are worth.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_000);

    fn range(text: &str) -> Result<Range, QueryError> {
        Range::of(&crate::admin::query::parse(Some(text))?, NOW)
    }

    #[test]
    fn the_step_fits_the_length_of_time() {
        let step = |since: &str| range(&format!("since={since}")).unwrap().step.as_secs();
        assert_eq!(step("1h"), 60);
        assert_eq!(step("24h"), 1_800);
        assert_eq!(step("7d"), 3 * 3_600);
        assert_eq!(range("").unwrap().len(), 61, "an hour, with the begun minute");
        assert_eq!(range("since=3d&step=5m").unwrap().step, HOUR, "minutes are not kept");
    }

    #[test]
    fn too_many_steps_and_times_that_do_not_fit_are_refused() {
        for bad in ["since=20h&step=1m", "since=0s", "since=1h&until=2h", "step=90s", "step=0s"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_list_of_steps_has_the_length_of_the_times() {
        let range = range("since=1h&step=5m").unwrap();
        let times = range.times();
        let rollup = Rollup { sums: vec![30, 30], latency: vec![0, 30], ..Rollup::default() };
        let hub = Rollup { peaks: vec![4, 1, 9_999], ..Rollup::default() };
        let series: BTreeMap<Box<str>, Steps> = [
            ("source:github".into(), [(times[3], rollup.clone())].into()),
            ("handler:orders".into(), [(times[0], rollup)].into()),
        ]
        .into();
        let answer = answer(&range, &[(times[1], hub)].into(), &series);
        assert_eq!(answer.hub.len(), times.len());
        assert_eq!(answer.sources[0].steps.len(), times.len());
        assert_eq!(answer.targets[0].steps.len(), times.len());
        let levels = HubLevels { waiting: 4, dead_letters: 1, oldest_waiting_seconds: 9 };
        assert_eq!((answer.hub[0], answer.hub[1]), (None, Some(levels)));
        let step = &answer.sources[0].steps[3];
        assert_eq!((step.received, step.accepted, step.refused), (60, 30, 30));
        assert!((step.rate - 0.2).abs() < 1e-9, "60 in 5 minutes");
        assert_eq!(answer.sources[0].total.received, 60);
        assert_eq!(answer.sources[0].steps[0].acknowledged, DurationStats::default());
    }
}
