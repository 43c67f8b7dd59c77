//! Functions that later versions of the contract added, and modules that were built before.

use bytes::Bytes;
use serde_json::{Value, json};
use weir_core::name::{HandlerName, SourceName};
use weir_core::payload::Payload;
use weir_engine::{ContractVersion, Grants, MissingGrant};

use crate::support::{Try, body, engine, module};

/// The facts that the guest tells of a request with these headers.
async fn facts(source: SourceName, headers: &[(&str, &'static str)]) -> Value {
    let mut run = Try::of(module("facts"), "{}");
    let mut payload = Payload::new("application/json", Bytes::from_static(b"{}"));
    let header = |(name, value): &(&str, &'static str)| ((*name).into(), Bytes::from(*value));
    payload.headers.extend(headers.iter().map(header));
    run.event.source = source;
    run.event.payload = std::sync::Arc::new(payload);
    let report = run.run().await;
    assert_eq!(report.reason(), None);
    serde_json::from_slice(body(&report.effects.messages[0])).unwrap()
}

#[tokio::test]
async fn a_handler_reads_method_query_and_path() {
    let github = SourceName::configured("github").unwrap();
    assert_eq!(
        facts(github.clone(), &[]).await,
        json!({ "method": "POST", "query": "", "path_rest": "" })
    );
    let headers = [("weir-method", "PUT"), ("weir-query", "a=1&b=%20"), ("weir-path", "/tenant/7")];
    assert_eq!(
        facts(github, &headers).await,
        json!({ "method": "PUT", "query": "a=1&b=%20", "path_rest": "/tenant/7" })
    );
    let emitted = SourceName::emitted_by(&HandlerName::new("orders").unwrap());
    for no_request in [emitted, SourceName::hub()] {
        assert_eq!(facts(no_request, &[]).await["method"], "");
    }
}

#[tokio::test]
async fn a_description_has_state_version_and_needs() {
    let described = engine().describe(&module("facts")).await.unwrap();
    assert_eq!(described.state_version, 3);
    let grants = Grants {
        destinations: weir_engine::AllowedDestinations::These(
            ["sink".parse().unwrap()].into_iter().collect(),
        ),
        ..Grants::default()
    };
    let missing: Vec<_> = grants.missing(&described.needs).map(|(n, m)| (n.as_str(), m)).collect();
    assert_eq!(
        missing,
        [("sink", MissingGrant::NoDestination), ("ledger", MissingGrant::NotGranted)]
    );
}

#[tokio::test]
async fn modules_built_with_contract_0_1_0_run_unchanged() {
    // Committed before 0.1.1: Rust, C and WebAssembly text. Nearly all other tests run them too.
    let built_with = ContractVersion { major: 0, minor: 1, patch: 0 };
    for name in ["version-a", "c", "fresh", "wasi"] {
        let module = module(name);
        assert_eq!(module.contract(), Some(built_with), "{name}");
        assert!(module.contract().unwrap() < ContractVersion::SERVED);
        let mut run = Try::of(module, "{}");
        run.config.insert("destination".into(), "ops".into());
        let report = run.run().await;
        assert_eq!(report.reason(), None, "{name}");
    }
    assert_eq!(module("facts").contract(), Some(ContractVersion::SERVED));
    assert_eq!(module("command").contract(), None);
}
