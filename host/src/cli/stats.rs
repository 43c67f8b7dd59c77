//! `weir stats`: counts and durations of sources, handlers and destinations.

use weir_core::name::{SourceName, Target};

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use crate::api::params::{PointInTime, Step};
use crate::api::{DurationStats, SourceCounts, StatsAnswer, StatsQuery, TargetCounts};
use crate::program::output::{Output, or_dash, table};

/// Show what arrived and what was tried: counts, rates and durations
///
/// The hub adds its counts up by the minute and keeps minutes for a day and hours for nine days.
/// `--json` prints every step, for charts.
#[derive(Debug, Clone, clap::Args)]
pub struct StatsArgs {
    /// Begin, such as 24h or 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN", default_value = "1h")]
    pub since: PointInTime,
    /// End, such as 1h or 2026-11-23T16:00:00Z; default: now
    #[arg(long, value_name = "WHEN")]
    pub until: Option<PointInTime>,
    /// Length of a step in the JSON: 1m to 1h, or whole hours
    #[arg(long, value_name = "DURATION")]
    pub step: Option<Step>,
    /// One source only
    #[arg(long)]
    pub source: Option<SourceName>,
    /// One target only: handler:NAME or destination:NAME
    #[arg(long)]
    pub target: Option<Target>,
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn run(args: &StatsArgs, output: Output) -> Result<(), CommandError> {
    let query = StatsQuery {
        since: Some(args.since),
        until: args.until,
        step: args.step,
        source: args.source.clone(),
        target: args.target.clone(),
    };
    let stats: StatsAnswer = AdminClient::find(&args.hub)?.query("/api/v1/stats", &query).await?;
    output.answer(&stats, show);
    Ok(())
}

fn show(stats: &StatsAnswer) -> String {
    let mut parts = Vec::new();
    if !stats.sources.is_empty() {
        let headings = [
            "SOURCE",
            "RECEIVED",
            "ACCEPTED",
            "REFUSED",
            "DUPLICATES",
            "PER SECOND",
            "P50 MS",
            "P90 MS",
            "P99 MS",
        ];
        let rows: Vec<_> = stats.sources.iter().map(|of| source(&of.name, &of.total)).collect();
        parts.push(table(&headings, &rows));
    }
    if !stats.targets.is_empty() {
        let headings = [
            "TARGET",
            "ATTEMPTS",
            "SUCCEEDED",
            "FAILED",
            "DEAD",
            "PER SECOND",
            "P50 MS",
            "P90 MS",
            "P99 MS",
        ];
        let rows: Vec<_> = stats.targets.iter().map(|of| target(&of.name, &of.total)).collect();
        parts.push(table(&headings, &rows));
    }
    if parts.is_empty() {
        return "nothing was counted in this time".to_owned();
    }
    if let Some(levels) = stats.hub.iter().rev().flatten().next() {
        parts.push(format!(
            "waiting {}, dead letters {}, oldest waiting {} s",
            levels.waiting, levels.dead_letters, levels.oldest_waiting_seconds
        ));
    }
    parts.join("\n\n")
}

fn source(name: &str, counts: &SourceCounts) -> Vec<String> {
    let SourceCounts { received, accepted, refused, duplicates, .. } = counts;
    let numbers = [received, accepted, refused, duplicates].map(ToString::to_string);
    row(name, numbers, counts.rate, counts.acknowledged)
}

fn target(name: &str, counts: &TargetCounts) -> Vec<String> {
    let TargetCounts { attempts, succeeded, failed, dead_letters, .. } = counts;
    let numbers = [attempts, succeeded, failed, dead_letters].map(ToString::to_string);
    row(name, numbers, counts.rate, counts.attempt)
}

fn row(name: &str, numbers: [String; 4], rate: f64, took: DurationStats) -> Vec<String> {
    let ms =
        [took.p50_ms, took.p90_ms, took.p99_ms].map(|ms| or_dash(ms.map(|ms| format!("{ms:.1}"))));
    let mut row = vec![name.to_owned()];
    row.extend(numbers);
    row.push(format!("{rate:.3}"));
    row.extend(ms);
    row
}

#[cfg(test)]
mod tests {
    use weir_core::time::Timestamp;

    use super::*;
    use crate::api::{HubLevels, SourceStats};

    fn stats(sources: Vec<SourceStats>) -> StatsAnswer {
        let levels = HubLevels { waiting: 3, dead_letters: 1, oldest_waiting_seconds: 7 };
        StatsAnswer {
            from: Timestamp::from_millis(0),
            to: Timestamp::from_millis(60_000),
            step_seconds: 60,
            times: vec![Timestamp::from_millis(0)],
            hub: vec![Some(levels)],
            sources,
            targets: Vec::new(),
        }
    }

    #[test]
    fn totals_of_each_source_are_a_row() {
        let acknowledged = DurationStats { p50_ms: Some(1.25), p90_ms: Some(2.0), p99_ms: None };
        let total = SourceCounts {
            received: 12,
            accepted: 10,
            refused: 2,
            rate: 0.2,
            acknowledged,
            ..SourceCounts::default()
        };
        let text =
            show(&stats(vec![SourceStats { name: "github".into(), total, steps: Vec::new() }]));
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["github", "12", "10", "2", "0", "0.200", "1.2", "2.0", "-"]);
        assert!(text.ends_with("waiting 3, dead letters 1, oldest waiting 7 s"), "{text}");
    }

    #[test]
    fn a_time_without_counts_says_so() {
        assert_eq!(show(&stats(Vec::new())), "nothing was counted in this time");
    }
}
