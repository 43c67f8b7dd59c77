//! The first commands of a new user: `weir init` and what it wrote, completions and man pages, and
//! the views that follow a hub.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use weir_testing::hub::{Log, TestHub, weir};
use weir_testing::wait::until_true;

fn run(folder: &Path, args: &[&str]) -> Output {
    weir().args(args).current_dir(folder).output().unwrap()
}

fn ok(folder: &Path, args: &[&str]) -> String {
    let out = run(folder, args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn what_init_writes_passes_the_check_for_every_provider() {
    let folder = tempfile::tempdir().unwrap();
    let listed = ok(folder.path(), &["--json", "providers", "list"]);
    let mut initialised = 0;
    for line in listed.lines() {
        let provider: Value = serde_json::from_str(line).unwrap();
        let name = provider["name"].as_str().unwrap();
        let out = run(folder.path(), &["init", name, "--source", name]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        if !out.status.success() {
            // It needs a value that only the operator knows, and says which.
            let asks = ["give it with --param", "public_url", "params.", "is not generated here"];
            assert!(asks.iter().any(|part| said.contains(part)), "{name}: {said}");
            assert!(!folder.path().join(name).join("weir.toml").exists(), "{name}");
            continue;
        }
        initialised += 1;
        let checked = run(&folder.path().join(name), &["check"]);
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(checked.status.success(), "{name}: {said}");
        assert_eq!(said, "", "{name}: a warning");
    }
    assert!(initialised >= 40, "{initialised} of {}", listed.lines().count());
}

#[test]
fn init_replaces_no_file_and_writes_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("plugins")).unwrap();
    std::fs::write(folder.path().join("plugins/github-chat.toml"), "mine").unwrap();
    let out = run(folder.path(), &["init"]);
    assert_eq!(out.status.code(), Some(1));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("plugins/github-chat.toml exists already"), "{said}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");

    ok(folder.path(), &["init", "--handler", "log-everything"]);
    let before = std::fs::read_to_string(folder.path().join("weir.toml")).unwrap();
    assert_eq!(run(folder.path(), &["init"]).status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(folder.path().join("weir.toml")).unwrap(), before);
    for (args, reason) in [
        (&["init", "x", "--source", "githob"][..], "there is no provider"),
        (&["init", "x", "--handler", "none"], "there is no starter of that name"),
        (&["init", "x", "--destination", "chat"], "url"),
    ] {
        let out = run(folder.path(), args);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains(reason), "{args:?}: {said}");
        assert!(!folder.path().join("x/weir.toml").exists(), "{args:?}");
    }
}

#[test]
fn secrets_of_init_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let said = ok(folder.path(), &["init", "--source", "stripe"]);
    let secret = folder.path().join("secrets/stripe");
    assert_eq!(secret.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(secret).unwrap();
    assert!(text.starts_with("whsec_") && !said.contains(text.trim()), "{said}");
}

#[test]
fn completions_are_accepted_by_bash() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("weir.bash");
    std::fs::write(&script, ok(folder.path(), &["completions", "bash"])).unwrap();
    let completes = "source weir.bash && COMP_WORDS=(weir dead) COMP_CWORD=1 && _weir weir dead weir \
                     && echo \"${COMPREPLY[@]}\"";
    let out =
        Command::new("bash").args(["-c", completes]).current_dir(folder.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "dead-letters");
    for shell in ["fish", "zsh", "elvish", "powershell"] {
        assert!(ok(folder.path(), &["completions", shell]).contains("dead-letters"), "{shell}");
    }
}

#[test]
fn man_pages_are_written_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    ok(folder.path(), &["man", "pages"]);
    let page =
        |name: &str| std::fs::read_to_string(folder.path().join("pages").join(name)).unwrap();
    assert!(page("weir.1").contains("weir\\-backup(1)"), "{}", page("weir.1"));
    assert!(page("weir-backup.1").contains("Configuration file"));
    assert!(page("weir-sources-list.1").contains(".TH"));
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_follow_what_happens_and_end_with_their_reader() {
    let hub = TestHub::new()
        .github()
        .handler("teller", "version-a")
        .config("[destinations.sink]\nkind = \"inbox\"")
        .sidecar("teller", "on = [\"github:push\"]\n[grant]\ndestinations = [\"sink\"]\n")
        .start()
        .await;
    hub.until_ready("teller").await;
    let first = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&first, "processed").await;
    let once = hub.cli_ok(&["logs", "--type", "pu*"]);
    assert!(once.contains("stored") && once.contains("handler:teller"), "{once}");
    assert!(once.contains("destination:sink"), "{once}");

    let mut following = hub.command(&["--json", "logs", "-f"]);
    let mut following = following.stdout(Stdio::piped()).spawn().unwrap();
    let lines = Log::default();
    lines.follow(following.stdout.take().unwrap());
    until_true("the event of before", || !lines.having(&[&first, "stored"]).is_empty()).await;
    let second = hub.push("push", "two", b"{}").await.accepted();
    for what in ["\"stored\"", "handler:teller", "destination:sink"] {
        until_true(what, || !lines.having(&[&second, what]).is_empty()).await;
    }
    assert_eq!(lines.having(&[&first, "stored"]).len(), 1, "{}", lines.all());
    following.kill().unwrap();
    following.wait().unwrap();

    // `weir logs -f | head -1` ends once there is more to print.
    let mut piped = hub.command(&["logs", "-f"]);
    let mut piped = piped.stdout(Stdio::piped()).spawn().unwrap();
    drop(piped.stdout.take());
    hub.push("push", "three", b"{}").await.accepted();
    let mut ended = None;
    weir_testing::wait::until("it to end", async || {
        ended = piped.try_wait().unwrap();
        ended.map(|_| ()).ok_or_else(|| "it runs".to_owned())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn top_measures_a_hub_and_draws_only_on_a_terminal() {
    let hub = TestHub::new().github().start().await;
    hub.push("push", "one", b"{}").await.accepted();
    let said = hub.cli_ok(&["--json", "top", "--every", "200ms"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["sources"][0]["name"], "github");
    assert_eq!(said["events"][0]["type"], "push");
    let (code, reason) = hub.cli_err(&["top"]);
    assert_eq!((code, reason.contains("--json")), (2, true), "{reason}");
}

/// Runs a command with a terminal of its own. Returns what it printed there.
fn on_a_terminal(folder: &Path, variables: &str, line: &str) -> Option<String> {
    let weir = weir().get_program().to_string_lossy().into_owned();
    let line = format!("stty cols 70 2>/dev/null; {variables} {weir} {line}");
    let mut script = Command::new("script");
    let out = script.args(["-qec", &line, "/dev/null"]).current_dir(folder).output().ok()?;
    Some(String::from_utf8_lossy(&out.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_gets_fitted_tables_and_colours_unless_refused() {
    let hub = TestHub::new().github().start().await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    let folder = hub.folder.path().to_owned();
    let list = format!("--admin http://{} --limit 5", hub.admin);
    let Some(coloured) = on_a_terminal(&folder, "TERM=xterm", &format!("events {list}")) else {
        eprintln!("SKIPPED: there is no script program, which makes a terminal");
        return;
    };
    assert!(coloured.contains("\u{1b}[33munrouted\u{1b}[0m"), "{coloured:?}");
    assert!(coloured.contains(&event), "{coloured:?}");
    let plain = on_a_terminal(&folder, "NO_COLOR=1", &format!("events {list}")).unwrap();
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    assert!(plain.lines().all(|line| line.trim_end().chars().count() <= 70), "{plain}");
    let piped = hub.cli_ok(&["events"]);
    assert!(!piped.contains('\u{1b}') && !piped.contains('…'), "{piped:?}");
}

/// Starts a command with a terminal of its own, whose input and output are pipes. None without the
/// program that makes terminals.
fn start_on_a_terminal(folder: &Path, line: &str) -> Option<std::process::Child> {
    let weir = weir().get_program().to_string_lossy().into_owned();
    let line = format!("stty cols 120 rows 40; TERM=xterm {weir} {line}");
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).current_dir(folder);
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()
}

/// Reads until the output contains a text.
fn read_until(from: &mut impl std::io::Read, text: &str) -> String {
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = from.read(&mut buffer).unwrap();
        seen.extend_from_slice(&buffer[..read]);
        let said = String::from_utf8_lossy(&seen).into_owned();
        if said.contains(text) {
            return said;
        }
        assert!(read > 0, "it ended before {text:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn top_draws_on_a_terminal_until_q() {
    let hub = TestHub::new().github().start().await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    let folder = hub.folder.path().to_owned();
    let line = format!("top --every 200ms --admin http://{}", hub.admin);
    let ended = tokio::task::spawn_blocking(move || {
        let mut top = start_on_a_terminal(&folder, &line)?;
        let mut screen = top.stdout.take().unwrap();
        // The last line. Blanks are not drawn on an empty screen, so the words stand alone.
        let said = read_until(&mut screen, "quits");
        assert!(said.contains("github") && said.contains(&event), "{said:?}");
        std::io::Write::write_all(&mut top.stdin.take().unwrap(), b"q").unwrap();
        read_until(&mut screen, "\u{1b}[?1049l");
        Some(top.wait().unwrap().code())
    });
    match ended.await.unwrap() {
        Some(code) => assert_eq!(code, Some(0)),
        None => eprintln!("SKIPPED: there is no script program, which makes a terminal"),
    }
}

#[test]
fn init_asks_three_questions_on_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut init) = start_on_a_terminal(folder.path(), "init") else {
        eprintln!("SKIPPED: there is no script program, which makes a terminal");
        return;
    };
    let (mut answers, mut screen) = (init.stdin.take().unwrap(), init.stdout.take().unwrap());
    let answers_with = [
        ("Which provider sends webhooks?", "stripe\n"),
        ("Which handler to begin with", "\n"),
        ("Where do messages go", "https://chat.example.com/hooks/dev\n"),
    ];
    for (question, answer) in answers_with {
        read_until(&mut screen, question);
        std::io::Write::write_all(&mut answers, answer.as_bytes()).unwrap();
    }
    read_until(&mut screen, "weir send stripe");
    assert_eq!(init.wait().unwrap().code(), Some(0));
    let written = std::fs::read_to_string(folder.path().join("weir.toml")).unwrap();
    assert!(written.contains("https://chat.example.com/hooks/dev"), "{written}");
    assert!(folder.path().join("plugins/payments.wasm").exists());
    ok(folder.path(), &["check"]);
}
