//! A hub in a child process for tests: [`TestHub`] prepares its folder and settings, [`RunningHub`]
//! controls the process, sends it requests and reads its API, metrics and log.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use sha2::Sha256;
use tempfile::TempDir;

use crate::guests::committed;
use crate::launch::Launch;
pub use crate::launch::weir;
use crate::sink::Sink;
use crate::wait::until;

/// The secret of the source `github`.
pub const SECRET: &str = "a secret that only GitHub and we know";

/// A hub before its start: its files and settings.
pub struct TestHub {
    pub folder: TempDir,
    config: String,
    launch: Launch,
}

impl Default for TestHub {
    fn default() -> Self {
        Self::new()
    }
}

impl TestHub {
    /// A hub without sources, handlers and destinations, on free ports.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("plugins")).unwrap();
        let config = r#"
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[log]
format = "json"
[plugins]
settle = "20ms"
rescan = "200ms"
grace = "200ms"
"#;
        Self { folder, config: config.into(), launch: Launch::default() }
    }

    /// Uses this folder instead of a new one.
    pub fn in_folder(self, folder: TempDir) -> Self {
        Self { folder, ..self }
    }

    /// Uses a fixed port for webhooks. Returns its address too.
    pub fn at_a_known_port(mut self) -> (Self, SocketAddr) {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        self.config = self.config.replacen("127.0.0.1:0", &address.to_string(), 1);
        (self, address)
    }

    /// Appends to the configuration.
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// Replaces the first occurrence of a text in the configuration.
    pub fn replace(mut self, said: &str, instead: &str) -> Self {
        self.config = self.config.replacen(said, instead, 1);
        self
    }

    /// Sets an environment variable of the process.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.launch.env.push((name.into(), value.into()));
        self
    }

    /// Starts the hub through another program, which gets the hub's command line and executes it.
    pub fn under(mut self, program: &[&str]) -> Self {
        self.launch.under = program.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Adds `--dev`.
    pub fn development(mut self) -> Self {
        self.launch.development = true;
        self
    }

    /// Adds `--paused` to the first start.
    pub fn paused(mut self) -> Self {
        self.launch.paused = true;
        self
    }

    /// Writes a private file into the hub's folder.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        self
    }

    /// Adds a source with its own secret.
    pub fn source(self, name: &str, provider: &str, secret: &str) -> Self {
        self.file(&format!("{name}.secret"), secret).config(&format!(
            "[sources.{name}]\nprovider = \"{provider}\"\nsecrets = [{{ file = \"{name}.secret\" }}]"
        ))
    }

    /// Adds the source `github`.
    pub fn github(self) -> Self {
        self.source("github", "github", SECRET)
    }

    /// Adds a committed test handler under this name.
    pub fn handler(self, name: &str, module: &str) -> Self {
        self.module(name, &committed(module))
    }

    /// Adds a handler from a file.
    pub fn module(self, name: &str, module: &Path) -> Self {
        std::fs::copy(module, self.plugin_path(name)).unwrap();
        self
    }

    /// Writes the sidecar of a handler.
    pub fn sidecar(self, name: &str, toml: &str) -> Self {
        std::fs::write(self.plugin_path(name).with_extension("toml"), toml).unwrap();
        self
    }

    /// Adds a webhook destination that leads to a sink.
    pub fn destination(self, name: &str, sink: &Sink, more: &str) -> Self {
        self.config(&format!(
            "[destinations.{name}]\nkind = \"webhook\"\nurl = \"{}\"\nallow = [\"@private\"]\n{more}",
            sink.url()
        ))
    }

    fn plugin_path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("plugins/{name}.wasm"))
    }

    /// Starts the hub and waits until it is ready.
    pub async fn start(self) -> RunningHub {
        std::fs::write(self.folder.path().join("weir.toml"), &self.config).unwrap();
        RunningHub::start(self.folder, self.launch).await
    }

    /// Writes the configuration for a test that starts the process itself. Returns the folder, and
    /// the variables of the process.
    pub fn written(self) -> (TempDir, Vec<(String, String)>) {
        std::fs::write(self.folder.path().join("weir.toml"), &self.config).unwrap();
        (self.folder, self.launch.env)
    }

    /// Starts a hub that must refuse its configuration. Returns its exit code and its error.
    pub fn refused(self) -> (i32, String) {
        let file = self.folder.path().join("weir.toml");
        std::fs::write(&file, &self.config).unwrap();
        let out = weir().arg("serve").arg("--config").arg(file).output().unwrap();
        (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&out.stderr).into_owned())
    }
}

/// The lines that the process has logged.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Adds the lines of a stream, until it ends.
    pub fn follow(&self, from: impl std::io::Read + Send + 'static) {
        let lines = self.0.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
    }

    /// The lines that contain all of these parts.
    pub fn having(&self, parts: &[&str]) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|l| parts.iter().all(|p| l.contains(p))).cloned().collect()
    }

    /// All lines.
    pub fn all(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

/// A running hub. Dropping it kills the process.
pub struct RunningHub {
    pub folder: TempDir,
    pub log: Log,
    pub ingress: SocketAddr,
    pub admin: SocketAddr,
    process: Child,
    launch: Launch,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl RunningHub {
    async fn start(folder: TempDir, mut launch: Launch) -> Self {
        let mut process = launch
            .command()
            .arg("serve")
            .arg("--config")
            .arg(folder.path().join("weir.toml"))
            .args(launch.development.then_some("--dev"))
            .args(std::mem::take(&mut launch.paused).then_some("--paused"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::default();
        log.follow(process.stderr.take().unwrap());
        let ready = until("the hub to be ready", async || {
            log.having(&["\"message\":\"ready\""]).pop().ok_or_else(|| log.all())
        })
        .await;
        let ready: Value = serde_json::from_str(&ready).unwrap();
        let address = |key: &str| ready[key].as_str().unwrap().parse().unwrap();
        let (ingress, admin) = (address("ingress"), address("admin"));
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { folder, log, ingress, admin, process, launch, client }
    }

    /// Kills the process and starts it again on the same folder.
    pub async fn kill_and_restart(mut self) -> Self {
        self.kill();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        let launch = self.launch.clone();
        drop(self);
        Self::start(folder, launch).await
    }

    /// Stops the hub and starts it again on the same folder.
    pub async fn stop_and_restart(self) -> Self {
        self.stop_and_restart_after(|| {}).await
    }

    /// Stops the hub, runs `meanwhile`, and starts it again on the same folder.
    pub async fn stop_and_restart_after(mut self, meanwhile: impl FnOnce()) -> Self {
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        let launch = self.launch.clone();
        assert_eq!(self.stop().await, 0);
        meanwhile();
        Self::start(folder, launch).await
    }

    /// Kills the process with SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Stops the hub with SIGTERM. Returns its exit code.
    pub async fn stop(mut self) -> i32 {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.until_stopped().await
    }

    /// Stops the hub and returns its folder.
    pub async fn keep_folder(mut self) -> TempDir {
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        assert_eq!(self.stop().await, 0);
        folder
    }

    /// Waits until the process has ended. Returns its exit code.
    pub async fn until_stopped(&mut self) -> i32 {
        let process = &mut self.process;
        until("the hub to stop", async || {
            process.try_wait().unwrap().ok_or_else(|| "still running".into())
        })
        .await
        .code()
        .unwrap_or(-1)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Replaces a file in its folder in one step, as an editor does.
    pub fn write(&self, name: &str, content: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let beside = path.with_extension("new");
        std::fs::write(&beside, content).unwrap();
        std::fs::rename(beside, path).unwrap();
    }

    /// The text of its `weir.toml`.
    pub fn configured(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("weir.toml")).unwrap()
    }

    /// The lines of `/metrics` that contain all of these parts.
    pub async fn metric_lines(&self, parts: &[&str]) -> Vec<String> {
        let uri = format!("http://{}/metrics", self.admin);
        let (_, page) = self.send(Request::builder().uri(uri).body(Full::default()).unwrap()).await;
        let page = String::from_utf8(page.into()).unwrap();
        let lines = page.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
        lines.map(str::to_owned).collect()
    }

    /// The stored alerts of a type about a subject.
    pub async fn alerts(&self, kind: &str, subject: &str) -> Vec<Value> {
        let page = self.api(&format!("/api/v1/events?source=weir&type={kind}")).await;
        let mut found = Vec::new();
        for event in page["items"].as_array().unwrap() {
            let id = event["id"].as_str().unwrap();
            let alert = self.api(&format!("/api/v1/events/{id}/body")).await;
            if alert["subject"] == subject {
                found.push(alert);
            }
        }
        found
    }

    /// Waits until an alert of a type about a subject is stored. Returns it.
    pub async fn until_alert(&self, kind: &str, subject: &str) -> Value {
        until(&format!("an alert {kind} about {subject}"), async || {
            self.alerts(kind, subject).await.pop().ok_or_else(|| self.log.all())
        })
        .await
    }

    /// Puts a handler into the plugins folder: writes a temporary file, then renames it.
    pub fn put_handler(&self, name: &str, module: impl AsRef<Path>) {
        let plugins = self.folder.path().join("plugins");
        let partial = plugins.join(format!("{name}.wasm.tmp"));
        std::fs::copy(module, &partial).unwrap();
        std::fs::rename(partial, plugins.join(format!("{name}.wasm"))).unwrap();
    }

    /// Sends a request. Returns the status and the body.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> (StatusCode, Bytes) {
        let response = self.exchange(request).await;
        (response.status(), response.into_body())
    }

    /// Sends a request. Returns the whole response.
    pub async fn exchange(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        self.exchanging(request).await
    }

    /// Sends a request. None if the hub ended before it answered.
    pub async fn try_exchange(&self, request: Request<Full<Bytes>>) -> Option<Response<Bytes>> {
        let (head, body) = self.client.request(request).await.ok()?.into_parts();
        Some(Response::from_parts(head, body.collect().await.ok()?.to_bytes()))
    }

    /// Like [`Self::exchange`], but the future does not borrow the hub, so a task can own it.
    pub fn exchanging(
        &self,
        request: Request<Full<Bytes>>,
    ) -> impl Future<Output = Response<Bytes>> + Send + use<> {
        let client = self.client.clone();
        async move {
            let (head, body) = client.request(request).await.unwrap().into_parts();
            Response::from_parts(head, body.collect().await.unwrap().to_bytes())
        }
    }

    /// Posts to a source with these headers.
    pub async fn post(&self, source: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}/webhook/{source}", self.ingress));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::copy_from_slice(body));
        let (status, body) = self.send(request.body(body).unwrap()).await;
        Answer { status, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
    }

    /// Posts a signed GitHub event to the source `github`.
    pub async fn push(&self, kind: &str, delivery: &str, body: &[u8]) -> Answer {
        let (status, body) = self.send(self.push_request(kind, delivery, body)).await;
        Answer { status, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
    }

    /// A signed request with a GitHub event for the source `github`.
    pub fn push_request(&self, kind: &str, delivery: &str, body: &[u8]) -> Request<Full<Bytes>> {
        Request::post(format!("http://{}/webhook/github", self.ingress))
            .header("content-type", "application/json")
            .header("x-github-event", kind)
            .header("x-github-delivery", delivery)
            .header("x-hub-signature-256", github_signature(body))
            .body(Full::new(Bytes::copy_from_slice(body)))
            .unwrap()
    }

    /// The token that the hub made at its first start, if it did. The data folder may be a mount
    /// that only the process sees.
    pub fn token(&self) -> Option<String> {
        let file = self.folder.path().join("data/admin-token");
        let seen = format!("/proc/{}/root{}", self.pid(), file.display());
        let token = std::fs::read_to_string(file).or_else(|_| std::fs::read_to_string(seen));
        token.ok().map(|token| token.trim().to_owned())
    }

    /// A request to the admin API for what is at a path, with the token of the hub.
    pub fn read_request(&self, path: &str) -> Request<Full<Bytes>> {
        let mut request = Request::builder().uri(format!("http://{}{path}", self.admin));
        if let Some(token) = self.token() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.body(Full::default()).unwrap()
    }

    /// Gets a document from the admin API.
    pub async fn api(&self, path: &str) -> Value {
        let (status, body) = self.send(self.read_request(path)).await;
        assert!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    /// The sum of a metric over its labels.
    pub async fn metric(&self, name: &str) -> f64 {
        self.series(name).await.iter().sum()
    }

    /// The values of a metric, one for each set of labels.
    pub async fn series(&self, name: &str) -> Vec<f64> {
        let lines = self.metric_lines(&[name]).await;
        let of_metric = |line: &&String| line.split(['{', ' ']).next() == Some(name);
        let values = lines.iter().filter(of_metric).filter_map(|line| line.rsplit(' ').next());
        values.map(|value| value.parse::<f64>().unwrap()).collect()
    }

    /// Runs a CLI command against this hub.
    pub fn cli(&self, args: &[&str]) -> std::process::Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must succeed. Returns its output.
    pub fn cli_ok(&self, args: &[&str]) -> String {
        let out = self.cli(args);
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{args:?}: {error}");
        String::from_utf8(out.stdout).unwrap()
    }

    /// Runs a command that must fail. Returns its exit code and its error.
    pub fn cli_err(&self, args: &[&str]) -> (i32, String) {
        let out = self.cli(args);
        assert!(!out.status.success(), "{args:?}");
        (out.status.code().unwrap_or(-1), String::from_utf8(out.stderr).unwrap())
    }

    /// A CLI command for this hub, not started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = weir();
        command
            .args(args)
            .env("WEIR_ADMIN_URL", format!("http://{}", self.admin))
            .current_dir(self.folder.path());
        command
    }

    /// An event with its deliveries and attempts.
    pub async fn event(&self, id: &str) -> Value {
        self.api(&format!("/api/v1/events/{id}")).await["event"].take()
    }

    /// Waits until an event has this status. Returns the event.
    pub async fn until_status(&self, event: &str, status: &str) -> Value {
        until(&format!("{event} to be {status}"), async || {
            let found = self.event(event).await;
            if found["status"] == status { Ok(found) } else { Err(found.to_string()) }
        })
        .await
    }

    /// Waits until a handler's status is as wanted. Returns the status.
    pub async fn until_handler(&self, name: &str, ready: impl Fn(&Value) -> bool) -> Value {
        until(&format!("handler {name}"), async || {
            let handlers = self.api("/api/v1/handlers").await;
            let all = handlers["items"].as_array().unwrap();
            match all.iter().find(|h| h["name"] == name) {
                Some(handler) if ready(handler) => Ok(handler.clone()),
                _ => Err(format!("{handlers}\n{}", self.log.all())),
            }
        })
        .await
    }

    /// Waits until a handler is ready.
    pub async fn until_ready(&self, name: &str) -> Value {
        self.until_handler(name, |h| h["state"] == "ready").await
    }
}

impl Drop for RunningHub {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        if std::thread::panicking() {
            eprintln!("--- log of the hub\n{}", self.log.all());
        }
    }
}

/// The answer of a source.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Answer {
    /// The id of the accepted event.
    pub fn accepted(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.body["status"], "accepted", "{self:?}");
        self.body["event_id"].as_str().unwrap().to_owned()
    }

    /// The status and stable code of a refusal.
    pub fn refused(&self) -> (u16, String) {
        (self.status.as_u16(), self.body["code"].as_str().unwrap_or("no code").to_owned())
    }
}

/// An HMAC in hex, computed here and not by the hub's code.
pub fn hmac_hex(secret: &[u8], message: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(message);
    hex::encode(mac.finalize().into_bytes())
}

/// GitHub's signature of a body.
pub fn github_signature(body: &[u8]) -> String {
    format!("sha256={}", hmac_hex(SECRET.as_bytes(), body))
}
