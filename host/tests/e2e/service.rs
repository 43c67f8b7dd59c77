//! The hub under a service manager: readiness, reload, watchdog, and sockets that outlive the
//! process. The tests play systemd: they open the sockets and read what they are told.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tempfile::TempDir;
use weir_testing::hub::{Log, TestHub, github_signature, weir};
use weir_testing::wait::{until, until_true};

use crate::faults::Faults;

/// Passes its standard input and output to the hub as sockets 3 and 4, as systemd does.
const PASS_SOCKETS: &str =
    "exec 3<&0 4>&1 </dev/null >/dev/null; LISTEN_PID=$$ LISTEN_FDS=2 exec \"$@\"";

/// The side of systemd: the sockets of one service.
struct Manager {
    folder: TempDir,
    env: Vec<(String, String)>,
    names: &'static str,
    ingress: TcpListener,
    admin: TcpListener,
}

impl Manager {
    fn of(hub: TestHub) -> Self {
        let (folder, env) = hub.written();
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        Self { folder, env, names: "ingress:admin", ingress: bind(), admin: bind() }
    }

    fn at(&self) -> SocketAddr {
        self.ingress.local_addr().unwrap()
    }

    /// Starts a process of the service.
    fn start(&self) -> Service {
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let address = self.folder.path().join(format!("notify-{number}"));
        let told = Told::listen(&address);
        let pass = |socket: &TcpListener| Stdio::from(OwnedFd::from(socket.try_clone().unwrap()));
        let binary = weir();
        let mut process = Command::new("sh")
            .args(["-c", PASS_SOCKETS, "sh"])
            .arg(binary.get_program())
            .arg("serve")
            .arg("--config")
            .arg(self.folder.path().join("weir.toml"))
            .env_remove("WEIR_ADMIN_TOKEN")
            .env_remove("RUST_LOG")
            .env("LISTEN_FDNAMES", self.names)
            .env("NOTIFY_SOCKET", &address)
            .env("WATCHDOG_USEC", "1500000")
            .envs(self.env.iter().cloned())
            .stdin(pass(&self.ingress))
            .stdout(pass(&self.admin))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::default();
        log.follow(process.stderr.take().unwrap());
        Service { process, log, told }
    }

    /// Posts a push with a connection of its own. Returns the id of the accepted event.
    async fn push(&self, delivery: &str) -> String {
        accepted(self.at(), delivery).await.unwrap()
    }

    async fn has(&self, event: &str) -> bool {
        let uri = format!("http://{}/api/v1/events/{event}", self.admin.local_addr().unwrap());
        let token = std::fs::read_to_string(self.folder.path().join("data/admin-token")).unwrap();
        let request = Request::get(uri).header("authorization", format!("Bearer {}", token.trim()));
        let answer = exchange(request.body(Full::default()).unwrap()).await.unwrap();
        answer.0 == StatusCode::OK
    }
}

/// Sends a request with a connection of its own.
async fn exchange(request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String> {
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
    let answer = client.request(request).await.map_err(|error| format!("{error:?}"))?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(|error| format!("{error:?}"))?;
    Ok((head.status, body.to_bytes()))
}

/// Posts a push. Returns the id of the accepted event, or what happened instead.
async fn accepted(at: SocketAddr, delivery: &str) -> Result<String, String> {
    let body = format!("{{\"n\":\"{delivery}\"}}");
    let request = Request::post(format!("http://{at}/webhook/github"))
        .header("content-type", "application/json")
        .header("x-github-event", "push")
        .header("x-github-delivery", delivery)
        .header("x-hub-signature-256", github_signature(body.as_bytes()))
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let (status, body) = exchange(request).await?;
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    match answer["event_id"].as_str() {
        Some(id) if status == StatusCode::OK => Ok(id.to_owned()),
        _ => Err(format!("{status} {answer}")),
    }
}

/// The messages that one process sent to the service manager.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn listen(address: &Path) -> Self {
        let socket = UnixDatagram::bind(address).unwrap();
        let told = Self::default();
        let list = told.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                list.0.lock().unwrap().push(text);
            }
        });
        told
    }

    fn count(&self, line: &str) -> usize {
        let all = self.0.lock().unwrap();
        all.iter().filter(|text| text.lines().any(|found| found.starts_with(line))).count()
    }

    fn all(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }

    async fn until(&self, line: &str, times: usize, log: &Log) {
        until(&format!("{line} {times} times"), async || match self.count(line) {
            count if count >= times => Ok(()),
            _ => Err(format!("{}\n{}", self.all(), log.all())),
        })
        .await;
    }
}

/// A process of the service. Dropping it kills the process.
struct Service {
    process: Child,
    log: Log,
    told: Told,
}

impl Service {
    async fn until_told(&self, line: &str) {
        self.told.until(line, 1, &self.log).await;
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    async fn ended(&mut self) -> Option<i32> {
        let process = &mut self.process;
        let status = until("the process to end", async || {
            process.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
        })
        .await;
        status.code()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        if std::thread::panicking() {
            eprintln!("--- log of the service\n{}\n--- told\n{}", self.log.all(), self.told.all());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_only_when_webhooks_are_answered() {
    let manager = Manager::of(TestHub::new().github());
    std::fs::create_dir(manager.folder.path().join("data")).unwrap();
    // A process before this one that has not closed the store yet.
    let before = File::create(manager.folder.path().join("data/weir.db.lock")).unwrap();
    before.lock().unwrap();

    let service = manager.start();
    service.until_told("STATUS=waits until the process before has stopped").await;
    assert_eq!(service.told.count("READY=1"), 0, "{}", service.told.all());
    // Its connection is not refused: it waits in the queue of the socket.
    let early = tokio::spawn(accepted(manager.at(), "early"));
    before.unlock().unwrap();
    service.until_told("READY=1").await;
    let event = early.await.unwrap().unwrap();
    assert!(manager.has(&event).await);
    let status = format!("STATUS=accepts webhooks on {}", manager.at());
    service.until_told(&status).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_and_a_stop_are_told() {
    let manager = Manager::of(TestHub::new().github());
    let mut service = manager.start();
    service.until_told("READY=1").await;
    service.signal("-HUP");
    service.told.until("READY=1", 2, &service.log).await;
    assert_eq!(service.told.count("RELOADING=1"), 1);
    assert_eq!(service.told.count("MONOTONIC_USEC="), 1, "systemd wants the time with it");
    service.signal("-TERM");
    assert_eq!(service.ended().await, Some(0));
    service.until_told("STOPPING=1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_works_is_told_to_be_alive() {
    let manager = Manager::of(TestHub::new().github());
    let service = manager.start();
    service.told.until("WATCHDOG=1", 4, &service.log).await;
    service.until_told("STATUS=accepts webhooks; 0 deliveries wait").await;
}

/// Log line of the watchdog about a part that does not answer.
const NO_ANSWER: &str = "no answer: the service manager restarts the hub";

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_hears_nothing_while_the_store_hangs() {
    let (hub, disk) = Faults::of(TestHub::new().github());
    let manager = Manager::of(hub);
    let mut service = manager.start();
    service.until_told("READY=1").await;
    let before = manager.push("before").await;
    service.until_told("WATCHDOG=1").await;

    disk.does("slow 3600000");
    let hanging = tokio::spawn(accepted(manager.at(), "hanging"));
    let unanswered = |times: usize| {
        let log = service.log.clone();
        async move {
            let lines = || log.having(&[NO_ANSWER, "the writer of the store"]).len();
            until_true("the watchdog to get no answer", || lines() >= times).await;
        }
    };
    unanswered(1).await;
    let alive = service.told.count("WATCHDOG=1");
    // Three questions fill the time that systemd waits.
    unanswered(4).await;
    assert_eq!(service.told.count("WATCHDOG=1"), alive, "{}", service.told.all());

    // systemd kills it then, and starts it again on the same sockets.
    service.signal("-KILL");
    assert_eq!(service.ended().await, None);
    assert!(hanging.await.unwrap().is_err(), "it was not answered");
    disk.is_well();
    let again = manager.start();
    again.until_told("READY=1").await;
    assert!(manager.has(&before).await);
    manager.push("after").await;
}

/// Senders that post over new connections until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<Vec<String>>>,
    senders: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    const SENDERS: usize = 8;

    fn start(at: SocketAddr) -> Self {
        let (stop, accepted) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<_>>>::default());
        let sender = |number: usize| {
            let (stop, accepted) = (stop.clone(), accepted.clone());
            tokio::spawn(async move {
                let mut failed = Vec::new();
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) || failed.len() > 10 {
                        break;
                    }
                    match super::service::accepted(at, &format!("{number}-{n}")).await {
                        Ok(id) => accepted.lock().unwrap().push(id),
                        Err(error) => failed.push(error),
                    }
                }
                failed
            })
        };
        let senders = (0..Self::SENDERS).map(sender).collect();
        Self { stop, accepted, senders }
    }

    async fn until_accepted(&self, more: usize) {
        let before = self.accepted.lock().unwrap().len();
        let accepted = || self.accepted.lock().unwrap().len();
        until_true("more events to be accepted", || accepted() >= before + more).await;
    }

    /// The accepted events and what failed.
    async fn end(self) -> (Vec<String>, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        for sender in self.senders {
            failed.extend(sender.await.unwrap());
        }
        let accepted = std::mem::take(&mut *self.accepted.lock().unwrap());
        (accepted, failed)
    }
}

async fn assert_all_stored(manager: &Manager, events: &[String]) {
    let mut lost = Vec::new();
    for event in events {
        if !manager.has(event).await {
            lost.push(event);
        }
    }
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), events.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_under_load_refuses_no_connection() {
    let manager = Manager::of(TestHub::new().github());
    let mut old = manager.start();
    old.until_told("READY=1").await;
    let load = Load::start(manager.at());
    load.until_accepted(100).await;

    for _ in 0..3 {
        // The new process waits for the store while the old one drains.
        let new = manager.start();
        old.signal("-TERM");
        assert_eq!(old.ended().await, Some(0), "{}", old.log.all());
        new.until_told("READY=1").await;
        load.until_accepted(100).await;
        old = new;
    }

    let (accepted, failed) = load.end().await;
    assert_eq!(failed, [""; 0], "of {} accepted", accepted.len());
    assert_all_stored(&manager, &accepted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_hub_is_replaced_and_loses_nothing() {
    let manager = Manager::of(TestHub::new().github());
    let mut old = manager.start();
    old.until_told("READY=1").await;
    let load = Load::start(manager.at());
    load.until_accepted(50).await;
    old.signal("-KILL");
    assert_eq!(old.ended().await, None);
    let new = manager.start();
    new.until_told("READY=1").await;
    load.until_accepted(50).await;
    let (accepted, failed) = load.end().await;
    // Only what the killed process had begun to answer can fail; no connection is refused.
    assert!(failed.len() <= Load::SENDERS, "{failed:?}");
    assert!(!failed.iter().any(|error| error.contains("ConnectionRefused")), "{failed:?}");
    assert_all_stored(&manager, &accepted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_without_its_name_is_refused() {
    let mut manager = Manager::of(TestHub::new().github());
    manager.names = "weir.socket:weir-admin.socket";
    let mut service = manager.start();
    assert_eq!(service.ended().await, Some(2));
    until_true("the reason", || {
        !service.log.having(&["\"weir.socket\"", "FileDescriptorName="]).is_empty()
    })
    .await;
}
