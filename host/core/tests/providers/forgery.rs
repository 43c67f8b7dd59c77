//! Forgeries: what a stranger may try.

use std::sync::LazyLock;

use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use sha2::Sha256;
use weir_core::provider::Provider;
use weir_core::selector::Selector;
use weir_core::verify::{NamedSecret, Verifier};

use crate::support::{CATALOG, NOW, Request, changed, code, fresh, provider, verified, verifier};

fn hmac_hex(key: &[u8], message: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    hex::encode(mac.finalize().into_bytes())
}

fn stripe(header: &str) -> &'static str {
    let verifier = verifier(provider("stripe"), &["whsec_x"]);
    code(Request::new("{}").header("stripe-signature", header).verify(&verifier))
}

fn stripe_signed(seconds: &str) -> String {
    format!("t={seconds},v1={}", hmac_hex(b"whsec_x", format!("{seconds}.{{}}").as_bytes()))
}

#[test]
fn a_duplicated_header_is_refused_even_if_one_is_valid() {
    let right = format!("sha256={}", hmac_hex(b"k", b"{}"));
    let verifier = verifier(provider("github"), &["k"]);
    let request = Request::new("{}").header("X-Hub-Signature-256", right.as_str());
    verified(request.verify(&verifier));
    let twice = request.header("x-hub-signature-256", "sha256=00");
    assert_eq!(code(twice.verify(&verifier)), "header_duplicated");
}

#[test]
fn each_error_has_its_code() {
    let now = NOW.as_secs().to_string();
    assert_eq!(stripe(""), "signature_missing");
    assert_eq!(stripe("v1=00"), "timestamp_missing");
    assert_eq!(stripe(&format!("t={now}")), "signature_unsupported");
    assert_eq!(stripe(&format!("t={now},v1=zz")), "signature_malformed");
    assert_eq!(stripe(&format!("t={now},v1=00")), "signature_mismatch");
    assert_eq!(stripe(&format!("t={now},{}", "v1=00,".repeat(40))), "too_many_signatures");
    assert_eq!(stripe(&format!("t={now},t=1,v1=00")), "header_duplicated");
    assert_eq!(stripe(&"a".repeat(9000)), "header_too_long");
    assert_eq!(stripe(&stripe_signed("+1760000000")), "timestamp_malformed");
    assert_eq!(stripe(&stripe_signed("1760000000.5")), "timestamp_malformed");
    assert_eq!(stripe(&stripe_signed("1759999699")), "timestamp_stale");
    assert_eq!(stripe(&stripe_signed("1760000301")), "timestamp_stale");
}

#[test]
fn only_a_validly_signed_request_is_called_stale() {
    assert_eq!(stripe("t=1,v1=00"), "signature_mismatch");
}

#[test]
fn a_weak_signature_does_not_replace_a_strong_one() {
    let file = include_str!("../../providers/github.toml").replace(
        "[categories]",
        "[[schemes]]\nname = \"token\"\nheader = \"X-Token\"\nalgorithm = \"static-equals\"\n\n[categories]",
    );
    let both = weir_core::provider::Provider::load(&file).unwrap();
    let request = Request::new("{}").header("X-Token", "k");
    assert_eq!(code(request.verify(&verifier(&both, &["k"]))), "signature_missing");
    let weak: weir_core::provider::ProviderOverrides =
        toml::from_str("schemes = ['token']").unwrap();
    verified(request.verify(&verifier(&both.with_overrides(&weak).unwrap(), &["k"])));
}

#[test]
fn names_of_two_families_cannot_be_mixed() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let verifier = verifier(provider("standard-webhooks"), &[secret]);
    let signed = Request::new(r#"{"test": 2432232314}"#)
        .header("svix-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
        .header("svix-timestamp", "1614265330")
        .header("svix-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    let then = weir_core::time::Timestamp::from_millis(1_614_265_330_000);
    let id = |request: &Request| {
        request.with(|view| {
            let verified = verified(verifier.verify(&view, then));
            let provider = provider("standard-webhooks");
            let facts = provider.facts(view);
            provider.identify(&facts, &verified).unwrap().events.remove(0).delivery_id
        })
    };
    // A replay that adds an unsigned id of the other family must not look like a new delivery.
    assert_eq!(id(&signed), id(&signed.clone().header("webhook-id", "another")));
}

#[test]
fn a_body_outside_the_signature_is_refused() {
    let verifier = verifier(provider("twilio"), &["12345"]);
    let request = Request::new("{}")
        .header("content-type", "application/json")
        .header("x-twilio-signature", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    assert_eq!(code(request.verify(&verifier)), "body_not_signed");
}

#[test]
fn every_item_must_carry_the_token() {
    let graph = changed(
        "custom",
        "schemes = ['signature']\n[signature]\nfrom = 'each:/value/*/clientState'\nprefix = ''\n\
         encoding = 'plain'\nalgorithm = 'static-equals'\ncandidates = 'all'",
    );
    let verifier = verifier(&graph, &["token"]);
    let outcome = |body: &str| Request::new(body).verify(&verifier);
    verified(outcome(r#"{"value":[{"clientState":"token"},{"clientState":"token"}]}"#));
    for body in [
        r#"{"value":[{"clientState":"token"},{"clientState":"other"}]}"#,
        r#"{"value":[{"clientState":"token"},{}]}"#,
    ] {
        assert_eq!(code(outcome(body)), "signature_mismatch");
    }
    assert_eq!(code(outcome(r#"{"value":[]}"#)), "signature_missing");
}

/// If a sender signs a time and a token but not the event, one signature is valid for one event.
#[test]
fn a_captured_signature_is_valid_for_one_event() {
    let (secret, form) = ("key-0123456789abcdef", "application/x-www-form-urlencoded");
    let (time, token) = ("1529006854", "a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0");
    let signature = hmac_hex(secret.as_bytes(), format!("{time}{token}").as_bytes());
    let (mailgun, verifier) = (provider("mailgun"), verifier(provider("mailgun"), &[secret]));
    let dedup = |kind: &str, body: String| {
        let request = Request::new(body).header("content-type", kind);
        request.with(|view| {
            let proof = match verifier.verify(&view, NOW) {
                Ok(proof) => proof,
                _ => return None,
            };
            let facts = mailgun.facts(view);
            let event = mailgun.identify(&facts, &proof).unwrap().events.remove(0);
            Some(event.dedup.expect("a replay would be new every time"))
        })
    };
    let json = |time: &str, token: &str, rest: &str| {
        format!(
            r#"{{"signature":{{"timestamp":"{time}","token":"{token}","signature":"{signature}"}},{rest}}}"#
        )
    };
    let fields = format!("timestamp={time}&token={token}&signature={signature}");
    let first = dedup("application/json", json(time, token, r#""event-data":{"event":"opened"}"#));
    assert!(first.is_some());
    assert_eq!(first, dedup(form, format!("{fields}&event=opened")));
    let moved = (&time[..9], format!("{}{token}", &time[9..]));
    for (kind, body) in [
        // Unreadable values beside the signed ones.
        ("application/json", json(time, token, r#""event-data":1e999"#)),
        ("application/json", json(time, token, r#""event-data":{"\ud800":1}"#)),
        // Another content type.
        (form, json(time, token, r#""event-data":{"event":"opened"}"#)),
        ("application/json", format!("{fields}&event=opened")),
    ] {
        assert_eq!(dedup(kind, body.clone()), first, "{body}");
    }
    // Bytes that are both JSON and a form are JSON, and have no signature there.
    let both = format!(r#"{{"signature":{{"timestamp":"2","token":"new"}},"x":"&{fields}&"}}"#);
    assert_eq!(dedup(form, both), None);
    // A digit that moves from the time leaves no valid time.
    assert_eq!(dedup("application/json", json(moved.0, &moved.1, r#""x":1"#)), None);
    // Nor is there a signature after more fields than are read.
    assert_eq!(dedup(form, format!("{}{fields}", "a&".repeat(10_000))), None);
}

#[test]
fn noise_is_distinguished_from_failed_webhooks() {
    let verifier = verifier(provider("github"), &["k"]);
    assert!(!Request::new("x").with(|view| verifier.carries_signature(&view)));
    assert!(
        Request::new("x")
            .header("X-Hub-Signature-256", "?")
            .with(|view| verifier.carries_signature(&view))
    );
}

/// A verifier for each built-in provider.
pub(crate) static VERIFIERS: LazyLock<Vec<(&'static Provider, Verifier)>> = LazyLock::new(|| {
    let verifier = |provider: &'static std::sync::Arc<Provider>| {
        let (pair, params) = fresh(provider, None);
        let secrets = [NamedSecret::new("fresh", pair.verifying)];
        (&**provider, provider.verifier_with(&secrets, &params).unwrap())
    };
    CATALOG.iter().map(verifier).collect()
});

/// The headers that a provider's schemes read.
pub(crate) fn header_names(provider: &Provider) -> Vec<String> {
    let mut names = Vec::new();
    for scheme in &provider.schemes {
        let times = scheme.timestamp.iter().flat_map(|rule| &rule.from);
        let required = scheme.require.iter().map(|r| &r.from);
        let fields = scheme.signature.iter().chain(scheme.message.fields());
        for source in fields.chain(times).chain(required) {
            match source {
                Selector::Header(of_families) => {
                    names.extend(of_families.iter().map(|n| n.to_string()))
                }
                Selector::Headers(patterns) => {
                    let digit = |numbered| if numbered { "1" } else { "" };
                    names.extend(
                        patterns.iter().map(|p| format!("{}{}", p.name, digit(p.numbered))),
                    );
                }
                _ => {}
            }
        }
    }
    names.sort();
    names.dedup();
    names
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]


    #[test]
    fn any_request_is_verified_without_a_panic(
        values in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..80),
                "(t=[0-9]{0,12},)?(v[01]a?[=,][a-zA-Z0-9+/=]{0,90}[, ]?){0,5}".prop_map(String::into_bytes),
                "sha256=[0-9a-f]{60,66}".prop_map(String::into_bytes),
                "[0-9]{1,22}".prop_map(String::into_bytes),
            ],
            8,
        ),
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "[\\[\\]{}\":,a-e0-9]{0,60}".prop_map(String::into_bytes),
        ],
        form in any::<bool>(),
    ) {
        for (provider, verifier) in VERIFIERS.iter() {
            let mut request = Request::new(body.clone());
            for (name, value) in header_names(provider).into_iter().zip(values.iter().cycle()) {
                request = request.header(&name, value.clone());
            }
            if form {
                request = request.header("content-type", "application/x-www-form-urlencoded");
            }
            let outcome = request.verify(verifier);
            prop_assert!(
                outcome.is_err(),
                "{}: {:?}", provider.name, outcome
            );
        }
    }
}
