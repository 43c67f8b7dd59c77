//! The servers that are measured: started as child processes, or a hub that runs already; and the
//! resources that they use.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use super::load::Endpoint;
use super::{BenchError, SECRET, floor};
use crate::api::params::Limit;
use crate::api::{EventAnswer, EventView, EventsQuery, ListPage};
use crate::cli::client::{AdminClient, HubArgs};

/// Longest start of a server.
const START_MAX: Duration = Duration::from_secs(120);
/// Longest wait for the end of all deliveries of a round.
const DRAIN_MAX: Duration = Duration::from_secs(300);
/// Between two looks at a server that starts or works off its queue.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Events of a round whose whole way is timed.
const SAMPLE: usize = 200;

/// A handler that does nothing, for a hub that is started here.
const NOOP: &[u8] = include_bytes!("../../../tests/guests/noop.wasm");

/// Processor time, memory and bytes written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    pub(super) memory: u64,
    /// None if the kernel does not say.
    pub(super) written: Option<u64>,
}

/// Events of a hub since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct EventCounts {
    pub(super) stored: f64,
    pub(super) attempts: f64,
    pub(super) failed: f64,
    /// Deliveries of any source that are not finished.
    waiting: f64,
}

/// The handler of the hub that is started.
#[derive(Debug, Clone)]
pub(super) enum MeasuredHandler {
    None,
    /// One that does nothing.
    Noop,
    File(PathBuf),
}

/// A server under load.
#[derive(Debug)]
pub(super) struct MeasuredServer {
    pub(super) endpoint: Endpoint,
    process: Option<ChildProcess>,
    /// None for the bare server.
    hub: Option<AdminClient>,
    source: String,
}

/// A child process in a folder of its own. Both end with it.
#[derive(Debug)]
struct ChildProcess {
    child: Child,
    folder: PathBuf,
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // What cannot be ended or removed is left to the operator, who sees the folder.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
        let _removed = fs::remove_dir_all(&self.folder);
    }
}

impl ChildProcess {
    /// Starts this program with other arguments, in a new folder.
    fn start(folder: PathBuf, args: &[&str], last: &Path) -> Result<Self, BenchError> {
        let started = || {
            let program = std::env::current_exe()?;
            let log = File::create(folder.join("log.jsonl"))?;
            Command::new(program)
                .args(args)
                .arg(last)
                .current_dir(&folder)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
        };
        match started() {
            Ok(child) => Ok(Self { child, folder }),
            Err(cause) => Err(BenchError::Start { cause }),
        }
    }

    /// Waits for what the process writes when it is ready.
    async fn until<T>(
        &mut self,
        mut ready: impl FnMut(&Path) -> Option<T>,
    ) -> Result<T, BenchError> {
        let started = Instant::now();
        loop {
            if let Some(found) = ready(&self.folder) {
                return Ok(found);
            }
            let ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            if ended || started.elapsed() > START_MAX {
                let log = fs::read_to_string(self.folder.join("log.jsonl")).unwrap_or_default();
                return Err(BenchError::NotReady { log });
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn usage(&self) -> Usage {
        let of = |file: &str| {
            fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default()
        };
        usage(&of("stat"), &of("status"), &of("io"))
    }
}

/// Reads the files of the kernel about a process.
fn usage(stat: &str, status: &str, io: &str) -> Usage {
    // utime and stime, in hundredths of a second.
    let after_name = stat.rfind(')').and_then(|at| stat.get(at + 2..)).unwrap_or_default();
    let ticks: u64 =
        after_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    let field = |text: &str, name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Usage {
        cpu: Duration::from_millis(ticks * 10),
        memory: field(status, "VmRSS:").unwrap_or_default() * 1_024,
        written: field(io, "write_bytes:"),
    }
}

/// A new folder below another.
fn new_folder(below: &Path, name: &str) -> Result<PathBuf, BenchError> {
    let folder = below.join(format!("weir-bench-{}-{name}", std::process::id()));
    let made = fs::create_dir(&folder);
    made.map_err(|cause| BenchError::Folder { folder: folder.clone(), cause })?;
    Ok(folder)
}

impl MeasuredServer {
    /// Starts the bare server.
    pub(super) async fn floor(below: &Path) -> Result<Self, BenchError> {
        let folder = new_folder(below, "bare")?;
        let mut process = ChildProcess::start(folder.clone(), &["bench-floor"], &folder)?;
        let address = |folder: &Path| fs::read_to_string(folder.join(floor::ADDRESS)).ok();
        let authority = process.until(address).await?;
        let endpoint = Endpoint { authority, path: "/webhook/github".into() };
        Ok(Self { endpoint, process: Some(process), hub: None, source: String::new() })
    }

    /// Starts a hub with one source and at most one handler, and waits until it serves.
    pub(super) async fn own_hub(
        below: &Path,
        handler: &MeasuredHandler,
    ) -> Result<Self, BenchError> {
        let folder = new_folder(below, "hub")?;
        let file = folder.join("weir.toml");
        fill(&folder, handler)
            .map_err(|cause| BenchError::Folder { folder: folder.clone(), cause })?;
        let mut process = ChildProcess::start(folder, &["serve", "--config"], &file)?;
        let (ingress, admin) = process.until(addresses).await?;
        let token = process.until(|folder| {
            let token = fs::read_to_string(folder.join("data/admin-token")).ok()?;
            Some(token.trim().to_owned()).filter(|token| !token.is_empty())
        });
        let args = HubArgs {
            config: None,
            admin: Some(format!("http://{admin}")),
            token: Some(token.await?),
        };
        let endpoint = Endpoint { authority: ingress, path: "/webhook/github".into() };
        let mut hub = Self {
            endpoint,
            process: Some(process),
            hub: Some(AdminClient::find(&args).map_err(BenchError::command)?),
            source: "github".into(),
        };
        if !matches!(handler, MeasuredHandler::None) {
            hub.until_handler_serves().await?;
        }
        Ok(hub)
    }

    /// A hub that runs already.
    pub(super) fn running(hub: &HubArgs, endpoint: Endpoint) -> Result<Self, BenchError> {
        let source = endpoint.path.rsplit('/').next().unwrap_or_default().to_owned();
        let hub = Some(AdminClient::find(hub).map_err(BenchError::command)?);
        Ok(Self { endpoint, process: None, hub, source })
    }

    async fn until_handler_serves(&mut self) -> Result<(), BenchError> {
        let started = Instant::now();
        loop {
            let handlers: Value = self.admin()?.get("/api/v1/handlers").await?;
            let state = handlers["items"][0]["state"].as_str().unwrap_or("loading").to_owned();
            match &*state {
                "ready" => return Ok(()),
                "failed" => {
                    let why = handlers["items"][0]["error"].to_string();
                    return Err(BenchError::Handler { why });
                }
                _ if started.elapsed() > START_MAX => {
                    return Err(BenchError::Handler { why: format!("it is still {state}") });
                }
                _ => sleep(LOOK_EVERY).await,
            }
        }
    }

    fn admin(&self) -> Result<&AdminClient, BenchError> {
        self.hub.as_ref().ok_or(BenchError::NoHub)
    }

    pub(super) fn is_hub(&self) -> bool {
        self.hub.is_some()
    }

    /// The counts of the source's events.
    pub(super) async fn counts(&self) -> Result<EventCounts, BenchError> {
        let page = self.admin()?.text("/metrics").await?;
        let source = format!("source=\"{}\"", self.source);
        Ok(EventCounts {
            stored: sum(&page, "weir_events_stored_total", &[&source]),
            attempts: sum(&page, "weir_source_attempts_total", &[&source]),
            failed: sum(&page, "weir_source_attempts_total", &[&source, "result=\"failed\""]),
            waiting: ["pending", "processing", "retrying"]
                .iter()
                .map(|state| sum(&page, "weir_deliveries", &[&format!("state=\"{state}\"")]))
                .sum(),
        })
    }

    /// Waits until the queue is empty. Returns the counts then.
    pub(super) async fn until_settled(&self) -> Result<EventCounts, BenchError> {
        let started = Instant::now();
        let mut before = None;
        loop {
            let counts = self.counts().await?;
            // Counts follow a commit at once; two equal looks are the end.
            if counts.waiting == 0.0 && before == Some(counts) {
                return Ok(counts);
            }
            if started.elapsed() > DRAIN_MAX {
                return Err(BenchError::NotSettled { left: counts.waiting });
            }
            before = Some(counts);
            sleep(LOOK_EVERY).await;
        }
    }

    /// Resources used so far: from the kernel for a child process, from the metrics for a hub that
    /// ran already.
    pub(super) async fn usage(&self) -> Result<Usage, BenchError> {
        if let Some(process) = &self.process {
            return Ok(process.usage());
        }
        let page = self.admin()?.text("/metrics").await?;
        let cpu = sum(&page, "process_cpu_seconds_total", &[]);
        let memory = sum(&page, "process_resident_memory_bytes", &[]);
        Ok(Usage {
            cpu: Duration::try_from_secs_f64(cpu).unwrap_or_default(),
            memory: format!("{memory:.0}").parse().unwrap_or_default(),
            written: None,
        })
    }

    /// The time from receipt to the end of the last attempt of the newest events, sorted, in
    /// milliseconds.
    pub(super) async fn ways_ms(&self) -> Result<Vec<u32>, BenchError> {
        let query = EventsQuery { limit: Some(Limit::clamped(SAMPLE)), ..EventsQuery::default() };
        let page: ListPage<EventView> = self.admin()?.query("/api/v1/events", &query).await?;
        let mut all = Vec::new();
        for event in page.items.iter().filter(|event| *event.source.as_str() == *self.source) {
            let path = format!("/api/v1/events/{}", event.id);
            let answer: EventAnswer = self.admin()?.get(&path).await?;
            let EventAnswer::Event(detail) = answer else { continue };
            let attempts = detail.event.deliveries.iter().filter_map(|d| d.history.last());
            let ends = attempts.map(|attempt| {
                attempt.started_at.as_millis() + attempt.duration_us.div_ceil(1_000)
            });
            let Some(end) = ends.max() else { continue };
            let took = end.saturating_sub(detail.event.received_at.as_millis());
            all.push(u32::try_from(took).unwrap_or(u32::MAX));
        }
        all.sort_unstable();
        Ok(all)
    }
}

/// Writes the files of a hub.
fn fill(folder: &Path, handler: &MeasuredHandler) -> std::io::Result<()> {
    const CONFIG: &str = "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
                          [log]\nformat = \"json\"\n[sources.github]\n\
                          provider = \"github\"\nsecrets = [{ file = \"secret\" }]\n";
    fs::create_dir(folder.join("plugins"))?;
    let module = folder.join("plugins/measured.wasm");
    match handler {
        MeasuredHandler::None => {}
        MeasuredHandler::Noop => fs::write(module, NOOP)?,
        MeasuredHandler::File(file) => {
            fs::copy(file, module)?;
            let sidecar = file.with_extension("toml");
            if sidecar.exists() {
                fs::copy(sidecar, folder.join("plugins/measured.toml"))?;
            }
        }
    }
    fs::write(folder.join("secret"), SECRET)?;
    fs::write(folder.join("weir.toml"), CONFIG)
}

/// The addresses of webhooks and of the admin API in the log of a hub that is ready.
fn addresses(folder: &Path) -> Option<(String, String)> {
    let log = fs::read_to_string(folder.join("log.jsonl")).ok()?;
    let line = log.lines().find(|line| line.contains("\"message\":\"ready\""))?;
    let ready: Value = serde_json::from_str(line).ok()?;
    let address = |key: &str| ready[key].as_str().map(str::to_owned);
    Some((address("ingress")?, address("admin")?))
}

/// The sum of a metric over the lines that have all of these labels.
fn sum(page: &str, name: &str, labels: &[&str]) -> f64 {
    let of_metric = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    };
    let values = page.lines().filter(of_metric);
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_what_a_process_used() {
        let stat = "12 (a) name) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        let status = "VmPeak:\t 9 kB\nVmRSS:\t    2048 kB\n";
        let used = usage(stat, status, "wchar: 7\nwrite_bytes: 4096\n");
        assert_eq!(used.cpu, Duration::from_secs(2));
        assert_eq!((used.memory, used.written), (2 << 20, Some(4_096)));
        assert_eq!(usage("", "", "").written, None);
    }

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let page = "a_total{source=\"x\",outcome=\"ok\"} 2\na_total{source=\"x\",outcome=\"failed\"} \
                    1\na_total{source=\"y\"} 5\na_total_other 9\nb 4\n";
        assert_eq!(sum(page, "a_total", &["source=\"x\""]), 3.0);
        assert_eq!(sum(page, "a_total", &[]), 8.0);
        assert_eq!(sum(page, "b", &[]), 4.0);
    }
}
