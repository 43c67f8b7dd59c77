//! `/api/v1/jobs`.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use axum::response::sse::Event;
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use weir_core::job::JobAct;

use super::live::streamed;
use super::{ApiError, Json, JsonBody, JsonResult, NoQuery, PathText, Principal, Service};
use crate::admin::service::AdminService;
use crate::admin::service::jobs::LiveJob;
use crate::api::{CountJobBody, CreateJobBody, JobCount, JobView, ListPage};

/// The shortest time between two frames of a job.
const FRAME_TIME: Duration = Duration::from_millis(100);
/// The longest time between two checks that the client still may read.
const CHECK_TIME: Duration = Duration::from_secs(5);
/// The time after which a client connects again.
const RECONNECT: Duration = Duration::from_secs(1);

/// The jobs that are kept: those that are not over first, then the newest.
#[utoipa::path(
    get,
    path = "/api/v1/jobs",
    tag = "jobs",
    responses((status = 200, body = ListPage<JobView>, description = "The jobs"))
)]
pub(super) async fn list(service: Service, _: NoQuery) -> JsonResult<ListPage<JobView>> {
    Ok(Json(service.jobs().await?))
}

/// Makes a job, which runs at once. The same request again is the same job.
#[utoipa::path(
    post,
    path = "/api/v1/jobs",
    tag = "jobs",
    request_body = CreateJobBody,
    responses(
        (status = 200, body = JobView, description = "The job that there was"),
        (status = 201, body = JobView, description = "The new job")
    )
)]
pub(super) async fn create(
    service: Service,
    by: Principal,
    _: NoQuery,
    JsonBody(body): JsonBody<CreateJobBody>,
) -> Result<(StatusCode, Json<JobView>), ApiError> {
    let (job, is_new) = service.create_job(body, by).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(job)))
}

/// Counts what a job would go through.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/count",
    tag = "jobs",
    request_body = CountJobBody,
    responses((status = 200, body = JobCount, description = "The numbers"))
)]
pub(super) async fn count(
    service: Service,
    _: NoQuery,
    JsonBody(body): JsonBody<CountJobBody>,
) -> JsonResult<JobCount> {
    Ok(Json(service.count_job(body).await?))
}

/// One job.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{name}",
    tag = "jobs",
    params(("name" = String, Path, description = "The name of a job")),
    responses((status = 200, body = JobView, description = "The job"))
)]
pub(super) async fn show(
    service: Service,
    PathText(name): PathText,
    _: NoQuery,
) -> JsonResult<JobView> {
    Ok(Json(service.job(&name).await?))
}

/// One job as it changes, until its end.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{name}/live",
    tag = "jobs",
    params(("name" = String, Path, description = "The name of a job")),
    responses((
        status = 200,
        body = JobView,
        content_type = "text/event-stream",
        description = "Events named `job`, each with the job as its data"
    ))
)]
pub(super) async fn live(
    service: Service,
    headers: HeaderMap,
    PathText(name): PathText,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let live = service.live_job(&name).await?;
    let follower = Follower { service: service.0.clone(), live, headers, is_first: true };
    let frames =
        stream::unfold(follower, async |mut follower| Some((Ok(follower.next().await?), follower)));
    Ok(streamed(frames))
}

/// A stream of one job with what it needs.
struct Follower {
    service: Arc<AdminService>,
    live: LiveJob,
    /// Those of the request, with the proof of its client.
    headers: HeaderMap,
    is_first: bool,
}

impl Follower {
    /// The next frame; none after the end of the job, in a drain, when the store fails, and when
    /// the client's token or session has ended.
    async fn next(&mut self) -> Option<Event> {
        let is_first = std::mem::take(&mut self.is_first);
        if !is_first {
            tokio::time::sleep(FRAME_TIME).await;
        }
        loop {
            if !self.service.identity.still_knows(&self.headers).await {
                return None;
            }
            let job = tokio::select! {
                () = self.service.drain.claiming_stopped() => return None,
                job = self.service.next_of_job(&mut self.live) => job.ok()??,
                () = tokio::time::sleep(CHECK_TIME) => continue,
            };
            let data = super::json_bytes(&job).ok()?;
            let data = std::str::from_utf8(&data).ok()?.trim_end();
            let event = Event::default().event("job").data(data);
            return Some(if is_first { event.retry(RECONNECT) } else { event });
        }
    }
}

/// Pauses a job: it keeps its place.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{name}/pause",
    tag = "jobs",
    params(("name" = String, Path, description = "The name of a job")),
    responses((status = 200, body = JobView, description = "The job"))
)]
pub(super) async fn pause(
    service: Service,
    by: Principal,
    PathText(name): PathText,
    _: NoQuery,
) -> JsonResult<JobView> {
    Ok(Json(service.act_on_job(&name, JobAct::Pause, by).await?))
}

/// Resumes a job that is paused.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{name}/resume",
    tag = "jobs",
    params(("name" = String, Path, description = "The name of a job")),
    responses((status = 200, body = JobView, description = "The job"))
)]
pub(super) async fn resume(
    service: Service,
    by: Principal,
    PathText(name): PathText,
    _: NoQuery,
) -> JsonResult<JobView> {
    Ok(Json(service.act_on_job(&name, JobAct::Resume, by).await?))
}

/// Cancels a job. The deliveries that became due already stay due.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{name}/cancel",
    tag = "jobs",
    params(("name" = String, Path, description = "The name of a job")),
    responses((status = 200, body = JobView, description = "The job"))
)]
pub(super) async fn cancel(
    service: Service,
    by: Principal,
    PathText(name): PathText,
    _: NoQuery,
) -> JsonResult<JobView> {
    Ok(Json(service.act_on_job(&name, JobAct::Cancel, by).await?))
}
