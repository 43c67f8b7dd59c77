//! `/api/v1/holds`: what is kept from being worked on, by whom and why; placing a hold, and ending one.

use axum::extract::rejection::BytesRejection;
use bytes::Bytes;
use serde::Deserialize;
use weir_store::hold::{Hold, HoldId, NewHold};

use super::parts::items;
use super::scope::ScopeError;
use super::{
    AdminService, ApiError, ApiResult, Id, ServiceState, StatusCode, Uri, asked, json, query,
    scope, views,
};
use crate::delivery::breakers::is_breaker_hold;

/// Most holds in force: each is looked at by whoever lists them.
const HOLDS_MAX: usize = 1_000;
/// Longest reason, in bytes.
const REASON_BYTES_MAX: usize = 500;
/// Who holds, where a person asks with the token.
const OPERATOR: &str = "operator";

/// A hold that is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Asked {
    /// `source:NAME`, `handler:NAME`, `destination:NAME`.
    scope: String,
    /// For people.
    reason: Option<String>,
    /// When it ends by itself, or in how long.
    until: Option<String>,
}

/// Holds in force, oldest first; of one scope if that is said.
pub(in crate::admin) async fn list(hub: ServiceState, uri: Uri) -> ApiResult {
    let scope = query::holds(uri.query())?;
    let wanted = scope.as_deref().map(scope::read).transpose().map_err(ScopeError::Malformed)?;
    let holds = hub.store.holds().await?;
    let meant = |held: &&Hold| wanted.as_ref().is_none_or(|wanted| held.hold.scope == *wanted);
    let found: Vec<&Hold> = holds.iter().filter(meant).collect();
    // A name that left the configuration may still be held.
    if let (Some(text), true) = (&scope, found.is_empty()) {
        scope::parse(text, &hub.known(), &(hub.handlers)())?;
    }
    items(found.into_iter().map(views::hold).collect())
}

/// Places a hold.
pub(in crate::admin) async fn place(
    hub: ServiceState,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult {
    query::none(uri.query())?;
    let hold = read(&hub, asked(body)?)?;
    if hub.store.holds().await?.len() >= HOLDS_MAX {
        let detail = format!("there are {HOLDS_MAX} holds already; release some first");
        return Err(ApiError::new(StatusCode::CONFLICT, "too_many_holds", detail));
    }
    let (scope, reason) = (hold.scope.to_string(), hold.reason.clone());
    let id = hub.store.hold(hold.clone()).await?;
    tracing::info!(hold = %id, scope, %reason, "hold placed by an operator");
    let placed = hub.store.holds().await?.into_iter().find(|held| held.id == id);
    // It may have ended since.
    let placed = placed.unwrap_or_else(|| Hold { id, hold, at: hub.clock.now() });
    json::answer(StatusCode::CREATED, &views::hold(&placed))
}

fn read(hub: &AdminService, asked: Asked) -> Result<NewHold, ApiError> {
    let refuse = |code, detail| ApiError::new(StatusCode::BAD_REQUEST, code, detail);
    let scope = scope::parse(&asked.scope, &hub.known(), &(hub.handlers)())?;
    let reason = asked.reason.unwrap_or_else(|| OPERATOR.into());
    if reason.is_empty() || reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control)
    {
        let detail = format!("`reason` is one line of 1 to {REASON_BYTES_MAX} bytes");
        return Err(refuse("invalid_reason", detail));
    }
    let until = asked.until.map(|text| query::time_to_come(&text, hub.clock.now())).transpose();
    let until = until.map_err(|why| refuse("invalid_until", format!("`until`: {why}")))?;
    Ok(NewHold { scope, reason: reason.into(), by: OPERATOR.into(), until })
}

/// Ends a hold. What the hub holds by itself ends when its cause does; where that is something that failed, a person
/// may say that it is mended, and one delivery is tried.
pub(in crate::admin) async fn release(hub: ServiceState, path: Id, uri: Uri) -> ApiResult {
    query::none(uri.query())?;
    let gone = || ApiError::not_found("hold_not_found", "there is no hold by this number in force");
    let number = path.ok().and_then(|path| path.0.parse().ok()).map(HoldId).ok_or_else(gone)?;
    let held = hub.store.holds().await?.into_iter().find(|held| held.id == number);
    let held = held.ok_or_else(gone)?;
    if &*held.hold.by != OPERATOR && !is_breaker_hold(&held.hold) {
        let Hold { hold, .. } = &held;
        let detail = format!(
            "{} is held by the hub itself ({}); the hold ends when the cause is gone",
            hold.scope, hold.reason
        );
        return Err(ApiError::new(StatusCode::CONFLICT, "held_by_the_hub", detail));
    }
    if !hub.store.release(number).await? {
        return Err(gone());
    }
    tracing::info!(hold = %number, scope = %held.hold.scope, "hold released by an operator");
    json::answer(StatusCode::OK, &views::hold(&held))
}
