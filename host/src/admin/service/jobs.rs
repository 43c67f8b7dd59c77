//! Jobs: the list, making one, counting what one would go through, and the acts on one.
//!
//! Not here: the work of a job, which is in `crate::jobs`.

use serde_json::Map;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, watch};
use weir_core::job::{JobAct, JobFilter, JobKind, JobOrder, JobState, ReplayJob};
use weir_core::name::Target;
use weir_store::query::{BoundedCount, PageRequest};
use weir_store::registry::EntryKind;

use super::live::STREAMS_MAX;
use super::replay::due_again;
use super::{AdminService, Principal};
use crate::admin::error::ApiError;
use crate::api::params::{Limit, PointInTime, request_key};
use crate::api::{CountJobBody, CreateJobBody, JobCount, JobFilterBody, JobView, ListPage};
use crate::{jobs, routing};

/// Events to which the rules are applied in one count: a few seconds, if the rules read payloads.
const TRIED_MAX: u64 = 10_000;

/// One reader's view of a job as it changes.
#[derive(Debug)]
pub(crate) struct LiveJob {
    name: String,
    changes: watch::Receiver<u64>,
    last: Option<JobView>,
    _permit: OwnedSemaphorePermit,
}

impl AdminService {
    /// Jobs: those that are not over first, then the newest.
    pub(crate) async fn jobs(&self) -> Result<ListPage<JobView>, ApiError> {
        let jobs = self.jobs.list().await?;
        Ok(ListPage::whole(jobs.iter().map(|(name, job)| view(name, job))))
    }

    /// The number of jobs that are running or paused, by state.
    pub(super) async fn job_counts(&self) -> Vec<(&'static str, u64)> {
        let jobs = self.jobs.list().await.unwrap_or_default();
        let states = [JobState::Running, JobState::Paused];
        states.map(|state| (state.as_str(), jobs::in_state(&jobs, state))).into()
    }

    /// The number of jobs that are not over. None if the store does not answer.
    pub(super) async fn unfinished_jobs(&self) -> Option<u64> {
        let jobs = self.jobs.list().await.ok()?;
        Some(jobs.iter().filter(|(_, job)| !job.state.is_over()).count() as u64)
    }

    /// One job.
    pub(crate) async fn job(&self, name: &str) -> Result<JobView, ApiError> {
        let job = self.jobs.get(name).await?;
        let unknown = || jobs::JobError::Unknown(name.to_owned());
        Ok(view(name, &job.ok_or_else(unknown)?))
    }

    /// Counts the members that a job would have, and applies the rules of now to the newest.
    pub(crate) async fn count_job(&self, body: CountJobBody) -> Result<JobCount, ApiError> {
        let CountJobBody { what, filter, to } = body;
        let name = String::new();
        let body = CreateJobBody { name, what, filter, to, new_ids: false, rate: None };
        let order = self.order(body).await?;
        let BoundedCount { count, more } = self.jobs.count(&order).await?;
        if what == JobKind::DeadLetters {
            return Ok(JobCount { count, more, tried: count, routed: count, deliveries: count });
        }
        let mut answer = JobCount { count, more, ..JobCount::default() };
        let (table, filter) = (self.routes.current(), jobs::events_of(&order));
        let mut after = None;
        loop {
            let page = PageRequest { limit: Limit::MAX, after };
            let found = self.store.events(filter.clone(), page).await?;
            for event in &found.items {
                answer.tried += 1;
                if !order.filter.means(&event.source) {
                    continue;
                }
                let mut rerouted = routing::reroute(&*self.store, event, &table).await?;
                if let Some(to) = &order.to {
                    rerouted.routed = routing::only_to(to, rerouted.routed);
                }
                answer.routed += u64::from(!rerouted.routed.deliveries.is_empty());
                answer.deliveries += due_again(event, &rerouted) as u64;
            }
            after = found.next;
            if after.is_none() || answer.tried >= TRIED_MAX {
                return Ok(answer);
            }
        }
    }

    /// Makes a job, or returns the one that was made by the same request before. Also returns true
    /// if it was made now.
    pub(crate) async fn create_job(
        &self,
        body: CreateJobBody,
        by: Principal,
    ) -> Result<(JobView, bool), ApiError> {
        let name = body.name.clone();
        let result = self.do_create_job(body, &by).await;
        let mut detail = Map::new();
        if let Ok((job, _)) = &result {
            detail.insert("what".to_owned(), job.what.as_str().into());
            detail.insert("total".to_owned(), job.total.into());
        }
        self.record(&by, "job_create", &name, &result, detail).await;
        result
    }

    async fn do_create_job(
        &self,
        body: CreateJobBody,
        by: &Principal,
    ) -> Result<(JobView, bool), ApiError> {
        let name = body.name.clone();
        let invalid = |why| ApiError::bad_request("invalid_job_name", format!("`name`: {why}"));
        request_key(&name).map_err(invalid)?;
        let order = self.order(body).await?;
        let (job, is_new) = self.jobs.create(&name, order, by.as_str()).await?;
        if is_new {
            let (what, total) = (job.order.kind, job.progress.total);
            tracing::info!(%name, %what, total, %by, "job created");
        }
        Ok((view(&name, &job), is_new))
    }

    /// Pauses, resumes or cancels a job.
    pub(crate) async fn act_on_job(
        &self,
        name: &str,
        act: JobAct,
        by: Principal,
    ) -> Result<JobView, ApiError> {
        let recorded = match act {
            JobAct::Pause => "job_pause",
            JobAct::Resume => "job_resume",
            JobAct::Cancel => "job_cancel",
        };
        let result = self.jobs.act(name, act).await.map_err(ApiError::from);
        let job = self.recorded(&by, recorded, name, result).await?;
        tracing::info!(%name, state = %job.state, %by, "state of a job set");
        Ok(view(name, &job))
    }

    /// Begins to follow a job.
    pub(crate) async fn live_job(&self, name: &str) -> Result<LiveJob, ApiError> {
        self.job(name).await?;
        let permit = self.streams.clone().try_acquire_owned().map_err(|_| {
            let detail = format!("there are {STREAMS_MAX} streams already; close one");
            ApiError::transient("too_many_streams", detail)
        })?;
        let changes = self.store.watch(EntryKind::Job);
        Ok(LiveJob { name: name.to_owned(), changes, last: None, _permit: permit })
    }

    /// The job, once it differs from the last time. None after its end.
    pub(crate) async fn next_of_job(
        &self,
        live: &mut LiveJob,
    ) -> Result<Option<JobView>, ApiError> {
        if live.last.as_ref().is_some_and(|job| job.state.is_over()) {
            return Ok(None);
        }
        loop {
            live.changes.borrow_and_update();
            let job = self.job(&live.name).await?;
            if live.last.as_ref() != Some(&job) {
                live.last = Some(job.clone());
                return Ok(Some(job));
            }
            if live.changes.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// The order that a body means now.
    async fn order(&self, body: CreateJobBody) -> Result<JobOrder, ApiError> {
        let asked = asked(&body);
        let CreateJobBody { name: _, what: kind, filter, to, new_ids, rate } = body;
        let unfit = match kind {
            JobKind::DeadLetters if to.is_some() => {
                Some("`to` is for events, not for dead letters")
            }
            JobKind::Unrouted if !filter.target.is_empty() => {
                Some("`target`: an unrouted event has no delivery")
            }
            JobKind::DeadLetters | JobKind::Unrouted if !filter.status.is_empty() => {
                Some("`status` is for events only")
            }
            _ => None,
        };
        if let Some(detail) = unfit {
            return Err(ApiError::bad_request("malformed", detail));
        }
        self.check_sources(filter.source.values()).await?;
        self.check_targets(filter.target.values()).await?;
        if let Some(to) = &to {
            self.known_names().check_target(&Target::Destination(to.clone()))?;
        }
        let now = self.clock.now();
        let filter = JobFilter {
            sources: filter.source.into_values(),
            kinds: filter.kind.into_values(),
            categories: filter.category.into_values(),
            statuses: filter.status.into_values(),
            targets: filter.target.into_values(),
            keys: filter.key.into_values(),
            since: filter.since.map(|moment| moment.resolve(now)),
            until: filter.until.map(|moment| moment.resolve(now)),
        };
        Ok(JobOrder { kind, filter, to, new_ids, rate, asked })
    }
}

/// Stands for the words of an order, apart from its name.
fn asked(body: &CreateJobBody) -> Box<str> {
    let unnamed = CreateJobBody { name: String::new(), ..body.clone() };
    // Plain data always serializes.
    let text = serde_json::to_vec(&unnamed).unwrap_or_default();
    hex::encode(&Sha256::digest(text)[..16]).into()
}

fn view(name: &str, job: &ReplayJob) -> JobView {
    let ReplayJob { order, progress, .. } = job.clone();
    let filter = order.filter;
    JobView {
        name: name.to_owned(),
        what: order.kind,
        state: job.state,
        filter: JobFilterBody {
            source: filter.sources.into(),
            kind: filter.kinds.into(),
            category: filter.categories.into(),
            status: filter.statuses.into(),
            target: filter.targets.into(),
            key: filter.keys.into(),
            since: filter.since.map(PointInTime::At),
            until: filter.until.map(PointInTime::At),
        },
        to: order.to,
        new_ids: order.new_ids,
        rate: order.rate,
        total: progress.total,
        more: progress.more,
        done: progress.done,
        skipped: progress.skipped,
        deliveries: progress.deliveries,
        created_at: job.created_at,
        created_by: job.created_by.as_ref().into(),
        ended_at: job.ended_at,
        problem: job.problem.as_deref().map(Into::into),
    }
}
