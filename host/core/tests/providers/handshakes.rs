//! Handshakes: answered when they should be, with no more echoed than needed.

use std::collections::BTreeMap;

use weir_core::handshake::{
    ECHO_BYTES_MAX, HandshakeAnswer, HandshakeEffect, HandshakeError, HandshakeKeys,
};
use weir_core::provider::Provider;
use weir_core::request::RequestView;
use weir_core::verify::{Secret, Verified};

use crate::support::{Request, provider, verified, verifier};

type Outcome = Option<Result<HandshakeAnswer, HandshakeError>>;

fn ask(
    provider: &Provider,
    view: RequestView<'_>,
    secret: &str,
    proof: Option<&Verified>,
) -> Outcome {
    let params = BTreeMap::from([("verify_token".to_owned(), Secret::new("meatyhamhock"))]);
    let verifier = verifier(provider, &[secret]);
    let keys = HandshakeKeys { verifier: &verifier, params: &params };
    provider.handshake(&provider.facts(view), proof, keys)
}

fn get<'a>(url: &'a str) -> RequestView<'a> {
    RequestView { method: "GET", url, headers: &[], body: b"" }
}

fn proof() -> Verified {
    let hello = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let verifier = verifier(provider("github"), &["It's a Secret to Everybody"]);
    verified(Request::new("Hello, World!").header("x-hub-signature-256", hello).verify(&verifier))
}

/// GitHub's file with additional handshakes.
fn with_handshake(toml: &str) -> Provider {
    let file = include_str!("../../providers/github.toml");
    let params =
        "[[params]]\nname = \"verify_token\"\nabout = \"made up by the operator\"\nsecret = true\n";
    Provider::load(&format!("{file}\n{params}\n[[handshakes]]\n{toml}")).unwrap()
}

#[test]
fn slack_gets_its_challenge_after_verification() {
    let slack = provider("slack");
    let request = Request::new(r#"{"token":"x","challenge":"3eZbrw1a","type":"url_verification"}"#);
    assert_eq!(request.with(|view| ask(slack, view, "s", None)), None);
    let answer = request.with(|view| ask(slack, view, "s", Some(&proof()))).unwrap().unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "3eZbrw1a"));
    assert!(answer.headers.contains(&("content-type".into(), "text/plain".into())));
    assert!(answer.headers.contains(&("x-content-type-options".into(), "nosniff".into())));
    assert_eq!(answer.effect, HandshakeEffect::None);
}

#[test]
fn an_event_is_not_a_handshake() {
    let request = Request::new(r#"{"type":"event_callback","challenge":"x"}"#);
    assert_eq!(request.with(|view| ask(provider("slack"), view, "s", Some(&proof()))), None);
}

#[test]
fn an_overlong_challenge_is_not_echoed() {
    let body = |n| format!(r#"{{"challenge":"{}","type":"url_verification"}}"#, "a".repeat(n));
    let ask =
        |n| Request::new(body(n)).with(|view| ask(provider("slack"), view, "s", Some(&proof())));
    assert!(ask(ECHO_BYTES_MAX).unwrap().is_ok());
    assert_eq!(ask(ECHO_BYTES_MAX + 1), Some(Err(HandshakeError::ChallengeUnusable)));
}

#[test]
fn a_token_handshake_is_answered_only_with_the_right_token() {
    let meta = with_handshake(
        "name = 'subscribe'\nwhen = { method = 'GET', present = ['query:hub.challenge'], equal = { 'query:hub.mode' = 'subscribe' } }\n\
         after = 'verify_token'\ntoken = 'query:hub.verify_token'\nreply = { status = 200, content_type = 'text/plain', body = '{query:hub.challenge}' }",
    );
    let url = "https://h/in?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=";
    let right = ask(&meta, get(&format!("{url}meatyhamhock")), "s", None).unwrap().unwrap();
    assert_eq!(right.body, "1158201444");
    let wrong = ask(&meta, get(&format!("{url}x")), "s", None);
    assert_eq!(wrong, Some(Err(HandshakeError::TokenMismatch)));
}

#[test]
fn a_keyed_answer_is_escaped_in_json() {
    let crc = with_handshake(
        "name = 'crc'\nwhen = { method = 'GET', present = ['query:crc_token'] }\nafter = 'nothing'\n\
         reply = { status = 200, content_type = 'application/json', body = '{\"response_token\":\"sha256={keyed-base64:query:crc_token}\",\"echo\":\"{query:crc_token}\"}' }",
    );
    let answer = |url| ask(&crc, get(url), "consumer-secret", None).unwrap().unwrap().body;
    assert_eq!(
        answer("https://h/in?crc_token=foo"),
        r#"{"response_token":"sha256=DcTy7IecOE1nIXA5KRcZ3lAsoNWL9GefbVQ+nWXIK0Q=","echo":"foo"}"#
    );
    let hostile = answer("https://h/in?crc_token=%22%7D%0A");
    let parsed: serde_json::Value = serde_json::from_str(&hostile).unwrap();
    assert_eq!(parsed["echo"], "\"}\n");
}

/// An exchange with a built-in provider before verification.
fn asked(name: &str, method: &str, url: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Outcome {
    let provider = provider(name);
    let params = BTreeMap::from([
        ("verify_token".to_owned(), Secret::new("meatyhamhock")),
        ("public_key".to_owned(), Secret::new("pub")),
    ]);
    let secrets = [weir_core::verify::NamedSecret::new("s", Secret::new("secret"))];
    let verifier = provider.verifier_with(&secrets, &params).unwrap();
    let keys = HandshakeKeys { verifier: &verifier, params: &params };
    let view = RequestView { method, url, headers, body };
    provider.handshake(&provider.facts(view), None, keys)
}

#[test]
fn a_challenge_must_have_its_shape() {
    let challenge = |text: &str| {
        let url = format!("https://h/in?bt_challenge={text}");
        asked("braintree", "GET", &url, &[], b"").unwrap().map(|answer| answer.body)
    };
    let answer = challenge("20f9f8ed05f77439fe955c977e4c8a53").unwrap();
    assert!(answer.starts_with("pub|") && answer.len() == 44, "{answer}");
    for odd in ["20f9", "20F9F8ED05F77439FE955C977E4C8A53", "%3Cscript%3Ealert(1)%3C", ""] {
        assert_eq!(challenge(odd), Err(HandshakeError::ChallengeUnusable), "{odd}");
    }
}

#[test]
fn slacks_certificate_check_is_answered() {
    let form: &[u8] = b"ssl_check=1&token=gIkuvaNzQIHg97ATvDxqgjtO";
    let plain: (&str, &[u8]) = ("Content-Type", b"application/x-www-form-urlencoded");
    let answer = asked("slack", "POST", "https://h/in", &[plain], form).unwrap().unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    let signed = [plain, ("X-Slack-Signature", &b"v0=00"[..])];
    assert_eq!(asked("slack", "POST", "https://h/in", &signed, form), None, "first it is verified");
    for other in [&b"ssl_check=0"[..], b"command=%2Fx&text=ssl_check%3D1", b"{\"ssl_check\":1}"] {
        assert_eq!(asked("slack", "POST", "https://h/in", &[plain], other), None);
    }
    let request = Request::new(form).header("Content-Type", "application/x-www-form-urlencoded");
    let verified = request.with(|view| ask(provider("slack"), view, "s", Some(&proof())));
    assert_eq!(verified.unwrap().unwrap().status, 200, "a signed one is not an event either");
}

#[test]
fn a_signed_request_is_not_an_unsigned_handshake() {
    let token = br#"{"verification_token":"secret_x"}"#;
    let asked =
        |name, headers: &[(&str, &[u8])], body| asked(name, "POST", "https://h/in", headers, body);
    assert!(asked("notion", &[], token).is_some());
    assert_eq!(asked("notion", &[("X-Notion-Signature", b"sha256=00")], token), None);
    let twice: &[(&str, &[u8])] = &[("X-Notion-Signature", b"a"), ("x-notion-signature", b"b")];
    assert_eq!(asked("notion", twice, token), None);
    assert!(asked("asana", &[("X-Hook-Secret", b"s")], b"{}").is_some());
    assert_eq!(asked("asana", &[("X-Hook-Secret", b"s"), ("X-Hook-Signature", b"0")], b"{}"), None);
    let ping = |body| asked("woocommerce", &[], body);
    assert!(ping(b"webhook_id=4").is_some());
    assert_eq!(ping(br#"{"webhook_id":"4"}"#), None, "no form, no ping");
}

#[test]
fn a_handed_over_secret_is_shown_with_a_notice() {
    let body = br#"{"verification_token":"secret_x"}"#;
    let answer = asked("notion", "POST", "https://h/in", &[], body).unwrap().unwrap();
    let secret = Secret::new("secret_x");
    assert_eq!(answer.effect, HandshakeEffect::StoreSecret { secret, show_once: true });
    assert!(answer.notice.unwrap().contains("paste") && answer.body.is_empty());
    let long = format!(r#"{{"verification_token":"{}"}}"#, "a".repeat(ECHO_BYTES_MAX + 1));
    let refused = asked("notion", "POST", "https://h/in", &[], long.as_bytes());
    assert_eq!(refused, Some(Err(HandshakeError::ChallengeUnusable)));
    let split: &[(&str, &[u8])] = &[("X-Hook-Secret", b"a\r\nSet-Cookie: x")];
    let refused = asked("asana", "POST", "https://h/in", split, b"{}");
    assert_eq!(refused, Some(Err(HandshakeError::ChallengeUnusable)));
}

#[test]
fn show_once_without_store_secret_is_refused() {
    let file = include_str!("../../providers/notion.toml");
    let odd = file.replace("store_secret = \"/verification_token\", ", "");
    let refused = Provider::load(&odd).unwrap_err().to_string();
    assert!(refused.contains("effect.show_once"), "{refused}");
}

#[test]
fn a_discord_event_of_type_1_is_not_a_ping() {
    let discord = provider("discord");
    let key = "bc6e397641761bb314ed3ddc21a4995d50a1aab33c2dd1a115d85688504c5861";
    let status = |body: &str| {
        Request::new(body)
            .with(|view| ask(discord, view, key, Some(&proof())))
            .map(|answer| answer.unwrap().status)
    };
    assert_eq!(status(r#"{"type":1}"#), Some(200));
    assert_eq!(status(r#"{"type":0}"#), Some(204));
    assert_eq!(status(r#"{"type":1,"event":{"type":"APPLICATION_AUTHORIZED"}}"#), None);
    assert_eq!(status(r#"{"type":2}"#), None);
}

#[test]
fn a_subscription_is_confirmed_only_on_amazons_hosts() {
    let sns = provider("sns");
    let (pair, params) = crate::support::fresh(sns, None);
    let secrets = [weir_core::verify::NamedSecret::new("s", pair.verifying)];
    let verifier = sns.verifier_with(&secrets, &params).unwrap();
    let keys = HandshakeKeys { verifier: &verifier, params: &params };
    let effect = |url: &str| {
        let body = format!(r#"{{"Type":"SubscriptionConfirmation","SubscribeURL":"{url}"}}"#);
        Request::new(body).with(|view| sns.handshake(&sns.facts(view), Some(&proof()), keys))
    };
    let url = "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&Token=t";
    let answer = effect(url).unwrap().unwrap();
    assert!(matches!(&answer.effect, HandshakeEffect::FetchUrl { url: u, .. } if u == url));
    for elsewhere in
        ["https://evil.example/", "http://sns.us-east-1.amazonaws.com/", "file:///etc/passwd"]
    {
        assert_eq!(effect(elsewhere), Some(Err(HandshakeError::ChallengeUnusable)), "{elsewhere}");
    }
}

#[test]
fn a_callback_needs_a_host_that_the_operator_listed() {
    let cloudevents = provider("cloudevents");
    let verifier = verifier(cloudevents, &["token"]);
    let effect = |hosts: Option<&str>, callback: Option<&str>| {
        let hosts = hosts.map(|hosts| ("callback_hosts".to_owned(), Secret::new(hosts)));
        let params = BTreeMap::from_iter(hosts);
        let keys = HandshakeKeys { verifier: &verifier, params: &params };
        let mut request = Request::new("").header("WebHook-Request-Origin", "sender.example");
        if let Some(callback) = callback {
            request = request.header("WebHook-Request-Callback", callback);
        }
        let answer = request.with(|view| {
            let view = RequestView { method: "OPTIONS", ..view };
            cloudevents.handshake(&cloudevents.facts(view), None, keys)
        });
        answer.unwrap().map(|answer| answer.effect)
    };
    let (hosts, url) = (Some("a.example, *.sender.example"), "https://eu.sender.example/ok?id=1");
    let called = HandshakeEffect::FetchUrl { url: url.into(), later: true };
    assert_eq!(effect(hosts, Some(url)), Ok(called));
    assert_eq!(effect(None, Some(url)), Ok(HandshakeEffect::None));
    assert_eq!(effect(hosts, None), Ok(HandshakeEffect::None));
    for elsewhere in [
        "https://sender.example/ok",
        "https://evil.example/ok",
        "http://eu.sender.example/ok",
        "https://eu.sender.example:8443/ok",
        "https://evil.example/@eu.sender.example/",
        "file:///etc/passwd",
        "",
    ] {
        let refused = Err(HandshakeError::ChallengeUnusable);
        assert_eq!(effect(hosts, Some(elsewhere)), refused, "{elsewhere}");
    }
}

#[test]
fn the_answer_is_keyed_by_the_secret_that_verified() {
    use hmac::{Hmac, KeyInit, Mac};
    let mac = |key: &str, text: &str| {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(text.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    };
    let zoom = provider("zoom");
    let verifier = verifier(zoom, &["new", "old"]);
    let body = r#"{"event":"endpoint.url_validation","payload":{"plainToken":"p"}}"#;
    let now = crate::support::NOW.as_secs();
    let request = Request::new(body)
        .header("x-zm-request-timestamp", now.to_string())
        .header("x-zm-signature", format!("v0={}", mac("old", &format!("v0:{now}:{body}"))));
    let proof = verified(request.verify(&verifier));
    let params = BTreeMap::new();
    let keys = HandshakeKeys { verifier: &verifier, params: &params };
    let answer = request.with(|view| zoom.handshake(&zoom.facts(view), Some(&proof), keys));
    let answer = answer.unwrap().unwrap();
    assert!(answer.body.contains(&mac("old", "p")), "{}", answer.body);
}

#[test]
fn a_handed_over_secret_does_not_print() {
    let asana = with_handshake(
        "name = 'secret'\nwhen = { method = 'POST', present = ['header:X-Hook-Secret'] }\nafter = 'nothing'\n\
         reply = { status = 200, headers = { X-Hook-Secret = '{header:X-Hook-Secret}' } }\neffect = { store_secret = 'header:X-Hook-Secret' }",
    );
    let request = Request::new("{}").header("x-hook-secret", "b537207f");
    let answer = request.with(|view| ask(&asana, view, "s", None)).unwrap().unwrap();
    let secret = Secret::new("b537207f");
    assert_eq!(answer.effect, HandshakeEffect::StoreSecret { secret, show_once: false });
    assert!(!format!("{:?}", answer.effect).contains("b537207f"));
    assert!(answer.headers.contains(&("X-Hook-Secret".into(), "b537207f".into())));
}
