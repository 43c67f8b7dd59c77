//! Mistakes of senders and operators: each gets a clear refusal, and nothing is lost or stored
//! wrongly.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;

use weir_testing::hostile;
use weir_testing::hub::{RunningHub, TestHub, github_signature, hmac_hex};
use weir_testing::wait::until;

async fn hub() -> RunningHub {
    TestHub::new().github().source("slack", "slack", "slack's secret").start().await
}

async fn stored(hub: &RunningHub) -> usize {
    hub.api("/api/v1/events").await["items"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn unverified_requests_are_refused_and_not_stored() {
    let hub = hub().await;
    let good = github_signature(b"{}");
    let event = ("x-github-event", "push");
    let wrong = github_signature(b"other");
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], u16, &'a str);
    let table: [Row<'_>; 5] = [
        ("unknown", &[], 404, "unknown_source"),
        ("github", &[event], 401, "signature_missing"),
        ("github", &[event, ("x-hub-signature-256", "sha256=zz")], 401, "signature_malformed"),
        ("github", &[event, ("x-hub-signature-256", &wrong)], 401, "signature_mismatch"),
        (
            "github",
            &[("content-encoding", "gzip"), ("x-hub-signature-256", &good)],
            415,
            "content_encoding_unsupported",
        ),
    ];
    for (source, headers, status, code) in table {
        let answer = hub.post(source, headers, b"{}").await;
        assert_eq!(answer.refused(), (status, code.to_owned()), "{source} {headers:?} {answer:?}");
        assert!(answer.body["request_id"].is_string(), "{answer:?}");
        assert!(!answer.body.to_string().contains(&good[7..]), "the expected signature leaks");
    }
    assert_eq!(stored(&hub).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_timestamp_is_refused_and_the_clock_difference_logged() {
    let hub = hub().await;
    let signature = format!("v0={}", hmac_hex(b"slack's secret", b"v0:1531420618:{}"));
    let headers = [("x-slack-request-timestamp", "1531420618"), ("x-slack-signature", &*signature)];
    let answer = hub.post("slack", &headers, b"{}").await;
    assert_eq!(answer.refused(), (401, "timestamp_stale".into()), "{answer:?}");
    let log = until("the refusal in the log", async || {
        hub.log.having(&["timestamp_stale"]).pop().ok_or_else(|| hub.log.all())
    })
    .await;
    assert!(log.contains("differs from the hub's clock by"), "{log}");
    assert_eq!(stored(&hub).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused() {
    let hub = TestHub::new().github().config("body_limit = \"1KiB\"").start().await;
    let body = vec![b'x'; 2000];
    let signature = github_signature(&body);
    let answer = hub.post("github", &[("x-hub-signature-256", &signature)], &body).await;
    assert_eq!(answer.refused(), (413, "body_too_large".into()), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_method_is_refused() {
    let hub = hub().await;
    let request = Request::builder()
        .method(Method::PUT)
        .uri(format!("http://{}/webhook/github", hub.ingress))
        .body(Full::<Bytes>::default())
        .unwrap();
    assert_eq!(hub.send(request).await.0, 405);
}

#[test]
fn a_configuration_mistake_is_named_with_its_line_and_exit_code_2() {
    let (code, said) = TestHub::new().config("[sources.x]\nprovidr = \"github\"").refused();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("weir.toml") && said.contains("providr"), "{said}");
}

#[test]
fn a_missing_secret_is_named_by_its_path_in_the_file() {
    let toml =
        "[sources.x]\nprovider = \"github\"\nsecrets = [{ env = \"NO_SUCH_VARIABLE_HERE\" }]";
    let (code, said) = TestHub::new().config(toml).refused();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("sources.x.secrets") && said.contains("NO_SUCH_VARIABLE_HERE"), "{said}");
}

#[test]
fn every_mistake_is_reported_at_once() {
    let toml =
        "[sources.x]\nprovider = \"unheard-of\"\n[[route]]\non = [\"nonsense\"]\nto = \"nowhere\"";
    let (code, said) = TestHub::new().config(toml).refused();
    assert_eq!(code, 2, "{said}");
    for part in ["unheard-of", "nonsense", "nowhere"] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
}

#[test]
fn a_port_in_use_is_one_clear_message() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let hub = TestHub::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    drop(hub);
    std::fs::write(
        file.path(),
        format!("[server]\nlisten = \"{address}\"\n[admin]\nlisten = \"127.0.0.1:0\""),
    )
    .unwrap();
    let out =
        weir_testing::hub::weir().arg("serve").arg("--config").arg(file.path()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("server.listen") && said.contains("in use"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_modules_are_refused_and_the_old_version_serves_on() {
    let hub = TestHub::new().github().handler("keeper", "noop").start().await;
    let before = hub.until_ready("keeper").await;
    let file = hub.folder.path().join("plugins/keeper.wasm");
    for fixture in hostile::refused() {
        fixture.put(&file);
        let status = hub
            .until_handler("keeper", |h| {
                h["last_error"].as_str().is_some_and(|e| e.contains(fixture.reason))
            })
            .await;
        let served = (&status["version"], &status["state"]);
        assert_eq!(served, (&before["version"], &"ready".into()), "{}", fixture.name);
    }
    let event = hub.push("push", "after", b"{}").await.accepted();
    hub.until_status(&event, "processed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_file_names_are_logged_once_and_change_nothing() {
    use std::os::unix::ffi::OsStrExt as _;

    let hub = TestHub::new().github().handler("keeper", "noop").start().await;
    hub.until_ready("keeper").await;
    // A file whose name begins with a dot is not a handler.
    let odd: [&[u8]; 6] = [
        b"Upper.wasm",
        b"with space.wasm",
        b"two\nlines\x1b[2J.wasm",
        b"\xff\xfe.wasm",
        b".wasm.wasm",
        "caf\u{e9}.wasm".as_bytes(),
    ];
    let long = format!("{}.wasm", "x".repeat(200));
    let plugins = hub.folder.path().join("plugins");
    for name in odd.into_iter().chain([long.as_bytes()]) {
        let path = plugins.join(std::ffi::OsStr::from_bytes(name));
        std::fs::copy(weir_testing::guests::committed("version-a"), path).unwrap();
    }
    hub.put_handler("late", weir_testing::guests::committed("noop"));
    hub.until_ready("late").await;
    let told = until("every odd name to be told of", async || {
        let told = hub.log.having(&["file in the plugins folder is refused"]);
        if told.len() == 6 { Ok(told) } else { Err(hub.log.all()) }
    })
    .await;
    assert!(told.iter().all(|line| !line.contains(char::is_control)), "{told:?}");
    let handlers = hub.api("/api/v1/handlers").await;
    assert_eq!(handlers["items"].as_array().unwrap().len(), 2, "{handlers}");
}
