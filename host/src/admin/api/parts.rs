//! `/api/v1/handlers`, `/api/v1/holds`, `/api/v1/inbox`: short lists, given whole.

use serde_json::{Value, json};

use super::{Answer, Hub, StatusCode, Uri, json, query, views};

/// Handlers with their versions and states.
pub(in crate::admin) async fn handlers(hub: Hub, uri: Uri) -> Answer {
    query::none(uri.query())?;
    items((hub.handlers)())
}

/// Holds in force.
pub(in crate::admin) async fn holds(hub: Hub, uri: Uri) -> Answer {
    query::none(uri.query())?;
    items(hub.store.holds().await?.iter().map(views::hold).collect())
}

/// What was sent to inboxes.
pub(in crate::admin) async fn inbox(hub: Hub, uri: Uri) -> Answer {
    query::none(uri.query())?;
    items((hub.inbox)())
}

fn items(items: Value) -> Answer {
    json::answer(StatusCode::OK, &json!({ "items": items, "next": null }))
}
