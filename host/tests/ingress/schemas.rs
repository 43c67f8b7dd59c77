//! Verified events are checked against the JSON Schemas of their source.

use crate::hub::{IngressHub, Reply, junk};

const ORDER: &str = r#"{
    "type": "object",
    "required": ["id"],
    "properties": { "amount": { "type": "number", "minimum": 0 } }
}"#;

/// A hub whose sources have a schema for orders, and for each event of a batch.
async fn with_schemas() -> IngressHub {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("order.json"), ORDER).unwrap();
    let sources = "[server.per_address]\nrefusals = 10\nrefusals_per_second = 1\nloopback = true\n\
        [sources.shop]\nprovider = \"github\"\nsecrets = [{ file = \"secret\" }]\n\
        schemas = { \"order.*\" = \"order.json\" }\n\
        [sources.many]\nprovider = \"custom\"\nsecrets = [{ file = \"secret\" }]\n\
        fan_out = \"/items\"\ntype = \"/type\"\nschemas = { \"order.*\" = \"order.json\" }\n";
    IngressHub::with_folder(folder, sources).await
}

async fn send(hub: &IngressHub, kind: &str, body: &str) -> Reply {
    let headers = [("x-github-event", kind), ("x-github-delivery", &body[..body.len().min(60)])];
    hub.raw(hub.signed("shop", &headers, body, 0)).await
}

#[tokio::test]
async fn an_event_that_fails_its_schema_is_refused_with_the_path() {
    let hub = with_schemas().await;
    let refused = send(&hub, "order.paid", r#"{"id":"o-1","amount":-4711}"#).await;
    assert_eq!(refused.problem(), (422, "schema_mismatch".into()));
    assert_eq!(refused.json()["path"], "/amount");
    assert!(!refused.json().to_string().contains("4711"), "{}", refused.json());
    assert_eq!(send(&hub, "order.paid", "{}").await.json()["path"], "");
    assert_eq!(send(&hub, "order.paid", "no json").await.problem().0, 422);
    assert!(hub.stored().await.is_empty());
    assert_eq!(send(&hub, "order.paid", r#"{"id":"o-1","amount":4711}"#).await.status, 200);
    assert_eq!(
        send(&hub, "push", r#"{"amount":-1}"#).await.status,
        200,
        "another type has no schema"
    );
    assert_eq!(hub.stored().await.len(), 2);
}

#[tokio::test]
async fn each_event_of_a_batch_is_checked_by_the_schema_of_its_type() {
    let hub = with_schemas().await;
    let batch = async |last: &str| {
        let first = r#"{"type":"order.a","id":"1"},{"type":"note"}"#;
        let body = format!(r#"{{"items":[{first},{{"type":"order.b"{last}}}]}}"#);
        hub.raw(hub.signed("many", &[], &body, 0)).await
    };
    assert_eq!(batch("").await.problem(), (422, "schema_mismatch".into()));
    assert!(hub.stored().await.is_empty(), "a batch is stored whole or not at all");
    assert_eq!(batch(r#","id":"3""#).await.status, 200);
    assert_eq!(hub.stored().await.len(), 3);
}

#[tokio::test]
async fn schemas_apply_to_verified_requests_which_are_not_charged() {
    let hub = with_schemas().await;
    assert_eq!(hub.raw(junk("shop")).await.problem(), (401, "signature_mismatch".into()));
    for _ in 0..30 {
        assert_eq!(send(&hub, "order.paid", "{}").await.status, 422);
    }
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(1_100_000));
    assert_eq!(send(&hub, "order.paid", &long).await.problem(), (413, "body_too_large".into()));
}
