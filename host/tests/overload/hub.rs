//! The hub as a process: started, and measured from outside.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::sender::SECRET;

/// The longest wait for a state.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(crate) struct HubProcess {
    pub(crate) ingress: SocketAddr,
    process: Child,
    log: Arc<Mutex<Vec<String>>>,
    _folder: TempDir,
}

impl HubProcess {
    /// Starts a hub with as many files as this machine allows.
    pub(crate) async fn start(config: &str) -> Self {
        Self::run(config, Command::new(env!("CARGO_BIN_EXE_weir"))).await
    }

    /// Starts a hub with at most `files` open files.
    pub(crate) async fn start_with_files(config: &str, files: u64) -> Self {
        let mut shell = Command::new("sh");
        let limited = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        shell.args(["-c", &limited, env!("CARGO_BIN_EXE_weir")]);
        Self::run(config, shell).await
    }

    async fn run(config: &str, mut command: Command) -> Self {
        // On the build's disk: a temporary folder may be in memory, where a sync costs nothing.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("plugins")).unwrap();
        let noop = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/noop.wasm");
        fs::copy(noop, path("plugins/noop.wasm")).unwrap();
        fs::write(path("secret"), SECRET).unwrap();
        let config = format!(
            "{config}[admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n\
             [sources.github]\nprovider = \"github\"\nsecrets = [{{ file = \"secret\" }}]\n"
        );
        fs::write(path("weir.toml"), config).unwrap();
        let mut process = command
            .args(["serve", "--config"])
            .arg(path("weir.toml"))
            .env_remove("WEIR_ADMIN_TOKEN")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let (lines, out) = (log.clone(), process.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let ingress = ([127, 0, 0, 1], 0).into();
        let mut hub = Self { ingress, process, log, _folder: folder };
        let ready: Value =
            serde_json::from_str(&hub.until_logged("\"message\":\"ready\"").await).unwrap();
        hub.ingress = ready["ingress"].as_str().unwrap().parse().unwrap();
        hub
    }

    async fn until_logged(&self, words: &str) -> String {
        let (mut look, started) =
            (tokio::time::interval(Duration::from_millis(20)), Instant::now());
        loop {
            look.tick().await;
            if let Some(line) = self.log_line(words) {
                return line;
            }
            assert!(started.elapsed() < WAIT_MAX, "{words} was never logged: {:?}", self.log);
        }
    }

    /// The first log line with these words.
    pub(crate) fn log_line(&self, words: &str) -> Option<String> {
        self.log.lock().unwrap().iter().find(|line| line.contains(words)).cloned()
    }

    /// The peak of its memory, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib * 1024
    }

    pub(crate) fn assert_alive(&mut self) {
        assert!(self.process.try_wait().unwrap().is_none(), "the hub has ended: {:?}", self.log);
    }
}

impl Drop for HubProcess {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
