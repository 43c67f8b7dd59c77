//! The overrides of a source.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use weir_core::provider::{OnRedelivery, ProviderError, ProviderOverrides};

use crate::support::{NOW, Request, changed, code, provider, verified, verifier};

fn problem(name: &str, toml: &str) -> String {
    let overrides: ProviderOverrides = toml::from_str(toml).unwrap();
    let ProviderError::Invalid(problems) = provider(name).with_overrides(&overrides).unwrap_err()
    else {
        panic!()
    };
    let lines: Vec<_> = problems.iter().map(|p| format!("{}: {}", p.path, p.message)).collect();
    lines.join("\n")
}

#[test]
fn a_source_can_describe_a_partners_scheme() {
    let partner = changed(
        "custom",
        "body_limit = '2MiB'\non_redelivery = 'requeue'\n[signature]\nheader = 'X-Partner-Signature'\n\
         encoding = 'base64'\nprefix = 'v1:'\nmessage = '{timestamp}.{body}'\n\
         timestamp = { header = 'X-Partner-Time', tolerance = '1m' }",
    );
    assert_eq!(
        (partner.body_limit, partner.on_redelivery),
        (Some(2 * 1024 * 1024), OnRedelivery::Requeue)
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(b"k").unwrap();
    mac.update(format!("{}.hello", NOW.as_secs()).as_bytes());
    use base64::Engine;
    let signature = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    let request = Request::new("hello")
        .header("x-partner-signature", format!("v1:{signature}"))
        .header("x-partner-time", NOW.as_secs().to_string());
    assert_eq!(verified(request.verify(&verifier(&partner, &["k"]))).timestamp, Some(NOW));
}

#[test]
fn a_tolerance_widens_and_narrows_the_window() {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"k").unwrap();
    mac.update(format!("{}.{{}}", NOW.as_secs() - 400).as_bytes());
    let header =
        format!("t={},v1={}", NOW.as_secs() - 400, hex::encode(mac.finalize().into_bytes()));
    let request = Request::new("{}").header("Stripe-Signature", header);
    assert_eq!(code(request.verify(&verifier(provider("stripe"), &["k"]))), "timestamp_stale");
    let wide = changed("stripe", "tolerance = '10m'");
    verified(request.verify(&verifier(&wide, &["k"])));
    assert!(problem("github", "tolerance = '10m'").starts_with("tolerance: "));
}

#[test]
fn a_tolerance_for_an_unsigned_time_is_refused() {
    let problem_text =
        problem("github", "[signature]\ntimestamp = { header = 'X-Time', tolerance = '5m' }");
    assert!(problem_text.starts_with("schemes.sha256.timestamp.tolerance: "), "{problem_text}");
}

#[test]
fn dedup_by_an_unsigned_id_is_refused() {
    let problem_text = problem("github", "dedup = 'id'");
    assert_eq!(
        problem_text,
        "dedup: header:X-GitHub-Delivery is not covered by scheme sha256; use id+body"
    );
}

#[test]
fn a_change_must_name_one_of_several_schemes() {
    let problem_text = problem("standard-webhooks", "[signature]\nkey = 'utf8'");
    assert_eq!(problem_text, "signature.name: name one of the schemes: v1a, v1");
    let polar = changed("standard-webhooks", "schemes = ['v1']\n[signature]\nkey = 'utf8'");
    assert_eq!(polar.schemes.len(), 1);
}

#[test]
fn an_unknown_hook_is_refused() {
    let problem_text = problem("custom", "[signature]\nalgorithm = 'hook:paypal'");
    assert_eq!(problem_text, "schemes.signature.algorithm: this hub has no hook \"paypal\"");
}

#[test]
fn a_source_can_set_the_methods_of_events() {
    let methods = |name, toml| changed(name, toml).methods.to_string();
    assert_eq!(provider("github").methods.to_string(), "POST");
    assert_eq!(methods("github", "methods = ['PUT', 'POST']"), "PUT, POST");
    assert_eq!(methods("twilio", "methods = 'GET'"), "GET");
    for wrong in ["HEAD", "OPTIONS", "TRACE", "CONNECT", "get"] {
        let problem_text = problem("twilio", &format!("methods = ['POST', '{wrong}']"));
        let why = "not a method of events; use POST, GET, PUT, PATCH or DELETE";
        assert_eq!(problem_text, format!("methods: \"{wrong}\" is {why}"));
    }
    assert_eq!(problem("github", "methods = []"), "methods: at least one method is needed");
}

#[test]
fn a_source_accepts_the_methods_of_events_and_handshakes() {
    for (name, allowed) in [
        ("github", "POST"),
        ("twilio", "POST, GET"),
        ("meta", "POST, GET"),
        ("trello", "POST, HEAD"),
        ("cloudevents", "POST, OPTIONS"),
    ] {
        assert_eq!(provider(name).allowed_methods(), allowed, "{name}");
        for method in ["POST", "GET", "PUT", "HEAD", "OPTIONS"] {
            let accepts = allowed.split(", ").any(|one| one == method);
            assert_eq!(provider(name).accepts_method(method), accepts, "{name} {method}");
        }
    }
}

#[test]
fn get_is_refused_if_the_signature_covers_only_bodies() {
    for method in ["GET", "DELETE"] {
        let problem_text = problem("github", &format!("methods = ['POST', '{method}']"));
        let why = "requests may have no body, and the signature covers only bodies";
        assert!(problem_text.starts_with(&format!("methods: {method} {why}")), "{problem_text}");
    }
    let signs = |message: &str| {
        let toml = format!("methods = ['GET']\n[signature]\nmessage = {message}");
        let overrides = toml::from_str::<ProviderOverrides>(&toml).unwrap();
        provider("custom").with_overrides(&overrides).is_ok()
    };
    assert!(signs("'{method}{url}{body}'") && signs("'{header:X-Nonce}{body}'"));
    assert!(!signs("'{method}{body}'") && !signs("'{form-sorted}'"));
    assert!(!signs("['{url}', '{body}']"), "either is enough for a forger");
}

#[test]
fn an_id_in_an_unsigned_query_is_refused() {
    let source = |message: &str| {
        format!(
            "methods = ['POST', 'GET']\nid = 'form:id'\ndedup = 'id'\n[signature]\nmessage = '{message}'\n\
             timestamp = {{ header = 'X-Time' }}"
        )
    };
    let problem_text = problem("custom", &source("{timestamp}{body}"));
    assert_eq!(problem_text, "dedup: form:id is not covered by scheme signature; use id+body");
    changed("custom", &source("{timestamp}{url}{body}"));
}

#[test]
fn a_token_is_a_secret_field_without_being_listed() {
    let token = changed(
        "custom",
        "dedup = 'none'\n[signature]\nheader = 'X-Token'\nprefix = ''\nencoding = 'plain'\nalgorithm = 'static-equals'",
    );
    let fields: Vec<_> = token.secret_fields.iter().map(ToString::to_string).collect();
    assert_eq!(fields, ["header:X-Token"]);
}
