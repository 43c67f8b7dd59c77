//! The breadth of the format: schemes of many providers, each written as a source would write it under
//! `signature`, against requests whose verdict is known. A file for any of them needs no code.

use base64::Engine;
use serde::Deserialize;
use weir_core::time::Timestamp;
use weir_core::verify::{NamedSecret, RequestView, Secret, Verification};

use crate::support::changed;

#[derive(Deserialize)]
struct Scheme {
    scheme: String,
    signature: String,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    genuine: bool,
    secrets: Vec<String>,
    now: u64,
    method: String,
    url: String,
    headers: std::collections::BTreeMap<String, String>,
    body: String,
}

#[test]
fn schemes_of_many_providers_are_only_data() {
    let schemes: Vec<Scheme> = serde_json::from_str(include_str!("declarative.json")).unwrap();
    assert!(schemes.len() >= 60);
    let mut tried = 0;
    for scheme in schemes {
        let provider =
            changed("custom", &format!("dedup = 'none'\n[signature]\n{}", scheme.signature));
        for vector in scheme.vectors {
            let secrets: Vec<_> = vector
                .secrets
                .iter()
                .map(|s| NamedSecret::new("s", Secret::new(s.as_str())))
                .collect();
            let verifier = provider.verifier(&secrets).unwrap();
            let headers: Vec<_> =
                vector.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
            let body = base64::engine::general_purpose::STANDARD.decode(&vector.body).unwrap();
            let request = RequestView {
                method: &vector.method,
                url: &vector.url,
                headers: &headers,
                body: &body,
            };
            let outcome = verifier.verify(&request, Timestamp::from_millis(vector.now * 1000));
            let genuine = matches!(outcome, Verification::Verified(_));
            assert_eq!(genuine, vector.genuine, "{} {}: {outcome:?}", scheme.scheme, vector.name);
            tried += 1;
        }
    }
    assert!(tried >= 100, "{tried}");
}
