//! The run of one claim, and the second one under the version before while the version is on
//! probation. Both have the same inputs: the claim, its time and its seed.

use std::sync::Arc;
use std::time::Duration;

use weir_core::bounds::LOG_BYTES_PER_RUN_MAX;
use weir_core::delivery::Outcome;
use weir_core::probation::{self, PairedResult};
use weir_core::time::Timestamp;
use weir_engine::{LogLevel, LogLine, Run, RunLog, RunReport};
use weir_store::settle::NewReads;
use weir_store::{Claim, OtherRun};

use super::batch::Runner;
use super::recorded_reads::RecordingReader;
use crate::invoker::handlers::runtime::{HandlerRuntime, ServingVersion};
use crate::invoker::handlers::trial::Trial;
use crate::runtime::cpu_timed::CpuTimed;

/// The run that settles a claim, with the other one if there was one.
pub(super) struct PairedRun {
    /// The version whose run settles.
    pub(super) version: Arc<ServingVersion>,
    /// Its report. Durations are those of both runs.
    pub(super) report: RunReport,
    pub(super) core: Duration,
    /// The reads that are recorded of it.
    pub(super) reads: Option<NewReads>,
    /// The run that does not settle.
    pub(super) other: Option<OtherRun>,
    pub(super) trial: Option<TrialResult>,
}

/// The result of an event for a probation. It counts once the event is settled.
#[derive(Debug)]
pub(super) struct TrialResult {
    pub(super) trial: Arc<Trial>,
    pub(super) result: PairedResult,
    /// The reason of the failed run of the new version.
    pub(super) reason: Box<str>,
}

impl Runner {
    /// Runs a claim under the version that serves. If it fails while on probation, runs it under
    /// the version before too: if that succeeds, its result settles.
    pub(super) async fn run_paired(
        &self,
        runtime: &HandlerRuntime,
        claim: &Claim,
        version: Arc<ServingVersion>,
        (started_at, seed): (Timestamp, [u8; 32]),
    ) -> PairedRun {
        let inputs = (claim, started_at, seed);
        let OneRun { report, core, reads } = run_once(runtime, inputs, &version).await;
        let now = self.worker.ctx.clock.now();
        let Some(trial) = version.trial.clone().filter(|trial| trial.goes_on(now)) else {
            return PairedRun { version, report, core, reads, other: None, trial: None };
        };
        if !probation::is_questioned(report.outcome()) {
            let trial = trial_result(trial, &report, None);
            return PairedRun { version, report, core, reads, other: None, trial: Some(trial) };
        }
        let again = run_once(runtime, inputs, &trial.old).await;
        let OneRun { report: second, core: second_core, reads: second_reads } = again;
        let old = trial.old.clone();
        let trial = Some(trial_result(trial, &report, Some(second.outcome())));
        let core = core + second_core;
        if second.outcome() == Outcome::Ok {
            let (report, other) = joined(second, report, &version);
            let (other, reads) = (Some(other), second_reads);
            return PairedRun { version: old, report, core, reads, other, trial };
        }
        let (report, other) = joined(report, second, &old);
        PairedRun { version, report, core, reads, other: Some(other), trial }
    }
}

/// One run with its processor time and its recorded reads.
struct OneRun {
    report: RunReport,
    core: Duration,
    reads: Option<NewReads>,
}

/// Runs a claim under a version.
async fn run_once(
    runtime: &HandlerRuntime,
    (claim, started_at, seed): (&Claim, Timestamp, [u8; 32]),
    version: &ServingVersion,
) -> OneRun {
    let reads = RecordingReader::new(runtime.state.clone());
    let settings = &version.settings;
    let run = Run {
        event: claim.event.clone(),
        handler: runtime.name.clone(),
        config: settings.config.clone(),
        grants: settings.grants.clone(),
        limits: settings.limits,
        attempt: claim.fence.attempt,
        id_round: claim.id_round,
        // The attempt keeps this time, so that it can be repeated.
        now: started_at,
        seed,
        state: reads.clone(),
        command: settings.command.clone(),
    };
    let (report, core) = CpuTimed::new(version.module.run(run)).await;
    let reads = reads.finish(&report.effects.state);
    OneRun { report, core, reads }
}

fn trial_result(trial: Arc<Trial>, new: &RunReport, old: Option<Outcome>) -> TrialResult {
    let result = PairedResult::of(new.outcome(), old);
    TrialResult { trial, result, reason: new.reason().unwrap_or_default().into() }
}

/// The report that settles, with the log and the duration of the other run, and the record of the
/// other run. A failed run has no effects, and what it read decided nothing.
fn joined(
    mut settles: RunReport,
    other: RunReport,
    version: &ServingVersion,
) -> (RunReport, OtherRun) {
    let record = OtherRun {
        version: version.version().0,
        outcome: other.outcome(),
        reason: other.reason().map(Into::into),
    };
    settles.duration += other.duration;
    settles.memory_peak = settles.memory_peak.max(other.memory_peak);
    append(&mut settles.log, other.log, &version.version().to_hex()[..12]);
    (settles, record)
}

/// Appends the log of the other run, as far as both fit.
fn append(log: &mut RunLog, other: RunLog, version: &str) {
    if other.lines.is_empty() && !other.truncated {
        return;
    }
    let line = |message: String| LogLine { level: LogLevel::Info, message: message.into() };
    let mut bytes: usize = log.lines.iter().map(|line| line.message.len()).sum();
    log.lines.push(line(format!("(the log of the run under version {version}, which failed)")));
    log.truncated |= other.truncated;
    for line in other.lines {
        bytes += line.message.len();
        if bytes > LOG_BYTES_PER_RUN_MAX {
            log.truncated = true;
            return;
        }
        log.lines.push(line);
    }
}
