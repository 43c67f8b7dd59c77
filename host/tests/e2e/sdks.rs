//! Requests signed by the providers' own libraries are accepted; with one forged byte they are
//! refused.
//!
//! The libraries come from npm and PyPI: `.ci/sdks` installs them into `target/sdks`. Without them
//! the test prints SKIPPED; where `CI` is set it fails instead.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use http::Request;
use http_body_util::Full;
use serde::Deserialize;

use weir_testing::hub::{RunningHub, TestHub};

/// A request that a library signed or verified, and its source.
#[derive(Debug, Deserialize)]
struct Signed {
    sdk: String,
    source: String,
    provider: String,
    secret: String,
    params: BTreeMap<String, String>,
    method: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: String,
    forged: Option<Forged>,
}

/// The part to forge where a byte in the middle of the body would not do.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Forged {
    headers: BTreeMap<String, String>,
    query: Option<String>,
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

/// Sends a request as the library signed it, or with one part replaced.
async fn send(
    hub: &RunningHub,
    signed: &Signed,
    headers: &BTreeMap<String, String>,
    query: &str,
    body: &[u8],
) -> u16 {
    let mark = if query.is_empty() { "" } else { "?" };
    let url = format!("http://{}/webhook/{}{mark}{query}", hub.ingress, signed.source);
    let mut request = Request::builder().method(&*signed.method).uri(url);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let body = Full::from(body.to_vec());
    hub.exchange(request.body(body).unwrap()).await.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_of_official_libraries_are_accepted_and_forgeries_refused() {
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
        let Signed { sdk, query, body, .. } = signed;
        let mut flipped = body.clone().into_bytes();
        let middle = flipped.len() / 2;
        if let Some(byte) = flipped.get_mut(middle) {
            *byte ^= 1;
        }
        let (mut headers, mut other, mut forged) = (signed.headers.clone(), query, flipped);
        if let Some(how) = &signed.forged {
            headers.extend(how.headers.clone());
            other = how.query.as_ref().unwrap_or(query);
            forged = how.body.as_ref().unwrap_or(body).clone().into_bytes();
        }
        let refused = send(&hub, signed, &headers, other, &forged).await;
        assert_eq!(refused, 401, "forged: {sdk}");
        let taken = send(&hub, signed, &signed.headers, query, body.as_bytes()).await;
        assert!((200..300).contains(&taken), "{sdk}: {taken}\n{}", hub.log.all());
    }
    let providers: BTreeSet<_> = requests.iter().map(|signed| &signed.provider).collect();
    assert!(providers.len() >= 21 && requests.len() >= 29, "{} of {providers:?}", requests.len());
}
