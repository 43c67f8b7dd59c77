//! `/dead-letters`: what was given up, grouped by cause, and acts on a set that was counted first.
//!
//! `list` shows the groups and the list, `preview` what an act would do, and `acts` does it.

mod acts;
mod list;
mod preview;
mod selection;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::admin::service::AdminService;

/// The pages of dead letters.
pub(super) fn router() -> Router<Arc<AdminService>> {
    Router::new()
        .route("/dead-letters", get(list::show))
        .route("/dead-letters/preview", get(preview::show))
        .route("/dead-letters/requeue", post(acts::requeue))
        .route("/dead-letters/discard", post(acts::discard))
}
