//! `/api/v1/sources`: the ways in as they are now, and the secrets that some of their senders hand over.

use std::time::Duration;

use axum::extract::rejection::BytesRejection;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use weir_core::name::SourceName;

use super::parts::items;
use super::{
    AdminService, ApiError, ApiResult, Id, ServiceState, StatusCode, Uri, asked, json, query,
};
use crate::ingress::{HandOverStatus, OpenWindowError};

/// Longest time that a window may be open: anyone may hand a secret over meanwhile.
const WINDOW_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A window that is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Window {
    /// When it closes by itself, or in how long.
    until: String,
}

/// Sources in force, by name. Secrets by their names only.
pub(in crate::admin) async fn list(hub: ServiceState, uri: Uri) -> ApiResult {
    query::none(uri.query())?;
    items(hub.ingress.sources().into_iter().map(|source| json!(source)).collect())
}

/// Lets the next handshake hand over the source's secret.
pub(in crate::admin) async fn open_window(
    hub: ServiceState,
    path: Id,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult {
    query::none(uri.query())?;
    let source = name(path)?;
    let Window { until } = asked(body)?;
    let now = hub.clock.now();
    let until = query::time_to_come(&until, now).and_then(|until| {
        let close = now.after(WINDOW_MAX);
        if until <= close { Ok(until) } else { Err("must be within a day".to_owned()) }
    });
    let until = until.map_err(|why| {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_until", format!("`until`: {why}"))
    })?;
    let shown = match hub.ingress.open_window(source.as_str(), until).await {
        Ok(shown) => shown,
        Err(OpenWindowError::Store(error)) => return Err(error.into()),
        Err(OpenWindowError::UnknownSource) => return Err(unknown(&hub, &source).await),
        Err(refused) => {
            let code = match refused {
                OpenWindowError::Configured => "secrets_configured",
                OpenWindowError::NotHandedOver => "not_handed_over",
                _ => "secret_known",
            };
            return Err(ApiError::new(StatusCode::CONFLICT, code, refused.to_string()));
        }
    };
    tracing::info!(source = source.as_str(), %until, "an operator lets a secret be handed over");
    json::answer(
        StatusCode::CREATED,
        &json!({ "source": source, "until": until, "shown_once": shown }),
    )
}

/// Shows the secret that came through the window, once, where the operator has to give it back to the provider. It
/// changes what is kept, so it takes the token also from this machine.
pub(in crate::admin) async fn show_secret(hub: ServiceState, path: Id, uri: Uri) -> ApiResult {
    query::none(uri.query())?;
    let source = name(path)?;
    match hub.ingress.show_secret(source.as_str()) {
        HandOverStatus::Secret(secret) => {
            tracing::info!(source = source.as_str(), "an operator was shown the secret");
            let secret = String::from_utf8_lossy(secret.expose());
            json::answer(StatusCode::OK, &json!({ "source": source, "secret": secret }))
        }
        HandOverStatus::Awaited(until) => {
            json::answer(StatusCode::ACCEPTED, &json!({ "source": source, "until": until }))
        }
        HandOverStatus::Shown => {
            let detail = "the secret was shown, and is not shown again";
            Err(ApiError::new(StatusCode::GONE, "secret_shown", detail))
        }
        HandOverStatus::Nothing => {
            let detail = "there is no secret to show for this source: its window is not open any more, or nobody \
                          has to see what came through it";
            Err(ApiError::not_found("secret_not_found", detail))
        }
    }
}

/// Closes the window again.
pub(in crate::admin) async fn close_window(hub: ServiceState, path: Id, uri: Uri) -> ApiResult {
    query::none(uri.query())?;
    let source = name(path)?;
    if !hub.ingress.close_window(source.as_str()) {
        return Err(ApiError::not_found("window_not_found", "no window is open for this source"));
    }
    json::answer(StatusCode::OK, &json!({ "source": source }))
}

/// Forgets the secret that was handed over.
pub(in crate::admin) async fn forget_secret(hub: ServiceState, path: Id, uri: Uri) -> ApiResult {
    query::none(uri.query())?;
    let source = name(path)?;
    if !hub.ingress.forget_secret(&source).await? {
        let detail = "no secret was handed over for this source";
        return Err(ApiError::not_found("secret_not_found", detail));
    }
    tracing::info!(source = source.as_str(), "an operator had a secret forgotten");
    json::answer(StatusCode::OK, &json!({ "source": source }))
}

fn name(path: Id) -> Result<SourceName, ApiError> {
    let text = path.map(|path| path.0).unwrap_or_default();
    let of = |detail| ApiError::new(StatusCode::BAD_REQUEST, "invalid_source", detail);
    query::source(&text).map_err(of)
}

async fn unknown(hub: &AdminService, source: &SourceName) -> ApiError {
    let unknown =
        || ApiError::not_found("source_not_found", format!("there is no source `{source}`"));
    hub.must_know(Some(source), None).await.err().unwrap_or_else(unknown)
}
