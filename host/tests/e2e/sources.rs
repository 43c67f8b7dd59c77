//! Sources that change while the hub runs: corrected secrets, custom provider files, secrets that
//! are handed over.

use std::process::{Output, Stdio};

use http::Request;
use http_body_util::Full;

use weir_testing::hub::{RunningHub, TestHub, github_signature, weir};
use weir_testing::wait::until;

pub(crate) fn output(out: &Output) -> String {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout.clone()).unwrap()
}

async fn until_answered(hub: &RunningHub, id: &str, status: u16) {
    until("the sources to be as the files say", async || {
        let answer = hub.push("push", id, b"{}").await;
        if answer.status == status { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

async fn until_logged(hub: &RunningHub, parts: &[&str]) {
    until(&format!("a line with {parts:?}"), async || {
        hub.log.having(parts).first().map(|_| ()).ok_or_else(|| hub.log.all())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_secret_applies_without_a_restart() {
    let hub = TestHub::new().source("github", "github", "not the one").start().await;
    assert_eq!(hub.push("push", "a", b"{}").await.refused().1, "signature_mismatch");
    hub.write("github.secret", weir_testing::hub::SECRET);
    until_answered(&hub, "a", 200).await;
    assert_eq!(hub.metric("weir_config_reloads_total").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_configuration_changes_nothing_and_is_explained() {
    let hub = TestHub::new().github().start().await;
    let right = hub.configured();
    hub.write("weir.toml", &format!("{right}\n[sources.other]\nprovider = \"github\"\n"));
    until("the mistake to be said", async || {
        let said = hub.log.having(&["invalid configuration", "sources.other.secrets"]);
        said.first().map(|_| ()).ok_or_else(|| hub.log.all())
    })
    .await;
    assert_eq!(hub.push("push", "a", b"{}").await.status, 200);
    // The missing part may be a file outside the folder, so the configuration is read again.
    let other = format!(
        "{right}\n[sources.other]\nprovider = \"github\"\nsecrets = [{{ file = \"other\" }}]\n"
    );
    hub.write("weir.toml", &other);
    until("the missing file to be said", async || {
        let said = hub.log.having(&["invalid configuration", "other cannot be read"]);
        said.first().map(|_| ()).ok_or_else(|| hub.log.all())
    })
    .await;
    hub.write("other", weir_testing::hub::SECRET);
    until("the new source to be there", async || {
        let headers = [("x-github-event", "push"), ("x-github-delivery", "b")];
        let signature = github_signature(b"{}");
        let headers = [headers[0], headers[1], ("x-hub-signature-256", signature.as_str())];
        let answer = hub.post("other", &headers, b"{}").await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    assert!(output(&hub.cli(&["sources", "list"])).contains("other"));
}

/// GitHub's provider file under another name and with another header.
fn acme() -> String {
    let file = output(&weir().args(["providers", "show", "github", "--file"]).output().unwrap());
    let file = file.replace("name = \"github\"", "name = \"acme\"");
    assert!(file.contains("name = \"acme\""));
    file.replace("X-Hub-Signature-256", "X-Acme-Signature")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_provider_file_is_used_and_its_last_good_version_kept() {
    let hub = TestHub::new().github().start().await;
    let right = hub.configured();
    hub.write("providers/acme.toml", &acme());
    let acme_source =
        "[sources.acme]\nprovider = \"acme\"\nsecrets = [{ file = \"github.secret\" }]\n";
    hub.write("weir.toml", &format!("{right}\n{acme_source}"));
    let post = async |header: &str, id: &str| {
        let signature = github_signature(b"{}");
        let headers =
            [("x-github-event", "push"), ("x-github-delivery", id), (header, &*signature)];
        hub.post("acme", &headers, b"{}").await
    };
    until("the new provider to be known", async || {
        let answer = post("x-acme-signature", "a").await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;

    hub.write("providers/acme.toml", &acme().replace("hmac-sha256", "hmac-sha3"));
    until_logged(&hub, &["invalid provider file", "providers/acme.toml:"]).await;
    assert_eq!(post("x-acme-signature", "b").await.status, 200, "the last good one serves");

    hub.write("providers/acme.toml", &acme().replace("X-Acme-Signature", "X-Acme-Sig"));
    until("the corrected file to be in force", async || {
        let answer = post("x-acme-sig", "c").await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    assert_eq!(post("x-acme-signature", "d").await.status, 401);
    let listed = output(&hub.cli(&["providers", "list"]));
    assert!(listed.contains("acme") && listed.contains("stripe"), "{listed}");
}

/// A request that only the provider of [`acme`] accepts.
async fn post_acme(hub: &RunningHub, id: &str) -> u16 {
    let signature = github_signature(b"{}");
    let headers = [
        ("x-github-event", "push"),
        ("x-github-delivery", id),
        ("x-acme-signature", signature.as_str()),
    ];
    hub.post("acme", &headers, b"{}").await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_provider_file_survives_a_crash() {
    let hub = TestHub::new()
        .source("github", "github", "not the one")
        .config("[sources.acme]\nprovider = \"acme\"\nsecrets = [{ file = \"acme.secret\" }]")
        .file("acme.secret", weir_testing::hub::SECRET);
    std::fs::create_dir(hub.folder.path().join("providers")).unwrap();
    let hub = hub.file("providers/acme.toml", acme()).start().await;
    assert_eq!(post_acme(&hub, "a").await, 200);
    hub.write("providers/acme.toml", "format = 1\nname = acme\n");
    let alert = hub.until_alert("provider.load_failed", "provider:acme").await;
    assert_eq!((&alert["line"], &alert["serves_on"]), (&2.into(), &true.into()), "{alert}");
    let file = hub.api("/health").await["providers"]["files"][0].take();
    assert_eq!((&file["file"], &file["serves_on"]), (&"providers/acme.toml".into(), &true.into()));

    hub.write("github.secret", weir_testing::hub::SECRET);
    until_answered(&hub, "a", 200).await;
    assert_eq!(hub.log.having(&["invalid provider file"]).len(), 1, "said once");
    let hub = hub.kill_and_restart().await;
    assert_eq!(post_acme(&hub, "b").await, 200);
    let listed = hub.cli(&["providers", "list"]);
    let said = String::from_utf8_lossy(&listed.stderr).into_owned();
    assert!(
        said.contains("providers/acme.toml:2: ")
            && said.contains("the last good version of acme is used"),
        "{said}"
    );
    assert_eq!(hub.cli(&["check"]).status.code(), Some(2));

    std::fs::remove_file(hub.folder.path().join("providers/acme.toml")).unwrap();
    until_logged(&hub, &["invalid provider file", "is missing and needed"]).await;
    let hub = hub.kill_and_restart().await;
    assert_eq!(post_acme(&hub, "c").await, 200);
    hub.write("providers/acme.toml", &acme());
    until_logged(&hub, &["provider file is valid again"]).await;
    assert_eq!(hub.api("/health").await["providers"]["status"], "ok");
    assert_eq!(post_acme(&hub, "d").await, 200);
}

#[test]
fn a_provider_file_is_tried_before_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("acme.toml");
    std::fs::write(&file, acme()).unwrap();
    let test = || weir().args(["providers", "test"]).arg(&file).output().unwrap();
    let said = output(&test());
    assert!(said.contains("OK, provider acme: ") && said.contains("accepted"), "{said}");
    // A provider file whose own vectors fail.
    let wrong = acme().replacen("sha256=", "sha1=", 1);
    std::fs::write(&file, wrong).unwrap();
    let out = test();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("acme.toml:") && said.contains("vectors."), "{said}");
    let shown = output(&weir().args(["providers", "show", "paypal"]).output().unwrap());
    assert!(shown.contains("params.webhook_id = "), "{shown}");
    let shown = output(&weir().args(["providers", "show", "stripe"]).output().unwrap());
    assert!(shown.contains("deadline    10s to answer a request\n"), "{shown}");
    assert!(shown.contains("retries     for 3d\n"), "{shown}");
    let none = weir().args(["providers", "show", "paypall"]).output().unwrap();
    assert_eq!(none.status.code(), Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handed_over_secret_is_accepted_once_and_survives_a_crash() {
    let hub = TestHub::new().config("[sources.tasks]\nprovider = \"asana\"").start().await;
    let secret = "b537207f20cbfa02357cf448134da559e8bd39d61597dcd5631b8012eae53e81";
    let (body, signature) =
        (b"{\"events\":[]}", weir_testing::hub::hmac_hex(secret.as_bytes(), b"{\"events\":[]}"));
    let handed =
        async |hub: &RunningHub| hub.post("tasks", &[("x-hook-secret", secret)], b"").await;
    assert_eq!(handed(&hub).await.refused(), (403, "handshake_closed".into()));
    let said = output(&hub.cli(&["sources", "accept-secret", "tasks", "--for", "5m"]));
    assert!(said.starts_with("tasks accepts one secret"), "{said}");
    assert!(output(&hub.cli(&["sources", "list"])).contains("accepts one until"));
    assert_eq!(handed(&hub).await.status, 200);
    assert_eq!(handed(&hub).await.refused(), (403, "handshake_closed".into()));

    let hub = hub.kill_and_restart().await;
    let headers = [("x-hook-signature", &*signature)];
    assert_eq!(hub.post("tasks", &headers, body).await.status, 200);
    let listed = output(&hub.cli(&["sources", "list", "--json"]));
    assert!(listed.contains("\"handed-over\"") && !listed.contains(secret), "{listed}");
    let out = hub.cli(&["sources", "accept-secret", "tasks"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("secret_known"));
    output(&hub.cli(&["sources", "forget-secret", "tasks"]));
    assert_eq!(hub.post("tasks", &headers, body).await.status, 401);
    assert!(!hub.log.all().contains(secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handed_over_secret_is_shown_once_to_its_operator() {
    let hub = TestHub::new()
        .config("[sources.notes]\nprovider = \"notion\"")
        .config("[sources.more]\nprovider = \"notion\"")
        .config("[sources.tasks]\nprovider = \"asana\"")
        .env("RUST_LOG", "trace")
        .start()
        .await;
    let token = "secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl";
    let body = format!("{{\"verification_token\":\"{token}\"}}");
    let handed = async |source: &str| hub.post(source, &[], body.as_bytes()).await;
    let failed = |args: &[&str]| {
        let out = hub.cli(args);
        let said = String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap();
        assert!(!said.contains(token), "{said}");
        (out.status.code().unwrap(), said)
    };

    // The operator's command waits; the sender comes later.
    let mut waiting = hub.command(&["sources", "accept-secret", "notes"]);
    let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the window to be open", async || {
        let sources = hub.api("/api/v1/sources").await;
        let mut items = sources["items"].as_array().unwrap().iter();
        let open = items.any(|s| s["name"] == "notes" && s["window_until"].is_string());
        if open { Ok(()) } else { Err(sources.to_string()) }
    })
    .await;
    assert_eq!(handed("notes").await.status, 200);
    let said = output(&waiting.wait_with_output().unwrap());
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].starts_with("notes accepts one secret from its sender until "), "{said}");
    assert_eq!(lines[2..], [token], "{said}");
    let (code, said) = failed(&["sources", "learned-secret", "notes"]);
    assert!(code == 1 && said.contains("secret_shown"), "{said}");

    // No command waits; the secret is asked for later.
    let said = output(&hub.cli(&["sources", "accept-secret", "more", "--no-wait", "--json"]));
    assert!(said.contains("\"shown_once\":true") && said.lines().count() == 1, "{said}");
    let (code, said) = failed(&["sources", "learned-secret", "more"]);
    assert!(code == 4 && said.contains("no secret yet"), "{said}");
    assert_eq!(handed("more").await.status, 200);
    let unasked = format!("http://{}/api/v1/sources/more/secret/show", hub.admin);
    let (status, answer) = hub.send(Request::post(unasked).body(Full::default()).unwrap()).await;
    let answer = String::from_utf8(answer.into()).unwrap();
    assert!(status == 401 && answer.contains("token_missing"), "{answer}");
    assert_eq!(output(&hub.cli(&["sources", "learned-secret", "more"])).trim_end(), token);

    // A secret that needs no handing back is not shown, and no command waits for it.
    let said = output(&hub.cli(&["sources", "accept-secret", "tasks"]));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(hub.post("tasks", &[("x-hook-secret", token)], b"").await.status, 200);
    let (code, said) = failed(&["sources", "learned-secret", "tasks"]);
    assert!(code == 4 && said.contains("secret_not_found"), "{said}");

    let signature = format!("sha256={}", weir_testing::hub::hmac_hex(token.as_bytes(), b"{}"));
    let taken = hub.post("notes", &[("x-notion-signature", &*signature)], b"{}").await;
    assert_eq!(taken.status, 200);
    assert!(!hub.log.all().contains(token), "the token is in the log");
    for file in crate::secrets::files_below(&hub.folder.path().join("data")) {
        let kept = std::fs::read(&file).unwrap();
        let found = kept.windows(token.len()).any(|bytes| bytes == token.as_bytes());
        assert!(!found, "the token is in {}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quarantined_requests_are_accepted_once_after_a_secret_fix() {
    let hub = TestHub::new().source("github", "github", "not the one").start().await;
    for n in 0..100 {
        let refused = hub.push("push", &format!("q{n}"), b"{}").await.refused();
        assert_eq!(refused, (401, "signature_mismatch".into()));
    }
    let listed = async || output(&hub.cli(&["quarantine", "list", "--limit", "1000", "--json"]));
    until("all of them to be kept", async || {
        let found = listed().await.lines().count();
        if found == 100 { Ok(()) } else { Err(format!("{found} kept")) }
    })
    .await;
    let said = output(&hub.cli(&["quarantine", "release"]));
    assert!(said.starts_with("0 accepted, 100 still invalid"), "{said}");

    hub.write("github.secret", weir_testing::hub::SECRET);
    until_answered(&hub, "another", 200).await;
    let said = output(&hub.cli(&["quarantine", "release"]));
    // The requests sent before the new secret applied are accepted together with the hundred; a
    // duplicate is one event.
    assert!(!said.starts_with("0 accepted") && said.contains(", 0 still invalid"), "{said}");
    let events = || {
        let args = ["events", "--source", "github", "--limit", "1000", "--json"];
        output(&hub.cli(&args)).lines().count()
    };
    assert_eq!(events(), 101);
    assert!(
        output(&hub.cli(&["quarantine", "release"])).starts_with("0 accepted, 0 still invalid")
    );
    assert_eq!(output(&hub.cli(&["quarantine", "list"])).trim(), "no quarantined requests");
    let shown = output(&hub.cli(&["quarantine", "list", "--released", "--limit", "1"]));
    assert!(shown.contains("qrt_") && shown.contains("evt_"), "{shown}");
    assert_eq!(events(), 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_added_at_runtime_has_metrics_and_alerts() {
    let hub = TestHub::new()
        .github()
        .config("[alerts]\nat_least = 5")
        .handler("teller", "noop")
        .sidecar("teller", "on = [\"late:*\"]")
        .start()
        .await;
    hub.until_ready("teller").await;
    let before = hub.configured();
    let late = "[sources.late]\nprovider = \"github\"\nsecrets = [{ file = \"github.secret\" }]\n\
                max_silence = \"1s\"\n";
    hub.write("weir.toml", &format!("{before}{late}"));
    let wrong = [("x-github-event", "push"), ("x-hub-signature-256", "sha256=00")];
    let until_refused = async |status: u16| {
        until(&format!("the source to answer {status}"), async || {
            match hub.post("late", &wrong, b"{}").await.status.as_u16() {
                found if found == status => Ok(()),
                other => Err(other.to_string()),
            }
        })
        .await;
    };
    until_refused(401).await;
    for _ in 0..5 {
        assert_eq!(hub.post("late", &wrong, b"{}").await.status, 401);
    }
    let refusing = hub.until_alert("source.refusing", "source:late").await;
    assert!(refusing["code"].as_str().unwrap().starts_with("signature"), "{refusing}");
    hub.until_alert("source.silent", "source:late").await;
    let counted = async || hub.metric_lines(&["weir_requests_total{", "source=\"late\""]).await;
    assert_eq!(counted().await.len(), 1);
    let refused = hub.api("/health").await["sources"]["late"]["refused"].as_u64().unwrap();
    assert!(refused >= 6, "{refused}");
    assert!(output(&hub.cli(&["sources", "list"])).contains("late"));

    let signature = github_signature(b"{}");
    let genuine = [
        ("x-github-event", "push"),
        ("x-github-delivery", "one"),
        ("x-hub-signature-256", signature.as_str()),
    ];
    let event = hub.post("late", &genuine, b"{}").await.accepted();
    hub.until_status(&event, "processed").await;
    std::fs::remove_file(hub.folder.path().join("plugins/teller.wasm")).unwrap();
    hub.until_alert("source.unrouted", "source:late").await;

    hub.write("weir.toml", &before);
    until_refused(404).await;
    until("nothing to be counted of it", async || match counted().await {
        none if none.is_empty() => Ok(()),
        some => Err(some.join("\n")),
    })
    .await;
    assert_eq!(hub.api("/health").await["sources"]["late"], serde_json::Value::Null);
    assert!(!output(&hub.cli(&["sources", "list"])).contains("late"));
    let kept = output(&hub.cli(&["events", "--source", "late", "--json"]));
    assert!(kept.lines().count() == 1 && kept.contains(&event), "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn access_and_schemas_change_without_a_restart() {
    let hub = TestHub::new().file("token", "the first token").file("push.json", "true");
    let hub = hub.github().start().await;
    let open = hub.configured();
    let answered = async |token: &str, body: &[u8]| {
        let signature = github_signature(body);
        let headers = [
            ("x-github-event", "push"),
            ("x-hub-signature-256", &*signature),
            ("x-partner-token", token),
        ];
        hub.post("github", &headers, body).await.refused()
    };
    let until_refused = async |token: &str, status: u16, code: &str| {
        until(&format!("{status} {code}"), async || match answered(token, b"{}").await {
            found if found == (status, code.to_owned()) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    };
    until_refused("", 200, "no code").await;
    hub.write("weir.toml", &format!("{open}allow_ips = [\"192.0.2.0/24\"]\n"));
    until_refused("", 403, "address_not_allowed").await;
    let token = "auth = { in = \"header:X-Partner-Token\", tokens = [{ file = \"token\" }] }\n";
    hub.write("weir.toml", &format!("{open}allow_ips = [\"127.0.0.1\"]\n{token}"));
    until_refused("a wrong one", 403, "token_wrong").await;
    until_refused("the first token", 200, "no code").await;
    hub.write("token", "the second token");
    until_refused("the first token", 403, "token_wrong").await;
    until_refused("the second token", 200, "no code").await;

    let schemas = "schemas = { push = \"push.json\" }\n";
    hub.write("weir.toml", &format!("{open}{schemas}"));
    until_refused("", 200, "no code").await;
    hub.write("push.json", "{ \"required\": [\"ref\"] }");
    until_refused("", 422, "schema_mismatch").await;
    assert_eq!(answered("", b"{\"ref\":1}").await.0, 200);
    hub.write("push.json", "no schema");
    until_logged(&hub, &["invalid configuration", "push.json is not JSON"]).await;
    assert_eq!(answered("", b"{}").await.0, 422, "the last good one counts");
    hub.write("push.json", "true");
    until_refused("", 200, "no code").await;
}
