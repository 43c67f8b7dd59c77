//! Handshakes: answered when they should be, echoing no more than they should.

use std::collections::BTreeMap;

use weir_core::handshake::{
    ECHO_BYTES_MAX, HandshakeAnswer, HandshakeEffect, HandshakeKeys, HandshakeRefusal,
};
use weir_core::identify::Facts;
use weir_core::provider::Provider;
use weir_core::verify::{RequestView, Secret, Verified};

use crate::support::{Request, provider, verified, verifier};

type Outcome = Option<Result<HandshakeAnswer, HandshakeRefusal>>;

fn ask(
    provider: &Provider,
    view: RequestView<'_>,
    secret: &str,
    proof: Option<&Verified>,
) -> Outcome {
    let params = BTreeMap::from([("verify_token".to_owned(), Secret::new("meatyhamhock"))]);
    let verifier = verifier(provider, &[secret]);
    let keys = HandshakeKeys { verifier: &verifier, params: &params };
    provider.handshake(&Facts::new(provider, view), proof, keys)
}

fn get<'a>(url: &'a str) -> RequestView<'a> {
    RequestView { method: "GET", url, headers: &[], body: b"" }
}

fn proof() -> Verified {
    let hello = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let verifier = verifier(provider("github"), &["It's a Secret to Everybody"]);
    verified(Request::new("Hello, World!").header("x-hub-signature-256", hello).verify(&verifier))
}

/// GitHub's file with handshakes of other providers.
fn with_handshake(toml: &str) -> Provider {
    let file = include_str!("../../providers/github.toml");
    let params =
        "[[params]]\nname = \"verify_token\"\nabout = \"made up by the operator\"\nsecret = true\n";
    Provider::load(&format!("{file}\n{params}\n[[handshakes]]\n{toml}")).unwrap()
}

#[test]
fn slack_is_answered_with_its_challenge_once_its_signature_holds() {
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
fn an_ordinary_event_is_no_handshake() {
    let request = Request::new(r#"{"type":"event_callback","challenge":"x"}"#);
    assert_eq!(request.with(|view| ask(provider("slack"), view, "s", Some(&proof()))), None);
}

#[test]
fn an_overlong_challenge_is_not_echoed() {
    let body = |n| format!(r#"{{"challenge":"{}","type":"url_verification"}}"#, "a".repeat(n));
    let ask =
        |n| Request::new(body(n)).with(|view| ask(provider("slack"), view, "s", Some(&proof())));
    assert!(ask(ECHO_BYTES_MAX).unwrap().is_ok());
    assert_eq!(ask(ECHO_BYTES_MAX + 1), Some(Err(HandshakeRefusal::ChallengeUnusable)));
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
    assert_eq!(wrong, Some(Err(HandshakeRefusal::TokenMismatch)));
}

#[test]
fn a_keyed_answer_is_escaped_into_its_json() {
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

#[test]
fn a_secret_that_is_handed_over_is_kept_from_print() {
    let asana = with_handshake(
        "name = 'secret'\nwhen = { method = 'POST', present = ['header:X-Hook-Secret'] }\nafter = 'nothing'\n\
         reply = { status = 200, headers = { X-Hook-Secret = '{header:X-Hook-Secret}' } }\neffect = { store_secret = 'header:X-Hook-Secret' }",
    );
    let request = Request::new("{}").header("x-hook-secret", "b537207f");
    let answer = request.with(|view| ask(&asana, view, "s", None)).unwrap().unwrap();
    assert_eq!(answer.effect, HandshakeEffect::StoreSecret(Secret::new("b537207f")));
    assert!(!format!("{:?}", answer.effect).contains("b537207f"));
    assert!(answer.headers.contains(&("X-Hook-Secret".into(), "b537207f".into())));
}
