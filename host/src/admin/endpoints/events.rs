//! `/api/v1/events`.

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use weir_core::id::EventId;

use super::{
    ApiError, Json, JsonResult, NoQuery, PathText, Principal, Query, Service, json_bytes,
    json_response,
};
use crate::api::schema;
use crate::api::{
    AttemptReadsView, CountAnswer, EventAnswer, EventQuery, EventView, EventsQuery, ExportPage,
    ExportQuery, ListPage, RerunAnswer, WhyAnswer,
};

/// Events, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "events",
    params(EventsQuery),
    responses((status = 200, body = ListPage<EventView>, description = "A page of events"))
)]
pub(super) async fn list(
    service: Service,
    Query(query): Query<EventsQuery>,
) -> JsonResult<ListPage<EventView>> {
    Ok(Json(service.events(query).await?))
}

/// The number of events that the same parameters match.
#[utoipa::path(
    get,
    path = "/api/v1/events/count",
    tag = "events",
    params(EventsQuery),
    responses((status = 200, body = CountAnswer, description = "The number"))
)]
pub(super) async fn count(
    service: Service,
    Query(query): Query<EventsQuery>,
) -> JsonResult<CountAnswer> {
    Ok(Json(service.count_events(query).await?))
}

/// Whole events, oldest first, as handlers get them.
#[utoipa::path(
    get,
    path = "/api/v1/events/export",
    tag = "events",
    params(ExportQuery),
    responses((status = 200, body = ExportPage, description = "A page of events"))
)]
pub(super) async fn export(
    service: Service,
    Query(query): Query<ExportQuery>,
) -> Result<Response, ApiError> {
    let permit = service.payload_permit()?;
    let bytes = json_bytes(&service.export(query).await?)?;
    Ok(json_response(with_permit(bytes, permit)))
}

/// The state that the run of an attempt read.
#[utoipa::path(
    get,
    path = "/api/v1/attempts/{id}/reads",
    tag = "deliveries",
    params(("id" = schema::AttemptIdText, Path, description = "The id of an attempt")),
    responses((status = 200, body = AttemptReadsView, description = "The reads"))
)]
pub(super) async fn reads(
    service: Service,
    path: PathText,
    _: NoQuery,
) -> JsonResult<AttemptReadsView> {
    Ok(Json(service.attempt_reads(path.id()?).await?))
}

/// Repeats a past run of a handler with the same input. Carries nothing out.
#[utoipa::path(
    post,
    path = "/api/v1/attempts/{id}/rerun",
    tag = "deliveries",
    params(("id" = schema::AttemptIdText, Path, description = "The id of an attempt")),
    responses((status = 200, body = RerunAnswer, description = "The result"))
)]
pub(super) async fn rerun(
    service: Service,
    by: Principal,
    path: PathText,
    _: NoQuery,
) -> JsonResult<RerunAnswer> {
    Ok(Json(service.rerun(path.id()?, by).await?))
}

/// Everything about an event.
#[utoipa::path(
    get,
    path = "/api/v1/events/{id}",
    tag = "events",
    params(
        (
            "id" = String,
            Path,
            description = "The id of an event or of a part of it, or the sender's own"
        ),
        EventQuery
    ),
    responses((status = 200, body = EventAnswer, description = "The thing with this id"))
)]
pub(super) async fn show(
    service: Service,
    PathText(id): PathText,
    Query(EventQuery { full }): Query<EventQuery>,
) -> Result<Response, ApiError> {
    if full != Some(true) {
        return Ok(json_response(json_bytes(&service.event(&id, false).await?)?));
    }
    let permit = service.payload_permit()?;
    let bytes = json_bytes(&service.event(&id, true).await?)?;
    Ok(json_response(with_permit(bytes, permit)))
}

/// Sends a body as a file to save. A browser must not show it: the sender wrote it.
#[utoipa::path(
    get,
    path = "/api/v1/events/{id}/body",
    tag = "events",
    params(("id" = schema::EventIdText, Path, description = "The id of an event")),
    responses(
        (
            status = 200,
            body = Vec<u8>,
            content_type = "application/octet-stream",
            description = "The bytes"
        )
    )
)]
pub(super) async fn body(
    service: Service,
    path: PathText,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let event: EventId = path.id()?;
    let permit = service.payload_permit()?;
    let bytes = service.event_body(event).await?;
    let name = HeaderValue::try_from(format!("attachment; filename=\"{event}.bin\""))
        .map_err(|_| ApiError::of_status(StatusCode::INTERNAL_SERVER_ERROR))?;
    let kind = HeaderValue::from_static("application/octet-stream");
    let headers = [(CONTENT_TYPE, kind), (CONTENT_DISPOSITION, name)];
    Ok((headers, with_permit(bytes, permit)).into_response())
}

/// Where an event was routed and why, and what its deliveries wait for.
#[utoipa::path(
    get,
    path = "/api/v1/events/{id}/why",
    tag = "events",
    params(
        (
            "id" = String,
            Path,
            description = "The id of an event or of a part of it, or the sender's own"
        )
    ),
    responses((status = 200, body = WhyAnswer, description = "The explanation"))
)]
pub(super) async fn why(
    service: Service,
    PathText(id): PathText,
    _: NoQuery,
) -> JsonResult<WhyAnswer> {
    Ok(Json(service.why(&id).await?))
}

/// Bytes that hold a permit until they are sent or the client is gone.
struct PermittedBytes {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

/// The same bytes, which give the permit back when they are dropped.
pub(super) fn with_permit(bytes: Bytes, permit: OwnedSemaphorePermit) -> Bytes {
    Bytes::from_owner(PermittedBytes { bytes, _permit: permit })
}

impl AsRef<[u8]> for PermittedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
