//! Every command and every flag of the command line, run against a hub: alone, and in pairs. A
//! quarter of the pairs is tried, and all of them if `WEIR_FLAG_PAIRS` is `all`.
//!
//! The list comes from the parser itself, so a new flag fails here until [`sample`] has a value for
//! it. A flag either is refused by name while the command line is parsed, or the hub understands
//! it.

mod samples;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use clap::{Arg, ArgAction, Command, CommandFactory as _};
use http_body_util::Full;
use serde_json::{Value, json};

use weir_testing::hub::{Log, RunningHub, SECRET, TestHub};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

use samples::{fails_by_itself, sample};

/// Commands that start a hub themselves.
const RUN_A_HUB: [&str; 3] = ["serve", "demo", "bench"];
/// Commands that talk to another machine, or do not end. Tests of their own run them.
const ELSEWHERE: [&str; 3] = ["listen", "register", "reconcile"];
/// Commands that change what the next call finds. Their first call must succeed; later calls may be
/// refused.
const ONCE: [&str; 9] = [
    "dead-letters requeue",
    "handlers pin",
    "handlers resume",
    "handlers unpin",
    "release",
    "retry",
    "quarantine release",
    "tokens create",
    "tokens revoke",
];
/// Commands that a hub with this configuration refuses, each with its own message.
const REFUSED: [&str; 15] = [
    "cancel",
    "jobs pause",
    "jobs resume",
    "jobs cancel",
    "dead-letters discard",
    "handlers diff",
    "handlers rename",
    "handlers rollback",
    "handlers state get",
    "handlers state remove",
    "sources accept-secret",
    "sources learned-secret",
    "sources forget-secret",
    "quarantine show",
    "restore",
];
/// Parts of an error that show that the hub did not understand the request.
const NOT_UNDERSTOOD: [&str; 6] = [
    "malformed",
    "unknown field",
    "unknown_parameter",
    "invalid_parameter",
    "invalid_id",
    "the hub answered",
];

/// A hub that has at least one object of each kind.
struct Stage {
    hub: RunningHub,
    event: String,
    /// The run of its handler.
    attempt: String,
    dead: String,
    unrouted: String,
    /// An event that may be erased.
    spare: String,
    token: String,
    /// The version of its handler.
    version: String,
}

async fn stage() -> (Stage, Sink) {
    let sink = Sink::start().await;
    sink.answers(422);
    let (hub, _) = TestHub::new().at_a_known_port();
    let hub = hub
        .github()
        .source("quiet", "github", SECRET)
        .destination("sink", &sink, "")
        .handler("teller", "version-a")
        .sidecar("teller", "on = [\"github:push\"]\n[grant]\ndestinations = [\"sink\"]\n")
        .start()
        .await;
    let version = hub.until_ready("teller").await["version"].as_str().unwrap().to_owned();
    let event = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&event, "dead_letter").await;
    let shown = hub.event(&event).await;
    let attempt = shown["deliveries"][0]["history"][0]["id"].as_str().unwrap().to_owned();
    hub.cli_ok(&["sign", "--new-key", "signing.key"]);
    hub.cli_ok(&["replay", "--dead-letters", "--until", "1h", "--request", "a-job"]);
    let dead = until("a dead letter", async || {
        let found = hub.api("/api/v1/dead-letters").await;
        found["items"][0]["id"].as_str().map(str::to_owned).ok_or_else(|| found.to_string())
    })
    .await;
    let unrouted = hub.push("ping", "two", b"{}").await.accepted();
    let spare = hub.push("ping", "three", b"{}").await.accepted();
    let token = std::fs::read_to_string(hub.folder.path().join("data/admin-token")).unwrap();
    let file = hub.cli(&["providers", "show", "github", "--file"]).stdout;
    std::fs::write(hub.folder.path().join("github.toml"), file).unwrap();
    let one = r#"{"event": {"source": "github", "type": "push"}, "json": {}}"#;
    std::fs::write(hub.folder.path().join("event.json"), one).unwrap();
    std::fs::write(hub.folder.path().join("state.json"), r#"{"a": "1"}"#).unwrap();
    let values = r#"{"key": "n", "value": "5"}"#;
    std::fs::write(hub.folder.path().join("state.jsonl"), values).unwrap();
    let fixtures = hub.folder.path().join("plugins/teller.fixtures");
    std::fs::create_dir(&fixtures).unwrap();
    std::fs::write(fixtures.join("one.json"), one).unwrap();
    std::fs::write(hub.folder.path().join("body.json"), r#"{"ref":"refs/heads/main"}"#).unwrap();
    (Stage { hub, event, attempt, dead, unrouted, spare, token, version }, sink)
}

/// A name that no call used before.
fn new_name(prefix: &str) -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    format!("{prefix}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// All commands that do something, with their names.
fn leaves(command: &Command, words: &[String], found: &mut Vec<(Vec<String>, Command)>) {
    for child in command.get_subcommands() {
        let name = child.get_name().to_owned();
        let is_left_out = RUN_A_HUB.iter().chain(&ELSEWHERE).any(|other| *other == name);
        if child.is_hide_set() || name == "help" || is_left_out {
            continue;
        }
        let words: Vec<String> = words.iter().cloned().chain([name]).collect();
        if child.has_subcommands() {
            leaves(child, &words, found);
        }
        if !child.is_subcommand_required_set() {
            found.push((words, child.clone()));
        }
    }
}

/// The command-line words of one argument.
fn words_of(stage: &Stage, path: &str, arg: &Arg) -> Vec<String> {
    let id = arg.get_id().as_str();
    let value = || {
        sample(stage, path, id)
            .unwrap_or_else(|| panic!("say in `sample` what `{id}` of `weir {path}` may say"))
    };
    let takes_none =
        matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse | ArgAction::Count);
    match arg.get_long() {
        None => vec![value()],
        Some(long) if takes_none => vec![format!("--{long}")],
        Some(long) => vec![format!("--{long}"), value()],
    }
}

/// The required arguments of a command. Each set makes one call.
fn forms(command: &Command) -> Vec<Vec<&Arg>> {
    // A project has a name and a language, or the languages are listed.
    if command.get_name() == "new" {
        let named = |ids: &[&str]| {
            command.get_arguments().filter(|arg| ids.contains(&arg.get_id().as_str())).collect()
        };
        return vec![named(&["name", "lang"]), named(&["list"])];
    }
    // The type of a sample is required unless a file gives the body.
    let is_type = |arg: &Arg| command.get_name() == "send" && arg.get_id().as_str() == "kind";
    let is_required = |arg: &&Arg| arg.is_required_set() || is_type(arg);
    let required: Vec<&Arg> = command.get_arguments().filter(is_required).collect();
    let groups = command.get_groups().filter(|group| group.is_required_set());
    let members = groups.flat_map(|group| group.get_args().cloned().collect::<Vec<_>>());
    let members: Vec<_> = members.collect();
    if members.is_empty() {
        return vec![required];
    }
    let of_group = |arg: &&Arg| members.contains(arg.get_id());
    command
        .get_arguments()
        .filter(of_group)
        .map(|arg| [required.clone(), vec![arg]].concat())
        .collect()
}

/// The flags that are said beside those of a form: none, each alone, and pairs. The number says how
/// many of these are tried anyway. Of the others those are with a flag that has not worked: it may
/// need the other one.
fn sets<'a>(form: &[&'a Arg], offered: &[&'a Arg]) -> (Vec<Vec<&'a Arg>>, usize) {
    let all_pairs = std::env::var("WEIR_FLAG_PAIRS").is_ok_and(|which| which == "all");
    let is_said = |arg: &&Arg| form.iter().any(|said| said.get_id() == arg.get_id());
    let more: Vec<&Arg> = offered.iter().copied().filter(|arg| !is_said(arg)).collect();
    let mut sets = vec![Vec::new()];
    sets.extend(more.iter().map(|arg| vec![*arg]));
    let mut left = Vec::new();
    for (index, one) in more.iter().enumerate() {
        for (place, other) in more.iter().enumerate().skip(index + 1) {
            let is_tried = all_pairs || (index + place) % 4 == 1;
            if is_tried { &mut sets } else { &mut left }.push(vec![*one, *other]);
        }
    }
    let tried = sets.len();
    sets.append(&mut left);
    (sets, tried)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flag_works_or_is_refused_by_name() {
    let (stage, _sink) = stage().await;
    let mut cli = ::weir::cli::Cli::command();
    cli.build();
    let mut all = Vec::new();
    leaves(&cli, &[], &mut all);
    assert!(all.len() > 20, "the tree has few leaves: {}", all.len());
    let mut problems = BTreeSet::new();
    for (words, command) in &all {
        let path = words.join(" ");
        // `--follow` and `--watch` do not end; other tests use it.
        let skipped = ["help", "version", "follow", "watch"];
        let forms = forms(command);
        let exempt = REFUSED.contains(&path.as_str()) || ONCE.contains(&path.as_str());
        let (mut worked, mut offered) = (BTreeMap::<String, bool>::new(), Vec::new());
        for arg in command.get_arguments() {
            if !skipped.contains(&arg.get_id().as_str()) {
                worked.insert(arg.get_id().to_string(), false);
                offered.push(arg);
            }
        }
        for form in &forms {
            let (sets, tried) = sets(form, &offered);
            for (index, set) in sets.into_iter().enumerate() {
                let has_worked = |arg: &&Arg| exempt || worked[arg.get_id().as_str()];
                if index >= tried && set.iter().all(has_worked) {
                    continue;
                }
                let said: Vec<&Arg> = form.iter().copied().chain(set.iter().copied()).collect();
                let (ok, problem) = call(&stage, words, &path, &said);
                problems.extend(problem);
                if ok {
                    for arg in said {
                        worked.insert(arg.get_id().to_string(), true);
                    }
                }
            }
        }
        let never = worked.into_iter().filter(|(_, worked)| !worked).map(|(id, _)| id);
        problems.extend(
            never
                .filter(|id| {
                    !exempt
                        && ![
                            ("send", "url"),
                            ("send", "params"),
                            ("retry", "id"),
                            ("init", "params"),
                        ]
                        .contains(&(path.as_str(), id.as_str()))
                })
                .map(|id| format!("`{id}` of `weir {path}` never worked")),
        );
    }
    let problems: Vec<String> = problems.into_iter().collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Runs one call. Returns true if it succeeded, and what is wrong with it.
fn call(stage: &Stage, words: &[String], path: &str, args: &[&Arg]) -> (bool, Option<String>) {
    let mut line = words.to_vec();
    if path.starts_with("handlers state") {
        line.insert(2, "teller".to_owned());
    }
    line.extend(args.iter().flat_map(|arg| words_of(stage, path, arg)));
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    let out = stage.hub.cli(&line);
    let code = out.status.code();
    let (said, printed) =
        (String::from_utf8_lossy(&out.stderr), String::from_utf8_lossy(&out.stdout));
    let wrong = |what: &str| Some(format!("weir {}: {what}: {said}", line.join(" ")));
    let understood = !NOT_UNDERSTOOD.iter().any(|symptom| said.contains(symptom));
    let problem = match code {
        _ if !understood => wrong("not understood"),
        Some(0) if line.contains(&"--json") && !printed.lines().all(is_json) => {
            wrong("what it printed is not JSON")
        }
        Some(0) => None,
        Some(2) if said.contains("cannot be used with") => None,
        Some(1 | 4) if ONCE.contains(&path) || REFUSED.contains(&path) => None,
        _ if fails_by_itself(path, args) => None,
        _ => wrong("failed"),
    };
    (code == Some(0), problem)
}

fn is_json(line: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(line).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_filtered_by_source_type_time_and_target() {
    let (stage, _sink) = stage().await;
    let replayed = |filter: &[&str]| {
        let line = [&["replay", "--dead-letters", "--dry-run"][..], filter].concat();
        let out = stage.hub.cli(&line);
        assert!(out.status.success(), "{line:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    let one = "1 dead letter: 1 would be replayed in 1 delivery";
    for filter in [
        &["--source", "github"][..],
        &["--type", "push"],
        &["--type", "p*h"],
        &["--since", "1h"],
        &["--target", "destination:sink"],
    ] {
        assert_eq!(replayed(filter), one, "{filter:?}");
    }
    for filter in [
        &["--source", "quiet"][..],
        &["--type", "issues*"],
        &["--until", "1h"],
        &["--target", "handler:teller"],
    ] {
        assert_eq!(replayed(filter), "no dead letters", "{filter:?}");
    }
    let listed = stage.hub.cli(&["dead-letters", "list", "--source", "github", "--type", "pu*"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains(&stage.dead));
    let events = stage.hub.cli(&["events", "--type", "pi*", "--status", "unrouted"]);
    assert!(String::from_utf8_lossy(&events.stdout).contains(&stage.unrouted));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_name_is_refused_with_the_known_names() {
    let (stage, _sink) = stage().await;
    let sources = "there is no source `nope`; there are github, quiet, @teller";
    let handlers = "there is no handler `nope`; there are teller";
    let destinations = "there is no destination `nope`; there are sink";
    for (line, exit, sentence) in [
        (&["events", "--source", "nope"][..], 4, sources),
        (&["dead-letters", "list", "--source", "nope"], 4, sources),
        (&["dead-letters", "list", "--target", "handler:nope"], 4, handlers),
        (&["dead-letters", "list", "--target", "destination:nope"], 4, destinations),
        (&["replay", "--dead-letters", "--source", "nope"], 4, sources),
        (&["replay", "--dead-letters", "--target", "destination:nope"], 4, destinations),
        (&["replay", "--unrouted", "--source", "nope"], 4, sources),
        (&["quarantine", "list", "--source", "nope"], 4, sources),
        (&["quarantine", "release", "--source", "nope"], 4, sources),
        (&["sources", "accept-secret", "nope"], 4, sources),
        (&["hold", "source:nope"], 4, sources),
        (&["release", "destination:nope"], 4, destinations),
        (&["release", "handler:nope"], 4, handlers),
        (&["release", "source:nope"], 4, sources),
        (&["release", "destination:sink"], 4, "there is no hold on destination:sink"),
        (&["release", "4711"], 4, "there is no hold 4711"),
        (
            &["release", "mine"],
            2,
            "unknown scope `mine`; use source:NAME, handler:NAME, destination:NAME or hub",
        ),
        (&["release", "queue:mine"], 2, "unknown scope `queue:mine`"),
        (&["hold", "mine"], 2, "unknown scope `mine`"),
        (&["events", "--status", "dead"], 2, "dead_letter"),
        (&["events", "--since", "yesterday"], 2, "such as 90m"),
        (&["replay", "--unrouted", "--target", "handler:teller"], 2, "cannot be used with"),
        (&["replay", "evt_1", "--source", "github"], 2, "cannot be used with"),
    ] {
        let out = stage.hub.cli(line);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(exit), "{line:?}: {said}");
        assert!(said.contains(sentence), "{line:?}: {said}");
    }
    // A configured source without events is a known name.
    assert_eq!(stage.hub.cli(&["events", "--source", "quiet"]).status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_token_file_a_command_says_what_it_needs() {
    let (stage, _sink) = stage().await;
    let token = stage.hub.folder.path().join("data/admin-token");
    // The case of another user's CLI: the token file exists and cannot be read.
    std::fs::remove_file(&token).unwrap();
    std::fs::create_dir(&token).unwrap();
    for line in [&["events"][..], &["holds"], &["hold", "source:github"]] {
        let (exit, said) = stage.hub.cli_err(line);
        assert!(exit == 1 && said.contains("this needs a token, and data/admin-token"), "{said}");
        assert!(said.contains("--token"), "{said}");
    }
    let mut given = stage.hub.command(&["events"]);
    let out = given.env("WEIR_ADMIN_TOKEN", stage.token.trim()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn open_reads_need_no_token_and_writes_still_do() {
    let config = "[admin]\nopen_reads = true";
    let hub = TestHub::new().github().replace("[admin]", config).start().await;
    let token = hub.folder.path().join("data/admin-token");
    std::fs::remove_file(&token).unwrap();
    hub.cli_ok(&["events"]);
    let (_, said) = hub.cli_err(&["hold", "source:github"]);
    assert!(said.contains("token_missing") && said.contains("--token"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_token_does_what_its_role_may_until_it_is_revoked() {
    let hub = TestHub::new().github().start().await;
    let token = hub.cli_ok(&["tokens", "create", "ci", "--role", "read", "--expires", "30d"]);
    let with_token = |line: &[&str]| {
        let out = hub.command(line).env("WEIR_ADMIN_TOKEN", token.trim()).output().unwrap();
        (out.status.success(), String::from_utf8(out.stderr).unwrap())
    };
    assert!(with_token(&["events"]).0);
    let (done, said) = with_token(&["hold", "source:github"]);
    assert!(!done && said.contains("needs the role `operate`, and ci has"), "{said}");
    let listed: Value = serde_json::from_str(&hub.cli_ok(&["tokens", "list", "--json"])).unwrap();
    assert_eq!((&listed["name"], &listed["role"]), (&json!("ci"), &json!("read")));
    hub.cli_ok(&["tokens", "revoke", "ci"]);
    let (done, said) = with_token(&["events"]);
    assert!(!done && said.contains("token_mismatch"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_list_prints_new_events_over_a_restart() {
    let (hub, _) = TestHub::new().github().at_a_known_port();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = format!("[admin]\nlisten = \"{port}\"\n[log]");
    let hub = hub.replace("[admin]\nlisten = \"127.0.0.1:0\"\n[log]", &listen).start().await;
    hub.push("push", "old", b"{}").await.accepted();
    let mut following = hub.command(&["events", "--follow", "--json"]);
    following.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut following = following.spawn().unwrap();
    let (said, printed) = (Log::default(), Log::default());
    said.follow(following.stderr.take().unwrap());
    printed.follow(following.stdout.take().unwrap());
    until("the stream to be open", async || {
        let open = said.having(&["Waiting for new events"]);
        open.first().map(drop).ok_or_else(|| said.all())
    })
    .await;
    let first = hub.push("push", "first", b"{}").await.accepted();
    until("the first event", async || {
        printed.having(&[&first]).first().map(drop).ok_or_else(|| printed.all())
    })
    .await;
    let hub = hub.stop_and_restart().await;
    let second = hub.push("push", "second", b"{}").await.accepted();
    until("the event after the restart", async || {
        printed.having(&[&second]).first().map(drop).ok_or_else(|| printed.all())
    })
    .await;
    following.kill().unwrap();
    following.wait().unwrap();
    assert_eq!(printed.all().lines().count(), 2, "each event once: {}", printed.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_open_signs_in_once() {
    let hub = TestHub::new().start().await;
    let address = hub.cli_ok(&["open"]);
    assert!(!address.contains(&hub.token().unwrap()), "no token in an address");
    let open =
        || http::Request::builder().uri(address.trim()).body(Full::<Bytes>::default()).unwrap();
    let first = hub.exchange(open()).await;
    assert_eq!(first.status(), 303);
    let cookie = first.headers()["set-cookie"].to_str().unwrap();
    let request = http::Request::builder()
        .uri(format!("http://{}/api/v1/events", hub.admin))
        .header("cookie", cookie.split(';').next().unwrap());
    assert_eq!(hub.send(request.body(Full::default()).unwrap()).await.0, 200);
    assert_eq!(hub.exchange(open()).await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_reports_the_outcome_of_its_probe() {
    let sink = Sink::start().await;
    sink.answers(410);
    let patient =
        "breaker = { pause = \"1h\", max_pause = \"1h\" }\nretry = { schedule = [\"1ms\"] }";
    let route = "[[route]]\non = [\"github:*\"]\nto = \"sink\"";
    let hub =
        TestHub::new().github().destination("sink", &sink, patient).config(route).start().await;
    hub.push("push", "one", b"{}").await.accepted();
    let hold = until("a hold", async || {
        let holds = hub.api("/api/v1/holds").await["items"].take();
        if holds[0].is_null() { Err(holds.to_string()) } else { Ok(holds[0].clone()) }
    })
    .await;
    let out = hub.cli(&["release", "destination:sink"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("destination:sink still fails: HTTP 410 Gone; next try at"), "{said}");
    let again = until("the hold again", async || {
        let holds = hub.api("/api/v1/holds").await["items"].take();
        if holds[0].is_null() { Err(holds.to_string()) } else { Ok(holds[0].clone()) }
    })
    .await;
    assert_eq!((&again["id"], &again["at"]), (&hold["id"], &hold["at"]), "one and the same hold");
    sink.answers(200);
    let out = hub.cli(&["release", "destination:sink"]);
    let told = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && told.contains("destination:sink is ok"), "{told}");
}
