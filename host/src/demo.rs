//! `weir demo`: starts a hub, sends it signed samples over HTTP, and prints what happened to each.
//!
//! The hub is that of development mode, in a temporary folder. The demo does nothing that a real
//! sender, handler or operator could not do.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rand::rngs::StdRng;
use serde_json::json;
use tempfile::TempDir;
use weir_core::id::EventId;
use weir_core::name::{SourceName, Target};
use weir_core::sign::SigningInput;
use weir_core::time::Clock as _;
use weir_store::query::{DeliveryDetail, EventDetail, EventFilter, PageRequest};

use crate::config::{self, Config, Source};
use crate::http_client::HttpClient;
use crate::hub::{self, Listeners, OnHangup, ServingHub};
use crate::program::exit::Exit;
use crate::program::output::{Output, report};
use crate::runtime::clock::SystemClock;
use crate::runtime::telemetry::{self, LogSettings};
use crate::samples::{self, SignedSample, randomness, source_url};
use crate::starters;

/// Start a temporary hub and send it signed samples from the main providers
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Address for webhooks [default: 127.0.0.1:8080, or a free port if that is in use]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Address of the admin API [default: 127.0.0.1:8081, or a free port if that is in use]
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// Folder of the handlers [default: plugins, or the built-in starters if it has none]
    #[arg(long, value_name = "FOLDER")]
    pub plugins: Option<PathBuf>,
    /// Folder for the data, which is kept [default: a temporary folder]
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
}

/// The samples to send, by source. At the third failed payment in a row a handler sends an alert.
const SAMPLES: [(&str, &str); 8] = [
    ("github", "push"),
    ("stripe", "payment_intent.payment_failed"),
    ("stripe", "payment_intent.payment_failed"),
    ("stripe", "payment_intent.payment_failed"),
    ("slack", "message"),
    ("shopify", "orders/create"),
    ("twilio", "delivered"),
    ("sendgrid", "events"),
];

/// Longest wait for the handlers to load, and for the events of one sample.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Time between two looks at the events of a sample.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Number of a source's newest events that are searched for those of a sample.
const NEWEST_EVENTS: usize = 20;

/// Runs the demo until a signal stops it.
pub fn demo(args: DemoArgs, json: bool) -> ExitCode {
    let settings = LogSettings { filter: "warn".into(), json: false };
    let _telemetry = match telemetry::start(&settings, false, None) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            report(&error);
            return Exit::Failure.into();
        }
    };
    let (config, listeners, folder) = match prepare(&args) {
        Ok(prepared) => prepared,
        Err(error) => {
            report(&*error);
            return Exit::Usage.into();
        }
    };
    let output = Output { json };
    let sources: Vec<_> = config.sources.values().cloned().collect();
    let plugins = config.plugins.dir.clone();
    let exit = hub::run(config, listeners, None, async |running, mut signals, grace| {
        let sent = tokio::select! {
            sent = send_samples(&running, &sources, &plugins, output) => sent,
            _ = signals.next() => {
                running.stop(std::future::ready(())).await;
                return Ok(Exit::Success);
            }
        };
        let exit = match sent {
            Ok(()) => hub::until_stopped(&running, &mut signals, OnHangup::Stop).await,
            Err(error) => {
                report(&*error);
                Exit::Failure
            }
        };
        hub::drain(running, &mut signals, grace).await;
        Ok(exit)
    });
    drop(folder);
    exit.into()
}

/// The configuration and sockets of a hub in development mode, in a temporary folder unless one is
/// given. A default port that is in use is replaced by a free one.
fn prepare(args: &DemoArgs) -> anyhow::Result<(Config, Listeners, Option<TempDir>)> {
    let folder = match &args.data {
        Some(_) => None,
        None => Some(tempfile::tempdir().context("cannot make a folder for the demo's data")?),
    };
    let data: PathBuf = match (&args.data, &folder) {
        (Some(data), _) => data.clone(),
        (None, Some(folder)) => folder.path().join("data"),
        (None, None) => bail!("the demo has no folder"),
    };
    let mut config = config::development(&data)?.config;
    match (&args.plugins, &folder) {
        (Some(plugins), _) => config.plugins.dir.clone_from(plugins),
        (None, _) if starters::has_modules(&config.plugins.dir) => {}
        (None, Some(folder)) => config.plugins.dir = folder.path().join("plugins"),
        (None, None) => config.plugins.dir = data.join("plugins"),
    }
    if args.plugins.is_none() && !starters::has_modules(&config.plugins.dir) {
        let dir = &config.plugins.dir;
        let failed = || format!("cannot put the starter handlers into {}", dir.display());
        starters::put(dir).with_context(failed)?;
    }
    config.server.listen = args.listen.unwrap_or(config.server.listen);
    config.admin.listen = args.admin_listen.unwrap_or(config.admin.listen);
    let listeners = match Listeners::bind(&config) {
        Err(error) if error.in_use() && args.listen.is_none() && args.admin_listen.is_none() => {
            config.server.listen.set_port(0);
            config.admin.listen.set_port(0);
            Listeners::bind(&config)?
        }
        bound => bound?,
    };
    // Schemes that sign the URL sign this one.
    config.server.public_url = Some(format!("http://{}", listeners.ingress.local_addr()?));
    Ok((config, listeners, folder))
}

/// Sends the samples, one after the other, and prints what happened to each.
async fn send_samples(
    running: &ServingHub,
    sources: &[Arc<Source>],
    plugins: &Path,
    output: Output,
) -> anyhow::Result<()> {
    let looked = tokio::time::timeout(WAIT_MAX, running.handlers.folder_read()).await;
    looked.context("the handlers took too long to load")?;
    if !output.json {
        let handlers = running.handlers.handlers();
        let names: Vec<_> = handlers.iter().map(|handler| handler.name.as_str()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        output.text(&format!("handlers  {names}\n          from {}\n", plugins.display()));
    }
    let http = HttpClient::new()?;
    let mut random = randomness()?;
    let mut seen = Vec::new();
    for (source, sample) in SAMPLES {
        let source = sources.iter().find(|s| s.name.as_str() == source);
        let source = source.context("development mode lacks a source of the demo")?;
        let url = source_url(running.addresses.ingress, source);
        let now = SystemClock.now();
        let signing =
            source.signing.as_ref().context("a source of development mode has no secret")?;
        let signing = SigningInput { secret: signing, params: &source.params, scheme: None };
        let provider = &source.provider;
        let signed = SignedSample::make(provider, sample, None, signing, &url, now, &mut random)?;
        let answer = http.send(signed.request(&url)?).await?;
        if !answer.status.is_success() {
            let reason = String::from_utf8_lossy(&answer.body);
            bail!("{} refused its sample: {} {reason}", source.name, answer.status);
        }
        let events = settled(running, &source.name, &seen).await?;
        seen.extend(events.iter().map(|event| event.id));
        print_result(running, &source.name, sample, &events, output);
    }
    print_urls(running, sources, &mut random, output)
}

/// The new events of a source, once all their deliveries and messages are done.
async fn settled(
    running: &ServingHub,
    source: &SourceName,
    seen: &[EventId],
) -> anyhow::Result<Vec<EventDetail>> {
    let all = async {
        let mut look = tokio::time::interval(POLL_INTERVAL);
        loop {
            look.tick().await;
            let filter = EventFilter { sources: vec![source.clone()], ..EventFilter::default() };
            let page = PageRequest { limit: NEWEST_EVENTS, after: None };
            let newest = running.store.events(filter, page).await?.items;
            let mut events = Vec::new();
            for event in newest.iter().rev().filter(|event| !seen.contains(&event.id)) {
                events.extend(running.store.event(event.id).await?);
            }
            if !events.is_empty() && events.iter().all(is_settled) {
                return anyhow::Ok(events);
            }
        }
    };
    let settled = tokio::time::timeout(WAIT_MAX, all).await;
    settled.with_context(|| format!("the events of {source} were not handled in time"))?
}

fn is_settled(event: &EventDetail) -> bool {
    let mut attempts = event.deliveries.iter().flat_map(|delivery| &delivery.history);
    event.deliveries.iter().all(|delivery| delivery.state.is_final())
        && attempts.all(|attempt| attempt.messages.iter().all(|message| message.state.is_final()))
}

fn print_result(
    running: &ServingHub,
    source: &SourceName,
    sample: &str,
    events: &[EventDetail],
    output: Output,
) {
    let ids: Vec<_> = events.iter().map(|event| event.id.to_string()).collect();
    let mut handlers: Vec<String> = Vec::new();
    for name in events.iter().flat_map(|event| &event.deliveries).filter_map(handler) {
        if !handlers.contains(&name) {
            handlers.push(name);
        }
    }
    let effects = effects(running, events);
    if output.json {
        output.value(&json!({
            "source": source, "sample": sample, "verified": true,
            "stored": ids, "handled": handlers, "effects": effects,
        }));
        return;
    }
    let stored = match &ids[..] {
        [id] => id.clone(),
        ids => format!("{} events", ids.len()),
    };
    let names: Vec<_> = handlers.iter().map(String::as_str).collect();
    let handled = match names[..] {
        [] => "no handler matched".to_owned(),
        _ => format!("handled by {}", names.join(", ")),
    };
    let effect = effects.last().map_or_else(String::new, |effect| format!(" · effect: {effect}"));
    let source = source.as_str();
    output.text(&format!(
        "{source:<8}  {sample}\n          verified · stored {stored} · {handled}{effect}"
    ));
}

fn handler(delivery: &DeliveryDetail) -> Option<String> {
    match &delivery.target {
        Target::Handler(name) => Some(name.to_string()),
        Target::Destination(_) => None,
    }
}

/// The lines that handlers logged for these events, then the messages that they sent.
fn effects(running: &ServingHub, events: &[EventDetail]) -> Vec<String> {
    let attempts = events.iter().flat_map(|e| &e.deliveries).flat_map(|delivery| {
        let name = handler(delivery).unwrap_or_default();
        delivery.history.iter().map(move |attempt| (name.clone(), attempt))
    });
    let mut effects: Vec<String> = attempts
        .flat_map(|(name, attempt)| {
            let log = attempt.log.as_deref().unwrap_or_default();
            let logged = |line: &str| {
                let (_, text) = line.split_once('\t')?;
                Some(format!("{name} logged \"{text}\""))
            };
            log.lines().filter_map(logged).collect::<Vec<_>>()
        })
        .collect();
    let sent = running.inbox.messages();
    let sent = sent.iter().filter(|message| events.iter().any(|event| event.id == message.event));
    effects.extend(sent.map(|m| format!("message to {}: {}", m.destination, m.body)));
    effects
}

fn print_urls(
    running: &ServingHub,
    sources: &[Arc<Source>],
    random: &mut StdRng,
    output: Output,
) -> anyhow::Result<()> {
    let (ingress, admin) = (running.addresses.ingress, running.addresses.admin);
    if output.json {
        output.value(&json!({ "ingress": ingress, "admin": admin, "stop": "Press Ctrl-C" }));
        return Ok(());
    }
    let mut text = format!(
        "\nwebhooks  http://{ingress}/webhook/SOURCE\nevents    http://{admin}/api/v1/events\n\
         messages  http://{admin}/api/v1/inbox\nmetrics   http://{admin}/metrics\n"
    );
    text.push_str(&samples::first_request(ingress, sources, random)?);
    text.push_str("\nPress Ctrl-C to stop.");
    output.text(&text);
    Ok(())
}
