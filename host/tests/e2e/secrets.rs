//! Secrets that are planted everywhere appear nowhere: not in files, logs, metrics, answers or
//! copies. The data folder is private under any umask.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use http::Request;
use http_body_util::Full;
use weir_store::Maintenance as _;

use weir_testing::hub::{RunningHub, TestHub, github_signature, hmac_hex};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

/// The planted secrets. Each is random enough that no compression shortens it.
const PLANTED: [(&str, &str); 17] = [
    ("a source's secret in a file", weir_testing::hub::SECRET),
    ("a source's secret in the environment", "Kf8zQ1mW7rT2xVb5"),
    ("a static token in a header", "Pz3nH6vYc9LdXw0s"),
    ("a wrong token in that header", "Qj5kT8wBe2MfRy7u"),
    ("a token in the query", "Ux1gD4zNa6SjHq9e"),
    ("a wrong token in the query", "Vb7hF2yKc5TlMp3r"),
    ("a password of basic auth", "Wm9jG4xLd8UnQs1t"),
    ("a field of the body", "Yc2kH6wMe3VpRu5v"),
    ("a header `Authorization` of a sender", "Zd4lJ8vNf5WqSx7y"),
    ("a cookie of a sender", "Ae6mK1uPg7XrTz9b"),
    ("the admin token", "Bf8nL3tQh9YsUa2c"),
    ("a wrong admin token", "Cg1pM5sRj2ZtVb4d"),
    ("a destination's secret", "Dh3qN7rSk4AuWc6eDh3qN7rSk4AuWc6e"),
    ("a header of a destination, which repeats it", "Ej5rP9qTl6BvXd8f"),
    ("a path without a source", "Fk7sQ2pUm8CwYe1g"),
    ("a parameter of a provider", "Gl9tR4nVn1DxZf3h"),
    ("a query of a request that is refused", "Hm2uS6mWp3EyAg5j"),
];

fn planted(what: &str) -> &'static str {
    let found = PLANTED.iter().find(|(name, _)| *name == what);
    found.unwrap_or_else(|| panic!("nothing is planted as {what}")).1
}

/// A secret as it is, and in its common encodings.
fn spellings(secret: &str) -> Vec<String> {
    let base64 = base64::engine::general_purpose::STANDARD;
    let bare = base64.encode(secret).trim_end_matches('=').to_owned();
    let as_password = base64.encode(format!("user:{secret}")).trim_end_matches('=').to_owned();
    let escaped = secret.replace(' ', "%20");
    // The last characters of base64 depend on what follows the secret.
    let cut = |text: String| text[..text.len() - 2].to_owned();
    vec![secret.into(), escaped, hex::encode(secret), cut(bare), cut(as_password)]
}

/// Fails if the bytes contain a planted secret.
fn assert_clean(place: &str, bytes: &[u8]) {
    for (what, secret) in PLANTED {
        for spelling in spellings(secret) {
            let found = bytes.windows(spelling.len()).position(|part| part == spelling.as_bytes());
            if let Some(at) = found {
                let around = &bytes[at.saturating_sub(120)..(at + 60).min(bytes.len())];
                panic!("{what} is in {place}: {}", String::from_utf8_lossy(around));
            }
        }
    }
}

/// Every file in a folder and in its subfolders.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { files_below(&path) } else { vec![path] };
    entries.flat_map(below).collect()
}

fn planted_hub(sink: &Sink) -> TestHub {
    let file = |hub: TestHub, name: &str, what: &str| hub.file(name, planted(what));
    let hub = TestHub::new().github().handler("talker", "probe");
    let hub = file(hub, "gitlab.token", "a static token in a header");
    let hub = file(hub, "query.token", "a token in the query");
    let hub = hub.file("basic.token", format!("user:{}", planted("a password of basic auth")));
    let base64 = base64::engine::general_purpose::STANDARD;
    let signing = base64.encode(planted("a destination's secret"));
    hub.file("sink.secret", format!("whsec_{signing}"))
        .env("PLANTED_SECRET", planted("a source's secret in the environment"))
        .env("WEIR_PLANTED_ADMIN", planted("the admin token"))
        .env("PLANTED_AUTHORIZATION", planted("a header of a destination, which repeats it"))
        .env("PLANTED_VERIFY", planted("a parameter of a provider"))
        .env("RUST_LOG", "trace")
        .env("RUST_BACKTRACE", "full")
        .destination(
            "sink",
            sink,
            "secrets = [{ file = \"sink.secret\" }]\nheaders = { authorization = { env = \"PLANTED_AUTHORIZATION\" } }\n\
             retry = { schedule = [\"50ms\"], max_attempts = 2 }",
        )
        .sidecar("talker", "[grant]\ndestinations = [\"sink\"]\n[retry]\nmax_attempts = 1\n")
        .config(SOURCES)
}

const SOURCES: &str = r#"
[sources.slack]
provider = "slack"
secrets = [{ env = "PLANTED_SECRET" }]
secret_fields = ["/token"]
[sources.gitlab]
provider = "gitlab"
secrets = [{ file = "gitlab.token" }]
[sources.query]
provider = "github"
secrets = [{ file = "github.secret" }]
auth = { in = "query:key", tokens = [{ file = "query.token" }] }
[sources.basic]
provider = "github"
secrets = [{ file = "github.secret" }]
auth = { in = "basic", tokens = [{ file = "basic.token" }] }
[sources.meta]
provider = "meta"
secrets = [{ env = "PLANTED_SECRET" }]
params = { verify_token = { env = "PLANTED_VERIFY" } }
"#;

/// Trace level for all libraries too, and the admin token in the environment.
fn loud(hub: TestHub) -> TestHub {
    hub.replace("[log]", "[log]\nlevel = \"trace\"")
        .replace("[admin]", "[admin]\nopen_reads = true\ntoken = { env = \"WEIR_PLANTED_ADMIN\" }")
}

/// Requests of all kinds, valid and invalid.
async fn send_everything(hub: &RunningHub) -> Vec<String> {
    let bearer = format!("Bearer {}", planted("a header `Authorization` of a sender"));
    let cookie = format!("session={}", planted("a cookie of a sender"));
    let basic = |password: &str| {
        let user = format!("user:{password}");
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(user))
    };
    let mut events = Vec::new();
    // A handler that logs all its input and then crashes.
    let body = br#"{"steps":[{"op":"headers"},{"op":"report","destination":"sink"}]}"#;
    let github = |body: &[u8]| github_signature(body);
    let signature = github(body);
    let signed = |id: &'static str| {
        vec![
            ("x-github-event", "push"),
            ("x-github-delivery", id),
            ("x-hub-signature-256", &*signature),
        ]
    };
    let mut of_github = signed("one");
    of_github.extend([("authorization", &*bearer), ("cookie", &*cookie)]);
    events.push(hub.post("github", &of_github, body).await.accepted());
    let panics = br#"{"steps":[{"op":"headers"},{"op":"log","level":"info","message":"x"},{"op":"panic","message":"here"}]}"#;
    let of_panic = github(panics);
    let headers = [
        ("x-github-event", "push"),
        ("x-github-delivery", "panic"),
        ("x-hub-signature-256", &*of_panic),
        ("authorization", &*bearer),
    ];
    events.push(hub.post("github", &headers, panics).await.accepted());
    let query = |token: &str| format!("query?key={token}");
    let right = query(planted("a token in the query"));
    events.push(hub.post(&right, &signed("two"), body).await.accepted());
    let wrong = query(planted("a wrong token in the query"));
    assert_eq!(hub.post(&wrong, &signed("three"), body).await.status, 403);
    let password = basic(planted("a password of basic auth"));
    let mut with_password = signed("four");
    with_password.push(("authorization", &password));
    events.push(hub.post("basic", &with_password, body).await.accepted());
    for (what, status) in
        [("a static token in a header", 200), ("a wrong token in that header", 401)]
    {
        let headers = [("x-gitlab-event", "Push Hook"), ("x-gitlab-token", planted(what))];
        let answer = hub.post("gitlab", &headers, br#"{"object_kind":"push"}"#).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    events.push(slack(hub).await);
    let verify = |token: &str| {
        format!("meta?hub.mode=subscribe&hub.challenge=1234&hub.verify_token={token}")
    };
    for (source, status) in [
        (verify(planted("a parameter of a provider")), 200),
        (verify(planted("a query of a request that is refused")), 403),
        (planted("a path without a source").to_owned(), 404),
        (format!("github?key={}", planted("a query of a request that is refused")), 405),
    ] {
        let uri = format!("http://{}/webhook/{source}", hub.ingress);
        let (answered, body) = hub.send(Request::get(uri).body(Full::default()).unwrap()).await;
        assert_eq!(answered, status, "{source}");
        assert_clean("an answer to a sender", &body);
    }
    events
}

/// An event whose body has a token that the source lists in `secret_fields`.
async fn slack(hub: &RunningHub) -> String {
    let token = planted("a field of the body");
    let body = format!(
        r#"{{"token":"{token}","type":"event_callback","event_id":"Ev1","event":{{"type":"message"}}}}"#
    );
    let time = std::process::Command::new("date").arg("+%s").output().unwrap();
    let time = String::from_utf8(time.stdout).unwrap().trim().to_owned();
    let secret = planted("a source's secret in the environment").as_bytes();
    let signature = format!("v0={}", hmac_hex(secret, format!("v0:{time}:{body}").as_bytes()));
    let headers = [("x-slack-request-timestamp", &*time), ("x-slack-signature", &*signature)];
    hub.post("slack", &headers, body.as_bytes()).await.accepted()
}

/// All answers of the API, with the right token and with a wrong one.
async fn ask_everything(hub: &RunningHub, events: &[String]) {
    let mut paths: Vec<String> = [
        "/health",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/api/v1/events",
        "/api/v1/handlers",
        "/api/v1/destinations",
        "/api/v1/dead-letters",
        "/api/v1/holds",
        "/api/v1/inbox",
        "/api/v1/quarantine",
        "/api/v1/sources",
    ]
    .map(str::to_owned)
    .to_vec();
    for event in events {
        paths.extend(["", "/body", "/why"].map(|part| format!("/api/v1/events/{event}{part}")));
    }
    for path in paths {
        let uri = format!("http://{}{path}", hub.admin);
        let answer = hub.exchange(Request::get(&uri).body(Full::default()).unwrap()).await;
        assert_clean(&path, answer.body());
        assert_clean(&path, format!("{:?}", answer.headers()).as_bytes());
    }
    for (what, status) in [("a wrong admin token", 401), ("the admin token", 201)] {
        let hold = Request::post(format!("http://{}/api/v1/holds", hub.admin))
            .header("authorization", format!("Bearer {}", planted(what)))
            .body(Full::from(r#"{"scope":"source:github"}"#))
            .unwrap();
        let (answered, body) = hub.send(hold).await;
        assert_eq!(answered, status, "{}", String::from_utf8_lossy(&body));
        assert_clean("an answer to an operator", &body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_planted_everywhere_are_found_nowhere() {
    // The endpoint repeats all that it was sent.
    let repeated = planted("a header of a destination, which repeats it");
    let sink = Sink::saying(&format!("you sent {repeated}, and nothing else")).await;
    let hub = loud(planted_hub(&sink)).start().await;
    hub.until_ready("talker").await;
    let events = send_everything(&hub).await;
    for event in &events {
        until("the event to come to its end", async || {
            let status = hub.event(event).await["status"].as_str().unwrap_or_default().to_owned();
            let over = ["processed", "dead_letter", "unrouted"].contains(&&*status);
            if over { Ok(()) } else { Err(status) }
        })
        .await;
    }
    assert!(!sink.received().is_empty());
    for message in sink.received() {
        assert_clean("a message", &message.body);
    }
    ask_everything(&hub, &events).await;

    // The files while the hub runs, with the log not yet checkpointed, and after it has ended.
    let data = hub.folder.path().join("data");
    for file in files_below(&data) {
        assert_clean(&file.display().to_string(), &std::fs::read(&file).unwrap());
    }
    assert!(hub.log.all().contains("TRACE"), "the log is at trace");
    assert_clean("the log", hub.log.all().as_bytes());
    let (log, folder) = (hub.log.clone(), hub.keep_folder().await);
    assert_clean("the log of the end", log.all().as_bytes());
    let copy = folder.path().join("copy.db");
    let options =
        weir_store::sqlite::Options::new(std::sync::Arc::new(weir::runtime::clock::SystemClock));
    let store = weir_store::sqlite::open(&folder.path().join("data/weir.db"), options).unwrap();
    store.backup(&copy).await.unwrap();
    store.close().await.unwrap();
    for file in files_below(&folder.path().join("data")).into_iter().chain([copy]) {
        assert_clean(&file.display().to_string(), &std::fs::read(&file).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_folder_is_private_under_any_umask() {
    let hub = TestHub::new()
        .github()
        .handler("noop", "noop")
        .under(&["sh", "-c", "umask 000; exec \"$@\"", "sh"])
        .start()
        .await;
    hub.until_ready("noop").await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&event, "processed").await;
    let headers = [("x-github-event", "push"), ("x-hub-signature-256", "sha256=00")];
    assert_eq!(hub.post("github", &headers, b"{}").await.status, 401, "into the quarantine");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let data = hub.folder.path().join("data");
    assert_eq!(mode(&data), 0o700);
    let mut looked = 0;
    for file in files_below(&data) {
        let folder = file.parent().unwrap();
        // Compiled code is mapped, and never changed in place.
        let is_code = file.extension().is_some_and(|ending| ending == "code");
        let expected = if is_code { 0o400 } else { 0o600 };
        assert_eq!((mode(folder), mode(&file)), (0o700, expected), "{}", file.display());
        looked += 1;
    }
    assert!(looked > 5, "{looked} files");
    // A file that was copied into the folder, such as a restored backup, is made private at the
    // next start.
    let database = data.join("weir.db");
    std::fs::set_permissions(&database, std::fs::Permissions::from_mode(0o644)).unwrap();
    let hub = hub.kill_and_restart().await;
    assert_eq!(mode(&hub.folder.path().join("data/weir.db")), 0o600);
}
