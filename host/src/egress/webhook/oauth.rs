//! Access tokens by OAuth 2 client credentials: fetched through the guard, kept until they expire,
//! by one request at a time. Neither tokens nor the answers that bring them are logged.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use weir_core::verify::Secret;
use weir_store::ResponseRecord;

use super::AGENT;
use super::client::{HttpsClient, not_sent};
use super::mask::SecretMask;
use crate::config::OAuthClient;
use crate::egress::transport::{SendOutcome, Subject};

/// Bytes of an answer with a token.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The life of a token whose answer says none.
const LIFE_DEFAULT: Duration = Duration::from_secs(300);
/// The longest time for which a token is kept.
const LIFE_MAX: Duration = Duration::from_secs(86_400);
/// A token is replaced this long before it expires, or a tenth of its life if that is less, because
/// a request takes its time.
const MARGIN_MAX: Duration = Duration::from_secs(30);
/// Bytes of the code of an error that are repeated.
const CODE_BYTES_MAX: usize = 60;

/// A token, until it expires.
pub(super) struct AccessToken {
    /// The value of `Authorization`.
    pub(super) value: HeaderValue,
    /// Hides the token in what is kept of responses.
    pub(super) mask: SecretMask,
    fresh_until: Instant,
}

/// Fetches and keeps the token of one endpoint.
pub(super) struct TokenSource {
    url: Uri,
    authorization: Option<HeaderValue>,
    form: Secret,
    last: Mutex<Option<Fetched>>,
}

/// The end of the last fetch.
enum Fetched {
    Token(Arc<AccessToken>),
    /// Those who waited for it while it was made get the same answer.
    Failed {
        at: Instant,
        outcome: SendOutcome,
    },
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<Value>,
}

impl TokenSource {
    pub(super) fn new(client: &OAuthClient) -> Self {
        Self {
            url: client.token_url.clone(),
            authorization: client.authorization.clone(),
            form: client.form.clone(),
            last: Mutex::new(None),
        }
    }

    /// A token that has not expired. `refused` is one that the endpoint did not accept, and is not
    /// given out again.
    pub(super) async fn token(
        &self,
        client: &HttpsClient,
        mask: &SecretMask,
        refused: Option<&Arc<AccessToken>>,
    ) -> Result<Arc<AccessToken>, SendOutcome> {
        let asked_at = Instant::now();
        // The one that has the lock fetches, and the others wait here for its result.
        let mut last = self.last.lock().await;
        match &*last {
            Some(Fetched::Token(token))
                if token.fresh_until > Instant::now()
                    && !refused.is_some_and(|refused| Arc::ptr_eq(refused, token)) =>
            {
                return Ok(token.clone());
            }
            Some(Fetched::Failed { at, outcome }) if *at >= asked_at => return Err(outcome.clone()),
            _ => {}
        }
        match self.fetch(client, mask).await {
            Ok(token) => {
                let token = Arc::new(token);
                *last = Some(Fetched::Token(token.clone()));
                Ok(token)
            }
            Err(outcome) => {
                *last = Some(Fetched::Failed { at: Instant::now(), outcome: outcome.clone() });
                Err(outcome)
            }
        }
    }

    async fn fetch(
        &self,
        client: &HttpsClient,
        mask: &SecretMask,
    ) -> Result<AccessToken, SendOutcome> {
        let asked_at = Instant::now();
        let response =
            client.request(self.request()).await.map_err(|error| not_sent(&error, mask))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes);
        if !status.is_success() {
            return Err(self.refused(status, &body.unwrap_or_default()));
        }
        let answer: Option<TokenAnswer> =
            body.ok().and_then(|body| serde_json::from_slice(&body).ok());
        let Some(answer) = answer else {
            return Err(self.rejected(Subject::Failure, status, "without a token in JSON"));
        };
        if answer.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(self.rejected(Subject::Endpoint, status, "with a token of another type"));
        }
        let value = HeaderValue::try_from(format!("Bearer {}", answer.access_token));
        let Ok(mut value) = value else {
            return Err(self.rejected(Subject::Failure, status, "with a token that is no header"));
        };
        value.set_sensitive(true);
        let life = life(answer.expires_in.as_ref());
        let fresh_until = asked_at + (life - MARGIN_MAX.min(life / 10));
        let mask = SecretMask::of_words([answer.access_token.as_bytes()]);
        Ok(AccessToken { value, mask, fresh_until })
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(Bytes::copy_from_slice(self.form.expose())));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, AGENT);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        request
    }

    /// The outcome if no token was given. The credentials are at fault for 4xx answers.
    fn refused(&self, status: StatusCode, body: &[u8]) -> SendOutcome {
        let about = match status.as_u16() {
            408 | 425 => Subject::Failure,
            429 => Subject::Overload,
            400..=499 => Subject::Endpoint,
            _ => Subject::Failure,
        };
        let code = error_code(body).map(|code| format!(" ({code})")).unwrap_or_default();
        let advice = match about {
            Subject::Endpoint => "; check auth.oauth2",
            _ => "",
        };
        self.rejected(about, status, &format!("no token{code}{advice}"))
    }

    fn rejected(&self, about: Subject, status: StatusCode, what: &str) -> SendOutcome {
        let host = self.url.host().unwrap_or_default();
        SendOutcome::Rejected {
            about,
            response: ResponseRecord { status: status.as_u16(), snippet: "".into() },
            retry_after: None,
            detail: format!("the token server {host} answered HTTP {status}: {what}").into(),
        }
    }
}

/// The code of an OAuth error, such as `invalid_client`. Nothing else of the body is repeated.
fn error_code(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let code = body.get("error")?.as_str()?;
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    (code.len() <= CODE_BYTES_MAX && code.bytes().all(is_plain)).then(|| code.to_owned())
}

/// The life of a token. Some servers write the seconds as text.
fn life(expires_in: Option<&Value>) -> Duration {
    let seconds = match expires_in {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    seconds.map_or(LIFE_DEFAULT, Duration::from_secs).min(LIFE_MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_life_is_read_from_numbers_and_text() {
        let secs = |value: Value| life(Some(&value)).as_secs();
        assert_eq!((secs(json!(60)), secs(json!("90")), secs(json!(null))), (60, 90, 300));
        assert_eq!(
            (secs(json!(-1)), secs(json!(9_999_999)), life(None).as_secs()),
            (300, 86_400, 300)
        );
    }

    #[test]
    fn only_the_code_of_an_error_is_repeated() {
        let code = |body: &str| error_code(body.as_bytes());
        assert_eq!(code(r#"{"error":"invalid_client"}"#).as_deref(), Some("invalid_client"));
        for other in ["", "{}", r#"{"error":"Bad secret hunter2"}"#, r#"{"error":{"a":1}}"#] {
            assert_eq!(code(other), None, "{other}");
        }
    }
}
