//! A hub in a process of its own, in a folder of its own.

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

/// The secret of every source that `github` makes.
pub const SECRET: &str = "a secret that only GitHub and we know";

/// What to start.
pub struct TestHub {
    pub folder: TempDir,
    config: String,
    launch: Launch,
}

impl TestHub {
    /// Nothing but the listeners.
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

    /// Takes webhooks at a port that is known before it starts; gives its address too.
    pub fn at_a_known_port(mut self) -> (Self, SocketAddr) {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        self.config = self.config.replacen("127.0.0.1:0", &address.to_string(), 1);
        (self, address)
    }

    /// Adds to the configuration.
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// Says something of the configuration in another way.
    pub fn replace(mut self, said: &str, instead: &str) -> Self {
        self.config = self.config.replacen(said, instead, 1);
        self
    }

    /// A variable of the process's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.launch.env.push((name.into(), value.into()));
        self
    }

    /// Starts it by another program, which is given the hub's own command line and becomes the hub.
    pub fn under(mut self, program: &[&str]) -> Self {
        self.launch.under = program.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// In development mode.
    pub fn development(mut self) -> Self {
        self.launch.development = true;
        self
    }

    /// Writes a file into the hub's folder.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        self
    }

    /// A source with a secret of its own.
    pub fn source(self, name: &str, provider: &str, secret: &str) -> Self {
        self.file(&format!("{name}.secret"), secret).config(&format!(
            "[sources.{name}]\nprovider = \"{provider}\"\nsecrets = [{{ file = \"{name}.secret\" }}]"
        ))
    }

    /// The source `github`.
    pub fn github(self) -> Self {
        self.source("github", "github", SECRET)
    }

    /// A handler from the committed test handlers, under a name of its own.
    pub fn handler(self, name: &str, module: &str) -> Self {
        self.module(name, &committed(module))
    }

    /// A handler from a file.
    pub fn module(self, name: &str, module: &Path) -> Self {
        std::fs::copy(module, self.plugin_path(name)).unwrap();
        self
    }

    /// What is granted, configured and limited for a handler.
    pub fn sidecar(self, name: &str, toml: &str) -> Self {
        std::fs::write(self.plugin_path(name).with_extension("toml"), toml).unwrap();
        self
    }

    /// A destination that leads to a sink.
    pub fn destination(self, name: &str, sink: &Sink, more: &str) -> Self {
        self.config(&format!(
            "[destinations.{name}]\nkind = \"webhook\"\nurl = \"{}\"\nallow = [\"@private\"]\n{more}",
            sink.url()
        ))
    }

    fn plugin_path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("plugins/{name}.wasm"))
    }

    /// Runs it and waits until it says that it is ready.
    pub async fn start(self) -> RunningHub {
        std::fs::write(self.folder.path().join("weir.toml"), &self.config).unwrap();
        RunningHub::start(self.folder, self.launch).await
    }

    /// Runs it, expecting that it refuses: its exit code and what it said.
    pub fn refused(self) -> (i32, String) {
        let file = self.folder.path().join("weir.toml");
        std::fs::write(&file, &self.config).unwrap();
        let out = weir().arg("serve").arg("--config").arg(file).output().unwrap();
        (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&out.stderr).into_owned())
    }
}

/// What the process has logged so far.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn follow(&self, from: impl std::io::Read + Send + 'static) {
        let lines = self.0.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
    }

    /// The lines that contain all of these.
    pub fn having(&self, parts: &[&str]) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|l| parts.iter().all(|p| l.contains(p))).cloned().collect()
    }

    /// Everything.
    pub fn all(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

/// A hub that runs.
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
    async fn start(folder: TempDir, launch: Launch) -> Self {
        let mut process = launch
            .command()
            .arg("serve")
            .arg("--config")
            .arg(folder.path().join("weir.toml"))
            .args(launch.development.then_some("--dev"))
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

    /// Kills it as a power cut would, and starts it again on the same folder.
    pub async fn kill_and_restart(mut self) -> Self {
        self.kill();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        let launch = self.launch.clone();
        drop(self);
        Self::start(folder, launch).await
    }

    /// Asks it to stop, and starts it again on the same folder.
    pub async fn stop_and_restart(self) -> Self {
        self.stop_and_restart_after(|| {}).await
    }

    /// The same, with something done while it is off.
    pub async fn stop_and_restart_after(mut self, meanwhile: impl FnOnce()) -> Self {
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        let launch = self.launch.clone();
        assert_eq!(self.stop().await, 0);
        meanwhile();
        Self::start(folder, launch).await
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Asks it to stop as a service manager would; its exit code.
    pub async fn stop(mut self) -> i32 {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.until_stopped().await
    }

    /// Asks it to stop, and keeps its folder.
    pub async fn keep_folder(mut self) -> TempDir {
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        assert_eq!(self.stop().await, 0);
        folder
    }

    /// Waits until it has ended; its exit code.
    pub async fn until_stopped(&mut self) -> i32 {
        let process = &mut self.process;
        until("the hub to stop", async || {
            process.try_wait().unwrap().ok_or_else(|| "still running".into())
        })
        .await
        .code()
        .unwrap_or(-1)
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Puts a file into its folder, as an editor does.
    pub fn write(&self, name: &str, content: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let beside = path.with_extension("new");
        std::fs::write(&beside, content).unwrap();
        std::fs::rename(beside, path).unwrap();
    }

    /// Its configuration as the file has it.
    pub fn configured(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("weir.toml")).unwrap()
    }

    /// The lines of `/metrics` that hold all of these.
    pub async fn metric_lines(&self, parts: &[&str]) -> Vec<String> {
        let uri = format!("http://{}/metrics", self.admin);
        let (_, page) = self.send(Request::builder().uri(uri).body(Full::default()).unwrap()).await;
        let page = String::from_utf8(page.into()).unwrap();
        let lines = page.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
        lines.map(str::to_owned).collect()
    }

    /// The alerts of a type about a subject that the hub has stored.
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

    /// Waits until an alert of a type about a subject is stored; it then.
    pub async fn until_alert(&self, kind: &str, subject: &str) -> Value {
        until(&format!("an alert {kind} about {subject}"), async || {
            self.alerts(kind, subject).await.pop().ok_or_else(|| self.log.all())
        })
        .await
    }

    /// Puts a handler into the watched folder, as a person would who copies a file and then renames it.
    pub fn put_handler(&self, name: &str, module: impl AsRef<Path>) {
        let plugins = self.folder.path().join("plugins");
        let partial = plugins.join(format!("{name}.wasm.tmp"));
        std::fs::copy(module, &partial).unwrap();
        std::fs::rename(partial, plugins.join(format!("{name}.wasm"))).unwrap();
    }

    /// Sends a request as it is.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> (StatusCode, Bytes) {
        let response = self.exchange(request).await;
        (response.status(), response.into_body())
    }

    /// Sends a request as it is; the answer with its headers.
    pub async fn exchange(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        self.exchanging(request).await
    }

    /// The same; none where the hub is gone before it has answered.
    pub async fn try_exchange(&self, request: Request<Full<Bytes>>) -> Option<Response<Bytes>> {
        let (head, body) = self.client.request(request).await.ok()?.into_parts();
        Some(Response::from_parts(head, body.collect().await.ok()?.to_bytes()))
    }

    /// The same, to be waited for elsewhere.
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

    /// A signed GitHub event for the source `github`.
    pub fn push_request(&self, kind: &str, delivery: &str, body: &[u8]) -> Request<Full<Bytes>> {
        Request::post(format!("http://{}/webhook/github", self.ingress))
            .header("content-type", "application/json")
            .header("x-github-event", kind)
            .header("x-github-delivery", delivery)
            .header("x-hub-signature-256", github_signature(body))
            .body(Full::new(Bytes::copy_from_slice(body)))
            .unwrap()
    }

    /// Asks the admin API.
    pub async fn api(&self, path: &str) -> Value {
        let request = Request::builder()
            .uri(format!("http://{}{path}", self.admin))
            .body(Full::default())
            .unwrap();
        let (status, body) = self.send(request).await;
        assert!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    /// The sum of a metric over its labels.
    pub async fn metric(&self, name: &str) -> f64 {
        self.series(name).await.iter().sum()
    }

    /// The values of a metric, one for each of its labels that has been met.
    pub async fn series(&self, name: &str) -> Vec<f64> {
        let lines = self.metric_lines(&[name]).await;
        let of_metric = |line: &&String| line.split(['{', ' ']).next() == Some(name);
        let values = lines.iter().filter(of_metric).filter_map(|line| line.rsplit(' ').next());
        values.map(|value| value.parse::<f64>().unwrap()).collect()
    }

    /// Runs a command of the CLI against this hub.
    pub fn cli(&self, args: &[&str]) -> std::process::Output {
        self.command(args).output().unwrap()
    }

    /// The same, to be run beside something else.
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

    /// Waits until an event has this status; the event then.
    pub async fn until_status(&self, event: &str, status: &str) -> Value {
        until(&format!("{event} to be {status}"), async || {
            let found = self.event(event).await;
            if found["status"] == status { Ok(found) } else { Err(found.to_string()) }
        })
        .await
    }

    /// Waits until a handler's version is in force; its status then.
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

    /// Waits until a handler serves.
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

/// What a source answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Answer {
    /// The id of the event that was accepted.
    pub fn accepted(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.body["status"], "accepted", "{self:?}");
        self.body["event_id"].as_str().unwrap().to_owned()
    }

    /// The stable code of a refusal.
    pub fn refused(&self) -> (u16, String) {
        (self.status.as_u16(), self.body["code"].as_str().unwrap_or("no code").to_owned())
    }
}

/// An HMAC, worked out here and not by the hub's own code.
pub fn hmac_hex(secret: &[u8], message: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(message);
    hex::encode(mac.finalize().into_bytes())
}

/// GitHub's signature of a body.
pub fn github_signature(body: &[u8]) -> String {
    format!("sha256={}", hmac_hex(SECRET.as_bytes(), body))
}
