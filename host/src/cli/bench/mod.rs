//! `weir bench`: measures a hub under signed load, beside the bare machine in the same run.
//!
//! Each round measures the bare server and then the hub, so that what else the machine does meets
//! both. Ratios of a round compare; absolute figures depend on the machine.

mod figures;
mod floor;
mod load;
mod server;

use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use thiserror::Error;
use weir_core::error::chain;
use weir_core::units::parse_duration;

use super::client::{ClientError, HubArgs};
use super::error::CommandError;
use crate::program::output::Output;
use figures::{BenchReport, RoundFigures, share_of};
use load::{Endpoint, Load};
use server::{MeasuredHandler, MeasuredServer};

pub(super) use floor::FloorArgs;
pub(super) use floor::run as run_floor;

/// The secret of servers that are started here.
const SECRET: &str = "a secret for measuring";
/// The load before each measurement, which warms caches and trains the store's dictionary.
const WARM_UP: Duration = Duration::from_secs(1);

/// Measure a hub under signed load, beside the bare machine
///
/// Starts a hub with a handler that does nothing, and a bare server that only verifies and syncs,
/// and sends both the same signed pushes of 2 KiB over the same number of connections, in turn.
/// Every accepted request must be stored and handled, or there is no figure. With --url, a hub that
/// runs already is measured, alone: its source must be of the provider github, and its events are
/// real ones.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchArgs {
    /// Rounds; each measures both servers
    #[arg(long, default_value = "5")]
    pub rounds: NonZeroUsize,
    /// Time of each measurement
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = parse_duration)]
    pub time: Duration,
    /// Connections that send at the same time
    #[arg(long, default_value = "64")]
    pub connections: NonZeroUsize,
    /// Module that handles the events, with the sidecar beside it [default: one that does nothing]
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub handler: Option<PathBuf>,
    /// No handler: events are stored and match nothing
    #[arg(long, conflicts_with_all = ["handler", "url"])]
    pub no_handler: bool,
    /// Folder on the disk to measure
    #[arg(long, default_value = ".", conflicts_with = "url")]
    pub folder: PathBuf,
    /// Source of a hub that runs already, such as http://127.0.0.1:8080/webhook/github
    #[arg(long, requires = "secret")]
    pub url: Option<String>,
    /// Secret of that source
    #[arg(long, requires = "url", env = "WEIR_BENCH_SECRET", hide_env_values = true)]
    pub secret: Option<String>,
    #[command(flatten)]
    pub hub: HubArgs,
}

/// A measurement that came to no figure.
#[derive(Debug, Error)]
enum BenchError {
    #[error("cannot use the folder {}; name one on a disk with --folder: {cause}", folder.display())]
    Folder { folder: PathBuf, cause: io::Error },
    #[error("cannot start a server to measure: {cause}")]
    Start { cause: io::Error },
    #[error("a server did not start; it said:\n{log}")]
    NotReady { log: String },
    #[error("the hub cannot use the handler: {why}")]
    Handler { why: String },
    #[error("cannot send to {at}: {cause}")]
    Load { at: String, cause: io::Error },
    #[error("the secret cannot sign")]
    Secret,
    #[error(
        "{refused} requests were refused, the first with status {status}: check the secret, the \
             source and its rate"
    )]
    Refused { refused: u64, status: u16 },
    #[error(
        "{accepted} requests were accepted, but {stored} events were stored and {handled} handled: \
             the figures would not be those of one thing"
    )]
    Differs { accepted: u64, stored: f64, handled: f64 },
    #[error("{failed} attempts of the handler failed; see `weir events`")]
    Failed { failed: f64 },
    #[error("{left} events were not handled in time")]
    NotSettled { left: f64 },
    #[error("this server has no admin API")]
    NoHub,
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Command(String),
}

impl BenchError {
    fn command(error: CommandError) -> Self {
        Self::Command(error.to_string())
    }
}

/// The load of each measurement.
#[derive(Debug, Clone, Copy)]
struct Shape<'a> {
    secret: &'a [u8],
    time: Duration,
    connections: usize,
    /// True if every stored event is handled.
    has_handler: bool,
}

pub(super) async fn run(args: &BenchArgs, output: Output) -> Result<(), CommandError> {
    let report = match &args.url {
        Some(url) => measure_running(args, url, output).await,
        None => measure_own(args, output).await,
    };
    let report = report.map_err(|error| CommandError::Failed(chain(&error)))?;
    output.answer(&report, BenchReport::text);
    Ok(())
}

fn report(args: &BenchArgs) -> BenchReport {
    BenchReport {
        connections: args.connections.get(),
        seconds: args.time.as_secs_f64(),
        processors: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        file_system: None,
        hub: Vec::new(),
        floor: Vec::new(),
        rate_to_floor: None,
        cpu_to_floor: None,
        no_ratio: None,
    }
}

/// Measures a new hub and the bare server in turn.
async fn measure_own(args: &BenchArgs, output: Output) -> Result<BenchReport, BenchError> {
    let folder = args.folder.canonicalize();
    let folder =
        folder.map_err(|cause| BenchError::Folder { folder: args.folder.clone(), cause })?;
    let handler = match (&args.handler, args.no_handler) {
        (_, true) => MeasuredHandler::None,
        (None, false) => MeasuredHandler::Noop,
        (Some(file), false) => MeasuredHandler::File(file.clone()),
    };
    let shape = Shape {
        secret: SECRET.as_bytes(),
        time: args.time,
        connections: args.connections.get(),
        has_handler: !args.no_handler,
    };
    let mut report = report(args);
    let file_system = file_system(&folder);
    if matches!(file_system, Some("tmpfs" | "ramfs")) {
        let folder = folder.display();
        report.no_ratio = Some(format!(
            "{folder} is in memory, where a sync costs nothing; name a folder on a disk with --folder"
        ));
    }
    report.file_system = file_system.map(str::to_owned);
    for round in 1..=args.rounds.get() {
        let name = |server: &str| format!("{server}{round}");
        let floor = MeasuredServer::floor(&folder).await?;
        let floor = measure(&floor, Shape { has_handler: false, ..shape }, &name("f")).await?;
        let hub = MeasuredServer::own_hub(&folder, &handler).await?;
        let hub = measure(&hub, shape, &name("h")).await?;
        progress(output, round, args.rounds, &hub, Some(&floor));
        report.hub.push(hub);
        report.floor.push(floor);
    }
    report.compare();
    Ok(report)
}

/// Measures a hub that runs already.
async fn measure_running(
    args: &BenchArgs,
    url: &str,
    output: Output,
) -> Result<BenchReport, BenchError> {
    let secret = args.secret.as_deref().unwrap_or_default();
    let server = MeasuredServer::running(&args.hub, endpoint(url)?)?;
    let before = server.counts().await?;
    let shape = |has_handler| Shape {
        secret: secret.as_bytes(),
        time: args.time,
        connections: args.connections.get(),
        has_handler,
    };
    let mut report = report(args);
    let why = "a hub that runs already is measured alone; without --url both are, on this machine";
    report.no_ratio = Some(why.into());
    // A name that no earlier run has used: its events would be duplicates.
    let run = rand::random::<u64>();
    let name = |round: usize| format!("{run:016x}-{round}");
    // The first load shows whether anything handles the events.
    let warm = load::run(&server.endpoint, secret.as_bytes(), (WARM_UP, 1), &name(0)).await?;
    accepted(&warm)?;
    let counts = server.until_settled().await?;
    let has_handler = counts.attempts > before.attempts;
    for round in 1..=args.rounds.get() {
        let hub = measure(&server, shape(has_handler), &name(round)).await?;
        progress(output, round, args.rounds, &hub, None);
        report.hub.push(hub);
    }
    Ok(report)
}

/// Measures one server.
async fn measure(
    server: &MeasuredServer,
    shape: Shape<'_>,
    name: &str,
) -> Result<RoundFigures, BenchError> {
    let Shape { secret, time, connections, has_handler } = shape;
    let to = &server.endpoint;
    let warm = load::run(to, secret, (WARM_UP, connections), &format!("{name}w")).await?;
    accepted(&warm)?;
    let settled = async || match server.is_hub() {
        true => server.until_settled().await.map(Some),
        false => Ok(None),
    };
    let before = settled().await?;
    let used = server.usage().await?;
    let started = Instant::now();
    let load = load::run(to, secret, (time, connections), name).await?;
    let took = started.elapsed();
    accepted(&load)?;
    let after = settled().await?;
    let until_settled = started.elapsed();
    let mut now = server.usage().await?;
    if !server.is_hub() {
        // The kernel counts the space that was written before the load among what is written now.
        now.written = None;
    }
    let is_handled = before.zip(after).is_some() && has_handler;
    if let Some((before, after)) = before.zip(after) {
        let (stored, handled) = (after.stored - before.stored, after.attempts - before.attempts);
        let accepted = load.accepted as f64;
        // A hub that runs already may have several handlers for an event.
        if stored != accepted || (has_handler && handled < accepted) {
            return Err(BenchError::Differs { accepted: load.accepted, stored, handled });
        }
        if after.failed > before.failed {
            return Err(BenchError::Failed { failed: after.failed - before.failed });
        }
    }
    let ways = if is_handled { server.ways_ms().await? } else { Vec::new() };
    Ok(figures(&load, took, is_handled.then_some(until_settled), (&used, &now), &ways))
}

/// Refuses a load of which anything was refused.
fn accepted(load: &Load) -> Result<(), BenchError> {
    match load.first_refusal {
        Some(status) => Err(BenchError::Refused { refused: load.refused, status }),
        None => Ok(()),
    }
}

fn figures(
    load: &Load,
    took: Duration,
    until_settled: Option<Duration>,
    (before, after): (&server::Usage, &server::Usage),
    ways_ms: &[u32],
) -> RoundFigures {
    let mut times = load.times_us.clone();
    times.sort_unstable();
    let ack = |thousandths| share_of(&times, thousandths) / 1e3;
    let way = |thousandths| (!ways_ms.is_empty()).then(|| share_of(ways_ms, thousandths));
    let accepted = load.accepted as f64;
    let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6;
    let written = before.written.zip(after.written).map(|(before, after)| after - before);
    RoundFigures {
        accepted: load.accepted,
        accepted_per_second: accepted / took.as_secs_f64(),
        handled_per_second: until_settled.map(|time| accepted / time.as_secs_f64()),
        ack_p50_ms: ack(500),
        ack_p99_ms: ack(990),
        ack_p999_ms: ack(999),
        end_to_end_p50_ms: way(500),
        end_to_end_p99_ms: way(990),
        cpu_us_per_event: (load.accepted > 0).then(|| cpu / accepted),
        memory_mib: (after.memory > 0).then(|| after.memory as f64 / f64::from(1 << 20)),
        written_per_byte: written.map(|bytes| bytes as f64 / load.payload_bytes.max(1) as f64),
    }
}

fn progress(
    output: Output,
    round: usize,
    of: NonZeroUsize,
    hub: &RoundFigures,
    floor: Option<&RoundFigures>,
) {
    let rate = hub.settled_per_second();
    let beside = floor.map_or_else(String::new, |floor| {
        let bare = floor.accepted_per_second;
        format!(", bare server {bare:.0} requests/s, ratio {:.2}", rate / bare)
    });
    output.problem(&format!("round {round} of {of}: {rate:.0} events/s settled{beside}"));
}

/// The host and path of a URL of a source.
fn endpoint(url: &str) -> Result<Endpoint, BenchError> {
    let wrong = || {
        let what = "--url takes a plain address such as http://127.0.0.1:8080/webhook/github; behind \
                    TLS, measure the hub where it listens without it";
        BenchError::Command(what.into())
    };
    let url: http::Uri = url.parse().map_err(|_| wrong())?;
    let (Some("http"), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return Err(wrong());
    };
    let authority = match authority.port() {
        Some(_) => authority.to_string(),
        None => format!("{authority}:80"),
    };
    Ok(Endpoint { authority, path: url.path().to_owned() })
}

/// The file system of a folder, if the kernel says so.
fn file_system(folder: &Path) -> Option<&'static str> {
    const KNOWN: [(i128, &str); 7] = [
        (0xef53, "ext4"),
        (0x5846_5342, "xfs"),
        (0x9123_683e, "btrfs"),
        (0x2fc1_2fc1, "zfs"),
        (0x794c_7630, "overlayfs"),
        (0x0102_1994, "tmpfs"),
        (0x8584_58f6, "ramfs"),
    ];
    let kind = i128::from(rustix::fs::statfs(folder).ok()?.f_type);
    let found = KNOWN.iter().find(|(magic, _)| *magic == kind);
    Some(found.map_or("another file system", |(_, name)| *name))
}
