//! `weir demo`: a hub of its own that sends itself signed samples over real HTTP, and tells what became of each.
//!
//! It is the hub of development mode in a folder of its own: nothing here does what a real sender, handler or
//! operator could not do.

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

use crate::config::{self, Config, Log, Source};
use crate::http_client::{HttpClient, HttpResponse};
use crate::hub::{self, Listeners, OnHangup, ServingHub};
use crate::program::exit::Exit;
use crate::program::output::{Output, report};
use crate::runtime::clock::SystemClock;
use crate::runtime::telemetry;
use crate::samples::{self, SignedSample, randomness, source_url};
use crate::starters;

/// Run a hub of its own and send it a signed sample from each main provider.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Where to take webhooks; a free port if the usual one is taken
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Where to serve the API
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// Folder of the handlers [default: plugins, or the built-in starters where that has none]
    #[arg(long, value_name = "FOLDER")]
    pub plugins: Option<PathBuf>,
    /// Keep the data in this folder; otherwise it goes when the demo ends
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
}

/// Which source gets which samples. The third failed payment in a row makes a handler raise an alert.
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

/// Past this something is wrong, and the demo says so instead of waiting for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between looks at what became of a sample.
const LOOK: Duration = Duration::from_millis(20);

/// Events of one source that are looked at to find a sample's own.
const NEWEST: usize = 20;

/// Runs the demo until it is asked to stop.
pub fn demo(args: DemoArgs, json: bool) -> ExitCode {
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
    let exit = hub::run(config, listeners, async |running, mut signals, grace| {
        let shown = tokio::select! {
            shown = show(&running, &sources, &plugins, output) => shown,
            _ = signals.next() => {
                running.stop(std::future::ready(())).await;
                return Ok(Exit::Success);
            }
        };
        let exit = match shown {
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

/// The hub of development mode. Without a folder of the user's it gets one that goes when the demo ends; a port
/// that nobody asked for and that is taken is replaced by a free one.
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
    telemetry::start(&Log { filter: "warn".into(), json: false }, false)?;
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
    // What schemes that sign the URL sign.
    config.server.public_url = Some(format!("http://{}", listeners.ingress.local_addr()?));
    Ok((config, listeners, folder))
}

async fn show(
    running: &ServingHub,
    sources: &[Arc<Source>],
    plugins: &Path,
    output: Output,
) -> anyhow::Result<()> {
    let looked = tokio::time::timeout(PATIENCE, running.handlers.folder_read()).await;
    looked.context("the handlers took too long to load")?;
    if !output.json {
        let handlers = running.handlers.handlers();
        let names: Vec<_> = handlers.iter().map(|handler| handler.name.as_str()).collect();
        let dir = plugins.display();
        output.text(&format!("handlers  {}\n          from {dir}\n", list_or_none(&names)));
    }
    let http = HttpClient::new()?;
    let mut random = randomness()?;
    let mut seen = Vec::new();
    for (source, sample) in SAMPLES {
        let source = sources.iter().find(|s| s.name.as_str() == source);
        let source = source.context("development mode has no such source")?;
        let url = source_url(running.addresses.ingress, source);
        let now = SystemClock.now();
        let signing = source.signing.as_ref().context("a source of development has no secret")?;
        let signing = SigningInput { secret: signing, params: &source.params, scheme: None };
        let provider = &source.provider;
        let signed = SignedSample::make(provider, sample, None, signing, &url, now, &mut random)?;
        let answer = http.send(signed.request(&url)?).await?;
        if !answer.status.is_success() {
            bail!("{} refused its sample: {}", source.name, text(&answer));
        }
        let events = settled(running, &source.name, &seen).await?;
        seen.extend(events.iter().map(|event| event.id));
        tell(running, &source.name, sample, &events, output);
    }
    close(running, sources, &mut random, output)
}

fn text(answer: &HttpResponse) -> String {
    format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body))
}

/// The events that a sample made, once everything about them is done.
async fn settled(
    running: &ServingHub,
    source: &SourceName,
    seen: &[EventId],
) -> anyhow::Result<Vec<EventDetail>> {
    let all = async {
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            let filter = EventFilter { source: Some(source.clone()), ..EventFilter::default() };
            let page = PageRequest { limit: NEWEST, after: None };
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
    let settled = tokio::time::timeout(PATIENCE, all).await;
    settled.with_context(|| format!("what {source} sent was not handled in time"))?
}

fn is_settled(event: &EventDetail) -> bool {
    let mut attempts = event.deliveries.iter().flat_map(|delivery| &delivery.history);
    event.deliveries.iter().all(|delivery| delivery.state.is_final())
        && attempts.all(|attempt| attempt.messages.iter().all(|message| message.state.is_final()))
}

fn tell(
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
    let effect = effects.last().map_or("none", String::as_str);
    output.text(&format!(
        "{:<8}  {sample}\n          verified · stored {stored} · handled by {} · effect: {effect}",
        source.as_str(),
        list_or_none(&names),
    ));
}

fn list_or_none(names: &[&str]) -> String {
    if names.is_empty() { "nobody".into() } else { names.join(", ") }
}

fn handler(delivery: &DeliveryDetail) -> Option<String> {
    match &delivery.target {
        Target::Handler(name) => Some(name.to_string()),
        Target::Destination(_) => None,
    }
}

/// What came of events: lines that handlers logged, then messages that they sent.
fn effects(running: &ServingHub, events: &[EventDetail]) -> Vec<String> {
    let attempts = events.iter().flat_map(|e| &e.deliveries).flat_map(|delivery| {
        let name = handler(delivery).unwrap_or_default();
        delivery.history.iter().map(move |attempt| (name.clone(), attempt))
    });
    let mut effects: Vec<String> = attempts
        .flat_map(|(name, attempt)| {
            let log = attempt.log.as_deref().unwrap_or_default();
            let said = |line: &str| {
                let (_, text) = line.split_once('\t')?;
                Some(format!("{name} logged \"{text}\""))
            };
            log.lines().filter_map(said).collect::<Vec<_>>()
        })
        .collect();
    let sent = running.inbox.messages();
    let sent = sent.iter().filter(|message| events.iter().any(|event| event.id == message.event));
    effects.extend(sent.map(|m| format!("message to {}: {}", m.destination, m.body)));
    effects
}

fn close(
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
        "\nwebhooks  http://{ingress}/webhook/SOURCE\nevents    http://{admin}/api/v1/events\nmessages  http://{admin}/api/v1/inbox\nmetrics   http://{admin}/metrics\n"
    );
    text.push_str(&samples::first_request(ingress, sources, random)?);
    text.push_str("\nPress Ctrl-C to stop.");
    output.text(&text);
    Ok(())
}
