//! `/api/v1/handlers`, `/api/v1/destinations`, `/api/v1/inbox`, `/api/v1/unreadable`: short lists, given whole; and `/api/v1/time/confirm`.

use serde_json::{Value, json};

use super::{ApiResult, ServiceState, StatusCode, Uri, json, query, views};
use crate::admin::standing;

/// Handlers with their versions and states.
pub(in crate::admin) async fn handlers(hub: ServiceState, uri: Uri) -> ApiResult {
    query::none(uri.query())?;
    items(standing::handlers(&hub).await)
}

/// Destinations, and whether they are sent to.
pub(in crate::admin) async fn destinations(hub: ServiceState, uri: Uri) -> ApiResult {
    query::none(uri.query())?;
    items(standing::destinations(&hub).await)
}

/// What was sent to inboxes.
pub(in crate::admin) async fn inbox(hub: ServiceState, uri: Uri) -> ApiResult {
    query::none(uri.query())?;
    items((hub.inbox)())
}

/// Rows of the store that could not be read and were set aside.
pub(in crate::admin) async fn unreadable(hub: ServiceState, uri: Uri) -> ApiResult {
    query::none(uri.query())?;
    items(hub.store.unreadable().iter().map(views::unreadable).collect())
}

/// A person says that the clock of this machine is right, after it jumped or the hub was off for days.
pub(in crate::admin) async fn confirm_time(hub: ServiceState, uri: Uri) -> ApiResult {
    query::none(uri.query())?;
    let now = hub.clock.now();
    hub.store.confirm_time().await?;
    tracing::info!(%now, "an operator says that the clock is right");
    json::answer(StatusCode::OK, &json!({ "time": now }))
}

pub(super) fn items(items: Value) -> ApiResult {
    json::answer(StatusCode::OK, &json!({ "items": items, "next": null }))
}
