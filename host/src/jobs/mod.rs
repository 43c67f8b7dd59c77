//! Jobs: replays of all that a filter matches, which the hub does by itself, a step at a time.
//!
//! A job is an entry of the store's registry, under its name. [`Jobs`] changes entries for
//! operators, and [`JobWorker`] does the steps. The life of a job is decided in `weir_core::job`.
//! What may not live here: decisions about single deliveries, which are the store's.

mod step;
mod worker;

pub(crate) use step::events as events_of;
pub use worker::{Deps, JobWorker};

use std::sync::Arc;

use thiserror::Error;
use weir_core::job::{JobAct, JobActRefused, JobKind, JobOrder, JobProgress, JobState, ReplayJob};
use weir_core::time::Clock;
use weir_store::query::BoundedCount;
use weir_store::registry::{CasOutcome, EntryKind, RegistryEntry};
use weir_store::{Store, StoreError};

/// Most jobs that are kept. Above this, those that ended first are removed.
pub const KEPT_MAX: usize = 100;
/// Most jobs that are not over: they take turns.
pub const UNFINISHED_MAX: usize = 16;
/// Members that are counted before a job begins.
const COUNT_MAX: u64 = 1_000_000;

/// A change of a job that was not made.
#[derive(Debug, Error)]
pub enum JobError {
    #[error("there is no job `{0}`; `weir jobs list` lists them")]
    Unknown(String),
    #[error(
        "there is a job `{0}` with another filter or other options; repeat it as it was, or choose \
         another name"
    )]
    Differs(String),
    #[error("{UNFINISHED_MAX} jobs are not over; cancel one, or wait until one has finished")]
    TooMany,
    #[error(transparent)]
    Refused(#[from] JobActRefused),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The stored jobs.
#[derive(Debug)]
pub struct Jobs {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// One job is made at a time, so that the limits hold.
    making: tokio::sync::Mutex<()>,
}

impl Jobs {
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, making: tokio::sync::Mutex::default() }
    }

    /// Every job with its name: those that are not over first, then the newest.
    pub async fn list(&self) -> Result<Vec<(String, ReplayJob)>, StoreError> {
        let mut jobs = Vec::new();
        for (name, entry) in self.store.list(EntryKind::Job).await? {
            jobs.extend(read(&name, &entry).map(|job| (name, job)));
        }
        jobs.sort_by_key(|(_, job)| (job.state.is_over(), std::cmp::Reverse(job.created_at)));
        Ok(jobs)
    }

    /// One job; none if there is none of the name.
    pub async fn get(&self, name: &str) -> Result<Option<ReplayJob>, StoreError> {
        let entry = self.store.get(EntryKind::Job, name).await?;
        Ok(entry.and_then(|entry| read(name, &entry)))
    }

    /// Counts the members that an order means now.
    pub async fn count(&self, order: &JobOrder) -> Result<BoundedCount, StoreError> {
        match order.kind {
            JobKind::DeadLetters => {
                self.store.count_deliveries(step::deliveries(order), COUNT_MAX).await
            }
            JobKind::Events | JobKind::Unrouted => {
                self.store.count_events(step::events(order), COUNT_MAX).await
            }
        }
    }

    /// Makes a job that runs at once. The same order under the same name is the job that is there,
    /// in whatever state. Returns true if it was made.
    pub async fn create(
        &self,
        name: &str,
        order: JobOrder,
        by: &str,
    ) -> Result<(ReplayJob, bool), JobError> {
        let _one_at_a_time = self.making.lock().await;
        if let Some(job) = self.get(name).await? {
            return same(name, job, &order);
        }
        self.remove_ended().await?;
        let BoundedCount { count, more } = self.count(&order).await?;
        let progress = JobProgress { total: count, more, ..JobProgress::default() };
        let job = ReplayJob::new(order, progress, by, self.clock.now());
        match self.store.cas(EntryKind::Job, name, None, Some(written(&job))).await? {
            CasOutcome::Written { .. } => Ok((job, true)),
            // Its entry cannot be read.
            CasOutcome::Conflict { .. } => Err(JobError::Differs(name.to_owned())),
        }
    }

    /// Does an act of an operator on a job.
    pub async fn act(&self, name: &str, act: JobAct) -> Result<ReplayJob, JobError> {
        let now = self.clock.now();
        self.change(name, |job| job.act(act, now)).await
    }

    /// Changes a job, whatever else changes it meanwhile.
    async fn change(
        &self,
        name: &str,
        change: impl Fn(&mut ReplayJob) -> Result<(), JobActRefused>,
    ) -> Result<ReplayJob, JobError> {
        let unknown = || JobError::Unknown(name.to_owned());
        loop {
            let entry = self.store.get(EntryKind::Job, name).await?.ok_or_else(unknown)?;
            let mut job = read(name, &entry).ok_or_else(unknown)?;
            let before = job.clone();
            change(&mut job)?;
            if job == before {
                return Ok(job);
            }
            let version = Some(entry.version);
            match self.store.cas(EntryKind::Job, name, version, Some(written(&job))).await? {
                CasOutcome::Written { .. } => return Ok(job),
                CasOutcome::Conflict { .. } => {}
            }
        }
    }

    /// Removes the jobs that ended first, so that there is room for one more.
    async fn remove_ended(&self) -> Result<(), JobError> {
        let jobs = self.list().await?;
        if jobs.iter().filter(|(_, job)| !job.state.is_over()).count() >= UNFINISHED_MAX {
            return Err(JobError::TooMany);
        }
        let mut ended: Vec<_> = jobs.iter().filter(|(_, job)| job.state.is_over()).collect();
        ended.sort_by_key(|(_, job)| job.ended_at);
        let surplus = (jobs.len() + 1).saturating_sub(KEPT_MAX);
        for (name, _) in ended.into_iter().take(surplus) {
            if let Some(entry) = self.store.get(EntryKind::Job, name).await? {
                self.store.cas(EntryKind::Job, name, Some(entry.version), None).await?;
            }
        }
        Ok(())
    }
}

/// The number of jobs in a state that is not over, for metrics.
#[must_use]
pub(crate) fn in_state(jobs: &[(String, ReplayJob)], state: JobState) -> u64 {
    jobs.iter().filter(|(_, job)| job.state == state).count() as u64
}

/// The job that is there, if it has the same order.
fn same(name: &str, job: ReplayJob, order: &JobOrder) -> Result<(ReplayJob, bool), JobError> {
    if job.order.asked == order.asked {
        return Ok((job, false));
    }
    Err(JobError::Differs(name.to_owned()))
}

fn read(name: &str, entry: &RegistryEntry) -> Option<ReplayJob> {
    let job = entry.value.as_deref().and_then(|value| serde_json::from_slice(value).ok());
    if job.is_none() {
        tracing::error!(%name, "a stored job cannot be read; it does nothing");
    }
    job
}

fn written(job: &ReplayJob) -> Vec<u8> {
    // Plain data always serializes.
    serde_json::to_vec(job).unwrap_or_default()
}

#[cfg(test)]
mod tests;
