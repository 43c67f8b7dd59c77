//! Calls to a provider's API: through the guard, with the operator's credential, and with errors
//! that say what the provider answered.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use thiserror::Error;
use weir_core::verify::Secret;

use crate::guard::AllowedNetworks;
use crate::http_client::{HttpClient, HttpError, HttpResponse};

/// Longest time of one call.
const CALL_TIME_MAX: Duration = Duration::from_secs(30);
/// Characters of a provider's message that are shown.
const MESSAGE_CHARS_MAX: usize = 300;

/// A call that a provider did not do.
#[derive(Debug, Error)]
pub(crate) enum ProviderApiError {
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The provider refused. Trying again helps only if the advice says so.
    #[error("{provider} answered {status}: {message}{advice}")]
    Refused { provider: &'static str, status: StatusCode, message: String, advice: String },
    /// The answer is not what the provider's documentation says.
    #[error("{provider} answered in another form than its documentation says: {what}")]
    Unexpected { provider: &'static str, what: String },
    /// The API has no such operation.
    #[error("{0}")]
    Impossible(String),
    /// The address or the credential cannot be used.
    #[error("{0}")]
    Setup(String),
}

/// Characters that are encoded in a part of a path: all but those that never are.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

/// Finds the message in the body of an error.
type MessageOf = fn(&Value) -> Option<String>;

/// One API of a provider.
#[derive(Debug, Clone)]
pub(crate) struct ApiClient {
    provider: &'static str,
    http: HttpClient,
    /// Without a slash at its end.
    base: String,
    headers: HeaderMap,
    message_of: MessageOf,
}

impl ApiClient {
    /// An API at a URL. One that the operator wrote may be on this machine or in the network.
    pub(crate) fn new(
        provider: &'static str,
        usual: &str,
        given: Option<&str>,
        message_of: MessageOf,
    ) -> Result<Self, ProviderApiError> {
        let allow = match given {
            Some(_) => AllowedNetworks { loopback: true, private: true, ..Default::default() },
            None => AllowedNetworks::default(),
        };
        let base = given.unwrap_or(usual).trim_end_matches('/').to_owned();
        let uri: Option<Uri> = base.parse().ok();
        let is_url = uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
        });
        if !is_url {
            let what = format!("--api takes a URL such as {usual}");
            return Err(ProviderApiError::Setup(what));
        }
        let mut headers = HeaderMap::new();
        let agent = HeaderValue::from_static(concat!("Weir/", env!("CARGO_PKG_VERSION")));
        headers.insert(USER_AGENT, agent);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        Ok(Self { provider, http: HttpClient::guarded(allow)?, base, headers, message_of })
    }

    /// Adds a header to every call.
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// Adds a header with a credential to every call.
    pub(crate) fn with_secret(
        mut self,
        name: &'static str,
        prefix: &str,
        secret: &[u8],
    ) -> Result<Self, ProviderApiError> {
        let value = HeaderValue::from_bytes(&[prefix.as_bytes(), secret].concat());
        let mut value = value.map_err(|_| {
            ProviderApiError::Setup(
                "the credential contains characters that no header may have".into(),
            )
        })?;
        value.set_sensitive(true);
        self.headers.insert(HeaderName::from_static(name), value);
        Ok(self)
    }

    /// Adds a bearer token to every call.
    pub(crate) fn with_bearer(self, token: &Secret) -> Result<Self, ProviderApiError> {
        self.with_secret("authorization", "Bearer ", token.expose())
    }

    /// Reads what is at a path, or at a URL of this API that it gave itself.
    pub(crate) async fn get(&self, path: &str) -> Result<(Value, HeaderMap), ProviderApiError> {
        self.call(Method::GET, path, None).await
    }

    /// Reads the text at a path, where its bytes matter.
    pub(crate) async fn get_text(
        &self,
        path: &str,
    ) -> Result<(Bytes, HeaderMap), ProviderApiError> {
        let answer = self.exchange(Method::GET, path, None).await?;
        Ok((answer.body, answer.headers))
    }

    /// Sends a document.
    pub(crate) async fn json(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Value, ProviderApiError> {
        let body = ("application/json", Bytes::from(body.to_string()));
        Ok(self.call(method, path, Some(body)).await?.0)
    }

    /// Sends a form.
    pub(crate) async fn form(
        &self,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<Value, ProviderApiError> {
        let body = ("application/x-www-form-urlencoded", Bytes::from(encoded(fields)));
        Ok(self.call(Method::POST, path, Some(body)).await?.0)
    }

    /// Does something without a body.
    pub(crate) async fn bare(&self, method: Method, path: &str) -> Result<Value, ProviderApiError> {
        Ok(self.call(method, path, None).await?.0)
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<(Value, HeaderMap), ProviderApiError> {
        let answer = self.exchange(method, path, body).await?;
        let value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        Ok((value, answer.headers))
    }

    /// One call. An answer other than of success is an error.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<HttpResponse, ProviderApiError> {
        let uri = match path.strip_prefix('/') {
            Some(_) => format!("{}{path}", self.base),
            // The credential goes nowhere else.
            None if path.starts_with(&format!("{}/", self.base)) => path.to_owned(),
            None => return Err(self.unexpected("it leads to another host")),
        };
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(headers) = request.headers_mut() {
            headers.clone_from(&self.headers);
            if let Some((kind, _)) = &body {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            }
        }
        let body = body.map(|(_, body)| body).unwrap_or_default();
        let request = request.body(Full::new(body));
        let request = request
            .map_err(|_| ProviderApiError::Setup("the address is not one of a URL".into()))?;
        let answer = self.http.send_within(request, CALL_TIME_MAX).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        let said = (self.message_of)(&value);
        let message = said.unwrap_or_else(|| "no message".to_owned());
        Err(ProviderApiError::Refused {
            provider: self.provider,
            status: answer.status,
            message: message.chars().take(MESSAGE_CHARS_MAX).collect(),
            advice: advice(answer.status, &answer.headers),
        })
    }

    /// An answer in another form than documented.
    pub(crate) fn unexpected(&self, what: &str) -> ProviderApiError {
        ProviderApiError::Unexpected { provider: self.provider, what: what.to_owned() }
    }

    /// A refusal inside an answer of success.
    pub(crate) fn refused(&self, message: &str, advice: &str) -> ProviderApiError {
        ProviderApiError::Refused {
            provider: self.provider,
            status: StatusCode::OK,
            message: message.chars().take(MESSAGE_CHARS_MAX).collect(),
            advice: advice.to_owned(),
        }
    }

    /// The list in an answer.
    pub(crate) fn list_in<'v>(&self, value: &'v Value) -> Result<&'v Vec<Value>, ProviderApiError> {
        value.as_array().ok_or_else(|| self.unexpected("a list is missing"))
    }

    /// A field of an answer as text, also if it is a number.
    pub(crate) fn text(&self, value: &Value, field: &str) -> Result<String, ProviderApiError> {
        match &value[field] {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(self.unexpected(&format!("the field `{field}` is missing"))),
        }
    }
}

/// The fields of a form.
fn encoded(fields: &[(&str, &str)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields);
    form.finish()
}

/// The advice for a refusal.
fn advice(status: StatusCode, headers: &HeaderMap) -> String {
    let wait = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    match status.as_u16() {
        401 => {
            "; the credential is not valid there: check it, and the account that it is of".into()
        }
        403 => "; the credential may not do this: give it the permission for webhooks".into(),
        404 => {
            "; check the name of the account, repository or shop, and that the credential may see \
                it"
            .into()
        }
        429 => match wait {
            Some(seconds) => format!("; try again in {seconds} s"),
            None => "; try again in a minute".into(),
        },
        500..=599 => "; try again later".into(),
        _ => String::new(),
    }
}

/// The URL that a `Link` header names as the next page.
pub(super) fn next_link(headers: &HeaderMap) -> Option<String> {
    let links = headers.get_all("link").iter().filter_map(|value| value.to_str().ok());
    let mut links = links.flat_map(|line| line.split(','));
    let next = links.find(|link| {
        link.split(';').skip(1).any(|part| matches!(part.trim(), "rel=\"next\"" | "rel=next"))
    })?;
    let url = next.split(';').next()?.trim();
    Some(url.strip_prefix('<')?.strip_suffix('>')?.to_owned())
}

/// A word as one part of a path.
pub(super) fn part(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_in_the_link_header() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("link", HeaderValue::from_static(text));
            next_link(&headers)
        };
        let both = "<https://a/x?page=1>; rel=\"prev\", <https://a/x?page=3>; rel=\"next\"";
        assert_eq!(of(both).as_deref(), Some("https://a/x?page=3"));
        assert_eq!(of("<https://a/x>; rel=\"last\""), None);
    }

    #[tokio::test]
    async fn the_credential_goes_to_no_other_host() {
        let api = ApiClient::new("github", "https://api.github.com", None, |_| None).unwrap();
        for path in ["https://evil.example/x", "https://api.github.com.evil.example/x"] {
            let error = api.get(path).await.unwrap_err();
            assert!(error.to_string().contains("another host"), "{error}");
        }
    }
}
