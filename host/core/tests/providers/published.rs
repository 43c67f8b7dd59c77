//! The published vectors: every request and every handshake in `vectors.json`, against its
//! provider's built-in file. Each names its origin; none was made by this package.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use weir_core::handshake::{HandshakeAnswer, HandshakeKeys};
use weir_core::provider::Provider;
use weir_core::request::RequestView;
use weir_core::time::Timestamp;
use weir_core::verify::{NamedSecret, Params, Secret, Verification, Verifier};

use crate::support::{CATALOG, provider};

#[derive(Deserialize)]
struct Published {
    vectors: Vec<Vector>,
    handshakes: Vec<Exchange>,
}

#[derive(Deserialize)]
struct Vector {
    id: String,
    provider: String,
    valid: bool,
    secret: Option<Value>,
    #[serde(default)]
    extra: BTreeMap<String, Value>,
    now: Option<u64>,
    method: String,
    url: String,
    headers: BTreeMap<String, String>,
    body: String,
}

#[derive(Deserialize)]
struct Exchange {
    id: String,
    provider: String,
    secret: Option<String>,
    request: ExchangeRequest,
    response: ExpectedAnswer,
}

#[derive(Deserialize)]
struct ExchangeRequest {
    method: String,
    url: String,
    headers: BTreeMap<String, String>,
    body: String,
}

#[derive(Deserialize)]
struct ExpectedAnswer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
    body_match: String,
}

fn published() -> Published {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

/// The clock for vectors whose scheme has no time.
const ANY_TIME: u64 = 1_760_000_000;

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The secrets and parameters of a source for this vector.
fn configured(vector: &Vector, body: &[u8]) -> (Vec<NamedSecret>, Params) {
    let mut secrets = match &vector.secret {
        None => Vec::new(),
        Some(Value::Array(several)) => several.iter().map(text).collect(),
        Some(one) => vec![text(one)],
    };
    // A certificate or a public key replaces the secret.
    for name in ["certificate_pem", "jwk"] {
        secrets.extend(vector.extra.get(name).map(text));
    }
    let named = |s: &String| NamedSecret::new("published", Secret::new(s.as_str()));
    let mut params: Params =
        vector.extra.iter().map(|(name, v)| (name.clone(), Secret::new(text(v)))).collect();
    if vector.provider == "sns" {
        let body: Value = serde_json::from_slice(body).unwrap();
        params.insert("topic_arn".to_owned(), Secret::new(text(&body["TopicArn"])));
    }
    (secrets.iter().map(named).collect(), params)
}

fn outcome(vector: &Vector) -> Verification {
    let body = STANDARD.decode(&vector.body).unwrap();
    let (secrets, params) = configured(vector, &body);
    let provider = CATALOG.get(&vector.provider).unwrap_or_else(|| panic!("{}", vector.id));
    let verifier = provider
        .verifier_with(&secrets, &params)
        .unwrap_or_else(|error| panic!("{}: {error}", vector.id));
    let headers: Vec<_> = vector.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
    let request =
        RequestView { method: &vector.method, url: &vector.url, headers: &headers, body: &body };
    verifier.verify(&request, Timestamp::from_millis(vector.now.unwrap_or(ANY_TIME) * 1000))
}

#[test]
fn every_published_vector_has_its_verdict() {
    let vectors = published().vectors;
    assert!(vectors.len() >= 136);
    let mut wrong = Vec::new();
    for vector in &vectors {
        let outcome = outcome(vector);
        if outcome.is_ok() != vector.valid {
            wrong.push(format!("{}: {outcome:?}", vector.id));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_published_provider_has_a_file() {
    let published = published();
    let mut names: Vec<_> = published.vectors.iter().map(|v| v.provider.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() >= 76, "{}", names.len());
    for name in names {
        assert!(CATALOG.get(name).is_some(), "{name}");
    }
}

/// A verifier with the secret of an exchange, or with any secret.
fn keys(provider: &Provider, secret: Option<&str>) -> (Verifier, Params) {
    let value = Secret::new(secret.unwrap_or("any"));
    // One exchange names its parameter so; the other exchanges do not read it.
    let params = Params::from([
        ("verify_token".to_owned(), value.clone()),
        ("public_key".to_owned(), Secret::new("integration_public_key")),
    ]);
    let verifier = provider.verifier_with(&[NamedSecret::new("published", value)], &params);
    (verifier.unwrap(), params)
}

fn answer(exchange: &Exchange) -> Result<HandshakeAnswer, u16> {
    let provider = provider(&exchange.provider);
    let (verifier, params) = keys(provider, exchange.secret.as_deref());
    let body = STANDARD.decode(&exchange.request.body).unwrap();
    let headers: Vec<_> =
        exchange.request.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
    let request = RequestView {
        method: &exchange.request.method,
        url: &exchange.request.url,
        headers: &headers,
        body: &body,
    };
    let facts = provider.facts(request);
    let keys = HandshakeKeys { verifier: &verifier, params: &params };
    if let Some(answer) = provider.handshake(&facts, None, keys) {
        return Ok(answer.unwrap());
    }
    let mut headers = exchange.request.headers.iter();
    let at = headers.find(|(name, _)| name.to_ascii_lowercase().ends_with("timestamp"));
    let at = at.map(|(_, value)| value.as_str());
    let at = at.map_or(ANY_TIME, |at| match at.parse() {
        Ok(seconds) => seconds,
        Err(_) => at.parse::<jiff::Timestamp>().unwrap().as_second().try_into().unwrap(),
    });
    match verifier.verify(&request, Timestamp::from_millis(at * 1000)) {
        Ok(proof) => match provider.handshake(&facts, Some(&proof), keys) {
            Some(answer) => Ok(answer.unwrap()),
            // Not a handshake but an event; the file says how to answer.
            None => Err(provider.acknowledge.as_ref().map_or(200, |answer| answer.status)),
        },
        _ => Err(provider.failure_status),
    }
}

#[test]
fn every_published_handshake_is_answered_as_published() {
    let exchanges = published().handshakes;
    assert!(exchanges.len() >= 16);
    for exchange in &exchanges {
        let (id, wanted) = (&exchange.id, &exchange.response);
        let answer = match answer(exchange) {
            Ok(answer) => answer,
            Err(status) => {
                assert_eq!((status, ""), (wanted.status, wanted.body.as_str()), "{id}");
                continue;
            }
        };
        assert_eq!(answer.status, wanted.status, "{id}");
        for (name, value) in &wanted.headers {
            let found = answer.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
            assert_eq!(found.map(|(_, v)| v.as_str()), Some(value.as_str()), "{id} {name}");
        }
        assert!(answer.headers.contains(&("x-content-type-options".into(), "nosniff".into())));
        if wanted.body_match == "json" {
            let [found, wanted] = [&answer.body, &wanted.body]
                .map(|text| serde_json::from_str::<Value>(text).unwrap());
            assert_eq!(found, wanted, "{id}");
        } else {
            assert_eq!(answer.body, wanted.body, "{id}");
        }
    }
}
