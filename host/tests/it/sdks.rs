//! The providers' own libraries sign, and we accept; one flipped byte, and we do not.
//!
//! The libraries come from npm and PyPI: `.ci/sdks` installs them into `target/sdks`. Without them this test says
//! that it skips; where `CI` is set it fails instead.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::hub::{RunningHub, TestHub};

const SECRETS: [(&str, &str, &str); 4] = [
    ("github", "github", "octokit signs with this"),
    ("stripe", "stripe", "whsec_a stripe endpoint's secret"),
    ("slack", "slack", "8f742231b10e8888abcd99yyyzzz85a5"),
    ("standard", "standard-webhooks", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
];

fn installed() -> Option<PathBuf> {
    let sdks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/sdks");
    let ready = sdks.join("node/node_modules").exists() && sdks.join("python/bin/python").exists();
    if ready {
        return Some(sdks);
    }
    assert!(std::env::var_os("CI").is_none(), "the SDKs are not installed; run .ci/sdks");
    eprintln!("SKIPPED: the SDKs are not installed; run .ci/sdks to install them");
    None
}

/// Requests that a script made: a JSON list of {sdk, source, headers, body}.
fn made_by(mut script: Command) -> Vec<Value> {
    let secrets = SECRETS.map(|(source, _, secret)| (source, secret));
    let secrets: std::collections::BTreeMap<_, _> = secrets.into_iter().collect();
    let out = script.env("SECRETS", serde_json::to_string(&secrets).unwrap()).output().unwrap();
    assert!(out.status.success(), "{script:?}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

async fn post(hub: &RunningHub, request: &Value, body: &[u8]) -> u16 {
    let headers = request["headers"].as_object().unwrap();
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(n, v)| (n.as_str(), v.as_str().unwrap())).collect();
    hub.post(request["source"].as_str().unwrap(), &headers, body).await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_official_libraries_sign_is_accepted_and_one_flipped_byte_is_refused() {
    let Some(sdks) = installed() else { return };
    let mut hub = TestHub::new();
    for (source, provider, secret) in SECRETS {
        hub = hub.source(source, provider, secret);
    }
    let hub = hub.start().await;
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdks");
    let mut node = Command::new("node");
    node.arg(scripts.join("sign.mjs")).current_dir(sdks.join("node"));
    let mut python = Command::new(sdks.join("python/bin/python"));
    python.arg(scripts.join("sign.py"));
    let requests: Vec<Value> = made_by(node).into_iter().chain(made_by(python)).collect();
    assert!(requests.len() >= 7, "{requests:?}");
    for request in &requests {
        let body = request["body"].as_str().unwrap().as_bytes().to_vec();
        let mut flipped = body.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        assert_eq!(post(&hub, request, &flipped).await, 401, "flipped: {request}");
        assert_eq!(post(&hub, request, &body).await, 200, "{request}\n{}", hub.log.all());
    }
}
