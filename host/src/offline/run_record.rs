//! A finished run as plain data: its end, effects, reads, log and cost.

use serde::{Deserialize, Serialize};
use weir_core::delivery::{Outcome, Verdict};
use weir_core::time::Timestamp;
use weir_engine::{LogLine, RunReport};

use super::effect_record::EffectRecord;
use super::handler::OfflineRun;

/// A finished run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecordedRun {
    pub(crate) outcome: Outcome,
    /// True if the hub would run the event again, until the attempts of its policy are used up.
    pub(crate) retryable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Seconds that it asked to wait before the next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after: Option<u64>,
    /// None unless it succeeded.
    pub(crate) effects: Vec<EffectRecord>,
    pub(crate) reads: Vec<StateRead>,
    pub(crate) listings: Vec<StateListing>,
    pub(crate) log: Vec<LogRecord>,
    /// True if a line of the log was cut or left out.
    pub(crate) log_truncated: bool,
    /// Wall time in microseconds.
    pub(crate) wall_us: u64,
    /// Processor time in microseconds.
    pub(crate) processor_us: u64,
    /// The most linear memory it used, in bytes.
    pub(crate) memory_peak: u64,
}

/// A key that a run read, with the value that it saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateRead {
    pub(crate) key: String,
    /// None if there was no such key.
    pub(crate) value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<Timestamp>,
}

/// A listing of stored keys that a run read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateListing {
    pub(crate) prefix: String,
    pub(crate) after: String,
    pub(crate) keys: Vec<String>,
}

/// A line of a run's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogRecord {
    pub(crate) level: String,
    pub(crate) message: String,
}

impl RecordedRun {
    /// The record of a run that started at `now`.
    pub(crate) fn of(run: &OfflineRun, now: Timestamp) -> Self {
        let OfflineRun { report, processor_time } = run;
        let micros =
            |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            outcome: report.outcome(),
            retryable: matches!(report.verdict(), Verdict::TryAgain { .. }),
            reason: report.reason().map(str::to_owned),
            retry_after: report.retry_after.map(|wait| wait.as_secs()),
            effects: EffectRecord::of_effects(&report.effects, now),
            reads: reads(report),
            listings: listings(report),
            log: report.log.lines.iter().map(LogRecord::of).collect(),
            log_truncated: report.log.truncated,
            wall_us: micros(report.duration),
            processor_us: micros(*processor_time),
            memory_peak: report.memory_peak as u64,
        }
    }
}

impl LogRecord {
    fn of(line: &LogLine) -> Self {
        Self { level: line.level.to_string(), message: line.message.to_string() }
    }
}

fn reads(report: &RunReport) -> Vec<StateRead> {
    let keys = report.reads.keys.iter().map(|(key, _)| key.to_string());
    keys.zip(&report.values_read)
        .map(|(key, entry)| StateRead {
            key,
            value: entry.as_ref().map(|entry| entry.value.to_string()),
            expires_at: entry.as_ref().and_then(|entry| entry.expires_at),
        })
        .collect()
}

fn listings(report: &RunReport) -> Vec<StateListing> {
    let ranges = report.reads.ranges.iter();
    ranges
        .map(|range| StateListing {
            prefix: range.prefix.to_string(),
            after: range.after.to_string(),
            keys: range.keys.iter().map(ToString::to_string).collect(),
        })
        .collect()
}
