//! Hostile requests: every built-in provider refuses them with the right code, in bounded time.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use weir_core::request::{FORM_FIELDS_MAX, SIGNED_HEADER_BYTES_MAX};
use weir_core::verify::{Unverified, Verification};

use crate::forgery::{VERIFIERS, header_names};
use crate::support::{CATALOG, NOW, Request, code, fresh, provider, verified, verifier};

const MIB: usize = 1024 * 1024;

/// The maximum time for one request, unoptimised and on a busy machine. A quadratic algorithm would
/// take minutes.
const SOON: Duration = Duration::from_secs(5);

/// The result of one request for every provider, each in bounded time.
fn all(request: &Request) -> Vec<(&'static str, Verification)> {
    VERIFIERS
        .iter()
        .map(|(provider, verifier)| {
            let start = Instant::now();
            let outcome = request.verify(verifier);
            let took = start.elapsed();
            assert!(took < SOON, "{}: {took:?}", provider.name);
            assert!(outcome.is_err(), "{}", provider.name);
            (&*provider.name, outcome)
        })
        .collect()
}

/// The request with this value in every header that a provider reads.
fn with_headers(name: &str, body: &[u8], value: &[u8]) -> Request {
    let names = header_names(provider(name));
    names.iter().fold(Request::new(body), |request, header| request.header(header, value))
}

#[test]
fn a_megabyte_in_a_header_is_not_read() {
    let huge = vec![b'a'; MIB];
    for (provider, verifier) in VERIFIERS.iter() {
        let request = with_headers(&provider.name, b"{}", &huge);
        let code = code(request.verify(verifier));
        let in_header = !header_names(provider).is_empty();
        // If the signature is in the body, the headers do not matter.
        let refused = ["header_too_long", "header_unexpected", "signature_missing"].contains(&code);
        assert!(!in_header || refused, "{}: {code}", provider.name);
    }
}

#[test]
fn a_header_one_byte_too_long_is_refused() {
    let verifier = verifier(provider("github"), &["k"]);
    let of = |length: usize| {
        let value = format!("sha256={}", "0".repeat(length - 7));
        code(Request::new("{}").header("x-hub-signature-256", value).verify(&verifier))
    };
    assert_eq!(of(SIGNED_HEADER_BYTES_MAX), "signature_malformed");
    assert_eq!(of(SIGNED_HEADER_BYTES_MAX + 1), "header_too_long");
}

#[test]
fn thousands_of_signatures_are_not_tried() {
    let verifier = |name: &str| VERIFIERS.iter().find(|(p, _)| &*p.name == name).unwrap();
    let flood = |item: &str, separator: &str| vec![item; 1000].join(separator);
    for (name, header, value) in [
        ("stripe", "Stripe-Signature", format!("t=1,{}", flood("v1=0", ","))),
        ("paddle", "Paddle-Signature", format!("ts=1;{}", flood("h1=0", ";"))),
        ("pagerduty", "X-PagerDuty-Signature", flood("v1=0", ",")),
        ("hook0", "X-Hook0-Signature", format!("t=1,{}", flood("v0=0", ","))),
    ] {
        let request = Request::new("{}").header(header, value);
        assert_eq!(code(request.verify(&verifier(name).1)), "too_many_signatures", "{name}");
    }
    let mut many = Request::new("{}");
    for n in 0..2000 {
        many = many.header(&format!("X-DocuSign-Signature-{n}"), "AAAA");
    }
    assert_eq!(code(many.verify(&verifier("docusign").1)), "too_many_signatures");
    let labels = (0..2000).fold(String::new(), |mut all, n| {
        let _ = write!(all, "a{n}=(),");
        all
    });
    let request = Request::new("{}")
        .header("signature-input", &labels[..8000])
        .header("signature", "a=:AA==:");
    assert_eq!(code(request.verify(&verifier("rfc9421").1)), "too_many_signatures");
    let form = format!("bt_signature={}&bt_payload=AA", flood("the-public_key%7C00", "%26"));
    let request = Request::new(form).header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(code(request.verify(&verifier("braintree").1)), "too_many_signatures");
}

#[test]
fn a_batch_with_too_many_signed_items_is_refused() {
    let item = r#"{"NotificationRequestItem":{"additionalData":{"hmacSignature":"AAAA"}},"clientState":"x"}"#;
    let many = vec![item; 10_001].join(",");
    for (name, array) in [("adyen", "notificationItems"), ("msgraph", "value")] {
        let body = format!("{{\"{array}\":[{many}]}}");
        let (_, verifier) = VERIFIERS.iter().find(|(p, _)| &*p.name == name).unwrap();
        let code = code(Request::new(body).verify(verifier));
        assert!(["too_many_signatures", "signature_missing"].contains(&code), "{name}: {code}");
    }
}

#[test]
fn one_unsigned_item_invalidates_a_batch() {
    let vector = include_str!("../../providers/adyen.toml");
    let file: toml::Value = toml::from_str(vector).unwrap();
    let genuine = file["vectors"].as_array().unwrap().iter().find(|v| v.get("refused").is_none());
    let genuine = genuine.unwrap();
    let verifier = verifier(provider("adyen"), &[genuine["secret"].as_str().unwrap()]);
    let body: serde_json::Value = serde_json::from_str(genuine["body"].as_str().unwrap()).unwrap();
    let outcome = |body: &serde_json::Value| Request::new(body.to_string()).verify(&verifier);
    verified(outcome(&body));
    let item = &body["notificationItems"][0];
    let mut unsigned = item.clone();
    unsigned["NotificationRequestItem"].as_object_mut().unwrap().remove("additionalData");
    let mut changed = item.clone();
    changed["NotificationRequestItem"]["success"] = "false".into();
    for (second, refusal) in [(unsigned, "signature_missing"), (changed, "signature_mismatch")] {
        let mut batch = body.clone();
        batch["notificationItems"].as_array_mut().unwrap().push(second);
        assert_eq!(code(outcome(&batch)), refusal);
    }
    let mut twice = body.clone();
    twice["notificationItems"].as_array_mut().unwrap().push(item.clone());
    verified(outcome(&twice));
}

#[test]
fn json_of_any_depth_is_walked_without_a_panic() {
    for bomb in [
        "[".repeat(MIB),
        "{\"a\":".repeat(MIB / 5),
        format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000)),
        format!("{{\"value\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("{{\"notificationItems\":[{}]}}", "[],".repeat(200_000)),
        format!("{{\"event\":\"{}\"}}", "\\u0000".repeat(100_000)),
        format!("{{{}}}", "\"type\":1,".repeat(100_000)),
    ] {
        let request = Request::new(bomb).header("content-type", "application/json");
        all(&request);
        for provider in CATALOG.iter() {
            let start = Instant::now();
            let _ = request.with(|view| {
                let proof = proof();
                provider.identify(&provider.facts(view), &proof).is_ok()
            });
            assert!(start.elapsed() < SOON, "{}", provider.name);
        }
    }
}

/// A proof from some request; identities depend on other values.
fn proof() -> weir_core::verify::Verified {
    let (pair, _) = fresh(provider("telegram"), None);
    let token = String::from_utf8(pair.verifying.expose().to_vec()).unwrap();
    let request = Request::new("{}").header("X-Telegram-Bot-Api-Secret-Token", token.as_str());
    verified(request.verify(&verifier(provider("telegram"), &[&token])))
}

#[test]
fn a_form_with_any_number_of_fields_is_refused_or_cut() {
    for bomb in
        ["a&".repeat(MIB / 2), "a=b&".repeat(MIB / 4), "%41=%42&".repeat(MIB / 8), "&".repeat(MIB)]
    {
        let request = Request::new(bomb)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-twilio-signature", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        all(&request);
    }
    let fields = "a&".repeat(FORM_FIELDS_MAX + 1);
    let request = Request::new(fields)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-twilio-signature", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    assert_eq!(code(request.verify(&verifier(provider("twilio"), &["k"]))), "too_many_fields");
}

#[test]
fn a_content_type_neither_makes_nor_hides_a_form() {
    for content_type in [
        &b"application/x-www-form-urlencoded-not"[..],
        b"multipart/form-data; boundary=application/x-www-form-urlencoded",
        b"\xff\xfe",
        b";;;;",
        b"",
        b"application/json; application/x-www-form-urlencoded",
    ] {
        for (body, is_form) in [("payload=%7B%7D", true), (r#"{"payload":"="}"#, false)] {
            let request = Request::new(body).header("content-type", content_type);
            assert_eq!(request.with(|view| view.is_form()), is_form);
        }
    }
    let long = [b"application/x-www-form-urlencoded;".as_slice(), &vec![b'x'; MIB]].concat();
    assert!(Request::new("a=1").header("content-type", long).with(|view| view.is_form()));
}

#[test]
fn bytes_that_are_not_text_are_malformed() {
    for (provider, verifier) in VERIFIERS.iter() {
        for value in [
            &b"\xff\xfe\xfd"[..],
            b"sha256=\xc3\x28",
            b"t=\xff,v1=\xff",
            b"v1,\x80",
            b"Bearer \xff.\xff.\xff",
        ] {
            let request = with_headers(&provider.name, b"\xff\xff", value);
            let outcome = request.verify(verifier);
            assert!(
                matches!(outcome, Err(Unverified::Refused(_))),
                "{}: {outcome:?}",
                provider.name
            );
        }
    }
}

#[test]
fn a_time_is_only_digits_of_the_right_unit() {
    use hmac::{Hmac, KeyInit, Mac};
    let verifier = verifier(provider("slack"), &["k"]);
    let at = |text: &str| {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"k").unwrap();
        mac.update(format!("v0:{text}:{{}}").as_bytes());
        let signature = format!("v0={}", hex::encode(mac.finalize().into_bytes()));
        let request = Request::new("{}")
            .header("X-Slack-Signature", signature)
            .header("X-Slack-Request-Timestamp", text);
        request.verify(&verifier)
    };
    let now = NOW.as_secs().to_string();
    verified(at(&now));
    for odd in [
        format!("+{now}"),
        format!("-{now}"),
        format!(" {now}"),
        format!("{now} "),
        format!("{now}.0"),
        format!("{now}000"),
        format!("0x{now}"),
        "1e9".to_owned(),
        "18446744073709551616".to_owned(),
        "9".repeat(30),
        format!("0{now}"),
        now[1..].to_owned(),
        "0".to_owned(),
        "٠".to_owned(),
        String::new(),
    ] {
        assert_eq!(code(at(&odd)), "timestamp_malformed", "{odd:?}");
    }
    assert_eq!(code(at("1000000000")), "timestamp_stale");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Bodies close to what each provider expects, and arbitrary ones.
    #[test]
    fn any_body_is_identified_without_a_panic(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "(\\{\"(value|events|entry|type|event|id|data|challenge|verification_token|payload)\":){0,6}[\\[\\]{}\",:a-z0-9]{0,30}\\}{0,6}".prop_map(String::into_bytes),
            "((payload|bt_payload|bt_signature|mandrill_events|token|webhook_id)=[%a-zA-Z0-9+/{}\"]{0,40}&?){0,5}".prop_map(String::into_bytes),
        ],
        value in prop::collection::vec(any::<u8>(), 0..60),
        form in any::<bool>(),
    ) {
        let proof = proof();
        for (provider, verifier) in VERIFIERS.iter() {
            let mut request = with_headers(&provider.name, &body, &value);
            if form {
                request = request.header("content-type", "application/x-www-form-urlencoded");
            }
            let params = Default::default();
            let keys = weir_core::handshake::HandshakeKeys { verifier, params: &params };
            request.with(|view| {
                let facts = provider.facts(view);
                if let Ok(found) = provider.identify(&facts, &proof) {
                    assert!(found.events.iter().all(|e| e.span.end <= body.len()));
                }
                let _ = provider.handshake(&facts, None, keys);
                let _ = provider.handshake(&facts, Some(&proof), keys);
            });
        }
    }
}
