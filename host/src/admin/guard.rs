//! The middleware around every admin request: access, identity, permission, form tokens, limits on
//! number and time, the request's id, problem documents, and the headers of every answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName,
    HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::sync::Semaphore;
use weir_core::bounds::{KIB, MIB};

use super::access::{Access, RequestOrigin};
use super::error::ApiError;
use super::identity::{Identity, IdentityError, is_form_token};
use super::permissions::{self, Needs, NotPermitted};
use super::principal::Principal;
use super::rate_limit::RequestRates;
use super::refused_writes::RefusedWrites;
use super::{ConsoleRoutes, PAGE_TYPE};
use crate::api::Proof;
use crate::runtime::log_limit::{LineDecision, LogLimit};

/// Largest body of a request, in bytes: a request is a line or two.
pub(super) const BODY_BYTES_MAX: usize = 64 * KIB;
/// Longest body with values of a handler's state: the largest value, with every byte escaped.
pub(super) const STATE_BODY_BYTES_MAX: usize = 512 * KIB;
/// The route of those bodies.
const STATE_PATH: &str = "/api/v1/handlers/{name}/state";
/// Longest body with requests of a provider's API: one of the largest, with every byte escaped.
pub(super) const RECONCILE_BODY_BYTES_MAX: usize = 16 * MIB;
/// The route of those bodies.
const RECONCILE_PATH: &str = "/api/v1/sources/{name}/reconcile";
/// Longest time to answer a request.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(15);

/// Headers of every answer that does not set its own: a browser may not run, frame, store or sniff
/// it. Forms of the console need their origin sent along, so `no-referrer` would be too strict.
const HEADERS: [(HeaderName, &str); 5] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (CACHE_CONTROL, "no-store"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Most requests at once; more are answered 503 with `Retry-After`.
const REQUESTS_MAX: usize = 32;

/// The field of a form with the token of its session.
const FORM_TOKEN_FIELD: &str = "form_token";
/// The header with the same, for requests that are no forms.
const FORM_TOKEN_HEADER: HeaderName = HeaderName::from_static("x-weir-form-token");
/// The page where a browser signs in.
const LOGIN: &str = "/login";

/// The access rules and the limits of the admin listener.
#[derive(Debug)]
pub(super) struct AdminGuard {
    access: Access,
    identity: Arc<Identity>,
    rates: RequestRates,
    refused_writes: RefusedWrites,
    requests: Semaphore,
    time_max: Duration,
    started: Instant,
    refusals: Mutex<LogLimit>,
    console: Option<ConsoleRoutes>,
}

/// Marks, in the extensions of an answer, that its request was permitted and needed permission.
#[derive(Debug, Clone, Copy)]
pub(super) struct Authorized;

impl AdminGuard {
    pub(super) fn new(
        access: Access,
        identity: Arc<Identity>,
        rates: RequestRates,
        refused_writes: RefusedWrites,
        console: Option<ConsoleRoutes>,
    ) -> Arc<Self> {
        Arc::new(Self {
            access,
            identity,
            rates,
            refused_writes,
            requests: Semaphore::new(REQUESTS_MAX),
            time_max: REQUEST_TIME_MAX,
            started: Instant::now(),
            refusals: Mutex::default(),
            console,
        })
    }

    /// The principal of a request, if it may do what it asks for.
    async fn permit(
        &self,
        head: &Parts,
        needs: Needs,
        origin: RequestOrigin,
    ) -> Result<Principal, NotPermitted> {
        let proof = self.identity.principal(&head.headers).await;
        permissions::decide(needs, proof, origin.is_local, self.identity.has_open_reads())
    }

    fn log_refusal(&self, id: &str, method: &Method, error: &ApiError) {
        let pass = self.refusals.lock().pass(self.started.elapsed().as_secs());
        let LineDecision::Write { missed } = pass else { return };
        if missed > 0 {
            tracing::info!(missed, "refused admin requests were too many to log");
        }
        // Paths and queries may hold secrets, so they are not logged.
        tracing::info!(request_id = id, %method, code = error.code(), "admin request refused");
    }
}

/// Checks a request, has it answered, and completes the answer.
pub(super) async fn guard(
    State(guard): State<Arc<AdminGuard>>,
    request: Request,
    next: Next,
) -> Response {
    let id = format!("adm_{}", hex::encode(rand::rng().random::<[u8; 12]>()));
    let method = request.method().clone();
    let (head, body) = request.into_parts();
    let browser =
        guard.console.filter(|_| wants_a_page(&head)).map(|console| (console, head.clone()));
    let request = Request::from_parts(head, body);
    let mut response = answer(&guard, request, next).await.into_response();
    if let Some(error) = error_of(&mut response) {
        guard.log_refusal(&id, &method, &error);
        response = match browser {
            Some((console, head)) => (console.problem)(&head, error, &id),
            None => error.document(std::mem::take(response.headers_mut()), &id),
        };
    }
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// True if a browser asks for a page to show, and not a program for data.
fn wants_a_page(head: &Parts) -> bool {
    const FOR_PROGRAMS: [&str; 3] = ["/api/", "/health", "/metrics"];
    let accepts = head.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let path = head.uri.path();
    accepts.is_some_and(|types| types.contains("text/html"))
        && !FOR_PROGRAMS.iter().any(|prefix| path.starts_with(prefix))
}

async fn answer(guard: &AdminGuard, request: Request, next: Next) -> Result<Response, ApiError> {
    let (mut head, body) = request.into_parts();
    let origin = guard.access.check(&head)?;
    let path = head.extensions.get::<MatchedPath>();
    let needs = permissions::needs(&head.method, path.map(MatchedPath::as_str));
    let principal = match guard.permit(&head, needs, origin).await {
        Ok(principal) => principal,
        Err(NotPermitted::Unknown(IdentityError::TokenMissing))
            if head.method == Method::GET && wants_a_page(&head) =>
        {
            return Ok(to_sign_in(&head));
        }
        Err(error) => {
            if let NotPermitted::RoleMissing { needs, by, .. } = &error
                && !permissions::is_read(&head.method)
            {
                let path = path.map(MatchedPath::as_str);
                guard.refused_writes.record(by, &head.method, path, *needs).await;
            }
            return Err(error.into());
        }
    };
    if matches!(needs, Needs::A(_)) {
        let wait = guard.rates.take(&principal.name, guard.started.elapsed());
        wait.map_err(ApiError::too_many_requests)?;
    }
    let announced = head.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    let body_max = match path.map(MatchedPath::as_str) {
        Some(STATE_PATH) => STATE_BODY_BYTES_MAX,
        Some(RECONCILE_PATH) => RECONCILE_BODY_BYTES_MAX,
        _ => BODY_BYTES_MAX,
    };
    if announced.is_some_and(|bytes: u64| bytes > body_max as u64) {
        return Err(ApiError::of_status(StatusCode::PAYLOAD_TOO_LARGE));
    }
    let Ok(_permit) = guard.requests.try_acquire() else {
        return Err(ApiError::transient(
            "busy",
            "the hub is answering as many admin requests as allowed",
        ));
    };
    let is_session_write = principal.how == Proof::Session && !permissions::is_read(&head.method);
    let body = match is_session_write && needs != Needs::Nothing {
        true => check_form(&head, body, origin, &principal).await?,
        false => body,
    };
    head.extensions.insert(principal);
    let request = Request::from_parts(head, body);
    let answered = tokio::time::timeout(guard.time_max, next.run(request)).await;
    let mut response = answered.map_err(|_| {
        let detail = "the answer took too long; ask for less at once";
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail)
    })?;
    if needs != Needs::Nothing {
        response.extensions_mut().insert(Authorized);
    }
    Ok(response)
}

/// Sends a browser to the sign-in page, which leads back.
fn to_sign_in(head: &Parts) -> Response {
    let to = head.uri.path_and_query().map_or("/", |to| to.as_str());
    let query: String =
        form_urlencoded::Serializer::new(String::new()).append_pair("to", to).finish();
    Redirect::to(&format!("{LOGIN}?{query}")).into_response()
}

/// Checks that a page of this listener, in this session, sent a write: by its Origin, and by the
/// form token in a header or in the form. Returns the body.
async fn check_form(
    head: &Parts,
    body: Body,
    origin: RequestOrigin,
    principal: &Principal,
) -> Result<Body, ApiError> {
    if !origin.is_own_page {
        let detail = "a write of a session must come from a page of this listener";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "origin_not_allowed", detail));
    }
    if let Some(token) = head.headers.get(FORM_TOKEN_HEADER) {
        return match is_form_token(principal, token.as_bytes()) {
            true => Ok(body),
            false => Err(form_token_wrong()),
        };
    }
    let collected = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let bytes = collected.map_err(|_| ApiError::of_status(StatusCode::PAYLOAD_TOO_LARGE))?;
    let bytes = bytes.to_bytes();
    let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let mut fields = match kind.starts_with(b"application/x-www-form-urlencoded") {
        true => form_urlencoded::parse(&bytes),
        false => form_urlencoded::parse(&[]),
    };
    let token = fields.find(|(name, _)| name == FORM_TOKEN_FIELD).map(|(_, value)| value);
    match token.is_some_and(|token| is_form_token(principal, token.as_bytes())) {
        true => Ok(Body::from(bytes)),
        false => Err(form_token_wrong()),
    }
}

fn form_token_wrong() -> ApiError {
    let detail = "the form token is missing or of another session; open the page again";
    ApiError::new(StatusCode::FORBIDDEN, "form_token_mismatch", detail)
}

/// The error in an answer: the API's, or one of the framework, which is never JSON or a page.
fn error_of(response: &mut Response) -> Option<ApiError> {
    let status = response.status();
    let failed = status.is_client_error() || status.is_server_error();
    let own_types = ["application/json", PAGE_TYPE];
    let is_own = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| own_types.iter().any(|own| kind == own));
    let of_api = response.extensions_mut().remove::<ApiError>();
    of_api.or((failed && !is_own).then(|| ApiError::of_status(status)))
}

/// Answers an unknown path.
pub(super) async fn not_found() -> ApiError {
    ApiError::not_found("not_found", "there is nothing at this path")
}

/// Answers a known path with another method.
pub(super) async fn method_not_allowed() -> ApiError {
    let detail = "this path does not accept this method; the header `Allow` lists those it accepts";
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
    use crate::context::HubContext;
    use crate::runtime::clock::SystemClock;

    const TOKEN: &str = "0123456789abcdef";

    /// Routes behind the guard: one that answers, one that never does, one where the framework
    /// refuses.
    fn behind(guarded: &Arc<AdminGuard>) -> Router {
        Router::new()
            .route("/ok", get(async || "fine").post(async || "done"))
            .route("/login", get(async || "sign in"))
            .route("/never", get(std::future::pending::<String>))
            .route("/text", post(async |_text: axum::extract::RawQuery, _: String| "read"))
            .method_not_allowed_fallback(method_not_allowed)
            .fallback(not_found)
            .layer(from_fn_with_state(guarded.clone(), guard))
    }

    fn new_guard() -> (Arc<AdminGuard>, tempfile::TempDir) {
        let listen = "127.0.0.1:8081".parse().unwrap();
        let clock: Arc<dyn weir_core::time::Clock> = Arc::new(SystemClock);
        let options = weir_store::sqlite::Options::new(clock.clone());
        let folder = tempfile::tempdir().unwrap();
        let store = weir_store::sqlite::open(&folder.path().join("weir.db"), options).unwrap();
        let ctx = HubContext::new(Arc::new(store), clock);
        let identity = Identity::new(&ctx, Token::given(TOKEN.as_bytes()), false, 8081);
        let access = Access::new(listen, BTreeSet::new());
        let (rates, refused) = (RequestRates::new(None), RefusedWrites::new(ctx.store.clone()));
        (AdminGuard::new(access, Arc::new(identity), rates, refused, None), folder)
    }

    fn request(method: &str, path: &str) -> http::request::Builder {
        let bearer = format!("Bearer {TOKEN}");
        let request = http::Request::builder().method(method).uri(path);
        request.header("host", "localhost:8081").header("authorization", bearer)
    }

    async fn ask(
        guarded: &Arc<AdminGuard>,
        request: http::request::Builder,
        body: &'static [u8],
    ) -> Response {
        behind(guarded).call(request.body(Body::from(body)).unwrap()).await.unwrap()
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
    async fn every_error_is_a_problem_document_with_a_code() {
        let (guarded, _folder) = new_guard();
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
            let (found, found_code, _) = problem(ask(&guarded, asked, body).await).await;
            assert_eq!((found, &*found_code), (status, code));
        }
    }

    #[tokio::test]
    async fn a_wrong_method_is_answered_with_the_allowed_ones() {
        let (guarded, _folder) = new_guard();
        let response = ask(&guarded, request("DELETE", "/ok"), b"").await;
        let allow = response.headers()["allow"].to_str().unwrap().to_owned();
        assert!(["GET", "HEAD", "POST"].iter().all(|m| allow.contains(m)), "{allow}");
    }

    #[tokio::test]
    async fn every_answer_has_the_security_headers() {
        let (guarded, _folder) = new_guard();
        for path in ["/ok", "/nowhere"] {
            let response = ask(&guarded, request("GET", path), b"").await;
            for (name, value) in HEADERS {
                assert_eq!(response.headers()[&name], value, "{path}");
            }
        }
    }

    #[tokio::test]
    async fn an_answer_that_takes_too_long_is_a_timeout() {
        let (mut guarded, _folder) = new_guard();
        Arc::get_mut(&mut guarded).unwrap().time_max = Duration::ZERO;
        let (status, code, _) = problem(ask(&guarded, request("GET", "/never"), b"").await).await;
        assert_eq!((status, &*code), (504, "timeout"));
    }

    #[tokio::test]
    async fn above_the_limit_requests_are_answered_with_retry_after() {
        let (guarded, _folder) = new_guard();
        let taken: Vec<_> =
            (0..REQUESTS_MAX).map(|_| guarded.requests.try_acquire().unwrap()).collect();
        let response = ask(&guarded, request("GET", "/ok"), b"").await;
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(problem(response).await.1, "busy");
        drop(taken);
        for _ in 0..2 * REQUESTS_MAX {
            assert_eq!(ask(&guarded, request("GET", "/ok"), b"").await.status(), 200);
        }
    }

    #[tokio::test]
    async fn an_answer_is_marked_if_its_request_was_authorized() {
        let (guarded, _folder) = new_guard();
        let is_marked = async |request| {
            let response = ask(&guarded, request, b"").await;
            response.extensions().get::<Authorized>().is_some()
        };
        let without_token = |path: &str| {
            http::Request::builder().method("POST").uri(path).header("host", "localhost:8081")
        };
        assert!(is_marked(request("GET", "/ok")).await && is_marked(request("POST", "/ok")).await);
        assert!(!is_marked(without_token("/ok")).await);
        let public = without_token("/login").method("GET");
        assert!(!is_marked(public).await, "this needs no permission");
    }

    #[tokio::test]
    async fn every_error_has_its_own_id() {
        let (guarded, _folder) = new_guard();
        let (.., first) = problem(ask(&guarded, request("GET", "/nowhere"), b"").await).await;
        let (.., second) = problem(ask(&guarded, request("GET", "/nowhere"), b"").await).await;
        assert_ne!(first["request_id"], second["request_id"]);
    }
}
