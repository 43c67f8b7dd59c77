//! Webhooks by other methods than POST. Their signatures are made here, as the providers document
//! them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::{digest, hmac};
use serde_json::json;
use weir::config;
use weir::ingress::ReleaseOutcome;
use weir_store::query::StoredRequest;

use crate::hub::{IngressHub, NOW_MS, Reply, kept, request_by};

const SECRET: &str = "what the sender signs with";
const TOKEN: &str = "t0ken-that-is-never-guessed";

/// A source for each sender, and one for a partner that signs time and URL and has a token in the
/// URL.
fn sources(secret: &str) -> String {
    let source = |name: &str, provider: &str, more: &str| {
        format!(
            "[sources.{name}]\nprovider = \"{provider}\"\nsecrets = [\"{secret}\"]\n\
             public_url = \"https://hooks.example.com/in/{name}\"\n{more}\n"
        )
    };
    [
        source("twilio", "twilio", ""),
        source("vonage-sms", "vonage-sms", ""),
        source("vonage", "vonage", "params = { api_key = \"a1b2c3\" }"),
        source("zendesk", "zendesk", ""),
        source("hubspot", "hubspot", ""),
        source("sanity", "sanity", ""),
        source("github", "github", ""),
        source("dropbox", "dropbox", ""),
        source("okta", "okta", "methods = [\"POST\", \"GET\"]"),
        source(
            "partner",
            "custom",
            &format!(
                "methods = [\"GET\"]\ntype = \"form:kind\"\nid = \"form:id\"\n\
                 secret_fields = [\"form:pin\"]\n\
                 auth = {{ in = \"query:key\", tokens = [\"{TOKEN}\"] }}\n\
                 [sources.partner.signature]\nmessage = \"{{url}}\"\nprefix = \"\""
            ),
        ),
    ]
    .concat()
}

async fn hub() -> IngressHub {
    IngressHub::of(&sources(SECRET)).await
}

fn url(source: &str, query: &str) -> String {
    format!("https://hooks.example.com/in/{source}?{query}")
}

fn mac(algorithm: hmac::Algorithm, message: &str) -> Vec<u8> {
    let key = hmac::Key::new(algorithm, SECRET.as_bytes());
    hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
}

fn sha256(text: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

/// A request without a body.
async fn bare(hub: &IngressHub, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    hub.raw(request_by(method, &format!("/webhook/{path}"), headers, "")).await
}

/// A GET as Twilio signs it: HMAC-SHA1 of the whole URL.
async fn twilio(hub: &IngressHub, signed: &str, sent: &str) -> Reply {
    let signature =
        STANDARD.encode(mac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &url("twilio", signed)));
    bare(hub, "GET", &format!("twilio?{sent}"), &[("X-Twilio-Signature", &signature)]).await
}

/// Vonage's token for a GET: with the SHA-256 of the parameters as JSON.
fn vonage_token(parameters: &str) -> String {
    let claims = json!({
        "iss": "Vonage", "api_key": "a1b2c3", "iat": NOW_MS / 1000, "jti": "1",
        "payload_hash": sha256(parameters),
    });
    let header = json!({ "typ": "JWT", "alg": "HS256" });
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let signature = mac(hmac::HMAC_SHA256, &format!("{header}.{claims}"));
    format!("Bearer {header}.{claims}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A request as Zendesk signs it: HMAC-SHA256 of the time and the body.
async fn zendesk(hub: &IngressHub, method: &str, id: &str, query: &str, body: &str) -> Reply {
    let time = "2025-10-09T08:53:20Z";
    let signature = STANDARD.encode(mac(hmac::HMAC_SHA256, &format!("{time}{body}")));
    let headers = [
        ("X-Zendesk-Webhook-Invocation-Id", id),
        ("X-Zendesk-Webhook-Signature", &signature),
        ("X-Zendesk-Webhook-Signature-Timestamp", time),
    ];
    hub.raw(request_by(method, &format!("/webhook/zendesk{query}"), &headers, body)).await
}

/// HubSpot's signature, version 2: SHA-256 of the secret, the method, the URL and the body.
fn hubspot_v2(method: &str, url: &str) -> String {
    sha256(&format!("{SECRET}{method}{url}"))
}

/// The newest event's type, its sender's id, and its request.
async fn newest(hub: &IngressHub) -> (String, Option<String>, StoredRequest) {
    let event = hub.stored().await.remove(0);
    let request = hub.store.request(event.request.unwrap()).await.unwrap().unwrap();
    (event.kind.to_string(), event.delivery_id.map(|id| id.to_string()), request)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_twilio_get_is_an_event_whose_payload_is_its_query() {
    let hub = hub().await;
    let query = "MessageSid=SM1&MessageStatus=delivered&To=%2B15551234567&Body=a+b";
    let taken = twilio(&hub, query, query).await;
    assert_eq!((taken.status, &taken.body[..]), (200, &b"<Response/>"[..]));
    assert!(taken.head.contains("cache-control: no-store"), "{}", taken.head);
    let (kind, id, request) = newest(&hub).await;
    assert_eq!((&*kind, id.as_deref()), ("delivered", Some("SM1")));
    assert_eq!(text(&request.payload.body), query, "as it came");
    assert_eq!(request.payload.content_type(), "application/x-www-form-urlencoded");
    assert_eq!(&*request.scheme, "sha1");
}

#[tokio::test]
async fn a_get_with_the_same_query_is_a_duplicate_another_query_is_not() {
    let hub = hub().await;
    let sent = "MessageSid=SM1&MessageStatus=sent";
    for (query, stored) in [(sent, 1), (sent, 1), ("MessageSid=SM1&MessageStatus=delivered", 2)] {
        assert_eq!(twilio(&hub, query, query).await.status, 200);
        assert_eq!(hub.stored().await.len(), stored, "{query}");
    }
}

#[tokio::test]
async fn a_changed_query_is_refused_and_not_stored() {
    let hub = hub().await;
    let sent = "MessageSid=SM1&MessageStatus=sent";
    for changed in ["MessageSid=SM1&MessageStatus=failed", &format!("{sent}&a=b"), ""] {
        let refused = twilio(&hub, sent, changed).await;
        assert_eq!(refused.problem(), (401, "signature_mismatch".into()), "{changed}");
    }
    let token = vonage_token(r#"{"uuid":"u1","status":"ringing"}"#);
    let other = bare(&hub, "GET", "vonage?uuid=u1&status=busy", &[("authorization", &token)]).await;
    assert_eq!(other.problem(), (401, "body_digest_mismatch".into()));
    assert!(hub.stored().await.is_empty());
}

#[tokio::test]
async fn a_vonage_get_is_an_event_and_its_token_is_stored_nowhere() {
    let hub = hub().await;
    let token = vonage_token(r#"{"from":"1555","uuid":"u1","status":"ringing","x":"grün"}"#);
    let path = "vonage?from=1555&uuid=u1&status=ringing&x=gr%C3%BCn";
    let taken = bare(&hub, "GET", path, &[("authorization", &token)]).await;
    assert_eq!(taken.status, 200, "{}", text(&taken.body));
    let (kind, id, request) = newest(&hub).await;
    assert_eq!((&*kind, id.as_deref()), ("ringing", Some("u1")));
    assert_eq!(text(&request.payload.body), path.split_once('?').unwrap().1);
    assert!(request.payload.header("authorization").unwrap().starts_with(b"fingerprint-"));
}

#[tokio::test]
async fn a_signature_parameter_is_read_from_the_query_or_the_form() {
    let hub = hub().await;
    let time = NOW_MS / 1000;
    // Vonage's SMS signature: HMAC-SHA256 of the sorted parameters, with their separators replaced.
    let signed = format!("&messageId=M1&msisdn=1555&text=a_b_c&timestamp={time}&type=text");
    let signature = hex::encode_upper(mac(hmac::HMAC_SHA256, &signed));
    let said = format!(
        "msisdn=1555&messageId=M1&type=text&text=a%26b%3Dc&timestamp={time}&sig={signature}"
    );
    let taken = bare(&hub, "GET", &format!("vonage-sms?{said}"), &[]).await;
    assert_eq!(taken.json()["status"], "accepted");
    let (kind, id, request) = newest(&hub).await;
    assert_eq!((&*kind, id.as_deref()), ("text", Some("M1")));
    assert_eq!(text(&request.payload.body), said);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let posted = hub.post("/webhook/vonage-sms", &form, &said).await;
    assert_eq!(posted.json()["status"], "duplicate", "it is the same message");
    let beside = hub.post(&format!("/webhook/vonage-sms?{said}"), &form, "type=text").await;
    assert_eq!(beside.problem(), (401, "signature_missing".into()), "a POST has a body for that");
    let other = said.replace("1555", "1666");
    let changed = bare(&hub, "GET", &format!("vonage-sms?{other}"), &[]).await;
    assert_eq!(changed.problem(), (401, "signature_mismatch".into()));
    assert_eq!(hub.stored().await.len(), 1);
}

#[tokio::test]
async fn zendesk_sends_by_any_method_with_or_without_a_body() {
    let hub = hub().await;
    for method in ["PUT", "PATCH", "DELETE", "GET", "POST"] {
        let taken = zendesk(&hub, method, &format!("bare-{method}"), "", "").await;
        assert_eq!((taken.status, &taken.json()["status"]), (200, &"accepted".into()), "{method}");
        let (kind, id, request) = newest(&hub).await;
        assert_eq!((&*kind, id.unwrap()), ("unknown", format!("bare-{method}")));
        assert!(request.payload.body.is_empty(), "{method}");
        let body = format!("{{\"type\":\"ticket.{method}\"}}");
        let taken = zendesk(&hub, method, &format!("full-{method}"), "?type=other", &body).await;
        assert_eq!(taken.status, 200, "{method}: {}", text(&taken.body));
        let (kind, _, request) = newest(&hub).await;
        assert_eq!((kind, text(&request.payload.body)), (format!("ticket.{method}"), &*body));
    }
    assert_eq!(hub.stored().await.len(), 10);
}

#[tokio::test]
async fn the_content_of_a_delete_is_its_query_of_a_put_its_body() {
    let hub = hub().await;
    zendesk(&hub, "DELETE", "1", "?type=ticket.deleted&ticket=35", "").await;
    let (kind, _, request) = newest(&hub).await;
    assert_eq!(&*kind, "ticket.deleted");
    assert_eq!(text(&request.payload.body), "type=ticket.deleted&ticket=35");
    zendesk(&hub, "PUT", "2", "?type=ticket.deleted", "").await;
    let (kind, _, request) = newest(&hub).await;
    assert_eq!((&*kind, text(&request.payload.body)), ("unknown", ""));
}

#[tokio::test]
async fn each_empty_hubspot_get_is_an_event_with_an_empty_payload() {
    let hub = hub().await;
    let signature = hubspot_v2("GET", "https://hooks.example.com/in/hubspot");
    let headers = [("X-HubSpot-Signature", &*signature), ("X-HubSpot-Signature-Version", "v2")];
    for _ in 0..2 {
        assert_eq!(bare(&hub, "GET", "hubspot", &headers).await.json()["status"], "accepted");
    }
    assert_eq!(hub.stored().await.len(), 2, "they have no dedup key");
    let (kind, id, request) = newest(&hub).await;
    assert_eq!((&*kind, id), ("unknown", None));
    assert!(request.payload.body.is_empty() && request.payload.content_type().is_empty());
    let posted = bare(&hub, "POST", "hubspot", &headers).await;
    assert_eq!(posted.problem().0, 401, "the method is signed");
}

#[tokio::test]
async fn a_signature_that_covers_nothing_of_a_get_is_refused() {
    let hub = hub().await;
    let always_the_same = sha256(SECRET);
    let headers =
        [("X-HubSpot-Signature", &*always_the_same), ("X-HubSpot-Signature-Version", "v1")];
    let refused = bare(&hub, "GET", "hubspot?anything=at&all", &headers).await;
    assert_eq!(refused.problem(), (401, "query_not_signed".into()));
    assert!(hub.stored().await.is_empty());
}

#[tokio::test]
async fn the_content_of_a_get_with_a_body_is_the_body() {
    let hub = hub().await;
    let body = r#"{"_id":"drafts.river"}"#;
    let signed = mac(hmac::HMAC_SHA256, &format!("{NOW_MS}.{body}"));
    let signature = format!("t={NOW_MS},v1={}", URL_SAFE_NO_PAD.encode(signed));
    let headers = [("sanity-webhook-signature", &*signature), ("sanity-operation", "update")];
    let get = request_by("GET", "/webhook/sanity?a=b", &headers, body);
    assert_eq!(hub.raw(get).await.status, 200);
    let (kind, _, request) = newest(&hub).await;
    assert_eq!((&*kind, text(&request.payload.body)), ("update", body));
}

/// A request as the partner signs it: HMAC-SHA256 of the URL with its token.
async fn partner(hub: &IngressHub, query: &str) -> Reply {
    let signature = hex::encode(mac(hmac::HMAC_SHA256, &url("partner", query)));
    bare(hub, "GET", &format!("partner?{query}"), &[("X-Webhook-Signature", &signature)]).await
}

#[tokio::test]
async fn a_token_or_a_secret_in_the_query_is_stored_nowhere() {
    let hub = hub().await;
    let taken = partner(&hub, &format!("kind=order&id=7&key={TOKEN}&pin=p1n-of-ada&n=1")).await;
    assert_eq!(taken.status, 200, "{}", text(&taken.body));
    let escaped = TOKEN.replacen('t', "%74", 1);
    assert_eq!(partner(&hub, &format!("kind=order&id=8&k%65y={escaped}")).await.status, 200);
    for event in hub.stored().await {
        let event = hub.store.event(event.id).await.unwrap().unwrap();
        let request = hub.store.request(event.request.unwrap()).await.unwrap().unwrap();
        for payload in [&*event.payload.unwrap(), &request.payload] {
            let kept = form_urlencoded::parse(&payload.body).into_owned().collect::<Vec<_>>();
            let of = |name: &str| kept.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
            assert!(of("key").unwrap().starts_with("fingerprint-"), "{kept:?}");
            assert!(of("pin").is_none_or(|pin| pin.starts_with("fingerprint-")), "{kept:?}");
            assert_eq!(of("kind"), Some("order"));
        }
    }
    let wrong = partner(&hub, "kind=order&id=9&key=wr0ng-token&pin=p1n-of-ada").await;
    assert_eq!(wrong.problem(), (403, "token_wrong".into()));
    let on_disk = hub.on_disk();
    for secret in [TOKEN, &TOKEN[1..], "p1n-of-ada"] {
        let found = on_disk.windows(secret.len()).any(|bytes| bytes == secret.as_bytes());
        assert!(!found, "{secret}");
    }
}

#[tokio::test]
async fn a_wrong_method_is_refused_with_the_allowed_ones() {
    let hub = hub().await;
    let signature = format!("sha256={}", hex::encode(mac(hmac::HMAC_SHA256, "")));
    let signed = [("x-hub-signature-256", &*signature)];
    for (source, method, allowed) in [
        ("github", "GET", "post"),
        ("github", "DELETE", "post"),
        ("twilio", "PUT", "post, get"),
        ("zendesk", "OPTIONS", "post, get, put, patch, delete"),
        ("partner", "POST", "get"),
        ("dropbox", "PUT", "post, get"),
        ("dropbox", "OPTIONS", "post, get"),
    ] {
        let reply = hub.raw(request_by(method, &format!("/webhook/{source}"), &signed, "")).await;
        assert_eq!(reply.status, 405, "{method} {source}");
        let allow = format!("\r\nallow: {allowed}\r\n");
        assert!(
            format!("{}\r\n", reply.head).contains(&allow),
            "{method} {source}: {}",
            reply.head
        );
    }
    // The body is not waited for.
    let unsent = "GET /webhook/github HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n";
    assert_eq!(hub.raw(unsent).await.problem(), (405, "method_not_allowed".into()));
    assert!(hub.stored().await.is_empty());
    bare(&hub, "POST", "github", &[("x-hub-signature-256", "sha256=00")]).await;
    assert_eq!(
        &*kept(&hub, 1).await[0].code,
        "signature_mismatch",
        "no other request is quarantined"
    );
}

#[tokio::test]
async fn a_handshake_comes_before_an_event_by_the_same_method() {
    let hub = hub().await;
    let challenge = [("x-okta-verification-challenge", "c-1"), ("authorization", SECRET)];
    let answered = bare(&hub, "GET", "okta?a=b", &challenge).await;
    assert_eq!((answered.status, answered.json()), (200, json!({ "verification": "c-1" })));
    assert!(hub.stored().await.is_empty());
    let taken = bare(&hub, "GET", "okta?a=b", &challenge[1..]).await;
    assert_eq!((taken.status, &taken.json()["status"]), (200, &"accepted".into()));

    let echoed = bare(&hub, "GET", "dropbox?challenge=c-2", &[]).await;
    assert_eq!((echoed.status, &echoed.body[..]), (200, &b"c-2"[..]));
    let signature = hex::encode(mac(hmac::HMAC_SHA256, ""));
    let no_challenge = bare(&hub, "GET", "dropbox", &[("X-Dropbox-Signature", &signature)]).await;
    assert_eq!(no_challenge.problem(), (401, "query_not_signed".into()));
    let wrong = bare(&hub, "GET", "okta?a=b", &[("authorization", "wrong")]).await;
    assert_eq!(wrong.problem(), (401, "signature_mismatch".into()));
    assert_eq!(&*kept(&hub, 1).await[0].source, "okta", "the other request can never be an event");
}

#[tokio::test]
async fn a_quarantined_get_is_released_as_the_same_get() {
    let hub = IngressHub::of(&sources("not the sender's")).await;
    let query = "MessageSid=SM1&MessageStatus=delivered";
    assert_eq!(twilio(&hub, query, query).await.problem(), (401, "signature_mismatch".into()));
    let signature = hex::encode(mac(hmac::HMAC_SHA256, &url("partner", "id=1")));
    let leaked = format!("partner?key={TOKEN}&kind=a");
    bare(&hub, "GET", &leaked, &[("X-Webhook-Signature", &signature)]).await;
    let held = kept(&hub, 2).await;
    let shown = hub.ingress.show_quarantined(held[0].id).await.unwrap().unwrap();
    assert_eq!(text(&shown.body), query, "the content is shown");
    let shown = hub.ingress.show_quarantined(held[1].id).await.unwrap().unwrap();
    assert!(text(&shown.body).starts_with("key=fingerprint-"), "{}", text(&shown.body));

    let folder = tempfile::tempdir().unwrap();
    let fixed = config::load_text(
        "weir.toml",
        &sources(SECRET),
        folder.path(),
        weir::config::Mode::Development,
    );
    hub.ingress.replace_sources(fixed.unwrap().config.sources);
    let released = hub.ingress.release(held[0].id).await.unwrap();
    assert!(matches!(&released, ReleaseOutcome::Released(ids) if ids.len() == 1), "{released:?}");
    let (kind, id, request) = newest(&hub).await;
    assert_eq!((&*kind, id.as_deref()), ("delivered", Some("SM1")));
    assert_eq!(text(&request.payload.body), query);
    assert_eq!(
        hub.ingress.release(held[1].id).await.unwrap(),
        ReleaseOutcome::StillRefused("signature_mismatch".into())
    );
    let stored = hub.stored().await.len();
    assert_eq!(twilio(&hub, query, query).await.status, 200);
    assert_eq!(hub.stored().await.len(), stored, "it is a duplicate");
}
