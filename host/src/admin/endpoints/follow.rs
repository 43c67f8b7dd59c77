//! `/api/v1/events/follow`: for clients that must not miss an event.

use axum::response::Response;
use http::HeaderMap;

use super::events::with_permit;
use super::{ApiError, Query, Service, json_bytes, json_response};
use crate::api::{FollowPage, FollowQuery};

/// Whole events in the order in which they were stored, from a cursor on, without gaps. Each has
/// the cursor from which to go on after it.
#[utoipa::path(
    get,
    path = "/api/v1/events/follow",
    tag = "events",
    params(FollowQuery),
    responses((status = 200, body = FollowPage, description = "The next events"))
)]
pub(super) async fn follow(
    service: Service,
    headers: HeaderMap,
    Query(query): Query<FollowQuery>,
) -> Result<Response, ApiError> {
    let (page, permit) = service.follow(query, &headers).await?;
    Ok(json_response(with_permit(json_bytes(&page)?, permit)))
}
