//! The worker that does the steps of all jobs, in turns. It begins where the last process ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir_core::job::{JobKind, JobTask, ReplayJob, StepOutcome};
use weir_store::StoreError;
use weir_store::registry::EntryKind;

use super::{JobError, Jobs, step};
use crate::context::HubContext;
use crate::routing::Routes;

/// Time after a step without a rate, so that other writes do not wait.
const BREATH: Duration = Duration::from_millis(10);
/// The first and the longest time before a step that failed is tried again.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The longest time without a look at the jobs.
const LOOK: Duration = Duration::from_secs(60);

/// The dependencies of [`JobWorker`] besides the [`HubContext`].
#[derive(Debug)]
pub struct Deps {
    pub routes: Arc<Routes>,
}

/// Does the steps of jobs.
#[derive(Debug)]
pub struct JobWorker {
    ctx: HubContext,
    deps: Deps,
    jobs: Jobs,
    turns: BTreeMap<String, Turn>,
}

/// The next turn of a job.
#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    /// On the monotonic clock.
    at: Duration,
    /// Failures in a row.
    failures: u32,
}

impl JobWorker {
    #[must_use]
    pub fn new(ctx: HubContext, deps: Deps) -> Self {
        let jobs = Jobs::new(ctx.store.clone(), ctx.clock.clone());
        Self { ctx, deps, jobs, turns: BTreeMap::new() }
    }

    /// Works until claiming stops. A step that is interrupted is repeated at the next start.
    pub async fn run(mut self) {
        let drain = self.ctx.drain.clone();
        tokio::select! {
            () = drain.claiming_stopped() => {}
            () = self.work_forever() => {}
        }
    }

    async fn work_forever(&mut self) {
        let mut changes = self.ctx.store.watch(EntryKind::Job);
        loop {
            changes.borrow_and_update();
            let wait = self.round().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "jobs cannot be read; trying again");
                RETRY.1
            });
            tokio::select! {
                _changed = changes.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Gives each job whose turn it is one task. Returns the time until the next turn.
    async fn round(&mut self) -> Result<Duration, StoreError> {
        let mut jobs = self.jobs.list().await?;
        jobs.retain(|(_, job)| job.task() != JobTask::Rest);
        self.turns.retain(|name, _| jobs.iter().any(|(one, _)| one == name));
        for (name, job) in &jobs {
            let turn = self.turns.get(name).copied().unwrap_or_default();
            if turn.at > self.ctx.clock.monotonic() {
                continue;
            }
            let next = match self.task(name, job).await {
                Ok(at) => Turn { at, failures: 0 },
                Err(error) => self.after_failure(name, turn.failures, &error).await,
            };
            self.turns.insert(name.clone(), next);
        }
        let now = self.ctx.clock.monotonic();
        let waits = self.turns.values().map(|turn| turn.at.saturating_sub(now));
        Ok(waits.min().unwrap_or(LOOK).min(LOOK))
    }

    /// Does the next task of a job. Returns the time of its next turn.
    async fn task(&self, name: &str, job: &ReplayJob) -> Result<Duration, JobError> {
        let store = &*self.ctx.store;
        let began = self.ctx.clock.monotonic();
        let table = self.deps.routes.current();
        match job.task() {
            JobTask::Rest => Ok(began),
            JobTask::Plan => {
                let planned = step::plan(store, &job.order, job.cursor.clone(), &table).await?;
                self.change(name, |job| job.plan(planned.clone())).await?;
                Ok(began)
            }
            JobTask::Withdraw => self.withdraw(name, job).await.map(|()| began),
            JobTask::Do(step) => {
                let key = job.step_key(name);
                match step::carry_out(store, &job.order, step, key, &table).await? {
                    Ok(outcome) => self.count(name, job.steps, outcome).await?,
                    Err(step::TooLarge) => self.change(name, ReplayJob::withdraw).await?,
                }
                let time_of =
                    |rate: weir_core::job::JobRate| rate.time_of(step.members.len() as u64);
                Ok(began + job.order.rate.map_or(BREATH, time_of))
            }
        }
    }

    async fn withdraw(&self, name: &str, job: &ReplayJob) -> Result<(), JobError> {
        match step::withdraw(&*self.ctx.store, job.step_key(name)).await? {
            0 => self.change(name, |stored| stored.drop_step(job.steps)).await,
            deliveries => {
                let members = job.step.as_ref().map_or(0, |step| step.members.len() as u64);
                let skipped = match job.order.kind {
                    JobKind::DeadLetters => members.saturating_sub(deliveries),
                    JobKind::Events | JobKind::Unrouted => 0,
                };
                self.count(name, job.steps, StepOutcome { deliveries, skipped }).await
            }
        }
    }

    async fn count(&self, name: &str, steps: u64, outcome: StepOutcome) -> Result<(), JobError> {
        let now = self.ctx.clock.now();
        let job = self.changed(name, |job| job.count_step(steps, outcome, now)).await?;
        self.ctx.metrics.job_deliveries(outcome.deliveries);
        if job.state.is_over() {
            let progress = job.progress;
            tracing::info!(%name, state = %job.state, done = progress.done,
                deliveries = progress.deliveries, "job ended");
        }
        Ok(())
    }

    async fn after_failure(&self, name: &str, failures: u32, error: &JobError) -> Turn {
        if let JobError::Store(StoreError::Invalid(why)) = error {
            tracing::error!(%name, reason = %why, "job failed: a step cannot be done");
            let now = self.ctx.clock.now();
            if let Err(error) = self.change(name, |job| job.fail(why, now)).await {
                tracing::warn!(%error, %name, "the failure of a job is not stored");
            }
        } else {
            tracing::warn!(%error, %name, "a step of a job was not done; trying again");
        }
        let (first, longest) = RETRY;
        let wait = first.saturating_mul(1 << failures.min(10)).min(longest);
        Turn { at: self.ctx.clock.monotonic() + wait, failures: failures.saturating_add(1) }
    }

    async fn change(&self, name: &str, change: impl Fn(&mut ReplayJob)) -> Result<(), JobError> {
        self.changed(name, change).await.map(drop)
    }

    async fn changed(
        &self,
        name: &str,
        change: impl Fn(&mut ReplayJob),
    ) -> Result<ReplayJob, JobError> {
        let change = |job: &mut ReplayJob| {
            change(job);
            Ok(())
        };
        self.jobs.change(name, change).await
    }
}
