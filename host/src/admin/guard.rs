//! What stands before and after every request: who may, how many, how long; the request's id, problems, headers.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use rand::RngExt as _;
use weir_core::bounds::KIB;

use super::Shared;
use super::problem::Problem;

/// Largest body that a request may announce. None is read today.
const BODY_BYTES_MAX: u64 = 64 * KIB as u64;
/// Longest time to work on a request.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(15);

/// Headers of every answer: nothing of it may be run, framed, kept or guessed at.
const HEADERS: [(HeaderName, &str); 5] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (CACHE_CONTROL, "no-store"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The way of a request through the admin listener.
pub(super) async fn guard(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let id = format!("adm_{}", hex::encode(rand::rng().random::<[u8; 12]>()));
    let method = request.method().clone();
    let mut response = answer(&shared, request, next).await.into_response();
    if let Some(problem) = problem_of(&mut response) {
        // Paths and queries may hold what is nobody's business, so they are not logged.
        tracing::info!(request_id = id, %method, code = problem.code(), "admin request refused");
        response = problem.document(std::mem::take(response.headers_mut()), &id);
    }
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn answer(shared: &Shared, request: Request, next: Next) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    shared.access.check(&head)?;
    let announced = head.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes: u64| bytes > BODY_BYTES_MAX) {
        return Err(Problem::of_status(StatusCode::PAYLOAD_TOO_LARGE));
    }
    let Ok(_permit) = shared.requests.try_acquire() else {
        return Err(Problem::passing("busy", "as many requests as allowed are being answered"));
    };
    let request = Request::from_parts(head, body);
    tokio::time::timeout(REQUEST_TIME_MAX, next.run(request)).await.map_err(|_| {
        let detail = "the answer took too long; ask for less at once";
        Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail)
    })
}

/// The problem in an answer: one of ours, or an error of the framework's own making, which is never JSON.
fn problem_of(response: &mut Response) -> Option<Problem> {
    let status = response.status();
    let failed = status.is_client_error() || status.is_server_error();
    let json = response.headers().get(CONTENT_TYPE).is_some_and(|t| t == "application/json");
    let ours = response.extensions_mut().remove::<Problem>();
    ours.or((failed && !json).then(|| Problem::of_status(status)))
}

/// For a path that leads nowhere.
pub(super) async fn not_found() -> Problem {
    Problem::not_found("not_found", "there is nothing at this path")
}

/// For a path that leads somewhere else with another method.
pub(super) async fn method_not_allowed() -> Problem {
    let detail = "this path does not take this method; `Allow` says which it takes";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
