//! Every published vector and handshake over real HTTP: one hub with a source for each, whose clock
//! is set to the time of the vector. The data is the core's.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use weir_core::time::Timestamp;

use crate::hub::{IngressHub, NOW_MS, Reply};

fn published() -> Value {
    serde_json::from_str(include_str!("../../core/tests/providers/vectors.json")).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A text as a TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// The bytes of a request to this path. The length of the body is added unless the headers have it.
fn wire(request: &Value, path: &str) -> Vec<u8> {
    let body = STANDARD.decode(request["body"].as_str().unwrap()).unwrap();
    let method = request["method"].as_str().unwrap();
    let url = request["url"].as_str().unwrap();
    let query = url.split_once('?').map_or(String::new(), |(_, query)| format!("?{query}"));
    let mut head = format!("{method} {path}{query} HTTP/1.1\r\n");
    let given: BTreeMap<String, Value> =
        serde_json::from_value(request["headers"].clone()).unwrap();
    let has = |name: &str| given.keys().any(|n| n.eq_ignore_ascii_case(name));
    if !has("host") {
        head.push_str("Host: hub\r\n");
    }
    if !has("content-length") && (!body.is_empty() || method == "POST") {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    for (name, value) in &given {
        let _ = write!(head, "{name}: {}\r\n", text(value));
    }
    [head.as_bytes(), b"\r\n", &body].concat()
}

/// The source that an operator would configure for this vector.
fn source(name: &str, vector: &Value) -> String {
    let mut secrets: Vec<String> = match &vector["secret"] {
        Value::Null => Vec::new(),
        Value::Array(several) => several.iter().map(text).collect(),
        one => vec![text(one)],
    };
    let mut params = BTreeMap::new();
    for (key, value) in vector["extra"].as_object().into_iter().flatten() {
        match key.as_str() {
            // These are configured in place of a secret.
            "certificate_pem" | "jwk" => secrets.push(text(value)),
            // Notes about the vector are not part of a source.
            "label" | "alg" => {}
            _ => drop(params.insert(key.clone(), text(value))),
        }
    }
    if vector["provider"] == "sns" {
        let body = STANDARD.decode(vector["body"].as_str().unwrap()).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        params.insert("topic_arn".into(), text(&body["TopicArn"]));
    }
    let url = vector["url"].as_str().unwrap();
    let url = url.split('?').next().unwrap();
    let list = |items: Vec<String>| items.join(", ");
    let secrets = list(secrets.iter().map(|s| quoted(s)).collect());
    let params = list(params.iter().map(|(k, v)| format!("{k} = {}", quoted(v))).collect());
    format!(
        "[sources.{name}]\nprovider = {}\npublic_url = {}\nsecrets = [{secrets}]\n\
         params = {{ {params} }}\n",
        vector["provider"],
        quoted(url),
    )
}

async fn sent(hub: &IngressHub, name: &str, vector: &Value) -> Reply {
    let now_ms = vector["now"].as_u64().map_or(NOW_MS, |seconds| seconds * 1000);
    hub.clock.set(now_ms);
    hub.raw(wire(vector, &format!("/webhook/{name}"))).await
}

#[tokio::test]
async fn every_published_vector_is_accepted_or_refused_over_http() {
    let published = published();
    let vectors = published["vectors"].as_array().unwrap();
    assert!(vectors.len() >= 136);
    let name = |n: usize| format!("v{n}");
    let sources: String = vectors.iter().enumerate().map(|(n, v)| source(&name(n), v)).collect();
    let hub = IngressHub::of(&sources).await;
    let mut wrong = Vec::new();
    for (n, vector) in vectors.iter().enumerate() {
        let reply = sent(&hub, &name(n), vector).await;
        let taken = (200..300).contains(&reply.status);
        let valid = vector["valid"] == true;
        if taken != valid {
            let body = String::from_utf8_lossy(&reply.body);
            wrong.push(format!("{}: {} {body}", vector["id"], reply.status));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// The time that the exchange itself states.
fn moment(request: &Value) -> u64 {
    let headers = request["headers"].as_object().unwrap();
    let at = headers.iter().find(|(name, _)| name.to_ascii_lowercase().ends_with("timestamp"));
    let Some((_, at)) = at else { return NOW_MS };
    let at = at.as_str().unwrap();
    let seconds: u64 = at
        .parse()
        .unwrap_or_else(|_| at.parse::<jiff::Timestamp>().unwrap().as_second().try_into().unwrap());
    1000 * seconds
}

/// The source of an exchange. One without a secret gets any.
fn handshake_source(name: &str, exchange: &Value) -> String {
    let provider = exchange["provider"].as_str().unwrap();
    let secret = exchange["secret"].as_str().unwrap_or("any at all");
    let params = match provider {
        "meta" => format!("verify_token = {}", quoted(secret)),
        "braintree" => "public_key = \"integration_public_key\"".into(),
        _ => String::new(),
    };
    let secrets = if HANDED_OVER.contains(&provider) {
        String::new()
    } else {
        format!("secrets = [{}]\n", quoted(secret))
    };
    let url = exchange["request"]["url"].as_str().unwrap();
    let url = quoted(url.split('?').next().unwrap());
    format!(
        "[sources.{name}]\nprovider = \"{provider}\"\npublic_url = {url}\n\
         {secrets}params = {{ {params} }}\n"
    )
}

/// Exchanges that hand their secret over, so that their sources start without one.
const HANDED_OVER: [&str; 2] = ["asana", "notion"];

#[tokio::test]
async fn every_published_handshake_is_answered_over_http() {
    let published = published();
    let exchanges = published["handshakes"].as_array().unwrap();
    assert!(exchanges.len() >= 16);
    let name = |n: usize| format!("h{n}");
    let sources = exchanges.iter().enumerate().map(|(n, e)| handshake_source(&name(n), e));
    let hub = IngressHub::of(&sources.collect::<String>()).await;
    for (n, exchange) in exchanges.iter().enumerate() {
        let (id, wanted) = (&exchange["id"], &exchange["response"]);
        hub.clock.set(moment(&exchange["request"]));
        if HANDED_OVER.contains(&exchange["provider"].as_str().unwrap()) {
            let until = Timestamp::from_millis(moment(&exchange["request"]) + 1);
            hub.ingress.open_window(&name(n), until).await.unwrap();
        }
        let reply = hub.raw(wire(&exchange["request"], &format!("/webhook/{}", name(n)))).await;
        assert_eq!(u64::from(reply.status), wanted["status"].as_u64().unwrap(), "{id}");
        for (header, value) in wanted["headers"].as_object().unwrap() {
            let line = format!("\r\n{header}: {}", value.as_str().unwrap()).to_lowercase();
            assert!(reply.head.contains(&line), "{id}: no {header} in {}", reply.head);
        }
        let (found, body) =
            (String::from_utf8(reply.body).unwrap(), wanted["body"].as_str().unwrap());
        if wanted["body_match"] == "json" {
            let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            assert_eq!(json(&found), json(body), "{id}");
        } else {
            assert_eq!(found, body, "{id}");
        }
    }
    assert!(hub.stored().await.len() <= 1, "Xero's intent alone is an ordinary request");
}
