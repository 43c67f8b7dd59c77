//! `weir send`: samples of a provider, changed, signed, and sent to a hub.

use weir_testing::hub::{TestHub, weir};

use crate::sources::output;

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_is_signed_or_names_the_missing_parameter() {
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/core/tests/providers");
    let public = std::fs::read_to_string(format!("{keys}/rsa-public.pem")).unwrap();
    let hub = TestHub::new()
        .source("paypal", "paypal", &public)
        .config("params = { webhook_id = \"6HY79521VR978045E\" }")
        .source("braintree", "braintree", "a private key that is a text")
        .config("params = { public_key = \"the public key\" }")
        .start()
        .await;
    let send = |args: &[&str]| {
        let url = format!("http://{}/webhook/{}", hub.ingress, args[0]);
        hub.cli(&[&["send", "--url", &*url], args].concat())
    };
    let failed = |args: &[&str]| {
        let out = send(args);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        String::from_utf8(out.stderr).unwrap()
    };
    let sample = ["paypal", "PAYMENT.CAPTURE.COMPLETED"];
    let said = failed(&sample);
    assert!(
        said.contains("only paypal has the private key") && said.contains("--secret"),
        "{said}"
    );
    let private = format!("file:{keys}/rsa-private.pem");
    let said = failed(&[&sample[..], &["--secret", &private]].concat());
    assert!(said.contains("--param webhook_id=VALUE"), "{said}");
    let whole = ["--secret", &private, "--param", "webhook_id=6HY79521VR978045E"];
    assert!(output(&send(&[&sample[..], &whole].concat())).contains("accepted"));
    let said = output(&send(&["braintree", "check"]));
    assert!(said.contains("accepted"), "{said}");
    let said = failed(&["paddle-classic", "payment_succeeded", "--secret", &private]);
    assert!(said.contains("RSA and SHA-1") && said.contains("curl --data-binary"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_is_sent_by_a_method_that_its_provider_uses() {
    let hub = TestHub::new().github().source("zendesk", "zendesk", "a signing secret");
    let hub = hub.start().await;
    let send = |source: &str, kind: &str, more: &[&str]| {
        let url = format!("http://{}/webhook/{source}", hub.ingress);
        hub.cli(&[&["send", source, kind, "--url", &*url], more].concat())
    };
    for method in ["PUT", "delete"] {
        let sent = send("zendesk", "zen:event-type:ticket.created", &["--method", method]);
        assert!(output(&sent).contains("accepted"), "{method}");
    }
    let refused = send("github", "push", &["--method", "GET"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("github does not send by GET; it sends by POST"), "{said}");
    let url = ["--url", "https://h.example/in", "--secret", "a token", "--method", "GET"];
    let printed = hub.cli(&[&["send", "twilio", "delivered", "--print"], &url[..]].concat());
    let printed = output(&printed);
    assert!(printed.starts_with("curl -i 'https://h.example/in?SmsSid=SM"), "{printed}");
    assert!(printed.contains("X-Twilio-Signature: ") && !printed.contains("--data"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_to_a_sample_are_signed_and_stored() {
    let hub = TestHub::new().github().start().await;
    let folder = tempfile::tempdir().unwrap();
    let body = folder.path().join("body.json");
    std::fs::write(&body, r#"{"action":"opened","issue":{"number":7,"labels":[]}}"#).unwrap();
    let body = body.display().to_string();
    let url = format!("http://{}/webhook/github", hub.ingress);
    let send = |args: &[&str]| hub.cli(&[&["send", "github", "--url", &*url], args].concat());
    let set = [
        "--set",
        "/issue/title=Hello <3",
        "--set",
        "/issue/number=8",
        "--set",
        "/issue/labels/-=bug",
    ];
    let sent = send(
        &[&["issues", "--file", &*body, "--header", "X-GitHub-Delivery: mine-1"], &set[..]]
            .concat(),
    );
    let sent = output(&sent);
    let id =
        sent.split('"').find(|word| word.starts_with("evt_")).unwrap_or_else(|| panic!("{sent}"));
    let payload = output(&hub.cli(&["--json", "events", id]));
    let event: serde_json::Value = serde_json::from_str(&payload).unwrap();
    assert_eq!(
        event["provider_id"].as_str().or(event["dedup_id"].as_str()).unwrap_or("mine-1"),
        "mine-1"
    );
    assert!(payload.contains("issues"), "{payload}");
    // The same id again is a duplicate: the hub saw the header that was set.
    let again = send(
        &[&["issues", "--file", &*body, "--header", "x-github-delivery: mine-1"], &set[..]]
            .concat(),
    );
    assert!(output(&again).contains(id), "{again:?}");
    let printed = ["issues", "--print", "--secret", "a secret of one's own", "--file", &*body];
    let printed = output(&send(&[&printed[..], &set[..]].concat()));
    assert!(
        printed.contains(r#""title":"Hello <3""#) && printed.contains(r#""labels":["bug"]"#),
        "{printed}"
    );
    for (wrong, wanted) in [
        (&["issues", "--set", "/issue/number/x=hunter2"][..], "is a number and has no fields"),
        (&["issues", "--file", "no/such/file"], "no/such/file cannot be read"),
        (&["issues", "--set", "title=hunter2"], "write /PATH/TO/FIELD=VALUE"),
        (&["issues", "--header", "hunter2"], "write 'Name: value'"),
        (&["isues"], "its samples are push, issues"),
    ] {
        let out = send(wrong);
        let said = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{wrong:?}: {said}");
        assert!(said.contains(wanted) && !said.contains("hunter2"), "{wrong:?}: {said}");
    }
    // A body from a file has the headers that the command gives.
    let bare = ["--file", &*body, "--header", "X-GitHub-Event: issues"];
    assert!(output(&send(&bare)).contains("accepted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_error_of_a_command_shows_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----";
    let env = format!("env:{pem}");
    let file = format!("file:{pem}");
    let url = "https://user:MIIEvQ@127.0.0.1:1/MIIEvQ?token=MIIEvQ";
    for args in [
        &["send", "github", "push", "--url", "http://127.0.0.1:1/x", "--secret", pem][..],
        &["send", "github", "push", "--secret", pem],
        &["send", "github", "push", "--url", "http://127.0.0.1:1/x", "--secret", &env],
        &["send", "github", "push", "--url", "http://127.0.0.1:1/x", "--secret", &file],
        &[
            "send",
            "github",
            "push",
            "--url",
            "http://127.0.0.1:1/x",
            "--secret",
            "file:/whsec_MIIEvQ",
        ],
        &[
            "send",
            "github",
            "push",
            "--url",
            "http://127.0.0.1:1/x",
            "--secret",
            "env:whsec_MIIEvQ",
        ],
        &[
            "send",
            "standard-webhooks",
            "user.created",
            "--url",
            "http://127.0.0.1:1/x",
            "--secret",
            pem,
        ],
        &["send", "discord", "ping", "--url", "http://127.0.0.1:1/x", "--secret", pem],
        &[
            "send",
            "paypal",
            "PAYMENT.CAPTURE.COMPLETED",
            "--url",
            "http://127.0.0.1:1/x",
            "--secret",
            pem,
        ],
        &["send", "github", "push", "--secret", "abcdefgh", "--url", url],
        &["send", "github", "push", "--sekret", pem],
        &["send", "github", "push", pem],
        &["events", "--token", pem],
        &["events", "--token", "MIIEvQ\u{7f}"],
        &["secret", "generate", "github", "--scheme", pem],
    ] {
        let out = weir().args(args).current_dir(folder.path()).output().unwrap();
        let said = [out.stdout, out.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(!out.status.success() && !said.contains("MIIEvQ"), "{args:?}: {said}");
    }
}
