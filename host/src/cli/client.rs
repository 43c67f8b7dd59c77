//! The admin API of a running hub, called with the types of `crate::api`. Knows no command and
//! prints nothing.

use std::path::PathBuf;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use weir_core::error::chain;

use super::error::CommandError;
use super::event_stream::EventStream;
use crate::admin::token;
use crate::api::params::{Cursor, Limit};
use crate::api::{ApiProblem, HealthReport, ListPage};
use crate::config::{ConfigErrors, HubLocation};
use crate::http_client::{HttpClient, HttpError, HttpResponse, local_base};
use crate::program::exit::Exit;

/// Longest problem document that is read, in bytes.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;
/// Entries of a list asked for at once.
const PAGE: usize = 200;
/// Most pages of one list: a hub may look far and find little, but not for ever.
const PAGES_MAX: usize = 1_000;
/// Most entries that one command prints.
const ENTRIES_MAX: usize = 10_000;
/// Longest id, in bytes: senders' own may be long.
const ID_BYTES_MAX: usize = 256;

/// A call that the hub did not do.
#[derive(Debug, Error)]
pub(super) enum ClientError {
    #[error("cannot reach {at}: {cause}; is `weir serve` running there?")]
    Unreachable { at: String, cause: String },
    #[error("{}", refusal(.status, .problem))]
    Refused { status: StatusCode, problem: Box<ApiProblem> },
    #[error("{at} answered {status} with something else than the JSON of a hub; is it a weir hub?")]
    NotAHub { at: String, status: StatusCode },
    /// The command cannot call anything as it is configured.
    #[error("{0}")]
    Setup(String),
}

impl From<HttpError> for ClientError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Unreachable { at, cause } => Self::Unreachable { at, cause },
            HttpError::Setup(why) => Self::Setup(why),
        }
    }
}

impl ClientError {
    /// True if the same call may succeed later.
    pub(super) fn may_be_gone_soon(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => status.is_server_error(),
            Self::NotAHub { .. } | Self::Setup(_) => false,
        }
    }

    /// The exit code of the command.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND => Exit::NotFound,
            Self::Setup(_) => Exit::Usage,
            Self::Refused { .. } | Self::NotAHub { .. } => Exit::Failure,
        }
    }
}

/// The line for an error of the API: its sentence, code and request id.
fn refusal(status: &StatusCode, problem: &ApiProblem) -> String {
    let ApiProblem { code, detail, request_id, .. } = problem;
    let code = if code.is_empty() { "refused" } else { code };
    let mut text = match detail.is_empty() {
        true => format!("the hub answered {}", status.as_u16()),
        false => detail.clone(),
    };
    if *status == StatusCode::UNAUTHORIZED {
        text.push_str("; give a token with --token or WEIR_ADMIN_TOKEN");
    }
    match request_id.as_str() {
        "" => format!("{text} ({code})"),
        id => format!("{text} ({code}, {id})"),
    }
}

/// Chooses the hub.
#[derive(Debug, Clone, clap::Args)]
pub struct HubArgs {
    /// Configuration file of the hub [default: weir.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// URL of the hub's admin API, such as http://127.0.0.1:8081
    #[arg(long, value_name = "URL", env = "WEIR_ADMIN_URL")]
    pub admin: Option<String>,
    /// Token of the admin API [default: admin.token, or the one in the data folder]
    #[arg(long, value_name = "TOKEN", env = "WEIR_ADMIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// The admin API of a running hub.
#[derive(Debug, Clone)]
pub(super) struct AdminClient {
    http: HttpClient,
    base: String,
    token: ClientToken,
}

/// The token to send.
#[derive(Debug, Clone)]
enum ClientToken {
    Known(HeaderValue),
    /// There is none on this machine. The hub says what it does without.
    None,
    /// It cannot be read, for this reason. Reads that are open are done without.
    Unreadable(String),
}

impl AdminClient {
    /// Finds the URL and the token of the hub. Connects to nothing yet.
    pub(super) fn find(args: &HubArgs) -> Result<Self, CommandError> {
        // The file is read only for what no flag gives: it may not even be on this machine.
        let location = match (&args.admin, &args.token) {
            (Some(_), Some(_)) => Err(ConfigErrors::of_file("", "not needed")),
            _ => HubLocation::find(args.config.as_deref()),
        };
        let base = match (&args.admin, &location) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Ok(hub)) => local_base(hub.admin, hub.certificate.is_some()),
            (None, Err(errors)) => return Err(errors.clone().into()),
        };
        let local = location.as_ref().ok().filter(|_| args.admin.is_none());
        let http = HttpClient::trusting(local.and_then(|hub| hub.certificate.as_deref()))?;
        let parsed: Option<Uri> = base.parse().ok();
        if parsed.is_none_or(|uri| !matches!(uri.scheme_str(), Some("http" | "https"))) {
            let what = "--admin takes a URL such as http://127.0.0.1:8081".to_owned();
            return Err(CommandError::Usage(what));
        }
        let token = match (&args.token, location) {
            (Some(token), _) => ClientToken::Known(bearer(token.as_bytes())?),
            (None, Ok(HubLocation { token: Some(token), .. })) => {
                ClientToken::Known(bearer(token.expose())?)
            }
            (None, Ok(HubLocation { data_dir, .. })) => match token::read(&data_dir) {
                Ok(Some(token)) => ClientToken::Known(bearer(token.as_bytes())?),
                Ok(None) => ClientToken::None,
                Err(error) => ClientToken::Unreadable(chain(&error)),
            },
            (None, Err(_)) => ClientToken::None,
        };
        Ok(Self { http, base, token })
    }

    /// The address of a page of the hub.
    pub(super) fn address_of(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Reads what is at a path.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// Reads the text at a path.
    pub(super) async fn text(&self, path: &str) -> Result<String, ClientError> {
        let answer = self.exchange(Method::GET, path, Bytes::new()).await?;
        match answer.status.is_success() {
            true => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
            false => Err(self.refused(answer.status, &answer.body)),
        }
    }

    /// Reads what is at a path, by the fields of this query that are not empty.
    pub(super) async fn query<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &impl Serialize,
    ) -> Result<T, ClientError> {
        let query = query_string(query);
        let mark = if query.is_empty() { "" } else { "?" };
        self.call(Method::GET, &format!("{path}{mark}{query}"), Bytes::new()).await
    }

    /// Reads the first entries of a list, over as many pages as it takes. `query` asks for one
    /// page.
    pub(super) async fn list<T: DeserializeOwned, Q: Serialize>(
        &self,
        path: &str,
        limit: usize,
        query: impl Fn(Option<Limit>, Option<Cursor>) -> Q,
    ) -> Result<Vec<T>, CommandError> {
        let limit = limit.min(ENTRIES_MAX);
        let mut items = Vec::new();
        let mut cursor = None;
        for _ in 0..PAGES_MAX {
            let page_limit = Limit::clamped((limit - items.len()).min(PAGE));
            let query = query(Some(page_limit), cursor.take());
            let page: ListPage<T> = self.query(path, &query).await?;
            items.extend(page.items);
            items.truncate(limit);
            cursor = page.next.and_then(|next| next.parse().ok());
            if cursor.is_none() || items.len() == limit {
                break;
            }
        }
        Ok(items)
    }

    /// Reads the state of the whole hub, which is also told while webhooks are not accepted.
    pub(super) async fn health(&self) -> Result<HealthReport, ClientError> {
        let mut answer = self.exchange(Method::GET, "/health", Bytes::new()).await?;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            answer.status = StatusCode::OK;
        }
        self.read(&answer)
    }

    /// Does what needs no body.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::POST, path, Bytes::new()).await
    }

    /// Does what a body asks for.
    pub(super) async fn post_body<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        // Plain data always serializes.
        let body = serde_json::to_vec(body).unwrap_or_default();
        self.call(Method::POST, path, body.into()).await
    }

    /// Removes what is at a path.
    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::DELETE, path, Bytes::new()).await
    }

    /// Opens a stream of server-sent events, after the one with this id.
    pub(super) async fn stream(
        &self,
        path: &str,
        query: &impl Serialize,
        after: Option<&str>,
    ) -> Result<EventStream, ClientError> {
        let request = self.request(Method::GET, &format!("{path}?{}", query_string(query)));
        let mut request = request.header(ACCEPT, "text/event-stream");
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let request = request.body(Full::default()).map_err(|_| self.no_url())?;
        let (status, body) = self.http.open(request).await?;
        if status.is_success() {
            return Ok(EventStream::new(body));
        }
        let body = http_body_util::Limited::new(body, PROBLEM_BYTES_MAX).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Err(self.refused(status, &body))
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        match &self.token {
            ClientToken::Known(token) => request.header(AUTHORIZATION, token),
            _ => request,
        }
    }

    fn no_url(&self) -> ClientError {
        ClientError::Unreachable { at: self.base.clone(), cause: "that is not a URL".into() }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let answer = self.exchange(method, path, body).await?;
        self.read(&answer)
    }

    /// Reads an answer. A problem of the hub is an error.
    fn read<T: DeserializeOwned>(&self, answer: &HttpResponse) -> Result<T, ClientError> {
        let status = answer.status;
        if status.is_success() {
            let not_a_hub = |_| ClientError::NotAHub { at: self.base.clone(), status };
            return serde_json::from_slice(&answer.body).map_err(not_a_hub);
        }
        Err(self.refused(status, &answer.body))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<HttpResponse, ClientError> {
        let mut request = self.request(method, path).header(ACCEPT, "application/json");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body)).map_err(|_| self.no_url())?;
        Ok(self.http.send(request).await?)
    }

    /// The URL of the hub.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// The error of an answer that is none of success.
    fn refused(&self, status: StatusCode, body: &[u8]) -> ClientError {
        let Ok(mut problem) = serde_json::from_slice::<ApiProblem>(body) else {
            return ClientError::NotAHub { at: self.base.clone(), status };
        };
        if let (StatusCode::UNAUTHORIZED, ClientToken::Unreadable(why)) = (status, &self.token) {
            problem.detail = format!("this needs a token, and {why}");
        }
        ClientError::Refused { status, problem: Box::new(problem) }
    }
}

/// The fields of a query that are not empty, as they stand in a URL.
fn query_string(query: &impl Serialize) -> String {
    let mut out = form_urlencoded::Serializer::new(String::new());
    if let Ok(Value::Object(fields)) = serde_json::to_value(query) {
        for (name, value) in fields {
            match value {
                Value::Null => {}
                Value::String(text) => drop(out.append_pair(&name, &text)),
                other => drop(out.append_pair(&name, &other.to_string())),
            }
        }
    }
    out.finish()
}

fn bearer(token: &[u8]) -> Result<HeaderValue, ClientError> {
    let value = HeaderValue::from_bytes(&[b"Bearer ", token].concat());
    let mut value = value.map_err(|_| {
        ClientError::Setup("the admin token contains characters that no token may have".into())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// An id as one part of a path, whatever characters it has.
pub(super) fn path_id(text: &str) -> Result<String, CommandError> {
    if text.is_empty() || text.len() > ID_BYTES_MAX {
        let what = format!("an id has 1 to {ID_BYTES_MAX} bytes, such as evt_01JD… or dlv_01JD…");
        return Err(CommandError::Usage(what));
    }
    Ok(percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::Path;
    use axum::routing::get;
    use serde_json::json;

    use super::*;
    use crate::api::EventsQuery;

    /// A hub's API that has five events, two a page, and shows each token that it is sent.
    async fn api() -> String {
        let list = |uri: Uri| async move {
            let query = uri.query().unwrap_or_default();
            let cursor = query.split('&').find_map(|pair| pair.strip_prefix("cursor="));
            let page: u64 = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
            let items: Vec<_> = (2 * page..5.min(2 * page + 2)).collect();
            let next = (page < 2).then(|| (page + 1).to_string());
            axum::Json(json!({ "items": items, "next": next }))
        };
        let one = |Path(id): Path<String>, headers: http::HeaderMap| async move {
            if id == "evt_0" {
                let problem = json!({ "code": "not_found", "detail": "no such event" });
                return (StatusCode::NOT_FOUND, axum::Json(problem));
            }
            let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
            (StatusCode::OK, axum::Json(json!({ "token": token })))
        };
        let router =
            Router::new().route("/api/v1/events", get(list)).route("/api/v1/events/{id}", get(one));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        base
    }

    fn client(admin: String) -> AdminClient {
        let token = Some("a-token".into());
        AdminClient::find(&HubArgs { config: None, admin: Some(admin), token }).unwrap()
    }

    #[tokio::test]
    async fn a_list_is_read_page_by_page_up_to_its_limit() {
        let client = client(api().await);
        for (limit, expected) in [(3, vec![0, 1, 2]), (50, vec![0, 1, 2, 3, 4])] {
            let query = |limit, cursor| EventsQuery { limit, cursor, ..EventsQuery::default() };
            let items: Vec<u64> = client.list("/api/v1/events", limit, query).await.unwrap();
            assert_eq!(items, expected);
        }
    }

    #[tokio::test]
    async fn the_token_is_sent_and_a_missing_thing_has_its_exit_code() {
        let client = client(api().await);
        let answer: Value = client.get("/api/v1/events/evt_1").await.unwrap();
        assert_eq!(answer["token"], "Bearer a-token");
        let error = client.get::<Value>("/api/v1/events/evt_0").await.unwrap_err();
        assert_eq!(error.exit(), Exit::NotFound);
    }

    #[tokio::test]
    async fn a_hub_that_does_not_run_is_unreachable() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = client(base.clone()).get::<Value>("/api/v1/events").await.unwrap_err();
        assert_eq!(error.exit(), Exit::Unreachable);
        let said = error.to_string();
        assert!(said.starts_with(&format!("cannot reach {base}: Connection refused")), "{said}");
        assert!(said.ends_with("; is `weir serve` running there?"), "{said}");
    }

    #[test]
    fn an_error_is_one_line_with_its_code_and_request_id() {
        let problem = ApiProblem {
            code: "not_found".into(),
            detail: "no such event".into(),
            request_id: "req_1".into(),
            ..ApiProblem::default()
        };
        let status = StatusCode::NOT_FOUND;
        let error = ClientError::Refused { status, problem: Box::new(problem) };
        assert_eq!(error.to_string(), "no such event (not_found, req_1)");
        assert_eq!(error.exit(), Exit::NotFound);
    }

    #[test]
    fn a_query_has_only_the_fields_that_are_given() {
        let query = EventsQuery {
            source: vec!["@orders".parse().unwrap(), "github".parse().unwrap()].into(),
            since: Some("1h".parse().unwrap()),
            ..EventsQuery::default()
        };
        assert_eq!(query_string(&query), "since=1h&source=%40orders%2Cgithub");
        assert_eq!(query_string(&EventsQuery::default()), "");
    }

    #[test]
    fn an_id_stays_one_part_of_a_path() {
        let part = |text: &str| path_id(text).unwrap();
        assert_eq!(part("../metrics"), "%2E%2E%2Fmetrics");
        assert_eq!(part("evt1?x"), "evt1%3Fx");
        for bad in ["", &"e".repeat(257)] {
            assert!(path_id(bad).is_err(), "{bad}");
        }
    }
}
