//! Credentials that the hub presents, against a real token server.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::config::{Authorization, OAuthClient, WebhookAuth};
use crate::egress::transport::Subject;

/// A server that is an endpoint and gives out the tokens for it.
#[derive(Clone)]
struct TokenServer {
    at: String,
    state: Arc<Mutex<TokenServerState>>,
}

#[derive(Default)]
struct TokenServerState {
    /// Token requests: `Authorization` and the form.
    asked: Vec<(String, String)>,
    /// Answers to token requests before the ordinary ones.
    planned: VecDeque<(u16, Value)>,
    expires_in: Value,
    /// The tokens that the endpoint accepts; none for all.
    valid: Option<Vec<String>>,
    /// `Authorization` of the messages.
    presented: Vec<String>,
}

impl TokenServer {
    async fn start(expires_in: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(TokenServerState { expires_in, ..Default::default() }));
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let state = state.clone();
                    async move { Ok::<_, Infallible>(answer(&state, request).await) }
                });
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serving);
            }
        });
        Self { at, state }
    }

    fn webhook(&self) -> Webhook {
        let client = OAuthClient {
            token_url: format!("{}/token", self.at).parse().unwrap(),
            authorization: Some(HeaderValue::from_static("Basic d2VpcjpzM2NyZXQ=")),
            form: Secret::new("grant_type=client_credentials&scope=a"),
            secrets: vec![Secret::new("s3cret-of-the-client")],
        };
        let auth = Some(WebhookAuth::OAuth(client));
        Webhook { auth, ..webhook(&format!("{}/hook", self.at)) }
    }
}

async fn answer(
    state: &Mutex<TokenServerState>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let authorization = head.headers.get("authorization").map(|v| v.to_str().unwrap().to_owned());
    let mut state = state.lock();
    let says = |status: u16, text: String| {
        Response::builder().status(status).body(Full::from(text)).unwrap()
    };
    if head.uri.path() == "/token" {
        state.asked.push((authorization.unwrap_or_default(), body));
        if let Some((status, answer)) = state.planned.pop_front() {
            return says(status, answer.to_string());
        }
        let token = format!("token-number-{}", state.asked.len());
        let answer = json!({
            "access_token": token, "token_type": "Bearer", "expires_in": state.expires_in,
        });
        return says(200, answer.to_string());
    }
    let presented = authorization.unwrap_or_default();
    let token = presented.strip_prefix("Bearer ").unwrap_or_default().to_owned();
    let is_valid = state.valid.as_ref().is_none_or(|valid| valid.contains(&token));
    state.presented.push(presented);
    says(if is_valid { 200 } else { 401 }, format!("you sent {token}"))
}

#[tokio::test]
async fn bearer_and_basic_credentials_are_presented_and_masked() {
    for (value, secret) in [
        ("Bearer t0ken-0123456789".to_owned(), "t0ken-0123456789"),
        (format!("Basic {}", STANDARD.encode("weir:pa55word-0123")), "pa55word-0123"),
    ] {
        let recorder = Recorder::answering(403, &[], value.clone().leak()).await;
        let fixed = Authorization { value: value.parse().unwrap(), secret: Secret::new(secret) };
        let auth = Some(WebhookAuth::Fixed(fixed));
        let answer = send(&Webhook { auth, ..webhook(&recorder.url) }).await;
        let [got] = &recorder.received()[..] else { panic!("one request") };
        assert_eq!(text(&got.headers, "authorization"), value);
        let snippet = response(answer).snippet;
        assert!(snippet.contains("****") && !snippet.contains(&value[8..]), "{snippet}");
    }
}

#[tokio::test]
async fn a_token_is_fetched_once_and_used_until_it_expires() {
    let server = TokenServer::start(json!(3_600)).await;
    let transport = WebhookTransport::new(&server.webhook(), 32, hop_key()).unwrap();
    let out = outgoing();
    let sends = (0..24).map(|_| transport.send(&out, NOW));
    let outcomes = futures_util::future::join_all(sends).await;
    assert!(outcomes.iter().all(|one| matches!(one, SendOutcome::Accepted { .. })), "{outcomes:?}");
    for outcome in outcomes {
        let snippet = response(outcome).snippet;
        assert!(snippet.starts_with("you sent ****") && !snippet.contains("number"), "{snippet}");
    }
    let state = server.state.lock();
    assert_eq!(
        state.asked,
        [("Basic d2VpcjpzM2NyZXQ=".into(), "grant_type=client_credentials&scope=a".into())]
    );
    assert_eq!(state.presented, vec!["Bearer token-number-1"; 24]);
}

#[tokio::test]
async fn an_expired_token_is_replaced_before_it_is_used() {
    let server = TokenServer::start(json!("0")).await;
    let transport = WebhookTransport::new(&server.webhook(), 4, hop_key()).unwrap();
    for _ in 0..3 {
        transport.send(&outgoing(), NOW).await;
    }
    let state = server.state.lock();
    let tokens = ["Bearer token-number-1", "Bearer token-number-2", "Bearer token-number-3"];
    assert_eq!(state.presented, tokens);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let server = TokenServer::start(json!(3_600)).await;
    let transport = WebhookTransport::new(&server.webhook(), 4, hop_key()).unwrap();
    transport.send(&outgoing(), NOW).await;
    server.state.lock().valid = Some(vec!["token-number-2".into()]);
    let answer = transport.send(&outgoing(), NOW).await;
    assert!(matches!(answer, SendOutcome::Accepted { .. }), "{answer:?}");
    server.state.lock().valid = Some(vec![]);
    let answer = transport.send(&outgoing(), NOW).await;
    let SendOutcome::Rejected { about: Subject::Endpoint, response, .. } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(response.status, 401);
    let state = server.state.lock();
    let count = (state.asked.len(), state.presented.len());
    assert_eq!(count, (3, 5), "no token is refused more than twice in one attempt");
}

#[tokio::test]
async fn a_token_server_that_refuses_is_named_without_its_words() {
    let server = TokenServer::start(json!(60)).await;
    let transport = WebhookTransport::new(&server.webhook(), 4, hop_key()).unwrap();
    let invalid = json!({ "error": "invalid_client", "error_description": "s3cret-of-the-client" });
    for (planned, about, words) in [
        (
            (401, invalid.clone()),
            Subject::Endpoint,
            "HTTP 401 Unauthorized: no token (invalid_client)",
        ),
        ((400, json!(["x"])), Subject::Endpoint, "check auth.oauth2"),
        ((503, json!({})), Subject::Failure, "HTTP 503"),
        ((200, json!({ "id": "s3cret-of-the-client" })), Subject::Failure, "without a token"),
        ((200, json!({ "access_token": "x", "token_type": "mac" })), Subject::Endpoint, "type"),
    ] {
        server.state.lock().planned.push_back(planned);
        let answer = transport.send(&outgoing(), NOW).await;
        let SendOutcome::Rejected { about: found, detail, response, .. } = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(found, about, "{detail}");
        assert!(detail.contains(words) && detail.contains("127.0.0.1"), "{detail}");
        assert!(!format!("{detail}{response:?}").contains("s3cret"), "{detail}");
    }
    assert!(server.state.lock().presented.is_empty(), "nothing was sent without a token");
    assert_eq!(StatusCode::UNAUTHORIZED, 401);
}

#[tokio::test]
async fn those_who_waited_for_a_failed_fetch_do_not_repeat_it() {
    let server = TokenServer::start(json!(60)).await;
    server.state.lock().planned.extend((0..50).map(|_| (503, json!({}))));
    let transport = WebhookTransport::new(&server.webhook(), 32, hop_key()).unwrap();
    let out = outgoing();
    let outcomes = futures_util::future::join_all((0..16).map(|_| transport.send(&out, NOW))).await;
    assert!(outcomes.iter().all(|one| matches!(one, SendOutcome::Rejected { .. })), "{outcomes:?}");
    assert_eq!(server.state.lock().asked.len(), 1);
}

#[tokio::test]
async fn a_token_server_at_a_private_address_is_blocked() {
    let server = TokenServer::start(json!(60)).await;
    let mut webhook = server.webhook();
    webhook.url = "https://ops.example.com/".parse().unwrap();
    webhook.allow = AllowedNetworks::default();
    let answer = send(&webhook).await;
    assert!(matches!(answer, SendOutcome::Blocked { .. }), "{answer:?}");
    assert!(server.state.lock().asked.is_empty());
}
