//! The providers' own libraries sign, and we accept; one forged byte, and we do not.
//!
//! The libraries come from npm and PyPI: `.ci/sdks` installs them into `target/sdks`. Without them this test says
//! that it skips; where `CI` is set it fails instead.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::hub::{RunningHub, TestHub};

/// A request that a library signed, or agreed with, and the source that it is for.
#[derive(Debug, Deserialize)]
struct Signed {
    sdk: String,
    source: String,
    provider: String,
    secret: String,
    params: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: String,
    forged: Option<Forged>,
}

/// What is forged about it, where a byte in the middle of the body would not do.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Forged {
    headers: BTreeMap<String, String>,
    body: Option<String>,
}

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

fn made_by(mut script: Command) -> Vec<Signed> {
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/core/tests/providers");
    let out = script.env("TEST_KEYS", keys).output().unwrap();
    assert!(out.status.success(), "{script:?}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn with_source(hub: TestHub, signed: &Signed) -> TestHub {
    let Signed { source, provider, secret, params, .. } = signed;
    let params = toml::to_string(&BTreeMap::from([("params", params)])).unwrap();
    hub.source(source, provider, secret).config(&format!(
        "public_url = \"https://hooks.example.com/in/{source}\"\n{}",
        params.replace("[params]", &format!("[sources.{source}.params]"))
    ))
}

async fn post(
    hub: &RunningHub,
    source: &str,
    headers: &BTreeMap<String, String>,
    body: &[u8],
) -> u16 {
    let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    hub.post(source, &headers, body).await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_official_libraries_sign_is_accepted_and_what_is_forged_is_refused() {
    let Some(sdks) = installed() else { return };
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdks");
    let mut node = Command::new("node");
    node.arg(scripts.join("sign.mjs")).current_dir(sdks.join("node"));
    let mut python = Command::new(sdks.join("python/bin/python"));
    python.arg(scripts.join("sign.py"));
    let requests: Vec<Signed> = made_by(node).into_iter().chain(made_by(python)).collect();

    let (mut hub, mut sources) = (TestHub::new(), BTreeSet::new());
    for signed in &requests {
        if sources.insert(&signed.source) {
            hub = with_source(hub, signed);
        }
    }
    let hub = hub.start().await;
    for signed in &requests {
        let (sdk, body) = (&signed.sdk, signed.body.as_bytes());
        let mut flipped = body.to_vec();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        let (mut headers, mut forged) = (signed.headers.clone(), flipped);
        if let Some(how) = &signed.forged {
            headers.extend(how.headers.clone());
            forged = how.body.as_ref().unwrap_or(&signed.body).clone().into_bytes();
        }
        assert_eq!(post(&hub, &signed.source, &headers, &forged).await, 401, "forged: {sdk}");
        let taken = post(&hub, &signed.source, &signed.headers, body).await;
        assert!((200..300).contains(&taken), "{sdk}: {taken}\n{}", hub.log.all());
    }
    let providers: BTreeSet<_> = requests.iter().map(|signed| &signed.provider).collect();
    assert!(providers.len() >= 21 && requests.len() >= 25, "{} of {providers:?}", requests.len());
}
