//! The servers as child processes, and the resources that they use.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::generator::SECRET;

/// CPU time and bytes written.
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) written: u64,
}

impl Usage {
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self { cpu: self.cpu - before.cpu, written: self.written - before.written }
    }
}

pub(crate) struct Server {
    process: Child,
    admin: Option<SocketAddr>,
    _folder: TempDir,
}

impl Server {
    pub(crate) fn floor() -> Self {
        let folder = folder();
        let process = Command::new(std::env::current_exe().unwrap())
            .env("LOAD_FLOOR_IN", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { process, admin: None, _folder: folder }
    }

    pub(crate) fn hub(handler: &Path) -> Self {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("plugins")).unwrap();
        std::fs::copy(handler, path("plugins/measured.wasm")).unwrap();
        std::fs::write(path("secret"), SECRET).unwrap();
        let config = "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\nopen_reads = true\n\
                      [log]\nformat = \"json\"\n[sources.github]\nprovider = \"github\"\n\
                      secrets = [{ file = \"secret\" }]\n";
        std::fs::write(path("weir.toml"), config).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["serve", "--config"])
            .arg(path("weir.toml"))
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, admin: None, _folder: folder }
    }

    /// Waits until it serves. Returns its address.
    pub(crate) fn ready(&mut self) -> SocketAddr {
        if let Some(out) = self.process.stdout.take() {
            let mut line = String::new();
            BufReader::new(out).read_line(&mut line).unwrap();
            return line.trim().parse().unwrap();
        }
        let mut log = BufReader::new(self.process.stderr.take().unwrap());
        let (mut line, mut all) = (String::new(), String::new());
        loop {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the hub did not start:\n{all}");
            all.push_str(&line);
            if line.contains("\"message\":\"ready\"") {
                break;
            }
        }
        // Further output is read and dropped, so that it never blocks.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = |key: &str| ready[key].as_str().unwrap().parse().unwrap();
        self.admin = Some(address("admin"));
        self.until("/api/v1/handlers", |handlers| handlers.contains("\"ready\""));
        address("ingress")
    }

    /// Waits until every delivery is settled. Returns the time.
    pub(crate) fn settled(&self) -> Duration {
        let started = Instant::now();
        if self.admin.is_some() {
            self.until("/metrics", |metrics| {
                let stored = sum(metrics, "weir_events_stored_total");
                stored == sum(metrics, "weir_attempts_total")
            });
        }
        started.elapsed()
    }

    fn until(&self, path: &str, reached: impl Fn(&str) -> bool) {
        let started = Instant::now();
        loop {
            let page = self.get(path);
            if reached(&page) {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "no such state:\n{page}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn get(&self, path: &str) -> String {
        let admin = self.admin.unwrap();
        let mut stream = TcpStream::connect(admin).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Resources used so far, from /proc.
    pub(crate) fn usage(&self) -> Usage {
        let pid = self.process.id();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
        // utime and stime, in hundredths of a second.
        let ticks: u64 = fields[11..13].iter().map(|f| f.parse::<u64>().unwrap()).sum();
        let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
        let written = io.lines().find_map(|l| l.strip_prefix("write_bytes: ")).unwrap();
        Usage { cpu: Duration::from_millis(ticks * 10), written: written.parse().unwrap() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// A folder on the disk of the build: a temporary folder may be in memory, where a sync costs
/// nothing.
fn folder() -> TempDir {
    let here = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tempfile::tempdir_in(here).unwrap()
}

/// The sum of a metric over its labels.
fn sum(metrics: &str, name: &str) -> f64 {
    let lines = metrics.lines().filter(|l| l.starts_with(name));
    lines.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
