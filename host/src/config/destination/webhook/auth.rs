//! `auth`: the credentials that the hub presents to an endpoint. A message or a handler never sees
//! them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use weir_core::verify::Secret;
use zeroize::Zeroizing;

use crate::config::context::LoadContext;
use crate::config::secret;
use crate::config::tree::Section;
use crate::config::url::{endpoint, reachable};
use crate::guard::AllowedNetworks;

/// The bytes that are escaped in a form.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The most parameters of a token request.
const PARAMS_MAX: usize = 16;

/// The credentials of one endpoint.
#[derive(Debug)]
pub enum WebhookAuth {
    /// A fixed value of `Authorization`: a bearer token, or a name with its password.
    Fixed(Authorization),
    /// Tokens by OAuth 2 client credentials.
    OAuth(OAuthClient),
}

/// A value of `Authorization`, with the secrets in it.
pub struct Authorization {
    pub value: HeaderValue,
    pub secret: Secret,
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization(…)")
    }
}

/// The request for a token.
pub struct OAuthClient {
    pub token_url: Uri,
    /// The client's name and secret, if they are in a header.
    pub authorization: Option<HeaderValue>,
    /// The form of the request.
    pub form: Secret,
    /// The secrets in the request.
    pub secrets: Vec<Secret>,
}

impl fmt::Debug for OAuthClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthClient").field("host", &self.token_url.host()).finish_non_exhaustive()
    }
}

impl WebhookAuth {
    /// The secrets in it, each by itself.
    pub fn secrets(&self) -> &[Secret] {
        match self {
            Self::Fixed(authorization) => std::slice::from_ref(&authorization.secret),
            Self::OAuth(client) => &client.secrets,
        }
    }

    /// Everything that is presented, in some form.
    pub(crate) fn presented(&self) -> &[u8] {
        match self {
            Self::Fixed(authorization) => authorization.value.as_bytes(),
            Self::OAuth(client) => client.form.expose(),
        }
    }
}

/// Reads `auth`.
pub(super) fn read(
    section: &mut Section<'_>,
    allow: AllowedNetworks,
    context: &LoadContext<'_>,
) -> Option<WebhookAuth> {
    let mut auth = section.section("auth");
    let bearer = auth.has("bearer");
    let basic = auth.has("username") || auth.has("password");
    let oauth = auth.has("oauth2");
    let token = secret::one(&mut auth, "bearer", context);
    let username = auth.maybe::<String>("username");
    let password = secret::one(&mut auth, "password", context);
    let mut client = auth.section("oauth2");
    let client = oauth.then(|| oauth_client(&mut client, allow, context)).flatten();
    auth.finish();
    if !auth.is_given() {
        return None;
    }
    let read = match (bearer, basic, oauth) {
        (true, false, false) => token.and_then(|token| bearer_of(&auth, token)),
        (false, true, false) => {
            for key in ["username", "password"].into_iter().filter(|key| !auth.has(key)) {
                auth.problem(key, "is missing");
            }
            basic_of(&auth, &username?, &password?)
        }
        (false, false, true) => client.map(WebhookAuth::OAuth),
        _ => {
            let what = "write one of bearer, username with password, or oauth2";
            auth.problem("", what);
            None
        }
    };
    if read.is_some() && authorization_among_headers(section) {
        let what = "sets the header `authorization`, and `headers` does too; remove one";
        section.problem("auth", what);
    }
    read
}

fn authorization_among_headers(section: &mut Section<'_>) -> bool {
    let headers = if section.is_table("headers") { section.entries("headers") } else { None };
    headers.into_iter().flatten().any(|(name, ..)| name.eq_ignore_ascii_case("authorization"))
}

fn bearer_of(auth: &Section<'_>, token: Secret) -> Option<WebhookAuth> {
    let value = [b"Bearer ", token.expose()].concat();
    match sensitive(&value).filter(|_| token.expose().iter().all(u8::is_ascii_graphic)) {
        Some(value) => Some(WebhookAuth::Fixed(Authorization { value, secret: token })),
        None => {
            let what = "must be printable ASCII without spaces and without the word Bearer, \
                        because it is sent in a header";
            auth.problem("bearer", what);
            None
        }
    }
}

fn basic_of(auth: &Section<'_>, username: &str, password: &Secret) -> Option<WebhookAuth> {
    if username.contains(':') || username.chars().any(char::is_control) {
        auth.problem("username", "may not hold a colon or a control character");
        return None;
    }
    let value = basic_value(username.as_bytes(), password.expose())?;
    let secret = password.clone();
    Some(WebhookAuth::Fixed(Authorization { value, secret }))
}

/// The value of `Authorization` for a name and its password.
pub(super) fn basic_value(username: &[u8], password: &[u8]) -> Option<HeaderValue> {
    let login = Zeroizing::new([username, b":", password].concat());
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(&*login)));
    sensitive(text.as_bytes())
}

fn sensitive(bytes: &[u8]) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(bytes).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn oauth_client(
    section: &mut Section<'_>,
    allow: AllowedNetworks,
    context: &LoadContext<'_>,
) -> Option<OAuthClient> {
    let token_url = section.must::<String>("token_url").and_then(|text| match endpoint(&text) {
        Ok(url) => Some(url),
        Err(what) => {
            section.problem("token_url", what);
            None
        }
    });
    reachable(section, "token_url", token_url.as_ref(), allow);
    let id = section.must::<String>("client_id");
    let client_secret = secret::one(section, "client_secret", context);
    if !section.has("client_secret") {
        section.problem("client_secret", "is missing");
    }
    let scope = section.maybe::<String>("scope");
    let in_body = match section.maybe::<String>("client_auth").as_deref() {
        None | Some("basic") => false,
        Some("body") => true,
        Some(_) => {
            section.problem("client_auth", "must be \"basic\" or \"body\"");
            return None;
        }
    };
    let params = params(section, context);
    section.finish();
    let (id, client_secret) = (id?, client_secret?);
    let mut form = Zeroizing::new(b"grant_type=client_credentials".to_vec());
    let mut field = |name: &str, value: &[u8]| {
        form.extend_from_slice(format!("&{}=", encoded(name.as_bytes()).as_str()).as_bytes());
        form.extend_from_slice(encoded(value).as_bytes());
    };
    if let Some(scope) = scope {
        field("scope", scope.as_bytes());
    }
    for (name, value) in &params {
        field(name, value.expose());
    }
    let mut authorization = None;
    if in_body {
        field("client_id", id.as_bytes());
        field("client_secret", client_secret.expose());
    } else {
        // Both are encoded as in a form before they are joined, says RFC 6749.
        let (id, secret) = (encoded(id.as_bytes()), encoded(client_secret.expose()));
        authorization = basic_value(id.as_bytes(), secret.as_bytes());
    }
    let secrets = params.into_iter().map(|(_, value)| value).chain([client_secret]).collect();
    let form = Secret::new(form.to_vec());
    Some(OAuthClient { token_url: token_url?, authorization, form, secrets })
}

fn params(section: &mut Section<'_>, context: &LoadContext<'_>) -> Vec<(String, Secret)> {
    let given = section.entries("params").unwrap_or_default();
    if given.len() > PARAMS_MAX {
        section.problem("params", format!("has more than {PARAMS_MAX} entries"));
    }
    let mut params = Vec::with_capacity(given.len().min(PARAMS_MAX));
    for (name, _, value) in given.into_iter().take(PARAMS_MAX) {
        let of_request = ["grant_type", "client_id", "client_secret", "scope"];
        if of_request.contains(&name) {
            section.problem(&format!("params.{name}"), "is a key of its own, or set by the hub");
        } else if let Some(value) =
            secret::text_or_reference(section, "params", name, value, context)
        {
            params.push((name.to_owned(), Secret::new(value)));
        }
    }
    params
}

fn encoded(bytes: &[u8]) -> Zeroizing<String> {
    let text = percent_encoding::percent_encode(bytes, ESCAPED);
    Zeroizing::new(text.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{problems_with, webhook_with_variables};
    use super::*;

    fn auth(text: &str) -> WebhookAuth {
        webhook_with_variables(text, &[("TOKEN", "t0ken-0123"), ("PASSWORD", "p:ss")]).auth.unwrap()
    }

    fn fixed(text: &str) -> String {
        let WebhookAuth::Fixed(authorization) = auth(text) else { panic!("{text}") };
        assert!(authorization.value.is_sensitive());
        authorization.value.to_str().unwrap().to_owned()
    }

    #[test]
    fn bearer_and_basic_become_a_header() {
        assert_eq!(fixed("auth = { bearer = { env = \"TOKEN\" } }"), "Bearer t0ken-0123");
        let basic = "auth = { username = \"weir\", password = { env = \"PASSWORD\" } }";
        assert_eq!(fixed(basic), format!("Basic {}", STANDARD.encode("weir:p:ss")));
    }

    #[test]
    fn a_token_request_has_its_parameters_encoded() {
        let client = |more: &str| {
            let text = format!(
                "auth.oauth2 = {{ token_url = \"https://login.example.com/token\", \
                 client_id = \"we ir\", client_secret = {{ env = \"PASSWORD\" }}{more} }}"
            );
            let WebhookAuth::OAuth(client) = auth(&text) else { panic!() };
            let form = String::from_utf8(client.form.expose().to_vec()).unwrap();
            (form, client.authorization)
        };
        let (form, authorization) =
            client(", scope = \"a b\", params = { audience = \"https://x\" }");
        assert_eq!(form, "grant_type=client_credentials&scope=a%20b&audience=https%3A%2F%2Fx");
        let basic = format!("Basic {}", STANDARD.encode("we%20ir:p%3Ass"));
        assert_eq!(authorization.unwrap(), basic);
        let (form, authorization) = client(", client_auth = \"body\"");
        assert_eq!(form, "grant_type=client_credentials&client_id=we%20ir&client_secret=p%3Ass");
        assert_eq!(authorization, None);
    }

    #[test]
    fn mistakes_in_credentials_are_named() {
        let variables = &[("TOKEN", "t0ken"), ("SPACED", "Bearer t0ken")];
        for (text, path) in [
            ("auth = {}", "auth"),
            ("auth = { username = \"a\" }", "auth.password"),
            ("auth = { username = \"a:b\", password = { env = \"TOKEN\" } }", "auth.username"),
            ("auth = { bearer = { env = \"SPACED\" } }", "auth.bearer"),
            ("auth = { bearer = { env = \"TOKEN\" }, username = \"a\" }", "auth"),
            (
                "auth = { bearer = { env = \"TOKEN\" } }\nheaders = { Authorization = \"x\" }",
                "auth",
            ),
            ("auth = { oauth2 = { token_url = \"ftp://x\" } }", "auth.oauth2.token_url"),
            ("auth = { speed = 1, bearer = { env = \"TOKEN\" } }", "auth.speed"),
        ] {
            let found = problems_with(text, variables);
            assert!(found.iter().any(|problem| problem == path), "{text}: {found:?}");
        }
    }
}
