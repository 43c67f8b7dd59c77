//! `/api/v1/handlers`, `/api/v1/destinations`, `/api/v1/inbox`: short lists, given whole.

use serde_json::{Value, json};

use super::{Answer, Hub, StatusCode, Uri, json, query};

/// Handlers with their versions and states.
pub(in crate::admin) async fn handlers(hub: Hub, uri: Uri) -> Answer {
    query::none(uri.query())?;
    items((hub.handlers)())
}

/// Destinations, and whether they are sent to.
pub(in crate::admin) async fn destinations(hub: Hub, uri: Uri) -> Answer {
    query::none(uri.query())?;
    items((hub.destinations)())
}

/// What was sent to inboxes.
pub(in crate::admin) async fn inbox(hub: Hub, uri: Uri) -> Answer {
    query::none(uri.query())?;
    items((hub.inbox)())
}

pub(super) fn items(items: Value) -> Answer {
    json::answer(StatusCode::OK, &json!({ "items": items, "next": null }))
}
