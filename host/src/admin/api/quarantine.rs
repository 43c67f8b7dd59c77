//! `/api/v1/quarantine`: requests that were not believed, and letting them in.

use axum::extract::rejection::BytesRejection;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use weir_core::id::QuarantineId;
use weir_core::name::SourceName;
use weir_core::payload::Payload;
use weir_store::quarantine::{QuarantineFilter, QuarantinedRequest};

use super::{
    AdminService, ApiError, ApiResult, Id, ServiceState, StatusCode, Uri, asked, id, json, query,
    views,
};
use crate::ingress::{QuarantinedView, ReleaseOutcome};

/// Requests that one call lets in: it is answered when all of them are.
const RELEASED_MAX: usize = 100;

/// Which requests to let in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Which {
    /// Of this source only.
    source: Option<String>,
    /// After this one, in the order in which they came: the `next` of the answer before.
    after: Option<String>,
}

/// Kept requests, newest first.
pub(in crate::admin) async fn list(hub: ServiceState, uri: Uri) -> ApiResult {
    let wanted = query::quarantine(uri.query())?;
    let (limit, source) = (wanted.limit, wanted.source.clone());
    let found = hub.ingress.quarantined(wanted).await?;
    if found.is_empty() {
        must_know(&hub, source.as_deref()).await?;
    }
    let next = found.last().filter(|_| found.len() == limit).map(|last| last.id);
    let items: Vec<_> = found.iter().map(view).collect();
    json::answer(StatusCode::OK, &json!({ "items": items, "next": next }))
}

/// One with its headers and the beginning of its body.
pub(in crate::admin) async fn show(hub: ServiceState, path: Id, uri: Uri) -> ApiResult {
    query::none(uri.query())?;
    let shown = whole(&hub, id(path)?).await?;
    json::answer(StatusCode::OK, &shown)
}

/// The answer of `/api/v1/events/{id}` to an id of the quarantine.
pub(super) async fn quarantined(hub: &AdminService, id: QuarantineId) -> ApiResult {
    let shown = whole(hub, id).await?;
    json::answer(StatusCode::OK, &json!({ "quarantined": shown }))
}

async fn whole(hub: &AdminService, id: QuarantineId) -> Result<Value, ApiError> {
    let shown = hub.ingress.show_quarantined(id).await?.ok_or_else(gone)?;
    let QuarantinedView { request, headers, body } = shown;
    let payload = Payload { headers, body };
    let mut shown = view(&request);
    shown["payload"] = json!(views::PayloadView::of(&payload, views::PREVIEW_BYTES));
    Ok(shown)
}

/// Lets one in.
pub(in crate::admin) async fn release(hub: ServiceState, path: Id, uri: Uri) -> ApiResult {
    query::none(uri.query())?;
    let id: QuarantineId = id(path)?;
    match hub.ingress.release(id).await? {
        ReleaseOutcome::Unknown => Err(gone()),
        ReleaseOutcome::Released(events) => {
            tracing::info!(request = %id, "an operator let a request in from the quarantine");
            json::answer(StatusCode::OK, &json!({ "id": id, "events": events }))
        }
        ReleaseOutcome::StillRefused(code) => {
            let detail = format!("it is still not believed: {code}");
            Err(ApiError::new(StatusCode::CONFLICT, "still_refused", detail))
        }
    }
}

/// Lets in what is believed now, the oldest first.
pub(in crate::admin) async fn release_all(
    hub: ServiceState,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult {
    query::none(uri.query())?;
    let Which { source, after } = asked(body)?;
    let bad = |code, detail: String| ApiError::new(StatusCode::BAD_REQUEST, code, detail);
    let source = source.map(|text| query::source(&text)).transpose();
    let source = source.map_err(|detail| bad("invalid_source", detail))?;
    let after = after.map(|text| text.parse()).transpose();
    let after = after.map_err(|error| ApiError::invalid_id(&error))?;
    let named: Option<Box<str>> = source.map(|source| source.as_str().into());
    let wanted = QuarantineFilter {
        source: named.as_deref().map(Into::into),
        include_released: false,
        after,
        oldest_first: true,
        limit: RELEASED_MAX,
    };
    let found = hub.ingress.quarantined(wanted).await?;
    if found.is_empty() {
        must_know(&hub, named.as_deref()).await?;
    }
    let next = found.last().filter(|_| found.len() == RELEASED_MAX).map(|last| last.id);
    let (mut released, mut refused) = (Vec::new(), Vec::new());
    for QuarantinedRequest { id, .. } in found {
        match hub.ingress.release(id).await? {
            ReleaseOutcome::Released(events) => {
                released.push(json!({ "id": id, "events": events }))
            }
            ReleaseOutcome::StillRefused(code) => refused.push(json!({ "id": id, "code": code })),
            // It was too old in the meantime.
            ReleaseOutcome::Unknown => {}
        }
    }
    let counts = (released.len(), refused.len());
    tracing::info!(
        released = counts.0,
        refused = counts.1,
        "an operator let requests in from the quarantine"
    );
    json::answer(StatusCode::OK, &json!({ "released": released, "refused": refused, "next": next }))
}

/// Nothing is kept of a source: it has to be there, at least.
async fn must_know(hub: &AdminService, source: Option<&str>) -> Result<(), ApiError> {
    let Some(source) = source else { return Ok(()) };
    hub.must_know(Some(&SourceName::stored(source)), None).await
}

fn gone() -> ApiError {
    let detail = "there is no request with this id in the quarantine; it may have been removed for newer ones";
    ApiError::not_found("quarantined_not_found", detail)
}

fn view(request: &QuarantinedRequest) -> Value {
    let QuarantinedRequest { id, source, address, at, code, size, released } = request;
    json!({
        "id": id, "source": source, "address": address, "received_at": at, "code": code,
        "size": size, "events": released,
    })
}
