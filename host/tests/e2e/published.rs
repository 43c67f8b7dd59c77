//! Local servers that speak the published webhook APIs of providers: paths, methods, fields and
//! error bodies as their documentation says. They keep what they are told and check the credential.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use axum::routing::any;
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};

/// The credential that the servers accept.
pub(crate) const TOKEN: &str = "a-credential-for-tests";

/// A request that a server got.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The fields of a form, in order.
    pub(crate) fn form(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn field(&self, name: &str) -> Option<String> {
        self.form().into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    pub(crate) fn asked(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }
}

/// An answer: status, headers and JSON.
pub(crate) type FakeAnswer = (u16, Vec<(&'static str, String)>, Value);

/// An answer without further headers.
pub(crate) fn says(status: u16, body: Value) -> FakeAnswer {
    (status, Vec::new(), body)
}

type Answer = Box<dyn Fn(&Call, &mut Vec<Value>, SocketAddr) -> FakeAnswer + Send + Sync>;

struct Inner {
    calls: Mutex<Vec<Call>>,
    /// The webhooks that the provider has, in its own form.
    hooks: Mutex<Vec<Value>>,
    answer: Answer,
    address: SocketAddr,
}

/// A provider's API on a port of this machine.
#[derive(Clone)]
pub(crate) struct Published(Arc<Inner>);

impl Published {
    /// Starts a server. `answer` gets the call, the webhooks and the server's address.
    pub(crate) async fn start(
        answer: impl Fn(&Call, &mut Vec<Value>, SocketAddr) -> FakeAnswer + Send + Sync + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (calls, hooks) = (Mutex::default(), Mutex::default());
        let inner = Arc::new(Inner { calls, hooks, answer: Box::new(answer), address });
        let router = Router::new().fallback(any(serve)).with_state(inner.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self(inner)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.address)
    }

    pub(crate) fn hooks(&self) -> Vec<Value> {
        self.0.hooks.lock().unwrap().clone()
    }

    pub(crate) fn add(&self, hook: Value) {
        self.0.hooks.lock().unwrap().push(hook);
    }

    /// The calls with this method, since the last look at any.
    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.calls.lock().unwrap())
    }
}

async fn serve(
    State(inner): State<Arc<Inner>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let query = uri.query().unwrap_or_default().to_owned();
    let call = Call { method, path: uri.path().to_owned(), query, headers, body };
    inner.calls.lock().unwrap().push(call.clone());
    let (status, headers, body) =
        (inner.answer)(&call, &mut inner.hooks.lock().unwrap(), inner.address);
    let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    for (name, value) in headers {
        response = response.header(name, value);
    }
    let body = if status == 204 { Body::empty() } else { Body::from(body.to_string()) };
    response.header("content-type", "application/json").body(body).unwrap()
}

/// GitHub's webhooks of the repository acme/river.
///
/// <https://docs.github.com/en/rest/repos/webhooks>: pages by the `Link` header, the secret as
/// asterisks, 422 for a URL that is there already.
pub(crate) fn github(call: &Call, hooks: &mut Vec<Value>, at: SocketAddr) -> FakeAnswer {
    const HOOKS: &str = "/repos/acme/river/hooks";
    let docs = "https://docs.github.com/rest";
    if call.header("authorization") != format!("Bearer {TOKEN}") {
        return says(401, json!({ "message": "Bad credentials", "documentation_url": docs }));
    }
    assert_eq!(call.header("x-github-api-version"), "2022-11-28");
    let not_found = || says(404, json!({ "message": "Not Found", "documentation_url": docs }));
    let Some(rest) = call.path.strip_prefix(HOOKS) else { return not_found() };
    let index = |hooks: &[Value]| hooks.iter().position(|hook| format!("/{}", hook["id"]) == rest);
    match (call.method.as_str(), rest) {
        ("GET", "") => {
            // One hook a page, so that pages are followed.
            let page: usize = call.asked("page").map_or(1, |page| page.parse().unwrap());
            let shown: Vec<_> = hooks.iter().skip(page - 1).take(1).cloned().collect();
            let next = format!("<http://{at}{HOOKS}?page={}>; rel=\"next\"", page + 1);
            let links = (hooks.len() > page).then_some(("link", next));
            (200, links.into_iter().collect(), shown.into())
        }
        ("POST", "") => {
            let mut hook = call.json();
            assert_eq!(hook["name"], "web");
            let url = hook["config"]["url"].clone();
            if hooks.iter().any(|one| one["config"]["url"] == url) {
                return says(
                    422,
                    json!({
                        "message": "Validation Failed",
                        "errors": [{ "resource": "Hook", "code": "custom",
                                     "message": "Hook already exists on this repository" }],
                        "documentation_url": docs,
                    }),
                );
            }
            hook["id"] = (hooks.len() + 101).into();
            hook["config"]["secret"] = "********".into();
            hooks.push(hook.clone());
            says(201, hook)
        }
        ("PATCH", _) => match index(hooks) {
            Some(at) => {
                let change = call.json();
                hooks[at]["events"] = change["events"].clone();
                hooks[at]["active"] = change["active"].clone();
                says(200, hooks[at].clone())
            }
            None => not_found(),
        },
        ("DELETE", _) => match index(hooks) {
            Some(at) => {
                hooks.remove(at);
                says(204, Value::Null)
            }
            None => not_found(),
        },
        _ => not_found(),
    }
}

/// Stripe's webhook endpoints.
///
/// <https://docs.stripe.com/api/webhook_endpoints>: forms, the secret only when an endpoint is
/// made, lists by `starting_after`, errors in `error`.
pub(crate) fn stripe(call: &Call, hooks: &mut Vec<Value>, _: SocketAddr) -> FakeAnswer {
    let error = |status, kind: &str, message: &str| {
        says(status, json!({ "error": { "type": kind, "message": message } }))
    };
    if call.header("authorization") != format!("Bearer {TOKEN}") {
        return error(401, "invalid_request_error", "Invalid API Key provided: a-cred****");
    }
    let Some(rest) = call.path.strip_prefix("/v1/webhook_endpoints") else {
        return error(404, "invalid_request_error", "Unrecognized request URL");
    };
    let position = |hooks: &[Value]| {
        let id = rest.strip_prefix('/')?;
        hooks.iter().position(|hook| hook["id"] == id)
    };
    let events = || -> Vec<String> {
        let fields = call.form().into_iter();
        fields.filter(|(name, _)| name == "enabled_events[]").map(|(_, value)| value).collect()
    };
    match (call.method.as_str(), position(hooks)) {
        ("GET", None) => {
            let after = call.asked("starting_after");
            let from = after.map_or(0, |id| hooks.iter().position(|h| h["id"] == id).unwrap() + 1);
            let mut page: Vec<_> = hooks.iter().skip(from).take(1).cloned().collect();
            for endpoint in &mut page {
                endpoint.as_object_mut().unwrap().remove("secret");
            }
            let more = hooks.len() > from + 1;
            says(200, json!({ "object": "list", "data": page, "has_more": more }))
        }
        ("POST", None) if rest.is_empty() => {
            let url = call.field("url").unwrap();
            if !url.starts_with("https://") {
                return error(400, "invalid_request_error", "Invalid URL: must be https");
            }
            let made = json!({
                "id": format!("we_{}", hooks.len() + 1), "object": "webhook_endpoint", "url": url,
                "enabled_events": events(), "status": "enabled",
                "secret": "whsec_9rMfZUGWM3gTTBtn0f8kPEfmiIJCmzQi",
            });
            hooks.push(made.clone());
            says(200, made)
        }
        ("POST", Some(at)) => {
            hooks[at]["enabled_events"] = events().into();
            says(200, hooks[at].clone())
        }
        ("DELETE", Some(at)) => {
            let gone = hooks.remove(at);
            says(200, json!({ "id": gone["id"], "object": "webhook_endpoint", "deleted": true }))
        }
        _ => error(404, "invalid_request_error", "No such webhook endpoint"),
    }
}

/// GitLab's webhooks of the project acme/river.
///
/// <https://docs.gitlab.com/api/project_webhooks/>: the token is never shown.
pub(crate) fn gitlab(call: &Call, hooks: &mut Vec<Value>, _: SocketAddr) -> FakeAnswer {
    if call.header("private-token") != TOKEN {
        return says(401, json!({ "message": "401 Unauthorized" }));
    }
    let Some(rest) = call.path.strip_prefix("/projects/acme%2Friver/hooks") else {
        return says(404, json!({ "message": "404 Project Not Found" }));
    };
    let position = |hooks: &[Value]| hooks.iter().position(|h| format!("/{}", h["id"]) == rest);
    match (call.method.as_str(), position(hooks)) {
        ("GET", None) => says(200, hooks.clone().into()),
        ("POST", None) => {
            let mut hook = call.json();
            hook["id"] = (hooks.len() + 7).into();
            hook.as_object_mut().unwrap().remove("token");
            hook["alert_status"] = "executable".into();
            hooks.push(hook.clone());
            says(201, hook)
        }
        ("PUT", Some(at)) => {
            for (name, value) in call.json().as_object().unwrap() {
                if name != "token" {
                    hooks[at][name] = value.clone();
                }
            }
            says(200, hooks[at].clone())
        }
        ("DELETE", Some(at)) => {
            hooks.remove(at);
            says(204, Value::Null)
        }
        _ => says(404, json!({ "message": "404 Not found" })),
    }
}

/// Shopify's webhook subscriptions by GraphQL.
///
/// <https://shopify.dev/docs/api/admin-graphql/latest/mutations/webhookSubscriptionCreate>:
/// mistakes are `userErrors` in an answer of 200, and a wrong token is 401 with text in `errors`.
pub(crate) fn shopify(call: &Call, hooks: &mut Vec<Value>, _: SocketAddr) -> FakeAnswer {
    if call.header("x-shopify-access-token") != TOKEN {
        let what = "[API] Invalid API key or access token (unrecognized login or wrong password)";
        return says(401, json!({ "errors": what }));
    }
    assert_eq!(call.path, "/admin/api/2025-01/graphql.json");
    let (asked, variables) = (call.json(), call.json()["variables"].clone());
    let query = asked["query"].as_str().unwrap();
    let data = if query.contains("webhookSubscriptionCreate") {
        if variables["topic"] == "NO_SUCH" {
            let what =
                "Variable $topic of type WebhookSubscriptionTopic! was provided invalid value";
            return says(200, json!({ "errors": [{ "message": what }] }));
        }
        if variables["url"].as_str().unwrap().starts_with("http://") {
            let error = json!({ "field": ["webhookSubscription", "callbackUrl"],
                                "message": "Address protocol http:// is not supported" });
            let made = json!({ "webhookSubscription": null, "userErrors": [error] });
            return says(200, json!({ "data": { "webhookSubscriptionCreate": made } }));
        }
        let id = format!("gid://shopify/WebhookSubscription/{}", hooks.len() + 1);
        hooks.push(json!({
            "id": id, "topic": variables["topic"],
            "endpoint": { "__typename": "WebhookHttpEndpoint", "callbackUrl": variables["url"] },
        }));
        json!({ "webhookSubscriptionCreate": {
            "webhookSubscription": { "id": id }, "userErrors": [],
        } })
    } else if query.contains("webhookSubscriptionDelete") {
        hooks.retain(|hook| hook["id"] != variables["id"]);
        json!({ "webhookSubscriptionDelete": {
            "deletedWebhookSubscriptionId": variables["id"], "userErrors": [],
        } })
    } else {
        // One a page, so that pages are followed.
        let from: usize = variables["after"].as_str().map_or(0, |after| after.parse().unwrap());
        let nodes: Vec<_> = hooks.iter().skip(from).take(1).cloned().collect();
        let page = json!({
            "hasNextPage": hooks.len() > from + 1, "endCursor": (from + 1).to_string(),
        });
        json!({ "webhookSubscriptions": { "nodes": nodes, "pageInfo": page } })
    };
    says(200, json!({ "data": data }))
}

/// Slack's manifest of one app, which is the first of the hooks.
///
/// <https://docs.slack.dev/reference/methods/apps.manifest.update>: an error is `ok: false` with a
/// code, in an answer of 200.
#[expect(clippy::ptr_arg, reason = "all answer in the same form")]
pub(crate) fn slack(call: &Call, hooks: &mut Vec<Value>, _: SocketAddr) -> FakeAnswer {
    if call.header("authorization") != format!("Bearer {TOKEN}") {
        return says(200, json!({ "ok": false, "error": "not_allowed_token_type" }));
    }
    if call.field("app_id").as_deref() != Some("A012") {
        return says(200, json!({ "ok": false, "error": "invalid_app_id" }));
    }
    match call.path.as_str() {
        "/apps.manifest.export" => says(200, json!({ "ok": true, "manifest": hooks[0] })),
        "/apps.manifest.update" => {
            let manifest: Value = serde_json::from_str(&call.field("manifest").unwrap()).unwrap();
            let events = &manifest["settings"]["event_subscriptions"]["bot_events"];
            if events.as_array().is_some_and(|all| all.contains(&"no.such".into())) {
                let error = json!({ "message": "Event `no.such` is not valid",
                                    "pointer": "/settings/event_subscriptions/bot_events/0" });
                let said = json!({ "ok": false, "error": "invalid_manifest", "errors": [error] });
                return says(200, said);
            }
            hooks[0] = manifest;
            says(200, json!({ "ok": true, "app_id": "A012", "permissions_updated": false }))
        }
        _ => says(200, json!({ "ok": false, "error": "unknown_method" })),
    }
}

/// Twilio's phone numbers of one account.
///
/// <https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource>: forms and basic
/// authentication, errors with `code` and `message`.
#[expect(clippy::ptr_arg, reason = "all answer in the same form")]
pub(crate) fn twilio(call: &Call, hooks: &mut Vec<Value>, _: SocketAddr) -> FakeAnswer {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("AC1:{TOKEN}"));
    if call.header("authorization") != format!("Basic {pair}") {
        return says(401, json!({ "code": 20003, "message": "Authenticate", "status": 401 }));
    }
    let numbers = "/2010-04-01/Accounts/AC1/IncomingPhoneNumbers";
    let Some(rest) = call.path.strip_prefix(numbers) else {
        return says(
            404,
            json!({ "code": 20404, "message": "The requested resource was not found" }),
        );
    };
    if rest == ".json" {
        let wanted = call.asked("PhoneNumber");
        let is_wanted =
            |hook: &&Value| wanted.as_ref().is_none_or(|number| hook["phone_number"] == *number);
        let found: Vec<_> = hooks.iter().filter(is_wanted).cloned().collect();
        return says(200, json!({ "incoming_phone_numbers": found, "next_page_uri": null }));
    }
    let sid = rest.trim_start_matches('/').trim_end_matches(".json");
    let Some(found) = hooks.iter_mut().find(|hook| hook["sid"] == sid) else {
        return says(
            404,
            json!({ "code": 20404, "message": "The requested resource was not found" }),
        );
    };
    for (name, value) in call.form() {
        let field = match name.as_str() {
            "SmsUrl" => "sms_url",
            "VoiceUrl" => "voice_url",
            "StatusCallback" => "status_callback",
            _ => continue,
        };
        found[field] = value.into();
    }
    says(200, found.clone())
}
