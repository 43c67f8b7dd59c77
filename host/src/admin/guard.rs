//! What stands before and after every request: who may, how many, how long; the request's id, problems, headers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, StatusCode};
use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::sync::Semaphore;
use weir_core::bounds::KIB;

use super::access::Access;
use super::problem::ApiError;
use crate::runtime::log_limit::{LineDecision, LogLimit};

/// Largest body of a request, in bytes: what an operator asks for is a line or two.
pub(super) const BODY_BYTES_MAX: usize = 64 * KIB;
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

/// Requests that are worked on at once; more are told to come back.
const REQUESTS_MAX: usize = 32;

/// Who may pass, and how many at once.
#[derive(Debug)]
pub(super) struct AdminGuard {
    access: Access,
    slots: Semaphore,
    time_max: Duration,
    started: Instant,
    refusals: Mutex<LogLimit>,
}

/// In the extensions of an answer: its request was let in, and asked for more than anybody may.
#[derive(Debug, Clone, Copy)]
pub(super) struct Authorized;

impl AdminGuard {
    /// A gate with these rules.
    pub(super) fn new(access: Access) -> Arc<Self> {
        let slots = Semaphore::new(REQUESTS_MAX);
        let refusals = Mutex::default();
        let started = Instant::now();
        Arc::new(Self { access, slots, time_max: REQUEST_TIME_MAX, started, refusals })
    }

    fn note(&self, id: &str, method: &Method, problem: &ApiError) {
        let pass = self.refusals.lock().pass(self.started.elapsed().as_secs());
        let LineDecision::Write { missed } = pass else { return };
        if missed > 0 {
            tracing::info!(missed, "refused admin requests were too many to log");
        }
        // Paths and queries may hold secrets, so they are not logged.
        tracing::info!(request_id = id, %method, code = problem.code(), "admin request refused");
    }
}

/// The way of a request through the admin listener.
pub(super) async fn guard(
    State(gate): State<Arc<AdminGuard>>,
    request: Request,
    next: Next,
) -> Response {
    let id = format!("adm_{}", hex::encode(rand::rng().random::<[u8; 12]>()));
    let method = request.method().clone();
    let mut response = answer(&gate, request, next).await.into_response();
    if let Some(problem) = problem_of(&mut response) {
        gate.note(&id, &method, &problem);
        response = problem.document(std::mem::take(response.headers_mut()), &id);
    }
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn answer(gate: &AdminGuard, request: Request, next: Next) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    gate.access.check(&head)?;
    let is_known = Access::is_known(&head);
    let announced = head.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes: u64| bytes > BODY_BYTES_MAX as u64) {
        return Err(ApiError::of_status(StatusCode::PAYLOAD_TOO_LARGE));
    }
    let Ok(_permit) = gate.slots.try_acquire() else {
        return Err(ApiError::passing("busy", "as many requests as allowed are being answered"));
    };
    let request = Request::from_parts(head, body);
    let answered = tokio::time::timeout(gate.time_max, next.run(request)).await;
    let mut response = answered.map_err(|_| {
        let detail = "the answer took too long; ask for less at once";
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail)
    })?;
    if is_known {
        response.extensions_mut().insert(Authorized);
    }
    Ok(response)
}

/// The problem in an answer: one of ours, or an error of the framework's own making, which is never JSON.
fn problem_of(response: &mut Response) -> Option<ApiError> {
    let status = response.status();
    let failed = status.is_client_error() || status.is_server_error();
    let json = response.headers().get(CONTENT_TYPE).is_some_and(|t| t == "application/json");
    let ours = response.extensions_mut().remove::<ApiError>();
    ours.or((failed && !json).then(|| ApiError::of_status(status)))
}

/// For a path that leads nowhere.
pub(super) async fn not_found() -> ApiError {
    ApiError::not_found("not_found", "there is nothing at this path")
}

/// For a path that leads somewhere else with another method.
pub(super) async fn method_not_allowed() -> ApiError {
    let detail = "this path does not take this method; `Allow` says which it takes";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::{get, post};
    use http_body_util::BodyExt as _;
    use serde_json::Value;
    use tower_service::Service as _;

    use super::*;
    use crate::admin::token::Token;

    const TOKEN: &str = "0123456789abcdef";

    /// Behind the gate: a path that answers, one that never does, one where the framework refuses.
    fn behind(gate: &Arc<AdminGuard>) -> Router {
        Router::new()
            .route("/ok", get(async || "fine").post(async || "done"))
            .route("/never", get(std::future::pending::<String>))
            .route("/text", post(async |_text: axum::extract::RawQuery, _: String| "read"))
            .method_not_allowed_fallback(method_not_allowed)
            .fallback(not_found)
            .layer(from_fn_with_state(gate.clone(), guard))
    }

    fn gate() -> Arc<AdminGuard> {
        let listen = "127.0.0.1:8081".parse().unwrap();
        let token = Token::given(TOKEN.as_bytes());
        AdminGuard::new(Access::new(listen, BTreeSet::new(), token))
    }

    fn request(method: &str, path: &str) -> http::request::Builder {
        let bearer = format!("Bearer {TOKEN}");
        let request = http::Request::builder().method(method).uri(path);
        request.header("host", "localhost:8081").header("authorization", bearer)
    }

    async fn ask(
        gate: &Arc<AdminGuard>,
        request: http::request::Builder,
        body: &'static [u8],
    ) -> Response {
        behind(gate).call(request.body(Body::from(body)).unwrap()).await.unwrap()
    }

    async fn problem(response: Response) -> (u16, String, Value) {
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let document: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(document["status"], status);
        assert!(document["request_id"].as_str().unwrap().starts_with("adm_"));
        assert!(!document["title"].as_str().unwrap().is_empty());
        (status, document["code"].as_str().unwrap().to_owned(), document)
    }

    #[tokio::test]
    async fn every_refusal_is_a_problem_document_with_a_code() {
        let gate = gate();
        let host = |name| http::Request::builder().uri("/ok").header("host", name);
        let mut bad_host = http::Request::builder().uri("/ok");
        bad_host = bad_host.header("host", "");
        let open_write =
            http::Request::builder().method("POST").uri("/ok").header("host", "localhost:8081");
        for (asked, body, status, code) in [
            (request("GET", "/nowhere"), &b""[..], 404, "not_found"),
            (request("DELETE", "/ok"), b"", 405, "method_not_allowed"),
            (host("attacker.example:8081"), b"", 421, "host_not_allowed"),
            (bad_host, b"", 400, "host_malformed"),
            (open_write, b"", 401, "token_missing"),
            (
                request("POST", "/ok").header("origin", "http://x.example"),
                b"",
                403,
                "origin_not_allowed",
            ),
            (request("POST", "/ok").header("content-length", "65537"), b"", 413, "body_too_large"),
            (request("POST", "/text"), b"\xff", 400, "malformed"),
        ] {
            let (found, found_code, _) = problem(ask(&gate, asked, body).await).await;
            assert_eq!((found, &*found_code), (status, code));
        }
    }

    #[tokio::test]
    async fn a_wrong_method_is_told_the_right_ones() {
        let response = ask(&gate(), request("DELETE", "/ok"), b"").await;
        let allow = response.headers()["allow"].to_str().unwrap().to_owned();
        assert!(["GET", "HEAD", "POST"].iter().all(|m| allow.contains(m)), "{allow}");
    }

    #[tokio::test]
    async fn every_answer_forbids_running_framing_keeping_and_guessing() {
        let gate = gate();
        for path in ["/ok", "/nowhere"] {
            let response = ask(&gate, request("GET", path), b"").await;
            for (name, value) in HEADERS {
                assert_eq!(response.headers()[&name], value, "{path}");
            }
        }
    }

    #[tokio::test]
    async fn an_answer_that_takes_too_long_is_given_up() {
        let mut gate = gate();
        Arc::get_mut(&mut gate).unwrap().time_max = Duration::ZERO;
        let (status, code, _) = problem(ask(&gate, request("GET", "/never"), b"").await).await;
        assert_eq!((status, &*code), (504, "timeout"));
    }

    #[tokio::test]
    async fn past_its_places_the_gate_says_when_to_come_back_and_frees_them_again() {
        let gate = gate();
        let taken: Vec<_> = (0..REQUESTS_MAX).map(|_| gate.slots.try_acquire().unwrap()).collect();
        let response = ask(&gate, request("GET", "/ok"), b"").await;
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(problem(response).await.1, "busy");
        drop(taken);
        for _ in 0..2 * REQUESTS_MAX {
            assert_eq!(ask(&gate, request("GET", "/ok"), b"").await.status(), 200);
        }
    }

    #[tokio::test]
    async fn an_answer_says_whether_its_request_was_let_in() {
        let gate = gate();
        let let_in = async |request| {
            let response = ask(&gate, request, b"").await;
            response.extensions().get::<Authorized>().is_some()
        };
        let stranger = |path: &str| {
            http::Request::builder().method("POST").uri(path).header("host", "localhost:8081")
        };
        assert!(let_in(request("GET", "/ok")).await && let_in(request("POST", "/ok")).await);
        assert!(!let_in(stranger("/ok")).await);
        let pulse = stranger("/health/live").method("GET");
        assert!(!let_in(pulse).await, "anybody may ask that");
    }

    #[tokio::test]
    async fn two_refusals_have_two_ids() {
        let gate = gate();
        let (.., first) = problem(ask(&gate, request("GET", "/nowhere"), b"").await).await;
        let (.., second) = problem(ask(&gate, request("GET", "/nowhere"), b"").await).await;
        assert_ne!(first["request_id"], second["request_id"]);
    }
}
