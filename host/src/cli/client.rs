//! Talking to a running hub and to endpoints over HTTP. Knows no command and prints nothing.

use std::path::PathBuf;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use serde_json::Value;
use thiserror::Error;
use weir_core::error::chain;

use super::error::CommandError;
use crate::admin::token;
use crate::config::{ConfigErrors, HubLocation};
use crate::http_client::{HttpClient, HttpError, local_base};
use crate::program::exit::Exit;

/// Why the other side did not do what was asked.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    #[error("cannot reach {at}: {cause}; is `weir serve` running there?")]
    Unreachable { at: String, cause: String },
    /// The hub said no.
    #[error("{}", refusal(.status, .problem))]
    Refused { status: StatusCode, problem: Box<ProblemDocument> },
    /// The answer is not what a hub says.
    #[error("{at} answered {status} with something that is no JSON; is it a weir hub?")]
    Unreadable { at: String, status: StatusCode },
    /// What is here does not let anything be asked.
    #[error("{0}")]
    Unusable(String),
}

impl From<HttpError> for ClientError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Unreachable { at, cause } => Self::Unreachable { at, cause },
            HttpError::Setup(why) => Self::Unusable(why),
        }
    }
}

impl ClientError {
    /// How the process ends.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND => Exit::NotFound,
            Self::Unusable(_) => Exit::Usage,
            Self::Refused { .. } | Self::Unreadable { .. } => Exit::Failure,
        }
    }
}

/// What a problem document says.
#[derive(Debug, Default)]
pub(crate) struct ProblemDocument {
    code: String,
    detail: String,
    request_id: String,
}

impl ProblemDocument {
    fn of(document: &Value) -> Self {
        let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
        Self { code: text("code"), detail: text("detail"), request_id: text("request_id") }
    }
}

fn refusal(status: &StatusCode, problem: &ProblemDocument) -> String {
    let ProblemDocument { code, detail, request_id } = problem;
    let code = if code.is_empty() { "refused" } else { code };
    let mut text = match detail.is_empty() {
        true => format!("the hub answered {}", status.as_u16()),
        false => detail.clone(),
    };
    if *status == StatusCode::UNAUTHORIZED {
        text.push_str("; give the token with --token or WEIR_ADMIN_TOKEN");
    }
    match request_id.as_str() {
        "" => format!("{text} ({code})"),
        id => format!("{text} ({code}, {id})"),
    }
}

/// The admin API of a running hub.
#[derive(Debug)]
pub(super) struct AdminClient {
    http: HttpClient,
    base: String,
    token: Token,
}

/// The token to send.
#[derive(Debug)]
enum Token {
    /// This.
    Known(HeaderValue),
    /// Nothing: there is none here. The hub says what may be done without.
    None,
    /// Nothing, and why: what needs no token is done without.
    Unreadable(String),
}

/// Which hub is meant.
#[derive(Debug, Clone, clap::Args)]
pub struct HubArgs {
    /// The configuration of the hub
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address of the hub's admin API, such as http://127.0.0.1:8081
    #[arg(long, value_name = "URL", env = "WEIR_ADMIN_URL")]
    pub admin: Option<String>,
    /// The admin token; else the one in the data folder
    #[arg(long, value_name = "TOKEN", env = "WEIR_ADMIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

impl AdminClient {
    /// Finds the hub that is meant and its token. Reaches for nothing yet.
    pub(super) fn find(args: &HubArgs) -> Result<Self, CommandError> {
        // The file is asked only for what was not said: it may not even be on this machine.
        let place = match (&args.admin, &args.token) {
            (Some(_), Some(_)) => Err(ConfigErrors::of_file("", "not needed")),
            _ => HubLocation::find(args.config.as_deref()),
        };
        let base = match (&args.admin, &place) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Ok(place)) => local_base(place.admin, place.certificate.is_some()),
            (None, Err(errors)) => return Err(errors.clone().into()),
        };
        let here = place.as_ref().ok().filter(|_| args.admin.is_none());
        let http = HttpClient::trusting(here.and_then(|place| place.certificate.as_deref()))?;
        let parsed: Option<Uri> = base.parse().ok();
        if parsed.is_none_or(|uri| !matches!(uri.scheme_str(), Some("http" | "https"))) {
            let what = "--admin takes a URL such as http://127.0.0.1:8081".to_owned();
            return Err(CommandError::Usage(what));
        }
        let token = match (&args.token, place) {
            (Some(token), _) => Token::Known(bearer(token.as_bytes())?),
            (None, Ok(HubLocation { token: Some(token), .. })) => {
                Token::Known(bearer(token.expose())?)
            }
            (None, Ok(HubLocation { data_dir, .. })) => match token::read(&data_dir) {
                Ok(Some(token)) => Token::Known(bearer(token.as_bytes())?),
                Ok(None) => Token::None,
                Err(error) => Token::Unreadable(chain(&error)),
            },
            (None, Err(_)) => Token::None,
        };
        Ok(Self { http, base, token })
    }

    /// Asks. `parameters` with no value are left out.
    pub(super) async fn get(
        &self,
        path: &str,
        parameters: &[(&str, Option<&str>)],
    ) -> Result<Value, ClientError> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in parameters {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        let query = query.finish();
        let mark = if query.is_empty() { "" } else { "?" };
        self.ask(Method::GET, &format!("{path}{mark}{query}"), Bytes::new()).await
    }

    /// Tells.
    pub(super) async fn post(&self, path: &str) -> Result<Value, ClientError> {
        self.ask(Method::POST, path, Bytes::new()).await
    }

    /// Tells, with more to say.
    pub(super) async fn post_json(&self, path: &str, said: &Value) -> Result<Value, ClientError> {
        self.ask(Method::POST, path, said.to_string().into()).await
    }

    /// Takes away.
    pub(super) async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.ask(Method::DELETE, path, Bytes::new()).await
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Value, ClientError> {
        let url = format!("{}{path}", self.base);
        let mut request =
            Request::builder().method(method).uri(&url).header(ACCEPT, "application/json");
        if let Token::Known(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body)).map_err(|_| ClientError::Unreachable {
            at: self.base.clone(),
            cause: "that is not a URL".into(),
        })?;
        let answer = self.http.send(request).await?;
        let status = answer.status;
        let document = serde_json::from_slice::<Value>(&answer.body);
        match document {
            Ok(document) if status.is_success() => Ok(document),
            Ok(document) => {
                let mut problem = ProblemDocument::of(&document);
                if let (StatusCode::UNAUTHORIZED, Token::Unreadable(why)) = (status, &self.token) {
                    problem.detail = format!("this needs the admin token, and {why}");
                }
                Err(ClientError::Refused { status, problem: Box::new(problem) })
            }
            Err(_) => Err(ClientError::Unreadable { at: self.base.clone(), status }),
        }
    }
}

fn bearer(token: &[u8]) -> Result<HeaderValue, ClientError> {
    let value = HeaderValue::from_bytes(&[b"Bearer ", token].concat());
    let mut value = value.map_err(|_| {
        ClientError::Unusable("the admin token holds characters that no token has".into())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Longest id, in bytes: senders' own may be long.
const ID_BYTES_MAX: usize = 256;

/// An id as it may stand in a path: whatever it holds, it stays one part of it.
pub(super) fn id(text: &str) -> Result<String, CommandError> {
    if text.is_empty() || text.len() > ID_BYTES_MAX {
        let what = format!("an id has 1 to {ID_BYTES_MAX} bytes, such as evt_01JD… or dlv_01JD…");
        return Err(CommandError::Usage(what));
    }
    Ok(percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::Path as Segment;
    use axum::routing::get;

    use super::super::events::pages;
    use super::*;

    /// A hub's API that has five events, two a page, and shows each token that it is sent.
    async fn api() -> String {
        let list = |uri: Uri| async move {
            let query = uri.query().unwrap_or_default();
            let page: u64 = query.split("cursor=").nth(1).and_then(|c| c.parse().ok()).unwrap_or(0);
            let items: Vec<_> = (2 * page..5.min(2 * page + 2)).collect();
            let next = (page < 2).then(|| (page + 1).to_string());
            axum::Json(serde_json::json!({ "items": items, "next": next }))
        };
        let one = |Segment(id): Segment<String>, headers: http::HeaderMap| async move {
            if id == "evt_0" {
                let problem = serde_json::json!({ "code": "not_found", "detail": "no such event" });
                return (StatusCode::NOT_FOUND, axum::Json(problem));
            }
            let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
            (StatusCode::OK, axum::Json(serde_json::json!({ "token": token })))
        };
        let router =
            Router::new().route("/api/v1/events", get(list)).route("/api/v1/events/{id}", get(one));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        base
    }

    fn hub(admin: String) -> AdminClient {
        let token = Some("a-token".into());
        AdminClient::find(&HubArgs { config: None, admin: Some(admin), token }).unwrap()
    }

    #[tokio::test]
    async fn a_list_is_read_page_by_page_up_to_its_limit() {
        let hub = hub(api().await);
        for (limit, wanted) in [(3, vec![0, 1, 2]), (50, vec![0, 1, 2, 3, 4])] {
            let items = pages(&hub, "/api/v1/events", &[("source", None)], limit).await.unwrap();
            assert_eq!(items.iter().filter_map(Value::as_u64).collect::<Vec<_>>(), wanted);
        }
    }

    #[tokio::test]
    async fn the_token_travels_and_what_is_not_there_has_its_own_exit_code() {
        let hub = hub(api().await);
        assert_eq!(hub.get("/api/v1/events/evt_1", &[]).await.unwrap()["token"], "Bearer a-token");
        let error = hub.get("/api/v1/events/evt_0", &[]).await.unwrap_err();
        assert_eq!(error.exit(), Exit::NotFound);
    }

    #[tokio::test]
    async fn a_hub_that_is_not_there_is_said_to_be_unreachable() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = hub(base.clone()).get("/api/v1/events", &[]).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Unreachable);
        let said = error.to_string();
        assert!(said.starts_with(&format!("cannot reach {base}: Connection refused")), "{said}");
        assert!(said.ends_with("; is `weir serve` running there?"), "{said}");
    }

    #[test]
    fn a_refusal_is_one_line_with_its_code_and_request_id() {
        let document = serde_json::json!({
            "code": "not_found", "detail": "no such event", "request_id": "req_1", "title": "Not Found"
        });
        let error = ClientError::Refused {
            status: StatusCode::NOT_FOUND,
            problem: Box::new(ProblemDocument::of(&document)),
        };
        assert_eq!(error.to_string(), "no such event (not_found, req_1)");
        assert_eq!(error.exit(), Exit::NotFound);
    }

    #[test]
    fn an_id_stays_one_part_of_a_path() {
        let part = |text: &str| id(text).unwrap();
        assert_eq!(part("../metrics"), "%2E%2E%2Fmetrics");
        assert_eq!(part("evt1?x"), "evt1%3Fx");
        for bad in ["", &"e".repeat(257)] {
            assert!(id(bad).is_err(), "{bad}");
        }
    }
}
