//! The folder and the hub that a document's commands work on: a hub with an event of each kind, a
//! destination that takes messages and one that refuses them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::document::root;

/// The program that is tested.
pub(crate) const WEIR: &str = env!("CARGO_BIN_EXE_weir");
/// Longest wait for a state.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stands in for cargo in the README's folder: the program is built already, and these tests are
/// running.
const CARGO: &str = r#"#!/bin/sh
case "$*" in
  "build --release")
    mkdir -p target/release && ln -sf "$WEIR" target/release/weir ;;
  "run -- demo")
    "$WEIR" demo --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 >demo.out 2>demo.err &
    demo=$!
    for _ in $(seq 600); do grep -q "Press Ctrl-C" demo.out && break; sleep 0.1; done
    cat demo.out
    kill -TERM $demo && wait $demo ;;
  "test --workspace") ;;
  *) echo "cargo $*: unknown to the tests of the documents" >&2; exit 2 ;;
esac
"#;

/// The configuration of the hub that the documents' commands talk to.
const CONFIG: &str = r#"
[sources.github]
provider = "github"
secrets = [{ file = "secrets/github" }]

[sources.stripe]
provider = "stripe"
secrets = [{ file = "secrets/stripe" }]

[sources.notion]
provider = "notion"

[destinations.inbox]
kind = "inbox"

[destinations.ops]
kind = "webhook"
url = "http://127.0.0.1:SINK/takes"
allow = ["@private"]

[destinations.broken]
kind = "webhook"
url = "http://127.0.0.1:SINK/refuses"
allow = ["@private"]

[[route]]
on = ["github:push"]
to = "ops"

[[route]]
on = ["github:ping"]
to = "broken"
"#;

/// A folder in which a document's commands run.
pub(crate) struct Stage {
    folder: TempDir,
    /// Programs that come before those of the machine.
    programs: TempDir,
    pub(crate) ingress: SocketAddr,
    pub(crate) admin: SocketAddr,
    hub: Option<Child>,
}

impl Stage {
    /// An empty folder, as that of a new user.
    pub(crate) fn empty() -> Self {
        let programs = tempfile::tempdir().unwrap();
        let cargo = programs.path().join("cargo");
        fs::write(&cargo, CARGO).unwrap();
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
        // A command whose request is refused has failed.
        fs::write(programs.path().join(".curlrc"), "fail-with-body\nsilent\nshow-error\n").unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self { folder, programs, ingress: free_port(), admin: free_port(), hub: None }
    }

    /// A hub that runs, with events of each kind, and `weir` among the programs.
    pub(crate) fn with_hub() -> Self {
        let mut stage = Self::empty();
        symlink(WEIR, stage.programs.path().join("weir")).unwrap();
        let sink = start_sink();
        let config = stage.at_own_ports(&CONFIG.replace("SINK", &sink.port().to_string()));
        stage.write("weir.toml", &config);
        for source in ["github", "stripe"] {
            let secret = stage.weir(&["secret", "generate", source]);
            stage.write(&format!("secrets/{source}"), &secret);
        }
        let copied = ["github-chat.wasm", "github-chat.toml"];
        fs::create_dir(stage.path("plugins")).unwrap();
        for name in copied {
            fs::copy(root().join("plugins").join(name), stage.path("plugins").join(name)).unwrap();
        }
        let mut serve = stage.command(Path::new(WEIR));
        let log = fs::File::create(stage.path("hub.log")).unwrap();
        serve.arg("serve").stdout(Stdio::null()).stderr(log);
        stage.hub = Some(serve.spawn().unwrap());
        stage.until("the hub to be ready", || {
            let answer = get(stage.admin, "GET", "/health", "");
            (answer.status == 200 && answer.body.contains("github-chat")).then_some(())
        });
        stage.play();
        stage
    }

    /// Sends an event that is delivered, one that becomes a dead letter, one that is unrouted, and
    /// a request whose signature is wrong.
    fn play(&self) {
        self.weir(&["send", "github", "push"]);
        self.weir(&["send", "github", "ping"]);
        self.weir(&["send", "stripe", "payment_intent.succeeded"]);
        let wrong = ["send", "github", "push", "--secret", "another secret than the source's"];
        let refused = self.command(Path::new(WEIR)).args(wrong).output().unwrap();
        assert!(!refused.status.success());
        self.until("a dead letter", || self.first("dead-letters list --json", "id"));
        let nightly =
            ["--source", "github", "--until", "1h", "--rate", "50/s", "--request", "nightly"];
        self.weir(&[&["replay", "--dead-letters"][..], &nightly].concat());
        self.until("a delivered event", || self.first("events --status processed --json", "id"));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A configuration that listens at this stage's ports instead of the usual ones.
    pub(crate) fn at_own_ports(&self, config: &str) -> String {
        let (ingress, admin) = (self.ingress, self.admin);
        format!("{config}\n[server]\nlisten = \"{ingress}\"\n[admin]\nlisten = \"{admin}\"\n")
    }

    /// A text with this stage's ports instead of the usual ones, and with its ids instead of
    /// placeholders.
    pub(crate) fn fill_in(&self, text: &str) -> String {
        let text = text.replace("127.0.0.1:8080", &self.ingress.to_string());
        let mut text = text.replace("127.0.0.1:8081", &self.admin.to_string());
        if self.hub.is_some() {
            for (placeholder, command, field) in [
                ("DEAD_LETTER_ID", "dead-letters list --json", "id"),
                ("QUARANTINE_ID", "quarantine list --json", "id"),
                ("UNROUTED_ID", "events --status unrouted --json", "id"),
                ("EVENT_ID", "events --status processed --json", "id"),
            ] {
                if text.contains(placeholder) {
                    let id = self.first(command, field).unwrap_or_else(|| panic!("{command}"));
                    text = text.replace(placeholder, &id);
                }
            }
        }
        text
    }

    /// A field of the first line that a command prints.
    fn first(&self, command: &str, field: &str) -> Option<String> {
        let args: Vec<&str> = command.split(' ').collect();
        let said = self.weir(&args);
        let value: Value = serde_json::from_str(said.lines().next()?).ok()?;
        value[field].as_str().map(str::to_owned)
    }

    /// Runs a command that must succeed; what it printed.
    fn weir(&self, args: &[&str]) -> String {
        let out = self.command(Path::new(WEIR)).args(args).output().unwrap();
        let error = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "weir {args:?}: {error}\n{}", self.log());
        String::from_utf8(out.stdout).unwrap().trim_end().to_owned()
    }

    /// A program in this folder.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .env("PATH", format!("{}:{path}", self.programs.path().display()))
            .env("CURL_HOME", self.programs.path())
            .env("WEIR", WEIR)
            .env_remove("WEIR_ADMIN_TOKEN")
            .env_remove("RUST_LOG");
        command
    }

    /// The log of the hub.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("hub.log")).unwrap_or_default()
    }

    /// The token that writes need.
    pub(crate) fn token(&self) -> String {
        fs::read_to_string(self.path("data/admin-token")).unwrap().trim().to_owned()
    }

    fn until<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(found) = ask() {
                return found;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("waited too long for {what}:\n{}", self.log());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(hub) = &mut self.hub {
            hub.kill().ok();
            hub.wait().ok();
        }
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// An answer to a plain request.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Asks over a connection of its own; status 0 if nothing answers.
pub(crate) fn get(address: SocketAddr, method: &str, path: &str, head: &str) -> Answer {
    let ask = || {
        let mut connection = TcpStream::connect(address)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        write!(
            connection,
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{head}\
             content-length: 0\r\n\r\n"
        )?;
        let mut text = Vec::new();
        connection.read_to_end(&mut text)?;
        std::io::Result::Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let text = ask().unwrap_or_default();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Answer { status, body: body.to_owned() }
}

/// An endpoint that answers 200, and 422 below `/refuses`.
fn start_sink() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(|| answer(connection));
        }
    });
    address
}

fn answer(mut connection: TcpStream) -> Option<()> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = connection.read(&mut buffer).ok().filter(|read| *read > 0)?;
        text.extend_from_slice(&buffer[..read]);
        let Some(end) = text.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&text[..end]).to_lowercase();
        let length = head.split("content-length:").nth(1)?.lines().next()?.trim();
        let length: usize = length.parse().ok()?;
        if text.len() < end + 4 + length {
            continue;
        }
        let status = if head.starts_with("post /refuses") { "422 Wrong" } else { "200 OK" };
        let close = "content-length: 0\r\nconnection: close\r\n\r\n";
        return write!(connection, "HTTP/1.1 {status}\r\n{close}").ok();
    }
}
