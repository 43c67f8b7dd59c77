//! `weir register` against servers that speak the published APIs of providers.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use weir_testing::hub::weir;

use crate::published::{self, Published, TOKEN};

/// A folder with a configuration, whose secrets are not there yet.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(provider: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "[server]\npublic_url = \"https://hooks.example.com\"\n[sources.{provider}]\n\
             provider = \"{provider}\"\nsecrets = [{{ file = \"secrets/{provider}\" }}]\n"
        );
        std::fs::write(folder.path().join("weir.toml"), config).unwrap();
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn weir(&self, args: &[&str]) -> Output {
        let mut command = weir();
        for variable in ["GITHUB_TOKEN", "STRIPE_API_KEY", "SHOPIFY_ACCESS_TOKEN"] {
            command.env(variable, TOKEN);
        }
        for variable in ["SLACK_CONFIG_TOKEN", "GITLAB_TOKEN", "TWILIO_AUTH_TOKEN"] {
            command.env(variable, TOKEN);
        }
        let command = command.arg("--json").arg("register").args(args);
        let out = command.current_dir(self.path()).output().unwrap();
        let said = [&out.stdout[..], &out.stderr[..]].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(!said.contains(TOKEN), "{said}");
        if let Some(secret) = self.secret(args[0]) {
            assert!(!said.contains(&secret), "{said}");
        }
        out
    }

    fn ok(&self, args: &[&str]) -> Value {
        let out = self.weir(args);
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{args:?}: {error}");
        serde_json::from_slice(&out.stdout).unwrap_or_default()
    }

    fn err(&self, args: &[&str]) -> (i32, String) {
        let out = self.weir(args);
        assert!(!out.status.success(), "{args:?}");
        (out.status.code().unwrap(), String::from_utf8_lossy(&out.stderr).into_owned())
    }

    fn secret(&self, provider: &str) -> Option<String> {
        let path = self.path().join("secrets").join(provider);
        let mode = path.metadata().ok()?.permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        Some(std::fs::read_to_string(path).unwrap().trim().to_owned())
    }

    /// The configuration is whole now.
    fn check(&self) {
        let out = weir().arg("check").current_dir(self.path()).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}

const URL: &str = "https://hooks.example.com/webhook/";

#[tokio::test(flavor = "multi_thread")]
async fn github_gets_the_secret_once_and_keeps_its_other_webhooks() {
    let (api, folder) = (Published::start(published::github).await, Folder::new("github"));
    api.add(json!({ "id": 7, "active": true, "events": ["push"],
                    "config": { "url": "https://other.example.com/hook" } }));
    let base = api.url();
    let args = ["github", "--repo", "acme/river", "--api", &base];
    let made = folder.ok(&args);
    assert_eq!((&made["outcome"], &made["events"]), (&"created".into(), &json!(["*"])));
    let secret = folder.secret("github").unwrap();
    let calls = api.take_calls();
    let told = calls.iter().find(|call| call.method == "POST").unwrap().json();
    assert_eq!(told["config"]["secret"], secret);
    assert_eq!((&told["config"]["content_type"], &told["active"]), (&"json".into(), &true.into()));
    assert_eq!(told["config"]["url"], format!("{URL}github"));
    folder.check();

    assert_eq!(folder.ok(&args)["outcome"], "unchanged");
    assert!(api.take_calls().iter().all(|call| call.method == "GET"));
    assert_eq!(folder.secret("github").unwrap(), secret);
    let pushes = [&args[..], &["--event", "push", "--event", "issues"]].concat();
    assert_eq!(folder.ok(&pushes)["outcome"], "updated");
    assert_eq!(api.hooks()[1]["events"], json!(["issues", "push"]));
    let told = api.take_calls().into_iter().find(|call| call.method == "PATCH").unwrap().json();
    assert_eq!(told["config"]["secret"], secret);
    assert_eq!(folder.ok(&pushes)["outcome"], "unchanged");
    assert_eq!(folder.ok(&args)["outcome"], "unchanged", "the events that were chosen stay");

    // A lost secret is made anew, and told to the webhook that is there.
    std::fs::remove_file(folder.path().join("secrets/github")).unwrap();
    assert_eq!(folder.ok(&args)["outcome"], "updated");
    assert_ne!(folder.secret("github").unwrap(), secret);

    let listed = folder.weir(&[&args[..], &["--list"]].concat());
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.lines().count(), 2, "over two pages: {listed}");
    assert_eq!(folder.ok(&[&args[..], &["--delete"]].concat())["outcome"], "deleted");
    assert_eq!(api.hooks().len(), 1);
    let (code, said) = folder.err(&[&args[..], &["--delete"]].concat());
    assert!(code == 4 && said.contains("no webhook"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_never_on_the_command_line_and_a_refusal_is_explained() {
    let (api, folder) = (Published::start(published::github).await, Folder::new("github"));
    let base = api.url();
    let args = ["github", "--repo", "acme/river", "--api", &base];
    let (code, said) = folder.err(&[&args[..], &["--credential", "ghp_0123456789"]].concat());
    assert!(code == 2 && said.contains("env:NAME") && !said.contains("ghp_"), "{said}");
    std::fs::write(folder.path().join("wrong"), "another\n").unwrap();
    let (_, said) = folder.err(&[&args[..], &["--credential", "file:wrong"]].concat());
    assert!(said.contains("401") && said.contains("Bad credentials"), "{said}");
    assert!(said.contains("check it") && folder.secret("github").is_none(), "{said}");
    let (_, said) = folder.err(&["github", "--repo", "acme/lake", "--api", &base]);
    assert!(said.contains("404") && said.contains("check the name"), "{said}");
    let (code, said) = folder.err(&["github", "--api", &base]);
    assert!(code == 2 && said.contains("--repo"), "{said}");
    let (code, said) = folder.err(&["stripe", "--source", "github", "--api", &base]);
    assert!(code == 1 || said.contains("provider github"), "{said}");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = format!("http://{closed}");
    let (code, said) = folder.err(&["github", "--repo", "acme/river", "--api", &gone]);
    assert!(code == 3 && said.contains("refused"), "{said}");
    let metadata = "http://169.254.169.254";
    let (_, said) = folder.err(&["github", "--repo", "acme/river", "--api", metadata]);
    assert!(said.contains("cloud metadata"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stripes_secret_is_kept_the_only_time_that_it_is_told() {
    let (api, folder) = (Published::start(published::stripe).await, Folder::new("stripe"));
    let base = api.url();
    let args =
        ["stripe", "--api", &base, "--event", "charge.failed", "--event", "charge.succeeded"];
    let made = folder.ok(&args);
    assert_eq!((&made["outcome"], &made["id"]), (&"created".into(), &"we_1".into()));
    assert_eq!(folder.secret("stripe").unwrap(), "whsec_9rMfZUGWM3gTTBtn0f8kPEfmiIJCmzQi");
    folder.check();
    assert_eq!(folder.ok(&args)["outcome"], "unchanged");
    let more = [&args[..], &["--event", "charge.updated"]].concat();
    assert_eq!(folder.ok(&more)["outcome"], "updated");
    assert_eq!(api.hooks()[0]["enabled_events"].as_array().unwrap().len(), 3);

    // Its secret cannot be had again.
    std::fs::rename(folder.path().join("secrets/stripe"), folder.path().join("kept")).unwrap();
    let (_, said) = folder.err(&args);
    assert!(said.contains("only when it is made") && said.contains("--delete"), "{said}");
    folder.ok(&["stripe", "--api", &base, "--delete", "--id", "we_1"]);
    // A secret that is there is not lost to a new one, and nothing is made then.
    std::fs::rename(folder.path().join("kept"), folder.path().join("secrets/stripe")).unwrap();
    let (_, said) = folder.err(&args);
    assert!(said.contains("has a secret already") && api.hooks().is_empty(), "{said}");
    std::fs::remove_file(folder.path().join("secrets/stripe")).unwrap();
    let http = ["stripe", "--api", &base, "--url", "http://hooks.example.com/webhook/stripe"];
    let (_, said) = folder.err(&http);
    assert!(said.contains("must be https"), "{said}");
    let left: Vec<_> = std::fs::read_dir(folder.path().join("secrets")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gitlab_gets_a_token_and_the_kinds_of_events() {
    let (api, folder) = (Published::start(published::gitlab).await, Folder::new("gitlab"));
    let base = api.url();
    let args = ["gitlab", "--project", "acme/river", "--api", &base, "--event", "push"];
    assert_eq!(folder.ok(&args)["outcome"], "created");
    let told = api.take_calls().into_iter().find(|call| call.method == "POST").unwrap().json();
    assert_eq!(told["token"], folder.secret("gitlab").unwrap());
    assert_eq!((&told["push_events"], &told["issues_events"]), (&true.into(), &false.into()));
    folder.check();
    assert_eq!(folder.ok(&args)["outcome"], "unchanged");
    let more = [&args[..], &["--event", "issues"]].concat();
    assert_eq!(folder.ok(&more)["outcome"], "updated");
    assert_eq!(api.hooks()[0]["issues_events"], true);
    let (code, said) = folder.err(&[&args[..], &["--event", "nonsense"]].concat());
    assert!(code == 2 && said.contains("merge_requests"), "{said}");
    folder.ok(&["gitlab", "--project", "acme/river", "--api", &base, "--delete"]);
    assert!(api.hooks().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn shopify_has_a_subscription_for_each_topic() {
    let (api, folder) = (Published::start(published::shopify).await, Folder::new("shopify"));
    let base = api.url();
    let shop = ["shopify", "--shop", "acme", "--api", &base];
    let (code, said) = folder.err(&shop);
    assert!(code == 2 && said.contains("--event"), "{said}");
    let args = [&shop[..], &["--event", "orders/create", "--event", "orders/updated"]].concat();
    let made = folder.ok(&args);
    assert_eq!(made["outcome"], "created");
    assert!(made["todo"][0].as_str().unwrap().contains("client secret of the app"), "{made}");
    assert_eq!(api.hooks().len(), 2);
    assert_eq!(api.hooks()[0]["topic"], "ORDERS_CREATE");
    assert_eq!(folder.ok(&args)["outcome"], "unchanged");
    let other = [&shop[..], &["--event", "orders/create", "--event", "products/update"]].concat();
    assert_eq!(folder.ok(&other)["outcome"], "updated");
    let topics: Vec<_> = api.hooks().iter().map(|hook| hook["topic"].clone()).collect();
    assert_eq!(topics, ["ORDERS_CREATE", "PRODUCTS_UPDATE"]);
    folder.ok(&[&shop[..], &["--delete"]].concat());
    assert!(api.hooks().is_empty());
    let (_, said) = folder.err(&[&args[..], &["--url", "http://plain.example.com/"]].concat());
    assert!(said.contains("http:// is not supported"), "{said}");
    let (_, said) = folder.err(&[&shop[..], &["--event", "no/such"]].concat());
    assert!(said.contains("invalid value"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slacks_manifest_keeps_what_is_not_about_events() {
    let (api, folder) = (Published::start(published::slack).await, Folder::new("slack"));
    api.add(json!({ "display_information": { "name": "Zork" },
                    "settings": { "org_deploy_enabled": true, "event_subscriptions": {} } }));
    let base = api.url();
    let app = ["slack", "--app", "A012", "--api", &base];
    let args = [&app[..], &["--event", "app_mention"]].concat();
    let made = folder.ok(&args);
    assert_eq!(made["outcome"], "created");
    assert!(made["todo"][0].as_str().unwrap().contains("Basic Information"), "{made}");
    let manifest = api.hooks()[0].clone();
    let subscription =
        json!({ "request_url": format!("{URL}slack"), "bot_events": ["app_mention"] });
    assert_eq!(manifest["settings"]["event_subscriptions"], subscription);
    assert_eq!(manifest["settings"]["org_deploy_enabled"], true);
    assert_eq!(manifest["display_information"]["name"], "Zork");
    assert_eq!(folder.ok(&args)["outcome"], "unchanged");
    let (_, said) = folder.err(&[&args[..], &["--url", "https://other.example.com/"]].concat());
    assert!(said.contains("an app has one URL"), "{said}");
    let (_, said) = folder.err(&[&app[..], &["--event", "no.such"]].concat());
    assert!(said.contains("invalid_manifest: Event `no.such`"), "{said}");
    folder.ok(&[&app[..], &["--delete"]].concat());
    assert_eq!(api.hooks()[0]["settings"], json!({ "org_deploy_enabled": true }));
    std::fs::write(folder.path().join("bot"), "xoxb-1").unwrap();
    let (_, said) = folder.err(&[&args[..], &["--credential", "file:bot"]].concat());
    assert!(said.contains("app configuration token"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn twilio_calls_the_url_for_the_chosen_kinds_only() {
    let (api, folder) = (Published::start(published::twilio).await, Folder::new("twilio"));
    let voice = "https://voice.example.com/";
    api.add(json!({ "sid": "PN1", "phone_number": "+15551234567", "sms_url": "",
                    "voice_url": voice, "status_callback": "" }));
    let base = api.url();
    let number = ["twilio", "--account", "AC1", "--number", "+15551234567", "--api", &base];
    let made = folder.ok(&number);
    assert_eq!((&made["outcome"], &made["events"]), (&"created".into(), &json!(["sms"])));
    assert_eq!(
        (&api.hooks()[0]["sms_url"], &api.hooks()[0]["voice_url"]),
        (&format!("{URL}twilio").into(), &voice.into())
    );
    assert_eq!(folder.ok(&number)["outcome"], "unchanged");
    let status = [&number[..], &["--event", "status"]].concat();
    assert_eq!(folder.ok(&status)["outcome"], "updated");
    assert_eq!(
        (&api.hooks()[0]["sms_url"], &api.hooks()[0]["status_callback"]),
        (&"".into(), &format!("{URL}twilio").into())
    );
    folder.ok(&[&number[..], &["--delete"]].concat());
    assert_eq!(
        (&api.hooks()[0]["status_callback"], &api.hooks()[0]["voice_url"]),
        (&"".into(), &voice.into())
    );
    let (_, said) =
        folder.err(&["twilio", "--account", "AC1", "--number", "+1999", "--api", &base]);
    assert!(said.contains("no phone number"), "{said}");
}

#[test]
fn a_custom_sender_gets_a_secret_and_what_to_enter() {
    let folder = Folder::new("custom");
    let made = folder.ok(&["custom"]);
    assert_eq!(
        (&made["outcome"], &made["url"]),
        (&"prepared".into(), &format!("{URL}custom").into())
    );
    assert!(made["todo"][0].as_str().unwrap().contains("enter the URL"), "{made}");
    let secret = folder.secret("custom").unwrap();
    folder.check();
    assert_eq!(folder.ok(&["custom"])["outcome"], "unchanged");
    assert_eq!(folder.secret("custom").unwrap(), secret);
    assert_eq!(folder.err(&["custom", "--list"]).0, 2);
}
