//! Replays: a captured request is valid for one event. Whatever unsigned part is changed, the dedup
//! key and the type stay the same.

use form_urlencoded::byte_serialize;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use ring::rand::SystemRandom;
use serde_json::Value;
use weir_core::identify::{DedupMaterial, DedupRule, FactTemplate, TYPE_UNKNOWN};
use weir_core::provider::{BodyCoverage, Coverage, Provider};
use weir_core::selector::Selector;
use weir_core::sign::{RequestDraft, SignError, SigningInput};
use weir_core::verify::NamedSecret;

use crate::doubles::{Genuine, genuine};
use crate::support::{CATALOG, NOW, URL, changed, fresh, provider};

/// The samples of a provider, signed with each of its schemes.
fn signed_samples(provider: &Provider) -> Vec<(String, Genuine)> {
    let mut found = Vec::new();
    for scheme in &provider.schemes {
        let (pair, params) = fresh(provider, Some(&scheme.name));
        let only = Some((&*scheme.name).into());
        let secret = NamedSecret { scheme: only, ..NamedSecret::new("fresh", pair.verifying) };
        let Ok(verifier) = provider.verifier_with(&[secret], &params) else { continue };
        for sample in &provider.samples {
            let signing =
                SigningInput { secret: &pair.sending, params: &params, scheme: Some(&scheme.name) };
            let rendered = sample.render(&mut ChaCha8Rng::seed_from_u64(3), NOW);
            let draft = RequestDraft {
                method: "POST".into(),
                url: URL.into(),
                headers: rendered.headers,
                body: rendered.body.into_bytes(),
            };
            let signed: Result<RequestDraft, SignError> =
                provider.sign_request(signing, &draft, NOW, &SystemRandom::new());
            let Ok(RequestDraft { method, url, headers, body }) = signed else { continue };
            let genuine =
                Genuine { verifier: verifier.clone(), method, url, headers, body, now: NOW };
            if genuine.verify().is_ok() {
                found.push((format!("{}/{}", scheme.name, sample.name), genuine));
            }
        }
    }
    found
}

/// For each event: its dedup material, its tag and its type.
type EventKeys = Vec<(Option<DedupMaterial>, u32, String)>;

/// The events of a request, and the coverage of its scheme; `None` if it is refused.
fn event_keys(provider: &Provider, request: &Genuine) -> Option<(EventKeys, Coverage)> {
    let Ok(proof) = request.verify() else { return None };
    if !provider.methods.contains(&request.method) {
        return None;
    }
    let coverage = provider.coverage().into_iter().find(|c| c.scheme == proof.scheme).unwrap();
    let found = request.with(|view| provider.identify(&provider.facts(view), &proof));
    let events = found.ok()?.events.into_iter();
    Some((events.map(|e| (e.dedup, e.tag, e.kind.to_string())).collect(), coverage))
}

fn pairs(form: &str) -> Vec<&str> {
    form.split('&').collect()
}

/// The form with every byte of every name and value escaped.
fn escaped(form: &str) -> String {
    let all = |text: &str| text.bytes().map(|b| format!("%{b:02x}")).collect::<String>();
    let fields = form_urlencoded::parse(form.as_bytes());
    fields.map(|(n, v)| format!("{}={}", all(&n), all(&v))).collect::<Vec<_>>().join("&")
}

/// The same fields as forms in other orders and encodings, and with other fields.
fn forms(form: &str) -> Vec<String> {
    let mut reversed = pairs(form);
    reversed.reverse();
    let mut rotated = pairs(form);
    rotated.rotate_left(1);
    let plain: Vec<_> = form_urlencoded::parse(form.as_bytes())
        .map(|(n, v)| {
            let [n, v] = [n, v].map(|text| byte_serialize(text.as_bytes()).collect::<String>());
            format!("{n}={v}")
        })
        .collect();
    vec![
        format!("{form}&zz=1"),
        format!("zz=1&{form}"),
        format!("{form}&"),
        format!("&{form}"),
        format!("{form}&x={{\"type\":\"other\"}}"),
        reversed.join("&"),
        rotated.join("&"),
        plain.join("&"),
        escaped(form),
        form.replace("%20", "+"),
        form.replace('+', "%20"),
    ]
}

/// A document with an additional key in every object.
fn with_more(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let more = [("zz".to_owned(), Value::from(1)), ("id_2".to_owned(), "x".into())];
            fields.iter().map(|(k, v)| (k.clone(), with_more(v))).chain(more).collect()
        }
        Value::Array(items) => items.iter().map(with_more).collect(),
        other => other.clone(),
    }
}

fn bodies(body: &[u8]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [" ", "\n", "\r\n", "&", "\0"]
        .iter()
        .flat_map(|more| [[body, more.as_bytes()].concat(), [more.as_bytes(), body].concat()])
        .collect();
    if let Ok(json) = serde_json::from_slice::<Value>(body) {
        all.push(serde_json::to_vec(&json).unwrap());
        all.push(serde_json::to_vec_pretty(&json).unwrap());
        all.push(serde_json::to_vec(&with_more(&json)).unwrap());
    }
    let text = String::from_utf8_lossy(body);
    all.extend(forms(&text).into_iter().map(String::into_bytes));
    all
}

/// The headers that the templates read.
fn headers_of(templates: &[FactTemplate]) -> Vec<String> {
    let names =
        templates.iter().flat_map(FactTemplate::selectors).filter_map(|source| match source {
            Selector::Header(names) => Some(names.iter().map(ToString::to_string)),
            _ => None,
        });
    names.flatten().collect()
}

const CONTENT_TYPES: [&str; 7] = [
    "multipart/form-data; boundary=x",
    "application/json",
    "application/x-www-form-urlencoded",
    "Application/X-WWW-Form-Urlencoded; charset=utf-8",
    "text/plain",
    "application/octet-stream",
    "",
];

/// The request with every part changed that may be unsigned, one at a time.
fn variants(provider: &Provider, request: &Genuine, coverage: &Coverage) -> Vec<(String, Genuine)> {
    let mut all: Vec<(String, Genuine)> = Vec::new();
    let mut add = |what: &str, changed: Genuine| all.push((what.to_owned(), changed));
    let headers = |headers: Vec<(String, String)>| Genuine { headers, ..request.clone() };
    let own = || request.headers.iter().cloned();
    add("more headers", headers(own().chain([("X-Zz".into(), "1".into())]).collect()));
    add("names in capitals", headers(own().map(|(n, v)| (n.to_uppercase(), v)).collect()));
    add("other order of headers", headers(own().rev().collect()));
    let other = |name: &String| {
        let signed_by_name = own().any(|(n, _)| n.eq_ignore_ascii_case(name));
        (signed_by_name, request.clone().with_header(name, "another-1"))
    };
    let identity = &provider.identity;
    let facts = [(coverage.kind, &identity.kinds), (coverage.id, &identity.ids)];
    for name in facts.iter().filter(|(signed, _)| *signed).flat_map(|(_, t)| headers_of(t)) {
        add(&format!("another {name}"), other(&name).1);
    }
    let unsigned = ["I-Twilio-Idempotency-Token", "Idempotency-Key", "X-Request-Id", "Date"];
    for name in unsigned.map(str::to_owned).iter().filter(|name| {
        coverage.id || !headers_of(&identity.ids).iter().any(|of| of.eq_ignore_ascii_case(name))
    }) {
        add(&format!("another {name}"), other(name).1);
    }
    for content_type in CONTENT_TYPES {
        add(content_type, request.clone().with_header("content-type", content_type));
    }
    add("no content type", {
        headers(own().filter(|(n, _)| !n.eq_ignore_ascii_case("content-type")).collect())
    });
    add("a header twice", headers(own().chain([("Content-Type".into(), "a/b".into())]).collect()));
    for body in bodies(&request.body) {
        let what = format!("body {}", String::from_utf8_lossy(&body));
        add(&what, request.clone().with_body(body));
    }
    for method in ["POST", "GET", "PUT", "PATCH", "DELETE"] {
        add(method, Genuine { method: method.to_owned(), ..request.clone() });
    }
    let (path, query) = request.url.split_once('?').unwrap_or((&request.url, ""));
    for query in forms(query) {
        add(&query, Genuine { url: format!("{path}?{query}"), ..request.clone() });
    }
    let port = request.url.replacen(".com/", ".com:443/", 1);
    add("port", Genuine { url: port, ..request.clone() });
    all
}

#[test]
fn a_captured_request_is_one_event() {
    for provider in CATALOG.iter() {
        let (mut of_provider, mut held) = (signed_samples(provider), 0);
        of_provider.extend(genuine(&provider.name));
        for (name, request) in of_provider {
            let Some((first, coverage)) = event_keys(provider, &request) else { continue };
            if matches!(coverage.body, BodyCoverage::Nothing | BodyCoverage::Checksum) {
                continue;
            }
            for (what, changed) in variants(provider, &request, &coverage) {
                // If the query is the payload and is not signed, nothing identifies the request.
                let unidentified = &*provider.name == "zendesk" && changed.body.is_empty();
                let Some((mut then, _)) = event_keys(provider, &changed).filter(|_| !unidentified)
                else {
                    continue;
                };
                if !coverage.kind {
                    then.iter_mut()
                        .zip(&first)
                        .for_each(|(then, first)| then.2.clone_from(&first.2));
                }
                held += 1;
                assert_eq!(then, first, "{} {name}: {what}", provider.name);
            }
        }
        let nothing = provider.coverage().iter().all(|c| c.body == BodyCoverage::Nothing);
        let only_known = ["paypal"].contains(&&*provider.name);
        assert!(held > 10 || nothing || only_known, "{}: nothing was tried", provider.name);
    }
}

/// Providers whose events may lack everything that identifies a repetition.
const NEVER: [&str; 3] = ["dropbox", "mailgun", "quickbooks"];

#[test]
fn a_repeated_request_is_known_by_its_signed_content() {
    for provider in CATALOG.iter().filter(|provider| !NEVER.contains(&&*provider.name)) {
        for (name, request) in signed_samples(provider).into_iter().chain(genuine(&provider.name)) {
            let Some((events, coverage)) = event_keys(provider, &request) else { continue };
            // Without type, id and time, two requests could be two events.
            let known = |(key, _, kind): &(Option<DedupMaterial>, u32, String)| {
                key.is_some() || !coverage.time && kind == TYPE_UNKNOWN
            };
            let signs = coverage.time || coverage.id || provider.identity.dedup == DedupRule::Body;
            assert!(!signs || events.iter().all(known), "{} {name}: {events:?}", provider.name);
        }
    }
}

/// Providers with a scheme that signs something of the body but not the type, or not the id.
#[test]
fn unsigned_types_and_ids_are_reported() {
    type Fact = (fn(&Coverage) -> bool, fn(&Provider) -> bool);
    let unsigned = |(signed, known): Fact| -> Vec<&str> {
        let open = |c: &Coverage| !matches!(c.body, BodyCoverage::Nothing) && !signed(c);
        let open = |p: &&std::sync::Arc<Provider>| known(p) && p.coverage().iter().any(open);
        CATALOG.iter().filter(open).map(|p| &*p.name).collect()
    };
    let kind = unsigned((|c| c.kind, |p| !p.identity.kinds.is_empty()));
    assert_eq!(kind, TYPE_UNSIGNED);
    assert_eq!(unsigned((|c| c.id, |p| !p.identity.ids.is_empty())), ID_UNSIGNED);
}

const TYPE_UNSIGNED: [&str; 14] = [
    "bitbucket",
    "contentful",
    "custom",
    "forgejo",
    "gitea",
    "github",
    "gitlab",
    "hook0",
    "mailgun",
    "paypal",
    "sanity",
    "sentry",
    "shopify",
    "woocommerce",
];
const ID_UNSIGNED: [&str; 20] = [
    "adyen",
    "bitbucket",
    "coinbase-cdp",
    "contentful",
    "custom",
    "forgejo",
    "gitea",
    "github",
    "hook0",
    "jira",
    "linear",
    "mailgun",
    "paypal",
    "razorpay",
    "sanity",
    "sentry",
    "shopify",
    "woocommerce",
    "zendesk",
    "zoom",
];

#[test]
fn one_body_with_two_topics_is_two_events_if_configured() {
    let shopify = changed("shopify", "dedup = 'type+body'");
    let request = genuine("shopify").remove("b64").unwrap();
    let keys = |topic: &str, id: &str| {
        let request = request.clone().with_header("X-Shopify-Topic", topic);
        let request = request.with_header("X-Shopify-Webhook-Id", id);
        event_keys(&shopify, &request).unwrap().0.remove(0).0.unwrap()
    };
    assert_eq!(keys("orders/create", "1"), keys("orders/create", "2"));
    assert_ne!(keys("orders/create", "1"), keys("orders/paid", "1"));
}

#[test]
fn an_attempt_number_does_not_change_the_dedup_key() {
    let (name, of) = ("hubspot", |attempt: u8| {
        format!(
            r#"[{{"eventId":1,"subscriptionId":2,"occurredAt":3,"subscriptionType":"contact.creation","attemptNumber":{attempt}}}]"#
        )
    });
    let event_keys = |attempt| {
        let (pair, params) = fresh(provider(name), Some("v1"));
        let signing = SigningInput { secret: &pair.sending, params: &params, scheme: Some("v1") };
        let draft = RequestDraft {
            method: "POST".into(),
            url: URL.into(),
            headers: Vec::new(),
            body: of(attempt).into_bytes(),
        };
        let signed = provider(name).sign_request(signing, &draft, NOW, &SystemRandom::new());
        let RequestDraft { method, url, headers, body } = signed.unwrap();
        let secret = [NamedSecret::new("fresh", pair.verifying)];
        let verifier = provider(name).verifier_with(&secret, &params).unwrap();
        let request = Genuine { verifier, method, url, headers, body, now: NOW };
        event_keys(provider(name), &request).unwrap().0
    };
    assert_eq!(event_keys(0), event_keys(1));
}
